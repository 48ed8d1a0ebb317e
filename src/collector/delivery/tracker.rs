//! A job's account with one lane: how many parts it offered, and how far they have come.

use std::sync::Arc;

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, Default)]
struct State {
    offered: u64,
    /// Taken into a batch that is being sealed: it will be sealed or overtaken, whatever the job wants.
    claimed: u64,
    sealed: u64,
    committed: u64,
    /// The job does not wait for the parts that are not claimed; they are dropped.
    abandoned: bool,
    /// The store stood elsewhere: the job's reading is out of date.
    overtaken: bool,
}

/// Shared by a job and a lane. Parts of one job reach one lane in order, so counts are enough.
#[derive(Clone, Debug)]
pub(in crate::collector) struct Ticket(Arc<watch::Sender<State>>);

/// How a job's parts ended in one lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::collector) enum Standing {
    /// Every part is committed.
    Committed,
    /// Some are still on their way.
    UnderWay,
    /// The job must read again.
    Overtaken,
}

impl Default for Ticket {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(State::default())))
    }
}

impl Ticket {
    pub(in crate::collector) fn offer(&self) {
        self.0.send_modify(|state| state.offered += 1);
    }

    /// The lane takes a part into a batch; refused once the job has given the rest up.
    pub(in crate::collector) fn claim(&self) -> bool {
        let mut taken = false;
        self.0.send_modify(|state| {
            taken = !state.abandoned;
            state.claimed += u64::from(taken);
        });
        taken
    }

    pub(in crate::collector) fn sealed(&self) {
        self.0.send_modify(|state| state.sealed += 1);
    }

    pub(in crate::collector) fn committed(&self) {
        self.0.send_modify(|state| state.committed += 1);
    }

    /// The store refused a claimed part; nothing more of this job is taken.
    pub(in crate::collector) fn overtaken(&self) {
        self.0.send_modify(|state| {
            state.claimed -= 1;
            state.overtaken = true;
            state.abandoned = true;
        });
    }

    pub(in crate::collector) fn standing(&self) -> Standing {
        let state = self.0.borrow();
        if state.overtaken {
            Standing::Overtaken
        } else if state.committed == state.offered {
            Standing::Committed
        } else {
            Standing::UnderWay
        }
    }

    /// How far the parts have come, to see whether they move.
    pub(in crate::collector) fn progress(&self) -> (u64, u64) {
        let state = self.0.borrow();
        (state.sealed, state.committed)
    }

    /// Returns once every part offered is committed or one was overtaken. Cancel-safe.
    pub(in crate::collector) async fn done(&self) {
        let mut changes = self.0.subscribe();
        let _ = changes.wait_for(|state| state.overtaken || state.committed == state.offered).await;
    }

    /// Gives up what no batch holds yet, and returns once what is being sealed is sealed: from then on the store says
    /// all that will come of this job.
    pub(in crate::collector) async fn abandon(&self) {
        self.0.send_modify(|state| state.abandoned = true);
        let mut changes = self.0.subscribe();
        let _ = changes.wait_for(|state| state.claimed == state.sealed).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_given_up_is_not_taken_into_a_batch() {
        let ticket = Ticket::default();
        ticket.offer();
        ticket.offer();
        assert!(ticket.claim());
        ticket.sealed();
        ticket.abandon().await;
        assert!(!ticket.claim());
        assert_eq!(ticket.standing(), Standing::UnderWay);
    }

    #[tokio::test]
    async fn a_job_is_done_when_all_it_offered_is_committed() {
        let ticket = Ticket::default();
        assert_eq!(ticket.standing(), Standing::Committed);
        ticket.offer();
        assert!(ticket.claim());
        ticket.sealed();
        assert_eq!(ticket.standing(), Standing::UnderWay);
        ticket.committed();
        ticket.done().await;
        assert_eq!(ticket.standing(), Standing::Committed);
    }

    #[tokio::test]
    async fn an_overtaken_job_is_done_and_gives_nothing_more() {
        let ticket = Ticket::default();
        ticket.offer();
        assert!(ticket.claim());
        ticket.overtaken();
        ticket.done().await;
        ticket.abandon().await;
        assert!(!ticket.claim());
        assert_eq!(ticket.standing(), Standing::Overtaken);
    }
}

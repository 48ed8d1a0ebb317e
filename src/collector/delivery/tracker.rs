//! A job's delivery tracker for one sink: how many of its parts are offered, sealed and committed.

use std::sync::Arc;

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, Default)]
struct State {
    offered: u64,
    /// Parts taken into a batch: they will be sealed or overtaken, whatever the job does.
    taken: u64,
    sealed: u64,
    committed: u64,
    /// The job has given up: parts that are not taken yet are dropped.
    abandoned: bool,
    /// The object's position in the store has moved on: the job's reading is out of date.
    overtaken: bool,
}

/// Shared by a job and a sink. Parts of one job reach one sink in order, so counts are enough.
#[derive(Clone, Debug)]
pub(in crate::collector) struct Tracker(Arc<watch::Sender<State>>);

/// How a job's parts ended in one sink.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::collector) enum Outcome {
    /// Every part is committed.
    Committed,
    /// Some parts are not committed yet.
    UnderWay,
    /// The object's position has moved on, and the job must read again.
    Overtaken,
}

impl Default for Tracker {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(State::default())))
    }
}

impl Tracker {
    pub(in crate::collector) fn offer(&self) {
        self.0.send_modify(|state| state.offered += 1);
    }

    /// Takes a part into a batch. Returns false if the job has given up.
    pub(in crate::collector) fn take(&self) -> bool {
        let mut is_taken = false;
        self.0.send_modify(|state| {
            is_taken = !state.abandoned;
            state.taken += u64::from(is_taken);
        });
        is_taken
    }

    pub(in crate::collector) fn sealed(&self) {
        self.0.send_modify(|state| state.sealed += 1);
    }

    pub(in crate::collector) fn committed(&self) {
        self.0.send_modify(|state| state.committed += 1);
    }

    /// Notes that the store refused a taken part. No further part of this job is taken.
    pub(in crate::collector) fn overtaken(&self) {
        self.0.send_modify(|state| {
            state.taken -= 1;
            state.overtaken = true;
            state.abandoned = true;
        });
    }

    pub(in crate::collector) fn outcome(&self) -> Outcome {
        let state = self.0.borrow();
        if state.overtaken {
            Outcome::Overtaken
        } else if state.committed == state.offered {
            Outcome::Committed
        } else {
            Outcome::UnderWay
        }
    }

    /// Counts of sealed and committed parts, to see whether there is progress.
    pub(in crate::collector) fn progress(&self) -> (u64, u64) {
        let state = self.0.borrow();
        (state.sealed, state.committed)
    }

    /// Returns once every part offered is committed or one was overtaken. Cancel-safe.
    pub(in crate::collector) async fn done(&self) {
        let mut changes = self.0.subscribe();
        let _ = changes.wait_for(|state| state.overtaken || state.committed == state.offered).await;
    }

    /// Gives up the parts that are in no batch yet, and returns once those being sealed are sealed: the job changes
    /// nothing in the store after that.
    pub(in crate::collector) async fn abandon(&self) {
        self.0.send_modify(|state| state.abandoned = true);
        let mut changes = self.0.subscribe();
        let _ = changes.wait_for(|state| state.taken == state.sealed).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_given_up_is_not_taken_into_a_batch() {
        let tracker = Tracker::default();
        tracker.offer();
        tracker.offer();
        assert!(tracker.take());
        tracker.sealed();
        tracker.abandon().await;
        assert!(!tracker.take());
        assert_eq!(tracker.outcome(), Outcome::UnderWay);
    }

    #[tokio::test]
    async fn a_job_is_done_when_all_it_offered_is_committed() {
        let tracker = Tracker::default();
        assert_eq!(tracker.outcome(), Outcome::Committed);
        tracker.offer();
        assert!(tracker.take());
        tracker.sealed();
        assert_eq!(tracker.outcome(), Outcome::UnderWay);
        tracker.committed();
        tracker.done().await;
        assert_eq!(tracker.outcome(), Outcome::Committed);
    }

    #[tokio::test]
    async fn an_overtaken_job_is_done_and_gives_nothing_more() {
        let tracker = Tracker::default();
        tracker.offer();
        assert!(tracker.take());
        tracker.overtaken();
        tracker.done().await;
        tracker.abandon().await;
        assert!(!tracker.take());
        assert_eq!(tracker.outcome(), Outcome::Overtaken);
    }
}

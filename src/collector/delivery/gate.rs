//! A sink's gate, which all of its lanes pass before they send. It is closed while the receiver fails, and lets one
//! probe through at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::collector::backoff::Backoff;
use crate::collector::random::Random;

/// The gate closes after this many failures in a row.
const FAILURES_MAX: u32 = 5;

/// The longest wait between two tries with a parked sink.
const PARKED_RETRY: Duration = Duration::from_secs(30);

/// The longest wait that a receiver may ask for.
const AFTER_MAX: Duration = Duration::from_secs(600);

/// Whether a lane may send now, and if not, why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Admission {
    Send,
    /// The gate is closed until this time. The first lane that asks after it sends a probe.
    Wait(Instant),
    /// Another lane's probe is under way.
    Probed,
}

/// The kind of a failure, which decides how long the gate closes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Failure {
    /// A later request may succeed. `after` is the wait that the receiver asked for.
    Transient { after: Option<Duration> },
    /// An operator has to mend something.
    Misconfigured,
}

/// One lane's handle of its sink's gate. Each lane has a clone.
#[derive(Clone, Debug)]
pub(in crate::collector) struct Gate {
    state: Arc<watch::Sender<State>>,
    seen: watch::Receiver<State>,
}

#[derive(Debug)]
struct State {
    backoff: Backoff,
    closed_until: Option<Instant>,
    is_probed: bool,
    passed_last: Option<Instant>,
}

impl State {
    fn admission(&self) -> Admission {
        match self.closed_until {
            None => Admission::Send,
            Some(_) if self.is_probed => Admission::Probed,
            Some(until) if Instant::now() < until => Admission::Wait(until),
            Some(_) => Admission::Send,
        }
    }
}

impl Gate {
    pub(in crate::collector) fn new(random: &Random) -> Self {
        let state = State { backoff: Backoff::new(random), closed_until: None, is_probed: false, passed_last: None };
        let (state, seen) = watch::channel(state);
        Self { state: Arc::new(state), seen }
    }

    /// Whether a lane could send now.
    pub(super) fn look(&mut self) -> Admission {
        self.seen.borrow_and_update().admission()
    }

    /// Admits a lane if it may send now. An admitted probe must end with [`Gate::passed`], [`Gate::failed`] or
    /// [`Gate::given_up`].
    pub(super) fn admit(&self) -> Admission {
        let mut admission = Admission::Send;
        self.state.send_if_modified(|state| {
            admission = state.admission();
            state.is_probed |= admission == Admission::Send && state.closed_until.is_some();
            false
        });
        admission
    }

    /// Notes that a request succeeded: opens the gate.
    pub(super) fn passed(&self) {
        self.state.send_if_modified(|state| {
            state.backoff.reset();
            state.is_probed = false;
            state.passed_last = Some(Instant::now());
            state.closed_until.take().is_some()
        });
    }

    /// When a request of any lane last succeeded.
    pub(super) fn passed_last(&self) -> Option<Instant> {
        self.state.borrow().passed_last
    }

    /// Notes that a request failed. Returns how many have failed in a row, and how long its lane must wait.
    pub(super) fn failed(&self, failure: Failure) -> (u32, Duration) {
        let mut answer = (0, Duration::ZERO);
        self.state.send_modify(|state| {
            let wait = state.backoff.wait();
            let attempts = state.backoff.attempts();
            let (wait, closes) = match failure {
                Failure::Transient { after } => {
                    let wait = after.map_or(wait, |after| after.min(AFTER_MAX).max(wait));
                    (wait, after.is_some() || attempts >= FAILURES_MAX || state.closed_until.is_some())
                }
                Failure::Misconfigured => (PARKED_RETRY.min(wait * 8), true),
            };
            if closes {
                state.closed_until = Some(Instant::now() + wait);
            }
            state.is_probed = false;
            answer = (attempts, wait);
        });
        answer
    }

    /// Notes that an admitted probe was not sent: another may be.
    pub(super) fn given_up(&self) {
        self.state.send_modify(|state| state.is_probed = false);
    }

    /// Returns when the gate has opened, or closed again, since this lane last looked. Cancel-safe.
    pub(super) async fn turned(&mut self) {
        // The channel cannot close: this gate holds a sender.
        let _ = self.seen.changed().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSIENT: Failure = Failure::Transient { after: None };

    fn is_wait(admission: Admission) -> bool {
        matches!(admission, Admission::Wait(_))
    }

    #[tokio::test(start_paused = true)]
    async fn after_five_failures_one_lane_probes_and_the_others_wait_for_its_answer() {
        let mut gate = Gate::new(&Random::seeded(1));
        let other = gate.clone();
        for _ in 0..4 {
            gate.failed(TRANSIENT);
            assert_eq!(other.admit(), Admission::Send);
        }
        let (failures, wait) = gate.failed(TRANSIENT);
        assert_eq!(failures, 5);
        assert!(is_wait(other.admit()) && is_wait(gate.admit()));
        tokio::time::sleep(wait).await;
        assert_eq!((gate.admit(), other.admit()), (Admission::Send, Admission::Probed));
        let (_, wait) = gate.failed(TRANSIENT);
        assert!(is_wait(other.admit()));
        tokio::time::sleep(wait).await;
        assert_eq!(other.admit(), Admission::Send);
        assert_eq!(gate.look(), Admission::Probed);
        other.passed();
        gate.turned().await;
        assert_eq!((gate.admit(), other.admit()), (Admission::Send, Admission::Send));
        assert_eq!(gate.failed(TRANSIENT).0, 1, "counted anew");
    }

    #[tokio::test(start_paused = true)]
    async fn a_misconfigured_receiver_closes_the_gate_at_once_and_one_that_names_a_time_until_then() {
        let gate = Gate::new(&Random::seeded(1));
        gate.failed(Failure::Misconfigured);
        assert!(is_wait(gate.admit()));
        let gate = Gate::new(&Random::seeded(1));
        let (_, wait) = gate.failed(Failure::Transient { after: Some(Duration::from_secs(7)) });
        assert_eq!(wait, Duration::from_secs(7));
        assert_eq!(gate.admit(), Admission::Wait(Instant::now() + wait));
        let (_, wait) = gate.failed(Failure::Transient { after: Some(Duration::from_secs(100_000)) });
        assert_eq!(wait, AFTER_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_was_not_sent_is_anothers() {
        let gate = Gate::new(&Random::seeded(1));
        let (_, wait) = gate.failed(Failure::Misconfigured);
        tokio::time::sleep(wait).await;
        assert_eq!((gate.admit(), gate.admit()), (Admission::Send, Admission::Probed));
        gate.given_up();
        assert_eq!(gate.admit(), Admission::Send);
    }
}

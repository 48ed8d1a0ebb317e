//! Whether the daemon is live, and which of its feeds, queues, sinks and identities are failing, since when and why.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::telemetry::one_line;

/// The longest reason, in bytes.
const REASON_BYTES_MAX: usize = 1500;

/// A failure that was not repeated for this long ends once the part succeeds at another activity: the failed activity
/// may not have been tried since.
const STALE_MS: u64 = 600_000;

/// The state of all parts. The collector writes it; the admin server and the service manager read it. All times are in
/// milliseconds since the process started, on the monotonic clock.
#[derive(Debug, Default)]
pub(crate) struct Health {
    beat_ms: AtomicU64,
    parts: Mutex<BTreeMap<Part, Entry>>,
}

/// A part of the daemon that can fail independently of others.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Part {
    pub kind: PartKind,
    pub name: Arc<str>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum PartKind {
    Store,
    Identity,
    Queue,
    Feed,
    Sink,
}

/// An activity of a part. A part may fail at one activity and succeed at others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Activity {
    /// The store: writing checkpoints.
    Commit,
    /// An identity: obtaining credentials.
    Credentials,
    /// A queue: receiving messages.
    Receive,
    /// A queue: keeping messages invisible, or returning them.
    Visibility,
    /// A queue: deleting messages.
    Delete,
    /// A feed: listing its bucket or directory.
    List,
    /// A feed: reading objects.
    Read,
    /// A sink: delivering batches.
    Deliver,
    /// A sink: answering at all.
    Answer,
}

/// A failure of a part at an activity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    /// One word for alerts, which does not change between versions.
    pub kind: &'static str,
    pub reason: String,
}

/// A part counts as failing after this many failures in a row over this time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Patience {
    pub failures: u32,
    pub span_ms: u64,
}

impl Patience {
    /// One failure is enough.
    pub(crate) const NONE: Self = Self { failures: 1, span_ms: 0 };
}

/// The state of a part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// The part has neither succeeded nor failed yet.
    Starting,
    Ok,
    /// The part fails at one or more activities.
    Failing(Vec<Standstill>),
}

/// An activity that fails.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Standstill {
    pub activity: Activity,
    pub since_ms: u64,
    pub failure: Failure,
}

#[derive(Debug, Default)]
struct Entry {
    worked: bool,
    /// The activities that fail, including those whose patience is not over yet.
    runs: BTreeMap<Activity, Run>,
}

/// Failures in a row.
#[derive(Debug)]
struct Run {
    failures: u32,
    since_ms: u64,
    last_ms: u64,
    failure: Failure,
    is_over_patience: bool,
}

impl Health {
    /// How long the supervisor may be silent before the daemon counts as stuck.
    pub(crate) const SILENCE_MAX_MS: u64 = 60_000;

    /// Records that the supervisor's loop made another turn.
    pub(crate) fn beat(&self, uptime_ms: u64) {
        self.beat_ms.fetch_max(uptime_ms, Ordering::Relaxed);
    }

    pub(crate) fn live(&self, uptime_ms: u64) -> bool {
        uptime_ms.saturating_sub(self.beat_ms.load(Ordering::Relaxed)) <= Self::SILENCE_MAX_MS
    }

    /// Makes a part known. Results of parts that were not announced are ignored.
    pub(crate) fn announce(&self, part: Part) {
        self.parts().entry(part).or_default();
    }

    /// The part has succeeded at this activity. Returns for how many milliseconds it had been failing at it, if it had.
    pub(crate) fn worked(&self, part: &Part, activity: Activity, uptime_ms: u64) -> Option<u64> {
        let mut parts = self.parts();
        let entry = parts.get_mut(part)?;
        entry.worked = true;
        entry.end(uptime_ms, |other, run| other == activity || uptime_ms.saturating_sub(run.last_ms) >= STALE_MS)
    }

    /// The part does not fail at this activity any more, although it has not succeeded at it either. Returns the same
    /// as [`Self::worked`].
    pub(crate) fn recovered(&self, part: &Part, activity: Activity, uptime_ms: u64) -> Option<u64> {
        self.parts().get_mut(part)?.end(uptime_ms, |other, _| other == activity)
    }

    /// The part has failed at this activity. It counts as failing once the patience is over.
    pub(crate) fn failed(&self, part: &Part, activity: Activity, failure: Failure, patience: Patience, uptime_ms: u64) {
        let mut parts = self.parts();
        let Some(entry) = parts.get_mut(part) else { return };
        let reason = one_line(&failure.reason, REASON_BYTES_MAX);
        let failure = Failure { kind: failure.kind, reason };
        let first = || Run {
            failures: 0,
            since_ms: uptime_ms,
            last_ms: uptime_ms,
            failure: failure.clone(),
            is_over_patience: false,
        };
        let run = entry.runs.entry(activity).or_insert_with(first);
        run.failures = run.failures.saturating_add(1);
        run.last_ms = uptime_ms;
        run.failure = failure;
        run.is_over_patience |=
            run.failures >= patience.failures && uptime_ms.saturating_sub(run.since_ms) >= patience.span_ms;
    }

    /// All parts with their states, ordered by kind and name.
    pub(crate) fn states(&self) -> Vec<(Part, State)> {
        self.parts().iter().map(|(part, entry)| (part.clone(), entry.state())).collect()
    }

    /// The parts that still keep the daemon from being ready: the store or a sink that was never opened, an identity
    /// that was not asked for credentials yet. Parts that fail later are not among them, because a restart would not
    /// help.
    pub(crate) fn unready(&self) -> Vec<Part> {
        let parts = self.parts();
        let missing = parts.iter().filter(|(part, entry)| match part.kind {
            PartKind::Store | PartKind::Sink => !entry.worked,
            PartKind::Identity => entry.state() == State::Starting,
            PartKind::Queue | PartKind::Feed => false,
        });
        missing.map(|(part, _)| part.clone()).collect()
    }

    fn parts(&self) -> MutexGuard<'_, BTreeMap<Part, Entry>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Ends the failures that are over. Returns for how many milliseconds the part had been failing, if it had.
    fn end(&mut self, uptime_ms: u64, is_over: impl Fn(Activity, &Run) -> bool) -> Option<u64> {
        let over = self.runs.extract_if(.., |activity, run| is_over(*activity, run));
        let stood_still = over.filter(|(_, run)| run.is_over_patience);
        stood_still.map(|(_, run)| uptime_ms.saturating_sub(run.since_ms)).max()
    }

    fn state(&self) -> State {
        let over = self.runs.iter().filter(|(_, run)| run.is_over_patience);
        let standstills =
            over.map(|(&activity, run)| Standstill { activity, since_ms: run.since_ms, failure: run.failure.clone() });
        match standstills.collect::<Vec<_>>() {
            none if none.is_empty() && self.worked => State::Ok,
            none if none.is_empty() => State::Starting,
            some => State::Failing(some),
        }
    }
}

impl PartKind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Identity => "identity",
            Self::Queue => "queue",
            Self::Feed => "feed",
            Self::Sink => "sink",
        }
    }
}

impl Activity {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Credentials => "credentials",
            Self::Receive => "receive",
            Self::Visibility => "visibility",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Read => "read",
            Self::Deliver => "deliver",
            Self::Answer => "answer",
        }
    }
}

impl Part {
    pub(crate) fn new(kind: PartKind, name: &str) -> Self {
        Self { kind, name: name.into() }
    }

    /// The checkpoint store. There is only one.
    pub(crate) fn store() -> Self {
        Self::new(PartKind::Store, "checkpoints")
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.word(), self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Health {
        fn is_failing(&self, part: &Part) -> bool {
            self.states().iter().any(|(other, state)| other == part && matches!(state, State::Failing(_)))
        }
    }

    const THRICE: Patience = Patience { failures: 3, span_ms: 1_000 };

    fn feed() -> Part {
        Part::new(PartKind::Feed, "audit")
    }

    fn announced(parts: &[Part]) -> Health {
        let health = Health::default();
        parts.iter().for_each(|part| health.announce(part.clone()));
        health
    }

    fn denied() -> Failure {
        Failure { kind: "denied", reason: "AccessDenied".to_owned() }
    }

    #[test]
    fn a_silent_supervisor_is_not_live() {
        let health = Health::default();
        health.beat(10);
        assert!(health.live(10 + Health::SILENCE_MAX_MS));
        assert!(!health.live(11 + Health::SILENCE_MAX_MS));
        health.beat(5);
        assert!(health.live(10 + Health::SILENCE_MAX_MS), "an earlier beat does not take back a later one");
    }

    #[test]
    fn ready_needs_what_a_start_needs_and_is_not_lost_again() {
        let (store, sink) = (Part::store(), Part::new(PartKind::Sink, "out"));
        let identity = Part::new(PartKind::Identity, "reader");
        let health = announced(&[store.clone(), sink.clone(), identity.clone(), feed()]);
        assert_eq!(health.unready(), [store.clone(), identity.clone(), sink.clone()]);
        health.worked(&store, Activity::Commit, 0);
        health.worked(&identity, Activity::Credentials, 0);
        health.failed(&sink, Activity::Deliver, denied(), Patience::NONE, 0);
        assert!(health.is_failing(&sink));
        assert_eq!(health.unready(), std::slice::from_ref(&sink), "it was never opened");
        health.worked(&sink, Activity::Deliver, 0);
        for (part, activity) in [(&sink, Activity::Deliver), (&identity, Activity::Credentials)] {
            health.failed(part, activity, denied(), Patience::NONE, 0);
        }
        assert_eq!(health.unready(), []);
    }

    #[test]
    fn an_identity_that_is_refused_from_the_start_is_no_reason_to_restart() {
        let identity = Part::new(PartKind::Identity, "reader");
        let health = announced(std::slice::from_ref(&identity));
        assert_eq!(health.unready().len(), 1);
        health.failed(&identity, Activity::Credentials, denied(), Patience::NONE, 0);
        assert_eq!(health.unready(), []);
        assert!(health.is_failing(&identity));
    }

    #[test]
    fn a_part_fails_once_its_patience_is_over_and_tells_since_when() {
        let health = announced(&[feed()]);
        let fails = |uptime_ms| {
            health.failed(&feed(), Activity::Read, denied(), THRICE, uptime_ms);
            health.is_failing(&feed())
        };
        assert!(!fails(500) && !fails(500) && !fails(500) && !fails(1_499), "many, and not for long");
        assert_eq!(health.states()[0].1, State::Starting);
        assert!(fails(1_500));
        let expected = Standstill { activity: Activity::Read, since_ms: 500, failure: denied() };
        assert_eq!(health.states()[0].1, State::Failing(vec![expected]));
        assert_eq!(health.worked(&feed(), Activity::Read, 4_500), Some(4_000));
        assert_eq!(health.states()[0].1, State::Ok);
        assert!(!fails(9_000), "a success begins the count anew");
        assert_eq!(health.worked(&feed(), Activity::Read, 9_001), None, "it had not counted as failing");
    }

    #[test]
    fn a_success_at_one_activity_does_not_hide_the_failure_of_another() {
        let health = announced(&[feed()]);
        health.failed(&feed(), Activity::List, denied(), Patience::NONE, 0);
        health.worked(&feed(), Activity::Read, 1);
        assert!(health.is_failing(&feed()));
        health.worked(&feed(), Activity::List, 2);
        assert!(!health.is_failing(&feed()));
    }

    #[test]
    fn a_failure_that_does_not_come_again_is_over_once_something_else_works() {
        let queue = Part::new(PartKind::Queue, "events");
        let health = announced(std::slice::from_ref(&queue));
        health.failed(&queue, Activity::Visibility, denied(), Patience::NONE, 0);
        health.failed(&queue, Activity::Visibility, denied(), Patience::NONE, 1_000);
        assert_eq!(health.worked(&queue, Activity::Receive, 600_999), None);
        assert!(health.is_failing(&queue));
        assert_eq!(health.worked(&queue, Activity::Receive, 601_000), Some(601_000));
        assert!(!health.is_failing(&queue));
    }

    #[test]
    fn what_does_not_fail_any_more_has_not_worked_yet() {
        let sink = Part::new(PartKind::Sink, "out");
        let health = announced(std::slice::from_ref(&sink));
        health.failed(&sink, Activity::Answer, denied(), Patience::NONE, 10);
        assert_eq!(health.recovered(&sink, Activity::Answer, 15), Some(5));
        assert_eq!(health.states()[0].1, State::Starting);
        assert_eq!(health.unready().len(), 1);
    }

    #[test]
    fn a_reason_is_one_line_of_bounded_length() {
        let health = announced(&[feed()]);
        let reason = format!("s3://b/k\nready\n{}", "x".repeat(10_000));
        health.failed(&feed(), Activity::Read, Failure { kind: "denied", reason }, Patience::NONE, 0);
        let State::Failing(standstills) = &health.states()[0].1 else { panic!("it failed") };
        assert!(standstills[0].failure.reason.starts_with("s3://b/k ready xxx"));
        assert_eq!(standstills[0].failure.reason.len(), REASON_BYTES_MAX);
    }
}

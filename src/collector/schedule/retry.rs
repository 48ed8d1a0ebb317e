//! Decides what follows when a job fails.

use std::time::Duration;

use crate::collector::job::task::JobError;
use crate::config::{Limits, OweAfter};
use crate::identity::fault::FaultKind;
use crate::object::ReadError;

/// With `--once`, how often an object is tried.
const ONCE_ATTEMPTS_MAX: u32 = 4;

/// A version is quarantined after the decoder panicked over it this often.
const PANICS_MAX: u32 = 3;

/// What to do about an object whose job failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::collector) enum Verdict {
    /// Read it again after a while.
    Again(Duration),
    /// It could not be read for too long: move it to its feed's backlog.
    Backlog,
    /// With `--once`: give it up. Its message is received again, or moved away by its queue's redrive policy.
    GiveUp,
    /// The object is gone.
    Vanished,
    /// The version with this entity tag will never be readable.
    Quarantine(Box<str>),
}

/// Decides by the error, the number of attempts, and how long the object has been tried.
pub(in crate::collector) fn verdict(
    error: &JobError,
    attempts: u32,
    tried_for: Duration,
    limits: &Limits,
    once: bool,
) -> Verdict {
    let patience = match limits.owe_after {
        OweAfter::After(patience) => patience,
        OweAfter::Never => limits.stall_after,
    };
    let wait = Duration::from_millis(250).saturating_mul(1 << attempts.min(8)).min(Duration::from_secs(60));
    match error {
        JobError::Read(ReadError::NotFound { .. }) if attempts >= limits.read_attempts => Verdict::Vanished,
        JobError::Unreadable { etag, .. } => Verdict::Quarantine(etag.clone()),
        JobError::Panicked { etag } if attempts >= PANICS_MAX => Verdict::Quarantine(etag.clone()),
        _ if once && attempts >= ONCE_ATTEMPTS_MAX => Verdict::GiveUp,
        _ if !once && tried_for >= patience => Verdict::Backlog,
        JobError::Read(ReadError::Changed { .. }) | JobError::Overtaken => Verdict::Again(Duration::ZERO),
        _ => Verdict::Again(wait),
    }
}

/// The kind under which a failed read is counted and reported. `None` if the failure was not one of reading.
pub(in crate::collector) fn kind(error: &JobError) -> Option<FaultKind> {
    match error {
        JobError::Read(error) => Some(error.kind()),
        JobError::Unreadable { kind, .. } => Some(*kind),
        JobError::Panicked { .. } => Some(FaultKind::Panicked),
        JobError::Overtaken | JobError::Store(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notification::ObjectId;

    fn object() -> ObjectId {
        ObjectId::new("b", "k")
    }

    fn after(error: ReadError, attempts: u32, secs: u64) -> Verdict {
        verdict(&JobError::Read(error), attempts, Duration::from_secs(secs), &Limits::default(), false)
    }

    #[test]
    fn an_object_that_is_not_there_is_asked_for_again_before_it_has_vanished() {
        let gone = || ReadError::NotFound { object: object() };
        assert!(matches!(after(gone(), 1, 0), Verdict::Again(_)));
        assert!(matches!(after(gone(), 2, 0), Verdict::Again(_)));
        assert_eq!(after(gone(), 3, 1), Verdict::Vanished);
    }

    #[test]
    fn a_refused_read_is_never_taken_for_settled() {
        let denied = || ReadError::Denied { object: object(), kind: FaultKind::Denied, reason: "no".into() };
        assert!(matches!(after(denied(), 1, 0), Verdict::Again(_)));
        assert!(matches!(after(denied(), 50, 599), Verdict::Again(_)));
        assert_eq!(after(denied(), 51, 600), Verdict::Backlog);
    }

    #[test]
    fn an_object_that_will_never_read_is_quarantined_at_once() {
        let damaged = JobError::Unreadable {
            object: object(),
            etag: "e".into(),
            kind: FaultKind::Archived,
            reason: "GLACIER".into(),
        };
        let verdict = verdict(&damaged, 1, Duration::ZERO, &Limits::default(), false);
        assert_eq!(verdict, Verdict::Quarantine("e".into()));
    }

    #[test]
    fn an_object_that_changed_while_it_was_read_is_read_again_at_once() {
        let changed = ReadError::Changed { object: object() };
        assert_eq!(after(changed, 1, 0), Verdict::Again(Duration::ZERO));
    }

    #[test]
    fn waits_grow_to_a_minute() {
        let error = || ReadError::Unavailable { object: object(), kind: FaultKind::Unavailable, reason: "503".into() };
        assert_eq!(after(error(), 1, 0), Verdict::Again(Duration::from_millis(500)));
        assert_eq!(after(error(), 30, 1), Verdict::Again(Duration::from_secs(60)));
    }

    #[test]
    fn once_does_not_wait_for_ever() {
        let error = JobError::Read(ReadError::Unavailable {
            object: object(),
            kind: FaultKind::Unavailable,
            reason: "503".into(),
        });
        let verdict = verdict(&error, 4, Duration::from_secs(1), &Limits::default(), true);
        assert_eq!(verdict, Verdict::GiveUp);
    }
}

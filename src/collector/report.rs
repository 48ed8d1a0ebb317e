//! Reports of the running collector: rate-limited log messages that may repeat, and the health of its parts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tracing::info;

use crate::checkpoint::StoreError;
use crate::collector::clock;
use crate::identity::fault::FaultKind;
use crate::notification::ObjectId;
use crate::notification::queue::QueueError;
use crate::telemetry::health::{Activity, Failure, Health, Part, PartKind, Patience};
use crate::telemetry::limiter::{Admission, HeldBack, Limiter};
use crate::telemetry::metrics::Metrics;

/// When failed reads count against a feed: one object may be unreadable by itself, so the reads must fail repeatedly
/// with no success between them.
const READS: Patience = Patience { failures: 3, span_ms: 1_000 };

/// When failed requests count against a queue: a service refuses a request now and then. A failure that needs an
/// operator counts at once.
const REQUESTS: Patience = Patience { failures: 2, span_ms: 0 };

/// How often an object may change while it is read before that is logged.
const CHANGES_MAX: u32 = 3;

/// Logs a message that may repeat: the first for its subject at once, then one a minute with the count of those held
/// back. Held back messages are logged at DEBUG.
///
/// `limited!(reporter, WARN, subject, "message", field, %other)`
macro_rules! limited {
    ($reporter:expr, $level:ident, $subject:expr, $message:literal, $($field:tt)+) => {
        match $reporter.admit($message, $subject) {
            $crate::telemetry::limiter::Admission::Log { held_back } => {
                tracing::event!(tracing::Level::$level, held_back, $($field)+, $message);
            }
            $crate::telemetry::limiter::Admission::HoldBack => tracing::debug!($($field)+, $message),
        }
    };
}

pub(super) use limited;

/// Shared by all tasks. Cheap to clone.
#[derive(Clone)]
pub(super) struct Reporter(Arc<Shared>);

struct Shared {
    limiter: Mutex<Limiter>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    began: Instant,
}

impl Reporter {
    pub(super) fn new(health: &Arc<Health>, metrics: &Arc<Metrics>, began: Instant) -> Self {
        let (limiter, health, metrics) = (Mutex::default(), Arc::clone(health), Arc::clone(metrics));
        Self(Arc::new(Shared { limiter, health, metrics, began }))
    }

    pub(super) fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    fn uptime_ms(&self) -> u64 {
        clock::since_ms(self.0.began)
    }

    fn limiter(&self) -> MutexGuard<'_, Limiter> {
        self.0.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a message is logged now. For `limited!`.
    pub(super) fn admit(&self, message: &'static str, subject: &str) -> Admission {
        self.limiter().admit(message, subject, self.uptime_ms())
    }

    /// Announces a part: health and metrics show it from here on.
    pub(super) fn announce(&self, part: Part) {
        self.0.health.announce(part);
    }

    /// Notes that the part has succeeded at this activity.
    pub(super) fn worked(&self, part: &Part, activity: Activity) {
        let stood_still_ms = self.0.health.worked(part, activity, self.uptime_ms());
        self.again(part, activity, stood_still_ms);
    }

    /// Notes that the part has failed at this activity. The caller logs the failure.
    pub(super) fn failed(&self, part: &Part, activity: Activity, failure: Failure, patience: Patience) {
        self.0.health.failed(part, activity, failure, patience, self.uptime_ms());
    }

    /// Notes that the part does not fail at this activity any more.
    pub(super) fn recovered(&self, part: &Part, activity: Activity) {
        let stood_still_ms = self.0.health.recovered(part, activity, self.uptime_ms());
        self.again(part, activity, stood_still_ms);
    }

    fn again(&self, part: &Part, activity: Activity, stood_still_ms: Option<u64>) {
        let Some(stood_still_ms) = stood_still_ms else { return };
        let (subject, after_secs) = (format!("{part} {}", activity.word()), stood_still_ms / 1000);
        match activity {
            Activity::Deliver => limited!(self, INFO, &subject, "the sink takes events again", %part, after_secs),
            _ => limited!(self, INFO, &subject, "works again", %part, activity = activity.word(), after_secs),
        }
    }

    /// Reports that the checkpoint store's disk is full. The caller retries later.
    pub(super) fn store_is_full(&self) {
        limited!(
            self,
            ERROR,
            "checkpoints",
            "the checkpoint store's disk is full; what cannot be written is tried again",
            hint = "make room on the disk of state_dir"
        );
        let failure = Failure { kind: "disk_full", reason: StoreError::Full.to_string() };
        self.failed(&Part::store(), Activity::Commit, failure, Patience::NONE);
    }

    /// Notes that a write to the checkpoint store succeeded.
    pub(super) fn stored(&self) {
        self.worked(&Part::store(), Activity::Commit);
    }

    /// Notes that a request to the queue failed.
    pub(super) fn queue_failed(&self, queue: &str, activity: Activity, error: &QueueError) {
        let patience = match error {
            QueueError::Unavailable { .. } => REQUESTS,
            QueueError::Denied { .. } | QueueError::NotFound { .. } => Patience::NONE,
        };
        let failure = Failure { kind: error.kind().word(), reason: error.to_string() };
        self.failed(&Part::new(PartKind::Queue, queue), activity, failure, patience);
    }

    pub(super) fn queue_worked(&self, queue: &str, activity: Activity) {
        self.worked(&Part::new(PartKind::Queue, queue), activity);
    }

    /// Notes that an object of the feed was read to its end, or found unchanged.
    pub(super) fn read(&self, feed: &str) {
        self.worked(&Part::new(PartKind::Feed, feed), Activity::Read);
    }

    /// Notes that an object of the feed could not be read: counts it, and updates the feed's health.
    pub(super) fn read_failed(&self, feed: &str, kind: FaultKind, error: &dyn std::error::Error) {
        self.0.metrics.reads_failed.add([feed, kind.word()], 1);
        let part = Part::new(PartKind::Feed, feed);
        if kind.is_of_place() {
            let failure = Failure { kind: kind.word(), reason: error.to_string() };
            self.failed(&part, Activity::Read, failure, READS);
        } else {
            // The fault lies with the object: its place answers.
            self.worked(&part, Activity::Read);
        }
    }

    /// Logs that a read failed and is tried again.
    pub(super) fn reads_again(
        &self,
        feed: &str,
        object: &ObjectId,
        kind: FaultKind,
        error: &dyn std::error::Error,
        attempts: u32,
    ) {
        // An object that is not found is reported once it is certain to be gone.
        let ordinary = kind == FaultKind::NotFound || (kind == FaultKind::Changed && attempts < CHANGES_MAX);
        if ordinary {
            return;
        }
        let (subject, hint, kind) = (format!("{feed} {}", kind.word()), kind.advice(), kind.word());
        let error = without_address(object, error);
        limited!(self, WARN, &subject, "a read failed and is tried again", feed, %object, kind, %error, hint, attempts);
    }

    /// Logs how many messages were held back, for those that have not come again since.
    pub(super) fn look(&self) {
        let quiet = self.limiter().quiet(self.uptime_ms());
        quiet.iter().for_each(log_held_back);
    }

    /// Logs at the end how many messages were held back.
    pub(super) fn end(&self) {
        let held_back = self.limiter().end();
        held_back.iter().for_each(log_held_back);
    }
}

/// The error's text without the object's address, which another field of the same line has.
pub(super) fn without_address(object: &ObjectId, error: &dyn std::error::Error) -> String {
    error.to_string().replace(&object.to_string(), "the object")
}

/// Logs how many messages were held back. The first of them was logged at its own level.
fn log_held_back(held_back: &HeldBack) {
    let HeldBack { topic, subject, times } = held_back;
    info!(topic, subject, held_back = times, "a message came again and was held back");
}

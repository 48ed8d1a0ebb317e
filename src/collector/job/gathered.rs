//! What a job leaves with a sink whose batches gather for long, and what is to be recorded once the sink has it.

use std::sync::Arc;

use crate::checkpoint::{Finish, StoreError};
use crate::collector::delivery::tracker::{Outcome, Tracker};
use crate::collector::freshness;
use crate::collector::ids::SinkId;
use crate::collector::services::Services;

/// Parts of one object that wait in a sink's lane for its next batch, or are in one under way.
#[derive(Debug)]
pub(in crate::collector) struct Gathered {
    pub sink: SinkId,
    pub(super) tracker: Tracker,
    /// What the store records then; nothing where the sink lacks more of the object.
    pub(super) rest: Option<Rest>,
}

/// The end of a reading that only a gathering sink is awaited for.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) finish: Finish,
    pub(super) written_ms: Option<i64>,
    /// Where the job itself could not record that all of the object was read: how many lines were no record.
    pub(super) skipped_lines: Option<u64>,
}

impl Gathered {
    /// The version that was read, where it was offered whole.
    pub(in crate::collector) fn etag(&self) -> Option<&str> {
        self.rest.as_ref().map(|rest| &*rest.finish.etag)
    }

    /// The sink lacks more of the object than this.
    pub(super) fn of_more(self) -> Self {
        Self { rest: None, ..self }
    }

    /// Waits until the sink has it. Returns whether it has had all that there is of the object, and the store has recorded
    /// that.
    ///
    /// # Errors
    /// The store failed.
    pub(in crate::collector) async fn had(self, services: &Services) -> Result<bool, StoreError> {
        self.tracker.done().await;
        let Some(Rest { finish, written_ms, skipped_lines }) =
            self.rest.filter(|_| self.tracker.outcome() == Outcome::Committed)
        else {
            return Ok(false);
        };
        let (feed, fresh) = (Arc::clone(&finish.feed), finish.fresh.clone());
        if !services.store.positions.finish(finish).await? {
            return Ok(false);
        }
        if let Some(skipped_lines) = skipped_lines {
            services.metrics.objects.add([&feed, "delivered"], 1);
            services.metrics.left_out.lines.add([&feed], skipped_lines);
        }
        freshness::show(&services.metrics, &services.clock, &feed, fresh.as_ref(), written_ms);
        Ok(true)
    }
}

/// Gives up what is in no batch yet: the sink's next reading of the object begins where it stands.
pub(super) async fn abandon(gathered: Vec<Gathered>) {
    for one in gathered {
        one.tracker.abandon().await;
    }
}

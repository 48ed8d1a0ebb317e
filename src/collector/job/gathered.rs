//! Parts that a job leaves with a gathering sink, and what is recorded once the sink has them.

use std::sync::Arc;

use crate::checkpoint::{Finish, StoreError};
use crate::collector::delivery::tracker::{Outcome, Tracker};
use crate::collector::freshness;
use crate::collector::ids::SinkId;
use crate::collector::services::Services;

/// Parts of one object that wait in a sink's lane for its next batch, or are in a batch under way.
#[derive(Debug)]
pub(in crate::collector) struct Gathered {
    pub sink: SinkId,
    pub(super) tracker: Tracker,
    /// What the store records once the sink has the parts. `None` if the sink lacks more of the object.
    pub(super) rest: Option<Rest>,
}

/// The end of a reading that waits only for a gathering sink.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) finish: Finish,
    pub(super) written_ms: Option<i64>,
    /// How many lines were no records, if the job itself could not record the reading.
    pub(super) skipped_lines: Option<u64>,
}

impl Gathered {
    /// The entity tag of the version that was read. `None` if the sink was not offered all of it.
    pub(in crate::collector) fn etag(&self) -> Option<&str> {
        self.rest.as_ref().map(|rest| &*rest.finish.etag)
    }

    /// Marks that the sink lacks more of the object than these parts.
    pub(super) fn of_more(self) -> Self {
        Self { rest: None, ..self }
    }

    /// Waits until the sink has the parts. Returns whether it has then had all of the object, and the store has
    /// recorded that.
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

/// Gives up the parts that are in no batch yet. The next reading for the sink begins at its cursor.
pub(super) async fn abandon(gathered: Vec<Gathered>) {
    for one in gathered {
        one.tracker.abandon().await;
    }
}

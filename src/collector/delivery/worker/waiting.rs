//! What a sink worker does while its sink, or the store, cannot take more.

use std::time::Duration;

use tokio::time::Instant;

use super::{LaneSender, WorkerError};
use crate::checkpoint::StoreError;
use crate::collector::backoff::Backoff;
use crate::collector::report::limited;
use crate::sink::DeliveryError;
use crate::telemetry::health::{Activity, Failure, Patience};

/// How often a parked sink is asked again.
const PARKED_RETRY: Duration = Duration::from_secs(30);

/// The longest wait before a write is retried for which the checkpoint store's disk had no space.
const SPACE_RETRY: Duration = Duration::from_secs(5);

impl LaneSender {
    /// The sink did not take the batch: reports that, and waits before the next try.
    pub(super) async fn pause(&mut self, error: &DeliveryError, backoff: &mut Backoff) -> Result<(), WorkerError> {
        let (outcome, wait) = match error {
            DeliveryError::Unavailable(_) => ("unavailable", backoff.wait()),
            DeliveryError::Misconfigured(_) => ("misconfigured", PARKED_RETRY.min(backoff.wait() * 8)),
        };
        self.setup.metrics.sink_batches.add([&self.name, outcome], 1);
        self.setup.metrics.sink_retries.add([&self.name], 1);
        let (reporter, sink, attempts) = (&self.setup.reporter, &self.name, backoff.attempts());
        match error {
            DeliveryError::Unavailable(_) => limited!(
                reporter, WARN, sink, "a batch was not delivered; trying again", %sink, %error, attempts
            ),
            DeliveryError::Misconfigured(_) => limited!(
                reporter, ERROR, sink, "the sink is parked until it is mended", %sink, %error, attempts
            ),
        }
        let failure = Failure { kind: outcome, reason: error.to_string() };
        reporter.failed(&self.part(), Activity::Deliver, failure, Patience::NONE);
        self.wait(wait).await
    }

    pub(super) async fn wait_for_space(&mut self, backoff: &mut Backoff) -> Result<(), WorkerError> {
        if self.setup.once {
            return Err(StoreError::Full.into());
        }
        let wait = backoff.wait().min(SPACE_RETRY);
        self.setup.reporter.store_is_full();
        self.wait(wait).await
    }

    /// A write to the store succeeded, perhaps after waits.
    pub(super) fn written(&self, waited: &Backoff) {
        self.setup.reporter.stored();
        if waited.attempts() > 0 {
            self.takes_again();
        }
    }

    /// The sink does not stand still any more.
    pub(super) fn takes_again(&self) {
        self.status.send_if_modified(|status| status.failing.take().is_some());
    }

    async fn wait(&mut self, wait: Duration) -> Result<(), WorkerError> {
        self.status.send_modify(|status| _ = status.failing.get_or_insert_with(Instant::now));
        tokio::select! {
            biased;
            () = self.setup.shutdown.requested() => Err(WorkerError::Stopped),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }
}

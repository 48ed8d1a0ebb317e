//! How a sink worker waits while its sink fails or the store's disk is full.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{LaneSender, WorkerError};
use crate::checkpoint::{Answer, Positions, StoreError};
use crate::collector::backoff::Backoff;
use crate::collector::delivery::gate::Failure;
use crate::collector::report::limited;
use crate::sink::DeliveryError;
use crate::telemetry::health::{self, Activity, Patience};

/// The longest wait before a write is retried that failed because the store's disk is full.
const SPACE_RETRY: Duration = Duration::from_secs(5);

impl LaneSender {
    /// Reports that the sink did not take a request. Nothing is sent for the returned time.
    pub(super) fn failed(&mut self, error: &DeliveryError) -> Duration {
        let (outcome, failure) = match error {
            DeliveryError::Unavailable { after, .. } => ("unavailable", Failure::Transient { after: *after }),
            DeliveryError::Refused(_) => ("refused", Failure::Transient { after: None }),
            DeliveryError::Misconfigured(_) => ("misconfigured", Failure::Misconfigured),
        };
        let (attempts, wait) = self.setup.gate.failed(failure);
        self.resting_until = Some(Instant::now() + wait);
        self.setup.metrics.sink_batches.add([&self.name, outcome], 1);
        self.setup.metrics.sink_retries.add([&self.name], 1);
        let (reporter, sink) = (&self.setup.reporter, &self.name);
        match failure {
            Failure::Transient { .. } => limited!(
                reporter, WARN, sink, "a batch was not delivered; trying again", %sink, %error, attempts
            ),
            Failure::Misconfigured => limited!(
                reporter, ERROR, sink, "the sink is parked until it is mended", %sink, %error, attempts
            ),
        }
        let failure = health::Failure { kind: outcome, reason: error.to_string() };
        reporter.failed(&self.part(), Activity::Deliver, failure, Patience::NONE);
        self.stands_still();
        wait
    }

    /// Like [`failed`](Self::failed), and waits for that time.
    pub(super) async fn pause(&mut self, error: &DeliveryError) -> Result<(), WorkerError> {
        let wait = self.failed(error);
        self.wait(wait).await
    }

    /// Writes to the store, and retries while its disk is full.
    pub(super) async fn store<T>(
        &mut self,
        write: impl Fn(&dyn Positions) -> Answer<'_, T> + Send + Sync,
    ) -> Result<T, WorkerError> {
        Ok(self.store_timed(write).await?.0)
    }

    /// Like [`store`](Self::store), and also returns how long the successful write took.
    pub(super) async fn store_timed<T>(
        &mut self,
        write: impl Fn(&dyn Positions) -> Answer<'_, T> + Send + Sync,
    ) -> Result<(T, Duration), WorkerError> {
        let positions = Arc::clone(&self.setup.positions);
        let mut backoff = Backoff::new(&self.setup.random);
        loop {
            let began = Instant::now();
            let answer = write(&*positions).await;
            if matches!(answer, Err(StoreError::Full)) {
                self.wait_for_space(&mut backoff).await?;
                continue;
            }
            if matches!(answer, Ok(_) | Err(StoreError::Overtaken { .. })) {
                self.written(&backoff);
            }
            return Ok((answer?, began.elapsed()));
        }
    }

    async fn wait_for_space(&mut self, backoff: &mut Backoff) -> Result<(), WorkerError> {
        if self.setup.once {
            return Err(StoreError::Full.into());
        }
        let wait = backoff.wait().min(SPACE_RETRY);
        self.setup.reporter.store_is_full();
        self.wait(wait).await
    }

    /// Notes that the store's disk took the write, perhaps after waits.
    fn written(&self, waited: &Backoff) {
        self.setup.reporter.stored();
        if waited.attempts() > 0 {
            self.takes_again();
        }
    }

    /// Notes that the sink takes events again.
    pub(super) fn takes_again(&self) {
        self.status.send_if_modified(|status| status.failing.take().is_some());
    }

    fn stands_still(&self) {
        self.status.send_modify(|status| _ = status.failing.get_or_insert_with(Instant::now));
    }

    async fn wait(&mut self, wait: Duration) -> Result<(), WorkerError> {
        self.stands_still();
        tokio::select! {
            biased;
            () = self.setup.shutdown.requested() => Err(WorkerError::Stopped),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }
}

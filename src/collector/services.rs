//! The shared parts that every job works with.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::batch::Part;
use crate::checkpoint::Store;
use crate::collector::budget::Budget;
use crate::collector::clock::{self, Clock};
use crate::collector::compute::Compute;
use crate::collector::delivery::queue::WorkerHandle;
use crate::collector::delivery::tracker::{Outcome, Tracker};
use crate::collector::feeds::Feeds;
use crate::collector::ids::{PerSink, SinkId};
use crate::collector::progress::Progress;
use crate::collector::report::{Reporter, limited};
use crate::collector::shutdown::Shutdown;
use crate::config::Limits;
use crate::notification::ObjectId;
use crate::reading::Scratch;
use crate::telemetry::health::Health;
use crate::telemetry::metrics::Metrics;

/// The longest that a job waits for a best-effort sink: enough for one batch and the sink's answer.
const BEST_EFFORT_PATIENCE: Duration = Duration::from_secs(1);

/// Shared by jobs, scanners, queues and the dispatcher.
pub(super) struct Services {
    pub feeds: Arc<Feeds>,
    pub workers: PerSink<WorkerHandle>,
    pub store: Store,
    pub scratch: Arc<dyn Scratch>,
    pub clock: Clock,
    pub compute: Compute,
    pub budget: Budget,
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    pub reporter: Reporter,
    pub limits: Limits,
    pub shutdown: Shutdown,
    pub began: Instant,
}

impl Services {
    /// Returns once a third of the grace time has passed since the stop was requested. Waits must end then: the rest of
    /// the grace time is for giving back in-flight messages. Cancel-safe.
    pub(crate) async fn stopped_for_long(&self) {
        self.shutdown.requested_for(self.limits.shutdown_grace / 3).await;
    }

    /// Offers a part to a sink. Returns false if the sink is closed or had no room within its patience.
    pub(super) async fn offer(&self, sink: SinkId, part: Part, tracker: &Tracker) -> bool {
        tokio::select! {
            biased;
            taken = self.workers[sink].offer(part, tracker) => taken,
            () = self.stopped_for_long() => false,
            () = tokio::time::sleep(self.patience(sink)) => false,
        }
    }

    /// How long a job waits for a sink that makes no progress. For a best-effort sink it hardly waits, since no message
    /// depends on it.
    fn patience(&self, sink: SinkId) -> Duration {
        let patience = self.limits.sink_patience;
        if self.workers[sink].required { patience } else { patience.min(BEST_EFFORT_PATIENCE) }
    }

    /// Tells the health check that the dispatcher is running.
    pub(super) fn beat(&self) {
        self.health.beat(clock::since_ms(self.began));
    }

    /// Waits until each sink has committed what it was offered of the object. A sink that makes no progress is added to
    /// `deferred` instead. Returns whether a sink was overtaken.
    pub(super) async fn wait_for_all(
        &self,
        sinks: &[SinkId],
        trackers: &[Tracker],
        deferred: &mut Vec<SinkId>,
        object: &ObjectId,
        progress: &Progress,
    ) -> bool {
        let mut overtaken = false;
        for (&sink, tracker) in sinks.iter().zip(trackers) {
            let committed = !deferred.contains(&sink) && self.wait_for(sink, tracker, object, progress).await;
            if !committed {
                tracker.abandon().await;
            }
            match tracker.outcome() {
                Outcome::Committed => {}
                Outcome::Overtaken => overtaken = true,
                Outcome::UnderWay if deferred.contains(&sink) => {}
                Outcome::UnderWay => deferred.push(sink),
            }
        }
        overtaken
    }

    /// Waits until the sink has committed all of the object's parts that its job offered. Returns false once the sink
    /// has made no progress within its patience.
    pub(super) async fn wait_for(
        &self,
        sink: SinkId,
        tracker: &Tracker,
        object: &ObjectId,
        progress: &Progress,
    ) -> bool {
        let patience = self.patience(sink);
        let mut moved = tracker.progress();
        loop {
            tokio::select! {
                biased;
                () = tracker.done() => return true,
                () = self.stopped_for_long() => return false,
                () = tokio::time::sleep(patience) => {}
            }
            let now = tracker.progress();
            let worker = &self.workers[sink];
            // A gathering sink's batches are not due yet.
            let moves = now != moved || worker.gathers && !worker.is_stuck(patience);
            if !moves || worker.is_failing() {
                let name = &worker.name;
                limited!(
                    self.reporter, WARN, name, "going on without a sink that is slow or failing", %object, sink = %name
                );
                return false;
            }
            moved = now;
            progress.step();
        }
    }
}

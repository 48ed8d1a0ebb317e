//! Logs once a minute how many records moved from each feed to each sink. Pairs without movement get no line.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

use crate::collector::services::Services;
use crate::telemetry::flow::Stream;

/// The time between two log lines.
const EVERY: Duration = Duration::from_secs(60);

/// The counts at the last look.
pub(super) struct Flowed {
    at: Instant,
    streams: BTreeMap<(Arc<str>, Arc<str>), Stream>,
    objects: BTreeMap<Arc<str>, u64>,
}

impl Flowed {
    /// The counts of a process that starts now: all are 0.
    pub(super) fn begin() -> Self {
        Self { at: Instant::now(), streams: BTreeMap::new(), objects: BTreeMap::new() }
    }

    /// Logs what moved since the last look, if a minute has passed.
    pub(super) fn look(&mut self, services: &Services) {
        if self.at.elapsed() < EVERY {
            return;
        }
        self.at = Instant::now();
        let (metrics, now_ms) = (&services.metrics, services.clock.now_ms());
        let now = metrics.flow.now();
        for (names @ (feed, sink), stream) in &now {
            let before = self.streams.get(names).copied().unwrap_or_default();
            let Some(Stream { read, delivered, refused, filtered, missing, reread, under_way }) = stream.since(&before)
            else {
                continue;
            };
            let objects = metrics.objects_read(feed) - self.objects.get(feed).copied().unwrap_or(0);
            let lag_secs = metrics.newest_event_ms(feed).map(|newest_ms| (now_ms - newest_ms) / 1000);
            info!(
                %feed, %sink, objects, read, delivered, refused, skipped = filtered + missing + reread, under_way, lag_secs,
                "records of the last minute"
            );
        }
        self.objects = now.keys().map(|(feed, _)| (Arc::clone(feed), metrics.objects_read(feed))).collect();
        self.streams = now;
    }
}

//! How fresh deliveries are, by feed and partition: stored, and exported as metrics.

use std::time::Duration;

use crate::checkpoint::{Freshness, StoreError, Upkeep};
use crate::collector::clock::Clock;
use crate::collector::feeds::Feed;
use crate::config::Config;
use crate::notification::ObjectId;
use crate::telemetry::metrics::Metrics;

/// The freshness of the object's partition once an event of `latest_ms` is delivered.
pub(super) fn of(feed: &Feed, object: &ObjectId, latest_ms: Option<i64>) -> Option<Freshness> {
    latest_ms.map(|event_ms| Freshness { feed: feed.name.clone(), partition: feed.partition(object), event_ms })
}

/// Updates the metrics: the partition's freshness, and the delay since the object was written at `written_ms`.
pub(super) fn show(metrics: &Metrics, clock: &Clock, feed: &str, fresh: Option<&Freshness>, written_ms: Option<i64>) {
    let secs_since = |ms: i64| Duration::from_millis(u64::try_from(clock.now_ms() - ms).unwrap_or(0)).as_secs_f64();
    if let Some(Freshness { partition, event_ms, .. }) = fresh {
        metrics.delivered(feed, partition, *event_ms);
        metrics.event_latency_seconds.observe([feed], secs_since(*event_ms));
    }
    if let Some(written_ms) = written_ms {
        metrics.object_latency_seconds.observe([feed], secs_since(written_ms));
    }
}

/// Restores the metrics from the store at start, so that a feed that has been silent since does not look new.
pub(super) async fn restore(store: &dyn Upkeep, config: &Config, metrics: &Metrics) -> Result<(), StoreError> {
    let remembered = store.freshness().await?.into_iter();
    for fresh in remembered.filter(|fresh| config.feed.contains_key(&*fresh.feed)) {
        metrics.delivered(&fresh.feed, &fresh.partition, fresh.event_ms);
    }
    Ok(())
}

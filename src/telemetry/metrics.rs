//! Everything that is counted, by name, and its text form for Prometheus.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::identity::fault::FaultKind;
use crate::telemetry::freshness::Freshness;
use crate::telemetry::health::PartKind;

/// The labels of one series: name and value.
type Labels<const N: usize> = [(&'static str, String); N];

/// A counter for each combination of its labels' values.
///
/// Looking a series up costs a read lock and a hash: count per object, part or batch, not per record.
pub(crate) struct Counters<const N: usize> {
    labels: [&'static str; N],
    family: Family<Labels<N>, Counter>,
}

impl<const N: usize> Counters<N> {
    /// Adds `n` to the series of these label values, in the order in which the metric's documentation names them.
    pub(crate) fn add(&self, values: [&str; N], n: u64) {
        self.family.get_or_create(&labelled(self.labels, values)).inc_by(n);
    }

    pub(crate) fn value(&self, values: [&str; N]) -> u64 {
        self.family.get(&labelled(self.labels, values)).map_or(0, |counter| counter.get())
    }
}

/// A number that may fall again, for each combination of its labels' values.
pub(crate) struct Gauges<const N: usize> {
    labels: [&'static str; N],
    family: Family<Labels<N>, Gauge>,
}

impl<const N: usize> Gauges<N> {
    pub(crate) fn set(&self, values: [&str; N], value: i64) {
        self.family.get_or_create(&labelled(self.labels, values)).set(value);
    }

    /// What was last set, if anything was.
    pub(crate) fn value(&self, values: [&str; N]) -> Option<i64> {
        self.family.get(&labelled(self.labels, values)).map(|gauge| gauge.get())
    }
}

fn labelled<const N: usize>(names: [&'static str; N], values: [&str; N]) -> Labels<N> {
    std::array::from_fn(|i| (names[i], values[i].to_owned()))
}

/// The daemon's metrics. Every name is prefixed with `auditferry_`, and a counter's ends in `_total`.
///
/// Cheap to write from any thread. Nothing here reads a clock: what is an age is computed in [`Metrics::text`], from
/// the time passed in.
pub(crate) struct Metrics {
    registry: Registry,
    /// `objects_total{result}`: what became of objects: `delivered`, `unchanged`, `vanished`, `quarantined`, `empty`,
    /// `no_record` (not empty, and without a record), `deferred`; `put_off` (the message went back for a while), and with
    /// `--once` `given_up`.
    pub objects: Counters<1>,
    /// `notifications_total{queue,disposition}`: what became of each notification.
    pub notifications: Counters<2>,
    pub left_out: LeftOut,
    /// `events_received_total`: events decoded out of new records, and out of records that left quarantine, once each.
    pub events_received: Counter,
    /// `events_sent_total{sink}`: events a sink has acknowledged and the checkpoint store has committed.
    pub events_sent: Counters<1>,
    /// `events_filtered_total{sink,feed}`: events that a sink's filter left out of what was committed; records where the
    /// sink's encoding writes records.
    pub events_filtered: Counters<2>,
    /// `duplicates_suppressed_total{kind}`: repeats that were recognised: `notification`, `record`.
    pub duplicates_suppressed: Counters<1>,
    /// `bytes_fetched_total`: bytes of objects, as stored.
    pub bytes_fetched: Counter,
    /// `bytes_decompressed_total`: the same, inflated.
    pub bytes_decompressed: Counter,
    /// `reads_failed_total{feed,kind}`: reads of objects that failed, by [`crate::identity::fault::FaultKind::word`].
    pub reads_failed: Counters<2>,
    /// `overwrites_total`: objects that were read again because they had grown.
    pub overwrites: Counter,
    /// `rewrites_total`: objects whose known content had changed behind us.
    pub rewrites: Counter,
    /// `enrichment_total{feed,result}`: users looked up in the feed's user directory; `hit`, `miss`, `unavailable`.
    pub enrichment: Counters<2>,
    /// `partial_lines_held`: last lines without a newline that wait for their object to change.
    pub partial_lines_held: Gauge,
    /// `parse_errors_total{feed,reason}`: records, messages and objects that could not be understood.
    pub parse_errors: Counters<2>,
    /// `records_quarantined_total{feed,kind}`: what was set aside, with its coordinates.
    pub records_quarantined: Counters<2>,
    /// `records_requeued_total{feed,outcome}`: what was tried again out of quarantine: `delivered`, `refused`.
    pub records_requeued: Counters<2>,
    /// `quarantine_entries{kind}`: what is in quarantine, whether it has an entry of its own or shares one.
    pub quarantine_entries: Gauges<1>,
    /// `quarantine_body_bytes{kind}`: how many bytes of it are kept, compressed.
    pub quarantine_body_bytes: Gauges<1>,
    /// `unreproducible_total`: sealed batches that could not be made again after a restart.
    pub unreproducible: Counter,
    /// `gap_records_total{sink}`: records that vanished from the source before this sink could have them, whether they came
    /// back later or not; none that were requeued out of quarantine.
    pub gap_records: Counters<1>,
    /// `gap_records_filled_total{sink}`: those of them that came back and were delivered.
    pub gap_records_filled: Counters<1>,
    /// `gap_records_forgotten_total`: those that never came back before their object was forgotten.
    pub gap_records_forgotten: Counter,
    /// `foreign_bytes_total{sink}`: bytes found in a sink's file that this sink did not write.
    pub foreign_bytes: Counters<1>,
    /// `sink_batches_total{sink,outcome}`: batches by what the sink said.
    pub sink_batches: Counters<2>,
    /// `sink_retries_total{sink}`: batches sent again.
    pub sink_retries: Counters<1>,
    /// `sink_behind{sink}`: 1 while the others go on without this sink.
    pub sink_behind: Gauges<1>,
    /// `backlog_objects{sink}`: objects written down for a sink that could not take them.
    pub backlog_objects: Gauges<1>,
    /// `unread_objects{feed,kind}`: objects written down since they could not be read, by
    /// [`crate::identity::fault::FaultKind::word`]; `waiting` were not tried yet.
    pub unread_objects: Gauges<2>,
    /// `checkpoint_commit_seconds`: from asking for a commit to its fsync.
    pub checkpoint_commit_seconds: Histogram,
    /// `checkpoint_db_bytes`: the size of the checkpoint store's files.
    pub checkpoint_db_bytes: Gauge,
    /// `lease_lost_total`: messages that became visible to others while their object was worked on.
    pub lease_lost: Counter,
    /// `visibility_extensions_total{result}`: `extended`, `lost`, `failed`.
    pub visibility_extensions: Counters<1>,
    /// `queue_visible_messages{queue}`, as the queue estimates it.
    pub queue_visible_messages: Gauges<1>,
    /// `queue_inflight_messages{queue}`, as the queue estimates it.
    pub queue_inflight_messages: Gauges<1>,
    /// `queue_oldest_message_age_seconds{queue}`: of the messages held here, by when they were sent.
    pub queue_oldest_message_age_seconds: Gauges<1>,
    /// `assume_role_failures_total{identity}`.
    pub assume_role_failures: Counters<1>,
    /// `scan_last_success_timestamp_seconds{feed}`: when a whole scan last ended well.
    pub scan_last_success: Gauges<1>,
    /// `event_latency_seconds`: from the newest new event's time to the commit that settles its object.
    pub event_latency_seconds: Histogram,
    /// `object_latency_seconds`: from the notification's time to the commit that settles it.
    pub object_latency_seconds: Histogram,
    /// `feed_failing{feed}`: 1 while nothing of the feed can be read, or its place cannot be listed.
    pub feed_failing: Gauges<1>,
    /// `queue_failing{queue}`: 1 while the queue cannot be received from, or its messages cannot be kept or deleted.
    pub queue_failing: Gauges<1>,
    /// `sink_failing{sink}`: 1 while the sink takes nothing.
    pub sink_failing: Gauges<1>,
    /// `identity_failing{identity}`: 1 while there are no credentials.
    pub identity_failing: Gauges<1>,
    /// `store_failing{store}`: 1 while checkpoints cannot be written.
    pub store_failing: Gauges<1>,
    freshness: Mutex<Freshness>,
    partition_freshness: Family<Labels<2>, Gauge>,
    credentials_expire_ms: Mutex<BTreeMap<String, i64>>,
    credentials_expiry: Family<Labels<1>, Gauge>,
}

/// What is told of and what is read, and leads to no event.
pub(crate) struct LeftOut {
    /// `notifications_unrouted_total{queue,feed,why}`: notifications of objects that no feed takes; `feed` is the one that
    /// reads the bucket, `why` is `bucket`, `prefix` or `keys`.
    pub notifications: Counters<3>,
    /// `notifications_returned_total{queue}`: those of them whose object's name could not be kept; their message stays in
    /// the queue and is counted each time it comes.
    pub returned: Counters<1>,
    /// `unrouted_objects`: how many such names are kept.
    pub objects: Gauge,
    /// `lines_skipped_total{feed}`: lines that are no record of the feed's family. Counted once an object was read to its
    /// end: those that begin behind what was read of its longest version before, so that none counts twice however often
    /// its object grows.
    pub lines: Counters<1>,
}

impl LeftOut {
    fn new(of: &mut Registration) -> Self {
        Self {
            notifications: of.counters(
                "notifications_unrouted",
                "Notifications of objects that no feed takes, by the reason",
                ["queue", "feed", "why"],
            ),
            returned: of.counters(
                "notifications_returned",
                "Notifications of objects that no feed takes and whose names could not be kept, each time they came",
                ["queue"],
            ),
            objects: of.gauge("unrouted_objects", "Objects kept by name since no feed takes them"),
            lines: of.counters(
                "lines_skipped",
                "Lines of new content that are no record of the feed's family, once the object was read to its end",
                ["feed"],
            ),
        }
    }
}

impl Metrics {
    /// `started_ms`: when the process started, in milliseconds since the epoch.
    pub(crate) fn new(started_ms: i64) -> Self {
        let mut of = Registration(Registry::with_prefix("auditferry"));
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        of.0.register("build", "The version that runs", build);
        of.gauge("process_start_time_seconds", "When the process started").set(started_ms / 1000);
        Self {
            objects: of.counters("objects", "Objects settled, by result", ["result"]),
            notifications: of.counters(
                "notifications",
                "Notifications, by what became of them",
                ["queue", "disposition"],
            ),
            left_out: LeftOut::new(&mut of),
            events_received: of.counter("events_received", "Events decoded, each counted once"),
            events_sent: of.counters("events_sent", "Events acknowledged by the sink and committed", ["sink"]),
            events_filtered: of.counters("events_filtered", "Events that a sink's filter left out", ["sink", "feed"]),
            duplicates_suppressed: of.counters("duplicates_suppressed", "Repeats recognised as such", ["kind"]),
            bytes_fetched: of.counter("bytes_fetched", "Bytes of objects as stored"),
            bytes_decompressed: of.counter("bytes_decompressed", "Bytes of objects, inflated"),
            reads_failed: of.counters("reads_failed", "Reads of objects that failed, by why", ["feed", "kind"]),
            overwrites: of.counter("overwrites", "Objects read again because they had grown"),
            rewrites: of.counter("rewrites", "Objects whose known content had changed"),
            enrichment: of.counters("enrichment", "Users looked up, by what came of it", ["feed", "result"]),
            partial_lines_held: of.gauge("partial_lines_held", "Last lines without a newline, held back"),
            parse_errors: of.counters("parse_errors", "What could not be understood", ["feed", "reason"]),
            records_requeued: of.counters("records_requeued", "What was tried again", ["feed", "outcome"]),
            quarantine_entries: of.gauges("quarantine_entries", "What is in quarantine", ["kind"]),
            quarantine_body_bytes: of.gauges("quarantine_body_bytes", "Bytes kept in quarantine", ["kind"]),
            records_quarantined: of.counters("records_quarantined", "What was set aside", ["feed", "kind"]),
            unreproducible: of.counter("unreproducible", "Sealed batches that could not be made again after a restart"),
            gap_records: of.counters("gap_records", "Records that vanished before the sink could have them", ["sink"]),
            gap_records_filled: of.counters("gap_records_filled", "Vanished records that came back", ["sink"]),
            gap_records_forgotten: of.counter("gap_records_forgotten", "Vanished records of objects forgotten since"),
            foreign_bytes: of.counters("foreign_bytes", "Bytes in a sink's file that it did not write", ["sink"]),
            sink_batches: of.counters("sink_batches", "Batches, by what the sink said", ["sink", "outcome"]),
            sink_retries: of.counters("sink_retries", "Batches sent again", ["sink"]),
            sink_behind: of.gauges("sink_behind", "Whether the others go on without this sink", ["sink"]),
            backlog_objects: of.gauges("backlog_objects", "Objects in a sink's backlog", ["sink"]),
            unread_objects: of.gauges("unread_objects", "Objects that could not be read, by why", ["feed", "kind"]),
            checkpoint_commit_seconds: of.histogram("checkpoint_commit_seconds", "Time of a durable commit", 0.0005),
            checkpoint_db_bytes: of.gauge("checkpoint_db_bytes", "Size of the checkpoint store"),
            lease_lost: of.counter("lease_lost", "Messages that became visible to others while worked on"),
            visibility_extensions: of.counters("visibility_extensions", "Messages kept invisible", ["result"]),
            queue_visible_messages: of.gauges("queue_visible_messages", "Messages waiting in the queue", ["queue"]),
            queue_inflight_messages: of.gauges("queue_inflight_messages", "Messages received by someone", ["queue"]),
            queue_oldest_message_age_seconds: of.gauges(
                "queue_oldest_message_age_seconds",
                "Age of the oldest message held",
                ["queue"],
            ),
            assume_role_failures: of.counters("assume_role_failures", "Roles that could not be assumed", ["identity"]),
            scan_last_success: of.gauges(
                "scan_last_success_timestamp_seconds",
                "When a whole scan last ended well",
                ["feed"],
            ),
            event_latency_seconds: of.histogram("event_latency_seconds", "From an event's time to its delivery", 0.1),
            object_latency_seconds: of.histogram("object_latency_seconds", "From a notification to its commit", 0.01),
            feed_failing: of.gauges("feed_failing", "Whether the feed stands still", ["feed"]),
            queue_failing: of.gauges("queue_failing", "Whether the queue stands still", ["queue"]),
            sink_failing: of.gauges("sink_failing", "Whether the sink stands still", ["sink"]),
            identity_failing: of.gauges("identity_failing", "Whether credentials are missing", ["identity"]),
            store_failing: of.gauges("store_failing", "Whether checkpoints cannot be written", ["store"]),
            freshness: Mutex::default(),
            partition_freshness: of.family("partition_freshness_seconds", "Age of the newest event delivered"),
            credentials_expire_ms: Mutex::default(),
            credentials_expiry: of.family("credentials_expiry_seconds", "How long the credentials are still valid"),
            registry: of.0,
        }
    }

    /// Notes that an event of `event_ms` (milliseconds since the epoch) was delivered for this partition, such as
    /// `workspaceId=1`. At most 1,000 partitions are kept; the one not heard of for longest makes room.
    pub(crate) fn delivered(&self, feed: &str, partition: &str, event_ms: i64) {
        self.freshness.lock().unwrap_or_else(PoisonError::into_inner).note(feed, partition, event_ms);
    }

    /// The time of the newest event delivered for a feed, in milliseconds since the epoch.
    pub(crate) fn newest_event_ms(&self, feed: &str) -> Option<i64> {
        self.freshness.lock().unwrap_or_else(PoisonError::into_inner).of_feed(feed)
    }

    /// When an identity's credentials expire, in milliseconds since the epoch.
    pub(crate) fn credentials_expiry_ms(&self, identity: &str) -> Option<i64> {
        self.credentials_expire_ms.lock().unwrap_or_else(PoisonError::into_inner).get(identity).copied()
    }

    /// How many objects of a feed could not be read, by kind; those kinds of which there are any.
    pub(crate) fn unread(&self, feed: &str) -> impl Iterator<Item = (String, i64)> {
        let kinds = FaultKind::ALL.map(FaultKind::word).into_iter().chain(["waiting"]);
        let counts = kinds.map(|kind| (kind.to_owned(), self.unread_objects.value([feed, kind]).unwrap_or(0)));
        counts.filter(|(_, objects)| *objects > 0)
    }

    /// The gauge that says whether parts of a kind stand still.
    pub(crate) fn failing(&self, kind: PartKind) -> &Gauges<1> {
        match kind {
            PartKind::Store => &self.store_failing,
            PartKind::Identity => &self.identity_failing,
            PartKind::Queue => &self.queue_failing,
            PartKind::Feed => &self.feed_failing,
            PartKind::Sink => &self.sink_failing,
        }
    }

    /// Notes when an identity's credentials expire, in milliseconds since the epoch.
    pub(crate) fn credentials_expire(&self, identity: &str, at_ms: i64) {
        let mut expiry = self.credentials_expire_ms.lock().unwrap_or_else(PoisonError::into_inner);
        expiry.insert(identity.to_owned(), at_ms);
    }

    /// All metrics in the OpenMetrics text form. `now_ms`: milliseconds since the epoch.
    pub(crate) fn text(&self, now_ms: i64) -> String {
        self.partition_freshness.clear();
        for (feed, partition, newest_ms) in self.freshness.lock().unwrap_or_else(PoisonError::into_inner).newest() {
            let labels = labelled(["feed", "partition"], [feed, partition]);
            self.partition_freshness.get_or_create(&labels).set((now_ms - newest_ms) / 1000);
        }
        for (identity, at_ms) in self.credentials_expire_ms.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let labels = labelled(["identity"], [identity]);
            self.credentials_expiry.get_or_create(&labels).set((at_ms - now_ms) / 1000);
        }
        let mut text = String::new();
        // Writing to a String cannot fail; the series written before an impossible failure are still good.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// Names a metric in the registry and yields the handle that counts.
struct Registration(Registry);

impl Registration {
    fn counter(&mut self, name: &str, help: &str) -> Counter {
        let counter = Counter::default();
        self.0.register(name, help, counter.clone());
        counter
    }

    fn gauge(&mut self, name: &str, help: &str) -> Gauge {
        let gauge = Gauge::default();
        self.0.register(name, help, gauge.clone());
        gauge
    }

    fn counters<const N: usize>(&mut self, name: &str, help: &str, labels: [&'static str; N]) -> Counters<N> {
        let family = Family::default();
        self.0.register(name, help, family.clone());
        Counters { labels, family }
    }

    fn gauges<const N: usize>(&mut self, name: &str, help: &str, labels: [&'static str; N]) -> Gauges<N> {
        Gauges { labels, family: self.family(name, help) }
    }

    fn family<const N: usize>(&mut self, name: &str, help: &str) -> Family<Labels<N>, Gauge> {
        let family = Family::default();
        self.0.register(name, help, family.clone());
        family
    }

    /// Sixteen buckets, each twice as wide as the one before.
    fn histogram(&mut self, name: &str, help: &str, first_secs: f64) -> Histogram {
        let buckets = prometheus_client::metrics::histogram::exponential_buckets(first_secs, 2.0, 16);
        let histogram = Histogram::new(buckets);
        self.0.register(name, help, histogram.clone());
        histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_named_labelled_and_counted() {
        let metrics = Metrics::new(5_000);
        metrics.events_sent.add(["out"], 3);
        metrics.events_sent.add(["out"], 4);
        metrics.sink_batches.add(["out", "stored"], 1);
        metrics.backlog_objects.set(["out"], 9);
        let text = metrics.text(0);
        for line in [
            "auditferry_events_sent_total{sink=\"out\"} 7",
            "auditferry_sink_batches_total{sink=\"out\",outcome=\"stored\"} 1",
            "auditferry_backlog_objects{sink=\"out\"} 9",
            "auditferry_process_start_time_seconds 5",
            "auditferry_events_received_total 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn ages_are_counted_from_the_time_passed_in() {
        let metrics = Metrics::new(0);
        metrics.delivered("dbx", "workspaceId=1", 40_000);
        metrics.delivered("dbx", "workspaceId=1", 30_000);
        metrics.credentials_expire("reader", 160_000);
        let text = metrics.text(100_000);
        assert!(text.contains("auditferry_partition_freshness_seconds{feed=\"dbx\",partition=\"workspaceId=1\"} 60"));
        assert!(text.contains("auditferry_credentials_expiry_seconds{identity=\"reader\"} 60"));
    }
}

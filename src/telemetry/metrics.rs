//! All metrics by name, and their text form for Prometheus.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::identity::fault::FaultKind;
use crate::telemetry::flow::Flow;
use crate::telemetry::freshness::Freshness;
use crate::telemetry::health::PartKind;
use crate::telemetry::process::Process;
use crate::telemetry::series::{Counters, Gauges, Histograms, Labels, Registration, labelled};

/// The daemon's metrics. Every name is prefixed with `auditferry_`, and a counter's ends in `_total`.
///
/// Cheap to write from any thread. Nothing here reads a clock: [`Metrics::text`] computes ages from the time that it is
/// passed.
pub(crate) struct Metrics {
    registry: Registry,
    /// `records_read_total{feed,sink}` and the metrics of the records' outcomes.
    pub flow: Flow,
    /// `objects_total{feed,result}`: readings of objects by result: `delivered`, `unchanged`, `vanished`,
    /// `quarantined`, `empty`, `no_record` (not empty, and without a record), `deferred` (some sink has not had all of
    /// it); `put_off` (its message went back for a while), and with `--once` `given_up`.
    pub objects: Counters<2>,
    /// `notifications_total{queue,disposition}`: notifications by result: `written` (a feed takes the object),
    /// `ignored`, `foreign`, `outside`, `filtered` (no feed takes it), `poison`, and the other kinds of message.
    pub notifications: Counters<2>,
    pub left_out: LeftOut,
    /// `events_received_total{feed}`: events decoded from new records and from records that leave quarantine, counted
    /// once for all sinks. If a reading is given up, its events that were not sealed are decoded, and counted, again.
    pub events_received: Counters<1>,
    /// `events_sent_total{feed,sink}`: events a sink has acknowledged and the checkpoint store has committed.
    pub events_sent: Counters<2>,
    /// `events_filtered_total{feed,sink}`: committed events that a sink's filter left out; if its encoding writes
    /// records, this counts records.
    pub events_filtered: Counters<2>,
    /// `duplicates_suppressed_total{feed,kind}`: notifications that cost no read: every sink has had the version
    /// (`etag`), or the object is already waiting to be read (`coalesced`).
    pub duplicates_suppressed: Counters<2>,
    /// `bytes_fetched_total{feed}`: bytes of objects as stored, each time they are read.
    pub bytes_fetched: Counters<1>,
    /// `bytes_decompressed_total{feed}`: bytes of objects' content, inflated and as lines, each time they are read.
    pub bytes_decompressed: Counters<1>,
    /// `reads_failed_total{feed,kind}`: reads of objects that failed, by [`crate::identity::fault::FaultKind::word`].
    pub reads_failed: Counters<2>,
    /// `overwrites_total{feed}`: readings of known objects that found new records.
    pub overwrites: Counters<1>,
    /// `rewrites_total{feed}`: readings of objects that did not begin with the records accepted before.
    pub rewrites: Counters<1>,
    /// `enrichment_total{feed,result}`: users looked up in the feed's user directory; `hit`, `miss`, `unavailable`.
    pub enrichment: Counters<2>,
    /// `partial_lines_held_total{feed}`: readings that left the last line for later, because it has no line end and may
    /// be incomplete.
    pub partial_lines_held: Counters<1>,
    /// `records_quarantined_total{feed,kind}`: new in quarantine: a `record` that cannot be decoded, an `event` that a
    /// sink will never take, an `object` that can never be read. If a reading is given up, its records that were not
    /// sealed count again.
    pub records_quarantined: Counters<2>,
    /// `records_requeued_total{feed,outcome}`: results of retries from quarantine: `delivered`, `refused`.
    pub records_requeued: Counters<2>,
    /// `messages_quarantined_total{queue}`: messages that cannot be parsed and were received too often.
    pub messages_quarantined: Counters<1>,
    /// `messages_requeued_total{queue,outcome}`: results of retries of such messages: `delivered` (parsed now),
    /// `refused`.
    pub messages_requeued: Counters<2>,
    /// `quarantine_entries{kind}`: records, objects, messages and events in quarantine, with an entry of their own or a
    /// shared one.
    pub quarantine_entries: Gauges<1>,
    /// `quarantine_body_bytes{kind}`: compressed bytes of the bodies in quarantine.
    pub quarantine_body_bytes: Gauges<1>,
    /// `unreproducible_batches_total{sink}`: sealed batches that could not be rebuilt after a restart.
    pub unreproducible_batches: Counters<1>,
    /// `gap_records_total{feed,sink}`: records that vanished from the source before this sink had them, whether they
    /// came back later or not. Records that were requeued from quarantine do not count.
    pub gap_records: Counters<2>,
    /// `gap_records_filled_total{feed,sink}`: records of a gap that came back and were delivered.
    pub gap_records_filled: Counters<2>,
    /// `gap_records_forgotten_total{feed}`: records of a gap that had not come back when their object was forgotten,
    /// once for each sink.
    pub gap_records_forgotten: Counters<1>,
    /// `foreign_bytes_total{sink}`: bytes found in a sink's file that this sink did not write.
    pub foreign_bytes: Counters<1>,
    /// `sink_batches_total{sink,outcome}`: `delivered` counts batches that the sink has and that are committed;
    /// `unavailable`, `refused` and `misconfigured` count requests that failed in this way.
    pub sink_batches: Counters<2>,
    /// `sink_retries_total{sink}`: requests that are sent again after a failure, and acknowledgements that did not
    /// arrive.
    pub sink_retries: Counters<1>,
    /// `sink_behind{sink}`: 1 while the other sinks go on without this sink.
    pub sink_behind: Gauges<1>,
    /// `backlog_objects{sink}`: objects in the sink's backlog.
    pub backlog_objects: Gauges<1>,
    /// `unread_objects{feed,kind}`: objects in the feed's backlog, by [`crate::identity::fault::FaultKind::word`];
    /// those of kind `waiting` were not tried yet.
    pub unread_objects: Gauges<2>,
    pub checkpoint: Checkpoint,
    /// `leases_lost_total{queue}`: messages that became visible to other receivers before their object was done.
    pub leases_lost: Counters<1>,
    /// `visibility_extensions_total{queue,result}`: calls to keep messages invisible: `extended`, `lost`, `failed`.
    pub visibility_extensions: Counters<2>,
    pub queue: QueueDepth,
    /// `assume_role_failures_total{identity}`.
    pub assume_role_failures: Counters<1>,
    /// `scan_last_success_timestamp_seconds{feed}`: when a whole scan last succeeded.
    pub scan_last_success: Gauges<1>,
    /// `event_latency_seconds{feed}`: time from the newest new event to the moment when every sink has had its object.
    pub event_latency_seconds: Histograms<1>,
    /// `object_latency_seconds{feed}`: time from the object's write to the moment when every sink has had it.
    pub object_latency_seconds: Histograms<1>,
    pub failing: Failing,
    freshness: Mutex<Freshness>,
    partition_freshness: Family<Labels<2>, Gauge>,
    credentials_expire_ms: Mutex<BTreeMap<String, i64>>,
    credentials_expiry: Family<Labels<1>, Gauge>,
}

/// The size and speed of the checkpoint store.
pub(crate) struct Checkpoint {
    /// `checkpoint_commit_seconds`: time from the request for a commit to its fsync.
    pub commit_seconds: Histogram,
    /// `checkpoint_db_bytes`: the size of the store's files.
    pub db_bytes: Gauge,
    /// `checkpoint_disk_bytes`: the size of the disk with these files; 0 if it is not known.
    pub disk_bytes: Gauge,
    /// `checkpoint_disk_available_bytes`: bytes of that disk that the daemon may still write.
    pub disk_available_bytes: Gauge,
}

impl Checkpoint {
    fn new(of: &mut Registration<'_>) -> Self {
        Self {
            commit_seconds: of.histogram("checkpoint_commit_seconds", "Time of a durable commit", 0.0005),
            db_bytes: of.gauge("checkpoint_db_bytes", "Size of the checkpoint store"),
            disk_bytes: of.gauge("checkpoint_disk_bytes", "Size of its disk"),
            disk_available_bytes: of.gauge("checkpoint_disk_available_bytes", "What its disk has room for"),
        }
    }
}

/// The messages in queues.
pub(crate) struct QueueDepth {
    /// `queue_visible_messages{queue}`: messages that wait to be received, as the queue estimates it.
    pub visible_messages: Gauges<1>,
    /// `queue_inflight_messages{queue}`: messages that were received and not deleted, as the queue estimates it.
    pub inflight_messages: Gauges<1>,
    /// `queue_dead_letter_messages{queue}`: messages in the dead-letter queue that the redrive policy names, as that
    /// queue estimates it.
    pub dead_letter_messages: Gauges<1>,
    /// `queue_oldest_message_age_seconds{queue}`: the age, since it was sent, of the oldest message that this daemon
    /// holds; 0 if it holds none.
    pub oldest_message_age: Gauges<1>,
}

impl QueueDepth {
    fn new(of: &mut Registration<'_>) -> Self {
        let oldest = "queue_oldest_message_age_seconds";
        Self {
            visible_messages: of.gauges("queue_visible_messages", "Messages waiting in the queue", ["queue"]),
            inflight_messages: of.gauges("queue_inflight_messages", "Messages received by someone", ["queue"]),
            dead_letter_messages: of.gauges("queue_dead_letter_messages", "Dead letters", ["queue"]),
            oldest_message_age: of.gauges(oldest, "Age of the oldest message held", ["queue"]),
        }
    }
}

/// Gauges that are 1 while a part is failing.
pub(crate) struct Failing {
    /// `store_failing{store}`: checkpoints cannot be written.
    store: Gauges<1>,
    /// `identity_failing{identity}`: the identity has no credentials.
    identity: Gauges<1>,
    /// `queue_failing{queue}`: receiving messages, keeping them invisible or deleting them fails.
    queue: Gauges<1>,
    /// `feed_failing{feed}`: no object of the feed can be read, or its bucket or directory cannot be listed.
    feed: Gauges<1>,
    /// `sink_failing{sink}`: the sink refuses batches or does not answer.
    sink: Gauges<1>,
}

impl Failing {
    fn new(of: &mut Registration<'_>) -> Self {
        Self {
            store: of.gauges("store_failing", "Whether checkpoints cannot be written", ["store"]),
            identity: of.gauges("identity_failing", "Whether credentials are missing", ["identity"]),
            queue: of.gauges("queue_failing", "Whether the queue stands still", ["queue"]),
            feed: of.gauges("feed_failing", "Whether the feed stands still", ["feed"]),
            sink: of.gauges("sink_failing", "Whether the sink stands still", ["sink"]),
        }
    }

    /// The gauge for a kind of part.
    pub(crate) fn of(&self, kind: PartKind) -> &Gauges<1> {
        match kind {
            PartKind::Store => &self.store,
            PartKind::Identity => &self.identity,
            PartKind::Queue => &self.queue,
            PartKind::Feed => &self.feed,
            PartKind::Sink => &self.sink,
        }
    }
}

/// Counts of notifications and lines that give no event.
pub(crate) struct LeftOut {
    /// `notifications_unrouted_total{queue,feed,why}`: notifications of objects that no feed takes; `feed` is the one that
    /// reads the bucket, `why` is `bucket`, `prefix` or `keys`.
    pub notifications: Counters<3>,
    /// `notifications_returned_total{queue}`: such notifications whose object's name could not be kept; their message
    /// stays in the queue and counts each time it is received.
    pub returned: Counters<1>,
    /// `unrouted_objects`: the names that are kept of such objects.
    pub objects: Gauge,
    /// `lines_skipped_total{feed}`: lines that are no record of the feed's family. Counted when an object was read to
    /// its end. Only lines behind the end of its longest version so far count, so that no line counts twice however
    /// often its object grows.
    pub lines: Counters<1>,
}

const LAST_SCAN: &str = "scan_last_success_timestamp_seconds";

impl LeftOut {
    fn new(of: &mut Registration<'_>) -> Self {
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
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process { started_ms }));
        let own = registry.sub_registry_with_prefix("auditferry");
        own.register("build", "The version that runs", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        let flow = Flow::default();
        own.register_collector(Box::new(flow.clone()));
        let of = &mut Registration(own);
        Self {
            flow,
            objects: of.counters("objects", "Readings of objects, by result", ["feed", "result"]),
            notifications: of.counters(
                "notifications",
                "Notifications, by what became of them",
                ["queue", "disposition"],
            ),
            left_out: LeftOut::new(of),
            events_received: of.counters("events_received", "Events decoded, once for all sinks", ["feed"]),
            events_sent: of.counters("events_sent", "Events acknowledged by the sink and committed", ["feed", "sink"]),
            events_filtered: of.counters("events_filtered", "Events that a sink's filter left out", ["feed", "sink"]),
            duplicates_suppressed: of.counters(
                "duplicates_suppressed",
                "Notifications without a read",
                ["feed", "kind"],
            ),
            bytes_fetched: of.counters("bytes_fetched", "Bytes of objects as stored", ["feed"]),
            bytes_decompressed: of.counters("bytes_decompressed", "Bytes of objects, inflated", ["feed"]),
            reads_failed: of.counters("reads_failed", "Reads of objects that failed, by why", ["feed", "kind"]),
            overwrites: of.counters("overwrites", "Readings of known objects that found new records", ["feed"]),
            rewrites: of.counters("rewrites", "Readings of objects whose known content had changed", ["feed"]),
            enrichment: of.counters("enrichment", "Users looked up, by what came of it", ["feed", "result"]),
            partial_lines_held: of.counters("partial_lines_held", "Last lines without an end, left out", ["feed"]),
            records_quarantined: of.counters("records_quarantined", "What was set aside", ["feed", "kind"]),
            records_requeued: of.counters("records_requeued", "What was tried again", ["feed", "outcome"]),
            messages_quarantined: of.counters("messages_quarantined", "Messages set aside", ["queue"]),
            messages_requeued: of.counters("messages_requeued", "Messages tried again", ["queue", "outcome"]),
            quarantine_entries: of.gauges("quarantine_entries", "What is in quarantine", ["kind"]),
            quarantine_body_bytes: of.gauges("quarantine_body_bytes", "Bytes kept in quarantine", ["kind"]),
            unreproducible_batches: of.counters("unreproducible_batches", "Sealed batches that were lost", ["sink"]),
            gap_records: of.counters("gap_records", "Records gone before the sink had them", ["feed", "sink"]),
            gap_records_filled: of.counters("gap_records_filled", "Those that came back", ["feed", "sink"]),
            gap_records_forgotten: of.counters("gap_records_forgotten", "Those of objects forgotten since", ["feed"]),
            foreign_bytes: of.counters("foreign_bytes", "Bytes in a sink's file that it did not write", ["sink"]),
            sink_batches: of.counters("sink_batches", "Batches, by what the sink said", ["sink", "outcome"]),
            sink_retries: of.counters("sink_retries", "Requests sent again", ["sink"]),
            sink_behind: of.gauges("sink_behind", "Whether the others go on without this sink", ["sink"]),
            backlog_objects: of.gauges("backlog_objects", "Objects in a sink's backlog", ["sink"]),
            unread_objects: of.gauges("unread_objects", "Objects that could not be read, by why", ["feed", "kind"]),
            checkpoint: Checkpoint::new(of),
            leases_lost: of.counters("leases_lost", "Messages that others could receive meanwhile", ["queue"]),
            visibility_extensions: of.counters("visibility_extensions", "Messages kept invisible", ["queue", "result"]),
            queue: QueueDepth::new(of),
            assume_role_failures: of.counters("assume_role_failures", "Roles that were not assumed", ["identity"]),
            scan_last_success: of.gauges(LAST_SCAN, "When a whole scan last ended well", ["feed"]),
            event_latency_seconds: of.histograms(
                "event_latency_seconds",
                "From an event to its delivery",
                0.1,
                ["feed"],
            ),
            object_latency_seconds: of.histograms("object_latency_seconds", "From write to delivery", 0.01, ["feed"]),
            failing: Failing::new(of),
            freshness: Mutex::default(),
            partition_freshness: of.family("partition_freshness_seconds", "Age of the newest event delivered"),
            credentials_expire_ms: Mutex::default(),
            credentials_expiry: of.family("credentials_expiry_seconds", "How long the credentials are still valid"),
            registry,
        }
    }

    /// Creates the series of a feed and its sink, so that they are exported as 0 from the start.
    pub(crate) fn announce(&self, feed: &str, sink: &str) {
        self.flow.announce(feed, sink);
        let of_feed = [&self.events_received, &self.bytes_fetched, &self.bytes_decompressed, &self.left_out.lines];
        of_feed.into_iter().for_each(|counters| counters.add([feed], 0));
        let of_both = [&self.events_sent, &self.events_filtered, &self.gap_records, &self.gap_records_filled];
        of_both.into_iter().for_each(|counters| counters.add([feed, sink], 0));
    }

    /// Notes that an event of `event_ms` (milliseconds since the epoch) was delivered for this partition, such as
    /// `workspaceId=1`. At most 1,000 partitions are kept; the one without a delivery for the longest time makes room.
    pub(crate) fn delivered(&self, feed: &str, partition: &str, event_ms: i64) {
        self.freshness.lock().unwrap_or_else(PoisonError::into_inner).note(feed, partition, event_ms);
    }

    /// How many objects of a feed were read to their end, or found unchanged.
    pub(crate) fn objects_read(&self, feed: &str) -> u64 {
        let results = ["delivered", "unchanged", "empty", "no_record", "deferred"];
        results.into_iter().map(|result| self.objects.value([feed, result])).sum()
    }

    /// The time of the newest event delivered for a feed, in milliseconds since the epoch.
    pub(crate) fn newest_event_ms(&self, feed: &str) -> Option<i64> {
        self.freshness.lock().unwrap_or_else(PoisonError::into_inner).of_feed(feed)
    }

    /// When an identity's credentials expire, in milliseconds since the epoch.
    pub(crate) fn credentials_expiry_ms(&self, identity: &str) -> Option<i64> {
        self.credentials_expire_ms.lock().unwrap_or_else(PoisonError::into_inner).get(identity).copied()
    }

    /// The number of objects in a feed's backlog by kind, without the kinds that have none.
    pub(crate) fn unread(&self, feed: &str) -> impl Iterator<Item = (String, i64)> {
        let kinds = FaultKind::ALL.map(FaultKind::word).into_iter().chain(["waiting"]);
        let counts = kinds.map(|kind| (kind.to_owned(), self.unread_objects.value([feed, kind]).unwrap_or(0)));
        counts.filter(|(_, objects)| *objects > 0)
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
        self.as_they_stand()
    }

    /// The text form, with ages as they were last computed.
    pub(crate) fn as_they_stand(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail; the series written before an impossible failure are still good.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_series_is_named_labelled_and_counted() {
        let metrics = Metrics::new(5_000);
        metrics.events_sent.add(["audit", "out"], 3);
        metrics.events_sent.add(["audit", "out"], 4);
        metrics.sink_batches.add(["out", "stored"], 1);
        metrics.backlog_objects.set(["out"], 9);
        let text = metrics.text(0);
        for line in [
            "auditferry_events_sent_total{feed=\"audit\",sink=\"out\"} 7",
            "auditferry_sink_batches_total{sink=\"out\",outcome=\"stored\"} 1",
            "auditferry_backlog_objects{sink=\"out\"} 9",
            "process_start_time_seconds 5.0",
            "auditferry_unrouted_objects 0",
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

    /// Creates a series of a metric, because a metric without series is not exported.
    trait Touch {
        fn touch(&self);
    }

    impl<const N: usize> Touch for Counters<N> {
        fn touch(&self) {
            self.add(["x"; N], 0);
        }
    }

    impl<const N: usize> Touch for Gauges<N> {
        fn touch(&self) {
            self.set(["x"; N], 0);
        }
    }

    impl<const N: usize> Touch for Histograms<N> {
        fn touch(&self) {
            self.observe(["x"; N], 0.0);
        }
    }

    impl Touch for Gauge {
        fn touch(&self) {}
    }

    impl Touch for Histogram {
        fn touch(&self) {}
    }

    /// Touches every metric. The compiler reports a new field that is missing here.
    fn touch_all(metrics: &Metrics) {
        macro_rules! touch {
            ($of:expr => $kind:ident { $($field:ident),* $(,)? } $(, $other:ident)*) => {
                let $kind { $($field,)* $($other: _,)* } = $of;
                $($field.touch();)*
            };
        }
        touch!(metrics => Metrics {
            objects, notifications, events_received, events_sent, events_filtered, duplicates_suppressed, bytes_fetched,
            bytes_decompressed, reads_failed, overwrites, rewrites, enrichment, partial_lines_held, records_quarantined,
            records_requeued, messages_quarantined, messages_requeued, quarantine_entries, quarantine_body_bytes,
            unreproducible_batches, gap_records, gap_records_filled, gap_records_forgotten, foreign_bytes, sink_batches,
            sink_retries, sink_behind, backlog_objects, unread_objects, leases_lost, visibility_extensions,
            assume_role_failures, scan_last_success, event_latency_seconds, object_latency_seconds,
        }, registry, flow, left_out, checkpoint, queue, failing, freshness, partition_freshness, credentials_expire_ms, credentials_expiry);
        touch!(&metrics.checkpoint => Checkpoint { commit_seconds, db_bytes, disk_bytes, disk_available_bytes });
        touch!(&metrics.left_out => LeftOut { notifications, returned, objects, lines });
        touch!(&metrics.queue => QueueDepth {
            visible_messages, inflight_messages, dead_letter_messages, oldest_message_age,
        });
        touch!(&metrics.failing => Failing { store, identity, queue, feed, sink });
        metrics.announce("x", "x");
        metrics.delivered("x", "x", 0);
        metrics.credentials_expire("x", 0);
    }

    /// Each metric as `name{labels} type`. A counter's name ends in `_total`; a histogram's name stands for all its
    /// series.
    fn exported() -> BTreeSet<String> {
        let metrics = Metrics::new(0);
        touch_all(&metrics);
        let text = metrics.text(0);
        let (mut found, mut kind, mut family) = (BTreeSet::new(), "", "");
        for line in text.lines() {
            if let Some(described) = line.strip_prefix("# TYPE ") {
                (family, kind) = described.split_once(' ').unwrap();
            } else if !line.starts_with('#') {
                let (series, _value) = line.rsplit_once(' ').unwrap();
                let (name, labels) = series.split_once('{').unwrap_or((series, ""));
                let name = if kind == "histogram" { family } else { name };
                let labels: Vec<&str> =
                    labels.split(',').filter_map(|label| label.split_once('=')).map(|it| it.0).collect();
                let labels: Vec<&str> = labels.into_iter().filter(|label| *label != "le").collect();
                let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
                // A histogram's sum and count have the same labels as its buckets, except `le`.
                found.insert(format!("{name}{labels} {kind}"));
            }
        }
        found
    }

    #[test]
    fn the_page_of_metrics_names_each_with_its_labels_and_type_and_no_other() {
        let page = include_str!("../../deploy/metrics.md");
        let row = |line: &str| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let (series, kind) = (cells.next()?.strip_suffix('`')?, cells.next()?);
            Some(format!("{series} {kind}"))
        };
        let said: BTreeSet<String> = page.lines().filter_map(row).collect();
        let exported = exported();
        let only =
            |one: &BTreeSet<String>, other: &BTreeSet<String>| one.difference(other).cloned().collect::<Vec<_>>();
        assert_eq!((only(&exported, &said), only(&said, &exported)), (vec![], vec![]), "not on the page; not exported");
        // The alert rules use only exported metrics too.
        let word = |c: char| !c.is_ascii_alphanumeric() && c != '_';
        let asked = page.split(word).filter(|name| name.starts_with("auditferry_") || name.starts_with("process_"));
        for name in asked {
            let is_exported = exported.iter().any(|series| {
                let series = series.split(['{', ' ']).next().unwrap_or_default();
                series == name || ["_bucket", "_count", "_sum"].iter().any(|suffix| name == format!("{series}{suffix}"))
            });
            assert!(is_exported, "{name}");
        }
    }
}

//! Counts the records that readings bring to sinks, by feed, sink and outcome. At every moment `read = delivered +
//! refused + skipped + under way`: each record is in exactly one of these.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::batch::Tally;
use crate::telemetry::series::gauge_of;

/// The records of one feed on their way to one sink, counted since the process started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Stream {
    /// Records brought to the sink: by a reading, from quarantine, or in a batch that an earlier process sealed.
    pub read: u64,
    /// Records of which the sink has all events that its filter takes, committed in the checkpoint store.
    pub delivered: u64,
    /// Records in quarantine: they cannot be decoded, or the sink will never take one of their events.
    pub refused: u64,
    /// Records of which the sink's filter takes no event.
    pub filtered: u64,
    /// Records in the sink's gap: gone from the source, or kept in quarantine.
    pub missing: u64,
    /// Records that were given up before they were in a sealed batch: their object is read again.
    pub reread: u64,
    /// Records without an outcome yet.
    pub under_way: u64,
}

impl Stream {
    /// The increase of each count since `before`, and the records under way now. `None` if no count has changed.
    pub(crate) fn since(&self, before: &Self) -> Option<Self> {
        let moved = Self {
            read: self.read - before.read,
            delivered: self.delivered - before.delivered,
            refused: self.refused - before.refused,
            filtered: self.filtered - before.filtered,
            missing: self.missing - before.missing,
            reread: self.reread - before.reread,
            under_way: self.under_way,
        };
        (moved != Self { under_way: self.under_way, ..Self::default() }).then_some(moved)
    }
}

/// All streams. Cheap to clone.
#[derive(Clone, Default, Debug)]
pub(crate) struct Flow(Arc<Mutex<Streams>>);

/// The key is the names of feed and sink.
type Streams = BTreeMap<(Arc<str>, Arc<str>), Stream>;

impl Flow {
    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the counts of a stream.
    fn count(&self, stream: &(Arc<str>, Arc<str>), change: impl FnOnce(&mut Stream)) {
        change(self.streams().entry(stream.clone()).or_default());
    }

    /// Makes a stream known, so that its counts are exported from the start.
    pub(crate) fn announce(&self, feed: &str, sink: &str) {
        self.count(&(feed.into(), sink.into()), |_| ());
    }

    /// Counts `records` as read and under way.
    pub(crate) fn begin(&self, feed: &Arc<str>, sink: &Arc<str>, records: u64) -> RecordsUnderWay {
        let stream = (Arc::clone(feed), Arc::clone(sink));
        self.count(&stream, |counts| {
            counts.read += records;
            counts.under_way += records;
        });
        RecordsUnderWay { flow: self.clone(), stream, records }
    }

    /// The counts of all streams at one moment.
    pub(crate) fn now(&self) -> BTreeMap<(Arc<str>, Arc<str>), Stream> {
        self.streams().clone()
    }
}

/// Records on their way to a sink. If this is dropped before they have an outcome, they count as given up.
pub(crate) struct RecordsUnderWay {
    flow: Flow,
    stream: (Arc<str>, Arc<str>),
    records: u64,
}

impl fmt::Debug for RecordsUnderWay {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} records of {} to {}", self.records, self.stream.0, self.stream.1)
    }
}

impl RecordsUnderWay {
    /// The sink has passed the records. `refused` of them have an event that it will never take; the tally has further
    /// refused ones.
    pub(crate) fn passed(mut self, tally: &Tally, refused: u64) {
        let records = std::mem::take(&mut self.records);
        let mut left = records;
        let mut of = |count: u64| {
            let some = count.min(left);
            left -= some;
            some
        };
        let (missing, refused, filtered) = (of(tally.missing), of(tally.refused + refused), of(tally.filtered));
        self.flow.count(&self.stream, |counts| {
            counts.under_way -= records;
            counts.missing += missing;
            counts.refused += refused;
            counts.filtered += filtered;
            counts.delivered += left;
        });
    }
}

impl Drop for RecordsUnderWay {
    fn drop(&mut self) {
        if self.records > 0 {
            self.flow.count(&self.stream, |counts| {
                counts.under_way -= self.records;
                counts.reread += self.records;
            });
        }
    }
}

/// A metric of streams: name, help, type, and its values, each with the value of the label `reason` if it has one.
type Shown = (&'static str, &'static str, MetricType, &'static [(Option<&'static str>, fn(&Stream) -> u64)]);

const SHOWN: [Shown; 5] = [
    ("records_read", "Records brought to the sink", MetricType::Counter, &[(None, |stream| stream.read)]),
    ("records_delivered", "Records that the sink has", MetricType::Counter, &[(None, |stream| stream.delivered)]),
    (
        "records_refused",
        "Records in quarantine, and not with the sink",
        MetricType::Counter,
        &[(None, |stream| stream.refused)],
    ),
    (
        "records_skipped",
        "Records that the sink passed without them, by why",
        MetricType::Counter,
        &[
            (Some("filtered"), |stream| stream.filtered),
            (Some("missing"), |stream| stream.missing),
            (Some("reread"), |stream| stream.reread),
        ],
    ),
    ("records_under_way", "Records on their way to the sink", MetricType::Gauge, &[(None, |stream| stream.under_way)]),
];

/// A scrape gets all counts of one moment, so that they always add up.
impl Collector for Flow {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let streams = self.now();
        for (name, help, kind, values) in SHOWN {
            let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
            for ((feed, sink), stream) in &streams {
                for (reason, value) in values {
                    let mut labels = vec![("feed", &**feed), ("sink", &**sink)];
                    labels.extend(reason.map(|reason| ("reason", reason)));
                    let series = metric.encode_family(&labels)?;
                    match kind {
                        MetricType::Counter => ConstCounter::new(value(stream)).encode(series)?,
                        _ => ConstGauge::new(gauge_of(value(stream))).encode(series)?,
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(flow: &Flow) -> Stream {
        flow.now().into_values().next().unwrap()
    }

    #[test]
    fn every_record_is_under_way_until_it_has_one_outcome() {
        let (flow, feed, sink) = (Flow::default(), "audit".into(), "out".into());
        let passed = flow.begin(&feed, &sink, 10);
        let given_up = flow.begin(&feed, &sink, 3);
        assert_eq!(stream(&flow), Stream { read: 13, under_way: 13, ..Stream::default() });
        passed.passed(&Tally { records: 10, refused: 1, filtered: 2, missing: 3 }, 1);
        let expected =
            Stream { read: 13, delivered: 3, refused: 2, filtered: 2, missing: 3, under_way: 3, ..Stream::default() };
        assert_eq!(stream(&flow), expected);
        drop(given_up);
        assert_eq!(stream(&flow), Stream { under_way: 0, reread: 3, ..expected });
    }

    #[test]
    fn only_a_stream_that_moved_has_an_increase() {
        let before = Stream { read: 9, delivered: 4, under_way: 5, ..Stream::default() };
        assert_eq!(before.since(&before), None);
        let now = Stream { read: 10, delivered: 8, refused: 1, under_way: 1, ..Stream::default() };
        let moved = Stream { read: 1, delivered: 4, refused: 1, under_way: 1, ..Stream::default() };
        assert_eq!(now.since(&before), Some(moved));
    }

    #[test]
    fn outcomes_are_never_more_than_the_records() {
        let flow = Flow::default();
        let passed = flow.begin(&"audit".into(), &"out".into(), 2);
        passed.passed(&Tally { records: 9, refused: 5, filtered: 5, missing: 1 }, 7);
        assert_eq!(stream(&flow), Stream { read: 2, refused: 1, missing: 1, ..Stream::default() });
    }
}

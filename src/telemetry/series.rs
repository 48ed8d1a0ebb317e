//! The series of a metric: one for each combination of its labels' values.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The labels of one series: name and value.
pub(super) type Labels<const N: usize> = [(&'static str, String); N];

/// A counter for each combination of its labels' values.
///
/// Each lookup of a series costs a read lock and a hash: count per object, part or batch, not per record.
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

/// A count as the value of a gauge.
pub(crate) fn gauge_of(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A gauge for each combination of its labels' values.
pub(crate) struct Gauges<const N: usize> {
    labels: [&'static str; N],
    family: Family<Labels<N>, Gauge>,
}

impl<const N: usize> Gauges<N> {
    pub(crate) fn set(&self, values: [&str; N], value: i64) {
        self.family.get_or_create(&labelled(self.labels, values)).set(value);
    }

    /// The value that was set last; `None` if none was.
    pub(crate) fn value(&self, values: [&str; N]) -> Option<i64> {
        self.family.get(&labelled(self.labels, values)).map(|gauge| gauge.get())
    }
}

/// A histogram for each combination of its labels' values.
pub(crate) struct Histograms<const N: usize> {
    labels: [&'static str; N],
    family: Family<Labels<N>, Histogram, Buckets>,
}

impl<const N: usize> Histograms<N> {
    pub(crate) fn observe(&self, values: [&str; N], value: f64) {
        self.family.get_or_create(&labelled(self.labels, values)).observe(value);
    }
}

/// Sixteen buckets, each twice as wide as the one before.
#[derive(Clone, Debug)]
struct Buckets {
    first_secs: f64,
}

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(exponential_buckets(self.first_secs, 2.0, 16))
    }
}

pub(super) fn labelled<const N: usize>(names: [&'static str; N], values: [&str; N]) -> Labels<N> {
    std::array::from_fn(|i| (names[i], values[i].to_owned()))
}

/// Registers a metric under its name and returns the handle that counts.
pub(super) struct Registration<'r>(pub(super) &'r mut Registry);

impl Registration<'_> {
    pub(super) fn gauge(&mut self, name: &str, help: &str) -> Gauge {
        let gauge = Gauge::default();
        self.0.register(name, help, gauge.clone());
        gauge
    }

    pub(super) fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: [&'static str; N],
    ) -> Counters<N> {
        let family = Family::default();
        self.0.register(name, help, family.clone());
        Counters { labels, family }
    }

    pub(super) fn gauges<const N: usize>(&mut self, name: &str, help: &str, labels: [&'static str; N]) -> Gauges<N> {
        Gauges { labels, family: self.family(name, help) }
    }

    pub(super) fn family<const N: usize>(&mut self, name: &str, help: &str) -> Family<Labels<N>, Gauge> {
        let family = Family::default();
        self.0.register(name, help, family.clone());
        family
    }

    pub(super) fn histogram(&mut self, name: &str, help: &str, first_secs: f64) -> Histogram {
        let histogram = (Buckets { first_secs }).new_metric();
        self.0.register(name, help, histogram.clone());
        histogram
    }

    pub(super) fn histograms<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        first_secs: f64,
        labels: [&'static str; N],
    ) -> Histograms<N> {
        let family = Family::new_with_constructor(Buckets { first_secs });
        self.0.register(name, help, family.clone());
        Histograms { labels, family }
    }
}

//! A run's progress line and its final summary, computed from the metrics.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};

use crate::telemetry::metrics::Metrics;

/// Access to the metrics of a run that may not have begun yet. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct RunMetrics(Arc<OnceLock<Arc<Metrics>>>);

impl RunMetrics {
    /// Uses these metrics from now on.
    pub(crate) fn follow(&self, metrics: &Arc<Metrics>) {
        // Only one run sets them.
        let _ = self.0.set(Arc::clone(metrics));
    }

    /// The counts until now; all 0 before the run has begun.
    pub(crate) fn summary(&self) -> Summary {
        self.0.get().map(|metrics| Summary::of(&metrics.as_they_stand())).unwrap_or_default()
    }
}

/// The counts of a run: in total, by feed, and by sink.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Summary {
    /// Readings of objects, by result.
    objects: BTreeMap<String, u64>,
    /// Events decoded from new records.
    events: u64,
    /// New records, events, objects and messages in quarantine.
    refused: u64,
    /// Lines that are no record of their feed's family.
    skipped: u64,
    feeds: BTreeMap<String, Fed>,
    sinks: BTreeMap<String, Sent>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Fed {
    objects: u64,
    events: u64,
    refused: u64,
    skipped: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Sent {
    /// Events that the sink has had.
    events: u64,
    /// Events that its filter left out.
    filtered: u64,
    /// Objects that the sink has not had completely.
    backlog: u64,
}

impl Summary {
    /// Computes the summary from metrics in the OpenMetrics text form. A sample with the label of a feed or sink counts
    /// for that feed or sink too.
    fn of(metrics: &str) -> Self {
        let mut summary = Self::default();
        for line in metrics.lines() {
            let Some(sample) = line.strip_prefix("auditferry_").and_then(Sample::of) else { continue };
            summary.add(&sample);
        }
        summary
    }

    fn add(&mut self, sample: &Sample<'_>) {
        let count = sample.value;
        let mut none = Fed::default();
        let fed = match sample.label("feed") {
            Some(feed) if !feed.is_empty() => self.feeds.entry(feed.to_owned()).or_default(),
            _ => &mut none,
        };
        let mut nowhere = Sent::default();
        let sent = match sample.label("sink") {
            Some(sink) => self.sinks.entry(sink.to_owned()).or_default(),
            None => &mut nowhere,
        };
        match sample.name {
            "objects_total" => {
                fed.objects += count;
                *self.objects.entry(sample.label("result").unwrap_or_default().to_owned()).or_default() += count;
            }
            "events_received_total" => {
                fed.events += count;
                self.events += count;
            }
            "records_quarantined_total" | "messages_quarantined_total" => {
                fed.refused += count;
                self.refused += count;
            }
            "lines_skipped_total" => {
                fed.skipped += count;
                self.skipped += count;
            }
            "events_sent_total" => sent.events += count,
            "events_filtered_total" => sent.filtered += count,
            "backlog_objects" => sent.backlog += count,
            _ => {}
        }
    }

    /// Whether the run put anything into quarantine.
    pub(crate) fn has_refused(&self) -> bool {
        self.refused > 0
    }

    /// The progress of the run in one line.
    pub(crate) fn progress(&self) -> String {
        let delivered: u64 = self.sinks.values().map(|sent| sent.events).sum();
        format!("{} objects, {} events, {delivered} delivered, {} refused", self.done(), self.events, self.refused)
    }

    fn done(&self) -> u64 {
        self.objects.values().sum()
    }

    /// The summary as JSON, for a log line.
    pub(crate) fn json(&self) -> Value {
        let fed = |fed: &Fed| json!({"objects": fed.objects, "events": fed.events, "refused": fed.refused, "skipped": fed.skipped});
        let sent = |sent: &Sent| json!({"events": sent.events, "filtered": sent.filtered, "backlog": sent.backlog});
        json!({
            "level": "INFO",
            "message": "summary",
            "objects": self.objects,
            "events": self.events,
            "refused": self.refused,
            "skipped": self.skipped,
            "feeds": self.feeds.iter().map(|(name, it)| (name.clone(), fed(it))).collect::<BTreeMap<_, _>>(),
            "sinks": self.sinks.iter().map(|(name, it)| (name.clone(), sent(it))).collect::<BTreeMap<_, _>>(),
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let results: Vec<String> = self.objects.iter().map(|(result, count)| format!("{count} {result}")).collect();
        let results = if results.is_empty() { String::new() } else { format!(" ({})", results.join(", ")) };
        let (events, refused, skipped) = (self.events, self.refused, self.skipped);
        write!(
            f,
            "summary: {} objects{results}, {events} events, {refused} refused, {skipped} lines skipped",
            self.done()
        )?;
        for (name, Fed { objects, events, refused, skipped }) in &self.feeds {
            write!(
                f,
                "\n  feed {name}: {objects} objects, {events} events, {refused} refused, {skipped} lines skipped"
            )?;
        }
        for (name, Sent { events, filtered, backlog }) in &self.sinks {
            write!(
                f,
                "\n  sink {name}: {events} events delivered, {filtered} filtered, {backlog} objects in its backlog"
            )?;
        }
        Ok(())
    }
}

/// A line of the text form: name, labels and value.
struct Sample<'a> {
    name: &'a str,
    labels: Vec<(&'a str, &'a str)>,
    value: u64,
}

impl<'a> Sample<'a> {
    /// Parses a line; `None` if it is no sample or its value is not a whole number. The labels' values contain no
    /// quotes: they are names of feeds, sinks and queues, and our own words.
    fn of(line: &'a str) -> Option<Self> {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.trim_end_matches('}').split("\",").filter_map(|label| {
            let (name, value) = label.split_once("=\"")?;
            Some((name, value.trim_end_matches('"')))
        });
        Some(Self { name, labels: labels.collect(), value: value.parse().ok()? })
    }

    fn label(&self, name: &str) -> Option<&'a str> {
        self.labels.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = r#"# TYPE auditferry_objects counter
auditferry_objects_total{feed="a",result="delivered"} 2
auditferry_objects_total{feed="a",result="unchanged"} 1
auditferry_objects_total{feed="b-1",result="delivered"} 4
auditferry_events_received_total{feed="a"} 10
auditferry_events_received_total{feed="b-1"} 20
auditferry_records_quarantined_total{feed="a",kind="record"} 2
auditferry_messages_quarantined_total{queue="q"} 1
auditferry_lines_skipped_total{feed="b-1"} 5
auditferry_events_sent_total{feed="a",sink="out"} 8
auditferry_events_sent_total{feed="b-1",sink="out"} 20
auditferry_events_filtered_total{feed="a",sink="out"} 2
auditferry_backlog_objects{sink="slow"} 3
auditferry_checkpoint_commit_seconds_sum 0.5
auditferry_bytes_fetched_total 100
# EOF
"#;

    #[test]
    fn a_summary_says_what_the_metrics_say_by_feed_and_by_sink() {
        let summary = Summary::of(METRICS);
        assert_eq!(
            summary.to_string(),
            "summary: 7 objects (6 delivered, 1 unchanged), 30 events, 3 refused, 5 lines skipped\n  \
             feed a: 3 objects, 10 events, 2 refused, 0 lines skipped\n  \
             feed b-1: 4 objects, 20 events, 0 refused, 5 lines skipped\n  \
             sink out: 28 events delivered, 2 filtered, 0 objects in its backlog\n  \
             sink slow: 0 events delivered, 0 filtered, 3 objects in its backlog"
        );
        assert_eq!(
            summary.json(),
            json!({
                "level": "INFO", "message": "summary", "objects": {"delivered": 6, "unchanged": 1}, "events": 30, "refused": 3, "skipped": 5,
                "feeds": {"a": {"objects": 3, "events": 10, "refused": 2, "skipped": 0}, "b-1": {"objects": 4, "events": 20, "refused": 0, "skipped": 5}},
                "sinks": {"out": {"events": 28, "filtered": 2, "backlog": 0}, "slow": {"events": 0, "filtered": 0, "backlog": 3}},
            })
        );
        assert_eq!(summary.progress(), "7 objects, 30 events, 28 delivered, 3 refused");
        assert!(summary.has_refused());
    }

    #[test]
    fn a_run_that_did_not_begin_has_done_nothing() {
        let summary = RunMetrics::default().summary();
        assert_eq!(summary.to_string(), "summary: 0 objects, 0 events, 0 refused, 0 lines skipped");
        assert!(!summary.has_refused());
    }
}

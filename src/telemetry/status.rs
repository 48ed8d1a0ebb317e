//! The daemon's state in three forms: the text of `/readyz`, the JSON of `/status`, and the service manager's line.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::identity::fault::FaultKind;
use crate::telemetry::health::{Health, Part, PartKind, Standstill, State};
use crate::telemetry::metrics::Metrics;

/// The present time. The caller passes it, because only `collector` may read a clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// Milliseconds since the epoch.
    pub wall_ms: i64,
    /// Milliseconds since the process started, on the monotonic clock.
    pub uptime_ms: u64,
}

impl Now {
    /// The wall-clock time of a moment that is given on the monotonic clock.
    fn at(self, uptime_ms: u64) -> Option<Timestamp> {
        let ago_ms = i64::try_from(self.uptime_ms.saturating_sub(uptime_ms)).ok()?;
        moment(self.wall_ms.checked_sub(ago_ms)?)
    }
}

/// The time, rounded down to a second.
fn moment(wall_ms: i64) -> Option<Timestamp> {
    Timestamp::from_second(wall_ms.div_euclid(1000)).ok()
}

/// `ready`, or `not ready` with the missing parts; then a line for each failing activity, and one for each feed with a
/// backlog.
pub(crate) fn readiness(health: &Health, metrics: &Metrics, now: Now) -> String {
    let unready = health.unready();
    let mut text = match unready.as_slice() {
        [] => "ready\n".to_owned(),
        missing => format!("not ready: {}\n", listed(missing)),
    };
    for (part, state) in health.states() {
        let State::Failing(standstills) = state else { continue };
        for Standstill { activity, since_ms, failure } in standstills {
            let since = now.at(since_ms).map(|since| format!(" since {since}")).unwrap_or_default();
            let (activity, kind, reason) = (activity.word(), failure.kind, failure.reason);
            text.push_str(&format!("failing: {part} ({activity}){since}: {kind}: {reason}\n"));
        }
    }
    for (part, _) in health.states().into_iter().filter(|(part, _)| part.kind == PartKind::Feed) {
        let kinds: Vec<String> =
            metrics.unread(&part.name).map(|(kind, objects)| format!("{objects} {kind}")).collect();
        if !kinds.is_empty() {
            text.push_str(&format!("unread: {part}: {}\n", kinds.join(", ")));
        }
    }
    text
}

/// One line for the service manager: the failing parts, and the reason of the first.
pub(crate) fn summary(health: &Health) -> String {
    let mut failing = Vec::new();
    let mut first = None;
    for (part, state) in health.states() {
        let State::Failing(standstills) = state else { continue };
        let kinds: Vec<&str> = standstills.iter().map(|standstill| standstill.failure.kind).collect();
        failing.push(format!("{part} ({})", kinds.join(", ")));
        first = first.or_else(|| standstills.into_iter().next().map(|standstill| standstill.failure.reason));
    }
    let unready = health.unready();
    match (first, unready.as_slice()) {
        (Some(reason), _) => format!("failing: {}: {reason}", failing.join(", ")),
        (None, []) => "collecting".to_owned(),
        (None, missing) => format!("starting: waiting for {}", listed(missing)),
    }
}

fn listed(parts: &[Part]) -> String {
    parts.iter().map(Part::to_string).collect::<Vec<_>>().join(", ")
}

/// Sets the gauges of failing parts; call it before a scrape.
pub(crate) fn measure(health: &Health, metrics: &Metrics) {
    for (part, state) in health.states() {
        metrics.failing.of(part.kind).set([&part.name], i64::from(matches!(state, State::Failing(_))));
    }
}

/// The whole state of every part.
pub(crate) fn status(health: &Health, metrics: &Metrics, now: Now) -> Value {
    let mut kinds: [(&str, Map<String, Value>); 5] =
        ["stores", "identities", "queues", "feeds", "sinks"].map(|name| (name, Map::new()));
    let mut failing = 0;
    for (part, state) in health.states() {
        failing += u64::from(matches!(state, State::Failing(_)));
        let mut told = stated(&state, now);
        counts(&part, metrics, &mut told);
        kinds[part.kind as usize].1.insert(part.name.to_string(), Value::Object(told));
    }
    let unready: Vec<String> = health.unready().iter().map(Part::to_string).collect();
    let mut all = Map::new();
    all.insert("version".to_owned(), env!("CARGO_PKG_VERSION").into());
    all.insert("now".to_owned(), time(moment(now.wall_ms)));
    all.insert("uptime_secs".to_owned(), (now.uptime_ms / 1000).into());
    all.insert("live".to_owned(), health.live(now.uptime_ms).into());
    all.insert("ready".to_owned(), unready.is_empty().into());
    all.insert("waiting_for".to_owned(), unready.into());
    all.insert("failing".to_owned(), failing.into());
    for (name, parts) in kinds {
        all.insert(name.to_owned(), Value::Object(parts));
    }
    Value::Object(all)
}

fn stated(state: &State, now: Now) -> Map<String, Value> {
    let mut told = Map::new();
    let word = match state {
        State::Starting => "starting",
        State::Ok => "ok",
        State::Failing(_) => "failing",
    };
    told.insert("state".to_owned(), word.into());
    if let State::Failing(standstills) = state {
        let failures = standstills.iter().map(|Standstill { activity, since_ms, failure }| {
            json!({
                "activity": activity.word(),
                "since": time(now.at(*since_ms)),
                "kind": failure.kind,
                "reason": failure.reason,
            })
        });
        told.insert("failures".to_owned(), failures.collect());
    }
    told
}

/// Adds a part's counts.
fn counts(part: &Part, metrics: &Metrics, told: &mut Map<String, Value>) {
    let name = &*part.name;
    let mut tell = |key: &str, value: Value| told.insert(key.to_owned(), value);
    match part.kind {
        PartKind::Store => {
            tell("bytes", metrics.checkpoint.db_bytes.get().into());
        }
        PartKind::Identity => {
            tell("failures_total", metrics.assume_role_failures.value([name]).into());
            tell("credentials_expire", time(metrics.credentials_expiry_ms(name).and_then(moment)));
        }
        PartKind::Queue => {
            tell("visible_messages", metrics.queue.visible_messages.value([name]).into());
            tell("in_flight_messages", metrics.queue.inflight_messages.value([name]).into());
            tell("oldest_message_age_secs", metrics.queue.oldest_message_age.value([name]).into());
        }
        PartKind::Feed => {
            let failed =
                FaultKind::ALL.map(FaultKind::word).map(|kind| (kind, metrics.reads_failed.value([name, kind])));
            let failed = failed.into_iter().filter(|(_, times)| *times > 0);
            let failed: Map<String, Value> = failed.map(|(kind, times)| (kind.to_owned(), times.into())).collect();
            tell("reads_failed", Value::Object(failed));
            tell("unread_objects", metrics.unread(name).map(|(kind, objects)| (kind, Value::from(objects))).collect());
            tell("newest_event", time(metrics.newest_event_ms(name).and_then(moment)));
            let scanned = metrics.scan_last_success.value([name]);
            tell("last_scan", time(scanned.and_then(|secs| Timestamp::from_second(secs).ok())));
        }
        PartKind::Sink => {
            let streams = metrics.flow.now().into_keys();
            let feeds = streams.filter(|(_, sink)| **sink == *name).map(|(feed, _)| feed);
            let sent: u64 = feeds.map(|feed| metrics.events_sent.value([&feed, name])).sum();
            tell("events_sent", sent.into());
            tell("retries", metrics.sink_retries.value([name]).into());
            tell("behind", (metrics.sink_behind.value([name]) == Some(1)).into());
            tell("backlog_objects", metrics.backlog_objects.value([name]).into());
        }
    }
}

fn time(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| at.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::health::{Activity, Failure, Patience};

    const NOW: Now = Now { wall_ms: 1_700_000_100_000, uptime_ms: 160_000 };

    fn health() -> Health {
        let health = Health::default();
        let (queue, feed) = (Part::new(PartKind::Queue, "events"), Part::new(PartKind::Feed, "audit"));
        for part in [Part::store(), queue.clone(), feed, Part::new(PartKind::Sink, "out")] {
            health.announce(part);
        }
        health.worked(&Part::store(), Activity::Commit, 0);
        let failure = Failure { kind: "denied", reason: "queue q refuses: AccessDenied".to_owned() };
        health.failed(&queue, Activity::Receive, failure, Patience::NONE, 60_000);
        health
    }

    #[test]
    fn readiness_names_what_is_missing_and_what_fails_since_when_and_why() {
        let metrics = Metrics::new(0);
        for (kind, objects) in [("waiting", 1), ("denied", 1_200), ("timeout", 0)] {
            metrics.unread_objects.set(["audit", kind], objects);
        }
        let text = readiness(&health(), &metrics, NOW);
        let failing =
            "failing: queue events (receive) since 2023-11-14T22:13:20Z: denied: queue q refuses: AccessDenied\n";
        assert_eq!(text, format!("not ready: sink out\n{failing}unread: feed audit: 1200 denied, 1 waiting\n"));
    }

    #[test]
    fn the_summary_says_first_what_fails() {
        let health = health();
        assert_eq!(summary(&health), "failing: queue events (denied): queue q refuses: AccessDenied");
        health.worked(&Part::new(PartKind::Queue, "events"), Activity::Receive, 0);
        assert_eq!(summary(&health), "starting: waiting for sink out");
        health.worked(&Part::new(PartKind::Sink, "out"), Activity::Deliver, 0);
        assert_eq!(summary(&health), "collecting");
    }

    #[test]
    fn every_part_has_a_gauge_from_the_start() {
        let metrics = Metrics::new(0);
        measure(&health(), &metrics);
        let text = metrics.text(0);
        for line in [
            "auditferry_queue_failing{queue=\"events\"} 1",
            "auditferry_feed_failing{feed=\"audit\"} 0",
            "auditferry_sink_failing{sink=\"out\"} 0",
            "auditferry_store_failing{store=\"checkpoints\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn the_status_holds_every_part_with_its_counts() {
        let metrics = Metrics::new(0);
        metrics.reads_failed.add(["audit", "denied"], 3);
        metrics.delivered("audit", "workspaceId=1", 1_699_999_999_000);
        metrics.backlog_objects.set(["out"], 2);
        metrics.unread_objects.set(["audit", "denied"], 7);
        let told = status(&health(), &metrics, NOW);
        assert_eq!((&told["failing"], &told["ready"]), (&json!(1), &json!(false)));
        assert_eq!(told["waiting_for"], json!(["sink out"]));
        let queue = &told["queues"]["events"];
        assert_eq!(queue["state"], "failing");
        let failure = json!({
            "activity": "receive",
            "since": "2023-11-14T22:13:20Z",
            "kind": "denied",
            "reason": "queue q refuses: AccessDenied",
        });
        assert_eq!(queue["failures"], json!([failure]));
        let feed = &told["feeds"]["audit"];
        assert_eq!(feed["state"], "starting");
        assert_eq!(feed["reads_failed"], json!({ "denied": 3 }));
        assert_eq!(feed["unread_objects"], json!({ "denied": 7 }));
        assert_eq!(feed["newest_event"], "2023-11-14T22:13:19Z");
        assert_eq!(told["sinks"]["out"]["backlog_objects"], 2);
        assert_eq!(told["stores"]["checkpoints"]["state"], "ok");
    }
}

//! Checks a configuration whose values have the right types: that names exist, numbers are in range, parts fit together.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::check_sink::{check_encoding, check_filter};
use crate::config::found::{Found, Names, is_queue_name, lexical, refuse_fifo};
use crate::config::{Config, check_feed, memory, places, regions};
use crate::notification::parse::topic_fault;
use crate::notification::queue;
use crate::sink::{self, Output};

/// Finds everything that is wrong with the configuration itself, without the network or the file system.
pub(super) fn check(config: &Config, names: &Names) -> Found {
    let mut found = Found::default();
    top(config, names, &mut found);
    limits(config, &mut found);
    for (name, identity) in &config.identity {
        check_name(&["identity", name], name, &mut found);
        for error in identity.faults() {
            // `assume_role[1].duration`, as a path of keys.
            let inside = error.field.split(['.', '[', ']']).filter(|key| !key.is_empty());
            let at: Vec<&str> = ["identity", name.as_str()].into_iter().chain(inside).collect();
            found.problem(&at, error.problem);
        }
    }
    for (name, queue) in &config.queue {
        check_name(&["queue", name], name, &mut found);
        check_queue(name, queue, names, &mut found);
    }
    sinks(config, names, &mut found);
    for (name, feed) in &config.feed {
        check_name(&["feed", name], name, &mut found);
        check_feed::check(name, feed, config, names, &mut found);
    }
    places::check(config, &mut found);
    regions::check(config, &mut found);
    memory::check(config, &mut found);
    unused(config, &mut found);
    found
}

fn top(config: &Config, names: &Names, found: &mut Found) {
    if names.feeds.is_empty() {
        found.problem(&["feed"], "expected at least one [feed.<name>]");
    }
    if names.sinks.is_empty() {
        found.problem(&["sink"], "expected at least one [sink.<name>]");
    }
    if !config.state_dir.is_absolute() {
        found.problem(&["state_dir"], "expected an absolute path");
    }
    if let Err(error) = config.admin.address() {
        found.problem(&["admin", "listen"], error.to_string());
    }
    if config.log.filter().is_err() {
        found.problem(
            &["log", "level"],
            "expected error, warn, info, debug, trace or a filter such as \"auditferry=debug,info\"",
        );
    }
}

fn limits(config: &Config, found: &mut Found) {
    let limits = &config.limits;
    if let Some(bytes) = limits.memory_bytes {
        found.size(&["limits", "memory_bytes"], bytes, 1 << 20..=1 << 40);
    }
    found.range(&["limits", "objects_at_once"], limits.objects_at_once, 1..=1024);
    found.size(&["limits", "line_bytes_max"], limits.line_bytes_max, 1 << 10..=1 << 30);
    found.range(&["limits", "record_events_max"], limits.record_events_max, 1..=1_000_000);
    found.size(&["limits", "record_output_bytes_max"], limits.record_output_bytes_max, 1 << 10..=1 << 30);
    found.size(&["limits", "object_bytes_max"], limits.object_bytes_max, 1..=1 << 50);
    found.size(&["limits", "read_rate_min"], limits.read_rate_min, 0..=1 << 30);
    found.size(&["limits", "inflated_bytes_max"], limits.inflated_bytes_max, 1 << 20..=1 << 50);
    found.range(&["limits", "inflate_ratio_max"], limits.inflate_ratio_max, 2..=1_000_000);
    found.range(&["limits", "fingerprints_in_memory"], limits.fingerprints_in_memory, 1..=1_000_000_000);
    batch_size(["limits", "batch_bytes"], limits.batch_bytes, found);
    found.range(&["limits", "batch_events"], limits.batch_events, BATCH_EVENTS);
    found.range(&["limits", "read_attempts"], limits.read_attempts, 1..=100);
    found.range(&["limits", "backlog_objects_max"], limits.backlog_objects_max, 0..=10_000_000);
    found.size(&["limits", "quarantine_bytes_max"], limits.quarantine_bytes_max, 0..=1 << 50);
    found.range(&["limits", "unrouted_objects_max"], limits.unrouted_objects_max, 0..=10_000_000);
    found.range(&["limits", "quarantine_entries_max"], limits.quarantine_entries_max, 1..=1_000_000_000);
    found.range(&["limits", "quarantine_entries_per_object"], limits.quarantine_entries_per_object, 1..=1_000_000_000);
    if !(15..=36_500).contains(&limits.forget_after_days) {
        let message = format!(
            "expected 15 to 36500 days, found {}: a queue keeps a notification for up to 14",
            limits.forget_after_days
        );
        found.problem(&["limits", "forget_after_days"], message);
    }
    batch_age(&["limits", "batch_age"], limits.batch_age, found);
    for (key, time, least_ms, most_secs) in [
        ("sink_patience", limits.sink_patience, 1, 3600),
        ("request_timeout", limits.request_timeout, 100, 600),
        ("stall_after", limits.stall_after, 1000, 11 * 3600),
        ("shutdown_grace", limits.shutdown_grace, 1000, 600),
    ] {
        found.time(&["limits", key], time, Duration::from_millis(least_ms), Duration::from_secs(most_secs));
    }
}

const BATCH_EVENTS: RangeInclusive<usize> = 1..=10_000_000;

fn batch_size<const N: usize>(at: [&str; N], bytes: Option<usize>, found: &mut Found) {
    let Some(bytes) = bytes else { return };
    found.size(&at, bytes, 1..=1 << 30);
}

fn batch_age(at: &[&str], age: Duration, found: &mut Found) {
    found.time(at, age, Duration::from_millis(1), Duration::from_secs(600));
}

/// Names are limited because they stand in metrics, in the checkpoint store and in environment variables.
fn check_name(at: &[&str], name: &str, found: &mut Found) {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
        found.problem(at, "expected a name of 1 to 64 letters, digits, dots, dashes or underscores");
    }
}

fn check_queue(name: &str, queue: &queue::Config, names: &Names, found: &mut Found) {
    let at = |key| ["queue", name, key];
    match (&queue.url, &queue.name) {
        (Some(url), None) => {
            found.endpoint(&at("url"), Some(url), queue.allow_plain_http);
            refuse_fifo(&at("url"), url, found);
        }
        (None, Some(queue)) => {
            refuse_fifo(&at("name"), queue, found);
            if !is_queue_name(queue) {
                found.problem(&at("name"), "expected 1 to 80 letters, digits, dashes or underscores");
            }
        }
        (Some(_), Some(_)) => found.problem(&at("name"), "expected either `url` or `name`, not both"),
        (None, None) => found.problem(&["queue", name], "expected `url` or `name`"),
    }
    found.endpoint(&at("endpoint_url"), queue.endpoint_url.as_deref(), queue.allow_plain_http);
    if let Some(identity) = &queue.identity {
        found.reference(&at("identity"), "identity", identity, &names.identities);
    }
    for (index, topic) in queue.topics.iter().flatten().enumerate() {
        if let Some(expected) = topic_fault(topic) {
            found.problem(&["queue", name, "topics", &index.to_string()], expected);
        }
    }
    if queue.topics.as_ref().is_some_and(Vec::is_empty) {
        found.problem(&at("topics"), "expected at least one; leave the key out to take everybody's messages");
    }
    found.range(&at("receivers"), queue.receivers, 1..=16);
    found.range(&at("visibility_secs"), queue.visibility_secs, 10..=3600);
    found.range(&at("held_max"), queue.held_max, 10..=100_000);
    found.range(&at("poison_receives_max"), queue.poison_receives_max, 1..=1000);
}

fn sinks(config: &Config, names: &Names, found: &mut Found) {
    let mut paths: BTreeMap<PathBuf, &str> = BTreeMap::new();
    let mut console: Option<&str> = None;
    for (name, sink) in &config.sink {
        check_name(&["sink", name], name, found);
        check_encoding(name, &sink.encoding, found);
        check_filter(name, sink, config, names, found);
        batch_size(["sink", name, "batch", "bytes"], sink.batch.bytes, found);
        if let Some(events) = sink.batch.events {
            found.range(&["sink", name, "batch", "events"], events, BATCH_EVENTS);
        }
        if let Some(age) = sink.batch.age {
            batch_age(&["sink", name, "batch", "age"], age, found);
        }
        check_lanes(name, sink, found);
        if let Some(identity) = sink.kind.aws().and_then(|aws| aws.identity) {
            found.reference(&["sink", name, "identity"], "identity", identity, &names.identities);
        }
        sink.kind.check(&mut |key, message| found.problem(&["sink", name, key], message));
        match sink.kind.output() {
            Output::File(path) => {
                let at = ["sink", name.as_str(), "path"];
                let path = lexical(path);
                if let Some(other) = numbered_by(&path, config) {
                    found.problem(&at, format!("[sink.{other}] gives its full files names such as this"));
                }
                if let Some(other) = paths.insert(path, name) {
                    found.problem(&at, format!("[sink.{other}] writes this file already"));
                }
            }
            Output::Console => {
                if let Some(other) = console.replace(name) {
                    found.problem(&["sink", name], format!("[sink.{other}] writes to standard output already"));
                }
            }
            Output::Bucket { .. } | Output::Shared => {}
        }
    }
}

fn check_lanes(name: &str, sink: &sink::Config, found: &mut Found) {
    for (key, number) in [("lanes", sink.lanes), ("in_flight", sink.in_flight)] {
        let Some(number) = number else { continue };
        found.range(&["sink", name, key], number, 1..=64);
        if sink.kind.flow().is_serial() && number != 1 {
            found.problem(&["sink", name, key], "this type of sink writes one batch after the other: expected 1");
        }
    }
}

/// The file sink that may give one of its rotated files this path as its name.
fn numbered_by<'a>(path: &Path, config: &'a Config) -> Option<&'a str> {
    let of = sink::unnumbered(path)?;
    config.sink.iter().find_map(|(name, sink)| match sink.kind.output() {
        Output::File(path) if lexical(path) == of => Some(name.as_str()),
        _ => None,
    })
}

fn unused(config: &Config, found: &mut Found) {
    for name in config.sink.keys() {
        if !config.feed.values().any(|feed| feed.sinks.contains(name)) {
            found.warnings.push(format!("[sink.{name}] is used by no feed"));
        }
    }
    for name in config.queue.keys() {
        if !config.feed.values().any(|feed| feed.queue.as_ref() == Some(name)) {
            found.warnings.push(format!("[queue.{name}] is used by no feed"));
        }
    }
    for name in config.identity.keys() {
        let by_feed = config.feed.values().any(|feed| feed.identity.as_ref() == Some(name));
        let by_queue = config.queue.values().any(|queue| queue.identity.as_ref() == Some(name));
        let by_sink = |sink: &sink::Config| sink.kind.aws().is_some_and(|aws| aws.identity == Some(name));
        if !by_feed && !by_queue && !config.sink.values().any(by_sink) {
            found.warnings.push(format!("[identity.{name}] is used by no feed, no queue and no sink"));
        }
    }
}

//! Checks one feed: its bucket or directory, its queue, and the names to which it refers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use globset::Glob;

use crate::config::found::{Found, Names, did_you_mean, is_queue_name, nested, refuse_fifo};
use crate::config::malformed::glob_fault;
use crate::config::{Config, feed};
use crate::family::{self, S3aPrincipal};
use crate::units::Time;
use crate::users;

pub(super) fn check(name: &str, feed: &feed::Config, config: &Config, names: &Names, found: &mut Found) {
    let at = |key| ["feed", name, key];
    if family::named(&feed.family).is_none() {
        let hint = did_you_mean(&feed.family, family::ALL.iter().map(|family| family.name));
        found.problem(&at("family"), format!("unknown family `{}`{hint}", feed.family));
    }
    match (&feed.bucket, &feed.directory) {
        (Some(bucket), None) => {
            check_bucket(&at("bucket"), bucket, found);
            check_bucket_options(name, feed, names, found);
        }
        (None, Some(_)) => check_directory(name, feed, found),
        (Some(_), Some(_)) => found.problem(&at("directory"), "expected either `bucket` or `directory`, not both"),
        (None, None) => found.problem(&["feed", name], "expected `bucket` or `directory`"),
    }
    if let Some(queue) = &feed.queue {
        check_queue(name, feed, queue, config, names, found);
    }
    check_sinks(name, feed, config, names, found);
    check_keys(name, feed, found);
    check_line_members(name, feed, found);
    check_redaction(name, feed, found);
    if let Some(users) = &feed.users {
        check_users(name, feed, users, found);
    }
    if feed.scan_every.is_some_and(|every| every < Duration::from_secs(1)) {
        found.problem(&at("scan_every"), "expected at least 1s");
    }
}

fn check_sinks(name: &str, feed: &feed::Config, config: &Config, names: &Names, found: &mut Found) {
    if feed.sinks.is_empty() {
        found.problem(&["feed", name, "sinks"], "expected at least one sink");
    }
    let mut seen = BTreeSet::new();
    for (index, sink) in feed.sinks.iter().enumerate() {
        let at = ["feed", name, "sinks", &index.to_string()];
        found.reference(&at, "sink", sink, &names.sinks);
        if !seen.insert(sink) {
            found.problem(&at, format!("`{sink}` is there already"));
        }
        let is_unlabelled = config.sink.get(sink).is_some_and(|sink| sink.encoding.labels == Some(false));
        if feed.settings.s3a_principal == S3aPrincipal::Claimed && is_unlabelled {
            let why =
                format!("[sink.{sink}] writes no labels, and only a label tells a claimed user from a checked one");
            found.problem(&["feed", name, "settings", "s3a_principal"], why);
        }
    }
}

fn check_line_members(name: &str, feed: &feed::Config, found: &mut Found) {
    let members = &feed.settings.line_members;
    if !members.is_empty() && feed.family == "s3_access" {
        found.problem(&["feed", name, "settings", "line_members"], "has no effect with the family \"s3_access\"");
    }
    for (index, member) in members.iter().enumerate() {
        if member.is_empty() || member.contains('.') {
            let at = ["feed", name, "settings", "line_members", &index.to_string()];
            found.problem(&at, "expected a member's name, without the names of those that it is in");
        }
    }
}

fn check_keys(name: &str, feed: &feed::Config, found: &mut Found) {
    if feed.keys.as_ref().is_some_and(Vec::is_empty) {
        found.problem(&["feed", name, "keys"], "expected at least one glob; leave the key out for the family's own");
    }
    let keys = feed.keys.iter().flatten().enumerate().map(|glob| ("keys", glob));
    for (list, (index, glob)) in keys.chain(feed.ignore.iter().enumerate().map(|glob| ("ignore", glob))) {
        let at = ["feed", name, list, &index.to_string()];
        if let Err(error) = Glob::new(glob) {
            found.problem(&at, format!("`{glob}` is no glob: {}", glob_fault(error.kind())));
        } else if glob.starts_with('/') {
            found.problem(&at, "expected no slash at the beginning: no key has one");
        }
    }
}

/// Paths of all lists of one feed's redaction together.
const PATHS_MAX: usize = 256;

fn check_redaction(name: &str, feed: &feed::Config, found: &mut Found) {
    let Some(redaction) = &feed.redact else { return };
    let at = |key| ["feed", name, "redact", key];
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (list, action, paths) in redaction.lists() {
        for (index, path) in paths.iter().enumerate() {
            let at = ["feed", name, "redact", list, &index.to_string()];
            if path.split('.').any(str::is_empty) {
                found.problem(&at, "expected the path of a field, such as `requestParams.user`");
            } else if let Some(other) = seen.insert(path, list) {
                found.problem(&at, format!("`{path}` is in `{other}` already"));
            } else if let Some(Err(why)) = family::named(&feed.family).map(|family| (family.redactable)(path, action)) {
                found.problem(&at, format!("`{path}` {why}"));
            }
        }
    }
    let count: usize = redaction.lists().iter().map(|(.., paths)| paths.len()).sum();
    if count == 0 {
        found.problem(&["feed", name, "redact"], "expected at least one path in `drop`, `hash` or `mask`");
    } else if count > PATHS_MAX {
        found.problem(&["feed", name, "redact"], format!("expected at most {PATHS_MAX} paths, found {count}"));
    }
    match (&redaction.key, redaction.hash.is_empty()) {
        (None, false) => found.problem(&["feed", name, "redact"], "`hash` needs a `key`"),
        (Some(_), true) => found.problem(&at("key"), "has no effect without `hash`"),
        _ => {}
    }
}

fn check_directory(name: &str, feed: &feed::Config, found: &mut Found) {
    let at = |key| ["feed", name, key];
    if feed.directory.as_ref().is_some_and(|directory| !directory.is_absolute()) {
        found.problem(&at("directory"), "expected an absolute path");
    }
    for (key, is_set) in [
        ("prefixes", !feed.prefixes.is_empty()),
        ("region", feed.region.is_some()),
        ("endpoint_url", feed.endpoint_url.is_some()),
        ("allow_plain_http", feed.allow_plain_http),
        ("path_style", feed.path_style),
        ("expected_bucket_owner", feed.expected_bucket_owner.is_some()),
        ("read_through", !feed.read_through.is_empty()),
        ("identity", feed.identity.is_some()),
        ("queue", feed.queue.is_some()),
    ] {
        if is_set {
            found.problem(&at(key), "is for buckets; this feed reads a directory");
        }
    }
}

fn check_bucket_options(name: &str, feed: &feed::Config, names: &Names, found: &mut Found) {
    let at = |key| ["feed", name, key];
    for (index, prefix) in feed.prefixes.iter().enumerate() {
        let at = ["feed", name, "prefixes", &index.to_string()];
        if prefix.is_empty() {
            found.problem(&at, "expected some text; leave `prefixes` out for the whole bucket");
        } else if prefix.starts_with('/') {
            found.problem(&at, "expected no slash at the beginning: no key has one");
        } else if let Some(outer) = feed.prefixes[..index].iter().find(|other| nested(other, prefix)) {
            found.problem(&at, format!("overlaps with `{outer}` of the same feed"));
        }
    }
    for (bucket, through) in &feed.read_through {
        let at = ["feed", name, "read_through", bucket];
        check_bucket(&at, bucket, found);
        check_bucket(&at, through, found);
    }
    if feed.expected_bucket_owner.as_deref().is_some_and(|owner| !is_account(owner)) {
        found.problem(&at("expected_bucket_owner"), "expected an account's 12 digits");
    }
    if let Some(identity) = &feed.identity {
        found.reference(&at("identity"), "identity", identity, &names.identities);
    }
    found.endpoint(&at("endpoint_url"), feed.endpoint_url.as_deref(), feed.allow_plain_http);
}

fn check_users(name: &str, feed: &feed::Config, users: &users::Config, found: &mut Found) {
    if feed.family != "lakefs" {
        found.problem(&["feed", name, "users"], "is for the family `lakefs`");
    }
    let at = |key| ["feed", name, "users", key];
    for (key, time, most_secs) in [
        ("lifetime", users.lifetime, 7 * 86_400),
        ("max_age", users.max_age, 30 * 86_400),
        ("timeout", users.timeout, 300),
    ] {
        found.time(&at(key), time, Duration::from_secs(1), Duration::from_secs(most_secs));
    }
    if users.max_age < users.lifetime {
        found.problem(&at("max_age"), format!("expected at least `lifetime` ({})", Time(users.lifetime)));
    }
    found.range(&at("users_max"), users.users_max, 1..=1_000_000);
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A bucket's name, an access point's alias, or an access point's ARN. Old buckets may have capitals and underscores,
/// and up to 255 characters (S3 User Guide, "Bucket naming rules").
fn check_bucket(at: &[&str], bucket: &str, found: &mut Found) {
    if bucket.starts_with("s3://") || bucket.contains('/') && !bucket.starts_with("arn:") {
        found.problem(at, "expected a bucket's name alone, without `s3://` and without a path (that is `prefixes`)");
    } else if bucket.starts_with("arn:") {
        let parts: Vec<&str> = bucket.splitn(6, ':').collect();
        let is_access_point = matches!(parts.as_slice(), [_, _, "s3", _, _, point]
            if point.strip_prefix("accesspoint/").or_else(|| point.strip_prefix("accesspoint:")).is_some_and(|name| !name.is_empty()));
        if !is_access_point {
            found.problem(
                at,
                "expected an access point's ARN (arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME) or a bucket's name",
            );
        }
    } else {
        let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        if !(3..=255).contains(&bucket.len()) || !bucket.chars().all(allowed) {
            found.problem(at, "expected a bucket's name of 3 to 63 letters, digits, dots and dashes");
        }
    }
}

/// `queue` is first taken as the name of a `[queue.<name>]`, then as a URL, then as an SQS queue's name.
fn check_queue(name: &str, feed: &feed::Config, queue: &str, config: &Config, names: &Names, found: &mut Found) {
    let at = ["feed", name, "queue"];
    if names.queues.contains(queue) {
        return;
    }
    refuse_fifo(&at, queue, found);
    if queue.contains("://") {
        found.endpoint(&at, Some(queue), feed.allow_plain_http);
    } else if !is_queue_name(queue) && !queue.ends_with(".fifo") {
        found.problem(&at, "expected a URL, the name of a [queue.<name>], or an SQS queue's name");
    } else if let Some(table) = names.queues.iter().find(|table| strsim::damerau_levenshtein(table, queue) == 1) {
        found.warnings.push(format!(
            "feed.{name}.queue: `{queue}` is taken for an SQS queue's name; [queue.{table}] is spelt almost so"
        ));
    }
    // A queue without a table of its own takes region and identity from its feeds, so these have to agree.
    let differs = |other: &feed::Config| other.identity != feed.identity || other.region != feed.region;
    let other = config.feed.iter().find(|(_, other)| other.queue.as_deref() == Some(queue) && differs(other));
    if let Some((other, _)) = other {
        let message =
            format!("[feed.{other}] reads this queue with another identity or region; give it a [queue.<name>] table");
        found.problem(&at, message);
    }
}

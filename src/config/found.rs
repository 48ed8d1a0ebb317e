//! Shared by the checks of a configuration: its names, the problems found, and checks of single values.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use crate::config::value::KeyPath;
use crate::identity::endpoint;
use crate::units::{Size, Time};

/// The names in the configuration. Faulty tables count too: a feed may refer to a sink that has a fault of its own.
pub(super) struct Names {
    pub(super) feeds: BTreeSet<String>,
    pub(super) sinks: BTreeSet<String>,
    pub(super) queues: BTreeSet<String>,
    pub(super) identities: BTreeSet<String>,
}

/// The result of the checks.
#[derive(Default)]
pub(super) struct Found {
    pub(super) problems: Vec<(KeyPath, String)>,
    pub(super) warnings: Vec<String>,
}

impl Found {
    pub(super) fn problem(&mut self, at: &[&str], message: impl Into<String>) {
        self.problems.push((at.iter().map(|key| (*key).to_owned()).collect(), message.into()));
    }

    /// Reports a value outside of its range.
    pub(super) fn range<T: PartialOrd + Display>(&mut self, at: &[&str], value: T, range: RangeInclusive<T>) {
        if !range.contains(&value) {
            self.problem(at, format!("expected {} to {}, found {value}", range.start(), range.end()));
        }
    }

    /// Reports a size in bytes outside of its range.
    pub(super) fn size<T: TryInto<u64>>(&mut self, at: &[&str], bytes: T, range: RangeInclusive<u64>) {
        let bytes = bytes.try_into().unwrap_or(u64::MAX);
        self.range(at, Size(bytes), Size(*range.start())..=Size(*range.end()));
    }

    /// Reports a time outside of its range.
    pub(super) fn time(&mut self, at: &[&str], time: Duration, least: Duration, most: Duration) {
        self.range(at, Time(time), Time(least)..=Time(most));
    }

    /// Reports a name that has no table.
    pub(super) fn reference(&mut self, at: &[&str], what: &str, name: &str, known: &BTreeSet<String>) {
        if !known.contains(name) {
            let hint = did_you_mean(name, known.iter().map(String::as_str));
            self.problem(at, format!("there is no [{what}.{name}]{hint}"));
        }
    }

    /// Reports an endpoint of an AWS service that is malformed or not allowed.
    pub(super) fn endpoint(&mut self, at: &[&str], url: Option<&str>, allow_plain_http: bool) {
        if let Some(Err(error)) = url.map(|url| endpoint::check(url, allow_plain_http)) {
            self.problem(at, error.to_string());
        }
    }
}

/// Reports a FIFO queue: its URL or name ends in `.fifo`.
pub(super) fn refuse_fifo(at: &[&str], queue: &str, found: &mut Found) {
    if queue.ends_with(".fifo") {
        found.problem(at, "expected a standard queue: S3 cannot publish notifications to a FIFO queue");
    }
}

/// Whether SQS allows the name (CreateQueue) for a standard queue.
pub(super) fn is_queue_name(name: &str) -> bool {
    (1..=80).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// The path without `.` and `..`. Only the text is used, because the path need not exist yet.
pub(super) fn lexical(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

/// Whether one of the two begins with the other.
pub(super) fn nested(one: &str, other: &str) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// The end of a sentence about an unknown name: the known name that was probably meant, or all known names.
pub(super) fn did_you_mean<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match (closest(given, known.iter().copied()), known.as_slice()) {
        (Some(name), _) => format!("; did you mean `{name}`?"),
        (None, []) => "; there are none".to_owned(),
        (None, [only]) => format!("; expected `{only}`"),
        (None, several) => format!("; expected one of `{}`", several.join("`, `")),
    }
}

/// The known name that was probably meant.
pub(crate) fn closest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = given.to_lowercase();
    let distances = known.into_iter().map(|name| (strsim::damerau_levenshtein(&lower, &name.to_lowercase()), name));
    let close = distances
        .filter(|(distance, name)| *distance <= (name.chars().count().max(lower.chars().count()) / 3).max(1))
        .min();
    close.map(|(_, name)| name)
}

//! The configuration: composed of each folder's own part, loaded from files and environment, and checked as a whole.

pub mod feed;

pub(crate) mod load;

pub(crate) mod state_dir;

mod admin;

mod check;

mod check_feed;

mod check_sink;

pub(crate) mod doubts;

mod found;

mod layers;

mod malformed;

mod memory;

mod places;

mod regions;

mod secrets;

mod value;

mod variables;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::checkpoint::QuarantineLimits;
use crate::family::RecordBudget;
use crate::identity;
use crate::notification;
use crate::sink;
use crate::units;

pub use admin::Admin;
pub(crate) use admin::Listen;
pub(crate) use found::closest;
pub(crate) use memory::Share;

/// The daemon's whole configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The directory of the checkpoint store, on a local disk that survives restarts.
    pub state_dir: PathBuf,
    #[serde(default)]
    pub admin: Admin,
    #[serde(default)]
    pub log: Log,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub identity: BTreeMap<String, identity::Config>,
    #[serde(default)]
    pub queue: BTreeMap<String, notification::queue::Config>,
    pub feed: BTreeMap<String, feed::Config>,
    pub sink: BTreeMap<String, sink::Config>,
}

impl Config {
    /// A configuration of one feed, which reads a bucket with the machine's own credentials.
    pub(crate) fn of_bucket(family: &str, bucket: &str) -> Self {
        Self {
            state_dir: PathBuf::new(),
            admin: Admin::default(),
            log: Log::default(),
            limits: Limits::default(),
            identity: BTreeMap::new(),
            queue: BTreeMap::new(),
            feed: BTreeMap::from([("decode".to_owned(), feed::Config::of_bucket(family, bucket))]),
            sink: BTreeMap::new(),
        }
    }

    /// Whether anything of it is in AWS, or in what stands in for it.
    pub(crate) fn asks_aws(&self) -> bool {
        let sinks = self.sink.values().any(|sink| sink.kind.aws().is_some());
        sinks || self.feed.values().any(|feed| feed.directory.is_none() || feed.queue.is_some())
    }
}

/// `[log]`: the daemon's own log, on standard error.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, or a tracing filter such as `auditferry=debug,info`. Default: `info`.
    pub level: Option<String>,
    /// `readable` or `json`. Default: `readable` on a terminal, else `json`.
    pub format: Option<LogFormat>,
}

impl Log {
    /// The filter for `level`. A bare level admits only our own lines: they report errors of the AWS SDK too, with feed
    /// and object, while the SDK's own lines might contain a presigned URL.
    pub fn filter(&self) -> Result<EnvFilter, LevelError> {
        let level = self.level.as_deref().unwrap_or("info");
        // The filter would take a bare word as a target: all lines of that target, and no other lines.
        if level.contains(['=', ',', '[']) {
            return Ok(EnvFilter::try_new(level)?);
        }
        let level: Level = level.parse().map_err(|_| LevelError::Unknown)?;
        Ok(EnvFilter::try_new(format!("off,auditferry={level}"))?)
    }
}

/// Why `log.level` is refused.
#[derive(Debug, thiserror::Error)]
pub enum LevelError {
    #[error("expected error, warn, info, debug, trace or a filter")]
    Unknown,
    #[error(transparent)]
    Malformed(#[from] ParseError),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    Readable,
    Json,
}

/// `[limits]`: bounds of memory, disk and time. Every field has a default.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The memory budget beside the program's code and tables: events in flight, objects being read, the store's
    /// caches. Default: 192 MiB, or what the configuration needs if that is more.
    #[serde(deserialize_with = "crate::units::some_bytes")]
    pub memory_bytes: Option<usize>,
    /// How many objects are read at once. Each feed always has one job of its own; the other jobs are lent to feeds
    /// that need them. Default: 8.
    pub objects_at_once: usize,
    /// The longest line that is read; a longer line is quarantined by its coordinates. Default: 16 MiB.
    #[serde(deserialize_with = "crate::units::bytes")]
    pub line_bytes_max: usize,
    /// The most events that one record gives; past it one more event says that the rest is left out. Default: 10000.
    pub record_events_max: u32,
    /// The most bytes of one record's events in each encoding; past it one more event says that the rest is left out.
    /// Default: 64 MiB.
    #[serde(deserialize_with = "crate::units::bytes")]
    pub record_output_bytes_max: usize,
    /// The largest object that is read, in stored bytes; a larger object is quarantined. Default: 64 GiB.
    #[serde(deserialize_with = "crate::units::bytes")]
    pub object_bytes_max: u64,
    /// The most a compressed object may inflate to. Default: 16 GiB.
    #[serde(deserialize_with = "crate::units::bytes")]
    pub inflated_bytes_max: u64,
    /// The highest ratio of inflated to stored bytes. Default: 1000.
    pub inflate_ratio_max: u64,
    /// How many fingerprints of one object are compared in memory, as far as the budget has room; further ones are
    /// compared in a temporary table on disk. Default: 900000, which just fill a table of 17 MB.
    pub fingerprints_in_memory: usize,
    /// A batch is sent when it holds this many bytes. Default: by the sink's type, 8 MiB for `file` and `stdout`.
    #[serde(deserialize_with = "crate::units::some_bytes")]
    pub batch_bytes: Option<usize>,
    /// A batch is sent when it holds this many events. Default: 100000.
    pub batch_events: usize,
    /// A batch is sent when its first event has waited this long. Default: 200ms.
    #[serde(deserialize_with = "crate::units::time")]
    pub batch_age: Duration,
    /// How long the other sinks wait for a slow or failing sink before they go on without it. Default: 5s.
    #[serde(deserialize_with = "crate::units::time")]
    pub sink_patience: Duration,
    /// If a sink has not had an object for this time, the object enters the sink's backlog and its message is settled;
    /// `never` keeps messages in the queue. Default: 10m.
    pub owe_after: OweAfter,
    /// The most unreadable objects in a feed's backlog; past it their messages go back to their queue for a while.
    /// Default: 1000000.
    pub backlog_objects_max: u64,
    /// A request to S3 or SQS fails if it is not answered within this time, and a body fails if no bytes arrive for
    /// this time. A listing has three times as long; a long poll has its own wait in addition. Default: 10s.
    #[serde(deserialize_with = "crate::units::time")]
    pub request_timeout: Duration,
    /// An object is slow if fewer bytes a second arrive. Slow objects take no lent jobs, and a feed's third slow object
    /// is postponed; with 0 no object is slow. Default: 4 KiB.
    #[serde(deserialize_with = "crate::units::bytes")]
    pub read_rate_min: u64,
    /// A message without progress for this time is no longer kept invisible, so that the queue delivers it again.
    /// Default: 10m.
    #[serde(deserialize_with = "crate::units::time")]
    pub stall_after: Duration,
    /// How often the daemon tries to read a missing object before it counts as vanished. Default: 3.
    pub read_attempts: u32,
    /// The longest time from the stop signal to the exit. Default: 25s.
    #[serde(deserialize_with = "crate::units::time")]
    pub shutdown_grace: Duration,
    /// How many days after an object's last change its checkpoint is forgotten. At least 15, because a queue keeps a
    /// notification for up to 14. Default: 35.
    pub forget_after_days: u32,
    /// The most bytes of bodies that the quarantine holds, compressed; past it only coordinates are kept. Default: 1
    /// GiB.
    #[serde(deserialize_with = "crate::units::bytes")]
    pub quarantine_bytes_max: u64,
    /// How many names of objects are kept that notifications named and no feed takes; past it their messages stay in
    /// the queue. Default: 100000.
    pub unrouted_objects_max: u64,
    /// The most entries of each kind (records, objects, messages) in the quarantine. Past it the further records of an
    /// object share one entry, for the same number of objects again; one entry a feed counts all others. Default:
    /// 100000.
    pub quarantine_entries_max: u64,
    /// This many records of one object have an entry each; further ones share an entry. Default: 1000.
    pub quarantine_entries_per_object: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let budget = RecordBudget::default();
        Self {
            memory_bytes: None,
            objects_at_once: 8,
            line_bytes_max: 16 << 20,
            record_events_max: budget.events_max,
            record_output_bytes_max: budget.output_bytes_max,
            object_bytes_max: 64 << 30,
            inflated_bytes_max: 16 << 30,
            inflate_ratio_max: 1000,
            fingerprints_in_memory: 900_000,
            batch_bytes: None,
            batch_events: 100_000,
            batch_age: Duration::from_millis(200),
            sink_patience: Duration::from_secs(5),
            owe_after: OweAfter::default(),
            backlog_objects_max: 1_000_000,
            request_timeout: Duration::from_secs(10),
            read_rate_min: 4 << 10,
            stall_after: Duration::from_secs(600),
            read_attempts: 3,
            shutdown_grace: Duration::from_secs(25),
            forget_after_days: 35,
            quarantine_bytes_max: 1 << 30,
            unrouted_objects_max: 100_000,
            quarantine_entries_max: QuarantineLimits::ENTRIES_MAX,
            quarantine_entries_per_object: QuarantineLimits::ENTRIES_PER_OBJECT,
        }
    }
}

impl Limits {
    /// The most events and bytes that one record gives.
    pub fn budget(&self) -> RecordBudget {
        RecordBudget { events_max: self.record_events_max, output_bytes_max: self.record_output_bytes_max }
    }

    /// The limits of the quarantine.
    pub fn quarantine(&self) -> QuarantineLimits {
        QuarantineLimits {
            bytes_max: self.quarantine_bytes_max,
            entries_max: self.quarantine_entries_max,
            entries_per_object: self.quarantine_entries_per_object,
        }
    }
}

/// `owe_after`: a time, or `never`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OweAfter {
    After(Duration),
    Never,
}

impl Default for OweAfter {
    fn default() -> Self {
        Self::After(Duration::from_secs(600))
    }
}

impl<'de> Deserialize<'de> for OweAfter {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "never" {
            return Ok(Self::Never);
        }
        units::parse_time(&text)
            .map(Self::After)
            .ok_or_else(|| serde::de::Error::custom("expected a time such as \"10m\" or \"2d\", or \"never\""))
    }
}

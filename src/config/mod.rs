//! The configuration: composed of the folders' own, loaded from files and environment, checked whole.

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

/// Everything the daemon is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the checkpoint store lives. A local disk that survives restarts.
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
    /// A configuration of one feed, which reads a bucket with what the machine has.
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

/// `[log]`: what the daemon says of itself, on standard error.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, or a tracing filter such as `auditferry=debug,info`. Default: `info`.
    pub level: Option<String>,
    /// `readable` or `json`. Default: `readable` on a terminal, else `json`.
    pub format: Option<LogFormat>,
}

impl Log {
    /// What `level` lets through. A bare word only lets our own lines through: errors of the AWS SDK reach the log in our
    /// lines, with feed and object, and the SDK's own lines might contain a presigned URL.
    pub fn filter(&self) -> Result<EnvFilter, LevelError> {
        let level = self.level.as_deref().unwrap_or("info");
        // To the filter a bare word is a target: all of that target, and nothing else.
        if level.contains(['=', ',', '[']) {
            return Ok(EnvFilter::try_new(level)?);
        }
        let level: Level = level.parse().map_err(|_| LevelError::Unknown)?;
        Ok(EnvFilter::try_new(format!("off,auditferry={level}"))?)
    }
}

/// Why `log.level` lets nothing through.
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

/// `[limits]`: what bounds memory, time and patience. Every field has a default.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// What the program takes beside its code and its tables: events in flight, objects being read, the store's caches.
    /// Default: 192 MiB, or what is configured needs if that is more.
    #[serde(deserialize_with = "crate::units::some_bytes")]
    pub memory_bytes: Option<usize>,
    /// Objects worked on at once. Each feed always has one of its own; the rest is lent to whoever asks. Default: 8.
    pub objects_at_once: usize,
    /// The longest line that is read; a longer one is quarantined by its coordinates. Default: 16 MiB.
    #[serde(deserialize_with = "crate::units::bytes")]
    pub line_bytes_max: usize,
    /// How many events one record gives at most; one more says that the rest is left out. Default: 10000.
    pub record_events_max: u32,
    /// The most that the events of one record take up in each encoding, in bytes: past it one more says that the rest is left
    /// out. Default: 64 MiB.
    #[serde(deserialize_with = "crate::units::bytes")]
    pub record_output_bytes_max: usize,
    /// The largest object that is read, as it is stored; a larger one is quarantined. Default: 64 GiB.
    #[serde(deserialize_with = "crate::units::bytes")]
    pub object_bytes_max: u64,
    /// The most a compressed object may inflate to. Default: 16 GiB.
    #[serde(deserialize_with = "crate::units::bytes")]
    pub inflated_bytes_max: u64,
    /// The highest ratio of inflated to stored bytes. Default: 1000.
    pub inflate_ratio_max: u64,
    /// Fingerprints of one object compared in memory, as far as the budget has room; past it a temporary table does.
    /// Default: 900000, which just fill a table of 17 MB.
    pub fingerprints_in_memory: usize,
    /// A batch is sent when it holds as many bytes. Default: what suits the sink's type, 8 MiB for `file` and `stdout`.
    #[serde(deserialize_with = "crate::units::some_bytes")]
    pub batch_bytes: Option<usize>,
    /// A batch is sent when it holds as many events. Default: 100000.
    pub batch_events: usize,
    /// A batch is sent when its first event has waited as long. Default: 200ms.
    #[serde(deserialize_with = "crate::units::time")]
    pub batch_age: Duration,
    /// How long the others wait for a sink that is slow or failing before they go on without it. Default: 5s.
    #[serde(deserialize_with = "crate::units::time")]
    pub sink_patience: Duration,
    /// After how long without a sink its objects are written into its backlog and their messages settled; `never` keeps
    /// them in the queue. Default: 10m.
    pub owe_after: OweAfter,
    /// How many objects that could not be read a feed's backlog holds; past it their messages go back to their queue for
    /// a while. Default: 1000000.
    pub backlog_objects_max: u64,
    /// A request to S3 or SQS that is not answered for as long has failed, and so has a body of which nothing comes. A
    /// listing has three times as long, and a long poll its wait besides. Default: 10s.
    #[serde(deserialize_with = "crate::units::time")]
    pub request_timeout: Duration,
    /// An object of which fewer bytes come in a second takes none of the jobs that are lent to its feed, and a third such
    /// is put off; 0: none is slow. Default: 4 KiB.
    #[serde(deserialize_with = "crate::units::bytes")]
    pub read_rate_min: u64,
    /// A message on which there is no progress for as long is left to come again. Default: 10m.
    #[serde(deserialize_with = "crate::units::time")]
    pub stall_after: Duration,
    /// How often an object that is not there is asked for again before it counts as vanished. Default: 3.
    pub read_attempts: u32,
    /// From the stop signal to the exit. Default: 25s.
    #[serde(deserialize_with = "crate::units::time")]
    pub shutdown_grace: Duration,
    /// Days since an object's last change after which its checkpoint is forgotten (at least 15: a queue keeps a
    /// notification for up to 14). Default: 35.
    pub forget_after_days: u32,
    /// The quarantine holds at most as many bytes of refused records, compressed; past it bodies are left out, their
    /// coordinates stay. Default: 1 GiB.
    #[serde(deserialize_with = "crate::units::bytes")]
    pub quarantine_bytes_max: u64,
    /// How many objects are remembered that notifications named and no feed takes; past it their messages stay in the
    /// queue. Default: 100000.
    pub unrouted_objects_max: u64,
    /// The quarantine holds at most as many entries of each kind (records, objects, messages). Past it the further records
    /// of an object share one entry, for as many objects again; all else is counted in one entry a feed. Default: 100000.
    pub quarantine_entries_max: u64,
    /// As many records of one object have an entry each; its further ones share one. Default: 1000.
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
    /// How much of one record is told.
    pub fn budget(&self) -> RecordBudget {
        RecordBudget { events_max: self.record_events_max, output_bytes_max: self.record_output_bytes_max }
    }

    /// Those of the quarantine.
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

//! Delivers a batch, and says what became of it: taken, later, never.

mod encoding;

mod file;

mod memory;

mod stdout;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::batch::Batch;
use crate::event::{EncodingName, OcsfVersion};

pub use encoding::Encoding;
pub use file::{Group, Mode};
pub use memory::{Answer, Delivered, MemoryReceiver};

/// Where a sink's next batch begins in what it writes: in which file of its sequence, and after how many bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// The file's number in the sequence of rotated files, from 1.
    pub number: u64,
    /// Its committed length in bytes.
    pub len: u64,
    /// When its first event was written, in milliseconds since the epoch.
    pub opened_at_ms: i64,
}

/// What was sealed: enough to tell whether a sink has all of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Manifest {
    pub bytes: u64,
    /// BLAKE3 of the batch's bytes.
    pub hash: blake3::Hash,
}

/// The proof that a sink took a batch. Only the sinks make one:
///
/// ```compile_fail
/// let forged = auditferry::sink::Receipt { position: None };
/// ```
#[derive(Debug)]
pub struct Receipt {
    position: Option<Position>,
}

impl Receipt {
    fn accepted() -> Self {
        Self { position: None }
    }

    fn at(position: Position) -> Self {
        Self { position: Some(position) }
    }

    /// For a batch without events, of records that gave none: there is nothing to take.
    pub fn nothing(batch: &Batch) -> Option<Self> {
        (batch.events() == 0).then(Self::accepted)
    }

    /// Where the sink's next batch begins, for sinks that hold a position.
    pub fn position(&self) -> Option<Position> {
        self.position
    }
}

/// What became of a batch.
#[derive(Debug)]
pub enum Delivery {
    /// The receiver has it for good.
    Taken(Receipt),
    /// Nothing was sent: the sink goes on elsewhere first. To be remembered, then the batch is delivered again.
    Moved(Moved),
}

/// A sink goes on elsewhere than where its last batch ended. That is to be remembered before the sink is asked for
/// anything else, so that after a crash the next process takes the same way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Moved {
    pub position: Position,
    /// The file the position lies in, before it is given its number.
    pub file: PathBuf,
    pub why: Why,
}

/// Why a sink goes on elsewhere.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    /// The configured file begins: it is the sink's first, or another than `before`.
    Begun { before: Option<PathBuf> },
    /// It does not: the store had no path for its position.
    Named,
    /// Behind its position lay as many bytes that are not ours; it goes on after them.
    Foreign { bytes: u64 },
    /// The number its file was to be given is taken; it will be given another.
    Numbered,
    /// Its file was given its number, and the next begins.
    Rotated,
}

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// Try the same batch again.
    #[error("the sink is unavailable: {0}")]
    Unavailable(String),
    /// Trying again cannot help until a person mends the receiver or the configuration. The sink is parked and asked
    /// again now and then; no event is given up.
    #[error("the sink needs mending: {0}")]
    Misconfigured(String),
}

/// Why a sink cannot be made as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("there is no group `{group}` on this machine")]
    NoGroup { group: String },
    #[error("the group `{group}` cannot be looked up: {source}")]
    Lookup { group: String, source: io::Error },
}

/// One configured sink.
pub enum Sink {
    File(Box<file::FileSink>),
    Stdout(stdout::StdoutSink),
    Memory(memory::MemorySink),
}

impl Sink {
    /// The sink a table configures, which continues at `position` of `file` where it holds one.
    pub fn open(config: &Config, position: Option<Position>, file: Option<PathBuf>) -> Result<Self, OpenError> {
        Ok(match config {
            Config::File(config) => Self::File(Box::new(file::FileSink::new(config.clone(), position, file)?)),
            Config::Stdout(config) => Self::Stdout(stdout::StdoutSink::new(config)),
        })
    }

    /// A sink whose receiver is in this process.
    pub fn memory(receiver: impl MemoryReceiver + 'static) -> Self {
        Self::Memory(memory::MemorySink::new(receiver))
    }

    /// Sends a batch and waits until the receiver has it for good. Sending the same batch again is harmless where the
    /// receiver can tell a repeat. `now_ms` is the time, in milliseconds since the epoch.
    pub async fn deliver(&mut self, batch: &Batch, now_ms: i64) -> Result<Delivery, DeliveryError> {
        match self {
            Self::File(sink) => sink.deliver(batch, now_ms).await,
            Self::Stdout(sink) => sink.deliver(batch).await.map(Delivery::Taken),
            Self::Memory(sink) => sink.deliver(batch).await.map(Delivery::Taken),
        }
    }

    /// Whether the receiver already has all of a batch that was sealed before the process ended. Sinks that cannot know
    /// say nothing.
    pub async fn settled(&mut self, manifest: &Manifest) -> Result<Option<Receipt>, DeliveryError> {
        match self {
            Self::File(sink) => sink.settled(manifest).await,
            Self::Memory(sink) => sink.settled(manifest).await,
            Self::Stdout(_) => Ok(None),
        }
    }

    /// Goes on where the process before stood. `under_way` is what it had sealed and not committed; bytes behind the
    /// sink's position are the beginning of that, and not ours if there is nothing. To be asked, and what it says
    /// remembered, until the sink does not move any more.
    pub async fn resume(&mut self, under_way: Option<&Manifest>, now_ms: i64) -> Result<Option<Moved>, DeliveryError> {
        match self {
            Self::File(sink) => sink.resume(under_way, now_ms).await,
            Self::Stdout(_) | Self::Memory(_) => Ok(None),
        }
    }

    /// Takes back what was written of a batch that was sealed and cannot be made again, where the sink can.
    pub async fn take_back(&mut self, manifest: &Manifest, now_ms: i64) -> Result<Option<Moved>, DeliveryError> {
        match self {
            Self::File(sink) => sink.take_back(manifest, now_ms).await,
            Self::Stdout(_) | Self::Memory(_) => Ok(None),
        }
    }
}

/// `[sink.<name>]`: where events go. The table's key `type` names the variant.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Config {
    File(FileConfig),
    Stdout(StdoutConfig),
}

impl Config {
    /// How the sink's events are written.
    pub fn encoding(&self) -> Encoding {
        match self {
            Self::File(config) => Encoding {
                name: config.encoding,
                ocsf_version: config.ocsf_version,
                raw_data: config.raw_data,
                observables: config.observables,
                labels: config.labels,
                envelope: config.envelope,
            },
            Self::Stdout(config) => Encoding {
                name: config.encoding,
                ocsf_version: config.ocsf_version,
                raw_data: config.raw_data,
                observables: config.observables,
                labels: config.labels,
                envelope: config.envelope,
            },
        }
    }
}

/// A file of lines, each event once: a repeat after a crash is recognised by the committed length.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    pub path: PathBuf,
    #[serde(default)]
    pub encoding: EncodingName,
    /// The version that OCSF events are written in. Default: 1.8.0. Only with `ocsf`.
    pub ocsf_version: Option<OcsfVersion>,
    /// The record itself as text, secrets masked. Default: false. Not with `raw`.
    pub raw_data: Option<bool>,
    /// The names and addresses of an event once more, as a list to search. Default: true. Not with `raw`.
    pub observables: Option<bool>,
    /// What is to be known of how an event came about. Default: true. Not with `raw`.
    pub labels: Option<bool>,
    /// Whether a raw record stands in an envelope that says what and where it is. Default: false. Only with `raw`.
    pub envelope: Option<bool>,
    /// Begin a new file once this one holds as many bytes; the old one gets its number as a suffix. Default: never.
    pub rotate_bytes: Option<u64>,
    /// Begin a new file once this one is as old. Default: never.
    #[serde(default, with = "jiff::fmt::serde::unsigned_duration::friendly::compact::optional")]
    pub rotate_after: Option<Duration>,
    /// The files' permissions in octal digits, such as `0640`. Default: 0640 for the files that the sink creates; a file
    /// that is there already keeps its own.
    pub mode: Option<Mode>,
    /// The files' group, by name or number. Default: their directory's, for the files that the sink creates and where the
    /// daemon may set it.
    pub group: Option<Group>,
}

/// Standard output: at least once.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StdoutConfig {
    #[serde(default)]
    pub encoding: EncodingName,
    /// The version that OCSF events are written in. Default: 1.8.0. Only with `ocsf`.
    pub ocsf_version: Option<OcsfVersion>,
    /// The record itself as text, secrets masked. Default: false. Not with `raw`.
    pub raw_data: Option<bool>,
    /// The names and addresses of an event once more, as a list to search. Default: true. Not with `raw`.
    pub observables: Option<bool>,
    /// What is to be known of how an event came about. Default: true. Not with `raw`.
    pub labels: Option<bool>,
    /// Whether a raw record stands in an envelope that says what and where it is. Default: false. Only with `raw`.
    pub envelope: Option<bool>,
    /// Whether each event is a line to read (`readable`) or JSON (`json`, the default).
    #[serde(default)]
    pub style: StdoutStyle,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StdoutStyle {
    #[default]
    Json,
    Readable,
}

//! Delivers a batch, and returns what became of it.
//!
//! A sink keeps its position in the receiver as bytes that nobody else reads. The checkpoint store keeps them with the
//! sink's lane, in the transaction that commits the batch that they belong to.

mod config;

mod encoding;

mod file;

mod filter;

mod memory;

mod stdout;

mod template;

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::{fmt, io};

use crate::batch::{Batch, Manifest};
use crate::event::Choices;

pub use config::{BatchConfig, Config, SHARED_KEYS};
pub use encoding::EncodingConfig;
pub use file::{FileConfig, Group, Mode, file_state};
pub use filter::FilterConfig;
pub use memory::{MemoryReceiver, memory};
pub use stdout::{StdoutConfig, StdoutStyle};
pub use template::{IndexTemplate, KeyTemplate, Template, TemplateError, TemplateSource};

/// An answer that may take its time, or never come.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, DeliveryError>> + Send + 'a>>;

/// One lane of a configured sink. Each method may be called again after it failed, or was dropped before it ended.
///
/// Which sinks there are is configuration, so that this is a trait over boxed futures: a kind is a file of its own.
pub trait Sink: Send + Sync {
    /// Resumes where the process before stood: at `lane`, with these batches sealed and not committed, in their order. To
    /// be called, and a `Moved` stored, until the sink does not move any more. `now_ms` is the time, in milliseconds since
    /// the epoch.
    fn resume<'a>(&'a self, lane: &'a LaneState, sealed: &'a [&'a Manifest], now_ms: i64) -> Answer<'a, Resumed>;

    /// Sends a batch and waits until the receiver has it for good. Sending the same batch again is harmless where the
    /// receiver can tell a repeat.
    fn deliver<'a>(&'a self, batch: &'a Batch, now_ms: i64) -> Answer<'a, Delivery>;

    /// Takes back what was written of a batch that was sealed and cannot be made again, where the sink can.
    fn take_back<'a>(&'a self, manifest: &'a Manifest, now_ms: i64) -> Answer<'a, Option<Moved>>;
}

/// A kind of sink, as its own keys configure it.
pub trait Kind: fmt::Debug + Send + Sync {
    /// A batch is cut when it has so many bytes, unless it is configured.
    fn batch_bytes(&self) -> usize;

    /// Where it writes. No two sinks may write to one place, and no feed read it.
    fn output(&self) -> Output<'_>;

    /// What its templates tell events apart by, beside their feed, family, class and date.
    fn choices(&self) -> Choices {
        Choices::default()
    }

    /// Reports each key whose value has the right type and is not valid.
    fn check(&self, problem: &mut dyn FnMut(&str, &str));

    fn open(&self) -> Result<Box<dyn Sink>, OpenError>;
}

/// Where a sink writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Output<'a> {
    /// This file, and files of the same name with a number behind it.
    File(&'a Path),
    Console,
}

/// A sink's own state, as its kind writes it: opaque to everybody else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State(pub Box<[u8]>);

/// The position of a sink's lane in its own sequence of batches.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LaneState {
    /// The number of the last batch that was committed, and its id. Batches of older programs have no id that is compared.
    pub seq: u64,
    pub last_id: Option<Box<str>>,
    pub state: Option<State>,
}

/// How a sink goes on.
#[derive(Debug)]
pub enum Resumed {
    /// The receiver has the first of the sealed batches already: as many as there are receipts.
    Ready(Vec<Receipt>),
    /// The sink goes on elsewhere first. To be stored, then the sink is asked again.
    Moved(Moved),
    /// The receiver's last batch is neither sealed nor the last that was committed: it has more than the checkpoint store
    /// knows of. The store is older, a backup that was restored. The sink goes on behind that batch.
    Ahead {
        /// The id of the receiver's last batch.
        id: Box<str>,
    },
}

/// The proof that a sink took a batch. Only the sinks make one:
///
/// ```compile_fail
/// let forged = auditferry::sink::Receipt { state: None };
/// ```
#[derive(Clone, Debug)]
pub struct Receipt {
    state: Option<State>,
}

impl Receipt {
    /// For sinks without a state of their own.
    fn accepted() -> Self {
        Self { state: None }
    }

    fn at(state: State) -> Self {
        Self { state: Some(state) }
    }

    /// For a batch without events, of records that gave none: there is nothing to take.
    pub fn nothing(batch: &Batch) -> Option<Self> {
        (batch.events() == 0).then(Self::accepted)
    }

    /// The sink's state once it has the batch, where that has changed.
    pub fn state(&self) -> Option<&State> {
        self.state.as_ref()
    }
}

/// What became of a batch.
#[derive(Debug)]
pub enum Delivery {
    /// The receiver has it for good.
    Taken(Receipt),
    /// Nothing was sent: the sink goes on elsewhere first. To be stored, then the batch is delivered again.
    Moved(Moved),
}

/// A sink goes on elsewhere than where its last batch ended. That is to be stored before anything else is asked of the
/// sink, so that the next process does the same after a crash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Moved {
    pub state: State,
    pub why: Why,
}

/// Why a sink goes on elsewhere.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    /// The configured file begins: it is the sink's first, or another than `before`.
    Begun { file: PathBuf, before: Option<PathBuf> },
    /// The file is the same: the store had no path for its position.
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

//! Delivers a batch, and returns what became of it.
//!
//! A sink keeps its position in the receiver as bytes that nobody else reads. The checkpoint store keeps them with the
//! sink's lane, in the transaction that commits the batch that they belong to.

mod blocking;

mod config;

mod elasticsearch;

mod encoding;

mod file;

mod filter;

mod http;

mod memory;

mod network;

mod progress;

mod s3;

mod sentinel;

mod splunk_hec;

mod stdout;

mod table;

mod template;

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use crate::batch::{Batch, Manifest, Provenance, Request, RequestLimits, Selection};
use crate::event::{Choices, Head};
use crate::identity::Identity;
use crate::transport::{ServiceConfig, ServiceOpenError};

pub use config::{BatchConfig, SHARED_KEYS};
pub(crate) use config::{Config, shared_keys};
pub use elasticsearch::ElasticsearchConfig;
pub use encoding::EncodingConfig;
pub use file::FileConfig;
pub(crate) use file::{file_state, unnumbered};
pub use filter::FilterConfig;
pub use http::{HttpConfig, PRESETS, Preset};
pub use memory::{MemoryKind, MemoryReceiver, memory};
pub use network::NETWORK_KEYS;
pub(crate) use progress::Progress;
pub use s3::S3Config;
pub use sentinel::SentinelConfig;
pub use splunk_hec::HecConfig;
pub use stdout::StdoutConfig;
pub(crate) use template::{IndexTemplate, KeyTemplate, LabelTemplate, Template};

/// An answer that may take its time, or never come.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, DeliveryError>> + Send + 'a>>;

/// One lane of a configured sink. The lanes of a sink share what they have of the receiver: connections, tokens, secrets.
/// Each method may be called again after it failed, or was dropped before it ended.
///
/// Which sinks there are is configuration, so that this is a trait over boxed futures: a kind is a file of its own.
pub trait Sink: Send + Sync {
    /// Resumes where the process before stood: at `lane`, with these batches sealed and not committed, in their order. To
    /// be called, and a `Moved` stored, until the sink does not move any more. `now_ms` is the time, in milliseconds since
    /// the epoch. A receiver that keeps no position has nothing to resume.
    fn resume<'a>(&'a self, lane: &'a LaneState, sealed: &'a [&'a Manifest], now_ms: i64) -> Answer<'a, Resumed> {
        let _ = (lane, sealed, now_ms);
        Box::pin(async { Ok(Resumed::Ready(Vec::new())) })
    }

    /// Sends a request and waits for the receiver's answer. Sending the same request again is harmless where the receiver
    /// can tell a repeat.
    fn deliver<'a>(&'a self, request: &'a Request, now_ms: i64) -> Answer<'a, Delivery>;

    /// Asks the receiver about requests that [`Delivery::Pending`] left with it: an answer for each, in their order.
    fn acknowledged<'a>(&'a self, pending: &'a [State], now_ms: i64) -> Answer<'a, Vec<Acknowledgement>> {
        let _ = now_ms;
        Box::pin(async { Ok(vec![Acknowledgement::Lost; pending.len()]) })
    }

    /// Takes back what was written of a batch that was sealed and cannot be made again, where the sink can.
    fn take_back<'a>(&'a self, manifest: &'a Manifest, now_ms: i64) -> Answer<'a, Option<Moved>> {
        let _ = (manifest, now_ms);
        Box::pin(async { Ok(None) })
    }

    /// Opens anew what others may have moved away, as SIGHUP asks. To be called, and a `Moved` stored, until the sink does
    /// not move any more; not while a request is under way.
    fn reopen(&self) -> Answer<'_, Option<Moved>> {
        Box::pin(async { Ok(None) })
    }
}

/// So many lanes of a sink.
fn lanes_of<S: Sink + 'static>(lanes: u16, lane: impl Fn() -> S) -> Vec<Box<dyn Sink>> {
    (0..lanes).map(|_| Box::new(lane()) as Box<dyn Sink>).collect()
}

/// A kind of sink, as its own keys configure it.
pub trait Kind: fmt::Debug + Send + Sync {
    /// How batches go to its receiver.
    fn flow(&self) -> Flow;

    /// A kind that makes few large things: its batches gather so long, unless that is configured, whether or not more is
    /// coming, and no job waits for them.
    fn gathers_for(&self) -> Option<Duration> {
        None
    }

    /// What of its configuration shapes what is sent of an event, and where it goes: a batch that was sealed under another one
    /// is not sent again as it is. No secret is in it.
    fn envelope(&self) -> String {
        String::new()
    }

    /// The encoding of its events, where this one is configured, or none. A kind whose receiver takes but some says so here,
    /// and in [`Kind::check`].
    fn encoding(&mut self, configured: Option<EncodingConfig>) -> EncodingConfig {
        configured.unwrap_or_default()
    }

    /// Where it writes. No two sinks may write to one place, and no feed read it.
    fn output(&self) -> Output<'_> {
        Output::Shared
    }

    /// The service that it sends to, where that is one over HTTP.
    fn service(&self) -> Option<&ServiceConfig> {
        None
    }

    /// What its templates tell events apart by, beside their feed, family, class and date.
    fn choices(&self) -> Choices {
        Choices::default()
    }

    /// What an operator has to know whose receiver has less of an event, once it is taken, than that sounds like.
    fn caveat(&self) -> Option<&'static str> {
        None
    }

    /// Reports each key whose value has the right type and is not valid.
    fn check(&self, problem: &mut dyn FnMut(&str, &str));

    /// Whose AWS credentials it sends with, where it needs any.
    fn aws(&self) -> Option<Aws<'_>> {
        None
    }

    /// Opens as many lanes, which share one receiver. `identity` is as [`Kind::aws`] asks.
    ///
    /// # Errors
    /// When this machine lacks what it needs. A receiver that cannot be reached is no error here.
    fn open(&self, lanes: u16, identity: Option<&Identity>) -> Result<Vec<Box<dyn Sink>>, OpenError>;
}

/// How batches go to a kind's receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flow {
    /// A batch is cut when it has so many bytes, unless it is configured.
    pub batch_bytes: usize,
    pub request: RequestLimits,
    /// How many lanes it has, unless it is configured. A serial kind has one: its events arrive in the order of the seals.
    pub lanes: u16,
    /// How many requests of one lane may be under way at once, unless it is configured.
    pub in_flight: u16,
    /// How many batches of one lane may be sealed and not committed.
    pub window: u16,
    /// A request that the receiver does not acknowledge for so long is sent again.
    pub acknowledged_within: Duration,
    /// Whether the receiver takes a request that it has had for what it is. Where it cannot, what it took of a batch is
    /// written down before the batch is complete.
    pub knows_repeats: bool,
}

impl Flow {
    /// For a sink that takes one whole batch after the other, and holds the position itself.
    pub const fn serial(batch_bytes: usize) -> Self {
        Self {
            batch_bytes,
            request: RequestLimits::WHOLE,
            lanes: 1,
            in_flight: 1,
            window: 1,
            acknowledged_within: Duration::MAX,
            knows_repeats: true,
        }
    }

    /// Whether one request goes out at a time, in the order of the seals.
    pub fn is_serial(&self) -> bool {
        self.in_flight == 1
    }
}

/// Whose AWS credentials a kind sends with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Aws<'a> {
    /// The name of an `[identity.<name>]`; nothing for what the machine has.
    pub identity: Option<&'a str>,
    pub region: Option<&'a str>,
}

/// Where a sink writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Output<'a> {
    /// This file, and files of the same name with a number behind it.
    File(&'a Path),
    Console,
    /// Objects in this bucket, whose keys begin with this. Other sinks may write there as well.
    Bucket {
        bucket: &'a str,
        endpoint_url: Option<&'a str>,
        below: &'a str,
    },
    /// Somewhere that other sinks may write to as well.
    Shared,
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
/// let forged = auditferry::testing::sink::Receipt { state: None };
/// ```
#[derive(Clone, Debug)]
pub struct Receipt {
    state: Option<State>,
    refused: Vec<RefusedEvent>,
}

/// An event that the receiver will never take.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefusedEvent {
    pub provenance: Arc<Provenance>,
    pub head: Head,
    /// As its encoder wrote it.
    pub encoded: Box<[u8]>,
    pub reason: Box<str>,
}

impl Receipt {
    /// For sinks without a state of their own.
    fn accepted() -> Self {
        Self { state: None, refused: Vec::new() }
    }

    #[cfg(test)]
    pub(crate) fn of_test(refused: Vec<RefusedEvent>) -> Self {
        Self { state: None, refused }
    }

    fn at(state: State) -> Self {
        Self { state: Some(state), refused: Vec::new() }
    }

    /// For a batch without events, of records that gave none: there is nothing to take.
    pub fn nothing(batch: &Batch) -> Option<Self> {
        (batch.events() == 0).then(Self::accepted)
    }

    /// The sink's state once it has the batch, where that has changed.
    pub fn state(&self) -> Option<&State> {
        self.state.as_ref()
    }

    /// The events that the receiver will never take.
    pub fn refused(&self) -> &[RefusedEvent] {
        &self.refused
    }
}

/// What became of a request.
#[derive(Debug)]
pub enum Delivery {
    /// The receiver has it for good.
    Taken(Receipt),
    /// The receiver has these for good, and was not sent the others yet: they are a request of their own.
    Begun(Selection),
    /// The receiver answered for each event. Those that are in neither list are to be sent again, not before `after`. No wait
    /// at all says that the receiver read no further than an event that it does not take: they are sent at once.
    Partly { taken: Selection, refused: Vec<(u32, Box<str>)>, after: Option<Duration> },
    /// The receiver has read it and says later whether it has it for good: to be asked about with this state.
    Pending(State),
    /// The request is larger than the receiver takes. It is cut into smaller ones.
    TooLarge(Box<str>),
    /// Nothing was sent: the sink goes on elsewhere first. To be stored, then the request is delivered again.
    Moved(Moved),
}

/// What a receiver says of a request that it read before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acknowledgement {
    Taken,
    NotYet,
    /// It does not know the request any more, or never will have it: to be sent again.
    Lost,
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
    /// The file is the same: the store had no path for its position, or no inode, or that of another copy.
    Named,
    /// Behind its position lay as many bytes that are not ours; it goes on after them.
    Foreign { bytes: u64 },
    /// The number its file was to be given is taken; it will be given another.
    Numbered,
    /// Its file was given its number, and the next begins.
    Rotated,
    /// Its file has another name, which somebody else gave it, and holds all that was committed; the next begins.
    Renamed,
    /// Its file is gone or was cut, and a person or another program has put another in its place, or moved it away: that
    /// begins.
    Replaced,
}

/// Why a request was not taken.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// Try the same request again, not before `after` where the receiver says so.
    #[error("the sink is unavailable: {reason}")]
    Unavailable { reason: String, after: Option<Duration> },
    /// The receiver takes none of the request for something that is in it, and does not say what. It is sent in halves until
    /// what is refused stands alone.
    #[error("the sink refuses the request: {0}")]
    Refused(String),
    /// Trying again cannot help until a person mends the receiver or the configuration. The sink is parked and asked
    /// again now and then; no event is given up.
    #[error("the sink needs mending: {0}")]
    Misconfigured(String),
}

impl DeliveryError {
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into(), after: None }
    }
}

/// Why a sink cannot be made as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("there is no group `{group}` on this machine")]
    NoGroup { group: String },
    #[error("the group `{group}` cannot be looked up: {source}")]
    Lookup { group: String, source: io::Error },
    #[error("no region is known for the bucket; set `region`")]
    NoRegion,
    #[error(transparent)]
    Service(#[from] ServiceOpenError),
}

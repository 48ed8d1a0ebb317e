//! Delivers a batch, and returns what became of it.
//!
//! A sink's position in the receiver is a [`State`]: bytes that only the sink reads. The checkpoint store keeps the
//! state with the sink's lane, and stores it in the transaction that commits the batch that it belongs to.

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

/// The future of a receiver's answer. It may take long, or never end.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, DeliveryError>> + Send + 'a>>;

/// One lane of a configured sink. The lanes of a sink share its connections, tokens and secrets. Each method may be
/// called again after it failed, or after its future was dropped.
///
/// Which sinks there are is configuration, so this is a trait over boxed futures.
pub trait Sink: Send + Sync {
    /// Resumes where the last process stopped. `lane` is the committed position; `sealed` are the batches that were
    /// sealed and not committed, in their order. Call it, and store each `Moved`, until it returns something else.
    /// `now_ms` is the time in milliseconds since the epoch. The default is for receivers that keep no position.
    fn resume<'a>(&'a self, lane: &'a LaneState, sealed: &'a [&'a Manifest], now_ms: i64) -> Answer<'a, Resumed> {
        let _ = (lane, sealed, now_ms);
        Box::pin(async { Ok(Resumed::Ready(Vec::new())) })
    }

    /// Sends a request and waits for the receiver's answer. Sending it again is harmless if the receiver recognises
    /// repeats.
    fn deliver<'a>(&'a self, request: &'a Request, now_ms: i64) -> Answer<'a, Delivery>;

    /// Asks the receiver about requests that it left pending ([`Delivery::Pending`]). Returns an answer for each.
    fn acknowledged<'a>(&'a self, pending: &'a [State], now_ms: i64) -> Answer<'a, Vec<Acknowledgement>> {
        let _ = now_ms;
        Box::pin(async { Ok(vec![Acknowledgement::Lost; pending.len()]) })
    }

    /// Removes from the receiver what was written of a sealed batch that cannot be rebuilt, if the sink can.
    fn take_back<'a>(&'a self, manifest: &'a Manifest, now_ms: i64) -> Answer<'a, Option<Moved>> {
        let _ = (manifest, now_ms);
        Box::pin(async { Ok(None) })
    }

    /// On SIGHUP, opens again what other programs may have renamed. Call it, and store each `Moved`, until it returns
    /// `None`. Not to be called while a request is under way.
    fn reopen(&self) -> Answer<'_, Option<Moved>> {
        Box::pin(async { Ok(None) })
    }
}

/// Makes this many lanes of a sink.
fn lanes_of<S: Sink + 'static>(lanes: u16, lane: impl Fn() -> S) -> Vec<Box<dyn Sink>> {
    (0..lanes).map(|_| Box::new(lane()) as Box<dyn Sink>).collect()
}

/// A kind of sink, with the configuration of its own keys.
pub trait Kind: fmt::Debug + Send + Sync {
    /// How batches are sent to the receiver.
    fn flow(&self) -> Flow;

    /// For a gathering sink, which makes few large things: how long a batch gathers by default, whether or not more is
    /// coming. No job waits for it.
    fn gathers_for(&self) -> Option<Duration> {
        None
    }

    /// The part of the configuration that shapes what is sent for an event and where it goes, as text without secrets.
    /// A batch that was sealed under another envelope is not sent again as it is.
    fn envelope(&self) -> String {
        String::new()
    }

    /// The encoding to use, given the configured one. A kind whose receiver takes only some encodings decides here, and
    /// reports the others in [`Kind::check`].
    fn encoding(&mut self, configured: Option<EncodingConfig>) -> EncodingConfig {
        configured.unwrap_or_default()
    }

    /// Where the sink writes. Two sinks must not write to the same output, and no feed may read it.
    fn output(&self) -> Output<'_> {
        Output::Shared
    }

    /// The HTTP service that the sink sends to, if it is one.
    fn service(&self) -> Option<&ServiceConfig> {
        None
    }

    /// The attributes whose values the kind's templates tell apart, besides feed, family, class and date.
    fn choices(&self) -> Choices {
        Choices::default()
    }

    /// What to warn the operator of if the receiver may lose or shorten an event that it has taken.
    fn caveat(&self) -> Option<&'static str> {
        None
    }

    /// Reports each key whose value has the right type but is not valid.
    fn check(&self, problem: &mut dyn FnMut(&str, &str));

    /// The AWS credentials that the sink sends with, if it needs any.
    fn aws(&self) -> Option<Aws<'_>> {
        None
    }

    /// Opens this many lanes, which share one receiver. `identity` is the one that [`Kind::aws`] asks for.
    ///
    /// # Errors
    /// This machine lacks something that the sink needs. A receiver that cannot be reached is no error here.
    fn open(&self, lanes: u16, identity: Option<&Identity>) -> Result<Vec<Box<dyn Sink>>, OpenError>;
}

/// How batches are sent to a kind's receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flow {
    /// The default size at which a batch is cut.
    pub batch_bytes: usize,
    pub request: RequestLimits,
    /// The default number of lanes. A serial kind always has one: its events arrive in the order of the seals.
    pub lanes: u16,
    /// How many requests of one lane may be under way at once, by default.
    pub in_flight: u16,
    /// How many batches of one lane may be sealed and not yet committed.
    pub window: u16,
    /// A request is sent again if the receiver does not acknowledge it for this long.
    pub acknowledged_within: Duration,
    /// Whether the receiver recognises a repeated request. If it does not, the progress of each batch is stored before
    /// the batch is complete.
    pub knows_repeats: bool,
}

impl Flow {
    /// For a sink that takes whole batches one after another, and keeps the position itself.
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

    /// Whether only one request is under way at a time, in the order of the seals.
    pub fn is_serial(&self) -> bool {
        self.in_flight == 1
    }
}

/// The AWS credentials that a kind sends with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Aws<'a> {
    /// The name of an `[identity.<name>]`. `None` for the machine's default credentials.
    pub identity: Option<&'a str>,
    pub region: Option<&'a str>,
}

/// Where a sink writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Output<'a> {
    /// This file, and the numbered files of the same name.
    File(&'a Path),
    Console,
    /// Objects in this bucket whose keys begin with `below`. Other sinks may write there as well.
    Bucket {
        bucket: &'a str,
        endpoint_url: Option<&'a str>,
        below: &'a str,
    },
    /// A place that other sinks may write to as well.
    Shared,
}

/// A sink's own state, as its kind writes it. Opaque to all other code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State(pub Box<[u8]>);

/// The position of a sink's lane in its own sequence of batches.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LaneState {
    /// The number of the last committed batch, and its id. Ids that older programs stored are not compared.
    pub seq: u64,
    pub last_id: Option<Box<str>>,
    pub state: Option<State>,
}

/// What resuming a lane came to.
#[derive(Debug)]
pub enum Resumed {
    /// The receiver has the first sealed batches already: one for each receipt.
    Ready(Vec<Receipt>),
    /// The sink goes on elsewhere. Store that, then resume again.
    Moved(Moved),
    /// The receiver's last batch is neither sealed nor the last committed one: an older backup of the store was
    /// restored. The sink goes on after that batch.
    Ahead {
        /// The id of the receiver's last batch.
        id: Box<str>,
    },
}

/// The proof that a sink delivered a batch. Only sinks make one:
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
    /// The bytes that the encoder wrote.
    pub encoded: Box<[u8]>,
    pub reason: Box<str>,
}

impl Receipt {
    /// For sinks without a state.
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

    /// For a batch without events: its records gave none, so there is nothing to deliver.
    pub fn nothing(batch: &Batch) -> Option<Self> {
        (batch.events() == 0).then(Self::accepted)
    }

    /// The sink's state after the batch. `None` if the sink keeps no state.
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
    /// The receiver has all events for good.
    Taken(Receipt),
    /// The receiver has these events for good. The rest was not sent yet: it becomes a request of its own.
    Begun(Selection),
    /// The receiver answered for each event. Events in neither list are sent again, not before `after`. `after` is zero
    /// if the receiver stopped reading at an event that it refuses: the events behind it are sent at once.
    Partly { taken: Selection, refused: Vec<(u32, Box<str>)>, after: Option<Duration> },
    /// The receiver has read the request, and says later whether it has it for good. Ask it with this state.
    Pending(State),
    /// The request is larger than the receiver takes. It is cut into smaller requests.
    TooLarge(Box<str>),
    /// Nothing was sent: the sink goes on elsewhere. Store that, then deliver the request again.
    Moved(Moved),
}

/// What the receiver says about a request that it left pending.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acknowledgement {
    Taken,
    NotYet,
    /// The receiver no longer knows the request, or will never have it. Send it again.
    Lost,
}

/// The sink goes on elsewhere than where its last batch ended. Store this before the next call of the sink, so that
/// after a crash the next process does the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Moved {
    pub state: State,
    pub why: Why,
}

/// Why a sink goes on elsewhere.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    /// The configured file begins: it is the sink's first, or follows the file `before`.
    Begun { file: PathBuf, before: Option<PathBuf> },
    /// The file stays the same. Only its path or inode is corrected: older positions lack them, and a copy has another
    /// inode.
    Named,
    /// Another program wrote this many bytes after the committed length. The sink goes on after them.
    Foreign { bytes: u64 },
    /// The number that the file was to get is taken. It will get another.
    Numbered,
    /// The file got its number, and the next file begins.
    Rotated,
    /// Another program renamed the file, which holds all that was committed. The next file begins.
    Renamed,
    /// The file is gone or was truncated, and was replaced by another or moved away. The next file begins.
    Replaced,
}

/// Why a request was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// Try the same request again, not before `after` if the receiver says so.
    #[error("the sink is unavailable: {reason}")]
    Unavailable { reason: String, after: Option<Duration> },
    /// The receiver refuses the whole request because of something in it, and does not say what. The request is halved
    /// until the refused events are alone.
    #[error("the sink refuses the request: {0}")]
    Refused(String),
    /// Retrying cannot help until an operator mends the receiver or the configuration. The sink is parked and probed
    /// now and then; no event is given up.
    #[error("the sink needs mending: {0}")]
    Misconfigured(String),
}

impl DeliveryError {
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into(), after: None }
    }
}

/// Why a configured sink cannot be opened.
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

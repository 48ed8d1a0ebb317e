//! A queue of notifications: receive, keep invisible, delete.

use std::future::Future;

use serde::Deserialize;

use crate::identity::fault::FaultKind;

/// The most messages that one request receives, extends or deletes (SQS's own limit).
pub(crate) const REQUEST_MESSAGES_MAX: usize = 10;

/// Where notifications wait. A received message is hidden for a while, and comes again unless it is deleted.
pub trait Queue: Send + Sync + 'static {
    /// Waits up to `wait_secs` (0 to 20) for messages. Returns up to `max` of them (1 to 10), which are hidden from
    /// then on for the configured visibility. An empty result is not an error. Cancel-safe for the queue: messages of a
    /// dropped reply come again when their visibility ends.
    fn receive(&self, max: usize, wait_secs: u32) -> impl Future<Output = Result<Vec<Message>, QueueError>> + Send;

    /// Hides the messages for `visibility_secs` from now; 0 makes them visible at once. Takes any number of handles,
    /// and returns one outcome for each, in their order. On an error, no message was extended.
    fn extend(
        &self,
        handles: &[ReceiptHandle],
        visibility_secs: u32,
    ) -> impl Future<Output = Result<Vec<Outcome>, QueueError>> + Send;

    /// Deletes the messages. Takes any number of handles, and returns one outcome for each, in their order. On an
    /// error, no message was deleted. A successful delete does not prove that the message never comes again.
    fn delete(&self, handles: &[ReceiptHandle]) -> impl Future<Output = Result<Vec<Outcome>, QueueError>> + Send;

    /// Asks how the queue is set up and how full it is. `Denied` if the identity may not ask; nothing else needs this
    /// permission.
    fn attributes(&self) -> impl Future<Output = Result<Attributes, QueueError>> + Send;

    /// How many messages the dead-letter queue holds. `Denied` as with [`attributes`](Self::attributes).
    fn dead_letters(&self, redrive: &Redrive) -> impl Future<Output = Result<u64, QueueError>> + Send;
}

/// How a queue is set up, and how full it is. The counts are approximate.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Attributes {
    /// Waiting to be received.
    pub visible_messages: u64,
    /// Received and neither deleted nor visible again.
    pub in_flight_messages: u64,
    pub delayed_messages: u64,
    /// The queue's own default, which our receives override.
    pub visibility_secs: Option<u32>,
    pub retention_secs: Option<u32>,
    /// The queue rejects longer notifications, which are then lost.
    pub message_bytes_max: Option<u64>,
    pub redrive: Option<Redrive>,
    /// Whether the queue encrypts its messages at rest. `None` if it does not say.
    pub is_encrypted: Option<bool>,
}

/// The redrive policy: the dead-letter queue for messages that are received too often.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redrive {
    pub receives_max: u32,
    pub dead_letter_arn: String,
}

/// One received message.
#[derive(Clone, Debug)]
pub struct Message {
    /// The same in all receives of the message.
    pub id: Box<str>,
    /// Different in each receive of the message.
    pub receipt_handle: ReceiptHandle,
    pub body: Box<str>,
    /// How often the message has been received, this time included. At least 1.
    pub receive_count: u32,
    /// Milliseconds since the epoch, by the queue's clock.
    pub sent_at_ms: Option<i64>,
}

/// Identifies one receive of a message, and serves to extend or delete the message.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ReceiptHandle(pub Box<str>);

/// What became of one message of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    Done,
    /// The message is not ours any more: its visibility ended, or it was deleted. Another receiver may have it.
    Lost,
    /// Not done, for the reason given; may be tried again.
    Failed(String),
}

/// Why a request to a queue failed. A caller reacts to each variant differently.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// Throttled, timed out, reset: try again later.
    #[error("queue {queue} is unavailable: {reason}")]
    Unavailable { queue: String, kind: FaultKind, reason: String },
    /// Credentials, permissions or policies refuse; only a person can mend it.
    #[error("queue {queue} refuses: {reason}")]
    Denied { queue: String, kind: FaultKind, reason: String },
    /// There is no such queue.
    #[error("there is no queue {queue}: {reason}")]
    NotFound { queue: String, reason: String },
}

impl QueueError {
    /// The kind under which the error is counted and reported.
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Unavailable { kind, .. } | Self::Denied { kind, .. } => *kind,
            Self::NotFound { .. } => FaultKind::NoQueue,
        }
    }
}

/// `[queue.<name>]`: an SQS queue. One queue may serve several feeds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The queue's URL. Set either this or `name`.
    pub url: Option<String>,
    /// The queue's name, looked up in the identity's account.
    pub name: Option<String>,
    /// The queue's region. Default: read from the URL, else from the environment.
    pub region: Option<String>,
    /// The URL of another SQS endpoint.
    pub endpoint_url: Option<String>,
    /// Whether SQS may be asked without TLS if it is not on this machine. Default: false.
    #[serde(default)]
    pub allow_plain_http: bool,
    /// Whose messages are accepted: SNS topics by ARN, EventBridge sources such as `aws.s3`, and `aws:s3` for S3
    /// itself. Messages from others are quarantined. Default: messages from everybody who may send to the queue.
    pub topics: Option<Vec<String>>,
    /// The `[identity.<name>]` that reads the queue. Default: the default chain.
    pub identity: Option<String>,
    /// How many long polls are under way at once (1 to 16). Default: 2.
    #[serde(default = "default_receivers")]
    pub receivers: usize,
    /// For how many seconds at a time a received message is kept invisible (10 to 3600); extended after half of that.
    /// Default: 120.
    #[serde(default = "default_visibility_secs")]
    pub visibility_secs: u32,
    /// How many received messages are held at once (10 to 100000); at this number the queue is not polled. Default:
    /// 1000.
    #[serde(default = "default_held_max")]
    pub held_max: usize,
    /// After how many receives a message that cannot be understood is quarantined and deleted. Only reached if no
    /// redrive policy of the queue moves it to a dead-letter queue sooner. Default: 20.
    #[serde(default = "default_poison_receives_max")]
    pub poison_receives_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: None,
            name: None,
            region: None,
            endpoint_url: None,
            allow_plain_http: false,
            topics: None,
            identity: None,
            receivers: default_receivers(),
            visibility_secs: default_visibility_secs(),
            held_max: default_held_max(),
            poison_receives_max: default_poison_receives_max(),
        }
    }
}

const fn default_receivers() -> usize {
    2
}

const fn default_visibility_secs() -> u32 {
    120
}

const fn default_held_max() -> usize {
    1000
}

const fn default_poison_receives_max() -> u32 {
    20
}

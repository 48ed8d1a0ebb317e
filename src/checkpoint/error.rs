//! How a store answers, and why it cannot.

use std::pin::Pin;

use crate::notification::ObjectId;

/// An answer that may take its time. A write that is given up before its answer may still happen.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Why a checkpoint could not be read or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The store does not stand where the change starts: another change came first.
    #[error("{object} has moved on in the checkpoint store")]
    Overtaken { object: ObjectId },
    /// No space is left. Try again once there is.
    #[error("the checkpoint store's disk is full")]
    Full,
    /// A row is not what was written.
    #[error("{row} is damaged in the checkpoint store; restore a backup of the state directory")]
    Corrupt { row: String },
    /// The store is not there any more, or another is in its place. Nothing that is committed would last: stop. The text
    /// says what is missing, and what to do.
    #[error("{0}")]
    Gone(String),
    /// Another instance has opened the store for writing since. Nothing more of this one is written: stop.
    #[error(
        "another collector has taken over the checkpoint store; this one ends, and what it had not committed is left to the other: let only one of them run"
    )]
    TakenOver,
    /// The disk or the database failed. Nothing can be promised any more: stop.
    #[error("the checkpoint store failed: {0}")]
    Failed(String),
    /// The store was closed.
    #[error("the checkpoint store is closed")]
    Closed,
}

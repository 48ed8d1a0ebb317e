//! How a store answers, and its errors.

use std::pin::Pin;

use crate::notification::ObjectId;

/// The future of a store's answer. A write may still happen after its future was dropped.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Why the store could not be read or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The store's position of the object is not where the change begins: another change came first.
    #[error("{object} has moved on in the checkpoint store")]
    Overtaken { object: ObjectId },
    /// The disk is full. Retry once there is space.
    #[error("the checkpoint store's disk is full")]
    Full,
    /// The checksum of a row is wrong.
    #[error("{row} is damaged in the checkpoint store; restore a backup of the state directory")]
    Corrupt { row: String },
    /// The store's files were removed or replaced, so that commits would be lost. Stop. The text says what is missing,
    /// and what to do.
    #[error("{0}")]
    Gone(String),
    /// Another instance has opened the store for writing. The store refuses all further writes of this instance. Stop.
    #[error(
        "another collector has taken over the checkpoint store; this one ends, and what it had not committed is left to the other: let only one of them run"
    )]
    TakenOver,
    /// The disk or the database failed, so that nothing can be promised. Stop.
    #[error("the checkpoint store failed: {0}")]
    Failed(String),
    #[error("the checkpoint store is closed")]
    Closed,
}

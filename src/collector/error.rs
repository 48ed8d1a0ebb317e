//! Why the collector ended without being asked to.

use crate::checkpoint::{OpenError, StoreError};
use crate::collector::scanner::ScannerError;
use crate::identity::IdentityError;
use crate::notification::queue::QueueError;
use crate::notification::scan::ScanError;
use crate::sink;

/// Why the collector ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Place(#[from] ScanError),
    #[error("{0}")]
    Config(String),
    #[error("sink {name}: {source}")]
    Sink { name: String, source: sink::OpenError },
    #[error("cannot listen at admin.listen = \"{address}\": {source}")]
    Admin { address: String, source: std::io::Error },
    /// With `--once`: something was left unread or undelivered.
    #[error("not everything was done: {0}")]
    Unfinished(String),
    /// A task panicked: a bug in this program. Whatever was not committed is read again.
    #[error("a task ended in a panic: {0}")]
    Panic(String),
}

impl From<ScannerError> for Error {
    fn from(error: ScannerError) -> Self {
        match error {
            ScannerError::Store(error) => Self::Store(error),
            ScannerError::Scan(error) => Self::Place(error),
        }
    }
}

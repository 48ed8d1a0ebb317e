//! What every reading begins with, and why one may fail.

use std::sync::Arc;

use crate::batch::{Buffers, Provenance};
use crate::delta::DeltaError;
use crate::family::Context;
use crate::notification::ObjectId;
use crate::object::Version;
use crate::object::compression::InflateError;
use crate::reading::room::Scratch;
use crate::records::lines::LinesError;
use crate::records::rows::RowsError;
use crate::room::Room;

/// How records become events. It is the only maker of a [`Context`]: a record that is read now, rebuilt after a crash or
/// requeued must give the same events.
pub trait Contexts: Send + Sync {
    /// For the records of one object.
    fn context<'a>(&'a self, object: &'a ObjectId, last_modified_ms: Option<i64>) -> Context<'a>;
}

/// How much memory and work one reading may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The longest line that is read.
    pub line_bytes_max: usize,
    /// The most a compressed object may inflate to, and the highest ratio.
    pub inflated_bytes_max: u64,
    pub inflate_ratio_max: u64,
    /// Fingerprints compared in memory.
    pub fingerprints_in_memory: usize,
    /// A part is cut when it holds as many records, or one of its encodings as many bytes.
    pub part_records: u64,
    pub part_bytes: usize,
    /// How many refused records of the object can get an entry in quarantine. Further ones need no body.
    pub entries_per_object: u64,
}

/// What every reading begins with.
pub struct Plan {
    pub contexts: Arc<dyn Contexts>,
    pub object: ObjectId,
    /// The version whose bytes come.
    pub version: Version,
    pub limits: Limits,
    pub scratch: Arc<dyn Scratch>,
    /// The memory that it may take.
    pub room: Room,
    pub buffers: Buffers,
}

impl Plan {
    pub(super) fn provenance(&self) -> Provenance {
        let Context { feed, family, .. } = self.contexts.context(&self.object, self.version.last_modified_ms);
        let (object, version) = (self.object.clone(), self.version.clone());
        Provenance { feed: feed.into(), family: family.name, object, version }
    }
}

/// Why a version could not be read, other than by a fault of its place.
#[derive(Debug, thiserror::Error)]
pub enum ReadingError {
    /// The version will never read better.
    #[error("{0}")]
    Damaged(String),
    /// The bytes are not those of the version that was begun.
    #[error("the content changed while it was read")]
    Changed,
    #[error(transparent)]
    Comparing(#[from] DeltaError),
    /// Records could not be written to scratch, or not be read back.
    #[error("records cannot be set aside on disk: {0}")]
    Scratch(#[source] std::io::Error),
}

impl From<InflateError> for ReadingError {
    fn from(error: InflateError) -> Self {
        match error {
            InflateError::Source(source) => Self::from(source),
            refused => Self::Damaged(refused.to_string()),
        }
    }
}

impl From<RowsError> for ReadingError {
    fn from(error: RowsError) -> Self {
        match error {
            RowsError::Source(source) => Self::from(source),
            refused => Self::Damaged(refused.to_string()),
        }
    }
}

impl From<LinesError> for ReadingError {
    fn from(error: LinesError) -> Self {
        match error {
            LinesError::Source(source) => Self::from(source),
            LinesError::LastLineGrew => Self::Changed,
        }
    }
}

impl From<std::io::Error> for ReadingError {
    /// An error of the layers over the bytes. Reading the bytes never fails, but may give fewer than were asked for.
    fn from(error: std::io::Error) -> Self {
        match RowsError::from_read(error) {
            RowsError::Source(error) => match InflateError::from_read(error) {
                InflateError::Source(_cut) => Self::Changed,
                refused => Self::Damaged(refused.to_string()),
            },
            refused => Self::Damaged(refused.to_string()),
        }
    }
}

//! What every reading is given, and why a reading fails.

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

/// Makes the [`Context`] by which records become events. Nothing else makes one: a record that is read now, rebuilt
/// after a crash or requeued must give the same events.
pub trait Contexts: Send + Sync {
    /// The context for the records of one object.
    fn context<'a>(&'a self, object: &'a ObjectId, last_modified_ms: Option<i64>) -> Context<'a>;
}

/// How much memory and work one reading may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The longest line that is read, in bytes.
    pub line_bytes_max: usize,
    /// The most bytes that a compressed object may inflate to, and the highest ratio to its compressed size.
    pub inflated_bytes_max: u64,
    pub inflate_ratio_max: u64,
    /// How many fingerprints are compared in memory. Further ones go to scratch.
    pub fingerprints_in_memory: usize,
    /// A part is cut once it holds this many records, or one of its encodings this many bytes.
    pub part_records: u64,
    pub part_bytes: usize,
    /// How many refused records of the object can get a quarantine entry of their own. Further records share an entry
    /// and need no body.
    pub entries_per_object: u64,
}

/// What every reading is given.
pub struct Plan {
    pub contexts: Arc<dyn Contexts>,
    pub object: ObjectId,
    /// The version to read.
    pub version: Version,
    pub limits: Limits,
    pub scratch: Arc<dyn Scratch>,
    /// The memory that the reading may take.
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

/// Why a version could not be read. Faults of the place that it comes from are not among them.
#[derive(Debug, thiserror::Error)]
pub enum ReadingError {
    /// The version is damaged: reading it again cannot help.
    #[error("{0}")]
    Damaged(String),
    /// The bytes are not those of the version that the reading began with.
    #[error("the content changed while it was read")]
    Changed,
    #[error(transparent)]
    Comparing(#[from] DeltaError),
    /// Records could not be written to scratch or read back.
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
    /// An error of a layer above the body's bytes. The body itself gives no error, but may end early.
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

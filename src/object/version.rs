//! Requests for an object and their results: which version, which of its bytes, or why it cannot be read.

use bytes::Bytes;

use crate::identity::fault::FaultKind;
use crate::notification::ObjectId;

/// The longest chunk of a body, in bytes.
pub(super) const CHUNK_BYTES_MAX: usize = 256 << 10;

/// The longest range that is read at once, in bytes.
pub(super) const RANGE_BYTES_MAX: u64 = 256 << 20;

/// One version of one object, as known before its bytes are read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Version {
    /// The entity tag, without quotes. For a file: its times of modification and change, its size and inode.
    pub etag: Box<str>,
    /// The version id, if the bucket keeps versions.
    pub version_id: Option<Box<str>>,
    /// Milliseconds since the epoch.
    pub last_modified_ms: Option<i64>,
    /// The bytes as stored, before any decompression.
    pub size_bytes: u64,
}

/// Which version of the object is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Condition {
    /// Any version.
    Any,
    /// Any version but the one with this entity tag, which gives `Reading::Unchanged`.
    UnlessEtag(Box<str>),
    /// The version with this entity tag. Any other gives `ReadError::Changed`.
    OnlyEtag(Box<str>),
}

/// The result of a read.
#[derive(Debug)]
pub enum Reading<T> {
    /// The version that `Condition::UnlessEtag` names is still the current one.
    Unchanged,
    Changed(T),
}

/// Which bytes of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Range {
    /// From the first offset up to, not including, the second.
    Between(u64, u64),
    /// This many bytes at the end; the whole object if it is shorter.
    Last(u64),
}

/// Some bytes of one version.
#[derive(Debug)]
pub struct Part {
    pub version: Version,
    /// The offset of the bytes in the object.
    pub start: u64,
    pub bytes: Bytes,
}

/// Rejects a range that is empty or too long for memory.
pub(super) fn check_range(object: &ObjectId, range: Range) -> Result<(), ReadError> {
    let length = match range {
        Range::Between(start, end) => end.saturating_sub(start),
        Range::Last(length) => length,
    };
    if (1..=RANGE_BYTES_MAX).contains(&length) {
        return Ok(());
    }
    let reason = format!("a range of {length} bytes is not between 1 and {RANGE_BYTES_MAX}");
    Err(ReadError::Damaged { object: object.clone(), reason })
}

/// Why an object could not be read. A caller reacts to each variant differently.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The object does not exist (any more). A retry may help if the writer is slow; after that it has vanished.
    #[error("{object} is not there")]
    NotFound { object: ObjectId },
    /// Permissions, keys or policies refuse the read; only a person can mend it. The object stays in the backlog.
    #[error("reading {object} is refused: {reason}")]
    Denied { object: ObjectId, kind: FaultKind, reason: String },
    /// The object is archived and cannot be read without a restore.
    #[error("{object} is archived ({reason}) and must be restored before it can be read")]
    Archived { object: ObjectId, reason: String },
    /// The object was written again while its parts were read. Start again.
    #[error("{object} changed while it was read")]
    Changed { object: ObjectId },
    /// Throttled, timed out, reset: try again later.
    #[error("reading {object} failed for now: {reason}")]
    Unavailable { object: ObjectId, kind: FaultKind, reason: String },
    /// The stored bytes are damaged or over a limit; the same version will never be readable.
    #[error("{object} cannot be read: {reason}")]
    Damaged { object: ObjectId, reason: String },
}

impl ReadError {
    /// The kind under which the error is counted and reported.
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::NotFound { .. } => FaultKind::NotFound,
            Self::Denied { kind, .. } | Self::Unavailable { kind, .. } => *kind,
            Self::Archived { .. } => FaultKind::Archived,
            Self::Changed { .. } => FaultKind::Changed,
            Self::Damaged { .. } => FaultKind::Damaged,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_without_bytes_or_past_memory_is_refused() {
        let object = ObjectId::new("logs", "a.json");
        for range in [Range::Between(5, 5), Range::Between(6, 5), Range::Last(0), Range::Last(RANGE_BYTES_MAX + 1)] {
            assert!(check_range(&object, range).is_err(), "{range:?}");
        }
        for range in [Range::Between(5, 6), Range::Last(1), Range::Between(9, 9 + RANGE_BYTES_MAX)] {
            assert!(check_range(&object, range).is_ok(), "{range:?}");
        }
    }
}

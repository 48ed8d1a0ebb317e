//! The bytes of one version of one object.

pub mod inflate;

use crate::notification::ObjectId;

/// One version of one object: which it is, before its bytes are read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Version {
    /// The entity tag, without quotes. For a file: its modification time, size and inode.
    pub etag: Box<str>,
    /// The version id, where the bucket keeps versions.
    pub version_id: Option<Box<str>>,
    /// Milliseconds since the epoch.
    pub last_modified_ms: Option<i64>,
    /// The bytes as stored, before any decompression.
    pub size_bytes: u64,
}

/// Why an object could not be read. The variants are what a caller does differently.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The object is not there (any more). Asking again may help when the writer is slow; then it has vanished.
    #[error("{object} is not there")]
    NotFound { object: ObjectId },
    /// Permissions, keys or policies refuse the read; nothing but a person can mend it. The object is kept owed.
    #[error("reading {object} is refused: {reason}")]
    Denied { object: ObjectId, reason: String },
    /// The object is archived and cannot be read without a restore.
    #[error("{object} is archived ({reason}) and must be restored before it can be read")]
    Archived { object: ObjectId, reason: String },
    /// The object was written again while it was read in parts. Begin again.
    #[error("{object} changed while it was read")]
    Changed { object: ObjectId },
    /// Throttled, timed out, reset: try again later.
    #[error("reading {object} failed for now: {reason}")]
    Unavailable { object: ObjectId, reason: String },
    /// The stored bytes are damaged or over a limit; the same version will never read better.
    #[error("{object} cannot be read: {reason}")]
    Damaged { object: ObjectId, reason: String },
}

//! The bytes of one version of one object.

pub mod s3;

pub mod directory;

mod stored;

pub mod inflate;

use std::collections::VecDeque;
use std::future::Future;

use bytes::Bytes;

use crate::identity::fault::FaultKind;
use crate::notification::ObjectId;
use crate::object::directory::{DirectoryObjects, FileBody};
use crate::object::s3::{S3Body, S3Objects};

/// No chunk of a body is longer.
pub const CHUNK_BYTES_MAX: usize = 256 << 10;

/// No range that is read at once is longer.
pub const RANGE_BYTES_MAX: u64 = 256 << 20;

/// Where the objects of a feed are read.
pub trait Objects: Send + Sync + 'static {
    /// Opens the object's current version. Its bytes are not read before they are asked for.
    fn read(&self, object: &ObjectId, condition: Condition) -> impl Future<Output = Result<Reading, ReadError>> + Send;

    /// Reads some bytes of the object's current version into memory, and says which version it is. For formats that
    /// begin at the end; the reads that follow name the version by `Condition::OnlyEtag`.
    fn read_range(
        &self,
        object: &ObjectId,
        condition: Condition,
        range: Range,
    ) -> impl Future<Output = Result<Reading<Part>, ReadError>> + Send;

    /// The entity tag of the object's current version, without reading it. For versions that cannot be read.
    fn etag(&self, object: &ObjectId) -> impl Future<Output = Result<Box<str>, ReadError>> + Send;
}

/// Which version of the object is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Condition {
    /// Whichever is there.
    Any,
    /// Whichever is there, unless it still has this entity tag: then `Reading::Unchanged`.
    UnlessEtag(Box<str>),
    /// The one with this entity tag: any other is `ReadError::Changed`.
    OnlyEtag(Box<str>),
}

/// What there was to read.
#[derive(Debug)]
pub enum Reading<T = Snapshot> {
    /// The version that `Condition::UnlessEtag` names is still the current one.
    Unchanged,
    Changed(T),
}

/// One version of one object, and its bytes as they come.
#[derive(Debug)]
pub struct Snapshot {
    pub version: Version,
    pub body: Body,
}

/// Which bytes of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Range {
    /// From the first byte's position up to, not including, the second's.
    Between(u64, u64),
    /// As many at the end; the whole object where it is shorter.
    Last(u64),
}

/// Some bytes of one version.
#[derive(Debug)]
pub struct Part {
    pub version: Version,
    /// Where the bytes begin in the object.
    pub start: u64,
    pub bytes: Bytes,
}

/// The bytes of one version, in order, as stored. Reads no further ahead than a few chunks.
#[derive(Debug)]
pub enum Body {
    S3(Box<S3Body>),
    File(Box<FileBody>),
    /// Bytes that are there already; for tests and generated objects.
    Memory(VecDeque<Result<Bytes, ReadError>>),
}

impl Body {
    /// A body out of memory: its chunks, an error among them if wanted.
    pub fn of(chunks: impl IntoIterator<Item = Result<Bytes, ReadError>>) -> Self {
        Self::Memory(chunks.into_iter().collect())
    }

    /// The next bytes, at least 1 and at most `CHUNK_BYTES_MAX`; `None` when every byte of the version was given, never
    /// sooner. After an error or `None` there is nothing more. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<Bytes, ReadError>> {
        match self {
            Self::S3(body) => body.next().await,
            Self::File(body) => body.next().await,
            Self::Memory(chunks) => chunks.pop_front(),
        }
    }
}

/// Where one feed's objects are: a bucket or a directory.
#[derive(Clone, Debug)]
pub enum Place {
    S3(S3Objects),
    Directory(DirectoryObjects),
}

impl Objects for Place {
    async fn read(&self, object: &ObjectId, condition: Condition) -> Result<Reading, ReadError> {
        match self {
            Self::S3(objects) => objects.read(object, condition).await,
            Self::Directory(objects) => objects.read(object, condition).await,
        }
    }

    async fn read_range(
        &self,
        object: &ObjectId,
        condition: Condition,
        range: Range,
    ) -> Result<Reading<Part>, ReadError> {
        match self {
            Self::S3(objects) => objects.read_range(object, condition, range).await,
            Self::Directory(objects) => objects.read_range(object, condition, range).await,
        }
    }

    async fn etag(&self, object: &ObjectId) -> Result<Box<str>, ReadError> {
        match self {
            Self::S3(objects) => objects.etag(object).await,
            Self::Directory(objects) => objects.etag(object).await,
        }
    }
}

/// One version of one object: which it is, before its bytes are read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Version {
    /// The entity tag, without quotes. For a file: when it was modified and last changed, its size and inode.
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
    Denied { object: ObjectId, kind: FaultKind, reason: String },
    /// The object is archived and cannot be read without a restore.
    #[error("{object} is archived ({reason}) and must be restored before it can be read")]
    Archived { object: ObjectId, reason: String },
    /// The object was written again while it was read in parts. Begin again.
    #[error("{object} changed while it was read")]
    Changed { object: ObjectId },
    /// Throttled, timed out, reset: try again later.
    #[error("reading {object} failed for now: {reason}")]
    Unavailable { object: ObjectId, kind: FaultKind, reason: String },
    /// The stored bytes are damaged or over a limit; the same version will never read better.
    #[error("{object} cannot be read: {reason}")]
    Damaged { object: ObjectId, reason: String },
}

impl ReadError {
    /// What it is counted and reported as.
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

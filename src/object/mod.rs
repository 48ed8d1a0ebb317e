//! The bytes of one version of one object.

pub(crate) mod s3;

pub(crate) mod directory;

mod memory;

mod body;

mod frame;

pub(crate) mod compression;

mod stored;

mod decoder;

mod format;

mod layer;

mod place;

mod version;

pub(crate) mod inflate;

use std::future::Future;

use crate::notification::ObjectId;

pub use body::{Answer, Body, Chunks, Snapshot};
pub(crate) use inflate::MEMORY_BYTES_MAX as INFLATE_BYTES_MAX;
pub use memory::MemoryPlace;
pub use place::Place;
pub use version::{Condition, Part, Range, ReadError, Reading, Version};

/// Where the objects of a feed are read.
pub trait Objects: Send + Sync + 'static {
    /// Opens the object's current version. Its bytes are not read before they are asked for.
    fn read(
        &self,
        object: &ObjectId,
        condition: Condition,
    ) -> impl Future<Output = Result<Reading<Snapshot>, ReadError>> + Send;

    /// Reads a range of bytes of the object's current version into memory. Also returns which version that is, for
    /// `Condition::OnlyEtag` in the reads that follow. For formats that are read from their end.
    fn read_range(
        &self,
        object: &ObjectId,
        condition: Condition,
        range: Range,
    ) -> impl Future<Output = Result<Reading<Part>, ReadError>> + Send;

    /// The entity tag of the object's current version, without reading it. For versions that cannot be read.
    fn etag(&self, object: &ObjectId) -> impl Future<Output = Result<Box<str>, ReadError>> + Send;
}

//! The place of one feed's objects, of any kind.

use std::sync::Arc;

use crate::notification::ObjectId;
use crate::object::Objects;
use crate::object::body::Snapshot;
use crate::object::directory::DirectoryObjects;
use crate::object::memory::MemoryPlace;
use crate::object::s3::S3Objects;
use crate::object::version::{Condition, Part, Range, ReadError, Reading};

/// Where one feed's objects are: a bucket, a directory, or a place in memory.
#[derive(Clone, Debug)]
pub enum Place {
    S3(S3Objects),
    Directory(DirectoryObjects),
    Memory(Arc<dyn MemoryPlace>),
}

impl Objects for Place {
    async fn read(&self, object: &ObjectId, condition: Condition) -> Result<Reading<Snapshot>, ReadError> {
        match self {
            Self::S3(objects) => objects.read(object, condition).await,
            Self::Directory(objects) => objects.read(object, condition).await,
            Self::Memory(place) => place.read(object, condition).await,
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
            Self::Memory(place) => place.read_range(object, condition, range).await,
        }
    }

    async fn etag(&self, object: &ObjectId) -> Result<Box<str>, ReadError> {
        match self {
            Self::S3(objects) => objects.etag(object).await,
            Self::Directory(objects) => objects.etag(object).await,
            Self::Memory(place) => place.etag(object).await,
        }
    }
}

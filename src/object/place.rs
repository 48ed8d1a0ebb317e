//! Where one feed's objects are read: one of the places there can be.

use crate::notification::ObjectId;
use crate::object::Objects;
use crate::object::body::Snapshot;
use crate::object::directory::DirectoryObjects;
use crate::object::s3::S3Objects;
use crate::object::version::{Condition, Part, Range, ReadError, Reading};

/// Where one feed's objects are: a bucket or a directory.
#[derive(Clone, Debug)]
pub enum Place {
    S3(S3Objects),
    Directory(DirectoryObjects),
}

impl Objects for Place {
    async fn read(&self, object: &ObjectId, condition: Condition) -> Result<Reading<Snapshot>, ReadError> {
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

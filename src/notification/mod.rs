//! What changed: an object was written, as reported by a queue message, a listing or a directory.

mod happened;

mod key;

pub(crate) mod parse;

pub(crate) mod queue;

pub(crate) mod sqs;

pub(crate) mod scan;

pub(crate) mod directory;

use std::fmt;
use std::sync::Arc;

/// One object: a bucket and the decoded key in it.
///
/// A file below a feed's directory is an object too: its bucket is the directory's absolute path (which no bucket name
/// can be, since those never begin with `/`), its key the path below, with `/` between the parts.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ObjectId {
    pub bucket: Arc<str>,
    pub key: Arc<str>,
}

impl ObjectId {
    pub fn new(bucket: impl Into<Arc<str>>, key: impl Into<Arc<str>>) -> Self {
        Self { bucket: bucket.into(), key: key.into() }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.bucket.starts_with('/') { "file" } else { "s3" };
        write!(f, "{scheme}://{}/{}", self.bucket, self.key)
    }
}

/// The report that an object was written.
#[derive(Clone, Debug)]
pub struct ObjectChange {
    pub object: ObjectId,
    /// The entity tag at the time of the report, without quotes. The object may have changed again since.
    pub etag: Option<Box<str>>,
    /// The object's size in bytes at the time of the report.
    pub size_bytes: Option<u64>,
    /// Whether the object is archived, according to a listing, and has no restored copy that can be read.
    pub is_archived: bool,
    /// When the object was written, in milliseconds since the epoch, as reported (event time, or `LastModified`).
    pub written_at_ms: Option<i64>,
}

impl ObjectChange {
    /// A change of which only the object is known.
    pub fn of(object: ObjectId) -> Self {
        Self { object, etag: None, size_bytes: None, is_archived: false, written_at_ms: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_told_from_a_bucket_by_its_leading_slash() {
        assert_eq!(ObjectId::new("logs", "a/b.json").to_string(), "s3://logs/a/b.json");
        assert_eq!(ObjectId::new("/var/logs", "a/b.json").to_string(), "file:///var/logs/a/b.json");
    }
}

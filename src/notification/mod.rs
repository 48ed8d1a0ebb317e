//! What changed: an object was written, as a queue message, a listing or a directory tells it.

pub mod queue;

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

/// S3's `sequencer`: the order of writes to one key. Meaningless across keys.
///
/// Compared as Amazon says: the shorter is padded with zeros on its right, then both are compared as text
/// (S3 User Guide, "Event message structure").
#[derive(Clone, Debug)]
pub struct Sequencer(pub Box<str>);

/// One object was written.
#[derive(Clone, Debug)]
pub struct ObjectChange {
    pub object: ObjectId,
    /// Absent where the teller has none: listings, directories, look-alikes of S3.
    pub sequencer: Option<Sequencer>,
    /// The entity tag the teller saw, without quotes. The object may have changed again since.
    pub etag: Option<Box<str>>,
    /// The object's size in bytes, as the teller saw it.
    pub size_bytes: Option<u64>,
    /// Milliseconds since the epoch of the write, as the teller saw it (event time, or `LastModified`).
    pub written_at_ms: Option<i64>,
}

//! What changed: an object was written, as a queue message, a listing or a directory tells it.

pub mod parse;

pub mod queue;

pub mod sqs;

pub mod scan;

pub mod directory;

use std::cmp::Ordering;
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

impl Ord for Sequencer {
    fn cmp(&self, other: &Self) -> Ordering {
        let (left, right) = (self.0.as_bytes(), other.0.as_bytes());
        let digit = |text: &[u8], at: usize| text.get(at).copied().unwrap_or(b'0');
        (0..left.len().max(right.len()))
            .map(|at| digit(left, at).cmp(&digit(right, at)))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }
}

impl PartialOrd for Sequencer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Sequencer {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Sequencer {}

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

impl ObjectChange {
    /// A change of which nothing is known but its object.
    pub fn of(object: ObjectId) -> Self {
        Self { object, sequencer: None, etag: None, size_bytes: None, written_at_ms: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequencers_are_compared_as_if_padded_with_zeros_on_the_right() {
        for (left, right, expected) in [
            ("0055AED6DCD90281E5", "0055AED6DCD90281E5", Ordering::Equal),
            ("0055AED6DCD90281E5", "0055AED6DCD90281E6", Ordering::Less),
            ("0061", "00610000", Ordering::Equal),
            ("0061", "00610001", Ordering::Less),
            ("0062", "00610001", Ordering::Greater),
            ("00617F08299329D189", "00617F08299329D1", Ordering::Greater),
            ("9", "10", Ordering::Greater),
            ("", "0", Ordering::Equal),
            ("", "1", Ordering::Less),
        ] {
            let (left, right) = (Sequencer(left.into()), Sequencer(right.into()));
            assert_eq!(left.cmp(&right), expected, "{left:?} against {right:?}");
            assert_eq!(right.cmp(&left), expected.reverse(), "{right:?} against {left:?}");
            assert_eq!(left == right, expected.is_eq());
        }
    }

    #[test]
    fn a_directory_is_told_from_a_bucket_by_its_leading_slash() {
        assert_eq!(ObjectId::new("logs", "a/b.json").to_string(), "s3://logs/a/b.json");
        assert_eq!(ObjectId::new("/var/logs", "a/b.json").to_string(), "file:///var/logs/a/b.json");
    }
}

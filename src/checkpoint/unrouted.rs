//! Objects that notifications named and no feed takes: their names are kept until a feed takes them.

use std::sync::Arc;

use crate::notification::ObjectId;

/// Why no feed takes an object.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum NoFeed {
    /// No feed reads its bucket.
    Bucket,
    /// It lies outside of every prefix of the feeds that read its bucket.
    Prefix,
    /// It lies where a feed reads, and matches none of that feed's `keys`.
    Keys,
}

impl NoFeed {
    pub const ALL: [Self; 3] = [Self::Bucket, Self::Prefix, Self::Keys];

    pub fn name(self) -> &'static str {
        match self {
            Self::Bucket => "bucket",
            Self::Prefix => "prefix",
            Self::Keys => "keys",
        }
    }
}

/// An object that a notification named and no feed takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unrouted {
    pub object: ObjectId,
    /// The queue that the notification came from.
    pub queue: Arc<str>,
    /// The feed that it nearly belongs to: the one that reads its bucket.
    pub feed: Option<Arc<str>>,
    pub why: NoFeed,
}

/// The proof that an object's name is kept. Only the store makes one:
///
/// ```compile_fail
/// let forged = auditferry::testing::checkpoint::Remembered(());
/// ```
#[derive(Debug)]
pub struct Remembered(pub(super) ());

/// An unrouted object as it is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptObject {
    pub id: u64,
    pub object: ObjectId,
    pub queue: String,
    pub feed: Option<String>,
    pub why: NoFeed,
    /// When the first notification of it came, in milliseconds since the epoch, and when the last one.
    pub first_ms: i64,
    pub last_ms: i64,
    /// How many notifications named it.
    pub notifications: u64,
}

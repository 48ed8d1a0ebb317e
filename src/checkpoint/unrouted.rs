//! Objects that notifications named and no feed takes. Their names are kept until a feed takes them.

use std::sync::Arc;

use crate::notification::ObjectId;

/// Why no feed takes an object.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum NoFeed {
    /// No feed reads the object's bucket.
    Bucket,
    /// Feeds read the bucket, but none of their prefixes covers the object.
    Prefix,
    /// A feed's prefix covers the object, but none of the feed's `keys` matches it.
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
    /// The feed that reads the object's bucket, if there is one.
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

/// An unrouted object whose name is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptObject {
    pub id: u64,
    pub object: ObjectId,
    pub queue: String,
    pub feed: Option<String>,
    pub why: NoFeed,
    /// When the first and the last notification of the object came, in milliseconds since the epoch.
    pub first_ms: i64,
    pub last_ms: i64,
    /// How many notifications named the object.
    pub notifications: u64,
}

//! Backlogs: objects that are read later though their messages are settled. A sink's has those that it has not had, a feed's
//! those that could not be read.

use std::sync::Arc;

use super::Answer;
use super::positions::Passed;
use crate::notification::ObjectId;

/// What the schedule asks of the store.
pub trait Backlog: Send + Sync {
    /// Adds objects to the sink's backlog: of each its feed, and since when, in milliseconds since the epoch. An object
    /// that was never read is made known first. An entry that is there already keeps its date.
    fn add_to_backlog(&self, sink: Arc<str>, objects: Vec<(Arc<str>, ObjectId, i64)>) -> Answer<'_, ()>;

    /// The oldest objects in a sink's backlog that come after a place among them, at most `most`.
    fn entries(&self, sink: &str, after: BacklogPlace, most: usize) -> Answer<'_, Vec<BacklogEntry>>;

    /// Whether an object is in a sink's backlog.
    fn is_in_backlog(&self, sink: &str, object: &ObjectId) -> Answer<'_, bool>;

    /// How many objects are in a sink's backlog.
    fn backlog_len(&self, sink: &str) -> Answer<'_, u64>;

    /// Removes objects from the backlog: the sink has had them, or they are gone.
    fn clear_from_backlog(&self, sink: Arc<str>, objects: Vec<ObjectId>) -> Answer<'_, ()>;

    /// Adds objects to their feed's backlog, as long as there is room: at most `room` new ones. One answer for each, in
    /// their order.
    fn add_unread(&self, feed: Arc<str>, objects: Vec<UnreadObject>, room: u64) -> Answer<'_, Vec<Addition>>;

    /// Reading an object in its feed's backlog has failed once more, and as this kind. Says as which kind it was there
    /// before; nothing where it is there no more.
    fn unread_again(&self, object: ObjectId, kind: Arc<str>) -> Answer<'_, Option<Arc<str>>>;

    /// Removes an object from its feed's backlog: it was read, or is gone. Returns as which kind it was there, if it was.
    fn clear_unread(&self, object: ObjectId) -> Answer<'_, Option<Arc<str>>>;

    /// Objects that could not be read for one kind of failure, at most `most`: those first that were tried least, and of
    /// them the oldest.
    fn unread(&self, feed: &str, kind: &str, most: usize) -> Answer<'_, Vec<(ObjectId, u32)>>;

    /// The kind of failure for which an object is in its feed's backlog, if it is.
    fn unread_kind(&self, object: &ObjectId) -> Answer<'_, Option<Arc<str>>>;

    /// The proof that an object is in its feed's backlog, and will be read for all of the feed's sinks.
    fn unread_proof(&self, object: &ObjectId) -> Answer<'_, Option<Passed>>;

    /// How many objects could not be read, by feed and kind.
    fn unread_counts(&self) -> Answer<'_, Vec<UnreadCount>>;

    /// The objects in a feed's backlog behind `after`, in the order of their names, at most `most`.
    fn unread_names(&self, feed: &str, after: &ObjectId, most: usize) -> Answer<'_, Vec<ObjectId>>;

    /// Moves objects into the backlogs of other feeds: those they belong to now.
    fn move_unread(&self, objects: Vec<(ObjectId, Arc<str>)>) -> Answer<'_, ()>;
}

/// An object in a sink's backlog.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BacklogEntry {
    pub object: ObjectId,
    /// Its place in the backlog.
    pub place: BacklogPlace,
}

/// A place in a sink's backlog, whose entries stand oldest first. The default comes before all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BacklogPlace {
    /// Since when the object is there, in milliseconds since the epoch.
    pub(super) since_ms: i64,
    /// The object's number in the store.
    pub(super) object_id: i64,
}

impl Default for BacklogPlace {
    fn default() -> Self {
        Self { since_ms: i64::MIN, object_id: i64::MIN }
    }
}

/// An object that could not be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnreadObject {
    pub object: ObjectId,
    /// The kind of failure.
    pub kind: Arc<str>,
    /// How often reading it has failed.
    pub attempts: u32,
    /// Since when, in milliseconds since the epoch.
    pub since_ms: i64,
}

/// How many objects of a feed could not be read for one kind of failure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnreadCount {
    pub feed: Box<str>,
    pub kind: Arc<str>,
    pub objects: u64,
}

/// The result of adding an object to its feed's backlog.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Addition {
    New,
    /// It is there already, and keeps its date, its kind and its attempts.
    Known,
    NoRoom,
}

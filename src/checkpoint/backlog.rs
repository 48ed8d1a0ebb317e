//! Backlogs: objects that are to be read later, although their messages are settled. A sink's backlog holds objects
//! that the sink has not had; a feed's backlog holds objects that could not be read.

use std::sync::Arc;

use super::Answer;
use super::positions::Passed;
use crate::notification::ObjectId;

/// What the schedule asks of the store.
pub trait Backlog: Send + Sync {
    /// Adds objects to the sink's backlog, each with its feed and the time since when the sink lacks it, in
    /// milliseconds since the epoch. An unknown object is made known first. An existing entry keeps its date.
    fn add_to_backlog(&self, sink: Arc<str>, objects: Vec<(Arc<str>, ObjectId, i64)>) -> Answer<'_, ()>;

    /// The oldest entries of a sink's backlog after the place `after`, at most `most`.
    fn entries(&self, sink: &str, after: BacklogPlace, most: usize) -> Answer<'_, Vec<BacklogEntry>>;

    /// Whether an object is in a sink's backlog.
    fn is_in_backlog(&self, sink: &str, object: &ObjectId) -> Answer<'_, bool>;

    /// The number of objects in a sink's backlog.
    fn backlog_len(&self, sink: &str) -> Answer<'_, u64>;

    /// Removes objects from the backlog, since the sink has had them or they are gone.
    fn clear_from_backlog(&self, sink: Arc<str>, objects: Vec<ObjectId>) -> Answer<'_, ()>;

    /// Adds objects to their feed's backlog. At most `room` of them may be new there. Returns one answer for each, in
    /// their order.
    fn add_unread(&self, feed: Arc<str>, objects: Vec<UnreadObject>, room: u64) -> Answer<'_, Vec<Addition>>;

    /// Notes that an object in its feed's backlog could not be read again, with this kind of failure. Returns its
    /// former kind; `None` if it is not in the backlog any more.
    fn unread_again(&self, object: ObjectId, kind: Arc<str>) -> Answer<'_, Option<Arc<str>>>;

    /// Removes an object from its feed's backlog, since it was read or is gone. Returns its kind of failure if it was
    /// there.
    fn clear_unread(&self, object: ObjectId) -> Answer<'_, Option<Arc<str>>>;

    /// Objects that could not be read for this kind of failure, and their attempts, at most `most`. Objects with the
    /// fewest attempts come first, the oldest of them before the others.
    fn unread(&self, feed: &str, kind: &str, most: usize) -> Answer<'_, Vec<(ObjectId, u32)>>;

    /// The kind of failure that an object is in its feed's backlog for. `None` if it is not there.
    fn unread_kind(&self, object: &ObjectId) -> Answer<'_, Option<Arc<str>>>;

    /// The proof that an object is in its feed's backlog, so that it will be read for all sinks of the feed.
    fn unread_proof(&self, object: &ObjectId) -> Answer<'_, Option<Passed>>;

    /// The number of objects in the feeds' backlogs, by feed and kind of failure.
    fn unread_counts(&self) -> Answer<'_, Vec<UnreadCount>>;

    /// The objects in a feed's backlog whose names follow `after`, ordered by name, at most `most`.
    fn unread_names(&self, feed: &str, after: &ObjectId, most: usize) -> Answer<'_, Vec<ObjectId>>;

    /// Moves objects into the backlogs of other feeds, which they belong to now.
    fn move_unread(&self, objects: Vec<(ObjectId, Arc<str>)>) -> Answer<'_, ()>;
}

/// An object in a sink's backlog.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BacklogEntry {
    pub object: ObjectId,
    /// The entry's place in the backlog.
    pub place: BacklogPlace,
}

/// A place in a sink's backlog, which is ordered by age, the oldest entry first. The default place is before all
/// entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BacklogPlace {
    /// Since when the object is in the backlog, in milliseconds since the epoch.
    pub(super) since_ms: i64,
    /// The object's row id in the store.
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
    /// How often reading the object has failed.
    pub attempts: u32,
    /// Since when the object cannot be read, in milliseconds since the epoch.
    pub since_ms: i64,
}

/// How many objects of a feed could not be read for one kind of failure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnreadCount {
    pub feed: Box<str>,
    pub kind: Arc<str>,
    pub objects: u64,
}

/// What adding an object to its feed's backlog came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Addition {
    New,
    /// The object is in the backlog already. Its date, kind and attempts stay.
    Known,
    NoRoom,
}

//! Quarantine: what cannot be decoded or is refused for ever, and how it is tried again.

use std::sync::Arc;

use super::Answer;
use super::unrouted::{KeptObject, Remembered, Unrouted};
use crate::delta::RecordHash;
use crate::event::Head;
use crate::notification::ObjectId;
use crate::reading::{LackedEvents, QuarantinedPlaces, RefusedAgain};

/// What refuses things and tries them again asks of the store. Records are quarantined by the seal that accepts them, events
/// by the commit of the batch in which a receiver refused them.
pub trait Quarantine: Send + Sync {
    /// Quarantines one version of an object. The next version is read as if nothing had happened.
    ///
    /// Where a version of it is in quarantine already, that entry becomes this version's: the other version is gone.
    fn quarantine_object(&self, refusal: Refusal) -> Answer<'_, Quarantined>;

    /// Quarantines a message that cannot be understood; `body_zstd` is its body, compressed. Past the limit it is counted.
    fn quarantine_message(
        &self,
        queue: String,
        reason: String,
        body_zstd: Vec<u8>,
        now_ms: i64,
    ) -> Answer<'_, Quarantined>;

    /// How many records, objects, messages and events are in quarantine.
    fn quarantine_size(&self) -> Answer<'_, QuarantineSize>;

    /// The requests after number `after`, in their order, at most `most`.
    fn requests(&self, after: u64, most: usize) -> Answer<'_, Vec<Request>>;

    /// A body kept in quarantine, compressed.
    fn quarantined_body(&self, id: u64) -> Answer<'_, Option<Vec<u8>>>;

    /// What was tried again and refused again stays in quarantine, each for its new reason.
    fn refuse_again(&self, refused: Vec<(u64, String)>) -> Answer<'_, ()>;

    /// Requeued records of the object that need its bytes stay in quarantine, since these cannot be read.
    fn refuse_requeued(&self, object: ObjectId, reason: String) -> Answer<'_, ()>;

    /// A damaged object counts as not read: the next reading reads it, in whatever version.
    fn reconsider(&self, object: ObjectId) -> Answer<'_, ()>;

    /// The object was read to its end: a request for the whole object is done. Returns how many entries that settles.
    fn settle_requeued(&self, object: ObjectId) -> Answer<'_, u64>;

    /// A message was understood, and what it names takes its place in quarantine.
    fn replace_message(&self, replacement: Replacement) -> Answer<'_, ()>;

    /// Takes up what is asked for of the object: once for each record, every sink that has passed it comes to lack it, and of
    /// each event the sink that refused it, which has the object in its backlog then. What was purged since no sink lacks any
    /// more. Returns the number of the last request, if there is any. To be called while no job works on the object.
    fn open_requeued(&self, object: ObjectId) -> Answer<'_, Option<u64>>;

    /// The object's records in quarantine, from `from` on at least. What is asked for and not taken up yet counts as if it
    /// were not asked for.
    fn quarantined_places(&self, object: &ObjectId, from: u64) -> Answer<'_, QuarantinedPlaces>;

    /// The places of the object's records that are asked for by requests up to number `up_to` and whose bytes are kept.
    fn kept_places(&self, object: &ObjectId, up_to: u64) -> Answer<'_, Vec<u64>>;

    /// The record at a place, if it is in quarantine with its bytes.
    fn kept_record(&self, object: &ObjectId, place: u64) -> Answer<'_, Option<KeptRecord>>;

    /// Which events alone a sink lacks of records in its gap, since it has had the others of these records: those that it
    /// refused and that were requeued.
    fn lacked_events(&self, object: &ObjectId, sink: &Arc<str>) -> Answer<'_, LackedEvents>;

    /// The events of the record at a place that a sink has in quarantine; none where not all of them are there with their
    /// bytes.
    fn kept_events(&self, object: &ObjectId, sink: &Arc<str>, place: u64) -> Answer<'_, Vec<KeptEvent>>;

    /// Records that requests up to number `up_to` asked for leave the quarantine where each of `sinks` has had them. Those
    /// that were refused again stay, and nobody asks for them any more; so do those that every sink was offered as far as
    /// they are there.
    fn note_retried(
        &self,
        object: ObjectId,
        sinks: Vec<Arc<str>>,
        up_to: u64,
        refused: RefusedAgain,
    ) -> Answer<'_, Retried>;

    /// Keeps the names of these objects, which no feed takes, in one transaction. Of each in turn: the proof, or nothing
    /// where it was not kept before and `most` others are already.
    fn remember(&self, objects: Vec<Unrouted>, most: u64, now_ms: i64) -> Answer<'_, Vec<Option<Remembered>>>;

    /// The unrouted objects with numbers above `after`, in order, at most `limit`.
    fn unrouted(&self, after: u64, limit: usize) -> Answer<'_, Vec<KeptObject>>;

    /// How many unrouted objects are kept.
    fn unrouted_count(&self) -> Answer<'_, u64>;

    /// Forgets objects that a feed takes by now and that need nothing more.
    fn forget_unrouted(&self, ids: Vec<u64>) -> Answer<'_, ()>;
}

/// The limits of the quarantine. What is past them is only counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuarantineLimits {
    /// Bytes of all bodies, compressed. Past it bodies are left out.
    pub bytes_max: u64,
    /// Entries of each kind. Past it the further records of an object share one entry, for as many objects again.
    pub entries_max: u64,
    /// Entries of one object's records.
    pub entries_per_object: u64,
}

impl QuarantineLimits {
    pub const ENTRIES_MAX: u64 = 100_000;
    pub const ENTRIES_PER_OBJECT: u64 = 1000;
}

/// As many bytes of bodies, and the default numbers of entries.
impl From<u64> for QuarantineLimits {
    fn from(bytes_max: u64) -> Self {
        Self { bytes_max, entries_max: Self::ENTRIES_MAX, entries_per_object: Self::ENTRIES_PER_OBJECT }
    }
}

/// The proof that something was put into quarantine. Only the store makes one:
///
/// ```compile_fail
/// let forged = auditferry::testing::checkpoint::Quarantined(());
/// ```
#[derive(Debug)]
pub struct Quarantined(pub(super) ());

/// An object whose version with this entity tag will never be readable.
pub struct Refusal {
    pub feed: Arc<str>,
    pub object: ObjectId,
    pub etag: Box<str>,
    /// It can be read once it is restored.
    pub is_archived: bool,
    pub reason: String,
    /// Milliseconds since the epoch.
    pub now_ms: i64,
}

/// How much is in quarantine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QuarantineSize {
    /// Of each kind (`record`, `object`, `message`, `event`): how many, those that share an entry included, and the bytes of their
    /// compressed bodies.
    pub kinds: Vec<(String, u64, u64)>,
}

impl QuarantineSize {
    /// How many of this kind.
    pub fn entries(&self, kind: &str) -> u64 {
        self.kinds.iter().find(|(name, ..)| name == kind).map_or(0, |(_, entries, _)| *entries)
    }

    /// The bytes of all bodies, compressed.
    pub fn body_bytes(&self) -> u64 {
        self.kinds.iter().map(|(.., bytes)| bytes).sum()
    }
}

/// A refused record whose bytes are in quarantine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptRecord {
    pub ordinal: u64,
    /// Its number in the object's accepted sequence.
    pub place: u64,
    pub occurrence: u64,
    pub hash: RecordHash,
    /// As in [`Record`](crate::records::Record).
    pub may_be_within: bool,
    /// The version it was first read in.
    pub etag: Box<str>,
    pub last_modified_ms: Option<i64>,
    pub body_zstd: Vec<u8>,
}

/// A refused event whose bytes are in quarantine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptEvent {
    pub head: Head,
    /// The version that its record was read in.
    pub etag: Box<str>,
    pub last_modified_ms: Option<i64>,
    /// As its encoder wrote it.
    pub body_zstd: Vec<u8>,
}

/// What an operator asked to try again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Later requests have higher numbers.
    pub number: u64,
    /// The number in quarantine.
    pub id: u64,
    pub asked: Asked,
}

/// What is to be tried again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// A record of this object, or an event.
    Record { object: ObjectId },
    /// The object, of which a version could not be read.
    Object { object: ObjectId },
    /// A message of this queue.
    Message { queue: Arc<str> },
}

/// What takes the place of a message that was understood.
pub struct Replacement {
    /// The message's number in quarantine. If nobody asks for it any more, nothing is done.
    pub id: u64,
    /// The objects that it names, with their feeds: each is to be read.
    pub names: Vec<(Arc<str>, ObjectId)>,
    /// Those that no feed takes: their names are kept, at most `most` in all.
    pub unrouted: Vec<Unrouted>,
    pub most: u64,
    /// What of the message was not understood. It stays in quarantine then, and so it does where there is no room for a name.
    pub still: Option<String>,
    /// Milliseconds since the epoch.
    pub now_ms: i64,
}

/// What came of records that were tried again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Retried {
    /// Every sink has had them: they have left the quarantine.
    pub delivered: u64,
    /// They stay.
    pub refused: u64,
}

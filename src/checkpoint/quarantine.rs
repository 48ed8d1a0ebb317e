//! Quarantine: what cannot be decoded or is refused for ever, and how it is tried again.

use std::sync::Arc;

use super::Answer;
use super::unrouted::{KeptObject, Remembered, Unrouted};
use crate::delta::RecordHash;
use crate::event::Head;
use crate::notification::ObjectId;
use crate::reading::{LackedEvents, QuarantinedPlaces, RefusedAgain};

/// What jobs, sink workers, the schedule and the intake ask of the store about quarantine. Refused records are
/// quarantined by the seal that accepts them, refused events by the commit of their batch.
pub trait Quarantine: Send + Sync {
    /// Quarantines one version of an object. The next version is read as usual.
    ///
    /// If another version of the object is in quarantine already, its entry is overwritten: that version is gone.
    fn quarantine_object(&self, refusal: Refusal) -> Answer<'_, Quarantined>;

    /// Quarantines a message that cannot be understood. `body_zstd` is its compressed body. Past the limit the message
    /// is only counted.
    fn quarantine_message(
        &self,
        queue: String,
        reason: String,
        body_zstd: Vec<u8>,
        now_ms: i64,
    ) -> Answer<'_, Quarantined>;

    /// How many records, objects, messages and events are in quarantine.
    fn quarantine_size(&self) -> Answer<'_, QuarantineSize>;

    /// Requests with numbers above `after`, in their order, at most `most`.
    fn requests(&self, after: u64, most: usize) -> Answer<'_, Vec<Request>>;

    /// The compressed body of an entry. `None` if it was not kept.
    fn quarantined_body(&self, id: u64) -> Answer<'_, Option<Vec<u8>>>;

    /// Ends these requests: what they asked for was refused again. The entries stay in quarantine, each with its new
    /// reason.
    fn refuse_again(&self, refused: Vec<(u64, String)>) -> Answer<'_, ()>;

    /// Ends the requests for records of the object whose bytes are not kept, since the object cannot be read. The
    /// entries stay in quarantine, with this reason.
    fn refuse_requeued(&self, object: ObjectId, reason: String) -> Answer<'_, ()>;

    /// Makes the store treat a damaged object as not read, so that its current version is read next.
    fn reconsider(&self, object: ObjectId) -> Answer<'_, ()>;

    /// Removes the entries of requests for the whole object, since it was read to its end. Returns how many there were.
    fn settle_requeued(&self, object: ObjectId) -> Answer<'_, u64>;

    /// Replaces a message that could be understood now by what it names.
    fn replace_message(&self, replacement: Replacement) -> Answer<'_, ()>;

    /// Applies the open requests for an object. Each requested record becomes, once, part of the gap of every sink that
    /// has passed it. Each requested event becomes part of the gap of the sink that refused it, and the object enters
    /// that sink's backlog. Entries purged since leave the gaps again. Returns the number of the last request, if there
    /// is any. Call it while no job works on the object.
    fn open_requeued(&self, object: ObjectId) -> Answer<'_, Option<u64>>;

    /// The object's records in quarantine: all with places from `from` on, and maybe others. Requests that are not yet
    /// applied by [`open_requeued`](Self::open_requeued) do not count.
    fn quarantined_places(&self, object: &ObjectId, from: u64) -> Answer<'_, QuarantinedPlaces>;

    /// The places of the object's records that requests up to number `up_to` ask for and whose bytes are kept.
    fn kept_places(&self, object: &ObjectId, up_to: u64) -> Answer<'_, Vec<u64>>;

    /// The record at a place, if it is in quarantine with its bytes.
    fn kept_record(&self, object: &ObjectId, place: u64) -> Answer<'_, Option<KeptRecord>>;

    /// The requeued events that a sink lacks, by the places of their records. These places lie in the sink's gap, but
    /// the sink has had the other events there.
    fn lacked_events(&self, object: &ObjectId, sink: &Arc<str>) -> Answer<'_, LackedEvents>;

    /// The sink's quarantined events of the record at a place. Empty unless all of them were kept with their bytes.
    fn kept_events(&self, object: &ObjectId, sink: &Arc<str>, place: u64) -> Answer<'_, Vec<KeptEvent>>;

    /// Accounts for the records that requests up to number `up_to` ask for. Records that each of `sinks` has had leave
    /// the quarantine. Records that were refused again stay, and their requests end. Once every sink was offered the
    /// whole object, the requests for records that are neither in the object nor kept end too.
    fn note_retried(
        &self,
        object: ObjectId,
        sinks: Vec<Arc<str>>,
        up_to: u64,
        refused: RefusedAgain,
    ) -> Answer<'_, Retried>;

    /// Keeps the names of these objects, which no feed takes, in one transaction. Returns a proof for each. `None` if
    /// the object was not kept before and `most` objects are kept already.
    fn remember(&self, objects: Vec<Unrouted>, most: u64, now_ms: i64) -> Answer<'_, Vec<Option<Remembered>>>;

    /// Unrouted objects with numbers above `after`, in order, at most `limit`.
    fn unrouted(&self, after: u64, limit: usize) -> Answer<'_, Vec<KeptObject>>;

    /// How many unrouted objects are kept.
    fn unrouted_count(&self) -> Answer<'_, u64>;

    /// Deletes unrouted objects that a feed takes now and that need nothing more.
    fn forget_unrouted(&self, ids: Vec<u64>) -> Answer<'_, ()>;
}

/// The limits of the quarantine. What exceeds them is only counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuarantineLimits {
    /// The size of all compressed bodies. Past this limit bodies are not kept.
    pub bytes_max: u64,
    /// The number of entries of each kind. Past this limit further records of an object share one entry; the same limit
    /// holds for the number of such shared entries.
    pub entries_max: u64,
    /// The number of entries for records of one object.
    pub entries_per_object: u64,
}

impl QuarantineLimits {
    pub const ENTRIES_MAX: u64 = 100_000;
    pub const ENTRIES_PER_OBJECT: u64 = 1000;
}

/// This many bytes for bodies, and the default numbers of entries.
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

/// A version of an object that will never be readable.
pub struct Refusal {
    pub feed: Arc<str>,
    pub object: ObjectId,
    pub etag: Box<str>,
    /// Whether the version is archived. It can be read once it is restored.
    pub is_archived: bool,
    pub reason: String,
    /// The time in milliseconds since the epoch.
    pub now_ms: i64,
}

/// How much is in quarantine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QuarantineSize {
    /// For each kind (`record`, `object`, `message`, `event`): how many are in quarantine, those that share an entry
    /// included, and the bytes of their compressed bodies.
    pub kinds: Vec<(String, u64, u64)>,
}

impl QuarantineSize {
    /// How many of this kind are in quarantine.
    pub fn entries(&self, kind: &str) -> u64 {
        self.kinds.iter().find(|(name, ..)| name == kind).map_or(0, |(_, entries, _)| *entries)
    }

    /// The size of all compressed bodies, in bytes.
    pub fn body_bytes(&self) -> u64 {
        self.kinds.iter().map(|(.., bytes)| bytes).sum()
    }
}

/// A refused record whose bytes are in quarantine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptRecord {
    pub ordinal: u64,
    /// The record's number in the object's accepted sequence.
    pub place: u64,
    pub occurrence: u64,
    pub hash: RecordHash,
    /// As in [`Record`](crate::records::Record).
    pub may_be_within: bool,
    /// The version in which the record was first read.
    pub etag: Box<str>,
    pub last_modified_ms: Option<i64>,
    pub body_zstd: Vec<u8>,
}

/// A refused event whose bytes are in quarantine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptEvent {
    pub head: Head,
    /// The version in which the event's record was read.
    pub etag: Box<str>,
    pub last_modified_ms: Option<i64>,
    /// The bytes that the encoder wrote, compressed.
    pub body_zstd: Vec<u8>,
}

/// A request to try something in quarantine again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Numbers increase with time.
    pub number: u64,
    /// The number of the entry in quarantine.
    pub id: u64,
    pub asked: Asked,
}

/// What is to be tried again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// A record of this object, or an event of one.
    Record { object: ObjectId },
    /// This object, of which a version could not be read.
    Object { object: ObjectId },
    /// A message from this queue.
    Message { queue: Arc<str> },
}

/// What replaces a quarantined message that could be understood now.
pub struct Replacement {
    /// The number of the message's entry. If it is not requeued any more, nothing is done.
    pub id: u64,
    /// The objects that the message names, with their feeds. Each is to be read.
    pub names: Vec<(Arc<str>, ObjectId)>,
    /// The named objects that no feed takes. Their names are kept, as long as at most `most` are kept in all.
    pub unrouted: Vec<Unrouted>,
    pub most: u64,
    /// The part of the message that could not be understood, if any. The message stays in quarantine if there is such a
    /// part, or if there is no room for a name.
    pub still: Option<String>,
    /// The time in milliseconds since the epoch.
    pub now_ms: i64,
}

/// What became of records that were tried again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Retried {
    /// Records that every sink has had, so that they left the quarantine.
    pub delivered: u64,
    /// Records that stay in quarantine.
    pub refused: u64,
}

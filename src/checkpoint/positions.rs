//! Positions of objects and their sinks, and the batches that advance them.

use std::sync::Arc;

use super::upkeep::Freshness;
use super::{Answer, StoreError};
use crate::batch::{Lane, Manifest, Part, RequestLimits};
use crate::delta::{Fingerprint, Places, Progress};
use crate::notification::ObjectId;
use crate::sink::{self, LaneState, Receipt, State};

/// What brings records to sinks asks of the store.
pub trait Positions: Send + Sync {
    /// What is known of an object, and how much of it each of `sinks` has had.
    fn position(&self, object: &ObjectId, sinks: &[Arc<str>]) -> Answer<'_, ObjectPosition>;

    /// The same of several objects, in their order.
    fn positions(&self, objects: &[ObjectId], sinks: &[Arc<str>]) -> Answer<'_, Vec<ObjectPosition>>;

    /// The object's accepted fingerprints from number `from` on, in order: some of them, and none only when there are no
    /// more.
    fn fingerprints(&self, object: &ObjectId, from: u64) -> Answer<'_, Vec<Fingerprint>>;

    /// Accepts the new records of a part that waits long for its seal.
    ///
    /// # Errors
    /// As [`seal`](Self::seal).
    fn accept(&self, part: Part, now_ms: i64) -> Answer<'_, ()>;

    /// Accepts the batch's new records and writes its manifest, in one transaction.
    ///
    /// # Errors
    /// `Overtaken` names an object that does not stand where its part begins; nothing is written then.
    fn seal(&self, seal: Seal) -> Answer<'_, Sealed>;

    /// Applies a delivered batch's advances, quarantines the events that its receiver will never take, and forgets its
    /// manifest, in one transaction. Requeued events that it has had leave the quarantine; those refused again stay, for their
    /// new reason.
    ///
    /// # Errors
    /// `Overtaken` names an object that does not stand where the batch was sealed; nothing is written then.
    fn commit(&self, sealed: &Sealed, receipt: &Receipt, now_ms: i64) -> Answer<'_, Committed>;

    /// The same, and in the same transaction [seals](Self::seal) the next batch of the lane. The second result is that of
    /// the seal: a batch that was overtaken does not undo the commit.
    fn commit_and_seal(
        &self,
        sealed: &Sealed,
        receipt: &Receipt,
        next: Seal,
    ) -> Answer<'_, (Committed, Result<Sealed, StoreError>)>;

    /// Commits, in its turn, a batch that the sink never had and that cannot be rebuilt: what it lacks by that becomes its
    /// gap, and the batch's objects enter its backlog. Batches that are sealed behind it stand. `now_ms` is the time, in
    /// milliseconds since the epoch.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    fn commit_not_had(&self, sealed: &Sealed, now_ms: i64) -> Answer<'_, ()>;

    /// Writes down how far the receiver has a sealed batch.
    fn note_progress(&self, sealed: &Sealed, progress: sink::Progress) -> Answer<'_, ()>;

    /// How many lanes a sink has from now on: as many as are wanted, unless batches are sealed under another number, which
    /// it keeps then.
    fn settle_lanes(&self, sink: Arc<str>, wanted: u16) -> Answer<'_, u16>;

    /// The batches of a lane that were sealed and not committed, in their order.
    fn sealed(&self, lane: &Lane) -> Answer<'_, Vec<Sealed>>;

    /// A lane's state.
    fn lane(&self, lane: &Lane) -> Answer<'_, LaneState>;

    /// Stores a sink's state: the sink goes on elsewhere than where its last batch ended.
    fn set_state(&self, lane: Lane, state: State) -> Answer<'_, ()>;

    /// Records that an object was read to its end, if all of its content is accepted by now, and which sinks were offered
    /// all of it. Returns whether it was.
    fn finish(&self, finish: Finish) -> Answer<'_, bool>;

    /// Forgets what was accepted of an object that was read as another family: it is read as if it were new.
    ///
    /// # Errors
    /// `Overtaken` while a sealed batch has records of it.
    fn begin_anew(&self, object: ObjectId, family: &'static str) -> Answer<'_, ()>;

    /// Whether each of `sinks` was offered all of the last version read and has had it, or what it has not had is in its
    /// backlog.
    fn passed(&self, object: &ObjectId, sinks: &[Arc<str>]) -> Answer<'_, Option<Passed>>;
}

/// What the store knows of an object, and how much of it some sinks have had.
#[derive(Debug)]
pub struct ObjectPosition {
    /// Whether the object is known at all.
    pub known: bool,
    /// As which family it was last read to its end, where that is known.
    pub family: Option<Box<str>>,
    pub progress: Progress,
    /// How many bytes of its content were split into lines before, in the longest version read to its end.
    pub framed_bytes: u64,
    /// The entity tag of the last version, where it was read to its end.
    pub etag: Option<Box<str>>,
    /// How many of its versions were read to their end.
    pub read: u64,
    /// The last version, where it could not be read and is quarantined.
    pub unreadable: Option<UnreadableVersion>,
    /// It is in its feed's backlog: it could not be read.
    pub is_unread: bool,
    /// Something of it was requeued out of quarantine, and is not all accounted for.
    pub is_requeued: bool,
    /// Where each of the sinks asked for stands, in the order asked.
    pub sinks: Vec<SinkPosition>,
    /// That they have all [passed](Positions::passed) it.
    pub passed: Option<Passed>,
}

impl ObjectPosition {
    /// Whether every sink asked for was offered all of the last version read, and has had what it lacked of it.
    pub fn is_settled(&self) -> bool {
        let is_settled = |sink: &SinkPosition| sink.accepted == self.progress.accepted && sink.read == Some(self.read);
        self.etag.is_some() && self.sinks.iter().all(is_settled)
    }

    /// Whether it was read as another family than this one: what was accepted then does not count now.
    pub fn is_of_another(&self, family: &str) -> bool {
        self.family.as_deref().is_some_and(|read_as| read_as != family)
    }
}

/// A sink's position in an object.
#[derive(Clone, Debug, Default)]
pub struct SinkPosition {
    /// Its cursor in the accepted sequence.
    pub accepted: u64,
    /// The places before the cursor that it has not had: their records were gone from the source, and may come back; or they
    /// were in quarantine, and were requeued since.
    pub gap: Places,
    /// The number of the reading that it was last offered whole; nothing where that is open.
    pub read: Option<u64>,
}

/// A version that is in quarantine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnreadableVersion {
    pub etag: Box<str>,
    /// It can be read once it is restored, and then has the same entity tag.
    pub is_archived: bool,
}

/// What is written before a batch is sent.
#[derive(Clone)]
pub struct Seal {
    pub lane: Lane,
    /// Which program, encoding and settings made the bytes: the same makes the same again.
    pub encoder: Arc<str>,
    /// How the batch is cut into requests.
    pub limits: RequestLimits,
    pub parts: Arc<[Part]>,
    /// Milliseconds since the epoch.
    pub now_ms: i64,
}

/// A batch that may be sent: its records are accepted and its manifest is on disk. Only the store makes one:
///
/// ```compile_fail
/// use auditferry::testing::{batch::{Lane, Manifest}, checkpoint::Sealed};
/// fn forged(lane: Lane, manifest: std::sync::Arc<Manifest>) -> Sealed {
///     Sealed { lane, manifest, progress: Default::default() }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Sealed {
    pub(super) lane: Lane,
    pub(super) manifest: Arc<Manifest>,
    pub(super) progress: sink::Progress,
}

impl Sealed {
    #[cfg(test)]
    pub(crate) fn of(lane: Lane, manifest: Manifest) -> Self {
        Self { lane, manifest: Arc::new(manifest), progress: sink::Progress::default() }
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// How far its receiver had it when that was last written down.
    pub fn progress(&self) -> &sink::Progress {
        &self.progress
    }
}

/// The proof that a batch's advances are on disk. Only the store makes one:
///
/// ```compile_fail
/// let forged = auditferry::testing::checkpoint::Committed { gaps: Vec::new(), quarantine: Vec::new() };
/// ```
#[derive(Debug)]
pub struct Committed {
    pub(super) gaps: Vec<GapChange>,
    pub(super) quarantine: Vec<QuarantineChange>,
}

impl Committed {
    /// What the batch did to its sink's gaps, once for each object.
    pub fn gap_changes(&self) -> &[GapChange] {
        &self.gaps
    }

    /// Which of its events went into quarantine or came out of it, once for each object.
    pub fn quarantine_changes(&self) -> &[QuarantineChange] {
        &self.quarantine
    }
}

/// How the gap of a sink in an object changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GapChange {
    pub object: ObjectId,
    /// Records that were gone before the sink had them.
    pub opened: u64,
    /// Records that came back, and the sink has had them; out of quarantine none count.
    pub filled: u64,
}

/// How many events of an object a batch brought into quarantine, and how many out of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuarantineChange {
    pub feed: Arc<str>,
    pub object: ObjectId,
    pub refused: u64,
    /// They were requeued, and the sink has had them. Of those that share an entry, records are counted.
    pub delivered: u64,
    /// They were requeued, and are refused once more.
    pub refused_again: u64,
}

impl QuarantineChange {
    pub(super) fn of(feed: &str, object: &ObjectId) -> Self {
        Self { feed: feed.into(), object: object.clone(), refused: 0, delivered: 0, refused_again: 0 }
    }
}

/// The proof that each of a feed's sinks has had all of an object's content, or has the object in its backlog. Only the
/// store makes one:
///
/// ```compile_fail
/// let forged = auditferry::testing::checkpoint::Passed(());
/// ```
#[derive(Debug)]
pub struct Passed(pub(super) ());

/// An object was read to its end.
#[derive(Debug)]
pub struct Finish {
    pub feed: Arc<str>,
    /// The sinks that were offered all of it, and have had what they were offered.
    pub sinks: Vec<Arc<str>>,
    /// The name of the family it was read as.
    pub family: &'static str,
    pub object: ObjectId,
    pub etag: Box<str>,
    /// What the reading saw: applied when the store has accepted as many records.
    pub progress: Progress,
    /// Bytes of content that were split into lines.
    pub framed_bytes: u64,
    /// Whether the object's content has changed; if not, its time to be forgotten comes no later.
    pub changed: bool,
    /// The newest event that every sink has had of it, where it is newer than the stored one.
    pub fresh: Option<Freshness>,
    /// The reading ended a while ago: where another version was read to its end since, nothing is recorded.
    pub is_late: bool,
    /// Milliseconds since the epoch.
    pub now_ms: i64,
}

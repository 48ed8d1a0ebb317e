//! The positions of objects and of their sinks, and the batches that advance them.

use std::sync::Arc;

use super::upkeep::Freshness;
use super::{Answer, StoreError};
use crate::batch::{Lane, Manifest, Part, RequestLimits};
use crate::delta::{Fingerprint, Places, Progress};
use crate::notification::ObjectId;
use crate::sink::{self, LaneState, Receipt, State};

/// What jobs, sink workers and the schedule ask of the store.
pub trait Positions: Send + Sync {
    /// What is known of an object, and the position of each of `sinks` in it.
    fn position(&self, object: &ObjectId, sinks: &[Arc<str>]) -> Answer<'_, ObjectPosition>;

    /// Like [`position`](Self::position), for several objects, in their order.
    fn positions(&self, objects: &[ObjectId], sinks: &[Arc<str>]) -> Answer<'_, Vec<ObjectPosition>>;

    /// Accepted fingerprints of the object in order, beginning with number `from`. It may return fewer than there are,
    /// but none only if there are no more.
    fn fingerprints(&self, object: &ObjectId, from: u64) -> Answer<'_, Vec<Fingerprint>>;

    /// Accepts the new records of a part before its batch is sealed, since the batch waits long for its seal.
    ///
    /// # Errors
    /// As [`seal`](Self::seal).
    fn accept(&self, part: Part, now_ms: i64) -> Answer<'_, ()>;

    /// Accepts the batch's new records and stores its manifest, in one transaction.
    ///
    /// # Errors
    /// `Overtaken` names an object whose position is not where its part begins. Nothing is written then.
    fn seal(&self, seal: Seal) -> Answer<'_, Sealed>;

    /// In one transaction: applies the advances of a delivered batch, quarantines the events that its receiver refused,
    /// and deletes its manifest. Requeued events that were delivered leave the quarantine; those refused again stay,
    /// with the new reason.
    ///
    /// # Errors
    /// `Overtaken` names an object whose position is not where its part begins. Nothing is written then.
    fn commit(&self, sealed: &Sealed, receipt: &Receipt, now_ms: i64) -> Answer<'_, Committed>;

    /// Commits, and in the same transaction [seals](Self::seal) the lane's next batch. The second result is that of the
    /// seal: if the next batch is overtaken, the commit stays.
    fn commit_and_seal(
        &self,
        sealed: &Sealed,
        receipt: &Receipt,
        next: Seal,
    ) -> Answer<'_, (Committed, Result<Sealed, StoreError>)>;

    /// Commits, in its turn, a batch that the sink never had and that cannot be rebuilt. The batch's places become the
    /// sink's gap, and its objects enter the sink's backlog. Batches sealed after it are not affected. `now_ms` is the
    /// time in milliseconds since the epoch.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    fn commit_not_had(&self, sealed: &Sealed, now_ms: i64) -> Answer<'_, ()>;

    /// Stores which events of a sealed batch the receiver has.
    fn note_progress(&self, sealed: &Sealed, progress: sink::Progress) -> Answer<'_, ()>;

    /// Sets how many lanes a sink has, and returns the number: `wanted`, unless batches are sealed under another
    /// number. The sink keeps that number then.
    fn settle_lanes(&self, sink: Arc<str>, wanted: u16) -> Answer<'_, u16>;

    /// The lane's batches that are sealed and not yet committed, in their order.
    fn sealed(&self, lane: &Lane) -> Answer<'_, Vec<Sealed>>;

    /// A lane's state.
    fn lane(&self, lane: &Lane) -> Answer<'_, LaneState>;

    /// Stores a sink's state, since the sink goes on elsewhere than where its last batch ended.
    fn set_state(&self, lane: Lane, state: State) -> Answer<'_, ()>;

    /// Records that an object was read to its end, and which sinks were offered all of it. Returns `false`, and records
    /// nothing, if the store has not accepted exactly the records that were read.
    fn finish(&self, finish: Finish) -> Answer<'_, bool>;

    /// Forgets all positions of an object that was read as another family. The object is read again as if it were new.
    ///
    /// # Errors
    /// `Overtaken` while a sealed batch has records of the object.
    fn begin_anew(&self, object: ObjectId, family: &'static str) -> Answer<'_, ()>;

    /// The proof that each of `sinks` was offered all of the last version read and has had it, or has the object in its
    /// backlog. `None` if one has neither.
    fn passed(&self, object: &ObjectId, sinks: &[Arc<str>]) -> Answer<'_, Option<Passed>>;
}

/// What the store knows of an object, and the positions of some sinks in it.
#[derive(Debug)]
pub struct ObjectPosition {
    /// Whether the store knows the object at all.
    pub known: bool,
    /// The family as which the object was last read to its end, if it was.
    pub family: Option<Box<str>>,
    pub progress: Progress,
    /// How many bytes of the longest version that was read to its end were split into lines.
    pub framed_bytes: u64,
    /// The entity tag of the last version, if that was read to its end.
    pub etag: Option<Box<str>>,
    /// How many versions of the object were read to their end.
    pub read: u64,
    /// The last version, if it could not be read and is in quarantine.
    pub unreadable: Option<UnreadableVersion>,
    /// Whether the object is in its feed's backlog, since it could not be read.
    pub is_unread: bool,
    /// Whether anything of the object was requeued and is not yet accounted for.
    pub is_requeued: bool,
    /// The positions of the sinks that were asked for, in the order of the question.
    pub sinks: Vec<SinkPosition>,
    /// The proof that all these sinks have [passed](Positions::passed) the object.
    pub passed: Option<Passed>,
}

impl ObjectPosition {
    /// Whether every sink that was asked for was offered all of the last version read, and has had it.
    pub fn is_settled(&self) -> bool {
        let is_settled = |sink: &SinkPosition| sink.accepted == self.progress.accepted && sink.read == Some(self.read);
        self.etag.is_some() && self.sinks.iter().all(is_settled)
    }

    /// Whether the object was read as another family than this. Records accepted then do not count now.
    pub fn is_of_another(&self, family: &str) -> bool {
        self.family.as_deref().is_some_and(|read_as| read_as != family)
    }
}

/// A sink's position in an object.
#[derive(Clone, Debug, Default)]
pub struct SinkPosition {
    /// The sink's cursor in the accepted sequence.
    pub accepted: u64,
    /// Places before the cursor that the sink has not had. Their records were gone from the object and may come back,
    /// or were requeued out of quarantine.
    pub gap: Places,
    /// The number of the reading that the sink was last offered whole. `None` if it may lack records of that reading.
    pub read: Option<u64>,
}

/// A version of an object that is in quarantine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnreadableVersion {
    pub etag: Box<str>,
    /// Whether the version is archived. Once restored it can be read, and has the same entity tag.
    pub is_archived: bool,
}

/// A batch to be sealed.
#[derive(Clone)]
pub struct Seal {
    pub lane: Lane,
    /// Which program, encoding and settings made the bytes. Only the same can rebuild them.
    pub encoder: Arc<str>,
    /// How the batch is cut into requests.
    pub limits: RequestLimits,
    pub parts: Arc<[Part]>,
    /// The time in milliseconds since the epoch.
    pub now_ms: i64,
}

/// A batch that may be sent, since its records are accepted and its manifest is on disk. Only the store makes one:
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

    /// Which events the receiver has, as last stored by [`Positions::note_progress`].
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
    /// How the batch changed its sink's gaps, once for each object.
    pub fn gap_changes(&self) -> &[GapChange] {
        &self.gaps
    }

    /// Which events the batch brought into quarantine or out of it, once for each object.
    pub fn quarantine_changes(&self) -> &[QuarantineChange] {
        &self.quarantine
    }
}

/// How the gap of a sink in an object changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GapChange {
    pub feed: Arc<str>,
    pub object: ObjectId,
    /// How many records were gone from the object before the sink had them.
    pub opened: u64,
    /// How many records came back and were delivered to the sink. Requeued records do not count.
    pub filled: u64,
}

/// How many events of an object a batch brought into quarantine and out of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuarantineChange {
    pub feed: Arc<str>,
    pub object: ObjectId,
    pub refused: u64,
    /// Requeued events that the sink has had now. Where events share an entry, their records are counted instead.
    pub delivered: u64,
    /// Requeued events that the receiver refused again.
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

/// A reading of an object that came to the object's end.
#[derive(Debug)]
pub struct Finish {
    pub feed: Arc<str>,
    /// The sinks that were offered all of the object, and have had what they were offered.
    pub sinks: Vec<Arc<str>>,
    /// The name of the family as which the object was read.
    pub family: &'static str,
    pub object: ObjectId,
    pub etag: Box<str>,
    /// What the reading saw. Applied only if the store has accepted exactly as many records.
    pub progress: Progress,
    /// How many bytes of content were split into lines.
    pub framed_bytes: u64,
    /// Whether the object's content has changed. If not, the time when the object may be forgotten stays the same.
    pub changed: bool,
    /// The object's newest event that every sink has had, if it is newer than the stored one.
    pub fresh: Option<Freshness>,
    /// Whether the reading ended a while ago. If so, nothing is recorded if another version was read to its end since.
    pub is_late: bool,
    /// The time in milliseconds since the epoch.
    pub now_ms: i64,
}

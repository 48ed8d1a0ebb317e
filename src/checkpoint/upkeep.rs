//! Upkeep: keeps the store small, and does the work at start, at intervals, and at the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Answer;

/// The most partitions that are remembered, over all feeds. Past it the partition without a delivery for longest is
/// forgotten.
pub(super) const PARTITIONS_MAX: u32 = 1000;

/// What the collector asks of the store for the process as a whole.
pub trait Upkeep: Send + Sync {
    /// Checks that the store's files are in place and that this instance still owns the store.
    ///
    /// # Errors
    /// [`Gone`](super::StoreError::Gone) says what is missing. [`TakenOver`](super::StoreError::TakenOver) if another
    /// instance has opened the store.
    fn in_place(&self) -> Answer<'_, ()>;

    /// The size of the store and of its disk.
    fn size(&self) -> Answer<'_, StoreSize>;

    /// Forgets some objects that have not changed since `before_ms`, are in no backlog and no sealed batch, and have no
    /// records in quarantine, which could still be delivered. Call it again until it forgets none.
    ///
    /// A scan still finds forgotten objects; [`Self::forgotten_before`] tells it which.
    fn forget(&self, before_ms: i64) -> Answer<'_, Forgotten>;

    /// Objects of the feed that were last written before this time may have been forgotten. So an unknown object that
    /// old is not new.
    fn forgotten_before(&self, feed: &str) -> Answer<'_, Option<i64>>;

    /// The freshness of all remembered partitions. The partition with the latest delivery comes last.
    fn freshness(&self) -> Answer<'_, Vec<Freshness>>;

    /// Forgets partitions without a delivery since `before_ms`. If a feed had none at all since then, keeps its latest
    /// one.
    fn forget_partitions(&self, before_ms: i64) -> Answer<'_, ()>;

    /// Leaves the store in the best state for the next start. This must be the last call.
    fn tidy(&self) -> Answer<'_, ()>;
}

/// The size of a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StoreSize {
    pub bytes: u64,
    /// Its disk. `None` if it is not on one, or the size is not known.
    pub disk: Option<Disk>,
}

/// The size of a disk, and how much of it may still be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Disk {
    pub bytes: u64,
    pub available_bytes: u64,
}

/// How much was forgotten.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Forgotten {
    pub objects: u64,
    /// Records in gaps of sinks by feed, counted for each sink. If such records come back, they are delivered as new.
    pub gap_records: BTreeMap<Box<str>, u64>,
}

/// The newest event of a partition that was delivered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Freshness {
    pub feed: Arc<str>,
    /// A partition such as `workspaceId=1`. Empty if the feed's keys name none.
    pub partition: String,
    /// The event's own time, in milliseconds since the epoch.
    pub event_ms: i64,
}

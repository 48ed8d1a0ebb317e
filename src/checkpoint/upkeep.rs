//! Upkeep: what keeps a store small, and what is asked of it at the start, now and then, and at the end.

use std::sync::Arc;

use super::Answer;

/// How many partitions are remembered, over all feeds. Past it the one not delivered to for longest is forgotten.
pub(super) const PARTITIONS_MAX: u32 = 1000;

/// What looks after the process asks of the store.
pub trait Upkeep: Send + Sync {
    /// Whether the store is there still, and still this instance's.
    ///
    /// # Errors
    /// [`Gone`](super::StoreError::Gone) says what is missing; [`TakenOver`](super::StoreError::TakenOver).
    fn in_place(&self) -> Answer<'_, ()>;

    /// Bytes that the store takes.
    fn size_bytes(&self) -> Answer<'_, u64>;

    /// Forgets some of the objects that have not changed since `before_ms`, in no backlog, part of no sealed batch and
    /// without records in quarantine, which could be delivered yet.
    /// As long as that is not none, there may be more.
    ///
    /// A scan still finds objects that were forgotten; [`Self::forgotten_before`] tells it which.
    fn forget(&self, before_ms: i64) -> Answer<'_, Forgotten>;

    /// Objects of a feed last written before then may have been forgotten: an unknown one is not taken for new.
    fn forgotten_before(&self, feed: &str) -> Answer<'_, Option<i64>>;

    /// What is remembered of how fresh feeds are, the partition delivered to last at the end.
    fn freshness(&self) -> Answer<'_, Vec<Freshness>>;

    /// Forgets partitions not delivered to since `before_ms`; of a feed that had nothing since, all but the newest.
    fn forget_partitions(&self, before_ms: i64) -> Answer<'_, ()>;

    /// Leaves the store as it is best found at the next start. To be called last.
    fn tidy(&self) -> Answer<'_, ()>;
}

/// What was forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Forgotten {
    pub objects: u64,
    /// Records in the gaps of their sinks, counted for each sink. Should they come back, they are delivered as new.
    pub gap_records: u64,
}

/// The newest event that a partition of a feed has had delivered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Freshness {
    pub feed: Arc<str>,
    /// Such as `workspaceId=1`; empty where the feed's keys name none.
    pub partition: String,
    /// The event's own time, in milliseconds since the epoch.
    pub event_ms: i64,
}

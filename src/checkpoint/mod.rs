//! The checkpoint store: which records of each object were accepted, and which of them each sink has had. The traits
//! say what a store does for its users, and nothing about how it stores it. `src/checkpoint/sqlite/mod.rs` is the one
//! implementation.
//!
//! Every change is compare-and-apply: it names the position where it begins, and is rejected if the store's position is
//! another. The store answers once the change is on disk; a change that failed leaves nothing. An instance that opens a
//! store for writing takes a new epoch. From then on the store refuses all writes of earlier instances.

mod backlog;

mod error;

mod positions;

mod quarantine;

mod unrouted;

mod upkeep;

mod sqlite;

#[cfg(test)]
mod conformance;

use std::sync::Arc;

pub(crate) use backlog::{Addition, Backlog, BacklogEntry, BacklogPlace, UnreadCount, UnreadObject};
pub use error::Answer;
pub(crate) use error::StoreError;
pub use positions::SinkPosition;
pub(crate) use positions::{
    Committed, Finish, GapChange, ObjectPosition, Passed, Positions, QuarantineChange, Seal, Sealed, UnreadableVersion,
};
pub use quarantine::Quarantine;
pub(crate) use quarantine::{
    Asked, KeptEvent, KeptRecord, QuarantineLimits, QuarantineSize, Quarantined, Refusal, Replacement, Request, Retried,
};
pub(crate) use sqlite::{BackupError, CACHE_BYTES, Entry, Kind, OpenError, UnroutedSelection};
pub use sqlite::{DiskScratch, Durability, Inspection, Selection, SqliteStore, Writing, back_up};
pub(crate) use unrouted::{KeptObject, NoFeed, Remembered, Unrouted};
pub(crate) use upkeep::{Disk, Forgotten, Freshness, StoreSize, Upkeep};

/// A checkpoint store as its four interfaces. Cheap to clone; closed when the last clone is dropped.
#[derive(Clone)]
pub struct Store {
    pub positions: Arc<dyn Positions>,
    pub backlog: Arc<dyn Backlog>,
    pub quarantine: Arc<dyn Quarantine>,
    pub upkeep: Arc<dyn Upkeep>,
}

impl Store {
    pub fn new(store: impl Positions + Backlog + Quarantine + Upkeep + 'static) -> Self {
        let store = Arc::new(store);
        Self {
            positions: Arc::clone(&store) as _,
            backlog: Arc::clone(&store) as _,
            quarantine: Arc::clone(&store) as _,
            upkeep: store,
        }
    }
}

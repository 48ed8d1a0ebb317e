//! The checkpoint store: what was accepted of each object, and what each sink has had. The traits say what a store does for
//! those who use it, and nothing of how it is kept; `src/checkpoint/sqlite/mod.rs` is the one implementation.
//!
//! Every change is compare-and-apply: it names where it starts, and is rejected when the store stands elsewhere. It is on
//! disk before it is answered, or nothing of it is there. An instance that opens a store for writing takes a new epoch: from
//! then on every write of an earlier instance is refused, and leaves nothing.

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
pub(crate) use upkeep::{Forgotten, Freshness, Upkeep};

/// A checkpoint store, by what it does for whom. Cheap to clone; closed when the last clone is gone.
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

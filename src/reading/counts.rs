//! The counts that a reading keeps.

use crate::users::LookedUp;

/// Counts of one reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    pub new_records: u64,
    pub events: u64,
    /// Records that cannot be decoded: new ones, and known ones that some output has not had.
    pub refused: u64,
    /// The latest time of a new event, in milliseconds since the epoch.
    pub latest_event_ms: Option<i64>,
    /// User lookups for new records.
    pub looked_up: LookedUp,
}

//! A record in quarantine, and the reason that is kept of anything there.

use std::sync::Arc;

use super::rows::count;
use crate::delta::RecordHash;

/// A reason kept is at most as long.
const REASON_CHARS_MAX: usize = 1024;

/// A refused record that is to be tried again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefusedRecord {
    /// Its number in quarantine.
    pub id: u64,
    pub ordinal: u64,
    /// Its number in the object's accepted sequence.
    pub place: u64,
    pub occurrence: u64,
    pub hash: RecordHash,
    pub etag: Box<str>,
    pub last_modified_ms: Option<i64>,
    /// Whether its bytes are in quarantine; if not, they are looked for in its object.
    pub has_body: bool,
    /// The sinks that have had it out of quarantine.
    pub had: Vec<Arc<str>>,
}

/// The columns that [`RefusedRecord::of`] reads, in their order.
pub(super) const RECORD: &str = "id, ordinal, place, occurrence, hash, etag, last_modified_ms, body_zstd IS NOT NULL";

impl RefusedRecord {
    pub(super) fn of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: count(row.get(0)?),
            ordinal: count(row.get(1)?),
            place: count(row.get(2)?),
            occurrence: count(row.get(3)?),
            hash: RecordHash(row.get(4)?),
            etag: row.get::<_, Option<String>>(5)?.unwrap_or_default().into(),
            last_modified_ms: row.get(6)?,
            has_body: row.get(7)?,
            had: Vec::new(),
        })
    }
}

/// As much of a reason as is kept.
pub(super) fn bounded(reason: &str) -> String {
    reason.chars().take(REASON_CHARS_MAX).collect()
}

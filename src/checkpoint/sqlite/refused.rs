//! A record in quarantine, and the reason that is kept of anything there.

use super::rows::count;
use crate::checkpoint::KeptRecord;
use crate::delta::RecordHash;

/// A reason kept is at most as long.
const REASON_CHARS_MAX: usize = 1024;

/// The columns that [`KeptRecord::of`] reads, in their order.
pub(super) const KEPT: &str = "ordinal, place, occurrence, hash, etag, last_modified_ms, body_zstd";

impl KeptRecord {
    pub(super) fn of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            ordinal: count(row.get(0)?),
            place: count(row.get(1)?),
            occurrence: count(row.get(2)?),
            hash: RecordHash(row.get(3)?),
            etag: row.get::<_, Option<String>>(4)?.unwrap_or_default().into(),
            last_modified_ms: row.get(5)?,
            body_zstd: row.get(6)?,
        })
    }
}

/// As much of a reason as is kept.
pub(super) fn bounded(reason: &str) -> String {
    reason.chars().take(REASON_CHARS_MAX).collect()
}

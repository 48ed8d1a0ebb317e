//! What every kind of quarantine entry keeps: its body if there is room, and its reason.

use std::io::Write as _;

use rusqlite::Connection;

use super::rows::count;
use crate::checkpoint::{KeptRecord, QuarantineLimits, StoreError};
use crate::delta::RecordHash;

/// The most characters of a stored reason.
const REASON_CHARS_MAX: usize = 1024;

/// zstd's fastest level that still halves the size of text.
const BODY_LEVEL: i32 = 3;

/// The columns that [`KeptRecord::of`] reads, in this order.
pub(super) const KEPT: &str = "ordinal, place, occurrence, hash, etag, last_modified_ms, body_zstd, may_be_within";

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
            may_be_within: row.get(7)?,
        })
    }
}

/// The reason, cut to the stored length.
pub(super) fn bounded(reason: &str) -> String {
    reason.chars().take(REASON_CHARS_MAX).collect()
}

/// The body, if the quarantine still has room for it. Coordinates are kept in any case.
pub(super) fn room_for<'a>(
    connection: &Connection,
    limits: QuarantineLimits,
    body: Option<&'a Vec<u8>>,
) -> Result<Option<&'a Vec<u8>>, StoreError> {
    let Some(body) = body else { return Ok(None) };
    let mut statement = connection.prepare_cached("SELECT sum(body_bytes) FROM quarantine_size")?;
    let held = count(statement.query_row([], |row| row.get(0))?);
    Ok((held + body.len() as u64 <= limits.bytes_max).then_some(body))
}

/// Compresses an encoded event, with a checksum.
pub(super) fn compressed(encoded: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::new(), BODY_LEVEL)?;
    encoder.include_checksum(true)?;
    encoder.write_all(encoded)?;
    encoder.finish()
}

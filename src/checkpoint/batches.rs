//! Sealed batches, their parts and the lanes they go out by: what they are, and their rows.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::position::{self, SinkRow};
use super::rows::{Sum, count, int};
use super::{StoreError, requeue};
use crate::batch::{Advance, Form, Part};
use crate::delta::Ranges;
use crate::notification::ObjectId;
use crate::sink::{Manifest, Position};

/// What is written before a batch is sent.
pub struct Seal {
    pub sink: Arc<str>,
    /// Which program and encoding made the bytes: the same makes the same again.
    pub encoder: String,
    pub parts: Arc<[Part]>,
    pub manifest: Manifest,
    /// Milliseconds since the epoch.
    pub now_ms: i64,
}

/// A batch that may be sent: its records are accepted and its manifest is on disk.
#[derive(Debug)]
pub struct Sealed {
    pub(super) sink: Arc<str>,
    pub(super) id: String,
    pub(super) seq: u64,
}

impl Sealed {
    /// The batch's id; a repeat carries the same.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn seq(&self) -> u64 {
        self.seq
    }
}

/// Where a sink stands in its own sequence.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LaneState {
    /// The last batch's number.
    pub seq: u64,
    /// Where its file ends, for sinks that hold a position.
    pub position: Option<Position>,
    /// Which file that is. A position that older programs wrote has none.
    pub file: Option<PathBuf>,
}

/// A batch that was sealed and not committed before the process ended.
#[derive(Debug)]
pub struct SealedBatch {
    pub sealed: Sealed,
    pub encoder: String,
    pub manifest: Manifest,
    pub parts: Vec<SealedPart>,
}

/// What a part of such a batch was made from.
#[derive(Clone, Debug)]
pub struct SealedPart {
    pub advance: Advance,
    pub etag: Box<str>,
    pub last_modified_ms: Option<i64>,
    /// BLAKE3 of the part's bytes.
    pub hash: [u8; 32],
    /// The number in quarantine of the record it was made from, if it was.
    pub redelivers: Option<u64>,
}

fn lane_sum(sink: &str, state: &LaneState) -> Sum {
    let mut sum = Sum::of("lane").text(Some(sink)).int(int(state.seq));
    if let Some(Position { number, len, opened_at_ms }) = state.position {
        sum = sum.int(int(number)).int(int(len)).int(opened_at_ms);
    }
    match &state.file {
        Some(file) => sum.bytes(file.as_os_str().as_encoded_bytes()),
        None => sum,
    }
}

pub(super) fn lane(connection: &Connection, sink: &str) -> Result<LaneState, StoreError> {
    let found = connection
        .prepare_cached(
            "SELECT last_seq, file_number, file_len, file_opened_at_ms, sum, file_path FROM lane WHERE sink = ?1",
        )?
        .query_row([sink], |row| {
            let position = match row.get::<_, Option<i64>>(1)? {
                Some(number) => {
                    Some(Position { number: count(number), len: count(row.get(2)?), opened_at_ms: row.get(3)? })
                }
                None => None,
            };
            let file = row.get::<_, Option<String>>(5)?.map(Into::into);
            Ok((LaneState { seq: count(row.get(0)?), position, file }, row.get(4)?))
        })
        .optional()?;
    let Some((state, sum)) = found else { return Ok(LaneState::default()) };
    lane_sum(sink, &state).verify(sum, || format!("the state of sink {sink}"))?;
    Ok(state)
}

pub(super) fn set_lane(connection: &Connection, sink: &str, state: &LaneState) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO lane (sink, last_seq, file_number, file_len, file_opened_at_ms, sum, file_path)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT DO UPDATE SET last_seq = excluded.last_seq, file_number = excluded.file_number,
                 file_len = excluded.file_len, file_opened_at_ms = excluded.file_opened_at_ms, sum = excluded.sum,
                 file_path = excluded.file_path",
        )?
        .execute(params![
            sink,
            int(state.seq),
            state.position.map(|position| int(position.number)),
            state.position.map(|position| int(position.len)),
            state.position.map(|position| position.opened_at_ms),
            lane_sum(sink, state).value(),
            // Configurations are UTF-8.
            state.file.as_ref().and_then(|file| file.to_str()),
        ])?;
    Ok(())
}

fn batch_sum(sink: &str, seq: u64, id: &str, encoder: &str, manifest: &Manifest) -> Sum {
    let sum = Sum::of("batch").text(Some(sink)).int(int(seq)).text(Some(id)).text(Some(encoder));
    sum.int(int(manifest.bytes)).bytes(manifest.hash.as_bytes())
}

pub(super) fn insert_batch(connection: &Connection, seal: &Seal, seq: u64, id: &str) -> Result<(), StoreError> {
    let sum = batch_sum(&seal.sink, seq, id, &seal.encoder, &seal.manifest).value();
    connection
        .prepare_cached(
            "INSERT INTO batch (sink, seq, id, encoder, bytes, hash, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            &*seal.sink,
            int(seq),
            id,
            seal.encoder,
            int(seal.manifest.bytes),
            seal.manifest.hash.as_bytes(),
            sum
        ])?;
    Ok(())
}

fn part_sum(sink: &str, object_id: i64, part: &SealedPart) -> Sum {
    let sum = Sum::of("batch_part").text(Some(sink)).int(object_id).text(Some(&part.etag));
    let sum = sum.int(part.last_modified_ms.unwrap_or(i64::MIN));
    let sum = sum.int(int(part.advance.before)).int(int(part.advance.after)).bytes(&part.hash);
    let sum = match part.redelivers {
        Some(id) => sum.int(int(id)),
        None => sum,
    };
    match &part.advance.form {
        Form::Onward { gap } if gap.is_empty() => sum,
        Form::Onward { gap } => sum.text(Some("gap")).bytes(&packed(gap)),
        Form::Fill { places } => sum.text(Some("fill")).bytes(&packed(places)),
    }
}

/// First and end of each range.
fn packed(ranges: &Ranges) -> Vec<u8> {
    ranges.iter().flat_map(|range| [range.start, range.end]).flat_map(u64::to_le_bytes).collect()
}

fn unpacked(packed: &[u8]) -> Ranges {
    let mut ranges = Ranges::default();
    let (ends, _) = packed.as_chunks::<8>();
    for range in ends.as_chunks::<2>().0 {
        ranges.push(u64::from_le_bytes(range[0])..u64::from_le_bytes(range[1]));
    }
    ranges
}

/// The columns that [`advance`] reads, in their order.
const ADVANCE: &str = "bucket, key, before, after, fills, ranges";

/// An advance from a row with these columns from number `at` on.
fn advance(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Advance> {
    let ranges = unpacked(&row.get::<_, Option<Vec<u8>>>(at + 5)?.unwrap_or_default());
    Ok(Advance {
        object: ObjectId::new(row.get::<_, String>(at)?, row.get::<_, String>(at + 1)?),
        before: count(row.get(at + 2)?),
        after: count(row.get(at + 3)?),
        form: if row.get(at + 4)? { Form::Fill { places: ranges } } else { Form::Onward { gap: ranges } },
    })
}

/// Whether a part's advance can be applied once the parts before it in the batch are.
fn is_due(connection: &Connection, seal: &Seal, ord: usize, object_id: i64) -> Result<bool, StoreError> {
    let advance = &seal.parts[ord].advance;
    let mut earlier =
        seal.parts[..ord].iter().rev().map(|part| &part.advance).filter(|each| each.object == advance.object);
    match &advance.form {
        Form::Onward { .. } => {
            let stands = match earlier.find(|each| matches!(each.form, Form::Onward { .. })) {
                Some(before) => before.after,
                None => SinkRow::find(connection, object_id, &seal.sink)?.accepted,
            };
            Ok(stands == advance.before)
        }
        Form::Fill { places } => {
            let is_filled =
                earlier.any(|each| matches!(&each.form, Form::Fill { places: filled } if filled.overlap(places)));
            Ok(!is_filled && position::has_in_gap(connection, object_id, &seal.sink, places)?)
        }
    }
}

/// Writes one part of the manifest. A part begins where the sink stands, or where an earlier part of the same batch ends; or
/// all that it fills is in the sink's gap.
pub(super) fn insert_part(
    connection: &Connection,
    seal: &Seal,
    ord: usize,
    object_id: i64,
    part: &Part,
) -> Result<(), StoreError> {
    let advance = &part.advance;
    let mut is_due = is_due(connection, seal, ord, object_id)?;
    if let Some(id) = part.redelivers {
        is_due &= requeue::is_due(connection, id, &seal.sink, advance.before)?;
    }
    if !is_due {
        return Err(StoreError::Overtaken { object: advance.object.clone() });
    }
    let row = SealedPart {
        advance: advance.clone(),
        etag: part.version.etag.clone(),
        last_modified_ms: part.version.last_modified_ms,
        hash: part.hash(),
        redelivers: part.redelivers,
    };
    connection
        .prepare_cached(
            "INSERT INTO batch_part (sink, ord, object_id, etag, last_modified_ms, before, after, hash, sum, redelivers,
                                     fills, ranges)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute(params![
            &*seal.sink,
            int(ord as u64),
            object_id,
            &*row.etag,
            row.last_modified_ms,
            int(advance.before),
            int(advance.after),
            row.hash,
            part_sum(&seal.sink, object_id, &row).value(),
            row.redelivers.map(int),
            matches!(advance.form, Form::Fill { .. }),
            Some(packed(advance.form.ranges())).filter(|ranges| !ranges.is_empty()),
        ])?;
    Ok(())
}

/// The advances of the sink's sealed batch, each with its object's number.
pub(super) fn advances(connection: &Connection, sink: &str) -> Result<Vec<(i64, Advance)>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT object_id, {ADVANCE} FROM batch_part JOIN object ON object.id = object_id WHERE sink = ?1 ORDER BY ord"
    ))?;
    let rows = statement.query_map([sink], |row| Ok((row.get(0)?, advance(row, 1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn sealed_batch(connection: &Connection, sink: &str) -> Result<Option<SealedBatch>, StoreError> {
    let found = connection
        .prepare_cached("SELECT seq, id, encoder, bytes, hash, sum FROM batch WHERE sink = ?1")?
        .query_row([sink], |row| {
            let hash: [u8; 32] = row.get(4)?;
            let manifest = Manifest { bytes: count(row.get(3)?), hash: hash.into() };
            let sealed = Sealed { sink: sink.into(), id: row.get(1)?, seq: count(row.get(0)?) };
            Ok((sealed, row.get::<_, String>(2)?, manifest, row.get::<_, i64>(5)?))
        })
        .optional()?;
    let Some((sealed, encoder, manifest, sum)) = found else { return Ok(None) };
    let name = || format!("the sealed batch of sink {sink}");
    batch_sum(sink, sealed.seq, &sealed.id, &encoder, &manifest).verify(sum, name)?;
    let mut statement = connection.prepare_cached(&format!(
        "SELECT object_id, batch_part.etag, last_modified_ms, hash, batch_part.sum, redelivers, {ADVANCE}
         FROM batch_part JOIN object ON object.id = object_id WHERE sink = ?1 ORDER BY ord"
    ))?;
    let rows = statement.query_map([sink], |row| {
        let part = SealedPart {
            advance: advance(row, 6)?,
            etag: row.get::<_, String>(1)?.into(),
            last_modified_ms: row.get(2)?,
            hash: row.get(3)?,
            redelivers: row.get::<_, Option<i64>>(5)?.map(count),
        };
        Ok((row.get::<_, i64>(0)?, part, row.get::<_, i64>(4)?))
    })?;
    let mut parts = Vec::new();
    for row in rows {
        let (object_id, part, sum) = row?;
        part_sum(sink, object_id, &part).verify(sum, name)?;
        parts.push(part);
    }
    Ok(Some(SealedBatch { sealed, encoder, manifest, parts }))
}

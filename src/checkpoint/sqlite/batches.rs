//! How sealed batches, their parts and their lanes are stored.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::position::{self, SinkRow};
use super::rows::{ObjectRow, Sum, count, int};
use crate::batch::{Advance, Form, Lane, Manifest, PieceMark, RequestLimits, SealedPart};
use crate::checkpoint::{Sealed, StoreError};
use crate::delta::Ranges;
use crate::notification::ObjectId;
use crate::sink::{LaneState, Progress, State};

fn lane_sum(lane: &Lane, state: &LaneState) -> Sum {
    let sum = Sum::of("lane").text(Some(&lane.sink)).int(lane.number.into()).int(int(state.seq));
    let sum = sum.text(state.last_id.as_deref());
    match &state.state {
        Some(State(bytes)) => sum.bytes(bytes),
        None => sum,
    }
}

pub(super) fn lane(connection: &Connection, lane: &Lane) -> Result<LaneState, StoreError> {
    let found = connection
        .prepare_cached("SELECT last_seq, last_id, state, sum FROM lane WHERE sink = ?1 AND lane = ?2")?
        .query_row(params![&*lane.sink, lane.number], |row| {
            let last_id = row.get::<_, Option<String>>(1)?.map(Into::into);
            let state = row.get::<_, Option<Vec<u8>>>(2)?.map(|bytes| State(bytes.into()));
            Ok((LaneState { seq: count(row.get(0)?), last_id, state }, row.get(3)?))
        })
        .optional()?;
    let Some((state, sum)) = found else { return Ok(LaneState::default()) };
    lane_sum(lane, &state).verify(sum, || format!("the state of sink {}", lane.sink))?;
    Ok(state)
}

pub(super) fn set_lane(connection: &Connection, lane: &Lane, state: &LaneState) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO lane (sink, lane, last_seq, last_id, state, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT DO UPDATE SET last_seq = excluded.last_seq, last_id = excluded.last_id,
                 state = excluded.state, sum = excluded.sum",
        )?
        .execute(params![
            &*lane.sink,
            lane.number,
            int(state.seq),
            state.last_id,
            state.state.as_ref().map(|State(bytes)| bytes),
            lane_sum(lane, state).value(),
        ])?;
    Ok(())
}

/// The sequence number of the lane's next batch.
pub(super) fn next_seq(connection: &Connection, at: &Lane) -> Result<u64, StoreError> {
    let sealed: Option<i64> = connection
        .prepare_cached("SELECT max(seq) FROM batch WHERE sink = ?1 AND lane = ?2")?
        .query_row(params![&*at.sink, at.number], |row| row.get(0))?;
    Ok(sealed.map_or(0, count).max(lane(connection, at)?.seq) + 1)
}

fn batch_sum(lane: &Lane, manifest: &Manifest, progress: Option<&[u8]>) -> Sum {
    let sum = Sum::of("batch").text(Some(&lane.sink)).int(lane.number.into()).int(int(manifest.seq));
    let sum = sum.text(Some(&manifest.id)).text(Some(&manifest.encoder)).int(int(manifest.parts.len() as u64));
    let sum = packed_limits(manifest.limits).iter().fold(sum, |sum, limits| sum.bytes(limits));
    progress.iter().fold(sum, |sum, progress| sum.bytes(progress))
}

/// Encodes limits, with each number in big-endian order. `None` for [`RequestLimits::WHOLE`].
fn packed_limits(limits: RequestLimits) -> Option<Vec<u8>> {
    let RequestLimits { bytes, events, envelope_bytes, fixed_bytes } = limits;
    let rest = [events, envelope_bytes, fixed_bytes].into_iter().flat_map(u32::to_be_bytes);
    (limits != RequestLimits::WHOLE).then(|| bytes.to_be_bytes().into_iter().chain(rest).collect())
}

fn unpacked_limits(packed: &[u8]) -> Option<RequestLimits> {
    let (bytes, rest) = packed.split_first_chunk()?;
    let [events, envelope, fixed] = rest.as_chunks().0 else { return None };
    Some(RequestLimits {
        bytes: u64::from_be_bytes(*bytes),
        events: u32::from_be_bytes(*events),
        envelope_bytes: u32::from_be_bytes(*envelope),
        fixed_bytes: u32::from_be_bytes(*fixed),
    })
}

/// Stores which events of a sealed batch the receiver has.
pub(super) fn set_progress(connection: &Connection, sealed: &Sealed, progress: &Progress) -> Result<(), StoreError> {
    let (Sealed { lane, manifest, .. }, State(progress)) = (sealed, progress.to_state());
    connection
        .prepare_cached("UPDATE batch SET progress = ?4, sum = ?5 WHERE sink = ?1 AND lane = ?2 AND seq = ?3")?
        .execute(params![
        &*lane.sink,
        lane.number,
        int(manifest.seq),
        progress,
        batch_sum(lane, manifest, Some(&progress)).value(),
    ])?;
    Ok(())
}

/// Sets the number of lanes to `wanted`, unless batches are sealed under another number. Returns the number. In older
/// stores each sink has one lane.
pub(super) fn settle_lanes(connection: &Connection, sink: &str, wanted: u16) -> Result<u16, StoreError> {
    let mut found = connection.prepare_cached("SELECT lanes FROM lanes WHERE sink = ?1")?;
    let lanes: u16 = found.query_row([sink], |row| row.get(0)).optional()?.unwrap_or(1);
    if lanes != wanted && connection.prepare_cached("SELECT 1 FROM batch WHERE sink = ?1")?.exists([sink])? {
        return Ok(lanes);
    }
    connection
        .prepare_cached(
            "INSERT INTO lanes (sink, lanes) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET lanes = excluded.lanes",
        )?
        .execute(params![sink, wanted])?;
    Ok(wanted)
}

fn part_sum(lane: &Lane, seq: u64, object_id: i64, part: &SealedPart) -> Sum {
    part_sum_before(lane, seq, object_id, part, None)
}

/// The checksum of a part as older programs stored it: with the entry whose record the part brings out of quarantine.
pub(super) fn part_sum_before(
    lane: &Lane,
    seq: u64,
    object_id: i64,
    part: &SealedPart,
    redelivers: Option<i64>,
) -> Sum {
    let sum = Sum::of("batch_part").text(Some(&lane.sink)).int(lane.number.into()).int(int(seq)).int(object_id);
    let sum = sum.text(Some(&part.etag)).int(part.last_modified_ms.unwrap_or(i64::MIN));
    let sum = sum.int(int(part.advance.before)).int(int(part.advance.after)).bytes(&packed(&part.pieces));
    let sum = sum.int(redelivers.unwrap_or(-1)).int(i64::from(part.advance.form.fills()));
    sum.bytes(&packed_ranges(part.advance.form.ranges()))
}

/// Stores a manifest.
///
/// # Errors
/// `Overtaken` names an object whose position is not where its part begins.
pub(super) fn insert(connection: &Connection, lane: &Lane, manifest: &Manifest) -> Result<(), StoreError> {
    insert_row(connection, lane, manifest)?;
    for (part, ord) in manifest.parts.iter().zip(0..) {
        let overtaken = || StoreError::Overtaken { object: part.advance.object.clone() };
        let object_id = ObjectRow::find(connection, &part.advance.object)?.ok_or_else(overtaken)?.id;
        if !is_due(connection, lane, object_id, &part.advance.form, part.advance.before)? {
            return Err(overtaken());
        }
        insert_part(connection, lane, manifest.seq, ord, object_id, part)?;
    }
    Ok(())
}

fn insert_row(connection: &Connection, lane: &Lane, manifest: &Manifest) -> Result<(), StoreError> {
    insert_row_before(connection, lane, manifest)?;
    let Some(limits) = packed_limits(manifest.limits) else { return Ok(()) };
    connection
        .prepare_cached("UPDATE batch SET limits = ?4 WHERE sink = ?1 AND lane = ?2 AND seq = ?3")?
        .execute(params![&*lane.sink, lane.number, int(manifest.seq), limits])?;
    Ok(())
}

/// Stores the row of a batch in the older layout, which had no limits.
pub(super) fn insert_row_before(connection: &Connection, lane: &Lane, manifest: &Manifest) -> Result<(), StoreError> {
    connection
        .prepare_cached("INSERT INTO batch (sink, lane, seq, id, encoder, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![
            &*lane.sink,
            lane.number,
            int(manifest.seq),
            manifest.id,
            manifest.encoder,
            batch_sum(lane, manifest, None).value()
        ])?;
    Ok(())
}

/// Deletes a sealed batch.
pub(super) fn remove(connection: &Connection, lane: &Lane, seq: u64) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM batch WHERE sink = ?1 AND lane = ?2 AND seq = ?3")?.execute(params![
        &*lane.sink,
        lane.number,
        int(seq)
    ])?;
    Ok(())
}

/// Whether a part continues what is sealed in the lane. It must begin where the last sealed part of its object ends, or
/// if there is none, at the sink's cursor. A part that fills must fill only places in the sink's gap.
fn is_due(connection: &Connection, lane: &Lane, object_id: i64, form: &Form, before: u64) -> Result<bool, StoreError> {
    let mut earlier = connection.prepare_cached(
        "SELECT after, ranges FROM batch_part WHERE object_id = ?3 AND sink = ?1 AND lane = ?2 AND fills = ?4
         ORDER BY seq DESC, ord DESC",
    )?;
    let mut earlier = earlier.query(params![&*lane.sink, lane.number, object_id, form.fills()])?;
    let Form::Fill { places } = form else {
        let stands = match earlier.next()? {
            Some(part) => count(part.get(0)?),
            None => SinkRow::find(connection, object_id, &lane.sink)?.accepted,
        };
        return Ok(stands == before);
    };
    while let Some(part) = earlier.next()? {
        if unpacked_ranges(&part.get::<_, Vec<u8>>(1)?).overlap(places) {
            return Ok(false);
        }
    }
    position::has_in_gap(connection, object_id, &lane.sink, places)
}

pub(super) fn insert_part(
    connection: &Connection,
    lane: &Lane,
    seq: u64,
    ord: i64,
    object_id: i64,
    part: &SealedPart,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO batch_part (sink, lane, seq, ord, object_id, etag, last_modified_ms, before, after, pieces,
                                     fills, ranges, sum)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?
        .execute(params![
            &*lane.sink,
            lane.number,
            int(seq),
            ord,
            object_id,
            part.etag,
            part.last_modified_ms,
            int(part.advance.before),
            int(part.advance.after),
            packed(&part.pieces),
            part.advance.form.fills(),
            packed_ranges(part.advance.form.ranges()),
            part_sum(lane, seq, object_id, part).value(),
        ])?;
    Ok(())
}

/// Encodes each piece as 48 bytes: its end and its length in big-endian order, and its hash.
fn packed(pieces: &[PieceMark]) -> Vec<u8> {
    let pack = |piece: &PieceMark| [&piece.to.to_be_bytes()[..], &piece.bytes.to_be_bytes(), &piece.hash].concat();
    pieces.iter().flat_map(pack).collect()
}

pub(super) fn unpacked(packed: &[u8]) -> Vec<PieceMark> {
    let mark = |piece: &[u8; 48]| {
        let [to, bytes, hash @ ..] = piece.as_chunks::<8>().0 else { return None };
        let mut mark = PieceMark { to: u64::from_be_bytes(*to), bytes: u64::from_be_bytes(*bytes), hash: [0; 32] };
        mark.hash.copy_from_slice(hash.as_flattened());
        Some(mark)
    };
    packed.as_chunks().0.iter().filter_map(mark).collect()
}

/// Encodes the start and end of each range.
fn packed_ranges(ranges: &Ranges) -> Vec<u8> {
    ranges.iter().flat_map(|range| [range.start, range.end]).flat_map(u64::to_le_bytes).collect()
}

pub(super) fn unpacked_ranges(packed: &[u8]) -> Ranges {
    let mut ranges = Ranges::default();
    let (ends, _) = packed.as_chunks::<8>();
    for range in ends.as_chunks::<2>().0 {
        ranges.push(u64::from_le_bytes(range[0])..u64::from_le_bytes(range[1]));
    }
    ranges
}

/// The columns that [`advance`] reads, in this order.
pub(super) const ADVANCE: &str = "bucket, key, before, after, fills, ranges";

/// Reads an advance from the columns of a row, beginning with column `at`.
pub(super) fn advance(row: &Row<'_>, at: usize) -> rusqlite::Result<Advance> {
    let ranges = unpacked_ranges(&row.get::<_, Option<Vec<u8>>>(at + 5)?.unwrap_or_default());
    Ok(Advance {
        object: ObjectId::new(row.get::<_, String>(at)?, row.get::<_, String>(at + 1)?),
        before: count(row.get(at + 2)?),
        after: count(row.get(at + 3)?),
        form: if row.get(at + 4)? { Form::Fill { places: ranges } } else { Form::Onward { gap: ranges } },
    })
}

/// How far the sealed batches bring a sink in an object; 0 if there are none.
pub(super) fn passed(connection: &Connection, object_id: i64, sink: &str) -> Result<u64, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT max(after) FROM batch_part WHERE object_id = ?1 AND sink = ?2 AND NOT fills")?;
    let passed: Option<i64> = statement.query_row(params![object_id, sink], |row| row.get(0))?;
    Ok(passed.map_or(0, count))
}

/// The advances of a sealed batch, each with its object's row id.
pub(super) fn advances(connection: &Connection, lane: &Lane, seq: u64) -> Result<Vec<(i64, Advance)>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT object_id, {ADVANCE} FROM batch_part JOIN object ON object.id = object_id
         WHERE sink = ?1 AND lane = ?2 AND seq = ?3 ORDER BY ord"
    ))?;
    let key = params![&*lane.sink, lane.number, int(seq)];
    let rows = statement.query_map(key, |row| Ok((row.get(0)?, advance(row, 1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The lane's batches that are sealed and not yet committed, in their order.
pub(super) fn sealed(connection: &Connection, lane: &Lane) -> Result<Vec<Sealed>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, id, encoder, sum, limits, progress FROM batch WHERE sink = ?1 AND lane = ?2 ORDER BY seq",
    )?;
    let rows = statement.query_map(params![&*lane.sink, lane.number], |row| {
        let (id, encoder): (String, String) = (row.get(1)?, row.get(2)?);
        let limits = row.get::<_, Option<Vec<u8>>>(4)?.as_deref().and_then(unpacked_limits);
        let manifest = Manifest {
            id: id.into(),
            seq: count(row.get(0)?),
            encoder: encoder.into(),
            limits: limits.unwrap_or(RequestLimits::WHOLE),
            parts: Vec::new(),
        };
        Ok((manifest, row.get(3)?, row.get::<_, Option<Vec<u8>>>(5)?))
    })?;
    let mut batches = Vec::new();
    for row in rows {
        let (mut manifest, sum, progress) = row?;
        manifest.parts = parts(connection, lane, manifest.seq)?;
        batch_sum(lane, &manifest, progress.as_deref()).verify(sum, || damaged(lane))?;
        let progress = match progress {
            Some(progress) => Progress::from_state(&State(progress.into()))
                .ok_or_else(|| StoreError::Corrupt { row: damaged(lane) })?,
            None => Progress::default(),
        };
        batches.push(Sealed { lane: lane.clone(), manifest: Arc::new(manifest), progress });
    }
    Ok(batches)
}

fn damaged(lane: &Lane) -> String {
    format!("a sealed batch of sink {}", lane.sink)
}

fn parts(connection: &Connection, lane: &Lane, seq: u64) -> Result<Vec<SealedPart>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT object_id, batch_part.etag, last_modified_ms, pieces, batch_part.sum, {ADVANCE}
         FROM batch_part JOIN object ON object.id = object_id
         WHERE sink = ?1 AND lane = ?2 AND seq = ?3 ORDER BY ord"
    ))?;
    let rows = statement.query_map(params![&*lane.sink, lane.number, int(seq)], |row| {
        let part = SealedPart {
            advance: advance(row, 5)?,
            etag: row.get::<_, String>(1)?.into(),
            last_modified_ms: row.get(2)?,
            pieces: unpacked(&row.get::<_, Vec<u8>>(3)?),
        };
        Ok((row.get(0)?, part, row.get(4)?))
    })?;
    let mut parts = Vec::new();
    for row in rows {
        let (object_id, part, sum) = row?;
        part_sum(lane, seq, object_id, &part).verify(sum, || damaged(lane))?;
        parts.push(part);
    }
    Ok(parts)
}

//! Sealed batches, their parts and the lanes they go out by: what they are, and their rows.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::StoreError;
use super::requeue;
use super::rows::{self, Sum, count, int};
use crate::batch::{Advance, Lane, Manifest, Part, PieceMark, SealedPart};
use crate::notification::ObjectId;
use crate::sink::{LaneState, State};

/// What is written before a batch is sent.
#[derive(Clone)]
pub struct Seal {
    pub lane: Lane,
    /// Which program, encoding and settings made the bytes: the same makes the same again.
    pub encoder: Arc<str>,
    pub parts: Arc<[Part]>,
    /// Milliseconds since the epoch.
    pub now_ms: i64,
}

/// A batch that may be sent: its records are accepted and its manifest is on disk.
#[derive(Clone, Debug)]
pub struct Sealed {
    pub(super) lane: Lane,
    pub(super) manifest: Arc<Manifest>,
}

impl Sealed {
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}

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

/// The number of the lane's next batch.
pub(super) fn next_seq(connection: &Connection, at: &Lane) -> Result<u64, StoreError> {
    let sealed: Option<i64> = connection
        .prepare_cached("SELECT max(seq) FROM batch WHERE sink = ?1 AND lane = ?2")?
        .query_row(params![&*at.sink, at.number], |row| row.get(0))?;
    Ok(sealed.map_or(0, count).max(lane(connection, at)?.seq) + 1)
}

fn batch_sum(lane: &Lane, manifest: &Manifest) -> Sum {
    let sum = Sum::of("batch").text(Some(&lane.sink)).int(lane.number.into()).int(int(manifest.seq));
    sum.text(Some(&manifest.id)).text(Some(&manifest.encoder)).int(int(manifest.parts.len() as u64))
}

fn part_sum(lane: &Lane, seq: u64, object_id: i64, part: &SealedPart) -> Sum {
    let sum = Sum::of("batch_part").text(Some(&lane.sink)).int(lane.number.into()).int(int(seq)).int(object_id);
    let sum = sum.text(Some(&part.etag)).int(part.last_modified_ms.unwrap_or(i64::MIN));
    let sum = sum.int(int(part.advance.before)).int(int(part.advance.after)).bytes(&packed(&part.pieces));
    sum.int(part.redelivers.map_or(-1, int))
}

/// Writes a manifest.
///
/// # Errors
/// `Overtaken` names an object that does not stand where its part begins.
pub(super) fn insert(connection: &Connection, lane: &Lane, manifest: &Manifest) -> Result<(), StoreError> {
    insert_row(connection, lane, manifest)?;
    for (part, ord) in manifest.parts.iter().zip(0..) {
        let object_id = rows::ObjectRow::find(connection, &part.advance.object)?.map(|row| row.id);
        let overtaken = || StoreError::Overtaken { object: part.advance.object.clone() };
        let object_id = object_id.ok_or_else(overtaken)?;
        if begins_at(connection, lane, object_id)? != part.advance.before {
            return Err(overtaken());
        }
        if let Some(id) = part.redelivers
            && !requeue::is_due(connection, id, &lane.sink, part.advance.before)?
        {
            return Err(overtaken());
        }
        insert_part(connection, lane, manifest.seq, ord, object_id, part)?;
    }
    Ok(())
}

pub(super) fn insert_row(connection: &Connection, lane: &Lane, manifest: &Manifest) -> Result<(), StoreError> {
    connection
        .prepare_cached("INSERT INTO batch (sink, lane, seq, id, encoder, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![
            &*lane.sink,
            lane.number,
            int(manifest.seq),
            manifest.id,
            manifest.encoder,
            batch_sum(lane, manifest).value()
        ])?;
    Ok(())
}

/// Where a lane's next part of an object begins: where the last one ends that is sealed, else at the cursor.
fn begins_at(connection: &Connection, lane: &Lane, object_id: i64) -> Result<u64, StoreError> {
    let sealed = connection
        .prepare_cached(
            "SELECT after FROM batch_part WHERE object_id = ?3 AND sink = ?1 AND lane = ?2
             ORDER BY seq DESC, ord DESC LIMIT 1",
        )?
        .query_row(params![&*lane.sink, lane.number, object_id], |row| row.get(0))
        .optional()?;
    sealed.map_or_else(|| rows::cursor(connection, object_id, &lane.sink), |after| Ok(count(after)))
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
                                     redelivers, sum)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
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
            part.redelivers.map(int),
            part_sum(lane, seq, object_id, part).value(),
        ])?;
    Ok(())
}

/// Each piece as 48 bytes: where it ends and how long it is, the highest byte first, and its hash.
fn packed(pieces: &[PieceMark]) -> Vec<u8> {
    let pack = |piece: &PieceMark| [&piece.to.to_be_bytes()[..], &piece.bytes.to_be_bytes(), &piece.hash].concat();
    pieces.iter().flat_map(pack).collect()
}

fn unpacked(packed: &[u8]) -> Vec<PieceMark> {
    let mark = |piece: &[u8; 48]| {
        let [to, bytes, hash @ ..] = piece.as_chunks::<8>().0 else { return None };
        let mut mark = PieceMark { to: u64::from_be_bytes(*to), bytes: u64::from_be_bytes(*bytes), hash: [0; 32] };
        mark.hash.copy_from_slice(hash.as_flattened());
        Some(mark)
    };
    packed.as_chunks().0.iter().filter_map(mark).collect()
}

/// Applies the advances of a sealed batch: a part that does not begin where the sink stands is overtaken.
pub(super) fn advance(connection: &Connection, lane: &Lane, seq: u64) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT object_id, bucket, key, before, after FROM batch_part JOIN object ON object.id = object_id
         WHERE sink = ?1 AND lane = ?2 AND seq = ?3 ORDER BY ord",
    )?;
    let mut parts = statement.query(params![&*lane.sink, lane.number, int(seq)])?;
    while let Some(part) = parts.next()? {
        let object_id = part.get(0)?;
        if rows::cursor(connection, object_id, &lane.sink)? != count(part.get(3)?) {
            let object = ObjectId::new(part.get::<_, String>(1)?, part.get::<_, String>(2)?);
            return Err(StoreError::Overtaken { object });
        }
        rows::set_cursor(connection, object_id, &lane.sink, count(part.get(4)?))?;
    }
    Ok(())
}

/// The lane's batches that are sealed and not committed, in their order.
pub(super) fn sealed(connection: &Connection, lane: &Lane) -> Result<Vec<Sealed>, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT seq, id, encoder, sum FROM batch WHERE sink = ?1 AND lane = ?2 ORDER BY seq")?;
    let rows = statement.query_map(params![&*lane.sink, lane.number], |row| {
        let (id, encoder): (String, String) = (row.get(1)?, row.get(2)?);
        let (id, encoder, parts) = (id.into(), encoder.into(), Vec::new());
        Ok((Manifest { id, seq: count(row.get(0)?), encoder, parts }, row.get(3)?))
    })?;
    let mut batches = Vec::new();
    for row in rows {
        let (mut manifest, sum) = row?;
        manifest.parts = parts(connection, lane, manifest.seq)?;
        batch_sum(lane, &manifest).verify(sum, || damaged(lane))?;
        batches.push(Sealed { lane: lane.clone(), manifest: Arc::new(manifest) });
    }
    Ok(batches)
}

fn damaged(lane: &Lane) -> String {
    format!("a sealed batch of sink {}", lane.sink)
}

fn parts(connection: &Connection, lane: &Lane, seq: u64) -> Result<Vec<SealedPart>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT object_id, bucket, key, batch_part.etag, last_modified_ms, before, after, pieces, redelivers,
                batch_part.sum
         FROM batch_part JOIN object ON object.id = object_id
         WHERE sink = ?1 AND lane = ?2 AND seq = ?3 ORDER BY ord",
    )?;
    let rows = statement.query_map(params![&*lane.sink, lane.number, int(seq)], |row| {
        let object = ObjectId::new(row.get::<_, String>(1)?, row.get::<_, String>(2)?);
        let part = SealedPart {
            advance: Advance { object, before: count(row.get(5)?), after: count(row.get(6)?) },
            etag: row.get::<_, String>(3)?.into(),
            last_modified_ms: row.get(4)?,
            redelivers: row.get::<_, Option<i64>>(8)?.map(count),
            pieces: unpacked(&row.get::<_, Vec<u8>>(7)?),
        };
        Ok((row.get(0)?, part, row.get(9)?))
    })?;
    let mut parts = Vec::new();
    for row in rows {
        let (object_id, part, sum) = row?;
        part_sum(lane, seq, object_id, &part).verify(sum, || damaged(lane))?;
        parts.push(part);
    }
    Ok(parts)
}

//! Sealed batches, their parts and the lanes they go out by: what they are, and their rows.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::StoreError;
use super::requeue;
use super::rows::{self, Sum, count, int};
use crate::batch::{Advance, Part};
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
    match part.redelivers {
        Some(id) => sum.int(int(id)),
        None => sum,
    }
}

/// Writes one part of the manifest. A part begins where the sink stands, or where an earlier part of the same batch ends.
pub(super) fn insert_part(
    connection: &Connection,
    seal: &Seal,
    ord: usize,
    object_id: i64,
    part: &Part,
) -> Result<(), StoreError> {
    let advance = &part.advance;
    let before = seal.parts[..ord].iter().rev().find(|earlier| earlier.advance.object == advance.object);
    let stands = match before {
        Some(earlier) => earlier.advance.after,
        None => rows::cursor(connection, object_id, &seal.sink)?,
    };
    if stands != advance.before {
        return Err(StoreError::Overtaken { object: advance.object.clone() });
    }
    if let Some(id) = part.redelivers
        && !requeue::is_due(connection, id, &seal.sink, stands)?
    {
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
            "INSERT INTO batch_part (sink, ord, object_id, etag, last_modified_ms, before, after, hash, sum, redelivers)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
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
        ])?;
    Ok(())
}

pub(super) fn advances(connection: &Connection, sink: &str) -> Result<Vec<(i64, ObjectId, u64, u64)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT object_id, bucket, key, before, after FROM batch_part JOIN object ON object.id = object_id
         WHERE sink = ?1 ORDER BY ord",
    )?;
    let rows = statement.query_map([sink], |row| {
        let object = ObjectId::new(row.get::<_, String>(1)?, row.get::<_, String>(2)?);
        Ok((row.get(0)?, object, count(row.get(3)?), count(row.get(4)?)))
    })?;
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
    let mut statement = connection.prepare_cached(
        "SELECT object_id, bucket, key, batch_part.etag, last_modified_ms, before, after, hash, batch_part.sum,
                redelivers
         FROM batch_part JOIN object ON object.id = object_id WHERE sink = ?1 ORDER BY ord",
    )?;
    let rows = statement.query_map([sink], |row| {
        let object = ObjectId::new(row.get::<_, String>(1)?, row.get::<_, String>(2)?);
        let advance = Advance { object, before: count(row.get(5)?), after: count(row.get(6)?) };
        let etag: String = row.get(3)?;
        let redelivers = row.get::<_, Option<i64>>(9)?.map(count);
        let (last_modified_ms, hash) = (row.get(4)?, row.get(7)?);
        let part = SealedPart { advance, etag: etag.into(), last_modified_ms, hash, redelivers };
        Ok((row.get::<_, i64>(0)?, part, row.get::<_, i64>(8)?))
    })?;
    let mut parts = Vec::new();
    for row in rows {
        let (object_id, part, sum) = row?;
        part_sum(sink, object_id, &part).verify(sum, name)?;
        parts.push(part);
    }
    Ok(Some(SealedBatch { sealed, encoder, manifest, parts }))
}

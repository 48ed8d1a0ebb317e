//! The migration from stores up to 0.1.0, which hold one file's position and one sealed batch for each sink, to lanes.

use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::batch::{Lane, Manifest, PieceMark, RequestLimits, SealedPart};
use crate::checkpoint::StoreError;
use crate::checkpoint::sqlite::batches::{ADVANCE, advance, insert_part, insert_row_before, part_sum_before, set_lane};
use crate::checkpoint::sqlite::rows::{Sum, count, int};
use crate::sink::{LaneState, file_state};

/// Creates the tables. [`take_over`] copies the rows, since they need new checksums.
pub(super) const STEP: &str = "
DROP INDEX batch_part_object;
DROP INDEX batch_part_redelivers;
ALTER TABLE lane RENAME TO lane_before;
ALTER TABLE batch RENAME TO batch_before;
ALTER TABLE batch_part RENAME TO batch_part_before;

-- Where each lane of a sink stands: the last batch that was committed, and the sink's own state.
CREATE TABLE lane (
    sink TEXT NOT NULL,
    lane INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    last_id TEXT,
    state BLOB,
    sum INTEGER NOT NULL,
    PRIMARY KEY (sink, lane)
) STRICT, WITHOUT ROWID;

-- The batches that are sealed and not yet committed, their parts, and of those the pieces: where each ends, its length and
-- its hash.
CREATE TABLE batch (
    sink TEXT NOT NULL,
    lane INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    id TEXT NOT NULL,
    encoder TEXT NOT NULL,
    sum INTEGER NOT NULL,
    PRIMARY KEY (sink, lane, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE batch_part (
    sink TEXT NOT NULL,
    lane INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    ord INTEGER NOT NULL,
    object_id INTEGER NOT NULL REFERENCES object (id),
    etag TEXT NOT NULL,
    last_modified_ms INTEGER,
    before INTEGER NOT NULL,
    after INTEGER NOT NULL,
    pieces BLOB NOT NULL,
    redelivers INTEGER,
    fills INTEGER NOT NULL,
    ranges BLOB NOT NULL,
    sum INTEGER NOT NULL,
    PRIMARY KEY (sink, lane, seq, ord),
    FOREIGN KEY (sink, lane, seq) REFERENCES batch (sink, lane, seq) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX batch_part_object ON batch_part (object_id);
CREATE INDEX batch_part_redelivers ON batch_part (sink, redelivers) WHERE redelivers IS NOT NULL;
";

/// Copies the rows of the old tables, and drops these tables.
///
/// # Errors
/// The checksum of a row is wrong.
pub(super) fn take_over(connection: &Connection) -> Result<(), StoreError> {
    let sinks: Vec<String> = connection
        .prepare("SELECT sink FROM lane_before UNION SELECT sink FROM batch_before")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for sink in sinks {
        let lane = Lane::only(sink.into());
        take_over_state(connection, &lane)?;
        take_over_batch(connection, &lane)?;
    }
    connection.execute_batch("DROP TABLE batch_part_before; DROP TABLE batch_before; DROP TABLE lane_before;")?;
    Ok(())
}

fn take_over_state(connection: &Connection, lane: &Lane) -> Result<(), StoreError> {
    let found = connection
        .prepare(
            "SELECT last_seq, file_number, file_len, file_opened_at_ms, file_path, sum FROM lane_before WHERE sink = ?1",
        )?
        .query_row([&*lane.sink], |row| {
            let position = match row.get::<_, Option<i64>>(1)? {
                Some(number) => Some((number, row.get(2)?, row.get(3)?)),
                None => None,
            };
            Ok((row.get::<_, i64>(0)?, position, row.get::<_, Option<String>>(4)?.map(PathBuf::from), row.get(5)?))
        })
        .optional()?;
    let Some((seq, position, path, stored)) = found else { return Ok(()) };
    let mut sum = Sum::of("lane").text(Some(&lane.sink)).int(seq);
    if let Some((number, len, opened_at_ms)) = position {
        sum = sum.int(number).int(len).int(opened_at_ms);
    }
    if let Some(path) = &path {
        sum = sum.bytes(path.as_os_str().as_encoded_bytes());
    }
    sum.verify(stored, || format!("the state of sink {}", lane.sink))?;
    let state = position
        .map(|(number, len, opened_at_ms)| file_state(count(number), count(len), opened_at_ms, path.as_deref()));
    set_lane(connection, lane, &LaneState { seq: count(seq), last_id: None, state })
}

/// Copies a sealed batch. The old layout has one hash for each part and one for the whole batch. Only the hash of the
/// whole is kept, as that of the last part's single piece: it tells whether the sink's file has the batch. The batch is
/// never rebuilt, since another program encoded it.
fn take_over_batch(connection: &Connection, lane: &Lane) -> Result<(), StoreError> {
    let found = connection
        .prepare("SELECT seq, id, encoder, bytes, hash, sum FROM batch_before WHERE sink = ?1")?
        .query_row([&*lane.sink], |row| {
            let manifest = (row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?);
            Ok((manifest, row.get::<_, i64>(3)?, row.get::<_, [u8; 32]>(4)?, row.get(5)?))
        })
        .optional()?;
    let Some(((seq, id, encoder), bytes, hash, stored)) = found else { return Ok(()) };
    let name = || format!("the sealed batch of sink {}", lane.sink);
    let sum = Sum::of("batch").text(Some(&lane.sink)).int(seq).text(Some(&id)).text(Some(&encoder));
    sum.int(bytes).bytes(&hash).verify(stored, name)?;
    let mut parts = parts_before(connection, lane)?;
    if let Some((_, last)) = parts.last_mut() {
        last.pieces.push(PieceMark { to: last.advance.after, bytes: count(bytes), hash });
    }
    let (rows, parts): (Vec<RowBefore>, Vec<SealedPart>) = parts.into_iter().unzip();
    let (id, encoder, limits) = (id.into(), encoder.into(), RequestLimits::WHOLE);
    let manifest = Manifest { id, seq: count(seq), encoder, limits, parts };
    insert_row_before(connection, lane, &manifest)?;
    let mut note = connection.prepare(
        "UPDATE batch_part SET redelivers = ?4, sum = ?5 WHERE sink = ?1 AND lane = 0 AND seq = ?2 AND ord = ?3",
    )?;
    for ((part, RowBefore { object_id, redelivers }), ord) in manifest.parts.iter().zip(rows).zip(0..) {
        insert_part(connection, lane, manifest.seq, ord, object_id, part)?;
        if redelivers.is_some() {
            let sum = part_sum_before(lane, manifest.seq, object_id, part, redelivers).value();
            note.execute(params![&*lane.sink, seq, ord, redelivers, sum])?;
        }
    }
    Ok(())
}

/// What an old part's row holds besides: its object, and the quarantine entry whose record it brings.
struct RowBefore {
    object_id: i64,
    redelivers: Option<i64>,
}

fn parts_before(connection: &Connection, lane: &Lane) -> Result<Vec<(RowBefore, SealedPart)>, StoreError> {
    let mut statement = connection.prepare(&format!(
        "SELECT object_id, part.etag, last_modified_ms, redelivers, ranges, part.hash, part.sum, {ADVANCE}
         FROM batch_part_before AS part JOIN object ON object.id = object_id WHERE sink = ?1 ORDER BY ord"
    ))?;
    let mut rows = statement.query([&*lane.sink])?;
    let mut parts = Vec::new();
    while let Some(row) = rows.next()? {
        let (object_id, etag): (i64, String) = (row.get(0)?, row.get(1)?);
        let (last_modified_ms, redelivers): (Option<i64>, Option<i64>) = (row.get(2)?, row.get(3)?);
        let advance = advance(row, 7)?;
        let sum = Sum::of("batch_part").text(Some(&lane.sink)).int(object_id).text(Some(&etag));
        let sum = sum.int(last_modified_ms.unwrap_or(i64::MIN)).int(int(advance.before)).int(int(advance.after));
        let sum = redelivers.into_iter().fold(sum.bytes(&row.get::<_, [u8; 32]>(5)?), Sum::int);
        let sum = match row.get::<_, Option<Vec<u8>>>(4)? {
            Some(ranges) => sum.text(Some(if advance.form.fills() { "fill" } else { "gap" })).bytes(&ranges),
            None => sum,
        };
        sum.verify(row.get(6)?, || format!("the sealed batch of sink {}", lane.sink))?;
        let part = SealedPart { advance, etag: etag.into(), last_modified_ms, pieces: Vec::new() };
        parts.push((RowBefore { object_id, redelivers }, part));
    }
    Ok(parts)
}

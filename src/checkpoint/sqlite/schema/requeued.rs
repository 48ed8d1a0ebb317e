//! The migration of records on their way out of quarantine: they become part of the gap of each sink that has not had
//! them.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};

use crate::batch::{Advance, Lane, SealedPart};
use crate::checkpoint::StoreError;
use crate::checkpoint::sqlite::batches::{self, ADVANCE, advance, unpacked};
use crate::checkpoint::sqlite::places::{self, Owner};
use crate::checkpoint::sqlite::position::SinkRow;
use crate::checkpoint::sqlite::rows::count;
use crate::delta::Ranges;

/// Creates the table. [`take_over`] copies what is under way, which needs new checksums, and drops the old table and
/// column.
pub(super) const STEP: &str = "
-- The places of an object's records that were requeued out of quarantine: a sink that has passed one and not had it has it in
-- its gap.
CREATE TABLE requeued (
    object_id INTEGER NOT NULL REFERENCES object (id) ON DELETE CASCADE,
    stretch INTEGER NOT NULL,
    packed BLOB NOT NULL,
    sum INTEGER NOT NULL,
    PRIMARY KEY (object_id, stretch)
) STRICT, WITHOUT ROWID;
";

/// A record that some sink has had out of quarantine, or has in a sealed batch.
struct UnderWay {
    entry: i64,
    object_id: i64,
    place: u64,
}

/// Copies what is under way. A sealed batch that brings such records now fills a gap. It is committed if its sink has
/// all of it, and else taken back, like every batch that an older program sealed.
///
/// # Errors
/// The checksum of a row is wrong.
pub(super) fn take_over(connection: &Connection) -> Result<(), StoreError> {
    let under_way: Vec<UnderWay> = connection
        .prepare(
            "SELECT quarantine.id, object.id, place FROM quarantine
             JOIN object ON object.bucket = quarantine.bucket AND object.key = quarantine.key
             WHERE place IS NOT NULL AND (EXISTS (SELECT 1 FROM redelivered WHERE quarantine_id = quarantine.id)
                                          OR EXISTS (SELECT 1 FROM batch_part WHERE redelivers = quarantine.id))",
        )?
        .query_map([], |row| Ok(UnderWay { entry: row.get(0)?, object_id: row.get(1)?, place: count(row.get(2)?) }))?
        .collect::<Result<_, _>>()?;
    for record in &under_way {
        open(connection, record)?;
    }
    fill(connection)?;
    connection.execute_batch(
        "DROP TABLE redelivered; DROP INDEX batch_part_redelivers; ALTER TABLE batch_part DROP COLUMN redelivers;",
    )?;
    Ok(())
}

/// Adds the record to the gap of each sink that has passed it and not had it.
fn open(connection: &Connection, record: &UnderWay) -> Result<(), StoreError> {
    let UnderWay { entry, object_id, place } = *record;
    let had: BTreeSet<String> = connection
        .prepare_cached("SELECT sink FROM redelivered WHERE quarantine_id = ?1")?
        .query_map([entry], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let sinks: Vec<String> = connection
        .prepare_cached(
            "SELECT sink FROM cursor WHERE object_id = ?1 UNION SELECT sink FROM batch_part WHERE object_id = ?1",
        )?
        .query_map([object_id], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for sink in sinks.iter().filter(|sink| !had.contains(*sink)) {
        let stood = SinkRow::find(connection, object_id, sink)?;
        if batches::passed(connection, object_id, sink)?.max(stood.accepted) <= place {
            continue;
        }
        SinkRow { gap: stood.gap + 1, read: None, ..stood }.save(connection, object_id, sink)?;
        insert(connection, Owner::Gap { object_id, sink }, place)?;
    }
    insert(connection, Owner::Requeued { object_id }, place)
}

fn insert(connection: &Connection, owner: Owner<'_>, place: u64) -> Result<(), StoreError> {
    let mut places = places::load(connection, owner, place..=place)?;
    places.insert(place);
    places::save(connection, owner, &mut places)
}

/// Makes each sealed part that brings such a record fill the record's place. If the record was purged, the part fills
/// nothing.
fn fill(connection: &Connection) -> Result<(), StoreError> {
    let mut statement = connection.prepare(&format!(
        "SELECT sink, lane, seq, ord, object_id, batch_part.etag, batch_part.last_modified_ms, pieces, batch_part.sum,
                redelivers, (SELECT place FROM quarantine WHERE quarantine.id = redelivers), {ADVANCE}
         FROM batch_part JOIN object ON object.id = object_id WHERE redelivers IS NOT NULL"
    ))?;
    let rows = statement.query_map([], |row| {
        let lane = Lane { sink: row.get::<_, String>(0)?.into(), number: row.get(1)? };
        let part = SealedPart {
            advance: advance(row, 11)?,
            etag: row.get::<_, String>(5)?.into(),
            last_modified_ms: row.get(6)?,
            pieces: unpacked(&row.get::<_, Vec<u8>>(7)?),
        };
        let key: (i64, i64, i64) = (row.get(2)?, row.get(3)?, row.get(4)?);
        Ok((lane, key, part, row.get(8)?, row.get(9)?, row.get::<_, Option<i64>>(10)?))
    })?;
    for (lane, (seq, ord, object_id), mut part, sum, redelivers, place) in rows.collect::<Result<Vec<_>, _>>()? {
        batches::part_sum_before(&lane, count(seq), object_id, &part, redelivers)
            .verify(sum, || format!("a sealed batch of sink {}", lane.sink))?;
        if let Some(place) = place.map(count) {
            part.advance = Advance::fill(part.advance.object, Ranges::from(place..place + 1));
        }
        connection
            .prepare_cached("DELETE FROM batch_part WHERE sink = ?1 AND lane = ?2 AND seq = ?3 AND ord = ?4")?
            .execute(params![&*lane.sink, lane.number, seq, ord])?;
        batches::insert_part(connection, &lane, count(seq), ord, object_id, &part)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::batch::{Form, Manifest, PieceMark, RequestLimits};
    use crate::checkpoint::conformance::{commit, lane, object};
    use crate::checkpoint::sqlite::rows::{ObjectRow, int};
    use crate::checkpoint::sqlite::schema::{MIGRATIONS, lanes};
    use crate::checkpoint::{OpenError, SqliteStore, Store};
    use crate::delta::{Places, Progress};

    /// Stores a sealed batch in the old layout: each part with the quarantine entry whose record it brings.
    fn write_batch(connection: &Connection, sink: &str, object_id: i64, parts: &[(Advance, Option<i64>)]) {
        let pieces = vec![PieceMark { to: 5, bytes: 9, hash: [7; 32] }];
        let part = |(advance, _): &(Advance, _)| SealedPart {
            advance: advance.clone(),
            etag: "e1".into(),
            last_modified_ms: None,
            pieces: pieces.clone(),
        };
        let (id, encoder) = (sink.into(), "older".into());
        let (sealed, limits) = (parts.iter().map(part).collect(), RequestLimits::WHOLE);
        let manifest = Manifest { id, seq: 1, encoder, limits, parts: sealed };
        batches::insert_row_before(connection, &lane(sink), &manifest).unwrap();
        for ((part, (_, redelivers)), ord) in manifest.parts.iter().zip(parts).zip(0..) {
            batches::insert_part(connection, &lane(sink), 1, ord, object_id, part).unwrap();
            let sum = batches::part_sum_before(&lane(sink), 1, object_id, part, *redelivers).value();
            let note = "UPDATE batch_part SET redelivers = ?1, sum = ?2 WHERE sink = ?3 AND ord = ?4";
            connection.execute(note, params![redelivers, sum, sink, ord]).unwrap();
        }
    }

    /// Writes an object with five accepted records. Sinks `a` and `b` have passed all of them, `c` two, `d` one and, in
    /// a sealed batch, the others. In quarantine are the records at places 3, 4 and 0. Place 3 was requeued: `a` has
    /// had it, and a sealed batch brings it to `b`. Place 4 was just requeued. Place 0 was refused again after `a` had
    /// had it.
    fn write_store(connection: &Connection) {
        let progress = Progress { accepted: 5, content_records: 5, ..Progress::default() };
        let mut row = ObjectRow { progress, state: "whole".to_owned(), read: 1, ..ObjectRow::new("dbx") };
        row.save(connection, &object()).unwrap();
        for (sink, accepted) in [("a", 5), ("b", 5), ("c", 2), ("d", 1)] {
            SinkRow { accepted, gap: 0, read: Some(1) }.save(connection, row.id, sink).unwrap();
        }
        for (id, place, request) in [(1, 3, Some(1)), (2, 4, Some(2)), (3, 0, None)] {
            let entry = "INSERT INTO quarantine (id, feed, kind, bucket, key, place, ordinal, occurrence, hash, reason, at_ms, request)
                         VALUES (?1, 'dbx', 'record', ?2, ?3, ?4, ?4, 0, zeroblob(32), 'no JSON', 1, ?5)";
            let object = object();
            connection.execute(entry, params![id, &*object.bucket, &*object.key, int(place), request]).unwrap();
        }
        connection.execute("INSERT INTO redelivered VALUES (1, 'a'), (3, 'a')", []).unwrap();
        let onward = |before, after| Advance::onward(object(), before, after);
        write_batch(connection, "b", row.id, &[(onward(5, 5), Some(1)), (onward(5, 5), Some(99))]);
        write_batch(connection, "d", row.id, &[(onward(1, 5), None)]);
    }

    fn opened(change: &str) -> (tempfile::TempDir, Result<Store, OpenError>) {
        let directory = tempfile::tempdir().unwrap();
        let raw = Connection::open(directory.path().join("checkpoints.sqlite")).unwrap();
        let steps = MIGRATIONS.iter().position(|step| *step == STEP).unwrap();
        for step in &MIGRATIONS[..steps] {
            raw.execute_batch(step).unwrap();
            if *step == lanes::STEP {
                lanes::take_over(&raw).unwrap();
            }
        }
        raw.pragma_update(None, "user_version", u32::try_from(steps).unwrap()).unwrap();
        write_store(&raw);
        raw.execute_batch(change).unwrap();
        drop(raw);
        let store = SqliteStore::open(directory.path(), 0).map(Store::new);
        (directory, store)
    }

    fn held(mut places: Places) -> Vec<u64> {
        (0..9).filter(|place| places.contains(*place)).collect()
    }

    /// Each sink's gap, and the reading that it was last offered whole.
    async fn stand(store: &Store) -> Vec<(Vec<u64>, Option<u64>)> {
        let sinks = ["a", "b", "c", "d"].map(Arc::from);
        let sinks = store.positions.position(&object(), &sinks).await.unwrap().sinks;
        sinks.into_iter().map(|sink| (held(sink.gap), sink.read)).collect()
    }

    #[tokio::test]
    async fn what_was_on_its_way_out_of_quarantine_is_lacked_by_who_has_passed_it_and_not_had_it() {
        let (_directory, store) = opened("");
        let store = store.unwrap();
        let lacking = |places: &[u64]| (places.to_vec(), None);
        assert_eq!(stand(&store).await, [(vec![], Some(1)), lacking(&[0, 3]), lacking(&[0]), lacking(&[0, 3])]);
        let places = store.quarantine.quarantined_places(&object(), 0).await.unwrap();
        assert_eq!((held(places.closed), held(places.withheld)), (vec![4], vec![0]));
        assert!(places.listed.into_iter().eq([3]));
        let sealed = store.positions.sealed(&lane("b")).await.unwrap().remove(0);
        let forms: Vec<Form> = sealed.manifest().parts.iter().map(|part| part.advance.form.clone()).collect();
        let nothing = Form::Onward { gap: Ranges::default() };
        assert_eq!(forms, [Form::Fill { places: (3..4).into() }, nothing], "one record was purged");
        store.quarantine.open_requeued(object()).await.unwrap();
        assert_eq!(stand(&store).await, [lacking(&[4]), lacking(&[0, 3, 4]), lacking(&[0]), lacking(&[0, 3, 4])]);
        commit(&store, &sealed).await;
        assert_eq!(stand(&store).await[1], lacking(&[0, 4]));
        let sealed = store.positions.sealed(&lane("d")).await.unwrap().remove(0);
        store.positions.commit_not_had(&sealed, 5).await.unwrap();
        assert_eq!(stand(&store).await[3], lacking(&[0, 1, 2, 3, 4]), "it has had none");
    }

    #[test]
    fn a_sealed_part_that_is_not_what_was_written_is_told() {
        let (_directory, store) = opened("UPDATE batch_part SET etag = 'e2' WHERE redelivers = 1");
        assert!(matches!(store, Err(OpenError::Corrupt { .. })));
    }
}

//! The accepted fingerprints of an object, packed into stretches. New fingerprints are appended as rows. When a stretch
//! is full and has many rows, they are merged into one. So an object of a million records writes its fingerprints once,
//! an object that grows by single records writes them twice, and no part rewrites a whole stretch.

use rusqlite::{Connection, params};

use super::rows::{Sum, count, int};
use crate::checkpoint::StoreError;
use crate::delta::Fingerprint;

/// How many fingerprints a full stretch holds. Each stretch begins at a multiple of this number.
const STRETCH_MAX: u64 = 4096;

/// A stretch with more rows than this is merged once it is full, or once its object was read to its end.
const ROWS_MAX: u64 = 32;

/// About how many fingerprints are read at once.
const READ_AT_ONCE: usize = 65_536;

fn sum_of(object_id: i64, first: i64, packed: &[u8]) -> Sum {
    Sum::of("fingerprints").int(object_id).int(first).bytes(packed)
}

fn insert(connection: &Connection, object_id: i64, first: u64, packed: &[u8]) -> Result<(), StoreError> {
    let sum = sum_of(object_id, int(first), packed).value();
    connection
        .prepare_cached("INSERT INTO fingerprints (object_id, first, packed, sum) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![object_id, int(first), packed, sum])?;
    Ok(())
}

/// Appends fingerprints to an object's. `first` is the number that it has already.
pub(super) fn append(
    connection: &Connection,
    object_id: i64,
    mut first: u64,
    mut fingerprints: &[Fingerprint],
) -> Result<(), StoreError> {
    while !fingerprints.is_empty() {
        let room = STRETCH_MAX - first % STRETCH_MAX;
        let (some, rest) = fingerprints.split_at(fingerprints.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
        let packed: Vec<u8> = some.iter().flat_map(|fingerprint| fingerprint.0).collect();
        insert(connection, object_id, first, &packed)?;
        if some.len() as u64 == room && room < STRETCH_MAX {
            merge(connection, object_id, first, ROWS_MAX)?;
        }
        first += some.len() as u64;
        fingerprints = rest;
    }
    Ok(())
}

/// Merges the last stretch of an object that was read to its end.
pub(super) fn tidy(connection: &Connection, object_id: i64, accepted: u64) -> Result<(), StoreError> {
    if accepted == 0 { Ok(()) } else { merge(connection, object_id, accepted - 1, ROWS_MAX) }
}

/// Merges the stretch with fingerprint number `place` into one row, if it has more than `rows_max`.
fn merge(connection: &Connection, object_id: i64, place: u64, rows_max: u64) -> Result<(), StoreError> {
    let from = place - place % STRETCH_MAX;
    let stretch = params![object_id, int(from), int(from + STRETCH_MAX)];
    let mut pieces = connection
        .prepare_cached("SELECT count(*) FROM fingerprints WHERE object_id = ?1 AND first >= ?2 AND first < ?3")?;
    if count(pieces.query_row(stretch, |row| row.get(0))?) <= rows_max {
        return Ok(());
    }
    let mut statement = connection.prepare_cached(
        "SELECT first, packed, sum FROM fingerprints WHERE object_id = ?1 AND first >= ?2 AND first < ?3 ORDER BY first",
    )?;
    let mut whole = Vec::new();
    let mut rows = statement.query(stretch)?;
    while let Some(row) = rows.next()? {
        whole.extend_from_slice(verified(object_id, row)?.1);
    }
    drop(rows);
    connection
        .prepare_cached("DELETE FROM fingerprints WHERE object_id = ?1 AND first >= ?2 AND first < ?3")?
        .execute(stretch)?;
    insert(connection, object_id, from, &whole)
}

/// The number of a row's first fingerprint, and all of its fingerprints. Checks the row's checksum.
fn verified<'r>(object_id: i64, row: &'r rusqlite::Row<'_>) -> Result<(i64, &'r [u8]), StoreError> {
    let first: i64 = row.get(0)?;
    let packed = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
    sum_of(object_id, first, packed)
        .verify(row.get(2)?, || format!("the fingerprints of object {object_id} from {first}"))?;
    Ok((first, packed))
}

/// Whether these are the object's fingerprints from number `first` on.
pub(super) fn stand(
    connection: &Connection,
    object_id: i64,
    first: u64,
    fingerprints: &[Fingerprint],
) -> Result<bool, StoreError> {
    Ok(read_at_least(connection, object_id, first, fingerprints.len())?.starts_with(fingerprints))
}

/// Fingerprints in order, beginning with number `from`. It may return fewer than there are, but none only if there are
/// no more.
pub(super) fn read(connection: &Connection, object_id: i64, from: u64) -> Result<Vec<Fingerprint>, StoreError> {
    read_at_least(connection, object_id, from, READ_AT_ONCE)
}

/// Like [`read`], with at least `wanted` fingerprints if there are as many. Reads no more rows than that takes.
fn read_at_least(
    connection: &Connection,
    object_id: i64,
    from: u64,
    wanted: usize,
) -> Result<Vec<Fingerprint>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT first, packed, sum FROM fingerprints WHERE object_id = ?1 AND first >= coalesce(
             (SELECT max(first) FROM fingerprints WHERE object_id = ?1 AND first <= ?2), ?2)
         ORDER BY first",
    )?;
    let mut rows = statement.query(params![object_id, int(from)])?;
    let (mut found, mut next) = (Vec::new(), from);
    while let Some(row) = rows.next()?
        && found.len() < wanted
    {
        let (first, packed) = verified(object_id, row)?;
        let skipped = usize::try_from(next.saturating_sub(count(first))).unwrap_or(usize::MAX);
        found.extend(packed.as_chunks::<16>().0.iter().skip(skipped).copied().map(Fingerprint));
        next = next.max(count(first) + packed.len() as u64 / 16);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(number: u64) -> Fingerprint {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Fingerprint(bytes)
    }

    fn table() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE TABLE fingerprints (object_id INTEGER NOT NULL, first INTEGER NOT NULL, packed BLOB NOT NULL,
                 sum INTEGER NOT NULL, PRIMARY KEY (object_id, first)) STRICT",
            )
            .unwrap();
        connection
    }

    fn rows(connection: &Connection) -> Vec<(i64, i64)> {
        let mut statement =
            connection.prepare("SELECT first, length(packed) / 16 FROM fingerprints ORDER BY first").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn append_many(connection: &Connection, steps: &[u64]) -> u64 {
        let mut at = 0;
        for step in steps {
            let some: Vec<Fingerprint> = (at..at + step).map(fingerprint).collect();
            append(connection, 7, at, &some).unwrap();
            at += step;
        }
        at
    }

    #[test]
    fn a_full_stretch_of_many_rows_becomes_one_and_others_stay_as_they_were_appended() {
        let connection = table();
        let mut steps = vec![100; 41];
        steps.extend([5000, 4]);
        append_many(&connection, &steps);
        assert_eq!(rows(&connection), [(0, 4096), (4096, 4), (4100, 4092), (8192, 908), (9100, 4)]);
    }

    #[test]
    fn what_was_appended_in_many_pieces_becomes_one_row_at_the_end() {
        let connection = table();
        let accepted = append_many(&connection, &[1; 40]);
        tidy(&connection, 7, accepted).unwrap();
        assert_eq!(rows(&connection), [(0, 40)]);
        append(&connection, 7, 40, &[fingerprint(40)]).unwrap();
        tidy(&connection, 7, 41).unwrap();
        assert_eq!(rows(&connection), [(0, 40), (40, 1)], "not for a single piece");
    }

    #[test]
    fn all_are_read_from_any_number_on_however_they_came() {
        let connection = table();
        let accepted = append_many(&connection, &[1, 2, 5000, 3, 100_000, 4096, 1]);
        for from in [0, 1, 2, 4095, 4096, 5002, accepted - 1, accepted] {
            let (mut found, mut at): (Vec<Fingerprint>, u64) = (Vec::new(), from);
            loop {
                found.extend(read(&connection, 7, at).unwrap());
                if from + found.len() as u64 == at {
                    break;
                }
                at = from + found.len() as u64;
            }
            assert_eq!(found, (from..accepted).map(fingerprint).collect::<Vec<_>>(), "from {from}");
        }
    }

    #[test]
    fn a_row_that_is_not_what_was_written_is_refused() {
        let connection = table();
        append_many(&connection, &[10]);
        connection.execute("UPDATE fingerprints SET packed = zeroblob(160)", []).unwrap();
        assert!(matches!(read(&connection, 7, 0), Err(StoreError::Corrupt { .. })));
    }
}

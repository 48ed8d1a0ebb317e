//! Requeue requests: what operators asked to try again, and what became of it.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::refused::bounded;
use super::rows::{ObjectRow, count, int};
use super::unrouted;
use crate::checkpoint::{Asked, Replacement, Request, StoreError};
use crate::notification::ObjectId;

/// Requests with numbers above `after`, in their order, at most `most`.
pub(super) fn requests(connection: &Connection, after: u64, most: usize) -> Result<Vec<Request>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT request, id, kind, bucket, key, feed FROM quarantine
         WHERE request > ?1 ORDER BY request LIMIT ?2",
    )?;
    let rows = statement.query_map(params![int(after), int(most as u64)], |row| {
        let text = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<String>>(column)?.unwrap_or_default());
        let object = ObjectId::new(text(3)?, text(4)?);
        let asked = match row.get::<_, String>(2)?.as_str() {
            "record" | "event" => Asked::Record { object },
            "object" => Asked::Object { object },
            _ => Asked::Message { queue: row.get::<_, String>(5)?.into() },
        };
        Ok(Request { number: count(row.get(0)?), id: count(row.get(1)?), asked })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The compressed body of an entry. `None` if it was not kept.
pub(super) fn body(connection: &Connection, id: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT body_zstd FROM quarantine WHERE id = ?1")?;
    Ok(statement.query_row([int(id)], |row| row.get(0)).optional()?.flatten())
}

/// Ends these requests. The entries stay in quarantine, each with its new reason.
pub(super) fn refuse_again(connection: &Connection, refused: &[(u64, String)]) -> Result<(), StoreError> {
    let mut statement = connection
        .prepare_cached("UPDATE quarantine SET request = NULL, reason = ?2 WHERE id = ?1 AND request IS NOT NULL")?;
    for (id, reason) in refused {
        statement.execute(params![int(*id), bounded(reason)])?;
    }
    Ok(())
}

/// Makes a damaged object count as not read.
pub(super) fn reconsider(connection: &Connection, object: &ObjectId) -> Result<(), StoreError> {
    if let Some(mut row) = ObjectRow::find(connection, object)?
        && row.state == "damaged"
    {
        row.state = "reading".to_owned();
        row.save(connection, object)?;
    }
    Ok(())
}

/// Removes the entries of requests for the whole object. Returns how many there were.
pub(super) fn settle(connection: &Connection, object: &ObjectId) -> Result<u64, StoreError> {
    let settled = connection
        .prepare_cached(
            "DELETE FROM quarantine WHERE bucket = ?1 AND key = ?2 AND kind = 'object' AND request IS NOT NULL",
        )?
        .execute(params![&*object.bucket, &*object.key])?;
    Ok(settled as u64)
}

/// Replaces a message by what it names.
pub(super) fn replace_message(connection: &Connection, replacement: &Replacement) -> Result<(), StoreError> {
    let Replacement { id, names, unrouted, most, still, now_ms } = replacement;
    let mut asked = connection.prepare_cached("SELECT 1 FROM quarantine WHERE id = ?1 AND request IS NOT NULL")?;
    if !asked.exists([int(*id)])? {
        return Ok(());
    }
    let mut known = connection
        .prepare_cached("UPDATE quarantine SET request = ?3 WHERE bucket = ?1 AND key = ?2 AND kind = 'object'")?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO quarantine (feed, kind, bucket, key, reason, at_ms, request)
         VALUES (?1, 'object', ?2, ?3, 'named by a message that was requeued', ?4, ?5)",
    )?;
    for (feed, object) in names {
        let request = int(next_request(connection)?);
        if known.execute(params![&*object.bucket, &*object.key, request])? == 0 {
            insert.execute(params![&**feed, &*object.bucket, &*object.key, now_ms, request])?;
        }
    }
    let kept = unrouted::remember(connection, unrouted, *most, *now_ms)?;
    let has_room = kept.iter().all(Option::is_some);
    let no_room = "names objects that no feed takes, and no more names are kept";
    match still.as_deref().or((!has_room).then_some(no_room)) {
        Some(reason) => connection
            .prepare_cached("UPDATE quarantine SET request = NULL, reason = ?2 WHERE id = ?1")?
            .execute(params![int(*id), bounded(reason)])?,
        None => connection.prepare_cached("DELETE FROM quarantine WHERE id = ?1")?.execute([int(*id)])?,
    };
    Ok(())
}

/// Takes the number of a new request.
pub(super) fn next_request(connection: &Connection) -> Result<u64, StoreError> {
    connection.prepare_cached("UPDATE meta SET value = value + 1 WHERE key = 'requests'")?.execute([])?;
    last_request(connection)
}

/// The number of the last request.
pub(super) fn last_request(connection: &Connection) -> Result<u64, StoreError> {
    let number: String = connection.query_row("SELECT value FROM meta WHERE key = 'requests'", [], |row| row.get(0))?;
    number.parse().map_err(|_| StoreError::Corrupt { row: "the number of requests".to_owned() })
}

/// Whether anything of the object is requeued.
pub(super) fn is_requeued(connection: &Connection, object: &ObjectId) -> Result<bool, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT 1 FROM quarantine WHERE bucket = ?1 AND key = ?2 AND request IS NOT NULL")?;
    Ok(statement.exists(params![&*object.bucket, &*object.key])?)
}

/// Ends the requests for records of the object whose bytes are not kept. The entries stay in quarantine, with this
/// reason.
pub(super) fn refuse_object(connection: &Connection, object: &ObjectId, reason: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE quarantine SET request = NULL, reason = ?3
             WHERE bucket = ?1 AND key = ?2 AND request IS NOT NULL AND body_zstd IS NULL",
        )?
        .execute(params![&*object.bucket, &*object.key, bounded(reason)])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::conformance::deliver;
    use crate::checkpoint::conformance::quarantine::{accepting, entries_of};
    use crate::checkpoint::sqlite::schema::MIGRATIONS;
    use crate::checkpoint::{Entry, Inspection, OpenError, Selection, SqliteStore, Store};

    fn entries(directory: &tempfile::TempDir) -> Vec<Entry> {
        Inspection::look(directory.path()).unwrap().newest(&Selection::default(), 1000).unwrap().0
    }

    #[tokio::test]
    async fn what_was_quarantined_without_limits_counts_against_them() {
        let directory = tempfile::tempdir().unwrap();
        let raw = Connection::open(directory.path().join("checkpoints.sqlite")).unwrap();
        let before = MIGRATIONS.iter().position(|step| step.contains("quarantine_further")).unwrap();
        MIGRATIONS[..before].iter().for_each(|step| raw.execute_batch(step).unwrap());
        raw.pragma_update(None, "user_version", u32::try_from(before).unwrap()).unwrap();
        let insert = "INSERT INTO quarantine (feed, kind, bucket, key, place, reason, at_ms)
                      VALUES ('dbx', 'record', 'logs', 'a.json', ?1, 'no JSON', 1)";
        (0..5).for_each(|place| _ = raw.execute(insert, [place]).unwrap());
        drop(raw);
        let store = Store::new(SqliteStore::open(directory.path(), entries_of(100, 3)).unwrap());
        assert_eq!(store.quarantine.quarantine_size().await.unwrap().entries("record"), 5);
        deliver(&store, "a", vec![accepting(&["!one", "!two"])]).await;
        assert_eq!(entries(&directory).len(), 6);
        assert_eq!(store.quarantine.quarantine_size().await.unwrap().entries("record"), 7);
    }

    #[tokio::test]
    async fn what_the_first_version_quarantined_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let raw = Connection::open(directory.path().join("checkpoints.sqlite")).unwrap();
        raw.execute_batch(MIGRATIONS[0]).unwrap();
        raw.execute_batch(
            "INSERT INTO quarantine (feed, kind, bucket, key, ordinal, byte_offset, reason, body_zstd, at_ms)
             VALUES ('dbx', 'record', 'logs', 'a.json', 3, 40, 'no JSON', x'0102', 9); PRAGMA user_version = 1",
        )
        .unwrap();
        drop(raw);
        let looked = Inspection::look(directory.path());
        assert!(matches!(looked, Err(OpenError::Older { found: 1, .. })));
        let store = Store::new(SqliteStore::open(directory.path(), 1000).unwrap());
        assert_eq!(store.quarantine.quarantine_size().await.unwrap().kinds[3], ("record".to_owned(), 1, 2));
        let entry = Inspection::look(directory.path()).unwrap().entry(1).unwrap().unwrap();
        assert_eq!((entry.ordinal, entry.offset, entry.at_ms, entry.can_requeue), (Some(3), Some(40), 9, false));
        assert_eq!(
            Inspection::change(directory.path()).unwrap().requeue(&[1]).unwrap(),
            [1],
            "what that takes was not kept"
        );
    }
}

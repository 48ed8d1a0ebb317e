//! The migration that makes room in the quarantine for events that a receiver refuses for ever.

/// Creates the quarantine table again, since its constraint lists the kinds. Numbers stay as they are, and are not
/// reused. The places of further records are copied first, since dropping the table would delete them.
pub(super) const STEP: &str = "
CREATE TABLE quarantine_further_before AS SELECT * FROM quarantine_further;
DROP TABLE quarantine_further;
CREATE TABLE quarantined (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    feed TEXT NOT NULL,
    -- Of an event: which sink's.
    sink TEXT,
    kind TEXT NOT NULL CHECK (kind IN ('record', 'object', 'message', 'event')),
    bucket TEXT,
    key TEXT,
    etag TEXT,
    last_modified_ms INTEGER,
    ordinal INTEGER,
    byte_offset INTEGER,
    place INTEGER,
    occurrence INTEGER,
    hash BLOB,
    -- Of an event: which of its record's, its identity, and what an envelope says of it besides.
    event_index INTEGER,
    uid BLOB,
    head BLOB,
    reason TEXT NOT NULL,
    body_zstd BLOB,
    at_ms INTEGER NOT NULL,
    -- The number of the request to try it again; none while nobody asks.
    request INTEGER,
    further INTEGER
) STRICT;
INSERT INTO quarantined (id, feed, sink, kind, bucket, key, etag, last_modified_ms, ordinal, byte_offset, place, occurrence,
                         hash, reason, body_zstd, at_ms, request, further)
    SELECT id, feed, sink, kind, bucket, key, etag, last_modified_ms, ordinal, byte_offset, place, occurrence, hash, reason,
           body_zstd, at_ms, request, further FROM quarantine;
DELETE FROM sqlite_sequence WHERE name = 'quarantined';
INSERT INTO sqlite_sequence (name, seq) SELECT 'quarantined', seq FROM sqlite_sequence WHERE name = 'quarantine';
DROP TABLE quarantine;
ALTER TABLE quarantined RENAME TO quarantine;
CREATE INDEX quarantine_place ON quarantine (bucket, key, place);
CREATE INDEX quarantine_request ON quarantine (request) WHERE request IS NOT NULL;
CREATE INDEX quarantine_requested ON quarantine (bucket, key, id) WHERE request IS NOT NULL;
CREATE UNIQUE INDEX quarantine_further_of_object ON quarantine (kind, bucket, key, coalesce(sink, ''))
    WHERE further IS NOT NULL AND bucket IS NOT NULL;
CREATE UNIQUE INDEX quarantine_further_of_feed ON quarantine (kind, feed) WHERE further IS NOT NULL AND bucket IS NULL;
CREATE TABLE quarantine_further (
    quarantine_id INTEGER NOT NULL REFERENCES quarantine (id) ON DELETE CASCADE,
    stretch INTEGER NOT NULL,
    packed BLOB NOT NULL,
    sum INTEGER NOT NULL,
    PRIMARY KEY (quarantine_id, stretch)
) STRICT, WITHOUT ROWID;
INSERT INTO quarantine_further SELECT * FROM quarantine_further_before;
DROP TABLE quarantine_further_before;

INSERT INTO quarantine_size (kind, entries, body_bytes) VALUES ('event', 0, 0);
CREATE TRIGGER quarantine_in AFTER INSERT ON quarantine BEGIN
    UPDATE quarantine_size
    SET entries = entries + coalesce(new.further, 1), listed = listed + (new.further IS NULL),
        many = many + (new.further IS NOT NULL), body_bytes = body_bytes + coalesce(length(new.body_zstd), 0)
    WHERE kind = new.kind;
END;
CREATE TRIGGER quarantine_out AFTER DELETE ON quarantine BEGIN
    UPDATE quarantine_size
    SET entries = entries - coalesce(old.further, 1), listed = listed - (old.further IS NULL),
        many = many - (old.further IS NOT NULL), body_bytes = body_bytes - coalesce(length(old.body_zstd), 0)
    WHERE kind = old.kind;
END;
CREATE TRIGGER quarantine_counts AFTER UPDATE OF further ON quarantine BEGIN
    UPDATE quarantine_size SET entries = entries + coalesce(new.further, 1) - coalesce(old.further, 1)
    WHERE kind = new.kind;
END;

-- The places of an object's records of which a sink lacks events that were requeued out of quarantine. They are in its gap.
CREATE TABLE requeued_event (
    object_id INTEGER NOT NULL REFERENCES object (id) ON DELETE CASCADE,
    sink TEXT NOT NULL,
    stretch INTEGER NOT NULL,
    packed BLOB NOT NULL,
    sum INTEGER NOT NULL,
    PRIMARY KEY (object_id, sink, stretch)
) STRICT, WITHOUT ROWID;
";

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, params};

    use super::*;
    use crate::checkpoint::conformance::quarantine::accepting;
    use crate::checkpoint::conformance::{deliver, object};
    use crate::checkpoint::sqlite::places::{self, Owner};
    use crate::checkpoint::sqlite::schema::{MIGRATIONS, lanes, requeued};
    use crate::checkpoint::{Entry, Inspection, Selection, SqliteStore, Store};
    use crate::delta::Places;

    /// A store of the version before, with records, an object and a message in quarantine. The last entry number is 9,
    /// and that entry was purged.
    fn write_store(connection: &Connection) {
        let steps = MIGRATIONS.iter().position(|step| *step == STEP).unwrap();
        for step in &MIGRATIONS[..steps] {
            connection.execute_batch(step).unwrap();
            match *step {
                lanes::STEP => lanes::take_over(connection).unwrap(),
                requeued::STEP => requeued::take_over(connection).unwrap(),
                _ => {}
            }
        }
        connection.pragma_update(None, "user_version", u32::try_from(steps).unwrap()).unwrap();
        let object = object();
        let insert =
            "INSERT INTO quarantine (id, feed, kind, bucket, key, place, ordinal, hash, reason, body_zstd, at_ms,
                                              request, further)
                      VALUES (?1, 'dbx', ?2, ?3, ?4, ?5, ?5, zeroblob(32), 'no JSON', ?6, ?7, ?8, ?9)";
        for (id, kind, place, body, request, further) in [
            (2, "record", Some(4), Some(vec![1_u8, 2]), None, None),
            (3, "record", None, None, Some(5), Some(2)),
            (5, "object", None, None, None, None),
            (7, "message", None, Some(vec![3]), None, None),
            (9, "object", None, None, None, None),
        ] {
            let (bucket, key) = (&*object.bucket, format!("{}{}", object.key, if kind == "object" { id } else { 0 }));
            connection.execute(insert, params![id, kind, bucket, key, place, body, id * 10, request, further]).unwrap();
        }
        let mut further = Places::default();
        assert!(further.insert(8) && further.insert(40_000));
        places::save(connection, Owner::Entry(3), &mut further).unwrap();
        connection.execute("DELETE FROM quarantine WHERE id = 9", []).unwrap();
    }

    #[tokio::test]
    async fn what_is_in_quarantine_stays_as_it_is_and_no_number_is_given_again() {
        let directory = tempfile::tempdir().unwrap();
        let raw = Connection::open(directory.path().join("checkpoints.sqlite")).unwrap();
        raw.pragma_update(None, "foreign_keys", true).unwrap();
        write_store(&raw);
        let rows = |raw: &Connection| -> Vec<String> {
            let mut statement = raw
                .prepare("SELECT concat_ws('|', id, kind, key, place, hex(body_zstd), at_ms, request, further) FROM quarantine ORDER BY id")
                .unwrap();
            statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        let before = rows(&raw);
        drop(raw);
        let store = Store::new(SqliteStore::open(directory.path(), 1000).unwrap());
        let raw = Connection::open(directory.path().join("checkpoints.sqlite")).unwrap();
        assert_eq!((rows(&raw), before.len()), (before.clone(), 4));
        let mut further = places::load(&raw, Owner::Entry(3), 0..=u64::MAX).unwrap();
        assert!(further.contains(8) && further.contains(40_000));
        let size = store.quarantine.quarantine_size().await.unwrap();
        let kinds = [("event", 0, 0), ("message", 1, 1), ("object", 1, 0), ("record", 3, 2)];
        assert_eq!(size.kinds, kinds.map(|(kind, entries, bytes)| (kind.to_owned(), entries, bytes)));
        deliver(&store, "a", vec![accepting(&["!one"])]).await;
        let newest = || Inspection::look(directory.path()).unwrap().newest(&Selection::default(), 99).unwrap().0;
        assert_eq!(newest().iter().map(|entry: &Entry| entry.id).collect::<Vec<_>>(), [2, 3, 5, 7, 10]);
        assert!(Inspection::change(directory.path()).unwrap().purge(&[3]).unwrap().is_empty());
        assert!(places::load(&raw, Owner::Entry(3), 0..=u64::MAX).unwrap().is_empty(), "they go with their entry");
        assert_eq!(store.quarantine.quarantine_size().await.unwrap().kinds[3], ("record".to_owned(), 2, 12));
    }

    #[test]
    fn a_store_whose_quarantine_was_never_used_begins_its_numbers_at_one() {
        let directory = tempfile::tempdir().unwrap();
        drop(SqliteStore::open(directory.path(), 1000).unwrap());
        let raw = Connection::open(directory.path().join("checkpoints.sqlite")).unwrap();
        let insert = "INSERT INTO quarantine (feed, kind, reason, at_ms) VALUES ('dbx', 'event', 'no', 1) RETURNING id";
        assert_eq!(raw.query_row(insert, [], |row| row.get::<_, i64>(0)).unwrap(), 1);
    }
}

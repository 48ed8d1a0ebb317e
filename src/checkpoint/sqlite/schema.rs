//! The checkpoint store's tables, and the migration of older stores.

mod events;

mod lanes;

mod requeued;

use rusqlite::Connection;

use super::OpenError;
use crate::checkpoint::StoreError;

/// The migrations. Step `n` turns a store of version `n` into one of version `n + 1`. Steps are appended and never
/// changed.
pub(super) const MIGRATIONS: &[&str] = &[
    "
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What is known of an object: its last version read whole, and how much of it was accepted.
CREATE TABLE object (
    id INTEGER PRIMARY KEY,
    feed TEXT NOT NULL,
    bucket TEXT NOT NULL,
    key TEXT NOT NULL,
    etag TEXT,
    sequencer TEXT,
    accepted INTEGER NOT NULL,
    content_records INTEGER NOT NULL,
    content_bytes INTEGER NOT NULL,
    digest BLOB NOT NULL,
    in_order INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('reading', 'whole', 'damaged')),
    changed_at_ms INTEGER NOT NULL,
    sum INTEGER NOT NULL,
    UNIQUE (bucket, key)
) STRICT;
CREATE INDEX object_changed ON object (changed_at_ms);

-- The accepted records' fingerprints in order, 16 bytes each, packed into stretches.
CREATE TABLE fingerprints (
    object_id INTEGER NOT NULL REFERENCES object (id) ON DELETE CASCADE,
    first INTEGER NOT NULL,
    packed BLOB NOT NULL,
    sum INTEGER NOT NULL,
    PRIMARY KEY (object_id, first)
) STRICT;

-- How much of an object's accepted sequence each sink has had.
CREATE TABLE cursor (
    object_id INTEGER NOT NULL REFERENCES object (id) ON DELETE CASCADE,
    sink TEXT NOT NULL,
    accepted INTEGER NOT NULL,
    sum INTEGER NOT NULL,
    PRIMARY KEY (object_id, sink)
) STRICT, WITHOUT ROWID;

-- Where each sink stands in its own sequence of batches and files.
CREATE TABLE lane (
    sink TEXT PRIMARY KEY,
    last_seq INTEGER NOT NULL,
    file_number INTEGER,
    file_len INTEGER,
    file_opened_at_ms INTEGER,
    sum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The batch of each sink that is sealed and not yet committed, and its parts.
CREATE TABLE batch (
    sink TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,
    id TEXT NOT NULL,
    encoder TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    hash BLOB NOT NULL,
    sum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE batch_part (
    sink TEXT NOT NULL REFERENCES batch (sink) ON DELETE CASCADE,
    ord INTEGER NOT NULL,
    object_id INTEGER NOT NULL REFERENCES object (id),
    etag TEXT NOT NULL,
    last_modified_ms INTEGER,
    before INTEGER NOT NULL,
    after INTEGER NOT NULL,
    hash BLOB NOT NULL,
    sum INTEGER NOT NULL,
    PRIMARY KEY (sink, ord)
) STRICT, WITHOUT ROWID;
CREATE INDEX batch_part_object ON batch_part (object_id);

-- Objects whose content a sink has not had, though their messages are settled.
CREATE TABLE owed (
    sink TEXT NOT NULL,
    object_id INTEGER NOT NULL REFERENCES object (id),
    since_ms INTEGER NOT NULL,
    PRIMARY KEY (sink, object_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX owed_since ON owed (sink, since_ms);
CREATE INDEX owed_object ON owed (object_id);

-- What cannot be decoded or is refused for ever: where it was, why, and itself (compressed, bounded).
CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY,
    feed TEXT NOT NULL,
    sink TEXT,
    kind TEXT NOT NULL CHECK (kind IN ('record', 'object', 'message')),
    bucket TEXT,
    key TEXT,
    etag TEXT,
    ordinal INTEGER,
    byte_offset INTEGER,
    reason TEXT NOT NULL,
    body_zstd BLOB,
    at_ms INTEGER NOT NULL
) STRICT;

-- Objects not changed since then were forgotten: a scan that meets one does not take it for new.
CREATE TABLE horizon (
    feed TEXT PRIMARY KEY,
    before_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO meta (key, value) VALUES ('instance', lower(hex(randomblob(8)))), ('epoch', '0');
",
    "
-- What is in quarantine can be tried again: a record by its identity and its place among the accepted ones. Numbers are
-- never given twice, since operators name what they mean by them.
CREATE TABLE quarantined (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    feed TEXT NOT NULL,
    sink TEXT,
    kind TEXT NOT NULL CHECK (kind IN ('record', 'object', 'message')),
    bucket TEXT,
    key TEXT,
    etag TEXT,
    last_modified_ms INTEGER,
    ordinal INTEGER,
    byte_offset INTEGER,
    place INTEGER,
    occurrence INTEGER,
    hash BLOB,
    reason TEXT NOT NULL,
    body_zstd BLOB,
    at_ms INTEGER NOT NULL,
    -- The number of the request to try it again; none while nobody asks.
    request INTEGER
) STRICT;
INSERT INTO quarantined (id, feed, sink, kind, bucket, key, etag, ordinal, byte_offset, reason, body_zstd, at_ms)
    SELECT id, feed, sink, kind, bucket, key, etag, ordinal, byte_offset, reason, body_zstd, at_ms FROM quarantine;
DROP TABLE quarantine;
ALTER TABLE quarantined RENAME TO quarantine;
CREATE INDEX quarantine_place ON quarantine (bucket, key, place);
CREATE INDEX quarantine_request ON quarantine (request) WHERE request IS NOT NULL;
CREATE INDEX quarantine_requested ON quarantine (bucket, key, id) WHERE request IS NOT NULL;
INSERT INTO meta (key, value) VALUES ('requests', '0');

-- Which sinks have had a record out of quarantine.
CREATE TABLE redelivered (
    quarantine_id INTEGER NOT NULL REFERENCES quarantine (id) ON DELETE CASCADE,
    sink TEXT NOT NULL,
    PRIMARY KEY (quarantine_id, sink)
) STRICT, WITHOUT ROWID;
ALTER TABLE batch_part ADD COLUMN redelivers INTEGER;
CREATE INDEX batch_part_redelivers ON batch_part (sink, redelivers) WHERE redelivers IS NOT NULL;

-- How much is in quarantine, whoever puts it there or takes it out.
CREATE TABLE quarantine_size (
    kind TEXT PRIMARY KEY,
    entries INTEGER NOT NULL,
    body_bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO quarantine_size VALUES ('record', 0, 0), ('object', 0, 0), ('message', 0, 0);
UPDATE quarantine_size SET
    entries = (SELECT count(*) FROM quarantine WHERE quarantine.kind = quarantine_size.kind),
    body_bytes = (SELECT coalesce(sum(length(body_zstd)), 0) FROM quarantine
                  WHERE quarantine.kind = quarantine_size.kind);
CREATE TRIGGER quarantine_in AFTER INSERT ON quarantine BEGIN
    UPDATE quarantine_size
    SET entries = entries + 1, body_bytes = body_bytes + coalesce(length(new.body_zstd), 0) WHERE kind = new.kind;
END;
CREATE TRIGGER quarantine_out AFTER DELETE ON quarantine BEGIN
    UPDATE quarantine_size
    SET entries = entries - 1, body_bytes = body_bytes - coalesce(length(old.body_zstd), 0) WHERE kind = old.kind;
END;
",
    "
-- As which family an object was last read to its end.
ALTER TABLE object ADD COLUMN family TEXT;
",
    "
-- The file a sink's position lies in, as it was configured then.
ALTER TABLE lane ADD COLUMN file_path TEXT;
",
    "
-- Whether the version that cannot be read is archived: restored, it has the same entity tag.
ALTER TABLE object ADD COLUMN is_archived INTEGER NOT NULL DEFAULT 0;
",
    "
-- Objects that notifications named and no feed takes: their names, and why. The feed is the one that reads the bucket.
CREATE TABLE unrouted (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    bucket TEXT NOT NULL,
    key TEXT NOT NULL,
    queue TEXT NOT NULL,
    feed TEXT,
    why TEXT NOT NULL CHECK (why IN ('bucket', 'prefix', 'keys')),
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    notifications INTEGER NOT NULL,
    UNIQUE (bucket, key)
) STRICT;

-- How many they are, whoever adds or deletes them.
CREATE TABLE unrouted_size (
    entries INTEGER NOT NULL
) STRICT;
INSERT INTO unrouted_size VALUES (0);
CREATE TRIGGER unrouted_in AFTER INSERT ON unrouted BEGIN
    UPDATE unrouted_size SET entries = entries + 1;
END;
CREATE TRIGGER unrouted_out AFTER DELETE ON unrouted BEGIN
    UPDATE unrouted_size SET entries = entries - 1;
END;
",
    "
-- How many bytes of an object's content have been split into lines, in the longest version read to its end.
ALTER TABLE object ADD COLUMN framed_bytes INTEGER NOT NULL DEFAULT 0;
",
    "
-- Past its limits the quarantine has one entry for many: how many it stands for, and the places of an object's records
-- among them, as bits.
ALTER TABLE quarantine ADD COLUMN further INTEGER;
CREATE UNIQUE INDEX quarantine_further_of_object ON quarantine (kind, bucket, key)
    WHERE further IS NOT NULL AND bucket IS NOT NULL;
CREATE UNIQUE INDEX quarantine_further_of_feed ON quarantine (kind, feed) WHERE further IS NOT NULL AND bucket IS NULL;
CREATE TABLE quarantine_further (
    quarantine_id INTEGER NOT NULL REFERENCES quarantine (id) ON DELETE CASCADE,
    stretch INTEGER NOT NULL,
    packed BLOB NOT NULL,
    sum INTEGER NOT NULL,
    PRIMARY KEY (quarantine_id, stretch)
) STRICT, WITHOUT ROWID;

-- How many entries stand for one thing each, and how many for many.
ALTER TABLE quarantine_size ADD COLUMN listed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE quarantine_size ADD COLUMN many INTEGER NOT NULL DEFAULT 0;
UPDATE quarantine_size SET listed = entries;
DROP TRIGGER quarantine_in;
DROP TRIGGER quarantine_out;
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
",
    "
-- The newest event delivered for each partition of a feed, by its own time, and when that was noted.
CREATE TABLE freshness (
    feed TEXT NOT NULL,
    partition TEXT NOT NULL,
    event_ms INTEGER NOT NULL,
    noted_ms INTEGER NOT NULL,
    PRIMARY KEY (feed, partition)
) STRICT, WITHOUT ROWID;
CREATE INDEX freshness_noted ON freshness (noted_ms);
",
    "
-- How many versions of an object were read to their end, and which of them each sink was last offered whole: none where that
-- is open.
ALTER TABLE object ADD COLUMN read INTEGER NOT NULL DEFAULT 0;
ALTER TABLE cursor ADD COLUMN read INTEGER DEFAULT 0;

-- The places before its own that a sink has not had, as bits, and how many they are.
ALTER TABLE cursor ADD COLUMN gap INTEGER NOT NULL DEFAULT 0;
CREATE TABLE gap (
    object_id INTEGER NOT NULL,
    sink TEXT NOT NULL,
    stretch INTEGER NOT NULL,
    packed BLOB NOT NULL,
    sum INTEGER NOT NULL,
    PRIMARY KEY (object_id, sink, stretch),
    FOREIGN KEY (object_id, sink) REFERENCES cursor (object_id, sink) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- What a part does to its sink's gap: these places, first and end of each range, open in it; or they are filled.
ALTER TABLE batch_part ADD COLUMN fills INTEGER NOT NULL DEFAULT 0;
ALTER TABLE batch_part ADD COLUMN ranges BLOB;
",
    "
-- Objects that could not be read, though their messages are settled: in their feed's backlog, for all of its sinks.
CREATE TABLE unread (
    bucket TEXT NOT NULL,
    key TEXT NOT NULL,
    feed TEXT NOT NULL,
    kind TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    PRIMARY KEY (bucket, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX unread_next ON unread (feed, kind, attempts, since_ms);
",
    lanes::STEP,
    requeued::STEP,
    "
-- How a batch is cut into requests (none: it is sent whole), and how far its receiver has it.
ALTER TABLE batch ADD COLUMN limits BLOB;
ALTER TABLE batch ADD COLUMN progress BLOB;
-- How many lanes a sink has. It changes once nothing is sealed under another number.
CREATE TABLE lanes (sink TEXT PRIMARY KEY, lanes INTEGER NOT NULL) STRICT, WITHOUT ROWID;
",
    events::STEP,
    "
-- A record in quarantine may be within a value of one before it.
ALTER TABLE quarantine ADD COLUMN may_be_within INTEGER NOT NULL DEFAULT 0;
",
];

/// The version that this program writes.
pub(super) const VERSION: u32 = MIGRATIONS.len() as u32;

/// The version of a store.
///
/// # Errors
/// As [`migrate`].
pub(super) fn version(connection: &Connection) -> Result<u32, OpenError> {
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > VERSION { Err(OpenError::Newer { found, known: VERSION }) } else { Ok(found) }
}

/// Brings a store to this program's version.
///
/// # Errors
/// The store is newer: this program would not know what it must keep. Or the database belongs to another program.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), OpenError> {
    let found = version(connection)?;
    let (all, ours): (i64, i64) = connection.query_row(
        "SELECT count(*), count(*) FILTER (WHERE name IN ('meta', 'object')) FROM sqlite_schema WHERE type = 'table'",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let is_ours = if found == 0 { all == 0 } else { ours == 2 };
    if !is_ours {
        let path = connection.path().unwrap_or_default().into();
        return Err(OpenError::Corrupt { path, reason: "it holds other tables".to_owned() });
    }
    if found == VERSION {
        return Ok(());
    }
    // All steps run in one transaction: none of the versions in between is needed, and one durable write is enough.
    let transaction = connection.transaction()?;
    for (to, step) in (1u32..).zip(MIGRATIONS).skip(found as usize) {
        transaction.execute_batch(step)?;
        let taken_over = match *step {
            lanes::STEP => lanes::take_over(&transaction),
            requeued::STEP => requeued::take_over(&transaction),
            _ => Ok(()),
        };
        taken_over.map_err(|error| match (error, transaction.path()) {
            (StoreError::Full, path) => OpenError::Full { path: path.unwrap_or_default().into() },
            (error, path) => OpenError::Corrupt { path: path.unwrap_or_default().into(), reason: error.to_string() },
        })?;
        transaction.pragma_update(None, "user_version", to)?;
    }
    transaction.commit()?;
    Ok(())
}

//! The quarantine of a state directory as the command line shows it, even while a daemon uses it.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, TransactionBehavior, params};

use super::requeue::next_request;
use super::retry;
use super::rows::{count, int};
use super::schema;
use super::{DATABASE, OpenError, connect, files};
use crate::checkpoint::StoreError;
use crate::event::EventId;
use crate::notification::ObjectId;

/// The most entries that one transaction changes, so that the daemon waits only for moments.
const CHANGES_AT_ONCE: u64 = 500;

/// The kind of a quarantine entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A record that cannot be decoded.
    Record,
    /// An object that cannot be read.
    Object,
    /// A queue's message that cannot be understood.
    Message,
    /// An event that a sink's receiver refuses for ever.
    Event,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Record, Self::Object, Self::Message, Self::Event];

    pub fn name(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Object => "object",
            Self::Message => "message",
            Self::Event => "event",
        }
    }
}

/// Selects the entries that meet all conditions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    /// The feed; for messages the queue.
    pub feed: Option<String>,
    pub kind: Option<Kind>,
    /// The sink that refused the event. Selects events only.
    pub sink: Option<String>,
    /// Quarantined before this time, in milliseconds since the epoch.
    pub before_ms: Option<i64>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub id: u64,
    /// When the entry was made, in milliseconds since the epoch.
    pub at_ms: i64,
    /// The feed; for messages the queue.
    pub feed: String,
    pub kind: Kind,
    pub object: Option<ObjectId>,
    pub etag: Option<String>,
    /// Only for a shared entry: how many things of its object, or of its feed, it stands for.
    pub further: Option<u64>,
    /// The index of the record in the object, from 0. For a shared entry that of its first record.
    pub ordinal: Option<u64>,
    /// The record's number in the object's accepted sequence.
    pub place: Option<u64>,
    /// For events: the sink that refused it, its index among the events of its record, and its identity.
    pub sink: Option<String>,
    pub event_index: Option<u32>,
    pub uid: Option<EventId>,
    /// The offset of the record's first byte in the (inflated) content.
    pub offset: Option<u64>,
    pub reason: String,
    /// The length of the compressed body in bytes, if the body was kept.
    pub body_zstd_bytes: Option<u64>,
    /// Whether the entry was requeued and not yet tried again.
    pub is_requeued: bool,
    /// Whether the entry can be tried again.
    pub can_requeue: bool,
    /// The sinks that have had the record since it was requeued.
    pub had: Vec<String>,
}

/// The quarantine as another process sees it, beside the daemon.
pub struct Inspection(Connection);

/// Whether an entry can be tried again. Records and events need a place, messages a body, and shared entries the places
/// that they stand for.
const CAN_REQUEUE: &str = "CASE WHEN further IS NOT NULL
    THEN EXISTS (SELECT 1 FROM quarantine_further WHERE quarantine_further.quarantine_id = quarantine.id)
    WHEN kind IN ('record', 'event') THEN place IS NOT NULL WHEN kind = 'message' THEN body_zstd IS NOT NULL ELSE 1 END";
const COLUMNS: &str = "id, at_ms, feed, kind, bucket, key, etag, ordinal, byte_offset, reason, length(body_zstd),
    request IS NOT NULL, place, further, sink, event_index, uid";
const SELECTED: &str = "(?1 IS NULL OR feed = ?1) AND (?2 IS NULL OR kind = ?2) AND (?3 IS NULL OR at_ms < ?3)
    AND (?4 IS NULL OR sink = ?4)";

impl Entry {
    fn of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let kind: String = row.get(3)?;
        let bucket: Option<String> = row.get(4)?;
        let key: Option<String> = row.get(5)?;
        Ok(Self {
            id: count(row.get(0)?),
            at_ms: row.get(1)?,
            feed: row.get(2)?,
            kind: Kind::ALL.into_iter().find(|each| each.name() == kind).unwrap_or(Kind::Message),
            object: bucket.zip(key).map(|(bucket, key)| ObjectId::new(bucket, key)),
            etag: row.get(6)?,
            ordinal: row.get::<_, Option<i64>>(7)?.map(count),
            offset: row.get::<_, Option<i64>>(8)?.map(count),
            reason: row.get(9)?,
            body_zstd_bytes: row.get::<_, Option<i64>>(10)?.map(count),
            is_requeued: row.get(11)?,
            further: row.get::<_, Option<i64>>(13)?.map(count),
            can_requeue: row.get(17)?,
            place: row.get::<_, Option<i64>>(12)?.map(count),
            sink: row.get(14)?,
            event_index: row.get(15)?,
            uid: row.get::<_, Option<[u8; 16]>>(16)?.map(EventId),
            had: Vec::new(),
        })
    }
}

impl Inspection {
    /// Opens the quarantine for reading. Changes nothing, and does not migrate the store.
    ///
    /// # Errors
    /// There is no store, or it has another version.
    pub fn look(state_dir: &Path) -> Result<Self, OpenError> {
        let path = state_dir.join(DATABASE);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if let Err(source) = std::fs::File::open(&path) {
            return Err(OpenError::Io { path, source });
        }
        let log = std::fs::metadata(path.with_extension("sqlite-wal")).map_or(0, |file| file.len());
        if log > 0 {
            return Self::open(&path, flags, &path);
        }
        // Without a log there is nothing to recover, and no daemon runs. Open the database so that SQLite creates no
        // log files: if they belonged to another user, the daemon could not write them.
        let mut name = String::from("file:");
        for byte in std::path::absolute(&path).unwrap_or(path.clone()).as_os_str().as_encoded_bytes() {
            match byte {
                b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => name.push(char::from(*byte)),
                other => name.push_str(&format!("%{other:02x}")),
            }
        }
        name.push_str("?immutable=1");
        Self::open(&path, flags | OpenFlags::SQLITE_OPEN_URI, Path::new(&name))
    }

    /// Opens the quarantine for requests and purges.
    ///
    /// # Errors
    /// As [`Inspection::look`].
    pub fn change(state_dir: &Path) -> Result<Self, OpenError> {
        let path = state_dir.join(DATABASE);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        // SQLite would open a file without write permission for reading, and fail only at the first change.
        if let Err(source) = std::fs::File::options().write(true).open(&path) {
            return Err(OpenError::Io { path, source });
        }
        Self::open(&path, flags, &path)
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.0
    }

    fn open(path: &Path, flags: OpenFlags, name: &Path) -> Result<Self, OpenError> {
        let open = || {
            files::refuse_empty(path)?;
            let connection = connect(name, flags)?;
            match schema::version(&connection)? {
                found if found < schema::VERSION => Err(OpenError::Older { found, known: schema::VERSION }),
                _ => Ok(Self(connection)),
            }
        };
        open().map_err(|error| error.of_database(path))
    }

    /// The newest selected entries, at most `most`, the oldest of them first; and the number of all selected entries.
    pub fn newest(&self, selection: &Selection, most: usize) -> Result<(Vec<Entry>, u64), StoreError> {
        let Selection { feed, kind, sink, before_ms } = selection;
        let kind = kind.map(Kind::name);
        let all: i64 = self.0.query_row(
            &format!("SELECT count(*) FROM quarantine WHERE {SELECTED}"),
            params![feed, kind, before_ms, sink],
            |row| row.get(0),
        )?;
        let mut statement = self.0.prepare(&format!(
            "SELECT {COLUMNS}, {CAN_REQUEUE} FROM quarantine WHERE {SELECTED} ORDER BY id DESC LIMIT ?5"
        ))?;
        let rows = statement.query_map(params![feed, kind, before_ms, sink, int(most as u64)], Entry::of)?;
        let mut entries = rows.collect::<Result<Vec<_>, _>>()?;
        entries.reverse();
        entries.iter_mut().try_for_each(|entry| self.add_sinks(entry))?;
        Ok((entries, count(all)))
    }

    /// The entry with this number.
    pub fn entry(&self, id: u64) -> Result<Option<Entry>, StoreError> {
        let mut statement =
            self.0.prepare_cached(&format!("SELECT {COLUMNS}, {CAN_REQUEUE} FROM quarantine WHERE id = ?1"))?;
        let mut entry = statement.query_row([int(id)], Entry::of).optional()?;
        entry.iter_mut().try_for_each(|entry| self.add_sinks(entry))?;
        Ok(entry)
    }

    /// If the entry is a requeued record, adds the sinks that have had it.
    fn add_sinks(&self, entry: &mut Entry) -> Result<(), StoreError> {
        let is_record = entry.kind == Kind::Record;
        if let (true, Some(object), Some(place)) = (entry.is_requeued && is_record, &entry.object, entry.place) {
            entry.had = retry::had(&self.0, object, place)?;
        }
        Ok(())
    }

    /// The entry's compressed body, if it was kept.
    pub fn body(&self, id: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let mut statement = self.0.prepare_cached("SELECT body_zstd FROM quarantine WHERE id = ?1")?;
        Ok(statement.query_row([int(id)], |row| row.get(0)).optional()?.flatten())
    }

    /// The numbers of selected entries above `after`, in order, at most as many as one transaction changes.
    pub fn page(&self, selection: &Selection, after: u64) -> Result<Vec<u64>, StoreError> {
        let Selection { feed, kind, sink, before_ms } = selection;
        let mut statement = self.0.prepare_cached(&format!(
            "SELECT id FROM quarantine WHERE {SELECTED} AND id > ?5 ORDER BY id LIMIT {CHANGES_AT_ONCE}"
        ))?;
        let rows = statement.query_map(params![feed, kind.map(Kind::name), before_ms, sink, int(after)], |row| {
            Ok(count(row.get(0)?))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Asks the daemon to try these entries again. Returns the entries that cannot be tried again: messages without a
    /// body, records that an older version quarantined or whose acceptance it took back, and entries that are only
    /// counts.
    pub fn requeue(&mut self, ids: &[u64]) -> Result<Vec<u64>, StoreError> {
        self.each(ids, |connection, id| {
            let request = next_request(connection)?;
            let asked = connection
                .prepare_cached(&format!("UPDATE quarantine SET request = ?2 WHERE id = ?1 AND {CAN_REQUEUE}"))?
                .execute(params![int(id), int(request)])?;
            Ok(asked == 0)
        })
    }

    /// Deletes these entries for good. Returns those that were gone already.
    pub fn purge(&mut self, ids: &[u64]) -> Result<Vec<u64>, StoreError> {
        self.each(ids, |connection, id| {
            let gone = connection.prepare_cached("DELETE FROM quarantine WHERE id = ?1")?.execute([int(id)])?;
            Ok(gone == 0)
        })
    }

    /// Calls `change` for each entry, with many entries in one transaction. Returns those for which it returned `true`.
    pub(super) fn each(
        &mut self,
        ids: &[u64],
        change: impl Fn(&Connection, u64) -> Result<bool, StoreError>,
    ) -> Result<Vec<u64>, StoreError> {
        let mut said = Vec::new();
        for some in ids.chunks(CHANGES_AT_ONCE as usize) {
            let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for id in some {
                if change(&transaction, *id)? {
                    said.push(*id);
                }
            }
            transaction.commit()?;
        }
        Ok(said)
    }
}

//! Sinks' backlogs: objects that a sink has not had, though their messages are settled.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::rows::{ObjectRow, count};
use super::{CheckpointStore, StoreError};
use crate::notification::ObjectId;

/// An object in a sink's backlog.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BacklogEntry {
    pub object: ObjectId,
    /// Since when, in milliseconds since the epoch.
    pub since_ms: i64,
    object_id: i64,
}

impl BacklogEntry {
    /// The place after this entry.
    pub fn place(&self) -> BacklogPlace {
        BacklogPlace { since_ms: self.since_ms, object_id: self.object_id }
    }
}

/// A place in a sink's backlog, whose entries stand oldest first. The default comes before all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BacklogPlace {
    since_ms: i64,
    object_id: i64,
}

impl Default for BacklogPlace {
    fn default() -> Self {
        Self { since_ms: i64::MIN, object_id: i64::MIN }
    }
}

impl CheckpointStore {
    /// Adds objects to the sink's backlog: of each its feed, and since when, in milliseconds since the epoch. An object
    /// that was never read is made known first. An entry that is there already keeps its date.
    pub async fn add_to_backlog(
        &self,
        sink: Arc<str>,
        objects: Vec<(Arc<str>, ObjectId, i64)>,
    ) -> Result<(), StoreError> {
        let add = move |connection: &Connection| {
            let mut statement = connection
                .prepare_cached("INSERT OR IGNORE INTO owed (sink, object_id, since_ms) VALUES (?1, ?2, ?3)")?;
            for (feed, object, since_ms) in &objects {
                let object_id = match ObjectRow::find(connection, object)? {
                    Some(row) => row.id,
                    None => {
                        let mut row = ObjectRow::new(feed);
                        row.changed_at_ms = *since_ms;
                        row.save(connection, object)?;
                        row.id
                    }
                };
                statement.execute(params![&*sink, object_id, since_ms])?;
            }
            Ok(())
        };
        self.writer.write(add).await
    }

    /// The oldest objects in a sink's backlog that come after a place among them, at most `most`.
    pub fn backlog(&self, sink: &str, after: &BacklogPlace, most: usize) -> Result<Vec<BacklogEntry>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT bucket, key, since_ms, object_id FROM owed JOIN object ON object.id = object_id
                 WHERE sink = ?1 AND (since_ms, object_id) > (?2, ?3) ORDER BY since_ms, object_id LIMIT ?4",
            )?;
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let rows = statement.query_map(params![sink, after.since_ms, after.object_id, most], |row| {
                let object = ObjectId::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?);
                Ok(BacklogEntry { object, since_ms: row.get(2)?, object_id: row.get(3)? })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Whether an object is in a sink's backlog.
    pub fn is_in_backlog(&self, sink: &str, object: &ObjectId) -> Result<bool, StoreError> {
        self.read(|connection| match ObjectRow::find(connection, object)? {
            Some(row) => is_in_backlog(connection, sink, row.id),
            None => Ok(false),
        })
    }

    /// How many objects are in a sink's backlog.
    pub fn backlog_len(&self, sink: &str) -> Result<u64, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT count(*) FROM owed WHERE sink = ?1")?;
            Ok(count(statement.query_row([sink], |row| row.get(0))?))
        })
    }

    /// Removes an object from the backlog: the sink has had it, or it is gone.
    pub async fn clear_from_backlog(&self, sink: Arc<str>, object: ObjectId) -> Result<(), StoreError> {
        let clear = move |connection: &Connection| {
            connection
                .prepare_cached(
                    "DELETE FROM owed WHERE sink = ?1
                     AND object_id = (SELECT id FROM object WHERE bucket = ?2 AND key = ?3)",
                )?
                .execute(params![&*sink, &*object.bucket, &*object.key])?;
            Ok(())
        };
        self.writer.write(clear).await
    }
}

pub(super) fn is_in_backlog(connection: &Connection, sink: &str, object_id: i64) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM owed WHERE sink = ?1 AND object_id = ?2")?;
    Ok(statement.exists(params![sink, object_id])?)
}

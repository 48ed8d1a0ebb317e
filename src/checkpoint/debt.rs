//! Debts: objects a parked sink has not had, though their messages are settled.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::CheckpointStore;
use super::StoreError;
use super::rows::{ObjectRow, count};
use crate::notification::ObjectId;

/// An object owed to a sink.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owed {
    pub object: ObjectId,
    /// Since when, in milliseconds since the epoch.
    pub since_ms: i64,
    object_id: i64,
}

impl Owed {
    /// Where the debts after this one begin.
    pub fn place(&self) -> Debts {
        Debts { since_ms: self.since_ms, object_id: self.object_id }
    }
}

/// A place among a sink's debts, which stand oldest first. The default comes before all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Debts {
    since_ms: i64,
    object_id: i64,
}

impl Default for Debts {
    fn default() -> Self {
        Self { since_ms: i64::MIN, object_id: i64::MIN }
    }
}

impl CheckpointStore {
    /// Writes down that `sink` has not had these objects: of each its feed, and since when, in milliseconds since the epoch.
    /// An object that was never read is made known first; one that is owed already keeps its date.
    pub async fn owe(&self, sink: Arc<str>, objects: Vec<(Arc<str>, ObjectId, i64)>) -> Result<(), StoreError> {
        let owe = move |connection: &Connection| {
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
        self.writer.write(owe).await
    }

    /// The oldest objects owed to a sink that come after a place among them, at most `most`.
    pub fn owed(&self, sink: &str, after: &Debts, most: usize) -> Result<Vec<Owed>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT bucket, key, since_ms, object_id FROM owed JOIN object ON object.id = object_id
                 WHERE sink = ?1 AND (since_ms, object_id) > (?2, ?3) ORDER BY since_ms, object_id LIMIT ?4",
            )?;
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let rows = statement.query_map(params![sink, after.since_ms, after.object_id, most], |row| {
                let object = ObjectId::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?);
                Ok(Owed { object, since_ms: row.get(2)?, object_id: row.get(3)? })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Whether an object is owed to a sink.
    pub fn is_owed(&self, sink: &str, object: &ObjectId) -> Result<bool, StoreError> {
        self.read(|connection| match ObjectRow::find(connection, object)? {
            Some(row) => is_owed(connection, sink, row.id),
            None => Ok(false),
        })
    }

    /// How many objects are owed to a sink.
    pub fn owed_count(&self, sink: &str) -> Result<u64, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT count(*) FROM owed WHERE sink = ?1")?;
            Ok(count(statement.query_row([sink], |row| row.get(0))?))
        })
    }

    /// The sink has had the object, or the object is no more: the debt is gone.
    pub async fn pay(&self, sink: Arc<str>, object: ObjectId) -> Result<(), StoreError> {
        let pay = move |connection: &Connection| {
            connection
                .prepare_cached(
                    "DELETE FROM owed WHERE sink = ?1
                     AND object_id = (SELECT id FROM object WHERE bucket = ?2 AND key = ?3)",
                )?
                .execute(params![&*sink, &*object.bucket, &*object.key])?;
            Ok(())
        };
        self.writer.write(pay).await
    }
}

pub(super) fn is_owed(connection: &Connection, sink: &str, object_id: i64) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM owed WHERE sink = ?1 AND object_id = ?2")?;
    Ok(statement.exists(params![sink, object_id])?)
}

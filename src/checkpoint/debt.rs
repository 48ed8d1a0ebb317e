//! Debts: objects a parked sink has not had, though their messages are settled.

use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::params;

use super::CheckpointStore;
use super::StoreError;
use super::rows::ObjectRow;
use super::rows::count;
use crate::notification::ObjectId;

/// An object owed to a sink.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owed {
    pub object: ObjectId,
    pub feed: Arc<str>,
    /// Milliseconds since the epoch.
    pub since_ms: i64,
}

impl CheckpointStore {
    /// Writes down that `sink` has not had these objects of `feed`. An object that was never read is made known first.
    pub async fn owe(&self, sink: Arc<str>, objects: Vec<(Arc<str>, ObjectId)>, now_ms: i64) -> Result<(), StoreError> {
        let owe = move |connection: &Connection| {
            let mut statement = connection
                .prepare_cached("INSERT OR IGNORE INTO owed (sink, object_id, since_ms) VALUES (?1, ?2, ?3)")?;
            for (feed, object) in &objects {
                let object_id = match ObjectRow::find(connection, object)? {
                    Some(row) => row.id,
                    None => {
                        let mut row = ObjectRow::new(feed);
                        row.changed_at_ms = now_ms;
                        row.save(connection, object)?;
                        row.id
                    }
                };
                statement.execute(params![&*sink, object_id, now_ms])?;
            }
            Ok(())
        };
        self.writer.write(owe).await
    }

    /// The oldest objects owed to a sink, at most `most`.
    pub fn owed(&self, sink: &str, most: usize) -> Result<Vec<Owed>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT bucket, key, feed, since_ms FROM owed JOIN object ON object.id = object_id
                 WHERE sink = ?1 ORDER BY since_ms, object_id LIMIT ?2",
            )?;
            let rows = statement.query_map(params![sink, i64::try_from(most).unwrap_or(i64::MAX)], |row| {
                let object = ObjectId::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?);
                Ok(Owed { object, feed: row.get::<_, String>(2)?.into(), since_ms: row.get(3)? })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
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

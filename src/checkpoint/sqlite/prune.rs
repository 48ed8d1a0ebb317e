//! What may be forgotten, and when: the store does not grow for ever.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::rows::count;
use super::{CheckpointStore, StoreError, retry};
use crate::notification::ObjectId;

/// One transaction forgets at most as many objects, so that it keeps nobody waiting.
const OBJECTS_AT_ONCE: i64 = 500;

/// What was forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Forgotten {
    pub objects: u64,
    /// Records in the gaps of their sinks, counted for each sink. Should they come back, they are delivered as new.
    pub gap_records: u64,
}

impl CheckpointStore {
    /// Forgets some of the objects that have not changed since `before_ms`, in no backlog, part of no sealed batch and
    /// without records in quarantine, which could be delivered yet.
    /// As long as that is not none, there may be more.
    ///
    /// A scan still finds objects that were forgotten; [`Self::forgotten_before`] tells it which.
    pub async fn forget(&self, before_ms: i64) -> Result<Forgotten, StoreError> {
        let forget = move |connection: &Connection| {
            connection
                .prepare_cached(
                    "INSERT INTO horizon (feed, before_ms) SELECT DISTINCT feed, ?1 FROM object WHERE changed_at_ms < ?1
                     ON CONFLICT DO UPDATE SET before_ms = max(before_ms, excluded.before_ms)",
                )?
                .execute([before_ms])?;
            let objects = connection
                .prepare_cached(
                    "SELECT id FROM object WHERE changed_at_ms < ?1
                     AND id NOT IN (SELECT object_id FROM owed)
                     AND id NOT IN (SELECT object_id FROM batch_part)
                     AND NOT EXISTS (SELECT 1 FROM unread WHERE unread.bucket = object.bucket
                                     AND unread.key = object.key)
                     AND NOT EXISTS (SELECT 1 FROM quarantine WHERE quarantine.bucket = object.bucket
                                     AND quarantine.key = object.key
                                     AND (place IS NOT NULL OR EXISTS (
                                         SELECT 1 FROM quarantine_further WHERE quarantine_id = quarantine.id)))
                     ORDER BY changed_at_ms LIMIT ?2",
                )?
                .query_map(params![before_ms, OBJECTS_AT_ONCE], |row| row.get(0))?
                .collect::<Result<Vec<i64>, _>>()?;
            let mut gap = connection.prepare_cached("SELECT sum(gap) FROM cursor WHERE object_id = ?1")?;
            let mut requeued = connection.prepare_cached(
                "SELECT bucket, key FROM object JOIN requeued ON object_id = id WHERE id = ?1 LIMIT 1",
            )?;
            let mut delete = connection.prepare_cached("DELETE FROM object WHERE id = ?1")?;
            let mut forgotten = Forgotten::default();
            for object_id in objects {
                let named = |row: &Row<'_>| Ok(ObjectId::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?));
                if let Some(object) = requeued.query_row([object_id], named).optional()? {
                    // What was purged nobody lacks.
                    retry::open(connection, &object)?;
                }
                forgotten.gap_records +=
                    gap.query_row([object_id], |row| row.get::<_, Option<i64>>(0))?.map_or(0, count);
                forgotten.objects += delete.execute([object_id])? as u64;
            }
            Ok(forgotten)
        };
        let forgotten = self.writer.write(forget).await?;
        if forgotten.objects == 0 {
            let vacuum = |connection: &Connection| {
                Ok(connection.execute_batch("DELETE FROM quarantine WHERE 0; PRAGMA incremental_vacuum(2000)")?)
            };
            self.writer.write(vacuum).await?;
        }
        Ok(forgotten)
    }

    /// Objects of a feed last written before then may have been forgotten: an unknown one is not taken for new.
    pub fn forgotten_before(&self, feed: &str) -> Result<Option<i64>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT before_ms FROM horizon WHERE feed = ?1")?;
            Ok(statement.query_row([feed], |row| row.get(0)).optional()?)
        })
    }

    /// How many objects are known.
    pub fn object_count(&self) -> Result<u64, StoreError> {
        self.read(|connection| {
            let objects: i64 = connection.query_row("SELECT count(*) FROM object", [], |row| row.get(0))?;
            Ok(count(objects))
        })
    }

    /// The sinks the store knows, whether configured still or not.
    pub fn sinks(&self) -> Result<Vec<Arc<str>>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT DISTINCT sink FROM lane ORDER BY sink")?;
            let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
            Ok(rows.map(|sink| sink.map(Into::into)).collect::<Result<_, _>>()?)
        })
    }
}

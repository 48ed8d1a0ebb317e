//! What may be forgotten, and when, so that the store does not grow for ever.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::rows::count;
use super::{SqliteStore, freshness, retry};
use crate::checkpoint::{Answer, Disk, Forgotten, Freshness, StoreError, StoreSize, Upkeep};
use crate::notification::ObjectId;

/// The most objects that one transaction forgets, so that other writes do not wait long.
const OBJECTS_AT_ONCE: i64 = 500;

impl Upkeep for SqliteStore {
    fn in_place(&self) -> Answer<'_, ()> {
        let shared = Arc::clone(&self.shared);
        self.run(move || {
            shared.presence.check()?;
            match shared.read(|connection| shared.fence.check(connection)) {
                Err(error @ (StoreError::Gone(_) | StoreError::TakenOver)) => Err(error),
                // Other errors are reported by the calls that they affect.
                _ => Ok(()),
            }
        })
    }

    fn size(&self) -> Answer<'_, StoreSize> {
        let shared = Arc::clone(&self.shared);
        self.run(move || {
            let len = |path: &Path| std::fs::metadata(path).map(|file| file.len()).unwrap_or(0);
            let bytes = len(&shared.path) + len(&shared.path.with_extension("sqlite-wal"));
            let disk = rustix::fs::statvfs(&*shared.path).ok();
            let disk = disk.map(|disk| Disk {
                bytes: disk.f_blocks * disk.f_frsize,
                available_bytes: disk.f_bavail * disk.f_frsize,
            });
            Ok(StoreSize { bytes, disk })
        })
    }

    fn forget(&self, before_ms: i64) -> Answer<'_, Forgotten> {
        Box::pin(async move {
            let forgotten = self.write(move |connection| forget(connection, before_ms)).await?;
            if forgotten.objects == 0 {
                self.write(|connection| {
                    Ok(connection.execute_batch("DELETE FROM quarantine WHERE 0; PRAGMA incremental_vacuum(2000)")?)
                })
                .await?;
            }
            Ok(forgotten)
        })
    }

    fn forgotten_before(&self, feed: &str) -> Answer<'_, Option<i64>> {
        let feed = feed.to_owned();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached("SELECT before_ms FROM horizon WHERE feed = ?1")?;
            Ok(statement.query_row([feed], |row| row.get(0)).optional()?)
        })
    }

    fn freshness(&self) -> Answer<'_, Vec<Freshness>> {
        self.read(freshness::remembered)
    }

    fn forget_partitions(&self, before_ms: i64) -> Answer<'_, ()> {
        self.write(move |connection| freshness::forget(connection, before_ms))
    }

    /// Moves everything from the log into the database file.
    fn tidy(&self) -> Answer<'_, ()> {
        Box::pin(async {
            self.writer.tidy().await;
            Ok(())
        })
    }
}

fn forget(connection: &Connection, before_ms: i64) -> Result<Forgotten, StoreError> {
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
    let mut gap = connection.prepare_cached(
        "SELECT object.feed, sum(cursor.gap) FROM cursor JOIN object ON object.id = cursor.object_id
         WHERE object.id = ?1 GROUP BY object.id HAVING sum(cursor.gap) > 0",
    )?;
    let mut requeued = connection.prepare_cached(
        "SELECT bucket, key FROM object WHERE id = ?1 AND (EXISTS (SELECT 1 FROM requeued WHERE object_id = id)
                                                           OR EXISTS (SELECT 1 FROM requeued_event WHERE object_id = id))",
    )?;
    let mut delete = connection.prepare_cached("DELETE FROM object WHERE id = ?1")?;
    let mut forgotten = Forgotten::default();
    for object_id in objects {
        let named = |row: &Row<'_>| Ok(ObjectId::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?));
        if let Some(object) = requeued.query_row([object_id], named).optional()? {
            // Takes purged records out of the gaps, so that they are not counted as lacking.
            retry::open(connection, &object)?;
        }
        let in_gap = |row: &Row<'_>| Ok((row.get::<_, Box<str>>(0)?, count(row.get(1)?)));
        if let Some((feed, records)) = gap.query_row([object_id], in_gap).optional()? {
            *forgotten.gap_records.entry(feed).or_default() += records;
        }
        forgotten.objects += delete.execute([object_id])? as u64;
    }
    Ok(forgotten)
}

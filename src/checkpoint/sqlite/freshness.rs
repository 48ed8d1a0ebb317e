//! How fresh each partition of each feed is. It is stored, so that a silent feed does not look like a new one after a
//! restart.

use rusqlite::{Connection, params};

use crate::checkpoint::upkeep::PARTITIONS_MAX;
use crate::checkpoint::{Freshness, StoreError};

/// The stored freshness of all partitions. The partition with the latest delivery comes last.
pub(super) fn remembered(connection: &Connection) -> Result<Vec<Freshness>, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT feed, partition, event_ms FROM freshness ORDER BY noted_ms, feed, partition")?;
    let rows = statement.query_map([], |row| {
        let feed: String = row.get(0)?;
        Ok(Freshness { feed: feed.into(), partition: row.get(1)?, event_ms: row.get(2)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Deletes partitions without a delivery since `before_ms`. If a feed had none at all since then, keeps its latest one.
pub(super) fn forget(connection: &Connection, before_ms: i64) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "DELETE FROM freshness AS old WHERE noted_ms < ?1 AND EXISTS
                 (SELECT 1 FROM freshness AS newer WHERE newer.feed = old.feed
                  AND (newer.noted_ms, newer.partition) > (old.noted_ms, old.partition))",
        )?
        .execute([before_ms])?;
    Ok(())
}

/// Stores a delivery. `now_ms` is the time in milliseconds since the epoch.
pub(super) fn note(connection: &Connection, fresh: &Freshness, now_ms: i64) -> Result<(), StoreError> {
    let Freshness { feed, partition, event_ms } = fresh;
    let known = connection
        .prepare_cached(
            "UPDATE freshness SET event_ms = max(event_ms, ?3), noted_ms = ?4 WHERE feed = ?1 AND partition = ?2",
        )?
        .execute(params![&**feed, partition, event_ms, now_ms])?;
    if known > 0 {
        return Ok(());
    }
    connection
        .prepare_cached("INSERT INTO freshness (feed, partition, event_ms, noted_ms) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![&**feed, partition, event_ms, now_ms])?;
    connection
        .prepare_cached(
            "DELETE FROM freshness WHERE (feed, partition) IN
                 (SELECT feed, partition FROM freshness ORDER BY noted_ms, feed, partition
                  LIMIT max(0, (SELECT count(*) FROM freshness) - ?1))",
        )?
        .execute([PARTITIONS_MAX])?;
    Ok(())
}

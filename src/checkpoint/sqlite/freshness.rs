//! How fresh each partition of each feed is, stored so that after a restart a silent feed does not look new.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::{CheckpointStore, StoreError};

/// How many partitions are remembered, over all feeds. Past it the one not delivered to for longest is forgotten.
const PARTITIONS_MAX: u32 = 1000;

/// The newest event that a partition of a feed has had delivered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Freshness {
    pub feed: Arc<str>,
    /// Such as `workspaceId=1`; empty where the feed's keys name none.
    pub partition: String,
    /// The event's own time, in milliseconds since the epoch.
    pub event_ms: i64,
}

impl CheckpointStore {
    /// What is remembered, the partition delivered to last at the end.
    pub fn freshness(&self) -> Result<Vec<Freshness>, StoreError> {
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT feed, partition, event_ms FROM freshness ORDER BY noted_ms, feed, partition")?;
            let rows = statement.query_map([], |row| {
                let feed: String = row.get(0)?;
                Ok(Freshness { feed: feed.into(), partition: row.get(1)?, event_ms: row.get(2)? })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Forgets partitions not delivered to since `before_ms`; of a feed that had nothing since, all but the newest.
    pub async fn forget_partitions(&self, before_ms: i64) -> Result<(), StoreError> {
        let forget = move |connection: &Connection| {
            connection
                .prepare_cached(
                    "DELETE FROM freshness AS old WHERE noted_ms < ?1 AND EXISTS
                         (SELECT 1 FROM freshness AS newer WHERE newer.feed = old.feed
                          AND (newer.noted_ms, newer.partition) > (old.noted_ms, old.partition))",
                )?
                .execute([before_ms])?;
            Ok(())
        };
        self.writer.write(forget).await
    }
}

/// Notes what was delivered. `now_ms` is the time, in milliseconds since the epoch.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Finish;
    use crate::delta::Progress;
    use crate::notification::ObjectId;

    async fn delivered(store: &CheckpointStore, feed: &str, partition: &str, event_ms: i64, now_ms: i64) {
        let finish = Finish {
            feed: feed.into(),
            sinks: Vec::new(),
            family: "databricks",
            object: ObjectId::new("logs", format!("{feed}/{partition}.json")),
            etag: "e1".into(),
            progress: Progress::default(),
            framed_bytes: 0,
            changed: true,
            fresh: Some(Freshness { feed: feed.into(), partition: partition.to_owned(), event_ms }),
            now_ms,
        };
        assert!(store.finish(finish).await.unwrap());
    }

    fn told(store: &CheckpointStore) -> Vec<(String, String, i64)> {
        let freshness = store.freshness().unwrap().into_iter();
        freshness.map(|fresh| (fresh.feed.to_string(), fresh.partition, fresh.event_ms)).collect()
    }

    fn row(feed: &str, partition: &str, event_ms: i64) -> (String, String, i64) {
        (feed.to_owned(), partition.to_owned(), event_ms)
    }

    #[tokio::test]
    async fn the_newest_event_of_each_partition_outlives_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let open = || CheckpointStore::open(directory.path(), 1 << 20).unwrap();
        let store = open();
        delivered(&store, "dbx", "w=1", 50, 1).await;
        delivered(&store, "lake", "", 60, 2).await;
        delivered(&store, "dbx", "w=1", 40, 3).await;
        drop(store);
        assert_eq!(told(&open()), [row("lake", "", 60), row("dbx", "w=1", 50)]);
    }

    #[tokio::test]
    async fn the_partition_not_delivered_to_for_longest_makes_room() {
        let directory = tempfile::tempdir().unwrap();
        let store = CheckpointStore::open(directory.path(), 1 << 20).unwrap();
        let partitions: Vec<String> = (0..PARTITIONS_MAX).map(|n| format!("w={n}")).collect();
        let all = partitions.iter().zip(0..).map(|(partition, n)| delivered(&store, "dbx", partition, 7, n));
        for one in all {
            one.await;
        }
        delivered(&store, "dbx", "w=0", 8, 5_000).await;
        delivered(&store, "dbx", "new", 9, 5_001).await;
        let told = told(&store);
        assert_eq!(told.len(), PARTITIONS_MAX as usize);
        assert!(told.contains(&row("dbx", "w=0", 8)) && told.contains(&row("dbx", "new", 9)));
        assert!(!told.contains(&row("dbx", "w=1", 7)));
    }

    #[tokio::test]
    async fn partitions_are_forgotten_but_never_all_of_a_feed() {
        let directory = tempfile::tempdir().unwrap();
        let store = CheckpointStore::open(directory.path(), 1 << 20).unwrap();
        for (feed, partition, now_ms) in [("dbx", "w=1", 1), ("dbx", "w=2", 2), ("lake", "a", 1), ("lake", "b", 9)] {
            delivered(&store, feed, partition, 7, now_ms).await;
        }
        store.forget_partitions(5).await.unwrap();
        assert_eq!(told(&store), [row("dbx", "w=2", 7), row("lake", "b", 7)]);
    }
}

//! The store forgets what it may, remembers how fresh feeds are, and takes no writes of an instance that another has
//! replaced.

use std::sync::Arc;

use super::{cursors, deliver, part, seal, sites};
use crate::checkpoint::upkeep::PARTITIONS_MAX;
use crate::checkpoint::{Finish, Freshness, Store, StoreError, UnreadObject};
use crate::delta::Progress;
use crate::notification::ObjectId;

const DAY_MS: i64 = 86_400_000;

async fn delivered(store: &Store, feed: &str, partition: &str, event_ms: i64, now_ms: i64) {
    let finish = Finish {
        is_late: false,
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
    assert!(store.positions.finish(finish).await.unwrap());
}

async fn told(store: &Store) -> Vec<(String, String, i64)> {
    let freshness = store.upkeep.freshness().await.unwrap().into_iter();
    freshness.map(|fresh| (fresh.feed.to_string(), fresh.partition, fresh.event_ms)).collect()
}

fn row(feed: &str, partition: &str, event_ms: i64) -> (String, String, i64) {
    (feed.to_owned(), partition.to_owned(), event_ms)
}

#[tokio::test]
async fn the_newest_event_of_each_partition_outlives_the_process() {
    for site in sites() {
        let store = site.open();
        delivered(&store, "dbx", "w=1", 50, 1).await;
        delivered(&store, "lake", "", 60, 2).await;
        delivered(&store, "dbx", "w=1", 40, 3).await;
        drop(store);
        assert_eq!(told(&site.open()).await, [row("lake", "", 60), row("dbx", "w=1", 50)]);
    }
}

#[tokio::test]
async fn the_partition_not_delivered_to_for_longest_makes_room() {
    for site in sites() {
        let store = site.open();
        let partitions: Vec<String> = (0..PARTITIONS_MAX).map(|n| format!("w={n}")).collect();
        let all = partitions.iter().zip(0..).map(|(partition, n)| delivered(&store, "dbx", partition, 7, n));
        for one in all {
            one.await;
        }
        delivered(&store, "dbx", "w=0", 8, 5_000).await;
        delivered(&store, "dbx", "new", 9, 5_001).await;
        let told = told(&store).await;
        assert_eq!(told.len(), PARTITIONS_MAX as usize);
        assert!(told.contains(&row("dbx", "w=0", 8)) && told.contains(&row("dbx", "new", 9)));
        assert!(!told.contains(&row("dbx", "w=1", 7)));
    }
}

#[tokio::test]
async fn partitions_are_forgotten_but_never_all_of_a_feed() {
    for site in sites() {
        let store = site.open();
        for (feed, partition, now_ms) in [("dbx", "w=1", 1), ("dbx", "w=2", 2), ("lake", "a", 1), ("lake", "b", 9)] {
            delivered(&store, feed, partition, 7, now_ms).await;
        }
        store.upkeep.forget_partitions(5).await.unwrap();
        assert_eq!(told(&store).await, [row("dbx", "w=2", 7), row("lake", "b", 7)]);
    }
}

#[tokio::test]
async fn nothing_in_a_backlog_or_under_way_is_forgotten() {
    for site in sites() {
        let store = site.open();
        let other = |n: u64| ObjectId::new("logs", format!("{n}"));
        for n in 0..4 {
            let mut part = part(0, 1, true);
            part.advance.object = other(n);
            Arc::get_mut(part.acceptance.as_mut().unwrap()).unwrap().refused.clear();
            deliver(&store, "a", vec![part]).await;
        }
        store.backlog.add_to_backlog("b".into(), vec![("dbx".into(), other(0), 1)]).await.unwrap();
        let mut under_way = part(1, 2, true);
        under_way.advance.object = other(1);
        store.positions.seal(seal("a", vec![under_way])).await.unwrap();
        let unread = UnreadObject { object: other(2), kind: "denied".into(), attempts: 1, since_ms: 1 };
        store.backlog.add_unread("dbx".into(), vec![unread], 1).await.unwrap();
        assert_eq!(store.upkeep.forget(40 * DAY_MS).await.unwrap().objects, 1);
        assert_eq!(store.upkeep.forget(40 * DAY_MS).await.unwrap().objects, 0);
        let mut known = Vec::new();
        for n in 0..4 {
            known.push(store.positions.position(&other(n), &[]).await.unwrap().known);
        }
        assert_eq!(known, [true, true, true, false]);
        assert_eq!(store.upkeep.forgotten_before("dbx").await.unwrap(), Some(40 * DAY_MS));
        assert_eq!(store.upkeep.forgotten_before("other").await.unwrap(), None);
    }
}

#[tokio::test]
async fn once_another_instance_has_taken_over_nothing_more_is_written() {
    for site in sites() {
        let store = site.open();
        deliver(&store, "a", vec![part(0, 1, true)]).await;
        store.upkeep.in_place().await.unwrap();
        site.take_over();
        let seal = store.positions.seal(seal("a", vec![part(1, 2, true)]));
        let (sealed, added) =
            tokio::join!(seal, store.backlog.add_to_backlog("b".into(), vec![("dbx".into(), super::object(), 1)]));
        assert!(matches!(sealed, Err(StoreError::TakenOver)), "{sealed:?}");
        assert!(matches!(added, Err(StoreError::TakenOver)), "{added:?}");
        assert!(matches!(store.upkeep.in_place().await, Err(StoreError::TakenOver)));
        drop(store);
        let store = site.open();
        assert_eq!(cursors(&store).await, (1, vec![1, 0]));
        assert!(store.positions.sealed(&super::lane("a")).await.unwrap().is_empty());
        assert_eq!(store.backlog.backlog_len("b").await.unwrap(), 0);
        deliver(&store, "a", vec![part(1, 2, true)]).await;
        assert_eq!(cursors(&store).await, (2, vec![2, 0]), "the next instance writes");
    }
}

//! Backlogs return objects in order, and lose none.

use super::sites;
use crate::checkpoint::{Addition, BacklogPlace, Store, UnreadCount, UnreadObject};
use crate::notification::ObjectId;

fn object(number: u32) -> ObjectId {
    ObjectId::new("b", format!("k{number}"))
}

fn unread(number: u32, kind: &str, since_ms: i64) -> UnreadObject {
    UnreadObject { object: object(number), kind: kind.into(), attempts: 0, since_ms }
}

async fn next(store: &Store, feed: &str, kind: &str) -> Vec<(ObjectId, u32)> {
    store.backlog.unread(feed, kind, 10).await.unwrap()
}

#[tokio::test]
async fn those_tried_least_come_first_and_of_them_the_oldest() {
    for site in sites() {
        let store = site.open();
        let objects = vec![unread(1, "denied", 10), unread(2, "denied", 5), unread(3, "timeout", 1)];
        let added = store.backlog.add_unread("f".into(), objects, 9).await.unwrap();
        assert_eq!(added, [Addition::New; 3]);
        assert_eq!(next(&store, "f", "denied").await, [(object(2), 0), (object(1), 0)]);
        store.backlog.unread_again(object(2), "denied".into()).await.unwrap();
        store.backlog.unread_again(object(3), "denied".into()).await.unwrap();
        drop(store);
        let store = site.open();
        assert_eq!(next(&store, "f", "denied").await, [(object(1), 0), (object(3), 1), (object(2), 1)]);
        assert_eq!(next(&store, "f", "timeout").await, []);
        let counts = store.backlog.unread_counts().await.unwrap();
        assert_eq!(counts, [UnreadCount { feed: "f".into(), kind: "denied".into(), objects: 3 }]);
        store.backlog.clear_unread(object(1)).await.unwrap();
        let positions = store.positions.positions(&[object(1), object(2)], &[]).await.unwrap();
        assert_eq!(positions.iter().map(|position| position.is_unread).collect::<Vec<_>>(), [false, true]);
        assert_eq!(store.backlog.unread_kind(&object(1)).await.unwrap(), None);
        assert!(
            store.backlog.unread_proof(&object(1)).await.unwrap().is_none()
                && store.backlog.unread_proof(&object(2)).await.unwrap().is_some()
        );
    }
}

#[tokio::test]
async fn past_the_room_only_what_is_there_already_is_taken() {
    for site in sites() {
        let store = site.open();
        store.backlog.add_unread("f".into(), vec![unread(1, "denied", 7)], 1).await.unwrap();
        let again = vec![unread(1, "timeout", 9), unread(2, "timeout", 9), unread(3, "timeout", 9)];
        let added = store.backlog.add_unread("f".into(), again, 1).await.unwrap();
        assert_eq!(added, [Addition::Known, Addition::New, Addition::NoRoom]);
        assert_eq!(store.backlog.unread_kind(&object(1)).await.unwrap().as_deref(), Some("denied"));
        assert_eq!(store.backlog.unread_kind(&object(3)).await.unwrap(), None);
    }
}

#[tokio::test]
async fn what_is_in_the_backlog_of_a_feed_that_is_called_otherwise_now_moves_there() {
    for site in sites() {
        let store = site.open();
        let objects = (0..5).map(|number| unread(number, "denied", 7)).collect();
        store.backlog.add_unread("old".into(), objects, 9).await.unwrap();
        let first = store.backlog.unread_names("old", &ObjectId::new("", ""), 2).await.unwrap();
        assert_eq!(first, [object(0), object(1)]);
        let rest = store.backlog.unread_names("old", &first[1], 9).await.unwrap();
        assert_eq!(rest, [object(2), object(3), object(4)]);
        store.backlog.move_unread(vec![(object(4), "new".into())]).await.unwrap();
        assert_eq!(next(&store, "new", "denied").await, [(object(4), 0)]);
        assert_eq!(next(&store, "old", "denied").await.len(), 4);
    }
}

#[tokio::test]
async fn a_sinks_backlog_comes_out_oldest_first_wherever_a_page_ends() {
    for site in sites() {
        let store = site.open();
        let since = [(1, 7), (2, 5), (3, 7), (4, 6)];
        let objects = since.map(|(number, since_ms)| ("f".into(), object(number), since_ms)).into();
        store.backlog.add_to_backlog("s".into(), objects).await.unwrap();
        store.backlog.add_to_backlog("s".into(), vec![("f".into(), object(1), 1)]).await.unwrap();
        store.backlog.add_to_backlog("other".into(), vec![("f".into(), object(5), 1)]).await.unwrap();
        for most in 1..=5 {
            let (mut found, mut after) = (Vec::new(), BacklogPlace::default());
            loop {
                let page = store.backlog.entries("s", after, most).await.unwrap();
                let Some(last) = page.last() else { break };
                assert!(page.len() <= most);
                after = last.place;
                found.extend(page.into_iter().map(|entry| entry.object));
            }
            assert_eq!(found, [2, 4, 1, 3].map(object), "what is added again keeps its date");
        }
        store.backlog.clear_from_backlog("s".into(), [4, 7, 1].map(object).into()).await.unwrap();
        assert!(!store.backlog.is_in_backlog("s", &object(4)).await.unwrap());
        assert!(store.backlog.is_in_backlog("s", &object(3)).await.unwrap());
        assert_eq!(store.backlog.backlog_len("s").await.unwrap(), 2);
    }
}

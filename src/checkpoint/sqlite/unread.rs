//! Feeds' backlogs: objects that could not be read, though their messages are settled.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::advance::Passed;
use super::rows::{count, int};
use super::{CheckpointStore, StoreError};
use crate::notification::ObjectId;

/// An object that could not be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnreadObject {
    pub object: ObjectId,
    /// The kind of failure.
    pub kind: Arc<str>,
    /// How often reading it has failed.
    pub attempts: u32,
    /// Since when, in milliseconds since the epoch.
    pub since_ms: i64,
}

/// How many objects of a feed could not be read for one kind of failure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnreadCount {
    pub feed: Box<str>,
    pub kind: Arc<str>,
    pub objects: u64,
}

/// The result of adding an object to its feed's backlog.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Addition {
    New,
    /// It is there already, and keeps its date, its kind and its attempts.
    Known,
    NoRoom,
}

impl CheckpointStore {
    /// Adds objects to their feed's backlog, as long as there is room: at most `room` new ones. One answer for each, in
    /// their order.
    pub async fn add_unread(
        &self,
        feed: Arc<str>,
        objects: Vec<UnreadObject>,
        room: u64,
    ) -> Result<Vec<Addition>, StoreError> {
        let add = move |connection: &Connection| {
            let mut known = connection.prepare_cached(KNOWN)?;
            let mut insert = connection.prepare_cached(
                "INSERT INTO unread (bucket, key, feed, kind, attempts, since_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            let mut left = room;
            let mut additions = Vec::with_capacity(objects.len());
            for UnreadObject { object, kind, attempts, since_ms } in &objects {
                let (bucket, key) = (&*object.bucket, &*object.key);
                additions.push(if known.exists(params![bucket, key])? {
                    Addition::Known
                } else if left == 0 {
                    Addition::NoRoom
                } else {
                    insert.execute(params![bucket, key, &*feed, &**kind, attempts, since_ms])?;
                    left -= 1;
                    Addition::New
                });
            }
            Ok(additions)
        };
        self.writer.write(add).await
    }

    /// Reading an object in its feed's backlog has failed once more, and as this kind. Says as which kind it was there
    /// before; nothing where it is there no more.
    pub async fn unread_again(&self, object: ObjectId, kind: Arc<str>) -> Result<Option<Arc<str>>, StoreError> {
        let note = move |connection: &Connection| {
            let before = kind_of(connection, &object)?;
            connection
                .prepare_cached(
                    "UPDATE unread SET kind = ?3, attempts = min(attempts + 1, 1000000) WHERE bucket = ?1 AND key = ?2",
                )?
                .execute(params![&*object.bucket, &*object.key, &*kind])?;
            Ok(before)
        };
        self.writer.write(note).await
    }

    /// Removes an object from its feed's backlog: it was read, or is gone. Returns as which kind it was there, if it was.
    pub async fn clear_unread(&self, object: ObjectId) -> Result<Option<Arc<str>>, StoreError> {
        let clear = move |connection: &Connection| {
            let before = kind_of(connection, &object)?;
            connection
                .prepare_cached("DELETE FROM unread WHERE bucket = ?1 AND key = ?2")?
                .execute(params![&*object.bucket, &*object.key])?;
            Ok(before)
        };
        self.writer.write(clear).await
    }

    /// Objects that could not be read for one kind of failure, at most `most`: those first that were tried least, and of
    /// them the oldest.
    pub fn unread(&self, feed: &str, kind: &str, most: usize) -> Result<Vec<(ObjectId, u32)>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT bucket, key, attempts FROM unread WHERE feed = ?1 AND kind = ?2
                 ORDER BY attempts, since_ms, bucket, key LIMIT ?3",
            )?;
            let rows = statement.query_map(params![feed, kind, int(most as u64)], |row| {
                Ok((ObjectId::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?), row.get(2)?))
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// The kind of failure for which an object is in its feed's backlog, if it is.
    pub fn unread_kind(&self, object: &ObjectId) -> Result<Option<Arc<str>>, StoreError> {
        self.read(|connection| kind_of(connection, object))
    }

    /// The proof that an object is in its feed's backlog, and will be read for all of the feed's sinks.
    pub fn unread_proof(&self, object: &ObjectId) -> Result<Option<Passed>, StoreError> {
        Ok(self.unread_kind(object)?.map(|_| Passed(())))
    }

    /// How many objects could not be read, by feed and kind.
    pub fn unread_counts(&self) -> Result<Vec<UnreadCount>, StoreError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT feed, kind, count(*) FROM unread GROUP BY feed, kind")?;
            let rows = statement.query_map([], |row| {
                let (feed, kind) = (row.get::<_, String>(0)?.into(), row.get::<_, String>(1)?.into());
                Ok(UnreadCount { feed, kind, objects: count(row.get(2)?) })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// The objects in a feed's backlog behind `after`, in the order of their names, at most `most`.
    pub fn unread_names(&self, feed: &str, after: &ObjectId, most: usize) -> Result<Vec<ObjectId>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT bucket, key FROM unread WHERE feed = ?1 AND (bucket, key) > (?2, ?3)
                 ORDER BY bucket, key LIMIT ?4",
            )?;
            let key = params![feed, &*after.bucket, &*after.key, int(most as u64)];
            let rows = statement
                .query_map(key, |row| Ok(ObjectId::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Moves objects into the backlogs of other feeds: those they belong to now.
    pub async fn move_unread(&self, objects: Vec<(ObjectId, Arc<str>)>) -> Result<(), StoreError> {
        let moved = move |connection: &Connection| {
            let mut statement =
                connection.prepare_cached("UPDATE unread SET feed = ?3 WHERE bucket = ?1 AND key = ?2")?;
            for (object, feed) in &objects {
                statement.execute(params![&*object.bucket, &*object.key, &**feed])?;
            }
            Ok(())
        };
        self.writer.write(moved).await
    }
}

const KNOWN: &str = "SELECT kind FROM unread WHERE bucket = ?1 AND key = ?2";

fn kind_of(connection: &Connection, object: &ObjectId) -> Result<Option<Arc<str>>, StoreError> {
    let mut statement = connection.prepare_cached(KNOWN)?;
    let kind = statement.query_row(params![&*object.bucket, &*object.key], |row| row.get::<_, String>(0));
    Ok(kind.optional()?.map(Into::into))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(number: u32) -> ObjectId {
        ObjectId::new("b", format!("k{number}"))
    }

    fn unread(number: u32, kind: &str, since_ms: i64) -> UnreadObject {
        UnreadObject { object: object(number), kind: kind.into(), attempts: 0, since_ms }
    }

    fn next(store: &CheckpointStore, feed: &str, kind: &str) -> Vec<(ObjectId, u32)> {
        store.unread(feed, kind, 10).unwrap()
    }

    #[tokio::test]
    async fn those_tried_least_come_first_and_of_them_the_oldest() {
        let directory = tempfile::tempdir().unwrap();
        let store = CheckpointStore::open(directory.path(), 0).unwrap();
        let objects = vec![unread(1, "denied", 10), unread(2, "denied", 5), unread(3, "timeout", 1)];
        let added = store.add_unread("f".into(), objects, 9).await.unwrap();
        assert_eq!(added, [Addition::New; 3]);
        assert_eq!(next(&store, "f", "denied"), [(object(2), 0), (object(1), 0)]);
        store.unread_again(object(2), "denied".into()).await.unwrap();
        store.unread_again(object(3), "denied".into()).await.unwrap();
        drop(store);
        let store = CheckpointStore::open(directory.path(), 0).unwrap();
        assert_eq!(next(&store, "f", "denied"), [(object(1), 0), (object(3), 1), (object(2), 1)]);
        assert_eq!(next(&store, "f", "timeout"), []);
        let counts = store.unread_counts().unwrap();
        assert_eq!(counts, [UnreadCount { feed: "f".into(), kind: "denied".into(), objects: 3 }]);
        store.clear_unread(object(1)).await.unwrap();
        assert_eq!(store.unread_kind(&object(1)).unwrap(), None);
        assert!(store.unread_proof(&object(1)).unwrap().is_none() && store.unread_proof(&object(2)).unwrap().is_some());
    }

    #[tokio::test]
    async fn past_the_room_only_what_is_there_already_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let store = CheckpointStore::open(directory.path(), 0).unwrap();
        store.add_unread("f".into(), vec![unread(1, "denied", 7)], 1).await.unwrap();
        let again = vec![unread(1, "timeout", 9), unread(2, "timeout", 9), unread(3, "timeout", 9)];
        let added = store.add_unread("f".into(), again, 1).await.unwrap();
        assert_eq!(added, [Addition::Known, Addition::New, Addition::NoRoom]);
        assert_eq!(store.unread_kind(&object(1)).unwrap().as_deref(), Some("denied"));
        assert_eq!(store.unread_kind(&object(3)).unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_in_the_backlog_of_a_feed_that_is_called_otherwise_now_moves_there() {
        let directory = tempfile::tempdir().unwrap();
        let store = CheckpointStore::open(directory.path(), 0).unwrap();
        let objects = (0..5).map(|number| unread(number, "denied", 7)).collect();
        store.add_unread("old".into(), objects, 9).await.unwrap();
        let first = store.unread_names("old", &ObjectId::new("", ""), 2).unwrap();
        assert_eq!(first, [object(0), object(1)]);
        let rest = store.unread_names("old", &first[1], 9).unwrap();
        assert_eq!(rest, [object(2), object(3), object(4)]);
        store.move_unread(vec![(object(4), "new".into())]).await.unwrap();
        assert_eq!(next(&store, "new", "denied"), [(object(4), 0)]);
        assert_eq!(next(&store, "old", "denied").len(), 4);
    }
}

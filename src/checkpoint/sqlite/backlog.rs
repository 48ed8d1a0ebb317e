//! The sinks' backlogs: objects that a sink has not had, although their messages are settled.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::rows::{ObjectRow, count, int};
use super::{SqliteStore, unread};
use crate::checkpoint::{
    Addition, Answer, Backlog, BacklogEntry, BacklogPlace, Passed, StoreError, UnreadCount, UnreadObject,
};
use crate::notification::ObjectId;

impl Backlog for SqliteStore {
    fn add_to_backlog(&self, sink: Arc<str>, objects: Vec<(Arc<str>, ObjectId, i64)>) -> Answer<'_, ()> {
        self.write(move |connection| {
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
                add(connection, &sink, object_id, *since_ms)?;
            }
            Ok(())
        })
    }

    fn entries(&self, sink: &str, after: BacklogPlace, most: usize) -> Answer<'_, Vec<BacklogEntry>> {
        let sink = sink.to_owned();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT bucket, key, since_ms, object_id FROM owed JOIN object ON object.id = object_id
                 WHERE sink = ?1 AND (since_ms, object_id) > (?2, ?3) ORDER BY since_ms, object_id LIMIT ?4",
            )?;
            let key = params![sink, after.since_ms, after.object_id, int(most as u64)];
            let rows = statement.query_map(key, |row| {
                let object = ObjectId::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?);
                let place = BacklogPlace { since_ms: row.get(2)?, object_id: row.get(3)? };
                Ok(BacklogEntry { object, place })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    fn is_in_backlog(&self, sink: &str, object: &ObjectId) -> Answer<'_, bool> {
        let (sink, object) = (sink.to_owned(), object.clone());
        self.read(move |connection| match ObjectRow::find(connection, &object)? {
            Some(row) => is_in_backlog(connection, &sink, row.id),
            None => Ok(false),
        })
    }

    fn backlog_len(&self, sink: &str) -> Answer<'_, u64> {
        let sink = sink.to_owned();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached("SELECT count(*) FROM owed WHERE sink = ?1")?;
            Ok(count(statement.query_row([sink], |row| row.get(0))?))
        })
    }

    fn clear_from_backlog(&self, sink: Arc<str>, objects: Vec<ObjectId>) -> Answer<'_, ()> {
        self.write(move |connection| {
            let mut statement = connection.prepare_cached(
                "DELETE FROM owed WHERE sink = ?1
                 AND object_id = (SELECT id FROM object WHERE bucket = ?2 AND key = ?3)",
            )?;
            for object in objects {
                statement.execute(params![&*sink, &*object.bucket, &*object.key])?;
            }
            Ok(())
        })
    }

    fn add_unread(&self, feed: Arc<str>, objects: Vec<UnreadObject>, room: u64) -> Answer<'_, Vec<Addition>> {
        self.write(move |connection| unread::add(connection, &feed, &objects, room))
    }

    fn unread_again(&self, object: ObjectId, kind: Arc<str>) -> Answer<'_, Option<Arc<str>>> {
        self.write(move |connection| unread::failed_again(connection, &object, &kind))
    }

    fn clear_unread(&self, object: ObjectId) -> Answer<'_, Option<Arc<str>>> {
        self.write(move |connection| unread::clear(connection, &object))
    }

    fn unread(&self, feed: &str, kind: &str, most: usize) -> Answer<'_, Vec<(ObjectId, u32)>> {
        let (feed, kind) = (feed.to_owned(), kind.to_owned());
        self.read(move |connection| unread::next(connection, &feed, &kind, most))
    }

    fn unread_kind(&self, object: &ObjectId) -> Answer<'_, Option<Arc<str>>> {
        let object = object.clone();
        self.read(move |connection| unread::kind_of(connection, &object))
    }

    fn unread_proof(&self, object: &ObjectId) -> Answer<'_, Option<Passed>> {
        let object = object.clone();
        self.read(move |connection| Ok(unread::kind_of(connection, &object)?.map(|_| Passed(()))))
    }

    fn unread_counts(&self) -> Answer<'_, Vec<UnreadCount>> {
        self.read(unread::counts)
    }

    fn unread_names(&self, feed: &str, after: &ObjectId, most: usize) -> Answer<'_, Vec<ObjectId>> {
        let (feed, after) = (feed.to_owned(), after.clone());
        self.read(move |connection| unread::names(connection, &feed, &after, most))
    }

    fn move_unread(&self, objects: Vec<(ObjectId, Arc<str>)>) -> Answer<'_, ()> {
        self.write(move |connection| unread::move_to(connection, &objects))
    }
}

/// Adds an entry. An existing entry keeps its date.
pub(super) fn add(connection: &Connection, sink: &str, object_id: i64, since_ms: i64) -> Result<(), StoreError> {
    connection
        .prepare_cached("INSERT OR IGNORE INTO owed (sink, object_id, since_ms) VALUES (?1, ?2, ?3)")?
        .execute(params![sink, object_id, since_ms])?;
    Ok(())
}

pub(super) fn is_in_backlog(connection: &Connection, sink: &str, object_id: i64) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM owed WHERE sink = ?1 AND object_id = ?2")?;
    Ok(statement.exists(params![sink, object_id])?)
}

//! The feeds' backlogs: objects that could not be read, although their messages are settled.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::rows::{count, int};
use crate::checkpoint::{Addition, StoreError, UnreadCount, UnreadObject};
use crate::notification::ObjectId;

const KNOWN: &str = "SELECT kind FROM unread WHERE bucket = ?1 AND key = ?2";

pub(super) fn add(
    connection: &Connection,
    feed: &str,
    objects: &[UnreadObject],
    room: u64,
) -> Result<Vec<Addition>, StoreError> {
    let mut known = connection.prepare_cached(KNOWN)?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO unread (bucket, key, feed, kind, attempts, since_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let mut left = room;
    let mut additions = Vec::with_capacity(objects.len());
    for UnreadObject { object, kind, attempts, since_ms } in objects {
        let (bucket, key) = (&*object.bucket, &*object.key);
        additions.push(if known.exists(params![bucket, key])? {
            Addition::Known
        } else if left == 0 {
            Addition::NoRoom
        } else {
            insert.execute(params![bucket, key, feed, &**kind, attempts, since_ms])?;
            left -= 1;
            Addition::New
        });
    }
    Ok(additions)
}

/// Returns the object's former kind of failure.
pub(super) fn failed_again(
    connection: &Connection,
    object: &ObjectId,
    kind: &str,
) -> Result<Option<Arc<str>>, StoreError> {
    let before = kind_of(connection, object)?;
    connection
        .prepare_cached(
            "UPDATE unread SET kind = ?3, attempts = min(attempts + 1, 1000000) WHERE bucket = ?1 AND key = ?2",
        )?
        .execute(params![&*object.bucket, &*object.key, kind])?;
    Ok(before)
}

/// Returns the kind of failure that the object was there for.
pub(super) fn clear(connection: &Connection, object: &ObjectId) -> Result<Option<Arc<str>>, StoreError> {
    let before = kind_of(connection, object)?;
    connection
        .prepare_cached("DELETE FROM unread WHERE bucket = ?1 AND key = ?2")?
        .execute(params![&*object.bucket, &*object.key])?;
    Ok(before)
}

pub(super) fn next(
    connection: &Connection,
    feed: &str,
    kind: &str,
    most: usize,
) -> Result<Vec<(ObjectId, u32)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT bucket, key, attempts FROM unread WHERE feed = ?1 AND kind = ?2
         ORDER BY attempts, since_ms, bucket, key LIMIT ?3",
    )?;
    let rows = statement.query_map(params![feed, kind, int(most as u64)], |row| {
        Ok((ObjectId::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?), row.get(2)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn kind_of(connection: &Connection, object: &ObjectId) -> Result<Option<Arc<str>>, StoreError> {
    let mut statement = connection.prepare_cached(KNOWN)?;
    let kind = statement.query_row(params![&*object.bucket, &*object.key], |row| row.get::<_, String>(0));
    Ok(kind.optional()?.map(Into::into))
}

pub(super) fn counts(connection: &Connection) -> Result<Vec<UnreadCount>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT feed, kind, count(*) FROM unread GROUP BY feed, kind")?;
    let rows = statement.query_map([], |row| {
        let (feed, kind) = (row.get::<_, String>(0)?.into(), row.get::<_, String>(1)?.into());
        Ok(UnreadCount { feed, kind, objects: count(row.get(2)?) })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn names(
    connection: &Connection,
    feed: &str,
    after: &ObjectId,
    most: usize,
) -> Result<Vec<ObjectId>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT bucket, key FROM unread WHERE feed = ?1 AND (bucket, key) > (?2, ?3)
         ORDER BY bucket, key LIMIT ?4",
    )?;
    let key = params![feed, &*after.bucket, &*after.key, int(most as u64)];
    let rows = statement.query_map(key, |row| Ok(ObjectId::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn move_to(connection: &Connection, objects: &[(ObjectId, Arc<str>)]) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached("UPDATE unread SET feed = ?3 WHERE bucket = ?1 AND key = ?2")?;
    for (object, feed) in objects {
        statement.execute(params![&*object.bucket, &*object.key, &**feed])?;
    }
    Ok(())
}

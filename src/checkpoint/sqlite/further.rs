//! The quarantine past its limits: entries that each stand for many records.

use std::ops::RangeInclusive;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::places::{self, Owner};
use super::refused::bounded;
use super::rows::{count, int};
use crate::checkpoint::StoreError;
use crate::delta::Places;
use crate::notification::ObjectId;
use crate::object::Version;

/// The range of all places.
pub(super) const ALL: RangeInclusive<u64> = 0..=u64::MAX;

/// Identifies the shared entry of an object: that of its records, or that of one sink's events.
#[derive(Clone, Copy)]
pub(super) struct Which<'a> {
    pub(super) kind: &'static str,
    pub(super) sink: Option<&'a str>,
    pub(super) object: &'a ObjectId,
}

/// Records of one object to be counted in its shared entry: they, or their events, got no entry of their own.
pub(super) struct Further<'a> {
    pub(super) which: Which<'a>,
    pub(super) feed: &'a str,
    pub(super) version: &'a Version,
    /// The ordinal and the offset of the first of these records, if known.
    pub(super) first: Option<(u64, u64)>,
    pub(super) reason: &'a str,
    pub(super) places: Vec<u64>,
}

/// Notes that `gone` of the records in entry `id` have left the quarantine, so that `left` remain.
pub(super) fn take_out(connection: &Connection, id: u64, left: &mut Places, gone: u64) -> Result<(), StoreError> {
    places::save(connection, Owner::Entry(int(id)), left)?;
    connection
        .prepare_cached("UPDATE quarantine SET further = further - ?2 WHERE id = ?1")?
        .execute(params![int(id), int(gone)])?;
    connection.prepare_cached("DELETE FROM quarantine WHERE id = ?1 AND further <= 0")?.execute([int(id)])?;
    Ok(())
}

impl Which<'_> {
    /// The number of the entry, and that of its request if it is requeued.
    pub(super) fn find(self, connection: &Connection) -> Result<Option<(u64, Option<u64>)>, StoreError> {
        let mut statement = connection.prepare_cached(
            "SELECT id, request FROM quarantine
             WHERE kind = ?1 AND bucket = ?2 AND key = ?3 AND coalesce(sink, '') = ?4 AND further IS NOT NULL",
        )?;
        let key = params![self.kind, &*self.object.bucket, &*self.object.key, self.sink.unwrap_or_default()];
        let found = statement.query_row(key, |row| Ok((count(row.get(0)?), row.get::<_, Option<i64>>(1)?.map(count))));
        Ok(found.optional()?)
    }
}

/// Counts records that got no entry of their own in the shared entry of their object. If too many objects have such an
/// entry, counts them in the entry of their feed.
pub(super) fn add(
    connection: &Connection,
    further: &Further<'_>,
    entries_max: u64,
    now_ms: i64,
) -> Result<(), StoreError> {
    let Further { which, feed, version, first, reason, places: added } = further;
    let (Some(&least), Some(&most)) = (added.iter().min(), added.iter().max()) else { return Ok(()) };
    let id = match which.find(connection)? {
        Some((id, _)) => id,
        None if many(connection, which.kind)? >= entries_max => {
            return count_for_feed(connection, feed, which.kind, added.len() as u64, reason, now_ms);
        }
        None => connection
            .prepare_cached(
                "INSERT INTO quarantine (feed, kind, sink, bucket, key, etag, last_modified_ms, ordinal, byte_offset,
                                         reason, at_ms, further)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 0) RETURNING id",
            )?
            .query_row(
                params![
                    feed,
                    which.kind,
                    which.sink,
                    &*which.object.bucket,
                    &*which.object.key,
                    &*version.etag,
                    version.last_modified_ms,
                    first.map(|(ordinal, _)| int(ordinal)),
                    first.map(|(_, offset)| int(offset)),
                    bounded(reason),
                    now_ms
                ],
                |row| Ok(count(row.get(0)?)),
            )?,
    };
    let mut places = places::load(connection, Owner::Entry(int(id)), least..=most)?;
    let records = added.iter().filter(|&&place| places.insert(place)).count();
    connection
        .prepare_cached("UPDATE quarantine SET further = further + ?2, at_ms = ?3 WHERE id = ?1")?
        .execute(params![int(id), int(records as u64), now_ms])?;
    places::save(connection, Owner::Entry(int(id)), &mut places)
}

/// Counts things in the one shared entry of their feed (for messages: of their queue). Nothing else is kept of them.
pub(super) fn count_for_feed(
    connection: &Connection,
    feed: &str,
    kind: &str,
    things: u64,
    reason: &str,
    now_ms: i64,
) -> Result<(), StoreError> {
    let known = connection
        .prepare_cached(
            "UPDATE quarantine SET further = further + ?3, reason = ?4, at_ms = ?5
             WHERE kind = ?1 AND feed = ?2 AND bucket IS NULL AND further IS NOT NULL",
        )?
        .execute(params![kind, feed, int(things), bounded(reason), now_ms])?;
    if known == 0 {
        connection
            .prepare_cached("INSERT INTO quarantine (kind, feed, further, reason, at_ms) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![kind, feed, int(things), bounded(reason), now_ms])?;
    }
    Ok(())
}

/// How many entries of this kind stand for one thing each.
pub(super) fn listed(connection: &Connection, kind: &str) -> Result<u64, StoreError> {
    let mut statement = connection.prepare_cached("SELECT listed FROM quarantine_size WHERE kind = ?1")?;
    Ok(count(statement.query_row([kind], |row| row.get(0))?))
}

/// How many entries of this kind are shared.
fn many(connection: &Connection, kind: &str) -> Result<u64, StoreError> {
    let mut statement = connection.prepare_cached("SELECT many FROM quarantine_size WHERE kind = ?1")?;
    Ok(count(statement.query_row([kind], |row| row.get(0))?))
}

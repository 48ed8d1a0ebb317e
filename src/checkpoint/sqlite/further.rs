//! Quarantine past its limits: one entry that stands for many.

use std::ops::RangeInclusive;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::places::{self, Owner};
use super::refused::bounded;
use super::rows::{count, int};
use crate::batch::{Part, Refused};
use crate::checkpoint::StoreError;
use crate::delta::Places;
use crate::notification::ObjectId;

/// Every place.
pub(super) const ALL: RangeInclusive<u64> = 0..=u64::MAX;

fn range(places: impl Iterator<Item = u64> + Clone) -> Option<RangeInclusive<u64>> {
    Some(places.clone().min()?..=places.max()?)
}

/// So many of the records that entry `id` stands for have left the quarantine, and these are left.
pub(super) fn take_out(connection: &Connection, id: u64, left: &mut Places, gone: u64) -> Result<(), StoreError> {
    places::save(connection, Owner::Entry(int(id)), left)?;
    connection
        .prepare_cached("UPDATE quarantine SET further = further - ?2 WHERE id = ?1")?
        .execute(params![int(id), int(gone)])?;
    connection.prepare_cached("DELETE FROM quarantine WHERE id = ?1 AND further <= 0")?.execute([int(id)])?;
    Ok(())
}

/// The number of the entry that stands for the object's further records.
fn find(connection: &Connection, object: &ObjectId) -> Result<Option<i64>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id FROM quarantine WHERE kind = 'record' AND bucket = ?1 AND key = ?2 AND further IS NOT NULL",
    )?;
    Ok(statement.query_row(params![&*object.bucket, &*object.key], |row| row.get(0)).optional()?)
}

/// Counts records of one object, for which there is no room, in the object's one entry. Where as many objects have such an
/// entry as may, the feed's counts them.
pub(super) fn add(
    connection: &Connection,
    feed: &str,
    part: &Part,
    refused: &[Refused],
    entries_max: u64,
    now_ms: i64,
) -> Result<(), StoreError> {
    let (Some(first), Some(range)) = (refused.first(), range(refused.iter().map(|each| each.place))) else {
        return Ok(());
    };
    let (object, version) = (&part.advance.object, &part.provenance.version);
    let records = int(refused.len() as u64);
    let id = match find(connection, object)? {
        Some(id) => {
            connection
                .prepare_cached("UPDATE quarantine SET further = further + ?2, at_ms = ?3 WHERE id = ?1")?
                .execute(params![id, records, now_ms])?;
            id
        }
        None if many(connection, "record")? >= entries_max => {
            return count_for_feed(connection, feed, "record", refused.len() as u64, &first.reason, now_ms);
        }
        None => connection
            .prepare_cached(
                "INSERT INTO quarantine (feed, kind, bucket, key, etag, last_modified_ms, ordinal, byte_offset, reason,
                                         at_ms, further)
                 VALUES (?1, 'record', ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) RETURNING id",
            )?
            .query_row(
                params![
                    feed,
                    &*object.bucket,
                    &*object.key,
                    &*version.etag,
                    version.last_modified_ms,
                    int(first.ordinal),
                    int(first.offset),
                    bounded(&first.reason),
                    now_ms,
                    records
                ],
                |row| row.get(0),
            )?,
    };
    let mut places = places::load(connection, Owner::Entry(id), range)?;
    for each in refused {
        places.insert(each.place);
    }
    places::save(connection, Owner::Entry(id), &mut places)
}

/// Counts what has no entry, and no object of its own to count it for, in the one entry of its feed (of messages, of its
/// queue). That is all that is kept of it.
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

/// How many entries of this kind stand for many.
fn many(connection: &Connection, kind: &str) -> Result<u64, StoreError> {
    let mut statement = connection.prepare_cached("SELECT many FROM quarantine_size WHERE kind = ?1")?;
    Ok(count(statement.query_row([kind], |row| row.get(0))?))
}

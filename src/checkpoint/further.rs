//! Quarantine past its limits: one entry that stands for many records, and how they get entries of their own to be retried.

use std::ops::RangeInclusive;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::places::{self, Owner};
use super::refused::{RefusedRecord, bounded};
use super::rows::{count, int};
use super::{CheckpointStore, StoreError};
use crate::batch::{Part, Refused};
use crate::delta::Places;
use crate::notification::ObjectId;

/// An object's records in quarantine without an entry of their own.
#[derive(Debug)]
pub struct Further {
    /// The number of the entry that stands for them.
    pub id: u64,
    pub etag: Box<str>,
    pub last_modified_ms: Option<i64>,
    /// Their places in the object's accepted sequence.
    pub places: Places,
}

/// One of them, found again in its object.
#[derive(Clone, Debug)]
pub struct FurtherRecord {
    /// It has no number in quarantine yet.
    pub record: RefusedRecord,
    /// Offset of its first byte in the (inflated) content.
    pub offset: u64,
}

impl CheckpointStore {
    /// The object's further records, if they are to be tried again.
    pub fn requeued_further(&self, object: &ObjectId) -> Result<Option<Further>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, etag, last_modified_ms FROM quarantine
                 WHERE kind = 'record' AND bucket = ?1 AND key = ?2 AND further IS NOT NULL AND request IS NOT NULL",
            )?;
            let found = statement
                .query_row(params![&*object.bucket, &*object.key], |row| {
                    let etag = row.get::<_, Option<String>>(1)?.unwrap_or_default().into();
                    let id = count(row.get(0)?);
                    Ok(Further { id, etag, last_modified_ms: row.get(2)?, places: Places::default() })
                })
                .optional()?;
            let Some(mut further) = found else { return Ok(None) };
            further.places = places::load(connection, Owner::Entry(int(further.id)), ALL)?;
            Ok(Some(further))
        })
    }

    /// Gives some of the records that entry `id` stands for an entry of their own, to be tried again. Returns those
    /// entries: none of a record that has left the quarantine meanwhile.
    pub async fn list_further(&self, id: u64, records: Vec<FurtherRecord>) -> Result<Vec<RefusedRecord>, StoreError> {
        let list = move |connection: &Connection| {
            let Some(range) = range(records.iter().map(|found| found.record.place)) else { return Ok(Vec::new()) };
            let mut places = places::load(connection, Owner::Entry(int(id)), range)?;
            let mut insert = connection.prepare_cached(
                "INSERT INTO quarantine (feed, kind, bucket, key, etag, last_modified_ms, ordinal, byte_offset, place,
                                         occurrence, hash, reason, at_ms, request)
                 SELECT feed, kind, bucket, key, etag, last_modified_ms, ?2, ?3, ?4, ?5, ?6, reason, at_ms, request
                 FROM quarantine WHERE id = ?1 AND further IS NOT NULL AND request IS NOT NULL RETURNING id",
            )?;
            let mut listed = Vec::with_capacity(records.len());
            for FurtherRecord { record, offset } in records {
                if !places.remove(record.place) {
                    continue;
                }
                let RefusedRecord { ordinal, place, occurrence, hash, .. } = &record;
                let key = params![int(id), int(*ordinal), int(offset), int(*place), int(*occurrence), hash.0];
                let Some(entry) = insert.query_row(key, |row| row.get(0)).optional()? else { return Ok(Vec::new()) };
                listed.push(RefusedRecord { id: count(entry), ..record });
            }
            places::save(connection, Owner::Entry(int(id)), &mut places)?;
            connection
                .prepare_cached("UPDATE quarantine SET further = further - ?2 WHERE id = ?1")?
                .execute(params![int(id), int(listed.len() as u64)])?;
            connection.prepare_cached("DELETE FROM quarantine WHERE id = ?1 AND further <= 0")?.execute([int(id)])?;
            Ok(listed)
        };
        self.writer.write(list).await
    }
}

/// Every place.
pub(super) const ALL: RangeInclusive<u64> = 0..=u64::MAX;

fn range(places: impl Iterator<Item = u64> + Clone) -> Option<RangeInclusive<u64>> {
    Some(places.clone().min()?..=places.max()?)
}

/// The number of the entry that stands for the object's further records.
pub(super) fn find(connection: &Connection, object: &ObjectId) -> Result<Option<i64>, StoreError> {
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
    let (object, version) = (&part.advance.object, &part.version);
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

//! Quarantine: what cannot be decoded or is refused for ever, with its coordinates and the reason.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::further::{Further, Which};
use super::refused::{bounded, room_for};
use super::rows::{ObjectRow, count, int};
use super::{SqliteStore, events, further, requeue, retry, unrouted};
use crate::batch::{Part, Refused};
use crate::checkpoint::{
    Answer, KeptEvent, KeptObject, KeptRecord, Quarantine, QuarantineLimits, QuarantineSize, Quarantined, Refusal,
    Remembered, Replacement, Request, Retried, StoreError, Unrouted,
};
use crate::notification::ObjectId;
use crate::reading::{LackedEvents, QuarantinedPlaces, RefusedAgain};

impl Quarantine for SqliteStore {
    fn quarantine_object(&self, refusal: Refusal) -> Answer<'_, Quarantined> {
        let limits = self.shared.quarantine;
        self.write(move |connection| object(connection, limits, &refusal))
    }

    fn quarantine_message(
        &self,
        queue: String,
        reason: String,
        body_zstd: Vec<u8>,
        now_ms: i64,
    ) -> Answer<'_, Quarantined> {
        let limits = self.shared.quarantine;
        self.write(move |connection| {
            if further::listed(connection, "message")? >= limits.entries_max {
                further::count_for_feed(connection, &queue, "message", 1, &reason, now_ms)?;
                return Ok(Quarantined(()));
            }
            let body = room_for(connection, limits, Some(&body_zstd))?;
            connection
                .prepare_cached(
                    "INSERT INTO quarantine (feed, kind, reason, body_zstd, at_ms) VALUES (?1, 'message', ?2, ?3, ?4)",
                )?
                .execute(params![queue, bounded(&reason), body, now_ms])?;
            Ok(Quarantined(()))
        })
    }

    fn quarantine_size(&self) -> Answer<'_, QuarantineSize> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT kind, entries, body_bytes FROM quarantine_size ORDER BY kind")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, count(row.get(1)?), count(row.get(2)?))))?;
            Ok(QuarantineSize { kinds: rows.collect::<Result<_, _>>()? })
        })
    }

    fn requests(&self, after: u64, most: usize) -> Answer<'_, Vec<Request>> {
        self.read(move |connection| requeue::requests(connection, after, most))
    }

    fn quarantined_body(&self, id: u64) -> Answer<'_, Option<Vec<u8>>> {
        self.read(move |connection| requeue::body(connection, id))
    }

    fn refuse_again(&self, refused: Vec<(u64, String)>) -> Answer<'_, ()> {
        self.write(move |connection| requeue::refuse_again(connection, &refused))
    }

    fn refuse_requeued(&self, object: ObjectId, reason: String) -> Answer<'_, ()> {
        self.write(move |connection| requeue::refuse_object(connection, &object, &reason))
    }

    fn reconsider(&self, object: ObjectId) -> Answer<'_, ()> {
        self.write(move |connection| requeue::reconsider(connection, &object))
    }

    fn settle_requeued(&self, object: ObjectId) -> Answer<'_, u64> {
        self.write(move |connection| requeue::settle(connection, &object))
    }

    fn replace_message(&self, replacement: Replacement) -> Answer<'_, ()> {
        self.write(move |connection| requeue::replace_message(connection, &replacement))
    }

    fn open_requeued(&self, object: ObjectId) -> Answer<'_, Option<u64>> {
        self.write(move |connection| retry::open(connection, &object))
    }

    fn quarantined_places(&self, object: &ObjectId, from: u64) -> Answer<'_, QuarantinedPlaces> {
        let object = object.clone();
        self.read(move |connection| retry::places(connection, &object, from))
    }

    fn kept_places(&self, object: &ObjectId, up_to: u64) -> Answer<'_, Vec<u64>> {
        let object = object.clone();
        self.read(move |connection| retry::kept_places(connection, &object, up_to))
    }

    fn kept_record(&self, object: &ObjectId, place: u64) -> Answer<'_, Option<KeptRecord>> {
        let object = object.clone();
        self.read(move |connection| retry::kept_record(connection, &object, place))
    }

    fn lacked_events(&self, object: &ObjectId, sink: &Arc<str>) -> Answer<'_, LackedEvents> {
        let (object, sink) = (object.clone(), Arc::clone(sink));
        self.read(move |connection| events::lacked(connection, &object, &sink))
    }

    fn kept_events(&self, object: &ObjectId, sink: &Arc<str>, place: u64) -> Answer<'_, Vec<KeptEvent>> {
        let (object, sink) = (object.clone(), Arc::clone(sink));
        self.read(move |connection| events::kept(connection, &object, &sink, place))
    }

    fn note_retried(
        &self,
        object: ObjectId,
        sinks: Vec<Arc<str>>,
        up_to: u64,
        refused: RefusedAgain,
    ) -> Answer<'_, Retried> {
        self.write(move |connection| retry::note(connection, &object, &sinks, up_to, refused))
    }

    fn remember(&self, objects: Vec<Unrouted>, most: u64, now_ms: i64) -> Answer<'_, Vec<Option<Remembered>>> {
        self.write(move |connection| unrouted::remember(connection, &objects, most, now_ms))
    }

    fn unrouted(&self, after: u64, limit: usize) -> Answer<'_, Vec<KeptObject>> {
        self.read(move |connection| unrouted::kept(connection, after, limit))
    }

    fn unrouted_count(&self) -> Answer<'_, u64> {
        self.read(unrouted::entries)
    }

    fn forget_unrouted(&self, ids: Vec<u64>) -> Answer<'_, ()> {
        self.write(move |connection| unrouted::forget(connection, &ids))
    }
}

fn object(connection: &Connection, limits: QuarantineLimits, refusal: &Refusal) -> Result<Quarantined, StoreError> {
    let Refusal { feed, object, etag, is_archived, reason, now_ms } = refusal;
    let found = ObjectRow::find(connection, object)?;
    let mut row = found.unwrap_or_else(|| ObjectRow::new(feed));
    requeue::refuse_object(connection, object, reason)?;
    if row.state == "damaged" && row.etag.as_deref() == Some(etag) && row.is_archived == *is_archived {
        return Ok(Quarantined(()));
    }
    row.etag = Some(etag.to_string());
    row.state = "damaged".to_owned();
    row.is_archived = *is_archived;
    row.changed_at_ms = row.changed_at_ms.max(*now_ms);
    row.save(connection, object)?;
    let known = connection
        .prepare_cached(
            "UPDATE quarantine SET etag = ?3, reason = ?4, at_ms = ?5
             WHERE bucket = ?1 AND key = ?2 AND kind = 'object'",
        )?
        .execute(params![&*object.bucket, &*object.key, &**etag, bounded(reason), now_ms])?;
    if known > 0 {
        return Ok(Quarantined(()));
    }
    if further::listed(connection, "object")? >= limits.entries_max {
        further::count_for_feed(connection, feed, "object", 1, reason, *now_ms)?;
        return Ok(Quarantined(()));
    }
    connection
        .prepare_cached(
            "INSERT INTO quarantine (feed, kind, bucket, key, etag, reason, at_ms)
             VALUES (?1, 'object', ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![&**feed, &*object.bucket, &*object.key, &**etag, bounded(reason), now_ms])?;
    Ok(Quarantined(()))
}

/// Removes the entry of an unreadable version, since a version of the object was read to its end now. A requeued entry
/// stays.
pub(super) fn heal(connection: &Connection, object: &ObjectId) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "DELETE FROM quarantine WHERE bucket = ?1 AND key = ?2 AND kind = 'object' AND request IS NULL",
        )?
        .execute(params![&*object.bucket, &*object.key])?;
    Ok(())
}

/// Quarantines records in the transaction that accepts them. Each gets its own entry as long as the limits allow.
pub(super) fn records(
    limits: QuarantineLimits,
    connection: &Connection,
    feed: &str,
    part: &Part,
    refused: &[Refused],
    now_ms: i64,
) -> Result<(), StoreError> {
    if refused.is_empty() {
        return Ok(());
    }
    let QuarantineLimits { entries_max, entries_per_object, .. } = limits;
    let object = &part.advance.object;
    let of_object: i64 = connection
        .prepare_cached(
            "SELECT count(*) FROM (SELECT 1 FROM quarantine WHERE bucket = ?1 AND key = ?2 AND kind = 'record'
                                   AND further IS NULL LIMIT ?3)",
        )?
        .query_row(params![&*object.bucket, &*object.key, int(entries_per_object)], |row| row.get(0))?;
    let room = entries_per_object.saturating_sub(count(of_object));
    let room = room.min(entries_max.saturating_sub(further::listed(connection, "record")?));
    let room = usize::try_from(room).unwrap_or(usize::MAX).min(refused.len());
    let (listed, rest) = refused.split_at(room);
    for each in listed {
        record(limits, connection, feed, part, each, now_ms)?;
    }
    let Some(first) = rest.first() else { return Ok(()) };
    let further = Further {
        which: Which { kind: "record", sink: None, object },
        feed,
        version: &part.provenance.version,
        first: Some((first.ordinal, first.offset)),
        reason: &first.reason,
        places: rest.iter().map(|each| each.place).collect(),
    };
    further::add(connection, &further, entries_max, now_ms)
}

fn record(
    limits: QuarantineLimits,
    connection: &Connection,
    feed: &str,
    part: &Part,
    refused: &Refused,
    now_ms: i64,
) -> Result<(), StoreError> {
    let body = room_for(connection, limits, refused.body_zstd.as_ref())?;
    let (object, version) = (&part.advance.object, &part.provenance.version);
    connection
        .prepare_cached(
            "INSERT INTO quarantine (feed, kind, bucket, key, etag, last_modified_ms, ordinal, byte_offset, place,
                                     occurrence, hash, reason, body_zstd, at_ms, may_be_within)
             VALUES (?1, 'record', ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?
        .execute(params![
            feed,
            &*object.bucket,
            &*object.key,
            &*version.etag,
            version.last_modified_ms,
            int(refused.ordinal),
            int(refused.offset),
            int(refused.place),
            int(refused.occurrence),
            refused.hash.0,
            bounded(&refused.reason),
            body,
            now_ms,
            refused.may_be_within
        ])?;
    Ok(())
}

//! Quarantine: what cannot be decoded or is refused for ever, with its coordinates and the reason.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::refused::bounded;
use super::rows::{ObjectRow, count, int};
use super::{CheckpointStore, StoreError, further, requeue};
use crate::batch::{Part, Refused};
use crate::notification::ObjectId;

/// The limits of the quarantine. What is past them is only counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuarantineLimits {
    /// Bytes of all bodies, compressed. Past it bodies are left out.
    pub bytes_max: u64,
    /// Entries of each kind. Past it the further records of an object share one entry, for as many objects again.
    pub entries_max: u64,
    /// Entries of one object's records.
    pub entries_per_object: u64,
}

impl QuarantineLimits {
    pub const ENTRIES_MAX: u64 = 100_000;
    pub const ENTRIES_PER_OBJECT: u64 = 1000;
}

/// As many bytes of bodies, and the default numbers of entries.
impl From<u64> for QuarantineLimits {
    fn from(bytes_max: u64) -> Self {
        Self { bytes_max, entries_max: Self::ENTRIES_MAX, entries_per_object: Self::ENTRIES_PER_OBJECT }
    }
}

/// The proof that something was put into quarantine. Only the store makes one.
#[derive(Debug)]
pub struct Quarantined(());

/// An object whose version with this entity tag will never be readable.
pub struct Refusal {
    pub feed: Arc<str>,
    pub object: ObjectId,
    pub etag: Box<str>,
    /// It can be read once it is restored.
    pub is_archived: bool,
    pub reason: String,
    /// Milliseconds since the epoch.
    pub now_ms: i64,
}

/// How much is in quarantine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QuarantineSize {
    /// Of each kind (`record`, `object`, `message`): how many, those that share an entry included, and the bytes of their
    /// compressed bodies.
    pub kinds: Vec<(String, u64, u64)>,
}

impl QuarantineSize {
    /// How many of this kind.
    pub fn entries(&self, kind: &str) -> u64 {
        self.kinds.iter().find(|(name, ..)| name == kind).map_or(0, |(_, entries, _)| *entries)
    }

    /// The bytes of all bodies, compressed.
    pub fn body_bytes(&self) -> u64 {
        self.kinds.iter().map(|(.., bytes)| bytes).sum()
    }
}

impl CheckpointStore {
    /// Quarantines one version of an object. The next version is read as if nothing had happened.
    ///
    /// Where a version of it is in quarantine already, that entry becomes this version's: the other version is gone.
    pub async fn quarantine_object(&self, refusal: Refusal) -> Result<Quarantined, StoreError> {
        let entries_max = self.shared.quarantine.entries_max;
        let write = move |connection: &Connection| {
            let Refusal { feed, object, etag, is_archived, reason, now_ms } = refusal;
            let found = ObjectRow::find(connection, &object)?;
            let mut row = found.unwrap_or_else(|| ObjectRow::new(&feed));
            requeue::refuse_object(connection, &object, &reason)?;
            if row.state == "damaged" && row.etag.as_deref() == Some(&etag) && row.is_archived == is_archived {
                return Ok(Quarantined(()));
            }
            row.etag = Some(etag.to_string());
            row.state = "damaged".to_owned();
            row.is_archived = is_archived;
            row.changed_at_ms = row.changed_at_ms.max(now_ms);
            row.save(connection, &object)?;
            let known = connection
                .prepare_cached(
                    "UPDATE quarantine SET etag = ?3, reason = ?4, at_ms = ?5
                     WHERE bucket = ?1 AND key = ?2 AND kind = 'object'",
                )?
                .execute(params![&*object.bucket, &*object.key, &*etag, bounded(&reason), now_ms])?;
            if known > 0 {
                return Ok(Quarantined(()));
            }
            if further::listed(connection, "object")? >= entries_max {
                further::count_for_feed(connection, &feed, "object", 1, &reason, now_ms)?;
                return Ok(Quarantined(()));
            }
            connection
                .prepare_cached(
                    "INSERT INTO quarantine (feed, kind, bucket, key, etag, reason, at_ms)
                     VALUES (?1, 'object', ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute(params![&*feed, &*object.bucket, &*object.key, &*etag, bounded(&reason), now_ms])?;
            Ok(Quarantined(()))
        };
        self.writer.write(write).await
    }

    /// Quarantines a message that cannot be understood; `body_zstd` is its body, compressed. Past the limit it is counted.
    pub async fn quarantine_message(
        &self,
        queue: String,
        reason: String,
        body_zstd: Vec<u8>,
        now_ms: i64,
    ) -> Result<Quarantined, StoreError> {
        let store = self.clone();
        let write = move |connection: &Connection| {
            if further::listed(connection, "message")? >= store.shared.quarantine.entries_max {
                further::count_for_feed(connection, &queue, "message", 1, &reason, now_ms)?;
                return Ok(Quarantined(()));
            }
            let body = store.room_for(connection, Some(&body_zstd))?;
            connection
                .prepare_cached(
                    "INSERT INTO quarantine (feed, kind, reason, body_zstd, at_ms) VALUES (?1, 'message', ?2, ?3, ?4)",
                )?
                .execute(params![queue, bounded(&reason), body, now_ms])?;
            Ok(Quarantined(()))
        };
        self.writer.write(write).await
    }

    /// How many records, objects and messages are in quarantine.
    pub fn quarantine_size(&self) -> Result<QuarantineSize, StoreError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT kind, entries, body_bytes FROM quarantine_size ORDER BY kind")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, count(row.get(1)?), count(row.get(2)?))))?;
            Ok(QuarantineSize { kinds: rows.collect::<Result<_, _>>()? })
        })
    }

    /// The body, if the quarantine still has room for it; its coordinates are kept in any case.
    fn room_for<'a>(
        &self,
        connection: &Connection,
        body: Option<&'a Vec<u8>>,
    ) -> Result<Option<&'a Vec<u8>>, StoreError> {
        let Some(body) = body else { return Ok(None) };
        let mut statement = connection.prepare_cached("SELECT sum(body_bytes) FROM quarantine_size")?;
        let held = count(statement.query_row([], |row| row.get(0))?);
        Ok((held + body.len() as u64 <= self.shared.quarantine.bytes_max).then_some(body))
    }
}

/// The object was read to its end: an entry for the whole object is of a version that is gone.
pub(super) fn heal(connection: &Connection, object: &ObjectId) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "DELETE FROM quarantine WHERE bucket = ?1 AND key = ?2 AND kind = 'object' AND request IS NULL",
        )?
        .execute(params![&*object.bucket, &*object.key])?;
    Ok(())
}

/// Quarantines records, within the transaction that accepts them as the part's: each with an entry of its own as long as
/// the limits leave room for it.
pub(super) fn records(
    store: &CheckpointStore,
    connection: &Connection,
    feed: &str,
    part: &Part,
    refused: &[Refused],
    now_ms: i64,
) -> Result<(), StoreError> {
    if refused.is_empty() {
        return Ok(());
    }
    let QuarantineLimits { entries_max, entries_per_object, .. } = store.shared.quarantine;
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
    for each in &refused[..room] {
        record(store, connection, feed, part, each, now_ms)?;
    }
    further::add(connection, feed, part, &refused[room..], entries_max, now_ms)
}

fn record(
    store: &CheckpointStore,
    connection: &Connection,
    feed: &str,
    part: &Part,
    refused: &Refused,
    now_ms: i64,
) -> Result<(), StoreError> {
    let body = store.room_for(connection, refused.body_zstd.as_ref())?;
    let (object, version) = (&part.advance.object, &part.provenance.version);
    connection
        .prepare_cached(
            "INSERT INTO quarantine (feed, kind, bucket, key, etag, last_modified_ms, ordinal, byte_offset, place,
                                     occurrence, hash, reason, body_zstd, at_ms)
             VALUES (?1, 'record', ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
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
            now_ms
        ])?;
    Ok(())
}

//! Quarantine: what cannot be decoded or is refused for ever, with its coordinates and the reason.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rusqlite::Connection;
use rusqlite::params;

use super::CheckpointStore;
use super::StoreError;
use super::rows::ObjectRow;
use super::rows::int;
use crate::batch::Refused;
use crate::notification::ObjectId;

/// A reason kept is at most as long.
const REASON_CHARS_MAX: usize = 1024;

/// The proof that something was put into quarantine. Only the store makes one.
#[derive(Debug)]
pub struct Quarantined(());

/// An object whose stored bytes will never read, in the version with this entity tag.
pub struct Refusal {
    pub feed: Arc<str>,
    pub object: ObjectId,
    pub etag: Box<str>,
    pub reason: String,
    /// Milliseconds since the epoch.
    pub now_ms: i64,
}

impl CheckpointStore {
    /// Quarantines one version of an object. The next version is read as if nothing had happened.
    pub async fn quarantine_object(&self, refusal: Refusal) -> Result<Quarantined, StoreError> {
        let write = move |connection: &Connection| {
            let found = ObjectRow::find(connection, &refusal.object)?;
            let mut row = found.unwrap_or_else(|| ObjectRow::new(&refusal.feed));
            if row.state == "damaged" && row.etag.as_deref() == Some(&refusal.etag) {
                return Ok(Quarantined(()));
            }
            row.etag = Some(refusal.etag.to_string());
            row.state = "damaged".to_owned();
            row.changed_at_ms = row.changed_at_ms.max(refusal.now_ms);
            row.save(connection, &refusal.object)?;
            connection
                .prepare_cached(
                    "INSERT INTO quarantine (feed, kind, bucket, key, etag, reason, at_ms)
                     VALUES (?1, 'object', ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute(params![
                    &*refusal.feed,
                    &*refusal.object.bucket,
                    &*refusal.object.key,
                    &*refusal.etag,
                    bounded(&refusal.reason),
                    refusal.now_ms
                ])?;
            Ok(Quarantined(()))
        };
        self.writer.write(write).await
    }

    /// Quarantines a message that cannot be understood; `body_zstd` is its body, compressed.
    pub async fn quarantine_message(
        &self,
        queue: String,
        reason: String,
        body_zstd: Vec<u8>,
        now_ms: i64,
    ) -> Result<Quarantined, StoreError> {
        let store = self.clone();
        let write = move |connection: &Connection| {
            let body = store.room_for(Some(&body_zstd));
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
    pub fn quarantined_count(&self) -> Result<u64, StoreError> {
        self.read(|connection| {
            let rows: i64 = connection.query_row("SELECT count(*) FROM quarantine", [], |row| row.get(0))?;
            Ok(u64::try_from(rows).unwrap_or(0))
        })
    }

    /// The body, if the quarantine still has room for it; its coordinates are kept in any case.
    fn room_for<'a>(&self, body: Option<&'a Vec<u8>>) -> Option<&'a Vec<u8>> {
        let body = body?;
        let held = self.shared.quarantine_bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
        if held + body.len() as u64 <= self.shared.quarantine_bytes_max {
            return Some(body);
        }
        self.shared.quarantine_bytes.fetch_sub(body.len() as u64, Ordering::Relaxed);
        None
    }
}

/// Quarantines one record, within the transaction that accepts it.
pub(super) fn record(
    store: &CheckpointStore,
    connection: &Connection,
    feed: &str,
    object: &ObjectId,
    refused: &Refused,
    now_ms: i64,
) -> Result<(), StoreError> {
    let body = store.room_for(refused.body_zstd.as_ref());
    connection
        .prepare_cached(
            "INSERT INTO quarantine (feed, kind, bucket, key, ordinal, byte_offset, reason, body_zstd, at_ms)
             VALUES (?1, 'record', ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            feed,
            &*object.bucket,
            &*object.key,
            int(refused.ordinal),
            int(refused.offset),
            bounded(&refused.reason),
            body,
            now_ms
        ])?;
    Ok(())
}

fn bounded(reason: &str) -> String {
    reason.chars().take(REASON_CHARS_MAX).collect()
}

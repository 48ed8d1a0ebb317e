//! Rows with checksums. Every row that matters has one, which is verified whenever the row is read.

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::checkpoint::StoreError;
use crate::delta::Progress;
use crate::notification::ObjectId;

/// A row's checksum: the first 64 bits of the BLAKE3 of its fields.
pub(super) struct Sum(blake3::Hasher);

impl Sum {
    pub(super) fn of(table: &str) -> Self {
        Self(blake3::Hasher::new()).bytes(table.as_bytes())
    }

    pub(super) fn bytes(mut self, field: &[u8]) -> Self {
        self.0.update(&(field.len() as u64).to_le_bytes()).update(field);
        self
    }

    pub(super) fn text(self, field: Option<&str>) -> Self {
        match field {
            Some(field) => self.bytes(field.as_bytes()),
            None => self.int(-1),
        }
    }

    pub(super) fn int(mut self, field: i64) -> Self {
        self.0.update(&field.to_le_bytes());
        self
    }

    pub(super) fn value(&self) -> i64 {
        let mut first = [0; 8];
        self.0.finalize_xof().fill(&mut first);
        i64::from_le_bytes(first)
    }

    /// Compares with the stored checksum.
    pub(super) fn verify(&self, stored: i64, row: impl FnOnce() -> String) -> Result<(), StoreError> {
        if self.value() == stored { Ok(()) } else { Err(StoreError::Corrupt { row: row() }) }
    }
}

/// An object's row.
#[derive(Clone, Debug)]
pub(super) struct ObjectRow {
    pub(super) id: i64,
    pub(super) feed: String,
    /// The family as which the object was last read to its end.
    pub(super) family: Option<String>,
    pub(super) etag: Option<String>,
    /// Written by programs up to 0.1.0. Now it is only kept as part of the row's checksum.
    pub(super) sequencer: Option<String>,
    pub(super) progress: Progress,
    pub(super) state: String,
    /// Whether the version that cannot be read is archived.
    pub(super) is_archived: bool,
    /// How many versions of the object were read to their end.
    pub(super) read: u64,
    pub(super) changed_at_ms: i64,
}

/// SQLite's integers are signed, but no count gets that large.
pub(super) fn int(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(super) fn count(int: i64) -> u64 {
    u64::try_from(int).unwrap_or(0)
}

impl ObjectRow {
    pub(super) fn new(feed: &str) -> Self {
        Self {
            id: 0,
            feed: feed.to_owned(),
            family: None,
            etag: None,
            sequencer: None,
            progress: Progress::default(),
            state: "reading".to_owned(),
            is_archived: false,
            read: 0,
            changed_at_ms: 0,
        }
    }

    fn sum(&self, object: &ObjectId) -> Sum {
        let progress = &self.progress;
        let sum = Sum::of("object")
            .text(Some(&self.feed))
            .text(Some(&object.bucket))
            .text(Some(&object.key))
            .text(self.etag.as_deref())
            .text(self.sequencer.as_deref())
            .int(int(progress.accepted))
            .int(int(progress.content_records))
            .int(int(progress.content_bytes))
            .bytes(&progress.digest)
            .int(i64::from(progress.in_order))
            .text(Some(&self.state))
            .int(self.changed_at_ms);
        // Rows of older programs lack these fields, and have checksums without them.
        let sum = if self.family.is_some() { sum.text(self.family.as_deref()) } else { sum };
        let sum = if self.is_archived { sum.text(Some("archived")) } else { sum };
        if self.read > 0 { sum.text(Some("read")).int(int(self.read)) } else { sum }
    }

    pub(super) fn find(connection: &Connection, object: &ObjectId) -> Result<Option<Self>, StoreError> {
        let mut statement = connection.prepare_cached(
            "SELECT id, feed, etag, sequencer, accepted, content_records, content_bytes, digest, in_order, state,
                    changed_at_ms, sum, family, is_archived, read
             FROM object WHERE bucket = ?1 AND key = ?2",
        )?;
        let found = statement
            .query_row(params![&*object.bucket, &*object.key], |row| {
                let progress = Progress {
                    accepted: count(row.get(4)?),
                    content_records: count(row.get(5)?),
                    content_bytes: count(row.get(6)?),
                    digest: row.get(7)?,
                    in_order: row.get(8)?,
                };
                let found = Self {
                    id: row.get(0)?,
                    feed: row.get(1)?,
                    etag: row.get(2)?,
                    sequencer: row.get(3)?,
                    progress,
                    state: row.get(9)?,
                    changed_at_ms: row.get(10)?,
                    family: row.get(12)?,
                    is_archived: row.get(13)?,
                    read: count(row.get(14)?),
                };
                Ok((found, row.get(11)?))
            })
            .optional()?;
        let Some((found, sum)) = found else { return Ok(None) };
        found.sum(object).verify(sum, || format!("the checkpoint of {object}"))?;
        Ok(Some(found))
    }

    /// Inserts or updates the row, and sets its id.
    pub(super) fn save(&mut self, connection: &Connection, object: &ObjectId) -> Result<(), StoreError> {
        let mut statement = connection.prepare_cached(
            "INSERT INTO object (feed, bucket, key, etag, sequencer, accepted, content_records, content_bytes, digest,
                                 in_order, state, changed_at_ms, sum, family, is_archived, read)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
             ON CONFLICT (bucket, key) DO UPDATE SET
                 feed = excluded.feed, etag = excluded.etag, sequencer = excluded.sequencer,
                 accepted = excluded.accepted, content_records = excluded.content_records,
                 content_bytes = excluded.content_bytes, digest = excluded.digest, in_order = excluded.in_order,
                 state = excluded.state, changed_at_ms = excluded.changed_at_ms, sum = excluded.sum,
                 family = excluded.family, is_archived = excluded.is_archived, read = excluded.read
             RETURNING id",
        )?;
        let progress = &self.progress;
        self.id = statement.query_row(
            params![
                self.feed,
                &*object.bucket,
                &*object.key,
                self.etag,
                self.sequencer,
                int(progress.accepted),
                int(progress.content_records),
                int(progress.content_bytes),
                progress.digest,
                progress.in_order,
                self.state,
                self.changed_at_ms,
                self.sum(object).value(),
                self.family,
                self.is_archived,
                int(self.read),
            ],
            |row| row.get(0),
        )?;
        Ok(())
    }
}

/// How many bytes of an object's content were split into lines. It has no checksum, since only a metric depends on it.
pub(super) fn framed_bytes(connection: &Connection, object_id: i64) -> Result<u64, StoreError> {
    let mut statement = connection.prepare_cached("SELECT framed_bytes FROM object WHERE id = ?1")?;
    Ok(count(statement.query_row([object_id], |row| row.get(0))?))
}

pub(super) fn set_framed_bytes(connection: &Connection, object_id: i64, bytes: u64) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE object SET framed_bytes = max(framed_bytes, ?2) WHERE id = ?1")?
        .execute(params![object_id, int(bytes)])?;
    Ok(())
}

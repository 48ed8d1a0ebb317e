//! Seal, commit, finish: how an object and its sinks move on.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::batches::{self, Seal, Sealed};
use super::freshness::{self, Freshness};
use super::rows::{self, ObjectRow};
use super::writer::in_savepoint;
use super::{CheckpointStore, StoreError, backlog, quarantine, requeue};
use crate::batch::{Acceptance, Lane, Manifest, Part};
use crate::delta::{Fingerprint, Progress};
use crate::notification::ObjectId;
use crate::sink::{LaneState, Receipt, State};

/// The proof that a batch's advances are on disk. Only the store makes one:
///
/// ```compile_fail
/// let forged = auditferry::checkpoint::Committed(());
/// ```
#[derive(Debug)]
pub struct Committed(());

/// The proof that each of a feed's sinks has had all of an object's content, or that what it has not had is written down
/// in its backlog. Only the store makes one:
///
/// ```compile_fail
/// let forged = auditferry::checkpoint::Passed(());
/// ```
#[derive(Debug)]
pub struct Passed(pub(super) ());

/// An object was read to its end.
pub struct Finish {
    pub feed: Arc<str>,
    /// The name of the family it was read as.
    pub family: &'static str,
    pub object: ObjectId,
    pub etag: Box<str>,
    /// What the reading saw: applied when the store has accepted as many records.
    pub progress: Progress,
    /// Bytes of content that were split into lines.
    pub framed_bytes: u64,
    /// Whether the object's content has changed; if not, its time to be forgotten comes no later.
    pub changed: bool,
    /// What every sink has had of it now that is fresher than what was there.
    pub fresh: Option<Freshness>,
    /// Milliseconds since the epoch.
    pub now_ms: i64,
}

impl CheckpointStore {
    /// Accepts the batch's new records and writes its manifest, in one transaction.
    ///
    /// # Errors
    /// `Overtaken` names an object that does not stand where its part begins; nothing is written then.
    pub async fn seal(&self, seal: Seal) -> Result<Sealed, StoreError> {
        let store = self.clone();
        self.writer.write(move |connection| write_seal(&store, connection, seal)).await
    }

    /// Applies a delivered batch's advances and forgets its manifest, in one transaction.
    pub async fn commit(&self, sealed: &Sealed, receipt: &Receipt) -> Result<Committed, StoreError> {
        let (sealed, receipt) = (sealed.clone(), receipt.clone());
        self.writer.write(move |connection| write_commit(connection, &sealed, &receipt)).await
    }

    /// The same, and in the same transaction [seals](Self::seal) the next batch of the lane. Whether that was sealed is
    /// told apart: a batch that was overtaken leaves the commit as it is.
    pub async fn commit_and_seal(
        &self,
        sealed: &Sealed,
        receipt: &Receipt,
        next: Seal,
    ) -> Result<(Committed, Result<Sealed, StoreError>), StoreError> {
        let (store, sealed, receipt) = (self.clone(), sealed.clone(), receipt.clone());
        let advance = move |connection: &Connection| {
            let committed = write_commit(connection, &sealed, &receipt)?;
            match in_savepoint(connection, |connection| write_seal(&store, connection, next)) {
                Err(error @ StoreError::Overtaken { .. }) => Ok((committed, Err(error))),
                sealed => Ok((committed, Ok(sealed?))),
            }
        };
        self.writer.write(advance).await
    }

    /// Forgets a sealed batch that cannot be made again, and those behind it, which begin where it ends. Their sink stands
    /// where it stood, and gets the batches' records when their objects are next read.
    pub async fn unseal(&self, sealed: &Sealed) -> Result<(), StoreError> {
        let Sealed { lane, manifest } = sealed.clone();
        let unseal = move |connection: &Connection| {
            connection
                .prepare_cached("DELETE FROM batch WHERE sink = ?1 AND lane = ?2 AND seq >= ?3")?
                .execute(params![&*lane.sink, lane.number, rows::int(manifest.seq)])?;
            Ok(())
        };
        self.writer.write(unseal).await
    }

    /// Takes back the acceptance of records that are gone from the object before any sink had them, so that they are new
    /// if they come again: of the accepted sequence, `kept` stands from number `from` on. Says whether that was done; it
    /// is not when some sink has had records from there on.
    ///
    /// # Errors
    /// `Overtaken` when the store does not hold `accepted` records, or a batch is under way.
    pub async fn retract(
        &self,
        object: ObjectId,
        accepted: u64,
        from: u64,
        kept: Vec<Fingerprint>,
    ) -> Result<bool, StoreError> {
        let retract = move |connection: &Connection| {
            let mut row = known(connection, &object)?;
            let furthest: i64 = connection
                .prepare_cached("SELECT coalesce(max(accepted), 0) FROM cursor WHERE object_id = ?1")?
                .query_row([row.id], |row| row.get(0))?;
            let under_way =
                connection.prepare_cached("SELECT 1 FROM batch_part WHERE object_id = ?1")?.exists([row.id])?;
            if row.progress.accepted != accepted || under_way {
                return Err(StoreError::Overtaken { object });
            }
            if rows::count(furthest) > from {
                return Ok(false);
            }
            requeue::place_anew(connection, &object, row.id, from, &kept)?;
            rows::cut_fingerprints(connection, row.id, from)?;
            rows::append_fingerprints(connection, row.id, from, &kept)?;
            // What the last reading saw is not what is accepted any more.
            row.progress = Progress { accepted: from + kept.len() as u64, ..Progress::default() };
            row.progress.digest = blake3::hash(&[]).into();
            row.state = "reading".to_owned();
            row.save(connection, &object)?;
            Ok(true)
        };
        self.writer.write(retract).await
    }

    /// Notes that an object was read to its end, if all it holds was accepted meanwhile. Says whether that is so.
    pub async fn finish(&self, finish: Finish) -> Result<bool, StoreError> {
        let note = move |connection: &Connection| {
            let found = ObjectRow::find(connection, &finish.object)?;
            let mut row = found.unwrap_or_else(|| ObjectRow::new(&finish.feed));
            if row.progress.accepted != finish.progress.accepted {
                return Ok(false);
            }
            row.progress = finish.progress;
            row.family = Some(finish.family.to_owned());
            row.etag = Some(finish.etag.into());
            row.state = "whole".to_owned();
            row.is_archived = false;
            if finish.changed || row.changed_at_ms == 0 {
                row.changed_at_ms = row.changed_at_ms.max(finish.now_ms);
            }
            row.save(connection, &finish.object)?;
            rows::set_framed_bytes(connection, row.id, finish.framed_bytes)?;
            quarantine::heal(connection, &finish.object)?;
            if let Some(fresh) = &finish.fresh {
                freshness::note(connection, fresh, finish.now_ms)?;
            }
            Ok(true)
        };
        self.writer.write(note).await
    }

    /// Forgets what was accepted of an object that was read as another family: it is read as if it were new.
    ///
    /// # Errors
    /// `Overtaken` while a batch holds records of it.
    pub async fn begin_anew(&self, object: ObjectId, family: &'static str) -> Result<(), StoreError> {
        let begin = move |connection: &Connection| {
            let mut row = known(connection, &object)?;
            if connection.prepare_cached("SELECT 1 FROM batch_part WHERE object_id = ?1")?.exists([row.id])? {
                return Err(StoreError::Overtaken { object });
            }
            for table in ["fingerprints", "cursor"] {
                connection.execute(&format!("DELETE FROM {table} WHERE object_id = ?1"), [row.id])?;
            }
            // What it refused is read again too.
            connection.execute(
                "DELETE FROM quarantine WHERE bucket = ?1 AND key = ?2 AND kind <> 'message'",
                params![&*object.bucket, &*object.key],
            )?;
            let progress = Progress { digest: blake3::hash(&[]).into(), ..Progress::default() };
            row = ObjectRow { id: row.id, family: Some(family.to_owned()), progress, ..ObjectRow::new(&row.feed) };
            connection.execute("UPDATE object SET framed_bytes = 0 WHERE id = ?1", [row.id])?;
            row.save(connection, &object)
        };
        self.writer.write(begin).await
    }

    /// Whether each of `sinks` has had all of the object, or what it has not had is in its backlog.
    pub fn passed(&self, object: &ObjectId, sinks: &[Arc<str>]) -> Result<Option<Passed>, StoreError> {
        self.read(|connection| {
            let Some(row) = ObjectRow::find(connection, object)? else { return Ok(None) };
            for sink in sinks {
                let whole = row.state == "whole" && rows::cursor(connection, row.id, sink)? == row.progress.accepted;
                if !whole && !backlog::is_in_backlog(connection, sink, row.id)? {
                    return Ok(None);
                }
            }
            Ok(Some(Passed(())))
        })
    }

    /// Where a lane stands.
    pub fn lane(&self, lane: &Lane) -> Result<LaneState, StoreError> {
        self.read(|connection| batches::lane(connection, lane))
    }

    /// The batches of a lane that were sealed and not committed, in their order.
    pub fn sealed(&self, lane: &Lane) -> Result<Vec<Sealed>, StoreError> {
        self.read(|connection| batches::sealed(connection, lane))
    }

    /// Takes a sink's state as it is told: the sink goes on elsewhere than where its last batch ended.
    pub async fn set_state(&self, lane: Lane, state: State) -> Result<(), StoreError> {
        let set = move |connection: &Connection| {
            let before = batches::lane(connection, &lane)?;
            batches::set_lane(connection, &lane, &LaneState { state: Some(state), ..before })
        };
        self.writer.write(set).await
    }
}

fn write_seal(store: &CheckpointStore, connection: &Connection, seal: Seal) -> Result<Sealed, StoreError> {
    let Seal { lane, encoder, parts, now_ms } = seal;
    for part in &*parts {
        if let Some(acceptance) = &part.acceptance {
            accept(store, connection, part, acceptance, now_ms)?;
        }
    }
    let seq = batches::next_seq(connection, &lane)?;
    let manifest = Manifest::new(store.instance(), &lane, seq, &encoder, &parts);
    batches::insert(connection, &lane, &manifest)?;
    Ok(Sealed { lane, manifest: Arc::new(manifest) })
}

fn write_commit(connection: &Connection, sealed: &Sealed, receipt: &Receipt) -> Result<Committed, StoreError> {
    let Sealed { lane, manifest } = sealed;
    let seq = manifest.seq;
    batches::advance(connection, lane, seq)?;
    requeue::note_delivered(connection, lane, seq)?;
    let before = batches::lane(connection, lane)?;
    let state = receipt.state().cloned().or(before.state);
    batches::set_lane(connection, lane, &LaneState { seq, last_id: Some(manifest.id.clone()), state })?;
    connection.prepare_cached("DELETE FROM batch WHERE sink = ?1 AND lane = ?2 AND seq = ?3")?.execute(params![
        &*lane.sink,
        lane.number,
        rows::int(seq)
    ])?;
    Ok(Committed(()))
}

fn known(connection: &Connection, object: &ObjectId) -> Result<ObjectRow, StoreError> {
    ObjectRow::find(connection, object)?.ok_or_else(|| StoreError::Overtaken { object: object.clone() })
}

/// Appends new records to the object's accepted sequence, unless another sink's batch has brought them already.
fn accept(
    store: &CheckpointStore,
    connection: &Connection,
    part: &Part,
    acceptance: &Acceptance,
    now_ms: i64,
) -> Result<(), StoreError> {
    let object = &part.advance.object;
    let mut row = ObjectRow::find(connection, object)?.unwrap_or_else(|| ObjectRow::new(&acceptance.feed));
    if row.progress.accepted >= acceptance.after {
        return Ok(());
    }
    if row.progress.accepted != acceptance.before {
        return Err(StoreError::Overtaken { object: object.clone() });
    }
    row.progress = acceptance.progress.clone();
    row.state = "reading".to_owned();
    row.changed_at_ms = now_ms;
    row.save(connection, object)?;
    if !acceptance.fingerprints.is_empty() {
        rows::append_fingerprints(connection, row.id, acceptance.before, &acceptance.fingerprints)?;
    }
    quarantine::records(store, connection, &acceptance.feed, part, &acceptance.refused, now_ms)
}

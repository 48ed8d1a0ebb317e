//! Seal, commit, finish: how the positions of an object and its sinks advance.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::batches::{self, Seal, Sealed};
use super::freshness::{self, Freshness};
use super::position::{self, SinkRow};
use super::rows::{self, ObjectRow};
use super::writer::in_savepoint;
use super::{CheckpointStore, StoreError, backlog, fingerprints, quarantine};
use crate::batch::{Acceptance, Advance, Form, Lane, Manifest, Part};
use crate::delta::Progress;
use crate::notification::ObjectId;
use crate::sink::{LaneState, Receipt, State};

/// The proof that a batch's advances are on disk. Only the store makes one:
///
/// ```compile_fail
/// let forged = auditferry::checkpoint::Committed(Vec::new());
/// ```
#[derive(Debug)]
pub struct Committed(Vec<GapChange>);

impl Committed {
    /// What the batch did to its sink's gaps, once for each object.
    pub fn gap_changes(&self) -> &[GapChange] {
        &self.0
    }
}

/// How the gap of a sink in an object changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GapChange {
    pub object: ObjectId,
    /// Records that were gone before the sink had them.
    pub opened: u64,
    /// Records that came back, and the sink has had them; out of quarantine none count.
    pub filled: u64,
}

/// The proof that each of a feed's sinks has had all of an object's content, or has the object in its backlog. Only the
/// store makes one:
///
/// ```compile_fail
/// let forged = auditferry::checkpoint::Passed(());
/// ```
#[derive(Debug)]
pub struct Passed(pub(super) ());

/// An object was read to its end.
pub struct Finish {
    pub feed: Arc<str>,
    /// The sinks that were offered all of it, and have had what they were offered.
    pub sinks: Vec<Arc<str>>,
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
    /// The newest event that every sink has had of it, where it is newer than the stored one.
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

    /// The same, and in the same transaction [seals](Self::seal) the next batch of the lane. The second result is that of
    /// the seal: a batch that was overtaken does not undo the commit.
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

    /// Forgets a sealed batch that cannot be rebuilt, and those behind it, which begin where it ends. The sink keeps its
    /// position, and gets the batches' records when their objects are next read.
    pub async fn unseal(&self, sealed: &Sealed) -> Result<(), StoreError> {
        let Sealed { lane, manifest } = sealed.clone();
        let unseal = move |connection: &Connection| {
            let newer = batches::sealed(connection, &lane)?.into_iter().filter(|one| one.manifest.seq >= manifest.seq);
            for sealed in newer {
                for (object_id, advance) in batches::advances(connection, &lane, sealed.manifest.seq)? {
                    position::take_back(connection, object_id, &lane.sink, &advance)?;
                }
            }
            connection
                .prepare_cached("DELETE FROM batch WHERE sink = ?1 AND lane = ?2 AND seq >= ?3")?
                .execute(params![&*lane.sink, lane.number, rows::int(manifest.seq)])?;
            Ok(())
        };
        self.writer.write(unseal).await
    }

    /// Records that an object was read to its end, if all of its content is accepted by now, and which sinks were offered
    /// all of it. Returns whether it was.
    pub async fn finish(&self, finish: Finish) -> Result<bool, StoreError> {
        let note = move |connection: &Connection| {
            let found = ObjectRow::find(connection, &finish.object)?;
            let mut row = found.unwrap_or_else(|| ObjectRow::new(&finish.feed));
            if row.progress.accepted != finish.progress.accepted {
                return Ok(false);
            }
            let is_same = row.state == "whole"
                && row.etag.as_deref() == Some(&*finish.etag)
                && row.progress.digest == finish.progress.digest
                && row.progress.content_bytes == finish.progress.content_bytes;
            row.read += u64::from(!is_same);
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
            fingerprints::tidy(connection, row.id, row.progress.accepted)?;
            for sink in &finish.sinks {
                let stands = SinkRow::find(connection, row.id, sink)?;
                if stands.read != Some(row.read) {
                    SinkRow { read: Some(row.read), ..stands }.save(connection, row.id, sink)?;
                }
            }
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
    /// `Overtaken` while a sealed batch has records of it.
    pub async fn begin_anew(&self, object: ObjectId, family: &'static str) -> Result<(), StoreError> {
        let begin = move |connection: &Connection| {
            let mut row = known(connection, &object)?;
            if connection.prepare_cached("SELECT 1 FROM batch_part WHERE object_id = ?1")?.exists([row.id])? {
                return Err(StoreError::Overtaken { object });
            }
            for table in ["fingerprints", "cursor", "requeued"] {
                connection.execute(&format!("DELETE FROM {table} WHERE object_id = ?1"), [row.id])?;
            }
            // Its refused records are read again too.
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

    /// Whether each of `sinks` was offered all of the last version read and has had it, or what it has not had is in its
    /// backlog.
    pub fn passed(&self, object: &ObjectId, sinks: &[Arc<str>]) -> Result<Option<Passed>, StoreError> {
        self.read(|connection| {
            let Some(row) = ObjectRow::find(connection, object)? else { return Ok(None) };
            for sink in sinks {
                let is_settled = SinkRow::find(connection, row.id, sink)?.is_settled(&row);
                if !is_settled && !backlog::is_in_backlog(connection, sink, row.id)? {
                    return Ok(None);
                }
            }
            Ok(Some(Passed(())))
        })
    }

    /// A lane's state.
    pub fn lane(&self, lane: &Lane) -> Result<LaneState, StoreError> {
        self.read(|connection| batches::lane(connection, lane))
    }

    /// The batches of a lane that were sealed and not committed, in their order.
    pub fn sealed(&self, lane: &Lane) -> Result<Vec<Sealed>, StoreError> {
        self.read(|connection| batches::sealed(connection, lane))
    }

    /// Stores a sink's state: the sink goes on elsewhere than where its last batch ended.
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
    let mut gaps: Vec<GapChange> = Vec::new();
    for (object_id, advance) in batches::advances(connection, lane, seq)? {
        position::apply(connection, object_id, &lane.sink, &advance)?;
        note_gap(&mut gaps, &advance, position::counted(connection, object_id, &advance)?);
    }
    let before = batches::lane(connection, lane)?;
    let state = receipt.state().cloned().or(before.state);
    // The receiver never hears of a batch without events: the last that it knows is the one before.
    let last_id = if manifest.pieces().next().is_some() { Some(manifest.id.clone()) } else { before.last_id };
    batches::set_lane(connection, lane, &LaneState { seq, last_id, state })?;
    connection.prepare_cached("DELETE FROM batch WHERE sink = ?1 AND lane = ?2 AND seq = ?3")?.execute(params![
        &*lane.sink,
        lane.number,
        rows::int(seq)
    ])?;
    Ok(Committed(gaps))
}

fn note_gap(gaps: &mut Vec<GapChange>, advance: &Advance, places: u64) {
    if places == 0 {
        return;
    }
    let at = gaps.iter().position(|gap| gap.object == advance.object).unwrap_or_else(|| {
        gaps.push(GapChange { object: advance.object.clone(), opened: 0, filled: 0 });
        gaps.len() - 1
    });
    match &advance.form {
        Form::Onward { .. } => gaps[at].opened += places,
        Form::Fill { .. } => gaps[at].filled += places,
    }
}

fn known(connection: &Connection, object: &ObjectId) -> Result<ObjectRow, StoreError> {
    ObjectRow::find(connection, object)?.ok_or_else(|| StoreError::Overtaken { object: object.clone() })
}

/// Appends new records to the object's accepted sequence, unless another sink's batch has done so already.
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
        fingerprints::append(connection, row.id, acceptance.before, &acceptance.fingerprints)?;
    }
    quarantine::records(store, connection, &acceptance.feed, part, &acceptance.refused, now_ms)
}

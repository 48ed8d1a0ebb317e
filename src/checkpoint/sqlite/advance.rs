//! Sealing, committing, finishing: how the positions of an object and its sinks advance.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::position::{self, SinkRow};
use super::refusals::Refusals;
use super::rows::{self, ObjectRow};
use super::writer::in_savepoint;
use super::{Shared, SqliteStore, backlog, batches, fingerprints, freshness, quarantine, retry};
use crate::batch::{Acceptance, Advance, Form, Lane, Manifest, Part, Refused};
use crate::checkpoint::{
    Answer, Committed, Finish, GapChange, ObjectPosition, Passed, Positions, QuarantineLimits, Seal, Sealed, StoreError,
};
use crate::delta::{Fingerprint, Progress, Ranges};
use crate::notification::ObjectId;
use crate::sink::{self, LaneState, Receipt, State};

impl Positions for SqliteStore {
    fn position(&self, object: &ObjectId, sinks: &[Arc<str>]) -> Answer<'_, ObjectPosition> {
        let (object, sinks) = (object.clone(), sinks.to_vec());
        self.read(move |connection| position::find(connection, &object, &sinks))
    }

    fn positions(&self, objects: &[ObjectId], sinks: &[Arc<str>]) -> Answer<'_, Vec<ObjectPosition>> {
        let (objects, sinks) = (objects.to_vec(), sinks.to_vec());
        self.read(move |connection| objects.iter().map(|object| position::find(connection, object, &sinks)).collect())
    }

    fn fingerprints(&self, object: &ObjectId, from: u64) -> Answer<'_, Vec<Fingerprint>> {
        let object = object.clone();
        self.read(move |connection| match ObjectRow::find(connection, &object)? {
            Some(row) => fingerprints::read(connection, row.id, from),
            None => Ok(Vec::new()),
        })
    }

    fn accept(&self, part: Part, now_ms: i64) -> Answer<'_, ()> {
        let limits = self.shared.quarantine;
        self.write(move |connection| match &part.acceptance {
            Some(acceptance) => accept(limits, connection, &part, acceptance, now_ms),
            None => Ok(()),
        })
    }

    fn seal(&self, seal: Seal) -> Answer<'_, Sealed> {
        let shared = Arc::clone(&self.shared);
        self.write(move |connection| write_seal(&shared, connection, seal))
    }

    fn commit(&self, sealed: &Sealed, receipt: &Receipt, now_ms: i64) -> Answer<'_, Committed> {
        let (limits, sealed, receipt) = (self.shared.quarantine, sealed.clone(), receipt.clone());
        self.write(move |connection| write_commit(limits, connection, &sealed, &receipt, now_ms))
    }

    fn commit_and_seal(
        &self,
        sealed: &Sealed,
        receipt: &Receipt,
        next: Seal,
    ) -> Answer<'_, (Committed, Result<Sealed, StoreError>)> {
        let (shared, sealed, receipt) = (Arc::clone(&self.shared), sealed.clone(), receipt.clone());
        self.write(move |connection| {
            let committed = write_commit(shared.quarantine, connection, &sealed, &receipt, next.now_ms)?;
            match in_savepoint(connection, |connection| write_seal(&shared, connection, next)) {
                Err(error @ StoreError::Overtaken { .. }) => Ok((committed, Err(error))),
                sealed => Ok((committed, Ok(sealed?))),
            }
        })
    }

    fn commit_not_had(&self, sealed: &Sealed, now_ms: i64) -> Answer<'_, ()> {
        let sealed = sealed.clone();
        self.write(move |connection| write_not_had(connection, &sealed, now_ms))
    }

    fn note_progress(&self, sealed: &Sealed, progress: sink::Progress) -> Answer<'_, ()> {
        let sealed = sealed.clone();
        self.write(move |connection| batches::set_progress(connection, &sealed, &progress))
    }

    fn settle_lanes(&self, sink: Arc<str>, wanted: u16) -> Answer<'_, u16> {
        self.write(move |connection| batches::settle_lanes(connection, &sink, wanted))
    }

    fn sealed(&self, lane: &Lane) -> Answer<'_, Vec<Sealed>> {
        let lane = lane.clone();
        self.read(move |connection| batches::sealed(connection, &lane))
    }

    fn lane(&self, lane: &Lane) -> Answer<'_, LaneState> {
        let lane = lane.clone();
        self.read(move |connection| batches::lane(connection, &lane))
    }

    fn set_state(&self, lane: Lane, state: State) -> Answer<'_, ()> {
        self.write(move |connection| {
            let before = batches::lane(connection, &lane)?;
            batches::set_lane(connection, &lane, &LaneState { state: Some(state), ..before })
        })
    }

    fn finish(&self, finish: Finish) -> Answer<'_, bool> {
        self.write(move |connection| write_finish(connection, finish))
    }

    fn begin_anew(&self, object: ObjectId, family: &'static str) -> Answer<'_, ()> {
        self.write(move |connection| write_anew(connection, &object, family))
    }

    fn passed(&self, object: &ObjectId, sinks: &[Arc<str>]) -> Answer<'_, Option<Passed>> {
        let (object, sinks) = (object.clone(), sinks.to_vec());
        self.read(move |connection| match ObjectRow::find(connection, &object)? {
            Some(row) => position::passed(connection, &row, &sinks),
            None => Ok(None),
        })
    }
}

fn write_seal(shared: &Shared, connection: &Connection, seal: Seal) -> Result<Sealed, StoreError> {
    let Seal { lane, encoder, limits, parts, now_ms } = seal;
    for part in &*parts {
        if let Some(acceptance) = &part.acceptance {
            accept(shared.quarantine, connection, part, acceptance, now_ms)?;
        }
        refuse_known(shared.quarantine, connection, part, now_ms)?;
    }
    let seq = batches::next_seq(connection, &lane)?;
    let manifest = Manifest::new(&shared.instance, &lane, seq, &encoder, limits, &parts);
    batches::insert(connection, &lane, &manifest)?;
    Ok(Sealed { lane, manifest: Arc::new(manifest), progress: sink::Progress::default() })
}

fn write_commit(
    limits: QuarantineLimits,
    connection: &Connection,
    sealed: &Sealed,
    receipt: &Receipt,
    now_ms: i64,
) -> Result<Committed, StoreError> {
    let Sealed { lane, manifest, .. } = sealed;
    let seq = manifest.seq;
    let mut gaps: Vec<GapChange> = Vec::new();
    let mut refusals = Refusals::new(connection, limits, &lane.sink, now_ms);
    for (object_id, advance) in batches::advances(connection, lane, seq)? {
        position::apply(connection, object_id, &lane.sink, &advance)?;
        let counted = position::counted(connection, object_id, &advance)?;
        note_gap(connection, &mut gaps, &advance, counted.saturating_sub(refusals.fill(object_id, &advance)?))?;
    }
    let quarantine = refusals.refuse(receipt.refused())?;
    let before = batches::lane(connection, lane)?;
    let state = receipt.state().cloned().or(before.state);
    // A batch without events is never sent, so the receiver's last batch is an earlier one.
    let last_id = if manifest.pieces().next().is_some() { Some(manifest.id.clone()) } else { before.last_id };
    batches::set_lane(connection, lane, &LaneState { seq, last_id, state })?;
    batches::remove(connection, lane, seq)?;
    Ok(Committed { gaps, quarantine })
}

fn write_not_had(connection: &Connection, sealed: &Sealed, now_ms: i64) -> Result<(), StoreError> {
    let Sealed { lane, manifest, .. } = sealed;
    for (object_id, advance) in batches::advances(connection, lane, manifest.seq)? {
        pass_over(connection, object_id, &lane.sink, &advance)?;
        backlog::add(connection, &lane.sink, object_id, now_ms)?;
    }
    let before = batches::lane(connection, lane)?;
    batches::set_lane(connection, lane, &LaneState { seq: manifest.seq, ..before })?;
    batches::remove(connection, lane, manifest.seq)
}

/// Applies the advance of a batch that the sink never had. The places of its records become part of the gap, except
/// those in quarantine, which every sink passes.
fn pass_over(connection: &Connection, object_id: i64, sink: &str, advance: &Advance) -> Result<(), StoreError> {
    let Form::Onward { gap } = &advance.form else {
        // The sink's cursor may be at the object's end. Without a `read` it still counts as lacking records.
        return SinkRow { read: None, ..SinkRow::find(connection, object_id, sink)? }.save(connection, object_id, sink);
    };
    let mut passed = retry::in_quarantine(connection, &advance.object, advance.before)?;
    let mut lacked = Ranges::default();
    for place in advance.before..advance.after {
        if gap.contains(place) || !passed.contains(place) {
            lacked.push(place..place + 1);
        }
    }
    position::apply(connection, object_id, sink, &Advance { form: Form::Onward { gap: lacked }, ..advance.clone() })
}

fn write_finish(connection: &Connection, finish: Finish) -> Result<bool, StoreError> {
    let found = ObjectRow::find(connection, &finish.object)?;
    let mut row = found.unwrap_or_else(|| ObjectRow::new(&finish.feed));
    if row.progress.accepted != finish.progress.accepted {
        return Ok(false);
    }
    let is_same = row.state == "whole"
        && row.etag.as_deref() == Some(&*finish.etag)
        && row.progress.digest == finish.progress.digest
        && row.progress.content_bytes == finish.progress.content_bytes;
    if finish.is_late && row.state == "whole" && !is_same {
        return Ok(false);
    }
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
}

fn write_anew(connection: &Connection, object: &ObjectId, family: &str) -> Result<(), StoreError> {
    let mut row = known(connection, object)?;
    if connection.prepare_cached("SELECT 1 FROM batch_part WHERE object_id = ?1")?.exists([row.id])? {
        return Err(StoreError::Overtaken { object: object.clone() });
    }
    for table in ["fingerprints", "cursor", "requeued", "requeued_event"] {
        connection.execute(&format!("DELETE FROM {table} WHERE object_id = ?1"), [row.id])?;
    }
    // The quarantined records and events of the object are read again too.
    connection.execute(
        "DELETE FROM quarantine WHERE bucket = ?1 AND key = ?2 AND kind <> 'message'",
        params![&*object.bucket, &*object.key],
    )?;
    let progress = Progress { digest: blake3::hash(&[]).into(), ..Progress::default() };
    row = ObjectRow { id: row.id, family: Some(family.to_owned()), progress, ..ObjectRow::new(&row.feed) };
    connection.execute("UPDATE object SET framed_bytes = 0 WHERE id = ?1", [row.id])?;
    row.save(connection, object)
}

fn note_gap(
    connection: &Connection,
    gaps: &mut Vec<GapChange>,
    advance: &Advance,
    places: u64,
) -> Result<(), StoreError> {
    if places == 0 {
        return Ok(());
    }
    let object = &advance.object;
    let at = match gaps.iter().position(|gap| gap.object == *object) {
        Some(at) => at,
        None => {
            let feed = known(connection, object)?.feed.into();
            gaps.push(GapChange { feed, object: object.clone(), opened: 0, filled: 0 });
            gaps.len() - 1
        }
    };
    match &advance.form {
        Form::Onward { .. } => gaps[at].opened += places,
        Form::Fill { .. } => gaps[at].filled += places,
    }
    Ok(())
}

fn known(connection: &Connection, object: &ObjectId) -> Result<ObjectRow, StoreError> {
    ObjectRow::find(connection, object)?.ok_or_else(|| StoreError::Overtaken { object: object.clone() })
}

/// Quarantines accepted records that cannot be decoded any more, so that the part's sink did not get them. A sink that
/// passes one has it in its gap, like a record that was requeued and refused again. Existing entries stay as they are.
fn refuse_known(limits: QuarantineLimits, connection: &Connection, part: &Part, now_ms: i64) -> Result<(), StoreError> {
    if part.refused.is_empty() {
        return Ok(());
    }
    let object = &part.advance.object;
    let row = known(connection, object)?;
    let mut there = retry::in_quarantine(connection, object, 0)?;
    let new: Vec<Refused> = part.refused.iter().filter(|refused| !there.contains(refused.place)).cloned().collect();
    quarantine::records(limits, connection, &part.provenance.feed, part, &new, now_ms)?;
    retry::lack(connection, row.id, &new)
}

/// Appends new records to the object's accepted sequence, unless another sink's batch has done so already.
fn accept(
    limits: QuarantineLimits,
    connection: &Connection,
    part: &Part,
    acceptance: &Acceptance,
    now_ms: i64,
) -> Result<(), StoreError> {
    let object = &part.advance.object;
    let mut row = ObjectRow::find(connection, object)?.unwrap_or_else(|| ObjectRow::new(&acceptance.feed));
    if row.progress.accepted >= acceptance.after {
        // Another sink's part of the same reading accepted these records already. If another reading accepted other
        // records at these places, the part is overtaken.
        return match fingerprints::stand(connection, row.id, acceptance.before, &acceptance.fingerprints)? {
            true => Ok(()),
            false => Err(StoreError::Overtaken { object: object.clone() }),
        };
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
    quarantine::records(limits, connection, &acceptance.feed, part, &acceptance.refused, now_ms)
}

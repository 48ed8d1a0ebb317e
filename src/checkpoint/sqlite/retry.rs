//! Records on their way out of quarantine. A requeued record becomes part of the gap of each sink that has passed it,
//! until the sink has had it.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::further::{self, ALL};
use super::places::{self, Owner};
use super::position::SinkRow;
use super::refused::{KEPT, bounded};
use super::rows::{ObjectRow, count, int};
use super::{batches, events, requeue};
use crate::batch::Refused;
use crate::checkpoint::{KeptRecord, Retried, StoreError};
use crate::delta::Places;
use crate::notification::ObjectId;
use crate::reading::{QuarantinedPlaces, RefusedAgain};

/// Why a requeued record stays in quarantine: it was not found in its object, and its bytes were not kept.
const NOT_HELD: &str = "its object does not hold the record any more, and its bytes were not kept";
const FURTHER_NOT_HELD: &str = "tried again; their object does not hold them any more";

/// The records of one object that are in quarantine, from some place on.
#[derive(Default)]
struct InQuarantine {
    all: Places,
    /// The requeued records with entries of their own: for each place the number of the entry, and whether the record's
    /// bytes are kept. `further` are the requeued records that share an entry, `further_id` is the entry's number.
    listed: BTreeMap<u64, (u64, bool)>,
    further: Places,
    further_id: Option<u64>,
}

impl InQuarantine {
    /// Only requests up to number `up_to` count.
    fn load(connection: &Connection, object: &ObjectId, from: u64, up_to: u64) -> Result<Self, StoreError> {
        let mut found = Self::default();
        let shared = connection
            .prepare_cached(
                "SELECT id, request <= ?3 FROM quarantine
                 WHERE kind = 'record' AND bucket = ?1 AND key = ?2 AND further IS NOT NULL",
            )?
            .query_row(params![&*object.bucket, &*object.key, int(up_to)], |row| {
                Ok((row.get(0)?, row.get::<_, Option<bool>>(1)?))
            })
            .optional()?;
        if let Some((id, is_asked)) = shared {
            found.all = places::load(connection, Owner::Entry(id), from..=u64::MAX)?;
            if is_asked == Some(true) {
                (found.further, found.further_id) = (found.all.clone(), Some(count(id)));
            }
        }
        let mut statement = connection.prepare_cached(
            "SELECT place, id, body_zstd IS NOT NULL, request <= ?4 FROM quarantine
             WHERE kind = 'record' AND bucket = ?1 AND key = ?2 AND place >= ?3 ORDER BY place",
        )?;
        let mut rows = statement.query(params![&*object.bucket, &*object.key, int(from), int(up_to)])?;
        while let Some(row) = rows.next()? {
            let place = count(row.get(0)?);
            found.all.insert(place);
            if row.get::<_, Option<bool>>(3)? == Some(true) {
                found.listed.insert(place, (count(row.get(1)?), row.get(2)?));
            }
        }
        Ok(found)
    }

    /// The places of all requeued records; with `only_unkept` only of those whose bytes were not kept, so that the
    /// object must be read for them.
    fn asked(&self, only_unkept: bool) -> Places {
        let mut asked = self.further.clone();
        let listed = self.listed.iter().filter(|(_, (_, is_kept))| !only_unkept || !is_kept);
        listed.for_each(|(place, _)| _ = asked.insert(*place));
        asked
    }
}

/// The object's records in quarantine: all with places from `from` on, and maybe others.
pub(super) fn places(connection: &Connection, object: &ObjectId, from: u64) -> Result<QuarantinedPlaces, StoreError> {
    let Some(row) = ObjectRow::find(connection, object)? else { return Ok(QuarantinedPlaces::default()) };
    let mut found = InQuarantine::load(connection, object, from, u64::MAX)?;
    let mut opened = places::load(connection, Owner::Requeued { object_id: row.id }, from..=u64::MAX)?;
    let mut closed = found.all.clone();
    closed.remove_places(&mut opened);
    found.listed.retain(|place, _| opened.contains(*place));
    found.further.remove_places(&mut closed);
    let mut withheld = found.all.clone();
    withheld.remove_places(&mut closed);
    let (mut asked, mut delivered) = (found.asked(false), Places::default());
    withheld.remove_places(&mut asked);
    let some = if asked.is_empty() { Vec::new() } else { sinks(connection, row.id)? };
    for sink in some {
        let owner = Owner::Gap { object_id: row.id, sink: &sink };
        let mut had = asked.clone();
        had.truncate(SinkRow::find(connection, row.id, &sink)?.accepted);
        had.remove_places(&mut places::load(connection, owner, from..=u64::MAX)?);
        delivered.insert_places(&mut had);
    }
    let listed = found.listed.into_keys().collect();
    Ok(QuarantinedPlaces { closed, withheld, listed, further: found.further, delivered })
}

/// The places of records that requests up to number `up_to` ask for and whose bytes are kept.
pub(super) fn kept_places(connection: &Connection, object: &ObjectId, up_to: u64) -> Result<Vec<u64>, StoreError> {
    let found = InQuarantine::load(connection, object, 0, up_to)?;
    Ok(found.listed.into_iter().filter_map(|(place, (_, is_kept))| is_kept.then_some(place)).collect())
}

/// The record at a place, if it is in quarantine with its bytes.
pub(super) fn kept_record(
    connection: &Connection,
    object: &ObjectId,
    place: u64,
) -> Result<Option<KeptRecord>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {KEPT} FROM quarantine
         WHERE kind = 'record' AND bucket = ?1 AND key = ?2 AND place = ?3 AND body_zstd IS NOT NULL"
    ))?;
    Ok(statement.query_row(params![&*object.bucket, &*object.key, int(place)], KeptRecord::of).optional()?)
}

/// The places of the object's records in quarantine, from some place on.
pub(super) fn in_quarantine(connection: &Connection, object: &ObjectId, from: u64) -> Result<Places, StoreError> {
    Ok(InQuarantine::load(connection, object, from, u64::MAX)?.all)
}

/// Applies the open requests for an object.
pub(super) fn open(connection: &Connection, object: &ObjectId) -> Result<Option<u64>, StoreError> {
    let up_to = requeue::is_requeued(connection, object)?.then(|| requeue::last_request(connection)).transpose()?;
    let Some(row) = ObjectRow::find(connection, object)? else { return Ok(up_to) };
    let owner = Owner::Requeued { object_id: row.id };
    let mut opened = places::load(connection, owner, ALL)?;
    let mut found = InQuarantine::load(connection, object, 0, u64::MAX)?;
    let mut new = found.asked(false);
    new.remove_places(&mut opened);
    let mut purged = opened.clone();
    purged.remove_places(&mut found.all);
    let mut filling = connection.prepare_cached("SELECT 1 FROM batch_part WHERE object_id = ?1 AND fills")?;
    let is_sealed = filling.exists([row.id])?;
    if is_sealed {
        // A sealed batch that fills a gap can be committed only if all its places are still in the gap.
        purged = Places::default();
    }
    let unkept = found.asked(true);
    for sink in sinks(connection, row.id)? {
        let owner = Owner::Gap { object_id: row.id, sink: &sink };
        let stood = SinkRow::find(connection, row.id, &sink)?;
        let (mut gap, mut stands) = (places::load(connection, owner, ALL)?, stood);
        let mut passed = new.clone();
        passed.truncate(batches::passed(connection, row.id, &sink)?.max(stood.accepted));
        stands.gap += gap.insert_places(&mut passed);
        stands.gap = stands.gap.saturating_sub(gap.remove_places(&mut purged));
        if unkept.clone().remove_places(&mut gap) > 0 {
            // The version that the sink was last offered whole may hold the requeued records.
            stands.read = None;
        }
        if stands != stood {
            stands.save(connection, row.id, &sink)?;
            places::save(connection, owner, &mut gap)?;
        }
    }
    opened.insert_places(&mut new);
    opened.remove_places(&mut purged);
    places::save(connection, owner, &mut opened)?;
    events::open(connection, object, row.id, is_sealed)?;
    Ok(up_to)
}

/// Adds accepted records that are new in quarantine to the requeued places, so that a sink that passes one has it in
/// its gap.
pub(super) fn lack(connection: &Connection, object_id: i64, records: &[Refused]) -> Result<(), StoreError> {
    let owner = Owner::Requeued { object_id };
    let mut opened = places::load(connection, owner, ALL)?;
    records.iter().for_each(|refused| _ = opened.insert(refused.place));
    places::save(connection, owner, &mut opened)
}

/// The sinks that have had records of an object, or have some in a sealed batch.
fn sinks(connection: &Connection, object_id: i64) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT sink FROM cursor WHERE object_id = ?1 UNION SELECT sink FROM batch_part WHERE object_id = ?1",
    )?;
    let sinks = statement.query_map([object_id], |row| row.get(0))?;
    Ok(sinks.collect::<Result<_, _>>()?)
}

/// Accounts for the records that requests up to number `up_to` ask for.
pub(super) fn note(
    connection: &Connection,
    object: &ObjectId,
    sinks: &[Arc<str>],
    up_to: u64,
    refused: RefusedAgain,
) -> Result<Retried, StoreError> {
    let Some(row) = ObjectRow::find(connection, object)? else { return Ok(Retried::default()) };
    let found = InQuarantine::load(connection, object, 0, up_to)?;
    let owner = Owner::Requeued { object_id: row.id };
    let mut opened = places::load(connection, owner, ALL)?;
    let mut had = found.asked(false);
    let mut closed = had.clone();
    closed.remove_places(&mut opened);
    had.remove_places(&mut closed);
    let mut are_settled = true;
    let mut retried = Retried { refused: events::note_others(connection, object, sinks, up_to)?, ..Retried::default() };
    for sink in sinks {
        let stands = SinkRow::find(connection, row.id, sink)?;
        had.truncate(stands.accepted);
        had.remove_places(&mut places::load(connection, Owner::Gap { object_id: row.id, sink }, ALL)?);
        let is_settled = stands.is_settled(&row);
        are_settled &= is_settled;
        if is_settled {
            retried.refused += events::note(connection, object, row.id, sink, up_to)?;
        }
    }
    for (place, (id, is_kept)) in found.listed {
        let reason = refused.listed.get(&place).map(String::as_str);
        if had.contains(place) {
            retried.delivered += 1;
            connection.prepare_cached("DELETE FROM quarantine WHERE id = ?1")?.execute([int(id)])?;
        } else if let Some(reason) = reason.or((are_settled && !is_kept && !closed.contains(place)).then_some(NOT_HELD))
        {
            retried.refused += 1;
            refuse(connection, id, reason)?;
        }
    }
    if let Some(id) = found.further_id {
        let (mut left, before) = (found.further, retried.delivered);
        retried.delivered += left.remove_places(&mut had);
        further::take_out(connection, id, &mut left, retried.delivered - before)?;
        if are_settled && !left.is_empty() {
            retried.refused += refused.further;
            let reason = refused
                .first_further
                .map(|(ordinal, why)| format!("tried again, {} are refused: record {ordinal}: {why}", refused.further));
            refuse(connection, id, reason.as_deref().unwrap_or(FURTHER_NOT_HELD))?;
        }
    }
    opened.remove_places(&mut had);
    places::save(connection, owner, &mut opened)?;
    Ok(retried)
}

fn refuse(connection: &Connection, id: u64, reason: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE quarantine SET request = NULL, reason = ?2 WHERE id = ?1")?
        .execute(params![int(id), bounded(reason)])?;
    Ok(())
}

/// The sinks that have had a requeued record.
pub(super) fn had(connection: &Connection, object: &ObjectId, place: u64) -> Result<Vec<String>, StoreError> {
    let Some(row) = ObjectRow::find(connection, object)? else { return Ok(Vec::new()) };
    if !places::load(connection, Owner::Requeued { object_id: row.id }, place..=place)?.contains(place) {
        return Ok(Vec::new());
    }
    let mut had = sinks(connection, row.id)?;
    for at in (0..had.len()).rev() {
        let owner = Owner::Gap { object_id: row.id, sink: &had[at] };
        let lacks = places::load(connection, owner, place..=place)?.contains(place);
        if lacks || SinkRow::find(connection, row.id, &had[at])?.accepted <= place {
            had.remove(at);
        }
    }
    Ok(had)
}

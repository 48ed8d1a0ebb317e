//! Events in quarantine: how their sink comes to lack them once somebody asks for them, and what is kept of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use rusqlite::{Connection, Row, params};

use super::backlog;
use super::further::{ALL, Which};
use super::places::{self, Owner};
use super::position::SinkRow;
use super::refused::bounded;
use super::rows::{ObjectRow, count, int};
use crate::checkpoint::{KeptEvent, StoreError};
use crate::delta::Places;
use crate::event::{Class, EventId, Head, Severity, Status};
use crate::notification::ObjectId;
use crate::reading::LackedEvents;

/// Why an event stays whose object was read, and whose bytes are nowhere.
const NOT_HELD: &str = "its object does not hold the record any more, and its bytes were not kept";
const NO_SINK: &str = "its feed has no sink of this name any more";
const FURTHER_NOT_HELD: &str = "tried again; the object does not hold their records any more";

pub(super) fn which<'a>(sink: &'a str, object: &'a ObjectId) -> Which<'a> {
    Which { kind: "event", sink: Some(sink), object }
}

/// The entry stays for this reason, and nobody asks for it any more.
pub(super) fn stay(connection: &Connection, id: u64, reason: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE quarantine SET request = NULL, reason = ?2 WHERE id = ?1")?
        .execute(params![int(id), bounded(reason)])?;
    Ok(())
}

/// What an envelope says of an event besides its identity: its time and class, the highest byte of each first, its severity and
/// status, and what it chose of what its sink told apart then.
pub(super) fn packed(head: &Head) -> Vec<u8> {
    let Head { uid: _, time_ms, place: _, index: _, class, severity, status, choice } = *head;
    [&time_ms.to_be_bytes()[..], &class.uid().to_be_bytes(), &[severity as u8, status as u8, choice]].concat()
}

fn unpacked(uid: EventId, place: u64, index: u32, packed: &[u8]) -> Option<Head> {
    let (time_ms, rest) = packed.split_first_chunk()?;
    let &[high, low, severity, status, choice] = rest else { return None };
    let class = Class::of_uid(u16::from_be_bytes([high, low]))?;
    let status = [Status::Unknown, Status::Success, Status::Failure].into_iter().find(|each| *each as u8 == status)?;
    let severity = Severity::ALL.into_iter().find(|each| *each as u8 == severity)?;
    Some(Head { uid, time_ms: i64::from_be_bytes(*time_ms), place, index, class, severity, status, choice })
}

/// One event of a sink in quarantine.
struct Listed {
    id: u64,
    place: u64,
    uid: EventId,
    request: Option<u64>,
    is_kept: bool,
}

/// The events of one object that one sink has in quarantine.
struct InQuarantine {
    listed: Vec<Listed>,
    /// The entry of the records whose events share one: its number, and that of the request to try it again.
    further: Option<(u64, Option<u64>)>,
    /// The places of these.
    further_places: Places,
    /// Since when the first of them is there.
    since_ms: i64,
}

impl InQuarantine {
    fn load(connection: &Connection, object: &ObjectId, sink: &str) -> Result<Self, StoreError> {
        let further = which(sink, object).find(connection)?;
        let further_places = match further {
            Some((id, _)) => places::load(connection, Owner::Entry(int(id)), ALL)?,
            None => Places::default(),
        };
        let mut statement = connection.prepare_cached(
            "SELECT id, place, uid, request, body_zstd IS NOT NULL FROM quarantine
             WHERE kind = 'event' AND bucket = ?1 AND key = ?2 AND sink = ?3 AND further IS NULL ORDER BY place, id",
        )?;
        let listed = |row: &Row<'_>| {
            Ok(Listed {
                id: count(row.get(0)?),
                place: count(row.get(1)?),
                uid: EventId(row.get(2)?),
                request: row.get::<_, Option<i64>>(3)?.map(count),
                is_kept: row.get(4)?,
            })
        };
        let listed = statement.query_map(params![&*object.bucket, &*object.key, sink], listed)?;
        let since_ms: Option<i64> = connection
            .prepare_cached(
                "SELECT min(at_ms) FROM quarantine WHERE kind = 'event' AND bucket = ?1 AND key = ?2 AND sink = ?3",
            )?
            .query_row(params![&*object.bucket, &*object.key, sink], |row| row.get(0))?;
        let (listed, since_ms) = (listed.collect::<Result<_, _>>()?, since_ms.unwrap_or(0));
        Ok(Self { listed, further, further_places, since_ms })
    }

    fn all(&self) -> Places {
        let mut all = self.further_places.clone();
        self.listed.iter().for_each(|event| _ = all.insert(event.place));
        all
    }

    fn asked(&self) -> Places {
        let is_asked = self.further.is_some_and(|(_, request)| request.is_some());
        let mut asked = if is_asked { self.further_places.clone() } else { Places::default() };
        let listed = self.listed.iter().filter(|event| event.request.is_some());
        listed.for_each(|event| _ = asked.insert(event.place));
        asked
    }
}

/// The sinks that have events of the object in quarantine, or had some that were requeued.
fn sinks(connection: &Connection, object: &ObjectId, object_id: i64) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT sink FROM quarantine WHERE kind = 'event' AND bucket = ?1 AND key = ?2 AND sink IS NOT NULL
         UNION SELECT sink FROM requeued_event WHERE object_id = ?3",
    )?;
    let sinks = statement.query_map(params![&*object.bucket, &*object.key, object_id], |row| row.get(0))?;
    Ok(sinks.collect::<Result<_, _>>()?)
}

/// Takes up what is asked for of the object: the sink of each event comes to lack it, and has the object in its backlog. What
/// was purged since nobody lacks any more, unless a sealed batch may fill it.
pub(super) fn open(
    connection: &Connection,
    object: &ObjectId,
    object_id: i64,
    is_sealed: bool,
) -> Result<(), StoreError> {
    for sink in sinks(connection, object, object_id)? {
        let found = InQuarantine::load(connection, object, &sink)?;
        let (owner, gap_owner) = (Owner::Events { object_id, sink: &sink }, Owner::Gap { object_id, sink: &sink });
        let mut opened = places::load(connection, owner, ALL)?;
        let mut purged = if is_sealed { Places::default() } else { opened.clone() };
        purged.remove_places(&mut found.all());
        let stood = SinkRow::find(connection, object_id, &sink)?;
        let mut new = found.asked();
        new.remove_places(&mut opened);
        new.truncate(stood.accepted);
        if new.is_empty() && purged.is_empty() {
            continue;
        }
        let mut gap = places::load(connection, gap_owner, ALL)?;
        let lacks = stood.gap + gap.insert_places(&mut new);
        let gap_places = lacks.saturating_sub(gap.remove_places(&mut purged));
        // The version that it was offered whole may hold their records.
        let read = stood.read.filter(|_| new.is_empty());
        if !new.is_empty() {
            backlog::add(connection, &sink, object_id, found.since_ms)?;
        }
        SinkRow { gap: gap_places, read, ..stood }.save(connection, object_id, &sink)?;
        places::save(connection, gap_owner, &mut gap)?;
        opened.insert_places(&mut new);
        opened.remove_places(&mut purged);
        places::save(connection, owner, &mut opened)?;
    }
    Ok(())
}

/// Which events alone a sink lacks of records in its gap. It lacks all events of a record of which not every event that it
/// refused has an entry.
pub(super) fn lacked(connection: &Connection, object: &ObjectId, sink: &str) -> Result<LackedEvents, StoreError> {
    let mut lacked = LackedEvents::new();
    let Some(row) = ObjectRow::find(connection, object)? else { return Ok(lacked) };
    let mut opened = places::load(connection, Owner::Events { object_id: row.id, sink }, ALL)?;
    if opened.is_empty() {
        return Ok(lacked);
    }
    let mut found = InQuarantine::load(connection, object, sink)?;
    for Listed { place, uid, .. } in found.listed {
        if opened.contains(place) && !found.further_places.contains(place) {
            lacked.entry(place).or_default().insert(uid);
        }
    }
    Ok(lacked)
}

/// The events of one record that a sink has in quarantine; none where not all of them are there with their bytes.
pub(super) fn kept(
    connection: &Connection,
    object: &ObjectId,
    sink: &str,
    place: u64,
) -> Result<Vec<KeptEvent>, StoreError> {
    if let Some((id, _)) = which(sink, object).find(connection)?
        && places::load(connection, Owner::Entry(int(id)), place..=place)?.contains(place)
    {
        return Ok(Vec::new());
    }
    let mut statement = connection.prepare_cached(
        "SELECT uid, event_index, head, etag, last_modified_ms, body_zstd FROM quarantine
         WHERE kind = 'event' AND bucket = ?1 AND key = ?2 AND sink = ?3 AND place = ?4 ORDER BY id",
    )?;
    let mut rows = statement.query(params![&*object.bucket, &*object.key, sink, int(place)])?;
    let mut kept = Vec::new();
    while let Some(row) = rows.next()? {
        let head: Vec<u8> = row.get(2)?;
        let head = unpacked(EventId(row.get(0)?), place, row.get(1)?, &head);
        let (Some(head), Some(body_zstd)) = (head, row.get(5)?) else { return Ok(Vec::new()) };
        let etag = row.get::<_, Option<String>>(3)?.unwrap_or_default().into();
        kept.push(KeptEvent { head, etag, last_modified_ms: row.get(4)?, body_zstd });
    }
    Ok(kept)
}

/// The sink was offered all of the last version that was read: requeued events that this version does not hold, and whose
/// bytes were not kept, stay. Returns how many requests, of those up to number `up_to`, that ends.
pub(super) fn note(
    connection: &Connection,
    object: &ObjectId,
    object_id: i64,
    sink: &str,
    up_to: u64,
) -> Result<u64, StoreError> {
    let mut opened = places::load(connection, Owner::Events { object_id, sink }, ALL)?;
    if opened.is_empty() {
        return Ok(0);
    }
    let InQuarantine { listed, further, mut further_places, .. } = InQuarantine::load(connection, object, sink)?;
    let is_asked = |request: Option<u64>| request.is_some_and(|request| request <= up_to);
    let mut unkept: BTreeSet<u64> = listed.iter().filter(|event| !event.is_kept).map(|event| event.place).collect();
    unkept.extend(listed.iter().map(|event| event.place).filter(|place| further_places.contains(*place)));
    let mut ended = 0;
    for Listed { id, place, request, .. } in listed {
        if is_asked(request) && opened.contains(place) && unkept.contains(&place) {
            stay(connection, id, NOT_HELD)?;
            ended += 1;
        }
    }
    if let Some((id, request)) = further
        && is_asked(request)
    {
        let not_held = further_places.remove_places(&mut opened);
        if not_held > 0 {
            stay(connection, id, FURTHER_NOT_HELD)?;
            ended += not_held;
        }
    }
    Ok(ended)
}

/// Events of sinks other than these stay. Returns how many requests, of those up to number `up_to`, that ends.
pub(super) fn note_others(
    connection: &Connection,
    object: &ObjectId,
    sinks: &[Arc<str>],
    up_to: u64,
) -> Result<u64, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, sink FROM quarantine WHERE kind = 'event' AND bucket = ?1 AND key = ?2 AND request <= ?3",
    )?;
    let asked = statement.query_map(params![&*object.bucket, &*object.key, int(up_to)], |row| {
        Ok((count(row.get(0)?), row.get::<_, Option<String>>(1)?.unwrap_or_default()))
    })?;
    let mut ended = 0;
    for (id, sink) in asked.collect::<Result<Vec<_>, _>>()? {
        if !sinks.iter().any(|own| **own == *sink) {
            stay(connection, id, NO_SINK)?;
            ended += 1;
        }
    }
    Ok(ended)
}

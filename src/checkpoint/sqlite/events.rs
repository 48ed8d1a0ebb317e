//! Events in quarantine: what is kept of them, and how a requeued event enters the gap of its sink.

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

/// Why a requeued event stays in quarantine: its record was not found, and its bytes were not kept.
const NOT_HELD: &str = "its object does not hold the record any more, and its bytes were not kept";
const NO_SINK: &str = "its feed has no sink of this name any more";
const FURTHER_NOT_HELD: &str = "tried again; the object does not hold their records any more";

pub(super) fn which<'a>(sink: &'a str, object: &'a ObjectId) -> Which<'a> {
    Which { kind: "event", sink: Some(sink), object }
}

/// Keeps an entry in quarantine for this reason, and ends its request.
pub(super) fn stay(connection: &Connection, id: u64, reason: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE quarantine SET request = NULL, reason = ?2 WHERE id = ?1")?
        .execute(params![int(id), bounded(reason)])?;
    Ok(())
}

/// Encodes the parts of an event's head that do not identify it: time and class in big-endian order, severity, status,
/// and its choice among the values that its sink told apart.
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

/// One quarantined event of a sink.
struct Listed {
    id: u64,
    place: u64,
    uid: EventId,
    request: Option<u64>,
    is_kept: bool,
}

/// The quarantined events of one sink in one object.
struct InQuarantine {
    listed: Vec<Listed>,
    /// The entry that stands for the records whose events have no entry of their own: its number, and that of its
    /// request.
    further: Option<(u64, Option<u64>)>,
    /// The places of these records.
    further_places: Places,
    /// When the first of the events came into quarantine.
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

/// The sinks that have events of the object in quarantine, or had requeued ones.
fn sinks(connection: &Connection, object: &ObjectId, object_id: i64) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT sink FROM quarantine WHERE kind = 'event' AND bucket = ?1 AND key = ?2 AND sink IS NOT NULL
         UNION SELECT sink FROM requeued_event WHERE object_id = ?3",
    )?;
    let sinks = statement.query_map(params![&*object.bucket, &*object.key, object_id], |row| row.get(0))?;
    Ok(sinks.collect::<Result<_, _>>()?)
}

/// Applies the open requests for events of the object: each event becomes part of the gap of its sink, and the object
/// enters that sink's backlog. Events purged since leave the gap again, unless a sealed batch may fill it.
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
        // The version that the sink was last offered whole may hold the requeued events.
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

/// The requeued events that a sink lacks, by the places of their records. A record is left out if some of its refused
/// events have no entry of their own: the sink lacks all of its events then.
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

/// The sink's quarantined events of one record. Empty unless all of them were kept with their bytes.
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

/// The sink was offered all of the last version read. Requeued events that are not in that version, and whose bytes
/// were not kept, stay in quarantine. Returns how many requests up to number `up_to` end by this.
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

/// Events of sinks that are not in `sinks` stay in quarantine. Returns how many requests up to number `up_to` end by
/// this.
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

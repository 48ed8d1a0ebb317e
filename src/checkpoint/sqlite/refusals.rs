//! Events that a receiver refuses for ever. The commit of their batch brings them into quarantine, and takes requeued
//! events out of it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use rusqlite::{Connection, params};

use super::events::{packed, stay, which};
use super::further::{self, Further};
use super::places::{self, Owner};
use super::refused::{bounded, compressed, room_for};
use super::rows::{count, int};
use crate::batch::{Advance, Form};
use crate::checkpoint::{QuarantineChange, QuarantineLimits, StoreError};
use crate::delta::Ranges;
use crate::event::EventId;
use crate::notification::ObjectId;
use crate::sink::RefusedEvent;

/// What the commit of one batch changes in the quarantine.
pub(super) struct Refusals<'a> {
    connection: &'a Connection,
    limits: QuarantineLimits,
    sink: &'a str,
    now_ms: i64,
    /// The places that the batch fills and that have requeued events.
    filled: Vec<(ObjectId, Ranges)>,
    /// The number and date of each entry that the batch took out of quarantine.
    taken_out: BTreeMap<(ObjectId, EventId), (i64, i64)>,
    changes: Vec<QuarantineChange>,
}

impl<'a> Refusals<'a> {
    pub(super) fn new(connection: &'a Connection, limits: QuarantineLimits, sink: &'a str, now_ms: i64) -> Self {
        let (filled, taken_out, changes) = (Vec::new(), BTreeMap::new(), Vec::new());
        Self { connection, limits, sink, now_ms, filled, taken_out, changes }
    }

    /// The batch delivered the events that the sink lacked at these places, so their entries leave the quarantine.
    /// Returns how many of the places had requeued events.
    pub(super) fn fill(&mut self, object_id: i64, advance: &Advance) -> Result<u64, StoreError> {
        let Form::Fill { places } = &advance.form else { return Ok(0) };
        let (object, span) = (&advance.object, around(places));
        let owner = Owner::Events { object_id, sink: self.sink };
        let mut opened = places::load(self.connection, owner, span.clone())?;
        let filled = opened.remove_all(places);
        if filled == 0 {
            return Ok(0);
        }
        places::save(self.connection, owner, &mut opened)?;
        let mut delete = self.connection.prepare_cached(
            "DELETE FROM quarantine WHERE kind = 'event' AND bucket = ?1 AND key = ?2 AND sink = ?3
             AND place >= ?4 AND place < ?5 RETURNING uid, id, at_ms, feed",
        )?;
        for range in places.iter() {
            let key = params![&*object.bucket, &*object.key, self.sink, int(range.start), int(range.end)];
            let mut rows = delete.query(key)?;
            while let Some(row) = rows.next()? {
                self.taken_out.insert((object.clone(), EventId(row.get(0)?)), (row.get(1)?, row.get(2)?));
                change(&mut self.changes, &row.get::<_, String>(3)?, object).delivered += 1;
            }
        }
        if let Some((id, _)) = which(self.sink, object).find(self.connection)? {
            let mut left = places::load(self.connection, Owner::Entry(int(id)), span)?;
            let gone = left.remove_all(places);
            let feed: String =
                self.connection.query_row("SELECT feed FROM quarantine WHERE id = ?1", [int(id)], |row| row.get(0))?;
            change(&mut self.changes, &feed, object).delivered += gone;
            further::take_out(self.connection, id, &mut left, gone)?;
        }
        self.filled.push((object.clone(), places.clone()));
        Ok(filled)
    }

    /// Quarantines the events that the receiver refused, each with its own entry as long as the limits allow. An event
    /// that was in quarantine before keeps its entry's number.
    pub(super) fn refuse(mut self, refused: &[RefusedEvent]) -> Result<Vec<QuarantineChange>, StoreError> {
        for events in refused.chunk_by(|one, other| one.provenance.object == other.provenance.object) {
            self.refuse_of_object(events)?;
        }
        Ok(self.changes)
    }

    fn refuse_of_object(&mut self, events: &[RefusedEvent]) -> Result<(), StoreError> {
        let Some(RefusedEvent { provenance, reason, .. }) = events.first() else { return Ok(()) };
        let object = &provenance.object;
        let (mut room, mut rest, mut rest_again) = (self.room(object)?, Vec::new(), false);
        for event in events {
            let place = event.head.place;
            let is_again = self.filled.iter().any(|(filled, places)| filled == object && places.contains(place));
            let known = self.taken_out.remove(&(object.clone(), event.head.uid));
            if known.is_some() || room > 0 {
                room -= u64::from(known.is_none());
                self.insert(event, known)?;
            } else {
                rest.push(place);
                rest_again |= is_again;
            }
            let change = change(&mut self.changes, &provenance.feed, object);
            if is_again {
                change.delivered = change.delivered.saturating_sub(1);
                change.refused_again += 1;
            } else {
                change.refused += 1;
            }
        }
        let which = which(self.sink, object);
        let (feed, version) = (&*provenance.feed, &provenance.version);
        let further = Further { which, feed, version, first: None, reason, places: rest };
        further::add(self.connection, &further, self.limits.entries_max, self.now_ms)?;
        if let Some((id, Some(_))) = which.find(self.connection)?.filter(|_| rest_again) {
            // End the request of the shared entry, or these events would be sent again.
            stay(self.connection, id, reason)?;
        }
        Ok(())
    }

    /// How many more events of the object can get their own entry.
    fn room(&self, object: &ObjectId) -> Result<u64, StoreError> {
        let QuarantineLimits { entries_max, entries_per_object, .. } = self.limits;
        let of_object: i64 = self
            .connection
            .prepare_cached(
                "SELECT count(*) FROM (SELECT 1 FROM quarantine WHERE bucket = ?1 AND key = ?2 AND kind = 'event'
                                       AND further IS NULL LIMIT ?3)",
            )?
            .query_row(params![&*object.bucket, &*object.key, int(entries_per_object)], |row| row.get(0))?;
        let of_all = entries_max.saturating_sub(further::listed(self.connection, "event")?);
        Ok(entries_per_object.saturating_sub(count(of_object)).min(of_all))
    }

    fn insert(&self, event: &RefusedEvent, known: Option<(i64, i64)>) -> Result<(), StoreError> {
        let RefusedEvent { provenance, head, encoded, reason } = event;
        let body = compressed(encoded).ok();
        let body = room_for(self.connection, self.limits, body.as_ref())?;
        self.connection
            .prepare_cached(
                "INSERT INTO quarantine (id, feed, sink, kind, bucket, key, etag, last_modified_ms, place, event_index, uid,
                                         head, reason, body_zstd, at_ms)
                 VALUES (?1, ?2, ?3, 'event', ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
            )?
            .execute(params![
                known.map(|(id, _)| id),
                &*provenance.feed,
                self.sink,
                &*provenance.object.bucket,
                &*provenance.object.key,
                &*provenance.version.etag,
                provenance.version.last_modified_ms,
                int(head.place),
                head.index,
                head.uid.0,
                packed(head),
                bounded(reason),
                body,
                known.map_or(self.now_ms, |(_, at_ms)| at_ms)
            ])?;
        Ok(())
    }
}

fn around(places: &Ranges) -> RangeInclusive<u64> {
    let span = places.span();
    span.start..=span.end
}

fn change<'c>(changes: &'c mut Vec<QuarantineChange>, feed: &str, object: &ObjectId) -> &'c mut QuarantineChange {
    let known = changes.iter().position(|change| change.object == *object);
    let at = known.unwrap_or_else(|| {
        changes.push(QuarantineChange::of(feed, object));
        changes.len() - 1
    });
    &mut changes[at]
}

//! The position of an object, and of each sink in it.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::further::ALL;
use super::places::{self, Owner};
use super::rows::{self, ObjectRow, Sum, count, int};
use super::{backlog, requeue, unread};
use crate::batch::{Advance, Form};
use crate::checkpoint::{ObjectPosition, Passed, SinkPosition, StoreError, UnreadableVersion};
use crate::delta::{Places, Progress, Ranges};
use crate::notification::ObjectId;

/// What is known of an object, and the position of each of `sinks` in it.
pub(super) fn find(
    connection: &Connection,
    object: &ObjectId,
    sinks: &[Arc<str>],
) -> Result<ObjectPosition, StoreError> {
    let is_unread = unread::kind_of(connection, object)?.is_some();
    let Some(row) = ObjectRow::find(connection, object)? else {
        let is_requeued = requeue::is_requeued(connection, object)?;
        return Ok(ObjectPosition {
            known: false,
            family: None,
            progress: Progress::default(),
            framed_bytes: 0,
            etag: None,
            read: 0,
            unreadable: None,
            is_unread,
            is_requeued,
            sinks: vec![SinkPosition::default(); sinks.len()],
            passed: None,
        });
    };
    let rows = SinkRow::of_all(connection, row.id, sinks)?;
    let passed = passed_by(connection, &row, sinks, &rows)?;
    let sinks = sinks.iter().zip(&rows).map(|(sink, stands)| SinkPosition::of(connection, row.id, sink, *stands));
    let sinks = sinks.collect::<Result<_, _>>()?;
    let etag: Option<Box<str>> = row.etag.map(Into::into);
    let (etag, unreadable) = match (row.state.as_str(), etag) {
        ("whole", etag) => (etag, None),
        ("damaged", Some(etag)) => (None, Some(UnreadableVersion { etag, is_archived: row.is_archived })),
        _ => (None, None),
    };
    let is_requeued =
        requeue::is_requeued(connection, object)? || places::any(connection, Owner::Requeued { object_id: row.id })?;
    Ok(ObjectPosition {
        known: true,
        family: row.family.map(Into::into),
        progress: row.progress,
        framed_bytes: rows::framed_bytes(connection, row.id)?,
        etag,
        read: row.read,
        unreadable,
        is_unread,
        is_requeued,
        sinks,
        passed,
    })
}

/// The proof that each of `sinks` was offered all of the last version read and has had it, or has the object in its
/// backlog.
pub(super) fn passed(
    connection: &Connection,
    object: &ObjectRow,
    sinks: &[Arc<str>],
) -> Result<Option<Passed>, StoreError> {
    passed_by(connection, object, sinks, &SinkRow::of_all(connection, object.id, sinks)?)
}

fn passed_by(
    connection: &Connection,
    object: &ObjectRow,
    sinks: &[Arc<str>],
    rows: &[SinkRow],
) -> Result<Option<Passed>, StoreError> {
    for (sink, row) in sinks.iter().zip(rows) {
        if !row.is_settled(object) && !backlog::is_in_backlog(connection, sink, object.id)? {
            return Ok(None);
        }
    }
    Ok(Some(Passed(())))
}

impl SinkPosition {
    fn of(connection: &Connection, object_id: i64, sink: &str, row: SinkRow) -> Result<Self, StoreError> {
        let gap = match row.gap {
            0 => Places::default(),
            _ => places::load(connection, Owner::Gap { object_id, sink }, ALL)?,
        };
        Ok(Self { accepted: row.accepted, gap, read: row.read })
    }
}

/// The row of a sink's position in an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SinkRow {
    pub(super) accepted: u64,
    /// The number of places in the sink's gap.
    pub(super) gap: u64,
    pub(super) read: Option<u64>,
}

impl SinkRow {
    /// For a sink without a row. `read` is 0 since objects of older stores have 0 readings: the sink counts as offered
    /// all of such an object.
    const NEW: Self = Self { accepted: 0, gap: 0, read: Some(0) };

    /// The rows of these sinks, in their order.
    fn of_all(connection: &Connection, object_id: i64, sinks: &[Arc<str>]) -> Result<Vec<Self>, StoreError> {
        sinks.iter().map(|sink| Self::find(connection, object_id, sink)).collect()
    }

    pub(super) fn find(connection: &Connection, object_id: i64, sink: &str) -> Result<Self, StoreError> {
        let mut statement = connection
            .prepare_cached("SELECT accepted, gap, read, sum FROM cursor WHERE object_id = ?1 AND sink = ?2")?;
        let found = statement
            .query_row(params![object_id, sink], |row| {
                let read = row.get::<_, Option<i64>>(2)?.map(count);
                Ok((Self { accepted: count(row.get(0)?), gap: count(row.get(1)?), read }, row.get(3)?))
            })
            .optional()?;
        let Some((row, sum)) = found else { return Ok(Self::NEW) };
        row.sum(object_id, sink).verify(sum, || format!("what sink {sink} has had of object {object_id}"))?;
        Ok(row)
    }

    pub(super) fn save(&self, connection: &Connection, object_id: i64, sink: &str) -> Result<(), StoreError> {
        let (read, sum) = (self.read.map(int), self.sum(object_id, sink).value());
        connection
            .prepare_cached(
                "INSERT INTO cursor (object_id, sink, accepted, gap, read, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT DO UPDATE SET accepted = excluded.accepted, gap = excluded.gap, read = excluded.read,
                     sum = excluded.sum",
            )?
            .execute(params![object_id, sink, int(self.accepted), int(self.gap), read, sum])?;
        Ok(())
    }

    /// Rows of older programs have no gap and no `read`, and checksums without them.
    fn sum(&self, object_id: i64, sink: &str) -> Sum {
        let sum = Sum::of("cursor").int(object_id).text(Some(sink)).int(int(self.accepted));
        let sum = if self.gap > 0 { sum.text(Some("gap")).int(int(self.gap)) } else { sum };
        match self.read {
            Some(0) => sum,
            Some(read) => sum.text(Some("read")).int(int(read)),
            None => sum.text(Some("open")),
        }
    }

    /// Whether the sink was offered all of the last version read, and has had it.
    pub(super) fn is_settled(&self, object: &ObjectRow) -> bool {
        let stands_at_end = self.accepted == object.progress.accepted;
        object.state == "whole" && stands_at_end && self.read == Some(object.read)
    }
}

/// Applies a sink's advance.
///
/// # Errors
/// `Overtaken` if the sink's position is not where the advance begins.
pub(super) fn apply(connection: &Connection, object_id: i64, sink: &str, advance: &Advance) -> Result<(), StoreError> {
    let mut row = SinkRow::find(connection, object_id, sink)?;
    let mut places = gap_around(connection, object_id, sink, advance.form.ranges())?;
    match &advance.form {
        Form::Onward { gap } if row.accepted == advance.before => {
            row.accepted = advance.after;
            row.gap += places.insert_all(gap);
            // The sink may be at the object's end now, but it was not offered the whole version.
            row.read = row.read.filter(|_| gap.is_empty());
        }
        Form::Fill { places: filled } if places.remove_all(filled) == filled.places() => {
            row.gap = row.gap.saturating_sub(filled.places());
        }
        _ => return Err(StoreError::Overtaken { object: advance.object.clone() }),
    }
    row.save(connection, object_id, sink)?;
    places::save(connection, Owner::Gap { object_id, sink }, &mut places)
}

/// How many places an advance adds to the gap or removes from it, not counting requeued records.
pub(super) fn counted(connection: &Connection, object_id: i64, advance: &Advance) -> Result<u64, StoreError> {
    let changed = advance.form.ranges();
    if changed.is_empty() {
        return Ok(0);
    }
    let span = changed.span();
    let mut requeued = places::load(connection, Owner::Requeued { object_id }, span.start..=span.end)?;
    Ok(changed.places() - requeued.remove_all(changed))
}

/// Whether all of these places lie in the sink's gap.
pub(super) fn has_in_gap(
    connection: &Connection,
    object_id: i64,
    sink: &str,
    places: &Ranges,
) -> Result<bool, StoreError> {
    Ok(gap_around(connection, object_id, sink, places)?.remove_all(places) == places.places())
}

fn gap_around(connection: &Connection, object_id: i64, sink: &str, places: &Ranges) -> Result<Places, StoreError> {
    if places.is_empty() {
        return Ok(Places::default());
    }
    let span = places.span();
    places::load(connection, Owner::Gap { object_id, sink }, span.start..=span.end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::conformance::gaps::onward;
    use crate::checkpoint::conformance::{deliver, finish, lane, object, part, seal};
    use crate::checkpoint::sqlite::tests::{World, world};

    #[tokio::test]
    async fn a_position_that_is_not_what_was_written_is_refused() {
        let damages = [
            "UPDATE cursor SET gap = 0",
            "UPDATE cursor SET read = 7",
            "UPDATE cursor SET read = NULL",
            "UPDATE object SET read = 7",
            "UPDATE gap SET packed = zeroblob(4096)",
        ];
        for damage in damages {
            let World { directory, store, .. } = world();
            deliver(&store, "a", vec![part(0, 3, true)]).await;
            deliver(&store, "b", vec![onward(0, 3, &[(1, 3)])]).await;
            assert!(store.positions.finish(finish(3, "e1", &["a", "b"])).await.unwrap());
            let raw = Connection::open(directory.path().join("checkpoints.sqlite")).unwrap();
            assert!(raw.execute(damage, []).unwrap() > 0);
            let refused = store.positions.position(&object(), &["b".into()]).await;
            assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{damage}");
        }
        let World { directory, store, .. } = world();
        deliver(&store, "a", vec![part(0, 3, true)]).await;
        store.positions.seal(seal("b", vec![onward(0, 3, &[(1, 3)])])).await.unwrap();
        let raw = Connection::open(directory.path().join("checkpoints.sqlite")).unwrap();
        raw.execute("UPDATE batch_part SET ranges = x''", []).unwrap();
        assert!(matches!(store.positions.sealed(&lane("b")).await, Err(StoreError::Corrupt { .. })));
    }
}

//! How sets of places are stored: as bits in stretches, without the empty stretches.

use std::ops::RangeInclusive;

use rusqlite::{Connection, params};

use super::rows::{Sum, count, int};
use crate::checkpoint::StoreError;
use crate::delta::{Places, STRETCH_PLACES};

/// Which set of places is meant.
#[derive(Clone, Copy)]
pub(super) enum Owner<'a> {
    /// The places that a shared quarantine entry stands for.
    Entry(i64),
    /// A sink's gap in an object.
    Gap { object_id: i64, sink: &'a str },
    /// Places of an object whose records were requeued out of quarantine.
    Requeued { object_id: i64 },
    /// Places at which a sink lacks events that were requeued out of its quarantine.
    Events { object_id: i64, sink: &'a str },
}

/// Loads the set within the range, rounded to whole stretches.
pub(super) fn load(
    connection: &Connection,
    owner: Owner<'_>,
    range: RangeInclusive<u64>,
) -> Result<Places, StoreError> {
    let mut statement = connection.prepare_cached(owner.select_sql())?;
    let stretches = [range.start(), range.end()].map(|place| int(place / STRETCH_PLACES));
    let (id, sink) = owner.key();
    let mut rows = statement.query(params![id, sink, stretches[0], stretches[1]])?;
    let mut places = Places::default();
    while let Some(row) = rows.next()? {
        let (stretch, packed) = (count(row.get(0)?), row.get::<_, Vec<u8>>(1)?);
        owner.sum(stretch, &packed).verify(row.get(2)?, || owner.to_string())?;
        if !places.put_stretch(stretch, packed) {
            return Err(StoreError::Corrupt { row: owner.to_string() });
        }
    }
    Ok(places)
}

/// Whether the set is not empty.
pub(super) fn any(connection: &Connection, owner: Owner<'_>) -> Result<bool, StoreError> {
    let (id, sink) = owner.key();
    Ok(connection.prepare_cached(owner.select_sql())?.exists(params![id, sink, 0, i64::MAX])?)
}

/// Stores what has changed since the set was loaded.
pub(super) fn save(connection: &Connection, owner: Owner<'_>, places: &mut Places) -> Result<(), StoreError> {
    let (id, sink) = owner.key();
    for (stretch, packed) in places.take_changed() {
        match packed {
            Some(packed) => {
                let sum = owner.sum(stretch, &packed).value();
                connection.prepare_cached(owner.insert_sql())?.execute(params![id, sink, int(stretch), packed, sum])?
            }
            None => connection.prepare_cached(owner.delete_sql())?.execute(params![id, sink, int(stretch)])?,
        };
    }
    Ok(())
}

/// In all statements `?1` and `?2` identify the owner.
impl<'a> Owner<'a> {
    fn key(self) -> (i64, Option<&'a str>) {
        match self {
            Self::Entry(id) => (id, None),
            Self::Gap { object_id, sink } | Self::Events { object_id, sink } => (object_id, Some(sink)),
            Self::Requeued { object_id } => (object_id, None),
        }
    }

    fn select_sql(self) -> &'static str {
        match self {
            Self::Entry(_) => {
                "SELECT stretch, packed, sum FROM quarantine_further WHERE quarantine_id = ?1 AND stretch BETWEEN ?3 AND ?4"
            }
            Self::Gap { .. } => {
                "SELECT stretch, packed, sum FROM gap WHERE object_id = ?1 AND sink = ?2 AND stretch BETWEEN ?3 AND ?4"
            }
            Self::Requeued { .. } => {
                "SELECT stretch, packed, sum FROM requeued WHERE object_id = ?1 AND stretch BETWEEN ?3 AND ?4"
            }
            Self::Events { .. } => {
                "SELECT stretch, packed, sum FROM requeued_event
                 WHERE object_id = ?1 AND sink = ?2 AND stretch BETWEEN ?3 AND ?4"
            }
        }
    }

    fn insert_sql(self) -> &'static str {
        match self {
            Self::Entry(_) => {
                "INSERT INTO quarantine_further (quarantine_id, stretch, packed, sum) VALUES (?1, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET packed = excluded.packed, sum = excluded.sum"
            }
            Self::Gap { .. } => {
                "INSERT INTO gap (object_id, sink, stretch, packed, sum) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET packed = excluded.packed, sum = excluded.sum"
            }
            Self::Requeued { .. } => {
                "INSERT INTO requeued (object_id, stretch, packed, sum) VALUES (?1, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET packed = excluded.packed, sum = excluded.sum"
            }
            Self::Events { .. } => {
                "INSERT INTO requeued_event (object_id, sink, stretch, packed, sum) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET packed = excluded.packed, sum = excluded.sum"
            }
        }
    }

    fn delete_sql(self) -> &'static str {
        match self {
            Self::Entry(_) => "DELETE FROM quarantine_further WHERE quarantine_id = ?1 AND stretch = ?3",
            Self::Gap { .. } => "DELETE FROM gap WHERE object_id = ?1 AND sink = ?2 AND stretch = ?3",
            Self::Requeued { .. } => "DELETE FROM requeued WHERE object_id = ?1 AND stretch = ?3",
            Self::Events { .. } => "DELETE FROM requeued_event WHERE object_id = ?1 AND sink = ?2 AND stretch = ?3",
        }
    }

    fn sum(self, stretch: u64, packed: &[u8]) -> Sum {
        let sum = match self {
            Self::Entry(id) => Sum::of("quarantine_further").int(id),
            Self::Gap { object_id, sink } => Sum::of("gap").int(object_id).text(Some(sink)),
            Self::Requeued { object_id } => Sum::of("requeued").int(object_id),
            Self::Events { object_id, sink } => Sum::of("requeued_event").int(object_id).text(Some(sink)),
        };
        sum.int(int(stretch)).bytes(packed)
    }
}

impl std::fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Entry(id) => write!(f, "the further records of entry {id} in quarantine"),
            Self::Gap { object_id, sink } => write!(f, "the gap of sink {sink} in object {object_id}"),
            Self::Requeued { object_id } => write!(f, "what was requeued of object {object_id}"),
            Self::Events { object_id, sink } => write!(f, "what was requeued of object {object_id} for sink {sink}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_kept_as_far_as_there_are_any_and_refused_where_they_are_not_what_was_written() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE TABLE quarantine_further (quarantine_id INTEGER, stretch INTEGER, packed BLOB, sum INTEGER,
                                                  PRIMARY KEY (quarantine_id, stretch));
                 CREATE TABLE gap (object_id INTEGER, sink TEXT, stretch INTEGER, packed BLOB, sum INTEGER,
                                   PRIMARY KEY (object_id, sink, stretch));
                 CREATE TABLE requeued (object_id INTEGER, stretch INTEGER, packed BLOB, sum INTEGER,
                                        PRIMARY KEY (object_id, stretch));
                 CREATE TABLE requeued_event (object_id INTEGER, sink TEXT, stretch INTEGER, packed BLOB, sum INTEGER,
                                              PRIMARY KEY (object_id, sink, stretch))",
            )
            .unwrap();
        let owners = [
            Owner::Entry(1),
            Owner::Entry(2),
            Owner::Gap { object_id: 1, sink: "a" },
            Owner::Gap { object_id: 1, sink: "b" },
            Owner::Requeued { object_id: 1 },
            Owner::Requeued { object_id: 2 },
            Owner::Events { object_id: 1, sink: "a" },
            Owner::Events { object_id: 1, sink: "b" },
        ];
        let load = |owner, range| load(&connection, owner, range);
        for (owner, place) in owners.into_iter().zip(7..) {
            let mut places = Places::default();
            assert!(places.insert(place) && places.insert(place + 100_000));
            save(&connection, owner, &mut places).unwrap();
        }
        for (owner, place) in owners.into_iter().zip(7..) {
            let mut places = load(owner, 0..=u64::MAX).unwrap();
            let held: Vec<u64> = (0..200_000).filter(|place| places.contains(*place)).collect();
            assert_eq!(held, [place, place + 100_000]);
            assert!(!load(owner, 0..=99).unwrap().contains(place + 100_000));
            places.remove(place);
            save(&connection, owner, &mut places).unwrap();
            assert!(load(owner, 0..=99).unwrap().is_empty());
        }
        for table in ["quarantine_further", "gap", "requeued", "requeued_event"] {
            let damaged = format!("UPDATE {table} SET packed = x'0102'");
            assert_eq!(connection.execute(&damaged, []).unwrap(), 2);
        }
        for owner in owners {
            assert!(matches!(load(owner, 0..=u64::MAX), Err(StoreError::Corrupt { .. })), "{owner}");
        }
    }
}

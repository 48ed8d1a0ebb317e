//! A set of places in an accepted sequence, as bits: which of an object's records are in quarantine without an entry each,
//! and which of them a sink has not had.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use rusqlite::{Connection, params};

use super::StoreError;
use super::rows::{Sum, count, int};
use crate::batch::Ranges;

/// How many bytes of bits lie in one row.
const STRETCH_BYTES: usize = 4096;

/// How many places those are.
const STRETCH_PLACES: u64 = STRETCH_BYTES as u64 * 8;

/// A set of places. It costs at most a bit for each place up to the last, and next to nothing where places lie together.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Stretches by their number, each compressed if that makes it shorter. None is empty.
    packed: BTreeMap<u64, Vec<u8>>,
    open: Option<Open>,
    /// The stretches that are not as they were loaded.
    changed: BTreeSet<u64>,
}

/// The one stretch that is at hand.
#[derive(Clone, Debug)]
struct Open {
    stretch: u64,
    bits: Vec<u8>,
    is_changed: bool,
}

/// Whose places lie in the store.
#[derive(Clone, Copy)]
pub(super) enum Owner<'a> {
    /// Those that an entry in quarantine stands for.
    Entry(i64),
    /// Those of an object that a sink has not had.
    Gap { object_id: i64, sink: &'a str },
}

impl Places {
    /// Quick for places in their order.
    pub fn contains(&mut self, place: u64) -> bool {
        let (at, bit) = bit_of(place);
        self.turn_to(place / STRETCH_PLACES).bits[at] & bit != 0
    }

    /// Returns whether it is new.
    pub fn insert(&mut self, place: u64) -> bool {
        let (at, bit) = bit_of(place);
        let open = self.turn_to(place / STRETCH_PLACES);
        let is_new = open.bits[at] & bit == 0;
        open.bits[at] |= bit;
        open.is_changed |= is_new;
        is_new
    }

    /// Returns whether it was there.
    pub fn remove(&mut self, place: u64) -> bool {
        let (at, bit) = bit_of(place);
        let open = self.turn_to(place / STRETCH_PLACES);
        let was_there = open.bits[at] & bit != 0;
        open.bits[at] &= !bit;
        open.is_changed |= was_there;
        was_there
    }

    pub fn is_empty(&mut self) -> bool {
        self.close();
        self.packed.is_empty()
    }

    fn turn_to(&mut self, stretch: u64) -> &mut Open {
        if self.open.as_ref().is_none_or(|open| open.stretch != stretch) {
            self.close();
            // Rows are checked when they are loaded.
            let bits = self.packed.get(&stretch).and_then(|packed| unpacked(packed));
            let bits = bits.unwrap_or_else(|| vec![0; STRETCH_BYTES]);
            self.open = Some(Open { stretch, bits, is_changed: false });
        }
        self.open.get_or_insert_with(|| Open { stretch, bits: vec![0; STRETCH_BYTES], is_changed: false })
    }

    fn close(&mut self) {
        let Some(Open { stretch, bits, is_changed: true }) = self.open.take() else { return };
        self.changed.insert(stretch);
        match bits.iter().any(|byte| *byte != 0) {
            true => self.packed.insert(stretch, packed(bits)),
            false => self.packed.remove(&stretch),
        };
    }

    /// Returns how many of the places are new.
    pub(super) fn insert_all(&mut self, places: &Ranges) -> u64 {
        places.iter().flatten().map(|place| u64::from(self.insert(place))).sum()
    }

    /// Returns how many of the places were there.
    pub(super) fn remove_all(&mut self, places: &Ranges) -> u64 {
        places.iter().flatten().map(|place| u64::from(self.remove(place))).sum()
    }

    /// The owner's places within the range, and some around it.
    pub(super) fn load(
        connection: &Connection,
        owner: Owner<'_>,
        range: RangeInclusive<u64>,
    ) -> Result<Self, StoreError> {
        let mut statement = connection.prepare_cached(owner.select_sql())?;
        let stretches = [range.start(), range.end()].map(|place| int(place / STRETCH_PLACES));
        let (id, sink) = owner.key();
        let mut rows = statement.query(params![id, sink, stretches[0], stretches[1]])?;
        let mut places = Self::default();
        while let Some(row) = rows.next()? {
            let (stretch, packed) = (count(row.get(0)?), row.get::<_, Vec<u8>>(1)?);
            owner.sum(stretch, &packed).verify(row.get(2)?, || owner.to_string())?;
            if unpacked(&packed).is_none() {
                return Err(StoreError::Corrupt { row: owner.to_string() });
            }
            places.packed.insert(stretch, packed);
        }
        Ok(places)
    }

    /// Writes what has changed since the places were loaded.
    pub(super) fn save(&mut self, connection: &Connection, owner: Owner<'_>) -> Result<(), StoreError> {
        self.close();
        let (id, sink) = owner.key();
        for stretch in std::mem::take(&mut self.changed) {
            match self.packed.get(&stretch) {
                Some(packed) => connection.prepare_cached(owner.insert_sql())?.execute(params![
                    id,
                    sink,
                    int(stretch),
                    packed,
                    owner.sum(stretch, packed).value()
                ])?,
                None => connection.prepare_cached(owner.delete_sql())?.execute(params![id, sink, int(stretch)])?,
            };
        }
        Ok(())
    }
}

/// The statements name an owner by `?1` and `?2`.
impl<'a> Owner<'a> {
    fn key(self) -> (i64, Option<&'a str>) {
        match self {
            Self::Entry(id) => (id, None),
            Self::Gap { object_id, sink } => (object_id, Some(sink)),
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
        }
    }

    fn delete_sql(self) -> &'static str {
        match self {
            Self::Entry(_) => "DELETE FROM quarantine_further WHERE quarantine_id = ?1 AND stretch = ?3",
            Self::Gap { .. } => "DELETE FROM gap WHERE object_id = ?1 AND sink = ?2 AND stretch = ?3",
        }
    }

    fn sum(self, stretch: u64, packed: &[u8]) -> Sum {
        let sum = match self {
            Self::Entry(id) => Sum::of("quarantine_further").int(id),
            Self::Gap { object_id, sink } => Sum::of("gap").int(object_id).text(Some(sink)),
        };
        sum.int(int(stretch)).bytes(packed)
    }
}

impl std::fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Entry(id) => write!(f, "the further records of entry {id} in quarantine"),
            Self::Gap { object_id, sink } => write!(f, "the gap of sink {sink} in object {object_id}"),
        }
    }
}

fn bit_of(place: u64) -> (usize, u8) {
    let within = place % STRETCH_PLACES;
    ((within / 8) as usize, 1 << (within % 8))
}

fn packed(bits: Vec<u8>) -> Vec<u8> {
    match zstd::bulk::compress(&bits, 1) {
        Ok(packed) if packed.len() < STRETCH_BYTES => packed,
        _ => bits,
    }
}

fn unpacked(packed: &[u8]) -> Option<Vec<u8>> {
    if packed.len() == STRETCH_BYTES {
        return Some(packed.to_vec());
    }
    zstd::bulk::decompress(packed, STRETCH_BYTES).ok().filter(|bits| bits.len() == STRETCH_BYTES)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const OWNER: Owner<'static> = Owner::Entry(1);

    fn table() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        let table = "CREATE TABLE quarantine_further (quarantine_id INTEGER, stretch INTEGER, packed BLOB, sum INTEGER,
                     PRIMARY KEY (quarantine_id, stretch))";
        connection.execute_batch(table).unwrap();
        connection
    }

    /// How many rows an entry has, and their bytes.
    fn kept(connection: &Connection) -> (i64, i64) {
        let sql = "SELECT count(*), coalesce(sum(length(packed)), 0) FROM quarantine_further";
        connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) })]

        #[test]
        fn places_are_what_was_put_in_and_not_taken_out(
            steps in proptest::collection::vec((any::<bool>(), 0..200_000_u64), 1..300),
            saved in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
        ) {
            let connection = table();
            let (mut places, mut expected) = (Places::default(), BTreeSet::new());
            let saved: BTreeSet<usize> = saved.iter().map(|at| at.index(steps.len())).collect();
            for (at, (is_in, place)) in steps.iter().enumerate() {
                match is_in {
                    true => prop_assert_eq!(places.insert(*place), expected.insert(*place)),
                    false => prop_assert_eq!(places.remove(*place), expected.remove(place)),
                }
                if saved.contains(&at) {
                    places.save(&connection, OWNER).unwrap();
                    places = Places::load(&connection, OWNER, 0..=u64::MAX).unwrap();
                }
            }
            prop_assert!((0..200_000).filter(|place| places.contains(*place)).eq(expected.iter().copied()));
            prop_assert_eq!(places.is_empty(), expected.is_empty());
        }
    }

    #[test]
    fn places_that_lie_together_cost_next_to_nothing_and_others_a_bit_each() {
        let connection = table();
        let mut places = Places::default();
        (0..1_000_000).for_each(|place| assert!(places.insert(place)));
        places.save(&connection, OWNER).unwrap();
        assert!(kept(&connection).1 < 10_000, "{:?}", kept(&connection));
        let mut chance = 1_u64;
        for place in 0..1_000_000 {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if chance >> 63 == 1 {
                places.remove(place);
            }
        }
        places.save(&connection, OWNER).unwrap();
        assert!(kept(&connection).1 <= 31 * 4096, "{:?}", kept(&connection));
        (0..1_000_000).for_each(|place| _ = places.remove(place));
        places.save(&connection, OWNER).unwrap();
        assert_eq!(kept(&connection), (0, 0));
    }

    #[test]
    fn places_that_are_not_what_was_written_are_refused() {
        let connection = table();
        let mut places = Places::default();
        places.insert(7);
        places.save(&connection, OWNER).unwrap();
        connection.execute("UPDATE quarantine_further SET packed = x'0102'", []).unwrap();
        assert!(matches!(Places::load(&connection, OWNER, 0..=0), Err(StoreError::Corrupt { .. })));
    }
}

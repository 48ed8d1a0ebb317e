//! Matches records with the accepted ones, in any order. Each accepted record is matched at most once.

use crate::delta::Fingerprint;
use crate::delta::table::{ScratchTable, TableError};
use crate::delta::tally::{FingerprintMemory, Tally};
use crate::room;

/// An object's accepted records as a multiset of fingerprints. In memory they take 24 bytes a record; new records take
/// what the [`Tally`] takes for them. If memory has no room for all accepted records, they are in the table.
pub(crate) enum Accepted {
    Memory {
        /// Sorted, so that equal fingerprints stand side by side in order of acceptance.
        entries: Vec<Entry>,
        /// At the index of the first of equal entries: how many of these were taken.
        taken: Vec<u32>,
        /// Counts the records for which no accepted one was left.
        new: Tally,
        _memory: room::Taken,
    },
    Table,
}

/// Bytes in memory of one accepted fingerprint: its entry, and its element of `taken`.
const ENTRY_BYTES: usize = size_of::<Entry>() + size_of::<u32>();

/// A fingerprint and the number of the accepted record that has it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Entry {
    fingerprint: Fingerprint,
    index: u32,
}

/// The outcome of taking one record out of the multiset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Taken {
    /// The record is accepted record number `index`, the `occurrence`-th (from 0) of those equal to it.
    Known { index: u64, occurrence: u64 },
    /// No accepted record is left for it. `occurrence` equal ones were taken before it.
    New { occurrence: u64 },
}

impl Accepted {
    /// Prepares for `count` accepted fingerprints, in memory if it has room for all of them.
    pub(crate) fn new(count: u64, memory: FingerprintMemory) -> Self {
        let fits = |count: &usize| *count <= memory.fingerprints_max && u32::try_from(*count).is_ok();
        let count = usize::try_from(count).ok().filter(fits);
        let taken = count.and_then(|count| memory.room.try_take(count.saturating_mul(ENTRY_BYTES)));
        match count.zip(taken) {
            Some((count, _memory)) => Self::Memory {
                entries: Vec::with_capacity(count),
                taken: Vec::new(),
                new: Tally::new(memory, 0),
                _memory,
            },
            None => Self::Table,
        }
    }

    /// Adds the fingerprint of accepted record number `index`.
    ///
    /// # Errors
    /// Those of the table, if it is used.
    pub(crate) fn enter(
        &mut self,
        fingerprint: Fingerprint,
        index: u64,
        table: &mut dyn ScratchTable,
    ) -> Result<(), TableError> {
        match self {
            Self::Memory { entries, .. } => {
                // `new` uses memory only if every number fits in a `u32`.
                entries.push(Entry { fingerprint, index: u32::try_from(index).unwrap_or(u32::MAX) });
                Ok(())
            }
            Self::Table => table.enter(fingerprint, index),
        }
    }

    /// Ends the entering of fingerprints. Must be called before the first [`Accepted::take`].
    pub(crate) fn complete(&mut self) {
        if let Self::Memory { entries, taken, .. } = self {
            entries.sort_unstable();
            *taken = vec![0; entries.len()];
        }
    }

    /// Takes one record with this fingerprint out of the multiset.
    ///
    /// # Errors
    /// Those of the table, if it is used.
    pub(crate) fn take(&mut self, fingerprint: Fingerprint, table: &mut dyn ScratchTable) -> Result<Taken, TableError> {
        let Self::Memory { entries, taken, new, .. } = self else {
            let occurrence = table.count(fingerprint)?;
            return Ok(match table.nth(fingerprint, occurrence)? {
                Some(index) => Taken::Known { index, occurrence },
                None => Taken::New { occurrence },
            });
        };
        let first = entries.partition_point(|entry| entry.fingerprint < fingerprint);
        let of_it = |place: usize| entries.get(place).filter(|entry| entry.fingerprint == fingerprint);
        if of_it(first).is_none() {
            return Ok(Taken::New { occurrence: new.count(fingerprint, table)? });
        }
        let occurrence = u64::from(taken[first]);
        match of_it(first + taken[first] as usize) {
            Some(entry) => {
                taken[first] += 1;
                Ok(Taken::Known { index: u64::from(entry.index), occurrence })
            }
            None => Ok(Taken::New { occurrence: occurrence + new.count(fingerprint, table)? }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::table::MemoryTable;

    fn fingerprint(number: u8) -> Fingerprint {
        Fingerprint([number; 16])
    }

    #[test]
    fn each_accepted_record_is_taken_once_in_the_order_of_acceptance() {
        for limit in [0, 4, 5] {
            let mut table = MemoryTable::default();
            let mut accepted = Accepted::new(5, limit.into());
            for (index, number) in [7, 3, 7, 9, 7].into_iter().enumerate() {
                accepted.enter(fingerprint(number), index as u64, &mut table).unwrap();
            }
            accepted.complete();
            assert_eq!(matches!(accepted, Accepted::Table), limit < 5);
            let mut take = |number| accepted.take(fingerprint(number), &mut table).unwrap();
            assert_eq!(take(7), Taken::Known { index: 0, occurrence: 0 });
            assert_eq!(take(9), Taken::Known { index: 3, occurrence: 0 });
            assert_eq!(take(7), Taken::Known { index: 2, occurrence: 1 });
            assert_eq!(take(7), Taken::Known { index: 4, occurrence: 2 });
            assert_eq!(take(7), Taken::New { occurrence: 3 });
            assert_eq!(take(7), Taken::New { occurrence: 4 });
            assert_eq!(take(9), Taken::New { occurrence: 1 });
            assert_eq!(take(1), Taken::New { occurrence: 0 });
            assert_eq!(take(1), Taken::New { occurrence: 1 });
            assert_eq!(take(8), Taken::New { occurrence: 0 });
            assert_eq!(take(200), Taken::New { occurrence: 0 });
            assert_eq!(take(3), Taken::Known { index: 1, occurrence: 0 });
        }
    }
}

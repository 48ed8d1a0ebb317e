//! Finds records among the accepted ones whatever order they stand in, each accepted one at most once.

use crate::delta::ledger::Ledger;
use crate::delta::tally::Tally;
use crate::delta::{DeltaError, Fingerprint};

/// An object's accepted records as a multiset of fingerprints: 24 bytes a record in memory, and what the tally takes for
/// each new one; or the ledger's table where they are too many.
#[derive(Debug)]
pub enum Accepted {
    Memory {
        /// Sorted, so that equal fingerprints stand side by side in order of acceptance.
        entries: Vec<Entry>,
        /// For the first of equal entries: how many of them were taken.
        taken: Vec<u32>,
        /// Those that were taken when none was left.
        new: Tally,
    },
    Table,
}

/// A fingerprint and the number of the accepted record that has it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Entry {
    fingerprint: Fingerprint,
    index: u32,
}

/// The outcome of taking one record out of the multiset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// It is accepted record number `index`, and the `occurrence`-th (from 0) of those equal to it.
    Known { index: u64, occurrence: u64 },
    /// It is none of the accepted records; `occurrence` equal ones were taken before it.
    New { occurrence: u64 },
}

impl Accepted {
    /// Loads the first `count` accepted fingerprints; into memory if they are at most `limit`.
    ///
    /// # Errors
    /// `Incomplete` when the ledger holds fewer.
    pub fn load(ledger: &mut dyn Ledger, count: u64, limit: usize) -> Result<Self, DeltaError> {
        let in_memory = usize::try_from(count).is_ok_and(|count| count <= limit) && u32::try_from(count).is_ok();
        if !in_memory {
            each_accepted(ledger, count, |ledger, fingerprint, index| Ok(ledger.enter(fingerprint, index)?))?;
            return Ok(Self::Table);
        }
        let mut entries = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
        each_accepted(ledger, count, |_, fingerprint, index| {
            let index = u32::try_from(index).map_err(|_| DeltaError::Incomplete { held: index, accepted: count })?;
            entries.push(Entry { fingerprint, index });
            Ok(())
        })?;
        entries.sort_unstable();
        let taken = vec![0; entries.len()];
        Ok(Self::Memory { entries, taken, new: Tally::new(limit, 0) })
    }

    /// Takes one record with this fingerprint out.
    ///
    /// # Errors
    /// The ledger's, where its table is used.
    pub fn take(&mut self, fingerprint: Fingerprint, ledger: &mut dyn Ledger) -> Result<Taken, DeltaError> {
        let Self::Memory { entries, taken, new } = self else {
            let occurrence = ledger.count(fingerprint)?;
            return Ok(match ledger.nth(fingerprint, occurrence)? {
                Some(index) => Taken::Known { index, occurrence },
                None => Taken::New { occurrence },
            });
        };
        let first = entries.partition_point(|entry| entry.fingerprint < fingerprint);
        let of_it = |place: usize| entries.get(place).filter(|entry| entry.fingerprint == fingerprint);
        if of_it(first).is_none() {
            return Ok(Taken::New { occurrence: new.count(fingerprint, ledger)? });
        }
        let occurrence = u64::from(taken[first]);
        match of_it(first + taken[first] as usize) {
            Some(entry) => {
                taken[first] += 1;
                Ok(Taken::Known { index: u64::from(entry.index), occurrence })
            }
            None => Ok(Taken::New { occurrence: occurrence + new.count(fingerprint, ledger)? }),
        }
    }
}

/// Calls `each` with the first `count` accepted fingerprints and their numbers, in order.
///
/// # Errors
/// Those of the ledger and of `each`; `Incomplete` when the ledger holds fewer.
pub fn each_accepted(
    ledger: &mut dyn Ledger,
    count: u64,
    mut each: impl FnMut(&mut dyn Ledger, Fingerprint, u64) -> Result<(), DeltaError>,
) -> Result<(), DeltaError> {
    let mut piece = Vec::new();
    let mut index = 0;
    while index < count {
        piece.clear();
        ledger.accepted(index, &mut piece)?;
        if piece.is_empty() {
            return Err(DeltaError::Incomplete { held: index, accepted: count });
        }
        let left = usize::try_from(count - index).unwrap_or(usize::MAX);
        for fingerprint in piece.iter().take(left) {
            each(ledger, *fingerprint, index)?;
            index += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::ledger::MemoryLedger;

    fn fingerprint(number: u8) -> Fingerprint {
        Fingerprint([number; 16])
    }

    #[test]
    fn each_accepted_record_is_taken_once_in_the_order_of_acceptance() {
        for limit in [0, 4, 5] {
            let mut ledger = MemoryLedger::new([7, 3, 7, 9, 7].map(fingerprint).to_vec());
            let mut accepted = Accepted::load(&mut ledger, 5, limit).unwrap();
            assert_eq!(matches!(accepted, Accepted::Table), limit < 5);
            let mut take = |number| accepted.take(fingerprint(number), &mut ledger).unwrap();
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

    #[test]
    fn a_ledger_that_holds_fewer_records_than_were_accepted_is_told() {
        let mut ledger = MemoryLedger::new([1, 2].map(fingerprint).to_vec());
        let error = Accepted::load(&mut ledger, 3, 100).unwrap_err();
        assert!(matches!(error, DeltaError::Incomplete { held: 2, accepted: 3 }));
    }

    #[test]
    fn only_as_many_are_loaded_as_were_accepted() {
        let mut ledger = MemoryLedger::new([1, 2].map(fingerprint).to_vec());
        let mut accepted = Accepted::load(&mut ledger, 1, 100).unwrap();
        assert_eq!(accepted.take(fingerprint(2), &mut ledger).unwrap(), Taken::New { occurrence: 0 });
    }
}

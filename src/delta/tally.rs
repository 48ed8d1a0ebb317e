//! Counts equal fingerprints, in bounded memory.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};

use crate::delta::Fingerprint;
use crate::delta::table::{ScratchTable, TableError};

/// How often each fingerprint was counted. Most are counted once, so that those take 16 bytes and their share of the
/// table, and only the others a number.
#[derive(Debug)]
pub struct Tally {
    counted: HashSet<Fingerprint, Keyed>,
    /// How often, for those counted more than once.
    repeated: HashMap<Fingerprint, u64, Keyed>,
    limit: usize,
}

impl Tally {
    /// Counts up to `limit` distinct fingerprints in memory, those past it in the table. Expects `expected` of
    /// them.
    pub fn new(limit: usize, expected: u64) -> Self {
        let keyed = Keyed::new();
        let mut tally = Self { counted: HashSet::with_hasher(keyed), repeated: HashMap::with_hasher(keyed), limit };
        tally.reserve(expected);
        tally
    }

    /// Makes room for as many more, as far as memory may be used.
    pub fn reserve(&mut self, expected: u64) {
        let room = usize::try_from(expected).unwrap_or(usize::MAX).min(self.limit);
        self.counted.reserve(room.saturating_sub(self.counted.len()));
    }

    /// Counts the fingerprint once more; says how often it had been counted before.
    ///
    /// # Errors
    /// The table's, past the limit.
    pub fn count(&mut self, fingerprint: Fingerprint, table: &mut dyn ScratchTable) -> Result<u64, TableError> {
        if self.counted.len() < self.limit {
            if self.counted.insert(fingerprint) {
                return Ok(0);
            }
        } else if !self.counted.contains(&fingerprint) {
            return table.count(fingerprint);
        }
        let count = self.repeated.entry(fingerprint).or_insert(1);
        *count += 1;
        Ok(*count - 1)
    }
}

/// Hashes fingerprints for a table. They are evenly spread already, but whoever writes log lines can search for ones that
/// fall together: hence a key that nobody else knows.
#[derive(Clone, Copy, Debug)]
pub struct Keyed {
    first: u64,
    second: u64,
}

impl Keyed {
    pub fn new() -> Self {
        let random = RandomState::new();
        Self { first: random.hash_one(1), second: random.hash_one(2) }
    }
}

impl Default for Keyed {
    fn default() -> Self {
        Self::new()
    }
}

impl BuildHasher for Keyed {
    type Hasher = KeyedHasher;

    fn build_hasher(&self) -> KeyedHasher {
        KeyedHasher { key: *self, hash: 0 }
    }
}

/// The hasher of [`Keyed`]: both halves of a fingerprint, each under its key, multiplied and folded.
#[derive(Debug)]
pub struct KeyedHasher {
    key: Keyed,
    hash: u64,
}

impl Hasher for KeyedHasher {
    fn write(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(16) {
            let mut whole = [0; 16];
            whole[..piece.len()].copy_from_slice(piece);
            let whole = u128::from_le_bytes(whole);
            let (low, high) = (whole as u64, (whole >> 64) as u64);
            let product = u128::from(low ^ self.key.first) * u128::from(high ^ self.key.second);
            self.hash = self.hash.rotate_left(5) ^ (product as u64) ^ ((product >> 64) as u64);
        }
    }

    fn finish(&self) -> u64 {
        self.hash
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
    fn each_fingerprint_is_counted_on_its_own_within_memory_and_past_it() {
        for limit in [0, 1, 2, 100] {
            let mut table = MemoryTable::default();
            let mut tally = Tally::new(limit, 1_000_000);
            let counts = [1, 2, 1, 3, 3, 1, 2, 4, 1].map(|n| tally.count(fingerprint(n), &mut table).unwrap());
            assert_eq!(counts, [0, 0, 1, 0, 1, 2, 1, 0, 3], "limit {limit}");
            assert!(tally.counted.len() <= limit);
        }
    }

    #[test]
    fn two_tallies_hash_under_different_keys() {
        let hashes = [(); 2].map(|()| Keyed::new().hash_one(fingerprint(1)));
        assert_ne!(hashes[0], hashes[1]);
    }
}

//! Counts equal fingerprints, in bounded memory.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};

use crate::delta::Fingerprint;
use crate::delta::table::{ScratchTable, TableError};
use crate::room::{Room, Taken};

/// The limits of comparing fingerprints in memory: how many, and the room that lends the bytes.
#[derive(Clone)]
pub(crate) struct FingerprintMemory {
    pub fingerprints_max: usize,
    pub room: Room,
}

impl From<usize> for FingerprintMemory {
    /// Limits the number of fingerprints, not their bytes.
    fn from(fingerprints_max: usize) -> Self {
        Self { fingerprints_max, room: Room::default() }
    }
}

/// The set of fingerprints is split into this many tables. A table grows by being copied, so the memory for the copy is
/// at most this part of the whole.
const SHARDS: usize = 16;

/// Counts equal fingerprints. Most are counted once and take 16 bytes and the overhead of a table; only the others take
/// a number besides.
pub(crate) struct Tally {
    counted: Box<[Shard<HashSet<Fingerprint, Keyed>>; SHARDS]>,
    /// The counts of fingerprints counted more than once.
    repeated: Shard<HashMap<Fingerprint, u64, Keyed>>,
    distinct: usize,
    /// Whether memory has no room for further fingerprints.
    is_full: bool,
    memory: FingerprintMemory,
}

/// A table, and the memory that was taken for it.
struct Shard<T> {
    table: T,
    taken: Option<Taken>,
}

impl Tally {
    /// A tally that has room for `expected` distinct fingerprints at once, as far as memory allows. Those that do not
    /// fit in memory are counted in the [`ScratchTable`].
    pub(crate) fn new(memory: impl Into<FingerprintMemory>, expected: u64) -> Self {
        let (keyed, memory) = (Keyed::new(), memory.into());
        let mut tally = Self {
            counted: Box::new(std::array::from_fn(|_| Shard { table: HashSet::with_hasher(keyed), taken: None })),
            repeated: Shard { table: HashMap::with_hasher(keyed), taken: None },
            distinct: 0,
            is_full: memory.fingerprints_max == 0,
            memory,
        };
        tally.reserve(expected);
        tally
    }

    /// Makes room for `expected` distinct fingerprints, as far as memory allows.
    pub(crate) fn reserve(&mut self, expected: u64) {
        let expected = usize::try_from(expected).unwrap_or(usize::MAX).min(self.memory.fingerprints_max);
        // Fingerprints are spread almost evenly: an eighth more covers the difference.
        let each = expected / SHARDS + expected / (8 * SHARDS);
        for shard in self.counted.iter_mut() {
            if each > shard.table.capacity() {
                grow_set(shard, each, &self.memory.room);
            }
        }
    }

    /// Counts the fingerprint once more. Returns how often it was counted before.
    ///
    /// # Errors
    /// Those of the table, if memory has no room.
    pub(crate) fn count(&mut self, fingerprint: Fingerprint, table: &mut dyn ScratchTable) -> Result<u64, TableError> {
        let shard = &mut self.counted[usize::from(fingerprint.0[0]) % SHARDS];
        if !self.is_full && shard.table.len() == shard.table.capacity() {
            let twice = (2 * shard.table.capacity()).max(FIRST_CAPACITY);
            self.is_full = !grow_set(shard, twice, &self.memory.room);
        }
        if !self.is_full {
            if shard.table.insert(fingerprint) {
                self.distinct += 1;
                self.is_full = self.distinct >= self.memory.fingerprints_max;
                return Ok(0);
            }
        } else if !shard.table.contains(&fingerprint) {
            return table.count(fingerprint);
        }
        self.count_again(fingerprint, table)
    }

    /// Counts a fingerprint that was counted in memory before.
    fn count_again(&mut self, fingerprint: Fingerprint, table: &mut dyn ScratchTable) -> Result<u64, TableError> {
        let Shard { table: repeated, taken } = &mut self.repeated;
        if let Some(count) = repeated.get_mut(&fingerprint) {
            *count += 1;
            return Ok(*count - 1);
        }
        if repeated.len() == repeated.capacity() {
            let twice = (2 * repeated.capacity()).max(FIRST_CAPACITY);
            let bytes = table_bytes::<(Fingerprint, u64)>(twice);
            match self.memory.room.try_take(bytes).filter(|_| !self.is_full) {
                Some(more) => {
                    repeated.reserve(twice - repeated.len());
                    *taken = Some(more);
                }
                // The table counts this fingerprint from now on. Only its first occurrence is missing there.
                None => {
                    self.is_full = true;
                    return Ok(1 + table.count(fingerprint)?);
                }
            }
        }
        repeated.insert(fingerprint, 2);
        Ok(1)
    }
}

/// How many entries a table has room for when it is created.
const FIRST_CAPACITY: usize = 28;

/// Makes room for `capacity` fingerprints. Returns false if memory has none.
fn grow_set(shard: &mut Shard<HashSet<Fingerprint, Keyed>>, capacity: usize, room: &Room) -> bool {
    let more = room.try_take(table_bytes::<Fingerprint>(capacity));
    let grows = more.is_some();
    if grows {
        shard.table.reserve(capacity.saturating_sub(shard.table.len()));
        shard.taken = more;
    }
    grows
}

/// Bytes of a hash table of the standard library: a power of two of entries, of which seven eighths may be used, and
/// one control byte for each.
fn table_bytes<T>(capacity: usize) -> usize {
    (capacity.saturating_mul(8) / 7).next_power_of_two().saturating_mul(size_of::<T>() + 1)
}

/// Hashes fingerprints for hash tables. Fingerprints are evenly spread already, but a writer of log lines can search
/// for some that collide. So each hasher has a secret random key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keyed {
    first: u64,
    second: u64,
}

impl Keyed {
    pub(crate) fn new() -> Self {
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
pub(crate) struct KeyedHasher {
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
    use crate::room::{BASE_BYTES, Purse};

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
            assert!(tally.distinct <= limit);
        }
    }

    #[test]
    fn what_memory_has_no_room_for_is_counted_in_the_table() {
        let each = |number: u64| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
            Fingerprint(bytes)
        };
        let (room, left) = Purse::of(200_000);
        let base = room.take(BASE_BYTES).unwrap();
        let memory = FingerprintMemory { fingerprints_max: usize::MAX, room };
        let (mut table, mut tally) = (MemoryTable::default(), Tally::new(memory, 0));
        for round in 0..3 {
            for number in 0..20_000 {
                assert_eq!(tally.count(each(number), &mut table).unwrap(), round, "number {number}");
            }
        }
        assert!(tally.is_full && tally.distinct > 1000 && tally.distinct < 20_000, "{} in memory", tally.distinct);
        drop((tally, base));
        assert_eq!(*left.lock().unwrap(), 200_000);
    }

    #[test]
    fn two_tallies_hash_under_different_keys() {
        let hashes = [(); 2].map(|()| Keyed::new().hash_one(fingerprint(1)));
        assert_ne!(hashes[0], hashes[1]);
    }
}

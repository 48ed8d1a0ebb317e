//! A set of places in an accepted sequence, as bits: for example the records of an object that are in quarantine, or
//! that a sink has not had.

use std::collections::{BTreeMap, BTreeSet};

use crate::delta::ranges::Ranges;

/// Bytes of bits in one stretch.
const STRETCH_BYTES: usize = 4096;

/// Places in one stretch.
pub(crate) const STRETCH_PLACES: u64 = STRETCH_BYTES as u64 * 8;

/// A set of places. It takes at most one bit for each place up to the last, and hardly anything for contiguous places.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Stretches by their number, each compressed if that makes it shorter. Empty stretches are left out.
    packed: BTreeMap<u64, Vec<u8>>,
    open: Option<Open>,
    /// The numbers of stretches that have changed since they were loaded or last taken for saving.
    changed: BTreeSet<u64>,
}

/// The one stretch that is unpacked.
#[derive(Clone, Debug)]
struct Open {
    stretch: u64,
    bits: Vec<u8>,
    is_changed: bool,
}

impl Places {
    /// Whether the place is in the set. Fast if places are asked for in ascending order.
    pub fn contains(&mut self, place: u64) -> bool {
        let (at, bit) = bit_of(place);
        self.turn_to(place / STRETCH_PLACES).bits[at] & bit != 0
    }

    /// Returns whether the place is new.
    pub fn insert(&mut self, place: u64) -> bool {
        let (at, bit) = bit_of(place);
        let open = self.turn_to(place / STRETCH_PLACES);
        let is_new = open.bits[at] & bit == 0;
        open.bits[at] |= bit;
        open.is_changed |= is_new;
        is_new
    }

    /// Returns whether the place was in the set.
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
            // Stretches are checked when they are loaded, so unpacking does not fail.
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
    pub fn insert_all(&mut self, places: &Ranges) -> u64 {
        places.iter().flatten().map(|place| u64::from(self.insert(place))).sum()
    }

    /// Returns how many of the places were in the set.
    pub fn remove_all(&mut self, places: &Ranges) -> u64 {
        places.iter().flatten().map(|place| u64::from(self.remove(place))).sum()
    }

    /// Adds the places of another set. Returns how many of them are new.
    pub fn insert_places(&mut self, others: &mut Self) -> u64 {
        self.combine(others, |own, other| own | other)
    }

    /// Removes the places of another set. Returns how many of them were in this one.
    pub fn remove_places(&mut self, others: &mut Self) -> u64 {
        self.combine(others, |own, other| own & !other)
    }

    /// Returns how many places are added or removed.
    fn combine(&mut self, others: &mut Self, bits: impl Fn(u8, u8) -> u8) -> u64 {
        others.close();
        let mut changed = 0;
        for (&stretch, packed) in &others.packed {
            let others = unpacked(packed).unwrap_or_default();
            let open = self.turn_to(stretch);
            let before = changed;
            for (own, other) in open.bits.iter_mut().zip(others) {
                let after = bits(*own, other);
                changed += u64::from((*own ^ after).count_ones());
                *own = after;
            }
            open.is_changed |= changed > before;
        }
        changed
    }

    /// Removes the places from `end` on. Returns how many they are.
    pub fn truncate(&mut self, end: u64) -> u64 {
        self.close();
        let mut removed = 0;
        let stretches: Vec<u64> = self.packed.range(end / STRETCH_PLACES..).map(|(stretch, _)| *stretch).collect();
        for stretch in stretches {
            let open = self.turn_to(stretch);
            let before = removed;
            for (byte, first) in open.bits.iter_mut().zip((stretch * STRETCH_PLACES..).step_by(8)) {
                let kept = (1_u16 << end.saturating_sub(first).min(8)) - 1;
                removed += u64::from((u16::from(*byte) & !kept).count_ones());
                *byte &= kept as u8;
            }
            open.is_changed |= removed > before;
        }
        removed
    }

    /// Adds a stretch that [`Places::take_changed`] returned. Returns false if the bytes are no valid stretch.
    pub fn put_stretch(&mut self, stretch: u64, packed: Vec<u8>) -> bool {
        let is_one = unpacked(&packed).is_some();
        self.packed.insert(stretch, packed);
        is_one
    }

    /// The stretches, by number, that have changed since they were added or last returned. `None` for a stretch that is
    /// empty now.
    pub fn take_changed(&mut self) -> Vec<(u64, Option<Vec<u8>>)> {
        self.close();
        let changed = std::mem::take(&mut self.changed).into_iter();
        changed.map(|stretch| (stretch, self.packed.get(&stretch).cloned())).collect()
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
    use proptest::prelude::*;

    use super::*;

    /// The same places, saved and loaded again.
    fn put_again(places: &mut Places, stretches: &mut BTreeMap<u64, Vec<u8>>) -> Places {
        for (stretch, packed) in places.take_changed() {
            match packed {
                Some(packed) => stretches.insert(stretch, packed),
                None => stretches.remove(&stretch),
            };
        }
        let mut again = Places::default();
        stretches.iter().for_each(|(stretch, packed)| assert!(again.put_stretch(*stretch, packed.clone())));
        again
    }

    /// Bytes of all stretches.
    fn size(places: &mut Places) -> usize {
        places.close();
        places.packed.values().map(Vec::len).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) })]

        #[test]
        fn places_are_what_was_put_in_and_not_taken_out(
            steps in proptest::collection::vec((any::<bool>(), 0..200_000_u64), 1..300),
            saved in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
        ) {
            let (mut places, mut expected) = (Places::default(), BTreeSet::new());
            let mut stretches = BTreeMap::new();
            let saved: BTreeSet<usize> = saved.iter().map(|at| at.index(steps.len())).collect();
            for (at, (is_in, place)) in steps.iter().enumerate() {
                match is_in {
                    true => prop_assert_eq!(places.insert(*place), expected.insert(*place)),
                    false => prop_assert_eq!(places.remove(*place), expected.remove(place)),
                }
                if saved.contains(&at) {
                    places = put_again(&mut places, &mut stretches);
                }
            }
            prop_assert!((0..200_000).filter(|place| places.contains(*place)).eq(expected.iter().copied()));
            prop_assert_eq!(places.is_empty(), expected.is_empty());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) })]

        #[test]
        fn sets_are_joined_taken_apart_and_cut_place_by_place(
            places in proptest::collection::btree_set(0..100_000_u64, 0..200),
            others in proptest::collection::btree_set(0..100_000_u64, 0..200),
            end in 0..120_000_u64,
        ) {
            let set = |of: &BTreeSet<u64>| {
                let mut places = Places::default();
                of.iter().for_each(|place| _ = places.insert(*place));
                places
            };
            let held = |mut of: Places| (0..100_000).filter(|place| of.contains(*place)).collect::<BTreeSet<_>>();
            let (mut joined, mut apart, mut cut) = (set(&places), set(&places), set(&places));
            prop_assert_eq!(joined.insert_places(&mut set(&others)), others.difference(&places).count() as u64);
            prop_assert_eq!(held(joined), &places | &others);
            prop_assert_eq!(apart.remove_places(&mut set(&others)), places.intersection(&others).count() as u64);
            prop_assert_eq!(held(apart), &places - &others);
            prop_assert_eq!(cut.truncate(end), places.range(end..).count() as u64);
            prop_assert_eq!(held(cut), places.range(..end).copied().collect::<BTreeSet<_>>());
        }
    }

    #[test]
    fn places_that_lie_together_cost_next_to_nothing_and_others_a_bit_each() {
        let mut places = Places::default();
        assert_eq!(places.insert_all(&Ranges::from(0..1_000_000)), 1_000_000);
        assert!(size(&mut places) < 10_000, "{}", size(&mut places));
        let mut chance = 1_u64;
        for place in 0..1_000_000 {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if chance >> 63 == 1 {
                places.remove(place);
            }
        }
        assert!(size(&mut places) <= 31 * 4096, "{}", size(&mut places));
        let left = (0..1_000_000).filter(|place| places.contains(*place)).count() as u64;
        assert_eq!(places.remove_all(&Ranges::from(0..1_000_000)), left);
        assert_eq!((size(&mut places), places.is_empty()), (0, true));
    }

    #[test]
    fn what_is_no_stretch_is_told() {
        for other in [&[1, 2][..], &[0; 4095], &zstd::bulk::compress(&[0; 4095], 1).unwrap()] {
            assert!(!Places::default().put_stretch(0, other.to_vec()));
        }
    }
}

//! Places of an object's accepted sequence, as ranges.

use std::ops::Range;

/// Ranges of places, in ascending order. No two of them touch, and none is empty.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// Adds a range that begins where the last one ends, or later. An empty one adds nothing.
    pub fn push(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        match self.0.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => self.0.push(range),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().cloned()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, place: u64) -> bool {
        let at = self.0.partition_point(|range| range.end <= place);
        self.0.get(at).is_some_and(|range| range.contains(&place))
    }

    /// From the first place to right after the last one.
    pub fn span(&self) -> Range<u64> {
        let (first, last) = (self.0.first(), self.0.last());
        first.map_or(0, |range| range.start)..last.map_or(0, |range| range.end)
    }

    /// Whether some place is in both.
    pub fn overlap(&self, other: &Self) -> bool {
        let (here, there) = (self.span(), other.span());
        // Mostly the spans do not overlap, which is cheap to find out.
        here.start < there.end && there.start < here.end && self.iter().flatten().any(|place| other.contains(place))
    }

    /// How many places they hold.
    pub fn places(&self) -> u64 {
        self.0.iter().map(|range| range.end - range.start).sum()
    }
}

impl From<Range<u64>> for Ranges {
    fn from(range: Range<u64>) -> Self {
        let mut ranges = Self::default();
        ranges.push(range);
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_one_and_each_place_is_found_again() {
        let mut ranges = Ranges::default();
        assert_eq!((ranges.is_empty(), ranges.span(), ranges.places()), (true, 0..0, 0));
        for range in [2..4, 4..5, 7..7, 9..10] {
            ranges.push(range);
        }
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [2..5, 9..10]);
        assert_eq!((0..12).filter(|place| ranges.contains(*place)).collect::<Vec<_>>(), [2, 3, 4, 9]);
        assert_eq!((ranges.is_empty(), ranges.span(), ranges.places()), (false, 2..10, 4));
    }

    #[test]
    fn ranges_overlap_where_they_have_a_place_in_common() {
        let mut ranges = Ranges::from(2..4);
        ranges.push(9..10);
        let overlapping = [0..2, 0..3, 3..9, 4..9, 9..12, 10..12].map(|range| ranges.overlap(&Ranges::from(range)));
        assert_eq!(overlapping, [false, true, true, false, true, false]);
        assert!(!ranges.overlap(&Ranges::default()) && !Ranges::default().overlap(&ranges));
    }
}

//! Tells a storm from single bad events: in a storm a receiver refuses most of what it is sent for one reason.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// How many of the last events are considered.
const EVENTS: usize = 1000;

/// With fewer events than this, nothing is a storm.
const EVENTS_MIN: usize = 20;

/// The outcomes of the last events: `None` for a taken event, the hash of the reason for a refused one.
#[derive(Debug, Default)]
pub(super) struct Storm {
    last: VecDeque<Option<u64>>,
}

impl Storm {
    /// The reason for which more than half of the last events were refused, if there is one, this batch included.
    /// `refused` has the numbers and reasons of the batch's refused events, in order; `events` counts all its events.
    /// In a storm the batch is not remembered, since it is sent again.
    pub(super) fn breaks<'a>(
        &mut self,
        events: usize,
        refused: impl Iterator<Item = (u32, &'a str)>,
    ) -> Option<&'a str> {
        let mut refused = refused.peekable();
        if refused.peek().is_none() {
            (0..events.min(EVENTS)).for_each(|_| self.push(None));
            return None;
        }
        let before = self.last.clone();
        let mut number = 0;
        let mut reasons: BTreeMap<u64, &'a str> = BTreeMap::new();
        for (at, reason) in refused {
            let at = (at as usize).min(events);
            (number.max(at.saturating_sub(EVENTS))..at).for_each(|_| self.push(None));
            number = at + 1;
            let hash = hash(reason);
            reasons.entry(hash).or_insert(reason);
            self.push(Some(hash));
        }
        (number.max(events.saturating_sub(EVENTS))..events).for_each(|_| self.push(None));
        let storm = self.most().filter(|_| self.last.len() >= EVENTS_MIN).and_then(|reason| reasons.get(&reason));
        if storm.is_some() {
            self.last = before;
        }
        storm.copied()
    }

    /// The reason for which more than half of the last events were refused, if there is one.
    fn most(&self) -> Option<u64> {
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        self.last.iter().flatten().for_each(|reason| *counts.entry(*reason).or_default() += 1);
        counts.into_iter().find(|(_, count)| count * 2 > self.last.len()).map(|(reason, _)| reason)
    }

    fn push(&mut self, outcome: Option<u64>) {
        if self.last.len() == EVENTS {
            self.last.pop_front();
        }
        self.last.push_back(outcome);
    }
}

/// Hashes a reason up to its first colon: receivers name the error first, and after a colon what it was about.
fn hash(reason: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    reason.split(':').next().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(numbers: std::ops::Range<u32>, reason: &str) -> impl Iterator<Item = (u32, &str)> {
        numbers.map(move |number| (number, reason))
    }

    #[test]
    fn single_refusals_are_no_storm() {
        let mut storm = Storm::default();
        assert_eq!(storm.breaks(3, refused(0..3, "mapping")), None, "of so few nothing is concluded");
        assert_eq!(storm.breaks(2000, refused(7..400, "mapping")), None);
        assert_eq!(storm.breaks(2000, std::iter::empty()), None);
        assert_eq!(storm.last.len(), EVENTS);
    }

    #[test]
    fn a_reason_that_refuses_more_than_half_is_a_storm_until_events_are_taken_again() {
        let mut storm = Storm::default();
        storm.breaks(5000, std::iter::empty());
        assert_eq!(storm.breaks(500, refused(0..500, "mapping")), None, "half");
        let mut storm = Storm::default();
        storm.breaks(5000, std::iter::empty());
        for _ in 0..3 {
            assert_eq!(storm.breaks(501, refused(0..501, "mapping")), Some("mapping"));
        }
        assert_eq!(storm.breaks(501, std::iter::empty()), None);
        assert_eq!(storm.breaks(501, refused(0..10, "mapping")), None);
    }

    #[test]
    fn different_reasons_are_no_storm() {
        let mut storm = Storm::default();
        let reasons: Vec<String> = (0..100).map(|number| format!("error {number}: bad value")).collect();
        assert_eq!(storm.breaks(100, (0..).zip(reasons.iter().map(String::as_str))), None);
        assert_eq!(storm.breaks(100, refused(0..100, "no such index")), None, "half of 200");
        assert_eq!(storm.breaks(100, refused(0..100, "no such index: x")), Some("no such index: x"));
    }
}

//! Feeds' backlogs: objects that could not be read. For each feed and kind of failure, one object at a time is read as
//! a probe; once a probe succeeds, the other objects follow.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::checkpoint::UnreadCount;
use crate::collector::ids::{FeedId, PerFeed};
use crate::notification::ObjectId;

/// The kind of objects that were not tried yet: they were moved here to make room in their queue.
pub(super) const WAITING: &str = "waiting";

/// A feed counts as unreadable once this many different objects failed in a row. A single object may fail by itself.
const FAILED_IN_A_ROW: usize = 3;

/// How long a kind rests after a failed probe: twice as long each time, up to the maximum.
const PROBE_WAIT_MIN: Duration = Duration::from_millis(500);
const PROBE_WAIT_MAX: Duration = Duration::from_secs(30);

/// With `--once`, a kind is given up after this many failed probes in a row.
const ONCE_PROBES_MAX: u32 = 4;

/// How many entries are read from the store at once.
const FETCHED_AT_ONCE: usize = 256;

/// What to do next for a feed's backlog.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Read this object. `attempts` reads of it have failed.
    Read { kind: Arc<str>, object: ObjectId, attempts: u32 },
    /// Fetch at most `most` entries of this kind from the store, and ask again.
    Fetch { kind: Arc<str>, most: usize },
}

/// How reading an entry ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// The object could be read.
    Read,
    Failed,
    /// Neither read nor failed: a sink or the store was not ready.
    Delayed,
}

/// The objects of one feed with the same kind of failure.
#[derive(Debug)]
struct Pile {
    /// How many the store has.
    objects: u64,
    /// Some of them with their failed attempts, in the order in which they are tried.
    fetched: VecDeque<(ObjectId, u32)>,
    running: usize,
    /// Probes that failed in a row. At 0, objects are read without probing.
    failures: u32,
    not_before: Instant,
}

impl Pile {
    /// A pile of `objects` entries. With `failures` above 0, it is probed first.
    fn new(objects: u64, failures: u32) -> Self {
        Self { objects, fetched: VecDeque::new(), running: 0, failures, not_before: Instant::now() }
    }

    fn may_start(&self, once: bool) -> bool {
        let rests = self.not_before > Instant::now() || (once && self.is_given_up());
        self.objects > 0 && !rests && (self.failures == 0 || self.running == 0)
    }

    fn is_given_up(&self) -> bool {
        self.failures > ONCE_PROBES_MAX
    }
}

/// One feed's backlog.
#[derive(Debug, Default)]
struct FeedBacklog {
    piles: BTreeMap<Arc<str>, Pile>,
    /// The kind that had the last turn.
    last: Option<Arc<str>>,
    /// The different objects that failed since one was last read, and the kind of the latest failure.
    failed: Vec<ObjectId>,
    latest: Option<Arc<str>>,
}

/// All feeds' backlogs.
#[derive(Debug)]
pub(super) struct Unread {
    feeds: PerFeed<FeedBacklog>,
    once: bool,
}

impl Unread {
    /// The backlogs of feeds with these names, with the store's counts.
    pub(super) fn new<'n>(names: impl Iterator<Item = &'n str>, counts: &[UnreadCount], once: bool) -> Self {
        let of = |name: &str| {
            let own = counts.iter().filter(|count| &*count.feed == name);
            let piles = own.map(|count| (Arc::clone(&count.kind), Pile::new(count.objects, 1))).collect();
            FeedBacklog { piles, ..FeedBacklog::default() }
        };
        Self { feeds: names.map(of).collect(), once }
    }

    /// How many objects of the feed's backlog there are, by kind. Kinds without objects any more are included.
    pub(super) fn counts(&self, feed: FeedId) -> impl Iterator<Item = (&Arc<str>, u64)> {
        self.feeds[feed].piles.iter().map(|(kind, pile)| (kind, pile.objects))
    }

    /// How many objects are in the feed's backlog.
    pub(super) fn len(&self, feed: FeedId) -> u64 {
        self.counts(feed).map(|(_, objects)| objects).sum()
    }

    /// Whether nothing is left to try. With `--once`, kinds that were given up do not count.
    pub(super) fn is_done(&self) -> bool {
        let mut piles = self.feeds.iter().flat_map(|feed| feed.piles.values());
        piles.all(|pile| pile.objects == 0 || (self.once && pile.is_given_up()))
    }

    /// Whether all backlogs are empty.
    pub(super) fn is_empty(&self) -> bool {
        self.feeds.iter().flat_map(|feed| feed.piles.values()).all(|pile| pile.objects == 0)
    }

    /// The kind of failure for which the feed is unreadable: further objects are not even tried. `None` if it is
    /// readable.
    pub(super) fn unreadable(&self, feed: FeedId) -> Option<&Arc<str>> {
        let unreadable = !self.once && self.feeds[feed].failed.len() >= FAILED_IN_A_ROW && self.len(feed) > 0;
        self.latest(feed).filter(|_| unreadable)
    }

    /// The kind of the feed's latest failure. `None` if an object was read since.
    pub(super) fn latest(&self, feed: FeedId) -> Option<&Arc<str>> {
        let state = &self.feeds[feed];
        state.latest.as_ref().filter(|_| !state.failed.is_empty())
    }

    /// Notes that reading an object failed in a way in which others of the feed are likely to fail too.
    pub(super) fn place_failed(&mut self, feed: FeedId, object: &ObjectId, kind: &str) {
        let state = &mut self.feeds[feed];
        if state.failed.len() < FAILED_IN_A_ROW && !state.failed.contains(object) {
            state.failed.push(object.clone());
        }
        state.latest = Some(kind.into());
    }

    /// Notes that the feed's place answers.
    pub(super) fn place_answered(&mut self, feed: FeedId) {
        self.feeds[feed].failed.clear();
    }

    /// Notes that the store has one more entry.
    pub(super) fn added(&mut self, feed: FeedId, kind: &Arc<str>) {
        let failures = u32::from(&**kind != WAITING);
        let pile = self.feeds[feed].piles.entry(Arc::clone(kind)).or_insert_with(|| Pile::new(0, failures));
        pile.objects += 1;
    }

    /// Notes that the store has one entry fewer.
    pub(super) fn removed(&mut self, feed: FeedId, kind: &Arc<str>) {
        if let Some(pile) = self.feeds[feed].piles.get_mut(kind) {
            pile.objects = pile.objects.saturating_sub(1);
        }
    }

    /// The next step for the feed's backlog. `is_busy` says which objects are worked on already. `None` if nothing can
    /// be tried now.
    pub(super) fn next(&mut self, feed: FeedId, is_busy: impl Fn(&ObjectId) -> bool) -> Option<Next> {
        let once = self.once;
        let FeedBacklog { piles, last, .. } = &mut self.feeds[feed];
        let from = last.as_ref().map_or(Bound::Unbounded, |last| Bound::Excluded(Arc::clone(last)));
        let mut kinds: Vec<Arc<str>> =
            piles.range((from, Bound::Unbounded)).map(|(kind, _)| Arc::clone(kind)).collect();
        kinds.extend(piles.keys().filter(|kind| last.as_ref().is_some_and(|last| *kind <= last)).cloned());
        for kind in kinds {
            let Some(pile) = piles.get_mut(&kind).filter(|pile| pile.may_start(once)) else { continue };
            if pile.fetched.is_empty() {
                return Some(Next::Fetch { kind, most: FETCHED_AT_ONCE });
            }
            while let Some((object, attempts)) = pile.fetched.pop_front() {
                if !is_busy(&object) {
                    *last = Some(Arc::clone(&kind));
                    return Some(Next::Read { kind, object, attempts });
                }
            }
            // All fetched objects are worked on already.
            pile.not_before = Instant::now() + PROBE_WAIT_MIN;
        }
        None
    }

    /// Takes entries of a kind from the store, in the order in which they are tried.
    pub(super) fn fetched(&mut self, feed: FeedId, kind: &str, entries: Vec<(ObjectId, u32)>) {
        let Some(pile) = self.feeds[feed].piles.get_mut(kind) else { return };
        if entries.is_empty() {
            pile.not_before = Instant::now() + PROBE_WAIT_MIN;
        }
        pile.fetched.extend(entries);
    }

    pub(super) fn started(&mut self, feed: FeedId, kind: &Arc<str>) {
        if let Some(pile) = self.feeds[feed].piles.get_mut(kind) {
            pile.running += 1;
        }
    }

    /// Notes that reading an entry of this kind has ended. Returns whether this is the first success after a failure.
    pub(super) fn ended(&mut self, feed: FeedId, kind: &Arc<str>, outcome: Outcome) -> bool {
        let Some(pile) = self.feeds[feed].piles.get_mut(kind) else { return false };
        pile.running = pile.running.saturating_sub(1);
        let failed = pile.failures;
        match outcome {
            Outcome::Read => {
                pile.failures = 0;
                pile.not_before = Instant::now();
            }
            Outcome::Failed => {
                let wait = PROBE_WAIT_MIN.saturating_mul(1 << failed.min(16)).min(PROBE_WAIT_MAX);
                pile.failures = failed.saturating_add(1);
                pile.not_before = Instant::now() + wait;
            }
            Outcome::Delayed => pile.not_before = Instant::now() + PROBE_WAIT_MIN,
        }
        outcome == Outcome::Read && failed > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: FeedId = FeedId(0);
    const Z: FeedId = FeedId(1);

    fn object(number: u32) -> ObjectId {
        ObjectId::new("b", format!("k{number}"))
    }

    fn count(kind: &str, objects: u64) -> UnreadCount {
        UnreadCount { feed: "a".into(), kind: kind.into(), objects }
    }

    fn unread(counts: &[UnreadCount], once: bool) -> Unread {
        Unread::new(["a", "z"].into_iter(), counts, once)
    }

    /// Starts the next object, and returns its kind and attempts. `stored` has the numbers of the objects of each kind
    /// in the store.
    fn start(unread: &mut Unread, stored: &[(&str, std::ops::Range<u32>)], running: &[u32]) -> Option<(Arc<str>, u32)> {
        let busy = |found: &ObjectId| running.iter().any(|&number| object(number) == *found);
        loop {
            match unread.next(A, busy)? {
                Next::Fetch { kind, most } => {
                    let own =
                        stored.iter().filter(|(name, _)| **name == *kind).flat_map(|(_, numbers)| numbers.clone());
                    unread.fetched(A, &kind, own.take(most).map(|number| (object(number), number)).collect());
                }
                Next::Read { kind, attempts, .. } => {
                    unread.started(A, &kind);
                    return Some((kind, attempts));
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_at_a_time_and_each_later_than_the_one_before() {
        let mut unread = unread(&[count("denied", 9)], false);
        let (stored, denied) = ([("denied", 0..9)], Arc::from("denied"));
        let mut waits = Vec::new();
        for number in 0..9 {
            let began = Instant::now();
            let probe = loop {
                if let Some(probe) = start(&mut unread, &stored, &[]) {
                    break probe;
                }
                tokio::time::advance(Duration::from_millis(250)).await;
            };
            waits.push(began.elapsed().as_millis());
            assert_eq!(probe, (Arc::clone(&denied), number));
            assert_eq!(start(&mut unread, &stored, &[number]), None, "a probe is under way");
            assert!(!unread.ended(A, &denied, Outcome::Failed));
        }
        assert_eq!(waits, [0, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
    }

    #[tokio::test(start_paused = true)]
    async fn once_a_probe_succeeds_all_follow_until_one_fails() {
        let mut unread = unread(&[count("denied", 9)], false);
        let (stored, denied) = ([("denied", 0..9)], Arc::from("denied"));
        assert_eq!(start(&mut unread, &stored, &[]).unwrap().1, 0);
        assert!(unread.ended(A, &denied, Outcome::Read), "that is news");
        unread.removed(A, &denied);
        assert_eq!(start(&mut unread, &stored, &[]).unwrap().1, 1);
        assert_eq!(start(&mut unread, &stored, &[]).unwrap().1, 2);
        assert!(!unread.ended(A, &denied, Outcome::Read), "that is none");
        assert!(!unread.ended(A, &denied, Outcome::Failed));
        assert_eq!(start(&mut unread, &stored, &[]), None);
        tokio::time::advance(PROBE_WAIT_MIN).await;
        assert_eq!(start(&mut unread, &stored, &[]).unwrap().1, 3);
        assert_eq!(start(&mut unread, &stored, &[3]), None, "one at a time again");
        assert_eq!(unread.len(A), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn each_kind_is_probed_by_itself_and_what_was_not_tried_is_not_held_up() {
        let mut unread = unread(&[count("denied", 2), count("timeout", 2)], false);
        (5..9).for_each(|_| unread.added(A, &WAITING.into()));
        let stored = [("denied", 0..2), ("timeout", 2..4), (WAITING, 5..9)];
        let mut kinds = Vec::new();
        while let Some((kind, _)) = start(&mut unread, &stored, &[]) {
            kinds.push(kind.to_string());
            if kinds.len() == 5 {
                break;
            }
        }
        assert_eq!(kinds, ["denied", "timeout", WAITING, WAITING, WAITING]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_worked_on_already_is_passed_over() {
        let mut unread = unread(&[count("denied", 3)], false);
        let stored = [("denied", 0..3)];
        assert_eq!(start(&mut unread, &stored, &[0, 1]).unwrap().1, 2);
        unread.ended(A, &"denied".into(), Outcome::Delayed);
        tokio::time::advance(PROBE_WAIT_MIN).await;
        assert_eq!(start(&mut unread, &stored, &[0, 1, 2]), None);
        assert_eq!(start(&mut unread, &stored, &[]), None, "it is not asked for in vain all the time");
        tokio::time::advance(PROBE_WAIT_MIN).await;
        assert_eq!(start(&mut unread, &stored, &[]).unwrap().1, 0);
    }

    #[test]
    fn a_feed_is_unreadable_once_three_of_its_objects_failed_in_a_row() {
        let mut unread = unread(&[count("denied", 1)], false);
        let mut fails = |number| {
            unread.place_failed(A, &object(number), "denied");
            unread.unreadable(A).is_some()
        };
        assert!(!fails(0) && !fails(1) && !fails(1) && !fails(0), "they are two");
        assert!(fails(2));
        assert!(unread.unreadable(Z).is_none());
        unread.place_failed(A, &object(0), "timeout");
        assert_eq!(unread.unreadable(A).map(|kind| &**kind), Some("timeout"));
        unread.place_answered(A);
        assert_eq!(unread.unreadable(A), None);
        (0..3).for_each(|number| unread.place_failed(Z, &object(number), "denied"));
        assert_eq!(unread.unreadable(Z), None, "nobody would find out that it can be read again");
    }

    #[tokio::test(start_paused = true)]
    async fn once_gives_up_a_kind_after_four_probes() {
        let mut unread = unread(&[count("denied", 9)], true);
        let (stored, denied) = ([("denied", 0..9)], Arc::from("denied"));
        for _ in 0..4 {
            assert!(!unread.is_done());
            tokio::time::advance(PROBE_WAIT_MAX).await;
            assert!(start(&mut unread, &stored, &[]).is_some());
            unread.ended(A, &denied, Outcome::Failed);
        }
        tokio::time::advance(PROBE_WAIT_MAX).await;
        assert_eq!(start(&mut unread, &stored, &[]), None);
        assert!(unread.is_done() && !unread.is_empty());
    }
}

//! Decides which feed may start one more job. Each feed always has one job of its own. The other jobs that may run at
//! once are lent to the feeds in turn.

use std::collections::VecDeque;

use crate::collector::ids::{FeedId, PerFeed};
use crate::notification::ObjectId;

/// A feed's first two slow bodies occupy no lent job: the first has the feed's own job, the second runs beyond the
/// limit of jobs.
pub(super) const SLOW_MAX: usize = 2;

/// One feed's ready objects, and counts of its running jobs.
#[derive(Debug, Default)]
struct Share {
    /// Objects that changed, in the order in which they are read.
    ready: VecDeque<ObjectId>,
    running: usize,
    /// How many of the running jobs have a slow body.
    slow: usize,
    /// How many of the running jobs clear a backlog.
    catching_up: usize,
    /// Whether its last job cleared a backlog.
    caught_up_last: bool,
}

impl Share {
    /// How many of its jobs are lent: those beyond its own job and beyond [`SLOW_MAX`] slow ones.
    fn lent(&self) -> usize {
        self.running.saturating_sub(self.slow.clamp(1, SLOW_MAX))
    }
}

/// The shares of all feeds.
#[derive(Debug)]
pub(super) struct Shares {
    feeds: PerFeed<Share>,
    /// How many jobs can be lent in all, beyond each feed's own.
    lent_max: usize,
    /// The index of the feed whose turn is next.
    next: usize,
}

impl Shares {
    /// Shares for `feeds` feeds, with `objects_at_once` jobs in all, but at least one for each feed.
    pub(super) fn new(feeds: usize, objects_at_once: usize) -> Self {
        Self {
            feeds: (0..feeds).map(|_| Share::default()).collect(),
            lent_max: objects_at_once.saturating_sub(feeds),
            next: 0,
        }
    }

    /// Puts the object at the end of its feed's ready objects.
    pub(super) fn push(&mut self, feed: FeedId, object: ObjectId) {
        self.feeds[feed].ready.push_back(object);
    }

    /// The next ready object, from the next feed that may start one more job.
    pub(super) fn pop(&mut self) -> Option<ObjectId> {
        let count = self.feeds.len();
        for turn in 0..count {
            let feed = FeedId((self.next + turn) % count);
            if self.may_start(feed)
                && let Some(object) = self.feeds[feed].ready.pop_front()
            {
                self.next = feed.0 + 1;
                return Some(object);
            }
        }
        None
    }

    fn may_start(&self, feed: FeedId) -> bool {
        let lent: usize = self.feeds.iter().map(Share::lent).sum();
        self.feeds[feed].running == 0 || lent < self.lent_max
    }

    /// Whether the feed may start one more job that clears a backlog: up to half of the lent jobs, or if there is only
    /// one job, in turn with new changes.
    pub(super) fn may_catch_up(&self, feed: FeedId) -> bool {
        let share = &self.feeds[feed];
        let half = self.lent_max.div_ceil(2).max(1);
        let in_turn = self.lent_max > 0 || !share.caught_up_last || share.ready.is_empty();
        self.may_start(feed) && share.catching_up < half && in_turn
    }

    /// Whether any feed may start a job that clears a backlog.
    pub(super) fn may_any_catch_up(&self) -> bool {
        (0..self.feeds.len()).any(|feed| self.may_catch_up(FeedId(feed)))
    }

    pub(super) fn started(&mut self, feed: FeedId, catches_up: bool) {
        let share = &mut self.feeds[feed];
        share.running += 1;
        share.catching_up += usize::from(catches_up);
        share.caught_up_last = catches_up;
    }

    /// Notes that a job's body has become slow, or fast enough again.
    pub(super) fn slowed(&mut self, feed: FeedId, is_slow: bool) {
        let share = &mut self.feeds[feed];
        if is_slow { share.slow += 1 } else { share.slow -= 1 }
    }

    pub(super) fn ended(&mut self, feed: FeedId, caught_up: bool, was_slow: bool) {
        let share = &mut self.feeds[feed];
        share.running -= 1;
        share.slow -= usize::from(was_slow);
        share.catching_up -= usize::from(caught_up);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: FeedId = FeedId(0);
    const Z: FeedId = FeedId(1);

    fn object(number: usize) -> ObjectId {
        ObjectId::new("b", format!("k{number}"))
    }

    /// Starts every job that may start, and returns their objects.
    fn start_all(shares: &mut Shares, feed_of: impl Fn(&ObjectId) -> FeedId) -> Vec<ObjectId> {
        let mut started = Vec::new();
        while let Some(object) = shares.pop() {
            shares.started(feed_of(&object), false);
            started.push(object);
        }
        started
    }

    #[test]
    fn a_feed_whose_objects_never_end_leaves_each_other_its_own_job() {
        let mut shares = Shares::new(2, 4);
        (0..10).for_each(|number| shares.push(A, object(number)));
        assert_eq!(start_all(&mut shares, |_| A).len(), 3);
        (10..13).for_each(|number| shares.push(Z, object(number)));
        assert_eq!(start_all(&mut shares, |_| Z), [object(10)]);
        for number in 11..13 {
            shares.ended(Z, false, false);
            assert_eq!(start_all(&mut shares, |_| Z), [object(number)]);
        }
    }

    #[test]
    fn a_body_that_hardly_comes_gives_back_what_was_lent_for_it_but_only_one_does() {
        let mut shares = Shares::new(2, 4);
        (0..10).for_each(|number| shares.push(A, object(number)));
        assert_eq!(start_all(&mut shares, |_| A).len(), 3);
        shares.slowed(A, true);
        assert_eq!(start_all(&mut shares, |_| A).len(), 0, "the feed's own job is as good as any");
        shares.slowed(A, true);
        assert_eq!(start_all(&mut shares, |_| A).len(), 1);
        shares.slowed(A, true);
        assert_eq!(start_all(&mut shares, |_| A).len(), 0);
        shares.ended(A, false, true);
        assert_eq!(start_all(&mut shares, |_| A).len(), 1);
        shares.slowed(A, false);
        shares.ended(A, false, true);
        assert_eq!(start_all(&mut shares, |_| A).len(), 0, "one more than may be runs still");
    }

    #[test]
    fn what_is_lent_goes_round() {
        let mut shares = Shares::new(2, 6);
        (0..5).for_each(|number| shares.push(A, object(number)));
        (5..10).for_each(|number| shares.push(Z, object(number)));
        let feed_of = |object: &ObjectId| if *object.key < *"k5" { A } else { Z };
        let started = start_all(&mut shares, feed_of);
        assert_eq!(started, [0, 5, 1, 6, 2, 7].map(object));
    }

    #[test]
    fn fewer_jobs_than_feeds_are_one_of_each() {
        let mut shares = Shares::new(2, 1);
        shares.push(A, object(0));
        shares.push(Z, object(1));
        shares.push(Z, object(2));
        assert_eq!(start_all(&mut shares, |object| if *object.key == *"k0" { A } else { Z }).len(), 2);
    }

    #[test]
    fn a_backlog_gets_half_of_a_share_and_takes_turns_where_that_is_one_job() {
        let mut shares = Shares::new(1, 5);
        for _ in 0..2 {
            assert!(shares.may_catch_up(A));
            shares.started(A, true);
        }
        assert!(!shares.may_catch_up(A));
        let mut single = Shares::new(1, 1);
        single.started(A, true);
        single.ended(A, true, false);
        assert!(single.may_catch_up(A), "nothing else waits");
        single.push(A, object(0));
        assert!(!single.may_catch_up(A));
        assert_eq!(single.pop(), Some(object(0)));
        single.started(A, false);
        single.ended(A, false, false);
        assert!(single.may_catch_up(A));
    }
}

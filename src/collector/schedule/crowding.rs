//! Keeps one feed from crowding out others: neither its unsettled messages may keep their messages from being received,
//! nor its slow objects their objects from being read.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Dispatcher, Running};
use crate::collector::ids::FeedId;
use crate::collector::schedule::fairness::SLOW_MAX;
use crate::collector::schedule::unread::WAITING;
use crate::config::OweAfter;
use crate::notification::ObjectId;

/// An object that has waited less than this is not moved to a backlog.
const WAIT_MIN: Duration = Duration::from_millis(500);

impl Dispatcher {
    /// Makes room if a feed has more than its share of the in-flight messages. Its objects that wait to be read go into
    /// its backlog, the newest first; those that wait for a sink go into the sink's backlog.
    pub(super) fn make_room(&mut self) {
        if self.once {
            return;
        }
        for feed in self.message_shares.ids() {
            let share = self.message_shares[feed];
            if share == usize::MAX {
                continue;
            }
            let over = self.in_flight(feed).saturating_sub(share);
            let left = self.unqueue(feed, over);
            if left > 0 {
                self.hurry(feed, left);
            }
        }
    }

    /// How many messages of the feed are in flight. A message that names several objects counts once for each.
    fn in_flight(&self, feed: FeedId) -> usize {
        let waiting = self.waiting.values().filter(|pending| pending.feed == feed).map(|pending| pending.acks.len());
        let running = self.running.values().map(|running| &running.pending);
        let running = running.filter(|pending| pending.feed == feed).map(|pending| pending.acks.len());
        let awaiting_ack = self.awaiting_ack.values().filter(|awaiting| awaiting.feed == feed);
        let entering = self.entering.iter().map(|entering| &entering.pending).filter(|pending| pending.feed == feed);
        waiting.sum::<usize>()
            + running.sum::<usize>()
            + awaiting_ack.map(|awaiting| awaiting.acks.len()).sum::<usize>()
            + entering.map(|pending| pending.acks.len()).sum::<usize>()
    }

    /// Moves waiting objects into the feed's backlog until these have `over` messages. Returns how many messages are
    /// still over. If backlogs are off, messages are put off instead, and an object keeps those that are not over.
    fn unqueue(&mut self, feed: FeedId, over: usize) -> usize {
        if over == 0 {
            return 0;
        }
        let now = Instant::now();
        let waits = self.waiting.iter().filter(|(object, pending)| {
            let is_slow = now.duration_since(pending.since) >= WAIT_MIN;
            pending.feed == feed && !pending.acks.is_empty() && is_slow && !self.running.contains_key(*object)
        });
        let mut newest: Vec<(Instant, ObjectId)> =
            waits.map(|(object, pending)| (pending.since, object.clone())).collect();
        newest.sort_unstable_by(|one, other| other.cmp(one));
        let mut left = over;
        for (_, object) in newest {
            if left == 0 {
                break;
            }
            if self.services.limits.owe_after == OweAfter::Never
                && let Some(pending) = self.waiting.get_mut(&object)
                && pending.acks.len() > left
            {
                let over = pending.acks.split_off(pending.acks.len() - left);
                self.put_off(feed, over);
                return 0;
            }
            let Some(pending) = self.waiting.remove(&object) else { continue };
            left = left.saturating_sub(pending.acks.len());
            let kind = self.unread.latest(feed).cloned().unwrap_or_else(|| Arc::from(WAITING));
            self.enter(object, pending, kind);
        }
        left
    }

    /// Makes up to `over` of the feed's objects that wait for a sink due to be stored in the sink's backlog. If
    /// backlogs are off, their messages are put off.
    fn hurry(&mut self, feed: FeedId, over: usize) {
        let services = Arc::clone(&self.services);
        for &sink in &services.feeds[feed].sinks {
            let objects = self.backlogs[sink].hurry(feed, over);
            if services.limits.owe_after != OweAfter::Never {
                continue;
            }
            for object in objects {
                self.backlogs[sink].had(&object, false);
                let acks = self.take_acks(&object);
                self.put_off(feed, acks);
            }
        }
    }

    /// Finds slow bodies, and puts off those of a feed beyond [`SLOW_MAX`].
    pub(super) fn look_at_rates(&mut self) {
        let least = self.services.limits.read_rate_min;
        for Running { pending, progress, rate, .. } in self.running.values_mut() {
            if rate.look(progress, least) {
                self.shares.slowed(pending.feed, rate.is_slow);
            }
        }
        for feed in (0..self.services.feeds.0.len()).map(FeedId) {
            let is_slow = |running: &&mut Running| running.pending.feed == feed && running.rate.is_slow;
            let mut slow: Vec<&mut Running> = self.running.values_mut().filter(is_slow).collect();
            // The objects that have received the most bytes are kept.
            slow.sort_by_key(|running| Reverse(running.progress.received_bytes()));
            for running in slow.into_iter().skip(SLOW_MAX).filter(|running| !running.rate.is_put_off) {
                running.rate.is_put_off = true;
                running.progress.put_off();
            }
        }
    }
}

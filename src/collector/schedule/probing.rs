//! Feeds' backlogs: adds objects that cannot be read, retries them, and clears them once they were read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Dispatcher, Entering, Origin, PendingChange};
use crate::checkpoint::{Addition, StoreError, UnreadObject};
use crate::collector::ids::{FeedId, SinkId};
use crate::collector::intake::in_flight::AckHandle;
use crate::collector::report::limited;
use crate::collector::schedule::unread::{Next, Outcome};
use crate::config::OweAfter;
use crate::notification::ObjectId;
use crate::telemetry::series::gauge_of;

/// How many objects are added in one transaction.
const WRITTEN_AT_ONCE: usize = 256;

impl Dispatcher {
    /// Queues an object that cannot be read now for its feed's backlog, from where it is retried. If backlogs are off,
    /// its messages are put off instead.
    pub(super) fn enter(&mut self, object: ObjectId, pending: PendingChange, kind: Arc<str>) {
        match self.services.limits.owe_after {
            OweAfter::After(_) => self.entering.push(Entering { object, kind, pending }),
            OweAfter::Never => {
                let name = &self.services.feeds[pending.feed].name;
                limited!(
                    self.services.reporter, WARN, name, "an object cannot be read now; its messages come again later",
                    feed = %name, %object, %kind
                );
                self.put_off(pending.feed, pending.acks);
            }
        }
    }

    /// Puts an object's messages off: they are given back for a long time.
    pub(super) fn put_off(&self, feed: FeedId, acks: Vec<AckHandle>) {
        if !acks.is_empty() {
            self.services.metrics.objects.add([&self.services.feeds[feed].name, "put_off"], 1);
            acks.into_iter().for_each(AckHandle::put_off);
        }
    }

    /// Whether enough objects wait to enter a backlog for one transaction.
    pub(super) fn is_entering(&self) -> bool {
        self.entering.len() >= WRITTEN_AT_ONCE
    }

    /// Adds objects that cannot be read to their feeds' backlogs, and settles their messages.
    pub(super) async fn write_entering(&mut self) -> Result<(), StoreError> {
        let mut by_feed: BTreeMap<FeedId, Vec<Entering>> = BTreeMap::new();
        for entering in std::mem::take(&mut self.entering) {
            by_feed.entry(entering.pending.feed).or_default().push(entering);
        }
        for (feed, mut all) in by_feed {
            while !all.is_empty() {
                let rest = all.split_off(all.len().min(WRITTEN_AT_ONCE));
                if !self.write_some(feed, std::mem::replace(&mut all, rest)).await? {
                    self.entering.append(&mut all);
                }
            }
        }
        Ok(())
    }

    /// Adds some objects to one feed's backlog. Returns false if the disk is full; the objects then wait for the next
    /// try.
    async fn write_some(&mut self, feed: FeedId, some: Vec<Entering>) -> Result<bool, StoreError> {
        let services = Arc::clone(&self.services);
        let (name, reporter) = (&services.feeds[feed].name, &services.reporter);
        let room = services.limits.backlog_objects_max.saturating_sub(self.unread.len(feed));
        let now_ms = services.clock.now_ms();
        let objects = some.iter().map(|Entering { object, kind, pending }| UnreadObject {
            object: object.clone(),
            kind: Arc::clone(kind),
            attempts: pending.attempts,
            since_ms: now_ms - i64::try_from(pending.since.elapsed().as_millis()).unwrap_or(0),
        });
        let additions = match services.store.backlog.add_unread(Arc::clone(name), objects.collect(), room).await {
            Err(StoreError::Full) if !self.once => {
                reporter.store_is_full();
                self.entering.extend(some);
                return Ok(false);
            }
            additions => additions?,
        };
        reporter.stored();
        for (Entering { object, kind, pending }, addition) in some.into_iter().zip(additions) {
            match addition {
                Addition::New => self.unread.added(feed, &kind),
                Addition::Known => {}
                Addition::NoRoom => {
                    limited!(
                        reporter, WARN, name, "the feed's backlog is full; messages come again later",
                        feed = %name, %object, hint = "raise limits.backlog_objects_max, or mend what keeps its objects from being read"
                    );
                    self.put_off(feed, pending.acks);
                    continue;
                }
            }
            limited!(
                reporter, INFO, name, "objects that cannot be read now are written into their feed's backlog",
                feed = %name, %object, %kind
            );
            self.await_ack(&object, pending);
            self.settle(&object, None).await?;
        }
        Ok(true)
    }

    /// The kind of failure for which the object is in its feed's backlog. `None` if it is not there.
    pub(super) async fn unread_kind(&self, feed: FeedId, object: &ObjectId) -> Result<Option<Arc<str>>, StoreError> {
        if self.unread.len(feed) == 0 { Ok(None) } else { self.services.store.backlog.unread_kind(object).await }
    }

    /// Starts the job of the next object in a feed's backlog, the feeds in turn. Returns whether there was one.
    pub(super) async fn start_unread(&mut self) -> Result<bool, StoreError> {
        if self.unread.is_empty() {
            return Ok(false);
        }
        let services = Arc::clone(&self.services);
        let feeds = services.feeds.0.len();
        for turn in 0..feeds {
            let feed = FeedId((self.next_unread + turn) % feeds);
            if !self.shares.may_catch_up(feed) {
                continue;
            }
            let (sinks, standing): (Vec<SinkId>, Vec<SinkId>) = services.feeds[feed]
                .sinks
                .iter()
                .partition(|&&sink| !services.workers[sink].stands_still(services.limits.sink_patience));
            if sinks.is_empty() && !self.once {
                continue;
            }
            let Some((kind, object, attempts)) = self.next_object(feed, &sinks).await? else { continue };
            for sink in standing {
                self.defer(sink, &object, feed).await?;
            }
            self.next_unread = feed.0 + 1;
            if sinks.is_empty() {
                continue;
            }
            self.unread.started(feed, &kind);
            let pending = PendingChange { attempts, ..PendingChange::new(feed) };
            self.start(object, pending, sinks, Origin::FeedBacklog(kind));
            return Ok(true);
        }
        Ok(false)
    }

    /// The next object in a feed's backlog that is not worked on yet, its kind of failure, and how often reading it has
    /// failed.
    async fn next_object(
        &mut self,
        feed: FeedId,
        sinks: &[SinkId],
    ) -> Result<Option<(Arc<str>, ObjectId, u32)>, StoreError> {
        loop {
            let is_busy = |object: &ObjectId| {
                let is_held = sinks.iter().any(|&sink| self.services.workers[sink].holds(object));
                is_held || self.running.contains_key(object) || self.waiting.contains_key(object)
            };
            match self.unread.next(feed, is_busy) {
                None => return Ok(None),
                Some(Next::Read { kind, object, attempts }) => return Ok(Some((kind, object, attempts))),
                Some(Next::Fetch { kind, most }) => {
                    let name = &self.services.feeds[feed].name;
                    let entries = self.services.store.backlog.unread(name, &kind, most).await?;
                    self.unread.fetched(feed, &kind, entries);
                }
            }
        }
    }

    /// Handles an object of its feed's backlog that was read for the sinks that take events.
    pub(super) async fn unread_read(
        &mut self,
        feed: FeedId,
        object: &ObjectId,
        kind: &Arc<str>,
    ) -> Result<(), StoreError> {
        let services = Arc::clone(&self.services);
        let outcome = if self.leave_feeds_backlog(feed, object).await? { Outcome::Read } else { Outcome::Delayed };
        if self.unread.ended(feed, kind, outcome) && self.unread.len(feed) > 0 {
            let (name, objects) = (&services.feeds[feed].name, self.unread.len(feed));
            limited!(
                services.reporter, INFO, name, "a feed's backlog can be read again", feed = %name, %kind, objects
            );
        }
        Ok(())
    }

    /// Removes an object that was read from its feed's backlog, as far as that is safe: its messages are settled
    /// already, so every sink must have had it or have it in the sink's own stored backlog. Returns whether it left.
    pub(super) async fn leave_feeds_backlog(&mut self, feed: FeedId, object: &ObjectId) -> Result<bool, StoreError> {
        let services = Arc::clone(&self.services);
        for &sink in &services.feeds[feed].sinks {
            if self.backlogs[sink].is_waited_for(object) {
                self.write_down_one(sink, object, feed).await?;
            }
        }
        let has_passed = services.store.positions.passed(object, &services.feeds[feed].sink_names).await?.is_some();
        Ok(has_passed && self.clear_unread(feed, object).await?)
    }

    /// Removes an object that needs no read any more from its feed's backlog, if it is there.
    pub(super) async fn no_longer_unread(&mut self, feed: FeedId, object: &ObjectId) -> Result<(), StoreError> {
        if self.unread_kind(feed, object).await?.is_some() {
            self.clear_unread(feed, object).await?;
        }
        Ok(())
    }

    /// Removes an object from its feed's backlog. Returns false if the disk is full.
    async fn clear_unread(&mut self, feed: FeedId, object: &ObjectId) -> Result<bool, StoreError> {
        let before = match self.services.store.backlog.clear_unread(object.clone()).await {
            Err(StoreError::Full) if !self.once => {
                // When its turn comes, the object is found unchanged, and leaves the backlog then.
                self.services.reporter.store_is_full();
                return Ok(false);
            }
            cleared => cleared?,
        };
        self.services.reporter.stored();
        // Another job may have cleared the entry since it was fetched.
        if let Some(before) = before {
            self.unread.removed(feed, &before);
        }
        Ok(true)
    }

    /// Notes that reading an object of its feed's backlog failed again: it stays there, under this kind.
    pub(super) async fn unread_again(
        &mut self,
        feed: FeedId,
        object: &ObjectId,
        kind: Arc<str>,
    ) -> Result<(), StoreError> {
        match self.services.store.backlog.unread_again(object.clone(), Arc::clone(&kind)).await {
            Err(StoreError::Full) if !self.once => self.services.reporter.store_is_full(),
            noted => {
                let before = noted?;
                self.services.reporter.stored();
                if let Some(before) = before {
                    self.unread.removed(feed, &before);
                    self.unread.added(feed, &kind);
                }
            }
        }
        Ok(())
    }

    /// Sets the gauges of feeds' backlogs.
    pub(super) fn show_unread(&self) {
        let services = &self.services;
        for (feed, name) in (0..).map(FeedId).zip(services.feeds.0.iter().map(|feed| &feed.name)) {
            for (kind, objects) in self.unread.counts(feed) {
                services.metrics.unread_objects.set([name, kind], gauge_of(objects));
            }
        }
    }

    /// Moves objects from the backlogs of feeds that are no longer configured to the feeds that they belong to now.
    pub(super) async fn take_over_unread(&mut self) -> Result<(), StoreError> {
        let services = Arc::clone(&self.services);
        let counts = services.store.backlog.unread_counts().await?;
        let gone = counts
            .iter()
            .map(|count| &*count.feed)
            .filter(|name| services.feeds.0.iter().all(|feed| *feed.name != **name));
        let gone: BTreeSet<&str> = gone.collect();
        for name in &gone {
            let (mut after, mut left) = (ObjectId::new("", ""), 0_u64);
            loop {
                let some = services.store.backlog.unread_names(name, &after, WRITTEN_AT_ONCE).await?;
                let Some(last) = some.last() else { break };
                after = last.clone();
                let found = some.len() as u64;
                let moved: Vec<_> = some
                    .into_iter()
                    .filter_map(|object| {
                        let feed = services.feeds.position(&object)?;
                        Some((object, Arc::clone(&services.feeds[feed].name)))
                    })
                    .collect();
                left += found - moved.len() as u64;
                match services.store.backlog.move_unread(moved).await {
                    // They are moved at the next start.
                    Err(StoreError::Full) if !self.once => {
                        services.reporter.store_is_full();
                        return Ok(());
                    }
                    moved => moved?,
                }
            }
            if left > 0 {
                limited!(
                    services.reporter,
                    WARN,
                    name,
                    "a backlog holds objects that belong to no feed any more",
                    feed = name,
                    objects = left
                );
            }
        }
        if !gone.is_empty() {
            self.unread = super::unread_of(&services, self.once).await?;
        }
        Ok(())
    }
}

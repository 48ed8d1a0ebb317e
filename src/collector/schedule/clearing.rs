//! Sinks' backlogs: stores entries that have waited too long, starts the jobs that clear them, and reports sinks that
//! have caught up.

use std::sync::Arc;
use std::time::Duration;

use super::ends::SPACE_WAIT_MAX;
use super::{Dispatcher, Origin, PendingChange};
use crate::checkpoint::StoreError;
use crate::collector::ids::{FeedId, SinkId};
use crate::collector::report::limited;
use crate::collector::schedule::backlog::Due;
use crate::config::OweAfter;
use crate::notification::ObjectId;
use crate::telemetry::series::gauge_of;

impl Dispatcher {
    /// Stores entries that have waited too long, and reports which sinks have a backlog.
    pub(super) async fn look_after_backlogs(&mut self) -> Result<(), StoreError> {
        for sink in self.backlogs.ids() {
            if self.services.workers[sink].took_owed() {
                let stored = self.services.store.backlog.backlog_len(&self.services.workers[sink].name).await?;
                self.backlogs[sink].stored_are(stored);
            }
            let gathering = self.gathering.len(sink);
            let due = self.backlogs[sink].due(self.owe_after(sink));
            self.write_down(sink, due).await?;
            let services = Arc::clone(&self.services);
            let name = &services.workers[sink].name;
            match self.backlogs[sink].turned(gathering) {
                Some(true) => services.metrics.sink_behind.set([name], 1),
                Some(false) => {
                    limited!(services.reporter, INFO, name, "the sink has caught up", sink = %name);
                    services.metrics.sink_behind.set([name], 0);
                }
                None => {}
            }
        }
        Ok(())
    }

    /// How long a sink's entries may wait before they are stored. Entries of best-effort and gathering sinks are stored
    /// at once, so that no message waits for them.
    fn owe_after(&self, sink: SinkId) -> OweAfter {
        let worker = &self.services.workers[sink];
        match self.services.limits.owe_after {
            OweAfter::After(_) if !worker.required || worker.gathers => OweAfter::After(Duration::ZERO),
            owe_after => owe_after,
        }
    }

    /// Starts the job for the oldest ready entry of one backlog, the sinks in turn. Returns whether there was one.
    pub(super) async fn start_catching_up(&mut self) -> Result<bool, StoreError> {
        if !self.shares.may_any_catch_up() {
            return Ok(false);
        }
        let from = self.backlogs.ids().skip(self.next_sink.0);
        for sink in from.chain(self.backlogs.ids().take(self.next_sink.0)) {
            while let Some((object, feed)) = self.next_of(sink).await? {
                if self.catch_up(sink, object, feed) {
                    self.next_sink = SinkId(sink.0 + 1);
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    async fn next_of(&mut self, sink: SinkId) -> Result<Option<(ObjectId, Option<FeedId>)>, StoreError> {
        let handle = &self.services.workers[sink];
        if !self.backlogs[sink].has_more_than(self.gathering.len(sink))
            || handle.is_stuck(self.services.limits.sink_patience)
        {
            return Ok(None);
        }
        let feeds = &self.services.feeds;
        let may_start = |object: &ObjectId| {
            let may = |feed| self.shares.may_catch_up(feed) && self.unread.unreadable(feed).is_none();
            feeds.position(object).is_none_or(may)
        };
        let is_held = |object: &ObjectId| self.gathering.has(sink, object) || handle.holds(object);
        let busy = |object: &ObjectId| self.running.contains_key(object) || is_held(object) || !may_start(object);
        self.backlogs[sink].next(&*self.services.store.backlog, busy).await
    }

    fn catch_up(&mut self, sink: SinkId, object: ObjectId, feed: Option<FeedId>) -> bool {
        let services = Arc::clone(&self.services);
        let feed = feed.or_else(|| services.feeds.position(&object));
        let Some(feed) = feed.filter(|&feed| services.feeds[feed].sinks.contains(&sink)) else {
            let (reporter, name) = (&services.reporter, &services.workers[sink].name);
            limited!(
                reporter, WARN, name, "a backlog names an object whose feed does not go to the sink any more",
                %object, sink = %name
            );
            self.backlogs[sink].rest(&object, Duration::from_secs(3600));
            return false;
        };
        // One reading serves all sinks that have the object in their backlog.
        let joins = |&other: &SinkId| {
            let handle = &services.workers[other];
            let takes = !handle.is_stuck(services.limits.sink_patience) && !self.is_held(other, &object);
            other == sink || takes && self.backlogs[other].knows(&object)
        };
        let sinks: Vec<SinkId> = services.feeds[feed].sinks.iter().copied().filter(joins).collect();
        self.start(object, PendingChange::new(feed), sinks, Origin::SinkBacklog);
        true
    }

    /// Adds an object that a sink does not get now to the sink's backlog.
    pub(super) async fn defer(&mut self, sink: SinkId, object: &ObjectId, feed: FeedId) -> Result<(), StoreError> {
        self.backlogs[sink].defer(&*self.services.store.backlog, object, feed).await
    }

    /// Removes objects that a sink has had, or that are gone, from the sink's backlog.
    pub(super) async fn had(&mut self, sink: SinkId, objects: &[ObjectId]) -> Result<(), StoreError> {
        if !self.backlogs[sink].is_behind() {
            return Ok(());
        }
        let mut stored = Vec::new();
        for object in objects {
            if self.backlogs[sink].is_stored(&*self.services.store.backlog, object).await? {
                stored.push(object.clone());
            } else {
                self.backlogs[sink].had(object, false);
            }
        }
        if stored.is_empty() {
            return Ok(());
        }
        let name = Arc::clone(&self.services.workers[sink].name);
        match self.services.store.backlog.clear_from_backlog(name, stored.clone()).await {
            Err(StoreError::Full) if !self.once => {
                // They stay in the backlog. When their turn comes they are found unchanged, and leave it then.
                self.services.reporter.store_is_full();
                stored.iter().for_each(|object| self.backlogs[sink].rest(object, SPACE_WAIT_MAX));
                return Ok(());
            }
            cleared => cleared?,
        }
        self.services.reporter.stored();
        stored.iter().for_each(|object| self.backlogs[sink].had(object, true));
        Ok(())
    }

    /// Stores one entry: the sink has not had this object yet.
    pub(super) async fn write_down_one(
        &mut self,
        sink: SinkId,
        object: &ObjectId,
        feed: FeedId,
    ) -> Result<(), StoreError> {
        self.write_down(sink, vec![Due { object: object.clone(), feed, waited: Duration::ZERO }]).await
    }

    /// Stores a sink's due entries, and settles the messages that waited only for this.
    async fn write_down(&mut self, sink: SinkId, due: Vec<Due>) -> Result<(), StoreError> {
        if due.is_empty() {
            return Ok(());
        }
        let name = Arc::clone(&self.services.workers[sink].name);
        let now_ms = self.services.clock.now_ms();
        let objects = due.iter().map(|Due { object, feed, waited }| {
            let waited_ms = i64::try_from(waited.as_millis()).unwrap_or(0);
            (Arc::clone(&self.services.feeds[*feed].name), object.clone(), now_ms - waited_ms)
        });
        let reporter = &self.services.reporter;
        match self.services.store.backlog.add_to_backlog(Arc::clone(&name), objects.collect()).await {
            Err(StoreError::Full) if !self.once => {
                // The messages stay in flight until the entries are stored.
                reporter.store_is_full();
                return Ok(());
            }
            added => added?,
        }
        reporter.stored();
        if !self.services.workers[sink].gathers {
            limited!(reporter, INFO, &name, "objects are written into a sink's backlog", sink = %name, objects = due.len());
        }
        for Due { object, .. } in due {
            self.backlogs[sink].written_down(&object);
            if !self.running.contains_key(&object) {
                self.settle(&object, None).await?;
            }
        }
        let stored = self.services.store.backlog.backlog_len(&name).await?;
        self.backlogs[sink].stored_are(stored);
        self.services.metrics.backlog_objects.set([&name], gauge_of(stored));
        Ok(())
    }
}

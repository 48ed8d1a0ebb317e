//! Backlogs of sinks: writes down what has waited too long, starts what clears them, and reports who has caught up.

use std::sync::Arc;
use std::time::Duration;

use super::Dispatcher;
use super::PendingChange;
use crate::checkpoint::StoreError;
use crate::collector::clock;
use crate::collector::report::limited;
use crate::collector::schedule::backlog::Due;
use crate::notification::ObjectId;

impl Dispatcher {
    /// Writes down what has waited too long, and reports which sinks are behind.
    pub(super) async fn look_after_lanes(&mut self) -> Result<(), StoreError> {
        for lane in 0..self.backlogs.len() {
            self.write_down(lane).await?;
            let services = Arc::clone(&self.services);
            let sink = &services.lanes[lane].sink;
            match self.backlogs[lane].turned() {
                Some(true) => services.metrics.sink_behind.set([sink], 1),
                Some(false) => {
                    limited!(services.reporter, INFO, sink, "the sink has caught up", %sink);
                    services.metrics.sink_behind.set([sink], 0);
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Starts the job that clears the oldest entry of one backlog, the sinks taking turns. Says whether there was one.
    pub(super) fn start_catching_up(&mut self) -> Result<bool, StoreError> {
        let lanes = self.backlogs.len();
        for turn in 0..lanes {
            let lane = (self.next_lane + turn) % lanes;
            while let Some((object, feed)) = self.next_of(lane)? {
                if self.catch_up(lane, object, feed) {
                    self.next_lane = lane + 1;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn next_of(&mut self, lane: usize) -> Result<Option<(ObjectId, Option<usize>)>, StoreError> {
        let handle = &self.services.lanes[lane];
        if !self.backlogs[lane].is_behind() || handle.is_stuck(self.services.limits.sink_patience) {
            return Ok(None);
        }
        let busy = |object: &ObjectId| self.running.contains_key(object) || handle.holds(object);
        self.backlogs[lane].next(&self.services.store, busy)
    }

    fn catch_up(&mut self, lane: usize, object: ObjectId, feed: Option<usize>) -> bool {
        let services = Arc::clone(&self.services);
        let feed = feed.or_else(|| services.feeds.position(&object));
        let Some(feed) = feed.filter(|&feed| services.feeds.0[feed].lanes.contains(&lane)) else {
            let (reporter, sink) = (&services.reporter, &services.lanes[lane].sink);
            limited!(
                reporter, WARN, sink, "a backlog names an object whose feed does not go to the sink any more",
                %object, %sink
            );
            self.backlogs[lane].rest(&object, Duration::from_secs(3600));
            return false;
        };
        // One reading serves every sink that is behind with the object.
        let joins = |&other: &usize| {
            let handle = &services.lanes[other];
            let takes = !handle.is_stuck(services.limits.sink_patience) && !handle.holds(&object);
            other == lane || takes && self.backlogs[other].knows(&object)
        };
        let lanes: Vec<usize> = services.feeds.0[feed].lanes.iter().copied().filter(joins).collect();
        self.start(object, PendingChange::new(feed), lanes, true);
        true
    }

    /// A sink does not get this object now; it stands in its backlog.
    pub(super) fn defer(&mut self, lane: usize, object: &ObjectId, feed: usize) -> Result<(), StoreError> {
        self.backlogs[lane].defer(&self.services.store, object, feed)
    }

    /// A sink has had the object, or the object is no more: it leaves the backlog.
    pub(super) async fn had(&mut self, lane: usize, object: &ObjectId) -> Result<(), StoreError> {
        if !self.backlogs[lane].is_behind() {
            return Ok(());
        }
        let stored = self.backlogs[lane].is_stored(&self.services.store, object)?;
        if stored {
            let sink = Arc::clone(&self.services.lanes[lane].sink);
            self.services.store.clear_from_backlog(sink, object.clone()).await?;
        }
        self.backlogs[lane].had(object, stored);
        Ok(())
    }

    /// Writes down what a sink has not had for too long, and settles the messages that waited for it alone.
    async fn write_down(&mut self, lane: usize) -> Result<(), StoreError> {
        let due = self.backlogs[lane].due(self.services.limits.owe_after);
        if due.is_empty() {
            return Ok(());
        }
        let sink = Arc::clone(&self.services.lanes[lane].sink);
        let now_ms = clock::now_ms();
        let objects = due.iter().map(|Due { object, feed, waited }| {
            let waited_ms = i64::try_from(waited.as_millis()).unwrap_or(0);
            (Arc::clone(&self.services.feeds.0[*feed].name), object.clone(), now_ms - waited_ms)
        });
        let reporter = &self.services.reporter;
        limited!(reporter, INFO, &sink, "objects are written into a sink's backlog", %sink, objects = due.len());
        self.services.store.add_to_backlog(Arc::clone(&sink), objects.collect()).await?;
        for Due { object, .. } in due {
            self.backlogs[lane].written_down(&object);
            if !self.running.contains_key(&object) {
                self.settle(&object)?;
            }
        }
        let entries = i64::try_from(self.services.store.backlog_len(&sink)?).unwrap_or(i64::MAX);
        self.services.metrics.backlog_objects.set([&sink], entries);
        Ok(())
    }
}

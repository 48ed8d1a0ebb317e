//! Backlogs of sinks: writes down what has waited too long, starts what clears them, and reports who has caught up.

use std::sync::Arc;
use std::time::Duration;

use super::Dispatcher;
use super::Wish;
use crate::checkpoint::StoreError;
use crate::collector::clock;
use crate::collector::report::limited;
use crate::collector::schedule::backlog::Due;
use crate::notification::ObjectId;

impl Dispatcher {
    /// Writes down what has waited too long, and reports which sinks are behind.
    pub(super) async fn look_after_lanes(&mut self) -> Result<(), StoreError> {
        for lane in 0..self.behind.len() {
            self.owe(lane).await?;
            let workshop = Arc::clone(&self.workshop);
            let sink = &workshop.lanes[lane].sink;
            match self.behind[lane].turned() {
                Some(true) => workshop.metrics.sink_behind.set([sink], 1),
                Some(false) => {
                    limited!(workshop.reporter, INFO, sink, "the sink has caught up", %sink);
                    workshop.metrics.sink_behind.set([sink], 0);
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Starts the job that clears the oldest entry of one backlog, the sinks taking turns. Says whether there was one.
    pub(super) fn start_catching_up(&mut self) -> Result<bool, StoreError> {
        let lanes = self.behind.len();
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
        let handle = &self.workshop.lanes[lane];
        if !self.behind[lane].is_behind() || handle.is_stuck(self.workshop.limits.sink_patience) {
            return Ok(None);
        }
        let busy = |object: &ObjectId| self.running.contains_key(object) || handle.holds(object);
        self.behind[lane].next(&self.workshop.store, busy)
    }

    fn catch_up(&mut self, lane: usize, object: ObjectId, feed: Option<usize>) -> bool {
        let workshop = Arc::clone(&self.workshop);
        let feed = feed.or_else(|| workshop.feeds.position(&object));
        let Some(feed) = feed.filter(|&feed| workshop.feeds.0[feed].lanes.contains(&lane)) else {
            let (reporter, sink) = (&workshop.reporter, &workshop.lanes[lane].sink);
            limited!(
                reporter, WARN, sink, "an object is owed to a sink that its feed does not go to any more",
                %object, %sink
            );
            self.behind[lane].rest(&object, Duration::from_secs(3600));
            return false;
        };
        // One reading serves every sink that is behind with the object.
        let joins = |&other: &usize| {
            let handle = &workshop.lanes[other];
            let takes = !handle.is_stuck(workshop.limits.sink_patience) && !handle.holds(&object);
            other == lane || takes && self.behind[other].knows(&object)
        };
        let lanes: Vec<usize> = workshop.feeds.0[feed].lanes.iter().copied().filter(joins).collect();
        self.start(object, Wish::new(feed), lanes, true);
        true
    }

    /// A sink does not get this object now; it stands in its backlog.
    pub(super) fn defer(&mut self, lane: usize, object: &ObjectId, feed: usize) -> Result<(), StoreError> {
        self.behind[lane].defer(&self.workshop.store, object, feed)
    }

    /// A sink has had the object, or the object is no more: it leaves the backlog.
    pub(super) async fn had(&mut self, lane: usize, object: &ObjectId) -> Result<(), StoreError> {
        if !self.behind[lane].is_behind() {
            return Ok(());
        }
        let owed = self.behind[lane].is_owed(&self.workshop.store, object)?;
        if owed {
            let sink = Arc::clone(&self.workshop.lanes[lane].sink);
            self.workshop.store.pay(sink, object.clone()).await?;
        }
        self.behind[lane].had(object, owed);
        Ok(())
    }

    /// Writes down what a sink has not had for too long, and settles the messages that waited for it alone.
    async fn owe(&mut self, lane: usize) -> Result<(), StoreError> {
        let due = self.behind[lane].due(self.workshop.limits.owe_after);
        if due.is_empty() {
            return Ok(());
        }
        let sink = Arc::clone(&self.workshop.lanes[lane].sink);
        let now_ms = clock::now_ms();
        let objects = due.iter().map(|Due { object, feed, waited }| {
            let waited_ms = i64::try_from(waited.as_millis()).unwrap_or(0);
            (Arc::clone(&self.workshop.feeds.0[*feed].name), object.clone(), now_ms - waited_ms)
        });
        let reporter = &self.workshop.reporter;
        limited!(reporter, INFO, &sink, "objects are written down as owed to a sink", %sink, objects = due.len());
        self.workshop.store.owe(Arc::clone(&sink), objects.collect()).await?;
        for Due { object, .. } in due {
            self.behind[lane].owed(&object);
            if !self.running.contains_key(&object) {
                self.settle(&object)?;
            }
        }
        let owed = i64::try_from(self.workshop.store.owed_count(&sink)?).unwrap_or(i64::MAX);
        self.workshop.metrics.owed_objects.set([&sink], owed);
        Ok(())
    }
}

//! Sinks that lag: writes debts down, starts what catches them up, and notes who has caught up.

use std::sync::Arc;
use std::time::Duration;

use super::Dispatcher;
use super::Wish;
use crate::checkpoint::StoreError;
use crate::collector::behind::Next;
use crate::collector::clock;
use crate::collector::report::limited;
use crate::notification::ObjectId;

impl Dispatcher {
    /// Sinks that lag: writes debts down, starts what catches them up, and notes who has caught up.
    pub(super) async fn look_after_lanes(&mut self) -> Result<(), StoreError> {
        for lane in 0..self.behind.len() {
            if !self.behind[lane].is_behind() {
                continue;
            }
            self.owe(lane).await?;
            let workshop = Arc::clone(&self.workshop);
            let handle = &workshop.lanes[lane];
            workshop.metrics.sink_behind.set([&handle.sink], 1);
            if handle.is_stuck(workshop.limits.sink_patience) {
                continue;
            }
            while self.running.len() < workshop.limits.objects_at_once {
                match self.behind[lane]
                    .next(&workshop.store, |object| self.running.contains_key(object) || handle.holds(object))?
                {
                    Next::Object(object, feed) => self.catch_up(lane, object, feed),
                    Next::Wait => break,
                    Next::CaughtUp => {
                        let sink = &handle.sink;
                        limited!(workshop.reporter, INFO, sink, "the sink has caught up", %sink);
                        workshop.metrics.sink_behind.set([&handle.sink], 0);
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn catch_up(&mut self, lane: usize, object: ObjectId, feed: Option<usize>) {
        let feed = feed.or_else(|| self.workshop.feeds.position(&object));
        let Some(feed) = feed.filter(|&feed| self.workshop.feeds.0[feed].lanes.contains(&lane)) else {
            let (reporter, sink) = (&self.workshop.reporter, &self.workshop.lanes[lane].sink);
            limited!(
                reporter, WARN, sink, "an object is owed to a sink that its feed does not go to any more",
                %object, %sink
            );
            self.behind[lane].again(&object, Duration::from_secs(3600));
            return;
        };
        self.behind[lane].started();
        self.start(object, Wish::new(feed), vec![lane], Some(lane));
    }

    /// Writes down what a sink has not had for too long, and settles the messages that waited for it alone.
    async fn owe(&mut self, lane: usize) -> Result<(), StoreError> {
        let due = self.behind[lane].due(self.workshop.limits.owe_after);
        if due.is_empty() {
            return Ok(());
        }
        let sink = Arc::clone(&self.workshop.lanes[lane].sink);
        let objects = due.iter().map(|(object, feed)| (Arc::clone(&self.workshop.feeds.0[*feed].name), object.clone()));
        let reporter = &self.workshop.reporter;
        limited!(reporter, INFO, &sink, "objects are written down as owed to a sink", %sink, objects = due.len());
        self.workshop.store.owe(Arc::clone(&sink), objects.collect(), clock::now_ms()).await?;
        for (object, _) in due {
            self.behind[lane].owed(&object);
            if let Some(parked) = self.parked.get_mut(&object) {
                parked.lanes.retain(|&waiting| waiting != lane);
            }
            if !self.running.contains_key(&object) {
                self.settle(&object)?;
            }
        }
        let owed = i64::try_from(self.workshop.store.owed_count(&sink)?).unwrap_or(i64::MAX);
        self.workshop.metrics.owed_objects.set([&sink], owed);
        Ok(())
    }
}

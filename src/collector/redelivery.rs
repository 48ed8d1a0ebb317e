//! The end of a job: what of its object was in quarantine and is to be tried again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::checkpoint::{Further, RefusedRecord};
use crate::collector::delivery::tracker::{self, Tracker};
use crate::collector::feeds::Feed;
use crate::collector::ids::SinkId;
use crate::collector::job::task::{JobEnd, JobError, Task};
use crate::collector::reading::{self, Again, AgainWork, FurtherWork, SearchEnd};
use crate::collector::report::limited;
use crate::collector::services::Services;
use crate::notification::ObjectId;
use crate::object::{Condition, Objects as _, Reading};

/// How many records are tried again at once.
const RECORDS_AT_ONCE: usize = 256;

/// What follows a job: its sinks have, or have not had, all that its object holds.
pub(super) struct Redelivery {
    services: Arc<Services>,
    feed: Arc<Feed>,
    object: ObjectId,
    sinks: Vec<SinkId>,
    progress: Arc<AtomicU64>,
}

impl Redelivery {
    pub(super) fn new(services: &Arc<Services>, task: &Task) -> Self {
        Self {
            services: Arc::clone(services),
            feed: Arc::clone(&task.feed),
            object: task.object.clone(),
            sinks: task.sinks.clone(),
            progress: Arc::clone(&task.progress),
        }
    }

    /// Tries again what was requeued. A sink that stands still is deferred, and gets it when it is caught up.
    ///
    /// # Errors
    /// The job's own, or the object could not be read for a record whose bytes were not kept.
    pub(super) async fn follow(self, ended: Result<JobEnd, JobError>) -> Result<JobEnd, JobError> {
        let nothing_is_known = matches!(ended, Err(JobError::Store(_) | JobError::Overtaken));
        if nothing_is_known || !self.services.store.is_requeued(&self.object)? {
            return ended;
        }
        let mut end = match &ended {
            Ok(end) => end.clone(),
            Err(_) => JobEnd::default(),
        };
        if end.finished && self.services.store.settle_requeued(self.object.clone()).await? > 0 {
            self.services.metrics.records_requeued.add([&self.feed.name, "delivered"], 1);
            let (reporter, feed, object) = (&self.services.reporter, &self.feed.name, &self.object);
            limited!(reporter, INFO, feed, "an object came out of quarantine", %feed, %object);
        }
        let mut after = 0;
        loop {
            let records = self.services.store.requeued_records(&self.object, after, RECORDS_AT_ONCE)?;
            let Some(last) = records.last() else { break };
            after = last.id;
            self.deliver(records, BTreeMap::new(), ended.is_ok(), &mut end.deferred).await?;
        }
        if ended.is_ok()
            && let Some(further) = self.services.store.requeued_further(&self.object)?
        {
            // Each sink has to have some before others take their place.
            end.again = !self.feed.sinks.iter().all(|sink| self.sinks.contains(sink));
            if !end.again {
                self.deliver_further(further, &mut end.deferred).await?;
            }
        }
        ended.map(|_| end)
    }

    /// Brings the records that have no entry each to the sinks, in one reading of their object: some at a time get entries,
    /// and go the way of the others. When a sink stands still the rest waits.
    async fn deliver_further(&self, further: Further, deferred: &mut Vec<SinkId>) -> Result<(), JobError> {
        if !deferred.is_empty() {
            return Ok(());
        }
        let store = &self.services.store;
        let Reading::Changed(snapshot) = self.feed.place.read(&self.object, Condition::Any).await? else {
            return Ok(());
        };
        let id = further.id;
        let work = FurtherWork {
            services: Arc::clone(&self.services),
            feed: Arc::clone(&self.feed),
            object: self.object.clone(),
            position: store.position(&self.object, &[])?,
            further,
            progress: Arc::clone(&self.progress),
        };
        let (found, mut comes) = mpsc::channel(1);
        let runtime = Handle::current();
        let search = tokio::task::spawn_blocking(move || reading::search_further(work, snapshot, &found, &runtime));
        while let Some(found) = comes.recv().await {
            let (records, bytes): (Vec<_>, Vec<_>) = found.into_iter().unzip();
            let places = records.iter().map(|found| found.record.place);
            let mut bytes: BTreeMap<u64, Vec<u8>> = places.zip(bytes).collect();
            let records = store.list_further(id, records).await?;
            let at_hand = records.iter().filter_map(|record| Some((record.id, bytes.remove(&record.place)?))).collect();
            self.deliver(records, at_hand, true, deferred).await?;
            if !deferred.is_empty() {
                break;
            }
        }
        drop(comes);
        let end = match search.await {
            Ok(end) => end?,
            Err(_panic) => SearchEnd::failed(),
        };
        if !end.stopped {
            self.refuse_further(id, &end).await?;
        }
        Ok(())
    }

    /// What is left of an object's further records stays, and why is written down.
    async fn refuse_further(&self, id: u64, end: &SearchEnd) -> Result<(), JobError> {
        let (services, feed, object) = (&self.services, &self.feed.name, &self.object);
        if end.refused > 0 {
            services.metrics.records_requeued.add([feed, "refused"], end.refused);
            let (reporter, records) = (&services.reporter, end.refused);
            limited!(
                reporter, WARN, feed, "records were tried again and stay in quarantine", %feed, %object, records
            );
        }
        services.store.refuse_again(vec![(id, end.reason())]).await?;
        Ok(())
    }

    /// Brings some records to the sinks that have passed them without having had them.
    async fn deliver(
        &self,
        records: Vec<RefusedRecord>,
        at_hand: BTreeMap<u64, Vec<u8>>,
        is_readable: bool,
        deferred: &mut Vec<SinkId>,
    ) -> Result<(), JobError> {
        let services = &self.services;
        for &sink in &self.sinks {
            // What the batch in hand does to the sink's place is not known yet.
            if services.workers[sink].holds(&self.object) && !deferred.contains(&sink) {
                deferred.push(sink);
            }
        }
        let sinks: Vec<SinkId> = self.sinks.iter().copied().filter(|sink| !deferred.contains(sink)).collect();
        let names: Vec<Arc<str>> = sinks.iter().map(|&sink| Arc::clone(&services.workers[sink].name)).collect();
        let ids: Vec<u64> = records.iter().map(|record| record.id).collect();
        let trackers: Vec<Tracker> = sinks.iter().map(|_| Tracker::default()).collect();
        let work = AgainWork {
            services: Arc::clone(services),
            feed: Arc::clone(&self.feed),
            object: self.object.clone(),
            position: services.store.position(&self.object, &names)?,
            sinks: sinks.clone(),
            trackers: trackers.clone(),
            records,
            at_hand,
            progress: Arc::clone(&self.progress),
        };
        let (again, failure) = self.offer(work, is_readable).await;
        let mut overtaken = false;
        for (&sink, tracker) in sinks.iter().zip(&trackers) {
            let slow = again.deferred.contains(&sink);
            if slow || !services.wait_for(sink, tracker, &self.object, &self.progress).await {
                tracker.abandon().await;
            }
            match tracker.outcome() {
                tracker::Outcome::Committed if !slow => {}
                tracker::Outcome::Overtaken => overtaken = true,
                _ => deferred.push(sink),
            }
        }
        self.note(ids, again).await?;
        match failure {
            Some(error) => Err(error),
            None if overtaken => Err(JobError::Overtaken),
            None => Ok(()),
        }
    }

    /// Offers the records on a worker's thread. What could not be looked for stays as it is, and why is told.
    async fn offer(&self, work: AgainWork, is_readable: bool) -> (Again, Option<JobError>) {
        let mut failure = None;
        let snapshot = match !work.records.iter().all(|record| work.has_bytes(record)) && is_readable {
            true => match self.feed.place.read(&self.object, Condition::Any).await {
                Ok(Reading::Changed(snapshot)) => Some(snapshot),
                Ok(Reading::Unchanged) => None,
                Err(error) => {
                    failure = Some(error.into());
                    None
                }
            },
            false => None,
        };
        let sinks = work.sinks.iter();
        let producing: Vec<_> = sinks.map(|&sink| self.services.workers[sink].producing()).collect();
        let ids: Vec<u64> = work.records.iter().map(|record| record.id).collect();
        let runtime = Handle::current();
        let offered = tokio::task::spawn_blocking(move || reading::offer_again(work, snapshot, &runtime)).await;
        drop(producing);
        match offered {
            Ok((again, error)) => (again, failure.or(error)),
            Err(_panic) => {
                let refused = ids.into_iter().map(|id| (id, "the decoder failed over it".to_owned())).collect();
                (Again { refused, ..Again::default() }, failure)
            }
        }
    }

    /// Writes down what came of it.
    async fn note(&self, ids: Vec<u64>, again: Again) -> Result<(), JobError> {
        let (services, feed, object) = (&self.services, &self.feed.name, &self.object);
        services.metrics.events_received.inc_by(again.events);
        for (result, users) in again.looked_up.by_result().into_iter().filter(|(_, users)| *users > 0) {
            services.metrics.enrichment.add([feed, result], users);
        }
        if !again.refused.is_empty() {
            let records = again.refused.len();
            services.metrics.records_requeued.add([feed, "refused"], records as u64);
            limited!(
                services.reporter, WARN, feed, "records were tried again and stay in quarantine",
                %feed, %object, records
            );
            services.store.refuse_again(again.refused).await?;
        }
        let released = services.store.release(ids, self.feed.sink_names.clone()).await?;
        if released > 0 {
            services.metrics.records_requeued.add([feed, "delivered"], released);
            limited!(
                services.reporter, INFO, feed, "records came out of quarantine", %feed, %object, records = released
            );
        }
        Ok(())
    }
}

//! After a job: retries the requeued records of its object.

mod further;

mod requeued;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::checkpoint::{Further, FurtherRecord, ObjectPosition, RefusedRecord};
use crate::collector::delivery::tracker::{self, Tracker};
use crate::collector::feeds::Feed;
use crate::collector::ids::SinkId;
use crate::collector::job::task::{JobEnd, JobError, Task};
use crate::collector::progress::Progress;
use crate::collector::pump::{Pump, Setup, on_worker};
use crate::collector::redelivery::further::SearchEnd;
use crate::collector::report::limited;
use crate::collector::services::Services;
use crate::family::Refusal;
use crate::notification::ObjectId;
use crate::object::{Condition, Objects as _, Reading, Snapshot};
use crate::reading;
use crate::users::LookedUp;

pub(super) use requeued::{body, bytes_of, decode, inflated, not_found};

/// How many records are tried again at once.
const RECORDS_AT_ONCE: usize = 256;

/// Why a record stays in quarantine whose decoder panics.
const DECODER_FAILED: &str = "the decoder failed over it";

/// The sinks that records are brought to, the tracker of each, and their positions in the object.
struct Receivers {
    sinks: Vec<SinkId>,
    trackers: Vec<Tracker>,
    position: ObjectPosition,
}

/// The outcome of a retry.
#[derive(Default)]
struct Again {
    /// The records that stay in quarantine, and why.
    refused: Vec<(u64, String)>,
    events: u64,
    /// Users of the records.
    looked_up: LookedUp,
    /// The sinks that had no room for as long as patience lasts.
    deferred: Vec<SinkId>,
}

/// What follows a job, whether its sinks have had all of its object or not.
pub(super) struct Redelivery {
    services: Arc<Services>,
    feed: Arc<Feed>,
    object: ObjectId,
    sinks: Vec<SinkId>,
    progress: Arc<Progress>,
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
            // Each sink has to have had some of them before others get entries.
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
        let Further { id, etag, last_modified_ms, mut places } = further;
        let progress = store.position(&self.object, &[])?.progress;
        let mut pump = Pump::new(self.setup(snapshot), |plan| {
            reading::by_place(plan, progress, Box::new(move |place| places.contains(place)))
        });
        let (mut found, mut end) = (Vec::new(), SearchEnd::default());
        loop {
            let is_over = pump.next(&mut found).await?.is_some();
            let some = std::mem::take(&mut found);
            let records = end.decodable(&self.feed, &self.object, some, &etag, last_modified_ms).await;
            if !records.is_empty() {
                self.deliver_found(id, records, deferred).await?;
            }
            end.is_stopped = !deferred.is_empty() || self.services.shutdown.is_requested();
            if is_over || end.is_stopped {
                break;
            }
        }
        if !end.is_stopped {
            self.refuse_further(id, &end).await?;
        }
        Ok(())
    }

    /// Brings records that had no entry each to the sinks.
    async fn deliver_found(
        &self,
        id: u64,
        found: Vec<(FurtherRecord, Vec<u8>)>,
        deferred: &mut Vec<SinkId>,
    ) -> Result<(), JobError> {
        let (records, bytes): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        let places = records.iter().map(|found: &FurtherRecord| found.record.place);
        let mut bytes: BTreeMap<u64, Vec<u8>> = places.zip(bytes).collect();
        let records = self.services.store.list_further(id, records).await?;
        let at_hand = records.iter().filter_map(|record| Some((record.id, bytes.remove(&record.place)?))).collect();
        self.deliver(records, at_hand, true, deferred).await
    }

    /// The rest of an object's further records stays in quarantine, with the reason.
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
            // A batch with records of it is under way: the sink's position is not known yet.
            if services.workers[sink].holds(&self.object) && !deferred.contains(&sink) {
                deferred.push(sink);
            }
        }
        let sinks: Vec<SinkId> = self.sinks.iter().copied().filter(|sink| !deferred.contains(sink)).collect();
        let names: Vec<Arc<str>> = sinks.iter().map(|&sink| Arc::clone(&services.workers[sink].name)).collect();
        let ids: Vec<u64> = records.iter().map(|record| record.id).collect();
        let to = Receivers {
            trackers: sinks.iter().map(|_| Tracker::default()).collect(),
            position: services.store.position(&self.object, &names)?,
            sinks,
        };
        let mut again = Again::default();
        let producing: Vec<_> = to.sinks.iter().map(|&sink| services.workers[sink].producing()).collect();
        let failure = self.offer(&to, &records, at_hand, is_readable, &mut again).await.err();
        drop(producing);
        let mut overtaken = false;
        for (&sink, tracker) in to.sinks.iter().zip(&to.trackers) {
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

    /// Offers the records to the sinks. What could not be looked for stays as it is, for the reason returned.
    async fn offer(
        &self,
        to: &Receivers,
        records: &[RefusedRecord],
        mut at_hand: BTreeMap<u64, Vec<u8>>,
        is_readable: bool,
        again: &mut Again,
    ) -> Result<(), JobError> {
        let mut missing: BTreeMap<[u8; 32], Vec<&RefusedRecord>> = BTreeMap::new();
        for record in records {
            match at_hand.remove(&record.id) {
                Some(bytes) => self.offer_one(to, record, Ok(bytes), again).await,
                None if record.has_body => {
                    let bytes = body(&self.services.store, record)?;
                    self.offer_one(to, record, bytes, again).await;
                }
                None => missing.entry(record.hash.0).or_default().push(record),
            }
        }
        if missing.is_empty() || !is_readable {
            return Ok(());
        }
        let Reading::Changed(snapshot) = self.feed.place.read(&self.object, Condition::Any).await? else {
            return Ok(());
        };
        let wanted = missing.keys().copied().collect();
        let mut pump = Pump::new(self.setup(snapshot), |plan| reading::by_hash(plan, wanted));
        let mut found = Vec::new();
        loop {
            let is_over = pump.next(&mut found).await?.is_some();
            for found in found.drain(..) {
                for record in missing.remove(&found.hash.0).unwrap_or_default() {
                    let bytes = bytes_of(&found).map(<[u8]>::to_vec);
                    self.offer_one(to, record, bytes, again).await;
                }
            }
            if is_over {
                break;
            }
        }
        let gone = missing.into_values().flatten();
        again.refused.extend(gone.map(|record| (record.id, not_found().to_string())));
        Ok(())
    }

    /// Offers one record's events to each sink that has passed it without having had it; a decode error is noted.
    async fn offer_one(
        &self,
        to: &Receivers,
        record: &RefusedRecord,
        bytes: Result<Vec<u8>, Refusal>,
        again: &mut Again,
    ) {
        let (feed, object, asked) = (Arc::clone(&self.feed), self.object.clone(), record.clone());
        let decode = move || decode(&feed, &object, &asked, &bytes?, &feed.encoders);
        let decoded = match on_worker(decode).await.unwrap_or_else(|| Err(Refusal::new(DECODER_FAILED))) {
            Ok(decoded) => decoded,
            Err(refusal) => return again.refused.push((record.id, refusal.to_string())),
        };
        let mut is_first = record.had.is_empty();
        for ((&sink, tracker), position) in to.sinks.iter().zip(&to.trackers).zip(&to.position.sinks) {
            let cursor = position.accepted;
            let handle = &self.services.workers[sink];
            if cursor <= record.place || record.had.contains(&handle.name) || again.deferred.contains(&sink) {
                continue;
            }
            let encoder = self.feed.encoder_at(sink).unwrap_or_default();
            let part = decoded.part(&self.object, cursor, record, encoder.0);
            if std::mem::take(&mut is_first) {
                again.events += part.piece.ends.len() as u64;
                again.looked_up += decoded.looked_up;
            }
            if !self.services.offer(sink, part, tracker).await {
                again.deferred.push(sink);
            }
        }
    }

    fn setup(&self, snapshot: Snapshot) -> Setup {
        Setup {
            feed: Arc::clone(&self.feed),
            object: self.object.clone(),
            snapshot,
            store: self.services.store.clone(),
            limits: reading::Limits::from(&self.services.limits),
            progress: Arc::clone(&self.progress),
            shutdown: None,
        }
    }

    /// Stores and reports the outcome.
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

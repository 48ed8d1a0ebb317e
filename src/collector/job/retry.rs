//! Retries what was requeued of an object: taken up before the object is read, and accounted for afterwards.

use std::sync::Arc;

use crate::collector::delivery::tracker::Tracker;
use crate::collector::feeds::Feed;
use crate::collector::ids::SinkId;
use crate::collector::job::kept;
use crate::collector::job::task::{JobEnd, JobError, Task};
use crate::collector::progress::Progress;
use crate::collector::report::limited;
use crate::collector::services::Services;
use crate::collector::users;
use crate::delta::Places;
use crate::notification::ObjectId;
use crate::object::ReadError;
use crate::reading::RefusedAgain;

/// How many records are offered before their commits are awaited.
const RECORDS_AT_ONCE: usize = 256;

/// The retry that a job does for its object.
pub(super) struct Retry {
    services: Arc<Services>,
    feed: Arc<Feed>,
    object: ObjectId,
    sinks: Vec<SinkId>,
    progress: Arc<Progress>,
    /// The number of the last requeue request that was taken up.
    up_to: u64,
    /// Places of the records whose events some sink has had.
    delivered: Places,
}

impl Retry {
    /// Takes up the requeue requests for the object: requeued records that a sink has passed become its gap. `None` if
    /// there are no requests.
    pub(super) async fn begin(services: &Arc<Services>, task: &Task) -> Result<Option<Self>, JobError> {
        let up_to = services.store.quarantine.open_requeued(task.object.clone()).await?;
        if up_to.is_some() {
            task.feed.sinks.iter().for_each(|&sink| services.workers[sink].owes());
        }
        Ok(up_to.map(|up_to| Self {
            services: Arc::clone(services),
            feed: Arc::clone(&task.feed),
            object: task.object.clone(),
            sinks: task.sinks.clone(),
            progress: Arc::clone(&task.progress),
            up_to,
            delivered: Places::default(),
        }))
    }

    /// Ends the retry after the object was read, or could not be. The sinks are offered the requeued records whose
    /// bytes are in quarantine. Records that every sink has had leave the quarantine, those refused again stay.
    ///
    /// # Errors
    /// The job's own error, or the store failed.
    pub(super) async fn end(
        mut self,
        ended: Result<JobEnd, JobError>,
        mut refused: RefusedAgain,
    ) -> Result<JobEnd, JobError> {
        let nothing_is_known = matches!(ended, Err(JobError::Store(_) | JobError::Overtaken));
        if nothing_is_known {
            return ended;
        }
        let mut deferred = ended.as_ref().map(|end| end.deferred.clone()).unwrap_or_default();
        let is_as_read = match &ended {
            Ok(_) | Err(JobError::Unreadable { .. } | JobError::Read(ReadError::NotFound { .. })) => true,
            // The object may still have the records, and is read again.
            Err(_) => false,
        };
        let is_finished = ended.as_ref().is_ok_and(|end| end.finished);
        if is_finished && self.services.store.quarantine.settle_requeued(self.object.clone()).await? > 0 {
            self.services.metrics.records_requeued.add([&self.feed.name, "delivered"], 1);
            let (reporter, feed, object) = (&self.services.reporter, &self.feed.name, &self.object);
            limited!(reporter, INFO, feed, "an object came out of quarantine", %feed, %object);
        }
        let kept = self.services.store.quarantine.kept_places(&self.object, self.up_to).await?;
        if !kept.is_empty() {
            self.delivered = self.services.store.quarantine.quarantined_places(&self.object, 0).await?.delivered;
        }
        for places in kept.chunks(RECORDS_AT_ONCE) {
            self.deliver(places, &mut refused, &mut deferred).await?;
        }
        if is_as_read {
            self.deliver_events(&mut deferred).await?;
        }
        self.note(refused).await?;
        // Sinks that this job is not for lack the requeued records too.
        ended.map(|end| JobEnd { deferred, passed: None, is_new: true, ..end })
    }

    /// Delivers records whose bytes are in quarantine to the sinks that have passed them without having had them.
    async fn deliver(
        &mut self,
        places: &[u64],
        refused: &mut RefusedAgain,
        deferred: &mut Vec<SinkId>,
    ) -> Result<(), JobError> {
        let services = Arc::clone(&self.services);
        for &sink in &self.sinks {
            // The batch under way may change the sink's gap.
            if services.workers[sink].holds(&self.object) && !deferred.contains(&sink) {
                deferred.push(sink);
            }
        }
        let sinks: Vec<SinkId> = self.sinks.iter().copied().filter(|sink| !deferred.contains(sink)).collect();
        let trackers: Vec<Tracker> = sinks.iter().map(|_| Tracker::default()).collect();
        let producing: Vec<_> = sinks.iter().map(|&sink| services.workers[sink].producing()).collect();
        let offered = self.offer(places, &sinks, &trackers, refused, deferred).await;
        drop(producing);
        let overtaken = services.wait_for_all(&sinks, &trackers, deferred, &self.object, &self.progress).await;
        offered?;
        if overtaken { Err(JobError::Overtaken) } else { Ok(()) }
    }

    async fn offer(
        &mut self,
        places: &[u64],
        sinks: &[SinkId],
        trackers: &[Tracker],
        refused: &mut RefusedAgain,
        deferred: &mut Vec<SinkId>,
    ) -> Result<(), JobError> {
        let services = Arc::clone(&self.services);
        let names: Vec<Arc<str>> = sinks.iter().map(|&sink| Arc::clone(&services.workers[sink].name)).collect();
        let mut stands = services.store.positions.position(&self.object, &names).await?.sinks;
        for &place in places {
            let lacks: Vec<usize> = (0..sinks.len()).filter(|&at| stands[at].gap.contains(place)).collect();
            if lacks.is_empty() {
                continue;
            }
            let Some(record) = services.store.quarantine.kept_record(&self.object, place).await? else { continue };
            let record = Arc::new(record);
            let decoded = match kept::decode(
                self.services.compute,
                &self.feed,
                &self.object,
                &record,
                self.feed.encoders.clone(),
            )
            .await
            {
                Ok(decoded) => decoded,
                Err(refusal) => {
                    refused.listed.insert(place, refusal.to_string());
                    continue;
                }
            };
            refused.listed.remove(&place);
            if !self.delivered.contains(place) {
                let events = decoded.pieces.first().map_or(0, |piece| piece.ends.len());
                services.metrics.events_received.add([&self.feed.name], events as u64);
                users::count(&services.metrics, &self.feed.name, decoded.looked_up);
            }
            for at in lacks.into_iter().filter(|&at| !deferred.contains(&sinks[at])).collect::<Vec<_>>() {
                let encoder = self.feed.encoder_at(sinks[at]).unwrap_or_default();
                let part = kept::part_of_record(&self.feed, &self.object, &record, decoded.pieces[encoder.0].clone());
                if !services.offer(sinks[at], part, &trackers[at]).await {
                    deferred.push(sinks[at]);
                }
            }
        }
        Ok(())
    }

    /// Delivers requeued events to the sinks that refused them and still lack them, as they were encoded at first: the
    /// reading did not find their records.
    async fn deliver_events(&self, deferred: &mut Vec<SinkId>) -> Result<(), JobError> {
        let Self { services, feed, object, .. } = self;
        for &sink in self.sinks.iter().filter(|sink| !deferred.contains(sink)).collect::<Vec<_>>() {
            let worker = &services.workers[sink];
            let lacked = services.store.quarantine.lacked_events(object, &worker.name).await?;
            if lacked.is_empty() {
                continue;
            }
            if worker.holds(object) {
                deferred.push(sink);
                continue;
            }
            let names = [Arc::clone(&worker.name)];
            let mut stands = services.store.positions.position(object, &names).await?.sinks;
            let (tracker, producing) = (Tracker::default(), worker.producing());
            for place in lacked.into_keys().filter(|place| stands[0].gap.contains(*place)).collect::<Vec<_>>() {
                let events = services.store.quarantine.kept_events(object, &worker.name, place).await?;
                let Some(part) = kept::part_of_events(feed, object, &events) else { continue };
                if !services.offer(sink, part, &tracker).await {
                    deferred.push(sink);
                    break;
                }
            }
            drop(producing);
            if services.wait_for_all(&[sink], &[tracker], deferred, object, &self.progress).await {
                return Err(JobError::Overtaken);
            }
        }
        Ok(())
    }

    /// Stores and logs the outcome of the retry.
    async fn note(&self, refused: RefusedAgain) -> Result<(), JobError> {
        let (services, feed, object) = (&self.services, &self.feed.name, &self.object);
        let sinks = self.feed.sink_names.clone();
        let retried = services.store.quarantine.note_retried(object.clone(), sinks, self.up_to, refused).await?;
        if retried.refused > 0 {
            services.metrics.records_requeued.add([feed, "refused"], retried.refused);
            limited!(
                services.reporter, WARN, feed, "records were tried again and stay in quarantine",
                %feed, %object, records = retried.refused
            );
        }
        if retried.delivered > 0 {
            services.metrics.records_requeued.add([feed, "delivered"], retried.delivered);
            limited!(
                services.reporter, INFO, feed, "records came out of quarantine",
                %feed, %object, records = retried.delivered
            );
        }
        Ok(())
    }
}

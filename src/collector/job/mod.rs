//! One job, in states: position looked up, object opened, content compared, parts delivered, reading finished.

mod finishing;

pub(in crate::collector) mod gathered;

pub(in crate::collector) mod kept;

mod outcome;

mod retry;

pub(in crate::collector) mod task;

use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use crate::batch::Part;
use crate::checkpoint::{ObjectPosition, SinkPosition, StoreError};
use crate::collector::delivery::tracker::{Outcome, Tracker};
use crate::collector::ids::SinkId;
use crate::collector::job::gathered::Gathered;
use crate::collector::job::retry::Retry;
use crate::collector::job::task::{JobEnd, JobError, Task};
use crate::collector::pump::{Pump, Setup};
use crate::collector::report::limited;
use crate::collector::services::Services;
use crate::identity::fault::FaultKind;
use crate::object::{Body, Condition, Objects as _, ReadError, Reading, Snapshot, Version};
use crate::reading::{self, Deliver, LackedEvents, Offer, Output, QuarantinedPlaces, RefusedAgain, Summary};

/// Delivers one object to the sinks of the task.
///
/// # Errors
/// See the variants. Batches sealed before the error stay sealed and will be delivered.
pub(super) async fn run(services: Arc<Services>, task: Task) -> Result<JobEnd, JobError> {
    let mut position = task.position(&services).await?;
    let mut retry = None;
    // Else requeued records of the object wait for a later job.
    if position.is_requeued && !task.is_gathered {
        retry = Retry::begin(&services, &task).await?;
        position = task.position(&services).await?;
    }
    let mut refused = RefusedAgain::default();
    let mut ended = bring(Announced { services, task, position }, &mut refused).await;
    let Some(retry) = retry else { return ended };
    let gathered = ended.as_mut().map(|end| std::mem::take(&mut end.gathered)).unwrap_or_default();
    match retry.end(ended, refused).await {
        // Records from the quarantine were offered after the parts that the reading left gathering: with those parts
        // alone the sink has not had everything.
        Ok(end) => Ok(JobEnd { gathered: gathered.into_iter().map(Gathered::of_more).collect(), ..end }),
        Err(error) => {
            gathered::abandon(gathered).await;
            Err(error)
        }
    }
}

async fn bring(job: Announced, refused: &mut RefusedAgain) -> Result<JobEnd, JobError> {
    match job.open().await? {
        Opening::Nothing(end) => Ok(end),
        Opening::Opened(opened) => {
            let mut compared = opened.read().await?;
            *refused = std::mem::take(&mut compared.summary.refused_again);
            compared.deliver().await.finish().await
        }
    }
}

/// State 1: the object's position is known.
struct Announced {
    services: Arc<Services>,
    task: Task,
    position: ObjectPosition,
}

enum Opening {
    /// There is nothing to read.
    Nothing(JobEnd),
    Opened(Box<Opened>),
}

/// State 2: the object is opened, and its bytes are coming.
struct Opened {
    job: Announced,
    snapshot: Snapshot,
    is_young: bool,
}

/// State 3: the object is read, and each sink was offered what it has not had.
struct Compared {
    job: Announced,
    is_young: bool,
    version: Version,
    summary: Summary,
    deferred: Vec<SinkId>,
    trackers: Vec<Tracker>,
}

/// State 4: the sinks have what they were offered, except the deferred ones.
struct Delivered {
    job: Announced,
    is_young: bool,
    version: Version,
    summary: Summary,
    deferred: Vec<SinkId>,
    /// The parts left with deferred sinks that gather.
    gathering: Vec<Gathered>,
    overtaken: bool,
}

impl Announced {
    /// Forgets the position of an object that was read as another family. It is read as if it were new.
    async fn begin_anew(&mut self) -> Result<(), JobError> {
        let Task { object, feed, .. } = &self.task;
        let (was, family) = (self.position.family.as_deref(), feed.family.name);
        limited!(
            self.services.reporter, WARN, &feed.name,
            "an object was read as another family; it is read as if it were new",
            %object, feed = %feed.name, was, family
        );
        match self.services.store.positions.begin_anew(object.clone(), family).await {
            Ok(()) => self.position = self.task.position(&self.services).await?,
            Err(StoreError::Overtaken { .. }) => return Err(JobError::Overtaken),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Whether the version that the changes name was read whole and every sink has had it. Nothing else in a message
    /// may save a read: anyone who can send a message could otherwise make an object's later content vanish.
    fn is_known(&self) -> bool {
        self.task.etag.is_some() && self.task.etag == self.position.etag && self.position.is_settled()
    }

    async fn open(mut self) -> Result<Opening, JobError> {
        let metrics = Arc::clone(&self.services.metrics);
        let anew = self.position.is_of_another(self.task.feed.family.name);
        if !anew && self.is_known() {
            metrics.duplicates_suppressed.add([&self.task.feed.name, "etag"], 1);
            return Ok(Opening::Nothing(self.unchanged()));
        }
        let condition = match &self.position.etag {
            Some(etag) if !anew && self.position.is_settled() => Condition::UnlessEtag(etag.clone()),
            _ => Condition::Any,
        };
        let read = tokio::select! {
            biased;
            // No read has begun yet, so nothing needs to finish.
            () = self.services.shutdown.requested() => return Ok(Opening::Nothing(JobEnd::default())),
            read = self.task.feed.place.read(&self.task.object, condition) => read,
        };
        match read {
            Ok(Reading::Changed(snapshot)) => {
                self.is_of_a_size(&snapshot.version)?;
                if anew {
                    self.begin_anew().await?;
                }
                Ok(Opening::Opened(Box::new(Opened { is_young: self.is_young(&snapshot), job: self, snapshot })))
            }
            Ok(Reading::Unchanged) => {
                metrics.objects.add([&self.task.feed.name, "unchanged"], 1);
                debug!(object = %self.task.object, "unchanged");
                self.services.reporter.read(&self.task.feed.name);
                Ok(Opening::Nothing(self.unchanged()))
            }
            Err(error) => Err(self.unread(error).await),
        }
    }

    /// The end of a job without a new version: the position looked up before still holds.
    fn unchanged(self) -> JobEnd {
        let Task { sinks, feed, .. } = &self.task;
        let passed = self.position.passed.filter(|_| sinks.len() == feed.sinks.len());
        JobEnd { finished: true, passed, ..JobEnd::default() }
    }

    /// Checks the stored size of the version against the limit.
    fn is_of_a_size(&self, version: &Version) -> Result<(), JobError> {
        let (bytes, most) = (version.size_bytes, self.services.limits.object_bytes_max);
        if bytes <= most {
            return Ok(());
        }
        let (object, etag) = (self.task.object.clone(), version.etag.clone());
        let reason = format!("it has {bytes} bytes, more than limits.object_bytes_max ({most})");
        Err(JobError::Unreadable { object, etag, kind: FaultKind::Damaged, reason })
    }

    /// Turns a read error into one that names the unreadable version, so that it can be quarantined. The entity tag is
    /// asked of the place: the one in a message may be outdated or forged.
    async fn unread(&self, error: ReadError) -> JobError {
        let kind = error.kind();
        let (ReadError::Archived { object, reason } | ReadError::Damaged { object, reason }) = error else {
            return error.into();
        };
        match self.task.feed.place.etag(&object).await {
            Ok(etag) => JobError::Unreadable { object, etag, kind, reason },
            Err(error) => error.into(),
        }
    }
}

impl Opened {
    /// Reads and compares the object, and offers the sinks what they lack.
    async fn read(self) -> Result<Compared, JobError> {
        let Self { job, snapshot, is_young } = self;
        let version = snapshot.version.clone();
        let trackers: Vec<Tracker> = job.task.sinks.iter().map(|_| Tracker::default()).collect();
        let producing: Vec<_> = job.task.sinks.iter().map(|&sink| job.services.workers[sink].producing()).collect();
        let mut deferred = Vec::new();
        let result = job.pump(snapshot, is_young, &trackers, &mut deferred).await;
        drop(producing);
        match result {
            Ok(summary) => Ok(Compared { job, is_young, version, summary, deferred, trackers }),
            Err(error) => {
                // No unsealed part may outlive the job: the next job reads the object again.
                for tracker in &trackers {
                    tracker.abandon().await;
                }
                Err(error)
            }
        }
    }
}

/// A file is young if it changed less than this ago: it may change again under the same entity tag, and its last line
/// may be incomplete.
pub(in crate::collector) const YOUNG: Duration = Duration::from_secs(2);

impl Announced {
    fn is_young(&self, snapshot: &Snapshot) -> bool {
        let arrived_ms = match &snapshot.body {
            Body::File(file) => file.arrived_ms(),
            _ => None,
        };
        let age_ms = |arrived_ms: i64| self.services.clock.now_ms().abs_diff(arrived_ms);
        arrived_ms.is_some_and(|arrived_ms| u128::from(age_ms(arrived_ms)) < YOUNG.as_millis())
    }

    /// Reads the object to its end, and offers each sink what it has not had. A sink without room within its patience
    /// is deferred.
    async fn pump(
        &self,
        snapshot: Snapshot,
        is_young: bool,
        trackers: &[Tracker],
        deferred: &mut Vec<SinkId>,
    ) -> Result<Summary, JobError> {
        let deliver = self.deliver(is_young && !self.task.once).await?;
        let setup = Setup {
            feed: Arc::clone(&self.task.feed),
            object: self.task.object.clone(),
            snapshot,
            positions: Arc::clone(&self.services.store.positions),
            scratch: Arc::clone(&self.services.scratch),
            compute: self.services.compute,
            budget: &self.services.budget,
            metrics: &self.services.metrics,
            limits: reading::Limits::from(&self.services.limits),
            progress: Arc::clone(&self.task.progress),
            shutdown: Some(self.services.shutdown.clone()),
        };
        let mut pump = Pump::new(setup, |plan| reading::deliver(plan, deliver));
        let mut offers = Vec::new();
        loop {
            let ended = pump.next(&mut offers).await?;
            for Offer { output, part } in offers.drain(..) {
                let sink = self.task.sinks[output];
                if deferred.contains(&sink) {
                    continue;
                }
                self.accept_what_gathers(deferred, &part).await?;
                if !self.services.offer(sink, part, &trackers[output]).await {
                    deferred.push(sink);
                    pump.without(output);
                }
            }
            if let Some(summary) = ended {
                outcome::report(self, &summary);
                return Ok(summary);
            }
        }
    }

    /// Accepts a part's new records at once if only gathering sinks will seal them. A crash before their seal then does
    /// not make the records new again.
    async fn accept_what_gathers(&self, deferred: &[SinkId], part: &Part) -> Result<(), JobError> {
        let seals_soon = |sink: &SinkId| !deferred.contains(sink) && !self.services.workers[*sink].gathers;
        if part.acceptance.is_none() || self.task.sinks.iter().any(seals_soon) {
            return Ok(());
        }
        match self.services.store.positions.accept(part.clone(), self.services.clock.now_ms()).await {
            Err(StoreError::Overtaken { .. }) => Err(JobError::Overtaken),
            accepted => Ok(accepted?),
        }
    }

    /// The sinks' positions and the quarantine, as the reading needs them.
    async fn deliver(&self, holds_unended: bool) -> Result<Deliver, StoreError> {
        let Task { feed, object, sinks, .. } = &self.task;
        let encoder = |sink: &SinkId| feed.encoder_at(*sink).unwrap_or_default().0;
        let output = |(sink, position): (&SinkId, &SinkPosition)| Output {
            cursor: position.accepted,
            gap: position.gap.clone(),
            lacked: LackedEvents::default(),
            encoder: encoder(sink),
        };
        let mut outputs: Vec<Output> = sinks.iter().zip(&self.position.sinks).map(output).collect();
        for (output, &sink) in outputs.iter_mut().zip(sinks) {
            if !output.gap.is_empty() {
                let sink = &self.services.workers[sink].name;
                output.lacked = self.services.store.quarantine.lacked_events(object, sink).await?;
            }
        }
        let lacks_from = |output: &mut Output| if output.gap.is_empty() { output.cursor } else { 0 };
        let least = outputs.iter_mut().map(lacks_from).min();
        let quarantined = match least.filter(|&from| from < self.position.progress.accepted) {
            Some(from) => self.services.store.quarantine.quarantined_places(object, from).await?,
            None => QuarantinedPlaces::default(),
        };
        Ok(Deliver {
            before: self.position.progress.clone(),
            framed_bytes: self.position.framed_bytes,
            outputs,
            encoders: feed.encoders.clone(),
            quarantined,
            holds_unended,
        })
    }
}

impl Compared {
    /// Waits until each sink has committed what it was offered. Sinks that make no progress and gathering sinks are not
    /// waited for.
    async fn deliver(self) -> Delivered {
        let Self { job, is_young, version, summary, mut deferred, trackers } = self;
        let Task { sinks, object, progress, .. } = &job.task;
        let offered = sinks.iter().copied().zip(trackers);
        let (gathers, others): (Vec<_>, Vec<_>) = offered.partition(|(sink, _)| job.services.workers[*sink].gathers);
        let (sinks, trackers): (Vec<SinkId>, Vec<Tracker>) = others.into_iter().unzip();
        let mut overtaken = job.services.wait_for_all(&sinks, &trackers, &mut deferred, object, progress).await;
        let mut gathering = Vec::new();
        for (sink, tracker) in gathers {
            let is_given_up = deferred.contains(&sink) || !summary.is_complete;
            if is_given_up {
                tracker.abandon().await;
            }
            match tracker.outcome() {
                Outcome::Committed => continue,
                Outcome::Overtaken => overtaken = true,
                Outcome::UnderWay if is_given_up => {}
                Outcome::UnderWay => gathering.push(Gathered { sink, tracker, rest: None }),
            }
            if !deferred.contains(&sink) {
                deferred.push(sink);
            }
        }
        Delivered { job, is_young, version, summary, deferred, gathering, overtaken }
    }
}

//! The dispatcher: joins changes of the same object, runs at most one job per object, and decides what follows when a
//! job ends.

mod backlog;

mod clearing;

mod ends;

mod crowding;

mod fairness;

mod gathered;

mod gathering;

mod probing;

mod rates;

pub(super) mod requests;

mod retry;

mod unread;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::checkpoint::StoreError;
use crate::collector::delivery::queue::WorkerHandle;
use crate::collector::ids::{FeedId, PerFeed, PerSink, SinkId};
use crate::collector::intake::in_flight::AckHandle;
use crate::collector::job;
use crate::collector::job::task::{JobEnd, JobError, Task};
use crate::collector::progress::Progress;
use crate::collector::schedule::backlog::Backlog;
use crate::collector::schedule::fairness::Shares;
use crate::collector::schedule::gathering::Gathering;
use crate::collector::schedule::rates::Rate;
use crate::collector::schedule::requests::ReadRequest;
use crate::collector::schedule::unread::Unread;
use crate::collector::services::Services;
use crate::collector::shutdown::Shutdown;
use crate::notification::ObjectId;

/// How often visibility, body rates and backlogs are checked.
const TICK: Duration = Duration::from_millis(250);

/// Changes of an object that wait for its next job.
#[derive(Debug)]
struct PendingChange {
    feed: FeedId,
    /// The entity tag that all of these changes name. `None` if they differ, or if one names none.
    etag: Option<Box<str>>,
    acks: Vec<AckHandle>,
    since: Instant,
    attempts: u32,
    /// It failed, and is not retried before this time.
    not_before: Option<Instant>,
    /// Its slot in the feed's limit on waiting read requests. `None` if the dispatcher itself asked for the read.
    slot: Option<OwnedSemaphorePermit>,
}

impl PendingChange {
    fn new(feed: FeedId) -> Self {
        Self { feed, etag: None, acks: Vec::new(), since: Instant::now(), attempts: 0, not_before: None, slot: None }
    }
}

/// An object that is about to be written into its feed's backlog.
struct Entering {
    object: ObjectId,
    kind: Arc<str>,
    pending: PendingChange,
}

/// What a job was started for.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Origin {
    /// The object changed.
    Change,
    /// It is in a sink's backlog, and no new change asked for the job.
    SinkBacklog,
    /// It is in its feed's backlog for this kind of failure, and no new change asked for the job.
    FeedBacklog(Arc<str>),
}

impl Origin {
    fn is_backlog(&self) -> bool {
        *self != Self::Change
    }
}

/// A running job: the changes that it settles, and the sinks that it delivers to.
struct Running {
    pending: PendingChange,
    sinks: Vec<SinkId>,
    origin: Origin,
    progress: Arc<Progress>,
    /// The job's progress in steps when it was last checked.
    steps_seen: u64,
    /// The rate at which its bytes come.
    rate: Rate,
}

/// Messages of an object that some sink neither has had nor has in its backlog.
struct AwaitingAck {
    feed: FeedId,
    acks: Vec<AckHandle>,
}

/// The dispatcher. Only it knows which objects are worked on.
pub(super) struct Dispatcher {
    services: Arc<Services>,
    once: bool,
    waiting: BTreeMap<ObjectId, PendingChange>,
    /// The objects that are ready to be read, and which feed may start one more job.
    shares: Shares,
    delayed: BTreeSet<(Instant, ObjectId)>,
    running: BTreeMap<ObjectId, Running>,
    awaiting_ack: BTreeMap<ObjectId, AwaitingAck>,
    backlogs: PerSink<Backlog>,
    gathering: Gathering,
    /// The sink whose backlog has the next turn.
    next_sink: SinkId,
    /// The feeds' backlogs, and the objects that are about to enter them.
    unread: Unread,
    entering: Vec<Entering>,
    /// The feed whose backlog has the next turn, and whether feeds' backlogs go before sinks' backlogs next time.
    next_unread: usize,
    is_unread_next: bool,
    /// How many in-flight messages each feed may have before it is made to leave room for the other feeds of its queue.
    message_shares: PerFeed<usize>,
    jobs: JoinSet<(ObjectId, Result<JobEnd, JobError>)>,
    /// With `--once`: the first failure for which an object was given up.
    failed: Option<String>,
}

/// How the dispatcher ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Every request is settled.
    Done,
    /// Stopped before that, or with `--once` something could not be read or delivered: the reason, if it is known.
    Unfinished(Option<String>),
}

impl Dispatcher {
    pub(super) async fn new(
        services: Arc<Services>,
        message_shares: PerFeed<usize>,
        once: bool,
    ) -> Result<Self, StoreError> {
        let mut backlogs = Vec::new();
        for worker in services.workers.iter() {
            backlogs.push(Backlog::new(&*services.store.backlog, &worker.name).await?);
        }
        let shares = Shares::new(services.feeds.0.len(), services.limits.objects_at_once);
        let unread = unread_of(&services, once).await?;
        Ok(Self {
            services,
            once,
            waiting: BTreeMap::new(),
            shares,
            delayed: BTreeSet::new(),
            running: BTreeMap::new(),
            awaiting_ack: BTreeMap::new(),
            backlogs: backlogs.into_iter().collect(),
            gathering: Gathering::default(),
            next_sink: SinkId(0),
            unread,
            entering: Vec::new(),
            next_unread: 0,
            is_unread_next: false,
            message_shares,
            jobs: JoinSet::new(),
            failed: None,
        })
    }

    /// Runs until the stop, or until every sender of read requests is gone and all work is done.
    pub(super) async fn run(
        mut self,
        mut read_requests: mpsc::Receiver<ReadRequest>,
        shutdown: Shutdown,
    ) -> Result<Ended, StoreError> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut closed = false;
        self.take_over_unread().await?;
        while !closed || !self.is_idle() {
            self.start_jobs().await?;
            if self.is_entering() {
                self.write_entering().await?;
            }
            tokio::select! {
                biased;
                () = shutdown.requested() => break,
                Some(end) = self.jobs.join_next() => self.end(end).await?,
                had = self.gathering.next(), if !self.gathering.is_empty() => self.gathered(had).await?,
                request = read_requests.recv(), if !closed => match request {
                    Some(request) => self.take(request),
                    None => closed = true,
                },
                _ = tick.tick() => {
                    self.services.beat();
                    self.keep_leases();
                    self.look_at_rates();
                    self.wake();
                    self.make_room();
                    self.write_entering().await?;
                    self.show_unread();
                    self.look_after_backlogs().await?;
                    if self.once && closed && self.only_failing_sinks_are_left() {
                        break;
                    }
                }
            }
        }
        // Running jobs end at their next part, or are dropped when the grace time is over. The store has how far they
        // came.
        while let Some(end) = self.jobs.join_next().await {
            self.end(end).await?;
        }
        let done = self.is_idle() && self.failed.is_none() && self.unread.is_empty();
        Ok(if done { Ended::Done } else { Ended::Unfinished(self.failed.take()) })
    }

    fn is_idle(&self) -> bool {
        let works = !self.waiting.is_empty() || !self.running.is_empty() || !self.entering.is_empty();
        !works && self.unread.is_done() && self.backlogs.iter().all(|backlog| !backlog.is_behind())
    }

    fn only_failing_sinks_are_left(&mut self) -> bool {
        let workers = self.backlogs.iter().zip(self.services.workers.iter());
        let failing = workers.filter(|(backlog, _)| backlog.is_behind()).map(|(_, worker)| worker).collect::<Vec<_>>();
        // A sink that is only slow is waited for: no later process is sure to deliver the rest.
        let limits = &self.services.limits;
        let hopeless =
            |worker: &&WorkerHandle| worker.fails_for(limits.sink_patience) || worker.stands_still(limits.stall_after);
        let stuck = !failing.is_empty() && failing.iter().all(hopeless);
        let stuck = stuck && self.waiting.is_empty() && self.running.is_empty();
        if stuck {
            let names: Vec<&str> = failing.iter().map(|worker| &*worker.name).collect();
            self.failed.get_or_insert_with(|| format!("not delivered to {}", names.join(", ")));
        }
        stuck
    }

    /// Takes a read request: the change joins those that wait for the object's next job.
    fn take(&mut self, request: ReadRequest) {
        let ReadRequest { feed, change, ack, slot } = request;
        let object = change.object;
        let new = !self.waiting.contains_key(&object);
        let pending = self.waiting.entry(object.clone()).or_insert_with(|| PendingChange::new(feed));
        if !new {
            self.services.metrics.duplicates_suppressed.add([&self.services.feeds[feed].name, "coalesced"], 1);
        }
        pending.acks.extend(ack);
        pending.slot.get_or_insert(slot);
        pending.etag =
            if new { change.etag } else { pending.etag.take().filter(|etag| change.etag.as_ref() == Some(etag)) };
        if new && !self.running.contains_key(&object) {
            self.shares.push(feed, object);
        }
    }

    /// Starts as many jobs as there is room for.
    async fn start_jobs(&mut self) -> Result<(), StoreError> {
        while self.start_older().await? || self.start_next().await? {}
        Ok(())
    }

    /// Starts a job out of a backlog, with sinks' and feeds' backlogs in turn. Returns whether there was one.
    async fn start_older(&mut self) -> Result<bool, StoreError> {
        self.is_unread_next = !self.is_unread_next;
        if self.is_unread_next && self.start_unread().await? {
            return Ok(true);
        }
        Ok(self.start_catching_up().await? || !self.is_unread_next && self.start_unread().await?)
    }

    /// Starts the job of the next object that changed. Returns whether there was one.
    async fn start_next(&mut self) -> Result<bool, StoreError> {
        while let Some(object) = self.shares.pop() {
            if self.running.contains_key(&object) {
                continue;
            }
            let Some(mut pending) = self.waiting.remove(&object) else { continue };
            if let Some(kind) = self.unread.unreadable(pending.feed).cloned() {
                self.enter(object, pending, kind);
                continue;
            }
            // The version in a backlog may be later than the one that a message names.
            let mut is_in_backlog = self.unread_kind(pending.feed, &object).await?.is_some();
            let services = Arc::clone(&self.services);
            let (mut sinks, mut is_held) = (Vec::new(), false);
            for &sink in &services.feeds[pending.feed].sinks {
                let handle = &services.workers[sink];
                is_in_backlog |= self.backlogs[sink].has(&*services.store.backlog, &object).await?;
                let comes_later = self.comes_later(sink, &object, pending.etag.as_deref());
                if comes_later || handle.stands_still(services.limits.sink_patience) {
                    self.defer(sink, &object, pending.feed).await?;
                } else {
                    is_held |= handle.holds(&object);
                    sinks.push(sink);
                }
            }
            if is_in_backlog {
                pending.etag = None;
            }
            if is_held {
                // A batch under way has records of the object: the sink's position in it is not settled yet.
                self.again(&object, pending, TICK);
            } else if sinks.is_empty() {
                self.await_ack(&object, pending);
                self.settle(&object, None).await?;
            } else {
                self.start(object, pending, sinks, Origin::Change);
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn start(&mut self, object: ObjectId, pending: PendingChange, sinks: Vec<SinkId>, origin: Origin) {
        pending.acks.iter().for_each(AckHandle::touch);
        let feed = Arc::clone(&self.services.feeds[pending.feed]);
        let task = Task {
            is_gathered: feed.sinks.iter().any(|&sink| self.gathering.has(sink, &object)),
            feed,
            object: object.clone(),
            etag: pending.etag.clone(),
            sinks: sinks.clone(),
            progress: Arc::default(),
            once: self.once,
        };
        let progress = Arc::clone(&task.progress);
        self.shares.started(pending.feed, origin.is_backlog());
        let (steps_seen, rate) = (0, Rate::default());
        self.running.insert(object.clone(), Running { pending, sinks, origin, progress, steps_seen, rate });
        let services = Arc::clone(&self.services);
        self.jobs.spawn(async move { (object, job::run(services, task).await) });
    }

    /// Keeps messages invisible whose work makes progress or waits for its turn.
    fn keep_leases(&mut self) {
        for running in self.running.values_mut() {
            let now = running.progress.steps();
            if std::mem::replace(&mut running.steps_seen, now) != now {
                running.pending.acks.iter().for_each(AckHandle::touch);
            }
        }
        let waiting = self.waiting.values().filter(|pending| pending.attempts == 0).map(|pending| &pending.acks);
        let awaiting_ack = self.awaiting_ack.values().map(|awaiting_ack| &awaiting_ack.acks);
        waiting.chain(awaiting_ack).flatten().for_each(AckHandle::touch);
        self.entering.iter().flat_map(|entering| &entering.pending.acks).for_each(AckHandle::touch);
    }

    /// Marks objects as ready whose wait is over.
    fn wake(&mut self) {
        let now = Instant::now();
        while self.delayed.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, object)) = self.delayed.pop_first() else { return };
            if let Some(pending) = self.waiting.get_mut(&object) {
                pending.not_before = None;
                self.shares.push(pending.feed, object);
            }
        }
    }
}

/// Loads the backlogs of the configured feeds from the store.
async fn unread_of(services: &Services, once: bool) -> Result<Unread, StoreError> {
    let names = services.feeds.0.iter().map(|feed| &*feed.name);
    Ok(Unread::new(names, &services.store.backlog.unread_counts().await?, once))
}

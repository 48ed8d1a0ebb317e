//! One job per object at a time: coalesces changes, starts jobs, decides what follows when one ends.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::debug;
use tracing::error;
use tracing::info;
use tracing::warn;

use crate::checkpoint::Refusal;
use crate::checkpoint::StoreError;
use crate::collector::behind::Behind;
use crate::collector::behind::Next;
use crate::collector::clock;
use crate::collector::held::Claim;
use crate::collector::held::Proof;
use crate::collector::job;
use crate::collector::job::JobEnd;
use crate::collector::job::JobError;
use crate::collector::job::Task;
use crate::collector::job::Workshop;
use crate::collector::retry;
use crate::collector::retry::Verdict;
use crate::collector::shutdown::Shutdown;
use crate::notification::ObjectChange;
use crate::notification::ObjectId;
use crate::notification::Sequencer;

/// Objects that may wait for a job; past it no more orders are taken.
const WAITING_MAX: usize = 10_000;

/// How often sinks that lag are looked after.
const TICK: Duration = Duration::from_millis(250);

/// A change, the feed it belongs to, and its share in a message.
#[derive(Debug)]
pub struct Order {
    pub feed: usize,
    pub change: ObjectChange,
    pub claim: Option<Claim>,
}

/// What waits for an object's next job.
#[derive(Debug)]
struct Wish {
    feed: usize,
    sequencer: Option<Sequencer>,
    etag: Option<Box<str>>,
    claims: Vec<Claim>,
    since: Instant,
    attempts: u32,
    /// It failed, and is not tried again before then.
    not_before: Option<Instant>,
}

impl Wish {
    fn new(feed: usize) -> Self {
        Self {
            feed,
            sequencer: None,
            etag: None,
            claims: Vec::new(),
            since: Instant::now(),
            attempts: 0,
            not_before: None,
        }
    }
}

/// A job that runs: what it settles, and whom it catches up, if it does.
struct Running {
    wish: Wish,
    catching_up: Option<usize>,
    progress: Progress,
}

/// Whether a job moves.
struct Progress {
    now: Arc<AtomicU64>,
    seen: u64,
}

/// Messages of an object whose sinks have not all had it yet.
#[derive(Default)]
struct Parked {
    feed: usize,
    claims: Vec<Claim>,
    lanes: Vec<usize>,
}

/// The one place that knows which object is worked on.
pub struct Dispatcher {
    workshop: Arc<Workshop>,
    once: bool,
    waiting: HashMap<ObjectId, Wish>,
    ready: VecDeque<ObjectId>,
    delayed: BTreeSet<(Instant, ObjectId)>,
    running: HashMap<ObjectId, Running>,
    parked: HashMap<ObjectId, Parked>,
    behind: Vec<Behind>,
    jobs: JoinSet<(ObjectId, Result<JobEnd, JobError>)>,
    /// The first failure that ended an object's work with `--once`.
    failed: Option<String>,
}

/// How the dispatcher ended.
#[derive(Debug)]
pub enum Ended {
    /// All that was ordered is settled.
    Done,
    /// Stopped before that, or with `--once` something could not be read or delivered: what, if it is known.
    Unfinished(Option<String>),
}

impl Dispatcher {
    pub fn new(workshop: Arc<Workshop>, once: bool) -> Result<Self, StoreError> {
        let lanes = workshop.lanes.iter();
        let behind = lanes.map(|lane| Behind::new(&workshop.store, &lane.sink)).collect::<Result<_, _>>()?;
        Ok(Self {
            workshop,
            once,
            waiting: HashMap::new(),
            ready: VecDeque::new(),
            delayed: BTreeSet::new(),
            running: HashMap::new(),
            parked: HashMap::new(),
            behind,
            jobs: JoinSet::new(),
            failed: None,
        })
    }

    /// Runs until the stop, or until nobody orders any more and all is done.
    pub async fn run(mut self, mut orders: mpsc::Receiver<Order>, shutdown: Shutdown) -> Result<Ended, StoreError> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut closed = false;
        while !closed || !self.is_idle() {
            self.start_jobs();
            tokio::select! {
                biased;
                () = shutdown.requested() => break,
                Some(end) = self.jobs.join_next() => self.end(end).await?,
                order = orders.recv(), if !closed && self.waiting.len() < WAITING_MAX => match order {
                    Some(order) => self.take(order),
                    None => closed = true,
                },
                _ = tick.tick() => {
                    self.workshop.beat();
                    self.keep_in_hand();
                    self.wake();
                    self.look_after_lanes().await?;
                    if self.once && closed && self.only_failing_lanes_are_left() {
                        break;
                    }
                }
            }
        }
        // Jobs in hand end at their next part, or are dropped at the end of the grace; the store says how far they came.
        while let Some(end) = self.jobs.join_next().await {
            self.end(end).await?;
        }
        let done = self.is_idle() && self.failed.is_none() && self.behind.iter().all(|behind| !behind.is_behind());
        Ok(if done { Ended::Done } else { Ended::Unfinished(self.failed.take()) })
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty() && self.behind.iter().all(|behind| !behind.is_behind())
    }

    fn only_failing_lanes_are_left(&mut self) -> bool {
        let lanes = self.behind.iter().zip(&self.workshop.lanes);
        let failing = lanes.filter(|(behind, _)| behind.is_behind()).map(|(_, lane)| lane).collect::<Vec<_>>();
        let stuck = !failing.is_empty() && failing.iter().all(|lane| lane.is_failing());
        let stuck = stuck && self.waiting.is_empty() && self.running.is_empty();
        if stuck {
            let names: Vec<&str> = failing.iter().map(|lane| &*lane.sink).collect();
            self.failed.get_or_insert_with(|| format!("not delivered to {}", names.join(", ")));
        }
        stuck
    }

    /// An object changed: it waits for its next job, together with what waits already.
    fn take(&mut self, order: Order) {
        let Order { feed, change, claim } = order;
        let object = change.object;
        let new = !self.waiting.contains_key(&object);
        let wish = self.waiting.entry(object.clone()).or_insert_with(|| Wish::new(feed));
        if !new {
            self.workshop.metrics.duplicates_suppressed.add(["coalesced"], 1);
        }
        wish.claims.extend(claim);
        if change.sequencer > wish.sequencer {
            wish.sequencer = change.sequencer;
        }
        wish.etag = change.etag.or(wish.etag.take());
        if new && !self.running.contains_key(&object) {
            self.ready.push_back(object);
        }
    }

    fn start_jobs(&mut self) {
        while self.running.len() < self.workshop.limits.objects_at_once {
            let Some(object) = self.ready.pop_front() else { return };
            if self.running.contains_key(&object) {
                continue;
            }
            let Some(wish) = self.waiting.remove(&object) else { continue };
            let lanes: Vec<usize> = self.workshop.feeds.0[wish.feed]
                .lanes
                .iter()
                .copied()
                .filter(|&lane| !self.behind[lane].is_behind())
                .collect();
            if lanes.is_empty() {
                self.park(object, wish);
                continue;
            }
            self.start(object, wish, lanes, None);
        }
    }

    fn start(&mut self, object: ObjectId, wish: Wish, lanes: Vec<usize>, catching_up: Option<usize>) {
        wish.claims.iter().for_each(Claim::touch);
        let task = Task {
            feed: Arc::clone(&self.workshop.feeds.0[wish.feed]),
            object: object.clone(),
            sequencer: wish.sequencer.clone(),
            etag: wish.etag.clone(),
            lanes,
            progress: Arc::new(AtomicU64::new(0)),
        };
        let progress = Progress { now: Arc::clone(&task.progress), seen: 0 };
        self.running.insert(object.clone(), Running { wish, catching_up, progress });
        let workshop = Arc::clone(&self.workshop);
        self.jobs.spawn(async move { (object, job::run(workshop, task).await) });
    }

    /// A job ended: settles what it finished, and decides about the rest.
    async fn end(
        &mut self,
        end: Result<(ObjectId, Result<JobEnd, JobError>), tokio::task::JoinError>,
    ) -> Result<(), StoreError> {
        let (object, result) = match end {
            Ok(end) => end,
            // A panic outside a worker is a fault of the program's own; going on could lose what it held.
            Err(panic) => return Err(StoreError::Failed(format!("a job ended in a panic: {panic}"))),
        };
        let Some(Running { wish, catching_up, .. }) = self.running.remove(&object) else { return Ok(()) };
        wish.claims.iter().for_each(Claim::touch);
        if let Some(lane) = catching_up {
            self.behind[lane].ended();
        }
        match result {
            Ok(end) => self.passed(&object, wish, catching_up, &end).await?,
            Err(JobError::Store(error)) => return Err(error),
            Err(error) => self.failed(&object, wish, catching_up, &error).await?,
        }
        if self.waiting.get(&object).is_some_and(|wish| wish.not_before.is_none()) {
            self.ready.push_back(object);
        }
        Ok(())
    }

    async fn passed(
        &mut self,
        object: &ObjectId,
        wish: Wish,
        catching_up: Option<usize>,
        end: &JobEnd,
    ) -> Result<(), StoreError> {
        for &lane in &end.deferred {
            self.behind[lane].defer(object, wish.feed);
            if catching_up == Some(lane) {
                self.behind[lane].again(object, TICK);
            }
        }
        if !end.finished && end.deferred.is_empty() {
            // Stopped midway: the claims are dropped, and the messages come again.
            return Ok(());
        }
        if let Some(lane) = catching_up.filter(|lane| !end.deferred.contains(lane)) {
            self.pay(lane, object).await?;
        }
        self.park(object.clone(), wish);
        self.settle(object)
    }

    async fn pay(&mut self, lane: usize, object: &ObjectId) -> Result<(), StoreError> {
        let sink = Arc::clone(&self.workshop.lanes[lane].sink);
        self.workshop.store.pay(sink, object.clone()).await?;
        self.behind[lane].paid(object);
        if let Some(parked) = self.parked.get_mut(object) {
            parked.lanes.retain(|&owed| owed != lane);
        }
        Ok(())
    }

    /// Keeps an object's messages until every sink has had it: those that are behind get it later.
    fn park(&mut self, object: ObjectId, wish: Wish) {
        let feed = &self.workshop.feeds.0[wish.feed];
        let parked = self.parked.entry(object.clone()).or_default();
        parked.feed = wish.feed;
        parked.claims.extend(wish.claims);
        for &lane in &feed.lanes {
            if self.behind[lane].is_behind() {
                self.behind[lane].defer(&object, wish.feed);
                if !parked.lanes.contains(&lane) {
                    parked.lanes.push(lane);
                }
            }
        }
    }

    /// Settles an object's messages if nothing is left to do: every sink has had it or is owed it.
    fn settle(&mut self, object: &ObjectId) -> Result<(), StoreError> {
        let Some(parked) = self.parked.get(object) else { return Ok(()) };
        if !parked.lanes.is_empty() {
            return Ok(());
        }
        let sinks = &self.workshop.feeds.0[parked.feed].sinks;
        let mut claims = self.parked.remove(object).map(|parked| parked.claims).unwrap_or_default();
        while let Some(claim) = claims.pop() {
            // Without a proof the claim is dropped, and its message comes again.
            match self.workshop.store.passed(object, sinks)? {
                Some(passed) => claim.settle(Proof::Passed(passed)),
                None => debug!(%object, "not settled: the object has moved on"),
            }
        }
        Ok(())
    }

    async fn failed(
        &mut self,
        object: &ObjectId,
        mut wish: Wish,
        catching_up: Option<usize>,
        error: &JobError,
    ) -> Result<(), StoreError> {
        wish.attempts = 1 + catching_up.map_or(wish.attempts, |lane| self.behind[lane].attempts(object));
        let limits = &self.workshop.limits;
        let verdict = retry::verdict(error, wish.attempts, wish.since.elapsed(), limits, self.once);
        debug!(%object, %error, ?verdict, attempts = wish.attempts, "a job failed");
        let feed = Arc::clone(&self.workshop.feeds.0[wish.feed]);
        match verdict {
            Verdict::Again(wait) => match catching_up {
                Some(lane) => self.behind[lane].again(object, wait),
                None => self.again(object, wish, wait),
            },
            Verdict::GiveUp => {
                error!(feed = %feed.name, %object, %error, attempts = wish.attempts, "an object cannot be read; its message is left to come again");
                self.workshop.metrics.objects.add(["given_up"], 1);
                self.failed.get_or_insert_with(|| error.to_string());
                if let Some(lane) = catching_up {
                    self.behind[lane].again(object, Duration::from_secs(60));
                }
            }
            Verdict::Vanished => {
                warn!(feed = %feed.name, %object, "an object is gone before it was read");
                self.workshop.metrics.objects.add(["vanished"], 1);
                for lane in feed.lanes.clone() {
                    self.pay(lane, object).await?;
                }
                for claim in wish.claims.into_iter().chain(self.unpark(object)) {
                    claim.settle(Proof::Vanished(object.clone()));
                }
            }
            Verdict::Quarantine(etag) => {
                error!(feed = %feed.name, %object, %error, "an object cannot be read and is quarantined");
                self.workshop.metrics.objects.add(["quarantined"], 1);
                self.workshop.metrics.records_quarantined.add([&feed.name, "object"], 1);
                self.quarantine(object, &feed.name, wish, etag, error).await?;
            }
        }
        Ok(())
    }

    async fn quarantine(
        &mut self,
        object: &ObjectId,
        feed: &Arc<str>,
        wish: Wish,
        etag: Box<str>,
        error: &JobError,
    ) -> Result<(), StoreError> {
        for lane in self.workshop.feeds.0[wish.feed].lanes.clone() {
            self.pay(lane, object).await?;
        }
        for claim in wish.claims.into_iter().chain(self.unpark(object)).map(Some).chain([None]) {
            let refusal = Refusal {
                feed: Arc::clone(feed),
                object: object.clone(),
                etag: etag.clone(),
                reason: error.to_string(),
                now_ms: clock::now_ms(),
            };
            let proof = self.workshop.store.quarantine_object(refusal).await?;
            if let Some(claim) = claim {
                claim.settle(Proof::Quarantined(proof));
            }
        }
        Ok(())
    }

    fn unpark(&mut self, object: &ObjectId) -> Vec<Claim> {
        self.parked.remove(object).map(|parked| parked.claims).unwrap_or_default()
    }

    /// The object is tried again after a while, with what has come for it since.
    fn again(&mut self, object: &ObjectId, mut wish: Wish, wait: Duration) {
        match self.waiting.get_mut(object) {
            Some(newer) => {
                newer.claims.extend(wish.claims);
                newer.attempts = newer.attempts.max(wish.attempts);
                newer.since = newer.since.min(wish.since);
                if wish.sequencer > newer.sequencer {
                    newer.sequencer = wish.sequencer;
                }
            }
            None => {
                let at = Instant::now() + wait;
                wish.not_before = Some(at);
                self.waiting.insert(object.clone(), wish);
                self.delayed.insert((at, object.clone()));
            }
        }
    }

    /// Messages whose work moves, or waits its turn, stay in hand.
    fn keep_in_hand(&mut self) {
        for running in self.running.values_mut() {
            let now = running.progress.now.load(Ordering::Relaxed);
            if std::mem::replace(&mut running.progress.seen, now) != now {
                running.wish.claims.iter().for_each(Claim::touch);
            }
        }
        let waiting = self.waiting.values().filter(|wish| wish.attempts == 0).map(|wish| &wish.claims);
        let parked = self.parked.values().map(|parked| &parked.claims);
        waiting.chain(parked).flatten().for_each(Claim::touch);
    }

    /// Objects whose wait is over are ready.
    fn wake(&mut self) {
        let now = Instant::now();
        while self.delayed.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, object)) = self.delayed.pop_first() else { return };
            if let Some(wish) = self.waiting.get_mut(&object) {
                wish.not_before = None;
                self.ready.push_back(object);
            }
        }
    }

    /// Sinks that lag: writes debts down, starts what catches them up, and notes who has caught up.
    async fn look_after_lanes(&mut self) -> Result<(), StoreError> {
        for lane in 0..self.behind.len() {
            if !self.behind[lane].is_behind() {
                continue;
            }
            self.owe(lane).await?;
            let workshop = Arc::clone(&self.workshop);
            let handle = &workshop.lanes[lane];
            workshop.metrics.sink_behind.set([&handle.sink], 1);
            if handle.is_failing() {
                continue;
            }
            while self.running.len() < workshop.limits.objects_at_once {
                match self.behind[lane].next(&workshop.store, |object| self.running.contains_key(object))? {
                    Next::Object(object, feed) => self.catch_up(lane, object, feed),
                    Next::Wait => break,
                    Next::CaughtUp => {
                        info!(sink = %handle.sink, "the sink has caught up");
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
            warn!(%object, sink = %self.workshop.lanes[lane].sink, "an object is owed to a sink that its feed does not go to any more");
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
        info!(%sink, objects = due.len(), "objects are written down as owed to a sink");
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

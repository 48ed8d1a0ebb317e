//! One job per object at a time: coalesces changes, starts jobs, decides what follows when one ends.

mod ends;

mod lagging;

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

use crate::checkpoint::StoreError;
use crate::collector::behind::Behind;
use crate::collector::held::Claim;
use crate::collector::job;
use crate::collector::job::JobEnd;
use crate::collector::job::JobError;
use crate::collector::job::Task;
use crate::collector::job::Workshop;
use crate::collector::lane::LaneHandle;
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
pub(super) struct Order {
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
pub(super) struct Dispatcher {
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
pub(super) enum Ended {
    /// All that was ordered is settled.
    Done,
    /// Stopped before that, or with `--once` something could not be read or delivered: what, if it is known.
    Unfinished(Option<String>),
}

impl Dispatcher {
    pub(super) fn new(workshop: Arc<Workshop>, once: bool) -> Result<Self, StoreError> {
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
    pub(super) async fn run(
        mut self,
        mut orders: mpsc::Receiver<Order>,
        shutdown: Shutdown,
    ) -> Result<Ended, StoreError> {
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
        // One that is only slow is waited for: whoever asked for all of it once comes back for none of it.
        let limits = &self.workshop.limits;
        let hopeless =
            |lane: &&LaneHandle| lane.fails_for(limits.sink_patience) || lane.stands_still(limits.stall_after);
        let stuck = !failing.is_empty() && failing.iter().all(hopeless);
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
            self.leave_out_stuck(&object, wish.feed);
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
            if lanes.iter().any(|&lane| self.workshop.lanes[lane].holds(&object)) {
                // A batch from before the start is still on its way: what it settles is not known yet.
                self.again(&object, wish, TICK);
                continue;
            }
            self.start(object, wish, lanes, None);
        }
    }

    /// A lane that cannot finish the batch it holds records of the object in does not hold up the others.
    fn leave_out_stuck(&mut self, object: &ObjectId, feed: usize) {
        let patience = self.workshop.limits.sink_patience;
        for &lane in &self.workshop.feeds.0[feed].lanes {
            let handle = &self.workshop.lanes[lane];
            if handle.holds(object) && handle.stands_still(patience) {
                self.behind[lane].defer(object, feed);
            }
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
}

//! Moves one change along the whole path. The only folder that spawns tasks, sleeps, retries, reads the clock and logs.

mod announce;

pub(crate) mod backoff;

mod budget;

mod build;

pub(crate) mod clock;

pub(crate) mod compute;

mod delivery;

mod error;

mod feeds;

mod fetch;

mod flowed;

mod freshness;

mod ids;

mod intake;

mod job;

mod progress;

mod pump;

pub(crate) mod random;

mod report;

mod requeue;

mod scanner;

mod schedule;

mod services;

pub(crate) mod shutdown;

mod sink_test;

mod start;

mod upkeep;

mod users;

mod watch;

mod watched;

pub(crate) mod world;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

pub use error::Error;
pub(crate) use fetch::{FetchError, fetch, owner, owner_of_file};
pub(crate) use sink_test::{SinkTestError, SinkTestStep, test_sink};

use crate::checkpoint::{Store, StoreError};
use crate::collector::budget::Budget;
use crate::collector::report::Reporter;
use crate::collector::schedule::requests::{self, ReadRequest};
use crate::collector::schedule::{Dispatcher, Ended};
use crate::collector::services::Services;
use crate::collector::shutdown::{Shutdown, Stop};
use crate::collector::start::{Basis, Sources};
use crate::collector::world::World;
use crate::config::Config;
use crate::notification::queue::Queue;
use crate::telemetry::health::{Activity, Health, Part};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::summary::RunMetrics;
use crate::telemetry::systemd;

/// How long giving back in-flight messages may take once the store's files are gone.
const GONE_GRACE: Duration = Duration::from_secs(1);

/// Effectively never.
const NEVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Whether the collector goes on or ends when there is nothing left to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Runs until it is stopped.
    Daemon,
    /// Delivers what there is now, and ends.
    Once,
}

/// Runs the collector until the stop, or with [`Mode::Once`] until everything that there is has been delivered.
/// `counts` gives its caller the metrics.
///
/// # Errors
/// A part could not be opened at the start, or failed later so that no promise can be kept any more.
pub(crate) async fn run(config: Config, mode: Mode, shutdown: Shutdown, counts: &RunMetrics) -> Result<(), Error> {
    let world = build::world(&config).await?;
    let metrics = Arc::new(Metrics::new(world.clock.now_ms()));
    counts.follow(&metrics);
    run_counted(world, config, mode, shutdown, metrics).await
}

/// Like [`run`], in a given world.
///
/// # Errors
/// As [`run`].
pub async fn run_in<Q: Queue>(world: World<Q>, config: Config, mode: Mode, shutdown: Shutdown) -> Result<(), Error> {
    let metrics = Arc::new(Metrics::new(world.clock.now_ms()));
    run_counted(world, config, mode, shutdown, metrics).await
}

async fn run_counted<Q: Queue>(
    world: World<Q>,
    config: Config,
    mode: Mode,
    shutdown: Shutdown,
    metrics: Arc<Metrics>,
) -> Result<(), Error> {
    let World { clock, random, compute, store, scratch, places, queues, sinks, identities } = world;
    let began = Instant::now();
    let health = Arc::new(Health::default());
    let reporter = Reporter::new(&health, &metrics, began);
    let once = mode == Mode::Once;
    announce::announce(&reporter, &config, if once { &[] } else { &identities });
    reporter.worked(&Part::store(), Activity::Commit);
    freshness::restore(&*store.upkeep, &config, &metrics).await?;
    let feeds = Arc::new(build::feeds(&config, places)?);
    // All parts stop when the process is asked to stop, or when one of them fails.
    let (stop, halt) = shutdown::channel();
    let mut tasks: JoinSet<Result<(), Error>> = JoinSet::new();
    let memory = config.memory();
    let budget = Budget::new(memory.readings);
    let reopening = shutdown.reopening();
    let basis = Basis { store, scratch, clock, random, compute, budget, reporter, halt, reopening, once };
    let workers = start::workers(&config, &memory.sinks, &feeds, sinks, &basis, &mut tasks).await?;
    let services = Arc::new(Services {
        feeds: Arc::clone(&feeds),
        workers,
        store: basis.store.clone(),
        scratch: Arc::clone(&basis.scratch),
        clock: basis.clock.clone(),
        compute,
        budget: basis.budget.clone(),
        metrics: Arc::clone(&metrics),
        health: Arc::clone(&health),
        reporter: basis.reporter.clone(),
        limits: config.limits.clone(),
        shutdown: basis.halt.clone(),
        began,
    });
    let (read_requests, requested) = requests::channel(config.feed.len(), build::waiting_share(&config));
    let mut sources = Sources::new();
    start::scanners(&config, &services, &read_requests, &basis, &mut sources);
    start::requeues(&config, &services, &read_requests, &basis, &mut sources);
    start::rerouting(&services, &read_requests, &basis, &mut sources);
    let queues = start::queues(&config, queues, &services, read_requests, &basis, &mut sources, &mut tasks)?;
    let dispatcher = Dispatcher::new(Arc::clone(&services), build::message_shares(&config), once).await?;
    let mut background = JoinSet::new();
    start::user_directories(&feeds, &basis, &mut background);
    let guard = upkeep::guard(Arc::clone(&basis.store.upkeep));
    background.spawn(async move { Ok(guard.await?) });
    let _socket = start::admin(&config, &services, &mut background).await?;
    start::watchdog(health, began, &mut background);
    if !once {
        start::upkeep(&services, identities, queues, &mut background);
        // The error is ignored: there may be no service manager.
        let _ = systemd::ready();
    }
    info!(feeds = config.feed.len(), sinks = config.sink.len(), version = env!("CARGO_PKG_VERSION"), "collecting");
    drop(services);
    let Basis { store, reporter, halt, .. } = basis;
    let supervised = Supervised { store: store.clone(), dispatcher, requested, sources, tasks, background };
    let ended = supervised.run(stop, halt, shutdown, config.limits.shutdown_grace, once).await;
    // The next start can read an untidy store too.
    let _ = store.upkeep.tidy().await;
    reporter.end();
    let Err(error) = ended else { return Ok(()) };
    // If the store is gone, that is the cause of every other failure.
    Err(store.upkeep.in_place().await.map_or_else(Error::Store, |()| error))
}

/// All running tasks.
struct Supervised {
    store: Store,
    dispatcher: Dispatcher,
    requested: mpsc::Receiver<ReadRequest>,
    sources: Sources,
    tasks: JoinSet<Result<(), Error>>,
    background: JoinSet<Result<(), Error>>,
}

impl Supervised {
    /// Runs until everything is done, the stop, or a failure.
    async fn run(
        mut self,
        stop: Stop,
        halt: Shutdown,
        shutdown: Shutdown,
        grace: Duration,
        once: bool,
    ) -> Result<(), Error> {
        let mut dispatcher = JoinSet::new();
        dispatcher.spawn(self.dispatcher.run(self.requested, halt));
        let mut failure: Option<Error> = None;
        let mut stopping = false;
        let deadline = tokio::time::sleep(NEVER);
        tokio::pin!(deadline);
        let last_call = tokio::time::sleep(NEVER);
        tokio::pin!(last_call);
        while !dispatcher.is_empty() || !self.sources.is_empty() || !self.tasks.is_empty() {
            let failed = tokio::select! {
                biased;
                () = shutdown.requested(), if !stopping => None,
                Some(end) = self.sources.join_next() => match flatten(end) {
                    // A place that could not be scanned completely does not keep what was found from being delivered.
                    Err(error @ Error::Place(_)) if once => {
                        failure.get_or_insert(error);
                        None
                    }
                    ended => ended.err().filter(|_| !stopping),
                },
                Some(end) = self.tasks.join_next() => flatten(end).err(),
                Some(end) = self.background.join_next(), if !stopping => flatten(end).err(),
                Some(end) = dispatcher.join_next() => failure_of(end, once),
                () = &mut deadline => {
                    warn!("the grace time is over; what was not committed comes again");
                    break;
                }
                () = &mut last_call => {
                    // Dropping in-flight messages gives them back.
                    dispatcher.abort_all();
                    self.sources.abort_all();
                    last_call.as_mut().reset(Instant::now() + NEVER);
                    None
                }
            };
            let failed = failed.is_some_and(|error| {
                failure.get_or_insert(error);
                true
            });
            // Without the dispatcher nothing is left to do. With `--once` that is the regular end.
            if !stopping && (failed || dispatcher.is_empty() || shutdown.is_requested()) {
                stopping = true;
                info!(grace_secs = grace.as_secs(), "stopping");
                // The error is ignored: there may be no service manager.
                let _ = systemd::stopping();
                stop.request();
                // Sink workers end with their last handle, and background tasks hold handles.
                self.background.abort_all();
                // Without the store no in-flight message can be settled: all are given back at once.
                let (last, end) = match self.store.upkeep.in_place().await {
                    Ok(()) => (grace * 2 / 3, grace),
                    Err(_gone) => (Duration::ZERO, GONE_GRACE.min(grace)),
                };
                last_call.as_mut().reset(Instant::now() + last);
                deadline.as_mut().reset(Instant::now() + end);
            }
        }
        failure.map_or(Ok(()), Err)
    }
}

/// The error of a dispatcher that ended with a failure.
fn failure_of(end: Result<Result<Ended, StoreError>, tokio::task::JoinError>, once: bool) -> Option<Error> {
    match end {
        Ok(Ok(Ended::Done)) => None,
        Ok(Ok(Ended::Unfinished(why))) if once => {
            Some(Error::Unfinished(why.unwrap_or_else(|| "stopped before the end".to_owned())))
        }
        Ok(Ok(Ended::Unfinished(_))) => None,
        Ok(Err(error)) => Some(error.into()),
        Err(aborted) if aborted.is_cancelled() => None,
        Err(panic) => Some(Error::Panic(panic.to_string())),
    }
}

fn flatten(end: Result<Result<(), Error>, tokio::task::JoinError>) -> Result<(), Error> {
    end.unwrap_or_else(|panic| Err(Error::Panic(panic.to_string())))
}

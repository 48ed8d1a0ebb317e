//! Moves one change along the whole path. The only folder that spawns, sleeps, retries, reads the clock and logs.

pub mod backoff;

mod behind;

mod build;

pub mod clock;

mod dispatch;

mod feeds;

mod held;

mod intake;

mod job;

mod lane;

mod lease;

mod reading;

mod recovery;

mod retry;

mod scanner;

mod settle;

pub mod shutdown;

mod ticket;

mod upkeep;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::info;
use tracing::warn;

use crate::admin;
use crate::batch;
use crate::checkpoint::CheckpointStore;
use crate::checkpoint::OpenError;
use crate::checkpoint::StoreError;
use crate::collector::dispatch::Dispatcher;
use crate::collector::dispatch::Ended;
use crate::collector::dispatch::Order;
use crate::collector::feeds::Feeds;
use crate::collector::held::InHand;
use crate::collector::intake::Intake;
use crate::collector::job::Workshop;
use crate::collector::lane::Lane;
use crate::collector::lane::LaneError;
use crate::collector::lane::LaneHandle;
use crate::collector::scanner::Scanner;
use crate::collector::scanner::ScannerError;
use crate::collector::shutdown::Shutdown;
use crate::collector::shutdown::Stop;
use crate::collector::upkeep::Watched;
use crate::config::Config;
use crate::identity::IdentityError;
use crate::notification::queue::QueueError;
use crate::notification::scan::ScanError;
use crate::notification::sqs::SqsQueue;
use crate::sink::Sink;
use crate::telemetry::health::Health;
use crate::telemetry::health::Part;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::systemd;

/// Changes that may wait for the dispatcher.
const ORDERS_MAX: usize = 1024;

/// Whether the collector goes on or ends when there is nothing left to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Runs until it is stopped.
    Daemon,
    /// Takes what is there now, commits, and ends.
    Once,
}

/// Why the collector ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Place(#[from] ScanError),
    #[error("{0}")]
    Config(String),
    #[error("the admin address {address} cannot be listened on: {source}")]
    Admin { address: String, source: std::io::Error },
    /// With `--once`: something could not be read or delivered.
    #[error("not everything was done: {0}")]
    Unfinished(String),
    /// A task panicked: a fault of the program's own. What was not committed comes again.
    #[error("a task ended in a panic: {0}")]
    Panic(String),
}

impl From<ScannerError> for Error {
    fn from(error: ScannerError) -> Self {
        match error {
            ScannerError::Store(error) => Self::Store(error),
            ScannerError::Scan(error) => Self::Place(error),
        }
    }
}

/// Who tells the dispatcher of changes; when all have ended, `--once` is over.
type Sources = JoinSet<Result<(), Error>>;

/// Runs the collector until the stop, or with [`Mode::Once`] until everything there is has been delivered.
///
/// # Errors
/// What could not be opened at the start, or what failed so that nothing can be promised any more.
pub async fn run(config: Config, mode: Mode, shutdown: Shutdown) -> Result<(), Error> {
    let began = Instant::now();
    let metrics = Arc::new(Metrics::new(clock::now_ms()));
    let health = Arc::new(Health::default());
    let store = CheckpointStore::open(&config.state_dir, config.limits.quarantine_bytes_max)?;
    health.mark(Part::Store, true);
    let mut identities = build::Identities::default();
    let feeds = Arc::new(build::feeds(&config, &mut identities).await?);
    // The parts stop when asked from outside, or when one of them fails.
    let (stop, halt) = shutdown::channel();
    let mut tasks: JoinSet<Result<(), Error>> = JoinSet::new();
    let lanes = start_lanes(&config, &feeds, &store, &metrics, &halt, &mut tasks)?;
    let workshop = Arc::new(Workshop {
        feeds: Arc::clone(&feeds),
        lanes,
        store: store.clone(),
        metrics: Arc::clone(&metrics),
        health: Arc::clone(&health),
        limits: config.limits.clone(),
        shutdown: halt.clone(),
        began,
    });
    let (orders, ordered) = mpsc::channel(ORDERS_MAX);
    let mut sources = Sources::new();
    let once = mode == Mode::Once;
    start_scanners(&config, &workshop, &orders, once, &halt, &mut sources);
    let queues =
        start_queues(&config, &mut identities, &workshop, orders, once, &halt, &mut sources, &mut tasks).await?;
    let dispatcher = Dispatcher::new(Arc::clone(&workshop), once)?;
    let mut background = JoinSet::new();
    start_admin(&config, &metrics, &health, began, &mut background).await?;
    if let Some(every) = systemd::watchdog_every() {
        background.spawn(async move {
            upkeep::watchdog(health, began, every).await;
            Ok(())
        });
    }
    if !once {
        let upkeep = upkeep::run(Arc::clone(&workshop), identities.all(), queues);
        background.spawn(async move { Ok(upkeep.await?) });
        // Without a service manager there is nobody to tell.
        let _ = systemd::ready();
    }
    info!(feeds = config.feed.len(), sinks = config.sink.len(), version = env!("CARGO_PKG_VERSION"), "collecting");
    drop(workshop);
    let supervised = Supervised { dispatcher, ordered, sources, tasks, background };
    supervised.run(stop, halt, shutdown, config.limits.shutdown_grace, once).await
}

/// Everything that runs.
struct Supervised {
    dispatcher: Dispatcher,
    ordered: mpsc::Receiver<Order>,
    sources: Sources,
    tasks: JoinSet<Result<(), Error>>,
    background: JoinSet<Result<(), Error>>,
}

impl Supervised {
    /// Waits for the end: everything done, the stop, or a failure.
    async fn run(
        mut self,
        stop: Stop,
        halt: Shutdown,
        shutdown: Shutdown,
        grace: Duration,
        once: bool,
    ) -> Result<(), Error> {
        let mut dispatcher = JoinSet::new();
        dispatcher.spawn(self.dispatcher.run(self.ordered, halt));
        let mut failure: Option<Error> = None;
        let mut stopping = false;
        let deadline = tokio::time::sleep(Duration::from_secs(u64::MAX >> 16));
        tokio::pin!(deadline);
        while !dispatcher.is_empty() || !self.sources.is_empty() || !self.tasks.is_empty() {
            let failed = tokio::select! {
                () = shutdown.requested(), if !stopping => None,
                Some(end) = self.sources.join_next() => flatten(end).err(),
                Some(end) = self.tasks.join_next() => flatten(end).err(),
                Some(end) = self.background.join_next() => flatten(end).err(),
                Some(end) = dispatcher.join_next() => match end {
                    Ok(Ok(Ended::Done)) => None,
                    Ok(Ok(Ended::Unfinished(why))) if once => {
                        Some(Error::Unfinished(why.unwrap_or_else(|| "stopped before the end".to_owned())))
                    }
                    Ok(Ok(Ended::Unfinished(_))) => None,
                    Ok(Err(error)) => Some(error.into()),
                    Err(panic) => Some(Error::Panic(panic.to_string())),
                },
                () = &mut deadline => {
                    warn!("the grace time is over; what was not committed comes again");
                    break;
                }
            };
            let failed = failed.is_some_and(|error| {
                failure.get_or_insert(error);
                true
            });
            if !stopping && (failed || shutdown.is_requested()) {
                stopping = true;
                info!(grace_secs = grace.as_secs(), "stopping");
                let _ = systemd::stopping();
                stop.request();
                deadline.as_mut().reset(Instant::now() + grace);
            }
        }
        info!("stopped");
        failure.map_or(Ok(()), Err)
    }
}

fn flatten(end: Result<Result<(), Error>, tokio::task::JoinError>) -> Result<(), Error> {
    end.unwrap_or_else(|panic| Err(Error::Panic(panic.to_string())))
}

/// What makes a sink's bytes: the same name makes the same bytes of the same record.
fn encoder_name(config: &crate::sink::Config) -> String {
    format!("{}/{:?}", env!("CARGO_PKG_VERSION"), config.encoding())
}

fn start_lanes(
    config: &Config,
    feeds: &Arc<Feeds>,
    store: &CheckpointStore,
    metrics: &Arc<Metrics>,
    halt: &Shutdown,
    tasks: &mut JoinSet<Result<(), Error>>,
) -> Result<Vec<LaneHandle>, Error> {
    let limits = &config.limits;
    let mut handles = Vec::with_capacity(config.sink.len());
    for (position, (name, table)) in config.sink.iter().enumerate() {
        let encoder = encoder_name(table);
        let sink = Sink::open(table, store.lane(name)?.position);
        let recovered = recovery::look_up(store, feeds, position, name, &encoder, limits, halt)?;
        let (lane, handle) = Lane::new(lane::Setup {
            name: name.as_str().into(),
            sink,
            encoder,
            limits: batch::Limits { bytes: limits.batch_bytes, events: limits.batch_events, age: limits.batch_age },
            room_bytes: limits.in_flight_bytes / config.sink.len().max(1),
            store: store.clone(),
            metrics: Arc::clone(metrics),
            shutdown: halt.clone(),
        });
        tasks.spawn(async move {
            match lane.run(recovered).await {
                Ok(()) | Err(LaneError::Stopped) => Ok(()),
                Err(LaneError::Store(error)) => Err(error.into()),
            }
        });
        handles.push(handle);
    }
    Ok(handles)
}

fn start_scanners(
    config: &Config,
    workshop: &Workshop,
    orders: &mpsc::Sender<Order>,
    once: bool,
    halt: &Shutdown,
    sources: &mut Sources,
) {
    for (position, (feed, table)) in workshop.feeds.0.iter().zip(config.feed.values()).enumerate() {
        let (at_start, every) = (table.scans_at_start(), table.scan_interval());
        if table.queue.is_some() && !at_start && every.is_none() {
            continue;
        }
        let scanner = Scanner {
            feed: Arc::clone(feed),
            position,
            store: workshop.store.clone(),
            metrics: Arc::clone(&workshop.metrics),
            orders: orders.clone(),
            at_start,
            every,
            once,
        };
        let halt = halt.clone();
        sources.spawn(async move { Ok(scanner.run(halt).await?) });
    }
}

#[expect(clippy::too_many_arguments, reason = "the parts of one start, called once")]
async fn start_queues(
    config: &Config,
    identities: &mut build::Identities,
    workshop: &Arc<Workshop>,
    orders: mpsc::Sender<Order>,
    once: bool,
    halt: &Shutdown,
    sources: &mut Sources,
    tasks: &mut JoinSet<Result<(), Error>>,
) -> Result<Vec<Watched>, Error> {
    let mut watched = Vec::new();
    for (name, table) in build::queues(config) {
        let identity = identities.get(config, table.identity.as_deref(), table.region.as_deref()).await?;
        let name: Arc<str> = name.into();
        let queue = Arc::new(SqsQueue::connect(&table, &identity).await?);
        let (ended, ends) = mpsc::unbounded_channel();
        let in_hand = InHand::default();
        let settler = settle::run(Arc::clone(&queue), Arc::clone(&name), ends, halt.clone());
        tasks.spawn(async move {
            settler.await;
            Ok(())
        });
        let terms = lease::Terms {
            queue: Arc::clone(&name),
            visibility_secs: table.visibility_secs,
            stall_after: workshop.limits.stall_after,
        };
        let metrics = Arc::clone(&workshop.metrics);
        let lease = lease::run(Arc::clone(&queue), terms, in_hand.clone(), metrics, halt.clone());
        let intake = Arc::new(Intake {
            queue: Arc::clone(&queue),
            name: Arc::clone(&name),
            feeds: Arc::clone(&workshop.feeds),
            store: workshop.store.clone(),
            metrics: Arc::clone(&workshop.metrics),
            orders: orders.clone(),
            ended,
            in_hand: in_hand.clone(),
            slots: Arc::new(Semaphore::new(table.held_max)),
            poison_receives_max: table.poison_receives_max,
            once,
        });
        for _ in 0..table.receivers {
            let (intake, halt) = (Arc::clone(&intake), halt.clone());
            sources.spawn(async move { Ok(intake.run(halt).await?) });
        }
        drop(intake);
        tasks.spawn(async move {
            lease.await;
            Ok(())
        });
        watched.push(Watched { name, queue, in_hand });
    }
    Ok(watched)
}

/// Serves metrics and health. The address is told in the log, since port 0 takes any free one.
async fn start_admin(
    config: &Config,
    metrics: &Arc<Metrics>,
    health: &Arc<Health>,
    began: Instant,
    background: &mut JoinSet<Result<(), Error>>,
) -> Result<(), Error> {
    let Some(address) = &config.admin.listen else { return Ok(()) };
    let address = address.clone();
    let failed = |source| Error::Admin { address: address.clone(), source };
    let listener = tokio::net::TcpListener::bind(&address).await.map_err(failed)?;
    let listen = listener.local_addr().map_err(failed)?;
    info!(%listen, "admin listens");
    let now = move || admin::Now { wall_ms: clock::now_ms(), uptime_ms: clock::since_ms(began) };
    let state = admin::State { metrics: Arc::clone(metrics), health: Arc::clone(health), now: Arc::new(now) };
    background.spawn(async move {
        let source = admin::serve(&listener, &state).await;
        Err(Error::Admin { address, source })
    });
    Ok(())
}

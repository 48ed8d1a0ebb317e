//! Starts the parts: sink workers, scanners, queues, the admin server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::info;

use crate::admin::{self, Listener, SocketFile};
use crate::batch::{self, Lane};
use crate::checkpoint::Store;
use crate::collector::budget::Budget;
use crate::collector::clock::{self, Clock};
use crate::collector::compute::Compute;
use crate::collector::delivery::gate::Gate;
use crate::collector::delivery::queue::WorkerHandle;
use crate::collector::delivery::recovery;
use crate::collector::delivery::worker::{self, SinkWorker, WorkerError};
use crate::collector::error::Error;
use crate::collector::feeds::Feeds;
use crate::collector::ids::{FeedId, PerSink, SinkId};
use crate::collector::intake::acknowledge::Acknowledge;
use crate::collector::intake::in_flight::InFlightMessages;
use crate::collector::intake::receive::Intake;
use crate::collector::intake::unrouted::Rerouting;
use crate::collector::intake::unrouted::reported::Reported;
use crate::collector::intake::visibility;
use crate::collector::random::Random;
use crate::collector::report::{Reporter, limited};
use crate::collector::requeue::Requeues;
use crate::collector::scanner::Scanner;
use crate::collector::schedule::requests::ReadRequests;
use crate::collector::services::Services;
use crate::collector::shutdown::{Reopening, Shutdown};
use crate::collector::watched::Watched;
use crate::collector::{build, upkeep};
use crate::config::{Config, Limits, Listen, Share, feed};
use crate::identity::Identity;
use crate::notification::queue::Queue;
use crate::reading::Scratch;
use crate::sink::{self, Sink};
use crate::telemetry::health::Health;
use crate::telemetry::status::Now;
use crate::telemetry::systemd;

/// How long the admin server waits after a failure, such as a lack of file descriptors.
const ADMIN_PAUSE: Duration = Duration::from_secs(1);

/// The tasks that request reads of the dispatcher. When all have ended, `--once` is over.
pub(super) type Sources = JoinSet<Result<(), Error>>;

/// What every part is started with.
pub(super) struct Basis {
    pub store: Store,
    pub scratch: Arc<dyn Scratch>,
    pub clock: Clock,
    pub random: Random,
    pub compute: Compute,
    pub budget: Budget,
    pub reporter: Reporter,
    /// The internal stop, for every part.
    pub halt: Shutdown,
    /// Requests to reopen files, for every sink worker.
    pub reopening: Reopening,
    /// Do the work that there is now, and end.
    pub once: bool,
}

/// The name of what makes a sink's bytes: under the same name, the same record gives the same bytes. It covers the
/// program's version, the sink's encoding and filter, the record budget, and the settings of each of its feeds for
/// reading and identifying records. It contains no secret.
fn encoder_name(config: &Config, sink: &str, table: &sink::Config) -> String {
    let mut said_by = blake3::Hasher::new();
    let budget = config.limits.budget();
    let said = format!("{:?} {:?} {} {budget:?}\n", table.encoding.encoder(), table.filter, table.kind.envelope());
    said_by.update(said.as_bytes());
    for (name, feed) in config.feed.iter().filter(|(_, feed)| feed.sinks.iter().any(|own| own == sink)) {
        let feed::Config { family, identity_scope, settings, redact, users, .. } = feed;
        let said = format!("{name:?} {family:?} {identity_scope:?} {settings:?} {redact:?} {users:?}\n");
        said_by.update(said.as_bytes());
    }
    let hash = said_by.finalize().to_hex();
    format!("{}/{}/{}", env!("CARGO_PKG_VERSION"), table.encoding.name.name(), &hash[..16])
}

/// When a sink's batches are cut: as its table says, else as `[limits]`, within its share of memory. With `--once` no
/// sink gathers, since the next batch would only come with the next start.
fn batch_limits(limits: &Limits, table: &sink::Config, share: Share, once: bool) -> batch::Limits {
    let sink::BatchConfig { events, age, .. } = table.batch;
    let gathers_for = table.kind.gathers_for().filter(|_| !once);
    batch::Limits {
        bytes: share.batch_bytes,
        events: events.unwrap_or(limits.batch_events),
        age: age.or(gathers_for).unwrap_or(limits.batch_age),
        gathers: gathers_for.is_some(),
    }
}

pub(super) async fn workers(
    config: &Config,
    shares: &BTreeMap<String, Share>,
    feeds: &Arc<Feeds>,
    mut sinks: BTreeMap<String, Vec<Box<dyn Sink>>>,
    basis: &Basis,
    tasks: &mut JoinSet<Result<(), Error>>,
) -> Result<PerSink<WorkerHandle>, Error> {
    let mut handles = Vec::with_capacity(config.sink.len());
    for (position, (name, table)) in config.sink.iter().enumerate() {
        let lanes = sinks.remove(name).filter(|lanes| !lanes.is_empty());
        let share = shares.get(name).copied();
        let (lanes, share) = lanes.zip(share).ok_or_else(|| Error::Config(format!("sink {name} is not there")))?;
        let encoder = encoder_name(config, name, table).into();
        let sink = SinkParts { name: name.as_str().into(), id: SinkId(position), table, share, encoder, lanes };
        handles.push(sink_workers(config, feeds, sink, basis, tasks).await?);
    }
    Ok(handles.into_iter().collect())
}

/// What one sink's workers are made from.
struct SinkParts<'a> {
    name: Arc<str>,
    id: SinkId,
    table: &'a sink::Config,
    share: Share,
    encoder: Arc<str>,
    lanes: Vec<Box<dyn Sink>>,
}

/// Starts a sink's workers, one for each lane, and returns their common handle.
async fn sink_workers(
    config: &Config,
    feeds: &Arc<Feeds>,
    SinkParts { name, id, table, share, encoder, lanes }: SinkParts<'_>,
    basis: &Basis,
    tasks: &mut JoinSet<Result<(), Error>>,
) -> Result<WorkerHandle, Error> {
    let limits = &config.limits;
    let Basis { store, scratch, clock, random, compute, budget, reporter, halt, reopening, once } = basis;
    let flow = table.flow();
    let count = u16::try_from(lanes.len()).unwrap_or(u16::MAX);
    let batches = batch_limits(limits, table, share, *once);
    let (handle, ends) = WorkerHandle::new(Arc::clone(&name), count, share.lane_bytes, &reporter.metrics().flow);
    let gate = Gate::new(random);
    for ((number, sink), end) in (0..).zip(lanes).zip(ends) {
        let lane = Lane { sink: Arc::clone(&name), number };
        let unfinished = recovery::look_up(
            store, scratch, feeds, id, &lane, &encoder, limits, *compute, budget, random, reporter, halt,
        )
        .await?;
        let setup = worker::Setup {
            lane,
            sink: sink.into(),
            gate: gate.clone(),
            encoder: Arc::clone(&encoder),
            limits: batches,
            flow,
            positions: Arc::clone(&store.positions),
            clock: clock.clone(),
            random: random.clone(),
            metrics: Arc::clone(reporter.metrics()),
            reporter: reporter.clone(),
            shutdown: halt.clone(),
            reopening: reopening.clone(),
            last_send: limits.shutdown_grace / 3,
            once: *once,
        };
        let worker = SinkWorker::new(setup, end);
        tasks.spawn(async move {
            match worker.run(unfinished).await {
                Ok(()) | Err(WorkerError::Stopped) => Ok(()),
                Err(WorkerError::Store(error)) => Err(error.into()),
            }
        });
    }
    Ok(handle.required(table.required).gathering(batches.gathers))
}

pub(super) fn scanners(
    config: &Config,
    services: &Services,
    read_requests: &ReadRequests,
    basis: &Basis,
    sources: &mut Sources,
) {
    for (position, (feed, table)) in services.feeds.0.iter().zip(config.feed.values()).enumerate() {
        let (at_start, every) = (table.scans_at_start(), table.scan_interval());
        if table.queue.is_some() && !at_start && every.is_none() {
            continue;
        }
        let scanner = Scanner {
            feed: Arc::clone(feed),
            position: FeedId(position),
            store: services.store.clone(),
            clock: basis.clock.clone(),
            random: basis.random.clone(),
            metrics: Arc::clone(&services.metrics),
            reporter: services.reporter.clone(),
            read_requests: read_requests.clone(),
            at_start,
            every,
            watch_patience: config.limits.request_timeout,
            once: basis.once,
        };
        let halt = basis.halt.clone();
        sources.spawn(async move {
            tokio::select! {
                biased;
                () = halt.requested() => Ok(()),
                ended = scanner.run() => Ok(ended?),
            }
        });
    }
}

/// Starts the task that takes up requeue requests.
pub(super) fn requeues(
    config: &Config,
    services: &Services,
    read_requests: &ReadRequests,
    basis: &Basis,
    sources: &mut Sources,
) {
    let requeues = Requeues {
        feeds: Arc::clone(&services.feeds),
        quarantine: Arc::clone(&services.store.quarantine),
        clock: basis.clock.clone(),
        metrics: Arc::clone(&services.metrics),
        reporter: services.reporter.clone(),
        read_requests: read_requests.clone(),
        topics: build::queues(config).into_iter().map(|(name, queue)| (name.into(), queue.topics)).collect(),
        unrouted_max: services.limits.unrouted_objects_max,
        once: basis.once,
    };
    let halt = basis.halt.clone();
    sources.spawn(async move { Ok(requeues.run(halt).await?) });
}

/// Starts the task that takes up objects that matched no feed before.
pub(super) fn rerouting(services: &Services, read_requests: &ReadRequests, basis: &Basis, sources: &mut Sources) {
    let rerouting = Rerouting {
        feeds: Arc::clone(&services.feeds),
        quarantine: Arc::clone(&services.store.quarantine),
        read_requests: read_requests.clone(),
        once: basis.once,
    };
    let halt = basis.halt.clone();
    sources.spawn(async move { Ok(rerouting.run(halt).await?) });
}

pub(super) fn queues<Q: Queue>(
    config: &Config,
    mut queues: BTreeMap<String, Q>,
    services: &Arc<Services>,
    read_requests: ReadRequests,
    basis: &Basis,
    sources: &mut Sources,
    tasks: &mut JoinSet<Result<(), Error>>,
) -> Result<Vec<Watched<Q>>, Error> {
    let Basis { store, clock, random, reporter, halt, once, .. } = basis;
    let mut watched = Vec::new();
    for (name, table) in build::queues(config) {
        let queue = queues.remove(&name).ok_or_else(|| Error::Config(format!("queue {name} is not there")))?;
        let (name, queue): (Arc<str>, _) = (name.into(), Arc::new(queue));
        let (ended, ends) = mpsc::unbounded_channel();
        let in_flight = InFlightMessages::default();
        let (polling, polls) = mpsc::channel(1);
        let acknowledge = Acknowledge {
            queue: Arc::clone(&queue),
            name: Arc::clone(&name),
            random: random.clone(),
            reporter: reporter.clone(),
            shutdown: halt.clone(),
        };
        tasks.spawn(acknowledge.run(ends, polls).map(Ok));
        let terms = visibility::Terms {
            queue: Arc::clone(&name),
            visibility_secs: table.visibility_secs,
            stall_after: services.limits.stall_after,
            reporter: reporter.clone(),
        };
        let metrics = Arc::clone(&services.metrics);
        let lease = visibility::run(Arc::clone(&queue), terms, in_flight.clone(), metrics, halt.clone());
        let intake = Arc::new(Intake {
            queue: Arc::clone(&queue),
            name: Arc::clone(&name),
            feeds: Arc::clone(&services.feeds),
            quarantine: Arc::clone(&store.quarantine),
            clock: clock.clone(),
            random: random.clone(),
            metrics: Arc::clone(&services.metrics),
            reporter: reporter.clone(),
            read_requests: read_requests.clone(),
            ended,
            in_flight: in_flight.clone(),
            slots: Arc::new(Semaphore::new(table.held_max)),
            poison_receives_max: table.poison_receives_max,
            topics: table.topics.clone(),
            unrouted_max: services.limits.unrouted_objects_max,
            reported: Reported::default(),
            last_poll: services.limits.shutdown_grace / 3,
            _polling: polling,
            once: *once,
        });
        for _ in 0..table.receivers {
            let (intake, halt) = (Arc::clone(&intake), halt.clone());
            sources.spawn(async move { intake.run(halt).await });
        }
        drop(intake);
        tasks.spawn(lease.map(Ok));
        watched.push(Watched::new(name, queue, in_flight));
    }
    Ok(watched)
}

/// Starts listing the users of every feed that needs them.
pub(super) fn user_directories(feeds: &Feeds, basis: &Basis, background: &mut JoinSet<Result<(), Error>>) {
    for directory in feeds.0.iter().filter_map(|feed| feed.users.clone()) {
        let (random, reporter) = (basis.random.clone(), basis.reporter.clone());
        background.spawn(async move {
            directory.run(&random, &reporter).await;
            Ok(())
        });
    }
}

/// Starts the periodic work.
pub(super) fn upkeep<Q: Queue>(
    services: &Arc<Services>,
    identities: Vec<Identity>,
    queues: Vec<Watched<Q>>,
    background: &mut JoinSet<Result<(), Error>>,
) {
    let report = upkeep::report(Arc::clone(services));
    background.spawn(async move {
        report.await;
        Ok(())
    });
    let upkeep = upkeep::run(Arc::clone(services), identities, queues);
    background.spawn(async move { Ok(upkeep.await?) });
}

/// Starts the watchdog messages, if the service manager asks for them.
pub(super) fn watchdog(health: Arc<Health>, began: Instant, background: &mut JoinSet<Result<(), Error>>) {
    if let Some(every) = systemd::watchdog_every() {
        background.spawn(async move {
            upkeep::watchdog(health, began, every).await;
            Ok(())
        });
    }
}

/// Serves metrics, health and status. The address is logged, since port 0 takes any free port. The file of a Unix
/// socket is removed when the returned value is dropped.
pub(super) async fn admin(
    config: &Config,
    services: &Services,
    background: &mut JoinSet<Result<(), Error>>,
) -> Result<Option<SocketFile>, Error> {
    let address = config.admin.address().map_err(|error| Error::Config(format!("admin.listen: {error}")))?;
    let Some(listen) = address else { return Ok(None) };
    let failed = |source| Error::Admin { address: listen.to_string(), source };
    let (listener, file) = Listener::bind(&listen).await.map_err(failed)?;
    let listen = listener.address().map_err(failed)?.map_or(listen, Listen::Tcp);
    info!(%listen, "admin listens");
    let Services { metrics, health, reporter, clock, began, .. } = services;
    let (clock, began) = (clock.clone(), *began);
    let now = move || Now { wall_ms: clock.now_ms(), uptime_ms: clock::since_ms(began) };
    let state = admin::State { metrics: Arc::clone(metrics), health: Arc::clone(health), now: Arc::new(now) };
    let (reporter, listen) = (reporter.clone(), listen.to_string());
    background.spawn(async move {
        loop {
            let error = admin::serve(&listener, &state).await;
            limited!(reporter, WARN, &listen, "the admin server failed and begins again", listen, %error);
            tokio::time::sleep(ADMIN_PAUSE).await;
        }
    });
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(feed: &str, sink: &str) -> String {
        let text = format!(
            "state_dir = \"/s\"\n[feed.a]\nfamily = \"s3_access\"\ndirectory = \"/a\"\nsinks = [\"out\"]\n{feed}\n[sink.out]\ntype = \"stdout\"\n{sink}\n"
        );
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.toml");
        std::fs::write(&path, text).unwrap();
        let config = crate::config::load::load(&[path], []).unwrap().config;
        encoder_name(&config, "out", &config.sink["out"])
    }

    #[test]
    fn whatever_changes_a_sinks_bytes_changes_its_encoders_name() {
        let names = [
            name("", ""),
            name("", "encoding = \"ecs\""),
            name("", "encoding = { ocsf_version = \"1.3.0\" }"),
            name("", "encoding = { raw_data = true }"),
            name("", "encoding = { observables = false }"),
            name("", "encoding = { labels = false }"),
            name("", "encoding = \"raw\""),
            name("", "encoding = { name = \"raw\", envelope = true }"),
            name("", "encoding = { name = \"columns\", table = \"databricks_audit\" }"),
            name("", "encoding = { name = \"columns\", columns = { A = \"a\" } }"),
            name("", "encoding = { name = \"columns\", columns = { A = \"b\" } }"),
            name("", "filter = { classes = [\"authentication\"] }"),
            name("", "filter = { families = [\"ydb\"] }"),
            name("", "filter = { severity_min = \"low\" }"),
            name("", "filter = { match = { \"actor.user.name\" = [\"ann\"] } }"),
            name("", "filter = { match = { \"actor.user.name\" = [\"ann*\"] } }"),
            name("", "filter = { not_match = { \"actor.user.name\" = [\"ann\"] } }"),
            name("identity_scope = \"record\"", ""),
            name("settings = { s3a_drop = [\"pr\"] }", ""),
            name("settings = { s3a_attributes = [\"pr\"] }", ""),
            name("settings = { s3a_principal = \"claimed\" }", ""),
            name("redact = { drop = [\"key\"] }", ""),
            name("redact = { mask = [\"key\"] }", ""),
            name("redact = { hash = [\"key\"], key = \"env:A\" }", ""),
            name("redact = { hash = [\"key\"], key = \"env:B\" }", ""),
        ];
        for (index, name) in names.iter().enumerate() {
            assert!(!names[..index].contains(name), "{name}");
        }
        assert_eq!(name("", ""), name("", "encoding = { labels = true, ocsf_version = \"1.8.0\" }"));
    }
}

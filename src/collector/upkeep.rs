//! Periodic work: forgets old checkpoints, sets gauges, reports sinks that do not answer, and feeds the service
//! manager's watchdog.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

use crate::checkpoint::{Disk, Forgotten, StoreError, StoreSize, Upkeep};
use crate::collector::clock;
use crate::collector::flowed::Flowed;
use crate::collector::report::{Reporter, limited};
use crate::collector::services::Services;
use crate::collector::watched::Watched;
use crate::identity::fault::FaultKind;
use crate::identity::{Identity, IdentityError};
use crate::notification::queue::Queue;
use crate::telemetry::health::{Activity, Failure, Health, Part, PartKind, Patience};
use crate::telemetry::series::gauge_of;
use crate::telemetry::{status, systemd};

/// How often the gauges are set.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How often old checkpoints are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(3600);

/// How often the state directory is checked. Every commit checks it too.
const GUARD_EVERY: Duration = Duration::from_secs(1);

const DAY_MS: i64 = 86_400_000;

/// How often sinks that do not answer, and log messages that were held back, are reported.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// A sink that has not answered for a batch for this long is reported.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Checks the store, the identities and the queues until the process ends.
pub(super) async fn run<Q: Queue>(
    services: Arc<Services>,
    identities: Vec<Identity>,
    queues: Vec<Watched<Q>>,
) -> Result<(), StoreError> {
    let mut forget_at = Instant::now();
    // The names of identities whose first credentials were logged.
    let mut logged = BTreeSet::new();
    loop {
        if Instant::now() >= forget_at {
            match forget(&services).await {
                // The next round tries to forget again.
                Err(StoreError::Full) => services.reporter.store_is_full(),
                forgot => {
                    forgot?;
                    services.reporter.stored();
                    forget_at = Instant::now() + FORGET_EVERY;
                }
            }
        }
        look_at_store(&services).await?;
        look_at_identities(&services, &identities, &mut logged).await;
        for queue in &queues {
            queue.look(&services).await;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Checks that the store's files are still in their place. Returns only with an error.
pub(super) async fn guard(store: Arc<dyn Upkeep>) -> Result<(), StoreError> {
    loop {
        store.in_place().await?;
        tokio::time::sleep(GUARD_EVERY).await;
    }
}

/// Forgets the checkpoints of objects that have not changed for the configured time.
async fn forget(services: &Services) -> Result<(), StoreError> {
    let before_ms = services.clock.now_ms() - i64::from(services.limits.forget_after_days) * DAY_MS;
    let (mut all_objects, mut all_gap_records) = (0, 0);
    loop {
        let Forgotten { objects, gap_records } = services.store.upkeep.forget(before_ms).await?;
        for (feed, records) in gap_records {
            services.metrics.gap_records_forgotten.add([&feed], records);
            all_gap_records += records;
        }
        all_objects += objects;
        if objects == 0 {
            break;
        }
    }
    services.store.upkeep.forget_partitions(before_ms).await?;
    let (objects, gap_records) = (all_objects, all_gap_records);
    if objects > 0 {
        info!(objects, gap_records, "forgot the checkpoints of objects that have not changed for long");
    }
    Ok(())
}

async fn look_at_store(services: &Services) -> Result<(), StoreError> {
    let (store, metrics) = (&services.store, &services.metrics);
    let StoreSize { bytes, disk } = store.upkeep.size().await?;
    metrics.checkpoint.db_bytes.set(gauge_of(bytes));
    if let Some(Disk { bytes, available_bytes }) = disk {
        metrics.checkpoint.disk_bytes.set(gauge_of(bytes));
        metrics.checkpoint.disk_available_bytes.set(gauge_of(available_bytes));
    }
    for (kind, entries, body_bytes) in store.quarantine.quarantine_size().await?.kinds {
        metrics.quarantine_entries.set([&kind], gauge_of(entries));
        metrics.quarantine_body_bytes.set([&kind], gauge_of(body_bytes));
    }
    metrics.left_out.objects.set(gauge_of(store.quarantine.unrouted_count().await?));
    for worker in services.workers.iter() {
        metrics.backlog_objects.set([&worker.name], gauge_of(store.backlog.backlog_len(&worker.name).await?));
    }
    Ok(())
}

async fn look_at_identities(services: &Services, identities: &[Identity], logged: &mut BTreeSet<String>) {
    // One identity may be used in several regions.
    let mut failures: BTreeMap<&str, Option<IdentityError>> = BTreeMap::new();
    for identity in identities {
        let failure = identity.verify().await.err();
        if failure.is_none()
            && let Some(error) = identity.failing()
        {
            let (reporter, identity) = (&services.reporter, identity.name());
            limited!(
                reporter, WARN, identity, "credentials are not renewed; the current ones are used until they expire",
                identity, %error
            );
        }
        if failure.is_none() && logged.insert(identity.name().to_owned()) {
            let expire_secs = identity.expires_at_ms().map(|at_ms| (at_ms - services.clock.now_ms()) / 1000);
            info!(identity = identity.name(), account = identity.account(), expire_secs, "there are credentials");
        }
        if let Some(at_ms) = identity.expires_at_ms() {
            services.metrics.credentials_expire(identity.name(), at_ms);
        }
        let first = failures.entry(identity.name()).or_default();
        *first = first.take().or(failure);
    }
    for (identity, failure) in failures {
        let part = Part::new(PartKind::Identity, identity);
        match failure {
            Some(error) => {
                services.metrics.assume_role_failures.add([identity], 1);
                let (kind, hint) = (FaultKind::NoCredentials.word(), FaultKind::NoCredentials.advice());
                limited!(services.reporter, WARN, identity, "no credentials", identity, kind, %error, hint);
                let failure = Failure { kind, reason: error.to_string() };
                services.reporter.failed(&part, Activity::Credentials, failure, Patience::NONE);
            }
            None => services.reporter.worked(&part, Activity::Credentials),
        }
    }
}

/// Tells the service manager that the daemon is alive, as long as health says so.
pub(super) async fn watchdog(health: Arc<Health>, began: Instant, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        if health.live(clock::since_ms(began)) {
            // The error is ignored: there may be no service manager.
            let _ = systemd::watchdog();
        }
    }
}

/// Reports until dropped: log messages that were held back, what flowed, sinks that do not answer, and the service
/// manager's status line.
pub(super) async fn report(services: Arc<Services>) {
    let (mut shown, mut flowed) = (String::new(), Flowed::begin());
    loop {
        services.reporter.look();
        flowed.look(&services);
        look_at_sinks(&services.reporter, &services);
        let summary = status::summary(&services.health);
        if shown != summary {
            // The error is ignored: there may be no service manager.
            let _ = systemd::status(&summary);
            shown = summary;
        }
        tokio::time::sleep(REPORT_EVERY).await;
    }
}

fn look_at_sinks(reporter: &Reporter, services: &Services) {
    let patience = services.limits.sink_patience.max(ANSWER_MAX);
    for worker in services.workers.iter() {
        let sink = Part::new(PartKind::Sink, &worker.name);
        match worker.unanswered().filter(|waited| *waited > patience) {
            Some(waited) => {
                let reason = format!("it does not answer; it has had a batch for {} s", waited.as_secs());
                limited!(reporter, WARN, &worker.name, "a sink does not answer", sink = %worker.name, reason);
                let failure = Failure { kind: FaultKind::Timeout.word(), reason };
                reporter.failed(&sink, Activity::Answer, failure, Patience::NONE);
            }
            None => reporter.recovered(&sink, Activity::Answer),
        }
    }
}

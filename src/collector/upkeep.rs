//! What is done now and then: forgetting, gauges, what nobody else reports, the service manager's watchdog.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

use crate::checkpoint::{CheckpointStore, StoreError};
use crate::collector::clock;
use crate::collector::intake::in_flight::InHand;
use crate::collector::job::Workshop;
use crate::collector::report::{Reporter, limited};
use crate::identity::fault::FaultKind;
use crate::identity::{Identity, IdentityError};
use crate::notification::sqs::SqsQueue;
use crate::telemetry::health::{Activity, Failure, Health, Part, PartKind, Patience};
use crate::telemetry::{status, systemd};

/// How often the gauges are set.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How often old checkpoints are looked for.
const FORGET_EVERY: Duration = Duration::from_secs(3600);

/// How often it is looked whether the state directory is still there. Every commit looks too.
const GUARD_EVERY: Duration = Duration::from_secs(1);

const DAY_MS: i64 = 86_400_000;

/// How often what nobody else reports is looked for.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// A sink that has had a batch for as long without an answer stands still.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// A queue and what of it is in hand.
#[derive(Clone)]
pub(super) struct Watched {
    pub name: Arc<str>,
    pub queue: Arc<SqsQueue>,
    pub in_hand: InHand,
}

/// Looks after the store, the identities and the queues until the process ends.
pub(super) async fn run(
    workshop: Arc<Workshop>,
    identities: Vec<Identity>,
    queues: Vec<Watched>,
) -> Result<(), StoreError> {
    let mut forget_at = Instant::now();
    loop {
        if Instant::now() >= forget_at {
            forget(&workshop).await?;
            forget_at = Instant::now() + FORGET_EVERY;
        }
        workshop.metrics.checkpoint_db_bytes.set(i64::try_from(workshop.store.size_bytes()).unwrap_or(i64::MAX));
        for (kind, entries, body_bytes) in workshop.store.quarantine_size()?.kinds {
            workshop.metrics.quarantine_entries.set([&kind], i64::try_from(entries).unwrap_or(i64::MAX));
            workshop.metrics.quarantine_body_bytes.set([&kind], i64::try_from(body_bytes).unwrap_or(i64::MAX));
        }
        workshop.metrics.left_out.objects.set(i64::try_from(workshop.store.unrouted_count()?).unwrap_or(i64::MAX));
        for lane in &workshop.lanes {
            let owed = i64::try_from(workshop.store.owed_count(&lane.sink)?).unwrap_or(i64::MAX);
            workshop.metrics.owed_objects.set([&lane.sink], owed);
        }
        look_at_identities(&workshop, &identities).await;
        for queue in &queues {
            look_at(&workshop, queue).await;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Looks whether the store's files are still those that were opened, until they are not.
pub(super) async fn guard(store: CheckpointStore) -> Result<(), StoreError> {
    loop {
        store.in_place()?;
        tokio::time::sleep(GUARD_EVERY).await;
    }
}

/// Forgets what has not changed for the configured time.
async fn forget(workshop: &Workshop) -> Result<(), StoreError> {
    let before_ms = clock::now_ms() - i64::from(workshop.limits.forget_after_days) * DAY_MS;
    let mut objects = 0;
    loop {
        match workshop.store.forget(before_ms).await? {
            0 => break,
            some => objects += some,
        }
    }
    workshop.store.forget_partitions(before_ms).await?;
    if objects > 0 {
        info!(objects, "forgot the checkpoints of objects that have not changed for long");
    }
    Ok(())
}

async fn look_at_identities(workshop: &Workshop, identities: &[Identity]) {
    // One identity may be there for several regions.
    let mut failures: BTreeMap<&str, Option<IdentityError>> = BTreeMap::new();
    for identity in identities {
        let failure = identity.verify().await.err();
        if failure.is_none()
            && let Some(error) = identity.failing()
        {
            let (reporter, identity) = (&workshop.reporter, identity.name());
            limited!(
                reporter, WARN, identity, "credentials are not renewed; those in hand are used until they expire",
                identity, %error
            );
        }
        if let Some(at_ms) = identity.expires_at_ms() {
            workshop.metrics.credentials_expire(identity.name(), at_ms);
        }
        let first = failures.entry(identity.name()).or_default();
        *first = first.take().or(failure);
    }
    for (identity, failure) in failures {
        let part = Part::new(PartKind::Identity, identity);
        match failure {
            Some(error) => {
                workshop.metrics.assume_role_failures.add([identity], 1);
                let (kind, hint) = (FaultKind::NoCredentials.word(), FaultKind::NoCredentials.advice());
                limited!(workshop.reporter, WARN, identity, "no credentials", identity, kind, %error, hint);
                let failure = Failure { kind, reason: error.to_string() };
                workshop.reporter.failed(&part, Activity::Credentials, failure, Patience::NONE);
            }
            None => workshop.reporter.worked(&part, Activity::Credentials),
        }
    }
}

async fn look_at(workshop: &Workshop, watched: &Watched) {
    let oldest_ms = watched.in_hand.all().iter().filter_map(|held| held.message().sent_at_ms).min();
    let age_secs = oldest_ms.map_or(0, |sent_ms| (clock::now_ms() - sent_ms).max(0) / 1000);
    workshop.metrics.queue_oldest_message_age_seconds.set([&watched.name], age_secs);
    // Without permission to ask, the gauges stay as they are; receiving says what is wrong.
    if let Ok(attributes) = watched.queue.attributes().await {
        let count = |messages: u64| i64::try_from(messages).unwrap_or(i64::MAX);
        workshop.metrics.queue_visible_messages.set([&watched.name], count(attributes.visible_messages));
        workshop.metrics.queue_inflight_messages.set([&watched.name], count(attributes.in_flight_messages));
    }
}

/// Tells the service manager that the daemon turns, as long as it does.
pub(super) async fn watchdog(health: Arc<Health>, began: Instant, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        if health.live(clock::since_ms(began)) {
            // Where nobody listens there is nobody to tell.
            let _ = systemd::watchdog();
        }
    }
}

/// Reports what nobody else does, until it is dropped: messages that were held back and did not come again, sinks that do
/// not answer, and the service manager's line.
pub(super) async fn report(workshop: Arc<Workshop>) {
    let mut shown = String::new();
    loop {
        workshop.reporter.look();
        look_at_sinks(&workshop.reporter, &workshop);
        let summary = status::summary(&workshop.health);
        if shown != summary {
            // Where nobody listens there is nobody to tell.
            let _ = systemd::status(&summary);
            shown = summary;
        }
        tokio::time::sleep(REPORT_EVERY).await;
    }
}

fn look_at_sinks(reporter: &Reporter, workshop: &Workshop) {
    let patience = workshop.limits.sink_patience.max(ANSWER_MAX);
    for lane in &workshop.lanes {
        let sink = Part::new(PartKind::Sink, &lane.sink);
        match lane.unanswered().filter(|waited| *waited > patience) {
            Some(waited) => {
                let reason = format!("it does not answer; it has had a batch for {} s", waited.as_secs());
                limited!(reporter, WARN, &lane.sink, "a sink does not answer", sink = %lane.sink, reason);
                let failure = Failure { kind: FaultKind::Timeout.word(), reason };
                reporter.failed(&sink, Activity::Answer, failure, Patience::NONE);
            }
            None => reporter.recovered(&sink, Activity::Answer),
        }
    }
}

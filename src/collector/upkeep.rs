//! What is done now and then: forgetting, gauges, the service manager's watchdog.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::info;
use tracing::warn;

use crate::checkpoint::CheckpointStore;
use crate::checkpoint::StoreError;
use crate::collector::clock;
use crate::collector::held::InHand;
use crate::collector::job::Workshop;
use crate::identity::Identity;
use crate::notification::sqs::SqsQueue;
use crate::telemetry::health::Health;
use crate::telemetry::health::Part;
use crate::telemetry::systemd;

/// How often the gauges are set.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How often old checkpoints are looked for.
const FORGET_EVERY: Duration = Duration::from_secs(3600);

/// How often it is looked whether the state directory is still there. Every commit looks too.
const GUARD_EVERY: Duration = Duration::from_secs(1);

const DAY_MS: i64 = 86_400_000;

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
    if objects > 0 {
        info!(objects, "forgot the checkpoints of objects that have not changed for long");
    }
    Ok(())
}

async fn look_at_identities(workshop: &Workshop, identities: &[Identity]) {
    let mut valid = true;
    for identity in identities {
        if let Err(error) = identity.verify().await {
            valid = false;
            workshop.metrics.assume_role_failures.add([identity.name()], 1);
            warn!(identity = identity.name(), %error, "no credentials");
        }
        if let Some(at_ms) = identity.expires_at_ms() {
            workshop.metrics.credentials_expire(identity.name(), at_ms);
        }
    }
    workshop.health.mark(Part::Credentials, valid);
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

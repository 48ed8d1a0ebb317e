//! Keeps every message in hand invisible while its work makes progress.

use std::sync::Arc;
use std::time::Duration;

use crate::collector::intake::in_flight::{InFlight, InFlightMessages};
use crate::collector::report::{Reporter, limited};
use crate::collector::shutdown::Shutdown;
use crate::notification::queue::{Outcome, Queue, ReceiptHandle};
use crate::telemetry::health::Activity;
use crate::telemetry::metrics::Metrics;

/// SQS lets nobody hold a message longer than 12 hours after its receipt (SQS Developer Guide, visibility timeout).
const HELD_MAX: Duration = Duration::from_secs(11 * 3600 + 1800);

/// What a lease goes by.
pub(in crate::collector) struct Terms {
    pub queue: Arc<str>,
    /// How long a message is kept invisible at a time.
    pub visibility_secs: u32,
    /// Work that shows no progress for as long is given up.
    pub stall_after: Duration,
    pub reporter: Reporter,
}

/// Extends what is in hand at half the visibility, until `shutdown`.
pub(in crate::collector) async fn run<Q: Queue>(
    queue: Arc<Q>,
    terms: Terms,
    in_flight: InFlightMessages,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
) {
    let every = Duration::from_secs(u64::from(terms.visibility_secs.max(2)) / 2);
    loop {
        tokio::select! {
            biased;
            () = shutdown.requested() => return,
            () = tokio::time::sleep(every) => {}
        }
        extend(&*queue, &terms, &in_flight, &metrics).await;
    }
}

/// Extends what is in hand once.
pub(in crate::collector) async fn extend<Q: Queue>(
    queue: &Q,
    terms: &Terms,
    in_flight: &InFlightMessages,
    metrics: &Metrics,
) {
    let held = in_flight.all();
    let handles: Vec<ReceiptHandle> =
        held.iter().filter(|held| is_kept(held, terms)).map(|held| held.message().receipt_handle.clone()).collect();
    drop(held);
    if handles.is_empty() {
        return;
    }
    let (reporter, name) = (&terms.reporter, &terms.queue);
    match queue.extend(&handles, terms.visibility_secs).await {
        Ok(outcomes) => {
            reporter.queue_worked(name, Activity::Visibility);
            for outcome in outcomes {
                let result = match &outcome {
                    Outcome::Done => "extended",
                    Outcome::Lost => {
                        metrics.lease_lost.inc();
                        "lost"
                    }
                    Outcome::Failed(reason) => {
                        limited!(
                            reporter, WARN, name, "a message in hand was not kept invisible", queue = %name, reason
                        );
                        "failed"
                    }
                };
                metrics.visibility_extensions.add([result], 1);
            }
        }
        Err(error) => {
            metrics.visibility_extensions.add(["failed"], handles.len() as u64);
            reporter.queue_failed(name, Activity::Visibility, &error);
            let (messages, kind, hint) = (handles.len(), error.kind().word(), error.kind().advice());
            limited!(
                reporter, WARN, name, "messages in hand were not kept invisible",
                queue = %name, kind, %error, hint, messages
            );
        }
    }
}

fn is_kept(held: &InFlight, terms: &Terms) -> bool {
    let age = held.received.elapsed();
    let stalled = age.saturating_sub(Duration::from_millis(held.progress_ms())) > terms.stall_after;
    if stalled || age > HELD_MAX {
        limited!(
            terms.reporter, WARN, &terms.queue,
            "work on a message makes no progress or takes too long; the message is left to come again",
            queue = %terms.queue, message_id = %held.message().id, held_secs = age.as_secs(), stalled
        );
        return false;
    }
    true
}

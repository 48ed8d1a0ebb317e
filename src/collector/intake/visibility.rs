//! Extends the visibility timeout of in-flight messages whose work makes progress.

use std::sync::Arc;
use std::time::Duration;

use crate::collector::intake::in_flight::{InFlight, InFlightMessages};
use crate::collector::report::{Reporter, limited};
use crate::collector::shutdown::Shutdown;
use crate::notification::queue::{Outcome, Queue, ReceiptHandle};
use crate::telemetry::health::Activity;
use crate::telemetry::metrics::Metrics;

/// How long a message is kept invisible at most. SQS allows 12 hours after its receipt (SQS Developer Guide, visibility
/// timeout).
const HELD_MAX: Duration = Duration::from_secs(11 * 3600 + 1800);

/// The rules for one queue's extensions.
pub(in crate::collector) struct Terms {
    pub queue: Arc<str>,
    /// How many seconds an extension lasts.
    pub visibility_secs: u32,
    /// A message whose work made no progress for this long is not extended any more.
    pub stall_after: Duration,
    pub reporter: Reporter,
}

/// Extends in-flight messages every half of the visibility timeout, until the stop.
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

/// Extends all in-flight messages once, except those whose work stalls or takes too long.
pub(in crate::collector) async fn extend<Q: Queue>(
    queue: &Q,
    terms: &Terms,
    in_flight: &InFlightMessages,
    metrics: &Metrics,
) {
    let messages = in_flight.all();
    let handles: Vec<ReceiptHandle> = messages
        .iter()
        .filter(|message| is_kept(message, terms))
        .map(|message| message.message().receipt_handle.clone())
        .collect();
    drop(messages);
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
                        metrics.leases_lost.add([name], 1);
                        "lost"
                    }
                    Outcome::Failed(reason) => {
                        limited!(
                            reporter, WARN, name, "an in-flight message was not kept invisible", queue = %name, reason
                        );
                        "failed"
                    }
                };
                metrics.visibility_extensions.add([name, result], 1);
            }
        }
        Err(error) => {
            metrics.visibility_extensions.add([name, "failed"], handles.len() as u64);
            reporter.queue_failed(name, Activity::Visibility, &error);
            let (messages, kind, hint) = (handles.len(), error.kind().word(), error.kind().advice());
            limited!(
                reporter, WARN, name, "in-flight messages were not kept invisible",
                queue = %name, kind, %error, hint, messages
            );
        }
    }
}

fn is_kept(in_flight: &InFlight, terms: &Terms) -> bool {
    let age = in_flight.received.elapsed();
    let stalled = age.saturating_sub(Duration::from_millis(in_flight.progress_ms())) > terms.stall_after;
    if stalled || age > HELD_MAX {
        limited!(
            terms.reporter, WARN, &terms.queue,
            "work on a message makes no progress or takes too long; the message is left to come again",
            queue = %terms.queue, message_id = %in_flight.message().id, held_secs = age.as_secs(), stalled
        );
        return false;
    }
    true
}

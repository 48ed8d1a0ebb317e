//! Watches the queues: logs once how each is set up, and measures how full it and its dead-letter queue are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{info, warn};

use crate::collector::intake::in_flight::InFlightMessages;
use crate::collector::services::Services;
use crate::notification::queue::{Attributes, Queue, QueueError, Redrive};
use crate::telemetry::series::gauge_of;

/// The shortest retention without a WARN: 4 days, SQS's default, since an outage over a long weekend may last as long.
const RETENTION_SECS_MIN: u32 = 4 * 86_400;

/// A queue and its in-flight messages.
pub(super) struct Watched<Q> {
    name: Arc<str>,
    queue: Arc<Q>,
    in_flight: InFlightMessages,
    /// Whether its setup was logged.
    is_logged: AtomicBool,
    /// Whether it was logged that its attributes cannot be asked for.
    is_refusal_logged: AtomicBool,
}

impl<Q: Queue> Watched<Q> {
    pub(super) fn new(name: Arc<str>, queue: Arc<Q>, in_flight: InFlightMessages) -> Self {
        Self { name, queue, in_flight, is_logged: AtomicBool::new(false), is_refusal_logged: AtomicBool::new(false) }
    }

    /// Updates the queue's gauges. Without permission to ask they keep their values, which is logged once: nothing else
    /// needs that permission.
    pub(super) async fn look(&self, services: &Services) {
        let (gauges, name) = (&services.metrics.queue, &*self.name);
        let oldest_ms = self.in_flight.all().iter().filter_map(|message| message.message().sent_at_ms).min();
        let age_secs = oldest_ms.map_or(0, |sent_ms| (services.clock.now_ms() - sent_ms).max(0) / 1000);
        gauges.oldest_message_age.set([name], age_secs);
        let attributes = match self.queue.attributes().await {
            Ok(attributes) => attributes,
            Err(error) => return self.refused(&error),
        };
        gauges.visible_messages.set([name], gauge_of(attributes.visible_messages));
        gauges.inflight_messages.set([name], gauge_of(attributes.in_flight_messages));
        if !self.is_logged.swap(true, Ordering::Relaxed) {
            log_setup(name, &attributes);
        }
        if let Some(redrive) = &attributes.redrive {
            match self.queue.dead_letters(redrive).await {
                Ok(messages) => gauges.dead_letter_messages.set([name], gauge_of(messages)),
                Err(error) => self.refused(&error),
            }
        }
    }

    fn refused(&self, error: &QueueError) {
        let is_of_person = !matches!(error, QueueError::Unavailable { .. });
        if is_of_person && !self.is_refusal_logged.swap(true, Ordering::Relaxed) {
            info!(
                queue = %self.name, %error, hint = "allow sqs:GetQueueAttributes on the queue and its dead-letter queue",
                "how full the queue is cannot be asked, and its metrics are missing; nothing else is"
            );
        }
    }
}

/// Logs how a queue is set up, and a WARN for each doubt.
fn log_setup(queue: &str, attributes: &Attributes) {
    let Attributes { redrive, retention_secs, is_encrypted, message_bytes_max, visible_messages, .. } = attributes;
    let (dead_letter_queue, receives_max) = match redrive {
        Some(Redrive { dead_letter_arn, receives_max }) => (Some(dead_letter_arn.as_str()), Some(*receives_max)),
        None => (None, None),
    };
    info!(
        queue,
        dead_letter_queue,
        receives_max,
        retention_secs,
        encrypted = is_encrypted,
        message_bytes_max,
        visible_messages,
        "queue"
    );
    for doubt in doubts(attributes) {
        warn!(queue, doubt, "the queue is set up in a doubtful way");
    }
}

/// What in a queue's setup may lose notifications or show them to others.
fn doubts(attributes: &Attributes) -> Vec<String> {
    let mut doubts = Vec::new();
    if attributes.redrive.is_none() {
        doubts.push("it has no redrive policy: a message that is never settled comes again until it is too old, and is gone then".to_owned());
    }
    if let Some(secs) = attributes.retention_secs.filter(|secs| *secs < RETENTION_SECS_MIN) {
        doubts
            .push(format!("it keeps messages for {secs} s; an outage may last longer: 14 days (1209600) is the most"));
    }
    if attributes.is_encrypted == Some(false) {
        doubts.push("it does not encrypt what it keeps: set SqsManagedSseEnabled, or a KMS key".to_owned());
    }
    doubts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_doubtful_setup_gives_doubts() {
        let redrive = Redrive { receives_max: 10, dead_letter_arn: "arn:aws:sqs:eu-west-1:1:dead".to_owned() };
        let sound = Attributes {
            redrive: Some(redrive),
            retention_secs: Some(1_209_600),
            is_encrypted: Some(true),
            ..Attributes::default()
        };
        assert!(doubts(&sound).is_empty());
        assert!(doubts(&Attributes { retention_secs: None, is_encrypted: None, ..sound.clone() }).is_empty());
        assert!(doubts(&Attributes { redrive: None, ..sound.clone() })[0].contains("redrive"));
        assert!(doubts(&Attributes { retention_secs: Some(345_599), ..sound.clone() })[0].contains("345599 s"));
        assert!(doubts(&Attributes { is_encrypted: Some(false), ..sound })[0].contains("encrypt"));
    }
}

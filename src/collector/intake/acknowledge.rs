//! Deletes messages in exchange for proofs that nothing in them is left to do, and gives the other messages back.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::collector::backoff::Backoff;
use crate::collector::intake::in_flight::{Ended, EndedMessage};
use crate::collector::random::Random;
use crate::collector::report::{Reporter, limited};
use crate::collector::shutdown::Shutdown;
use crate::notification::queue::{Message, Outcome, Queue, ReceiptHandle};
use crate::telemetry::health::Activity;

/// How often a delete is tried. If all tries fail, the message is received again, and settled without a read.
const ATTEMPTS_MAX: u32 = 4;

/// How long a message that was put off stays invisible: the first time, and at most. The time doubles with each
/// receive. SQS allows 12 hours from the receipt, part of which the message has already been in flight.
const PUT_OFF_SECS_MIN: u32 = 15 * 60;
const PUT_OFF_SECS_MAX: u32 = 11 * 3600;

/// How many ended messages are handled together.
const AT_ONCE: usize = 10;

/// Deletes the ended messages of one queue, or gives them back.
pub(in crate::collector) struct Acknowledge<Q> {
    pub queue: Arc<Q>,
    pub name: Arc<str>,
    pub random: Random,
    pub reporter: Reporter,
    pub shutdown: Shutdown,
}

impl<Q: Queue> Acknowledge<Q> {
    /// Handles ended messages until the last sender of `ended` is gone. After the stop, messages are given back to be
    /// visible at once, but only when the last poll is over (`polling` closes): an earlier release would be received by
    /// our own poll, and a poll that is cut off takes messages with it.
    pub(in crate::collector) async fn run(
        self,
        mut ended: mpsc::UnboundedReceiver<Ended>,
        mut polling: mpsc::Receiver<Polling>,
    ) {
        let mut some = Vec::with_capacity(AT_ONCE);
        let mut kept = Vec::new();
        let mut polls = true;
        loop {
            tokio::select! {
                biased;
                taken = ended.recv_many(&mut some, AT_ONCE) => if taken == 0 { break },
                _ = polling.recv(), if polls => polls = false,
            }
            let (mut settled, mut back) = (Vec::new(), Vec::new());
            for end in some.drain(..) {
                match end {
                    Ended::Settled(ended, _proofs) => settled.push(ended),
                    Ended::GivenBack(ended) => back.push((given_back_secs(&ended.message), ended)),
                    Ended::PutOff(ended) => back.push((put_off_secs(&ended.message), ended)),
                }
            }
            if !settled.is_empty() {
                self.delete(settled).await;
            }
            if self.shutdown.is_requested() || !polls {
                kept.append(&mut back);
                if !polls {
                    self.release(std::mem::take(&mut kept)).await;
                }
            } else {
                self.give_back(back).await;
            }
        }
        self.release(kept).await;
    }

    async fn delete(&self, messages: Vec<EndedMessage>) {
        let mut handles = handles(&messages);
        let (reporter, name) = (&self.reporter, &*self.name);
        let mut backoff = Backoff::new(&self.random);
        loop {
            let reason = match self.queue.delete(&handles).await {
                Ok(outcomes) => {
                    reporter.queue_worked(name, Activity::Delete);
                    let mut reason = String::new();
                    let outcomes = handles.into_iter().zip(outcomes);
                    let failed = outcomes.filter_map(|(handle, outcome)| match outcome {
                        Outcome::Failed(why) => {
                            reason = why;
                            Some(handle)
                        }
                        Outcome::Done | Outcome::Lost => None,
                    });
                    handles = failed.collect();
                    reason
                }
                Err(error) => {
                    reporter.queue_failed(name, Activity::Delete, &error);
                    error.to_string()
                }
            };
            if handles.is_empty() {
                return;
            }
            if backoff.attempts() + 1 >= ATTEMPTS_MAX {
                limited!(
                    reporter,
                    WARN,
                    name,
                    "messages were not deleted; they come again and are settled without a read",
                    queue = name,
                    error = reason,
                    messages = handles.len()
                );
                return;
            }
            tokio::time::sleep(backoff.wait()).await;
        }
    }

    /// Gives each message back, to be visible again after its number of seconds.
    async fn give_back(&self, messages: Vec<(u32, EndedMessage)>) {
        let (reporter, name) = (&self.reporter, &*self.name);
        for (wait_secs, EndedMessage { message, _slot }) in messages {
            match self.queue.extend(&[message.receipt_handle], wait_secs).await {
                Ok(_) => reporter.queue_worked(name, Activity::Visibility),
                Err(error) => {
                    reporter.queue_failed(name, Activity::Visibility, &error);
                    limited!(
                        reporter, WARN, name, "a message was not given back; it comes again when its visibility ends",
                        queue = name, message_id = %message.id, %error
                    );
                }
            }
        }
    }

    /// Gives the messages back, visible at once.
    async fn release(&self, messages: Vec<(u32, EndedMessage)>) {
        let messages: Vec<EndedMessage> = messages.into_iter().map(|(_, ended)| ended).collect();
        for some in handles(&messages).chunks(AT_ONCE) {
            // If the request fails, they are received again when their visibility timeout ends.
            let _ = self.queue.extend(some, 0).await;
        }
    }
}

fn handles(messages: &[EndedMessage]) -> Vec<ReceiptHandle> {
    messages.iter().map(|ended| ended.message.receipt_handle.clone()).collect()
}

/// A channel's item of which none exists: receivers hold the sender, whose drop says that they have ended.
#[derive(Clone, Debug)]
pub(in crate::collector) enum Polling {}

/// Seconds until a message that was given back is visible again: more with each receive.
fn given_back_secs(message: &Message) -> u32 {
    5 * message.receive_count.min(60)
}

/// Seconds until a message that was put off is visible again. Each receive brings it nearer to the dead-letter queue,
/// so the time doubles with each.
fn put_off_secs(message: &Message) -> u32 {
    PUT_OFF_SECS_MIN.saturating_mul(1 << message.receive_count.saturating_sub(1).min(16)).min(PUT_OFF_SECS_MAX)
}

//! Deletes a message in exchange for the proofs that nothing in it is left to do; gives the others back.

use std::sync::Arc;

use tokio::sync::mpsc;
use tracing::warn;

use crate::collector::backoff::Backoff;
use crate::collector::held::Ended;
use crate::collector::shutdown::Shutdown;
use crate::notification::queue::Message;
use crate::notification::queue::Outcome;
use crate::notification::queue::Queue;
use crate::notification::queue::ReceiptHandle;

/// How often a delete is tried. After that the message comes again, and is settled without a read.
const ATTEMPTS_MAX: u32 = 4;

/// How many ended messages one request takes.
const AT_ONCE: usize = 10;

/// Ends messages until the last holder of `ended`'s sender is gone. From the stop on, what is given back is anyone's at
/// once, but not before the last poll is over (which `polling` tells by its end): it would be ours again, and a poll that
/// is cut off takes messages with it.
pub(super) async fn run<Q: Queue>(
    queue: Arc<Q>,
    name: Arc<str>,
    mut ended: mpsc::UnboundedReceiver<Ended>,
    mut polling: mpsc::Receiver<Polling>,
    shutdown: Shutdown,
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
                Ended::Settled(message, _proofs) => settled.push(message.receipt_handle),
                Ended::GivenBack(message) => back.push(message),
            }
        }
        if !settled.is_empty() {
            delete(&*queue, &name, settled).await;
        }
        if shutdown.is_requested() || !polls {
            kept.append(&mut back);
            if !polls {
                release(&*queue, std::mem::take(&mut kept)).await;
            }
        } else {
            give_back(&*queue, back).await;
        }
    }
    release(&*queue, kept).await;
}

/// Held by each receiver; nothing is ever sent.
#[derive(Clone, Debug)]
pub(super) enum Polling {}

async fn delete<Q: Queue>(queue: &Q, name: &str, mut handles: Vec<ReceiptHandle>) {
    let mut backoff = Backoff::default();
    while !handles.is_empty() {
        match queue.delete(&handles).await {
            Ok(outcomes) => {
                let failed = handles.into_iter().zip(outcomes).filter(|(_, end)| matches!(end, Outcome::Failed(_)));
                handles = failed.map(|(handle, _)| handle).collect();
            }
            Err(error) if backoff.attempts() + 1 >= ATTEMPTS_MAX => {
                warn!(queue = name, %error, messages = handles.len(), "messages were not deleted; they come again and are settled without a read");
                return;
            }
            Err(_) => {}
        }
        if handles.is_empty() || backoff.attempts() + 1 >= ATTEMPTS_MAX {
            return;
        }
        tokio::time::sleep(backoff.wait()).await;
    }
}

/// Messages that were given up come again soon, but not at once: the later the oftener they came.
async fn give_back<Q: Queue>(queue: &Q, messages: Vec<Message>) {
    for message in messages {
        let wait_secs = 5 * message.receive_count.min(60);
        // Unanswered, a message comes again when its visibility ends.
        let _ = queue.extend(&[message.receipt_handle], wait_secs).await;
    }
}

/// Messages that anyone may have at once.
async fn release<Q: Queue>(queue: &Q, messages: Vec<Message>) {
    let handles: Vec<ReceiptHandle> = messages.into_iter().map(|message| message.receipt_handle).collect();
    for some in handles.chunks(AT_ONCE) {
        // Unanswered, they come again when their visibility ends.
        let _ = queue.extend(some, 0).await;
    }
}

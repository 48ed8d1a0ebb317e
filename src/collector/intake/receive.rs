//! Receives messages from a queue, parses them, routes each change to a feed, and requests reads of the dispatcher.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, mpsc};

use crate::checkpoint::{NoFeed, Quarantine, StoreError, Unrouted};
use crate::collector::backoff::Backoff;
use crate::collector::clock::Clock;
use crate::collector::error::Error;
use crate::collector::feeds::{Feeds, Route};
use crate::collector::ids::FeedId;
use crate::collector::intake::acknowledge::Polling;
use crate::collector::intake::in_flight::{AckHandle, Ended, InFlight, InFlightMessages, Proof};
use crate::collector::intake::unrouted::reported::Reported;
use crate::collector::random::Random;
use crate::collector::report::{Reporter, limited};
use crate::collector::schedule::requests::ReadRequests;
use crate::collector::shutdown::Shutdown;
use crate::notification::parse::{BODY_BYTES_MAX, Disposition, Notice, ParseError, parse};
use crate::notification::queue::{Message, Queue, QueueError};
use crate::telemetry::health::Activity;
use crate::telemetry::metrics::Metrics;

/// How many seconds one poll waits for messages at most, and how many it takes. A poll that is cut off may take
/// messages with it, which then stay invisible for a while. The stop waits for the poll, so it is shorter than SQS's
/// longest, 20 seconds.
const POLL_SECS: u32 = 5;
const POLL_MESSAGES: usize = 10;

/// With `--once`, a queue counts as empty after this many polls in a row without a message.
const EMPTY_POLLS: u32 = 2;

/// How many bytes of a message that cannot be parsed are kept: enough for any message, so that it can be tried again.
pub(in crate::collector) const POISON_BYTES_MAX: usize = BODY_BYTES_MAX;

/// How many names of objects without a feed are stored in one transaction.
const NAMES_AT_ONCE: usize = 1000;

/// State shared by the receivers of one queue.
pub(in crate::collector) struct Intake<Q> {
    pub queue: Arc<Q>,
    pub name: Arc<str>,
    pub feeds: Arc<Feeds>,
    pub quarantine: Arc<dyn Quarantine>,
    pub clock: Clock,
    pub random: Random,
    pub metrics: Arc<Metrics>,
    pub reporter: Reporter,
    pub read_requests: ReadRequests,
    pub ended: mpsc::UnboundedSender<Ended>,
    pub in_flight: InFlightMessages,
    /// One permit for each message that may be in flight.
    pub slots: Arc<Semaphore>,
    pub poison_receives_max: u32,
    /// The SNS topics whose messages are taken. `None` takes all messages.
    pub topics: Option<Vec<String>>,
    /// How many names of objects without a feed are kept.
    pub unrouted_max: u64,
    /// What was already reported about objects without a feed.
    pub reported: Reported,
    /// How long a poll under way may take after the stop.
    pub last_poll: Duration,
    /// Dropped with the last receiver, which tells the task that gives messages back that no poll is under way.
    pub _polling: mpsc::Sender<Polling>,
    /// End when the queue is empty.
    pub once: bool,
}

/// An object without a feed, the nearest feed, and the ack handle of its change.
struct WithoutFeed {
    unrouted: Unrouted,
    nearest: Option<FeedId>,
    ack: AckHandle,
}

impl<Q: Queue> Intake<Q> {
    /// Receives and routes messages until the stop, or with `once` until the queue is empty.
    ///
    /// # Errors
    /// The store failed, or with `once` the queue could not be read.
    pub(in crate::collector) async fn run(self: Arc<Self>, shutdown: Shutdown) -> Result<(), Error> {
        let mut backoff = Backoff::new(&self.random);
        let mut empty = 0;
        let is_empty = |empty: u32| self.once && empty >= EMPTY_POLLS;
        while !shutdown.is_requested() && !is_empty(empty) {
            let slots = tokio::select! {
                biased;
                () = shutdown.requested() => return Ok(()),
                slots = self.free_slots() => slots,
            };
            let Ok(mut slots) = slots else { return Ok(()) };
            let wait_secs = if self.once { 1 } else { self.poll_secs() };
            let received = tokio::select! {
                biased;
                received = self.queue.receive(slots.num_permits(), wait_secs) => received,
                () = shutdown.requested_for(self.last_poll) => return Ok(()),
            };
            match received {
                Ok(messages) => {
                    backoff.reset();
                    self.reporter.queue_worked(&self.name, Activity::Receive);
                    empty = if messages.is_empty() { empty + 1 } else { 0 };
                    let mut without_feed = Vec::new();
                    for message in messages {
                        // One slot was taken for each message that the poll may return.
                        let Some(slot) = slots.split(1) else { continue };
                        let in_flight = InFlight::new(message, self.ended.clone(), slot);
                        self.in_flight.add(&in_flight);
                        self.take(&in_flight, &mut without_feed).await?;
                    }
                    self.remember(without_feed).await?;
                }
                Err(error) if self.once && backoff.attempts() >= 4 => return Err(error.into()),
                Err(error) => self.pause(&error, &mut backoff, &shutdown).await,
            }
        }
        Ok(())
    }

    /// Takes a slot for each message that one poll may return: waits for the first, and takes further ones that are
    /// free. Cancel-safe.
    async fn free_slots(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        let mut slots = Arc::clone(&self.slots).acquire_owned().await?;
        for _ in 1..POLL_MESSAGES {
            let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else { break };
            slots.merge(slot);
        }
        Ok(slots)
    }

    /// How many seconds a poll waits: short enough to end well before the stop would cut it off.
    fn poll_secs(&self) -> u32 {
        u32::try_from(self.last_poll.as_secs() / 2).unwrap_or(POLL_SECS).clamp(1, POLL_SECS)
    }

    async fn pause(&self, error: &QueueError, backoff: &mut Backoff, shutdown: &Shutdown) {
        let wait = backoff.wait();
        self.reporter.queue_failed(&self.name, Activity::Receive, error);
        let (reporter, queue, kind, hint) = (&self.reporter, &self.name, error.kind().word(), error.kind().advice());
        match error {
            QueueError::Unavailable { .. } => limited!(
                reporter, WARN, queue, "the queue was not read; trying again", %queue, kind, %error, hint
            ),
            QueueError::Denied { .. } | QueueError::NotFound { .. } => limited!(
                reporter, ERROR, queue, "the queue cannot be read until this is mended", %queue, kind, %error, hint
            ),
        }
        tokio::select! {
            biased;
            () = shutdown.requested() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }

    /// Routes each change of a message. A change that cannot be parsed does not stop the others, but keeps the message
    /// from being deleted. Objects without a feed are added to `without_feed`.
    async fn take(&self, in_flight: &Arc<InFlight>, without_feed: &mut Vec<WithoutFeed>) -> Result<(), StoreError> {
        let notices = match parse(&in_flight.message().body, self.topics.as_deref()) {
            Ok(notices) => notices,
            Err(error @ ParseError::Foreign { .. }) => return self.set_aside(in_flight, &error.to_string()).await,
            Err(error) => return self.poison(in_flight, &error.to_string()).await,
        };
        // The message is quarantined once, however many of its notifications cannot be parsed.
        let malformed = notices.iter().filter_map(|notice| match notice {
            Notice::Malformed(error) => Some(error),
            _ => None,
        });
        let more = malformed.clone().count().saturating_sub(1);
        if let Some(error) = malformed.clone().next() {
            let reason = if more > 0 { format!("{error}; and {more} more") } else { error.to_string() };
            self.poison(in_flight, &reason).await?;
        }
        if notices.is_empty() {
            self.count("empty");
            AckHandle::on(in_flight).settle(Proof::Ignored);
        }
        // Make all ack handles before sending the first change: else a change that is settled at once would end the
        // message.
        let acks: Vec<AckHandle> = notices.iter().map(|_| AckHandle::on(in_flight)).collect();
        for (notice, ack) in notices.into_iter().zip(acks) {
            self.send(notice, ack, without_feed).await;
        }
        Ok(())
    }

    async fn send(&self, notice: Notice, ack: AckHandle, without_feed: &mut Vec<WithoutFeed>) {
        let written = match notice {
            Notice::Written(written) => written,
            // The message was already given back or quarantined because of it.
            Notice::Malformed(_) => {
                return ack.settle(Proof::Ignored);
            }
            Notice::Ignored(disposition) => {
                self.count(word(&disposition));
                return ack.settle(Proof::Ignored);
            }
        };
        let mut change = written.change;
        if let Some(event) = &written.unknown_event {
            self.reported.event(&self.name, event, &change.object);
        }
        match self.feeds.route(&change.object) {
            Route::Feed(feed) => {
                self.count("written");
                change.object = self.feeds[feed].canonical(change.object);
                self.read_requests.send(feed, change, Some(ack)).await;
            }
            Route::Ignored => {
                self.count("ignored");
                ack.settle(Proof::Ignored);
            }
            Route::Nobody { why, nearest } => {
                self.count(match why {
                    NoFeed::Bucket => "foreign",
                    NoFeed::Prefix => "outside",
                    NoFeed::Keys => "filtered",
                });
                let feed = nearest.map_or("", |at| &*self.feeds[at].name);
                self.metrics.left_out.notifications.add([&self.name, feed, why.name()], 1);
                let unrouted = self.feeds.unrouted(change.object, &self.name, why, nearest);
                without_feed.push(WithoutFeed { unrouted, nearest, ack });
            }
        }
    }

    /// Stores the names of objects without a feed, and settles their changes. If there is no room for a name, its
    /// message is given back, and the queue's redrive policy decides what becomes of it.
    async fn remember(&self, mut without_feed: Vec<WithoutFeed>) -> Result<(), StoreError> {
        while !without_feed.is_empty() {
            let some: Vec<WithoutFeed> = without_feed.drain(..without_feed.len().min(NAMES_AT_ONCE)).collect();
            let objects = some.iter().map(|without_feed| without_feed.unrouted.clone()).collect();
            let (proofs, reason) = match self.quarantine.remember(objects, self.unrouted_max, self.clock.now_ms()).await
            {
                Ok(proofs) => {
                    self.reporter.stored();
                    (proofs, "limits.unrouted_objects_max is reached".to_owned())
                }
                Err(error @ StoreError::Full) => {
                    self.reporter.store_is_full();
                    (some.iter().map(|_| None).collect(), error.to_string())
                }
                Err(error) => return Err(error),
            };
            for (WithoutFeed { unrouted: Unrouted { object, why, .. }, nearest, ack }, proof) in
                some.into_iter().zip(proofs)
            {
                match proof {
                    Some(proof) => {
                        self.reported.unrouted(&self.name, &self.feeds, &object, why, nearest);
                        ack.settle(Proof::Remembered(proof));
                    }
                    None => {
                        self.metrics.left_out.returned.add([&self.name], 1);
                        self.reported.full(&self.name, &object, &reason);
                    }
                }
            }
        }
        Ok(())
    }

    /// Handles a message that cannot be parsed. It is reported and given back, a little longer each time, for the
    /// queue's redrive policy. Once it was received too often, it is quarantined here.
    async fn poison(&self, in_flight: &Arc<InFlight>, reason: &str) -> Result<(), StoreError> {
        let message: &Message = in_flight.message();
        let (queue, id, receives) = (&self.name, &message.id, message.receive_count);
        if receives < self.poison_receives_max {
            self.count("poison");
            limited!(
                self.reporter, WARN, queue,
                "a message cannot be understood; it is left to the queue's redrive policy, or quarantined in the end",
                %queue, message_id = %id, reason, receives, quarantined_at_receives = self.poison_receives_max
            );
            drop(AckHandle::on(in_flight));
            return Ok(());
        }
        self.set_aside(in_flight, reason).await
    }

    /// Quarantines a message, and settles it.
    async fn set_aside(&self, in_flight: &Arc<InFlight>, reason: &str) -> Result<(), StoreError> {
        let message: &Message = in_flight.message();
        self.count("poison");
        let (queue, id, receives) = (&self.name, &message.id, message.receive_count);
        let body = message.body.as_bytes();
        let body = zstd::encode_all(&body[..body.len().min(POISON_BYTES_MAX)], 3).unwrap_or_default();
        let name = self.name.to_string();
        let proof = match self.quarantine.quarantine_message(name, reason.to_owned(), body, self.clock.now_ms()).await {
            Err(StoreError::Full) if !self.once => {
                // The message is received again.
                self.reporter.store_is_full();
                drop(AckHandle::on(in_flight));
                return Ok(());
            }
            proof => proof?,
        };
        self.reporter.stored();
        limited!(
            self.reporter, ERROR, queue, "a message is quarantined",
            %queue, message_id = %id, reason, receives
        );
        self.metrics.messages_quarantined.add([&self.name], 1);
        AckHandle::on(in_flight).settle(Proof::Quarantined(proof));
        Ok(())
    }

    fn count(&self, disposition: &str) {
        self.metrics.notifications.add([&self.name, disposition], 1);
    }
}

fn word(disposition: &Disposition) -> &'static str {
    match disposition {
        Disposition::TestEvent => "test_event",
        Disposition::Removed => "removed",
        Disposition::FolderMarker => "folder_marker",
        Disposition::Other { .. } => "other_event",
    }
}

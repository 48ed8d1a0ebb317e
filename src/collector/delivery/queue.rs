//! What jobs hold of a sink: room to offer parts, and what it shows of itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::Instant;

use crate::batch::Part;
use crate::collector::delivery::tracker::Tracker;
use crate::notification::ObjectId;

/// How many parts may wait for a sink.
const OFFERS_MAX: usize = 256;

/// One part on its way to a sink, and the memory it takes.
pub(in crate::collector) struct Offer {
    pub part: Part,
    pub tracker: Tracker,
    _room: OwnedSemaphorePermit,
}

/// What a sink shows of itself.
#[derive(Clone, Default, Debug)]
pub(in crate::collector::delivery) struct Status {
    /// Since when its sink takes nothing.
    pub(in crate::collector::delivery) failing: Option<Instant>,
    /// Since when a batch is under way, and which objects it has records of.
    pub(in crate::collector::delivery) sending: Option<(Instant, Arc<BTreeSet<ObjectId>>)>,
}

/// What jobs hold of a sink.
#[derive(Clone)]
pub(in crate::collector) struct WorkerHandle {
    pub name: Arc<str>,
    offers: mpsc::Sender<Offer>,
    room: Arc<Semaphore>,
    room_bytes: u32,
    producers: Arc<Producers>,
    status: watch::Receiver<Status>,
}

/// Who may offer more.
#[derive(Default)]
pub(in crate::collector::delivery) struct Producers {
    count: AtomicUsize,
    gone: Notify,
}

impl Producers {
    pub(in crate::collector::delivery) fn are_there(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    /// Returns when the last of them has gone. Cancel-safe.
    pub(in crate::collector::delivery) async fn gone(&self) {
        self.gone.notified().await;
    }
}

/// While one exists, more may be on its way to the sink.
pub(in crate::collector) struct Producing(Arc<Producers>);

impl Drop for Producing {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.gone.notify_one();
        }
    }
}

/// The sink's own end of what its handles hold.
pub(in crate::collector::delivery) struct Inner {
    pub(in crate::collector::delivery) offers: mpsc::Receiver<Offer>,
    pub(in crate::collector::delivery) producers: Arc<Producers>,
    pub(in crate::collector::delivery) status: watch::Sender<Status>,
}

impl WorkerHandle {
    /// A handle and the sink's end of it. `room_bytes` of encoded events may wait.
    pub(in crate::collector::delivery) fn new(name: Arc<str>, room_bytes: usize) -> (Self, Inner) {
        let (sender, offers) = mpsc::channel(OFFERS_MAX);
        let (status, seen) = watch::channel(Status::default());
        let producers = Arc::new(Producers::default());
        let room_bytes = u32::try_from(room_bytes).unwrap_or(u32::MAX >> 4);
        let handle = Self {
            name,
            offers: sender,
            room: Arc::new(Semaphore::new(room_bytes as usize)),
            room_bytes,
            producers: Arc::clone(&producers),
            status: seen,
        };
        (handle, Inner { offers, producers, status })
    }

    /// Whether its last delivery failed.
    pub(in crate::collector) fn is_failing(&self) -> bool {
        self.status.borrow().failing.is_some()
    }

    /// Whether it could not do with more now: its sink fails, or has had a batch for longer than `patience`.
    pub(in crate::collector) fn is_stuck(&self, patience: Duration) -> bool {
        let status = self.status.borrow();
        status.failing.is_some() || status.sending.as_ref().is_some_and(|(since, _)| since.elapsed() > patience)
    }

    /// Whether its deliveries have failed for longer than `patience`.
    pub(in crate::collector) fn fails_for(&self, patience: Duration) -> bool {
        self.status.borrow().failing.is_some_and(|since| since.elapsed() > patience)
    }

    /// Whether it has taken nothing for longer than `patience`. Unlike a sink that is stuck, one that only just began to
    /// complete the batch from before the start is none of these.
    pub(in crate::collector) fn stands_still(&self, patience: Duration) -> bool {
        let status = self.status.borrow();
        let since = [status.failing, status.sending.as_ref().map(|(since, _)| *since)];
        since.into_iter().flatten().any(|since| since.elapsed() > patience)
    }

    /// For how long a batch has been under way, where no delivery of it has failed.
    pub(in crate::collector) fn unanswered(&self) -> Option<Duration> {
        let status = self.status.borrow();
        let sending = status.sending.as_ref().filter(|_| status.failing.is_none());
        sending.map(|(since, _)| since.elapsed())
    }

    /// Whether a batch that is sealed and not committed has records of the object: until then the sink's position in it is
    /// open.
    pub(in crate::collector) fn holds(&self, object: &ObjectId) -> bool {
        self.status.borrow().sending.as_ref().is_some_and(|(_, objects)| objects.contains(object))
    }

    /// Announces that parts will be offered.
    pub(in crate::collector) fn producing(&self) -> Producing {
        self.producers.count.fetch_add(1, Ordering::AcqRel);
        Producing(Arc::clone(&self.producers))
    }

    /// Hands a part over once the sink has room for it. Cancel-safe: a part whose future was dropped was not offered.
    /// Returns false when the sink is closed.
    pub(in crate::collector) async fn offer(&self, part: Part, tracker: &Tracker) -> bool {
        let bytes = u32::try_from(part.piece.bytes.len()).unwrap_or(u32::MAX).clamp(1, self.room_bytes);
        let Ok(room) = Arc::clone(&self.room).acquire_many_owned(bytes).await else { return false };
        let Ok(slot) = self.offers.reserve().await else { return false };
        tracker.offer();
        slot.send(Offer { part, tracker: tracker.clone(), _room: room });
        true
    }
}

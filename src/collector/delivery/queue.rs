//! A job's handle of a sink's workers: it offers parts to them, and reads their status.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::Instant;

use crate::batch::{Lane, Part, Tally};
use crate::collector::delivery::tracker::Tracker;
use crate::notification::ObjectId;
use crate::telemetry::flow::{Flow, RecordsUnderWay};

/// How many parts may wait in a lane.
const OFFERS_MAX: usize = 256;

/// One part on its way to a sink. It occupies room in the lane until dropped.
pub(in crate::collector) struct Offer {
    pub part: Part,
    pub tracker: Tracker,
    pub(in crate::collector::delivery) records: RecordsUnderWay,
    _room: OwnedSemaphorePermit,
}

/// The status of one of a sink's lanes.
#[derive(Clone, Default, Debug)]
pub(in crate::collector::delivery) struct Status {
    /// Since when the lane's deliveries have failed. `None` if the last one succeeded.
    pub(in crate::collector::delivery) failing: Option<Instant>,
    /// The batches under way, the oldest first: since when, and the objects whose records are in it.
    pub(in crate::collector::delivery) sending: Vec<(Instant, Arc<BTreeSet<ObjectId>>)>,
}

impl Status {
    fn sending_since(&self) -> Option<Instant> {
        self.sending.first().map(|(since, _)| *since)
    }
}

/// A job's handle of a sink's workers, one for each lane.
#[derive(Clone)]
pub(in crate::collector) struct WorkerHandle {
    pub name: Arc<str>,
    /// Whether messages are kept until this sink has had their objects.
    pub required: bool,
    /// Whether it is a gathering sink, for which no job waits.
    pub gathers: bool,
    lanes: Arc<[LaneHandle]>,
    flow: Flow,
    /// Set when a worker has added entries to the sink's backlog in the store.
    owed: Arc<AtomicBool>,
}

struct LaneHandle {
    offers: mpsc::Sender<Offer>,
    room: Arc<Semaphore>,
    room_bytes: u32,
    producers: Arc<Producers>,
    status: watch::Receiver<Status>,
}

/// Counts the jobs that may offer more parts.
#[derive(Default)]
pub(in crate::collector::delivery) struct Producers {
    count: AtomicUsize,
    gone: Notify,
}

impl Producers {
    pub(in crate::collector::delivery) fn are_there(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    /// Returns when the last job has ended its offers. Cancel-safe.
    pub(in crate::collector::delivery) async fn gone(&self) {
        self.gone.notified().await;
    }
}

/// Held by a job that may still offer parts to the sink.
pub(in crate::collector) struct Producing(Arc<[LaneHandle]>);

impl Drop for Producing {
    fn drop(&mut self) {
        for lane in &*self.0 {
            if lane.producers.count.fetch_sub(1, Ordering::AcqRel) == 1 {
                lane.producers.gone.notify_one();
            }
        }
    }
}

/// The worker's end of a lane's handle.
pub(in crate::collector) struct LaneEnd {
    pub(in crate::collector::delivery) offers: mpsc::Receiver<Offer>,
    pub(in crate::collector::delivery) producers: Arc<Producers>,
    pub(in crate::collector::delivery) status: watch::Sender<Status>,
    pub(in crate::collector::delivery) owed: Arc<AtomicBool>,
}

impl LaneHandle {
    fn new(room_bytes: usize, owed: Arc<AtomicBool>) -> (Self, LaneEnd) {
        let (sender, offers) = mpsc::channel(OFFERS_MAX);
        let (status, seen) = watch::channel(Status::default());
        let producers = Arc::new(Producers::default());
        let room_bytes = u32::try_from(room_bytes).unwrap_or(u32::MAX >> 4);
        let room = Arc::new(Semaphore::new(room_bytes as usize));
        let handle = Self { offers: sender, room, room_bytes, producers: Arc::clone(&producers), status: seen };
        (handle, LaneEnd { offers, producers, status, owed })
    }
}

impl WorkerHandle {
    /// A handle, and the worker's end for each of `lanes` lanes. Up to `room_bytes` of encoded events may wait in each
    /// lane.
    pub(in crate::collector) fn new(
        name: Arc<str>,
        lanes: u16,
        room_bytes: usize,
        flow: &Flow,
    ) -> (Self, Vec<LaneEnd>) {
        let owed = Arc::new(AtomicBool::new(false));
        let (lanes, ends): (Vec<LaneHandle>, Vec<LaneEnd>) =
            (0..lanes.max(1)).map(|_| LaneHandle::new(room_bytes, Arc::clone(&owed))).unzip();
        (Self { name, required: true, gathers: false, lanes: lanes.into(), flow: flow.clone(), owed }, ends)
    }

    /// Sets whether messages are kept until this sink has had their objects.
    pub(in crate::collector) fn required(self, required: bool) -> Self {
        Self { required, ..self }
    }

    /// Sets whether it is a gathering sink.
    pub(in crate::collector) fn gathering(self, gathers: bool) -> Self {
        Self { gathers, ..self }
    }

    /// Notes that entries may have been added to the sink's backlog in the store.
    pub(in crate::collector) fn owes(&self) {
        self.owed.store(true, Ordering::Release);
    }

    /// Whether a worker has added entries to the sink's backlog in the store since the last call.
    pub(in crate::collector) fn took_owed(&self) -> bool {
        self.owed.swap(false, Ordering::AcqRel)
    }

    fn since(&self, since: impl Fn(&Status) -> Option<Instant>) -> Option<Instant> {
        self.lanes.iter().filter_map(|lane| since(&lane.status.borrow())).min()
    }

    /// Whether the last delivery of some lane failed.
    pub(in crate::collector) fn is_failing(&self) -> bool {
        self.since(|status| status.failing).is_some()
    }

    /// Whether the sink fails, or has had a batch for longer than `patience`.
    pub(in crate::collector) fn is_stuck(&self, patience: Duration) -> bool {
        self.is_failing() || self.since(Status::sending_since).is_some_and(|since| since.elapsed() > patience)
    }

    /// Whether its deliveries have failed for longer than `patience`.
    pub(in crate::collector) fn fails_for(&self, patience: Duration) -> bool {
        self.since(|status| status.failing).is_some_and(|since| since.elapsed() > patience)
    }

    /// Whether some lane has delivered nothing for longer than `patience`. At start, a sink that has sealed batches to
    /// complete is stuck at once, but stands still only after `patience`.
    pub(in crate::collector) fn stands_still(&self, patience: Duration) -> bool {
        let longest = |status: &Status| status.failing.into_iter().chain(status.sending_since()).min();
        self.since(longest).is_some_and(|since| since.elapsed() > patience)
    }

    /// How long the oldest batch of a lane that does not fail has been under way.
    pub(in crate::collector) fn unanswered(&self) -> Option<Duration> {
        let sending = |status: &Status| status.sending_since().filter(|_| status.failing.is_none());
        self.since(sending).map(|since| since.elapsed())
    }

    /// Whether a sealed and uncommitted batch has records of the object. While it has, the sink's position in the
    /// object is not settled.
    pub(in crate::collector) fn holds(&self, object: &ObjectId) -> bool {
        let holds =
            |lane: &LaneHandle| lane.status.borrow().sending.iter().any(|(_, objects)| objects.contains(object));
        self.lanes.iter().any(holds)
    }

    /// Announces that parts will be offered, until the result is dropped.
    pub(in crate::collector) fn producing(&self) -> Producing {
        for lane in &*self.lanes {
            lane.producers.count.fetch_add(1, Ordering::AcqRel);
        }
        Producing(Arc::clone(&self.lanes))
    }

    /// Offers a part once its lane has room for it. Returns false if the sink is closed. Cancel-safe: if the future is
    /// dropped, the part was not offered.
    pub(in crate::collector) async fn offer(&self, part: Part, tracker: &Tracker) -> bool {
        let number = Lane::number(&part.advance.object, u16::try_from(self.lanes.len()).unwrap_or(u16::MAX));
        let Some(lane) = self.lanes.get(usize::from(number)) else { return false };
        // The records count as under way from here on, even while they wait for room.
        let records = self.flow.begin(&part.provenance.feed, &self.name, Tally::untold(&part.advance).records);
        let bytes = u32::try_from(part.piece.bytes.len()).unwrap_or(u32::MAX).clamp(1, lane.room_bytes);
        let Ok(room) = Arc::clone(&lane.room).acquire_many_owned(bytes).await else { return false };
        let Ok(slot) = lane.offers.reserve().await else { return false };
        tracker.offer();
        slot.send(Offer { part, tracker: tracker.clone(), records, _room: room });
        true
    }
}

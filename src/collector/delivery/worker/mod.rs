//! One sink's way: gathers parts into batches, seals, sends until the sink has them, commits.

mod gathering;

mod resuming;

mod waiting;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use self::gathering::Gathering;
use crate::batch::{Batch, Lane, Limits};
use crate::checkpoint::{CheckpointStore, Seal, Sealed, StoreError};
use crate::collector::backoff::Backoff;
use crate::collector::clock;
use crate::collector::delivery::queue::{Offer, Status, WorkerHandle};
use crate::collector::delivery::recovery::Unfinished;
use crate::collector::report::{Reporter, limited};
use crate::collector::shutdown::Shutdown;
use crate::notification::ObjectId;
use crate::sink::{Delivery, Receipt, Sink};
use crate::telemetry::health::{Activity, Part as HealthPart, PartKind};
use crate::telemetry::metrics::Metrics;

/// Why a sink worker ended before it was closed.
#[derive(Debug, thiserror::Error)]
pub(in crate::collector) enum WorkerError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stop came while the sink was failing; what was sealed is sent after the next start.
    #[error("stopped")]
    Stopped,
}

/// One sink's task: one batch is under way, and the next gathers meanwhile.
pub(in crate::collector) struct SinkWorker {
    sender: LaneSender,
    gathering: Gathering,
}

/// What a sink worker is made of.
pub(in crate::collector) struct Setup {
    pub lane: Lane,
    pub sink: Box<dyn Sink>,
    /// Which program, encoding and settings make the bytes.
    pub encoder: Arc<str>,
    pub limits: Limits,
    /// Bytes of encoded events that may wait for the worker: two full batches.
    pub room_bytes: usize,
    pub store: CheckpointStore,
    pub metrics: Arc<Metrics>,
    pub reporter: Reporter,
    pub shutdown: Shutdown,
    /// After the stop, how long a delivery under way is waited for.
    pub last_send: Duration,
    /// With `--once` nobody waits for space on the checkpoint store's disk.
    pub once: bool,
}

/// Brings one batch after the other to the sink, and its advances into the checkpoint store.
struct LaneSender {
    name: Arc<str>,
    lane: Lane,
    sink: Box<dyn Sink>,
    encoder: Arc<str>,
    store: CheckpointStore,
    metrics: Arc<Metrics>,
    reporter: Reporter,
    shutdown: Shutdown,
    last_send: Duration,
    once: bool,
    status: watch::Sender<Status>,
}

/// A sealed batch, and what it is made of.
struct UnderWay {
    sealed: Sealed,
    offers: Vec<Offer>,
}

impl SinkWorker {
    pub(in crate::collector) fn new(setup: Setup) -> (Self, WorkerHandle) {
        let Setup { lane, sink, encoder, limits, store, metrics, reporter, shutdown, last_send, once, .. } = setup;
        let name = Arc::clone(&lane.sink);
        let (handle, inner) = WorkerHandle::new(Arc::clone(&name), setup.room_bytes);
        let gathering = Gathering::new(limits, inner.offers, inner.producers);
        let status = inner.status;
        let sender =
            LaneSender { name, lane, sink, encoder, store, metrics, reporter, shutdown, last_send, once, status };
        (Self { sender, gathering }, handle)
    }

    /// Runs until every handle is gone and all that was offered is committed. `unfinished` are the batches that were sealed
    /// before the process last ended.
    ///
    /// # Errors
    /// The store failed, or the stop came while the sink was failing.
    pub(in crate::collector) async fn run(self, unfinished: Vec<Unfinished>) -> Result<(), WorkerError> {
        let Self { mut sender, mut gathering } = self;
        sender.status.send_modify(|status| status.failing = Some(Instant::now()));
        sender.recover(unfinished).await?;
        sender.resume(&[]).await?;
        sender.status.send_replace(Status::default());
        sender.reporter.worked(&sender.part(), Activity::Deliver);
        let mut sealed = None;
        loop {
            let under_way = match sealed.take() {
                Some(under_way) => under_way,
                None => {
                    let Some(offers) = gathering.cut().await else { return Ok(()) };
                    let Some(under_way) = sender.seal(offers).await? else { continue };
                    under_way
                }
            };
            let batch = under_way.batch();
            let receipt = tokio::select! {
                biased;
                receipt = sender.deliver(&batch) => receipt?,
                never = gathering.grow() => match never {},
            };
            drop(batch);
            sealed = match gathering.cut_by_now() {
                Some(next) => sender.commit_and_seal(under_way, &receipt, next).await?,
                None => {
                    sender.commit_alone(&under_way.sealed, &receipt).await?;
                    sender.sent_nothing_more();
                    sender.committed(under_way);
                    None
                }
            };
        }
    }
}

impl UnderWay {
    fn batch(&self) -> Batch {
        Batch::of(self.sealed.manifest(), self.offers.iter().map(|offer| &offer.part.piece))
    }
}

/// Of what was cut, what its jobs have not given up: from here on it will be sealed or overtaken.
fn taken(cut: Vec<Offer>) -> Vec<Offer> {
    cut.into_iter().filter(|offer| offer.tracker.take()).collect()
}

fn objects(offers: &[Offer]) -> HashSet<ObjectId> {
    offers.iter().map(|offer| offer.part.advance.object.clone()).collect()
}

impl LaneSender {
    /// The sink, as health knows it.
    fn part(&self) -> HealthPart {
        HealthPart::new(PartKind::Sink, &self.name)
    }

    /// Shows which objects the batch in hand holds.
    fn sending(&self, objects: HashSet<ObjectId>) {
        self.status.send_modify(|status| status.sending = Some((Instant::now(), Arc::new(objects))));
    }

    /// Shows that the next batch is being sealed too.
    fn sealing(&self, offers: &[Offer]) {
        self.status.send_modify(|status| {
            if let Some((_, held)) = &mut status.sending {
                Arc::make_mut(held).extend(objects(offers));
            }
        });
    }

    fn sent_nothing_more(&self) {
        self.status.send_modify(|status| status.sending = None);
    }

    /// Seals what was cut, as far as the store accepts it.
    async fn seal(&mut self, cut: Vec<Offer>) -> Result<Option<UnderWay>, WorkerError> {
        let offers = taken(cut);
        self.sending(objects(&offers));
        self.seal_taken(offers).await
    }

    /// A part whose object has moved on is left out, and its job reads again.
    async fn seal_taken(&mut self, mut offers: Vec<Offer>) -> Result<Option<UnderWay>, WorkerError> {
        let mut backoff = Backoff::default();
        while !offers.is_empty() {
            match self.store.seal(self.seal_of(&offers)).await {
                Ok(sealed) => {
                    self.written(&backoff);
                    offers.iter().for_each(|offer| offer.tracker.sealed());
                    return Ok(Some(UnderWay { sealed, offers }));
                }
                Err(StoreError::Overtaken { object }) => offers = self.without(offers, &object),
                Err(StoreError::Full) => self.wait_for_space(&mut backoff).await?,
                Err(error) => return Err(error.into()),
            }
        }
        self.written(&backoff);
        self.sent_nothing_more();
        Ok(None)
    }

    fn seal_of(&self, offers: &[Offer]) -> Seal {
        Seal {
            lane: self.lane.clone(),
            encoder: Arc::clone(&self.encoder),
            parts: offers.iter().map(|offer| offer.part.clone()).collect(),
            now_ms: clock::now_ms(),
        }
    }

    /// Sends a batch until the sink has it.
    async fn deliver(&mut self, batch: &Batch) -> Result<Receipt, WorkerError> {
        let mut backoff = Backoff::default();
        if let Some(receipt) = Receipt::nothing(batch) {
            return Ok(receipt);
        }
        loop {
            let sent = tokio::select! {
                biased;
                sent = self.sink.deliver(batch, clock::now_ms()) => sent,
                // What was sealed is sent after the next start.
                () = self.shutdown.requested_for(self.last_send) => return Err(WorkerError::Stopped),
            };
            match sent {
                Ok(Delivery::Moved(moved)) => self.remember(moved).await?,
                Ok(Delivery::Taken(receipt)) => {
                    self.metrics.sink_batches.add([&self.name, "delivered"], 1);
                    self.takes_again();
                    self.reporter.worked(&self.part(), Activity::Deliver);
                    return Ok(receipt);
                }
                Err(error) => self.pause(&error, &mut backoff).await?,
            }
        }
    }

    async fn commit_alone(&mut self, sealed: &Sealed, receipt: &Receipt) -> Result<(), WorkerError> {
        let mut backoff = Backoff::default();
        loop {
            let began = Instant::now();
            match self.store.commit(sealed, receipt).await {
                Ok(_committed) => {
                    self.written(&backoff);
                    self.metrics.checkpoint_commit_seconds.observe(began.elapsed().as_secs_f64());
                    return Ok(());
                }
                Err(StoreError::Full) => self.wait_for_space(&mut backoff).await?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Commits a batch and seals the next in one write.
    async fn commit_and_seal(
        &mut self,
        done: UnderWay,
        receipt: &Receipt,
        cut: Vec<Offer>,
    ) -> Result<Option<UnderWay>, WorkerError> {
        let offers = taken(cut);
        self.sealing(&offers);
        let mut backoff = Backoff::default();
        let next = loop {
            let began = Instant::now();
            match self.store.commit_and_seal(&done.sealed, receipt, self.seal_of(&offers)).await {
                Ok((_committed, next)) => {
                    self.written(&backoff);
                    self.metrics.checkpoint_commit_seconds.observe(began.elapsed().as_secs_f64());
                    break next;
                }
                Err(StoreError::Full) => self.wait_for_space(&mut backoff).await?,
                Err(error) => return Err(error.into()),
            }
        };
        self.sending(objects(&offers));
        self.committed(done);
        match next {
            Ok(sealed) => {
                offers.iter().for_each(|offer| offer.tracker.sealed());
                Ok(Some(UnderWay { sealed, offers }))
            }
            Err(StoreError::Overtaken { object }) => {
                let offers = self.without(offers, &object);
                self.seal_taken(offers).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Tells the jobs whose parts the sink has had.
    fn committed(&self, done: UnderWay) {
        let events: usize = done.offers.iter().map(|offer| offer.part.piece.ends.len()).sum();
        self.metrics.events_sent.add([&self.name], events as u64);
        for offer in done.offers {
            offer.tracker.committed();
        }
    }

    /// Leaves out the parts of an object that has moved on; their jobs read it again.
    fn without(&self, offers: Vec<Offer>, object: &ObjectId) -> Vec<Offer> {
        let (left_out, kept): (Vec<Offer>, Vec<Offer>) =
            offers.into_iter().partition(|offer| offer.part.advance.object == *object);
        let (reporter, sink, parts) = (&self.reporter, &self.name, left_out.len());
        limited!(reporter, WARN, sink, "an object has moved on; reading it again", %sink, %object, parts);
        for offer in left_out {
            offer.tracker.overtaken();
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::task::{JoinHandle, yield_now};

    use super::*;
    use crate::batch::{Acceptance, Advance, Part};
    use crate::checkpoint::back_up;
    use crate::collector::delivery::recovery::look_up;
    use crate::collector::delivery::tracker::{Outcome, Tracker};
    use crate::collector::feeds::Feeds;
    use crate::collector::ids::SinkId;
    use crate::collector::shutdown::{self, Stop};
    use crate::delta::{Progress, RecordHash};
    use crate::event::{Class, Encoded, EventId, Head, Status as EventStatus};
    use crate::object::Version;
    use crate::sink::{Delivered, memory};
    use crate::telemetry::health::Health;

    const LIMITS: Limits = Limits { bytes: 1 << 20, events: 100, age: Duration::from_millis(200) };

    /// A worker at work, and what it works with.
    struct World {
        store: CheckpointStore,
        delivered: Delivered,
        metrics: Arc<Metrics>,
        handle: WorkerHandle,
        ended: JoinHandle<Result<(), WorkerError>>,
        _stop: Stop,
    }

    fn lane() -> Lane {
        Lane::only("out".into())
    }

    fn open(directory: &Path) -> CheckpointStore {
        CheckpointStore::open(directory, 0).unwrap()
    }

    fn start(store: CheckpointStore, delivered: &Delivered, encoder: &str) -> World {
        let (stop, halt) = shutdown::channel();
        let metrics = Arc::new(Metrics::new(0));
        let reporter = Reporter::new(&Arc::new(Health::default()), &metrics, Instant::now());
        let encoder = encoder.into();
        let (feeds, limits) = (Arc::new(Feeds(Vec::new())), crate::config::Limits::default());
        let unfinished = look_up(&store, &feeds, SinkId(0), &lane(), &encoder, &limits, &reporter, &halt).unwrap();
        let (worker, handle) = SinkWorker::new(Setup {
            lane: lane(),
            sink: memory(delivered.clone()),
            encoder,
            limits: LIMITS,
            room_bytes: 2 * LIMITS.bytes,
            store: store.clone(),
            metrics: Arc::clone(&metrics),
            reporter,
            shutdown: halt,
            last_send: Duration::from_secs(1),
            once: false,
        });
        let ended = tokio::spawn(worker.run(unfinished));
        World { store, delivered: delivered.clone(), metrics, handle, ended, _stop: stop }
    }

    fn object(key: &str) -> ObjectId {
        ObjectId::new("logs", key)
    }

    /// These records of an object, which nobody has accepted before, an event each.
    fn part(key: &str, from: u64, to: u64) -> Part {
        let mut encoded = Encoded::default();
        for place in from..to {
            encoded.bytes.extend_from_slice(format!("{key} {place}\n").as_bytes());
            encoded.ends.push(u32::try_from(encoded.bytes.len()).unwrap());
            let uid = EventId(RecordHash::of(format!("{key} {place}").as_bytes()).fingerprint().0);
            let (class, status) = (Class::ApiActivity, EventStatus::Unknown);
            encoded.heads.push(Head { uid, time_ms: 0, place, index: 0, class, status });
        }
        let fingerprints = encoded.heads.iter().map(|head| crate::delta::Fingerprint(head.uid.0)).collect();
        let acceptance = Acceptance {
            feed: "dbx".into(),
            before: from,
            after: to,
            fingerprints,
            progress: Progress { accepted: to, content_records: to, ..Progress::default() },
            refused: Vec::new(),
        };
        let version = Version { etag: "e1".into(), version_id: None, last_modified_ms: None, size_bytes: 9 };
        Part {
            advance: Advance { object: object(key), before: from, after: to },
            version: Arc::new(version),
            acceptance: Some(Arc::new(acceptance)),
            redelivers: None,
            piece: encoded.into(),
        }
    }

    /// Waits for a condition without letting the time pass.
    async fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let began = std::time::Instant::now();
        while !holds() {
            assert!(began.elapsed() < Duration::from_secs(60), "{what} did not come");
            yield_now().await;
        }
    }

    impl World {
        async fn offer(&self, part: Part) -> Tracker {
            let tracker = Tracker::default();
            assert!(self.handle.offer(part, &tracker).await);
            tracker
        }

        /// Offers a part and waits for its commit.
        async fn deliver(&self, part: Part) {
            self.offer(part).await.done().await;
        }

        /// What the sink has had of an object.
        fn cursor(&self, key: &str) -> u64 {
            self.store.position(&object(key), &["out".into()]).unwrap().cursors[0]
        }

        fn lines(&self) -> Vec<String> {
            let lines = self.delivered.lines();
            lines.into_iter().map(|line| String::from_utf8(line).unwrap().trim_end().to_owned()).collect()
        }

        /// Ends the worker as a stopped daemon does; its store is closed.
        async fn end(self) {
            drop(self.handle);
            self.ended.await.unwrap().unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_cut_when_nothing_was_offered_for_a_while_and_not_because_the_sink_is_free() {
        let directory = tempfile::tempdir().unwrap();
        let world = start(open(directory.path()), &Delivered::default(), "e");
        let _more = world.handle.producing();
        let began = Instant::now();
        let first = world.offer(part("a", 0, 2)).await;
        tokio::time::sleep(Duration::from_millis(19)).await;
        assert_eq!((first.progress(), world.delivered.batches()), ((0, 0), vec![]), "more may come");
        let second = world.offer(part("b", 0, 1)).await;
        second.done().await;
        assert!(began.elapsed() >= Duration::from_millis(39), "{:?}", began.elapsed());
        assert_eq!((first.outcome(), world.delivered.batches()), (Outcome::Committed, vec![3]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_cut_when_its_first_event_has_waited_for_its_age_or_it_is_full() {
        let directory = tempfile::tempdir().unwrap();
        let world = start(open(directory.path()), &Delivered::default(), "e");
        let _more = world.handle.producing();
        let mut last = None;
        for n in 0..25 {
            last = Some(world.offer(part(&format!("a{n}"), 0, 1)).await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        last.unwrap().done().await;
        let cut = world.delivered.batches()[0];
        assert!((20..=21).contains(&cut), "one event each 10 ms, and 200 ms: {cut}");
        let began = Instant::now();
        world.deliver(part("full", 0, 100)).await;
        assert!(began.elapsed() < Duration::from_millis(20), "nothing is waited for: {:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_grows_while_another_is_under_way_and_is_sealed_by_its_commit() {
        let directory = tempfile::tempdir().unwrap();
        let world = start(open(directory.path()), &Delivered::default(), "e");
        world.delivered.hold(true);
        let first = world.offer(part("a", 0, 1)).await;
        until("the first batch's seal", || first.progress() == (1, 0)).await;
        let before = world.store.durable_writes();
        let second = world.offer(part("b", 0, 2)).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        // It has come of age, and still grows.
        let third = world.offer(part("a", 1, 4)).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!((second.progress(), third.progress()), ((0, 0), (0, 0)), "one batch at a time");
        world.delivered.hold(false);
        third.done().await;
        assert_eq!((first.outcome(), second.outcome()), (Outcome::Committed, Outcome::Committed));
        assert_eq!(world.delivered.batches(), [1, 5]);
        assert_eq!(world.store.durable_writes() - before, 2, "the commit of each, and the seal of the second");
        assert!(!world.handle.holds(&object("a")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_whose_object_has_moved_on_is_left_out_of_the_next_batch_alone() {
        let directory = tempfile::tempdir().unwrap();
        let world = start(open(directory.path()), &Delivered::default(), "e");
        world.delivered.hold(true);
        let first = world.offer(part("a", 0, 1)).await;
        until("the first batch's seal", || first.progress() == (1, 0)).await;
        let (wrong, right) = (world.offer(part("a", 7, 8)).await, world.offer(part("b", 0, 2)).await);
        world.delivered.hold(false);
        right.done().await;
        assert_eq!((first.outcome(), wrong.outcome()), (Outcome::Committed, Outcome::Overtaken));
        assert_eq!(world.lines(), ["a 0", "b 0", "b 1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_failing_sink_was_offered_is_delivered_once_when_it_takes_events_again() {
        let directory = tempfile::tempdir().unwrap();
        let world = start(open(directory.path()), &Delivered::default(), "e");
        world.delivered.fail(true);
        let first = world.offer(part("a", 0, 2)).await;
        until("the failure", || first.progress() == (1, 0) && world.handle.is_failing()).await;
        let second = world.offer(part("a", 2, 3)).await;
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!((world.lines().len(), second.progress()), (0, (0, 0)));
        world.delivered.fail(false);
        second.done().await;
        assert!(!world.handle.is_failing());
        assert_eq!(world.lines(), ["a 0", "a 1", "a 2"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_store_is_waited_for_and_nothing_is_sent_twice() {
        let directory = tempfile::tempdir().unwrap();
        let world = start(open(directory.path()), &Delivered::default(), "e");
        world.delivered.hold(true);
        let first = world.offer(part("a", 0, 1)).await;
        until("the first batch's seal", || first.progress() == (1, 0)).await;
        // Its commit has room; the next batch's fingerprints have not.
        let second = world.offer(part("b", 0, 20_000)).await;
        world.store.limit_pages(1).await;
        world.delivered.hold(false);
        until("the full disk", || world.handle.is_failing()).await;
        assert_eq!((first.progress(), world.cursor("a")), ((1, 0), 0), "neither half of the write is there");
        world.store.limit_pages(1 << 20).await;
        second.done().await;
        assert_eq!((world.cursor("a"), world.cursor("b")), (1, 20_000));
        assert_eq!(world.delivered.batches(), [1, 20_000]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_was_taken_before_the_crash_is_committed_and_not_sent_again() {
        let directory = tempfile::tempdir().unwrap();
        let delivered = Delivered::default();
        let world = start(open(directory.path()), &delivered, "e");
        world.delivered.hold(true);
        let first = world.offer(part("a", 0, 2)).await;
        until("the seal", || first.progress() == (1, 0)).await;
        let sealed = world.store.sealed(&lane()).unwrap().remove(0);
        world.ended.abort();
        delivered.hold(false);
        let batch = Batch::of(sealed.manifest(), [&part("a", 0, 2).piece].into_iter());
        memory(delivered.clone()).deliver(&batch, 0).await.unwrap();
        let world = start(world.store, &delivered, "e");
        world.deliver(part("a", 2, 3)).await;
        assert_eq!((world.lines(), world.cursor("a")), (["a 0", "a 1", "a 2"].map(str::to_owned).to_vec(), 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_another_program_encoded_is_taken_back_and_read_anew() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path());
        let parts: Arc<[Part]> = [part("a", 0, 2)].into();
        store.seal(Seal { lane: lane(), encoder: "older".into(), parts, now_ms: 0 }).await.unwrap();
        let world = start(store, &Delivered::default(), "newer");
        world.deliver(part("a", 0, 2)).await;
        assert_eq!(world.metrics.unreproducible.get(), 1);
        assert_eq!(world.lines(), ["a 0", "a 1"]);
        assert!(world.store.sealed(&lane()).unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_sink_that_has_more_than_a_restored_store_knows_of_loses_nothing_and_repeats_under_the_same_uids() {
        let root = tempfile::tempdir().unwrap();
        let (state_dir, copy) = (root.path().join("state"), root.path().join("copy"));
        let delivered = Delivered::default();
        let world = start(open(&state_dir), &delivered, "e");
        world.deliver(part("a", 0, 1)).await;
        back_up(&state_dir, &copy).unwrap();
        world.deliver(part("a", 1, 2)).await;
        world.deliver(part("a", 2, 3)).await;
        world.end().await;
        // What is read after the copy was put back is the second batch again by its number, and holds more.
        let world = start(open(&copy), &delivered, "e");
        world.deliver(part("a", 1, 4)).await;
        assert_eq!(world.lines(), ["a 0", "a 1", "a 2", "a 1", "a 2", "a 3"]);
        let uids: Vec<EventId> = delivered.heads().iter().map(|head| head.uid).collect();
        assert_eq!(uids[1..3], uids[3..5]);
        // From there on the two agree.
        world.end().await;
        let world = start(open(&copy), &delivered, "e");
        world.deliver(part("a", 4, 5)).await;
        assert_eq!(world.lines().len(), 7);
    }
}

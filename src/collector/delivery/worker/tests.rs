//! The worker under paused time, with a receiver in memory.

use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use tokio::task::{JoinHandle, yield_now};

use super::*;
use crate::batch::{Acceptance, Advance, Batch, BatchPart, Part, Provenance, Request, RequestLimits};
use crate::checkpoint::{DiskScratch, Seal, SqliteStore, Store, back_up};
use crate::collector::budget::Budget;
use crate::collector::compute::Compute;
use crate::collector::delivery::queue::WorkerHandle;
use crate::collector::delivery::recovery::look_up;
use crate::collector::delivery::tracker::{Outcome, Tracker};
use crate::collector::feeds::Feeds;
use crate::collector::ids::SinkId;
use crate::collector::shutdown::{self, Stop};
use crate::delta::{Progress, RecordHash};
use crate::event::{Class, Encoded, EventId, Head, Severity, Status as EventStatus};
use crate::notification::ObjectId;
use crate::object::Version;
use crate::reading::Scratch;
use crate::sink::{Answer, DeliveryError, MemoryReceiver, memory};
use crate::telemetry::health::Health;

/// A receiver that outlives its sinks and knows the last batch that it has had. It can be told to refuse, or to be silent.
#[derive(Clone)]
struct Delivered {
    received: Arc<Mutex<Received>>,
    answers: watch::Sender<bool>,
}

#[derive(Default)]
struct Received {
    lines: Vec<Vec<u8>>,
    heads: Vec<Head>,
    /// How many events each batch had.
    batches: Vec<usize>,
    last: Option<Box<str>>,
    refuses: bool,
}

impl Default for Delivered {
    fn default() -> Self {
        Self { received: Arc::default(), answers: watch::Sender::new(true) }
    }
}

impl Delivered {
    fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap()
    }

    fn batches(&self) -> Vec<usize> {
        self.received().batches.clone()
    }

    fn refuse(&self, refuses: bool) {
        self.received().refuses = refuses;
    }

    fn hold(&self, holds: bool) {
        self.answers.send_replace(!holds);
    }
}

impl MemoryReceiver for Delivered {
    fn take<'a>(&'a self, batch: &'a Batch) -> Answer<'a, ()> {
        Box::pin(async move {
            self.answers.subscribe().wait_for(|answers| *answers).await.unwrap();
            let mut received = self.received();
            if received.refuses {
                return Err(DeliveryError::unavailable("refused"));
            }
            received.lines.extend(batch.lines().map(<[u8]>::to_vec));
            received.heads.extend(batch.heads().copied());
            received.batches.push(batch.events());
            received.last = Some(batch.id.clone());
            Ok(())
        })
    }

    fn last(&self) -> Answer<'_, Option<Box<str>>> {
        Box::pin(async { Ok(self.received().last.clone()) })
    }
}

const LIMITS: Limits = Limits { bytes: 1 << 20, events: 100, age: Duration::from_millis(200) };

/// A worker at work, and what it works with.
struct World {
    store: SqliteStore,
    delivered: Delivered,
    metrics: Arc<Metrics>,
    handle: WorkerHandle,
    ended: JoinHandle<Result<(), WorkerError>>,
    _stop: Stop,
}

fn lane() -> Lane {
    Lane::only("out".into())
}

fn open(directory: &Path) -> SqliteStore {
    SqliteStore::open(directory, 0).unwrap()
}

async fn start(store: SqliteStore, delivered: &Delivered, encoder: &str) -> World {
    let (stop, halt) = shutdown::channel();
    let metrics = Arc::new(Metrics::new(0));
    let reporter = Reporter::new(&Arc::new(Health::default()), &metrics, Instant::now());
    let (encoder, random) = (encoder.into(), Random::seeded(1));
    let (feeds, limits) = (Arc::new(Feeds(Vec::new())), crate::config::Limits::default());
    let (shared, scratch): (_, Arc<dyn Scratch>) = (Store::new(store.clone()), Arc::new(DiskScratch("/".into())));
    let lane = lane();
    let budget = Budget::new(0);
    let unfinished = look_up(
        &shared,
        &scratch,
        &feeds,
        SinkId(0),
        &lane,
        &encoder,
        &limits,
        Compute::InPlace,
        &budget,
        &random,
        &reporter,
        &halt,
    );
    let unfinished = unfinished.await.unwrap();
    let (handle, mut ends) = WorkerHandle::new("out".into(), 1, 2 * LIMITS.bytes);
    let setup = Setup {
        lane,
        sink: memory(delivered.clone()).into(),
        gate: Gate::new(&random),
        encoder,
        limits: LIMITS,
        flow: Flow::serial(LIMITS.bytes),
        positions: shared.positions,
        clock: Clock::of(|| 0),
        random: random.clone(),
        metrics: Arc::clone(&metrics),
        reporter,
        shutdown: halt,
        last_send: Duration::from_secs(1),
        once: false,
    };
    let worker = SinkWorker::new(setup, ends.remove(0));
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
        let severity = Severity::Informational;
        encoded.heads.push(Head { uid, time_ms: 0, place, index: 0, class, severity, status, choice: 0 });
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
    let provenance = Provenance { feed: "dbx".into(), family: "databricks", object: object(key), version };
    Part {
        advance: Advance::onward(object(key), from, to),
        provenance: Arc::new(provenance),
        acceptance: Some(Arc::new(acceptance)),
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
    async fn cursor(&self, key: &str) -> u64 {
        self.store.position(&object(key), &["out".into()]).await.unwrap().sinks[0].accepted
    }

    fn lines(&self) -> Vec<String> {
        let lines = self.delivered.received().lines.clone();
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
    let world = start(open(directory.path()), &Delivered::default(), "e").await;
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
    let world = start(open(directory.path()), &Delivered::default(), "e").await;
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
    let world = start(open(directory.path()), &Delivered::default(), "e").await;
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
    let world = start(open(directory.path()), &Delivered::default(), "e").await;
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
    let world = start(open(directory.path()), &Delivered::default(), "e").await;
    world.delivered.refuse(true);
    let first = world.offer(part("a", 0, 2)).await;
    until("the failure", || first.progress() == (1, 0) && world.handle.is_failing()).await;
    let second = world.offer(part("a", 2, 3)).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!((world.lines().len(), second.progress()), (0, (0, 0)));
    world.delivered.refuse(false);
    second.done().await;
    assert!(!world.handle.is_failing());
    assert_eq!(world.lines(), ["a 0", "a 1", "a 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_full_store_is_waited_for_and_nothing_is_sent_twice() {
    let directory = tempfile::tempdir().unwrap();
    let world = start(open(directory.path()), &Delivered::default(), "e").await;
    world.delivered.hold(true);
    let first = world.offer(part("a", 0, 1)).await;
    until("the first batch's seal", || first.progress() == (1, 0)).await;
    // Its commit has room; the next batch's fingerprints have not.
    let second = world.offer(part("b", 0, 20_000)).await;
    world.store.limit_pages(1).await;
    world.delivered.hold(false);
    until("the full disk", || world.handle.is_failing()).await;
    assert_eq!((first.progress(), world.cursor("a").await), ((1, 0), 0), "neither half of the write is there");
    world.store.limit_pages(1 << 20).await;
    second.done().await;
    assert_eq!((world.cursor("a").await, world.cursor("b").await), (1, 20_000));
    assert_eq!(world.delivered.batches(), [1, 20_000]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_was_taken_before_the_crash_is_committed_and_not_sent_again() {
    let directory = tempfile::tempdir().unwrap();
    let delivered = Delivered::default();
    let world = start(open(directory.path()), &delivered, "e").await;
    world.delivered.hold(true);
    let first = world.offer(part("a", 0, 2)).await;
    until("the seal", || first.progress() == (1, 0)).await;
    let sealed = world.store.sealed(&lane()).await.unwrap().remove(0);
    world.ended.abort();
    delivered.hold(false);
    let Part { provenance, piece, .. } = part("a", 0, 2);
    let batch = Batch::new(sealed.manifest(), [BatchPart { provenance, piece }]);
    memory(delivered.clone()).deliver(&Request::of(&batch, (0..2).into()), 0).await.unwrap();
    let world = start(world.store, &delivered, "e").await;
    world.deliver(part("a", 2, 3)).await;
    assert_eq!((world.lines(), world.cursor("a").await), (["a 0", "a 1", "a 2"].map(str::to_owned).to_vec(), 3));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_another_program_encoded_is_committed_as_not_had_and_its_records_are_delivered_out_of_the_gap() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let parts: Arc<[Part]> = [part("a", 0, 2)].into();
    let limits = RequestLimits::WHOLE;
    store.seal(Seal { lane: lane(), encoder: "older".into(), limits, parts, now_ms: 0 }).await.unwrap();
    let shared = Store::new(store.clone());
    let world = start(store, &Delivered::default(), "newer").await;
    until("the end of the older batch", || world.handle.took_owed()).await;
    assert!(shared.backlog.is_in_backlog("out", &object("a")).await.unwrap());
    let Part { advance, .. } = part("a", 0, 2);
    let advance = Advance::fill(advance.object, (0..2).into());
    world.deliver(Part { advance, acceptance: None, ..part("a", 0, 2) }).await;
    assert_eq!(world.metrics.unreproducible.get(), 1);
    assert_eq!(world.lines(), ["a 0", "a 1"]);
    assert!(world.store.sealed(&lane()).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_has_more_than_a_restored_store_knows_of_loses_nothing_and_repeats_under_the_same_uids() {
    let root = tempfile::tempdir().unwrap();
    let (state_dir, copy) = (root.path().join("state"), root.path().join("copy"));
    let delivered = Delivered::default();
    let world = start(open(&state_dir), &delivered, "e").await;
    world.deliver(part("a", 0, 1)).await;
    back_up(&state_dir, &copy).unwrap();
    world.deliver(part("a", 1, 2)).await;
    world.deliver(part("a", 2, 3)).await;
    world.end().await;
    // What is read after the copy was put back is the second batch again by its number, and holds more.
    let world = start(open(&copy), &delivered, "e").await;
    world.deliver(part("a", 1, 4)).await;
    assert_eq!(world.lines(), ["a 0", "a 1", "a 2", "a 1", "a 2", "a 3"]);
    let uids: Vec<EventId> = delivered.received().heads.iter().map(|head| head.uid).collect();
    assert_eq!(uids[1..3], uids[3..5]);
    // From there on the two agree.
    world.end().await;
    let world = start(open(&copy), &delivered, "e").await;
    world.deliver(part("a", 4, 5)).await;
    assert_eq!(world.lines().len(), 7);
}

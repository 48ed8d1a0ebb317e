//! The worker under paused time, with a receiver in memory.

use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use tokio::task::{JoinHandle, yield_now};

use super::*;
use crate::batch::{Acceptance, Advance, Batch, BatchPart, Part, Provenance, Request, RequestLimits, Selection};
use crate::checkpoint::{DiskScratch, Durability, Inspection, Quarantine, Seal, SqliteStore, Store, back_up};
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
use crate::sink::{Acknowledgement, Answer, Delivery, DeliveryError, MemoryReceiver, State, memory};
use crate::telemetry::health::Health;

/// A receiver in memory that outlives its sinks and knows the last batch that it has had. It can be set to refuse, or
/// to withhold its answers.
#[derive(Clone)]
struct Delivered {
    received: Arc<Mutex<Received>>,
    answers: watch::Sender<bool>,
}

#[derive(Default)]
struct Received {
    lines: Vec<Vec<u8>>,
    heads: Vec<Head>,
    /// How many events of each request were taken.
    batches: Vec<usize>,
    last: Option<Box<str>>,
    refuses: bool,
    /// Answers other than that all events are taken.
    answers: Option<Answers>,
    /// Its answer about a pending request. `None` if it has lost everything.
    acknowledges: Option<Acknowledges>,
}

type Acknowledges = Box<dyn FnMut(&State) -> Acknowledgement + Send>;
type Answers = Box<dyn FnMut(&Request) -> Result<Option<Delivery>, DeliveryError> + Send>;

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

    fn answer(&self, answers: impl FnMut(&Request) -> Result<Option<Delivery>, DeliveryError> + Send + 'static) {
        self.received().answers = Some(Box::new(answers));
    }

    /// Leaves each request pending, with its id as state.
    fn leave_pending(&self, acknowledges: impl FnMut(&State) -> Acknowledgement + Send + 'static) {
        self.answer(|request| Ok(Some(Delivery::Pending(State(request.id.as_bytes().into())))));
        self.received().acknowledges = Some(Box::new(acknowledges));
    }

    fn hold(&self, holds: bool) {
        self.answers.send_replace(!holds);
    }
}

impl MemoryReceiver for Delivered {
    fn take<'a>(&'a self, request: &'a Request) -> Answer<'a, Option<Delivery>> {
        Box::pin(async move {
            self.answers.subscribe().wait_for(|answers| *answers).await.unwrap();
            let mut received = self.received();
            if received.refuses {
                return Err(DeliveryError::unavailable("refused"));
            }
            let answer = received.answers.as_mut().map_or(Ok(None), |answers| answers(request))?;
            let taken: Vec<u32> = match &answer {
                None => request.events.numbers().collect(),
                Some(Delivery::Partly { taken, .. }) => taken.numbers().collect(),
                Some(Delivery::Begun(taken)) => taken.numbers().collect(),
                Some(_) => return Ok(answer),
            };
            for event in request.events().filter(|event| taken.contains(&event.number)) {
                received.lines.push(event.encoded.to_vec());
                received.heads.push(*event.head);
            }
            received.batches.push(taken.len());
            received.last = Some(request.batch.id.clone());
            Ok(answer)
        })
    }

    fn acknowledged<'a>(&'a self, pending: &'a [State]) -> Answer<'a, Vec<Acknowledgement>> {
        let answers = match &mut self.received().acknowledges {
            Some(acknowledges) => pending.iter().map(acknowledges).collect(),
            None => vec![Acknowledgement::Lost; pending.len()],
        };
        Box::pin(async { Ok(answers) })
    }

    fn last(&self) -> Answer<'_, Option<Box<str>>> {
        Box::pin(async { Ok(self.received().last.clone()) })
    }
}

const LIMITS: Limits = Limits { bytes: 1 << 20, events: 100, age: Duration::from_millis(200), gathers: false };

/// A running worker, its store and its receiver.
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
    SqliteStore::open(directory, 1 << 20).unwrap()
}

/// A store whose writes run in a task, so that paused time does not advance during a write.
fn open_apart(directory: &Path) -> SqliteStore {
    let (store, mut writing) = SqliteStore::open_apart(directory, 1 << 20, Durability::Process).unwrap();
    tokio::spawn(async move {
        while writing.asked().await {
            writing.commit().answer();
        }
    });
    store
}

async fn start(store: SqliteStore, delivered: &Delivered, encoder: &str) -> World {
    start_as(Flow::serial(LIMITS.bytes), store, delivered, encoder).await
}

async fn start_as(flow: Flow, store: SqliteStore, delivered: &Delivered, encoder: &str) -> World {
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
    let (handle, mut ends) = WorkerHandle::new("out".into(), 1, 2 * LIMITS.bytes, &metrics.flow);
    let setup = Setup {
        lane,
        sink: memory(delivered.clone()).into(),
        gate: Gate::new(&random),
        encoder,
        limits: LIMITS,
        flow,
        positions: shared.positions,
        clock: Clock::of(|| 0),
        random: random.clone(),
        metrics: Arc::clone(&metrics),
        reporter,
        reopening: halt.reopening(),
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

/// A part with new records of an object, one event each.
fn part(key: &str, from: u64, to: u64) -> Part {
    let mut encoded = Encoded { records: to - from, ..Encoded::default() };
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
        refused: Arc::new([]),
        piece: encoded.into(),
    }
}

/// Waits for a condition without advancing the paused time.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what} did not come");
        yield_now().await;
    }
}

/// Waits for a condition while the paused time advances.
async fn in_time(what: &str, mut holds: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what} did not come");
        tokio::time::sleep(Duration::from_secs(1)).await;
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

    /// The sink's cursor in an object.
    async fn cursor(&self, key: &str) -> u64 {
        self.store.position(&object(key), &["out".into()]).await.unwrap().sinks[0].accepted
    }

    fn lines(&self) -> Vec<String> {
        let lines = self.delivered.received().lines.clone();
        lines.into_iter().map(|line| String::from_utf8(line).unwrap().trim_end().to_owned()).collect()
    }

    /// Ends the worker as a stopped daemon does, and closes its store.
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
    // The second batch is old enough to be cut, and still grows.
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
    // The disk has room for the first batch's commit, but not for the next batch's fingerprints.
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
    assert_eq!(world.metrics.unreproducible_batches.value(["out"]), 1);
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
    // After the old copy is put back, the next batch has the number of the second one again, and holds more.
    let world = start(open(&copy), &delivered, "e").await;
    world.deliver(part("a", 1, 4)).await;
    assert_eq!(world.lines(), ["a 0", "a 1", "a 2", "a 1", "a 2", "a 3"]);
    let uids: Vec<EventId> = delivered.received().heads.iter().map(|head| head.uid).collect();
    assert_eq!(uids[1..3], uids[3..5]);
    // From here on store and receiver agree.
    world.end().await;
    let world = start(open(&copy), &delivered, "e").await;
    world.deliver(part("a", 4, 5)).await;
    assert_eq!(world.lines().len(), 7);
}

/// The numbers of a request's events that contain this text, and the other events.
fn split(request: &Request, text: &str) -> (Vec<u32>, Selection) {
    let (mut with, mut without) = (Vec::new(), Selection::default());
    for event in request.events() {
        match std::str::from_utf8(event.encoded).unwrap().contains(text) {
            true => with.push(event.number),
            false => without.push(event.number),
        }
    }
    (with, without)
}

/// Takes the events without this text, and refuses the others with a reason.
fn refuses(request: &Request, text: &str, reason: &str) -> Delivery {
    let (refused, taken) = split(request, text);
    Delivery::Partly { taken, refused: refused.into_iter().map(|event| (event, reason.into())).collect(), after: None }
}

impl World {
    async fn quarantined(&self) -> u64 {
        Quarantine::quarantine_size(&self.store).await.unwrap().entries("event")
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_the_receiver_refuses_is_in_quarantine_with_the_commit_and_the_others_are_taken() {
    type Answering = fn(&Request) -> Result<Option<Delivery>, DeliveryError>;
    let whole: [(Answering, &str); 3] = [
        (|request| Ok(Some(refuses(request, "a 3", "no such field"))), "no such field"),
        (
            |request| match split(request, "a 3").0.is_empty() {
                true => Ok(None),
                false => Err(DeliveryError::Refused("400".to_owned())),
            },
            "400",
        ),
        (
            |request| Ok((!split(request, "a 3").0.is_empty()).then(|| Delivery::TooLarge("413".into()))),
            "larger than the receiver takes: 413",
        ),
    ];
    for (answers, reason) in whole {
        let directory = tempfile::tempdir().unwrap();
        let world = start(open(directory.path()), &Delivered::default(), "e").await;
        world.delivered.answer(answers);
        world.deliver(part("a", 0, 7)).await;
        let mut lines = world.lines();
        lines.sort();
        assert_eq!((lines, world.cursor("a").await), ([0, 1, 2, 4, 5, 6].map(|n| format!("a {n}")).to_vec(), 7));
        assert_eq!(world.quarantined().await, 1);
        let kept = world.store.kept_events(&object("a"), &"out".into(), 3).await.unwrap();
        assert_eq!(zstd::decode_all(&kept[0].body_zstd[..]).unwrap(), b"a 3");
        let shown = Inspection::look(directory.path()).unwrap().entry(1).unwrap().unwrap();
        assert_eq!((shown.reason.as_str(), shown.uid, shown.place), (reason, Some(kept[0].head.uid), Some(3)));
        assert_eq!(world.metrics.records_quarantined.value(["dbx", "event"]), 1);
        assert!(!world.handle.is_failing());
    }
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_refuses_most_of_what_it_is_sent_quarantines_nothing_and_is_parked_until_it_takes_events() {
    let directory = tempfile::tempdir().unwrap();
    let world = start(open(directory.path()), &Delivered::default(), "e").await;
    world.delivered.answer(|request| Ok(Some(refuses(request, "", "no such index: audit"))));
    let part = world.offer(part("a", 0, 50)).await;
    until("the sink is parked", || part.progress() == (1, 0) && world.handle.is_failing()).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(world.handle.is_failing());
    assert_eq!((world.quarantined().await, world.lines().len(), part.progress()), (0, 0, (1, 0)));
    assert!(world.metrics.sink_batches.value(["out", "misconfigured"]) > 20, "it is asked again and again");
    world.delivered.answer(|request| Ok(Some(refuses(request, "a 49", "no such field"))));
    part.done().await;
    assert_eq!((world.quarantined().await, world.lines().len()), (1, 49));
    assert!(!world.handle.is_failing());
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_of_a_batch_that_is_part_of_a_storm_is_written_down() {
    let directory = tempfile::tempdir().unwrap();
    let flow = Flow { knows_repeats: false, ..Flow::serial(LIMITS.bytes) };
    let world = start_as(flow, open_apart(directory.path()), &Delivered::default(), "e").await;
    world.delivered.answer(|request| {
        let (mut taken, mut refused) = (Selection::default(), Vec::new());
        for event in request.events.numbers() {
            match event < 10 {
                true => taken.push(event),
                false => refused.push((event, "no such index".into())),
            }
        }
        Ok(Some(Delivery::Partly { taken, refused, after: None }))
    });
    let part = world.offer(part("a", 0, 50)).await;
    in_time("the sink is parked", || part.progress() == (1, 0) && world.handle.is_failing()).await;
    let sealed = world.store.sealed(&lane()).await.unwrap();
    assert_eq!(sealed[0].progress().open(&(0..10).into()).count(), 0, "a process that ended now would send them again");
}

#[tokio::test(start_paused = true)]
async fn what_a_sink_has_not_sent_yet_of_a_batch_is_its_next_request_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let world = start(open(directory.path()), &Delivered::default(), "e").await;
    world.delivered.answer(|request| {
        let first = Selection::from(request.events.first().unwrap()..request.events.first().unwrap() + 1);
        Ok((request.events.count() > 1).then_some(Delivery::Begun(first)))
    });
    let began = Instant::now();
    world.deliver(part("a", 0, 4)).await;
    assert_eq!(
        (world.delivered.batches(), world.lines()),
        (vec![1; 4], [0, 1, 2, 3].map(|n| format!("a {n}")).to_vec())
    );
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!((world.metrics.sink_retries.value(["out"]), world.cursor("a").await), (0, 4));
}

#[tokio::test(start_paused = true)]
async fn a_sink_whose_last_event_was_given_up_does_not_stand_still() {
    let directory = tempfile::tempdir().unwrap();
    let flow = Flow { request: RequestLimits { events: 9, ..Flow::serial(LIMITS.bytes).request }, ..acknowledging() };
    let delivered = Delivered::default();
    delivered.answer(|request| match split(request, "2").0[..] {
        [] => Ok(None),
        _ => Err(DeliveryError::unavailable("HTTP 500")),
    });
    let world = start_as(flow, open_apart(directory.path()), &delivered, "e").await;
    world.deliver(part("a", 0, 4)).await;
    assert_eq!(world.quarantined().await, 1);
    assert!(!world.handle.is_failing());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_neither_taken_nor_refused_is_sent_again_and_not_before_the_receiver_wants_it() {
    let directory = tempfile::tempdir().unwrap();
    let world = start(open(directory.path()), &Delivered::default(), "e").await;
    let began = Instant::now();
    world.delivered.answer(move |request| {
        let (busy, taken) = split(request, "a 2");
        let is_early = began.elapsed() < Duration::from_secs(40);
        assert!(!is_early || request.events.count() == 4, "sent again too early");
        let after = (!busy.is_empty()).then(|| Duration::from_secs(40));
        Ok(is_early.then(|| Delivery::Partly { taken, refused: Vec::new(), after }))
    });
    world.deliver(part("a", 0, 4)).await;
    assert_eq!(world.delivered.batches(), [3, 1]);
    assert_eq!((world.lines().pop().unwrap().as_str(), world.quarantined().await), ("a 2", 0));
}

#[tokio::test(start_paused = true)]
async fn what_the_receiver_has_yet_to_acknowledge_is_asked_for_and_sent_again_only_where_it_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let world = start(open(directory.path()), &Delivered::default(), "e").await;
    world.delivered.leave_pending(|_| Acknowledgement::NotYet);
    let part = world.offer(part("a", 0, 2)).await;
    until("the seal", || part.progress() == (1, 0)).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(part.progress(), (1, 0), "it is not acknowledged");
    world.delivered.leave_pending(|_| Acknowledgement::Lost);
    world.delivered.answer(|_| Ok(None));
    part.done().await;
    assert_eq!(world.delivered.batches(), [2]);
    world.delivered.leave_pending(|_| Acknowledgement::Taken);
    world.deliver(self::part("a", 2, 3)).await;
    assert_eq!((world.delivered.batches(), world.cursor("a").await), (vec![2], 3), "not sent once more");
}

/// A receiver that acknowledges later: requests of two events, four at once.
fn acknowledging() -> Flow {
    Flow {
        request: RequestLimits { bytes: 1000, events: 2, envelope_bytes: 0, fixed_bytes: 0 },
        in_flight: 4,
        window: 2,
        acknowledged_within: Duration::from_secs(300),
        knows_repeats: false,
        ..Flow::serial(LIMITS.bytes)
    }
}

impl World {
    /// Waits until the store has as many batches under way as `expected`, with these events of each acknowledged.
    async fn has_acknowledged(&self, expected: &[&[u32]]) {
        let began = std::time::Instant::now();
        loop {
            let sealed = self.store.sealed(&lane()).await.unwrap();
            let taken = |progress: &crate::sink::Progress| {
                let mut awaited = progress.clone();
                progress.awaited().iter().for_each(|state| _ = awaited.acknowledged(state, Acknowledgement::Lost));
                let open = awaited.open(&(0..4).into());
                (0..4).filter(|event| !open.numbers().any(|other| other == *event)).collect::<Vec<u32>>()
            };
            let taken: Vec<Vec<u32>> = sealed.iter().map(|sealed| taken(sealed.progress())).collect();
            if taken == expected {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{taken:?}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_receiver_acknowledges_is_written_down_since_it_may_tell_it_once() {
    let directory = tempfile::tempdir().unwrap();
    let world = start_as(acknowledging(), open_apart(directory.path()), &Delivered::default(), "e").await;
    world.delivered.leave_pending(|State(id)| match id.ends_with(b".2-3") {
        true => Acknowledgement::Taken,
        false => Acknowledgement::NotYet,
    });
    let first = world.offer(part("a", 0, 4)).await;
    until("the seal", || first.progress() == (1, 0)).await;
    world.has_acknowledged(&[&[2, 3]]).await;
    let second = world.offer(part("b", 0, 1)).await;
    let all_but_first = |State(id): &State| match id.ends_with(b".0-1") {
        true => Acknowledgement::NotYet,
        false => Acknowledgement::Taken,
    };
    world.delivered.leave_pending(all_but_first);
    until("the seal", || second.progress() == (1, 0)).await;
    world.has_acknowledged(&[&[2, 3], &[0]]).await;
    assert_eq!((first.progress(), second.progress()), ((1, 0), (1, 0)));
    world.delivered.leave_pending(|State(_)| Acknowledgement::Taken);
    first.done().await;
    second.done().await;
}

#[tokio::test(start_paused = true)]
async fn where_no_acknowledgement_ever_comes_the_sink_is_parked_and_one_request_probes() {
    let directory = tempfile::tempdir().unwrap();
    let world = start_as(acknowledging(), open_apart(directory.path()), &Delivered::default(), "e").await;
    // When each request was sent, and how often the sink had been parked by then.
    let sent: Arc<Mutex<Vec<(Instant, u64)>>> = Arc::default();
    let (times, metrics) = (Arc::clone(&sent), Arc::clone(&world.metrics));
    world.delivered.leave_pending(|_| Acknowledgement::NotYet);
    world.delivered.answer(move |request| {
        times.lock().unwrap().push((Instant::now(), metrics.sink_batches.value(["out", "misconfigured"])));
        Ok(Some(Delivery::Pending(State(request.id.as_bytes().into()))))
    });
    let times = || sent.lock().unwrap().clone();
    let part = world.offer(part("a", 0, 8)).await;
    in_time("all are sent again", || times().len() == 8).await;
    let waited = times()[4].0 - times()[3].0;
    assert!((300..=310).contains(&waited.as_secs()) && times()[7].1 == 0, "{waited:?}; it is not parked yet");
    in_time("the sink is parked", || world.handle.is_failing()).await;
    in_time("probes", || times().len() == 18).await;
    assert!(world.handle.is_failing());
    let gaps: Vec<u64> = times()[8..].windows(2).map(|pair| (pair[1].0 - pair[0].0).as_secs()).collect();
    assert!(gaps.iter().all(|gap| (260..=350).contains(gap)), "one in five minutes: {gaps:?}");
    world.delivered.received().acknowledges = Some(Box::new(|_| Acknowledgement::Taken));
    part.done().await;
    assert!(!world.handle.is_failing());
}

#[tokio::test(start_paused = true)]
async fn a_requeued_event_that_is_refused_once_more_stays_and_one_that_is_taken_leaves() {
    let directory = tempfile::tempdir().unwrap();
    let world = start(open(directory.path()), &Delivered::default(), "e").await;
    world.delivered.answer(|request| Ok(Some(refuses(request, "a 1", "no such field"))));
    world.deliver(part("a", 0, 3)).await;
    for (reason, left) in [(Some("still no such field"), 1), (None, 0)] {
        assert!(Inspection::change(directory.path()).unwrap().requeue(&[1]).unwrap().is_empty());
        world.store.open_requeued(object("a")).await.unwrap();
        match reason {
            Some(reason) => world.delivered.answer(move |request| Ok(Some(refuses(request, "a 1", reason)))),
            None => world.delivered.answer(|_| Ok(None)),
        }
        let Part { piece, provenance, .. } = part("a", 1, 2);
        let advance = Advance::fill(object("a"), (1..2).into());
        world.deliver(Part { advance, provenance, acceptance: None, refused: Arc::default(), piece }).await;
        assert_eq!(world.quarantined().await, left);
        let shown = Inspection::look(directory.path()).unwrap().entry(1).unwrap();
        assert_eq!(
            shown.map(|entry| (entry.reason, entry.is_requeued)),
            reason.map(|reason| (reason.to_owned(), false))
        );
    }
    let requeued = |outcome| world.metrics.records_requeued.value(["dbx", outcome]);
    assert_eq!((requeued("refused"), requeued("delivered")), (1, 1));
    assert_eq!(world.metrics.records_quarantined.value(["dbx", "event"]), 1);
    assert_eq!(world.lines(), ["a 0", "a 2", "a 1"]);
}

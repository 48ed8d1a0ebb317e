//! The crash matrix: for each kind of sink, the process is killed at each step between seal and settle. Nothing is
//! lost, and nothing is repeated beyond the kind's guarantee.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;

use super::kill::kills;
use super::support::aws::Aws;
use super::support::chance::Chance;
use super::support::daemon::Start;
use super::support::outage::EXPECTED;
use super::support::receivers::{KINDS, Mode, Receives, SinkKind};
use super::support::records::{counted, missing, object, record, records};
use super::support::waiting::{SOON, eventually, moment, within};
use super::support::world::{KEY, Place, World};

/// The records that a step writes, and the objects that they are spread over; each object makes a batch.
const RECORDS: u64 = 240;
const OBJECTS: u64 = 3;
/// The records of a step in which the process dies in the middle of a write.
const RECORDS_TORN: u64 = 4000;

const BATCH: &str = "encoding = { name = \"raw\", envelope = true }\nbatch = { events = 50, age = \"50ms\" }\n";

/// Where the process is killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// A batch is sealed, and the receiver refuses it.
    Sealed,
    /// The receiver has a request, or half of it, and has not answered.
    Arrived,
    /// The receiver has answered, and the checkpoint store cannot be written to.
    Answered,
    /// Everything is committed, and the object's message is delivered again.
    Committed,
}

const STEPS: [(Step, &str); 4] = [
    (Step::Sealed, "sealed, not sent"),
    (Step::Arrived, "arrived, not answered"),
    (Step::Answered, "answered, not committed"),
    (Step::Committed, "committed, message not deleted"),
];

/// How many events were lost, and how many repeats arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Outcome {
    lost: u64,
    repeated: u64,
}

/// A world with one sink of this kind.
struct Stage {
    world: World,
    receiver: Box<dyn Receives>,
    kind: &'static SinkKind,
}

impl Stage {
    /// `feeds` adds a feed to the world's configuration, `keys` are further keys of the sink.
    fn of(kind: &'static SinkKind, feeds: impl FnOnce(World) -> World, keys: &str) -> Self {
        let world = feeds(World::new());
        let receiver = (kind.open)(&world);
        let own = receiver.keys();
        let world = world.with(&format!("[sink.out]\n{own}{keys}{BATCH}"));
        Self { world: world.impatient(), receiver, kind }
    }

    fn write(&self, count: u64) {
        for at in 0..OBJECTS {
            let (from, to) = (count * at / OBJECTS, count * (at + 1) / OBJECTS);
            self.world.write(&format!("{at}.json"), &object(&records(from..to)));
        }
    }

    fn start(&self) -> Start {
        self.world.run(&[]).expecting(&EXPECTED).expecting(&["does not acknowledge them; sending them again"])
    }

    /// The `record` of each event that the receiver has.
    fn had(&self) -> Vec<String> {
        self.receiver.events().iter().map(|event| text(event, "record")).collect()
    }

    fn has_any(&self) -> bool {
        !self.receiver.events().is_empty()
    }

    /// Lets the receiver take everything, runs a process until all of `expected` has arrived, and judges what the
    /// receiver has then.
    fn heal(&mut self, expected: &[String]) -> Outcome {
        self.receiver.turn(Mode::Takes);
        let daemon = self.start().ready();
        let expected = counted(expected);
        let has_all = within(SOON, || missing(&expected, &counted(&self.had())).is_empty());
        assert!(has_all, "{}: the log ends:\n{}", self.kind.name, daemon.log.end());
        assert!(daemon.stop().success());
        let had = counted(&self.had());
        let sum = |counts: BTreeMap<String, u64>| counts.values().sum();
        let outcome = Outcome { lost: sum(missing(&expected, &had)), repeated: sum(missing(&had, &expected)) };
        self.judge(outcome);
        outcome
    }

    /// Asserts that nothing is lost, that an exactly-once kind repeats nothing, and that a repeat has the same id and
    /// bytes.
    fn judge(&self, outcome: Outcome) {
        assert_eq!(outcome.lost, 0, "{}: {outcome:?}", self.kind.name);
        assert!(outcome.repeated == 0 || !self.kind.is_once, "{}: {outcome:?}", self.kind.name);
        let events = self.receiver.events();
        let distinct: BTreeSet<&String> = events.iter().collect();
        let ids: BTreeSet<String> = events.iter().map(|event| text(event, "uid")).collect();
        let lines: BTreeSet<String> = events.iter().map(|event| text(event, "record")).collect();
        assert_eq!((distinct.len(), ids.len()), (lines.len(), lines.len()), "{}", self.kind.name);
    }
}

fn text(event: &str, member: &str) -> String {
    let event: Value = serde_json::from_str(event).unwrap();
    event[member].as_str().unwrap().to_owned()
}

/// Kills the process at this step, and lets a new process do the rest.
fn killed_at(step: Step, kind: &'static SinkKind) -> Outcome {
    match step {
        Step::Sealed => killed_sealed(kind),
        Step::Arrived => killed_arrived(kind),
        Step::Answered => killed_answered(kind),
        Step::Committed => killed_committed(kind),
    }
}

fn fed_by_directory(kind: &'static SinkKind) -> Stage {
    Stage::of(kind, |world| world.with_directory_feed(&["out"]), kind.one_by_one)
}

fn killed_sealed(kind: &'static SinkKind) -> Outcome {
    let mut stage = fed_by_directory(kind);
    stage.receiver.turn(Mode::Refuses);
    let daemon = stage.start().at_work();
    stage.write(RECORDS);
    eventually("the batch is refused", SOON, || daemon.says("a batch was not delivered") > 0);
    assert!(!stage.has_any());
    daemon.kill();
    stage.heal(&records(0..RECORDS))
}

fn killed_arrived(kind: &'static SinkKind) -> Outcome {
    let mut stage = fed_by_directory(kind);
    stage.receiver.turn(Mode::Mute);
    let torn_by = stage.receiver.torn_by();
    let count = if torn_by.is_some() { RECORDS_TORN } else { RECORDS };
    let start = torn_by.iter().fold(stage.start(), |start, limit| start.after(limit));
    let mut daemon = start.at_work();
    stage.write(count);
    eventually("something has arrived", SOON, || match torn_by {
        Some(_) => daemon.has_ended() || daemon.says("a batch was not delivered") > 0,
        None => stage.has_any(),
    });
    let is_partial = stage.had().len() < count as usize;
    assert!(stage.has_any() && (is_partial || !stage.receiver.can_wait()), "{}", kind.name);
    daemon.kill();
    stage.heal(&records(0..count))
}

fn killed_answered(kind: &'static SinkKind) -> Outcome {
    let mut stage = fed_by_directory(kind);
    let daemon = stage.start().ready();
    // With this first batch the sink makes the writes to the store that it makes only once.
    stage.world.write("first.json", &object(&records([RECORDS / OBJECTS])));
    daemon.counts("auditferry_events_sent_total", &["sink=\"out\""], 1.0);
    stage.receiver.turn(Mode::Refuses);
    // One batch only: no other is to be sealed while the store is locked.
    stage.world.write(KEY, &object(&records(0..RECORDS / OBJECTS)));
    eventually("the batch is refused", SOON, || daemon.says("a batch was not delivered") > 0);
    let (before, answers) = (stage.had().len(), stage.receiver.answers());
    let store = Connection::open(stage.world.state().join("checkpoints.sqlite")).unwrap();
    store.busy_timeout(Duration::from_secs(60)).unwrap();
    store.execute_batch("BEGIN IMMEDIATE").unwrap();
    stage.receiver.turn(Mode::Takes);
    eventually("the answer is read", SOON, || stage.receiver.answers() > answers && stage.had().len() > before);
    daemon.kill();
    drop(store);
    stage.heal(&records(0..=RECORDS / OBJECTS))
}

fn killed_committed(kind: &'static SinkKind) -> Outcome {
    let place = Place::new();
    let feed = place.feed(&Aws::emulated().url());
    let feeds = |world: World| world.with_feed(&feed, &place, &["out"]).with_queue("visibility_secs = 10");
    let mut stage = Stage::of(kind, feeds, kind.one_by_one);
    place.bucket.put(KEY, &object(&records(0..RECORDS)));
    let told = place.queue.take(1);
    place.queue.send(&told[0]);
    let daemon = stage.start().ready();
    daemon.counts("auditferry_events_sent_total", &["sink=\"out\""], RECORDS as f64);
    daemon.kill();
    // SQS delivers a message again that was not deleted in time.
    place.queue.send(&told[0]);
    let outcome = stage.heal(&records(0..RECORDS));
    let daemon = stage.start().ready();
    place.queue.drained();
    assert!(daemon.stop().success());
    outcome
}

/// Calls `what` for each kind of sink, each in a thread of its own.
fn of_each_kind<T: Send>(what: impl Fn(&'static SinkKind) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let what = &what;
        let running: Vec<_> = KINDS.iter().map(|kind| scope.spawn(move || what(kind))).collect();
        running.into_iter().map(|running| running.join().unwrap()).collect()
    })
}

#[test]
fn whichever_the_sink_a_process_that_is_killed_at_any_step_loses_nothing_and_repeats_what_the_readme_says() {
    let rows = of_each_kind(|kind| {
        let cells = STEPS.map(|(step, _)| {
            let Outcome { lost, repeated } = killed_at(step, kind);
            format!("{lost} / {repeated}")
        });
        format!("| {} | {} |", kind.name, cells.join(" | "))
    });
    let head = format!("| lost / repeated | {} |", STEPS.map(|(_, name)| name).join(" | "));
    println!("{head}\n{}", rows.join("\n"));
    let readme = std::fs::read_to_string("README.md").unwrap().replace("\n   ", "\n");
    for line in [&head].into_iter().chain(&rows) {
        assert!(readme.contains(line.as_str()), "the README says otherwise: {line}");
    }
}

#[test]
fn whichever_the_sink_a_process_that_is_killed_at_random_loses_nothing() {
    let told = of_each_kind(|kind| {
        let mut chance = Chance::of_this_run(kind.name);
        let mut stage = Stage::of(kind, |world| world.with_directory_feed(&["out"]), "");
        let (kills, mut written, mut objects) = (kills(3), 0, vec![Vec::new(); 4]);
        for _ in 0..kills {
            let mode = [Mode::Takes, Mode::Takes, Mode::Takes, Mode::Mute, Mode::Refuses][chance.below(5)];
            stage.receiver.turn(mode);
            let daemon = stage.start().spawn();
            moment(Duration::from_millis(chance.below(300) as u64));
            for _ in 0..1 + chance.below(3) {
                let (at, more) = (chance.below(objects.len()), chance.below(400) as u64);
                objects[at].extend((written..written + more).map(record));
                written += more;
                stage.world.write(&format!("{at}.json"), &object(&objects[at]));
            }
            moment(Duration::from_millis(chance.below(900) as u64));
            daemon.kill();
        }
        let outcome = stage.heal(&objects.concat());
        format!("{}: {kills} kills, {written} events: {outcome:?}", kind.name)
    });
    println!("{}", told.join("\n"));
}

//! Runs one seed: faults, then healing, then rest.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use auditferry::testing::checkpoint::{Durability, SqliteStore};
use auditferry::testing::collector::shutdown::Stop;
use auditferry::testing::config::{Config, load};
use auditferry::testing::sink::{MemoryKind, memory};

use crate::chance::Chance;
use crate::happening::{Change, Happening};
use crate::oracle;
use crate::plan::{Plan, Rates, SHELF, sink_name};
use crate::process::{self, Beside, End};
use crate::sink::Class;
use crate::tally::Tally;
use crate::world::place::Object;
use crate::world::received::Received;
use crate::world::receiver::Receiver;
use crate::world::{State, World};

/// After the healing, the world must come to rest within the first time, and rest for the second.
const HEALING_MS: u64 = 3_600_000;
const REST_MS: u64 = 600_000;

/// Coming to rest may take as much longer as messages were put off for, but at most this long.
const PUT_OFF_MS: u64 = 86_400_000;

/// How long after the first time the quarantine is requeued again.
const REQUEUE_AGAIN_MS: u64 = 120_000;

/// How often the world is checked for rest.
const LOOK_MS: u64 = 5_000;

/// How a seed ended.
pub struct Outcome {
    pub seed: u64,
    pub violations: Vec<String>,
    pub trace: String,
    pub digest: blake3::Hash,
    pub tally: Tally,
    /// The number of batches that each receiver took.
    pub batches: Vec<usize>,
    happenings: usize,
}

impl Outcome {
    pub fn is_good(&self) -> bool {
        self.violations.is_empty()
    }

    pub fn told(&self) -> String {
        let Self { seed, violations, trace, happenings, .. } = self;
        let first = violations.first().map_or("", String::as_str);
        format!("{trace}seed {seed} of {happenings} happenings: {first}\nAUDITFERRY_SEED={seed} bash tests/run.sh sim")
    }
}

/// Runs a seed, leaving out the happenings with these numbers.
pub fn run(seed: u64, without: &[usize]) -> Outcome {
    let mut plan = Plan::of(seed);
    let mut number = 0;
    plan.happenings.retain(|_| {
        number += 1;
        !without.contains(&(number - 1))
    });
    play(plan, seed)
}

/// Runs a plan. The seed decides what the plan leaves open.
pub fn play(plan: Plan, seed: u64) -> Outcome {
    let Plan { setting, happenings, ends_ms } = plan;
    let happenings = VecDeque::from(happenings);
    let count = happenings.len();
    let directory = tempfile::Builder::new().prefix("sim").tempdir_in(in_memory()).unwrap();
    let state_dir = directory.path().join("state");
    std::fs::create_dir_all(&state_dir).unwrap();
    std::fs::write(state_dir.join("checkpoints.sqlite"), template()).unwrap();
    let world = World::new(setting, directory.path().to_owned(), seed);
    let mut course = Course { happenings, ends_ms, phase: Phase::Chaos };
    let mut chance = Chance::from_seed(seed ^ 0x444f_574e);
    let mut number = 0;
    while !matches!(course.phase, Phase::Over) && world.state().violations.is_empty() {
        let is_mended = !matches!(course.phase, Phase::Chaos);
        let end = process::run(&world, config(&world, directory.path(), is_mended), seed ^ number, &mut course);
        number += 1;
        let mut state = world.state();
        let how = match end {
            End::Killed => "at a gate",
            End::Itself(Ok(())) => "when it was asked to",
            End::Itself(Err(error)) => {
                state.violate(format!("the process ended by itself: {error}"));
                "by itself"
            }
        };
        *state.tally.ends.entry(how).or_default() += 1;
        if world.holders() > 1 || state.bodies > 0 {
            state.violate("something of the process is still there".to_owned());
        }
        state.put_back();
        state.pass_ms(chance.below(60_000) as u64);
    }
    let mut state = world.state();
    state.tally.seeds = 1;
    state.tally.simulated_ms = state.now_ms();
    Outcome {
        seed,
        violations: state.violations.clone(),
        trace: state.trace(),
        digest: state.digest(),
        tally: state.tally.clone(),
        batches: state.received.iter().map(Received::batches).collect(),
        happenings: count,
    }
}

/// Leaves out happenings one by one while the seed still fails.
pub fn shrink(seed: u64) -> Outcome {
    let (mut without, mut least) = (Vec::new(), run(seed, &[]));
    for number in (0..Plan::of(seed).happenings.len()).rev() {
        without.push(number);
        let outcome = run(seed, &without);
        if outcome.is_good() {
            without.pop();
        } else {
            least = outcome;
        }
    }
    println!("left out: {without:?}");
    least
}

/// A directory in memory, if the system has one.
fn in_memory() -> &'static Path {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory } else { Path::new("/tmp") }
}

/// The configuration of the next process. The kinds of its sinks are the simulation's own.
fn config(world: &World, directory: &Path, is_mended: bool) -> Config {
    let setting = world.state().setting.clone();
    let (path, state_dir) = (directory.join("auditferry.toml"), directory.join("state"));
    let text = setting.config(&state_dir.display().to_string(), is_mended);
    std::fs::write(&path, &text).unwrap();
    let mut config = load::load(&[path], []).unwrap_or_else(|error| panic!("{error}\n{text}")).config;
    for (sink, setting) in setting.sinks.iter().enumerate() {
        let world = world.clone();
        let open_lane = move |lane| memory(Receiver { world: world.clone(), sink, lane });
        let (flow, gathers_for) = (setting.flow(), setting.gathers_for());
        let kind = MemoryKind { flow, gathers_for, open_lane: Box::new(open_lane) };
        config.sink.get_mut(&sink_name(sink)).unwrap().kind = Arc::new(kind);
    }
    config
}

/// The database of an unused store, made once.
fn template() -> &'static [u8] {
    static MADE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let directory = tempfile::tempdir_in(in_memory()).unwrap();
        drop(SqliteStore::open_apart(directory.path(), 0, Durability::Process).unwrap());
        let database = directory.path().join("checkpoints.sqlite");
        // The instance is the only random value in it.
        let named = rusqlite::Connection::open(&database).unwrap();
        named.execute("UPDATE meta SET value = '0123456789abcdef' WHERE key = 'instance'", []).unwrap();
        drop(named);
        std::fs::read(&database).unwrap()
    });
    &MADE
}

/// The course of one run: what happens until the world is healed, and whether it comes to rest after that.
struct Course {
    happenings: VecDeque<(u64, Happening)>,
    ends_ms: u64,
    phase: Phase,
}

enum Phase {
    Chaos,
    Healed(Healed),
    Over,
}

/// The time after the healing.
struct Healed {
    began_ms: u64,
    /// The start of the hour within which the world must come to rest: when the last message that was put off comes
    /// again.
    at_ms: u64,
    looked_ms: u64,
    rests_since_ms: Option<u64>,
    /// The number of the process that must run, with mended limits, before the quarantine is requeued.
    requeues_in: Option<u32>,
    /// When the quarantine is requeued again, for events that were refused before the healing and committed after it.
    requeues_again_ms: Option<u64>,
}

impl Beside for Course {
    fn next_ms(&self) -> u64 {
        match &self.phase {
            Phase::Chaos => self.happenings.front().map_or(self.ends_ms, |(at_ms, _)| *at_ms),
            Phase::Healed(healed) => healed.looked_ms + LOOK_MS,
            Phase::Over => u64::MAX >> 16,
        }
    }

    fn happen(&mut self, world: &World, stop: &Stop) {
        let mut state = world.state();
        match &mut self.phase {
            Phase::Chaos => match self.happenings.pop_front() {
                Some((_, happening)) => state.happen(&happening, stop),
                None => self.phase = Phase::Healed(state.heal(stop)),
            },
            Phase::Healed(healed) => {
                if healed.look(&mut state) {
                    self.phase = Phase::Over;
                    stop.request();
                }
            }
            Phase::Over => {}
        }
    }
}

impl Healed {
    /// Returns true once the world has rested for long enough, or has failed to come to rest.
    fn look(&mut self, state: &mut State) -> bool {
        let now_ms = state.now_ms();
        self.looked_ms = now_ms;
        if self.requeues_in.is_some_and(|process| state.process >= process) {
            self.requeues_in = None;
            state.requeue();
            self.requeues_again_ms = Some(now_ms + REQUEUE_AGAIN_MS);
        }
        if self.requeues_again_ms.is_some_and(|at_ms| now_ms >= at_ms) {
            self.requeues_again_ms = None;
            state.requeue();
        }
        if now_ms < self.began_ms + PUT_OFF_MS {
            self.at_ms = self.at_ms.max(state.put_off_until_ms());
        }
        let left = oracle::left(state);
        let is_done = left.is_none() && self.requeues_in.is_none() && self.requeues_again_ms.is_none();
        self.rests_since_ms = is_done.then(|| self.rests_since_ms.unwrap_or(now_ms).max(state.last_get_ms));
        match self.rests_since_ms {
            Some(since_ms) if now_ms >= since_ms + REST_MS => {
                state.tally.quiet_ms = since_ms.saturating_sub(self.began_ms);
                oracle::at_end(state);
                true
            }
            _ if now_ms > self.at_ms + HEALING_MS => {
                state.tally.lost = oracle::lost(state);
                let left = left.unwrap_or_else(|| "objects are read again and again".to_owned());
                state.violate(format!("an hour after the healing {left}"));
                true
            }
            _ => false,
        }
    }
}

impl State {
    fn happen(&mut self, happening: &Happening, stop: &Stop) {
        self.note(happening);
        let now_ms = self.now_ms();
        match *happening {
            Happening::Write { object, ref change } => self.write(object, change),
            Happening::Archive { object } => self.archive(object),
            Happening::Thaw { object } => self.thaw(&self.setting.place_of(object)),
            Happening::Sink { sink, mode, for_ms } => {
                (self.received[sink].mode, self.received[sink].until_ms) = (mode, now_ms + for_ms);
                self.tally.fault(mode.word());
            }
            Happening::Restart { sink } => self.restart(sink),
            Happening::Reconfigure { sink, to } => {
                self.setting.sinks[sink] = to;
                self.kill_in = Some(0);
                self.tally.fault("sink is configured otherwise");
            }
            Happening::Place { bucket, mode, for_ms } => {
                self.places.insert(bucket, (mode, now_ms + for_ms));
                self.tally.fault(mode.word());
            }
            Happening::StoreFull { for_ms } => {
                self.full_until_ms = now_ms + for_ms;
                self.tally.fault("store is full");
            }
            Happening::ClockJump { by_ms } => {
                self.jump_ms += by_ms;
                self.tally.fault("clock jumps");
            }
            Happening::Repeat { object, version } => self.tell(&self.setting.place_of(object), version),
            Happening::Forge { object, forgery } => {
                self.forge(&self.setting.place_of(object), forgery);
                self.tally.fault("message is forged");
            }
            Happening::Requeue => self.requeue(),
            Happening::Mend => self.received.iter_mut().for_each(Received::mend),
            Happening::Backup => self.back_up(),
            Happening::PutBack => self.will_put_back(),
            Happening::Kill { gates } => self.kill_in = Some(gates),
            Happening::Stop => stop.request(),
        }
    }

    /// Ends all faults. If notifications were lost, each object is notified again. Archived objects are restored, and
    /// some damaged ones are written again. If lines were limited, the next process has no such limit. The quarantine
    /// is then requeued by that process, or now if a receiver refused events.
    fn heal(&mut self, stop: &Stop) -> Healed {
        let were_lost = self.rates.lost > 0 || self.keeping.was_put_back;
        self.rates = Rates::default();
        self.is_healed = true;
        self.kill_in = None;
        self.full_until_ms = 0;
        self.places.clear();
        self.born.clear();
        self.received.iter_mut().for_each(Received::heal);
        self.received.iter_mut().for_each(Received::mend);
        self.note("the world is healed");
        for object in 0..self.setting.objects.len() {
            let key = self.setting.place_of(object);
            self.thaw(&key);
            let is_unreadable = self.objects.get(&key).is_some_and(Object::is_unreadable);
            if is_unreadable && self.chance.below(2) == 0 {
                self.write(object, &Change::CopyInPlace);
            } else if were_lost && key.0 != SHELF && self.objects.get(&key).is_some_and(|found| found.is_there) {
                self.notify(&key);
            }
        }
        if self.setting.limits_lines {
            stop.request();
        }
        let now_ms = self.now_ms();
        let (limited, refused) =
            (self.setting.limits_lines, self.setting.sinks.iter().any(|sink| sink.class == Class::Picky));
        let requeues_in = (limited || refused).then_some(self.process + u32::from(limited));
        Healed {
            began_ms: now_ms,
            at_ms: now_ms,
            looked_ms: now_ms,
            rests_since_ms: None,
            requeues_in,
            requeues_again_ms: None,
        }
    }
}

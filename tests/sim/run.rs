//! One seed: chaos, healing, rest.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::LazyLock;

use auditferry::checkpoint::{Durability, Inspection, Selection, SqliteStore};
use auditferry::collector::shutdown::Stop;
use auditferry::config::{Config, load};

use crate::chance::Chance;
use crate::oracle;
use crate::plan::{BUCKET, Happening, Plan, Rates};
use crate::process::{self, Beside, End};
use crate::world::receiver::Received;
use crate::world::{State, World};

/// Once healed, the world comes to rest within so long, and rests for so long.
const HEALING_MS: u64 = 3_600_000;
const REST_MS: u64 = 600_000;

/// How often it is looked whether it has come to rest.
const LOOK_MS: u64 = 5_000;

/// How a seed ended.
pub struct Outcome {
    pub seed: u64,
    pub violations: Vec<String>,
    pub trace: String,
    pub digest: blake3::Hash,
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

/// Runs a seed, without the happenings of these numbers.
pub fn run(seed: u64, without: &[usize]) -> Outcome {
    let mut plan = Plan::of(seed);
    let mut number = 0;
    plan.happenings.retain(|_| {
        number += 1;
        !without.contains(&(number - 1))
    });
    play(plan, seed)
}

/// Runs a plan; the seed decides what it leaves open.
pub fn play(plan: Plan, seed: u64) -> Outcome {
    let Plan { setting, happenings, ends_ms } = plan;
    let happenings = VecDeque::from(happenings);
    let count = happenings.len();
    let directory = tempfile::Builder::new().prefix("sim").tempdir_in(memory()).unwrap();
    let config = config(&setting.config(&directory.path().join("state").display().to_string()), directory.path());
    let world = World::new(setting, seed);
    world.state().state_dir = config.state_dir.clone();
    let mut course = Course { happenings, ends_ms, phase: Phase::Chaos };
    let mut chance = Chance::from_seed(seed ^ 0x444f_574e);
    let mut number = 0;
    while !matches!(course.phase, Phase::Over) && world.state().violations.is_empty() {
        let end = process::run(&world, &config, seed ^ number, &mut course);
        number += 1;
        let mut state = world.state();
        if let End::Itself(Err(error)) = end {
            state.violate(format!("the process ended by itself: {error}"));
        }
        if world.holders() > 1 {
            state.violate("something of the process is still there".to_owned());
        }
        state.pass_ms(chance.below(60_000) as u64);
    }
    let state = world.state();
    Outcome {
        seed,
        violations: state.violations.clone(),
        trace: state.trace(),
        digest: state.digest(),
        happenings: count,
    }
}

/// Leaves happenings out as long as the seed still fails.
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

/// A directory in memory, where there is one.
fn memory() -> &'static Path {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory } else { Path::new("/tmp") }
}

fn config(text: &str, directory: &Path) -> Config {
    let path = directory.join("auditferry.toml");
    std::fs::write(&path, text).unwrap();
    let config = load::load(&[path], []).unwrap_or_else(|error| panic!("{error}\n{text}")).config;
    std::fs::create_dir(&config.state_dir).unwrap();
    std::fs::write(config.state_dir.join("checkpoints.sqlite"), template()).unwrap();
    config
}

/// A store that was never used, made once.
fn template() -> &'static [u8] {
    static MADE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let directory = tempfile::tempdir_in(memory()).unwrap();
        drop(SqliteStore::open_apart(directory.path(), 0, Durability::Process).unwrap());
        let database = directory.path().join("checkpoints.sqlite");
        // The one thing in it that chance decided.
        let named = rusqlite::Connection::open(&database).unwrap();
        named.execute("UPDATE meta SET value = '0123456789abcdef' WHERE key = 'instance'", []).unwrap();
        drop(named);
        std::fs::read(&database).unwrap()
    });
    &MADE
}

/// The course of one run: what happens until the world is healed, and whether it comes to rest then.
struct Course {
    happenings: VecDeque<(u64, Happening)>,
    ends_ms: u64,
    phase: Phase,
}

enum Phase {
    Chaos,
    /// Healed, and resting since then.
    Healed {
        at_ms: u64,
        looked_ms: u64,
        rests_since_ms: Option<u64>,
    },
    Over,
}

impl Beside for Course {
    fn next_ms(&self) -> u64 {
        match self.phase {
            Phase::Chaos => self.happenings.front().map_or(self.ends_ms, |(at_ms, _)| *at_ms),
            Phase::Healed { looked_ms, .. } => looked_ms + LOOK_MS,
            Phase::Over => u64::MAX >> 16,
        }
    }

    fn happen(&mut self, world: &World, stop: &Stop) {
        let mut state = world.state();
        let now_ms = state.now_ms();
        match &mut self.phase {
            Phase::Chaos => match self.happenings.pop_front() {
                Some((_, happening)) => state.happen(&happening, stop),
                None => {
                    state.heal();
                    // What was put off comes again when it was to.
                    let at_ms = state.messages.all.values().map(|sent| sent.visible_ms).max().unwrap_or(0);
                    self.phase = Phase::Healed { at_ms: at_ms.max(now_ms), looked_ms: now_ms, rests_since_ms: None };
                }
            },
            Phase::Healed { at_ms, looked_ms, rests_since_ms } => {
                *looked_ms = now_ms;
                let left = oracle::left(&state);
                *rests_since_ms = left.is_none().then(|| rests_since_ms.unwrap_or(now_ms).max(state.last_get_ms));
                if rests_since_ms.is_some_and(|since_ms| now_ms - since_ms >= REST_MS) {
                    oracle::at_end(&mut state);
                } else if now_ms > *at_ms + HEALING_MS {
                    let left = left.unwrap_or_else(|| "objects are read again and again".to_owned());
                    state.violate(format!("an hour after the healing {left}"));
                } else {
                    return;
                }
                self.phase = Phase::Over;
                stop.request();
            }
            Phase::Over => {}
        }
    }
}

impl State {
    fn happen(&mut self, happening: &Happening, stop: &Stop) {
        self.note(happening);
        let now_ms = self.now_ms();
        match *happening {
            Happening::Write { object, ref change } => self.write(object, change),
            Happening::Sink { sink, mode, for_ms } => {
                (self.received[sink].mode, self.received[sink].until_ms) = (mode, now_ms + for_ms);
            }
            Happening::StoreFull { for_ms } => self.full_until_ms = now_ms + for_ms,
            Happening::ClockJump { by_ms } => self.jump_ms += by_ms,
            Happening::Repeat { object, version } => self.tell(&self.setting.place_of(object), version),
            Happening::Forge { object, forgery } => self.forge(&self.setting.place_of(object), forgery),
            Happening::Kill { gates } => self.kill_in = Some(gates),
            Happening::Stop => stop.request(),
            Happening::Requeue => self.requeue(),
        }
    }

    fn requeue(&mut self) {
        self.is_requeued = true;
        self.received.iter_mut().for_each(Received::mend);
        let mut quarantine = Inspection::change(&self.state_dir).unwrap();
        let ids = quarantine.page(&Selection::default(), 0).unwrap();
        self.note(format!("{} entries are in quarantine", ids.len()));
        assert!(quarantine.requeue(&ids).unwrap().is_empty());
    }

    /// Nothing goes wrong from here on. Where notifications were lost, each object is told of once more.
    fn heal(&mut self) {
        let were_lost = self.rates.lost > 0;
        self.rates = Rates::default();
        self.kill_in = None;
        self.full_until_ms = 0;
        self.received.iter_mut().for_each(Received::heal);
        self.note("the world is healed");
        if !were_lost {
            return;
        }
        let there = self.objects.iter().filter(|((bucket, _), object)| object.is_there && *bucket == BUCKET);
        let there: Vec<_> = there.map(|(key, _)| key.clone()).collect();
        there.iter().for_each(|key| self.notify(key));
    }
}

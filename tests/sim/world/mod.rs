//! Everything outside the collector, in memory: the state of the world, and the gates that every call to it passes.

pub mod body;
pub mod content;
pub mod keeping;
pub mod place;
pub mod queue;
pub mod received;
pub mod receiver;
pub mod writer;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use auditferry::testing::checkpoint::Store;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::chance::Chance;
use crate::plan::{Rates, Setting, sink_name};
use crate::tally::Tally;
use crate::world::keeping::Keeping;
use crate::world::place::Object;
use crate::world::queue::Messages;
use crate::world::received::Received;

/// The wall clock at the beginning of a run: 1 January 2026.
const BEGINS_MS: i64 = 1_767_225_600_000;

/// The gates that a run may pass, and how many more each simulated second. A collector that passes more is spinning.
const GATES_MAX: u64 = 400_000;
const GATES_PER_SEC: u64 = 5;

/// How long a record may take from its write to each sink if only buckets of other feeds have faults. All of this time
/// is waiting that happens without faults too, such as for a batch to fill.
const DELAY_MAX_MS: u64 = 1000;

/// How many lines of the trace are kept, unless `AUDITFERRY_TRACE` says otherwise.
const TRACE_LINES: usize = 60;

/// The world. Cheap to clone.
#[derive(Clone)]
pub struct World(Arc<Mutex<State>>);

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("World")
    }
}

/// A weak reference to the world.
#[derive(Clone)]
pub struct Seen(Weak<Mutex<State>>);

impl Seen {
    /// Takes a line of the collector's log.
    pub fn logged(&self, line: &str) {
        if let Some(state) = self.0.upgrade() {
            let mut state = state.lock().unwrap();
            state.note(line);
            let field = |name: &str| line.split(name).nth(1).and_then(|rest| rest.split(' ').next());
            if line.contains("the batch that was under way cannot be made again")
                && let Some(batch) = field("batch=")
            {
                state.received.iter_mut().for_each(|received| received.is_not_had(batch));
                state.tally.fault("batch cannot be made again");
            }
            if line.contains("the sink's last batch is not known here") {
                state.ahead.retain(|sink| !line.contains(&format!("sink={}", sink_name(*sink))));
                state.tally.fault("sink is ahead, and that is told");
            }
        }
    }
}

/// The state of the world, and the violations that were found.
pub struct State {
    pub setting: Setting,
    pub chance: Chance,
    /// The current rates of faults: none once the world is healed.
    pub rates: Rates,
    pub is_healed: bool,
    pub objects: BTreeMap<(&'static str, String), Object>,
    pub messages: Messages,
    pub received: Vec<Received>,
    /// How buckets are served, and until when in milliseconds.
    pub places: BTreeMap<&'static str, (place::Mode, u64)>,
    /// The number of open bodies.
    pub bodies: usize,
    /// The time at which each line was written, for lines that must be delivered without delay.
    pub born: BTreeMap<String, u64>,
    /// Sinks that are ahead of the store, and not yet reported by the collector.
    pub ahead: BTreeSet<usize>,
    /// The operator's work on the store.
    pub keeping: Keeping,
    pub tally: Tally,
    /// The store of the running process, and the bytes that each lane of a sink may have under way, by sink.
    pub store: Option<Store>,
    pub shares: Vec<usize>,
    pub full_until_ms: u64,
    pub jump_ms: i64,
    pub last_get_ms: u64,
    pub written: u64,
    /// The number of the running process, and when it began.
    pub process: u32,
    began: Option<Instant>,
    began_ms: u64,
    ended: bool,
    /// The process ends after this many more gates.
    pub kill_in: Option<u64>,
    end: Arc<Notify>,
    /// Notified when a message arrives.
    pub arrived: Arc<Notify>,
    gates: u64,
    pub violations: Vec<String>,
    trace: VecDeque<String>,
    trace_lines: usize,
    digest: blake3::Hasher,
}

/// A call that failed at its gate.
pub struct Failed;

impl World {
    pub fn new(setting: Setting, directory: PathBuf, seed: u64) -> Self {
        let received = setting.sinks.iter().map(|sink| Received::new(sink, seed)).collect();
        Self(Arc::new(Mutex::new(State {
            rates: setting.rates,
            is_healed: false,
            setting,
            chance: Chance::from_seed(seed ^ 0x4741_5445),
            objects: BTreeMap::new(),
            messages: Messages::default(),
            received,
            places: BTreeMap::new(),
            bodies: 0,
            born: BTreeMap::new(),
            ahead: BTreeSet::new(),
            keeping: Keeping::of(directory),
            tally: Tally::default(),
            store: None,
            shares: Vec::new(),
            full_until_ms: 0,
            jump_ms: 0,
            last_get_ms: 0,
            written: 0,
            process: 0,
            began: None,
            began_ms: 0,
            ended: true,
            kill_in: None,
            end: Arc::default(),
            arrived: Arc::default(),
            gates: 0,
            violations: Vec::new(),
            trace: VecDeque::new(),
            trace_lines: crate::number("AUDITFERRY_TRACE").map_or(TRACE_LINES, |lines| lines as usize),
            digest: blake3::Hasher::new(),
        })))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// A weak reference to the world, for what may outlive it.
    pub fn seen(&self) -> Seen {
        Seen(Arc::downgrade(&self.0))
    }

    /// The number of references to the world. One while no process runs.
    pub fn holders(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// Begins a process. To be called within its runtime.
    pub fn begin(&self, store: Store, shares: Vec<usize>) {
        let mut state = self.state();
        state.shares = shares;
        state.process += 1;
        state.began = Some(Instant::now());
        state.ended = false;
        state.kill_in = None;
        state.end = Arc::default();
        state.arrived = Arc::default();
        state.messages.all.values_mut().for_each(|sent| sent.is_held = false);
        state.ahead = keeping::ahead(&state, &store);
        if !state.ahead.is_empty() && !state.keeping.was_put_back {
            state.violate("a sink has had a batch that the store does not know".to_owned());
        }
        state.store = Some(store);
        state.note("the process begins");
    }

    /// Notes the end of the process, before its runtime is dropped.
    pub fn ends(&self) {
        let mut state = self.state();
        let now_ms = state.now_ms();
        state.began_ms = now_ms;
        state.began = None;
        state.ended = true;
        state.store = None;
    }

    /// Returns once a gate has ended the process.
    pub async fn ended(&self) {
        let end = Arc::clone(&self.state().end);
        end.notified().await;
    }

    /// Passed before and after every call. Never returns once the process has ended.
    pub async fn gate(&self, call: &str) -> Result<(), Failed> {
        let Some((wait, fails)) = self.state().pass(call) else { return std::future::pending().await };
        match wait {
            Wait::No => {}
            Wait::Others => tokio::task::yield_now().await,
            Wait::For(time) => tokio::time::sleep(time).await,
        }
        let has_ended = self.state().ended;
        if has_ended {
            return std::future::pending().await;
        }
        if fails { Err(Failed) } else { Ok(()) }
    }
}

/// How long a call waits at a gate.
enum Wait {
    No,
    Others,
    For(Duration),
}

impl State {
    /// Milliseconds since the beginning.
    pub fn now_ms(&self) -> u64 {
        let since = self.began.map_or(0, |began| began.elapsed().as_millis() as u64);
        self.began_ms + since
    }

    /// Lets time pass while no process runs.
    pub fn pass_ms(&mut self, ms: u64) {
        self.began_ms += ms;
    }

    /// The time of the wall clock, in milliseconds since the epoch.
    pub fn wall_ms(&self) -> i64 {
        BEGINS_MS + self.now_ms() as i64 + self.jump_ms
    }

    pub fn note(&mut self, what: impl std::fmt::Display) {
        let now_ms = self.now_ms();
        let line = format!("{:>9}.{:03} #{} {what}", now_ms / 1000, now_ms % 1000, self.process);
        self.digest.update(line.as_bytes());
        if self.trace.len() >= self.trace_lines {
            self.trace.pop_front();
        }
        self.trace.push_back(line);
    }

    pub fn violate(&mut self, what: String) {
        self.note(format!("VIOLATION: {what}"));
        self.violations.push(what);
    }

    /// Notes the delay from a record's write to its delivery, where it must have none.
    fn delivered_late(&mut self, late_ms: u64) {
        self.tally.delay_ms = self.tally.delay_ms.max(late_ms);
        if late_ms > DELAY_MAX_MS {
            self.violate(format!("a feed waits {late_ms} ms for another that is at fault"));
        }
    }

    pub fn trace(&self) -> String {
        self.trace.iter().map(|line| format!("{line}\n")).collect()
    }

    pub fn digest(&self) -> blake3::Hash {
        self.digest.finalize()
    }

    /// True with a chance of `rate` in 1000.
    pub fn happens(&mut self, rate: usize) -> bool {
        rate > 0 && self.chance.below(1000) < rate
    }

    /// Notes a call of the collector. It is a violation while no process runs.
    pub fn is_asked(&mut self, call: &str) {
        if self.began.is_none() {
            self.violate(format!("{call} is asked for while no process runs"));
        }
    }

    /// Decides how a call passes the gate. `None` if the process has ended, or ends here.
    fn pass(&mut self, call: &str) -> Option<(Wait, bool)> {
        self.is_asked(call);
        if self.ended {
            return None;
        }
        self.gates += 1;
        if self.gates == GATES_MAX + self.now_ms() / 1000 * GATES_PER_SEC {
            self.violate(format!("the collector spins: {} calls", self.gates));
        }
        if self.kill_in == Some(0) || !self.violations.is_empty() {
            self.note(format!("the process ends at {call}"));
            self.ended = true;
            self.end.notify_one();
            return None;
        }
        self.kill_in = self.kill_in.map(|gates| gates - 1);
        Some(self.draw(call))
    }

    fn draw(&mut self, call: &str) -> (Wait, bool) {
        let Rates { fail, late, yields, .. } = self.rates;
        let wait = if self.happens(late) {
            let most_ms = [20, 500, 20_000][self.chance.below(3)];
            Wait::For(Duration::from_millis(1 + self.chance.below(most_ms) as u64))
        } else if self.happens(yields) {
            Wait::Others
        } else {
            Wait::No
        };
        let fails = self.happens(fail);
        if !matches!(wait, Wait::No | Wait::Others) {
            self.tally.fault("call is late");
        }
        if fails {
            self.tally.fault("call fails");
            self.note(format!("{call} fails"));
        }
        (wait, fails)
    }
}

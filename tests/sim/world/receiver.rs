//! Who takes what the sinks deliver: keeps every event, and notices repeats that it has no part in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use auditferry::batch::{Request, Selection};
use auditferry::sink::{Answer, Delivery, DeliveryError, MemoryReceiver};

use crate::chance::Chance;
use crate::world::{State, World};

/// After so long a sink gives up on a receiver that does not answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How well a receiver knows what it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// It knows batches by their ids, takes each once, and says which was the last.
    Exact,
    /// It takes everything that it is sent.
    AtLeastOnce,
    /// The same, but for single events that it will never take. Where something of it needs mending it refuses all events
    /// for one reason.
    Picky,
}

/// How a receiver is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Takes,
    Refuses,
    Misconfigured,
    Hangs,
    /// Takes a batch, and its reply is lost.
    LosesReplies,
}

impl Mode {
    pub fn draw(chance: &mut Chance) -> Self {
        [Self::Refuses, Self::Refuses, Self::Misconfigured, Self::Hangs, Self::LosesReplies][chance.below(5)]
    }
}

/// What one receiver has had.
pub struct Received {
    pub class: Class,
    /// By this it chooses what it refuses.
    seed: u64,
    pub mode: Mode,
    pub until_ms: u64,
    batches: Vec<Taken>,
    by_id: BTreeMap<Box<str>, usize>,
    /// In which batch each event came last.
    by_event: BTreeMap<String, usize>,
    /// Each line, and the ids that it came under.
    pub lines: BTreeMap<String, BTreeSet<String>>,
    /// The same of what it refused.
    refused: BTreeMap<String, BTreeSet<String>>,
}

/// What was taken of one request.
struct Taken {
    batch: Box<str>,
    hash: blake3::Hash,
    process: u32,
    /// The collector knows that it was taken.
    is_answered: bool,
}

impl Received {
    pub fn new(class: Class, seed: u64) -> Self {
        Self {
            class,
            seed,
            mode: Mode::Takes,
            until_ms: 0,
            batches: Vec::new(),
            by_id: BTreeMap::new(),
            by_event: BTreeMap::new(),
            lines: BTreeMap::new(),
            refused: BTreeMap::new(),
        }
    }

    pub fn heal(&mut self) {
        (self.mode, self.until_ms) = (Mode::Takes, 0);
    }

    /// How many copies of a line it has had, repeats aside. What it refuses is in quarantine, and counts.
    pub fn copies(&self, line: &str) -> u64 {
        let ids = self.lines.get(line).into_iter().chain(self.refused.get(line)).flatten();
        ids.collect::<BTreeSet<_>>().len() as u64
    }

    /// How many events it refused, and how many of them it has never taken.
    pub fn refused(&self) -> (u64, u64) {
        let ids: Vec<&String> = self.refused.values().flatten().collect();
        let never_taken = ids.iter().filter(|id| !self.by_event.contains_key(**id)).count();
        (ids.len() as u64, never_taken as u64)
    }

    /// What was wrong with events is mended.
    pub fn mend(&mut self) {
        if self.class == Class::Picky {
            self.class = Class::AtLeastOnce;
        }
    }

    /// Why it refuses an event, if it does.
    fn refuses(&self, id: &str) -> Option<&'static str> {
        let is_picked = || {
            let hash = blake3::hash(format!("{}/{id}", self.seed).as_bytes());
            hash.as_bytes()[0] < 32
        };
        match (self.class, self.mode) {
            (Class::Picky, Mode::Misconfigured) => Some("no such index"),
            (Class::Picky, _) if is_picked() => Some("no such field"),
            _ => None,
        }
    }

    /// Whether an event may come again although it was taken: nobody knows that it was.
    fn may_repeat(&self, taken: usize, process: u32) -> bool {
        let Taken { process: took, is_answered, .. } = &self.batches[taken];
        // The last batch of a process that ended may not have been committed.
        let last = self.batches.iter().rfind(|other| other.process == *took);
        let is_last = last.is_some_and(|last| last.batch == self.batches[taken].batch);
        !is_answered || *took < process && is_last
    }
}

/// The way to one receiver.
#[derive(Clone, Debug)]
pub struct Receiver {
    pub world: World,
    pub sink: usize,
}

impl State {
    fn mode_of(&mut self, sink: usize) -> Mode {
        let now_ms = self.now_ms();
        let received = &mut self.received[sink];
        if received.until_ms <= now_ms {
            received.heal();
        }
        received.mode
    }

    /// The receiver has the request now. Returns its answer, where it does not take all of it.
    fn takes(&mut self, sink: usize, request: &Request) -> Option<Delivery> {
        let process = self.process;
        let mut bytes = blake3::Hasher::new();
        request.events().for_each(|event| _ = bytes.update(event.encoded));
        let hash = bytes.finalize();
        self.note(format!("s{sink} takes request {} of {} events", request.id, request.events.count()));
        let known = self.received[sink].by_id.get(&request.id).copied();
        // What is left of a request has its id where it has its first and last event.
        let may_differ = self.received[sink].class != Class::Exact;
        if known.is_some_and(|known| !may_differ && self.received[sink].batches[known].hash != hash) {
            self.violate(format!("s{sink}: request {} comes again with other bytes", request.id));
        }
        let received = &self.received[sink];
        if known.is_some() && received.class == Class::Exact {
            return None;
        }
        let (mut taken, mut refused) = (Selection::default(), Vec::new());
        let (mut ids, mut lines, mut refused_lines) = (Vec::new(), Vec::new(), Vec::new());
        for event in request.events() {
            let id = event.head.uid.to_string();
            let decoded: serde_json::Value = serde_json::from_slice(event.encoded).unwrap();
            assert_eq!(decoded["uid"], *id, "what is in the event is what is beside it");
            let line = decoded["record"].as_str().unwrap().to_owned();
            if let Some(reason) = received.refuses(&id) {
                refused.push((event.number, reason.into()));
                refused_lines.push((line, id));
            } else {
                taken.push(event.number);
                ids.push(id);
                lines.push(line);
            }
        }
        let repeats = ids.iter().filter_map(|id| {
            let before = *received.by_event.get(id)?;
            let is_allowed = received.class != Class::Exact && received.may_repeat(before, process);
            (!is_allowed).then(|| id.clone())
        });
        let repeated: Vec<String> = repeats.collect();
        let received = &mut self.received[sink];
        let number = received.batches.len();
        received.batches.push(Taken { batch: request.batch.id.clone(), hash, process, is_answered: false });
        received.by_id.insert(request.id.clone(), number);
        for (line, id) in refused_lines {
            received.refused.entry(line).or_default().insert(id);
        }
        for (id, line) in ids.iter().zip(lines) {
            received.by_event.insert(id.clone(), number);
            received.lines.entry(line).or_default().insert(id.clone());
        }
        if !repeated.is_empty() {
            self.violate(format!("s{sink}: {} events come again, the first is {}", repeated.len(), repeated[0]));
        }
        (!refused.is_empty()).then_some(Delivery::Partly { taken, refused, after: None })
    }

    fn answered(&mut self, sink: usize, request: &Request) {
        let received = &mut self.received[sink];
        if let Some(&number) = received.by_id.get(&request.id) {
            received.batches[number].is_answered = true;
        }
    }
}

fn unavailable(reason: &str) -> DeliveryError {
    DeliveryError::unavailable(reason)
}

impl MemoryReceiver for Receiver {
    fn take<'a>(&'a self, request: &'a Request) -> Answer<'a, Option<Delivery>> {
        Box::pin(async move {
            self.world.gate("deliver").await.map_err(|_| unavailable("connection refused"))?;
            let mode = self.world.state().mode_of(self.sink);
            let is_picky = self.world.state().received[self.sink].class == Class::Picky;
            match mode {
                Mode::Refuses => return Err(unavailable("503")),
                Mode::Misconfigured if is_picky => {}
                Mode::Misconfigured => return Err(DeliveryError::Misconfigured("403".to_owned())),
                Mode::Hangs => {
                    tokio::time::sleep(TIMEOUT).await;
                    return Err(unavailable("no answer"));
                }
                Mode::Takes | Mode::LosesReplies => {}
            }
            self.world.gate("deliver's arrival").await.map_err(|_| unavailable("connection reset"))?;
            let answer = self.world.state().takes(self.sink, request);
            if mode == Mode::LosesReplies {
                return Err(unavailable("the reply was lost"));
            }
            self.world.gate("deliver's answer").await.map_err(|_| unavailable("the reply was lost"))?;
            self.world.state().answered(self.sink, request);
            Ok(answer)
        })
    }

    fn last(&self) -> Answer<'_, Option<Box<str>>> {
        Box::pin(async move {
            self.world.gate("ask the receiver").await.map_err(|_| unavailable("503"))?;
            let state = self.world.state();
            let received = &state.received[self.sink];
            Ok(received.batches.last().filter(|_| received.class == Class::Exact).map(|last| last.batch.clone()))
        })
    }
}

//! Who takes what the sinks deliver: keeps every event, and notices repeats that it has no part in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use auditferry::testing::batch::{Request, Selection};
use auditferry::testing::sink::{Answer, Delivery, DeliveryError, MemoryReceiver};

use crate::chance::Chance;
use crate::world::{State, World};

/// After so long a sink gives up on a receiver that does not answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How well a receiver knows what it has, and what it takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// It knows batches by their ids, takes each once, and says which was the last.
    Exact,
    /// It knows batches by their ids and takes each once, and does not say which was the last. Its batches gather for long.
    Objects,
    /// It takes everything that it is sent.
    AtLeastOnce,
    /// The same, but for single events that it does not take before it is mended. Where it is misconfigured, it refuses all
    /// events for one reason.
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

    pub fn word(self) -> &'static str {
        match self {
            Self::Takes => "sink takes",
            Self::Refuses => "sink refuses",
            Self::Misconfigured => "sink is misconfigured",
            Self::Hangs => "sink hangs",
            Self::LosesReplies => "sink loses replies",
        }
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

/// One request, by its batch.
struct Taken {
    id: Box<str>,
    /// Of the whole batch.
    hash: blake3::Hash,
    process: u32,
    /// The collector knows that it was taken.
    is_answered: bool,
    /// The store is a copy from before it, and knows nothing of it.
    is_forgotten: bool,
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

    /// What was wrong with single events is mended.
    pub fn mend(&mut self) {
        if self.class == Class::Picky {
            self.class = Class::AtLeastOnce;
        }
    }

    /// How many copies of a line it has had, repeats aside.
    pub fn copies(&self, line: &str) -> u64 {
        self.lines.get(line).map_or(0, |ids| ids.len() as u64)
    }

    /// How many copies of a line it has had or refused.
    pub fn answered(&self, line: &str) -> u64 {
        let ids = self.lines.get(line).into_iter().chain(self.refused.get(line)).flatten();
        ids.collect::<BTreeSet<_>>().len() as u64
    }

    /// Why it refuses an event, if it does.
    fn refuses(&self, id: &str) -> Option<&'static str> {
        let is_picked = || blake3::hash(format!("{}/{id}", self.seed).as_bytes()).as_bytes()[0] < 32;
        match (self.class, self.mode) {
            (Class::Picky, Mode::Misconfigured) => Some("no such index"),
            (Class::Picky, _) if is_picked() => Some("no such field"),
            _ => None,
        }
    }

    /// How many batches it has taken.
    pub fn batches(&self) -> usize {
        self.batches.len()
    }

    /// Whether the last batch that it knows the id of is none of these.
    pub fn is_ahead_of(&self, known: &[&str]) -> bool {
        let last = self.batches.last().filter(|_| self.class == Class::Exact);
        last.is_some_and(|last| !known.contains(&&*last.id))
    }

    /// A copy of the store is put back that was made when it had taken so many batches. The last of them may not have been
    /// committed then.
    pub fn forgotten_since(&mut self, batches: usize) {
        let last = batches.checked_sub(1).map(|last| self.batches[last].id.clone());
        let since = self.batches.iter().position(|taken| Some(&taken.id) == last.as_ref()).unwrap_or(batches);
        self.batches[since..].iter_mut().for_each(|taken| taken.is_forgotten = true);
    }

    /// Why an event may come again although it was taken, if it may: nobody knows that it was.
    fn may_repeat(&self, taken: usize, process: u32) -> Option<&'static str> {
        let Taken { process: took, is_answered, is_forgotten, .. } = &self.batches[taken];
        // The last batch of a process that ended may not have been committed.
        let last = || self.batches.iter().rfind(|other| other.process == *took);
        let is_last = || last().is_some_and(|last| last.id == self.batches[taken].id);
        match self.class {
            _ if *is_forgotten => Some("an older store was put back"),
            Class::Exact => None,
            // It could not be made again after its process had ended.
            Class::Objects => (*took < process).then_some("the batch could not be made again"),
            _ if !is_answered => Some("the reply was lost"),
            _ if *took < process && is_last() => Some("the process ended"),
            _ => None,
        }
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
        let (process, batch) = (self.process, &request.batch);
        let mut bytes = blake3::Hasher::new();
        batch.lines().for_each(|line| _ = bytes.update(line));
        let hash = bytes.finalize();
        self.note(format!("s{sink} takes request {} of {} events", request.id, request.events.count()));
        let known = self.received[sink].by_id.get(&batch.id).copied();
        if known.is_some_and(|known| self.received[sink].batches[known].hash != hash) {
            self.violate(format!("s{sink}: batch {} comes again with other bytes", batch.id));
        }
        if self.ahead.contains(&sink) {
            self.violate(format!("s{sink} is ahead of the store, and nobody was told"));
        }
        if known.is_some() && matches!(self.received[sink].class, Class::Exact | Class::Objects) {
            *self.tally.repeats.entry("recognized by the batch's id").or_default() += 1;
            return None;
        }
        let (now_ms, born) = (self.now_ms(), std::mem::take(&mut self.born));
        let (mut late_ms, mut wrong) = (0, None);
        let received = &mut self.received[sink];
        let number = received.batches.len();
        let (mut taken, mut refused) = (Selection::default(), Vec::new());
        for event in request.events() {
            let id = event.head.uid.to_string();
            let decoded: serde_json::Value = serde_json::from_slice(event.encoded).unwrap();
            assert_eq!(decoded["uid"], *id, "what is in the event is what is beside it");
            let line = decoded["record"].as_str().unwrap().to_owned();
            if let Some(reason) = received.refuses(&id) {
                refused.push((event.number, reason.into()));
                received.refused.entry(line).or_default().insert(id);
                continue;
            }
            taken.push(event.number);
            if let Some(&before) = received.by_event.get(&id) {
                match received.may_repeat(before, process) {
                    Some(why) => *self.tally.repeats.entry(why).or_default() += 1,
                    None => _ = wrong.get_or_insert_with(|| id.clone()),
                }
            }
            if let (Some(born_ms), false) = (born.get(&line), received.lines.contains_key(&line)) {
                late_ms = late_ms.max(now_ms - born_ms);
            }
            received.by_event.insert(id.clone(), number);
            received.lines.entry(line).or_default().insert(id);
            self.tally.events += 1;
        }
        let id = batch.id.clone();
        received.by_id.insert(id.clone(), number);
        received.batches.push(Taken { id, hash, process, is_answered: false, is_forgotten: false });
        self.born = born;
        if self.received[sink].class != Class::Objects {
            self.delivered_late(late_ms);
        }
        if let Some(first) = wrong {
            self.violate(format!("s{sink}: events come again, the first is {first}"));
        }
        if refused.is_empty() {
            return None;
        }
        self.tally.fault("events are refused");
        Some(Delivery::Partly { taken, refused, after: None })
    }

    fn answered(&mut self, sink: usize, request: &Request) {
        let received = &mut self.received[sink];
        if let Some(&number) = received.by_id.get(&request.batch.id) {
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
            Ok(received.batches.last().filter(|_| received.class == Class::Exact).map(|last| last.id.clone()))
        })
    }
}

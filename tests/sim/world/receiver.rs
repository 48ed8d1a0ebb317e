//! Who takes what the sinks deliver: keeps every event, and notices repeats that it has no part in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use auditferry::batch::Batch;
use auditferry::sink::{Answer, DeliveryError, MemoryReceiver};

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
    pub mode: Mode,
    pub until_ms: u64,
    batches: Vec<Taken>,
    by_id: BTreeMap<Box<str>, usize>,
    /// In which batch each event came last.
    by_event: BTreeMap<String, usize>,
    /// Each line, and the ids that it came under.
    pub lines: BTreeMap<String, BTreeSet<String>>,
}

/// One batch.
struct Taken {
    id: Box<str>,
    hash: blake3::Hash,
    process: u32,
    /// The collector knows that it was taken.
    is_answered: bool,
}

impl Received {
    pub fn new(class: Class) -> Self {
        Self {
            class,
            mode: Mode::Takes,
            until_ms: 0,
            batches: Vec::new(),
            by_id: BTreeMap::new(),
            by_event: BTreeMap::new(),
            lines: BTreeMap::new(),
        }
    }

    pub fn heal(&mut self) {
        (self.mode, self.until_ms) = (Mode::Takes, 0);
    }

    /// How many copies of a line it has had, repeats aside.
    pub fn copies(&self, line: &str) -> u64 {
        self.lines.get(line).map_or(0, |ids| ids.len() as u64)
    }

    /// Whether an event may come again although it was taken: nobody knows that it was.
    fn may_repeat(&self, taken: usize, process: u32) -> bool {
        let Taken { process: took, is_answered, .. } = &self.batches[taken];
        // The last batch of a process that ended may not have been committed.
        let is_last = self.batches.iter().rposition(|other| other.process == *took) == Some(taken);
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

    /// The receiver has the batch now.
    fn takes(&mut self, sink: usize, batch: &Batch) {
        let process = self.process;
        let mut bytes = blake3::Hasher::new();
        batch.lines().for_each(|line| _ = bytes.update(line));
        let hash = bytes.finalize();
        self.note(format!("s{sink} takes batch {} of {} events", batch.id, batch.events()));
        let known = self.received[sink].by_id.get(&batch.id).copied();
        if known.is_some_and(|known| self.received[sink].batches[known].hash != hash) {
            self.violate(format!("s{sink}: batch {} comes again with other bytes", batch.id));
        }
        let received = &self.received[sink];
        if known.is_some() && received.class == Class::Exact {
            return;
        }
        let ids: Vec<String> = batch.heads().map(|head| head.uid.to_string()).collect();
        let repeats = ids.iter().filter_map(|id| {
            let before = *received.by_event.get(id)?;
            let is_allowed = received.class == Class::AtLeastOnce && received.may_repeat(before, process);
            (!is_allowed).then(|| id.clone())
        });
        let repeated: Vec<String> = repeats.collect();
        let received = &mut self.received[sink];
        let number = received.batches.len();
        received.batches.push(Taken { id: batch.id.clone(), hash, process, is_answered: false });
        received.by_id.insert(batch.id.clone(), number);
        for (id, event) in ids.iter().zip(batch.lines()) {
            let event: serde_json::Value = serde_json::from_slice(event).unwrap();
            assert_eq!(event["uid"], **id, "what is in the event is what is beside it");
            let line = event["record"].as_str().unwrap().to_owned();
            received.by_event.insert(id.clone(), number);
            received.lines.entry(line).or_default().insert(id.clone());
        }
        if !repeated.is_empty() {
            self.violate(format!("s{sink}: {} events come again, the first is {}", repeated.len(), repeated[0]));
        }
    }

    fn answered(&mut self, sink: usize, batch: &Batch) {
        let received = &mut self.received[sink];
        if let Some(&number) = received.by_id.get(&batch.id) {
            received.batches[number].is_answered = true;
        }
    }
}

fn unavailable(reason: &str) -> DeliveryError {
    DeliveryError::unavailable(reason)
}

impl MemoryReceiver for Receiver {
    fn take<'a>(&'a self, batch: &'a Batch) -> Answer<'a, ()> {
        Box::pin(async move {
            self.world.gate("deliver").await.map_err(|_| unavailable("connection refused"))?;
            let mode = self.world.state().mode_of(self.sink);
            match mode {
                Mode::Refuses => return Err(unavailable("503")),
                Mode::Misconfigured => return Err(DeliveryError::Misconfigured("403".to_owned())),
                Mode::Hangs => {
                    tokio::time::sleep(TIMEOUT).await;
                    return Err(unavailable("no answer"));
                }
                Mode::Takes | Mode::LosesReplies => {}
            }
            self.world.gate("deliver's arrival").await.map_err(|_| unavailable("connection reset"))?;
            self.world.state().takes(self.sink, batch);
            if mode == Mode::LosesReplies {
                return Err(unavailable("the reply was lost"));
            }
            self.world.gate("deliver's answer").await.map_err(|_| unavailable("the reply was lost"))?;
            self.world.state().answered(self.sink, batch);
            Ok(())
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

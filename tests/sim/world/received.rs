//! What a receiver has had, and which repeats have an excuse.

use std::collections::{BTreeMap, BTreeSet};

use auditferry::testing::sink::Acknowledgement;

use crate::sink::{Class, SinkSetting};
use crate::world::receiver::Mode;

/// After failing for this long, a request is sent in halves, which have their own ids.
const FAILS_FOR_MS: u64 = 600_000;

/// What one receiver has had.
pub struct Received {
    pub class: Class,
    /// Decides which events the receiver refuses.
    seed: u64,
    /// How long the sink waits for an acknowledgement, in milliseconds.
    within_ms: u64,
    pub mode: Mode,
    pub until_ms: u64,
    requests: Vec<Taken>,
    /// The hash of each batch of which some request has come, and when the batch was first sent.
    batches: BTreeMap<Box<str>, blake3::Hash>,
    sent_ms: BTreeMap<Box<str>, u64>,
    /// Requests by the ids of batches or of requests by which the receiver recognizes repeats.
    by_key: BTreeMap<Box<str>, usize>,
    /// The last request with each event, unless the event was refused since.
    by_event: BTreeMap<String, usize>,
    /// The event ids under which each line came.
    pub lines: BTreeMap<String, BTreeSet<String>>,
    /// The event ids of each line that it refused.
    refused: BTreeMap<String, BTreeSet<String>>,
    /// Requests that it has yet to acknowledge, by ticket number; and how often it had restarted when it issued them.
    pending: BTreeMap<u64, usize>,
    generation: u64,
    /// All tickets ever issued, and their requests.
    tickets: BTreeMap<u64, usize>,
    /// How many answers each lane of each process was given. A lane processes each answer before it takes the next.
    answers: BTreeMap<(u32, u16), u64>,
    /// Batches that could not be rebuilt. Their events come again in others.
    not_had: BTreeSet<Box<str>>,
}

/// One request that the receiver has read.
pub struct Taken {
    pub request: Box<str>,
    pub batch: Box<str>,
    /// The hash of the request's events.
    pub hash: blake3::Hash,
    pub at_ms: u64,
    pub events: Vec<Event>,
    /// The answer by which the collector last learned what became of it.
    pub answer: Option<Answered>,
    /// When the receiver acknowledges it, unless it restarts before. `None` once the receiver has it for good.
    pub pending_until_ms: Option<u64>,
    pub told: Told,
    /// Whether the store was replaced by an older backup that does not know this request.
    pub is_forgotten: bool,
}

/// What the receiver last told the collector about a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    Taken,
    Pending,
    Lost,
}

pub struct Event {
    pub id: String,
    pub line: String,
}

/// An answer, by its number among the answers that this lane of this process was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answered {
    process: u32,
    lane: u16,
    number: u64,
}

impl Received {
    pub fn new(setting: &SinkSetting, seed: u64) -> Self {
        Self {
            class: setting.class,
            seed,
            within_ms: setting.acknowledged_within.as_millis() as u64,
            mode: Mode::Takes,
            until_ms: 0,
            requests: Vec::new(),
            batches: BTreeMap::new(),
            sent_ms: BTreeMap::new(),
            by_key: BTreeMap::new(),
            by_event: BTreeMap::new(),
            lines: BTreeMap::new(),
            refused: BTreeMap::new(),
            pending: BTreeMap::new(),
            generation: 0,
            tickets: BTreeMap::new(),
            answers: BTreeMap::new(),
            not_had: BTreeSet::new(),
        }
    }

    pub fn heal(&mut self) {
        (self.mode, self.until_ms) = (Mode::Takes, 0);
    }

    /// The receiver stops refusing single events.
    pub fn mend(&mut self) {
        if self.class == Class::Picky {
            self.class = Class::AtLeastOnce;
        }
    }

    /// How many copies of a line it has had, not counting repeats.
    pub fn copies(&self, line: &str) -> u64 {
        self.lines.get(line).map_or(0, |ids| ids.len() as u64)
    }

    /// How many copies of a line it has had or refused.
    pub fn answered(&self, line: &str) -> u64 {
        let ids = self.lines.get(line).into_iter().chain(self.refused.get(line)).flatten();
        ids.collect::<BTreeSet<_>>().len() as u64
    }

    /// Why it refuses the event. `None` if it takes it.
    pub fn refuses(&self, id: &str) -> Option<&'static str> {
        let is_picked = || blake3::hash(format!("{}/{id}", self.seed).as_bytes()).as_bytes()[0] < 32;
        match (self.class, self.mode) {
            (Class::Picky, Mode::Misconfigured) => Some("no such index"),
            (Class::Picky, _) if is_picked() => Some("no such field"),
            _ => None,
        }
    }

    /// The most events that it takes in one request.
    pub fn events_max(&self) -> u32 {
        if self.class == Class::RequestKey && self.seed.is_multiple_of(2) { 4 } else { u32::MAX }
    }

    /// The id by which it recognizes a repeat.
    fn key_of<'a>(&self, request: &'a str, batch: &'a str) -> Option<&'a str> {
        match self.class {
            Class::Exact => Some(batch),
            Class::RequestKey | Class::ObjectKey => Some(request),
            _ => None,
        }
    }

    /// `None` if it does not recognize the request; otherwise whether the request has the same bytes as before.
    pub fn recognizes(&self, request: &str, batch: &str, hash: blake3::Hash) -> Option<bool> {
        let known = self.by_key.get(self.key_of(request, batch)?)?;
        Some(self.requests[*known].hash == hash)
    }

    /// Notes that a request of a batch is sent, though it may not arrive.
    pub fn is_sent(&mut self, batch: &str, now_ms: u64) {
        self.sent_ms.entry(batch.into()).or_insert(now_ms);
    }

    /// Notes that a request of a batch has come. Returns whether the batch has the same bytes as before.
    pub fn has_come(&mut self, batch: &str, hash: blake3::Hash) -> bool {
        *self.batches.entry(batch.into()).or_insert(hash) == hash
    }

    /// Whether it drops the event, because it has it already.
    pub fn drops(&self, id: &str) -> bool {
        self.class == Class::EventId && self.by_event.contains_key(id)
    }

    /// Notes that it refuses an event, even if it took it before.
    pub fn refuse(&mut self, id: String, line: String) {
        self.by_event.remove(&id);
        self.refused.entry(line).or_default().insert(id);
    }

    /// The reason for which the event comes again. `None` if it has not come before, and an error if there is no
    /// reason.
    pub fn repeat(
        &self,
        id: &str,
        request: &str,
        batch: &str,
        process: u32,
        now_ms: u64,
    ) -> Option<Result<&'static str, ()>> {
        let taken = &self.requests[*self.by_event.get(id)?];
        let was_refused = || self.refused.values().any(|ids| ids.contains(id));
        let reason = self.reason(taken, request, batch, process, now_ms);
        // Events were sent one by one after others had been refused. What became of this one is unknown, so it is in
        // quarantine.
        let may_be_had = || !self.class.knows_repeats() && taken.answer.is_none() && was_refused();
        Some(reason.or_else(|| may_be_had().then_some("it was refused, and then its reply was lost")).ok_or(()))
    }

    fn reason(&self, taken: &Taken, request: &str, batch: &str, process: u32, now_ms: u64) -> Option<&'static str> {
        if taken.is_forgotten {
            return Some("an older store was put back");
        }
        if self.not_had.contains(&taken.batch) {
            return Some("its batch could not be made again");
        }
        if *taken.batch != *batch {
            return None;
        }
        let sent_ms = self.sent_ms.get(batch).copied().unwrap_or(now_ms);
        match self.class {
            Class::RequestKey | Class::ObjectKey => {
                // The parts of a request that failed for long have their own ids.
                let is_cut = *taken.request != *request && now_ms >= sent_ms + FAILS_FOR_MS;
                is_cut.then_some("its request was cut otherwise")
            }
            Class::Exact | Class::EventId => None,
            _ => match (taken.answer, taken.told) {
                (None, _) => Some("the reply was lost"),
                (_, Told::Lost) => Some("its acknowledgement was lost"),
                (_, Told::Pending) if now_ms >= taken.at_ms + self.within_ms => Some("it was not acknowledged in time"),
                // When a process ends, its last answer may be unknown to the store.
                (Some(answer), _) if answer.process < process && self.is_last(answer) => Some("the process ended"),
                _ => None,
            },
        }
    }

    fn is_last(&self, answer: Answered) -> bool {
        self.answers.get(&(answer.process, answer.lane)) == Some(&answer.number)
    }

    /// Notes a request that it has read. The receiver has it for good unless it acknowledges later.
    pub fn take(&mut self, taken: Taken) {
        let number = self.requests.len();
        if let Some(key) = self.key_of(&taken.request, &taken.batch) {
            self.by_key.insert(key.into(), number);
        }
        for Event { id, line } in &taken.events {
            self.by_event.insert(id.clone(), number);
            if taken.pending_until_ms.is_none() {
                self.lines.entry(line.clone()).or_default().insert(id.clone());
            }
        }
        if taken.pending_until_ms.is_some() {
            let ack = self.tickets.len() as u64;
            self.tickets.insert(ack, number);
            self.pending.insert(ack, number);
        }
        self.requests.push(taken);
    }

    /// The ticket with which the collector asks about the last request.
    pub fn ticket(&self) -> String {
        format!("{}/{}", self.generation, self.tickets.len() - 1)
    }

    /// Notes that the lane's worker is about to get the answer to a request.
    pub fn answer(&mut self, request: &str, process: u32, lane: u16) {
        let answer = self.next_answer(process, lane);
        if let Some(taken) = self.requests.iter_mut().rfind(|taken| *taken.request == *request) {
            taken.answer = Some(answer);
        }
    }

    fn next_answer(&mut self, process: u32, lane: u16) -> Answered {
        let number = self.answers.entry((process, lane)).or_default();
        *number += 1;
        Answered { process, lane, number: *number }
    }

    /// The receiver's answer about a ticket, and the index of the request if the ticket is known.
    pub fn status(&mut self, ticket: &str, now_ms: u64) -> (Acknowledgement, Option<usize>) {
        let Some((generation, ack)) = ticket.split_once('/') else { return (Acknowledgement::Lost, None) };
        let known = ack.parse().ok().and_then(|ack: u64| Some((ack, *self.tickets.get(&ack)?)));
        let Some((ack, number)) = known else { return (Acknowledgement::Lost, None) };
        if generation != self.generation.to_string() {
            // After a restart some receivers answer that the request is lost, and others never acknowledge it.
            let answer = if self.seed.is_multiple_of(3) { Acknowledgement::Lost } else { Acknowledgement::NotYet };
            return (answer, Some(number));
        }
        let is_ready = self.requests[number].pending_until_ms.is_some_and(|until_ms| until_ms <= now_ms);
        if !is_ready || self.pending.remove(&ack).is_none() {
            return (Acknowledgement::NotYet, Some(number));
        }
        self.has(number);
        (Acknowledgement::Taken, Some(number))
    }

    /// Notes that the lane's worker is about to get these answers.
    pub fn acknowledge(&mut self, answers: &[(Acknowledgement, Option<usize>)], process: u32, lane: u16) {
        let number = self.next_answer(process, lane);
        for (answer, request) in answers {
            let Some(taken) = request.map(|request| &mut self.requests[request]) else { continue };
            match answer {
                Acknowledgement::Taken => (taken.answer, taken.told) = (Some(number), Told::Taken),
                Acknowledgement::Lost => taken.told = Told::Lost,
                Acknowledgement::NotYet => {}
            }
        }
    }

    fn has(&mut self, number: usize) {
        self.requests[number].pending_until_ms = None;
        for Event { id, line } in &self.requests[number].events {
            self.lines.entry(line.clone()).or_default().insert(id.clone());
        }
    }

    /// Restarts the receiver. It keeps some of the pending requests and loses the others, and knows neither.
    pub fn restart(&mut self, mut survives: impl FnMut() -> bool) {
        self.generation += 1;
        for number in std::mem::take(&mut self.pending).into_values() {
            if survives() {
                self.has(number);
                continue;
            }
            for Event { id, .. } in &self.requests[number].events {
                if self.by_event.get(id) == Some(&number) {
                    self.by_event.remove(id);
                }
            }
        }
    }

    /// The number of batches of which it has read requests.
    pub fn batches(&self) -> usize {
        self.batches.len()
    }

    /// The number of requests that it has read.
    pub fn requests(&self) -> usize {
        self.requests.len()
    }

    /// The last batch that it has. `None` if it cannot say.
    pub fn last_batch(&self) -> Option<&str> {
        self.requests.last().filter(|_| self.class == Class::Exact).map(|last| &*last.batch)
    }

    /// Notes that a backup of the store was put back. It was made when the receiver had read `requests` requests and
    /// the batches `sealed` were sealed.
    pub fn forgotten_since(&mut self, requests: usize, sealed: &BTreeSet<Box<str>>) {
        for (number, taken) in self.requests.iter_mut().enumerate() {
            taken.is_forgotten |= number >= requests || sealed.contains(&taken.batch);
        }
    }

    /// Notes that a batch cannot be rebuilt.
    pub fn is_not_had(&mut self, batch: &str) {
        self.not_had.insert(batch.into());
    }
}

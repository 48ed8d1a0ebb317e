//! The receivers of the sinks: they keep every event, and report repeats that have no excuse.

use std::time::Duration;

use auditferry::testing::batch::{Lane, Request, Selection};
use auditferry::testing::sink::{Acknowledgement, Answer, Delivery, DeliveryError, MemoryReceiver, State as SinkState};

use crate::chance::Chance;
use crate::oracle::at_once;
use crate::plan::{pick, sink_name};
use crate::sink::Class;
use crate::world::received::{Event, Taken, Told};
use crate::world::{State, World};

/// How long a sink waits for a receiver that does not answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long a receiver takes to acknowledge a request, in milliseconds. A slow one sometimes takes longer than the sink
/// waits.
const ACKNOWLEDGED_MS: [u64; 3] = [0, 300, 2_000];
const SLOWLY_MS: [u64; 6] = [0, 300, 300, 5_000, 60_000, 3_600_000];

/// How a receiver behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Takes,
    Refuses,
    Misconfigured,
    Hangs,
    /// Takes a request, and its reply is lost.
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

/// The numbers of refused events, and the reasons.
type Refused = Vec<(u32, Box<str>)>;

/// Access to one receiver from one of its sink's lanes.
#[derive(Clone, Debug)]
pub struct Receiver {
    pub world: World,
    pub sink: usize,
    pub lane: u16,
}

/// The event's id and its record, from any of the encodings.
fn read(encoded: &[u8]) -> Event {
    let decoded: serde_json::Value = serde_json::from_slice(encoded).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    match decoded.get("metadata") {
        Some(metadata) => Event { id: text(&metadata["uid"]), line: text(&decoded["raw_data"]) },
        None => Event { id: text(&decoded["uid"]), line: text(&decoded["record"]) },
    }
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

    /// Checks that the sealed batches of a lane do not exceed its window, nor their bytes its share of memory.
    fn look_at_window(&mut self, sink: usize, lane: u16) {
        let Some(store) = &self.store else { return };
        let lane = Lane { sink: sink_name(sink).into(), number: lane };
        let sealed = at_once(store.positions.sealed(&lane));
        let bytes: u64 = sealed.iter().map(|sealed| sealed.manifest().bytes()).sum();
        let (window, most) = (self.setting.sinks[sink].flow().window, self.shares[sink]);
        if sealed.len() > usize::from(window) || bytes > most as u64 {
            self.violate(format!("{} batches of {bytes} bytes of s{sink} are under way in a lane", sealed.len()));
        }
    }

    /// The receiver takes a request. Returns `None` if it has all events now, and its answer otherwise.
    fn takes(&mut self, sink: usize, lane: u16, request: &Request) -> Option<Delivery> {
        self.look_at_window(sink, lane);
        let (now_ms, batch) = (self.now_ms(), &request.batch);
        self.note(format!("s{sink} takes request {} of {} events", request.id, request.events.count()));
        let hash_of = |lines: &mut dyn Iterator<Item = &[u8]>| {
            let mut hasher = blake3::Hasher::new();
            lines.for_each(|line| _ = hasher.update(line));
            hasher.finalize()
        };
        if !self.received[sink].has_come(&batch.id, hash_of(&mut batch.lines())) {
            self.violate(format!("s{sink}: batch {} comes again with other bytes", batch.id));
        }
        if self.ahead.contains(&sink) {
            self.violate(format!("s{sink} is ahead of the store, and nobody was told"));
        }
        if request.events.count() > self.received[sink].events_max() {
            return Some(Delivery::TooLarge("too many events".into()));
        }
        let hash = hash_of(&mut request.events().map(|event| event.encoded));
        if let Some(is_same) = self.received[sink].recognizes(&request.id, &batch.id, hash) {
            *self.tally.repeats.entry("recognized by the request's id").or_default() += 1;
            if !is_same {
                self.violate(format!("s{sink}: request {} comes again with other bytes", request.id));
            }
            return None;
        }
        let (taken, refused, events) = self.read(sink, request);
        let pending_ms = self.acknowledges_in(sink);
        self.received[sink].take(Taken {
            request: request.id.clone(),
            batch: batch.id.clone(),
            hash,
            at_ms: now_ms,
            events,
            answer: None,
            pending_until_ms: pending_ms.map(|pending_ms| now_ms + pending_ms),
            told: if pending_ms.is_some() { Told::Pending } else { Told::Taken },
            is_forgotten: false,
        });
        if pending_ms.is_some() {
            self.tally.fault("events are acknowledged later");
            return Some(Delivery::Pending(SinkState(self.received[sink].ticket().into_bytes().into())));
        }
        if refused.is_empty() {
            return None;
        }
        self.tally.fault("events are refused");
        Some(Delivery::Partly { taken, refused, after: None })
    }

    /// The receiver reads the events of a request. Returns which it takes, which it refuses and why, and the events
    /// that are new to it.
    fn read(&mut self, sink: usize, request: &Request) -> (Selection, Refused, Vec<Event>) {
        let (now_ms, process, born) = (self.now_ms(), self.process, std::mem::take(&mut self.born));
        let (mut late_ms, mut wrong) = (0, None);
        let received = &mut self.received[sink];
        let (mut taken, mut refused, mut events) = (Selection::default(), Vec::new(), Vec::new());
        for event in request.events() {
            let Event { id, line } = read(event.encoded);
            assert_eq!(id, event.head.uid.to_string(), "what is in the event is what is beside it");
            if let Some(reason) = received.refuses(&id) {
                refused.push((event.number, reason.into()));
                received.refuse(id, line);
                continue;
            }
            taken.push(event.number);
            if received.drops(&id) {
                *self.tally.repeats.entry("recognized by the event's id").or_default() += 1;
                if received.lines.get(&line).is_none_or(|ids| !ids.contains(&id)) {
                    wrong.get_or_insert_with(|| format!("{id} comes again with another record"));
                }
                continue;
            }
            match received.repeat(&id, &request.id, &request.batch.id, process, now_ms) {
                Some(Ok(why)) => *self.tally.repeats.entry(why).or_default() += 1,
                Some(Err(())) => _ = wrong.get_or_insert_with(|| format!("{id} comes again")),
                None => {}
            }
            if let (Some(born_ms), false) = (born.get(&line), received.lines.contains_key(&line)) {
                late_ms = late_ms.max(now_ms - born_ms);
            }
            events.push(Event { id, line });
            self.tally.events += 1;
        }
        self.born = born;
        if self.received[sink].class != Class::ObjectKey {
            self.delivered_late(late_ms);
        }
        if let Some(first) = wrong {
            self.violate(format!("s{sink}: event {first}"));
        }
        (taken, refused, events)
    }

    /// After how many milliseconds a request read now is acknowledged. `None` if it needs no acknowledgement.
    fn acknowledges_in(&mut self, sink: usize) -> Option<u64> {
        (self.received[sink].class == Class::Acknowledging).then(|| {
            let is_slow = self.setting.sinks[sink].is_slow && !self.is_healed;
            pick(&mut self.chance, if is_slow { &SLOWLY_MS } else { &ACKNOWLEDGED_MS })
        })
    }

    /// Restarts a receiver.
    pub fn restart(&mut self, sink: usize) {
        let Self { received, chance, .. } = self;
        received[sink].restart(|| chance.below(2) == 0);
        self.tally.fault("receiver restarts");
    }
}

fn unavailable(reason: &str) -> DeliveryError {
    DeliveryError::unavailable(reason)
}

impl Receiver {
    /// Waits for a call to reach the receiver, and returns the receiver's mode. Fails if the call does not arrive.
    async fn reach(&self, call: &str) -> Result<Mode, DeliveryError> {
        self.world.gate(call).await.map_err(|_| unavailable("connection refused"))?;
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
        self.world.gate(&format!("{call}'s arrival")).await.map_err(|_| unavailable("connection reset"))?;
        Ok(mode)
    }

    /// Waits for the receiver's answer. Fails if it is lost.
    async fn answer(&self, call: &str, mode: Mode) -> Result<(), DeliveryError> {
        if mode == Mode::LosesReplies {
            return Err(unavailable("the reply was lost"));
        }
        self.world.gate(&format!("{call}'s answer")).await.map_err(|_| unavailable("the reply was lost"))
    }
}

impl MemoryReceiver for Receiver {
    fn take<'a>(&'a self, request: &'a Request) -> Answer<'a, Option<Delivery>> {
        Box::pin(async move {
            let now_ms = self.world.state().now_ms();
            self.world.state().received[self.sink].is_sent(&request.batch.id, now_ms);
            let mode = self.reach("deliver").await?;
            let answer = self.world.state().takes(self.sink, self.lane, request);
            self.answer("deliver", mode).await?;
            let mut state = self.world.state();
            let process = state.process;
            state.received[self.sink].answer(&request.id, process, self.lane);
            Ok(answer)
        })
    }

    fn acknowledged<'a>(&'a self, pending: &'a [SinkState]) -> Answer<'a, Vec<Acknowledgement>> {
        Box::pin(async move {
            let mode = self.reach("ask for acknowledgements").await?;
            let answers: Vec<_> = {
                let mut state = self.world.state();
                let now_ms = state.now_ms();
                let received = &mut state.received[self.sink];
                pending
                    .iter()
                    .map(|SinkState(ticket)| received.status(str::from_utf8(ticket).unwrap(), now_ms))
                    .collect()
            };
            self.answer("ask for acknowledgements", mode).await?;
            let mut state = self.world.state();
            let process = state.process;
            state.received[self.sink].acknowledge(&answers, process, self.lane);
            Ok(answers.into_iter().map(|(answer, _)| answer).collect())
        })
    }

    fn last(&self) -> Answer<'_, Option<Box<str>>> {
        Box::pin(async move {
            self.world.gate("ask the receiver").await.map_err(|_| unavailable("503"))?;
            Ok(self.world.state().received[self.sink].last_batch().map(Into::into))
        })
    }
}

//! How a sink of the simulation is configured: what its receiver knows of what it has had, and how batches flow to it.

use std::fmt::Write as _;
use std::time::Duration;

use auditferry::testing::batch::RequestLimits;
use auditferry::testing::sink::Flow;

use crate::chance::Chance;
use crate::plan::pick;

/// The most lanes that a sink is given.
pub const LANES_MAX: u16 = 3;

const BATCH_BYTES: usize = 1 << 20;

/// How well a receiver knows what it has, and what it takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// It knows batches by their ids, takes each once, and says which was the last.
    Exact,
    /// It knows events by their ids, and takes each once.
    EventId,
    /// It knows requests by their ids, takes each once, and takes none of too many events.
    RequestKey,
    /// It has one object for each batch, and what comes again must have the same bytes. Its batches gather for long.
    ObjectKey,
    /// It takes everything that it is sent.
    AtLeastOnce,
    /// The same, but for single events that it does not take before it is mended. Where it is misconfigured, it refuses all
    /// events for one reason.
    Picky,
    /// It says later that it has what it took, and only once. When it restarts, it forgets what it has not said, and half of
    /// what it has read.
    Acknowledging,
}

impl Class {
    /// Whether a request that comes again changes nothing.
    pub fn knows_repeats(self) -> bool {
        matches!(self, Self::Exact | Self::EventId | Self::RequestKey | Self::ObjectKey)
    }
}

/// How events are encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    Raw,
    Ocsf,
}

/// How a sink is configured. A process keeps what it began with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SinkSetting {
    pub class: Class,
    pub lanes: u16,
    pub in_flight: u16,
    pub window: u16,
    /// A request has so many events; all of a batch where there is no such limit.
    pub request_events: Option<u32>,
    pub acknowledged_within: Duration,
    /// Until it is healed, some requests are acknowledged later than anybody waits for.
    pub is_slow: bool,
    pub encoding: Encoding,
}

/// One batch whole after the other.
impl From<Class> for SinkSetting {
    fn from(class: Class) -> Self {
        Self {
            class,
            lanes: 1,
            in_flight: 1,
            window: 1,
            request_events: None,
            acknowledged_within: Duration::from_secs(120),
            is_slow: false,
            encoding: Encoding::Raw,
        }
    }
}

impl SinkSetting {
    /// Of a class that knows all of what it has had if this one does.
    pub fn draw(chance: &mut Chance, class: Class) -> Self {
        let class = match class {
            Class::Exact => {
                pick(chance, &[Class::Exact, Class::Exact, Class::EventId, Class::RequestKey, Class::ObjectKey])
            }
            _ => pick(chance, &[Class::AtLeastOnce, Class::Picky, Class::Acknowledging]),
        };
        let acknowledged_within = Duration::from_secs(pick(chance, &[30, 120]));
        Self { acknowledged_within, is_slow: true, window: 1 + chance.below(3) as u16, ..Self::from(class) }
            .changed(chance)
    }

    /// As an operator changes it.
    pub fn changed(self, chance: &mut Chance) -> Self {
        Self {
            lanes: 1 + chance.below(usize::from(LANES_MAX)) as u16,
            in_flight: 1 + chance.below(3) as u16,
            request_events: pick(chance, &[None, Some(1), Some(3), Some(10)])
                .filter(|_| self.class != Class::ObjectKey),
            encoding: pick(chance, &[Encoding::Raw, Encoding::Raw, Encoding::Raw, Encoding::Ocsf]),
            ..self
        }
    }

    /// How long the first event of a batch waits for others, where that is longer than anybody waits for it.
    pub fn gathers_for(&self) -> Option<Duration> {
        (self.class == Class::ObjectKey).then_some(Duration::from_secs(60))
    }

    pub fn flow(&self) -> Flow {
        if self.class == Class::Exact {
            return Flow::serial(BATCH_BYTES);
        }
        let requests = |events| RequestLimits { bytes: BATCH_BYTES as u64, events, envelope_bytes: 7, fixed_bytes: 2 };
        Flow {
            batch_bytes: BATCH_BYTES,
            request: self.request_events.map_or(RequestLimits::WHOLE, requests),
            lanes: self.lanes,
            in_flight: self.in_flight,
            window: self.window,
            acknowledged_within: self.acknowledged_within,
            knows_repeats: self.class.knows_repeats(),
        }
    }

    /// Its table.
    pub fn write(&self, text: &mut String, name: &str) {
        let encoding = match self.encoding {
            Encoding::Raw => "name = \"raw\", envelope = true",
            Encoding::Ocsf => "name = \"ocsf\", raw_data = true",
        };
        // Its kind is the simulation's own; what all kinds have in common is read as it is written.
        let _ =
            writeln!(text, "[sink.{name}]\ntype = \"file\"\npath = \"/nowhere/{name}\"\nencoding = {{ {encoding} }}");
    }
}

//! The configuration of a simulated sink: what its receiver remembers of what it has had, and how batches are sent to
//! it.

use std::fmt::Write as _;
use std::time::Duration;

use auditferry::testing::batch::RequestLimits;
use auditferry::testing::sink::Flow;

use crate::chance::Chance;
use crate::plan::pick;

/// The most lanes that a sink may have.
pub const LANES_MAX: u16 = 3;

const BATCH_BYTES: usize = 1 << 20;

/// What a receiver remembers of what it has, and what it accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Recognizes batches by their ids, takes each once, and can name the last one.
    Exact,
    /// Recognizes events by their ids, and takes each once.
    EventId,
    /// Recognizes requests by their ids, takes each once, and rejects requests with too many events.
    RequestKey,
    /// Keeps one object per batch. A batch that comes again must have the same bytes. Its batches gather for long.
    ObjectKey,
    /// Takes everything, repeats included.
    AtLeastOnce,
    /// Takes everything except for some events, which it refuses until it is mended. If misconfigured, it refuses all
    /// events for one reason.
    Picky,
    /// Acknowledges later what it took, and only once. When it restarts, it forgets the acknowledgements that it has
    /// not given, and half of what it has read.
    Acknowledging,
}

impl Class {
    /// Whether a repeated request changes nothing.
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

/// The configuration of a sink. A running process keeps the one that it began with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SinkSetting {
    pub class: Class,
    pub lanes: u16,
    pub in_flight: u16,
    pub window: u16,
    /// The most events of a request. `None`: a request has all events of its batch.
    pub request_events: Option<u32>,
    pub acknowledged_within: Duration,
    /// Whether, until the healing, some requests are acknowledged later than the sink waits.
    pub is_slow: bool,
    pub encoding: Encoding,
}

/// One batch at a time, each sent whole.
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
    /// Draws a class that recognizes all repeats if this one does.
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

    /// The setting after an operator has changed it.
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

    /// How long the first event of a batch waits for others, if that is longer than jobs wait for a sink.
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

    /// Writes the sink's table of the configuration file.
    pub fn write(&self, text: &mut String, name: &str) {
        let encoding = match self.encoding {
            Encoding::Raw => "name = \"raw\", envelope = true",
            Encoding::Ocsf => "name = \"ocsf\", raw_data = true",
        };
        // The kind is replaced by the simulation's own; only the keys that all kinds share are read from here.
        let _ =
            writeln!(text, "[sink.{name}]\ntype = \"file\"\npath = \"/nowhere/{name}\"\nencoding = {{ {encoding} }}");
    }
}

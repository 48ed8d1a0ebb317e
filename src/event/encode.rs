//! The encodings a sink may ask for, prepared once and applied to every event.

use serde::Deserialize;

use crate::event::Event;
use crate::event::EventId;
use crate::event::Origin;
use crate::event::ocsf;
use crate::event::secrets;

/// How events are written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EncodingName {
    /// OCSF 1.8.0, one JSON object a line.
    #[default]
    Ocsf,
    /// The source's record, as it came.
    Raw,
}

/// What an encoding leaves out or adds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Options {
    /// The record itself as text, secrets masked. It doubles an event's size. Default: false.
    pub raw_data: bool,
    /// The names and addresses of an event once more, as a list to search. Default: true.
    pub observables: bool,
    /// What is to be known of how an event came about, such as `class_fallback`. Default: true.
    pub labels: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { raw_data: false, observables: true, labels: true }
    }
}

/// One encoding with its options. Two sinks with equal encoders can share what one of them wrote.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Encoder {
    name: EncodingName,
    options: Options,
}

/// What an encoder wrote.
#[derive(Clone, Debug, Default)]
pub struct Encoded {
    /// The events, each a line with its line end.
    pub bytes: Vec<u8>,
    /// Where in `bytes` each event ends, its line end included.
    pub ends: Vec<u32>,
    /// The events' identities, in the order of their lines.
    pub ids: Vec<EventId>,
    /// The latest time of an event among them, in milliseconds since the epoch.
    pub latest_ms: Option<i64>,
}

impl Encoder {
    pub const fn new(name: EncodingName, options: Options) -> Self {
        Self { name, options }
    }

    pub const fn name(&self) -> EncodingName {
        self.name
    }

    /// How many lines a record of so many events is.
    pub fn lines_of(&self, events: u32) -> usize {
        match self.name {
            EncodingName::Ocsf => events as usize,
            EncodingName::Raw => events.min(1) as usize,
        }
    }

    /// Appends the event. The first event of a record is `index` 0; an encoding that writes records leaves the others out.
    pub fn encode(&self, event: &Event<'_>, seen: &Seen<'_>, out: &mut Encoded) {
        match self.name {
            EncodingName::Ocsf => ocsf::write(&mut out.bytes, event, seen, self.options),
            EncodingName::Raw if seen.index > 0 => return,
            EncodingName::Raw => secrets::write_masked(&mut out.bytes, seen.record, &event.dropped, &[]),
        }
        out.bytes.push(b'\n');
        // `encode_record` takes back what passes 4 GiB.
        out.ends.push(u32::try_from(out.bytes.len()).unwrap_or(u32::MAX));
        out.ids.push(seen.id);
        out.latest_ms = out.latest_ms.max(Some(event.time_ms));
    }
}

/// What stands around an event: the record it is of, where that was read, and what it is called.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub origin: Origin<'a>,
    pub record: &'a [u8],
    pub id: EventId,
    /// Among the events of its record, from 0.
    pub index: u32,
}

impl Encoded {
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Forgets everything written, and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.ids.clear();
        self.latest_ms = None;
    }

    /// Takes back everything written after the first `events` events.
    pub fn truncate(&mut self, events: usize) {
        let end = events.checked_sub(1).and_then(|last| self.ends.get(last)).map_or(0, |end| *end as usize);
        self.bytes.truncate(end);
        self.ends.truncate(events);
        self.ids.truncate(events);
    }
}

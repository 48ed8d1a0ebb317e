//! The encodings a sink may ask for, prepared once and applied to every event.

use std::borrow::Cow;

use serde::Deserialize;

use crate::event::id::hyphenated;
use crate::event::members::{close, flag, int, text};
use crate::event::secrets::write_masked;
use crate::event::text::write_escaped;
use crate::event::{Class, Event, EventId, Origin, Status, Text, ecs, ocsf};

/// How events are written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EncodingName {
    /// OCSF, one JSON object a line.
    #[default]
    Ocsf,
    /// Elastic Common Schema 9, one JSON object a line.
    Ecs,
    /// The source's record, as it came.
    Raw,
}

/// The versions of OCSF that events are written in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Deserialize)]
pub enum OcsfVersion {
    #[serde(rename = "1.1.0")]
    V1_1,
    #[serde(rename = "1.3.0")]
    V1_3,
    #[serde(rename = "1.5.0")]
    V1_5,
    #[default]
    #[serde(rename = "1.8.0")]
    V1_8,
}

impl EncodingName {
    /// As the configuration names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ocsf => "ocsf",
            Self::Ecs => "ecs",
            Self::Raw => "raw",
        }
    }
}

impl OcsfVersion {
    pub const ALL: [Self; 4] = [Self::V1_1, Self::V1_3, Self::V1_5, Self::V1_8];

    /// As events and the configuration name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1_1 => "1.1.0",
            Self::V1_3 => "1.3.0",
            Self::V1_5 => "1.5.0",
            Self::V1_8 => "1.8.0",
        }
    }
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
    /// The version that OCSF events are written in. Default: 1.8.0.
    pub ocsf_version: OcsfVersion,
    /// Whether a raw record stands in an envelope that says what and where it is. Default: false.
    pub envelope: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { raw_data: false, observables: true, labels: true, ocsf_version: OcsfVersion::V1_8, envelope: false }
    }
}

/// One encoding with its options. Two sinks with equal encoders can share what one of them wrote.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Encoder {
    name: EncodingName,
    options: Options,
}

/// What is known of an event beside its bytes: what an envelope around them needs. One for each event: kept small.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    pub uid: EventId,
    /// The event's own time, in milliseconds since the epoch.
    pub time_ms: i64,
    /// Its record's number in the object's accepted sequence.
    pub place: u64,
    /// Among the events of its record, from 0.
    pub index: u32,
    /// As OCSF writes it; in other encodings as the mapping has it.
    pub class: Class,
    pub status: Status,
}

/// What an encoder wrote.
#[derive(Clone, Debug, Default)]
pub struct Encoded {
    /// The place of the record that is encoded now, which its events' heads are given.
    pub place: u64,
    /// The events, each a line with its line end.
    pub bytes: Vec<u8>,
    /// Where in `bytes` each event ends, its line end included.
    pub ends: Vec<u32>,
    /// The events' heads, in the order of their lines.
    pub heads: Vec<Head>,
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
            EncodingName::Ocsf | EncodingName::Ecs => events as usize,
            EncodingName::Raw => events.min(1) as usize,
        }
    }

    /// Appends the event. The first event of a record is `index` 0; an encoding that writes records leaves the others out.
    pub fn encode(&self, event: &Event<'_>, seen: &Seen<'_>, out: &mut Encoded) {
        let mut class = event.activity.class;
        match self.name {
            EncodingName::Ocsf => class = ocsf::write(&mut out.bytes, event, seen, self.options),
            EncodingName::Ecs => ecs::write(&mut out.bytes, event, seen, self.options),
            EncodingName::Raw if seen.index > 0 => return,
            EncodingName::Raw if self.options.envelope => write_envelope(&mut out.bytes, event, seen),
            EncodingName::Raw => write_masked(&mut out.bytes, seen.record, &event.dropped, &[]),
        }
        out.bytes.push(b'\n');
        // `encode_record` takes back what passes 4 GiB.
        out.ends.push(u32::try_from(out.bytes.len()).unwrap_or(u32::MAX));
        let Event { time_ms, status, .. } = *event;
        out.heads.push(Head { uid: seen.id, time_ms, place: out.place, index: seen.index, class, status });
    }
}

/// `{"uid":...,"feed":...,"object":...,"ordinal":...,"record":...}`. A record that is no UTF-8 is marked: such bytes
/// become U+FFFD.
fn write_envelope(out: &mut Vec<u8>, event: &Event<'_>, seen: &Seen<'_>) {
    out.extend_from_slice(b"{\"uid\":\"");
    out.extend_from_slice(&hyphenated(&seen.id));
    out.extend_from_slice(b"\",");
    text(out, "\"feed\":", Some(&Text::from(seen.origin.feed)));
    text(out, "\"object\":", Some(&Text::Escaped(seen.origin.source)));
    int(out, "\"ordinal\":", i64::try_from(seen.ordinal).ok());
    let mut record = Vec::with_capacity(seen.record.len());
    write_masked(&mut record, seen.record, &event.dropped, &[]);
    let text = String::from_utf8_lossy(&record);
    out.extend_from_slice(b"\"record\":\"");
    write_escaped(out, &text);
    out.extend_from_slice(b"\",");
    flag(out, "\"is_lossy\":", matches!(text, Cow::Owned(_)).then_some(true));
    close(out, b'}');
}

/// What stands around an event: the record it is of, where that was read, and what it is called.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub origin: Origin<'a>,
    pub record: &'a [u8],
    /// The record's position in its object, from 0.
    pub ordinal: u64,
    pub id: EventId,
    /// Among the events of its record, from 0.
    pub index: u32,
}

/// An event after the first of its record shows the record only up to so many bytes: else a record of many events would be
/// shown as often as it is long.
pub(crate) const SHOWN_AGAIN_BYTES_MAX: usize = 4096;

impl<'a> Seen<'a> {
    /// The record, where the event is to show it.
    pub(crate) fn raw_record(&self) -> Option<&'a [u8]> {
        (self.index == 0 || self.record.len() <= SHOWN_AGAIN_BYTES_MAX).then_some(self.record)
    }
}

impl Encoded {
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Forgets everything written, and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.heads.clear();
    }

    /// Takes back everything written after the first `events` events.
    pub fn truncate(&mut self, events: usize) {
        let end = events.checked_sub(1).and_then(|last| self.ends.get(last)).map_or(0, |end| *end as usize);
        self.bytes.truncate(end);
        self.ends.truncate(events);
        self.heads.truncate(events);
    }

    /// Leaves out of the events from number `from` on those that are not wanted.
    pub fn retain(&mut self, from: usize, is_wanted: impl Fn(&Head) -> bool) {
        let mut begin = from.checked_sub(1).and_then(|last| self.ends.get(last)).map_or(0, |end| *end as usize);
        let (mut kept, mut to) = (from, begin);
        for at in from..self.heads.len() {
            let end = self.ends[at] as usize;
            if is_wanted(&self.heads[at]) {
                self.bytes.copy_within(begin..end, to);
                to += end - begin;
                self.heads[kept] = self.heads[at];
                self.ends[kept] = u32::try_from(to).unwrap_or(u32::MAX);
                kept += 1;
            }
            begin = end;
        }
        self.bytes.truncate(to);
        self.ends.truncate(kept);
        self.heads.truncate(kept);
    }

    /// The latest time of an event among them, in milliseconds since the epoch.
    pub fn latest_ms(&self) -> Option<i64> {
        self.heads.iter().map(|head| head.time_ms).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_last_events_those_that_are_not_wanted_are_left_out() {
        let mut encoded = Encoded::default();
        for (line, index) in ["one", "two", "three", "four", "five"].into_iter().zip(0..) {
            encoded.bytes.extend_from_slice(format!("{line}\n").as_bytes());
            encoded.ends.push(u32::try_from(encoded.bytes.len()).unwrap());
            let (uid, class, status) = (EventId([index; 16]), Class::ApiActivity, Status::Unknown);
            encoded.heads.push(Head { uid, time_ms: 0, place: 0, index: index.into(), class, status });
        }
        encoded.retain(1, |head| [0, 2, 4].contains(&head.index));
        assert_eq!(encoded.bytes, b"one\nthree\nfive\n");
        assert_eq!(encoded.ends, [4, 10, 15]);
        assert_eq!(encoded.heads.iter().map(|head| head.index).collect::<Vec<_>>(), [0, 2, 4]);
        encoded.retain(0, |_| false);
        assert!(encoded.bytes.is_empty() && encoded.ends.is_empty() && encoded.heads.is_empty());
    }

    #[test]
    fn a_head_is_small_beside_its_event() {
        assert_eq!(size_of::<Head>(), 40);
    }
}

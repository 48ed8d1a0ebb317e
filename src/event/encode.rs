//! The encodings a sink may ask for, prepared once and applied to every event.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;

use crate::event::choice::Choices;
use crate::event::class::{Class, Severity};
use crate::event::columns::Columns;
use crate::event::filter::Filter;
use crate::event::id::hyphenated;
use crate::event::members::{close, flag, int, text};
use crate::event::shorten::shorten;
use crate::event::{Event, EventId, Seen, Status, Text, ecs, ocsf, write_without};
use crate::records::escaped::write_escaped;

/// The formats that events are written in.
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
    /// The columns of a table, one JSON object a record.
    Columns,
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
    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ocsf => "ocsf",
            Self::Ecs => "ecs",
            Self::Raw => "raw",
            Self::Columns => "columns",
        }
    }
}

impl OcsfVersion {
    pub const ALL: [Self; 4] = [Self::V1_1, Self::V1_3, Self::V1_5, Self::V1_8];

    /// The name in events and in the configuration.
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
    /// Whether an event carries the record itself as text, secrets masked. It doubles the event's size. Default: false.
    pub raw_data: bool,
    /// Whether an event's names and addresses are repeated as a list to search. Default: true.
    pub observables: bool,
    /// Whether an event carries labels on how it came about, such as `class_fallback`. Default: true.
    pub labels: bool,
    /// The version that OCSF events are written in. Default: 1.8.0.
    pub ocsf_version: OcsfVersion,
    /// Whether a raw record stands in an envelope with its id, feed, object and ordinal. Default: false.
    pub envelope: bool,
    /// Whether secrets are masked in a raw record, as they are in every other encoding. Default: false.
    pub mask_secrets: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            raw_data: false,
            observables: true,
            labels: true,
            ocsf_version: OcsfVersion::V1_8,
            envelope: false,
            mask_secrets: false,
        }
    }
}

/// An encoding with its options, its filter and the choices of its sink. Sinks with equal encoders can share one
/// encoder's output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Encoder {
    name: EncodingName,
    options: Options,
    /// The columns of a row. Only with [`EncodingName::Columns`].
    columns: Option<Arc<Columns>>,
    /// `None` takes all events.
    filter: Option<Arc<Filter>>,
    /// Decides [`Head::choice`] of each event.
    choices: Option<Arc<Choices>>,
    /// Values longer than this, in bytes, are cut. `None` writes all values whole.
    value_bytes_max: Option<usize>,
}

/// The facts about an event that an envelope around its bytes needs. There is one per event, so it is kept small.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    pub uid: EventId,
    /// The event's own time, in milliseconds since the epoch.
    pub time_ms: i64,
    /// The place of the event's record in the object's accepted sequence.
    pub place: u64,
    /// The event's number among the events of its record, from 0.
    pub index: u32,
    /// The class in which OCSF wrote the event; in other encodings, the class of the mapping.
    pub class: Class,
    pub severity: Severity,
    pub status: Status,
    /// Tells which values the event has, of those that its sink distinguishes; see [`Choices`].
    pub choice: u8,
}

/// What an encoder wrote.
#[derive(Clone, Debug, Default)]
pub struct Encoded {
    /// The place of the record that is being encoded. The heads of its events carry it.
    pub place: u64,
    /// The events, each a line with its line end.
    pub bytes: Vec<u8>,
    /// Where in `bytes` each event ends, its line end included.
    pub ends: Vec<u32>,
    /// The events' heads, in the order of their lines.
    pub heads: Vec<Head>,
    /// How many records were decoded for it, those without an event in it among them.
    pub records: u64,
    pub filtered: Filtered,
    /// Where the output of the last record begins.
    pub record: Mark,
    /// The head of the last record's first event, as long as the filter has taken none of its events. Only in encodings
    /// that write one line per record.
    pub unwritten: Option<Head>,
}

/// What a filter left out: events, or records in encodings that write one line per record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Filtered {
    pub events: u64,
    /// The latest time of an event left out, in milliseconds since the epoch.
    pub latest_ms: Option<i64>,
}

/// A point in the output, to return to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark {
    events: usize,
    bytes: usize,
    filtered: Filtered,
}

impl Encoder {
    pub const fn new(name: EncodingName, options: Options) -> Self {
        Self { name, options, columns: None, filter: None, choices: None, value_bytes_max: None }
    }

    /// An encoder that writes rows of these columns.
    pub fn of_columns(columns: Columns) -> Self {
        let columns = Some(Arc::new(columns));
        Self { columns, ..Self::new(EncodingName::Columns, Options::default()) }
    }

    pub fn with_filter(self, filter: Option<Filter>) -> Self {
        Self { filter: filter.map(Arc::new), ..self }
    }

    pub fn with_choices(self, choices: Choices) -> Self {
        Self { choices: (!choices.is_empty()).then(|| Arc::new(choices)), ..self }
    }

    pub fn with_values_cut(self, value_bytes_max: Option<usize>) -> Self {
        Self { value_bytes_max, ..self }
    }

    pub const fn name(&self) -> EncodingName {
        self.name
    }

    /// Whether the encoder reads [`Seen::parsed`].
    pub const fn reads_parsed(&self) -> bool {
        self.columns.is_some()
    }

    /// Whether the encoder writes records as their source wrote them, secrets included.
    pub const fn shows_source(&self) -> bool {
        matches!(self.name, EncodingName::Raw) && !self.options.mask_secrets
    }

    /// Whether the encoder writes one line per record, however many events the record has.
    fn writes_records(&self) -> bool {
        matches!(self.name, EncodingName::Raw | EncodingName::Columns)
    }

    /// Appends the event, unless the filter leaves it out. Index 0 in `seen` starts a new record. An encoding that
    /// writes one line per record writes it when the filter takes the first of the record's events, with the head of
    /// event 0.
    pub fn encode(&self, event: &Event<'_>, seen: &Seen<'_>, out: &mut Encoded) {
        if seen.index == 0 {
            out.record = out.mark();
            out.unwritten = None;
        }
        let is_taken = self.filter.as_ref().is_none_or(|filter| filter.takes(event));
        match (self.writes_records(), is_taken) {
            (false, false) => out.filtered.note(event.time_ms),
            (false, true) => self.write(event, seen, self.head(event, seen, out.place), out),
            (true, true) if seen.index == 0 => self.write(event, seen, self.head(event, seen, out.place), out),
            (true, true) => {
                if let Some(head) = out.unwritten.take() {
                    out.filtered.events -= 1;
                    self.write(event, seen, head, out);
                }
            }
            (true, false) if seen.index == 0 => {
                out.filtered.note(event.time_ms);
                out.unwritten = Some(self.head(event, seen, out.place));
            }
            (true, false) => {}
        }
    }

    fn head(&self, event: &Event<'_>, seen: &Seen<'_>, place: u64) -> Head {
        Head {
            uid: seen.id,
            time_ms: event.time_ms,
            place,
            index: seen.index,
            class: event.activity.class,
            severity: event.activity.severity,
            status: event.status,
            choice: self.choices.as_ref().map_or(0, |choices| choices.of(event)),
        }
    }

    fn write(&self, event: &Event<'_>, seen: &Seen<'_>, mut head: Head, out: &mut Encoded) {
        let begins = out.bytes.len();
        let seen = &Seen { first: out.heads.get(out.record.events).map(|head| head.uid), ..*seen };
        match (self.name, &self.columns) {
            (_, Some(columns)) => columns.write(&mut out.bytes, &head, seen),
            (EncodingName::Ocsf, _) => head.class = ocsf::write(&mut out.bytes, event, seen, self.options),
            (EncodingName::Ecs, _) => ecs::write(&mut out.bytes, event, seen, self.options),
            (EncodingName::Raw, _) if self.options.envelope => write_envelope(&mut out.bytes, event, seen, &head.uid),
            (EncodingName::Raw | EncodingName::Columns, _) => {
                write_without(&mut out.bytes, seen.record, &event.dropped);
            }
        }
        if let Some(most) = self.value_bytes_max {
            shorten(&mut out.bytes, begins, most);
        }
        out.bytes.push(b'\n');
        // `encode_record` rolls back output beyond 4 GiB.
        out.ends.push(u32::try_from(out.bytes.len()).unwrap_or(u32::MAX));
        out.heads.push(head);
    }
}

/// `{"uid":...,"feed":...,"object":...,"ordinal":...,"record":...}`, and `"is_lossy":true` if the record is not valid
/// UTF-8, whose invalid bytes become U+FFFD.
fn write_envelope(out: &mut Vec<u8>, event: &Event<'_>, seen: &Seen<'_>, uid: &EventId) {
    out.extend_from_slice(b"{\"uid\":\"");
    out.extend_from_slice(&hyphenated(uid));
    out.extend_from_slice(b"\",");
    text(out, "\"feed\":", Some(&Text::from(seen.origin.feed)));
    text(out, "\"object\":", Some(&Text::Escaped(seen.origin.source)));
    int(out, "\"ordinal\":", i64::try_from(seen.ordinal).ok());
    let mut record = Vec::with_capacity(seen.record.len());
    write_without(&mut record, seen.record, &event.dropped);
    let text = String::from_utf8_lossy(&record);
    out.extend_from_slice(b"\"record\":\"");
    write_escaped(out, &text);
    out.extend_from_slice(b"\",");
    flag(out, "\"is_lossy\":", matches!(text, Cow::Owned(_)).then_some(true));
    close(out, b'}');
}

impl Encoded {
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Removes everything written, and keeps the memory.
    pub fn clear(&mut self) {
        self.records = 0;
        self.back_to(Mark::default());
    }

    pub fn mark(&self) -> Mark {
        Mark { events: self.ends.len(), bytes: self.bytes.len(), filtered: self.filtered }
    }

    /// Of the events from number `from` on, keeps only those for which `is_wanted` holds.
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

    /// Removes everything written since `mark`.
    pub fn back_to(&mut self, mark: Mark) {
        self.bytes.truncate(mark.bytes);
        self.ends.truncate(mark.events);
        self.heads.truncate(mark.events);
        self.filtered = mark.filtered;
    }

    /// Removes all events of the record whose events were encoded last.
    pub fn without_record(&mut self) {
        self.back_to(self.record);
    }

    /// The number of bytes written since `mark`.
    pub fn bytes_since(&self, mark: Mark) -> usize {
        self.bytes.len().saturating_sub(mark.bytes)
    }

    /// The latest time of all events, written or left out, in milliseconds since the epoch.
    pub fn latest_ms(&self) -> Option<i64> {
        self.heads.iter().map(|head| head.time_ms).max().max(self.filtered.latest_ms)
    }
}

impl Filtered {
    fn note(&mut self, time_ms: i64) {
        self.events += 1;
        self.latest_ms = self.latest_ms.max(Some(time_ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::attribute::Attribute;
    use crate::event::filter::Pattern;
    use crate::event::{Activity, Choice, Column, Conditions, Origin, Product, Value};
    use crate::notification::ObjectId;

    #[test]
    fn of_the_last_events_those_that_are_not_wanted_are_left_out() {
        let mut encoded = Encoded::default();
        for (line, index) in ["one", "two", "three", "four", "five"].into_iter().zip(0..) {
            encoded.bytes.extend_from_slice(format!("{line}\n").as_bytes());
            encoded.ends.push(u32::try_from(encoded.bytes.len()).unwrap());
            let (uid, class, status) = (EventId([index; 16]), Class::ApiActivity, Status::Unknown);
            let (severity, index) = (Severity::default(), u32::from(index));
            encoded.heads.push(Head { uid, time_ms: 0, place: 0, index, class, severity, status, choice: 0 });
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

    /// Encodes a record with one event for each action, a millisecond apart.
    fn record(encoder: &Encoder, actions: &[&'static str], out: &mut Encoded) {
        let product = Product { name: "P", vendor: "V", log_name: "l" };
        let object = ObjectId::new("b", "k");
        let origin = Origin { object: &object, source: "s3://b/k", last_modified_ms: None, feed: "f" };
        for (action, index) in actions.iter().zip(0..) {
            let mut event =
                Event::new(product, Activity::of(Class::ApiActivity, 1), (*action).into(), i64::from(index));
            let member = |name, value| (Text::word(name), Value::Text(Text::word(value)));
            event.unmapped = vec![member("all", "have"), member("own", action)];
            event.shared = 1;
            let id = EventId([u8::try_from(index).unwrap(); 16]);
            let seen = Seen { origin, record: b"record", parsed: "{\"a\":1}", ordinal: 0, id, index, first: None };
            encoder.encode(&event, &seen, out);
        }
    }

    fn only(action: &str) -> Option<Filter> {
        let wanted: Conditions =
            [(Attribute::named("api.operation").unwrap(), vec![Pattern::new(action).unwrap()])].into();
        Some(Filter { wanted, ..Filter::ALL })
    }

    fn lines(out: &Encoded) -> usize {
        assert_eq!(out.heads.len(), out.ends.len());
        out.bytes.iter().filter(|byte| **byte == b'\n').count()
    }

    #[test]
    fn a_filter_leaves_out_events_and_counts_them() {
        let encoder = Encoder::new(EncodingName::Ocsf, Options::default()).with_filter(only("keep*"));
        let mut out = Encoded::default();
        record(&encoder, &["drop", "keep1", "drop", "keep2", "drop"], &mut out);
        assert_eq!(lines(&out), 2);
        assert_eq!(out.heads.iter().map(|head| head.index).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(out.filtered, Filtered { events: 3, latest_ms: Some(4) });
        assert_eq!(out.latest_ms(), Some(4), "the feed is as fresh as what was left out");
    }

    #[test]
    fn what_all_events_of_a_record_have_stands_in_the_first_that_is_written() {
        let options = Options { raw_data: true, ..Options::default() };
        for (name, shown) in [(EncodingName::Ocsf, "\"raw_data\":"), (EncodingName::Ecs, "\"original\":")] {
            let encoder = Encoder::new(name, options).with_filter(only("keep*"));
            let mut out = Encoded::default();
            for _ in 0..2 {
                let before = out.bytes.len();
                record(&encoder, &["drop", "keep1", "keep2", "keep3"], &mut out);
                let text = std::str::from_utf8(&out.bytes[before..]).unwrap();
                for (at, line) in text.lines().enumerate() {
                    assert!(line.contains(&format!("\"own\":\"keep{}\"", at + 1)));
                    assert_eq!(line.contains("\"all\":\"have\"") && line.contains(shown), at == 0);
                    let names_first = line.contains("\"first_event_uid\":\"01010101-0101-0101-0101-010101010101\"");
                    assert_eq!(names_first, at > 0);
                }
                assert_eq!(text.lines().count(), 3);
            }
        }
    }

    #[test]
    fn a_record_is_written_if_any_of_its_events_is_taken_and_as_without_a_filter() {
        let raw = Encoder::new(EncodingName::Raw, Options { envelope: true, ..Options::default() });
        let columns = Columns::default().with([("uid".to_owned(), Column::new("@uid").unwrap())]);
        for plain in [raw, Encoder::of_columns(columns)] {
            let mut expected = Encoded::default();
            record(&plain, &["drop", "keep"], &mut expected);
            let filtered = plain.clone().with_filter(only("keep"));
            for actions in [&["drop", "keep", "keep"][..], &["keep", "drop"], &["drop", "drop", "keep", "drop"]] {
                let mut out = Encoded::default();
                record(&filtered, actions, &mut out);
                assert_eq!((&out.bytes, &out.ends, &out.heads), (&expected.bytes, &expected.ends, &expected.heads));
                assert_eq!(out.filtered.events, 0, "{actions:?}");
            }
            let mut out = Encoded::default();
            record(&filtered, &["drop", "drop"], &mut out);
            record(&filtered, &["keep"], &mut out);
            record(&filtered, &["drop"], &mut out);
            assert_eq!((lines(&out), out.filtered.events), (1, 2), "records are counted");
        }
    }

    #[test]
    fn what_is_taken_back_counts_as_nothing() {
        let encoder = Encoder::new(EncodingName::Ocsf, Options::default()).with_filter(only("keep"));
        let mut out = Encoded::default();
        record(&encoder, &["keep", "drop"], &mut out);
        let (bytes, filtered) = (out.bytes.clone(), out.filtered);
        record(&encoder, &["keep", "drop", "drop"], &mut out);
        out.without_record();
        assert_eq!((out.bytes, out.filtered, out.heads.len()), (bytes, filtered, 1));
    }

    #[test]
    fn a_head_says_which_value_its_event_has() {
        let attribute = Attribute::named("api.operation").unwrap();
        let choice = Choice { attribute, values: vec!["a".to_owned(), "b".to_owned()] };
        let choices = Choices::new(vec![choice]).unwrap();
        let encoder = Encoder::new(EncodingName::Ocsf, Options::default()).with_choices(choices.clone());
        let mut out = Encoded::default();
        record(&encoder, &["b", "c", "a"], &mut out);
        let chosen = out.heads.iter().map(|head| choices.chosen(head.choice, 0));
        assert_eq!(chosen.collect::<Vec<_>>(), [Some(1), None, Some(0)]);
    }
}

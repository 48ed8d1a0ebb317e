//! The context of an event, and which parts of it the event carries.

use crate::event::id::hyphenated;
use crate::event::{Event, EventId, Text};
use crate::notification::ObjectId;

/// Where a record was read. All records of one object share it.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    pub object: &'a ObjectId,
    /// `s3://bucket/key` or `file:///directory/path`, as the inside of a JSON string.
    pub source: &'a str,
    /// When the object was last written, in milliseconds since the epoch.
    pub last_modified_ms: Option<i64>,
    /// The name of the feed that read the object.
    pub feed: &'a str,
}

/// The context of an event: its record, where the record was read, and the event's id.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub origin: Origin<'a>,
    pub record: &'a [u8],
    /// The decoded record with the source's field names, as one JSON object without secrets. Empty if no encoder reads
    /// it.
    pub parsed: &'a str,
    /// The record's position in its object, from 0.
    pub ordinal: u64,
    pub id: EventId,
    /// The event's number among the events of its record, from 0.
    pub index: u32,
    /// For a later event, the first event of the record that the encoder wrote. Only that one carries what all events of
    /// the record share. Otherwise a long record with many events would be repeated in each of them.
    pub first: Option<EventId>,
}

/// A text that all events of a record share stands in each of them up to this size, in bytes. A longer one stands in the
/// first event alone.
const SHARED_TEXT_BYTES_MAX: usize = 1024;

/// In a later event, the `uid` of the event that carries what all events of the record share.
const FIRST_EVENT_KEY: &[u8] = b"\"first_event_uid\":\"";

impl<'a> Seen<'a> {
    /// The record, if the event is to carry it.
    pub(crate) fn raw_record(&self) -> Option<&'a [u8]> {
        self.first.is_none().then_some(self.record)
    }

    /// The text, if the event is to carry it.
    pub(crate) fn shared_text<'e, 't>(&self, text: &'e Option<Text<'t>>) -> Option<&'e Text<'t>> {
        text.as_ref().filter(|text| self.first.is_none() || text.as_held().len() <= SHARED_TEXT_BYTES_MAX)
    }

    /// Appends the unmapped fields that the event is to carry and that meet the condition, each followed by a comma.
    pub(crate) fn write_unmapped(&self, out: &mut Vec<u8>, event: &Event<'_>, is_meant: impl Fn(&Text<'_>) -> bool) {
        let from = if self.first.is_some() { event.shared } else { 0 };
        for (key, value) in event.unmapped.iter().skip(from).filter(|(key, _)| is_meant(key)) {
            key.write(out);
            out.push(b':');
            value.write(out);
            out.push(b',');
        }
    }

    /// Appends the id of the record's first event to a later one, followed by a comma.
    pub(crate) fn write_first(&self, out: &mut Vec<u8>) {
        if let Some(first) = &self.first {
            out.extend_from_slice(FIRST_EVENT_KEY);
            out.extend_from_slice(&hyphenated(first));
            out.extend_from_slice(b"\",");
        }
    }
}

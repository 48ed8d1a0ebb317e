//! One record of lakeFS: its fields by name, in either of two spellings.

use std::borrow::Cow;

use crate::event::{Copies, Fault, Fields, Json, Members, Reader, Text};

/// The known fields, as a server names them. lakeFS Cloud puts `data_` before each name.
const NAMES: [&str; 17] = [
    "user",
    "repository",
    "ref",
    "status_code",
    "service_name",
    "request_id",
    "path",
    "operation_id",
    "method",
    "time",
    "client",
    "host",
    "source_ip",
    "sent_bytes",
    "took",
    "msg",
    "level",
];

const CLOUD_PREFIX: &str = "data_";

/// The positions in [`NAMES`].
#[derive(Clone, Copy)]
#[expect(clippy::enum_variant_names, reason = "the columns' own names")]
pub(super) enum Name {
    User,
    Repository,
    Ref,
    StatusCode,
    ServiceName,
    RequestId,
    Path,
    OperationId,
    Method,
    Time,
    Client,
    Host,
    SourceIp,
    SentBytes,
    Took,
    Msg,
    Level,
}

/// Whether a server writes this field as a number.
pub(super) fn is_number(name: &str) -> bool {
    [Name::StatusCode, Name::SentBytes, Name::Took].into_iter().any(|number| NAMES[number as usize] == name)
}

/// The fields of one record.
#[derive(Debug, Default)]
pub(super) struct Line<'a> {
    known: [Option<Json<'a>>; NAMES.len()],
    /// Whether the fields are named as in lakeFS Cloud.
    pub(super) is_cloud: bool,
    has_escaped_key: bool,
    others: Fields<'a>,
}

pub(super) fn read(text: &str) -> Result<Line<'_>, Fault> {
    let mut line = Line::default();
    // Fields with the names that a server uses.
    let mut hosted: Vec<(usize, Json<'_>)> = Vec::new();
    let mut next = 0;
    let mut place = |name: &str| {
        let found = place(name, next);
        next = found.map_or(next, |place| place + 1);
        found
    };
    let mut reader = Reader::new(text);
    reader.object(|reader, key| {
        let value = reader.value()?;
        line.has_escaped_key |= matches!(key, Cow::Owned(_));
        if let Some(place) = key.strip_prefix(CLOUD_PREFIX).and_then(&mut place) {
            line.known[place] = Some(value);
            line.is_cloud = true;
        } else if let Some(place) = place(&key) {
            hosted.push((place, value));
        } else {
            line.others.insert(key, value);
        }
        Ok(())
    })?;
    reader.end()?;
    line.settle(&hosted);
    Ok(line)
}

/// The field's position in [`NAMES`]. All records have their fields in the same order, so it mostly is `next`.
#[inline]
fn place(name: &str, next: usize) -> Option<usize> {
    if NAMES.get(next).is_some_and(|known| *known == name) {
        return Some(next);
    }
    NAMES.iter().position(|known| *known == name)
}

impl<'a> Line<'a> {
    /// Adds the fields with the names that a server uses: to the known ones or, in a record of lakeFS Cloud, to the
    /// others.
    fn settle(&mut self, hosted: &[(usize, Json<'a>)]) {
        if !self.is_cloud {
            hosted.iter().for_each(|(place, value)| self.known[*place] = Some(*value));
            return;
        }
        // In a record of lakeFS Cloud, these columns were added by another pipeline.
        for (place, name) in NAMES.iter().enumerate() {
            if let Some((_, value)) = hosted.iter().rfind(|(own, _)| *own == place) {
                self.others.insert(Cow::Borrowed(name), *value);
            }
        }
    }

    /// Whether the line is recognized as a row of lakeFS Cloud that no container runtime wrapped.
    pub(super) fn is_row(&self) -> bool {
        let has_operation = self.is_cloud && self.get(Name::OperationId).is_some();
        has_operation && !self.has_escaped_key && self.others.position_of("log").is_none()
    }

    pub(super) fn get(&self, name: Name) -> Option<Json<'a>> {
        self.known[name as usize]
    }

    pub(super) fn text_of(&self, name: Name) -> Option<Text<'a>> {
        self.get(name).and_then(Json::text)
    }

    /// The field's text. A field with a text, or with null, counts as mapped.
    pub(super) fn map(&mut self, name: Name) -> Option<Text<'a>> {
        let value = self.get(name)?;
        let text = value.text();
        if text.is_some() || value == Json::Null {
            self.known[name as usize] = None;
        }
        text
    }

    /// Counts a field as mapped if the event holds the same text already.
    pub(super) fn map_if(&mut self, name: Name, copy: Option<&Text<'_>>) {
        let (Some(own), Some(copy)) = (self.text_of(name), copy) else { return };
        let is_same = match (&own, copy) {
            (Text::Escaped(own), Text::Escaped(copy)) if own == copy => true,
            _ => own.plain() == copy.plain(),
        };
        if is_same {
            self.map(name);
        }
    }

    /// The fields that are not mapped.
    pub(super) fn unmapped(&self, copies: &mut Copies) -> Members<'a> {
        let mut members = Members::with_capacity(self.others.len());
        for (name, value) in NAMES.iter().zip(&self.known) {
            let Some(value) = *value else { continue };
            // Skip null and empty values.
            if matches!(value, Json::Null | Json::String("")) {
                continue;
            }
            let key = if self.is_cloud { Text::from(format!("{CLOUD_PREFIX}{name}")) } else { Text::word(name) };
            members.push((key, copies.copy(value)));
        }
        for field in self.others.unmapped() {
            let value = copies.copy(field.value);
            members.push((field.name(), value));
        }
        members
    }
}

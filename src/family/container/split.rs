//! Splits a line that holds several records into one line for each, as if each record had come alone.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::event::{Fault, Json, Reader, Text, unescape};
use crate::family::container::is_object;
use crate::family::container::runtime::{Docker, Joined, Runtime, first_line};
use crate::family::envelope::{
    Opened, Piece, Sought, Values, Way, escaped, may_begin, opened, uncut, with_whole_pairs, without_line_end,
};
use crate::family::refusal::Refusal;

/// What stands around several records is repeated for each of them up to this many bytes. If it is longer, only the
/// first record has it; otherwise a long line with many records would be copied for each record.
const SHARED_BYTES_MAX: usize = 1024;

/// The member of Docker's object that holds the line.
const LOG: &str = "log";

/// What counts as one record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::family) enum Trust {
    /// A text that begins as a record. What follows the beginning is checked when the record is decoded.
    Records,
    /// A text with nothing after the record.
    Nothing,
}

/// The lines into which a record is split. `None` if it is read as it is.
///
/// # Errors
/// If an object is followed on its line by something that is not JSON, since the content of that is unknown.
pub(in crate::family) fn parts(
    record: &[u8],
    sought: &Sought<'_>,
    trust: Trust,
) -> Result<Option<Vec<Vec<u8>>>, Refusal> {
    let split = Split { sought, trust };
    let first = Runtime::of(first_line(record), sought);
    let is_one_line = memchr::memchr(b'\n', record).is_none();
    match first {
        None if trust == Trust::Records && sought.accepts(record) => Ok(None),
        None => Ok(split.line(record)?.map(|parts| parts.into_iter().map(String::into_bytes).collect())),
        // A line of Docker is searched whole, since its other members may hold records as well.
        Some(Runtime::Docker(_)) if is_one_line => {
            Ok(split.line(record)?.map(|parts| parts.into_iter().map(String::into_bytes).collect()))
        }
        Some(first) => {
            let joined = Joined::of(record, first, sought);
            if joined.is_partial || trust == Trust::Records && sought.accepts(&joined.bytes) {
                return Ok(None);
            }
            let Some(parts) = split.line(&joined.bytes)? else { return Ok(None) };
            let around = first.around_bytes();
            let written = parts.iter().enumerate().map(|(index, part)| match index > 0 && around > SHARED_BYTES_MAX {
                true => part.clone().into_bytes(),
                false => first.written(part.as_bytes()),
            });
            Ok(Some(written.collect()))
        }
    }
}

/// Opens the envelope that a line is. `None` if it holds no record.
///
/// # Errors
/// If it holds several records, or if an object is followed on its line by something that is not JSON.
pub(super) fn alone<'a>(line: &[u8], sought: &Sought<'_>) -> Result<Option<Opened<'a>>, Refusal> {
    if !may_begin(line) {
        return Ok(None);
    }
    let Ok(text) = std::str::from_utf8(line) else { return Ok(None) };
    let text = with_whole_pairs(text);
    match (Split { sought, trust: Trust::Records }).held(&text)? {
        Some(Held::Several(_)) => Err(several()),
        Some(Held::One { value, record: Some(record) }) => Ok(Some(opened(value, record))),
        _ => Ok(None),
    }
}

/// Checks that a line holds at most one record.
///
/// # Errors
/// As [`alone`].
pub(super) fn asked_around(line: &[u8], sought: &Sought<'_>) -> Result<(), Refusal> {
    match (Split { sought, trust: Trust::Records }).line(line)? {
        Some(_) => Err(several()),
        None => Ok(()),
    }
}

fn several() -> Refusal {
    Refusal::new("the line holds several records")
}

struct Split<'s> {
    sought: &'s Sought<'s>,
    trust: Trust,
}

/// A record found in a JSON value.
struct Found<'t> {
    /// The value as JSON, without the other records in it.
    value: Cow<'t, str>,
    record: Cow<'t, str>,
    is_object: bool,
    /// Whether the record is read alone: where it stands, no envelope would be opened for it.
    is_bare: bool,
}

impl<'t> Found<'t> {
    fn of_object(whole: &'t str, is_bare: bool) -> Self {
        Self { value: Cow::Borrowed(whole), record: Cow::Borrowed(whole), is_object: true, is_bare }
    }

    fn of_text(record: String, value: Cow<'t, str>) -> Self {
        Self { value, record: Cow::Owned(record), is_object: false, is_bare: false }
    }

    /// The line that the record is read as.
    fn into_line(self) -> String {
        let is_line = !self.is_bare && self.value.starts_with('{');
        if is_line { self.value.into_owned() } else { self.record.into_owned() }
    }
}

/// A member of an object.
struct Member<'t> {
    key: Cow<'t, str>,
    raw: &'t str,
    found: Vec<Found<'t>>,
    holds_records: bool,
}

/// The content of a line.
enum Held<'t> {
    /// One value, with at most one record.
    One { value: Json<'t>, record: Option<String> },
    /// The lines into which the line is split.
    Several(Vec<String>),
}

impl Split<'_> {
    /// Splits a line that holds more than one value, or one value with more than one record. `None` for other lines.
    fn line(&self, bytes: &[u8]) -> Result<Option<Vec<String>>, Refusal> {
        let Ok(text) = std::str::from_utf8(bytes) else { return Ok(None) };
        match self.held(&with_whole_pairs(text))? {
            Some(Held::Several(lines)) => Ok(Some(lines)),
            _ => Ok(None),
        }
    }

    /// `None` if the text does not begin with a JSON value, or if none of its values holds a record.
    fn held<'t>(&self, text: &'t str) -> Result<Option<Held<'t>>, Refusal> {
        let mut values = Values::of(text);
        let Some(first) = values.next() else { return Ok(None) };
        let mut found = self.piece(&first);
        let mut count = 1;
        for piece in values.by_ref() {
            count += 1;
            found.extend(self.piece(&piece));
        }
        let is_damaged = !values.damaged().is_empty();
        if found.is_empty() {
            return Ok(None);
        }
        if is_damaged {
            return Err(Refusal::new("something that is no JSON follows an object on its line"));
        }
        if count > 1 || found.len() > 1 || matches!(first.value, Json::Array(_)) {
            return Ok(Some(Held::Several(found.into_iter().map(Found::into_line).collect())));
        }
        let record = found.pop().filter(|found| !found.is_bare).map(|found| found.record.into_owned());
        Ok(Some(Held::One { value: first.value, record }))
    }

    fn piece<'t>(&self, piece: &Piece<'t>) -> Vec<Found<'t>> {
        let docker = Docker::of(piece.text.as_bytes(), self.sought).is_some();
        match piece.value {
            _ if !docker && self.sought.accepts(piece.text) => vec![Found::of_object(piece.text, true)],
            Json::Array(whole) => self.elements(whole, Way::TOP),
            Json::Object(whole) if docker => self.members(whole, Way::TOP, Some(LOG)),
            Json::Object(whole) => self.product_free(whole, Way::TOP),
            _ => Vec::new(),
        }
    }

    /// The records in an object. Empty if the object is a line of the product's own.
    fn product_free<'t>(&self, whole: &'t str, way: Way) -> Vec<Found<'t>> {
        let found = self.members(whole, way, None);
        if !found.is_empty() && self.sought.is_own(whole) { Vec::new() } else { found }
    }

    /// The records in a value. `raw` is the JSON text of the value.
    fn value<'t>(&self, value: Json<'t>, raw: &'t str, way: Way) -> Vec<Found<'t>> {
        match value {
            Json::String(inside) => self.string(inside, raw),
            Json::Object(whole) if self.sought.accepts(whole) => vec![Found::of_object(whole, false)],
            Json::Object(whole) => self.product_free(whole, way),
            Json::Array(whole) => {
                let mut found = self.elements(whole, way);
                for found in found.iter_mut().filter(|found| !found.is_bare) {
                    found.value = Cow::Owned(format!("[{}]", found.value));
                }
                found
            }
            _ => Vec::new(),
        }
    }

    /// The records in a string.
    fn string<'t>(&self, inside: &'t str, raw: &'t str) -> Vec<Found<'t>> {
        let plain = unescape(inside);
        let line = without_line_end(&plain);
        if !self.sought.accepts(line) {
            return Vec::new();
        }
        let several = if self.trust == Trust::Nothing { self.text(line) } else { Vec::new() };
        if several.len() > 1 { several } else { vec![Found::of_text(line.to_owned(), Cow::Borrowed(raw))] }
    }

    /// The records in a string that is a line itself, and may be an envelope.
    fn logged<'t>(&self, inside: &'t str, raw: &'t str) -> Vec<Found<'t>> {
        let found = self.string(inside, raw);
        let plain = unescape(inside);
        let line = without_line_end(&plain);
        if !found.is_empty() || self.sought.is_own(line) {
            return found;
        }
        let several = self.text(line);
        let is_one = several.len() == 1;
        several
            .into_iter()
            .map(|found| if is_one { Found { value: Cow::Borrowed(raw), ..found } } else { found })
            .collect()
    }

    /// The records in a text, each as a string of its own. Empty if a part of the text is not JSON.
    fn text<'t>(&self, text: &str) -> Vec<Found<'t>> {
        let text = with_whole_pairs(text);
        let mut values = Values::of(&text);
        let found: Vec<Found<'_>> = values.by_ref().flat_map(|piece| self.piece(&piece)).collect();
        if !values.damaged().is_empty() {
            return Vec::new();
        }
        let of_text = |found: Found<'_>| {
            let line = found.into_line();
            let value = Cow::Owned(format!("\"{}\\n\"", escaped(&line)));
            Found::of_text(line, value)
        };
        found.into_iter().map(of_text).collect()
    }

    fn elements<'t>(&self, whole: &'t str, way: Way) -> Vec<Found<'t>> {
        let Some(way) = way.into_container() else { return Vec::new() };
        let mut found = Vec::new();
        let read = Reader::new(whole).array(|reader| {
            let (value, raw) = value_of(reader, whole)?;
            found.extend(self.value(value, raw, way));
            Ok(())
        });
        if read.is_ok() { found } else { Vec::new() }
    }

    /// The records in an object, each in a copy of the object without the other records. `line` names the member whose
    /// string is a line.
    fn members<'t>(&self, whole: &'t str, way: Way, line: Option<&str>) -> Vec<Found<'t>> {
        let Some(way) = way.into_container() else { return Vec::new() };
        let mut members = Vec::new();
        let read = Reader::new(whole).object(|reader, key| {
            let (value, raw) = value_of(reader, whole)?;
            let found = match value {
                Json::String(inside) if line == Some(&*key) => self.logged(inside, raw),
                value => way.to_member(&key, self.sought).map_or_else(Vec::new, |way| self.value(value, raw, way)),
            };
            let holds_records = !found.is_empty();
            members.push(Member { key, raw, found, holds_records });
            Ok(())
        });
        if read.is_err() {
            return Vec::new();
        }
        keep_once(&mut members);
        let mut found: Vec<(Cow<'t, str>, Found<'t>)> = Vec::new();
        let mut shared = Vec::new();
        for member in members {
            if member.holds_records {
                found.extend(member.found.into_iter().map(|found| (member.key.clone(), found)));
            } else {
                write_member(&mut shared, &member.key, member.raw);
            }
        }
        if let [(_, only)] = &mut found[..] {
            only.value = if only.is_bare { only.record.clone() } else { Cow::Borrowed(whole) };
            return found.into_iter().map(|(_, found)| found).collect();
        }
        let alone = |(index, (key, mut found)): (usize, (Cow<'t, str>, Found<'t>))| {
            if !found.is_bare {
                let mut object = vec![b'{'];
                if index == 0 || shared.len() <= SHARED_BYTES_MAX {
                    object.extend_from_slice(&shared);
                }
                write_member(&mut object, &key, &found.value);
                object.pop();
                object.push(b'}');
                found.value = Cow::Owned(String::from_utf8_lossy(&object).into_owned());
            }
            found
        };
        found.into_iter().enumerate().map(alone).collect()
    }
}

/// Reads a value. Returns it, and its JSON text as a slice of `text`, which the reader reads.
fn value_of<'t>(reader: &mut Reader<'t>, text: &'t str) -> Result<(Json<'t>, &'t str), Fault> {
    let _first = reader.peek();
    let from = reader.at();
    let value = reader.value()?;
    Ok((value, text.get(from..reader.at()).unwrap_or_default()))
}

/// Appends a member and a comma.
fn write_member(out: &mut Vec<u8>, key: &str, value: &str) {
    Text::from(key).write(out);
    out.push(b':');
    out.extend_from_slice(value.as_bytes());
    out.push(b',');
}

/// Drops records that an earlier member holds already: shippers keep a line beside the fields that they parsed from it.
fn keep_once(members: &mut [Member<'_>]) {
    if members.iter().filter(|member| member.holds_records).count() < 2 {
        return;
    }
    without_cut(members);
    let has = |is_object: bool| members.iter().flat_map(|member| &member.found).any(|own| own.is_object == is_object);
    let is_mixed = has(true) && has(false);
    let mut before: HashSet<String> = HashSet::new();
    for member in members {
        let records: Vec<String> = member.found.iter().map(|found| canonical(&found.record, is_mixed)).collect();
        let mut is_new = records.iter().map(|record| !before.contains(record));
        member.found.retain(|_| is_new.next().unwrap_or(true));
        before.extend(records);
    }
}

/// Drops beginnings of lines that shippers keep beside the line, such as `short_message` of GELF. They are no records
/// of their own.
fn without_cut(members: &mut [Member<'_>]) {
    let only = |member: &Member<'_>| match &member.found[..] {
        [only] if !only.is_object => Some(uncut(&only.record).to_owned()),
        _ => None,
    };
    let mut texts: Vec<String> = members.iter().filter_map(only).collect();
    // Sorted, a text stands directly before the texts that begin with it.
    texts.sort_unstable();
    texts.dedup();
    let has_whole = members.iter().flat_map(|member| &member.found).any(|found| is_object(found.record.as_bytes()));
    for member in members {
        let Some(text) = only(member) else { continue };
        let next = texts.get(texts.partition_point(|other| *other <= text));
        let is_damaged = text.starts_with('{') && !is_object(text.as_bytes());
        if next.is_some_and(|next| next.starts_with(&text)) || is_damaged && has_whole {
            member.found.clear();
        }
    }
}

/// The record in one spelling, if the same record may be spelled in several ways.
fn canonical(record: &str, may_differ: bool) -> String {
    let value = may_differ.then(|| serde_json::from_str::<serde_json::Value>(record).ok()).flatten();
    value.map_or_else(|| record.to_owned(), |value| value.to_string())
}

//! JSON objects that hold a log line in a member, as a string or parsed, as log shippers and YDB itself write them.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::event::{Copies, Fault, Fields, Json, Members, Reader, Text, Value, mend_surrogates};

/// The members under which shippers put a line, as a string or parsed as JSON.
const LINES: [&str; 20] = [
    "@message",
    "MESSAGE",
    "_raw",
    "_source",
    "attributes",
    "body",
    "data",
    "event",
    "full_message",
    "json",
    "jsonPayload",
    "log",
    "log_processed",
    "message",
    "original",
    "parsed",
    "payload",
    "short_message",
    "stringValue",
    "textPayload",
];

/// The members under which they put a list of such lines, or of objects with a line each. Case does not matter.
const LISTS: [&str; 8] =
    ["events", "logEvents", "logRecords", "logs", "messages", "records", "resourceLogs", "scopeLogs"];

/// How many objects and lists of an envelope may enclose a line. OTLP needs this many.
const CONTAINERS_MAX: u8 = 9;

/// How many members of [`LINES`] may enclose each other, such as `event.original`.
const LINES_MAX: u8 = 2;

/// How many more containers, and members of [`LINES`], may enclose a line below a value of an envelope.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    containers: u8,
    lines: u8,
}

impl Way {
    /// The position of a whole line.
    pub(super) const TOP: Self = Self { containers: CONTAINERS_MAX, lines: LINES_MAX };

    /// The position inside an object or list. `None` if shippers nest no line so deep.
    pub(super) fn into_container(self) -> Option<Self> {
        Some(Self { containers: self.containers.checked_sub(1)?, ..self })
    }

    /// The position of a member called `name`. `None` if shippers put no line under this name.
    pub(super) fn to_member(self, name: &str, sought: &Sought<'_>) -> Option<Self> {
        if LISTS.iter().any(|list| list.eq_ignore_ascii_case(name)) {
            return Some(self);
        }
        let is_line = LINES.contains(&name) || sought.members.iter().any(|own| own == name);
        is_line.then(|| self.lines.checked_sub(1).map(|lines| Self { lines, ..self })).flatten()
    }
}

/// How often the search in a line goes on after text that is not JSON.
const DAMAGED_MAX: usize = 16;

/// The beginning of an escape by number, such as half of a surrogate pair.
static UNICODE_ESCAPE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\\u"));

/// The longest time, in bytes, that stands before the JSON of a line (YDB's text form).
const TIME_BYTES_MAX: usize = 40;

/// What a family looks for in the lines of shippers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sought<'m> {
    /// Whether a text is, or begins, a record.
    accept: fn(&[u8]) -> bool,
    /// Whether an object is a line of the product's own. Nothing in such a line is a record, since its values are
    /// whatever clients sent.
    is_own: fn(&[u8]) -> bool,
    /// Further members that hold lines, besides [`LINES`].
    members: &'m [String],
}

impl Sought<'static> {
    pub(super) const fn of(accept: fn(&[u8]) -> bool, is_own: fn(&[u8]) -> bool) -> Self {
        Self { accept, is_own, members: &[] }
    }
}

impl Sought<'_> {
    /// The same, with further members that hold lines.
    pub(super) const fn with<'m>(&self, members: &'m [String]) -> Sought<'m> {
        Sought { accept: self.accept, is_own: self.is_own, members }
    }

    pub(super) fn accepts(&self, text: impl AsRef<[u8]>) -> bool {
        (self.accept)(text.as_ref())
    }

    pub(super) fn is_own(&self, text: impl AsRef<[u8]>) -> bool {
        (self.is_own)(text.as_ref())
    }
}

/// A line taken out of an envelope, and what stood beside it.
pub(super) struct Opened<'a> {
    pub(super) line: String,
    pub(super) around: Members<'a>,
}

/// Opens an envelope that holds this line and no other.
pub(super) fn opened<'a>(value: Json<'_>, line: String) -> Opened<'a> {
    let around = match beside(value, &line, CONTAINERS_MAX) {
        Some(Value::Object(members)) if !members.is_empty() => {
            vec![(Text::from("envelope"), Value::Object(members))]
        }
        _ => Members::new(),
    };
    Opened { line, around }
}

/// The first record in a line that is not a record itself: one of the objects on the line, or a string or parsed object
/// in an envelope. Text after an object on the line is searched as well.
pub(super) fn line(bytes: &[u8], sought: &Sought<'_>) -> Option<String> {
    if !may_begin(bytes) {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let mut reader = Reader::new(text);
    let mut found = None;
    match search(&mut reader, sought, Way::TOP, &mut found) {
        // In most lines one object is the whole line.
        Ok(()) if found.is_none() && reader.end().is_ok() => return None,
        Ok(()) if found.is_some() && !sought.is_own(bytes) => return found,
        _ => {}
    }
    let text = with_whole_pairs(text);
    let mut rest = &*text;
    for attempt in 0..DAMAGED_MAX {
        let mut values = Values::of(rest);
        let found = values.by_ref().find_map(|piece| first_in(&piece, &text, sought));
        // A record after damaged text still counts as found, although it cannot be read. A line that is damaged from
        // its beginning is the first piece of a line, or not JSON at all.
        let damaged = values.damaged();
        let is_none = attempt == 0 && damaged.len() == rest.trim_matches(is_between).len();
        if found.is_some() || damaged.is_empty() || is_none {
            return found;
        }
        rest = &damaged[1 + memchr::memmem::find(&damaged.as_bytes()[1..], b"{\"")?..];
    }
    None
}

/// The first record in one value of a line that is not a record as a whole.
fn first_in(piece: &Piece<'_>, line: &str, sought: &Sought<'_>) -> Option<String> {
    if piece.text.len() < line.len() && sought.accepts(piece.text) {
        return Some(piece.text.to_owned());
    }
    let (Json::Object(whole) | Json::Array(whole)) = piece.value else { return None };
    let mut found = None;
    search(&mut Reader::new(whole), sought, Way::TOP, &mut found).ok()?;
    found.filter(|_| !sought.is_own(whole))
}

/// Whether the bytes may begin with JSON, or with a time and then JSON.
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    matches!(bytes.first(), Some(b'{' | b'[' | b'0'..=b'9'))
}

/// Whether the text may have escapes by number (`\u`), which can spell any character.
pub(super) fn has_escapes(bytes: &[u8]) -> bool {
    UNICODE_ESCAPE.find(bytes).is_some()
}

/// The text with each half of a surrogate pair replaced. All offsets stay the same.
pub(super) fn with_whole_pairs(text: &str) -> Cow<'_, str> {
    // Half of a surrogate pair is an escape `\ud...`.
    let bytes = text.as_bytes();
    let may_be_half = |at: usize| matches!(bytes.get(at + 2), Some(b'd' | b'D'));
    match UNICODE_ESCAPE.find_iter(bytes).any(may_be_half) {
        true => Cow::Owned(mend_surrogates(text)),
        false => Cow::Borrowed(text),
    }
}

/// The objects and lists of a line, one after another. The iterator ends at other text.
pub(super) struct Values<'t> {
    rest: &'t str,
}

/// One object or list of a line.
pub(super) struct Piece<'t> {
    pub(super) value: Json<'t>,
    /// Its JSON text, with the time that may stand before it.
    pub(super) text: &'t str,
}

impl<'t> Values<'t> {
    pub(super) const fn of(text: &'t str) -> Self {
        Self { rest: text }
    }

    /// What follows the last value and is neither object nor list.
    pub(super) fn damaged(&self) -> &'t str {
        self.rest.trim_matches(is_between)
    }
}

/// What may stand between two values: white space, and the commas of a list whose brackets stand on other lines.
fn is_between(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n' | ',')
}

impl<'t> Iterator for Values<'t> {
    type Item = Piece<'t>;

    fn next(&mut self) -> Option<Piece<'t>> {
        let text = self.rest.trim_start_matches(is_between);
        let begin = match text.as_bytes().first()? {
            b'{' | b'[' => 0,
            b'0'..=b'9' => {
                let head = &text.as_bytes()[..text.len().min(TIME_BYTES_MAX)];
                memchr::memmem::find(head, b": {")? + 2
            }
            _ => return None,
        };
        let mut reader = Reader::new(text.get(begin..)?);
        let value = reader.value().ok()?;
        let (text, rest) = text.split_at(begin + reader.at());
        self.rest = rest;
        Some(Piece { value, text })
    }
}

/// A text as the inside of a JSON string.
pub(super) fn escaped(text: &str) -> String {
    let mut inside = Vec::with_capacity(text.len() + 16);
    Text::from(text).write_inside(&mut inside);
    String::from_utf8_lossy(&inside).into_owned()
}

/// A value without the line. `None` if it is nothing but the line or its beginning.
fn beside<'a>(value: Json<'_>, line: &str, depth: u8) -> Option<Value<'a>> {
    match value {
        Json::String(inside) if is_told_by(without_line_end(&Text::Escaped(inside).plain()), line) => None,
        Json::Object(whole) if whole == line => None,
        Json::Object(whole) if depth > 0 => {
            let fields = Fields::read(&mut Reader::new(whole)).ok()?;
            let kept = fields.iter().filter_map(|field| {
                let value = beside(field.value, line, depth - 1)?;
                Some((Text::from(field.key.clone().into_owned()), value))
            });
            Some(Value::Object(kept.collect()))
        }
        Json::Array(whole) if depth > 0 => {
            let mut kept = Vec::new();
            let read = Reader::new(whole).array(|reader| {
                kept.extend(beside(reader.value()?, line, depth - 1));
                Ok(())
            });
            read.ok().map(|()| Value::List(kept))
        }
        value => {
            let mut out = Vec::new();
            Copies::default().copy(value).write(&mut out);
            Some(Value::Json(Cow::Owned(String::from_utf8(out).ok()?)))
        }
    }
}

pub(super) fn without_line_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

/// Whether a text is the line or its beginning, which adds nothing. A short text must be the whole line.
fn is_told_by(text: &str, line: &str) -> bool {
    text == line || text.len() >= BEGINNING_BYTES_MIN && line.starts_with(uncut(text))
}

/// The shortest text, in bytes, that counts as a beginning. A shorter one may be any word.
const BEGINNING_BYTES_MIN: usize = 16;

/// A text without the dots that shippers append where they cut it.
pub(super) fn uncut(text: &str) -> &str {
    text.trim_end_matches(['.', '\u{2026}'])
}

/// Reads an object or list to its end, and finds the first record in it.
fn search(reader: &mut Reader<'_>, sought: &Sought<'_>, way: Way, found: &mut Option<String>) -> Result<(), Fault> {
    let Some(way) = way.into_container() else { return reader.value().map(drop) };
    let mut visit = |reader: &mut Reader<'_>, way: Option<Way>| {
        let value = reader.value()?;
        let Some(way) = way.filter(|_| found.is_none()) else { return Ok(()) };
        match value {
            Json::Object(whole) if sought.accepts(whole) => *found = Some(whole.to_owned()),
            Json::Object(whole) | Json::Array(whole) => {
                search(&mut Reader::new(whole), sought, way, found)?;
                if found.is_some() && sought.is_own(whole) {
                    *found = None;
                }
            }
            Json::String(inside) => {
                let text = Text::Escaped(inside);
                let plain = text.plain();
                let line = without_line_end(&plain);
                *found = sought.accepts(line).then(|| line.to_owned());
            }
            _ => {}
        }
        Ok(())
    };
    match reader.peek() {
        Some(b'{') => reader.object(|reader, key| visit(reader, way.to_member(&key, sought))),
        _ => reader.array(|reader| visit(reader, Some(way))),
    }
}

//! JSON objects that hold a line of log in some member, as text or read: what log shippers, and YDB itself, make of one.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::event::{Copies, Fault, Fields, Json, Members, Reader, Text, Value, mend_surrogates};

/// How deep in an envelope's objects the line may stand.
pub(super) const DEPTH_MAX: u8 = 4;

/// What shippers call a line that they have read as JSON, so that it is an object in theirs and no text.
const SHIPPED: [&str; 8] = ["body", "event", "json", "jsonPayload", "log", "log_processed", "message", "parsed"];

/// What they call a list of such lines, whatever its letters' case.
const LISTS: [&str; 4] = ["events", "logs", "messages", "records"];

/// What a list is taken to be called that has no name.
pub(super) const LIST: &str = LISTS[3];

/// How often, in a line, the next JSON is looked for behind something that is none.
const DAMAGED_MAX: usize = 16;

/// What half of a surrogate pair begins with.
static UNICODE_ESCAPE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\\u"));

/// A text form's time, which stands before its JSON, is shorter.
const TIME_BYTES_MAX: usize = 40;

/// What a family looks for in what shippers write.
#[derive(Debug)]
pub(super) struct Sought {
    /// Tells whether a text is, or begins, a record.
    pub(super) accept: fn(&[u8]) -> bool,
    /// Tells whether an object is the product's own line, in which nothing is a record.
    pub(super) is_own: fn(&[u8]) -> bool,
}

impl Sought {
    /// For products whose lines hold no records of theirs.
    pub(super) const fn of(accept: fn(&[u8]) -> bool) -> Self {
        Self { accept, is_own: |_| false }
    }

    pub(super) fn accepts(&self, text: &str) -> bool {
        (self.accept)(text.as_bytes())
    }
}

/// A line that was in an envelope, and what was beside it.
pub(super) struct Opened<'a> {
    pub(super) line: String,
    pub(super) around: Members<'a>,
}

/// Opens an envelope that holds that line, and no other.
pub(super) fn opened<'a>(value: Json<'_>, line: String) -> Opened<'a> {
    let around = match beside(value, &line, DEPTH_MAX) {
        Some(Value::Object(members)) if !members.is_empty() => {
            vec![(Text::from("envelope"), Value::Object(members))]
        }
        _ => Members::new(),
    };
    Opened { line, around }
}

/// The first record in a line that is none: one of the objects in it, one of the strings of an envelope, or one of its
/// objects that shippers read from a line. What follows an object on its line is asked as well.
pub(super) fn line(bytes: &[u8], sought: &Sought) -> Option<String> {
    if !may_begin(bytes) {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let mut reader = Reader::new(text);
    let mut found = None;
    match search(LIST, &mut reader, sought, DEPTH_MAX, &mut found) {
        // Mostly one object is all of the line.
        Ok(()) if found.is_none() && reader.end().is_ok() => return None,
        Ok(()) if found.is_some() && !(sought.is_own)(bytes) => return found,
        _ => {}
    }
    let text = with_whole_pairs(text);
    let mut rest = &*text;
    for attempt in 0..DAMAGED_MAX {
        let mut values = Values::of(rest);
        let found = values.by_ref().find_map(|piece| first_in(&piece, &text, sought));
        // Behind what is damaged a record may be told of, though none can be read. What begins damaged is the first piece of
        // a line, or no JSON at all.
        let damaged = values.damaged();
        let is_none = attempt == 0 && damaged.len() == rest.trim_matches(is_between).len();
        if found.is_some() || damaged.is_empty() || is_none {
            return found;
        }
        rest = &damaged[1 + memchr::memmem::find(&damaged.as_bytes()[1..], b"{\"")?..];
    }
    None
}

/// The first record in one of the values of a line, which as a whole is none.
fn first_in(piece: &Piece<'_>, line: &str, sought: &Sought) -> Option<String> {
    if piece.text.len() < line.len() && sought.accepts(piece.text) {
        return Some(piece.text.to_owned());
    }
    let (Json::Object(whole) | Json::Array(whole)) = piece.value else { return None };
    let mut found = None;
    search(LIST, &mut Reader::new(whole), sought, DEPTH_MAX, &mut found).ok()?;
    found.filter(|_| !(sought.is_own)(whole.as_bytes()))
}

/// Whether JSON stands there, or a text form's time and then JSON.
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    matches!(bytes.first(), Some(b'{' | b'[' | b'0'..=b'9'))
}

/// Whether any character may be written as an escape of its number.
pub(super) fn has_escapes(bytes: &[u8]) -> bool {
    UNICODE_ESCAPE.find(bytes).is_some()
}

/// The text with no half of a surrogate pair in it, in which no place is another.
pub(super) fn with_whole_pairs(text: &str) -> Cow<'_, str> {
    // Half a surrogate pair is an escape that begins so.
    let bytes = text.as_bytes();
    let may_be_half = |at: usize| matches!(bytes.get(at + 2), Some(b'd' | b'D'));
    match UNICODE_ESCAPE.find_iter(bytes).any(may_be_half) {
        true => Cow::Owned(mend_surrogates(text)),
        false => Cow::Borrowed(text),
    }
}

/// The objects and lists of a line, one after another. They end where something stands that is none.
pub(super) struct Values<'t> {
    rest: &'t str,
}

/// One of them.
pub(super) struct Piece<'t> {
    pub(super) value: Json<'t>,
    /// The same as text, with the time before it that a text form has.
    pub(super) text: &'t str,
}

impl<'t> Values<'t> {
    pub(super) const fn of(text: &'t str) -> Self {
        Self { rest: text }
    }

    /// What follows the last that was read, and is none.
    pub(super) fn damaged(&self) -> &'t str {
        self.rest.trim_matches(is_between)
    }
}

/// What may stand between them: white space, and the commas of a list whose brackets stand on other lines.
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

/// Whether shippers call so what they have read as JSON.
pub(super) fn is_shipped(name: &str) -> bool {
    SHIPPED.contains(&name) || LISTS.iter().any(|list| list.eq_ignore_ascii_case(name))
}

/// A text as the inside of a JSON string.
pub(super) fn escaped(text: &str) -> String {
    let mut inside = Vec::with_capacity(text.len() + 16);
    Text::from(text).write_inside(&mut inside);
    String::from_utf8_lossy(&inside).into_owned()
}

/// A value without the line, and without what held nothing else.
fn beside<'a>(value: Json<'_>, line: &str, depth: u8) -> Option<Value<'a>> {
    match value {
        Json::String(inside) if without_line_end(&Text::Escaped(inside).plain()) == line => None,
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

/// Reads an object or list, and finds the first record in it. `name` is what a list is called.
fn search(
    name: &str,
    reader: &mut Reader<'_>,
    sought: &Sought,
    depth: u8,
    found: &mut Option<String>,
) -> Result<(), Fault> {
    let Some(depth) = depth.checked_sub(1) else { return reader.value().map(drop) };
    let mut visit = |reader: &mut Reader<'_>, name: &str| {
        let value = reader.value()?;
        if found.is_some() {
            return Ok(());
        }
        match value {
            Json::Object(whole) if is_shipped(name) && sought.accepts(whole) => *found = Some(whole.to_owned()),
            Json::Object(whole) | Json::Array(whole) => {
                search(name, &mut Reader::new(whole), sought, depth, found)?;
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
        Some(b'{') => reader.object(|reader, key| visit(reader, &key)),
        _ => reader.array(|reader| visit(reader, name)),
    }
}

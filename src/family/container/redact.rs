//! Redacts a record inside what stands around it, and what stands around it.

use std::ops::Range;

use crate::event::{Fault, Json, Reader, Text, unescape};
use crate::family::container::cut;
use crate::family::container::runtime::{Joined, Runtime, first_line};
use crate::family::envelope::{self, Sought, Values, with_whole_pairs, without_line_end};
use crate::family::redaction::{Action, Edit, MASKED, Redaction, Rest, applied, matching, offset_in};
use crate::family::refusal::Refusal;

/// Redacts a line, or gives nothing when none of it is concerned.
pub(in crate::family) type RedactLine<'f> = &'f dyn Fn(&[u8]) -> Result<Option<Vec<u8>>, Refusal>;

/// How often a text's escapes are undone in search of a name.
const ESCAPED_MAX: u8 = 4;

/// Between a name and its value stand a few quotes, backslashes and spaces.
const BETWEEN_MAX: usize = 16;

/// The record with the line in it redacted, and what stands around it; nothing when none of it is concerned. What the
/// runtime cut in pieces is then in one, as the runtime would have written a line that is short enough; lines of another
/// stream between them are gone, and no record is left as it was that has any.
///
/// # Errors
/// When the line cannot be redacted, or would be no record any more.
pub(in crate::family) fn redacted(
    record: &[u8],
    sought: &Sought<'_>,
    redaction: &Redaction,
    redact: RedactLine<'_>,
) -> Result<Option<Vec<u8>>, Refusal> {
    let redactor = Redactor { sought, redaction, redact };
    let Some(first) = Runtime::of(first_line(record), sought) else { return redactor.line(record) };
    let joined = Joined::of(record, first, sought);
    if joined.is_partial {
        return Err(cut());
    }
    let line = redactor.line(&joined.bytes)?;
    let redacted = line.as_deref().unwrap_or(&joined.bytes);
    let around = match first {
        Runtime::Cri(_) | Runtime::Head(_) => Vec::new(),
        Runtime::Docker(docker) => redactor.around(docker.text, Some(docker.log_at()))?,
    };
    if line.is_none() && !joined.is_mixed && around.is_empty() {
        return Ok(None);
    }
    Ok(Some(first.written_with(redacted, around)))
}

/// Redacts a record that is one JSON object, and the records that it holds as text.
///
/// # Errors
/// When it is no UTF-8 or no JSON, so that nobody can say what is in it.
pub(in crate::family) fn redacted_json(
    bytes: &[u8],
    sought: &Sought<'_>,
    redaction: &Redaction,
) -> Result<Option<Vec<u8>>, Refusal> {
    let text = std::str::from_utf8(bytes).map_err(|_| Refusal::new("the record is no UTF-8"))?;
    let mut edits = redaction.json(text, &|object| sought.accepts(object))?;
    copies(text, sought, &|bytes| redacted_json(bytes, sought, redaction), &mut edits)?;
    Ok((!edits.is_empty()).then(|| applied(text, &edits).into_bytes()))
}

/// What of a JSON text is to be redacted since it is a record as text: shippers keep a line beside what they have
/// read from it.
///
/// # Errors
/// When such a record cannot be redacted.
pub(in crate::family) fn copies(
    text: &str,
    sought: &Sought<'_>,
    redact: RedactLine<'_>,
    edits: &mut Vec<Edit>,
) -> Result<(), Refusal> {
    // No place in the one is another in the other.
    let whole = with_whole_pairs(text);
    let mut found = Vec::new();
    let may_be_record = |inside: &str| matches!(inside.as_bytes().first(), Some(b'{' | b'\\' | b' ' | b'0'..=b'9'));
    let mut visit = |inside| found.extend(Some(inside).filter(|inside: &&str| may_be_record(inside)));
    strings(&mut Reader::new(&whole), &mut visit).map_err(refusal)?;
    for inside in found {
        if let Some(redacted) = redacted_string(inside, sought, redact)? {
            let at = offset_in(&whole, inside);
            edits.push(Edit { at: at..at + inside.len(), replacement: redacted });
        }
    }
    Ok(())
}

/// Hands on each string of a value.
fn strings<'t>(reader: &mut Reader<'t>, visit: &mut dyn FnMut(&'t str)) -> Result<(), Fault> {
    match reader.peek() {
        Some(b'{') => reader.object(|reader, _| strings(reader, visit)),
        Some(b'[') => reader.array(|reader| strings(reader, visit)),
        _ => {
            if let Json::String(inside) = reader.value()? {
                visit(inside);
            }
            Ok(())
        }
    }
}

/// A string's record, redacted, as the inside of a string; nothing where it is no record, or none that is concerned.
fn redacted_string(inside: &str, sought: &Sought<'_>, redact: RedactLine<'_>) -> Result<Option<String>, Refusal> {
    let plain = unescape(inside);
    let line = without_line_end(&plain);
    if !sought.accepts(line) {
        return Ok(None);
    }
    let redacted = redact(line.as_bytes())?;
    let end = &plain[line.len()..];
    Ok(redacted.map(|redacted| envelope::escaped(&format!("{}{end}", String::from_utf8_lossy(&redacted)))))
}

fn refusal(fault: Fault) -> Refusal {
    Refusal::new(fault.to_string())
}

struct Redactor<'f> {
    sought: &'f Sought<'f>,
    redaction: &'f Redaction,
    redact: RedactLine<'f>,
}

impl Redactor<'_> {
    /// The same of what the runtime was given.
    fn line(&self, bytes: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        if self.sought.accepts(bytes) {
            return (self.redact)(bytes);
        }
        if envelope::line(bytes, self.sought).is_none() {
            return self.unknown(bytes);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Refusal::new("the envelope is no UTF-8"))?;
        let edits = self.around(text, None)?;
        if edits.is_empty() {
            return Ok(None);
        }
        let redacted = applied(text, &edits).into_bytes();
        // Else the envelope would be taken for the record.
        match envelope::line(&redacted, self.sought) {
            Some(_) => Ok(Some(redacted)),
            None => Err(Refusal::new("what is left of the record after its redaction is none")),
        }
    }

    /// The same of a line that is not seen to be, or to hold, a record, though some families read it: a text in it may hold
    /// a piece of one.
    fn unknown(&self, bytes: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        let line = (self.redact)(bytes)?;
        let text = std::str::from_utf8(line.as_deref().unwrap_or(bytes));
        let text = text.map_err(|_| Refusal::new("the record is no UTF-8"))?;
        let whole = with_whole_pairs(text);
        let mut edits = Vec::new();
        let mut visit = |inside| {
            if !self.is_record(inside) && self.may_hold(inside) {
                let at = offset_in(&whole, inside);
                edits.push(Edit { at: at..at + inside.len(), replacement: MASKED.to_owned() });
            }
        };
        strings(&mut Reader::new(&whole), &mut visit).map_err(refusal)?;
        Ok(if edits.is_empty() { line } else { Some(applied(text, &edits).into_bytes()) })
    }

    /// What of an envelope is to be redacted: every string and object in it that is a record is redacted, also those
    /// that nobody reads, and what a path leads to is, from whichever object on. `line` is where a text begins that
    /// is left out; the member that holds it may stand twice.
    fn around(&self, text: &str, line: Option<usize>) -> Result<Vec<Edit>, Refusal> {
        // No place in the one is another in the other.
        let whole = with_whole_pairs(text);
        let mut values = Values::of(&whole);
        let piece = values.next().filter(|_| values.damaged().is_empty());
        let piece = piece.ok_or(Refusal::new("the envelope is no JSON"))?;
        let mut walk = Walk { redactor: self, text: &whole, edits: Vec::new(), refused: None };
        match (piece.value, line) {
            (Json::Object(object), Some(line)) => {
                let is_line = |inside: &str| offset_in(&whole, inside) == line;
                let is_asked = |value: Json<'_>| !matches!(value, Json::String(inside) if is_line(inside));
                walk.object(object, &[], is_asked).map_err(refusal)?;
            }
            (value, _) => walk.value(value, &[]).map_err(refusal)?,
        }
        walk.refused.map_or(Ok(walk.edits), Err)
    }

    /// Whether a value is, or holds, a record.
    fn holds_records(&self, value: Json<'_>) -> bool {
        match value {
            Json::String(inside) => self.is_record(inside),
            Json::Object(whole) => {
                self.sought.accepts(whole) || envelope::line(whole.as_bytes(), self.sought).is_some()
            }
            Json::Array(whole) => envelope::line(whole.as_bytes(), self.sought).is_some(),
            _ => false,
        }
    }

    fn is_record(&self, inside: &str) -> bool {
        self.sought.accepts(without_line_end(&unescape(inside)))
    }

    /// Whether a text beside the record may hold a piece of one: it names what is redacted, as a field, or is the rest of an
    /// object, whose beginning may have named it.
    fn may_hold(&self, inside: &str) -> bool {
        let mut text = Text::Escaped(inside).plain().into_owned();
        if is_rest_of_object(&text) {
            return true;
        }
        for _ in 0..ESCAPED_MAX {
            if self.redaction.names().any(|name| names_field(&text, name)) {
                return true;
            }
            if memchr::memchr(b'\\', text.as_bytes()).is_none() {
                return false;
            }
            text = unescape(&text).into_owned();
        }
        // What is escaped so often nobody has looked into.
        memchr::memchr(b'\\', text.as_bytes()).is_some()
    }
}

/// Whether a text ends as an object whose beginning is not in it.
fn is_rest_of_object(text: &str) -> bool {
    let count = |brace| memchr::memchr_iter(brace, text.as_bytes()).count();
    text.trim_ascii_end().ends_with('}') && text.contains('"') && count(b'}') > count(b'{')
}

/// Whether a text says something of a field of that name, in whatever notation.
fn names_field(text: &str, name: &str) -> bool {
    let bytes = text.as_bytes();
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    memchr::memmem::find_iter(bytes, name).any(|at| {
        let after = &bytes[at + name.len()..];
        let is_between = |byte: &u8| matches!(byte, b'"' | b'\'' | b'\\' | b' ');
        let between = after.iter().take(BETWEEN_MAX).take_while(|byte| is_between(byte)).count();
        matches!(after.get(between), Some(b':' | b'=')) && !bytes[..at].last().is_some_and(is_of_name)
    })
}

/// A way through an envelope.
struct Walk<'w, 'f> {
    redactor: &'w Redactor<'f>,
    text: &'w str,
    edits: Vec<Edit>,
    refused: Option<Refusal>,
}

impl<'w> Walk<'w, '_> {
    fn value(&mut self, value: Json<'w>, rests: &[Rest<'_>]) -> Result<(), Fault> {
        let Redactor { sought, redact, .. } = *self.redactor;
        match value {
            Json::String(inside) => {
                match redacted_string(inside, sought, redact) {
                    Ok(Some(redacted)) => self.edit(inside, redacted),
                    Ok(None) if !self.redactor.is_record(inside) && self.redactor.may_hold(inside) => {
                        self.edit(inside, MASKED.to_owned());
                    }
                    Ok(None) => {}
                    // It may be the beginning of one that stands whole beside it.
                    Err(_) => self.edit(inside, MASKED.to_owned()),
                }
                Ok(())
            }
            Json::Object(whole) if sought.accepts(whole) => {
                match redact(whole.as_bytes()) {
                    Ok(Some(redacted)) => self.edit(whole, String::from_utf8_lossy(&redacted).into_owned()),
                    Ok(None) => {}
                    Err(refusal) => self.refused = Some(refusal),
                }
                Ok(())
            }
            Json::Object(whole) => self.object(whole, rests, |_| true),
            Json::Array(whole) => Reader::new(whole).array(|reader| self.value(reader.value()?, rests)),
            _ => Ok(()),
        }
    }

    fn object(&mut self, whole: &'w str, rests: &[Rest<'_>], is_asked: impl Fn(Json<'_>) -> bool) -> Result<(), Fault> {
        let rests: Vec<Rest<'_>> = rests.iter().copied().chain(self.redactor.redaction.rests()).collect();
        let begin = offset_in(self.text, whole);
        Reader::new(whole).object(|reader, key| {
            let _first = reader.peek();
            let from = reader.at();
            let value = reader.value()?;
            let (action, inner) = matching(&rests, &key);
            match action {
                _ if !is_asked(value) => Ok(()),
                // A line stands there, or several.
                Some(_) if self.redactor.holds_records(value) => self.value(value, &[]),
                Some(action) => {
                    self.replace(begin + from..begin + reader.at(), value, action);
                    Ok(())
                }
                None => self.value(value, &inner),
            }
        })
    }

    /// Of a member that is dropped the name stays.
    fn replace(&mut self, at: Range<usize>, value: Json<'_>, action: Action) {
        let said = value.text().map(|text| text.plain().into_owned());
        if let Some(said) = said {
            let redacted = self.redactor.redaction.redacted(action, &said);
            let redacted = redacted.map_or_else(|| "null".to_owned(), |redacted| format!("\"{redacted}\""));
            self.edits.push(Edit { at, replacement: redacted });
        }
    }

    fn edit(&mut self, part: &str, redacted: String) {
        let at = offset_in(self.text, part);
        self.edits.push(Edit { at: at..at + part.len(), replacement: redacted });
    }
}

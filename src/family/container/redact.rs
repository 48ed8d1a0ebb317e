//! Redacts a record that a runtime or shipper wrapped, and what stands around it.

use std::ops::Range;

use crate::event::{Fault, Json, Reader, Text, unescape};
use crate::family::container::cut;
use crate::family::container::runtime::{Joined, Runtime, first_line};
use crate::family::envelope::{self, Sought, Values, with_whole_pairs, without_line_end};
use crate::family::redaction::{Action, Edit, MASKED, Redaction, Rest, applied, matching, offset_in};
use crate::family::refusal::Refusal;

/// Redacts a line. `None` if the line has nothing to redact.
pub(in crate::family) type RedactLine<'f> = &'f dyn Fn(&[u8]) -> Result<Option<Vec<u8>>, Refusal>;

/// How many levels of escapes are undone to find a field's name.
const ESCAPED_MAX: u8 = 4;

/// The most quotes, backslashes and spaces between a field's name and the `:` or `=` after it.
const BETWEEN_MAX: usize = 16;

/// Redacts the record's line and what stands around it. `None` if there is nothing to redact. Pieces that a runtime cut
/// become one line in the runtime's format. Lines of another stream between them are left out, so a record that has
/// such lines is always rewritten.
///
/// # Errors
/// If the line cannot be redacted, or would not be a record afterwards.
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

/// Redacts a record that is one JSON object, and the records that it holds as strings.
///
/// # Errors
/// If it is not UTF-8 or not JSON, since its fields are then unknown.
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

/// Adds edits that redact the strings of a JSON text that are records: shippers keep a line beside the fields that they
/// parsed from it.
///
/// # Errors
/// If such a record cannot be redacted.
pub(in crate::family) fn copies(
    text: &str,
    sought: &Sought<'_>,
    redact: RedactLine<'_>,
    edits: &mut Vec<Edit>,
) -> Result<(), Refusal> {
    // `whole` has the same offsets as `text`.
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

/// Calls `visit` with each string of a value.
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

/// Redacts the record in a string. Returns the new inside of the string, or `None` if the string is no record or has
/// nothing to redact.
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
    /// Redacts a line that a runtime was given. `None` if there is nothing to redact.
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
        // Without a record in it, the envelope itself would be read as the record.
        match envelope::line(&redacted, self.sought) {
            Some(_) => Ok(Some(redacted)),
            None => Err(Refusal::new("what is left of the record after its redaction is none")),
        }
    }

    /// Redacts a line in which no record is found, since some families read it nevertheless. A string in it that may
    /// hold a part of a record is masked.
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

    /// Edits that redact an envelope: every string and object in it that is a record, even in members that are never
    /// read, and the fields that a path leads to from any of its objects. `line` is the offset of a string that is left
    /// out. Its member may be repeated, so the offset, not the name, identifies it.
    fn around(&self, text: &str, line: Option<usize>) -> Result<Vec<Edit>, Refusal> {
        // `whole` has the same offsets as `text`.
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

    /// Whether a value is a record, or holds one.
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

    /// Whether a string beside the record may hold a part of a record: it names a field that is redacted, or it is the
    /// end of an object, whose beginning may have named one.
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
        // A text with even more levels of escapes is not searched; it may hold anything.
        memchr::memchr(b'\\', text.as_bytes()).is_some()
    }
}

/// Whether a text ends as an object that began before the text.
fn is_rest_of_object(text: &str) -> bool {
    let count = |brace| memchr::memchr_iter(brace, text.as_bytes()).count();
    text.trim_ascii_end().ends_with('}') && text.contains('"') && count(b'}') > count(b'{')
}

/// Whether a text gives a value to a field of that name, in any notation.
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

/// Goes through an envelope and collects edits.
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
                    // The string may be the beginning of a record that stands whole in another member.
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
                // The value holds records: redact each of them instead of the whole value.
                Some(_) if self.redactor.holds_records(value) => self.value(value, &[]),
                Some(action) => {
                    self.replace(begin + from..begin + reader.at(), value, action);
                    Ok(())
                }
                None => self.value(value, &inner),
            }
        })
    }

    /// A dropped member keeps its name, with the value null.
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

//! JSON objects that hold a line of log in some member, as text or read: what log shippers, and YDB itself, make of one.

use std::borrow::Cow;

use crate::event::Fields;
use crate::event::Json;
use crate::event::Members;
use crate::event::Reader;
use crate::event::Secrets;
use crate::event::Text;
use crate::event::Value;
use crate::family::Refusal;
use crate::family::redaction::Edit;
use crate::family::redaction::offset_in;

/// How deep in an envelope's objects the line may stand.
const DEPTH_MAX: u8 = 4;

/// What shippers call a line that they have read as JSON, so that it is an object in theirs and no text.
const SHIPPED: [&str; 5] = ["json", "log", "log_processed", "message", "parsed"];

/// Tells whether a text is, or begins, a record that a family looks for.
pub(super) type Accept = fn(&[u8]) -> bool;

/// Redacts a line, or gives nothing when none of it is concerned.
pub(super) type RedactLine<'f> = &'f dyn Fn(&[u8]) -> Result<Option<Vec<u8>>, Refusal>;

/// A line that was in an envelope, and what was beside it.
pub(super) struct Opened<'a> {
    pub(super) line: String,
    pub(super) around: Members<'a>,
    /// What was beside it holds secrets.
    pub(super) hides: bool,
}

/// Opens an envelope, which is not itself what is looked for; nothing when it holds nothing of the kind.
pub(super) fn opened<'a>(bytes: &[u8], accept: Accept) -> Option<Opened<'a>> {
    let line = line(bytes, accept)?;
    let text = std::str::from_utf8(bytes).ok()?;
    let mut secrets = Secrets::of(text);
    let around = match beside("", Json::Object(text), &line, &mut secrets, DEPTH_MAX) {
        Some(Value::Object(members)) if !members.is_empty() => {
            vec![(Text::from("envelope"), Value::Object(members))]
        }
        _ => Members::new(),
    };
    Some(Opened { line, around, hides: !secrets.masks.is_empty() })
}

/// The line that one of the strings of an envelope is, or one of its objects that shippers read from a line.
pub(super) fn line(bytes: &[u8], accept: Accept) -> Option<String> {
    if bytes.first() != Some(&b'{') {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?;
    search(Json::Object(text), accept, DEPTH_MAX)
}

/// What of an envelope is to be shown otherwise: every string and object in it that is a record is redacted, also those
/// that nobody reads. `value` is a part of `text`.
///
/// # Errors
/// When one of the records cannot be redacted.
pub(super) fn redacted(
    text: &str,
    value: Json<'_>,
    accept: Accept,
    redact: RedactLine<'_>,
    edits: &mut Vec<Edit>,
) -> Result<(), Refusal> {
    let (Json::String(whole) | Json::Object(whole) | Json::Array(whole)) = value else { return Ok(()) };
    let begin = offset_in(text, whole);
    let at = begin..begin + whole.len();
    let mut refused = Ok(());
    let mut visit = |reader: &mut Reader<'_>| {
        let inner = reader.value()?;
        if refused.is_ok() {
            refused = redacted(text, inner, accept, redact, edits);
        }
        Ok(())
    };
    let read = match value {
        Json::String(inside) => {
            let plain = Text::Escaped(inside).plain().into_owned();
            let line = without_line_end(&plain);
            if accept(line.as_bytes())
                && let Some(shown) = redact(line.as_bytes())?
            {
                let shown = format!("{}{}", String::from_utf8_lossy(&shown), &plain[line.len()..]);
                edits.push(Edit { at, shown: escaped(&shown) });
            }
            return Ok(());
        }
        Json::Object(_) if accept(whole.as_bytes()) => {
            let shown = redact(whole.as_bytes())?.map(|shown| String::from_utf8_lossy(&shown).into_owned());
            edits.extend(shown.map(|shown| Edit { at, shown }));
            return Ok(());
        }
        Json::Array(_) => Reader::new(whole).array(visit),
        _ => Reader::new(whole).object(|reader, _| visit(reader)),
    };
    read.map_err(|fault| Refusal::new(fault.to_string()))?;
    refused
}

/// A text as the inside of a JSON string.
pub(super) fn escaped(text: &str) -> String {
    let mut inside = Vec::with_capacity(text.len() + 16);
    Text::from(text).write_inside(&mut inside);
    String::from_utf8_lossy(&inside).into_owned()
}

/// A value without the line, and without what held nothing else.
fn beside<'a, 't>(name: &str, value: Json<'t>, line: &str, secrets: &mut Secrets<'t>, depth: u8) -> Option<Value<'a>> {
    match value {
        Json::String(inside) if without_line_end(&Text::Escaped(inside).plain()) == line => None,
        Json::Object(whole) if whole == line => None,
        Json::Object(whole) if depth > 0 => {
            let fields = Fields::read(&mut Reader::new(whole)).ok()?;
            let kept = fields.iter().filter_map(|field| {
                let value = beside(&field.key, field.value, line, secrets, depth - 1)?;
                Some((Text::from(field.key.clone().into_owned()), value))
            });
            Some(Value::Object(kept.collect()))
        }
        Json::Array(whole) if depth > 0 => {
            let mut kept = Vec::new();
            let read = Reader::new(whole).array(|reader| {
                kept.extend(beside(name, reader.value()?, line, secrets, depth - 1));
                Ok(())
            });
            read.ok().map(|()| Value::List(kept))
        }
        value => {
            let mut out = Vec::new();
            secrets.carry(name, value).write(&mut out);
            Some(Value::Json(Cow::Owned(String::from_utf8(out).ok()?)))
        }
    }
}

fn without_line_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

fn search(value: Json<'_>, accept: Accept, depth: u8) -> Option<String> {
    let depth = depth.checked_sub(1)?;
    let mut found = None;
    let mut visit = |reader: &mut Reader<'_>, name: &str| {
        let value = reader.value()?;
        if found.is_none() {
            found = match value {
                Json::Object(whole) if SHIPPED.contains(&name) && accept(whole.as_bytes()) => Some(whole.to_owned()),
                Json::String(inside) => {
                    let text = Text::Escaped(inside);
                    let plain = text.plain();
                    let line = without_line_end(&plain);
                    accept(line.as_bytes()).then(|| line.to_owned())
                }
                Json::Object(_) | Json::Array(_) => search(value, accept, depth),
                _ => None,
            };
        }
        Ok(())
    };
    let read = match value {
        Json::Object(whole) => Reader::new(whole).object(|reader, key| visit(reader, &key)),
        Json::Array(whole) => Reader::new(whole).array(|reader| visit(reader, "")),
        _ => return None,
    };
    read.ok().and(found)
}

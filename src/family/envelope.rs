//! JSON objects that hold a line of log as the text of some member: what log shippers, and YDB itself, make of one.

use std::borrow::Cow;

use crate::event::Fields;
use crate::event::Json;
use crate::event::Members;
use crate::event::Reader;
use crate::event::Secrets;
use crate::event::Text;
use crate::event::Value;

/// How deep in an envelope's objects the line may stand.
const DEPTH_MAX: u8 = 4;

/// Tells whether a text is, or begins, a record that a family looks for.
pub(super) type Accept = fn(&[u8]) -> bool;

/// A line that was in an envelope, and what was beside it.
pub(super) struct Opened<'a> {
    pub(super) line: String,
    pub(super) around: Members<'a>,
    /// What was beside it holds secrets.
    pub(super) hides: bool,
}

/// Opens an envelope; nothing when the text is itself what is looked for, or holds nothing of the kind.
pub(super) fn opened<'a>(bytes: &[u8], accept: Accept) -> Option<Opened<'a>> {
    if accept(bytes) {
        return None;
    }
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

/// The line that one of the strings of an envelope is.
pub(super) fn line(bytes: &[u8], accept: Accept) -> Option<String> {
    if bytes.first() != Some(&b'{') {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?;
    search(Json::Object(text), accept, DEPTH_MAX)
}

/// A value without the line, and without what held nothing else.
fn beside<'a, 't>(name: &str, value: Json<'t>, line: &str, secrets: &mut Secrets<'t>, depth: u8) -> Option<Value<'a>> {
    match value {
        Json::String(inside) if without_line_end(&Text::Escaped(inside).plain()) == line => None,
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
    let mut visit = |reader: &mut Reader<'_>| {
        let value = reader.value()?;
        if found.is_none() {
            found = match value {
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
        Json::Object(whole) => Reader::new(whole).object(|reader, _| visit(reader)),
        Json::Array(whole) => Reader::new(whole).array(visit),
        _ => return None,
    };
    read.ok().and(found)
}

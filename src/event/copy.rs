//! Copies values out of a record into an event, each key of an object once.

use std::borrow::Cow;

use crate::event::{Fault, Fields, Json, Members, Reader, Text, Value};

/// Room for the members that a family adds to a record's own fields; it seldom adds more.
const USUAL_MORE: usize = 2;

/// What the source writes at the end of a value that it cut short.
const TRUNCATED: &str = "... truncated";

/// Copies values out of one record.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    /// Whether a copied value had been cut short by the source.
    pub truncated: bool,
}

impl Copies {
    /// Copies the value. In objects, a repeated key has only its last value.
    pub(crate) fn copy<'a>(&mut self, value: Json<'a>) -> Value<'a> {
        match value {
            Json::Null => Value::Json(Cow::Borrowed("null")),
            Json::Bool(true) => Value::Json(Cow::Borrowed("true")),
            Json::Bool(false) => Value::Json(Cow::Borrowed("false")),
            Json::Number(digits) => Value::Json(Cow::Borrowed(digits)),
            Json::String(inside) => {
                self.truncated |= inside.ends_with(TRUNCATED);
                Value::Text(Text::Escaped(inside))
            }
            Json::Object(whole) | Json::Array(whole) if is_plain(whole) => Value::Json(Cow::Borrowed(whole)),
            Json::Object(whole) => self.copy_object(whole),
            Json::Array(whole) => self.copy_array(whole),
        }
    }

    /// Copies the fields that are not mapped to attributes of the event.
    pub(crate) fn copy_unmapped<'a>(&mut self, fields: &Fields<'a>) -> Members<'a> {
        let mut members = Members::with_capacity(fields.unmapped().count() + USUAL_MORE);
        for field in fields.unmapped() {
            members.push((field.name(), self.copy(field.value)));
        }
        members
    }

    /// As [`copy`](Self::copy), for a text attribute. `None` if the value says nothing.
    pub(crate) fn copy_as_text<'a>(&mut self, value: Json<'a>) -> Option<Text<'a>> {
        let text = value.text()?;
        match self.copy(value) {
            Value::Text(text) => Some(text),
            Value::Json(Cow::Borrowed(_)) => Some(text),
            changed => {
                let mut out = Vec::new();
                changed.write(&mut out);
                String::from_utf8(out).ok().map(Text::from)
            }
        }
    }

    fn copy_object<'a>(&mut self, whole: &'a str) -> Value<'a> {
        let fields = Fields::read(&mut Reader::new(whole)).unwrap_or_default();
        let members = fields.iter().map(|field| (Text::from(field.key.clone()), self.copy(field.value)));
        Value::Object(members.collect())
    }

    fn copy_array<'a>(&mut self, whole: &'a str) -> Value<'a> {
        let mut values = Vec::new();
        // The array was read before, so it cannot fail.
        let _ = Reader::new(whole).array(|reader| {
            let value = reader.value()?;
            values.push(self.copy(value));
            Ok(())
        });
        Value::List(values)
    }
}

/// Whether a JSON value can be copied unchanged: no object repeats a key, and no value is cut short.
fn is_plain(whole: &str) -> bool {
    let mut keys = Vec::new();
    let mut reader = Reader::new(whole);
    matches!(probe(&mut reader, &mut keys), Ok(true))
}

/// Reads one value. `keys` holds the keys of the enclosing objects.
fn probe<'a>(reader: &mut Reader<'a>, keys: &mut Vec<&'a str>) -> Result<bool, Fault> {
    let mut is_plain = true;
    match reader.peek() {
        Some(b'{') => {
            let from = keys.len();
            reader.object(|reader, key| {
                match key {
                    Cow::Borrowed(key) if is_plain => keys.push(key),
                    _ => is_plain = false,
                }
                is_plain &= probe(reader, keys)?;
                Ok(())
            })?;
            is_plain &= are_distinct(&mut keys[from..]);
            keys.truncate(from);
        }
        Some(b'[') => reader.array(|reader| {
            is_plain &= probe(reader, keys)?;
            Ok(())
        })?,
        _ => {
            if let Json::String(inside) = reader.value()? {
                is_plain = !inside.ends_with(TRUNCATED);
            }
        }
    }
    Ok(is_plain)
}

/// May reorder the keys.
fn are_distinct(keys: &mut [&str]) -> bool {
    if keys.len() <= 8 {
        return keys.iter().enumerate().all(|(index, key)| !keys[..index].contains(key));
    }
    keys.sort_unstable();
    keys.windows(2).all(|pair| pair[0] != pair[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied(record: &'static str) -> (String, Copies) {
        let mut copies = Copies::default();
        let value = Reader::new(record).value().unwrap();
        let mut out = Vec::new();
        copies.copy(value).write(&mut out);
        (String::from_utf8(out).unwrap(), copies)
    }

    #[test]
    fn a_value_is_copied_as_it_stands() {
        let record = r#"{"a": [1.50, 9007199254740993, {"b":null}], "c" : "x\ny"}"#;
        assert_eq!(copied(record).0, record);
    }

    #[test]
    fn of_a_key_that_stands_twice_the_last_value_holds() {
        let (out, _) = copied(r#"{"o":{"k":1,"x":2,"k":3,"\u006b":4}}"#);
        assert_eq!(out, r#"{"o":{"k":4,"x":2}}"#);
    }

    #[test]
    fn a_value_that_the_source_cut_short_is_noticed() {
        assert!(copied(r#"{"a":{"b":"SELECT 1 ... truncated"}}"#).1.truncated);
        assert!(!copied(r#"{"a":{"b":"SELECT 1"}}"#).1.truncated);
    }
}

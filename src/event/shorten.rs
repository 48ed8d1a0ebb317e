//! Cuts values of an event that are longer than a receiver's fields.

use crate::event::members::close;
use crate::event::{Json, Reader, Text, unescape};

/// Cuts each member of the object at `from` whose value is longer, and appends how long the value was. An object or
/// list that is too long becomes a string, since a part of it is not valid JSON. If there is no object at `from`,
/// nothing changes.
pub(super) fn shorten(out: &mut Vec<u8>, from: usize, value_bytes_max: usize) {
    if out.len() - from <= value_bytes_max {
        return;
    }
    let event = out.split_off(from);
    out.push(b'{');
    let text = std::str::from_utf8(&event).unwrap_or_default();
    let read = Reader::of_event(text).object(|reader, key| {
        let value = reader.value()?;
        Text::from(&*key).write(out);
        out.push(b':');
        match cut(value, value_bytes_max) {
            Some(text) => Text::from(text).write(out),
            None => value.write(out),
        }
        out.push(b',');
        Ok(())
    });
    match read {
        Ok(()) => close(out, b'}'),
        Err(_) => {
            out.truncate(from);
            out.extend_from_slice(&event);
        }
    }
}

/// The text that replaces a value. `None` if the value is short enough.
fn cut(value: Json<'_>, bytes_max: usize) -> Option<String> {
    let text = match value {
        Json::String(inside) if inside.len() > bytes_max => unescape(inside),
        Json::Object(whole) | Json::Array(whole) | Json::Number(whole) if whole.len() > bytes_max => whole.into(),
        _ => return None,
    };
    if text.len() <= bytes_max {
        return None;
    }
    let mark = format!("... [cut from {} bytes]", text.len());
    let kept = text.floor_char_boundary(bytes_max.saturating_sub(mark.len()));
    Some(format!("{}{mark}", &text[..kept]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The event with its values cut to 40 bytes.
    fn shortened(event: &str) -> String {
        let mut out = b"before\n".to_vec();
        out.extend_from_slice(event.as_bytes());
        shorten(&mut out, 7, 40);
        assert!(out.starts_with(b"before\n"));
        String::from_utf8(out[7..].to_vec()).unwrap()
    }

    #[test]
    fn a_value_that_is_too_long_is_cut_and_says_so() {
        let long = "x".repeat(41);
        for (event, expected) in [
            (
                format!(r#"{{"a":1,"b":"{long}","c":"{}"}}"#, "y".repeat(40)),
                format!(r#"{{"a":1,"b":"{}... [cut from 41 bytes]","c":"{}"}}"#, "x".repeat(17), "y".repeat(40)),
            ),
            // A line end counts as one byte, however it is escaped.
            (format!(r#"{{"a":"{}"}}"#, r"\u000a".repeat(40)), format!(r#"{{"a":"{}"}}"#, r"\u000a".repeat(40))),
            (
                format!(r#"{{"a":"{}"}}"#, "\\n".repeat(41)),
                format!(r#"{{"a":"{}... [cut from 41 bytes]"}}"#, "\\n".repeat(17)),
            ),
            // No character is cut in two.
            (
                format!(r#"{{"a":"x{}"}}"#, "ä".repeat(41)),
                format!(r#"{{"a":"x{}... [cut from 83 bytes]"}}"#, "ä".repeat(8)),
            ),
            (
                format!(r#"{{"a":{{"b":"{long}"}},"c":[1,2]}}"#),
                format!(r#"{{"a":"{{\"b\":\"{}... [cut from 49 bytes]","c":[1,2]}}"#, "x".repeat(11)),
            ),
        ] {
            assert_eq!(shortened(&event), expected, "{event}");
            serde_json::from_str::<serde_json::Value>(&shortened(&event)).unwrap();
        }
    }

    #[test]
    fn what_is_short_or_no_object_stays_as_it_is() {
        let array = format!("[\"{}\"]", "x".repeat(60));
        for event in
            ["{}", r#"{"a":"b"}"#, &*array, &*"z".repeat(60), "{\"a\":\"cut off at its end, so that it is none"]
        {
            assert_eq!(shortened(event), event);
        }
    }
}

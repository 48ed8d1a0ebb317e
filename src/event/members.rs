//! Writes the members of JSON objects one by one, each followed by a comma. The end of the object replaces the last
//! comma.

use crate::event::Text;
use crate::event::value::write_int;

/// Ends an object or array. The bracket replaces the comma after the last member, if there is one.
pub(crate) fn close(out: &mut Vec<u8>, bracket: u8) {
    match out.last_mut() {
        Some(last @ b',') => *last = bracket,
        _ => out.push(bracket),
    }
}

/// Writes a member and a comma, if the text says something. `key` includes its quotes and colon.
// Keys are literals: inlined, copying one takes a few instructions and no call.
#[inline(always)]
pub(crate) fn text(out: &mut Vec<u8>, key: &str, text: Option<&Text<'_>>) {
    if let Some(text) = text.filter(|text| text.says_something()) {
        out.extend_from_slice(key.as_bytes());
        text.write_element(out);
    }
}

/// Writes a member and a comma. The value is a literal that needs no escaping.
#[inline(always)]
pub(crate) fn word(out: &mut Vec<u8>, key: &str, word: &'static str) {
    out.extend_from_slice(key.as_bytes());
    out.push(b'"');
    out.extend_from_slice(word.as_bytes());
    out.extend_from_slice(b"\",");
}

/// Writes a member and a comma, if there is a number.
#[inline(always)]
pub(crate) fn int(out: &mut Vec<u8>, key: &str, number: Option<i64>) {
    if let Some(number) = number {
        out.extend_from_slice(key.as_bytes());
        write_int(out, number);
        out.push(b',');
    }
}

/// Writes an object and a comma, or nothing if `members` writes nothing.
#[inline(always)]
pub(crate) fn object(out: &mut Vec<u8>, key: &str, members: impl FnOnce(&mut Vec<u8>)) {
    let before = out.len();
    out.extend_from_slice(key.as_bytes());
    out.push(b'{');
    let empty = out.len();
    members(out);
    if out.len() == empty {
        out.truncate(before);
        return;
    }
    close(out, b'}');
    out.push(b',');
}

/// Writes a list of texts and a comma, if there are any texts.
pub(crate) fn texts(out: &mut Vec<u8>, key: &str, texts: &[Text<'_>]) {
    if texts.is_empty() {
        return;
    }
    out.extend_from_slice(key.as_bytes());
    out.push(b'[');
    for text in texts {
        text.write(out);
        out.push(b',');
    }
    close(out, b']');
    out.push(b',');
}

/// Writes a boolean member and a comma, if the value is known.
pub(crate) fn flag(out: &mut Vec<u8>, key: &str, holds: Option<bool>) {
    if let Some(holds) = holds {
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(if holds { b"true," } else { b"false," });
    }
}

//! Secrets by their names in any text: YAML of configurations, JSON of request bodies, protobuf as text.

use crate::event::{is_secret, may_be_secret};
use crate::family::marks::Marks;
use crate::family::ydb::names::{Name, alphanumeric_and};

/// Longer than any name of a secret.
const NAME_MAX: usize = 64;

/// Between a name and its value stand a few quotes, backslashes and spaces.
const BETWEEN_MAX: usize = 16;

/// Which bytes names are made of.
static IS_OF_NAME: [bool; 256] = alphanumeric_and(b"_-.");

/// The text with the values of secrets replaced by `***`; nothing when it has none.
pub(super) fn masked(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut masked: Option<String> = None;
    let mut copied = 0;
    for colon in Marks::of([b':'], bytes) {
        if colon < copied || !is_after_secret(&text[..colon]) {
            continue;
        }
        let Some((from, to)) = value_after(bytes, colon + 1) else { continue };
        let (Some(kept), true) = (text.get(copied..from), text.is_char_boundary(to)) else { continue };
        let masked = masked.get_or_insert_with(|| String::with_capacity(text.len()));
        masked.push_str(kept);
        masked.push_str("***");
        copied = to;
    }
    let mut masked = masked?;
    masked.push_str(text.get(copied..)?);
    Some(masked)
}

/// Whether the word that ends before a colon is a secret's name; it may be quoted, in quoted text too.
#[inline]
fn is_after_secret(before: &str) -> bool {
    let bytes = before.as_bytes();
    // Most colons stand in times and addresses.
    if bytes.last().is_none_or(u8::is_ascii_digit) {
        return false;
    }
    let first = bytes.len().saturating_sub(BETWEEN_MAX);
    let mut end = bytes.len();
    while end > first && matches!(bytes[end - 1], b'"' | b'\\' | b' ') {
        end -= 1;
    }
    may_be_secret(&bytes[..end]) && is_secret(name_at_end(&before[..end]))
}

/// The word at the end. Nothing where it is one of the stream's own, of which none is a secret's.
fn name_at_end(before: &str) -> &str {
    let bytes = before.as_bytes();
    let first = bytes.len().saturating_sub(NAME_MAX);
    let from =
        bytes[first..].iter().rposition(|byte| !IS_OF_NAME[usize::from(*byte)]).map_or(first, |at| first + at + 1);
    let name = &before[from..];
    if Name::of(name).is_some() { "" } else { name }
}

/// Where the value after a colon begins and ends, without its quotes. Nothing when it is empty or no single value.
fn value_after(bytes: &[u8], from: usize) -> Option<(usize, usize)> {
    let rest = &bytes[from..];
    let spaces = rest.iter().take(BETWEEN_MAX).take_while(|byte| **byte == b' ').count();
    let rest = &rest[spaces..];
    let backslashes = rest.iter().take(BETWEEN_MAX).take_while(|byte| **byte == b'\\').count();
    let (begin, length) = match rest.get(backslashes) {
        Some(b'"') => (backslashes + 1, quoted_length(&rest[backslashes + 1..], backslashes)),
        Some(b'{' | b'[') => return None,
        // YAML, up to the line's end; within a string that is written as `\n`.
        _ => {
            let ends = |byte: &u8| matches!(byte, b'\n' | b'\\' | b'"' | b',' | b'}');
            (0, rest.iter().position(ends).unwrap_or(rest.len()))
        }
    };
    let value = &rest[begin..begin + length];
    let is_nothing = matches!(value.trim_ascii(), b"" | b"null" | b"~" | b"***" | b"|");
    (!is_nothing).then_some((from + spaces + begin, from + spaces + begin + length))
}

/// How long a value is whose first quote has so many backslashes: its last has no more, while quotes inside have.
fn quoted_length(value: &[u8], backslashes: usize) -> usize {
    for quote in memchr::memchr_iter(b'"', value) {
        let own = value[..quote].iter().rev().take_while(|byte| **byte == b'\\').count();
        if own <= backslashes {
            return quote - own;
        }
    }
    value.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_a_secret_is_masked_in_whatever_notation_it_stands() {
        for (text, expected) in [
            (r#"User: "bob" Password: "a\"b" x"#, r#"User: "bob" Password: "***" x"#),
            ("users:\n- name: root\n  password: p w\n- x: 1", "users:\n- name: root\n  password: ***\n- x: 1"),
            (r#""new_config":"a: 1\npassword: p w\nb: 2""#, r#""new_config":"a: 1\npassword: ***\nb: 2""#),
            (r#""body":"{\"password\":\"x\\\"y\",\"a\":1}""#, r#""body":"{\"password\":\"***\",\"a\":1}""#),
            (r#"body={"access_token": "x", "a": 1}"#, r#"body={"access_token": "***", "a": 1}"#),
            (r#"Password: "cut off"#, r#"Password: "***"#),
        ] {
            assert_eq!(masked(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_secret_stays_as_it_is() {
        for text in
            [r#""sanitized_token":"**** (B6C6F477)""#, "password:", "password: {}", r#"Password: """#, "a: b", ":"]
        {
            assert_eq!(masked(text), None, "{text}");
        }
    }
}

//! Secrets that stand as literals in the text of SQL, such as `PASSWORD 'x'`.

use std::ops::Range;

use crate::event::is_secret;
use crate::event::may_be_secret;
use crate::family::marks::Marks;

/// How far before a literal its name may stand, in bytes: `=`, `=>`, `(` and spaces are between them.
const BETWEEN_MAX: usize = 8;

/// Longer than any name of a secret.
const NAME_MAX: usize = 64;

/// Names of secrets in SQL, besides those that are secrets anywhere.
const NAMES: &[&str] = &["aws_secret_key"];

/// The end of `IDENTIFIED BY`.
const BY: &str = "by";

const IDENTIFIED: &[u8] = b"identified";

/// What may stand before a quote as a part of the literal, as in `E'x'`.
const PREFIXES: &[u8] = b"eEnNbBxX";

/// Longer than any tag of a literal such as `$tag$x$tag$`.
const TAG_MAX: usize = 64;

/// The text with the secrets in its literals replaced by `***`; nothing when it has none.
///
/// In the text of a JSON object a literal ends at the latest where its JSON string does.
pub(super) fn masked(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    // The object may stand after a time.
    let head = &bytes[..bytes.len().min(NAME_MAX)];
    let begins_object = |brace: usize| head[..brace].ends_with(b": ") && head[brace + 1..].starts_with(b"\"");
    let is_json = bytes.first() == Some(&b'{') || memchr::memchr_iter(b'{', head).any(begins_object);
    // In JSON most quotes are the JSON's own; those that are not stand after a backslash, and are few.
    let (json, plain) = if is_json { (bytes, &b""[..]) } else { (&b""[..], bytes) };
    let few = memchr::memchr3_iter(b'\'', b'\\', b'$', json);
    let many = Marks::of([b'\'', b'"', b'$'], plain);
    let mut shown: Option<String> = None;
    let (mut copied, mut from) = (0, 0);
    for mark in few.chain(many) {
        let at = match bytes[mark] {
            b'\\' if bytes.get(mark + 1) == Some(&b'"') => mark + 1,
            b'\\' => continue,
            _ => mark,
        };
        if at < from {
            continue;
        }
        let Some(inside) = literal(bytes, at, is_json).filter(|inside| !inside.is_empty()) else { continue };
        let shown = shown.get_or_insert_with(|| String::with_capacity(text.len()));
        shown.push_str(text.get(copied..inside.start)?);
        shown.push_str("***");
        copied = inside.end;
        from = inside.end + 1;
    }
    let mut shown = shown?;
    shown.push_str(text.get(copied..)?);
    Some(shown)
}

/// What a literal holds that begins at `at` and is a secret.
fn literal(bytes: &[u8], at: usize, is_json: bool) -> Option<Range<usize>> {
    match bytes[at] {
        b'\'' => {
            let before = &bytes[..at];
            let prefixed = before.split_last().filter(|(last, _)| PREFIXES.contains(last)).map(|(_, before)| before);
            let is_secret = names_secret(before, true) || prefixed.is_some_and(|before| names_secret(before, true));
            let to = is_secret.then(|| literal_end(bytes, at + 1, if is_json { b'"' } else { b'\'' }))??;
            Some(at + 1..to)
        }
        b'"' => {
            let backslashes = backslashes_before(bytes, at);
            // In JSON any other quote is the JSON's own.
            let is_literal = !is_json || backslashes % 2 == 1;
            let is_secret = is_literal && names_secret(&bytes[..at - backslashes], false);
            is_secret.then(|| at + 1..quoted_end(bytes, at + 1, backslashes))
        }
        _ => {
            let rest = &bytes[at..];
            let tag = 2 + memchr::memchr(b'$', rest.get(1..rest.len().min(TAG_MAX))?)?;
            let is_tag = rest[1..tag - 1].iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
            if !is_tag || !names_secret(&bytes[..at], true) {
                return None;
            }
            let from = at + tag;
            let outer = if is_json { quoted_end(bytes, from, 0) } else { bytes.len() };
            let length = memchr::memmem::find(&bytes[from..outer], &rest[..tag]);
            Some(from..length.map_or(outer, |length| from + length))
        }
    }
}

fn backslashes_before(bytes: &[u8], at: usize) -> usize {
    bytes[..at].iter().rev().take_while(|byte| **byte == b'\\').count()
}

/// Where a text ends whose first quote has so many backslashes: its last has no more, while quotes inside have.
fn quoted_end(bytes: &[u8], from: usize, backslashes: usize) -> usize {
    for quote in memchr::memchr_iter(b'"', &bytes[from..]) {
        let own = backslashes_before(&bytes[from..], quote);
        if own <= backslashes {
            return from + quote - own;
        }
    }
    bytes.len()
}

/// Where the literal ends: at a quote that is neither doubled nor escaped, or before what ends the text around it.
fn literal_end(bytes: &[u8], from: usize, outer: u8) -> Option<usize> {
    let mut at = from;
    loop {
        at += memchr::memchr3(b'\'', b'\\', outer, bytes.get(at..)?)?;
        match bytes[at] {
            b'\\' => at += 2,
            b'\'' if bytes.get(at + 1) == Some(&b'\'') => at += 2,
            _ => return Some(at),
        }
    }
}

/// Whether the word before a literal is a secret's name. What stands in double quotes may be the name of a column, by which
/// a query may order.
fn names_secret(before: &[u8], is_value: bool) -> bool {
    let is_between = |byte: &u8| matches!(byte, b' ' | b'=' | b'>' | b'(' | b':');
    let between = before.iter().rev().position(|byte| !is_between(byte)).unwrap_or(before.len());
    if between == 0 || between > BETWEEN_MAX {
        return false;
    }
    let before = &before[..before.len() - between];
    if !before.last_chunk::<2>().is_some_and(|end| may_be_secret(end) || end.eq_ignore_ascii_case(BY.as_bytes())) {
        return false;
    }
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let length = before.iter().rev().take(NAME_MAX).take_while(|byte| is_name(byte)).count();
    let Ok(name) = std::str::from_utf8(&before[before.len() - length..]) else { return false };
    if name.eq_ignore_ascii_case(BY) {
        let before = before[..before.len() - length].trim_ascii_end();
        return is_value
            || before.len() >= IDENTIFIED.len() && {
                before[before.len() - IDENTIFIED.len()..].eq_ignore_ascii_case(IDENTIFIED)
            };
    }
    is_secret(name) || NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_literal_after_the_name_of_a_secret_is_masked_and_no_other() {
        for (text, expected) in [
            ("CREATE USER u PASSWORD 'x y'", "CREATE USER u PASSWORD '***'"),
            ("ALTER USER u IDENTIFIED BY 'it''s' x", "ALTER USER u IDENTIFIED BY '***' x"),
            ("WITH (password = 'a', user = 'b')", "WITH (password = '***', user = 'b')"),
            ("(AWS_SECRET_ACCESS_KEY=>'k')", "(AWS_SECRET_ACCESS_KEY=>'***')"),
            (r#"{"query":"SET PASSWORD 'cut short","user":"it's"}"#, r#"{"query":"SET PASSWORD '***","user":"it's"}"#),
            (r#"{"query":"PASSWORD 'a\"b' x"}"#, r#"{"query":"PASSWORD '***' x"}"#),
            (r#"PASSWORD 'a"b', x"#, "PASSWORD '***', x"),
            ("PASSWORD 'a' and PASSWORD 'b'", "PASSWORD '***' and PASSWORD '***'"),
            (r#"PASSWORD "S" x"#, r#"PASSWORD "***" x"#),
            (r#"IDENTIFIED BY "S" ORDER BY "c""#, r#"IDENTIFIED BY "***" ORDER BY "c""#),
            (r#"{"query":"PASSWORD \"S\" x","a":"b"}"#, r#"{"query":"PASSWORD \"***\" x","a":"b"}"#),
            (r#"{"a":"{\"q\":\"PASSWORD \\\"S\\\" x\"}"}"#, r#"{"a":"{\"q\":\"PASSWORD \\\"***\\\" x\"}"}"#),
            (r#"{"query":"PASSWORD \"cut short","a":"b"}"#, r#"{"query":"PASSWORD \"***","a":"b"}"#),
            (r"PASSWORD E'a\'b' x", "PASSWORD E'***' x"),
            ("PASSWORD $$S$$ x", "PASSWORD $$***$$ x"),
            ("PASSWORD $a$S$$T$a$ x", "PASSWORD $a$***$a$ x"),
            (r#"{"query":"PASSWORD $$cut short","a":"$$"}"#, r#"{"query":"PASSWORD $$***","a":"$$"}"#),
            (
                "(PASSPHRASE = 'p', CREDENTIALS = 'c', ACCESS_KEY='k')",
                "(PASSPHRASE = '***', CREDENTIALS = '***', ACCESS_KEY='***')",
            ),
        ] {
            assert_eq!(masked(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_secret_stays_as_it_is() {
        for text in [
            "SELECT 'password' FROM t WHERE a = 'b'",
            "it's",
            "",
            "PASSWORD NULL",
            "PASSWORD ''",
            "'",
            "PASSWORD '",
            "PASSWORD $1",
            "PASSWORD $1, $2",
            "PASSWORD $",
            "PASSWORD \"\"",
            "ORDER BY \"c\"",
            r#"{"a":"said by ","b":"the password ","c":"d"}"#,
        ] {
            assert_eq!(masked(text), None, "{text}");
        }
    }
}

//! Lines in the default format of a server, `logging.format: text`: `time="..." level=info msg="..." user=ci ...`.
//!
//! Source: `text_formatter.go` of sirupsen/logrus. A value with other characters than letters, digits and `-._/@^+` is
//! quoted, with the escapes of Go, so no value can be mistaken for another field.

use std::borrow::Cow;

use jiff::SignedDuration;

use crate::event::Text;
use crate::family::container::{self, Inside};
use crate::family::lakefs::line;
use crate::family::refusal::Refusal;

/// Whether a line is, or begins, a line of a server that writes text.
pub(super) fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(b"time=")
}

/// Whether it is a line of the audit log.
pub(super) fn is_audit(bytes: &[u8]) -> bool {
    begins(bytes)
        && Pairs { rest: container::valid(bytes) }
            .map_while(Result::ok)
            .any(|(key, value)| key == "log_audit" && is_yes(value.text().as_bytes()))
}

/// Converts the line to JSON, as the server would have written it.
///
/// # Errors
/// If the line breaks off, or has a part that is no field.
pub(super) fn as_json(text: &str) -> Result<String, Refusal> {
    let mut out = b"{".to_vec();
    for pair in (Pairs { rest: text }) {
        let (key, value) = pair?;
        if out.len() > 1 {
            out.push(b',');
        }
        Text::from(key).write(&mut out);
        out.push(b':');
        let text = value.text();
        match number(key, &text) {
            Some(number) => out.extend_from_slice(number.to_string().as_bytes()),
            None => Text::from(&*text).write(&mut out),
        }
    }
    out.push(b'}');
    String::from_utf8(out).map_err(|_| Refusal::new("the line is no UTF-8"))
}

/// The value of a field that the server writes as a number in JSON. Durations are in nanoseconds.
fn number(key: &str, text: &str) -> Option<i64> {
    if !line::is_number(key) {
        return None;
    }
    let duration = || i64::try_from(text.parse::<SignedDuration>().ok()?.as_nanos()).ok();
    text.parse().ok().or_else(duration)
}

/// The record as JSON, whether its line is text or JSON.
pub(super) fn json_of<'t>(inside: &'t Inside<'_>) -> Result<Cow<'t, str>, Refusal> {
    let text = inside.text()?;
    if begins(text.as_bytes()) {
        return Ok(Cow::Owned(as_json(text)?));
    }
    container::on_one_line(text)
}

/// Whether a value of `log_audit` means true. The server writes `true`; pipelines may spell it otherwise.
pub(super) fn is_yes(value: &[u8]) -> bool {
    let bare = value.strip_prefix(b"\"").and_then(|open| open.strip_suffix(b"\"")).unwrap_or(value);
    bare == b"1" || bare.eq_ignore_ascii_case(b"true")
}

/// The fields of a line, in order.
struct Pairs<'t> {
    rest: &'t str,
}

#[derive(Clone, Copy)]
enum Value<'t> {
    Bare(&'t str),
    /// The text between the quotes, with escapes.
    Quoted(&'t str),
}

impl<'t> Iterator for Pairs<'t> {
    type Item = Result<(&'t str, Value<'t>), Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.rest.trim_start();
        if text.is_empty() {
            return None;
        }
        self.rest = "";
        let Some((key, after)) = text.split_once('=').filter(|(key, _)| !key.is_empty() && !key.contains([' ', '"']))
        else {
            return Some(Err(Refusal::new("the line of text holds what is no field")));
        };
        let Some(quoted) = after.strip_prefix('"') else {
            let (value, rest) = after.split_at(after.find(' ').unwrap_or(after.len()));
            self.rest = rest;
            return Some(Ok((key, Value::Bare(value))));
        };
        let Some(end) = end_of_quoted(quoted) else {
            return Some(Err(Refusal::new("the line of text breaks off")));
        };
        self.rest = &quoted[end + 1..];
        Some(Ok((key, Value::Quoted(&quoted[..end]))))
    }
}

/// The position of the first quote that no backslash escapes.
fn end_of_quoted(text: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + memchr::memchr2(b'"', b'\\', text.as_bytes().get(from..)?)?;
        if text.as_bytes()[at] == b'"' {
            return Some(at);
        }
        from = at + 2;
    }
}

impl<'t> Value<'t> {
    fn text(self) -> Cow<'t, str> {
        match self {
            Self::Quoted(inside) if inside.contains('\\') => Cow::Owned(unquoted(inside)),
            Self::Bare(text) | Self::Quoted(text) => Cow::Borrowed(text),
        }
    }
}

/// Undoes the escapes of Go. Invalid UTF-8 becomes U+FFFD.
fn unquoted(inside: &str) -> String {
    let mut bytes = Vec::with_capacity(inside.len());
    let mut rest = inside;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        let Some(escape) = rest.chars().next() else { break };
        rest = &rest[escape.len_utf8()..];
        let digits = match escape {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        if let Some(code) = rest.get(..digits).filter(|_| digits > 0).and_then(|hex| u32::from_str_radix(hex, 16).ok())
        {
            rest = &rest[digits..];
            match (escape, u8::try_from(code)) {
                ('x', Ok(byte)) => bytes.push(byte),
                _ => push(&mut bytes, char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)),
            }
            continue;
        }
        let meant = match escape {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            other => other,
        };
        push(&mut bytes, meant);
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

fn push(bytes: &mut Vec<u8>, character: char) {
    bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_text_is_read_as_the_same_line_of_json() {
        let line = r#"time="2025-05-12T08:09:10Z" level=info msg="HTTP call ended" log_audit=true client="a \"b\" \\ \u00e9\x00\n" status_code=201 sent_bytes=7 took=1.5ms took_str=1.5ms user=0042 path=/api/v1/a?b=c"#;
        let found: serde_json::Value = serde_json::from_str(&as_json(line).unwrap()).unwrap();
        let expected = serde_json::json!({
            "time": "2025-05-12T08:09:10Z", "level": "info", "msg": "HTTP call ended", "log_audit": "true",
            "client": "a \"b\" \\ \u{e9}\u{0}\n", "status_code": 201, "sent_bytes": 7, "took": 1_500_000,
            "took_str": "1.5ms", "user": "0042", "path": "/api/v1/a?b=c",
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn durations_of_go_are_nanoseconds() {
        for (text, expected) in
            [("1h2m3.5s", 3_723_500_000_000), ("12.345678ms", 12_345_678), ("850ns", 850), ("0s", 0)]
        {
            assert_eq!(number("took", text), Some(expected), "{text}");
        }
        assert_eq!(number("took", "12.5\u{b5}s"), Some(12_500));
        assert_eq!(number("user", "7"), None);
    }

    #[test]
    fn what_a_value_holds_is_no_field() {
        assert!(is_audit(br#"time=x log_audit=true"#));
        assert!(is_audit(br#"time=x log_audit="True" path="/torn"#));
        assert!(!is_audit(br#"time=x msg="a log_audit=true b""#));
        assert!(!is_audit(br#"time=x msg="\" log_audit=true"#));
        assert!(!is_audit(br#"time=x log_audit=false"#));
        assert!(!is_audit(br#"x time=x log_audit=true"#));
    }

    #[test]
    fn a_line_that_breaks_off_is_none() {
        for line in [r#"time="2025"#, r#"time=x msg="a\"#, "time=x user", "time=x =y", r#"time="a"b log_audit"#] {
            assert!(as_json(line).is_err(), "{line}");
        }
    }
}

//! Secrets that stand as literals in the text of SQL, such as `PASSWORD 'x'`.

use std::ops::Range;

use crate::event::{is_secret, may_be_secret};
use crate::family::marks::Marks;

/// How far before a literal its name may stand, in bytes: white space, comments, `=`, `=>`, `(` and `:` are between them.
const BETWEEN_MAX: usize = 256;

/// Longer than any name of a secret.
const NAME_MAX: usize = 64;

/// Names of secrets in SQL, besides those that are secrets anywhere.
const NAMES: &[&str] = &["aws_secret_key"];

/// The name of a secret where an object of the type SECRET is made.
const VALUE: &str = "value";

/// The end of `IDENTIFIED BY`.
const BY: &str = "by";

const IDENTIFIED: &[u8] = b"identified";

/// How JSON may write a quote.
const QUOTE: &[u8] = b"\\u0027";

/// How JSON may write what stands between a name and its literal.
const ESCAPED_BETWEEN: [&[u8]; 8] =
    [b"\\u0009", b"\\u000a", b"\\u000d", b"\\u0020", b"\\u0028", b"\\u003a", b"\\u003d", b"\\u003e"];

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
    let mut masked: Option<String> = None;
    let (mut copied, mut from) = (0, 0);
    for mark in few.chain(many) {
        let at = match bytes[mark] {
            b'\\' if bytes.get(mark + 1) == Some(&b'"') => mark + 1,
            b'\\' if !bytes[mark..].starts_with(QUOTE) => continue,
            _ => mark,
        };
        if at < from {
            continue;
        }
        let Some(inside) = literal(bytes, at, is_json).filter(|inside| !inside.is_empty()) else { continue };
        let masked = masked.get_or_insert_with(|| String::with_capacity(text.len()));
        masked.push_str(text.get(copied..inside.start)?);
        masked.push_str("***");
        copied = inside.end;
        from = inside.end + 1;
    }
    let mut masked = masked?;
    masked.push_str(text.get(copied..)?);
    Some(masked)
}

/// What a literal holds that begins at `at` and is a secret.
fn literal(bytes: &[u8], at: usize, is_json: bool) -> Option<Range<usize>> {
    match bytes[at] {
        b'\'' | b'\\' => {
            let backslashes = if bytes[at] == b'\'' { backslashes_before(bytes, at) } else { 0 };
            let before = &bytes[..at - backslashes];
            let prefixed = before.split_last().filter(|(last, _)| PREFIXES.contains(last)).map(|(_, before)| before);
            if !names_secret(before, true) && !prefixed.is_some_and(|before| names_secret(before, true)) {
                return None;
            }
            let from = at + quote_length(&bytes[at..]);
            let to = match backslashes {
                0 => literal_end(bytes, from, is_json)?,
                _ => escaped_end(bytes, from, backslashes),
            };
            Some(from..to)
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
            Some(from..tagged_end(bytes, from, &rest[..tag], is_json))
        }
    }
}

/// Where a literal ends that a tag ends: before the tag, or before what ends the text around it. No byte behind is looked at,
/// since many literals may stand in one text.
fn tagged_end(bytes: &[u8], from: usize, tag: &[u8], is_json: bool) -> usize {
    for mark in memchr::memchr2_iter(b'$', b'"', &bytes[from..]) {
        let at = from + mark;
        let is_end = match bytes[at] {
            b'$' => bytes[at..].starts_with(tag),
            _ => is_json && backslashes_before(&bytes[from..], mark) == 0,
        };
        if is_end {
            return at;
        }
    }
    bytes.len()
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

/// Bytes of the quote that the text begins with; zero when it begins with none.
fn quote_length(text: &[u8]) -> usize {
    if text.first() == Some(&b'\'') {
        1
    } else if text.starts_with(QUOTE) {
        QUOTE.len()
    } else {
        0
    }
}

/// Where the literal ends: at a quote that is neither doubled nor escaped, or before what ends the text around it.
fn literal_end(bytes: &[u8], from: usize, is_json: bool) -> Option<usize> {
    let mut at = from;
    loop {
        at += memchr::memchr3(b'\'', b'\\', if is_json { b'"' } else { b'\'' }, bytes.get(at..)?)?;
        let quote = quote_length(&bytes[at..]);
        if quote > 0 {
            let doubled = quote_length(&bytes[at + quote..]);
            if doubled == 0 {
                return Some(at);
            }
            at += quote + doubled;
        } else if bytes[at] != b'\\' {
            return Some(at);
        } else if is_json && bytes.get(at + 1) == Some(&b'\\') {
            // One backslash, which escapes what comes next.
            at += 2;
            at += quote_length(bytes.get(at..)?);
        } else {
            at += 2;
        }
    }
}

/// The same of a literal whose quotes have so many backslashes, inside of a text in double quotes that have fewer.
fn escaped_end(bytes: &[u8], from: usize, backslashes: usize) -> usize {
    let mut at = from;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'\'', b'"', rest)) {
        let quote = at + found;
        let own = backslashes_before(&bytes[from..], quote - from);
        at = quote + 1;
        if bytes[quote] == b'"' {
            if own < backslashes {
                return quote - own;
            }
        } else if own <= backslashes {
            let next = at + own;
            let is_doubled = bytes.get(next) == Some(&b'\'') && bytes[at..next].iter().all(|byte| *byte == b'\\');
            if !is_doubled {
                return quote - own;
            }
            at = next + 1;
        }
    }
    bytes.len()
}

/// Whether the word before a literal is a secret's name. What stands in double quotes may be the name of a column, by which
/// a query may order.
fn names_secret(before: &[u8], is_value: bool) -> bool {
    let named = without_between(before);
    if named.len() == before.len() {
        return false;
    }
    if !named.last_chunk::<2>().is_some_and(|end| may_be_secret(end) || end.eq_ignore_ascii_case(BY.as_bytes())) {
        return false;
    }
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let length = named.iter().rev().take(NAME_MAX).take_while(|byte| is_name(byte)).count();
    let (before, name) = named.split_at(named.len() - length);
    // What follows a backslash is the rest of an escape.
    let escape = if before.last() != Some(&b'\\') {
        0
    } else if name.first() == Some(&b'u') {
        QUOTE.len() - 1
    } else {
        1
    };
    let (before, name) = named.split_at(before.len() + escape.min(name.len()));
    let Ok(name) = std::str::from_utf8(name) else { return false };
    if name.eq_ignore_ascii_case(BY) {
        let before = without_between(before);
        return is_value
            || before.len() >= IDENTIFIED.len()
                && before[before.len() - IDENTIFIED.len()..].eq_ignore_ascii_case(IDENTIFIED);
    }
    is_secret(name)
        || NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
        || name.eq_ignore_ascii_case(VALUE) && is_secret_object(before)
}

/// The text without what may stand at its end between a name and its literal.
fn without_between(text: &[u8]) -> &[u8] {
    let floor = text.len().saturating_sub(BETWEEN_MAX);
    let mut left = text;
    while left.len() > floor {
        let window = &left[floor..];
        let Some(length) = between_length(window) else { break };
        left = &left[..left.len() - length];
    }
    left
}

/// Bytes of the last thing in the text that may stand between a name and its literal; nothing when it ends otherwise.
fn between_length(text: &[u8]) -> Option<usize> {
    let line_end = match text {
        [.., b'\n'] => 1,
        // As JSON and the text form of protocol buffers write it, escaped once or more.
        [.., b'\\', b'n'] => 1 + backslashes_before(text, text.len() - 1),
        [.., b' ' | b'\t' | b'\r' | b'=' | b'>' | b'(' | b':'] => return Some(1),
        [.., b'\\', b't' | b'r'] => return Some(1 + backslashes_before(text, text.len() - 1)),
        [.., b'*', b'/'] => return memchr::memmem::rfind(&text[..text.len() - 2], b"/*").map(|from| text.len() - from),
        _ => {
            let end = text.last_chunk::<6>().filter(|end| end[0] == b'\\')?;
            let is_between = ESCAPED_BETWEEN.iter().any(|escaped| end.eq_ignore_ascii_case(escaped));
            return is_between.then_some(end.len());
        }
    };
    // A comment may end with the line.
    let line = &text[..text.len() - line_end];
    let comment = memchr::memmem::rfind(line, b"--").filter(|from| {
        let inside = &line[*from..];
        !inside.contains(&b'\n') && memchr::memmem::find(inside, b"\\n").is_none()
    });
    Some(comment.map_or(line_end, |from| text.len() - from))
}

/// Whether the text ends with the making of an object of the type SECRET, whose value is the secret.
fn is_secret_object(text: &[u8]) -> bool {
    let window = &text[text.len().saturating_sub(BETWEEN_MAX)..];
    let words = || window.split(|byte| !byte.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let of_type =
        |(word, next): (&[u8], &[u8])| word.eq_ignore_ascii_case(b"type") && next.eq_ignore_ascii_case(b"secret");
    words().zip(words().skip(1)).any(of_type)
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
            ("PASSWORD\n'S' x", "PASSWORD\n'***' x"),
            ("PASSWORD\r\n\t 'S' x", "PASSWORD\r\n\t '***' x"),
            ("IDENTIFIED\nBY\t'S'", "IDENTIFIED\nBY\t'***'"),
            ("PASSWORD /* the 'new' one */ 'S' x", "PASSWORD /* the 'new' one */ '***' x"),
            ("PASSWORD -- the new one\n'S' x", "PASSWORD -- the new one\n'***' x"),
            (r#"{"query":"PASSWORD\n'S' x"}"#, r#"{"query":"PASSWORD\n'***' x"}"#),
            (r#"{"query":"IDENTIFIED\r\n\tBY\n'S' x"}"#, r#"{"query":"IDENTIFIED\r\n\tBY\n'***' x"}"#),
            (r#"{"query":"IDENTIFIED\nBY \"S\" x"}"#, r#"{"query":"IDENTIFIED\nBY \"***\" x"}"#),
            (r#"{"query":"PASSWORD /* c */\u0020'S' x"}"#, r#"{"query":"PASSWORD /* c */\u0020'***' x"}"#),
            (r#"{"query":"PASSWORD -- c\n'S' x"}"#, r#"{"query":"PASSWORD -- c\n'***' x"}"#),
            (r#"{"query":"PASSWORD \u0027S\u0027 x"}"#, r#"{"query":"PASSWORD \u0027***\u0027 x"}"#),
            (r#"{"query":"PASSWORD \u0027it\u0027\u0027s\u0027 x"}"#, r#"{"query":"PASSWORD \u0027***\u0027 x"}"#),
            (r#"{"query":"PASSWORD E'a\\'b' x"}"#, r#"{"query":"PASSWORD E'***' x"}"#),
            (r#"{"a":"{\"q\":\"PASSWORD\\n'S' x\"}"}"#, r#"{"a":"{\"q\":\"PASSWORD\\n'***' x\"}"}"#),
            (r#"QueryText: "PASSWORD \'S\' x" A: 'b'"#, r#"QueryText: "PASSWORD \'***\' x" A: 'b'"#),
            (r#"QueryText: "PASSWORD \'it\'\'s\' x""#, r#"QueryText: "PASSWORD \'***\' x""#),
            (r#"QueryText: "PASSWORD\n\'S\' x""#, r#"QueryText: "PASSWORD\n\'***\' x""#),
            (
                r#"{"a":"PASSWORD $t$it\"s $x$ S$t$, PASSWORD $$S$$"}"#,
                r#"{"a":"PASSWORD $t$***$t$, PASSWORD $$***$$"}"#,
            ),
            (r#"{"a":"PASSWORD $t$S","b":"$t$"}"#, r#"{"a":"PASSWORD $t$***","b":"$t$"}"#),
            (r#"QueryText: "PASSWORD \'cut short""#, r#"QueryText: "PASSWORD \'***""#),
            ("CREATE OBJECT a (TYPE SECRET) WITH value='S'", "CREATE OBJECT a (TYPE SECRET) WITH value='***'"),
            (
                "CREATE OBJECT a (TYPE  secret) WITH (value = \"S\")",
                "CREATE OBJECT a (TYPE  secret) WITH (value = \"***\")",
            ),
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
            "the password's end, it's",
            "PASSWORD NULL -- 'a'",
            "WITH (value = 'a')",
            r#"{"a":"the password\n","c":"it's"}"#,
            r#"{"a":"\u0027","b":"\\'"}"#,
            r"\",
            r"'\",
        ] {
            assert_eq!(masked(text), None, "{text}");
        }
    }

    /// If each literal were sought to the end of the text, these would take minutes.
    #[test]
    fn many_literals_in_one_text_take_time_in_proportion() {
        let seconds = |count: usize| {
            let text = format!(r#"{{"a":"{}"}}"#, r#"PASSWORD $a$b$a$\""#.repeat(count));
            let begun = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            assert_eq!(masked(&text).unwrap().matches("***").count(), count);
            let took = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime) - begun;
            std::time::Duration::try_from(took).unwrap().as_secs_f64()
        };
        let [small, large] = [5_000, 40_000].map(seconds);
        assert!(large < 24.0 * small, "{small} s and {large} s of eight times as many");
    }
}

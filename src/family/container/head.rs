//! The text that programs which carry log lines write in front of each line.
//!
//! Exports of CloudWatch and `docker logs -t` write a time; Fluentd's files time and tag; Logstash's plain codec time
//! and host; syslog its priority, time, host and program, in the format of RFC 3164, of RFC 5424 or of rsyslog's files.

use crate::event::moment;
use crate::family::envelope::{self, Sought};

/// The longest head that is read, in bytes. Only the structured data of syslog could be longer.
const HEAD_BYTES_MAX: usize = 4096;

/// The longest host, tag or program with its process number, in bytes.
const WORD_BYTES_MAX: usize = 300;

/// The longest time, in bytes. `2016-10-06T00:17:09.669794202+00:00` has 35.
const TIME_BYTES_MAX: usize = 40;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A line that has a head, and is or holds a record.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    /// The head, with the blank at its end.
    pub(super) text: &'a str,
    /// When the line was carried. `None` if the head's time is not complete: syslog's has no year.
    pub(super) time: Option<&'a str>,
    pub(super) line: &'a [u8],
}

impl<'a> Head<'a> {
    /// `None` unless a record follows the head on the line, and the whole line is no record.
    pub(super) fn of(bytes: &'a [u8], sought: &Sought<'_>) -> Option<Self> {
        if !matches!(bytes.first()?, b'0'..=b'9' | b'<' | b'A'..=b'Z') {
            return None;
        }
        let text = bytes[..bytes.len().min(HEAD_BYTES_MAX)].utf8_chunks().next()?.valid();
        let (time, mut rest) = begin(text)?;
        let of = |rest: &str| {
            let text = &text[..text.len() - rest.len()];
            let time = Some(time).filter(|time| moment::of_text(time).is_some());
            Self { text, time, line: &bytes[text.len()..] }
        };
        // Between the time and the record there are a host and a program, or a tag.
        for _ in 0..=2 {
            let head = of(rest);
            if begins_record(head.line, sought) {
                return Some(head).filter(|_| !sought.accepts(bytes));
            }
            rest = word(rest)?;
        }
        None
    }
}

/// Splits off the time at the beginning of the head. Returns it, and the text after the blank that follows.
fn begin(text: &str) -> Option<(&str, &str)> {
    let Some(rest) = text.strip_prefix('<').or_else(|| after_count(text)) else { return time(text) };
    let (priority, rest) = rest.split_once('>')?;
    if !matches!(priority.len(), 1..=3) || !is_digits(priority) {
        return None;
    }
    match rest.strip_prefix("1 ") {
        Some(rest) => syslog(rest),
        None => time(rest),
    }
}

/// The text after the byte count that precedes each message in RFC 6587.
fn after_count(text: &str) -> Option<&str> {
    let (count, rest) = text.split_once(" <")?;
    (count.len() <= 6 && is_digits(count)).then_some(rest)
}

/// Reads past the header of a message (RFC 5424, section 6): time, host, program, process id, message id and structured
/// data. Returns the time, and the message.
fn syslog(text: &str) -> Option<(&str, &str)> {
    let (time, mut rest) = text.split_once(' ')?;
    for _ in 0..4 {
        rest = rest.split_once(' ')?.1;
    }
    let rest = match rest.strip_prefix('-') {
        Some(rest) => rest,
        None => structured_data(rest)?,
    };
    let rest = rest.strip_prefix(' ')?;
    Some((time, rest.strip_prefix('\u{feff}').unwrap_or(rest)))
}

/// The text after the structured data. In its values `"`, `\` and `]` are escaped.
fn structured_data(mut text: &str) -> Option<&str> {
    while let Some(element) = text.strip_prefix('[') {
        let (mut is_quoted, mut is_escaped) = (false, false);
        let end = element.bytes().position(|byte| {
            let is_end = byte == b']' && !is_quoted;
            is_quoted ^= byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            is_end
        });
        text = &element[end? + 1..];
    }
    Some(text)
}

/// Splits off a time: `2024-01-15T08:00:00Z`, `2024-01-15 08:00:00 +0000` or `Jan 15 08:00:00`.
fn time(text: &str) -> Option<(&str, &str)> {
    let bytes = text.as_bytes();
    let length = match bytes {
        [b'0'..=b'9', ..] => {
            let is_of_time =
                |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b':' | b'.' | b',' | b'T' | b't' | b'Z' | b'z');
            let word = |from: usize| {
                from + bytes[from..].iter().take(TIME_BYTES_MAX).take_while(|byte| is_of_time(byte)).count()
            };
            let date = word(0);
            let is_date = bytes.get(4) == Some(&b'-') && bytes.get(7) == Some(&b'-');
            match date {
                _ if !is_date => return None,
                10 if bytes.get(10) == Some(&b' ') => {
                    let time = word(11);
                    let has_zone = matches!(bytes.get(time..time + 2), Some([b' ', b'+' | b'-']));
                    if has_zone { word(time + 1) } else { time }
                }
                _ => date,
            }
        }
        _ => {
            let month = text.get(..3).filter(|month| MONTHS.contains(month))?;
            let is_time = |byte: &u8| matches!(byte, b'0'..=b'9' | b':' | b' ');
            let length = "Jan 15 08:00:00".len();
            (bytes.get(month.len()..length)?.iter().all(is_time)).then_some(length)?
        }
    };
    let (time, rest) = text.split_at_checked(length)?;
    let is_whole = time.len() >= "Jan 15 08:00:00".len() && time.contains(':') && !time.ends_with(':');
    rest.strip_prefix([' ', '\t']).filter(|_| is_whole).map(|rest| (time, rest))
}

/// The text after a word and a blank.
fn word(text: &str) -> Option<&str> {
    let end = text.bytes().take(WORD_BYTES_MAX).position(|byte| matches!(byte, b' ' | b'\t'))?;
    let is_word = end > 0 && !text[..end].contains(['"', '{', '=']);
    is_word.then(|| &text[end + 1..])
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether `line` begins with a record, or with an object that holds one.
fn begins_record(line: &[u8], sought: &Sought<'_>) -> bool {
    sought.accepts(line) || line.first() == Some(&b'{') && envelope::line(line, sought).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUGHT: Sought<'static> = Sought::of(|bytes| bytes.starts_with(b"{\"record\""), |_| false);

    #[test]
    fn known_heads_are_told_and_what_follows_them_is_the_line() {
        for (head, time) in [
            ("2024-01-15T08:00:00.000Z ", Some("2024-01-15T08:00:00.000Z")),
            ("2024-01-15T08:00:00+00:00\tkube.immuta\t", Some("2024-01-15T08:00:00+00:00")),
            ("2024-01-15T08:00:00.123456+01:00 host immuta[12]: ", Some("2024-01-15T08:00:00.123456+01:00")),
            ("2024-01-15T08:00:00.000Z ip-10-0-0-1 ", Some("2024-01-15T08:00:00.000Z")),
            ("2024-01-15 08:00:00 +0000 kube.immuta: ", None),
            ("2024-01-15 08:00:00.123 ", None),
            ("Jan 15 08:00:00 host immuta[12]: ", None),
            ("Jan  5 08:00:00 host immuta: ", None),
            ("<14>Jan 15 08:00:00 host immuta[12]: ", None),
            ("<14>1 2024-01-15T08:00:00Z host immuta 12 - - ", Some("2024-01-15T08:00:00Z")),
            (
                "<14>1 2024-01-15T08:00:00Z - - - - [a@1 b=\"\\\"]\" c=\"d\"][e@1] \u{feff}",
                Some("2024-01-15T08:00:00Z"),
            ),
            ("123 <14>1 2024-01-15T08:00:00Z host immuta 12 - - ", Some("2024-01-15T08:00:00Z")),
        ] {
            for line in ["{\"record\":1}", "{\"log\":\"{\\\"record\\\":1}\\n\"}"] {
                let whole = format!("{head}{line}");
                let found = Head::of(whole.as_bytes(), &SOUGHT).unwrap_or_else(|| panic!("{whole}"));
                assert_eq!((found.text, found.line), (head, line.as_bytes()), "{whole}");
                assert!(time.is_none() || found.time == time, "{whole}: {:?}", found.time);
            }
        }
    }

    #[test]
    fn what_is_no_known_head_hides_no_record() {
        for head in [
            "GET /x ",
            "2024-01-15T08:00:00.000Z GET /a b ",
            "2024-01-15T08:00:00.000Z msg=\"x ",
            "2024-01-15T08:00:00.000Z: ",
            "<abc>Jan 15 08:00:00 host immuta: ",
            "<14>1 2024-01-15T08:00:00Z host immuta 12 - [a ",
            "2024-01-15 ",
            "Jan 15 ",
            "12 ",
        ] {
            let whole = format!("{head}{{\"record\":1}}");
            assert!(Head::of(whole.as_bytes(), &SOUGHT).is_none(), "{whole}");
        }
    }
}

//! Reads a line of an access log field by field, where nothing but quotes and spaces tells them apart.

use std::ops::Range;

use wide::u8x16;

use crate::event::Reader;

/// What a field says; none for `-` and `"-"`.
pub(super) type Value<'a> = Option<&'a str>;

/// A field's value, without its quotes.
#[inline]
pub(super) fn value(field: &str) -> Value<'_> {
    let bare = match field.as_bytes() {
        [b'"', .., b'"'] => &field[1..field.len() - 1],
        _ => field,
    };
    (bare.as_bytes() != b"-").then_some(bare)
}

/// Whether there is neither a backslash nor a control character.
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<16>();
    let specials = chunks.iter().fold(u8x16::splat(0), |found, chunk| {
        let bytes = u8x16::new(*chunk);
        let is_control = bytes.simd_eq(bytes.min(u8x16::splat(0x1f)));
        found | bytes.simd_eq(u8x16::splat(b'\\')) | is_control
    });
    specials.to_bitmask() == 0 && !rest.iter().any(|byte| (*byte == b'\\') | (*byte < 0x20))
}

/// Spaces around the line, and the `";` after records that were copied out of source code, are no part of the line.
pub(super) fn trimmed(text: &str) -> &str {
    let text = text.trim();
    text.strip_suffix("\";").unwrap_or(text)
}

/// Status, error, bytes sent, object size, total time, turn-around time.
pub(super) const MIDDLE: usize = 6;

/// More than any number in the place of a status has.
const STATUS_BYTES_MAX: usize = 4;

/// Reads a line's fields one after another. What is no such field ends the reading.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    /// Where the next field begins; beyond the text when there is none.
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Reads on from `at`, which is behind a space, or beyond the text.
    pub(super) const fn new(text: &'a str, at: usize) -> Self {
        Self { text, at }
    }

    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// Whether there is no further field.
    pub(super) const fn is_at_end(&self) -> bool {
        self.at > self.text.len()
    }

    /// The field up to the next space, with its quotes.
    #[inline]
    pub(super) fn field(&mut self) -> Option<&'a str> {
        let rest = self.text.get(self.at..)?;
        let length = memchr::memchr(b' ', rest.as_bytes()).unwrap_or(rest.len());
        let field = Some(&rest[..length]).filter(|field| !field.is_empty())?;
        self.at += length + 1;
        Some(field)
    }

    /// `[06/Feb/2019:00:00:38 +0000]`, without the brackets, or a field without a value.
    pub(super) fn time(&mut self) -> Option<Value<'a>> {
        const LENGTH_MAX: usize = 40;
        let bytes = self.text.as_bytes();
        if bytes.get(self.at) != Some(&b'[') {
            return self.field().map(value).filter(Value::is_none);
        }
        let from = self.at + 1;
        let inside = &bytes[from..bytes.len().min(self.at + LENGTH_MAX)];
        let end = memchr::memchr(b']', inside)?;
        let time = self.text.get(from..from + end)?;
        self.at = match bytes.get(from + end + 1) {
            Some(b' ') => from + end + 2,
            _ => self.text.len() + 1,
        };
        (!time.contains('[')).then_some(Some(time))
    }

    /// A field that may be quoted, up to its first quote that a space or the line's end follows.
    pub(super) fn first_end(&mut self) -> Option<Value<'a>> {
        let bytes = self.text.as_bytes();
        if bytes.get(self.at) != Some(&b'"') {
            return self.field().map(value).filter(|value| value.is_none_or(|bare| !holds_quote(bare)));
        }
        // What clients send is long.
        let end = self.at + 1 + memchr::memchr(b'"', &bytes[self.at + 1..])?;
        if !matches!(bytes.get(end + 1), None | Some(b' ')) {
            return None;
        }
        let field = &self.text[self.at..=end];
        self.at = end + 2;
        Some(value(field))
    }

    /// A field that nobody knows yet: up to the next space, or all that quotes, brackets or JSON hold together.
    pub(super) fn new_field(&mut self) -> Option<&'a str> {
        let rest = self.text.get(self.at..)?;
        let Some(length) = held_together(rest) else { return self.field() };
        self.at += length + 1;
        Some(&rest[..length])
    }

    /// The six fields between request and referrer, where something follows them.
    pub(super) fn middle(&mut self) -> Option<[Value<'a>; MIDDLE]> {
        let mut fields = [None; MIDDLE];
        for (index, field) in fields.iter_mut().enumerate() {
            *field = value(self.field()?);
            let fits = match (index, *field) {
                (_, None) => true,
                // Mostly three digits; any other number is no status, and loses no record.
                (0, Some(status)) => {
                    status.len() <= STATUS_BYTES_MAX && is_number(status.strip_prefix('-').unwrap_or(status))
                }
                (1, Some(error)) => !holds_quote(error),
                (_, Some(number)) => is_number(number),
            };
            if !fits {
                return None;
            }
        }
        (!self.is_at_end()).then_some(fields)
    }
}

/// How long a field is that begins as one does which may hold spaces, if it ends as well.
fn held_together(text: &str) -> Option<usize> {
    let is_end = |at: &usize| matches!(text.as_bytes().get(*at), None | Some(b' '));
    let first = text.bytes().next()?;
    if matches!(first, b'[' | b'{') {
        let mut reader = Reader::new(text);
        if reader.value().is_ok() && is_end(&reader.at()) {
            return Some(reader.at());
        }
    }
    let last = match first {
        b'"' => b'"',
        b'[' => b']',
        b'{' => b'}',
        _ => return None,
    };
    memchr::memchr_iter(last, &text.as_bytes()[1..]).map(|at| at + 2).find(is_end)
}

pub(super) fn holds_quote(text: &str) -> bool {
    memchr::memchr(b'"', text.as_bytes()).is_some()
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether the text holds what only the third field of a record looks like.
pub(super) fn holds_time(text: &str) -> bool {
    times(text, 0).next().is_some()
}

/// Whether one of the times behind `from` is a record's: it stands before an operation as in a record, or behind an owner.
pub(super) fn holds_record(text: &str, from: usize) -> bool {
    times(text, from).any(|time| {
        let operation = text[time.end..].strip_prefix(' ').and_then(|after| after.split(' ').nth(3));
        let owner = text[..time.start].strip_suffix(' ').and_then(|before| before.rsplit(' ').nth(1));
        operation.is_some_and(is_operation) || owner.is_some_and(|owner| owner_digits(owner) >= OWNER_DIGITS)
    })
}

/// Whether an operation stands behind a request's id, as in a record whose first fields are lost.
pub(super) fn holds_operation(text: &str) -> bool {
    let mut before = "";
    text.split(' ').any(|field| is_request_id(std::mem::replace(&mut before, field)) && is_operation(field))
}

/// `D4CC66AB2DA5F4C9`.
fn is_request_id(field: &str) -> bool {
    field.len() == 16 && field.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
}

/// `REST.GET.OBJECT`, `S3.EXPIRE.OBJECT`, `SOAP.ListAllMyBuckets`.
fn is_operation(field: &str) -> bool {
    field.starts_with(|first: char| first.is_ascii_uppercase())
        && field.contains('.')
        && field.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// A canonical user id has so many.
pub(super) const OWNER_DIGITS: usize = 64;

/// With how many hexadecimal digits the field ends.
pub(super) fn owner_digits(field: &str) -> usize {
    field.bytes().rev().take_while(u8::is_ascii_hexdigit).count()
}

/// Where, behind `from`, times stand in brackets.
fn times(text: &str, from: usize) -> impl Iterator<Item = Range<usize>> {
    const LIKE: &[u8; 28] = b"[00/Xxx/0000:00:00:00 +0000]";
    let bytes = text.as_bytes();
    let is_time = |time: &[u8]| {
        time.iter().zip(LIKE).all(|(byte, like)| match like {
            b'0' => byte.is_ascii_digit(),
            b'X' | b'x' => byte.is_ascii_alphabetic(),
            b'+' => matches!(byte, b'+' | b'-'),
            other => byte == other,
        })
    };
    let brackets = memchr::memchr_iter(b'[', &bytes[from.min(bytes.len())..]).map(move |at| from + at);
    let places = brackets.map(|at| at..at + LIKE.len());
    places.filter(move |place| bytes.get(place.clone()).is_some_and(is_time))
}

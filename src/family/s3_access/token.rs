//! Reads a line of an access log field by field. Only quotes and spaces separate the fields.

use std::ops::Range;

use wide::u8x16;

use crate::event::Reader;

/// The value of a field; `None` for `-` and `"-"`.
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

/// Whether the bytes hold neither a backslash nor a control character.
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<16>();
    let specials = chunks.iter().fold(u8x16::splat(0), |found, chunk| {
        let bytes = u8x16::new(*chunk);
        let is_control = bytes.simd_eq(bytes.min(u8x16::splat(0x1f)));
        found | bytes.simd_eq(u8x16::splat(b'\\')) | is_control
    });
    specials.to_bitmask() == 0 && !rest.iter().any(|byte| (*byte == b'\\') | (*byte < 0x20))
}

/// Removes spaces around the line, and the `";` after records that were copied out of source code.
pub(super) fn trimmed(text: &str) -> &str {
    let text = text.trim();
    text.strip_suffix("\";").unwrap_or(text)
}

/// The number of fields between request and referrer: status, error, bytes sent, object size, total time, turn-around
/// time.
pub(super) const MIDDLE: usize = 6;

/// The longest number in the place of a status, in bytes.
const STATUS_BYTES_MAX: usize = 4;

/// Reads a line's fields one after another, until one does not fit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    /// The offset of the next field; beyond the text if there is none.
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Reads on from `at`, which is the byte after a space, or beyond the text.
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

    /// Reads `[06/Feb/2019:00:00:38 +0000]`, returned without the brackets, or a field without a value.
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

    /// Reads a field that may be quoted, up to its first quote. `None` if neither a space nor the end of the line
    /// follows.
    pub(super) fn first_end(&mut self) -> Option<Value<'a>> {
        let bytes = self.text.as_bytes();
        if bytes.get(self.at) != Some(&b'"') {
            return self.field().map(value).filter(|value| value.is_none_or(|bare| !holds_quote(bare)));
        }
        // URI, referrer and agent are long: `memchr` scans them many bytes at a time.
        let end = self.at + 1 + memchr::memchr(b'"', &bytes[self.at + 1..])?;
        if !matches!(bytes.get(end + 1), None | Some(b' ')) {
            return None;
        }
        let field = &self.text[self.at..=end];
        self.at = end + 2;
        Some(value(field))
    }

    /// Reads a field of an unknown kind: up to the next space, or all that quotes, brackets or JSON hold together.
    pub(super) fn new_field(&mut self) -> Option<&'a str> {
        let rest = self.text.get(self.at..)?;
        let Some(length) = held_together(rest) else { return self.field() };
        self.at += length + 1;
        Some(&rest[..length])
    }

    /// Reads the six fields between request and referrer. Another field must follow them.
    pub(super) fn middle(&mut self) -> Option<[Value<'a>; MIDDLE]> {
        let mut fields = [None; MIDDLE];
        for (index, field) in fields.iter_mut().enumerate() {
            *field = value(self.field()?);
            let fits = match (index, *field) {
                (_, None) => true,
                // Mostly three digits. Another number is no status, but must not cost the record.
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

/// The length of a field in quotes or brackets, which may hold spaces. `None` if the text begins or ends otherwise.
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

/// Whether the text holds a time in brackets, as only the third field of a record has it.
pub(super) fn holds_time(text: &str) -> bool {
    times(text, 0).next().is_some()
}

/// Whether a time after `from` is that of a record: it is followed by an operation, or preceded by an owner, as in a
/// record.
pub(super) fn holds_record(text: &str, from: usize) -> bool {
    times(text, from).any(|time| {
        let operation = text[time.end..].strip_prefix(' ').and_then(|after| after.split(' ').nth(3));
        let owner = text[..time.start].strip_suffix(' ').and_then(|before| before.rsplit(' ').nth(1));
        operation.is_some_and(is_operation) || owner.is_some_and(|owner| owner_digits(owner) >= OWNER_DIGITS)
    })
}

/// Whether the text holds a request id followed by an operation, as in a record whose first fields are lost.
pub(super) fn holds_operation(text: &str) -> bool {
    let mut before = "";
    text.split(' ').any(|field| is_request_id(std::mem::replace(&mut before, field)) && is_operation(field))
}

/// Whether a field looks like `D4CC66AB2DA5F4C9`.
fn is_request_id(field: &str) -> bool {
    field.len() == 16 && field.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
}

/// Whether a field looks like `REST.GET.OBJECT`, `S3.EXPIRE.OBJECT` or `SOAP.ListAllMyBuckets`.
fn is_operation(field: &str) -> bool {
    field.starts_with(|first: char| first.is_ascii_uppercase())
        && field.contains('.')
        && field.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// The hexadecimal digits of a canonical user id.
pub(super) const OWNER_DIGITS: usize = 64;

/// The number of hexadecimal digits at the end of the field.
pub(super) fn owner_digits(field: &str) -> usize {
    field.bytes().rev().take_while(u8::is_ascii_hexdigit).count()
}

/// Whether the field ends in the owner's id, or in a beginning of it that is too long for a coincidence.
pub(super) fn ends_in_owner(field: &str, owner: &str) -> bool {
    const DIGITS_MIN: usize = 8;
    let Some(beginning) = owner.get(..DIGITS_MIN).filter(|_| field.len() >= DIGITS_MIN) else { return false };
    field.rfind(beginning).is_some_and(|at| owner.starts_with(&field[at..]))
}

/// The ranges of times in brackets after `from`.
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

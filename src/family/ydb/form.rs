//! Recognizes the form of a line by its beginning.

use wide::u8x16;

use crate::event::Json;
use crate::family::container;
use crate::family::ydb::names::{NAME_MAX, Name};
use crate::family::ydb::schemeshard::Prefix;

/// The forms of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// A line of the common log.
    Scheme,
    /// `<time>: {...}`
    TimedJson,
    /// `{"@timestamp":...}`
    Json,
    /// `<time>: component=..., ...`
    Text,
}

/// Whether a line, or the first piece of one, is or begins a record.
pub(super) fn is_record(bytes: &[u8]) -> bool {
    form(bytes).is_some()
}

/// How many bytes of a text are searched for the beginning of a record.
const BEGINNING_BYTES: usize = 1024;

/// Whether the text seems to begin a record. Takes bounded time, however long the text is.
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    is_record(&bytes[..bytes.len().min(BEGINNING_BYTES)])
}

/// The form of a record, or of the beginning of one. `None` if the bytes are neither.
pub(super) fn form(bytes: &[u8]) -> Option<Form> {
    let (form, time) = shape(bytes)?;
    let is_record = match form {
        Form::Json => is_json_record(bytes),
        Form::TimedJson => true,
        Form::Text => begins_fields(&bytes[time + 2..]),
        Form::Scheme => {
            let after = &bytes[time..];
            begins_audit(&after[..after.len().min(USUAL_PREFIX)]) || begins_audit(&after[..after.len().min(PREFIX_MAX)])
        }
    };
    is_record.then_some(form)
}

/// The only form that the line can have if it is a record, and the length in bytes of the time at its beginning.
pub(super) fn shape(bytes: &[u8]) -> Option<(Form, usize)> {
    if bytes.first() == Some(&b'{') {
        return Some((Form::Json, 0));
    }
    let time = time_length(bytes)?;
    let form = match &bytes[time..] {
        [b':', b' ', b'{', ..] => Form::TimedJson,
        [b':', b' ', ..] => Form::Text,
        _ => Form::Scheme,
    };
    Some((form, time))
}

/// Whether the bytes after the time of a line of the common log begin an audit line. The bytes may end in invalid
/// UTF-8.
fn begins_audit(after: &[u8]) -> bool {
    Prefix::of(container::valid(after)).and_then(|prefix| prefix.audit()).is_some()
}

/// Bytes that mostly suffice for node, component and level.
const USUAL_PREFIX: usize = 96;

/// More bytes than node, component, level and a source position take together.
const PREFIX_MAX: usize = 300;

/// Whether the bytes after a time begin the fields of the text form.
fn begins_fields(text: &[u8]) -> bool {
    let head = &text[..text.len().min(NAME_MAX)];
    let Some(equals) = memchr::memchr(b'=', head) else { return false };
    std::str::from_utf8(&head[..equals]).is_ok_and(|name| Name::of(name).is_some())
}

/// A line of the common log, of any component.
pub(super) fn is_common_line(bytes: &[u8]) -> bool {
    time_length(bytes).is_some_and(|time| {
        Prefix::of(container::valid(&bytes[time..][..(bytes.len() - time).min(PREFIX_MAX)])).is_some()
    })
}

/// Bytes of an object that mostly suffice to recognize it, by its time and type or its component and another field.
const HEAD_BYTES: usize = 96;

/// Whether a JSON object, or the beginning of one, is a record of the audit stream.
fn is_json_record(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(HEAD_BYTES)];
    tells_audit(head, bytes) || head.len() < bytes.len() && tells_audit(bytes, bytes)
}

fn tells_audit(head: &[u8], line: &[u8]) -> bool {
    let (mut is_audit, mut has_component, mut has_other) = (false, false, false);
    let mut is_other = false;
    container::peek(head, line, |key, value| {
        match (key, value) {
            ("@log_type", Json::String("audit")) => is_audit = true,
            ("@log_type", Json::String(_)) => is_other = true,
            ("component", _) => has_component = true,
            ("operation" | "detailed_status" | "sanitized_token", _) => has_other = true,
            _ => {}
        }
        is_audit || is_other || has_component && has_other
    });
    !is_other && (is_audit || has_component && has_other)
}

/// Whether YDB wrote the line, whatever its component.
pub(super) fn is_own(bytes: &[u8]) -> bool {
    let mut is_own = is_common_line(bytes);
    container::peek(bytes, bytes, |key, value| {
        is_own |= matches!((key, value), ("@log_type" | "component", Json::String(_)));
        is_own
    });
    is_own
}

/// Length in bytes of the time at the beginning, such as `2022-08-03T22:41:43.860439Z`. `None` if there is none.
pub(super) fn time_length(bytes: &[u8]) -> Option<usize> {
    let (minute, rest) = bytes.split_first_chunk()?;
    let (second, rest) = rest.split_first_chunk()?;
    if !is_minute(minute) || !matches!(second, [b':', b'0'..=b'9', b'0'..=b'9']) {
        return None;
    }
    let fraction = match rest {
        [b'.', digits @ ..] => 1 + digits.iter().take_while(|byte| byte.is_ascii_digit()).count(),
        _ => 0,
    };
    match &rest[fraction..] {
        [b'Z', ..] => Some(19 + fraction + 1),
        [b'+' | b'-', zone @ ..] => {
            let length = zone.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b':').count();
            // The colon of a `: ` after the zone offset is no part of it.
            let length = if zone[..length].ends_with(b":") { length - 1 } else { length };
            matches!(length, 4 | 5).then_some(19 + fraction + 1 + length)
        }
        _ => None,
    }
}

/// Whether the bytes have the form `2022-08-03T22:41`, with any digits.
fn is_minute(bytes: &[u8; 16]) -> bool {
    let form = u8x16::new(*b"0000-00-00T00:00");
    let bytes = u8x16::new(*bytes);
    let is_digit = bytes.simd_eq(bytes.max(u8x16::splat(b'0')).min(u8x16::splat(b'9')));
    let may_be_digit = form.simd_eq(u8x16::splat(b'0'));
    (bytes.simd_eq(form) | is_digit & may_be_digit).to_bitmask() == 0xffff
}

//! Writes stored values as canonical JSON.

use std::fmt::Display;
use std::io::Write as _;

use jiff::Timestamp;
use jiff::civil::{Date, Time};

use crate::records::escaped::write_escaped;
use crate::records::rows::columns::{Column, Stored};
use crate::records::rows::input::RowsError;
use crate::records::rows::shape::{Format, Kind, Member, Unit};
use crate::records::rows::text::{is_plain, write_base64};

/// The Julian day of 1970-01-01. INT96 counts Julian days.
const JULIAN_DAY_OF_EPOCH: i64 = 2_440_588;

const DAY_NANOS: i128 = 86_400_000_000_000;

/// Writes the member and a comma, and steps its columns to the next row. Nulls are left out.
///
/// # Errors
/// If the columns' levels contradict each other, or the output becomes longer than `member_bytes_max`.
pub(super) fn write_member(
    out: &mut Vec<u8>,
    member: &Member,
    columns: &mut [Column],
    member_bytes_max: usize,
) -> Result<(), RowsError> {
    if member.repeats.is_none() && !is_there(member, columns)? {
        advance(member, columns);
        return Ok(());
    }
    out.extend_from_slice(&member.key);
    let mut writer = Writer { out, columns, member_bytes_max };
    writer.value(member)?;
    out.push(b',');
    Ok(())
}

/// Whether the member is present in the next entry of its columns.
fn is_there(member: &Member, columns: &[Column]) -> Result<bool, RowsError> {
    let def = columns.get(member.columns.start).and_then(Column::def).ok_or_else(disagree)?;
    Ok(def >= member.def)
}

fn advance(member: &Member, columns: &mut [Column]) {
    for column in &mut columns[member.columns.clone()] {
        column.advance();
    }
}

fn disagree() -> RowsError {
    RowsError::damaged("the levels of its columns contradict each other".to_owned())
}

struct Writer<'w> {
    out: &'w mut Vec<u8>,
    columns: &'w mut [Column],
    member_bytes_max: usize,
}

impl Writer<'_> {
    /// Writes the value of a member that may be null or repeated.
    fn value(&mut self, member: &Member) -> Result<(), RowsError> {
        let there = is_there(member, self.columns)?;
        let Some(repeats) = member.repeats else {
            if there {
                return self.present(member);
            }
            advance(member, self.columns);
            self.out.extend_from_slice(b"null");
            return Ok(());
        };
        self.out.push(b'[');
        if there {
            loop {
                self.present(member)?;
                if self.columns[member.columns.start].rep() != repeats {
                    break;
                }
                self.out.push(b',');
            }
        } else {
            advance(member, self.columns);
        }
        self.out.push(b']');
        Ok(())
    }

    fn present(&mut self, member: &Member) -> Result<(), RowsError> {
        match &member.kind {
            Kind::Value(format) => {
                let column = &mut self.columns[member.columns.start];
                let value = column.peek().filter(|_| column.is_present()).ok_or_else(disagree)?;
                write_value(self.out, value, *format);
                column.advance();
                // Checked only after values: nulls and brackets are short, and decoding limits the number of entries.
                if self.out.len() > self.member_bytes_max {
                    return Err(RowsError::TooLarge {
                        what: "a nested value",
                        bytes_max: self.member_bytes_max as u64,
                    });
                }
            }
            Kind::Wrapping(inner) => self.value(inner)?,
            Kind::Group(members) => {
                self.out.push(b'{');
                for inner in members {
                    write_member(self.out, inner, self.columns, self.member_bytes_max)?;
                }
                end_members(self.out, b'}');
            }
        }
        Ok(())
    }
}

/// Closes a group whose members each end with a comma.
pub(super) fn end_members(out: &mut Vec<u8>, bracket: u8) {
    match out.last_mut() {
        Some(last) if *last == b',' => *last = bracket,
        _ => out.push(bracket),
    }
}

pub(super) fn write_value(out: &mut Vec<u8>, value: Stored<'_>, format: Format) {
    match (value, format) {
        (Stored::Bool(truth), _) => out.extend_from_slice(if truth { b"true" } else { b"false" }),
        (Stored::Int32(number), Format::Unsigned) => number_text(out, number.cast_unsigned()),
        (Stored::Int64(number), Format::Unsigned) => number_text(out, number.cast_unsigned()),
        (Stored::Int32(number), Format::Decimal(scale)) => write_decimal(out, i128::from(number), scale),
        (Stored::Int64(number), Format::Decimal(scale)) => write_decimal(out, i128::from(number), scale),
        (Stored::Int32(days), Format::Date) => write_date(out, days),
        (Stored::Int32(number), Format::TimeOfDay(unit)) => write_time_of_day(out, i64::from(number), unit),
        (Stored::Int64(number), Format::TimeOfDay(unit)) => write_time_of_day(out, number, unit),
        (Stored::Int64(number), Format::Instant(unit)) => write_instant(out, nanos(number, unit)),
        (Stored::Int32(number), _) => out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
        (Stored::Int64(number), _) => out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
        (Stored::Int96(stamp), _) => {
            let &[low, high, day] = stamp.data() else { return out.extend_from_slice(b"null") };
            let of_day = i128::from(u64::from(high) << 32 | u64::from(low));
            write_instant(out, i128::from(i64::from(day) - JULIAN_DAY_OF_EPOCH) * DAY_NANOS + of_day);
        }
        (Stored::Float(number), _) if number.is_finite() => number_text(out, number),
        (Stored::Double(number), _) if number.is_finite() => number_text(out, number),
        (Stored::Float(number), _) => quoted(out, number),
        (Stored::Double(number), _) => quoted(out, number),
        (Stored::Bytes(bytes), format) => write_bytes(out, bytes, format),
    }
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8], format: Format) {
    match (format, bytes.len()) {
        (Format::Decimal(scale), 1..=16) => {
            let sign = if bytes[0] >= 0x80 { 0xff } else { 0 };
            let mut whole = [sign; 16];
            whole[16 - bytes.len()..].copy_from_slice(bytes);
            write_decimal(out, i128::from_be_bytes(whole), scale);
        }
        (Format::Uuid, 16) => write_uuid(out, bytes),
        (Format::Plain, _) if is_plain(bytes) => {
            out.push(b'"');
            out.extend_from_slice(bytes);
            out.push(b'"');
        }
        (Format::Plain, _) => match std::str::from_utf8(bytes) {
            Ok(text) => {
                out.push(b'"');
                write_escaped(out, text);
                out.push(b'"');
            }
            Err(_) => write_base64(out, bytes),
        },
        _ => write_base64(out, bytes),
    }
}

fn number_text(out: &mut Vec<u8>, number: impl Display) {
    let _written = write!(out, "{number}");
}

fn quoted(out: &mut Vec<u8>, value: impl Display) {
    let _written = write!(out, "\"{value}\"");
}

fn write_decimal(out: &mut Vec<u8>, unscaled: i128, scale: u8) {
    let scale = usize::from(scale);
    if scale == 0 {
        return number_text(out, unscaled);
    }
    let digits = format!("{:0width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if unscaled < 0 { "-" } else { "" };
    let _written = write!(out, "{sign}{whole}.{fraction}");
}

fn nanos(number: i64, unit: Unit) -> i128 {
    i128::from(number)
        * match unit {
            Unit::Millis => 1_000_000,
            Unit::Micros => 1_000,
            Unit::Nanos => 1,
        }
}

/// Writes RFC 3339 in UTC, or the bare nanoseconds outside of the calendar's range.
fn write_instant(out: &mut Vec<u8>, nanos: i128) {
    match Timestamp::from_nanosecond(nanos) {
        Ok(timestamp) => quoted(out, timestamp),
        Err(_) => number_text(out, nanos),
    }
}

fn write_date(out: &mut Vec<u8>, days: i32) {
    let epoch = Date::constant(1970, 1, 1);
    match epoch.checked_add(jiff::Span::new().try_days(days).unwrap_or_default()) {
        Ok(date) if jiff::Span::new().try_days(days).is_ok() => quoted(out, date),
        _ => number_text(out, days),
    }
}

fn write_time_of_day(out: &mut Vec<u8>, number: i64, unit: Unit) {
    let nanos = nanos(number, unit);
    let parts = (0..DAY_NANOS).contains(&nanos).then(|| {
        let seconds = nanos / 1_000_000_000;
        let part = |number: i128| i8::try_from(number).unwrap_or(0);
        let rest = i32::try_from(nanos % 1_000_000_000).unwrap_or(0);
        Time::new(part(seconds / 3600), part(seconds / 60 % 60), part(seconds % 60), rest)
    });
    match parts {
        Some(Ok(time)) => quoted(out, time),
        _ => number_text(out, number),
    }
}

fn write_uuid(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        let _written = write!(out, "{byte:02x}");
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use parquet::data_type::Int96;

    use super::*;

    fn written(value: Stored<'_>, format: Format) -> String {
        let mut out = Vec::new();
        write_value(&mut out, value, format);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_are_written_as_rfc_3339() {
        let instant = |number, unit| written(Stored::Int64(number), Format::Instant(unit));
        assert_eq!(instant(1_766_665_805_123, Unit::Millis), "\"2025-12-25T12:30:05.123Z\"");
        assert_eq!(instant(1_766_665_805_123_456, Unit::Micros), "\"2025-12-25T12:30:05.123456Z\"");
        assert_eq!(instant(1_766_665_805_000_000_000, Unit::Nanos), "\"2025-12-25T12:30:05Z\"");
        assert_eq!(instant(i64::MAX, Unit::Millis), "9223372036854775807000000");
        // 2025-12-25 is Julian day 2461035; 45005.25 s after midnight.
        let mut stamp = Int96::new();
        let of_day: u64 = 45_005_250_000_000;
        stamp.set_data((of_day & 0xffff_ffff) as u32, (of_day >> 32) as u32, 2_461_035);
        assert_eq!(written(Stored::Int96(&stamp), Format::Instant(Unit::Nanos)), "\"2025-12-25T12:30:05.25Z\"");
        assert_eq!(written(Stored::Int32(20_447), Format::Date), "\"2025-12-25\"");
        assert_eq!(written(Stored::Int32(i32::MAX), Format::Date), "2147483647");
        assert_eq!(written(Stored::Int32(45_005_250), Format::TimeOfDay(Unit::Millis)), "\"12:30:05.25\"");
    }

    #[test]
    fn numbers_are_written_in_full() {
        assert_eq!(written(Stored::Int64(i64::MIN), Format::Plain), "-9223372036854775808");
        assert_eq!(written(Stored::Int64(-1), Format::Unsigned), "18446744073709551615");
        assert_eq!(written(Stored::Int32(-1), Format::Unsigned), "4294967295");
        assert_eq!(written(Stored::Int64(-5), Format::Decimal(2)), "-0.05");
        assert_eq!(written(Stored::Int32(1234), Format::Decimal(0)), "1234");
        assert_eq!(written(Stored::Double(0.1), Format::Plain), "0.1");
        assert_eq!(written(Stored::Double(f64::NAN), Format::Plain), "\"NaN\"");
        assert_eq!(written(Stored::Bytes(&[0xff, 0x85]), Format::Decimal(1)), "-12.3");
    }

    #[test]
    fn bytes_are_text_when_they_are_utf_8_and_otherwise_told_apart_from_text() {
        let bytes = |bytes: &[u8]| written(Stored::Bytes(bytes), Format::Plain);
        assert_eq!(bytes("jürgen \"\\\n\u{1}".as_bytes()), "\"jürgen \\\"\\\\\\n\\u0001\"");
        assert_eq!(bytes(&[0xff]), "{\"base64\":\"/w==\"}");
        assert_eq!(bytes(&[0xff, 0x00]), "{\"base64\":\"/wA=\"}");
        assert_eq!(bytes(&[0xff, 0x00, 0x41]), "{\"base64\":\"/wBB\"}");
        let id: Vec<u8> = (0..16).collect();
        assert_eq!(written(Stored::Bytes(&id), Format::Uuid), "\"00010203-0405-0607-0809-0a0b0c0d0e0f\"");
    }
}

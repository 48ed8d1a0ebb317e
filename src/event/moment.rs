//! Points in time as sources write them, in milliseconds since the epoch.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::{rfc2822, strtime};
use jiff::tz::TimeZone;

use crate::event::Json;
use crate::event::text::unescape;

/// 2000-01-01 to 2100-01-01. Numbers outside are not times in milliseconds.
const PLAUSIBLE_MS: std::ops::Range<i64> = 946_684_800_000..4_102_444_800_000;

/// The time, if it lies between 2000 and 2100.
pub(crate) fn plausible(ms: i64) -> Option<i64> {
    PLAUSIBLE_MS.contains(&ms).then_some(ms)
}

/// A time from a number, whole or fractional, a text of its digits, or a date and time as text. The size of a number
/// tells its unit: seconds, milliseconds, microseconds or nanoseconds since the epoch.
pub(crate) fn of_json(json: Json<'_>) -> Option<i64> {
    match json {
        Json::Number(digits) => of_number(digits),
        Json::String(inside) => of_text(&unescape(inside)),
        _ => None,
    }
}

/// A time from a text of digits, an ISO 8601 date and time (UTC if it names no offset; a space may stand for the `T`
/// and before the offset), or a form in which programs print times.
pub(crate) fn of_text(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Some(ms) = of_utc(text).or_else(|| of_number(text)) {
        return plausible(ms);
    }
    if text.len() > SHOWN_BYTES_MAX {
        return None;
    }
    let timestamp = of_iso(text).or_else(|| of_iso(&with_joined_offset(text)?)).or_else(|| shown(text))?;
    plausible(timestamp.as_millisecond())
}

/// The longest text that may be a time, in bytes.
const SHOWN_BYTES_MAX: usize = 128;

fn of_iso(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| in_utc(text.parse().ok()?))
}

fn in_utc(civil: DateTime) -> Option<Timestamp> {
    TimeZone::UTC.to_timestamp(civil).ok()
}

/// Turns `2021-09-20 17:20:00.391 +0000`, `.. UTC` and Go's `.. +0000 UTC` into ISO 8601.
fn with_joined_offset(text: &str) -> Option<String> {
    let bare = [" UTC", " GMT", " Z"].iter().find_map(|zone| text.strip_suffix(zone));
    let (time, offset) = bare.unwrap_or(text).rsplit_once(' ').unwrap_or_default();
    let joined = offset.starts_with(['+', '-']).then(|| [time, offset].concat());
    joined.or_else(|| bare.map(|time| format!("{time}Z")))
}

/// A time as printed by JavaScript, headers of HTTP and mail (RFC 2822), `date`, C's `asctime`, or web servers.
fn shown(text: &str) -> Option<Timestamp> {
    const FORMS: [&str; 4] =
        ["%a %b %d %Y %H:%M:%S GMT%z", "%a %b %d %H:%M:%S UTC %Y", "%a %b %d %H:%M:%S GMT %Y", "%a %b %d %H:%M:%S %Y"];
    // JavaScript appends the name of the time zone in brackets.
    let text = text.strip_suffix(')').and_then(|open| open.rsplit_once(" (")).map_or(text, |(time, _)| time);
    let of_form = |form: &&str| {
        let read = strtime::parse(form, text).ok()?;
        read.to_timestamp().ok().or_else(|| in_utc(read.to_datetime().ok()?))
    };
    let of_mail = || rfc2822::parse(text).ok().map(|zoned| zoned.timestamp());
    let of_web = || Timestamp::from_millisecond(of_web_log(text)?).ok();
    FORMS.iter().find_map(of_form).or_else(of_mail).or_else(of_web)
}

/// `2024-01-15T08:30:00.123456Z`, as most sources write it.
fn of_utc(text: &str) -> Option<i64> {
    let (date, rest) = text.as_bytes().split_first_chunk::<19>()?;
    if [date[4], date[7], date[10], date[13], date[16]] != *b"--T::" {
        return None;
    }
    let number = |at: std::ops::Range<usize>| {
        date[at].iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let last_day = if month == 2 { 28 } else { 30 + (month + month / 8) % 2 };
    // Leap days and leap seconds are left to `jiff`, which knows them all.
    if year < 1970 || !(1..=12).contains(&month) || !(1..=last_day).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let fraction = match rest {
        [b'Z'] => 0,
        [b'.', digits @ .., b'Z'] if (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit) => {
            (0..3).fold(0, |ms, at| ms * 10 + digits.get(at).map_or(0, |digit| i64::from(digit - b'0')))
        }
        _ => return None,
    };
    Some(((days(year, month, day) * 24 + hour) * 60 + minute) * 60_000 + second * 1000 + fraction)
}

/// Days from 1970-01-01 to a date: the inverse of [`civil`].
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, march_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    year * 365 + year / 4 - year / 100 + year / 400 + (153 * march_month + 2) / 5 + day - 1 - 719_468
}

/// From these numbers on, a number counts milliseconds, microseconds and nanoseconds. Below the first it counts seconds.
const MILLISECONDS_FROM: i64 = 100_000_000_000;
const MICROSECONDS_FROM: i64 = 1000 * MILLISECONDS_FROM;
const NANOSECONDS_FROM: i64 = 1000 * MICROSECONDS_FROM;

/// The time that a number counts. Its size tells the unit: between 2000 and 2100, no number fits two units.
fn of_number(digits: &str) -> Option<i64> {
    if let Ok(number) = digits.parse::<i64>() {
        return plausible(match number {
            ..MILLISECONDS_FROM => number.checked_mul(1000)?,
            MILLISECONDS_FROM..MICROSECONDS_FROM => number,
            MICROSECONDS_FROM..NANOSECONDS_FROM => number / 1000,
            _ => number / 1_000_000,
        });
    }
    if !digits.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let number: f64 = digits.parse().ok()?;
    let ms = match number {
        ..1e11 => number * 1e3,
        ..1e14 => number,
        ..1e17 => number / 1e3,
        _ => number / 1e6,
    };
    // 2^53 is far beyond the plausible range, so that rounding and casting are exact within it.
    #[expect(clippy::cast_possible_truncation, reason = "checked to lie in the plausible range")]
    (946_684_800_000.0..4_102_444_800_000.0).contains(&ms).then(|| ms.round() as i64).and_then(plausible)
}

/// Midnight UTC of a date such as `2024-01-15`.
pub(crate) fn of_date(text: &str) -> Option<i64> {
    let date: jiff::civil::Date = text.parse().ok()?;
    plausible(in_utc(date.at(0, 0, 0, 0))?.as_millisecond())
}

/// `06/Feb/2019:00:00:38 +0000`, as web servers write it, if it lies between 2000 and 2100.
pub(crate) fn of_web_log(text: &str) -> Option<i64> {
    const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let bytes = text.as_bytes().first_chunk::<26>().filter(|all| all.len() == text.len())?;
    let number = |at: std::ops::Range<usize>| {
        bytes[at].iter().try_fold(0i16, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i16::from(byte - b'0')))
    };
    let small = |at| number(at).and_then(|number| i8::try_from(number).ok());
    let month = MONTHS.chunks_exact(3).zip(1..).find(|(name, _)| *name == &bytes[3..6]).map(|(_, month)| month)?;
    let punctuation = [bytes[2], bytes[6], bytes[11], bytes[14], bytes[17], bytes[20]];
    let sign = match bytes[21] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    if punctuation != *b"//::: " {
        return None;
    }
    let civil = DateTime::new(number(7..11)?, month, small(0..2)?, small(12..14)?, small(15..17)?, small(18..20)?, 0);
    let ms = in_utc(civil.ok()?)?.as_millisecond();
    let minutes = i64::from(number(22..24)?) * 60 + i64::from(number(24..26)?);
    plausible(ms - sign * minutes * 60_000)
}

/// Writes `2024-01-15T08:30:00.123Z`. The time must not lie before 1970.
pub(crate) fn write(out: &mut Vec<u8>, ms: i64) {
    let ms = ms.unsigned_abs();
    let (days, of_day) = (ms / 86_400_000, ms % 86_400_000);
    let (year, month, day) = civil(days);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    put(&mut text[0..4], year);
    put(&mut text[5..7], month);
    put(&mut text[8..10], day);
    put(&mut text[11..13], of_day / 3_600_000);
    put(&mut text[14..16], of_day / 60_000 % 60);
    put(&mut text[17..19], of_day / 1000 % 60);
    put(&mut text[20..23], of_day % 1000);
    out.extend_from_slice(&text);
}

/// Writes the last digits of a number, as many as `room` has bytes.
fn put(room: &mut [u8], mut number: u64) {
    for digit in room.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Year, month and day in the proleptic Gregorian calendar of a day counted from 1970-01-01. The calculation begins
/// years in March, so that the leap day is a year's last.
const fn civil(days: u64) -> (u64, u64, u64) {
    const ERA: u64 = 146_097;
    let since = days + 719_468;
    let (era, of_era) = (since / ERA, since % ERA);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + (month <= 2) as u64, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_time_is_read_however_it_is_written() {
        for json in [
            Json::Number("1629775584891"),
            Json::Number("1.629775584891E12"),
            Json::Number("1629775584891.2"),
            Json::String("1629775584891"),
            Json::String("2021-08-24T03:26:24.891Z"),
            Json::String("2021-08-24T05:26:24.891+02:00"),
            Json::String("2021-08-24T03:26:24.891"),
            Json::String("2021-08-24 03:26:24.891"),
            Json::String("2021-08-24T03:26:24.89100000Z"),
        ] {
            assert_eq!(of_json(json), Some(1_629_775_584_891), "{json:?}");
        }
        assert_eq!(of_date("2021-08-24"), Some(1_629_763_200_000));
    }

    /// The same time as various programs print it.
    #[test]
    fn a_time_is_read_as_programs_show_it() {
        for text in [
            // JavaScript's `String(date)`, in London, Berlin and New York, and `date.toUTCString()`.
            "Tue Aug 24 2021 03:26:24 GMT+0000 (Coordinated Universal Time)",
            "Tue Aug 24 2021 05:26:24 GMT+0200 (Central European Summer Time)",
            "Mon Aug 23 2021 23:26:24 GMT-0400 (Eastern Daylight Time)",
            "Tue Aug 24 2021 03:26:24 GMT+0000 (UTC)",
            "Tue Aug 24 2021 03:26:24 GMT+0000",
            "Tue, 24 Aug 2021 03:26:24 GMT",
            "Tue, 24 Aug 2021 05:26:24 +0200",
            "24 Aug 2021 03:26:24 +0000",
            // SQL, Python and Go.
            "2021-08-24 03:26:24 UTC",
            "2021-08-24T03:26:24 UTC",
            "2021-08-24 03:26:24.000000 UTC",
            "2021-08-24 03:26:24 GMT",
            "2021-08-24 03:26:24 Z",
            "2021-08-24 03:26:24 +0000 UTC",
            "2021-08-24 05:26:24 +0200",
            "2021-08-24 05:26:24.000000 +02:00",
            "2021-08-24 05:26:24+02",
            "2021-08-24 05:26:24 +02",
            "2021-08-24T05:26:24+0200",
            "2021-08-23 22:26:24 -0500",
            // C's `asctime`, and `date`.
            "Tue Aug 24 03:26:24 2021",
            "Tue Aug 24 03:26:24 UTC 2021",
            "24/Aug/2021:03:26:24 +0000",
            "  2021-08-24 03:26:24 UTC ",
        ] {
            assert_eq!(of_text(text), Some(1_629_775_584_000), "{text}");
            assert_eq!(of_json(Json::String(text)), Some(1_629_775_584_000), "{text}");
        }
        assert_eq!(of_text("Wed Sep 01 2021 03:26:24 GMT+0000 (Coordinated Universal Time)"), Some(1_630_466_784_000));
        assert_eq!(of_text("Wed Sep  1 03:26:24 2021"), Some(1_630_466_784_000));
        assert_eq!(of_text("2021-08-24 03:26:24.891 UTC"), Some(1_629_775_584_891));
    }

    #[test]
    fn a_time_in_a_zone_that_has_no_offset_is_none() {
        let long = format!("2021-08-24 03:26:24 UTC ({})", "x".repeat(200));
        for text in [
            "2021-08-24 03:26:24 CET",
            "Tue Aug 24 03:26:24 CEST 2021",
            "Tue Foo 24 2021 03:26:24 GMT+0000",
            "Tue Aug 32 2021 03:26:24 GMT+0000",
            "03:26:24 UTC",
            "UTC",
            " UTC",
            "()",
            "x (y)",
            "2021-08-24 03:26:24 +x",
            "2021-08-24 03:26:24 UTC UTC",
            &long,
        ] {
            assert_eq!(of_text(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_time_or_none(text in "\\PC{0,60}", tail in "( UTC| \\+0000| GMT|\\)){0,3}") {
            let _ = of_text(&format!("{text}{tail}"));
            let _ = of_text(&format!("2021-08-24 03:26:24{tail}{text}"));
        }
    }

    #[test]
    fn every_day_s_time_is_the_one_that_another_reader_says() {
        for day in 0..36_600 {
            let ms = 946_684_800_000_i64 + day * 86_400_000 + day * 2_297;
            let text = Timestamp::from_millisecond(ms).unwrap().to_string();
            assert_eq!(of_text(&text), plausible(ms), "{text}");
        }
        for text in ["2023-02-29T00:00:00Z", "2023-04-31T00:00:00Z", "2023-13-01T00:00:00Z", "2023-01-01T24:00:00Z"] {
            assert_eq!(of_text(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_of_a_web_log_is_read_with_its_offset() {
        assert_eq!(of_web_log("24/Aug/2021:03:26:24 +0000"), Some(1_629_775_584_000));
        assert_eq!(of_web_log("24/Aug/2021:05:56:24 +0230"), Some(1_629_775_584_000));
        assert_eq!(of_web_log("23/Aug/2021:22:26:24 -0500"), Some(1_629_775_584_000));
        for text in [
            "",
            "24/Aug/2021:03:26:24",
            "31/Feb/2021:03:26:24 +0000",
            "24/aug/2021:03:26:24 +0000",
            "24/Aug/2021 03:26:24 +0000",
        ] {
            assert_eq!(of_web_log(text), None, "{text}");
        }
    }

    /// All families read numeric times with this function.
    #[test]
    fn a_number_is_a_time_in_the_unit_that_its_size_says() {
        for (number, expected) in [
            ("1629775584", 1_629_775_584_000),
            ("1629775584891", 1_629_775_584_891),
            ("1629775584891234", 1_629_775_584_891),
            ("1629775584891234567", 1_629_775_584_891),
            ("1629775584.0", 1_629_775_584_000),
            ("1629775584.891", 1_629_775_584_891),
            ("1629775584.891234", 1_629_775_584_891),
            ("1629775584891.25", 1_629_775_584_891),
            ("1629775584891234.5", 1_629_775_584_891),
            ("1.629775584e9", 1_629_775_584_000),
            ("1.629775584891E12", 1_629_775_584_891),
            ("1.629775584891234E15", 1_629_775_584_891),
            ("1.629775584891234567e18", 1_629_775_584_891),
            // The first and the last that are plausible: 2000-01-01 and the end of 2099.
            ("946684800", 946_684_800_000),
            ("946684800000", 946_684_800_000),
            ("946684800000000", 946_684_800_000),
            ("946684800000000000", 946_684_800_000),
            ("4102444799", 4_102_444_799_000),
            ("4102444799999", 4_102_444_799_999),
            ("4102444799999999", 4_102_444_799_999),
            ("4102444799999999999", 4_102_444_799_999),
        ] {
            assert_eq!(of_json(Json::Number(number)), Some(expected), "{number}");
            assert_eq!(of_json(Json::String(number)), Some(expected), "{number} as text");
        }
        for number in [
            "946684799",
            "946684799999",
            "946684799999999",
            "946684799999999999",
            "4102444800",
            "4102444800000",
            "4102444800000000",
            "4102444800000000000",
            "99999999999",
            "946684799.9",
            "4.1024448e9",
        ] {
            assert_eq!(of_json(Json::Number(number)), None, "{number}");
            assert_eq!(of_json(Json::String(number)), None, "{number} as text");
        }
    }

    #[test]
    fn what_is_no_plausible_time_is_none() {
        for json in [
            Json::Null,
            Json::Number("0"),
            Json::Number("-5"),
            Json::Number("9223372036854775807"),
            Json::Number("1e300"),
            Json::String(""),
            Json::String("yesterday"),
            Json::String("NaN"),
            Json::String("inf"),
            Json::Bool(true),
        ] {
            assert_eq!(of_json(json), None, "{json:?}");
        }
    }

    #[test]
    fn a_time_is_written_as_rfc_3339() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_629_775_584_891, "2021-08-24T03:26:24.891Z"),
            (4_102_444_799_999, "2099-12-31T23:59:59.999Z"),
        ] {
            let mut out = Vec::new();
            write(&mut out, ms);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}

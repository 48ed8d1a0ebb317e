//! Times and sizes, as a configuration writes them and as messages print them.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo};
use serde::Deserializer;
use serde::de::{self, Unexpected};

/// The units of sizes, in the order in which [`Size`] tries them. A bare `k` or `M` is no unit, because it means a thousand
/// to some people and 1024 to others.
const SIZE_UNITS: [(&str, u64); 10] = [
    ("PiB", 1 << 50),
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("PB", 1_000_000_000_000_000),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
];

/// A time such as `90s`, `1h 30m` or `7d`, where a day has 24 hours. `None` if the text is no time, is below zero, or
/// has units of varying length, such as months.
pub(crate) fn parse_time(text: &str) -> Option<Duration> {
    let span: Span = text.parse().ok()?;
    let signed: SignedDuration = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(signed).ok()
}

/// A size in bytes such as `8 MiB`, `1.5GB` or `4096`. `None` if the text is no size or its unit is unknown.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..end], text[end..].trim());
    let factor = match unit {
        "" | "b" | "B" => 1,
        unit => SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?.1,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // More than nine digits of a fraction cannot be meant: they would differ by less than a byte.
    if whole.is_empty()
        || whole.len() > 1 && whole.starts_with('0')
        || number.ends_with('.')
        || fraction.contains('.')
        || fraction.len() > 9
    {
        return None;
    }
    let bytes = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    let part = format!("0{fraction}").parse::<u128>().ok()? * u128::from(factor);
    let part = part.div_ceil(10_u128.pow(u32::try_from(fraction.len()).ok()?));
    bytes.checked_add(u64::try_from(part).ok()?)
}

/// Deserializes a time.
pub(crate) fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_str(TimeText)
}

/// Deserializes the time of an optional key.
pub(crate) fn some_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    time(deserializer).map(Some)
}

/// Deserializes a size in bytes: a number of bytes, or a text with a unit.
pub(crate) fn bytes<'de, D: Deserializer<'de>, T: TryFrom<u64>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(SizeText(PhantomData))
}

/// Deserializes the size of an optional key.
pub(crate) fn some_bytes<'de, D: Deserializer<'de>, T: TryFrom<u64>>(deserializer: D) -> Result<Option<T>, D::Error> {
    bytes(deserializer).map(Some)
}

struct TimeText;

impl de::Visitor<'_> for TimeText {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time such as \"90s\", \"10m\" or \"7d\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        parse_time(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

struct SizeText<T>(PhantomData<T>);

impl<T: TryFrom<u64>> de::Visitor<'_> for SizeText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as \"8 MiB\" (KiB, MiB, GiB, TiB, kB, MB, GB, TB) or a number of bytes")
    }

    fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<T, E> {
        T::try_from(bytes).map_err(|_| E::invalid_value(Unexpected::Unsigned(bytes), &self))
    }

    fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<T, E> {
        let size = u64::try_from(bytes).map_err(|_| E::invalid_value(Unexpected::Signed(bytes), &self))?;
        self.visit_u64(size)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        let size = parse_size(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))?;
        self.visit_u64(size)
    }
}

/// A time that is printed as a configuration writes it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Time(pub(crate) Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0.as_secs();
        let parts = [
            (secs / 86_400, "d"),
            (secs / 3600 % 24, "h"),
            (secs / 60 % 60, "m"),
            (secs % 60, "s"),
            (u64::from(self.0.subsec_millis()), "ms"),
            (u64::from(self.0.subsec_nanos() % 1_000_000), "ns"),
        ];
        let parts: Vec<String> =
            parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect();
        f.write_str(if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }.as_str())
    }
}

/// A size in bytes that is printed in the largest unit of which it is a whole multiple.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Size(pub(crate) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIZE_UNITS.iter().find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor)) {
            Some((unit, factor)) => write!(f, "{} {unit}", self.0 / factor),
            None if self.0 == 1 => f.write_str("1 byte"),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_days_and_weeks_and_nothing_whose_length_varies() {
        for (text, secs) in
            [("90s", 90), ("1h 30m", 5400), ("7d", 604_800), ("1w", 604_800), ("1d 1h", 90_000), ("0s", 0)]
        {
            assert_eq!(parse_time(text), Some(Duration::from_secs(secs)), "{text}");
        }
        assert_eq!(parse_time("200ms"), Some(Duration::from_millis(200)));
        for none in ["", "90", "soon", "1mo", "1y", "-5s", "5s ago"] {
            assert_eq!(parse_time(none), None, "{none}");
        }
    }

    #[test]
    fn sizes_have_units_of_1024_and_of_1000() {
        for (text, bytes) in [
            ("4096", 4096),
            ("8 MiB", 8 << 20),
            ("8mib", 8 << 20),
            ("1.5 GiB", 3 << 29),
            ("0.1KiB", 103),
            ("64KiB", 64 << 10),
            ("1 PiB", 1 << 50),
            ("2 TB", 2_000_000_000_000),
            ("10kB", 10_000),
            ("10 B", 10),
            ("0", 0),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for none in [
            "",
            "007",
            "MiB",
            "8 M",
            "8k",
            "8 Mbit",
            "-8 MiB",
            "1.5.2 MiB",
            "1. MiB",
            ".5 MiB",
            "1e5",
            "99999999999 PiB",
        ] {
            assert_eq!(parse_size(none), None, "{none}");
        }
    }

    #[test]
    fn what_is_shown_can_be_written() {
        for (bytes, shown) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (999, "999 bytes"),
            (1000, "1 kB"),
            (4096, "4 KiB"),
            (8 << 20, "8 MiB"),
            (50_000_000, "50 MB"),
            (1 << 50, "1 PiB"),
            (123_457, "123457 bytes"),
        ] {
            assert_eq!(Size(bytes).to_string(), shown);
        }
        for (time, shown) in [
            (Duration::ZERO, "0s"),
            (Duration::from_millis(200), "200ms"),
            (Duration::from_secs(5400), "1h 30m"),
            (Duration::from_secs(604_800), "7d"),
            (Duration::from_millis(1500), "1s 500ms"),
        ] {
            assert_eq!(Time(time).to_string(), shown);
            assert_eq!(parse_time(shown), Some(time));
        }
    }
}

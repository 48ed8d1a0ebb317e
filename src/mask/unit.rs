//! Characters of a text, in whatever notation they stand: as they are, escaped for JSON, or for an address.

/// One character, and how it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unit {
    /// The character; [`OTHER`] for any that is not ASCII.
    pub(super) byte: u8,
    /// How many bytes it takes.
    pub(super) length: usize,
    /// How many backslashes stand before it; of a quotation mark those that are its own, see [`own_slashes`].
    pub(super) slashes: usize,
    /// How often it is escaped for an address.
    pub(super) percent: usize,
}

/// What no text has as a character of its own.
pub(super) const OTHER: u8 = 0xff;

/// Texts are not nested deeper in each other.
const SLASHES_MAX: usize = 255;

/// Nor addresses.
const PERCENT_MAX: usize = 8;

impl Unit {
    /// The character that begins there; nothing at the end.
    #[inline]
    pub(super) fn at(bytes: &[u8], at: usize) -> Option<Self> {
        match *bytes.get(at)? {
            b'\\' => Some(Self::escaped(&bytes[at..])),
            b'%' => Some(Self::percent(&bytes[at..])),
            byte => Some(Self { byte, length: 1, slashes: 0, percent: 0 }),
        }
    }

    /// What begins with a backslash.
    fn escaped(rest: &[u8]) -> Self {
        let slashes = rest.iter().take(SLASHES_MAX).take_while(|byte| **byte == b'\\').count();
        let (byte, length) = match rest.get(slashes) {
            Some(byte @ (b'"' | b'\'' | b'/' | b'`')) => (*byte, 1),
            Some(b'n') => (b'\n', 1),
            Some(b'r') => (b'\r', 1),
            Some(b't') => (b'\t', 1),
            Some(b'u') => match rest.get(slashes + 1..slashes + 5).and_then(number) {
                Some(number) => (u8::try_from(number).ok().filter(u8::is_ascii).unwrap_or(OTHER), 5),
                None => (b'\\', 0),
            },
            _ => (b'\\', 0),
        };
        let own = if byte == b'"' { own_slashes(slashes) } else { slashes };
        Self { byte, length: slashes + length, slashes: own, percent: 0 }
    }

    /// What begins with a percent sign.
    fn percent(rest: &[u8]) -> Self {
        let mut percent = 1;
        let mut at = 1;
        while percent < PERCENT_MAX && rest.get(at..at + 2) == Some(b"25") {
            percent += 1;
            at += 2;
        }
        match rest.get(at..at + 2).and_then(number) {
            Some(number) => {
                let byte = u8::try_from(number).ok().filter(u8::is_ascii).unwrap_or(OTHER);
                Self { byte, length: at + 2, slashes: 0, percent }
            }
            None => Self { byte: b'%', length: 1, slashes: 0, percent: 0 },
        }
    }

    /// The character that ends before `end`, none of it before `floor`.
    pub(super) fn before(bytes: &[u8], end: usize, floor: usize) -> Option<Self> {
        let byte = *bytes.get(end.checked_sub(1).filter(|at| *at >= floor)?)?;
        let plain = Self { byte, length: 1, slashes: 0, percent: 0 };
        let is_hex = byte.is_ascii_hexdigit();
        if is_hex && let Some(from) = end.checked_sub(3).filter(|from| *from >= floor) {
            let mut from = from;
            while from >= floor + 2 && bytes[from] == b'5' && bytes[from - 1] == b'2' && bytes[from - 2] != b'\\' {
                from -= 2;
            }
            if bytes[from] == b'%' {
                let unit = Self::percent(&bytes[from..end]);
                return Some(if from + unit.length == end { unit } else { plain });
            }
            if let Some(from) = end.checked_sub(6).filter(|from| *from >= floor)
                && bytes[from..from + 2] == *b"\\u"
            {
                // With all of its backslashes, in a text in a text.
                let from = from - slashes_before(bytes, from, floor);
                let unit = Self::escaped(&bytes[from..end]);
                return Some(if from + unit.length == end { unit } else { plain });
            }
        }
        Some(plain)
    }

    /// White space.
    pub(super) const fn is_space(&self) -> bool {
        matches!(self.byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
    }

    /// The end of a line.
    pub(super) const fn is_line_end(&self) -> bool {
        matches!(self.byte, b'\n' | b'\r')
    }
}

/// A hexadecimal number.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| Some(number << 4 | char::from(*digit).to_digit(16)?))
}

/// Of the backslashes before a quotation mark, how many make it one: none where it ends a text, one where it stands in a text,
/// three in a text in a text. The others are a part of what stands before it.
pub(super) const fn own_slashes(slashes: usize) -> usize {
    let (mut left, mut own) = (slashes, 0);
    while left % 2 == 1 {
        left /= 2;
        own = own * 2 + 1;
    }
    own
}

/// How many backslashes stand before a place, none of them before `floor`.
pub(super) fn slashes_before(bytes: &[u8], at: usize, floor: usize) -> usize {
    bytes[floor.min(at)..at].iter().rev().take(SLASHES_MAX).take_while(|byte| **byte == b'\\').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quotation_mark_has_as_many_backslashes_of_its_own_as_it_is_deep() {
        let own: Vec<usize> = (0..=8).map(own_slashes).collect();
        assert_eq!(own, [0, 1, 0, 3, 0, 1, 0, 7, 0]);
    }

    #[test]
    fn a_character_is_the_same_in_whatever_notation() {
        for (text, byte, slashes, percent) in [
            ("=", b'=', 0, 0),
            ("\\u003d", b'=', 1, 0),
            ("%3D", b'=', 0, 1),
            ("%25253d", b'=', 0, 3),
            ("\\\\n", b'\n', 2, 0),
            ("\\\"", b'"', 1, 0),
            ("\\/", b'/', 1, 0),
        ] {
            let unit = Unit { byte, length: text.len(), slashes, percent };
            assert_eq!(Unit::at(text.as_bytes(), 0), Some(unit), "{text}");
        }
        for text in ["a%41", "a%2541", "a\\u0041"] {
            let unit = Unit::before(text.as_bytes(), text.len(), 0).unwrap();
            assert_eq!((unit.byte, unit.length), (b'A', text.len() - 1), "{text}");
        }
    }
}

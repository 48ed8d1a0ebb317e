//! Characters of a text in any notation: plain, escaped for JSON, or percent-encoded.

/// One character and its notation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unit {
    /// The character; [`OTHER`] for any that is not ASCII.
    pub(super) byte: u8,
    /// The number of bytes that it takes in the text.
    pub(super) length: usize,
    /// The number of backslashes before it. For a double quote, only its own ones: see [`own_slashes`].
    pub(super) slashes: usize,
    /// How many times it is percent-encoded.
    pub(super) percent: usize,
}

/// Stands for all characters that are not ASCII. It is no character itself.
pub(super) const OTHER: u8 = 0xff;

/// The most backslashes before a character. Texts are not nested more deeply.
const SLASHES_MAX: usize = 255;

/// The most times that a character is percent-encoded. Addresses are not nested more deeply.
const PERCENT_MAX: usize = 8;

impl Unit {
    /// The character that begins at `at`. `None` at the end of the text.
    #[inline]
    pub(super) fn at(bytes: &[u8], at: usize) -> Option<Self> {
        match *bytes.get(at)? {
            b'\\' => Some(Self::escaped(&bytes[at..])),
            b'%' => Some(Self::percent(&bytes[at..])),
            byte => Some(Self { byte, length: 1, slashes: 0, percent: 0 }),
        }
    }

    /// The character of an escape with a backslash.
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

    /// The character of a percent escape.
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
                // In nested texts, the escape has more than one backslash.
                let from = from - slashes_before(bytes, from, floor);
                let unit = Self::escaped(&bytes[from..end]);
                return Some(if from + unit.length == end { unit } else { plain });
            }
        }
        Some(plain)
    }

    /// Whether it is white space.
    pub(super) const fn is_space(&self) -> bool {
        matches!(self.byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
    }

    /// Whether it ends a line.
    pub(super) const fn is_line_end(&self) -> bool {
        matches!(self.byte, b'\n' | b'\r')
    }
}

/// A hexadecimal number.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| Some(number << 4 | char::from(*digit).to_digit(16)?))
}

/// How many of the backslashes before a double quote are its own: none if it ends a text, one in a string within it,
/// three in a string within that string. The others belong to the text before the quote.
pub(super) const fn own_slashes(slashes: usize) -> usize {
    let (mut left, mut own) = (slashes, 0);
    while left % 2 == 1 {
        left /= 2;
        own = own * 2 + 1;
    }
    own
}

/// The number of backslashes before `at`, none of them before `floor`.
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

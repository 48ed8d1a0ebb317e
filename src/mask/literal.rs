//! Finds the beginning and end of what is in quotes, dollar quotes or brackets.

use std::ops::Range;

use crate::mask::Scan;
use crate::mask::bounds::SPACES_MAX;
use crate::mask::unit::{Unit, own_slashes, slashes_before};

/// More bytes than the tag of a literal, `$tag$`, has.
const TAG_MAX: usize = 66;

/// More bytes than the prefix of a literal has, such as `U&` or the name of a function.
const PREFIX_MAX: usize = 32;

impl Scan<'_> {
    /// Masks the literal of SQL or a programming language that begins at `at`. Returns whether there is one.
    pub(super) fn literal(&mut self, at: usize) -> bool {
        let Some(first) = self.unit(at) else { return false };
        match first.byte {
            b'\'' | b'"' | b'`' if self.closes(at, first) => true,
            b'\'' | b'"' | b'`' => match self.quoted(at, first, false) {
                Some(inside) => {
                    self.cut(inside);
                    true
                }
                None => false,
            },
            b'$' => self.tagged(at),
            _ => match self.behind_prefix(at) {
                Some(quote) => self.literal(quote),
                None => false,
            },
        }
    }

    /// Whether the quote ends the surrounding text, and does not begin a literal.
    pub(super) fn closes(&self, at: usize, quote: Unit) -> bool {
        if quote.byte != b'"' {
            return false;
        }
        let behind = at + quote.length;
        let rest = &self.bytes[behind..];
        let next = rest.iter().take(SPACES_MAX).find(|byte| **byte != b' ');
        let is_outer = quote.percent == 0 && (self.is_access || quote.slashes == 0 && self.form().is_quoted);
        is_outer || matches!(next, None | Some(b',' | b'}' | b']' | b':')) && rest.first() != Some(&b'"')
    }

    /// The text within the quotes that open at `at`. `None` if they do not close.
    pub(super) fn quoted(&mut self, at: usize, quote: Unit, is_json: bool) -> Option<Range<usize>> {
        let from = at + quote.length;
        if quote.percent > 0 {
            let ends =
                |unit: &Unit| unit.percent == quote.percent && unit.byte == quote.byte || is_end_of_address(unit);
            return Some(from..self.word_end(from, ends));
        }
        let is_unicode = self.bytes.get(at + quote.slashes) == Some(&b'u');
        match quote.byte {
            b'"' if is_unicode => {
                let end = self.word_end(from, |unit| unit.byte == b'"');
                Some(from..end)
            }
            b'"' => Some(from..self.string_end(from, quote.slashes, !is_json)),
            _ => Some(from..self.literal_end(from, quote)),
        }
    }

    /// The end of a string whose opening quote has `slashes` backslashes. Its closing quote has no more of them; quotes
    /// inside have more. In a literal, a quote inside may also be doubled.
    fn string_end(&mut self, from: usize, slashes: usize, is_literal: bool) -> usize {
        let bytes = self.bytes;
        let mut at = from;
        let other = if self.form().has_fields { b',' } else { b'"' };
        while let Some(found) = memchr::memchr2(b'"', other, &bytes[at..]) {
            let quote = at + found;
            self.steps += found + 1;
            if bytes[quote] == b',' {
                if self.begins_field(quote) {
                    return quote;
                }
                at = quote + 1;
                continue;
            }
            let own = own_slashes(slashes_before(bytes, quote, at));
            at = quote + 1;
            if own > slashes {
                continue;
            }
            let is_doubled = is_literal
                && own == slashes
                && bytes.get(at + own) == Some(&b'"')
                && slashes_before(bytes, at + own, at) == own;
            if is_doubled && quote - own > from {
                at += own + 1;
                continue;
            }
            return quote - own;
        }
        self.steps += bytes.len() - at;
        bytes.len()
    }

    /// The end of a literal: a quote that is neither doubled nor escaped, or the end of the surrounding text.
    fn literal_end(&mut self, from: usize, quote: Unit) -> usize {
        let bytes = self.bytes;
        let mut at = from;
        loop {
            let Some(unit) = self.unit(at) else { return bytes.len() };
            self.steps += unit.length;
            if unit.byte == b'"' && self.ends_text(unit, quote) {
                return at;
            }
            if unit.byte == b',' && self.begins_field(at) {
                return at;
            }
            if unit.byte == quote.byte {
                let next = at + unit.length;
                let doubled = self.unit(next).filter(|next| next.byte == quote.byte && next.slashes == unit.slashes);
                match doubled {
                    Some(doubled)
                        if at > from
                            || self
                                .unit(next + doubled.length)
                                .is_some_and(|unit| unit.byte.is_ascii_alphanumeric()) =>
                    {
                        at = next + doubled.length;
                        continue;
                    }
                    _ if unit.slashes > quote.slashes => {}
                    _ => return at,
                }
            }
            at += unit.length;
        }
    }

    /// Whether a double quote ends the text that contains the literal.
    fn ends_text(&self, mark: Unit, quote: Unit) -> bool {
        match mark.slashes {
            // Lines of an access log escape nothing.
            _ if self.is_access => true,
            0 => self.form().is_quoted || quote.slashes > 0,
            slashes => slashes < quote.slashes,
        }
    }

    /// Whether the next field, `, name=`, begins here in a text that escapes nothing.
    pub(super) fn begins_field(&self, at: usize) -> bool {
        if !self.form().has_fields {
            return false;
        }
        let rest = self.bytes.get(at..).and_then(|rest| rest.strip_prefix(b", ")).unwrap_or_default();
        let name = rest.iter().take(SPACES_MAX).take_while(|byte| byte.is_ascii_lowercase() || **byte == b'_').count();
        name > 0 && matches!(rest.get(name), Some(b'=' | b':'))
    }

    /// Masks a literal in dollar quotes, `$tag$`. Returns whether there is one.
    fn tagged(&mut self, at: usize) -> bool {
        let bytes = self.bytes;
        let rest = &bytes[at..];
        let Some(length) = rest.get(1..rest.len().min(TAG_MAX)).and_then(|rest| memchr::memchr(b'$', rest)) else {
            return false;
        };
        let tag = &rest[..length + 2];
        if !tag[1..tag.len() - 1].iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
            return false;
        }
        let from = at + tag.len();
        let mut end = bytes.len();
        for mark in memchr::memchr3_iter(b'$', b'"', b',', &bytes[from..]) {
            let place = from + mark;
            let is_end = match bytes[place] {
                b'$' => bytes[place..].starts_with(tag),
                b',' => self.begins_field(place),
                _ => self.is_access || self.form().is_quoted && own_slashes(slashes_before(bytes, place, from)) == 0,
            };
            if is_end {
                end = place;
                break;
            }
        }
        self.steps += end - from;
        self.cut(from..end);
        true
    }

    /// The position of the opening quote of a literal with a prefix, such as `E'` or `U&'`, or of the first literal in
    /// a function's parentheses.
    pub(super) fn behind_prefix(&self, at: usize) -> Option<usize> {
        let rest = &self.bytes[at..];
        let is_of_prefix = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'&');
        let length = rest.iter().take(PREFIX_MAX).take_while(|byte| is_of_prefix(byte)).count();
        if length == 0 || length == PREFIX_MAX {
            return None;
        }
        let unit = self.unit(at + length)?;
        if unit.byte == b'(' {
            let quote = self.behind_space(at + length + unit.length);
            return self.unit(quote).filter(|unit| matches!(unit.byte, b'\'' | b'"')).map(|_| quote);
        }
        let is_prefix = length <= 2 || rest[0] == b'_';
        (is_prefix && unit.byte == b'\'').then_some(at + length)
    }

    /// The end of an object or list within a string whose quotes have `slashes` backslashes.
    pub(super) fn container_end(&mut self, from: usize, slashes: usize) -> usize {
        let bytes = self.bytes;
        let (mut depth, mut at, mut is_inside) = (0usize, from, false);
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'"' => {
                    let own = own_slashes(slashes_before(bytes, at, from));
                    if own < slashes {
                        at -= own;
                        break;
                    }
                    is_inside ^= own == slashes;
                }
                b',' if self.begins_field(at) => break,
                b'{' | b'[' if !is_inside => depth += 1,
                b'}' | b']' if !is_inside => {
                    depth -= 1;
                    if depth == 0 {
                        at += 1;
                        break;
                    }
                }
                _ => {}
            }
            at += 1;
        }
        self.steps += at - from;
        at
    }
}

/// Whether the character ends an address within another address or a text.
fn is_end_of_address(unit: &Unit) -> bool {
    unit.percent == 0 && (unit.is_space() || matches!(unit.byte, b'&' | b'"' | b'\'' | b'<' | b'>'))
}

//! Finds the end of values without quotes, and skips what may be between a name and its value.

use crate::mask::Scan;
use crate::mask::unit::Unit;

/// The most spaces and comments between a name and its value.
pub(super) const SPACES_MAX: usize = 64;

/// The most bytes of such a comment.
const COMMENT_MAX: usize = 256;

/// How many bytes after a blank are searched for the rest of a query.
const REST_MAX: usize = 64;

impl Scan<'_> {
    /// The position, from `from` on, of the first character that ends a word: one for which `ends` is true, a quote, or
    /// a control character.
    pub(super) fn word_end(&mut self, from: usize, ends: impl Fn(&Unit) -> bool) -> usize {
        let mut at = from;
        while let Some(unit) = self.unit(at) {
            if ends(&unit) || self.ends_any(&unit, at) {
                break;
            }
            at += unit.length;
        }
        self.steps += at - from;
        at
    }

    /// Whether the character ends a value without quotes, whatever the value is.
    fn ends_any(&self, unit: &Unit, at: usize) -> bool {
        if unit.percent > 0 {
            return false;
        }
        match unit.byte {
            b'"' | b'`' | b'<' | b'>' => true,
            // An apostrophe within a word is no end.
            b'\'' => !self.bytes.get(at + unit.length).is_some_and(u8::is_ascii_alphanumeric),
            b',' => self.begins_field(at),
            byte => byte < b' ' || unit.is_line_end(),
        }
    }

    /// The end of the line, or of the quoted text that it is in. Unless `is_whole`, also a comma before a space, or a
    /// closing bracket: then the line has several values.
    pub(super) fn line_end(&mut self, from: usize, is_whole: bool) -> usize {
        let bytes = self.bytes;
        let mut at = from;
        while let Some(unit) = self.unit(at) {
            let next = bytes.get(at + unit.length);
            let is_part = match unit.byte {
                b',' => next.is_none_or(|next| matches!(next, b' ' | b'"' | b'\\')),
                b'}' | b']' => true,
                _ => false,
            };
            if is_part && !is_whole || unit.is_line_end() || self.ends_any(&unit, at) {
                break;
            }
            at += unit.length;
        }
        self.steps += at - from;
        at
    }

    /// The end of a parameter's value without quotes.
    pub(super) fn parameter_end(&mut self, from: usize, sign: Unit) -> usize {
        let mut end = from;
        let mut is_open = false;
        while let Some(unit) = self.unit(end) {
            let is_own = unit.percent <= sign.percent;
            let ends = match unit.byte {
                b'&' | b';' | b'|' => is_own,
                b'#' | b'"' | b'\'' if unit.percent > 0 => is_own,
                b'(' => {
                    is_open = true;
                    false
                }
                b')' | b'}' | b']' => unit.percent == 0 && !is_open,
                b',' => {
                    unit.percent == 0
                        && self.bytes.get(end + 1).is_none_or(|next| matches!(next, b' ' | b'"' | b'\'' | b'\\'))
                }
                _ if unit.is_space() => is_own && (unit.is_line_end() || !self.goes_on(end)),
                _ => false,
            };
            if ends || self.ends_any(&unit, end) {
                break;
            }
            end += unit.length;
        }
        self.steps += end - from;
        end
    }

    /// Whether the query continues after a blank that a client did not escape.
    fn goes_on(&self, at: usize) -> bool {
        let rest = &self.bytes[at..self.bytes.len().min(at + REST_MAX)];
        let Some(length) =
            rest.iter().position(|byte| matches!(byte, b'&' | b'"' | b'\'' | b'\\' | b'=' | b',' | b':' | b'/'))
        else {
            return false;
        };
        let name = &rest[length + 1..];
        let letters =
            name.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')).count();
        rest[length] == b'&' && letters > 0 && name.get(letters) == Some(&b'=')
    }

    /// The character that begins at `at`.
    #[inline]
    pub(super) fn unit(&self, at: usize) -> Option<Unit> {
        Unit::at(self.bytes, at)
    }

    /// The position after white space and comments.
    pub(super) fn behind_space(&self, from: usize) -> usize {
        let mut at = from;
        for _ in 0..SPACES_MAX {
            let Some(unit) = self.unit(at) else { break };
            if unit.is_space() {
                at += unit.length;
                continue;
            }
            if !matches!(unit.byte, b'/' | b'-') {
                break;
            }
            let rest = self.near(at, COMMENT_MAX);
            let comment = match rest {
                [b'/', b'*', ..] => memchr::memmem::find(rest, b"*/").map(|length| length + 2),
                [b'-', b'-', b' ', ..] => rest.iter().position(|byte| matches!(byte, b'\n' | b'\\')),
                _ => None,
            };
            match comment {
                Some(length) => at += length,
                None => break,
            }
        }
        at
    }

    /// At most `max` bytes from `at` on, cut at the end of the text that they are in.
    pub(super) fn near(&self, at: usize, max: usize) -> &[u8] {
        let rest = &self.bytes[at.min(self.bytes.len())..self.bytes.len().min(at + max)];
        let ends = |mark: &usize| self.form().is_quoted && !rest[..*mark].ends_with(b"\\");
        memchr::memchr_iter(b'"', rest).find(ends).map_or(rest, |end| &rest[..end])
    }

    /// The position after blanks.
    pub(super) fn behind_blanks(&self, from: usize) -> usize {
        let mut at = from;
        while let Some(unit) = self.unit(at).filter(|unit| matches!(unit.byte, b' ' | b'\t') && unit.percent == 0) {
            at += unit.length;
            if at - from > SPACES_MAX {
                break;
            }
        }
        at
    }

    /// Whether a name is the first word on its line, or in its text.
    pub(super) fn begins_line(&self, from: usize) -> bool {
        let before = &self.bytes[from.saturating_sub(SPACES_MAX)..from];
        let blanks = before.iter().rev().take_while(|byte| matches!(byte, b' ' | b'-')).count();
        let before = &before[..before.len() - blanks];
        matches!(before, [] | [.., b'\n' | b'\r' | b'"' | b'\'' | b'{'] | [.., b'\\', b'n' | b'r'])
    }
}

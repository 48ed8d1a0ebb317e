//! Secrets in command lines and headers, where no sign stands between name and value.

use crate::mask::Scan;
use crate::mask::name::Name;
use crate::mask::names::Kind;
use crate::mask::unit::Unit;
use crate::mask::value::{ending_with, is_random};

/// More bytes than a user's name has.
const USER_MAX: usize = 64;

/// Options followed by `user:password`.
const USER_OPTIONS: &[&[u8]] = &[b"-u", b"--user", b"--proxy-user"];

impl Scan<'_> {
    /// Masks the list element after an option: `"--token", "x"`. `at` is the quote before the option.
    pub(super) fn flag_in_list(&mut self, at: usize) {
        let from = at + 1;
        let rest = &self.bytes[from..];
        let length = rest
            .iter()
            .take(USER_MAX)
            .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
            .count();
        let end = from + length;
        let Some(close) = self.unit(end).filter(|unit| matches!(unit.byte, b'"' | b'\'')) else { return };
        let Some(name) = Name::before(self.bytes, end, self.floor).filter(|name| name.kind == Kind::Secret) else {
            return;
        };
        let Some(next) = self.next_element(name.to + close.length, close) else { return };
        let Some(inside) = self.quoted(next, close, true) else { return };
        // If a colon follows, the element is the name of a member.
        let behind = self.behind_space(inside.end + close.length);
        if self.unit(behind).is_none_or(|unit| unit.byte != b':') {
            self.cut(inside);
        }
    }

    /// The position of the opening quote of the next list element. `None` if it is quoted otherwise.
    fn next_element(&self, at: usize, quote: Unit) -> Option<usize> {
        let at = self.behind_space(at);
        let comma = self.unit(at).filter(|unit| unit.byte == b',')?;
        let at = self.behind_space(at + comma.length);
        self.unit(at).filter(|unit| unit.byte == quote.byte && unit.slashes == quote.slashes).map(|_| at)
    }

    /// Masks the password in `user:password` after an option that takes both. `colon` is between them.
    pub(super) fn user_of_flag(&mut self, colon: usize) {
        let bytes = self.bytes;
        let head = &bytes[self.floor.max(colon.saturating_sub(USER_MAX))..colon];
        let is_of_user = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'@' | b'$');
        let user = head.iter().rev().take_while(|byte| is_of_user(byte)).count();
        let before = &head[..head.len() - user];
        let Some(blank) = before.last().filter(|_| user > 0) else { return };
        let (option, _) = ending_with(before, |byte| matches!(byte, b' ' | b'\'' | b'"' | b'\\' | b',' | b'='));
        if !matches!(blank, b' ' | b'\'' | b'"' | b'=') || !USER_OPTIONS.iter().any(|known| option.ends_with(known)) {
            return;
        }
        let end = self.word_end(colon + 1, |unit| unit.is_space());
        self.cut(colon + 1..end);
    }

    /// Masks the credentials after the scheme of an `Authorization` header.
    pub(super) fn scheme(&mut self, name: &Name<'_>) {
        let at = self.behind_space(name.to);
        if at == name.to {
            return;
        }
        let end = self.word_end(at, |unit| unit.is_space() || matches!(unit.byte, b',' | b';' | b')' | b']'));
        let value = &self.bytes[at..end];
        let is_word = value.iter().skip(1).all(u8::is_ascii_lowercase) || value.iter().all(u8::is_ascii_uppercase);
        if value.len() >= TOKEN_MIN && (!is_word || is_random(value)) {
            self.cut(at..end);
        }
    }

    /// Masks the value of a member `value` if the member before it names a secret: `"name": "DB_PASSWORD", "value":
    /// "x"`.
    pub(super) fn value_of_neighbour(&mut self, name: &Name<'_>) {
        let bytes = self.bytes;
        let floor = self.floor.max(name.from.saturating_sub(2 * USER_MAX));
        let is_between = |byte: u8| matches!(byte, b'"' | b'\'' | b'\\' | b',' | b' ' | b'n' | b'\n' | b'-');
        let (_, part) = ending_with(&bytes[floor..name.from], is_between);
        if !part.iter().any(|byte| matches!(byte, b',' | b'\n' | b'n' | b'"')) {
            return;
        }
        let Some(neighbour) =
            Name::before(bytes, name.from - part.len(), floor).filter(|name| name.kind == Kind::Secret)
        else {
            return;
        };
        let is_sign = |byte: u8| matches!(byte, b'"' | b'\'' | b'\\' | b':' | b' ' | b'=');
        let (label, signs) = ending_with(&bytes[floor..neighbour.from], is_sign);
        let is_label = LABELS
            .iter()
            .any(|known| label.len() >= known.len() && label[label.len() - known.len()..].eq_ignore_ascii_case(known));
        if is_label && signs.iter().any(|byte| matches!(byte, b':' | b'=')) {
            self.value_of(&name.as_secret());
        }
    }
}

/// Members that hold a name whose value is in the next member.
const LABELS: &[&[u8]] = &[b"name", b"key", b"header", b"variable", b"field", b"option"];

/// The least bytes of a token in a header.
const TOKEN_MIN: usize = 6;

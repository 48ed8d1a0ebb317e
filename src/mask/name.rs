//! Finds the name that ends at a position, in whatever notation it is escaped.

use std::borrow::Cow;

use crate::mask::names::{Kind, NAME_MAX, kind, needs_words};
use crate::mask::sight::may_end;
use crate::mask::unit::Unit;

/// The most bytes of quotes, backslashes and spaces between a name and its sign.
const BETWEEN_MAX: usize = 16;

/// How many words before the last one are read, since words together may name a secret: `secret access key`.
const WORDS_MAX: usize = 3;

/// A name in a text.
pub(super) struct Name<'t> {
    /// The position of its first byte.
    pub(super) from: usize,
    /// The position after its last byte, before its quotes.
    pub(super) to: usize,
    pub(super) kind: Kind,
    /// Whether it begins like a command's option.
    pub(super) is_flag: bool,
    /// The name with its escapes undone.
    pub(super) letters: Cow<'t, [u8]>,
}

/// Whether the name before a sign may be relevant, that is, say something about its value. Judged by its last letters.
#[inline]
pub(super) fn may_matter(bytes: &[u8], end: usize, floor: usize) -> bool {
    let to = match bytes[floor.min(end)..end] {
        // Mostly it is the key of an object, or a plain word.
        [.., last] if last.is_ascii_alphanumeric() && last != b'2' && last != b'7' => end,
        [.., before, b'"'] if before.is_ascii_alphanumeric() && before != b'2' && before != b'7' => end - 1,
        _ => end_before(bytes, end, floor),
    };
    let name = &bytes[floor.min(to)..to];
    let is_id = || bytes[end] == b':' && matches!(name, [.., b's', b'i', b'o', b'n', b'I', b'd']);
    may_end(name) && !is_id() || name.last().is_some_and(u8::is_ascii_hexdigit) && is_escape(name)
}

/// Whether the text ends with an escape by number, `%41` or `\u0041`.
#[inline]
fn is_escape(text: &[u8]) -> bool {
    matches!(text, [.., b'%', _, _] | [.., b'\\', b'u', _, _, _, _])
}

/// The end of the name, without the quotes and spaces after it.
#[inline]
fn end_before(bytes: &[u8], end: usize, floor: usize) -> usize {
    let mut to = end;
    let first = end.saturating_sub(BETWEEN_MAX).max(floor);
    while to > first {
        to -= match bytes[to - 1] {
            b'"' | b'\\' | b' ' | b'\'' | b'`' | b']' => 1,
            b'2' | b'7' if matches!(bytes[first..to], [.., b'%', b'2', _]) => 3,
            _ => break,
        };
    }
    to
}

/// Whether the byte may be part of a name, including names of several joined words.
#[inline]
const fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

impl<'t> Name<'t> {
    /// The name before a sign. `None` if it says nothing about the value.
    pub(super) fn before(bytes: &'t [u8], end: usize, floor: usize) -> Option<Self> {
        let to = end_before(bytes, end, floor);
        let text = &bytes[to.saturating_sub(NAME_MAX).max(floor)..to];
        let length = text.iter().rev().take_while(|byte| is_of_name(**byte)).count();
        let (before, name) = text.split_at(text.len() - length);
        match before.last() {
            Some(b'\\' | b'%') => Self::escaped(bytes, to, floor),
            _ if is_escape(text) => Self::escaped(bytes, to, floor),
            Some(b' ' | b'+') if needs_words(name) => Self::escaped(bytes, to, floor),
            _ => Self::of(bytes, to - length, to, Cow::Borrowed(name), name),
        }
    }

    /// As [`Name::before`], for a name with escapes, or with words before it.
    fn escaped(bytes: &'t [u8], to: usize, floor: usize) -> Option<Self> {
        let mut reversed = Vec::with_capacity(NAME_MAX);
        let mut at = to;
        let mut word = None;
        let mut words = 0;
        while reversed.len() < NAME_MAX {
            let Some(unit) = Unit::before(bytes, at, floor) else { break };
            let is_of_name = is_of_name(unit.byte);
            if !is_of_name {
                words += 1;
                word.get_or_insert((at, reversed.len()));
                if !matches!(unit.byte, b' ' | b'+') || reversed.is_empty() || words == WORDS_MAX {
                    break;
                }
            }
            reversed.push(if is_of_name { unit.byte } else { b' ' });
            at -= unit.length;
        }
        let (mut from, mut own) = word.unwrap_or((at, reversed.len()));
        // The letter after a backslash belongs to an escape.
        if from > floor
            && bytes[from - 1] == b'\\'
            && own > 1
            && matches!(bytes[from], b'n' | b'r' | b't' | b'b' | b'f')
        {
            from += 1;
            own -= 1;
            reversed.truncate(own);
        }
        reversed.reverse();
        let letters = reversed.split_off(reversed.len() - own);
        let phrase = [&reversed[..], &letters].concat();
        Self::of(bytes, from, to, Cow::Owned(letters), &phrase)
    }

    fn of(bytes: &[u8], from: usize, to: usize, letters: Cow<'t, [u8]>, phrase: &[u8]) -> Option<Self> {
        let dashes = letters.iter().take_while(|byte| **byte == b'-').count();
        let kind = kind(&letters[dashes..], phrase)?;
        let is_flag = dashes > 0 || from > 0 && bytes[from - 1] == b'/' && bytes.get(to) == Some(&b':');
        Some(Self { from, to, kind, is_flag, letters })
    }

    /// The same name, but its value is a secret.
    pub(super) fn as_secret(&self) -> Self {
        Self { kind: Kind::Secret, letters: self.letters.clone(), ..*self }
    }

    /// Whether the letters are `name`, in any case.
    pub(super) fn is(&self, name: &str) -> bool {
        self.letters.eq_ignore_ascii_case(name.as_bytes())
    }
}

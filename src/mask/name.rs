//! The name that ends at a place, however it is escaped.

use std::borrow::Cow;

use crate::mask::names::{Kind, NAME_MAX, kind, needs_words};
use crate::mask::sight::may_end;
use crate::mask::unit::Unit;

/// Between a name and its sign stand a few quotes, backslashes and spaces.
const BETWEEN_MAX: usize = 16;

/// Words before the one that ends at the value, which together may name a secret: `secret access key`.
const WORDS_MAX: usize = 3;

/// A name in a text.
pub(super) struct Name<'t> {
    /// Where it begins.
    pub(super) from: usize,
    /// Where it ends, before its quotes.
    pub(super) to: usize,
    pub(super) kind: Kind,
    /// It begins as an option of a command.
    pub(super) is_flag: bool,
    /// As it reads, its escapes undone.
    pub(super) letters: Cow<'t, [u8]>,
}

/// Whether the name that ends before a sign may be one that matters, by its last letters.
#[inline]
pub(super) fn may_matter(bytes: &[u8], end: usize, floor: usize) -> bool {
    let to = match bytes[floor.min(end)..end] {
        // Mostly it is the key of an object, or a word.
        [.., last] if last.is_ascii_alphanumeric() && last != b'2' && last != b'7' => end,
        [.., before, b'"'] if before.is_ascii_alphanumeric() && before != b'2' && before != b'7' => end - 1,
        _ => end_before(bytes, end, floor),
    };
    let name = &bytes[floor.min(to)..to];
    let is_id = || bytes[end] == b':' && matches!(name, [.., b's', b'i', b'o', b'n', b'I', b'd']);
    may_end(name) && !is_id() || name.last().is_some_and(u8::is_ascii_hexdigit) && is_escape(name)
}

/// Whether a text ends with a character that is written as its number.
#[inline]
fn is_escape(text: &[u8]) -> bool {
    matches!(text, [.., b'%', _, _] | [.., b'\\', b'u', _, _, _, _])
}

/// Where the name ends, without the quotes and spaces behind it.
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

/// Whether a byte is a name's, of one word or of several that are joined.
#[inline]
const fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

impl<'t> Name<'t> {
    /// The name that ends before a sign, if it says anything.
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

    /// The same of a name some of whose characters may be escaped, or that has words before it.
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
        // What follows a backslash is the rest of an escape.
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

    /// The same name, whose value is known to be a secret.
    pub(super) fn as_secret(&self) -> Self {
        Self { kind: Kind::Secret, letters: self.letters.clone(), ..*self }
    }

    /// Whether this is the name, in whatever case.
    pub(super) fn is(&self, name: &str) -> bool {
        self.letters.eq_ignore_ascii_case(name.as_bytes())
    }
}

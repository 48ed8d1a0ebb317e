//! A quick search for positions where a secret may be named or begin. It skips most of a text.

use std::cell::OnceCell;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use aho_corasick::packed::{Config, Searcher};
use wide::u8x16;

use crate::mask::sight::{self, is_usual, may_end_so};
use crate::mask::unit::Unit;

/// Beginnings of secrets that are recognized by their shape, and of options whose value follows without a sign. The
/// search puts every eighth of them into one class, and examines text that has the letters of a class. So the order is
/// chosen to mix their letters into classes that match little common text.
pub(super) const BEGINNINGS: &[&str] = &[
    "dose",
    "ghu_",
    "rk_live_",
    "ghr_",
    "eyJ",
    "npm_",
    "ghp_",
    "ASIA",
    "\"--",
    "xapp-",
    "retrieve_config.html?",
    "gho_",
    "xoxb-",
    "glpat-",
    "dapi",
    "'--",
    "-----BEGIN",
    "sk_live_",
    "AKIA",
    "hooks.slack.com/",
    "github_pat_",
    "hvs.",
    "AIza",
    "ya29.",
    "ghs_",
    "xoxp-",
    "xoxa-",
    "xoxo-",
    "xoxs-",
    "xoxe",
    "xoxr-",
];

/// The position of one of [`BEGINNINGS`], and its index.
pub(super) type Found = (usize, usize);

enum Shapes {
    Packed(Searcher),
    /// For machines without the instructions that `Packed` needs.
    Automaton(AhoCorasick),
}

static SHAPES: LazyLock<Option<Shapes>> = LazyLock::new(|| {
    let packed = Config::new().builder().extend(BEGINNINGS).build();
    packed.map(Shapes::Packed).or_else(|| AhoCorasick::new(BEGINNINGS).ok().map(Shapes::Automaton))
});

/// The next of [`BEGINNINGS`] from `from` on.
pub(super) fn next_beginning(bytes: &[u8], from: usize) -> Option<Found> {
    let span = aho_corasick::Span { start: from.min(bytes.len()), end: bytes.len() };
    let found = match SHAPES.as_ref()? {
        Shapes::Packed(packed) => packed.find_in(bytes, span),
        Shapes::Automaton(automaton) => automaton.find(aho_corasick::Input::new(bytes).span(span)),
    };
    found.map(|found| (found.start(), found.pattern().as_usize()))
}

/// How many bytes are compared at a time.
const WIDTH: usize = 16;

const BLOCK: usize = 64;

/// The positions of a text before which a name may end, in order: `:`, `=` and `%`, and after a letter also white
/// space, a backslash, a quote, a parenthesis and `>`.
pub(super) struct Ends<'t> {
    bytes: &'t [u8],
    /// The start of the block that `marks` belongs to. Never the text's first byte, since the byte before each mark is
    /// examined, too.
    base: usize,
    /// One bit per byte of the block. The lowest bit is the first byte's.
    marks: u64,
    /// Whether the text may contain an option that takes a user. Searched only when it matters.
    has_user: OnceCell<bool>,
}

impl<'t> Ends<'t> {
    pub(super) fn of(bytes: &'t [u8]) -> Self {
        Self { bytes, base: 1, marks: marks_at(bytes, 1), has_user: OnceCell::new() }
    }

    /// The next position from `from` on, except the text's first.
    #[inline]
    pub(super) fn next(&mut self, from: usize) -> Option<usize> {
        if from >= self.base + BLOCK {
            self.base = from;
            self.marks = marks_at(self.bytes, from);
        } else if let Some(behind) = from.checked_sub(self.base) {
            self.marks &= u64::MAX << behind;
        }
        let (mut base, mut marks) = (self.base, self.marks);
        let found = loop {
            while marks == 0 {
                base += BLOCK;
                if base >= self.bytes.len() {
                    break;
                }
                marks = marks_at(self.bytes, base);
            }
            if marks == 0 {
                break None;
            }
            let place = base + marks.trailing_zeros() as usize;
            if self.may_matter(place) {
                break Some(place);
            }
            marks &= marks - 1;
        };
        (self.base, self.marks) = (base, marks);
        found
    }

    /// Whether a relevant name may end before a sign, at a first look. The last four letters rule most names out.
    #[inline(always)]
    fn may_matter(&self, place: usize) -> bool {
        let bytes = self.bytes;
        let Some(&[.., second, first, sign]) = bytes.get(..=place) else { return is_sign(bytes, place) };
        let quotes = match (second, first) {
            (b'\\', b'"') => 2,
            (_, b'"') => 1,
            _ => 0,
        };
        let text = &bytes[..place - quotes];
        let Some(name) = text.last_chunk() else { return is_sign(bytes, place) };
        let name = u64::from_le_bytes(*name);
        match sign {
            b':' => self.is_before_address(place, first) || may_end(text, name) && !is_of_session(name),
            b'%' => is_escaped_sign(bytes, place, quotes > 0 || first.is_ascii_digit() || may_end(text, name)),
            _ => may_end(text, name) && is_sign(bytes, place),
        }
    }

    /// Whether a colon may be followed by an address, or by the password of a user: `-u name:x`.
    #[inline(always)]
    fn is_before_address(&self, colon: usize, before: u8) -> bool {
        match self.bytes.get(colon + 1) {
            Some(b'/') => true,
            Some(b'\\') => self.bytes.get(colon + 2).is_some_and(|next| *next != b'"'),
            Some(b'"' | ..=b' ') | None => false,
            Some(_) => {
                let has_user = || memchr::memmem::find(self.bytes, b"-u").is_some();
                before.is_ascii_alphabetic() && *self.has_user.get_or_init(has_user)
            }
        }
    }
}

/// Whether a percent sign begins an encoded `=` after a name, or an encoded `:`, which may belong to an address.
#[inline(never)]
fn is_escaped_sign(bytes: &[u8], place: usize, is_named: bool) -> bool {
    Unit::at(bytes, place).is_some_and(|unit| unit.percent > 0 && (unit.byte == b':' || unit.byte == b'=' && is_named))
}

/// Whether a marked byte is a sign that may be followed by a value. A few other bytes are marked, too.
fn is_sign(bytes: &[u8], place: usize) -> bool {
    match bytes[place] {
        b'%' => is_escaped_sign(bytes, place, true),
        b':' | b'=' | b'\'' | b'(' | b'\\' | ..=b' ' => true,
        b'>' => place > 0 && bytes[place - 1] > b'@',
        _ => false,
    }
}

/// Whether a relevant name may end like this: with letters, a number, an escape, or quotes and spaces after it. The last
/// letter is the highest byte of `name`.
#[inline(always)]
fn may_end(text: &[u8], name: u64) -> bool {
    let [_, _, sixth, _, _, third, second, last] = name.to_le_bytes();
    let may_end_so = |name: u64| may_end_so((name >> 32) as u32) && !is_usual(name) && sight::may_end(text);
    let is_escape = || third == b'%' || sixth == b'\\';
    match LAST[last as usize] {
        Last::Other => false,
        Last::Letter => may_end_so(name),
        Last::Hex => may_end_so(name) || is_escape(),
        // Digits belong to times and addresses, or are the number of a secret.
        Last::Digit => second.is_ascii_alphabetic() && may_end_so(name << 8) || is_escape(),
        Last::Around => true,
    }
}

/// Whether the name is a session id's, which is a secret only as a parameter of an address.
#[inline(always)]
fn is_of_session(name: u64) -> bool {
    name >> 16 == u64::from_le_bytes(*b"sionId\0\0")
}

/// The class of a name's last byte.
#[derive(Clone, Copy)]
enum Last {
    /// Not part of a name.
    Other,
    Letter,
    /// A letter that may also end an escape.
    Hex,
    Digit,
    /// A quote, space or other byte that may be between a name and its sign.
    Around,
}

static LAST: [Last; 256] = {
    let mut lasts = [Last::Other; 256];
    let mut byte = 0;
    while byte < 128 {
        lasts[byte as usize] = match byte {
            b'a'..=b'f' | b'A'..=b'F' => Last::Hex,
            b'g'..=b'z' | b'G'..=b'Z' => Last::Letter,
            b'0'..=b'9' => Last::Digit,
            b'"' | b'\\' | b' ' | b'\'' | b'`' | b']' => Last::Around,
            _ => Last::Other,
        };
        byte += 1;
    }
    lasts
};

/// The marks of a block, which may be cut off at the end of the text.
#[inline]
fn marks_at(bytes: &[u8], base: usize) -> u64 {
    // The block, with the byte before it.
    match bytes.get(base - 1..).and_then(|rest| rest.first_chunk()) {
        Some(block) => marks(block),
        None => marks_of_rest(bytes, base),
    }
}

#[inline(never)]
fn marks_of_rest(bytes: &[u8], base: usize) -> u64 {
    if let Some(last) = bytes.last_chunk::<{ BLOCK + 1 }>() {
        let before = base - 1 - (bytes.len() - last.len());
        return marks(last).checked_shr(before as u32).unwrap_or(0);
    }
    let mut block = [b'"'; BLOCK + 1];
    if let Some(rest) = bytes.get(base - 1..) {
        block[..rest.len()].copy_from_slice(rest);
    }
    marks(&block)
}

/// Marks the bytes that may be signs, and a few others, in as few instructions as possible: the highest bit of each
/// byte becomes the mark.
#[inline(always)]
fn marks(block: &[u8; BLOCK + 1]) -> u64 {
    let all = u8x16::splat;
    // Sets the highest bit of the bytes from `first` to `first + 0x7f`. Higher ones are no signs.
    let from = |bytes: u8x16, first: u8| bytes + all(0x80 - first);
    let (before, _) = block[..BLOCK].as_chunks::<WIDTH>();
    let (chunks, _) = block[1..].as_chunks::<WIDTH>();
    before.iter().zip(chunks).rev().fold(0, |marks, (before, bytes)| {
        let (before, bytes) = (u8x16::new(*before), u8x16::new(*bytes));
        // Marks bytes from `@` on.
        let letter = before + before;
        // Marks the ASCII bytes after `(`, and the double quote. White space, `'` and `(` stay unmarked.
        let other = from(bytes, b'(' + 1) | bytes.simd_eq(all(b'"'));
        let behind_letter = !other | bytes.simd_eq(all(b'\\'));
        let sign = from(bytes, b':') & !from(bytes, b'>' + 1);
        let found = sign | bytes.simd_eq(all(b'%')) | (behind_letter & letter);
        marks << WIDTH | u64::from(found.to_bitmask())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_behind_which_a_value_may_stand_is_found_wherever_it_is() {
        for length in 1..200 {
            let texts = [
                "token=",
                "token:",
                "token ",
                "token'",
                "TOKEN(",
                "token\\",
                "token\n",
                "token%3D",
                "\"token\":",
                "pass1=",
            ];
            for (text, at) in texts.map(|text| (text, text.len() - if text.ends_with("3D") { 3 } else { 1 })) {
                let mut bytes = vec![b'-'; length];
                bytes.extend_from_slice(text.as_bytes());
                bytes.extend_from_slice("é-".as_bytes());
                let mut ends = Ends::of(&bytes);
                assert_eq!(ends.next(0), Some(length + at), "{length} {text}");
                assert_eq!(ends.next(length + at), Some(length + at), "{length} {text}");
                assert_eq!(ends.next(length + at + 1), None, "{length} {text}");
            }
        }
        for (text, at) in [("the-token%253D1", 9), ("the-token%22%3D1", 12), ("a-scheme%3A//", 8)] {
            assert_eq!(Ends::of(text.as_bytes()).next(0), Some(at), "{text}");
        }
        let mut ends = Ends::of(b"1 - ' \" ( d. 2( version: 12:30:45 year%3D2024/month%253D02 a%20b");
        assert_eq!(ends.next(0), None);
    }

    #[test]
    fn machines_without_wide_instructions_find_the_same() {
        let automaton = AhoCorasick::new(BEGINNINGS).unwrap();
        for beginning in BEGINNINGS {
            let text = format!("one two {beginning}x");
            let found = automaton.find(&text).map(|found| (found.start(), found.pattern().as_usize()));
            assert_eq!(found, next_beginning(text.as_bytes(), 0), "{beginning}");
        }
    }
}

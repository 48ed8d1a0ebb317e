//! Where in a text a secret may be named or stand: a quick search, which passes most of a text by.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use aho_corasick::packed::{Config, Searcher};
use wide::u8x16;

/// What secrets begin with that are told by their own letters, and what they stand behind that no sign tells.
pub(super) const BEGINNINGS: &[&str] = &[
    "dapi",
    "dose",
    "AKIA",
    "ASIA",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xoxo-",
    "xoxs-",
    "xoxe",
    "xoxr-",
    "xapp-",
    "AIza",
    "ya29.",
    "eyJ",
    "-----BEGIN",
    "sk_live_",
    "rk_live_",
    "npm_",
    "hvs.",
    "hooks.slack.com/",
    "retrieve_config.html?",
    "\"--",
    "'--",
];

/// Where one of [`BEGINNINGS`] stands, and which.
pub(super) type Found = (usize, usize);

enum Shapes {
    Packed(Searcher),
    /// For machines without the instructions that the other needs.
    Automaton(AhoCorasick),
}

static SHAPES: LazyLock<Option<Shapes>> = LazyLock::new(|| {
    let packed = Config::new().builder().extend(BEGINNINGS).build();
    packed.map(Shapes::Packed).or_else(|| AhoCorasick::new(BEGINNINGS).ok().map(Shapes::Automaton))
});

/// The next of [`BEGINNINGS`] from there on.
pub(super) fn next_beginning(bytes: &[u8], from: usize) -> Option<Found> {
    let span = aho_corasick::Span { start: from.min(bytes.len()), end: bytes.len() };
    let found = match SHAPES.as_ref()? {
        Shapes::Packed(packed) => packed.find_in(bytes, span),
        Shapes::Automaton(automaton) => automaton.find(aho_corasick::Input::new(bytes).span(span)),
    };
    found.map(|found| (found.start(), found.pattern().as_usize()))
}

/// How many bytes are compared at once.
const WIDTH: usize = 16;

const BLOCK: usize = 64;

/// The places of a text before which a name may end, in order: `:`, `=` and `%`, and behind a letter white space, a
/// backslash, a quote, a parenthesis and `>`.
pub(super) struct Ends<'t> {
    bytes: &'t [u8],
    /// Where the block begins whose marks are left.
    base: usize,
    /// One bit a byte of the block, the first byte's the lowest.
    marks: u64,
}

impl<'t> Ends<'t> {
    pub(super) fn of(bytes: &'t [u8]) -> Self {
        let mut ends = Self { bytes, base: 0, marks: 0 };
        ends.marks = ends.marks_at(0);
        ends
    }

    /// The next place that is not before `from`.
    #[inline]
    pub(super) fn next(&mut self, from: usize) -> Option<usize> {
        if from >= self.base + BLOCK {
            self.base = from / BLOCK * BLOCK;
            self.marks = self.marks_at(self.base);
        }
        if let Some(behind) = from.checked_sub(self.base) {
            self.marks &= u64::MAX << behind;
        }
        while self.marks == 0 {
            self.base += BLOCK;
            if self.base >= self.bytes.len() {
                return None;
            }
            self.marks = self.marks_at(self.base);
        }
        Some(self.base + self.marks.trailing_zeros() as usize)
    }

    #[inline]
    fn marks_at(&self, base: usize) -> u64 {
        // With the byte before the first.
        match base.checked_sub(1).and_then(|from| self.bytes.get(from..from + BLOCK + 1)?.first_chunk()) {
            Some(block) => marks(block),
            None => self.marks_of_rest(base),
        }
    }

    #[inline(never)]
    fn marks_of_rest(&self, base: usize) -> u64 {
        let mut block = [0; BLOCK + 1];
        let rest = &self.bytes[base.min(self.bytes.len())..self.bytes.len().min(base + BLOCK)];
        block[1..=rest.len()].copy_from_slice(rest);
        if let Some(before) = base.checked_sub(1) {
            block[0] = self.bytes[before];
        }
        let marks = marks(&block);
        if rest.len() < BLOCK { marks & ((1 << rest.len()) - 1) } else { marks }
    }
}

#[inline(always)]
fn marks(block: &[u8; BLOCK + 1]) -> u64 {
    let is = |chunk: u8x16, byte: u8| chunk.simd_eq(u8x16::splat(byte));
    let (before, _) = block[..BLOCK].as_chunks::<WIDTH>();
    let (chunks, _) = block[1..].as_chunks::<WIDTH>();
    before.iter().zip(chunks).rev().fold(0, |marks, (before, chunk)| {
        let (before, chunk) = (u8x16::new(*before), u8x16::new(*chunk));
        let behind_letter = is(chunk, b'\'')
            | is(chunk, b'(')
            | is(chunk, b'\\')
            | is(chunk, b'>')
            | chunk.simd_lt(u8x16::splat(b' ' + 1));
        let letter = u8x16::splat(b'@').simd_lt(before);
        let found = is(chunk, b':') | is(chunk, b'=') | is(chunk, b'%') | (behind_letter & letter);
        marks << WIDTH | u64::from(found.to_bitmask())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_behind_which_a_value_may_stand_is_found_wherever_it_is() {
        for length in 1..200 {
            for (text, at) in [("a=", 1), ("1:", 1), (" %", 1), ("d ", 1), ("d'", 1), ("D(", 1), ("d\\", 1), ("d\n", 1)]
            {
                let mut bytes = vec![b'-'; length];
                bytes.extend_from_slice(text.as_bytes());
                bytes.extend_from_slice("é-".as_bytes());
                let mut ends = Ends::of(&bytes);
                assert_eq!(ends.next(0), Some(length + at), "{length} {text}");
                assert_eq!(ends.next(length + at), Some(length + at), "{length} {text}");
                assert_eq!(ends.next(length + at + 1), None, "{length} {text}");
            }
        }
        let mut ends = Ends::of(b"1 - ' \" ( d. 2(");
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

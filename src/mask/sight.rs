//! A first look at names: their last letters rule out most names that are not relevant, that is, say nothing about
//! their value.

use crate::mask::names::{ENDINGS, MANNERS, WHOLE, WORDS};

/// Whether a relevant name may end like this. The last five letters rule out most other names.
#[inline(never)]
pub(super) fn may_end(text: &[u8]) -> bool {
    // Times and addresses have several digits. The number of a secret mostly has one.
    let letters = match text {
        [letters @ .., b'0'..=b'9'] => letters,
        letters => letters,
    };
    let Some(end) = letters.last_chunk::<5>() else { return !letters.is_empty() };
    let place = place([class(end[1]), class(end[2]), class(end[3]), class(end[4])]);
    ENDS[place] >> class(end[0]) & 1 != 0
        && end[4].is_ascii_alphabetic()
        && !USUAL_LONG.iter().any(|usual| text.ends_with(usual))
}

/// Whether a relevant name may end with these four bytes, of which the last is the highest.
#[inline(always)]
pub(super) fn may_end_so(end: u32) -> bool {
    let bit = bit(end | LOWER);
    SIGHTS[bit / 64] >> (bit % 64) & 1 != 0
}

/// All words with which relevant names end.
const ALL: [&[&str]; ENDINGS.len() + MANNERS.len() + 2] = {
    let mut all = [WORDS; ENDINGS.len() + MANNERS.len() + 2];
    all[0] = WHOLE;
    let mut group = 0;
    while group < ENDINGS.len() {
        all[1 + group] = ENDINGS[group].1;
        group += 1;
    }
    group = 0;
    while group < MANNERS.len() {
        all[1 + ENDINGS.len() + group] = MANNERS[group].1;
        group += 1;
    }
    all
};

/// Makes letters lower case; other bytes become arbitrary ones.
const LOWER: u32 = 0x2020_2020;

const SIGHT_BITS: usize = 1 << 16;

#[inline(always)]
const fn bit(end: u32) -> usize {
    (end.wrapping_mul(0x9e37_79b1) >> 16) as usize
}

/// Separators between the words of a name, and before a word of two letters.
const BETWEEN: &[u8] = b"_-. \"'?&;,{/([";

/// A bit for each hash of four bytes with which a name may end. Other bytes may have the same hash.
static SIGHTS: [u64; SIGHT_BITS / 64] = {
    let mut sights = [0; SIGHT_BITS / 64];
    let mut group = 0;
    while group < ALL.len() {
        sights = with_sights(sights, ALL[group]);
        group += 1;
    }
    sights
};

const fn with_sights(mut sights: [u64; SIGHT_BITS / 64], words: &[&str]) -> [u64; SIGHT_BITS / 64] {
    let mut index = 0;
    while index < words.len() {
        let word = words[index].as_bytes();
        let n = word.len();
        // Any byte may precede a short word.
        let mut any = 0;
        while any < 128 {
            let mut between = 0;
            while between < BETWEEN.len() {
                let sign = BETWEEN[between];
                let ends = match n {
                    2 => [[any, sign, word[0], word[1]]; 4],
                    3 => [[any, word[0], word[1], word[2]]; 4],
                    _ => [
                        [word[n - 4], word[n - 3], word[n - 2], word[n - 1]],
                        [word[n - 3], word[n - 2], sign, word[n - 1]],
                        [word[n - 3], sign, word[n - 2], word[n - 1]],
                        [sign, word[n - 3], word[n - 2], word[n - 1]],
                    ],
                };
                let mut at = 0;
                while at < ends.len() {
                    let bit = bit(u32::from_le_bytes(ends[at]) | LOWER);
                    sights[bit / 64] |= 1 << (bit % 64);
                    at += 1;
                }
                between += if n == 3 { BETWEEN.len() } else { 1 };
            }
            any += if n > 3 { 128 } else { 1 };
        }
        index += 1;
    }
    sights
}

/// Endings of names that are in most records, and of no relevant name. They have at most eight letters, and are grouped
/// by the last one.
const USUAL: [(u8, &[&str]); 6] = [
    (b'n', &["peration", "duration", "location", "region"]),
    (b'd', &["ation_id"]),
    (b'e', &["tuscode", "tus_code"]),
    (b't', &["erytext", "ery_text", "limit", "result"]),
    (b's', &["status"]),
    (b'r', &["user"]),
];

/// Usual endings that are longer than eight bytes.
const USUAL_LONG: &[&[u8]] = &[b"\"response", b"\"database", b" database", b"sanitized_token"];

/// The most endings in [`USUAL`] with the same last letter.
const USUAL_MAX: usize = 4;

/// Each of [`USUAL`] with its bit mask, by the position of its last letter in the alphabet. Unused entries match no
/// name.
static USUAL_ENDS: [[(u64, u64); USUAL_MAX]; 32] = {
    let mut ends = [[(1, 0); USUAL_MAX]; 32];
    let mut group = 0;
    while group < USUAL.len() {
        let (last, words) = USUAL[group];
        let mut index = 0;
        while index < words.len() {
            let word = words[index].as_bytes();
            let (mut end, mut bits) = (0, 0);
            let mut at = 0;
            while at < word.len() {
                let shift = 64 - 8 * (word.len() - at) as u32;
                end |= ((word[at] | LOWER as u8) as u64) << shift;
                bits |= 0xff << shift;
                at += 1;
            }
            ends[(last % 32) as usize][index] = (end, bits);
            index += 1;
        }
        group += 1;
    }
    ends
};

/// Whether a name has one of the [`USUAL`] endings. Its last letter is the highest byte.
#[inline(always)]
pub(super) fn is_usual(name: u64) -> bool {
    let name = name | u64::from(LOWER) << 32 | u64::from(LOWER);
    USUAL_ENDS[(name >> 56) as usize % 32].iter().any(|(end, bits)| name & bits == *end)
}

/// The classes of bytes: one for each letter in either case, and one for all other bytes.
const CLASSES: u32 = 27;

static CLASS: [u8; 256] = {
    let mut classes = [26; 256];
    let mut letter = 0;
    while letter < 26 {
        classes[b'a' as usize + letter] = letter as u8;
        classes[b'A' as usize + letter] = letter as u8;
        letter += 1;
    }
    classes
};

#[inline]
const fn class(byte: u8) -> u32 {
    CLASS[byte as usize] as u32
}

/// The size of [`ENDS`]: a power of two, several times the number of endings.
const PLACES: usize = 4096;

#[inline]
const fn place(end: [u32; 4]) -> usize {
    let number = ((end[0] * CLASSES + end[1]) * CLASSES + end[2]) * CLASSES + end[3];
    (number.wrapping_mul(0x9e37_79b1) >> (u32::BITS - PLACES.ilog2())) as usize
}

/// By the hash of the last four letters: one bit for each class of byte that may precede them. Several endings may
/// share an entry.
static ENDS: [u32; PLACES] = {
    let mut ends = [0; PLACES];
    let mut group = 0;
    while group < ALL.len() {
        ends = with_ends(ends, ALL[group]);
        group += 1;
    }
    ends
};

const fn with_ends(mut ends: [u32; PLACES], words: &[&str]) -> [u32; PLACES] {
    let mut index = 0;
    while index < words.len() {
        let word = words[index].as_bytes();
        // In a long word, a separator may be between any two letters: after the last `behind` letters, or nowhere in
        // the last five.
        let mut behind = 1;
        while behind <= 5 {
            if behind == 5 || word.len() > 4 {
                ends = with_end(ends, word, behind);
            }
            behind += 1;
        }
        index += 1;
    }
    ends
}

const fn with_end(mut ends: [u32; PLACES], word: &[u8], behind: usize) -> [u32; PLACES] {
    const NONE: u32 = CLASSES - 1;
    const ANY: u32 = CLASSES;
    // The classes of the last five bytes, the last byte first.
    let mut classes = [ANY; 5];
    let mut at = 0;
    while at < 5 {
        let letter = if at > behind { at - 1 } else { at };
        if at == behind {
            classes[at] = NONE;
        } else if letter < word.len() {
            classes[at] = class(word[word.len() - 1 - letter]);
        }
        at += 1;
    }
    // Before a word of two letters, there is a byte that is no letter.
    let third = if classes[2] == ANY { NONE } else { classes[2] };
    let fifth = if classes[4] == ANY { u32::MAX } else { 1 << classes[4] };
    let mut fourth = if classes[3] == ANY { 0 } else { classes[3] };
    loop {
        ends[place([fourth, third, classes[1], classes[0]])] |= fifth;
        fourth += 1;
        if classes[3] != ANY || fourth == CLASSES {
            break;
        }
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask::names::kind;

    fn last_four(name: &str) -> u32 {
        u32::from_le_bytes(*name.as_bytes().last_chunk().unwrap())
    }

    #[test]
    fn every_name_that_matters_passes_the_quick_look_however_its_words_are_joined() {
        let words = ENDINGS.iter().chain(MANNERS).flat_map(|(_, words)| *words).chain(WORDS).chain(WHOLE);
        for word in words {
            for name in [format!("{{\"{word}"), format!("\"x_{word}"), format!("\"X-{}", word.to_uppercase())] {
                assert!(may_end(name.as_bytes()), "{name}");
                assert!(may_end_so(last_four(&name)), "{name}");
            }
            for at in (1..word.len()).filter(|_| word.len() > 4) {
                let (before, behind) = word.split_at(at);
                let name = format!("\"{before}_{behind}");
                assert!(may_end(name.as_bytes()) && may_end_so(last_four(&name)), "{name}");
            }
        }
        for name in
            ["version", "operation", "statusCode", "requestId", "workspaceId", "timestamp", "path", "12:30", "action"]
        {
            let quoted = format!("\"1234567{name}");
            let last = u64::from_le_bytes(*quoted.as_bytes().last_chunk().unwrap());
            assert!(!may_end(format!("\"{name}").as_bytes()) || is_usual(last), "{name}");
        }
    }

    #[test]
    fn names_that_end_as_usual_ones_do_say_nothing_whatever_stands_before() {
        let words = ENDINGS.iter().chain(MANNERS).flat_map(|(_, words)| *words).chain(WORDS).chain(WHOLE);
        let before: Vec<&str> = words.copied().chain(["", "_", "-", "x", "secret_", "passwordHash"]).collect();
        for end in USUAL.iter().flat_map(|(_, ends)| *ends) {
            for before in &before {
                let name = format!("{before}{end}");
                let phrase = format!("secret token {name}");
                assert_eq!(kind(name.as_bytes(), phrase.as_bytes()), None, "{name}");
                assert!(is_usual(u64::from_le_bytes(
                    *format!("{:>8}", name.to_uppercase()).as_bytes().last_chunk().unwrap()
                )));
            }
        }
    }
}

//! Decodes percent escapes, and nothing else: a plus stays a plus.

use std::borrow::Cow;

/// Decodes `encoded`. Invalid escapes stay as they are; invalid UTF-8 becomes U+FFFD.
pub(super) fn decode(encoded: &str) -> Cow<'_, str> {
    match bytes(encoded) {
        None => Cow::Borrowed(encoded),
        Some(bytes) => Cow::Owned(match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        }),
    }
}

/// As [`decode`], for a text that was cut off: half an escape or half a character at its end is left out.
pub(super) fn decode_cut(encoded: &str) -> Cow<'_, str> {
    let whole = match encoded.as_bytes() {
        [.., b'%'] => &encoded[..encoded.len() - 1],
        [.., b'%', last] if last.is_ascii_hexdigit() => &encoded[..encoded.len() - 2],
        _ => encoded,
    };
    let Some(mut bytes) = bytes(whole) else { return Cow::Borrowed(whole) };
    if let Err(error) = std::str::from_utf8(&bytes)
        && error.error_len().is_none()
    {
        bytes.truncate(error.valid_up_to());
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether the text ends within an escape, or within a character whose bytes are escaped.
pub(super) fn is_cut(encoded: &str) -> bool {
    encoded.contains('%') && decode_cut(encoded).len() < decode(encoded).len()
}

/// Decodes an object's key as far as possible. Access logs encode most keys twice, others once, with a plus for a
/// space. `None` if decoding changes nothing, or if the result is not UTF-8.
pub(super) fn decode_key(key: &str) -> Option<String> {
    let first = memchr::memchr2(b'%', b'+', key.as_bytes())?;
    let mut text = key.as_bytes().to_vec();
    for byte in &mut text[first..] {
        *byte = if *byte == b'+' { b' ' } else { *byte };
    }
    for _ in 0..2 {
        let is_ascii = undo(&mut text, first);
        // Only decoded escapes can make the text invalid UTF-8.
        if !is_ascii && std::str::from_utf8(&text).is_err() {
            return None;
        }
    }
    String::from_utf8(text).ok().filter(|text| text != key)
}

/// Decodes escapes in place. The first `first` bytes hold none. Returns whether all decoded bytes are ASCII.
fn undo(text: &mut Vec<u8>, first: usize) -> bool {
    let mut is_ascii = true;
    let mut from = memchr::memchr(b'%', &text[first..]).map_or(text.len(), |at| first + at);
    let mut to = from;
    while from < text.len() {
        from += match text[from..] {
            [b'%', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                text[to] = digit(high) << 4 | digit(low);
                is_ascii &= text[to].is_ascii();
                3
            }
            _ => {
                text[to] = text[from];
                1
            }
        };
        to += 1;
        let plain = memchr::memchr(b'%', &text[from..]).unwrap_or(text.len() - from);
        text.copy_within(from..from + plain, to);
        (from, to) = (from + plain, to + plain);
    }
    text.truncate(to);
    is_ascii
}

/// The decoded bytes. `None` if the text has no escape.
fn bytes(encoded: &str) -> Option<Vec<u8>> {
    let mut rest = encoded.as_bytes();
    let mut at = memchr::memchr(b'%', rest)?;
    let mut bytes = Vec::with_capacity(encoded.len());
    loop {
        bytes.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        match rest {
            [_, high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                bytes.push(digit(*high) << 4 | digit(*low));
                rest = after;
            }
            _ => {
                bytes.push(b'%');
                rest = &rest[1..];
            }
        }
        match memchr::memchr(b'%', rest) {
            Some(next) => at = next,
            None => break,
        }
    }
    bytes.extend_from_slice(rest);
    Some(bytes)
}

const fn digit(hex: u8) -> u8 {
    match hex {
        b'0'..=b'9' => hex - b'0',
        b'a'..=b'f' => hex - b'a' + 10,
        _ => hex - b'A' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_and_a_plus_stays() {
        for (encoded, text) in [
            ("plain", "plain"),
            ("a%20b", "a b"),
            ("Screen+Shot", "Screen+Shot"),
            ("a%2520b", "a%20b"),
            ("caf%C3%A9", "café"),
            ("a%FFb", "a\u{fffd}b"),
            ("a%zz%4", "a%zz%4"),
            ("%", "%"),
            ("", ""),
        ] {
            assert_eq!(decode(encoded), text, "{encoded}");
        }
    }

    #[test]
    fn half_an_escape_or_character_at_a_cut_is_left_out() {
        for (encoded, text) in
            [("caf%", "caf"), ("caf%C", "caf"), ("caf%C3", "caf"), ("caf%C3%A", "caf"), ("caf%C3%A9", "café")]
        {
            assert_eq!(decode_cut(encoded), text, "{encoded}");
            assert_eq!(is_cut(encoded), text == "caf", "{encoded}");
        }
    }

    #[test]
    fn a_key_is_decoded_as_often_as_it_was_encoded() {
        let decoded = |key| decode_key(key);
        assert_eq!(decoded("a/b.txt"), None);
        assert_eq!(decoded("year%253D2020/a"), Some("year=2020/a".into()));
        assert_eq!(decoded("say%2522hi%2522"), Some("say\"hi\"".into()));
        assert_eq!(decoded("a%20b"), Some("a b".into()));
        assert_eq!(decoded("Screen+Shot+1.png"), Some("Screen Shot 1.png".into()));
        assert_eq!(decoded("a%252Bb"), Some("a+b".into()));
        assert_eq!(decoded("SRR9154112/*.fastq*"), None);
        assert_eq!(decoded("%FF"), None);
    }
}

//! Text inside JSON strings: finds and writes what must be escaped.

use wide::u8x16;

/// The position, from `at` on, of the next byte that a JSON string must escape: a quote, a backslash or a control
/// character. The length of `bytes` if there is none.
#[inline(always)]
pub(crate) fn next_special(bytes: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        let marks = special_marks(chunk);
        if marks != 0 {
            return at + marks.trailing_zeros() as usize;
        }
        at += WIDTH;
    }
    next_special_in_rest(bytes, at)
}

/// As [`next_special`], if fewer than [`WIDTH`] bytes are left.
#[inline(never)]
fn next_special_in_rest(bytes: &[u8], mut at: usize) -> usize {
    if let Some(chunk) = bytes.last_chunk() {
        // Shift out the bytes before `at`, which were searched before.
        let marks = special_marks(chunk) >> (at + WIDTH - bytes.len());
        return if marks == 0 { bytes.len() } else { at + marks.trailing_zeros() as usize };
    }
    while bytes.get(at).is_some_and(|byte| !is_special(*byte)) {
        at += 1;
    }
    at
}

/// How many bytes are compared at a time.
pub(super) const WIDTH: usize = 16;

/// One bit per byte, set if the byte is special. The lowest bit is the first byte's.
#[inline(always)]
fn special_marks(chunk: &[u8; WIDTH]) -> u32 {
    specials(u8x16::new(*chunk)).to_bitmask()
}

/// Sets all bits of each special byte, and clears the others.
#[inline(always)]
pub(super) fn specials(bytes: u8x16) -> u8x16 {
    let is_control = bytes.simd_eq(bytes.min(u8x16::splat(0x1f)));
    bytes.simd_eq(u8x16::splat(b'"')) | bytes.simd_eq(u8x16::splat(b'\\')) | is_control
}

#[inline]
pub(super) const fn is_special(byte: u8) -> bool {
    (byte == b'"') | (byte == b'\\') | (byte < 0x20)
}

/// Writes `text` as the inside of a JSON string.
pub(crate) fn write_escaped(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut from = 0;
    loop {
        let at = next_special(bytes, from);
        out.extend_from_slice(&bytes[from..at]);
        let Some(&byte) = bytes.get(at) else { return };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(control >> 4)]);
                out.push(HEX[usize::from(control & 15)]);
            }
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        write_escaped(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_json_must_escape_is_escaped_wherever_it_stands() {
        assert_eq!(written("plain"), "plain");
        assert_eq!(written("a \"quoted\" \\ path"), "a \\\"quoted\\\" \\\\ path");
        assert_eq!(written("line\nfeed\ttab\rreturn\u{1}"), "line\\nfeed\\ttab\\rreturn\\u0001");
        assert_eq!(written("ünïcode \u{1f600} \u{7f}"), "ünïcode \u{1f600} \u{7f}");
        for position in 0..20 {
            let text = format!("{}\"{}", "x".repeat(position), "y".repeat(20 - position));
            assert_eq!(written(&text), text.replace('"', "\\\""));
        }
    }

    #[test]
    fn the_next_special_byte_is_found_wherever_it_stands() {
        let others = [0x20, 0x21, b'#', b'[', b']', 0x7f, 0x80, 0xff];
        for length in 0..50 {
            let plain: Vec<u8> = others.iter().copied().cycle().take(length).collect();
            assert_eq!(next_special(&plain, 0), length);
            for position in 0..length {
                for special in [0, 0x1f, b'"', b'\\'] {
                    let mut bytes = plain.clone();
                    bytes[position] = special;
                    for from in 0..=length {
                        let expected = if from <= position { position } else { length };
                        assert_eq!(next_special(&bytes, from), expected, "{special} at {position} of {length}");
                    }
                }
            }
        }
    }
}

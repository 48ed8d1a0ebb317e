//! Writes text and bytes as JSON has them.

use wide::u8x16;

/// Writes text as the inside of a JSON string.
pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    let mut from = 0;
    while let Some(found) = bytes[from..].iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)) {
        let at = from + found;
        out.extend_from_slice(&bytes[from..at]);
        match bytes[at] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(control >> 4)]);
                out.push(HEX[usize::from(control & 15)]);
            }
        }
        from = at + 1;
    }
    out.extend_from_slice(&bytes[from..]);
}

/// Bytes that are no text, told apart from every text: `{"base64":"..."}`.
pub(super) fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.extend_from_slice(b"{\"base64\":\"");
    for three in bytes.chunks(3) {
        let mut bits = [0; 4];
        bits[1..=three.len()].copy_from_slice(three);
        let bits = u32::from_be_bytes(bits);
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit)) as usize & 63;
            out.push(if digit > three.len() { b'=' } else { ALPHABET[index] });
        }
    }
    out.extend_from_slice(b"\"}");
}

/// Whether the bytes are text of ASCII alone, of which JSON escapes nothing. Most values are.
#[inline]
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    const WIDTH: usize = 16;
    let holds = |chunk: &[u8; WIDTH]| {
        let bytes = u8x16::new(*chunk);
        let is_control = bytes.simd_eq(bytes.min(u8x16::splat(0x1f)));
        let marks = bytes.simd_eq(u8x16::splat(b'"')) | bytes.simd_eq(u8x16::splat(b'\\')) | is_control;
        // The highest bit of each byte is taken, which is set beyond ASCII and where one is marked.
        (marks | bytes).to_bitmask() == 0
    };
    let Some(last) = bytes.last_chunk::<WIDTH>() else {
        return bytes.iter().all(|byte| matches!(byte, 0x20..0x7f) && !matches!(byte, b'"' | b'\\'));
    };
    let (chunks, _) = bytes.as_chunks::<WIDTH>();
    chunks.iter().all(holds) && holds(last)
}

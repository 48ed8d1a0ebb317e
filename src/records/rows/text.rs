//! Writes byte arrays as JSON.

use wide::u8x16;

use crate::records::escaped::{WIDTH, is_special, specials};

/// Writes bytes that are no text as `{"base64":"..."}`. No text is written like this.
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

/// Whether the bytes are ASCII text without characters that JSON escapes. Most values are.
#[inline]
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    let holds = |chunk: &[u8; WIDTH]| {
        let bytes = u8x16::new(*chunk);
        // `to_bitmask` takes the highest bit of each byte: set in bytes beyond ASCII and in marked ones.
        (specials(bytes) | bytes).to_bitmask() == 0
    };
    let Some(last) = bytes.last_chunk::<WIDTH>() else {
        return bytes.iter().all(|&byte| byte.is_ascii() && !is_special(byte));
    };
    let (chunks, _) = bytes.as_chunks::<WIDTH>();
    chunks.iter().all(holds) && holds(last)
}

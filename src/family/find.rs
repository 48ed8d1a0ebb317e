//! Finds a byte in what is mostly short.

use wide::u8x16;

/// Where, from `at` on, this byte stands; the length when it stands nowhere.
#[inline]
pub(in crate::family) fn place_of(byte: u8, bytes: &[u8], mut at: usize) -> usize {
    const WIDTH: usize = 16;
    let wanted = u8x16::splat(byte);
    // One bit per byte, the first byte's the lowest.
    let marks_of = |chunk: &[u8; WIDTH]| u8x16::new(*chunk).simd_eq(wanted).to_bitmask();
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        let marks = marks_of(chunk);
        if marks != 0 {
            return at + marks.trailing_zeros() as usize;
        }
        at += WIDTH;
    }
    match bytes.last_chunk() {
        Some(chunk) if at < bytes.len() => {
            // Bytes that were looked at before are shifted out.
            let marks = marks_of(chunk) >> (at + WIDTH - bytes.len());
            if marks == 0 { bytes.len() } else { at + marks.trailing_zeros() as usize }
        }
        _ => {
            while bytes.get(at).is_some_and(|other| *other != byte) {
                at += 1;
            }
            at
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_found_wherever_it_stands() {
        for length in 0..70 {
            let plain = vec![b'x'; length];
            for from in 0..=length + 1 {
                assert_eq!(place_of(b'/', &plain, from), from.max(length));
                for position in from..length {
                    let mut bytes = plain.clone();
                    bytes[position..].fill(b'/');
                    bytes[..from].fill(b'/');
                    assert_eq!(place_of(b'/', &bytes, from), position, "from {from} of {length}");
                }
            }
        }
    }
}

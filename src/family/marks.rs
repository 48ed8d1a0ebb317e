//! Where single bytes stand in a text that holds many of them, told a block of the text at a time.

use wide::u8x16;

/// Bytes that are looked at together.
const WIDTH: usize = 16;

/// Bytes whose marks are in one number.
const BLOCK: usize = 4 * WIDTH;

/// The places where one of two bytes stands, in order.
pub(super) struct Marks<'a> {
    bytes: &'a [u8],
    wanted: [u8; 2],
    /// Where the block begins that was looked at last.
    block: usize,
    /// Of that block, a bit for each place that was not told yet.
    left: u64,
}

impl<'a> Marks<'a> {
    #[inline]
    pub(super) fn of(byte: u8, bytes: &'a [u8]) -> Self {
        Self::of_either([byte; 2], bytes)
    }

    #[inline]
    pub(super) fn of_either(wanted: [u8; 2], bytes: &'a [u8]) -> Self {
        Self { bytes, wanted, block: 0, left: marks_at(bytes, 0, wanted) }
    }
}

impl Iterator for Marks<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.left == 0 {
            self.block += BLOCK;
            if self.block >= self.bytes.len() {
                return None;
            }
            self.left = marks_at(self.bytes, self.block, self.wanted);
        }
        let place = self.block + self.left.trailing_zeros() as usize;
        self.left &= self.left - 1;
        Some(place)
    }
}

/// The marks of the block that begins there; of the last there may be less than a block.
#[inline]
fn marks_at(bytes: &[u8], at: usize, wanted: [u8; 2]) -> u64 {
    let rest = bytes.get(at..).unwrap_or_default();
    match rest.first_chunk() {
        Some(block) => marks(block, wanted),
        None => marks_of_rest(rest, wanted),
    }
}

#[inline(never)]
fn marks_of_rest(rest: &[u8], wanted: [u8; 2]) -> u64 {
    let mut block = [0; BLOCK];
    block[..rest.len()].copy_from_slice(rest);
    marks(&block, wanted) & ((1 << rest.len()) - 1)
}

/// One bit a byte, the first byte's the lowest.
#[inline(always)]
fn marks(block: &[u8; BLOCK], [one, other]: [u8; 2]) -> u64 {
    let (one, other) = (u8x16::splat(one), u8x16::splat(other));
    let (chunks, _) = block.as_chunks::<WIDTH>();
    chunks.iter().rev().fold(0, |marks, chunk| {
        let bytes = u8x16::new(*chunk);
        marks << WIDTH | u64::from((bytes.simd_eq(one) | bytes.simd_eq(other)).to_bitmask())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_told_and_no_other_whatever_the_length() {
        for length in 0..200 {
            for step in 1..9 {
                let bytes: Vec<u8> = (0..length).map(|at| if at % step == 0 { b':' } else { b'x' }).collect();
                let expected: Vec<usize> = (0..length).step_by(step).collect();
                assert_eq!(Marks::of(b':', &bytes).collect::<Vec<_>>(), expected);
                assert_eq!(Marks::of_either([b'y', b':'], &bytes).collect::<Vec<_>>(), expected);
            }
        }
        assert_eq!(Marks::of(0, b"a\0").collect::<Vec<_>>(), [1]);
    }
}

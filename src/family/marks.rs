//! Finds certain bytes in a text that has many of them, one block of the text at a time.

use wide::u8x16;

/// Bytes that are compared at once.
const WIDTH: usize = 16;

/// Bytes whose marks fit into one number.
const BLOCK: usize = 4 * WIDTH;

/// The positions of any of `N` wanted bytes, in order.
pub(super) struct Marks<'a, const N: usize> {
    bytes: &'a [u8],
    wanted: [u8; N],
    /// The start of the next block to search.
    next_block: usize,
    /// For the block before it, one bit for each position that is not returned yet.
    left: u64,
}

impl<'a, const N: usize> Marks<'a, N> {
    #[inline]
    pub(super) const fn of(wanted: [u8; N], bytes: &'a [u8]) -> Self {
        Self { bytes, wanted, next_block: 0, left: 0 }
    }
}

impl<const N: usize> Iterator for Marks<'_, N> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.left == 0 {
            if self.next_block >= self.bytes.len() {
                return None;
            }
            self.left = marks_at(&self.bytes[self.next_block..], self.wanted);
            self.next_block += BLOCK;
        }
        let place = self.next_block - BLOCK + self.left.trailing_zeros() as usize;
        self.left &= self.left - 1;
        Some(place)
    }
}

/// The marks of the block that `rest` begins with. The last block may be shorter.
#[inline]
fn marks_at<const N: usize>(rest: &[u8], wanted: [u8; N]) -> u64 {
    match rest.first_chunk() {
        Some(block) => marks(block, wanted),
        None => marks_of_rest(rest, wanted),
    }
}

#[inline(never)]
fn marks_of_rest<const N: usize>(rest: &[u8], wanted: [u8; N]) -> u64 {
    let mut block = [0; BLOCK];
    block[..rest.len()].copy_from_slice(rest);
    marks(&block, wanted) & ((1 << rest.len()) - 1)
}

/// One bit for each byte; that of the first byte is the lowest.
#[inline(always)]
fn marks<const N: usize>(block: &[u8; BLOCK], wanted: [u8; N]) -> u64 {
    let (chunks, _) = block.as_chunks::<WIDTH>();
    chunks.iter().rev().fold(0, |marks, chunk| {
        let bytes = u8x16::new(*chunk);
        let found = wanted.iter().fold(u8x16::splat(0), |found, byte| found | bytes.simd_eq(u8x16::splat(*byte)));
        marks << WIDTH | u64::from(found.to_bitmask())
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
                assert_eq!(Marks::of([b':'], &bytes).collect::<Vec<_>>(), expected);
                assert_eq!(Marks::of([b'y', b':'], &bytes).collect::<Vec<_>>(), expected);
            }
        }
        assert_eq!(Marks::of([0], b"a\0").collect::<Vec<_>>(), [1]);
    }
}

//! The digest of content as it is read, taken at any record's end.

use crate::records::block::Block;

/// BLAKE3 of the content from its beginning, as far as `position`. It is fed in long stretches, since it is several times
/// as fast on those as on single records.
#[derive(Clone, Debug, Default)]
pub(crate) struct ContentDigest {
    hasher: blake3::Hasher,
    position: u64,
}

impl ContentDigest {
    /// Feeds the bytes that follow the position.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.position += bytes.len() as u64;
    }

    /// Feeds the block's bytes between the position and `offset`, both counted in the content. The position must lie in
    /// the block; what is fed already is not fed again.
    pub(crate) fn feed_to(&mut self, offset: u64, block: &Block<'_>) {
        let inside = |offset: u64| {
            let inside = offset.saturating_sub(block.offset);
            usize::try_from(inside).unwrap_or(usize::MAX).min(block.bytes.len())
        };
        let (from, to) = (inside(self.position), inside(offset));
        if from < to {
            self.feed(&block.bytes[from..to]);
        }
    }

    /// Content bytes fed so far.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn value(&self) -> [u8; 32] {
        self.hasher.finalize().into()
    }
}

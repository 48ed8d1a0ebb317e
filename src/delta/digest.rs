//! The digest of content while it is read. Its value can be taken at the end of any record.

use crate::records::block::Block;

/// BLAKE3 of the content from its beginning up to `position`. It is fed long stretches, on which it is several times as
/// fast as on single records.
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

    /// Feeds the block's bytes from the position up to `offset`, both counted in the content. The position must lie in
    /// the block. If `offset` is not past the position, nothing is fed.
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

//! The bytes of a batch as they are to be in the file, compared with what the file has already.

use bytes::Bytes;

use crate::batch::Batch;
use crate::sink::DeliveryError;
use crate::sink::blocking::blocking;
use crate::sink::http::body::Compression;

/// The bytes that a batch has in the file.
pub(super) struct Written {
    chunks: Vec<Bytes>,
    pub(super) len: u64,
}

impl Written {
    /// The lines of the batch, or if compressed, one member with all of them.
    pub(super) async fn of(batch: &Batch, compression: Compression) -> Result<Self, DeliveryError> {
        let mut chunks: Vec<Bytes> = batch.chunks().cloned().collect();
        if compression != Compression::None {
            let member = blocking("cannot compress", move || compression.compressed_chunks(&chunks)).await?;
            chunks = vec![member.into()];
        }
        let len = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        Ok(Self { chunks, len })
    }

    pub(super) fn begins_with(&self, mut bytes: &[u8]) -> bool {
        for chunk in &self.chunks {
            let (some, rest) = bytes.split_at(bytes.len().min(chunk.len()));
            if !chunk.starts_with(some) {
                return false;
            }
            bytes = rest;
        }
        bytes.is_empty()
    }

    /// All bytes but the first `skipped`.
    pub(super) fn from(self, mut skipped: usize) -> Vec<Bytes> {
        let rest = |mut chunk: Bytes| {
            let skips = skipped.min(chunk.len());
            skipped -= skips;
            chunk.split_off(skips)
        };
        self.chunks.into_iter().map(rest).filter(|chunk| !chunk.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::tests::batch;

    #[tokio::test]
    async fn what_is_there_of_a_batch_is_told_across_its_pieces() {
        let batch = batch(&[&["one", "two"], &["three"]]);
        let whole = b"one\ntwo\nthree\n";
        for begun in 0..=whole.len() {
            let written = Written::of(&batch, Compression::None).await.unwrap();
            assert_eq!(written.len, whole.len() as u64);
            assert!(written.begins_with(&whole[..begun]));
            assert_eq!(written.from(begun).concat(), whole[begun..]);
        }
        let written = Written::of(&batch, Compression::None).await.unwrap();
        for other in [&b"x"[..], b"one\ntwo\nthrex", b"one\ntwo\nthree\n\n"] {
            assert!(!written.begins_with(other));
        }
    }
}

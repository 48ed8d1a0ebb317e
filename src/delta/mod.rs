//! Says which records of an object's current content are new.

use sha2::{Digest as _, Sha256};

/// The first 128 bits of a record's SHA-256: what the checkpoint store remembers of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Fingerprint(pub [u8; 16]);

/// A record's whole SHA-256, computed once: its fingerprint, and what its events' identity is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordHash(pub [u8; 32]);

impl RecordHash {
    pub fn of(record: &[u8]) -> Self {
        Self(Sha256::digest(record).into())
    }

    pub fn fingerprint(&self) -> Fingerprint {
        let mut first = [0; 16];
        first.copy_from_slice(&self.0[..16]);
        Fingerprint(first)
    }
}

/// How a family's objects change after they were first written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Growth {
    /// Written once and never again: a count and a digest are all that is kept.
    Once,
    /// Written again with more records at any time: fingerprints are kept as long as that may happen.
    Overwritten,
}

/// What is known of an object's content: how much of it was accepted, and what the last reading saw.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Records accepted over the object's whole life. Never shrinks.
    pub accepted: u64,
    /// Records in the content as far as the last reading accepted it.
    pub content_records: u64,
    /// Bytes (inflated) of that content, to the end of its last record.
    pub content_bytes: u64,
    /// BLAKE3 of those bytes.
    pub digest: [u8; 32],
    /// Whether the records were accepted in the order in which the content holds them, without others between: record
    /// `n` of the content is then number `n` of the accepted sequence.
    pub in_order: bool,
}

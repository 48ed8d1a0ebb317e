//! Says which records of an object's current content are new.

pub(crate) mod table;

pub(crate) mod digest;

pub(crate) mod prefix;

pub(crate) mod tally;

pub(crate) mod multiset;

pub(crate) mod comparison;

mod places;

mod ranges;

use std::hash::{Hash, Hasher};

use sha2::{Digest as _, Sha256};

pub use places::Places;
pub(crate) use places::STRETCH_PLACES;
pub(crate) use ranges::Ranges;

/// The first 128 bits of a record's SHA-256: what the checkpoint store remembers of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Fingerprint(pub [u8; 16]);

impl Hash for Fingerprint {
    /// Writes the 16 bytes in one call, without the length that a derived implementation would add.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

/// A record's whole SHA-256, computed once. Its fingerprint and the ids of its events are derived from it.
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
    /// Written once and never again. Only a count and a digest of its records are kept.
    Once,
    /// Rewritten with more records at any time. Fingerprints of its records are kept as long as that may happen.
    Overwritten,
}

/// How much of an object was accepted, and how much of its content the last reading accepted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Records accepted over the object's whole life. Never shrinks.
    pub accepted: u64,
    /// Records in the part of the content that the last reading accepted.
    pub content_records: u64,
    /// Inflated bytes of that part, up to the end of its last record.
    pub content_bytes: u64,
    /// BLAKE3 of those bytes.
    pub digest: [u8; 32],
    /// Whether record `n` of that part is number `n` of the accepted sequence, for each of its records.
    pub in_order: bool,
}

impl Progress {
    /// Whether the part of the content that the last reading accepted holds all records ever accepted. If so, and other
    /// content begins with the same bytes (by digest), exactly the records that follow them are new.
    pub fn covers_accepted(&self) -> bool {
        self.accepted > 0 && self.accepted == self.content_records
    }
}

/// A record's place in its object's accepted sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// The record was accepted before as number `index`, after `occurrence` records equal to it.
    Known { index: u64, occurrence: u64 },
    /// The record is new and is to be accepted as number `index`, after `occurrence` records equal to it. In objects
    /// written once, records are identified by position alone, and `occurrence` is the record's ordinal in the content.
    New { index: u64, occurrence: u64 },
}

/// What a reading found in an object's content. Reported to operators in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Summary {
    /// Records that were accepted before.
    pub known: u64,
    pub new: u64,
    /// Records accepted before that the content no longer holds. Meaningful only if the reading reached the content's
    /// end.
    pub vanished: u64,
    /// As [`Progress::in_order`], for the records that this reading placed.
    pub in_order: bool,
    /// The content does not begin with the bytes that the last reading accepted. Meaningful only if this reading
    /// reached the content's end.
    pub is_rewritten: bool,
}

/// Why records could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum DeltaError {
    #[error(transparent)]
    Table(#[from] table::TableError),
    /// The checkpoint store has fewer fingerprints than accepted records.
    #[error("fingerprints of {held} records are kept where {accepted} were accepted")]
    Incomplete { held: u64, accepted: u64 },
}

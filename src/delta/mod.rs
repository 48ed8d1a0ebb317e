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
    /// The 16 bytes alone, in one piece, without the length that an array would add.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

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

impl Progress {
    /// Whether the content accepted last holds all records ever accepted. Only then does its digest say, of content that
    /// begins with it, that what follows is all that is new.
    pub fn covers_accepted(&self) -> bool {
        self.accepted > 0 && self.accepted == self.content_records
    }
}

/// Where a record stands in its object's accepted sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// It is accepted already, as number `index`.
    Known { index: u64, occurrence: u64 },
    /// It is to be accepted as number `index`, after `occurrence` records equal to it. For objects written once, where
    /// records are told apart by their place alone, `occurrence` is its ordinal.
    New { index: u64, occurrence: u64 },
}

/// What a reading found, for those who watch the logs themselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Summary {
    /// Records that were accepted before.
    pub known: u64,
    pub new: u64,
    /// Records accepted before that the content does not hold any more. Told of readings that came to the content's end.
    pub vanished: u64,
    /// As [`Progress::in_order`]: whether the content is what was accepted, up to where it ends, and more after it.
    pub in_order: bool,
    /// The content does not begin with what was accepted of it. Told of readings that came to the content's end.
    pub is_rewritten: bool,
}

/// Why records could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum DeltaError {
    #[error(transparent)]
    Table(#[from] table::TableError),
    /// The checkpoint store contradicts itself.
    #[error("fingerprints of {held} records are kept where {accepted} were accepted")]
    Incomplete { held: u64, accepted: u64 },
}

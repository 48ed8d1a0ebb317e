//! Groups encoded events for one sink, and carries what delivering them settles.

mod builder;

use std::sync::Arc;

use bytes::Bytes;

use crate::delta::{Fingerprint, Progress, Ranges, RecordHash};
use crate::event::EventId;
use crate::notification::ObjectId;
use crate::object::Version;

pub use builder::{Builder, Limits};

/// One sink's step in one object's accepted sequence.
///
/// It is applied by comparison: a checkpoint that stands elsewhere refuses it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advance {
    pub object: ObjectId,
    /// The first place that it is about.
    pub before: u64,
    /// The place behind the last one.
    pub after: u64,
    pub form: Form,
}

/// What an advance does to the sink's position.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Form {
    /// The sink goes from place `before` to place `after`. The places of `gap` lie between: their records are gone from the
    /// source, and the sink has not had them.
    Onward { gap: Ranges },
    /// The sink stands where it stood, and these places leave its gap: their records have come back.
    Fill { places: Ranges },
}

impl Form {
    /// The places that the gap gains or loses.
    pub fn ranges(&self) -> &Ranges {
        match self {
            Self::Onward { gap } => gap,
            Self::Fill { places } => places,
        }
    }
}

impl Advance {
    /// From `before` to `after`, without a gap.
    pub fn onward(object: ObjectId, before: u64, after: u64) -> Self {
        Self { object, before, after, form: Form::Onward { gap: Ranges::default() } }
    }

    /// The places of a gap that have come back.
    pub fn fill(object: ObjectId, places: Ranges) -> Self {
        let span = places.span();
        Self { object, before: span.start, after: span.end, form: Form::Fill { places } }
    }

    /// Whether its part holds the record at a place.
    pub fn holds(&self, place: u64) -> bool {
        match &self.form {
            Form::Onward { gap } => (self.before..self.after).contains(&place) && !gap.contains(place),
            Form::Fill { places } => places.contains(place),
        }
    }
}

/// Records that reading an object found to be new, to be remembered before they are sent.
///
/// All sinks of a feed share one acceptance; whichever seals first has it written.
#[derive(Debug)]
pub struct Acceptance {
    pub feed: Arc<str>,
    /// Accepted records before and after.
    pub before: u64,
    pub after: u64,
    /// The new records' fingerprints in order; empty for families whose objects are written once.
    pub fingerprints: Vec<Fingerprint>,
    /// What is known of the object's content once these records are accepted.
    pub progress: Progress,
    /// Those of the new records that no sink will get, since they cannot be decoded.
    pub refused: Vec<Refused>,
}

/// A record that cannot be decoded: where it stands, why, and itself.
#[derive(Clone, Debug)]
pub struct Refused {
    pub ordinal: u64,
    /// Its number in the object's accepted sequence, and what its events' identity would be made of.
    pub place: u64,
    pub occurrence: u64,
    pub hash: RecordHash,
    /// Offset of its first byte in the (inflated) content.
    pub offset: u64,
    pub reason: String,
    /// The record, zstd-compressed; absent when it is longer than a line may be, or more were refused than are kept.
    pub body_zstd: Option<Vec<u8>>,
}

/// Encoded events of one stretch of one object, for one sink.
#[derive(Clone, Debug)]
pub struct Part {
    pub advance: Advance,
    /// The version that was read; its encoded events can be made again from it.
    pub version: Arc<Version>,
    /// What must be remembered before this part may be sent; nothing when its records are accepted already.
    pub acceptance: Option<Arc<Acceptance>>,
    /// The number in quarantine of the one record whose events these are, which was refused when it was accepted. Such a
    /// part stands still: it begins where it ends.
    pub redelivers: Option<u64>,
    /// Events, each ended by a newline.
    pub bytes: Bytes,
    /// Where each event ends in `bytes`.
    pub ends: Arc<[u32]>,
    pub ids: Arc<[EventId]>,
}

impl Part {
    /// What the manifest keeps to tell later whether the same bytes came out again.
    pub fn hash(&self) -> [u8; 32] {
        blake3::hash(&self.bytes).into()
    }
}

/// What is sent to a sink at once.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Deterministic: a repeat carries the same id.
    pub id: String,
    /// Position in the sink's sequence of batches, from 1.
    pub seq: u64,
    pub bytes: Bytes,
    pub ends: Arc<[u32]>,
    pub ids: Arc<[EventId]>,
}

impl Batch {
    /// The parts' events, one after another.
    pub fn of(id: String, seq: u64, parts: &[Part]) -> Self {
        let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.bytes.len()).sum());
        let mut ends = Vec::with_capacity(parts.iter().map(|part| part.ends.len()).sum());
        let mut ids = Vec::with_capacity(ends.capacity());
        for part in parts {
            let base = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            ends.extend(part.ends.iter().map(|end| base.saturating_add(*end)));
            ids.extend_from_slice(&part.ids);
            bytes.extend_from_slice(&part.bytes);
        }
        Self { id, seq, bytes: bytes.into(), ends: ends.into(), ids: ids.into() }
    }

    pub fn events(&self) -> usize {
        self.ends.len()
    }

    /// The events one by one, each with its newline.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let mut from = 0;
        self.ends.iter().map(move |&end| {
            let line = &self.bytes[from..end as usize];
            from = end as usize;
            line
        })
    }
}

//! Groups encoded events for one sink, together with the advances that their delivery makes.

mod buffers;

mod builder;

mod manifest;

mod request;

mod tally;

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::delta::{Fingerprint, Progress, Ranges, RecordHash};
use crate::event::{Encoded, Head};
use crate::notification::ObjectId;
use crate::object::Version;

pub(crate) use buffers::BUFFER_BYTES;
pub use buffers::Buffers;
pub(crate) use builder::{Builder, Limits};
pub(crate) use manifest::{Manifest, PieceMark, SealedPart};
pub(crate) use request::RequestEvent;
pub use request::{Request, RequestLimits, Selection};
pub(crate) use tally::Tally;

/// One of a sink's streams of batches. All records of an object go through one lane. Each lane has its own sequence of
/// batches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lane {
    pub sink: Arc<str>,
    pub number: u16,
}

impl Lane {
    /// The lane of an object's records: the first 64 bits of the SHA-256 of the object's name, modulo `lanes`.
    pub fn number(object: &ObjectId, lanes: u16) -> u16 {
        if lanes < 2 {
            return 0;
        }
        let mut hasher = Sha256::new();
        hasher.update(object.bucket.as_bytes());
        hasher.update([0]);
        hasher.update(object.key.as_bytes());
        let hash = hasher.finalize();
        let first = hash.first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
        u16::try_from(first % u64::from(lanes)).unwrap_or(0)
    }

    /// The one lane of a serial sink.
    pub fn only(sink: Arc<str>) -> Self {
        Self { sink, number: 0 }
    }
}

/// One sink's step in one object's accepted sequence.
///
/// It is applied by comparison: the store rejects it unless the sink's position is at the step's beginning.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advance {
    pub object: ObjectId,
    /// The first place of the step.
    pub before: u64,
    /// The place after the last one of the step.
    pub after: u64,
    pub form: Form,
}

/// What an advance does to the sink's position.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Form {
    /// The sink moves from place `before` to place `after`. The places of `gap` lie between: their records are gone
    /// from the object, and the sink has not had them.
    Onward { gap: Ranges },
    /// The sink's cursor does not move. These places leave its gap: their records are in the object again.
    Fill { places: Ranges },
}

impl Form {
    /// Whether the step fills places of the gap.
    pub fn fills(&self) -> bool {
        matches!(self, Self::Fill { .. })
    }

    /// The places that enter or leave the gap.
    pub fn ranges(&self) -> &Ranges {
        match self {
            Self::Onward { gap } => gap,
            Self::Fill { places } => places,
        }
    }
}

impl Advance {
    /// A step from `before` to `after` that opens no gap.
    pub fn onward(object: ObjectId, before: u64, after: u64) -> Self {
        Self { object, before, after, form: Form::Onward { gap: Ranges::default() } }
    }

    /// A step that fills these places of the gap.
    pub fn fill(object: ObjectId, places: Ranges) -> Self {
        let span = places.span();
        Self { object, before: span.start, after: span.end, form: Form::Fill { places } }
    }

    /// Whether the step's part holds the record at this place.
    pub fn holds(&self, place: u64) -> bool {
        match &self.form {
            Form::Onward { gap } => (self.before..self.after).contains(&place) && !gap.contains(place),
            Form::Fill { places } => places.contains(place),
        }
    }
}

/// New records of an object, to be stored before they are sent.
///
/// All sinks of a feed share one acceptance. The sink that seals first stores it.
#[derive(Debug)]
pub struct Acceptance {
    pub feed: Arc<str>,
    /// How many records of the object were accepted before these, and how many are with these.
    pub before: u64,
    pub after: u64,
    /// The fingerprints of the new records, in order. Empty for families whose objects are written once.
    pub fingerprints: Vec<Fingerprint>,
    /// What is known of the object's content with these records accepted.
    pub progress: Progress,
    /// The new records that cannot be decoded, so that no sink gets them.
    pub refused: Vec<Refused>,
}

/// A record that cannot be decoded: its coordinates, the reason, and its bytes.
#[derive(Clone, Debug)]
pub struct Refused {
    pub ordinal: u64,
    /// The record's place, and the other parts of its events' identity.
    pub place: u64,
    pub occurrence: u64,
    pub hash: RecordHash,
    /// As in [`Record`](crate::records::Record).
    pub may_be_within: bool,
    /// The offset of the record's first byte in the (inflated) content.
    pub offset: u64,
    pub reason: String,
    /// The record, zstd-compressed. `None` if it is longer than a line may be, or if too many records were refused to
    /// keep them all.
    pub body_zstd: Option<Vec<u8>>,
}

/// Events as one encoder wrote them, shared by all sinks with that encoder. The bytes are hashed once, here.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The events, each with a newline at its end.
    pub bytes: Bytes,
    /// Where each event ends in `bytes`.
    pub ends: Arc<[u32]>,
    pub heads: Arc<[Head]>,
    /// How many records were decoded for the piece, including those without an event in it.
    pub records: u64,
    /// How many other events the encoder's filter left out.
    pub filtered: u64,
    /// BLAKE3 of `bytes`.
    pub hash: blake3::Hash,
}

impl From<Encoded> for Piece {
    fn from(encoded: Encoded) -> Self {
        Self::new(encoded, Bytes::from)
    }
}

impl Piece {
    /// Makes a piece of encoded events. `keep` turns their buffer into the piece's bytes.
    pub fn new(encoded: Encoded, keep: impl FnOnce(Vec<u8>) -> Bytes) -> Self {
        let hash = blake3::hash(&encoded.bytes);
        let Encoded { bytes, ends, heads, records, filtered, .. } = encoded;
        let filtered = filtered.events;
        Self { bytes: keep(bytes), ends: ends.into(), heads: heads.into(), records, filtered, hash }
    }

    /// The events one by one, each with its newline.
    pub fn events(&self) -> impl Iterator<Item = (&Head, &[u8])> {
        self.heads.iter().zip(lines(&self.bytes, &self.ends))
    }
}

/// Where the records of a part come from. Kept once for all of its events.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Provenance {
    pub feed: Arc<str>,
    /// The family's name, as in the configuration.
    pub family: &'static str,
    pub object: ObjectId,
    /// The version that was read. The events can be encoded again from it.
    pub version: Version,
}

/// One piece with events of one stretch of one object, for one sink.
#[derive(Clone, Debug)]
pub struct Part {
    pub advance: Advance,
    pub provenance: Arc<Provenance>,
    /// What must be stored before this part may be sent. `None` if its records are accepted already.
    pub acceptance: Option<Arc<Acceptance>>,
    /// Accepted records that cannot be decoded any more. The seal quarantines them, and they lie in the gap of every
    /// sink that has not had them.
    pub refused: Arc<[Refused]>,
    pub piece: Piece,
}

/// What is sealed and committed at once: the events of its pieces, one after another. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The id in the batch's manifest. A repeat has the same id.
    pub id: Box<str>,
    pub seq: u64,
    pub parts: Arc<[BatchPart]>,
}

/// The events of one part in a batch.
#[derive(Clone, Debug)]
pub struct BatchPart {
    pub provenance: Arc<Provenance>,
    pub piece: Piece,
}

impl Batch {
    pub fn new(manifest: &Manifest, parts: impl IntoIterator<Item = BatchPart>) -> Self {
        let Manifest { id, seq, .. } = manifest;
        Self { id: id.clone(), seq: *seq, parts: parts.into_iter().collect() }
    }

    /// A batch without events, for uses that need no bytes.
    pub fn nothing() -> Self {
        Self { id: Box::default(), seq: 0, parts: Arc::new([]) }
    }

    pub fn events(&self) -> usize {
        self.pieces().map(|piece| piece.ends.len()).sum()
    }

    /// The size of all events together.
    pub fn bytes(&self) -> u64 {
        self.pieces().map(|piece| piece.bytes.len() as u64).sum()
    }

    /// The bytes of the events, piece by piece.
    pub fn chunks(&self) -> impl Iterator<Item = &Bytes> {
        self.pieces().map(|piece| &piece.bytes)
    }

    /// The events one by one, each with its newline.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces().flat_map(|piece| lines(&piece.bytes, &piece.ends))
    }

    pub fn heads(&self) -> impl Iterator<Item = &Head> {
        self.pieces().flat_map(|piece| &*piece.heads)
    }

    fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.parts.iter().map(|part| &part.piece)
    }
}

fn lines<'a>(bytes: &'a [u8], ends: &'a [u32]) -> impl Iterator<Item = &'a [u8]> {
    let mut from = 0;
    ends.iter().map(move |&end| {
        let line = &bytes[from..end as usize];
        from = end as usize;
        line
    })
}

#[cfg(test)]
pub(crate) mod tests {
    pub(crate) use super::request::tests::batch;
}

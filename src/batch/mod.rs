//! Groups encoded events for one sink, with the advances that delivering them makes.

mod buffers;

mod builder;

mod manifest;

mod request;

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

/// One of a sink's streams of batches. An object's records go by one lane, and each lane has a sequence of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lane {
    pub sink: Arc<str>,
    pub number: u16,
}

impl Lane {
    /// Which of `lanes` an object's records go by: the first 64 bits of the SHA-256 of its name, modulo that number.
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

    /// The one lane of a sink that writes one thing at a time.
    pub fn only(sink: Arc<str>) -> Self {
        Self { sink, number: 0 }
    }
}

/// One sink's step in one object's accepted sequence.
///
/// It is applied by comparison: a store that stands elsewhere rejects it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advance {
    pub object: ObjectId,
    /// The first of its places.
    pub before: u64,
    /// The place behind the last of them.
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
    /// Whether the gap loses them.
    pub fn fills(&self) -> bool {
        matches!(self, Self::Fill { .. })
    }

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

    /// Whether its part has the record at a place.
    pub fn holds(&self, place: u64) -> bool {
        match &self.form {
            Form::Onward { gap } => (self.before..self.after).contains(&place) && !gap.contains(place),
            Form::Fill { places } => places.contains(place),
        }
    }
}

/// New records of an object, to be stored before they are sent.
///
/// All sinks of a feed share one acceptance; the one that seals first writes it.
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
    /// Its place, and what its events' identity would be made of.
    pub place: u64,
    pub occurrence: u64,
    pub hash: RecordHash,
    /// As in [`Record`](crate::records::Record).
    pub may_be_within: bool,
    /// Offset of its first byte in the (inflated) content.
    pub offset: u64,
    pub reason: String,
    /// The record, zstd-compressed; absent when it is longer than a line may be, or more were refused than are kept.
    pub body_zstd: Option<Vec<u8>>,
}

/// Events as one encoder wrote them, shared by the sinks that take it. Their bytes are hashed once, here.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Events, each ended by a newline.
    pub bytes: Bytes,
    /// Where each event ends in `bytes`.
    pub ends: Arc<[u32]>,
    pub heads: Arc<[Head]>,
    /// How many events the encoder's filter left out beside them.
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
    /// What was encoded; `keep` makes its bytes those of the piece.
    pub fn new(encoded: Encoded, keep: impl FnOnce(Vec<u8>) -> Bytes) -> Self {
        let hash = blake3::hash(&encoded.bytes);
        let Encoded { bytes, ends, heads, filtered, .. } = encoded;
        Self { bytes: keep(bytes), ends: ends.into(), heads: heads.into(), filtered: filtered.events, hash }
    }

    /// The events one by one, each with its newline.
    pub fn events(&self) -> impl Iterator<Item = (&Head, &[u8])> {
        self.heads.iter().zip(lines(&self.bytes, &self.ends))
    }
}

/// Where the records of a part come from. Said once for all of its events.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Provenance {
    pub feed: Arc<str>,
    /// The kind of log, as the configuration names it.
    pub family: &'static str,
    pub object: ObjectId,
    /// The version that was read; the encoded events can be made again from it.
    pub version: Version,
}

/// One piece of one stretch of one object, for one sink.
#[derive(Clone, Debug)]
pub struct Part {
    pub advance: Advance,
    pub provenance: Arc<Provenance>,
    /// What must be stored before this part may be sent; nothing when its records are accepted already.
    pub acceptance: Option<Arc<Acceptance>>,
    /// Records that were accepted before and that cannot be decoded now: they are quarantined with the seal, and lie in the
    /// gap of who has not had them.
    pub refused: Arc<[Refused]>,
    pub piece: Piece,
}

/// What is sealed and committed at once: the pieces' events, one after another. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Batch {
    /// As in its manifest: a repeat has the same.
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

    /// A batch without events, where its bytes are not needed.
    pub fn nothing() -> Self {
        Self { id: Box::default(), seq: 0, parts: Arc::new([]) }
    }

    pub fn events(&self) -> usize {
        self.pieces().map(|piece| piece.ends.len()).sum()
    }

    /// How many bytes the events take together.
    pub fn bytes(&self) -> u64 {
        self.pieces().map(|piece| piece.bytes.len() as u64).sum()
    }

    /// The bytes of its events, piece by piece.
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

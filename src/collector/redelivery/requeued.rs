//! Requeued records: their bytes, kept in quarantine or found in their object, decoded once more for the sinks.

use std::io::Read as _;
use std::sync::Arc;

use crate::batch::{Advance, Part, Piece};
use crate::checkpoint::{CheckpointStore, RefusedRecord, StoreError};
use crate::collector::feeds::Feed;
use crate::delta::RecordHash;
use crate::event::{Encoded, Encoder};
use crate::family::{Refusal, encode_record};
use crate::notification::ObjectId;
use crate::object::Version;
use crate::reading::{Contexts as _, FoundRecord, too_long};
use crate::records::Record;
use crate::users::LookedUp;

/// A body is refused when it inflates to more: no line may be configured to be longer.
const BODY_BYTES_MAX: usize = 1 << 30;

/// The record cannot be found any more.
pub(in crate::collector) fn not_found() -> Refusal {
    Refusal::new("its object does not hold the record any more, and its bytes were not kept")
}

/// A record's bytes as they are kept in quarantine.
pub(in crate::collector) fn body(
    store: &CheckpointStore,
    record: &RefusedRecord,
) -> Result<Result<Vec<u8>, Refusal>, StoreError> {
    let Some(body) = store.quarantined_body(record.id)? else {
        return Ok(Err(Refusal::new("it has left the quarantine")));
    };
    let bytes = inflated(&body, BODY_BYTES_MAX).ok().filter(|bytes| RecordHash::of(bytes) == record.hash);
    Ok(bytes.ok_or_else(|| Refusal::new("its bytes in quarantine are damaged")))
}

/// Decompresses a body.
///
/// # Errors
/// It is damaged, or longer than `most` bytes.
pub(in crate::collector) fn inflated(body_zstd: &[u8], most: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    zstd::Decoder::new(body_zstd)?.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most { Err(std::io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

/// The bytes of a record that was found again.
pub(in crate::collector) fn bytes_of(found: &FoundRecord) -> Result<&[u8], Refusal> {
    found.bytes.as_deref().map_err(|length| too_long(*length))
}

/// A record's events.
pub(in crate::collector) struct Decoded {
    /// The version it was first read in.
    version: Arc<Version>,
    /// Its events, once for each encoder.
    pub(in crate::collector) pieces: Vec<Piece>,
    pub(super) looked_up: LookedUp,
}

/// Decodes the record once more. Its events have the identity that they would have had.
pub(in crate::collector) fn decode(
    feed: &Feed,
    object: &ObjectId,
    record: &RefusedRecord,
    bytes: &[u8],
    encoders: &[Encoder],
) -> Result<Decoded, Refusal> {
    let context = feed.context(object, record.last_modified_ms);
    let mut written: Vec<Encoded> =
        encoders.iter().map(|_| Encoded { place: record.place, ..Encoded::default() }).collect();
    let read = Record::new(record.ordinal, bytes);
    encode_record(&context, &read, &record.hash, record.occurrence, encoders, &mut written)?;
    let version = Version {
        etag: record.etag.clone(),
        version_id: None,
        last_modified_ms: record.last_modified_ms,
        size_bytes: 0,
    };
    let pieces = written.into_iter().map(Piece::from).collect();
    Ok(Decoded { version: Arc::new(version), pieces, looked_up: context.looked_up() })
}

impl Decoded {
    /// The part for a sink with this cursor, in the encoding of this number.
    pub(in crate::collector) fn part(
        &self,
        object: &ObjectId,
        cursor: u64,
        record: &RefusedRecord,
        encoder: usize,
    ) -> Part {
        Part {
            advance: Advance::onward(object.clone(), cursor, cursor),
            version: Arc::clone(&self.version),
            acceptance: None,
            redelivers: Some(record.id),
            piece: self.pieces[encoder].clone(),
        }
    }
}

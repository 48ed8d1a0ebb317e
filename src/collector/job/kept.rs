//! Retries from quarantine, whatever the object holds now: kept records are decoded again, kept events are sent as they
//! were encoded.

use std::io::Read as _;
use std::sync::Arc;

use crate::batch::{Advance, Part, Piece, Provenance};
use crate::checkpoint::{KeptEvent, KeptRecord};
use crate::collector::compute::Compute;
use crate::collector::feeds::Feed;
use crate::delta::{Ranges, RecordHash};
use crate::event::{Encoded, Encoder};
use crate::family::{Refusal, encode_record};
use crate::notification::ObjectId;
use crate::object::Version;
use crate::reading::Contexts as _;
use crate::records::Record;
use crate::users::LookedUp;

/// A body that inflates to more bytes is refused: no configuration allows a longer line.
const BODY_BYTES_MAX: usize = 1 << 30;

/// The reason for a record whose decoder panics.
const DECODER_FAILED: &str = "the decoder failed over it";

/// Inflates a kept body.
///
/// # Errors
/// The body is damaged, or longer than `most` bytes.
pub(in crate::collector) fn inflated(body_zstd: &[u8], most: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    zstd::Decoder::new(body_zstd)?.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most { Err(std::io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

/// A record decoded again.
pub(in crate::collector) struct Decoded {
    /// Its events, as one piece for each encoder.
    pub(in crate::collector) pieces: Vec<Piece>,
    pub(super) looked_up: LookedUp,
}

/// Decodes a kept record again. Its events get the ids that they would have had at first.
pub(in crate::collector) async fn decode(
    compute: Compute,
    feed: &Arc<Feed>,
    object: &ObjectId,
    record: &Arc<KeptRecord>,
    encoders: Vec<Encoder>,
) -> Result<Decoded, Refusal> {
    let (feed, object, record) = (Arc::clone(feed), object.clone(), Arc::clone(record));
    let decode = move || decoded(&feed, &object, &record, &encoders);
    compute.run(decode).await.unwrap_or_else(|| Err(Refusal::new(DECODER_FAILED)))
}

fn decoded(feed: &Feed, object: &ObjectId, record: &KeptRecord, encoders: &[Encoder]) -> Result<Decoded, Refusal> {
    let bytes = inflated(&record.body_zstd, BODY_BYTES_MAX).ok().filter(|bytes| RecordHash::of(bytes) == record.hash);
    let bytes = bytes.ok_or_else(|| Refusal::new("its bytes in quarantine are damaged"))?;
    let context = feed.context(object, record.last_modified_ms);
    let mut written: Vec<Encoded> =
        encoders.iter().map(|_| Encoded { place: record.place, ..Encoded::default() }).collect();
    let read = Record { may_be_within: record.may_be_within, ..Record::new(record.ordinal, &bytes) };
    encode_record(&context, &read, &record.hash, record.occurrence, encoders, &mut written)?;
    let pieces = written.into_iter().map(Piece::from).collect();
    Ok(Decoded { pieces, looked_up: context.looked_up() })
}

/// The kept events as they were encoded at first. `None` if there are no events, or a body is damaged.
pub(in crate::collector) fn piece(events: &[KeptEvent]) -> Option<Piece> {
    let mut encoded = Encoded { records: 1, ..Encoded::default() };
    for KeptEvent { head, body_zstd, .. } in events {
        encoded.bytes.extend_from_slice(&inflated(body_zstd, BODY_BYTES_MAX).ok()?);
        encoded.bytes.push(b'\n');
        encoded.ends.push(u32::try_from(encoded.bytes.len()).ok()?);
        encoded.heads.push(*head);
    }
    (!events.is_empty()).then(|| encoded.into())
}

/// The part that fills their record's place in the gap of the sink that refused these events.
pub(super) fn part_of_events(feed: &Feed, object: &ObjectId, events: &[KeptEvent]) -> Option<Part> {
    let (first, piece) = (events.first()?, piece(events)?);
    Some(part(feed, object, first.head.place, first.etag.clone(), first.last_modified_ms, piece))
}

/// The part that fills the record's place in a sink's gap.
pub(super) fn part_of_record(feed: &Feed, object: &ObjectId, record: &KeptRecord, piece: Piece) -> Part {
    part(feed, object, record.place, record.etag.clone(), record.last_modified_ms, piece)
}

fn part(
    feed: &Feed,
    object: &ObjectId,
    place: u64,
    etag: Box<str>,
    last_modified_ms: Option<i64>,
    piece: Piece,
) -> Part {
    let version = Version { etag, version_id: None, last_modified_ms, size_bytes: 0 };
    let provenance =
        Provenance { feed: Arc::clone(&feed.name), family: feed.family.name, object: object.clone(), version };
    Part {
        advance: Advance::fill(object.clone(), Ranges::from(place..place + 1)),
        provenance: Arc::new(provenance),
        acceptance: None,
        refused: Arc::new([]),
        piece,
    }
}

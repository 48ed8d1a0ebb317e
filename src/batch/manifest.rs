//! What is stored of a batch before it is sent: enough to rebuild the same bytes, and to find out whether a receiver
//! has them.

use crate::batch::{Advance, Form, Lane, Part, Piece, RequestLimits};

/// What a manifest keeps of a piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PieceMark {
    /// The piece holds the events of the records before this place, from the end of the previous piece on.
    pub to: u64,
    pub bytes: u64,
    /// BLAKE3 of the piece's bytes.
    pub hash: [u8; 32],
}

/// Consecutive records of one object's accepted sequence, read from one version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SealedPart {
    pub advance: Advance,
    pub etag: Box<str>,
    pub last_modified_ms: Option<i64>,
    /// Only pieces with events.
    pub pieces: Vec<PieceMark>,
}

/// What is stored of a sealed batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// `<instance>-<sink>-<lane>-<seq>-<hash>`, at most 64 characters. A repeat has the same id; no other batch has it.
    pub id: Box<str>,
    /// The position in the lane's sequence of batches, from 1.
    pub seq: u64,
    /// Which program, encoding and settings made the bytes. Only the same can rebuild them.
    pub encoder: Box<str>,
    /// How the batch is cut into requests.
    pub limits: RequestLimits,
    pub parts: Vec<SealedPart>,
}

impl Manifest {
    /// Makes the manifest of a batch from its parts.
    pub fn new(instance: &str, lane: &Lane, seq: u64, encoder: &str, limits: RequestLimits, parts: &[Part]) -> Self {
        let parts = rows(parts);
        let hash = u64::from_be_bytes(first_bytes(&hash(lane, seq, encoder, &parts)));
        let id = format!("{instance}-{}-{}-{seq}-{hash:016x}", shortened(&lane.sink), lane.number);
        Self { id: id.into(), seq, encoder: encoder.into(), limits, parts }
    }

    pub fn pieces(&self) -> impl Iterator<Item = &PieceMark> {
        self.parts.iter().flat_map(|part| &part.pieces)
    }

    pub fn bytes(&self) -> u64 {
        self.pieces().map(|piece| piece.bytes).sum()
    }
}

impl SealedPart {
    /// Whether these pieces have the sealed events, byte for byte. The pieces may be cut at other places than the
    /// sealed ones.
    pub fn is_made_of(&self, made: &[Piece]) -> bool {
        let mut events = made.iter().flat_map(Piece::events).peekable();
        let alike = self.pieces.iter().all(|mark| {
            let mut hasher = blake3::Hasher::new();
            while let Some((_, line)) = events.next_if(|(head, _)| head.place < mark.to) {
                hasher.update(line);
            }
            hasher.count() == mark.bytes && *hasher.finalize().as_bytes() == mark.hash
        });
        alike && events.peek().is_none()
    }
}

/// One row per part. Parts that continue each other share a row.
fn rows(parts: &[Part]) -> Vec<SealedPart> {
    let mut rows: Vec<SealedPart> = Vec::new();
    for Part { advance, provenance, piece, .. } in parts {
        let version = &provenance.version;
        let continues = |row: &SealedPart| {
            row.advance.object == advance.object
                && row.advance.after == advance.before
                && !row.advance.form.fills()
                && !advance.form.fills()
                && *row.etag == *version.etag
                && row.last_modified_ms == version.last_modified_ms
        };
        if !rows.last().is_some_and(continues) {
            rows.push(SealedPart {
                advance: advance.clone(),
                etag: version.etag.clone(),
                last_modified_ms: version.last_modified_ms,
                pieces: Vec::new(),
            });
        }
        if let Some(row) = rows.last_mut() {
            if let (Form::Onward { gap }, Form::Onward { gap: more }) = (&mut row.advance.form, &advance.form) {
                more.iter().for_each(|range| gap.push(range));
            }
            row.advance.after = advance.after;
            let mark = PieceMark { to: advance.after, bytes: piece.bytes.len() as u64, hash: *piece.hash.as_bytes() };
            row.pieces.extend((mark.bytes > 0).then_some(mark));
        }
    }
    rows
}

fn hash(lane: &Lane, seq: u64, encoder: &str, parts: &[SealedPart]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    let mut text = |text: &str| {
        hasher.update(&(text.len() as u64).to_be_bytes()).update(text.as_bytes());
    };
    text(&lane.sink);
    text(encoder);
    for part in parts {
        [&*part.advance.object.bucket, &*part.advance.object.key, &*part.etag].into_iter().for_each(&mut text);
    }
    let mut number = |number: u64| {
        hasher.update(&number.to_be_bytes());
    };
    number(lane.number.into());
    number(seq);
    for SealedPart { advance, last_modified_ms, pieces, .. } in parts {
        let modified = last_modified_ms.unwrap_or(i64::MIN).cast_unsigned();
        let ranges = advance.form.ranges();
        [advance.before, advance.after, advance.form.fills().into(), ranges.iter().count() as u64]
            .into_iter()
            .for_each(&mut number);
        ranges.iter().flat_map(|range| [range.start, range.end]).for_each(&mut number);
        [modified, pieces.len() as u64].into_iter().for_each(&mut number);
        for piece in pieces {
            number(piece.to);
            number(piece.bytes);
            piece.hash.as_chunks().0.iter().for_each(|part| number(u64::from_be_bytes(*part)));
        }
    }
    hasher.finalize()
}

/// The most characters of a sink's name in a batch id. This leaves room for an instance of 16 characters, a lane of 2
/// and a sequence number of 14 digits.
const SINK_CHARS_MAX: usize = 12;

/// The sink's name in a batch id. A longer name is cut and gets the first 32 bits of its hash.
fn shortened(sink: &str) -> String {
    if sink.len() <= SINK_CHARS_MAX {
        return sink.to_owned();
    }
    let beginning: String = sink.chars().take(SINK_CHARS_MAX - 9).collect();
    format!("{beginning}~{:08x}", u32::from_be_bytes(first_bytes(&blake3::hash(sink.as_bytes()))))
}

fn first_bytes<const N: usize>(hash: &blake3::Hash) -> [u8; N] {
    let mut first = [0; N];
    first.copy_from_slice(&hash.as_bytes()[..N]);
    first
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::batch::Provenance;
    use crate::event::{Class, Encoded, EventId, Head, Severity, Status};
    use crate::notification::ObjectId;
    use crate::object::Version;

    /// A piece with the events of the records at these places: the lines `event <place>`.
    fn piece(places: &[u64]) -> Piece {
        let mut encoded = Encoded::default();
        for &place in places {
            encoded.bytes.extend_from_slice(format!("event {place}\n").as_bytes());
            encoded.ends.push(u32::try_from(encoded.bytes.len()).unwrap());
            let uid = EventId([0; 16]);
            let (class, status) = (Class::ApiActivity, Status::Unknown);
            let severity = Severity::Informational;
            encoded.heads.push(Head { uid, time_ms: 0, place, index: 0, class, severity, status, choice: 0 });
        }
        encoded.into()
    }

    fn part(key: &str, before: u64, after: u64) -> Part {
        let version = Version { etag: "e1".into(), version_id: None, last_modified_ms: Some(1), size_bytes: 9 };
        let object = ObjectId::new("logs", key);
        let provenance = Provenance { feed: "dbx".into(), family: "databricks", object: object.clone(), version };
        Part {
            advance: Advance::onward(object, before, after),
            provenance: Arc::new(provenance),
            acceptance: None,
            refused: Arc::new([]),
            piece: piece(&(before..after).collect::<Vec<_>>()),
        }
    }

    fn manifest(sink: &str, seq: u64, parts: &[Part]) -> Manifest {
        Manifest::new("0123456789abcdef", &Lane::only(sink.into()), seq, "test", RequestLimits::WHOLE, parts)
    }

    #[test]
    fn parts_that_continue_each_other_are_one_row_with_a_piece_each() {
        let mut again = part("a", 7, 8);
        Arc::make_mut(&mut again.provenance).version.etag = "e2".into();
        let found = manifest("out", 1, &[part("a", 0, 2), part("a", 2, 5), part("b", 0, 1), part("a", 5, 7), again]);
        let rows: Vec<_> = found
            .parts
            .iter()
            .map(|row| (&*row.advance.object.key, row.advance.before, row.advance.after, row.pieces.len()))
            .collect();
        assert_eq!(rows, [("a", 0, 5, 2), ("b", 0, 1, 1), ("a", 5, 7, 1), ("a", 7, 8, 1)]);
        assert_eq!(found.bytes(), 9 * 8);
    }

    #[test]
    fn events_that_are_cut_otherwise_are_the_same_and_other_events_are_not() {
        let sealed = &manifest("out", 1, &[part("a", 0, 2), part("a", 2, 5)]).parts[0];
        for made in [vec![piece(&[0, 1, 2, 3, 4])], vec![piece(&[0]), piece(&[1, 2, 3]), piece(&[4])]] {
            assert!(sealed.is_made_of(&made));
        }
        for made in [vec![], vec![piece(&[0, 1, 2, 3])], vec![piece(&[0, 1, 2, 3, 4, 5])], vec![piece(&[0, 1, 3, 4])]] {
            assert!(!sealed.is_made_of(&made), "{} pieces", made.len());
        }
    }

    #[test]
    fn a_batch_has_an_id_of_its_own_that_is_short_enough_for_any_receiver() {
        let long = "splunk-of-the-security-team-in-europe";
        let ids = [
            manifest("out", 1, &[part("a", 0, 2)]),
            manifest("out", 2, &[part("a", 0, 2)]),
            manifest("out", 1, &[part("a", 0, 3)]),
            manifest("out", 1, &[part("b", 0, 2)]),
            manifest(long, 1, &[part("a", 0, 2)]),
            manifest(&long.replace("europe", "asia"), 1, &[part("a", 0, 2)]),
            manifest(long, 99_999_999_999_999, &[part("a", 0, 2)]),
        ]
        .map(|manifest| manifest.id);
        for (index, id) in ids.iter().enumerate() {
            assert!(id.len() <= 64, "{id}");
            assert!(!ids[..index].contains(id), "{id}");
        }
        assert!(ids[0].starts_with("0123456789abcdef-out-0-1-"), "{}", ids[0]);
        assert!(ids[4].starts_with("0123456789abcdef-spl~"), "{}", ids[4]);
        assert_eq!(ids[0], manifest("out", 1, &[part("a", 0, 2)]).id, "a repeat has the same");
    }
}

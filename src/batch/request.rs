//! Cuts a batch into requests that the receiver takes.

use std::ops::Range;

use crate::batch::{Batch, Piece, Provenance};
use crate::event::Head;

/// The limits of one request as the receiver counts them: uncompressed, with the envelope around each event. They are
/// sealed with a batch, so that a retry cuts it in the same way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestLimits {
    pub bytes: u64,
    pub events: u32,
    /// The most bytes that the kind's envelope adds to an event, without the line end or separator.
    pub envelope_bytes: u32,
    /// The most bytes of a request besides its events.
    pub fixed_bytes: u32,
}

impl RequestLimits {
    /// No limits: a batch is one request.
    pub const WHOLE: Self = Self { bytes: u64::MAX, events: u32::MAX, envelope_bytes: 0, fixed_bytes: 0 };

    /// Whether an encoded event, without its line end, fits into a request of its own.
    pub fn fits(&self, encoded: &[u8]) -> bool {
        u64::from(self.fixed_bytes) + self.bytes_of(encoded.len()) <= self.bytes
    }

    /// The size of an event in a request: with its envelope, and one byte for the line end or separator.
    fn bytes_of(&self, encoded_bytes: usize) -> u64 {
        encoded_bytes as u64 + 1 + u64::from(self.envelope_bytes)
    }

    /// Cuts some of a batch's events into selections that each fit into a request. An event that is too large for any
    /// request gets its own selection.
    pub fn cut(&self, batch: &Batch, events: &Selection) -> Vec<Selection> {
        let mut cut: Vec<Selection> = Vec::new();
        let mut bytes = u64::from(self.fixed_bytes);
        for (number, line) in events.of((0..).zip(batch.lines())) {
            let own = self.bytes_of(line.len().saturating_sub(1));
            match cut.last_mut() {
                Some(last) if bytes + own <= self.bytes && last.count() < self.events => {
                    last.push(number);
                    bytes += own;
                }
                _ => {
                    cut.push(Selection::from(number..number + 1));
                    bytes = u64::from(self.fixed_bytes) + own;
                }
            }
        }
        cut
    }
}

/// Some of a batch's events, by their numbers in the batch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    /// In ascending order, neither empty, adjacent nor overlapping.
    ranges: Vec<Range<u32>>,
}

impl From<Range<u32>> for Selection {
    fn from(range: Range<u32>) -> Self {
        Self { ranges: if range.is_empty() { Vec::new() } else { vec![range] } }
    }
}

/// The numbers must be in ascending order.
impl FromIterator<u32> for Selection {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        let mut selection = Self::default();
        numbers.into_iter().for_each(|number| selection.push(number));
        selection
    }
}

impl Selection {
    /// Adds an event with a number above all others.
    pub fn push(&mut self, number: u32) {
        match self.ranges.last_mut() {
            Some(last) if last.end == number => last.end += 1,
            _ => self.ranges.push(number..number + 1),
        }
    }

    /// Adds events with numbers above all others.
    pub fn append(&mut self, range: Range<u32>) {
        match self.ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.ranges.push(range),
        }
    }

    pub fn ranges(&self) -> &[Range<u32>] {
        &self.ranges
    }

    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        self.ranges.iter().flat_map(Clone::clone)
    }

    /// The number of selected events.
    pub fn count(&self) -> u32 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    pub fn first(&self) -> Option<u32> {
        self.ranges.first().map(|range| range.start)
    }

    pub fn last(&self) -> Option<u32> {
        self.ranges.last().map(|range| range.end - 1)
    }

    /// `<first>-<last>`. If events between these are missing, a hash of the ranges follows.
    fn name(&self) -> String {
        let (first, last) = (self.first().unwrap_or(0), self.last().unwrap_or(0));
        if self.ranges.len() <= 1 {
            return format!("{first}-{last}");
        }
        let mut hash = blake3::Hasher::new();
        for range in &self.ranges {
            hash.update(&range.start.to_le_bytes()).update(&range.end.to_le_bytes());
        }
        format!("{first}-{last}-{}", &hash.finalize().to_hex()[..16])
    }

    /// Splits the selection into its first and second half.
    pub fn halves(&self) -> [Self; 2] {
        let mut halves = [Self::default(), Self::default()];
        let middle = self.count().div_ceil(2);
        for (at, number) in (0..).zip(self.numbers()) {
            halves[usize::from(at >= middle)].push(number);
        }
        halves
    }

    /// Filters numbered items by the selection.
    fn of<'a, T>(&'a self, all: impl Iterator<Item = (u32, T)> + 'a) -> impl Iterator<Item = (u32, T)> + 'a {
        let mut ranges = self.ranges.iter();
        let mut range = ranges.next();
        all.take(self.last().map_or(0, |last| last as usize + 1)).filter(move |(number, _)| {
            while range.is_some_and(|range| range.end <= *number) {
                range = ranges.next();
            }
            range.is_some_and(|range| range.contains(number))
        })
    }
}

/// What is sent to a receiver at once: some of a batch's events, in their order.
#[derive(Clone, Debug)]
pub struct Request {
    /// `<batch>.<first>-<last>`. If events between these are missing, a hash of what is in the request follows. A
    /// repeat has the same id; no other request has it.
    pub id: Box<str>,
    pub batch: Batch,
    pub events: Selection,
}

/// One event of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestEvent<'a> {
    /// The event's number in the batch.
    pub number: u32,
    pub provenance: &'a Provenance,
    pub head: &'a Head,
    /// The bytes that the encoder wrote, without a line end.
    pub encoded: &'a [u8],
}

impl Request {
    pub fn of(batch: &Batch, events: Selection) -> Self {
        Self { id: format!("{}.{}", batch.id, events.name()).into(), batch: batch.clone(), events }
    }

    /// The events of the request, in their order.
    pub fn events(&self) -> impl Iterator<Item = RequestEvent<'_>> {
        let all = self.batch.parts.iter().flat_map(|part| {
            let events = Piece::events(&part.piece);
            events.map(|(head, line)| (&*part.provenance, head, line.strip_suffix(b"\n").unwrap_or(line)))
        });
        let own = self.events.of((0..).zip(all));
        own.map(|(number, (provenance, head, encoded))| RequestEvent { number, provenance, head, encoded })
    }

    /// The size of the encoded events, line ends included.
    pub fn bytes(&self) -> usize {
        self.events().map(|event| event.encoded.len() + 1).sum()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::batch::BatchPart;
    use crate::event::{Class, Encoded, EventId, Severity, Status};
    use crate::notification::ObjectId;
    use crate::object::Version;

    /// A batch with the id `b` and one part for each list of lines.
    pub(crate) fn batch(parts: &[&[&str]]) -> Batch {
        let part = |lines: &&[&str]| {
            let mut encoded = Encoded::default();
            for (line, place) in lines.iter().zip(0..) {
                encoded.bytes.extend_from_slice(format!("{line}\n").as_bytes());
                encoded.ends.push(encoded.bytes.len() as u32);
                let (uid, class, status) = (EventId([0; 16]), Class::ApiActivity, Status::Unknown);
                let severity = Severity::Informational;
                encoded.heads.push(Head { uid, time_ms: 0, place, index: 0, class, severity, status, choice: 0 });
            }
            let version = Version { etag: "e1".into(), version_id: None, last_modified_ms: Some(1), size_bytes: 9 };
            let object = ObjectId::new("logs", "a.json");
            let provenance = Provenance { feed: "dbx".into(), family: "databricks", object, version };
            BatchPart { provenance: Arc::new(provenance), piece: encoded.into() }
        };
        Batch { id: "b".into(), seq: 1, parts: parts.iter().map(part).collect() }
    }

    fn selection(numbers: &[u32]) -> Selection {
        numbers.iter().copied().collect()
    }

    #[test]
    fn requests_of_other_events_have_other_ids_though_their_ends_are_the_same() {
        let batch = batch(&[&["a", "b", "c", "d", "e"]]);
        let id = |numbers: &[u32]| Request::of(&batch, selection(numbers)).id;
        assert_eq!(&*id(&[0, 1, 2, 3, 4]), "b.0-4");
        let with_holes = [id(&[0, 4]), id(&[0, 1, 4]), id(&[0, 2, 4])];
        assert!(
            with_holes.iter().all(|id| id.starts_with("b.0-4-") && id.len() == "b.0-4-".len() + 16),
            "{with_holes:?}"
        );
        assert!(with_holes[0] != with_holes[1] && with_holes[1] != with_holes[2] && with_holes[0] != with_holes[2]);
        assert_eq!(id(&[0, 2, 4]), with_holes[2]);
    }

    #[test]
    fn a_batch_is_cut_by_bytes_and_by_events_with_the_envelope_counted() {
        let batch = batch(&[&["1234", "1234", "1234"], &["1234", "12345678", "1"]]);
        let cut = |limits: RequestLimits, events: &[u32]| -> Vec<Vec<u32>> {
            limits.cut(&batch, &selection(events)).iter().map(|selection| selection.numbers().collect()).collect()
        };
        let all = [0, 1, 2, 3, 4, 5];
        let limits = RequestLimits { bytes: 100, events: 100, envelope_bytes: 0, fixed_bytes: 0 };
        assert_eq!(cut(limits, &all), [vec![0, 1, 2, 3, 4, 5]]);
        assert_eq!(cut(RequestLimits { events: 4, ..limits }, &all), [vec![0, 1, 2, 3], vec![4, 5]]);
        assert_eq!(cut(RequestLimits { bytes: 15, ..limits }, &all), [vec![0, 1, 2], vec![3, 4], vec![5]]);
        let enveloped = RequestLimits { bytes: 15, envelope_bytes: 2, fixed_bytes: 1, ..limits };
        assert_eq!(cut(enveloped, &all), [vec![0, 1], vec![2, 3], vec![4], vec![5]]);
        assert_eq!(cut(enveloped, &[1, 3, 5]), [vec![1, 3], vec![5]], "only the events asked for");
    }

    #[test]
    fn an_event_that_fits_nowhere_is_alone() {
        let batch = batch(&[&["1", "12345678", "1"]]);
        let limits = RequestLimits { bytes: 6, events: 9, envelope_bytes: 0, fixed_bytes: 0 };
        let cut: Vec<u32> = limits.cut(&batch, &Selection::from(0..3)).iter().map(Selection::count).collect();
        assert_eq!(cut, [1, 1, 1]);
        assert!(limits.fits(b"12345") && !limits.fits(b"123456"));
    }

    #[test]
    fn a_selection_is_halved_by_number() {
        let [first, second] = selection(&[0, 1, 5, 8, 9]).halves();
        assert_eq!((first, second), (selection(&[0, 1, 5]), selection(&[8, 9])));
        let [first, second] = Selection::from(7..8).halves();
        assert_eq!((first.count(), second.count()), (1, 0));
    }

    #[test]
    fn a_request_has_its_events_and_an_id_of_its_own() {
        let batch = batch(&[&["a", "b"], &["c", "d"]]);
        let request = Request::of(&batch, selection(&[1, 3]));
        let events: Vec<_> = request.events().map(|event| (event.number, event.encoded, event.head.place)).collect();
        assert_eq!(events, [(1, &b"b"[..], 1), (3, b"d", 1)]);
        // BLAKE3 of the bounds of the ranges (1, 2, 3 and 4), each as four bytes in little-endian order.
        assert_eq!((&*request.id, request.bytes()), ("b.1-3-ca296c6a3240cd16", 4));
    }
}

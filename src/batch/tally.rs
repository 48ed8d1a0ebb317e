//! What the records of a part come to for its sink, as far as that is known before it is sent.

use crate::batch::{Advance, Form, Piece};

/// Records of a part, each counted once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tally {
    /// All of them.
    pub records: u64,
    /// They are in quarantine since they cannot be decoded.
    pub refused: u64,
    /// The sink's filter leaves out every event of theirs, or they have none.
    pub filtered: u64,
    /// The sink does not get them: they are gone from their source, or stay in quarantine. They are in its gap.
    pub missing: u64,
}

impl Tally {
    /// That of the records of an advance. `pieces` are all that hold events of it.
    pub(crate) fn of<'a>(advance: &Advance, pieces: impl IntoIterator<Item = &'a Piece>) -> Self {
        let (mut read, mut told, mut last) = (0, 0, None);
        for piece in pieces {
            read += piece.records;
            for head in &*piece.heads {
                told += u64::from(last.replace(head.place) != Some(head.place));
            }
        }
        let Self { records, missing, .. } = Self::untold(advance);
        debug_assert!(
            told <= read && missing + read <= records,
            "{told} of {read} read, {missing} missing: {advance:?}"
        );
        // Whatever is neither missing nor decoded is in quarantine.
        let refused = records.saturating_sub(missing).saturating_sub(read);
        Self { records, refused, filtered: read.saturating_sub(told), missing }
    }

    /// That of the records of an advance of whose events nothing is known.
    pub(crate) fn untold(advance: &Advance) -> Self {
        let (records, missing) = match &advance.form {
            Form::Onward { gap } => (advance.after - advance.before, gap.places()),
            Form::Fill { places } => (places.places(), 0),
        };
        Self { records, missing, ..Self::default() }
    }

    /// That of the records of an advance that the sink does not get.
    pub(crate) fn lost(advance: &Advance) -> Self {
        let Self { records, .. } = Self::untold(advance);
        Self { records, missing: records, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::Ranges;
    use crate::event::{Class, Encoded, EventId, Head, Severity, Status};
    use crate::notification::ObjectId;

    /// The events of these records, of `records` that were decoded.
    fn piece(places: &[u64], records: u64) -> Piece {
        let mut encoded = Encoded { records, ..Encoded::default() };
        for &place in places {
            encoded.bytes.push(b'\n');
            encoded.ends.push(u32::try_from(encoded.bytes.len()).unwrap());
            let (class, status, severity) = (Class::ApiActivity, Status::Unknown, Severity::Informational);
            let uid = EventId([0; 16]);
            encoded.heads.push(Head { uid, time_ms: 0, place, index: 0, class, severity, status, choice: 0 });
        }
        encoded.into()
    }

    fn onward(before: u64, after: u64, gap: &[u64]) -> Advance {
        let mut ranges = Ranges::default();
        gap.iter().for_each(|&place| ranges.push(place..place + 1));
        let object = ObjectId::new("b", "k");
        Advance { object, before, after, form: Form::Onward { gap: ranges } }
    }

    #[test]
    fn each_record_of_a_part_is_counted_once() {
        // Of ten records 2 and 3 are gone, 5 cannot be decoded, and 8 and 9 have no event for the sink.
        let pieces = [piece(&[0, 0, 1, 4, 4, 4], 3), piece(&[6, 7], 4)];
        let found = Tally::of(&onward(0, 10, &[2, 3]), &pieces);
        assert_eq!(found, Tally { records: 10, refused: 1, filtered: 2, missing: 2 });
    }

    #[test]
    fn records_that_come_back_are_as_many_as_their_places() {
        let places = Ranges::from(3..5);
        let found = Tally::of(&Advance::fill(ObjectId::new("b", "k"), places), [&piece(&[3, 4], 2)]);
        assert_eq!(found, Tally { records: 2, ..Tally::default() });
    }

    #[test]
    fn of_what_cannot_be_rebuilt_all_is_missing() {
        let found = Tally::lost(&onward(4, 9, &[5]));
        assert_eq!(found, Tally { records: 5, missing: 5, ..Tally::default() });
    }
}

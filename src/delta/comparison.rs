//! Finds the place of each record of a reading in its object's accepted sequence, and computes the resulting progress.

use crate::delta::digest::ContentDigest;
use crate::delta::multiset::{Accepted, Taken};
use crate::delta::prefix::Held;
use crate::delta::table::ScratchTable;
use crate::delta::tally::{FingerprintMemory, Tally};
use crate::delta::{DeltaError, Fingerprint, Growth, Place, Progress, Summary};
use crate::records::block::Block;

/// Compares one reading of an object's content with the records accepted before.
///
/// The caller first passes the accepted fingerprints that are required ([`Comparison::wants_accepted`],
/// [`Comparison::learn`]). Then, in the order of the content, it passes each record of a block ([`Comparison::place`])
/// and, after them, the block itself ([`Comparison::pass`]). A record that is not placed is not accepted: an unfinished
/// last line, and whatever follows it. Every record placed as new must be accepted, in order. [`Comparison::progress`]
/// gives the progress to commit with the records placed so far.
pub(crate) struct Comparison {
    /// The object's progress before this reading.
    before: Progress,
    /// The content read so far differs from what the last reading accepted.
    is_rewritten: bool,
    accepted: u64,
    /// How many records of the content were placed, or lie in a prefix found unchanged.
    content_records: u64,
    known: u64,
    in_order: bool,
    /// Content offset of the end of the last of these records.
    end_offset: u64,
    /// The progress whose digest was computed last.
    settled: Progress,
    digest: Box<ContentDigest>,
    way: Way,
    table: Box<dyn ScratchTable>,
    /// Accepted fingerprints passed so far, and required in all.
    learned: u64,
    wanted: u64,
}

/// A CR and an LF.
const LINE_END_BYTES_MAX: u64 = 2;

enum Way {
    /// Records are identified by their position in the content.
    ByPosition,
    /// The content begins with the accepted records, in order. All others are new; equal ones are counted.
    Appended(Tally),
    /// The accepted records may be anywhere in the content, or missing.
    Rewritten(Accepted),
}

impl Comparison {
    /// For a reading that continues behind an unchanged prefix. `before` is the progress that the prefix was checked
    /// against.
    pub(crate) fn after(
        held: Held,
        before: &Progress,
        growth: Growth,
        table: Box<dyn ScratchTable>,
        memory: impl Into<FingerprintMemory>,
    ) -> Self {
        let (way, wanted) = match growth {
            Growth::Once => (Way::ByPosition, 0),
            Growth::Overwritten => (Way::Appended(Tally::new(memory, 0)), before.accepted),
        };
        Self {
            content_records: before.content_records,
            known: before.content_records,
            in_order: before.in_order,
            end_offset: before.content_bytes,
            settled: before.clone(),
            digest: held.digest,
            ..Self::begin(before, way, wanted, table)
        }
    }

    /// For a reading from the content's beginning, if nothing was accepted before or the content has changed there.
    /// Objects written once have no fingerprints and are compared by position.
    pub(crate) fn whole(
        before: &Progress,
        growth: Growth,
        table: Box<dyn ScratchTable>,
        memory: impl Into<FingerprintMemory>,
    ) -> Self {
        let (way, wanted) = match growth {
            Growth::Once => (Way::ByPosition, 0),
            Growth::Overwritten if before.accepted == 0 => (Way::Appended(Tally::new(memory, 0)), 0),
            Growth::Overwritten => (Way::Rewritten(Accepted::new(before.accepted, memory.into())), before.accepted),
        };
        Self::begin(before, way, wanted, table)
    }

    /// For a second reading, from the content's beginning, of a version whose prefix was just found unchanged. It gives
    /// the known records to a sink that has not had them.
    pub(crate) fn again(
        before: &Progress,
        growth: Growth,
        table: Box<dyn ScratchTable>,
        memory: impl Into<FingerprintMemory>,
    ) -> Self {
        if growth == Growth::Once || !before.in_order || !before.covers_accepted() {
            return Self::whole(before, growth, table, memory);
        }
        Self::begin(before, Way::Appended(Tally::new(memory, before.accepted)), 0, table)
    }

    fn begin(before: &Progress, way: Way, wanted: u64, table: Box<dyn ScratchTable>) -> Self {
        let digest = Box::<ContentDigest>::default();
        Self {
            before: before.clone(),
            is_rewritten: false,
            accepted: before.accepted,
            content_records: 0,
            known: 0,
            in_order: true,
            end_offset: 0,
            settled: Progress {
                accepted: before.accepted,
                content_records: 0,
                content_bytes: 0,
                digest: digest.value(),
                in_order: true,
            },
            digest,
            way,
            table,
            learned: 0,
            wanted,
        }
    }

    /// The number of the first accepted record whose fingerprint is still to be passed before the next record is
    /// placed. `None` if no more are required.
    pub(crate) fn wants_accepted(&self) -> Option<u64> {
        (self.learned < self.wanted).then_some(self.learned)
    }

    /// Takes accepted fingerprints, from the number that [`Comparison::wants_accepted`] gives on. They may come in
    /// several calls; those past the required number are ignored.
    ///
    /// # Errors
    /// Those of the table; `Incomplete` if no fingerprints are passed while some are required.
    pub(crate) fn learn(&mut self, fingerprints: &[Fingerprint]) -> Result<(), DeltaError> {
        if fingerprints.is_empty() && self.learned < self.wanted {
            return Err(self.incomplete());
        }
        let left = usize::try_from(self.wanted - self.learned).unwrap_or(usize::MAX);
        if let (0, Way::Appended(tally)) = (self.learned, &mut self.way) {
            tally.reserve(self.wanted);
        }
        let table = self.table.as_mut();
        for fingerprint in fingerprints.iter().take(left) {
            match &mut self.way {
                Way::ByPosition => {}
                Way::Appended(tally) => {
                    tally.count(*fingerprint, table)?;
                }
                Way::Rewritten(accepted) => accepted.enter(*fingerprint, self.learned, table)?,
            }
            self.learned += 1;
        }
        if let (true, Way::Rewritten(accepted)) = (self.learned == self.wanted, &mut self.way) {
            accepted.complete();
        }
        Ok(())
    }

    fn incomplete(&self) -> DeltaError {
        DeltaError::Incomplete { held: self.learned, accepted: self.wanted }
    }

    /// Decides whether the content's next record is known or new. `end_offset` counts the content bytes up to and
    /// including its line end, as its [`Item`](crate::records::block::Item) does. The fingerprint is ignored in objects
    /// written once.
    ///
    /// # Errors
    /// Those of the table; `Incomplete` if accepted fingerprints are missing. The reading cannot continue after an
    /// error.
    pub(crate) fn place(&mut self, fingerprint: Fingerprint, end_offset: u64) -> Result<Place, DeltaError> {
        if self.learned < self.wanted {
            return Err(self.incomplete());
        }
        let ordinal = self.content_records;
        let (known, next) = (ordinal < self.before.accepted, self.accepted);
        let in_turn = |occurrence| match known {
            true => Place::Known { index: ordinal, occurrence },
            false => Place::New { index: next, occurrence },
        };
        let table = self.table.as_mut();
        let place = match &mut self.way {
            Way::ByPosition => in_turn(ordinal),
            Way::Appended(tally) => in_turn(tally.count(fingerprint, table)?),
            Way::Rewritten(accepted) => match accepted.take(fingerprint, table)? {
                Taken::Known { index, occurrence } => Place::Known { index, occurrence },
                Taken::New { occurrence } => Place::New { index: next, occurrence },
            },
        };
        let index = match place {
            Place::Known { index, .. } => {
                self.known += 1;
                index
            }
            Place::New { index, .. } => {
                self.accepted += 1;
                index
            }
        };
        self.in_order &= index == ordinal;
        self.content_records += 1;
        self.end_offset = end_offset;
        // The last known record ends elsewhere than before, and not only because a line end was added to it.
        let last_known_ends = self.before.content_bytes..=self.before.content_bytes + LINE_END_BYTES_MAX;
        self.is_rewritten |=
            self.content_records == self.before.content_records && !last_known_ends.contains(&end_offset);
        Ok(place)
    }

    /// The object's progress once the records placed so far are accepted. The last of them must lie in `block`, or in a
    /// block that was passed.
    pub(crate) fn progress(&mut self, block: &Block<'_>) -> Progress {
        if self.settled.content_records != self.content_records {
            self.digest_to(self.end_offset, block);
            self.settled = Progress {
                accepted: self.accepted,
                content_records: self.content_records,
                content_bytes: self.end_offset,
                digest: self.digest.value(),
                in_order: self.in_order,
            };
        }
        self.settled.clone()
    }

    /// Ends a block. To be called for every block, also for one without records.
    pub(crate) fn pass(&mut self, block: &Block<'_>) {
        self.progress(block);
        self.digest_to(block.end_offset(), block);
    }

    /// As [`ContentDigest::feed_to`]. At the end of the content accepted before, also compares the digest with that
    /// content's.
    fn digest_to(&mut self, offset: u64, block: &Block<'_>) {
        let Progress { content_bytes, digest, .. } = self.before;
        if self.digest.position() < content_bytes && content_bytes <= offset {
            self.digest.feed_to(content_bytes, block);
            self.is_rewritten |= self.digest.value() != digest;
        }
        self.digest.feed_to(offset, block);
    }

    /// The progress that [`Comparison::pass`] or [`Comparison::progress`] computed last. It leaves out records placed
    /// since.
    pub(crate) fn progress_passed(&self) -> Progress {
        self.settled.clone()
    }

    pub(crate) fn summary(&self) -> Summary {
        Summary {
            known: self.known,
            new: self.accepted - self.before.accepted,
            vanished: self.before.accepted.saturating_sub(self.known),
            in_order: self.in_order,
            is_rewritten: self.is_rewritten || self.digest.position() < self.before.content_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::RecordHash;
    use crate::delta::prefix::{Prefix, PrefixCheck};
    use crate::delta::table::MemoryTable;
    use crate::records::LineRole;
    use crate::records::block::Item;
    use crate::records::lines::{Lines, Start};

    /// Several blocks: lines, a line that is too long and fills blocks of its own, blank lines, more lines.
    fn content() -> Vec<u8> {
        let lines = |from: u32| (from..from + 2000).map(|n| format!("{n:0400}\r\n")).collect::<String>();
        [lines(0), "x".repeat(700_000), "\n".repeat(300_000), lines(2000)].concat().into_bytes()
    }

    /// Places all records of the source. Returns the progress after every hundredth record and at the end.
    fn progresses(mut comparison: Comparison, start: Start, mut source: &[u8]) -> Vec<Progress> {
        let mut lines = Lines::new(|_, _| LineRole::Record, 1000, start);
        let mut progresses = Vec::new();
        while let Some(block) = lines.next_block(&mut source).unwrap() {
            for item in block.items() {
                let hash = match item {
                    Item::Whole { record, .. } | Item::Unended { record, .. } => RecordHash::of(record.bytes),
                    Item::TooLong(line) => RecordHash(line.sha256),
                };
                comparison.place(hash.fingerprint(), item.end_offset()).unwrap();
                if item.ordinal() % 100 == 0 {
                    progresses.push(comparison.progress(&block));
                    assert_eq!(progresses.last().unwrap().content_bytes, item.end_offset());
                }
            }
            comparison.pass(&block);
        }
        progresses.push(comparison.progress_passed());
        progresses
    }

    #[test]
    fn a_reading_that_stops_inside_a_block_leaves_the_progress_it_gave_last() {
        let mut lines = Lines::new(|_, _| LineRole::Record, 1000, Start::Beginning);
        let mut comparison = Comparison::whole(&Progress::default(), Growth::Once, table(), 0);
        let mut source = &b"a\nb\nc\n"[..];
        let block = lines.next_block(&mut source).unwrap().unwrap();
        comparison.place(Fingerprint([0; 16]), 2).unwrap();
        let given = comparison.progress(&block);
        comparison.place(Fingerprint([0; 16]), 4).unwrap();
        assert_eq!(comparison.progress_passed(), given);
        assert_eq!((given.accepted, given.content_bytes), (1, 2));
        assert_eq!(given.digest, *blake3::hash(b"a\n").as_bytes());
    }

    fn table() -> Box<MemoryTable> {
        Box::default()
    }

    #[test]
    fn progress_at_any_record_digests_the_content_up_to_its_end() {
        let content = content();
        let comparison = Comparison::whole(&Progress::default(), Growth::Once, table(), 0);
        let all = progresses(comparison, Start::Beginning, &content);
        assert_eq!(all.len(), 42);
        for progress in &all {
            let digested = &content[..usize::try_from(progress.content_bytes).unwrap()];
            assert_eq!(progress.digest, *blake3::hash(digested).as_bytes());
        }
        assert_eq!(all[41].content_records, 4001);
        assert_eq!(all[41].content_bytes, content.len() as u64);
    }

    #[test]
    fn a_reading_that_goes_on_in_the_middle_ends_as_one_from_the_beginning() {
        let content = content();
        let whole = || Comparison::whole(&Progress::default(), Growth::Once, table(), 0);
        let all = progresses(whole(), Start::Beginning, &content);
        for before in &all {
            let mut source = &content[..];
            let Prefix::Holds(held) = PrefixCheck::new(before).run(&mut source).unwrap() else { panic!("{before:?}") };
            let start = held.start;
            let after = Comparison::after(held, before, Growth::Once, table(), 0);
            assert_eq!(progresses(after, start, source).last(), all.last());
        }
    }

    #[test]
    fn accepted_records_are_counted_before_the_first_new_one() {
        let content = b"a\nb\na\n";
        let accepted: Vec<_> = [b"a", b"b", b"a"].map(|record| RecordHash::of(record).fingerprint()).to_vec();
        let before = Progress {
            accepted: 3,
            content_records: 3,
            content_bytes: 6,
            digest: blake3::hash(content).into(),
            in_order: true,
        };
        let Ok(Prefix::Holds(held)) = PrefixCheck::new(&before).run(&mut &content[..]) else { panic!("it holds") };
        let mut after = Comparison::after(held, &before, Growth::Overwritten, table(), 10);
        assert_eq!((after.progress_passed(), after.wants_accepted()), (before, Some(0)));
        let early = after.place(accepted[0], 8);
        assert!(matches!(early, Err(DeltaError::Incomplete { held: 0, accepted: 3 })));
        after.learn(&accepted[..2]).unwrap();
        assert_eq!(after.wants_accepted(), Some(2));
        assert!(matches!(after.learn(&[]), Err(DeltaError::Incomplete { held: 2, accepted: 3 })));
        // Fingerprints past the required number are ignored.
        after.learn(&[accepted[2], accepted[0]]).unwrap();
        assert_eq!(after.wants_accepted(), None);
        assert_eq!(after.place(accepted[0], 8).unwrap(), Place::New { index: 3, occurrence: 2 });
        assert_eq!(after.place(accepted[1], 10).unwrap(), Place::New { index: 4, occurrence: 1 });
    }
}

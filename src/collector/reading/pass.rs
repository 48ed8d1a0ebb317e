//! One way through an object's content: which of its records are known, which are new, and who wants them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::batch::Advance;
use crate::checkpoint::{CheckpointStore, StoreError};
use crate::collector::job::task::JobError;
use crate::collector::reading::fan_out::{FanOut, Placed};
use crate::collector::reading::scratch::Scratch;
use crate::collector::reading::source::{Content, Source};
use crate::collector::shutdown::Shutdown;
use crate::config::Limits;
use crate::delta::comparison::Comparison;
use crate::delta::prefix::{self, Prefix};
use crate::delta::{Place, Progress, RecordHash};
use crate::family::Context;
use crate::object::inflate::{self, Compression, Inflate, InflateLimits};
use crate::records::lines::{Block, Item, Lines, LinesError, Start};
use crate::records::rows::{self, Rows, RowsError};
use crate::records::{Framing, Record};

/// What a pass works with.
pub(super) struct Pass<'p, 'a> {
    pub(super) source: &'p mut Source<'a>,
    pub(super) fan_out: &'p mut FanOut<'a>,
    pub(super) context: &'a Context<'a>,
    /// What is known of the object.
    pub(super) before: &'a Progress,
    /// How many bytes of its content were split into lines before.
    pub(super) framed_bytes: u64,
    pub(super) store: &'a CheckpointStore,
    pub(super) limits: &'a Limits,
    pub(super) progress: &'a AtomicU64,
    pub(super) shutdown: Option<&'a Shutdown>,
}

/// How a reading ended.
#[derive(Debug, Default)]
pub(super) struct Ended {
    pub(super) complete: bool,
    pub(super) progress: Progress,
    /// The known content was not where it had been.
    pub(super) rewritten: bool,
    /// Accepted records that the content does not hold any more.
    pub(super) vanished: u64,
    pub(super) held_lines: i64,
    /// Lines that are no records, of those behind what was read before.
    pub(super) skipped_lines: u64,
    pub(super) content_bytes: u64,
    pub(super) trailing_garbage: bool,
}

/// Which records are taken, by their place in the accepted sequence.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    /// Known records from here on.
    known_from: u64,
    /// Nothing from here on; the pass ends there.
    to: u64,
}

impl<'a> Pass<'_, 'a> {
    /// Reads as much as it takes to bring every sink up to the content's end.
    pub(super) fn run(&mut self) -> Result<Ended, JobError> {
        let trailing_garbage = self.prove()?;
        let lags = self.fan_out.least_cursor().is_some_and(|cursor| cursor < self.before.accepted);
        let has_gap = self.fan_out.has_gap();
        let mut content = self.content()?;
        let prefix = match self.before.accepted {
            0 => None,
            _ => Some(prefix::check(self.before, &mut content).map_err(|error| self.source.job_error(error))?),
        };
        let rewritten = matches!(prefix, Some(Prefix::Broken));
        let mut ended = match prefix {
            Some(Prefix::Holds(held)) if self.before.covers_accepted() && !lags && !has_gap => {
                let lines = self.lines(held.start);
                let growth = self.context.family.growth;
                let comparison =
                    Comparison::after(held, self.before, growth, self.ledger(), self.limits.fingerprints_in_memory);
                match self.stream(lines, content, comparison, Wanted::NEW)? {
                    Streamed::Ended(ended) => {
                        Ended { content_bytes: ended.content_bytes.max(self.before.content_bytes), ..ended }
                    }
                    Streamed::LastLineGrew => Ended { rewritten: true, ..self.anew(false)? },
                }
            }
            Some(Prefix::Holds(_)) if lags && !has_gap && self.before.in_order && self.before.covers_accepted() => {
                let from = self.fan_out.least_cursor().unwrap_or(u64::MAX);
                self.in_order(Wanted { known_from: from, to: u64::MAX })?
            }
            Some(_) => self.anew(lags || has_gap)?,
            None => {
                let comparison = self.whole()?;
                match self.stream(self.lines(Start::Beginning), content, comparison, Wanted::NEW)? {
                    Streamed::Ended(ended) => ended,
                    Streamed::LastLineGrew => return Err(self.source.lines_error(LinesError::LastLineGrew)),
                }
            }
        };
        ended.rewritten |= rewritten;
        ended.trailing_garbage = trailing_garbage;
        Ok(ended)
    }

    /// Streams content whose known part stands in the order of acceptance, from its beginning.
    fn in_order(&mut self, wanted: Wanted) -> Result<Ended, JobError> {
        let (growth, limit) = (self.context.family.growth, self.limits.fingerprints_in_memory);
        let comparison = Comparison::again(self.before, growth, self.ledger(), limit)
            .map_err(|error| JobError::comparing(self.context.object, error))?;
        let content = self.content()?;
        self.streamed(content, comparison, wanted)
    }

    /// Compares the whole content. Sinks that lack known records first get those of them that it holds, in the order of
    /// acceptance; what it does not hold is a gap.
    fn anew(&mut self, lacking: bool) -> Result<Ended, JobError> {
        if lacking {
            let from = self.fan_out.least_cursor().unwrap_or(u64::MAX);
            let mut gaps = self.fan_out.gaps();
            let lacks = |place| place >= from || gaps.iter_mut().any(|gap| gap.contains(place));
            let mut scratch = self.write_scratch(lacks)?;
            self.fan_out.fill(&mut scratch).map_err(scratch_failed)?;
            self.emit_from_scratch(&mut scratch)?;
            self.fan_out.pass_over(self.before.accepted);
        }
        let comparison = self.whole()?;
        let content = self.content()?;
        self.streamed(content, comparison, Wanted::NEW)
    }

    fn streamed(&mut self, content: Content<'a>, comparison: Comparison, wanted: Wanted) -> Result<Ended, JobError> {
        match self.stream(self.lines(Start::Beginning), content, comparison, wanted)? {
            Streamed::Ended(ended) => Ok(ended),
            Streamed::LastLineGrew => Err(self.source.lines_error(LinesError::LastLineGrew)),
        }
    }

    /// Sets the known records at the places wanted aside, in whatever order they stand.
    fn write_scratch(&mut self, mut wanted: impl FnMut(u64) -> bool) -> Result<Scratch, JobError> {
        let mut scratch = Scratch::new(self.store.state_dir()).map_err(scratch_failed)?;
        self.each_known(|record| {
            if wanted(record.index) {
                scratch.put(record).map_err(scratch_failed)?;
            }
            Ok(true)
        })?;
        Ok(scratch)
    }

    /// Lets what was set aside flow out in the order of acceptance, to whom it lies ahead of.
    fn emit_from_scratch(&mut self, scratch: &mut Scratch) -> Result<(), JobError> {
        let fan_out = &mut *self.fan_out;
        let unused = Progress::default();
        let emitted = scratch.each(|record| {
            if !fan_out.is_wanted(record.index) {
                return true;
            }
            let goes_on = !fan_out.turns_at(record.index) && !fan_out.is_full() || fan_out.cut(&unused);
            fan_out.take(record);
            goes_on
        });
        emitted.map_err(scratch_failed)?;
        fan_out.cut(&unused);
        Ok(())
    }

    /// Takes each wanted record as it comes.
    fn stream(
        &mut self,
        mut lines: Lines,
        mut content: Content<'a>,
        mut comparison: Comparison,
        wanted: Wanted,
    ) -> Result<Streamed, JobError> {
        let mut ended = Ended { complete: true, ..Ended::default() };
        loop {
            let block = match lines.next_block(&mut content) {
                Ok(Some(block)) => block,
                Ok(None) => break,
                Err(LinesError::LastLineGrew) => return Ok(Streamed::LastLineGrew),
                Err(error) => return Err(self.source.lines_error(error)),
            };
            let goes_on = self.take_block(&block, &mut comparison, wanted, &mut ended)?;
            ended.content_bytes = block.end_offset();
            ended.skipped_lines += block.others;
            self.progress.fetch_add(1, Ordering::Relaxed);
            if !goes_on || self.shutdown.is_some_and(Shutdown::is_requested) {
                ended.complete = false;
                break;
            }
            comparison.pass(&block);
        }
        ended.progress = comparison.progress_passed();
        // A part that is still open ends where the last block did.
        let receivers_left = self.fan_out.cut(&ended.progress);
        ended.complete &= receivers_left || self.fan_out.outputs.is_empty();
        ended.vanished = if ended.complete { comparison.summary().vanished } else { 0 };
        Ok(Streamed::Ended(ended))
    }

    /// Takes a block's wanted records; returns whether more is wanted.
    fn take_block(
        &mut self,
        block: &Block<'_>,
        comparison: &mut Comparison,
        wanted: Wanted,
        ended: &mut Ended,
    ) -> Result<bool, JobError> {
        let mut end_offset = block.offset;
        for item in block.items() {
            let Some(record) = self.record(&item) else {
                ended.held_lines += 1;
                break;
            };
            // Reading could not go on between records that reach into one another.
            let reaches = item.end_offset() == end_offset;
            end_offset = item.end_offset();
            // While the order is that of acceptance, the next record's place is its ordinal.
            let turns = wanted.known_from != u64::MAX && self.fan_out.turns_at(record.record.ordinal);
            let cuts = turns || self.fan_out.is_full() && !reaches;
            if cuts && !self.fan_out.cut(&comparison.progress(block)) {
                return Ok(false);
            }
            let place = comparison.place(record.hash.fingerprint(), item.end_offset());
            let (index, occurrence) = match place.map_err(|error| JobError::comparing(self.context.object, error))? {
                Place::Known { index, .. } if index < wanted.known_from => continue,
                Place::Known { index, occurrence } | Place::New { index, occurrence } => (index, occurrence),
            };
            if index >= wanted.to {
                return Ok(false);
            }
            self.fan_out.take(&Placed { index, occurrence, ..record });
        }
        if self.fan_out.is_open() {
            // Cut at the block's end as well, so that the digest is never wanted of a block that is gone.
            return Ok(self.fan_out.cut(&comparison.progress(block)));
        }
        Ok(true)
    }

    /// The record an item is, with its place still open; nothing where it has not been written to its end.
    pub(super) fn record<'r>(&self, item: &Item<'r>) -> Option<Placed<'r>> {
        let (record, hash, too_long) = match item {
            Item::Whole { record, .. } => (*record, RecordHash::of(record.bytes), None),
            Item::Unended { record, .. } => {
                (self.context.family.decode)(self.context, record, &mut |_| {}).ok()?;
                (*record, RecordHash::of(record.bytes), None)
            }
            Item::TooLong(line) if line.unended => return None,
            Item::TooLong(line) => (Record::new(line.ordinal, &[]), RecordHash(line.sha256), Some(line.length)),
        };
        Some(Placed { record, hash, offset: item.offset(), index: 0, occurrence: 0, too_long })
    }

    /// Lets the known records that an advance was sealed with flow out, for a part that is made again.
    pub(super) fn again(&mut self, advance: &Advance) -> Result<(), JobError> {
        self.prove()?;
        let mut content = self.content()?;
        let prefix = prefix::check(self.before, &mut content).map_err(|error| self.source.job_error(error))?;
        let holds = matches!(prefix, Prefix::Holds(_)) && self.before.in_order && self.before.covers_accepted();
        if holds && advance.form.ranges().is_empty() {
            self.in_order(Wanted { known_from: advance.before, to: advance.after })?;
        } else {
            let mut scratch = self.write_scratch(|place| advance.holds(place))?;
            self.emit_from_scratch(&mut scratch)?;
        }
        Ok(())
    }

    /// Inflates a compressed object once without keeping anything, so that nothing of a damaged one is delivered. Says
    /// whether other bytes follow the compressed ones.
    pub(super) fn prove(&mut self) -> Result<bool, JobError> {
        if Compression::of(&self.source.head()?) == Compression::None {
            return Ok(false);
        }
        let proof = inflate::prove(self.source.open()?, self.inflate_limits());
        let proof = proof.map_err(|error| self.source.job_error(std::io::Error::other(error)))?;
        if self.reads_rows() && rows::begins_as_file(&proof.beginning) {
            return Err(self.source.job_error(RowsError::Packed.into()));
        }
        Ok(proof.trailing_garbage)
    }

    fn inflate_limits(&self) -> InflateLimits {
        InflateLimits { inflated_bytes_max: self.limits.inflated_bytes_max, ratio_max: self.limits.inflate_ratio_max }
    }

    pub(super) fn content(&mut self) -> Result<Content<'a>, JobError> {
        if !self.holds_rows() {
            return Ok(Content::Inflated(Box::new(Inflate::new(self.source.open()?, self.inflate_limits()))));
        }
        let limits = rows::Limits { text_bytes_max: self.limits.inflated_bytes_max, ..rows::Limits::default() };
        match Rows::open(self.source.ranges()?, limits) {
            Ok(rows) => Ok(Content::Rows(Box::new(rows))),
            Err(error) => Err(self.source.job_error(error.into())),
        }
    }

    /// Whether the object is a Parquet file that is read by its rows. Known once its head was asked for.
    fn holds_rows(&self) -> bool {
        self.reads_rows() && rows::are_in(&self.context.object.key, self.source.beginning())
    }

    /// Whether the family has Parquet files, besides lines.
    fn reads_rows(&self) -> bool {
        matches!(self.context.family.framing, Framing::Rows(_))
    }

    pub(super) fn lines(&self, start: Start) -> Lines {
        let role = self.context.family.framing.role(self.holds_rows());
        Lines::new(role, self.limits.line_bytes_max, start).counting_others_from(self.framed_bytes)
    }

    pub(super) fn whole(&self) -> Result<Comparison, JobError> {
        let (growth, limit) = (self.context.family.growth, self.limits.fingerprints_in_memory);
        let comparison = Comparison::whole(self.before, growth, self.ledger(), limit);
        comparison.map_err(|error| JobError::comparing(self.context.object, error))
    }

    fn ledger(&self) -> Box<dyn crate::delta::ledger::Ledger> {
        Box::new(self.store.ledger(self.context.object))
    }
}

fn scratch_failed(error: std::io::Error) -> JobError {
    JobError::Store(StoreError::Failed(format!("scratch_failed records: {error}")))
}

/// How a stream ended.
enum Streamed {
    Ended(Ended),
    /// Its beginning is not what it was: the last known line goes on.
    LastLineGrew,
}

impl Wanted {
    /// Nothing of what is known, all that is new.
    const NEW: Self = Self { known_from: u64::MAX, to: u64::MAX };
}

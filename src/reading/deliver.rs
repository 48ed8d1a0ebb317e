//! A reading for a feed's sinks: which records are known, which are new, and which outputs get them.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use crate::delta::comparison::Comparison;
use crate::delta::prefix::Prefix;
use crate::delta::{Growth, Place, Progress};
use crate::event::Encoder;
use crate::reading::counts::Counts;
use crate::reading::fan_out::{FanOut, Offer, Output, Placed};
use crate::reading::pass::{Ended, Pass};
use crate::reading::plan::{Plan, ReadingError};
use crate::reading::reader::Reader;
use crate::reading::retry::{QuarantinedPlaces, RefusedAgain};
use crate::reading::scratch::Aside;
use crate::reading::source::Content;
use crate::records::block::Block;
use crate::records::lines::{Lines, Start};

/// What a reading for the sinks of a feed starts from.
pub struct Deliver {
    /// What the store knows of the object.
    pub before: Progress,
    /// How many bytes of the longest version were split into lines by earlier readings.
    pub framed_bytes: u64,
    pub outputs: Vec<Output>,
    pub encoders: Vec<Encoder>,
    /// Accepted records in quarantine that some output has not had.
    pub quarantined: QuarantinedPlaces,
    /// Whether a last line without a line end is held back even if it can be decoded: its writer may not have finished
    /// it.
    pub holds_unended: bool,
}

/// The result of a reading.
#[derive(Debug, Default)]
pub struct Summary {
    /// Whether the content was read to its end. If not, no output was left, or the reading was stopped.
    pub is_complete: bool,
    /// The object's progress once everything emitted is accepted.
    pub progress: Progress,
    /// Whether the content does not begin with the bytes that were accepted before.
    pub is_rewritten: bool,
    /// How many accepted records are no longer in the content.
    pub vanished: u64,
    pub held_lines: i64,
    /// Lines that are no records. Lines that an earlier reading counted are not counted again.
    pub skipped_lines: u64,
    pub content_bytes: u64,
    /// Null bytes and byte order marks before lines, counted once like skipped lines.
    pub marks_bytes: u64,
    /// Whether bytes that belong to no member or frame follow the compressed content.
    pub has_trailing_garbage: bool,
    pub counts: Counts,
    pub refused_again: RefusedAgain,
}

/// Reads as much as is needed to bring every output to the content's end.
pub fn deliver(plan: Plan, deliver: Deliver) -> Reader<Offer, Summary> {
    let room = plan.room.clone();
    Reader::new(&room, |supply, outlet| async move {
        let Deliver { before, framed_bytes, mut outputs, encoders, mut quarantined, holds_unended } = deliver;
        for Output { gap, .. } in &mut outputs {
            gap.remove_places(&mut quarantined.closed);
            gap.remove_places(&mut quarantined.withheld);
        }
        let mut fan_out = FanOut::new(outlet, &plan, encoders, outputs);
        fan_out.accepted = before.accepted;
        fan_out.quarantined = quarantined;
        let context = plan.contexts.context(&plan.object, plan.version.last_modified_ms);
        fan_out.keeps_fingerprints = context.family.growth == Growth::Overwritten;
        let mut pass = Pass::new(&plan, context, supply, fan_out, before, framed_bytes);
        pass.holds_unended = holds_unended;
        let mut summary = pass.run_until_stop().await?;
        summary.counts = pass.fan_out.counts;
        pass.supply.show(&summary.counts);
        summary.refused_again = pass.fan_out.refused_again;
        Ok(summary)
    })
}

/// Which records a pass takes, by their place in the accepted sequence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// The first known record to take; `u64::MAX` takes none.
    pub(super) known_from: u64,
    /// The end of the pass: this record and later ones are not taken.
    pub(super) to: u64,
}

impl Wanted {
    /// No known records, all new ones.
    const NEW: Self = Self { known_from: u64::MAX, to: u64::MAX };
}

/// How a stream ended.
enum Streamed {
    Ended(Box<Summary>),
    /// The last known line has grown, so the known part of the content is not what it was.
    LastLineGrew,
}

impl Pass<'_> {
    /// Runs to the end. A stop ends the reading at once if it waits for input: a shutdown should not wait for more
    /// bytes.
    async fn run_until_stop(&mut self) -> Result<Summary, ReadingError> {
        let supply = self.supply.clone();
        let mut run = pin!(self.run());
        poll_fn(|context| match run.as_mut().poll(context) {
            Poll::Pending if supply.ends_waiting() => Poll::Ready(Ok(Summary::default())),
            polled => polled,
        })
        .await
    }

    /// Reads as much as is needed to bring every output to the content's end.
    async fn run(&mut self) -> Result<Summary, ReadingError> {
        let has_trailing_garbage = self.source.prove().await?;
        let lags = self.fan_out.is_behind(self.before.accepted);
        let has_gap = self.fan_out.has_gap();
        let mut content = self.source.content().await?;
        let from_beginning = self.context.family.framing.looks_back() && !lags && !has_gap;
        let prefix = match self.before.accepted {
            0 => None,
            // Everything is framed from the beginning in any case, and known records are not decoded.
            _ if from_beginning => None,
            _ => Some(self.check(&mut content).await?),
        };
        let is_rewritten = matches!(prefix, Some(Prefix::Broken));
        let mut summary = match prefix {
            Some(Prefix::Holds(held)) if self.before.covers_accepted() && !lags && !has_gap => {
                let lines = self.lines(held.start).await;
                let comparison = Comparison::after(held, &self.before, self.growth(), self.table(), self.memory());
                match self.stream(lines, content, comparison, Wanted::NEW).await? {
                    Streamed::Ended(ended) => {
                        Summary { content_bytes: ended.content_bytes.max(self.before.content_bytes), ..*ended }
                    }
                    Streamed::LastLineGrew => Summary { is_rewritten: true, ..self.anew(false).await? },
                }
            }
            Some(Prefix::Holds(_)) if self.before.covers_accepted() && self.before.in_order && !has_gap => {
                let from = self.fan_out.least_cursor().unwrap_or(u64::MAX);
                self.in_order(Wanted { known_from: from, to: u64::MAX }).await?
            }
            Some(_) => self.anew(lags || has_gap).await?,
            None => self.streamed(content, self.whole(), Wanted::NEW).await?,
        };
        summary.is_rewritten |= is_rewritten;
        summary.has_trailing_garbage = has_trailing_garbage;
        Ok(summary)
    }

    /// Streams the content from its beginning. Its known records must be in the order of acceptance.
    pub(super) async fn in_order(&mut self, wanted: Wanted) -> Result<Summary, ReadingError> {
        let comparison = Comparison::again(&self.before, self.growth(), self.table(), self.memory());
        let content = self.source.content().await?;
        self.streamed(content, comparison, wanted).await
    }

    /// Compares the whole content. Outputs that lack known records first get those that are still in the content, in
    /// the order of acceptance. Records that are gone become gaps.
    async fn anew(&mut self, lacking: bool) -> Result<Summary, ReadingError> {
        if lacking {
            let aside = self.set_aside(self.fan_out.lacks()).await?;
            self.emit_aside(aside).await?;
            self.fan_out.pass_over(&self.context, self.before.accepted);
        }
        let content = self.source.content().await?;
        self.streamed(content, self.whole(), Wanted::NEW).await
    }

    async fn streamed(
        &mut self,
        content: Content,
        comparison: Comparison,
        wanted: Wanted,
    ) -> Result<Summary, ReadingError> {
        let lines = self.lines(Start::Beginning).await;
        match self.stream(lines, content, comparison, wanted).await? {
            Streamed::Ended(ended) => Ok(*ended),
            // A stream from the beginning has no earlier line that could grow.
            Streamed::LastLineGrew => Err(ReadingError::Changed),
        }
    }

    /// Copies the known records at the wanted places into scratch, in the content's order.
    pub(super) async fn set_aside(
        &mut self,
        mut is_wanted: impl FnMut(u64) -> bool + Send,
    ) -> Result<Aside, ReadingError> {
        let mut aside = Aside::new(self.scratch.file().map_err(ReadingError::Scratch)?);
        self.each_known(|record| match is_wanted(record.index) {
            true => aside.put(record).map_err(ReadingError::Scratch),
            false => Ok(()),
        })
        .await?;
        Ok(aside)
    }

    /// Emits the records in scratch in the order of acceptance: to outputs whose gap has their place, and to outputs
    /// whose cursor is not past it.
    pub(super) async fn emit_aside(&mut self, aside: Aside) -> Result<(), ReadingError> {
        let unused = Progress::default();
        let mut records = aside.in_order().map_err(ReadingError::Scratch)?;
        loop {
            {
                let Some(record) = records.next().map_err(ReadingError::Scratch)? else { break };
                self.fan_out.fill(&self.context, &record);
                if self.fan_out.is_wanted(record.index) {
                    let cuts = self.fan_out.turns_at(record.index) || self.fan_out.is_full();
                    if cuts && !self.fan_out.cut(&self.context, &unused) {
                        break;
                    }
                    self.fan_out.take(&self.context, &record);
                }
            }
            self.flush().await;
        }
        self.fan_out.cut_fillings(&self.context);
        self.fan_out.cut(&self.context, &unused);
        Ok(())
    }

    /// Takes the wanted records in the order of the content.
    async fn stream(
        &mut self,
        mut lines: Lines,
        mut content: Content,
        mut comparison: Comparison,
        wanted: Wanted,
    ) -> Result<Streamed, ReadingError> {
        let mut summary = Summary { is_complete: true, ..Summary::default() };
        loop {
            match self.next_block(&mut lines, &mut content, &mut comparison).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(Ended::LastLineGrew) => return Ok(Streamed::LastLineGrew),
                Err(Ended::Failed(error)) => return Err(error),
            }
            let goes_on = {
                let block = lines.block();
                let goes_on = self.take_block(&block, &mut comparison, wanted, &mut summary)?;
                summary.content_bytes = block.end_offset();
                summary.skipped_lines += block.others;
                summary.marks_bytes += block.marks_bytes;
                if goes_on {
                    comparison.pass(&block);
                }
                goes_on
            };
            self.flush().await;
            if !goes_on || self.supply.is_stopped() {
                summary.is_complete = false;
                break;
            }
        }
        summary.progress = comparison.progress_passed();
        // The open part ends with the last block.
        let receivers_left = self.fan_out.cut(&self.context, &summary.progress);
        summary.is_complete &= receivers_left || self.fan_out.has_no_outputs();
        if summary.is_complete {
            let compared = comparison.summary();
            (summary.vanished, summary.is_rewritten) = (compared.vanished, compared.is_rewritten);
        }
        Ok(Streamed::Ended(Box::new(summary)))
    }

    /// Lets the driver take what was emitted, and emits nothing more to outputs that the driver has ended.
    async fn flush(&mut self) {
        self.supply.emit().await;
        for output in self.supply.without() {
            self.fan_out.defer(output);
        }
    }

    /// Takes a block's wanted records. Returns false when the pass may end.
    fn take_block(
        &mut self,
        block: &Block<'_>,
        comparison: &mut Comparison,
        wanted: Wanted,
        summary: &mut Summary,
    ) -> Result<bool, ReadingError> {
        let mut end_offset = block.offset;
        for item in block.items() {
            let Some(record) = self.record(&item) else {
                summary.held_lines += 1;
                break;
            };
            // Records may overlap, and a reading cannot resume between overlapping records. Only cut where none
            // overlap.
            let reaches = item.end_offset() == end_offset;
            end_offset = item.end_offset();
            // If known records are taken, the content is in the order of acceptance: a record's place is its ordinal.
            let turns = wanted.known_from != u64::MAX && self.fan_out.turns_at(record.record.ordinal);
            let cuts = turns || self.fan_out.is_full() && !reaches;
            if cuts && !self.fan_out.cut(&self.context, &comparison.progress(block)) {
                return Ok(false);
            }
            let (index, occurrence) = match comparison.place(record.hash.fingerprint(), item.end_offset())? {
                Place::Known { index, .. } if index < wanted.known_from => continue,
                Place::Known { index, occurrence } | Place::New { index, occurrence } => (index, occurrence),
            };
            if index >= wanted.to {
                return Ok(false);
            }
            self.fan_out.take(&self.context, &Placed { index, occurrence, ..record });
        }
        if self.fan_out.is_open() {
            // Cut at the block's end as well: the digest up to a cut can be computed only while its block is in memory.
            return Ok(self.fan_out.cut(&self.context, &comparison.progress(block)));
        }
        Ok(true)
    }
}

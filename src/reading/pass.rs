//! One pass over an object's content, block by block.

use crate::delta::comparison::Comparison;
use crate::delta::prefix::{Prefix, PrefixCheck};
use crate::delta::table::ScratchTable;
use crate::delta::tally::FingerprintMemory;
use crate::delta::{Growth, Place, Progress, RecordHash};
use crate::family::{self, Context};
use crate::reading::fan_out::{FanOut, Placed};
use crate::reading::plan::{Limits, Plan, ReadingError};
use crate::reading::room::Scratch;
use crate::reading::source::{Content, Source};
use crate::reading::supply::Supply;
use crate::records::Record;
use crate::records::block::Item;
use crate::records::lines::{Lines, LinesError, Start};

/// The state of one reading, which may pass over the content several times.
pub(super) struct Pass<'a> {
    pub(super) context: Context<'a>,
    pub(super) limits: Limits,
    pub(super) scratch: &'a dyn Scratch,
    pub(super) supply: Supply,
    pub(super) source: Source,
    pub(super) fan_out: FanOut,
    pub(super) before: Progress,
    framed_bytes: u64,
    /// See [`Deliver`](crate::reading::Deliver).
    pub(super) holds_unended: bool,
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        context: Context<'a>,
        supply: Supply,
        fan_out: FanOut,
        before: Progress,
        framed_bytes: u64,
    ) -> Self {
        let (framing, key) = (context.family.framing, &plan.object.key);
        let source = Source::new(supply.clone(), plan.version.clone(), key, framing, plan.limits);
        let scratch = plan.scratch.as_ref();
        Self {
            context,
            limits: plan.limits,
            scratch,
            supply,
            source,
            fan_out,
            before,
            framed_bytes,
            holds_unended: false,
        }
    }

    /// Whether the content begins with the bytes that were accepted before.
    pub(super) async fn check(&mut self, content: &mut Content) -> Result<Prefix, ReadingError> {
        let mut check = PrefixCheck::new(&self.before);
        Ok(self.supply.fed(|| check.run(content)).await?)
    }

    /// Reads the next block, and gives the comparison the accepted fingerprints that it needs before the block's first
    /// record is placed. False at the end of the content.
    pub(super) async fn next_block(
        &mut self,
        lines: &mut Lines,
        content: &mut Content,
        comparison: &mut Comparison,
    ) -> Result<bool, Ended> {
        if !self.supply.fed(|| lines.advance(content)).await? {
            return Ok(false);
        }
        while !lines.block().is_empty()
            && let Some(from) = comparison.wants_accepted()
        {
            let fingerprints = self.supply.fingerprints(from).await;
            comparison.learn(&fingerprints).map_err(|error| Ended::Failed(error.into()))?;
        }
        Ok(true)
    }

    /// The record of an item, without a place yet. `None` if its writer has not finished it.
    pub(super) fn record<'r>(&self, item: &Item<'r>) -> Option<Placed<'r>> {
        let (record, hash, too_long) = match item {
            Item::Whole { record, .. } => (*record, RecordHash::of(record.bytes), None),
            Item::Unended { .. } if self.holds_unended => return None,
            Item::Unended { record, .. } => {
                if !family::is_whole(&self.context, record) {
                    return None;
                }
                (*record, RecordHash::of(record.bytes), None)
            }
            Item::TooLong(line) if line.unended => return None,
            Item::TooLong(line) => (Record::new(line.ordinal, &[]), RecordHash(line.sha256), Some(line.length)),
        };
        Some(Placed { record, hash, offset: item.offset(), index: 0, occurrence: 0, too_long })
    }

    /// Calls `each` with every accepted record in the content, in the content's order.
    pub(super) async fn each_known(
        &mut self,
        mut each: impl FnMut(&Placed<'_>) -> Result<(), ReadingError> + Send,
    ) -> Result<(), ReadingError> {
        let mut comparison = self.whole();
        let mut content = self.source.content().await?;
        let mut lines = self.lines(Start::Beginning).await;
        while self.next_block(&mut lines, &mut content, &mut comparison).await? {
            let block = lines.block();
            for item in block.items() {
                let Some(record) = self.record(&item) else { break };
                let place = comparison.place(record.hash.fingerprint(), item.end_offset())?;
                if let Place::Known { index, occurrence } = place {
                    each(&Placed { index, occurrence, ..record })?;
                }
            }
            comparison.pass(&block);
            self.supply.emit().await;
        }
        Ok(())
    }

    pub(super) async fn lines(&mut self, start: Start) -> Lines {
        let role = self.source.role().await;
        let lines = Lines::new(role, self.limits.line_bytes_max, start).in_room(self.supply.room.clone());
        lines.with_members(&self.context.settings.line_members).counting_others_from(self.framed_bytes)
    }

    pub(super) fn whole(&self) -> Comparison {
        Comparison::whole(&self.before, self.growth(), self.table(), self.memory())
    }

    pub(super) fn memory(&self) -> FingerprintMemory {
        FingerprintMemory { fingerprints_max: self.limits.fingerprints_in_memory, room: self.supply.room.clone() }
    }

    pub(super) fn growth(&self) -> Growth {
        self.context.family.growth
    }

    pub(super) fn table(&self) -> Box<dyn ScratchTable> {
        self.scratch.table()
    }
}

/// Why reading the next block failed.
pub(super) enum Ended {
    LastLineGrew,
    Failed(ReadingError),
}

impl From<LinesError> for Ended {
    fn from(error: LinesError) -> Self {
        match error {
            LinesError::LastLineGrew => Self::LastLineGrew,
            error @ LinesError::Source(_) => Self::Failed(error.into()),
        }
    }
}

impl From<Ended> for ReadingError {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::LastLineGrew => Self::Changed,
            Ended::Failed(error) => error,
        }
    }
}

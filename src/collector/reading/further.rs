//! Records in quarantine that have no entry each: found again by their places, as long as their object holds them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::checkpoint::{Further, FurtherRecord, ObjectPosition, RefusedRecord};
use crate::collector::feeds::Feed;
use crate::collector::job::task::JobError;
use crate::collector::reading::fan_out::{FanOut, Placed, too_long};
use crate::collector::reading::pass::Pass;
use crate::collector::reading::requeued::decode;
use crate::collector::reading::source::Source;
use crate::collector::services::Services;
use crate::delta::Place;
use crate::family::Refusal;
use crate::notification::ObjectId;
use crate::object::Snapshot;
use crate::records::lines::Start;

/// As many records are handed on at once, or records of as many bytes.
const RECORDS_AT_ONCE: usize = 1024;
const BYTES_AT_ONCE: usize = 4 << 20;

/// What is to be looked for.
pub(in crate::collector) struct FurtherWork {
    pub services: Arc<Services>,
    pub feed: Arc<Feed>,
    pub object: ObjectId,
    pub position: ObjectPosition,
    pub further: Further,
    /// Grows with every block that is searched.
    pub progress: Arc<AtomicU64>,
}

/// Some of the records, which can be decoded now, each with its bytes.
pub(in crate::collector) type FoundRecords = Vec<(FurtherRecord, Vec<u8>)>;

/// What a search came to.
#[derive(Debug, Default)]
pub(in crate::collector) struct SearchEnd {
    /// The stop came, or nobody takes what is found: there may be more.
    pub stopped: bool,
    panicked: bool,
    /// Records that cannot be decoded now either.
    pub refused: u64,
    /// The ordinal of the first of them, and why.
    first: Option<(u64, String)>,
    found: FoundRecords,
    found_bytes: usize,
}

/// Reads the object once, and hands on those of the records that it still holds and that can be decoded now. Blocks; to be
/// run on a worker's thread.
pub(in crate::collector) fn search_further(
    work: FurtherWork,
    snapshot: Snapshot,
    into: &mpsc::Sender<FoundRecords>,
    runtime: &Handle,
) -> Result<SearchEnd, JobError> {
    let FurtherWork { services, feed, object, position, mut further, progress } = work;
    let mut source = Source::new(snapshot, &object, &feed.place, runtime);
    let version = Arc::new(source.version.clone());
    let context = feed.context(&object, version.last_modified_ms);
    let mut fan_out = FanOut::new(&context, version, Vec::new(), Vec::new(), runtime);
    let mut pass = Pass {
        source: &mut source,
        fan_out: &mut fan_out,
        context: &context,
        before: &position.progress,
        store: &services.store,
        limits: &services.limits,
        framed_bytes: 0,
        progress: &progress,
        shutdown: None,
    };
    pass.prove()?;
    let mut end = SearchEnd::default();
    let whole = pass.each_known(|placed| {
        if services.shutdown.is_requested() {
            return Ok(false);
        }
        if further.places.contains(placed.index) {
            end.take(&feed, &object, &further, placed);
            if end.found.len() >= RECORDS_AT_ONCE || end.found_bytes >= BYTES_AT_ONCE {
                return Ok(end.hand_on(into));
            }
        }
        Ok(true)
    })?;
    end.stopped = !(whole && end.hand_on(into));
    Ok(end)
}

impl SearchEnd {
    /// The search ended in a panic.
    pub(in crate::collector) fn failed() -> Self {
        Self { panicked: true, ..Self::default() }
    }

    /// Why what is left stays in quarantine.
    pub(in crate::collector) fn reason(&self) -> String {
        match &self.first {
            _ if self.panicked => "the decoder failed over them".to_owned(),
            Some((ordinal, why)) => format!("tried again, {} are refused: record {ordinal}: {why}", self.refused),
            None => "tried again; their object does not hold them any more".to_owned(),
        }
    }

    fn take(&mut self, feed: &Feed, object: &ObjectId, further: &Further, placed: &Placed<'_>) {
        let record = RefusedRecord {
            id: 0,
            ordinal: placed.record.ordinal,
            place: placed.index,
            occurrence: placed.occurrence,
            hash: placed.hash,
            etag: further.etag.clone(),
            last_modified_ms: further.last_modified_ms,
            has_body: false,
            had: Vec::new(),
        };
        let refusal: Option<Refusal> = match placed.too_long {
            Some(length) => Some(too_long(length)),
            None => decode(feed, object, &record, placed.record.bytes, &feed.encoders).err(),
        };
        if let Some(refusal) = refusal {
            self.refused += 1;
            self.first.get_or_insert_with(|| (record.ordinal, refusal.to_string()));
            return;
        }
        self.found_bytes += placed.record.bytes.len();
        self.found.push((FurtherRecord { record, offset: placed.offset }, placed.record.bytes.to_vec()));
    }

    /// Waits until what was found is taken; returns whether more is wanted.
    fn hand_on(&mut self, into: &mpsc::Sender<FoundRecords>) -> bool {
        self.found_bytes = 0;
        self.found.is_empty() || into.blocking_send(std::mem::take(&mut self.found)).is_ok()
    }
}

impl Pass<'_, '_> {
    /// Shows every accepted record that the content holds, in the content's order, for as long as `each` wants more. Returns
    /// whether that was all.
    pub(super) fn each_known(
        &mut self,
        mut each: impl FnMut(&Placed<'_>) -> Result<bool, JobError>,
    ) -> Result<bool, JobError> {
        let mut comparison = self.whole()?;
        let mut content = self.content()?;
        let mut lines = self.lines(Start::Beginning);
        while let Some(block) = lines.next_block(&mut content).map_err(|error| self.source.lines_error(error))? {
            for item in block.items() {
                let Some(record) = self.record(&item) else { break };
                let place = comparison.place(record.hash.fingerprint(), item.end_offset());
                let place = place.map_err(|error| JobError::comparing(self.context.object, error))?;
                if let Place::Known { index, occurrence } = place
                    && !each(&Placed { index, occurrence, ..record })?
                {
                    return Ok(false);
                }
            }
            comparison.pass(&block);
            self.progress.fetch_add(1, Ordering::Relaxed);
        }
        Ok(true)
    }
}

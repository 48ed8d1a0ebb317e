//! Records out of quarantine: their bytes, kept there or found in their object, decoded once more for the sinks.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::runtime::Handle;

use crate::batch::{Advance, Part};
use crate::checkpoint::{CheckpointStore, ObjectPosition, RefusedRecord, SinkPosition};
use crate::collector::delivery::tracker::Tracker;
use crate::collector::feeds::Feed;
use crate::collector::ids::SinkId;
use crate::collector::job::task::JobError;
use crate::collector::reading::fan_out::{FanOut, Placed, Target, emit, too_long};
use crate::collector::reading::pass::Pass;
use crate::collector::reading::source::Source;
use crate::collector::reading::{RebuildError, RebuildWork};
use crate::collector::services::Services;
use crate::config::Limits;
use crate::delta::RecordHash;
use crate::event::{Encoded, Encoder};
use crate::family::{Refusal, encode_record};
use crate::notification::ObjectId;
use crate::object::{Snapshot, Version};
use crate::records::Record;
use crate::records::lines::Start;
use crate::users::LookedUp;

/// A body is refused when it inflates to more: no line may be configured to be longer.
const BODY_BYTES_MAX: usize = 1 << 30;

/// What is to be tried again, and for whom.
pub(in crate::collector) struct AgainWork {
    pub services: Arc<Services>,
    pub feed: Arc<Feed>,
    pub object: ObjectId,
    /// Where the sinks' sinks stand with the object.
    pub position: ObjectPosition,
    /// The sinks by their position among all, and the tracker with each.
    pub sinks: Vec<SinkId>,
    pub trackers: Vec<Tracker>,
    pub records: Vec<RefusedRecord>,
    /// The bytes of some of them, by their numbers in quarantine.
    pub at_hand: HashMap<u64, Vec<u8>>,
    /// Grows with every block that is searched.
    pub progress: Arc<AtomicU64>,
}

/// What trying again came to.
#[derive(Debug, Default)]
pub(in crate::collector) struct Again {
    /// The records that stay in quarantine, and why.
    pub refused: Vec<(u64, String)>,
    pub events: u64,
    /// Users of the records.
    pub looked_up: LookedUp,
    /// The sinks that had no room for as long as patience lasts.
    pub deferred: Vec<SinkId>,
}

/// Offers each sink the records that its sink has passed and not had. Those whose bytes are not in quarantine are looked for
/// in `snapshot`; without it they are left alone. Blocks; to be run on a worker's thread.
///
/// Also returns why the object could not be searched to its end, if so.
pub(in crate::collector) fn offer_again(
    work: AgainWork,
    snapshot: Option<Snapshot>,
    runtime: &Handle,
) -> (Again, Option<JobError>) {
    let mut again = Again::default();
    let (kept, missing): (Vec<&RefusedRecord>, Vec<&RefusedRecord>) =
        work.records.iter().partition(|record| work.has_bytes(record));
    for record in kept {
        if let Some(bytes) = work.at_hand.get(&record.id) {
            work.offer(record, bytes, &mut again, runtime);
            continue;
        }
        match body(&work.services.store, record) {
            Ok(Ok(bytes)) => work.offer(record, &bytes, &mut again, runtime),
            Ok(Err(refusal)) => again.refused.push((record.id, refusal.to_string())),
            Err(error) => return (again, Some(error)),
        }
    }
    let Some(snapshot) = snapshot else { return (again, None) };
    let search = Search {
        feed: &work.feed,
        object: &work.object,
        store: &work.services.store,
        limits: &work.services.limits,
        progress: &work.progress,
        runtime,
    };
    let searched = search.each(&missing, snapshot, |record, found| match found {
        Found::Bytes(bytes) => work.offer(record, bytes, &mut again, runtime),
        Found::Refused(refusal) => again.refused.push((record.id, refusal.to_string())),
    });
    (again, searched.err())
}

impl AgainWork {
    /// Whether the record's bytes can be had without its object.
    pub(in crate::collector) fn has_bytes(&self, record: &RefusedRecord) -> bool {
        record.has_body || self.at_hand.contains_key(&record.id)
    }

    /// Offers one record's events to each sink that has passed it and not had it; a refusal is noted.
    fn offer(&self, record: &RefusedRecord, bytes: &[u8], again: &mut Again, runtime: &Handle) {
        let Decoded { version, written, looked_up } =
            match decode(&self.feed, &self.object, record, bytes, &self.feed.encoders) {
                Ok(decoded) => decoded,
                Err(refusal) => return again.refused.push((record.id, refusal.to_string())),
            };
        let positions = self.sinks.iter().zip(&self.trackers).zip(&self.position.sinks);
        let mut is_first = record.had.is_empty();
        for ((&sink, tracker), &SinkPosition { accepted: cursor, .. }) in positions {
            let handle = &self.services.workers[sink];
            if cursor <= record.place || record.had.contains(&handle.name) || again.deferred.contains(&sink) {
                continue;
            }
            let at = self.feed.encoder_at(sink).unwrap_or_default();
            let part = part(&self.object, cursor, record, &version, &written[at.0]);
            if std::mem::take(&mut is_first) {
                again.events += part.ends.len() as u64;
                again.looked_up += looked_up;
            }
            let (handle, services) = (handle.clone(), Arc::clone(&self.services));
            let mut target = Target::Sink { handle, tracker: tracker.clone(), services };
            if !emit(&mut target, part, self.services.limits.sink_patience, runtime) {
                again.deferred.push(sink);
            }
        }
    }
}

/// The part of a sealed batch that is this record's events, made again. Its bytes are in `snapshot` unless they were kept.
///
/// # Errors
/// The record cannot be had or decoded any more.
pub(in crate::collector) fn rebuild_refused(
    work: RebuildWork,
    record: &RefusedRecord,
    snapshot: Option<Snapshot>,
    runtime: &Handle,
) -> Result<Part, RebuildError> {
    let RebuildWork { feed, sealed, encoder, store, limits } = work;
    let Advance { object, before, .. } = sealed.advance;
    let make = |bytes: &[u8]| {
        let Decoded { version, written, .. } = decode(&feed, &object, record, bytes, &[encoder])?;
        written.first().map(|written| part(&object, before, record, &version, written)).ok_or_else(not_found)
    };
    let mut made = Err(not_found());
    match snapshot {
        None => made = body(&store, record)?.and_then(|bytes| make(&bytes)),
        Some(snapshot) => {
            let progress = AtomicU64::new(0);
            let (store, limits) = (&store, &limits);
            let search = Search { feed: &feed, object: &object, store, limits, progress: &progress, runtime };
            search.each(&[record], snapshot, |_, found| {
                made = match found {
                    Found::Bytes(bytes) => make(bytes),
                    Found::Refused(refusal) => Err(refusal),
                };
            })?;
        }
    }
    made.map_err(|refusal| RebuildError::Damaged(refusal.to_string()))
}

/// What a search says of a record.
enum Found<'a> {
    Bytes(&'a [u8]),
    Refused(Refusal),
}

/// A search through an object for records by what they are.
struct Search<'a> {
    feed: &'a Feed,
    object: &'a ObjectId,
    store: &'a CheckpointStore,
    limits: &'a Limits,
    progress: &'a AtomicU64,
    runtime: &'a Handle,
}

impl Search<'_> {
    /// Tells of each record once: its bytes, or why they cannot be had.
    fn each(
        &self,
        records: &[&RefusedRecord],
        snapshot: Snapshot,
        mut tell: impl FnMut(&RefusedRecord, Found<'_>),
    ) -> Result<(), JobError> {
        let mut wanted: HashMap<[u8; 32], Vec<&RefusedRecord>> = HashMap::new();
        for record in records {
            wanted.entry(record.hash.0).or_default().push(record);
        }
        let mut source = Source::new(snapshot, self.object, &self.feed.place, self.runtime);
        let version = Arc::new(source.version.clone());
        let context = self.feed.context(self.object, version.last_modified_ms);
        let before = self.store.position(self.object, &[])?.progress;
        let mut fan_out = FanOut::new(&context, version, Vec::new(), Vec::new(), self.runtime);
        let mut pass = Pass {
            source: &mut source,
            fan_out: &mut fan_out,
            context: &context,
            before: &before,
            framed_bytes: 0,
            store: self.store,
            limits: self.limits,
            progress: self.progress,
            shutdown: None,
        };
        pass.search(|record| {
            for asked in wanted.remove(&record.hash.0).unwrap_or_default() {
                match record.too_long {
                    Some(length) => tell(asked, Found::Refused(too_long(length))),
                    None => tell(asked, Found::Bytes(record.record.bytes)),
                }
            }
            !wanted.is_empty()
        })?;
        for asked in wanted.into_values().flatten() {
            tell(asked, Found::Refused(not_found()));
        }
        Ok(())
    }
}

fn not_found() -> Refusal {
    Refusal::new("its object does not hold the record any more, and its bytes were not kept")
}

/// A record's bytes as they are kept in quarantine.
fn body(store: &CheckpointStore, record: &RefusedRecord) -> Result<Result<Vec<u8>, Refusal>, JobError> {
    let Some(body) = store.quarantined_body(record.id)? else {
        return Ok(Err(Refusal::new("it has left the quarantine")));
    };
    let bytes = inflated(&body, BODY_BYTES_MAX).ok().filter(|bytes| RecordHash::of(bytes) == record.hash);
    Ok(bytes.ok_or_else(|| Refusal::new("its bytes in quarantine are damaged")))
}

/// What was kept compressed.
///
/// # Errors
/// It is damaged, or longer than `most` bytes.
pub(in crate::collector) fn inflated(body_zstd: &[u8], most: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    zstd::Decoder::new(body_zstd)?.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most { Err(std::io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

/// What a record gave.
pub(super) struct Decoded {
    /// The version it was first read in.
    version: Arc<Version>,
    /// Its events, once for each encoder.
    written: Vec<Encoded>,
    looked_up: LookedUp,
}

/// Decodes the record once more. Its events have the identity that they would have had.
pub(super) fn decode(
    feed: &Feed,
    object: &ObjectId,
    record: &RefusedRecord,
    bytes: &[u8],
    encoders: &[Encoder],
) -> Result<Decoded, Refusal> {
    let context = feed.context(object, record.last_modified_ms);
    let mut written: Vec<Encoded> = encoders.iter().map(|_| Encoded::default()).collect();
    let read = Record::new(record.ordinal, bytes);
    encode_record(&context, &read, &record.hash, record.occurrence, encoders, &mut written)?;
    let version = Version {
        etag: record.etag.clone(),
        version_id: None,
        last_modified_ms: record.last_modified_ms,
        size_bytes: 0,
    };
    Ok(Decoded { version: Arc::new(version), written, looked_up: context.looked_up() })
}

fn part(object: &ObjectId, cursor: u64, record: &RefusedRecord, version: &Arc<Version>, written: &Encoded) -> Part {
    Part {
        advance: Advance::onward(object.clone(), cursor, cursor),
        version: Arc::clone(version),
        acceptance: None,
        redelivers: Some(record.id),
        bytes: written.bytes.clone().into(),
        ends: written.ends.clone().into(),
        ids: written.ids.clone().into(),
    }
}

impl Pass<'_, '_> {
    /// Shows every record of the content, in its order, for as long as `each` wants more.
    fn search(&mut self, mut each: impl FnMut(&Placed<'_>) -> bool) -> Result<(), JobError> {
        self.prove()?;
        let mut content = self.content()?;
        let mut lines = self.lines(Start::Beginning);
        while let Some(block) = lines.next_block(&mut content).map_err(|error| self.source.lines_error(error))? {
            for item in block.items() {
                let Some(record) = self.record(&item) else { break };
                if !each(&record) {
                    return Ok(());
                }
            }
            self.progress.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

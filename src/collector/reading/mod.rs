//! The worker's part of a job: reads one version, places its records, and lets flow what each sink has not had.

mod further;

mod fan_out;

mod gaps;

mod pass;

mod rebuild;

mod requeued;

mod source;

mod scratch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::runtime::Handle;
use tracing::warn;

use crate::checkpoint::ObjectPosition;
use crate::collector::delivery::tracker::Tracker;
use crate::collector::feeds::Feed;
use crate::collector::ids::SinkId;
use crate::collector::job::task::JobError;
use crate::collector::reading::fan_out::{Counts, FanOut, SinkOutput, Target};
use crate::collector::reading::pass::{Ended, Pass};
use crate::collector::reading::source::Source;
use crate::collector::report::limited;
use crate::collector::services::Services;
use crate::delta::{Growth, Progress};
use crate::notification::ObjectId;
use crate::object::{Place, Snapshot, Version};

pub(super) use further::{FurtherWork, SearchEnd, search_further};
pub(super) use rebuild::{RebuildError, RebuildWork, rebuild};
pub(super) use requeued::{Again, AgainWork, inflated, offer_again, rebuild_refused};

/// What is to be read, and for whom.
pub(super) struct Work {
    pub services: Arc<Services>,
    pub feed: Arc<Feed>,
    pub object: ObjectId,
    pub position: ObjectPosition,
    /// The sinks by their position among all, and the job's tracker with each.
    pub sinks: Vec<SinkId>,
    pub trackers: Vec<Tracker>,
    /// Grows with every block.
    pub progress: Arc<AtomicU64>,
}

/// What reading an object came to.
pub(super) struct Read {
    pub version: Arc<Version>,
    /// Whether it was read to its end. If not, nobody was left to take more, or the stop came.
    pub complete: bool,
    /// What is known of the content once everything offered is accepted.
    pub progress: Progress,
    pub new_records: u64,
    /// How many bytes of content were split into lines, and how many of the lines behind what was read before are no
    /// records.
    pub framed_bytes: u64,
    pub skipped_lines: u64,
    /// The latest time of a new event, in milliseconds since the epoch.
    pub latest_event_ms: Option<i64>,
    /// The sinks that were left behind.
    pub deferred: Vec<SinkId>,
}

/// Reads the version and offers each sink what it has not had. Blocks; to be run on a worker's thread.
///
/// # Errors
/// Whatever was offered before may be sealed already.
pub(super) fn read(work: Work, snapshot: Snapshot, runtime: &Handle) -> Result<Read, JobError> {
    let mut source = Source::new(snapshot, &work.object, &work.feed.place, runtime);
    let version = Arc::new(source.version.clone());
    let context = work.feed.context(&work.object, version.last_modified_ms);
    let before = &work.position.progress;
    let mut fan_out = FanOut::new(&context, Arc::clone(&version), work.feed.encoders.clone(), outputs(&work), runtime);
    fan_out.accepted = before.accepted;
    fan_out.keeps_fingerprints = work.feed.family.growth == Growth::Overwritten;
    fan_out.patience = work.services.limits.sink_patience;
    fan_out.entries_per_object = work.services.limits.quarantine_entries_per_object;
    let from = if fan_out.has_gap() { Some(0) } else { fan_out.least_cursor() };
    if let Some(from) = from.filter(|&from| from < before.accepted) {
        fan_out.quarantined_positions = work.services.store.quarantined_positions(&work.object, from)?;
    }
    let mut pass = Pass {
        source: &mut source,
        fan_out: &mut fan_out,
        context: &context,
        before,
        framed_bytes: work.position.framed_bytes,
        store: &work.services.store,
        limits: &work.services.limits,
        progress: &work.progress,
        shutdown: Some(&work.services.shutdown),
    };
    let ended = pass.run()?;
    let counts = fan_out.counts;
    let deferred = fan_out.outputs.iter().zip(&work.sinks).filter(|(output, _)| output.deferred).map(|(_, sink)| *sink);
    let deferred: Vec<SinkId> = deferred.collect();
    tell(&work, &source, &ended, &counts);
    Ok(Read {
        version,
        complete: ended.complete,
        progress: ended.progress,
        new_records: counts.new_records,
        framed_bytes: ended.content_bytes,
        skipped_lines: ended.skipped_lines,
        latest_event_ms: counts.latest_event_ms,
        deferred,
    })
}

fn outputs(work: &Work) -> Vec<SinkOutput> {
    let sinks = work.sinks.iter().zip(&work.trackers).zip(&work.position.sinks);
    sinks
        .map(|((&sink, tracker), position)| {
            let target = Target::Sink {
                handle: work.services.workers[sink].clone(),
                tracker: tracker.clone(),
                services: Arc::clone(&work.services),
            };
            SinkOutput::new(target, work.feed.encoder_at(sink).unwrap_or_default(), position.clone())
        })
        .collect()
}

/// Counts and says what the reading came to.
fn tell(work: &Work, source: &Source<'_>, ended: &Ended, counts: &Counts) {
    let (metrics, reporter) = (&work.services.metrics, &work.services.reporter);
    let (feed, object) = (&work.feed.name, &work.object);
    metrics.bytes_fetched.inc_by(source.fetched_bytes);
    metrics.bytes_decompressed.inc_by(ended.content_bytes);
    metrics.events_received.inc_by(counts.events);
    for (result, users) in counts.looked_up.by_result().into_iter().filter(|(_, users)| *users > 0) {
        metrics.enrichment.add([feed, result], users);
    }
    if counts.refused > 0 {
        metrics.records_quarantined.add([feed, "record"], counts.refused);
        metrics.parse_errors.add([feed, "record"], counts.refused);
        let records = counts.refused;
        limited!(
            reporter, WARN, feed, "records cannot be decoded and are quarantined", %feed, %object, records
        );
    }
    if work.position.progress.accepted > 0 && counts.new_records > 0 {
        metrics.overwrites.inc();
    }
    if ended.rewritten {
        metrics.rewrites.inc();
        let (vanished, new) = (ended.vanished, counts.new_records);
        limited!(reporter, WARN, feed, "object was rewritten", %feed, %object, vanished, new);
    }
    if ended.held_lines > 0 {
        metrics.partial_lines_held.inc_by(ended.held_lines);
        limited!(reporter, INFO, feed, "the last line is not whole yet and is held back", %feed, %object);
    }
    if ended.complete && ended.progress.content_records == 0 && ended.content_bytes > 0 {
        tell_of_no_record(work, ended);
    }
    if ended.trailing_garbage {
        limited!(reporter, WARN, feed, "bytes behind the compressed content were left out", %feed, %object);
    }
}

/// An object is not empty and holds no record, not even one that cannot be decoded: once for each feed.
fn tell_of_no_record(work: &Work, ended: &Ended) {
    let Feed { name, family, place, told_no_record, .. } = &*work.feed;
    // Who writes into a directory may not have come to the end of the first line.
    let grows = ended.held_lines > 0 && matches!(place, Place::Directory(_));
    if grows || told_no_record.swap(true, Ordering::Relaxed) {
        return;
    }
    let (object, family) = (&work.object, family.name);
    let (content_bytes, skipped_lines) = (ended.content_bytes, ended.skipped_lines);
    let suggestion = match ended.held_lines {
        0 => "no line is a record of the feed's family: is it another family's object, or in another format?",
        _ => "its last line has no end and cannot be decoded: is it cut off, or another family's object?",
    };
    warn!(feed = %name, %object, family, content_bytes, skipped_lines, suggestion, "an object that is not empty gives no record; of this feed no other such object is told");
}

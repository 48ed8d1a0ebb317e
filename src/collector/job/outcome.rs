//! Reports the outcome of a reading, and updates the metrics that are known only at its end.

use std::sync::atomic::Ordering;

use tracing::warn;

use super::Announced;
use crate::collector::feeds::Feed;
use crate::collector::report::limited;
use crate::object::Place;
use crate::reading::Summary;

/// Logs what an operator should know of a reading, and updates the metrics that are known only at its end.
pub(super) fn report(job: &Announced, ended: &Summary) {
    let (metrics, reporter) = (&job.services.metrics, &job.services.reporter);
    let (feed, object, position) = (&job.task.feed.name, &job.task.object, &job.position);
    let counts = &ended.counts;
    if counts.refused > 0 {
        let records = counts.refused;
        limited!(
            reporter, WARN, feed, "records cannot be decoded and are quarantined", %feed, %object, records
        );
    }
    if position.progress.accepted > 0 && counts.new_records > 0 {
        metrics.overwrites.add([feed], 1);
    }
    if ended.is_rewritten {
        metrics.rewrites.add([feed], 1);
        let (vanished, new) = (ended.vanished, counts.new_records);
        limited!(reporter, WARN, feed, "object was rewritten", %feed, %object, vanished, new);
    }
    if ended.held_lines > 0 {
        metrics.partial_lines_held.add([feed], 1);
        limited!(reporter, INFO, feed, "the last line is not whole yet and is held back", %feed, %object);
    }
    if ended.is_complete && ended.progress.content_records == 0 && ended.content_bytes > 0 {
        report_no_record(job, ended);
    }
    if ended.marks_bytes > 0 {
        let bytes = ended.marks_bytes;
        limited!(
            reporter, WARN, feed, "null bytes or byte order marks before lines were passed over", %feed, %object, bytes
        );
    }
    if ended.has_trailing_garbage {
        limited!(reporter, WARN, feed, "bytes behind the compressed content were left out", %feed, %object);
    }
}

/// Reports an object with content but without any record, even one that cannot be decoded. Only the first such object
/// of each feed is reported.
fn report_no_record(job: &Announced, ended: &Summary) {
    let Feed { name, family, place, reported_no_record, .. } = &*job.task.feed;
    // A file's first line may still be incomplete.
    let grows = ended.held_lines > 0 && matches!(place, Place::Directory(_));
    if grows || reported_no_record.swap(true, Ordering::Relaxed) {
        return;
    }
    let (object, family) = (&job.task.object, family.name);
    let (content_bytes, skipped_lines) = (ended.content_bytes, ended.skipped_lines);
    let suggestion = match ended.held_lines {
        0 => "no line is a record of the feed's family: is it another family's object, or in another format?",
        _ => "its last line has no end and cannot be decoded: is it cut off, or another family's object?",
    };
    warn!(feed = %name, %object, family, content_bytes, skipped_lines, suggestion, "an object that is not empty gives no record; no other such object of this feed is reported");
}

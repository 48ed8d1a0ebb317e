//! The end of a job: records that its object was read to its end.

use std::sync::Arc;

use tracing::debug;

use super::Delivered;
use crate::checkpoint::Finish;
use crate::collector::freshness;
use crate::collector::ids::SinkId;
use crate::collector::job::gathered::{self, Gathered, Rest};
use crate::collector::job::task::{JobEnd, JobError, Task};
use crate::object::Version;

/// The entity tag that is stored for a young file. No file has this tag, so the file is read once more.
fn young_etag(version: &Version) -> Box<str> {
    format!("young:{}", version.etag).into()
}

impl Delivered {
    /// Records that the object was read to its end, if the store has accepted all of it. If that fails, gathering parts
    /// are given up.
    pub(super) async fn finish(mut self) -> Result<JobEnd, JobError> {
        let gathering = std::mem::take(&mut self.gathering);
        let finished = if self.overtaken { Err(JobError::Overtaken) } else { self.record().await };
        match finished {
            Ok(finished) => Ok(self.end(finished, gathering)),
            Err(error) => {
                gathered::abandon(gathering).await;
                Err(error)
            }
        }
    }

    /// Records the reading. Returns whether it was recorded.
    async fn record(&self) -> Result<bool, JobError> {
        let Self { job, version, summary, deferred, .. } = self;
        if !summary.is_complete {
            return Ok(false);
        }
        job.services.reporter.read(&job.task.feed.name);
        let offered = job.task.sinks.iter().filter(|sink| !deferred.contains(sink));
        let finish = self.finish_of(offered.copied().collect(), deferred.is_empty());
        let fresh = finish.fresh.clone();
        let finished = job.services.store.positions.finish(finish).await?;
        job.services.reporter.stored();
        let holds_none = summary.progress.content_records == 0 && summary.content_bytes > 0;
        let result = match (finished, summary.counts.new_records) {
            (false, _) => "deferred",
            (true, 0) if summary.content_bytes == 0 => "empty",
            (true, 0) if holds_none => "no_record",
            (true, 0) => "unchanged",
            (true, _) => "delivered",
        };
        job.services.metrics.objects.add([&job.task.feed.name, result], 1);
        if finished {
            job.services.metrics.left_out.lines.add([&job.task.feed.name], summary.skipped_lines);
        }
        if finished && deferred.is_empty() {
            let (metrics, clock, feed) = (&job.services.metrics, &job.services.clock, &job.task.feed.name);
            freshness::show(metrics, clock, feed, fresh.as_ref(), version.last_modified_ms);
        }
        debug!(object = %job.task.object, records = summary.counts.new_records, result, "read");
        Ok(finished)
    }

    /// What the store records once these sinks have had what they were offered. `is_last` says whether no other sink is
    /// waited for.
    fn finish_of(&self, sinks: Vec<SinkId>, is_last: bool) -> Finish {
        let Self { job, is_young, version, summary, .. } = self;
        let Task { feed, object, .. } = &job.task;
        Finish {
            feed: Arc::clone(&feed.name),
            sinks: sinks.into_iter().map(|sink| Arc::clone(&job.services.workers[sink].name)).collect(),
            family: feed.family.name,
            object: object.clone(),
            etag: if *is_young { young_etag(version) } else { version.etag.clone() },
            progress: summary.progress.clone(),
            framed_bytes: summary.content_bytes,
            changed: summary.counts.new_records > 0,
            fresh: freshness::of(feed, object, summary.counts.latest_event_ms.filter(|_| is_last)),
            is_late: false,
            now_ms: job.services.clock.now_ms(),
        }
    }

    fn end(self, finished: bool, gathering: Vec<Gathered>) -> JobEnd {
        let is_last = self.deferred.len() == 1;
        let rest = |sink| Rest {
            finish: Finish { is_late: true, ..self.finish_of(vec![sink], is_last) },
            written_ms: self.version.last_modified_ms.filter(|_| is_last),
            skipped_lines: (!finished).then_some(self.summary.skipped_lines),
        };
        let gathered = gathering.into_iter().map(|one| Gathered { rest: Some(rest(one.sink)), ..one }).collect();
        let Self { job, version, deferred, is_young, summary, .. } = self;
        let is_new = job.position.etag.as_ref() != Some(&version.etag);
        JobEnd { finished, deferred, gathered, is_young: is_young && summary.is_complete, is_new, passed: None }
    }
}

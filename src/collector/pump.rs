//! Drives a reading: brings the bytes and fingerprints that it asks for, and runs its steps.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::batch::BUFFER_BYTES;
use crate::checkpoint::{Positions, StoreError};
use crate::collector::budget::{Budget, Loan};
use crate::collector::compute::Compute;
use crate::collector::feeds::Feed;
use crate::collector::job::task::JobError;
use crate::collector::progress::Progress;
use crate::collector::shutdown::Shutdown;
use crate::collector::users;
use crate::config;
use crate::identity::fault::FaultKind;
use crate::notification::ObjectId;
use crate::object::{Body, Condition, Objects as _, Range, ReadError, Reading, Snapshot, Version};
use crate::reading::{Input, Limits, Need, Plan, Reader, ReadingError, Scratch, SoFar, Step};
use crate::room::Room;
use crate::telemetry::metrics::Metrics;

/// A step gets this many bytes of the body, or what comes within this time after the first bytes.
const GATHERED_BYTES: usize = 1 << 20;
const GATHERED_FOR: Duration = Duration::from_millis(5);

/// A part is cut once it holds this many bytes or records. The last event may exceed this, and still fits the buffer
/// unless it is very long.
const PART_BYTES: usize = BUFFER_BYTES - (48 << 10);
const PART_RECORDS: u64 = 8192;

/// What to read, and what the reading works with.
pub(super) struct Setup<'a> {
    pub feed: Arc<Feed>,
    pub object: ObjectId,
    pub snapshot: Snapshot,
    pub positions: Arc<dyn Positions>,
    pub scratch: Arc<dyn Scratch>,
    pub compute: Compute,
    pub budget: &'a Budget,
    pub limits: Limits,
    pub metrics: &'a Arc<Metrics>,
    /// Updated with every step, and with the bytes that come.
    pub progress: Arc<Progress>,
    /// The stop request, if it may end the reading early.
    pub shutdown: Option<Shutdown>,
}

/// A reading that emits items `I` and ends with a `T`, and the version that it reads.
pub(super) struct Pump<I, T> {
    feed: Arc<Feed>,
    object: ObjectId,
    version: Version,
    body: Option<Body>,
    positions: Arc<dyn Positions>,
    compute: Compute,
    loan: Loan,
    progress: Arc<Progress>,
    shutdown: Option<Shutdown>,
    /// `None` only while a worker thread runs it.
    reader: Option<Reader<I, T>>,
    need: Option<Need>,
    inputs: Vec<Input>,
    metrics: Arc<Metrics>,
    /// The part of the reading's counts that is in the metrics already.
    counted: SoFar,
}

impl<I: Send + 'static, T: Send + 'static> Pump<I, T> {
    /// Makes the reading's plan, and begins the reading with `begin`.
    pub(super) fn new(setup: Setup<'_>, begin: impl FnOnce(Plan) -> Reader<I, T>) -> Self {
        let Setup { feed, object, snapshot, positions, scratch, compute, budget, limits, metrics, progress, shutdown } =
            setup;
        let Snapshot { version, body } = snapshot;
        let loan = budget.begin();
        let plan = Plan {
            contexts: Arc::clone(&feed) as _,
            object: object.clone(),
            version: version.clone(),
            limits,
            scratch,
            room: Room::new(Box::new(loan.clone())),
            buffers: budget.buffers.clone(),
        };
        Self {
            feed,
            object,
            version,
            body: Some(body),
            positions,
            compute,
            loan,
            progress,
            shutdown,
            reader: Some(begin(plan)),
            need: None,
            inputs: Vec::new(),
            metrics: Arc::clone(metrics),
            counted: SoFar::default(),
        }
    }

    /// Goes on until items are emitted, which are appended to `out`, or to the end, whose result is returned.
    ///
    /// # Errors
    /// The version cannot be read, now or ever. The reading must not be used any more.
    pub(super) async fn next(&mut self, out: &mut Vec<I>) -> Result<Option<T>, JobError> {
        loop {
            let input = match self.need.take() {
                Some(need) => self.answer_or_stop(need).await?,
                None => {
                    self.inputs.extend(self.is_stopped().then_some(Input::Stop));
                    Input::GoOn
                }
            };
            let step = self.step(input, out).await?;
            self.progress.step();
            match step {
                Step::Done(Ok(ended)) => return Ok(Some(ended)),
                Step::Done(Err(error)) => return Err(self.job_error(error)),
                Step::Need(need) => self.need = Some(need),
                Step::Emit => {}
            }
            if !out.is_empty() {
                return Ok(None);
            }
        }
    }

    /// Makes the reading emit nothing more to this output.
    pub(super) fn without(&mut self, output: usize) {
        self.inputs.push(Input::WithoutSink(output));
    }

    async fn step(&mut self, input: Input, out: &mut Vec<I>) -> Result<Step<T>, JobError> {
        let panicked = || JobError::Panicked { etag: self.version.etag.clone() };
        let mut reader = self.reader.take().ok_or_else(panicked)?;
        let inputs = std::mem::take(&mut self.inputs);
        let mut got = std::mem::take(out);
        let turn = move || {
            let mut step = Step::Emit;
            for input in inputs.into_iter().chain([input]) {
                step = reader.step(input, &mut got);
                // Some inputs end the reading, such as the stop.
                if matches!(step, Step::Done(_)) {
                    break;
                }
            }
            (reader, step, got)
        };
        let (reader, step, got) = self.compute.run(turn).await.ok_or_else(panicked)?;
        self.count(reader.so_far());
        self.reader = Some(reader);
        *out = got;
        Ok(step)
    }

    fn is_stopped(&self) -> bool {
        self.shutdown.as_ref().is_some_and(Shutdown::is_requested)
    }

    /// The answer, or the stop if that comes first: a shutdown does not wait for it.
    async fn answer_or_stop(&mut self, need: Need) -> Result<Input, JobError> {
        let Some(shutdown) = self.shutdown.clone() else { return self.answer(need).await };
        tokio::select! {
            biased;
            () = shutdown.requested() => Ok(Input::Stop),
            answer = self.answer(need) => answer,
        }
    }

    async fn answer(&mut self, need: Need) -> Result<Input, JobError> {
        match need {
            Need::More => self.gather().await,
            Need::Range { start, length } => {
                let only = Condition::OnlyEtag(self.version.etag.clone());
                let range = Range::Between(start, start.saturating_add(length as u64));
                let part = self.progress.wait_for(self.feed.place.read_range(&self.object, only, range)).await;
                match part.map_err(|_put_off| too_slow(&self.object))?? {
                    Reading::Changed(part) if part.start == start => {
                        self.received(part.bytes.len());
                        Ok(Input::Range(part.bytes))
                    }
                    _ => Err(ReadError::Changed { object: self.object.clone() }.into()),
                }
            }
            Need::Fingerprints { from } => {
                Ok(Input::Fingerprints(self.positions.fingerprints(&self.object, from).await?))
            }
            Need::Room(bytes) => {
                self.loan.wait(bytes).await;
                Ok(Input::Room)
            }
            Need::Reopen => {
                let only = Condition::OnlyEtag(self.version.etag.clone());
                let reopened = self.progress.wait_for(self.feed.place.read(&self.object, only)).await;
                match reopened.map_err(|_put_off| too_slow(&self.object))?? {
                    Reading::Changed(snapshot) => self.body = Some(snapshot.body),
                    Reading::Unchanged => return Err(ReadError::Changed { object: self.object.clone() }.into()),
                }
                Ok(Input::Reopened)
            }
        }
    }

    /// The next bytes of the body: enough for a step, or what has come within a short time.
    async fn gather(&mut self) -> Result<Input, JobError> {
        let Some(body) = &mut self.body else { return Ok(Input::End) };
        let (mut chunks, mut bytes): (Vec<Bytes>, usize) = (Vec::new(), 0);
        let mut soon = None;
        while bytes < GATHERED_BYTES {
            let next = match soon {
                None => self.progress.wait_for(body.next()).await.map_err(|_put_off| too_slow(&self.object))?,
                Some(soon) => match tokio::time::timeout_at(soon, body.next()).await {
                    Ok(next) => next,
                    Err(_elapsed) => break,
                },
            };
            soon.get_or_insert_with(|| Instant::now() + GATHERED_FOR);
            match next.transpose()? {
                Some(chunk) => {
                    bytes += chunk.len();
                    chunks.push(chunk);
                }
                None => {
                    self.body = None;
                    break;
                }
            }
        }
        self.received(bytes);
        Ok(if chunks.is_empty() { Input::End } else { Input::Bytes(chunks) })
    }

    fn received(&self, bytes: usize) {
        self.metrics.bytes_fetched.add([&self.feed.name], bytes as u64);
        self.progress.received(bytes);
    }

    /// Adds to the metrics what the reading counted since the last step.
    fn count(&mut self, so_far: SoFar) {
        let SoFar { content_bytes, counts } = so_far;
        let before = std::mem::replace(&mut self.counted, so_far);
        let (metrics, feed) = (&self.metrics, &*self.feed.name);
        metrics.bytes_decompressed.add([feed], content_bytes - before.content_bytes);
        metrics.events_received.add([feed], counts.events - before.counts.events);
        metrics.records_quarantined.add([feed, "record"], counts.refused - before.counts.refused);
        users::count(metrics, feed, counts.looked_up.since(&before.counts.looked_up));
    }

    /// The job's error for an error of the reading.
    fn job_error(&self, error: ReadingError) -> JobError {
        let object = self.object.clone();
        match error {
            ReadingError::Damaged(reason) => {
                let etag = self.version.etag.clone();
                JobError::Unreadable { object, etag, kind: FaultKind::Damaged, reason }
            }
            ReadingError::Changed => ReadError::Changed { object }.into(),
            ReadingError::Comparing(error) => JobError::comparing(&object, error),
            error @ ReadingError::Scratch(_) => StoreError::Failed(error.to_string()).into(),
        }
    }
}

/// The error for an object whose bytes come too slowly while other objects wait for its job.
fn too_slow(object: &ObjectId) -> ReadError {
    let reason = "its bytes come more slowly than limits.read_rate_min".to_owned();
    ReadError::Unavailable { object: object.clone(), kind: FaultKind::Timeout, reason }
}

impl From<&config::Limits> for Limits {
    fn from(limits: &config::Limits) -> Self {
        Self {
            line_bytes_max: limits.line_bytes_max,
            inflated_bytes_max: limits.inflated_bytes_max,
            inflate_ratio_max: limits.inflate_ratio_max,
            fingerprints_in_memory: limits.fingerprints_in_memory,
            part_records: PART_RECORDS,
            part_bytes: PART_BYTES,
            entries_per_object: limits.quarantine_entries_per_object,
        }
    }
}

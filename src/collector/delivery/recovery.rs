//! After a crash: makes the batch that was sealed and not committed again, from its sources.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::batch::{Advance, Batch, Part};
use crate::checkpoint::{CheckpointStore, RefusedRecord, Sealed, SealedPart, StoreError};
use crate::collector::backoff::Backoff;
use crate::collector::feeds::{Feed, Feeds};
use crate::collector::ids::SinkId;
use crate::collector::job::task::JobError;
use crate::collector::pump::{Pump, Setup, on_worker};
use crate::collector::random::Random;
use crate::collector::redelivery::{body, bytes_of, decode, not_found};
use crate::collector::report::{Reporter, limited};
use crate::collector::shutdown::Shutdown;
use crate::config::Limits;
use crate::event::Encoder;
use crate::family::Refusal;
use crate::identity::fault::FaultKind;
use crate::notification::ObjectId;
use crate::object::{Condition, Objects as _, ReadError, Reading, Snapshot, Version};
use crate::reading::{self, FoundRecord, Offer};
use crate::sink::Manifest;
use crate::telemetry::health::{Activity, Failure, Part as HealthPart, PartKind, Patience};

/// How often an object is asked for before its part counts as lost.
const NOT_FOUND_MAX: u32 = 3;

/// What a sink has to complete before anything else.
pub(in crate::collector) enum Unfinished {
    Nothing,
    Sealed {
        sealed: Sealed,
        manifest: Manifest,
        /// Makes the batch again, where the sink does not have it already.
        batch: Box<Rebuild>,
    },
}

/// What is needed to make a sealed batch again.
pub(in crate::collector) struct Rebuild {
    id: String,
    seq: u64,
    parts: Vec<SealedPart>,
    sink: SinkId,
    /// The sink, as health knows it: it stands still until the batch is made.
    health: HealthPart,
    feeds: Arc<Feeds>,
    store: CheckpointStore,
    limits: Limits,
    random: Random,
    reporter: Reporter,
    shutdown: Shutdown,
}

/// Looks up what a sink has to complete.
#[expect(clippy::too_many_arguments, reason = "what a batch is made again with")]
pub(in crate::collector) fn look_up(
    store: &CheckpointStore,
    feeds: &Arc<Feeds>,
    sink: SinkId,
    name: &str,
    limits: &Limits,
    random: &Random,
    reporter: &Reporter,
    shutdown: &Shutdown,
) -> Result<Unfinished, StoreError> {
    let Some(found) = store.sealed(name)? else { return Ok(Unfinished::Nothing) };
    let batch = Rebuild {
        id: found.sealed.id().to_owned(),
        seq: found.sealed.seq(),
        parts: found.parts,
        sink,
        health: HealthPart::new(PartKind::Sink, name),
        feeds: Arc::clone(feeds),
        store: store.clone(),
        limits: limits.clone(),
        random: random.clone(),
        reporter: reporter.clone(),
        shutdown: shutdown.clone(),
    };
    Ok(Unfinished::Sealed { sealed: found.sealed, manifest: found.manifest, batch: Box::new(batch) })
}

/// What became of a batch that was to be made again.
pub(in crate::collector) enum Rebuilt {
    Same(Batch),
    /// Its sources do not hold all of it any more, or another program wrote other bytes of them.
    Lost,
    /// The stop came first.
    Stopped,
}

impl Rebuild {
    /// The objects the batch holds records of.
    pub(in crate::collector) fn objects(&self) -> BTreeSet<ObjectId> {
        self.parts.iter().map(|part| part.advance.object.clone()).collect()
    }

    /// The batch as it was sealed, byte for byte.
    ///
    /// # Errors
    /// The store failed.
    pub(in crate::collector) async fn make(self) -> Result<Rebuilt, StoreError> {
        let mut made: Vec<Part> = Vec::with_capacity(self.parts.len());
        for sealed in &self.parts {
            match self.part(sealed).await? {
                Some(Some(part)) if part.hash() == sealed.hash => made.push(part),
                Some(_) => return Ok(Rebuilt::Lost),
                None => return Ok(Rebuilt::Stopped),
            }
        }
        Ok(Rebuilt::Same(Batch::of(self.id, self.seq, &made)))
    }

    /// One part, or `Some(None)` when its source is gone; `None` when the stop came first.
    async fn part(&self, sealed: &SealedPart) -> Result<Option<Option<Part>>, StoreError> {
        let object = &sealed.advance.object;
        let Some(feed) = self.feeds.position(object).map(|at| &self.feeds[at]) else {
            limited!(
                self.reporter, WARN, "", "an object of a batch that was under way belongs to no feed any more", %object
            );
            return Ok(Some(None));
        };
        let Some(encoder) = feed.encoder(self.sink) else { return Ok(Some(None)) };
        let mut backoff = Backoff::new(&self.random);
        loop {
            match self.read(feed, sealed, encoder).await {
                Ok(part) => {
                    self.reporter.read(&feed.name);
                    return Ok(Some(Some(part)));
                }
                Err(RebuildError::Store(error)) => return Err(error),
                Err(RebuildError::Damaged(reason)) => {
                    limited!(
                        self.reporter, WARN, &feed.name,
                        "an object of a batch that was under way cannot be read any more",
                        feed = %feed.name, %object, reason
                    );
                    return Ok(Some(None));
                }
                Err(RebuildError::Read(ReadError::NotFound { .. })) if backoff.attempts() >= NOT_FOUND_MAX => {
                    return Ok(Some(None));
                }
                Err(RebuildError::Read(error)) => {
                    let kind = error.kind();
                    self.reporter.read_failed(&feed.name, kind, &error);
                    let failure = Failure { kind: kind.word(), reason: error.to_string() };
                    self.reporter.failed(&self.health, Activity::Deliver, failure, Patience::NONE);
                    limited!(
                        self.reporter, WARN, &feed.name,
                        "an object of a batch that was under way cannot be read now; trying again",
                        feed = %feed.name, %object, kind = kind.word(), %error, hint = kind.advice()
                    );
                }
            }
            tokio::select! {
                biased;
                () = self.shutdown.requested() => return Ok(None),
                () = tokio::time::sleep(backoff.wait()) => {}
            }
        }
    }

    async fn read(&self, feed: &Arc<Feed>, sealed: &SealedPart, encoder: Encoder) -> Result<Part, RebuildError> {
        let object = &sealed.advance.object;
        let record = match sealed.redelivers {
            Some(id) => Some(self.store.refused_record(id)?.ok_or_else(left)?),
            None => None,
        };
        let needs_object = record.as_ref().is_none_or(|record| !record.has_body);
        let snapshot = if needs_object { Some(open(feed, object).await?) } else { None };
        match (record, snapshot) {
            (None, Some(snapshot)) => self.rebuild(feed, sealed, encoder, snapshot).await,
            (Some(record), snapshot) => self.rebuild_refused(feed, sealed, encoder, &record, snapshot).await,
            (None, None) => Err(left()),
        }
    }

    /// The part with as many of its records as the object still holds.
    async fn rebuild(
        &self,
        feed: &Arc<Feed>,
        sealed: &SealedPart,
        encoder: Encoder,
        snapshot: Snapshot,
    ) -> Result<Part, RebuildError> {
        let advance = sealed.advance.clone();
        let object = &sealed.advance.object;
        let before = self.store.position(object, &[])?.progress;
        let quarantined = self.store.quarantined_positions(object, advance.before)?;
        let rebuild = reading::Rebuild { before, advance, encoder, quarantined };
        let mut version = snapshot.version.clone();
        version.etag = sealed.etag.clone();
        version.last_modified_ms = sealed.last_modified_ms;
        let sealed_version = version.clone();
        let mut pump = Pump::new(self.setup(feed, object, snapshot), |plan| {
            reading::rebuild(reading::Plan { version: sealed_version, ..plan }, rebuild)
        });
        let (mut offers, mut parts): (Vec<Offer>, Vec<Part>) = (Vec::new(), Vec::new());
        loop {
            let ended = pump.next(&mut offers).await?;
            parts.extend(offers.drain(..).map(|offer| offer.part));
            if ended.is_some() {
                return Ok(joined(sealed.advance.clone(), version, &parts));
            }
        }
    }

    /// The part that is one record's events, made again. Its bytes are in `snapshot` unless they were kept.
    async fn rebuild_refused(
        &self,
        feed: &Arc<Feed>,
        sealed: &SealedPart,
        encoder: Encoder,
        record: &RefusedRecord,
        snapshot: Option<Snapshot>,
    ) -> Result<Part, RebuildError> {
        let Advance { object, before, .. } = &sealed.advance;
        let bytes = match snapshot {
            None => body(&self.store, record)?,
            Some(snapshot) => {
                let wanted = BTreeSet::from([record.hash.0]);
                let mut pump = Pump::new(self.setup(feed, object, snapshot), |plan| reading::by_hash(plan, wanted));
                let mut found: Vec<FoundRecord> = Vec::new();
                while pump.next(&mut found).await?.is_none() {}
                found.first().ok_or_else(not_found).and_then(|found| bytes_of(found).map(<[u8]>::to_vec))
            }
        };
        let bytes = bytes.map_err(|refusal| RebuildError::Damaged(refusal.to_string()))?;
        let (feed, object, record, before) = (Arc::clone(feed), object.clone(), record.clone(), *before);
        let decode = move || {
            let decoded = decode(&feed, &object, &record, &bytes, &[encoder])?;
            Ok(decoded.part(&object, before, &record, 0))
        };
        let made = on_worker(decode).await.unwrap_or_else(|| Err(Refusal::new("the decoder failed over it")));
        made.map_err(|refusal| RebuildError::Damaged(refusal.to_string()))
    }

    fn setup(&self, feed: &Arc<Feed>, object: &ObjectId, snapshot: Snapshot) -> Setup {
        Setup {
            feed: Arc::clone(feed),
            object: object.clone(),
            snapshot,
            store: self.store.clone(),
            limits: reading::Limits::from(&self.limits),
            progress: Arc::default(),
            shutdown: None,
        }
    }
}

/// Why a part cannot be made again.
#[derive(Debug, thiserror::Error)]
enum RebuildError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the object holds now cannot be read.
    #[error("{0}")]
    Damaged(String),
}

impl From<JobError> for RebuildError {
    fn from(error: JobError) -> Self {
        match error {
            JobError::Read(error) => Self::Read(error),
            JobError::Store(error) => Self::Store(error),
            error => Self::Damaged(error.to_string()),
        }
    }
}

fn joined(advance: Advance, version: Version, parts: &[Part]) -> Part {
    let whole = Batch::of(String::new(), 0, parts);
    let (version, bytes, ends, ids) = (Arc::new(version), whole.bytes, whole.ends, whole.ids);
    Part { advance, version, acceptance: None, redelivers: None, bytes, ends, ids }
}

/// A record whose events were under way is not in quarantine any more.
fn left() -> RebuildError {
    RebuildError::Damaged("a record that was requeued has left the quarantine".to_owned())
}

async fn open(feed: &Feed, object: &ObjectId) -> Result<Snapshot, ReadError> {
    match feed.place.read(object, Condition::Any).await? {
        Reading::Changed(snapshot) => Ok(snapshot),
        Reading::Unchanged => {
            let reason = "the place gave no version".to_owned();
            Err(ReadError::Unavailable { object: object.clone(), kind: FaultKind::Unavailable, reason })
        }
    }
}

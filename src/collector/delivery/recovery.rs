//! Rebuilds after a crash the batches that were sealed and not committed, from their objects.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::batch::{Batch, Lane, Piece, SealedPart};
use crate::checkpoint::{CheckpointStore, RefusedRecord, Sealed, StoreError};
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
use crate::object::{Condition, Objects as _, ReadError, Reading, Snapshot};
use crate::reading::{self, FoundRecord, Offer};
use crate::telemetry::health::{Activity, Failure, Part as HealthPart, PartKind, Patience};

/// How often an object is read before its part counts as lost.
const NOT_FOUND_MAX: u32 = 3;

/// A batch that was sealed and not committed, and how to rebuild it where the sink does not have it.
pub(in crate::collector) struct Unfinished {
    pub(in crate::collector::delivery) sealed: Sealed,
    pub(in crate::collector::delivery) batch: Rebuild,
}

/// What is needed to rebuild a sealed batch.
pub(in crate::collector) struct Rebuild {
    sealed: Sealed,
    /// What makes the sink's bytes now.
    encoder: Arc<str>,
    sink: SinkId,
    /// The sink, as health knows it: it stands still until the batch is rebuilt.
    health: HealthPart,
    feeds: Arc<Feeds>,
    store: CheckpointStore,
    limits: Limits,
    random: Random,
    reporter: Reporter,
    shutdown: Shutdown,
}

/// The batches that a sink has to complete before anything else, in the order of their seals.
#[expect(clippy::too_many_arguments, reason = "what a batch is made again with")]
pub(in crate::collector) fn look_up(
    store: &CheckpointStore,
    feeds: &Arc<Feeds>,
    sink: SinkId,
    lane: &Lane,
    encoder: &Arc<str>,
    limits: &Limits,
    random: &Random,
    reporter: &Reporter,
    shutdown: &Shutdown,
) -> Result<Vec<Unfinished>, StoreError> {
    let unfinished = |sealed: Sealed| {
        let batch = Rebuild {
            sealed: sealed.clone(),
            encoder: Arc::clone(encoder),
            sink,
            health: HealthPart::new(PartKind::Sink, &lane.sink),
            feeds: Arc::clone(feeds),
            store: store.clone(),
            limits: limits.clone(),
            random: random.clone(),
            reporter: reporter.clone(),
            shutdown: shutdown.clone(),
        };
        Unfinished { sealed, batch }
    };
    Ok(store.sealed(lane)?.into_iter().map(unfinished).collect())
}

/// What became of a batch that was to be rebuilt.
pub(in crate::collector) enum Rebuilt {
    Same(Batch),
    /// It cannot be rebuilt, for this reason.
    Lost(&'static str),
    /// The stop came first.
    Stopped,
}

impl Rebuild {
    /// The objects whose records the batch has.
    pub(in crate::collector) fn objects(&self) -> impl Iterator<Item = &ObjectId> {
        self.sealed.manifest().parts.iter().map(|part| &part.advance.object)
    }

    /// The batch as it was sealed, byte for byte.
    ///
    /// # Errors
    /// The store failed.
    pub(in crate::collector) async fn make(self) -> Result<Rebuilt, StoreError> {
        let manifest = self.sealed.manifest();
        if *manifest.encoder != *self.encoder {
            return Ok(Rebuilt::Lost("another version or configuration of the program wrote it"));
        }
        let mut made: Vec<Piece> = Vec::new();
        for sealed in &manifest.parts {
            match self.part(sealed).await? {
                Some(Some(pieces)) if sealed.is_made_of(&pieces) => made.extend(pieces),
                Some(_) => return Ok(Rebuilt::Lost("its objects do not hold all of it any more")),
                None => return Ok(Rebuilt::Stopped),
            }
        }
        Ok(Rebuilt::Same(Batch::of(manifest, made.iter())))
    }

    /// One part, or `Some(None)` when its source is gone; `None` when the stop came first.
    async fn part(&self, sealed: &SealedPart) -> Result<Option<Option<Vec<Piece>>>, StoreError> {
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
                Ok(pieces) => {
                    self.reporter.read(&feed.name);
                    return Ok(Some(Some(pieces)));
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

    async fn read(&self, feed: &Arc<Feed>, sealed: &SealedPart, encoder: Encoder) -> Result<Vec<Piece>, RebuildError> {
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

    /// The part's events, of as many of its records as the object still has.
    async fn rebuild(
        &self,
        feed: &Arc<Feed>,
        sealed: &SealedPart,
        encoder: Encoder,
        snapshot: Snapshot,
    ) -> Result<Vec<Piece>, RebuildError> {
        let advance = sealed.advance.clone();
        let object = &sealed.advance.object;
        let before = self.store.position(object, &[])?.progress;
        let quarantined = self.store.quarantined_positions(object, advance.before)?;
        let rebuild = reading::Rebuild { before, advance, encoder, quarantined };
        let mut version = snapshot.version.clone();
        version.etag = sealed.etag.clone();
        version.last_modified_ms = sealed.last_modified_ms;
        let mut pump = Pump::new(self.setup(feed, object, snapshot), |plan| {
            reading::rebuild(reading::Plan { version, ..plan }, rebuild)
        });
        let (mut offers, mut pieces): (Vec<Offer>, Vec<Piece>) = (Vec::new(), Vec::new());
        loop {
            let ended = pump.next(&mut offers).await?;
            pieces.extend(offers.drain(..).map(|offer| offer.part.piece));
            if ended.is_some() {
                return Ok(pieces);
            }
        }
    }

    /// The events of one record out of quarantine. Its bytes are in `snapshot` unless they were kept.
    async fn rebuild_refused(
        &self,
        feed: &Arc<Feed>,
        sealed: &SealedPart,
        encoder: Encoder,
        record: &RefusedRecord,
        snapshot: Option<Snapshot>,
    ) -> Result<Vec<Piece>, RebuildError> {
        let object = &sealed.advance.object;
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
        let (feed, object, record) = (Arc::clone(feed), object.clone(), record.clone());
        let decode = move || decode(&feed, &object, &record, &bytes, &[encoder]).map(|decoded| decoded.pieces);
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

/// Why a part cannot be rebuilt.
#[derive(Debug, thiserror::Error)]
enum RebuildError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The object's content cannot be read any more.
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

/// The record was under way, and is not in quarantine any more.
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

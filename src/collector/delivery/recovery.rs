//! After a crash: makes the batches that were sealed and not committed again, from their sources.

use std::sync::Arc;

use crate::batch::{Batch, Lane, Piece, SealedPart};
use crate::checkpoint::{CheckpointStore, Sealed, StoreError};
use crate::collector::backoff::Backoff;
use crate::collector::feeds::{Feed, Feeds};
use crate::collector::ids::SinkId;
use crate::collector::reading;
use crate::collector::report::{Reporter, limited};
use crate::collector::shutdown::Shutdown;
use crate::config::Limits;
use crate::event::Encoder;
use crate::identity::fault::FaultKind;
use crate::notification::ObjectId;
use crate::object::{Condition, Objects as _, ReadError, Reading, Snapshot};
use crate::telemetry::health::{Activity, Failure, Part as HealthPart, PartKind, Patience};
use tokio::runtime::Handle;

/// How often an object is asked for before its part counts as lost.
const NOT_FOUND_MAX: u32 = 3;

/// A batch that was sealed and not committed, and how it is made again where the sink does not have it already.
pub(in crate::collector) struct Unfinished {
    pub(in crate::collector::delivery) sealed: Sealed,
    pub(in crate::collector::delivery) batch: Rebuild,
}

/// What is needed to make a sealed batch again.
pub(in crate::collector) struct Rebuild {
    sealed: Sealed,
    /// What makes the sink's bytes now.
    encoder: Arc<str>,
    sink: SinkId,
    /// The sink, as health knows it: it stands still until the batch is made.
    health: HealthPart,
    feeds: Arc<Feeds>,
    store: CheckpointStore,
    limits: Limits,
    reporter: Reporter,
    shutdown: Shutdown,
}

/// Looks up what a sink has to complete before anything else, in the order in which it was sealed.
#[expect(clippy::too_many_arguments, reason = "the parts of one start, called once")]
pub(in crate::collector) fn look_up(
    store: &CheckpointStore,
    feeds: &Arc<Feeds>,
    sink: SinkId,
    lane: &Lane,
    encoder: &Arc<str>,
    limits: &Limits,
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
            reporter: reporter.clone(),
            shutdown: shutdown.clone(),
        };
        Unfinished { sealed, batch }
    };
    Ok(store.sealed(lane)?.into_iter().map(unfinished).collect())
}

/// What became of a batch that was to be made again.
pub(in crate::collector) enum Rebuilt {
    Same(Batch),
    /// It cannot be made again, for this reason.
    Lost(&'static str),
    /// The stop came first.
    Stopped,
}

impl Rebuild {
    /// The objects the batch holds records of.
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
        let mut backoff = Backoff::default();
        loop {
            match self.read(feed, sealed, encoder).await {
                Ok(pieces) => {
                    self.reporter.read(&feed.name);
                    return Ok(Some(Some(pieces)));
                }
                Err(reading::RebuildError::Store(error)) => return Err(error),
                Err(reading::RebuildError::Damaged(reason)) => {
                    limited!(
                        self.reporter, WARN, &feed.name,
                        "an object of a batch that was under way cannot be read any more",
                        feed = %feed.name, %object, reason
                    );
                    return Ok(Some(None));
                }
                Err(reading::RebuildError::Read(ReadError::NotFound { .. })) if backoff.attempts() >= NOT_FOUND_MAX => {
                    return Ok(Some(None));
                }
                Err(reading::RebuildError::Read(error)) => {
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

    async fn read(
        &self,
        feed: &Arc<Feed>,
        sealed: &SealedPart,
        encoder: Encoder,
    ) -> Result<Vec<Piece>, reading::RebuildError> {
        let object = &sealed.advance.object;
        let record = match sealed.redelivers {
            Some(id) => Some(self.store.refused_record(id)?.ok_or_else(left)?),
            None => None,
        };
        let needs_object = record.as_ref().is_none_or(|record| !record.has_body);
        let snapshot = if needs_object { Some(open(feed, object).await?) } else { None };
        let work = reading::RebuildWork {
            feed: Arc::clone(feed),
            sealed: sealed.clone(),
            encoder,
            store: self.store.clone(),
            limits: self.limits.clone(),
        };
        let runtime = Handle::current();
        let made = tokio::task::spawn_blocking(move || match (record, snapshot) {
            (None, Some(snapshot)) => reading::rebuild(work, snapshot, &runtime),
            (Some(record), snapshot) => reading::rebuild_refused(work, &record, snapshot, &runtime),
            (None, None) => Err(left()),
        })
        .await;
        made.unwrap_or_else(|_panic| Err(reading::RebuildError::Damaged("the decoder failed over it".to_owned())))
    }
}

/// A record whose events were under way is not in quarantine any more.
fn left() -> reading::RebuildError {
    reading::RebuildError::Damaged("a record that was requeued has left the quarantine".to_owned())
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

//! After a crash: makes the batch that was sealed and not committed again, from its sources.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::batch::{Batch, Part};
use crate::checkpoint::{CheckpointStore, Sealed, SealedPart, StoreError};
use crate::collector::backoff::Backoff;
use crate::collector::feeds::{Feed, Feeds};
use crate::collector::ids::SinkId;
use crate::collector::random::Random;
use crate::collector::reading;
use crate::collector::report::{Reporter, limited};
use crate::collector::shutdown::Shutdown;
use crate::config::Limits;
use crate::event::Encoder;
use crate::identity::fault::FaultKind;
use crate::notification::ObjectId;
use crate::object::{Condition, Objects as _, ReadError, Reading, Snapshot};
use crate::sink::Manifest;
use crate::telemetry::health::{Activity, Failure, Part as HealthPart, PartKind, Patience};
use tokio::runtime::Handle;

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
    ) -> Result<Part, reading::RebuildError> {
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

//! Rebuilds, after a crash, the batches that were sealed and not committed, from their objects.

use std::sync::Arc;

use crate::batch::{Advance, Batch, BatchPart, Form, Lane, Piece, Provenance, SealedPart, Tally};
use crate::checkpoint::{KeptRecord, Sealed, Store, StoreError};
use crate::collector::backoff::Backoff;
use crate::collector::budget::Budget;
use crate::collector::compute::Compute;
use crate::collector::feeds::{Feed, Feeds};
use crate::collector::ids::SinkId;
use crate::collector::job::kept;
use crate::collector::job::task::JobError;
use crate::collector::pump::{Pump, Setup};
use crate::collector::random::Random;
use crate::collector::report::{Reporter, limited, without_address};
use crate::collector::shutdown::Shutdown;
use crate::config::Limits;
use crate::delta::Places;
use crate::event::Encoder;
use crate::identity::fault::FaultKind;
use crate::notification::ObjectId;
use crate::object::{Condition, Objects as _, ReadError, Reading, Snapshot, Version};
use crate::reading::{self, LackedEvents, Offer, Scratch};
use crate::telemetry::flow::{Flow, RecordsUnderWay};
use crate::telemetry::health::{Activity, Failure, Part as HealthPart, PartKind, Patience};

/// How many reads must find no object before its part counts as lost.
const NOT_FOUND_MAX: u32 = 3;

/// A batch that was sealed and not committed, and what it takes to rebuild it if the sink does not have it.
pub(in crate::collector) struct Unfinished {
    pub(in crate::collector::delivery) sealed: Sealed,
    pub(in crate::collector::delivery) batch: Rebuild,
}

/// The records of one part of an unfinished batch, counted as under way.
#[derive(Debug)]
pub(in crate::collector) struct UnfinishedRecords {
    records: RecordsUnderWay,
    advance: Advance,
    tally: Tally,
}

impl UnfinishedRecords {
    /// Counts the records as passed by the sink. `refused` returns how many records of an advance have an event that
    /// the sink never takes.
    pub(in crate::collector) fn passed(self, refused: impl Fn(&Advance) -> u64) {
        let refused = refused(&self.advance);
        self.records.passed(&self.tally, refused);
    }

    /// Counts the records as lost: the sink has none of them.
    pub(in crate::collector) fn lost(self) {
        self.records.passed(&Tally::lost(&self.advance), 0);
    }
}

/// Rebuilds one sealed batch.
pub(in crate::collector) struct Rebuild {
    sealed: Sealed,
    /// The name of the encoder that makes the sink's bytes now.
    encoder: Arc<str>,
    sink: SinkId,
    sink_name: Arc<str>,
    /// The sink as a part in health reports. It is not ready until the batch is rebuilt.
    health: HealthPart,
    feeds: Arc<Feeds>,
    store: Store,
    scratch: Arc<dyn Scratch>,
    limits: Limits,
    compute: Compute,
    budget: Budget,
    random: Random,
    reporter: Reporter,
    shutdown: Shutdown,
}

/// The batches that a lane must complete first, in the order of their seals.
#[expect(clippy::too_many_arguments, reason = "what a batch is made again with")]
pub(in crate::collector) async fn look_up(
    store: &Store,
    scratch: &Arc<dyn Scratch>,
    feeds: &Arc<Feeds>,
    sink: SinkId,
    lane: &Lane,
    encoder: &Arc<str>,
    limits: &Limits,
    compute: Compute,
    budget: &Budget,
    random: &Random,
    reporter: &Reporter,
    shutdown: &Shutdown,
) -> Result<Vec<Unfinished>, StoreError> {
    let unfinished = |sealed: Sealed| {
        let batch = Rebuild {
            sealed: sealed.clone(),
            encoder: Arc::clone(encoder),
            sink,
            sink_name: Arc::clone(&lane.sink),
            health: HealthPart::new(PartKind::Sink, &lane.sink),
            feeds: Arc::clone(feeds),
            store: store.clone(),
            scratch: Arc::clone(scratch),
            limits: limits.clone(),
            compute,
            budget: budget.clone(),
            random: random.clone(),
            reporter: reporter.clone(),
            shutdown: shutdown.clone(),
        };
        Unfinished { sealed, batch }
    };
    Ok(store.positions.sealed(lane).await?.into_iter().map(unfinished).collect())
}

/// A rebuilt part.
type Made = (Arc<Provenance>, Vec<Piece>);

/// The provenance of the part as of its seal.
fn provenance(feed: &Feed, sealed: &SealedPart) -> Provenance {
    let version = Version {
        etag: sealed.etag.clone(),
        version_id: None,
        last_modified_ms: sealed.last_modified_ms,
        size_bytes: 0,
    };
    let object = sealed.advance.object.clone();
    Provenance { feed: Arc::clone(&feed.name), family: feed.family.name, object, version }
}

/// The outcome of a rebuild.
pub(in crate::collector) enum Rebuilt {
    Same(Batch),
    /// The batch cannot be rebuilt, for this reason.
    Lost(&'static str),
    /// The stop came first.
    Stopped,
}

impl Rebuild {
    /// The objects whose records are in the batch.
    pub(in crate::collector) fn objects(&self) -> impl Iterator<Item = &ObjectId> {
        self.sealed.manifest().parts.iter().map(|part| &part.advance.object)
    }

    /// The batch's records, counted as under way from here on. Objects that belong to no feed now are left out.
    pub(in crate::collector) fn records(&self, flow: &Flow) -> Vec<UnfinishedRecords> {
        let of_part = |SealedPart { advance, .. }: &SealedPart| {
            let (feed, tally) = (&self.feeds[self.feeds.position(&advance.object)?], Tally::untold(advance));
            let records = flow.begin(&feed.name, &self.sink_name, tally.records);
            Some(UnfinishedRecords { records, advance: advance.clone(), tally })
        };
        self.sealed.manifest().parts.iter().filter_map(of_part).collect()
    }

    /// Notes how many of the records are in quarantine, in a batch that the sink has already. How many the sink's
    /// filter left out is not known without a reading.
    ///
    /// # Errors
    /// The store failed.
    pub(in crate::collector) async fn tell(&self, records: &mut [UnfinishedRecords]) -> Result<(), StoreError> {
        for UnfinishedRecords { advance, tally, .. } in records.iter_mut().filter(|one| !one.advance.form.fills()) {
            let quarantine = &self.store.quarantine;
            let mut closed = quarantine.quarantined_places(&advance.object, advance.before).await?.closed;
            let places = (advance.before..advance.after).filter(|place| advance.holds(*place));
            tally.refused = places.filter(|place| closed.contains(*place)).count() as u64;
        }
        Ok(())
    }

    /// Rebuilds the batch as it was sealed, byte for byte, and updates the tallies of `records`.
    ///
    /// # Errors
    /// The store failed.
    pub(in crate::collector) async fn make(self, records: &mut [UnfinishedRecords]) -> Result<Rebuilt, StoreError> {
        let manifest = self.sealed.manifest();
        if *manifest.encoder != *self.encoder {
            return Ok(Rebuilt::Lost("another version or configuration of the program wrote it"));
        }
        let mut made: Vec<BatchPart> = Vec::new();
        for sealed in &manifest.parts {
            match self.part(sealed).await? {
                Some(Some((provenance, pieces))) if sealed.is_made_of(&pieces) => {
                    let of_part = records.iter_mut().find(|records| records.advance == sealed.advance);
                    of_part.into_iter().for_each(|records| records.tally = Tally::of(&records.advance, &pieces));
                    let part = |piece| BatchPart { provenance: Arc::clone(&provenance), piece };
                    made.extend(pieces.into_iter().map(part));
                }
                Some(_) => return Ok(Rebuilt::Lost("its objects do not hold all of it any more")),
                None => return Ok(Rebuilt::Stopped),
            }
        }
        Ok(Rebuilt::Same(Batch::new(manifest, made)))
    }

    /// Rebuilds one part. `Some(None)` if its object or feed is gone, `None` if the stop came first.
    async fn part(&self, sealed: &SealedPart) -> Result<Option<Option<Made>>, StoreError> {
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
            let read = tokio::select! {
                biased;
                () = self.shutdown.requested() => return Ok(None),
                read = self.read(feed, sealed, encoder.clone()) => read,
            };
            match read {
                Ok(pieces) => {
                    self.reporter.read(&feed.name);
                    return Ok(Some(Some((Arc::new(provenance(feed, sealed)), pieces))));
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
                        feed = %feed.name, %object, kind = kind.word(), error = without_address(object, &error),
                        hint = kind.advice()
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
        if let Form::Fill { places } = &sealed.advance.form
            && places.places() == 1
        {
            let place = places.span().start;
            let events = self.store.quarantine.kept_events(object, &self.sink_name, place).await?;
            let as_kept = kept::piece(&events).map(|piece| vec![piece]);
            if let Some(pieces) = as_kept.filter(|pieces| sealed.is_made_of(pieces)) {
                return Ok(pieces);
            }
            if let Some(record) = self.store.quarantine.kept_record(object, place).await? {
                let record = KeptRecord { last_modified_ms: sealed.last_modified_ms, ..record };
                let made = kept::decode(self.compute, feed, object, &Arc::new(record), vec![encoder]).await;
                return made.map(|made| made.pieces).map_err(|refusal| RebuildError::Damaged(refusal.to_string()));
            }
        }
        let snapshot = open(feed, object).await?;
        self.rebuild(feed, sealed, encoder, snapshot).await
    }

    /// The part's events, from those of its records that the object still has.
    async fn rebuild(
        &self,
        feed: &Arc<Feed>,
        sealed: &SealedPart,
        encoder: Encoder,
        snapshot: Snapshot,
    ) -> Result<Vec<Piece>, RebuildError> {
        let advance = sealed.advance.clone();
        let object = &sealed.advance.object;
        let mut position = self.store.positions.position(object, std::slice::from_ref(&self.sink_name)).await?;
        // Records that were in quarantine and not requeued at the seal are still in quarantine, or were requeued since
        // and are in the sink's gap.
        let mut skipped = match (&advance.form, position.sinks.pop()) {
            (Form::Onward { .. }, Some(stands)) => stands.gap,
            _ => Places::default(),
        };
        if !advance.form.fills() {
            let quarantined = self.store.quarantine.quarantined_places(object, advance.before).await?;
            skipped.insert_places(&mut { quarantined.closed });
        }
        let lacked = match advance.form.fills() {
            true => self.store.quarantine.lacked_events(object, &self.sink_name).await?,
            false => LackedEvents::default(),
        };
        let rebuild = reading::Rebuild { before: position.progress, advance, encoder, skipped, lacked };
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

    fn setup(&self, feed: &Arc<Feed>, object: &ObjectId, snapshot: Snapshot) -> Setup<'_> {
        Setup {
            feed: Arc::clone(feed),
            object: object.clone(),
            snapshot,
            positions: Arc::clone(&self.store.positions),
            scratch: Arc::clone(&self.scratch),
            compute: self.compute,
            budget: &self.budget,
            metrics: self.reporter.metrics(),
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
    /// The object's content cannot be read or decoded any more.
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

async fn open(feed: &Feed, object: &ObjectId) -> Result<Snapshot, ReadError> {
    match feed.place.read(object, Condition::Any).await? {
        Reading::Changed(snapshot) => Ok(snapshot),
        Reading::Unchanged => {
            let reason = "the place gave no version".to_owned();
            Err(ReadError::Unavailable { object: object.clone(), kind: FaultKind::Unavailable, reason })
        }
    }
}

//! One sink worker: gathers parts into batches, seals them, sends until the sink has them, and commits.

mod gaps;

mod gathering;

mod resuming;

mod waiting;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use self::gathering::Gathering;
use crate::batch::{Batch, Lane, Limits};
use crate::checkpoint::{CheckpointStore, Seal, Sealed, StoreError};
use crate::collector::backoff::Backoff;
use crate::collector::clock::Clock;
use crate::collector::delivery::queue::{Offer, Status, WorkerHandle};
use crate::collector::delivery::recovery::Unfinished;
use crate::collector::random::Random;
use crate::collector::report::{Reporter, limited};
use crate::collector::shutdown::Shutdown;
use crate::notification::ObjectId;
use crate::sink::{Delivery, Receipt, Sink};
use crate::telemetry::health::{Activity, Part as HealthPart, PartKind};
use crate::telemetry::metrics::Metrics;

/// Why a sink worker ended before it was closed.
#[derive(Debug, thiserror::Error)]
pub(in crate::collector) enum WorkerError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stop came while the sink was failing; what was sealed is sent after the next start.
    #[error("stopped")]
    Stopped,
}

/// One sink's task: one batch is under way, and the next gathers meanwhile.
pub(in crate::collector) struct SinkWorker {
    sender: LaneSender,
    gathering: Gathering,
}

/// What a sink worker is made of.
pub(in crate::collector) struct Setup {
    pub lane: Lane,
    pub sink: Box<dyn Sink>,
    /// Which program, encoding and settings make the bytes.
    pub encoder: Arc<str>,
    pub limits: Limits,
    /// Bytes of encoded events that may wait for the worker: two full batches.
    pub room_bytes: usize,
    pub store: CheckpointStore,
    pub clock: Clock,
    pub random: Random,
    pub metrics: Arc<Metrics>,
    pub reporter: Reporter,
    pub shutdown: Shutdown,
    /// After the stop, how long a delivery under way is waited for.
    pub last_send: Duration,
    /// With `--once` nobody waits for space on the checkpoint store's disk.
    pub once: bool,
}

/// Sends one batch after the other to the sink, and commits it in the checkpoint store.
struct LaneSender {
    name: Arc<str>,
    status: watch::Sender<Status>,
    setup: Setup,
}

/// A sealed batch, and what it is made of.
struct UnderWay {
    sealed: Sealed,
    offers: Vec<Offer>,
}

impl SinkWorker {
    pub(in crate::collector) fn new(setup: Setup) -> (Self, WorkerHandle) {
        let name = Arc::clone(&setup.lane.sink);
        let (handle, inner) = WorkerHandle::new(Arc::clone(&name), setup.room_bytes);
        let gathering = Gathering::new(setup.limits, inner.offers, inner.producers);
        let sender = LaneSender { name, status: inner.status, setup };
        (Self { sender, gathering }, handle)
    }

    /// Runs until every handle is gone and all that was offered is committed. `unfinished` are the batches that were sealed
    /// before the process last ended.
    ///
    /// # Errors
    /// The store failed, or the stop came while the sink was failing.
    pub(in crate::collector) async fn run(self, unfinished: Vec<Unfinished>) -> Result<(), WorkerError> {
        let Self { mut sender, mut gathering } = self;
        sender.status.send_modify(|status| status.failing = Some(Instant::now()));
        sender.recover(unfinished).await?;
        sender.resume(&[]).await?;
        sender.status.send_replace(Status::default());
        sender.setup.reporter.worked(&sender.part(), Activity::Deliver);
        let mut sealed = None;
        loop {
            let under_way = match sealed.take() {
                Some(under_way) => under_way,
                None => {
                    let Some(offers) = gathering.cut().await else { return Ok(()) };
                    let Some(under_way) = sender.seal(offers).await? else { continue };
                    under_way
                }
            };
            let batch = under_way.batch();
            let receipt = tokio::select! {
                biased;
                receipt = sender.deliver(&batch) => receipt?,
                never = gathering.grow() => match never {},
            };
            drop(batch);
            sealed = match gathering.cut_soon().await {
                Some(next) => sender.commit_and_seal(under_way, &receipt, next).await?,
                None => {
                    sender.commit_alone(&under_way.sealed, &receipt).await?;
                    sender.sent_nothing_more();
                    sender.committed(under_way);
                    None
                }
            };
        }
    }
}

impl UnderWay {
    fn batch(&self) -> Batch {
        Batch::of(self.sealed.manifest(), self.offers.iter().map(|offer| &offer.part.piece))
    }
}

/// The parts of a cut batch whose jobs have not given up: from here on they will be sealed or overtaken.
fn taken(cut: Vec<Offer>) -> Vec<Offer> {
    cut.into_iter().filter(|offer| offer.tracker.take()).collect()
}

fn objects(offers: &[Offer]) -> BTreeSet<ObjectId> {
    offers.iter().map(|offer| offer.part.advance.object.clone()).collect()
}

impl LaneSender {
    /// The sink, as health knows it.
    fn part(&self) -> HealthPart {
        HealthPart::new(PartKind::Sink, &self.name)
    }

    /// Shows which objects the batch under way has records of.
    fn sending(&self, objects: BTreeSet<ObjectId>) {
        self.status.send_modify(|status| status.sending = Some((Instant::now(), Arc::new(objects))));
    }

    /// Shows that the next batch is being sealed too.
    fn sealing(&self, offers: &[Offer]) {
        self.status.send_modify(|status| {
            if let Some((_, under_way)) = &mut status.sending {
                Arc::make_mut(under_way).extend(objects(offers));
            }
        });
    }

    fn sent_nothing_more(&self) {
        self.status.send_modify(|status| status.sending = None);
    }

    /// Seals the cut parts that the store accepts.
    async fn seal(&mut self, cut: Vec<Offer>) -> Result<Option<UnderWay>, WorkerError> {
        let offers = taken(cut);
        self.sending(objects(&offers));
        self.seal_taken(offers).await
    }

    /// Seals these parts. A part whose object has moved on is left out, and its job reads again.
    async fn seal_taken(&mut self, mut offers: Vec<Offer>) -> Result<Option<UnderWay>, WorkerError> {
        let mut backoff = Backoff::new(&self.setup.random);
        while !offers.is_empty() {
            match self.setup.store.seal(self.seal_of(&offers)).await {
                Ok(sealed) => {
                    self.written(&backoff);
                    offers.iter().for_each(|offer| offer.tracker.sealed());
                    return Ok(Some(UnderWay { sealed, offers }));
                }
                Err(StoreError::Overtaken { object }) => offers = self.without(offers, &object),
                Err(StoreError::Full) => self.wait_for_space(&mut backoff).await?,
                Err(error) => return Err(error.into()),
            }
        }
        self.written(&backoff);
        self.sent_nothing_more();
        Ok(None)
    }

    fn seal_of(&self, offers: &[Offer]) -> Seal {
        Seal {
            lane: self.setup.lane.clone(),
            encoder: Arc::clone(&self.setup.encoder),
            parts: offers.iter().map(|offer| offer.part.clone()).collect(),
            now_ms: self.setup.clock.now_ms(),
        }
    }

    /// Sends a batch until the sink has it.
    async fn deliver(&mut self, batch: &Batch) -> Result<Receipt, WorkerError> {
        let mut backoff = Backoff::new(&self.setup.random);
        if let Some(receipt) = Receipt::nothing(batch) {
            return Ok(receipt);
        }
        loop {
            let sent = tokio::select! {
                biased;
                sent = self.setup.sink.deliver(batch, self.setup.clock.now_ms()) => sent,
                // The sealed batch is sent after the next start.
                () = self.setup.shutdown.requested_for(self.setup.last_send) => return Err(WorkerError::Stopped),
            };
            match sent {
                Ok(Delivery::Moved(moved)) => self.remember(moved).await?,
                Ok(Delivery::Taken(receipt)) => {
                    self.setup.metrics.sink_batches.add([&self.name, "delivered"], 1);
                    self.takes_again();
                    self.setup.reporter.worked(&self.part(), Activity::Deliver);
                    return Ok(receipt);
                }
                Err(error) => self.pause(&error, &mut backoff).await?,
            }
        }
    }

    async fn commit_alone(&mut self, sealed: &Sealed, receipt: &Receipt) -> Result<(), WorkerError> {
        let mut backoff = Backoff::new(&self.setup.random);
        loop {
            let began = Instant::now();
            match self.setup.store.commit(sealed, receipt).await {
                Ok(committed) => {
                    self.written(&backoff);
                    self.report_gaps(&committed);
                    self.setup.metrics.checkpoint_commit_seconds.observe(began.elapsed().as_secs_f64());
                    return Ok(());
                }
                Err(StoreError::Full) => self.wait_for_space(&mut backoff).await?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Commits a batch and seals the next in one write.
    async fn commit_and_seal(
        &mut self,
        done: UnderWay,
        receipt: &Receipt,
        cut: Vec<Offer>,
    ) -> Result<Option<UnderWay>, WorkerError> {
        let offers = taken(cut);
        self.sealing(&offers);
        let mut backoff = Backoff::new(&self.setup.random);
        let next = loop {
            let began = Instant::now();
            match self.setup.store.commit_and_seal(&done.sealed, receipt, self.seal_of(&offers)).await {
                Ok((committed, next)) => {
                    self.written(&backoff);
                    self.report_gaps(&committed);
                    self.setup.metrics.checkpoint_commit_seconds.observe(began.elapsed().as_secs_f64());
                    break next;
                }
                Err(StoreError::Full) => self.wait_for_space(&mut backoff).await?,
                Err(error) => return Err(error.into()),
            }
        };
        self.sending(objects(&offers));
        self.committed(done);
        match next {
            Ok(sealed) => {
                offers.iter().for_each(|offer| offer.tracker.sealed());
                Ok(Some(UnderWay { sealed, offers }))
            }
            Err(StoreError::Overtaken { object }) => {
                let offers = self.without(offers, &object);
                self.seal_taken(offers).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Tells the jobs that the sink has had their parts.
    fn committed(&self, done: UnderWay) {
        let events: usize = done.offers.iter().map(|offer| offer.part.piece.ends.len()).sum();
        self.setup.metrics.events_sent.add([&self.name], events as u64);
        for offer in done.offers {
            offer.tracker.committed();
        }
    }

    /// Leaves out the parts of an object that has moved on; their jobs read it again.
    fn without(&self, offers: Vec<Offer>, object: &ObjectId) -> Vec<Offer> {
        let (left_out, kept): (Vec<Offer>, Vec<Offer>) =
            offers.into_iter().partition(|offer| offer.part.advance.object == *object);
        let (reporter, sink, parts) = (&self.setup.reporter, &self.name, left_out.len());
        limited!(reporter, WARN, sink, "an object has moved on; reading it again", %sink, %object, parts);
        for offer in left_out {
            offer.tracker.overtaken();
        }
        kept
    }
}

#[cfg(test)]
mod tests;

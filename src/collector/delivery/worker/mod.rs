//! One sink's way: gathers parts into batches, seals, sends until the sink has them, commits.

mod gaps;

mod waiting;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::batch::{Batch, Builder, Limits, Part};
use crate::checkpoint::{CheckpointStore, Seal, Sealed, StoreError};
use crate::collector::backoff::Backoff;
use crate::collector::clock::Clock;
use crate::collector::delivery::queue::{Inner, Offer, Status, WorkerHandle};
use crate::collector::delivery::recovery::{Rebuilt, Unfinished};
use crate::collector::random::Random;
use crate::collector::report::{Reporter, limited};
use crate::collector::shutdown::Shutdown;
use crate::notification::ObjectId;
use crate::sink::{Delivery, Manifest, Moved, Receipt, Sink, Why};
use crate::telemetry::health::{Activity, Part as HealthPart, PartKind};
use crate::telemetry::metrics::Metrics;

/// A batch is cut when nothing was added to it for as long, though more may come.
const IDLE: Duration = Duration::from_millis(20);

/// Why a sink worker ended before it was closed.
#[derive(Debug, thiserror::Error)]
pub(in crate::collector) enum WorkerError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stop came while the sink was failing; what was sealed is sent after the next start.
    #[error("stopped")]
    Stopped,
}

/// One sink's task.
pub(in crate::collector) struct SinkWorker {
    name: Arc<str>,
    sink: Sink,
    encoder: String,
    store: CheckpointStore,
    clock: Clock,
    random: Random,
    metrics: Arc<Metrics>,
    reporter: Reporter,
    shutdown: Shutdown,
    limits: Limits,
    last_send: Duration,
    once: bool,
    inner: Inner,
}

/// What a sink worker is made of.
pub(in crate::collector) struct Setup {
    pub name: Arc<str>,
    pub sink: Sink,
    /// Which program and encoding makes the bytes.
    pub encoder: String,
    pub limits: Limits,
    /// Bytes of encoded events that may wait for the worker.
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

impl SinkWorker {
    pub(in crate::collector) fn new(setup: Setup) -> (Self, WorkerHandle) {
        let room_bytes = setup.room_bytes.max(2 * setup.limits.bytes);
        let (handle, inner) = WorkerHandle::new(Arc::clone(&setup.name), room_bytes);
        let Setup {
            name,
            sink,
            encoder,
            limits,
            store,
            clock,
            random,
            metrics,
            reporter,
            shutdown,
            last_send,
            once,
            ..
        } = setup;
        let worker = Self {
            name,
            sink,
            encoder,
            store,
            clock,
            random,
            metrics,
            reporter,
            shutdown,
            last_send,
            once,
            limits,
            inner,
        };
        (worker, handle)
    }

    /// Runs until every handle is gone and all that was offered is committed. `unfinished` is the batch that was sealed
    /// before the process last ended.
    ///
    /// # Errors
    /// The store failed, or the stop came while the sink was failing.
    pub(in crate::collector) async fn run(mut self, unfinished: Unfinished) -> Result<(), WorkerError> {
        self.inner.status.send_modify(|status| status.failing = Some(Instant::now()));
        self.recover(unfinished).await?;
        self.resume(None).await?;
        self.inner.status.send_replace(Status::default());
        self.reporter.worked(&self.part(), Activity::Deliver);
        while let Some(offers) = self.gather().await {
            self.carry(offers).await?;
        }
        Ok(())
    }

    /// The sink, as health knows it.
    fn part(&self) -> HealthPart {
        HealthPart::new(PartKind::Sink, &self.name)
    }

    async fn recover(&mut self, unfinished: Unfinished) -> Result<(), WorkerError> {
        match unfinished {
            Unfinished::Nothing => Ok(()),
            Unfinished::Sealed { sealed, manifest, batch } => {
                self.sending(batch.objects());
                self.resume(Some(&manifest)).await?;
                let mut backoff = Backoff::new(&self.random);
                let settled = loop {
                    match self.sink.settled(&manifest).await {
                        Ok(settled) => break settled,
                        Err(error) => self.pause(&error, &mut backoff).await?,
                    }
                };
                info!(sink = %self.name, batch = sealed.id(), complete = settled.is_some(), "completing the batch that was under way");
                let receipt = match settled {
                    Some(receipt) => receipt,
                    None => match batch.make().await? {
                        Rebuilt::Same(batch) => self.deliver(&batch).await?,
                        Rebuilt::Lost => return self.take_back(sealed, &manifest).await,
                        Rebuilt::Stopped => return Err(WorkerError::Stopped),
                    },
                };
                self.commit(&sealed, &receipt).await
            }
        }
    }

    /// The batch under way cannot be made again: its objects are read anew from where the sink stood before it.
    async fn take_back(&mut self, sealed: Sealed, manifest: &Manifest) -> Result<(), WorkerError> {
        self.metrics.unreproducible.inc();
        warn!(sink = %self.name, batch = sealed.id(), "the batch that was under way cannot be made again; its objects are read anew");
        let mut backoff = Backoff::new(&self.random);
        loop {
            match self.sink.take_back(manifest, self.clock.now_ms()).await {
                Ok(None) => break,
                Ok(Some(moved)) => self.remember(moved).await?,
                Err(error) => self.pause(&error, &mut backoff).await?,
            }
        }
        loop {
            match self.store.unseal(&sealed).await {
                Err(StoreError::Full) => self.wait_for_space(&mut backoff).await?,
                unsealed => return Ok(unsealed?),
            }
        }
    }

    /// Has the sink go on where the last process stood.
    async fn resume(&mut self, under_way: Option<&Manifest>) -> Result<(), WorkerError> {
        let mut backoff = Backoff::new(&self.random);
        loop {
            match self.sink.resume(under_way, self.clock.now_ms()).await {
                Ok(None) => return Ok(()),
                Ok(Some(moved)) => self.remember(moved).await?,
                Err(error) => self.pause(&error, &mut backoff).await?,
            }
        }
    }

    /// The sink goes on elsewhere: notes that before it writes anything there.
    async fn remember(&mut self, moved: Moved) -> Result<(), WorkerError> {
        match &moved.why {
            Why::Foreign { bytes } => {
                self.metrics.foreign_bytes.add([&self.name], *bytes);
                limited!(
                    self.reporter, WARN, &self.name,
                    "found bytes behind the committed end that are not ours; continuing after them",
                    sink = %self.name, bytes
                );
            }
            Why::Begun { before: Some(before) } => {
                info!(sink = %self.name, before = %before.display(), file = %moved.file.display(), "the sink's path is another; beginning the file there");
            }
            Why::Begun { before: None } | Why::Named | Why::Numbered | Why::Rotated => {}
        }
        let mut backoff = Backoff::new(&self.random);
        loop {
            match self.store.place_lane(Arc::clone(&self.name), moved.position, moved.file.clone()).await {
                Err(StoreError::Full) => self.wait_for_space(&mut backoff).await?,
                placed => {
                    placed?;
                    self.written(&backoff);
                    return Ok(());
                }
            }
        }
    }

    /// Shows which objects the batch in hand holds.
    fn sending(&self, objects: BTreeSet<ObjectId>) {
        self.inner.status.send_modify(|status| status.sending = Some((Instant::now(), Arc::new(objects))));
    }

    /// Waits for the next batch's worth of parts; nothing when the worker is closed.
    async fn gather(&mut self) -> Option<Vec<Offer>> {
        let first = self.inner.offers.recv().await?;
        let began = Instant::now();
        let mut builder = Builder::new(self.limits);
        push(&mut builder, first);
        loop {
            while !builder.is_full(began.elapsed(), true)
                && let Ok(offer) = self.inner.offers.try_recv()
            {
                push(&mut builder, offer);
            }
            let more = self.inner.producers.are_there() || !self.inner.offers.is_empty();
            if builder.is_full(began.elapsed(), more) {
                return Some(builder.take());
            }
            tokio::select! {
                biased;
                offer = self.inner.offers.recv() => match offer {
                    Some(offer) => push(&mut builder, offer),
                    None => return Some(builder.take()),
                },
                () = self.inner.producers.gone() => {}
                () = tokio::time::sleep(builder.patience(began.elapsed()).min(IDLE)) => {
                    // A source that is slow does not hold up what others have brought.
                    if self.inner.offers.is_empty() {
                        return Some(builder.take());
                    }
                }
            }
        }
    }

    /// One batch from its parts to its commit.
    async fn carry(&mut self, offers: Vec<Offer>) -> Result<(), WorkerError> {
        let offers: Vec<Offer> = offers.into_iter().filter(|offer| offer.tracker.take()).collect();
        self.sending(offers.iter().map(|offer| offer.part.advance.object.clone()).collect());
        let Some((sealed, batch, offers)) = self.seal(offers).await? else {
            self.inner.status.send_modify(|status| status.sending = None);
            return Ok(());
        };
        let receipt = self.deliver(&batch).await?;
        self.commit(&sealed, &receipt).await?;
        self.inner.status.send_modify(|status| status.sending = None);
        self.metrics.events_sent.add([&self.name], batch.events() as u64);
        for offer in offers {
            offer.tracker.committed();
        }
        Ok(())
    }

    /// Seals what the store accepts. A part whose object has moved on is left out, and its job reads again.
    async fn seal(&mut self, mut offers: Vec<Offer>) -> Result<Option<(Sealed, Batch, Vec<Offer>)>, WorkerError> {
        let mut backoff = Backoff::new(&self.random);
        while !offers.is_empty() {
            let parts: Arc<[Part]> = offers.iter().map(|offer| offer.part.clone()).collect();
            let mut batch = Batch::of(String::new(), 0, &parts);
            let manifest = Manifest { bytes: batch.bytes.len() as u64, hash: blake3::hash(&batch.bytes) };
            let now_ms = self.clock.now_ms();
            let seal = Seal { sink: Arc::clone(&self.name), encoder: self.encoder.clone(), parts, manifest, now_ms };
            match self.store.seal(seal).await {
                Ok(sealed) => {
                    self.written(&backoff);
                    offers.iter().for_each(|offer| offer.tracker.sealed());
                    batch.id = sealed.id().to_owned();
                    batch.seq = sealed.seq();
                    return Ok(Some((sealed, batch, offers)));
                }
                Err(StoreError::Overtaken { object }) => offers = self.without(offers, &object),
                Err(StoreError::Full) => self.wait_for_space(&mut backoff).await?,
                Err(error) => return Err(error.into()),
            }
        }
        self.written(&backoff);
        Ok(None)
    }

    /// Sends a batch until the sink has it.
    async fn deliver(&mut self, batch: &Batch) -> Result<Receipt, WorkerError> {
        let mut backoff = Backoff::new(&self.random);
        if let Some(receipt) = Receipt::nothing(batch) {
            return Ok(receipt);
        }
        loop {
            let sent = tokio::select! {
                biased;
                sent = self.sink.deliver(batch, self.clock.now_ms()) => sent,
                // What was sealed is sent after the next start.
                () = self.shutdown.requested_for(self.last_send) => return Err(WorkerError::Stopped),
            };
            match sent {
                Ok(Delivery::Moved(moved)) => self.remember(moved).await?,
                Ok(Delivery::Taken(receipt)) => {
                    self.metrics.sink_batches.add([&self.name, "delivered"], 1);
                    self.takes_again();
                    self.reporter.worked(&self.part(), Activity::Deliver);
                    return Ok(receipt);
                }
                Err(error) => self.pause(&error, &mut backoff).await?,
            }
        }
    }

    async fn commit(&mut self, sealed: &Sealed, receipt: &Receipt) -> Result<(), WorkerError> {
        let mut backoff = Backoff::new(&self.random);
        loop {
            let began = Instant::now();
            match self.store.commit(sealed, receipt).await {
                Ok(committed) => {
                    self.written(&backoff);
                    self.report_gaps(&committed);
                    self.metrics.checkpoint_commit_seconds.observe(began.elapsed().as_secs_f64());
                    return Ok(());
                }
                Err(StoreError::Full) => self.wait_for_space(&mut backoff).await?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Leaves out the parts of an object that has moved on; their jobs read it again.
    fn without(&self, offers: Vec<Offer>, object: &ObjectId) -> Vec<Offer> {
        let (left_out, kept): (Vec<Offer>, Vec<Offer>) =
            offers.into_iter().partition(|offer| offer.part.advance.object == *object);
        let (reporter, sink, parts) = (&self.reporter, &self.name, left_out.len());
        limited!(reporter, WARN, sink, "an object has moved on; reading it again", %sink, %object, parts);
        for offer in left_out {
            offer.tracker.overtaken();
        }
        kept
    }
}

fn push(builder: &mut Builder<Offer>, offer: Offer) {
    let (bytes, events) = (offer.part.bytes.len(), offer.part.ends.len());
    builder.push(offer, bytes, events);
}

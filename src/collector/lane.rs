//! One sink's way: gathers parts into batches, seals, sends until the sink has them, commits.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::error;
use tracing::info;
use tracing::warn;

use crate::batch::Batch;
use crate::batch::Builder;
use crate::batch::Limits;
use crate::batch::Part;
use crate::checkpoint::CheckpointStore;
use crate::checkpoint::Seal;
use crate::checkpoint::Sealed;
use crate::checkpoint::StoreError;
use crate::collector::backoff::Backoff;
use crate::collector::clock;
use crate::collector::recovery::Recovered;
use crate::collector::shutdown::Shutdown;
use crate::collector::ticket::Ticket;
use crate::notification::ObjectId;
use crate::sink::DeliveryError;
use crate::sink::Manifest;
use crate::sink::Receipt;
use crate::sink::Sink;
use crate::telemetry::metrics::Metrics;

/// How many parts may wait for a lane.
const OFFERS_MAX: usize = 256;

/// How often a sink that needs mending is asked again.
const PARKED_RETRY: Duration = Duration::from_secs(30);

/// One part on its way to a sink, and the memory it takes.
pub struct Offer {
    pub part: Part,
    pub ticket: Ticket,
    _room: OwnedSemaphorePermit,
}

/// Whether a sink takes what it is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    Ready,
    /// Since when it does not.
    Failing(Instant),
}

/// What jobs hold of a lane.
#[derive(Clone)]
pub struct LaneHandle {
    pub sink: Arc<str>,
    offers: mpsc::Sender<Offer>,
    room: Arc<Semaphore>,
    room_bytes: u32,
    producers: Arc<Producers>,
    status: watch::Receiver<Status>,
}

#[derive(Default)]
struct Producers {
    count: AtomicUsize,
    gone: Notify,
}

/// While one exists, more may be on its way to the lane.
pub struct Producing(Arc<Producers>);

impl Drop for Producing {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.gone.notify_one();
        }
    }
}

impl LaneHandle {
    /// Whether its last delivery failed.
    pub fn is_failing(&self) -> bool {
        *self.status.borrow() != Status::Ready
    }

    /// Announces that parts will be offered.
    pub fn producing(&self) -> Producing {
        self.producers.count.fetch_add(1, Ordering::AcqRel);
        Producing(Arc::clone(&self.producers))
    }

    /// Hands a part over once the lane has room for it. Cancel-safe: a part whose future was dropped was not offered.
    /// Returns false when the lane is closed.
    pub async fn offer(&self, part: Part, ticket: &Ticket) -> bool {
        let bytes = u32::try_from(part.bytes.len()).unwrap_or(u32::MAX).clamp(1, self.room_bytes);
        let Ok(room) = Arc::clone(&self.room).acquire_many_owned(bytes).await else { return false };
        let Ok(slot) = self.offers.reserve().await else { return false };
        ticket.offer();
        slot.send(Offer { part, ticket: ticket.clone(), _room: room });
        true
    }
}

/// Why a lane ended before it was closed.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stop came while the sink was failing; what was sealed is sent after the next start.
    #[error("stopped")]
    Stopped,
}

/// One sink's task.
pub struct Lane {
    name: Arc<str>,
    sink: Sink,
    encoder: String,
    store: CheckpointStore,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    limits: Limits,
    offers: mpsc::Receiver<Offer>,
    producers: Arc<Producers>,
    status: watch::Sender<Status>,
}

/// What a lane is made of.
pub struct Setup {
    pub name: Arc<str>,
    pub sink: Sink,
    /// Which program and encoding makes the bytes.
    pub encoder: String,
    pub limits: Limits,
    /// Bytes of encoded events that may wait for the lane.
    pub room_bytes: usize,
    pub store: CheckpointStore,
    pub metrics: Arc<Metrics>,
    pub shutdown: Shutdown,
}

impl Lane {
    pub fn new(setup: Setup) -> (Self, LaneHandle) {
        let (sender, offers) = mpsc::channel(OFFERS_MAX);
        let (status, seen) = watch::channel(Status::Ready);
        let producers = Arc::new(Producers::default());
        let room_bytes = u32::try_from(setup.room_bytes.max(2 * setup.limits.bytes)).unwrap_or(u32::MAX >> 4);
        let handle = LaneHandle {
            sink: Arc::clone(&setup.name),
            offers: sender,
            room: Arc::new(Semaphore::new(room_bytes as usize)),
            room_bytes,
            producers: Arc::clone(&producers),
            status: seen,
        };
        let Setup { name, sink, encoder, limits, store, metrics, shutdown, .. } = setup;
        let lane = Self { name, sink, encoder, store, metrics, shutdown, limits, offers, producers, status };
        (lane, handle)
    }

    /// Runs until every handle is gone and all that was offered is committed. `recovered` is the batch that was sealed
    /// before the process last ended.
    ///
    /// # Errors
    /// The store failed, or the stop came while the sink was failing.
    pub async fn run(mut self, recovered: Recovered) -> Result<(), LaneError> {
        self.status.send_replace(Status::Failing(Instant::now()));
        self.recover(recovered).await?;
        self.status.send_replace(Status::Ready);
        while let Some(offers) = self.gather().await {
            self.carry(offers).await?;
        }
        Ok(())
    }

    async fn recover(&mut self, recovered: Recovered) -> Result<(), LaneError> {
        match recovered {
            Recovered::Nothing => loop {
                match self.sink.adopt().await {
                    Ok(0) => return Ok(()),
                    Ok(bytes) => {
                        warn!(sink = %self.name, bytes, "found bytes behind the committed end that are not ours; continuing after them");
                        return Ok(());
                    }
                    Err(error) => self.pause(&error, &mut Backoff::new(PARKED_RETRY)).await?,
                }
            },
            Recovered::Sealed { sealed, manifest, batch } => {
                let mut backoff = Backoff::default();
                let settled = loop {
                    match self.sink.settled(&manifest).await {
                        Ok(settled) => break settled,
                        Err(error) => self.pause(&error, &mut backoff).await?,
                    }
                };
                info!(sink = %self.name, batch = sealed.id(), complete = settled.is_some(), "completing the batch that was under way");
                let receipt = match settled {
                    Some(receipt) => receipt,
                    None => {
                        let Some(batch) = batch.make().await? else { return Err(LaneError::Stopped) };
                        if !batch.reproduced {
                            self.metrics.unreproducible.inc();
                            error!(sink = %self.name, batch = sealed.id(), "the source lost records of a batch that was under way; sending what is left");
                        }
                        self.deliver(&batch).await?
                    }
                };
                self.commit(&sealed, &receipt).await
            }
        }
    }

    /// Waits for the next batch's worth of parts; nothing when the lane is closed.
    async fn gather(&mut self) -> Option<Vec<Offer>> {
        let first = self.offers.recv().await?;
        let began = Instant::now();
        let mut builder = Builder::new(self.limits);
        push(&mut builder, first);
        loop {
            while !builder.is_full(began.elapsed(), true)
                && let Ok(offer) = self.offers.try_recv()
            {
                push(&mut builder, offer);
            }
            let more = self.producers.count.load(Ordering::Acquire) > 0 || !self.offers.is_empty();
            if builder.is_full(began.elapsed(), more) {
                return Some(builder.take());
            }
            tokio::select! {
                offer = self.offers.recv() => match offer {
                    Some(offer) => push(&mut builder, offer),
                    None => return Some(builder.take()),
                },
                () = self.producers.gone.notified() => {}
                () = tokio::time::sleep(builder.patience(began.elapsed())) => {}
            }
        }
    }

    /// One batch from its parts to its commit.
    async fn carry(&mut self, offers: Vec<Offer>) -> Result<(), LaneError> {
        let offers: Vec<Offer> = offers.into_iter().filter(|offer| offer.ticket.claim()).collect();
        let Some((sealed, batch, offers)) = self.seal(offers).await? else { return Ok(()) };
        let receipt = self.deliver(&batch).await?;
        self.commit(&sealed, &receipt).await?;
        self.metrics.events_sent.add([&self.name], batch.events() as u64);
        for offer in offers {
            offer.ticket.committed();
        }
        Ok(())
    }

    /// Seals what the store accepts. A part whose object has moved on is left out, and its job reads again.
    async fn seal(&mut self, mut offers: Vec<Offer>) -> Result<Option<(Sealed, Batch, Vec<Offer>)>, LaneError> {
        let mut backoff = Backoff::default();
        while !offers.is_empty() {
            let parts: Arc<[Part]> = offers.iter().map(|offer| offer.part.clone()).collect();
            let mut batch = Batch::of(String::new(), 0, &parts);
            let manifest = Manifest { bytes: batch.bytes.len() as u64, hash: blake3::hash(&batch.bytes) };
            let now_ms = clock::now_ms();
            let seal = Seal { sink: Arc::clone(&self.name), encoder: self.encoder.clone(), parts, manifest, now_ms };
            match self.store.seal(seal).await {
                Ok(sealed) => {
                    offers.iter().for_each(|offer| offer.ticket.sealed());
                    batch.id = sealed.id().to_owned();
                    batch.seq = sealed.seq();
                    return Ok(Some((sealed, batch, offers)));
                }
                Err(StoreError::Overtaken { object }) => offers = without(offers, &object),
                Err(StoreError::Full) => self.wait_for_space(&mut backoff).await?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Sends a batch until the sink has it.
    async fn deliver(&mut self, batch: &Batch) -> Result<Receipt, LaneError> {
        let mut backoff = Backoff::default();
        if let Some(receipt) = Receipt::nothing(batch) {
            return Ok(receipt);
        }
        loop {
            match self.sink.deliver(batch, clock::now_ms()).await {
                Ok(receipt) => {
                    self.metrics.sink_batches.add([&self.name, "delivered"], 1);
                    if let Status::Failing(since) = *self.status.borrow() {
                        info!(sink = %self.name, after_secs = since.elapsed().as_secs(), "the sink takes events again");
                    }
                    self.status.send_if_modified(|status| std::mem::replace(status, Status::Ready) != Status::Ready);
                    return Ok(receipt);
                }
                Err(error) => self.pause(&error, &mut backoff).await?,
            }
        }
    }

    async fn commit(&mut self, sealed: &Sealed, receipt: &Receipt) -> Result<(), LaneError> {
        let mut backoff = Backoff::default();
        loop {
            let began = Instant::now();
            match self.store.commit(sealed, receipt).await {
                Ok(_committed) => {
                    self.metrics.checkpoint_commit_seconds.observe(began.elapsed().as_secs_f64());
                    return Ok(());
                }
                Err(StoreError::Full) => self.wait_for_space(&mut backoff).await?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The sink did not take the batch: says so, and waits before the next try.
    async fn pause(&mut self, error: &DeliveryError, backoff: &mut Backoff) -> Result<(), LaneError> {
        let (outcome, wait) = match error {
            DeliveryError::Unavailable(_) => ("unavailable", backoff.wait()),
            DeliveryError::Misconfigured(_) => ("misconfigured", PARKED_RETRY.min(backoff.wait() * 8)),
        };
        self.metrics.sink_batches.add([&self.name, outcome], 1);
        self.metrics.sink_retries.add([&self.name], 1);
        if backoff.attempts() == 1 || backoff.attempts().is_multiple_of(20) {
            match error {
                DeliveryError::Unavailable(_) => {
                    warn!(sink = %self.name, %error, attempts = backoff.attempts(), "a batch was not delivered; trying again")
                }
                DeliveryError::Misconfigured(_) => {
                    error!(sink = %self.name, %error, attempts = backoff.attempts(), "the sink is parked until it is mended")
                }
            }
        }
        self.wait(wait).await
    }

    async fn wait_for_space(&mut self, backoff: &mut Backoff) -> Result<(), LaneError> {
        let wait = backoff.wait();
        error!(sink = %self.name, "the checkpoint store's disk is full; nothing is delivered until there is space");
        self.wait(wait).await
    }

    async fn wait(&mut self, wait: Duration) -> Result<(), LaneError> {
        self.status.send_if_modified(|status| {
            let ready = *status == Status::Ready;
            if ready {
                *status = Status::Failing(Instant::now());
            }
            ready
        });
        tokio::select! {
            biased;
            () = self.shutdown.requested() => Err(LaneError::Stopped),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }
}

fn push(builder: &mut Builder<Offer>, offer: Offer) {
    let (bytes, events) = (offer.part.bytes.len(), offer.part.ends.len());
    builder.push(offer, bytes, events);
}

/// Leaves out the parts of an object that has moved on; their jobs read it again.
fn without(offers: Vec<Offer>, object: &ObjectId) -> Vec<Offer> {
    let (left_out, kept): (Vec<Offer>, Vec<Offer>) =
        offers.into_iter().partition(|offer| offer.part.advance.object == *object);
    warn!(%object, parts = left_out.len(), "an object has moved on; reading it again");
    for offer in left_out {
        offer.ticket.overtaken();
    }
    kept
}

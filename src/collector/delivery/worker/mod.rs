//! One lane of a sink: gathers parts into batches, seals them, sends them in requests until the sink has them, and
//! commits them in the order of their seals.

mod gaps;

mod gathering;

mod requests;

mod resuming;

mod sealing;

mod sending;

mod storm;

mod waiting;

mod window;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::watch;
use tokio::time::Instant;

use self::gathering::Gathering;
use self::requests::{Asked, Asking, Sending, Sent};
use self::storm::Storm;
use self::window::UnderWay;
use crate::batch::{Lane, Limits};
use crate::checkpoint::{Positions, StoreError};
use crate::collector::clock::Clock;
use crate::collector::delivery::gate::Gate;
use crate::collector::delivery::queue::{LaneEnd, Offer, Status};
use crate::collector::delivery::recovery::Unfinished;
use crate::collector::random::Random;
use crate::collector::report::Reporter;
use crate::collector::shutdown::{Reopening, Shutdown};
use crate::sink::{Flow, Sink};
use crate::telemetry::health::{Activity, Part as HealthPart, PartKind};
use crate::telemetry::metrics::Metrics;

/// Why a sink worker ended before it was closed.
#[derive(Debug, thiserror::Error)]
pub(in crate::collector) enum WorkerError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stop came while the sink was failing. Sealed batches are sent after the next start.
    #[error("stopped")]
    Stopped,
}

/// One lane's task. The next batch gathers while up to a window of batches is under way.
pub(in crate::collector) struct SinkWorker {
    sender: LaneSender,
    gathering: Gathering,
}

/// What a sink worker is made from.
pub(in crate::collector) struct Setup {
    pub lane: Lane,
    pub sink: Arc<dyn Sink>,
    pub gate: Gate,
    /// Names the program version, encoding and settings that make the bytes.
    pub encoder: Arc<str>,
    pub limits: Limits,
    pub flow: Flow,
    pub positions: Arc<dyn Positions>,
    pub clock: Clock,
    pub random: Random,
    pub metrics: Arc<Metrics>,
    pub reporter: Reporter,
    pub shutdown: Shutdown,
    /// Requests to reopen the sink's files.
    pub reopening: Reopening,
    /// How long a delivery under way may take after the stop.
    pub last_send: Duration,
    /// With `--once`: a full disk of the checkpoint store is an error, and is not waited for.
    pub once: bool,
}

/// Sends batches to the sink, and commits them in the checkpoint store.
struct LaneSender {
    name: Arc<str>,
    status: watch::Sender<Status>,
    /// Set when entries were added to the sink's backlog in the store.
    owed: Arc<AtomicBool>,
    setup: Setup,
    /// The batches sealed and not committed, in the order of their seals.
    window: VecDeque<UnderWay>,
    sending: Sending,
    asking: Asking,
    /// Nothing is sent before this time.
    resting_until: Option<Instant>,
    storm: Storm,
}

/// What a worker's wait ended with.
enum Turn {
    Sent(Sent),
    Asked(Asked),
    Cut(Option<Vec<Offer>>),
    /// It is time to send a request, or to ask for acknowledgements.
    Due,
    Reopen,
    Stopped,
}

impl SinkWorker {
    pub(in crate::collector) fn new(setup: Setup, end: LaneEnd) -> Self {
        let name = Arc::clone(&setup.lane.sink);
        let gathering = Gathering::new(setup.limits, end.offers, end.producers);
        let sender = LaneSender {
            name,
            status: end.status,
            owed: end.owed,
            setup,
            window: VecDeque::new(),
            sending: Sending::default(),
            asking: Asking::default(),
            resting_until: None,
            storm: Storm::default(),
        };
        Self { sender, gathering }
    }

    /// Runs until every handle is dropped and every offered part is committed. `unfinished` are the batches that were
    /// sealed before the process last ended.
    ///
    /// # Errors
    /// The store failed, or the stop came while the sink was failing.
    pub(in crate::collector) async fn run(self, unfinished: Vec<Unfinished>) -> Result<(), WorkerError> {
        let Self { mut sender, mut gathering } = self;
        sender.status.send_modify(|status| status.failing = Some(Instant::now()));
        sender.recover(unfinished).await?;
        sender.work(None).await?;
        sender.resume(&[]).await?;
        sender.status.send_replace(Status::default());
        sender.setup.reporter.worked(&sender.part(), Activity::Deliver);
        sender.work(Some(&mut gathering)).await
    }
}

impl LaneSender {
    /// The sink as a part in health reports.
    fn part(&self) -> HealthPart {
        HealthPart::new(PartKind::Sink, &self.name)
    }

    /// Delivers the sealed batches and those that `gathering` cuts, until all are committed and no more come.
    async fn work(&mut self, mut gathering: Option<&mut Gathering>) -> Result<(), WorkerError> {
        loop {
            self.advance(gathering.as_deref_mut()).await?;
            if gathering.is_none() && self.window.is_empty() {
                return Ok(());
            }
            self.send_more();
            match self.next(gathering.as_deref_mut()).await {
                Turn::Sent(sent) => self.sent(sent).await?,
                Turn::Asked(asked) => self.asked(asked).await?,
                Turn::Cut(Some(offers)) => self.seal(offers).await?,
                Turn::Cut(None) => gathering = None,
                Turn::Due => {}
                Turn::Reopen => self.reopen().await?,
                Turn::Stopped => return Err(WorkerError::Stopped),
            }
        }
    }

    /// Waits for the next event. Cancel-safe: an answer is taken from the requests under way only when it is returned.
    async fn next(&mut self, gathering: Option<&mut Gathering>) -> Turn {
        let (has_room, is_idle) = (self.window.len() < usize::from(self.setup.flow.window), self.window.is_empty());
        let due = self.due();
        let is_failing = self.status.borrow().failing.is_some();
        let Self { sending, asking, setup: Setup { gate, shutdown, reopening, last_send, .. }, .. } = self;
        let is_sending = !sending.is_empty();
        let cut = async {
            match gathering {
                Some(gathering) if has_room => gathering.cut().await,
                Some(gathering) => match gathering.grow().await {},
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(sent) = sending.next() => Turn::Sent(sent),
            Some(asked) = asking.next() => Turn::Asked(asked),
            () = reopening.requested(), if !is_sending => Turn::Reopen,
            () = due.reached(gate) => Turn::Due,
            // The sealed batches are sent after the next start.
            () = shutdown.requested(), if is_failing && !is_idle => Turn::Stopped,
            () = shutdown.requested_for(*last_send), if !is_idle => Turn::Stopped,
            offers = cut => Turn::Cut(offers),
        }
    }

    /// Commits complete batches. If the next batch is cut by then, it is sealed in the same write.
    async fn advance(&mut self, mut gathering: Option<&mut Gathering>) -> Result<(), WorkerError> {
        while let Some(receipt) = self.complete() {
            let next = match gathering.as_deref_mut() {
                // Waiting for a cut would hold up the other batches in the window.
                Some(gathering) if self.window.len() > 1 => gathering.cut_by_now(),
                Some(gathering) => gathering.cut_soon().await,
                None => None,
            };
            match next {
                Some(next) => self.commit_and_seal(&receipt, next).await?,
                None => self.commit_alone(&receipt).await?,
            }
        }
        // The batch that failed last may have been given up. Jobs offer nothing to a sink marked as failing.
        if gathering.is_some() && self.window.is_empty() {
            self.takes_again();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

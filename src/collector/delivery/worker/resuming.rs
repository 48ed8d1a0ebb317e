//! A sink worker's start: resumes where the last process ended, and completes the batches that it sealed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;
use tracing::{info, warn};

use super::window::UnderWay;
use super::{LaneSender, WorkerError};
use crate::batch::{Batch, Manifest};
use crate::checkpoint::Sealed;
use crate::collector::delivery::recovery::{Rebuilt, Unfinished, UnfinishedRecords};
use crate::collector::report::limited;
use crate::sink::{Moved, Receipt, Resumed, Why};

impl LaneSender {
    /// Takes up the batches that were sealed before the process last ended. Batches that the sink has are committed;
    /// the others are rebuilt, to be sent.
    pub(super) async fn recover(&mut self, unfinished: Vec<Unfinished>) -> Result<(), WorkerError> {
        if unfinished.is_empty() {
            return Ok(());
        }
        let objects = unfinished.iter().flat_map(|one| one.batch.objects().cloned()).collect();
        self.status.send_modify(|status| status.sending = vec![(Instant::now(), Arc::new(objects))]);
        let flow = &self.setup.metrics.flow;
        let records: Vec<_> = unfinished.iter().map(|one| one.batch.records(flow)).collect();
        let manifests: Vec<&Manifest> = unfinished.iter().map(|one| one.sealed.manifest()).collect();
        let mut receipts = self.resume(&manifests).await?.into_iter();
        for (Unfinished { sealed, batch }, mut records) in unfinished.into_iter().zip(records) {
            let there = receipts.next();
            let (sink, id) = (&self.name, &sealed.manifest().id);
            info!(%sink, batch = %id, complete = there.is_some(), "completing the batch that was under way");
            match there {
                Some(receipt) => {
                    batch.tell(&mut records).await?;
                    self.window.push_back(UnderWay::rebuilt(sealed, Batch::nothing(), records));
                    self.commit_alone(&receipt).await?;
                }
                None => match batch.make(&mut records).await? {
                    Rebuilt::Same(batch) => self.window.push_back(UnderWay::rebuilt(sealed, batch, records)),
                    Rebuilt::Lost(why) => {
                        self.work(None).await?;
                        self.pass_over(sealed, why).await?;
                        records.into_iter().for_each(UnfinishedRecords::lost);
                    }
                    Rebuilt::Stopped => return Err(WorkerError::Stopped),
                },
            }
        }
        Ok(())
    }

    /// Passes over a sealed batch that cannot be rebuilt: it is committed as not delivered, and its objects are read
    /// again for what the sink lacks.
    async fn pass_over(&mut self, sealed: Sealed, why: &str) -> Result<(), WorkerError> {
        let manifest = sealed.manifest();
        self.setup.metrics.unreproducible_batches.add([&self.name], 1);
        warn!(
            sink = %self.name, batch = %manifest.id, why,
            "the batch that was under way cannot be made again; its objects are read anew"
        );
        loop {
            match self.setup.sink.take_back(manifest, self.setup.clock.now_ms()).await {
                Ok(None) => break,
                Ok(Some(moved)) => self.remember(moved).await?,
                Err(error) => self.pause(&error).await?,
            }
        }
        let clock = self.setup.clock.clone();
        self.store(|positions| positions.commit_not_had(&sealed, clock.now_ms())).await?;
        self.owed.store(true, Ordering::Release);
        Ok(())
    }

    /// Resumes the sink where the last process ended. Returns the receipts of the leading sealed batches that the sink
    /// has already.
    pub(super) async fn resume(&mut self, sealed: &[&Manifest]) -> Result<Vec<Receipt>, WorkerError> {
        loop {
            let lane = self.setup.positions.lane(&self.setup.lane).await?;
            match self.setup.sink.resume(&lane, sealed, self.setup.clock.now_ms()).await {
                Ok(Resumed::Ready(receipts)) => return Ok(receipts),
                Ok(Resumed::Moved(moved)) => self.remember(moved).await?,
                Ok(Resumed::Ahead { id }) => {
                    warn!(
                        sink = %self.name, batch = %id,
                        "the sink's last batch is not known here: the checkpoint store is older, perhaps a backup that was put back; what the sink has had since is sent to it again, each event with the same uid"
                    );
                    return Ok(Vec::new());
                }
                Err(error) => self.pause(&error).await?,
            }
        }
    }

    /// Lets the sink reopen its files. Nothing is sent meanwhile.
    pub(super) async fn reopen(&mut self) -> Result<(), WorkerError> {
        let mut has_failed = false;
        loop {
            match self.setup.sink.reopen().await {
                Ok(Some(moved)) => self.remember(moved).await?,
                Ok(None) => break,
                Err(error) => {
                    has_failed = true;
                    self.pause(&error).await?;
                }
            }
        }
        if has_failed {
            self.works();
        }
        Ok(())
    }

    /// The sink continues at another place: stores its new state before it writes there.
    pub(super) async fn remember(&mut self, moved: Moved) -> Result<(), WorkerError> {
        match &moved.why {
            Why::Foreign { bytes } => {
                self.setup.metrics.foreign_bytes.add([&self.name], *bytes);
                limited!(
                    self.setup.reporter, WARN, &self.name,
                    "found bytes behind the committed end that are not ours; continuing after them",
                    sink = %self.name, bytes
                );
            }
            Why::Begun { file, before: Some(before) } => {
                info!(sink = %self.name, before = %before.display(), file = %file.display(), "the sink's path is another; beginning the file there");
            }
            Why::Renamed => {
                info!(sink = %self.name, "the sink's file was given another name; continuing in a new one");
            }
            Why::Replaced => limited!(
                self.setup.reporter, WARN, &self.name,
                "the sink's file was removed or truncated, and another has its place; continuing there",
                sink = %self.name
            ),
            Why::Begun { before: None, .. } | Why::Named | Why::Numbered | Why::Rotated => {}
        }
        let lane = self.setup.lane.clone();
        self.store(|positions| positions.set_state(lane.clone(), moved.state.clone())).await
    }
}

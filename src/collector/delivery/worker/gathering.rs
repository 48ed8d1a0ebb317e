//! Gathers the parts of the next batch, and cuts the batch.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use crate::batch::{Builder, Limits};
use crate::collector::delivery::queue::{Offer, Producers};

/// The longest that a commit waits for the next batch to be cut.
const COMMIT_WAITS: Duration = Duration::from_millis(50);

/// The parts gathered for the next batch, and the queue that they come from.
pub(super) struct Gathering {
    builder: Builder<Offer>,
    offers: mpsc::Receiver<Offer>,
    producers: Arc<Producers>,
    /// When the first and the last gathered part was added.
    first: Instant,
    last: Instant,
}

impl Gathering {
    pub(super) fn new(limits: Limits, offers: mpsc::Receiver<Offer>, producers: Arc<Producers>) -> Self {
        let now = Instant::now();
        Self { builder: Builder::new(limits), offers, producers, first: now, last: now }
    }

    /// The parts of the next batch once it is cut. `None` if the worker is closed. Cancel-safe.
    pub(super) async fn cut(&mut self) -> Option<Vec<Offer>> {
        loop {
            if let Some(offers) = self.cut_by_now() {
                return Some(offers);
            }
            if self.builder.is_empty() {
                let offer = self.offers.recv().await?;
                self.push(offer);
                continue;
            }
            let patience = self.patience();
            tokio::select! {
                biased;
                offer = self.offers.recv() => match offer {
                    Some(offer) => self.push(offer),
                    None => return Some(self.builder.take()),
                },
                () = self.producers.gone() => {}
                // A slow job must not delay the parts that other jobs have offered.
                () = sleep(patience) => {}
            }
        }
    }

    /// The parts of the next batch, if it is cut soon: its seal then goes into the commit of the batch before. Waits
    /// only while parts keep coming. Cancel-safe.
    pub(super) async fn cut_soon(&mut self) -> Option<Vec<Offer>> {
        let until = Instant::now() + COMMIT_WAITS;
        loop {
            if let Some(offers) = self.cut_by_now() {
                return Some(offers);
            }
            if self.builder.is_empty() {
                return None;
            }
            let patience = self.patience();
            tokio::select! {
                biased;
                offer = self.offers.recv() => self.push(offer?),
                () = self.producers.gone() => {}
                () = sleep(patience) => {}
                () = sleep_until(until) => return None,
            }
        }
    }

    /// The parts of the next batch, if it can be cut now.
    pub(super) fn cut_by_now(&mut self) -> Option<Vec<Offer>> {
        while !self.builder.is_full()
            && let Ok(offer) = self.offers.try_recv()
        {
            self.push(offer);
        }
        let more = self.producers.are_there() || !self.offers.is_empty();
        self.builder.is_cut(self.first.elapsed(), self.last.elapsed(), more).then(|| self.builder.take())
    }

    /// Gathers offered parts while the next batch has room. Never returns. Cancel-safe.
    pub(super) async fn grow(&mut self) -> Infallible {
        while !self.builder.is_full() {
            match self.offers.recv().await {
                Some(offer) => self.push(offer),
                None => break,
            }
        }
        pending().await
    }

    fn patience(&self) -> Duration {
        self.builder.patience(self.first.elapsed(), self.last.elapsed())
    }

    fn push(&mut self, offer: Offer) {
        self.last = Instant::now();
        if self.builder.is_empty() {
            self.first = self.last;
        }
        let (bytes, events) = (offer.part.piece.bytes.len(), offer.part.piece.ends.len());
        self.builder.push(offer, bytes, events);
    }
}

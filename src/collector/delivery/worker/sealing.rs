//! Seals cut batches and commits complete ones, in one write if both are ready.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::window::UnderWay;
use super::{LaneSender, Setup, WorkerError};
use crate::batch::{Advance, BatchPart, Tally};
use crate::checkpoint::{Committed, Seal, StoreError};
use crate::collector::delivery::queue::Offer;
use crate::collector::report::limited;
use crate::notification::ObjectId;
use crate::sink::Receipt;

/// The parts of a cut batch whose jobs have not given up: they will be sealed or overtaken.
fn taken(cut: Vec<Offer>) -> Vec<Offer> {
    cut.into_iter().filter(|offer| offer.tracker.take()).collect()
}

/// The places of records with an event that the sink never takes, by object.
fn refused(receipt: &Receipt) -> BTreeMap<&ObjectId, BTreeSet<u64>> {
    let mut refused: BTreeMap<&ObjectId, BTreeSet<u64>> = BTreeMap::new();
    for event in receipt.refused() {
        refused.entry(&event.provenance.object).or_default().insert(event.head.place);
    }
    refused
}

impl LaneSender {
    /// Publishes the objects whose records are in batches under way, or in parts being sealed.
    fn show(&self, sealing: &[Offer]) {
        let mut under_way: Vec<_> = self.window.iter().map(|one| (one.since, Arc::clone(&one.objects))).collect();
        if !sealing.is_empty() {
            let objects = sealing.iter().map(|offer| offer.part.advance.object.clone()).collect();
            under_way.push((Instant::now(), Arc::new(objects)));
        }
        self.status.send_modify(|status| status.sending = under_way);
    }

    /// The receipt of the first batch of the window, if it is complete and no storm holds it up.
    pub(super) fn complete(&mut self) -> Option<Receipt> {
        let receipt = self.window.front().and_then(UnderWay::receipt)?;
        (!self.is_storm()).then_some(receipt)
    }

    /// Seals the parts of a cut batch that the store accepts.
    pub(super) async fn seal(&mut self, cut: Vec<Offer>) -> Result<(), WorkerError> {
        let offers = taken(cut);
        self.show(&offers);
        self.seal_taken(offers).await
    }

    /// Seals these parts. A part whose object has moved on in the store is left out, and its job reads again.
    async fn seal_taken(&mut self, mut offers: Vec<Offer>) -> Result<(), WorkerError> {
        while !offers.is_empty() {
            let seal = self.seal_of(&offers);
            match self.store(|positions| positions.seal(seal())).await {
                Ok(sealed) => self.sealed(UnderWay::new(sealed, std::mem::take(&mut offers))),
                Err(WorkerError::Store(StoreError::Overtaken { object })) => offers = self.without(offers, &object),
                Err(error) => return Err(error),
            }
        }
        self.show(&[]);
        Ok(())
    }

    fn sealed(&mut self, under_way: UnderWay) {
        under_way.offers.iter().for_each(|offer| offer.tracker.sealed());
        self.window.push_back(under_way);
    }

    /// Makes the seal of these parts, with the time of each try.
    fn seal_of(&self, offers: &[Offer]) -> impl Fn() -> Seal + use<> {
        let Setup { lane, encoder, flow, clock, .. } = &self.setup;
        let parts = offers.iter().map(|offer| offer.part.clone()).collect();
        let seal = Seal { lane: lane.clone(), encoder: Arc::clone(encoder), limits: flow.request, parts, now_ms: 0 };
        let clock = clock.clone();
        move || Seal { now_ms: clock.now_ms(), ..seal.clone() }
    }

    /// Commits the first batch of the window.
    pub(super) async fn commit_alone(&mut self, receipt: &Receipt) -> Result<(), WorkerError> {
        let Some(done) = self.window.front() else { return Ok(()) };
        let (sealed, clock) = (done.sealed.clone(), self.setup.clock.clone());
        let (committed, took) =
            self.store_timed(|positions| positions.commit(&sealed, receipt, clock.now_ms())).await?;
        self.committed(&committed, receipt, took);
        self.show(&[]);
        Ok(())
    }

    /// Commits the first batch of the window and seals the next in one write.
    pub(super) async fn commit_and_seal(&mut self, receipt: &Receipt, cut: Vec<Offer>) -> Result<(), WorkerError> {
        let offers = taken(cut);
        let Some(done) = self.window.front() else { return self.seal_taken(offers).await };
        let sealed = done.sealed.clone();
        self.show(&offers);
        let seal = self.seal_of(&offers);
        let ((committed, next), took) =
            self.store_timed(|positions| positions.commit_and_seal(&sealed, receipt, seal())).await?;
        self.committed(&committed, receipt, took);
        match next {
            Ok(next) => self.sealed(UnderWay::new(next, offers)),
            Err(StoreError::Overtaken { object }) => {
                let offers = self.without(offers, &object);
                return self.seal_taken(offers).await;
            }
            Err(error) => return Err(error.into()),
        }
        self.show(&[]);
        Ok(())
    }

    /// Takes the committed first batch out of the window, and tells the jobs that the sink has had their parts.
    fn committed(&mut self, committed: &Committed, receipt: &Receipt, took: Duration) {
        self.report_gaps(committed);
        self.report_refused(receipt, committed);
        let metrics = &self.setup.metrics;
        metrics.checkpoint.commit_seconds.observe(took.as_secs_f64());
        let Some(done) = self.window.pop_front() else { return };
        metrics.sink_batches.add([&self.name, "delivered"], u64::from(done.batch.events() > 0));
        let mut sent: BTreeMap<&str, u64> = BTreeMap::new();
        for BatchPart { provenance, piece } in done.batch.parts.iter() {
            *sent.entry(&provenance.feed).or_default() += piece.ends.len() as u64;
            if piece.filtered > 0 {
                metrics.events_filtered.add([&provenance.feed, &self.name], piece.filtered);
            }
        }
        for event in receipt.refused() {
            sent.entry(&event.provenance.feed).and_modify(|events| *events = events.saturating_sub(1));
        }
        sent.into_iter().for_each(|(feed, events)| metrics.events_sent.add([feed, &self.name], events));
        let refused = refused(receipt);
        let refused = |advance: &Advance| {
            let places = refused.get(&advance.object).into_iter().flatten();
            places.filter(|place| advance.holds(**place)).count() as u64
        };
        done.unfinished.into_iter().for_each(|records| records.passed(refused));
        for Offer { part, tracker, records, .. } in done.offers {
            records.passed(&Tally::of(&part.advance, [&part.piece]), refused(&part.advance));
            tracker.committed();
        }
    }

    /// Leaves out the parts of an object that has moved on in the store. Their jobs read it again.
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

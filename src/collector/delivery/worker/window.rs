//! A lane's batches that are sealed and not committed, and their events that are still to be sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::batch::{Batch, BatchPart, Request, RequestLimits, Selection};
use crate::checkpoint::Sealed;
use crate::collector::delivery::queue::Offer;
use crate::collector::delivery::recovery::UnfinishedRecords;
use crate::notification::ObjectId;
use crate::sink::{Acknowledgement, Progress, Receipt, State};

/// A request that has failed for this long is sent in halves: the receiver may fail at one event in it.
const FAILS_FOR: Duration = Duration::from_secs(600);

/// An event that has failed alone for this long, while others of its request were taken, is refused even if nothing
/// else shows that the receiver works.
const FAILS_ALONE_FOR: Duration = Duration::from_secs(6 * 3600);

/// A sealed batch under way.
pub(super) struct UnderWay {
    pub(super) sealed: Sealed,
    /// Its parts. Empty if an earlier process sealed it.
    pub(super) offers: Vec<Offer>,
    /// The records of its parts, if an earlier process sealed it.
    pub(super) unfinished: Vec<UnfinishedRecords>,
    pub(super) batch: Batch,
    pub(super) objects: Arc<BTreeSet<ObjectId>>,
    pub(super) since: Instant,
    pub(super) progress: Progress,
    /// The runs still to be sent, in order.
    runs: VecDeque<Run>,
    pub(super) in_flight: usize,
    /// The receipt of a batch that was taken whole, from a sink whose state has the position.
    receipt: Option<Receipt>,
    /// Split requests of which some part was taken: when that first happened, by number of the request.
    partly_taken: BTreeMap<u32, Instant>,
    next_request: u32,
    /// The acknowledgements waited for, and since when.
    awaited_since: Vec<(State, Instant)>,
}

/// A run: events to be sent in one request.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) events: Selection,
    /// The number of its request. The halves of a split request keep it.
    request: u32,
    is_split: bool,
    /// When it first and last failed.
    failing: Option<(Instant, Instant)>,
}

impl UnderWay {
    pub(super) fn new(sealed: Sealed, offers: Vec<Offer>) -> Self {
        let parts = offers
            .iter()
            .map(|offer| BatchPart { provenance: Arc::clone(&offer.part.provenance), piece: offer.part.piece.clone() });
        let batch = Batch::new(sealed.manifest(), parts);
        Self::of(sealed, offers, batch)
    }

    /// A rebuilt batch that an earlier process sealed.
    pub(super) fn rebuilt(sealed: Sealed, batch: Batch, unfinished: Vec<UnfinishedRecords>) -> Self {
        Self { unfinished, ..Self::of(sealed, Vec::new(), batch) }
    }

    fn of(sealed: Sealed, offers: Vec<Offer>, batch: Batch) -> Self {
        let objects = sealed.manifest().parts.iter().map(|part| part.advance.object.clone()).collect();
        let progress = sealed.progress().clone();
        let mut under_way = Self {
            sealed,
            offers,
            unfinished: Vec::new(),
            batch,
            objects: Arc::new(objects),
            since: Instant::now(),
            progress,
            runs: VecDeque::new(),
            in_flight: 0,
            receipt: None,
            partly_taken: BTreeMap::new(),
            next_request: 0,
            awaited_since: Vec::new(),
        };
        under_way.refuse_what_fits_nowhere();
        under_way.reopen(&under_way.all());
        under_way
    }

    fn all(&self) -> Selection {
        (0..u32::try_from(self.batch.events()).unwrap_or(u32::MAX)).into()
    }

    fn refuse_what_fits_nowhere(&mut self) {
        let limits = self.sealed.manifest().limits;
        let open = Request::of(&self.batch, self.progress.open(&self.all()));
        let long: Vec<(u32, usize)> = open
            .events()
            .filter(|event| !limits.fits(event.encoded))
            .map(|event| (event.number, event.encoded.len()))
            .collect();
        for (number, bytes) in long {
            self.progress.refused(number, format!("longer than the receiver takes: {bytes} bytes").into());
        }
    }

    /// Queues those of `events` that are still open, cut by the limits that were sealed with the batch.
    pub(super) fn reopen(&mut self, events: &Selection) {
        let limits = self.sealed.manifest().limits;
        for events in limits.cut(&self.batch, &self.progress.open(events)) {
            self.next_request += 1;
            self.runs.push_back(Run { events, request: self.next_request, is_split: false, failing: None });
        }
    }

    /// Queues the open events of `events` in halves: the receiver stopped reading at an event that it does not take.
    /// With halves, many such events in one request cost in proportion to their number.
    pub(super) fn reopen_in_halves(&mut self, events: &Selection) {
        events.halves().iter().for_each(|half| self.reopen(half));
    }

    /// The next run to send.
    pub(super) fn next_run(&mut self) -> Option<Run> {
        let run = self.runs.pop_front()?;
        self.in_flight += 1;
        Some(run)
    }

    pub(super) fn has_runs(&self) -> bool {
        !self.runs.is_empty()
    }

    pub(super) fn request(&self, run: &Run) -> Request {
        Request::of(&self.batch, run.events.clone())
    }

    pub(super) fn taken(&mut self, run: &Run, receipt: Receipt) {
        self.progress.taken(&run.events);
        self.went_through(run);
        self.receipt = (receipt.state().is_some()).then_some(receipt);
    }

    /// Notes that `taken` of the run's events were taken. The others are sent next.
    pub(super) fn begun(&mut self, run: &Run, taken: &Selection) {
        self.progress.taken(taken);
        self.went_through(run);
        self.reopen(&run.events);
    }

    /// Notes that events of the run were taken.
    pub(super) fn went_through(&mut self, run: &Run) {
        if run.is_split {
            self.partly_taken.entry(run.request).or_insert_with(Instant::now);
        }
    }

    /// Notes that the run's events are pending: the receiver says later whether it has them.
    pub(super) fn pending(&mut self, run: &Run, state: &State) {
        self.progress.pending(&run.events, state);
        self.awaited_since.push((state.clone(), Instant::now()));
    }

    /// Whether an acknowledgement has been waited for at least this `long`. If an earlier process sent the events, the
    /// time counts from the first question of this process.
    pub(super) fn has_waited_for(&mut self, state: &State, long: Duration) -> bool {
        if !self.progress.awaited().contains(&state) {
            return false;
        }
        match self.awaited_since.iter().find(|(own, _)| own == state) {
            Some((_, since)) => since.elapsed() >= long,
            None => {
                self.awaited_since.push((state.clone(), Instant::now()));
                false
            }
        }
    }

    /// Takes the receiver's answer about pending events, and returns these events.
    pub(super) fn acknowledged(&mut self, state: &State, answer: Acknowledgement) -> Selection {
        if answer != Acknowledgement::NotYet {
            self.awaited_since.retain(|(own, _)| own != state);
        }
        self.progress.acknowledged(state, answer)
    }

    /// Queues the refused events again.
    pub(super) fn reopen_refused(&mut self) {
        self.progress.reopen_refused();
        self.reopen(&self.all());
    }

    /// Queues the run again, unchanged.
    pub(super) fn again(&mut self, run: Run) {
        self.runs.push_front(run);
    }

    /// Notes that the run failed, for no fault of its events as far as the receiver says. After a while it is sent in
    /// halves, until an event that the receiver fails at is alone. `worked` is when a request last succeeded.
    pub(super) fn failed(&mut self, mut run: Run, reason: &str, worked: Option<Instant>) {
        let now = Instant::now();
        let (since, last) = run.failing.map_or((now, None), |(since, last)| (since, Some(last)));
        run.failing = Some((since, now));
        // A sink that takes whole batches would write the whole batch for each half.
        let is_taken_whole = self.sealed.manifest().limits == RequestLimits::WHOLE;
        let has_worked = last.is_some_and(|last| worked.is_some_and(|worked| worked > last));
        if is_taken_whole || since.elapsed() < FAILS_FOR {
            self.again(run);
        } else if run.events.count() > 1 {
            self.split(&run);
        } else if self.is_what_fails(&run, has_worked) {
            let reason = format!("never taken, while others of its request were: {reason}");
            self.refused(&run, reason.into());
        } else {
            self.again(run);
        }
    }

    /// Whether the receiver fails at this one event: it took others of the same request long ago, and has worked since
    /// this one last failed. In an outage it fails at everything.
    fn is_what_fails(&self, run: &Run, has_worked: bool) -> bool {
        let alone_for = self.partly_taken.get(&run.request).map_or(Duration::ZERO, Instant::elapsed);
        alone_for >= FAILS_ALONE_FOR || alone_for >= FAILS_FOR && has_worked
    }

    /// Notes that the receiver will never take the run as it is: a single event is refused, several are sent in halves.
    pub(super) fn refused(&mut self, run: &Run, reason: Box<str>) {
        if run.events.count() > 1 {
            self.split(run);
        } else if let Some(event) = run.events.first() {
            self.progress.refused(event, reason);
        }
    }

    fn split(&mut self, run: &Run) {
        for events in run.events.halves().into_iter().rev() {
            self.runs.push_front(Run { events, is_split: true, ..run.clone() });
        }
    }

    /// Whether nothing of the batch is left to send or to be acknowledged: every event is taken or refused.
    pub(super) fn is_complete(&self) -> bool {
        self.in_flight == 0 && !self.has_runs() && self.progress.awaited().is_empty()
    }

    /// The receipt of a complete batch.
    pub(super) fn receipt(&self) -> Option<Receipt> {
        if !self.is_complete() {
            return None;
        }
        Receipt::nothing(&self.batch).or_else(|| self.receipt.clone()).or_else(|| self.progress.receipt(&self.batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::tests::batch;
    use crate::batch::{Lane, Manifest};

    fn under_way(events: &[&str], limits: RequestLimits) -> UnderWay {
        let manifest = Manifest::new("i", &Lane::only("out".into()), 1, "e", limits, &[]);
        UnderWay::rebuilt(Sealed::of(Lane::only("out".into()), manifest), batch(&[events]), Vec::new())
    }

    fn limits(events: u32) -> RequestLimits {
        RequestLimits { bytes: 100, events, envelope_bytes: 0, fixed_bytes: 0 }
    }

    /// Sends all runs to a receiver that refuses each run with an event of `bad`. Returns the number of requests.
    fn send(under_way: &mut UnderWay, bad: &[u32]) -> usize {
        let mut requests = 0;
        while let Some(run) = under_way.next_run() {
            requests += 1;
            under_way.in_flight -= 1;
            if run.events.numbers().any(|event| bad.contains(&event)) {
                under_way.refused(&run, "bad".into());
            } else {
                under_way.taken(&run, Receipt::of_test(Vec::new()));
            }
        }
        requests
    }

    fn refused(under_way: &UnderWay) -> Vec<u32> {
        under_way.progress.refused_events().map(|(number, _)| number).collect()
    }

    #[test]
    fn a_batch_is_sent_in_requests_and_is_complete_when_each_is_taken() {
        let mut batch = under_way(&["a", "b", "c", "d", "e"], limits(2));
        let run = batch.next_run().unwrap();
        assert_eq!(&*batch.request(&run).id, &format!("{}.0-1", batch.batch.id));
        batch.in_flight -= 1;
        batch.again(run);
        assert_eq!(send(&mut batch, &[]), 3);
        assert!(batch.receipt().unwrap().refused().is_empty());
    }

    #[test]
    fn what_is_refused_without_a_place_is_found_by_halves() {
        let events: Vec<String> = (0..64).map(|number| number.to_string()).collect();
        let events: Vec<&str> = events.iter().map(String::as_str).collect();
        let mut batch = under_way(&events, RequestLimits { bytes: 10_000, ..limits(64) });
        let requests = send(&mut batch, &[13, 40]);
        assert!(requests <= 2 * 2 * 7, "{requests}");
        assert_eq!(refused(&batch), [13, 40]);
        assert_eq!(batch.receipt().unwrap().refused().len(), 2);
    }

    #[test]
    fn an_event_longer_than_the_receiver_takes_is_refused_unsent() {
        let long = "x".repeat(101);
        let mut batch = under_way(&["a", &long, "b"], limits(9));
        assert_eq!(refused(&batch), [1]);
        assert_eq!(send(&mut batch, &[]), 1);
        assert!(batch.receipt().is_some());
    }

    #[test]
    fn many_events_that_end_what_a_receiver_reads_cost_in_proportion() {
        let events: Vec<String> = (0..1024).map(|number| number.to_string()).collect();
        let events: Vec<&str> = events.iter().map(String::as_str).collect();
        let mut batch = under_way(&events, RequestLimits { bytes: 100_000, ..limits(1024) });
        let mut sent = 0;
        while let Some(run) = batch.next_run() {
            sent += run.events.count();
            batch.in_flight -= 1;
            batch.progress.refused(run.events.first().unwrap(), "bad".into());
            let left = batch.progress.open(&run.events);
            batch.reopen_in_halves(&left);
        }
        assert_eq!(refused(&batch).len(), 1024);
        assert!(sent <= 1024 * 10, "each event is sent at most as often as 1024 can be halved: {sent}");
        assert!(batch.receipt().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_never_goes_through_is_split_and_what_alone_does_not_is_refused() {
        let mut batch = under_way(&["a", "b", "c", "d"], limits(4));
        let mut rounds = 0;
        while let Some(run) = batch.next_run() {
            batch.in_flight -= 1;
            if run.events.numbers().any(|event| event == 2) {
                rounds += 1;
                batch.failed(run, "HTTP 500", Some(Instant::now()));
                tokio::time::sleep(Duration::from_secs(60)).await;
            } else {
                batch.taken(&run, Receipt::of_test(Vec::new()));
            }
            assert!(rounds < 100);
        }
        assert_eq!(refused(&batch), [2]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_that_an_outage_left_behind_is_not_what_the_receiver_fails_at() {
        let mut batch = under_way(&["a", "b"], limits(2));
        let fails_for = async |batch: &mut UnderWay, minutes: u32| {
            for _ in 0..minutes {
                let run = batch.next_run().unwrap();
                batch.in_flight -= 1;
                batch.failed(run, "no answer", None);
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
        };
        fails_for(&mut batch, 11).await;
        let first = batch.next_run().unwrap();
        batch.in_flight -= 1;
        batch.taken(&first, Receipt::of_test(Vec::new()));
        let worked = Instant::now();
        let second = batch.next_run().unwrap();
        batch.in_flight -= 1;
        batch.failed(second, "the reply was lost", Some(worked));
        fails_for(&mut batch, 120).await;
        assert!(refused(&batch).is_empty());
        assert_eq!(send(&mut batch, &[]), 1);
        assert!(batch.receipt().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_is_taken_whole_is_never_split_however_long_it_fails() {
        let mut batch = under_way(&["a", "b", "c"], RequestLimits::WHOLE);
        for _ in 0..60 {
            let run = batch.next_run().unwrap();
            assert_eq!(run.events.count(), 3);
            batch.in_flight -= 1;
            batch.failed(run, "no space is left", None);
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        assert_eq!(send(&mut batch, &[]), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_takes_nothing_at_all_is_down_and_nothing_is_refused() {
        let mut batch = under_way(&["a", "b"], limits(2));
        for _ in 0..60 {
            let run = batch.next_run().unwrap();
            batch.in_flight -= 1;
            batch.failed(run, "HTTP 500", None);
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        assert!(refused(&batch).is_empty());
        assert_eq!(send(&mut batch, &[]), 2);
    }
}

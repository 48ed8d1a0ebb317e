//! What follows when a job ends: settles what it finished, and decides about the rest.

use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use super::Dispatcher;
use super::Order;
use super::Running;
use super::TICK;
use super::Wish;
use crate::checkpoint::{Refusal, StoreError};
use crate::collector::clock;
use crate::collector::intake::in_flight::{Claim, Proof};
use crate::collector::job::{JobEnd, JobError};
use crate::collector::report::{Reporter, limited};
use crate::collector::schedule::retry::{self, Verdict};
use crate::identity::fault::FaultKind;
use crate::notification::{ObjectChange, ObjectId};

impl Dispatcher {
    /// A job ended: settles what it finished, and decides about the rest.
    pub(super) async fn end(
        &mut self,
        end: Result<(ObjectId, Result<JobEnd, JobError>), tokio::task::JoinError>,
    ) -> Result<(), StoreError> {
        let (object, result) = match end {
            Ok(end) => end,
            // A panic outside a worker is a fault of the program's own; going on could lose what it held.
            Err(panic) => return Err(StoreError::Failed(format!("a job ended in a panic: {panic}"))),
        };
        let Some(Running { wish, lanes, is_catching_up, .. }) = self.running.remove(&object) else { return Ok(()) };
        wish.claims.iter().for_each(Claim::touch);
        match result {
            Ok(end) => self.passed(&object, wish, &lanes, is_catching_up, &end).await?,
            Err(JobError::Store(error)) => return Err(error),
            Err(error) => self.failed(&object, wish, &lanes, is_catching_up, &error).await?,
        }
        if self.waiting.get(&object).is_some_and(|wish| wish.not_before.is_none()) {
            self.ready.push_back(object);
        }
        Ok(())
    }

    async fn passed(
        &mut self,
        object: &ObjectId,
        wish: Wish,
        lanes: &[usize],
        is_catching_up: bool,
        end: &JobEnd,
    ) -> Result<(), StoreError> {
        for &lane in &end.deferred {
            self.defer(lane, object, wish.feed)?;
            self.behind[lane].rest(object, TICK);
        }
        if !end.finished && end.deferred.is_empty() {
            // Stopped midway: the claims are dropped, and the messages come again.
            return Ok(());
        }
        if end.again && is_catching_up {
            self.take(Order { feed: wish.feed, change: ObjectChange::of(object.clone()), claim: None });
        }
        if end.finished {
            for &lane in lanes.iter().filter(|lane| !end.deferred.contains(lane)) {
                self.had(lane, object).await?;
            }
        }
        self.park(object, wish);
        self.settle(object)
    }

    /// Keeps an object's messages until every sink has had it, or what it has not had is written down.
    pub(super) fn park(&mut self, object: &ObjectId, wish: Wish) {
        if !wish.claims.is_empty() {
            let parked = self.parked.entry(object.clone()).or_default();
            parked.feed = wish.feed;
            parked.claims.extend(wish.claims);
        }
    }

    /// Settles an object's messages if nothing is left to do: every sink has had it or is owed it.
    pub(super) fn settle(&mut self, object: &ObjectId) -> Result<(), StoreError> {
        let Some(parked) = self.parked.get(object) else { return Ok(()) };
        let feed = &self.workshop.feeds.0[parked.feed];
        if feed.lanes.iter().any(|&lane| self.behind[lane].is_waited_for(object)) {
            return Ok(());
        }
        let sinks = &feed.sinks;
        let mut claims = self.parked.remove(object).map(|parked| parked.claims).unwrap_or_default();
        while let Some(claim) = claims.pop() {
            // Without a proof the claim is dropped, and its message comes again.
            match self.workshop.store.passed(object, sinks)? {
                Some(passed) => claim.settle(Proof::Passed(passed)),
                None => debug!(%object, "not settled: the object has moved on"),
            }
        }
        Ok(())
    }

    async fn failed(
        &mut self,
        object: &ObjectId,
        mut wish: Wish,
        lanes: &[usize],
        is_catching_up: bool,
        error: &JobError,
    ) -> Result<(), StoreError> {
        let failed_before = lanes.iter().map(|&lane| self.behind[lane].attempts(object)).max();
        wish.attempts = 1 + if is_catching_up { failed_before.unwrap_or(0) } else { wish.attempts };
        let limits = &self.workshop.limits;
        let verdict = retry::verdict(error, wish.attempts, wish.since.elapsed(), limits, self.once);
        debug!(%object, %error, ?verdict, attempts = wish.attempts, "a job failed");
        let feed = Arc::clone(&self.workshop.feeds.0[wish.feed]);
        report(&self.workshop.reporter, &feed.name, object, error, &verdict, wish.attempts);
        match verdict {
            Verdict::Again(wait) if is_catching_up => self.catch_up_later(object, lanes, wait),
            Verdict::Again(wait) => self.again(object, wish, wait),
            Verdict::GiveUp => {
                self.workshop.metrics.objects.add(["given_up"], 1);
                self.failed.get_or_insert_with(|| error.to_string());
                if is_catching_up {
                    self.catch_up_later(object, lanes, Duration::from_secs(60));
                }
            }
            Verdict::Vanished => {
                self.workshop.metrics.objects.add(["vanished"], 1);
                self.workshop.store.refuse_requeued(object.clone(), error.to_string()).await?;
                for &lane in &feed.lanes {
                    self.had(lane, object).await?;
                }
                for claim in wish.claims.into_iter().chain(self.unpark(object)) {
                    claim.settle(Proof::Vanished);
                }
            }
            Verdict::Quarantine(etag) => {
                self.workshop.metrics.objects.add(["quarantined"], 1);
                self.workshop.metrics.records_quarantined.add([&feed.name, "object"], 1);
                self.quarantine(object, &feed.name, wish, etag, error).await?;
            }
        }
        Ok(())
    }

    async fn quarantine(
        &mut self,
        object: &ObjectId,
        feed: &Arc<str>,
        wish: Wish,
        etag: Box<str>,
        error: &JobError,
    ) -> Result<(), StoreError> {
        for lane in self.workshop.feeds.0[wish.feed].lanes.clone() {
            self.had(lane, object).await?;
        }
        for claim in wish.claims.into_iter().chain(self.unpark(object)).map(Some).chain([None]) {
            let refusal = Refusal {
                feed: Arc::clone(feed),
                object: object.clone(),
                etag: etag.clone(),
                is_archived: matches!(error, JobError::Unreadable { kind: FaultKind::Archived, .. }),
                reason: error.to_string(),
                now_ms: clock::now_ms(),
            };
            let proof = self.workshop.store.quarantine_object(refusal).await?;
            if let Some(claim) = claim {
                claim.settle(Proof::Quarantined(proof));
            }
        }
        Ok(())
    }

    fn catch_up_later(&mut self, object: &ObjectId, lanes: &[usize], wait: Duration) {
        for &lane in lanes {
            self.behind[lane].failed(object, wait);
        }
    }

    fn unpark(&mut self, object: &ObjectId) -> Vec<Claim> {
        self.parked.remove(object).map(|parked| parked.claims).unwrap_or_default()
    }
}

/// Counts a failed read, considers what it says of the feed, and logs it with what is done about it.
fn report(reporter: &Reporter, feed: &Arc<str>, object: &ObjectId, error: &JobError, verdict: &Verdict, attempts: u32) {
    let kind = retry::kind(error);
    if let Some(kind) = kind {
        reporter.read_failed(feed, kind, error);
    }
    let (hint, word) = (kind.map(FaultKind::advice), kind.map(FaultKind::word));
    let subject = &*format!("{feed} {}", word.unwrap_or_default());
    match verdict {
        Verdict::Again(_) => {
            if let Some(kind) = kind {
                reporter.reads_again(feed, object, kind, error, attempts);
            }
        }
        Verdict::GiveUp => limited!(
            reporter, ERROR, subject, "an object cannot be read; its message is left to come again",
            %feed, %object, kind = word, %error, hint, attempts
        ),
        Verdict::Vanished => {
            limited!(reporter, WARN, subject, "an object is gone before it was read", %feed, %object, hint);
        }
        Verdict::Quarantine(_) => limited!(
            reporter, ERROR, subject, "an object cannot be read and is quarantined",
            %feed, %object, kind = word, %error, hint
        ),
    }
}

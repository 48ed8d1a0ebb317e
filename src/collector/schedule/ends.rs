//! The end of a job: settles the messages that it finished, and decides what follows for the object.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

use super::{AwaitingAck, Dispatcher, Origin, PendingChange, Running, TICK};
use crate::checkpoint::{Passed, Refusal, StoreError};
use crate::collector::ids::{FeedId, SinkId};
use crate::collector::intake::in_flight::{AckHandle, Proof};
use crate::collector::job::YOUNG;
use crate::collector::job::task::{JobEnd, JobError};
use crate::collector::report::{Reporter, limited, without_address};
use crate::collector::schedule::retry::{self, Verdict};
use crate::collector::schedule::unread::Outcome;
use crate::config::OweAfter;
use crate::identity::fault::FaultKind;
use crate::notification::ObjectId;

/// The shortest and the longest wait before a write is retried that failed because the store's disk is full.
const SPACE_WAIT_MIN: Duration = Duration::from_secs(1);
pub(super) const SPACE_WAIT_MAX: Duration = Duration::from_secs(10);

impl Dispatcher {
    /// Handles the end of a job.
    pub(super) async fn end(
        &mut self,
        end: Result<(ObjectId, Result<JobEnd, JobError>), tokio::task::JoinError>,
    ) -> Result<(), StoreError> {
        let (object, result) = match end {
            Ok(end) => end,
            // A panic outside a worker thread is a bug. Going on could lose the messages that the job had.
            Err(panic) => return Err(StoreError::Failed(format!("a job ended in a panic: {panic}"))),
        };
        let Some(Running { pending, sinks, origin, rate, .. }) = self.running.remove(&object) else { return Ok(()) };
        pending.acks.iter().for_each(AckHandle::touch);
        self.shares.ended(pending.feed, origin.is_backlog(), rate.is_slow);
        match result {
            Ok(end) => self.passed(&object, pending, &sinks, &origin, end).await?,
            Err(JobError::Store(StoreError::Full)) if !self.once => {
                self.wait_for_space(&object, pending, &sinks, &origin);
            }
            Err(JobError::Store(error)) => return Err(error),
            Err(error) => self.failed(&object, pending, &sinks, &origin, &error).await?,
        }
        if let Some(pending) = self.waiting.get(&object).filter(|pending| pending.not_before.is_none()) {
            self.shares.push(pending.feed, object);
        }
        Ok(())
    }

    async fn passed(
        &mut self,
        object: &ObjectId,
        pending: PendingChange,
        sinks: &[SinkId],
        origin: &Origin,
        end: JobEnd,
    ) -> Result<(), StoreError> {
        self.gathers(object, end.gathered);
        for &sink in &end.deferred {
            self.defer(sink, object, pending.feed).await?;
            self.backlogs[sink].rest(object, TICK);
        }
        if !end.finished && sinks.iter().any(|sink| !end.deferred.contains(sink)) {
            // Stopped midway: the ack handles are dropped, and the messages are received again. For a sink that was not
            // deferred, the store's position is still that of the version before.
            self.unread_ended(pending.feed, origin, Outcome::Delayed);
            return Ok(());
        }
        self.unread.place_answered(pending.feed);
        if end.finished {
            for &sink in sinks.iter().filter(|sink| !end.deferred.contains(sink)) {
                self.had(sink, std::slice::from_ref(object)).await?;
            }
        }
        let feed = pending.feed;
        match origin {
            Origin::FeedBacklog(kind) => self.unread_read(feed, object, kind).await?,
            _ if end.finished && self.unread_kind(feed, object).await?.is_some() => {
                self.leave_feeds_backlog(feed, object).await?;
            }
            _ => {}
        }
        self.await_ack(object, pending);
        self.settle(object, end.passed).await?;
        let is_news_to_others = *origin == Origin::SinkBacklog && end.finished && end.is_new;
        if end.is_young && !self.once {
            self.again(object, PendingChange::new(feed), YOUNG);
        } else if is_news_to_others && sinks.len() < self.services.feeds[feed].sinks.len() {
            // If the store was restored from a backup, the message of this version may have been deleted already: read
            // it for the other sinks without waiting for one.
            self.again(object, PendingChange::new(feed), TICK);
        }
        Ok(())
    }

    /// Notes the outcome in the feed's backlog, if the job was started from there.
    fn unread_ended(&mut self, feed: FeedId, origin: &Origin, outcome: Outcome) {
        if let Origin::FeedBacklog(kind) = origin {
            self.unread.ended(feed, kind, outcome);
        }
    }

    /// Keeps an object's messages until every sink has had it or has it in its stored backlog.
    pub(super) fn await_ack(&mut self, object: &ObjectId, pending: PendingChange) {
        if !pending.acks.is_empty() {
            let waiting = AwaitingAck { feed: pending.feed, acks: Vec::new() };
            self.awaiting_ack.entry(object.clone()).or_insert(waiting).acks.extend(pending.acks);
        }
    }

    /// Settles an object's messages if every sink has had it or has it in its backlog. `passed` is the proof, if the
    /// caller has one.
    pub(super) async fn settle(&mut self, object: &ObjectId, mut passed: Option<Passed>) -> Result<(), StoreError> {
        let Some(awaiting_ack) = self.awaiting_ack.get(object) else { return Ok(()) };
        let feed = &self.services.feeds[awaiting_ack.feed];
        let is_unread = self.unread_kind(awaiting_ack.feed, object).await?.is_some();
        if !is_unread && feed.sinks.iter().any(|&sink| self.backlogs[sink].is_waited_for(object)) {
            return Ok(());
        }
        let names = &feed.sink_names;
        let mut acks = self.awaiting_ack.remove(object).map(|awaiting_ack| awaiting_ack.acks).unwrap_or_default();
        while let Some(ack) = acks.pop() {
            let store = &self.services.store;
            let proof = match passed.take() {
                _ if is_unread => store.backlog.unread_proof(object).await?,
                None => store.positions.passed(object, names).await?,
                passed => passed,
            };
            // Without a proof the ack handle is dropped, and its message is received again.
            match proof {
                Some(passed) => ack.settle(Proof::Passed(passed)),
                None => debug!(%object, "not settled: the object has moved on"),
            }
        }
        Ok(())
    }

    async fn failed(
        &mut self,
        object: &ObjectId,
        mut pending: PendingChange,
        sinks: &[SinkId],
        origin: &Origin,
        error: &JobError,
    ) -> Result<(), StoreError> {
        let failed_before = sinks.iter().map(|&sink| self.backlogs[sink].attempts(object)).max();
        pending.attempts =
            1 + if *origin == Origin::SinkBacklog { failed_before.unwrap_or(0) } else { pending.attempts };
        let limits = &self.services.limits;
        let verdict = retry::verdict(error, pending.attempts, pending.since.elapsed(), limits, self.once);
        debug!(%object, %error, ?verdict, attempts = pending.attempts, "a job failed");
        let feed = Arc::clone(&self.services.feeds[pending.feed]);
        report(&self.services.reporter, &feed.name, object, error, &verdict, pending.attempts);
        let kind = retry::kind(error).unwrap_or(FaultKind::Changed);
        if kind.is_of_place() {
            self.unread.place_failed(pending.feed, object, kind.word());
        } else {
            self.unread.place_answered(pending.feed);
        }
        let ended = match verdict {
            Verdict::Vanished => self.vanished(object, &mut pending, error).await,
            Verdict::Quarantine(etag) => self.quarantine(object, &mut pending, etag, error).await,
            Verdict::Again(_) | Verdict::Backlog | Verdict::GiveUp => {
                return self.unreadable(object, pending, sinks, origin, (error, kind, &verdict)).await;
            }
        };
        match ended {
            Err(StoreError::Full) if !self.once => self.wait_for_space(object, pending, sinks, origin),
            ended => {
                ended?;
                self.unread_ended(pending.feed, origin, Outcome::Read);
            }
        }
        Ok(())
    }

    /// Handles an object that cannot be read now: it is retried by itself, or from a backlog.
    async fn unreadable(
        &mut self,
        object: &ObjectId,
        pending: PendingChange,
        sinks: &[SinkId],
        origin: &Origin,
        (error, kind, verdict): (&JobError, FaultKind, &Verdict),
    ) -> Result<(), StoreError> {
        let feed = pending.feed;
        if *verdict == Verdict::GiveUp {
            self.services.metrics.objects.add([&self.services.feeds[feed].name, "given_up"], 1);
            self.failed.get_or_insert_with(|| error.to_string());
        }
        match (origin, verdict) {
            (Origin::FeedBacklog(before), _) => {
                let outcome =
                    if kind.is_of_place() || kind.word() == &**before { Outcome::Failed } else { Outcome::Read };
                self.unread.ended(feed, before, outcome);
                self.unread_again(feed, object, kind.word().into()).await?;
                if self.unread.is_done() {
                    self.failed.get_or_insert_with(|| error.to_string());
                }
            }
            (Origin::SinkBacklog, Verdict::Again(wait)) => {
                self.catch_up_later(object, sinks, *wait);
                // From the feed's backlog, a feed that cannot be read is probed with one object at a time.
                if kind.is_of_place() && self.services.limits.owe_after != OweAfter::Never && !self.once {
                    self.enter(object.clone(), pending, kind.word().into());
                }
            }
            (Origin::SinkBacklog, _) => self.catch_up_later(object, sinks, Duration::from_secs(60)),
            (Origin::Change, Verdict::GiveUp) => {}
            (Origin::Change, Verdict::Again(wait)) if self.unread_kind(feed, object).await?.is_none() => {
                self.again(object, pending, *wait);
            }
            (Origin::Change, _) => self.enter(object.clone(), pending, kind.word().into()),
        }
        Ok(())
    }

    /// Handles an object that is gone. If the store's disk is full, nothing changes.
    async fn vanished(
        &mut self,
        object: &ObjectId,
        pending: &mut PendingChange,
        error: &JobError,
    ) -> Result<(), StoreError> {
        self.services.store.quarantine.refuse_requeued(object.clone(), error.to_string()).await?;
        self.services.metrics.objects.add([&self.services.feeds[pending.feed].name, "vanished"], 1);
        self.no_sink_waits(object, pending).await?;
        for ack in std::mem::take(&mut pending.acks).into_iter().chain(self.take_acks(object)) {
            ack.settle(Proof::Vanished);
        }
        Ok(())
    }

    /// Quarantines a version that will never be readable. If the store's disk is full, nothing changes.
    async fn quarantine(
        &mut self,
        object: &ObjectId,
        pending: &mut PendingChange,
        etag: Box<str>,
        error: &JobError,
    ) -> Result<(), StoreError> {
        let feed = Arc::clone(&self.services.feeds[pending.feed].name);
        let now_ms = self.services.clock.now_ms();
        let refusal = || Refusal {
            feed: Arc::clone(&feed),
            object: object.clone(),
            etag: etag.clone(),
            is_archived: matches!(error, JobError::Unreadable { kind: FaultKind::Archived, .. }),
            reason: error.to_string(),
            now_ms,
        };
        let mut proof = Some(self.services.store.quarantine.quarantine_object(refusal()).await?);
        self.services.reporter.stored();
        self.services.metrics.objects.add([&feed, "quarantined"], 1);
        self.services.metrics.records_quarantined.add([&feed, "object"], 1);
        self.no_sink_waits(object, pending).await?;
        for ack in std::mem::take(&mut pending.acks).into_iter().chain(self.take_acks(object)) {
            let proof = match proof.take() {
                Some(first) => Ok(first),
                None => self.services.store.quarantine.quarantine_object(refusal()).await,
            };
            match proof {
                Ok(proof) => ack.settle(Proof::Quarantined(proof)),
                // Its message is received again.
                Err(StoreError::Full) if !self.once => drop(ack),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Removes the object from every backlog.
    async fn no_sink_waits(&mut self, object: &ObjectId, pending: &PendingChange) -> Result<(), StoreError> {
        for sink in self.services.feeds[pending.feed].sinks.clone() {
            self.had(sink, std::slice::from_ref(object)).await?;
        }
        self.no_longer_unread(pending.feed, object).await
    }

    /// Handles a full disk of the checkpoint store: the object is processed again later, and its messages stay in
    /// flight until then.
    fn wait_for_space(&mut self, object: &ObjectId, mut pending: PendingChange, sinks: &[SinkId], origin: &Origin) {
        self.services.reporter.store_is_full();
        let wait = (pending.since.elapsed() / 2).clamp(SPACE_WAIT_MIN, SPACE_WAIT_MAX);
        pending.attempts = 0;
        match origin {
            Origin::Change => self.again(object, pending, wait),
            Origin::SinkBacklog => sinks.iter().for_each(|&sink| self.backlogs[sink].rest(object, wait)),
            Origin::FeedBacklog(kind) => {
                self.unread.ended(pending.feed, kind, Outcome::Delayed);
            }
        }
    }

    /// Queues the object to be read again after `wait`, together with changes that have come since.
    pub(super) fn again(&mut self, object: &ObjectId, mut pending: PendingChange, wait: Duration) {
        match self.waiting.get_mut(object) {
            Some(newer) => {
                newer.acks.extend(pending.acks);
                newer.attempts = newer.attempts.max(pending.attempts);
                newer.since = newer.since.min(pending.since);
                if newer.etag != pending.etag {
                    newer.etag = None;
                }
            }
            None => {
                let at = Instant::now() + wait;
                pending.not_before = Some(at);
                self.waiting.insert(object.clone(), pending);
                self.delayed.insert((at, object.clone()));
            }
        }
    }

    fn catch_up_later(&mut self, object: &ObjectId, sinks: &[SinkId], wait: Duration) {
        for &sink in sinks {
            self.backlogs[sink].failed(object, wait);
        }
    }

    pub(super) fn take_acks(&mut self, object: &ObjectId) -> Vec<AckHandle> {
        self.awaiting_ack.remove(object).map(|awaiting_ack| awaiting_ack.acks).unwrap_or_default()
    }
}

/// Counts a failed read, updates the feed's health, and logs the read with what follows.
fn report(reporter: &Reporter, feed: &Arc<str>, object: &ObjectId, error: &JobError, verdict: &Verdict, attempts: u32) {
    let kind = retry::kind(error);
    if let Some(kind) = kind {
        reporter.read_failed(feed, kind, error);
    }
    let (hint, word) = (kind.map(FaultKind::advice), kind.map(FaultKind::word));
    let said = without_address(object, error);
    let subject = &*format!("{feed} {}", word.unwrap_or_default());
    match verdict {
        Verdict::Again(_) => {
            if let Some(kind) = kind {
                reporter.reads_again(feed, object, kind, error, attempts);
            }
        }
        Verdict::Backlog => {}
        Verdict::GiveUp => limited!(
            reporter, ERROR, subject, "an object cannot be read; its message is left to come again",
            %feed, %object, kind = word, error = said, hint, attempts
        ),
        Verdict::Vanished => {
            limited!(reporter, WARN, subject, "an object is gone before it was read", %feed, %object, hint);
        }
        Verdict::Quarantine(_) => limited!(
            reporter, ERROR, subject, "an object cannot be read and is quarantined",
            %feed, %object, kind = word, error = said, hint
        ),
    }
}

//! What follows when a job ends: settles what it finished, and decides about the rest.

use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use super::{AwaitingAck, Dispatcher, PendingChange, ReadRequest, Running, TICK};
use crate::checkpoint::{Refusal, StoreError};
use crate::collector::clock;
use crate::collector::ids::SinkId;
use crate::collector::intake::in_flight::{AckHandle, Proof};
use crate::collector::job::task::{JobEnd, JobError};
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
        let Some(Running { pending, sinks, is_catching_up, .. }) = self.running.remove(&object) else { return Ok(()) };
        pending.acks.iter().for_each(AckHandle::touch);
        self.shares.ended(pending.feed, is_catching_up);
        match result {
            Ok(end) => self.passed(&object, pending, &sinks, is_catching_up, &end).await?,
            Err(JobError::Store(error)) => return Err(error),
            Err(error) => self.failed(&object, pending, &sinks, is_catching_up, &error).await?,
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
        is_catching_up: bool,
        end: &JobEnd,
    ) -> Result<(), StoreError> {
        for &sink in &end.deferred {
            self.defer(sink, object, pending.feed)?;
            self.backlogs[sink].rest(object, TICK);
        }
        if !end.finished && end.deferred.is_empty() {
            // Stopped midway: the ack handles are dropped, and the messages come again.
            return Ok(());
        }
        if end.again && is_catching_up {
            self.take(ReadRequest { feed: pending.feed, change: ObjectChange::of(object.clone()), ack: None });
        }
        if end.finished {
            for &sink in sinks.iter().filter(|sink| !end.deferred.contains(sink)) {
                self.had(sink, object).await?;
            }
        }
        self.await_ack(object, pending);
        self.settle(object)
    }

    /// Keeps an object's messages until every sink has had it, or what it has not had is written down.
    pub(super) fn await_ack(&mut self, object: &ObjectId, pending: PendingChange) {
        if !pending.acks.is_empty() {
            let waiting = AwaitingAck { feed: pending.feed, acks: Vec::new() };
            self.awaiting_ack.entry(object.clone()).or_insert(waiting).acks.extend(pending.acks);
        }
    }

    /// Settles an object's messages if nothing is left to do: every sink has had it or has it in its backlog.
    pub(super) fn settle(&mut self, object: &ObjectId) -> Result<(), StoreError> {
        let Some(awaiting_ack) = self.awaiting_ack.get(object) else { return Ok(()) };
        let feed = &self.services.feeds[awaiting_ack.feed];
        if feed.sinks.iter().any(|&sink| self.backlogs[sink].is_waited_for(object)) {
            return Ok(());
        }
        let names = &feed.sink_names;
        let mut acks = self.awaiting_ack.remove(object).map(|awaiting_ack| awaiting_ack.acks).unwrap_or_default();
        while let Some(ack) = acks.pop() {
            // Without a proof the ack handle is dropped, and its message comes again.
            match self.services.store.passed(object, names)? {
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
        is_catching_up: bool,
        error: &JobError,
    ) -> Result<(), StoreError> {
        let failed_before = sinks.iter().map(|&sink| self.backlogs[sink].attempts(object)).max();
        pending.attempts = 1 + if is_catching_up { failed_before.unwrap_or(0) } else { pending.attempts };
        let limits = &self.services.limits;
        let verdict = retry::verdict(error, pending.attempts, pending.since.elapsed(), limits, self.once);
        debug!(%object, %error, ?verdict, attempts = pending.attempts, "a job failed");
        let feed = Arc::clone(&self.services.feeds[pending.feed]);
        report(&self.services.reporter, &feed.name, object, error, &verdict, pending.attempts);
        match verdict {
            Verdict::Again(wait) if is_catching_up => self.catch_up_later(object, sinks, wait),
            Verdict::Again(wait) => self.again(object, pending, wait),
            Verdict::GiveUp => {
                self.services.metrics.objects.add(["given_up"], 1);
                self.failed.get_or_insert_with(|| error.to_string());
                if is_catching_up {
                    self.catch_up_later(object, sinks, Duration::from_secs(60));
                }
            }
            Verdict::Vanished => {
                self.services.metrics.objects.add(["vanished"], 1);
                self.services.store.refuse_requeued(object.clone(), error.to_string()).await?;
                for &sink in &feed.sinks {
                    self.had(sink, object).await?;
                }
                for ack in pending.acks.into_iter().chain(self.take_acks(object)) {
                    ack.settle(Proof::Vanished);
                }
            }
            Verdict::Quarantine(etag) => {
                self.services.metrics.objects.add(["quarantined"], 1);
                self.services.metrics.records_quarantined.add([&feed.name, "object"], 1);
                self.quarantine(object, &feed.name, pending, etag, error).await?;
            }
        }
        Ok(())
    }

    async fn quarantine(
        &mut self,
        object: &ObjectId,
        feed: &Arc<str>,
        pending: PendingChange,
        etag: Box<str>,
        error: &JobError,
    ) -> Result<(), StoreError> {
        for sink in self.services.feeds[pending.feed].sinks.clone() {
            self.had(sink, object).await?;
        }
        for ack in pending.acks.into_iter().chain(self.take_acks(object)).map(Some).chain([None]) {
            let refusal = Refusal {
                feed: Arc::clone(feed),
                object: object.clone(),
                etag: etag.clone(),
                is_archived: matches!(error, JobError::Unreadable { kind: FaultKind::Archived, .. }),
                reason: error.to_string(),
                now_ms: clock::now_ms(),
            };
            let proof = self.services.store.quarantine_object(refusal).await?;
            if let Some(ack) = ack {
                ack.settle(Proof::Quarantined(proof));
            }
        }
        Ok(())
    }

    fn catch_up_later(&mut self, object: &ObjectId, sinks: &[SinkId], wait: Duration) {
        for &sink in sinks {
            self.backlogs[sink].failed(object, wait);
        }
    }

    fn take_acks(&mut self, object: &ObjectId) -> Vec<AckHandle> {
        self.awaiting_ack.remove(object).map(|awaiting_ack| awaiting_ack.acks).unwrap_or_default()
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

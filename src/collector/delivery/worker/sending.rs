//! Sends requests, up to the lane's limit of requests in flight, and handles their answers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::requests::{Asked, Due, Sent};
use super::window::{Run, UnderWay};
use super::{LaneSender, WorkerError};
use crate::batch::Selection;
use crate::checkpoint::{Committed, QuarantineChange};
use crate::collector::delivery::gate::Admission;
use crate::collector::report::limited;
use crate::sink::{Acknowledgement, Delivery, DeliveryError, Receipt, State};
use crate::telemetry::health::Activity;

/// The first and the longest wait between two questions about pending events.
const ASK_FIRST: Duration = Duration::from_millis(100);
const ASK_LONGEST: Duration = Duration::from_secs(10);

/// The outcome of a receiver's answers about pending events.
#[derive(Default)]
struct Heard {
    /// Indices of the batches in the window that it answered about. A receiver may give an answer only once.
    told: BTreeSet<usize>,
    /// How many events must be sent again.
    lost: u32,
    /// An acknowledgement did not come in time.
    is_late: bool,
}

impl LaneSender {
    /// Sends the requests that may be sent now, and asks for acknowledgements that are due.
    pub(super) fn send_more(&mut self) {
        self.ask();
        let most = usize::from(self.setup.flow.in_flight);
        while self.sending.len() < most && self.resting_until.is_none_or(|until| until <= Instant::now()) {
            let Some(at) = self.window.iter().position(|one| one.has_runs()) else { return };
            if self.setup.gate.admit() != Admission::Send {
                return;
            }
            let one = &mut self.window[at];
            let Some(run) = one.next_run() else { return self.setup.gate.given_up() };
            let (request, seq) = (one.request(&run), one.batch.seq);
            let (sink, now_ms) = (Arc::clone(&self.setup.sink), self.setup.clock.now_ms());
            self.sending.push(Box::pin(async move {
                let result = sink.deliver(&request, now_ms).await;
                Sent { seq, run, result }
            }));
        }
    }

    /// When the next request or question may be sent.
    pub(super) fn due(&mut self) -> Due {
        let mut at: Option<Instant> = None;
        let mut by = |when: Instant| at = Some(at.map_or(when, |other| other.min(when)));
        let mut waits_for_gate = false;
        let has_runs = self.window.iter().any(|one| one.has_runs());
        if has_runs && self.sending.len() < usize::from(self.setup.flow.in_flight) {
            match self.setup.gate.look() {
                Admission::Wait(until) => by(until),
                Admission::Probed => {}
                Admission::Send => self.resting_until.into_iter().for_each(&mut by),
            }
            waits_for_gate = true;
        }
        if self.asking.under_way.is_empty() && self.window.iter().any(|one| !one.progress.awaited().is_empty()) {
            by(self.asking.not_before.unwrap_or_else(Instant::now));
        }
        Due { at, waits_for_gate }
    }

    /// Asks the receiver about all pending events at once, unless it is too early or a question is under way.
    fn ask(&mut self) {
        if !self.asking.under_way.is_empty() || self.asking.not_before.is_some_and(|at| at > Instant::now()) {
            return;
        }
        let awaited = self.window.iter().flat_map(|one| one.progress.awaited());
        let states: Vec<State> = awaited.cloned().collect();
        if states.is_empty() {
            return;
        }
        let (sink, now_ms) = (Arc::clone(&self.setup.sink), self.setup.clock.now_ms());
        self.asking.under_way.push(Box::pin(async move {
            let result = sink.acknowledged(&states, now_ms).await;
            Asked { states, result }
        }));
    }

    pub(super) async fn asked(&mut self, Asked { states, result }: Asked) -> Result<(), WorkerError> {
        let answers = match result {
            Ok(answers) => answers,
            Err(error) => {
                self.asking.not_before = Some(Instant::now() + ASK_LONGEST);
                self.asking.is_failing = true;
                self.failed(&error);
                return Ok(());
            }
        };
        let is_news = answers.iter().any(|answer| *answer != Acknowledgement::NotYet);
        let wait = if is_news { ASK_FIRST } else { (self.asking.wait * 2).clamp(ASK_FIRST, ASK_LONGEST) };
        (self.asking.wait, self.asking.not_before) = (wait, Some(Instant::now() + wait));
        let was_in_vain = self.asking.in_vain.is_some();
        if answers.contains(&Acknowledgement::Taken) {
            self.asking.in_vain = None;
        }
        let is_in_vain = self.asking.in_vain.is_some();
        if std::mem::take(&mut self.asking.is_failing) || (was_in_vain && !is_in_vain) {
            self.works();
        }
        let Heard { told, lost, is_late } = self.heard(&states, answers);
        for at in told {
            if !self.is_committed_next(at) {
                self.note_surely(at).await?;
            }
        }
        if is_late && is_in_vain {
            let within = self.setup.flow.acknowledged_within.as_secs();
            self.failed(&DeliveryError::Misconfigured(format!(
                "it takes events and acknowledges none, though they were sent again after {within} s: does it store events, \
                 and does a load balancer before it keep each sender with one node?"
            )));
        } else if lost > 0 {
            let (reporter, sink) = (&self.setup.reporter, &self.name);
            self.setup.metrics.sink_retries.add([sink], 1);
            limited!(
                reporter, WARN, sink,
                "the receiver took events and does not acknowledge them; sending them again", %sink, events = lost
            );
        }
        Ok(())
    }

    /// Takes an answer for each state. Events that are not acknowledged in time are sent again. If no acknowledgement
    /// has come since the last time, only one request is sent again per period, since each is a repeat.
    fn heard(&mut self, states: &[State], answers: Vec<Acknowledgement>) -> Heard {
        let within = self.setup.flow.acknowledged_within;
        let mut sent_again = self.asking.in_vain.map_or(usize::MAX, |since| usize::from(since.elapsed() >= within));
        let Heard { mut told, mut lost, mut is_late } = Heard::default();
        for (state, mut answer) in states.iter().zip(answers) {
            for (at, one) in self.window.iter_mut().enumerate() {
                if answer == Acknowledgement::NotYet && one.has_waited_for(state, within) && sent_again > 0 {
                    answer = Acknowledgement::Lost;
                    sent_again -= 1;
                    is_late = true;
                }
                let events = one.acknowledged(state, answer);
                if answer == Acknowledgement::Lost {
                    one.reopen(&events);
                    lost += events.count();
                }
                if answer != Acknowledgement::NotYet && events.count() > 0 {
                    told.insert(at);
                }
            }
        }
        if is_late {
            self.asking.in_vain = Some(Instant::now());
        }
        Heard { told, lost, is_late }
    }

    /// Handles the end of a request.
    pub(super) async fn sent(&mut self, Sent { seq, run, result }: Sent) -> Result<(), WorkerError> {
        let Some(at) = self.window.iter().position(|one| one.batch.seq == seq) else { return Ok(()) };
        self.window[at].in_flight -= 1;
        match result {
            Ok(Delivery::Taken(receipt)) => {
                self.window[at].taken(&run, receipt);
                self.works();
                self.note(at).await
            }
            Ok(Delivery::Begun(taken)) => {
                self.window[at].begun(&run, &taken);
                self.works();
                self.note(at).await
            }
            Ok(Delivery::Partly { taken, refused, after }) => {
                self.partly(at, &run, &taken, refused, after);
                self.note(at).await
            }
            Ok(Delivery::Pending(state)) => {
                self.window[at].pending(&run, &state);
                self.asking.wait = Duration::ZERO;
                if self.asking.in_vain.is_some() {
                    self.setup.gate.passed();
                    self.resting_until = None;
                } else {
                    self.works();
                }
                self.note_surely(at).await
            }
            Ok(Delivery::TooLarge(reason)) => {
                self.setup.gate.passed();
                let reason = format!("larger than the receiver takes: {reason}");
                self.window[at].refused(&run, reason.into());
                Ok(())
            }
            Ok(Delivery::Moved(moved)) => {
                self.setup.gate.given_up();
                self.window[at].again(run);
                self.remember(moved).await
            }
            Err(DeliveryError::Refused(reason)) => {
                self.setup.gate.passed();
                self.window[at].refused(&run, reason.into());
                Ok(())
            }
            Err(error) => {
                if let DeliveryError::Unavailable { reason, .. } = &error {
                    self.window[at].failed(run, reason, self.setup.gate.passed_last());
                } else {
                    self.window[at].again(run);
                }
                self.failed(&error);
                Ok(())
            }
        }
    }

    /// Handles an answer that names the taken and the refused events.
    fn partly(
        &mut self,
        at: usize,
        run: &Run,
        taken: &Selection,
        refused: Vec<(u32, Box<str>)>,
        after: Option<Duration>,
    ) {
        let one = &mut self.window[at];
        one.progress.taken(taken);
        for (event, reason) in refused {
            one.progress.refused(event, reason);
        }
        if taken.count() > 0 {
            one.went_through(run);
        }
        let left = one.progress.open(&run.events);
        let is_sent_at_once = after == Some(Duration::ZERO) && (left.count() < run.events.count() || left.count() > 1);
        if is_sent_at_once {
            one.reopen_in_halves(&left);
        } else if left.count() == run.events.count() {
            // No event was taken or refused.
            one.failed(run.clone(), "no event of the request was taken", self.setup.gate.passed_last());
        } else {
            one.reopen(&left);
        }
        if left.count() > 0 && !is_sent_at_once {
            let reason = format!("{} of {} events were not taken yet", left.count(), run.events.count());
            self.failed(&DeliveryError::Unavailable { reason, after });
        } else {
            self.works();
        }
    }

    /// Stores the batch's progress, unless the receiver recognizes repeats or the batch is committed next anyway.
    async fn note(&mut self, at: usize) -> Result<(), WorkerError> {
        if self.setup.flow.knows_repeats || self.is_committed_next(at) {
            return Ok(());
        }
        self.note_surely(at).await
    }

    /// Whether this batch is committed next: it and all batches before it are complete, and have no refused event for
    /// which a storm could put the commits off.
    fn is_committed_next(&self, at: usize) -> bool {
        let is_refused = |one: &UnderWay| one.progress.refused_events().next().is_some();
        self.window.iter().take(at + 1).all(|one| one.is_complete() && !is_refused(one))
    }

    async fn note_surely(&mut self, at: usize) -> Result<(), WorkerError> {
        let (sealed, progress) = (self.window[at].sealed.clone(), self.window[at].progress.clone());
        self.store(|positions| positions.note_progress(&sealed, progress.clone())).await
    }

    /// Notes that the sink works.
    pub(super) fn works(&mut self) {
        self.setup.gate.passed();
        self.resting_until = None;
        self.takes_again();
        self.setup.reporter.worked(&self.part(), Activity::Deliver);
    }

    /// Whether the first batch of the window, which must be complete, is part of a storm. If so, nothing is
    /// quarantined, and the sink is parked.
    pub(super) fn is_storm(&mut self) -> bool {
        let Some(front) = self.window.front_mut() else { return false };
        let reason = self.storm.breaks(front.batch.events(), front.progress.refused_events()).map(str::to_owned);
        let Some(reason) = reason else { return false };
        front.reopen_refused();
        self.failed(&DeliveryError::Misconfigured(format!("it refuses most of what it is sent: {reason}")));
        true
    }

    pub(super) fn report_refused(&self, receipt: &Receipt, committed: &Committed) {
        let (reporter, sink, metrics) = (&self.setup.reporter, &self.name, &self.setup.metrics);
        for QuarantineChange { feed, object, refused, delivered, refused_again } in committed.quarantine_changes() {
            metrics.records_quarantined.add([feed, "event"], *refused);
            metrics.records_requeued.add([feed, "refused"], *refused_again);
            metrics.records_requeued.add([feed, "delivered"], *delivered);
            if *delivered > 0 {
                limited!(
                    reporter, INFO, sink, "events came out of quarantine", %sink, %object, events = delivered
                );
            }
        }
        let Some(first) = receipt.refused().first() else { return };
        let events = receipt.refused().len();
        limited!(
            reporter, WARN, sink, "the sink refuses events for ever; they are in quarantine",
            %sink, events, object = %first.provenance.object, reason = %first.reason
        );
    }
}

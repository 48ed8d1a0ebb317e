//! The progress of a sealed batch with a receiver that takes it in several requests: which events the receiver has,
//! refuses for ever, or has yet to acknowledge.

use std::ops::Range;

use crate::batch::{Batch, Selection};
use crate::sink::{Acknowledgement, Receipt, RefusedEvent, State};

/// The progress of a batch, by the numbers of its events. Events in no run are still to be sent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// In ascending order, without overlap.
    runs: Vec<Run>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Run {
    events: Range<u32>,
    outcome: Outcome,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Outcome {
    Taken,
    Refused(Box<str>),
    Pending(State),
}

impl Progress {
    /// Notes that the receiver has these events for good.
    pub fn taken(&mut self, events: &Selection) {
        events.ranges().iter().for_each(|events| self.put(events.clone(), Outcome::Taken));
    }

    /// Notes that the receiver refuses this event for ever.
    pub fn refused(&mut self, event: u32, reason: Box<str>) {
        self.put(event..event + 1, Outcome::Refused(reason));
    }

    /// Notes that the receiver will say later whether it has these events, when asked with `state`.
    pub fn pending(&mut self, events: &Selection, state: &State) {
        events.ranges().iter().for_each(|events| self.put(events.clone(), Outcome::Pending(state.clone())));
    }

    /// Applies the receiver's answer to the events that are pending under `state`. Returns these events.
    pub fn acknowledged(&mut self, state: &State, answer: Acknowledgement) -> Selection {
        let mut events = Selection::default();
        for run in self.runs.iter().filter(|run| matches!(&run.outcome, Outcome::Pending(own) if own == state)) {
            events.append(run.events.clone());
        }
        if answer != Acknowledgement::NotYet {
            self.runs.retain(|run| !matches!(&run.outcome, Outcome::Pending(own) if own == state));
        }
        if answer == Acknowledgement::Taken {
            self.taken(&events);
        }
        events
    }

    /// Forgets which events were refused, so that they are sent again.
    pub fn reopen_refused(&mut self) {
        self.runs.retain(|run| !matches!(run.outcome, Outcome::Refused(_)));
    }

    /// The states of all pending events, each once: what to ask the receiver with.
    pub fn awaited(&self) -> Vec<&State> {
        let mut awaited: Vec<&State> = Vec::new();
        for run in &self.runs {
            if let Outcome::Pending(state) = &run.outcome
                && !awaited.contains(&state)
            {
                awaited.push(state);
            }
        }
        awaited
    }

    /// The refused events in their order, and the reasons.
    pub fn refused_events(&self) -> impl Iterator<Item = (u32, &str)> {
        self.runs.iter().filter_map(|run| match &run.outcome {
            Outcome::Refused(reason) => Some((run.events.start, &**reason)),
            _ => None,
        })
    }

    /// The events out of `events` that are still to be sent.
    pub fn open(&self, events: &Selection) -> Selection {
        let mut open = Selection::default();
        for events in events.ranges() {
            let mut from = events.start;
            for Run { events: run, .. } in self.runs.iter().filter(|run| run.events.end > events.start) {
                if run.start >= events.end {
                    break;
                }
                if run.start > from {
                    open.append(from..run.start);
                }
                from = run.end;
            }
            if from < events.end {
                open.append(from..events.end);
            }
        }
        open
    }

    /// The proof that the receiver has all events of the batch that it does not refuse. `None` if it has not yet.
    pub fn receipt(&self, batch: &Batch) -> Option<Receipt> {
        let all = Selection::from(0..u32::try_from(batch.events()).unwrap_or(u32::MAX));
        if self.open(&all).first().is_some() || !self.awaited().is_empty() {
            return None;
        }
        let mut refused = Vec::new();
        let mut reasons = self.refused_events();
        let mut next = reasons.next();
        if next.is_none() {
            return Some(Receipt { state: None, refused });
        }
        let events = batch.parts.iter().flat_map(|part| part.piece.events().map(move |event| (part, event)));
        for (number, (part, (head, line))) in (0..).zip(events) {
            let Some((_, reason)) = next.filter(|(refused, _)| *refused == number) else { continue };
            refused.push(RefusedEvent {
                provenance: part.provenance.clone(),
                head: *head,
                encoded: line.strip_suffix(b"\n").unwrap_or(line).into(),
                reason: reason.into(),
            });
            next = reasons.next();
        }
        Some(Receipt { state: None, refused })
    }

    fn put(&mut self, events: Range<u32>, outcome: Outcome) {
        let at = self.runs.partition_point(|run| run.events.start < events.start);
        let joins = |run: &Run| run.outcome == Outcome::Taken && outcome == Outcome::Taken;
        let behind = at
            .checked_sub(1)
            .filter(|&before| self.runs[before].events.end == events.start && joins(&self.runs[before]));
        let before = self.runs.get(at).is_some_and(|run| run.events.start == events.end && joins(run));
        match (behind, before) {
            (Some(behind), true) => self.runs[behind].events.end = self.runs.remove(at).events.end,
            (Some(behind), false) => self.runs[behind].events.end = events.end,
            (None, true) => self.runs[at].events.start = events.start,
            (None, false) => self.runs.insert(at, Run { events, outcome }),
        }
    }

    /// Encodes the progress for the checkpoint store. Per run: its outcome as one byte, where it begins and ends, the
    /// length of its own bytes, and these.
    pub fn to_state(&self) -> State {
        let mut bytes = Vec::new();
        for Run { events, outcome } in &self.runs {
            let (kind, own): (u8, &[u8]) = match outcome {
                Outcome::Taken => (0, &[]),
                Outcome::Refused(reason) => (1, reason.as_bytes()),
                Outcome::Pending(State(state)) => (2, state),
            };
            bytes.push(kind);
            let length = u32::try_from(own.len()).unwrap_or(u32::MAX);
            [events.start, events.end, length].iter().for_each(|number| bytes.extend_from_slice(&number.to_be_bytes()));
            bytes.extend_from_slice(own);
        }
        State(bytes.into())
    }

    /// Decodes what [`Progress::to_state`] wrote. `None` for other bytes.
    pub fn from_state(State(bytes): &State) -> Option<Self> {
        let mut runs: Vec<Run> = Vec::new();
        let mut left = &bytes[..];
        while let Some((&kind, rest)) = left.split_first() {
            let (numbers, rest) = rest.split_first_chunk::<12>()?;
            let [start, end, length] = numbers.as_chunks::<4>().0 else { return None };
            let events = u32::from_be_bytes(*start)..u32::from_be_bytes(*end);
            let (own, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
            let outcome = match kind {
                0 => Outcome::Taken,
                1 => Outcome::Refused(str::from_utf8(own).ok()?.into()),
                2 => Outcome::Pending(State(own.into())),
                _ => return None,
            };
            if events.is_empty() || runs.last().is_some_and(|run| run.events.end > events.start) {
                return None;
            }
            runs.push(Run { events, outcome });
            left = rest;
        }
        Some(Self { runs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::tests::batch;

    fn state(text: &str) -> State {
        State(text.as_bytes().into())
    }

    #[test]
    fn what_is_taken_in_any_order_leaves_nothing_open() {
        let mut progress = Progress::default();
        progress.taken(&(4..6).into());
        progress.taken(&(0..2).into());
        let open = |progress: &Progress, events: Range<u32>| progress.open(&events.into()).ranges().to_vec();
        assert_eq!(open(&progress, 0..8), [2..4, 6..8]);
        assert_eq!(progress.open(&(1..5).into()), (2..4).into());
        progress.taken(&(2..4).into());
        progress.taken(&(6..8).into());
        assert_eq!(open(&progress, 0..8), []);
        assert_eq!(progress.runs.len(), 1);
    }

    #[test]
    fn a_batch_has_a_receipt_once_each_event_is_taken_or_refused() {
        let batch = batch(&[&["a", "b"], &["c", "d"]]);
        let mut progress = Progress::default();
        progress.taken(&(0..1).into());
        progress.refused(2, "no such field".into());
        progress.taken(&(3..4).into());
        assert!(progress.receipt(&batch).is_none(), "one is open");
        progress.pending(&(1..2).into(), &state("ack 7"));
        assert!(progress.receipt(&batch).is_none(), "one is not acknowledged");
        progress.acknowledged(&state("ack 7"), Acknowledgement::NotYet);
        assert_eq!(progress.awaited(), [&state("ack 7")]);
        progress.acknowledged(&state("ack 7"), Acknowledgement::Taken);
        let receipt = progress.receipt(&batch).unwrap();
        let refused: Vec<_> = receipt.refused().iter().map(|event| (&*event.encoded, &*event.reason)).collect();
        assert_eq!(refused, [(&b"c"[..], "no such field")]);
    }

    #[test]
    fn what_the_receiver_lost_or_was_wrongly_refused_is_open_again() {
        let mut progress = Progress::default();
        progress.pending(&(0..2).into(), &state("ack 1"));
        progress.refused(2, "no".into());
        assert_eq!(progress.acknowledged(&state("ack 1"), Acknowledgement::Lost), (0..2).into());
        assert_eq!(progress.open(&(0..3).into()), (0..2).into());
        progress.reopen_refused();
        assert_eq!(progress.open(&(0..3).into()), (0..3).into());
    }

    #[test]
    fn progress_is_read_as_it_was_stored_and_nothing_else_is() {
        let mut progress = Progress::default();
        progress.taken(&(0..5).into());
        progress.refused(7, "why \u{1F512}".into());
        progress.pending(&(8..20).into(), &state("channel and number"));
        let State(stored) = progress.to_state();
        assert_eq!(Progress::from_state(&State(stored.clone())), Some(progress));
        for cut in 1..stored.len() {
            if let Some(read) = Progress::from_state(&State(stored[..cut].into())) {
                assert!(read.runs.len() < 3, "cut at {cut}");
            }
        }
        assert_eq!(Progress::from_state(&state("\u{3}-------------")), None);
    }
}

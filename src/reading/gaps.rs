//! Gaps: the places that an output has passed without getting their records. A gap opens where known records are gone,
//! and is filled when they are in the object again.

use std::ops::Range;

use crate::batch::{Advance, Form, Part};
use crate::delta::{Places, Ranges};
use crate::event::Encoded;
use crate::family::{Context, Refusal, encode_record};
use crate::reading::fan_out::{FanOut, Filling, Placed, too_long};
use crate::users::LookedUp;

impl FanOut {
    /// Whether some output has a gap.
    pub(super) fn has_gap(&mut self) -> bool {
        self.outputs.iter_mut().any(|output| !output.deferred && !output.gap.is_empty())
    }

    /// Whether some output's cursor is before the end of the accepted sequence.
    pub(super) fn is_behind(&self, accepted: u64) -> bool {
        self.least_cursor().is_some_and(|cursor| cursor < accepted)
    }

    /// Returns a function that says whether some output lacks the record at a place.
    pub(super) fn lacks(&self) -> impl FnMut(u64) -> bool + Send + use<> {
        let from = self.least_cursor().unwrap_or(u64::MAX);
        let outputs = self.outputs.iter().filter(|output| !output.deferred);
        let mut gaps: Vec<Places> = outputs.map(|output| output.gap.clone()).collect();
        move |place| place >= from || gaps.iter_mut().any(|gap| gap.contains(place))
    }

    /// Adds a range of known records that are gone to `gap`. Records in quarantine are no gap: no sink was to get them.
    pub(super) fn gone(&mut self, range: Range<u64>, gap: &mut Ranges) {
        if self.quarantined.closed.is_empty() {
            return gap.push(range);
        }
        for place in range {
            if !self.quarantined.closed.contains(place) {
                gap.push(place..place + 1);
            }
        }
    }

    /// Takes a known record for each output whose gap has its place. Must be called in the order of acceptance.
    pub(super) fn fill(&mut self, context: &Context<'_>, record: &Placed<'_>) {
        let place = record.index;
        let mut given: Option<Result<(u32, LookedUp), Refusal>> = None;
        for at in 0..self.outputs.len() {
            let output = &mut self.outputs[at];
            if output.deferred || !output.gap.contains(place) {
                continue;
            }
            let encoder = std::slice::from_ref(&self.encoders[output.encoder]);
            let Filling { places, encoded } = &mut output.filling;
            encoded.place = place;
            let before = encoded.heads.len();
            let written = std::slice::from_mut(encoded);
            let events = match record.too_long {
                Some(length) => Err(too_long(length)),
                None => encode_record(context, &record.record, &record.hash, record.occurrence, encoder, written),
            };
            let looked_up = context.looked_up();
            // A record that cannot be decoded stays in the gap.
            if events.is_ok() {
                places.push(place..place + 1);
            }
            if let Some(lacked) = output.lacked.get(&place) {
                encoded.retain(before, |head| lacked.contains(&head.uid));
            }
            if places.places() >= self.limits.part_records || encoded.bytes.len() >= self.limits.part_bytes {
                self.cut_filling(context, at);
            }
            given.get_or_insert(events.map(|events| (events, looked_up)));
        }
        match given {
            Some(Ok((events, looked_up))) => self.count(place, events, looked_up),
            Some(Err(refusal)) if self.quarantined.is_tried_again(place) => self.note_refused_again(record, &refusal),
            Some(Err(refusal)) => {
                let refused = self.refuse(record, &refusal);
                self.refused_in_gap.extend(refused);
                if self.refused_in_gap.len() as u64 >= self.limits.part_records {
                    self.cut_refused(context);
                }
            }
            None => {}
        }
    }

    /// Emits the quarantine entries of refused records that stay in a gap, with a part that moves no cursor.
    fn cut_refused(&mut self, context: &Context<'_>) {
        let Some(at) = self.outputs.iter().position(|output| !output.deferred) else { return };
        if !self.refused_in_gap.is_empty() {
            let cursor = self.outputs[at].cursor;
            let advance = Advance::onward(context.object.clone(), cursor, cursor);
            let refused = std::mem::take(&mut self.refused_in_gap).into();
            self.put(at, Part { refused, ..self.part(advance, Encoded::default().into()) });
        }
    }

    /// Emits the records gathered for gaps.
    pub(super) fn cut_fillings(&mut self, context: &Context<'_>) {
        (0..self.outputs.len()).for_each(|at| self.cut_filling(context, at));
        self.cut_refused(context);
    }

    fn cut_filling(&mut self, context: &Context<'_>, at: usize) {
        let Filling { places, encoded } = std::mem::take(&mut self.outputs[at].filling);
        if !places.is_empty() && !self.outputs[at].deferred {
            self.put(at, self.part(Advance::fill(context.object.clone(), places), encoded.into()));
        }
    }

    /// Moves every output's cursor to `to`. The records that it has not had are gone from the object, and become its
    /// gap.
    pub(super) fn pass_over(&mut self, context: &Context<'_>, to: u64) {
        for at in 0..self.outputs.len() {
            let before = self.outputs[at].cursor;
            if self.outputs[at].deferred || before >= to {
                continue;
            }
            let mut gap = Ranges::default();
            self.gone(before..to, &mut gap);
            let advance = Advance { object: context.object.clone(), before, after: to, form: Form::Onward { gap } };
            self.outputs[at].cursor = to;
            self.put(at, self.part(advance, Encoded::default().into()));
        }
    }
}

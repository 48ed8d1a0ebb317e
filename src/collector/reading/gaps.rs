//! What a sink has passed without having had it: gaps open where known records are gone, and are filled by what comes back.

use std::io;
use std::ops::Range;

use crate::batch::{Advance, Form, Ranges};
use crate::checkpoint::Places;
use crate::collector::reading::fan_out::{FanOut, PART_BYTES, PART_RECORDS, Placed, SinkOutput};
use crate::collector::reading::scratch::Scratch;
use crate::event::Encoded;
use crate::family::encode_record;

impl FanOut<'_> {
    /// Whether a receiver has passed records without having had them.
    pub(super) fn has_gap(&mut self) -> bool {
        self.outputs.iter_mut().any(|output| !output.deferred && !output.gap.is_empty())
    }

    /// What each receiver has passed without having had it.
    pub(super) fn gaps(&self) -> Vec<Places> {
        self.outputs.iter().filter(|output| !output.deferred).map(|output| output.gap.clone()).collect()
    }

    /// Known records in this range are gone from the source. Those in quarantine no sink was to have.
    pub(super) fn gone(&mut self, range: Range<u64>, gap: &mut Ranges) {
        if self.quarantined_positions.is_empty() {
            return gap.push(range);
        }
        for place in range {
            if !self.quarantined_positions.contains(place) {
                gap.push(place..place + 1);
            }
        }
    }

    /// Offers each receiver what has come back of its gap.
    pub(super) fn fill(&mut self, scratch: &mut Scratch) -> io::Result<()> {
        for at in 0..self.outputs.len() {
            if self.outputs[at].deferred || self.outputs[at].gap.is_empty() {
                continue;
            }
            let encoder = self.encoders[self.outputs[at].encoder.0];
            let (mut places, mut encoded) = (Ranges::default(), Encoded::default());
            scratch.each(|record| {
                if !self.outputs[at].gap.contains(record.index) || self.quarantined_positions.contains(record.index) {
                    return true;
                }
                let Placed { record, hash, index, occurrence, .. } = record;
                let written = std::slice::from_mut(&mut encoded);
                // What cannot be decoded any more stays in the gap.
                if encode_record(self.context, record, hash, *occurrence, &[encoder], written).is_ok() {
                    places.push(*index..index + 1);
                }
                if encoded.bytes.len() >= PART_BYTES || places.places() >= PART_RECORDS {
                    self.offer_fill(at, std::mem::take(&mut places), std::mem::take(&mut encoded));
                }
                !self.outputs[at].deferred
            })?;
            if !places.is_empty() {
                self.offer_fill(at, places, encoded);
            }
        }
        Ok(())
    }

    fn offer_fill(&mut self, at: usize, places: Ranges, encoded: Encoded) {
        let part = self.part(Advance::fill(self.context.object.clone(), places), &encoded.into());
        self.offer(at, part);
    }

    /// What its receivers have not had up to `to` is gone from the source: it becomes their gap.
    pub(super) fn pass_over(&mut self, to: u64) {
        for at in 0..self.outputs.len() {
            let SinkOutput { cursor: before, deferred, .. } = self.outputs[at];
            if deferred || before >= to {
                continue;
            }
            let mut gap = Ranges::default();
            self.gone(before..to, &mut gap);
            let advance =
                Advance { object: self.context.object.clone(), before, after: to, form: Form::Onward { gap } };
            let part = self.part(advance, &Encoded::default().into());
            self.offer(at, part);
        }
    }
}

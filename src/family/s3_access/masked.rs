//! A record without its secrets: they are masked, and what is to be dropped is cut out.

use std::borrow::Cow;

use crate::event::{Event, Mask};
use crate::family::s3_access::request::{self, Cut};
use crate::records::Record;

/// The record's masks.
pub(super) struct Masked<'a> {
    text: &'a str,
    /// The secrets that were met so far.
    pub masks: Vec<Mask>,
}

impl<'a> Masked<'a> {
    pub(super) const fn of(text: &'a str) -> Self {
        Self { text, masks: Vec::new() }
    }

    /// Masks the secrets of an address in the record, and tells where in the address they stand.
    pub(super) fn mask(&mut self, address: &'a str) -> Vec<Cut> {
        let cuts = request::secrets(address);
        self.masks.extend(self.in_record(address, &cuts));
        cuts
    }

    /// What must not leave at all.
    pub(super) fn dropped(&self, header: &'a str, cuts: &[Cut]) -> Vec<Mask> {
        self.in_record(header, cuts)
    }

    /// Cuts in a part of the text as cuts in the record.
    fn in_record(&self, part: &'a str, cuts: &[Cut]) -> Vec<Mask> {
        if cuts.is_empty() {
            return Vec::new();
        }
        // A part with something in it is a part of the text.
        let from = part.as_ptr() as usize - self.text.as_ptr() as usize;
        let mask = |(at, replacement): &Cut| Mask {
            at: from + at.start..from + at.end,
            replacement: Cow::Borrowed(*replacement),
        };
        cuts.iter().map(mask).collect()
    }
}

/// Where the text is not the record's own, its places are not the record's: the whole record is then replaced by the masked text.
pub(super) fn mend(event: &mut Event<'_>, record: &Record<'_>, text: &str) {
    let mut masks: Vec<Mask> = event.masks.drain(..).chain(event.dropped.iter().cloned()).collect();
    masks.sort_by_key(|mask| mask.at.start);
    let mut masked = String::with_capacity(text.len());
    let mut from = 0;
    for mask in &masks {
        masked.push_str(text.get(from..mask.at.start).unwrap_or_default());
        masked.push_str(&mask.replacement);
        from = mask.at.end;
    }
    masked.push_str(text.get(from..).unwrap_or_default());
    let whole = Mask { at: 0..record.bytes.len(), replacement: Cow::Owned(masked) };
    if !event.dropped.is_empty() {
        event.dropped = vec![whole];
    } else if !masks.is_empty() {
        event.masks = vec![whole];
    }
}

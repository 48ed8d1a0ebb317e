//! The fan-out from placed records to parts: encodes each record once per encoding, cuts parts, and emits to each output
//! what it has not had.

use std::sync::Arc;

use crate::batch::{Acceptance, Advance, Buffers, Form, Part, Piece, Provenance, Refused};
use crate::delta::{Fingerprint, Places, Progress, Ranges, RecordHash};
use crate::event::{Encoded, Encoder};
use crate::family::{Context, Refusal, encode_record};
use crate::reading::counts::Counts;
use crate::reading::plan::{Limits, Plan};
use crate::reading::reader::Outlet;
use crate::reading::retry::{LackedEvents, QuarantinedPlaces, RefusedAgain};
use crate::records::Record;
use crate::users::LookedUp;

/// The zstd level for a refused record's body: the fastest that still halves text.
const BODY_LEVEL: i32 = 3;

/// An output: one receiver of parts, with its position in the object.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// The place at which its next part begins.
    pub cursor: u64,
    /// The places before the cursor that it has not had. They are filled if their records are in the object again.
    pub gap: Places,
    /// Places of the gap of which it lacks only some events, and those events.
    pub lacked: LackedEvents,
    /// The index of its encoder.
    pub encoder: usize,
}

/// A part for one of the outputs.
#[derive(Debug)]
pub struct Offer {
    /// The output's index.
    pub output: usize,
    pub part: Part,
}

/// An output during the reading. A deferred output gets nothing more.
pub(super) struct SinkOutput {
    pub(super) cursor: u64,
    pub(super) gap: Places,
    pub(super) lacked: LackedEvents,
    /// The records of its gap gathered since the last cut.
    pub(super) filling: Filling,
    pub(super) encoder: usize,
    pub(super) deferred: bool,
}

/// Records that had vanished or were requeued, gathered to fill an output's gap.
#[derive(Default)]
pub(super) struct Filling {
    pub(super) places: Ranges,
    pub(super) encoded: Encoded,
}

/// A record with its place in the object's accepted sequence.
pub(super) struct Placed<'a> {
    pub(super) record: Record<'a>,
    pub(super) hash: RecordHash,
    /// The offset of its first byte in the content.
    pub(super) offset: u64,
    pub(super) index: u64,
    pub(super) occurrence: u64,
    /// The line's length in bytes, if it is too long to be decoded. The record has no bytes then.
    pub(super) too_long: Option<u64>,
}

/// The part gathered since the last cut.
struct Open {
    /// The place of its first record, the place after its last one, and the places between that are gone.
    first: u64,
    to: u64,
    gap: Ranges,
    /// The outputs that get it.
    outputs: Vec<usize>,
    /// The indices of the encoders that these outputs need, the encoders, and what each has written.
    encoder_at: Vec<usize>,
    encoders: Vec<Encoder>,
    encoded: Vec<Encoded>,
    fingerprints: Vec<Fingerprint>,
    refused: Vec<Refused>,
}

/// Everything that one reading emits.
pub(super) struct FanOut {
    outlet: Outlet<Offer>,
    provenance: Arc<Provenance>,
    pub(super) encoders: Vec<Encoder>,
    pub(super) outputs: Vec<SinkOutput>,
    /// The end of the accepted sequence: records from this place on are new.
    pub(super) accepted: u64,
    /// Whether parts carry the fingerprints of new records.
    pub(super) keeps_fingerprints: bool,
    /// Accepted records in quarantine, and those of them that this reading refused again.
    pub(super) quarantined: QuarantinedPlaces,
    pub(super) refused_again: RefusedAgain,
    /// The place of the last refused record. An output's gap and an output behind may both ask for it: it counts once.
    refused_last: Option<u64>,
    /// The place of the last record whose events were counted, for the same reason.
    counted_last: Option<u64>,
    /// Refused records in some output's gap, to be emitted at the next cut.
    pub(super) refused_in_gap: Vec<Refused>,
    pub(super) limits: Limits,
    pub(super) counts: Counts,
    open: Option<Open>,
    buffers: Buffers,
}

impl FanOut {
    /// A fan-out for an object of which nothing is accepted. The caller sets what is accepted.
    pub(super) fn new(outlet: Outlet<Offer>, plan: &Plan, encoders: Vec<Encoder>, outputs: Vec<Output>) -> Self {
        let output = |Output { cursor, gap, lacked, encoder }| SinkOutput {
            cursor,
            gap,
            lacked,
            filling: Filling::default(),
            encoder,
            deferred: false,
        };
        Self {
            outlet,
            provenance: Arc::new(plan.provenance()),
            encoders,
            outputs: outputs.into_iter().map(output).collect(),
            accepted: 0,
            keeps_fingerprints: false,
            quarantined: QuarantinedPlaces::default(),
            refused_again: RefusedAgain::default(),
            refused_last: None,
            counted_last: None,
            refused_in_gap: Vec::new(),
            limits: plan.limits,
            counts: Counts::default(),
            open: None,
            buffers: plan.buffers.clone(),
        }
    }

    /// Emits nothing more to an output.
    pub(super) fn defer(&mut self, output: usize) {
        if let Some(output) = self.outputs.get_mut(output) {
            output.deferred = true;
        }
    }

    /// Whether the reading began without outputs.
    pub(super) fn has_no_outputs(&self) -> bool {
        self.outputs.is_empty()
    }

    /// The lowest cursor. `None` if every output is deferred.
    pub(super) fn least_cursor(&self) -> Option<u64> {
        self.outputs.iter().filter(|output| !output.deferred).map(|output| output.cursor).min()
    }

    /// Whether some output's cursor is not past this place.
    pub(super) fn is_wanted(&self, place: u64) -> bool {
        self.least_cursor().is_some_and(|least| least <= place)
    }

    /// Whether a part must be cut before the record with this index: the cursor of another output is here or before, or
    /// new records begin here.
    pub(super) fn turns_at(&self, index: u64) -> bool {
        let Some(open) = &self.open else { return false };
        let begins = |(at, output): (usize, &SinkOutput)| {
            !output.deferred && output.cursor <= index && !open.outputs.contains(&at)
        };
        index == self.accepted || self.outputs.iter().enumerate().any(begins)
    }

    /// Whether records were gathered since the last cut.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether enough is gathered for a part.
    pub(super) fn is_full(&self) -> bool {
        let Limits { part_records, part_bytes, .. } = self.limits;
        self.open.as_ref().is_some_and(|open| {
            open.to - open.first >= part_records || open.encoded.iter().any(|encoded| encoded.bytes.len() >= part_bytes)
        })
    }

    /// Takes the next record in the order of acceptance. Records between it and the previous one are gone.
    pub(super) fn take(&mut self, context: &Context<'_>, record: &Placed<'_>) {
        let is_new = record.index >= self.accepted;
        let mut open = self.open.take().unwrap_or_else(|| self.begin(record.index));
        self.gone(open.to..record.index, &mut open.gap);
        open.to = record.index + 1;
        let refusal = match record.too_long {
            _ if !is_new && self.quarantined.is_kept_back(record.index) => None,
            Some(length) => Some(too_long(length)),
            None => self.encode(context, record, &mut open).err(),
        };
        if is_new {
            self.counts.new_records += 1;
            if self.keeps_fingerprints {
                open.fingerprints.push(record.hash.fingerprint());
            }
        }
        let is_lacked = match refusal {
            Some(refusal) if !is_new && self.quarantined.is_tried_again(record.index) => {
                self.note_refused_again(record, &refusal);
                true
            }
            Some(refusal) => {
                open.refused.extend(self.refuse(record, &refusal));
                !is_new
            }
            None => !is_new && self.quarantined.withheld.contains(record.index),
        };
        if is_lacked {
            open.gap.push(record.index..record.index + 1);
        }
        self.open = Some(open);
    }

    fn encode(&mut self, context: &Context<'_>, record: &Placed<'_>, open: &mut Open) -> Result<(), Refusal> {
        open.encoded.iter_mut().for_each(|encoded| encoded.place = record.index);
        let events =
            encode_record(context, &record.record, &record.hash, record.occurrence, &open.encoders, &mut open.encoded);
        let looked_up = context.looked_up();
        let events = events?;
        self.count(record.index, events, looked_up);
        Ok(())
    }

    /// Counts the events of a record that is new, or that is delivered out of quarantine for the first time.
    pub(super) fn count(&mut self, place: u64, events: u32, looked_up: LookedUp) {
        let counts = place >= self.accepted || self.quarantined.is_news(place);
        if counts && self.counted_last.replace(place) != Some(place) {
            self.counts.events += u64::from(events);
            self.counts.looked_up += looked_up;
        }
    }

    /// Counts a record that cannot be decoded, and returns its quarantine entry. `None` if the record was counted
    /// already.
    pub(super) fn refuse(&mut self, record: &Placed<'_>, refusal: &Refusal) -> Option<Refused> {
        if self.refused_last.replace(record.index) == Some(record.index) {
            return None;
        }
        let keeps_body = record.too_long.is_none() && self.counts.refused < self.limits.entries_per_object;
        self.counts.refused += 1;
        Some(refused(record, refusal, keeps_body))
    }

    /// Notes a requeued record that is refused again.
    pub(super) fn note_refused_again(&mut self, record: &Placed<'_>, refusal: &Refusal) {
        if self.refused_last.replace(record.index) != Some(record.index) {
            self.refused_again.note(&self.quarantined, record.index, record.record.ordinal, refusal);
        }
    }

    fn begin(&self, first: u64) -> Open {
        let gets = |output: &SinkOutput| !output.deferred && output.cursor <= first;
        let outputs: Vec<usize> = (0..self.outputs.len()).filter(|&at| gets(&self.outputs[at])).collect();
        let mut wanted: Vec<usize> = outputs.iter().map(|&at| self.outputs[at].encoder).collect();
        wanted.sort_unstable();
        wanted.dedup();
        Open {
            first,
            to: first,
            gap: Ranges::default(),
            outputs,
            encoders: wanted.iter().map(|&at| self.encoders[at].clone()).collect(),
            encoded: wanted.iter().map(|_| Encoded { bytes: self.buffers.empty(), ..Encoded::default() }).collect(),
            encoder_at: wanted,
            fingerprints: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// Cuts a part and emits it. `progress` is the object's progress once the part is accepted. Returns false if no
    /// output is left.
    pub(super) fn cut(&mut self, context: &Context<'_>, progress: &Progress) -> bool {
        let Some(open) = self.open.take() else { return self.least_cursor().is_some() };
        // A part holds either new or known records, never both.
        let is_new = open.to > self.accepted;
        let (new_refused, refused) = if is_new { (open.refused, Vec::new()) } else { (Vec::new(), open.refused) };
        let refused: Arc<[Refused]> = refused.into();
        let acceptance = is_new.then(|| {
            Arc::new(Acceptance {
                feed: context.feed.into(),
                before: self.accepted,
                after: open.to,
                fingerprints: open.fingerprints,
                progress: progress.clone(),
                refused: new_refused,
            })
        });
        self.accepted = self.accepted.max(open.to);
        let latest = open.encoded.iter().filter_map(Encoded::latest_ms).max();
        self.counts.latest_event_ms = self.counts.latest_event_ms.max(latest);
        let piece = |encoded| Piece::new(encoded, |bytes| self.buffers.keep(bytes));
        let pieces: Vec<Piece> = open.encoded.into_iter().map(piece).collect();
        for at in open.outputs {
            let output = &self.outputs[at];
            let which = open.encoder_at.iter().position(|&encoder| encoder == output.encoder).unwrap_or_default();
            let before = output.cursor;
            let mut gap = Ranges::default();
            self.gone(before..open.first, &mut gap);
            open.gap.iter().for_each(|range| gap.push(range));
            let form = Form::Onward { gap };
            let advance = Advance { object: context.object.clone(), before, after: open.to, form };
            self.outputs[at].cursor = open.to;
            let part = self.part(advance, pieces[which].clone());
            self.put(at, Part { acceptance: acceptance.clone(), refused: Arc::clone(&refused), ..part });
        }
        self.least_cursor().is_some()
    }

    pub(super) fn part(&self, advance: Advance, piece: Piece) -> Part {
        Part { advance, provenance: Arc::clone(&self.provenance), acceptance: None, refused: Arc::new([]), piece }
    }

    pub(super) fn put(&self, output: usize, part: Part) {
        self.outlet.show(&self.counts);
        let bytes = part.piece.bytes.len();
        self.outlet.put(Offer { output, part }, bytes);
    }
}

/// The decode error of a line of this length, in bytes.
pub(super) fn too_long(length: u64) -> Refusal {
    Refusal::new(format!("the line is {length} bytes long, more than is read"))
}

fn refused(record: &Placed<'_>, refusal: &Refusal, keeps_body: bool) -> Refused {
    let body_zstd = if keeps_body { zstd::encode_all(record.record.bytes, BODY_LEVEL).ok() } else { None };
    Refused {
        ordinal: record.record.ordinal,
        place: record.index,
        occurrence: record.occurrence,
        hash: record.hash,
        may_be_within: record.record.may_be_within,
        offset: record.offset,
        reason: refusal.to_string(),
        body_zstd,
    }
}

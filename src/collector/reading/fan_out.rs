//! From placed records to parts: encodes each record once per encoding, cuts, and offers each sink what it has not had.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;

use crate::batch::{Acceptance, Advance, Form, Part, Ranges, Refused};
use crate::checkpoint::{Places, SinkPosition};
use crate::collector::delivery::queue::WorkerHandle;
use crate::collector::delivery::tracker::Tracker;
use crate::collector::ids::EncoderId;
use crate::collector::services::Services;
use crate::delta::{Fingerprint, Progress, RecordHash};
use crate::event::{Encoded, Encoder, EventId};
use crate::family::{Context, Refusal, encode_record};
use crate::object::Version;
use crate::records::Record;
use crate::users::LookedUp;

/// A part is cut when one of its encodings holds as many bytes, or when it holds as many records.
pub(super) const PART_BYTES: usize = 256 << 10;
pub(super) const PART_RECORDS: u64 = 8192;

/// A refused record's body is kept with zstd's fastest level that still halves text.
const BODY_LEVEL: i32 = 3;

/// Where parts go.
pub(super) enum Target {
    Sink {
        handle: WorkerHandle,
        tracker: Tracker,
        services: Arc<Services>,
    },
    /// Kept here, for a batch that is made again.
    Kept(Vec<Part>),
}

/// One receiver of parts and how far it is.
pub(super) struct SinkOutput {
    pub(super) target: Target,
    pub(super) encoder: EncoderId,
    /// Where its next part begins.
    pub(super) cursor: u64,
    /// The places before the cursor that it has not had.
    pub(super) gap: Places,
    /// It gets nothing more in this reading.
    pub(super) deferred: bool,
}

impl SinkOutput {
    pub(super) fn new(target: Target, encoder: EncoderId, position: SinkPosition) -> Self {
        Self { target, encoder, cursor: position.accepted, gap: position.gap, deferred: false }
    }
}

/// A record with its place in the object's accepted sequence.
pub(super) struct Placed<'a> {
    pub(super) record: Record<'a>,
    pub(super) hash: RecordHash,
    /// Where its first byte is in the content.
    pub(super) offset: u64,
    pub(super) index: u64,
    pub(super) occurrence: u64,
    /// It is too long to be decoded, and has no bytes then.
    pub(super) too_long: Option<u64>,
}

/// What has been gathered since the last cut.
struct Open {
    /// The places of its first record and behind its last one, and what is gone between.
    first: u64,
    to: u64,
    gap: Ranges,
    /// Which outputs get it.
    outputs: Vec<usize>,
    /// The encodings they want, and what was written of each.
    encoder_at: Vec<EncoderId>,
    encoders: Vec<Encoder>,
    encoded: Vec<Encoded>,
    fingerprints: Vec<Fingerprint>,
    refused: Vec<Refused>,
}

/// What one encoder wrote, shared by the sinks that take it.
pub(super) struct Written {
    bytes: Bytes,
    ends: Arc<[u32]>,
    ids: Arc<[EventId]>,
}

impl From<Encoded> for Written {
    fn from(encoded: Encoded) -> Self {
        Self { bytes: encoded.bytes.into(), ends: encoded.ends.into(), ids: encoded.ids.into() }
    }
}

/// Everything that flows out of one reading.
pub(super) struct FanOut<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) version: Arc<Version>,
    pub(super) encoders: Vec<Encoder>,
    pub(super) outputs: Vec<SinkOutput>,
    /// Records accepted before this reading: from there on they are new.
    pub(super) accepted: u64,
    /// Whether fingerprints are remembered.
    pub(super) keeps_fingerprints: bool,
    /// Accepted records that are in quarantine: no sink gets them before they are requeued, and then each does.
    pub(super) quarantined_positions: Places,
    /// How many refused records can get an entry in quarantine: what is past it needs no body.
    pub(super) entries_per_object: u64,
    pub(super) patience: Duration,
    pub(super) runtime: &'a Handle,
    pub(super) counts: Counts,
    open: Option<Open>,
}

/// What a reading came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts {
    pub(super) new_records: u64,
    pub(super) events: u64,
    pub(super) refused: u64,
    pub(super) latest_event_ms: Option<i64>,
    /// Users of new records.
    pub(super) looked_up: LookedUp,
}

impl<'a> FanOut<'a> {
    /// A fan-out that knows of nothing accepted and is patient for ever; whoever makes it says otherwise.
    pub(super) fn new(
        context: &'a Context<'a>,
        version: Arc<Version>,
        encoders: Vec<Encoder>,
        outputs: Vec<SinkOutput>,
        runtime: &'a Handle,
    ) -> Self {
        Self {
            context,
            version,
            encoders,
            outputs,
            runtime,
            accepted: 0,
            keeps_fingerprints: false,
            quarantined_positions: Places::default(),
            entries_per_object: u64::MAX,
            patience: Duration::MAX,
            counts: Counts::default(),
            open: None,
        }
    }

    /// The least any receiver has had; nothing when all are deferred.
    pub(super) fn least_cursor(&self) -> Option<u64> {
        self.outputs.iter().filter(|output| !output.deferred).map(|output| output.cursor).min()
    }

    /// Whether some receiver has not had the record at this place, nor passed it.
    pub(super) fn is_wanted(&self, place: u64) -> bool {
        self.least_cursor().is_some_and(|least| least <= place)
    }

    /// Whether a part must be cut before the record with this index: another output wants that one too, or it is the first
    /// new one.
    pub(super) fn turns_at(&self, index: u64) -> bool {
        let Some(open) = &self.open else { return false };
        let joins = |(at, output): (usize, &SinkOutput)| {
            !output.deferred && output.cursor <= index && !open.outputs.contains(&at)
        };
        open.first < self.accepted && index >= self.accepted || self.outputs.iter().enumerate().any(joins)
    }

    /// Whether anything has gathered since the last cut.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether what has gathered is enough for a part.
    pub(super) fn is_full(&self) -> bool {
        self.open.as_ref().is_some_and(|open| {
            open.to - open.first >= PART_RECORDS || open.encoded.iter().any(|encoded| encoded.bytes.len() >= PART_BYTES)
        })
    }

    /// Takes the next record in the order of acceptance. Records between it and the one before are gone.
    pub(super) fn take(&mut self, record: &Placed<'_>) {
        let is_new = record.index >= self.accepted;
        let mut open = self.open.take().unwrap_or_else(|| self.begin(record.index));
        self.gone(open.to..record.index, &mut open.gap);
        open.to = record.index + 1;
        let refusal = match record.too_long {
            Some(length) => Some(too_long(length)),
            None if !is_new && self.quarantined_positions.contains(record.index) => None,
            None => self.encode(record, &mut open).err(),
        };
        if is_new {
            self.counts.new_records += 1;
            if self.keeps_fingerprints {
                open.fingerprints.push(record.hash.fingerprint());
            }
            if let Some(refusal) = refusal {
                let keeps_body = record.too_long.is_none() && self.counts.refused < self.entries_per_object;
                self.counts.refused += 1;
                open.refused.push(refused(record, &refusal, keeps_body));
            }
        }
        self.open = Some(open);
    }

    fn encode(&mut self, record: &Placed<'_>, open: &mut Open) -> Result<(), Refusal> {
        let events = encode_record(
            self.context,
            &record.record,
            &record.hash,
            record.occurrence,
            &open.encoders,
            &mut open.encoded,
        );
        let looked_up = self.context.looked_up();
        let events = events?;
        if record.index >= self.accepted {
            self.counts.events += u64::from(events);
            self.counts.looked_up += looked_up;
        }
        Ok(())
    }

    fn begin(&self, first: u64) -> Open {
        let gets = |output: &SinkOutput| !output.deferred && output.cursor <= first;
        let outputs: Vec<usize> = (0..self.outputs.len()).filter(|&at| gets(&self.outputs[at])).collect();
        let mut wanted: Vec<EncoderId> = outputs.iter().map(|&at| self.outputs[at].encoder).collect();
        wanted.sort_unstable();
        wanted.dedup();
        Open {
            first,
            to: first,
            gap: Ranges::default(),
            outputs,
            encoders: wanted.iter().map(|&at| self.encoders[at.0]).collect(),
            encoded: wanted.iter().map(|_| Encoded::default()).collect(),
            encoder_at: wanted,
            fingerprints: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// Cuts a part and offers it. `progress` is what is known of the content once it is accepted. Returns false when no
    /// receiver is left.
    pub(super) fn cut(&mut self, progress: &Progress) -> bool {
        let Some(open) = self.open.take() else { return self.least_cursor().is_some() };
        let acceptance = (open.to > self.accepted).then(|| {
            Arc::new(Acceptance {
                feed: self.context.feed.into(),
                before: self.accepted,
                after: open.to,
                fingerprints: open.fingerprints,
                progress: progress.clone(),
                refused: open.refused,
            })
        });
        self.accepted = self.accepted.max(open.to);
        let latest = open.encoded.iter().filter_map(|encoded| encoded.latest_ms).max();
        self.counts.latest_event_ms = self.counts.latest_event_ms.max(latest);
        let encoded: Vec<Written> = open.encoded.into_iter().map(Written::from).collect();
        for at in open.outputs {
            let output = &self.outputs[at];
            let which = open.encoder_at.iter().position(|&encoder| encoder == output.encoder).unwrap_or_default();
            let written = &encoded[which];
            let before = output.cursor;
            let mut gap = Ranges::default();
            self.gone(before..open.first, &mut gap);
            open.gap.iter().for_each(|range| gap.push(range));
            let form = Form::Onward { gap };
            let advance = Advance { object: self.context.object.clone(), before, after: open.to, form };
            let part = Part { acceptance: acceptance.clone(), ..self.part(advance, written) };
            self.offer(at, part);
        }
        self.least_cursor().is_some()
    }

    pub(super) fn part(&self, advance: Advance, written: &Written) -> Part {
        Part {
            advance,
            version: Arc::clone(&self.version),
            acceptance: None,
            redelivers: None,
            bytes: written.bytes.clone(),
            ends: Arc::clone(&written.ends),
            ids: Arc::clone(&written.ids),
        }
    }

    pub(super) fn offer(&mut self, at: usize, part: Part) {
        let output = &mut self.outputs[at];
        match &part.advance.form {
            Form::Onward { .. } => output.cursor = part.advance.after,
            Form::Fill { places } => places.iter().flatten().for_each(|place| _ = output.gap.remove(place)),
        }
        output.deferred = !emit(&mut output.target, part, self.patience, self.runtime);
    }
}

/// Hands a part over. Returns false when the sink has had no room for as long as patience lasts.
pub(super) fn emit(target: &mut Target, part: Part, patience: Duration, runtime: &Handle) -> bool {
    match target {
        Target::Kept(parts) => {
            parts.push(part);
            true
        }
        Target::Sink { handle, tracker, services } => runtime.block_on(async {
            tokio::select! {
                biased;
                taken = handle.offer(part, tracker) => taken,
                () = services.stopped_for_long() => false,
                () = tokio::time::sleep(patience) => false,
            }
        }),
    }
}

/// Why a line of this length, in bytes, is no record.
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
        offset: record.offset,
        reason: refusal.to_string(),
        body_zstd,
    }
}

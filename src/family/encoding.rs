//! Encodes the events of a record. Secrets are masked for all encoders except those that write the record as it came.

use crate::delta::RecordHash;
use crate::event::{Encoded, Encoder, Event, Seen};
use crate::family::budget::incomplete;
use crate::family::refusal::Refusal;
use crate::family::{Context, RecordBudget, container};
use crate::mask;
use crate::records::Record;

/// The greatest length that [`Encoded::ends`] can hold.
const ENCODED_BYTES_MAX: usize = u32::MAX as usize;

/// Appends the record's events, or nothing on an error. `found` is the record before masking and redaction. `source` is
/// the record as its source wrote it, and whether it is decoded to its full depth. `name` is the record's hash and its
/// number among equal records.
pub(super) fn encode(
    context: &Context<'_>,
    record: &Record<'_>,
    found: &Record<'_>,
    (source, is_whole): (&[u8], bool),
    name: (&RecordHash, u64),
    encoders: &[Encoder],
    out: &mut [Encoded],
) -> Result<u32, Refusal> {
    let masked = if encoders.iter().all(Encoder::shows_source) { None } else { masked(context, record.bytes) };
    let pass = Pass { is_meant: |_| true, found, source, is_whole };
    let Some(masked) = masked else { return encode_pass(pass, context, record, name, encoders, out) };
    let text = std::str::from_utf8(&masked).ok();
    let masked = Record { bytes: &masked, text, unmasked: Some(record.bytes), ..*record };
    let shows_less: Meant = |encoder| !encoder.shows_source();
    let events = encode_pass(Pass { is_meant: shows_less, ..pass }, context, &masked, name, encoders, out)?;
    if encoders.iter().any(Encoder::shows_source) {
        let pass = Pass { is_meant: Encoder::shows_source, ..pass };
        encode_pass(pass, context, record, name, encoders, out)
            .inspect_err(|_| take_back(shows_less, encoders, out))?;
    }
    Ok(events)
}

/// The record with its secrets masked. `None` if it has none. Pieces that a container runtime cut are joined.
fn masked(context: &Context<'_>, record: &[u8]) -> Option<Vec<u8>> {
    let whole = context
        .family
        .sought
        .and_then(|sought| container::in_one(record, &sought.with(&context.settings.line_members)));
    match whole {
        None => mask::masked(record),
        Some(whole) => mask::masked(&whole.bytes).or(whole.is_mixed.then_some(whole.bytes)),
    }
}

/// Whether an encoder takes part.
type Meant = fn(&Encoder) -> bool;

/// One decoding of a record, for some of the encoders.
#[derive(Clone, Copy)]
struct Pass<'r> {
    is_meant: Meant,
    /// The record before masking and redaction.
    found: &'r Record<'r>,
    /// The record as its source wrote it.
    source: &'r [u8],
    /// Whether the record is decoded to its full depth.
    is_whole: bool,
}

/// Decodes a record and appends its events to the outputs of the encoders that take part, or nothing on an error.
fn encode_pass(
    pass: Pass<'_>,
    context: &Context<'_>,
    record: &Record<'_>,
    (hash, occurrence): (&RecordHash, u64),
    encoders: &[Encoder],
    out: &mut [Encoded],
) -> Result<u32, Refusal> {
    let Pass { is_meant, found, source, is_whole } = pass;
    let origin = context.origin();
    let mut index = 0;
    let (mut is_spent, mut says_something) = (false, false);
    let mut parsed = Ok(String::new());
    let decoded = (context.family.decode)(context, record, &mut |event| {
        if is_spent {
            return;
        }
        says_something = says_something || event.says_something();
        let RecordBudget { events_max, output_bytes_max } = context.budget;
        let meant = encoders.iter().zip(out.iter()).filter(|(encoder, _)| is_meant(encoder));
        let written = meant.map(|(_, encoded)| encoded.bytes_since(encoded.record)).max();
        is_spent = index > 0 && (index >= events_max || written > Some(output_bytes_max));
        let incomplete = (is_spent || !is_whole).then(|| incomplete(event));
        if index == 0 && encoders.iter().any(Encoder::reads_parsed) {
            parsed = parsed_without_dropped(context, record, event);
        }
        let event = incomplete.as_ref().unwrap_or(event);
        let parsed = parsed.as_deref().unwrap_or_default();
        let id = context.namespace.event(hash, occurrence, index);
        for (encoder, encoded) in encoders.iter().zip(out.iter_mut()).filter(|(encoder, _)| is_meant(encoder)) {
            let shown = if encoder.shows_source() { source } else { record.bytes };
            let seen = Seen { origin, record: shown, parsed, ordinal: record.ordinal, id, index, first: None };
            encoder.encode(event, &seen, encoded);
        }
        index += 1;
    });
    let passed = out.iter().any(|encoded| encoded.bytes.len() > ENCODED_BYTES_MAX);
    let refused = match decoded.and(parsed) {
        Ok(_) if index > 0 && !says_something && !tells(context, found) => {
            Refusal::new("the record says neither what was done nor who did it")
        }
        Ok(_) if !passed => return Ok(index),
        Ok(_) => Refusal::new("the record gives more than 4 GiB of events"),
        Err(refusal) => refusal,
    };
    if index > 0 {
        take_back(is_meant, encoders, out);
    }
    Err(refused)
}

/// Whether any event of a record says something. Asked of the original record, since masking and redaction may leave
/// nothing to say.
fn tells(context: &Context<'_>, record: &Record<'_>) -> bool {
    let mut tells = false;
    (context.family.decode)(context, record, &mut |event| tells = tells || event.says_something()).is_ok() && tells
}

/// Removes the last record's events from the outputs of the encoders that take part.
fn take_back(is_meant: Meant, encoders: &[Encoder], out: &mut [Encoded]) {
    let meant = encoders.iter().zip(out).filter(|(encoder, _)| is_meant(encoder));
    meant.for_each(|(_, encoded)| encoded.without_record());
}

/// The record as one JSON object with the source's names, without its dropped parts.
fn parsed_without_dropped(context: &Context<'_>, record: &Record<'_>, event: &Event<'_>) -> Result<String, Refusal> {
    let shown = event.shown(record.bytes);
    let mut out = Vec::new();
    (context.family.parsed)(context, &Record::new(record.ordinal, &shown), &mut out)?;
    String::from_utf8(out).map_err(|_| Refusal::new("the record is no UTF-8"))
}

//! The kinds of log: how each is named, framed, grown and decoded.

mod budget;

mod container;

mod databricks;

mod encoding;

mod envelope;

mod immuta;

mod lakefs;

mod marks;

mod partitions;

mod redaction;

mod refusal;

mod s3_access;

mod settings;

mod shallow;

mod ydb;

use crate::delta::{Growth, RecordHash};
use crate::event::{Encoded, Encoder, Event, Mapping, Mark, Namespace, Origin, Rows, Scope, Text};
use crate::notification::ObjectId;
use crate::records::{Around, Framing, Record};
use crate::users::{LookedUp, Lookup};

use container::Trust;
use envelope::Sought;

pub use budget::RecordBudget;
pub(crate) use partitions::Partitions;
pub use redaction::{Action, Redaction, RedactionConfig};
pub use refusal::Refusal;
pub use settings::{S3aPrincipal, Settings};

/// A kind of log. A further one takes a file, a line in [`ALL`], fixtures and a page.
#[derive(Debug)]
pub struct Family {
    /// The name in the configuration. It is part of each event's id.
    pub name: &'static str,
    pub growth: Growth,
    pub framing: Framing,
    /// Globs that whole keys must match. They apply if a feed has none of its own.
    pub keys: &'static [&'static str],
    /// A name as the product gives it to its objects. `None` if a shipper names them.
    pub example: Option<&'static str>,
    /// Emits the events of a record, at least one, in order.
    pub decode: Decode,
    /// Writes the record as one JSON object with the source's names, before normalization.
    pub parsed: Parsed,
    /// Removes from a record what its feed wants redacted.
    pub redact: Redact,
    /// Whether the field at a path of what `parsed` writes can be redacted in this way. The error says why not.
    pub redactable: fn(path: &str, action: Action) -> Result<(), String>,
    /// How to find records where shippers put several into one line. `None` if each line is one record in any case.
    sought: Option<&'static Sought<'static>>,
}

impl Family {
    /// Whether a line, possibly wrapped by a container runtime, is one that the product writes beside its records.
    pub(crate) fn writes(&self, line: &[u8]) -> bool {
        let Some(sought) = self.sought else { return false };
        let line = container::line(line, &mut Around::alone(), sought, |_, _| false);
        line.is_ok_and(|line| sought.is_own(&line.inside))
    }
}

#[cfg(test)]
impl Family {
    /// A family for tests, whose lines hold one record each.
    pub(crate) const fn of_lines(growth: Growth, role: crate::records::Role, decode: Decode) -> Self {
        Self {
            name: "test",
            growth,
            framing: Framing::Lines(role),
            keys: &[],
            example: None,
            decode,
            parsed: |_, _, _| Ok(()),
            redact: |_, _, _| Ok(None),
            redactable: |_, _| Ok(()),
            sought: None,
        }
    }
}

/// Decodes a record. Events emitted before a refusal do not count.
pub(crate) type Decode = fn(&Context<'_>, record: &Record<'_>, emit: &mut dyn FnMut(&Event<'_>)) -> Result<(), Refusal>;

/// Appends a record as one JSON object, without a line end. After a refusal, what was appended does not count.
pub(crate) type Parsed = fn(&Context<'_>, record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), Refusal>;

/// Rewrites a record so that nothing made from it holds what the redaction names. `None` if the record has nothing of
/// that. A record that cannot be redacted is refused.
pub(crate) type Redact =
    fn(&Context<'_>, record: &Record<'_>, redaction: &Redaction) -> Result<Option<Vec<u8>>, Refusal>;

/// The most bytes of events that the records of one line may give together, for one encoder.
const LINE_EVENTS_BYTES_MAX: usize = 256 << 20;

pub(crate) static ALL: &[Family] =
    &[databricks::FAMILY, lakefs::FAMILY, immuta::FAMILY, ydb::FAMILY, s3_access::FAMILY];

/// The family with this name in the configuration.
pub fn named(name: &str) -> Option<&'static Family> {
    ALL.iter().find(|family| family.name == name)
}

/// The context of the records of one object. Built once per object.
#[derive(Debug)]
pub struct Context<'a> {
    pub family: &'static Family,
    pub object: &'a ObjectId,
    pub partitions: Partitions,
    /// When the object was last written, in milliseconds since the epoch: the time of a record that has none.
    pub last_modified_ms: Option<i64>,
    /// The name of the feed that the object belongs to.
    pub feed: &'a str,
    /// The mapping of the family's actions.
    pub rows: Option<&'static Rows>,
    /// How the feed wants its records read.
    pub settings: &'a Settings,
    pub budget: RecordBudget,
    /// What the feed wants redacted.
    pub redaction: Option<&'a Redaction>,
    /// Looks up the users of records. `None` if the feed does not ask for that.
    users: Option<Lookup>,
    /// The address of the object as the inside of a JSON string, written once for all events.
    source: String,
    namespace: Namespace,
}

impl<'a> Context<'a> {
    pub fn new(
        family: &'static Family,
        object: &'a ObjectId,
        scope: Scope<'_>,
        last_modified_ms: Option<i64>,
        feed: &'a str,
    ) -> Self {
        Self {
            family,
            object,
            partitions: Partitions::of(&object.key),
            last_modified_ms,
            feed,
            rows: Mapping::built_in().family(family.name),
            settings: Settings::none(),
            budget: RecordBudget::default(),
            redaction: None,
            users: None,
            source: Text::from(object.to_string()).into_escaped(),
            namespace: Namespace::new(family.name, scope),
        }
    }

    pub fn with_settings(self, settings: &'a Settings) -> Self {
        Self { settings, ..self }
    }

    pub fn with_budget(self, budget: RecordBudget) -> Self {
        Self { budget, ..self }
    }

    pub fn with_redaction(self, redaction: Option<&'a Redaction>) -> Self {
        Self { redaction, ..self }
    }

    pub fn with_users(self, users: Option<Lookup>) -> Self {
        Self { users, ..self }
    }

    /// The e-mail address of the user with this id, if the feed asks for addresses and it is known.
    pub fn email(&self, id: &str) -> Option<&str> {
        self.users.as_ref()?.email(id)
    }

    /// The lookups since the last call.
    pub fn looked_up(&self) -> LookedUp {
        self.users.as_ref().map(Lookup::take).unwrap_or_default()
    }

    pub fn origin(&self) -> Origin<'_> {
        let Self { object, source, last_modified_ms, feed, .. } = self;
        Origin { object, source, last_modified_ms: *last_modified_ms, feed }
    }
}

/// Decodes one record, and appends its events to the output of every encoder; `out` has one [`Encoded`] for each
/// encoder. The context's redaction is applied first. `hash` is that of the record as its source wrote it.
///
/// `occurrence` is the number of this record among the object's equal records (from 0), or its ordinal if the family's
/// objects are written once. A line in which a shipper put several records gives the events of each, as if each had a
/// line of its own; [`part_hash`] says which hash each has. Returns the number of events. On a refusal nothing is
/// appended.
pub fn encode_record(
    context: &Context<'_>,
    record: &Record<'_>,
    hash: &RecordHash,
    occurrence: u64,
    encoders: &[Encoder],
    out: &mut [Encoded],
) -> Result<u32, Refusal> {
    debug_assert_eq!(encoders.len(), out.len());
    // Decoding refuses a line with several records, so it is split afterwards. Redaction has to split it first.
    let in_parts = match context.redaction {
        Some(_) => parts(context, record, Trust::Records)?,
        None => None,
    };
    let parts = match in_parts {
        Some(parts) => parts,
        None => match encode_one(context, record, hash, occurrence, encoders, out) {
            Ok(events) => return Ok(counted(events, out)),
            Err(refusal) => parts_of_refused(context, record).ok_or(refusal)?,
        },
    };
    Ok(counted(encode_parts(context, record, hash, occurrence, encoders, out, &parts)?, out))
}

/// Counts the record that gave so many events.
fn counted(events: u32, out: &mut [Encoded]) -> u32 {
    out.iter_mut().for_each(|encoded| encoded.records += 1);
    events
}

/// Passes a record to `each` as one JSON object with the source's names; if a shipper put several into one line, each
/// of them.
///
/// # Errors
/// If one of them cannot be read. Records passed before do not count.
pub(crate) fn parse_record(
    context: &Context<'_>,
    record: &Record<'_>,
    each: &mut dyn FnMut(&[u8]),
) -> Result<(), Refusal> {
    let mut parse = |bytes: &[u8]| {
        let mut out = Vec::new();
        (context.family.parsed)(context, &Record::new(record.ordinal, bytes), &mut out)?;
        each(&out);
        Ok(())
    };
    let Err(refusal) = parse(record.bytes) else { return Ok(()) };
    let parts = parts_of_refused(context, record).ok_or(refusal)?;
    parts.iter().try_for_each(|part| parse(part))
}

/// The lines into which a record's line is split. `None` if it is read as it is.
fn parts(context: &Context<'_>, record: &Record<'_>, trust: Trust) -> Result<Option<Vec<Vec<u8>>>, Refusal> {
    match context.family.sought {
        Some(sought) => container::parts(record.bytes, &sought.with(&context.settings.line_members), trust),
        None => Ok(None),
    }
}

/// Splits a line that cannot be read as it is.
fn parts_of_refused(context: &Context<'_>, record: &Record<'_>) -> Option<Vec<Vec<u8>>> {
    if let Some(parts) = parts(context, record, Trust::Records).ok()? {
        return Some(parts);
    }
    // Another record may follow the first.
    parts(context, record, Trust::Nothing).ok().flatten().filter(|parts| parts.len() > 1)
}

/// The hash of record `number` of a line with several records. For number 0 it is the line's hash; for others the hash
/// of the line's hash followed by the number, as eight bytes, big-endian.
pub(crate) fn part_hash(line: &RecordHash, number: u64) -> RecordHash {
    match number {
        0 => *line,
        _ => RecordHash::of(&[&line.0[..], &number.to_be_bytes()].concat()),
    }
}

/// Appends the events of all records in one line, or nothing on an error.
fn encode_parts(
    context: &Context<'_>,
    record: &Record<'_>,
    hash: &RecordHash,
    occurrence: u64,
    encoders: &[Encoder],
    out: &mut [Encoded],
    parts: &[Vec<u8>],
) -> Result<u32, Refusal> {
    let before: Vec<Mark> = out.iter().map(Encoded::mark).collect();
    let mut encode = || {
        let mut events = 0;
        for (part, number) in parts.iter().zip(0..) {
            let part = Record { may_be_within: record.may_be_within, ..Record::new(record.ordinal, part) };
            events += encode_one(context, &part, &part_hash(hash, number), occurrence, encoders, out)?;
            let grown = out.iter().zip(&before).map(|(own, mark)| own.bytes_since(*mark)).max().unwrap_or(0);
            if grown > LINE_EVENTS_BYTES_MAX {
                return Err(Refusal::new("the records in the line give more than 256 MiB of events"));
            }
        }
        Ok(events)
    };
    let encoded = encode();
    if encoded.is_err() {
        out.iter_mut().zip(before).for_each(|(own, mark)| own.back_to(mark));
    }
    encoded
}

/// Whether a record can be decoded, which means that it was written to its end.
pub(crate) fn is_whole(context: &Context<'_>, record: &Record<'_>) -> bool {
    let decodes = |record: &Record<'_>| (context.family.decode)(context, record, &mut |_| {}).is_ok();
    decodes(record) || shallow::shallow(record.bytes).is_some_and(|bytes| decodes(&Record::new(record.ordinal, &bytes)))
}

/// Decodes a record that is alone in its line. If it is nested too deep, its events leave out what lies too deep.
fn encode_one(
    context: &Context<'_>,
    record: &Record<'_>,
    hash: &RecordHash,
    occurrence: u64,
    encoders: &[Encoder],
    out: &mut [Encoded],
) -> Result<u32, Refusal> {
    let refusal = match encode_read(context, record, None, (hash, occurrence), encoders, out) {
        Ok(events) => return Ok(events),
        Err(refusal) => refusal,
    };
    let shallow = shallow::shallow(record.bytes).ok_or(refusal)?;
    let read = Record { text: std::str::from_utf8(&shallow).ok(), bytes: &shallow, ..*record };
    encode_read(context, &read, Some(record.bytes), (hash, occurrence), encoders, out)
}

/// Redacts a record and encodes its events. `whole` is the record as its source wrote it, if `record` leaves out a part
/// of it.
fn encode_read(
    context: &Context<'_>,
    record: &Record<'_>,
    whole: Option<&[u8]>,
    (hash, occurrence): (&RecordHash, u64),
    encoders: &[Encoder],
    out: &mut [Encoded],
) -> Result<u32, Refusal> {
    let redacted = match context.redaction {
        Some(redaction) => (context.family.redact)(context, record, redaction)?,
        None => None,
    };
    let redacted = redacted.as_ref().map(|bytes| Record { text: std::str::from_utf8(bytes).ok(), bytes, ..*record });
    let (found, record) = (record, redacted.as_ref().unwrap_or(record));
    // With a redaction, `whole` is not used: a part to be redacted may lie in what is left out.
    let source = whole.filter(|_| context.redaction.is_none()).unwrap_or(record.bytes);
    encoding::encode(context, record, found, (source, whole.is_none()), (hash, occurrence), encoders, out)
}

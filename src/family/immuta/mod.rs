//! Immuta's logs: audit records and responses, one JSON object a line, among the lines of everything else in the
//! container, and the newer exported events (UAM).

mod audit;

mod response;

mod targets;

mod uam;

use std::borrow::Cow;

use crate::delta::Growth;
use crate::event::{
    Activity, Class, Copies, Event, Fault, Fields, Json, Key, Members, Product, Reader, Text, Value, mend_surrogates,
    moment,
};
use crate::family::container::{self, Inside};
use crate::family::envelope::{self, Sought};
use crate::family::redaction::{Action, Redaction};
use crate::family::refusal::Refusal;
use crate::family::{Context, Family};
use crate::records::{Around, Framing, LineRole, Record};

pub(super) const FAMILY: Family = Family {
    name: "immuta",
    // Container log shippers write each object to S3 once.
    growth: Growth::Once,
    framing: Framing::Lines(role),
    keys: &["**"],
    example: None,
    decode,
    parsed,
    redact,
    redactable,
    sought: Some(&SOUGHT),
};

/// Nothing inside the product's other lines is a record.
static SOUGHT: Sought<'static> = Sought::of(is_record, is_own);

const PRODUCT: Product = Product { name: "Immuta", vendor: "Immuta", log_name: "immuta.audit" };

const ERROR_RESPONSE: &str = "Error Response Sent";
const RESPONSE: &str = "Response Sent";
const AUDIT: &str = "Audit - ";

/// Members of audit records. They identify a record whose deciding member is missing or was cut off.
const AUDIT_MEMBERS: &[&str] = &[
    "dateTime",
    "instanceId",
    "profileId",
    "sqlUser",
    "dataSourceId",
    "dataSourceName",
    "purposeIds",
    "projectId",
    "failureReason",
    "actionStatus",
    "targetType",
    "relatedResources",
];

/// Members that identify a record in title case. The product's documents show fields in title case.
const TITLES: [&str; 7] =
    ["RecordType", "DateTime", "AuditPayload", "EventTimestamp", "UserId", "ProfileId", "Message"];

/// Room for a record's own fields; few records have more.
const USUAL_FIELDS: usize = 32;

/// How many [`AUDIT_MEMBERS`] identify a whole record.
const AUDIT_MEMBERS_MIN: usize = 3;

fn role(line: &[u8], around: &mut Around<'_>) -> LineRole {
    let sought = SOUGHT.with(around.members());
    match container::line(line, around, &sought, container::object_stands_alone) {
        Ok(line) if line.is_accepted => LineRole::Record,
        Ok(_) => LineRole::Other,
        Err(role) => role,
    }
}

/// Most records can be identified by this many of their first bytes.
const HEAD_BYTES: usize = 256;

/// Whether a line, or the first piece of one, is an audit record or a response. Its members are read only until one
/// decides.
fn is_record(bytes: &[u8]) -> bool {
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return false;
    }
    let head = &bytes[..bytes.len().min(HEAD_BYTES)];
    if head.len() < bytes.len() && Peek::at(head, bytes).0.decides {
        return true;
    }
    let (peek, is_whole) = Peek::at(bytes, bytes);
    peek.decides || peek.is_audit(is_whole)
}

/// Whether an object is a line of any part of Immuta: it has a level and a message.
fn is_own(bytes: &[u8]) -> bool {
    let (mut has_level, mut has_message) = (false, false);
    container::peek(bytes, bytes, |key, value| {
        has_level |= key == "level" && matches!(value, Json::String(_));
        has_message |= key == "message" && matches!(value, Json::String(_));
        has_level && has_message
    });
    has_level && has_message
}

/// A name in title case, such as `RecordType`, as records usually spell it. `None` if it is not in title case.
fn camel(name: &str) -> Option<String> {
    let (first, rest) = name.split_at_checked(1)?;
    let is_title = first.as_bytes()[0].is_ascii_uppercase() && rest.starts_with(|next: char| next.is_ascii_lowercase());
    is_title.then(|| format!("{}{rest}", first.to_ascii_lowercase()))
}

/// What the members of a line say about its kind.
#[derive(Default)]
struct Peek {
    /// Whether it is an audit record or a response, whatever members follow.
    decides: bool,
    has_other_level: bool,
    is_audit_message: bool,
    audit_members: usize,
}

impl Peek {
    /// Reads the members in `head`, which is the beginning of `line` or all of it. Also returns whether the line was
    /// read to its end.
    fn at(head: &[u8], line: &[u8]) -> (Self, bool) {
        let mut peek = Self::default();
        let is_whole = container::peek(head, line, |key, value| {
            peek.member(key, value);
            peek.decides
        });
        (peek, is_whole)
    }

    fn member(&mut self, key: &str, value: Json<'_>) {
        let camel = camel(key);
        let key = camel.as_deref().unwrap_or(key);
        match (key, value) {
            // In other products, `RecordType` is a number.
            ("recordType", value) if camel.is_some() && !matches!(value, Json::String(_)) => {}
            ("recordType" | "auditPayload" | "eventTimestamp", _) => self.decides = true,
            ("message", Json::String(RESPONSE | ERROR_RESPONSE)) => self.decides = true,
            ("message", Json::String(message)) => self.is_audit_message = message.starts_with(AUDIT),
            ("level", Json::String("audit")) => self.decides = true,
            ("level", Json::String(_)) => self.has_other_level = true,
            _ if AUDIT_MEMBERS.contains(&key) => self.audit_members += 1,
            _ => {}
        }
    }

    /// Whether it is an audit record although no single member decided so.
    fn is_audit(&self, is_whole: bool) -> bool {
        if self.is_audit_message {
            // Other parts of the product mention audit messages too, with another level.
            return !self.has_other_level;
        }
        self.audit_members >= if is_whole { AUDIT_MEMBERS_MIN } else { 1 }
    }
}

/// The record without what a runtime or shipper put around it.
fn unwrap<'a>(context: &Context<'_>, record: &Record<'a>) -> Result<Inside<'a>, Refusal> {
    let inside = container::unwrap(record, &SOUGHT.with(&context.settings.line_members))?;
    if !inside.is_accepted {
        // If the text is not JSON, the error says where.
        Source::read(&envelope::with_whole_pairs(inside.text()?)).map_err(refusal)?;
        return Err(Refusal::new("the line is no audit record"));
    }
    Ok(inside)
}

fn decode(context: &Context<'_>, record: &Record<'_>, emit: &mut dyn FnMut(&Event<'_>)) -> Result<(), Refusal> {
    let inside = unwrap(context, record)?;
    let text = container::on_one_line(inside.text()?)?;
    let line = Line { context, record, inside: &inside };
    match Source::read(&text) {
        Ok(source) => line.emit(source, emit),
        Err(Fault::HalfSurrogate(_)) => {
            let mended = mend_surrogates(&text);
            line.emit(Source::read(&mended).map_err(refusal)?, emit)
        }
        Err(fault) => Err(refusal(fault)),
    }
}

fn parsed(context: &Context<'_>, record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let inside = unwrap(context, record)?;
    let text = container::on_one_line(inside.text()?)?;
    let text = match Source::read(&text) {
        Err(Fault::HalfSurrogate(_)) => Cow::Owned(mend_surrogates(&text)),
        _ => text,
    };
    Source::read(&text).map_err(refusal)?;
    out.extend_from_slice(text.trim().as_bytes());
    Ok(())
}

/// Records are identified by these fields, which hold only words of the product.
fn redactable(path: &str, _: Action) -> Result<(), String> {
    if matches!(path, "message" | "recordType") {
        return Err("is what records are told by, and cannot be redacted".to_owned());
    }
    Ok(())
}

fn redact(context: &Context<'_>, record: &Record<'_>, redaction: &Redaction) -> Result<Option<Vec<u8>>, Refusal> {
    let sought = SOUGHT.with(&context.settings.line_members);
    container::redacted(record.bytes, &sought, redaction, &|bytes| {
        let text = std::str::from_utf8(bytes).map_err(|_| Refusal::new("the record is no UTF-8"))?;
        container::redacted_json(container::on_one_line(text)?.as_bytes(), &sought, redaction)
    })
}

fn refusal(fault: Fault) -> Refusal {
    Refusal::new(fault.to_string())
}

/// What is needed to make the event of a record.
struct Line<'c> {
    context: &'c Context<'c>,
    record: &'c Record<'c>,
    inside: &'c Inside<'c>,
}

impl<'c> Line<'c> {
    /// Emits the event of the record.
    fn emit<'a>(&self, mut source: Source<'a>, emit: &mut dyn FnMut(&Event<'_>)) -> Result<(), Refusal>
    where
        'c: 'a,
    {
        let (time_ms, time_inferred) = self.time(&source)?;
        let unknown = Activity::of(Class::ApiActivity, 0);
        let mut event = Event::new(PRODUCT, unknown, Text::from(Event::UNKNOWN_ACTION), time_ms);
        event.metadata.time_inferred = time_inferred;
        event.metadata.labels.extend(self.inside.label());
        let mut copies = Copies::default();
        let rows = self.context.rows;
        let message = source.top.get("message").and_then(Json::text);
        match message.as_ref().map(Text::plain).as_deref() {
            _ if source.is_uam() => uam::fill(&mut event, rows, &mut source),
            _ if source.top.get("recordType").is_some() => audit::fill(&mut event, rows, &mut source, &mut copies),
            Some(RESPONSE) => response::fill(&mut event, rows, &mut source, response::Kind::Response),
            Some(ERROR_RESPONSE) => response::fill(&mut event, rows, &mut source, response::Kind::Error),
            _ => audit::fill(&mut event, rows, &mut source, &mut copies),
        }
        event.message = source.top.map("message");
        event.metadata.log_level = source.top.map("level");
        event.unmapped = source.unmapped(&mut copies);
        event.unmapped.extend(self.inside.around.iter().cloned());
        event.metadata.is_truncated |= copies.truncated || self.is_cut(&source);
        emit(&event);
        Ok(())
    }

    /// Whether the product cut the query short. The length of a masked query says nothing, so that of the original
    /// query counts.
    fn is_cut(&self, source: &Source<'_>) -> bool {
        let Some(unmasked) = self.record.unmasked else { return audit::is_cut(source) };
        let of_unmasked = || {
            let inside = unwrap(self.context, &Record::new(self.record.ordinal, unmasked)).ok()?;
            let text = container::on_one_line(inside.text().ok()?).ok()?.into_owned();
            Some(audit::is_cut(&Source::read(&envelope::with_whole_pairs(&text)).ok()?))
        };
        of_unmasked().unwrap_or_default()
    }

    /// The record's time, or else that of the runtime or of the object; and whether it was inferred so.
    fn time(&self, source: &Source<'_>) -> Result<(i64, bool), Refusal> {
        let of = |name| source.top.get(name).and_then(moment::of_json);
        if let Some(time_ms) = ["dateTime", "eventTimestamp", "timestamp", "createdAt"].into_iter().find_map(of) {
            return Ok((time_ms, false));
        }
        let of_runtime = self.inside.time.as_ref().and_then(|time| moment::of_text(&time.plain()));
        let inferred = of_runtime.or_else(|| self.context.last_modified_ms.and_then(moment::plausible));
        inferred.map(|time_ms| (time_ms, true)).ok_or(Refusal::new("neither the record nor its object has a time"))
    }
}

/// The fields of one record: those at its top, and those of the two objects in it that belong to its recordType.
#[derive(Default)]
struct Source<'a> {
    top: Fields<'a>,
    /// The object `record`, whose fields depend on the recordType.
    record: Fields<'a>,
    /// The object `dataAccess`.
    access: Fields<'a>,
}

impl<'a> Source<'a> {
    fn read(text: &'a str) -> Result<Self, Fault> {
        let mut source = Self { top: Fields::with_capacity(USUAL_FIELDS), ..Self::default() };
        let mut is_titled = false;
        let mut reader = Reader::new(text);
        reader.object(|reader, key| {
            is_titled |= key.starts_with(|first: char| first.is_ascii_uppercase());
            let is_object = matches!(&*key, "record" | "dataAccess") && reader.peek() == Some(b'{');
            if is_object {
                let fields = Fields::read(reader)?;
                *(if key == "record" { &mut source.record } else { &mut source.access }) = fields;
            } else {
                let value = reader.value()?;
                source.top.insert(key, value);
            }
            Ok(())
        })?;
        reader.end()?;
        if is_titled && TITLES.iter().any(|name| source.top.get(name).is_some()) {
            source.untitle()?;
        }
        Ok(source)
    }

    /// Renames fields in title case to the usual names. If the record has both names, both fields stay.
    fn untitle(&mut self) -> Result<(), Fault> {
        let titled = std::mem::take(&mut self.top);
        for field in titled.iter() {
            let part = match (&*field.key, field.value) {
                ("Record", Json::Object(whole)) => Some((&mut self.record, whole)),
                ("DataAccess", Json::Object(whole)) => Some((&mut self.access, whole)),
                _ => None,
            };
            match part {
                Some((part, whole)) => {
                    let titled = Fields::read(&mut Reader::new(whole))?;
                    titled.iter().for_each(|field| part.insert(untitled(&field.key, &titled), field.value));
                }
                None => self.top.insert(untitled(&field.key, &titled), field.value),
            }
        }
        Ok(())
    }

    fn is_uam(&self) -> bool {
        self.top.get("auditPayload").is_some() || self.top.get("eventTimestamp").is_some()
    }

    /// The text of the first of these fields that says something, in whichever object it stands.
    fn first(&self, names: &[&str]) -> Option<Text<'a>> {
        names.iter().find_map(|name| self.get(name).and_then(Json::text))
    }

    /// A field in any of the objects. With the prefix `record.`, only the one in the object `record`; in records
    /// without this object, the one at the top.
    fn get(&self, name: &str) -> Option<Json<'a>> {
        if let Some(name) = name.strip_prefix("record.") {
            return if self.record.is_empty() { self.top.get(name) } else { self.record.get(name) };
        }
        let name = Key::of(name);
        [&self.top, &self.record, &self.access].into_iter().find_map(|fields| fields.get_by(&name).filter(is_not_null))
    }

    /// A field in any of the objects, the one in `record` first.
    fn get_own(&self, name: &str) -> Option<Json<'a>> {
        self.record.get(name).filter(is_not_null).or_else(|| self.get(name))
    }

    /// Marks the field as mapped: the event holds its whole value.
    fn placed(&mut self, name: &str) {
        if let Some(name) = name.strip_prefix("record.") {
            let fields = if self.record.is_empty() { &mut self.top } else { &mut self.record };
            fields.map(name);
            return;
        }
        let name = Key::of(name);
        for fields in [&mut self.top, &mut self.record, &mut self.access] {
            if fields.get_by(&name).is_some_and(|value| is_not_null(&value)) {
                fields.map_by(&name);
                return;
            }
        }
    }

    fn unmapped(&self, copies: &mut Copies) -> Members<'a> {
        let mut members = copies.copy_unmapped(&self.top);
        for (name, fields) in [("record", &self.record), ("dataAccess", &self.access)] {
            let left = copies.copy_unmapped(fields);
            if !left.is_empty() && self.top.get(name).is_none() {
                members.push((Text::word(name), Value::Object(left)));
            }
        }
        members
    }
}

/// The usual name of a field of a record in title case.
fn untitled<'a>(name: &Cow<'a, str>, titled: &Fields<'a>) -> Cow<'a, str> {
    let camel = camel(name).filter(|camel| titled.get(camel).is_none());
    camel.map_or_else(|| name.clone(), Cow::Owned)
}

fn is_not_null(value: &Json<'_>) -> bool {
    *value != Json::Null
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::delta::RecordHash;
    use crate::event::{Encoded, Encoder, EncodingName, Options, Scope};
    use crate::family::encode_record;
    use crate::notification::ObjectId;
    use crate::records::block::Item;
    use crate::records::lines::{Lines, Start};

    const SEEDS: &[u8] = include_bytes!("../../../tests/fixtures/immuta/mixed.log");

    /// Reads content as a file is read. Asserts that each record gives events that are JSON, or is refused.
    fn assert_readable(content: &[u8]) {
        let object = ObjectId::new("b", "k");
        let context = Context::new(&FAMILY, &object, Scope::Record, Some(1_705_305_600_000), "test");
        let encoders = [Encoder::new(EncodingName::Ocsf, Options { raw_data: true, ..Options::default() })];
        let mut lines = Lines::new(role, 10_000, Start::Beginning);
        let mut source = content;
        while let Some(block) = lines.next_block(&mut source).unwrap() {
            for item in block.items() {
                let (Item::Whole { record, .. } | Item::Unended { record, .. }) = item else { continue };
                let mut out = [Encoded::default()];
                let hash = RecordHash::of(record.bytes);
                let events = encode_record(&context, &record, &hash, record.ordinal, &encoders, &mut out);
                let [encoded] = out;
                let written = encoded.bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                let lines: Vec<serde_json::Value> = written.map(|line| serde_json::from_slice(line).unwrap()).collect();
                let count = lines.len();
                assert_eq!(events.unwrap_or(0) as usize, count);
                let mut parsed_record = Vec::new();
                if parsed(&context, &record, &mut parsed_record).is_ok() {
                    assert!(!parsed_record.contains(&b'\n'));
                    serde_json::from_slice::<serde_json::Value>(&parsed_record).unwrap();
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

        #[test]
        fn any_bytes_give_records_or_refusals(content in proptest::collection::vec(any::<u8>(), 0..300)) {
            assert_readable(&content);
        }

        #[test]
        fn records_with_pieces_replaced_give_records_or_refusals(
            edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..40_usize, r#"[{}\[\]",:\\]{0,3}|\{"log":"|"\}|2024-01-15T08:00:00Z stdout [PF] |"message":"Audit - |\\ud800|\n|PASSWORD '|é"#), 1..8)
        ) {
            let mut content = SEEDS.to_vec();
            for (at, length, piece) in edits {
                let from = at.index(content.len());
                let to = (from + length).min(content.len());
                content.splice(from..to, piece.bytes());
            }
            assert_readable(&content);
        }
    }
}

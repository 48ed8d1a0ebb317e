//! YDB's audit logs: the schemeshard's lines in the common log, and the records of the newer audit stream as JSON or text.

mod access;

mod events;

mod party;

mod proto;

mod redact;

mod schemeshard;

mod secrets;

mod stream;

mod targets;

use std::borrow::Cow;

use crate::delta::Growth;
use crate::event::Event;
use crate::event::Fault;
use crate::event::Fields;
use crate::event::Json;
use crate::event::Mask;
use crate::event::Product;
use crate::event::Reader;
use crate::event::Secrets;
use crate::event::Text;
use crate::event::Value;
use crate::event::mend_surrogates;
use crate::family::Context;
use crate::family::Family;
use crate::family::Refusal;
use crate::family::address;
use crate::family::container;
use crate::family::sql;
use crate::records::Around;
use crate::records::Framing;
use crate::records::LineRole;
use crate::records::Record;

use events::Common;
use schemeshard::Prefix;
use schemeshard::Transaction;
use stream::Parts;

pub(super) const FAMILY: Family = Family {
    name: "ydb",
    // What ships logs to S3 writes each object once.
    growth: Growth::Once,
    framing: Framing::Lines(role),
    keys: &["**"],
    decode,
    parsed,
    redact: redact::redact,
    redactable: redact::redactable,
};

const PRODUCT: Product = Product { name: "YDB", vendor: "YDB", log_name: "ydb.audit" };

/// The field that holds a query without its address.
const PARAMETERS: &str = "params";

/// The forms of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// A line of the common log.
    Scheme,
    /// `<time>: {...}`
    TimedJson,
    /// `{"@timestamp":...}`
    Json,
    /// `<time>: component=..., ...`
    Text,
}

fn role(line: &[u8], around: &mut Around) -> LineRole {
    let line = match container::line(line, around, is_record, stands_alone) {
        Ok(line) => line,
        Err(role) => return role,
    };
    if line.is_accepted {
        let goes_on = match form(&line.inside) {
            // Values of the text form hold line ends as they are.
            Some(Form::Text) => true,
            Some(Form::Scheme) => !schemeshard::has_operation(&line.inside),
            _ => false,
        };
        return if goes_on { LineRole::Opens } else { LineRole::Record };
    }
    if line.is_open && !is_common_line(&line.inside) { LineRole::Continues } else { LineRole::Other }
}

/// What begins with a time begins a record, unless it is inside of an object that is whole; an object without one may be a
/// value, or stand after its time.
fn stands_alone(last: &[u8], joined: &[u8]) -> bool {
    let of_object = |bytes: &[u8]| matches!(form(bytes), Some(Form::Json | Form::TimedJson));
    let without_time = |bytes: &[u8]| {
        let from = time_length(bytes).map_or(0, |time| (time + 2).min(bytes.len()));
        container::is_object(&bytes[from..])
    };
    if of_object(joined) && without_time(joined) {
        return false;
    }
    match form(last) {
        Some(Form::Json) => container::is_object(last) && (!is_record(joined) || of_object(joined)),
        Some(_) => true,
        None => false,
    }
}

/// Whether a line, or the first piece of one, is or begins a record.
fn is_record(bytes: &[u8]) -> bool {
    form(bytes).is_some()
}

fn form(bytes: &[u8]) -> Option<Form> {
    if bytes.first() == Some(&b'{') {
        return is_json_record(bytes).then_some(Form::Json);
    }
    let after = &bytes[time_length(bytes)?..];
    match after {
        [b':', b' ', b'{', ..] => Some(Form::TimedJson),
        [b':', b' ', fields @ ..] => stream::begins(fields).then_some(Form::Text),
        _ => {
            // The rest of the line need not be text.
            let head = valid(&after[..after.len().min(PREFIX_MAX)]);
            Prefix::of(head)?.audit().map(|_| Form::Scheme)
        }
    }
}

/// Longer than node, component, level and a source position together.
const PREFIX_MAX: usize = 300;

/// A line of the common log, of any component.
fn is_common_line(bytes: &[u8]) -> bool {
    time_length(bytes)
        .is_some_and(|time| Prefix::of(valid(&bytes[time..][..(bytes.len() - time).min(PREFIX_MAX)])).is_some())
}

/// As much from the beginning as is UTF-8.
fn valid(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    }
}

/// Whether a JSON object, or the beginning of one, is a record of the audit stream.
fn is_json_record(bytes: &[u8]) -> bool {
    let (mut is_audit, mut has_component, mut has_other) = (false, false, false);
    // Why it was cut short does not matter.
    let _cut = Reader::new(valid(bytes)).object(|reader, key| {
        let value = reader.value()?;
        match (&*key, value) {
            ("@log_type", Json::String("audit")) => is_audit = true,
            ("component", _) => has_component = true,
            ("operation" | "detailed_status" | "sanitized_token", _) => has_other = true,
            _ => {}
        }
        if is_audit || has_component && has_other { Err(Fault::Trailing(0)) } else { Ok(()) }
    });
    is_audit || has_component && has_other
}

/// How many bytes the time at the beginning has, such as `2022-08-03T22:41:43.860439Z`.
fn time_length(bytes: &[u8]) -> Option<usize> {
    let (date, rest) = bytes.split_first_chunk::<19>()?;
    let fits = date.iter().zip(b"0000-00-00T00:00:00").all(|(byte, form)| match form {
        b'0' => byte.is_ascii_digit(),
        _ => byte == form,
    });
    if !fits {
        return None;
    }
    let fraction = match rest {
        [b'.', digits @ ..] => 1 + digits.iter().take_while(|byte| byte.is_ascii_digit()).count(),
        _ => 0,
    };
    match &rest[fraction..] {
        [b'Z', ..] => Some(19 + fraction + 1),
        [b'+' | b'-', zone @ ..] => {
            let length = zone.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b':').count();
            // `: ` after the offset is no part of it.
            let length = if zone[..length].ends_with(b":") { length - 1 } else { length };
            matches!(length, 4 | 5).then_some(19 + fraction + 1 + length)
        }
        _ => None,
    }
}

fn decode(context: &Context<'_>, record: &Record<'_>, emit: &mut dyn FnMut(&Event<'_>)) -> Result<(), Refusal> {
    let inside = container::unwrap(record.bytes, is_record)?;
    let line = Line::of(inside.bytes())?;
    let cleaned = sql::masked(&line.text);
    let text = cleaned.as_deref().unwrap_or(&line.text);
    let cleared = secrets::masked(text);
    let text = cleared.as_deref().unwrap_or(text);
    let without = address::masked(text, Some(PARAMETERS));
    let text = without.as_deref().unwrap_or(text);
    let masks = |found: Vec<Mask>| {
        // Of text that stands for bytes no place is the record's.
        let is_altered =
            cleaned.is_some() || cleared.is_some() || without.is_some() || line.is_bytes && !found.is_empty();
        inside.masks(found, text, is_altered, record.bytes)
    };
    let common = Common {
        context,
        around: &inside.around,
        runtime_time: inside.time.as_ref(),
        bytes: text.len(),
        masks: &masks,
    };
    let (time, rest) = text.split_at(line.time);
    match line.form {
        Form::Scheme => events::of_transaction(&common, &line.transaction(time, rest)?, line.words(), emit),
        Form::Text => {
            let parts = Parts::of_text(&rest[2..], line.words());
            events::of_parts(&common, parts, Some(time), Secrets::of(text), emit)
        }
        Form::TimedJson | Form::Json => {
            let mut secrets = Secrets::of(text);
            let json = rest.strip_prefix(": ").unwrap_or(rest);
            let parts = Parts::of_json(json, &mut secrets).map_err(|fault| Refusal::new(fault.to_string()))?;
            events::of_parts(&common, parts, Some(time).filter(|time| !time.is_empty()), secrets, emit)
        }
    }
}

/// A record's text, and how it is to be read.
struct Line<'a> {
    text: Cow<'a, str>,
    form: Form,
    /// Bytes of the time at the beginning.
    time: usize,
    /// The record is no UTF-8: each character of the text is a byte of it.
    is_bytes: bool,
}

impl<'a> Line<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let bytes = bytes.trim_ascii_end();
        let form = form(bytes).ok_or(Refusal::new("no audit record"))?;
        let time = if form == Form::Json { 0 } else { time_length(bytes).unwrap_or(0) };
        let is_json = matches!(form, Form::Json | Form::TimedJson);
        match std::str::from_utf8(bytes) {
            Ok(text) if is_json => {
                let (stamp, json) = text.split_at(time);
                let json = match container::on_one_line(json.trim_start_matches(": "))? {
                    Cow::Borrowed(_) => return Ok(Self::with_whole_pairs(text, form, time)),
                    Cow::Owned(json) => json,
                };
                let colon = if stamp.is_empty() { "" } else { ": " };
                Ok(Self { text: Cow::Owned(format!("{stamp}{colon}{json}")), form, time, is_bytes: false })
            }
            Ok(text) => Ok(Self { text: Cow::Borrowed(text), form, time, is_bytes: false }),
            Err(error) if is_json => Err(Refusal::new(format!("no UTF-8 at byte {}", error.valid_up_to()))),
            Err(_) => {
                let text = bytes.iter().map(|byte| char::from(*byte)).collect();
                Ok(Self { text: Cow::Owned(text), form, time, is_bytes: true })
            }
        }
    }

    fn with_whole_pairs(text: &'a str, form: Form, time: usize) -> Self {
        // Half a surrogate pair is an escape that begins so.
        let may_be_half =
            memchr::memmem::find(text.as_bytes(), b"\\ud").or_else(|| memchr::memmem::find(text.as_bytes(), b"\\uD"));
        let text = if may_be_half.is_some() { Cow::Owned(mend_surrogates(text)) } else { Cow::Borrowed(text) };
        Self { text, form, time, is_bytes: false }
    }

    fn transaction<'t>(&self, time: &'t str, rest: &'t str) -> Result<Transaction<'t>, Refusal> {
        let prefix = Prefix::of(rest).ok_or(Refusal::new("no line of the common log"))?;
        let audit = prefix.audit().ok_or(Refusal::new("no audit line"))?;
        Transaction::read(time, prefix, audit)
    }

    /// How a piece of the text is to be taken.
    fn words<'t>(&self) -> fn(&'t str) -> Text<'t> {
        if self.is_bytes { of_bytes } else { Text::from }
    }
}

/// A piece whose characters are bytes: as text if they are UTF-8, else in hexadecimal, as the audit stream writes such
/// values itself.
fn of_bytes(piece: &str) -> Text<'_> {
    let bytes: Vec<u8> = piece.chars().map(|character| u8::try_from(u32::from(character)).unwrap_or(b'?')).collect();
    Text::from(
        String::from_utf8(bytes)
            .unwrap_or_else(|error| error.as_bytes().iter().map(|byte| format!("{byte:02X}")).collect()),
    )
}

fn parsed(_: &Context<'_>, record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let inside = container::unwrap(record.bytes, is_record)?;
    let line = Line::of(inside.bytes())?;
    let (time, rest) = line.text.split_at(line.time);
    match line.form {
        Form::Scheme => write_transaction(out, &line.transaction(time, rest)?, line.words()),
        Form::Text => write_parts(out, &Parts::of_text(&rest[2..], line.words()), Some(time)),
        Form::TimedJson | Form::Json => {
            let json = rest.strip_prefix(": ").unwrap_or(rest);
            // Nothing is masked here: this is the record as it came.
            write_json(out, json, Some(time).filter(|time| !time.is_empty()))?;
        }
    }
    Ok(())
}

fn write_json(out: &mut Vec<u8>, json: &str, time: Option<&str>) -> Result<(), Refusal> {
    let refusal = |fault: Fault| Refusal::new(fault.to_string());
    let mut reader = Reader::new(json);
    let fields = Fields::read(&mut reader).map_err(refusal)?;
    reader.end().map_err(refusal)?;
    let own = fields.get("@timestamp").and_then(Json::text);
    let time = time.map(Text::from).or(own).filter(|_| fields.get("timestamp").is_none());
    let Some(time) = time else {
        out.extend_from_slice(json.trim().as_bytes());
        return Ok(());
    };
    out.extend_from_slice(b"{\"timestamp\":");
    time.write(out);
    if !fields.is_empty() {
        out.push(b',');
    }
    out.extend_from_slice(json.trim().trim_start_matches('{').as_bytes());
    Ok(())
}

fn write_parts(out: &mut Vec<u8>, parts: &Parts<'_>, time: Option<&str>) {
    let mut members: Vec<(Text<'_>, Value<'_>)> = Vec::new();
    if let Some(time) = time {
        members.push((Text::from("timestamp"), Value::Text(Text::from(time))));
    }
    let own = parts.iter().filter(|part| part.name.plain() != "timestamp");
    members.extend(own.map(|part| (part.name.clone(), part.value.clone())));
    if parts.is_ambiguous {
        members.push((Text::from("ambiguous"), Value::Json(Cow::Borrowed("true"))));
    }
    Value::Object(members).write(out);
}

fn write_transaction<'t>(out: &mut Vec<u8>, line: &Transaction<'t>, word: fn(&'t str) -> Text<'t>) {
    let text = |piece| Value::Text(word(piece));
    let mut members = vec![(Text::from("timestamp"), text(line.timestamp))];
    members.extend(line.node.map(|node| match node.parse() {
        Ok(number) => (Text::from("node"), Value::Int(number)),
        Err(_) => (Text::from("node"), text(node)),
    }));
    members.push((Text::from("component"), text(line.component)));
    members.push((Text::from("level"), text(line.level)));
    members.push((Text::from("txId"), text(line.tx_id)));
    members.extend(line.database.map(|database| (Text::from("database"), text(database))));
    members.extend(line.subject.map(|subject| (Text::from("subject"), text(subject))));
    members.push((Text::from("status"), text(line.status)));
    members.extend(line.reason.map(|reason| (Text::from("reason"), text(reason))));
    let operations = line.operations.iter().map(|operation| Value::Object(events::members(operation, word)));
    members.push((Text::from("operations"), Value::List(operations.collect())));
    if line.is_ambiguous {
        members.push((Text::from("ambiguous"), Value::Json(Cow::Borrowed("true"))));
    }
    Value::Object(members).write(out);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::delta::RecordHash;
    use crate::event::Encoded;
    use crate::event::Encoder;
    use crate::event::EncodingName;
    use crate::event::Options;
    use crate::event::Scope;
    use crate::family::encode_record;
    use crate::notification::ObjectId;
    use crate::records::lines::Item;
    use crate::records::lines::Lines;
    use crate::records::lines::Start;

    const SEEDS: &[u8] = include_bytes!("../../../tests/fixtures/ydb/common.log");

    const STREAM: &[u8] = include_bytes!("../../../tests/fixtures/ydb/stream.log");

    /// Reads content as a file is read; every record gives events that are JSON, or is refused.
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
            edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..40_usize, r#"[{}\[\]",:=\\ ]{0,3}|, operation: |, path: |, status: |, protobuf request: |, reason=|, status=|; status=|\{"message":"|"\}|2024-01-15T08:00:00Z stderr [PF] |\n|password: |é"#), 1..8)
        ) {
            let mut content = [SEEDS, STREAM].concat();
            for (at, length, piece) in edits {
                let from = at.index(content.len());
                let to = (from + length).min(content.len());
                content.splice(from..to, piece.bytes());
            }
            assert_readable(&content);
        }
    }
}

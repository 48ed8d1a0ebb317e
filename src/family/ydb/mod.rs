//! YDB's audit logs: the schemeshard's lines in the common log, and the records of the newer audit stream as JSON or
//! text.

mod access;

mod events;

mod form;

mod label;

mod members;

mod names;

mod party;

mod proto;

mod redact;

mod schemeshard;

mod sequence;

mod stream;

mod targets;

mod words;

use std::borrow::Cow;

use crate::delta::Growth;
use crate::event::{Event, Fault, Fields, Json, Reader, Text, Value};
use crate::family::envelope::{self, Sought};
use crate::family::refusal::Refusal;
use crate::family::{Context, Family, container};
use crate::records::{Around, Framing, LineRole, Record};

use events::Common;
use form::{Form, form, is_common_line, is_own, is_record, shape, time_length};
use schemeshard::{Prefix, Transaction};
use stream::Parts;
use words::Words;

pub(super) const FAMILY: Family = Family {
    name: "ydb",
    // Shippers write each S3 object once.
    growth: Growth::Once,
    framing: Framing::LinesInSequence(role),
    keys: &["**"],
    example: None,
    decode,
    parsed,
    redact: redact::redact,
    redactable: redact::redactable,
    sought: Some(&SOUGHT),
};

/// Nothing inside YDB's other lines is a record.
static SOUGHT: Sought<'static> = Sought::of(is_record, is_own);

fn role(line: &[u8], around: &mut Around<'_>) -> LineRole {
    let sought = SOUGHT.with(around.members());
    let line = match container::line(line, around, &sought, stands_alone) {
        Ok(line) => line,
        Err(role) => return role,
    };
    if line.is_accepted {
        let goes_on = match shape(&line.inside) {
            // Values of the text form may contain line ends.
            Some((Form::Text, time)) => {
                around.holds_free_value(stream::holds_free_value(&line.inside[time..]));
                true
            }
            Some((Form::Scheme, _)) => {
                let goes_on = !schemeshard::has_operation(&line.inside);
                around.holds_free_value(goes_on);
                goes_on
            }
            _ => false,
        };
        return if goes_on { LineRole::Opens } else { LineRole::Record };
    }
    if !line.is_open || is_common_line(&line.inside) {
        return LineRole::Other;
    }
    around.holds_free_value(stream::holds_free_value(&line.inside));
    LineRole::Continues
}

/// Whether the last piece is a line of its own. A piece that begins with a time is one, unless it lies within a
/// complete object. An object without a time may also be a value, or follow its time.
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

fn decode(context: &Context<'_>, record: &Record<'_>, emit: &mut dyn FnMut(&Event<'_>)) -> Result<(), Refusal> {
    let inside = container::unwrap(record, &SOUGHT.with(&context.settings.line_members))?;
    let line = Line::of(inside.bytes(), inside.text().ok(), inside.is_accepted)?;
    let text = &*line.text;
    let common = Common {
        context,
        around: &inside.around,
        runtime_time: inside.time.as_ref(),
        label: inside.label(),
        may_be_within: record.may_be_within,
    };
    let (time, rest) = text.split_at(line.time);
    match line.form {
        Form::Scheme => {
            let words = Words::of(text, line.is_bytes);
            events::of_transaction(&common, &line.transaction(time, rest)?, words, emit)
        }
        Form::Text => {
            let parts = Parts::of_text(&rest[2..], Words::of(text, line.is_bytes));
            events::of_parts(&common, parts, Some(time), emit)
        }
        Form::TimedJson | Form::Json => {
            let json = rest.strip_prefix(": ").unwrap_or(rest);
            let parts = Parts::of_json(json).map_err(|fault| Refusal::new(fault.to_string()))?;
            events::of_parts(&common, parts, Some(time).filter(|time| !time.is_empty()), emit)
        }
    }
}

/// The line without white space at its end, except for the space after a label without a value.
fn without_end(line: &[u8]) -> &[u8] {
    let trimmed = line.trim_ascii_end();
    let is_label = trimmed.ends_with(b":") && line[trimmed.len()..].starts_with(b" ");
    &line[..trimmed.len() + usize::from(is_label)]
}

/// The text of a record, and its form.
struct Line<'a> {
    text: Cow<'a, str>,
    form: Form,
    /// Length in bytes of the time at the beginning.
    time: usize,
    /// Whether the record is no UTF-8. Then each character of the text stands for one byte of it.
    is_bytes: bool,
}

impl<'a> Line<'a> {
    /// `text`: `bytes` as text, if they are UTF-8. `is_accepted`: the bytes are known to be a record.
    fn of(bytes: &'a [u8], text: Option<&'a str>, is_accepted: bool) -> Result<Self, Refusal> {
        let trimmed = without_end(bytes);
        let is_record = is_accepted && trimmed.len() == bytes.len() || is_record(trimmed);
        let bytes = trimmed;
        let (form, time) = shape(bytes).filter(|_| is_record).ok_or(Refusal::new("no audit record"))?;
        let is_json = matches!(form, Form::Json | Form::TimedJson);
        match text.and_then(|text| text.get(..bytes.len())) {
            Some(text) if is_json => {
                let (stamp, json) = text.split_at(time);
                let json = match container::on_one_line(json.trim_start_matches(": "))? {
                    Cow::Borrowed(_) => {
                        return Ok(Self { text: envelope::with_whole_pairs(text), form, time, is_bytes: false });
                    }
                    Cow::Owned(json) => envelope::with_whole_pairs(&json).into_owned(),
                };
                let colon = if stamp.is_empty() { "" } else { ": " };
                Ok(Self { text: Cow::Owned(format!("{stamp}{colon}{json}")), form, time, is_bytes: false })
            }
            Some(text) => Ok(Self { text: Cow::Borrowed(text), form, time, is_bytes: false }),
            None if is_json => Err(Refusal::new(format!("no UTF-8 at byte {}", container::valid(bytes).len()))),
            None => {
                let text = bytes.iter().map(|byte| char::from(*byte)).collect();
                Ok(Self { text: Cow::Owned(text), form, time, is_bytes: true })
            }
        }
    }

    fn transaction<'t>(&self, time: &'t str, rest: &'t str) -> Result<Transaction<'t>, Refusal> {
        let prefix = Prefix::of(rest).ok_or(Refusal::new("no line of the common log"))?;
        let audit = prefix.audit().ok_or(Refusal::new("no audit line"))?;
        Transaction::read(time, prefix, audit)
    }
}

fn parsed(context: &Context<'_>, record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let inside = container::unwrap(record, &SOUGHT.with(&context.settings.line_members))?;
    let line = Line::of(inside.bytes(), inside.text().ok(), inside.is_accepted)?;
    let (time, rest) = line.text.split_at(line.time);
    let words = Words::of(&line.text, line.is_bytes);
    match line.form {
        Form::Scheme => write_transaction(out, &line.transaction(time, rest)?, words),
        Form::Text => write_parts(out, &Parts::of_text(&rest[2..], words), time),
        Form::TimedJson | Form::Json => {
            let json = rest.strip_prefix(": ").unwrap_or(rest);
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

fn write_parts<'t>(out: &mut Vec<u8>, parts: &Parts<'t>, time: &'t str) {
    let mut members = vec![(Text::word("timestamp"), Value::Text(Text::from(time)))];
    let own = parts.iter().filter(|part| !part.name().is("timestamp"));
    members.extend(own.map(|part| (part.name(), parts.copied(part))));
    if parts.is_ambiguous {
        members.push((Text::word("ambiguous"), Value::Json(Cow::Borrowed("true"))));
    }
    Value::Object(members).write(out);
}

fn write_transaction<'t>(out: &mut Vec<u8>, line: &Transaction<'t>, words: Words<'t>) {
    let text = |piece| Value::Text(words.take(piece));
    let mut members = vec![(Text::word("timestamp"), text(line.timestamp))];
    members.extend(line.node.map(|node| match node.parse() {
        Ok(number) => (Text::word("node"), Value::Int(number)),
        Err(_) => (Text::word("node"), text(node)),
    }));
    members.push((Text::word("component"), text(line.component)));
    members.push((Text::word("level"), text(line.level)));
    members.push((Text::word("txId"), text(line.tx_id)));
    members.extend(line.database.map(|database| (Text::word("database"), text(database))));
    members.extend(line.subject.map(|subject| (Text::word("subject"), text(subject))));
    members.push((Text::word("status"), text(line.status)));
    members.extend(line.reason.map(|reason| (Text::word("reason"), text(reason))));
    let operations = line.operations.iter().map(|operation| Value::Object(members::members(operation, words)));
    members.push((Text::word("operations"), Value::List(operations.collect())));
    if line.is_ambiguous {
        members.push((Text::word("ambiguous"), Value::Json(Cow::Borrowed("true"))));
    }
    Value::Object(members).write(out);
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

    const SEEDS: &[u8] = include_bytes!("../../../tests/fixtures/ydb/common.log");

    const STREAM: &[u8] = include_bytes!("../../../tests/fixtures/ydb/stream.log");

    /// Reads content like that of a file. Each record must give events that are JSON, or be refused.
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

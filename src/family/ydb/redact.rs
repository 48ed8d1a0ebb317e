//! Redacts YDB's records, each in its own form. A redacted record must still parse into the same fields, apart from
//! those redacted.

use crate::family::redaction::{Action, Edit, Redaction, applied, offset_in};
use crate::family::refusal::Refusal;
use crate::family::ydb::schemeshard::Transaction;
use crate::family::ydb::words::Words;
use crate::family::ydb::{Form, Line, SOUGHT, is_record, stream};
use crate::family::{Context, container};
use crate::records::Record;

/// Fields by which records are recognized or lines are parsed. Users do not set their values.
const FIXED: &[&str] = &[
    "@log_type",
    "@timestamp",
    "component",
    "level",
    "node",
    "operation",
    "operations",
    "operations.operation",
    "status",
    "timestamp",
    "txId",
];

/// Written in place of the subject if a line of the common log has none.
const NO_SUBJECT: &str = "no subject";

pub(super) fn redactable(path: &str, _: Action) -> Result<(), String> {
    if FIXED.contains(&path) {
        return Err("is what records are told by, and cannot be redacted".to_owned());
    }
    Ok(())
}

pub(super) fn redact(
    context: &Context<'_>,
    record: &Record<'_>,
    redaction: &Redaction,
) -> Result<Option<Vec<u8>>, Refusal> {
    let sought = SOUGHT.with(&context.settings.line_members);
    container::redacted(record.bytes, &sought, redaction, &|bytes| redacted_line(bytes, redaction))
}

fn redacted_line(bytes: &[u8], redaction: &Redaction) -> Result<Option<Vec<u8>>, Refusal> {
    let line = Line::of(bytes, std::str::from_utf8(bytes).ok(), false)?;
    let Some(text) = redacted(&line, redaction)? else { return Ok(None) };
    if !line.is_bytes {
        return Ok(Some(text.into_bytes()));
    }
    Ok(Some(text.chars().map(|character| u8::try_from(u32::from(character)).unwrap_or(b'?')).collect()))
}

fn redacted(line: &Line<'_>, redaction: &Redaction) -> Result<Option<String>, Refusal> {
    let (time, rest) = line.text.split_at(line.time);
    let (head, rest) = match line.form {
        Form::Scheme => ("", rest),
        Form::TimedJson | Form::Text => rest.split_at(": ".len()),
        Form::Json => ("", rest),
    };
    let words = Words::of(&line.text, line.is_bytes);
    let edits = match line.form {
        Form::Json | Form::TimedJson => {
            let mut edits = redaction.json(rest, &|object| SOUGHT.accepts(object))?;
            container::copies(rest, &SOUGHT, &|bytes| redacted_line(bytes, redaction), &mut edits)?;
            edits
        }
        Form::Text | Form::Scheme if holds_record(rest.as_bytes()) => {
            return Err(Refusal::new("the line holds the beginning of another record"));
        }
        Form::Text => of_parts(rest, redaction, words),
        Form::Scheme => of_transaction(rest, &line.transaction(time, rest)?, redaction, words),
    };
    if edits.is_empty() {
        return Ok(None);
    }
    let redacted = applied(rest, &edits);
    let same = match line.form {
        Form::Json | Form::TimedJson => true,
        Form::Text => left_of_parts(rest, redaction) == left_of_parts(&redacted, redaction),
        Form::Scheme => {
            let again = line.transaction(time, &redacted)?;
            left_of_transaction(&line.transaction(time, rest)?, redaction) == left_of_transaction(&again, redaction)
        }
    };
    if same { Ok(Some(format!("{time}{head}{redacted}"))) } else { Err(reads_otherwise()) }
}

/// How many bytes of an object are examined to recognize a record.
const OBJECT_BYTES_MAX: usize = 1024;

/// Whether another record begins within the text, perhaps as part of a value.
fn holds_record(text: &[u8]) -> bool {
    const DATE: usize = "2022-08-03".len();
    let begins_object = |at: usize| {
        let head = &text[at..text.len().min(at + OBJECT_BYTES_MAX)];
        let inside = head[1..].trim_ascii_start();
        // Within a string of another record, its quotes are escaped.
        inside.starts_with(b"\"") && is_record(head)
            || inside.starts_with(b"\\")
                && is_record(&head.iter().copied().filter(|byte| *byte != b'\\').collect::<Vec<u8>>())
    };
    memchr::memchr_iter(b'T', text).filter_map(|at| text.get(at.checked_sub(DATE)?..)).any(is_record)
        || memchr::memchr_iter(b'{', text).any(begins_object)
}

/// The forms without escapes may be ambiguous: once redacted, the line would parse into other fields.
fn reads_otherwise() -> Refusal {
    Refusal::new("the record would read otherwise after its redaction")
}

/// Edits of the text form. A dropped field gets the value `{none}`, as YDB writes it.
fn of_parts<'t>(text: &'t str, redaction: &Redaction, words: Words<'t>) -> Vec<Edit> {
    let mut edits = Vec::new();
    for (name, value) in stream::fields(text) {
        let Some(action) = redaction.of(name).filter(|_| value != stream::NONE) else { continue };
        let mut redacted =
            redaction.redacted(action, &words.take(value).plain()).unwrap_or_else(|| stream::NONE.to_owned());
        let at = offset_in(text, value);
        let at = at..at + value.len();
        // YDB left out the comma, and only the semicolon of the old value ended the field.
        if !matches!(&text[at.end..], rest if rest.is_empty() || rest.starts_with(", ")) {
            redacted.push(',');
        }
        edits.push(Edit { at, replacement: redacted });
    }
    edits
}

/// The name of every field, and its value unless it is redacted.
fn left_of_parts<'t>(text: &'t str, redaction: &Redaction) -> Vec<(&'t str, Option<&'t str>)> {
    let fields = stream::fields(text).into_iter();
    fields.map(|(name, value)| (name, Some(value).filter(|_| redaction.of(name).is_none()))).collect()
}

/// Edits of a line of the common log. A dropped field is removed with its label; for a path or subject, the line then
/// says that there is none.
fn of_transaction<'t>(
    text: &'t str,
    transaction: &Transaction<'t>,
    redaction: &Redaction,
    words: Words<'t>,
) -> Vec<Edit> {
    let mut edits = Vec::new();
    for (path, value) in fields(transaction) {
        let Some(action) = redaction.of(path) else { continue };
        let begin = offset_in(text, value);
        let at = begin..begin + value.len();
        let edit = match (redaction.redacted(action, &words.take(value).plain()), path) {
            (_, "subject") if value == NO_SUBJECT => continue,
            (Some(redacted), _) => Edit { at, replacement: redacted },
            (None, "subject") => Edit { at, replacement: NO_SUBJECT.to_owned() },
            (None, name) => {
                let label = text[..begin].rfind(", ").unwrap_or(begin);
                let redacted = if name == "operations.path" { ", no path" } else { "" };
                Edit { at: label..at.end, replacement: redacted.to_owned() }
            }
        };
        edits.push(edit);
    }
    edits
}

/// The number of operations, and the values that are not redacted.
fn left_of_transaction<'t>(
    transaction: &Transaction<'t>,
    redaction: &Redaction,
) -> (usize, Vec<(&'static str, &'t str)>) {
    let left = fields(transaction).into_iter().filter(|(path, _)| redaction.of(path).is_none());
    (transaction.operations.len(), left.collect())
}

/// The line's fields and values, by their names in the parsed record.
fn fields<'t>(transaction: &Transaction<'t>) -> Vec<(&'static str, &'t str)> {
    let of_line = [
        ("txId", Some(transaction.tx_id)),
        ("status", Some(transaction.status)),
        ("database", transaction.database),
        ("subject", transaction.subject),
        ("reason", transaction.reason),
    ];
    let mut fields: Vec<(&'static str, &'t str)> =
        of_line.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    for operation in &transaction.operations {
        fields.push(("operations.operation", operation.name));
        let lists = [
            ("operations.path", &operation.paths),
            ("operations.src path", &operation.src_paths),
            ("operations.dst path", &operation.dst_paths),
            ("operations.add access", &operation.added),
            ("operations.remove access", &operation.removed),
        ];
        for (name, values) in lists {
            fields.extend(values.iter().map(|value| (name, *value)));
        }
        let single = [
            ("operations.set owner", operation.owner),
            ("operations.protobuf request", operation.request.as_ref().map(|request| request.text)),
            ("operations.rest", operation.rest),
        ];
        fields.extend(single.into_iter().filter_map(|(name, value)| Some((name, value?))));
    }
    fields
}

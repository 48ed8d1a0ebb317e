//! Redacts lines of an access log in place. A dropped field becomes `-`, as S3 writes a field without a value.

use crate::family::Context;
use crate::family::redaction::{Action, Edit, Redaction, applied, offset_in};
use crate::family::refusal::Refusal;
use crate::family::s3_access::field::{Field, NAMES};
use crate::family::s3_access::line::{Line, SENT};
use crate::family::s3_access::token::holds_time;
use crate::family::s3_access::{referrer, text};
use crate::records::Record;

/// Fields that must be a time, an operation or a number. They can only be dropped: a hash or a mask would be invalid.
const STRICT: &[Field] = &[
    Field::Time,
    Field::Operation,
    Field::HttpStatus,
    Field::BytesSent,
    Field::ObjectSize,
    Field::TotalTime,
    Field::TurnAroundTime,
];

/// Stands for a field without a value.
const NONE: &str = "-";

/// The name for the fields after the last known one.
const EXTRA: &str = "extra";

/// The prefix for the keys of the S3A referrer.
const S3A: &str = "s3a.";

pub(super) fn redactable(path: &str, action: Action) -> Result<(), String> {
    let field = NAMES.iter().find(|(_, name)| *name == path).map(|(field, _)| *field);
    match (path, field) {
        (_, Some(field)) if action != Action::Drop && STRICT.contains(&field) => {
            Err("can only be dropped: nothing else can stand for its value".to_owned())
        }
        (_, Some(_)) | (EXTRA, None) => Ok(()),
        ("key_decoded", None) => Err("is made of `key`; redact that".to_owned()),
        _ if path.strip_prefix(S3A).is_some_and(|key| !key.is_empty()) => Ok(()),
        _ => {
            let names: Vec<&str> = NAMES.iter().map(|(_, name)| *name).collect();
            Err(format!("is no field of an access log; expected one of {}, {EXTRA}, {S3A}KEY", names.join(", ")))
        }
    }
}

/// The keys of the S3A referrer to drop. They are dropped when the referrer is read.
pub(in crate::family) fn dropped_keys(paths: &[String]) -> impl Iterator<Item = &str> {
    paths.iter().filter_map(|path| path.strip_prefix(S3A))
}

pub(super) fn redact(
    context: &Context<'_>,
    record: &Record<'_>,
    redaction: &Redaction,
) -> Result<Option<Vec<u8>>, Refusal> {
    let text = text(record);
    let line = Line::read(&text)?;
    let kept = line.iter().filter(|(field, name, _)| SENT.contains(field) && redaction.of(name).is_none());
    if kept.filter_map(|(.., value)| value).any(holds_time) {
        return Err(Refusal::new("what the client sent may be another record, which is not redacted"));
    }
    let mut edits = Vec::new();
    let mut replace = |value: &str, action| {
        let at = offset_in(&text, value);
        let redacted = redaction.redacted(action, value).unwrap_or_else(|| NONE.to_owned());
        edits.push(Edit { at: at..at + value.len(), replacement: redacted });
    };
    for (_, name, value) in line.iter() {
        if let (Some(value), Some(action)) = (value, redaction.of(name)) {
            replace(value, action);
        }
    }
    if let Some(action) = redaction.of(EXTRA) {
        line.extra.iter().flatten().for_each(|value| replace(value, action));
    }
    if let Some(header) = line.get(Field::Referrer).filter(|_| redaction.of("referrer").is_none()) {
        let values = referrer::values(header, context.settings);
        for (key, action) in redaction.below(S3A).filter(|(_, action)| *action != Action::Drop) {
            for (_, at) in values.iter().filter(|(own, _)| own == key) {
                let decoded = super::percent::decode(&header[at.clone()]);
                let begin = offset_in(&text, header) + at.start;
                let redacted = redaction.redacted(action, &decoded).unwrap_or_default();
                edits.push(Edit { at: begin..begin + at.len(), replacement: redacted });
            }
        }
    }
    if edits.is_empty() {
        return Ok(None);
    }
    let redacted = applied(&text, &edits);
    if left(&Line::read(&redacted)?, redaction) != left(&line, redaction) {
        return Err(Refusal::new("the line would read otherwise after its redaction"));
    }
    Ok(Some(redacted.into_bytes()))
}

/// The values of the fields that stay. Redaction must not change them: since lines escape nothing, a replacement could
/// make the line read otherwise.
fn left<'a>(line: &Line<'a>, redaction: &Redaction) -> Vec<Option<&'a str>> {
    let has_s3a = redaction.below(S3A).next().is_some();
    let stays = |field: Field, name: &str| redaction.of(name).is_none() && !(has_s3a && field == Field::Referrer);
    let fields = line.iter().filter(|(field, name, _)| stays(*field, name)).map(|(.., value)| value);
    let extra = line.extra.iter().copied().filter(|_| redaction.of(EXTRA).is_none());
    fields.chain(extra).collect()
}

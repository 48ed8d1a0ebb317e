//! S3 server access logs: one line a request, in objects that are written once.

mod line;

mod meaning;

mod percent;

mod place;

mod referrer;

mod request;

use std::borrow::Cow;

use crate::delta::Growth;
use crate::event::Event;
use crate::event::Members;
use crate::event::Text;
use crate::event::Value;
use crate::family::Context;
use crate::family::Family;
use crate::family::Refusal;
use crate::family::s3_access::line::FIELDS;
use crate::family::s3_access::line::Field;
use crate::family::s3_access::line::Line;
use crate::family::s3_access::referrer::Referrer;
use crate::records::Framing;
use crate::records::LineRole;
use crate::records::Record;

pub(super) const FAMILY: Family = Family {
    name: "s3_access",
    growth: Growth::Once,
    framing: Framing::Lines(|line, _| if line.trim_ascii().is_empty() { LineRole::Other } else { LineRole::Record }),
    // `PREFIXyyyy-mm-dd-HH-MM-SS-UNIQUE`, with or without `ACCOUNT/REGION/BUCKET/yyyy/mm/dd/` before it.
    keys: &["**/*[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]-[0-9][0-9]-[0-9][0-9]-[0-9][0-9]-*"],
    decode,
    parsed,
};

fn decode(context: &Context<'_>, record: &Record<'_>, emit: &mut dyn FnMut(&Event<'_>)) -> Result<(), Refusal> {
    let text = text(record);
    let line = Line::read(&text)?;
    meaning::emit(&line, context, record, &text, emit)
}

/// What a client sends need not be UTF-8, and must not make its record vanish: such bytes become U+FFFD.
fn text<'a>(record: &Record<'a>) -> Cow<'a, str> {
    record.text.map_or_else(|| String::from_utf8_lossy(record.bytes), Cow::Borrowed)
}

fn parsed(context: &Context<'_>, record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let text = text(record);
    let line = Line::read(&text)?;
    let mut members: Members<'_> = Vec::with_capacity(FIELDS + 4);
    let referrer = line.get(Field::Referrer).and_then(|header| Referrer::read(header, context.settings));
    for (field, name, value) in line.iter() {
        let value = match (value, &referrer) {
            (None, _) => Value::Json(Cow::Borrowed("null")),
            (Some(header), Some(referrer)) if field == Field::Referrer => {
                Value::Text(Text::from(request::cut(header, &referrer.cuts)))
            }
            (Some(value), _) => scalar(field, value),
        };
        members.push((Text::from(name), value));
    }
    if let Some(decoded) = line.get(Field::Key).and_then(percent::decode_key) {
        members.push((Text::from("key_decoded"), Value::Text(Text::from(decoded))));
    }
    if !line.extra.is_empty() {
        members.push((Text::from("extra"), extra(&line)));
    }
    if line.ambiguous || referrer.as_ref().is_some_and(|referrer| referrer.ambiguous) {
        members.push((Text::from("ambiguous"), truth()));
    }
    if let Some(referrer) = referrer {
        members.push((Text::from("s3a"), s3a(referrer)));
    }
    Value::Object(members).write(out);
    Ok(())
}

/// A number where the field is one, exact; else text.
fn scalar(field: Field, value: &str) -> Value<'_> {
    let is_numeric = matches!(
        field,
        Field::HttpStatus | Field::BytesSent | Field::ObjectSize | Field::TotalTime | Field::TurnAroundTime
    );
    // JSON has no leading zeros.
    if is_numeric && (value == "0" || !value.starts_with('0')) {
        Value::Json(Cow::Borrowed(value))
    } else {
        Value::Text(Text::from(value))
    }
}

/// The fields after the last that is known, null where they have no value.
fn extra<'a>(line: &Line<'a>) -> Value<'a> {
    let value = |field: &Option<&'a str>| match field {
        Some(field) => Value::Text(Text::from(*field)),
        None => Value::Json(Cow::Borrowed("null")),
    };
    Value::List(line.extra.iter().map(value).collect())
}

/// What Hadoop said of the request, and how far that can be relied on.
fn s3a(referrer: Referrer<'_>) -> Value<'_> {
    let mut members: Members<'_> =
        referrer.pairs.into_iter().map(|(key, value)| (Text::from(key), Value::Text(Text::from(value)))).collect();
    if !referrer.repeated.is_empty() {
        let list =
            |values: Vec<_>| Value::List(values.into_iter().map(|value| Value::Text(Text::from(value))).collect());
        let repeated = referrer.repeated.into_iter().map(|(key, values)| (Text::from(key), list(values)));
        members.push((Text::from("repeated"), Value::Object(repeated.collect())));
    }
    if let Some(key) = referrer.partial {
        members.push((Text::from("partial"), Value::Text(Text::from(key))));
    }
    if referrer.ambiguous {
        members.push((Text::from("ambiguous"), truth()));
    }
    Value::Object(members)
}

fn truth<'a>() -> Value<'a> {
    Value::Json(Cow::Borrowed("true"))
}

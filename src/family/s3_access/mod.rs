//! S3 server access logs: one line per request, in objects that are written once.

mod field;

mod token;

mod tail;

mod reading;

mod line;

mod percent;

mod request;

mod piece;

mod referrer;

mod place;

mod redact;

mod meaning;

use std::borrow::Cow;

use crate::delta::Growth;
use crate::event::{Event, Members, Text, Value};
use crate::family::refusal::Refusal;
use crate::family::s3_access::field::{FIELDS, Field};
use crate::family::s3_access::line::Line;
use crate::family::s3_access::referrer::Referrer;
use crate::family::{Context, Family};
use crate::records::{Framing, LineRole, Record};

pub(super) use redact::dropped_keys;

pub(super) const FAMILY: Family = Family {
    name: "s3_access",
    growth: Growth::Once,
    framing: Framing::Lines(|line, _| if line.trim_ascii().is_empty() { LineRole::Other } else { LineRole::Record }),
    // `PREFIXyyyy-mm-dd-HH-MM-SS-UNIQUE`, with or without `ACCOUNT/REGION/BUCKET/yyyy/mm/dd/` before it.
    keys: &["**/*[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]-[0-9][0-9]-[0-9][0-9]-[0-9][0-9]-*"],
    example: Some("logs/2026-01-15-08-21-36-79A8F4C0E5B1D263"),
    decode,
    parsed,
    redact: redact::redact,
    redactable: redact::redactable,
    sought: None,
};

fn decode(context: &Context<'_>, record: &Record<'_>, emit: &mut dyn FnMut(&Event<'_>)) -> Result<(), Refusal> {
    let text = text(record);
    let line = Line::read(&text)?;
    meaning::emit(&line, context, record, &text, emit)
}

/// The record as text. Invalid UTF-8, which a client may send, becomes U+FFFD: it must not make the record disappear.
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
            (Some(value), _) => scalar(&line, field, value),
        };
        members.push((Text::word(name), value));
    }
    if let Some(decoded) = line.get(Field::Key).and_then(percent::decode_key) {
        members.push((Text::word("key_decoded"), Value::Text(Text::from(decoded))));
    }
    if !line.extra.is_empty() {
        members.push((Text::word("extra"), extra(&line)));
    }
    if line.ambiguous || referrer.as_ref().is_some_and(|referrer| referrer.ambiguous) {
        members.push((Text::word("ambiguous"), truth()));
    }
    if let Some(referrer) = referrer {
        members.push((Text::word("s3a"), s3a(&line, referrer)));
    }
    Value::Object(members).write(out);
    Ok(())
}

/// An exact number if the field is numeric, else a text.
fn scalar<'a>(line: &Line<'a>, field: Field, value: &'a str) -> Value<'a> {
    let is_numeric = matches!(
        field,
        Field::HttpStatus | Field::BytesSent | Field::ObjectSize | Field::TotalTime | Field::TurnAroundTime
    );
    let digits = value.strip_prefix('-').unwrap_or(value);
    // JSON has no leading zeros.
    if is_numeric && (digits == "0" || !digits.starts_with('0')) {
        Value::Json(Cow::Borrowed(value))
    } else {
        Value::Text(line.text(value))
    }
}

/// The fields after the last known one; null for a field without a value.
fn extra<'a>(line: &Line<'a>) -> Value<'a> {
    let value = |field: &Option<&'a str>| match field {
        Some(field) => Value::Text(line.text(field)),
        None => Value::Json(Cow::Borrowed("null")),
    };
    Value::List(line.extra.iter().map(value).collect())
}

/// What Hadoop's S3A says of the request, and whether that is reliable.
fn s3a<'a>(line: &Line<'a>, referrer: Referrer<'a>) -> Value<'a> {
    let text = |text| line.text_of(text);
    let mut members = Members::with_capacity(referrer.pairs.len() + 3);
    members.extend(referrer.pairs.into_iter().map(|(key, value)| (text(key), Value::Text(text(value)))));
    if !referrer.repeated.is_empty() {
        let list = |values: Vec<_>| Value::List(values.into_iter().map(|value| Value::Text(text(value))).collect());
        let repeated = referrer.repeated.into_iter().map(|(key, values)| (line.text(key), list(values)));
        members.push((Text::word("repeated"), Value::Object(repeated.collect())));
    }
    if let Some(key) = referrer.partial {
        members.push((Text::word("partial"), Value::Text(text(key))));
    }
    if referrer.ambiguous {
        members.push((Text::word("ambiguous"), truth()));
    }
    Value::Object(members)
}

fn truth<'a>() -> Value<'a> {
    Value::Json(Cow::Borrowed("true"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::Scope;
    use crate::family::Settings;
    use crate::notification::ObjectId;
    use crate::records::Around;

    /// The record as parsed, and whether it gave an event.
    fn read(bytes: &[u8], settings: &Settings) -> Option<(serde_json::Value, bool)> {
        let object = ObjectId::new("b", "logs/2024-02-12-08-00-00-0A1B2C3D4E5F6789");
        let context = Context::new(&FAMILY, &object, Scope::Object(&object), Some(1_707_724_800_000), "test");
        let context = context.with_settings(settings);
        let record = Record::new(0, bytes);
        let mut out = Vec::new();
        parsed(&context, &record, &mut out).ok()?;
        let mut events = 0;
        let decoded = decode(&context, &record, &mut |_| events += 1);
        Some((serde_json::from_slice(&out).unwrap(), decoded.is_ok() && events == 1))
    }

    #[test]
    fn a_record_is_written_as_its_source_names_it() {
        let line = "79a5 b [06/Feb/2019:00:00:38 +0000] - - R1 REST.GET.OBJECT a%253Db \"GET /a%3Db HTTP/1.1\" 200 - 113 - 7 007 \"https://audit.example.org/hadoop/1/op_open/s-1/?op=op_open&p1=x&pr=al\" \"S3Console/0.4\" - h= SigV4 C AuthHeader host TLSV1.2 - Yes - new";
        let (parsed, decoded) = read(line.as_bytes(), Settings::none()).unwrap();
        assert!(decoded);
        let expected = serde_json::json!({
            "bucket_owner": "79a5", "bucket": "b", "time": "06/Feb/2019:00:00:38 +0000", "remote_ip": null, "requester": null,
            "request_id": "R1", "operation": "REST.GET.OBJECT", "key": "a%253Db", "request_uri": "GET /a%3Db HTTP/1.1",
            "http_status": 200, "error_code": null, "bytes_sent": 113, "object_size": null, "total_time": 7,
            "turn_around_time": "007",
            "referrer": "https://audit.example.org/hadoop/1/op_open/s-1/?op=op_open&p1=x&pr=al",
            "user_agent": "S3Console/0.4", "version_id": null, "host_id": "h=", "signature_version": "SigV4",
            "cipher_suite": "C", "authentication_type": "AuthHeader", "host_header": "host", "tls_version": "TLSV1.2",
            "access_point_arn": null, "acl_required": "Yes", "extra": [null, "new"], "key_decoded": "a=b",
            "s3a": {"op": "op_open", "id": "s-1", "p1": "x", "pr": "al", "partial": "pr"},
        });
        assert_eq!(parsed, expected);
    }

    #[test]
    fn a_line_of_nothing_but_hyphens_is_a_record() {
        for line in [["-"; 24].join(" "), ["\"-\""; 24].join(" "), ["-"; 18].join(" ")] {
            assert!(read(line.as_bytes(), Settings::none()).is_some_and(|(_, decoded)| decoded), "{line}");
        }
    }

    #[test]
    fn a_line_of_spaces_is_no_record() {
        let Framing::Lines(role) = FAMILY.framing else { panic!("lines") };
        let roles = [b" \t".as_slice(), b"- -"].map(|line| role(line, &mut Around::alone()));
        assert_eq!(roles, [LineRole::Other, LineRole::Record]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_record_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes, Settings::none());
        }

        #[test]
        fn whatever_clients_send_the_record_is_an_event(
            uri in "[ -~]{0,30}", referrer in "[ -~]{0,30}", agent in "\\PC{0,30}", hadoop in any::<bool>(), broken in any::<bool>()
        ) {
            let referrer = if hadoop { format!("https://audit.example.org/hadoop/1/{referrer}&pr=x") } else { referrer };
            let line = format!(
                "79a5 b [06/Feb/2019:00:00:38 +0000] ip who R1 REST.GET.OBJECT a \"GET /?Signature=x&{uri}\" 200 - 1 2 3 4 \"{referrer}\" \"{agent}\" - h= SigV4 C AuthHeader host TLSv1.2 - -"
            );
            let mut bytes = line.into_bytes();
            if broken {
                bytes[0] = 0xff;
            }
            let settings = Settings { s3a_drop: vec!["pr".to_owned(), "op".to_owned()], ..Settings::default() };
            for settings in [Settings::none(), &settings] {
                prop_assert!(read(&bytes, settings).is_some_and(|(_, decoded)| decoded));
            }
        }
    }
}

//! A shipper's envelope is opened only where shippers put lines. Everything else in a log line is text that clients
//! sent.

use auditferry::testing::delta::RecordHash;
use auditferry::testing::event::{Encoded, Encoder, EncodingName, Options, Scope};
use auditferry::testing::family::{self, Context, Settings};
use auditferry::testing::notification::ObjectId;
use auditferry::testing::records::Record;
use auditferry::testing::records::lines::{Lines, Start};
use serde_json::{Value, json};

use super::container_logs::{event, read};
use super::support::wrappers::{CASES, value};

/// Every kind of record that shippers carry: its family, and a function that makes a record from a number.
fn kinds() -> impl Iterator<Item = (&'static str, fn(u32) -> String)> {
    CASES.iter().filter(|(name, ..)| *name != "s3_access").map(|(name, _, record)| (*name, *record))
}

/// Asserts that the line gives no event, whether it is skipped or refused.
fn assert_no_event(family: &str, line: &str) {
    let events: Vec<Value> = read(family, line.as_bytes()).records.into_iter().flatten().flatten().collect();
    assert!(events.is_empty(), "{family}: {line}\ngives {events:#?}");
}

fn labels(event: &Value) -> Vec<&str> {
    event["metadata"]["labels"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn a_record_that_a_client_sent_is_no_record() {
    for (family, record) in kinds() {
        let record = record(0);
        for line in [
            json!({"level": "info", "message": "Incoming request", "req": {"headers": {"user-agent": record}}}),
            json!({"message": "GET /x", "user_agent": record}),
            json!({"message": "GET /x", "request": {"body": record}}),
            json!({"message": "GET /x", "request": {"message": record, "event": record}}),
            json!({"msg": "GET /x", "http": {"request": {"body": {"content": record}}}}),
            json!({"host": "h", "stack": [record]}),
            json!({"Records": [{"userAgent": record}]}),
            json!({"logEvents": [{"id": "1", "message": "GET /x", "referrer": record}]}),
        ] {
            assert_no_event(family, &line.to_string());
            let Some(read) = value(&record) else { continue };
            let line = line.to_string().replace(&json!(record).to_string(), &read.to_string());
            assert_no_event(family, &line);
        }
    }
}

/// Under the name `log`, a client's record would pass for a container's line.
#[test]
fn nothing_in_a_line_of_the_products_own_is_a_record() {
    let own = [
        ("immuta", json!({"level": "info", "message": "Incoming request", "timestamp": "2024-01-15T08:00:00Z"})),
        ("lakefs", json!({"level": "info", "msg": "HTTP call", "time": "2024-01-15T08:00:00Z"})),
        ("ydb", json!({"@timestamp": "2024-01-15T08:00:00Z", "@log_type": "debug"})),
        ("ydb", json!({"priority": "ERROR", "component": "BG_TASKS", "host": "h"})),
    ];
    for (family, record) in kinds() {
        for (_, own) in own.iter().filter(|(name, _)| *name == family) {
            for member in ["body", "event", "log", "data", "full_message", "original"] {
                let mut line = own.clone();
                line[member] = json!(record(0));
                assert_no_event(family, &line.to_string());
                assert_no_event(family, &json!({"Records": [line]}).to_string());
                assert_no_event(family, &json!({"log": format!("{line}\n"), "stream": "stdout"}).to_string());
                if let Some(read) = value(&record(0)) {
                    line[member] = read;
                    assert_no_event(family, &line.to_string());
                }
            }
        }
    }
    assert_no_event("immuta", &json!({"level": "info", "message": CASES[3].2(0)}).to_string());
}

#[test]
fn a_record_stands_as_text_or_object_where_shippers_put_it() {
    let members = [
        "@message",
        "MESSAGE",
        "_raw",
        "_source",
        "attributes",
        "body",
        "data",
        "event",
        "full_message",
        "json",
        "jsonPayload",
        "log_processed",
        "message",
        "original",
        "parsed",
        "payload",
        "textPayload",
    ];
    for (family, record) in kinds() {
        let record = record(0);
        let bare = event(family, &record);
        let read = value(&record);
        for value in [Some(json!(record)), Some(json!(format!("{record}\n"))), read].into_iter().flatten() {
            let wrapped = members.map(|member| json!({"host": "h", member: value}));
            let otlp = json!({"logRecords": [{"timeUnixNano": "1", "body": {"stringValue": value}}]});
            let nested = [
                json!({"host": "h", "event": {"original": value}}),
                json!({"host": "h", "attributes": {"message": value}}),
                json!({"resourceLogs": [{"resource": {}, "scopeLogs": [otlp]}]}),
                json!({"Records": [{"message": value}]}),
            ];
            for line in wrapped.into_iter().chain(nested) {
                let event = event(family, &line.to_string());
                assert_eq!(event["api"], bare["api"], "{family}: {line}");
                assert_eq!(event["actor"], bare["actor"], "{family}: {line}");
                assert_eq!(event["time"], bare["time"], "{family}: {line}");
                let enveloped = labels(&event).into_iter().filter(|label| *label == "enveloped");
                assert_eq!(enveloped.count(), 1, "{family}: {line}\n{event:#}");
            }
        }
        assert!(!labels(&bare).contains(&"enveloped"), "{family}");
        let docker = json!({"log": format!("{record}\n"), "stream": "stdout", "time": "2024-01-15T08:00:00Z"});
        assert!(
            !labels(&event(family, &docker.to_string())).contains(&"enveloped"),
            "a runtime writes what it was given"
        );
        let shipped = json!({"log": format!("{record}\n"), "stream": "stdout", "kubernetes": {"pod": "p"}});
        assert!(labels(&event(family, &shipped.to_string())).contains(&"enveloped"), "anybody may write so");
    }
}

#[test]
fn a_record_stands_no_deeper_than_shippers_put_it() {
    for (family, record) in kinds() {
        for line in [
            json!({"event": {"data": {"message": record(0)}}}),
            json!({"event": {"kubernetes": {"message": record(0)}}}),
            json!({"message": {"Records": [{"data": {"body": record(0)}}]}}),
        ] {
            assert_no_event(family, &line.to_string());
        }
    }
}

#[test]
fn a_feed_names_further_members_that_hold_lines() {
    let settings = Settings { line_members: vec!["line".to_owned()], ..Settings::default() };
    for (family, record) in kinds() {
        let line = json!({"host": "h", "line": record(0)}).to_string();
        assert_no_event(family, &line);
        let object = ObjectId::new("logs", "k");
        let family = family::named(family).unwrap();
        let context = Context::new(family, &object, Scope::Object(&object), None, "test").with_settings(&settings);
        let framed = Lines::new(family.framing.role(false), 1 << 20, Start::Beginning);
        let mut framed = framed.with_members(&settings.line_members);
        let content = format!("{line}\n");
        let mut source = content.as_bytes();
        assert_eq!(framed.next_block(&mut source).unwrap().unwrap().len(), 1);
        let mut out = [Encoded::default()];
        let encoders = [Encoder::new(EncodingName::Ocsf, Options::default())];
        let hash = RecordHash::of(line.as_bytes());
        let record = Record::new(0, line.as_bytes());
        assert_eq!(family::encode_record(&context, &record, &hash, 0, &encoders, &mut out).unwrap(), 1);
    }
}

/// GELF has both the first words of a line and the whole line.
#[test]
fn a_member_that_was_cut_short_never_wins_over_the_whole() {
    for (family, record) in kinds() {
        let record = record(7);
        let bare = event(family, &record);
        for cut in [record.len() / 2, record.len() - 1] {
            for end in ["", "...", "\u{2026}"] {
                let short = format!("{}{end}", &record[..cut]);
                for line in [
                    json!({"version": "1.1", "short_message": short, "full_message": record}),
                    json!({"message": short, "event": {"original": record}}),
                    json!({"_raw": record, "message": short}),
                ] {
                    let found = event(family, &line.to_string());
                    assert_eq!(
                        found["metadata"]["original_event_uid"], bare["metadata"]["original_event_uid"],
                        "{line}"
                    );
                    assert_eq!(found["metadata"]["correlation_uid"], bare["metadata"]["correlation_uid"], "{line}");
                    let around = found["unmapped"]["envelope"].to_string();
                    assert!(!around.contains("kim@example.org"), "the beginning says nothing more: {around}");
                }
            }
        }
    }
}

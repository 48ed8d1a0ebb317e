//! Wrappers in which shippers put several records: each record is an event with an id of its own.

use std::collections::HashSet;

use auditferry::testing::delta::RecordHash;
use auditferry::testing::event::{Encoded, Encoder, EncodingName, EventId, Options, Scope};
use auditferry::testing::family::{self, Action, Context, Family};
use auditferry::testing::notification::ObjectId;
use auditferry::testing::records::Record;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::container_logs::{event, read};
use super::redaction::{Key, leaving, records_of, text_of, uids};
use super::support::wrappers::{CASES, immuta, lines_of, s3_access, value};

/// The events of one line, and their ids.
fn events_of(family: &'static Family, line: &str) -> (Vec<Value>, Vec<EventId>) {
    let object = ObjectId::new("b", "k");
    let context = Context::new(family, &object, Scope::Object(&object), Some(1_705_305_600_000), "test");
    let encoders = [EncodingName::Ocsf, EncodingName::Raw]
        .map(|name| Encoder::new(name, Options { raw_data: true, ..Options::default() }));
    let mut out = [Encoded::default(), Encoded::default()];
    let record = Record::new(7, line.as_bytes());
    let events = family::encode_record(&context, &record, &RecordHash::of(line.as_bytes()), 7, &encoders, &mut out)
        .unwrap_or_else(|refusal| panic!("{refusal}: {line}"));
    assert_eq!(uids(&out[0]), uids(&out[1]), "each record gives one event, and one raw line");
    assert_eq!(events as usize, out[0].heads.len());
    let written = text_of(&out[0]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (written, uids(&out[0]))
}

/// The id's hash is SHA-256 of the line; for a further record, SHA-256 of that hash and the record's number, as the
/// families' pages say.
fn expected_id(family: &str, line: &str, number: u64) -> EventId {
    let object = ObjectId::new("b", "k");
    let whole: [u8; 32] = Sha256::digest(line.as_bytes()).into();
    let own = match number {
        0 => whole,
        _ => Sha256::new().chain_update(whole).chain_update(number.to_be_bytes()).finalize().into(),
    };
    EventId::new(family, Scope::Object(&object), &RecordHash(own), 7, 0)
}

#[test]
fn several_records_in_one_line_are_several_events_with_ids_of_their_own() {
    let mut judged = 0;
    for (name, _, record) in CASES.iter().filter(|(name, ..)| *name != "s3_access") {
        let family = family::named(name).unwrap();
        let records = [0, 1, 2].map(record).to_vec();
        // Databricks does not log in a container.
        let of_containers = |wrapper: &str| *name != "databricks" || wrapper != "container in pieces";
        for (wrapper, line) in lines_of(&records).into_iter().filter(|(wrapper, _)| of_containers(wrapper)) {
            let found = records_of(family, line.as_bytes());
            assert_eq!(found, [line.as_bytes()], "{name} in {wrapper}: the line is one record of the object");
            let (events, ids) = events_of(family, &line);
            assert_eq!(events.len(), 3, "{name} in {wrapper}: {line}");
            for (number, event) in events.iter().enumerate() {
                let marks = [format!("rec-{number}"), format!("70{number}")];
                let own = [&event["metadata"]["original_event_uid"], &event["metadata"]["correlation_uid"]];
                let is_own = own.iter().any(|uid| uid.as_str().is_some_and(|uid| marks.iter().any(|mark| mark == uid)));
                assert!(is_own, "{name} in {wrapper}: event {number} is of another record: {event:#}");
                let shown = event["raw_data"].as_str().unwrap();
                let others = (0..3)
                    .filter(|other| *other != number)
                    .flat_map(|other| [format!("rec-{other}"), format!("70{other}")]);
                assert!(others.into_iter().all(|other| !shown.contains(&other)), "{name} in {wrapper}: {shown}");
                assert_eq!(ids[number], expected_id(name, &line, number as u64), "{name} in {wrapper}");
            }
            assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 3);
            judged += 1;
        }
    }
    assert!(judged > 100, "{judged}");
}

#[test]
fn a_record_that_a_shipper_tells_in_several_ways_is_one_event_with_the_id_of_its_line() {
    for (name, _, record) in CASES.iter().filter(|(name, ..)| *name != "s3_access") {
        let family = family::named(name).unwrap();
        let record = record(0);
        let read = value(&record).unwrap_or(Value::Null);
        let spelled = serde_json::to_string_pretty(&read).unwrap();
        let mut lines = vec![
            json!({"log": format!("{record}\n"), "stream": "stdout"}).to_string(),
            json!({"log": format!("{record}\n"), "stream": "stdout", "original": record}).to_string(),
            json!({"message": record, "copy": {"original": record}}).to_string(),
            json!({"message": record, "host": "h", "read": read}).to_string(),
        ];
        if !read.is_null() {
            lines.push(json!({"message": record, "log_processed": read}).to_string());
            lines.push(json!({"log": read, "text": spelled.replace('\n', "")}).to_string());
        }
        for line in lines {
            let (events, ids) = events_of(family, &line);
            assert_eq!((events.len(), ids[0]), (1, expected_id(name, &line, 0)), "{line}");
            assert_eq!(events[0]["raw_data"], line);
        }
    }
}

/// Equal elements of a list are two records, as two equal lines are.
#[test]
fn equal_records_in_a_list_are_told_apart() {
    let line = json!({"messages": [immuta(0), immuta(0)]}).to_string();
    let (events, ids) = events_of(family::named("immuta").unwrap(), &line);
    assert_eq!((events.len(), ids[0] == ids[1]), (2, false));
}

#[test]
fn what_stands_around_several_records_stands_beside_each_and_what_is_long_beside_the_first() {
    let wrapped = |pad: &str| {
        let events: Vec<Value> = (0..3).map(|number| json!({"id": number, "message": immuta(number)})).collect();
        json!({"logGroup": "g", "pad": pad, "logEvents": events}).to_string()
    };
    let family = family::named("immuta").unwrap();
    let (events, _) = events_of(family, &wrapped("short"));
    for (number, event) in events.iter().enumerate() {
        let around = json!({"logGroup": "g", "pad": "short", "logEvents": [{"id": number}]});
        assert_eq!(event["unmapped"]["envelope"], around);
    }
    let (events, _) = events_of(family, &wrapped(&"x".repeat(2000)));
    assert_eq!(events[0]["unmapped"]["envelope"]["logGroup"], "g");
    for (number, event) in events.iter().enumerate().skip(1) {
        assert_eq!(event["unmapped"]["envelope"], json!({"logEvents": [{"id": number}]}));
    }
}

#[test]
fn what_follows_an_object_on_its_line_is_asked_and_never_passed_over() {
    for (name, _, record) in CASES.iter().filter(|(name, ..)| *name != "s3_access") {
        let family = family::named(name).unwrap();
        let wrapped = |number| json!({"date": 1.5, "log": record(number)}).to_string();
        let torn = &wrapped(1)[..40];
        for line in [
            format!("{}garbage", wrapped(0)),
            format!("{}{torn}", wrapped(0)),
            format!("{{\"log\":\"starting\"}} garbage {}", wrapped(0)),
            format!("{{\"log\":\"starting\"}}{{\"a\":{}", wrapped(0)),
        ] {
            let read = read(name, line.as_bytes());
            assert!(read.records.iter().any(Result::is_err), "{name}: {} events of {line}", read.records.len());
        }
        assert_eq!(events_of(family, &format!("{}{{\"log\":\"stopping\"}}", wrapped(0))).0.len(), 1, "{name}");
    }
}

#[test]
fn one_record_that_cannot_be_read_keeps_the_others_of_its_line_from_leaving_in_part() {
    let family = family::named("immuta").unwrap();
    let line = json!({"messages": [immuta(0), "{\"recordType\":\"sqlQuery\",\"dateTime\"", immuta(2)]}).to_string();
    let out = leaving(family, line.as_bytes(), None);
    assert!(out.is_err());
}

#[test]
fn a_line_of_an_access_log_that_holds_the_beginning_of_another_is_refused() {
    let line = s3_access(0);
    for joined in [
        [&*line, &s3_access(1)].concat(),
        line.replace("agent\"", &format!("ag{}", s3_access(1))),
        line.replace("\"-\"", &format!("\"http{}", s3_access(1))),
    ] {
        assert!(read("s3_access", joined.as_bytes()).records[0].is_err(), "{joined}");
    }
    // A client may have sent a time alone.
    let time = line.replace("agent", "agent [12/May/2025:08:09:10 +0000] x");
    let found = event("s3_access", &time);
    assert!(found["metadata"]["labels"].as_array().unwrap().contains(&json!("ambiguous")));
}

#[test]
fn what_is_no_record_of_databricks_is_refused() {
    for line in [
        "{}",
        r#"{"sourceBucket":"a","version":"2016-11-30","files":[{"key":"x"}]}"#,
        r#"{"timestamp":1747037350123,"detail":{"serviceName":"x","actionName":"y"}}"#,
        r#"{"timestamp":1747037350123,"detail":["{\"a\":{\"serviceName\":\"x\"}}"]}"#,
    ] {
        assert!(read("databricks", line.as_bytes()).records[0].is_err(), "{line}");
    }
    for (family, line) in [
        // A record of CloudTrail.
        (
            "databricks",
            r#"{"eventVersion":"1.08","userIdentity":{"type":"IAMUser","userName":"x"},"eventTime":"2024-01-15T08:00:00Z","eventSource":"s3.amazonaws.com","eventName":"GetObject"}"#,
        ),
        // Records of a Delta log.
        ("databricks", r#"{"commitInfo":{"timestamp":1747037350123,"operation":"WRITE"}}"#),
        ("databricks", r#"{"add":{"path":"part-0.parquet","size":1,"modificationTime":1747037350123}}"#),
    ] {
        assert!(read(family, line.as_bytes()).records[0].is_err(), "{family}: {line}");
    }
    let some = event("databricks", r#"{"timestamp":1747037350,"userIdentity":{"email":"a@b.c"}}"#);
    assert_eq!((&some["time"], &some["actor"]["user"]["name"]), (&json!(1_747_037_350_000_i64), &json!("a@b.c")));
}

#[test]
fn a_record_that_says_neither_what_was_done_nor_who_did_it_is_refused() {
    for (family, line) in [
        ("databricks", r#"{"timestamp":1747037350123}"#),
        ("databricks", r#"{"timestamp":1747037350123,"version":"2.0","userIdentity":{},"workspaceId":"1"}"#),
        ("lakefs", r#"{"log_audit":true}"#),
        ("lakefs", r#"{"log_audit":true,"time":"2024-01-15T08:00:00Z","level":"info"}"#),
        ("immuta", r#"{"level":"audit"}"#),
        ("immuta", r#"{"level":"audit","timestamp":1747037350123,"id":"1"}"#),
        ("ydb", r#"{"@log_type":"audit"}"#),
        ("ydb", r#"2024-01-15T08:00:00Z: {"@log_type":"audit","tx_id":"1"}"#),
    ] {
        let records = read(family, line.as_bytes()).records;
        let [Err(refusal)] = &records[..] else { panic!("{family}: {line}") };
        assert!(refusal.to_string().contains("neither what was done nor who did it"), "{family}: {refusal}");
    }
    for (family, line) in [
        ("databricks", r#"{"timestamp":1747037350123,"sourceIPAddress":"192.0.2.1"}"#),
        ("lakefs", r#"{"log_audit":true,"method":"GET","path":"/api/v1/x"}"#),
        ("immuta", r#"{"level":"audit","userId":"kim"}"#),
        ("ydb", r#"{"@log_type":"audit","subject":"kim"}"#),
    ] {
        event(family, line);
    }
}

/// A record stays a record, even if its only value is redacted.
#[test]
fn a_record_that_says_nothing_once_it_is_redacted_leaves() {
    let key = Key::new();
    for (family, line, path) in [
        ("databricks", r#"{"timestamp":1747037350123,"userIdentity":{"email":"a@b.c"}}"#, "userIdentity.email"),
        ("lakefs", r#"{"log_audit":true,"user":"kim"}"#, "user"),
        ("immuta", r#"{"level":"audit","userId":"kim"}"#, "userId"),
        ("ydb", r#"{"@log_type":"audit","subject":"kim"}"#, "subject"),
    ] {
        let config = key.config(Action::Drop, &[path]);
        let out = leaving(family::named(family).unwrap(), line.as_bytes(), Some(&config)).unwrap();
        assert_eq!(uids(&out[0]).len(), 1, "{family}");
    }
}

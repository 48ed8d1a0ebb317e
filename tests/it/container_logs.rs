//! The events of Immuta's and YDB's logs, as products, container runtimes and shippers write them: mixed with other
//! lines, wrapped, cut in pieces.

use std::sync::LazyLock;

use auditferry::testing::delta::RecordHash;
use auditferry::testing::event::{Encoded, Encoder, EncodingName, Mapping, Options, Scope};
use auditferry::testing::family::{self, Context, Refusal};
use auditferry::testing::notification::ObjectId;
use auditferry::testing::records::lines::{Item, Lines, Start};
use serde_json::{Value, json};

use super::columns::assert_row_without_secret;
use super::support::ocsf::Schema;

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::of_version("1.8.0"));

/// The result of reading a file: the events, or the decode error, of each record; `others` counts lines that are no
/// record.
pub struct Read {
    pub records: Vec<Result<Vec<Value>, Refusal>>,
    pub parsed: Vec<Result<Value, Refusal>>,
    pub others: u64,
}

pub fn read(family: &str, content: &[u8]) -> Read {
    let object = ObjectId::new("logs", "2024/audit.log");
    let family = family::named(family).unwrap();
    let context = Context::new(family, &object, Scope::Object(&object), Some(1_705_305_600_000), "test");
    let options = Options { raw_data: true, ..Options::default() };
    let encoders = [Encoder::new(EncodingName::Ocsf, options)];
    let mut lines = Lines::new(family.framing.role(false), 1 << 20, Start::Beginning);
    let mut source = content;
    let mut read = Read { records: Vec::new(), parsed: Vec::new(), others: 0 };
    while let Some(block) = lines.next_block(&mut source).unwrap() {
        read.others += block.others;
        for item in block.items() {
            let (Item::Whole { record, .. } | Item::Unended { record, .. }) = item else { panic!("too long") };
            let mut out = [Encoded::default()];
            let hash = RecordHash::of(record.bytes);
            let events = family::encode_record(&context, &record, &hash, record.ordinal, &encoders, &mut out);
            let text = String::from_utf8(out[0].bytes.clone()).unwrap();
            SCHEMA.assert_valid(text.lines());
            assert_eq!(events.as_ref().map_or(0, |count| *count as usize), text.lines().count());
            read.records.push(events.map(|_| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()));
            let mut parsed = Vec::new();
            let written = (family.parsed)(&context, &record, &mut parsed);
            read.parsed.push(written.map(|()| serde_json::from_slice(&parsed).unwrap()));
        }
    }
    read
}

fn events(family: &str, content: &[u8]) -> Vec<Value> {
    read(family, content).records.into_iter().flat_map(Result::unwrap).collect()
}

pub fn event(family: &str, line: &str) -> Value {
    let mut events = events(family, line.as_bytes());
    assert_eq!(events.len(), 1, "{line}");
    events.remove(0)
}

pub fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Asserts that `found` has every value of `expected`. Objects may have more members; lists must be equally long.
fn assert_says(found: &Value, expected: &Value, place: &str) {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            for (key, expected) in expected {
                let found = found.get(key).unwrap_or(&Value::Null);
                assert_says(found, expected, &format!("{place}.{key}"));
            }
        }
        (Value::Array(found), Value::Array(expected)) => {
            assert_eq!(found.len(), expected.len(), "{place}: {found:?}");
            for (found, expected) in found.iter().zip(expected) {
                assert_says(found, expected, place);
            }
        }
        _ => assert_eq!(found, expected, "{place}"),
    }
}

fn assert_fixture(family: &str, name: &str) {
    let found = read(family, &fixture(&format!("{family}/{name}.log")));
    let found: Vec<Value> = found.records.into_iter().flat_map(Result::unwrap).collect();
    let expected = String::from_utf8(fixture(&format!("{family}/{name}.events.jsonl"))).unwrap();
    for (number, (found, expected)) in found.iter().zip(expected.lines()).enumerate() {
        assert_says(found, &serde_json::from_str(expected).unwrap(), &format!("event {number}"));
        assert!(!found.to_string().contains("s3cr3t"), "{found:#}");
    }
    assert_eq!(found.len(), expected.lines().count());
}

#[test]
fn immuta_records_become_the_events_that_the_documents_say() {
    assert_fixture("immuta", "mixed");
}

#[test]
fn ydb_lines_of_the_common_log_become_one_event_for_each_operation_and_access_entry() {
    assert_fixture("ydb", "common");
}

#[test]
fn ydb_records_of_the_audit_stream_become_the_events_that_the_documents_say() {
    assert_fixture("ydb", "stream");
}

#[test]
fn lines_that_are_no_audit_record_are_counted_and_never_refused() {
    assert_eq!(read("immuta", &fixture("immuta/mixed.log")).others, 4);
    assert_eq!(read("ydb", &fixture("ydb/common.log")).others, 2);
    assert_eq!(read("ydb", &fixture("ydb/stream.log")).others, 3);
    let other = b"plain\n{\n{\"a\":1}\n[1]\n{\"message\":\"Response Sent twice\"}\n{\"broken\": \n\xff\xfe\n{\"component\":\"x\"}\n";
    for family in ["immuta", "ydb"] {
        let read = read(family, other);
        assert!(read.records.is_empty() && read.others == 8, "{family}");
    }
}

#[test]
fn a_record_that_breaks_off_is_refused_and_its_neighbours_are_not() {
    let immuta = br#"{"recordType":"sqlQuery","dateTime":16285
{"dateTime":1628524947022,"profileId":2,"recordTy
{"recordType":"sqlQuery","dateTime":1628524947022}
"#;
    let found = read("immuta", immuta).records;
    assert!(found[0].is_err() && found[1].is_err() && found[2].is_ok());
    let ydb = br#"2022-08-03T22:41:43.1Z node 1 :FLAT_TX_SCHEMESHARD NOTICE: AUDIT: txId: 1, subject: a, sta
2022-08-03T22:41:43.1Z: {"component":"x","operation":"y
2022-08-03T22:41:43.1Z: {"component":"x","operation":"y"}
"#;
    let found = read("ydb", ydb).records;
    assert!(found[0].is_err() && found[1].is_err() && found[2].is_ok());
}

/// The line as Docker's JSON file, a Kubernetes runtime (CRI) and two shippers wrap it, each with the wrapper's name.
pub fn wrapped(line: &str) -> Vec<(&'static str, String)> {
    let docker = json!({"log": format!("{line}\n"), "stream": "stdout", "time": "2024-01-15T08:00:00.5Z"});
    vec![
        ("docker", format!("{docker}\n")),
        ("cri", format!("2024-01-15T08:00:00.500000000Z stdout F {line}\n")),
        ("shipper", format!("{}\n", json!({"message": line, "host": "h"}))),
        ("nested", format!("{}\n", json!({"host": "h", "event": {"original": format!("{line}\n")}}))),
    ]
}

#[test]
fn a_wrapped_line_is_the_same_record_and_what_stood_around_it_is_kept() {
    let cases = [("immuta", fixture("immuta/mixed.log")), ("ydb", fixture("ydb/common.log"))];
    for (family, lines) in cases {
        let lines = String::from_utf8(lines).unwrap();
        for line in lines.lines() {
            let bare = read(family, format!("{line}\n").as_bytes());
            for (wrapper, content) in wrapped(line) {
                let read = read(family, content.as_bytes());
                assert_eq!(read.others, bare.others, "{wrapper}: {line}");
                assert_eq!(read.parsed, bare.parsed, "{wrapper}: {line}");
                let around = if wrapper == "docker" || wrapper == "cri" { "container" } else { "envelope" };
                for (event, at) in read.records.into_iter().flat_map(|events| events.unwrap().into_iter().zip(0..)) {
                    assert_eq!(event["unmapped"][around].is_object(), at == 0, "{event:#}");
                    assert!(!event.to_string().contains("s3cr3t"), "{wrapper}: {event:#}");
                }
            }
        }
    }
}

#[test]
fn the_pieces_of_a_cut_line_are_put_together() {
    let query = format!("SELECT '\u{e9}{}'", "x".repeat(40_000));
    let line = json!({"dateTime": 1_628_524_947_022_i64, "query": query, "recordType": "sqlQuery"}).to_string();
    let mut cri = Vec::new();
    let pieces: Vec<&[u8]> = line.as_bytes().chunks(8_191).collect();
    for (number, piece) in pieces.iter().enumerate() {
        let tag = if number + 1 == pieces.len() { "F" } else { "P" };
        cri.extend_from_slice(format!("2024-01-15T08:00:00.{number}Z stdout {tag} ").as_bytes());
        cri.extend_from_slice(piece);
        cri.push(b'\n');
    }
    let ascii = line.replace('\u{e9}', "e");
    let docker: String = ascii
        .as_bytes()
        .chunks(16_384)
        .map(|piece| {
            let end = if piece.len() == 16_384 { "" } else { "\n" };
            let log = format!("{}{end}", std::str::from_utf8(piece).unwrap());
            format!("{}\n", json!({"log": log, "stream": "stdout", "time": "2024-01-15T08:00:00Z"}))
        })
        .collect();
    let other = "2024-01-15T08:00:01Z stdout F not an audit record\n";
    for content in [[cri.as_slice(), other.as_bytes()].concat(), docker.into_bytes()] {
        let read = read("immuta", &content);
        assert_eq!(read.records.len(), 1);
        let found = read.parsed[0].as_ref().unwrap();
        assert_eq!(found["query"].as_str().unwrap().len(), query.len() - usize::from(!content.starts_with(b"2")));
    }
}

#[test]
fn a_line_whose_last_piece_is_missing_is_refused() {
    let content = b"2024-01-15T08:00:00Z stdout P {\"recordType\":\"x\",\n2024-01-15T08:00:00Z stderr F oops\n2024-01-15T08:00:00Z stdout F {\"recordType\":\"sqlQuery\",\"dateTime\":1628524947022}\n";
    let read = read("immuta", content);
    let reason = read.records[0].as_ref().unwrap_err().to_string();
    assert_eq!(reason, "the container runtime cut the line, and its rest does not follow");
    assert!(read.records[1].is_ok());
}

#[test]
fn a_record_of_several_lines_is_one_record_in_a_container_too() {
    let bare = fixture("ydb/stream.log");
    let text = String::from_utf8(bare.clone()).unwrap();
    let cri: String = text.lines().map(|line| format!("2024-01-15T08:00:00Z stderr F {line}\n")).collect();
    let docker: String =
        text.lines().map(|line| format!("{}\n", json!({"log": format!("{line}\n"), "stream": "stderr"}))).collect();
    let bare = read("ydb", &bare);
    for content in [cri, docker] {
        let read = read("ydb", content.as_bytes());
        assert_eq!(read.parsed, bare.parsed);
        assert_eq!(read.others, bare.others);
    }
}

#[test]
fn raw_data_shows_the_record_and_no_secret() {
    let line = r#"{"recordType":"apiKey","dateTime":1628524947022,"record":{"keyAction":"get","secret":"s3cr3t"}}"#;
    let masked = line.replace("s3cr3t", "***");
    assert_eq!(event("immuta", line)["raw_data"], masked);
    assert_eq!(
        event("immuta", &format!("2024-01-15T08:00:00Z stdout F {line}"))["raw_data"],
        format!("2024-01-15T08:00:00Z stdout F {masked}")
    );
    let docker = json!({"log": format!("{line}\n"), "stream": "stdout"}).to_string();
    assert_eq!(event("immuta", &docker)["raw_data"], docker.replace("s3cr3t", "***"));
    let harmless = json!({"log": line.replace("secret", "word"), "stream": "stdout"}).to_string();
    assert_eq!(event("immuta", &harmless)["raw_data"], harmless);
}

#[test]
fn bytes_that_are_no_text_keep_their_value_in_hexadecimal() {
    let line = b"2022-08-03T22:41:43.1Z node 1 :FLAT_TX_SCHEMESHARD NOTICE: AUDIT: txId: 1, subject: \xc3\xa9, status: StatusAccepted, operation: DROP TABLE, path: /R/\xff\xfe\n";
    let found = events("ydb", line);
    assert_eq!(found[0]["actor"]["user"]["name"], "\u{e9}");
    assert_eq!(found[0]["table"]["name"], "2F522FFFFE");
}

#[test]
fn a_record_without_a_time_has_the_runtimes_or_the_objects() {
    let line = r#"{"recordType":"sqlQuery"}"#;
    let found = event("immuta", line);
    assert_eq!(
        (&found["time"], &found["metadata"]["labels"]),
        (&json!(1_705_305_600_000_i64), &json!(["time_inferred"]))
    );
    let found = event("immuta", &format!("2024-01-15T09:00:00Z stdout F {line}"));
    assert_eq!(found["time"], 1_705_309_200_000_i64);
}

#[test]
fn a_query_that_immuta_cut_off_is_flagged() {
    for (length, flagged) in [(2047, Value::Null), (2048, json!(true)), (2049, Value::Null)] {
        let line = json!({"recordType": "nativeQuery", "dateTime": 1_628_524_947_022_i64, "query": "x".repeat(length)});
        assert_eq!(event("immuta", &line.to_string())["metadata"]["is_truncated"], flagged, "{length}");
    }
}

/// An action that matches the selector.
fn named(selector: &str) -> String {
    match selector.strip_prefix('<').and_then(|open| open.split_once(':')) {
        Some((_, verbs)) => format!("{}Zz", verbs.split([',', '>']).next().unwrap()),
        None => selector.replace('*', "zz"),
    }
}

/// A record that matches the row's selector and has every field that the row names.
fn immuta_record(selector: &str, row: usize) -> Option<String> {
    let (scope, rest) = selector.split_once('/')?;
    let time = 1_628_524_947_000 + row;
    if scope != "audit" {
        let message = if scope == "response" { "Response Sent" } else { "Error Response Sent" };
        let method = rest.replace('*', "PURGE");
        return Some(json!({"timestamp": "2021-08-09T16:02:27Z", "message": message, "method": method, "path": "/x", "statusCode": 200}).to_string());
    }
    let (action, conditions) = rest.split_once('[').unwrap_or((rest, ""));
    let action = named(action);
    let mut record = json!({
        "sqlUser": "s", "accessedId": 5, "accessedUserId": "a@b.c", "accessedGroupId": 6, "keyId": 3, "blobId": "b",
        "projectName": "p", "purposeName": "p", "policyName": "p", "queryId": "q", "scriptId": 1, "kernelId": 2,
    });
    for condition in conditions.trim_end_matches(']').split(',').filter(|condition| !condition.is_empty()) {
        let (name, values) = condition.split_once('=')?;
        let name = match name {
            "state" => "dataSourceSubscriptionState",
            "type" => "accessedIdType",
            own => own,
        };
        record[name] = json!(values.split('|').next()?);
    }
    Some(json!({"dateTime": time, "component": "policy", "userId": "u", "dataSource": "d", "recordType": action, "record": record}).to_string())
}

#[test]
fn every_row_of_immuta_is_reached_in_its_class() {
    let rows = Mapping::built_in().family("immuta").unwrap();
    for (number, row) in rows.iter().enumerate() {
        let line = immuta_record(row.selector, number).unwrap();
        let found = event("immuta", &line);
        assert_eq!(found["class_uid"], row.activity.class.uid(), "{}: {found:#}", row.selector);
        assert_eq!(found["activity_id"], row.activity.id, "{}: {found:#}", row.selector);
    }
}

#[test]
fn every_row_of_ydb_is_reached_in_its_class() {
    let rows = Mapping::built_in().family("ydb").unwrap();
    for row in rows.iter() {
        let (operation, fact) = row.selector.split_once('[').unwrap_or((row.selector, ""));
        let access = match fact {
            "add access]" => ", add access: +R:a@b",
            "remove access]" => ", remove access: +R:a@b",
            "set owner]" => ", set owner: a@b",
            _ => "",
        };
        let name = named(operation);
        let line = format!(
            "2022-08-03T22:41:43.1Z node 1 :FLAT_TX_SCHEMESHARD NOTICE: AUDIT: txId: 1, database: /R, subject: a, status: StatusAccepted, operation: {name}, path: /R/t{access}, protobuf request: AlterLogin {{ X {{ User: \"u\" Group: \"g\" }} }}\n"
        );
        let found = event("ydb", &line);
        assert_eq!(found["class_uid"], row.activity.class.uid(), "{}: {found:#}", row.selector);
        assert_eq!(found["activity_id"], row.activity.id, "{}: {found:#}", row.selector);
    }
}

/// A line of YDB's audit stream in its text form.
fn stream_line(fields: &str) -> String {
    format!("2025-11-03T18:07:40.000001Z: component=schemeshard, tx_id=281, {fields}")
}

#[test]
fn only_who_logs_on_is_taken_for_the_actor_by_the_login() {
    let created = "subject={none}, operation=CREATE USER, paths=[/Root], status=SUCCESS, login_user=bob";
    let event = event("ydb", &stream_line(created));
    assert_eq!(event["actor"]["user"]["name"], "unknown");
    assert_eq!(event["user"]["name"], "bob");
    let logged_on = "subject={none}, operation=LOGIN, status=SUCCESS, login_user=bob";
    assert_eq!(self::event("ydb", &stream_line(logged_on))["actor"]["user"]["name"], "bob");
}

#[test]
fn a_method_is_known_in_whatever_case_it_stands() {
    let line = r#"{"id":"r1","timestamp":1705305601234,"message":"Response Sent","method":"get","path":"/x","statusCode":200}"#;
    let event = event("immuta", line);
    assert_eq!(event["http_request"]["http_method"], "GET");
    let event = self::event("ydb", &stream_line("operation=UPDATE, status=SUCCESS, method=post, url=/x"));
    assert_eq!(event["http_request"]["http_method"], "POST");
    assert!(event["unmapped"]["method"].is_null());
}

#[test]
fn what_an_event_has_no_place_for_of_a_request_is_kept() {
    let event = event("ydb", &stream_line("operation=UPDATE, status=SUCCESS, method=BREW, params=a=1"));
    assert_says(&event["unmapped"], &json!({"method": "BREW", "params": "a=1"}), "unmapped");
    let line = stream_line("operation=UPDATE, status=SUCCESS, method=PUT, url=/x, params=a=1");
    let event = self::event("ydb", &line);
    assert_eq!(event["http_request"]["url"], json!({"path": "/x", "query_string": "a=1"}));
    assert!(event["unmapped"].is_null(), "{event:#}");
}

#[test]
fn no_secret_leaves_in_whatever_notation_it_stands() {
    let immuta =
        |fields: &str| format!(r#"{{"id":"r1","timestamp":1705305601234,"message":"Response Sent",{fields}}}"#);
    for (family, line) in [
        ("immuta", immuta(r#""method":"get","path":"/x?token=hush&a=kept","query":{"token":"hush"}"#)),
        ("immuta", immuta(r#""apiKey":"hush","x-api-key":"hush","passphrase":"hush","a":"kept""#)),
        ("immuta", immuta(r#""credentials":{"a":"hush"},"access_key":"hush","account_key":"hush","accessKeyId":"kept""#)),
        ("immuta", immuta(r#""path":"/kept","body":"ALTER USER u PASSWORD \"hush\"""#)),
        ("ydb", stream_line("operation=GET, status=SUCCESS, method=GET, url=/x?token=hush, params=token=hush&a=kept")),
        ("ydb", stream_line("operation=GET, status=SUCCESS, params=a=kept&password=hush")),
        ("ydb", stream_line(r#"operation=ALTER USER, status=SUCCESS, query_text=PASSWORD "hush" kept"#)),
        ("ydb", stream_line("operation=ALTER USER, status=SUCCESS, query_text=PASSWORD E'hush' kept")),
        ("ydb", stream_line("operation=ALTER USER, status=SUCCESS, query_text=PASSWORD $$hush$$ kept")),
        (
            "ydb",
            r#"2025-11-03T18:07:40Z: {"component":"monitoring","operation":"GET","status":"SUCCESS","url":"/x","params":"token=hush&a=kept"}"#
                .to_owned(),
        ),
    ] {
        let event = event(family, &line);
        let written = event.to_string();
        assert!(!written.contains("hush"), "{line}\n{event:#}");
        assert!(event["raw_data"].as_str().unwrap().contains("kept"), "{line}\n{event:#}");
        assert!(event["raw_data"].as_str().unwrap().contains("***"), "{line}\n{event:#}");
        assert_row_without_secret(family, line.as_bytes(), "hush", "kept");
    }
}

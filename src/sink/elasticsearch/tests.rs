//! Documents, answers and keys.

use std::io::Read as _;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::batch::{Batch, BatchPart, Provenance};
use crate::event::{Class, Encoded, EventId, Head, Severity, Status};
use crate::notification::ObjectId;
use crate::object::Version;

/// 2024-01-15T08:30:00.123Z, as milliseconds since the epoch.
const TIME_MS: i64 = 1_705_307_400_123;

/// The id of event number `n`, as text.
fn id(n: u8) -> String {
    format!("{n:02x}000000-0000-0000-0000-000000000000")
}

/// A request with these lines as events, each dated one day after the line before.
fn request(lines: &[&str]) -> Request {
    let mut encoded = Encoded::default();
    for (line, n) in lines.iter().zip(0_u8..) {
        encoded.bytes.extend_from_slice(format!("{line}\n").as_bytes());
        encoded.ends.push(u32::try_from(encoded.bytes.len()).unwrap());
        let mut uid = EventId([0; 16]);
        uid.0[0] = n;
        encoded.heads.push(Head {
            uid,
            time_ms: TIME_MS + i64::from(n) * 86_400_000,
            place: u64::from(n),
            index: 0,
            class: Class::ApiActivity,
            severity: Severity::Informational,
            status: Status::Success,
            choice: 0,
        });
    }
    let version = Version { etag: "e".into(), version_id: None, last_modified_ms: Some(TIME_MS), size_bytes: 1 };
    let provenance = Provenance { feed: "f".into(), family: "s3_access", object: ObjectId::new("b", "k"), version };
    let part = BatchPart { provenance: Arc::new(provenance), piece: encoded.into() };
    let batch = Batch { id: "b".into(), seq: 1, parts: [part].into() };
    let all = 0..u32::try_from(lines.len()).unwrap();
    Request::of(&batch, all.into())
}

fn kind(table: &Value) -> ElasticsearchKind {
    let mut table = table.clone();
    let keys = table.as_object_mut().unwrap();
    keys.entry("url").or_insert(json!("https://es.example:9200"));
    if !keys.contains_key("data_stream") {
        keys.entry("index").or_insert(json!("audit-{date}"));
    }
    serde_json::from_value(table).unwrap()
}

fn text(kind: &ElasticsearchKind, lines: &[&str]) -> String {
    let body = kind.bulk.documents(&request(lines)).body;
    let mut text = String::new();
    match kind.bulk.compression.content_encoding() {
        Some(_) => flate2::read::GzDecoder::new(&*body).read_to_string(&mut text).map(drop).unwrap(),
        None => text = String::from_utf8(body.to_vec()).unwrap(),
    }
    text
}

#[test]
fn each_event_is_a_document_of_the_index_of_its_own_day_with_its_uid_as_its_id() {
    for compression in ["gzip", "none"] {
        let kind = kind(&json!({"compression": compression}));
        let lines = [
            r#"{"time":1,"nested":{"@timestamp":5},"text":"\"@timestamp\":\r\n"}"#,
            r#"{"@timestamp":"2024-01-16T08:30:00.123Z","event":{}}"#,
            r#"{"time":1,"@timestamp":7}"#,
            "{}",
        ];
        let expected = [
            r#"{"create":{"_index":"audit-2024.01.15","_id":"00000000-0000-0000-0000-000000000000"}}"#,
            r#"{"@timestamp":"2024-01-15T08:30:00.123Z","time":1,"nested":{"@timestamp":5},"text":"\"@timestamp\":\r\n"}"#,
            r#"{"create":{"_index":"audit-2024.01.16","_id":"01000000-0000-0000-0000-000000000000"}}"#,
            r#"{"@timestamp":"2024-01-16T08:30:00.123Z","event":{}}"#,
            // An event dated more than one day after its object was written goes into the index of the object's day.
            r#"{"create":{"_index":"audit-2024.01.15","_id":"02000000-0000-0000-0000-000000000000"}}"#,
            r#"{"time":1,"@timestamp":7}"#,
            r#"{"create":{"_index":"audit-2024.01.15","_id":"03000000-0000-0000-0000-000000000000"}}"#,
            r#"{"@timestamp":"2024-01-18T08:30:00.123Z"}"#,
        ];
        assert_eq!(text(&kind, &lines).split_terminator('\n').collect::<Vec<_>>(), expected);
        let body = || kind.bulk.documents(&request(&lines)).body;
        assert_eq!(body(), body(), "a retry has the same bytes");
    }
}

#[test]
fn a_data_stream_for_time_series_gets_no_ids() {
    let kind = kind(&json!({"data_stream": "logs-{family}", "ids": false, "compression": "none"}));
    let expected = "{\"create\":{\"_index\":\"logs-s3_access\"}}\n{\"@timestamp\":\"2024-01-15T08:30:00.123Z\"}\n";
    assert_eq!(text(&kind, &["{}"]), expected);
    assert!(!kind.flow().knows_repeats);
}

#[test]
fn what_is_no_json_object_is_refused_unsent() {
    let kind = kind(&json!({"compression": "none"}));
    let documents = kind.bulk.documents(&request(&["79a5 bucket [06/Feb/2019]", "{}", "", "[1]"]));
    assert_eq!(documents.sent.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1]);
    let answer = format!("{{\"items\":[{{\"create\":{{\"_id\":\"{}\",\"status\":201}}}}]}}", id(1));
    let Ok(Delivery::Partly { taken, refused, .. }) = kind.bulk.delivery(documents, answer.as_bytes()) else {
        panic!("not in part");
    };
    assert_eq!(taken.numbers().collect::<Vec<_>>(), [1]);
    assert_eq!(refused.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 2, 3]);
}

#[test]
fn nothing_around_an_event_is_longer_than_is_counted() {
    let name = "a".repeat(255);
    let kind = kind(&json!({"index": name, "compression": "none"}));
    let bytes = text(&kind, &[r#"{"a":1}"#]).len() - r#"{"a":1}"#.len() - 1;
    assert_eq!(bytes, bulk::ENVELOPE_BYTES_MAX as usize);
}

/// Reads an answer that gives these statuses to three documents. For a status of 0 the answer has no item.
fn delivery(statuses: [u16; 3]) -> Result<Delivery, DeliveryError> {
    let kind = kind(&json!({}));
    let items: Vec<Value> = statuses
        .iter()
        .zip(0_u8..)
        .filter(|(status, _)| **status > 0)
        .map(|(status, n)| {
            let kind = if *status == 409 { "version_conflict_engine_exception" } else { "some_exception" };
            let mut item = json!({"_index": "a", "_id": id(n), "status": status});
            if *status > 299 {
                item["error"] = json!({"type": kind, "reason": format!("about {n}"), "caused_by": {"type": "x"}});
            }
            json!({ "create": item })
        })
        .collect();
    let reply = json!({"took": 1, "errors": true, "items": items}).to_string();
    kind.bulk.delivery(kind.bulk.documents(&request(&["{}", "{}", "{}"])), reply.as_bytes())
}

#[test]
fn what_is_stored_is_kept_and_only_the_rest_is_sent_again() {
    for statuses in [[201, 201, 201], [409, 201, 409]] {
        assert!(matches!(delivery(statuses), Ok(Delivery::Taken(_))), "{statuses:?}");
    }
    for (statuses, expected_taken, expected_refused) in [
        ([201, 429, 409], &[0, 2][..], &[][..]),
        ([201, 400, 503], &[0], &[1]),
        ([400, 400, 400], &[], &[0, 1, 2]),
        ([404, 201, 201], &[1, 2], &[]),
        ([400, 404, 429], &[], &[0]),
    ] {
        let Ok(Delivery::Partly { taken, refused, after }) = delivery(statuses) else { panic!("{statuses:?}") };
        let refused: Vec<u32> = refused.into_iter().map(|(number, _)| number).collect();
        assert_eq!(
            (taken.numbers().collect::<Vec<_>>(), refused),
            (expected_taken.to_vec(), expected_refused.to_vec())
        );
        assert_eq!(after, None);
    }
}

#[test]
fn a_request_of_which_nothing_is_stored_fails_as_a_whole() {
    for (statuses, expected) in [
        ([429, 429, 503], "the sink is unavailable: some_exception: status 429: about 0"),
        ([404, 404, 404], "the sink needs mending: some_exception: status 404: about 0"),
        ([429, 403, 403], "the sink needs mending: some_exception: status 403: about 1"),
        ([201, 0, 201], "the sink is unavailable: the answer has 2 items for 3 documents"),
    ] {
        assert_eq!(delivery(statuses).unwrap_err().to_string(), expected);
    }
}

#[test]
fn an_answer_that_is_not_about_these_documents_is_no_success() {
    let kind = kind(&json!({}));
    let of = |reply: &str| kind.bulk.delivery(kind.bulk.documents(&request(&["{}"])), reply.as_bytes()).unwrap_err();
    let other = format!("{{\"items\":[{{\"create\":{{\"_id\":\"{}\",\"status\":201}}}}]}}", id(9));
    assert_eq!(of(&other).to_string(), "the sink is unavailable: the answer has other ids than the request");
    let without = r#"{"items":[{"create":{"status":201}}]}"#;
    assert!(matches!(of(without), DeliveryError::Unavailable { .. }));
    for reply in ["<html>welcome", "", "{}", r#"{"items":[{"index":{"_id":"1","status":201}}]}"#] {
        let error = of(reply).to_string();
        assert!(error.starts_with("the sink needs mending: the answer is none of _bulk"), "{error}");
    }
}

#[test]
fn a_key_that_is_not_valid_is_told() {
    for (table, key) in [
        (json!({"data_stream": "logs", "index": "a"}), "data_stream"),
        (json!({"accept_failure_store": true}), "accept_failure_store"),
        (json!({"compression": "zstd"}), "compression"),
        (json!({"request_bytes": 1}), "request_bytes"),
        (json!({"request_events": 0}), "request_events"),
        (json!({"sigv4": "es"}), "region"),
        (json!({"region": "eu-west-1"}), "region"),
        (json!({"identity": "x"}), "identity"),
        (json!({"sigv4": "es", "region": "r", "auth": {"bearer": {"token": "env:A"}}}), "sigv4"),
        (json!({"url": "http://es.example:9200"}), "url"),
    ] {
        let mut wrong = Vec::new();
        kind(&table).check(&mut |key, _| wrong.push(key.to_owned()));
        assert_eq!(wrong, [key], "{table}");
    }
    let mut wrong = Vec::new();
    let bare: ElasticsearchKind = serde_json::from_value(json!({})).unwrap();
    bare.check(&mut |key, message| wrong.push(format!("{key}: {message}")));
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    assert_eq!(wrong[0], "index: expected `index` or `data_stream`: where events go");
    let values: Vec<String> = (0..256).map(|n| n.to_string()).collect();
    let many = kind(&json!({"index": {"template": "a-{user.name}", "values": values}}));
    let mut wrong = Vec::new();
    many.check(&mut |key, message| wrong.push(format!("{key}: {message}")));
    assert_eq!(wrong, ["index: expected at most 255 `values`"]);
}

#[test]
fn aws_credentials_are_asked_for_where_requests_are_signed() {
    let signed = kind(&json!({"sigv4": "aoss", "region": "eu-west-1", "identity": "siem"}));
    assert_eq!(signed.aws(), Some(Aws { identity: Some("siem"), region: Some("eu-west-1") }));
    assert_eq!(kind(&json!({})).aws(), None);
    assert_eq!((Signing::Es.service(), Signing::Aoss.service()), ("es", "aoss"));
}

#[test]
fn an_index_by_the_events_day_knows_repeats_and_a_data_stream_forgets_them() {
    let flow = |table: Value| kind(&table).flow();
    assert!(flow(json!({})).knows_repeats && !flow(json!({"data_stream": "logs"})).knows_repeats);
    let request = flow(json!({"request_events": 7, "request_bytes": 20_000})).request;
    assert_eq!((request.events, request.bytes), (7, 20_000));
}

//! The envelope, the configuration, and what answers lead to.

use std::io::Read as _;

use serde_json::{Value, json};

use super::*;
use crate::batch::tests::batch;
use crate::transport::{Auth, Location};

const UID: &str = "00000000-0000-0000-0000-000000000000";

fn kind(table: &Value) -> HecKind {
    serde_json::from_value(table.clone()).unwrap()
}

fn hec(more: &Value) -> HecKind {
    let mut table = json!({"url": "https://splunk.example:8088", "token": "env:HEC"});
    table.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    kind(&table)
}

fn problems(kind: &HecKind) -> Vec<String> {
    let mut problems = Vec::new();
    kind.check(&mut |key, _| problems.push(key.to_owned()));
    problems
}

fn request(lines: &[&str]) -> Request {
    Request::of(&batch(&[lines]), Selection::from(0..u32::try_from(lines.len()).unwrap()))
}

fn text(kind: &HecKind, lines: &[&str]) -> String {
    let body = kind.profile.body(&request(lines));
    let mut text = String::new();
    match kind.profile.compression {
        Compression::Gzip => _ = flate2::read::GzDecoder::new(&*body).read_to_string(&mut text).unwrap(),
        _ => text = String::from_utf8(body.to_vec()).unwrap(),
    }
    text
}

#[test]
fn an_event_stands_in_its_envelope_with_its_time_first() {
    let plain = hec(&json!({}));
    assert_eq!(problems(&plain), [] as [&str; 0]);
    let expected = r#"{"time":0.000,"source":"auditferry:dbx","sourcetype":"ocsf:api_activity","fields":{"auditferry_uid":"UID","auditferry_batch":"b"},"event":{"a":1}}"#;
    assert_eq!(text(&plain, &[r#"{"a":1}"#]), expected.replace("UID", UID) + "\n");
    let named = json!({
        "index": "audit_{feed}", "sourcetype": "{family}:json", "source": "lake", "host": "a\"b\r\n", "compression": "none",
    });
    let named = hec(&named);
    assert_eq!(problems(&named), [] as [&str; 0]);
    let expected = r#"{"time":0.000,"host":"a\"b\r\n","source":"lake","sourcetype":"databricks:json","index":"audit_dbx","fields":{"auditferry_uid":"UID","auditferry_batch":"b"},"event":"plain"}"#;
    assert_eq!(text(&named, &["plain"]), expected.replace("UID", UID) + "\n");
    assert!(matches!(&named.service.auth, Some(Auth::Bearer(bearer)) if bearer.scheme == "Splunk"));
}

#[test]
fn no_text_of_an_event_breaks_out_of_its_envelope_and_a_retry_has_the_same_bytes() {
    let kind = hec(&json!({}));
    let hostile = ["\"}{\"event\":1", "a\r\u{1}b\u{2028}", "{\"a\":1},{\"b\":2}", "{\"time\":9}{\"index\":\"x\"}"];
    let text = text(&kind, &hostile);
    assert!(!text.contains(['\r', '\u{2028}']) && text.lines().count() == 4, "{text}");
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (event, hostile) in events.iter().zip(hostile) {
        assert_eq!(event["event"], hostile);
        assert_eq!(event.as_object().unwrap().len(), 5);
    }
    assert_eq!(kind.profile.body(&request(&hostile)), kind.profile.body(&request(&hostile)));
}

#[test]
fn no_request_is_larger_than_the_collector_takes() {
    let kind = hec(&json!({"request_bytes": 20_000, "compression": "none", "host": "h", "index": "main"}));
    let Flow { request: limits, window, acknowledged_within, knows_repeats, .. } = kind.flow();
    assert_eq!((limits.bytes, window, acknowledged_within.as_secs(), knows_repeats), (20_000, 10, 300, false));
    let lines: Vec<String> = (0..1000).map(|number| format!("{{\"n\":{number}}}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let batch = batch(&[&lines]);
    let cut = limits.cut(&batch, &Selection::from(0..1000));
    assert!(cut.len() > 1);
    for events in cut {
        let bytes = kind.profile.body(&Request::of(&batch, events)).len();
        assert!(bytes <= 20_000, "{bytes}");
    }
    assert_eq!(hec(&json!({"acknowledge": false})).flow().window, 4);
}

#[test]
fn a_key_that_is_not_valid_is_told() {
    let url = "https://splunk.example:8088/services/collector/event";
    let many: Vec<String> = (0..20).map(|value| format!("v{value}")).collect();
    let listed = |text: &str| json!({"template": text, "values": many});
    for (table, key) in [
        (json!({"url": url}), "url"),
        (json!({"acknowledged_within": "1s"}), "acknowledged_within"),
        (json!({"compression": "zstd"}), "compression"),
        (json!({"request_bytes": 9_999}), "request_bytes"),
        (json!({"auth": {"bearer": {"token": "env:T"}}}), "token"),
        (json!({"sourcetype": listed("{actor.user.name}"), "source": listed("{privileges}")}), "sourcetype"),
    ] {
        assert_eq!(problems(&hec(&table)), [key], "{table}");
    }
    assert_eq!(problems(&kind(&json!({"token": "env:T"}))), ["url"]);
    assert_eq!(problems(&kind(&json!({"url": "https://splunk.example:8088"}))), ["token"]);
    assert_eq!(hec(&json!({})).service.url, Some(Location::Url("https://splunk.example:8088".to_owned())));
    for table in [json!({"sourcetype": "a\"b"}), json!({"sourcetype": ""}), json!({"source": "{actor.user.name}"})] {
        let mut whole = json!({"url": "https://splunk.example:8088", "token": "env:T"});
        whole.as_object_mut().unwrap().extend(table.as_object().unwrap().clone());
        assert!(serde_json::from_value::<HecKind>(whole).is_err(), "{table}");
    }
}

/// What this verdict means for a request of four events: the taken events, the refused ones with reasons, and the wait
/// in seconds.
fn parts(verdict: Verdict) -> (Vec<u32>, Vec<(u32, String)>, Option<u64>) {
    let request = Request::of(&batch(&[&["a", "b", "c", "d", "e"]]), Selection::from(1..5));
    match delivery(&request, verdict, "why".to_owned(), |_| panic!("not taken")).unwrap() {
        Delivery::Partly { taken, refused, after } => {
            let refused = refused.into_iter().map(|(event, reason)| (event, reason.into())).collect();
            (taken.numbers().collect(), refused, after.map(|after| after.as_secs()))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn events_before_the_one_that_a_collector_stopped_at_are_taken_and_the_tail_is_not() {
    assert_eq!(parts(Verdict::RefusedAt(2, "bad")), (vec![1, 2], vec![(3, "bad".to_owned())], Some(0)));
    assert_eq!(parts(Verdict::RefusedAt(0, "bad")), (vec![], vec![(1, "bad".to_owned())], Some(0)));
    let after = Some(Duration::from_secs(9));
    assert_eq!(parts(Verdict::MisconfiguredAt(2, "index")), (vec![1, 2], vec![], Some(0)));
    assert_eq!(parts(Verdict::AgainFrom { number: 3, after: Some(Duration::ZERO) }), (vec![1, 2, 3], vec![], None));
    assert_eq!(parts(Verdict::AgainFrom { number: 3, after }), (vec![1, 2, 3], vec![], Some(9)));
    let request = request(&["a", "b"]);
    let error = |verdict| delivery(&request, verdict, "why".to_owned(), |_| panic!("not taken")).unwrap_err();
    assert!(matches!(error(Verdict::RefusedAt(2, "bad")), DeliveryError::Refused(_)), "no such event");
    assert!(matches!(error(Verdict::AgainFrom { number: 2, after: None }), DeliveryError::Unavailable { .. }));
    assert!(matches!(error(Verdict::MisconfiguredAt(0, "index")), DeliveryError::Misconfigured(_)));
}

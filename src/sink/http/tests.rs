//! Bodies, envelopes and presets.

use std::io::Read as _;

use serde::de::DeserializeSeed as _;
use serde_json::{Value, json};

use super::*;
use crate::batch::tests::batch;
use crate::transport::{Auth, HeaderAuth, Location};

const UID: &str = "00000000-0000-0000-0000-000000000000";

fn of(kind: &str, table: &Value) -> HttpKind {
    let text = table.to_string();
    let mut deserializer = serde_json::Deserializer::from_str(&text);
    match Preset::named(kind) {
        Some(preset) => preset.deserialize(&mut deserializer).unwrap(),
        None => serde::Deserialize::deserialize(&mut deserializer).unwrap(),
    }
}

fn http(table: &Value) -> HttpKind {
    let mut table = table.clone();
    table["url"] = json!("https://siem.example/in");
    of("http", &table)
}

/// The problems that `check` reports: keys and messages.
fn problems(kind: &HttpKind) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    kind.check(&mut |key, message| problems.push((key.to_owned(), message.to_owned())));
    problems
}

fn wrong(kind: &HttpKind) -> Vec<String> {
    problems(kind).into_iter().map(|(key, _)| key).collect()
}

fn body(kind: &HttpKind, lines: &[&str]) -> Body {
    let all = Selection::from(0..u32::try_from(lines.len()).unwrap());
    kind.profile.body(&Request::of(&batch(&[lines]), all))
}

fn text(kind: &HttpKind, lines: &[&str]) -> String {
    let body = body(kind, lines);
    let mut text = String::new();
    match kind.profile.compression {
        Compression::None => text = String::from_utf8(body.bytes.to_vec()).unwrap(),
        Compression::Gzip => {
            flate2::read::GzDecoder::new(&*body.bytes).read_to_string(&mut text).unwrap();
        }
        Compression::Zstd => text = String::from_utf8(zstd::decode_all(&*body.bytes).unwrap()).unwrap(),
    }
    text
}

#[test]
fn events_stand_in_a_body_as_the_format_has_it() {
    let lines = [r#"{"a":1}"#, r#"{"b":"x\ny"}"#];
    for (format, expected) in
        [("ndjson", "{\"a\":1}\n{\"b\":\"x\\ny\"}\n"), ("json_array", r#"[{"a":1},{"b":"x\ny"}]"#)]
    {
        for compression in ["none", "gzip", "zstd"] {
            let kind = http(&json!({"format": format, "compression": compression}));
            assert_eq!(text(&kind, &lines), expected, "{format} {compression}");
            assert_eq!(body(&kind, &lines).bytes, body(&kind, &lines).bytes, "a retry has the same bytes");
        }
    }
    let single = http(&json!({"format": "single"}));
    assert_eq!(text(&single, &lines[..1]), r#"{"a":1}"#);
    assert_eq!((single.flow().request.events, single.profile.format.media_type()), (1, "application/json"));
}

#[test]
fn what_is_no_json_stands_in_json_as_one_text() {
    let kind = http(&json!({"format": "json_array"}));
    let hostile = ["79a5 bucket \"GET /x\" \u{2028}", "{\"a\":1}]", "a\r\u{1}b", "{\"a\":1},{\"b\":2}"];
    let text = text(&kind, &hostile);
    assert!(!text.contains(['\r', '\n', '\u{2028}']), "{text}");
    let events: Vec<String> = serde_json::from_str(&text).unwrap();
    assert_eq!(events, hostile);
}

#[test]
fn a_request_is_cut_by_what_the_receiver_takes() {
    let flow = http(&json!({"request_bytes": 2000, "request_events": 7, "idempotent": true})).flow();
    assert_eq!((flow.request.bytes, flow.request.events, flow.knows_repeats), (2000, 7, true));
    assert!(!flow.is_serial());
    let flow = http(&json!({})).flow();
    assert_eq!((flow.request.bytes, flow.request.events, flow.knows_repeats), (1_000_000, 1000, false));
}

#[test]
fn a_key_that_is_not_valid_is_told() {
    assert_eq!(problems(&http(&json!({"status": {"taken": [409]}}))), []);
    for (table, key) in [
        (json!({"request_bytes": 1}), "request_bytes"),
        (json!({"request_events": 0}), "request_events"),
        (json!({"idempotency_header": "no header"}), "idempotency_header"),
        (json!({"idempotency_header": "", "idempotent": true}), "idempotent"),
        (json!({"status": {"taken": [409], "again": [409]}}), "status"),
        (json!({"tls": {"cert": "/c.pem"}}), "tls"),
        (json!({"timeout": "1h"}), "timeout"),
        (json!({"proxy": "ftp://proxy"}), "proxy"),
        (json!({"proxy_credentials": "env:PROXY"}), "proxy_credentials"),
    ] {
        assert_eq!(wrong(&http(&table)), [key], "{table}");
    }
    for (url, key) in [("http://siem.example/in", "url"), ("https://169.254.169.254/in", "url")] {
        assert_eq!(wrong(&of("http", &json!({"url": url}))), [key], "{url}");
    }
    let allowed = json!({"url": "http://169.254.1.1/in", "allow_plaintext": true, "allow_link_local": true});
    assert_eq!(problems(&of("http", &allowed)), []);
    assert_eq!(wrong(&of("http", &json!({}))), ["url"]);
}

#[test]
fn datadog_gets_an_array_of_logs_and_no_log_that_it_would_cut() {
    let table = json!({"site": "datadoghq.eu", "api_key": "env:DD", "tags": "env:prod,\"x\"", "service": "lake"});
    let kind = of("datadog", &table);
    assert_eq!(problems(&kind), []);
    let url = Location::Url("https://http-intake.logs.datadoghq.eu/api/v2/logs".to_owned());
    assert_eq!(kind.service.url, Some(url));
    let Some(Auth::Header(HeaderAuth { name, .. })) = &kind.service.auth else { panic!("{:?}", kind.service.auth) };
    assert_eq!(name.to_string(), "dd-api-key");
    let log = |event: Value| json!({"ddsource": "auditferry", "service": "lake", "ddtags": "env:prod,\"x\"", "auditferry_uid": UID, "event": event});
    let sent: Value = serde_json::from_str(&text(&kind, &[r#"{"a":1}"#, "plain"])).unwrap();
    assert_eq!(sent, json!([log(json!({"a": 1})), log(json!("plain"))]));

    let long = format!("\"{}\"", "x".repeat(1_000_000));
    let made = body(&kind, &["1", &long, "2"]);
    assert_eq!((made.sent.numbers().collect::<Vec<_>>(), made.too_long.len(), made.too_long[0].0), (vec![0, 2], 1, 1));
    assert!(made.too_long[0].1.starts_with("longer than 1000000 bytes: it has 1000"), "{:?}", made.too_long);
    let made = body(&kind, &[&long]);
    assert_eq!((made.sent.count(), made.too_long.len()), (0, 1));
    assert_eq!((kind.flow().request.bytes, kind.flow().request.events), (5_000_000, 1000));
}

#[test]
fn crowdstrike_gets_what_a_collector_of_splunk_gets() {
    let table = json!({"url": "https://ingest.example/services/collector", "token": "env:T", "sourcetype": "ocsf"});
    let kind = of("crowdstrike", &table);
    assert_eq!(problems(&kind), []);
    let text = text(&kind, &[r#"{"a":1}"#, "UID EVENT"]);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let event = |event: Value| json!({"time": 0.0, "sourcetype": "ocsf", "source": "auditferry", "fields": {"auditferry_uid": UID}, "event": event});
    assert_eq!(lines, [event(json!({"a": 1})), event(json!("UID EVENT"))]);
    assert!(text.starts_with("{\"time\":0.000,"), "{text}");
    assert!(matches!(&kind.service.auth, Some(Auth::Bearer(bearer)) if bearer.scheme == "Bearer"));
}

#[test]
fn sumo_and_panther_get_the_events_themselves() {
    let sumo = of("sumo", &json!({"url": "env:SUMO", "category": "audit/lake", "fields": "team=data"}));
    let auth = json!({"header": {"name": "X-Panther", "value": "env:PANTHER"}});
    let panther = of("panther", &json!({"url": "https://logs.example/http/1", "auth": auth}));
    for kind in [&sumo, &panther] {
        assert_eq!(problems(kind), []);
        assert_eq!(text(kind, &[r#"{"a":1}"#, "plain"]), "{\"a\":1}\nplain\n");
    }
    let mut expected = Headers::default();
    expected.set(&FieldName::from_static("x-sumo-category"), "audit/lake").unwrap();
    expected.set(&FieldName::from_static("x-sumo-fields"), "team=data").unwrap();
    assert_eq!(sumo.service.headers, expected);
    assert!(panther.flow().request.bytes < 1_000_000, "its limit counts the head too");
}

#[test]
fn a_preset_says_what_it_lacks_and_what_it_cannot_use() {
    for (kind, table, key) in [
        ("datadog", json!({"api_key": "env:DD"}), "site"),
        ("datadog", json!({"site": "evil.example/x?", "api_key": "env:DD"}), "site"),
        ("datadog", json!({"site": "datadoghq.eu", "url": "https://x.example", "api_key": "env:DD"}), "site"),
        ("datadog", json!({"site": "datadoghq.eu"}), "api_key"),
        ("datadog", json!({"site": "datadoghq.eu", "api_key": "env:DD", "attribute": "a\":1"}), "attribute"),
        ("sumo", json!({}), "url"),
        ("sumo", json!({"url": "env:SUMO", "category": "a\r\nX: y"}), "category"),
        ("crowdstrike", json!({"url": "https://x.example"}), "token"),
        ("panther", json!({}), "url"),
    ] {
        assert_eq!(wrong(&of(kind, &table)), [key], "{kind} {table}");
    }
    let text = r#"{"sites": "x"}"#;
    let error = PRESETS[0].deserialize(&mut serde_json::Deserializer::from_str(text)).unwrap_err().to_string();
    assert!(error.contains("unknown field `sites`") && error.contains("`site`"), "{error}");
}

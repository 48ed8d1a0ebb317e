//! No secret of a record leaves, whatever its family and its place in the record, except in a raw record without
//! masking.

use auditferry::testing::delta::RecordHash;
use auditferry::testing::event::{Encoded, Encoder, EncodingName, Options, Scope};
use auditferry::testing::family::{self, Context};
use auditferry::testing::notification::ObjectId;
use auditferry::testing::records::Record;
use serde_json::{Value, json};

/// The secret in the lines of the table, except where the secret is recognized by its own letters.
const SECRET: &str = "S3cr3t";

/// Pairs of lines: a text, and the text after masking.
const MASKED: &str = include_str!("../fixtures/secrets/masked.txt");

const HARMLESS: &str = include_str!("../fixtures/secrets/harmless.txt");

fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with("# "))
}

fn pairs() -> Vec<(&'static str, &'static str)> {
    let lines: Vec<&str> = lines(MASKED).collect();
    lines.chunks(2).map(|pair| (pair[0], pair[1])).collect()
}

/// Records of each family that have `text` in the fields that clients can write.
fn records(text: &str) -> Vec<(&'static str, String)> {
    let databricks = json!({
        "version": "2.0", "timestamp": 1_705_305_600_000_i64, "serviceName": "x", "actionName": "y",
        "userAgent": text, "requestParams": {"custom": text, "nested": json!({"a": text}).to_string()},
        "response": {"statusCode": 500, "errorMessage": text, "result": json!([text]).to_string()},
    });
    let lakefs = json!({
        "log_audit": true, "time": "2024-01-15T08:00:00Z", "operation_id": "get_object", "service_name": "s3_gateway",
        "path": format!("/{text}"), "client": text, "msg": text, "status_code": 200,
    });
    let immuta = json!({
        "recordType": "query", "dateTime": 1_705_305_600_000_i64, "userId": "m", "query": text, "record": {"custom": text},
        "failureReason": text,
    });
    let ydb = json!({
        "component": "schemeshard", "operation": "X", "subject": "m", "status": "SUCCESS", "query_text": text, "body": text,
        "reason": text,
    });
    let mut records = vec![
        ("databricks", databricks.to_string()),
        ("lakefs", lakefs.to_string()),
        ("immuta", immuta.to_string()),
        ("immuta", json!({"log": format!("{immuta}\n"), "stream": "stdout"}).to_string()),
        ("ydb", format!("2024-01-15T08:00:00.000000Z: {ydb}")),
        ("ydb", format!("2024-01-15T08:00:00.000000Z: component=grpc, operation=X, query_text={text}, status=SUCCESS")),
    ];
    if !text.contains('"') {
        records.push((
            "s3_access",
            format!(
                "79a5 b [06/Feb/2019:00:00:38 +0000] 192.0.2.3 - ABC REST.GET.OBJECT a \"GET /a HTTP/1.1\" 200 - 113 1718 10 9 \"{text}\" \"{text}\" - s9l= SigV4 ECDHE AuthHeader h TLSv1.2 - -"
            ),
        ));
    }
    records
}

fn encoded(family: &str, record: &str, encoder: Encoder) -> String {
    let object = ObjectId::new("b", "k");
    let context = Context::new(family::named(family).unwrap(), &object, Scope::Record, Some(1_705_305_600_000), "test");
    let record = Record::new(0, record.as_bytes());
    let mut out = [Encoded::default()];
    family::encode_record(&context, &record, &RecordHash::of(record.bytes), 0, &[encoder], &mut out)
        .unwrap_or_else(|refusal| panic!("{refusal:?}: {record:?}"));
    let [out] = out;
    String::from_utf8(out.bytes).unwrap()
}

fn with_record(name: EncodingName) -> Encoder {
    Encoder::new(name, Options { raw_data: true, ..Options::default() })
}

#[test]
fn a_secret_shows_in_no_family_and_no_encoding() {
    for (text, _) in pairs().into_iter().filter(|(text, left)| text.contains(SECRET) && !left.contains(SECRET)) {
        for (family, record) in records(text) {
            for name in [EncodingName::Ocsf, EncodingName::Ecs] {
                let event = encoded(family, &record, with_record(name));
                assert!(event.contains("***") && !event.contains(SECRET), "{family}: {text}\n{event}");
            }
        }
    }
}

#[test]
fn what_is_no_secret_stays_in_every_family() {
    for text in lines(HARMLESS) {
        for (family, record) in records(text) {
            let event: Value =
                serde_json::from_str(&encoded(family, &record, with_record(EncodingName::Ocsf))).unwrap();
            assert_eq!(event["raw_data"], record, "{family}");
        }
    }
}

#[test]
fn of_a_key_that_stands_twice_neither_secret_shows() {
    for params in [
        r#""requestParams":{"password":"S3cr3t","password":"S3cr3t2"}"#,
        r#""requestParams":{"password":"S3cr3t"},"requestParams":{"x":1}"#,
    ] {
        let record = format!(r#"{{"timestamp":1705305600000,"serviceName":"a","actionName":"b",{params}}}"#);
        let event = encoded("databricks", &record, with_record(EncodingName::Ocsf));
        assert!(event.contains("***") && !event.contains(SECRET), "{event}");
    }
}

/// A raw record is the source's text, and is masked only if the sink's options say so.
#[test]
fn a_raw_record_is_masked_only_where_it_is_asked_for() {
    for (family, record) in records("https://x/?token=S3cr3tV4lu3&a=b") {
        let raw = |mask_secrets| Encoder::new(EncodingName::Raw, Options { mask_secrets, ..Options::default() });
        assert_eq!(encoded(family, &record, raw(false)), format!("{record}\n"));
        let masked = encoded(family, &record, raw(true));
        assert_eq!(masked, format!("{}\n", record.replace("S3cr3tV4lu3", "***")));
    }
}

/// Each sink gets its own encoding with the same ids, though the record is decoded twice.
#[test]
fn a_raw_sink_and_another_have_the_same_record_each_in_its_way() {
    let (family, record) = records("token=S3cr3tV4lu3").remove(0);
    let object = ObjectId::new("b", "k");
    let context = Context::new(family::named(family).unwrap(), &object, Scope::Record, None, "test");
    let encoders = [with_record(EncodingName::Ocsf), Encoder::new(EncodingName::Raw, Options::default())];
    let mut out = [Encoded::default(), Encoded::default()];
    let hash = RecordHash::of(record.as_bytes());
    let events =
        family::encode_record(&context, &Record::new(0, record.as_bytes()), &hash, 0, &encoders, &mut out).unwrap();
    assert_eq!(events, 1);
    assert_eq!(out[0].heads.len(), 1);
    assert_eq!(out[0].heads[0].uid, out[1].heads[0].uid);
    assert!(!String::from_utf8_lossy(&out[0].bytes).contains(SECRET));
    assert_eq!(out[1].bytes, format!("{record}\n").into_bytes());
}

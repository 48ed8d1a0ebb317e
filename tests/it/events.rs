//! The events that records of each family become: the fixtures' events word for word, and all valid.

use auditferry::testing::delta::RecordHash;
use auditferry::testing::event::{Encoded, Encoder, EncodingName, Options, Scope};
use auditferry::testing::family::{self, Context, Refusal};
use auditferry::testing::notification::ObjectId;
use auditferry::testing::records::Record;
use serde_json::Value;

use super::support::ocsf::Schema;

const KEY: &str = "workspaceId=1234567890123456/date=2024-01-15/auditlogs_7.json";

/// 2024-01-15T08:00:00Z.
const LAST_MODIFIED_MS: i64 = 1_705_305_600_000;

/// The events of each line, encoded one by one. A repeated line has the next occurrence number.
fn encode(lines: &[&[u8]], options: Options) -> Vec<Result<String, Refusal>> {
    let object = ObjectId::new("audit-logs", KEY);
    let family = family::named("databricks").unwrap();
    let context = Context::new(family, &object, Scope::Object(&object), Some(LAST_MODIFIED_MS), "test");
    let encoders = [Encoder::new(EncodingName::Ocsf, options)];
    let encode = |(index, line): (usize, &&[u8])| {
        let occurrence = lines[..index].iter().filter(|before| before == &line).count() as u64;
        let record = Record::new(index as u64, line);
        let mut out = [Encoded { place: 40 + index as u64, ..Encoded::default() }];
        let hash = RecordHash::of(line);
        let events = family::encode_record(&context, &record, &hash, occurrence, &encoders, &mut out);
        let [encoded] = out;
        assert_eq!(encoded.ends.last().map_or(0, |end| *end as usize), encoded.bytes.len());
        assert_heads_are_of_their_lines(&encoded);
        assert!(encoded.heads.iter().zip(0..).all(|(head, at)| (head.place, head.index) == (40 + index as u64, at)));
        events.map(|_| String::from_utf8(encoded.bytes).unwrap())
    };
    lines.iter().enumerate().map(encode).collect()
}

/// Asserts that the heads beside encoded OCSF events agree with the events.
pub fn assert_heads_are_of_their_lines(encoded: &Encoded) {
    assert_eq!(encoded.heads.len(), encoded.ends.len());
    for (head, line) in encoded.heads.iter().zip(encoded.bytes.split_inclusive(|byte| *byte == b'\n')) {
        let event: Value = serde_json::from_slice(line).unwrap();
        assert_eq!(event["metadata"]["uid"], head.uid.to_string());
        assert_eq!(event["time"], head.time_ms);
        assert_eq!(event["class_uid"], head.class.uid(), "{event}");
        assert_eq!(event["status_id"], head.status as u8);
    }
}

fn event(line: &str, options: Options) -> Value {
    let text = encode(&[line.as_bytes()], options).remove(0).unwrap();
    Schema::of_version("1.8.0").assert_valid(text.lines());
    serde_json::from_str(&text).unwrap()
}

fn refusal(line: &[u8]) -> String {
    encode(&[line], Options::default()).remove(0).unwrap_err().to_string()
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn databricks_records_become_the_events_that_the_documents_say() {
    let input = fixture("databricks/auditlogs_7.json");
    let lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let expected = String::from_utf8(fixture("databricks/auditlogs_7.events.jsonl")).unwrap();
    let events: Vec<String> = encode(&lines, Options::default()).into_iter().map(Result::unwrap).collect();
    Schema::of_version("1.8.0").assert_valid(events.iter().map(|event| event.trim_end()));
    assert_eq!(events.len(), expected.lines().count());
    for ((event, expected), line) in events.iter().zip(expected.lines()).zip(&lines) {
        let (event, expected): (Value, Value) =
            (serde_json::from_str(event).unwrap(), serde_json::from_str(expected).unwrap());
        assert_eq!(event, expected, "\n{event:#}\n{}", String::from_utf8_lossy(line));
    }
}

#[test]
fn a_secret_shows_neither_in_an_event_nor_in_its_raw_data() {
    let line = r#"{"timestamp":1705305607000,"serviceName":"tokens","actionName":"createToken","requestParams":{"password":"s3cr3t","nested":{"client_secret":"s3cr3t","n":[{"token":"s3cr3t"}]}},"response":{"statusCode":200,"result":"{\"token_value\":\"s3cr3t\",\"ok\":1}"}}"#;
    let event = event(line, Options { raw_data: true, ..Options::default() });
    assert!(!event.to_string().contains("s3cr3t"), "{event:#}");
    let raw: Value = serde_json::from_str(event["raw_data"].as_str().unwrap()).unwrap();
    assert_eq!(raw["requestParams"]["nested"]["n"][0]["token"], "***");
    assert_eq!(raw["response"]["result"], r#"{"token_value":"***","ok":1}"#);
    assert_eq!(event["api"]["response"]["data"], raw["response"]["result"]);
}

#[test]
fn every_integer_stays_exact() {
    let line = r#"{"timestamp":1705305607000,"workspaceId":9223372036854775807,"serviceName":"x","actionName":"getThing","big":123456789012345678901234567890,"requestParams":{"n":9007199254740993,"e":1.0E+2}}"#;
    let text = encode(&[line.as_bytes()], Options::default()).remove(0).unwrap();
    for exact in [
        r#""tenant_uid":"9223372036854775807""#,
        r#""big":123456789012345678901234567890"#,
        r#""n":9007199254740993"#,
        r#""e":1.0E+2"#,
    ] {
        assert!(text.contains(exact), "{exact} in {text}");
    }
}

#[test]
fn a_record_that_is_no_json_object_is_refused_with_the_place_and_without_its_content() {
    assert_eq!(refusal(b"[1,2]"), "no JSON at byte 0");
    assert_eq!(refusal(b"{\"serviceName\":\"acc"), "the JSON ends too soon, at byte 19");
    assert_eq!(refusal(b"{\"a\":tru}"), "no JSON at byte 5");
    assert_eq!(refusal(b"{} x"), "something follows the JSON at byte 3");
    assert_eq!(refusal(b"{\"a\":01}"), "no JSON at byte 6");
    assert_eq!(refusal(b"{\"a\":\"\t\"}"), "a control character stands unescaped at byte 6");
    assert_eq!(refusal(b"{\"a\":\"\\x\"}"), "no JSON at byte 6");
    assert_eq!(refusal(b"{\"a\":\"\xff\"}"), "the record is no UTF-8");
}

#[test]
fn nothing_is_left_of_a_record_that_is_refused() {
    let object = ObjectId::new("audit-logs", "without/partitions.json");
    let family = family::named("databricks").unwrap();
    let context = Context::new(family, &object, Scope::Record, None, "test");
    let encoders = [EncodingName::Raw, EncodingName::Ocsf].map(|name| Encoder::new(name, Options::default()));
    let mut out = [Encoded::default(), Encoded::default()];
    let encode = |line: &str, out: &mut [Encoded]| {
        let record = Record::new(0, line.as_bytes());
        family::encode_record(&context, &record, &RecordHash::of(line.as_bytes()), 0, &encoders, out)
    };
    assert_eq!(encode("{\"timestamp\":1705305607000,\"serviceName\":\"x\"}", &mut out), Ok(1));
    let before = out.clone().map(|encoded| (encoded.bytes, encoded.ends, encoded.heads));
    assert!(encode("{\"timestamp\":1705305607000", &mut out).is_err());
    assert!(encode("{}", &mut out).is_err_and(|refusal| refusal.reason.contains("time")));
    assert_eq!(out.map(|encoded| (encoded.bytes, encoded.ends, encoded.heads)), before);
    assert_eq!(before[0].0, b"{\"timestamp\":1705305607000,\"serviceName\":\"x\"}\n");
}

#[test]
fn the_validator_takes_what_is_valid_and_refuses_what_is_not() {
    let schema = Schema::of_version("1.8.0");
    let verdicts = String::from_utf8(fixture("ocsf/verdicts.tsv")).unwrap();
    let mut judged = [0, 0];
    for line in verdicts.lines() {
        let (expected, event) = line.split_once('\t').unwrap();
        let faults = schema.faults(event);
        assert_eq!(faults.is_empty(), expected == "valid", "{faults:?}\n{event}");
        judged[usize::from(expected == "valid")] += 1;
    }
    assert!(judged[0] >= 25 && judged[1] >= 5, "{judged:?}");
}

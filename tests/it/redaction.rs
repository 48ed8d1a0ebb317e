//! A value that a feed redacts leaves in no encoding, whatever the record's family, form and wrapper.

use std::collections::BTreeSet;

use auditferry::testing::delta::RecordHash;
use auditferry::testing::event::{Encoded, Encoder, EncodingName, EventId, OcsfVersion, Options, Scope};
use auditferry::testing::family::{self, Action, Context, Family, Redaction, RedactionConfig, Refusal, Settings};
use auditferry::testing::notification::ObjectId;
use auditferry::testing::records::Record;
use auditferry::testing::records::lines::{Item, Lines, Start};
use auditferry::testing::secret::Reference;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::columns::whole_record;
use super::support::records::record;

const OBJECT_KEY: &str = "logs/a";

/// 2020-01-01T00:00:00Z.
const LAST_MODIFIED_MS: i64 = 1_577_836_800_000;

const HMAC_KEY: &str = "0123456789abcdef0123456789abcdef";

const FIXTURES: &[(&str, &str)] = &[
    ("databricks", "databricks/auditlogs_7.json"),
    ("lakefs", "lakefs/rows.jsonl"),
    ("lakefs", "lakefs/server.log"),
    ("s3_access", "s3_access/2024-02-12-08-00-00-0A1B2C3D4E5F6789"),
    ("immuta", "immuta/mixed.log"),
    ("ydb", "ydb/common.log"),
    ("ydb", "ydb/stream.log"),
];

/// Words that an event may have without having them from the record.
const OWN_WORDS: &[&str] = &["unknown", "rest_api", "s3_gateway", "audit", "error", "no subject", "{none}"];

/// The file with the HMAC key.
pub struct Key(tempfile::TempDir);

impl Key {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("key"), HMAC_KEY).unwrap();
        Self(directory)
    }

    pub fn config(&self, action: Action, paths: &[&str]) -> RedactionConfig {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let reference = format!("file:{}", self.0.path().join("key").display());
        let config =
            RedactionConfig { key: Some(Reference::try_from(reference).unwrap()), ..RedactionConfig::default() };
        match action {
            Action::Drop => RedactionConfig { drop: paths, ..config },
            Action::Hash => RedactionConfig { hash: paths, ..config },
            Action::Mask => RedactionConfig { mask: paths, ..config },
        }
    }
}

pub fn records_of(family: &Family, content: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = Lines::new(family.framing.role(false), 1 << 20, Start::Beginning);
    let mut found = Vec::new();
    let mut source = content;
    while let Some(block) = lines.next_block(&mut source).unwrap() {
        for item in block.items() {
            if let Item::Whole { record, .. } | Item::Unended { record, .. } = item {
                found.push(record.bytes.to_vec());
            }
        }
    }
    found
}

/// Every encoding, each with all that it can hold.
fn encoders() -> Vec<Encoder> {
    let options = Options { raw_data: true, ..Options::default() };
    let ocsf =
        OcsfVersion::ALL.map(|ocsf_version| Encoder::new(EncodingName::Ocsf, Options { ocsf_version, ..options }));
    let others = [
        Encoder::new(EncodingName::Ecs, options),
        Encoder::new(EncodingName::Raw, options),
        Encoder::new(EncodingName::Raw, Options { envelope: true, ..options }),
        Encoder::of_columns(whole_record()),
    ];
    ocsf.into_iter().chain(others).collect()
}

/// What each encoder writes of a record under a redaction.
pub fn leaving(
    family: &'static Family,
    bytes: &[u8],
    config: Option<&RedactionConfig>,
) -> Result<Vec<Encoded>, Refusal> {
    let object = ObjectId::new("b", OBJECT_KEY);
    let settings = Settings::default().with_dropped(config.unwrap_or(&RedactionConfig::default()));
    let redaction = config.map(|config| Redaction::new(config).unwrap());
    let context = Context::new(family, &object, Scope::Object(&object), Some(LAST_MODIFIED_MS), "f")
        .with_settings(&settings)
        .with_redaction(redaction.as_ref());
    let encoders = encoders();
    let mut out = vec![Encoded::default(); encoders.len()];
    let record = Record::new(0, bytes);
    let encoded = family::encode_record(&context, &record, &RecordHash::of(bytes), 0, &encoders, &mut out);
    assert!(encoded.is_ok() || out.iter().all(Encoded::is_empty), "what is refused leaves nothing");
    encoded.map(|_| out)
}

/// The ids of the events, in the order of their lines.
pub fn uids(encoded: &Encoded) -> Vec<EventId> {
    encoded.heads.iter().map(|head| head.uid).collect()
}

pub fn text_of(encoded: &Encoded) -> String {
    String::from_utf8_lossy(&encoded.bytes).into_owned()
}

fn parsed(family: &'static Family, bytes: &[u8]) -> Option<Value> {
    let object = ObjectId::new("b", OBJECT_KEY);
    let context = Context::new(family, &object, Scope::Object(&object), Some(LAST_MODIFIED_MS), "f");
    let mut out = Vec::new();
    (family.parsed)(&context, &Record::new(0, bytes), &mut out).ok()?;
    Some(serde_json::from_slice(&out).unwrap())
}

/// Adds the path of each text or number and its text to `found`.
fn leaves(value: &Value, path: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                leaves(value, &if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| leaves(value, path, found)),
        Value::String(text) => found.push((path.to_owned(), text.clone())),
        Value::Number(number) => found.push((path.to_owned(), number.to_string())),
        Value::Bool(_) | Value::Null => {}
    }
}

fn escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// The texts at a path that the record has nowhere else.
fn own_texts<'l>(path: &str, leaves: &'l [(String, String)]) -> Vec<&'l str> {
    // The referrer also contains the keys that are read from it.
    let is_own = |other: &str| other == path || path.starts_with("s3a.") && other == "referrer";
    // Different spellings of one instant.
    let is_time = ["timestamp", "dateTime", "time"].contains(&path);
    let elsewhere: Vec<&String> = leaves
        .iter()
        .flat_map(|(other, text)| [Some(other), Some(text).filter(|_| !is_own(other))])
        .flatten()
        .collect();
    let is_said_elsewhere =
        |text: &str| OWN_WORDS.contains(&text) || elsewhere.iter().any(|other| other.contains(text));
    let own = leaves.iter().filter(|(other, text)| other == path && text.len() >= 5).map(|(_, text)| text.as_str());
    own.filter(|text| !is_time && !is_said_elsewhere(text)).collect()
}

/// Asserts that under each redaction of each path, the value at the path is nowhere in the output. Returns the number
/// of judged cases, and of records that were refused because they would read otherwise.
fn assert_nothing_leaks(family: &'static Family, bytes: &[u8], key: &Key) -> (usize, usize) {
    let Some(parsed) = parsed(family, bytes) else { return (0, 0) };
    let mut all = Vec::new();
    leaves(&parsed, "", &mut all);
    let paths: BTreeSet<&String> = all.iter().map(|(path, _)| path).collect();
    let actions = [Action::Drop, Action::Hash, Action::Mask];
    let cases = paths.into_iter().flat_map(|path| actions.map(|action| (path, action)));
    let (mut judged, mut refused) = (0, 0);
    for (path, action) in cases.filter(|(path, action)| (family.redactable)(path, *action).is_ok()) {
        let case = format!("{} {path} {action:?} of {}", family.name, String::from_utf8_lossy(bytes));
        let out = match leaving(family, bytes, Some(&key.config(action, &[path]))) {
            Ok(out) => out,
            Err(refusal) => {
                assert!(refusal.reason.ends_with("would read otherwise after its redaction"), "{case}: {refusal}");
                refused += 1;
                continue;
            }
        };
        for text in own_texts(path, &all) {
            judged += 1;
            for out in out.iter().map(text_of) {
                let spelled = [text.to_owned(), escaped(text), escaped(&escaped(text))];
                assert!(!spelled.iter().any(|text| out.contains(text)), "{case}: {text:?} leaves in\n{out}");
            }
        }
    }
    (judged, refused)
}

/// A line as runtimes and shippers wrap it.
fn wrapped(line: &str) -> Vec<String> {
    let (begin, end) = line.split_at((0..=line.len() / 2).rev().find(|at| line.is_char_boundary(*at)).unwrap());
    let mut wrapped = vec![
        json!({"log": format!("{line}\n"), "stream": "stdout", "time": "2020-01-02T00:00:00Z"}).to_string(),
        format!("2020-01-02T00:00:00Z stdout F {line}"),
        format!("2020-01-02T00:00:00Z stdout P {begin}\n2020-01-02T00:00:01Z stdout F {end}"),
        json!({"host": "h1", "data": [{"message": format!("{line}\r\n")}, {"message": line}]}).to_string(),
        json!({"log": json!({"message": line}).to_string() + "\n", "original": line, "stream": "stdout"}).to_string(),
    ];
    if let Ok(record) = serde_json::from_str::<Value>(line) {
        wrapped.push(json!({"message": line, "record": record, "host": "h1"}).to_string());
    }
    wrapped
}

#[test]
fn no_redacted_value_of_any_record_leaves_in_any_encoding() {
    let key = Key::new();
    for (name, path) in FIXTURES {
        let family = family::named(name).unwrap();
        let content = std::fs::read(format!("{}/tests/fixtures/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let records = records_of(family, &content);
        let (mut judged, mut refused) = (0, 0);
        for bytes in &records {
            let counts = assert_nothing_leaks(family, bytes, &key);
            (judged, refused) = (judged + counts.0, refused + counts.1);
        }
        assert!(judged >= 20, "{path}: {judged}");
        // The request decides which reading of a forged path holds.
        assert!(refused <= if *path == "ydb/common.log" { 3 } else { 0 }, "{path}: {refused}");
    }
}

#[test]
fn what_stands_in_a_wrapper_is_redacted_inside_it() {
    let key = Key::new();
    for (name, path) in [("immuta", "immuta/mixed.log"), ("ydb", "ydb/stream.log")] {
        let family = family::named(name).unwrap();
        let content = std::fs::read_to_string(format!("{}/tests/fixtures/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let is_bare = |line: &&str| line.contains("database") || line.starts_with("{\"level\":\"audit\"");
        let lines: Vec<&str> = content.lines().filter(is_bare).filter(|line| !line.starts_with("{\"message")).collect();
        let mut judged = 0;
        for wrapped in lines.iter().flat_map(|line| wrapped(line)) {
            judged += assert_nothing_leaks(family, wrapped.as_bytes(), &key).0;
        }
        assert!(judged > 100, "{path}: {judged}");
    }
}

/// The `raw` encoding of a record.
fn raw(family: &str, record: &str, config: &RedactionConfig) -> String {
    let out = leaving(family::named(family).unwrap(), record.as_bytes(), Some(config)).unwrap();
    text_of(&out[5]).trim_end_matches('\n').to_owned()
}

#[test]
fn what_is_redacted_is_shown_in_the_records_own_form() {
    const DOCKER: &str = r#"{"log":"{\"level\":\"audit\",\"userId\":\"bob\",\"a\":1}\n","stream":"stdout"}"#;
    const S3: &str = "79a5 b [06/Feb/2019:00:00:38 +0000] 192.0.2.3 who R1 REST.GET.OBJECT a \"GET /a HTTP/1.1\" 200 - 1 2 3 4 \"https://audit.example.org/hadoop/1/op_open/s-1/?op=op_open&p1=x&pr=al&ps=y&id=s-1&t0=1&fs=f&t1=1&ts=1700000000000\" \"agent\" -";
    const STREAM: &str =
        "2025-11-03T18:07:39.056211Z: component=grpc-proxy, subject=bob@x, query_text=SELECT 1; status=SUCCESS";
    const SCHEME: &str = "2022-08-03T22:41:43.860439Z node 1 :FLAT_TX_SCHEMESHARD NOTICE: AUDIT: txId: 5, database: /Root, subject: bob, status: StatusSuccess, operation: CREATE DIRECTORY, path: /Root/a, set owner:ann";
    let key = Key::new();
    for (family, record, action, paths, expected) in [
        (
            "databricks",
            r#"{"timestamp":1705305600000,"serviceName":"x","a":{"b":"x","c":"y"}}"#,
            Action::Drop,
            &["a.b"][..],
            r#"{"timestamp":1705305600000,"serviceName":"x","a":{"c":"y"}}"#.to_owned(),
        ),
        (
            "databricks",
            r#"{"timestamp":1705305600000,"serviceName":"x","a":[{"b":7},{"b":"x"}]}"#,
            Action::Mask,
            &["a.b"],
            r#"{"timestamp":1705305600000,"serviceName":"x","a":[{"b":"***"},{"b":"***"}]}"#.to_owned(),
        ),
        ("immuta", DOCKER, Action::Mask, &["userId"], DOCKER.replace("bob", "***")),
        ("immuta", DOCKER, Action::Drop, &["nothing"], DOCKER.to_owned()),
        (
            "ydb",
            STREAM,
            Action::Mask,
            &["subject", "query_text"],
            STREAM.replace("bob@x", "***").replace("SELECT 1;", "***,"),
        ),
        ("ydb", STREAM, Action::Drop, &["subject"], STREAM.replace("bob@x", "{none}")),
        (
            "ydb",
            SCHEME,
            Action::Drop,
            &["database", "subject", "operations.path", "operations.set owner"],
            SCHEME
                .replace(", database: /Root", "")
                .replace("bob", "no subject")
                .replace("path: /Root/a, set owner:ann", "no path"),
        ),
        ("ydb", SCHEME, Action::Mask, &["operations.path"], SCHEME.replace("/Root/a", "***")),
        (
            "ydb",
            "2020-01-02T00:00:00Z stdout P 2025-11-03T18:07:39.056211Z: component=x, \n2020-01-02T00:00:01Z stdout F subject=bob",
            Action::Mask,
            &["subject"],
            "2020-01-02T00:00:00Z stdout F 2025-11-03T18:07:39.056211Z: component=x, subject=***".to_owned(),
        ),
        (
            "s3_access",
            S3,
            Action::Drop,
            &["remote_ip", "user_agent", "request_uri"],
            S3.replace("192.0.2.3", "-").replace("agent\"", "-\"").replace("GET /a HTTP/1.1", "-"),
        ),
        (
            "s3_access",
            S3,
            Action::Mask,
            &["s3a.pr", "s3a.op", "request_uri"],
            S3.replace("pr=al", "pr=***").replace("op_open", "***").replace("GET /a HTTP/1.1", "***"),
        ),
        ("s3_access", S3, Action::Drop, &["s3a.pr"], S3.replace("&pr=al", "")),
    ] {
        assert_eq!(raw(family, record, &key.config(action, paths)), expected, "{record} {paths:?}");
    }
}

#[test]
fn a_hash_is_the_same_wherever_the_same_text_stands() {
    let key = Key::new();
    let hashed = key.config(Action::Hash, &["a", "subject", "requester"]);
    // printf bob | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef
    let expected = "hmac-sha256:643cdfc83364b72c5248ec2d45e7cd58caf99310228f3c6a590bd299519248a7";
    for (family, record) in [
        ("databricks", r#"{"timestamp":1705305600000,"serviceName":"x","a":"b\u006fb"}"#),
        ("ydb", "2025-11-03T18:07:39.056211Z: component=x, subject=bob, status=SUCCESS"),
        ("s3_access", "79a5 b [06/Feb/2019:00:00:38 +0000] - bob R1 REST.GET.OBJECT a - 200 - 1 2 3 4 - - -"),
    ] {
        let raw = raw(family, record, &hashed);
        assert!(raw.contains(expected), "{raw}");
    }
}

#[test]
fn the_identity_of_an_event_is_that_of_the_source_record() {
    let key = Key::new();
    let family = family::named("databricks").unwrap();
    let line = record(0);
    let plain = leaving(family, line.as_bytes(), None).unwrap();
    let redacted =
        leaving(family, line.as_bytes(), Some(&key.config(Action::Drop, &["requestId", "userIdentity"]))).unwrap();
    assert_ne!(plain[3].bytes, redacted[3].bytes);
    assert_eq!(uids(&plain[3]), uids(&redacted[3]));
}

#[test]
fn a_record_that_cannot_be_read_is_refused_and_not_sent_as_it_came() {
    let key = Key::new();
    let cri = "2020-01-02T00:00:00Z stdout P {\"level\":\"audit\",\"userId\":\"bob\"";
    for (family, record) in [
        ("databricks", &br#"{"userIdentity":{"email":"bob"}"#[..]),
        ("databricks", b"{\"userIdentity\":\"bob\xff\"}"),
        ("lakefs", b"[\"bob\""),
        ("s3_access", b"79a5 b bob"),
        ("immuta", cri.as_bytes()),
        ("ydb", b"2025-11-03T18:07:39.056211Z: {\"component\":\"x\",\"operation\":\"y\",\"subject\":\"bob\""),
    ] {
        let family = family::named(family).unwrap();
        let paths = ["userIdentity", "userId", "requester", "subject"];
        assert!(leaving(family, record, Some(&key.config(Action::Drop, &paths))).is_err(), "{record:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// Whatever the damage, a redacted value is found and removed, or the record is refused.
    #[test]
    fn damaged_records_are_redacted_or_refused(
        fixture in 0..FIXTURES.len(),
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..10_usize, r#"[{}\[\]",:= ]{0,3}|\\ud800|\n|, operation: |, path: |é|\{"message":""#), 0..4),
        path in prop::sample::select(&["subject", "userId", "requester", "referrer", "s3a.p1", "extra", "userIdentity", "operations.path", "operations.protobuf request", "query_text", "data_user", "user"][..]),
        action in prop::sample::select(&[Action::Drop, Action::Hash, Action::Mask][..]),
    ) {
        let (name, file) = FIXTURES[fixture];
        let family = family::named(name).unwrap();
        let content = std::fs::read(format!("{}/tests/fixtures/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let records = records_of(family, &content);
        let mut bytes = which.get(&records).clone();
        for (at, length, piece) in edits {
            let from = at.index(bytes.len() + 1);
            let to = (from + length).min(bytes.len());
            bytes.splice(from..to, piece.bytes());
        }
        let key = Key::new();
        let config = key.config(action, &[path]);
        if let (Ok(out), Some(parsed)) = (leaving(family, &bytes, Some(&config)), parsed(family, &bytes)) {
            let mut all = Vec::new();
            leaves(&parsed, "", &mut all);
            for text in own_texts(path, &all).into_iter().filter(|text| text.len() > 8) {
                prop_assert!(!out.iter().any(|out| text_of(out).contains(&escaped(text))), "{path} {text} leaves of {}", String::from_utf8_lossy(&bytes));
            }
        }
    }
}

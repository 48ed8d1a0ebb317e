//! What a feed redacts leaves in no encoding, whichever family, form and wrapper the record has.

use std::collections::BTreeSet;

use auditferry::delta::RecordHash;
use auditferry::event::{Encoded, Encoder, EncodingName, OcsfVersion, Options, Scope};
use auditferry::family::{self, Action, Context, Family, Redaction, RedactionConfig, Refusal, Settings};
use auditferry::notification::ObjectId;
use auditferry::records::Record;
use auditferry::records::lines::{Item, Lines, Start};
use auditferry::secret::Reference;
use serde_json::{Value, json};

use super::support::records::{object, records};
use super::support::world::{KEY, World};

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

/// A file with the key of hashes.
struct Key(tempfile::TempDir);

impl Key {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("key"), HMAC_KEY).unwrap();
        Self(directory)
    }

    fn config(&self, action: Action, paths: &[&str]) -> RedactionConfig {
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

fn records_of(family: &Family, content: &[u8]) -> Vec<Vec<u8>> {
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

/// Everything that may leave: each encoding with all it can hold.
fn encoders() -> Vec<Encoder> {
    let options = Options { raw_data: true, ..Options::default() };
    let ocsf =
        OcsfVersion::ALL.map(|ocsf_version| Encoder::new(EncodingName::Ocsf, Options { ocsf_version, ..options }));
    let others = [
        Encoder::new(EncodingName::Ecs, options),
        Encoder::new(EncodingName::Raw, options),
        Encoder::new(EncodingName::Raw, Options { envelope: true, ..options }),
    ];
    ocsf.into_iter().chain(others).collect()
}

/// What leaves of a record under a redaction, by encoder.
fn leaving(family: &'static Family, bytes: &[u8], config: Option<&RedactionConfig>) -> Result<Vec<Encoded>, Refusal> {
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

fn text_of(encoded: &Encoded) -> String {
    String::from_utf8_lossy(&encoded.bytes).into_owned()
}

fn parsed(family: &'static Family, bytes: &[u8]) -> Option<Value> {
    let object = ObjectId::new("b", OBJECT_KEY);
    let context = Context::new(family, &object, Scope::Object(&object), Some(LAST_MODIFIED_MS), "f");
    let mut out = Vec::new();
    (family.parsed)(&context, &Record::new(0, bytes), &mut out).ok()?;
    Some(serde_json::from_slice(&out).unwrap())
}

/// Each path to a text or number, and that text.
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
    Value::from(text).to_string().trim_matches('"').to_owned()
}

/// Under each redaction of each path, what stood there stands nowhere. Returns how many cases were judged.
fn assert_nothing_leaks(family: &'static Family, bytes: &[u8], key: &Key) -> usize {
    let Some(parsed) = parsed(family, bytes) else { return 0 };
    let mut all = Vec::new();
    leaves(&parsed, "", &mut all);
    let paths: BTreeSet<&String> = all.iter().map(|(path, _)| path).collect();
    let mut judged = 0;
    for path in paths {
        // What is said elsewhere too is no secret of this field; the referrer is where its keys are from.
        let is_own = |other: &str| other == path || path.starts_with("s3a.") && other == "referrer";
        let elsewhere: Vec<&String> = all.iter().filter(|(other, _)| !is_own(other)).map(|(_, text)| text).collect();
        let own = all.iter().filter(|(other, text)| other == path && text.len() >= 5).map(|(_, text)| text);
        let secret: Vec<&String> =
            own.filter(|text| !elsewhere.iter().any(|other| other.contains(text.as_str()))).collect();
        for action in [Action::Drop, Action::Hash, Action::Mask] {
            if (family.redactable)(path, action).is_err() {
                continue;
            }
            let out = match leaving(family, bytes, Some(&key.config(action, &[path]))) {
                Ok(out) => out,
                Err(refusal) => {
                    panic!("{} {path} {action:?}: {refusal}\n{}", family.name, String::from_utf8_lossy(bytes))
                }
            };
            for text in &secret {
                judged += 1;
                for encoded in &out {
                    let out = text_of(encoded);
                    let twice = escaped(&escaped(text));
                    assert!(
                        !out.contains(text.as_str()) && !out.contains(&escaped(text)) && !out.contains(&twice),
                        "{} {path} {action:?}: {text:?} leaves in\n{out}",
                        family.name
                    );
                }
            }
        }
    }
    judged
}

#[test]
fn no_redacted_value_of_any_record_leaves_in_any_encoding() {
    let key = Key::new();
    for (name, path) in FIXTURES {
        let family = family::named(name).unwrap();
        let content = std::fs::read(format!("{}/tests/fixtures/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let judged: usize =
            records_of(family, &content).iter().map(|bytes| assert_nothing_leaks(family, bytes, &key)).sum();
        assert!(judged >= 20, "{path}: {judged}");
    }
}

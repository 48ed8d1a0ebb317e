//! Whatever bytes an object holds: its records give events that are valid in every encoding, or are refused.

use auditferry::testing::delta::RecordHash;
use auditferry::testing::event::{Encoded, Encoder, EncodingName, OcsfVersion, Options, Scope};
use auditferry::testing::family::{self, Context};
use auditferry::testing::notification::ObjectId;
use auditferry::testing::records::lines::{Item, Lines, Start};
use proptest::prelude::*;
use proptest::sample::Index;

use super::columns::whole_record;
use super::support::verdict;

/// Of each family its name, the key of an object, and the fixtures that are the object's content.
const OBJECTS: [(&str, &str, &[&str]); 5] = [
    ("databricks", "workspaceId=1/date=2024-01-15/auditlogs_7.json", &["databricks/auditlogs_7.json"]),
    ("lakefs", "logs/server.log", &["lakefs/server.log"]),
    ("s3_access", "logs/2024-02-12-08-00-00-0A1B2C3D4E5F6789", &["s3_access/2024-02-12-08-00-00-0A1B2C3D4E5F6789"]),
    ("immuta", "logs/web-0.log", &["immuta/mixed.log"]),
    ("ydb", "logs/ydb.log", &["ydb/common.log", "ydb/stream.log"]),
];

/// How many events an object gave, and how many of its records were refused.
#[derive(Debug, Default)]
struct Read {
    events: usize,
    refused: usize,
}

fn encoders() -> Vec<Encoder> {
    let of = |ocsf_version| Options { raw_data: true, ocsf_version, ..Options::default() };
    let mut encoders: Vec<Encoder> =
        OcsfVersion::ALL.into_iter().map(|version| Encoder::new(EncodingName::Ocsf, of(version))).collect();
    encoders.push(Encoder::new(EncodingName::Ecs, of(OcsfVersion::V1_8)));
    encoders
}

/// # Panics
/// At the first event that is not valid.
fn read(family: &str, key: &str, content: &[u8]) -> Read {
    let family = family::named(family).unwrap();
    let object = ObjectId::new("logs", key);
    let context = Context::new(family, &object, Scope::Object(&object), Some(1_705_305_600_000), "test");
    let (encoders, rows) = (encoders(), [Encoder::of_columns(whole_record())]);
    let mut lines = Lines::new(family.framing.role(false), 1 << 20, Start::Beginning);
    let mut source = content;
    let mut read = Read::default();
    while let Some(block) = lines.next_block(&mut source).unwrap() {
        for item in block.items() {
            let (Item::Whole { record, .. } | Item::Unended { record, .. }) = item else { panic!("too long") };
            let mut out = vec![Encoded::default(); encoders.len()];
            let hash = RecordHash::of(record.bytes);
            let events = family::encode_record(&context, &record, &hash, record.ordinal, &encoders, &mut out);
            let row = family::encode_record(&context, &record, &hash, record.ordinal, &rows, &mut [Encoded::default()]);
            // Encoding as rows gives as many events as the other encodings, or the same decode error.
            assert_eq!(row, events, "{}", String::from_utf8_lossy(record.bytes));
            match events {
                Ok(events) => read.events += events as usize,
                Err(_) => read.refused += 1,
            }
            for encoded in out {
                for event in String::from_utf8(encoded.bytes).unwrap().lines() {
                    let mut faults = verdict::faults(event);
                    // A damaged field that no rule knows is kept in `unmapped` under its own name, which may equal a
                    // mapped field's name.
                    faults.retain(|fault| !fault.ends_with("is mapped too"));
                    assert!(faults.is_empty(), "{faults:#?}\n{event}\n{}", String::from_utf8_lossy(record.bytes));
                }
            }
        }
    }
    read
}

/// Values that older versions of OCSF restrict, or that are blank: an index into `OBJECTS`, a text, and what replaces
/// it.
const ODD: [(usize, &str, &str); 12] = [
    (0, r#""email":""#, r#""email":"o'brien-"#),
    (0, r#""requestId":""#, r#""requestId":"LONG"#),
    (0, r#""errorMessage":""#, r#""errorMessage":"LONG"#),
    (1, r#""host":""#, r#""host":"my_bucket."#),
    (1, r#""path":"/"#, r#""path":"/LONG"#),
    (2, " TLSv1.2 ", ".:443 TLSv1.2 "),
    (2, " year%253D2024/a ", " \"\" "),
    (2, " REST.", " REST.LONG"),
    (3, r#""query":""#, r#""query":"LONG"#),
    (3, r#""userId":""#, r#""userId":"o'brien-"#),
    (4, "subject=", "subject=LONG"),
    (4, "reason=", "reason=LONG"),
];

#[test]
fn values_that_older_versions_ask_more_of_give_valid_events() {
    for (position, from, to) in ODD {
        let (family, key, content) = object(position);
        let content = String::from_utf8_lossy(&content);
        let odd = content.replace(from, &to.replace("LONG", &"x\u{e9}\u{1f600}".repeat(30_000)));
        assert_ne!(content, odd, "{family} has no {from}");
        assert!(read(family, key, odd.as_bytes()).events > 1, "{family}");
    }
}

fn object(position: usize) -> (&'static str, &'static str, Vec<u8>) {
    let (family, key, fixtures) = OBJECTS[position];
    let path = |name: &&str| format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    (family, key, fixtures.iter().flat_map(|name| std::fs::read(path(name)).unwrap()).collect())
}

#[test]
fn every_object_of_the_fixtures_gives_events() {
    for position in 0..OBJECTS.len() {
        let (family, key, content) = object(position);
        assert!(read(family, key, &content).events > 1, "{family}");
    }
}

/// Bytes that replace a piece of an object.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        proptest::collection::vec(any::<u8>(), 1..6),
        prop::sample::select(
            &["b.s3.amazonaws.com:443", "my_bucket.s3.amazonaws.com", "[::1]", "o'brien@example.com", "\" \"", " \"\" "][..],
        )
        .prop_map(|piece| piece.as_bytes().to_vec()),
        (65_530_usize..65_560).prop_map(|length| "x\u{e9}".repeat(length / 2).into_bytes()),
        r#"[{}\[\]",:=\\ -]{1,4}|null|true|-?[0-9]{1,20}|""|\n|\r\n|"@"|a@b\.c|::1|\\u0000|\\ud800|é|2024-13-45|%2F|x{300}"#
            .prop_map(String::into_bytes),
    ]
}

/// How many objects are damaged: `AUDITFERRY_CASES`, or as many as take a few seconds.
fn cases() -> u32 {
    std::env::var("AUDITFERRY_CASES").map_or(120, |cases| cases.parse().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn a_damaged_object_gives_valid_events_and_refusals(
        position in 0..OBJECTS.len(),
        edits in proptest::collection::vec((any::<Index>(), 0..30_usize, pieces()), 1..12),
    ) {
        let (family, key, mut content) = object(position);
        for (at, length, piece) in edits {
            let from = at.index(content.len());
            let to = (from + length).min(content.len());
            content.splice(from..to, piece);
        }
        read(family, key, &content);
    }

    #[test]
    fn any_bytes_give_valid_events_and_refusals(
        position in 0..OBJECTS.len(),
        content in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let (family, key, _) = object(position);
        read(family, key, &content);
    }
}

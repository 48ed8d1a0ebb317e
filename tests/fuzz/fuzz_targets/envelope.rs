//! Any text, wrapped as shippers wrap a line: as text and as JSON, under each of their members, alone and in lists.
#![no_main]

use auditferry::testing::family::Settings;
use libfuzzer_sys::fuzz_target;

/// Families, and a key of an object of each.
const FAMILIES: [(&str, &str); 5] = [
    ("databricks", "workspaceId=1/date=2024-01-01/a.json"),
    ("immuta", "web-0.log"),
    ("lakefs", "server.log"),
    ("s3_access", "2024-01-01-00-00-00-ABCDEF"),
    ("ydb", "ydb.log"),
];

fuzz_target!(|text: &str| {
    // The length of the text selects the family, so that a byte more tries the same text as another family's.
    let (family, key) = FAMILIES[text.len() % FAMILIES.len()];
    let line = serde_json::to_string(text).expect("any text is written as JSON");
    let shipped = [
        format!(r#"{{"log":{line},"stream":"stdout","time":"2024-01-01T00:00:00Z"}}"#),
        format!(r#"{{"message":{line},"kubernetes":{{"pod":"p"}}}}"#),
        format!(r#"{{"event":{text},"host":"h"}}"#),
        format!(r#"{{"records":[{line},{text}]}}"#),
        format!(r#"[{{"jsonPayload":{{"body":{line}}}}},{text}]"#),
        format!("2024-01-01T00:00:00.000000000Z stdout F {text}"),
    ];
    auditferry_fuzz::decode_lines(family, key, Settings::none(), shipped.join("\n").as_bytes());
});

//! lakeFS audit logs, both rows of Parquet files and lines of a server's log: their records, their events, and their
//! delivery from a place.

use std::io::{Read, Write};
use std::process::Command;

use auditferry::testing::delta::RecordHash;
use auditferry::testing::event::{Encoded, Encoder, EncodingName, Mapping, Options, Scope};
use auditferry::testing::family::{self, Context, Family, Refusal};
use auditferry::testing::notification::ObjectId;
use auditferry::testing::records::Record;
use auditferry::testing::records::lines::{Item, Lines, Start};
use auditferry::testing::records::rows::{self, Limits, Rows};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::columns::assert_row_without_secret;
use super::support::ocsf::Schema;
use super::support::world::World;

const KEY: &str =
    "etl/v1/data/region=us-east-1/organization=org-acme/year=2025/month=12/day=25/hour=12/log_abc-snappy.parquet";

/// 2025-12-25T13:05:00Z.
const LAST_MODIFIED_MS: i64 = 1_766_667_900_000;

fn lakefs() -> &'static Family {
    family::named("lakefs").unwrap()
}

fn fixture(name: &str) -> Bytes {
    std::fs::read(format!("{}/tests/fixtures/lakefs/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap().into()
}

/// The records of an object, in the family's framing.
fn records_of(key: &str, content: &Bytes) -> Vec<String> {
    let of_rows = rows::are_in(key, content);
    let mut source: Box<dyn Read> = if of_rows {
        Box::new(Rows::open(content.clone(), Limits::default()).unwrap())
    } else {
        Box::new(&content[..])
    };
    let mut lines = Lines::new(lakefs().framing.role(of_rows), 1 << 20, Start::Beginning);
    let mut records = Vec::new();
    while let Some(block) = lines.next_block(&mut source).unwrap() {
        for item in block.items() {
            match item {
                Item::Whole { record, .. } | Item::Unended { record, .. } => {
                    records.push(record.text.unwrap().to_owned());
                }
                Item::TooLong(line) => panic!("{line:?}"),
            }
        }
    }
    records
}

fn encoded(key: &str, record: &str, options: Options, last_modified_ms: Option<i64>) -> Result<String, Refusal> {
    let object = ObjectId::new("lakefs-audit-logs", key);
    let context = Context::new(lakefs(), &object, Scope::Object(&object), last_modified_ms, "test");
    let encoders = [Encoder::new(EncodingName::Ocsf, options)];
    let mut out = [Encoded::default()];
    let hash = RecordHash::of(record.as_bytes());
    let record = Record::new(0, record.as_bytes());
    family::encode_record(&context, &record, &hash, 0, &encoders, &mut out)?;
    let [encoded] = out;
    let text = String::from_utf8(encoded.bytes).unwrap();
    Schema::of_version("1.8.0").assert_valid(text.lines());
    Ok(text)
}

fn event(record: &str) -> Value {
    serde_json::from_str(&encoded(KEY, record, Options::default(), Some(LAST_MODIFIED_MS)).unwrap()).unwrap()
}

/// Asserts that `event` has every member of `expected`; null stands for a member that is absent.
fn assert_holds(event: &Value, expected: &Value, path: &str) {
    match expected {
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            assert_holds(event.get(name).unwrap_or(&Value::Null), value, &format!("{path}.{name}"));
        }),
        _ => assert_eq!(event, expected, "{path}"),
    }
}

fn assert_events(key: &str, content: &str, expected: &str) {
    let records = records_of(key, &fixture(content));
    let expected = fixture(expected);
    let expected: Vec<Value> =
        std::str::from_utf8(&expected).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), expected.len(), "{content}");
    for (number, (record, expected)) in records.iter().zip(&expected).enumerate() {
        let event = encoded(key, record, Options::default(), Some(LAST_MODIFIED_MS)).unwrap();
        assert_holds(&serde_json::from_str(&event).unwrap(), expected, &format!("{content} {number}"));
    }
}

#[test]
fn rows_become_the_events_that_the_documents_say_whoever_wrote_them() {
    for writer in ["pyarrow-v1", "pyarrow-v2-delta", "pyarrow-3-row-groups", "pyarrow-binary", "fastparquet"] {
        assert_events(KEY, &format!("{writer}-snappy.parquet"), "rows.expected.jsonl");
    }
}

#[test]
fn a_servers_audit_lines_become_events_and_its_other_lines_are_passed_over() {
    assert_events("lakefs/server.log", "server.log", "server.expected.jsonl");
}

#[test]
fn the_same_operation_is_the_same_event_code_in_every_spelling() {
    for spelling in ["DeleteObjects", "deleteObjects", "delete_objects"] {
        let record = json!({"data_operation_id": spelling, "data_service_name": "rest_api", "data_status_code": 200, "data_time": "2025-12-25T12:30:00Z",
            "data_path": "/api/v1/repositories/lake/branches/dev/objects/delete"});
        let event = event(&record.to_string());
        assert_holds(
            &event,
            &json!({"class_uid": 6005, "activity_id": 7, "metadata": {"event_code": "rest_api/delete_objects"}}),
            spelling,
        );
    }
}

#[test]
fn every_row_of_the_mapping_gives_a_valid_event_of_its_class_when_the_path_names_what_it_needs() {
    let rows = Mapping::built_in().family("lakefs").unwrap();
    let mut reached = 0;
    for row in rows.iter().filter(|row| !row.is_fallback) {
        let (service, operation) = row.selector.split_once('/').unwrap();
        let path = match row.activity.class.uid() {
            3001 => "/api/v1/auth/users/anna/policies/FSFullAccess",
            3006 => "/api/v1/auth/groups/Admins/members/anna",
            _ if service == "s3_gateway" => "raw/a.csv",
            _ => "/api/v1/repositories/lake/branches/main/objects?path=raw%2Fa.csv&prefix=raw%2F",
        };
        let record = json!({"data_user": "ci", "data_repository": "lake", "data_ref": "main", "data_status_code": 200, "data_service_name": service,
            "data_request_id": "r", "data_path": path, "data_operation_id": operation, "data_method": "POST", "data_time": "2025-12-25T12:30:00Z"});
        let event = event(&record.to_string());
        let expected = json!({"class_uid": row.activity.class.uid(), "activity_id": row.activity.id, "metadata": {"event_code": row.selector, "labels": null}});
        assert_holds(&event, &expected, row.selector);
        reached += 1;
    }
    assert_eq!(reached, 146);
}

#[test]
fn an_event_whose_path_names_no_repository_falls_back_and_says_so() {
    let event = event(
        r#"{"data_operation_id":"get_object","data_service_name":"rest_api","data_status_code":404,"data_path":"/api/v1/nowhere","data_time":"2025-12-25T12:30:00Z"}"#,
    );
    assert_holds(
        &event,
        &json!({"class_uid": 6003, "activity_id": 2, "status_id": 2, "metadata": {"labels": ["class_fallback"]}}),
        "",
    );
}

#[test]
fn an_operation_that_nobody_knows_is_still_an_event() {
    let of_method = event(
        r#"{"data_operation_id":"newThing","data_service_name":"rest_api","data_method":"DELETE","data_time":"2025-12-25T12:30:00Z"}"#,
    );
    assert_holds(
        &of_method,
        &json!({"class_uid": 6003, "activity_id": 4, "metadata": {"event_code": "rest_api/new_thing"}}),
        "",
    );
    let other = event(
        r#"{"data_operation_id":"newThing","data_service_name":"future_api","data_method":"BREW","data_time":"2025-12-25T12:30:00Z"}"#,
    );
    assert_holds(
        &other,
        &json!({"class_uid": 6003, "activity_id": 99, "activity_name": "newThing", "unmapped": {"data_method": "BREW"}}),
        "",
    );
}

#[test]
fn a_record_without_a_time_has_its_objects_or_the_hour_of_the_key() {
    assert!(encoded(KEY, "{}", Options::default(), Some(0)).is_err(), "another table's row");
    assert!(encoded(KEY, r#"{"user":"x","path":"y"}"#, Options::default(), Some(0)).is_err());
    for record in
        [r#"{"data_user":"u"}"#, r#"{"data_user":"u","data_time":null}"#, r#"{"data_user":"u","data_time":"soon"}"#]
    {
        let inferred = |last_modified| {
            serde_json::from_str(&encoded(KEY, record, Options::default(), last_modified).unwrap()).unwrap()
        };
        let labelled = |time: i64| json!({"time": time, "metadata": {"labels": ["time_inferred"]}});
        assert_holds(&inferred(Some(LAST_MODIFIED_MS)), &labelled(LAST_MODIFIED_MS), record);
        // 2025-12-25T12:00:00Z.
        assert_holds(&inferred(None), &labelled(1_766_664_000_000), record);
    }
    assert_holds(
        &event(r#"{"data_user":"u","data_time":"soon"}"#),
        &json!({"unmapped": {"data_time": "soon"}, "metadata": {"original_time": "soon"}}),
        "",
    );
    assert!(
        encoded("a.parquet", r#"{"data_user":"u"}"#, Options::default(), None)
            .is_err_and(|refusal| refusal.reason.contains("time"))
    );
}

#[test]
fn a_time_that_is_a_bare_number_is_understood_by_its_size() {
    for number in ["1766665800", "1766665800000", "1766665800000000", "1766665800000000000"] {
        assert_holds(
            &event(&format!("{{\"data_user\":\"u\",\"data_time\":{number}}}")),
            &json!({"time": 1_766_665_800_000_i64}),
            number,
        );
    }
}

#[test]
fn additive_columns_are_kept_with_every_digit_and_known_ones_find_their_places() {
    let records = records_of(KEY, &fixture("pyarrow-additive-snappy.parquet"));
    let text = encoded(KEY, &records[0], Options::default(), Some(LAST_MODIFIED_MS)).unwrap();
    assert!(text.contains(r#""data_sent_bytes":9007199254740993"#), "{text}");
    let expected = json!({
        "src_endpoint": {"ip": "80.0.0.0", "port": 34700}, "http_request": {"user_agent": "lakectl/1.0"}, "duration": 600, "start_time": null,
        "unmapped": {"data_took": 600_747_890, "data_day": "2025-12-25", "data_cached": true, "data_hash": {"base64": "/wBB"},
            "data_tags": ["a", null, "b"], "data_more": {"x": 1, "y": {"z": "deep"}}, "data_grid": [[1, 2], []]}
    });
    assert_holds(&serde_json::from_str(&text).unwrap(), &expected, "");
}

#[test]
fn credentials_in_a_path_show_neither_in_the_event_nor_in_its_raw_data() {
    let record = r#"{"data_operation_id":"get_object","data_service_name":"s3_gateway","data_repository":"lake","data_ref":"main","data_method":"GET","data_time":"2025-12-25T12:30:00Z","data_password":"hush-3","data_path":"/lake/main/a?X-Amz-Signature=hush-1\u0026X-Amz-Date=20251225\u0026X-Amz-Security-Token=hush-2"}"#;
    let text = encoded(KEY, record, Options { raw_data: true, ..Options::default() }, None).unwrap();
    assert!(!text.contains("hush"), "{text}");
    let event: Value = serde_json::from_str(&text).unwrap();
    let query = "X-Amz-Signature=***&X-Amz-Date=20251225&X-Amz-Security-Token=***";
    assert_holds(
        &event,
        &json!({"http_request": {"url": {"query_string": query}}, "databucket": {"file": {"path": "a"}}}),
        "",
    );
    let raw: Value = serde_json::from_str(event["raw_data"].as_str().unwrap()).unwrap();
    assert_eq!(raw["data_path"], format!("/lake/main/a?{query}"));
    assert_row_without_secret("lakefs", record.as_bytes(), "hush", query);
}

#[test]
fn a_record_that_is_no_json_object_is_refused_with_the_place() {
    let refused = |record: &str| encoded(KEY, record, Options::default(), None).unwrap_err().reason;
    assert_eq!(refused("PAR1"), "no JSON at byte 0");
    assert_eq!(refused("{\"log_audit\":true"), "the JSON ends too soon, at byte 17");
}

fn world() -> World {
    let world = World::new();
    let source = world.path("source");
    std::fs::create_dir_all(&source).unwrap();
    world
        .with(&format!(
            "[feed.lake]\nfamily = \"lakefs\"\ndirectory = {source:?}\nscan_every = \"1s\"\nsinks = [\"out\"]\n"
        ))
        .with_file("out")
}

#[test]
fn each_row_is_delivered_once_however_often_its_object_is_told_of() {
    let world = world();
    let content = fixture("pyarrow-3-row-groups-snappy.parquet");
    world.write(KEY, &content);
    world.once();
    let rows = records_of(KEY, &content);
    assert_eq!(rows.len(), 8);
    assert_eq!(world.delivered("out"), rows);
    // The same content is written again.
    world.write(KEY, &content);
    world.once();
    assert_eq!(world.delivered("out"), rows);
}

#[test]
fn of_a_file_that_is_cut_nothing_is_delivered_and_the_others_are() {
    let world = world();
    let content = fixture("pyarrow-3-row-groups-snappy.parquet");
    world.write(&KEY.replace("log_abc", "log_cut"), &content[..content.len() - 20]);
    world.write(KEY, &content);
    world.once_expecting(&["damaged", "quarantine", "cannot be read"]);
    assert_eq!(world.delivered("out"), records_of(KEY, &content));
}

#[test]
fn an_empty_file_and_one_compressed_once_more_are_refused_whole() {
    let content = fixture("pyarrow-3-row-groups-snappy.parquet");
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&content).unwrap();
    let packed = packed.finish().unwrap();
    for (key, content, reason) in [
        (KEY.to_owned(), Vec::new(), "does not begin and end as Parquet"),
        (format!("{KEY}.gz"), packed, "it is a Parquet file (compressed once more"),
    ] {
        let world = world();
        world.write(&key, &content);
        world.once_expecting(&["damaged", "quarantine", reason]);
        assert_eq!(world.delivered("out"), [""; 0]);
        let mut command = Command::new(env!("CARGO_BIN_EXE_auditferry"));
        let path = world.path("source").join(&key);
        let output = command.args(["decode", "--family", "lakefs"]).arg(&path).output().unwrap();
        assert_eq!(output.status.code(), Some(65), "{key}");
        assert_eq!(output.stdout, b"");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(reason) && !said.contains("PAR1\u{15}"), "{said}");
    }
}

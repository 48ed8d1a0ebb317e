//! One event in every encoding (ECS, each version of OCSF, the record itself), and what the options change.

use auditferry::testing::delta::RecordHash;
use auditferry::testing::event::{Encoded, Encoder, EncodingName, OcsfVersion, Options, Scope};
use auditferry::testing::family::{self, Context};
use auditferry::testing::notification::ObjectId;
use auditferry::testing::records::Record;
use serde_json::{Value, json};

use super::events::assert_heads_are_of_their_lines;
use super::support::ecs::Fields;
use super::support::ocsf::Schema;

const KEY: &str = "workspaceId=1234567890123456/date=2024-01-15/auditlogs_7.json";

/// 2024-01-15T08:00:00Z.
const LAST_MODIFIED_MS: i64 = 1_705_305_600_000;

/// The lines that one encoder makes of the records of one Databricks object.
fn encoded(lines: &[&[u8]], name: EncodingName, options: Options) -> Vec<String> {
    encoded_of("databricks", lines, name, options)
}

pub fn encoded_of(family: &str, lines: &[&[u8]], name: EncodingName, options: Options) -> Vec<String> {
    let object = ObjectId::new("audit-logs", KEY);
    let family = family::named(family).unwrap();
    let context = Context::new(family, &object, Scope::Object(&object), Some(LAST_MODIFIED_MS), "dbx");
    let encoders = [Encoder::new(name, options)];
    let mut out = [Encoded::default()];
    for (index, line) in lines.iter().enumerate() {
        let occurrence = lines[..index].iter().filter(|before| before == &line).count() as u64;
        let record = Record::new(index as u64, line);
        family::encode_record(&context, &record, &RecordHash::of(line), occurrence, &encoders, &mut out).unwrap();
    }
    if name == EncodingName::Ocsf {
        assert_heads_are_of_their_lines(&out[0]);
    }
    String::from_utf8(out[0].bytes.clone()).unwrap().lines().map(str::to_owned).collect()
}

fn one(line: &str, name: EncodingName, options: Options) -> Value {
    serde_json::from_str(&encoded(&[line.as_bytes()], name, options)[0]).unwrap()
}

fn older(line: &str, version: OcsfVersion) -> Value {
    let options = Options { ocsf_version: version, ..Options::default() };
    let lines = encoded(&[line.as_bytes()], EncodingName::Ocsf, options);
    Schema::of_version(version.name()).assert_valid(lines.iter().map(String::as_str));
    serde_json::from_str(&lines[0]).unwrap()
}

fn fixture(name: &str) -> String {
    std::fs::read_to_string(format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn records() -> String {
    fixture("databricks/auditlogs_7.json")
}

fn all_options() -> impl Iterator<Item = Options> {
    let of = |switches: u8, ocsf_version| Options {
        raw_data: switches & 1 != 0,
        observables: switches & 2 != 0,
        labels: switches & 4 != 0,
        ocsf_version,
        ..Options::default()
    };
    OcsfVersion::ALL.into_iter().flat_map(move |version| (0..8).map(move |switches| of(switches, version)))
}

#[test]
fn databricks_records_become_the_ecs_documents_that_its_fields_say() {
    let records = records();
    let lines: Vec<&[u8]> = records.lines().map(str::as_bytes).collect();
    let documents = encoded(&lines, EncodingName::Ecs, Options::default());
    Fields::load().assert_valid(documents.iter().map(String::as_str));
    for expected in fixture("databricks/auditlogs_7.ecs.tsv").lines() {
        let (line, expected) = expected.split_once('\t').unwrap();
        let document: Value = serde_json::from_str(&documents[line.parse::<usize>().unwrap() - 1]).unwrap();
        let expected: Value = serde_json::from_str(expected).unwrap();
        assert_eq!(document, expected, "\n{document:#}\nline {line}");
    }
}

#[test]
fn every_event_is_valid_in_every_version_and_with_every_switch() {
    let records = records();
    let lines: Vec<&[u8]> = records.lines().map(str::as_bytes).collect();
    let fields = Fields::load();
    for options in all_options() {
        let events = encoded(&lines, EncodingName::Ocsf, options);
        assert_eq!(events.len(), lines.len());
        Schema::of_version(options.ocsf_version.name()).assert_valid(events.iter().map(String::as_str));
        if options.ocsf_version == OcsfVersion::V1_8 {
            let documents = encoded(&lines, EncodingName::Ecs, options);
            assert_eq!(documents.len(), lines.len());
            fields.assert_valid(documents.iter().map(String::as_str));
        }
    }
}

#[test]
fn the_identity_is_the_same_in_every_encoding() {
    let records = records();
    let line = records.lines().next().unwrap();
    let ocsf = one(line, EncodingName::Ocsf, Options::default());
    let uid = &ocsf["metadata"]["uid"];
    for version in OcsfVersion::ALL {
        let event = one(line, EncodingName::Ocsf, Options { ocsf_version: version, ..Options::default() });
        assert_eq!(&event["metadata"]["uid"], uid);
    }
    assert_eq!(&one(line, EncodingName::Ecs, Options::default())["event"]["id"], uid);
    assert_eq!(&one(line, EncodingName::Raw, Options { envelope: true, ..Options::default() })["uid"], uid);
}

#[test]
fn what_an_older_version_lacks_stands_in_unmapped_under_its_path() {
    let line = r#"{"timestamp":1705305601234,"serviceName":"accounts","actionName":"login","requestId":"r-1","userIdentity":{"email":"a@example.com"},"requestParams":{"user":"b@example.com"},"ocsf":"mine","response":{"statusCode":200}}"#;
    let event = older(line, OcsfVersion::V1_1);
    assert_eq!(event["metadata"]["version"], "1.1.0");
    assert_eq!(event["unmapped"]["_ocsf"]["metadata.original_event_uid"], "r-1");
    assert_eq!(event["unmapped"]["_ocsf"]["metadata.log_source"], format!("s3://audit-logs/{KEY}"));
    assert_eq!(event["unmapped"]["ocsf"], "mine");
    let event = older(line, OcsfVersion::V1_8);
    assert_eq!(event["metadata"]["original_event_uid"], "r-1");
    assert_eq!(event["unmapped"], json!({"ocsf": "mine"}));
}

#[test]
fn an_attribute_of_a_profile_gets_the_profile_named() {
    let line = r#"{"timestamp":1705305601234,"serviceName":"clusters","actionName":"changeClusterAcl","userIdentity":{"email":"a@example.com"},"requestParams":{"aclPermissionSet":"[CAN_MANAGE]","targetUserId":"8","resourceId":"/clusters/1"},"response":{"statusCode":200}}"#;
    for (version, profiles) in
        [(OcsfVersion::V1_1, json!(["cloud", "datetime", "host"])), (OcsfVersion::V1_8, json!(["cloud", "datetime"]))]
    {
        let event = older(line, version);
        assert_eq!(event["metadata"]["profiles"], profiles, "{version:?}");
        assert_eq!(event["actor"]["user"]["name"], "a@example.com");
    }
}

#[test]
fn a_group_by_itself_is_an_entity_up_to_1_3() {
    let line = r#"{"timestamp":1705305601234,"serviceName":"accounts","actionName":"createGroup","requestParams":{"targetGroupName":"admins","targetGroupId":"12"},"response":{"statusCode":200}}"#;
    for version in [OcsfVersion::V1_1, OcsfVersion::V1_3] {
        let event = older(line, version);
        assert_eq!((&event["class_uid"], &event["type_uid"]), (&json!(3004), &json!(300_401)));
        assert_eq!(event["type_name"], "Entity Management: Create");
        assert_eq!(event["activity_name"], "Create");
        assert_eq!(event["entity"]["name"], "admins");
        assert_eq!(event["entity"]["uid"], "12");
    }
    for version in [OcsfVersion::V1_5, OcsfVersion::V1_8] {
        let event = older(line, version);
        assert_eq!(event["type_uid"], 300_606);
        assert_eq!(event["group"], json!({"name": "admins", "uid": "12"}));
    }
}

#[test]
fn values_of_any_depth_and_exactness_reach_every_version() {
    let deep = format!("{}9007199254740993{}", "[".repeat(120), "]".repeat(120));
    let line = format!(
        r#"{{"timestamp":1705305601234,"serviceName":"x","actionName":"getThing","response":{{"statusCode":200,"result":{deep}}},"requestParams":{{"n":1.50}}}}"#
    );
    for version in OcsfVersion::ALL {
        let options = Options { ocsf_version: version, ..Options::default() };
        let event = &encoded(&[line.as_bytes()], EncodingName::Ocsf, options)[0];
        assert!(event.contains(&deep) && event.contains(r#""n":1.50"#), "{event}");
        assert!(event.contains(version.name()));
    }
}

/// OCSF versions without a length limit have the whole text; the others have its beginning, and the whole text in
/// `unmapped`.
#[test]
fn a_text_longer_than_a_version_takes_is_cut_and_kept_whole_beside_the_event() {
    let long = "é".repeat(65_537);
    let line = json!({
        "timestamp": 1_705_305_601_234_i64, "serviceName": "x", "actionName": "getThing",
        "userIdentity": {"email": long},
        "response": {"statusCode": 400, "errorMessage": long, "result": long},
    })
    .to_string();
    for version in OcsfVersion::ALL {
        let is_cut = matches!(version, OcsfVersion::V1_1 | OcsfVersion::V1_3);
        let expected = if is_cut { &long[..65_535 * 2] } else { &long };
        let options = Options { ocsf_version: version, raw_data: true, ..Options::default() };
        let text = &encoded(&[line.as_bytes()], EncodingName::Ocsf, options)[0];
        Schema::of_version(version.name()).assert_valid([text.as_str()]);
        let event: Value = serde_json::from_str(text).unwrap();
        assert!(event["status_detail"] == expected && event["actor"]["user"]["name"] == expected);
        let kept = &event["unmapped"]["ocsf"];
        for path in ["status_detail", "actor.user.name"] {
            assert!(if is_cut { kept[path] == *long } else { kept[path].is_null() }, "{path}");
        }
        let observed = event["observables"].as_array().unwrap();
        assert!(observed.iter().any(|it| it["name"] == "actor.user.name" && it["value"] == expected));
        assert!(event["api"]["response"]["data"] == *long);
        let raw_data = event["raw_data"].as_str().unwrap();
        let characters = if is_cut { 65_535 } else { line.chars().count() };
        assert!(raw_data.chars().count() == characters && line.starts_with(raw_data));
        assert!(kept["raw_data"].is_null());
        let size = if is_cut { &kept["raw_data_size"] } else { &event["raw_data_size"] };
        assert_eq!(*size, line.len());
    }
}

#[test]
fn an_address_that_a_version_does_not_take_for_one_is_kept_beside_the_event() {
    for email in ["o'brien@example.com", "a&b@example.com"] {
        let line = json!({
            "timestamp": 1_705_305_601_234_i64, "serviceName": "x", "actionName": "getThing",
            "userIdentity": {"email": email},
        })
        .to_string();
        for version in OcsfVersion::ALL {
            let event = older(&line, version);
            let is_taken = version != OcsfVersion::V1_1;
            let user = &event["actor"]["user"];
            let kept = &event["unmapped"]["ocsf"]["actor.user.email_addr"];
            assert_eq!(user["name"], email);
            assert_eq!(if is_taken { &user["email_addr"] } else { kept }, email);
            assert!(if is_taken { kept } else { &user["email_addr"] }.is_null());
            let observed = event["observables"].as_array().unwrap();
            assert_eq!(observed.iter().any(|it| it["name"] == "actor.user.email_addr"), is_taken);
        }
    }
}

/// OCSF has the method PATCH since 1.8.0, or since a version before it that this program does not write.
#[test]
fn a_method_that_a_version_does_not_know_is_kept_beside_the_event() {
    let record = |method: &str| {
        json!({
            "log_audit": true, "msg": "HTTP call ended", "operation_id": "updatePullRequest", "method": method,
            "path": "/api/v1/repositories/r/pulls/1", "time": "2025-12-25T12:30:00Z", "status_code": 200,
        })
        .to_string()
    };
    for version in OcsfVersion::ALL {
        let options = Options { ocsf_version: version, ..Options::default() };
        for (method, is_known) in [("PATCH", version == OcsfVersion::V1_8), ("POST", true)] {
            let line = record(method);
            let lines = encoded_of("lakefs", &[line.as_bytes()], EncodingName::Ocsf, options);
            Schema::of_version(version.name()).assert_valid(lines.iter().map(String::as_str));
            let event: Value = serde_json::from_str(&lines[0]).unwrap();
            let kept = &event["unmapped"]["ocsf"]["http_request.http_method"];
            let written = &event["http_request"]["http_method"];
            assert_eq!(if is_known { written } else { kept }, method, "{version:?}");
            assert!(if is_known { kept } else { written }.is_null(), "{version:?}");
        }
    }
}

#[test]
fn the_switches_leave_out_what_they_name() {
    let line = r#"{"serviceName":"secrets","actionName":"putSecret","userIdentity":{"email":"a@example.com"},"requestParams":{"string_value":"hush"}}"#;
    let with = Options { raw_data: true, ..Options::default() };
    let without = Options { raw_data: false, observables: false, labels: false, ..Options::default() };
    let (more, less) = (one(line, EncodingName::Ocsf, with), one(line, EncodingName::Ocsf, without));
    assert_eq!(more["raw_data"], line.replace("hush", "***"));
    assert_eq!(more["metadata"]["labels"], json!(["time_inferred"]));
    assert!(more["observables"].is_array());
    assert!(less["raw_data"].is_null() && less["observables"].is_null() && less["metadata"]["labels"].is_null());
    let (more, less) = (one(line, EncodingName::Ecs, with), one(line, EncodingName::Ecs, without));
    assert_eq!(more["event"]["original"], line.replace("hush", "***"));
    assert_eq!(more["tags"], json!(["time_inferred"]));
    assert_eq!(more["related"]["user"], json!(["a@example.com"]));
    assert!(less["event"]["original"].is_null() && less["tags"].is_null() && less["related"].is_null());
}

#[test]
fn a_raw_record_stands_in_its_envelope_with_where_it_was_read() {
    let lines = [
        br#"{"timestamp":1705305601234,"serviceName":"x"}"#.as_slice(),
        br#" {"timestamp":1705305601234,"serviceName":"x","a":"\"q\""}"#,
    ];
    assert_eq!(encoded(&lines, EncodingName::Raw, Options::default())[1].as_bytes(), lines[1]);
    let options = Options { envelope: true, ..Options::default() };
    let envelopes = encoded(&lines, EncodingName::Raw, options);
    let second: Value = serde_json::from_str(&envelopes[1]).unwrap();
    assert_eq!(second["record"], std::str::from_utf8(lines[1]).unwrap());
    assert_eq!(
        (&second["feed"], &second["object"], &second["ordinal"]),
        (&json!("dbx"), &json!(format!("s3://audit-logs/{KEY}")), &json!(1))
    );
    assert!(second["is_lossy"].is_null());
}

#[test]
fn the_ecs_validator_takes_what_is_valid_and_refuses_what_is_not() {
    let fields = Fields::load();
    let verdicts = fixture("ecs/verdicts.tsv");
    let mut judged = [0, 0];
    for line in verdicts.lines() {
        let (expected, event) = line.split_once('\t').unwrap();
        let faults = fields.faults(event);
        assert_eq!(faults.is_empty(), expected == "valid", "{faults:?}\n{event}");
        judged[usize::from(expected == "valid")] += 1;
    }
    assert!(judged[0] >= 25 && judged[1] >= 10, "{judged:?}");
}

//! A line's events grow in proportion to the line, not to its square, whatever an attacker writes into it.

use auditferry::testing::delta::RecordHash;
use auditferry::testing::event::{Encoded, Encoder, EncodingName, Options, Scope};
use auditferry::testing::family::{self, Context, RecordBudget};
use auditferry::testing::notification::ObjectId;
use auditferry::testing::records::Record;
use serde_json::{Value, json};

use super::columns::whole_record;

const YDB: &str = "2022-08-03T22:41:43.1Z node 1 :FLAT_TX_SCHEMESHARD NOTICE: AUDIT: txId: 1, subject: a, status: S";

/// Bytes of all events of a line, with raw data.
fn bytes_of(family: &str, line: &str) -> Option<usize> {
    let object = ObjectId::new("b", "k");
    let family = family::named(family).unwrap();
    let context = Context::new(family, &object, Scope::Object(&object), Some(1_705_305_600_000), "test");
    let of = |name| Encoder::new(name, Options { raw_data: true, ..Options::default() });
    let [ocsf, ecs, raw] = [EncodingName::Ocsf, EncodingName::Ecs, EncodingName::Raw].map(of);
    let encoders = [ocsf, ecs, raw, Encoder::of_columns(whole_record())];
    let mut out = encoders.each_ref().map(|_| Encoded::default());
    let record = Record::new(0, line.as_bytes());
    family::encode_record(&context, &record, &RecordHash::of(line.as_bytes()), 0, &encoders, &mut out).ok()?;
    Some(out.iter().map(|own| own.bytes.len()).sum())
}

fn immuta(fields: &Value) -> String {
    let mut record = json!({"recordType": "x", "dateTime": 1_628_524_947_022_i64, "userId": "a"});
    record.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    record.to_string()
}

fn wrapped(pad: usize, records: usize) -> String {
    let record = immuta(&json!({}));
    json!({"pad": "x".repeat(pad), "messages": vec![json!({"message": record}); records]}).to_string()
}

#[test]
fn four_times_the_line_gives_at_most_about_four_times_the_events() {
    type Line = fn(usize) -> String;
    let lines: [(&str, &str, Line); 19] = [
        ("ydb", "entries", |n| format!("{YDB}, operation: MODIFY ACL, path: /R{}", ", add access: +R:a".repeat(n))),
        ("ydb", "operations", |n| format!("{YDB}{}", ", operation: CREATE TABLE, path: /R/a".repeat(n))),
        ("ydb", "a field and many entries", |n| {
            let (entries, field) = (vec!["+R:a"; n].join(", "), "x".repeat(100 * n));
            format!(
                r#"2025-11-03T18:00:00Z: {{"component":"x","operation":"MODIFY ACL","status":"S","acl_add":"[{entries}]","own":"{field}"}}"#
            )
        }),
        ("ydb", "much around many operations", |n| {
            let line = format!("{YDB}{}", ", operation: CREATE TABLE, path: /R/a".repeat(n));
            json!({"message": line, "pad": "x".repeat(100 * n), "list": vec!["\u{1}"; n]}).to_string()
        }),
        ("ydb", "a reason of many operations", |n| {
            let operations = ", operation: CREATE TABLE, path: /R/a".repeat(n);
            format!("{YDB}, reason: {}{operations}", "x".repeat(100 * n))
        }),
        ("ydb", "a request of many entries", |n| {
            let entries = ", add access: +R:a".repeat(n);
            format!(
                "{YDB}, operation: CREATE TABLE, path: /R/a{entries}, protobuf request: A {{ B: \"{}\" }}",
                "x".repeat(100 * n)
            )
        }),
        ("ydb", "many paths and entries that are none", |n| {
            let (entries, paths) = (vec!["+?"; n].join(", "), vec!["/R/a"; n].join(", "));
            format!(
                "2025-11-03T18:00:00Z: component=x, operation=MODIFY ACL, status=SUCCESS, paths=[{paths}], acl_add=[{entries}]"
            )
        }),
        ("ydb", "a masked query of many entries", |n| {
            let entries = vec!["+R:a"; n].join(", ");
            format!(
                "2025-11-03T18:00:00Z: component=x, operation=MODIFY ACL, status=SUCCESS, paths=[/R], acl_add=[{entries}], query_text=CREATE USER u PASSWORD 's3cr3t'"
            )
        }),
        ("ydb", "queries in a parameter", |n| {
            let query = "params=x&token=S&".repeat(n);
            format!(r#"2025-11-03T18:00:00Z: {{"component":"x","operation":"y","status":"S","query_text":"{query}"}}"#)
        }),
        ("immuta", "addresses in each other", |n| immuta(&json!({"query": format!("/x{}", "?a=".repeat(n))}))),
        ("s3_access", "addresses in each other", |n| {
            let uri = format!("GET /a?{} HTTP/1.1", "a=?token=".repeat(n));
            format!(
                "79a5 b [06/Feb/2019:00:00:38 +0000] 192.0.2.3 who R1 REST.GET.OBJECT a \"{uri}\" 200 - 1 2 3 4 \"-\" \"agent\" -"
            )
        }),
        ("lakefs", "addresses in each other", |n| {
            format!(
                r#"{{"log_audit":true,"time":"2024-01-15T08:00:00Z","operation_id":"x","path":"/api/v1/{}"}}"#,
                "?a=".repeat(n)
            )
        }),
        ("immuta", "many records", |n| wrapped(10, n)),
        ("immuta", "many records and much around them", |n| wrapped(200 * n, n)),
        ("immuta", "objects one after another", |n| {
            json!({"pad": "x".repeat(500), "log": immuta(&json!({}))}).to_string().repeat(n)
        }),
        ("immuta", "lists in each other", |n| {
            let inner = json!({"pad": "x".repeat(50 * n), "message": vec![immuta(&json!({})); n]});
            json!({"pad": "x".repeat(50 * n), "records": [inner]}).to_string()
        }),
        ("immuta", "a container's line and many records", |n| {
            json!({"log": wrapped(10, n), "stream": "stdout", "pad": "x".repeat(100 * n)}).to_string()
        }),
        ("databricks", "a list of records", |n| {
            json!(vec![json!({"timestamp": 1_705_305_600_000_i64, "serviceName": "x", "actionName": "y"}); n])
                .to_string()
        }),
        ("lakefs", "a list of records", |n| {
            json!(vec![json!({"log_audit": true, "time": "2024-01-15T08:00:00Z", "operation_id": "x"}); n]).to_string()
        }),
    ];
    for (family, name, line) in lines {
        let [small, large] =
            [400, 1600].map(|n| bytes_of(family, &line(n)).unwrap_or_else(|| panic!("{family} {name}")));
        assert!(large < small * 5, "{family} {name}: {small} and {large} bytes");
        assert!(large < line(1600).len() * 300, "{family} {name}: {large} bytes of {}", line(1600).len());
    }
}

/// The events of a line within a record budget, with raw data.
fn told(line: &str, budget: RecordBudget) -> Vec<Value> {
    let object = ObjectId::new("b", "k");
    let family = family::named("ydb").unwrap();
    let context = Context::new(family, &object, Scope::Object(&object), None, "test").with_budget(budget);
    let encoders = [Encoder::new(EncodingName::Ocsf, Options { raw_data: true, ..Options::default() })];
    let mut out = [Encoded::default()];
    let (record, hash) = (Record::new(0, line.as_bytes()), RecordHash::of(line.as_bytes()));
    let events = family::encode_record(&context, &record, &hash, 0, &encoders, &mut out).unwrap();
    let told: Vec<Value> =
        out[0].bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    assert_eq!(told.len(), events as usize);
    told
}

fn is_incomplete(event: &Value) -> bool {
    let has_label = event["metadata"]["labels"].as_array().is_some_and(|labels| labels.contains(&json!("incomplete")));
    assert_eq!(has_label, event["metadata"]["is_truncated"] == true);
    has_label
}

/// A record past its budget gives what fits, and is not refused: else its writer could hide it.
#[test]
fn of_a_record_past_its_budget_the_rest_is_left_out_and_that_is_said() {
    let entries = |n: usize| format!("{YDB}, operation: MODIFY ACL, path: /R{}", ", add access: +R:a".repeat(n));
    let operations = |n: usize| format!("{YDB}{}", ", operation: CREATE TABLE, path: /R/a".repeat(n));
    let budget = RecordBudget { events_max: 10, ..RecordBudget::default() };
    for line in [entries, operations] {
        assert_eq!(told(&line(10), budget).iter().filter(|event| is_incomplete(event)).count(), 0);
        for n in [11, 1000] {
            let told = told(&line(n), budget);
            assert_eq!(told.len(), 11);
            assert_eq!(told.iter().position(is_incomplete), Some(10));
        }
    }
    let budget = RecordBudget { output_bytes_max: 20_000, ..RecordBudget::default() };
    let told_of = told(&entries(1000), budget);
    let bytes: usize = told_of.iter().map(|event| event.to_string().len()).sum();
    assert_eq!(told_of.iter().position(is_incomplete), Some(told_of.len() - 1));
    assert!((20_000..30_000).contains(&bytes), "{bytes}");
    // At least one event is emitted.
    let one = told(&format!("{YDB}, operation: DROP TABLE, path: /R/{}", "a".repeat(30_000)), budget);
    assert!(one.len() == 1 && !is_incomplete(&one[0]));
}

#[test]
fn a_record_of_thousands_of_operations_is_told() {
    let line = format!("{YDB}{}", ", operation: CREATE TABLE, path: /Root/a".repeat(4000));
    let told = told(&line, RecordBudget::default());
    assert!(told.len() == 4000 && !told.iter().any(is_incomplete));
    let long = format!(
        "{YDB}, reason: {}, operation: MODIFY ACL, path: /R{}",
        "x".repeat(60_000),
        ", add access: +R:a".repeat(5000)
    );
    assert!(bytes_of("ydb", &long).is_some_and(|bytes| bytes < 300 << 20));
}

/// The first of a record's events holds the record and what all its events share; the other events name the first.
#[test]
fn what_a_record_s_events_share_stands_in_the_first_of_them() {
    let entries = ", add access: +R:a".repeat(3);
    let line = format!("{YDB}, reason: {}, operation: CREATE TABLE, path: /R/a{entries}", "x".repeat(1025));
    let short = format!("{YDB}, reason: no room, operation: CREATE TABLE, path: /R/a{entries}");
    let wrapped = json!({"message": line, "host": "h1"}).to_string();
    let found = super::container_logs::read("ydb", wrapped.as_bytes()).records.remove(0).unwrap();
    assert_eq!(found.len(), 4);
    let (first, later) = found.split_first().unwrap();
    assert_eq!(first["raw_data"], wrapped);
    assert_eq!((&first["unmapped"]["node"], &first["unmapped"]["envelope"]["host"]), (&json!(1), &json!("h1")));
    assert_eq!(
        (&first["unmapped"]["first_event_uid"], first["status_detail"].as_str().unwrap().len()),
        (&Value::Null, 1025)
    );
    for event in later {
        let own = (&event["unmapped"]["add access"], &event["unmapped"]["first_event_uid"]);
        assert_eq!(own, (&json!("+R:a"), &first["metadata"]["uid"]));
        let shared =
            [&event["unmapped"]["node"], &event["unmapped"]["envelope"], &event["raw_data"], &event["status_detail"]];
        assert_eq!(shared, [&Value::Null; 4]);
    }
    let found = super::container_logs::read("ydb", short.as_bytes()).records.remove(0).unwrap();
    assert!(found.iter().all(|event| event["status_detail"] == "no room"));
}

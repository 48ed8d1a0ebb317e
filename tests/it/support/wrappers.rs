//! Records of each family, and the wrappers in which shippers put several of them.

use serde_json::{Value, json};

/// The actor in each record, whom a feed may want to redact.
pub const SECRET: &str = "kim@example.org";

/// A family, the path of the actor, and a function that makes a record from a number.
pub type Case = (&'static str, &'static str, fn(u32) -> String);

pub const CASES: &[Case] = &[
    ("databricks", "userIdentity.email", databricks),
    ("lakefs", "user", lakefs),
    ("lakefs", "data_user", lakefs_cloud),
    ("immuta", "userId", immuta),
    ("ydb", "subject", ydb),
    ("ydb", "subject", ydb_timed),
    ("ydb", "subject", ydb_text),
    ("ydb", "subject", ydb_common),
    ("s3_access", "requester", s3_access),
];

fn databricks(number: u32) -> String {
    json!({
        "timestamp": 1_747_037_350_123_u64, "serviceName": "clusters", "actionName": "create", "requestId": format!("rec-{number}"),
        "userIdentity": {"email": SECRET}, "requestParams": {}, "response": {"statusCode": 200},
    })
    .to_string()
}

fn lakefs(number: u32) -> String {
    json!({
        "log_audit": true, "time": "2025-05-12T08:09:10Z", "user": SECRET, "method": "GET", "path": "/api/v1/repositories/r/branches",
        "operation_id": "listBranches", "service_name": "rest_api", "status_code": 200, "request_id": format!("rec-{number}"),
    })
    .to_string()
}

fn lakefs_cloud(number: u32) -> String {
    json!({
        "data_operation_id": "list_branches", "data_user": SECRET, "data_time": 1_747_037_350, "data_path": "/api/v1/repositories/r",
        "data_request_id": format!("rec-{number}"), "data_service_name": "rest_api", "data_status_code": 200,
    })
    .to_string()
}

pub fn immuta(number: u32) -> String {
    json!({
        "level": "audit", "message": "Audit - sqlQuery", "dateTime": 1_747_037_350_123_u64, "userId": SECRET,
        "recordType": "sqlQuery", "success": true, "id": format!("rec-{number}"),
    })
    .to_string()
}

fn ydb(number: u32) -> String {
    json!({
        "@timestamp": "2025-05-12T08:09:10.123456Z", "@log_type": "audit", "component": "schemeshard", "operation": "CREATE TABLE",
        "status": "SUCCESS", "subject": SECRET, "paths": "[/Root/t]", "tx_id": format!("rec-{number}"),
    })
    .to_string()
}

fn ydb_timed(number: u32) -> String {
    format!("2025-05-12T08:09:10.123456Z: {}", ydb(number))
}

fn ydb_text(number: u32) -> String {
    format!(
        "2025-05-12T08:09:10.123456Z: component=schemeshard, tx_id=rec-{number}, subject={SECRET}, status=SUCCESS, operation=CREATE TABLE"
    )
}

fn ydb_common(number: u32) -> String {
    format!(
        "2025-05-12T08:09:10.123456Z node 1 :FLAT_TX_SCHEMESHARD NOTICE: AUDIT: txId: 70{number}, database: /Root, subject: {SECRET}, status: StatusAccepted, operation: DROP TABLE, path: /Root/t"
    )
}

pub fn s3_access(number: u32) -> String {
    format!(
        "79a5b6c7 bucket [12/May/2025:08:09:10 +0000] 192.0.2.3 {SECRET} REC{number} REST.GET.OBJECT a/b \"GET /a/b HTTP/1.1\" 200 - 1 2 3 4 \"-\" \"agent\" - h= SigV4 C AuthHeader host TLSv1.2 - -"
    )
}

/// A record as a JSON value; `None` if it is not JSON.
pub fn value(record: &str) -> Option<Value> {
    serde_json::from_str(record).ok()
}

/// Lines that hold the texts of several records, each with its wrapper's name.
pub fn lines_of(records: &[String]) -> Vec<(&'static str, String)> {
    let texts: Vec<Value> =
        records.iter().map(|record| json!({"date": 1.5, "log": format!("{record}\n"), "stream": "stdout"})).collect();
    let side_by_side = |texts: &[Value]| texts.iter().map(Value::to_string).collect::<Vec<_>>();
    let members: serde_json::Map<String, Value> = ["body", "event", "message"]
        .iter()
        .zip(records)
        .map(|(name, record)| ((*name).to_owned(), json!(record)))
        .collect();
    let mut lines = vec![
        ("objects", side_by_side(&texts).concat()),
        ("objects and spaces", side_by_side(&texts).join(" ")),
        ("list of objects", json!(texts).to_string()),
        ("list of texts", json!(records).to_string()),
        ("records", json!({"Records": texts}).to_string()),
        ("subscription", json!({"owner": "1", "logGroup": "g", "logEvents": texts}).to_string()),
        ("members", Value::Object(members.clone()).to_string()),
        ("messages", json!({"host": "h", "messages": records}).to_string()),
        ("log and another", json!({"log": records[0], "stream": "stdout", "messages": &records[1..]}).to_string()),
        (
            "log of a log",
            json!({"log": json!({"message": records}).to_string() + "\n", "stream": "stdout"}).to_string(),
        ),
        ("container", format!("2025-05-12T08:09:11Z stdout F {}", side_by_side(&texts).concat())),
        (
            "container in pieces",
            format!(
                "2025-05-12T08:09:11Z stdout P {{\"messages\":\n2025-05-12T08:09:11Z stdout F {}}}",
                json!(records)
            ),
        ),
        ("behind another", format!("{{\"log\":\"starting\"}}{}", side_by_side(&texts).concat())),
    ];
    if let Some(values) = records.iter().map(|record| value(record)).collect::<Option<Vec<Value>>>() {
        let named: Vec<Value> = values.iter().map(|record| json!({"host": "h", "message": record})).collect();
        lines.extend([
            ("bare objects", records.concat()),
            ("list of records", json!(values).to_string()),
            ("records read", json!({"records": values}).to_string()),
            ("messages read", json!(named).to_string()),
            ("text and read", json!({"log": records[0], "message": values[1], "parsed": values[2]}).to_string()),
            ("in a text", json!({"log": records.concat(), "stream": "stdout"}).to_string()),
        ]);
    }
    lines
}

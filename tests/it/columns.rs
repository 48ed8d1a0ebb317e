//! Records as rows of a receiver's own table: Microsoft's `DatabricksAudit_CL`, and tables that an operator defines.

use auditferry::testing::delta::RecordHash;
use auditferry::testing::event::{Column, Columns, Encoded, Encoder, Scope};
use auditferry::testing::family::{self, Context};
use auditferry::testing::notification::ObjectId;
use auditferry::testing::records::Record;
use serde_json::{Value, json};

use super::support::records::{object, records};
use super::support::world::{KEY, World};

const BUCKET: &str = "audit-logs";

/// The columns of `databricks_audit`, and three more: the whole record as JSON and as text, and its uid.
pub fn whole_record() -> Columns {
    let column = |name: &str, held| (name.to_owned(), Column::new(held).unwrap());
    let more = [column("Record", "@record"), column("Text", "@record as string"), column("Uid", "@uid")];
    Columns::of_table("databricks_audit").unwrap().with(more)
}

/// The rows of one line, and how many events it gives.
fn rows(family: &str, columns: Columns, line: &[u8]) -> (Vec<Value>, u32) {
    let object = ObjectId::new(BUCKET, KEY);
    let family = family::named(family).unwrap();
    // 2024-01-15T08:00:00Z.
    let context = Context::new(family, &object, Scope::Object(&object), Some(1_705_305_600_000), "dbx");
    let mut out = [Encoded::default()];
    let (record, hash) = (Record::new(0, line), RecordHash::of(line));
    let encoders = [Encoder::of_columns(columns)];
    let events = family::encode_record(&context, &record, &hash, 0, &encoders, &mut out).unwrap();
    let [Encoded { bytes, heads, .. }] = out;
    let rows: Vec<Value> =
        bytes.split_inclusive(|byte| *byte == b'\n').map(|row| serde_json::from_slice(row).unwrap()).collect();
    assert_eq!(rows.len(), heads.len());
    (rows, events)
}

/// Asserts that rows which hold the whole record contain `kept`, and nowhere `secret`.
pub fn assert_row_without_secret(family: &str, line: &[u8], secret: &str, kept: &str) {
    let (rows, _) = rows(family, whole_record(), line);
    for row in rows {
        let row = row.to_string();
        assert!(row.contains(kept) && !row.contains(secret), "{}\n{row}", String::from_utf8_lossy(line));
    }
}

/// The row of one record in the table that the Microsoft Sentinel solution "Databricks" reads.
fn audit_row(line: &str) -> Value {
    let (mut rows, _) = rows("databricks", Columns::of_table("databricks_audit").unwrap(), line.as_bytes());
    assert_eq!(rows.len(), 1, "{line}");
    rows.remove(0)
}

/// Adds the object's name to an expected row. The fixture's rows are what the solution's data collection rule
/// (`transformKql`, version 3.0.0) makes of the records, without columns that have no value; that rule leaves the
/// object's name empty.
fn with_object(mut row: Value) -> Value {
    row["S3Bucket"] = json!(BUCKET);
    row["S3Key"] = json!(KEY);
    row
}

#[test]
fn databricks_records_become_the_rows_that_microsofts_rule_makes_of_them() {
    let folder = format!("{}/tests/fixtures/databricks", env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| std::fs::read_to_string(format!("{folder}/{name}")).unwrap();
    let lines = read("auditlogs_7.json");
    let lines: Vec<&str> = lines.lines().collect();
    for expected in read("auditlogs_7.columns.tsv").lines() {
        let (number, expected) = expected.split_once('\t').unwrap();
        let row = audit_row(lines[number.parse::<usize>().unwrap() - 1]);
        assert_eq!(row, with_object(serde_json::from_str(expected).unwrap()), "line {number}");
    }
}

#[test]
fn a_workspace_without_an_id_of_its_own_has_its_organisations() {
    for (workspace, expected) in
        [("", "12"), (",\"workspaceId\":null", "12"), (",\"workspaceId\":\"\"", "12"), (",\"workspaceId\":\"3\"", "3")]
    {
        let row = audit_row(&format!("{{\"timestamp\":1759795440000,\"serviceName\":\"a\",\"orgId\":12{workspace}}}"));
        assert_eq!([&row["OrgId"], &row["WorkspaceId"]], ["12", expected], "{workspace}");
        assert_eq!(row["EventTime"], "2025-10-07T00:04:00.000Z");
    }
}

#[test]
fn what_a_shipper_put_around_a_record_shows_in_no_column() {
    let line = &records(0..1)[0];
    let wrapped = json!({"host": "h", "message": line}).to_string();
    assert_eq!(audit_row(&wrapped), audit_row(line));
    let two = json!({"logEvents": [{"message": line}, {"message": records(1..2)[0]}]}).to_string();
    let (rows, _) = rows("databricks", Columns::of_table("databricks_audit").unwrap(), two.as_bytes());
    assert_eq!(
        rows.iter().map(|row| row["RequestId"].as_str().unwrap()).collect::<Vec<_>>(),
        ["request-0", "request-1"]
    );
}

#[test]
fn a_record_of_several_events_is_one_row() {
    let line = r#"{"@timestamp":"2025-11-03T18:07:41.000001Z","@log_type":"audit","component":"schemeshard","operation":"CREATE RESOURCE POOL","paths":"[default]","status":"SUCCESS","detailed_status":"StatusAccepted","tx_id":"5","database":"/Root","acl_add":"[+U:root, +(SR|DS):all-users@well-known]","new_owner":"metadata@system","subject":"ann"}"#;
    let column = |name: &str, held| (name.to_owned(), Column::new(held).unwrap());
    let columns =
        Columns::default().with([column("Who", "subject"), column("What", "operation"), column("Class", "@class")]);
    let (rows, events) = rows("ydb", columns, line.as_bytes());
    assert!(rows.len() == 1 && events > 1, "{events} events");
    assert_eq!([&rows[0]["Who"], &rows[0]["What"]], ["ann", "CREATE RESOURCE POOL"]);
}

#[test]
fn a_sink_writes_the_columns_of_its_table_and_its_own() {
    let world = World::new().with_directory_feed(&["out"]);
    let path = world.output("out");
    let world = world.with(&format!(
        "[sink.out]\ntype = \"file\"\npath = {path:?}\n[sink.out.encoding]\nname = \"columns\"\ntable = \"databricks_audit\"\n\
         columns = {{ Uid = \"@uid\", Feed = \"@feed\", ShardName = \"=none\" }}\n"
    ));
    world.write(KEY, &object(&records(0..2)));
    world.once();
    let rows: Vec<Value> = world.delivered("out").iter().map(|row| serde_json::from_str(row).unwrap()).collect();
    assert_eq!(rows.len(), 2);
    for (number, row) in rows.iter().enumerate() {
        assert_eq!(row["RequestId"], format!("request-{number}"));
        assert_eq!([&row["Feed"], &row["ShardName"], &row["S3Key"]], ["audit", "none", KEY]);
        assert_eq!(row["Uid"].as_str().unwrap().len(), 36);
    }
}

//! The writer of one value of a record can neither keep the record from the receiver nor forge another record
//! unnoticed.

use serde_json::{Value, json};

use super::container_logs::read;

const SCHEME: &str = "2024-01-15T08:00:00.000000Z node 1 :FLAT_TX_SCHEMESHARD NOTICE: AUDIT: txId: 1, database: /Root, subject: bob@x, status: StatusSuccess";

fn events(line: &str) -> Vec<Value> {
    read("ydb", line.as_bytes()).records.remove(0).unwrap_or_else(|refusal| panic!("{line}: {}", refusal.reason))
}

fn has_label(event: &Value, label: &str) -> bool {
    event["metadata"]["labels"].as_array().is_some_and(|labels| labels.contains(&json!(label)))
}

/// The users to whom access was granted, according to the events.
fn grantees(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["user"]["name"].as_str()).collect()
}

const GRANTS: &str = ", add access: +(F):mallory@x, add access: +R:x";

#[test]
fn what_cannot_be_read_as_a_request_hides_no_grant() {
    let whole = r#"WorkingDir: "" OperationType: ESchemeOpModifyACL ModifyACL { Name: "Root" DiffACL: "x" }"#;
    for (tail, request) in [
        (", protobuf request: {{{".to_owned(), "{{{"),
        (", protobuf request: A: \"x".to_owned(), "A: \"x"),
        (", protobuf request: }".to_owned(), "}"),
        (format!(", protobuf request: {whole}"), whole),
    ] {
        let line = format!("{SCHEME}, operation: MODIFY ACL, path: /Root{GRANTS}{tail}");
        let events = events(&line);
        assert_eq!(grantees(&events), ["mallory@x", "x"], "{line}");
        assert!(events.iter().all(|event| has_label(event, "ambiguous") == (request != whole)), "{line}");
        assert_eq!(events[0]["unmapped"]["protobuf request"], request, "{line}");
    }
}

/// A client writes the path; the product writes what follows it.
#[test]
fn what_looks_like_a_request_in_a_path_hides_no_grant() {
    let whole =
        r#", protobuf request: WorkingDir: "" OperationType: ESchemeOpModifyACL ModifyACL { Name: "b" DiffACL: "x" }"#;
    for path in [
        "/Root/a, protobuf request: {{{",
        "/Root/a, protobuf request: A: \"",
        "/Root/a, protobuf request: A: 1",
        "/Root/a, protobuf request: A { B: 1 }",
        "/Root/a, protobuf request: ",
    ] {
        for tail in ["", whole] {
            let line = format!("{SCHEME}, operation: MODIFY ACL, path: {path}{GRANTS}{tail}");
            let events = events(&line);
            let found = grantees(&events);
            assert!(found.contains(&"mallory@x") && found.len() == 2, "{line}: {found:?}");
            assert!(events.iter().all(|event| has_label(event, "ambiguous")), "{line}");
        }
    }
}

#[test]
fn what_looks_like_a_request_in_a_subject_hides_no_record() {
    let line = SCHEME.replace("bob@x", "bob, protobuf request: {{{") + ", operation: MODIFY ACL, path: /R" + GRANTS;
    let events = events(&line);
    assert_eq!(grantees(&events), ["mallory@x", "x"]);
    assert!(events.iter().all(|event| has_label(event, "ambiguous")));
}

#[test]
fn an_operation_behind_a_damaged_request_is_told_too() {
    let damaged = r#", operation: CREATE DIRECTORY, path: /R/a, protobuf request: WorkingDir: "/R" MkDir { Name: "a" "#;
    let whole = r#", operation: DROP TABLE, path: /R/b, protobuf request: WorkingDir: "/R" Drop { Name: "b" }"#;
    let found = events(&format!("{SCHEME}{damaged}{whole}"));
    let code = |event: &Value| event["metadata"]["event_code"].clone();
    assert_eq!(found.iter().map(code).collect::<Vec<_>>(), ["CREATE DIRECTORY", "DROP TABLE"]);
    assert_eq!(found[0]["unmapped"]["protobuf request"], r#"WorkingDir: "/R" MkDir { Name: "a" "#);
    assert!(found.iter().all(|event| has_label(event, "ambiguous")));
}

#[test]
fn an_operation_that_nobody_knows_hides_none_behind_it() {
    let found =
        events(&format!("{SCHEME}, operation: spelled otherwise, path: /R/a, operation: DROP TABLE, path: /R/b"));
    let code = |event: &Value| event["metadata"]["event_code"].clone();
    assert_eq!(found.iter().map(code).collect::<Vec<_>>(), ["spelled otherwise", "DROP TABLE"]);
    assert!(found.iter().all(|event| has_label(event, "ambiguous")));
}

#[test]
fn a_field_that_a_query_may_have_forged_is_flagged() {
    let line = "2024-01-15T08:00:00.000000Z: component=grpc, query_text=SELECT 1, remote_address=6.6.6.6, login_user=admin, subject=mallory@x, status=SUCCESS, operation=ExecuteQuery";
    assert!(has_label(&events(line)[0], "ambiguous"));
}

const TEXT: &str = "2024-01-15T08:00:00.000000Z: component=schemeshard, tx_id=1, status=SUCCESS, subject=mallory@x, operation=DROP TABLE";
const FORGED: &str =
    "2024-01-15T08:00:00.000000Z: component=schemeshard, tx_id=2, subject=admin@x, operation=GRANT, status=SUCCESS";

/// For each record of a content, in order, whether its events are flagged as ambiguous.
fn flags(content: &str) -> Vec<bool> {
    let records = read("ydb", content.as_bytes()).records;
    records.into_iter().map(|events| events.unwrap().iter().all(|event| has_label(event, "ambiguous"))).collect()
}

#[test]
fn a_line_that_begins_a_record_behind_a_free_value_is_flagged() {
    let json = r#"2024-01-15T08:00:00Z: {"component":"x","operation":"y","status":"SUCCESS"}"#;
    let scheme = format!("{SCHEME}, operation: DROP TABLE, path: /R/a");
    for value in
        ["query_text=SELECT 1", "reason=no path", "body={}", "new_config=a: 1\nb: 2", "query_text=a, status=SUCCESS"]
    {
        for forged in [FORGED, json, &scheme] {
            let content = format!("{TEXT}, {value}\n{forged}\n");
            assert_eq!(flags(&content), [false, true], "{content}");
            // The value may also have contained the other component's line.
            let content = format!("{TEXT}, {value}\n2024-01-15T08:00:00Z node 1 :X INFO: y\n{forged}\n");
            assert_eq!(flags(&content), [false, true], "{content}");
            let wrapped = |line: &str, stream: &str| format!("2024-01-15T08:00:00Z {stream} F {line}\n");
            let lines: String = format!("{TEXT}, {value}").lines().map(|line| wrapped(line, "stdout")).collect();
            assert_eq!(flags(&format!("{lines}{}", wrapped(forged, "stdout"))), [false, true], "{lines}");
            // A value does not continue on the other stream.
            assert_eq!(flags(&format!("{lines}{}", wrapped(forged, "stderr"))), [false, false], "{lines}");
        }
    }
    // The value may have contained several of the lines.
    let content = format!("{TEXT}, query_text=SELECT 1\n{FORGED}\n{json}\n{FORGED}\n");
    assert_eq!(flags(&content), [false, true, true, true]);
    // In the common log, a subject or reason may contain a line end.
    let cut = format!("{}, reason: a\n{FORGED}\n", SCHEME);
    assert!(has_label(&read("ydb", cut.as_bytes()).records[1].as_ref().unwrap()[0], "ambiguous"));
}

#[test]
fn a_line_behind_a_record_without_a_free_value_is_not_flagged() {
    let request = "url=/viewer, params=a=b";
    for before in
        [TEXT.to_owned(), format!("{TEXT}, {request}"), format!("{SCHEME}, operation: DROP TABLE, path: /R/a")]
    {
        assert_eq!(flags(&format!("{before}\n{FORGED}\n")), [false, false], "{before}");
    }
}

#[test]
fn what_lies_too_deep_hides_no_record() {
    let deep = |depth: usize| format!("{}\"innermost\"{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    for depth in [130, 2000] {
        let deep = deep(depth);
        for (family, line) in [
            (
                "databricks",
                format!(
                    r#"{{"timestamp":1705305600000,"serviceName":"s","actionName":"a","userIdentity":{{"email":"m@x"}},"requestParams":{{"password":"s3cr3t","p":{deep}}}}}"#
                ),
            ),
            (
                "immuta",
                format!(
                    r#"{{"recordType":"x","dateTime":1705305600000,"userId":"m@x","record":{{"password":"s3cr3t","p":{deep}}}}}"#
                ),
            ),
            (
                "lakefs",
                format!(
                    r#"{{"log_audit":true,"time":"2024-01-15T08:00:00Z","operation_id":"x","user":"m@x","password":"s3cr3t","p":{deep}}}"#
                ),
            ),
            (
                "ydb",
                format!(
                    r#"2024-01-15T08:00:00Z: {{"component":"x","operation":"y","status":"SUCCESS","subject":"m@x","password":"s3cr3t","p":{deep}}}"#
                ),
            ),
        ] {
            for line in [line.clone(), format!("2024-01-15T08:00:00Z stdout F {line}")] {
                if family == "databricks" && line.starts_with('2') {
                    continue;
                }
                let found = read(family, line.as_bytes())
                    .records
                    .remove(0)
                    .unwrap_or_else(|refusal| panic!("{family}: {}", refusal.reason));
                let event = &found[0];
                assert!(has_label(event, "incomplete") && event["metadata"]["is_truncated"] == true, "{family}");
                let text = event.to_string();
                assert!(
                    text.contains("m@x") && !text.contains("s3cr3t") && !text.contains("innermost"),
                    "{family}: {text}"
                );
            }
        }
    }
}

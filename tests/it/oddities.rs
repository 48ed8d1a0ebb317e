//! Oddities of single records, which must be neither lost nor misread, and must reveal no secret.

use auditferry::testing::event::{EncodingName, Options};
use serde_json::{Value, json};

use super::container_logs::{event, read};
use super::encodings::encoded_of;

/// An audit record of Immuta with these fields besides those that all records have.
fn immuta(fields: &Value) -> String {
    let mut record = json!({"dateTime": 1_628_524_947_022_i64, "userId": "john", "profileId": 2, "success": true});
    record.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    record.to_string()
}

/// Immuta's documentation puts the acting database account at the top level, and the account whose access changes in
/// `record`.
#[test]
fn the_account_that_acts_is_kept_beside_the_one_that_is_acted_upon() {
    for kind in ["sqlAccess", "sqlCreateUser", "sqlDeleteUser", "sqlResetPassword"] {
        let record = json!({"action": "granted", "sqlUser": "victim"});
        let event = event("immuta", &immuta(&json!({"recordType": kind, "sqlUser": "acting", "record": record})));
        assert_eq!(event["user"]["name"], "victim", "{kind}");
        assert_eq!(event["unmapped"]["sqlUser"], "acting", "{kind}");
    }
}

#[test]
fn whom_a_record_does_not_name_is_not_who_acts() {
    let record = json!({"accessType": "get"});
    let unnamed = event("immuta", &immuta(&json!({"recordType": "accessUser", "record": record})));
    assert_eq!((&unnamed["class_uid"], &unnamed["metadata"]["labels"]), (&json!(6003), &json!(["class_fallback"])));
    let record = json!({"accessType": "get", "accessedUserId": "jane"});
    let named = event("immuta", &immuta(&json!({"recordType": "accessUser", "record": record})));
    assert_eq!((&named["class_uid"], &named["entity"]["uid"]), (&json!(3004), &json!("jane")));
    let acting = event("immuta", &immuta(&json!({"recordType": "userVisibilities"})));
    assert_eq!((&acting["class_uid"], &acting["entity"]["name"]), (&json!(3004), &json!("john")));
}

#[test]
fn a_time_that_cannot_be_understood_is_told_as_it_stands() {
    let odd = event("immuta", &immuta(&json!({"recordType": "x", "dateTime": "yesterday"})));
    assert_eq!(odd["metadata"]["original_time"], "yesterday");
    assert!(odd["metadata"]["labels"].as_array().unwrap().contains(&json!("time_inferred")));
    let both = json!({"recordType": "x", "dateTime": "yesterday", "createdAt": "2021-08-09T16:02:27Z"});
    assert_eq!(event("immuta", &immuta(&both))["metadata"]["original_time"], "2021-08-09T16:02:27Z");
}

#[test]
fn a_status_written_as_a_fraction_is_the_number_that_it_is() {
    for (status, expected) in [("500.0", 2), ("200.00", 1), ("404", 2), ("200.5", 0)] {
        let databricks = format!(
            r#"{{"timestamp":1705305601234,"serviceName":"x","actionName":"y","response":{{"statusCode":{status}}}}}"#
        );
        let immuta = format!(
            r#"{{"timestamp":"2021-08-09T16:02:27Z","message":"Response Sent","method":"GET","path":"/x","statusCode":{status}}}"#
        );
        for (family, line) in [("databricks", databricks), ("immuta", immuta)] {
            assert_eq!(event(family, &line)["status_id"], expected, "{family} {status}");
        }
    }
}

#[test]
fn what_the_source_cut_short_is_flagged_though_it_is_masked() {
    let command = format!("{}... truncated", "x".repeat(100));
    let databricks = json!({
        "timestamp": 1_705_305_601_234_i64, "serviceName": "notebook", "actionName": "runCommand",
        "requestParams": {"commandText": command},
    });
    let head = "CREATE USER a PASSWORD 's3cr3t' ";
    let query = |length: usize| format!("{head}{}", "x".repeat(length - head.len()));
    for (family, line, flagged) in [
        ("databricks", databricks.to_string(), json!(true)),
        ("immuta", immuta(&json!({"recordType": "nativeQuery", "query": query(2048)})), json!(true)),
        ("immuta", immuta(&json!({"recordType": "nativeQuery", "query": query(2052)})), Value::Null),
    ] {
        let event = event(family, &line);
        assert_eq!(event["metadata"]["is_truncated"], flagged, "{family}");
        assert!(!event.to_string().contains("s3cr3t"));
    }
}

/// ECS has one field, `event.duration`, for both durations.
#[test]
fn the_time_to_the_answer_is_kept_in_ecs_beside_that_of_the_whole() {
    let line = json!({
        "timestamp": "2021-08-09T16:02:27Z", "message": "Response Sent", "method": "GET", "path": "/x", "statusCode": 200,
        "responseTime": 31, "responseSentTime": 12,
    });
    let line = line.to_string();
    let document = &encoded_of("immuta", &[line.as_bytes()], EncodingName::Ecs, Options::default())[0];
    let document: Value = serde_json::from_str(document).unwrap();
    assert_eq!((&document["event"]["duration"], &document["immuta"]["latency_ms"]), (&json!(31_000_000), &json!(12)));
}

const SCHEME: &str = "2022-08-03T22:41:43.860439Z node 1 :FLAT_TX_SCHEMESHARD NOTICE: AUDIT: ";

/// The request's directory and name decide which path is meant.
#[test]
fn a_path_that_holds_what_looks_like_a_request_is_told_whole_and_flagged() {
    let spoofs =
        ["/Root/a, protobuf request: x", r#"/Root/a, protobuf request: WorkingDir: "/Root" MkDir { Name: "b" }"#];
    for path in spoofs {
        let name = path.trim_start_matches("/Root/").replace('"', r#"\""#);
        let request = format!(r#"WorkingDir: "/Root" OperationType: ESchemeOpMkDir MkDir {{ Name: "{name}" }}"#);
        let head = "txId: 1, database: /Root, subject: u, status: StatusAccepted, operation: CREATE DIRECTORY, path: ";
        let line = format!("{SCHEME}{head}{path}, protobuf request: {request}");
        let event = event("ydb", &line);
        assert_eq!(event["unmapped"]["protobuf request"], request, "{line}");
        assert!(event["metadata"]["labels"].as_array().unwrap().contains(&json!("ambiguous")), "{line}");
        let found = read("ydb", line.as_bytes());
        assert_eq!(found.parsed[0].as_ref().unwrap()["operations"][0]["path"], path);
    }
    // The request of a further operation is not taken for part of a path.
    let one = r#", operation: CREATE DIRECTORY, path: /R/a, protobuf request: WorkingDir: "/R" MkDir { Name: "a" }"#;
    let line = format!("{SCHEME}txId: 1, database: /R, subject: u, status: S{one}{}", one.replace("/a", "/b"));
    let found = read("ydb", line.as_bytes()).parsed[0].clone().unwrap();
    assert_eq!((&found["ambiguous"], found["operations"].as_array().unwrap().len()), (&Value::Null, 2));
}

#[test]
fn an_audit_line_without_its_transaction_is_refused_and_not_passed_over() {
    let rest = "database: /Root, subject: u, status: StatusAccepted, operation: DROP TABLE, path: /Root/t";
    for line in [format!("{SCHEME}{rest}"), format!("{SCHEME}tx")] {
        let found = read("ydb", line.as_bytes());
        assert_eq!((found.records.len(), found.others), (1, 0), "{line}");
        assert!(found.records[0].as_ref().unwrap_err().reason.contains("txId"));
    }
    let other = SCHEME.replace("AUDIT: ", "TTxMonitoring: txId: 1");
    assert_eq!(read("ydb", other.as_bytes()).others, 1);
}

#[test]
fn a_last_field_without_a_value_is_none_of_the_value_before_it() {
    let head = format!("{SCHEME}txId: 1, subject: u, status: StatusAccepted, operation: DROP TABLE, path: ");
    let found = read("ydb", head.as_bytes()).parsed[0].clone().unwrap();
    let operation = json!({"operation": "DROP TABLE", "path": ""});
    assert_eq!(found["operations"][0], operation);
    for end in ["", "\r"] {
        let line = format!("{head}/Root/t, protobuf request: {end}\n");
        let found = read("ydb", line.as_bytes()).parsed[0].clone().unwrap();
        assert_eq!(found["operations"][0]["path"], "/Root/t");
    }
}

#[test]
fn the_query_that_changed_access_stands_in_the_first_of_its_events() {
    let record = json!({
        "@timestamp": "2025-11-03T18:00:00Z", "@log_type": "audit", "component": "grpc-proxy", "operation": "MODIFY ACL",
        "status": "SUCCESS", "subject": "u", "paths": "[/R/a]", "acl_add": "[+R:a, +W:b]", "query_text": "GRANT ALL TO a, b",
    });
    let found = read("ydb", record.to_string().as_bytes()).records.remove(0).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found[0]["unmapped"]["ocsf"]["query"], "GRANT ALL TO a, b");
    assert!(found[1]["unmapped"]["ocsf"]["query"].is_null());
}

#[test]
fn a_record_that_says_that_it_is_no_audit_record_is_none() {
    let record = |kind: &str| json!({"@timestamp": "2025-11-03T18:00:00Z", "@log_type": kind, "component": "x", "operation": "y", "status": "SUCCESS"});
    assert_eq!(read("ydb", record("debug").to_string().as_bytes()).others, 1);
    assert_eq!(read("ydb", record("audit").to_string().as_bytes()).records.len(), 1);
}

#[test]
fn what_ydb_cut_short_is_flagged_though_it_is_masked() {
    for (body, flagged) in [
        (r#"{"password":"hunter2xx**TRUNCATED_BY_YDB**"#, json!(true)),
        (r#"{"a":"b**TRUNCATED_BY_YDB**"#, json!(true)),
        (r#"{"password":"hunter2"}"#, Value::Null),
    ] {
        let line =
            format!("2025-11-03T18:00:00Z: component=monitoring, operation=HTTP REQUEST, status=SUCCESS, body={body}");
        let event = event("ydb", &line);
        assert_eq!(event["metadata"]["is_truncated"], flagged, "{body}");
        assert!(!event.to_string().contains("hunter2"));
    }
}

/// A shipper may parse a JSON line and write it as an object inside its own.
#[test]
fn a_record_that_a_shipper_has_read_is_told_by_itself() {
    let lakefs = json!({"log_audit": true, "msg": "HTTP call ended", "operation_id": "getObject", "method": "GET", "path": "/x", "time": "2025-12-25T12:30:00Z"});
    let ydb = json!({"@timestamp": "2025-12-25T12:30:00Z", "@log_type": "audit", "component": "x", "operation": "y", "status": "SUCCESS"});
    let immuta: Value = serde_json::from_str(&immuta(&json!({"recordType": "x"}))).unwrap();
    for (family, record) in [("lakefs", lakefs), ("ydb", ydb), ("immuta", immuta)] {
        for name in ["log", "message"] {
            let line = json!({"ts": 1, name: record}).to_string();
            let (event, bare) = (event(family, &line), event(family, &record.to_string()));
            assert_eq!(event["time"], bare["time"], "{line}");
            assert_eq!(event["api"]["operation"], bare["api"]["operation"], "{line}");
            assert_eq!(event["unmapped"]["envelope"], json!({"ts": 1}), "{line}");
            assert_eq!(event["raw_data"], line);
        }
    }
}

/// 2021-08-24T03:26:24Z, in each unit: as a number, in quotes, and with a fraction.
#[test]
fn a_number_is_a_time_in_the_unit_that_its_size_says_in_every_family() {
    const SECONDS: i64 = 1_629_775_584;
    let ydb = |time: &str| {
        format!(r#"{{"@timestamp":{time},"@log_type":"audit","component":"x","operation":"y","status":"S"}}"#)
    };
    let ydb_span = |time: &str| {
        format!(
            r#"{{"@timestamp":"2021-08-24T03:00:00Z","@log_type":"audit","component":"x","start_time":{time},"end_time":{time},"operation":"y","status":"S"}}"#
        )
    };
    let immuta = |name: &'static str| move |time: &str| format!(r#"{{"recordType":"x","userId":"a","{name}":{time}}}"#);
    type Line<'l> = Box<dyn Fn(&str) -> String + 'l>;
    let lines: [(&str, &str, Line<'_>); 10] = [
        (
            "databricks",
            "time",
            Box::new(|time| format!(r#"{{"serviceName":"x","actionName":"y","timestamp":{time}}}"#)),
        ),
        ("lakefs", "time", Box::new(|time| format!(r#"{{"data_operation_id":"x","data_time":{time}}}"#))),
        ("lakefs", "time", Box::new(|time| format!(r#"{{"log_audit":true,"operation_id":"x","time":{time}}}"#))),
        ("immuta", "time", Box::new(immuta("dateTime"))),
        ("immuta", "time", Box::new(immuta("timestamp"))),
        ("immuta", "time", Box::new(immuta("createdAt"))),
        (
            "immuta",
            "time",
            Box::new(|time| format!(r#"{{"action":"READ","auditPayload":{{}},"eventTimestamp":{time}}}"#)),
        ),
        ("immuta", "start_time", Box::new(immuta("startTime"))),
        ("ydb", "time", Box::new(ydb)),
        ("ydb", "start_time", Box::new(ydb_span)),
    ];
    for (family, attribute, line) in &lines {
        for zeros in ["", "000", "000000", "000000000"] {
            for time in [
                format!("{SECONDS}{zeros}"),
                format!("\"{SECONDS}{zeros}\""),
                format!("{SECONDS}{zeros}.0"),
                format!("\"{SECONDS}{zeros}.0\""),
            ] {
                let event = event(family, &line(&time));
                assert_eq!(event[*attribute], SECONDS * 1000, "{family} {time}: {event:#}");
            }
        }
    }
    // Fractions of a second are kept.
    for (family, _, line) in lines.iter().filter(|(_, attribute, _)| *attribute == "time") {
        assert_eq!(event(family, &line("1629775584.891"))["time"], 1_629_775_584_891_i64, "{family}");
    }
}

/// Otherwise a client could hide the record with its user agent.
#[test]
fn a_record_is_seen_to_be_one_though_half_a_surrogate_pair_stands_before_what_tells_it() {
    for (family, line) in [
        ("immuta", r#"{"userAgent":"\ud800","recordType":"x","dateTime":1747037350123,"userId":"a"}"#),
        (
            "ydb",
            r#"{"reason":"\udc00","@log_type":"audit","component":"c","operation":"o","@timestamp":"2025-05-12T08:09:10Z"}"#,
        ),
        ("lakefs", r#"{"client":"\ud83d","log_audit":true,"time":"2025-05-12T08:09:10Z","operation_id":"x"}"#),
        ("databricks", r#"{"userAgent":"\ud800","timestamp":1747037350123,"serviceName":"a","actionName":"b"}"#),
        ("lakefs", r#"{"\u006cog_audit":true,"time":"2025-05-12T08:09:10Z","operation_id":"x"}"#),
        ("lakefs", r#"{"\u0064ata_operation_id":"x","data_time":1747037350}"#),
    ] {
        let found = read(family, format!("{line}\n").as_bytes());
        assert_eq!((found.records.len(), found.others), (1, 0), "{line}");
        assert_eq!(found.records[0].as_ref().unwrap().len(), 1, "{line}");
    }
}

/// Sinks write one event a line: a line end inside an event would cut it.
#[test]
fn a_record_of_several_lines_in_a_text_gives_events_of_one_line() {
    for (family, record) in [
        ("databricks", json!({"timestamp": 1_747_037_350_123_u64, "serviceName": "a", "actionName": "b"})),
        ("lakefs", json!({"log_audit": true, "time": "2025-05-12T08:09:10Z", "operation_id": "x"})),
        ("lakefs", json!({"data_operation_id": "x", "data_time": 1_747_037_350})),
        ("immuta", json!({"recordType": "x", "dateTime": 1_747_037_350_123_u64, "userId": "a"})),
        (
            "ydb",
            json!({"@log_type": "audit", "component": "c", "operation": "o", "@timestamp": "2025-05-12T08:09:10Z"}),
        ),
    ] {
        for surrogate in ["1", r#""\ud800""#] {
            let mut record = record.clone();
            record["more"] = json!({"first": [{"a": "HERE"}], "second": {}});
            let text = serde_json::to_string_pretty(&record).unwrap().replace("\"HERE\"", surrogate);
            for ends in [text.clone(), text.replace('\n', "\r\n"), text.replace('\n', "\r")] {
                let line = json!({"message": ends, "host": "h"}).to_string();
                // Each output line is parsed as an event.
                let found = read(family, format!("{line}\n").as_bytes());
                assert_eq!(found.records.len(), 1, "{line}");
                assert_eq!(found.records[0].as_ref().unwrap().len(), 1, "{line}");
                assert!(found.parsed[0].is_ok(), "{line}");
                let ecs = encoded_of(family, &[line.as_bytes()], EncodingName::Ecs, Options::default());
                assert_eq!(ecs.len(), 1, "{line}");
            }
        }
    }
}

#[test]
fn a_line_of_text_of_a_lakefs_server_is_the_same_record_as_its_line_of_json() {
    let text = r#"time="2025-05-12T08:09:10Z" level=info msg="HTTP call ended" client="lakectl \"x\"" host=h log_audit=true method=POST operation_id=createBranch path="/api/v1/repositories/r/branches?token=s3cr3t" request_id=rec-0 service_name=rest_api source_ip="203.0.113.7:34708" status_code=201 took=1.5ms user=ci"#;
    let json = json!({
        "time": "2025-05-12T08:09:10Z", "level": "info", "msg": "HTTP call ended", "client": "lakectl \"x\"", "host": "h",
        "log_audit": "true", "method": "POST", "operation_id": "createBranch",
        "path": "/api/v1/repositories/r/branches?token=s3cr3t", "request_id": "rec-0", "service_name": "rest_api",
        "source_ip": "203.0.113.7:34708", "status_code": 201, "took": 1_500_000, "user": "ci",
    });
    let [mut of_text, mut of_json] = [text, &json.to_string()].map(|line| event("lakefs", line));
    assert_eq!(of_text["actor"]["user"]["name"].as_str().or(of_text["actor"]["user"]["uid"].as_str()), Some("ci"));
    for event in [&mut of_text, &mut of_json] {
        assert!(!event.to_string().contains("s3cr3t"), "{event:#}");
        let event = event.as_object_mut().unwrap();
        event.remove("raw_data");
        event.remove("raw_data_size");
        event["metadata"].as_object_mut().unwrap().remove("uid");
    }
    assert_eq!(of_text, of_json);
    let harmless = text.replace("?token=s3cr3t", "");
    assert_eq!(event("lakefs", &harmless)["raw_data"], harmless);
    let torn = read("lakefs", &text.as_bytes()[..text.len() - 60]);
    assert!(torn.records[0].as_ref().is_ok_and(|events| events.len() == 1) || torn.records[0].is_err());
}

#[test]
fn a_record_in_title_case_is_the_same_record() {
    let record = json!({
        "id": "r", "dateTime": 1_628_524_947_022_i64, "recordType": "projectCreate", "success": true, "userId": "ann@x.y",
        "profileId": 4, "component": "project", "record": {"projectName": "p", "secret": "s3cr3t"}, "X-Id": "x",
    });
    let title = |name: &str| format!("{}{}", name[..1].to_ascii_uppercase(), &name[1..]);
    let mut titled = serde_json::Map::new();
    for (name, value) in record.as_object().unwrap() {
        let value = match value.as_object() {
            Some(own) => own.iter().map(|(name, value)| (title(name), value.clone())).collect(),
            None => value.clone(),
        };
        titled.insert(title(name), value);
    }
    let [mut plain, mut of_titled] =
        [&record, &Value::Object(titled)].map(|record| event("immuta", &record.to_string()));
    assert_eq!(plain["actor"]["user"]["name"], "ann@x.y");
    for event in [&mut plain, &mut of_titled] {
        assert!(!event.to_string().contains("s3cr3t"));
        let event = event.as_object_mut().unwrap();
        event.remove("raw_data");
        event["metadata"].as_object_mut().unwrap().remove("uid");
    }
    assert_eq!(of_titled, plain);
    // Other products have a `RecordType` that is a number.
    let other = json!({"CreationTime": "2024-01-15T08:00:00", "RecordType": 15, "UserId": "a"}).to_string();
    assert_eq!(read("immuta", other.as_bytes()).others, 1);
}

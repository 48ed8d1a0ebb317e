//! What is odd in single records and must neither be lost nor misread nor shown.

use auditferry::event::{EncodingName, Options};
use serde_json::{Value, json};

use super::container_logs::event;
use super::encodings::encoded_of;

/// An audit record of Immuta with these fields beside those that all have.
fn immuta(fields: &Value) -> String {
    let mut record = json!({"dateTime": 1_628_524_947_022_i64, "userId": "john", "profileId": 2, "success": true});
    record.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    record.to_string()
}

/// The document has the database account that acts at the top, and the one whose access is changed in the record.
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

/// ECS has one field for both.
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

//! Values that sources write in many forms come out in one form, in every family; values that a client merely claims
//! are labelled.

use auditferry::testing::event::{EncodingName, Options};
use serde_json::{Value, json};

use super::container_logs::event;
use super::encodings::encoded_of;

/// A record of each family that has an address, with this address and time.
fn from_address(address: &str, time: &str) -> [(&'static str, String); 4] {
    [
        ("databricks", json!({"timestamp": time, "serviceName": "x", "actionName": "y", "sourceIPAddress": address}).to_string()),
        ("lakefs", json!({"log_audit": true, "time": time, "operation_id": "x", "path": "/api/v1/x", "source_ip": address}).to_string()),
        ("immuta", json!({"id": "1", "action": "CREATE", "eventTimestamp": time, "actorIp": address, "auditPayload": {"type": "XAuditPayload"}, "targets": [{"name": "Movies"}]}).to_string()),
        ("ydb", format!("2021-08-24T03:26:24Z: {}", json!({"component": "x", "operation": "y", "database": "/R", "status": "SUCCESS", "remote_address": address}))),
    ]
}

/// A client can name any address in `X-Forwarded-For` to the first proxy, which passes it on.
#[test]
fn an_address_that_proxies_were_told_is_the_clients_and_says_so() {
    for (family, line) in from_address("198.51.100.7, ::ffff:10.0.0.1", "2021-08-24T03:26:24Z") {
        let event = event(family, &line);
        assert_eq!(event["src_endpoint"], json!({"ip": "198.51.100.7", "intermediate_ips": ["10.0.0.1"]}), "{family}");
        assert!(event["metadata"]["labels"].as_array().unwrap().contains(&json!("claimed_address")), "{family}");
        let ecs = encoded_of(family, &[line.as_bytes()], EncodingName::Ecs, Options::default()).concat();
        assert!(
            ecs.contains("\"ip\":\"198.51.100.7\"") && ecs.contains("\"intermediate_ips\":[\"10.0.0.1\"]"),
            "{ecs}"
        );
    }
    for (family, line) in from_address("::ffff:192.0.2.1", "2021-08-24T03:26:24Z") {
        let event = event(family, &line);
        assert_eq!(event["src_endpoint"], json!({"ip": "192.0.2.1"}), "{family}");
        assert_eq!(event["metadata"].get("labels"), None, "{family}");
    }
}

/// Until a logon succeeds, its name is only what was typed.
#[test]
fn a_name_that_did_not_log_on_is_claimed() {
    let event_of = |fields: &Value| {
        let mut record = json!({"component": "web", "operation": "LOGIN"});
        record.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        event("ydb", &format!("2021-08-24T03:26:24Z: {record}"))
    };
    let failed = event_of(&json!({"login_user": "admin", "status": "ERROR"}));
    assert_eq!(failed["actor"]["user"]["name"], "admin");
    assert!(failed["metadata"]["labels"].as_array().unwrap().contains(&json!("claimed_user")), "{failed:#}");
    for fields in [
        json!({"login_user": "admin", "status": "SUCCESS"}),
        json!({"login_user": "admin", "subject": "root@builtin", "status": "ERROR"}),
    ] {
        let labels = &event_of(&fields)["metadata"]["labels"];
        assert!(!labels.as_array().is_some_and(|labels| labels.contains(&json!("claimed_user"))), "{fields}");
    }
}

#[test]
fn a_time_as_programs_show_it_is_every_familys_time() {
    for time in ["Tue Aug 24 2021 03:26:24 GMT+0000 (Coordinated Universal Time)", "2021-08-24 03:26:24 UTC"] {
        for (family, line) in from_address("192.0.2.1", time) {
            let event = event(family, &line);
            assert_eq!(event["time"], 1_629_775_584_000_i64, "{family}");
            assert_eq!(event["metadata"].get("labels"), None, "{family}");
        }
    }
}

/// Sources write 0, -1 or 000 for a request without an answer.
#[test]
fn a_number_that_is_no_http_status_is_neither_success_nor_failure() {
    let lines = |status: &str| {
        [
            (
                "databricks",
                format!(
                    r#"{{"timestamp":1705305601234,"serviceName":"x","actionName":"y","response":{{"statusCode":{status}}}}}"#
                ),
            ),
            (
                "databricks",
                format!(
                    r#"{{"timestamp":1705305601234,"serviceName":"x","actionName":"y","response":{{"statusCode":"{status}"}}}}"#
                ),
            ),
            (
                "lakefs",
                format!(
                    r#"{{"log_audit":true,"time":"2024-01-15T08:00:00Z","operation_id":"x","status_code":{status},"path":"/api/v1/x"}}"#
                ),
            ),
            (
                "immuta",
                format!(
                    r#"{{"timestamp":"2021-08-09T16:02:27Z","message":"Response Sent","method":"GET","path":"/x","statusCode":{status}}}"#
                ),
            ),
            (
                "s3_access",
                format!(
                    "79a5 b [06/Feb/2019:00:00:38 +0000] 192.0.2.3 who R1 REST.GET.OBJECT a \"GET /a HTTP/1.1\" {status} - 1 2 3 4 \"-\" \"agent\" -"
                ),
            ),
        ]
    };
    for (status, expected) in
        [("0", 0), ("-1", 0), ("99", 0), ("600", 0), ("1000", 0), ("200", 1), ("399", 1), ("400", 2), ("599", 2)]
    {
        for (family, line) in lines(status) {
            let event = event(family, &line);
            assert_eq!(event["status_id"], expected, "{family} {line}");
            assert_eq!(event["status_code"], status, "{family} {line}");
            let code = event["http_response"]["code"].as_i64().or(event["api"]["response"]["code"].as_i64());
            assert_eq!(code, (expected != 0).then(|| status.parse().unwrap()), "{family} {line}");
        }
    }
    let (family, line) = lines("000").into_iter().next_back().unwrap();
    assert_eq!(event(family, &line)["status_id"], 0);
}

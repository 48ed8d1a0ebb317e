//! What is shipped for an AWS account holds together: the policies, the notifications.

use std::process::Command;

use serde_json::{Value, json};

use super::deploy::{read, root};

/// The output of `deploy/notifications.jq` for a bucket's present configuration. The AWS CLI prints nothing if there is
/// none.
fn notifications(before: &str, to: &str, prefix: &str) -> Result<Value, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("before.json");
    std::fs::write(&path, before).unwrap();
    let program = root().join("deploy/notifications.jq");
    let mut command = Command::new("jq");
    command.arg("--slurp").arg("--from-file").arg(program).args(["--arg", "to", to, "--arg", "prefix", prefix]);
    let output = command.arg(path).output().unwrap_or_else(|error| panic!("jq: {error}; install the package `jq`"));
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).unwrap()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

#[test]
fn notifications_are_added_to_what_a_bucket_has() {
    let queue = "arn:aws:sqs:eu-central-1:444455556666:events";
    let topic = "arn:aws-cn:sns:cn-north-1:444455556666:events";
    let events = json!(["s3:ObjectCreated:*", "s3:ObjectRestore:Completed"]);
    let filter = json!({"Key": {"FilterRules": [{"Name": "prefix", "Value": "logs/"}]}});
    let ours = json!({"Id": "auditferry", "QueueArn": queue, "Events": events, "Filter": filter});
    assert_eq!(notifications("", queue, "logs/"), Ok(json!({"QueueConfigurations": [ours]})));
    let whole = json!({"Id": "auditferry", "TopicArn": topic, "Events": events});
    assert_eq!(notifications("", topic, ""), Ok(json!({"TopicConfigurations": [whole]})));
    assert_eq!(notifications("{}", "eventbridge", "logs/"), Ok(json!({"EventBridgeConfiguration": {}})));

    let other =
        json!({"Id": "theirs", "QueueArn": "arn:aws:sqs:eu-central-1:1:theirs", "Events": ["s3:ObjectRemoved:*"]});
    let lambda = json!([{"Id": "l", "LambdaFunctionArn": "arn:aws:lambda:eu-central-1:1:function:f", "Events": ["s3:ObjectCreated:Put"]}]);
    let older =
        json!({"Id": "auditferry", "QueueArn": "arn:aws:sqs:eu-central-1:1:older", "Events": ["s3:ObjectCreated:*"]});
    let before = json!({
        "QueueConfigurations": [older, other],
        "LambdaFunctionConfigurations": lambda,
        "EventBridgeConfiguration": {},
    });
    let after = notifications(&before.to_string(), queue, "logs/").unwrap();
    let expected = json!({
        "QueueConfigurations": [other, ours],
        "LambdaFunctionConfigurations": lambda,
        "EventBridgeConfiguration": {},
    });
    assert_eq!(after, expected);
    assert_eq!(notifications(&after.to_string(), queue, "logs/").unwrap(), expected, "once more changes nothing");

    let refused = notifications("", "events", "").unwrap_err();
    assert!(refused.contains("the ARN of a queue or of a topic, or eventbridge"), "{refused}");
}

#[test]
fn a_rule_takes_what_the_daemon_reads() {
    let pattern: Value = serde_json::from_str(&read("deploy/iam/eventbridge-pattern.json")).unwrap();
    assert_eq!(pattern["source"], json!(["aws.s3"]));
    assert_eq!(pattern["detail-type"], json!(["Object Created", "Object Restore Completed"]));
    assert_eq!(pattern["detail"]["object"]["key"], json!([{"prefix": "PREFIX/"}]));
}

#[test]
fn the_policies_grant_what_is_needed_and_no_more() {
    let mut granted = Vec::new();
    let names = [
        "reader",
        "reader-trust",
        "daemon",
        "queue-policy",
        "queue-policy-sns",
        "queue-policy-eventbridge",
        "topic-policy",
    ];
    for name in names {
        let policy: Value = serde_json::from_str(&read(&format!("deploy/iam/{name}.json"))).unwrap();
        assert_eq!(policy["Version"], "2012-10-17", "{name}");
        for statement in policy["Statement"].as_array().unwrap() {
            if statement["Effect"] == "Deny" {
                continue;
            }
            let actions = match &statement["Action"] {
                Value::Array(actions) => actions.clone(),
                action => vec![action.clone()],
            };
            granted.extend(actions.iter().map(|action| format!("{name} {}", action.as_str().unwrap())));
            assert_ne!(statement["Resource"], "*", "{name}");
            assert_ne!(statement["Principal"], "*", "{name}");
            // Without a condition, any account could make the service send.
            if let Some(service) = statement["Principal"]["Service"].as_str() {
                assert!(statement["Condition"].to_string().contains("aws:SourceArn"), "{name}: {service}");
            }
        }
    }
    assert_eq!(
        granted,
        [
            "reader s3:GetObject",
            "reader s3:ListBucket",
            "reader kms:Decrypt",
            "reader-trust sts:AssumeRole",
            "daemon sts:AssumeRole",
            "daemon sqs:ReceiveMessage",
            "daemon sqs:DeleteMessage",
            "daemon sqs:ChangeMessageVisibility",
            "daemon sqs:GetQueueAttributes",
            "daemon sqs:GetQueueUrl",
            "daemon sqs:GetQueueAttributes",
            "daemon kms:Decrypt",
            "queue-policy sqs:SendMessage",
            "queue-policy-sns sqs:SendMessage",
            "queue-policy-eventbridge sqs:SendMessage",
            "topic-policy sns:Publish",
            "topic-policy sns:Subscribe",
        ]
    );
}

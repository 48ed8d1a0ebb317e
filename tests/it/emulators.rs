//! The emulators behave as the other tests rely on.

use serde_json::Value;

use super::support::aws::{Aws, Depth};
use super::support::http::page;

fn objects_told_of(body: &str) -> Vec<String> {
    let told: Value = serde_json::from_str(body).unwrap();
    let records = told["Records"].as_array().cloned().unwrap_or_default();
    records.iter().map(|record| record["s3"]["object"]["key"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_bucket_tells_its_queue_of_a_write_with_the_key_encoded_as_s3_does() {
    let aws = Aws::emulated();
    let (bucket, queue) = (aws.bucket(), aws.queue());
    bucket.tells_queue(&queue);
    bucket.put("workspaceId=1/date=2026-01-01/a b.json", b"x");
    let bodies = queue.take(2);
    assert!(bodies[0].contains("s3:TestEvent"), "{bodies:?}");
    assert_eq!(objects_told_of(&bodies[1]), ["workspaceId%3D1/date%3D2026-01-01/a+b.json"]);
}

#[test]
fn a_topic_wraps_what_the_bucket_tells() {
    let aws = Aws::emulated();
    let (bucket, queue) = (aws.bucket(), aws.queue());
    bucket.tells_topic(&aws.topic_for(&queue));
    bucket.put("a.json", b"x");
    let last: Value = serde_json::from_str(queue.take(2).last().unwrap()).unwrap();
    assert_eq!(last["Type"], "Notification");
    assert_eq!(objects_told_of(last["Message"].as_str().unwrap()), ["a.json"]);
}

#[test]
fn event_bridge_tells_the_key_as_it_is() {
    let aws = Aws::emulated();
    let (bucket, queue) = (aws.bucket(), aws.queue());
    aws.rule_for(&bucket, &queue);
    bucket.tells_event_bridge();
    bucket.put("workspaceId=1/a b.json", b"x");
    let last: Value = serde_json::from_str(&queue.take(1)[0]).unwrap();
    assert_eq!(last["detail-type"], "Object Created");
    assert_eq!(last["detail"]["object"]["key"], "workspaceId=1/a b.json");
}

#[test]
fn a_message_received_too_often_becomes_a_dead_letter() {
    let aws = Aws::emulated();
    let (queue, dead) = aws.queue_with_dead_letters(2);
    queue.send("poison");
    for _ in 0..3 {
        queue.receive(0);
        assert!(queue.receives().iter().all(|&receives| receives <= 2));
    }
    assert_eq!(queue.depth(), Depth { visible: 0, in_flight: 0 });
    assert_eq!(dead.take(1), ["poison"]);
}

#[test]
fn an_access_point_alias_names_its_bucket() {
    let aws = Aws::emulated();
    let bucket = aws.bucket();
    bucket.put("a.json", b"through the access point");
    let alias = aws.access_point(&bucket);
    assert_eq!(page(aws.address, &format!("/{alias}/a.json")).unwrap().text(), "through the access point");
}

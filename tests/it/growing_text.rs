//! A record that follows others gives the same events in every reading, wherever the reading begins: also when an
//! object grows, and after a crash.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::support::receiver::{Answer, Receiver};
use super::support::waiting::{SOON, eventually};
use super::support::world::World;

/// The text of this query may continue on the lines after it.
const QUERY: &str = "2024-01-15T08:00:00.000000Z: component=grpc-proxy, tx_id=1, subject=mallory@x, operation=ExecuteQuery, query_text=SELECT 1, status=SUCCESS\n";
const GRANTS: [&str; 2] = [
    "2024-01-15T08:00:01.000000Z: component=schemeshard, tx_id=2, subject=admin@x, operation=GRANT, status=SUCCESS\n",
    "2024-01-15T08:00:02.000000Z: component=schemeshard, tx_id=3, subject=admin@x, operation=REVOKE, status=SUCCESS\n",
];

/// A directory feed of YDB's logs to `receiver`.
fn world(receiver: &Receiver) -> World {
    let world = World::new();
    let source = world.path("source");
    std::fs::create_dir_all(&source).unwrap();
    let feed =
        format!("[feed.audit]\nfamily = \"ydb\"\ndirectory = {source:?}\nscan_every = \"1s\"\nsinks = [\"out\"]\n");
    world.with(&format!("{feed}[sink.out]\ntype = \"http\"\nurl = \"{}/in\"\n", receiver.url()))
}

fn is_flagged(line: &str) -> bool {
    let event: Value = serde_json::from_str(line).unwrap();
    event["metadata"]["labels"].as_array().is_some_and(|labels| labels.contains(&json!("ambiguous")))
}

#[test]
fn what_an_object_has_gained_is_sent_again_after_a_crash_byte_for_byte() {
    let receiver = Receiver::that_answers(Answer::status(200));
    let world = world(&receiver);
    let daemon = world.start();
    world.write("a.log", QUERY.as_bytes());
    eventually("the first version is there", SOON, || receiver.taken_lines().len() == 1);
    let mut content = QUERY.to_owned();
    content.extend(GRANTS);
    receiver.answers(Answer::Silence);
    world.write("a.log", content.as_bytes());
    eventually("what is new is under way", SOON, || receiver.requests().len() == 2);
    daemon.kill();
    receiver.answers(Answer::status(200));
    let daemon = world.start();
    eventually("what is new is there", SOON, || receiver.taken_lines().len() == 3);
    assert!(daemon.stop().success());
    world.once();
    let requests = receiver.requests();
    let id = |at: usize| requests[at].header("idempotency-key").unwrap();
    assert_eq!((id(1), &requests[1].body), (id(2), &requests[2].body));
    let lines = receiver.taken_lines();
    assert_eq!(lines.iter().collect::<BTreeSet<_>>().len(), 3, "{lines:?}");
    let flags: Vec<bool> = lines.iter().map(|line| is_flagged(line)).collect();
    assert_eq!(flags, [false, true, true]);
}

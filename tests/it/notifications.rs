//! A queue's messages are understood in every shape, and settled whatever they contain.

use super::quarantine::requeue_all;
use super::support::aws::{Aws, told_by_s3};
use super::support::proxy::Proxy;
use super::support::records::{object, records};
use super::support::waiting::{SOON, eventually};
use super::support::world::{KEY, Place, World};

/// A key with every character that one of the message shapes encodes.
const ODD_KEY: &str = "workspaceId=1/date=2026-01-01/audit logs+1%.json";

fn a_write_is_delivered(place: &Place) {
    let world = World::fed_by(place);
    let lines = records(0..3);
    place.bucket.put(ODD_KEY, &object(&lines));
    let daemon = world.start();
    world.comes_to("out", 3);
    place.queue.drained();
    assert!(daemon.stop().success());
    world.delivered_once_each(&lines);
}

#[test]
fn a_write_that_s3_itself_tells_of_is_delivered() {
    let place = Place::apart();
    place.bucket.tells_queue(&place.queue);
    a_write_is_delivered(&place);
}

#[test]
fn a_write_that_a_topic_tells_of_is_delivered() {
    let place = Place::apart();
    place.bucket.tells_topic(&Aws::emulated().topic_for(&place.queue));
    a_write_is_delivered(&place);
}

#[test]
fn a_write_that_event_bridge_tells_of_is_delivered() {
    let place = Place::apart();
    Aws::emulated().rule_for(&place.bucket, &place.queue);
    place.bucket.tells_event_bridge();
    a_write_is_delivered(&place);
}

#[test]
fn every_object_of_a_message_is_delivered() {
    let place = Place::apart();
    let world = World::fed_by(&place);
    let name = place.bucket.name.as_str();
    let keys: Vec<String> = (0..4).map(|n| format!("workspaceId=1/date=2026-01-01/{n}.json")).collect();
    for (n, key) in (0..).zip(&keys) {
        place.bucket.put(key, &object(&records(10 * n..10 * n + 2)));
    }
    let etags: Vec<String> = keys.iter().map(|key| place.bucket.etag(key)).collect();
    let encoded: Vec<String> = keys.iter().map(|key| key.replace('=', "%3D")).collect();
    let writes: Vec<(&str, &str, &str, &str)> = encoded
        .iter()
        .zip(&etags)
        .map(|(key, etag)| (name, key.as_str(), etag.as_str(), "0055AED6DCD90281E5"))
        .collect();
    place.queue.send(&told_by_s3(&writes));
    let daemon = world.start();
    world.comes_to("out", 8);
    place.queue.drained();
    assert!(daemon.stop().success());
    world.delivered_once_each(&records([0, 1, 10, 11, 20, 21, 30, 31]));
}

#[test]
fn what_is_no_write_to_the_feed_is_settled_unread() {
    let aws = Aws::emulated();
    let place = Place::apart();
    let foreign = aws.bucket();
    place.bucket.put("workspaceId=1/date=2026-01-01/removed.json", &object(&records(2..3)));
    // Each bucket sends a test message.
    place.bucket.tells_queue(&place.queue);
    foreign.tells_queue(&place.queue);
    // Objects that are not the feed's: another bucket, a folder's marker, a key that no log has, a key below another
    // prefix, and a removal.
    foreign.put(KEY, &object(&records(0..1)));
    place.bucket.put("workspaceId=1/date=2026-01-01/", b"");
    place.bucket.put("workspaceId=1/date=2026-01-01/_SUCCESS", b"");
    place.bucket.put("elsewhere/workspaceId=1/date=2026-01-01/a.json", &object(&records(1..2)));
    place.bucket.delete("workspaceId=1/date=2026-01-01/removed.json");
    place.queue.holds(7);

    let proxy = Proxy::to(aws.address);
    let world = World::new()
        .with_feed(&format!("{}prefixes = [\"workspaceId=\"]\n", place.feed(&proxy.url())), &place, &["out"])
        .with_file("out");
    // The foreign bucket is not read, but the operator should learn that it sends to this queue.
    let daemon = world.run(&[]).expecting(&["names an object that belongs to no feed"]).ready();
    place.queue.drained();
    daemon.counts("auditferry_notifications_total", &[], 7.0);
    assert!(daemon.stop().success());
    assert_eq!(world.delivered("out"), [""; 0]);
    assert_eq!(proxy.reads(&place.bucket.name).len(), 0);
    assert_eq!(proxy.reads(&foreign.name).len(), 0);
}

#[test]
fn a_write_that_is_told_under_an_unknown_name_is_delivered() {
    let place = Place::apart();
    let world = World::fed_by(&place);
    let key = |n: u64| format!("workspaceId=1/date=2026-01-01/{n}.json");
    // EventBridge's input transformers build S3's form with the key unencoded; the API and others have their own names
    // for a write.
    let names = ["Object Created", "PutObject", "s3:ObjectSynced:Create", "s3:Novelty:Put"];
    for (n, name) in (0..).zip(names) {
        place.bucket.put(&key(n), &object(&records(n..n + 1)));
        let own = name.contains(':');
        let written = if own { key(n).replace('=', "%3D") } else { key(n) };
        let told = told_by_s3(&[(&place.bucket.name, &written, "", "")]);
        place.queue.send(&told.replace("ObjectCreated:Put", name));
    }
    place.bucket.put(&key(9), &object(&records(9..10)));
    let told = told_by_s3(&[(&place.bucket.name, &key(9), "", "")]);
    for name in ["ObjectRemoved:Delete", "ObjectTagging:Put", "s3:ObjectAccessed:Get", "GetObject"] {
        place.queue.send(&told.replace("ObjectCreated:Put", name));
    }
    let daemon = world.start();
    world.comes_to("out", 4);
    place.queue.drained();
    daemon.counts("auditferry_notifications_total", &["written"], 4.0);
    daemon.counts("auditferry_notifications_total", &["other_event"], 3.0);
    assert_eq!(daemon.says("an event of an unknown name"), 3, "`Object Created` is known");
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..4));
}

#[test]
fn a_body_that_nobody_understands_becomes_a_dead_letter_and_its_queue_goes_on() {
    let aws = Aws::emulated();
    let (queue, dead) = aws.queue_with_dead_letters(2);
    let place = Place { bucket: aws.bucket(), queue };
    place.bucket.tells_queue(&place.queue);
    place.queue.take(1);
    place.queue.send("{\"Records\": [");
    let world = World::fed_by(&place).with_queue("visibility_secs = 10");
    let daemon = world.run(&[]).expecting(&["a message cannot be understood"]).ready();
    place.bucket.put(KEY, &object(&records(0..3)));
    world.comes_to("out", 3);
    dead.holds(1);
    place.queue.drained();
    assert!(daemon.stop().success());
    assert_eq!(dead.take(1), ["{\"Records\": ["]);
    world.delivered_once_each(&records(0..3));
}

#[test]
fn a_body_that_nobody_understands_is_quarantined_where_no_dead_letter_queue_is() {
    let place = Place::new();
    place.queue.send("no notification");
    let world = World::fed_by(&place).with_queue("visibility_secs = 10\npoison_receives_max = 2");
    let daemon = world.run(&[]).expecting(&["a message cannot be understood", "a message is quarantined"]).ready();
    place.queue.drained();
    daemon.counts("auditferry_messages_quarantined_total", &[], 1.0);
    assert!(daemon.stop().success());
}

#[test]
fn what_comes_from_a_topic_that_is_not_listed_is_set_aside_and_taken_once_it_is() {
    let place = Place::apart();
    let topic = Aws::emulated().topic_for(&place.queue);
    place.bucket.tells_topic(&topic);
    let world = World::fed_by(&place);
    let topics = |topics: &str| world.run(&[]).with_environment("AUDITFERRY__QUEUE__EVENTS__TOPICS", topics);
    let daemon = topics("[\"arn:aws:sns:eu-central-1:1:other\"]").expecting(&["a message is quarantined"]).ready();
    place.put([0]);
    daemon.counts("auditferry_messages_quarantined_total", &[], 1.0);
    place.queue.drained();
    let told = daemon.log.said("a message is quarantined").unwrap();
    assert!(told.field("reason").unwrap().contains(&topic), "{}", told.line);
    assert!(daemon.stop().success());
    assert!(world.delivered("out").is_empty());
    requeue_all(&world);
    let daemon = topics(&format!("[{topic:?}]")).ready();
    world.comes_to("out", 1);
    assert!(daemon.stop().success());
}

#[test]
fn notifications_that_come_again_and_out_of_order_deliver_nothing_twice() {
    let place = Place::new();
    let aws = Aws::emulated();
    let proxy = Proxy::to(aws.address);
    let world = World::fed_through(&proxy, &place);
    for end in 1..=5 {
        place.bucket.put(KEY, &object(&records(0..2 * end)));
    }
    let told = place.queue.take(5);
    let daemon = world.start();
    place.queue.send(&told[4]);
    world.comes_to("out", 10);
    place.queue.drained();
    let read = proxy.reads(&place.bucket.name).len();
    for body in [&told[4], &told[0], &told[3], &told[0], &told[2], &told[4], &told[1]] {
        place.queue.send(body);
    }
    place.queue.drained();
    daemon.counts("auditferry_notifications_total", &[], 8.0);
    assert!(daemon.stop().success());
    let later = proxy.reads(&place.bucket.name).split_off(read);
    assert!(
        later.iter().all(|read| read.status == 304),
        "older versions cost a conditional request at most: {later:?}"
    );
    world.delivered_once_each(&records(0..10));
}

#[test]
fn one_queue_serves_two_feeds() {
    let place = Place::new();
    let other = Aws::emulated().bucket();
    other.tells_queue(&place.queue);
    place.queue.take(1);
    let through = Aws::emulated().url();
    let second = Place { bucket: other, queue: place.queue.clone() };
    let world = World::new()
        .with_feed(&place.feed(&through), &place, &["out"])
        .with(&format!("[feed.second]\n{}queue = \"events\"\nsinks = [\"second\"]\n", second.feed(&through)))
        .with_file("out")
        .with_file("second");
    let daemon = world.start();
    place.bucket.put(KEY, &object(&records(0..2)));
    second.bucket.put(KEY, &object(&records(2..5)));
    eventually("both sinks have their feed's records", SOON, || {
        world.delivered("out") == records(0..2) && world.delivered("second") == records(2..5)
    });
    place.queue.drained();
    assert!(daemon.stop().success());
}

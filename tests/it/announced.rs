//! What the daemon says at the start of each part, how the journal tells its lines apart, and how full its queues are.

use super::support::aws::Aws;
use super::support::log::{Entry, READ_FAILED};
use super::support::proxy::{Fault, Proxy};
use super::support::records::{object, records};
use super::support::waiting::{SOON, eventually};
use super::support::world::{KEY, Place, QUEUE_IS_BARE, World};

fn said(entries: &[Entry], message: &str) -> Vec<Entry> {
    entries.iter().filter(|entry| entry.message == message).cloned().collect()
}

#[test]
fn each_part_has_a_line_at_the_start_and_a_queue_its_dead_letters() {
    let aws = Aws::emulated();
    let (bucket, (queue, dead)) = (aws.bucket(), aws.queue_with_dead_letters(7));
    let place = Place { bucket, queue };
    let world = World::fed_by(&place);
    dead.send("none of ours");
    let daemon = world.start();
    daemon.counts("auditferry_queue_dead_letter_messages", &["queue=\"events\""], 1.0);
    eventually("the queue is told of", SOON, || daemon.says("queue") > 0);
    let entries = daemon.log.entries();
    let [feed] = &said(&entries, "feed")[..] else { panic!("{entries:?}") };
    assert_eq!(feed.field("feed").as_deref(), Some("audit"));
    assert_eq!(feed.field("bucket").as_deref(), Some(&*place.bucket.name));
    assert_eq!(feed.field("queue").as_deref(), Some("events"));
    let [sink] = &said(&entries, "sink")[..] else { panic!("{entries:?}") };
    assert_eq!(sink.field("to"), Some(world.output("out").display().to_string()));
    let [queue] = &said(&entries, "queue")[..] else { panic!("{entries:?}") };
    assert_eq!(queue.field("dead_letter_queue"), Some(dead.arn()));
    assert_eq!(queue.field("receives_max").as_deref(), Some("7"));
    assert!(!entries.iter().any(|entry| entry.message == QUEUE_IS_BARE && entry.line.contains("redrive")));
    assert!(daemon.stop().success());
}

#[test]
fn a_queue_without_a_redrive_policy_is_warned_of_once() {
    let world = World::fed_by(&Place::new());
    let daemon = world.start();
    let warned = || said(&daemon.log.entries(), QUEUE_IS_BARE);
    eventually("it is warned of", SOON, || warned().iter().any(|entry| entry.line.contains("redrive policy")));
    assert_eq!(warned().iter().filter(|entry| entry.line.contains("redrive policy")).count(), 1);
    assert_eq!(warned()[0].level, "WARN");
    assert!(daemon.stop().success());
}

#[test]
fn a_line_names_its_object_once_and_libraries_say_nothing() {
    let place = Place::new();
    let proxy = Proxy::to(Aws::emulated().address);
    let world = World::fed_through(&proxy, &place);
    let daemon = world.run(&[]).with_environment("AUDITFERRY__LOG__LEVEL", "info").expecting(&[READ_FAILED]).ready();
    proxy.breaks(&[Fault::Status(503)]);
    place.bucket.put(KEY, &object(&records([1])));
    world.comes_to("out", 1);
    let [failed] = &said(&daemon.log.entries(), READ_FAILED)[..] else { panic!("it is told of once") };
    assert_eq!(failed.line.matches(KEY).count(), 1, "{}", failed.line);
    let ours = |entry: &Entry| entry.field("target").is_some_and(|target| target.starts_with("auditferry"));
    assert!(daemon.log.entries().iter().all(ours));
    assert!(daemon.stop().success());
}

#[test]
fn in_the_journal_every_line_begins_with_its_priority() {
    let world = World::fed_by_directory();
    let journal = "export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2)";
    let daemon = world.run(&["--once"]).after(journal).expecting(&["<6>", "<7>"]).spawn();
    let log = daemon.log.clone();
    assert!(daemon.end().success());
    let text = log.text();
    assert!(text.lines().count() > 2 && text.lines().all(|line| line.starts_with("<6>{") || line.starts_with("<7>{")));
}

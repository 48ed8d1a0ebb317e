//! A notification that no feed takes is reported and remembered, and its object is delivered once the configuration is
//! corrected.

use std::time::Duration;

use serde_json::Value;

use super::support::aws::{Aws, told_by_s3};
use super::support::chance::Chance;
use super::support::daemon::{Daemon, Start};
use super::support::proxy::Proxy;
use super::support::records::{object, records};
use super::support::waiting::{SOON, eventually, moment};
use super::support::world::{KEY, Place, World};

/// What the log may say at WARN of such notifications.
const NOBODYS: &str = "names an object that belongs to no feed";

/// Variables that override keys of `[feed.audit]`.
const PREFIXES: &str = "AUDITFERRY__FEED__AUDIT__PREFIXES";
const KEYS: &str = "AUDITFERRY__FEED__AUDIT__KEYS";
const IGNORE: &str = "AUDITFERRY__FEED__AUDIT__IGNORE";
const BUCKET: &str = "AUDITFERRY__FEED__AUDIT__BUCKET";

/// A feed with these keys besides the required ones.
fn world_of(place: &Place, through: &str, keys: &str) -> World {
    World::new().with_feed(&format!("{}{keys}\n", place.feed(through)), place, &["out"]).with_file("out")
}

/// Runs `auditferry quarantine unrouted` with these arguments; returns its exit code and output.
fn unrouted(world: &World, arguments: &[&str]) -> (Option<i32>, String) {
    world.run(&[]);
    let config = world.path("auditferry.toml");
    let mut all = vec!["quarantine", "unrouted", arguments[0], "--config", config.to_str().unwrap()];
    all.extend_from_slice(&arguments[1..]);
    let mut process = Start::new(&all, config.parent().unwrap()).expecting(&[""]).with_unread_output().spawn();
    let output = process.read_output();
    let code = process.end().code();
    (code, output.join().unwrap())
}

fn listed(world: &World) -> Vec<Value> {
    let (code, out) = unrouted(world, &["list", "--output", "json"]);
    assert_eq!(code, Some(0));
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The suggestion in the log's only warning of this kind.
fn suggestion(daemon: &Daemon) -> String {
    assert_eq!(daemon.says(NOBODYS), 1, "told once:\n{}", daemon.log.end());
    let entries = daemon.log.entries();
    let told = entries.iter().find(|entry| entry.message.contains(NOBODYS)).unwrap();
    assert_eq!(told.level, "WARN");
    told.field("suggestion").unwrap()
}

#[test]
fn what_lies_outside_of_the_prefixes_is_delivered_once_they_are_mended() {
    let place = Place::new();
    let proxy = Proxy::to(Aws::emulated().address);
    let world = world_of(&place, &proxy.url(), "prefixes = [\"audit/\"]");
    let second = "workspaceId=3049059095686970/date=2026-01-02/a b+c.json";
    place.bucket.put(KEY, &object(&records(0..3)));
    place.bucket.put(second, &object(&records(3..5)));
    // The object is overwritten, which makes two notifications of it.
    place.bucket.put(second, &object(&records(3..6)));
    let daemon = world.run(&[]).expecting(&[NOBODYS]).ready();
    daemon.counts("auditferry_notifications_unrouted_total", &["feed=\"audit\"", "why=\"prefix\""], 3.0);
    place.queue.drained();
    let told = suggestion(&daemon);
    assert!(told.contains("audit/") && told.contains("workspaceId=3049059095686970/"), "{told}");
    let kept = listed(&world);
    assert!(daemon.stop().success());
    assert_eq!(proxy.reads(&place.bucket.name).len(), 0);
    assert_eq!(world.delivered("out"), [""; 0]);
    let names: Vec<_> = kept.iter().map(|kept| kept["object"].as_str().unwrap().to_owned()).collect();
    let expected = [KEY, second].map(|key| format!("s3://{}/{key}", place.bucket.name));
    assert!(expected.iter().all(|name| names.contains(name)) && names.len() == 2, "{names:?}");
    assert_eq!((kept[0]["why"].as_str(), kept[0]["feed"].as_str()), (Some("prefix"), Some("audit")));
    assert_eq!(kept.iter().map(|kept| kept["notifications"].as_u64().unwrap()).sum::<u64>(), 3);

    let daemon = world.run(&[]).with_environment(PREFIXES, "[\"audit/\", \"workspaceId=\"]").ready();
    world.comes_to("out", 6);
    eventually("nothing is unrouted any more", SOON, || listed(&world).is_empty());
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..6));
}

#[test]
fn what_the_keys_leave_out_is_told_of_and_delivered_once_they_are_mended() {
    let place = Place::new();
    let world = world_of(&place, &Aws::emulated().url(), "keys = [\"**/*.log\"]");
    place.bucket.put(KEY, &object(&records(0..3)));
    let daemon = world.run(&[]).expecting(&[NOBODYS]).ready();
    daemon.counts("auditferry_notifications_unrouted_total", &["feed=\"audit\"", "why=\"keys\""], 1.0);
    place.queue.drained();
    let told = suggestion(&daemon);
    assert!(told.contains("**/*.log") && told.contains("ignore"), "{told}");
    assert!(daemon.stop().success());
    // The configuration is unchanged: the notification is kept, and not reported again.
    world.once();
    assert_eq!(listed(&world)[0]["why"], "keys");
    let mended = world.run(&["--once"]).with_environment(KEYS, "[\"**/*.json\"]").spawn();
    assert!(mended.end().success());
    world.delivered_once_each(&records(0..3));
    assert!(listed(&world).is_empty());
}

#[test]
fn an_object_of_a_foreign_bucket_is_delivered_once_a_feed_reads_it() {
    let place = Place::new();
    let other = Aws::emulated().bucket();
    other.put(KEY, &object(&records(0..3)));
    let world = world_of(&place, &Aws::emulated().url(), "");
    place.queue.send(&told_by_s3(&[(&other.name, &KEY.replace('=', "%3D"), "", "")]));
    let daemon = world.run(&[]).expecting(&[NOBODYS]).ready();
    daemon.counts("auditferry_notifications_unrouted_total", &["feed=\"\"", "why=\"bucket\""], 1.0);
    place.queue.drained();
    assert!(suggestion(&daemon).contains(&place.bucket.name), "a bucket of almost that name is read");
    assert!(daemon.stop().success());
    let mended = world.run(&["--once"]).with_environment(BUCKET, &other.name).spawn();
    assert!(mended.end().success());
    world.delivered_once_each(&records(0..3));
    assert!(listed(&world).is_empty());
}

#[test]
fn past_the_bound_a_message_stays_in_its_queue() {
    let aws = Aws::emulated();
    let (queue, dead) = aws.queue_with_dead_letters(2);
    let place = Place { bucket: aws.bucket(), queue };
    let world = world_of(&place, &aws.url(), "prefixes = [\"audit/\"]")
        .with_limits("unrouted_objects_max = 2")
        .with_queue("visibility_secs = 10");
    let told = |key: &str| told_by_s3(&[(&place.bucket.name, key, "", "")]);
    place.queue.send(&told("a.json"));
    place.queue.send(&told("b.json"));
    let daemon = world.run(&[]).expecting(&[NOBODYS]).ready();
    place.queue.drained();
    place.queue.send(&told("c.json"));
    place.queue.send(&told("a.json"));
    dead.holds(1);
    place.queue.drained();
    daemon.counts("auditferry_notifications_returned_total", &["events"], 2.0);
    assert_eq!(daemon.says("its name cannot be kept"), 1, "however often it comes");
    assert!(daemon.stop().success());
    let letters = dead.take(1);
    assert!(letters[0].contains("c.json"), "{letters:?}");
    let kept = listed(&world);
    assert_eq!(kept.iter().map(|kept| kept["notifications"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 1]);
}

#[test]
fn what_is_ignored_on_purpose_is_settled_unread_and_what_was_kept_of_it_is_forgotten() {
    let place = Place::new();
    let world = world_of(&place, &Aws::emulated().url(), "prefixes = [\"workspaceId=\"]");
    let log = "workspaceId=1/_delta_log/00000000000000000000.json";
    let elsewhere = "elsewhere/a.json";
    place.bucket.put(log, b"{}\n");
    let ignore = "[\"**/_delta_log/**\", \"elsewhere/**\"]";
    let daemon = world.run(&[]).with_environment(IGNORE, ignore).ready();
    place.bucket.put(elsewhere, b"{}\n");
    daemon.counts("auditferry_notifications_total", &["ignored"], 2.0);
    place.queue.drained();
    assert!(daemon.stop().success());
    assert!(listed(&world).is_empty());
    // A scan skips ignored objects, too.
    let daemon = world.run(&["--once"]).with_environment(IGNORE, ignore);
    assert!(daemon.with_environment("AUDITFERRY__FEED__AUDIT__SCAN_AT_START", "true").spawn().end().success());
    assert_eq!(world.delivered("out"), [""; 0]);
    // Without `ignore`, the notification is kept until a configuration ignores it.
    place.bucket.put(elsewhere, b"{}\n");
    place.queue.holds(1);
    world.once_expecting(&[NOBODYS]);
    assert_eq!(listed(&world).len(), 1);
    assert!(world.run(&["--once"]).with_environment(IGNORE, ignore).spawn().end().success());
    assert!(listed(&world).is_empty());
}

#[test]
fn what_was_kept_is_delivered_once_however_often_the_process_is_killed() {
    const OBJECTS: u64 = 40;
    let place = Place::new();
    let world = world_of(&place, &Aws::emulated().url(), "prefixes = [\"audit/\"]").with_queue("visibility_secs = 10");
    let mut chance = Chance::of_this_run("kill, unrouted");
    for n in 0..OBJECTS {
        let key = format!("workspaceId=1/date=2026-01-01/{n}.json");
        place.bucket.put(&key, &object(&records(3 * n..3 * n + 3)));
    }
    place.queue.holds(OBJECTS);
    // The process is killed while it writes the names down, and later while it reads their objects.
    for _ in 0..4 {
        let daemon = world.run(&[]).expecting(&[NOBODYS]).at_work();
        moment(Duration::from_millis(chance.below(150) as u64));
        daemon.kill();
    }
    let daemon = world.run(&[]).expecting(&[NOBODYS]).ready();
    place.queue.drained();
    assert!(daemon.stop().success());
    assert_eq!(listed(&world).len() as u64, OBJECTS);
    let mended = world.run(&[]).with_environment(PREFIXES, "[\"workspaceId=\"]");
    for _ in 0..6 {
        let daemon = mended.at_work();
        moment(Duration::from_millis(chance.below(120) as u64));
        daemon.kill();
    }
    assert!(world.run(&["--once"]).with_environment(PREFIXES, "[\"workspaceId=\"]").spawn().end().success());
    world.delivered_once_each(&records(0..3 * OBJECTS));
    assert!(listed(&world).is_empty());
}

#[test]
fn an_object_that_is_gone_by_then_is_let_go() {
    let place = Place::new();
    let world = world_of(&place, &Aws::emulated().url(), "prefixes = [\"audit/\"]");
    place.queue.send(&told_by_s3(&[(&place.bucket.name, "workspaceId=1/gone.json", "", "")]));
    world.once_expecting(&[NOBODYS]);
    assert_eq!(listed(&world).len(), 1);
    let mended = world.run(&["--once"]).with_environment(PREFIXES, "[\"workspaceId=\"]");
    assert!(mended.expecting(&["an object is gone before it was read"]).spawn().end().success());
    assert!(listed(&world).is_empty());
}

#[test]
fn an_operator_forgets_what_is_no_log() {
    let place = Place::new();
    let world = world_of(&place, &Aws::emulated().url(), "prefixes = [\"audit/\"]");
    for key in ["x/1\u{1b}[2J.json", "x/2.json", "y/3.json"] {
        let encoded = key.replace('\u{1b}', "%1B");
        place.queue.send(&told_by_s3(&[(&place.bucket.name, &encoded, "", "")]));
    }
    world.once_expecting(&[NOBODYS]);
    let (_, text) = unrouted(&world, &["list"]);
    assert!(text.lines().count() == 3 && text.contains("x/1\\u{1b}[2J") && !text.contains('\u{1b}'), "{text:?}");
    assert_eq!(unrouted(&world, &["purge", "--all", "--prefix", "x/"]), (Some(0), "purged 2\n".to_owned()));
    let left = listed(&world);
    assert_eq!(left.len(), 1);
    let id = left[0]["id"].to_string();
    assert_eq!(unrouted(&world, &["purge", "77"]).0, Some(66), "that one is not there");
    assert_eq!(unrouted(&world, &["purge", &id]), (Some(0), "purged 1\n".to_owned()));
    assert!(listed(&world).is_empty());
}

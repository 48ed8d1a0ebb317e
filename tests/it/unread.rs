//! An object that cannot be read is reported, goes into its feed's backlog, and is delivered once it can be read.

use std::time::Duration;

use super::support::aws::{Aws, Depth};
use super::support::daemon::Daemon;
use super::support::log::READ_FAILED;
use super::support::proxy::{Fault, Proxy};
use super::support::records::{object, records};
use super::support::waiting::{SOON, eventually, moment};
use super::support::world::{KEY, Place, World, key};

/// A place, and a proxy that refuses every read of its bucket.
fn refused() -> (Place, Proxy) {
    let proxy = Proxy::to(Aws::emulated().address);
    proxy.breaks(&[Fault::Refused(403, "AccessDenied"); 100_000]);
    (Place::new(), proxy)
}

/// Waits until exactly this many objects are recorded as unread.
fn comes_to_be_unread(daemon: &Daemon, objects: f64) {
    let unread = || daemon.metric("auditferry_unread_objects", &["feed=\"audit\"", "kind=\"denied\""]);
    eventually(&format!("{objects} objects are unread"), SOON, || unread() == objects);
}

#[test]
fn a_bucket_that_never_answers_is_told_after_the_timeout_and_read_once_it_does() {
    let place = Place::new();
    let proxy = Proxy::to(Aws::emulated().address);
    proxy.breaks(&[Fault::Held; 1000]);
    let world = World::fed_through(&proxy, &place).with_request_timeout("1s");
    let daemon = world.run(&[]).expecting(&[READ_FAILED, "the queue was not read"]).ready();
    place.bucket.put(KEY, &object(&records(0..3)));
    let told = || daemon.log.failed_read("timeout");
    eventually("the log tells of the timeout", SOON, || told().is_some());
    assert!(told().unwrap().field("hint").unwrap().contains("request_timeout"), "{}", told().unwrap().line);
    daemon.counts("auditferry_reads_failed_total", &["kind=\"timeout\""], 2.0);
    proxy.heals();
    proxy.release();
    world.comes_to("out", 3);
    place.queue.drained();
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..3));
}

#[test]
fn what_cannot_be_read_is_settled_and_delivered_once_it_can_be_even_after_a_restart() {
    let (place, proxy) = refused();
    let world = World::fed_through(&proxy, &place).with_limits("owe_after = \"1s\"");
    let daemon = world.run(&[]).expecting(&[READ_FAILED]).ready();
    place.put(0..4);
    comes_to_be_unread(&daemon, 4.0);
    place.queue.drained();
    let text = daemon.page("/readyz").text();
    assert!(text.lines().any(|line| line == "unread: feed audit: 4 denied"), "{text}");
    // The failure is known by now: new objects are not requested.
    place.put(4..6);
    comes_to_be_unread(&daemon, 6.0);
    place.queue.drained();
    assert!(daemon.stop().success());
    let asked = proxy.reads(&place.bucket.name);
    let asked_for = |number| asked.iter().any(|read| read.target.contains(&key(number).replace('=', "%3D")));
    assert!(asked_for(0), "{asked:?}");
    let daemon = world.run(&[]).expecting(&[READ_FAILED]).ready();
    comes_to_be_unread(&daemon, 6.0);
    assert!(world.delivered("out").is_empty());
    proxy.heals();
    world.comes_to("out", 6);
    comes_to_be_unread(&daemon, 0.0);
    eventually("nothing fails any more", SOON, || daemon.page("/readyz").text() == "ready\n");
    let reads = proxy.reads(&place.bucket.name).len();
    moment(Duration::from_secs(2));
    assert_eq!(proxy.reads(&place.bucket.name).len(), reads, "there is nothing left to read");
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..6));
}

#[test]
fn an_unreadable_feed_is_probed_with_one_object_at_a_time() {
    const OBJECTS: u64 = 40;
    let (place, proxy) = refused();
    let world = World::fed_through(&proxy, &place).with_limits("owe_after = \"1s\"");
    let daemon = world.run(&[]).expecting(&[READ_FAILED]).ready();
    place.put(0..OBJECTS);
    comes_to_be_unread(&daemon, OBJECTS as f64);
    place.queue.drained();
    let reads = proxy.reads(&place.bucket.name).len();
    moment(Duration::from_secs(5));
    // Probes come after 1 s, 2 s and 4 s at the earliest.
    let probes = proxy.reads(&place.bucket.name).len() - reads;
    assert!(probes <= 4, "{probes} probes in 5 s");
    proxy.heals();
    world.comes_to("out", OBJECTS as usize);
    comes_to_be_unread(&daemon, 0.0);
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..OBJECTS));
}

#[test]
fn where_nothing_is_written_down_or_there_is_no_room_messages_are_put_off_for_long() {
    for (limits, told, unread) in [
        (
            "owe_after = \"never\"\nstall_after = \"1s\"",
            "an object cannot be read now; its messages come again later",
            0.0,
        ),
        ("owe_after = \"1s\"\nbacklog_objects_max = 1", "the feed's backlog is full; messages come again later", 1.0),
    ] {
        let (place, proxy) = refused();
        let world = World::fed_through(&proxy, &place).with_limits(limits);
        let expected = [READ_FAILED, told, "work on a message makes no progress"];
        let daemon = world.run(&[]).expecting(&expected).ready();
        place.put(0..2);
        daemon.counts("auditferry_objects_total", &["result=\"put_off\""], 2.0 - unread);
        comes_to_be_unread(&daemon, unread);
        assert!(daemon.log.said(told).is_some());
        let hidden = Depth { visible: 0, in_flight: 2 - unread as u64 };
        eventually("what was put off is hidden, and not deleted", SOON, || place.queue.depth() == hidden);
        assert!(daemon.stop().success());
        // Messages that were put off before the stop stay hidden.
        assert_eq!(place.queue.depth(), hidden);
    }
}

#[test]
fn once_tries_what_could_not_be_read_before() {
    let (place, proxy) = refused();
    let world = World::fed_through(&proxy, &place).with_limits("owe_after = \"1s\"");
    let daemon = world.run(&[]).expecting(&[READ_FAILED]).ready();
    place.put(0..3);
    comes_to_be_unread(&daemon, 3.0);
    place.queue.drained();
    assert!(daemon.stop().success());
    let daemon = world.run(&["--once"]).expecting(&[READ_FAILED, "cannot be read", "stopped by an error"]).spawn();
    assert_eq!(daemon.end().code(), Some(75));
    proxy.heals();
    world.once();
    world.delivered_once_each(&records(0..3));
}

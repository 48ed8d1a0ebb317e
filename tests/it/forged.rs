//! Nobody can hide an object's later content by sending a message or archiving the object.

use super::support::aws::{Aws, told_by_s3};
use super::support::daemon::Daemon;
use super::support::proxy::{Fault, Proxy};
use super::support::records::{object, records};
use super::support::world::{KEY, Place, World};

const HIGHEST: &str = "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF";

fn encoded(key: &str) -> String {
    key.replace('=', "%3D")
}

/// Sends a message that names a version of the object which need not exist.
fn forge(place: &Place, etag: &str, sequencer: &str) {
    place.queue.send(&told_by_s3(&[(&place.bucket.name, &encoded(KEY), etag, sequencer)]));
    place.queue.drained();
}

#[test]
fn a_forged_message_hides_no_later_version() {
    let place = Place::new();
    let world = World::fed_by(&place);
    let daemon = world.start();
    place.bucket.put(KEY, &object(&records(0..1)));
    world.comes_to("out", 1);
    place.queue.drained();
    let now = place.bucket.etag(KEY);
    // The current version, one that is written later, and two that never exist.
    place.bucket.put("workspaceId=1/date=2026-01-01/foretold.json", &object(&records(0..2)));
    world.comes_to("out", 3);
    let later = place.bucket.etag("workspaceId=1/date=2026-01-01/foretold.json");
    for etag in [&now, &later, "d41d8cd98f00b204e9800998ecf8427e", ""] {
        forge(&place, etag, HIGHEST);
    }
    for end in 2..4 {
        place.bucket.put(KEY, &object(&records(0..end)));
        world.comes_to("out", 2 + end as usize);
    }
    place.queue.drained();
    assert!(daemon.stop().success());
    let expected: Vec<String> = records(0..3).into_iter().chain(records(0..2)).collect();
    world.delivered_once_each(&expected);
}

#[test]
fn a_message_is_settled_unread_only_where_it_names_the_version_that_was_read() {
    let place = Place::new();
    let proxy = Proxy::to(Aws::emulated().address);
    let world = World::fed_through(&proxy, &place);
    let daemon = world.start();
    place.bucket.put(KEY, &object(&records(0..3)));
    world.comes_to("out", 3);
    place.queue.drained();
    let reads = || proxy.reads(&place.bucket.name).iter().map(|read| read.status).collect::<Vec<_>>();
    let before = reads().len();
    forge(&place, &place.bucket.etag(KEY), "00");
    assert_eq!(reads().len(), before);
    forge(&place, "d41d8cd98f00b204e9800998ecf8427e", "00");
    assert_eq!(reads()[before..], [304]);
    daemon.counts("auditferry_duplicates_suppressed_total", &["etag"], 1.0);
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..3));
}

/// S3's answer for an object that must be restored first (S3 User Guide, "Working with archived objects").
const ARCHIVED: Fault = Fault::Refused(403, "InvalidObjectState");

const CANNOT_BE_READ: &str = "an object cannot be read and is quarantined";

fn quarantines(daemon: &Daemon, objects: f64) {
    daemon.counts("auditferry_objects_total", &["quarantined"], objects);
}

#[test]
fn an_archived_object_is_read_once_it_is_restored_though_its_entity_tag_is_the_same() {
    let place = Place::new();
    let proxy = Proxy::to(Aws::emulated().address);
    let world = World::fed_through(&proxy, &place);
    let daemon = world.run(&[]).expecting(&[CANNOT_BE_READ]).ready();
    proxy.breaks(&[ARCHIVED, ARCHIVED]);
    place.bucket.put(KEY, &object(&records(0..3)));
    quarantines(&daemon, 1.0);
    place.queue.drained();
    // The object is still archived; the message has the entity tag of that same version.
    let etag = place.bucket.etag(KEY);
    forge(&place, &etag, "00");
    quarantines(&daemon, 2.0);
    forge(&place, &etag, "00");
    world.comes_to("out", 3);
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..3));
}

#[test]
fn what_a_message_says_of_an_object_that_cannot_be_read_is_not_believed() {
    let place = Place::new();
    let proxy = Proxy::to(Aws::emulated().address);
    let world = World::fed_through(&proxy, &place);
    let daemon = world.run(&[]).expecting(&[CANNOT_BE_READ]).ready();
    // An unreadable version, then a message that has the entity tag of the version after it.
    place.bucket.put("workspaceId=1/date=2026-01-01/foretold.json", &object(&records(0..3)));
    world.comes_to("out", 3);
    let later = place.bucket.etag("workspaceId=1/date=2026-01-01/foretold.json");
    place.queue.drained();
    proxy.breaks(&[ARCHIVED, ARCHIVED]);
    place.bucket.put(KEY, &object(&records(5..6)));
    quarantines(&daemon, 1.0);
    forge(&place, &later, HIGHEST);
    quarantines(&daemon, 2.0);
    place.bucket.put(KEY, &object(&records(0..3)));
    world.comes_to("out", 6);
    place.queue.drained();
    assert!(daemon.stop().success());
    let expected: Vec<String> = records(0..3).into_iter().chain(records(0..3)).collect();
    world.delivered_once_each(&expected);
}

#[test]
fn a_scan_reads_an_object_that_was_archived_when_it_was_last_seen() {
    let place = Place::apart();
    let proxy = Proxy::to(Aws::emulated().address);
    let feed = format!("[feed.audit]\n{}scan_every = \"1s\"\nsinks = [\"out\"]\n", place.feed(&proxy.url()));
    let world = World::new().with(&feed).with_file("out");
    place.bucket.put(KEY, &object(&records(0..3)));
    proxy.breaks(&[ARCHIVED]);
    let daemon = world.run(&[]).expecting(&[CANNOT_BE_READ]).ready();
    world.comes_to("out", 3);
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..3));
}

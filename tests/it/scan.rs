//! A scan finds the objects of a place without notifications, and `--once` ends when all of them are delivered.

use std::time::Duration;

use super::support::aws::{Aws, Depth};
use super::support::records::{assert_once_each, object, records};
use super::support::waiting::{SOON, eventually, within};
use super::support::world::{KEY, Place, World, key};

/// What the log says of a sink that takes nothing for a while.
const SLOW: &str = "going on without a sink that is slow or failing";

/// How long an impatient world waits for a sink.
const PATIENCE: Duration = Duration::from_secs(1);

/// A feed without a queue.
fn scanned(place: &Place, keys: &str) -> World {
    let through = Aws::emulated().url();
    World::new().with(&format!("[feed.audit]\n{}{keys}sinks = [\"out\"]\n", place.feed(&through))).with_file("out")
}

#[test]
fn the_objects_below_a_prefix_are_found_without_a_queue() {
    let place = Place::apart();
    // A listing's page has a thousand objects: the wanted object is on the second page.
    for n in 0..1_000 {
        place.bucket.put(&format!("logs/workspaceId=1/date=2026-01-01/_committed_{n}"), b"");
    }
    for n in 0..5 {
        place.bucket.put(&format!("logs/workspaceId=1/date=2026-01-01/auditlogs_{n}.json"), &object(&records(n..=n)));
    }
    place.bucket.put("others/workspaceId=1/date=2026-01-01/a.json", &object(&records(5_000..5_001)));
    let world = scanned(&place, "prefixes = [\"logs/\"]\n");
    world.once();
    world.delivered_once_each(&records(0..5));
    world.once();
    world.delivered_once_each(&records(0..5));
}

#[test]
fn a_place_without_a_queue_is_scanned_again_and_again() {
    let place = Place::apart();
    let world = scanned(&place, "scan_every = \"1s\"\n");
    let daemon = world.start();
    for end in 1..=3 {
        place.bucket.put(KEY, &object(&records(0..end)));
        world.comes_to("out", end as usize);
    }
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..3));
}

#[test]
fn what_was_there_before_the_queue_is_found_when_asked() {
    let place = Place::apart();
    place.bucket.put("workspaceId=1/date=2026-01-01/before.json", &object(&records(0..2)));
    place.bucket.tells_queue(&place.queue);
    place.bucket.put("workspaceId=1/date=2026-01-01/after.json", &object(&records(2..4)));
    let through = Aws::emulated().url();
    let feed = format!("{}scan_at_start = true\n", place.feed(&through));
    let world = World::new().with_feed(&feed, &place, &["out"]).with_file("out");
    let daemon = world.start();
    world.comes_to("out", 4);
    place.queue.drained();
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..4));
}

#[test]
fn once_drains_the_queue_and_ends() {
    let place = Place::new();
    place.put(0..25);
    place.queue.holds(25);
    let world = World::fed_by(&place);
    world.once();
    assert_eq!(place.queue.depth(), Depth { visible: 0, in_flight: 0 });
    world.delivered_once_each(&records(0..25));
}

#[test]
fn once_waits_for_a_sink_that_is_slow() {
    let world = World::new()
        .impatient()
        .with_directory_feed(&["console"])
        .with("[sink.console]\ntype = \"stdout\"\nencoding = \"raw\"\n");
    // More than a pipe holds.
    let all = records(0..500);
    world.write(KEY, &object(&all));
    let mut daemon = world.run(&["--once"]).with_unread_output().spawn();
    let log = daemon.log.clone();
    eventually("the others went on without it", SOON, || log.said(SLOW).is_some());
    assert!(!within(3 * PATIENCE, || daemon.has_ended()), "it did not wait:\n{}", log.end());
    let output = daemon.read_output();
    let status = daemon.end();
    assert!(status.success(), "{status}:\n{}", log.end());
    let output = output.join().unwrap();
    assert_once_each(&output.lines().map(str::to_owned).collect::<Vec<_>>(), &all);
}

#[test]
fn once_over_nothing_ends_well() {
    World::fed_by(&Place::new()).once();
    World::fed_by_directory().once();
}

#[test]
fn a_sink_that_is_added_gets_what_a_scan_finds_and_without_one_what_changes_from_then_on() {
    let place = Place::new();
    let world = World::fed_by(&place).with_file("late");
    let both = ("AUDITFERRY__FEED__AUDIT__SINKS", "[\"out\", \"late\"]");
    place.put(0..2);
    place.queue.holds(2);
    world.once_expecting(&["[sink.late] is used by no feed"]);
    // Without a scan, the sink gets only objects that are written again, each with all its records.
    place.bucket.put(&key(0), &object(&records([0, 10])));
    place.queue.holds(1);
    assert!(world.run(&["--once"]).with_environment(both.0, both.1).spawn().end().success());
    assert_once_each(&world.delivered("late"), &records([0, 10]));
    let scanning = ("AUDITFERRY__FEED__AUDIT__SCAN_AT_START", "true");
    let again = world.run(&["--once"]).with_environment(both.0, both.1).with_environment(scanning.0, scanning.1);
    assert!(again.spawn().end().success());
    assert_once_each(&world.delivered("late"), &records([0, 1, 10]));
    world.delivered_once_each(&records([0, 1, 10]));
}

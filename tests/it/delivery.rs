//! Each sink gets each record once, whatever another sink does and however slow the sink is.

use super::support::aws::Aws;
use super::support::daemon::Daemon;
use super::support::records::{assert_once_each, lines_of, object, records};
use super::support::waiting::{SOON, eventually};
use super::support::world::{KEY, Place, World};

/// What the log may say while a sink is unreachable.
const SINK_IS_AWAY: [&str; 2] = ["a batch was not delivered", "the sink is parked"];

/// A feed of `place` to the sinks `out` and `late`; the directory of `late` does not exist yet.
fn world_with_a_sink_that_is_away(place: &Place) -> World {
    let through = Aws::emulated().url();
    let world = World::new().impatient().with_feed(&place.feed(&through), place, &["out", "late"]).with_file("out");
    let late = world.path("away/late.ndjson");
    world.with(&format!("[sink.late]\ntype = \"file\"\npath = {late:?}\nencoding = \"raw\"\n"))
}

fn late(world: &World) -> Vec<String> {
    lines_of(&world.path("away/late.ndjson"))
}

/// Creates the directory of `late`, and waits until this sink has at least `lines` lines.
fn comes_back(world: &World, lines: usize) {
    std::fs::create_dir(world.path("away")).unwrap();
    eventually("the sink that was away has caught up", SOON, || late(world).len() >= lines);
}

#[test]
fn a_sink_that_fails_does_not_hold_up_the_other_and_catches_up_without_repeats() {
    let place = Place::new();
    let world = world_with_a_sink_that_is_away(&place);
    let daemon = world.run(&[]).expecting(&SINK_IS_AWAY).at_work();
    place.bucket.put(KEY, &object(&records(0..3)));
    world.comes_to("out", 3);
    place.bucket.put(KEY, &object(&records(0..6)));
    world.comes_to("out", 6);
    comes_back(&world, 6);
    place.queue.drained();
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..6));
    assert_once_each(&late(&world), &records(0..6));
}

#[test]
fn what_a_sink_is_owed_leaves_the_queue_and_is_delivered_when_the_sink_is_back() {
    let place = Place::new();
    let world = world_with_a_sink_that_is_away(&place).with_limits("owe_after = \"1s\"");
    let daemon = world.run(&[]).expecting(&SINK_IS_AWAY).at_work();
    place.bucket.put(KEY, &object(&records(0..3)));
    world.comes_to("out", 3);
    place.queue.drained();
    assert!(late(&world).is_empty());
    place.bucket.put(KEY, &object(&records(0..5)));
    place.bucket.put("workspaceId=1/date=2026-01-02/b.json", &object(&records(5..7)));
    world.comes_to("out", 7);
    place.queue.drained();
    comes_back(&world, 7);
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..7));
    assert_once_each(&late(&world), &records(0..7));
}

#[test]
fn what_a_sink_is_owed_outlives_the_process() {
    let place = Place::new();
    let world = world_with_a_sink_that_is_away(&place).with_limits("owe_after = \"1s\"");
    let daemon = world.run(&[]).expecting(&SINK_IS_AWAY).at_work();
    place.bucket.put(KEY, &object(&records(0..3)));
    world.comes_to("out", 3);
    place.queue.drained();
    daemon.kill();
    let daemon = world.run(&[]).expecting(&SINK_IS_AWAY).at_work();
    comes_back(&world, 3);
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..3));
    assert_once_each(&late(&world), &records(0..3));
}

#[test]
fn messages_stay_with_their_queue_where_nothing_may_be_owed() {
    let place = Place::new();
    let world = world_with_a_sink_that_is_away(&place).with_limits("owe_after = \"never\"");
    let daemon = world.run(&[]).expecting(&SINK_IS_AWAY).at_work();
    place.bucket.put(KEY, &object(&records(0..3)));
    world.comes_to("out", 3);
    let depth = place.queue.depth();
    assert_eq!(depth.visible + depth.in_flight, 1);
    comes_back(&world, 3);
    place.queue.drained();
    assert!(daemon.stop().success());
    assert_once_each(&late(&world), &records(0..3));
}

#[test]
fn a_message_stays_invisible_as_long_as_a_slow_sink_takes() {
    const LINES: u64 = 2_000;
    let place = Place::new();
    let through = Aws::emulated().url();
    let world = World::new()
        .with_feed(&place.feed(&through), &place, &["console"])
        .with_queue("visibility_secs = 10")
        .with("[sink.console]\ntype = \"stdout\"\nencoding = \"raw\"\n");
    place.bucket.put(KEY, &object(&records(0..LINES)));
    place.queue.holds(1);
    let mut daemon = world.run(&[]).expecting(&SINK_IS_AWAY).with_unread_output().ready();
    // The visibility timeout is ten seconds, and is extended each time half of it is over.
    daemon.counts("auditferry_visibility_extensions_total", &[], 3.0);
    assert_eq!(place.queue.receives(), [1]);
    let output = daemon.read_output();
    place.queue.drained();
    assert!(daemon.stop().success());
    let lines: Vec<String> = output.join().unwrap().lines().map(str::to_owned).collect();
    assert_once_each(&lines, &records(0..LINES));
}

#[test]
fn once_ends_though_a_sink_cannot_take_the_batch_that_was_under_way() {
    let world = World::new().impatient().with_directory_feed(&["out", "late"]).with_file("out");
    let late_path = world.path("away/late.ndjson");
    let world = world.with(&format!("[sink.late]\ntype = \"file\"\npath = {late_path:?}\nencoding = \"raw\"\n"));
    world.write(KEY, &object(&records(0..3)));
    let failing = |daemon: Daemon| {
        let log = daemon.log.clone();
        assert_eq!(daemon.end().code(), Some(75), "{}", log.end());
        assert!(log.text().contains("not delivered to late"), "{}", log.end());
    };
    let expected: Vec<&'static str> = [&SINK_IS_AWAY[..], &["stopped by an error"]].concat();
    // The sink's file cannot be opened: first no batch is sealed, then one is.
    failing(world.run(&["--once"]).expecting(&expected).spawn());
    std::fs::create_dir(world.path("away")).unwrap();
    std::fs::create_dir(&late_path).unwrap();
    failing(world.run(&["--once"]).expecting(&expected).spawn());
    world.write(KEY, &object(&records(0..6)));
    failing(world.run(&["--once"]).expecting(&expected).spawn());
    world.delivered_once_each(&records(0..6));
    std::fs::remove_dir(&late_path).unwrap();
    world.once_expecting(&["completing"]);
    assert_once_each(&late(&world), &records(0..6));
}

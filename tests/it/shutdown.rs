//! A daemon that is asked to stop returns its messages and ends in time.

use std::time::{Duration, Instant};

use super::support::aws::{Aws, Depth};
use super::support::inside::{self, Pace, Shelf};
use super::support::records::{assert_once_each, object, records};
use super::support::waiting::{SOON, eventually};
use super::support::world::{Place, World, key};

#[test]
fn messages_in_hand_are_visible_to_others_as_soon_as_the_daemon_has_gone() {
    const OBJECTS: u64 = 12;
    let place = Place::new();
    let through = Aws::emulated().url();
    // Nobody reads the console: once its pipe is full, nothing more is delivered.
    let world = World::new()
        .impatient()
        .with_feed(&place.feed(&through), &place, &["console"])
        .with_queue("visibility_secs = 600")
        .with("[sink.console]\ntype = \"stdout\"\nencoding = \"raw\"\n")
        .with_limits("shutdown_grace = \"6s\"");
    for n in 0..OBJECTS {
        place.bucket.put(&key(n), &object(&records(1000 * n..1000 * n + 500)));
    }
    place.queue.holds(OBJECTS);
    let daemon = world.run(&[]).with_unread_output().ready();
    eventually("every message was received", SOON, || place.queue.depth() == Depth { visible: 0, in_flight: OBJECTS });
    let asked = Instant::now();
    let status = daemon.stop();
    assert!(status.success(), "{status}");
    assert!(asked.elapsed().as_secs() < 20, "it took {:?} to stop", asked.elapsed());
    assert_eq!(place.queue.depth(), Depth { visible: OBJECTS, in_flight: 0 });
}

#[test]
fn work_in_hand_is_finished_before_the_daemon_goes() {
    let place = Place::new();
    let world = World::fed_by(&place);
    for n in 0..40 {
        place.bucket.put(&key(n), &object(&records(100 * n..100 * n + 100)));
    }
    place.queue.holds(40);
    let daemon = world.start();
    world.comes_to("out", 1);
    assert!(daemon.stop().success());
    let all: Vec<String> = (0..40).flat_map(|n| records(100 * n..100 * n + 100)).collect();
    let daemon = world.start();
    world.comes_to("out", all.len());
    place.queue.drained();
    assert!(daemon.stop().success());
    assert_once_each(&world.delivered("out"), &all);
}

#[test]
fn an_idle_daemon_goes_at_once() {
    let world = World::fed_by(&Place::new());
    let daemon = world.start();
    let asked = Instant::now();
    assert!(daemon.stop().success());
    assert!(asked.elapsed().as_secs() < 10, "it took {:?} to stop", asked.elapsed());
}

#[test]
fn a_stop_waits_for_no_bytes_that_hardly_come() {
    // The last bytes of these objects would take six minutes.
    let slow = Shelf { records_each: 3, ..Shelf::new("slow", 0..3, |_| Pace::LastBytes(360)) };
    let silent = Shelf::new("silent", 3..4, |_| Pace::Never);
    let stopping = inside::run("", &[slow, silent], async |delivered| {
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(delivered.lines().is_empty());
    });
    assert!(stopping < Duration::from_millis(500), "it took {stopping:?} to stop");
}

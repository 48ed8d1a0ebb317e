//! No feed waits for another feed's fault.

use super::support::aws::Aws;
use super::support::log::READ_FAILED;
use super::support::proxy::{Fault, Proxy};
use super::support::records::{assert_once_each, lines_of, records};
use super::support::waiting::{SOON, eventually};
use super::support::world::{Place, World};

/// Two feeds that share a queue: `audit` reads `place` by way of `through`, `second` reads a bucket beside it.
fn sharing(place: &Place, through: &str, sink: &str) -> (World, Place) {
    let second = place.beside();
    let table =
        format!("[feed.second]\n{}queue = \"events\"\nsinks = [\"second\"]\n", second.feed(&Aws::emulated().url()));
    let world = World::new().with_feed(&place.feed(through), place, &[sink]).with(&table).with_file("second");
    (world, second)
}

/// Settings of a queue from which at most ten messages are received at a time.
const TEN_AT_ONCE: &str = "held_max = 10\nreceivers = 1";

#[test]
fn of_objects_whose_bytes_hardly_come_a_feed_reads_two_at_once_and_puts_off_the_third() {
    let place = Place::new();
    let proxy = Proxy::to(Aws::emulated().address);
    proxy.breaks(&[Fault::Slow; 1000]);
    let world = World::fed_through(&proxy, &place).with_limits("objects_at_once = 3");
    let daemon = world.run(&[]).expecting(&[READ_FAILED]).ready();
    place.put(0..3);
    daemon.counts("auditferry_reads_failed_total", &["kind=\"timeout\""], 1.0);
    let error = daemon.log.failed_read("timeout").and_then(|entry| entry.field("error")).unwrap();
    assert!(error.contains("limits.read_rate_min"), "{error}");
    assert!(world.delivered("out").is_empty());
    proxy.heals();
    proxy.release();
    world.comes_to("out", 3);
    place.queue.drained();
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..3));
}

#[test]
fn a_feed_that_cannot_be_read_leaves_the_others_their_share_of_the_queue() {
    const OBJECTS: u64 = 40;
    let place = Place::new();
    let proxy = Proxy::to(Aws::emulated().address);
    let (world, second) = sharing(&place, &proxy.url(), "out");
    let world = world.with_file("out").with_queue(TEN_AT_ONCE);
    proxy.breaks(&[Fault::Refused(403, "AccessDenied"); 100_000]);
    let daemon = world.run(&[]).expecting(&[READ_FAILED]).ready();
    place.put(0..OBJECTS);
    second.put(OBJECTS..2 * OBJECTS);
    world.comes_to("second", OBJECTS as usize);
    assert!(world.delivered("out").is_empty());
    proxy.heals();
    world.comes_to("out", OBJECTS as usize);
    place.queue.drained();
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..OBJECTS));
    assert_once_each(&world.delivered("second"), &records(OBJECTS..2 * OBJECTS));
}

#[test]
fn a_feed_whose_sink_stands_still_leaves_the_others_their_share_of_the_queue() {
    const OBJECTS: u64 = 40;
    let place = Place::new();
    let (world, second) = sharing(&place, &Aws::emulated().url(), "away");
    let path = world.path("away/out.ndjson");
    let world = world
        .with_queue(TEN_AT_ONCE)
        .with(&format!("[sink.away]\ntype = \"file\"\npath = {path:?}\nencoding = \"raw\"\n"))
        .impatient();
    let daemon = world.run(&[]).expecting(&["the sink is parked", "a batch was not delivered"]).at_work();
    place.put(0..OBJECTS);
    second.put(OBJECTS..2 * OBJECTS);
    world.comes_to("second", OBJECTS as usize);
    std::fs::create_dir(world.path("away")).unwrap();
    eventually("the other sink has had all", SOON, || lines_of(&path).len() >= OBJECTS as usize);
    place.queue.drained();
    assert!(daemon.stop().success());
    assert_once_each(&lines_of(&path), &records(0..OBJECTS));
    assert_once_each(&world.delivered("second"), &records(OBJECTS..2 * OBJECTS));
}

#[test]
fn a_feed_whose_reads_are_never_answered_holds_up_no_other() {
    const OBJECTS: u64 = 6;
    let place = Place::new();
    let proxy = Proxy::to(Aws::emulated().address);
    let (world, second) = sharing(&place, &proxy.url(), "out");
    let world = world.with_file("out").with_limits("objects_at_once = 2");
    proxy.breaks(&[Fault::Held; OBJECTS as usize]);
    let daemon = world.start();
    place.put(0..OBJECTS);
    eventually("a read of the first feed is held", SOON, || proxy.held() > 0);
    second.put(OBJECTS..2 * OBJECTS);
    world.comes_to("second", OBJECTS as usize);
    assert!(world.delivered("out").is_empty());
    proxy.release();
    world.comes_to("out", OBJECTS as usize);
    place.queue.drained();
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..OBJECTS));
    assert_once_each(&world.delivered("second"), &records(OBJECTS..2 * OBJECTS));
}

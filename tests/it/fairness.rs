//! No feed waits for another's fault.

use super::support::aws::Aws;
use super::support::proxy::{Fault, Proxy};
use super::support::records::{assert_once_each, lines_of, object, records};
use super::support::waiting::{SOON, eventually};
use super::support::world::{Place, World};

fn key(number: u64) -> String {
    format!("workspaceId=1/date=2026-01-01/{number}.json")
}

/// Two feeds that share a queue which gives out ten messages at a time: `audit`, of `place` and read through `through`, and
/// `second`.
fn sharing(place: &Place, through: &str, sink: &str) -> (World, Place) {
    let bucket = Aws::emulated().bucket();
    bucket.tells_queue(&place.queue);
    place.queue.take(1);
    let second = Place { bucket, queue: place.queue.clone() };
    let table =
        format!("[feed.second]\n{}queue = \"events\"\nsinks = [\"second\"]\n", second.feed(&Aws::emulated().url()));
    let world = World::new().with_feed(&place.feed(through), place, &[sink]).with(&table).with_file("second");
    (world.with_queue("held_max = 10\nreceivers = 1"), second)
}

#[test]
fn of_objects_whose_bytes_hardly_come_a_feed_reads_two_at_once_and_puts_off_the_third() {
    let place = Place::new();
    let proxy = Proxy::to(Aws::emulated().address);
    proxy.breaks(&[Fault::Slow; 1000]);
    let world = World::fed_through(&proxy, &place).with_limits("objects_at_once = 3");
    let told = "a read failed and is tried again";
    let daemon = world.run(&[]).expecting(&[told]).ready();
    for number in 0..3 {
        place.bucket.put(&key(number), &object(&records(number..number + 1)));
    }
    daemon.counts("auditferry_reads_failed_total", &["kind=\"timeout\""], 1.0);
    let error = daemon.log.said(told).and_then(|entry| entry.field("error")).unwrap();
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
    let world = world.with_file("out");
    proxy.breaks(&[Fault::Refused(403, "AccessDenied"); 100_000]);
    let daemon = world.run(&[]).expecting(&["a read failed and is tried again"]).ready();
    for number in 0..OBJECTS {
        place.bucket.put(&key(number), &object(&records(number..number + 1)));
    }
    for number in OBJECTS..2 * OBJECTS {
        second.bucket.put(&key(number), &object(&records(number..number + 1)));
    }
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
    let world = world.with(&format!("[sink.away]\ntype = \"file\"\npath = {path:?}\nencoding = \"raw\"\n")).impatient();
    let daemon = world.run(&[]).expecting(&["the sink is parked", "a batch was not delivered"]).at_work();
    for number in 0..OBJECTS {
        place.bucket.put(&key(number), &object(&records(number..number + 1)));
    }
    for number in OBJECTS..2 * OBJECTS {
        second.bucket.put(&key(number), &object(&records(number..number + 1)));
    }
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
    let other = Aws::emulated().bucket();
    other.tells_queue(&place.queue);
    place.queue.take(1);
    let proxy = Proxy::to(Aws::emulated().address);
    let second = Place { bucket: other, queue: place.queue.clone() };
    let world = World::new()
        .with_feed(&place.feed(&proxy.url()), &place, &["out"])
        .with(&format!(
            "[feed.second]\n{}queue = \"events\"\nsinks = [\"second\"]\n",
            second.feed(&Aws::emulated().url())
        ))
        .with_file("out")
        .with_file("second")
        .with_limits("objects_at_once = 2");
    proxy.breaks(&[Fault::Held; OBJECTS as usize]);
    let daemon = world.start();
    for number in 0..OBJECTS {
        place.bucket.put(&key(number), &object(&records(number..number + 1)));
    }
    eventually("a read of the first feed is held", SOON, || proxy.held() > 0);
    for number in OBJECTS..2 * OBJECTS {
        second.bucket.put(&key(number), &object(&records(number..number + 1)));
    }
    world.comes_to("second", OBJECTS as usize);
    assert!(world.delivered("out").is_empty());
    proxy.release();
    world.comes_to("out", OBJECTS as usize);
    place.queue.drained();
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..OBJECTS));
    assert_once_each(&world.delivered("second"), &records(OBJECTS..2 * OBJECTS));
}

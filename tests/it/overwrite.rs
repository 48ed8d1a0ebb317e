//! An object that is written again delivers only its new records, and costs no more reads than necessary.

use super::support::aws::{Aws, told_by_s3};
use super::support::daemon::Daemon;
use super::support::proxy::{Fault, Proxy};
use super::support::records::{object, record, records};
use super::support::waiting::{SOON, eventually};
use super::support::world::{KEY, Place, World};

/// What the log says when known content changed.
const REWRITTEN: &str = "object was rewritten";

/// The next content of an object, and all that must have been delivered after it was read.
struct Step {
    content: Vec<String>,
    delivered: Vec<String>,
}

fn step(content: &[u64], delivered: &[u64]) -> Step {
    Step { content: records(content.iter().copied()), delivered: records(delivered.iter().copied()) }
}

fn deliver_each(steps: &[Step]) {
    let world = World::fed_by_directory();
    for step in steps {
        world.write(KEY, &object(&step.content));
        world.once_expecting(&[REWRITTEN]);
        world.delivered_once_each(&step.delivered);
    }
}

#[test]
fn only_the_lines_an_overwrite_adds_are_delivered() {
    deliver_each(&[step(&[1, 2], &[1, 2]), step(&[1, 2, 3], &[1, 2, 3]), step(&[1, 2, 3], &[1, 2, 3])]);
}

#[test]
fn lines_inserted_before_known_ones_are_delivered() {
    deliver_each(&[step(&[1, 2], &[1, 2]), step(&[0, 1, 3, 2], &[0, 1, 2, 3])]);
}

#[test]
fn another_order_delivers_nothing() {
    deliver_each(&[step(&[1, 2, 3], &[1, 2, 3]), step(&[3, 1, 2], &[1, 2, 3])]);
}

#[test]
fn a_line_that_is_there_twice_is_delivered_twice() {
    deliver_each(&[step(&[1, 1], &[1, 1]), step(&[1, 2, 1], &[1, 1, 2]), step(&[1, 1, 2, 1], &[1, 1, 1, 2])]);
}

#[test]
fn what_shrank_and_grew_again_delivers_only_what_was_never_there() {
    deliver_each(&[
        step(&[1, 2, 3], &[1, 2, 3]),
        step(&[1], &[1, 2, 3]),
        step(&[1, 2, 3, 4], &[1, 2, 3, 4]),
        step(&[], &[1, 2, 3, 4]),
        step(&[4, 5], &[1, 2, 3, 4, 5]),
    ]);
}

#[test]
fn a_last_line_cut_short_is_held_back_until_it_is_whole() {
    let world = World::fed_by_directory();
    let lines = records(0..2);
    let mut content = object(&lines);
    content.truncate(content.len() - 20);
    world.write(KEY, &content);
    world.once_expecting(&["held"]);
    world.delivered_once_each(&lines[..1]);
    world.write(KEY, &object(&lines));
    world.once();
    world.delivered_once_each(&lines);
}

#[test]
fn a_last_line_without_its_newline_is_delivered_when_it_is_whole_and_once() {
    let world = World::fed_by_directory();
    let mut content = object(&records(0..2));
    content.pop();
    world.write(KEY, &content);
    world.once();
    world.delivered_once_each(&records(0..2));
    world.write(KEY, &object(&records(0..3)));
    world.once();
    world.delivered_once_each(&records(0..3));
}

#[test]
fn a_record_that_cannot_be_decoded_costs_only_itself() {
    let world = World::fed_by_directory();
    let lines = [record(0), "{\"cut".to_owned(), record(1)];
    world.write(KEY, &object(&lines));
    world.once_expecting(&["quarantine"]);
    world.delivered_once_each(&records(0..2));
    let more = [record(0), "{\"cut".to_owned(), record(1), record(2)];
    world.write(KEY, &object(&more));
    world.once_expecting(&["quarantine"]);
    world.delivered_once_each(&records(0..3));
}

#[test]
fn an_object_overwritten_while_its_notification_is_queued_delivers_each_line_once() {
    let place = Place::new();
    let world = World::fed_by(&place);
    for end in 1..=6 {
        place.bucket.put(KEY, &object(&records(0..3 * end)));
    }
    place.queue.holds(6);
    let daemon = world.start();
    world.comes_to("out", 18);
    place.queue.drained();
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..18));
}

/// A daemon that reads through a proxy, delivered two lines of one object, and settled its message.
fn settled(proxy: &Proxy, place: &Place) -> (World, Daemon) {
    let world = World::fed_through(proxy, place);
    place.bucket.put(KEY, &object(&records(0..2)));
    let daemon = world.start();
    world.comes_to("out", 2);
    place.queue.drained();
    (world, daemon)
}

#[test]
fn an_object_that_did_not_change_costs_a_304() {
    let place = Place::new();
    let proxy = Proxy::to(Aws::emulated().address);
    let (world, daemon) = settled(&proxy, &place);
    // The message names a version that this one replaced, or that never existed.
    let etag = place.bucket.etag(KEY);
    let key = KEY.replace('=', "%3D");
    let other = "d41d8cd98f00b204e9800998ecf8427e";
    place.queue.send(&told_by_s3(&[(&place.bucket.name, &key, other, "FFFFFFFFFFFFFFFFFF")]));
    eventually("the object is asked for again", SOON, || proxy.reads(&place.bucket.name).len() == 2);
    place.queue.drained();
    assert!(daemon.stop().success());
    let reads = proxy.reads(&place.bucket.name);
    assert_eq!((reads[1].status, reads[1].header("if-none-match").unwrap().trim_matches('"')), (304, etag.as_str()));
    world.delivered_once_each(&records(0..2));
}

#[test]
fn notifications_that_wait_while_their_object_is_read_become_one_read() {
    const WRITES: u64 = 30;
    let place = Place::new();
    let proxy = Proxy::to(Aws::emulated().address);
    proxy.breaks(&[Fault::Held]);
    let world = World::fed_through(&proxy, &place);
    place.bucket.put(KEY, &object(&records(0..1)));
    let daemon = world.start();
    eventually("the first read is under way", SOON, || proxy.held() == 1);
    for end in 2..=WRITES {
        place.bucket.put(KEY, &object(&records(0..end)));
    }
    eventually("every notification was received", SOON, || {
        let depth = place.queue.depth();
        (depth.visible, depth.in_flight) == (0, WRITES)
    });
    proxy.release();
    world.comes_to("out", WRITES as usize);
    place.queue.drained();
    assert!(daemon.stop().success());
    let reads = proxy.reads(&place.bucket.name).len();
    assert!(reads <= 4, "{WRITES} notifications cost {reads} reads");
    world.delivered_once_each(&records(0..WRITES));
}

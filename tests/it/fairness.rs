//! No feed waits for another's fault.

use super::support::aws::Aws;
use super::support::proxy::{Fault, Proxy};
use super::support::records::{assert_once_each, object, records};
use super::support::waiting::{SOON, eventually};
use super::support::world::{Place, World};

fn key(number: u64) -> String {
    format!("workspaceId=1/date=2026-01-01/{number}.json")
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

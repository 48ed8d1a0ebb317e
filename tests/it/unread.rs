//! What cannot be read is told, goes into its feed's backlog, and is delivered once it can be read.

use super::support::aws::Aws;
use super::support::proxy::{Fault, Proxy};
use super::support::records::{object, records};
use super::support::waiting::{SOON, eventually};
use super::support::world::{KEY, Place, World};

const FAILED: &str = "a read failed and is tried again";

#[test]
fn a_bucket_that_never_answers_is_told_after_the_timeout_and_read_once_it_does() {
    let place = Place::new();
    let proxy = Proxy::to(Aws::emulated().address);
    proxy.breaks(&[Fault::Held; 1000]);
    let world = World::fed_through(&proxy, &place).with_request_timeout("1s");
    let daemon = world.run(&[]).expecting(&[FAILED, "the queue was not read"]).ready();
    place.bucket.put(KEY, &object(&records(0..3)));
    let told = || {
        let mut entries = daemon.log.entries().into_iter();
        entries.find(|entry| entry.message == FAILED && entry.field("kind").as_deref() == Some("timeout"))
    };
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

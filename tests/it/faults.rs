//! Rows of the catalogue of faults (tests/faults.md) that no other test meets with the real process.

use rustix::process::Signal;

use super::support::aws::{Aws, Depth};
use super::support::chance::Chance;
use super::support::proxy::{Fault, Proxy};
use super::support::records::{object, records};
use super::support::waiting::{SOON, eventually};
use super::support::world::{KEY, Place, World, key};

/// Row 5: the reading under way ends with the version that it began with; the next reading brings the rest.
#[test]
fn an_object_that_is_overwritten_while_its_body_comes_delivers_each_record_once() {
    let place = Place::new();
    let proxy = Proxy::to(Aws::emulated().address);
    proxy.breaks(&[Fault::Held]);
    let world = World::fed_through(&proxy, &place);
    place.bucket.put(KEY, &object(&records(0..3_000)));
    let daemon = world.start();
    eventually("the body is held", SOON, || proxy.held() == 1);
    place.bucket.put(KEY, &object(&records(0..4_000)));
    proxy.release();
    world.comes_to("out", 4_000);
    place.queue.drained();
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..4_000));
}

/// Row 6: a read is resumed only from the version that it began with; if that version is gone, the object is read from
/// its beginning.
#[test]
fn an_object_that_is_overwritten_before_its_body_is_resumed_is_read_anew_and_nothing_twice() {
    let place = Place::new();
    let proxy = Proxy::to(Aws::emulated().address);
    proxy.breaks(&[Fault::CutAfter(300_000), Fault::Delayed]);
    let world = World::fed_through(&proxy, &place);
    // The later version has another beginning: no byte of it may be taken for the rest of the earlier version.
    let (earlier, later) = (records(0..3_000), records((5_000..5_010).chain(0..3_000)));
    place.bucket.put(KEY, &object(&earlier));
    let daemon = world.run(&[]).expecting(&["failed for now"]).ready();
    eventually("the resumption is on its way", SOON, || proxy.held() == 1);
    place.bucket.put(KEY, &object(&later));
    proxy.release();
    world.comes_to("out", later.len());
    place.queue.drained();
    assert!(daemon.stop().success());
    let reads = proxy.reads(&place.bucket.name);
    let resumed = reads.iter().find(|read| read.status == 412).expect("the resumption asks for the version it began");
    assert!(resumed.header("if-match").is_some() && resumed.header("range").is_some());
    assert!(reads.iter().all(|read| read.status != 206), "two versions were put together");
    world.delivered_once_each(&later);
}

/// Row 11: a disabled KMS key is reported with what to do, and no message is lost by it.
#[test]
fn an_object_whose_key_is_disabled_is_told_and_delivered_once_it_is_enabled() {
    let place = Place::new();
    let proxy = Proxy::to(Aws::emulated().address);
    proxy.breaks(&[Fault::Refused(400, "KMS.DisabledException"); 2]);
    let world = World::fed_through(&proxy, &place).with_queue("visibility_secs = 10");
    place.bucket.put(KEY, &object(&records(0..3)));
    let daemon = world.run(&[]).expecting(&["is refused"]).ready();
    world.comes_to("out", 3);
    place.queue.drained();
    let told = daemon.log.failed_read("kms_denied").expect("the refusal is told");
    assert!(told.field("hint").is_some_and(|hint| hint.contains("enable the KMS key")), "{told:?}");
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..3));
}

/// Row 16: while the process is frozen its messages become visible again; the records under way are delivered once.
#[test]
fn a_process_that_is_frozen_past_its_lease_delivers_each_record_once() {
    let place = Place::new();
    let proxy = Proxy::to(Aws::emulated().address);
    proxy.breaks(&[Fault::Held]);
    let world = World::fed_through(&proxy, &place).with_queue("visibility_secs = 10");
    place.bucket.put(KEY, &object(&records(0..300)));
    let daemon = world.start();
    eventually("the body is held", SOON, || proxy.held() == 1);
    daemon.signal(Signal::STOP);
    eventually("the message is visible again", SOON, || place.queue.depth() == Depth { visible: 1, in_flight: 0 });
    place.bucket.put(KEY, &object(&records(0..400)));
    place.queue.holds(2);
    daemon.signal(Signal::CONT);
    proxy.release();
    world.comes_to("out", 400);
    place.queue.drained();
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..400));
}

/// Row 22: a second signal ends the process without a wait, and damages nothing.
#[test]
fn a_second_signal_ends_the_process_at_once_and_loses_nothing() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let place = Place::new();
        let world = World::new()
            .with_feed(&place.feed(&Aws::emulated().url()), &place, &["console"])
            .with_queue("visibility_secs = 10")
            .with("[sink.console]\ntype = \"stdout\"\nencoding = \"raw\"\n")
            .with_limits("shutdown_grace = \"300s\"");
        place.bucket.put(KEY, &object(&records(0..500)));
        place.queue.holds(1);
        // Nobody reads the console: the batch stays under way.
        let mut daemon = world.run(&[]).expecting(&["second signal"]).with_unread_output().ready();
        eventually("the message is under way", SOON, || place.queue.depth() == Depth { visible: 0, in_flight: 1 });
        daemon.signal(signal);
        eventually("the stop is under way", SOON, || daemon.log.said("stop requested").is_some());
        assert!(!daemon.has_ended());
        daemon.signal(signal);
        assert_eq!(daemon.end().code(), Some(code));
        let mut daemon = world.run(&[]).with_unread_output().at_work();
        let output = daemon.read_output();
        place.queue.drained();
        assert!(daemon.stop().success());
        let output = output.join().unwrap();
        let missing = records(0..500).into_iter().filter(|record| !output.contains(record.as_str())).count();
        assert_eq!(missing, 0, "records were lost");
    }
}

/// Row 48: a bucket that answers seven of ten reads with SlowDown costs time, and does not use up any message's
/// receives.
#[test]
fn a_bucket_that_slows_most_reads_down_sends_no_message_to_the_dead_letters() {
    const OBJECTS: u64 = 12;
    let aws = Aws::emulated();
    let (queue, dead) = aws.queue_with_dead_letters(3);
    let place = Place { bucket: aws.bucket(), queue };
    place.bucket.tells_queue(&place.queue);
    place.queue.take(1);
    let proxy = Proxy::to(aws.address);
    let mut chance = Chance::of_this_run("slow_down");
    let slowed = |chance: &mut Chance| match chance.below(10) {
        0..7 => Fault::Refused(503, "SlowDown"),
        _ => Fault::CutAfter(usize::MAX),
    };
    let faults: Vec<Fault> = (0..20).map(|_| slowed(&mut chance)).collect();
    proxy.breaks(&faults);
    let world = World::fed_through(&proxy, &place).with_queue("visibility_secs = 10");
    for n in 0..OBJECTS {
        place.bucket.put(&key(n), &object(&records(10 * n..10 * n + 10)));
    }
    let daemon = world.run(&[]).expecting(&["failed for now", "cannot be read"]).ready();
    world.comes_to("out", 10 * OBJECTS as usize);
    place.queue.drained();
    assert!(daemon.stop().success());
    assert_eq!(dead.depth(), Depth { visible: 0, in_flight: 0 });
    world.delivered_once_each(&records(0..10 * OBJECTS));
}

/// Row 53: after a failed sync the disk's content is unknown. The process ends, and the next one reads what was
/// committed.
#[test]
fn a_sync_of_the_checkpoint_store_that_fails_ends_the_process_and_loses_nothing() {
    let world = World::fed_by_directory();
    world.write(&key(0), &object(&records(0..100)));
    world.once();
    let log = world.state().join("checkpoints.sqlite-wal");
    // Fewer than 12 syncs happen during the start.
    let failing = "-e trace=fdatasync,fsync -e inject=fdatasync,fsync:error=EIO:when=12+";
    let traced = format!("exec strace -D -f -qqq -o /dev/null -P {log:?} {failing} \"$@\"");
    let mut daemon = world.run(&[]).after(&traced).expecting(&["checkpoint store", "stopped by an error"]).ready();
    let mut written = 1;
    eventually("the process ends", SOON, || {
        world.write(&key(written), &object(&records(100 * written..100 * written + 100)));
        written += 1;
        daemon.has_ended()
    });
    assert_eq!(daemon.end().code(), Some(74));
    world.once();
    world.delivered_once_each(&records(0..100 * written));
}

/// Row 55: another consumer took the messages out of the queue. A scheduled scan finds the objects of those messages.
#[test]
fn what_a_queue_lost_is_found_by_the_next_scan() {
    let place = Place::new();
    let feed = format!("{}scan_every = \"5s\"\n", place.feed(&Aws::emulated().url()));
    let world = World::new().with_feed(&feed, &place, &["out"]).with_file("out");
    place.put(0..2);
    let daemon = world.start();
    world.comes_to("out", 2);
    assert!(daemon.stop().success());
    place.put(2..5);
    place.bucket.put(&key(0), &object(&records([0, 10])));
    place.queue.take(4);
    let daemon = world.start();
    world.comes_to("out", 6);
    assert!(daemon.stop().success());
    world.delivered_once_each(&records((0..5).chain([10])));
}

//! Objects are read whole, by way of what the configuration names, whatever happens to the connection.

use super::support::aws::Aws;
use super::support::proxy::{Fault, Proxy};
use super::support::records::{object, records};
use super::support::world::{KEY, Place, World};

#[test]
fn a_bucket_is_read_through_the_access_point_that_is_named_for_it() {
    let aws = Aws::emulated();
    let place = Place::new();
    let alias = aws.access_point(&place.bucket);
    let proxy = Proxy::to(aws.address);
    let feed = format!("{}read_through = {{ {:?} = {alias:?} }}\n", place.feed(&proxy.url()), place.bucket.name);
    let world = World::new().with_feed(&feed, &place, &["out"]).with_file("out");
    place.bucket.put(KEY, &object(&records(0..3)));
    let daemon = world.start();
    world.comes_to("out", 3);
    place.queue.drained();
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..3));
    assert_eq!((proxy.reads(&alias).len(), proxy.reads(&place.bucket.name).len()), (1, 0));
}

#[test]
fn a_body_that_breaks_is_resumed_and_not_begun_again() {
    let place = Place::new();
    let proxy = Proxy::to(Aws::emulated().address);
    proxy.breaks(&[Fault::CutAfter(300_000), Fault::CutAfter(100_000)]);
    let world = World::fed_through(&proxy, &place);
    let lines = records(0..3_000);
    place.bucket.put(KEY, &object(&lines));
    let daemon = world.run(&[]).expecting(&["failed for now"]).ready();
    world.comes_to("out", lines.len());
    place.queue.drained();
    assert!(daemon.stop().success());
    let etag = place.bucket.etag(KEY);
    let reads = proxy.reads(&place.bucket.name);
    let statuses: Vec<u16> = reads.iter().map(|read| read.status).collect();
    assert_eq!(statuses, [200, 206, 206]);
    for resumed in &reads[1..] {
        assert_eq!(resumed.header("if-match").unwrap().trim_matches('"'), etag);
    }
    assert!(reads[1].header("range").unwrap().starts_with("bytes=300000-"));
    assert!(reads[2].header("range").unwrap().starts_with("bytes=400000-"));
    world.delivered_once_each(&lines);
}

#[test]
fn a_store_that_is_unavailable_for_a_while_costs_only_time() {
    let place = Place::new();
    let proxy = Proxy::to(Aws::emulated().address);
    proxy.breaks(&[Fault::Status(503); 3]);
    let world = World::fed_through(&proxy, &place);
    place.bucket.put(KEY, &object(&records(0..3)));
    let daemon = world.run(&[]).expecting(&["failed for now"]).ready();
    world.comes_to("out", 3);
    place.queue.drained();
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..3));
}

#[test]
fn an_object_over_the_largest_size_is_quarantined_and_its_next_version_is_read() {
    let place = Place::new();
    let world = World::fed_by(&place).with_limits("object_bytes_max = 4000");
    let daemon = world.run(&[]).expecting(&["an object cannot be read and is quarantined"]).ready();
    let (large, small) = (object(&records(0..40)), object(&records(0..2)));
    assert!(large.len() > 4000 && small.len() < 4000);
    place.bucket.put(KEY, &large);
    place.bucket.put("workspaceId=1/date=2026-01-01/small.json", &object(&records(40..42)));
    daemon.counts("auditferry_objects_total", &["result=\"quarantined\""], 1.0);
    let told = daemon.log.said("an object cannot be read and is quarantined").unwrap();
    let error = told.field("error").unwrap();
    assert!(error.contains("limits.object_bytes_max") && error.contains(&large.len().to_string()), "{error}");
    place.queue.drained();
    place.bucket.put(KEY, &small);
    world.comes_to("out", 4);
    place.queue.drained();
    assert!(daemon.stop().success());
    world.delivered_once_each(&records((0..2).chain(40..42)));
}

#[test]
fn a_refused_object_is_not_lost_and_does_not_stop_its_feed() {
    let place = Place::new();
    let proxy = Proxy::to(Aws::emulated().address);
    proxy.breaks(&[Fault::Status(403)]);
    let world = World::fed_through(&proxy, &place).with_queue("visibility_secs = 10");
    let daemon = world.run(&[]).expecting(&["is refused: the service gives no reason"]).ready();
    place.bucket.put("workspaceId=1/date=2026-01-01/a.json", &object(&records(0..3)));
    daemon.counts("auditferry_notifications_total", &[], 1.0);
    place.bucket.put("workspaceId=1/date=2026-01-01/b.json", &object(&records(3..6)));
    world.comes_to("out", 6);
    place.queue.drained();
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..6));
}

#[test]
fn a_notification_of_an_object_that_is_gone_is_settled() {
    let place = Place::new();
    let world = World::fed_by(&place);
    place.bucket.put(KEY, &object(&records(0..3)));
    place.bucket.delete(KEY);
    place.queue.holds(2);
    let daemon = world.run(&[]).expecting(&["an object is gone before it was read"]).ready();
    place.queue.drained();
    assert!(daemon.stop().success());
    assert_eq!(world.delivered("out"), [""; 0]);
}

#[test]
fn a_legacy_object_compressed_again_delivers_only_what_is_new() {
    let place = Place::new();
    let world = World::fed_by(&place);
    let key = "date=2026-01-01/part-00000-tid-1.json.gz";
    let daemon = world.start();
    for (end, level) in [(2, 1), (2, 9), (4, 6)] {
        place.bucket.put(key, &gzipped(&object(&records(0..end)), level));
        world.comes_to("out", end as usize);
        place.queue.drained();
        world.delivered_once_each(&records(0..end));
    }
    assert!(daemon.stop().success());
}

fn gzipped(content: &[u8], level: u32) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

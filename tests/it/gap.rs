//! A record that vanished before a sink got it reaches that sink once when it comes back.

use std::path::PathBuf;

use super::support::aws::{Aws, Bucket, told_by_s3};
use super::support::outage::{EXPECTED, Outage, STOPPED};
use super::support::proxy::Proxy;
use super::support::records::{assert_once_each, lines_of, object, records};
use super::support::waiting::{SOON, eventually};
use super::support::world::{KEY, Place, World};

/// Sinks of one bucket's feed. The last sink goes away and comes back.
struct Scene {
    bucket: Bucket,
    world: World,
    sinks: Vec<&'static str>,
}

impl Scene {
    fn with(sinks: &[&'static str]) -> Self {
        let place = Place::apart();
        let feed = place.feed(&Aws::emulated().url());
        let world =
            World::new().impatient().with(&format!("[feed.audit]\n{feed}scan_every = \"1s\"\nsinks = {sinks:?}\n"));
        let world = sinks.iter().fold(world, |world, sink| world.with_file(sink));
        Self { bucket: place.bucket, world, sinks: sinks.to_vec() }
    }

    fn late(&self) -> PathBuf {
        self.world.output(self.sinks[self.sinks.len() - 1])
    }

    fn leaves(&self) -> Outage {
        Outage::of(&self.late())
    }

    fn writes(&self, numbers: &[u64]) {
        self.bucket.put(KEY, &object(&records(numbers.iter().copied())));
    }

    /// Writes the object with exactly these records, and runs a process until all its work is done.
    fn holds(&self, numbers: &[u64]) {
        self.writes(numbers);
        self.works();
    }

    fn works(&self) {
        let daemon = self.world.run(&["--once"]).expecting(&EXPECTED).expecting(&[STOPPED]).spawn();
        let log = daemon.log.clone();
        let expected = if self.late().is_dir() { 75 } else { 0 };
        assert_eq!(daemon.end().code(), Some(expected), "{}", log.end());
    }

    /// Asserts that the last sink got exactly these records, each once.
    fn late_has_had(&self, numbers: &[u64]) {
        assert_once_each(&lines_of(&self.late()), &records(numbers.iter().copied()));
    }

    fn all_have_had(&self, numbers: &[u64]) {
        for sink in &self.sinks {
            assert_once_each(&self.world.delivered(sink), &records(numbers.iter().copied()));
        }
    }
}

#[test]
fn what_vanished_while_one_of_two_sinks_was_away_reaches_it_when_it_comes_back() {
    let scene = Scene::with(&["out", "late"]);
    scene.holds(&[1]);
    let outage = scene.leaves();
    scene.holds(&[1, 2]);
    scene.holds(&[1, 2, 3]);
    scene.holds(&[1]);
    outage.end();
    scene.works();
    scene.late_has_had(&[1]);
    scene.holds(&[1, 3, 4]);
    scene.late_has_had(&[1, 3, 4]);
    scene.holds(&[1, 2, 3, 4]);
    scene.all_have_had(&[1, 2, 3, 4]);
    scene.holds(&[1, 2, 3, 4, 5]);
    scene.all_have_had(&[1, 2, 3, 4, 5]);
}

#[test]
fn what_vanished_before_the_only_sink_had_it_reaches_it_when_it_comes_back() {
    let scene = Scene::with(&["out"]);
    scene.holds(&[1]);
    let daemon = scene.world.run(&[]).expecting(&EXPECTED).ready();
    let outage = scene.leaves();
    scene.writes(&[1, 2, 3]);
    eventually("a batch is sealed", SOON, || daemon.says("a batch was not delivered") > 0);
    daemon.kill();
    outage.end();
    scene.holds(&[3]);
    scene.late_has_had(&[1, 3]);
    scene.holds(&[1, 2, 3]);
    scene.late_has_had(&[1, 2, 3]);
    scene.holds(&[1, 2, 3, 4]);
    scene.late_has_had(&[1, 2, 3, 4]);
}

#[test]
fn what_comes_back_while_its_sink_is_away_again_reaches_it_later() {
    let scene = Scene::with(&["out", "late"]);
    scene.holds(&[1]);
    let outage = scene.leaves();
    scene.holds(&[1, 2, 3]);
    scene.holds(&[1]);
    outage.end();
    scene.works();
    let outage = scene.leaves();
    // When the records come back, only the other sink can take them, and the cursor of the sink that lacks them is at
    // the end.
    scene.holds(&[1, 2, 3]);
    outage.end();
    scene.works();
    scene.all_have_had(&[1, 2, 3]);
}

#[test]
fn of_equal_records_as_many_reach_each_sink_as_were_ever_there() {
    let scene = Scene::with(&["out", "late"]);
    scene.holds(&[1, 1]);
    let outage = scene.leaves();
    scene.holds(&[1, 1, 1, 2, 1, 2]);
    scene.holds(&[2]);
    outage.end();
    scene.works();
    scene.late_has_had(&[1, 1, 2]);
    scene.holds(&[2, 1, 1, 1]);
    scene.late_has_had(&[1, 1, 1, 2]);
    scene.holds(&[2, 2, 1, 1, 1, 1, 1]);
    scene.all_have_had(&[1, 1, 1, 1, 1, 2, 2]);
}

#[test]
fn what_vanished_is_told_and_keeps_no_message_and_no_reading_up() {
    let place = Place::new();
    let proxy = Proxy::to(Aws::emulated().address);
    let late_path = |world: &World| world.path("away/late.ndjson");
    let world = World::new().impatient().with_feed(&place.feed(&proxy.url()), &place, &["out", "late"]);
    let late = late_path(&world);
    let world =
        world.with_file("out").with(&format!("[sink.late]\ntype = \"file\"\npath = {late:?}\nencoding = \"raw\"\n"));
    let daemon = world.run(&[]).expecting(&EXPECTED).at_work();
    place.bucket.put(KEY, &object(&records(1..6)));
    world.comes_to("out", 5);
    place.bucket.put(KEY, &object(&records(2..4)));
    eventually("the object was read again", SOON, || daemon.metric("auditferry_rewrites_total", &[]) >= 1.0);
    std::fs::create_dir(world.path("away")).unwrap();
    place.queue.drained();
    assert_once_each(&lines_of(&late), &records(2..4));
    let of_late = ["sink=\"late\""];
    assert_eq!(daemon.metric("auditferry_gap_records_total", &of_late), 3.0);
    assert_eq!(daemon.metric("auditferry_gap_records_total", &["sink=\"out\""]), 0.0);
    assert_eq!(daemon.says("records vanished from the source before the sink had them"), 1);
    // A further message costs one request answered 304: the gap's records cannot be read anyway.
    let other = "d41d8cd98f00b204e9800998ecf8427e";
    let key = KEY.replace('=', "%3D");
    place.queue.send(&told_by_s3(&[(&place.bucket.name, &key, other, "FFFFFFFFFFFFFFFFFF")]));
    let last_status = || proxy.reads(&place.bucket.name).last().map(|read| read.status);
    eventually("the object is asked for again", SOON, || last_status() == Some(304));
    place.queue.drained();
    place.bucket.put(KEY, &object(&records(1..7)));
    place.queue.drained();
    assert_eq!(daemon.metric("auditferry_gap_records_filled_total", &of_late), 3.0);
    assert_eq!(daemon.says("records that had vanished came back"), 1);
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(1..7));
    assert_once_each(&lines_of(&late), &records(1..7));
}

//! A sink that was away catches up, and then nothing more happens: every message is settled, and nothing is read again.

use std::path::PathBuf;
use std::time::Duration;

use super::support::aws::Aws;
use super::support::daemon::Daemon;
use super::support::log::READ_FAILED;
use super::support::outage::Outage;
use super::support::proxy::{Fault, Proxy};
use super::support::records::{assert_once_each, lines_of, object, records};
use super::support::waiting::{SOON, eventually, moment};
use super::support::world::{Place, World, key};

/// What the log may say while a sink is unreachable.
const SINK_IS_AWAY: [&str; 2] = ["a batch was not delivered", "the sink is parked"];

/// How long nothing may be read after a sink has caught up: several rounds of the dispatcher.
const PEACE: Duration = Duration::from_secs(3);

/// One bucket, one queue, a proxy before the bucket, and file sinks of which the last goes away.
struct Scene {
    place: Place,
    proxy: Proxy,
    world: World,
    sinks: Vec<&'static str>,
    objects: u64,
}

impl Scene {
    fn with_sinks(sinks: &[&'static str], limits: &str, queue: &str) -> Self {
        let place = Place::new();
        let proxy = Proxy::to(Aws::emulated().address);
        let mut world = World::new().impatient().with_feed(&place.feed(&proxy.url()), &place, sinks);
        for sink in sinks {
            world = world.with_file(sink);
        }
        let world = world.with_limits(limits).with_queue(queue);
        Self { place, proxy, world, sinks: sinks.to_vec(), objects: 0 }
    }

    fn start(&self) -> Daemon {
        self.world.run(&[]).expecting(&SINK_IS_AWAY).ready()
    }

    fn late(&self) -> &'static str {
        self.sinks[self.sinks.len() - 1]
    }

    /// Writes this many new objects, of two records each.
    fn writes(&mut self, objects: u64) {
        for number in self.objects..self.objects + objects {
            self.place.bucket.put(&key(number), &object(&records(2 * number..2 * number + 2)));
        }
        self.objects += objects;
    }

    fn leaves(&self) -> Outage {
        Outage::of(&self.world.output(self.late()))
    }

    /// Starts the daemon with its checkpoint store on a tmpfs of 4 MiB.
    fn start_on_a_small_disk(&self) -> Daemon {
        let state = self.world.state();
        let disk = "mount -t tmpfs -o size=4m none \"$0\" && exec \"$@\"";
        let unshared = format!("exec unshare --mount --map-root-user /bin/sh -c '{disk}' {state:?} \"$@\"");
        let expected = [
            "state_dir may not last",
            "the checkpoint store's disk is full",
            "an object cannot be read and is quarantined",
        ];
        self.world.run(&[]).after(&unshared).expecting(&SINK_IS_AWAY).expecting(&expected).ready()
    }

    /// Fills the daemon's tmpfs. Returns the file that fills it.
    fn fills_the_disk(&self, daemon: &Daemon) -> PathBuf {
        let state = self.world.state();
        // The tmpfs is mounted in the daemon's own mount namespace.
        let disk = PathBuf::from(format!("/proc/{}/root", daemon.id())).join(state.strip_prefix("/").unwrap());
        let ballast = disk.join("ballast");
        let mut file = std::fs::File::create(&ballast).unwrap();
        while std::io::Write::write_all(&mut file, &[b'x'; 4096]).is_ok() {}
        ballast
    }

    /// Waits until the daemon reports its last sink as behind.
    fn is_behind(&self, daemon: &Daemon) {
        let label = format!("sink=\"{}\"", self.late());
        daemon.counts("auditferry_sink_behind", &[&label], 1.0);
    }

    /// Asserts that every sink gets each record once, that no message is left, and that nothing is read any more.
    fn comes_to_peace(&self, daemon: Daemon) {
        for sink in &self.sinks {
            self.world.comes_to(sink, 2 * self.objects as usize);
        }
        self.place.queue.drained();
        let label = format!("sink=\"{}\"", self.late());
        eventually("no sink is behind", SOON, || daemon.metric("auditferry_sink_behind", &[&label]) == 0.0);
        let read = self.proxy.reads(&self.place.bucket.name).len();
        moment(PEACE);
        assert_eq!(self.proxy.reads(&self.place.bucket.name).len(), read, "something is read again and again");
        assert!(daemon.stop().success());
        for sink in &self.sinks {
            assert_once_each(&lines_of(&self.world.output(sink)), &records(0..2 * self.objects));
        }
    }
}

fn an_outage(sinks: &[&'static str], limits: &str) {
    let mut scene = Scene::with_sinks(sinks, limits, "");
    let daemon = scene.start();
    scene.writes(1);
    scene.world.comes_to(scene.late(), 2);
    let away = scene.leaves();
    scene.writes(4);
    scene.is_behind(&daemon);
    away.end();
    scene.comes_to_peace(daemon);
}

#[test]
fn several_objects_that_waited_for_the_only_sink_are_settled_when_it_is_back() {
    an_outage(&["out"], "");
}

#[test]
fn several_objects_that_waited_for_one_of_two_sinks_are_settled_when_it_is_back() {
    an_outage(&["out", "late"], "");
}

#[test]
fn several_objects_are_settled_where_nothing_may_be_owed() {
    an_outage(&["out", "late"], "owe_after = \"never\"");
}

#[test]
fn one_object_at_a_time_serves_the_backlog_and_what_is_new() {
    an_outage(&["out"], "objects_at_once = 1");
}

#[test]
fn objects_that_were_owed_leave_a_sink_that_takes_new_ones_at_once() {
    let mut scene = Scene::with_sinks(&["out"], "owe_after = \"1s\"", "");
    let daemon = scene.start();
    scene.writes(1);
    scene.world.comes_to("out", 2);
    let away = scene.leaves();
    scene.writes(3);
    daemon.counts("auditferry_backlog_objects", &[], 3.0);
    scene.place.queue.drained();
    away.end();
    scene.world.comes_to("out", 8);
    scene.writes(5);
    scene.comes_to_peace(daemon);
}

#[test]
fn objects_that_waited_for_space_in_the_checkpoint_store_are_settled_when_there_is_some() {
    let mut scene = Scene::with_sinks(&["out"], "", "");
    let daemon = scene.start_on_a_small_disk();
    scene.writes(1);
    scene.world.comes_to("out", 2);
    scene.place.queue.drained();
    let ballast = scene.fills_the_disk(&daemon);
    scene.writes(4);
    let told = ["the checkpoint store's disk is full", "going on without a sink"];
    eventually("the full disk is told", SOON, || told.iter().all(|part| daemon.log.text().contains(part)));
    let entries = daemon.log.entries().into_iter().filter(|entry| entry.message.starts_with(told[0]));
    let hints: Vec<_> = entries.map(|entry| entry.field("hint").unwrap_or(entry.line)).collect();
    assert!(hints.iter().all(|hint| hint == "make room on the disk of state_dir"), "whoever tells it: {hints:?}");
    std::fs::remove_file(ballast).unwrap();
    scene.comes_to_peace(daemon);
}

/// No sink waits for an object that gives nothing new, nor for an object that goes to quarantine.
#[test]
fn what_no_sink_waits_for_waits_for_space_in_the_checkpoint_store() {
    for content in [&b""[..], b"\x1f\x8b\x08\0garbage"] {
        let mut scene = Scene::with_sinks(&["out"], "", "");
        let mut daemon = scene.start_on_a_small_disk();
        scene.writes(1);
        scene.world.comes_to("out", 2);
        scene.place.queue.drained();
        let ballast = scene.fills_the_disk(&daemon);
        scene.place.bucket.put("workspaceId=2/date=2026-01-01/0.json", content);
        let told = "the checkpoint store's disk is full";
        eventually("the full disk is told", SOON, || daemon.log.text().contains(told));
        moment(PEACE);
        assert!(!daemon.has_ended(), "{}", daemon.log.end());
        std::fs::remove_file(ballast).unwrap();
        scene.comes_to_peace(daemon);
    }
}

#[test]
fn a_stream_of_new_objects_goes_on_beside_the_backlog_and_fills_no_queue() {
    let mut scene = Scene::with_sinks(&["out"], "objects_at_once = 2", "held_max = 20");
    let daemon = scene.start();
    scene.writes(1);
    scene.world.comes_to("out", 2);
    let away = scene.leaves();
    scene.writes(5);
    scene.is_behind(&daemon);
    away.end();
    scene.writes(60);
    scene.comes_to_peace(daemon);
}

#[test]
fn a_sink_whose_batch_cannot_be_made_again_yet_says_why() {
    let mut scene = Scene::with_sinks(&["out"], "", "");
    let daemon = scene.start();
    scene.writes(1);
    scene.world.comes_to("out", 2);
    let away = scene.leaves();
    scene.writes(1);
    scene.is_behind(&daemon);
    assert!(daemon.stop().success());
    away.end();
    scene.proxy.breaks(&[Fault::Refused(403, "AccessDenied"); 1000]);
    let expected = ["an object of a batch that was under way cannot be read now", READ_FAILED];
    let daemon = scene.world.run(&[]).expecting(&expected).at_work();
    let readiness = || daemon.page("/readyz").text().to_owned();
    let says_why = |line: &str| line.starts_with("failing: sink out (deliver)") && line.contains(": denied: ");
    eventually("/readyz says why the sink stands still", SOON, || readiness().lines().any(says_why));
    scene.proxy.heals();
    eventually("the sink works again", SOON, || readiness() == "ready\n");
    scene.comes_to_peace(daemon);
}

#[test]
fn no_message_waits_for_a_best_effort_sink_and_it_catches_up_all_the_same() {
    let mut scene = Scene::with_sinks(&["out", "extra"], "", "");
    scene.world = scene.world.patient_for("5m").with("required = false\n");
    let daemon = scene.start();
    scene.writes(1);
    scene.world.comes_to("extra", 2);
    let away = scene.leaves();
    scene.writes(3);
    scene.world.comes_to("out", 8);
    scene.place.queue.drained();
    scene.is_behind(&daemon);
    away.end();
    scene.comes_to_peace(daemon);
}

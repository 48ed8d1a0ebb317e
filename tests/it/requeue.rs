//! A record that is requeued reaches each sink once, whatever happens to the sinks, the object and the process.

use std::path::PathBuf;
use std::time::Duration;

use super::quarantine::{HIGH, LINE_BYTES, LOW, REFUSED, listed, long, once_under, quarantine, requeue_all};
use super::support::chance::Chance;
use super::support::daemon::{Daemon, Start};
use super::support::outage::Outage;
use super::support::records::{access_lines, assert_once_each, object, record};
use super::support::waiting::{SOON, eventually, moment};
use super::support::world::{KEY, World};

/// What else the log may say while a sink is away.
const AWAY: [&str; 3] = ["the sink is parked", "stopped by an error", "completing the batch"];

/// A directory feed with the sinks `out` and `late`.
fn two_sinks() -> World {
    World::new().impatient().with_directory_feed(&["out", "late"]).with_file("out").with_file("late")
}

/// Runs the daemon once, which delivers to `out`; `late` is away.
fn once_without_late(world: &World) {
    let start = world.run(&["--once"]).with_environment(LINE_BYTES, HIGH).expecting(&REFUSED).expecting(&AWAY);
    let daemon = start.spawn();
    let log = daemon.log.clone();
    assert_eq!(daemon.end().code(), Some(75), "{}", log.end());
}

fn has_had(world: &World, sink: &str, lines: &[String]) {
    assert_once_each(&world.delivered(sink), lines);
}

#[test]
fn each_of_two_sinks_gets_them_once_however_often_the_process_is_killed_and_one_of_them_is_away() {
    const LINES: u64 = 240;
    let world = two_sinks().with_limits("batch_events = 3\nquarantine_entries_per_object = 50");
    let lines: Vec<String> = (0..LINES).map(|n| if n % 3 == 0 { record(n) } else { long(n / 2) }).collect();
    world.write(KEY, &object(&lines));
    once_under(&world, LOW);
    requeue_all(&world);
    let mut chance = Chance::of_this_run("kill, requeue");
    let start = world.run(&[]).with_environment(LINE_BYTES, HIGH).expecting(&REFUSED).expecting(&AWAY);
    let (mut outage, mut grown) = (None, lines);
    for kill in 0..14 {
        let daemon = start.at_work();
        moment(Duration::from_millis(chance.below(200) as u64));
        daemon.kill();
        match kill {
            3 => outage = Some(Outage::of(&world.output("late"))),
            6 => {
                // Meanwhile the object grows, which moves its long lines.
                grown.insert(0, record(1000));
                world.write(KEY, &object(&grown));
            }
            10 => outage.take().unwrap().end(),
            _ => {}
        }
    }
    once_under(&world, HIGH);
    has_had(&world, "out", &grown);
    has_had(&world, "late", &grown);
    assert!(listed(&world).is_empty());
}

#[test]
fn one_that_a_sink_has_had_before_it_was_refused_to_another_comes_to_that_one_alone() {
    let world = two_sinks();
    let lines = [record(0), long(1), record(2)];
    world.write(KEY, &object(&lines));
    once_under(&world, LOW);
    requeue_all(&world);
    let outage = Outage::of(&world.output("late"));
    once_without_late(&world);
    has_had(&world, "out", &lines);
    let entries = listed(&world);
    assert_eq!((entries.len(), entries[0]["delivered_to"].to_string()), (1, "[\"out\"]".to_owned()));
    outage.end();
    once_under(&world, LOW);
    let entries = listed(&world);
    assert_eq!((entries.len(), entries[0]["requeued"].as_bool()), (1, Some(false)), "refused once more");
    once_under(&world, HIGH);
    has_had(&world, "late", &[record(0), record(2)]);
    requeue_all(&world);
    once_under(&world, HIGH);
    has_had(&world, "out", &lines);
    has_had(&world, "late", &lines);
    assert!(listed(&world).is_empty());
}

#[test]
fn one_that_is_purged_on_its_way_reaches_no_other_sink() {
    let world = two_sinks();
    world.write(KEY, &object(&[record(0), long(1)]));
    once_under(&world, LOW);
    requeue_all(&world);
    let outage = Outage::of(&world.output("late"));
    // No batch is under way to the sink that is away.
    let start = world.run(&["--once"]).with_environment(LINE_BYTES, LOW).expecting(&REFUSED).expecting(&AWAY);
    start.spawn().end();
    assert_eq!(quarantine(&world, &["purge", "--all"]).out.trim(), "purged 1");
    outage.end();
    world.write(KEY, &object(&[record(0), long(1), record(2)]));
    once_under(&world, HIGH);
    has_had(&world, "out", &[record(0), record(2)]);
    has_had(&world, "late", &[record(0), record(2)]);
}

/// A feed with the sinks `out` and `late`. Its family comes from the environment, where a test sets a wrong one first.
fn misconfigured() -> (World, PathBuf) {
    let world = World::new().impatient();
    let source = world.path("source");
    std::fs::create_dir(&source).unwrap();
    let feed = format!("directory = {source:?}\nkeys = [\"**\"]\nscan_every = \"1s\"\nsinks = [\"out\", \"late\"]");
    (world.with(&format!("[feed.audit]\n{feed}\n")).with_file("out").with_file("late"), source)
}

const FAMILY: &str = "AUDITFERRY__FEED__AUDIT__FAMILY";

fn start(world: &World, arguments: &[&str], family: &str) -> Start {
    world.run(arguments).expecting(&REFUSED).expecting(&AWAY).with_environment(FAMILY, family)
}

fn requeue_as(world: &World, family: &str) {
    let config = world.path("auditferry.toml");
    let arguments = ["quarantine", "requeue", "--config", config.to_str().unwrap(), "--all"];
    let requeue = Start::new(&arguments, config.parent().unwrap()).with_environment(FAMILY, family);
    assert!(requeue.spawn().end().success());
}

#[test]
fn one_whose_bytes_were_kept_reaches_a_sink_that_was_away_though_its_object_is_gone() {
    let lines = access_lines(3);
    let (world, source) = misconfigured();
    world.write("access.log", &object(&lines));
    assert!(start(&world, &["--once"], "databricks").spawn().end().success());
    std::fs::remove_file(source.join("access.log")).unwrap();
    requeue_as(&world, "s3_access");
    let outage = Outage::of(&world.output("late"));
    start(&world, &["--once"], "s3_access").spawn().end();
    has_had(&world, "out", &lines);
    outage.end();
    for _ in 0..2 {
        start(&world, &["--once"], "s3_access").spawn().end();
        ["out", "late"].iter().for_each(|sink| has_had(&world, sink, &lines));
    }
}

/// Waits until the daemon goes on without the sink `late`: new objects no longer wait for it.
fn goes_on_without_late(daemon: &Daemon) {
    let is_behind = || daemon.metric("auditferry_sink_behind", &["sink=\"late\""]) == 1.0;
    eventually("the daemon goes on without the sink", SOON, is_behind);
}

#[test]
fn the_events_of_one_are_counted_once_however_often_it_is_read() {
    let world = two_sinks();
    let lines = [record(0), long(1), record(2)];
    world.write(KEY, &object(&lines));
    once_under(&world, LOW);
    let outage = Outage::of(&world.output("late"));
    let daemon = world.run(&[]).with_environment(LINE_BYTES, HIGH).expecting(&REFUSED).expecting(&AWAY).at_work();
    world.write("workspaceId=1/date=2026-01-01/more.json", &object(&[record(3)]));
    goes_on_without_late(&daemon);
    requeue_all(&world);
    world.comes_to("out", 4);
    let entries = listed(&world);
    assert_eq!(entries.len(), 1, "the other sink has not had it");
    outage.end();
    eventually("the other sink has had it too", SOON, || listed(&world).is_empty());
    assert_eq!(daemon.metric("auditferry_events_received_total", &[]), 2.0, "that of the new object, and its own");
    assert!(daemon.stop().success());
    let all = [&lines[..], &[record(3)]].concat();
    ["out", "late"].iter().for_each(|sink| has_had(&world, sink, &all));
}

#[test]
fn the_events_of_one_whose_bytes_were_kept_are_counted_once() {
    let lines = access_lines(4);
    let (world, source) = misconfigured();
    world.write("access.log", &object(&lines[..3]));
    assert!(start(&world, &["--once"], "databricks").spawn().end().success());
    std::fs::remove_file(source.join("access.log")).unwrap();
    let outage = Outage::of(&world.output("late"));
    let daemon = start(&world, &[], "s3_access").at_work();
    world.write("more.log", &object(&lines[3..]));
    goes_on_without_late(&daemon);
    requeue_as(&world, "s3_access");
    world.comes_to("out", 4);
    outage.end();
    world.comes_to("late", 4);
    assert_eq!(daemon.metric("auditferry_events_received_total", &[]), 4.0);
    assert!(daemon.stop().success());
    ["out", "late"].iter().for_each(|sink| has_had(&world, sink, &lines));
}

#[test]
fn a_batch_that_was_sealed_before_somebody_asked_for_a_record_in_its_midst_is_made_again_as_it_was() {
    let world = two_sinks();
    let daemon = world.run(&[]).with_environment(LINE_BYTES, LOW).expecting(&REFUSED).expecting(&AWAY).ready();
    let outage = Outage::of(&world.output("late"));
    let lines = [record(0), long(1), record(2)];
    world.write(KEY, &object(&lines));
    world.comes_to("out", 2);
    eventually("a batch is sealed", SOON, || daemon.says("a batch was not delivered") > 0);
    requeue_all(&world);
    daemon.counts("auditferry_records_requeued_total", &["refused"], 1.0);
    daemon.kill();
    outage.end();
    let daemon = world.run(&["--once"]).with_environment(LINE_BYTES, HIGH).spawn();
    let log = daemon.log.clone();
    assert!(daemon.end().success(), "{}", log.end());
    has_had(&world, "late", &[record(0), record(2)]);
    requeue_all(&world);
    once_under(&world, HIGH);
    has_had(&world, "out", &lines);
    has_had(&world, "late", &lines);
}

#[test]
fn a_record_that_one_sink_has_had_and_that_cannot_be_decoded_any_more_waits_for_the_other_in_quarantine() {
    let world = two_sinks();
    let lines = [record(0), long(1), record(2)];
    world.write(KEY, &object(&lines));
    let outage = Outage::of(&world.output("late"));
    once_without_late(&world);
    has_had(&world, "out", &lines);
    outage.end();
    for _ in 0..2 {
        once_under(&world, LOW);
        has_had(&world, "late", &[record(0), record(2)]);
        let entries = listed(&world);
        assert!(entries.len() == 1 && entries[0]["ordinal"] == 1, "{entries:?}");
    }
    requeue_all(&world);
    once_under(&world, HIGH);
    assert!(listed(&world).is_empty());
    ["out", "late"].iter().for_each(|sink| has_had(&world, sink, &lines));
}

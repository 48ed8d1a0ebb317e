//! However much is refused, the quarantine stays small, counts all of it, and releases all of it.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::quarantine::{
    HIGH, LINE_BYTES, LOW, REFUSED, identities, listed, long, once_under, quarantine, requeue_all,
};
use super::support::chance::Chance;
use super::support::records::{assert_once_each, lines_of, object, record, records};
use super::support::waiting::{SOON, eventually, moment};
use super::support::world::{KEY, Place, World};

/// At most five entries for an object.
const FEW: &str = "quarantine_entries_per_object = 5";

/// The entries that each stand for several records.
fn further(world: &World) -> Vec<Value> {
    listed(world).into_iter().filter(|entry| !entry["further"].is_null()).collect()
}

/// The number of records in quarantine, summed over the entries.
fn in_quarantine(world: &World) -> u64 {
    listed(world).iter().map(|entry| entry["further"].as_u64().unwrap_or(1)).sum()
}

fn bytes_below(directory: &Path) -> u64 {
    std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn a_small_object_of_a_great_many_bad_lines_costs_little_and_all_of_it_is_counted() {
    const LINES: usize = 100_000;
    let world = World::fed_by_directory().with_limits(FEW);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&b"x\n".repeat(LINES)).unwrap();
    world.write(&format!("{KEY}.gz"), &gzip.finish().unwrap());
    let daemon = world.run(&[]).expecting(&REFUSED).ready();
    daemon.counts("auditferry_records_quarantined_total", &["record"], LINES as f64);
    daemon.counts("auditferry_quarantine_entries", &["record"], LINES as f64);
    let entries = listed(&world);
    assert_eq!(entries.len(), 6);
    assert_eq!((entries[5]["further"].as_u64(), entries[5]["ordinal"].as_u64()), (Some(LINES as u64 - 5), Some(5)));
    assert_eq!(entries[5]["can_requeue"], true);
    let text = quarantine(&world, &["list"]).out;
    assert!(text.contains("99995 further records from record 5 at byte 10 on"), "{text}");
    let shown = quarantine(&world, &["show", &entries[5]["id"].to_string()]).out;
    assert!(shown.contains("requeue reads the object again"), "{shown}");
    requeue_all(&world);
    daemon.counts("auditferry_records_requeued_total", &["refused"], LINES as f64);
    eventually("they are refused once more", SOON, || listed(&world).iter().all(|entry| entry["requeued"] == false));
    assert_eq!((listed(&world).len(), in_quarantine(&world)), (6, LINES as u64));
    let reason = further(&world)[0]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("99995 are refused: record 5"), "{reason}");
    assert!(daemon.stop().success());
    // The store needs a fingerprint of 16 bytes for each record.
    assert!(bytes_below(&world.state()) < 4 << 20, "{}", bytes_below(&world.state()));
}

#[test]
fn records_without_entries_are_delivered_once_when_the_limit_was_raised() {
    let world = World::fed_by_directory().with_limits(FEW);
    let lines: Vec<String> = (0..60).map(|n| if n % 3 == 0 { record(n) } else { long(n / 2) }).collect();
    world.write(KEY, &object(&[&lines[..], &["{\"cut".to_owned()]].concat()));
    once_under(&world, LOW);
    assert_eq!((listed(&world).len(), in_quarantine(&world)), (6, 41));
    requeue_all(&world);
    once_under(&world, LOW);
    assert_eq!((listed(&world).len(), in_quarantine(&world)), (6, 41), "refused once more");
    once_under(&world, HIGH);
    assert_eq!(world.delivered("out").len(), 20, "nobody asked for them");
    let id = further(&world)[0]["id"].to_string();
    assert_eq!(quarantine(&world, &["requeue", &id]).code, Some(0));
    once_under(&world, HIGH);
    assert_eq!(world.delivered("out").len(), 55, "the entry's, and no others");
    assert_eq!((listed(&world).len(), further(&world)[0]["further"].as_u64()), (6, Some(1)), "what still fails");
    requeue_all(&world);
    once_under(&world, HIGH);
    world.delivered_once_each(&lines);
    assert_eq!(in_quarantine(&world), 1);
    world.write(KEY, &object(&[&[record(1000)], &lines[..], &["{\"cut".to_owned()]].concat()));
    requeue_all(&world);
    once_under(&world, HIGH);
    world.delivered_once_each(&[&[record(1000)], &lines[..]].concat());
}

#[test]
fn records_without_entries_have_the_identities_that_they_would_have_had() {
    let world = World::new().with_directory_feed(&["out"]).with_limits("quarantine_entries_per_object = 1");
    let path = world.output("out");
    let world = world.with(&format!("[sink.out]\ntype = \"file\"\npath = {path:?}\n"));
    world.write(KEY, &object(&[long(0), record(1), long(0), long(2), long(0)]));
    once_under(&world, HIGH);
    let expected = identities(&path);
    assert_eq!(expected.len(), 5);
    std::fs::remove_dir_all(world.state()).unwrap();
    std::fs::remove_file(&path).unwrap();
    once_under(&world, LOW);
    assert_eq!((identities(&path).len(), listed(&world).len()), (1, 2));
    // The object grows, which moves its records.
    world.write(KEY, &object(&[record(7), long(2), long(0), long(0), record(1), long(0)]));
    requeue_all(&world);
    once_under(&world, HIGH);
    let came = identities(&path);
    assert_eq!((came.len(), lines_of(&path).len()), (6, 6));
    assert!(came.is_superset(&expected));
    assert!(listed(&world).is_empty());
}

#[test]
fn an_object_that_is_overwritten_with_ever_more_bad_lines_keeps_its_one_entry() {
    let world = World::fed_by_directory().with_limits(FEW);
    for version in 1..=4 {
        let lines: Vec<String> = (0..version * 10).map(|n| format!("bad {n}")).rev().collect();
        world.write(KEY, &object(&lines));
        once_under(&world, HIGH);
        assert_eq!((listed(&world).len() as u64, in_quarantine(&world)), (6, version * 10));
    }
}

#[test]
fn an_object_that_fills_the_quarantine_leaves_no_other_without_a_trace() {
    let world = World::fed_by_directory().with_limits("quarantine_entries_max = 3");
    let key = |n: u64| format!("workspaceId=1/date=2026-01-0{n}/part.json");
    world.write(&key(1), &object(&vec!["bad".to_owned(); 50]));
    once_under(&world, LOW);
    for n in 2..=6 {
        world.write(&key(n), &object(&[record(n), long(n)]));
        once_under(&world, LOW);
    }
    let entries = further(&world);
    let of = |n: u64| entries.iter().filter(|entry| entry["object"].to_string().contains(&key(n))).count();
    assert_eq!((1..=6).map(of).collect::<Vec<_>>(), [1, 1, 1, 0, 0, 0]);
    assert_eq!((listed(&world).len(), in_quarantine(&world)), (7, 55));
    let feeds = entries.iter().find(|entry| entry["object"].is_null()).unwrap();
    assert_eq!((feeds["further"].as_u64(), feeds["can_requeue"].as_bool()), (Some(3), Some(false)));
    assert!(quarantine(&world, &["list"]).out.contains("3 further records, counted and not kept"));
    requeue_all_but(&world, feeds["id"].as_u64().unwrap());
    once_under(&world, HIGH);
    assert_once_each(&world.delivered("out"), &[records(2..7), vec![long(2), long(3)]].concat());
}

#[test]
fn a_message_of_which_nothing_is_understood_has_one_entry_and_messages_past_the_limit_share_one() {
    let place = Place::new();
    let world = World::fed_by(&place).with_queue("visibility_secs = 10\npoison_receives_max = 1");
    let world = world.with_limits("quarantine_entries_max = 1");
    let daemon = world.run(&[]).expecting(&REFUSED).ready();
    for n in 1..=3 {
        place.queue.send("{\"Records\": [1, 2, 3]}");
        daemon.counts("auditferry_messages_quarantined_total", &[], f64::from(n));
    }
    place.queue.drained();
    let shown: Vec<_> = listed(&world).iter().map(|entry| entry["further"].as_u64()).collect();
    assert_eq!(shown, [None, Some(2)]);
    assert!(listed(&world)[0]["reason"].as_str().unwrap().ends_with("; and 2 more"));
    assert_eq!(daemon.metric("auditferry_messages_quarantined_total", &[]), 3.0);
    assert!(daemon.stop().success());
}

fn requeue_all_but(world: &World, id: u64) {
    let said = quarantine(world, &["requeue", "--all"]);
    assert_eq!(said.code, Some(65), "{}", said.errors);
    assert!(said.errors.trim().ends_with(&format!("was not kept: {id}")), "{}", said.errors);
}

#[test]
fn records_without_entries_are_delivered_once_however_often_the_process_is_killed() {
    killed_often(240, "batch_events = 3");
}

#[test]
fn more_of_them_than_get_entries_at_once_are_delivered_once_however_often_the_process_is_killed() {
    killed_often(4_500, "batch_events = 500");
}

fn killed_often(count: u64, limits: &str) {
    let world = World::fed_by_directory().with_limits(limits).with_limits(FEW);
    let lines: Vec<String> = (0..count).map(|n| if n % 3 == 0 { record(n) } else { long(n / 2) }).collect();
    world.write(KEY, &object(&lines));
    once_under(&world, LOW);
    assert_eq!((listed(&world).len() as u64, in_quarantine(&world)), (6, count * 2 / 3));
    requeue_all(&world);
    let mut chance = Chance::of_this_run("kill, quarantine limits");
    let start = world.run(&[]).with_environment(LINE_BYTES, HIGH).expecting(&REFUSED);
    for kill in 0..12 {
        let daemon = start.at_work();
        moment(Duration::from_millis(chance.below(200) as u64));
        daemon.kill();
        if kill == 5 {
            // Meanwhile the object grows, which moves its long lines.
            world.write(KEY, &object(&[&[record(1000)], &lines[..]].concat()));
        }
    }
    once_under(&world, HIGH);
    world.delivered_once_each(&[&[record(1000)], &lines[..]].concat());
    assert!(listed(&world).is_empty());
}

#[test]
fn each_sink_gets_the_records_without_entries_once_though_one_of_them_is_away() {
    let world = World::new().impatient().with_directory_feed(&["out", "late"]).with_file("out").with_limits(FEW);
    let late = world.path("away/late.ndjson");
    let world = world.with(&format!("[sink.late]\ntype = \"file\"\npath = {late:?}\nencoding = \"raw\"\n"));
    let lines: Vec<String> = (0..30).map(|n| if n % 3 == 0 { record(n) } else { long(n) }).collect();
    world.write(KEY, &object(&lines));
    let away = ["the sink is parked", "cannot be decoded", "a batch was not delivered"];
    let daemon = world.run(&[]).with_environment(LINE_BYTES, LOW).expecting(&away).at_work();
    world.comes_to("out", 10);
    daemon.kill();
    requeue_all(&world);
    let daemon = world.run(&[]).with_environment(LINE_BYTES, HIGH).expecting(&away).at_work();
    world.comes_to("out", 30);
    std::fs::create_dir(world.path("away")).unwrap();
    eventually("both sinks have had them", SOON, || listed(&world).is_empty());
    assert!(daemon.stop().success());
    world.delivered_once_each(&lines);
    assert_once_each(&lines_of(&late), &lines);
}

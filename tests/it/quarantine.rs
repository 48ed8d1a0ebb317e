//! Records that could not be decoded and objects that could not be read are listed, and leave quarantine once their
//! cause is gone, each record once.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use auditferry::testing::checkpoint::{Quarantine as _, SqliteStore};
use serde_json::Value;

use super::support::chance::Chance;
use super::support::daemon::Start;
use super::support::records::{access_lines, assert_once_each, lines_of, object, record, records};
use super::support::waiting::{SOON, eventually, moment};
use super::support::world::{KEY, Place, World};

/// What the log may say when a line or an object is refused, and after a kill.
pub(super) const REFUSED: [&str; 6] = [
    "an object is gone before it was read",
    "quarantine",
    "object was rewritten",
    "cannot be made again",
    "an object has moved on",
    "a batch was not delivered",
];

/// Limits below and above the length of the long lines.
pub(super) const LINE_BYTES: &str = "AUDITFERRY__LIMITS__LINE_BYTES_MAX";
pub(super) const LOW: &str = "1024";
pub(super) const HIGH: &str = "1048576";

/// A command's exit code and output.
pub(super) struct Said {
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) errors: String,
}

impl Said {
    /// The entries that the command listed.
    pub(super) fn entries(&self) -> Vec<Value> {
        assert_eq!(self.code, Some(0), "{}", self.errors);
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Runs `auditferry quarantine` with these arguments and the world's configuration.
pub(super) fn quarantine(world: &World, arguments: &[&str]) -> Said {
    world.run(&[]);
    let config = world.path("auditferry.toml");
    let mut all = vec!["quarantine", arguments[0], "--config", config.to_str().unwrap()];
    all.extend_from_slice(&arguments[1..]);
    let mut process = Start::new(&all, config.parent().unwrap()).expecting(&[""]).with_unread_output().spawn();
    let log = process.log.clone();
    let output = process.read_output();
    let code = process.end().code();
    Said { code, out: output.join().unwrap(), errors: log.text() }
}

pub(super) fn listed(world: &World) -> Vec<Value> {
    quarantine(world, &["list", "--output", "json"]).entries()
}

pub(super) fn requeue_all(world: &World) {
    let said = quarantine(world, &["requeue", "--all"]);
    assert_eq!(said.code, Some(0), "{}", said.errors);
}

/// Runs the daemon once with this limit on a line's length.
pub(super) fn once_under(world: &World, line_bytes: &str) {
    let daemon = world.run(&["--once"]).with_environment(LINE_BYTES, line_bytes).expecting(&REFUSED).spawn();
    let log = daemon.log.clone();
    assert!(daemon.end().success(), "{}", log.end());
}

/// A record longer than `LOW`.
pub(super) fn long(n: u64) -> String {
    record(n).replace("curl/7.64.1", &"x".repeat(2000))
}

fn names(directory: &Path) -> BTreeSet<std::ffi::OsString> {
    std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

#[test]
fn a_record_in_quarantine_is_listed_and_shown_beside_the_running_daemon() {
    let world = World::fed_by_directory();
    let daemon = world.run(&[]).expecting(&REFUSED).ready();
    world.write(KEY, &object(&[record(0), "{\"cut\u{1b}".to_owned(), record(1)]));
    world.comes_to("out", 2);
    let entries = listed(&world);
    assert_eq!(entries.len(), 1);
    let entry = &entries[0];
    assert_eq!((entry["kind"].as_str(), entry["feed"].as_str()), (Some("record"), Some("audit")));
    assert_eq!((entry["ordinal"].as_u64(), entry["offset"].as_u64()), (Some(1), Some(record(0).len() as u64 + 1)));
    assert!(entry["object"].as_str().unwrap().ends_with(KEY));
    let id = entry["id"].to_string();
    assert_eq!(quarantine(&world, &["show", &id, "--body"]).out, "{\"cut\u{1b}");
    let shown = quarantine(&world, &["show", &id]).out;
    assert!(shown.contains("{\"cut\\u{1b}") && !shown.contains('\u{1b}'), "{shown}");
    let text = quarantine(&world, &["list"]).out;
    assert!(text.contains(KEY) && text.contains("record 1"), "{text}");
    assert!(quarantine(&world, &["list", "--kind", "object", "--output", "json"]).entries().is_empty());
    assert!(daemon.stop().success());
    let before = names(&world.state());
    assert_eq!(listed(&world), entries, "also when no daemon runs");
    assert_eq!(names(&world.state()), before, "looking leaves nothing behind");
}

#[test]
fn a_number_that_is_not_in_quarantine_is_told() {
    let world = World::fed_by_directory();
    assert_eq!(quarantine(&world, &["list"]).code, Some(66), "no store yet");
    world.once();
    assert!(listed(&world).is_empty());
    for command in ["show", "requeue", "purge"] {
        let said = quarantine(&world, &[command, "7"]);
        assert_eq!(said.code, Some(66));
        assert!(said.errors.contains('7'), "{}", said.errors);
    }
    assert_eq!(quarantine(&world, &["purge", "--all"]).out.trim(), "purged 0");
}

#[test]
fn a_store_of_another_version_is_refused_and_not_brought_up_to_date() {
    let world = World::fed_by_directory();
    world.once();
    let path = world.state().join("checkpoints.sqlite");
    for other in [1, 99] {
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.pragma_update(None, "user_version", other).unwrap();
        drop(connection);
        for command in [&["list"][..], &["requeue", "--all"]] {
            let said = quarantine(&world, command);
            assert_eq!(said.code, Some(78), "{}", said.errors);
        }
        let connection = rusqlite::Connection::open(&path).unwrap();
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(version, other);
    }
}

#[test]
fn a_line_that_was_too_long_is_delivered_once_when_the_limit_was_raised() {
    let world = World::fed_by_directory();
    let lines = [record(0), long(1), record(2), long(1), long(3)];
    world.write(KEY, &object(&lines));
    once_under(&world, LOW);
    assert_eq!(listed(&world).len(), 3);
    requeue_all(&world);
    once_under(&world, LOW);
    world.delivered_once_each(&[record(0), record(2)]);
    assert!(listed(&world).iter().all(|entry| entry["requeued"] == false), "refused once more, and not asked for");
    once_under(&world, HIGH);
    world.delivered_once_each(&[record(0), record(2)]);
    requeue_all(&world);
    once_under(&world, HIGH);
    world.delivered_once_each(&lines);
    assert!(listed(&world).is_empty());
    once_under(&world, HIGH);
    world.write(KEY, &object(&[&lines[..], &[record(4)]].concat()));
    once_under(&world, HIGH);
    world.delivered_once_each(&[&lines[..], &[record(4)]].concat());
}

/// The uids of a file's events.
pub(super) fn identities(path: &Path) -> BTreeSet<String> {
    let uid = |line: String| serde_json::from_str::<Value>(&line).unwrap()["metadata"]["uid"].to_string();
    lines_of(path).into_iter().map(uid).collect()
}

#[test]
fn a_requeued_record_has_the_identity_that_it_would_have_had() {
    let world = World::new().with_directory_feed(&["out"]);
    let path = world.output("out");
    let world = world.with(&format!("[sink.out]\ntype = \"file\"\npath = {path:?}\n"));
    world.write(KEY, &object(&[long(0), record(1), long(0), long(2)]));
    once_under(&world, HIGH);
    let expected = identities(&path);
    assert_eq!(expected.len(), 4);
    std::fs::remove_dir_all(world.state()).unwrap();
    std::fs::remove_file(&path).unwrap();
    once_under(&world, LOW);
    assert_eq!(identities(&path).len(), 1);
    requeue_all(&world);
    once_under(&world, HIGH);
    assert_eq!(identities(&path), expected);
}

#[test]
fn a_requeued_record_is_redacted_like_any_other() {
    let world = World::fed_by_directory().with("[feed.audit.redact]\nmask = [\"userAgent\"]\n");
    world.write(KEY, &object(&[record(0), long(1)]));
    once_under(&world, LOW);
    requeue_all(&world);
    once_under(&world, HIGH);
    let delivered = world.delivered("out");
    assert_eq!(delivered.len(), 2);
    assert!(delivered.iter().all(|line| line.contains("\"userAgent\":\"***\"")), "{delivered:?}");
}

#[test]
fn a_running_daemon_takes_up_what_is_requeued() {
    let world = World::fed_by_directory();
    world.write(KEY, &object(&[record(0), long(1)]));
    once_under(&world, LOW);
    let daemon = world.run(&[]).with_environment(LINE_BYTES, HIGH).expecting(&REFUSED).ready();
    daemon.counts("auditferry_quarantine_entries", &["record"], 1.0);
    requeue_all(&world);
    world.comes_to("out", 2);
    eventually("it has left the quarantine", SOON, || listed(&world).is_empty());
    assert!(daemon.stop().success());
    world.delivered_once_each(&[record(0), long(1)]);
}

#[test]
fn records_requeued_are_delivered_once_however_often_the_process_is_killed() {
    const LINES: u64 = 120;
    let world = World::fed_by_directory().with_limits("batch_events = 3");
    let lines: Vec<String> = (0..LINES).map(|n| if n % 3 == 0 { record(n) } else { long(n / 2) }).collect();
    world.write(KEY, &object(&lines));
    once_under(&world, LOW);
    assert_eq!(listed(&world).len() as u64, LINES * 2 / 3);
    requeue_all(&world);
    let mut chance = Chance::of_this_run("kill, quarantine");
    let start = world.run(&[]).with_environment(LINE_BYTES, HIGH).expecting(&REFUSED);
    for kill in 0..12 {
        let daemon = start.at_work();
        moment(Duration::from_millis(chance.below(120) as u64));
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
fn each_sink_gets_a_requeued_record_once_though_one_of_them_is_away() {
    let world = World::new().impatient().with_directory_feed(&["out", "late"]).with_file("out");
    let late = world.path("away/late.ndjson");
    let world = world.with(&format!("[sink.late]\ntype = \"file\"\npath = {late:?}\nencoding = \"raw\"\n"));
    let lines = [record(0), long(1), record(2)];
    world.write(KEY, &object(&lines));
    let away = ["the sink is parked", "cannot be decoded", "a batch was not delivered"];
    let daemon = world.run(&[]).with_environment(LINE_BYTES, LOW).expecting(&away).at_work();
    world.comes_to("out", 2);
    daemon.kill();
    requeue_all(&world);
    let daemon = world.run(&[]).with_environment(LINE_BYTES, HIGH).expecting(&away).at_work();
    world.comes_to("out", 3);
    let entries = listed(&world);
    assert_eq!(entries.len(), 1, "it stays in quarantine until every sink has had it");
    std::fs::create_dir(world.path("away")).unwrap();
    eventually("the other sink has had it too", SOON, || listed(&world).is_empty());
    assert!(daemon.stop().success());
    world.delivered_once_each(&lines);
    assert_once_each(&lines_of(&late), &lines);
}

#[test]
fn a_record_whose_bytes_were_kept_comes_back_though_its_object_is_gone() {
    let lines = access_lines(3);
    let world = World::new();
    let source = world.path("source");
    std::fs::create_dir(&source).unwrap();
    let feed = format!("directory = {source:?}\nkeys = [\"**\"]\nsinks = [\"out\"]");
    let world = world.with(&format!("[feed.audit]\n{feed}\n")).with_file("out");
    world.write("access.log", &object(&lines));
    let family = "AUDITFERRY__FEED__AUDIT__FAMILY";
    let once = |name: &str| {
        let daemon = world.run(&["--once"]).with_environment(family, name).expecting(&REFUSED).spawn();
        let log = daemon.log.clone();
        (daemon.end().success(), log.end())
    };
    // The feed was configured for another kind of log.
    let (done, log) = once("databricks");
    assert!(done, "{log}");
    std::fs::remove_file(source.join("access.log")).unwrap();
    let requeue = || {
        let config = world.path("auditferry.toml");
        let arguments = ["quarantine", "requeue", "--config", config.to_str().unwrap(), "--all"];
        let process = Start::new(&arguments, config.parent().unwrap()).with_environment(family, "databricks").spawn();
        assert!(process.end().success());
    };
    requeue();
    let (_, log) = once("s3_access");
    assert_once_each(&lines_of(&world.output("out")), &lines);
    let (done, _) = once("s3_access");
    assert!(done, "{log}");
    assert_once_each(&lines_of(&world.output("out")), &lines);
}

#[test]
fn an_objects_entry_goes_when_a_later_version_is_read_whole() {
    let world = World::fed_by_directory();
    let key = "workspaceId=1/date=2026-01-01/part-0.json.gz";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&object(&records(0..300))).unwrap();
    let whole = gzip.finish().unwrap();
    world.write(key, &whole[..whole.len() / 2]);
    world.once_expecting(&REFUSED);
    assert_eq!(listed(&world).len(), 1);
    world.write(key, &whole);
    world.once_expecting(&REFUSED);
    world.delivered_once_each(&records(0..300));
    assert!(listed(&world).is_empty());
}

#[test]
fn a_damaged_object_is_read_again_when_what_refused_it_is_gone() {
    let world = World::fed_by_directory();
    let key = "workspaceId=1/date=2026-01-01/part-0.json.gz";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&object(&records(0..3_000))).unwrap();
    world.write(key, &gzip.finish().unwrap());
    let once = |bytes: &str| {
        let limit = "AUDITFERRY__LIMITS__INFLATED_BYTES_MAX";
        let daemon = world.run(&["--once"]).with_environment(limit, bytes).expecting(&REFUSED).spawn();
        let log = daemon.log.clone();
        assert!(daemon.end().success(), "{}", log.end());
    };
    once("1048576");
    let entries = listed(&world);
    assert_eq!((entries.len(), entries[0]["kind"].as_str()), (1, Some("object")));
    once("104857600");
    assert!(world.delivered("out").is_empty(), "nobody asked for it");
    let id = entries[0]["id"].to_string();
    assert_eq!(quarantine(&world, &["requeue", &id]).code, Some(0));
    once("1048576");
    assert_eq!(listed(&world).len(), 1, "refused again, it is there once");
    assert_eq!(quarantine(&world, &["requeue", &id]).code, Some(0));
    once("104857600");
    world.delivered_once_each(&records(0..3_000));
    assert!(listed(&world).is_empty());
}

#[test]
fn a_message_is_understood_later_and_what_it_names_is_read() {
    let place = Place::new();
    let world = World::fed_by(&place);
    place.bucket.put(KEY, &object(&records(0..3)));
    let told = place.queue.take(1);
    std::fs::create_dir_all(world.state()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(&world.state(), 1 << 20).unwrap();
        for body in [told[0].as_bytes(), b"no notification"] {
            let body = zstd::encode_all(body, 3).unwrap();
            store.quarantine_message("events".to_owned(), "of no known shape".to_owned(), body, 1).await.unwrap();
        }
    });
    assert!(quarantine(&world, &["show", "1", "--body"]).out.contains("s3:") || !told[0].is_empty());
    let daemon = world.run(&[]).expecting(&REFUSED).ready();
    requeue_all(&world);
    world.comes_to("out", 3);
    eventually("what is still not understood stays", SOON, || {
        let entries = listed(&world);
        entries.len() == 1 && entries[0]["requeued"] == false
    });
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..3));
    let left = listed(&world);
    assert_eq!((left[0]["queue"].as_str(), left[0]["id"].as_u64()), (Some("events"), Some(2)));
    assert!(left[0]["reason"].as_str().unwrap().contains("not the JSON of a notification"));
}

#[test]
fn what_is_purged_is_gone_and_never_delivered() {
    let world = World::fed_by_directory();
    world.write(KEY, &object(&[record(0), long(1), "{\"cut".to_owned()]));
    once_under(&world, LOW);
    assert_eq!(quarantine(&world, &["purge", "--all", "--older-than", "1d"]).out.trim(), "purged 0");
    let id = listed(&world)[0]["id"].to_string();
    assert_eq!(quarantine(&world, &["purge", &id]).out.trim(), "purged 1");
    let said = quarantine(&world, &["requeue", &id, "2"]);
    assert_eq!(said.code, Some(66));
    assert_eq!(listed(&world).len(), 1);
    let daemon = world.run(&[]).with_environment(LINE_BYTES, HIGH).expecting(&REFUSED).ready();
    assert_eq!(quarantine(&world, &["purge", "--all"]).out.trim(), "purged 1");
    world.write("workspaceId=1/date=2026-01-02/b.json", &object(&records(1..2)));
    world.comes_to("out", 2);
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..2));
    assert!(listed(&world).is_empty());
}

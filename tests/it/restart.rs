//! A process continues where the process before it ended, and refuses a checkpoint store that it must not touch.

use std::path::Path;

use super::support::daemon::{Daemon, Start};
use super::support::records::{assert_once_each, object, records};
use super::support::waiting::{SOON, eventually};
use super::support::world::{KEY, Place, World};

#[test]
fn a_restart_goes_on_where_the_last_process_stood() {
    let place = Place::new();
    let world = World::fed_by(&place);
    for end in [2, 4, 6] {
        place.bucket.put(KEY, &object(&records(0..end)));
        let daemon = world.start();
        world.comes_to("out", end as usize);
        place.queue.drained();
        assert!(daemon.stop().success());
    }
    world.delivered_once_each(&records(0..6));
}

#[test]
fn a_message_that_was_not_deleted_before_the_process_died_delivers_nothing_again() {
    let place = Place::new();
    // The killed process's last poll may still receive a message, which then comes again after this time.
    let world = World::fed_by(&place).with_queue("visibility_secs = 10");
    place.bucket.put(KEY, &object(&records(0..2)));
    let told = place.queue.take(1);
    place.queue.send(&told[0]);
    let daemon = world.start();
    world.comes_to("out", 2);
    daemon.kill();
    place.queue.send(&told[0]);
    let daemon = world.run(&[]).ready();
    daemon.counts("auditferry_notifications_total", &[], 1.0);
    eventually("the message is settled", SOON, || place.queue.depth().visible == 0);
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..2));
}

/// Runs a process that must refuse to start; returns its exit code and log.
fn refused(world: &World) -> (Option<i32>, String) {
    let daemon: Daemon = world.run(&[]).expecting(&[""]).spawn();
    let log = daemon.log.clone();
    let status = daemon.end();
    (status.code(), log.text())
}

#[test]
fn a_second_process_on_the_same_state_ends_and_names_the_first() {
    let world = World::fed_by_directory();
    let first = world.start();
    let (code, said) = refused(&world);
    assert_eq!(code, Some(75), "{said}");
    assert!(said.contains(&first.id().to_string()), "{said}");
    world.write(KEY, &object(&records(0..1)));
    world.comes_to("out", 1);
    assert!(first.stop().success());
}

/// The only database in the state directory.
fn database(world: &World) -> std::path::PathBuf {
    let mut files = std::fs::read_dir(world.state()).unwrap().map(|entry| entry.unwrap().path());
    let is_database =
        |path: &std::path::PathBuf| std::fs::read(path).unwrap_or_default().starts_with(b"SQLite format 3\0");
    files.find(is_database).expect("a database in the state directory")
}

#[test]
fn a_checkpoint_store_of_a_later_version_is_refused_untouched() {
    let world = World::fed_by_directory();
    world.write(KEY, &object(&records(0..1)));
    world.once();
    let connection = rusqlite::Connection::open(database(&world)).unwrap();
    let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    connection.pragma_update(None, "user_version", version + 1).unwrap();
    drop(connection);
    let (code, said) = refused(&world);
    assert_eq!(code, Some(78), "{said}");
    world.delivered_once_each(&records(0..1));
}

#[test]
fn a_damaged_checkpoint_store_is_refused() {
    let world = World::fed_by_directory();
    world.write(KEY, &object(&records(0..2_000)));
    world.once();
    let path = database(&world);
    let mut bytes = std::fs::read(&path).unwrap();
    let half = bytes.len() / 2;
    bytes[half..].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let (code, said) = refused(&world);
    assert_eq!(code, Some(65), "{said}");
    world.delivered_once_each(&records(0..2_000));
}

/// Runs `auditferry backup` to that directory; returns its exit code, and its output with the log.
fn backup(world: &World, to: &Path) -> (Option<i32>, String) {
    world.run(&[]);
    let config = world.path("auditferry.toml");
    let arguments = ["backup", "--config", config.to_str().unwrap(), to.to_str().unwrap()];
    let mut process = Start::new(&arguments, config.parent().unwrap()).expecting(&[""]).with_unread_output().spawn();
    let (log, output) = (process.log.clone(), process.read_output());
    let code = process.end().code();
    (code, output.join().unwrap() + &log.text())
}

#[test]
fn from_a_copy_made_beside_a_running_daemon_only_what_came_later_is_delivered_again() {
    let world = World::fed_by_directory();
    let daemon = world.start();
    world.write(KEY, &object(&records(0..3)));
    world.comes_to("out", 3);
    daemon.counts("auditferry_events_sent_total", &["sink=\"out\""], 3.0);
    let copy = world.path("copy");
    let (code, said) = backup(&world, &copy);
    assert_eq!((code, said.trim()), (Some(0), copy.join("checkpoints.sqlite").to_str().unwrap()));
    world.write(KEY, &object(&records(0..5)));
    world.comes_to("out", 5);
    assert!(daemon.stop().success());
    put_back(&world, &copy);
    world.once_expecting(&["found bytes behind the committed end that are not ours"]);
    assert_once_each(&world.delivered("out"), &[records(0..5), records(3..5)].concat());
}

/// The disk is lost, and the copy restored.
fn put_back(world: &World, copy: &Path) {
    std::fs::remove_dir_all(world.state()).unwrap();
    std::fs::create_dir(world.state()).unwrap();
    std::fs::copy(copy.join("checkpoints.sqlite"), world.state().join("checkpoints.sqlite")).unwrap();
}

#[test]
fn what_a_copy_that_was_put_back_does_not_know_of_is_not_lost_and_comes_again_under_the_same_ids() {
    let world = World::new().with_directory_feed(&["events"]);
    let out = world.output("events");
    let world = world.with(&format!("[sink.events]\ntype = \"file\"\npath = {out:?}\n"));
    let daemon = world.start();
    world.write(KEY, &object(&records(0..3)));
    world.comes_to("events", 3);
    daemon.counts("auditferry_events_sent_total", &["sink=\"events\""], 3.0);
    let copy = world.path("copy");
    assert_eq!(backup(&world, &copy).0, Some(0));
    world.write(KEY, &object(&records(0..5)));
    world.comes_to("events", 5);
    assert!(daemon.stop().success());
    put_back(&world, &copy);
    // The next batch has the number of a batch that the copy lacks, and holds more events.
    world.write(KEY, &object(&records(0..7)));
    world.once_expecting(&["found bytes behind the committed end that are not ours"]);
    let uid = |line: &String| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned()
    };
    let uids: Vec<String> = world.delivered("events").iter().map(uid).collect();
    assert_eq!(uids.len(), 9);
    assert_eq!(uids[3..5], uids[5..7]);
    assert_eq!(uids.iter().collect::<std::collections::BTreeSet<_>>().len(), 7);
}

#[test]
fn a_copy_of_the_state_of_a_daemon_that_is_stopped_leaves_nothing_in_it() {
    let world = World::fed_by_directory();
    world.write(KEY, &object(&records(0..3)));
    world.once();
    let names = || {
        let entries = std::fs::read_dir(world.state()).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect::<std::collections::BTreeSet<_>>()
    };
    let before = names();
    assert_eq!(backup(&world, &world.path("copy")).0, Some(0));
    assert_eq!(names(), before);
    let (code, said) = backup(&world, &world.path("copy"));
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("is not empty"), "{said}");
    std::fs::remove_dir_all(world.state()).unwrap();
    assert_eq!(backup(&world, &world.path("other")).0, Some(66));
    assert!(!world.path("other").exists());
}

/// The feed's newest event according to `/status`.
fn newest_event(daemon: &Daemon) -> serde_json::Value {
    let status: serde_json::Value = serde_json::from_slice(&daemon.page("/status").body).unwrap_or_default();
    status["feeds"]["audit"]["newest_event"].clone()
}

#[test]
fn how_fresh_a_partition_is_outlives_the_process() {
    let place = Place::new();
    let world = World::fed_by(&place);
    let lines = records(0..3);
    place.bucket.put(KEY, &object(&lines));
    let daemon = world.start();
    world.comes_to("out", 3);
    place.queue.drained();
    let labels = ["feed=\"audit\"", "partition=\"workspaceId=3049059095686970\""];
    let newest = "2026-01-01T00:00:00Z";
    eventually("the newest event is known", SOON, || newest_event(&daemon) == newest);
    daemon.kill();
    // The place is unchanged: nothing is delivered, and the age is that of the newest event before the kill.
    let daemon = world.start();
    let newest_secs = 1_767_225_600.0;
    let now_secs = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let shown = daemon.metric("auditferry_partition_freshness_seconds", &labels);
    assert!((shown - (now_secs - newest_secs)).abs() < 120.0, "{shown}");
    assert_eq!(newest_event(&daemon), newest);
    assert!(daemon.stop().success());
}

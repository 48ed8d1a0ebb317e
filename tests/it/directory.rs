//! A directory laid out like a bucket is a place like any other.

use super::support::records::{object, record, records};
use super::support::world::{KEY, World};

#[test]
fn a_file_that_changes_is_delivered_without_waiting_for_the_next_scan() {
    let world = World::new().with_directory_feed_scanned_every("1h", &["out"]).with_file("out");
    let daemon = world.start();
    for end in 1..=5 {
        world.write(KEY, &object(&records(0..end)));
        world.comes_to("out", end as usize);
    }
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..5));
}

#[test]
fn a_file_that_is_appended_to_in_place_delivers_each_line_once() {
    use std::io::Write;
    let world = World::fed_by_directory();
    let path = world.path("source").join(KEY);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = std::fs::File::create(&path).unwrap();
    let daemon = world.run(&[]).expecting(&["held"]).ready();
    for n in 0..20 {
        // Written in two pieces: a reader may see the first alone.
        let line = format!("{}\n", record(n));
        let (first, second) = line.as_bytes().split_at(100);
        file.write_all(first).unwrap();
        file.flush().unwrap();
        file.write_all(second).unwrap();
    }
    world.comes_to("out", 20);
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..20));
}

#[test]
fn folders_that_appear_later_are_watched_too() {
    let world = World::fed_by_directory();
    let daemon = world.start();
    for day in 1..=3 {
        world.write(&format!("workspaceId=1/date=2026-01-0{day}/a.json"), &object(&records(day..=day)));
    }
    world.comes_to("out", 3);
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(1..=3));
}

#[test]
fn what_is_no_log_is_not_read() {
    let world = World::fed_by_directory();
    world.write("workspaceId=1/date=2026-01-01/notes.txt", b"not a record\n");
    world.write("workspaceId=1/date=2026-01-01/.hidden.json.tmp", b"{\"half");
    world.write(KEY, &object(&records(0..1)));
    world.once();
    world.delivered_once_each(&records(0..1));
}

#[test]
fn an_object_that_was_read_as_another_family_is_read_anew_as_the_right_one() {
    let world = World::fed_by_directory();
    world.write(KEY, &object(&records(0..5)));
    for family in ["ydb", "immuta", "s3_access"] {
        let wrong = world.run(&["--once"]).with_environment("AUDITFERRY__FEED__AUDIT__FAMILY", family);
        let wrong = wrong.with_environment("AUDITFERRY__FEED__AUDIT__KEYS", "[\"**\"]");
        assert!(wrong.expecting(&["read as another family", "quarantine", "gives no record"]).spawn().end().success());
        assert!(world.delivered("out").is_empty(), "{family}");
    }
    world.once_expecting(&["read as another family"]);
    world.delivered_once_each(&records(0..5));
    world.once();
    world.delivered_once_each(&records(0..5));
}

#[test]
fn a_folder_that_cannot_be_looked_at_is_a_failure_and_the_others_are_delivered() {
    let world = World::fed_by_directory();
    // So many that the scan is over long before they are delivered.
    for n in 0..50 {
        world.write(&format!("workspaceId=1/date=2026-01-01/{n}.json"), &object(&records(n..=n)));
    }
    // Nobody may look into a folder that is nested too deep, whoever asks.
    let deep = vec!["d"; 70].join("/");
    std::fs::create_dir_all(world.path("source").join(deep)).unwrap();
    let daemon = world.run(&["--once"]).expecting(&["cannot be looked at", "stopped by an error"]).spawn();
    let log = daemon.log.clone();
    assert_eq!(daemon.end().code(), Some(77), "{}", log.end());
    world.delivered_once_each(&records(0..50));
}

#[test]
fn a_directory_that_is_not_there_is_told_as_such() {
    let world = World::fed_by_directory();
    std::fs::remove_dir(world.path("source")).unwrap();
    let daemon = world.run(&["--once"]).expecting(&["is not there"]).spawn();
    assert_eq!(daemon.end().code(), Some(66));
}

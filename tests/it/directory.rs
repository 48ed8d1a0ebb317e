//! A directory laid out like a bucket works as a bucket does.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use super::support::daemon::Daemon;
use super::support::lease::Lease;
use super::support::log::{Entry, READ_FAILED};
use super::support::records::{assert_once_each, object, record, records};
use super::support::waiting::{SOON, eventually};
use super::support::world::{KEY, World, key, write_whole};

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
    let world = World::fed_by_directory();
    let path = world.path("source").join(KEY);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = std::fs::File::create(&path).unwrap();
    let daemon = world.run(&[]).expecting(&["held"]).ready();
    for n in 0..20 {
        // Each line is written in two pieces: a reader may see the first alone.
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
    // So many files that the scan is over long before they are delivered.
    for n in 0..50 {
        world.write(&key(n), &object(&records(n..=n)));
    }
    // Folders nested too deep are never looked into, not even by root, whom file modes do not stop.
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

/// Overwrites the file in place a few KiB at a time, as a copier does that reuses it. The file is truncated before or
/// after.
fn write_in_place(path: &Path, content: &[u8], cut_first: bool) {
    let mut file = File::options().create(true).write(true).truncate(cut_first).open(path).unwrap();
    for piece in content.chunks(7_000) {
        file.write_all(piece).unwrap();
        file.flush().unwrap();
    }
    file.set_len(content.len() as u64).unwrap();
}

#[test]
fn however_a_file_is_copied_over_while_it_is_read_each_line_is_delivered_once() {
    let world = World::fed_by_directory();
    let keys = ["cp", "inplace", "mv", "append"].map(|way| format!("workspaceId=1/date=2026-01-01/{way}.json"));
    let [copied, in_place, moved, appended] = keys.each_ref().map(|key| world.path("source").join(key));
    std::fs::create_dir_all(copied.parent().unwrap()).unwrap();
    let daemon = world.run(&[]).expecting(&["held back", "was rewritten", "changed while it was read"]).ready();
    let (all, step) = (1_000, 50);
    // Each file has records of its own.
    let of = |file: u64, end: u64| records(file * all..file * all + end);
    for end in (step..=all).step_by(step as usize) {
        write_in_place(&copied, &object(&of(0, end)), true);
        write_in_place(&in_place, &object(&of(1, end)), false);
        let aside = world.path("aside");
        std::fs::write(&aside, object(&of(2, end))).unwrap();
        std::fs::rename(&aside, &moved).unwrap();
        let mut file = File::options().create(true).append(true).open(&appended).unwrap();
        for line in &of(3, end)[(end - step) as usize..] {
            file.write_all(format!("{line}\n").as_bytes()).unwrap();
        }
    }
    world.comes_to("out", 4 * all as usize);
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..4 * all));
}

#[test]
fn a_line_that_could_be_a_record_waits_for_its_end_while_its_file_is_young() {
    const LINE: &str = concat!(
        r#"79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be awsexamplebucket1 [06/Feb/2026:00:00:38 +0000] "#,
        r#"192.0.2.3 79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be 3E57427F3EXAMPLE REST.GET.VERSIONING - "#,
        r#""GET /awsexamplebucket1?versioning HTTP/1.1" 200 - 113 - 7 - "-" "S3Console/0.4" - "#,
        r#"s9lzHYrFp76ZVxRcpX9+5cjAnEH2ROuNkd2BHfIa6UkFVdtjf5mKR3/eTPFvsiP/XV/VLi31234= SigV4 ECDHE-RSA-AES128-GCM-SHA256 "#,
        r#"AuthHeader awsexamplebucket1.s3.us-west-1.amazonaws.com TLSV1.2"#,
    );
    let world = World::new();
    let source = world.path("source");
    std::fs::create_dir_all(&source).unwrap();
    let feed = format!(
        "[feed.logs]\nfamily = \"s3_access\"\ndirectory = {source:?}\nkeys = [\"**\"]\nsinks = [\"out\"]\nscan_at_start = true\n"
    );
    let world = world.with(&feed).with_file("out");
    let daemon = world.run(&[]).expecting(&["held back"]).ready();
    let mut file = File::create(source.join("log")).unwrap();
    let cut = LINE.find(" SigV4").unwrap();
    file.write_all(&LINE.as_bytes()[..cut]).unwrap();
    daemon.counts("auditferry_partial_lines_held_total", &[], 1.0);
    file.write_all(&LINE.as_bytes()[cut..]).unwrap();
    file.write_all(b"\n").unwrap();
    world.comes_to("out", 1);
    assert!(daemon.stop().success());
    let delivered = world.delivered("out");
    assert_eq!(delivered.len(), 1, "{delivered:?}");
    assert!(delivered[0].contains("AuthHeader"), "{}", delivered[0]);
}

#[test]
fn a_young_file_is_read_once_more_when_it_is_older() {
    let world = World::fed_by_directory();
    let daemon = world.start();
    world.write(KEY, &object(&records(0..3)));
    world.comes_to("out", 3);
    daemon.counts("auditferry_objects_total", &["result=\"unchanged\""], 1.0);
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..3));
}

#[test]
fn a_young_file_that_ends_without_a_line_end_is_delivered_whole_with_once() {
    let world = World::fed_by_directory();
    let content = object(&records(0..3));
    world.write(KEY, content.trim_ascii_end());
    world.once();
    world.delivered_once_each(&records(0..3));
}

fn told_of_a_timeout(daemon: &Daemon) -> Entry {
    let told = || daemon.log.failed_read("timeout");
    eventually("the log tells of a file system that does not answer", SOON, || told().is_some());
    told().unwrap()
}

#[test]
fn a_file_system_that_does_not_answer_is_its_feeds_fault_and_the_others_go_on() {
    let world = World::fed_by_directory().with_file("second").with_request_timeout("1s");
    let second = world.path("second");
    std::fs::create_dir(&second).unwrap();
    let feed = format!("family = \"databricks\"\ndirectory = {second:?}\nscan_every = \"1s\"\nsinks = [\"second\"]");
    let world = world.with(&format!("[feed.second]\n{feed}\n"));
    // More files than may be read at once.
    let paths: Vec<_> = (0..8).map(|number| world.path("source").join(key(number))).collect();
    (0..8).for_each(|number| world.write(&key(number), &object(&records(number..=number))));
    let lease = Lease::on(paths.iter().map(|path| path.as_path()));
    let expected = [READ_FAILED, "the place could not be scanned", "work on a message makes no progress"];
    let daemon = world.run(&[]).expecting(&expected).ready();
    let told = told_of_a_timeout(&daemon);
    assert_eq!(told.field("feed").as_deref(), Some("audit"));
    write_whole(&second, &world.path("aside"), &key(8), &object(&records(8..9)));
    world.comes_to("second", 1);
    assert!(world.delivered("out").is_empty());
    drop(lease);
    world.comes_to("out", 8);
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..8));
    assert_once_each(&world.delivered("second"), &records(8..9));
}

#[test]
fn a_stop_waits_for_no_file_system_that_does_not_answer() {
    let world = World::fed_by_directory().with_request_timeout("1s");
    world.write(KEY, &object(&records(0..1)));
    let lease = Lease::on([world.path("source").join(KEY).as_path()]);
    let daemon = world.run(&[]).expecting(&[READ_FAILED]).ready();
    told_of_a_timeout(&daemon);
    let asked = Instant::now();
    assert!(daemon.stop().success());
    assert!(asked.elapsed().as_secs() < 10, "it took {:?} to stop", asked.elapsed());
    drop(lease);
}

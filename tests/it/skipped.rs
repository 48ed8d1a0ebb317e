//! Lines that are no records are counted, and an object of such lines alone is reported.

use super::support::daemon::{Daemon, Start};
use super::support::world::{Place, World};

const SKIPPED: &str = "auditferry_lines_skipped_total";
const NO_RECORD: &str = "an object that is not empty gives no record";

/// A line of another component of YDB, and an audit record of the same log.
const OTHER: &str = "2022-08-03T22:41:43.100000Z node 1 :TX_PROXY INFO: Actor# [1:7127:1] txid# 281474976710670 DONE\n";
const RECORD: &str = "2023-03-14T10:41:36.485788Z: {\"paths\":\"[/root/.sys/pdisks]\",\"tx_id\":\"281474976775658\",\"database\":\"/root\",\"remote_address\":\"ipv6:[::1]:1\",\"status\":\"SUCCESS\",\"subject\":\"{none}\",\"operation\":\"DROP TABLE\",\"component\":\"schemeshard\"}\n";

/// A directory feed of this family.
fn world_of(family: &str) -> World {
    let world = World::new();
    let source = world.path("source");
    std::fs::create_dir_all(&source).unwrap();
    let feed = format!("family = {family:?}\ndirectory = {source:?}\nscan_every = \"1s\"\nsinks = [\"out\"]");
    world.with(&format!("[feed.audit]\n{feed}\n")).with_file("out")
}

fn skipped(daemon: &Daemon) -> f64 {
    daemon.metric(SKIPPED, &["feed=\"audit\""])
}

#[test]
fn lines_that_are_no_records_are_counted_once_however_often_their_object_grows() {
    let world = world_of("ydb");
    let daemon = world.start();
    let mut content = format!("{RECORD}{}", OTHER.repeat(3));
    world.write("a.log", content.as_bytes());
    daemon.counts(SKIPPED, &["feed=\"audit\""], 3.0);
    content.push_str(&OTHER.repeat(2));
    content.push_str(RECORD);
    world.write("a.log", content.as_bytes());
    world.comes_to("out", 2);
    daemon.counts(SKIPPED, &["feed=\"audit\""], 5.0);
    content.push_str(OTHER);
    world.write("a.log", content.as_bytes());
    daemon.counts(SKIPPED, &["feed=\"audit\""], 6.0);
    // The lines counted already are not counted again with the appended one.
    content.push_str(RECORD);
    world.write("a.log", content.as_bytes());
    world.comes_to("out", 3);
    assert!(skipped(&daemon) < 6.5, "none was counted twice");
    assert!(daemon.stop().success());
}

#[test]
fn an_object_without_a_record_is_told_of_once_for_each_feed() {
    let world = world_of("ydb");
    world.write("a.log", OTHER.repeat(3).as_bytes());
    world.write("b.log", OTHER.repeat(2).as_bytes());
    world.write("empty.log", b"");
    let daemon = world.run(&[]).expecting(&[NO_RECORD]).ready();
    daemon.counts("auditferry_objects_total", &["no_record"], 2.0);
    daemon.counts("auditferry_objects_total", &["empty"], 1.0);
    assert!(daemon.metric("auditferry_objects_total", &["unchanged"]) < 0.5);
    assert_eq!(daemon.says(NO_RECORD), 1);
    let entries = daemon.log.entries();
    let told = entries.iter().find(|entry| entry.message.contains(NO_RECORD)).unwrap();
    assert_eq!((told.level.as_str(), told.field("feed").as_deref()), ("WARN", Some("audit")));
    // The objects are read in any order.
    assert!(["/a.log", "/b.log"].iter().any(|name| told.field("object").unwrap().ends_with(name)), "{}", told.line);
    assert!(told.field("suggestion").unwrap().contains("another family"), "{}", told.line);
    world.write("a.log", OTHER.repeat(4).as_bytes());
    daemon.counts(SKIPPED, &["feed=\"audit\""], 6.0);
    assert!(skipped(&daemon) < 6.5, "the lines that were there are not counted again");
    assert!(daemon.stop().success());
}

#[test]
fn a_line_that_is_quarantined_is_a_record() {
    let world = World::fed_by_directory();
    world.write("workspaceId=1/date=2026-01-01/a.json", b"no JSON\n");
    world.once_expecting(&["records cannot be decoded and are quarantined"]);
}

#[test]
fn an_object_in_a_bucket_that_is_one_cut_off_line_is_told_of() {
    let place = Place::new();
    let world = World::fed_by(&place);
    place.bucket.put("workspaceId=1/date=2026-01-01/a.json", b"{\"version\":\"2.0\",\"audit");
    place.queue.holds(1);
    world.once_expecting(&[NO_RECORD]);
    assert_eq!(world.delivered("out"), [""; 0]);
}

#[test]
fn decode_says_how_many_lines_are_no_records() {
    let world = World::new();
    let decoded = |content: &str| {
        let file = world.path("file.log");
        std::fs::write(&file, content).unwrap();
        let arguments = ["decode", "--family", "ydb", "--encoding", "raw", file.to_str().unwrap()];
        let process = Start::new(&arguments, &world.path("")).expecting(&[""]).spawn();
        let log = process.log.clone();
        assert!(process.end().success());
        log.text()
    };
    let said = decoded(&format!("{OTHER}{RECORD}{OTHER}"));
    assert_eq!(said, "decoded: 1 records, 1 events, 0 refused, 2 lines that are no records\n");
    let said = decoded(OTHER);
    assert!(
        said.contains("holds no record of ydb") && said.ends_with("0 refused, 1 lines that are no records\n"),
        "{said}"
    );
    assert!(decoded(RECORD).starts_with("decoded: 1 records, 1 events, "));
    assert!(decoded("").starts_with("decoded: 0 records, 0 events, "));
}

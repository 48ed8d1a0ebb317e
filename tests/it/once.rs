//! `run --once` says at its end what it has done, and by its exit code whether that was everything.

use serde_json::{Value, json};

use super::support::aws::Aws;
use super::support::records::{object, records};
use super::support::world::{Place, World, key};

/// What the log says of records that are refused.
const REFUSED: [&str; 1] = ["quarantine"];

/// The last line of a run's log, which is its summary.
fn summary(world: &World, arguments: &[&str]) -> (Option<i32>, Value) {
    let all: Vec<&str> = ["--once"].into_iter().chain(arguments.iter().copied()).collect();
    let daemon = world.run(&all).expecting(&REFUSED).spawn();
    let log = daemon.log.clone();
    let code = daemon.end().code();
    let text = log.text();
    let last = text.lines().last().unwrap_or_default();
    let summary: Value = serde_json::from_str(last).unwrap_or_else(|error| panic!("{last}: {error}"));
    assert_eq!((&summary["level"], &summary["message"]), (&json!("INFO"), &json!("summary")), "{}", log.end());
    (code, summary)
}

#[test]
fn a_run_ends_with_what_it_has_done_by_feed_and_by_sink() {
    let world = World::fed_by_directory();
    world.write(&key(1), &object(&records(0..3)));
    world.write(&key(2), &object(&records(3..5)));
    world.write(&key(3), b"{\"neither\": \"what\"}\n");
    let (code, said) = summary(&world, &[]);
    assert_eq!(code, Some(0));
    assert_eq!((&said["events"], &said["refused"], &said["skipped"]), (&json!(5), &json!(1), &json!(0)), "{said}");
    let objects: u64 = said["objects"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(objects, 3, "{said}");
    assert_eq!(said["feeds"]["audit"], json!({"objects": 3, "events": 5, "refused": 1, "skipped": 0}), "{said}");
    assert_eq!(said["sinks"]["out"]["events"], json!(5), "{said}");
    // What was read before is not counted again.
    let (_, again) = summary(&world, &[]);
    assert_eq!((&again["events"], &again["refused"]), (&json!(0), &json!(0)), "{again}");
}

#[test]
fn a_strict_run_ends_with_65_only_when_it_refused_something() {
    let world = World::fed_by_directory();
    world.write(&key(1), &object(&records(0..3)));
    assert_eq!(summary(&world, &["--strict"]).0, Some(0));
    world.write(&key(2), b"{\"neither\": \"what\"}\n");
    assert_eq!(summary(&world, &["--strict"]).0, Some(65));
    // What an earlier run refused is not this one's.
    assert_eq!(summary(&world, &["--strict"]).0, Some(0));
    let strict = world.run(&["--strict"]).expecting(&[""]).spawn();
    assert_eq!(strict.end().code(), Some(64));
}

#[test]
fn a_run_on_a_terminal_ends_with_a_summary_to_read() {
    let world = World::fed_by_directory();
    world.write(&key(1), &object(&records(0..3)));
    let readable =
        world.run(&["--once"]).with_environment("AUDITFERRY__LOG__FORMAT", "readable").expecting(&[""]).spawn();
    let log = readable.log.clone();
    assert!(readable.end().success(), "{}", log.end());
    let text = log.text();
    let at = text.find("summary: ").unwrap_or_else(|| panic!("{text}"));
    assert!(
        text[at..].starts_with("summary: 1 objects (1 delivered), 3 events, 0 refused, 0 lines skipped\n"),
        "{text}"
    );
    assert!(text[at..].contains("\n  sink out: 3 events delivered, 0 filtered, 0 objects in its backlog\n"), "{text}");
    assert!(!text.contains('\x1b'), "progress is for terminals: {text}");
}

#[test]
fn a_bucket_that_is_not_there_is_no_input() {
    let place = Place::apart();
    let through = Aws::emulated().url();
    let feed = place.feed(&through).replace("bucket = \"", "bucket = \"none-");
    let world = World::new().with(&format!("[feed.audit]\n{feed}sinks = [\"out\"]\n")).with_file("out");
    let daemon =
        world.run(&["--once"]).expecting(&["there is no such bucket", "NoSuchBucket", "stopped by an error"]).spawn();
    let log = daemon.log.clone();
    assert_eq!(daemon.end().code(), Some(66), "{}", log.end());
}

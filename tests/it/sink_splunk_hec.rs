//! The promises of the sink to Splunk, kept by the real process against a collector on this machine.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::support::daemon::{Daemon, Start};
use super::support::receiver::root;
use super::support::records::{assert_once_each, counted, missing, object, record, records};
use super::support::splunk::{Splunk, TOKEN};
use super::support::waiting::{SOON, eventually};
use super::support::world::World;

/// What the log may say while a collector is away.
pub const IS_AWAY: [&str; 2] = ["a batch was not delivered", "going on without a sink"];
pub const IS_PARKED: &str = "the sink is parked";
const IS_LOST: &str = "does not acknowledge them; sending them again";

/// A directory feed to `splunk` with these keys besides its URL and token.
pub fn world_of(splunk: &Splunk, keys: &str) -> World {
    let sink = format!("type = \"splunk_hec\"\nurl = \"{}\"\n{keys}", splunk.receiver.url());
    World::new().with_directory_feed(&["out"]).with(&format!("[sink.out]\n{sink}\n"))
}

pub fn world(splunk: &Splunk, keys: &str) -> World {
    world_of(splunk, &format!("token = \"env:HEC\"\nencoding = \"raw\"\n{keys}"))
}

pub fn start(world: &World, expected: &[&'static str]) -> Start {
    world.run(&[]).expecting(expected).with_environment("HEC", TOKEN)
}

pub fn stop(daemon: Daemon) {
    assert!(daemon.stop().success());
}

/// The records that a search finds, as lines of the log.
pub fn searched(splunk: &Splunk) -> Vec<String> {
    splunk.records().iter().map(Value::to_string).collect()
}

/// Records as a search finds them: with the members in the order of a parsed text.
pub fn expected(numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    let parsed = |line: String| serde_json::from_str::<Value>(&line).unwrap().to_string();
    records(numbers).into_iter().map(parsed).collect()
}

pub fn has(splunk: &Splunk, events: usize) {
    eventually("the collector has the events", SOON, || splunk.records().len() >= events);
}

/// Asserts that no record is lost, and that events with the same `auditferry_uid` are equal, their batch included.
fn assert_none_lost_and_repeats_alike(splunk: &Splunk, numbers: std::ops::Range<u64>) {
    let there = counted(&searched(splunk));
    let lost = missing(&counted(&expected(numbers.clone())), &there);
    assert!(lost.is_empty(), "{} are lost", lost.len());
    let mut known: BTreeMap<String, Value> = BTreeMap::new();
    for event in splunk.events() {
        let uid = event["fields"]["auditferry_uid"].as_str().unwrap().to_owned();
        let before = known.insert(uid, event.clone());
        assert!(before.is_none_or(|before| before == event), "a repeat is another event");
    }
    assert_eq!(known.len() as u64, numbers.end - numbers.start, "each record has one uid");
}

pub fn committed(daemon: &Daemon, events: u32) {
    daemon.counts("auditferry_events_sent_total", &["sink=\"out\""], f64::from(events));
}

#[test]
fn each_event_arrives_once_and_is_committed_once_it_is_indexed() {
    let splunk = Splunk::new();
    splunk.now(|now| now.indexes_at_once = false);
    let keys = "token = \"env:HEC\"\nindex = \"audit\"\nhost = \"lake\"\nsource = \"{feed}\"\nrequest_bytes = 100000\n";
    let world = world_of(&splunk, keys);
    let daemon = start(&world, &[]).ready();
    world.write("a.json", &object(&records(0..300)));
    world.write("b.json", &object(&records(300..400)));
    has(&splunk, 400);
    assert!(daemon.metric("auditferry_events_sent_total", &["sink=\"out\""]) < 1.0, "nothing is indexed yet");
    splunk.index_all();
    committed(&daemon, 400);
    stop(daemon);
    let events = splunk.events();
    assert_eq!(events.len(), 400);
    let uids: BTreeSet<&str> = events.iter().map(|event| event["fields"]["auditferry_uid"].as_str().unwrap()).collect();
    assert_eq!(uids.len(), 400);
    for event in &events {
        assert_eq!(event["fields"]["auditferry_uid"], event["event"]["metadata"]["uid"]);
        assert_eq!(event["sourcetype"], "ocsf:api_activity");
        assert_eq!(
            (&event["index"], &event["host"], &event["source"]),
            (&"audit".into(), &"lake".into(), &"audit".into())
        );
        assert_eq!(event["time"].as_f64().unwrap() * 1000.0, event["event"]["time"].as_f64().unwrap());
    }
    let requests = splunk.receiver.taken();
    let sent: Vec<_> = requests.iter().filter(|request| request.target.ends_with("/event")).collect();
    assert!(sent.iter().all(|request| request.text().len() <= 100_000 && request.text().starts_with("{\"time\":")));
    assert!(sent.iter().all(|request| request.header("content-encoding") == Some("gzip")));
}

#[test]
fn what_was_indexed_while_the_process_was_dead_is_not_sent_again() {
    let splunk = Splunk::new();
    splunk.now(|now| now.indexes_at_once = false);
    let world = world(&splunk, "request_bytes = 20000\nlanes = 1");
    let daemon = start(&world, &[]).ready();
    world.write("a.json", &object(&records(0..100)));
    has(&splunk, 100);
    // A further poll shows that the last request's number is in the checkpoint store.
    let (used, asked) = splunk.channels();
    eventually("all are asked about", SOON, || splunk.channels().1.len() > asked.len() + 1);
    daemon.kill();
    splunk.index_all();
    let so_far = splunk.channels().1.len();
    let daemon = start(&world, &[]).ready();
    committed(&daemon, 100);
    stop(daemon);
    assert_once_each(&searched(&splunk), &expected(0..100));
    assert_eq!(splunk.channels().1[so_far], used[0], "the channel of before is asked first");
    assert_eq!(splunk.awaited(), 0);
}

#[test]
fn what_was_said_to_be_indexed_before_a_crash_is_not_sent_again_though_splunk_says_it_once() {
    let splunk = Splunk::new();
    splunk.now(|now| now.indexes_at_once = false);
    let world = world(&splunk, "request_bytes = 20000\nlanes = 1");
    let daemon = start(&world, &[]).ready();
    world.write("a.json", &object(&records(0..100)));
    has(&splunk, 100);
    let all = splunk.awaited();
    assert!(all > 2, "{all}");
    splunk.index(|number| number > 0);
    eventually("the others are told", SOON, || splunk.awaited() == 1);
    let asked = splunk.channels().1.len();
    // The next poll shows that the answers to the one before are in the checkpoint store.
    eventually("the first is asked about again", SOON, || splunk.channels().1.len() > asked);
    daemon.kill();
    splunk.index_all();
    let daemon = start(&world, &[]).ready();
    committed(&daemon, 100);
    stop(daemon);
    assert_once_each(&searched(&splunk), &expected(0..100));
}

#[test]
fn what_was_sent_and_not_answered_before_a_crash_comes_again_alike() {
    let splunk = Splunk::new();
    splunk.now(|now| now.is_silent = true);
    let world = world(&splunk, "request_bytes = 20000");
    let daemon = start(&world, &[]).at_work();
    world.write("a.json", &object(&records(0..60)));
    has(&splunk, 60);
    daemon.kill();
    splunk.now(|now| now.is_silent = false);
    let daemon = start(&world, &[]).ready();
    committed(&daemon, 60);
    stop(daemon);
    assert_eq!(splunk.records().len(), 120);
    assert_none_lost_and_repeats_alike(&splunk, 0..60);
}

#[test]
fn what_a_collector_lost_in_a_restart_is_sent_again() {
    let splunk = Splunk::new();
    splunk.now(|now| now.indexes_at_once = false);
    let world = world(&splunk, "acknowledged_within = \"10s\"\nlanes = 1");
    let daemon = start(&world, &[IS_LOST]).ready();
    world.write("a.json", &object(&records(0..50)));
    has(&splunk, 50);
    splunk.lose_all();
    splunk.now(|now| now.indexes_at_once = true);
    committed(&daemon, 50);
    stop(daemon);
    assert_once_each(&searched(&splunk), &expected(0..50));
}

#[test]
fn a_number_that_a_restarted_collector_gives_once_more_acknowledges_nothing_of_before() {
    let splunk = Splunk::new();
    splunk.now(|now| now.indexes_at_once = false);
    let world = world(&splunk, "acknowledged_within = \"1h\"\nlanes = 1");
    let daemon = start(&world, &[IS_LOST, IS_AWAY[0]]).ready();
    world.write("a.json", &object(&records(0..50)));
    has(&splunk, 50);
    splunk.lose_all();
    splunk.now(|now| now.indexes_at_once = true);
    world.write("b.json", &object(&records(50..80)));
    committed(&daemon, 80);
    stop(daemon);
    assert_none_lost_and_repeats_alike(&splunk, 0..80);
}

/// The window counts events that are sent and not yet indexed.
#[test]
fn a_collector_that_indexes_nothing_is_sent_no_more_than_the_window_holds() {
    let splunk = Splunk::new();
    splunk.now(|now| now.indexes_at_once = false);
    let world = world(&splunk, "lanes = 1\nbatch = { bytes = 20000 }");
    let daemon = start(&world, &[]).at_work();
    // Every batch has at least one part, of about 1.5 MiB.
    let agent = "x".repeat(8000);
    let long: Vec<String> = (0..1500).map(|n| record(n).replace("curl/7.64.1", &agent)).collect();
    world.write("a.json", &object(&long));
    eventually("it is asked again and again", SOON, || splunk.channels().1.len() > 8);
    let sent = splunk.records().len();
    assert!((1..1000).contains(&sent), "{sent} of 1500 were sent");
    splunk.now(|now| now.indexes_at_once = true);
    splunk.index_all();
    committed(&daemon, 1500);
    stop(daemon);
    assert_eq!(counted(&searched(&splunk)).values().copied().collect::<Vec<u64>>(), [1; 1500]);
}

#[test]
fn a_collector_that_is_away_gets_each_event_once_it_is_back() {
    let splunk = Splunk::new();
    splunk.now(|now| now.is_down = true);
    let world = world(&splunk, "").impatient();
    let daemon = start(&world, &IS_AWAY).at_work();
    world.write("a.json", &object(&records(0..30)));
    eventually("the collector was tried", SOON, || splunk.receiver.requests().len() >= 3);
    splunk.now(|now| now.is_down = false);
    committed(&daemon, 30);
    stop(daemon);
    assert_once_each(&searched(&splunk), &expected(0..30));
}

#[test]
fn a_collector_is_sent_to_over_tls_with_a_root_of_its_own() {
    let splunk = Splunk::over_tls();
    let world = world(&splunk, &format!("tls = {{ ca = {:?} }}", root()));
    let daemon = start(&world, &[]).ready();
    world.write("a.json", &object(&records(0..3)));
    committed(&daemon, 3);
    stop(daemon);
    assert_once_each(&searched(&splunk), &expected(0..3));
}

#[test]
fn an_event_with_line_ends_and_quotes_stays_one_event() {
    for encoding in ["raw", "ocsf", "ecs"] {
        let splunk = Splunk::new();
        let world = world_of(&splunk, &format!("token = \"env:HEC\"\nencoding = {encoding:?}"));
        let daemon = start(&world, &[]).ready();
        let agent = r#"a\r\nb\"c\u2028d\u0000"#.to_owned() + "\u{2028}\u{85}'}]}{\\\"event\\\":1}";
        let hostile: Vec<String> = (0..3).map(|n| record(n).replace("curl/7.64.1", &agent)).collect();
        world.write("a.json", &object(&hostile));
        committed(&daemon, 3);
        stop(daemon);
        let events = splunk.records();
        assert_eq!(events.len(), 3, "{encoding}");
        let pointer = match encoding {
            "raw" => "/userAgent",
            "ocsf" => "/http_request/user_agent",
            _ => "/user_agent/original",
        };
        let expected = "a\r\nb\"c\u{2028}d\0\u{2028}\u{85}'}]}{\"event\":1}";
        assert_eq!(events[0].pointer(pointer).and_then(Value::as_str), Some(expected), "{encoding}: {}", events[0]);
    }
}

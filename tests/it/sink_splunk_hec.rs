//! What the sink to Splunk promises, by the real process against a collector on this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use super::quarantine::listed;
use super::support::daemon::{Daemon, Start};
use super::support::receiver::root;
use super::support::records::{assert_once_each, counted, missing, object, record, records};
use super::support::splunk::{Splunk, TOKEN};
use super::support::waiting::{SOON, eventually};
use super::support::world::World;

/// What a log may say of a collector that is away.
const IS_AWAY: [&str; 2] = ["a batch was not delivered", "going on without a sink"];
const IS_PARKED: &str = "the sink is parked";
const IS_LOST: &str = "does not acknowledge them; sending them again";

/// A directory, delivering to `splunk` with these keys beside its URL and token.
fn world_of(splunk: &Splunk, keys: &str) -> World {
    let sink = format!("type = \"splunk_hec\"\nurl = \"{}\"\n{keys}", splunk.receiver.url());
    World::new().with_directory_feed(&["out"]).with(&format!("[sink.out]\n{sink}\n"))
}

fn world(splunk: &Splunk, keys: &str) -> World {
    world_of(splunk, &format!("token = \"env:HEC\"\nencoding = \"raw\"\n{keys}"))
}

fn start(world: &World, expected: &[&'static str]) -> Start {
    world.run(&[]).expecting(expected).with_environment("HEC", TOKEN)
}

fn stop(daemon: Daemon) {
    assert!(daemon.stop().success());
}

/// The records that can be searched, as lines of the log.
fn searched(splunk: &Splunk) -> Vec<String> {
    splunk.records().iter().map(Value::to_string).collect()
}

/// As they come out of the collector: the same members in the order of a parsed text.
fn expected(numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    let parsed = |line: String| serde_json::from_str::<Value>(&line).unwrap().to_string();
    records(numbers).into_iter().map(parsed).collect()
}

fn has(splunk: &Splunk, events: usize) {
    eventually("the collector has the events", SOON, || splunk.records().len() >= events);
}

/// Each of them is there, and those that are there twice have one `auditferry_uid` and one batch.
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

fn committed(daemon: &Daemon, events: u32) {
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
    // Written down: the last answer was followed by a question about it.
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
    // The next question comes after the answers to the one before were written down.
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

#[test]
fn a_collector_that_acknowledges_nothing_is_sent_nothing_and_that_is_told() {
    let splunk = Splunk::new();
    splunk.now(|now| now.acknowledges = false);
    let acknowledged = world(&splunk, "");
    let daemon = start(&acknowledged, &[IS_PARKED, IS_AWAY[1]]).at_work();
    acknowledged.write("a.json", &object(&records(0..3)));
    eventually("the sink is parked", SOON, || daemon.says(IS_PARKED) > 0);
    let told = daemon.log.entries().into_iter().find(|entry| entry.message.contains(IS_PARKED)).unwrap();
    let error = told.field("error").unwrap();
    assert!(error.contains("turn on indexer acknowledgement for the token, or set `acknowledge = false`"), "{error}");
    assert!(error.contains("ACK is disabled"), "{error}");
    assert!(splunk.records().is_empty());
    splunk.now(|now| now.acknowledges = true);
    committed(&daemon, 3);
    stop(daemon);
    splunk.now(|now| now.acknowledges = false);
    let unacknowledged = world(&splunk, "acknowledge = false");
    let daemon = start(&unacknowledged, &[]).ready();
    unacknowledged.write("a.json", &object(&records(3..6)));
    committed(&daemon, 3);
    stop(daemon);
    assert_once_each(&searched(&splunk), &expected(0..6));
}

#[test]
fn an_event_that_is_refused_goes_to_quarantine_and_the_others_arrive_once() {
    let splunk = Splunk::new();
    splunk.now(|now| (now.acknowledges, now.refuses) = (false, Some("request-37\"")));
    let world = world(&splunk, "acknowledge = false");
    let daemon = start(&world, &["the sink refuses events for ever"]).ready();
    world.write("a.json", &object(&records(0..100)));
    committed(&daemon, 99);
    daemon.counts("auditferry_records_quarantined_total", &["kind=\"event\""], 1.0);
    let told = daemon.log.entries().into_iter().find(|entry| entry.message.contains("refuses events")).unwrap();
    assert_eq!(told.field("reason").unwrap(), "invalid data format (code 6)");
    let entries = listed(&world);
    let listed: Vec<_> = entries.iter().map(|entry| (&entry["sink"], &entry["place"], &entry["reason"])).collect();
    assert_eq!(listed, [(&"out".into(), &37.into(), &"invalid data format (code 6)".into())]);
    stop(daemon);
    assert_once_each(&searched(&splunk), &expected((0..100).filter(|number| *number != 37)));
}

#[test]
fn with_acknowledgement_what_stood_before_a_refused_event_is_sent_again_to_be_acknowledged() {
    let splunk = Splunk::new();
    splunk.now(|now| now.refuses = Some("request-37\""));
    let world = world(&splunk, "lanes = 1");
    let daemon = start(&world, &["the sink refuses events for ever"]).ready();
    world.write("a.json", &object(&records(0..100)));
    committed(&daemon, 99);
    daemon.counts("auditferry_records_quarantined_total", &["kind=\"event\""], 1.0);
    stop(daemon);
    let there = counted(&searched(&splunk));
    assert_eq!(missing(&counted(&expected((0..100).filter(|number| *number != 37))), &there), BTreeMap::new());
    assert_eq!(there.values().sum::<u64>(), 99 + 37, "those before it, once more");
}

#[test]
fn of_a_request_that_a_busy_collector_read_in_part_only_the_tail_is_sent_again() {
    let splunk = Splunk::new();
    splunk.now(|now| (now.acknowledges, now.busy_after) = (false, Some(40)));
    let world = world(&splunk, "acknowledge = false\nlanes = 1\nin_flight = 1");
    let daemon = start(&world, &IS_AWAY).at_work();
    world.write("a.json", &object(&records(0..100)));
    has(&splunk, 100);
    committed(&daemon, 100);
    stop(daemon);
    assert_once_each(&searched(&splunk), &expected(0..100));
    let sent: Vec<usize> = splunk.receiver.requests().iter().map(|request| request.lines().len()).collect();
    assert_eq!(sent, [100, 60, 20]);
}

#[test]
fn where_most_events_are_refused_none_is_given_up_and_the_sink_is_parked() {
    let splunk = Splunk::new();
    splunk.now(|now| (now.acknowledges, now.refuses) = (false, Some("request-")));
    let world = world(&splunk, "acknowledge = false");
    let daemon = start(&world, &[IS_PARKED, IS_AWAY[1]]).at_work();
    world.write("a.json", &object(&records(0..100)));
    eventually("the sink is parked", SOON, || daemon.says(IS_PARKED) > 0);
    let told = daemon.log.entries().into_iter().find(|entry| entry.message.contains(IS_PARKED)).unwrap();
    let error = told.field("error").unwrap();
    assert_eq!(error, "the sink needs mending: it refuses most of what it is sent: invalid data format (code 6)");
    assert!(daemon.metric("auditferry_records_quarantined_total", &["kind=\"event\""]) < 1.0);
    splunk.now(|now| now.refuses = None);
    committed(&daemon, 100);
    stop(daemon);
    assert_once_each(&searched(&splunk), &expected(0..100));
}

/// Whether an index is allowed is known of each event: those before it are taken, and no probe repeats them.
#[test]
fn an_index_that_the_token_does_not_allow_parks_the_sink_and_what_came_before_is_not_sent_with_each_probe() {
    for acknowledge in [true, false] {
        let splunk = Splunk::new();
        splunk.now(|now| (now.acknowledges, now.forbids) = (acknowledge, Some("a-authentication")));
        let keys = format!("acknowledge = {acknowledge}\nlanes = 1\nin_flight = 1\nindex = \"a-{{class}}\"");
        let world = world(&splunk, &keys);
        let daemon = start(&world, &[IS_PARKED, IS_AWAY[1]]).at_work();
        let login = |line: String| {
            line.replace(r#""clusters","actionName":"create""#, r#""accounts","actionName":"tokenLogin""#)
        };
        let lines: Vec<String> = (0..40).map(|n| if n == 30 { login(record(n)) } else { record(n) }).collect();
        world.write("a.json", &object(&lines));
        eventually("the sink is parked", SOON, || daemon.says(IS_PARKED) > 0);
        let told = daemon.log.entries().into_iter().find(|entry| entry.message.contains(IS_PARKED)).unwrap();
        assert!(told.field("error").unwrap().contains("the token does not allow the index"), "{told:?}");
        let metric = || daemon.metric("auditferry_sink_batches_total", &["outcome=\"misconfigured\""]);
        eventually("it is probed", SOON, || metric() >= 2.0);
        splunk.now(|now| now.forbids = None);
        committed(&daemon, 40);
        stop(daemon);
        let there = counted(&searched(&splunk));
        assert_eq!(there.len(), 40);
        let most = there.values().max().copied().unwrap();
        // Splunk gives no number for the beginning of a request: it is sent again, in halves, to be acknowledged.
        assert!(most <= if acknowledge { 4 } else { 1 }, "{acknowledge}: {most}");
    }
}

#[test]
fn a_collector_that_indexes_nothing_is_sent_no_more_than_the_window_holds() {
    let splunk = Splunk::new();
    splunk.now(|now| now.indexes_at_once = false);
    let world = world(&splunk, "lanes = 1\nbatch = { bytes = 20000 }");
    let daemon = start(&world, &[]).at_work();
    // A batch has one part at least, of about 1.5 MiB.
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
fn a_token_with_acknowledgement_is_not_sent_to_without_and_that_is_told() {
    let splunk = Splunk::new();
    let world = world(&splunk, "acknowledge = false");
    let daemon = start(&world, &[IS_PARKED, IS_AWAY[1]]).at_work();
    world.write("a.json", &object(&records(0..3)));
    eventually("the sink is parked", SOON, || daemon.says(IS_PARKED) > 0);
    let told = daemon.log.entries().into_iter().find(|entry| entry.message.contains(IS_PARKED)).unwrap();
    assert!(told.field("error").unwrap().contains("set `acknowledge = true`"), "{told:?}");
    splunk.now(|now| now.acknowledges = false);
    committed(&daemon, 3);
    stop(daemon);
    assert_once_each(&searched(&splunk), &expected(0..3));
}

#[test]
fn a_wrong_token_parks_the_sink_until_the_right_one_is_there() {
    let splunk = Splunk::new();
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    fs::write(&token, "old-token\n").unwrap();
    let world = world_of(&splunk, &format!("token = \"file:{}\"\nencoding = \"raw\"", token.display()));
    let daemon = start(&world, &[IS_PARKED, IS_AWAY[1]]).at_work();
    world.write("a.json", &object(&records(0..3)));
    eventually("the sink is parked", SOON, || daemon.says(IS_PARKED) > 0);
    let told = daemon.log.entries().into_iter().find(|entry| entry.message.contains(IS_PARKED)).unwrap();
    let error = told.field("error").unwrap();
    assert!(error.contains("look at the token") && error.contains("Invalid token"), "{error}");
    fs::write(&token, TOKEN).unwrap();
    committed(&daemon, 3);
    let log = daemon.log.clone();
    stop(daemon);
    assert_once_each(&searched(&splunk), &expected(0..3));
    assert!(!log.text().contains("old-token") && !log.text().contains(TOKEN));
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

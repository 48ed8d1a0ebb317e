//! What a sink to Splunk does if the collector refuses an event, most events, an index, a token, or to acknowledge.

use std::collections::BTreeMap;
use std::fs;

use super::quarantine::listed;
use super::sink_splunk_hec::{IS_AWAY, IS_PARKED, committed, expected, has, searched, start, stop, world, world_of};
use super::support::daemon::Daemon;
use super::support::records::{assert_once_each, counted, missing, object, record, records};
use super::support::splunk::{Splunk, TOKEN};
use super::support::waiting::{SOON, eventually};

/// Waits until the sink is parked; returns why.
fn parked(daemon: &Daemon) -> String {
    eventually("the sink is parked", SOON, || daemon.says(IS_PARKED) > 0);
    let told = daemon.log.entries().into_iter().find(|entry| entry.message.contains(IS_PARKED)).unwrap();
    told.field("error").unwrap().to_owned()
}

#[test]
fn a_collector_that_acknowledges_nothing_is_sent_nothing_and_that_is_told() {
    let splunk = Splunk::new();
    splunk.now(|now| now.acknowledges = false);
    let acknowledged = world(&splunk, "");
    let daemon = start(&acknowledged, &[IS_PARKED, IS_AWAY[1]]).at_work();
    acknowledged.write("a.json", &object(&records(0..3)));
    let error = parked(&daemon);
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
    let error = parked(&daemon);
    assert_eq!(error, "the sink needs mending: it refuses most of what it is sent: invalid data format (code 6)");
    assert!(daemon.metric("auditferry_records_quarantined_total", &["kind=\"event\""]) < 1.0);
    splunk.now(|now| now.refuses = None);
    committed(&daemon, 100);
    stop(daemon);
    assert_once_each(&searched(&splunk), &expected(0..100));
}

/// Splunk judges the index of each event: it takes the events before a forbidden one, and no probe repeats them.
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
        let error = parked(&daemon);
        assert!(error.contains("the token does not allow the index"), "{error}");
        let metric = || daemon.metric("auditferry_sink_batches_total", &["outcome=\"misconfigured\""]);
        eventually("it is probed", SOON, || metric() >= 2.0);
        splunk.now(|now| now.forbids = None);
        committed(&daemon, 40);
        stop(daemon);
        let there = counted(&searched(&splunk));
        assert_eq!(there.len(), 40);
        let most = there.values().max().copied().unwrap();
        // Splunk gives no number for the accepted beginning of a request: to be acknowledged, it is sent again in
        // halves.
        assert!(most <= if acknowledge { 4 } else { 1 }, "{acknowledge}: {most}");
    }
}

#[test]
fn a_token_with_acknowledgement_is_not_sent_to_without_and_that_is_told() {
    let splunk = Splunk::new();
    let world = world(&splunk, "acknowledge = false");
    let daemon = start(&world, &[IS_PARKED, IS_AWAY[1]]).at_work();
    world.write("a.json", &object(&records(0..3)));
    let error = parked(&daemon);
    assert!(error.contains("set `acknowledge = true`"), "{error}");
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
    let error = parked(&daemon);
    assert!(error.contains("look at the token") && error.contains("Invalid token"), "{error}");
    fs::write(&token, TOKEN).unwrap();
    committed(&daemon, 3);
    let log = daemon.log.clone();
    stop(daemon);
    assert_once_each(&searched(&splunk), &expected(0..3));
    assert!(!log.text().contains("old-token") && !log.text().contains(TOKEN));
}

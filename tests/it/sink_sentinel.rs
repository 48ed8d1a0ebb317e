//! The promises of the sink to Microsoft Sentinel, kept by the real process against a small Azure on this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::quarantine::listed;
use super::support::daemon::{Daemon, Start};
use super::support::receiver::{Answer, root};
use super::support::records::{object, record, records};
use super::support::sentinel::{Azure, SECRET};
use super::support::waiting::{SOON, eventually};
use super::support::world::{KEY, World};

/// What the log may say while a receiver is away.
pub(super) const IS_AWAY: [&str; 2] = ["a batch was not delivered", "going on without a sink"];
pub(super) const IS_PARKED: &str = "the sink is parked";
const IS_REFUSED: &str = "the sink refuses events for ever";

const OCSF: &str = include_str!("../../deploy/sentinel/ocsf.json");
pub(super) const RAW: &str = include_str!("../../deploy/sentinel/raw.json");
const DATABRICKS: &str = include_str!("../../deploy/sentinel/databricks.json");

pub(super) const RAW_STREAM: &str = "Custom-AuditferryRaw_CL";

/// A directory feed that sends its events to the stream.
fn world(azure: &Azure, stream: &str, keys: &str) -> World {
    world_of(&format!("{}{keys}", azure.keys("sentinel", stream)))
}

/// A directory feed that sends raw records.
pub(super) fn raw(azure: &Azure, keys: &str) -> World {
    world(azure, RAW_STREAM, &format!("encoding = \"raw\"\n{keys}"))
}

pub(super) fn world_of(keys: &str) -> World {
    World::new().with_directory_feed(&["out"]).with(&format!("[sink.out]\n{keys}\n"))
}

pub(super) fn start(world: &World, expected: &[&'static str]) -> Start {
    world.run(&[]).with_environment("SECRET", SECRET).expecting(expected)
}

pub(super) fn stop(daemon: Daemon) {
    assert!(daemon.stop().success());
}

pub(super) fn takes(azure: &Azure, rows: usize) {
    eventually("the receiver has the rows", SOON, || azure.rows().len() >= rows);
}

/// How often each record came, by its request id.
pub(super) fn requests(rows: &[Value]) -> BTreeMap<String, usize> {
    let mut requests = BTreeMap::new();
    for row in rows {
        let record: Value = serde_json::from_str(row["record"].as_str().unwrap()).unwrap();
        *requests.entry(record["requestId"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    requests
}

pub(super) fn once_each(numbers: impl IntoIterator<Item = u64>) -> BTreeMap<String, usize> {
    numbers.into_iter().map(|n| (format!("request-{n}"), 1)).collect()
}

/// Waits until the log says why the sink is parked or refuses events; returns that reason.
pub(super) fn told(daemon: &Daemon, message: &str, field: &str) -> String {
    eventually("it is told", SOON, || daemon.says(message) > 0);
    let entry = daemon.log.entries().into_iter().find(|entry| entry.message.contains(message)).unwrap();
    entry.field(field).unwrap().to_owned()
}

#[test]
fn each_event_is_one_row_of_the_stream_that_is_shipped() {
    for (template, stream, keys) in
        [(OCSF, "Custom-AuditferryOcsf_CL", ""), (RAW, RAW_STREAM, "encoding = \"raw\"\ncompression = \"none\"\n")]
    {
        let azure = Azure::with(template);
        let world = world(&azure, stream, &format!("{keys}request_events = 1000\n"));
        let daemon = start(&world, &[]).ready();
        world.write("a.json", &object(&records(0..2500)));
        world.write("b.json", &object(&records(2500..2600)));
        takes(&azure, 2600);
        let log = daemon.log.clone();
        stop(daemon);
        let rows = azure.rows();
        assert_eq!((rows.len(), azure.dropped()), (2600, BTreeSet::new()), "{stream}");
        let uids: BTreeSet<&str> = rows.iter().map(|row| row["EventUid"].as_str().unwrap()).collect();
        assert_eq!(uids.len(), 2600);
        for row in &rows {
            assert!(row["EventTime"].as_str().unwrap().starts_with("2026-01-01T00:00:0"));
            let uid = row.pointer("/metadata/uid").unwrap_or(&row["uid"]);
            assert_eq!(uid, &row["EventUid"]);
        }
        let sent = azure.monitor.requests();
        assert!(sent.iter().all(|request| request.text().len() <= 1_000_000));
        assert_eq!(sent[0].header("content-type"), Some("application/json"));
        assert_eq!(sent[0].header("content-encoding"), keys.is_empty().then_some("gzip"));
        assert_eq!(azure.entra.requests().len(), 1, "one token serves all lanes");
        assert!(!log.text().contains(SECRET));
    }
}

#[test]
fn requests_stay_below_what_a_call_may_have() {
    let azure = Azure::with(RAW);
    let world = raw(&azure, "request_bytes = 1048576\n");
    let daemon = start(&world, &[]).ready();
    // JSON escapes each quote of a record.
    let quotes = |n: u64| record(n).replace("curl/7.64.1", &"\\\"".repeat(2000));
    world.write("a.json", &object(&(0..1000).map(quotes).collect::<Vec<_>>()));
    takes(&azure, 1000);
    stop(daemon);
    assert_eq!(requests(&azure.rows()), once_each(0..1000));
    assert_eq!(azure.monitor.requests().len(), azure.monitor.taken().len(), "none was too large");
}

#[test]
fn a_process_that_is_killed_before_it_commits_repeats_requests_byte_for_byte() {
    let azure = Azure::with(RAW);
    azure.is_mute(true);
    let world = raw(&azure, "request_events = 20\nlanes = 1\nin_flight = 2\n");
    let daemon = start(&world, &[]).at_work();
    world.write(KEY, &object(&records(0..60)));
    takes(&azure, 40);
    daemon.kill();
    azure.is_mute(false);
    let daemon = start(&world, &[]).ready();
    daemon.counts("auditferry_events_sent_total", &["sink=\"out\""], 60.0);
    stop(daemon);
    let rows = azure.rows();
    let came: Vec<usize> = requests(&rows).into_values().collect();
    assert_eq!(
        (came.len(), came.iter().sum::<usize>()),
        (60, 100),
        "two of three requests came twice, and none is lost"
    );
    let bodies: Vec<Vec<u8>> = azure.monitor.requests().into_iter().map(|request| request.body).collect();
    assert_eq!((bodies.len(), bodies.iter().collect::<BTreeSet<_>>().len()), (5, 3));
    let uids: BTreeSet<&str> = rows.iter().map(|row| row["EventUid"].as_str().unwrap()).collect();
    assert_eq!(uids.len(), 60, "by the uid each event counts once");
}

#[test]
fn an_event_that_the_receiver_refuses_goes_to_quarantine_and_the_others_arrive() {
    let azure = Azure::with(RAW);
    azure.answers(|_, rows| {
        let is_bad = |row: &Value| row["record"].as_str().unwrap().contains("request-37\"");
        rows.iter().any(is_bad).then(|| Answer::says(400, r#"{"error":{"code":"InvalidRecord"}}"#))
    });
    let world = raw(&azure, "");
    let daemon = start(&world, &[IS_REFUSED]).ready();
    world.write(KEY, &object(&records(0..100)));
    takes(&azure, 99);
    daemon.counts("auditferry_records_quarantined_total", &["kind=\"event\""], 1.0);
    assert_eq!(told(&daemon, IS_REFUSED, "reason"), r#"status 400: {"error":{"code":"InvalidRecord"}}"#);
    let entries = listed(&world);
    let shown = ["kind", "sink"].map(|key| entries[0][key].as_str().unwrap());
    assert_eq!((entries.len(), shown, &entries[0]["place"]), (1, ["event", "out"], &json!(37)));
    stop(daemon);
    assert_eq!(requests(&azure.rows()), once_each((0..100).filter(|n| *n != 37)));
}

#[test]
fn a_receiver_that_refuses_all_parks_the_sink_and_nothing_is_quarantined() {
    let azure = Azure::with(RAW);
    azure.answers(|_, _| Some(Answer::says(400, r#"{"error":{"code":"InvalidRecord"}}"#)));
    let world = raw(&azure, "lanes = 1\n").impatient();
    let daemon = start(&world, &[IS_PARKED, IS_AWAY[0], IS_AWAY[1]]).at_work();
    world.write(KEY, &object(&records(0..30)));
    let error = told(&daemon, IS_PARKED, "error");
    assert!(error.contains("it refuses most of what it is sent: status 400"), "{error}");
    assert!(listed(&world).is_empty());
    azure.answers(|_, _| None);
    takes(&azure, 30);
    stop(daemon);
    assert_eq!(requests(&azure.rows()), once_each(0..30));
}

#[test]
fn a_request_that_is_too_large_is_cut_into_smaller_ones() {
    let azure = Azure::with(RAW);
    azure.answers(|_, rows| {
        (rows.len() > 10).then(|| Answer::says(413, r#"{"error":{"code":"ContentLengthLimitExceeded"}}"#))
    });
    let world = raw(&azure, "");
    let daemon = start(&world, &[]).ready();
    world.write(KEY, &object(&records(0..100)));
    takes(&azure, 100);
    stop(daemon);
    assert_eq!(requests(&azure.rows()), once_each(0..100));
}

#[test]
fn a_receiver_that_is_away_gets_each_row_once_it_is_back() {
    let azure = Azure::with(RAW);
    azure.answers(|_, _| Some(Answer::HangUp));
    let world = raw(&azure, "request_events = 10\n").impatient();
    let daemon = start(&world, &IS_AWAY).at_work();
    world.write(KEY, &object(&records(0..30)));
    eventually("the receiver was tried", SOON, || azure.monitor.requests().len() >= 3);
    azure.answers(|_, _| Some(Answer::says(503, "starting")));
    let so_far = azure.monitor.requests().len();
    eventually("the receiver was tried", SOON, || azure.monitor.requests().len() > so_far);
    azure.answers(|_, _| None);
    takes(&azure, 30);
    stop(daemon);
    assert_eq!(requests(&azure.rows()), once_each(0..30));
}

#[test]
fn a_receiver_that_asks_for_a_wait_is_not_asked_before() {
    let azure = Azure::with(RAW);
    let times = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&times);
    azure.answers(move |_, _| {
        let mut seen = seen.lock().unwrap();
        seen.push(Instant::now());
        (seen.len() == 1).then(|| Answer::status(429).with("Retry-After", "3"))
    });
    let world = raw(&azure, "");
    let daemon = start(&world, &IS_AWAY).at_work();
    world.write(KEY, &object(&records(0..3)));
    takes(&azure, 3);
    stop(daemon);
    let times = times.lock().unwrap();
    assert!(times[1] - times[0] >= Duration::from_secs(3), "{:?}", times[1] - times[0]);
}

#[test]
fn a_rule_that_is_not_there_parks_the_sink() {
    let azure = Azure::with(RAW);
    for (from, to, word) in [
        ("dcr-00112233445566778899aabbccddeeff", "dcr-ffeeddccbbaa99887766554433221100", "status 404"),
        (RAW_STREAM, "Custom-Other_CL", "InvalidStream"),
    ] {
        let world = world_of(&format!("{}encoding = \"raw\"\n", azure.keys("sentinel", RAW_STREAM).replace(from, to)));
        let daemon = start(&world, &[IS_PARKED, IS_AWAY[1]]).at_work();
        world.write(KEY, &object(&records(0..3)));
        let error = told(&daemon, IS_PARKED, "error");
        assert!(error.contains(word), "{error}");
        assert!(listed(&world).is_empty());
        stop(daemon);
    }
    assert!(azure.rows().is_empty());
}

#[test]
fn a_receiver_and_its_entra_are_trusted_by_the_configured_authority_alone() {
    let azure = Azure::over_tls(RAW);
    let trusting = raw(&azure, &format!("tls = {{ ca = {:?} }}\n", root()));
    let daemon = start(&trusting, &[]).ready();
    trusting.write(KEY, &object(&records(0..3)));
    takes(&azure, 3);
    stop(daemon);
    let doubting = raw(&azure, "");
    let daemon = start(&doubting, &[IS_PARKED, IS_AWAY[1]]).at_work();
    doubting.write(KEY, &object(&records(3..6)));
    let error = told(&daemon, IS_PARKED, "error");
    assert!(error.starts_with("the sink needs mending: TLS fails: invalid peer certificate"), "{error}");
    stop(daemon);
    assert_eq!(requests(&azure.rows()), once_each(0..3));
}

#[test]
fn databricks_records_are_rows_of_microsofts_table_with_the_object_they_are_of() {
    let azure = Azure::with(DATABRICKS);
    let keys = azure.keys("sentinel_databricks", "").replace("stream = \"\"\n", "");
    let world = world_of(&keys);
    let daemon = start(&world, &[]).ready();
    let long = record(1).replace("curl/7.64.1", &"x".repeat(100_000));
    world.write(KEY, &object(&[record(0), long, record(2)]));
    takes(&azure, 3);
    stop(daemon);
    let request = &azure.monitor.requests()[0];
    assert!(request.target.contains("/streams/Custom-DatabricksAudit_CL?"), "{}", request.target);
    let rows = azure.rows();
    assert_eq!(azure.dropped(), BTreeSet::new());
    let ids: Vec<&str> = rows.iter().map(|row| row["RequestId"].as_str().unwrap()).collect();
    assert_eq!(ids, ["request-0", "request-1", "request-2"]);
    for row in &rows {
        assert_eq!([&row["ServiceName"], &row["S3Key"]], ["clusters", KEY]);
        assert!(row["S3Bucket"].as_str().unwrap().starts_with('/'), "the feed is a directory");
        assert_eq!(row["EventUid"].as_str().unwrap().len(), 36);
    }
    let cut = rows[1]["UserAgent"].as_str().unwrap();
    assert!(cut.len() <= 64_000 && cut.ends_with("xxx... [cut from 100000 bytes]"), "{}", cut.len());
    assert_eq!(rows[0]["UserAgent"], "curl/7.64.1");
}

#[test]
fn a_sink_that_is_tested_sends_one_marked_row() {
    for (template, kind, stream) in [
        (OCSF, "sentinel", "Custom-AuditferryOcsf_CL"),
        (DATABRICKS, "sentinel_databricks", "Custom-DatabricksAudit_CL"),
    ] {
        let azure = Azure::with(template);
        let world = world_of(&azure.keys(kind, stream));
        let _ = world.run(&[]);
        let config = world.path("auditferry.toml");
        let mut command = Command::new(env!("CARGO_BIN_EXE_auditferry"));
        command.args(["sink", "test", "--config", config.to_str().unwrap(), "out"]).env("SECRET", SECRET);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let rows = azure.rows();
        assert_eq!((rows.len(), azure.dropped()), (1, BTreeSet::new()), "{kind}");
        assert!(rows[0].to_string().contains("auditferrySinkTest"), "{}", rows[0]);
    }
}

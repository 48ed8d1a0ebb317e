//! The promises of the sink to Elasticsearch and OpenSearch, kept by the real process against noida-db and
//! osmem-server, and against a stand-in for failures that these two cannot be made to show.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::quarantine::{listed, requeue_all};
use super::support::aws::fresh;
use super::support::daemon::{Daemon, Start};
use super::support::elasticsearch::{Elasticsearch, error};
use super::support::emulator::{Emulator, noida, osmem};
use super::support::http::request;
use super::support::receiver::{Answer, root};
use super::support::records::{object, record, records};
use super::support::waiting::{SOON, eventually};
use super::support::world::World;

/// What the log may say while a receiver is away.
const IS_AWAY: [&str; 2] = ["a batch was not delivered", "going on without a sink"];
const IS_PARKED: &str = "the sink is parked";
const IS_REFUSED: &str = "the sink refuses events for ever";

/// A directory feed with a sink to `url` that has these keys.
fn world(url: &str, keys: &str) -> World {
    let sink = format!("type = \"elasticsearch\"\nurl = \"{url}\"\n{keys}");
    World::new().with_directory_feed(&["out"]).with(&format!("[sink.out]\n{sink}\n"))
}

fn of(receiver: &Elasticsearch, keys: &str) -> World {
    world(&receiver.receiver.url(), &format!("encoding = \"raw\"\n{keys}"))
}

const INDEX: &str = "index = \"audit-{date}\"\n";

fn start(world: &World, expected: &[&'static str]) -> Start {
    world.run(&[]).expecting(expected)
}

fn stop(daemon: Daemon) {
    assert!(daemon.stop().success());
}

fn ask(receiver: &Emulator, method: &str, target: &str, body: &str) -> Value {
    let headers = [("Content-Type", "application/json")];
    let reply = request(receiver.address, method, target, &headers, body.as_bytes()).unwrap();
    serde_json::from_str(&reply.text()).unwrap_or(Value::Null)
}

/// The number of documents in the indexes of this pattern.
fn count(receiver: &Emulator, pattern: &str) -> u64 {
    ask(receiver, "POST", &format!("/{pattern}/_refresh"), "");
    ask(receiver, "GET", &format!("/{pattern}/_count"), "")["count"].as_u64().unwrap_or_default()
}

/// Index, id and source of each document in the indexes of this pattern.
fn documents(receiver: &Emulator, pattern: &str) -> Vec<(String, String, Value)> {
    ask(receiver, "POST", &format!("/{pattern}/_refresh"), "");
    let found = ask(receiver, "GET", &format!("/{pattern}/_search?size=10000"), "");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let hits = found["hits"]["hits"].as_array().unwrap();
    hits.iter().map(|hit| (text(&hit["_index"]), text(&hit["_id"]), hit["_source"].clone())).collect()
}

fn comes_to(receiver: &Emulator, pattern: &str, events: u64) {
    eventually("the receiver has the events", SOON, || count(receiver, pattern) >= events);
}

/// How often the stand-in has each record, by the record's request id.
fn stored(receiver: &Elasticsearch) -> BTreeMap<String, usize> {
    let mut stored = BTreeMap::new();
    for document in receiver.documents().into_values() {
        *stored.entry(document["requestId"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    stored
}

fn once_each(numbers: impl IntoIterator<Item = u64>) -> BTreeMap<String, usize> {
    numbers.into_iter().map(|n| (format!("request-{n}"), 1)).collect()
}

fn takes(receiver: &Elasticsearch, events: usize) {
    eventually("the receiver has the events", SOON, || receiver.documents().len() >= events);
}

/// Waits until the log says why the sink is parked or refuses events; returns that reason.
fn told(daemon: &Daemon, message: &str, field: &str) -> String {
    eventually("it is told", SOON, || daemon.says(message) > 0);
    let entry = daemon.log.entries().into_iter().find(|entry| entry.message.contains(message)).unwrap();
    entry.field(field).unwrap().to_owned()
}

#[test]
fn each_event_is_one_document_of_its_days_index_under_the_template_that_is_shipped() {
    for (receiver, folder) in [(noida(), "elasticsearch"), (osmem(), "opensearch")] {
        for (encoding, uid) in [("ocsf", "/metadata/uid"), ("ecs", "/event/id")] {
            let shipped = format!("{}/deploy/{folder}/{encoding}.json", env!("CARGO_MANIFEST_DIR"));
            let template = fs::read_to_string(shipped).unwrap();
            let installed = ask(receiver, "PUT", &format!("/_index_template/auditferry-{encoding}"), &template);
            assert_eq!(installed["acknowledged"], true, "{installed}");
            let name = format!("auditferry-{encoding}-{}", fresh("x").to_lowercase());
            let keys = format!("index = \"{name}-{{date}}\"\nencoding = {encoding:?}\nrequest_events = 500\n");
            let world = world(&receiver.url(), &keys);
            let daemon = start(&world, &[]).ready();
            world.write("a.json", &object(&records(0..2500)));
            world.write("b.json", &object(&records(2500..2600)));
            comes_to(receiver, &format!("{name}-*"), 2600);
            stop(daemon);
            let documents = documents(receiver, &format!("{name}-*"));
            assert_eq!(documents.len(), 2600, "{folder} {encoding}");
            let mut ids = BTreeSet::new();
            for (index, id, document) in documents {
                assert_eq!(index, format!("{name}-2026.01.01"));
                assert_eq!(document.pointer(uid).and_then(Value::as_str), Some(&*id));
                assert!(document["@timestamp"].as_str().unwrap().starts_with("2026-01-01T00:00:0"));
                ids.insert(id);
            }
            assert_eq!(ids.len(), 2600);
        }
    }
}

#[test]
fn a_process_that_is_killed_again_and_again_stores_each_event_once() {
    let receiver = noida();
    let name = fresh("killed").to_lowercase();
    let world = world(&receiver.url(), &format!("index = \"{name}\"\nencoding = \"raw\"\nrequest_events = 100\n"));
    for n in 0..4 {
        world.write(&format!("{n}.json"), &object(&records(n * 2000..(n + 1) * 2000)));
        let daemon = start(&world, &[]).at_work();
        comes_to(receiver, &name, n * 2000 + 1);
        daemon.kill();
    }
    let daemon = start(&world, &[]).ready();
    comes_to(receiver, &name, 8000);
    stop(daemon);
    let documents = documents(receiver, &name);
    let numbers: BTreeSet<String> =
        documents.iter().map(|(_, _, document)| document["requestId"].as_str().unwrap().to_owned()).collect();
    assert_eq!((documents.len(), numbers.len()), (8000, 8000));
}

#[test]
fn a_request_whose_answer_was_lost_is_sent_again_with_the_same_bytes_and_conflicts_are_success() {
    let receiver = Elasticsearch::new();
    receiver.is_mute(true);
    let world = of(&receiver, &format!("{INDEX}request_events = 20\nlanes = 1\n"));
    let daemon = start(&world, &[]).at_work();
    world.write("a.json", &object(&records(0..60)));
    takes(&receiver, 40);
    daemon.kill();
    receiver.is_mute(false);
    let daemon = start(&world, &[]).ready();
    daemon.counts("auditferry_events_sent_total", &["sink=\"out\""], 60.0);
    stop(daemon);
    assert_eq!(stored(&receiver), once_each(0..60));
    let bodies: Vec<Vec<u8>> = receiver.receiver.requests().into_iter().map(|request| request.body).collect();
    let distinct: BTreeSet<&Vec<u8>> = bodies.iter().collect();
    assert_eq!((bodies.len(), distinct.len()), (5, 3), "two of three requests are sent twice, byte for byte");
}

#[test]
fn an_event_that_the_mapping_refuses_goes_to_quarantine_and_the_others_are_stored() {
    for receiver in [noida(), osmem()] {
        let name = fresh("refusing").to_lowercase();
        let mapping = json!({"mappings": {"properties": {"sessionId": {"type": "date"}}}}).to_string();
        ask(receiver, "PUT", &format!("/{name}"), &mapping);
        let world = world(&receiver.url(), &format!("index = \"{name}\"\nencoding = \"raw\"\n"));
        let daemon = start(&world, &[IS_REFUSED]).ready();
        let dated = |n: u64| record(n).replace("\"s1\"", if n == 37 { "\"hush\"" } else { "\"2026-01-01\"" });
        world.write("a.json", &object(&(0..100).map(dated).collect::<Vec<_>>()));
        comes_to(receiver, &name, 99);
        daemon.counts("auditferry_records_quarantined_total", &["kind=\"event\""], 1.0);
        let reason = told(&daemon, IS_REFUSED, "reason");
        assert!(reason.contains("_parsing_exception: status 400"), "{reason}");
        assert!(reason.contains("sessionId") && !reason.contains("hush"), "{reason}");
        let entries = listed(&world);
        assert_eq!((entries.len(), &entries[0]["place"], &entries[0]["sink"]), (1, &json!(37), &json!("out")));
        stop(daemon);
        let documents = documents(receiver, &name);
        assert_eq!(documents.len(), 99);
        assert!(documents.iter().all(|(_, _, document)| document["requestId"] != "request-37"));
    }
}

#[test]
fn items_that_are_rejected_for_now_are_sent_again_alone() {
    let receiver = Elasticsearch::new();
    let mut rejected = 0;
    receiver.judges(move |document| {
        let is_tenth = document["requestId"].as_str().unwrap().ends_with('3');
        rejected += usize::from(is_tenth);
        let reason = "rejected execution of coordinating operation";
        (is_tenth && rejected <= 10).then(|| error(429, "es_rejected_execution_exception", reason)).flatten()
    });
    let world = of(&receiver, &format!("{INDEX}lanes = 1\n"));
    let daemon = start(&world, &IS_AWAY).at_work();
    world.write("a.json", &object(&records(0..100)));
    takes(&receiver, 100);
    daemon.counts("auditferry_events_sent_total", &["sink=\"out\""], 100.0);
    stop(daemon);
    assert_eq!(stored(&receiver), once_each(0..100));
    let sent: Vec<usize> = receiver.receiver.requests().iter().map(|request| request.lines().len() / 2).collect();
    assert_eq!(sent, [100, 10]);
}

#[test]
fn a_storm_parks_the_sink_and_nothing_is_quarantined() {
    let receiver = Elasticsearch::new();
    let reason = "Limit of total fields [1000] has been exceeded";
    receiver.judges(move |_| error(400, "illegal_argument_exception", reason));
    let world = of(&receiver, INDEX);
    let daemon = start(&world, &[IS_PARKED, IS_AWAY[1]]).at_work();
    world.write("a.json", &object(&records(0..100)));
    let error = told(&daemon, IS_PARKED, "error");
    assert_eq!(
        error,
        format!(
            "the sink needs mending: it refuses most of what it is sent: illegal_argument_exception: status 400: {reason}"
        )
    );
    receiver.judges(|_| None);
    takes(&receiver, 100);
    assert_eq!(daemon.metric("auditferry_records_quarantined_total", &["kind=\"event\""]), 0.0);
    stop(daemon);
    assert_eq!(stored(&receiver), once_each(0..100));
}

#[test]
fn a_missing_index_a_full_cluster_and_a_collection_without_ids_park_the_sink_with_their_words() {
    for (status, kind, reason, expected) in [
        (
            404,
            "index_not_found_exception",
            "no such index [audit]",
            "index_not_found_exception: status 404: no such index [audit]",
        ),
        (
            400,
            "validation_exception",
            "this cluster currently has [1000]/[1000] shards",
            "validation_exception: status 400: this cluster currently has [1000]/[1000] shards",
        ),
        (
            400,
            "illegal_argument_exception",
            "Document ID is not supported in create/index operation request",
            "it takes no ids, as a serverless collection for time series: set `ids = false`, and expect an event at least once there",
        ),
    ] {
        let receiver = Elasticsearch::new();
        receiver.judges(move |_| error(status, kind, reason));
        let world = of(&receiver, INDEX);
        let daemon = start(&world, &[IS_PARKED, IS_AWAY[1]]).at_work();
        // Too few events for a storm.
        world.write("a.json", &object(&records(0..3)));
        assert_eq!(told(&daemon, IS_PARKED, "error"), format!("the sink needs mending: {expected}"));
        receiver.judges(|_| None);
        takes(&receiver, 3);
        stop(daemon);
        assert_eq!(stored(&receiver), once_each(0..3));
    }
}

#[test]
fn a_document_in_the_failure_store_is_not_in_its_data_stream() {
    for (keys, refused) in [("", 1.0), ("accept_failure_store = true\n", 0.0)] {
        let receiver = Elasticsearch::new();
        receiver.judges(|document| (document["requestId"] == "request-7").then(|| json!({"failure_store": "used"})));
        let world = of(&receiver, &format!("data_stream = \"logs-audit\"\n{keys}"));
        let daemon = start(&world, &[IS_REFUSED]).ready();
        world.write("a.json", &object(&records(0..30)));
        takes(&receiver, 29);
        daemon.counts("auditferry_events_sent_total", &["sink=\"out\""], 30.0 - refused);
        daemon.counts("auditferry_records_quarantined_total", &["kind=\"event\""], refused);
        if refused > 0.0 {
            assert!(told(&daemon, IS_REFUSED, "reason").starts_with("failure_store:"));
            receiver.judges(|_| None);
            requeue_all(&world);
            takes(&receiver, 30);
        }
        assert_eq!(daemon.metric("auditferry_records_quarantined_total", &["kind=\"event\""]), refused);
        stop(daemon);
        assert_eq!(stored(&receiver), once_each((0..30).filter(|n| *n != 7 || refused > 0.0)));
    }
}

#[test]
fn a_receiver_that_is_away_gets_each_event_once_it_is_back() {
    let receiver = Elasticsearch::new();
    receiver.answers(|_| Some(Answer::HangUp));
    let world = of(&receiver, INDEX).impatient();
    let daemon = start(&world, &IS_AWAY).at_work();
    world.write("a.json", &object(&records(0..30)));
    let tried = |times: usize| eventually("it is tried", SOON, || receiver.receiver.requests().len() >= times);
    tried(3);
    receiver.answers(|_| Some(Answer::says(503, "{\"error\":{\"type\":\"cluster_block_exception\"}}")));
    tried(receiver.receiver.requests().len() + 1);
    // This answer has no item for any document.
    receiver.answers(|_| Some(Answer::says(200, "{\"took\":1,\"items\":[]}")));
    tried(receiver.receiver.requests().len() + 1);
    receiver.answers(|_| None);
    takes(&receiver, 30);
    stop(daemon);
    assert_eq!(stored(&receiver), once_each(0..30));
}

#[test]
fn a_request_that_is_too_large_is_cut_into_smaller_ones() {
    let receiver = Elasticsearch::new();
    receiver.answers(|request| (request.lines().len() > 20).then(|| Answer::says(413, "too large")));
    let world = of(&receiver, INDEX);
    let daemon = start(&world, &[]).ready();
    world.write("a.json", &object(&records(0..100)));
    takes(&receiver, 100);
    stop(daemon);
    assert_eq!(stored(&receiver), once_each(0..100));
}

#[test]
fn a_sink_with_a_wrong_api_key_is_parked_and_goes_on_over_tls_once_the_key_is_right() {
    let receiver = Elasticsearch::over_tls();
    receiver.answers(|request| {
        let is_known = request.header("authorization") == Some("ApiKey new-key");
        (!is_known).then(|| Answer::says(401, "unable to authenticate with provided credentials old-key"))
    });
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    fs::write(&key, "old-key\n").unwrap();
    let auth = format!("auth = {{ type = \"bearer\", scheme = \"ApiKey\", token = \"file:{}\" }}", key.display());
    let world = of(&receiver, &format!("{INDEX}{auth}\ntls = {{ ca = {:?} }}\n", root()));
    let daemon = start(&world, &[IS_PARKED, IS_AWAY[1]]).at_work();
    world.write("a.json", &object(&records(0..3)));
    let error = told(&daemon, IS_PARKED, "error");
    assert_eq!(error, "the sink needs mending: status 401: unable to authenticate with provided credentials ***");
    fs::write(&key, "new-key\n").unwrap();
    takes(&receiver, 3);
    let log = daemon.log.clone();
    stop(daemon);
    assert_eq!(stored(&receiver), once_each(0..3));
    assert!(!log.text().contains("old-key") && !log.text().contains("new-key"));
}

#[test]
fn a_request_to_amazon_is_signed_with_the_hash_of_its_body() {
    let receiver = Elasticsearch::new();
    let keys = format!("{INDEX}ids = false\nsigv4 = \"aoss\"\nregion = \"eu-west-1\"\n");
    let world = of(&receiver, &keys);
    let daemon = start(&world, &[]).ready();
    world.write("a.json", &object(&records(0..3)));
    takes(&receiver, 3);
    stop(daemon);
    let request = receiver.receiver.requests().remove(0);
    let authorization = request.header("authorization").unwrap();
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=test/"), "{authorization}");
    assert!(authorization.contains("/eu-west-1/aoss/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date"));
    let hash: String = Sha256::digest(&request.body).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(request.header("x-amz-content-sha256"), Some(&*hash));
    assert_eq!((&*request.target, request.header("content-encoding")), ("/_bulk", Some("gzip")));
    assert!(receiver.documents().keys().all(|(_, id)| id.starts_with("made-")), "no ids are sent");
}

#[test]
fn an_event_with_line_ends_and_quotes_stays_one_document() {
    let receiver = noida();
    let hostile = |n: u64| {
        let agent = r#"a\r\n{\"create\":{}}\n\"c\u2028d\u0000"#.to_owned() + "\u{2028}\u{85}'}]";
        record(n).replace("curl/7.64.1", &agent)
    };
    let agent = "a\r\n{\"create\":{}}\n\"c\u{2028}d\0\u{2028}\u{85}'}]";
    for (encoding, pointer) in
        [("raw", "/userAgent"), ("ocsf", "/http_request/user_agent"), ("ecs", "/user_agent/original")]
    {
        let name = fresh("hostile").to_lowercase();
        let world = world(&receiver.url(), &format!("index = \"{name}\"\nencoding = {encoding:?}\n"));
        let daemon = start(&world, &[]).ready();
        world.write("a.json", &object(&(0..3).map(hostile).collect::<Vec<_>>()));
        comes_to(receiver, &name, 3);
        stop(daemon);
        let documents = documents(receiver, &name);
        assert_eq!(documents.len(), 3, "{encoding}");
        assert!(
            documents.iter().all(|(_, _, document)| document.pointer(pointer) == Some(&json!(agent))),
            "{encoding}"
        );
    }
}

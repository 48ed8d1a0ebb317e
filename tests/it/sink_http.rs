//! The promises of the sinks over HTTP, kept by the real process against a receiver on this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::daemon::{Daemon, Start};
use super::support::receiver::{Answer, Receiver, Request, fixture, root};
use super::support::records::{assert_once_each, object, record, records};
use super::support::waiting::{SOON, eventually};
use super::support::world::World;

/// What the log may say while a receiver is away.
const IS_AWAY: [&str; 2] = ["a batch was not delivered", "going on without a sink"];
const IS_PARKED: &str = "the sink is parked";

/// A directory feed with a sink that has these keys.
fn world_of(keys: &str) -> World {
    World::new().with_directory_feed(&["out"]).with(&format!("[sink.out]\n{keys}\n"))
}

/// A directory feed that sends raw records to `receiver`.
fn world(receiver: &Receiver, keys: &str) -> World {
    world_of(&format!("type = \"http\"\nurl = \"{}/in\"\nencoding = \"raw\"\n{keys}", receiver.url()))
}

fn start(world: &World, expected: &[&'static str]) -> Start {
    world.run(&[]).expecting(expected)
}

fn takes(receiver: &Receiver, events: usize) {
    eventually("the receiver has taken the events", SOON, || receiver.taken_lines().len() >= events);
}

fn stop(daemon: Daemon) {
    assert!(daemon.stop().success());
}

/// Asserts that every request has an id, and that requests with the same id have the same bytes.
fn assert_repeats_are_alike(requests: &[Request]) {
    let mut known: BTreeMap<&str, &[u8]> = BTreeMap::new();
    for request in requests {
        let before = known.insert(request.header("idempotency-key").unwrap(), &request.body);
        assert!(before.is_none_or(|before| before == request.body), "a repeat has other bytes");
    }
}

#[test]
fn each_record_arrives_once_in_requests_of_the_size_the_receiver_takes() {
    for (format, compression) in [("ndjson", "none"), ("ndjson", "gzip"), ("json_array", "zstd")] {
        let receiver = Receiver::that_answers(Answer::status(202));
        let keys = format!("format = {format:?}\ncompression = {compression:?}\nrequest_events = 1000\n");
        let world = world(&receiver, &keys);
        let daemon = start(&world, &[]).ready();
        world.write("a.json", &object(&records(0..2500)));
        world.write("b.json", &object(&records(2500..2600)));
        let events = || -> Vec<String> {
            let of = |request: &Request| match format {
                "ndjson" => request.lines(),
                _ => {
                    let array: Vec<Box<serde_json::value::RawValue>> = serde_json::from_str(&request.text()).unwrap();
                    array.iter().map(|event| event.get().to_owned()).collect()
                }
            };
            receiver.taken().iter().flat_map(of).collect()
        };
        eventually("the receiver has taken the events", SOON, || events().len() >= 2600);
        stop(daemon);
        assert_once_each(&events(), &records(0..2600));
        let requests = receiver.requests();
        let ids: BTreeSet<&str> = requests.iter().map(|request| request.header("idempotency-key").unwrap()).collect();
        assert_eq!(ids.len(), requests.len(), "each request has an id of its own");
        assert!(requests.iter().all(|request| request.text().len() <= 1_000_000));
        let encoding = Some(compression).filter(|compression| *compression != "none");
        assert_eq!(requests[0].header("content-encoding"), encoding);
        let media_type = if format == "ndjson" { "application/x-ndjson" } else { "application/json" };
        assert_eq!(requests[0].header("content-type"), Some(media_type));
    }
}

#[test]
fn a_receiver_that_is_away_gets_each_record_once_it_is_back_in_the_same_requests() {
    let receiver = Receiver::that_answers(Answer::HangUp);
    let world = world(&receiver, "request_events = 10\n").impatient();
    let daemon = start(&world, &IS_AWAY).at_work();
    world.write("a.json", &object(&records(0..30)));
    eventually("the receiver was tried", SOON, || receiver.requests().len() >= 3);
    receiver.answers(Answer::says(503, "starting"));
    let so_far = receiver.requests().len();
    eventually("the receiver was tried", SOON, || receiver.requests().len() > so_far);
    receiver.answers(Answer::status(200));
    takes(&receiver, 30);
    stop(daemon);
    assert_once_each(&receiver.taken_lines(), &records(0..30));
    assert_repeats_are_alike(&receiver.requests());
}

#[test]
fn a_sink_with_a_wrong_token_is_parked_and_goes_on_once_the_token_is_right() {
    let receiver = Receiver::with_script(|request| {
        let is_known = request.header("authorization") == Some("Bearer new-token");
        if is_known { Answer::status(200) } else { Answer::says(401, "invalid token old-token") }
    });
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    fs::write(&token, "old-token\n").unwrap();
    let keys = format!("auth = {{ type = \"bearer\", token = \"file:{}\" }}", token.display());
    let world = world(&receiver, &keys);
    let daemon = start(&world, &[IS_PARKED, IS_AWAY[1]]).at_work();
    world.write("a.json", &object(&records(0..3)));
    eventually("the sink is parked", SOON, || daemon.says(IS_PARKED) > 0);
    let told = daemon.log.entries().into_iter().find(|entry| entry.message.contains(IS_PARKED)).unwrap();
    let error = told.field("error").unwrap();
    assert_eq!(error, "the sink needs mending: status 401: invalid token ***");
    assert!(receiver.taken().is_empty());
    fs::write(&token, "new-token\n").unwrap();
    takes(&receiver, 3);
    let log = daemon.log.clone();
    stop(daemon);
    assert_once_each(&receiver.taken_lines(), &records(0..3));
    assert!(!log.text().contains("old-token") && !log.text().contains("new-token"));
}

#[test]
fn a_receiver_that_asks_for_a_wait_is_not_asked_before() {
    let times = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&times);
    let receiver = Receiver::with_script(move |_| {
        let mut seen = seen.lock().unwrap();
        seen.push(Instant::now());
        if seen.len() == 1 { Answer::status(429).with("Retry-After", "3") } else { Answer::status(200) }
    });
    let world = world(&receiver, "");
    let daemon = start(&world, &IS_AWAY).at_work();
    world.write("a.json", &object(&records(0..3)));
    takes(&receiver, 3);
    stop(daemon);
    assert_once_each(&receiver.taken_lines(), &records(0..3));
    let times = times.lock().unwrap();
    assert!(times[1] - times[0] >= Duration::from_secs(3), "{:?}", times[1] - times[0]);
}

#[test]
fn a_request_that_is_too_large_is_cut_into_smaller_ones() {
    let receiver = Receiver::with_script(|request| match request.lines().len() {
        0..=10 => Answer::status(200),
        _ => Answer::says(413, "at most 10"),
    });
    let world = world(&receiver, "");
    let daemon = start(&world, &[]).ready();
    world.write("a.json", &object(&records(0..100)));
    takes(&receiver, 100);
    stop(daemon);
    assert_once_each(&receiver.taken_lines(), &records(0..100));
}

#[test]
fn an_event_that_the_receiver_refuses_goes_to_quarantine_and_the_others_arrive() {
    let receiver = Receiver::with_script(|request| {
        let is_refused = request.text().contains("request-37\"");
        if is_refused { Answer::says(400, "no such field: cluster") } else { Answer::status(200) }
    });
    let world = world(&receiver, "");
    let daemon = start(&world, &["the sink refuses events for ever"]).ready();
    world.write("a.json", &object(&records(0..100)));
    takes(&receiver, 99);
    daemon.counts("auditferry_records_quarantined_total", &["kind=\"event\""], 1.0);
    let told = daemon.log.entries().into_iter().find(|entry| entry.message.contains("refuses events")).unwrap();
    assert_eq!(told.field("reason").unwrap(), "status 400: no such field: cluster");
    stop(daemon);
    let expected: Vec<String> = (0..100).filter(|n| *n != 37).map(record).collect();
    assert_once_each(&receiver.taken_lines(), &expected);
}

#[test]
fn a_request_that_was_taken_before_a_crash_is_repeated_with_the_same_id_and_bytes() {
    for compression in ["none", "gzip"] {
        let receiver = Receiver::that_answers(Answer::Silence);
        let keys = format!("compression = {compression:?}\nidempotent = true\nrequest_events = 20\n");
        let world = world(&receiver, &keys);
        let daemon = start(&world, &[]).at_work();
        world.write("a.json", &object(&records(0..60)));
        eventually("all requests are under way", SOON, || receiver.requests().len() >= 3);
        daemon.kill();
        receiver.answers(Answer::status(200));
        let daemon = start(&world, &[]).ready();
        takes(&receiver, 60);
        stop(daemon);
        assert_once_each(&receiver.taken_lines(), &records(0..60));
        let requests = receiver.requests();
        assert_eq!(requests.len(), 6);
        assert_repeats_are_alike(&requests);
        let ids: BTreeSet<&str> = requests.iter().map(|request| request.header("idempotency-key").unwrap()).collect();
        assert_eq!(ids.len(), 3);
    }
}

#[test]
fn a_receiver_is_sent_to_over_tls_with_our_certificate() {
    let receiver = Receiver::over_mutual_tls(|_| Answer::status(200));
    let tls = |ca: &Path| {
        format!(
            "tls = {{ ca = {ca:?}, cert = {:?}, key = {:?}, min_version = \"1.3\" }}",
            fixture("client.pem"),
            fixture("client.key.pem")
        )
    };
    let trusting = world(&receiver, &tls(&root()));
    let daemon = start(&trusting, &[]).ready();
    trusting.write("a.json", &object(&records(0..3)));
    takes(&receiver, 3);
    stop(daemon);
    assert_once_each(&receiver.taken_lines(), &records(0..3));

    let doubting = world(&receiver, &tls(&fixture("client-root.pem")));
    let daemon = start(&doubting, &[IS_PARKED, IS_AWAY[1]]).at_work();
    doubting.write("a.json", &object(&records(3..6)));
    eventually("the sink is parked", SOON, || daemon.says(IS_PARKED) > 0);
    let told = daemon.log.entries().into_iter().find(|entry| entry.message.contains(IS_PARKED)).unwrap();
    let error = told.field("error").unwrap();
    assert!(error.starts_with("the sink needs mending: TLS fails: invalid peer certificate"), "{error}");
    stop(daemon);
    assert_eq!(receiver.taken_lines().len(), 3);
}

/// A record whose user agent holds line ends and text delimiters.
fn hostile(n: u64) -> String {
    let agent = r#"a\r\nb\"c\u2028d\u0000"#.to_owned() + "\u{2028}\u{85}'}]";
    record(n).replace("curl/7.64.1", &agent)
}

#[test]
fn an_event_with_line_ends_and_quotes_stays_one_event() {
    for (encoding, format) in [("raw", "ndjson"), ("raw", "json_array"), ("ocsf", "ndjson"), ("ecs", "json_array")] {
        let receiver = Receiver::that_answers(Answer::status(200));
        let keys =
            format!("type = \"http\"\nurl = \"{}\"\nencoding = {encoding:?}\nformat = {format:?}", receiver.url());
        let world = world_of(&keys);
        let daemon = start(&world, &[]).ready();
        let lines: Vec<String> = (0..3).map(hostile).collect();
        world.write("a.json", &object(&lines));
        let events = || -> Vec<Value> {
            let of = |request: &Request| match format {
                "ndjson" => request.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect(),
                _ => serde_json::from_str::<Vec<Value>>(&request.text()).unwrap(),
            };
            receiver.taken().iter().flat_map(of).collect()
        };
        eventually("the receiver has taken the events", SOON, || events().len() >= 3);
        stop(daemon);
        let events = events();
        assert_eq!(events.len(), 3, "{encoding} {format}");
        let agent = "a\r\nb\"c\u{2028}d\0\u{2028}\u{85}'}]";
        let pointer = match encoding {
            "raw" => "/userAgent",
            "ocsf" => "/http_request/user_agent",
            _ => "/user_agent/original",
        };
        assert_eq!(events[0].pointer(pointer).and_then(Value::as_str), Some(agent), "{encoding}: {}", events[0]);
    }
}

#[test]
fn datadog_gets_its_key_and_array_and_an_event_it_would_cut_goes_to_quarantine() {
    let receiver = Receiver::that_answers(Answer::status(202));
    let keys = format!(
        "type = \"datadog\"\nurl = \"{}/api/v2/logs\"\napi_key = \"env:DD_KEY\"\ntags = \"env:test\"\nencoding = \"raw\"",
        receiver.url()
    );
    let world = world_of(&keys);
    let daemon = start(&world, &["the sink refuses events for ever"]).with_environment("DD_KEY", "hush-hush").ready();
    let long = record(1).replace("curl/7.64.1", &"x".repeat(1_000_000));
    world.write("a.json", &object(&[record(0), long, record(2)]));
    let logs = || -> Vec<Value> {
        receiver
            .taken()
            .iter()
            .flat_map(|request| serde_json::from_str::<Vec<Value>>(&request.text()).unwrap())
            .collect()
    };
    eventually("the receiver has taken the events", SOON, || logs().len() >= 2);
    daemon.counts("auditferry_records_quarantined_total", &["kind=\"event\""], 1.0);
    stop(daemon);
    let logs = logs();
    let events: Vec<String> = logs.iter().map(|log| log["event"]["requestId"].as_str().unwrap().to_owned()).collect();
    assert_eq!(events, ["request-0", "request-2"]);
    assert_eq!((&logs[0]["ddsource"], &logs[0]["ddtags"]), (&Value::from("auditferry"), &Value::from("env:test")));
    let request = &receiver.requests()[0];
    assert_eq!((&*request.target, request.header("dd-api-key")), ("/api/v2/logs", Some("hush-hush")));
    assert_eq!((request.header("content-encoding"), request.header("idempotency-key")), (Some("gzip"), None));
}

#[test]
fn sumo_crowdstrike_and_panther_get_what_each_of_them_reads() {
    let directory = tempfile::tempdir().unwrap();
    for (kind, keys, header, value) in [
        ("sumo", "category = \"audit/lake\"", "x-sumo-category", "audit/lake"),
        ("crowdstrike", "token = \"env:KEY\"", "authorization", "Bearer hush-hush"),
        (
            "panther",
            "auth = { type = \"header\", name = \"X-Panther\", value = \"env:KEY\" }",
            "x-panther",
            "hush-hush",
        ),
    ] {
        let receiver = Receiver::that_answers(Answer::status(200));
        let url = directory.path().join(kind);
        fs::write(&url, receiver.url() + "/receiver/T0K3N").unwrap();
        let keys = format!("type = {kind:?}\nurl = \"file:{}\"\nencoding = \"raw\"\n{keys}", url.display());
        let world = world_of(&keys);
        let daemon = start(&world, &[]).with_environment("KEY", "hush-hush").ready();
        world.write("a.json", &object(&records(0..3)));
        takes(&receiver, 3);
        let log = daemon.log.clone();
        stop(daemon);
        let request = &receiver.requests()[0];
        assert_eq!((&*request.target, request.header(header)), ("/receiver/T0K3N", Some(value)), "{kind}");
        let lines = receiver.taken_lines();
        if kind == "crowdstrike" {
            let first: Value = serde_json::from_str(&lines[0]).unwrap();
            assert_eq!((&first["event"]["requestId"], &first["time"]), (&"request-0".into(), &1_767_225_600.0.into()));
        } else {
            assert_once_each(&lines, &records(0..3));
        }
        assert!(!log.text().contains("T0K3N") && !log.text().contains("hush"), "{kind}");
    }
}

#[test]
fn a_receiver_that_takes_a_part_of_a_batch_and_then_dies_gets_no_taken_part_again() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let receiver = Receiver::with_script(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => Answer::status(200),
        _ => Answer::Silence,
    });
    let world = world(&receiver, "request_events = 20\nin_flight = 2\nlanes = 1\n");
    let daemon = start(&world, &[]).at_work();
    world.write("a.json", &object(&records(0..100)));
    eventually("the receiver stops answering", SOON, || receiver.requests().len() >= 4);
    daemon.kill();
    receiver.answers(Answer::status(200));
    // The object may be read before the batch under way is complete.
    let daemon = start(&world, &["an object has moved on"]).ready();
    takes(&receiver, 100);
    stop(daemon);
    assert_once_each(&receiver.taken_lines(), &records(0..100));
    assert_repeats_are_alike(&receiver.requests());
}

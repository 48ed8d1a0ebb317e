//! The user directory of lakeFS: users whom the API lists get an address, and no failure of the API loses an event.

use std::sync::Arc;

use auditferry::testing::delta::RecordHash;
use auditferry::testing::event::{Encoded, Encoder, EncodingName, Options, Scope};
use auditferry::testing::family::{self, Context};
use auditferry::testing::notification::ObjectId;
use auditferry::testing::records::Record;
use auditferry::testing::users::{LookedUp, Lookup, Users};
use serde_json::Value;

use super::support::daemon::{Daemon, Start};
use super::support::ecs;
use super::support::ocsf::Schema;
use super::support::receiver::root;
use super::support::records::lines_of;
use super::support::user_api::{Answer, Asked, UserApi};
use super::support::waiting::{SOON, eventually};
use super::support::world::{World, write_whole};

/// What the log says of a user directory that fails.
const FAILS: &str = "the user directory cannot be read";

/// How many users a page holds: more than most tests have.
const PAGE: usize = 100;

fn ann() -> Answer {
    Answer::Users(vec![("u-1", Some("ann@example.com"))], PAGE)
}

/// A line of a lakeFS server's log.
fn line(number: usize, user: &str) -> String {
    format!(
        r#"{{"log_audit":true,"user":"{user}","operation_id":"GetObject","service_name":"rest_api","method":"GET","path":"/api/v1/repositories/lake/refs/main/objects?path=a","status_code":200,"request_id":"r-{number}","time":"2025-12-25T12:30:00Z","msg":"HTTP call ended","level":"info"}}"#
    )
}

/// The table of the feed `name`, which reads the directory `name` in the world.
fn feed(world: &World, name: &str, api: &UserApi, sinks: &[&str], more: &str) -> String {
    let source = world.path(name);
    std::fs::create_dir_all(&source).unwrap();
    format!(
        "[feed.{name}]\nfamily = \"lakefs\"\ndirectory = {source:?}\nkeys = [\"**/*.log\"]\nscan_every = \"1s\"\nsinks = {sinks:?}\n\
         [feed.{name}.users]\nendpoint = \"{}\"\naccess_key_id = \"env:LAKEFS_KEY\"\nsecret_access_key = \"env:LAKEFS_SECRET\"\n{more}\n",
        api.url()
    )
}

fn sink(world: &World, name: &str, encoding: &str) -> String {
    format!("[sink.{name}]\ntype = \"file\"\npath = {:?}\nencoding = \"{encoding}\"\n", world.output(name))
}

/// A world with the feed `lake`, which delivers OCSF to `out`.
fn world(api: &UserApi, more: &str) -> World {
    let world = World::new();
    let tables = feed(&world, "lake", api, &["out"], more) + &sink(&world, "out", "ocsf");
    world.with(&tables)
}

fn run(world: &World) -> Start {
    world.run(&[]).with_environment("LAKEFS_KEY", "AKIA-1").with_environment("LAKEFS_SECRET", "hush-hush")
}

/// Writes an object of this feed.
fn write(world: &World, feed: &str, key: &str, lines: &[String]) {
    write_whole(&world.path(feed), &world.path("aside"), key, format!("{}\n", lines.join("\n")).as_bytes());
}

fn says(daemon: &Daemon, message: &str, times: usize) {
    let said = || daemon.log.entries().into_iter().filter(|entry| entry.message == message).count();
    eventually(&format!("the log says {times} times: {message}"), SOON, || said() >= times);
}

fn events(world: &World, sink: &str) -> Vec<Value> {
    let lines = lines_of(&world.output(sink));
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn uids(lines: &[String]) -> Vec<String> {
    let uid =
        |line: &String| serde_json::from_str::<Value>(line).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    lines.iter().map(uid).collect()
}

/// The address of each event's actor.
fn addresses(world: &World) -> Vec<Option<String>> {
    events(world, "out").iter().map(|event| event["actor"]["user"]["email_addr"].as_str().map(str::to_owned)).collect()
}

#[test]
fn an_event_has_the_address_that_the_installation_knows_its_user_by() {
    let ids = ["u-1", "u-2", "u-3", "u-4", "ci-bot"];
    let addresses_of = [Some("ann@example.com"), Some("bob@example.com"), None, Some("dan@example.com"), None];
    let api = UserApi::that_answers(Answer::Users(ids.into_iter().zip(addresses_of).collect(), 2));
    let world = World::new();
    let tables = feed(&world, "lake", &api, &["out", "elastic"], "")
        + &sink(&world, "out", "ocsf")
        + &sink(&world, "elastic", "ecs");
    let world = world.with(&tables);
    let daemon = run(&world).ready();
    says(&daemon, "the user directory is read", 1);
    let lines: Vec<String> = ["u-1", "u-4", "u-3", "u-9", "", "eve@example.com"]
        .into_iter()
        .enumerate()
        .map(|(number, user)| line(number, user))
        .collect();
    write(&world, "lake", "a.log", &lines);
    world.comes_to("out", 6);
    world.comes_to("elastic", 6);
    daemon.counts("auditferry_enrichment_total", &["feed=\"lake\"", "result=\"miss\""], 3.0);
    assert_eq!(daemon.metric("auditferry_enrichment_total", &["result=\"hit\""]), 2.0);
    assert_eq!(daemon.metric("auditferry_enrichment_total", &["result=\"unavailable\""]), 0.0);
    let log = daemon.log.clone();
    assert!(daemon.stop().success());
    let expected = [Some("ann@example.com"), Some("dan@example.com"), None, None, None, Some("eve@example.com")];
    assert_eq!(addresses(&world), expected.map(|address| address.map(str::to_owned)));
    Schema::of_version("1.8.0").assert_valid(world.delivered("out").iter().map(String::as_str));
    ecs::Fields::load().assert_valid(world.delivered("elastic").iter().map(String::as_str));
    let of_elastic: Vec<Value> = events(&world, "elastic").iter().map(|event| event["user"]["email"].clone()).collect();
    assert_eq!(of_elastic[..2], ["ann@example.com", "dan@example.com"]);
    // Three pages, each after the last id of the page before; the credentials are "AKIA-1:hush-hush" in base64.
    let asked =
        |target: &str| Asked { target: target.to_owned(), authorization: "Basic QUtJQS0xOmh1c2gtaHVzaA==".to_owned() };
    let pages = [
        "/api/v1/auth/users?amount=1000",
        "/api/v1/auth/users?amount=1000&after=u-1",
        "/api/v1/auth/users?amount=1000&after=u-3",
    ];
    assert_eq!(api.asked(), pages.map(asked));
    for hidden in ["hush", "AKIA", "ann@"] {
        assert!(!log.text().contains(hidden), "{hidden}");
    }
}

#[test]
fn whatever_the_api_does_events_go_without_an_address_and_nothing_waits() {
    let elsewhere = UserApi::that_answers(ann());
    let fails = [
        ("unauthorized", Answer::Status(401), "status 401"),
        ("broken", Answer::Status(500), "status 500"),
        ("moved", Answer::Redirect(elsewhere.url()), "status 302"),
        ("silent", Answer::Silence, "in time"),
        ("stalled", Answer::Stalled, "in time"),
        ("oversized", Answer::Oversized(5 << 20), "longer than 4194304 bytes"),
        ("page", Answer::Body("<html>lakeFS</html>"), "no list of users"),
        ("cut", Answer::Body(r#"{"pagination":{"has_more":false},"results":["#), "no list of users"),
        ("crowded", Answer::Users(vec![("u-1", Some("ann@example.com")), ("u-2", None)], PAGE), "more than 1 users"),
        ("endless", Answer::Endless, "does not come to an end"),
    ];
    let world = World::new();
    let (mut tables, mut apis) = (sink(&world, "out", "ocsf"), Vec::new());
    for (name, answer, _) in &fails {
        let api = UserApi::that_answers(answer.clone());
        tables.push_str(&feed(&world, name, &api, &["out"], "timeout = \"2s\"\nusers_max = 1"));
        write(&world, name, "a.log", &[line(0, "u-1")]);
        apis.push(api);
    }
    let world = world.with(&tables);
    let daemon = run(&world).expecting(&[FAILS]).ready();
    world.comes_to("out", fails.len());
    for (name, _, why) in &fails {
        let of_feed = format!("feed=\"{name}\"");
        daemon.counts("auditferry_enrichment_total", &[&of_feed, "result=\"unavailable\""], 1.0);
        let said = || {
            daemon
                .log
                .entries()
                .into_iter()
                .find(|entry| entry.message.starts_with(FAILS) && entry.field("feed").as_deref() == Some(name))
        };
        eventually(&format!("the log says that {name} fails"), SOON, || said().is_some());
        let error = said().unwrap().field("error").unwrap();
        assert!(error.contains(why), "{name}: {error}");
    }
    // A failing API is asked again, and reported once.
    eventually("the API is asked again", SOON, || apis[0].asked().len() > 2);
    let told = daemon
        .log
        .entries()
        .into_iter()
        .filter(|entry| entry.level == "WARN" && entry.field("feed").as_deref() == Some("unauthorized"));
    assert_eq!(told.count(), 1);
    assert!(daemon.stop().success());
    assert_eq!(addresses(&world), vec![None; fails.len()]);
    assert!(elsewhere.asked().is_empty(), "credentials followed a redirect");
}

#[test]
fn who_cannot_be_reached_or_has_no_credentials_costs_no_event() {
    let closed = UserApi::that_answers(ann());
    let world = world(&closed, "");
    write(&world, "lake", "a.log", &[line(0, "u-1")]);
    let daemon = world.run(&[]).expecting(&[FAILS]).ready();
    world.comes_to("out", 1);
    eventually("the log names the variable", SOON, || {
        daemon
            .log
            .entries()
            .iter()
            .any(|entry| entry.field("error").is_some_and(|error| error.contains("env:LAKEFS_KEY")))
    });
    assert!(daemon.stop().success());
    assert_eq!(addresses(&world), [None]);
    assert!(closed.asked().is_empty());
}

#[test]
fn credentials_go_only_to_who_has_a_certificate_of_a_trusted_root() {
    let api = UserApi::that_answers_over_tls(ann());
    let world = world(&api, "");
    let daemon = run(&world).expecting(&[FAILS]).ready();
    eventually("the log says that nobody vouches for the API", SOON, || {
        let entries = daemon.log.entries();
        entries.iter().any(|entry| entry.field("error").is_some_and(|error| error.contains("certificate")))
    });
    assert!(daemon.stop().success());
    assert!(api.asked().is_empty());
    let daemon = run(&world).with_environment("SSL_CERT_FILE", root().to_str().unwrap()).ready();
    says(&daemon, "the user directory is read", 1);
    assert!(daemon.stop().success());
    assert_eq!(api.asked().len(), 1);
}

#[test]
fn the_last_listing_is_used_on_while_the_api_fails_and_a_new_one_replaces_it() {
    let api = UserApi::that_answers(ann());
    let world = world(&api, "lifetime = \"1s\"");
    let daemon = run(&world).expecting(&[FAILS]).ready();
    says(&daemon, "the user directory is read", 1);
    api.answers(Answer::Status(503));
    says(&daemon, "the user directory cannot be read; the last listing is used on", 1);
    write(&world, "lake", "a.log", &[line(0, "u-1")]);
    world.comes_to("out", 1);
    api.answers(Answer::Users(vec![("u-1", Some("ann@example.org"))], PAGE));
    says(&daemon, "the user directory is read", 2);
    write(&world, "lake", "b.log", &[line(1, "u-1")]);
    world.comes_to("out", 2);
    assert!(daemon.stop().success());
    let expected = ["ann@example.com", "ann@example.org"].map(|address| Some(address.to_owned()));
    assert_eq!(addresses(&world), expected);
}

#[test]
fn a_listing_that_is_too_old_is_used_no_more() {
    let api = UserApi::that_answers(ann());
    let world = world(&api, "lifetime = \"1s\"\nmax_age = \"1s\"");
    let daemon = run(&world).expecting(&[FAILS]).ready();
    says(&daemon, "the user directory is read", 1);
    api.answers(Answer::Status(503));
    says(&daemon, "the user directory cannot be read; events go without e-mail addresses", 1);
    write(&world, "lake", "a.log", &[line(0, "u-1")]);
    world.comes_to("out", 1);
    daemon.counts("auditferry_enrichment_total", &["result=\"unavailable\""], 1.0);
    assert!(daemon.stop().success());
    assert_eq!(addresses(&world), [None]);
}

#[test]
fn a_batch_sealed_with_addresses_and_completed_without_them_delivers_each_record_once() {
    const LINES: usize = 300;
    let api = UserApi::that_answers(ann());
    let world = World::new().impatient();
    let late = world.path("away/late.ndjson");
    let tables = feed(&world, "lake", &api, &["out", "late"], "lifetime = \"1h\"")
        + &sink(&world, "out", "ocsf")
        + &format!("[sink.late]\ntype = \"file\"\npath = {late:?}\nencoding = \"ocsf\"\n");
    let world = world.with(&tables);
    std::fs::create_dir(world.path("away")).unwrap();
    let lines: Vec<String> = (0..LINES).map(|number| line(number, "u-1")).collect();
    let away = ["a batch was not delivered", "the sink is parked"];
    let daemon = run(&world).expecting(&away).ready();
    says(&daemon, "the user directory is read", 1);
    // From now on batches for `late` are sealed and cannot be written.
    std::fs::rename(world.path("away"), world.path("elsewhere")).unwrap();
    write(&world, "lake", "a.log", &lines);
    world.comes_to("out", LINES);
    daemon.counts("auditferry_sink_retries_total", &["sink=\"late\""], 1.0);
    daemon.kill();
    assert_eq!(addresses(&world), vec![Some("ann@example.com".to_owned()); LINES]);
    // As after a kill during the write: the first half of the bytes, which the same encoding makes equal for both
    // sinks.
    std::fs::rename(world.path("elsewhere"), world.path("away")).unwrap();
    let whole = std::fs::read(world.output("out")).unwrap();
    std::fs::write(&late, &whole[..whole.len() / 2]).unwrap();
    api.answers(Answer::Status(503));
    let daemon = run(&world).expecting(&[FAILS, "cannot be made again"]).ready();
    daemon.counts("auditferry_unreproducible_batches_total", &[], 1.0);
    daemon.counts("auditferry_events_sent_total", &["sink=\"late\""], LINES as f64);
    assert!(daemon.stop().success());
    assert_eq!(uids(&lines_of(&late)), uids(&world.delivered("out")), "each once, in order, with the same ids");
    let last = lines_of(&late).pop().unwrap();
    assert!(!last.contains("ann@example.com"), "{last}");
}

/// One record, encoded with these users.
fn encoded(record: &str, encoding: EncodingName, users: Option<Lookup>) -> (String, LookedUp) {
    let object = ObjectId::new("lakefs-audit-logs", "a.log");
    let family = family::named("lakefs").unwrap();
    let context = Context::new(family, &object, Scope::Object(&object), None, "test").with_users(users);
    let mut out = [Encoded::default()];
    let hash = RecordHash::of(record.as_bytes());
    let read = Record::new(0, record.as_bytes());
    family::encode_record(&context, &read, &hash, 0, &[Encoder::new(encoding, Options::default())], &mut out).unwrap();
    let [encoded] = out;
    (String::from_utf8(encoded.bytes).unwrap(), context.looked_up())
}

fn known() -> Option<Lookup> {
    let users =
        Users::from_iter([("u-1", "ann@example.com"), ("u-2", "no\"address@"), ("eve@example.com", "eve@example.org")]);
    Some(Lookup::among(Some(Arc::new(users))))
}

#[test]
fn an_address_changes_neither_an_events_identity_nor_the_record_as_it_came() {
    let record = line(0, "u-1");
    let uid = |text: &str| serde_json::from_str::<Value>(text).unwrap()["metadata"]["uid"].clone();
    let (with, _) = encoded(&record, EncodingName::Ocsf, known());
    let (without, _) = encoded(&record, EncodingName::Ocsf, None);
    assert!(with.contains("ann@example.com") && !without.contains("ann@example.com"), "{with}\n{without}");
    assert_eq!(uid(&with), uid(&without));
    let raw = encoded(&record, EncodingName::Raw, known()).0;
    assert_eq!(raw.trim_end(), record);
}

#[test]
fn both_spellings_of_the_user_are_looked_up_and_who_is_nobody_is_not() {
    for (record, expected, looked_up) in [
        (line(0, "u-1"), Some("ann@example.com"), LookedUp { hits: 1, ..LookedUp::default() }),
        (
            r#"{"data_user":"u-1","data_operation_id":"get_object","data_time":"2025-12-25T12:30:00Z"}"#.to_owned(),
            Some("ann@example.com"),
            LookedUp { hits: 1, ..LookedUp::default() },
        ),
        // The installation's address takes precedence over an id that looks like an address.
        (line(0, "eve@example.com"), Some("eve@example.org"), LookedUp { hits: 1, ..LookedUp::default() }),
        (line(0, "dan@example.com"), Some("dan@example.com"), LookedUp { misses: 1, ..LookedUp::default() }),
        (line(0, "u-2"), None, LookedUp { hits: 1, ..LookedUp::default() }),
        (line(0, "u-3"), None, LookedUp { misses: 1, ..LookedUp::default() }),
        (line(0, ""), None, LookedUp::default()),
        (line(0, "u-1").replace("\"user\":\"u-1\"", "\"user\":null"), None, LookedUp::default()),
    ] {
        let (text, counted) = encoded(&record, EncodingName::Ocsf, known());
        Schema::of_version("1.8.0").assert_valid(text.lines());
        let event: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((event["actor"]["user"]["email_addr"].as_str(), counted), (expected, looked_up), "{record}");
    }
    let (_, counted) = encoded(&line(0, "u-1"), EncodingName::Ocsf, Some(Lookup::among(None)));
    assert_eq!(counted, LookedUp { unavailable: 1, ..LookedUp::default() });
    assert_eq!(encoded(&line(0, "u-1"), EncodingName::Ocsf, None).1, LookedUp::default());
}

//! A sink gets the events that its filter accepts, each once; the other events are counted as filtered.

use std::time::Duration;

use serde_json::Value;

use super::support::chance::Chance;
use super::support::records::{object, record, records};
use super::support::waiting::moment;
use super::support::world::{KEY, World};

/// A record of a user's login.
fn login(n: u64, user: &str) -> String {
    record(n)
        .replace("\"clusters\"", "\"accounts\"")
        .replace("\"create\"", "\"login\"")
        .replace("bob@example.com", user)
        .replace(&format!("{{\"cluster_name\":\"c{n}\"}}"), &format!("{{\"user\":\"{user}\"}}"))
}

/// A world with a file sink for each name; the second text is its filter and encoding.
fn world(sinks: &[(&str, &str)]) -> World {
    let names: Vec<&str> = sinks.iter().map(|(name, _)| *name).collect();
    sinks.iter().fold(World::new().with_directory_feed(&names), |world, (name, keys)| {
        let path = world.output(name);
        world.with(&format!("[sink.{name}]\ntype = \"file\"\npath = {path:?}\n{keys}\n"))
    })
}

/// The numbers of the records that the lines come from, by their request ids.
fn requests(world: &World, sink: &str) -> Vec<String> {
    let request = |line: &String| {
        let event: Value = serde_json::from_str(line).unwrap();
        let uid = [&event["requestId"], &event["metadata"]["correlation_uid"]].into_iter().find_map(Value::as_str);
        uid.unwrap().trim_start_matches("request-").to_owned()
    };
    world.delivered(sink).iter().map(request).collect()
}

#[test]
fn each_sink_gets_what_its_filter_takes_and_each_event_once() {
    let world = world(&[
        ("all", ""),
        ("logins", "filter = { classes = [\"authentication\"] }"),
        ("raw", "encoding = \"raw\"\nfilter = { classes = [3002] }"),
        ("ann", "encoding = \"raw\"\nfilter = { match = { \"actor.user.name\" = [\"ann@*\"] } }"),
        ("others", "encoding = \"raw\"\nfilter = { not_match = { \"actor.user.name\" = [\"ann@*\"] } }"),
        ("audit", "encoding = \"raw\"\nfilter = { feeds = [\"audit\"], families = [\"databricks\", \"ydb\"] }"),
        ("ydb", "encoding = \"raw\"\nfilter = { families = [\"ydb\"] }"),
    ]);
    let mut lines = vec![record(0), login(1, "ann@example.com"), record(2), login(3, "eve@example.com")];
    world.write(KEY, &object(&lines));
    world.once();
    lines.extend([login(4, "ann@example.com"), record(5)]);
    world.write(KEY, &object(&lines));
    world.once();
    world.once();
    for (sink, expected) in [
        ("all", &["0", "1", "2", "3", "4", "5"][..]),
        ("logins", &["1", "3", "4"]),
        ("raw", &["1", "3", "4"]),
        ("ann", &["1", "4"]),
        ("others", &["0", "2", "3", "5"]),
        ("audit", &["0", "1", "2", "3", "4", "5"]),
        ("ydb", &[]),
    ] {
        assert_eq!(requests(&world, sink), expected, "{sink}");
    }
}

#[test]
fn however_often_the_process_is_killed_a_filtered_sink_gets_each_event_once() {
    let filter = "filter = { match = { \"actor.user.name\" = [\"ann@*\"] } }";
    let world = world(&[("ann", filter), ("raw", &format!("encoding = \"raw\"\n{filter}"))]);
    let world = world.with_limits("batch_events = 7");
    let mut chance = Chance::of_this_run("a filtered sink");
    let start = world.run(&[]);
    let (mut lines, mut expected) = (Vec::new(), Vec::new());
    for _ in 0..12 {
        for n in lines.len() as u64..lines.len() as u64 + 40 {
            if chance.below(3) == 0 {
                lines.push(login(n, "ann@example.com"));
                expected.push(n.to_string());
            } else {
                lines.push(record(n));
            }
        }
        let daemon = start.ready();
        world.write(KEY, &object(&lines));
        moment(Duration::from_millis(chance.below(300) as u64));
        daemon.kill();
    }
    world.once();
    assert_eq!(requests(&world, "ann"), expected);
    assert_eq!(requests(&world, "raw"), expected);
}

#[test]
fn what_a_filter_leaves_out_is_counted_once_it_is_passed() {
    let world = world(&[("logins", "filter = { classes = [\"authentication\"] }"), ("all", "encoding = \"raw\"")]);
    world.write(KEY, &object(&[record(0), login(1, "ann@example.com"), record(2)]));
    let daemon = world.start();
    let labels = ["feed=\"audit\"", "sink=\"logins\""];
    daemon.counts("auditferry_events_filtered_total", &labels, 2.0);
    world.write("date=2026-01-02/auditlogs_1.json", &object(&records(0..3)));
    daemon.counts("auditferry_events_filtered_total", &labels, 5.0);
    world.comes_to("all", 6);
    assert_eq!(requests(&world, "logins"), ["1"]);
    assert!(daemon.stop().success());
}

#[test]
fn a_filter_that_is_changed_holds_for_what_comes_from_then_on() {
    let world = world(&[("out", "encoding = \"raw\"")]);
    let mut lines = vec![record(0), login(1, "ann@example.com")];
    world.write(KEY, &object(&lines));
    let narrow =
        world.run(&["--once"]).with_environment("AUDITFERRY__SINK__OUT__FILTER__CLASSES", "[\"authentication\"]");
    assert!(narrow.spawn().end().success());
    lines.push(record(2));
    world.write(KEY, &object(&lines));
    world.once();
    assert_eq!(requests(&world, "out"), ["1", "2"], "what was passed is not sent later");
}

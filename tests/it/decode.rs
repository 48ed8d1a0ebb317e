//! `decode` shows an object as the daemon delivers it, with the same ids, and says of a foreign file that it is one.

use serde_json::Value;

use super::support::aws::{Aws, REGION};
use super::support::daemon::Start;
use super::support::records::{access_lines, object, records};
use super::support::world::{KEY, Place, World, key};

/// What `decode` wrote, said, and ended with.
struct Decoded {
    code: Option<i32>,
    out: String,
    said: String,
}

fn decode(world: &World, environment: &[(&str, &str)], arguments: &[&str]) -> Decoded {
    let all: Vec<&str> = ["decode"].into_iter().chain(arguments.iter().copied()).collect();
    let mut start = Start::new(&all, &world.path("")).expecting(&[""]).with_unread_output();
    for (name, value) in environment {
        start = start.with_environment(name, value);
    }
    let mut process = start.spawn();
    let log = process.log.clone();
    let output = process.read_output();
    let code = process.end().code();
    Decoded { code, out: output.join().unwrap(), said: log.text() }
}

fn uids(events: &str) -> Vec<String> {
    let uid = |line: &str| serde_json::from_str::<Value>(line).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    events.lines().map(uid).collect()
}

/// The configuration of a world, once it has been run.
fn config(world: &World) -> String {
    world.path("auditferry.toml").to_str().unwrap().to_owned()
}

fn ocsf(world: World) -> World {
    let path = world.output("out");
    world.with(&format!("[sink.out]\ntype = \"file\"\npath = {path:?}\n"))
}

#[test]
fn an_object_has_the_ids_that_the_daemon_gives() {
    let place = Place::new();
    let through = Aws::emulated().url();
    let world = ocsf(World::new().with_feed(&place.feed(&through), &place, &["out"]));
    let mut lines = records(0..4);
    // What is there twice has two ids.
    lines.push(lines[0].clone());
    place.bucket.put(KEY, &object(&lines));
    place.queue.holds(1);
    world.once();
    let delivered = uids(&world.delivered("out").join("\n"));
    assert_eq!(delivered.len(), 5);
    let (config, address) = (config(&world), format!("s3://{}/{KEY}", place.bucket.name));
    let decoded = decode(&world, &[], &["--config", &config, &address]);
    assert_eq!(decoded.code, Some(0), "{}", decoded.said);
    assert_eq!(uids(&decoded.out), delivered);
    assert!(
        decoded.said.ends_with("decoded: 5 records, 5 events, 0 refused, 0 lines that are no records\n"),
        "{}",
        decoded.said
    );
    let by_bucket = decode(&world, &[], &["--config", &config, "--bucket", &place.bucket.name, KEY]);
    assert_eq!(by_bucket.out, decoded.out);
    // Without a configuration the machine's own credentials, region and endpoint are taken.
    let environment = [("AWS_ENDPOINT_URL", through.as_str()), ("AWS_REGION", REGION)];
    let by_family = decode(&world, &environment, &["--family", "databricks", &address]);
    assert_eq!(uids(&by_family.out), delivered, "{}", by_family.said);
}

#[test]
fn a_file_below_a_feeds_directory_has_the_ids_that_the_daemon_gives() {
    let world = ocsf(World::new().with_directory_feed(&["out"]));
    world.write(&key(1), &object(&records(0..3)));
    world.once();
    let file = world.path("source").join(key(1));
    let decoded = decode(&world, &[], &["--config", &config(&world), file.to_str().unwrap()]);
    assert_eq!(decoded.code, Some(0), "{}", decoded.said);
    assert_eq!(uids(&decoded.out), uids(&world.delivered("out").join("\n")));
}

#[test]
fn what_cannot_be_had_is_told_by_its_code() {
    let place = Place::apart();
    let through = Aws::emulated().url();
    let world = ocsf(
        World::new().with(&format!("[feed.audit]\n{}prefixes = [\"a/\"]\nsinks = [\"out\"]\n", place.feed(&through))),
    );
    world.run(&[]);
    let config = config(&world);
    let of = |arguments: &[&str]| {
        let decoded = decode(&world, &[], &[&["--config", &config], arguments].concat());
        (decoded.code, decoded.said)
    };
    let address = |key: &str| format!("s3://{}/{key}", place.bucket.name);
    let (code, said) = of(&[&address("a/none.json")]);
    assert_eq!(code, Some(66), "{said}");
    let (code, said) = of(&[&address("b/none.json")]);
    assert_eq!(
        (code, said),
        (Some(64), format!("no feed of the configuration reads {}: say its --family\n", address("b/none.json")))
    );
    let (code, said) = of(&["--family", "ydb", &address("a/none.json")]);
    assert_eq!(
        (code, said.as_str()),
        (Some(64), "the feed audit reads it as databricks, not as ydb: leave --family out\n")
    );
    assert_eq!(of(&["s3://bucket"]).0, Some(64));
    place.bucket.put("a/other.log", &object(&records(0..1)));
    let (code, said) = of(&[&address("a/other.log")]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("note: the feed audit does not read "), "{said}");
}

#[test]
fn a_foreign_file_is_said_to_be_foreign_and_whose_it_looks_like() {
    let world = World::new();
    let of = |family: &str, content: &[u8]| {
        let file = world.path("file");
        std::fs::write(&file, content).unwrap();
        decode(&world, &[], &["--family", family, "--encoding", "ocsf", file.to_str().unwrap()])
    };
    let access = access_lines(3).join("\n");
    let foreign = of("databricks", access.as_bytes());
    assert_eq!((foreign.code, foreign.out.as_str()), (Some(65), ""));
    assert!(
        foreign.said.contains("the file holds no record of databricks: it looks like s3_access\n"),
        "{}",
        foreign.said
    );
    assert!(
        foreign.said.contains("\ndecoded: 0 records, 0 events, 3 refused, 0 lines that are no records\n"),
        "{}",
        foreign.said
    );
    let foreign = of("immuta", &object(&records(0..2)));
    assert_eq!(foreign.code, Some(65), "{}", foreign.said);
    assert!(
        foreign.said.contains("the file holds no record of immuta: it looks like databricks\n"),
        "{}",
        foreign.said
    );
    let nobodys = of("databricks", b"hello\n");
    assert_eq!(nobodys.code, Some(65));
    assert!(nobodys.said.contains("is it another family's, or in another format?"), "{}", nobodys.said);
}

#[test]
fn refusals_are_counted_by_their_reason() {
    let world = World::new();
    let file = world.path("file");
    std::fs::write(&file, [object(&records(0..2)), b"no JSON\nno JSON\n".to_vec()].concat()).unwrap();
    let decoded = decode(&world, &[], &["--family", "databricks", file.to_str().unwrap()]);
    assert_eq!(decoded.code, Some(65));
    assert!(
        decoded.said.contains("decoded: 2 records, 2 events, 2 refused, 0 lines that are no records\n  2 refused: "),
        "{}",
        decoded.said
    );
}

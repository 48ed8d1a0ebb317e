//! A feed with redaction, run by the real process.

use serde_json::json;

use super::support::records::{object, records};
use super::support::world::{KEY, World};

const HMAC_KEY: &str = "0123456789abcdef0123456789abcdef";

/// A world whose feed has this redaction and delivers to two sinks.
fn world(redact: &str) -> World {
    let world = World::new().with_directory_feed(&["events", "raw"]).with(&format!("[feed.audit.redact]\n{redact}\n"));
    let (events, raw) = (world.output("events"), world.output("raw"));
    world.with(&format!(
        "[sink.events]\ntype = \"file\"\npath = {events:?}\nencoding = {{ raw_data = true }}\n[sink.raw]\ntype = \"file\"\npath = {raw:?}\nencoding = \"raw\"\n"
    ))
}

#[test]
fn the_daemon_redacts_what_a_feed_says_for_all_its_sinks() {
    let world = world(
        "drop = [\"sourceIPAddress\"]\nmask = [\"requestParams.cluster_name\"]\nhash = [\"userIdentity.email\"]\nkey = \"env:REDACTION_KEY\"",
    );
    let lines = records(0..3);
    world.write(KEY, &object(&lines));
    let daemon = world.run(&["--once"]).with_environment("REDACTION_KEY", HMAC_KEY).spawn();
    let log = daemon.log.clone();
    assert!(daemon.end().success(), "{}", log.end());
    let written = [world.delivered("events"), world.delivered("raw")].concat();
    assert_eq!(written.len(), 6);
    for (line, n) in written.iter().zip([0, 1, 2, 0, 1, 2]) {
        for hidden in ["10.20.30.40", "bob@example.com", &format!("\"c{n}\"")] {
            assert!(!line.contains(hidden), "{hidden} leaves in {line}");
        }
        // printf bob@example.com | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef
        assert!(
            line.contains("hmac-sha256:0f03a80a5bb45cb698165b3a48abad4fe7183d604b79e6bb198aa8b354f296e9"),
            "{line}"
        );
    }
    assert!(!log.end().contains(HMAC_KEY));
}

#[test]
fn a_key_that_is_missing_or_short_ends_the_daemon_at_its_start() {
    let world = world("hash = [\"userIdentity.email\"]\nkey = \"env:REDACTION_KEY\"");
    world.write(KEY, &object(&records(0..1)));
    for (key, said) in [
        (None, "feed.audit.redact.key: env:REDACTION_KEY: the environment has no such variable"),
        (Some("hush-hush"), "feed.audit.redact.key: env:REDACTION_KEY: the key has fewer than 16 bytes"),
    ] {
        let run = world.run(&["--once"]).expecting(&["redact.key"]);
        let run = key.iter().fold(run, |run, key| run.with_environment("REDACTION_KEY", key));
        let daemon = run.spawn();
        let log = daemon.log.clone();
        assert_eq!(daemon.end().code(), Some(78), "{}", log.end());
        assert!(log.end().contains(said) && !log.end().contains("hush"), "{}", log.end());
        assert!(world.delivered("raw").is_empty());
    }
}

/// One line of a shipper may hold a second record behind the first.
#[test]
fn the_daemon_redacts_each_of_the_records_that_a_shipper_put_into_one_line() {
    let world = World::new();
    let source = world.path("source");
    std::fs::create_dir_all(&source).unwrap();
    let (events, raw) = (world.output("events"), world.output("raw"));
    let world = world.with(&format!(
        "[feed.audit]\nfamily = \"immuta\"\ndirectory = {source:?}\nscan_every = \"1s\"\nsinks = [\"events\", \"raw\"]\n[feed.audit.redact]\ndrop = [\"userId\"]\n\
         [sink.events]\ntype = \"file\"\npath = {events:?}\nencoding = {{ raw_data = true }}\n[sink.raw]\ntype = \"file\"\npath = {raw:?}\nencoding = \"raw\"\n"
    ));
    let wrapped = |number: u32| {
        let record = json!({
            "level": "audit", "message": "Audit - sqlQuery", "dateTime": 1_747_037_350_123_u64 + u64::from(number),
            "userId": "kim@example.org", "recordType": "sqlQuery", "id": format!("rec-{number}"),
        });
        json!({"date": 1.5, "log": record.to_string()}).to_string()
    };
    world.write("logs/a.json", format!("{}{}\n", wrapped(0), wrapped(1)).as_bytes());
    let daemon = world.run(&["--once"]).spawn();
    let log = daemon.log.clone();
    assert!(daemon.end().success(), "{}", log.end());
    for sink in ["events", "raw"] {
        let written = world.delivered(sink);
        assert_eq!(written.len(), 2, "{sink}: {written:?}");
        for (number, line) in written.iter().enumerate() {
            assert!(line.contains(&format!("rec-{number}")) && !line.contains("kim@example.org"), "{line}");
        }
    }
}

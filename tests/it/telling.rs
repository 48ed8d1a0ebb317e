//! Whatever stands still is reported at once: in the log with its cause, in `/readyz`, `/status` and metrics, and to
//! systemd.

use std::time::Duration;

use serde_json::{Value, json};

use super::support::aws::{Aws, REGION, fresh};
use super::support::daemon::{Daemon, Start};
use super::support::emulator::{Emulator, moto};
use super::support::http::request;
use super::support::log::READ_FAILED;
use super::support::proxy::{Fault, Proxy};
use super::support::records::{object, records};
use super::support::service_manager::ServiceManager;
use super::support::waiting::{SOON, eventually};
use super::support::world::{KEY, Place, World, key};

/// Long enough for a busy machine, and far below the ten minutes after which an object is given up.
const AT_ONCE: Duration = Duration::from_secs(90);

/// Waits until `/readyz` has a line that begins with `part`; returns that line.
fn readyz_says(daemon: &Daemon, part: &str) -> String {
    let line = || daemon.page("/readyz").text().lines().find(|line| line.starts_with(part)).map(str::to_owned);
    eventually(&format!("/readyz says {part}"), AT_ONCE, || line().is_some());
    line().unwrap()
}

/// Waits until nothing is failing, anywhere.
fn is_well(daemon: &Daemon) {
    eventually("/readyz says nothing but ready", SOON, || daemon.page("/readyz").text() == "ready\n");
    assert_eq!(status(daemon)["failing"], 0);
    for kind in ["feed", "queue", "sink", "identity", "store"] {
        assert_eq!(daemon.metric(&format!("auditferry_{kind}_failing"), &[]), 0.0, "{kind}");
    }
}

fn status(daemon: &Daemon) -> Value {
    serde_json::from_slice(&daemon.page("/status").body).unwrap()
}

#[test]
fn a_failed_read_is_told_at_once_with_its_cause_and_what_to_do_and_counted() {
    let place = Place::new();
    let proxy = Proxy::to(Aws::emulated().address);
    let world = World::fed_through(&proxy, &place);
    let daemon = world.run(&[]).expecting(&[READ_FAILED]).ready();
    let cases = [
        (Fault::Refused(403, "AccessDenied"), "denied", "policies"),
        (Fault::Refused(400, "KMS.DisabledException"), "kms_denied", "kms:Decrypt"),
        (Fault::Refused(400, "ExpiredToken"), "expired_credentials", "renew"),
        (Fault::Refused(403, "RequestTimeTooSkewed"), "clock_skew", "clock"),
        (Fault::Refused(503, "SlowDown"), "throttled", "objects_at_once"),
        (Fault::Refused(404, "NoSuchBucket"), "no_bucket", "bucket"),
        (Fault::Status(500), "unavailable", "wait"),
        (Fault::Refused(403, "InvalidAccessKeyId"), "bad_credentials", "access key"),
    ];
    for (number, (fault, kind, hint)) in (0..).zip(cases) {
        proxy.breaks(&[fault]);
        place.put([number]);
        let told = || daemon.log.failed_read(kind);
        eventually(&format!("the log tells of {kind}"), AT_ONCE, || told().is_some());
        let told = told().unwrap();
        assert_eq!(told.level, "WARN", "{}", told.line);
        assert!(told.field("object").unwrap().ends_with(&key(number)), "{}", told.line);
        assert!(told.field("hint").unwrap().contains(hint), "{}", told.line);
        assert!(told.field("error").is_some(), "{}", told.line);
        let labels = ["feed=\"audit\"", &format!("kind=\"{kind}\"")];
        daemon.counts("auditferry_reads_failed_total", &labels, 1.0);
        world.comes_to("out", number as usize + 1);
    }
    place.queue.drained();
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..8));
}

#[test]
fn what_fails_again_and_again_is_held_back_and_counted() {
    const OBJECTS: usize = 10;
    let place = Place::new();
    let proxy = Proxy::to(Aws::emulated().address);
    proxy.breaks(&[Fault::Refused(403, "AccessDenied"); 1000]);
    let world = World::fed_through(&proxy, &place);
    let daemon = world.run(&[]).expecting(&[READ_FAILED]).ready();
    place.put(0..OBJECTS as u64);
    daemon.counts("auditferry_reads_failed_total", &["kind=\"denied\""], 2.0 * OBJECTS as f64);
    let entries = daemon.log.entries();
    let told: Vec<_> = entries.iter().filter(|entry| entry.message == READ_FAILED && entry.level == "WARN").collect();
    assert!((1..=2).contains(&told.len()), "one at once, and one more if this took over a minute: {told:?}");
    proxy.heals();
    world.comes_to("out", OBJECTS);
    place.queue.drained();
    let log = daemon.log.clone();
    assert!(daemon.stop().success());
    // The held-back failures are logged at the end, if not before.
    let held_back = |name: &str| {
        let entries = log.entries().into_iter();
        entries.filter_map(|entry| entry.field(name)?.parse::<usize>().ok()).sum::<usize>()
    };
    assert!(held_back("held_back") >= OBJECTS, "{}", log.end());
}

#[test]
fn a_bucket_that_refuses_every_read_shows_as_failing_until_it_does_not() {
    let place = Place::new();
    let proxy = Proxy::to(Aws::emulated().address);
    proxy.breaks(&[Fault::Refused(403, "AccessDenied"); 1000]);
    let world = World::fed_through(&proxy, &place);
    let manager = ServiceManager::in_directory(&world.path("."));
    let start = world.run(&[]).with_environment("NOTIFY_SOCKET", manager.address()).expecting(&[READ_FAILED]);
    place.bucket.put(KEY, &object(&records(0..3)));
    let daemon = start.ready();
    let line = readyz_says(&daemon, "failing: feed audit (read) since 20");
    assert!(line.contains(": denied: ") && line.contains("AccessDenied") && line.contains("s3:GetObject"), "{line}");
    assert_eq!(daemon.page("/readyz").status, 200, "a restart would not help");
    daemon.counts("auditferry_feed_failing", &["feed=\"audit\""], 1.0);
    let told = status(&daemon);
    assert_eq!(told["feeds"]["audit"]["state"], "failing");
    assert_eq!(told["feeds"]["audit"]["failures"][0]["kind"], "denied");
    assert!(told["feeds"]["audit"]["reads_failed"]["denied"].as_u64().unwrap() >= 3, "{told}");
    assert_eq!((&told["queues"]["events"]["state"], &told["sinks"]["out"]["state"]), (&json!("ok"), &json!("ok")));
    eventually("systemd is told", AT_ONCE, || {
        manager.status().is_some_and(|line| line.starts_with("failing: feed audit (denied): reading s3://"))
    });
    proxy.heals();
    world.comes_to("out", 3);
    is_well(&daemon);
    eventually("systemd is told", SOON, || manager.status().as_deref() == Some("collecting"));
    assert!(daemon.log.said("works again").is_some(), "{}", daemon.log.end());
    place.queue.drained();
    assert!(daemon.stop().success());
}

#[test]
fn one_object_that_cannot_be_read_does_not_make_its_feed_a_failing_one() {
    let place = Place::new();
    let proxy = Proxy::to(Aws::emulated().address);
    let world = World::fed_through(&proxy, &place);
    let daemon = world.run(&[]).expecting(&["an object is gone before it was read"]).ready();
    place.put([0]);
    world.comes_to("out", 1);
    for number in 1..4 {
        let told = super::support::aws::told_by_s3(&[(&place.bucket.name, &key(number), "e", "0055AED6DCD90281E5")]);
        place.queue.send(&told);
    }
    daemon.counts("auditferry_objects_total", &["vanished"], 3.0);
    daemon.counts("auditferry_reads_failed_total", &["not_found"], 9.0);
    assert_eq!(daemon.page("/readyz").text(), "ready\n");
    place.queue.drained();
    assert!(daemon.stop().success());
}

#[test]
fn a_queue_that_is_missing_shows_as_failing_until_it_is_there() {
    let aws = Aws::emulated();
    let template = aws.queue();
    let name = fresh("missing");
    let url = template.url.replace(&template.name, &name);
    let place = Place::apart();
    let tables = format!(
        "[feed.audit]\n{}queue = \"later\"\nsinks = [\"out\"]\n[queue.later]\nurl = {url:?}\nregion = {REGION:?}\nendpoint_url = {:?}\n",
        place.feed(&aws.url()),
        aws.url()
    );
    let world = World::new().with(&tables).with_file("out");
    let manager = ServiceManager::in_directory(&world.path("."));
    let start = world.run(&[]).with_environment("NOTIFY_SOCKET", manager.address());
    let daemon = start.expecting(&["the queue cannot be read until this is mended"]).ready();
    let line = readyz_says(&daemon, "failing: queue later (receive) since 20");
    assert!(line.contains(": no_queue: ") && line.contains(&name), "{line}");
    assert_eq!(daemon.page("/readyz").status, 200);
    daemon.counts("auditferry_queue_failing", &["queue=\"later\""], 1.0);
    eventually("systemd is told", AT_ONCE, || {
        manager.status().is_some_and(|line| line.starts_with("failing: queue later (no_queue): there is no queue"))
    });
    let queue = aws.queue_named(&name, json!({}));
    place.bucket.tells_queue(&queue);
    place.bucket.put(KEY, &object(&records(0..2)));
    world.comes_to("out", 2);
    queue.drained();
    is_well(&daemon);
    assert!(daemon.stop().success());
}

#[test]
fn a_queue_that_cannot_be_reached_shows_as_failing() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let place = Place::apart();
    let tables = format!(
        "[feed.audit]\n{}queue = \"away\"\nsinks = [\"out\"]\n[queue.away]\nurl = \"http://{closed}/000000000000/away\"\nregion = {REGION:?}\n",
        place.feed(&Aws::emulated().url())
    );
    let world = World::new().with(&tables).with_file("out");
    let daemon = world.run(&[]).expecting(&["the queue was not read; trying again"]).ready();
    let line = readyz_says(&daemon, "failing: queue away (receive) since 20");
    assert!(line.contains(": unreachable: "), "{line}");
    daemon.counts("auditferry_queue_failing", &["queue=\"away\""], 1.0);
    assert!(daemon.stop().success());
}

/// An account where permissions are enforced, a bucket with three records, and a user without permissions.
struct Account {
    emulator: Emulator,
    aws: Aws,
    bucket: super::support::aws::Bucket,
    access_key: String,
    secret: String,
}

impl Account {
    fn new() -> Self {
        let emulator = moto();
        let aws = Aws { address: emulator.address };
        let bucket = aws.bucket();
        bucket.put(KEY, &object(&records(0..3)));
        aws.form("iam", &[("Action", "CreateUser"), ("UserName", "collector")]);
        let key = aws.form("iam", &[("Action", "CreateAccessKey"), ("UserName", "collector")]);
        let (access_key, secret) = (key.element("AccessKeyId").unwrap(), key.element("SecretAccessKey").unwrap());
        Self { emulator, aws, bucket, access_key, secret }
    }

    /// Turns the check of permissions on or off.
    fn enforces(&self, yes: bool) {
        let unchecked = if yes { "0" } else { "inf" };
        let reply = request(self.emulator.address, "POST", "/moto-api/reset-auth", &[], unchecked.as_bytes());
        assert_eq!(reply.unwrap().status, 200);
    }

    fn feed(&self, keys: &str) -> String {
        format!(
            "[feed.audit]\nfamily = \"databricks\"\nbucket = {:?}\nregion = {REGION:?}\nendpoint_url = {:?}\npath_style = true\nsinks = [\"out\"]\n{keys}\n",
            self.bucket.name,
            self.emulator.url()
        )
    }

    fn run(&self, world: &World) -> Start {
        let start = world.run(&[]).with_environment("AWS_ACCESS_KEY_ID", &self.access_key);
        start.with_environment("AWS_SECRET_ACCESS_KEY", &self.secret)
    }
}

#[test]
fn a_queue_and_a_bucket_that_are_denied_show_as_failing_until_they_are_allowed() {
    let account = Account::new();
    let queue = account.aws.queue();
    account.enforces(true);
    let events = format!(
        "[queue.events]\nurl = {:?}\nregion = {REGION:?}\nendpoint_url = {:?}\n",
        queue.url,
        account.emulator.url()
    );
    let feed = account.feed("queue = \"events\"\nscan_at_start = true\nscan_every = \"1s\"");
    let world = World::new().with(&feed).with(&events).with_file("out");
    let expected = ["the queue cannot be read until this is mended", "the place could not be scanned"];
    let daemon = account.run(&world).expecting(&expected).ready();
    for begin in ["failing: queue events (receive) since 20", "failing: feed audit (list) since 20"] {
        let line = readyz_says(&daemon, begin);
        assert!(line.contains(": denied: ") && line.contains("AccessDenied"), "{line}");
    }
    assert_eq!(daemon.page("/readyz").status, 200);
    daemon.counts("auditferry_queue_failing", &["queue=\"events\""], 1.0);
    daemon.counts("auditferry_feed_failing", &["feed=\"audit\""], 1.0);
    account.enforces(false);
    world.comes_to("out", 3);
    is_well(&daemon);
    assert!(daemon.stop().success());
}

#[test]
fn a_role_that_is_denied_shows_at_its_identity_and_at_what_needs_it() {
    let account = Account::new();
    let trust = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": { "AWS": "*" }, "Action": "sts:AssumeRole",
    }] });
    let all =
        json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "s3:*", "Resource": "*" }] });
    let role = account.aws.role(&trust, &all);
    account.enforces(true);
    let step = format!(
        "[[identity.customer.assume_role]]\nrole_arn = {role:?}\nregion = {REGION:?}\nendpoint_url = {:?}\n",
        account.emulator.url()
    );
    let feed = account.feed("identity = \"customer\"\nscan_every = \"1s\"");
    let world = World::new().with(&feed).with(&step).with_file("out");
    let daemon = account.run(&world).expecting(&["no credentials", "the place could not be scanned"]).ready();
    for begin in ["failing: identity customer (credentials) since 20", "failing: feed audit (list) since 20"] {
        let line = readyz_says(&daemon, begin);
        assert!(line.contains(": no_credentials: ") && line.contains(&role), "{line}");
    }
    daemon.counts("auditferry_identity_failing", &["identity=\"customer\""], 1.0);
    assert_eq!(status(&daemon)["identities"]["customer"]["state"], "failing");
    account.enforces(false);
    world.comes_to("out", 3);
    is_well(&daemon);
    assert!(daemon.stop().success());
}

#[test]
fn a_sink_that_takes_nothing_shows_as_failing_until_it_does() {
    let path = |world: &World| world.path("away/out.ndjson");
    let world = World::fed_by_directory().impatient();
    let late = format!("[sink.late]\ntype = \"file\"\npath = {:?}\nencoding = \"raw\"\n", path(&world));
    let second = world.path("second");
    std::fs::create_dir(&second).unwrap();
    let feed = format!("[feed.second]\nfamily = \"databricks\"\ndirectory = {second:?}\nsinks = [\"late\"]\n");
    let world = world.with(&late).with(&feed);
    let daemon = world.run(&[]).expecting(&["the sink is parked", "a batch was not delivered"]).at_work();
    readyz_says(&daemon, "failing: sink late (deliver) since 20");
    eventually("the other sink is there", SOON, || daemon.page("/readyz").text().starts_with("not ready: sink late\n"));
    assert_eq!(daemon.page("/readyz").status, 503);
    daemon.counts("auditferry_sink_failing", &["sink=\"late\""], 1.0);
    assert_eq!(daemon.metric("auditferry_sink_failing", &["sink=\"out\""]), 0.0);
    std::fs::create_dir(world.path("away")).unwrap();
    is_well(&daemon);
    assert!(daemon.stop().success());
}

#[test]
fn a_sink_that_does_not_answer_shows_as_failing_until_it_does() {
    let world = World::new().impatient().with_directory_feed(&["console"]);
    let world = world.with("[sink.console]\ntype = \"stdout\"\nencoding = \"raw\"\n");
    // More than fits into a pipe that is not read.
    let lines = records(0..2_000);
    world.write(KEY, &object(&lines));
    let mut daemon = world.run(&[]).expecting(&["a sink does not answer"]).with_unread_output().ready();
    let line = readyz_says(&daemon, "failing: sink console (answer) since 20");
    assert!(line.contains(": timeout: it does not answer"), "{line}");
    daemon.counts("auditferry_sink_failing", &["sink=\"console\""], 1.0);
    let output = daemon.read_output();
    is_well(&daemon);
    assert!(daemon.stop().success());
    assert!(output.join().unwrap().lines().count() >= lines.len());
}

#[test]
fn once_says_which_queue_could_not_be_read() {
    let aws = Aws::emulated();
    let template = aws.queue();
    let name = fresh("missing");
    let url = template.url.replace(&template.name, &name);
    let place = Place::apart();
    let tables = format!(
        "[feed.audit]\n{}queue = \"later\"\nsinks = [\"out\"]\n[queue.later]\nurl = {url:?}\nregion = {REGION:?}\nendpoint_url = {:?}\n",
        place.feed(&aws.url()),
        aws.url()
    );
    let world = World::new().with(&tables).with_file("out");
    let daemon = world.run(&["--once"]).expecting(&["the queue cannot be read", "stopped by an error"]).spawn();
    let log = daemon.log.clone();
    assert_eq!(daemon.end().code(), Some(69), "{}", log.end());
    let error = log.said("stopped by an error").and_then(|entry| entry.field("error")).unwrap();
    assert!(error.contains("there is no queue") && error.contains(&name), "{error}");
}

#[test]
fn a_message_that_cannot_be_understood_is_told_at_its_first_receive() {
    let place = Place::new();
    place.queue.send("no notification");
    let world = World::fed_by(&place);
    let daemon = world.run(&[]).expecting(&["a message cannot be understood"]).ready();
    let told = || {
        let mut entries = daemon.log.entries().into_iter();
        entries.find(|entry| entry.message.starts_with("a message cannot be understood; it is left"))
    };
    eventually("the log tells of the message", AT_ONCE, || told().is_some());
    let told = told().unwrap();
    assert_eq!((told.level.as_str(), told.field("receives").as_deref()), ("WARN", Some("1")), "{}", told.line);
    assert!(told.field("reason").is_some() && told.field("queue").as_deref() == Some("events"), "{}", told.line);
    assert!(daemon.stop().success());
}

#[test]
fn a_panic_that_is_caught_is_one_line_of_the_log() {
    let world = World::fed_by_directory();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/damaged/page-that-panics.parquet");
    world.write("a-snappy.parquet", &std::fs::read(fixture).unwrap());
    let start = world.run(&["--once"]).with_environment("AUDITFERRY__FEED__AUDIT__FAMILY", "lakefs");
    let start = start.with_environment("AUDITFERRY__FEED__AUDIT__KEYS", "[\"**\"]");
    let daemon = start.expecting(&["a part of the program panicked", "is quarantined"]).spawn();
    let log = daemon.log.clone();
    assert!(daemon.end().success());
    let places: Vec<Option<String>> = log
        .entries()
        .into_iter()
        .filter(|entry| entry.message == "a part of the program panicked")
        .map(|entry| entry.field("place"))
        .collect();
    let [Some(place)] = &places[..] else { panic!("{places:?}") };
    assert!(place.contains("/parquet-"), "{place}");
}

//! The promises of the S3 sink, kept by the real process against MiniStack, and against a receiver that gives S3's
//! error answers.

use std::collections::BTreeSet;
use std::io::Read;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::support::aws::{Aws, Bucket, REGION, fresh};
use super::support::chance::Chance;
use super::support::daemon::{Daemon, Start};
use super::support::http::Reply;
use super::support::outage;
use super::support::proxy::{Exchange, Fault, Proxy};
use super::support::receiver::{Answer, Receiver, Request, root};
use super::support::records::{assert_once_each, object, record, records};
use super::support::waiting::{SOON, eventually, moment};
use super::support::world::{Place, World};

const IS_AWAY: &str = "a batch was not delivered";
const IS_PARKED: &str = "the sink is parked";
const GOES_ON: &str = "going on without a sink";

/// A short age, for tests that are not about how long events gather.
const GATHERS_BRIEFLY: &str = "batch = { age = \"300ms\" }\n";

/// The table of a sink that writes raw records, with `through` as the S3 endpoint.
fn sink(name: &str, bucket: &str, through: &str, prefix: &str, keys: &str) -> String {
    format!(
        "[sink.{name}]\ntype = \"s3\"\nbucket = {bucket:?}\nregion = {REGION:?}\nendpoint_url = {through:?}\npath_style = true\nprefix = {prefix}\nencoding = \"raw\"\n{keys}\n"
    )
}

/// A directory feed with the sink `out`, whose events gather only briefly.
fn world(bucket: &Bucket, through: &str, prefix: &str, keys: &str) -> World {
    let keys = format!("{GATHERS_BRIEFLY}{keys}");
    World::new().with_directory_feed(&["out"]).with(&sink("out", &bucket.name, through, prefix, &keys))
}

/// A bucket with a queue, and the sinks `out`, a file, and `lake`, whose events gather for the default time.
fn gathering(place: &Place, lake: &Bucket) -> World {
    let url = Aws::emulated().url();
    let world = World::new().with_feed(&place.feed(&url), place, &["out", "lake"]).with_file("out");
    world.with(&sink("lake", &lake.name, &url, "\"out/{feed}\"", ""))
}

fn start(world: &World, expected: &[&'static str]) -> Start {
    world.run(&[]).expecting(expected)
}

fn stop(daemon: Daemon) {
    assert!(daemon.stop().success());
}

/// The content of an object, decompressed according to its key's extension.
fn unpacked(key: &str, body: &[u8]) -> String {
    let mut text = String::new();
    match key.rsplit_once('.').unwrap().1 {
        "gz" => flate2::read::GzDecoder::new(body).read_to_string(&mut text).map(drop).unwrap(),
        "zst" => text = String::from_utf8(zstd::decode_all(body).unwrap()).unwrap(),
        _ => text = String::from_utf8(body.to_vec()).unwrap(),
    }
    text
}

fn lines(bucket: &Bucket) -> Vec<String> {
    let texts = bucket.keys().into_iter().map(|key| unpacked(&key, &bucket.get(&key).body));
    texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn header<'r>(reply: &'r Reply, name: &str) -> Option<&'r str> {
    reply.headers.iter().find(|(own, _)| own == name).map(|(_, value)| &**value)
}

fn takes(bucket: &Bucket, events: usize) {
    eventually("the bucket has the events", SOON, || lines(bucket).len() >= events);
}

/// The answers' status codes for requests of this method.
fn answers(exchanges: &[Exchange], method: &str) -> Vec<u16> {
    exchanges.iter().filter(|exchange| exchange.method == method).map(|exchange| exchange.status).collect()
}

/// A record of another workspace than the other records.
fn elsewhere(n: u64) -> String {
    record(n).replace("3049059095686970", "4711")
}

/// A record from `n` days ago.
fn earlier(n: u64) -> String {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    record(n).replace(&(1_767_225_600_000 + n).to_string(), &(now_ms - n * 86_400_000).to_string())
}

#[test]
fn each_record_arrives_once_in_objects_that_say_what_they_hold() {
    for (compression, suffix) in [("gzip", "ndjson.gz"), ("zstd", "ndjson.zst"), ("none", "ndjson")] {
        let aws = Aws::emulated();
        let bucket = aws.bucket();
        let prefix = "{ template = \"out/{feed}/{metadata.tenant_uid}\", values = [\"3049059095686970\"] }";
        let world = world(&bucket, &aws.url(), prefix, &format!("compression = {compression:?}\n"));
        let daemon = start(&world, &[]).ready();
        world.write("a.json", &object(&records(0..2500)));
        let others: Vec<String> = (2500..2520).map(elsewhere).collect();
        world.write("b.json", &object(&[records(2520..2600), others.clone()].concat()));
        takes(&bucket, 2600);
        stop(daemon);
        assert_once_each(&lines(&bucket), &[records(0..2500), records(2520..2600), others.clone()].concat());
        for key in bucket.keys() {
            let (folder, name) = key.rsplit_once('/').unwrap();
            let written = bucket.get(&key);
            let text = unpacked(&key, &written.body);
            let is_of_others = text.lines().all(|line| others.iter().any(|other| other == line));
            assert_eq!(folder, if is_of_others { "out/audit/other" } else { "out/audit/3049059095686970" });
            assert_eq!(
                Some(name.strip_suffix(suffix).unwrap().trim_end_matches('.')),
                header(&written, "x-amz-meta-auditferry-batch")
            );
            let sha256: String = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(header(&written, "x-amz-meta-auditferry-sha256"), Some(&*sha256));
            assert_eq!(header(&written, "content-type"), Some("application/x-ndjson"));
            let encoding = Some(compression).filter(|compression| *compression != "none");
            assert_eq!(header(&written, "content-encoding"), encoding);
        }
    }
}

#[test]
fn an_object_that_was_written_before_a_crash_is_known_again() {
    let aws = Aws::emulated();
    let (bucket, proxy) = (aws.bucket(), Proxy::to(aws.address));
    let world = world(&bucket, &proxy.url(), "\"out/{feed}\"", "");
    proxy.breaks_writes(&[Fault::Held]);
    let daemon = start(&world, &[]).at_work();
    world.write("a.json", &object(&records(0..60)));
    eventually("the object is written, and nobody was told", SOON, || proxy.held() == 1);
    let before = bucket.keys();
    assert_eq!(before.len(), 1);
    let etag = bucket.etag(&before[0]);
    daemon.kill();
    proxy.release();
    world.once();
    assert_eq!(bucket.keys(), before);
    assert_eq!(bucket.etag(&before[0]), etag);
    assert_once_each(&lines(&bucket), &records(0..60));
    let exchanges = proxy.exchanges();
    assert_eq!((answers(&exchanges, "PUT"), answers(&exchanges, "HEAD")), (vec![200, 412], vec![200]));
    let puts: Vec<&Exchange> = exchanges.iter().filter(|exchange| exchange.method == "PUT").collect();
    assert_eq!((&puts[0].target, &puts[0].body), (&puts[1].target, &puts[1].body));
    assert!(puts.iter().all(|put| put.header("if-none-match") == Some("*")));
}

#[test]
fn however_often_the_process_is_killed_each_record_is_in_one_object() {
    let mut chance = Chance::of_this_run("sink_s3");
    let aws = Aws::emulated();
    let bucket = aws.bucket();
    let world = world(&bucket, &aws.url(), "\"out/{feed}/{date}\"", "");
    let mut written = 0;
    for round in 0..8 {
        let daemon = start(&world, &outage::EXPECTED).at_work();
        for part in 0..3 {
            world.write(&format!("{round}-{part}.json"), &object(&records(written..written + 50)));
            written += 50;
        }
        moment(Duration::from_millis(chance.below(1500) as u64));
        daemon.kill();
    }
    world.once_expecting(&outage::EXPECTED);
    assert_once_each(&lines(&bucket), &records(0..written));
}

#[test]
fn a_bucket_that_fails_for_a_while_gets_each_object_once_however_many_a_batch_makes() {
    let aws = Aws::emulated();
    let (bucket, proxy) = (aws.bucket(), Proxy::to(aws.address));
    let world = world(&bucket, &proxy.url(), "\"out/{date:%Y/%m/%d}\"", "");
    proxy.breaks_writes(&[
        Fault::Refused(503, "SlowDown"),
        Fault::Status(503),
        Fault::Refused(409, "ConditionalRequestConflict"),
        Fault::Refused(500, "InternalError"),
        Fault::Refused(400, "RequestTimeout"),
    ]);
    let daemon = start(&world, &[IS_AWAY]).ready();
    let all: Vec<String> = (0..100).map(earlier).collect();
    world.write("a.json", &object(&all));
    takes(&bucket, 100);
    eventually("the sink has gone on", SOON, || daemon.page("/readyz").status == 200);
    stop(daemon);
    assert_once_each(&lines(&bucket), &all);
    assert_eq!(bucket.keys().len(), 100);
    let statuses: BTreeSet<u16> = answers(&proxy.exchanges(), "PUT").into_iter().collect();
    assert!([200, 400, 409, 500, 503].iter().all(|status| statuses.contains(status)), "{statuses:?}");
}

#[test]
fn while_events_gather_nobody_waits_and_a_stop_writes_them_into_one_object() {
    let (place, lake) = (Place::new(), Aws::emulated().bucket());
    let world = gathering(&place, &lake);
    let daemon = world.start();
    for number in 0..5 {
        place.put([number]);
        world.comes_to("out", number as usize + 1);
    }
    place.queue.drained();
    assert_eq!(lake.keys(), Vec::<String>::new());
    stop(daemon);
    assert_eq!(lake.keys().len(), 1);
    assert_once_each(&lines(&lake), &records(0..5));
    // The objects that the stop left in the backlog turn out to be delivered.
    world.once();
    assert_once_each(&lines(&lake), &records(0..5));
    world.delivered_once_each(&records(0..5));
}

#[test]
fn what_gathers_when_the_process_is_killed_is_read_again() {
    let (place, lake) = (Place::new(), Aws::emulated().bucket());
    let world = gathering(&place, &lake);
    let daemon = world.start();
    place.put(0..5);
    world.comes_to("out", 5);
    place.queue.drained();
    daemon.kill();
    assert_eq!(lake.keys(), Vec::<String>::new());
    world.once();
    assert_once_each(&lines(&lake), &records(0..5));
    world.delivered_once_each(&records(0..5));
}

#[test]
fn a_storm_of_slow_down_is_probed_with_one_object_at_a_time_and_delays_no_other_sink() {
    let receiver = Receiver::that_answers(refusal(503, "SlowDown"));
    let keys = GATHERS_BRIEFLY;
    let world = World::new().with_directory_feed(&["out", "lake"]).with_file("out");
    let world = world.with(&sink("lake", "b-b", &receiver.url(), "\"out/{date:%Y/%m/%d}\"", keys)).impatient();
    let daemon = start(&world, &[IS_AWAY, GOES_ON]).at_work();
    let all: Vec<String> = (0..20).map(earlier).collect();
    world.write("a.json", &object(&all));
    daemon.counts("auditferry_sink_batches_total", &["sink=\"lake\"", "outcome=\"unavailable\""], 6.0);
    let probes = receiver.requests().len();
    assert!((6..=9).contains(&probes), "{probes}");
    world.comes_to("out", 20);
    receiver.answers(Answer::status(200));
    eventually("the objects are written", SOON, || receiver.taken().len() == 20);
    assert_once_each(&receiver.taken_lines(), &all);
    stop(daemon);
}

#[test]
fn a_bucket_that_is_missing_parks_its_sink_until_somebody_makes_it() {
    let aws = Aws::emulated();
    let name = fresh("missing");
    let table = sink("out", &name, &aws.url(), "\"out/{feed}\"", GATHERS_BRIEFLY);
    let world = World::new().with_directory_feed(&["out"]).with(&table).impatient();
    let daemon = start(&world, &[IS_PARKED, GOES_ON]).at_work();
    world.write("a.json", &object(&records(0..3)));
    eventually("the sink is parked", SOON, || daemon.says(IS_PARKED) > 0);
    let bucket = aws.bucket_named(&name);
    takes(&bucket, 3);
    assert_once_each(&lines(&bucket), &records(0..3));
    stop(daemon);
}

fn refusal(status: u16, code: &str) -> Answer {
    Answer::says(status, &format!("<Error><Code>{code}</Code><Message>no</Message><RequestId>R1</RequestId></Error>"))
}

#[test]
fn a_bucket_that_refuses_parks_its_sink_which_goes_on_once_that_is_mended() {
    let somebody_elses = |request: &Request| match &*request.method {
        "PUT" => refusal(412, "PreconditionFailed"),
        _ => Answer::status(200)
            .with("x-amz-meta-auditferry-batch", "another")
            .with("x-amz-meta-auditferry-sha256", "00"),
    };
    let receivers = [
        ("denied", Receiver::that_answers(refusal(403, "AccessDenied")), "allow s3:PutObject on the prefix"),
        ("unknown", Receiver::that_answers(refusal(403, "InvalidAccessKeyId")), "replace the access key"),
        ("missing", Receiver::that_answers(refusal(404, "NoSuchBucket")), "check the name of the bucket"),
        ("encrypted", Receiver::that_answers(refusal(400, "KMS.DisabledException")), "kms:GenerateDataKey"),
        ("taken", Receiver::with_script(somebody_elses), "is another object: its metadata says batch \"another\""),
    ];
    let names: Vec<&str> = receivers.iter().map(|(name, ..)| *name).collect();
    let world = receivers.iter().fold(World::new().with_directory_feed(&names), |world, (name, receiver, _)| {
        world.with(&sink(name, "b-b", &receiver.url(), "\"out/{feed}\"", GATHERS_BRIEFLY))
    });
    let world = world.impatient();
    let daemon = start(&world, &[IS_PARKED, GOES_ON]).at_work();
    world.write("a.json", &object(&records(0..3)));
    for (name, _, expected) in &receivers {
        let told = || {
            let entries = daemon.log.entries().into_iter();
            let mut of_sink = entries.filter(|entry| entry.field("sink").as_deref() == Some(name));
            of_sink.find_map(|entry| entry.field("error").filter(|_| entry.message.contains(IS_PARKED)))
        };
        eventually("the sink is parked", SOON, || told().is_some());
        let error = told().unwrap();
        assert!(error.contains(expected) && error.contains("s3://b-b/out/audit/"), "{name}: {error}");
    }
    for (_, receiver, _) in &receivers {
        receiver.answers(Answer::status(200));
    }
    for (_, receiver, _) in &receivers {
        let puts = || -> Vec<String> {
            let taken = receiver.taken().into_iter().filter(|request| request.method == "PUT");
            taken.flat_map(|request| request.lines()).collect()
        };
        eventually("the bucket has the events", SOON, || puts().len() >= 3);
        assert_once_each(&puts(), &records(0..3));
    }
    stop(daemon);
}

#[test]
fn an_object_is_written_over_tls_as_it_is_configured() {
    let receiver = Receiver::over_tls(|_| Answer::status(200));
    let keys = "storage_class = \"STANDARD_IA\"\nkms_key = \"alias/audit\"\nexpected_bucket_owner = \"123456789012\"\n";
    let table = sink("out", "b-b", &receiver.url(), "\"out/{family}\"", &format!("{GATHERS_BRIEFLY}{keys}"));
    let doubting = World::new().with_directory_feed(&["out"]).with(&table).impatient();
    let daemon = start(&doubting, &[IS_AWAY, GOES_ON]).at_work();
    doubting.write("a.json", &object(&records(0..3)));
    eventually("the certificate is refused", SOON, || daemon.says(IS_AWAY) > 0);
    stop(daemon);
    assert!(receiver.requests().is_empty());

    let trusting = World::new().with_directory_feed(&["out"]).with(&table);
    let daemon = start(&trusting, &[]).with_environment("SSL_CERT_FILE", root().to_str().unwrap()).ready();
    trusting.write("a.json", &object(&records(0..3)));
    eventually("the object is written", SOON, || !receiver.taken().is_empty());
    stop(daemon);
    let [put] = &receiver.taken()[..] else { panic!("{:?}", receiver.taken()) };
    assert!(put.target.starts_with("/b-b/out/databricks/"), "{}", put.target);
    assert_once_each(&put.lines(), &records(0..3));
    for (name, value) in [
        ("if-none-match", "*"),
        ("x-amz-storage-class", "STANDARD_IA"),
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-server-side-encryption-aws-kms-key-id", "alias/audit"),
        ("x-amz-expected-bucket-owner", "123456789012"),
    ] {
        assert_eq!(put.header(name), Some(value), "{name}");
    }
}

fn tests_sink(world: &World) -> Output {
    let _ = world.run(&[]);
    let config = world.path("auditferry.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_auditferry"));
    command.args(["sink", "test", "--config", config.to_str().unwrap(), "out"]);
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    command.output().unwrap()
}

#[test]
fn its_test_writes_one_marked_event_or_says_what_to_do() {
    let aws = Aws::emulated();
    let bucket = aws.bucket();
    let output = tests_sink(&world(&bucket, &aws.url(), "\"out/{feed}\"", ""));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let [event] = &lines(&bucket)[..] else { panic!("{:?}", bucket.keys()) };
    let event: Value = serde_json::from_str(event).unwrap();
    assert_eq!(event["actionName"], "auditferrySinkTest");

    let table = sink("out", "no-such-bucket", &aws.url(), "\"out/{feed}\"", "");
    let output = tests_sink(&World::new().with_directory_feed(&["out"]).with(&table));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_ne!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("NoSuchBucket") && said.contains("check the name of the bucket"), "{said}");
}

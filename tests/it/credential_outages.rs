//! Credentials that end, or are unavailable for a while, cause a delay and nothing else; a wrong clock is compensated.

use jiff::{SignedDuration, Timestamp};

use super::support::credentials::{Read, Source, access_key};
use super::support::daemon::{Daemon, Start};
use super::support::proxy::Fault;
use super::support::receiver::{Answer, Receiver};
use super::support::records::{object, records};
use super::support::small_s3;
use super::support::waiting::{SOON, eventually};
use super::support::world::{World, key};

/// What the log may say while there are no credentials.
const EXPECTED: [&str; 6] = [
    "a page of the listing is asked for again",
    "no credentials",
    "the place could not be scanned",
    "STS returned an error assuming web identity role",
    "provider failed to provide credentials",
    "a read failed and is tried again",
];

fn from_container(start: Start, source: &Source) -> Start {
    start.with_environment("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/credentials", source.url()))
}

fn from_instance(start: Start, source: &Source) -> Start {
    let start = start.with_environment("AWS_EC2_METADATA_DISABLED", "false");
    start.with_environment("AWS_EC2_METADATA_SERVICE_ENDPOINT", &source.url())
}

fn from_web_identity(start: Start, source: &Source) -> Start {
    // Any text file serves as a token here.
    let start = start.with_environment("AWS_WEB_IDENTITY_TOKEN_FILE", "auditferry.toml");
    let start = start.with_environment("AWS_ROLE_ARN", "arn:aws:iam::000000000000:role/audit-reader");
    start.with_environment("AWS_ENDPOINT_URL_STS", &source.url())
}

/// Waits until `/readyz` names the identity as failing, and returns that line.
fn told(daemon: &Daemon) -> String {
    let line = || {
        let text = daemon.page("/readyz").text();
        text.lines()
            .find(|line| line.starts_with("failing: identity default (credentials) since 20"))
            .map(str::to_owned)
    };
    eventually("/readyz tells of the identity", SOON, || line().is_some());
    line().unwrap()
}

/// Row 46: new credentials do not break a body under way, and sign the next request.
#[test]
fn a_body_that_comes_for_longer_than_its_credentials_last_is_read_to_its_end() {
    let read = Read::by("");
    let source = Source::container();
    read.proxy.breaks(&[Fault::Slow]);
    read.bucket.put(&key(0), &object(&records(0..300)));
    let daemon = from_container(read.start(), &source).ready();
    eventually("the first credentials have ended", SOON, || source.asked().len() >= 4);
    read.proxy.release();
    read.world.comes_to("out", 300);
    read.bucket.put(&key(1), &object(&records(300..310)));
    read.world.comes_to("out", 310);
    assert!(daemon.stop().success());
    read.world.delivered_once_each(&records(0..310));
    let reads = read.proxy.reads(&read.bucket.name);
    assert_eq!(reads.len(), 2, "no body was asked for twice");
    assert_eq!((reads[0].status, reads[0].access_key()), (200, Some(&*access_key(1))));
    assert!(reads[1].access_key() > Some(&*access_key(3)), "{:?}", reads[1].access_key());
}

/// Row 47: the last credentials serve until they end, then their absence is reported and waited out. `from` makes a
/// process use the source.
fn is_told_and_waited_out(source: &Source, from: fn(Start, &Source) -> Start) {
    let read = Read::by("");
    read.bucket.put(&key(0), &object(&records([0])));
    let daemon = from(read.start(), source).expecting(&EXPECTED).ready();
    read.world.comes_to("out", 1);
    source.is_away(true);
    let had = read.access_keys().len();
    read.bucket.put(&key(1), &object(&records([1])));
    read.world.comes_to("out", 2);
    let line = told(&daemon);
    assert!(line.contains(": no_credentials: ") && line.contains("failed for now: "), "{line}");
    assert!(line.contains(source.name), "{line}");
    daemon.counts("auditferry_identity_failing", &["identity=\"default\""], 1.0);
    let asked = read.proxy.exchanges().len();
    // A request with further credentials may have been under way when the source went away.
    assert!(read.access_keys().len() <= had + 1, "{:?}", read.access_keys());
    read.bucket.put(&key(2), &object(&records([2])));
    source.is_away(false);
    read.world.comes_to("out", 3);
    assert!(read.access_keys().len() > had && read.proxy.exchanges().len() > asked);
    eventually("nothing fails any more", SOON, || daemon.page("/readyz").text() == "ready\n");
    assert!(daemon.log.said("works again").is_some(), "{}", daemon.log.end());
    assert!(daemon.stop().success());
    read.world.delivered_once_each(&records(0..3));
}

#[test]
fn a_containers_endpoint_that_is_away_is_told_when_its_credentials_have_ended_and_waited_out() {
    is_told_and_waited_out(&Source::container(), from_container);
}

#[test]
fn an_instances_metadata_that_is_away_is_told_when_its_credentials_have_ended_and_waited_out() {
    is_told_and_waited_out(&Source::instance(), from_instance);
}

#[test]
fn an_sts_that_is_away_is_told_when_a_web_identitys_credentials_have_ended_and_waited_out() {
    is_told_and_waited_out(&Source::sts(), from_web_identity);
}

/// An S3 with one object, whose clock is an hour ahead of this machine's. As AWS does, it refuses requests that are
/// signed for a time more than 15 minutes from its own, and its answers carry its time.
fn ahead(content: Vec<u8>) -> Receiver {
    Receiver::with_script(move |request| {
        let now = Timestamp::now() + SignedDuration::from_hours(1);
        let date = |answer: Answer| answer.with("Date", now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
        let signed =
            Timestamp::strptime("%Y%m%dT%H%M%S%z", request.header("x-amz-date").unwrap().replace('Z', "+0000"));
        if signed.unwrap().duration_until(now).abs() > SignedDuration::from_mins(15) {
            let body = "<Error><Code>RequestTimeTooSkewed</Code><Message>The difference between the request time and the \
                        current time is too large.</Message></Error>";
            return date(Answer::says(403, body));
        }
        date(small_s3::answer(request, &content))
    })
}

/// Row 45: after a refusal that carries the service's time, requests are signed for that time, whatever this machine's
/// clock says.
#[test]
fn a_clock_that_is_an_hour_off_costs_a_refusal_and_is_told() {
    let s3 = ahead(object(&records(0..3)));
    let world = World::new().with(&small_s3::feed(&s3.url(), "")).with_file("out");
    let daemon = world.run(&[]).expecting(&["the place could not be scanned"]).ready();
    world.comes_to("out", 3);
    let told = daemon.log.entries().into_iter().find(|entry| entry.field("kind").as_deref() == Some("clock_skew"));
    let told = told.expect("the refusal is told");
    assert!(told.level != "DEBUG" && told.field("hint").unwrap().contains("set this machine's clock"), "{}", told.line);
    assert!(told.field("error").unwrap().contains("RequestTimeTooSkewed"), "{}", told.line);
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..3));
}

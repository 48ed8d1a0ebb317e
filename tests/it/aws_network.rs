//! How AWS is asked: through the environment's proxy, trusting the environment's authority, at the endpoints that it names, and
//! never in the clear beyond this machine.

use std::collections::BTreeSet;
use std::process::Command;

use super::support::aws::{Aws, REGION};
use super::support::daemon::{Daemon, Start};
use super::support::receiver::{Answer, Receiver, root};
use super::support::records::{object, records};
use super::support::small_s3;
use super::support::tunnel::Tunnel;
use super::support::waiting::{SOON, eventually};
use super::support::world::{Place, World, key};

/// What is said where the place cannot be listed.
const EXPECTED: [&str; 6] = [
    "a page of the listing is asked for again",
    "the place could not be scanned",
    "no credentials",
    "the queue was not read",
    "STS returned an error assuming web identity role",
    "provider failed to provide credentials",
];

/// An S3 with one object of three records, over TLS.
fn encrypted() -> Receiver {
    let content = object(&records(0..3));
    Receiver::over_tls(move |request| small_s3::answer(request, &content))
}

fn trusting_root(start: Start) -> Start {
    start.with_environment("AWS_CA_BUNDLE", root().to_str().unwrap())
}

/// Waits for a line of the log, at any level but DEBUG, that holds all of these.
fn tells(daemon: &Daemon, parts: &[&str]) {
    eventually(&format!("the log tells of {parts:?}"), SOON, || {
        let entries = daemon.log.entries();
        entries.iter().any(|entry| entry.level != "DEBUG" && parts.iter().all(|part| entry.line.contains(part)))
    });
}

#[test]
fn requests_to_aws_go_through_the_environments_proxy_with_its_credentials() {
    let (s3, tunnel) = (encrypted(), Tunnel::new());
    let world = World::new().with(&small_s3::feed(&s3.url(), "")).with_file("out");
    let proxy = format!("http://ann:open%20sesame@{}", tunnel.address());
    let daemon = trusting_root(world.run(&[])).with_environment("HTTPS_PROXY", &proxy).ready();
    world.comes_to("out", 3);
    assert!(daemon.stop().success());
    let heads = tunnel.heads();
    let target = s3.url().replace("https://", "CONNECT ");
    assert!(!heads.is_empty() && heads.iter().all(|head| head.starts_with(&target)), "{heads:?}");
    // "ann:open sesame"
    let authorization = "proxy-authorization: basic yw5uom9wzw4gc2vzyw1l";
    assert!(heads.iter().all(|head| head.to_ascii_lowercase().contains(authorization)), "{heads:?}");
}

#[test]
fn hosts_that_no_proxy_names_are_asked_directly() {
    let (s3, tunnel) = (encrypted(), Tunnel::new());
    let world = World::new().with(&small_s3::feed(&s3.url(), "")).with_file("out");
    let start = trusting_root(world.run(&["--once"])).with_environment("NO_PROXY", "example.com,localhost");
    let daemon = start.with_environment("HTTPS_PROXY", &tunnel.address().to_string()).spawn();
    assert!(daemon.end().success());
    world.delivered_once_each(&records(0..3));
    assert_eq!(tunnel.heads(), [""; 0]);
}

#[test]
fn a_proxy_that_refuses_is_told_and_waited_out() {
    let (s3, tunnel) = (encrypted(), Tunnel::new());
    tunnel.refuses(true);
    let world = World::new().with(&small_s3::feed(&s3.url(), "")).with_file("out");
    let start = trusting_root(world.run(&[])).with_environment("HTTPS_PROXY", &tunnel.address().to_string());
    let daemon = start.expecting(&EXPECTED).spawn();
    tells(&daemon, &["listing s3://logs/", "unreachable", "proxy authorization required"]);
    tunnel.refuses(false);
    world.comes_to("out", 3);
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..3));
}

#[test]
fn an_authority_that_nobody_named_is_not_trusted_and_that_is_told() {
    let s3 = encrypted();
    let world = World::new().with(&small_s3::feed(&s3.url(), "")).with_file("out");
    let daemon = world.run(&[]).expecting(&EXPECTED).spawn();
    tells(&daemon, &["listing s3://logs/", "UnknownIssuer"]);
    assert!(daemon.stop().success());
    assert_eq!(s3.requests().len(), 0);
}

#[test]
fn a_bundle_that_is_none_ends_the_process_and_check_warns_of_it() {
    let world = World::new().with(&small_s3::feed("https://localhost:1", "")).with_file("out");
    let start = world.run(&[]).with_environment("AWS_CA_BUNDLE", "/not/there.pem").expecting(&["stopped by an error"]);
    let daemon = start.spawn();
    let log = daemon.log.clone();
    assert_eq!(daemon.end().code(), Some(78), "{}", log.end());
    assert!(log.text().contains("AWS_CA_BUNDLE: /not/there.pem: No such file"), "{}", log.end());
    let check = Command::new(env!("CARGO_BIN_EXE_auditferry"))
        .args(["check", "--config", world.path("auditferry.toml").to_str().unwrap()])
        .env("AWS_CA_BUNDLE", "/not/there.pem")
        .output()
        .unwrap();
    let warned = String::from_utf8(check.stderr).unwrap();
    assert!(check.status.success() && warned.contains("AWS_CA_BUNDLE: /not/there.pem: No such file"), "{warned}");
}

/// The hosts that a process asks which has a bucket, a queue and a role in AWS, with these variables.
fn hosts(variables: &[(&str, &str)]) -> BTreeSet<String> {
    let tunnel = Tunnel::new();
    let feed = "[feed.audit]\nfamily = \"databricks\"\nbucket = \"logs\"\nregion = \"eu-central-1\"\nscan_every = \"1s\"\n\
                queue = \"events\"\nsinks = [\"out\"]\n";
    let role = "[feed.foreign]\nfamily = \"databricks\"\nbucket = \"foreign\"\nregion = \"eu-central-1\"\nscan_every = \"1s\"\n\
                identity = \"reader\"\nsinks = [\"out\"]\n[[identity.reader.assume_role]]\n\
                role_arn = \"arn:aws:iam::000000000000:role/reader\"\n";
    let queue = "[queue.events]\nurl = \"https://sqs.eu-central-1.amazonaws.com/000000000000/events\"\n";
    let world = World::new().with(feed).with(role).with(queue).with_file("out");
    let start = world.run(&[]).with_environment("HTTPS_PROXY", &tunnel.address().to_string()).expecting(&EXPECTED);
    let start = variables.iter().fold(start, |start, (name, value)| start.with_environment(name, value));
    let daemon = start.spawn();
    eventually("bucket, queue and STS were asked for", SOON, || {
        tunnel.hosts().into_iter().collect::<BTreeSet<_>>().len() >= 3
    });
    assert!(daemon.stop().success());
    tunnel.hosts().into_iter().collect()
}

/// The names are those of "AWS service endpoints" (AWS General Reference) for S3, SQS and STS.
#[test]
fn endpoints_are_those_of_fips_and_dual_stack_where_the_environment_asks_for_them() {
    for (variables, expected) in [
        (
            &[][..],
            ["logs.s3.eu-central-1.amazonaws.com", "sqs.eu-central-1.amazonaws.com", "sts.eu-central-1.amazonaws.com"],
        ),
        (
            &[("AWS_USE_FIPS_ENDPOINT", "true")][..],
            [
                "logs.s3-fips.eu-central-1.amazonaws.com",
                "sqs-fips.eu-central-1.amazonaws.com",
                "sts-fips.eu-central-1.amazonaws.com",
            ],
        ),
        (
            &[("AWS_USE_DUALSTACK_ENDPOINT", "true")][..],
            ["logs.s3.dualstack.eu-central-1.amazonaws.com", "sqs.eu-central-1.api.aws", "sts.eu-central-1.api.aws"],
        ),
    ] {
        assert_eq!(hosts(variables), expected.map(str::to_owned).into(), "{variables:?}");
    }
}

/// The token of a web identity is as good as the credentials that it is exchanged for.
#[test]
fn no_token_goes_to_another_machine_in_the_clear() {
    let plain = Receiver::that_answers(Answer::status(503));
    let world = World::new().with(&small_s3::feed("http://127.0.0.1:1", "")).with_file("out");
    std::fs::write(world.path("token"), "a-token").unwrap();
    let start = world.run(&[]).without_access_key().expecting(&EXPECTED);
    let daemon = start
        // Whoever is asked without TLS, and whatever its name: nobody is.
        .with_environment("HTTP_PROXY", &plain.url())
        .with_environment("AWS_ENDPOINT_URL_STS", "http://sts.example")
        .with_environment("AWS_ROLE_ARN", "arn:aws:iam::000000000000:role/audit-reader")
        .with_environment("AWS_WEB_IDENTITY_TOKEN_FILE", world.path("token").to_str().unwrap())
        .spawn();
    tells(&daemon, &["finding the credentials to begin from is refused", "without encryption"]);
    assert!(daemon.stop().success());
    assert_eq!(plain.requests(), []);
}

#[test]
fn what_is_on_this_machine_is_asked_directly_whatever_the_proxy() {
    let place = Place::new();
    let proxy = Receiver::that_answers(Answer::status(503));
    let world = World::fed_by(&place);
    place.put(0..3);
    let start = world.run(&["--once"]).with_environment("HTTP_PROXY", &proxy.url());
    assert!(start.with_environment("http_proxy", &proxy.url()).spawn().end().success());
    world.delivered_once_each(&records(0..3));
    assert_eq!(proxy.requests(), []);
}

/// The bucket's host is the access point's, below that of the endpoint: `reading-000000000000.localhost`.
#[test]
fn a_bucket_is_read_through_an_access_point_by_its_arn() {
    let aws = Aws::emulated();
    let bucket = aws.bucket();
    let arn = aws.access_point_arn(&bucket);
    bucket.put(&key(0), &object(&records(0..3)));
    let feed = format!(
        "[feed.audit]\nfamily = \"databricks\"\nbucket = {:?}\nregion = {REGION:?}\nendpoint_url = \"http://localhost:{}\"\n\
         scan_every = \"1s\"\nsinks = [\"out\"]\n[feed.audit.read_through]\n{:?} = {arn:?}\n",
        bucket.name,
        aws.address.port(),
        bucket.name
    );
    let world = World::new().with(&feed).with_file("out");
    let daemon = world.start();
    world.comes_to("out", 3);
    bucket.put(&key(1), &object(&records(3..5)));
    world.comes_to("out", 5);
    assert!(daemon.stop().success());
    world.delivered_once_each(&records(0..5));
}

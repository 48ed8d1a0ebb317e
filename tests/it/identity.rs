//! Every request uses the identity that the configuration names, and the log names a role that refuses.

use serde_json::{Value, json};

use super::support::aws::{Aws, REGION};
use super::support::emulator::{Emulator, moto};
use super::support::http::request;
use super::support::proxy::Proxy;
use super::support::records::{object, records};
use super::support::waiting::{SOON, eventually};
use super::support::world::{KEY, Place, World};

/// What the log says of a role that cannot be assumed, and of objects that cannot be read without it.
const REFUSED: [&str; 3] = ["assume", "role", "refused"];

fn anybody_may_assume() -> Value {
    json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Principal": { "AWS": "*" }, "Action": "sts:AssumeRole" }] })
}

fn may(action: &str) -> Value {
    json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": action, "Resource": "*" }] })
}

#[test]
fn a_chain_of_roles_is_assumed_in_order_and_the_last_one_reads_the_bucket() {
    let aws = Aws::emulated();
    let place = Place::new();
    let proxy = Proxy::to(aws.address);
    let roles = [aws.role(&anybody_may_assume(), &may("sts:*")), aws.role(&anybody_may_assume(), &may("s3:*"))];
    let step = |role: &str, more: &str| {
        let url = proxy.url();
        format!(
            "[[identity.customer.assume_role]]\nrole_arn = {role:?}\nendpoint_url = {url:?}\nregion = {REGION:?}\n{more}\n"
        )
    };
    let feed = format!("{}identity = \"customer\"\n", place.feed(&proxy.url()));
    let world = World::new()
        .with_feed(&feed, &place, &["out"])
        .with_file("out")
        .with(&step(&roles[0], "session_name = \"first\""))
        .with(&step(&roles[1], "external_id = \"of-the-customer\"\nduration = \"15m\""));
    place.bucket.put(KEY, &object(&records(0..3)));
    let daemon = world.start();
    world.comes_to("out", 3);
    place.queue.drained();
    assert!(daemon.stop().success());

    let exchanges = proxy.exchanges();
    let assumed: Vec<_> = exchanges.iter().filter(|exchange| exchange.body.contains("Action=AssumeRole")).collect();
    assert_eq!(assumed.len(), 2);
    let role_name = |arn: &str| arn.rsplit('/').next().unwrap().to_owned();
    assert!(assumed[0].body.contains(&role_name(&roles[0])) && assumed[0].body.contains("RoleSessionName=first"));
    assert!(assumed[1].body.contains(&role_name(&roles[1])) && assumed[1].body.contains("ExternalId=of-the-customer"));
    assert!(assumed[1].body.contains("DurationSeconds=900"));
    let reads = proxy.reads(&place.bucket.name);
    let keys = [assumed[0], assumed[1], &reads[0]].map(|exchange| exchange.access_key().unwrap().to_owned());
    assert_eq!(keys[0], "test");
    assert!(keys[1] != keys[0] && keys[2] != keys[1] && keys[2] != keys[0], "{keys:?}");
}

/// From here on the emulator checks permissions.
fn enforce_permissions(emulator: &Emulator) {
    let reply = request(emulator.address, "POST", "/moto-api/reset-auth", &[], b"0").unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// A customer's account, where permissions are enforced: a bucket with three records, and a role that may read it and
/// requires the external id `agreed`.
struct Customer {
    emulator: Emulator,
    bucket: String,
    role: String,
    access_key: String,
    secret: String,
}

impl Customer {
    fn new() -> Self {
        let emulator = moto();
        let aws = Aws { address: emulator.address };
        let bucket = aws.bucket();
        bucket.put(KEY, &object(&records(0..3)));
        let trust = json!({ "Version": "2012-10-17", "Statement": [{
            "Effect": "Allow",
            "Principal": { "AWS": "*" },
            "Action": "sts:AssumeRole",
            "Condition": { "StringEquals": { "sts:ExternalId": "agreed" } },
        }] });
        let role = aws.role(&trust, &may("s3:*"));
        let user = aws.form("iam", &[("Action", "CreateUser"), ("UserName", "collector")]);
        assert!(user.element("UserName").is_some());
        let policy = may("sts:AssumeRole").to_string();
        aws.form(
            "iam",
            &[
                ("Action", "PutUserPolicy"),
                ("UserName", "collector"),
                ("PolicyName", "assumes"),
                ("PolicyDocument", &policy),
            ],
        );
        let key = aws.form("iam", &[("Action", "CreateAccessKey"), ("UserName", "collector")]);
        let (access_key, secret) = (key.element("AccessKeyId").unwrap(), key.element("SecretAccessKey").unwrap());
        enforce_permissions(&emulator);
        Self { emulator, bucket: bucket.name, role, access_key, secret }
    }

    /// A world that scans the bucket by way of the role, with this external id.
    fn world(&self, external_id: &str) -> World {
        let url = self.emulator.url();
        let feed = format!(
            "[feed.audit]\nfamily = \"databricks\"\nbucket = {:?}\nregion = {REGION:?}\nendpoint_url = {url:?}\npath_style = true\n\
             identity = \"customer\"\nscan_every = \"1s\"\nsinks = [\"out\"]\n",
            self.bucket
        );
        let step = format!(
            "[[identity.customer.assume_role]]\nrole_arn = {:?}\nexternal_id = {external_id:?}\nregion = {REGION:?}\nendpoint_url = {url:?}\n",
            self.role
        );
        World::new().with(&feed).with(&step).with_file("out")
    }

    fn run(&self, world: &World, arguments: &[&str]) -> super::support::daemon::Start {
        let start = world.run(arguments);
        start
            .with_environment("AWS_ACCESS_KEY_ID", &self.access_key)
            .with_environment("AWS_SECRET_ACCESS_KEY", &self.secret)
    }
}

#[test]
fn the_right_external_id_is_accepted_where_permissions_are_enforced() {
    let customer = Customer::new();
    let world = customer.world("agreed");
    let status = customer.run(&world, &["--once"]).spawn().end();
    assert!(status.success(), "{status}");
    world.delivered_once_each(&records(0..3));
}

#[test]
fn an_external_id_may_be_in_a_variable_and_one_that_is_missing_is_told_by_its_name() {
    let customer = Customer::new();
    let world = customer.world("env:EXTERNAL_ID");
    let start = customer.run(&world, &["--once"]).expecting(&["stopped by an error"]);
    let daemon = start.spawn();
    let log = daemon.log.clone();
    assert_eq!(daemon.end().code(), Some(77), "{}", log.end());
    assert!(log.text().contains("env:EXTERNAL_ID: the environment has no such variable"), "{}", log.end());
    let status = customer.run(&world, &["--once"]).with_environment("EXTERNAL_ID", "agreed").spawn().end();
    assert!(status.success(), "{status}");
    world.delivered_once_each(&records(0..3));
}

#[test]
fn a_wrong_external_id_is_refused_and_the_log_names_the_role() {
    let customer = Customer::new();
    let world = customer.world("guessed");
    let daemon = customer.run(&world, &[]).expecting(&REFUSED).spawn();
    eventually("the log names the role that refuses", SOON, || {
        let named = |entry: &super::support::log::Entry| entry.line.contains(&customer.role) && entry.level != "DEBUG";
        daemon.log.entries().iter().any(named)
    });
    assert!(!daemon.log.text().contains("guessed"), "an external id is nobody's to read");
    assert!(daemon.stop().success());
    assert_eq!(world.delivered("out"), [""; 0]);
}

#[test]
fn the_emulator_of_permissions_refuses_whom_it_does_not_know() {
    let customer = Customer::new();
    let unknown = format!(
        "AWS4-HMAC-SHA256 Credential=AKIAUNKNOWN/20260101/{REGION}/s3/aws4_request, SignedHeaders=host, Signature=0"
    );
    let target = format!("/{}", customer.bucket);
    let reply = request(customer.emulator.address, "GET", &target, &[("Authorization", &unknown)], b"").unwrap();
    assert_eq!(reply.status, 403, "{}", reply.text());
}

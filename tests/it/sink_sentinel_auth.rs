//! How the sink to Microsoft Sentinel authenticates, and what it does if it is refused.

use std::fs;
use std::process::Command;

use super::sink_sentinel::{
    IS_AWAY, IS_PARKED, RAW, RAW_STREAM, once_each, raw, requests, start, stop, takes, told, world_of,
};
use super::support::receiver::{Answer, Receiver, fixture};
use super::support::records::{object, records};
use super::support::sentinel::{Azure, SECRET};
use super::support::waiting::{SOON, eventually};
use super::support::world::KEY;

#[test]
fn a_sink_with_a_wrong_secret_is_parked_and_goes_on_once_the_secret_is_right() {
    let azure = Azure::with(RAW);
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    fs::write(&secret, "old-secret\n").unwrap();
    let keys = azure.keys("sentinel", RAW_STREAM).replace("env:SECRET", &format!("file:{}", secret.display()));
    let world = world_of(&format!("{keys}encoding = \"raw\"\n"));
    let daemon = start(&world, &[IS_PARKED, IS_AWAY[1]]).at_work();
    world.write(KEY, &object(&records(0..3)));
    let error = told(&daemon, IS_PARKED, "error");
    let words = "Invalid client secret provided: ***";
    assert!(error.contains("the token endpoint answers with status 401") && error.contains(words), "{error}");
    fs::write(&secret, SECRET).unwrap();
    takes(&azure, 3);
    // The secret changes while the sink runs.
    azure.knows("third-secret");
    fs::write(&secret, "third-secret").unwrap();
    world.write("b.json", &object(&records(3..6)));
    takes(&azure, 6);
    let log = daemon.log.clone();
    stop(daemon);
    assert_eq!(requests(&azure.rows()), once_each(0..6));
    assert!(["old-secret", SECRET, "third-secret", "token-"].iter().all(|secret| !log.text().contains(secret)));
}

#[test]
fn an_application_without_the_role_is_told_which_it_needs() {
    let azure = Azure::with(RAW);
    azure.has_role(false);
    let world = raw(&azure, "");
    let daemon = start(&world, &[IS_PARKED, IS_AWAY[1]]).at_work();
    world.write(KEY, &object(&records(0..3)));
    let error = told(&daemon, IS_PARKED, "error");
    assert!(error.contains("status 403") && error.contains("Monitoring Metrics Publisher"), "{error}");
    azure.has_role(true);
    takes(&azure, 3);
    stop(daemon);
    assert_eq!(requests(&azure.rows()), once_each(0..3));
}

#[test]
fn an_application_may_show_a_certificate_in_place_of_a_secret() {
    let azure = Azure::with(RAW);
    let shown = |key: &str| {
        let certificate = fixture("entra.pem");
        let shown = format!("certificate = {certificate:?}, key = {:?}", fixture(key));
        let keys = azure.keys("sentinel", RAW_STREAM).replace("client_secret = \"env:SECRET\"", &shown);
        world_of(&format!("{keys}encoding = \"raw\"\n"))
    };
    let world = shown("entra.key.pem");
    let daemon = start(&world, &[]).ready();
    world.write(KEY, &object(&records(0..3)));
    takes(&azure, 3);
    stop(daemon);
    assert_eq!(requests(&azure.rows()), once_each(0..3));
    // A key of the wrong kind is reported before anything is sent.
    let world = shown("localhost.key.pem");
    let _ = world.run(&[]);
    let config = world.path("auditferry.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_auditferry"));
    let output = command.args(["run", "--config", config.to_str().unwrap()]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{told}");
    assert!(told.contains("localhost.key.pem: it holds no RSA key (PEM)"), "{told}");
}

#[test]
fn a_managed_identity_is_asked_where_the_environment_says_and_never_through_the_sinks_proxy() {
    let service = Receiver::with_script(|request| {
        let is_asked = request.header("x-identity-header") == Some("hush-header")
            && request.method == "GET"
            && request.target.starts_with("/msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fmonitor.azure.com");
        let token = r#"{"access_token":"managed-token","expires_on":"9999999999","token_type":"Bearer"}"#;
        if is_asked { Answer::says(200, token) } else { Answer::says(400, "hush-header is wrong") }
    });
    let proxy = Receiver::that_answers(Answer::status(204));
    let world = world_of(&format!(
        "type = \"sentinel\"\nurl = \"http://127.0.0.1:9\"\ndcr_immutable_id = \"dcr-0\"\nstream = \"{RAW_STREAM}\"\n\
         auth = {{ type = \"managed_identity\" }}\nproxy = \"{}\"\n",
        proxy.url()
    ));
    let with = |header: &str, expected: &[&'static str]| {
        let endpoint = service.url() + "/msi/token";
        let start = start(&world, expected).with_environment("IDENTITY_ENDPOINT", &endpoint);
        start.with_environment("IDENTITY_HEADER", header)
    };
    let daemon = with("hush-header", &[]).ready();
    world.write(KEY, &object(&records(0..3)));
    eventually("the rows went through the proxy", SOON, || !proxy.requests().is_empty());
    stop(daemon);
    let sent = proxy.requests();
    assert_eq!((sent.len(), service.requests().len()), (1, 1));
    assert_eq!(sent[0].header("authorization"), Some("Bearer managed-token"));
    assert!(sent[0].target.starts_with("http://127.0.0.1:9/dataCollectionRules/dcr-0/streams/"), "{}", sent[0].target);
    let daemon = with("wrong-header", &[IS_PARKED, IS_AWAY[1]]).at_work();
    world.write("b.json", &object(&records(3..6)));
    let error = told(&daemon, IS_PARKED, "error");
    assert!(error.contains("the token endpoint answers with status 400"), "{error}");
    stop(daemon);
}

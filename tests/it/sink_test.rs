//! `auditferry sink test`: each step on the way to a sink in plain words, and one event without anybody's data.

use std::process::{Command, Output};

use serde_json::Value;

use super::support::receiver::{Answer, Receiver, fixture, root};
use super::support::splunk::{Splunk, TOKEN};
use super::support::world::World;

/// Runs `auditferry sink test` for a sink `out` with these keys. No daemon runs.
fn tested(keys: &str) -> Output {
    let world = World::new().with_directory_feed(&["out"]).with(&format!("[sink.out]\n{keys}\n"));
    let _ = world.run(&[]);
    let config = world.path("auditferry.toml");
    let program = env!("CARGO_BIN_EXE_auditferry");
    Command::new(program).args(["sink", "test", "--config", config.to_str().unwrap(), "out"]).output().unwrap()
}

fn at(receiver: &Receiver) -> String {
    format!("type = \"http\"\nurl = \"{}/in\"\n", receiver.url())
}

fn said(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

#[test]
fn a_sink_that_works_takes_one_marked_event() {
    let receiver = Receiver::that_answers(Answer::status(202));
    let output = tested(&at(&receiver));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output.stderr));
    let steps = said(&output.stdout);
    let words: Vec<&str> = steps.lines().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(words, ["opened", "resolved", "connected", "answered", "taken"]);
    let events = receiver.taken_lines();
    let [event] = &events[..] else { panic!("{events:?}") };
    let event: Value = serde_json::from_str(event).unwrap();
    assert_eq!(event["metadata"]["event_code"], "accounts/auditferrySinkTest");
    assert!(steps.contains(event["metadata"]["uid"].as_str().unwrap()), "{steps}");
}

#[test]
fn a_splunk_is_asked_whether_it_acknowledges_and_says_when_the_event_is_indexed() {
    let splunk = Splunk::new();
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), TOKEN).unwrap();
    let url = splunk.receiver.url();
    let keys = format!("type = \"splunk_hec\"\nurl = \"{url}\"\ntoken = \"file:{}\"\n", token.path().display());
    let output = tested(&keys);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output.stderr));
    assert!(said(&output.stdout).contains(splunk.events()[0]["fields"]["auditferry_uid"].as_str().unwrap()));
    splunk.now(|now| now.acknowledges = false);
    let output = tested(&keys);
    let told = said(&output.stderr);
    assert_eq!(output.status.code(), Some(77), "{told}");
    assert!(told.contains("Splunk Cloud") && told.contains("acknowledge = false"), "{told}");
    assert_eq!(splunk.events().len(), 1, "nothing more was sent");
    let output = tested(&(keys + "acknowledge = false\n"));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output.stderr));
    assert!(said(&output.stdout).ends_with("Splunk Cloud has not\n"), "{}", said(&output.stdout));
}

#[test]
fn a_sink_that_does_not_work_says_at_which_step_and_what_the_daemon_would_do() {
    let cases = [
        (Answer::says(403, "no such token"), 77, "no such token", "park"),
        (Answer::says(503, "come back"), 69, "come back", "try again"),
        (Answer::says(400, "no such field"), 65, "no such field", "quarantine"),
    ];
    for (answer, code, word, consequence) in cases {
        let receiver = Receiver::that_answers(answer);
        let output = tested(&at(&receiver));
        let told = said(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains(word) && told.contains(consequence), "{told}");
        assert!(said(&output.stdout).starts_with("opened"), "{told}");
    }
    let nobody = tested("type = \"http\"\nurl = \"http://127.0.0.1:9/in\"\n");
    let told = said(&nobody.stderr);
    assert!(nobody.status.code() == Some(69) && told.contains("nobody answers at 127.0.0.1:9"), "{told}");
    assert!(said(&nobody.stdout).lines().last().unwrap().starts_with("resolved: "), "{told}");
    let nowhere = tested("type = \"http\"\nurl = \"https://siem.invalid\"\n");
    let told = said(&nowhere.stderr);
    assert!(nowhere.status.code() == Some(69) && told.contains("siem.invalid:443 is not found"), "{told}");
    let secret = tested(
        "type = \"http\"\nurl = \"https://siem.invalid\"\nauth = { type = \"bearer\", token = \"file:/nowhere\" }\n",
    );
    let told = said(&secret.stderr);
    assert!(secret.status.code() == Some(78) && told.contains("/nowhere"), "{told}");
    assert!(said(&secret.stdout).is_empty());
}

#[test]
fn a_sink_over_tls_says_whether_each_side_trusts_the_other() {
    let receiver = Receiver::over_tls(|_| Answer::status(200));
    let trusted = tested(&format!("{}tls = {{ ca = {:?} }}\n", at(&receiver), root()));
    let steps = said(&trusted.stdout);
    assert_eq!(trusted.status.code(), Some(0), "{}", said(&trusted.stderr));
    assert!(steps.lines().any(|line| line == "secured: each side trusts the other, by TLS 1.3"), "{steps}");
    let doubted = tested(&format!("{}tls = {{ ca = {:?} }}\n", at(&receiver), fixture("client-root.pem")));
    let told = said(&doubted.stderr);
    assert!(doubted.status.code() == Some(77) && told.contains("invalid peer certificate"), "{told}");
    assert!(told.contains("`tls.ca`"), "{told}");
    assert_eq!(receiver.taken_lines().len(), 1);
}

#[test]
fn a_sink_on_this_machine_is_not_written_to() {
    let output = tested("type = \"stdout\"\n");
    assert_eq!(output.status.code(), Some(64));
    assert!(said(&output.stdout).is_empty());
}

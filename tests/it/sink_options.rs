//! A sink's encoding options hold for that sink, and for no other sink of the same feed.

use serde_json::{Value, json};

use super::support::ocsf::Schema;
use super::support::records::{object, records};
use super::support::world::{KEY, World};

/// A world with a file sink for each name; the second text is its further keys.
fn world(sinks: &[(&str, &str)]) -> World {
    let names: Vec<&str> = sinks.iter().map(|(name, _)| *name).collect();
    sinks.iter().fold(World::new().with_directory_feed(&names), |world, (name, keys)| {
        let path = world.output(name);
        world.with(&format!("[sink.{name}]\ntype = \"file\"\npath = {path:?}\n{keys}\n"))
    })
}

fn delivered(world: &World, sink: &str) -> Vec<Value> {
    world.delivered(sink).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn two_sinks_of_one_feed_get_each_what_its_options_say() {
    let world = world(&[
        ("plain", ""),
        ("old", "encoding = { ocsf_version = \"1.1.0\", raw_data = true, observables = false }"),
        ("ecs", "encoding = { name = \"ecs\", raw_data = true, labels = false }"),
        ("raw", "encoding = \"raw\""),
        ("envelope", "encoding = { name = \"raw\", envelope = true }"),
    ]);
    let lines = records(0..3);
    world.write(KEY, &object(&lines));
    world.once();
    let [plain, old, ecs, envelope] = ["plain", "old", "ecs", "envelope"].map(|sink| delivered(&world, sink));
    assert_eq!(world.delivered("raw"), lines);
    for ((((line, plain), old), ecs), envelope) in lines.iter().zip(&plain).zip(&old).zip(&ecs).zip(&envelope) {
        assert_eq!(plain["metadata"]["version"], "1.8.0");
        assert!(plain["raw_data"].is_null() && plain["observables"].is_array());
        assert_eq!(old["metadata"]["version"], "1.1.0");
        assert!(old["observables"].is_null());
        assert_eq!(old["raw_data"], *line);
        assert_eq!(ecs["event"]["original"], *line);
        assert!(ecs["tags"].is_null());
        assert_eq!(envelope["record"], *line);
        assert_eq!(envelope["feed"], "audit");
        let uid = &plain["metadata"]["uid"];
        assert_eq!([&old["metadata"]["uid"], &ecs["event"]["id"], &envelope["uid"]], [uid, uid, uid]);
    }
    for (version, sink) in [("1.8.0", "plain"), ("1.1.0", "old")] {
        Schema::of_version(version).assert_valid(world.delivered(sink).iter().map(String::as_str));
    }
}

#[test]
fn standard_output_takes_the_keys_that_all_sinks_have() {
    let keys = "required = false\nlanes = 1\nin_flight = 1\n[sink.console.encoding]\nname = \"raw\"\nenvelope = true\n[sink.console.filter]\nmatch = { \"api.request.uid\" = [\"request-1\", \"request-3\"] }\n[sink.console.batch]\nevents = 1\nbytes = 4096\nage = \"50ms\"\n";
    let world = World::new().with_directory_feed(&["console"]);
    let world = world.with(&format!("[sink.console]\ntype = \"stdout\"\n{keys}"));
    let lines = records(0..5);
    world.write(KEY, &object(&lines));
    let mut daemon = world.run(&["--once"]).with_unread_output().spawn();
    let output = daemon.read_output();
    assert!(daemon.end().success());
    let delivered: Vec<Value> =
        output.join().unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let records: Vec<&Value> = delivered.iter().map(|line| &line["record"]).collect();
    assert_eq!(records, [&json!(lines[1]), &json!(lines[3])]);
}

#[test]
fn each_version_of_ocsf_can_be_asked_for() {
    let versions = ["1.1.0", "1.3.0", "1.5.0", "1.8.0"];
    let keys = versions
        .map(|version| (format!("v{}", &version[2..3]), format!("encoding = {{ ocsf_version = \"{version}\" }}")));
    let sinks: Vec<(&str, &str)> = keys.iter().map(|(name, keys)| (&**name, &**keys)).collect();
    let world = world(&sinks);
    world.write(KEY, &object(&records(0..1)));
    world.once();
    let told = sinks.iter().map(|(sink, _)| delivered(&world, sink)[0]["metadata"]["version"].clone());
    assert_eq!(told.collect::<Vec<_>>(), versions.map(|version| json!(version)));
}

#[test]
fn decode_writes_what_a_sink_of_the_same_options_gets() {
    let cases = [
        (
            "old",
            "encoding = { ocsf_version = \"1.3.0\", observables = false }",
            &["--ocsf-version", "1.3.0", "--no-observables"][..],
        ),
        (
            "ecs",
            "encoding = { name = \"ecs\", raw_data = true, labels = false }",
            &["--encoding", "ecs", "--raw-data", "--no-labels"],
        ),
        ("raw", "encoding = { name = \"raw\", envelope = true }", &["--encoding", "raw", "--envelope"]),
        (
            "columns",
            "encoding = { name = \"columns\", table = \"databricks_audit\" }",
            &["--encoding", "columns", "--table", "databricks_audit"],
        ),
    ];
    let sinks: Vec<(&str, &str)> = cases.iter().map(|(name, keys, _)| (*name, *keys)).collect();
    let world = world(&sinks);
    world.write(KEY, &object(&records(0..2)));
    world.once();
    let path = world.path("source").join(KEY);
    // Leaves out the members that depend on where the object is read.
    let placed = |lines: &str| -> Vec<Value> {
        let without_place = |line: &str| {
            let mut event: Value = serde_json::from_str(line).unwrap();
            for (table, key) in [("metadata", "uid"), ("metadata", "log_source"), ("event", "id"), ("log", "file")] {
                if let Some(table) = event.get_mut(table).and_then(Value::as_object_mut) {
                    table.remove(key);
                }
            }
            for key in ["uid", "object", "feed", "S3Bucket"] {
                event.as_object_mut().unwrap().remove(key);
            }
            if let Some(ocsf) = event.pointer_mut("/unmapped/ocsf").and_then(Value::as_object_mut) {
                ocsf.remove("metadata.log_source");
            }
            event
        };
        lines.lines().map(without_place).collect()
    };
    for (sink, _, flags) in cases {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_auditferry"));
        let command = command.args(["decode", "--family", "databricks", "--object-key", KEY]).args(flags).arg(&path);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let told = String::from_utf8(output.stdout).unwrap();
        assert_eq!(placed(&told), placed(&world.delivered(sink).join("\n")), "{sink}");
    }
    for flags in
        [&["--envelope"][..], &["--encoding", "ecs", "--ocsf-version", "1.3.0"], &["--encoding", "raw", "--raw-data"]]
    {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_auditferry"));
        let output = command.args(["decode", "--family", "databricks"]).args(flags).arg(&path).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{flags:?}");
        assert!(String::from_utf8(output.stderr).unwrap().contains("has no effect"), "{flags:?}");
    }
}

//! What is shipped beside the program holds together: the service unit, the container, the index templates, the crates.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// Crates that may not be built in, and why.
const BANNED: &[(&str, Option<&str>, &str)] = &[
    ("h2", Some("0.4"), "older versions can be flooded with resets"),
    ("rustls", Some("0.23"), "older versions get no mends"),
    ("ring", None, "one cryptography is enough, and it is aws-lc"),
    ("openssl-sys", None, "links a library of the machine"),
    ("native-tls", None, "links a library of the machine"),
    ("backoff", None, "nobody looks after it"),
    ("rustls-pemfile", None, "nobody looks after it"),
];

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn systemd_analyze(arguments: &[&str], unit: &Path) -> Output {
    let output = Command::new("systemd-analyze").args(arguments).arg(unit).output();
    output.unwrap_or_else(|error| panic!("systemd-analyze: {error}; install the package `systemd`"))
}

/// The shipped unit, changed to start the program that was just built, so that it can be checked without an
/// installation.
fn unit(directory: &Path) -> PathBuf {
    let text = read("systemd/auditferry.service");
    let installed = "ExecStart=/usr/local/bin/auditferry ";
    assert!(text.contains(installed));
    let path = directory.join("auditferry.service");
    let here = format!("ExecStart={} ", env!("CARGO_BIN_EXE_auditferry"));
    std::fs::write(&path, text.replace(installed, &here)).unwrap();
    path
}

#[test]
fn systemd_has_nothing_to_say_about_the_unit() {
    let directory = tempfile::tempdir().unwrap();
    let output = systemd_analyze(&["verify"], &unit(directory.path()));
    let said = String::from_utf8_lossy(&output.stderr);
    // systemd-analyze also reports faults of this machine's other units.
    let about_it: Vec<&str> = said.lines().filter(|line| line.contains("auditferry")).collect();
    assert!(about_it.is_empty(), "{}", about_it.join("\n"));
    assert!(output.status.success(), "{said}");
}

#[test]
fn the_unit_exposes_next_to_nothing() {
    let directory = tempfile::tempdir().unwrap();
    // The threshold is in tenths: an exposure of 1.5 on a scale to 10.
    let output =
        systemd_analyze(&["security", "--offline=true", "--threshold=15", "--no-pager"], &unit(directory.path()));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_unit_leaves_time_to_stop_and_does_not_repeat_what_cannot_help() {
    let text = read("systemd/auditferry.service");
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap().to_owned();
    assert!(value("TimeoutStopSec").parse::<u64>().unwrap() > 25);
    // systemd takes an end by SIGTERM, for one, as a clean exit, after which only `always` starts the program again.
    assert_eq!(value("Restart"), "always");
    assert_eq!(value("StartLimitIntervalSec"), "0");
    assert_eq!(value("RestartPreventExitStatus"), "64 65 78");
    assert!(!text.contains("\nSuccessExitStatus="), "no other end is a regular one");
    assert_eq!(value("Type"), "notify");
    assert_eq!(value("StateDirectory"), "auditferry");
}

#[test]
fn what_the_unit_writes_can_be_read_by_its_group_and_its_state_by_nobody() {
    let text = read("systemd/auditferry.service");
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap();
    let user = value("User");
    assert_eq!((user, value("Group")), ("auditferry", "auditferry"));
    // With a dynamic user, logs lie below /var/log/private, which only root may enter.
    assert!(!text.contains("DynamicUser=yes"));
    assert!(read("systemd/auditferry.sysusers").lines().any(|line| line.starts_with(&format!("u {user} "))));
    assert_eq!((value("LogsDirectory"), value("LogsDirectoryMode")), ("auditferry", "0750"));
    assert_eq!((value("RuntimeDirectory"), value("RuntimeDirectoryMode")), ("auditferry", "0750"));
    assert_eq!((value("StateDirectoryMode"), value("UMask")), ("0700", "0077"));
}

#[test]
fn the_container_says_whether_it_is_well() {
    let text = read("deploy/Containerfile");
    let check = text.lines().find(|line| line.starts_with("HEALTHCHECK ")).unwrap();
    let command = check.split_once(" CMD ").unwrap().1;
    assert_eq!(command, "[\"/usr/local/bin/auditferry\", \"health\"]");
    // The command's default is the file that the daemon is started with.
    assert!(text.contains("CMD [\"run\", \"--config\", \"/etc/auditferry/auditferry.toml\"]"));
    let help = Command::new(env!("CARGO_BIN_EXE_auditferry")).args(["health", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("[default: /etc/auditferry/auditferry.toml]"), "{help}");
}

#[test]
fn the_container_runs_as_nobody_without_a_shell() {
    let text = read("deploy/Containerfile");
    assert!(text.contains("\nUSER 65532:65532\n"));
    assert!(text.contains("\nENTRYPOINT [\"/usr/local/bin/auditferry\"]\n"));
    let last = text.rsplit("\nFROM ").next().unwrap();
    assert!(!last.contains("\nRUN "), "the image that runs has no shell to run anything with");
}

/// The image is built of few sources, and Cargo finds all that it needs among them.
#[test]
fn the_container_is_built_of_the_sources_alone() {
    let text = read("deploy/Containerfile");
    let ignore = read(".dockerignore");
    let allowed: Vec<&str> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(ignore.lines().any(|line| line == "*"), "all else stays out");
    let directory = tempfile::tempdir().unwrap();
    let mut copied = BTreeSet::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|line| !line.starts_with("--from")) {
        let words: Vec<&str> = line.split(' ').collect();
        for source in &words[..words.len() - 1] {
            let target = directory.path().join(source);
            std::fs::create_dir_all(target.parent().unwrap()).unwrap();
            let copy = Command::new("cp").arg("-r").arg(root().join(source)).arg(&target).status().unwrap();
            assert!(copy.success(), "{source}");
            copied.insert(*source);
        }
    }
    assert_eq!(copied, allowed.into_iter().collect());
    let looked = Command::new("cargo")
        .args(["metadata", "--offline", "--no-deps", "--format-version=1", "--manifest-path"])
        .arg(directory.path().join("Cargo.toml"))
        .output()
        .unwrap();
    assert!(looked.status.success(), "{}", String::from_utf8_lossy(&looked.stderr));
}

#[test]
fn the_bill_of_materials_names_what_is_built_in_and_nothing_else() {
    let output = Command::new("python3").arg(root().join("deploy/sbom.py")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bom: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&bom["bomFormat"], &bom["specVersion"]), (&"CycloneDX".into(), &"1.6".into()));
    assert_eq!(bom["metadata"]["component"]["version"], env!("CARGO_PKG_VERSION"));
    let lock = read("Cargo.lock");
    let mut named = BTreeSet::new();
    for component in bom["components"].as_array().unwrap() {
        let text = |key: &str| component[key].as_str().unwrap();
        let locked = format!("name = \"{}\"\nversion = \"{}\"\n", text("name"), text("version"));
        let (_, entry) = lock.split_once(&locked).unwrap_or_else(|| panic!("{locked} is not in Cargo.lock"));
        let checksum = entry.lines().find_map(|line| line.strip_prefix("checksum = ")).unwrap();
        assert_eq!(component["hashes"][0]["content"], checksum.trim_matches('"'), "{locked}");
        named.insert(text("name"));
    }
    // Crates that Cargo.toml names, that other crates pull in, and that build C code. Crates for tests alone or for
    // other systems are left out.
    for name in ["tokio", "rustls", "h2", "aws-lc-sys", "libsqlite3-sys"] {
        assert!(named.contains(name), "{name}");
    }
    for name in ["proptest", "windows-sys", "auditferry"] {
        assert!(!named.contains(name), "{name}");
    }
}

/// Whether a field is indexed, by itself or inside a flattened field.
fn is_mapped(properties: &Value, path: &[&str]) -> bool {
    let Some((first, rest)) = path.split_first() else { return false };
    match &properties[*first] {
        Value::Null => false,
        field if field["properties"].is_object() => is_mapped(&field["properties"], rest),
        field => rest.is_empty() || matches!(field["type"].as_str(), Some("flattened" | "flat_object")),
    }
}

/// Adds the paths of all values of an event to `found`.
fn leaves(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| leaves(value, &format!("{path}{name}/"), found))
        }
        Value::Array(values) => values.iter().for_each(|value| leaves(value, path, found)),
        _ => drop(found.insert(path.to_owned())),
    }
}

/// The events of all families' fixtures.
fn decoded(encoding: &str) -> Vec<Value> {
    let fixtures = [
        ("databricks", "auditlogs_7.json"),
        ("immuta", "mixed.log"),
        ("lakefs", "rows.jsonl"),
        ("s3_access", "2024-02-12-08-00-00-0A1B2C3D4E5F6789"),
        ("ydb", "common.log"),
        ("ydb", "stream.log"),
    ];
    let of = |(family, name): (&str, &str)| {
        let fixture = root().join("tests/fixtures").join(family).join(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_auditferry"));
        command.args(["decode", "--family", family, "--encoding", encoding, "--raw-data"]).arg(fixture);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let texts: Vec<String> = fixtures.into_iter().map(of).collect();
    texts.iter().flat_map(|text| text.lines()).map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_index_templates_name_every_field_that_is_written_and_no_log_adds_one() {
    for encoding in ["ocsf", "ecs"] {
        let events = decoded(encoding);
        assert!(events.len() > 50, "{encoding}");
        for product in ["elasticsearch", "opensearch"] {
            let template: Value = serde_json::from_str(&read(&format!("deploy/{product}/{encoding}.json"))).unwrap();
            let mappings = &template["template"]["mappings"];
            assert_eq!(mappings["dynamic"], false);
            let mut written = BTreeSet::from(["@timestamp/".to_owned()]);
            events.iter().for_each(|event| leaves(event, "", &mut written));
            let is_missing = |path: &&String| {
                let path: Vec<&str> = path.split_terminator('/').collect();
                !is_mapped(&mappings["properties"], &path)
            };
            assert_eq!(
                written.iter().filter(is_missing).collect::<Vec<_>>(),
                Vec::<&String>::new(),
                "{product} {encoding}"
            );
        }
    }
}

/// Whether an Azure Monitor column of type `column` takes the value.
fn fits(value: &Value, column: &str) -> bool {
    match column {
        "dynamic" => value.is_object() || value.is_array(),
        "long" => value.is_i64(),
        "datetime" | "string" => value.is_string(),
        _ => false,
    }
}

#[test]
fn the_table_for_sentinel_has_a_column_for_each_member_of_an_event_and_the_rule_declares_it() {
    for name in ["ocsf", "raw", "databricks"] {
        let template: Value = serde_json::from_str(&read(&format!("deploy/sentinel/{name}.json"))).unwrap();
        let columns = |columns: &Value| -> BTreeMap<String, String> {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            columns.as_array().unwrap().iter().map(|column| (text(&column["name"]), text(&column["type"]))).collect()
        };
        let (table, rule) = (&template["resources"][0]["properties"], &template["resources"][1]["properties"]);
        let flow = &rule["dataFlows"][0];
        let (stream, in_table) = (flow["outputStream"].as_str().unwrap(), columns(&table["schema"]["columns"]));
        assert_eq!(format!("Custom-{}", table["schema"]["name"].as_str().unwrap()), stream);
        assert_eq!([&flow["streams"][0], &template["outputs"]["stream"]["value"]], [stream, stream]);
        // The rule adds `TimeGenerated`, the one column that the stream need not declare.
        let mut declared = columns(&rule["streamDeclarations"][stream]["columns"]);
        declared.insert("TimeGenerated".to_owned(), "datetime".to_owned());
        assert_eq!(declared, in_table, "{name}");
        assert!(declared.contains_key("EventUid") && declared.contains_key("EventTime"), "{name}");
        if name == "ocsf" {
            for event in decoded("ocsf") {
                for (member, value) in event.as_object().unwrap() {
                    let column = declared.get(member).unwrap_or_else(|| panic!("{member} has no column"));
                    assert!(fits(value, column), "{member}: {value} is no {column}");
                }
            }
        }
    }
}

#[test]
fn no_banned_crate_is_built_in() {
    // Cargo.lock also lists crates of features that are off; `cargo tree` lists what is built.
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let crates: Vec<(&str, &str)> = tree
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?, words.next()?.strip_prefix('v')?))
        })
        .collect();
    assert!(crates.iter().any(|(name, _)| *name == "aws-sdk-s3"), "the tree is read");
    let listed = read(".deny.toml");
    for (banned, from, reason) in BANNED {
        let entry = match from {
            Some(from) => format!("\"{banned}:<{from}\""),
            None => format!("\"{banned}\""),
        };
        assert!(listed.contains(&entry), "{entry} is not in .deny.toml");
        for (name, version) in crates.iter().filter(|(name, _)| name == banned) {
            let old = from.is_none_or(|from| number(version) < number(from));
            assert!(!old, "{name} {version}: {reason}");
        }
    }
}

/// Major and minor version.
fn number(version: &str) -> Vec<u64> {
    version.split('.').take(2).map(|part| part.parse().unwrap()).collect()
}

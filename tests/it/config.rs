//! What the configuration promises: the examples run, the reference is complete, a fault is reported with its file and
//! line.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use auditferry::testing::config::{Admin, Config, Limits, Log, feed};
use auditferry::testing::family::RedactionConfig;
use auditferry::testing::notification::queue;
use auditferry::testing::{identity, sink, transport, users};
use serde::de::{self, DeserializeOwned};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn auditferry(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_auditferry"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AUDITFERRY__")) {
        command.env_remove(name);
    }
    command.args(arguments).output().unwrap()
}

fn examples() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("config")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect()
}

#[test]
fn every_example_is_valid() {
    let examples = examples();
    assert!(examples.len() >= 4, "{examples:?}");
    for example in examples {
        let output = auditferry(&["check", "--config", example.to_str().unwrap()]);
        let said = String::from_utf8(output.stdout).unwrap();
        let complaints = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{}: {complaints}", example.display());
        assert!(said.starts_with("configuration is valid: "), "{said}");
        assert!(!complaints.contains("is used by no"), "{}: {complaints}", example.display());
    }
}

#[test]
fn every_example_is_explained() {
    for example in examples() {
        let name = example.file_stem().unwrap().to_str().unwrap();
        let page = name.split('-').next().unwrap();
        let path = root().join("config").join(format!("{page}.md"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(text.contains(&format!("({name}.toml)")), "{} does not link {name}.toml", path.display());
    }
}

#[test]
fn a_wrong_configuration_ends_with_78_and_names_each_fault() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.toml");
    std::fs::write(
        &path,
        "state_dir = \"/s\"\n[feed.dbx]\nfamly = \"databricks\"\nbucket = \"logs\"\nsinks = [\"nowhere\"]\n",
    )
    .unwrap();
    for command in ["check", "run"] {
        let output = auditferry(&[command, "--config", path.to_str().unwrap()]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{said}");
        let path = path.display();
        for line in [
            format!("{path}:3: feed.dbx.famly: unknown key `famly`; did you mean `family`?"),
            format!("{path}:2: feed.dbx: missing key `family`"),
            "missing key `sink`".to_owned(),
        ] {
            assert!(said.lines().any(|said| said == line), "{line}\nis not in\n{said}");
        }
    }
}

#[test]
fn a_group_that_is_not_there_is_a_wrong_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.toml");
    let text = "state_dir = \"/s\"\n[feed.a]\nfamily = \"databricks\"\nbucket = \"logs\"\nsinks = [\"out\"]\n[sink.out]\ntype = \"file\"\npath = \"/out\"\ngroup = \"no-such-group\"\n";
    std::fs::write(&path, text).unwrap();
    for command in ["check", "run"] {
        let output = auditferry(&[command, "--config", path.to_str().unwrap()]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{command}: {said}");
        let expected =
            format!("{}:9: sink.out.group: there is no group `no-such-group` on this machine", path.display());
        assert!(said.lines().any(|line| line == expected), "{command}: {said}");
    }
}

#[test]
fn what_ends_the_program_is_told_by_its_code() {
    for (arguments, code) in [
        (&["check", "--config", "/not/there.toml"][..], 66),
        (&["check"], 64),
        (&["fly"], 64),
        (&[], 64),
        (&["--version"], 0),
        (&["run", "--help"], 0),
    ] {
        let output = auditferry(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
    }
}

#[test]
fn text_of_digits_in_a_variable_is_text_and_a_foreign_variable_is_nobodys_matter() {
    use std::os::unix::ffi::OsStrExt;
    let config = root().join("config/databricks.toml");
    let output = Command::new(env!("CARGO_BIN_EXE_auditferry"))
        .args(["check", "--config", config.to_str().unwrap()])
        .env("AUDITFERRY__FEED__DATABRICKS__EXPECTED_BUCKET_OWNER", "011122223333")
        .env("AUDITFERRY__LIMITS__BATCH_BYTES", "4096")
        .env("NOT_OURS", std::ffi::OsStr::from_bytes(b"\xff"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// The names of a struct's fields, as its `Deserialize` implementation requests them.
fn keys<T: DeserializeOwned>() -> BTreeSet<String> {
    let told = match T::deserialize(Asked) {
        Ok(_) => panic!("nothing was there to read"),
        Err(error) => error.to_string(),
    };
    told.split(' ').filter(|key| !key.is_empty()).map(str::to_owned).collect()
}

fn names(keys: &[&str]) -> BTreeSet<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

/// A deserializer that reads nothing: its error lists the fields that were requested.
struct Asked;

impl<'de> de::Deserializer<'de> for Asked {
    type Error = de::value::Error;

    fn deserialize_any<V: de::Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom(""))
    }

    fn deserialize_struct<V: de::Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom(fields.join(" ")))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// The default of each key by heading, from the tables of `config/reference.md`.
fn reference() -> BTreeMap<String, BTreeMap<String, String>> {
    let text = std::fs::read_to_string(root().join("config/reference.md")).unwrap();
    let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut heading = String::new();
    for line in text.lines() {
        if line.starts_with('#') {
            heading = line.trim_start_matches('#').trim().to_owned();
        } else if let Some(row) = line.strip_prefix("| `") {
            let (key, rest) = row.split_once("` | ").unwrap();
            let default = rest.split(" | ").next().unwrap();
            sections.entry(heading.clone()).or_default().insert(key.to_owned(), default.to_owned());
        }
    }
    sections
}

#[test]
fn the_reference_names_every_key_and_no_other() {
    let reference = reference();
    let expected = [
        ("Top level", keys::<Config>()),
        ("`[admin]`", keys::<Admin>()),
        ("`[log]`", keys::<Log>()),
        ("`[limits]`", keys::<Limits>()),
        ("`[identity.<name>]`", keys::<identity::Config>()),
        ("`[[identity.<name>.assume_role]]`", keys::<identity::RoleConfig>()),
        ("`[queue.<name>]`", keys::<queue::Config>()),
        ("`[feed.<name>]`", keys::<feed::Config>()),
        ("`[feed.<name>.redact]`", keys::<RedactionConfig>()),
        ("`[feed.<name>.users]`", keys::<users::Config>()),
        ("`[sink.<name>]`", sink::SHARED_KEYS.iter().map(|key| (*key).to_owned()).collect()),
        ("`[sink.<name>]`, `type = \"file\"`", keys::<sink::FileConfig>()),
        ("`[sink.<name>]`, `type = \"stdout\"`", keys::<sink::StdoutConfig>()),
        ("`[sink.<name>.encoding]`", keys::<sink::EncodingConfig>()),
        ("`[sink.<name>.filter]`", keys::<sink::FilterConfig>()),
        ("`[sink.<name>.batch]`", keys::<sink::BatchConfig>()),
        ("`[sink.<name>]`, over HTTP", names(sink::NETWORK_KEYS)),
        ("`[sink.<name>]`, `type = \"http\"`", keys::<sink::HttpConfig>()),
        ("`[sink.<name>]`, `type = \"elasticsearch\"`", keys::<sink::ElasticsearchConfig>()),
        ("`[sink.<name>]`, `type = \"s3\"`", keys::<sink::S3Config>()),
        ("`[sink.<name>]`, `type = \"sentinel\"`", keys::<sink::SentinelConfig>()),
        ("`[sink.<name>]`, `type = \"splunk_hec\"`", keys::<sink::HecConfig>()),
        ("`status`", keys::<transport::StatusConfig>()),
        ("`tls`", keys::<transport::TlsConfig>()),
        ("`auth`, `type = \"bearer\"`", keys::<transport::BearerAuth>()),
        ("`auth`, `type = \"basic\"`", keys::<transport::BasicAuth>()),
        ("`auth`, `type = \"header\"`", keys::<transport::HeaderAuth>()),
        ("`auth`, `type = \"hmac\"`", keys::<transport::HmacAuth>()),
        ("`auth`, `type = \"oauth2\"`", keys::<transport::OauthConfig>()),
        ("`auth`, `type = \"entra\"`", keys::<transport::EntraConfig>()),
        ("`auth`, `type = \"managed_identity\"`", keys::<transport::ManagedIdentityConfig>()),
    ];
    let presets: Vec<(String, &[&str])> = sink::PRESETS
        .iter()
        .map(|preset| (format!("`[sink.<name>]`, `type = \"{}\"`", preset.name), preset.keys()))
        .filter(|(_, keys)| !keys.is_empty())
        .collect();
    let expected: Vec<(&str, BTreeSet<String>)> =
        expected.into_iter().chain(presets.iter().map(|(heading, keys)| (&**heading, names(keys)))).collect();
    assert_eq!(reference.len(), expected.len(), "{:?}", reference.keys());
    for (heading, keys) in expected {
        assert!(!keys.is_empty(), "{heading}");
        let told: BTreeSet<String> =
            reference.get(heading).unwrap_or_else(|| panic!("{heading}")).keys().cloned().collect();
        assert_eq!(told, keys, "{heading}");
    }
}

#[test]
fn the_reference_tells_the_defaults_as_they_are() {
    let reference = reference();
    let directory = tempfile::tempdir().unwrap();
    let limits: Vec<String> = reference["`[limits]`"]
        .iter()
        .filter(|(_, default)| default.starts_with('`'))
        .map(|(key, default)| format!("{key} = {}", default.trim_matches('`')))
        .collect();
    let queue: Vec<String> = reference["`[queue.<name>]`"]
        .iter()
        .filter(|(_, default)| default.starts_with('`'))
        .map(|(key, default)| format!("{key} = {}", default.trim_matches('`')))
        .collect();
    let users: Vec<String> = reference["`[feed.<name>.users]`"]
        .iter()
        .filter(|(_, default)| default.starts_with('`'))
        .map(|(key, default)| format!("{key} = {}\n", default.trim_matches('`')))
        .collect();
    assert_eq!(users.len(), 4);
    let required = "endpoint = \"https://lake\"\naccess_key_id = \"env:ID\"\nsecret_access_key = \"env:SECRET\"\n";
    let feed = |name: &str| {
        format!(
            "[feed.{name}]\nfamily = \"lakefs\"\nbucket = \"{name}-logs\"\nsinks = [\"out\"]\n[feed.{name}.users]\n{required}"
        )
    };
    let feeds = format!("{}{}{}", feed("said"), users.concat(), feed("unsaid"));
    let rest = "[feed.dbx]\nfamily = \"databricks\"\nbucket = \"logs\"\nqueue = \"q\"\nsinks = [\"out\"]\n[sink.out]\ntype = \"stdout\"\n";
    let text = format!(
        "state_dir = \"/s\"\n[limits]\n{}\n[queue.q]\nname = \"q\"\n{}\n{feeds}{rest}",
        limits.join("\n"),
        queue.join("\n")
    );
    let path = directory.path().join("defaults.toml");
    std::fs::write(&path, text).unwrap();
    let config = auditferry::testing::config::load::load(&[path], []).unwrap().config;
    assert_eq!(format!("{:?}", config.limits), format!("{:?}", Limits::default()));
    let users = |feed: &str| format!("{:?}", config.feed[feed].users);
    assert_eq!(users("said"), users("unsaid"));
    let expected = queue::Config { name: Some("q".to_owned()), ..queue::Config::default() };
    assert_eq!(format!("{:?}", config.queue["q"]), format!("{expected:?}"));
}

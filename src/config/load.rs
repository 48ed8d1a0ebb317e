//! Loads the configuration from files and environment, and names every fault with its file, key and line.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use config::Map;
use config::Value;
use config::ValueKind;

use crate::config::Config;
use crate::config::check;
use crate::config::layers::Layers;
use crate::config::value;
use crate::config::value::Complaint;
use crate::config::value::Fault;
use crate::config::value::KeyPath;

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// How many faults are collected before the rest is left for the next try.
const FAULTS_MAX: usize = 50;

/// A configuration that holds together.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// The files it came from, in order.
    pub sources: Vec<PathBuf>,
    /// What is allowed and yet likely to be a mistake, a sentence each.
    pub warnings: Vec<String>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Invalid(Problems),
}

/// Everything that is wrong, in the order of files and lines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(Problem::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Problem {
    /// The file, or the environment variable by name. None where something is missing altogether.
    pub source: Option<String>,
    /// The line in the file, from 1.
    pub line: Option<usize>,
    /// The key's whole path, such as `feed.dbx.queue`.
    pub key: String,
    /// What is wrong and what is expected.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.source, self.line) {
            (Some(source), Some(line)) => write!(f, "{source}:{line}: ")?,
            (Some(source), None) => write!(f, "{source}: ")?,
            (None, _) => {}
        }
        if self.key.is_empty() { write!(f, "{}", self.message) } else { write!(f, "{}: {}", self.key, self.message) }
    }
}

/// Loads the files, later ones overriding earlier, and over them the variables (`AUDITFERRY__LIMITS__BATCH_BYTES`).
/// Touches nothing but these files.
pub fn load(files: &[PathBuf], variables: impl IntoIterator<Item = (String, String)>) -> Result<Loaded, LoadError> {
    let mut layers = Layers::default();
    let mut problems = Vec::new();
    for path in files {
        let text = read_file(path).map_err(|source| LoadError::Unreadable { path: path.clone(), source })?;
        if let Err(error) = layers.add_file(path, &text) {
            problems.push(Problem {
                source: Some(error.origin.source.to_string()),
                line: error.origin.line,
                key: String::new(),
                message: error.message,
            });
        }
    }
    layers.add_environment(variables);
    if !problems.is_empty() {
        return Err(LoadError::Invalid(Problems(problems)));
    }
    let (config, faults) = typed(&layers);
    problems.extend(faults.iter().map(|fault| locate(&layers, &fault.at, sentence(fault))));
    let Some((config, names)) = config else { return Err(invalid(problems)) };
    let found = check::check(&config, &names);
    problems.extend(found.problems.into_iter().map(|(at, message)| locate(&layers, &at, message)));
    if !problems.is_empty() {
        return Err(invalid(problems));
    }
    Ok(Loaded { config, sources: files.to_vec(), warnings: found.warnings })
}

fn invalid(mut problems: Vec<Problem>) -> LoadError {
    problems.sort();
    problems.dedup();
    LoadError::Invalid(Problems(problems))
}

fn read_file(path: &Path) -> io::Result<String> {
    let bytes = std::fs::metadata(path)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{bytes} bytes are more than {FILE_BYTES_MAX}"),
        ));
    }
    std::fs::read_to_string(path)
}

fn locate(layers: &Layers, at: &[String], message: String) -> Problem {
    let origin = layers.origin(at);
    Problem {
        source: origin.map(|origin| origin.source.to_string()),
        line: origin.and_then(|origin| origin.line),
        key: at.join("."),
        message,
    }
}

/// Reads the tree again and again, each time without what was found faulty, so that all faults are told at once.
///
/// The configuration that is left lacks those parts: it serves to check the others, not to run.
fn typed(layers: &Layers) -> (Option<(Config, check::Names)>, Vec<Fault>) {
    let mut tree = match layers.merged() {
        Ok(tree) => tree,
        Err(error) => {
            return (None, vec![Fault { at: KeyPath::new(), complaint: Complaint::Other(error.to_string()) }]);
        }
    };
    let names = check::Names {
        feeds: keys_of(&tree, "feed"),
        sinks: keys_of(&tree, "sink"),
        queues: keys_of(&tree, "queue"),
        identities: keys_of(&tree, "identity"),
    };
    let mut faults = Vec::new();
    let mut blamed: BTreeSet<KeyPath> = BTreeSet::new();
    while faults.len() < FAULTS_MAX {
        let fault = match value::read::<Config>(&tree) {
            Ok(config) => return (Some((config, names)), faults),
            Err(fault) => narrowed(&tree, fault),
        };
        let missing = match fault.complaint {
            Complaint::MissingKey(key) => Some(key),
            _ => None,
        };
        let whole: KeyPath = fault.at.iter().cloned().chain(missing.map(str::to_owned)).collect();
        let mended = match missing {
            Some(key) if fault.at.is_empty() => stand_in(&mut tree, key, &fault),
            // A table is of no use without a key it must have; it goes as a whole.
            _ => match remove(&mut tree, &fault.at) {
                Some(removed) => blamed.insert(removed.to_vec()) || missing.is_some(),
                None => false,
            },
        };
        // What was taken out is missing now, and was told already.
        if missing.is_none() || !blamed.contains(&whole) {
            faults.push(fault);
        }
        if !mended {
            break;
        }
    }
    (None, faults)
}

fn keys_of(tree: &Value, section: &str) -> BTreeSet<String> {
    match table(tree).and_then(|root| root.get(section)).and_then(table) {
        Some(section) => section.keys().cloned().collect(),
        None => BTreeSet::new(),
    }
}

/// Serde reads a table whose `type` chooses its shape at once, and tells a fault only of the whole. The key that is to
/// blame is the one without which the complaint is another.
fn narrowed(tree: &Value, fault: Fault) -> Fault {
    let Some(inside) = descend(tree, &fault.at).and_then(table) else { return fault };
    if matches!(fault.complaint, Complaint::MissingKey(_) | Complaint::UnknownKey { .. }) {
        return fault;
    }
    // Without its `type` a table always draws another complaint, so that key is blamed last.
    let mut keys: Vec<&String> = inside.keys().collect();
    keys.sort_by_key(|key| (*key == "type", *key));
    for key in keys {
        let mut without = tree.clone();
        let at: KeyPath = fault.at.iter().chain([key]).cloned().collect();
        remove(&mut without, &at);
        if value::read::<Config>(&without).err().as_ref() != Some(&fault) {
            return Fault { at, complaint: fault.complaint };
        }
    }
    fault
}

fn stand_in(tree: &mut Value, key: &str, fault: &Fault) -> bool {
    for kind in [ValueKind::String("/".to_owned()), ValueKind::Table(Map::new())] {
        if let ValueKind::Table(root) = &mut tree.kind {
            root.insert(key.to_owned(), Value::new(None, kind));
        }
        match value::read::<Config>(tree) {
            Ok(_) => return true,
            Err(next) if next != *fault && next.at.first().is_none_or(|first| first != key) => return true,
            Err(_) => {}
        }
    }
    false
}

/// Takes out the value at `at`, or the whole list it is an element of; returns the path of what it took.
fn remove<'a>(tree: &mut Value, at: &'a [String]) -> Option<&'a [String]> {
    let (last, parents) = at.split_last()?;
    let mut node = &mut *tree;
    for key in parents {
        node = match &mut node.kind {
            ValueKind::Table(table) => table.get_mut(key),
            ValueKind::Array(list) => key.parse::<usize>().ok().and_then(|index| list.get_mut(index)),
            _ => None,
        }?;
    }
    match &mut node.kind {
        ValueKind::Table(table) => table.remove(last).map(|_| at),
        ValueKind::Array(_) => remove(tree, parents),
        _ => None,
    }
}

fn descend<'a>(tree: &'a Value, at: &[String]) -> Option<&'a Value> {
    at.iter().try_fold(tree, |node, key| match &node.kind {
        ValueKind::Table(table) => table.get(key),
        ValueKind::Array(list) => list.get(key.parse::<usize>().ok()?),
        _ => None,
    })
}

fn table(value: &Value) -> Option<&Map<String, Value>> {
    match &value.kind {
        ValueKind::Table(table) => Some(table),
        _ => None,
    }
}

fn sentence(fault: &Fault) -> String {
    match &fault.complaint {
        Complaint::UnknownKey { key, expected } => {
            format!("{}{}", fault.complaint, check::did_you_mean(key, expected.iter().copied()))
        }
        Complaint::UnknownChoice { given, expected } => {
            format!("{}{}", fault.complaint, check::did_you_mean(given, expected.iter().copied()))
        }
        _ => fault.complaint.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::OweAfter;

    const WHOLE: &str = r#"state_dir = "/var/lib/auditferry"
[feed.dbx]
family = "databricks"
bucket = "logs"
sinks = ["out"]
[sink.out]
type = "file"
path = "/out.ndjson"
"#;

    fn load_text(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, LoadError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.toml");
        std::fs::write(&path, text).unwrap();
        load(&[path], variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    /// The problems as `line key: message`.
    fn problems(text: &str) -> Vec<String> {
        match load_text(text, &[]) {
            Err(LoadError::Invalid(Problems(problems))) => {
                problems.iter().map(|p| format!("{} {}: {}", p.line.unwrap_or(0), p.key, p.message)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    /// `WHOLE` with `more` at its end: line 9 is the first of `more`.
    fn with(more: &str) -> String {
        format!("{WHOLE}{more}")
    }

    #[test]
    fn a_whole_configuration_loads_with_its_defaults() {
        let loaded = load_text(WHOLE, &[]).unwrap();
        let feed = &loaded.config.feed["dbx"];
        assert!(feed.scans_at_start());
        assert_eq!(feed.scan_interval(), Some(Duration::from_secs(60)));
        assert_eq!(loaded.config.limits.owe_after, OweAfter::After(Duration::from_secs(600)));
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    }

    #[test]
    fn a_feed_with_a_queue_is_not_scanned_unless_asked() {
        let text =
            WHOLE.replace("bucket = \"logs\"\n", "bucket = \"logs\"\nqueue = \"audit-logs\"\nregion = \"eu-west-1\"\n");
        let config = load_text(&text, &[]).unwrap().config;
        let feed = &config.feed["dbx"];
        assert!(!feed.scans_at_start());
        assert_eq!(feed.scan_interval(), None);
    }

    #[test]
    fn variables_override_files_and_are_named_in_faults() {
        let variables = [
            ("AUDITFERRY__LIMITS__BATCH_BYTES", "4096"),
            ("AUDITFERRY__LIMITS__OWE_AFTER", "never"),
            ("AUDITFERRY__FEED__DBX__KEYS", "[\"*.json\"]"),
        ];
        let config = load_text(WHOLE, &variables).unwrap().config;
        assert_eq!(config.limits.batch_bytes, 4096);
        assert_eq!(config.limits.owe_after, OweAfter::Never);
        assert_eq!(config.feed["dbx"].keys.as_deref(), Some(&["*.json".to_owned()][..]));
        let error = load_text(WHOLE, &[("AUDITFERRY__LIMITS__BATCH_BYTE", "1")]).unwrap_err().to_string();
        assert_eq!(
            error,
            "environment variable AUDITFERRY__LIMITS__BATCH_BYTE: limits.batch_byte: unknown key `batch_byte`; did you mean \
             `batch_bytes`?"
        );
    }

    #[test]
    fn all_faults_are_told_at_once_each_with_its_line() {
        let text = r#"state_dir = "state"
limts = 1

[limits]
batch_bytes = "many"
batch_age = 5

[feed.dbx]
family = "databrick"
bucket = "s3://logs/audit"
sinks = ["ut"]
queue = "audit.fifo"

[feed.half]
sinks = ["out"]

[sink.out]
type = "fil"
path = "/out"

[sink.other]
type = "file"
path = "/other"
rotate_bytes = "big"
"#;
        assert_eq!(
            problems(text),
            [
                "1 state_dir: expected an absolute path",
                "2 limts: unknown key `limts`; did you mean `limits`?",
                "5 limits.batch_bytes: expected a whole number not below zero, found text",
                "6 limits.batch_age: expected a time such as \"90s\" or \"10m\", found a number",
                "9 feed.dbx.family: unknown family `databrick`; did you mean `databricks`?",
                "10 feed.dbx.bucket: expected a bucket's name alone, without `s3://` and without a path (that is `prefixes`)",
                "11 feed.dbx.sinks.0: there is no [sink.ut]; did you mean `out`?",
                "12 feed.dbx.queue: expected a standard queue: S3 cannot publish notifications to a FIFO queue",
                "14 feed.half: missing key `family`",
                "18 sink.out.type: unknown value `fil`; did you mean `file`?",
                "24 sink.other.rotate_bytes: expected a whole number not below zero, found text",
            ]
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(
            problems(""),
            ["0 : missing key `feed`", "0 : missing key `sink`", "0 : missing key `state_dir`"]
                .map(str::to_owned)
                .into_iter()
                .chain(
                    ["0 feed: expected at least one [feed.<name>]", "0 sink: expected at least one [sink.<name>]"]
                        .map(str::to_owned)
                )
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn each_mistake_is_refused_in_its_place() {
        let feed = "[feed.e]\nfamily = \"databricks\"\nsinks = [\"out\"]\n";
        let lakefs = "[feed.e]\nfamily = \"lakefs\"\nsinks = [\"out\"]\ndirectory = \"/b\"\n";
        let users = |endpoint: &str| {
            format!(
                "[feed.e.users]\nendpoint = \"{endpoint}\"\naccess_key_id = \"env:KEY\"\nsecret_access_key = \"file:/key\"\n"
            )
        };
        for (more, expected) in [
            (format!("{feed}bucket = \"logs\"\n"), "12 feed.e.bucket: feeds `dbx` and `e` would both read s3://logs/"),
            (format!("{feed}bucket = \"point\"\nread_through = {{ logs = \"point\" }}\n"), "12 feed.e.bucket: feeds `dbx` and `e` would both read s3://logs/"),
            (format!("{feed}directory = \"/b\"\n{}", users("https://lake")), "13 feed.e.users: is for the family `lakefs`"),
            (format!("{lakefs}{}", users("http://lake")), "14 feed.e.users.endpoint: expected https://; http:// is for this machine alone (127.0.0.1, [::1], localhost)"),
            (format!("{lakefs}{}", users("https://me:hush@lake")), "14 feed.e.users.endpoint: expected a URL such as \"https://host\", without user, password, query and fragment"),
            (format!("{lakefs}{}", users("https://lake").replace("env:KEY", "AKIA")), "15 feed.e.users.access_key_id: expected where the secret is: `env:NAME`, `file:/absolute/path` or `credential:name`"),
            (format!("{lakefs}{}lifetime = \"0s\"\n", users("https://lake")), "17 feed.e.users.lifetime: expected 1s to 604800s, found 0ns"),
            (format!("{lakefs}{}max_age = \"1m\"\n", users("https://lake")), "17 feed.e.users.max_age: expected at least `lifetime` (3600s)"),
            (format!("{lakefs}{}users_max = 0\n", users("https://lake")), "17 feed.e.users.users_max: expected 1 to 1000000, found 0"),
            (feed.to_owned(), "9 feed.e: expected `bucket` or `directory`"),
            (format!("{feed}bucket = \"b-b\"\ndirectory = \"/b\"\n"), "13 feed.e.directory: expected either `bucket` or `directory`, not both"),
            (format!("{feed}directory = \"/b\"\nqueue = \"q\"\n"), "13 feed.e.queue: is for buckets; this feed reads a directory"),
            (format!("{feed}directory = \"/\"\n"), "12 feed.e.directory: the feed would read what [sink.out] writes below /"),
            (format!("{feed}bucket = \"b-b\"\nprefixes = [\"/a\"]\n"), "13 feed.e.prefixes.0: expected no slash at the beginning: no key has one"),
            (format!("{feed}bucket = \"b-b\"\nprefixes = [\"a/\", \"a/b/\"]\n"), "13 feed.e.prefixes.1: overlaps with `a/` of the same feed"),
            (format!("{feed}bucket = \"b-b\"\nkeys = [\"[\"]\n"), "13 feed.e.keys.0: `[` is no glob: unclosed character class; missing ']'"),
            (format!("{feed}bucket = \"b-b\"\nkeys = []\n"), "13 feed.e.keys: expected at least one glob; leave the key out for the family's own"),
            (format!("{feed}bucket = \"b-b\"\nignore = [\"a\", \"[\"]\n"), "13 feed.e.ignore.1: `[` is no glob: unclosed character class; missing ']'"),
            (format!("{feed}bucket = \"b-b\"\nignore = [\"/a\"]\n"), "13 feed.e.ignore.0: expected no slash at the beginning: no key has one"),
            (format!("{feed}bucket = \"b-b\"\nidentity = \"reader\"\n"), "13 feed.e.identity: there is no [identity.reader]; there are none"),
            (format!("{feed}bucket = \"b-b\"\nscan_every = \"0s\"\n"), "13 feed.e.scan_every: expected at least 1s"),
            (format!("{feed}bucket = \"b-b\"\nidentity_scope = \"both\"\n"), "13 feed.e.identity_scope: unknown value `both`; expected one of `object`, `record`"),
            (format!("{feed}bucket = \"b-b\"\nsinks.x = 1\n"), "13 : cannot extend value of type array with a dotted key"),
            ("[queue.q]\n".to_owned(), "9 queue.q: expected `url` or `name`"),
            ("[queue.q]\nname = \"q\"\nvisibility_secs = 5\n".to_owned(), "11 queue.q.visibility_secs: expected 10 to 3600, found 5"),
            ("[sink.two]\ntype = \"file\"\npath = \"/x/../out.ndjson\"\n".to_owned(), "11 sink.two.path: [sink.out] writes this file already"),
            ("[sink.two]\ntype = \"file\"\npath = \"/x/../out.ndjson.12\"\n".to_owned(), "11 sink.two.path: [sink.out] gives its full files names such as this"),
            ("[sink.two]\npath = \"/x\"\n".to_owned(), "9 sink.two: missing key `type`"),
            ("[sink.two]\ntype = \"stdout\"\nocsf_version = \"latest\"\n".to_owned(), "11 sink.two.ocsf_version: unknown value `latest`; expected one of `1.1.0`, `1.3.0`, `1.5.0`, `1.8.0`"),
            ("[sink.two]\ntype = \"stdout\"\nencoding = \"ecs\"\nocsf_version = \"1.3.0\"\n".to_owned(), "12 sink.two.ocsf_version: has no effect with encoding = \"ecs\""),
            ("[sink.two]\ntype = \"stdout\"\nencoding = \"raw\"\nraw_data = false\n".to_owned(), "12 sink.two.raw_data: has no effect with encoding = \"raw\""),
            ("[sink.two]\ntype = \"file\"\npath = \"/x\"\nenvelope = true\n".to_owned(), "12 sink.two.envelope: has no effect with encoding = \"ocsf\""),
            ("[sink.two]\ntype = \"stdout\"\nraw_dta = true\n".to_owned(), "11 sink.two.raw_dta: unknown key `raw_dta`; did you mean `raw_data`?"),
            ("[sink.two]\ntype = \"stdout\"\nlabels = \"no\"\n".to_owned(), "11 sink.two.labels: expected true or false, found text"),
            (format!("{feed}bucket = \"b-b\"\n[feed.e.redact]\nmask = [\"a\", \"\"]\n"), "14 feed.e.redact.mask.1: expected the path of a field, such as `requestParams.user`"),
            (format!("{feed}bucket = \"b-b\"\n[feed.e.redact]\nmask = [\"a..b\"]\n"), "14 feed.e.redact.mask.0: expected the path of a field, such as `requestParams.user`"),
            (format!("{feed}bucket = \"b-b\"\n[feed.e.redact]\nmask = [\"a\"]\ndrop = [\"a\"]\n"), "14 feed.e.redact.mask.0: `a` is in `drop` already"),
            (format!("{feed}bucket = \"b-b\"\n[feed.e.redact]\nhash = [\"a\"]\n"), "13 feed.e.redact: `hash` needs a `key`"),
            (format!("{feed}bucket = \"b-b\"\n[feed.e.redact]\ndrop = [\"a\"]\nkey = \"env:K\"\n"), "15 feed.e.redact.key: has no effect without `hash`"),
            (format!("{feed}bucket = \"b-b\"\n[feed.e.redact]\n"), "13 feed.e.redact: expected at least one path in `drop`, `hash` or `mask`"),
            (format!("{feed}bucket = \"b-b\"\n[feed.e.redact]\nhash = [\"a\"]\nkey = \"hush-hush\"\n"), "15 feed.e.redact.key: expected where the secret is: `env:NAME`, `file:/absolute/path` or `credential:name`"),
            (format!("{feed}bucket = \"b-b\"\n[feed.e.redact]\nmsk = [\"a\"]\n"), "14 feed.e.redact.msk: unknown key `msk`; did you mean `mask`?"),
            (format!("{feed}bucket = \"b-b\"\n[feed.e.redact]\nmask = [\"userId\"]\n").replace("databricks", "s3_access"), "14 feed.e.redact.mask.0: `userId` is no field of an access log; expected one of bucket_owner, bucket, time, remote_ip, requester, request_id, operation, key, request_uri, http_status, error_code, bytes_sent, object_size, total_time, turn_around_time, referrer, user_agent, version_id, host_id, signature_version, cipher_suite, authentication_type, host_header, tls_version, access_point_arn, acl_required, extra, s3a.KEY"),
            (format!("{feed}bucket = \"b-b\"\n[feed.e.redact]\nmask = [\"time\"]\n").replace("databricks", "s3_access"), "14 feed.e.redact.mask.0: `time` can only be dropped: nothing else can stand for its value"),
            (format!("{feed}bucket = \"b-b\"\n[feed.e.redact]\nmask = [\"operation\"]\n").replace("databricks", "ydb"), "14 feed.e.redact.mask.0: `operation` is what records are told by, and cannot be redacted"),
            ("[limits]\nforget_after_days = 14\n".to_owned(), "10 limits.forget_after_days: expected 15 to 36500 days, found 14: a queue keeps a notification for up to 14"),
            ("[limits]\nbatch_bytes = 99999999\n".to_owned(), "10 limits.batch_bytes: expected at most limits.in_flight_bytes (33554432)"),
            ("[limits]\nowe_after = \"soon\"\n".to_owned(), "10 limits.owe_after: expected a time such as \"10m\", or \"never\""),
            ("[admin]\nlisten = \"0.0.0.0:9598\"\n".to_owned(), "10 admin.listen: expected a loopback address (127.0.0.1 or [::1]): there is no authentication"),
            ("[log]\nlevel = \"auditferry=loud\"\n".to_owned(), "10 log.level: expected error, warn, info, debug, trace or a filter such as \"auditferry=debug,info\""),
            ("[log]\nlevel = \"verbose\"\n".to_owned(), "10 log.level: expected error, warn, info, debug, trace or a filter such as \"auditferry=debug,info\""),
            ("[[identity.a.assume_role]]\nrole_arn = \"arn:aws:iam::123456789012:role/a\"\n[[identity.a.assume_role]]\nrole_arn = \"arn:aws:iam::123456789012:role/b\"\nduration = \"2h\"\n".to_owned(), "13 identity.a.assume_role.1.duration: 7200 s, but a role assumed from another role lasts at most 1 hour (role chaining); expected `1h` or less"),
        ] {
            let found = problems(&with(&more));
            assert!(found.iter().any(|problem| problem == expected), "{more}\nexpected {expected}\nfound {found:#?}");
        }
    }

    #[test]
    fn an_external_id_is_never_shown() {
        let text =
            with("[[identity.a.assume_role]]\nrole_arn = 5\nexternal_id = \"hush-hush\"\nduration = \"hush-hush\"\n");
        assert!(!problems(&text).join("\n").contains("external_id: hush"));
        let text = with("[[identity.a.assume_role]]\nrole_arn = \"a\"\nexternal_id = 424242\n");
        assert!(!problems(&text).join("\n").contains("424242"));
    }

    #[test]
    fn a_secret_in_the_place_of_its_reference_is_never_shown() {
        let text = with("").replace("sinks =", "redact = { hash = [\"a\"], key = \"hush-hush\" }\nsinks =");
        assert!(!problems(&text).join("\n").contains("hush"));
    }

    #[test]
    fn places_apart_are_allowed() {
        let feed = "[feed.b]\nfamily = \"databricks\"\nsinks = [\"out\"]\nbucket = \"logs\"\nprefixes = [\"b/\"]\n";
        let text = with(feed).replace("bucket = \"logs\"\nsinks", "bucket = \"logs\"\nprefixes = [\"a/\"]\nsinks");
        assert!(load_text(&text, &[]).is_ok());
    }

    #[test]
    fn what_nobody_uses_is_a_warning() {
        let loaded = load_text(&with("[sink.spare]\ntype = \"stdout\"\n"), &[]).unwrap();
        assert_eq!(loaded.warnings, ["[sink.spare] is used by no feed"]);
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = load(&[PathBuf::from("/not/there.toml")], []).unwrap_err();
        assert!(error.to_string().starts_with("cannot read /not/there.toml: "), "{error}");
    }
}

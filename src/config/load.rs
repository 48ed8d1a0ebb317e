//! Loads the configuration from files and environment, and names every fault with its file, key and line.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use config::{Map, Value, ValueKind};

use crate::config::layers::{Environment, Layers, Origins, SyntaxError};
use crate::config::value::{self, Complaint, Fault, KeyPath};
use crate::config::{Admin, Config, Listen, check, found, secrets, variables};
use crate::secret::Reference;
use crate::sink;

/// The largest configuration file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// The most faults that one run collects; further ones show once these are corrected.
const FAULTS_MAX: usize = 50;

/// A configuration without faults.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// The files from which it was read, in order.
    pub sources: Vec<PathBuf>,
    /// Settings that are allowed but probably mistakes, a sentence each.
    pub warnings: Vec<String>,
    /// The references to secrets, with the keys that hold them.
    pub(super) secrets: Vec<(KeyPath, Reference)>,
    origins: Origins,
}

impl Loaded {
    /// A message about a key, with the file and line of the key.
    pub(super) fn problem<K: AsRef<str>>(&self, at: &[K], message: String) -> Problem {
        locate(&self.origins, at, message)
    }
}

/// Why the configuration could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot read {}: {}", path.display(), why(source))]
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
    /// The file, or the environment variable by name; `None` for a required key that stands in none of them.
    pub source: Option<String>,
    /// The line in the file, from 1.
    pub line: Option<usize>,
    /// The key's full path, such as `feed.dbx.queue`.
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

/// Loads the files, where later ones override earlier ones, and then the variables (`AUDITFERRY__LIMITS__BATCH_BYTES`).
/// Reads nothing but these files.
pub fn load(files: &[PathBuf], variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Loaded, LoadError> {
    let (layers, environment) = read_layers(files, variables)?;
    let (config, faults) = typed(&layers);
    let tree = layers.merged().ok();
    let told = |fault: &Fault| {
        let said = sentence(fault, tree.as_ref().map_or(&[], |tree| shared_keys(tree, &fault.at)));
        if layers.origins().of(&fault.at).is_some_and(|origin| origin.line.is_none()) {
            in_variable(said, fault)
        } else {
            said
        }
    };
    let mut problems: Vec<Problem> = environment.errors.into_iter().map(Problem::from).collect();
    problems.extend(faults.iter().map(|fault| locate(layers.origins(), &fault.at, told(fault))));
    let Some((config, names)) = config else { return Err(invalid(problems)) };
    let mut found = check::check(&config, &names);
    let is_referred = |name: &str| tree.as_ref().is_some_and(|tree| value::holds_text(tree, &format!("env:{name}")));
    found.warnings.extend(environment.strays.into_iter().filter(|name| !is_referred(name)).map(|name| {
        format!("environment variable {name} sets nothing: those that set a key begin with {}", variables::PREFIX)
    }));
    problems.extend(found.problems.into_iter().map(|(at, message)| locate(layers.origins(), &at, message)));
    if !problems.is_empty() {
        return Err(invalid(problems));
    }
    let secrets = tree.as_ref().map(secrets::references).unwrap_or_default();
    let origins = layers.origins().clone();
    Ok(Loaded { config, sources: files.to_vec(), warnings: found.warnings, secrets, origins })
}

/// The address at which a daemon with this configuration serves health and metrics; `None` if it does not. Reads only
/// the table `[admin]`: a running daemon should be found even if other parts were made invalid after its start.
pub(crate) fn load_listen(
    files: &[PathBuf],
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Option<Listen>, LoadError> {
    let (layers, _) = read_layers(files, variables)?;
    let located = |at: &[String], message| invalid(vec![locate(layers.origins(), at, message)]);
    let tree = layers.merged().map_err(|error| located(&[], apart(&error)))?;
    let Some(admin) = table(&tree).and_then(|root| root.get("admin")) else { return Ok(None) };
    let admin: Admin = value::read(admin).map_err(|fault| {
        let at: KeyPath = std::iter::once("admin".to_owned()).chain(fault.at.iter().cloned()).collect();
        located(&at, sentence(&fault, &[]))
    })?;
    admin.address().map_err(|error| located(&["admin".to_owned(), "listen".to_owned()], error.to_string()))
}

/// The merged files and variables, and the faults in the variables' names.
///
/// # Errors
/// The first file that cannot be read, or all files that are not TOML.
fn read_layers(
    files: &[PathBuf],
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(Layers, Environment), LoadError> {
    let mut layers = Layers::default();
    let mut errors = Vec::new();
    for path in files {
        let text = read_file(path).map_err(|source| LoadError::Unreadable { path: path.clone(), source })?;
        errors.extend(layers.add_file(path, &text).err());
    }
    // Variables are matched with names in the files, so the files must be sound first.
    if !errors.is_empty() {
        return Err(invalid(errors.into_iter().map(Problem::from).collect()));
    }
    match layers.add_environment(variables) {
        Ok(environment) => Ok((layers, environment)),
        Err(error) => Err(invalid(vec![locate::<String>(layers.origins(), &[], apart(&error))])),
    }
}

/// The error of merging the layers. It is not expected: the `config` crate merges all trees that TOML can express.
fn apart(error: &config::ConfigError) -> String {
    format!("the files and variables cannot be put together: {error}")
}

impl From<SyntaxError> for Problem {
    fn from(SyntaxError { origin, message }: SyntaxError) -> Self {
        Self { source: Some(origin.source.to_string()), line: origin.line, key: String::new(), message }
    }
}

fn invalid(mut problems: Vec<Problem>) -> LoadError {
    problems.sort();
    problems.dedup();
    LoadError::Invalid(Problems(problems))
}

/// Why a file cannot be read, in words of ours where it is one of the usual reasons.
fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "this user may not read it".to_owned(),
        io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        _ => error.to_string(),
    }
}

fn read_file(path: &Path) -> io::Result<String> {
    let bytes = std::fs::metadata(path)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{bytes} bytes are more than {FILE_BYTES_MAX}"),
        ));
    }
    String::from_utf8(std::fs::read(path)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no text in UTF-8"))
}

fn locate<K: AsRef<str>>(origins: &Origins, at: &[K], message: String) -> Problem {
    let origin = origins.of(at);
    Problem {
        source: origin.map(|origin| origin.source.to_string()),
        line: origin.and_then(|origin| origin.line),
        key: at.iter().map(AsRef::as_ref).collect::<Vec<_>>().join("."),
        message,
    }
}

/// Reads the tree repeatedly, each time without the faulty values, so that all faults are reported at once.
///
/// The returned configuration lacks the faulty parts: it serves to check the other parts, not to run.
fn typed(layers: &Layers) -> (Option<(Config, found::Names)>, Vec<Fault>) {
    let mut tree = match layers.merged() {
        Ok(tree) => tree,
        Err(error) => {
            return (None, vec![Fault { at: KeyPath::new(), complaint: Complaint::Other(apart(&error)) }]);
        }
    };
    let names = found::Names {
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
            Err(fault) => fault,
        };
        let missing = match fault.complaint {
            Complaint::MissingKey(key) => Some(key),
            _ => None,
        };
        let whole: KeyPath = fault.at.iter().cloned().chain(missing.map(str::to_owned)).collect();
        let mended = match missing {
            Some(key) if fault.at.is_empty() => stand_in(&mut tree, key, &fault),
            // A table without a required key is removed as a whole.
            _ => match remove(&mut tree, &fault.at) {
                Some(removed) => blamed.insert(removed.to_vec()) || missing.is_some(),
                None => false,
            },
        };
        // A missing key that an earlier round removed was reported then.
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
    table(tree).and_then(|root| root.get(section)).into_iter().flat_map(value::keys).collect()
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

/// Removes the value at `at`, or the smallest enclosing value that can be removed; returns the removed value's path.
fn remove<'a>(tree: &mut Value, at: &'a [String]) -> Option<&'a [String]> {
    let (last, parents) = at.split_last()?;
    let parent = parents.iter().try_fold(&mut *tree, |node, key| match &mut node.kind {
        ValueKind::Table(table) => table.get_mut(key),
        ValueKind::Array(list) => list.get_mut(key.parse::<usize>().ok()?),
        _ => None,
    });
    match parent.map(|parent| &mut parent.kind) {
        Some(ValueKind::Table(table)) => table.remove(last).map(|_| at),
        // A list with a faulty element is removed as a whole, and so is a variable's text.
        _ => remove(tree, parents),
    }
}

fn table(value: &Value) -> Option<&Map<String, Value>> {
    match &value.kind {
        ValueKind::Table(table) => Some(table),
        _ => None,
    }
}

/// Further keys that are allowed at `at`: a kind of sink knows only its own keys, not those that all sinks share.
fn shared_keys(tree: &Value, at: &[String]) -> &'static [&'static [&'static str]] {
    let [section, name, _] = at else { return &[] };
    let sink = table(tree).and_then(|root| root.get(section)).and_then(table).and_then(|sinks| sinks.get(name));
    match sink.and_then(table).and_then(|sink| sink.get("type")).map(|kind| &kind.kind) {
        Some(ValueKind::String(kind)) if section == "sink" => sink::shared_keys(kind),
        _ => &[],
    }
}

fn sentence(fault: &Fault, shared: &[&[&'static str]]) -> String {
    match &fault.complaint {
        Complaint::UnknownKey { key, expected } => {
            let known = shared.iter().copied().flatten().chain(*expected).copied();
            format!("{}{}", fault.complaint, found::did_you_mean(key, known))
        }
        Complaint::UnknownChoice { given, expected } => {
            format!("{}{}", fault.complaint, found::did_you_mean(given, expected.iter().copied()))
        }
        _ => fault.complaint.to_string(),
    }
}

/// The message with a hint, if a variable writes the expected value differently than a file.
fn in_variable(said: String, fault: &Fault) -> String {
    match &fault.complaint {
        Complaint::WrongKind { wanted, .. } if wanted == "a list" => {
            format!("{said}; in a variable it is written as TOML or JSON has it, such as [\"a\", \"b\"]")
        }
        Complaint::WrongKind { wanted, .. } if wanted == "a table" => {
            format!("{said}; in a variable it is written as TOML or JSON has it, such as {{\"a\": \"b\"}}")
        }
        _ => said,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::OweAfter;
    use crate::identity::ExternalId;

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
        load(&[path], variables.iter().map(|(name, value)| (name.into(), value.into())))
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
        assert_eq!(config.limits.batch_bytes, Some(4096));
        assert_eq!(config.limits.owe_after, OweAfter::Never);
        assert_eq!(config.feed["dbx"].keys.as_deref(), Some(&["*.json".to_owned()][..]));
        let error = load_text(WHOLE, &[("AUDITFERRY__LIMITS__BATCH_BYTE", "1")]).unwrap_err().to_string();
        assert_eq!(
            error,
            "environment variable AUDITFERRY__LIMITS__BATCH_BYTE: limits.batch_byte: unknown key `batch_byte`; did you mean \
             `batch_bytes`?"
        );
    }

    /// Further tables, so that there is one of each kind with a text key that a variable may set.
    const TABLES: &str = "[queue.q]\nname = \"q\"\n[identity.a]\nprofile = \"p\"\n";

    #[test]
    fn a_text_key_takes_the_text_of_a_variable_as_it_stands() {
        for text in [
            "111122223333",
            "007",
            "1e5",
            "0x10",
            "0o7",
            "1_000",
            "1.0",
            "-0",
            "inf",
            "nan",
            "true",
            "false",
            "2026-01-01",
            "[1]",
            "[\"a\"]",
            "{a=1}",
            "\"quoted\"",
            "'",
            " spaced ",
        ] {
            let variables = [
                ("AUDITFERRY__FEED__DBX__REGION", text),
                ("AUDITFERRY__QUEUE__Q__REGION", text),
                ("AUDITFERRY__IDENTITY__A__PROFILE", text),
            ];
            let config = load_text(&with(TABLES), &variables).unwrap_or_else(|error| panic!("{text}: {error}")).config;
            for taken in [
                config.feed["dbx"].region.as_deref(),
                config.queue["q"].region.as_deref(),
                config.identity["a"].profile.as_deref(),
            ] {
                assert_eq!(taken, Some(text));
            }
        }
    }

    #[test]
    fn names_and_paths_of_digits_in_variables_are_text() {
        let variables = [
            ("AUDITFERRY__STATE_DIR", "/1"),
            ("AUDITFERRY__FEED__DBX__BUCKET", "20260101"),
            ("AUDITFERRY__FEED__DBX__EXPECTED_BUCKET_OWNER", "011122223333"),
            ("AUDITFERRY__FEED__DBX__READ_THROUGH__LOGS", "333"),
            ("AUDITFERRY__QUEUE__Q__NAME", "007"),
            ("AUDITFERRY__SINK__OUT__PATH", "/2"),
            ("AUDITFERRY__SINK__OUT__MODE", "600"),
            ("AUDITFERRY__SINK__OUT__GROUP", "0100"),
            ("AUDITFERRY__SINK__OUT__ENCODING__OCSF_VERSION", "1.1.0"),
        ];
        let config = load_text(&with("[queue.q]\nname = \"q\"\n"), &variables).unwrap().config;
        assert_eq!(config.feed["dbx"].bucket.as_deref(), Some("20260101"));
        assert_eq!(config.feed["dbx"].expected_bucket_owner.as_deref(), Some("011122223333"));
        assert_eq!(config.feed["dbx"].read_through["logs"], "333");
        assert_eq!(config.queue["q"].name.as_deref(), Some("007"));
        assert_eq!(
            format!("{:?}", config.sink["out"].kind),
            "FileConfig { path: \"/2\", compression: None, rotate_bytes: None, rotate_after: None, mode: Some(Mode(384)), group: Some(Group(\"0100\")) }"
        );
    }

    #[test]
    fn a_group_in_a_file_may_be_a_bare_number() {
        let config = load_text(&with("group = 1005\n"), &[]).unwrap().config;
        let said = format!("{:?}", config.sink["out"].kind);
        assert!(said.contains("group: Some(Group(\"1005\"))"), "{said}");
    }

    #[test]
    fn keys_of_other_types_take_what_toml_reads_in_a_variable() {
        let variables = [
            ("AUDITFERRY__LIMITS__BATCH_BYTES", "0x1000"),
            ("AUDITFERRY__LIMITS__BATCH_EVENTS", "1_000"),
            ("AUDITFERRY__LIMITS__BATCH_AGE", "2s"),
            ("AUDITFERRY__FEED__DBX__PATH_STYLE", "true"),
            ("AUDITFERRY__FEED__DBX__IDENTITY_SCOPE", "record"),
            ("AUDITFERRY__FEED__DBX__PREFIXES", "[\"a/\", 2026, 007, true]"),
            ("AUDITFERRY__SINK__OUT__ROTATE_BYTES", "4096"),
            ("AUDITFERRY__SINK__OUT__ENCODING__RAW_DATA", "true"),
            ("AUDITFERRY__SINK__OUT__BATCH__BYTES", "8192"),
        ];
        let config = load_text(WHOLE, &variables[..5]).unwrap().config;
        assert_eq!((config.limits.batch_bytes, config.limits.batch_events), (Some(4096), 1000));
        assert_eq!(config.limits.batch_age, Duration::from_secs(2));
        assert!(config.feed["dbx"].path_style);
        let config = load_text(WHOLE, &variables[6..]).unwrap().config;
        let sink = &config.sink["out"];
        assert_eq!((sink.encoding.raw_data, sink.batch.bytes), (Some(true), Some(8192)));
        let said = format!("{:?}", sink.kind);
        assert!(said.contains("rotate_bytes: Some(4096)"), "{said}");
        // 007 is not a TOML number, so this is not a list.
        let error = load_text(WHOLE, &variables[5..6]).unwrap_err().to_string();
        assert!(error.contains("feed.dbx.prefixes: expected a list, found text; in a variable"), "{error}");
    }

    #[test]
    fn a_list_in_a_variable_may_hold_bare_numbers_for_text_and_tables() {
        let variables = [
            ("AUDITFERRY__FEED__DBX__PREFIXES", "[\"a/\", 2026, true, 1e5, 0x10]"),
            (
                "AUDITFERRY__IDENTITY__A__ASSUME_ROLE",
                "[{ role_arn = \"arn:aws:iam::123456789012:role/a\", external_id = 424242, duration = \"15m\" }]",
            ),
        ];
        let config = load_text(&with("[identity.a]\n"), &variables).unwrap().config;
        assert_eq!(config.feed["dbx"].prefixes, ["a/", "2026", "true", "1e5", "0x10"]);
        let roles = &config.identity["a"].assume_role;
        assert!(
            matches!(&roles[..], [role] if matches!(&role.external_id, Some(ExternalId::Text(id)) if id == "424242"))
        );
        assert_eq!(roles[0].duration, Duration::from_secs(900));
    }

    #[test]
    fn sizes_and_times_have_units_wherever_they_stand() {
        let text = with(
            "rotate_bytes = \"1 GB\"\nrotate_after = \"7d\"\nbatch = { bytes = \"64KiB\" }\n[limits]\nmemory_bytes = \"1.5 GiB\"\nowe_after = \"2d\"\n",
        );
        let variables = [("AUDITFERRY__LIMITS__BATCH_BYTES", "4 MiB"), ("AUDITFERRY__FEED__DBX__SCAN_EVERY", "1d")];
        let config = load_text(&text, &variables).unwrap().config;
        assert_eq!((config.limits.memory_bytes, config.limits.batch_bytes), (Some(3 << 29), Some(4 << 20)));
        assert_eq!(config.limits.owe_after, OweAfter::After(Duration::from_secs(172_800)));
        assert_eq!(config.feed["dbx"].scan_every, Some(Duration::from_secs(86_400)));
        assert_eq!(config.sink["out"].batch.bytes, Some(64 << 10));
        let kind = format!("{:?}", config.sink["out"].kind);
        assert!(kind.contains("rotate_bytes: Some(1000000000), rotate_after: Some(604800s)"), "{kind}");
    }

    #[test]
    fn lists_and_tables_in_a_variable_are_those_of_toml_or_json() {
        let role = "arn:aws:iam::123456789012:role/a";
        let roles = format!("[{{\"role_arn\": \"{role}\", \"external_id\": 424242, \"duration\": \"15m\"}}]");
        let variables = [
            ("AUDITFERRY__FEED__DBX__PREFIXES", "[\"a\\/\", 2026, true]"),
            ("AUDITFERRY__IDENTITY__A__ASSUME_ROLE", &roles),
            ("AUDITFERRY__FEED__DBX__READ_THROUGH", "{\"other\": \"point\"}"),
            ("AUDITFERRY__LIMITS", "{ batch_bytes = 4096, owe_after = \"never\" }"),
            (
                "AUDITFERRY__SINK",
                "{\"out\": {\"type\": \"file\", \"path\": \"/two\", \"encoding\": {\"name\": \"raw\"}}}",
            ),
        ];
        let config = load_text(&with("[identity.a]\n"), &variables).unwrap().config;
        assert_eq!(config.feed["dbx"].prefixes, ["a/", "2026", "true"]);
        assert_eq!(config.feed["dbx"].read_through["other"], "point");
        assert_eq!(config.identity["a"].assume_role[0].duration, Duration::from_secs(900));
        assert_eq!((config.limits.batch_bytes, config.limits.owe_after), (Some(4096), OweAfter::Never));
        assert!(format!("{:?}", config.sink["out"].kind).contains("path: \"/two\""));
        let error = load_text(WHOLE, &[("AUDITFERRY__LIMITS", "{\"batch_byte\": 1}")]).unwrap_err().to_string();
        assert!(
            error.starts_with("environment variable AUDITFERRY__LIMITS: limits.batch_byte: unknown key"),
            "{error}"
        );
    }

    #[test]
    fn a_variable_reaches_a_name_with_capitals_and_dashes() {
        let text = WHOLE.replace("feed.dbx", "feed.Prod-1").replace("out]", "Siem]").replace("\"out\"", "\"Siem\"");
        let variables = [("AUDITFERRY__FEED__PROD_1__REGION", "eu-west-1"), ("AUDITFERRY__SINK__SIEM__PATH", "/two")];
        let config = load_text(&text, &variables).unwrap().config;
        assert_eq!(config.feed["Prod-1"].region.as_deref(), Some("eu-west-1"));
        assert!(format!("{:?}", config.sink["Siem"].kind).contains("/two"));
        let error = load_text(&text, &[("AUDITFERRY__FEED__PROD_1__REGON", "a")]).unwrap_err().to_string();
        assert!(
            error.starts_with("environment variable AUDITFERRY__FEED__PROD_1__REGON: feed.Prod-1.regon: "),
            "{error}"
        );
    }

    #[test]
    fn a_variable_that_names_nothing_is_refused_with_the_nearest() {
        for (name, expected) in [
            ("AUDITFERRY__FEED__DBZ__REGION", "there is no [feed.dbz] in the files; did you mean `dbx`?"),
            ("AUDITFERRY__SINK__OUTT__PATH", "there is no [sink.outt] in the files; did you mean `out`?"),
            ("AUDITFERRY__LIMIT__BATCH_BYTES", "limit: unknown key `limit`; did you mean `limits`?"),
            ("AUDITFERRY_LIMITS__BATCH_BYTES", "sets nothing; did you mean AUDITFERRY__LIMITS__BATCH_BYTES?"),
            ("AUDITFERRY_STATE_DIR", "sets nothing; did you mean AUDITFERRY__STATE_DIR?"),
        ] {
            let error = load_text(WHOLE, &[(name, "1")]).unwrap_err().to_string();
            assert_eq!(error, format!("environment variable {name}: {expected}"));
        }
        let twice = [("AUDITFERRY__FEED__DBX__REGION", "a"), ("AUDITFERRY__FEED__dbx__REGION", "b")];
        assert_eq!(
            load_text(WHOLE, &twice).unwrap_err().to_string(),
            "environment variable AUDITFERRY__FEED__dbx__REGION: feed.dbx.region is set by environment variable AUDITFERRY__FEED__DBX__REGION too"
        );
    }

    #[test]
    fn a_fault_in_one_place_hides_none_in_another() {
        let text = with(
            "[[identity.a.assume_role]]\nrole_arn = \"a\"\nduration = \"1s\"\nregion = \"\"\n[queue.q]\nname = \"q\"\n[sink.two]\ntype = \"stdout\"\nlanes = 70000\n",
        );
        let error =
            load_text(&text, &[("AUDITFERRY__FEED__DBZ__REGION", "a"), ("AUDITFERRY__LIMITS__BATCH_BYTES", "0")]);
        let error = error.unwrap_err().to_string();
        for expected in [
            "AUDITFERRY__FEED__DBZ__REGION: there is no [feed.dbz]",
            "AUDITFERRY__LIMITS__BATCH_BYTES: limits.batch_bytes: expected 1 byte to 1 GiB",
            ":10: identity.a.assume_role.0.role_arn: `a` is no role",
            ":11: identity.a.assume_role.0.duration: 1 s; expected whole seconds",
            ":12: identity.a.assume_role.0.region: expected a region",
            ":17: sink.two.lanes: expected a smaller number",
        ] {
            assert!(error.contains(expected), "{expected}\n{error}");
        }
    }

    #[test]
    fn a_variable_that_may_be_somebody_elses_is_a_warning_unless_it_is_a_secret() {
        let text = with("").replace("sinks =", "redact = { hash = [\"a\"], key = \"env:AUDITFERRY_KEY\" }\nsinks =");
        let variables = [("AUDITFERRY_KEY", "hush"), ("AUDITFERRY_CONFIG", "a"), ("AUDITFERRY_SERVICE_HOST", "b")];
        assert_eq!(
            load_text(&text, &variables).unwrap().warnings,
            ["environment variable AUDITFERRY_CONFIG sets nothing: those that set a key begin with AUDITFERRY__"]
        );
    }

    #[test]
    fn a_fault_in_a_variable_is_told_with_its_name() {
        for (name, text, expected) in [
            (
                "LIMITS__BATCH_BYTES",
                "many",
                "limits.batch_bytes: expected a size such as \"8 MiB\" (KiB, MiB, GiB, TiB, kB, MB, GB, TB) or a number of bytes, found text",
            ),
            (
                "LIMITS__BATCH_BYTES",
                "007",
                "limits.batch_bytes: expected a size such as \"8 MiB\" (KiB, MiB, GiB, TiB, kB, MB, GB, TB) or a number of bytes, found text",
            ),
            (
                "LIMITS__BATCH_BYTES",
                "-1",
                "limits.batch_bytes: expected a size such as \"8 MiB\" (KiB, MiB, GiB, TiB, kB, MB, GB, TB) or a number of bytes, found a number below zero",
            ),
            (
                "LIMITS__BATCH_BYTES",
                "1e5",
                "limits.batch_bytes: expected a size such as \"8 MiB\" (KiB, MiB, GiB, TiB, kB, MB, GB, TB) or a number of bytes, found a number with a fraction",
            ),
            ("FEED__DBX__PATH_STYLE", "yes", "feed.dbx.path_style: expected true or false, found text"),
            ("FEED__DBX__PATH_STYLE", "1", "feed.dbx.path_style: expected true or false, found a number"),
            (
                "FEED__DBX__KEYS",
                "*.json",
                "feed.dbx.keys: expected a list, found text; in a variable it is written as TOML or JSON has it, such as [\"a\", \"b\"]",
            ),
            ("FEED__DBX__SINKS", "[\"ut\"]", "feed.dbx.sinks.0: there is no [sink.ut]; did you mean `out`?"),
            ("FEED__DBX__PREFIXES", "[[1]]", "feed.dbx.prefixes.0: expected text, found a list"),
            (
                "FEED__DBX__READ_THROUGH",
                "point",
                "feed.dbx.read_through: expected a table, found text; in a variable it is written as TOML or JSON has it, such as {\"a\": \"b\"}",
            ),
            ("SINK__OUT__TYPE", "fil", "sink.out.type: unknown value `fil`; did you mean `file`?"),
            (
                "SINK__OUT__TYPE",
                "1",
                "sink.out.type: unknown value `1`; expected one of `file`, `stdout`, `http`, `datadog`, `sumo`, `crowdstrike`, `panther`, `elasticsearch`, `s3`, `sentinel`, `sentinel_databricks`, `splunk_hec`",
            ),
            (
                "SINK__OUT__ROTATE_BYTES",
                "big",
                "sink.out.rotate_bytes: expected a size such as \"8 MiB\" (KiB, MiB, GiB, TiB, kB, MB, GB, TB) or a number of bytes, found text",
            ),
            (
                "SINK__OUT__MODE",
                "0666",
                "sink.out.mode: expected a mode without permission to execute and without permission for others to write, such as \"0640\"",
            ),
        ] {
            let name = format!("AUDITFERRY__{name}");
            let error = load_text(WHOLE, &[(&name, text)]).unwrap_err().to_string();
            assert_eq!(error, format!("environment variable {name}: {expected}"), "{text}");
        }
    }

    #[test]
    fn a_fault_in_a_variables_list_hides_no_other_fault() {
        let error =
            load_text(&with("[limits]\nbatch_bytes = \"many\"\n"), &[("AUDITFERRY__FEED__DBX__SINKS", "[[1]]")]);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("feed.dbx.sinks.0: expected text, found a list"), "{error}");
        assert!(error.contains("limits.batch_bytes: expected a size"), "{error}");
    }

    #[test]
    fn a_variable_that_is_no_text_is_told_where_it_is_ours() {
        use std::os::unix::ffi::OsStringExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.toml");
        std::fs::write(&path, WHOLE).unwrap();
        let torn = || OsString::from_vec(b"\xff".to_vec());
        assert!(load(std::slice::from_ref(&path), [("OTHER".into(), torn()), (torn(), torn())]).is_ok());
        let error = load(&[path], [("AUDITFERRY__FEED__DBX__REGION".into(), torn())]).unwrap_err().to_string();
        assert_eq!(error, "environment variable AUDITFERRY__FEED__DBX__REGION: expected text in UTF-8");
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
                "5 limits.batch_bytes: expected a size such as \"8 MiB\" (KiB, MiB, GiB, TiB, kB, MB, GB, TB) or a number of bytes, found text",
                "6 limits.batch_age: expected a time such as \"90s\", \"10m\" or \"7d\", found a number",
                "9 feed.dbx.family: unknown family `databrick`; did you mean `databricks`?",
                "10 feed.dbx.bucket: expected a bucket's name alone, without `s3://` and without a path (that is `prefixes`)",
                "11 feed.dbx.sinks.0: there is no [sink.ut]; did you mean `out`?",
                "12 feed.dbx.queue: expected a standard queue: S3 cannot publish notifications to a FIFO queue",
                "14 feed.half: missing key `family`",
                "18 sink.out.type: unknown value `fil`; did you mean `file`?",
                "24 sink.other.rotate_bytes: expected a size such as \"8 MiB\" (KiB, MiB, GiB, TiB, kB, MB, GB, TB) or a number of bytes, found text",
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
            (format!("{lakefs}{}", users("https://me:hush@lake")), "14 feed.e.users.endpoint: expected a URL such as \"https://host\", without user, password and fragment"),
            (format!("{lakefs}{}", users("https://lake").replace("env:KEY", "AKIA")), "15 feed.e.users.access_key_id: expected where the secret is: `env:NAME`, `file:/absolute/path` or `credential:name`"),
            (format!("{lakefs}{}lifetime = \"0s\"\n", users("https://lake")), "17 feed.e.users.lifetime: expected 1s to 7d, found 0s"),
            (format!("{lakefs}{}max_age = \"1m\"\n", users("https://lake")), "17 feed.e.users.max_age: expected at least `lifetime` (1h)"),
            (format!("{lakefs}{}users_max = 0\n", users("https://lake")), "17 feed.e.users.users_max: expected 1 to 1000000, found 0"),
            (feed.to_owned(), "9 feed.e: expected `bucket` or `directory`"),
            (format!("{feed}bucket = \"b-b\"\ndirectory = \"/b\"\n"), "13 feed.e.directory: expected either `bucket` or `directory`, not both"),
            (format!("{feed}directory = \"/b\"\nqueue = \"q\"\n"), "13 feed.e.queue: is for buckets; this feed reads a directory"),
            (format!("{feed}directory = \"/\"\n"), "12 feed.e.directory: the feed would read what [sink.out] writes below /"),
            (format!("{feed}bucket = \"b-b\"\nprefixes = [\"/a\"]\n"), "13 feed.e.prefixes.0: expected no slash at the beginning: no key has one"),
            (format!("{feed}bucket = \"b-b\"\nprefixes = [\"a/\", \"a/b/\"]\n"), "13 feed.e.prefixes.1: overlaps with `a/` of the same feed"),
            (format!("{feed}bucket = \"b-b\"\nkeys = [\"[\"]\n"), "13 feed.e.keys.0: `[` is no glob: expected `]` behind `[`; `[[]` stands for the bracket itself"),
            (format!("{feed}bucket = \"b-b\"\nkeys = []\n"), "13 feed.e.keys: expected at least one glob; leave the key out for the family's own"),
            (format!("{feed}bucket = \"b-b\"\nignore = [\"a\", \"[\"]\n"), "13 feed.e.ignore.1: `[` is no glob: expected `]` behind `[`; `[[]` stands for the bracket itself"),
            (format!("{feed}bucket = \"b-b\"\nignore = [\"/a\"]\n"), "13 feed.e.ignore.0: expected no slash at the beginning: no key has one"),
            (format!("{feed}bucket = \"b-b\"\nidentity = \"reader\"\n"), "13 feed.e.identity: there is no [identity.reader]; there are none"),
            (format!("{feed}bucket = \"b-b\"\nscan_every = \"0s\"\n"), "13 feed.e.scan_every: expected at least 1s"),
            (format!("{feed}bucket = \"b-b\"\nsettings = {{ s3a_principal = \"claim\" }}\n"), "13 feed.e.settings.s3a_principal: unknown value `claim`; did you mean `claimed`?"),
            (format!("{feed}bucket = \"b-b\"\nsettings = {{ s3a_principal = \"claimed\" }}\n[sink.out.encoding]\nlabels = false\n"), "13 feed.e.settings.s3a_principal: [sink.out] writes no labels, and only a label tells a claimed user from a checked one"),
            (format!("{feed}bucket = \"b-b\"\nidentity_scope = \"both\"\n"), "13 feed.e.identity_scope: unknown value `both`; expected one of `object`, `record`"),
            (format!("{feed}bucket = \"b-b\"\nsinks.x = 1\n"), "13 : this key has a value already, and can have no keys of its own"),
            ("[queue.q]\n".to_owned(), "9 queue.q: expected `url` or `name`"),
            ("[queue.q]\nname = \"q\"\nvisibility_secs = 5\n".to_owned(), "11 queue.q.visibility_secs: expected 10 to 3600, found 5"),
            ("[sink.two]\ntype = \"file\"\npath = \"/x/../out.ndjson\"\n".to_owned(), "11 sink.two.path: [sink.out] writes this file already"),
            ("[sink.two]\ntype = \"file\"\npath = \"/x/../out.ndjson.12\"\n".to_owned(), "11 sink.two.path: [sink.out] gives its full files names such as this"),
            ("[sink.two]\ntype = \"file\"\npath = \"/x.gz\"\ncompression = \"gzip\"\n[sink.three]\ntype = \"file\"\npath = \"/x.4.gz\"\ncompression = \"gzip\"\n".to_owned(), "15 sink.three.path: [sink.two] gives its full files names such as this"),
            ("[sink.two]\ntype = \"file\"\npath = \"/x\"\ncompression = \"gzip\"\n".to_owned(), "11 sink.two.path: expected a name that ends in .gz, since `compression` is gzip"),
            ("[sink.two]\ntype = \"file\"\npath = \"/x.gz\"\ncompression = \"zstd\"\n".to_owned(), "11 sink.two.path: expected a name that ends in .zst, since `compression` is zstd"),
            ("[sink.two]\ntype = \"file\"\npath = \"/x.zst\"\n".to_owned(), "11 sink.two.path: ends as a compressed file does: set `compression`, or give it another ending"),
            ("[sink.two]\ntype = \"stdout\"\ncompression = \"gzip\"\n".to_owned(), "11 sink.two.compression: unknown key `compression`; expected one of `encoding`, `filter`, `batch`, `lanes`, `in_flight`, `required`, `style`"),
            ("[sink.two]\npath = \"/x\"\n".to_owned(), "9 sink.two: missing key `type`"),
            ("[sink.two]\ntype = \"stdout\"\n[sink.two.encoding]\nocsf_version = \"latest\"\n".to_owned(), "12 sink.two.encoding.ocsf_version: unknown value `latest`; expected one of `1.1.0`, `1.3.0`, `1.5.0`, `1.8.0`"),
            ("[sink.two]\ntype = \"stdout\"\n[sink.two.encoding]\nname = \"ecs\"\nocsf_version = \"1.3.0\"\n".to_owned(), "13 sink.two.encoding.ocsf_version: has no effect with the encoding \"ecs\""),
            ("[sink.two]\ntype = \"stdout\"\nencoding = { name = \"raw\", raw_data = false }\n".to_owned(), "11 sink.two.encoding.raw_data: has no effect with the encoding \"raw\""),
            ("[sink.two]\ntype = \"file\"\npath = \"/x\"\nencoding = { envelope = true }\n".to_owned(), "12 sink.two.encoding.envelope: has no effect with the encoding \"ocsf\""),
            ("[sink.two]\ntype = \"stdout\"\nencoding = { raw_dta = true }\n".to_owned(), "11 sink.two.encoding.raw_dta: unknown key `raw_dta`; did you mean `raw_data`?"),
            ("[sink.two]\ntype = \"stdout\"\nraw_data = true\n".to_owned(), "11 sink.two.raw_data: stands in the table `encoding` now: encoding = { raw_data = .. }"),
            ("[sink.two]\ntype = \"stdout\"\nencoding = \"osf\"\n".to_owned(), "11 sink.two.encoding: unknown value `osf`; did you mean `ocsf`?"),
            ("[sink.two]\ntype = \"stdout\"\nencoding = \"columns\"\n".to_owned(), "11 sink.two.encoding: expected `table` or `columns`: which columns are written"),
            ("[sink.two]\ntype = \"stdout\"\nencoding = { name = \"columns\", table = \"databricks\" }\n".to_owned(), "11 sink.two.encoding.table: unknown table `databricks`; expected `databricks_audit`"),
            ("[sink.two]\ntype = \"stdout\"\nencoding = { name = \"columns\", columns = { A = \"@nothing\" } }\n".to_owned(), "11 sink.two.encoding.columns.A: unknown `@nothing`; expected one of `@record`, `@uid`, `@time`, `@place`, `@class`, `@class_uid`, `@severity_id`, `@status`, `@feed`, `@bucket`, `@key`"),
            ("[sink.two]\ntype = \"stdout\"\n[sink.two.filter]\nclases = []\n".to_owned(), "12 sink.two.filter.clases: unknown key `clases`; did you mean `classes`?"),
            ("[sink.two]\ntype = \"stdout\"\n[sink.two.filter]\nclasses = []\n".to_owned(), "12 sink.two.filter.classes: expected a list that is not empty; leave the key out to take all"),
            ("[sink.two]\ntype = \"stdout\"\n[sink.two.filter]\nclasses = [\"authentification\"]\n".to_owned(), "12 sink.two.filter.classes.0: unknown value `authentification`; did you mean `authentication`?"),
            ("[sink.two]\ntype = \"stdout\"\n[sink.two.filter]\nclasses = [3002, 6001]\n".to_owned(), "12 sink.two.filter.classes.1: unknown value `6001`; expected one of `base_event`, `account_change`, `authentication`, `authorize_session`, `entity_management`, `user_access_management`, `group_management`, `http_activity`, `api_activity`, `datastore_activity`"),
            ("[sink.two]\ntype = \"stdout\"\n[sink.two.filter]\nseverity_min = \"hig\"\n".to_owned(), "12 sink.two.filter.severity_min: unknown value `hig`; did you mean `high`?"),
            ("[sink.two]\ntype = \"stdout\"\n[sink.two.filter]\nfeeds = [\"dbz\"]\n".to_owned(), "12 sink.two.filter.feeds: there is no [feed.dbz]; did you mean `dbx`?"),
            ("[sink.two]\ntype = \"stdout\"\n[sink.two.filter]\nfamilies = [\"databrick\"]\n".to_owned(), "12 sink.two.filter.families: unknown family `databrick`; did you mean `databricks`?"),
            ("[sink.two]\ntype = \"stdout\"\n[sink.two.filter.match]\n\"actor.user.nam\" = [\"a\"]\n".to_owned(), "12 sink.two.filter.match.actor.user.nam: unknown key `actor.user.nam`; did you mean `actor.user.name`?"),
            ("[sink.two]\ntype = \"stdout\"\n[sink.two.filter.match]\n\"actor.user.name\" = [\"a*b\"]\n".to_owned(), "12 sink.two.filter.match.actor.user.name.0: expected `*` at the beginning or the end alone"),
            ("[sink.two]\ntype = \"stdout\"\n[sink.two.filter.not_match]\n\"actor.user.name\" = []\n".to_owned(), "12 sink.two.filter.not_match.actor.user.name: expected a list that is not empty; leave the key out to take all"),
            ("[sink.two]\ntype = \"stdout\"\n[sink.two.encoding]\nlabels = \"no\"\n".to_owned(), "12 sink.two.encoding.labels: expected true or false, found text"),
            (format!("{feed}bucket = \"b-b\"\n[feed.e.redact]\nmask = [\"a\", \"\"]\n"), "14 feed.e.redact.mask.1: expected the path of a field, such as `requestParams.user`"),
            (format!("{feed}bucket = \"b-b\"\n[feed.e.redact]\nmask = [\"a..b\"]\n"), "14 feed.e.redact.mask.0: expected the path of a field, such as `requestParams.user`"),
            (format!("{feed}bucket = \"b-b\"\n[feed.e.redact]\nmask = [\"a\"]\ndrop = [\"a\"]\n"), "14 feed.e.redact.mask.0: `a` is in `drop` already"),
            (format!("{feed}bucket = \"b-b\"\n[feed.e.redact]\nhash = [\"a\"]\n"), "13 feed.e.redact: `hash` needs a `key`"),
            (format!("{feed}bucket = \"b-b\"\nsettings = {{ line_members = [\"a.b\"] }}\n"), "13 feed.e.settings.line_members.0: expected a member's name, without the names of those that it is in"),
            (format!("{feed}bucket = \"b-b\"\n[feed.e.redact]\ndrop = [\"a\"]\nkey = \"env:K\"\n"), "15 feed.e.redact.key: has no effect without `hash`"),
            (format!("{feed}bucket = \"b-b\"\n[feed.e.redact]\n"), "13 feed.e.redact: expected at least one path in `drop`, `hash` or `mask`"),
            (format!("{feed}bucket = \"b-b\"\n[feed.e.redact]\nhash = [\"a\"]\nkey = \"hush-hush\"\n"), "15 feed.e.redact.key: expected where the secret is: `env:NAME`, `file:/absolute/path` or `credential:name`"),
            (format!("{feed}bucket = \"b-b\"\n[feed.e.redact]\nmsk = [\"a\"]\n"), "14 feed.e.redact.msk: unknown key `msk`; did you mean `mask`?"),
            (format!("{feed}bucket = \"b-b\"\n[feed.e.redact]\nmask = [\"userId\"]\n").replace("databricks", "s3_access"), "14 feed.e.redact.mask.0: `userId` is no field of an access log; expected one of bucket_owner, bucket, time, remote_ip, requester, request_id, operation, key, request_uri, http_status, error_code, bytes_sent, object_size, total_time, turn_around_time, referrer, user_agent, version_id, host_id, signature_version, cipher_suite, authentication_type, host_header, tls_version, access_point_arn, acl_required, extra, s3a.KEY"),
            (format!("{feed}bucket = \"b-b\"\n[feed.e.redact]\nmask = [\"time\"]\n").replace("databricks", "s3_access"), "14 feed.e.redact.mask.0: `time` can only be dropped: nothing else can stand for its value"),
            (format!("{feed}bucket = \"b-b\"\n[feed.e.redact]\nmask = [\"operation\"]\n").replace("databricks", "ydb"), "14 feed.e.redact.mask.0: `operation` is what records are told by, and cannot be redacted"),
            ("[limits]\nforget_after_days = 14\n".to_owned(), "10 limits.forget_after_days: expected 15 to 36500 days, found 14: a queue keeps a notification for up to 14"),
            ("[limits]\nbatch_bytes = 0\n".to_owned(), "10 limits.batch_bytes: expected 1 byte to 1 GiB, found 0 bytes"),
            ("[limits]\nmemory_bytes = 50000000\n".to_owned(), "10 limits.memory_bytes: expected at least 153.5 MiB, found 50 MB: the checkpoint store's caches 4.0 MiB, the batches of each sink 17.5 MiB, 8 objects at once 40.0 MiB, and for one of them the longest line 48.8 MiB and what inflates it 43.3 MiB; raise it, or lower limits.objects_at_once, limits.line_bytes_max or batch.bytes of a sink"),
            ("[limits]\nbatch_bytes = \"8M\"\n".to_owned(), "10 limits.batch_bytes: expected a size such as \"8 MiB\" (KiB, MiB, GiB, TiB, kB, MB, GB, TB) or a number of bytes, found text"),
            ("[limits]\nstall_after = \"1d\"\n".to_owned(), "10 limits.stall_after: expected 1s to 11h, found 1d"),
            ("[limits]\nobject_bytes_max = \"2 PiB\"\n".to_owned(), "10 limits.object_bytes_max: expected 1 byte to 1 PiB, found 2 PiB"),
            ("[sink.two]\ntype = \"http\"\nurl = \"https://x\"\nrequest_bytes = \"1 GiB\"\n".to_owned(), "12 sink.two.request_bytes: expected 1 kB to 100 MB, found 1 GiB"),
            ("[limits]\nowe_after = \"soon\"\n".to_owned(), "10 limits.owe_after: expected a time such as \"10m\" or \"2d\", or \"never\""),
            ("[admin]\nlisten = \"0.0.0.0:9598\"\n".to_owned(), "10 admin.listen: expected a loopback address (127.0.0.1 or [::1]): there is no authentication; `admin.allow_remote = true` allows others"),
            ("[admin]\nlisten = \"unix:admin.sock\"\n".to_owned(), "10 admin.listen: expected the absolute path of a socket behind `unix:`"),
            ("[sink.two]\ntype = \"elasticsearch\"\nurl = \"https://es\"\nindex = \"a\"\nsigv4 = \"es\"\nregion = \"r\"\nidentity = \"siem\"\n".to_owned(), "15 sink.two.identity: there is no [identity.siem]; there are none"),
            ("[sink.two]\ntype = 5\n".to_owned(), "10 sink.two.type: expected text, found a number"),
            ("[sink.two]\ntype = \"file\"\npath = \"/x\"\nmode = 640\n".to_owned(), "12 sink.two.mode: expected text, found a number"),
            ("[sink.two]\ntype = \"file\"\npath = \"/x\"\nmode = \"0664x\"\n".to_owned(), "12 sink.two.mode: expected a mode of three octal digits such as \"0640\""),
            ("[sink.two]\ntype = \"file\"\npath = \"/x\"\ngroup = -1\n".to_owned(), "12 sink.two.group: expected the name or the number of a group, found a number below zero"),
            ("[sink.two]\ntype = \"stdout\"\nmode = \"0640\"\n".to_owned(), "11 sink.two.mode: unknown key `mode`; expected one of `encoding`, `filter`, `batch`, `lanes`, `in_flight`, `required`, `style`"),
            ("[sink.two]\ntype = \"http\"\nurll = \"https://x\"\n".to_owned(), "11 sink.two.urll: unknown key `urll`; did you mean `url`?"),
            ("[sink.two]\ntype = \"datadog\"\nsite = \"x\"\napikey = \"env:K\"\n".to_owned(), "12 sink.two.apikey: unknown key `apikey`; did you mean `api_key`?"),
            ("[sink.two]\ntype = \"datadog\"\nsite = \"x\"\napi_key = \"hush\"\n".to_owned(), "12 sink.two.api_key: expected where the secret is: `env:NAME`, `file:/absolute/path` or `credential:name`"),
            ("[sink.two]\ntype = \"sumo\"\nurl = \"/hush\"\n".to_owned(), "11 sink.two.url: expected a URL such as \"https://host/path\", or where the secret is that holds one: `env:NAME`, `file:/absolute/path` or `credential:name`"),
            ("[sink.two]\ntype = \"http\"\nurl = \"http://siem\"\n".to_owned(), "11 sink.two.url: expected https://; http:// is for this machine alone (127.0.0.1, [::1], localhost); or `allow_plaintext = true`"),
            ("[sink.two]\ntype = \"http\"\nurl = \"https://x\"\nauth = { type = \"digest\" }\n".to_owned(), "12 sink.two.auth.type: unknown value `digest`; expected one of `bearer`, `basic`, `header`, `hmac`, `oauth2`, `entra`, `managed_identity`"),
            ("[sink.two]\ntype = \"http\"\nurl = \"https://x\"\nheaders = { Authorization = \"hush\" }\n".to_owned(), "12 sink.two.headers: the header field `authorization` carries a secret: give it by `auth`, as a reference"),
            ("[sink.two]\ntype = \"s3\"\nbucket = \"s3://b-b\"\nprefix = \"x\"\n".to_owned(), "11 sink.two.bucket: expected a bucket's name alone, without `s3://` and without a path (that is `prefix`)"),
            ("[sink.two]\ntype = \"s3\"\nbucket = \"b-b\"\nprefix = \"{user.name}\"\n".to_owned(), "12 sink.two.prefix: whoever writes the log decides what `{user.name}` is: list what may stand there, as in { template = \"..\", values = [\"a\", \"b\"], else = \"other\" }"),
            ("[sink.two]\ntype = \"s3\"\nbucket = \"b-b\"\nprefix = \"x\"\nidentity = \"nobody\"\n".to_owned(), "13 sink.two.identity: there is no [identity.nobody]; there are none"),
            ("[sink.two]\ntype = \"s3\"\nbucket = \"b-b\"\nprefix = \"x\"\nstorage_class = \"GLACIER\"\n".to_owned(), "13 sink.two.storage_class: unknown value `GLACIER`; did you mean `GLACIER_IR`?"),
            ("[sink.two]\ntype = \"s3\"\nbucket = \"b-b\"\nprefix = \"x\"\nexpected_bucket_owner = \"me\"\n".to_owned(), "13 sink.two.expected_bucket_owner: expected an account's 12 digits"),
            ("[sink.two]\ntype = \"s3\"\nbucket = \"b-b\"\nprefix = \"x\"\nendpoint_url = \"minio:9000\"\n".to_owned(), "13 sink.two.endpoint_url: expected a URL that begins with https:// or http://"),
            ("[sink.two]\ntype = \"s3\"\nbucket = \"b-b\"\nprefix = \"x\"\nkms_key = \"\"\n".to_owned(), "13 sink.two.kms_key: expected a key's id or ARN; leave it out to encrypt as the bucket does"),
            ("[sink.two]\ntype = \"s3\"\nbucket = \"arn:aws:s3:eu-west-1:123456789012:accesspoint/a\"\nprefix = \"x\"\npath_style = true\n".to_owned(), "13 sink.two.path_style: cannot be used with an access point's ARN; use its alias"),
            ("[sink.two]\ntype = \"s3\"\nbucket = \"logs\"\nprefix = \"x/{feed}\"\n".to_owned(), "4 feed.dbx.bucket: the feed would read what [sink.two] writes to s3://logs/x/: set `prefixes`"),
            ("[sink.two]\ntype = \"http\"\nurl = \"https://x\"\ntls = { min_version = \"1.1\" }\n".to_owned(), "12 sink.two.tls.min_version: unknown value `1.1`; did you mean `1.2`?"),
            (format!("{feed}bucket = \"b-b\"\nendpoint_url = \"http://minio:9000\"\n"), "13 feed.e.endpoint_url: expected https://; http:// is for this machine alone (127.0.0.1, [::1], localhost); or `allow_plain_http = true`"),
            (format!("{feed}bucket = \"b-b\"\nqueue = \"http://sqs/1/q\"\n"), "13 feed.e.queue: expected https://; http:// is for this machine alone (127.0.0.1, [::1], localhost); or `allow_plain_http = true`"),
            (format!("{feed}directory = \"/b\"\nallow_plain_http = true\n"), "13 feed.e.allow_plain_http: is for buckets; this feed reads a directory"),
            ("[queue.q]\nurl = \"http://sqs/1/q\"\n".to_owned(), "10 queue.q.url: expected https://; http:// is for this machine alone (127.0.0.1, [::1], localhost); or `allow_plain_http = true`"),
            ("[queue.q]\nname = \"q\"\nendpoint_url = \"http://sqs\"\n".to_owned(), "11 queue.q.endpoint_url: expected https://; http:// is for this machine alone (127.0.0.1, [::1], localhost); or `allow_plain_http = true`"),
            ("[sink.two]\ntype = \"s3\"\nbucket = \"b-b\"\nprefix = \"x\"\nendpoint_url = \"http://minio:9000\"\n".to_owned(), "13 sink.two.endpoint_url: expected https://; http:// is for this machine alone (127.0.0.1, [::1], localhost); or `allow_plain_http = true`"),
            ("[[identity.a.assume_role]]\nrole_arn = \"arn:aws:iam::123456789012:role/a\"\nendpoint_url = \"http://sts\"\n".to_owned(), "11 identity.a.assume_role.0.endpoint_url: expected https://; http:// is for this machine alone (127.0.0.1, [::1], localhost); or `allow_plain_http = true`"),
            ("[queue.q]\nname = \"q\"\ntopics = []\n".to_owned(), "11 queue.q.topics: expected at least one; leave the key out to take everybody's messages"),
            ("[queue.q]\nname = \"q\"\ntopics = [\"aws.s3\", \"arn:aws:sqs:r:1:q\"]\n".to_owned(), "11 queue.q.topics.1: expected a topic's ARN such as \"arn:aws:sns:eu-central-1:111122223333:logs\", a source of EventBridge such as \"aws.s3\", or \"aws:s3\" for S3 itself"),
            (format!("{feed}bucket = \"arn:aws:s3:eu-west-1:123456789012:accesspoint/a\"\nregion = \"eu-west-2\"\n"), "13 feed.e.region: is eu-west-2, and `bucket` is of eu-west-1; expected one of the two"),
            (format!("{feed}bucket = \"b-b\"\nendpoint_url = \"https://s3.eu-west-1.amazonaws.com\"\nregion = \"eu-west-2\"\n"), "14 feed.e.region: is eu-west-2, and `endpoint_url` is of eu-west-1; expected one of the two"),
            (format!("{feed}bucket = \"b-b\"\nregion = \"eu-west-2\"\nqueue = \"https://sqs.eu-west-1.amazonaws.com/1/q\"\n"), "14 feed.e.queue: the queue is in eu-west-1, and the feed's region is eu-west-2; give the queue a [queue.<name>] table"),
            ("[queue.q]\nurl = \"https://sqs.eu-west-1.amazonaws.com/1/q\"\nregion = \"eu-west-2\"\n".to_owned(), "11 queue.q.region: is eu-west-2, and `url` is of eu-west-1; expected one of the two"),
            ("[sink.two]\ntype = \"s3\"\nbucket = \"arn:aws:s3:eu-west-1:123456789012:accesspoint/a\"\nprefix = \"x\"\nregion = \"eu-west-2\"\n".to_owned(), "13 sink.two.region: is eu-west-2, and `bucket` is of eu-west-1; expected one of the two"),
            ("[sink.two]\ntype = \"elasticsearch\"\nurl = \"https://search-a.eu-west-1.es.amazonaws.com\"\nindex = \"a\"\nsigv4 = \"es\"\nregion = \"eu-west-2\"\n".to_owned(), "14 sink.two.region: is eu-west-2, and `url` is of eu-west-1; expected one of the two"),
            ("[[identity.a.assume_role]]\nrole_arn = \"arn:aws:iam::123456789012:role/a\"\nregion = \"eu-west-2\"\nendpoint_url = \"https://sts.eu-west-1.amazonaws.com\"\n".to_owned(), "11 identity.a.assume_role.0.region: is eu-west-2, and `endpoint_url` is of eu-west-1; expected one of the two"),
            ("[[identity.a.assume_role]]\nrole_arn = \"arn:aws:iam::123456789012:role/a\"\nregion = \"cn-north-1\"\n".to_owned(), "11 identity.a.assume_role.0.region: cn-north-1 is in the partition aws-cn, and the role in aws"),
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
        let text = with("[[identity.a.assume_role]]\nrole_arn = \"a\"\nexternal_id = \"file:hush\"\n");
        assert!(!problems(&text).join("\n").contains("hush"));
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
        assert_eq!(error.to_string(), "cannot read /not/there.toml: there is no such file");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.toml");
        std::fs::write(&path, b"\xff").unwrap();
        let error = load(std::slice::from_ref(&path), []).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot read {}: it is no text in UTF-8", path.display()));
        let error = load(&[directory.path().to_owned()], []).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot read {}: it is a directory", directory.path().display()));
    }
}

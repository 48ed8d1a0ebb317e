//! Finds the key that an environment variable sets. Variables' names have no dots and dashes, and mostly no small
//! letters.

use config::{Map, Value, ValueKind};

use crate::config::found::did_you_mean;
use crate::config::value::{KeyPath, kind_of};

/// The prefix of variables that set a key; `__` stands between the keys of the path.
pub(super) const PREFIX: &str = "AUDITFERRY__";
/// A variable with only this prefix may have been meant for [`PREFIX`].
const NEAR_PREFIX: &str = "AUDITFERRY_";
/// The configuration's keys, from its root.
const ROOTS: &[&str] = &["state_dir", "admin", "log", "limits", "identity", "queue", "feed", "sink"];
/// The root keys whose tables have names that the operator chooses.
const NAMED: &[&str] = &["identity", "queue", "feed", "sink"];

/// The path in the files' tree that `keys` means; `keys` is a variable's name without its prefix.
///
/// A key of the tree matches in any case, and `_` also stands for `-` and `.`. If several keys match, the one that is
/// spelt exactly so is taken, or else the one in small letters. A key that the tree lacks is taken in small letters.
///
/// # Errors
/// If several keys may be meant, if no table has the name, or if the path leads into a value that is not a table.
pub(super) fn path(keys: &str, tree: &Value) -> Result<KeyPath, String> {
    let (mut path, mut rest, mut node) = (KeyPath::new(), keys, Some(tree));
    loop {
        let table = match node.map(|value| &value.kind) {
            Some(ValueKind::Table(table)) => Some(table),
            Some(kind) => {
                let at = path.join(".");
                return Err(format!(
                    "{at} is {} in the files, and has no keys; write it as a table there, or set it whole",
                    kind_of(kind)
                ));
            }
            None => None,
        };
        let known = match table {
            Some(table) => known(rest, table)?,
            None => None,
        };
        let is_named = matches!(&path[..], [section] if NAMED.contains(&section.as_str()));
        let (key, length) = match known {
            Some(key) => (key.to_owned(), key.len()),
            None => {
                let key = rest.split("__").next().unwrap_or_default();
                if key.is_empty() {
                    return Err("expected the name of a key before and behind each `__`".to_owned());
                }
                if is_named {
                    let names = table.into_iter().flat_map(Map::keys).map(String::as_str);
                    let (section, name) = (&path[0], key.to_lowercase());
                    let hint = did_you_mean(&name, names);
                    return Err(format!("there is no [{section}.{name}] in the files{hint}"));
                }
                (key.to_lowercase(), key.len())
            }
        };
        node = table.and_then(|table| table.get(&key));
        path.push(key);
        match rest[length..].strip_prefix("__") {
            Some(further) => rest = further,
            None => return Ok(path),
        }
    }
}

/// The table's longest key with which `rest` begins. The longest is taken because names may contain `__` themselves.
fn known<'t>(rest: &str, table: &'t Map<String, Value>) -> Result<Option<&'t str>, String> {
    let begins = |key: &&str| {
        let spelt = rest.get(..key.len()).is_some_and(|start| start.bytes().map(folded).eq(key.bytes().map(folded)));
        spelt && !key.is_empty() && (rest.len() == key.len() || rest[key.len()..].starts_with("__"))
    };
    let mut keys: Vec<&str> = table.keys().map(String::as_str).filter(begins).collect();
    let longest = keys.iter().map(|key| key.len()).max().unwrap_or_default();
    keys.retain(|key| key.len() == longest);
    keys.sort_unstable();
    let start = &rest[..longest];
    let exact =
        keys.iter().find(|key| **key == start).or_else(|| keys.iter().find(|key| **key == start.to_lowercase()));
    match (exact, keys.as_slice()) {
        (Some(key), _) | (None, [key]) => Ok(Some(key)),
        (None, []) => Ok(None),
        (None, several) => Err(format!("may be any of `{}`: spell it as it is there", several.join("`, `"))),
    }
}

fn folded(byte: u8) -> u8 {
    match byte {
        b'-' | b'.' => b'_',
        other => other.to_ascii_lowercase(),
    }
}

/// A variable whose prefix is similar to [`PREFIX`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Stray {
    /// The variable was probably meant to set a key; holds the name that was meant.
    Meant(String),
    /// The variable sets no key, and may belong to another program.
    Unknown,
}

/// Judges a variable without [`PREFIX`]; `None` if its name is not similar, or if Kubernetes made it from a Service
/// named like the daemon (`AUDITFERRY_SERVICE_HOST`, `AUDITFERRY_METRICS_PORT_9598_TCP`).
pub(super) fn stray(name: &str) -> Option<Stray> {
    let rest = name.strip_prefix(NEAR_PREFIX)?;
    if is_of_a_service(name) {
        return None;
    }
    let lower = rest.to_lowercase();
    let root =
        ROOTS.iter().find(|root| lower.strip_prefix(**root).is_some_and(|end| end.is_empty() || end.starts_with('_')));
    let Some(root) = root else { return Some(Stray::Unknown) };
    let end = rest[root.len()..].trim_start_matches('_');
    let meant = [&rest[..root.len()], end].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("__");
    Some(Stray::Meant(format!("{PREFIX}{}", meant.to_uppercase())))
}

fn is_of_a_service(name: &str) -> bool {
    let port = name.rsplit_once("_PORT").map(|(_, end)| end);
    let is_port = |end: &str| {
        end.is_empty() || end.strip_prefix('_').is_some_and(|end| end.starts_with(|c: char| c.is_ascii_digit()))
    };
    name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT") || port.is_some_and(is_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Value {
        let source = config::File::from_str(text, config::FileFormat::Toml);
        config::Config::builder().add_source(source).build().unwrap().cache
    }

    const NAMES: &str = "[feed.Prod]\n[feed.eu-west-1]\n[feed.a__b]\n[feed.a]\n[feed.twin]\n[feed.TWIN]\n[feed.x-y]\n[feed.x_Y]\n[feed.\"v1.2\"]\n[sink.out]\nencoding = \"raw\"\n[sink.out.columns]\nTimeGenerated = \"@time\"\n";

    #[test]
    fn a_name_is_found_whatever_its_letters_and_dashes() {
        for (keys, expected) in [
            ("FEED__PROD__REGION", "feed Prod region"),
            ("FEED__Prod__REGION", "feed Prod region"),
            ("FEED__EU_WEST_1__REGION", "feed eu-west-1 region"),
            ("FEED__V1_2__REGION", "feed v1.2 region"),
            ("FEED__A__B__REGION", "feed a__b region"),
            ("FEED__A__REGION", "feed a region"),
            ("FEED__TWIN__REGION", "feed TWIN region"),
            ("FEED__twin__REGION", "feed twin region"),
            ("FEED__X_y__REGION", ""),
            ("FEED__x_Y__REGION", "feed x_Y region"),
            ("SINK__OUT__COLUMNS__TIMEGENERATED", "sink out columns TimeGenerated"),
            ("LIMITS__BATCH_BYTES", "limits batch_bytes"),
            ("FEED", "feed"),
        ] {
            let found = path(keys, &tree(NAMES)).map(|path| path.join(" "));
            if expected.is_empty() {
                assert_eq!(found, Err("may be any of `x-y`, `x_Y`: spell it as it is there".to_owned()));
            } else {
                assert_eq!(found.as_deref(), Ok(expected), "{keys}");
            }
        }
    }

    #[test]
    fn what_no_file_has_a_table_for_is_refused_with_the_nearest() {
        for (keys, expected) in [
            ("FEED__PROT__REGION", "there is no [feed.prot] in the files; did you mean `Prod`?"),
            ("QUEUE__AUDIT__URL", "there is no [queue.audit] in the files; there are none"),
            (
                "SINK__OUT__ENCODING__LABELS",
                "sink.out.encoding is text in the files, and has no keys; write it as a table there, or set it whole",
            ),
            ("FEED____REGION", "expected the name of a key before and behind each `__`"),
            ("", "expected the name of a key before and behind each `__`"),
        ] {
            assert_eq!(path(keys, &tree(NAMES)), Err(expected.to_owned()), "{keys}");
        }
    }

    #[test]
    fn a_name_with_one_underscore_for_two_is_told_apart_from_what_is_somebody_elses() {
        let meant = |name: &str| Some(Stray::Meant(name.to_owned()));
        for (name, expected) in [
            ("AUDITFERRY_STATE_DIR", meant("AUDITFERRY__STATE_DIR")),
            ("AUDITFERRY_LIMITS__BATCH_BYTES", meant("AUDITFERRY__LIMITS__BATCH_BYTES")),
            ("AUDITFERRY_LIMITS_BATCH_BYTES", meant("AUDITFERRY__LIMITS__BATCH_BYTES")),
            ("AUDITFERRY_CONFIG", Some(Stray::Unknown)),
            ("AUDITFERRY_SERVICE_HOST", None),
            ("AUDITFERRY_SERVICE_PORT_HTTP", None),
            ("AUDITFERRY_PORT", None),
            ("AUDITFERRY_PORT_9598_TCP_ADDR", None),
            ("AUDITFERRY_METRICS_SERVICE_HOST", None),
            ("AUDITFERRYLIKE", None),
            ("PATH", None),
        ] {
            assert_eq!(stray(name), expected, "{name}");
        }
    }
}

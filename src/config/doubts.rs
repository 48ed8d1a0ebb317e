//! What `check` reports of a valid configuration: things that are missing on this machine, and values that are probably
//! mistakes. Uses the file system and the environment, never the network.

use std::path::Path;

use rustix::fs::Access;

use crate::config::load::{Loaded, Problem};
use crate::config::{feed, regions, state_dir};
use crate::family;
use crate::sink::Output;

/// The findings, each with the file, line and key that it is about.
#[derive(Default)]
pub(crate) struct Doubts {
    /// With these the daemon would end, or deliver nothing, on every machine and as every user.
    pub(crate) problems: Vec<Problem>,
    /// These may not apply on the machine, or for the user, with which the daemon runs.
    pub(crate) warnings: Vec<Problem>,
}

/// Checks the configuration against this machine. `has_region` says whether the environment or a profile names a
/// region.
pub(crate) fn doubts(loaded: &Loaded, has_region: bool) -> Doubts {
    let mut found = Doubts::default();
    check_state_dir(loaded, &mut found);
    for (name, sink) in &loaded.config.sink {
        if let Output::File(path) = sink.kind.output() {
            check_file(loaded, &["sink", name, "path"], path, &mut found);
        }
    }
    for (at, reference) in &loaded.secrets {
        if let Err(error) = reference.read() {
            found.warnings.push(loaded.problem(at, format!("{error} (where `check` runs)")));
        }
    }
    for at in regions::missing(&loaded.config).into_iter().filter(|_| !has_region) {
        let message =
            "no region is known here: set it, or AWS_REGION for the daemon; on EC2 the instance knows its own";
        found.warnings.push(loaded.problem(&at, message.to_owned()));
    }
    for (name, feed) in &loaded.config.feed {
        check_names(loaded, name, feed, &mut found);
    }
    found.problems.sort();
    found.warnings.sort();
    found
}

fn check_state_dir(loaded: &Loaded, found: &mut Doubts) {
    let (place, at) = (&loaded.config.state_dir, ["state_dir"]);
    let shown = place.display();
    match standing(place) {
        Standing::File(path) => {
            let message = format!("{} is a file: expected a directory, or nothing that is there yet", path.display());
            found.problems.push(loaded.problem(&at, message));
            return;
        }
        Standing::Closed(path) => found.warnings.push(loaded.problem(&at, closed(path))),
        Standing::Open | Standing::Missing => {}
    }
    if let Some(doubt) = state_dir::doubt(place) {
        found.warnings.push(loaded.problem(&at, format!("{shown} is on {doubt}")));
    }
    if let Some((who, mode)) = state_dir::exposed(place) {
        let message =
            format!("{shown} has mode {mode:04o}, so that {who} may look into it: as its owner, chmod 0700 {shown}");
        found.warnings.push(loaded.problem(&at, message));
    }
}

/// The daemon creates a sink's file if it is missing, but not the file's directory.
fn check_file(loaded: &Loaded, at: &[&str], path: &Path, found: &mut Doubts) {
    if path.is_dir() {
        found.problems.push(loaded.problem(at, format!("{} is a directory: expected a file", path.display())));
        return;
    }
    let Some(directory) = path.parent() else { return };
    match standing(directory) {
        Standing::File(path) => {
            found.problems.push(loaded.problem(at, format!("{} is a file, and has nothing below it", path.display())));
        }
        Standing::Missing => {
            let message = format!("there is no directory {}: make it, as the daemon does not", directory.display());
            found.warnings.push(loaded.problem(at, message));
        }
        Standing::Closed(path) => found.warnings.push(loaded.problem(at, closed(path))),
        Standing::Open => {}
    }
}

fn closed(path: &Path) -> String {
    format!("{} cannot be written to by who runs `check`", path.display())
}

/// The state of a directory, or of its nearest ancestor that exists.
enum Standing<'a> {
    Open,
    /// The directory does not exist, and its nearest ancestor is writable.
    Missing,
    /// This directory is not writable.
    Closed(&'a Path),
    /// This path is not a directory.
    File(&'a Path),
}

fn standing(directory: &Path) -> Standing<'_> {
    let Some(there) = directory.ancestors().find(|path| path.symlink_metadata().is_ok()) else {
        return Standing::Missing;
    };
    if !there.is_dir() {
        return Standing::File(there);
    }
    if rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        return Standing::Closed(there);
    }
    if there == directory { Standing::Open } else { Standing::Missing }
}

/// Warns of globs that match no name of the family's product, and of prefixes that look like globs.
fn check_names(loaded: &Loaded, name: &str, feed: &feed::Config, found: &mut Doubts) {
    for (index, prefix) in feed.prefixes.iter().enumerate() {
        if prefix.contains(['*', '?', '{', '[']) {
            let at = ["feed", name, "prefixes", &index.to_string()];
            let message =
                format!("`{prefix}` stands for itself: a prefix is no glob and no template; `keys` takes globs");
            found.warnings.push(loaded.problem(&at, message));
        }
    }
    let Some(family) = family::named(&feed.family) else { return };
    for (index, glob) in feed.keys.iter().flatten().enumerate() {
        let at = ["feed", name, "keys", &index.to_string()];
        let head = glob.split(is_wild).next().unwrap_or_default();
        let is_below = |prefix: &String| prefix.starts_with(head) || head.starts_with(prefix.as_str());
        if !feed.prefixes.is_empty() && !feed.prefixes.iter().any(is_below) {
            let message = format!("`{glob}` matches no key below the feed's `prefixes`");
            found.problems.push(loaded.problem(&at, message));
        } else if let Some(example) = family.example
            && !may_match(glob, example, family.keys)
        {
            let message =
                format!("`{glob}` matches no name that the product of `{}` gives, such as {example}", family.name);
            found.warnings.push(loaded.problem(&at, message));
        }
    }
}

fn is_wild(c: char) -> bool {
    matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | '\\')
}

/// Whether a glob may match names like the example, or names that the family's own globs match. Only the ends of names
/// are compared.
fn may_match(glob: &str, example: &str, own: &[&str]) -> bool {
    let tail = |glob: &str| glob.rsplit(is_wild).next().unwrap_or_default().to_owned();
    let end = tail(glob);
    let Some(dot) = end.rsplit('/').next().and_then(|name| name.rfind('.').map(|dot| name[dot..].to_owned())) else {
        return true;
    };
    let of_own = own.iter().map(|own| tail(own)).any(|own| !own.is_empty() && end.ends_with(&own));
    of_own || example.ends_with(&dot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_product_gives_are_told_by_how_they_end() {
        let of = |family: &str, glob: &str| {
            let family = family::named(family).unwrap();
            family.example.is_none_or(|example| may_match(glob, example, family.keys))
        };
        for (family, good, bad) in [
            (
                "databricks",
                &["**/*.json", "*.json.gz", "prod/**", "**/auditlogs_*", "a/*.{json,gz}"][..],
                &["*.gz", "**/*.parquet", "*.log"][..],
            ),
            ("lakefs", &["**/*.parquet", "*-snappy.parquet", "etl/v1/**"], &["*.json", "**/*.gz"]),
            ("s3_access", &["**", "logs/2026-*", "**/*[0-9]-*"], &["*.gz", "logs/*.log"]),
            ("immuta", &["*.json", "*.log.gz"], &[]),
        ] {
            for glob in good {
                assert!(of(family, glob), "{family} {glob}");
            }
            for glob in bad {
                assert!(!of(family, glob), "{family} {glob}");
            }
        }
    }
}

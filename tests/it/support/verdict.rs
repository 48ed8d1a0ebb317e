//! Judges every event that a test delivered, by the schema that the event names.

use std::path::Path;
use std::sync::OnceLock;

use serde_json::Value;

use super::ecs::Fields;
use super::ocsf::Schema;

/// The faults of one line; empty if the line is a valid event or a raw record.
pub fn faults(line: &str) -> Vec<String> {
    static ECS: OnceLock<Fields> = OnceLock::new();
    match encoding_of(line) {
        Encoding::Raw => Vec::new(),
        Encoding::Ecs => ECS.get_or_init(Fields::load).faults(line),
        Encoding::Ocsf(version) => match schema(&version) {
            Some(schema) => schema.faults(line),
            None => vec![format!("metadata.version: {version} is none that is written")],
        },
    }
}

/// Asserts that all events in the files below the directory are valid.
///
/// # Panics
/// With the first event that is not valid.
pub fn assert_events_valid(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.contains(".ndjson") {
            continue;
        }
        for line in super::records::lines_of(&entry.path()) {
            let faults = faults(&line);
            assert!(faults.is_empty(), "{name}: {faults:#?}\n{line}");
        }
    }
}

enum Encoding {
    Ocsf(String),
    Ecs,
    Raw,
}

/// An event names its schema; no source's record has these members.
fn encoding_of(line: &str) -> Encoding {
    let Ok(event) = serde_json::from_str::<Value>(line) else { return Encoding::Raw };
    if event["class_uid"].is_number() {
        return Encoding::Ocsf(event["metadata"]["version"].as_str().unwrap_or_default().to_owned());
    }
    if event["ecs"]["version"].is_string() { Encoding::Ecs } else { Encoding::Raw }
}

fn schema(version: &str) -> Option<&'static Schema> {
    static SCHEMAS: OnceLock<Vec<(&str, Schema)>> = OnceLock::new();
    let versions = ["1.1.0", "1.3.0", "1.5.0", "1.8.0"];
    let schemas = SCHEMAS.get_or_init(|| versions.map(|version| (version, Schema::of_version(version))).into());
    schemas.iter().find(|(known, _)| *known == version).map(|(_, schema)| schema)
}

//! Judges events by the fields of ECS 9.4.0 in the fixtures, as strictly as the strictest receiver.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::Path;

use serde_json::{Map, Value};

use super::ocsf::Unique;

/// Top-level names besides those of ECS: the sources' own, and the collector's.
const CUSTOM: [&str; 7] = ["databricks", "lakefs", "aws", "s3a", "immuta", "ydb", "collector"];

/// Fields that every event must have.
const REQUIRED: [&str; 8] = [
    "@timestamp",
    "ecs.version",
    "event.kind",
    "event.category",
    "event.type",
    "event.action",
    "event.dataset",
    "event.id",
];

/// All fields of ECS, by their dotted names.
pub struct Fields(HashMap<String, Value>);

impl Fields {
    pub fn load() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ecs/ecs-9.4.0-flat.json");
        Self(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
    }

    /// All faults of an event; empty if the event is valid.
    pub fn faults(&self, line: &str) -> Vec<String> {
        let event = match serde_json::from_str::<Unique>(line) {
            Ok(Unique(Value::Object(event))) => event,
            Ok(_) => return vec!["$: no object".to_owned()],
            Err(error) => return vec![format!("$: {error}")],
        };
        let mut leaves = Vec::new();
        self.leaves("", &event, &mut leaves);
        let mut faults: Vec<String> = leaves.iter().flat_map(|(name, value)| self.judge(name, value)).collect();
        let names: BTreeSet<&str> = leaves.iter().map(|(name, _)| name.as_str()).collect();
        faults.extend(REQUIRED.iter().filter(|name| !names.contains(**name)).map(|name| format!("{name}: absent")));
        faults.extend(self.misfiled(&event));
        faults
    }

    /// # Panics
    /// If an event is not valid, or if two events have the same id.
    pub fn assert_valid<'l>(&self, lines: impl IntoIterator<Item = &'l str>) {
        let mut ids = BTreeSet::new();
        for line in lines {
            let faults = self.faults(line);
            assert!(faults.is_empty(), "{faults:#?}\n{line}");
            let event: Value = serde_json::from_str(line).unwrap();
            assert!(ids.insert(event["event"]["id"].as_str().unwrap().to_owned()), "two events with one id: {line}");
        }
    }

    fn leaves<'v>(&self, path: &str, object: &'v Map<String, Value>, leaves: &mut Vec<(String, &'v Value)>) {
        for (key, value) in object {
            let name = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match value {
                Value::Object(inside) if !self.is_free(&name) => self.leaves(&name, inside, leaves),
                value => leaves.push((name, value)),
            }
        }
    }

    /// Whether the field may hold any object.
    fn is_free(&self, name: &str) -> bool {
        let root = name.split('.').next().unwrap_or_default();
        let kind = self.0.get(name).and_then(|field| field["type"].as_str());
        CUSTOM.contains(&root) || matches!(kind, Some("flattened" | "object" | "nested"))
    }

    fn judge(&self, name: &str, value: &Value) -> Vec<String> {
        if self.is_free(name) {
            return Vec::new();
        }
        let Some(field) = self.0.get(name) else { return vec![format!("{name}: no field of ECS")] };
        let is_list = field["norm"] == 1;
        let values = match value {
            Value::Array(values) if is_list && !values.is_empty() => values.as_slice(),
            Value::Array(_) => return vec![format!("{name}: a list, or an empty one")],
            _ if is_list => return vec![format!("{name}: no list")],
            value => std::slice::from_ref(value),
        };
        let kind = field["type"].as_str().unwrap();
        let allowed = |value: &Value| {
            field["allowed"].as_object().is_none_or(|allowed| value.as_str().is_some_and(|it| allowed.contains_key(it)))
        };
        let wrong = values.iter().filter(|value| !is_of(kind, value) || !allowed(value));
        wrong.map(|value| format!("{name}: {value} is no {kind}, or not allowed")).collect()
    }

    /// Faults for event types that none of the event's categories allows.
    fn misfiled(&self, event: &Map<String, Value>) -> Vec<String> {
        let words = |name: &str| {
            let words = event.get("event").and_then(|event| event[name].as_array()).cloned().unwrap_or_default();
            words.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
        };
        let categories = words("category");
        let expected = |word: &str| {
            let has = |category: &String| {
                let types = self.0["event.category"]["allowed"][category.as_str()].as_array();
                types.is_some_and(|types| types.iter().any(|known| known == word))
            };
            categories.iter().any(has)
        };
        let misfiled = words("type").into_iter().filter(|word| !expected(word));
        misfiled.map(|word| format!("event.type: {word} is of none of {categories:?}")).collect()
    }
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "long" | "integer" | "short" | "unsigned_long" => value.is_i64() || value.is_u64(),
        "float" | "scaled_float" | "double" => value.is_number(),
        "boolean" => value.is_boolean(),
        "date" => value.as_str().is_some_and(|text| text.contains('T') && text.parse::<jiff::Timestamp>().is_ok()),
        "ip" => value.as_str().is_some_and(|text| text.parse::<IpAddr>().is_ok()),
        _ => value.as_str().is_some_and(|text| !text.is_empty()),
    }
}

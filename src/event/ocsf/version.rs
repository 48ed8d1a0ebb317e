//! The attributes of older versions of OCSF, with their profiles and ids.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::event::OcsfVersion;
use crate::event::ocsf::form::Form;

static V1_1: LazyLock<Schema> = LazyLock::new(|| Schema::parse(include_str!("1.1.0.json")));
static V1_3: LazyLock<Schema> = LazyLock::new(|| Schema::parse(include_str!("1.3.0.json")));
static V1_5: LazyLock<Schema> = LazyLock::new(|| Schema::parse(include_str!("1.5.0.json")));

/// The classes and objects of one version: the compiled schema, reduced to what projection reads.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Schema {
    pub(super) version: String,
    /// The greatest length of a text in code points. `None` if there is no limit.
    #[serde(default)]
    pub(super) text_max: Option<usize>,
    classes: HashMap<u16, Class>,
    objects: HashMap<String, Attributes>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Class {
    pub(super) caption: String,
    /// The profiles that an event of the class may name.
    pub(super) profiles: Vec<String>,
    /// An event of the class must have all of these attributes.
    pub(super) required: Vec<String>,
    /// An event of the class must have one of these attributes, unless the list is empty.
    #[serde(default)]
    pub(super) at_least_one: Vec<String>,
    pub(super) attributes: Attributes,
}

pub(super) type Attributes = HashMap<String, Attribute>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Attribute {
    /// Only events that name one of these profiles have the attribute. If empty, all events may have it.
    #[serde(default)]
    pub(super) profiles: Vec<String>,
    /// The object that the attribute is, or is a list of.
    #[serde(default)]
    pub(super) object: Option<String>,
    /// The ids that the attribute may have, listed only if 99 (Other) is one of them. If empty, any id.
    #[serde(default)]
    pub(super) ids: Vec<i64>,
    /// The texts that the attribute may have. If empty, any text.
    #[serde(default)]
    pub(super) words: Vec<String>,
    #[serde(default, rename = "type")]
    pub(super) form: Form,
}

impl Attribute {
    /// Whether the attribute may have the text. `inside` is the inside of its JSON string, escapes included.
    pub(super) fn takes(&self, inside: &str) -> bool {
        self.form.takes(inside) && (self.words.is_empty() || self.words.iter().any(|word| word == inside))
    }
}

impl Schema {
    /// The schema of the version. `None` for 1.8.0, in which events are written before conversion.
    pub(super) fn of(version: OcsfVersion) -> Option<&'static Self> {
        match version {
            OcsfVersion::V1_1 => Some(&V1_1),
            OcsfVersion::V1_3 => Some(&V1_3),
            OcsfVersion::V1_5 => Some(&V1_5),
            OcsfVersion::V1_8 => None,
        }
    }

    pub(super) fn class(&self, uid: u16) -> Option<&Class> {
        self.classes.get(&uid)
    }

    /// The attributes of the object that `attribute` is. `None` if it is no object, or an object that may hold
    /// anything.
    pub(super) fn inside(&self, attribute: &Attribute) -> Option<&Attributes> {
        let object = attribute.object.as_ref()?;
        self.objects.get(object).filter(|attributes| !attributes.is_empty())
    }

    fn parse(text: &str) -> Self {
        serde_json::from_str(text).expect("a table in the repository, which a test loads")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value;

    use super::*;

    fn whole(version: &str) -> Value {
        let name = format!("tests/fixtures/ocsf/ocsf-{version}-min.json");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    /// The form of a type in a version: what the version requires beyond 1.8.0, if anything.
    fn form_of(kind: &str, types: &Value, newest: &Value) -> Form {
        match kind {
            "json_t" => Form::Json,
            "hostname_t" if types[kind]["regex"] != newest[kind]["regex"] => Form::Hostname,
            "email_t" if types[kind]["regex"] != newest[kind]["regex"] => Form::Email,
            _ => Form::Plain,
        }
    }

    fn assert_same(whole: &Value, attributes: &Attributes, types: &Value, newest: &Value) {
        let whole = whole.as_object().unwrap();
        assert_eq!(whole.len(), attributes.len());
        for (name, expected) in whole {
            let attribute = &attributes[name];
            assert_eq!(expected["object_type"].as_str(), attribute.object.as_deref(), "{name}");
            let gates: Vec<&str> = match (&expected["profiles"], &expected["profile"]) {
                (Value::Array(gates), _) => gates.iter().filter_map(Value::as_str).collect(),
                (_, Value::String(gate)) => vec![gate],
                _ => Vec::new(),
            };
            assert_eq!(gates, attribute.profiles, "{name}");
            let ids = expected["enum"].as_object().filter(|ids| name.ends_with("_id") && ids.contains_key("99"));
            let mut ids: Vec<i64> =
                ids.map(|ids| ids.keys().map(|id| id.parse().unwrap()).collect()).unwrap_or_default();
            ids.sort_unstable();
            assert_eq!(ids, attribute.ids, "{name}");
            let is_word = |word: &&String| word.parse::<i64>().is_err();
            let words = expected["enum"].as_object().into_iter().flatten().map(|(word, _)| word).filter(is_word);
            assert_eq!(words.collect::<Vec<_>>(), attribute.words.iter().collect::<Vec<_>>(), "{name}");
            let kind = expected["type"].as_str().unwrap_or_default();
            assert_eq!(form_of(kind, types, newest), attribute.form, "{name}");
        }
    }

    #[test]
    fn the_tables_say_what_the_published_schemas_say() {
        let newest = &whole("1.8.0")["types"];
        for version in [OcsfVersion::V1_1, OcsfVersion::V1_3, OcsfVersion::V1_5] {
            let schema = Schema::of(version).unwrap();
            let whole = whole(&schema.version);
            let types = &whole["types"];
            assert_eq!(types["string_t"]["max_len"].as_u64(), schema.text_max.map(|max| max as u64));
            for class in whole["classes"].as_object().unwrap().values() {
                let uid = u16::try_from(class["uid"].as_u64().unwrap()).unwrap();
                let ours = schema.class(uid).unwrap();
                assert_eq!(class["caption"], ours.caption.as_str());
                assert_same(&class["attributes"], &ours.attributes, types, newest);
                let attributes = class["attributes"].as_object().unwrap();
                let is_required =
                    |it: &Value| it["requirement"] == "required" && it["profile"].is_null() && it["profiles"].is_null();
                let mut required: Vec<&String> =
                    attributes.iter().filter(|(_, it)| is_required(it)).map(|(name, _)| name).collect();
                required.sort_unstable();
                assert_eq!(required, ours.required.iter().collect::<Vec<_>>());
                let at_least_one = class["constraints"]["at_least_one"].as_array().cloned().unwrap_or_default();
                assert_eq!(at_least_one, ours.at_least_one);
            }
            for (name, attributes) in &schema.objects {
                match &whole["objects"][name]["attributes"] {
                    Value::Null => assert!(attributes.is_empty(), "{name}"),
                    expected => assert_same(expected, attributes, types, newest),
                }
            }
        }
        assert!(Schema::of(OcsfVersion::V1_8).is_none());
    }
}

//! Judges events by the compact OCSF schema in the fixtures, as strictly as the strictest receiver.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use regex::Regex;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// One version of OCSF: the classes of audit records, and the objects that these consist of.
pub struct Schema {
    version: String,
    classes: HashMap<i64, Value>,
    objects: Map<String, Value>,
    types: Map<String, Value>,
    /// Patterns for the texts of a type, from the version's schema, for types that no stricter rule here covers.
    forms: HashMap<String, Regex>,
    profiles: BTreeSet<String>,
}

impl Schema {
    pub fn of_version(version: &str) -> Self {
        let name = format!("tests/fixtures/ocsf/ocsf-{version}-min.json");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let mut whole: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let mut take = |name: &str| std::mem::take(whole[name].as_object_mut().unwrap());
        let classes = take("classes").into_iter().map(|(_, class)| (class["uid"].as_i64().unwrap(), class)).collect();
        let profiles = take("profiles").into_iter().map(|(name, _)| name).collect();
        let (objects, types) = (take("objects"), take("types"));
        let form = |name: &str| Some((name.to_owned(), Regex::new(types[name]["regex"].as_str()?).unwrap()));
        let forms = ["hostname_t", "email_t"].into_iter().filter_map(form).collect();
        Self { version: whole["version"].as_str().unwrap().to_owned(), classes, objects, types, forms, profiles }
    }

    /// All faults of an event; empty if the event is valid. What a receiver would only warn about is a fault.
    pub fn faults(&self, line: &str) -> Vec<String> {
        match serde_json::from_str::<Unique>(line) {
            Ok(Unique(Value::Object(event))) => self.judge(&event),
            Ok(_) => vec!["$: no object".to_owned()],
            Err(error) => vec![format!("$: {error}")],
        }
    }

    /// # Panics
    /// If an event is not valid, or if two events have the same uid.
    pub fn assert_valid<'l>(&self, lines: impl IntoIterator<Item = &'l str>) {
        let mut uids = BTreeSet::new();
        for line in lines {
            let faults = self.faults(line);
            assert!(faults.is_empty(), "{faults:#?}\n{line}");
            let event: Value = serde_json::from_str(line).unwrap();
            let uid = event["metadata"]["uid"].as_str().unwrap().to_owned();
            assert!(uids.insert(uid), "two events with one uid: {line}");
        }
    }

    fn judge(&self, event: &Map<String, Value>) -> Vec<String> {
        let Some(class) = event.get("class_uid").and_then(Value::as_i64).and_then(|uid| self.classes.get(&uid)) else {
            return vec!["class_uid: absent or unknown".to_owned()];
        };
        let metadata = event.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
        let profiles: BTreeSet<String> = metadata
            .get("profiles")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            .unwrap_or_default();
        let mut judge = Judge { schema: self, profiles, faults: Vec::new() };
        let of_class: Vec<&str> = class["profiles"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        for name in judge.profiles.clone() {
            judge.hold(self.profiles.contains(&name) && of_class.contains(&name.as_str()), "metadata.profiles", || {
                format!("{name} does not apply to the class")
            });
        }
        judge.object("", event, class);
        judge.consistency(event, class, &metadata);
        judge.faults
    }
}

struct Judge<'s> {
    schema: &'s Schema,
    profiles: BTreeSet<String>,
    faults: Vec<String>,
}

impl Judge<'_> {
    fn hold(&mut self, holds: bool, path: &str, fault: impl FnOnce() -> String) {
        if !holds {
            self.faults.push(format!("{path}: {}", fault()));
        }
    }

    fn consistency(&mut self, event: &Map<String, Value>, class: &Value, metadata: &Map<String, Value>) {
        let number = |name: &str| event.get(name).and_then(Value::as_i64);
        let (class_uid, activity) = (number("class_uid").unwrap_or(0), number("activity_id").unwrap_or(0));
        self.hold(number("type_uid") == Some(class_uid * 100 + activity), "type_uid", || "not the class's".to_owned());
        self.hold(number("category_uid") == class["category_uid"].as_i64(), "category_uid", || {
            "not the class's".to_owned()
        });
        for (name, of_class) in [("class_name", "caption"), ("category_name", "category_name")] {
            let said = event.get(name);
            // The base event belongs to no category, and the schema gives no name for it.
            let is_right = said.is_none_or(|said| *said == class[of_class] || class[of_class].is_null());
            self.hold(is_right, name, || format!("{said:?}"));
        }
        let version = metadata.get("version").and_then(Value::as_str);
        self.hold(version == Some(&self.schema.version), "metadata.version", || format!("{version:?}"));
        let says =
            |name: &str| metadata.get("product").and_then(|product| product.get(name)).is_some_and(|text| text != "");
        self.hold(says("name") && says("vendor_name"), "metadata.product", || "without name or vendor".to_owned());
        self.hold(metadata.contains_key("uid"), "metadata.uid", || "absent".to_owned());
        self.hold(number("start_time") <= number("end_time") || number("end_time").is_none(), "start_time", || {
            "after end_time".to_owned()
        });
        if let (Some(raw), Some(size)) = (event.get("raw_data").and_then(Value::as_str), number("raw_data_size")) {
            self.hold(size == raw.len() as i64, "raw_data_size", || format!("{size}, not {}", raw.len()));
        }
        let explained = event.contains_key("status_code") || event.contains_key("status_detail");
        self.hold(number("status_id") != Some(2) || explained, "status_id", || {
            "a failure without code or detail".to_owned()
        });
        if let Some(unmapped) = event.get("unmapped").and_then(Value::as_object) {
            self.hold(!unmapped.is_empty(), "unmapped", || "empty".to_owned());
            let attributes = class["attributes"].as_object().unwrap();
            for name in unmapped.keys() {
                let twice = attributes.contains_key(name) && event.contains_key(name);
                self.hold(!twice, "unmapped", || format!("{name} is mapped too"));
            }
        }
    }

    fn object(&mut self, path: &str, object: &Map<String, Value>, definition: &Value) {
        let attributes = definition["attributes"].as_object().unwrap();
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let applies = |attribute: &Value| {
            let gates: Vec<&str> = match (&attribute["profiles"], &attribute["profile"]) {
                (Value::Array(names), _) => names.iter().filter_map(Value::as_str).collect(),
                (_, Value::String(name)) => vec![name],
                _ => Vec::new(),
            };
            gates.is_empty() || gates.iter().any(|gate| self.profiles.contains(*gate))
        };
        let active: HashMap<&str, &Value> = attributes
            .iter()
            .filter(|(_, attribute)| applies(attribute))
            .map(|(name, it)| (name.as_str(), it))
            .collect();
        for name in object.keys() {
            self.hold(active.contains_key(name.as_str()), &below(name), || {
                "unknown, or of a profile not named".to_owned()
            });
        }
        for (name, attribute) in &active {
            let path = below(name);
            match object.get(*name) {
                None => self.hold(attribute["requirement"] != "required", &path, || "required and absent".to_owned()),
                Some(value) => {
                    self.hold(attribute["@deprecated"].is_null(), &path, || "deprecated".to_owned());
                    self.attribute(&path, value, attribute);
                    self.caption(&path, name, value, attribute, object, &active);
                }
            }
        }
        let present = |names: &Value| {
            names.as_array().unwrap().iter().filter(|name| object.contains_key(name.as_str().unwrap())).count()
        };
        let constraints = &definition["constraints"];
        if !constraints["at_least_one"].is_null() {
            self.hold(present(&constraints["at_least_one"]) > 0, path, || {
                format!("needs one of {}", constraints["at_least_one"])
            });
        }
        if !constraints["just_one"].is_null() {
            self.hold(present(&constraints["just_one"]) == 1, path, || {
                format!("needs just one of {}", constraints["just_one"])
            });
        }
    }

    fn attribute(&mut self, path: &str, value: &Value, attribute: &Value) {
        if attribute["is_array"] == true {
            let Some(values) = value.as_array() else { return self.hold(false, path, || "no array".to_owned()) };
            self.hold(!values.is_empty() || attribute["requirement"] != "required", path, || "empty".to_owned());
            for (index, value) in values.iter().enumerate() {
                self.value(&format!("{path}[{index}]"), value, attribute);
            }
        } else {
            self.value(path, value, attribute);
        }
    }

    /// An id must have its caption beside it; for 99, that is the source's own word.
    fn caption(
        &mut self,
        path: &str,
        name: &str,
        value: &Value,
        attribute: &Value,
        object: &Map<String, Value>,
        active: &HashMap<&str, &Value>,
    ) {
        let Some(captions) = attribute["enum"].as_object() else { return };
        let sibling = match (attribute["sibling"].as_str(), name) {
            (Some(sibling), _) => sibling,
            (None, "activity_id") => "activity_name",
            (None, "type_uid") => "type_name",
            (None, name) => match name.strip_suffix("_id") {
                Some(stem) if active.contains_key(stem) => stem,
                _ => return,
            },
        };
        let said = object.get(sibling).and_then(Value::as_str);
        if *value == 99 {
            self.hold(said.is_some_and(|said| !said.is_empty()), path, || format!("99 without {sibling}"));
        } else if let (Some(entry), Some(said)) = (captions.get(&value.to_string()), said) {
            self.hold(entry["caption"] == said, path, || format!("{value} is not called {said:?}"));
        }
    }

    fn value(&mut self, path: &str, value: &Value, attribute: &Value) {
        if let Some(object_type) = attribute["object_type"].as_str() {
            let Some(object) = value.as_object() else { return self.hold(false, path, || "no object".to_owned()) };
            let definition = &self.schema.objects[object_type];
            if definition["attributes"].as_object().is_some_and(|attributes| !attributes.is_empty()) {
                self.object(path, object, definition);
            }
            return;
        }
        let name = attribute["type"].as_str().unwrap();
        let definition = self.schema.types.get(name).cloned().unwrap_or_default();
        let base = definition["type"].as_str().unwrap_or(name);
        let sound = match base {
            "json_t" => true,
            "boolean_t" => value.is_boolean(),
            "integer_t" => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
            "long_t" => value.as_i64().is_some(),
            "float_t" => value.is_number(),
            _ => value.as_str().is_some_and(|text| !text.is_empty() && text != "-" && is_of_type(name, text)),
        };
        self.hold(sound, path, || format!("{value} is no {name}"));
        if let Some(text) = value.as_str().filter(|_| name != "json_t") {
            let form = self.schema.forms.get(name);
            self.hold(form.is_none_or(|form| form.is_match(text)), path, || format!("{text} is no {name}"));
            let of_base = self.schema.types.get(base).and_then(|base| base["max_len"].as_u64());
            let max = definition["max_len"].as_u64().or(of_base);
            let length = text.chars().count() as u64;
            self.hold(max.is_none_or(|max| length <= max), path, || format!("{length} characters long"));
        }
        if let (Some(number), "timestamp_t" | "port_t") = (value.as_i64(), name) {
            let range = if name == "port_t" { 0..65_536 } else { 946_684_800_000..4_102_444_800_000 };
            self.hold(range.contains(&number), path, || format!("{number} is no {name}"));
        }
        if let Some(entries) = attribute["enum"].as_object() {
            let key = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            self.hold(entries.contains_key(&key), path, || format!("{key} is none of the enumeration"));
        }
    }
}

fn is_of_type(name: &str, text: &str) -> bool {
    match name {
        "ip_t" => text.parse::<IpAddr>().is_ok(),
        "uuid_t" => text.len() == 36 && text.split('-').map(str::len).eq([8, 4, 4, 4, 12]),
        "datetime_t" => text.parse::<jiff::Timestamp>().is_ok(),
        _ => true,
    }
}

/// A JSON value in which no object has a key twice.
pub struct Unique(pub Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Values;
        impl<'de> Visitor<'de> for Values {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(value.into())
            }
            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(value.into())
            }
            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(value.into())
            }
            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(value.into())
            }
            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(value.into())
            }
            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
                let mut values = Vec::new();
                while let Some(Unique(value)) = elements.next_element()? {
                    values.push(value);
                }
                Ok(values.into())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
                let mut object = Map::new();
                while let Some((key, Unique(value))) = members.next_entry::<String, Unique>()? {
                    if object.insert(key.clone(), value).is_some() {
                        return Err(A::Error::custom(format!("the key {key:?} stands twice")));
                    }
                }
                Ok(object.into())
            }
        }
        deserializer.deserialize_any(Values).map(Self)
    }
}

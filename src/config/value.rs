//! Reads typed configuration out of a merged tree of values, strictly, and reports faults in words that an operator can
//! act on.

use std::fmt::Display;
use std::iter;

use config::{Value, ValueKind};
use serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeOwned, IntoDeserializer};
use serde::{Deserialize as _, forward_to_deserialize_any};
use serde_path_to_error::Segment;

/// A path in the tree: the keys from the root, with an index for a list's element.
pub(super) type KeyPath = Vec<String>;

/// Marks a value as the text of an environment variable.
const VARIABLE: &str = "environment";

/// The key that names the form of a table with several forms.
const VARIANT: &str = "type";

/// The text of an environment variable as a value. Its key decides the type.
pub(super) fn from_variable(text: &str) -> Value {
    Value::new(Some(&VARIABLE.to_owned()), text)
}

/// What is wrong with a value's type or key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Complaint {
    #[error("unknown key `{key}`")]
    UnknownKey { key: String, expected: &'static [&'static str] },
    #[error("missing key `{0}`")]
    MissingKey(&'static str),
    #[error("unknown value `{given}`")]
    UnknownChoice { given: String, expected: &'static [&'static str] },
    /// The message leaves out the value, which may be a secret.
    #[error("expected {wanted}, found {found}")]
    WrongKind { found: &'static str, wanted: String },
    /// A complaint about the key that names the table's form.
    #[error("{0}")]
    Variant(Box<Self>),
    #[error("{0}")]
    Other(String),
}

/// A complaint, and the path of the value it is about; for a missing key, the path of the table that lacks it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fault {
    pub(super) at: KeyPath,
    pub(super) complaint: Complaint,
}

/// Returns the first fault as the error. Values of a file are not converted between numbers and texts. For an
/// environment variable the key decides: it is the unchanged text, or the value that TOML reads in it, or a list or
/// table in JSON.
///
/// An enum whose variants hold a table is written as that table, with the variant's name at the key `type`.
pub(super) fn read<T: DeserializeOwned>(tree: &Value) -> Result<T, Fault> {
    serde_path_to_error::deserialize(Node(tree)).map_err(|error| {
        let mut at: KeyPath = error
            .path()
            .iter()
            .filter_map(|segment| match segment {
                Segment::Map { key } => Some(key.clone()),
                Segment::Seq { index } => Some(index.to_string()),
                Segment::Enum { .. } | Segment::Unknown => None,
            })
            .collect();
        let complaint = match error.into_inner() {
            Complaint::Variant(complaint) => {
                at.push(VARIANT.to_owned());
                *complaint
            }
            complaint => complaint,
        };
        if let Complaint::UnknownKey { key, .. } = &complaint
            && at.last() != Some(key)
        {
            at.push(key.clone());
        }
        Fault { at, complaint }
    })
}

struct Node<'a>(&'a Value);

impl<'a> Node<'a> {
    /// The text, if the value is the text of an environment variable.
    fn variable(&self) -> Option<&'a str> {
        match &self.0.kind {
            ValueKind::String(text) if self.0.origin() == Some(VARIABLE) => Some(text),
            _ => None,
        }
    }

    fn text<'de, V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
        match self.variable() {
            Some(text) => visitor.visit_str(text),
            None => de::Deserializer::deserialize_any(self, visitor),
        }
    }
}

/// The keys of a table, also if a variable's text holds the table.
pub(super) fn keys(table: &Value) -> Vec<String> {
    let parsed = Node(table).variable().map(parsed);
    match &parsed.as_ref().unwrap_or(table).kind {
        ValueKind::Table(table) => table.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

/// Whether the value contains this text anywhere.
pub(super) fn holds_text(value: &Value, text: &str) -> bool {
    match &value.kind {
        ValueKind::String(own) => own == text || Node(value).variable().is_some_and(|own| own.contains(text)),
        ValueKind::Table(table) => table.values().any(|value| holds_text(value, text)),
        ValueKind::Array(list) => list.iter().any(|value| holds_text(value, text)),
        _ => false,
    }
}

/// Parses a variable's text for a key that expects no text: a TOML value, or a list or table in JSON.
fn parsed(text: &str) -> Value {
    match text.parse::<toml_edit::Value>() {
        Ok(toml_edit::Value::Integer(number)) => Value::new(None, *number.value()),
        Ok(toml_edit::Value::Float(number)) => Value::new(None, *number.value()),
        Ok(toml_edit::Value::Boolean(boolean)) => Value::new(None, *boolean.value()),
        Ok(value @ (toml_edit::Value::Array(_) | toml_edit::Value::InlineTable(_))) => element(&value),
        Ok(toml_edit::Value::String(_) | toml_edit::Value::Datetime(_)) => Value::new(None, text),
        Err(_) => match serde_json::from_str(text) {
            Ok(value @ (serde_json::Value::Array(_) | serde_json::Value::Object(_))) => json(value),
            _ => Value::new(None, text),
        },
    }
}

/// An element of a variable's list. Quoted text stays text, whatever its key expects; a bare value is converted like a
/// variable's text.
fn element(value: &toml_edit::Value) -> Value {
    match value {
        toml_edit::Value::String(text) => Value::new(None, text.value().as_str()),
        toml_edit::Value::Array(list) => Value::new(None, ValueKind::Array(list.iter().map(element).collect())),
        toml_edit::Value::InlineTable(table) => {
            let values = table.iter().map(|(key, value)| (key.to_owned(), element(value)));
            Value::new(None, ValueKind::Table(values.collect()))
        }
        bare => from_variable(bare.to_string().trim()),
    }
}

/// The value of a JSON list or table in a variable.
fn json(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::new(None, ValueKind::Nil),
        serde_json::Value::String(text) => Value::new(None, text),
        serde_json::Value::Array(list) => Value::new(None, ValueKind::Array(list.into_iter().map(json).collect())),
        serde_json::Value::Object(table) => {
            Value::new(None, ValueKind::Table(table.into_iter().map(|(key, value)| (key, json(value))).collect()))
        }
        bare @ (serde_json::Value::Bool(_) | serde_json::Value::Number(_)) => from_variable(&bare.to_string()),
    }
}

impl<'de, 'a> IntoDeserializer<'de, Complaint> for Node<'a> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de, 'a> de::Deserializer<'de> for Node<'a> {
    type Error = Complaint;

    fn deserialize_any<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
        if let Some(text) = self.variable() {
            return Node(&parsed(text)).deserialize_any(visitor);
        }
        match &self.0.kind {
            ValueKind::Nil => visitor.visit_unit(),
            ValueKind::Boolean(value) => visitor.visit_bool(*value),
            ValueKind::I64(value) => visitor.visit_i64(*value),
            ValueKind::I128(value) => visitor.visit_i128(*value),
            ValueKind::U64(value) => visitor.visit_u64(*value),
            ValueKind::U128(value) => visitor.visit_u128(*value),
            ValueKind::Float(value) => visitor.visit_f64(*value),
            ValueKind::String(value) => visitor.visit_str(value),
            ValueKind::Array(values) => visitor.visit_seq(SeqDeserializer::new(values.iter().map(Node))),
            ValueKind::Table(values) => {
                visitor.visit_map(MapDeserializer::new(values.iter().map(|(key, value)| (key.as_str(), Node(value)))))
            }
        }
    }

    fn deserialize_str<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
        self.text(visitor)
    }

    fn deserialize_string<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
        self.text(visitor)
    }

    fn deserialize_option<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: de::Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Complaint> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: de::Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Complaint> {
        if let Some(table) = self.variable().map(parsed).filter(|value| matches!(value.kind, ValueKind::Table(_))) {
            return Node(&table).deserialize_enum(name, variants, visitor);
        }
        let table = match &self.0.kind {
            ValueKind::String(value) => return visitor.visit_enum(value.as_str().into_deserializer()),
            ValueKind::Table(table) => table,
            _ => return self.deserialize_any(visitor),
        };
        let mut rest = table.clone();
        let Some(variant) = rest.remove(VARIANT) else { return Err(Complaint::MissingKey(VARIANT)) };
        let variant =
            String::deserialize(Node(&variant)).map_err(|complaint| Complaint::Variant(Box::new(complaint)))?;
        if !variants.contains(&variant.as_str()) {
            let unknown = Complaint::UnknownChoice { given: variant, expected: variants };
            return Err(Complaint::Variant(Box::new(unknown)));
        }
        let rest = Value::new(None, ValueKind::Table(rest));
        let named = MapDeserializer::new(iter::once((variant, Node(&rest))));
        visitor.visit_enum(MapAccessDeserializer::new(named))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct seq tuple tuple_struct map
        struct identifier ignored_any
    }
}

impl de::Error for Complaint {
    fn custom<T: Display>(message: T) -> Self {
        Self::Other(message.to_string())
    }

    fn invalid_type(found: de::Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        Self::WrongKind { found: kind(&found), wanted: in_words(wanted.to_string()) }
    }

    fn invalid_value(found: de::Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        let is_whole = matches!(found, de::Unexpected::Unsigned(_))
            || matches!(found, de::Unexpected::Signed(value) if value >= 0);
        if is_whole && WHOLE_NUMBERS.contains(&wanted.to_string().as_str()) {
            return Self::Other("expected a smaller number".to_owned());
        }
        Self::WrongKind { found: kind(&found), wanted: in_words(wanted.to_string()) }
    }

    fn invalid_length(length: usize, wanted: &dyn de::Expected) -> Self {
        Self::Other(format!("expected {}, found {length} elements", in_words(wanted.to_string())))
    }

    fn unknown_variant(given: &str, expected: &'static [&'static str]) -> Self {
        Self::UnknownChoice { given: given.to_owned(), expected }
    }

    fn unknown_field(key: &str, expected: &'static [&'static str]) -> Self {
        Self::UnknownKey { key: key.to_owned(), expected }
    }

    fn missing_field(key: &'static str) -> Self {
        Self::MissingKey(key)
    }
}

/// A value's kind in an operator's words.
pub(super) fn kind_of(value: &ValueKind) -> &'static str {
    match value {
        ValueKind::Nil => "nothing",
        ValueKind::Boolean(_) => "true or false",
        ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) | ValueKind::Float(_) => {
            "a number"
        }
        ValueKind::String(_) => "text",
        ValueKind::Table(_) => "a table",
        ValueKind::Array(_) => "a list",
    }
}

/// How Serde names whole numbers.
const WHOLE_NUMBERS: [&str; 5] = ["u8", "u16", "u32", "u64", "usize"];

fn kind(found: &de::Unexpected<'_>) -> &'static str {
    use de::Unexpected as U;
    match found {
        U::Bool(_) => "true or false",
        U::Signed(value) if *value < 0 => "a number below zero",
        U::Unsigned(_) | U::Signed(_) => "a number",
        U::Float(_) => "a number with a fraction",
        U::Str(_) | U::Char(_) => "text",
        U::Seq => "a list",
        U::Map | U::StructVariant => "a table",
        _ => "something else",
    }
}

/// Translates Serde's names of Rust types into TOML's, which operators know.
fn in_words(wanted: String) -> String {
    match wanted.as_str() {
        number if WHOLE_NUMBERS.contains(&number) => "a whole number not below zero".to_owned(),
        "a string" | "path string" | "string or map" => "text".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a table".to_owned(),
        other if other.starts_with("struct ") || other.starts_with("internally tagged enum") => "a table".to_owned(),
        other if other.starts_with("variant identifier") || other.starts_with("enum ") => "text".to_owned(),
        _ => wanted,
    }
}

//! Reads typed configuration out of a merged tree of values, strictly, and says what is wrong in words a person acts on.

use std::fmt::Display;

use config::Value;
use config::ValueKind;
use serde::de;
use serde::de::DeserializeOwned;
use serde::de::IntoDeserializer;
use serde::de::value::MapDeserializer;
use serde::de::value::SeqDeserializer;
use serde::forward_to_deserialize_any;
use serde_path_to_error::Segment;

/// Where in the tree: the keys from its root; a list's element is its index.
pub(super) type KeyPath = Vec<String>;

/// What is wrong with a value, as far as its type is concerned.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Complaint {
    #[error("unknown key `{key}`")]
    UnknownKey { key: String, expected: &'static [&'static str] },
    #[error("missing key `{0}`")]
    MissingKey(&'static str),
    #[error("unknown value `{given}`")]
    UnknownChoice { given: String, expected: &'static [&'static str] },
    /// The value itself is left out: it may be a secret.
    #[error("expected {wanted}, found {found}")]
    WrongKind { found: &'static str, wanted: String },
    #[error("{0}")]
    Other(String),
}

/// A complaint, and the path of the value it is about: for a missing key, of the table it is missing from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fault {
    pub(super) at: KeyPath,
    pub(super) complaint: Complaint,
}

/// The first fault is the error. Nothing is converted: a number is no text, a text no number.
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
        let complaint = error.into_inner();
        if let Complaint::UnknownKey { key, .. } = &complaint
            && at.last() != Some(key)
        {
            at.push(key.clone());
        }
        Fault { at, complaint }
    })
}

struct Node<'a>(&'a Value);

impl<'de, 'a> IntoDeserializer<'de, Complaint> for Node<'a> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de, 'a> de::Deserializer<'de> for Node<'a> {
    type Error = Complaint;

    fn deserialize_any<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
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
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Complaint> {
        match &self.0.kind {
            ValueKind::String(value) => visitor.visit_enum(value.as_str().into_deserializer()),
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
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
        Self::WrongKind { found: kind(&found), wanted: in_words(wanted.to_string()) }
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

/// Serde names Rust's types; whoever writes a configuration knows TOML's.
fn in_words(wanted: String) -> String {
    match wanted.as_str() {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number not below zero".to_owned(),
        "a string" | "path string" | "string or map" => "text".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a table".to_owned(),
        "an unsigned duration string" => "a time such as \"90s\" or \"10m\"".to_owned(),
        other if other.starts_with("struct ") || other.starts_with("internally tagged enum") => "a table".to_owned(),
        other if other.starts_with("variant identifier") || other.starts_with("enum ") => "text".to_owned(),
        _ => wanted,
    }
}

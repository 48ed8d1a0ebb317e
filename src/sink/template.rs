//! Names that a sink makes for each event, such as an index by family and day. The writer of a log cannot cause more
//! names than the configuration allows for.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::{Deserialize, Deserializer, de};

use crate::batch::Provenance;
use crate::event::{Attribute, Choice, Class, Head, moment};
use crate::family;

/// The most bytes of a name: Elasticsearch's limit for index names, and half of S3's limit for keys.
const NAME_BYTES_MAX: usize = 255;
const KEY_BYTES_MAX: usize = 512;

/// The most bytes of a feed's name.
const FEED_BYTES_MAX: usize = 64;

/// An event's own date is used only if it is at most this much earlier than its object's last write, or this much
/// later.
const EARLIER_MS: i64 = 400 * DAY_MS;
const LATER_MS: i64 = DAY_MS;
const DAY_MS: i64 = 86_400_000;

/// What stands for values that are not listed, unless `else` says otherwise.
const OTHER: &str = "other";

/// Text with placeholders. The number of possible names is limited: feeds times families times classes times 402 days
/// times listed values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template {
    parts: Vec<Part>,
    purpose: Purpose,
    /// The attribute whose values the template tells apart.
    choice: Option<Choice>,
    /// What stands for values that are not listed.
    otherwise: String,
}

/// A template for index names: lower case, without the characters that Elasticsearch refuses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IndexTemplate(pub Template);

/// A template for keys in a bucket: segments between slashes, none of them empty, `.` or `..`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyTemplate(pub Template);

/// A template for a receiver's labels of an event, such as a source type: letters, digits and a few signs that need no
/// escapes in JSON.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LabelTemplate(pub Template);

/// A template as configured in a table. It may also be a text alone.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    template: String,
    /// The values of the attribute that may appear in a name.
    #[serde(default)]
    values: Vec<String>,
    /// What stands for any other value. Default: `other`.
    #[serde(rename = "else")]
    otherwise: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Text(String),
    Feed,
    Family,
    Class,
    /// These bytes of the event's date as text, as in `2024-01-15T08:30:00.123Z`.
    Date(std::ops::Range<usize>),
    Value,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    Index,
    Key,
    Label,
}

/// Why a text is not a valid template.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TemplateError {
    #[error("a `{{` without its `}}`, or the other way around")]
    Braces,
    #[error(
        "unknown placeholder `{{{0}}}`; expected `{{feed}}`, `{{family}}`, `{{class}}`, `{{date}}` or an attribute of the event"
    )]
    Unknown(String),
    #[error(
        "whoever writes the log decides what `{{{0}}}` is: list what may stand there, as in \
         {{ template = \"..\", values = [\"a\", \"b\"], else = \"other\" }}"
    )]
    NeedsValues(String),
    #[error("`{{{0}}}`: expected one attribute of the event at most")]
    Second(String),
    #[error("`values` and `else` have no effect: the template has no attribute of the event")]
    WithoutEffect,
    #[error("expected values that are not empty")]
    EmptyValue,
    #[error("`{{date:{0}}}`: expected {hours}`%Y`, `%m`, `%d` and what may stand between placeholders", hours = if *.1 { "`%H`, " } else { "" })]
    Date(String, bool),
    #[error("`{0}` cannot stand in it: expected {1}")]
    Letter(char, &'static str),
    #[error("expected it to begin with a letter, a digit, `{{family}}`, `{{class}}` or `{{date}}`")]
    Begins,
    #[error("expected segments between slashes that are not empty, `.` or `..`")]
    Segments,
    #[error("it may become {0} bytes long, more than {1}")]
    Long(usize, usize),
}

impl Template {
    fn new(table: Table, purpose: Purpose) -> Result<Self, TemplateError> {
        let Table { template, values, otherwise } = table;
        let mut parts = Vec::new();
        let mut attribute = None;
        let mut rest = template.as_str();
        while let Some((text, placeholder)) = rest.split_once('{') {
            purpose.push_text(&mut parts, text)?;
            let (inside, behind) = placeholder.split_once('}').ok_or(TemplateError::Braces)?;
            match inside.split_once(':').map_or((inside, None), |(name, format)| (name, Some(format))) {
                ("feed", None) => parts.push(Part::Feed),
                ("family", None) => parts.push(Part::Family),
                ("class", None) => parts.push(Part::Class),
                ("date", format) => purpose.push_date(&mut parts, format)?,
                (name, None) => {
                    let named = Attribute::named(name).ok_or_else(|| TemplateError::Unknown(name.to_owned()))?;
                    if attribute.replace(named).is_some() {
                        return Err(TemplateError::Second(name.to_owned()));
                    }
                    parts.push(Part::Value);
                }
                _ => return Err(TemplateError::Unknown(inside.to_owned())),
            }
            rest = behind;
        }
        purpose.push_text(&mut parts, rest)?;
        let choice = match attribute {
            Some(named) if values.is_empty() => return Err(TemplateError::NeedsValues(named.to_string())),
            None if !values.is_empty() || otherwise.is_some() => return Err(TemplateError::WithoutEffect),
            attribute => attribute.map(|attribute| Choice { attribute, values }),
        };
        let otherwise = otherwise.unwrap_or_else(|| OTHER.to_owned());
        let template = Self { parts, purpose, choice, otherwise };
        template.check().map(|()| template)
    }

    /// Checks that every name that the template can make is valid for its purpose.
    fn check(&self) -> Result<(), TemplateError> {
        let values = self.choice.iter().flat_map(|choice| &choice.values).chain([&self.otherwise]);
        let mut value_bytes = 0;
        for value in values {
            if value.is_empty() {
                return Err(TemplateError::EmptyValue);
            }
            value_bytes = value_bytes.max(self.purpose.escaped(value).len());
        }
        let bytes: usize = self.parts.iter().map(|part| part.bytes_max(value_bytes)).sum();
        let most = self.purpose.bytes_max();
        if bytes > most {
            return Err(TemplateError::Long(bytes, most));
        }
        match self.purpose {
            Purpose::Index => match self.parts.first() {
                Some(Part::Text(text)) if !text.starts_with(|first: char| first.is_ascii_alphanumeric()) => {
                    Err(TemplateError::Begins)
                }
                Some(Part::Feed | Part::Value) | None => Err(TemplateError::Begins),
                Some(Part::Text(_) | Part::Family | Part::Class | Part::Date(_)) => Ok(()),
            },
            Purpose::Label if self.parts.is_empty() => Err(TemplateError::EmptyValue),
            Purpose::Label => Ok(()),
            Purpose::Key => {
                let text = |part: &Part| if let Part::Text(text) = part { text.clone() } else { "x".to_owned() };
                let shape: String = self.parts.iter().map(text).collect();
                let is_name = |segment: &str| !matches!(segment, "" | "." | "..");
                if shape.split('/').all(is_name) { Ok(()) } else { Err(TemplateError::Segments) }
            }
        }
    }

    /// The fixed text that every name begins with.
    pub fn beginning(&self) -> &str {
        if let Some(Part::Text(text)) = self.parts.first() { text } else { "" }
    }

    /// The most bytes of a name.
    pub fn bytes_max(&self) -> usize {
        self.purpose.bytes_max()
    }

    /// The attribute whose values it tells apart, besides feed, family, class and date.
    pub fn choice(&self) -> Option<&Choice> {
        self.choice.as_ref()
    }

    /// The name for an event. `chosen` is the index of the event's value in the listed values; `None` if it is not
    /// listed.
    pub fn render(&self, from: &Provenance, head: &Head, chosen: Option<usize>) -> String {
        let mut date = Vec::new();
        moment::write(&mut date, dated(head.time_ms, from.version.last_modified_ms));
        let date = String::from_utf8_lossy(&date);
        let mut name = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Feed => name.push_str(&self.purpose.escaped(&from.feed)),
                Part::Family => name.push_str(&self.purpose.escaped(from.family)),
                Part::Class => name.push_str(head.class.name()),
                Part::Date(range) => name.push_str(date.get(range.clone()).unwrap_or_default()),
                Part::Value => {
                    let listed = self.choice.as_ref().zip(chosen).and_then(|(choice, at)| choice.values.get(at));
                    name.push_str(&self.purpose.escaped(listed.unwrap_or(&self.otherwise)));
                }
            }
        }
        match self.purpose {
            Purpose::Index | Purpose::Label => name,
            // A feed may be called `..`, which must not become a segment of a key.
            Purpose::Key => {
                let segments = name.split('/').map(|segment| match segment {
                    "." | ".." => segment.replace('.', "%2E"),
                    other => other.to_owned(),
                });
                segments.collect::<Vec<_>>().join("/")
            }
        }
    }
}

impl Part {
    /// The most bytes that this part becomes. `value` is the longest value in bytes.
    fn bytes_max(&self, value: usize) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Feed => FEED_BYTES_MAX,
            Self::Family => family::ALL.iter().map(|family| family.name.len()).max().unwrap_or_default(),
            Self::Class => Class::ALL.into_iter().map(|class| class.name().len()).max().unwrap_or_default(),
            Self::Date(range) => range.len(),
            Self::Value => value,
        }
    }
}

impl Purpose {
    fn bytes_max(self) -> usize {
        match self {
            Self::Index | Self::Label => NAME_BYTES_MAX,
            Self::Key => KEY_BYTES_MAX,
        }
    }

    fn push_text(self, parts: &mut Vec<Part>, text: &str) -> Result<(), TemplateError> {
        let (is_allowed, expected): (fn(char) -> bool, _) = match self {
            Self::Index => (
                |letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-_.".contains(letter),
                "lower-case letters, digits, `-`, `_` and `.`",
            ),
            Self::Key => (
                |letter| letter.is_ascii_alphanumeric() || "-_.=/".contains(letter),
                "letters, digits, `-`, `_`, `.`, `=` and `/`",
            ),
            Self::Label => (
                |letter| letter.is_ascii_alphanumeric() || "-_.:/".contains(letter),
                "letters, digits, `-`, `_`, `.`, `:` and `/`",
            ),
        };
        match text.chars().find(|&letter| !is_allowed(letter)) {
            Some('}') => Err(TemplateError::Braces),
            Some(letter) => Err(TemplateError::Letter(letter, expected)),
            None if text.is_empty() => Ok(()),
            None => {
                parts.push(Part::Text(text.to_owned()));
                Ok(())
            }
        }
    }

    fn push_date(self, parts: &mut Vec<Part>, format: Option<&str>) -> Result<(), TemplateError> {
        let has_hours = self == Self::Key || self == Self::Label;
        let mut rest = format.unwrap_or(if has_hours { "%Y-%m-%d" } else { "%Y.%m.%d" });
        let refused = || TemplateError::Date(rest.to_owned(), has_hours);
        if !rest.contains('%') {
            return Err(refused());
        }
        let refused = refused();
        while let Some((text, behind)) = rest.split_once('%') {
            self.push_text(parts, text)?;
            let range = match behind.as_bytes().first() {
                Some(b'Y') => 0..4,
                Some(b'm') => 5..7,
                Some(b'd') => 8..10,
                Some(b'H') if has_hours => 11..13,
                _ => return Err(refused),
            };
            parts.push(Part::Date(range));
            rest = &behind[1..];
        }
        self.push_text(parts, rest)
    }

    /// The text with all characters escaped that are not allowed in a name.
    fn escaped(self, text: &str) -> String {
        let text = match self {
            Self::Index => text.to_lowercase(),
            Self::Key | Self::Label => text.to_owned(),
        };
        let mut out = String::with_capacity(text.len());
        for byte in text.bytes() {
            match (byte, self) {
                (b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.', _) => out.push(char::from(byte)),
                (_, Self::Index) => out.push_str(&format!("%{byte:02x}")),
                (_, Self::Key | Self::Label) => out.push_str(&format!("%{byte:02X}")),
            }
        }
        out
    }
}

/// The time whose date goes into a name: the event's own if it is plausible for its object, else the object's. So a
/// record with a wrong time creates no name of its own.
fn dated(time_ms: i64, last_modified_ms: Option<i64>) -> i64 {
    match last_modified_ms.and_then(moment::plausible) {
        Some(modified_ms) if !(modified_ms - EARLIER_MS..=modified_ms + LATER_MS).contains(&time_ms) => modified_ms,
        _ => time_ms,
    }
}

impl<'de> Deserialize<'de> for IndexTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrTable(Purpose::Index)).map(Self)
    }
}

impl<'de> Deserialize<'de> for KeyTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrTable(Purpose::Key)).map(Self)
    }
}

impl<'de> Deserialize<'de> for LabelTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrTable(Purpose::Label)).map(Self)
    }
}

impl TryFrom<&str> for LabelTemplate {
    type Error = TemplateError;

    fn try_from(text: &str) -> Result<Self, TemplateError> {
        let table = Table { template: text.to_owned(), values: Vec::new(), otherwise: None };
        Template::new(table, Purpose::Label).map(Self)
    }
}

struct TextOrTable(Purpose);

impl<'de> de::Visitor<'de> for TextOrTable {
    type Value = Template;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a template or a table")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Template, E> {
        let template = String::deserialize(StrDeserializer::<E>::new(text))?;
        Template::new(Table { template, values: Vec::new(), otherwise: None }, self.0).map_err(E::custom)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, table: A) -> Result<Template, A::Error> {
        let table = Table::deserialize(MapAccessDeserializer::new(table))?;
        Template::new(table, self.0).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;
    use crate::event::{EventId, Severity, Status};
    use crate::notification::ObjectId;
    use crate::object::Version;

    /// 2024-01-15T08:30:00Z, as milliseconds since the epoch.
    const TIME_MS: i64 = 1_705_307_400_000;

    fn head(time_ms: i64) -> Head {
        Head {
            uid: EventId([0; 16]),
            time_ms,
            place: 0,
            index: 0,
            class: Class::GroupManagement,
            severity: Severity::Informational,
            status: Status::Success,
            choice: 0,
        }
    }

    fn of_feed(feed: &str) -> Provenance {
        let version = Version { etag: "e".into(), version_id: None, last_modified_ms: Some(TIME_MS), size_bytes: 1 };
        Provenance { feed: feed.into(), family: "s3_access", object: ObjectId::new("b", "k"), version }
    }

    fn index(template: serde_json::Value) -> Result<Template, String> {
        serde_json::from_value::<IndexTemplate>(template).map(|it| it.0).map_err(|error| error.to_string())
    }

    fn key(template: serde_json::Value) -> Result<Template, String> {
        serde_json::from_value::<KeyTemplate>(template).map(|it| it.0).map_err(|error| error.to_string())
    }

    #[test]
    fn a_name_has_the_feed_the_family_the_class_and_the_date() {
        for (text, expected) in [
            ("audit", "audit"),
            ("audit-{family}-{date:%Y.%m.%d}", "audit-s3_access-2024.01.15"),
            ("audit-{feed}-{class}", "audit-my.feed-group_management"),
            ("{family}-{date}", "s3_access-2024.01.15"),
            ("a-{date:%Y-%m}-x", "a-2024-01-x"),
        ] {
            let name = index(json!(text)).unwrap().render(&of_feed("My.Feed"), &head(TIME_MS), None);
            assert_eq!(name, expected, "{text}");
        }
        for (text, expected) in [
            ("{feed}/{date:%Y/%m/%d/%H}/x", "My.Feed/2024/01/15/08/x"),
            ("class={class}/eventDay={date:%Y%m%d}", "class=group_management/eventDay=20240115"),
            ("a/{date}", "a/2024-01-15"),
        ] {
            let name = key(json!(text)).unwrap().render(&of_feed("My.Feed"), &head(TIME_MS), None);
            assert_eq!(name, expected, "{text}");
        }
    }

    #[test]
    fn a_label_needs_no_escapes_whatever_stands_in_it() {
        let label = |template: Value| serde_json::from_value::<LabelTemplate>(template).map(|label| label.0);
        let template = json!({"template": "ocsf:{class}/{status}", "values": ["a\"b", "Ü\n"], "else": "x"});
        let template = label(template).unwrap();
        let names = [Some(0), Some(1), None].map(|chosen| template.render(&of_feed("f"), &head(0), chosen));
        let expected = ["a%22b", "%C3%9C%0A", "x"].map(|value| format!("ocsf:group_management/{value}"));
        assert_eq!(names, expected);
        assert_eq!(label(json!("S:{feed}")).unwrap().render(&of_feed("A b\\"), &head(0), None), "S:A%20b%5C");
        for refused in ["", "a\"", "a b", "a\\"] {
            assert!(label(json!(refused)).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_date_that_the_object_makes_unlikely_is_the_objects() {
        let template = index(json!("a-{date:%Y%m%d}")).unwrap();
        for (days, expected) in
            [(0, "a-20240115"), (-400, "a-20221211"), (-401, "a-20240115"), (1, "a-20240116"), (2, "a-20240115")]
        {
            let name = template.render(&of_feed("f"), &head(TIME_MS + days * DAY_MS), None);
            assert_eq!(name, expected, "{days}");
        }
        let mut unknown = of_feed("f");
        unknown.version.last_modified_ms = None;
        assert_eq!(template.render(&unknown, &head(TIME_MS - 500 * DAY_MS), None), "a-20220902");
    }

    #[test]
    fn only_listed_values_stand_in_a_name() {
        let template =
            index(json!({"template": "a-{metadata.tenant_uid}", "values": ["T/1", "ü"], "else": "rest"})).unwrap();
        let names = [Some(0), Some(1), Some(2), None].map(|chosen| template.render(&of_feed("f"), &head(0), chosen));
        assert_eq!(names, ["a-t%2f1", "a-%c3%bc", "a-rest", "a-rest"]);
        assert_eq!(template.choice().unwrap().values, ["T/1", "ü"]);
        let template = key(json!({"template": "{actor.user.name}/x", "values": ["..", "a/b c"]})).unwrap();
        let names = [Some(0), Some(1), None].map(|chosen| template.render(&of_feed("f"), &head(0), chosen));
        assert_eq!(names, ["%2E%2E/x", "a%2Fb%20c/x", "other/x"]);
    }

    #[test]
    fn a_feed_leads_out_of_no_prefix() {
        for (feed, expected) in [("..", "%2E%2E/x"), (".", "%2E/x"), ("...", ".../x")] {
            assert_eq!(key(json!("{feed}/x")).unwrap().render(&of_feed(feed), &head(0), None), expected);
        }
        assert_eq!(key(json!("a/.{feed}")).unwrap().render(&of_feed("."), &head(0), None), "a/%2E%2E");
    }

    #[test]
    fn what_a_log_says_makes_no_more_names_than_days_classes_and_values() {
        let template = index(json!({"template": "{class}-{date}-{user.name}", "values": ["a", "b"]})).unwrap();
        let mut names = BTreeSet::new();
        for day in -2000..2000 {
            for chosen in [None, Some(0), Some(1)] {
                for class in Class::ALL {
                    let head = Head { class, ..head(TIME_MS + day * DAY_MS) };
                    names.insert(template.render(&of_feed("f"), &head, chosen));
                }
            }
        }
        assert_eq!(names.len(), 402 * 3 * Class::ALL.len());
    }

    #[test]
    fn what_makes_no_names_is_refused_and_the_placeholder_named() {
        for (template, expected) in [
            (json!("a-{service}"), "unknown placeholder `{service}`"),
            (json!("a-{feed:x}"), "unknown placeholder `{feed:x}`"),
            (json!("a-{actor.user.name}"), "whoever writes the log decides what `{actor.user.name}` is"),
            (json!({"template": "a-{user.name}{user.uid}", "values": ["a"]}), "`{user.uid}`: expected one attribute"),
            (json!({"template": "a", "values": ["a"]}), "have no effect"),
            (json!({"template": "a", "else": "a"}), "have no effect"),
            (json!({"template": "a-{user.uid}", "values": [""]}), "not empty"),
            (json!("a-{date:%H}"), "`{date:%H}`: expected `%Y`"),
            (json!("a-{date:x}"), "`{date:x}`: expected `%Y`"),
            (json!("a-{date:}"), "`{date:}`: expected `%Y`"),
            (json!("a-{feed"), "without its `}`"),
            (json!("a-feed}"), "without its `}`"),
            (json!("Audit"), "`A` cannot stand in it"),
            (json!("a*"), "`*` cannot stand in it"),
            (json!("a/b"), "`/` cannot stand in it"),
            (json!("-a"), "begin with"),
            (json!("{feed}"), "begin with"),
            (json!(""), "begin with"),
            (json!("a".repeat(256)), "256 bytes long, more than 255"),
            (json!({"template": "a", "valus": ["a"]}), "unknown field `valus`"),
        ] {
            let error = index(template.clone()).unwrap_err();
            assert!(error.contains(expected), "{template}: {error}");
        }
        for (template, expected) in [
            (json!("/a"), "segments"),
            (json!("a//b"), "segments"),
            (json!("a/"), "segments"),
            (json!("a/../b"), "segments"),
            (json!(""), "segments"),
            (json!("a b"), "` ` cannot stand in it"),
            (json!("a".repeat(513)), "513 bytes long, more than 512"),
        ] {
            let error = key(template.clone()).unwrap_err();
            assert!(error.contains(expected), "{template}: {error}");
        }
        assert!(key(json!("a/{date:%H}")).is_ok());
    }
}

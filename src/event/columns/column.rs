//! What one column holds: a value of the record, a fact about the record, or a fixed text.

use serde::{Deserialize, Deserializer, de};

use crate::event::id::hyphenated;
use crate::event::{Copies, Fields, Head, Json, Reader, Seen, Status, Text, moment};

/// Written as `path`, `@record`, `@member` or `=text`. `a | b` takes the first source that has a value. `as string`,
/// `as int` or `as datetime` at the end sets the type; without it, a value of the record is copied unchanged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Column {
    sources: Box<[Source]>,
    kind: Kind,
}

/// Why the text of a column cannot be parsed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ColumnError {
    #[error("expected a path in the record, an `@member` or a `=text`")]
    Empty,
    #[error("unknown type `{0}`; expected one of `string`, `int`, `datetime`")]
    Kind(String),
    #[error(
        "unknown `{0}`; expected one of `@record`, `@uid`, `@time`, `@place`, `@class`, `@class_uid`, `@severity_id`, `@status`, \
         `@feed`, `@bucket`, `@key`"
    )]
    Member(String),
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Source {
    /// A value in the record, by the path of its keys.
    Path(Box<str>),
    /// The whole record.
    Record,
    Member(Member),
    Fixed(Box<str>),
}

/// A fact about a record that does not stand in the record itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Member {
    Uid,
    Time,
    Place,
    Class,
    ClassUid,
    SeverityId,
    Status,
    Feed,
    Bucket,
    Key,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    AsItStands,
    String,
    Int,
    Datetime,
}

impl Column {
    pub fn new(held: &str) -> Result<Self, ColumnError> {
        let words: Vec<&str> = held.split_whitespace().collect();
        let (sources, kind) = match words.as_slice() {
            [before @ .., "as", kind] => (before.join(" "), Kind::named(kind)?),
            all => (all.join(" "), Kind::AsItStands),
        };
        let sources = sources.split('|').map(|source| Source::new(source.trim()));
        Ok(Self { sources: sources.collect::<Result<_, _>>()?, kind })
    }

    /// Appends the value. Returns false, with nothing appended, if there is none.
    pub(super) fn write(&self, out: &mut Vec<u8>, head: &Head, seen: &Seen<'_>, record: &Fields<'_>) -> bool {
        self.sources.iter().any(|source| match source {
            Source::Path(path) => find(record, path).is_some_and(|found| self.kind.write(out, found)),
            Source::Record => {
                let value = Reader::new(seen.parsed).value();
                value.is_ok_and(|value| self.kind.write(out, value))
            }
            Source::Member(member) => {
                let token = member.token(head, seen);
                Reader::new(&token).value().is_ok_and(|json| self.kind.write_json(out, json))
            }
            Source::Fixed(text) => {
                Text::from(&**text).write(out);
                true
            }
        })
    }
}

impl Source {
    fn new(text: &str) -> Result<Self, ColumnError> {
        match text.as_bytes() {
            [] => Err(ColumnError::Empty),
            [b'=', ..] => Ok(Self::Fixed(text[1..].into())),
            b"@record" => Ok(Self::Record),
            [b'@', ..] => Member::named(text).map(Self::Member).ok_or_else(|| ColumnError::Member(text.to_owned())),
            _ => Ok(Self::Path(text.into())),
        }
    }
}

impl Member {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "@uid" => Self::Uid,
            "@time" => Self::Time,
            "@place" => Self::Place,
            "@class" => Self::Class,
            "@class_uid" => Self::ClassUid,
            "@severity_id" => Self::SeverityId,
            "@status" => Self::Status,
            "@feed" => Self::Feed,
            "@bucket" => Self::Bucket,
            "@key" => Self::Key,
            _ => return None,
        })
    }

    /// The fact as a JSON token.
    fn token(self, head: &Head, seen: &Seen<'_>) -> String {
        let text = |text: &str| format!("\"{}\"", Text::from(text).into_escaped());
        match self {
            Self::Uid => text(&String::from_utf8_lossy(&hyphenated(&head.uid))),
            Self::Time => head.time_ms.to_string(),
            Self::Place => head.place.to_string(),
            Self::Class => text(head.class.name()),
            Self::ClassUid => head.class.uid().to_string(),
            Self::SeverityId => (head.severity as u8).to_string(),
            Self::Status => text(match head.status {
                Status::Unknown => "Unknown",
                Status::Success => "Success",
                Status::Failure => "Failure",
            }),
            Self::Feed => text(seen.origin.feed),
            Self::Bucket => text(&seen.origin.object.bucket),
            Self::Key => text(&seen.origin.object.key),
        }
    }
}

impl Kind {
    fn named(name: &str) -> Result<Self, ColumnError> {
        match name {
            "string" => Ok(Self::String),
            "int" => Ok(Self::Int),
            "datetime" => Ok(Self::Datetime),
            _ => Err(ColumnError::Kind(name.to_owned())),
        }
    }

    /// Appends a value of the record, each key of an object once. Returns false if the value says nothing or does not
    /// fit the type.
    fn write(self, out: &mut Vec<u8>, value: Json<'_>) -> bool {
        if value.text().is_none() {
            return false;
        }
        match self {
            Self::AsItStands => Copies::default().copy(value).write(out),
            Self::String => match Copies::default().copy_as_text(value) {
                Some(text) => text.write(out),
                None => return false,
            },
            Self::Int | Self::Datetime => return self.write_json(out, value),
        }
        true
    }

    /// Appends a JSON token, repeated keys included. Returns false if it does not fit the type.
    fn write_json(self, out: &mut Vec<u8>, value: Json<'_>) -> bool {
        match self {
            Self::AsItStands => value.write(out),
            Self::String => match value.text() {
                Some(text) => text.write(out),
                None => return false,
            },
            Self::Int => match value.integer() {
                Some(number) => out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
                None => return false,
            },
            Self::Datetime => match moment::of_json(value) {
                Some(time_ms) => {
                    out.push(b'"');
                    moment::write(out, time_ms);
                    out.push(b'"');
                }
                None => return false,
            },
        }
        true
    }
}

/// The value at a path. A key may contain dots.
fn find<'f>(fields: &'f Fields<'_>, path: &str) -> Option<Json<'f>> {
    fields.iter().find_map(|field| step(&field.key, field.value, path))
}

fn step<'f>(key: &str, value: Json<'f>, path: &str) -> Option<Json<'f>> {
    let rest = path.strip_prefix(key)?;
    if rest.is_empty() {
        return Some(value);
    }
    let (rest, Json::Object(whole)) = (rest.strip_prefix('.')?, value) else { return None };
    let mut found = None;
    let read = Reader::new(whole).object(|reader, key| {
        let value = reader.value()?;
        // The last value of a repeated key counts.
        found = step(&key, value, rest).or(found.take());
        Ok(())
    });
    read.ok().and(found)
}

impl<'de> Deserialize<'de> for Column {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

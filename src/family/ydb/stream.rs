//! The records of the audit stream: fields with names, as JSON or as text.
//!
//! The text form, `component=x, tx_id=1, ...`, escapes nothing: a value may hold commas, equals signs and line ends. A field
//! begins where a name stands that the stream is known to use; of a name that stands twice only one can be the field.

use crate::event::Fault;
use crate::event::Fields;
use crate::event::Reader;
use crate::event::Secrets;
use crate::event::Text;
use crate::event::Value;

/// What stands for a value that is not there.
pub(super) const NONE: &str = "{none}";

/// The names of fields whose values are short and made by the product.
const PLAIN_NAMES: &[&str] = &[
    "@log_type",
    "@timestamp",
    "account",
    "acl_add",
    "acl_remove",
    "auth_type",
    "begin_tx",
    "cloud_id",
    "commit_tx",
    "component",
    "created_at",
    "database",
    "detailed_status",
    "end_time",
    "export_fs_base_path",
    "export_item_count",
    "export_s3_bucket",
    "export_s3_prefix",
    "export_type",
    "export_yt_prefix",
    "folder_id",
    "grpc_method",
    "id",
    "idempotency_id",
    "import_fs_base_path",
    "import_item_count",
    "import_s3_bucket",
    "import_s3_prefix",
    "import_type",
    "labels",
    "last_login",
    "login_group",
    "login_member",
    "login_user",
    "login_user_change",
    "login_user_level",
    "masked_token",
    "method",
    "new_owner",
    "node_id",
    "operation",
    "paths",
    "permission",
    "prepared_query_id",
    "queue",
    "remote_address",
    "request_id",
    "resource_id",
    "row_count",
    "sanitized_token",
    "start_time",
    "status",
    "subject",
    "table",
    "tablet_id",
    "tx_id",
    "uid",
    "user_attrs_add",
    "user_attrs_remove",
];

/// The names of fields whose values someone else may have written, and where the next field may seem to stand.
const FREE_NAMES: &[&str] = &[
    "body",
    "new_config",
    "old_config",
    "params",
    "program_text",
    "query_text",
    "reason",
    "request",
    "schema_changes",
    "url",
];

/// Longer than any name.
const NAME_MAX: usize = 40;

/// A record has a few dozen fields; what a value may make of it stays within bounds.
const FIELDS_MAX: usize = 1000;

/// The fields of one record, in order.
#[derive(Debug, Default)]
pub(super) struct Parts<'a> {
    parts: Vec<Part<'a>>,
    /// More than one reading was possible.
    pub(super) is_ambiguous: bool,
}

#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) name: Text<'a>,
    pub(super) value: Value<'a>,
    /// The value as text, if it says something.
    text: Option<Text<'a>>,
    is_none: bool,
    is_mapped: bool,
}

impl<'a> Parts<'a> {
    /// Reads a JSON object.
    pub(super) fn of_json(text: &'a str, secrets: &mut Secrets<'a>) -> Result<Self, Fault> {
        let mut reader = Reader::new(text);
        let fields = Fields::read(&mut reader)?;
        reader.end()?;
        let parts = fields.iter().map(|field| {
            let text = field.value.text();
            let value = secrets.carry(&field.key, field.value);
            Part::new(field.name(), value, text)
        });
        Ok(Self { parts: parts.collect(), is_ambiguous: false })
    }

    /// Reads the text form, after its time.
    pub(super) fn of_text(text: &'a str, word: impl Fn(&'a str) -> Text<'a>) -> Self {
        let (fields, is_ambiguous) = split(text);
        let parts = fields.into_iter().map(|(name, value)| {
            let value = word(value);
            Part::new(word(name), Value::Text(value.clone()), Some(value).filter(Text::says_something))
        });
        Self { parts: parts.collect(), is_ambiguous }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Text<'a>> {
        self.part(name)?.text.as_ref()
    }

    /// The field's text, which then counts as mapped; so does one that says that there is none.
    pub(super) fn map(&mut self, name: &str) -> Option<Text<'a>> {
        let part = self.parts.iter_mut().find(|part| part.name.is(name))?;
        part.is_mapped |= part.text.is_some() || part.is_none;
        part.text.clone()
    }

    /// The elements of a list: `[a, b]`. `begins` says of the text after `, ` whether an element begins with it.
    pub(super) fn list(&self, name: &str, begins: impl Fn(&str) -> bool) -> Vec<Text<'a>> {
        let Some(text) = self.get(name) else { return Vec::new() };
        let plain = text.plain();
        let Some(list) = plain.strip_prefix('[').and_then(|open| open.strip_suffix(']')) else {
            return vec![text.clone()];
        };
        let mut elements = Vec::new();
        let mut from = 0;
        for (at, _) in list.match_indices(", ") {
            if begins(&list[at + 2..]) && elements.len() < FIELDS_MAX {
                elements.push(Text::from(list[from..at].to_owned()));
                from = at + 2;
            }
        }
        if from < list.len() {
            elements.push(Text::from(list[from..].to_owned()));
        }
        elements
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Part<'a>> {
        self.parts.iter()
    }

    pub(super) fn unmapped(&self) -> impl Iterator<Item = &Part<'a>> {
        self.parts.iter().filter(|part| !part.is_mapped)
    }

    fn part(&self, name: &str) -> Option<&Part<'a>> {
        self.parts.iter().find(|part| part.name.is(name))
    }
}

impl<'a> Part<'a> {
    fn new(name: Text<'a>, value: Value<'a>, text: Option<Text<'a>>) -> Self {
        let is_none = text.as_ref().is_none_or(|text| text.is(NONE));
        Self { name, value, text: text.filter(|_| !is_none), is_none, is_mapped: false }
    }
}

/// Whether a record of the text form begins so, after its time.
pub(super) fn begins(text: &[u8]) -> bool {
    let head = &text[..text.len().min(NAME_MAX)];
    let Some(equals) = memchr::memchr(b'=', head) else { return false };
    std::str::from_utf8(&head[..equals]).is_ok_and(is_known)
}

fn is_known(name: &str) -> bool {
    PLAIN_NAMES.contains(&name) || FREE_NAMES.contains(&name)
}

/// A place where a field may begin.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// Where the field before it ends, should this one begin here.
    end: usize,
    name: &'a str,
    value_from: usize,
    is_known: bool,
}

/// The names and values of the text form's fields, as they stand after the time.
pub(super) fn fields(text: &str) -> Vec<(&str, &str)> {
    split(text).0
}

/// The fields of the text form, and whether another reading was possible.
fn split(text: &str) -> (Vec<(&str, &str)>, bool) {
    let places = places(text);
    let mut is_ambiguous = false;
    let free_from = places.iter().position(|place| FREE_NAMES.contains(&place.name)).unwrap_or(places.len());
    let mut taken: Vec<Place<'_>> = Vec::with_capacity(places.len().min(32));
    for (index, place) in places.iter().enumerate() {
        let is_free = taken.last().is_some_and(|last| FREE_NAMES.contains(&last.name));
        if !place.is_known && is_free || taken.len() >= FIELDS_MAX {
            continue;
        }
        if taken.iter().any(|other| other.name == place.name) {
            // It stood before anything that others may have written.
            continue;
        }
        let comes_again = places[index + 1..].iter().any(|other| other.name == place.name);
        if index > free_from && comes_again {
            // What comes later is the product's; this is within a value that others may have written.
            is_ambiguous = true;
            continue;
        }
        taken.push(*place);
    }
    let ends = taken.iter().skip(1).map(|place| place.end).chain([text.len()]);
    let fields = taken.iter().zip(ends).map(|(place, end)| (place.name, &text[place.value_from..end]));
    (fields.collect(), is_ambiguous)
}

/// Every place where a name and an equals sign stand at the beginning, after `, `, or after `; `, where the product forgot
/// the comma.
fn places(text: &str) -> Vec<Place<'_>> {
    let bytes = text.as_bytes();
    let mut places = Vec::new();
    for equals in memchr::memchr_iter(b'=', bytes) {
        let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'@' | b'-');
        let length = bytes[..equals].iter().rev().take(NAME_MAX).take_while(|byte| is_letter(byte)).count();
        let from = equals - length;
        let name = &text[from..equals];
        let known = is_known(name);
        let end = match &bytes[..from] {
            [] => 0,
            [.., b',', b' '] => from - 2,
            [.., b';', b' '] if known => from - 1,
            _ => continue,
        };
        if length > 0 {
            places.push(Place { end, name, value_from: equals + 1, is_known: known });
        }
        if places.len() >= FIELDS_MAX {
            break;
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_hold_commas_equals_signs_and_line_ends() {
        let text = "component=bsc, old_config=a: 1\nb: [1, c=2]\n, new_config=x, y=z\n, status=SUCCESS, custom=1, reason=a, b=c";
        assert_eq!(
            fields(text),
            [
                ("component", "bsc"),
                ("old_config", "a: 1\nb: [1, c=2]\n"),
                ("new_config", "x, y=z\n"),
                ("status", "SUCCESS"),
                ("custom", "1"),
                ("reason", "a, b=c"),
            ]
        );
        assert_eq!(
            fields("component=x, params=base64=false&schema=multipart")[1],
            ("params", "base64=false&schema=multipart")
        );
    }

    #[test]
    fn a_field_whose_comma_is_missing_begins_after_the_semicolon() {
        let text = "component=x, query_text=SELECT 1; status=SUCCESS, begin_tx=1";
        assert_eq!(
            fields(text),
            [("component", "x"), ("query_text", "SELECT 1;"), ("status", "SUCCESS"), ("begin_tx", "1")]
        );
    }

    #[test]
    fn a_name_that_a_foreign_value_repeats_is_not_taken_for_the_field() {
        let (fields, is_ambiguous) =
            split("component=x, database=/a, query_text=q, database=/b, status=ERROR, status=SUCCESS");
        assert_eq!(
            fields,
            [
                ("component", "x"),
                ("database", "/a"),
                ("query_text", "q, database=/b, status=ERROR"),
                ("status", "SUCCESS")
            ]
        );
        assert!(is_ambiguous);
        assert!(!split("component=x, database=/a, query_text=q, database=/b, status=SUCCESS").1);
    }

    #[test]
    fn a_list_is_split_where_an_element_begins() {
        let parts = Parts::of_text("component=x, acl_add=[+R:a, b, -(SR|DS):c], paths=[]", Text::from);
        let list = |name, begins: fn(&str) -> bool| -> Vec<String> {
            parts.list(name, begins).iter().map(|text| text.plain().into_owned()).collect()
        };
        assert_eq!(list("acl_add", |rest| rest.starts_with(['+', '-'])), ["+R:a, b", "-(SR|DS):c"]);
        assert_eq!(list("paths", |_| true), Vec::<String>::new());
        assert_eq!(list("reason", |_| true), Vec::<String>::new());
    }

    #[test]
    fn none_says_nothing_and_is_gone_once_it_was_asked_for() {
        let mut parts = Parts::of_text("component=x, subject={none}", Text::from);
        assert!(parts.get("subject").is_none());
        assert_eq!(parts.unmapped().count(), 2);
        assert!(parts.map("subject").is_none());
        assert_eq!(parts.unmapped().count(), 1);
    }
}

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
use crate::family::ydb::names::NAMES;
use crate::family::ydb::names::Name;

/// What stands for a value that is not there.
pub(super) const NONE: &str = "{none}";

/// Longer than any name.
const NAME_MAX: usize = 40;

/// A record has a few dozen fields; what a value may make of it stays within bounds.
const FIELDS_MAX: usize = 1000;

/// Most records have no more.
const USUAL_FIELDS: usize = 24;

/// The fields of one record, in order.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    parts: Vec<Part<'a>>,
    /// By name, where in `parts` its field stands, if the record has it.
    places: [Option<u32>; NAMES],
    /// More than one reading was possible.
    pub(super) is_ambiguous: bool,
}

#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) name: Text<'a>,
    /// The name, where it is one that the stream is known to use.
    pub(super) known: Option<Name>,
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
        let mut parts = Self::with_capacity(fields.len());
        for field in fields.iter() {
            let text = field.value.text();
            let value = secrets.carry(&field.key, field.value);
            parts.push(Name::of(&field.key), field.name(), value, text);
        }
        Ok(parts)
    }

    /// Reads the text form, after its time.
    pub(super) fn of_text(text: &'a str, word: impl Fn(&'a str) -> Text<'a>) -> Self {
        let (fields, is_ambiguous) = split(text);
        let mut parts = Self { is_ambiguous, ..Self::with_capacity(fields.len()) };
        for Field { name, known, value } in fields {
            let value = word(value);
            let text = Some(value.clone()).filter(Text::says_something);
            parts.push(known, word(name), Value::Text(value), text);
        }
        parts
    }

    fn with_capacity(parts: usize) -> Self {
        Self { parts: Vec::with_capacity(parts), places: [None; NAMES], is_ambiguous: false }
    }

    fn push(&mut self, known: Option<Name>, name: Text<'a>, value: Value<'a>, text: Option<Text<'a>>) {
        if let Some(known) = known {
            self.places[known.place()] = u32::try_from(self.parts.len()).ok();
        }
        let is_none = text.as_ref().is_none_or(says_none);
        self.parts.push(Part { name, known, value, text: text.filter(|_| !is_none), is_none, is_mapped: false });
    }

    pub(super) fn get(&self, name: Name) -> Option<&Text<'a>> {
        self.parts.get(self.places[name.place()]? as usize)?.text.as_ref()
    }

    /// The field's text, which then counts as mapped; so does one that says that there is none.
    pub(super) fn map(&mut self, name: Name) -> Option<Text<'a>> {
        let part = self.parts.get_mut(self.places[name.place()]? as usize)?;
        part.is_mapped |= part.text.is_some() || part.is_none;
        part.text.clone()
    }

    /// The elements of a list: `[a, b]`. `begins` says of the text after `, ` whether an element begins with it.
    pub(super) fn list(&self, name: Name, begins: impl Fn(&str) -> bool) -> Vec<Text<'a>> {
        let Some(text) = self.get(name) else { return Vec::new() };
        match text.borrowed() {
            Some(whole) => elements(whole, begins).map_or_else(|| vec![text.clone()], as_texts),
            None => {
                let owned = |pieces: Vec<&str>| pieces.iter().map(|piece| Text::from((*piece).to_owned())).collect();
                elements(&text.plain(), begins).map_or_else(|| vec![text.clone()], owned)
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Part<'a>> {
        self.parts.iter()
    }

    pub(super) fn into_unmapped(self) -> impl Iterator<Item = Part<'a>> {
        self.parts.into_iter().filter(|part| !part.is_mapped)
    }
}

fn as_texts(pieces: Vec<&str>) -> Vec<Text<'_>> {
    pieces.into_iter().map(Text::from).collect()
}

fn says_none(text: &Text<'_>) -> bool {
    let written = match text {
        Text::Plain(plain) => plain.as_bytes(),
        Text::Escaped(inside) => inside.as_bytes(),
    };
    matches!(written.first(), Some(b'{' | b'\\')) && text.is(NONE)
}

/// The elements of a list; nothing when it is none.
fn elements(text: &str, begins: impl Fn(&str) -> bool) -> Option<Vec<&str>> {
    let list = text.strip_prefix('[').and_then(|open| open.strip_suffix(']'))?;
    let mut elements = Vec::new();
    let mut from = 0;
    for at in memchr::memchr_iter(b',', list.as_bytes()) {
        let Some(after) = list[at + 1..].strip_prefix(' ') else { continue };
        if begins(after) && elements.len() < FIELDS_MAX {
            elements.push(&list[from..at]);
            from = at + 2;
        }
    }
    if from < list.len() {
        elements.push(&list[from..]);
    }
    Some(elements)
}

/// Whether a record of the text form begins so, after its time.
pub(super) fn begins(text: &[u8]) -> bool {
    let head = &text[..text.len().min(NAME_MAX)];
    let Some(equals) = memchr::memchr(b'=', head) else { return false };
    std::str::from_utf8(&head[..equals]).is_ok_and(|name| Name::of(name).is_some())
}

/// A place where a field may begin.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// Where the field before it ends, should this one begin here.
    end: usize,
    name: &'a str,
    value_from: usize,
    known: Option<Name>,
}

impl Place<'_> {
    fn is_free(&self) -> bool {
        self.known.is_some_and(Name::is_free)
    }
}

/// A field of the text form.
struct Field<'a> {
    name: &'a str,
    known: Option<Name>,
    value: &'a str,
}

impl Field<'_> {
    fn is_free(&self) -> bool {
        self.known.is_some_and(Name::is_free)
    }
}

/// The names and values of the text form's fields, as they stand after the time.
pub(super) fn fields(text: &str) -> Vec<(&str, &str)> {
    split(text).0.into_iter().map(|field| (field.name, field.value)).collect()
}

/// The fields of the text form, and whether another reading was possible.
fn split(text: &str) -> (Vec<Field<'_>>, bool) {
    let places = places(text);
    let mut is_ambiguous = false;
    let free_from = places.iter().position(Place::is_free).unwrap_or(places.len());
    let mut fields: Vec<Field<'_>> = Vec::with_capacity(places.len().min(FIELDS_MAX));
    let mut is_taken = [false; NAMES];
    let mut last = [0; NAMES];
    for (index, place) in places.iter().enumerate() {
        if let Some(known) = place.known {
            last[known.place()] = index;
        }
    }
    for (index, place) in places.iter().enumerate() {
        let is_in_free = fields.last().is_some_and(Field::is_free);
        if place.known.is_none() && is_in_free || fields.len() >= FIELDS_MAX {
            continue;
        }
        let is_repeated = match place.known {
            Some(known) => is_taken[known.place()],
            None => fields.iter().any(|other| other.known.is_none() && other.name == place.name),
        };
        if is_repeated {
            // It stood before anything that others may have written.
            continue;
        }
        let comes_again = || match place.known {
            Some(known) => last[known.place()] > index,
            None => places[index + 1..].iter().any(|other| other.known.is_none() && other.name == place.name),
        };
        if index > free_from && comes_again() {
            // What comes later is the product's; this is within a value that others may have written.
            is_ambiguous = true;
            continue;
        }
        if let Some(known) = place.known {
            is_taken[known.place()] = true;
        }
        if let Some(before) = fields.last_mut() {
            // It went on to the end so far.
            before.value = &text[text.len() - before.value.len()..place.end];
        }
        fields.push(Field { name: place.name, known: place.known, value: &text[place.value_from..] });
    }
    (fields, is_ambiguous)
}

/// Which bytes names are made of.
static IS_LETTER: [bool; 256] = {
    let mut letters = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        letters[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'@' | b'-');
        byte += 1;
    }
    letters
};

/// Every place where a name and an equals sign stand at the beginning, after `, `, or after `; `, where the product forgot
/// the comma.
fn places(text: &str) -> Vec<Place<'_>> {
    let bytes = text.as_bytes();
    let mut places = Vec::with_capacity(USUAL_FIELDS);
    for equals in memchr::memchr_iter(b'=', bytes) {
        let is_letter = |byte: &u8| IS_LETTER[usize::from(*byte)];
        let length = bytes[..equals].iter().rev().take(NAME_MAX).take_while(|byte| is_letter(byte)).count();
        let from = equals - length;
        let name = &text[from..equals];
        let known = Name::of(name);
        let end = match &bytes[..from] {
            [] => 0,
            [.., b',', b' '] => from - 2,
            [.., b';', b' '] if known.is_some() => from - 1,
            _ => continue,
        };
        if length > 0 {
            places.push(Place { end, name, value_from: equals + 1, known });
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
    use crate::family::ydb::names::ACL_ADD;
    use crate::family::ydb::names::PATHS;
    use crate::family::ydb::names::REASON;
    use crate::family::ydb::names::SUBJECT;

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
        let text = "component=x, database=/a, query_text=q, database=/b, status=ERROR, status=SUCCESS";
        assert_eq!(
            fields(text),
            [
                ("component", "x"),
                ("database", "/a"),
                ("query_text", "q, database=/b, status=ERROR"),
                ("status", "SUCCESS")
            ]
        );
        assert!(split(text).1);
        assert!(!split("component=x, database=/a, query_text=q, database=/b, status=SUCCESS").1);
    }

    #[test]
    fn a_list_is_split_where_an_element_begins() {
        let parts = Parts::of_text("component=x, acl_add=[+R:a, b, -(SR|DS):c], paths=[]", Text::from);
        let list = |name, begins: fn(&str) -> bool| -> Vec<String> {
            parts.list(name, begins).iter().map(|text| text.plain().into_owned()).collect()
        };
        assert_eq!(list(ACL_ADD, |rest| rest.starts_with(['+', '-'])), ["+R:a, b", "-(SR|DS):c"]);
        assert_eq!(list(PATHS, |_| true), Vec::<String>::new());
        assert_eq!(list(REASON, |_| true), Vec::<String>::new());
    }

    #[test]
    fn none_says_nothing_and_is_gone_once_it_was_asked_for() {
        let mut parts = Parts::of_text("component=x, subject={none}", Text::from);
        assert!(parts.get(SUBJECT).is_none());
        assert!(!parts.iter().any(|part| part.is_mapped));
        assert!(parts.map(SUBJECT).is_none());
        assert_eq!(parts.into_unmapped().count(), 1);
    }
}

//! The records of the audit stream: fields with names, as JSON or as text.
//!
//! The text form, `component=x, tx_id=1, ...`, escapes nothing: a value may hold commas, equals signs and line ends. A field
//! begins where a name stands that the stream is known to use; of a name that stands twice only one can be the field. Whoever
//! can write a value can write there what looks like further fields: see [`Parts::of_text`] for what is flagged.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use crate::event::{Copies, Fault, Fields, Json, Reader, Text, Value};
use crate::family::marks::Marks;
use crate::family::ydb::form;
use crate::family::ydb::names::{self, NAMES, Name, alphanumeric_and};
use crate::family::ydb::words::{Words, alike};

/// What stands for a value that is not there.
pub(super) const NONE: &str = "{none}";

/// Longer than any name.
const NAME_MAX: usize = 40;

/// A record has a few dozen fields; what a value may make of it stays within bounds.
const FIELDS_MAX: usize = 1000;

/// Most records have no more.
const USUAL_FIELDS: usize = 18;

/// The place of a name that the record does not have.
const NOWHERE: u32 = u32::MAX;

/// The fields of one record, in order.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    parts: Vec<Part<'a>>,
    /// By name, where in `parts` its field stands, if the record has it.
    places: [u32; NAMES],
    /// How the pieces of the text form are to be taken.
    words: Words<'a>,
    /// More than one reading was possible.
    pub(super) is_ambiguous: bool,
}

#[derive(Debug)]
pub(super) struct Part<'a> {
    /// Without escapes.
    name: Cow<'a, str>,
    /// The name, where it is one that the stream is known to use.
    pub(super) known: Option<Name>,
    value: PartValue<'a>,
    pub(super) is_mapped: bool,
}

/// The value of a field.
#[derive(Clone, Copy, Debug)]
enum PartValue<'a> {
    Json(Json<'a>),
    /// In the text form.
    Piece(&'a str),
}

impl<'a> Parts<'a> {
    /// Reads a JSON object.
    pub(super) fn of_json(text: &'a str) -> Result<Self, Fault> {
        let mut parts = Self::new(Words::default());
        let mut others = Fields::default();
        let mut reader = Reader::new(text);
        reader.object(|reader, key| {
            let value = reader.value()?;
            match Name::of(&key) {
                Some(known) => parts.put(known, key, PartValue::Json(value)),
                None => {
                    let before = others.len();
                    others.insert(key, value);
                    if others.len() > before {
                        parts.push(None, Cow::Borrowed(""), PartValue::Json(value));
                    }
                }
            }
            Ok(())
        })?;
        reader.end()?;
        // Of a name that comes twice the last value holds, which is known by now.
        let unknown = parts.parts.iter_mut().filter(|part| part.known.is_none());
        for (part, field) in unknown.zip(others.iter()) {
            (part.name, part.value) = (field.key.clone(), PartValue::Json(field.value));
        }
        Ok(parts)
    }

    /// Reads the text form, after its time. What of a name comes twice is taken once.
    ///
    /// What may be a field or a part of a value that others have written is flagged: a field behind a free one that does not
    /// stand before it, up to the status, which every record has and which ends what a request says; a name that comes twice;
    /// a field whose list has no beginning or end; and a line in it that would begin another record.
    pub(super) fn of_text(text: &'a str, words: Words<'a>) -> Self {
        let mut parts = Self::new(words);
        let places = places(text);
        // Where the value begins of which the end is not known yet, and the field that it is of.
        let (mut from, mut field) = (0, None);
        let (mut had_free, mut may_be_within) = (false, false);
        let last = Last::of(text, &places);
        let mut unknown = HashSet::new();
        for (index, place) in places.iter().enumerate() {
            let is_in_free = field.is_some_and(Name::is_free);
            if place.known.is_none() && (is_in_free || parts.parts.len() >= FIELDS_MAX) {
                continue;
            }
            let name = &text[place.from..place.equals];
            let is_there = match place.known {
                Some(known) => parts.places[known.place()] != NOWHERE,
                None => unknown.contains(name),
            };
            let is_in_list = field.is_some_and(Name::is_list) && is_open_list(&text[from..place.end(text)]);
            if is_there || is_in_list {
                // It stood before anything that others may have written, or it is an element of theirs.
                parts.is_ambiguous |= place.known.is_some() && (is_in_list || !had_free);
                continue;
            }
            if had_free && last.place_of(place.known, name) > index {
                // What comes later is the product's; this is within a value that others may have written.
                parts.is_ambiguous = true;
                continue;
            }
            match place.known {
                // The last there is.
                Some(names::STATUS) => may_be_within = false,
                Some(known) if field.is_some_and(|field| field.is_followed_by(known)) => {}
                _ => parts.is_ambiguous |= may_be_within,
            }
            parts.end_last(&text[from..place.end(text)]);
            from = place.equals + 1;
            field = place.known;
            let is_free = place.known.is_some_and(Name::is_free);
            had_free |= is_free;
            may_be_within |= is_free;
            if place.known.is_none() {
                unknown.insert(name);
            }
            parts.push(place.known, Cow::Borrowed(name), PartValue::Piece(""));
        }
        parts.end_last(&text[from..]);
        parts.is_ambiguous |= places.len() >= FIELDS_MAX;
        parts.is_ambiguous |=
            memchr::memchr_iter(b'\n', text.as_bytes()).any(|at| form::may_begin(&text.as_bytes()[at + 1..]));
        parts
    }

    fn new(words: Words<'a>) -> Self {
        Self { parts: Vec::with_capacity(USUAL_FIELDS), places: [NOWHERE; NAMES], words, is_ambiguous: false }
    }

    /// Adds a field, or gives the one of that name another value.
    fn put(&mut self, known: Name, name: Cow<'a, str>, value: PartValue<'a>) {
        match self.parts.get_mut(self.places[known.place()] as usize) {
            Some(part) => part.value = value,
            None => self.push(Some(known), name, value),
        }
    }

    fn push(&mut self, known: Option<Name>, name: Cow<'a, str>, value: PartValue<'a>) {
        if let Some(known) = known {
            self.places[known.place()] = u32::try_from(self.parts.len()).unwrap_or(NOWHERE);
        }
        self.parts.push(Part { name, known, value, is_mapped: false });
    }

    fn end_last(&mut self, value: &'a str) {
        if let Some(last) = self.parts.last_mut() {
            last.value = PartValue::Piece(value);
            self.is_ambiguous |=
                value.ends_with(']') && !value.contains('[') && last.known.is_some_and(|name| !name.is_free());
        }
    }

    /// The field's text, if it says something.
    // Most names that are asked for are of no field.
    #[inline(always)]
    pub(super) fn get(&self, name: Name) -> Option<Text<'a>> {
        self.parts.get(self.places[name.place()] as usize).and_then(|part| self.text(part))
    }

    /// The same, and the field then counts as mapped, also when it says that there is none.
    #[inline(always)]
    pub(super) fn map(&mut self, name: Name) -> Option<Text<'a>> {
        self.parts.get_mut(self.places[name.place()] as usize)?.is_mapped = true;
        self.get(name)
    }

    fn text(&self, part: &Part<'a>) -> Option<Text<'a>> {
        let text = match part.value {
            PartValue::Json(json) => json.text(),
            PartValue::Piece(piece) => Some(self.words.take(piece)).filter(Text::says_something),
        };
        text.filter(|text| !says_none(text))
    }

    /// The elements of a list: `[a, b]`. `begins` says of the text after `, ` whether an element begins with it.
    pub(super) fn list(&self, name: Name, begins: impl Fn(&str) -> bool) -> Vec<Text<'a>> {
        let Some(text) = self.get(name) else { return Vec::new() };
        let found = match text.borrowed() {
            Some(whole) => elements(whole, begins).map(|pieces| pieces.into_iter().map(alike(&text)).collect()),
            None => elements(&text.plain(), begins).map(|pieces| {
                let owned = pieces.into_iter().map(|piece| Text::from(piece.to_owned()));
                owned.collect()
            }),
        };
        found.unwrap_or_else(|| vec![text])
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Part<'a>> {
        self.parts.iter()
    }

    /// The value of one of these fields as it is copied into an event.
    pub(super) fn copied(&self, part: &Part<'a>) -> Value<'a> {
        match part.value {
            PartValue::Json(json) => Copies::default().copy(json),
            PartValue::Piece(piece) => Value::Text(self.words.take(piece)),
        }
    }
}

impl<'a> Part<'a> {
    pub(super) fn name(&self) -> Text<'a> {
        match &self.name {
            // What is borrowed had nothing to escape.
            Cow::Borrowed(name) => Text::Escaped(name),
            Cow::Owned(name) => Text::from(name.clone()),
        }
    }
}

/// Whether a list has begun and not ended.
fn is_open_list(value: &str) -> bool {
    value.starts_with('[') && !value.ends_with(']')
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

/// Whether a line of the text form has a field in which others may have written the beginning of another line.
pub(super) fn holds_free_value(line: &[u8]) -> bool {
    let is_free = |equals: usize| {
        let from = line[..equals].iter().rev().take(NAME_MAX).take_while(|byte| IS_LETTER[usize::from(**byte)]).count();
        let name = std::str::from_utf8(&line[equals - from..equals]).ok().and_then(Name::of);
        name.is_some_and(|name| name.is_free() && !name.is_on_one_line())
    };
    memchr::memchr_iter(b'=', line).any(is_free)
}

/// Whether a record of the text form begins so, after its time.
pub(super) fn begins(text: &[u8]) -> bool {
    let head = &text[..text.len().min(NAME_MAX)];
    let Some(equals) = memchr::memchr(b'=', head) else { return false };
    std::str::from_utf8(&head[..equals]).is_ok_and(|name| Name::of(name).is_some())
}

/// A place where a field may begin.
#[derive(Clone, Copy)]
struct Place {
    /// Where its name begins.
    from: usize,
    /// Where its name ends.
    equals: usize,
    known: Option<Name>,
}

impl Place {
    /// Where the field before it ends, should this one begin here.
    fn end(&self, text: &str) -> usize {
        match &text.as_bytes()[..self.from] {
            [] => 0,
            // The semicolon is the value's.
            [.., b';', _] => self.from - 1,
            _ => self.from - 2,
        }
    }
}

/// The last place of each name, by its index.
struct Last<'t> {
    known: [usize; NAMES],
    unknown: HashMap<&'t str, usize>,
}

impl<'t> Last<'t> {
    fn of(text: &'t str, places: &[Place]) -> Self {
        let mut last = Self { known: [0; NAMES], unknown: HashMap::new() };
        for (index, place) in places.iter().enumerate() {
            match place.known {
                Some(known) => last.known[known.place()] = index,
                None => {
                    last.unknown.insert(&text[place.from..place.equals], index);
                }
            }
        }
        last
    }

    fn place_of(&self, known: Option<Name>, name: &str) -> usize {
        match known {
            Some(known) => self.known[known.place()],
            None => self.unknown.get(name).copied().unwrap_or(0),
        }
    }
}

/// The names and values of the text form's fields, as they stand after the time.
pub(super) fn fields(text: &str) -> Vec<(&str, &str)> {
    let parts = Parts::of_text(text, Words::of(text, false));
    let fields = parts.parts.into_iter().filter_map(|part| match (part.name, part.value) {
        (Cow::Borrowed(name), PartValue::Piece(value)) => Some((name, value)),
        _ => None,
    });
    fields.collect()
}

/// Which bytes names are made of.
static IS_LETTER: [bool; 256] = alphanumeric_and(b"_@-");

/// The places where a name and an equals sign stand at the beginning, after `, `, or after `; `, where the product forgot
/// the comma. Of very many the first ones, and the last one of each name that is known: the product's own stand behind what
/// a value holds.
fn places(text: &str) -> Vec<Place> {
    let bytes = text.as_bytes();
    let mut places = Vec::with_capacity(USUAL_FIELDS);
    let mut further: [Option<Place>; NAMES] = [None; NAMES];
    // Where the word begins that is being read.
    let mut from = 0;
    for at in Marks::of([b' ', b'='], bytes) {
        if bytes[at] == b' ' {
            from = at + 1;
            continue;
        }
        let equals = at;
        let is_after = |byte| from == 0 || bytes[..from - 1].last() == Some(&byte);
        if equals - from > NAME_MAX || !is_after(b',') && !is_after(b';') {
            continue;
        }
        let name = &text[from..equals];
        let known = Name::of(name);
        let is_name = || is_after(b',') && !name.is_empty() && name.bytes().all(|byte| IS_LETTER[usize::from(byte)]);
        let place = Place { from, equals, known };
        match known {
            Some(known) if places.len() >= FIELDS_MAX => further[known.place()] = Some(place),
            None if places.len() >= FIELDS_MAX || !is_name() => {}
            _ => places.push(place),
        }
    }
    if places.len() >= FIELDS_MAX {
        places.extend(further.into_iter().flatten());
        places[FIELDS_MAX..].sort_by_key(|place| place.from);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::ydb::names::{ACL_ADD, PATHS, REASON, SUBJECT};

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
        assert!(is_ambiguous(text));
        assert!(!is_ambiguous("component=x, database=/a, query_text=q, database=/b, status=SUCCESS"));
    }

    fn is_ambiguous(text: &str) -> bool {
        Parts::of_text(text, Words::of(text, false)).is_ambiguous
    }

    #[test]
    fn what_a_value_may_have_forged_is_flagged() {
        for forged in [
            "component=x, query_text=SELECT 1, remote_address=6.6.6.6, subject=mallory@x, status=SUCCESS, operation=Q",
            "component=x, subject=m, operation=Q, status=SUCCESS, query_text=SELECT 1, new_owner=mallory@x",
            "component=x, subject=m, operation=Q, body=a, custom=1, login_user=admin, status=SUCCESS",
            "component=x, operation=Q, url=/a, params=b, subject=admin, body=c, status=SUCCESS",
            "component=x, operation=Q, status=ERROR, reason=no path /a, subject=admin",
            "component=x, operation=Q, query_text=a, status=SUCCESS, subject=admin, status=ERROR",
            "component=x, subject=m, operation=Q, paths=[/a, new_owner=mallory@x], status=ERROR",
            "component=x, subject=m, operation=Q, status=ERROR, acl_add=[+R:x], new_owner=mallory@x]",
            "component=x, subject=a, operation=Q, subject=b, status=SUCCESS",
            "component=x, operation=Q, query_text=a\n2024-01-15T08:00:00Z: component=y, tx_id=2, status=SUCCESS",
            "component=x, operation=Q, query_text=a\n{\"@timestamp\":\"2024-01-15T08:00:00Z\",\"@log_type\":\"audit\"}, status=S",
        ] {
            assert!(is_ambiguous(forged), "{forged}");
        }
    }

    #[test]
    fn the_product_s_fields_are_found_behind_whatever_a_value_holds() {
        for forged in ["subject=admin, ", "status=SUCCESS, ", "k=v, "] {
            let query = forged.repeat(FIELDS_MAX + 10);
            let text =
                format!("component=x, subject=bob, query_text={query}a, status=ERROR, end_time=1, reason=denied");
            let parts = Parts::of_text(&text, Words::of(&text, false));
            let plain = |name| parts.get(name).map(|text| text.plain().into_owned());
            assert_eq!(plain(SUBJECT).as_deref(), Some("bob"));
            assert_eq!(plain(names::STATUS).as_deref(), Some("ERROR"));
            assert_eq!(plain(REASON).as_deref(), Some("denied"));
            assert!(parts.is_ambiguous);
        }
    }

    #[test]
    fn what_the_product_writes_is_not_flagged() {
        for text in [
            "component=grpc-proxy, subject=a@as, operation=Q, query_text=SELECT 1; status=SUCCESS, detailed_status=StatusSuccess, begin_tx=1, end_time=2025-11-03T18:07:39Z, grpc_method=a.b/c, sanitized_token=x.**",
            "component=monitoring, remote_address=::1, operation=HTTP REQUEST, method=POST, url=/a, params=b=c&d=e, body={\"a\":[1, 2]}, status=IN-PROCESS, reason=Execute",
            "component=bsc, operation=REPLACE CONFIG, old_config=a: 1\nb: 2, new_config=a: 2\nb: 3, status=SUCCESS",
            "component=schemeshard, subject={none}, operation=MODIFY ACL, paths=[/a, /b], status=SUCCESS, acl_add=[+R:a, -W:b], acl_remove=[+F:c]",
            "component=schemeshard, remote_address=ipv6:[::1], subject=a, operation=CREATE TABLE, status=ERROR, reason=Check failed: path: '/a', error: (id: [OwnerId: 7, LocalPathId: 3], type: x)",
        ] {
            assert!(!is_ambiguous(text), "{text}");
        }
    }

    #[test]
    fn a_list_is_split_where_an_element_begins() {
        let parts = Parts::of_text("component=x, acl_add=[+R:a, b, -(SR|DS):c], paths=[]", Words::default());
        let list = |name, begins: fn(&str) -> bool| -> Vec<String> {
            parts.list(name, begins).iter().map(|text| text.plain().into_owned()).collect()
        };
        assert_eq!(list(ACL_ADD, |rest| rest.starts_with(['+', '-'])), ["+R:a, b", "-(SR|DS):c"]);
        assert_eq!(list(PATHS, |_| true), Vec::<String>::new());
        assert_eq!(list(REASON, |_| true), Vec::<String>::new());
    }

    #[test]
    fn none_says_nothing_and_is_gone_once_it_was_asked_for() {
        let mut parts = Parts::of_text("component=x, subject={none}", Words::default());
        assert!(parts.get(SUBJECT).is_none());
        assert!(!parts.iter().any(|part| part.is_mapped));
        assert!(parts.map(SUBJECT).is_none());
        assert_eq!(parts.iter().filter(|part| !part.is_mapped).count(), 1);
    }
}

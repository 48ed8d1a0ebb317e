//! Records of the audit stream: named fields, as JSON or as text.
//!
//! The text form, `component=x, tx_id=1, ...`, escapes nothing: a value may contain commas, equals signs and line ends.
//! A field begins at a name that the stream is known to use. If a name comes twice, only one of the two can be the
//! field. A writer of values can put what looks like further fields into them: [`Parts::of_text`] says what is marked
//! ambiguous.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use crate::event::{Copies, Fault, Fields, Json, Reader, Text, Value};
use crate::family::marks::Marks;
use crate::family::ydb::form;
use crate::family::ydb::names::{self, NAME_MAX, NAMES, Name, alphanumeric_and};
use crate::family::ydb::words::{Words, alike};

/// What YDB writes for a missing value.
pub(super) const NONE: &str = "{none}";

/// The most fields that are read from a record. Records have a few dozen: this bounds the work that a value can cause.
const FIELDS_MAX: usize = 1000;

/// Most records have no more.
const USUAL_FIELDS: usize = 18;

/// In [`Parts::places`]: the record has no field of this name.
const NOWHERE: u32 = u32::MAX;

/// The fields of one record, in order.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    parts: Vec<Part<'a>>,
    /// For each known name, the index of its field in `parts`, or [`NOWHERE`].
    places: [u32; NAMES],
    /// Converts raw values of the text form to [`Text`] values.
    words: Words<'a>,
    /// Whether more than one reading was possible.
    pub(super) is_ambiguous: bool,
}

#[derive(Debug)]
pub(super) struct Part<'a> {
    /// The name as text, without escapes.
    name: Cow<'a, str>,
    /// The name, if the stream is known to use it.
    pub(super) known: Option<Name>,
    value: PartValue<'a>,
    pub(super) is_mapped: bool,
}

/// The value of a field.
#[derive(Clone, Copy, Debug)]
enum PartValue<'a> {
    Json(Json<'a>),
    /// A raw value of the text form.
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
        // If a name comes twice, its last value counts. `others` holds it by now.
        let unknown = parts.parts.iter_mut().filter(|part| part.known.is_none());
        for (part, field) in unknown.zip(others.iter()) {
            (part.name, part.value) = (field.key.clone(), PartValue::Json(field.value));
        }
        Ok(parts)
    }

    /// Reads the text form, without its time. If a name comes twice, one of the two is taken as the field.
    ///
    /// Marks the record ambiguous where a field may also be part of a value that untrusted writers set. These are: a
    /// field after a free one (unless YDB writes it there) and before the status, which every record has and which ends
    /// what a request says; a name that comes twice; a list without beginning or end; and a line in the text that could
    /// begin another record.
    pub(super) fn of_text(text: &'a str, words: Words<'a>) -> Self {
        let mut parts = Self::new(words);
        let places = places(text);
        // The start of the current value, and its field.
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
                // This is no field but part of a value. That is uncertain in a list, or if no free field precedes it.
                parts.is_ambiguous |= place.known.is_some() && (is_in_list || !had_free);
                continue;
            }
            if had_free && last.place_of(place.known, name) > index {
                // The last field of this name is YDB's own. This one is part of a value that untrusted writers may set.
                parts.is_ambiguous = true;
                continue;
            }
            match place.known {
                // After the status, there are no values of the request.
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

    /// The field's text. `None` if it is missing, empty or `{none}`.
    // Inlined because most names that are asked for are not in the record.
    #[inline(always)]
    pub(super) fn get(&self, name: Name) -> Option<Text<'a>> {
        self.parts.get(self.places[name.place()] as usize).and_then(|part| self.text(part))
    }

    /// As [`Parts::get`]. The field then counts as mapped, even if its value is `{none}`.
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

    /// The elements of a list, `[a, b]`. `begins` says whether the text after a `, ` begins an element.
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

    /// The field's value as it is copied into an event.
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
            // A borrowed name has nothing that JSON escapes.
            Cow::Borrowed(name) => Text::Escaped(name),
            Cow::Owned(name) => Text::from(name.clone()),
        }
    }
}

/// Whether the value begins like a list but does not end like one.
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

/// The elements of a list. `None` if the text is no list.
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

/// Whether a line of the text form has a free field, whose value may contain the beginning of another line.
pub(super) fn holds_free_value(line: &[u8]) -> bool {
    let is_free = |equals: usize| {
        let from = line[..equals].iter().rev().take(NAME_MAX).take_while(|byte| IS_LETTER[usize::from(**byte)]).count();
        let name = std::str::from_utf8(&line[equals - from..equals]).ok().and_then(Name::of);
        name.is_some_and(|name| name.is_free() && !name.is_on_one_line())
    };
    memchr::memchr_iter(b'=', line).any(is_free)
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
    /// Where the field before ends, if a field begins at this place.
    fn end(&self, text: &str) -> usize {
        match &text.as_bytes()[..self.from] {
            [] => 0,
            // The semicolon belongs to the value.
            [.., b';', _] => self.from - 1,
            _ => self.from - 2,
        }
    }
}

/// For each name, the index of its last place.
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

/// The names and values of the fields in the text after the time.
pub(super) fn fields(text: &str) -> Vec<(&str, &str)> {
    let parts = Parts::of_text(text, Words::of(text, false));
    let fields = parts.parts.into_iter().filter_map(|part| match (part.name, part.value) {
        (Cow::Borrowed(name), PartValue::Piece(value)) => Some((name, value)),
        _ => None,
    });
    fields.collect()
}

/// Whether names may contain the byte.
static IS_LETTER: [bool; 256] = alphanumeric_and(b"_@-");

/// The places where a field may begin: a name and an equals sign at the beginning, after `, `, or after `; ` where YDB
/// leaves out the comma. If there are very many, only the first ones and the last one of each known name: YDB's own
/// fields follow the text that a value contains.
fn places(text: &str) -> Vec<Place> {
    let bytes = text.as_bytes();
    let mut places = Vec::with_capacity(USUAL_FIELDS);
    let mut further: [Option<Place>; NAMES] = [None; NAMES];
    // Where the current word begins.
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

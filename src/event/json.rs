//! Reads JSON as tokens that point into the record, without building a tree.

use std::borrow::Cow;

use crate::event::text::{Text, hex4, unescape};
use crate::records::escaped::next_special;

/// One JSON value, as a slice of the text it was read from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Json<'a> {
    Null,
    Bool(bool),
    /// The digits as written, so that every number stays exact.
    Number(&'a str),
    /// The text between the quotes, escapes included.
    String(&'a str),
    /// The whole object, braces included.
    Object(&'a str),
    /// The whole array, brackets included.
    Array(&'a str),
}

/// Why a text is not JSON, or is JSON that is not accepted. Names the byte, never the content.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the JSON ends too soon, at byte {0}")]
    Ends(usize),
    #[error("no JSON at byte {0}")]
    Unexpected(usize),
    #[error("a control character stands unescaped at byte {0}")]
    Control(usize),
    #[error("JSON nested deeper than {DEPTH_MAX} at byte {0}")]
    Deep(usize),
    #[error("half a surrogate pair at byte {0}")]
    HalfSurrogate(usize),
    #[error("something follows the JSON at byte {0}")]
    Trailing(usize),
}

/// How deep objects and arrays may be nested.
const DEPTH_MAX: u8 = 127;

/// How deep an event may be nested: it puts values of its record into objects of its own.
const EVENT_DEPTH_MAX: u8 = DEPTH_MAX + 33;

/// Reads one JSON text from left to right.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: u8,
    depth_max: u8,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0, depth_max: DEPTH_MAX }
    }

    /// A reader for an event that this program wrote. Events are nested deeper than the records in them.
    pub(crate) const fn of_event(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0, depth_max: EVENT_DEPTH_MAX }
    }

    /// How many bytes of the text were read.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    /// The text that is not read yet.
    pub(crate) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The first byte of the next value, which tells its kind.
    #[inline(always)]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        match self.text.as_bytes().get(self.at) {
            Some(&byte) if byte > b' ' => Some(byte),
            _ => self.peek_after_space(),
        }
    }

    fn peek_after_space(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        self.at += rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.text.as_bytes().get(self.at).copied()
    }

    /// Reads an object. `member` is called for each member and must read its value. Keys come unescaped, in their
    /// order, and may repeat.
    pub(crate) fn object<F>(&mut self, mut member: F) -> Result<(), Fault>
    where
        F: FnMut(&mut Self, Cow<'a, str>) -> Result<(), Fault>,
    {
        self.enter(b'{')?;
        if self.peek() == Some(b'}') {
            return self.leave();
        }
        loop {
            let key = self.key()?;
            member(self, key)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => return self.leave(),
                other => return Err(self.unexpected(other)),
            }
        }
    }

    /// Reads an array. `element` is called for each element and must read it.
    pub(crate) fn array<F>(&mut self, mut element: F) -> Result<(), Fault>
    where
        F: FnMut(&mut Self) -> Result<(), Fault>,
    {
        self.enter(b'[')?;
        if self.peek() == Some(b']') {
            return self.leave();
        }
        loop {
            element(self)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => return self.leave(),
                other => return Err(self.unexpected(other)),
            }
        }
    }

    /// Reads any value.
    // Inlined for strings, which most values are.
    #[inline(always)]
    pub(crate) fn value(&mut self) -> Result<Json<'a>, Fault> {
        if self.peek() != Some(b'"') {
            return self.other_value();
        }
        self.at += 1;
        self.string().map(|(inside, _)| Json::String(inside))
    }

    fn other_value(&mut self) -> Result<Json<'a>, Fault> {
        match self.peek() {
            Some(b'{') => {
                let from = self.at;
                self.skip_object()?;
                Ok(Json::Object(self.slice(from)?))
            }
            Some(b'[') => {
                let from = self.at;
                self.array(|reader| reader.value().map(drop))?;
                Ok(Json::Array(self.slice(from)?))
            }
            Some(b'-' | b'0'..=b'9') => self.number().map(Json::Number),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            other => Err(self.unexpected(other)),
        }
    }

    /// Succeeds if only white space is left.
    pub(crate) fn end(&mut self) -> Result<(), Fault> {
        self.peek().map_or(Ok(()), |_| Err(Fault::Trailing(self.at)))
    }

    fn skip_object(&mut self) -> Result<(), Fault> {
        self.enter(b'{')?;
        if self.peek() == Some(b'}') {
            return self.leave();
        }
        loop {
            self.expect(b'"')?;
            self.string()?;
            self.expect(b':')?;
            self.value()?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => return self.leave(),
                other => return Err(self.unexpected(other)),
            }
        }
    }

    /// Reads a member's name and its colon. Returns the name unescaped.
    #[inline(always)]
    fn key(&mut self) -> Result<Cow<'a, str>, Fault> {
        self.expect(b'"')?;
        let (inside, escaped) = self.string()?;
        self.expect(b':')?;
        Ok(if escaped { unescape(inside) } else { Cow::Borrowed(inside) })
    }

    fn enter(&mut self, bracket: u8) -> Result<(), Fault> {
        self.expect(bracket)?;
        self.depth += 1;
        if self.depth > self.depth_max { Err(Fault::Deep(self.at)) } else { Ok(()) }
    }

    fn leave(&mut self) -> Result<(), Fault> {
        self.at += 1;
        self.depth -= 1;
        Ok(())
    }

    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        match self.peek() {
            Some(found) if found == byte => {
                self.at += 1;
                Ok(())
            }
            other => Err(self.unexpected(other)),
        }
    }

    const fn unexpected(&self, found: Option<u8>) -> Fault {
        match found {
            None => Fault::Ends(self.at),
            Some(_) => Fault::Unexpected(self.at),
        }
    }

    #[inline]
    fn slice(&self, from: usize) -> Result<&'a str, Fault> {
        self.text.get(from..self.at).ok_or(Fault::Unexpected(from))
    }

    /// Reads a string after its opening quote. Returns its inside, and whether that has escapes.
    #[inline(always)]
    fn string(&mut self) -> Result<(&'a str, bool), Fault> {
        let bytes = self.text.as_bytes();
        let from = self.at;
        let mut at = from;
        let mut escaped = false;
        loop {
            at = next_special(bytes, at);
            match bytes.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    let inside = self.text.get(from..at).ok_or(Fault::Unexpected(from))?;
                    return Ok((inside, escaped));
                }
                Some(b'\\') => {
                    escaped = true;
                    at += self.escape_length(at)?;
                }
                Some(_) => return Err(Fault::Control(at)),
                None => return Err(Fault::Ends(at)),
            }
        }
    }

    /// The length in bytes of the escape that begins at `at`.
    fn escape_length(&self, at: usize) -> Result<usize, Fault> {
        match self.text.as_bytes().get(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(2),
            Some(b'u') => match hex4(self.text, at + 2).ok_or(Fault::Unexpected(at))? {
                0xd800..=0xdbff => {
                    let follows = self.text.get(at + 6..at + 8) == Some("\\u")
                        && matches!(hex4(self.text, at + 8), Some(0xdc00..=0xdfff));
                    if follows { Ok(12) } else { Err(Fault::HalfSurrogate(at)) }
                }
                0xdc00..=0xdfff => Err(Fault::HalfSurrogate(at)),
                _ => Ok(6),
            },
            Some(_) => Err(Fault::Unexpected(at)),
            None => Err(Fault::Ends(at)),
        }
    }

    fn number(&mut self) -> Result<&'a str, Fault> {
        let from = self.at;
        self.pass(b'-');
        if !self.pass(b'0') {
            self.digits()?;
        }
        if self.pass(b'.') {
            self.digits()?;
        }
        if self.pass(b'e') || self.pass(b'E') {
            let _signed = self.pass(b'+') || self.pass(b'-');
            self.digits()?;
        }
        self.slice(from)
    }

    fn pass(&mut self, byte: u8) -> bool {
        let passes = self.text.as_bytes().get(self.at) == Some(&byte);
        self.at += usize::from(passes);
        passes
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let bytes = self.text.as_bytes();
        let from = self.at;
        while bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at > from { Ok(()) } else { Err(self.unexpected(bytes.get(self.at).copied())) }
    }

    fn word(&mut self, word: &str, value: Json<'a>) -> Result<Json<'a>, Fault> {
        let bytes = self.text.as_bytes();
        if bytes.get(self.at..self.at + word.len()) == Some(word.as_bytes()) {
            self.at += word.len();
            Ok(value)
        } else if word.as_bytes().starts_with(&bytes[self.at..]) {
            Err(Fault::Ends(bytes.len()))
        } else {
            Err(Fault::Unexpected(self.at))
        }
    }
}

impl<'a> Json<'a> {
    /// The value as the text of an attribute: a string's text, a number or boolean as written, an object or array as
    /// JSON text. `None` for null, and for strings that are empty or `-`.
    pub(crate) fn text(self) -> Option<Text<'a>> {
        let text = match self {
            Self::Null => return None,
            Self::Bool(true) => Text::from("true"),
            Self::Bool(false) => Text::from("false"),
            Self::Number(digits) => Text::Escaped(digits),
            Self::String(inside) => Text::Escaped(inside),
            Self::Object(whole) | Self::Array(whole) => Text::from(whole),
        };
        text.says_something().then_some(text)
    }

    /// Writes the value unchanged.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        let token = match self {
            Self::Null => "null",
            Self::Bool(true) => "true",
            Self::Bool(false) => "false",
            Self::Number(token) | Self::Object(token) | Self::Array(token) => token,
            Self::String(inside) => {
                out.push(b'"');
                out.extend_from_slice(inside.as_bytes());
                out.push(b'"');
                return;
            }
        };
        out.extend_from_slice(token.as_bytes());
    }

    /// A whole number, also if it stands in quotes or has a zero fraction, such as `200.0`.
    pub(crate) fn integer(self) -> Option<i64> {
        let (Self::Number(digits) | Self::String(digits)) = self else { return None };
        let fraction = || digits.split_once('.').filter(|(_, after)| after.bytes().all(|digit| digit == b'0'));
        digits.parse().ok().or_else(|| fraction().and_then(|(whole, _)| whole.parse().ok()))
    }
}

/// Replaces each half of a surrogate pair by the escape of U+FFFD. It is as long, so nothing else moves.
pub(crate) fn mend_surrogates(text: &str) -> String {
    let mut mended = String::with_capacity(text.len());
    let mut from = 0;
    while let Some(found) = memchr::memchr(b'\\', &text.as_bytes()[from..]) {
        let at = from + found;
        mended.push_str(&text[from..at]);
        let probe = Reader::new(text);
        let (piece, length) = match probe.escape_length(at) {
            Ok(length) => (text.get(at..at + length), length),
            Err(Fault::HalfSurrogate(_)) => (Some("\\ufffd"), 6),
            Err(_) => (Some("\\"), 1),
        };
        mended.push_str(piece.unwrap_or("\\"));
        from = (at + length).min(text.len());
    }
    mended.push_str(&text[from..]);
    mended
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::Fields;

    fn whole(text: &str) -> Result<Json<'_>, Fault> {
        let mut reader = Reader::new(text);
        let value = reader.value()?;
        reader.end()?;
        Ok(value)
    }

    /// Valid and damaged JSON.
    fn texts() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            "null|true|false|tru|nul",
            "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?",
            "[-+.e0-9]{1,5}",
            r#""([a-z "\\\\/bfnrtu0-9a-fd\x09é😀]|\\\\u[0-9a-fd]{4}|\\\\[nrt"]){0,12}""#,
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(|values| format!("[ {} ]", values.join(","))),
                prop::collection::vec(("[ab]{0,2}", inner), 0..4).prop_map(|members| {
                    let members: Vec<String> =
                        members.into_iter().map(|(key, value)| format!("\"{key}\" :\t{value}")).collect();
                    format!("{{{}}}", members.join(", "))
                }),
            ]
        })
    }

    proptest! {
        /// Compares this reader with serde_json, which was written independently.
        #[test]
        fn what_is_json_is_what_another_parser_takes(text in texts()) {
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            match whole(&text) {
                Ok(_) => prop_assert!(theirs.is_ok() || theirs.is_err_and(|error| error.to_string().contains("out of range"))),
                Err(_) => prop_assert!(theirs.is_err()),
            }
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in ".*", json in texts(), cut in 0usize..64) {
            let _ = whole(&text);
            let cut: String = json.chars().take(cut).collect();
            let _ = whole(&cut);
            let _ = whole(&mend_surrogates(&cut));
        }

        #[test]
        fn fields_are_those_that_another_parser_finds(text in texts()) {
            if let Ok(serde_json::Value::Object(theirs)) = serde_json::from_str(&text) {
                let ours = Fields::read(&mut Reader::new(&text)).unwrap();
                prop_assert_eq!(ours.len(), theirs.len());
                for field in ours.iter() {
                    let theirs = &theirs[&*field.key];
                    let plain = field.value.text().map(|text| text.plain().into_owned());
                    match theirs {
                        serde_json::Value::String(text) => prop_assert_eq!(plain.unwrap_or_default(), text.as_str()),
                        serde_json::Value::Null => prop_assert_eq!(plain, None),
                        _ => prop_assert!(plain.is_some()),
                    }
                }
            }
        }
    }

    #[test]
    fn half_a_surrogate_pair_is_told_and_mended_in_place() {
        let text = r#"{"a":"\ud83d\ude00 \ud800 \\ud800 \udfffx"}"#;
        assert_eq!(whole(text), Err(Fault::HalfSurrogate(19)));
        let mended = mend_surrogates(text);
        assert_eq!(mended, r#"{"a":"\ud83d\ude00 \ufffd \\ud800 \ufffdx"}"#);
        assert_eq!(mended.len(), text.len());
        assert!(whole(&mended).is_ok());
    }

    #[test]
    fn of_a_key_that_stands_twice_the_last_value_holds_however_many_there_are() {
        for count in [3, 41, 42, 43, 44, 64, 65, 255, 256, 500] {
            let members: Vec<String> = (0..count).map(|n| format!("\"k{n}\":{n}")).collect();
            let text = format!("{{{},\"k1\":\"last\",\"k{}\":\"later\"}}", members.join(","), count - 1);
            let fields = Fields::read(&mut Reader::new(&text)).unwrap();
            assert_eq!(fields.len(), count);
            assert_eq!(fields.get("k1"), Some(Json::String("last")));
            assert_eq!(fields.get(&format!("k{}", count - 1)), Some(Json::String("later")));
            assert_eq!(fields.get("k0"), Some(Json::Number("0")));
            assert_eq!(fields.get("none"), None);
        }
    }

    #[test]
    fn a_whole_number_is_one_however_it_is_written() {
        for (json, expected) in [
            (Json::Number("200"), Some(200)),
            (Json::Number("200.0"), Some(200)),
            (Json::String("-200.00"), Some(-200)),
            (Json::Number("200.5"), None),
            (Json::Number("2e2"), None),
            (Json::String(".0"), None),
            (Json::String("x.0"), None),
            (Json::Bool(true), None),
        ] {
            assert_eq!(json.integer(), expected, "{json:?}");
        }
    }

    #[test]
    fn depth_has_a_limit() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(whole(&nested(127)).is_ok());
        assert_eq!(whole(&nested(128)), Err(Fault::Deep(128)));
        assert_eq!(whole(&"[".repeat(1_000_000)), Err(Fault::Deep(128)));
    }
}

//! Text on its way from a record into an event, and how it is written as JSON.

use std::borrow::Cow;

use crate::records::escaped::write_escaped;

/// A piece of text, borrowed wherever the record holds it.
#[derive(Clone, Debug)]
pub enum Text<'a> {
    /// The text itself.
    Plain(Cow<'a, str>),
    /// The inside of a JSON string, copied unchanged. Its escapes are valid.
    Escaped(&'a str),
}

impl<'a> Text<'a> {
    /// A literal of the program that needs no escaping.
    pub const fn word(word: &'static str) -> Self {
        Self::Escaped(word)
    }

    /// The text, unescaped.
    pub fn plain(&self) -> Cow<'_, str> {
        match self {
            Self::Plain(text) => Cow::Borrowed(text),
            Self::Escaped(inside) => unescape(inside),
        }
    }

    /// The text as a slice of the record. `None` if it has escapes or is a copy.
    pub fn borrowed(&self) -> Option<&'a str> {
        match self {
            Self::Plain(Cow::Borrowed(text)) => Some(text),
            Self::Escaped(inside) if !self.has_escapes() => Some(inside),
            Self::Plain(Cow::Owned(_)) | Self::Escaped(_) => None,
        }
    }

    /// Whether the text, unescaped, equals `word`.
    #[inline]
    pub fn is(&self, word: &str) -> bool {
        match self {
            Self::Plain(text) => text == word,
            Self::Escaped(inside) => match (inside.as_bytes().first(), word.as_bytes().first()) {
                (Some(b'\\'), _) => unescape(inside) == word,
                (first, wanted) if first != wanted => false,
                // An escape is longer than its character; few texts have any.
                _ if inside.len() > word.len() => self.has_escapes() && unescape(inside) == word,
                _ => *inside == word && !self.has_escapes(),
            },
        }
    }

    fn has_escapes(&self) -> bool {
        matches!(self, Self::Escaped(inside) if memchr::memchr(b'\\', inside.as_bytes()).is_some())
    }

    pub fn is_empty(&self) -> bool {
        self.as_held().is_empty()
    }

    /// Whether the text is neither empty nor `-`, which logs write for an absent value.
    pub fn says_something(&self) -> bool {
        !matches!(self.as_held(), "" | "-")
    }

    /// The text in the form in which it is held, possibly with escapes: never shorter than the unescaped text.
    pub fn as_held(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Escaped(inside) => inside,
        }
    }

    /// The text as the inside of a JSON string.
    pub fn into_escaped(self) -> String {
        let mut inside = Vec::new();
        self.write_inside(&mut inside);
        String::from_utf8_lossy(&inside).into_owned()
    }

    /// Writes the text as the inside of a JSON string, without quotes.
    pub fn write_inside(&self, out: &mut Vec<u8>) {
        match self {
            Self::Plain(text) => write_escaped(out, text),
            Self::Escaped(inside) => out.extend_from_slice(inside.as_bytes()),
        }
    }

    /// Writes the text as a JSON string, and the comma that follows it in a list or object.
    pub(crate) fn write_element(&self, out: &mut Vec<u8>) {
        self.write(out);
        out.push(b',');
    }

    /// Writes the text as a JSON string.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        self.write_inside(out);
        out.push(b'"');
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self::Plain(Cow::Borrowed(text))
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self::Plain(Cow::Owned(text))
    }
}

impl<'a> From<Cow<'a, str>> for Text<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        Self::Plain(text)
    }
}

/// The text that the inside of a JSON string stands for. Half a surrogate pair becomes U+FFFD.
pub(crate) fn unescape(inside: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', inside.as_bytes()).is_none() {
        return Cow::Borrowed(inside);
    }
    let mut text = String::with_capacity(inside.len());
    let mut rest = inside;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        text.push_str(&rest[..at]);
        let (character, length) = escape(&rest[at..]);
        text.push(character);
        rest = rest.get(at + length..).unwrap_or_default();
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// The character that the escape at the beginning of `text` stands for, and the escape's length in bytes.
fn escape(text: &str) -> (char, usize) {
    let simple = match text.as_bytes().get(1) {
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'u') => return unicode_escape(text),
        Some(&other @ (b'"' | b'\\' | b'/')) => char::from(other),
        _ => return (char::REPLACEMENT_CHARACTER, 1),
    };
    (simple, 2)
}

fn unicode_escape(text: &str) -> (char, usize) {
    let Some(high) = hex4(text, 2) else { return (char::REPLACEMENT_CHARACTER, 2) };
    if let Some(character) = char::from_u32(high) {
        return (character, 6);
    }
    if (0xd800..0xdc00).contains(&high)
        && text.get(6..8) == Some("\\u")
        && let Some(low @ 0xdc00..=0xdfff) = hex4(text, 8)
        && let Some(character) = char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))
    {
        return (character, 12);
    }
    (char::REPLACEMENT_CHARACTER, 6)
}

/// The number that the four hexadecimal digits at `at` make.
pub(crate) fn hex4(text: &str, at: usize) -> Option<u32> {
    let digits = text.get(at..at + 4)?;
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_the_word_that_its_escapes_stand_for() {
        assert!(Text::Escaped("path").is("path") && Text::from("path").is("path"));
        assert!(Text::Escaped(r"p\u0061th").is("path") && Text::Escaped(r"a\\b").is(r"a\b"));
        assert!(!Text::Escaped("paths").is("path") && !Text::Escaped("pat").is("path"));
        assert!(!Text::Escaped(r"\n").is(r"\n") && Text::from(r"\n").is(r"\n"));
    }

    #[test]
    fn an_escaped_text_reads_as_what_it_stands_for() {
        assert_eq!(unescape("plain"), "plain");
        assert_eq!(unescape(r#"a\"b\\c\/d\n\r\t\b\f"#), "a\"b\\c/d\n\r\t\u{8}\u{c}");
        assert_eq!(unescape(r"\u00e9\ud83d\ude00"), "\u{e9}\u{1f600}");
        assert_eq!(unescape(r"\ud83d x \ude00"), "\u{fffd} x \u{fffd}");
        assert_eq!(unescape(r"end\"), "end\u{fffd}");
    }
}

//! Reads protobuf text on one line: finds its end, and the few fields that describe an operation.

use std::borrow::Cow;

use crate::family::marks::Marks;

/// The message of an operation on users and groups.
const ALTER_LOGIN: &str = "AlterLogin";

/// Fields of the message of an operation that name its object.
const OBJECT_NAMES: &[&str] = &["Name", "TableName"];

/// A request, read up to its end.
#[derive(Clone, Debug, Default)]
pub(super) struct Proto<'a> {
    /// The whole request.
    pub(super) text: &'a str,
    working_dir: Option<&'a str>,
    name: Option<&'a str>,
    /// Field names and values of an operation on users and groups.
    logins: Vec<(&'a str, &'a str)>,
}

/// The text ends within a string or message, or is no request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unreadable;

impl<'a> Proto<'a> {
    /// Reads the request at the beginning of `text`. Outside of strings and messages, `ends` is called with the text
    /// after the last one and may return how many bytes of it still belong to the request; otherwise the request ends
    /// with `text`. A request has no comma outside of strings.
    pub(super) fn read(text: &'a str, ends: impl Fn(&str) -> Option<usize>) -> Result<Self, Unreadable> {
        let bytes = text.as_bytes();
        let mut proto = Proto::default();
        // The name of the message at depth 1, and the current depth.
        let (mut outer, mut depth) = ("", 0_usize);
        // How far the text was read, and where the open string begins.
        let (mut at, mut string) = (0, None);
        for found in Marks::of([b'"', b'\\', b'{', b'}'], bytes) {
            if found < at {
                continue;
            }
            if let Some(from) = string {
                match bytes[found] {
                    b'\\' => at = found + 2,
                    b'"' => {
                        proto.string(outer, depth, &text[..from], &text[from + 1..found]);
                        (at, string) = (found + 1, None);
                    }
                    _ => {}
                }
                continue;
            }
            if bytes[found] == b'\\' {
                continue;
            }
            if let Some(between) = text.get(at..found) {
                if depth == 0
                    && let Some(end) = ends(between)
                {
                    return proto.until(text, at, end);
                }
                if has_comma(between) {
                    return Err(Unreadable);
                }
            }
            match bytes[found] {
                b'"' => string = Some(found),
                b'{' => {
                    depth += 1;
                    if depth == 1 {
                        outer = word_before(&text[..found]);
                    }
                }
                _ => depth = depth.checked_sub(1).ok_or(Unreadable)?,
            }
            at = found + 1;
        }
        if string.is_some() || depth > 0 {
            return Err(Unreadable);
        }
        let rest = text.get(at..).unwrap_or_default();
        let end = ends(rest).unwrap_or(rest.len());
        proto.until(text, at, end)
    }

    /// Ends the request `end` bytes behind its last string or message, which ends at `at`.
    fn until(self, text: &'a str, at: usize, end: usize) -> Result<Self, Unreadable> {
        let end = at + end;
        let is_clear = text.get(at..end).is_none_or(|rest| !has_comma(rest));
        if is_clear { Ok(Self { text: &text[..end], ..self }) } else { Err(Unreadable) }
    }

    /// Keeps the string if its field is needed. `before` is the text before its opening quote.
    fn string(&mut self, outer: &str, depth: usize, before: &'a str, value: &'a str) {
        match depth {
            0 if self.working_dir.is_none() && word_before(before) == "WorkingDir" => self.working_dir = Some(value),
            1 if self.name.is_none() && OBJECT_NAMES.contains(&word_before(before)) => self.name = Some(value),
            2 if outer == ALTER_LOGIN => self.logins.push((word_before(before), value)),
            _ => {}
        }
    }

    /// Text in the place of a request that cannot be read as one.
    pub(super) fn unread(text: &'a str) -> Self {
        Self { text, ..Self::default() }
    }

    /// The path of the object. `None` if the request lacks its directory or name.
    pub(super) fn path(&self) -> Option<Path<'a>> {
        Some(Path { directory: unescape(self.working_dir?), name: unescape(self.name?) })
    }

    /// The value of the first field with one of these names in an operation on users or groups.
    pub(super) fn login(&self, names: &[&str]) -> Option<Cow<'a, str>> {
        self.logins.iter().find(|(field, _)| names.contains(field)).map(|(_, value)| unescape(value))
    }
}

fn has_comma(text: &str) -> bool {
    memchr::memchr(b',', text.as_bytes()).is_some()
}

/// The path of an object, in two pieces.
#[derive(Debug)]
pub(super) struct Path<'a> {
    directory: Cow<'a, str>,
    name: Cow<'a, str>,
}

impl Path<'_> {
    /// The text after the path. `None` if the text does not begin with the path.
    pub(super) fn strip_from<'t>(&self, text: &'t str) -> Option<&'t str> {
        let name = match self.directory.as_ref() {
            "" => text,
            directory => text.strip_prefix(directory.trim_end_matches('/'))?.strip_prefix('/')?,
        };
        name.strip_prefix(self.name.as_ref())
    }
}

/// The name before a value or message: `Name: ` or `Name `.
fn word_before(before: &str) -> &str {
    let bytes = before.as_bytes();
    let mut end = bytes.len();
    while end > 0 && matches!(bytes[end - 1], b' ' | b':') {
        end -= 1;
    }
    let mut from = end;
    while from > 0 && (bytes[from - 1].is_ascii_alphanumeric() || bytes[from - 1] == b'_') {
        from -= 1;
    }
    &before[from..end]
}

/// Undoes the escapes of C: `\n`, `\"`, `\303`. Invalid UTF-8 in the result becomes U+FFFD.
pub(super) fn unescape(inside: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', inside.as_bytes()).is_none() {
        return Cow::Borrowed(inside);
    }
    let mut bytes = Vec::with_capacity(inside.len());
    let mut rest = inside.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first != b'\\' {
            bytes.push(first);
            rest = after;
            continue;
        }
        let digits = after.iter().take(3).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
        let (byte, length) = match after.first() {
            Some(b'0'..=b'7') => {
                let number = after[..digits].iter().fold(0_u16, |number, digit| number * 8 + u16::from(digit - b'0'));
                (u8::try_from(number & 0xff).unwrap_or(b'?'), digits)
            }
            Some(b'n') => (b'\n', 1),
            Some(b'r') => (b'\r', 1),
            Some(b't') => (b'\t', 1),
            Some(other) => (*other, 1),
            None => (b'\\', 0),
        };
        bytes.push(byte);
        rest = &after[length..];
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(text: &str) -> Option<usize> {
        text.find(", operation: ")
    }

    #[test]
    fn a_request_ends_outside_of_its_strings_and_messages_only() {
        let text = r#"WorkingDir: "/Root" Backup { TableName: "t" Description: "x, operation: \"DROP\" }" } F: 1, operation: X"#;
        let proto = Proto::read(text, ends).unwrap();
        assert_eq!(proto.text, &text[..text.len() - ", operation: X".len()]);
        assert_eq!(proto.path().unwrap().strip_from("/Root/t, no path"), Some(", no path"));
        assert_eq!(proto.path().unwrap().strip_from("/Root//t"), None);
    }

    #[test]
    fn what_breaks_off_or_has_fields_of_the_line_is_no_request() {
        for text in [r#"A: "x"#, r#"A: "x\"#, "A { B: 1", "A { } }", "A, add access: +R:x", "A { B: 1, C: 2 }"] {
            assert_eq!(Proto::read(text, ends).unwrap_err(), Unreadable, "{text}");
        }
    }

    #[test]
    fn names_are_read_with_their_escapes_undone() {
        let text = r#"WorkingDir: "" OperationType: X MkDir { Name: "o\'b\303\251\n\\" Inner { Name: "no" } }"#;
        assert_eq!(Proto::read(text, ends).unwrap().path().unwrap().strip_from("o'b\u{e9}\n\\"), Some(""));
        let text = r#"WorkingDir: "/Root" AlterLogin { AddGroupMembership { Group: "g" Member: "m" } }"#;
        let proto = Proto::read(text, ends).unwrap();
        assert!(proto.path().is_none());
        assert_eq!(proto.login(&["Member"]).unwrap(), "m");
        assert_eq!(proto.login(&["User"]), None);
    }
}

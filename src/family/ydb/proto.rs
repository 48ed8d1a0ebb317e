//! Protobuf as text on one line: where it ends, and the few of its fields that an operation is told by.

use std::borrow::Cow;

/// How deep messages may stand in each other; deeper ones are passed over unread.
const DEPTH_MAX: usize = 32;

/// Fields of the message of an operation that name its object.
const OBJECT_NAMES: &[&str] = &["Name", "TableName"];

/// A request as it was read up to its end.
#[derive(Clone, Debug, Default)]
pub(super) struct Proto<'a> {
    /// The whole request.
    pub(super) text: &'a str,
    working_dir: Option<&'a str>,
    name: Option<&'a str>,
    /// What is to be done with users and groups, and the fields that say with which.
    logins: Vec<(&'a str, &'a str)>,
}

/// The request breaks off in a string or message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BreaksOff;

impl<'a> Proto<'a> {
    /// Reads the request at the beginning of `text`, up to the first place outside of strings and messages where `ends`
    /// says so, or else to the end of `text`. `ends` gets what follows the last string or message, and answers with a
    /// number of bytes.
    pub(super) fn read(text: &'a str, ends: impl Fn(&str) -> Option<usize>) -> Result<Self, BreaksOff> {
        let bytes = text.as_bytes();
        let mut proto = Proto::default();
        let mut stack: Vec<&str> = Vec::new();
        let mut depth = 0;
        let mut at = 0;
        loop {
            let next = memchr::memchr3(b'"', b'{', b'}', &bytes[at..]).map(|found| at + found);
            if depth == 0
                && let Some(end) = text.get(at..next.unwrap_or(text.len())).and_then(&ends)
            {
                proto.text = &text[..at + end];
                return Ok(proto);
            }
            let Some(found) = next else { break };
            match bytes[found] {
                b'{' => {
                    depth += 1;
                    if depth <= DEPTH_MAX {
                        stack.push(word_before(text, found));
                    }
                    at = found + 1;
                }
                b'}' => {
                    depth = depth.checked_sub(1).ok_or(BreaksOff)?;
                    stack.truncate(depth);
                    at = found + 1;
                }
                _ => {
                    let end = string_end(bytes, found + 1).ok_or(BreaksOff)?;
                    proto.string(&stack, depth, word_before(text, found), &text[found + 1..end]);
                    at = end + 1;
                }
            }
        }
        if depth > 0 {
            return Err(BreaksOff);
        }
        proto.text = text;
        Ok(proto)
    }

    fn string(&mut self, stack: &[&'a str], depth: usize, field: &'a str, value: &'a str) {
        match (depth, stack) {
            (0, _) if field == "WorkingDir" => self.working_dir = self.working_dir.or(Some(value)),
            (1, _) if OBJECT_NAMES.contains(&field) => self.name = self.name.or(Some(value)),
            (2, ["AlterLogin", _]) => self.logins.push((field, value)),
            _ => {}
        }
    }

    /// The path of the object: directory and name.
    pub(super) fn path(&self) -> Option<Cow<'a, str>> {
        let (dir, name) = (unescape(self.working_dir?), unescape(self.name?));
        Some(if dir.is_empty() { name } else { Cow::Owned([dir.trim_end_matches('/'), "/", &name].concat()) })
    }

    /// A field of the operation on users or groups.
    pub(super) fn login(&self, names: &[&str]) -> Option<Cow<'a, str>> {
        self.logins.iter().find(|(field, _)| names.contains(field)).map(|(_, value)| unescape(value))
    }
}

/// The name before a value or message: `Name: "` or `Name {`.
fn word_before(text: &str, at: usize) -> &str {
    let before = text[..at].trim_end_matches([' ', ':']);
    let length = before.bytes().rev().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
    &before[before.len() - length..]
}

/// Where the quote is that ends the string.
fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// Undoes the escapes of C: `\n`, `\"`, `\303`. Bytes that are no UTF-8 then become U+FFFD.
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
        assert_eq!(proto.path().unwrap(), "/Root/t");
    }

    #[test]
    fn a_request_that_breaks_off_is_none() {
        for text in [r#"A: "x"#, r#"A: "x\"#, "A { B: 1", "A { } }"] {
            assert_eq!(Proto::read(text, ends).unwrap_err(), BreaksOff, "{text}");
        }
    }

    #[test]
    fn names_are_read_with_their_escapes_undone() {
        let text = r#"WorkingDir: "" OperationType: X MkDir { Name: "o\'b\303\251\n\\" Inner { Name: "no" } }"#;
        assert_eq!(Proto::read(text, ends).unwrap().path().unwrap(), "o'b\u{e9}\n\\");
        let text = r#"WorkingDir: "/Root" AlterLogin { AddGroupMembership { Group: "g" Member: "m" } }"#;
        let proto = Proto::read(text, ends).unwrap();
        assert_eq!(proto.path(), None);
        assert_eq!(proto.login(&["Member"]).unwrap(), "m");
        assert_eq!(proto.login(&["User"]), None);
    }
}

//! Rewrites content in which JSON values span several lines or form one list: each value gets a line of its own.

use std::io::{self, Read};

/// Bytes read at a time from content that is rewritten.
const BLOCK_BYTES: usize = 64 << 10;

/// How many bytes are read to decide whether content is rewritten.
const BEGINNING_BYTES: usize = 256;

/// A reader of content that is rewritten if it begins with a list of JSON values, or with a bracket alone on its line.
/// Each element, or each value, is put on one line. Other content passes unchanged. Only the first bytes decide, so a
/// list that grows only adds content at the end.
///
/// A list's element that is a string is put into a list of its own. Text between lists that is no JSON stays on its
/// line. A line end inside a string is damage and ends the value.
pub(crate) struct Elements<R> {
    source: R,
    beginning: Vec<u8>,
    /// `None` until the first bytes have decided; `Some(None)` if the content passes unchanged.
    rewriting: Option<Option<Box<Rewriting>>>,
}

impl<R: Read> Elements<R> {
    pub(crate) const fn of(source: R) -> Self {
        Self { source, beginning: Vec::new(), rewriting: None }
    }

    fn begin(&mut self) -> io::Result<()> {
        let mut room = [0; BEGINNING_BYTES];
        while self.beginning.len() < BEGINNING_BYTES {
            match self.source.read(&mut room[..BEGINNING_BYTES - self.beginning.len()]) {
                Ok(0) => break,
                Ok(count) => self.beginning.extend_from_slice(&room[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let rewriting = begins_over_lines(&self.beginning).then(|| {
            let mut rewriting = Box::<Rewriting>::default();
            rewriting.take(&std::mem::take(&mut self.beginning));
            rewriting
        });
        self.rewriting = Some(rewriting);
        Ok(())
    }
}

impl<R: Read> Read for Elements<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.rewriting.is_none() {
            self.begin()?;
        }
        let Some(Some(rewriting)) = &mut self.rewriting else {
            if self.beginning.is_empty() {
                return self.source.read(into);
            }
            let count = self.beginning.len().min(into.len());
            into[..count].copy_from_slice(&self.beginning[..count]);
            self.beginning.drain(..count);
            return Ok(count);
        };
        while !into.is_empty() {
            let count = rewriting.give(into);
            if count > 0 {
                return Ok(count);
            }
            let mut block = std::mem::take(&mut rewriting.block);
            block.resize(BLOCK_BYTES, 0);
            let read = self.source.read(&mut block);
            rewriting.take(&block[..*read.as_ref().unwrap_or(&0)]);
            rewriting.block = block;
            if read? == 0 {
                break;
            }
        }
        Ok(0)
    }
}

/// Whether `beginning` starts a list of JSON values, or has a bracket alone on its first line.
fn begins_over_lines(beginning: &[u8]) -> bool {
    let content = beginning.strip_prefix(b"\xef\xbb\xbf").unwrap_or(beginning).trim_ascii_start();
    let Some((bracket, rest)) = content.split_first() else { return false };
    let next = rest.trim_ascii_start().first();
    match bracket {
        b'[' => matches!(next, Some(b'{' | b'[' | b'"' | b']')),
        b'{' => {
            let line_end = rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\r'));
            line_end.is_some_and(|at| rest[at] == b'\n') && matches!(next, Some(b'"'))
        }
        _ => false,
    }
}

/// What the next byte of the JSON belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum At {
    /// Between values.
    #[default]
    Between,
    /// In an object or list.
    Container,
    /// In a string.
    Text,
    /// After a backslash in a string.
    Escape,
    /// In a number, a literal, or text that is no JSON.
    Other,
}

#[derive(Default)]
struct Rewriting {
    at: At,
    /// Whether the values are elements of a list.
    is_in_list: bool,
    /// The number of open brackets of the value.
    depth: usize,
    out: Vec<u8>,
    given: usize,
    /// The buffer for reading the source.
    block: Vec<u8>,
}

impl Rewriting {
    fn give(&mut self, into: &mut [u8]) -> usize {
        let rest = &self.out[self.given..];
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        self.given += count;
        count
    }

    fn take(&mut self, bytes: &[u8]) {
        self.out.clear();
        self.given = 0;
        for byte in bytes {
            match self.at {
                At::Between => self.between(*byte),
                At::Container => self.container(*byte),
                At::Text => self.text(*byte),
                At::Escape => {
                    self.out.push(*byte);
                    self.at = At::Text;
                }
                At::Other => self.other(*byte),
            }
        }
    }

    fn between(&mut self, byte: u8) {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' | b',' | 0xef | 0xbb | 0xbf => {}
            b'[' if !self.is_in_list => self.is_in_list = true,
            b']' if self.is_in_list => self.is_in_list = false,
            b'{' | b'[' => {
                self.out.push(byte);
                self.depth = 1;
                self.at = At::Container;
            }
            b'"' if self.is_in_list => {
                self.out.extend_from_slice(b"[\"");
                self.at = At::Text;
            }
            _ => {
                self.out.push(byte);
                self.at = At::Other;
            }
        }
    }

    fn container(&mut self, byte: u8) {
        match byte {
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth -= 1,
            b'"' => self.at = At::Text,
            _ => {}
        }
        self.out.push(if matches!(byte, b'\r' | b'\n') { b' ' } else { byte });
        if self.depth == 0 {
            self.end();
        }
    }

    fn text(&mut self, byte: u8) {
        match byte {
            // A JSON string cannot contain a line end.
            b'\n' => return self.end(),
            b'\\' => self.at = At::Escape,
            b'"' if self.depth == 0 => {
                self.out.extend_from_slice(b"\"]");
                return self.end();
            }
            b'"' => self.at = At::Container,
            _ => {}
        }
        self.out.push(byte);
    }

    fn other(&mut self, byte: u8) {
        match byte {
            b'\n' => self.end(),
            b',' if self.is_in_list => self.end(),
            b']' if self.is_in_list => {
                self.end();
                self.is_in_list = false;
            }
            _ => self.out.push(byte),
        }
    }

    /// Ends the value.
    fn end(&mut self) {
        self.out.push(b'\n');
        self.depth = 0;
        self.at = At::Between;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time, and at every second call `WouldBlock`.
    struct Late<'a>(&'a [u8], bool);

    impl Read for Late<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            match (self.1, self.0.split_first()) {
                (true, _) => Err(io::ErrorKind::WouldBlock.into()),
                (false, Some((first, rest))) => {
                    into[0] = *first;
                    self.0 = rest;
                    Ok(1)
                }
                (false, None) => Ok(0),
            }
        }
    }

    fn lines(content: &str) -> String {
        let mut whole = String::new();
        Elements::of(content.as_bytes()).read_to_string(&mut whole).unwrap();
        let (mut late, mut slow) = (Elements::of(Late(content.as_bytes(), false)), Vec::new());
        let mut room = [0; 3];
        loop {
            match late.read(&mut room) {
                Ok(0) => break,
                Ok(count) => slow.extend_from_slice(&room[..count]),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        assert_eq!(slow, whole.as_bytes());
        whole
    }

    #[test]
    fn each_value_of_a_list_and_each_that_stands_over_lines_has_a_line() {
        for (content, expected) in [
            ("[{\"a\":1},{\"b\":[2]}]", "{\"a\":1}\n{\"b\":[2]}\n"),
            ("\u{feff}[\n  {\"a\": 1},\n  {\"b\":\r\n \"x]}\\\"\"}\n]\n", "{\"a\": 1}\n{\"b\":   \"x]}\\\"\"}\n"),
            ("[\"x\\ny\", \"z\"]", "[\"x\\ny\"]\n[\"z\"]\n"),
            ("[[1, {\"a\":1}]]\n[{\"b\":2}]", "[1, {\"a\":1}]\n{\"b\":2}\n"),
            ("{\n \"a\": {\n}\n}\n{\n \"b\": 1 }", "{  \"a\": { } }\n{  \"b\": 1 }\n"),
            ("[{\"a\":1}]\nnot JSON\n{\"b\":2}\n", "{\"a\":1}\nnot JSON\n{\"b\":2}\n"),
            ("[{\"a\":\"torn\n{\"b\":2},{\"c\":3}]", "{\"a\":\"torn\n{\"b\":2}\n{\"c\":3}\n"),
            ("[{\"a\":1},{\"b\":", "{\"a\":1}\n{\"b\":"),
            ("[{\"a\":1}, 2, null]", "{\"a\":1}\n2\nnull\n"),
            ("[]", ""),
        ] {
            assert_eq!(lines(content), expected, "{content}");
        }
    }

    #[test]
    fn other_content_stays_as_it_is() {
        for content in ["", "{\"a\":\n1}", "{\"a\":1}\n[{\"b\":2}]\n", "[INFO] starting\n", "{", "{\n", "\n\n{}", "x"] {
            assert_eq!(lines(content), content);
        }
    }
}

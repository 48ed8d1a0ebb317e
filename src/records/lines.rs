//! Splits content into records by its lines, a block at a time, in bounded memory.

use std::io::{self, Read};

use crate::records::block::Block;
use crate::records::marks::{BYTE_ORDER_MARK, marks};
use crate::records::pass::{Buffered, Ended, Pass, Skipped, Span};
use crate::records::{Role, STREAMS};
use crate::room::{Room, Taken};

/// Content read at a time, in bytes.
pub(crate) const BLOCK_BYTES: usize = 256 << 10;

/// A line longer than a block is charged this many times its length: the line itself, and its encoded copies while they
/// grow.
pub(crate) const LONG_LINE_COPIES: usize = 3;

/// Why the next block of lines could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LinesError {
    /// The last record before the start has grown, so it is another record now. Read again from the content's
    /// beginning.
    #[error("the last known line has grown")]
    LastLineGrew,
    #[error(transparent)]
    Source(#[from] io::Error),
}

/// Where in the content the reading begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    Beginning,
    /// After `content_records` records and `content_bytes` bytes of content, the last of which was `last_byte`.
    After {
        content_records: u64,
        content_bytes: u64,
        last_byte: u8,
    },
}

/// Splits content into records by its lines.
///
/// Lines of several streams may alternate; a line of one stream never belongs to a record of another. Records that
/// therefore overlap have the same `end_offset`, and are given in the order of their beginnings.
///
/// Takes memory for the longest line allowed and one block. A record of several lines, and overlapping records together,
/// are at most as long as one line may be. Where they would become longer, they end, and the next line is classified
/// without an open record.
pub struct Lines {
    role: Role,
    line_bytes_max: usize,
    block_bytes: usize,
    /// Where the first block begins. `None` after the first block was returned.
    start: Option<Start>,
    /// `buffer[given..filled]` has been read but not yet returned in a block.
    buffer: Vec<u8>,
    given: usize,
    filled: usize,
    source_ended: bool,
    /// Content bytes before `given`.
    offset: u64,
    next_ordinal: u64,
    /// Content offset from which on lines that are no audit records are counted.
    others_from: u64,
    /// Members of a shipper's object that hold lines, as in [`Around`](crate::records::Around).
    members: Vec<String>,
    /// Per stream: whether a record so far holds a value that later records may be part of.
    free: [bool; STREAMS],
    spans: Vec<Span>,
    shown: Shown,
    skipping: Option<Skipped>,
    room: Room,
    /// The memory taken for a buffer that is longer than a block.
    taken: Taken,
}

impl Lines {
    /// Splits the content from `start` on into records, classifying its lines by `role`. `line_bytes_max` does not
    /// count the line end. `role` may answer `Continues` only if a record is open.
    pub fn new(role: Role, line_bytes_max: usize, start: Start) -> Self {
        let (next_ordinal, offset) = match start {
            Start::Beginning => (0, 0),
            Start::After { content_records, content_bytes, .. } => (content_records, content_bytes),
        };
        Self {
            role,
            line_bytes_max,
            block_bytes: BLOCK_BYTES,
            start: Some(start),
            buffer: vec![0; BLOCK_BYTES],
            given: 0,
            filled: 0,
            source_ended: false,
            offset,
            next_ordinal,
            others_from: 0,
            members: Vec::new(),
            free: [false; STREAMS],
            spans: Vec::new(),
            shown: Shown::default(),
            skipping: None,
            room: Room::default(),
            taken: Taken::default(),
        }
    }

    /// Takes the memory for lines longer than a block from `room`, and waits for it.
    pub fn in_room(self, room: Room) -> Self {
        Self { taken: room.nothing(), room, ..self }
    }

    /// Sets members of a shipper's object that hold lines, besides the usual ones.
    pub fn with_members(self, members: &[String]) -> Self {
        Self { members: members.to_vec(), ..self }
    }

    /// Counts lines that are no audit records only from this content offset on. Those before it were counted by an
    /// earlier reading.
    pub fn counting_others_from(self, others_from: u64) -> Self {
        Self { others_from, ..self }
    }

    /// Reads the next block; `None` at the end of the content. Combines [`advance`](Self::advance) and
    /// [`block`](Self::block).
    ///
    /// # Errors
    /// As `advance`.
    pub fn next_block(&mut self, source: &mut impl Read) -> Result<Option<Block<'_>>, LinesError> {
        Ok(self.advance(source)?.then(|| self.block()))
    }

    /// Reads the next block, for [`block`](Self::block) to return. Returns false at the end of the content. `source`
    /// gives the content's bytes in order, from the start on. If it has no bytes yet, or there is no memory for a long
    /// line, the error is [`WouldBlock`](io::ErrorKind::WouldBlock): call again, nothing is lost.
    ///
    /// # Errors
    /// `LastLineGrew` for the first block after a start in the middle of the content; `Source` if `source` fails.
    pub fn advance(&mut self, source: &mut impl Read) -> Result<bool, LinesError> {
        self.make_room();
        loop {
            self.fill(source)?;
            if self.filled == 0 && self.skipping.is_none() {
                return Ok(false);
            }
            let framed = if self.skipping.is_some() { self.skip() } else { self.frame()? };
            if framed.end > 0 || !self.spans.is_empty() {
                self.start = None;
                self.give(framed);
                return Ok(true);
            }
            self.grow()?;
        }
    }

    /// Enlarges the buffer for a line that does not fit.
    fn grow(&mut self) -> io::Result<()> {
        let twice = self.buffer.len().saturating_mul(2);
        let length = twice.min(self.line_bytes_max.saturating_add(self.block_bytes));
        self.taken.grow_to(length.saturating_mul(LONG_LINE_COPIES))?;
        self.buffer.resize(length, 0);
        Ok(())
    }

    /// Drops the bytes of the last block, and the memory of a long line once it is no longer needed.
    fn make_room(&mut self) {
        self.spans.clear();
        self.buffer.copy_within(self.given..self.filled, 0);
        self.filled -= self.given;
        self.given = 0;
        if self.buffer.len() > self.block_bytes && self.filled < self.block_bytes {
            self.buffer.truncate(self.block_bytes);
            self.buffer.shrink_to_fit();
            self.taken = self.room.nothing();
        }
    }

    fn fill(&mut self, source: &mut impl Read) -> io::Result<()> {
        while !self.source_ended && self.filled < self.buffer.len() {
            match source.read(&mut self.buffer[self.filled..]) {
                Ok(0) => self.source_ended = true,
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Finds the records that end in the buffer. An `end` of 0 means that more must be read first.
    fn frame(&mut self) -> Result<Framed, LinesError> {
        self.spans.clear();
        let content = &self.buffer[..self.filled];
        let resumes = matches!(self.start, Some(Start::After { .. }));
        let (offset, next_ordinal, others_from) = (self.offset, self.next_ordinal, self.others_from);
        let members = &self.members;
        let buffered = Buffered { content, offset, next_ordinal, resumes, free: self.free, others_from, members };
        let mut pass = Pass::new(&buffered, self.role, self.line_bytes_max, &mut self.spans);
        let mut line_start = match self.start {
            Some(Start::Beginning) if content.starts_with(BYTE_ORDER_MARK) => BYTE_ORDER_MARK.len(),
            Some(Start::After { last_byte, .. }) => rest_of_line_end(last_byte, content)?,
            _ => 0,
        };
        let searched_from = line_start;
        let mut end = 0;
        for newline in memchr::memchr_iter(b'\n', &content[searched_from..]) {
            let newline = searched_from + newline;
            pass.line(line_start, newline, Ended::Yes);
            line_start = newline + 1;
            end = line_start;
        }
        if self.source_ended {
            if line_start < content.len() {
                pass.line(line_start, content.len(), Ended::No);
            }
            pass.end();
            if pass.has_grown {
                return Err(LinesError::LastLineGrew);
            }
            return Ok(Framed { end: content.len(), others: pass.others, marks_bytes: pass.marks_bytes });
        }
        if pass.has_grown {
            return Err(LinesError::LastLineGrew);
        }
        let marks = marks(&content[line_start..]);
        let rest = content.len() - line_start;
        // Not even a CR or CRLF at its end could make a longer line fit.
        let line_max = self.line_bytes_max.saturating_add(1);
        let too_long = rest - marks > line_max;
        let begun = pass.unfinished_from();
        let full = begun.is_some_and(|start| content.len() - start > self.line_bytes_max.saturating_add(2));
        if too_long || full {
            pass.close();
        }
        if let Some(start) = pass.unfinished_from() {
            end = start;
        }
        // If a line consists of null bytes so far, it may begin after any of them. They must not fill the buffer.
        let is_over = pass.unfinished_from().is_none() && (marks == rest || marks > 0 && rest > line_max);
        if too_long || is_over {
            pass.marks_bytes += marks as u64;
            line_start += marks;
        }
        if is_over {
            end = line_start;
        }
        let (others, marks_bytes, free) = (pass.others, pass.marks_bytes, pass.free());
        // If nothing was found, the same bytes are split again later, with the same state.
        self.free = if end > 0 || !self.spans.is_empty() { free } else { self.free };
        if !too_long {
            return Ok(Framed { end, others, marks_bytes });
        }
        if line_start > 0 {
            return Ok(Framed { end: line_start, others, marks_bytes });
        }
        self.skipping = Some(Skipped::new(self.next_ordinal, self.offset));
        Ok(self.skip())
    }

    /// Skips a line longer than allowed, up to its end or that of the buffer.
    fn skip(&mut self) -> Framed {
        let content = &self.buffer[..self.filled];
        let Some(mut skipped) = self.skipping.take() else {
            return Framed::default();
        };
        let newline = memchr::memchr(b'\n', content);
        skipped.take(&content[..newline.unwrap_or(content.len())]);
        let end = newline.map_or(content.len(), |newline| newline + 1);
        if newline.is_some() || self.source_ended {
            let ended = if newline.is_some() { Ended::Yes } else { Ended::No };
            let line = skipped.end(self.offset + end as u64, ended);
            self.spans.push(Span::TooLong(Box::new(line)));
        } else {
            self.skipping = Some(skipped);
        }
        Framed { end, ..Framed::default() }
    }

    fn give(&mut self, framed: Framed) {
        let Framed { others, marks_bytes, .. } = framed;
        self.shown = Shown { offset: self.offset, others, marks_bytes, first_ordinal: self.next_ordinal };
        self.offset += framed.end as u64;
        self.next_ordinal += self.spans.len() as u64;
        self.given = framed.end;
    }

    /// The block that was read last. Empty before the first [`advance`](Self::advance).
    pub fn block(&self) -> Block<'_> {
        let bytes = &self.buffer[..self.given];
        let Shown { offset, others, marks_bytes, first_ordinal } = self.shown;
        Block {
            offset,
            bytes,
            others,
            marks_bytes,
            first_ordinal,
            spans: &self.spans,
            text: if self.spans.is_empty() { None } else { std::str::from_utf8(bytes).ok() },
        }
    }
}

/// The block that was read last, without its bytes and spans.
#[derive(Clone, Copy, Default)]
struct Shown {
    offset: u64,
    others: u64,
    marks_bytes: u64,
    first_ordinal: u64,
}

/// How far the buffer was split into records.
#[derive(Default)]
struct Framed {
    end: usize,
    others: u64,
    marks_bytes: u64,
}

/// How many bytes at the front of `content` belong to the end of the line before it, whose last byte was `last_byte`.
///
/// # Errors
/// `LastLineGrew` if that line continues in `content`. A CR at the end of the earlier content was taken for part of a
/// line end, so the record stays the same only if an LF follows.
fn rest_of_line_end(last_byte: u8, content: &[u8]) -> Result<usize, LinesError> {
    match (last_byte, content) {
        (b'\n', _) | (_, []) => Ok(0),
        (_, [b'\n', ..]) => Ok(1),
        (b'\r', _) => Err(LinesError::LastLineGrew),
        (_, [b'\r']) => Ok(1),
        (_, [b'\r', b'\n', ..]) => Ok(2),
        _ => Err(LinesError::LastLineGrew),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::records::block::Item;
    use crate::records::pass::TooLong;
    use crate::records::{Around, Asked, LineRole, Stream};

    fn each_line(_: &[u8], _: &mut Around<'_>) -> LineRole {
        LineRole::Record
    }

    /// `+` opens a record, an indented line continues it, `#` is a line of another component. A leading `!` puts a line
    /// on the error stream; `~` then makes it a piece of the next line. If a line begins with `*`, the pieces before it
    /// do not belong to it.
    fn by_first_byte(lines: &[u8], around: &mut Around<'_>) -> LineRole {
        let is_error = |line: &[u8]| line.first() == Some(&b'!');
        let error = is_error(lines);
        let open = around.on(if error { Stream::Error } else { Stream::Output });
        let own = lines.split(|byte| *byte == b'\n').filter(|line| is_error(line) == error);
        let own: Vec<&[u8]> = own.map(|line| line.strip_prefix(b"!").unwrap_or(line)).collect();
        match (around.asked(), own.last().and_then(|line| line.first())) {
            (Asked::Line, Some(b'~')) => return LineRole::Piece,
            (Asked::Joined, Some(b'*')) => return LineRole::Anew,
            _ => {}
        }
        let joined: Vec<u8> = own.iter().flat_map(|line| line.strip_prefix(b"~").unwrap_or(line)).copied().collect();
        match joined.first() {
            Some(b'+') => LineRole::Opens,
            Some(b' ') if open => LineRole::Continues,
            Some(b'#') => LineRole::Other,
            _ => LineRole::Record,
        }
    }

    /// The properties of an item that tests compare.
    #[derive(Clone, PartialEq, Eq, Debug)]
    enum Seen {
        Whole(u64, Vec<u8>, u64),
        Unended(u64, Vec<u8>, u64),
        TooLong(TooLong),
    }

    struct Reading {
        role: Role,
        line_bytes_max: usize,
        start: Start,
        block_bytes: usize,
    }

    const PLAIN: Reading =
        Reading { role: each_line, line_bytes_max: 100, start: Start::Beginning, block_bytes: BLOCK_BYTES };

    impl Reading {
        /// Reads `content` and checks what holds for every reading: the blocks are the content without a gap, ordinals
        /// count up, and `text` is set exactly for UTF-8.
        fn of(&self, content: &[u8]) -> Result<(Vec<Seen>, u64), LinesError> {
            let mut lines = Lines::new(self.role, self.line_bytes_max, self.start);
            lines.block_bytes = self.block_bytes;
            lines.buffer = vec![0; self.block_bytes];
            let (mut seen, mut others, mut given) = (Vec::new(), 0, Vec::new());
            let first = lines.next_ordinal;
            let before = lines.offset;
            let mut source = content;
            while let Some(block) = lines.next_block(&mut source)? {
                assert_eq!(block.offset, before + given.len() as u64);
                given.extend_from_slice(block.bytes);
                others += block.others;
                assert_eq!(block.items().len(), block.len());
                for item in block.items() {
                    assert_eq!(item.ordinal(), first + seen.len() as u64);
                    assert!(item.end_offset() <= block.end_offset());
                    seen.push(match item {
                        Item::Whole { record, offset, end_offset } => {
                            let at = usize::try_from(offset - before).unwrap();
                            assert!(given[at..].starts_with(record.bytes));
                            assert_eq!(record.text, std::str::from_utf8(record.bytes).ok());
                            Seen::Whole(record.ordinal, record.bytes.to_vec(), end_offset)
                        }
                        Item::Unended { record, end_offset, .. } => {
                            Seen::Unended(record.ordinal, record.bytes.to_vec(), end_offset)
                        }
                        Item::TooLong(line) => Seen::TooLong(line.clone()),
                    });
                }
                assert!(lines.buffer.len() <= self.line_bytes_max + 2 * self.block_bytes);
            }
            assert_eq!(given, content);
            Ok((seen, others))
        }

        fn records(&self, content: &[u8]) -> Vec<String> {
            let (seen, _) = self.of(content).unwrap();
            seen.into_iter()
                .map(|seen| match seen {
                    Seen::Whole(_, bytes, _) => String::from_utf8_lossy(&bytes).into_owned(),
                    Seen::Unended(_, bytes, _) => format!("{}...", String::from_utf8_lossy(&bytes)),
                    Seen::TooLong(line) => format!("{} bytes too long", line.length),
                })
                .collect()
        }
    }

    #[test]
    fn lines_end_with_lf_or_crlf_and_the_last_one_may_not_end() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            ("a", &["a..."]),
            ("a\nb\n", &["a", "b"]),
            ("a\r\nb\r\nc", &["a", "b", "c..."]),
            ("a\r\nb\r", &["a", "b..."]),
            ("a\r\r\nb\n", &["a", "b"]),
            ("a\rb\n", &["a\rb"]),
            (" a \n", &["a"]),
            ("\ta \t \r\n  b", &["a", "b..."]),
            ("label: \nlabel:   \n", &["label: ", "label: "]),
        ];
        for (content, expected) in cases {
            assert_eq!(PLAIN.records(content.as_bytes()), *expected, "{content:?}");
        }
    }

    #[test]
    fn blank_lines_and_the_byte_order_mark_are_no_records() {
        let cases: &[(&str, &[&str])] = &[
            ("\n\n \t\r\na\n\r\n\n", &["a"]),
            ("  ", &[]),
            ("\u{feff}a\n\u{feff}b\n", &["a", "b"]),
            ("a\n\0\0\0b\0\n\0\n \0\u{feff} \0 c\n\0", &["a", "b", "c"]),
            ("a\u{feff}\n", &["a\u{feff}"]),
            ("\u{feff}", &[]),
            ("\u{feff}\n", &[]),
            ("\u{feff}a", &["a..."]),
        ];
        for (content, expected) in cases {
            assert_eq!(PLAIN.records(content.as_bytes()), *expected, "{content:?}");
        }
    }

    #[test]
    fn null_bytes_without_end_take_no_memory_and_the_line_behind_them_is_read() {
        for block_bytes in [8, 64, BLOCK_BYTES] {
            let content = [b"a\n".to_vec(), vec![0; 5000], b"b\nc\n".to_vec(), vec![0; 700]].concat();
            let reading = Reading { block_bytes, line_bytes_max: 9, ..PLAIN };
            assert_eq!(reading.records(&content), ["a", "b", "c"]);
            let mut lines = Lines::new(each_line, 9, Start::Beginning);
            let (mut marks_bytes, mut source) = (0, &content[..]);
            while let Some(block) = lines.next_block(&mut source).unwrap() {
                marks_bytes += block.marks_bytes;
            }
            assert_eq!(marks_bytes, 5700);
        }
    }

    #[test]
    fn each_item_tells_the_content_bytes_up_to_its_line_end() {
        let (seen, _) = PLAIN.of(b"\xef\xbb\xbfab\r\n\nc\nde\r").unwrap();
        let ends: Vec<_> = seen
            .iter()
            .map(|seen| match seen {
                Seen::Whole(_, _, end) | Seen::Unended(_, _, end) => *end,
                Seen::TooLong(line) => line.end_offset,
            })
            .collect();
        assert_eq!(ends, [7, 10, 13]);
    }

    #[test]
    fn a_line_longer_than_allowed_costs_only_itself_and_is_hashed_as_any_record() {
        for (length, block_bytes) in [(101, BLOCK_BYTES), (5000, 8), (5000, 64), (700_000, BLOCK_BYTES)] {
            for (line_end, unended) in [("\n", false), ("\r\n", false), ("\r\r\n", false), ("", true), ("\r", true)] {
                let line = "x".repeat(length);
                let rest = if unended { "" } else { "b\n" };
                let content = format!("\u{feff}a\n{line}{line_end}{rest}");
                let (seen, _) = Reading { block_bytes, ..PLAIN }.of(content.as_bytes()).unwrap();
                let refused = if line_end == "\r\r\n" { format!("{line}\r") } else { line };
                let expected = TooLong {
                    ordinal: 1,
                    offset: 5,
                    length: refused.len() as u64,
                    end_offset: (5 + length + line_end.len()) as u64,
                    sha256: Sha256::digest(refused.as_bytes()).into(),
                    unended,
                };
                assert_eq!(seen[1], Seen::TooLong(expected));
                assert_eq!(seen.len(), if unended { 2 } else { 3 });
            }
        }
    }

    #[test]
    fn a_line_as_long_as_allowed_is_a_record_wherever_blocks_end() {
        let line = "x".repeat(100);
        for block_bytes in 4..120 {
            let reading = Reading { block_bytes, ..PLAIN };
            let content = format!("{line}\r\n{line}\n\u{e9}\n{line}");
            assert_eq!(reading.records(content.as_bytes()), [&line, &line, "\u{e9}", &format!("{line}...")]);
        }
    }

    #[test]
    fn a_line_that_is_not_text_keeps_its_neighbours_text() {
        let mut lines = Lines::new(each_line, 100, Start::Beginning);
        let mut source = &b"a\n\xff\n\xc3\xa9\n"[..];
        let block = lines.next_block(&mut source).unwrap().unwrap();
        let texts: Vec<_> = block
            .items()
            .map(|item| match item {
                Item::Whole { record, .. } => record.text,
                _ => None,
            })
            .collect();
        assert_eq!(texts, [Some("a"), None, Some("\u{e9}")]);
    }

    #[test]
    fn a_record_of_several_lines_is_one_stretch_of_bytes() {
        let cases: &[(&str, &[&str], u64)] = &[
            ("+a\n b\r\n c\r\nd\n", &["+a\n b\r\n c", "d"], 0),
            ("+a\n b\nc\n d\n", &["+a\n b", "c", "d"], 0),
            ("+a\n\n b\n", &["+a", "b"], 0),
            ("+a\n  \n b\n+c\n", &["+a\n  \n b", "+c..."], 0),
            ("# x\n+a\n# y\n b\n", &["+a", "b"], 2),
            ("+a\n b", &["+a\n b..."], 0),
            ("+a\n b\n#", &["+a\n b"], 1),
        ];
        for block_bytes in [4, 5, 7, 64] {
            let reading = Reading { role: by_first_byte, block_bytes, ..PLAIN };
            for (content, expected, others) in cases {
                assert_eq!(reading.records(content.as_bytes()), *expected, "{content:?}");
                assert_eq!(reading.of(content.as_bytes()).unwrap().1, *others);
            }
        }
    }

    #[test]
    fn others_count_from_where_they_were_not_counted_before() {
        let content = b"#\n#\na\n~#\nb\n#\n";
        for (from, expected) in [(0, 5), (1, 4), (2, 4), (3, 3), (6, 3), (7, 1), (11, 1), (12, 0), (99, 0)] {
            for block_bytes in [4, 5, 64] {
                let mut lines = Lines::new(by_first_byte, 100, Start::Beginning).counting_others_from(from);
                lines.block_bytes = block_bytes;
                lines.buffer = vec![0; block_bytes];
                let (mut source, mut others) = (&content[..], 0);
                while let Some(block) = lines.next_block(&mut source).unwrap() {
                    others += block.others;
                }
                assert_eq!(others, expected, "from {from}, blocks of {block_bytes}");
            }
        }
    }

    #[test]
    fn a_line_in_pieces_is_taken_for_what_all_of_them_are() {
        let cases: &[(&str, &[&str], u64)] = &[
            ("~a\nb\nc\n", &["~a\nb", "c"], 0),
            ("~a\n~b\r\nc\r\n", &["~a\n~b\r\nc"], 0),
            ("~#\n~b\nc\nd\n", &["d"], 3),
            ("~\n#b\nc\n", &["c"], 2),
            ("~+a\nb\n c\nd\n", &["~+a\nb\n c", "d"], 0),
            ("+a\n~ b\nc\n d\n", &["+a\n~ b\nc\n d..."], 0),
            ("+a\n~b\nc\n d\n", &["+a", "~b\nc", "d"], 0),
            // The last piece is missing.
            ("~a\n*b\n", &["~a", "*b"], 0),
            ("~#\n*b\n", &["*b"], 1),
            ("+a\n~ b\n*c\n", &["+a\n~ b", "*c"], 0),
            ("~a\n", &["~a..."], 0),
            ("~#a\n~b\n", &[], 2),
            ("+a\n~ b", &["+a\n~ b..."], 0),
            ("+a\n~b", &["+a", "~b..."], 0),
        ];
        for block_bytes in [4, 5, 7, 64] {
            let reading = Reading { role: by_first_byte, block_bytes, ..PLAIN };
            for (content, expected, others) in cases {
                assert_eq!(reading.records(content.as_bytes()), *expected, "{content:?}");
                assert_eq!(reading.of(content.as_bytes()).unwrap().1, *others, "{content:?}");
            }
        }
    }

    #[test]
    fn a_line_of_one_stream_touches_no_record_of_another() {
        let cases: &[(&str, &[&str], u64)] = &[
            ("~a\n!#\nb\n", &["~a\n!#\nb"], 1),
            ("~a\n!c\nb\n", &["~a\n!c\nb", "!c"], 0),
            ("~a\n!~c\nb\n!d\ne\n", &["~a\n!~c\nb", "!~c\nb\n!d", "e"], 0),
            ("~#\n!~c\nb\n!d\ne\n", &["!~c\nb\n!d", "e"], 2),
            ("+a\n!c\n b\n!d\n", &["+a\n!c\n b", "!c", "!d"], 0),
            ("+a\n!c\nb\n", &["+a", "!c", "b"], 0),
            // Only the content's last item is held back, not one before others.
            ("~a\n!c\n", &["~a", "!c"], 0),
            ("+a\n!+c\n b\n", &["+a\n!+c\n b", "!+c"], 0),
        ];
        for block_bytes in [4, 5, 7, 64] {
            let reading = Reading { role: by_first_byte, block_bytes, ..PLAIN };
            for (content, expected, others) in cases {
                assert_eq!(reading.records(content.as_bytes()), *expected, "{content:?}");
                assert_eq!(reading.of(content.as_bytes()).unwrap().1, *others, "{content:?}");
            }
        }
    }

    #[test]
    fn records_that_reach_into_one_another_end_together() {
        let reading = Reading { role: by_first_byte, ..PLAIN };
        let (seen, _) = reading.of(b"~a\n!c\nb\nd\n+e\n!f\n!g\n").unwrap();
        let ends: Vec<_> = seen
            .iter()
            .map(|seen| match seen {
                Seen::Whole(_, _, end) | Seen::Unended(_, _, end) => *end,
                Seen::TooLong(line) => line.end_offset,
            })
            .collect();
        assert_eq!(ends, [8, 8, 10, 13, 16, 19]);
    }

    #[test]
    fn an_open_record_at_the_end_of_the_content_is_unended() {
        let reading = Reading { role: by_first_byte, ..PLAIN };
        assert_eq!(reading.records(b"a\n+b\n c\n"), ["a", "+b\n c..."]);
    }

    #[test]
    fn a_record_of_several_lines_never_outgrows_a_line() {
        let content = format!("+a\n{}\n", " 23456789\n".repeat(30));
        for block_bytes in [4, 16, 100, 101, 4096] {
            let reading = Reading { role: by_first_byte, block_bytes, ..PLAIN };
            let records = reading.records(content.as_bytes());
            assert_eq!(records[0].len(), 2 + 9 * 10, "{block_bytes}");
            assert_eq!(records.len(), 1 + 21, "{block_bytes}");
            assert!(records[1..].iter().all(|record| record == "23456789"));
        }
    }

    /// Blocks end inside the three bytes of a mark, too.
    #[test]
    fn marks_that_fill_the_buffer_are_passed_over() {
        for block_bytes in 8..24 {
            let reading = Reading { line_bytes_max: 9, block_bytes, ..PLAIN };
            for count in [1, 7, 20, 100] {
                for mark in ["\u{feff}", "\0"] {
                    let marks = mark.repeat(count);
                    assert_eq!(
                        reading.records(format!("{marks}a\n{marks}b").as_bytes()),
                        ["a", "b..."],
                        "{block_bytes} {count}"
                    );
                    let long = format!("{marks}{}\nb\n", "a".repeat(30));
                    assert_eq!(reading.records(long.as_bytes()), ["30 bytes too long", "b"], "{block_bytes} {count}");
                }
            }
        }
    }

    #[test]
    fn a_start_in_the_middle_goes_on_after_the_last_line_or_says_that_it_grew() {
        type Case<'a> = (u8, &'a [u8], Option<&'a [&'a str]>);
        let cases: &[Case<'_>] = &[
            (b'\n', b"", Some(&[])),
            (b'\n', b"b\n", Some(&["b"])),
            (b'\n', b"\xef\xbb\xbfb\n", Some(&["b"])),
            (b'a', b"", Some(&[])),
            (b'a', b"\n", Some(&[])),
            (b'a', b"\r", Some(&[])),
            (b'a', b"\r\nb\n", Some(&["b"])),
            (b'a', b"\nb\n\nc", Some(&["b", "c..."])),
            (b'a', b"\rb\n", None),
            (b'a', b"b\n", None),
            (b'a', b" \n", None),
            (b'\r', b"", Some(&[])),
            (b'\r', b"\nb\n", Some(&["b"])),
            (b'\r', b"\r\n", None),
            (b'\r', b"b\n", None),
        ];
        for (last_byte, content, expected) in cases {
            let start = Start::After { content_records: 7, content_bytes: 1000, last_byte: *last_byte };
            let reading = Reading { start, ..PLAIN };
            match expected {
                Some(expected) => assert_eq!(reading.records(content), *expected, "{last_byte} {content:?}"),
                None => assert!(matches!(reading.of(content), Err(LinesError::LastLineGrew)), "{content:?}"),
            }
        }
    }

    #[test]
    fn a_start_in_the_middle_notices_that_a_record_of_several_lines_goes_on() {
        let start = Start::After { content_records: 1, content_bytes: 3, last_byte: b'\n' };
        let reading = Reading { role: by_first_byte, start, ..PLAIN };
        for content in [" more\n+b\n", "!x\n more\n", "x\n! more\n", "~ mo\nre\n", "!x\n more"] {
            assert!(matches!(reading.of(content.as_bytes()), Err(LinesError::LastLineGrew)), "{content:?}");
        }
        assert_eq!(reading.records(b"+b\n c\nd\n"), ["+b\n c", "d"]);
    }

    #[test]
    fn a_failing_source_is_passed_on() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        let mut lines = Lines::new(each_line, 100, Start::Beginning);
        assert!(matches!(lines.next_block(&mut (&b"a\n"[..]).chain(Failing)), Err(LinesError::Source(_))));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

        #[test]
        fn where_blocks_end_changes_nothing(content in "[ab+ !~*#\r\n\n\u{feff}]{0,60}", block_bytes in 8..24_usize) {
            for role in [each_line, by_first_byte as Role] {
                let whole = Reading { role, line_bytes_max: 9, ..PLAIN };
                let split = Reading { block_bytes, ..whole };
                prop_assert_eq!(whole.of(content.as_bytes()).unwrap(), split.of(content.as_bytes()).unwrap());
            }
        }

        #[test]
        fn reading_on_after_any_record_gives_the_rest(content in "[ab\r\n]{0,40}") {
            let (all, _) = PLAIN.of(content.as_bytes()).unwrap();
            for (count, seen) in all.iter().enumerate() {
                let (Seen::Whole(_, _, end) | Seen::Unended(_, _, end)) = seen else { continue };
                let (known, rest) = content.as_bytes().split_at(*end as usize);
                let start = Start::After {
                    content_records: count as u64 + 1,
                    content_bytes: *end,
                    last_byte: known[known.len() - 1],
                };
                prop_assert_eq!(&Reading { start, ..PLAIN }.of(rest).unwrap().0[..], &all[count + 1..]);
            }
        }
    }
}

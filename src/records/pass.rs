//! One pass over the lines of a buffer: which of them are records, and where those begin and end.

use sha2::{Digest as _, Sha256};

use crate::records::LineRole;

/// Where a line is that is longer than allowed, and what it hashes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TooLong {
    pub ordinal: u64,
    /// Content bytes before the line.
    pub offset: u64,
    /// The line's bytes without its line end.
    pub length: u64,
    pub end_offset: u64,
    /// SHA-256 of the line without its line end, as any record's.
    pub sha256: [u8; 32],
    /// Whether the line has no line end: it may not have been written to its end yet.
    pub unended: bool,
}

/// An item by its place in the block: bytes `start..end`, and `next` where the one after it may begin.
#[derive(Debug)]
pub(super) enum Span {
    Whole { start: usize, end: usize, next: usize },
    Unended { start: usize, end: usize, next: usize },
    TooLong(Box<TooLong>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Yes,
    No,
}

/// A record that following lines may continue.
#[derive(Clone, Copy)]
pub(super) struct Open {
    pub(super) start: usize,
    end: usize,
    next: usize,
}

/// One pass over the lines of the buffer.
pub(super) struct Pass<'a> {
    pub(super) content: &'a [u8],
    pub(super) role: fn(line: &[u8], open: bool) -> LineRole,
    pub(super) line_bytes_max: usize,
    pub(super) offset: u64,
    pub(super) next_ordinal: u64,
    pub(super) spans: &'a mut Vec<Span>,
    pub(super) open: Option<Open>,
    pub(super) others: u64,
}

impl Pass<'_> {
    /// Whether the line `start..line_end` would go on with a record before it.
    pub(super) fn continues(&self, start: usize, line_end: usize) -> bool {
        let line = without_carriage_return(&self.content[start..line_end]);
        line.len() <= self.line_bytes_max && (self.role)(line, true) == LineRole::Continues
    }

    /// Takes the line `start..line_end`.
    pub(super) fn line(&mut self, start: usize, line_end: usize, ended: Ended) {
        let line = without_carriage_return(&self.content[start..line_end]);
        let end = start + line.len();
        let next = if ended == Ended::Yes { line_end + 1 } else { line_end };
        if line.len() > self.line_bytes_max {
            self.close();
            self.too_long(start, line_end, next, ended);
            return;
        }
        let mut role = (self.role)(line, self.open.is_some());
        if let Some(open) = &mut self.open {
            let fits = end - open.start <= self.line_bytes_max;
            match role {
                LineRole::Continues | LineRole::Closes if fits => {
                    (open.end, open.next) = (end, next);
                    if role == LineRole::Closes && ended == Ended::Yes {
                        self.close();
                    }
                    return;
                }
                LineRole::Continues | LineRole::Closes => role = (self.role)(line, false),
                LineRole::Record | LineRole::Opens | LineRole::Other => {}
            }
            self.close();
        }
        if line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r')) {
            return;
        }
        match role {
            LineRole::Other => self.others += 1,
            LineRole::Opens => self.open = Some(Open { start, end, next }),
            LineRole::Record | LineRole::Continues | LineRole::Closes => self.spans.push(match ended {
                Ended::Yes => Span::Whole { start, end, next },
                Ended::No => Span::Unended { start, end, next },
            }),
        }
    }

    fn too_long(&mut self, start: usize, line_end: usize, next: usize, ended: Ended) {
        let mut skipped = Skipped::new(self.next_ordinal + self.spans.len() as u64, self.offset + start as u64);
        skipped.take(&self.content[start..line_end]);
        let line = skipped.end(self.offset + next as u64, ended);
        self.spans.push(Span::TooLong(Box::new(line)));
    }

    /// Ends the open record: what follows is no part of it.
    pub(super) fn close(&mut self) {
        if let Some(Open { start, end, next }) = self.open.take() {
            self.spans.push(Span::Whole { start, end, next });
        }
    }

    /// At the end of the content: a line that is not there yet could continue the open record.
    pub(super) fn end(&mut self) {
        if let Some(Open { start, end, next }) = self.open.take() {
            self.spans.push(Span::Unended { start, end, next });
        }
    }
}

fn without_carriage_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// A line longer than allowed, as it passes by.
pub(super) struct Skipped {
    ordinal: u64,
    offset: u64,
    length: u64,
    sha256: Sha256,
    /// A CR that is the line's last byte so far: of its line end, unless more follows.
    carriage_return: bool,
}

impl Skipped {
    pub(super) fn new(ordinal: u64, offset: u64) -> Self {
        Self { ordinal, offset, length: 0, sha256: Sha256::new(), carriage_return: false }
    }

    pub(super) fn take(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.carriage_return {
            self.sha256.update(b"\r");
            self.length += 1;
        }
        self.carriage_return = bytes.ends_with(b"\r");
        let bytes = without_carriage_return(bytes);
        self.sha256.update(bytes);
        self.length += bytes.len() as u64;
    }

    pub(super) fn end(self, end_offset: u64, ended: Ended) -> TooLong {
        let Self { ordinal, offset, length, sha256, .. } = self;
        TooLong { ordinal, offset, length, end_offset, sha256: sha256.finalize().into(), unended: ended == Ended::No }
    }
}

//! One pass over the lines of a buffer: finds the records, and where they begin and end.

use sha2::{Digest as _, Sha256};

use crate::records::marks::marks;
use crate::records::{Around, Asked, LineRole, Role, STREAMS, Stream};

/// The position and hash of a line longer than allowed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TooLong {
    pub ordinal: u64,
    /// Content bytes before the line.
    pub offset: u64,
    /// The line's bytes without its line end.
    pub length: u64,
    pub end_offset: u64,
    /// SHA-256 of the line without its line end, as for a record.
    pub sha256: [u8; 32],
    /// Whether the line has no line end. Its writer may not have finished it.
    pub unended: bool,
}

/// The position of an item in the block: bytes `start..end`. The item after it begins at `next` or later.
#[derive(Debug)]
pub(super) enum Span {
    Whole { start: usize, end: usize, next: usize, may_be_within: bool },
    Unended { start: usize, end: usize, next: usize, may_be_within: bool },
    TooLong(Box<TooLong>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Yes,
    No,
}

/// Lines that belong together, from the first byte of the first to the last byte of the last. Lines of other streams
/// may be between them.
#[derive(Clone, Copy)]
struct Stretch {
    start: usize,
    end: usize,
    next: usize,
    lines: u64,
    /// As in [`Record`](crate::records::Record): whether the lines may be part of an earlier record's value.
    may_be_within: bool,
}

impl Stretch {
    fn and(self, later: Self) -> Self {
        Self { start: self.start, lines: self.lines + later.lines, may_be_within: self.may_be_within, ..later }
    }
}

/// The unfinished parts of one stream.
#[derive(Clone, Copy, Default)]
struct Unfinished {
    /// A record that following lines may continue.
    record: Option<Stretch>,
    /// Pieces of a line, after that record.
    pieces: Option<Stretch>,
}

/// Records found since something became unfinished. They may overlap, and are reported only once nothing is unfinished.
struct Group {
    start: usize,
    /// [`Pass::free`] as it was when the group began.
    free: [bool; STREAMS],
    records: Vec<(Stretch, Ended)>,
    others: u64,
}

/// One pass over the lines of the buffer.
pub(super) struct Pass<'a> {
    content: &'a [u8],
    role: Role,
    line_bytes_max: usize,
    offset: u64,
    next_ordinal: u64,
    spans: &'a mut Vec<Span>,
    /// The unfinished parts of each stream.
    unfinished: [Unfinished; STREAMS],
    group: Option<Group>,
    /// Per stream: whether a record so far holds a value that later records may be part of.
    free: [bool; STREAMS],
    /// Per stream: whether its next line is the first after a start in the middle of the content.
    resumes: [bool; STREAMS],
    /// Whether such a line continues a record before the start.
    pub(super) has_grown: bool,
    /// Content offset from which on lines that are no audit records are counted.
    others_from: u64,
    pub(super) others: u64,
    /// Bytes of null bytes and byte order marks before lines, counted from `others_from` on.
    pub(super) marks_bytes: u64,
    /// Members of a shipper's object that hold lines, as in [`Around`].
    members: &'a [String],
}

/// The input of a pass.
pub(super) struct Buffered<'a> {
    pub(super) content: &'a [u8],
    /// Content bytes before the buffer.
    pub(super) offset: u64,
    pub(super) next_ordinal: u64,
    /// Whether the buffer begins right after records that are known already.
    pub(super) resumes: bool,
    /// [`Pass::free`] at the end of the buffer before.
    pub(super) free: [bool; STREAMS],
    /// Content offset from which on lines that are no audit records are counted.
    pub(super) others_from: u64,
    /// Members of a shipper's object that hold lines, as in [`Around`].
    pub(super) members: &'a [String],
}

impl<'a> Pass<'a> {
    pub(super) fn new(buffered: &Buffered<'a>, role: Role, line_bytes_max: usize, spans: &'a mut Vec<Span>) -> Self {
        Self {
            content: buffered.content,
            role,
            line_bytes_max,
            offset: buffered.offset,
            next_ordinal: buffered.next_ordinal,
            spans,
            unfinished: [Unfinished::default(); STREAMS],
            group: None,
            free: buffered.free,
            resumes: [buffered.resumes; STREAMS],
            has_grown: false,
            others_from: buffered.others_from,
            others: 0,
            marks_bytes: 0,
            members: buffered.members,
        }
    }

    /// The start of the first unfinished record or piece, or of a record that overlaps it.
    pub(super) fn unfinished_from(&self) -> Option<usize> {
        self.group.as_ref().map(|group| group.start)
    }

    /// Per stream: whether a record before the unfinished ones holds a value that later records may be part of.
    pub(super) fn free(&self) -> [bool; STREAMS] {
        self.group.as_ref().map_or(self.free, |group| group.free)
    }

    /// Classifies the line `start..line_end` and updates the records.
    pub(super) fn line(&mut self, start: usize, line_end: usize, ended: Ended) {
        let start = self.after_marks(start, line_end);
        let line = without_carriage_return(&self.content[start..line_end]);
        let end = start + line.len();
        let next = if ended == Ended::Yes { line_end + 1 } else { line_end };
        if end - self.unfinished_from().unwrap_or(start) > self.line_bytes_max {
            self.close();
        }
        if line.len() > self.line_bytes_max {
            self.too_long(start, line_end, next, ended);
            return;
        }
        let line = Stretch { start, end, next, lines: 1, may_be_within: false };
        let (role, stream, free) = self.ask(line, Asked::Line);
        let pieces = self.unfinished[stream as usize].pieces.take();
        match (role, pieces) {
            (LineRole::Piece, pieces) => {
                self.begin_group(start);
                self.unfinished[stream as usize].pieces = Some(pieces.map_or(line, |pieces| pieces.and(line)));
            }
            (role, None) => self.take(line, stream, (role, free), ended),
            (_, Some(pieces)) => {
                let whole = pieces.and(line);
                match self.ask(whole, Asked::Joined) {
                    (LineRole::Anew, ..) => {
                        self.give_up(pieces, stream, Ended::Yes);
                        let (role, _, free) = self.ask(line, Asked::Line);
                        self.take(line, stream, (role, free), ended);
                    }
                    (role, _, free) => self.take(whole, stream, (role, free), ended),
                }
            }
        }
        self.settle();
    }

    /// The start of the line's text, after null bytes that a crash or a truncated file leaves, and after byte order
    /// marks of concatenated files.
    fn after_marks(&mut self, start: usize, line_end: usize) -> usize {
        let marks = marks(&self.content[start..line_end]);
        if self.offset + start as u64 >= self.others_from {
            self.marks_bytes += marks as u64;
        }
        start + marks
    }

    fn ask(&self, lines: Stretch, asked: Asked) -> (LineRole, Stream, bool) {
        self.ask_with(lines, asked, self.unfinished.map(|unfinished| unfinished.record.is_some()))
    }

    fn ask_with(&self, lines: Stretch, asked: Asked, open: [bool; STREAMS]) -> (LineRole, Stream, bool) {
        let mut around = Around::new(asked, open, self.members);
        let role = (self.role)(&self.content[lines.start..lines.end], &mut around);
        (role, around.stream(), around.holds_free_value)
    }

    /// Handles a line, joined with all its pieces, by its role. `free`: it holds a value that later records may be part
    /// of.
    fn take(&mut self, mut line: Stretch, stream: Stream, (role, free): (LineRole, bool), ended: Ended) {
        if std::mem::take(&mut self.resumes[stream as usize]) {
            let asked = if line.lines == 1 { Asked::Line } else { Asked::Joined };
            self.has_grown |= self.ask_with(line, asked, [true; STREAMS]).0 == LineRole::Continues;
        }
        let unfinished = &mut self.unfinished[stream as usize];
        if let (Some(record), LineRole::Continues) = (&mut unfinished.record, role) {
            *record = record.and(line);
            self.free[stream as usize] |= free;
            return;
        }
        self.close_record(stream, Ended::Yes);
        if line.lines == 1 {
            // No record found before overlaps this line.
            self.settle();
        }
        if self.content[line.start..line.end].iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r')) {
            return;
        }
        if role == LineRole::Other {
            // The writer of an earlier value may have forged this line, so `free` stays as it is.
            self.count_others(line);
            return;
        }
        // The writer of an earlier value may have put several records into it.
        line.may_be_within = self.free[stream as usize];
        if role == LineRole::Opens {
            self.begin_group(line.start);
            self.unfinished[stream as usize].record = Some(line);
        } else {
            self.found(line, ended);
        }
        self.free[stream as usize] |= free;
    }

    /// Handles pieces whose rest is missing.
    fn give_up(&mut self, pieces: Stretch, stream: Stream, ended: Ended) {
        let (role, ..) = self.ask(pieces, Asked::Broken);
        let unfinished = &mut self.unfinished[stream as usize];
        if let (Some(record), LineRole::Continues) = (&mut unfinished.record, role) {
            *record = record.and(pieces);
            return;
        }
        self.close_record(stream, Ended::Yes);
        match role {
            LineRole::Other => self.count_others(pieces),
            _ => self.found(pieces, ended),
        }
    }

    fn close_record(&mut self, stream: Stream, ended: Ended) {
        if let Some(record) = self.unfinished[stream as usize].record.take() {
            self.found(record, ended);
        }
    }

    fn found(&mut self, record: Stretch, ended: Ended) {
        match &mut self.group {
            Some(group) => group.records.push((record, ended)),
            None => self.spans.push(span(self.content, record, record.next, ended)),
        }
    }

    fn count_others(&mut self, others: Stretch) {
        if self.offset + (others.start as u64) < self.others_from {
            return;
        }
        let lines = others.lines;
        match &mut self.group {
            Some(group) => group.others += lines,
            None => self.others += lines,
        }
    }

    fn begin_group(&mut self, start: usize) {
        let free = self.free;
        self.group.get_or_insert(Group { start, free, records: Vec::new(), others: 0 });
    }

    /// Reports the records of the group in the order of their beginnings, once nothing is unfinished. Records that
    /// overlap get the same end, so that no reading resumes between them.
    fn settle(&mut self) {
        let is_busy = |unfinished: &Unfinished| unfinished.record.is_some() || unfinished.pieces.is_some();
        if self.unfinished.iter().any(is_busy) {
            return;
        }
        let Some(Group { mut records, others, .. }) = self.group.take() else { return };
        self.others += others;
        records.sort_by_key(|(record, _)| record.start);
        let mut rest = &records[..];
        while let Some(((first, _), after)) = rest.split_first() {
            let mut next = first.next;
            let reaching = after.iter().take_while(|(record, _)| {
                let reaches = record.start < next;
                next = next.max(if reaches { record.next } else { 0 });
                reaches
            });
            let count = 1 + reaching.count();
            let (together, later) = rest.split_at(count);
            for (record, ended) in together {
                // Only the last record may be unended, and only if it overlaps no other.
                let is_last = count == 1 && later.is_empty();
                self.spans.push(span(self.content, *record, next, if is_last { *ended } else { Ended::Yes }));
            }
            rest = later;
        }
    }

    fn too_long(&mut self, start: usize, line_end: usize, next: usize, ended: Ended) {
        let mut skipped = Skipped::new(self.next_ordinal + self.spans.len() as u64, self.offset + start as u64);
        skipped.take(&self.content[start..line_end]);
        let line = skipped.end(self.offset + next as u64, ended);
        self.spans.push(Span::TooLong(Box::new(line)));
    }

    /// Ends all unfinished records and pieces; later lines do not continue them.
    pub(super) fn close(&mut self) {
        self.end_with(Ended::Yes);
    }

    /// Ends the pass at the end of the content. A line still to come could continue unfinished records, so they stay
    /// unended.
    pub(super) fn end(&mut self) {
        self.end_with(Ended::No);
    }

    fn end_with(&mut self, ended: Ended) {
        for stream in [Stream::Only, Stream::Output, Stream::Error] {
            if let Some(pieces) = self.unfinished[stream as usize].pieces.take() {
                self.give_up(pieces, stream, ended);
            }
            self.close_record(stream, ended);
        }
        self.settle();
    }
}

/// The span of a record, without the blanks around it, which do not make it another record. A blank after a final colon
/// stays: it may be the separator of a label without a value.
fn span(content: &[u8], record: Stretch, next: usize, ended: Ended) -> Span {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0);
    let bytes = &content[record.start..record.end];
    let before = bytes.iter().take_while(|byte| is_blank(byte)).count();
    let after = bytes[before..].iter().rev().take_while(|byte| is_blank(byte)).count();
    let (start, mut end) = (record.start + before, record.end - after);
    if content[..end].ends_with(b":") && content[end..record.end].starts_with(b" ") {
        end += 1;
    }
    let may_be_within = record.may_be_within;
    match ended {
        Ended::Yes => Span::Whole { start, end, next, may_be_within },
        Ended::No => Span::Unended { start, end, next, may_be_within },
    }
}

fn without_carriage_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// A line longer than allowed, while its bytes are hashed and dropped.
pub(super) struct Skipped {
    ordinal: u64,
    offset: u64,
    length: u64,
    sha256: Sha256,
    /// Whether the last byte so far is a CR. It belongs to the line end unless more bytes follow.
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

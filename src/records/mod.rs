//! Splits the bytes of an object into records, one by one.

pub(crate) mod escaped;

pub(crate) mod elements;

mod marks;

pub(crate) mod pass;

pub(crate) mod block;

pub(crate) mod lines;

pub(crate) mod rows;

/// One record as the source wrote it.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Position among the records of the object's current content, from 0. Blank lines and, in mixed files, lines that
    /// are no audit record take none.
    pub ordinal: u64,
    /// The bytes without their line end (and without the byte order mark of a file's first line).
    pub bytes: &'a [u8],
    /// The same as text, checked; `None` when they are not UTF-8.
    pub text: Option<&'a str>,
    /// A record before it on its stream holds a value that others write and whose end nothing marks, so that this record
    /// may be within that value ([`Framing::LinesInSequence`]).
    pub may_be_within: bool,
    /// The same before its secrets were masked, if any were.
    pub unmasked: Option<&'a [u8]>,
}

impl<'a> Record<'a> {
    /// A record whose bytes nobody has checked yet.
    pub fn new(ordinal: u64, bytes: &'a [u8]) -> Self {
        Self { ordinal, bytes, text: std::str::from_utf8(bytes).ok(), may_be_within: false, unmasked: None }
    }
}

/// The output of a program that a line was written to. The lines of one do not touch the records of another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Stream {
    /// Nobody says that there are several.
    #[default]
    Only,
    Output,
    Error,
}

/// How much of a line its role is asked of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// A line as it stands in the content.
    Line,
    /// A line that stands in pieces: all of them, and whatever lines of other streams stand between.
    Joined,
    /// The same, but the last pieces are missing.
    Broken,
}

/// What a line's role depends on beside its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Around<'m> {
    asked: Asked,
    /// By stream, whether a record is open.
    open: [bool; STREAMS],
    stream: Stream,
    /// Where the feed's shippers keep lines, beside the usual places.
    members: &'m [String],
    /// As in [`holds_free_value`](Self::holds_free_value).
    holds_free_value: bool,
}

/// How many streams there are.
pub(in crate::records) const STREAMS: usize = 3;

impl<'m> Around<'m> {
    /// `open` says of each stream whether following lines may continue a record there.
    pub(in crate::records) fn new(asked: Asked, open: [bool; STREAMS], members: &'m [String]) -> Self {
        Self { asked, open, stream: Stream::Only, members, holds_free_value: false }
    }

    /// A line that stands alone: no record is open.
    pub fn alone() -> Self {
        Self::new(Asked::Line, [false; STREAMS], &[])
    }

    /// The members of a shipper's object under which the feed has lines, beside the usual ones.
    pub(crate) fn members(&self) -> &'m [String] {
        self.members
    }

    pub fn asked(&self) -> Asked {
        self.asked
    }

    /// Says that the line is of this stream, and learns whether a record is open there. Of what nobody says this, the
    /// stream is [`Stream::Only`].
    pub fn on(&mut self, stream: Stream) -> bool {
        self.stream = stream;
        self.open[stream as usize]
    }

    /// Says whether the line holds a value that others write and whose end nothing marks: the records behind it on the stream
    /// may be within it.
    pub fn holds_free_value(&mut self, holds: bool) {
        self.holds_free_value = holds;
    }

    pub(in crate::records) fn stream(&self) -> Stream {
        self.stream
    }
}

/// Tells what a line is to the family that reads it.
pub(crate) type Role = fn(line: &[u8], around: &mut Around<'_>) -> LineRole;

/// What a line is to the family that reads it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LineRole {
    /// A whole record.
    Record,
    /// Begins a record that following lines may continue.
    Opens,
    /// Belongs to the record opened before it. Where none is open, the line is a record of its own.
    Continues,
    /// A piece of a line, whose rest is in the next line of its stream. Its role is asked once that is there. No answer
    /// where pieces are asked of.
    Piece,
    /// The last of the pieces is a line of its own: the rest of those before it is missing. Only where pieces are asked of.
    Anew,
    /// No audit record: another component's line in a mixed file. Counted, never quarantined.
    Other,
}

/// How the bytes of a family's objects fall into records.
#[derive(Clone, Copy, Debug)]
pub enum Framing {
    /// Lines ended by LF or CRLF. The function tells a line's role.
    Lines(Role),
    /// The same, where a record may be within a value of one before it: what is told of a line depends on all lines before,
    /// so that content is always read from its beginning.
    LinesInSequence(Role),
    /// Rows of a Parquet file, each a line of JSON ([`rows`]). An object that is none ([`rows::are_in`]) is read as lines,
    /// and the function tells their roles.
    Rows(Role),
}

impl Framing {
    /// Tells the roles of the content's lines; `of_rows` says whether these are the rows of a Parquet file.
    pub const fn role(self, of_rows: bool) -> Role {
        match self {
            Self::Rows(_) if of_rows => |_, _| LineRole::Record,
            Self::Rows(role) | Self::Lines(role) | Self::LinesInSequence(role) => role,
        }
    }

    /// Whether what is told of a line depends on the lines before it.
    pub(crate) const fn looks_back(self) -> bool {
        matches!(self, Self::LinesInSequence(_))
    }
}

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
    /// Position among the records of the object's current content, from 0. Blank lines, and lines of a mixed file that
    /// are no audit records, are not counted.
    pub ordinal: u64,
    /// The bytes without their line end (and without the byte order mark of a file's first line).
    pub bytes: &'a [u8],
    /// The bytes as text. `None` if they are not UTF-8.
    pub text: Option<&'a str>,
    /// Whether an earlier record of the same stream holds a value that untrusted writers set and that has no end
    /// marker. This record may be part of that value ([`Framing::LinesInSequence`]).
    pub may_be_within: bool,
    /// The bytes before secrets were masked in them. `None` if nothing was masked.
    pub unmasked: Option<&'a [u8]>,
}

impl<'a> Record<'a> {
    /// A record of these bytes. Checks whether they are UTF-8.
    pub fn new(ordinal: u64, bytes: &'a [u8]) -> Self {
        Self { ordinal, bytes, text: std::str::from_utf8(bytes).ok(), may_be_within: false, unmasked: None }
    }
}

/// The output stream of a program that a line was written to. Lines of one stream never continue records of another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Stream {
    /// The log names no streams.
    #[default]
    Only,
    Output,
    Error,
}

/// What the family is given when it is asked for a line's role.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// One line of the content.
    Line,
    /// A line that was written in pieces: all pieces, with any lines of other streams between them.
    Joined,
    /// As [`Asked::Joined`], but the last pieces are missing.
    Broken,
}

/// What a line's role depends on besides its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Around<'m> {
    asked: Asked,
    /// Per stream: whether a record is open.
    open: [bool; STREAMS],
    stream: Stream,
    /// Members of a shipper's object that hold lines of this feed, besides the usual ones.
    members: &'m [String],
    /// As in [`holds_free_value`](Self::holds_free_value).
    holds_free_value: bool,
}

/// The number of streams.
pub(in crate::records) const STREAMS: usize = 3;

impl<'m> Around<'m> {
    /// `open` says, per stream, whether following lines may continue a record.
    pub(in crate::records) fn new(asked: Asked, open: [bool; STREAMS], members: &'m [String]) -> Self {
        Self { asked, open, stream: Stream::Only, members, holds_free_value: false }
    }

    /// For a single line, without an open record.
    pub fn alone() -> Self {
        Self::new(Asked::Line, [false; STREAMS], &[])
    }

    /// The members of a shipper's object that hold lines of the feed, besides the usual ones.
    pub(crate) fn members(&self) -> &'m [String] {
        self.members
    }

    pub fn asked(&self) -> Asked {
        self.asked
    }

    /// Sets the line's stream, and returns whether a record is open there. Unless this is called, the stream is
    /// [`Stream::Only`].
    pub fn on(&mut self, stream: Stream) -> bool {
        self.stream = stream;
        self.open[stream as usize]
    }

    /// Sets whether the line holds a value that untrusted writers set and that has no end marker. Later records of the
    /// stream may then be part of that value.
    pub fn holds_free_value(&mut self, holds: bool) {
        self.holds_free_value = holds;
    }

    pub(in crate::records) fn stream(&self) -> Stream {
        self.stream
    }
}

/// A family's function that classifies a line.
pub(crate) type Role = fn(line: &[u8], around: &mut Around<'_>) -> LineRole;

/// What a line is to its family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LineRole {
    /// A whole record.
    Record,
    /// Begins a record that following lines may continue.
    Opens,
    /// Continues the open record. If none is open, the line is a record of its own.
    Continues,
    /// A piece of a line that the next line of its stream continues. The role of the whole line is asked for once all
    /// pieces are there. Never the answer for [`Asked::Joined`] and [`Asked::Broken`].
    Piece,
    /// The last piece is a line of its own, and the rest of the pieces before it is missing. Only an answer for
    /// [`Asked::Joined`].
    Anew,
    /// No audit record: another component's line in a mixed file. Counted, never quarantined.
    Other,
}

/// How the bytes of a family's objects are split into records.
#[derive(Clone, Copy, Debug)]
pub enum Framing {
    /// Lines that end with LF or CRLF. The function classifies them.
    Lines(Role),
    /// As [`Framing::Lines`], but a record may be part of a value of an earlier one. A line's meaning depends on all
    /// lines before it, so the content is always read from its beginning.
    LinesInSequence(Role),
    /// Rows of a Parquet file, each as a line of JSON ([`rows`]). An object that is no Parquet file ([`rows::are_in`])
    /// is read as lines, and the function classifies them.
    Rows(Role),
}

impl Framing {
    /// The function that classifies the content's lines. `of_rows`: whether they are the rows of a Parquet file.
    pub const fn role(self, of_rows: bool) -> Role {
        match self {
            Self::Rows(_) if of_rows => |_, _| LineRole::Record,
            Self::Rows(role) | Self::Lines(role) | Self::LinesInSequence(role) => role,
        }
    }

    /// Whether a line's meaning depends on the lines before it.
    pub(crate) const fn looks_back(self) -> bool {
        matches!(self, Self::LinesInSequence(_))
    }
}

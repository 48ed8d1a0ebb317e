//! Splits the bytes of an object into records, one by one.

pub mod pass;

pub mod lines;

pub mod rows;

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
}

impl<'a> Record<'a> {
    /// A record whose bytes nobody has checked yet.
    pub fn new(ordinal: u64, bytes: &'a [u8]) -> Self {
        Self { ordinal, bytes, text: std::str::from_utf8(bytes).ok() }
    }
}

/// What a line is to the family that reads it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LineRole {
    /// A whole record.
    Record,
    /// Begins a record that following lines may continue.
    Opens,
    /// Belongs to the record opened before it. Where none is open, the line is a record of its own.
    Continues,
    /// Belongs to the record opened before it, as its last line. Where none is open, the line is a record of its own.
    Closes,
    /// No audit record: another component's line in a mixed file. Counted, never quarantined.
    Other,
}

/// How the bytes of a family's objects fall into records.
#[derive(Clone, Copy, Debug)]
pub enum Framing {
    /// Lines ended by LF or CRLF. The function tells a line's role; `open` says whether a record is being continued.
    Lines(fn(line: &[u8], open: bool) -> LineRole),
    /// Rows of a Parquet file, each a line of JSON ([`rows`]). An object that is none ([`rows::are_in`]) is read as lines,
    /// and the function tells their roles.
    Rows(fn(line: &[u8], open: bool) -> LineRole),
}

impl Framing {
    /// Tells the roles of the content's lines; `of_rows` says whether these are the rows of a Parquet file.
    pub const fn role(self, of_rows: bool) -> fn(line: &[u8], open: bool) -> LineRole {
        match self {
            Self::Rows(_) if of_rows => |_, _| LineRole::Record,
            Self::Rows(role) | Self::Lines(role) => role,
        }
    }
}

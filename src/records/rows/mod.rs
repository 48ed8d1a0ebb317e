//! Reads the rows of a Parquet file as lines of canonical JSON, by ranges and in bounded memory.
//!
//! A row is one object: its columns by name in the file's order, nulls left out, numbers in full, times as RFC 3339 in
//! UTC. What a file says is judged before anything of it is believed: a file that is cut, damaged or over a limit is
//! refused whole by [`Rows::open`], which decodes all of it once, and gives out no row.

mod columns;

mod compact;

mod footer;

mod pages;

mod shape;

mod write;

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use bytes::Bytes;
use bytes::BytesMut;

use crate::records::rows::columns::Chunk;
use crate::records::rows::columns::Column;
use crate::records::rows::columns::Stored;
use crate::records::rows::footer::Footer;
use crate::records::rows::shape::Format;
use crate::records::rows::shape::Kind;
use crate::records::rows::write::write_member;
use crate::records::rows::write::write_text;
use crate::records::rows::write::write_value;

/// What a Parquet file begins and ends with.
const MAGIC: &[u8] = b"PAR1";

/// Rows decoded at once, at most.
const ROWS_AT_ONCE: u64 = 1024;

/// Values decoded at once over all columns, about.
const VALUES_AT_ONCE: u64 = 256 << 10;

/// JSON written ahead of whoever reads it, about.
const OUT_BYTES: usize = 64 << 10;

/// A longer text is written piece by piece.
const PIECE_BYTES: usize = 1 << 20;

/// Whether an object holds rows, by its key and its first bytes (at least four, where it has as many). One that is
/// called Parquet and does not begin as Parquet is damaged, and must not be taken for anything else.
pub fn are_in(key: &str, beginning: &[u8]) -> bool {
    let is_called = key.len() >= 8 && key.as_bytes()[key.len() - 8..].eq_ignore_ascii_case(b".parquet");
    beginning.starts_with(MAGIC) || is_called && !beginning.is_empty()
}

/// Bytes of one version of an object, by range.
pub trait Ranges {
    fn size_bytes(&self) -> u64;

    /// The `length` bytes from `start` on, which lie within the object.
    ///
    /// # Errors
    /// What the source says; [`Rows`] hands it on as it is.
    fn read(&mut self, start: u64, length: usize) -> io::Result<Bytes>;
}

impl Ranges for Bytes {
    fn size_bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read(&mut self, start: u64, length: usize) -> io::Result<Bytes> {
        let from = usize::try_from(start).ok();
        let to = from.and_then(|from| from.checked_add(length)).filter(|to| *to <= self.len());
        match from.zip(to) {
            Some((from, to)) => Ok(self.slice(from..to)),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Ranges for File {
    fn size_bytes(&self) -> u64 {
        self.metadata().map_or(0, |metadata| metadata.len())
    }

    fn read(&mut self, start: u64, length: usize) -> io::Result<Bytes> {
        self.seek(SeekFrom::Start(start))?;
        let mut bytes = BytesMut::zeroed(length);
        self.read_exact(&mut bytes)?;
        Ok(bytes.freeze())
    }
}

/// How large what a file holds may be. The defaults keep one file under 100 MiB of memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The metadata at the file's end.
    pub footer_bytes_max: u64,
    pub columns_max: usize,
    /// How deep groups may stand in each other.
    pub depth_max: usize,
    pub rows_max: u64,
    /// A page inflated, and so the longest value.
    pub page_bytes_max: u64,
    /// Dictionaries and pages that are inflated at once, over all columns.
    pub decoding_bytes_max: u64,
    /// A row group up to here is fetched at once, and so are small files; of a larger one each column has a window.
    pub fetch_bytes_max: u64,
    /// One column of one row group that lies in a list, as stored: it is fetched at once.
    pub nested_chunk_bytes_max: u64,
    /// Values of one nested column in the rows that are decoded at once.
    pub nested_values_max: u64,
    /// One nested column of one row, as JSON.
    pub nested_json_bytes_max: usize,
    /// All text of the file, inflated.
    pub text_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            footer_bytes_max: 1 << 20,
            columns_max: 1000,
            depth_max: 32,
            rows_max: 100_000_000,
            page_bytes_max: 16 << 20,
            decoding_bytes_max: 64 << 20,
            fetch_bytes_max: 8 << 20,
            nested_chunk_bytes_max: 8 << 20,
            nested_values_max: 1 << 20,
            nested_json_bytes_max: 16 << 20,
            text_bytes_max: 16 << 30,
        }
    }
}

/// Why rows cannot be had. All but `Source` are for ever: the same version never reads better.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The file is cut, contradicts itself, or holds what is not read.
    #[error("the Parquet file is refused: {reason}")]
    Damaged { reason: String },
    #[error("the Parquet file is refused: {what} has more than {bytes_max} bytes")]
    TooLarge { what: &'static str, bytes_max: u64 },
    /// The stored bytes could not be read; nothing is said about them.
    #[error("the stored bytes could not be read")]
    Source(#[source] io::Error),
}

impl RowsError {
    const fn damaged(reason: String) -> Self {
        Self::Damaged { reason }
    }

    /// The error inside an error that [`Rows`] returned as a reader; any other error is the source's.
    pub fn from_read(error: io::Error) -> Self {
        error.downcast::<Self>().unwrap_or_else(Self::Source)
    }
}

/// The rows of one file, each a line of JSON that ends with LF: a row is record number so-and-so of the content.
///
/// Reads every row group twice: once to know that all of them decode, once to give out their rows. What is small is
/// fetched once.
pub struct Rows<R> {
    ranges: R,
    limits: Limits,
    footer: Footer,
    /// Row groups that were fetched at once and are kept for the second reading.
    kept: Vec<(u64, Bytes)>,
    kept_bytes: u64,
    next_group: usize,
    group: Group,
    /// Rows at hand that are not written, the first of them as far as `member` and `piece`.
    rows_at_hand: u64,
    member: usize,
    piece: usize,
    row_begun: bool,
    out: Vec<u8>,
    given: usize,
}

/// The row group that is being read.
#[derive(Default)]
struct Group {
    columns: Vec<Column>,
    rows_left: u64,
    rows_at_once: u64,
}

impl<R: Ranges> Rows<R> {
    /// Reads the footer and decodes the whole file once.
    ///
    /// # Errors
    /// `Damaged` and `TooLarge` when any of it cannot be given out; `Source` when `ranges` fails.
    pub fn open(mut ranges: R, limits: Limits) -> Result<Self, RowsError> {
        let footer = Footer::read(&mut ranges, &limits)?;
        let mut rows = Self {
            ranges,
            limits,
            footer,
            kept: Vec::new(),
            kept_bytes: 0,
            next_group: 0,
            group: Group::default(),
            rows_at_hand: 0,
            member: 0,
            piece: 0,
            row_begun: false,
            out: Vec::new(),
            given: 0,
        };
        rows.try_all()?;
        Ok(rows)
    }

    /// How many rows the file has.
    pub fn count(&self) -> u64 {
        self.footer.rows
    }

    /// Decodes everything, and writes for nobody what could still fail while it is written.
    fn try_all(&mut self) -> Result<(), RowsError> {
        let mut text_bytes: u64 = 0;
        let mut scratch = Vec::new();
        while self.next_rows()? {
            text_bytes += self.group.columns.iter().map(Column::text_bytes).sum::<u64>();
            if text_bytes > self.limits.text_bytes_max {
                return Err(RowsError::TooLarge { what: "its text", bytes_max: self.limits.text_bytes_max });
            }
            if self.footer.shape.is_nested {
                for _ in 0..self.rows_at_hand {
                    self.try_row(&mut scratch)?;
                }
            }
            self.rows_at_hand = 0;
        }
        self.next_group = 0;
        Ok(())
    }

    fn try_row(&mut self, scratch: &mut Vec<u8>) -> Result<(), RowsError> {
        let columns = &mut self.group.columns;
        for member in &self.footer.shape.members {
            scratch.clear();
            if matches!(member.kind, Kind::Value(_)) && member.repeats.is_none() {
                columns[member.columns.start].advance();
            } else {
                write_member(scratch, member, columns, self.limits.nested_json_bytes_max)?;
                if columns[member.columns.clone()].iter().any(|column| column.rep() != 0) {
                    return Err(RowsError::damaged("a nested column's rows do not end together".to_owned()));
                }
            }
        }
        Ok(())
    }

    /// Decodes the next rows; false at the end of the file.
    fn next_rows(&mut self) -> Result<bool, RowsError> {
        while self.group.rows_left == 0 {
            self.group.columns.iter().try_for_each(Column::end)?;
            if self.next_group == self.footer.metadata.num_row_groups() {
                self.group = Group::default();
                return Ok(false);
            }
            self.group = self.open_group(self.next_group)?;
            self.next_group += 1;
        }
        let rows = self.group.rows_left.min(self.group.rows_at_once);
        for at in 0..self.group.columns.len() {
            self.group.columns[at].chunk.supply(&mut self.ranges, rows, &self.limits)?;
            let cost: u64 = self.group.columns.iter().map(|column| column.chunk.cost()).sum();
            if cost > self.limits.decoding_bytes_max {
                let bytes_max = self.limits.decoding_bytes_max;
                return Err(RowsError::TooLarge { what: "what is decoded at once", bytes_max });
            }
        }
        let columns = &mut self.group.columns;
        let count = usize::try_from(rows).unwrap_or(usize::MAX);
        unpanicked(|| columns.iter_mut().try_for_each(|column| column.read(count)))?;
        self.group.rows_left -= rows;
        self.rows_at_hand = rows;
        Ok(true)
    }

    fn open_group(&mut self, index: usize) -> Result<Group, RowsError> {
        let group = self.footer.metadata.row_group(index);
        let count = group.num_columns() as u64;
        let window_bytes = (self.limits.fetch_bytes_max / count.max(1)).clamp(64 << 10, 1 << 20);
        let mut chunks = Vec::with_capacity(group.num_columns());
        for meta in group.columns() {
            chunks.push(Chunk::new(meta, self.footer.start, window_bytes, &self.limits)?);
        }
        let start = chunks.iter().map(|chunk| chunk.span().0).min().unwrap_or(0);
        let end = chunks.iter().map(|chunk| chunk.span().1).max().unwrap_or(0);
        if end - start <= self.limits.fetch_bytes_max {
            let stretch = self.stretch(start, end - start)?;
            chunks.iter_mut().for_each(|chunk| chunk.lend(&stretch, start));
        }
        let mut rows_at_once = ROWS_AT_ONCE.min((VALUES_AT_ONCE / count.max(1)).max(1));
        let value_cost: u64 = chunks.iter().map(Chunk::value_cost).sum();
        if let Some(rows) = (self.limits.decoding_bytes_max / 4).checked_div(value_cost) {
            rows_at_once = rows_at_once.min(rows.max(1));
        }
        let group = self.footer.metadata.row_group(index);
        let descrs = group.schema_descr().columns();
        let columns = unpanicked(|| Ok(descrs.iter().zip(chunks).map(|(descr, chunk)| Column::new(descr, chunk)).collect()))?;
        Ok(Group { columns, rows_left: u64::try_from(group.num_rows()).unwrap_or(0), rows_at_once })
    }

    /// A stretch of the file that is fetched at once.
    fn stretch(&mut self, start: u64, length: u64) -> Result<Bytes, RowsError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if let Some((_, kept)) = self.kept.iter().find(|(at, kept)| *at == start && kept.len() == length) {
            return Ok(kept.clone());
        }
        let bytes = self.ranges.read(start, length).map_err(RowsError::Source)?;
        if bytes.len() != length {
            return Err(RowsError::Source(io::ErrorKind::UnexpectedEof.into()));
        }
        if self.kept_bytes + length as u64 <= self.limits.fetch_bytes_max {
            self.kept_bytes += length as u64;
            self.kept.push((start, bytes.clone()));
        }
        Ok(bytes)
    }

    /// Writes rows until there is enough of them.
    fn fill(&mut self) -> Result<(), RowsError> {
        self.out.clear();
        self.given = 0;
        while self.out.len() < OUT_BYTES {
            if self.rows_at_hand == 0 && !self.next_rows()? {
                return Ok(());
            }
            self.write_row()?;
        }
        Ok(())
    }

    /// Writes the row at hand from where it was left, to its end unless there is enough before.
    fn write_row(&mut self) -> Result<(), RowsError> {
        let (out, columns) = (&mut self.out, &mut self.group.columns);
        while let Some(member) = self.footer.shape.members.get(self.member) {
            let before = out.len();
            if self.piece == 0 {
                out.push(if self.row_begun { b',' } else { b'{' });
            }
            match &member.kind {
                Kind::Value(format) if member.repeats.is_none() => {
                    let column = &mut columns[member.columns.start];
                    match column.peek().filter(|_| column.is_present()) {
                        None => out.truncate(before),
                        Some(value) => {
                            if self.piece == 0 {
                                out.extend_from_slice(&member.key);
                            }
                            if let Some(next) = write_piece(out, value, *format, self.piece) {
                                self.piece = next;
                                self.row_begun = true;
                                return Ok(());
                            }
                            self.piece = 0;
                        }
                    }
                    column.advance();
                }
                _ => {
                    let member_end = out.len() + self.limits.nested_json_bytes_max;
                    write_member(out, member, columns, member_end)?;
                    // It leaves a comma behind it, or nothing when it was null.
                    out.pop();
                }
            }
            self.row_begun |= out.len() > before;
            self.member += 1;
            if out.len() >= OUT_BYTES && self.member < self.footer.shape.members.len() {
                return Ok(());
            }
        }
        out.extend_from_slice(if self.row_begun { b"}\n" } else { b"{}\n" });
        self.row_begun = false;
        self.member = 0;
        self.rows_at_hand -= 1;
        Ok(())
    }
}

/// Writes a value, or of a long text the piece from `from` on; says where the next piece begins, if there is one.
fn write_piece(out: &mut Vec<u8>, value: Stored<'_>, format: Format, from: usize) -> Option<usize> {
    if let (Stored::Bytes(bytes), Format::Plain) = (value, format)
        && bytes.len() > PIECE_BYTES
        && let Ok(text) = std::str::from_utf8(bytes.data())
    {
        if from == 0 {
            out.push(b'"');
        }
        let to = text.floor_char_boundary(from + PIECE_BYTES);
        write_text(out, text.get(from..to).unwrap_or_default());
        if to < text.len() {
            return Some(to);
        }
        out.push(b'"');
        return None;
    }
    write_value(out, value, format);
    None
}

impl<R: Ranges> Read for Rows<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.given == self.out.len() {
            self.fill().map_err(|error| match error {
                RowsError::Source(error) => error,
                error => io::Error::other(error),
            })?;
        }
        let rest = &self.out[self.given..];
        let count = into.len().min(rest.len());
        into[..count].copy_from_slice(&rest[..count]);
        self.given += count;
        Ok(count)
    }
}

impl<R> std::fmt::Debug for Rows<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("count", &self.footer.rows).finish_non_exhaustive()
    }
}

/// Calls into the decoder, which may panic over a damaged page that it does not expect.
fn unpanicked<T>(decode: impl FnOnce() -> Result<T, RowsError>) -> Result<T, RowsError> {
    catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err(RowsError::damaged("a page is not what its header says".to_owned())))
}

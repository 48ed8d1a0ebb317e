//! Where a Parquet file's bytes come from, how large what it holds may be, and why it is refused.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::{Bytes, BytesMut};

use crate::room::Room;

/// Bytes of one version of an object, by range.
pub trait Ranges {
    fn size_bytes(&self) -> u64;

    /// The memory that reading them may take.
    fn room(&self) -> Room {
        Room::default()
    }

    /// The `length` bytes from `start` on, which lie within the object.
    ///
    /// # Errors
    /// What the source says; [`Rows`](crate::records::rows::Rows) hands it on as it is.
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
    /// How often the file's size its rows may have as JSON, judged past the first 16 MiB.
    pub ratio_max: u64,
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
            ratio_max: 1000,
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
    /// A few values that are repeated often.
    #[error("the Parquet file is refused: its rows have more than {ratio_max} times its size")]
    RatioTooHigh { ratio_max: u64 },
    /// The stored bytes could not be read; nothing is said about them.
    #[error("the stored bytes could not be read")]
    Source(#[source] io::Error),
}

impl RowsError {
    pub(super) const fn damaged(reason: String) -> Self {
        Self::Damaged { reason }
    }

    /// The error inside an error that [`Rows`](crate::records::rows::Rows) returned as a reader; any other error is the source's.
    pub fn from_read(error: io::Error) -> Self {
        error.downcast::<Self>().unwrap_or_else(Self::Source)
    }
}

impl From<RowsError> for io::Error {
    /// What [`RowsError::from_read`] undoes.
    fn from(error: RowsError) -> Self {
        match error {
            RowsError::Source(error) => error,
            error => Self::other(error),
        }
    }
}

/// Calls into the decoder, which may panic over a damaged page that it does not expect.
pub(super) fn unpanicked<T>(decode: impl FnOnce() -> Result<T, RowsError>) -> Result<T, RowsError> {
    catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err(RowsError::damaged("a page is not what its header says".to_owned())))
}

//! The source of a Parquet file's bytes, the limits on its content, and the errors.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::{Bytes, BytesMut};

use crate::room::Room;

/// Bytes of one version of an object, by range.
pub trait Ranges {
    fn size_bytes(&self) -> u64;

    /// The memory that reading the bytes may take.
    fn room(&self) -> Room {
        Room::default()
    }

    /// The `length` bytes from offset `start` on. The range must lie within the object.
    ///
    /// # Errors
    /// Those of the source, which [`Rows`](crate::records::rows::Rows) returns unchanged.
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

/// Limits on the content of a file. The defaults keep one file under 100 MiB of memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of the metadata at the file's end.
    pub footer_bytes_max: u64,
    pub columns_max: usize,
    /// How deeply groups may be nested.
    pub depth_max: usize,
    pub rows_max: u64,
    /// Bytes of an inflated page, and so of the longest value.
    pub page_bytes_max: u64,
    /// Bytes of dictionaries and pages that are inflated at the same time, over all columns.
    pub decoding_bytes_max: u64,
    /// Row groups and files up to this many bytes are fetched whole. Of a larger row group, each column is fetched in
    /// parts.
    pub fetch_bytes_max: u64,
    /// Stored bytes of one nested column of one row group, which is fetched whole.
    pub nested_chunk_bytes_max: u64,
    /// Values of one nested column in the rows decoded at a time.
    pub nested_values_max: u64,
    /// Bytes of one nested column of one row, as JSON.
    pub nested_json_bytes_max: usize,
    /// Inflated bytes of all text in the file.
    pub text_bytes_max: u64,
    /// How many times the file's size its rows may take as JSON. Checked only past the first 16 MiB.
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

/// Why rows cannot be read. All variants but `Source` are permanent: another reading of the same version fails in the
/// same way.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The file is truncated, contradicts itself, or uses a feature that is not supported.
    #[error("the Parquet file is refused: {reason}")]
    Damaged { reason: String },
    #[error("the Parquet file is refused: {what} has more than {bytes_max} bytes")]
    TooLarge { what: &'static str, bytes_max: u64 },
    /// The rows take too many times the file's size, since the file repeats a few values very often.
    #[error("the Parquet file is refused: its rows have more than {ratio_max} times its size")]
    RatioTooHigh { ratio_max: u64 },
    /// The stored bytes could not be read. This says nothing about the file's content.
    #[error("the stored bytes could not be read")]
    Source(#[source] io::Error),
}

impl RowsError {
    pub(super) const fn damaged(reason: String) -> Self {
        Self::Damaged { reason }
    }

    /// The error inside an `io::Error` that [`Rows`](crate::records::rows::Rows) returned. Any other `io::Error` came
    /// from the source.
    pub fn from_read(error: io::Error) -> Self {
        error.downcast::<Self>().unwrap_or_else(Self::Source)
    }
}

impl From<RowsError> for io::Error {
    /// [`RowsError::from_read`] is the inverse.
    fn from(error: RowsError) -> Self {
        match error {
            RowsError::Source(error) => error,
            error => Self::other(error),
        }
    }
}

/// Calls the decoder, and turns a panic into an error. The Parquet crate may panic over a damaged page.
pub(super) fn unpanicked<T>(decode: impl FnOnce() -> Result<T, RowsError>) -> Result<T, RowsError> {
    catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err(RowsError::damaged("a page is not what its header says".to_owned())))
}

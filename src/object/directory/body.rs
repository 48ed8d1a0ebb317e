//! The bytes of one file as they are read.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;

use bytes::Bytes;

use crate::identity::fault::FaultKind;
use crate::notification::ObjectId;
use crate::notification::directory::{file_etag, modified_ms};
use crate::object::version::{CHUNK_BYTES_MAX, ReadError, Version};

/// The bytes a file had when it was opened.
///
/// A file that was replaced meanwhile is read to its old end; one that grew, up to where it ended before. One that
/// shrank, or was written to without growing, has changed. A file cut off and written again beyond its old length while
/// it is read cannot be told from one that grew: writers should replace files, not rewrite them.
#[derive(Debug)]
pub struct FileBody {
    object: ObjectId,
    /// `None` when all is given, or an error was.
    file: Option<File>,
    etag: Box<str>,
    /// When it was last written, and when it came to be what it is, in milliseconds since the epoch.
    modified_ms: Option<i64>,
    arrived_ms: Option<i64>,
    at: u64,
    end: u64,
    /// The bytes that were given last: their memory is used again once whoever got them is done.
    given: Bytes,
}

impl FileBody {
    /// The bytes that the opened file has now.
    pub(super) fn new(object: &ObjectId, file: File, version: &Version, arrived_ms: Option<i64>) -> Self {
        let (object, etag, modified_ms) = (object.clone(), version.etag.clone(), version.last_modified_ms);
        Self {
            object,
            file: Some(file),
            etag,
            modified_ms,
            arrived_ms,
            at: 0,
            end: version.size_bytes,
            given: Bytes::new(),
        }
    }

    /// When the file came to be what it is, in milliseconds since the epoch. Another write within the same tick of the file
    /// system's clock, which is a few milliseconds long, would not show in its entity tag.
    pub fn arrived_ms(&self) -> Option<i64> {
        self.arrived_ms
    }

    /// The next bytes, at least 1 and at most `CHUNK_BYTES_MAX`; `None` when every byte of the version was given, never
    /// sooner. Blocks while it reads: to be called on a worker's thread.
    ///
    /// # Errors
    /// The file changed, or cannot be read. There is nothing more then.
    pub fn read(&mut self) -> Option<Result<Bytes, ReadError>> {
        let file = self.file.as_mut()?;
        let result = if self.at < self.end {
            let length = usize::try_from(self.end - self.at).unwrap_or(CHUNK_BYTES_MAX).min(CHUNK_BYTES_MAX);
            let mut chunk = std::mem::take(&mut self.given).try_into_mut().unwrap_or_default();
            chunk.resize(length, 0);
            match file.read(&mut chunk) {
                Ok(0) => Err(ReadError::Changed { object: self.object.clone() }),
                Ok(count) => {
                    chunk.truncate(count);
                    self.at += count as u64;
                    self.given = chunk.freeze();
                    Ok(self.given.clone())
                }
                Err(error) => Err(failed(&self.object, &error)),
            }
        } else {
            match file.metadata() {
                Ok(now) if now.len() > self.end || is_same(&now, &self.etag, self.end, self.modified_ms) => {
                    self.file = None;
                    return None;
                }
                Ok(_) => Err(ReadError::Changed { object: self.object.clone() }),
                Err(error) => Err(failed(&self.object, &error)),
            }
        };
        if result.is_err() {
            self.file = None;
        }
        Some(result)
    }
}

/// Whether nobody has written to a file that was opened with this tag, size and time. Removing its last name is a change of
/// the file too.
pub(super) fn is_same(now: &Metadata, etag: &str, size_bytes: u64, modified_at_ms: Option<i64>) -> bool {
    let was_replaced = now.nlink() == 0 && now.len() == size_bytes && modified_ms(now) == modified_at_ms;
    was_replaced || *file_etag(now) == *etag
}

pub(super) fn failed(object: &ObjectId, error: &io::Error) -> ReadError {
    let (object, kind, reason) = (object.clone(), FaultKind::of_file(error), error.to_string());
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ReadError::NotFound { object },
        io::ErrorKind::PermissionDenied => ReadError::Denied { object, kind, reason },
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename => ReadError::Damaged { object, reason },
        _ => ReadError::Unavailable { object, kind, reason },
    }
}

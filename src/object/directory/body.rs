//! The bytes of one file as they are read.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

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
    /// When it was last written, in milliseconds since the epoch.
    modified_ms: Option<i64>,
    at: u64,
    end: u64,
}

impl FileBody {
    /// The bytes of the opened file from `at` up to, not including, `end`.
    pub(super) fn new(object: &ObjectId, file: File, version: &Version, at: u64, end: u64) -> Self {
        let (etag, modified_ms) = (version.etag.clone(), version.last_modified_ms);
        Self { object: object.clone(), file: Some(file), etag, modified_ms, at, end }
    }

    pub(in crate::object) async fn next(&mut self) -> Option<Result<Bytes, ReadError>> {
        let file = self.file.as_mut()?;
        let result = if self.at < self.end {
            let length = usize::try_from(self.end - self.at).unwrap_or(CHUNK_BYTES_MAX).min(CHUNK_BYTES_MAX);
            let mut chunk = BytesMut::with_capacity(length).limit(length);
            match file.read_buf(&mut chunk).await {
                Ok(0) => Err(ReadError::Changed { object: self.object.clone() }),
                Ok(_) => Ok(chunk.into_inner().freeze()),
                Err(error) => Err(failed(&self.object, &error)),
            }
        } else {
            let now = file.metadata().await;
            match now {
                Ok(now) if now.len() > self.end || self.is_same(&now) => {
                    self.file = None;
                    return None;
                }
                Ok(_) => Err(ReadError::Changed { object: self.object.clone() }),
                Err(error) => Err(failed(&self.object, &error)),
            }
        };
        match &result {
            Ok(chunk) => self.at += chunk.len() as u64,
            Err(_) => self.file = None,
        }
        Some(result)
    }

    /// Whether nobody has written to the file. That its last name was taken away is a change of the file too.
    fn is_same(&self, now: &Metadata) -> bool {
        let was_replaced = now.nlink() == 0 && now.len() == self.end && modified_ms(now) == self.modified_ms;
        was_replaced || *file_etag(now) == *self.etag
    }
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

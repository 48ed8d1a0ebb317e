//! The bytes of one file as they are read.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::pin::Pin;

use bytes::Bytes;

use crate::identity::fault::FaultKind;
use crate::notification::ObjectId;
use crate::notification::directory::{Directory, Steps, file_etag, modified_ms};
use crate::object::version::{CHUNK_BYTES_MAX, ReadError, Version};

/// How many bytes one call reads.
const CALL_BYTES: u64 = 1 << 20;

/// How many bytes make one step. A file system that takes longer than the timeout for a step is not answering.
pub(super) const STEP_BYTES: usize = 64 << 10;

/// The bytes a file had when it was opened.
///
/// A file that is replaced while it is read is read to its old end; one that grows, up to its length when opened. One
/// that shrinks, or is written to without growing, has changed. A file that is truncated and rewritten beyond its old
/// length cannot be told from one that grew: writers should replace files, not rewrite them.
pub struct FileBody {
    object: ObjectId,
    directory: Directory,
    /// When the file came to its present state, in milliseconds since the epoch.
    arrived_ms: Option<i64>,
    /// Bytes that were read and not returned yet.
    ready: Bytes,
    rest: Rest,
}

/// What is left to read.
enum Rest {
    Nothing,
    Unread(Open),
    /// The next bytes are being read.
    Coming(Pin<Box<dyn Future<Output = io::Result<Read>> + Send>>),
}

/// An open file, and how far it has been read.
struct Open {
    file: File,
    etag: Box<str>,
    /// When the file was last written, in milliseconds since the epoch.
    modified_ms: Option<i64>,
    at: u64,
    end: u64,
    /// The bytes returned last. Their memory is used again once the receiver has dropped them.
    given: Bytes,
}

/// What one call read.
enum Read {
    Some(Bytes, Open),
    /// The last bytes of the file.
    Last(Bytes),
    Changed,
}

impl FileBody {
    /// A body of the bytes that the opened file has now.
    pub(super) fn new(
        object: &ObjectId,
        directory: &Directory,
        file: File,
        version: &Version,
        arrived_ms: Option<i64>,
    ) -> Self {
        let (etag, modified_ms, end) = (version.etag.clone(), version.last_modified_ms, version.size_bytes);
        let rest = Rest::Unread(Open { file, etag, modified_ms, at: 0, end, given: Bytes::new() });
        Self { object: object.clone(), directory: directory.clone(), arrived_ms, ready: Bytes::new(), rest }
    }

    /// When the file came to its present state, in milliseconds since the epoch. Its entity tag would not show another
    /// write within the same tick of the file system's clock, which is a few milliseconds long.
    pub fn arrived_ms(&self) -> Option<i64> {
        self.arrived_ms
    }

    /// As [`Body::next`](crate::object::Body::next).
    pub(in crate::object) async fn next(&mut self) -> Option<Result<Bytes, ReadError>> {
        while self.ready.is_empty() {
            if let Err(error) = self.read().await? {
                return Some(Err(error));
            }
        }
        Some(Ok(self.ready.split_to(self.ready.len().min(CHUNK_BYTES_MAX))))
    }

    /// Reads on. `None` if nothing is left. Cancel-safe: the call goes on, and the next `read` awaits it.
    async fn read(&mut self) -> Option<Result<(), ReadError>> {
        self.rest = match std::mem::replace(&mut self.rest, Rest::Nothing) {
            Rest::Unread(open) => {
                let directory = self.directory.clone();
                Rest::Coming(Box::pin(async move { directory.call(move |_, steps| open.read(steps)).await }))
            }
            rest => rest,
        };
        let Rest::Coming(coming) = &mut self.rest else { return None };
        let read = coming.await;
        self.rest = Rest::Nothing;
        match read {
            Ok(Read::Some(bytes, open)) => (self.ready, self.rest) = (bytes, Rest::Unread(open)),
            Ok(Read::Last(bytes)) => self.ready = bytes,
            Ok(Read::Changed) => return Some(Err(ReadError::Changed { object: self.object.clone() })),
            Err(error) => return Some(Err(failed(&self.object, &error))),
        }
        Some(Ok(()))
    }
}

impl Open {
    /// Reads on, as much as one call may. Blocks.
    fn read(mut self, steps: &Steps) -> io::Result<Read> {
        let length = usize::try_from((self.end - self.at).min(CALL_BYTES)).unwrap_or_default();
        let mut bytes = std::mem::take(&mut self.given).try_into_mut().unwrap_or_default();
        bytes.resize(length, 0);
        let mut filled = 0;
        while filled < length {
            let to = length.min(filled + STEP_BYTES);
            match self.file.read(&mut bytes[filled..to]) {
                Ok(0) => return Ok(Read::Changed),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            steps.step();
        }
        self.at += length as u64;
        let bytes = bytes.freeze();
        self.given = bytes.clone();
        if self.at < self.end {
            return Ok(Read::Some(bytes, self));
        }
        let now = self.file.metadata()?;
        let was_left = now.len() > self.end || is_same(&now, &self.etag, self.end, self.modified_ms);
        Ok(if was_left { Read::Last(bytes) } else { Read::Changed })
    }
}

impl fmt::Debug for FileBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileBody").field("object", &self.object).finish_non_exhaustive()
    }
}

/// Whether nobody has written to a file since it had this tag, size and time. Removing its last name changes the tag as
/// well, but not the content.
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

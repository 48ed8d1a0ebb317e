//! One version of one object as a reader for a worker's thread, which can be begun again.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::runtime::Handle;

use crate::collector::job::task::JobError;
use crate::identity::fault::FaultKind;
use crate::notification::ObjectId;
use crate::object::inflate::{Inflate, InflateError};
use crate::object::{Body, Condition, Objects as _, Place, Range, ReadError, Reading, Snapshot, Version};
use crate::records::lines::LinesError;
use crate::records::rows::{Ranges, Rows, RowsError};

/// An object as small as this is kept while it is worked on, so that reading it twice asks for it once.
const KEPT_BYTES_MAX: u64 = 4 << 20;

/// Enough to tell what an object is.
const BEGINNING_BYTES: usize = 4;

/// The bytes of one version, from the beginning, as often as they are needed.
pub(super) struct Source<'a> {
    pub(super) version: Version,
    object: &'a ObjectId,
    place: &'a Place,
    runtime: &'a Handle,
    /// The body that came with the version, until it is used.
    first: Option<Body>,
    /// The first bytes of that body, when they were looked at.
    head: Option<Bytes>,
    /// The first of those, which tell what the object is.
    beginning: Bytes,
    kept: Option<Bytes>,
    /// Bytes read from the place so far.
    pub(super) fetched_bytes: u64,
}

impl<'a> Source<'a> {
    pub(super) fn new(snapshot: Snapshot, object: &'a ObjectId, place: &'a Place, runtime: &'a Handle) -> Self {
        let Snapshot { version, body } = snapshot;
        Self {
            version,
            object,
            place,
            runtime,
            first: Some(body),
            head: None,
            beginning: Bytes::new(),
            kept: None,
            fetched_bytes: 0,
        }
    }

    /// The bytes from the beginning.
    ///
    /// # Errors
    /// `Changed` when the place does not have this version any more.
    pub(super) fn open(&mut self) -> Result<BodyReader<'a>, ReadError> {
        if let Some(kept) = &self.kept {
            return Ok(BodyReader { runtime: self.runtime, body: None, chunk: kept.clone() });
        }
        let mut body = self.body()?;
        let head = self.head.take().unwrap_or_default();
        self.fetched_bytes += self.version.size_bytes;
        if self.version.size_bytes > KEPT_BYTES_MAX {
            return Ok(BodyReader { runtime: self.runtime, body: Some(body), chunk: head });
        }
        let mut kept = BytesMut::from(&head[..]);
        while let Some(chunk) = self.runtime.block_on(body.next()) {
            kept.extend_from_slice(&chunk?);
        }
        let kept = kept.freeze();
        self.kept = Some(kept.clone());
        Ok(BodyReader { runtime: self.runtime, body: None, chunk: kept })
    }

    /// The first bytes, as many as came at once; none of an empty object. To be asked before anything is read.
    pub(super) fn head(&mut self) -> Result<Bytes, ReadError> {
        if let (None, Some(body)) = (&self.head, &mut self.first) {
            self.head = self.runtime.block_on(body.next()).transpose()?;
            self.beginning = self.head.clone().unwrap_or_default();
            self.beginning.truncate(BEGINNING_BYTES);
        }
        Ok(self.head.clone().unwrap_or_default())
    }

    /// The first few bytes, once [`head`](Self::head) was asked for.
    pub(super) fn beginning(&self) -> &[u8] {
        &self.beginning
    }

    /// The bytes by range.
    pub(super) fn ranges(&mut self) -> Result<RangeReader<'a>, ReadError> {
        if self.version.size_bytes <= KEPT_BYTES_MAX && self.kept.is_none() {
            self.open()?;
        } else if self.kept.is_none() {
            // Nothing more is read of the body that came with the version.
            self.first = None;
            self.fetched_bytes += self.version.size_bytes;
        }
        let same = Condition::OnlyEtag(self.version.etag.clone());
        let (runtime, place, object) = (self.runtime, self.place, self.object);
        Ok(RangeReader { runtime, place, object, same, size_bytes: self.version.size_bytes, kept: self.kept.clone() })
    }

    fn body(&mut self) -> Result<Body, ReadError> {
        if let Some(body) = self.first.take() {
            return Ok(body);
        }
        let same = Condition::OnlyEtag(self.version.etag.clone());
        match self.runtime.block_on(self.place.read(self.object, same))? {
            Reading::Changed(snapshot) => Ok(snapshot.body),
            Reading::Unchanged => Err(ReadError::Changed { object: self.object.clone() }),
        }
    }

    /// What an error out of the layers over this source means for the job.
    pub(super) fn job_error(&self, error: io::Error) -> JobError {
        let damaged = |reason: String| JobError::Unreadable {
            object: self.object.clone(),
            etag: self.version.etag.clone(),
            kind: FaultKind::Damaged,
            reason,
        };
        let error = match RowsError::from_read(error) {
            RowsError::Source(error) => error,
            refused => return damaged(refused.to_string()),
        };
        match InflateError::from_read(error) {
            InflateError::Source(source) => match source.downcast::<ReadError>() {
                Ok(ReadError::Damaged { reason, .. }) => damaged(reason),
                Ok(error) => JobError::Read(error),
                Err(error) => {
                    let (object, reason) = (self.object.clone(), error.to_string());
                    JobError::Read(ReadError::Unavailable { object, kind: FaultKind::Unavailable, reason })
                }
            },
            error => damaged(error.to_string()),
        }
    }

    pub(super) fn lines_error(&self, error: LinesError) -> JobError {
        match error {
            LinesError::Source(error) => self.job_error(error),
            // Whoever starts in the middle handles it; from the beginning there is no line before.
            LinesError::LastLineGrew => JobError::Read(ReadError::Changed { object: self.object.clone() }),
        }
    }
}

/// An object's content, in lines.
pub(super) enum Content<'a> {
    Inflated(Box<Inflate<BodyReader<'a>>>),
    Rows(Box<Rows<RangeReader<'a>>>),
}

impl Read for Content<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Inflated(content) => content.read(into),
            Self::Rows(content) => content.read(into),
        }
    }
}

/// A body as a blocking reader. The place's own errors come inside [`io::Error`].
pub(super) struct BodyReader<'a> {
    runtime: &'a Handle,
    body: Option<Body>,
    chunk: Bytes,
}

impl Read for BodyReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            let Some(body) = &mut self.body else { return Ok(0) };
            match self.runtime.block_on(body.next()) {
                Some(Ok(chunk)) => self.chunk = chunk,
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => self.body = None,
            }
        }
        let count = into.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut into[..count]);
        Ok(count)
    }
}

/// The bytes of one version by range. The place's own errors come inside [`io::Error`].
pub(super) struct RangeReader<'a> {
    runtime: &'a Handle,
    place: &'a Place,
    object: &'a ObjectId,
    /// Of no other version.
    same: Condition,
    size_bytes: u64,
    kept: Option<Bytes>,
}

impl Ranges for RangeReader<'_> {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read(&mut self, start: u64, length: usize) -> io::Result<Bytes> {
        if let Some(kept) = &mut self.kept {
            return Ranges::read(kept, start, length);
        }
        if length == 0 {
            return Ok(Bytes::new());
        }
        let range = Range::Between(start, start.saturating_add(length as u64));
        let part = self.runtime.block_on(self.place.read_range(self.object, self.same.clone(), range));
        match part.map_err(io::Error::other)? {
            Reading::Changed(part) if part.start == start => Ok(part.bytes),
            _ => Err(io::Error::other(ReadError::Changed { object: self.object.clone() })),
        }
    }
}

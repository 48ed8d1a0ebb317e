//! The bytes of one version in S3 as they arrive, and the requests for them.

use std::pin::Pin;
use std::sync::Arc;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::get_object::builders::GetObjectFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;

use crate::identity::fault::{Fault, FaultKind, chained};
use crate::notification::ObjectId;
use crate::notification::scan::S3Client;
use crate::object::s3::failure::{failed, unavailable};
use crate::object::version::{CHUNK_BYTES_MAX, Condition, Range, ReadError, Version};

/// The most times in a row that a broken body is resumed without progress.
const RESUMES_MAX: u32 = 5;
/// What a silent body counts as: it has cost its timeout already.
const SILENCE_RESUMES: u32 = 3;
/// How many bytes are progress: a connection that breaks after every few bytes is no better than a dead one.
const PROGRESS_BYTES: u64 = 1 << 20;

/// The entity tag of a reply, without its quotes.
pub(super) fn plain_etag(object: &ObjectId, etag: Option<&str>) -> Result<Box<str>, ReadError> {
    let etag = etag.map(|etag| etag.trim_start_matches("W/").trim_matches('"')).filter(|etag| !etag.is_empty());
    Ok(etag.ok_or_else(|| unavailable(object, "the reply names no entity tag"))?.into())
}

/// Why the rest of a body must be requested again.
struct Broken {
    kind: FaultKind,
    reason: String,
}

/// The beginning of a reply: its head is read, its body is not.
pub(super) struct Opened {
    pub(super) version: Version,
    pub(super) start: u64,
    pub(super) end: u64,
    stream: ByteStream,
}

impl Opened {
    pub(super) fn new(object: &ObjectId, reply: GetObjectOutput, range: Option<Range>) -> Result<Self, ReadError> {
        let length = reply.content_length.and_then(|length| u64::try_from(length).ok());
        let length = length.ok_or_else(|| unavailable(object, "the reply does not tell its length"))?;
        let etag = plain_etag(object, reply.e_tag.as_deref())?;
        let (start, size_bytes) = match range {
            None => (0, length),
            Some(_) => {
                let told = reply.content_range.as_deref().and_then(content_range);
                let told = told.filter(|(first, last, size)| first + length == last + 1 && last < size);
                let (start, _, size) =
                    told.ok_or_else(|| unavailable(object, "the reply is not the range asked for"))?;
                (start, size)
            }
        };
        let version = Version {
            etag,
            // `null` is the version of an object from before its bucket kept versions.
            version_id: reply.version_id.filter(|id| id != "null").map(Into::into),
            last_modified_ms: reply.last_modified.and_then(|at| at.to_millis().ok()),
            size_bytes,
        };
        Ok(Self { version, start, end: start + length, stream: reply.body })
    }
}

/// The bytes of one version as they arrive. Resumes if the connection breaks.
#[derive(Debug)]
pub struct S3Body {
    client: Arc<S3Client>,
    object: ObjectId,
    etag: Box<str>,
    /// `None` after the last byte or an error.
    stream: Option<ByteStream>,
    /// Bytes that were received and not returned yet.
    received: Bytes,
    /// The offset up to which bytes were received.
    at: u64,
    end: u64,
    /// Breaks in a row without progress; `resumes` weighs each by what it cost.
    breaks: u32,
    resumes: u32,
    resumed_at: u64,
    /// The request for the rest, while it is under way. It survives a caller that stops waiting for [`next`](S3Body::next).
    resuming: Option<Resuming>,
}

/// A request for the rest of a body.
struct Resuming(Pin<Box<dyn Future<Output = Result<ByteStream, ReadError>> + Send>>);

impl std::fmt::Debug for Resuming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resuming").finish_non_exhaustive()
    }
}

impl S3Body {
    pub(super) fn new(client: Arc<S3Client>, object: ObjectId, opened: Opened) -> Self {
        Self {
            client,
            object,
            etag: opened.version.etag,
            stream: Some(opened.stream),
            received: Bytes::new(),
            at: opened.start,
            end: opened.end,
            breaks: 0,
            resumes: 0,
            resumed_at: opened.start,
            resuming: None,
        }
    }

    pub(in crate::object) async fn next(&mut self) -> Option<Result<Bytes, ReadError>> {
        loop {
            if !self.received.is_empty() {
                return Some(Ok(self.received.split_to(self.received.len().min(CHUNK_BYTES_MAX))));
            }
            if let Some(Resuming(request)) = &mut self.resuming {
                let resumed = request.await;
                self.resuming = None;
                match resumed {
                    Ok(stream) => self.stream = Some(stream),
                    Err(ReadError::Unavailable { kind, reason, .. }) => match self.resume(Broken { kind, reason }) {
                        Ok(()) => continue,
                        Err(error) => return Some(Err(error)),
                    },
                    Err(error) => {
                        self.stream = None;
                        return Some(Err(error));
                    }
                }
            }
            let patience = self.client.identity.request_timeout();
            let broken = match tokio::time::timeout(patience, self.stream.as_mut()?.next()).await {
                Ok(Some(Ok(bytes))) if bytes.len() as u64 <= self.end - self.at => {
                    self.at += bytes.len() as u64;
                    self.received = bytes;
                    continue;
                }
                Ok(Some(Ok(_))) => return Some(self.give_up("the reply is longer than it said")),
                // If S3 keeps a checksum, the SDK compares it after the last byte.
                Ok(Some(Err(error))) if self.at == self.end => return Some(self.give_up(&chained(&error))),
                Ok(Some(Err(error))) => Broken { kind: FaultKind::Unavailable, reason: chained(&error) },
                Ok(None) if self.at == self.end => {
                    self.stream = None;
                    return None;
                }
                Ok(None) => {
                    let reason = "the reply is shorter than it said".to_owned();
                    Broken { kind: FaultKind::Unavailable, reason }
                }
                Err(_elapsed) => {
                    let reason = format!("nothing came for {} s", patience.as_secs_f64());
                    Broken { kind: FaultKind::Timeout, reason }
                }
            };
            if let Err(error) = self.resume(broken) {
                return Some(Err(error));
            }
        }
    }

    /// Requests the rest of the body, unless it broke too often.
    fn resume(&mut self, Broken { kind, reason }: Broken) -> Result<(), ReadError> {
        if self.at - self.resumed_at >= PROGRESS_BYTES {
            (self.resumes, self.breaks) = (0, 0);
        }
        self.resumed_at = self.at;
        self.breaks += 1;
        self.resumes += if kind == FaultKind::Timeout { SILENCE_RESUMES } else { 1 };
        if self.resumes > RESUMES_MAX {
            self.stream = None;
            let reason = format!("its body broke {} times in a row, at byte {}: {reason}", self.breaks, self.at);
            return Err(ReadError::Unavailable { object: self.object.clone(), kind, reason });
        }
        let (client, object, etag) = (Arc::clone(&self.client), self.object.clone(), self.etag.clone());
        self.resuming = Some(Resuming(Box::pin(rest(client, object, etag, self.at, self.end))));
        Ok(())
    }

    fn give_up(&mut self, reason: &str) -> Result<Bytes, ReadError> {
        self.stream = None;
        Err(unavailable(&self.object, reason))
    }
}

/// Requests the bytes of one version from `start` up to `end`.
async fn rest(
    client: Arc<S3Client>,
    object: ObjectId,
    etag: Box<str>,
    start: u64,
    end: u64,
) -> Result<ByteStream, ReadError> {
    let range = Range::Between(start, end);
    let request = conditional(request(&client, &object), &Condition::OnlyEtag(etag.clone()));
    let reply = request.range(header(range)).send().await;
    let reply = reply.map_err(|error| failed(&client, &object, &Fault::of(&error)))?;
    let opened = Opened::new(&object, reply, Some(range))?;
    if opened.version.etag != etag {
        return Err(ReadError::Changed { object });
    }
    if (opened.start, opened.end) != (start, end) {
        return Err(unavailable(&object, "the reply is not the range asked for"));
    }
    Ok(opened.stream)
}

pub(super) fn request(client: &S3Client, object: &ObjectId) -> GetObjectFluentBuilder {
    client
        .sdk
        .get_object()
        .bucket(client.address(&object.bucket))
        .key(&*object.key)
        .set_expected_bucket_owner(client.expected_bucket_owner.clone())
}

pub(super) fn conditional(request: GetObjectFluentBuilder, condition: &Condition) -> GetObjectFluentBuilder {
    match condition {
        Condition::Any => request,
        Condition::UnlessEtag(etag) => request.if_none_match(format!("\"{etag}\"")),
        Condition::OnlyEtag(etag) => request.if_match(format!("\"{etag}\"")),
    }
}

pub(super) fn header(range: Range) -> String {
    match range {
        Range::Between(start, end) => format!("bytes={start}-{}", end.saturating_sub(1)),
        Range::Last(length) => format!("bytes=-{length}"),
    }
}

/// Parses `bytes 0-9/443`: first byte, last byte, and the object's size.
fn content_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse::<u64>().ok().filter(|last| *last < u64::MAX)?);
    (first <= last).then_some((first, last, size.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_is_read_whole_or_not_at_all() {
        assert_eq!(content_range("bytes 0-9/443"), Some((0, 9, 443)));
        assert_eq!(content_range("bytes 9-0/443"), None);
        assert_eq!(content_range("bytes */443"), None);
        assert_eq!(content_range("bytes 0-9/*"), None);
        assert_eq!(content_range("0-9/443"), None);
        assert_eq!(content_range("bytes 0-18446744073709551615/1"), None);
    }

    #[test]
    fn a_range_is_asked_for_by_its_first_and_last_byte() {
        assert_eq!(header(Range::Between(5, 10)), "bytes=5-9");
        assert_eq!(header(Range::Last(8)), "bytes=-8");
    }
}

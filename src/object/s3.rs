//! Objects in S3 and its like.

use std::sync::Arc;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::get_object::builders::GetObjectFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use bytes::BytesMut;

use crate::identity::fault::Fault;
use crate::identity::fault::Remedy;
use crate::identity::fault::chained;
use crate::notification::ObjectId;
use crate::notification::scan::Door;
use crate::object::Body;
use crate::object::CHUNK_BYTES_MAX;
use crate::object::Condition;
use crate::object::Objects;
use crate::object::Part;
use crate::object::RANGE_BYTES_MAX;
use crate::object::Range;
use crate::object::ReadError;
use crate::object::Reading;
use crate::object::Snapshot;
use crate::object::Version;

/// A broken body is asked for again, from where it broke, as often in a row without getting on.
const RESUMES_MAX: u32 = 5;
/// Getting on means as many bytes: a connection that breaks after every few bytes is no better than a dead one.
const PROGRESS_BYTES: u64 = 1 << 20;

/// The objects that one identity reads.
#[derive(Clone, Debug)]
pub struct S3Objects {
    door: Arc<Door>,
}

impl S3Objects {
    pub fn new(door: Door) -> Self {
        Self { door: Arc::new(door) }
    }

    /// The way these objects are read, for listings.
    pub fn door(&self) -> &Door {
        &self.door
    }

    /// `None` where the object still is as the condition says it must not be.
    async fn open(
        &self,
        object: &ObjectId,
        condition: &Condition,
        range: Option<Range>,
    ) -> Result<Option<Opened>, ReadError> {
        let request = conditional(request(&self.door, object), condition).set_range(range.map(header));
        let reply = match request.send().await {
            Ok(reply) => reply,
            Err(error) => {
                let fault = Fault::of(&error);
                let unchanged = fault.status == Some(304) && matches!(condition, Condition::UnlessEtag(_));
                return if unchanged { Ok(None) } else { Err(failed(&self.door, object, &fault)) };
            }
        };
        let opened = Opened::new(object, reply, range)?;
        // Not every look-alike of S3 heeds conditions.
        match condition {
            Condition::UnlessEtag(etag) if *etag == opened.version.etag => Ok(None),
            Condition::OnlyEtag(etag) if *etag != opened.version.etag => {
                Err(ReadError::Changed { object: object.clone() })
            }
            _ => Ok(Some(opened)),
        }
    }

    fn body(&self, object: &ObjectId, opened: Opened) -> S3Body {
        S3Body {
            door: Arc::clone(&self.door),
            object: object.clone(),
            etag: opened.version.etag,
            stream: Some(opened.stream),
            received: Bytes::new(),
            at: opened.start,
            end: opened.end,
            resumes: 0,
            resumed_at: opened.start,
        }
    }
}

impl Objects for S3Objects {
    async fn read(&self, object: &ObjectId, condition: Condition) -> Result<Reading, ReadError> {
        let Some(opened) = self.open(object, &condition, None).await? else {
            return Ok(Reading::Unchanged);
        };
        let version = opened.version.clone();
        Ok(Reading::Changed(Snapshot { version, body: Body::S3(Box::new(self.body(object, opened))) }))
    }

    async fn read_range(
        &self,
        object: &ObjectId,
        condition: Condition,
        range: Range,
    ) -> Result<Reading<Part>, ReadError> {
        check_range(object, range)?;
        let Some(opened) = self.open(object, &condition, Some(range)).await? else {
            return Ok(Reading::Unchanged);
        };
        let (version, start, length) = (opened.version.clone(), opened.start, opened.end - opened.start);
        if length > RANGE_BYTES_MAX {
            return Err(unavailable(object, "the reply is longer than the range asked for"));
        }
        let mut bytes = BytesMut::with_capacity(usize::try_from(length).unwrap_or_default());
        let mut body = self.body(object, opened);
        while let Some(chunk) = body.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        Ok(Reading::Changed(Part { version, start, bytes: bytes.freeze() }))
    }
}

/// Refuses a range that is empty or too long to be held in memory.
pub(super) fn check_range(object: &ObjectId, range: Range) -> Result<(), ReadError> {
    let length = match range {
        Range::Between(start, end) => end.saturating_sub(start),
        Range::Last(length) => length,
    };
    if (1..=RANGE_BYTES_MAX).contains(&length) {
        return Ok(());
    }
    let reason = format!("a range of {length} bytes is not between 1 and {RANGE_BYTES_MAX}");
    Err(ReadError::Damaged { object: object.clone(), reason })
}

/// The beginning of a reply: its head is read, its body is not.
struct Opened {
    version: Version,
    start: u64,
    end: u64,
    stream: ByteStream,
}

impl Opened {
    fn new(object: &ObjectId, reply: GetObjectOutput, range: Option<Range>) -> Result<Self, ReadError> {
        let length = reply.content_length.and_then(|length| u64::try_from(length).ok());
        let length = length.ok_or_else(|| unavailable(object, "the reply does not tell its length"))?;
        let etag = reply.e_tag.as_deref().map(|etag| etag.trim_start_matches("W/").trim_matches('"'));
        let etag = etag.filter(|etag| !etag.is_empty());
        let etag = etag.ok_or_else(|| unavailable(object, "the reply names no entity tag"))?.into();
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
            // What S3 calls `null` is the one version of an object from before its bucket kept any.
            version_id: reply.version_id.filter(|id| id != "null").map(Into::into),
            last_modified_ms: reply.last_modified.and_then(|at| at.to_millis().ok()),
            size_bytes,
        };
        Ok(Self { version, start, end: start + length, stream: reply.body })
    }
}

/// The bytes of one version as they arrive; resumed where the connection breaks.
#[derive(Debug)]
pub struct S3Body {
    door: Arc<Door>,
    object: ObjectId,
    etag: Box<str>,
    /// `None` when all is given, or an error was.
    stream: Option<ByteStream>,
    /// Received, not yet given.
    received: Bytes,
    /// Up to where bytes were received.
    at: u64,
    end: u64,
    resumes: u32,
    resumed_at: u64,
}

impl S3Body {
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, ReadError>> {
        loop {
            if !self.received.is_empty() {
                return Some(Ok(self.received.split_to(self.received.len().min(CHUNK_BYTES_MAX))));
            }
            let broken = match self.stream.as_mut()?.next().await {
                Some(Ok(bytes)) if bytes.len() as u64 <= self.end - self.at => {
                    self.at += bytes.len() as u64;
                    self.received = bytes;
                    continue;
                }
                Some(Ok(_)) => return Some(self.give_up("the reply is longer than it said")),
                // The SDK compares the checksum, where S3 keeps one, when the last byte was given.
                Some(Err(error)) if self.at == self.end => return Some(self.give_up(&chained(&error))),
                Some(Err(error)) => chained(&error),
                None if self.at == self.end => {
                    self.stream = None;
                    return None;
                }
                None => "the reply is shorter than it said".to_owned(),
            };
            if let Err(error) = self.resume(&broken).await {
                self.stream = None;
                return Some(Err(error));
            }
        }
    }

    async fn resume(&mut self, broken: &str) -> Result<(), ReadError> {
        if self.at - self.resumed_at >= PROGRESS_BYTES {
            self.resumes = 0;
        }
        self.resumes += 1;
        self.resumed_at = self.at;
        if self.resumes > RESUMES_MAX {
            let reason = format!("its body broke {} times in a row, at byte {}: {broken}", self.resumes, self.at);
            return Err(unavailable(&self.object, &reason));
        }
        let range = Range::Between(self.at, self.end);
        let request = conditional(request(&self.door, &self.object), &Condition::OnlyEtag(self.etag.clone()));
        let reply = request.range(header(range)).send().await;
        let reply = reply.map_err(|error| failed(&self.door, &self.object, &Fault::of(&error)))?;
        let opened = Opened::new(&self.object, reply, Some(range))?;
        if opened.version.etag != self.etag {
            return Err(ReadError::Changed { object: self.object.clone() });
        }
        if (opened.start, opened.end) != (self.at, self.end) {
            return Err(unavailable(&self.object, "the reply is not the range asked for"));
        }
        self.stream = Some(opened.stream);
        Ok(())
    }

    fn give_up(&mut self, reason: &str) -> Result<Bytes, ReadError> {
        self.stream = None;
        Err(unavailable(&self.object, reason))
    }
}

fn request(door: &Door, object: &ObjectId) -> GetObjectFluentBuilder {
    door.client
        .get_object()
        .bucket(door.address(&object.bucket))
        .key(&*object.key)
        .set_expected_bucket_owner(door.expected_bucket_owner.clone())
}

fn conditional(request: GetObjectFluentBuilder, condition: &Condition) -> GetObjectFluentBuilder {
    match condition {
        Condition::Any => request,
        Condition::UnlessEtag(etag) => request.if_none_match(format!("\"{etag}\"")),
        Condition::OnlyEtag(etag) => request.if_match(format!("\"{etag}\"")),
    }
}

fn header(range: Range) -> String {
    match range {
        Range::Between(start, end) => format!("bytes={start}-{}", end.saturating_sub(1)),
        Range::Last(length) => format!("bytes=-{length}"),
    }
}

/// First byte, last byte and the object's size out of `bytes 0-9/443`.
fn content_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse::<u64>().ok().filter(|last| *last < u64::MAX)?);
    (first <= last).then_some((first, last, size.parse().ok()?))
}

fn failed(door: &Door, object: &ObjectId, fault: &Fault) -> ReadError {
    if fault.blames_credentials() {
        door.identity.distrust();
    }
    read_error(object, fault)
}

fn read_error(object: &ObjectId, fault: &Fault) -> ReadError {
    let (object, reason) = (object.clone(), fault.reason.clone());
    match (fault.status, fault.code.as_str()) {
        (_, "NoSuchKey" | "NoSuchVersion") | (Some(404), "" | "NotFound") => ReadError::NotFound { object },
        (_, "InvalidObjectState") => ReadError::Archived { object, reason },
        (_, "PreconditionFailed") | (Some(412), _) => ReadError::Changed { object },
        (_, "InvalidRange") | (Some(416), _) => ReadError::Damaged { object, reason },
        _ => match fault.remedy {
            Remedy::Wait => ReadError::Unavailable { object, reason },
            Remedy::Person => {
                let reason = match hint(fault) {
                    Some(hint) => format!("{reason}; {hint}"),
                    None => reason,
                };
                ReadError::Denied { object, reason }
            }
        },
    }
}

/// What a person may look at first.
fn hint(fault: &Fault) -> Option<&'static str> {
    let of_kms = fault.code.starts_with("KMS.") || fault.reason.contains("kms:");
    match fault.code.as_str() {
        _ if of_kms => Some(
            "the object is encrypted with a KMS key: it must be enabled, and the role needs kms:Decrypt in its own \
             policy and in the key's",
        ),
        "AccessDenied" | "AllAccessDisabled" | "" if fault.status == Some(403) => Some(
            "the role needs s3:GetObject on it, in its own policy and the bucket's or access point's; the bucket must \
             belong to the expected owner; and without s3:ListBucket an object that is gone is refused like this too",
        ),
        "NoSuchBucket" => Some("there is no such bucket; was it deleted, or is another endpoint meant?"),
        "PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed" => {
            Some("the bucket is in another region than configured")
        }
        _ if fault.status == Some(301) => Some("the bucket is in another region than configured"),
        "RequestTimeTooSkewed" => Some("this machine's clock is wrong"),
        _ => None,
    }
}

fn unavailable(object: &ObjectId, reason: &str) -> ReadError {
    ReadError::Unavailable { object: object.clone(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> ObjectId {
        ObjectId::new("logs", "a.json")
    }

    fn told(status: u16, code: &str, message: &str, remedy: Remedy) -> ReadError {
        let reason = format!("{code}: {message}");
        read_error(&object(), &Fault { remedy, status: Some(status), code: code.to_owned(), reason })
    }

    #[test]
    fn each_refusal_is_what_its_reader_must_do() {
        let person = |status, code| told(status, code, "", Remedy::Person);
        assert!(matches!(person(404, "NoSuchKey"), ReadError::NotFound { .. }));
        assert!(matches!(person(404, ""), ReadError::NotFound { .. }));
        assert!(matches!(person(404, "NoSuchBucket"), ReadError::Denied { .. }));
        assert!(matches!(person(403, "InvalidObjectState"), ReadError::Archived { .. }));
        assert!(matches!(person(412, "PreconditionFailed"), ReadError::Changed { .. }));
        assert!(matches!(person(412, ""), ReadError::Changed { .. }));
        assert!(matches!(person(416, "InvalidRange"), ReadError::Damaged { .. }));
        assert!(matches!(person(403, "AccessDenied"), ReadError::Denied { .. }));
        assert!(matches!(person(400, "KMS.DisabledException"), ReadError::Denied { .. }));
        assert!(matches!(person(301, "PermanentRedirect"), ReadError::Denied { .. }));
        assert!(matches!(told(503, "SlowDown", "", Remedy::Wait), ReadError::Unavailable { .. }));
        assert!(matches!(told(400, "ExpiredToken", "", Remedy::Wait), ReadError::Unavailable { .. }));
    }

    #[test]
    fn a_refused_read_says_where_to_look() {
        for (status, code, message, expected) in [
            (403, "AccessDenied", "Access Denied", "without s3:ListBucket an object that is gone is refused like this"),
            (403, "AccessDenied", "not authorized to perform: kms:Decrypt", "the role needs kms:Decrypt"),
            (400, "KMS.DisabledException", "key is disabled", "it must be enabled"),
            (404, "NoSuchBucket", "", "there is no such bucket"),
            (301, "PermanentRedirect", "", "another region than configured"),
            (403, "RequestTimeTooSkewed", "", "clock is wrong"),
        ] {
            let text = told(status, code, message, Remedy::Person).to_string();
            assert!(text.contains(expected), "{text}");
            assert!(text.starts_with("reading s3://logs/a.json is refused"), "{text}");
        }
    }

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
    fn a_range_without_bytes_or_past_memory_is_refused() {
        for range in [Range::Between(5, 5), Range::Between(6, 5), Range::Last(0), Range::Last(RANGE_BYTES_MAX + 1)] {
            assert!(check_range(&object(), range).is_err(), "{range:?}");
        }
        for range in [Range::Between(5, 6), Range::Last(1), Range::Between(9, 9 + RANGE_BYTES_MAX)] {
            assert!(check_range(&object(), range).is_ok(), "{range:?}");
        }
        assert_eq!(header(Range::Between(5, 10)), "bytes=5-9");
        assert_eq!(header(Range::Last(8)), "bytes=-8");
    }
}

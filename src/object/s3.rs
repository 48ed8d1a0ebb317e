//! Objects in S3 and its like.

use std::sync::Arc;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::get_object::builders::GetObjectFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use bytes::{Bytes, BytesMut};

use crate::identity::fault::{Fault, FaultKind, Remedy, chained};
use crate::notification::ObjectId;
use crate::notification::scan::S3Client;
use crate::object::{
    Body, CHUNK_BYTES_MAX, Condition, Objects, Part, RANGE_BYTES_MAX, Range, ReadError, Reading, Snapshot, Version,
};

/// A broken body is asked for again, from where it broke, as often in a row without getting on.
const RESUMES_MAX: u32 = 5;
/// Getting on means as many bytes: a connection that breaks after every few bytes is no better than a dead one.
const PROGRESS_BYTES: u64 = 1 << 20;

/// The objects that one identity reads.
#[derive(Clone, Debug)]
pub struct S3Objects {
    client: Arc<S3Client>,
}

impl S3Objects {
    pub fn new(client: S3Client) -> Self {
        Self { client: Arc::new(client) }
    }

    /// The way these objects are read, for listings.
    pub fn client(&self) -> &S3Client {
        &self.client
    }

    /// `None` where the object still is as the condition says it must not be.
    async fn open(
        &self,
        object: &ObjectId,
        condition: &Condition,
        range: Option<Range>,
    ) -> Result<Option<Opened>, ReadError> {
        let request = conditional(request(&self.client, object), condition).set_range(range.map(header));
        let reply = match request.send().await {
            Ok(reply) => reply,
            Err(error) => {
                let fault = Fault::of(&error);
                let unchanged = fault.status == Some(304) && matches!(condition, Condition::UnlessEtag(_));
                return if unchanged { Ok(None) } else { Err(failed(&self.client, object, &fault)) };
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
            client: Arc::clone(&self.client),
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

    async fn etag(&self, object: &ObjectId) -> Result<Box<str>, ReadError> {
        let request = self.client.sdk.head_object().bucket(self.client.address(&object.bucket)).key(&*object.key);
        let request = request.set_expected_bucket_owner(self.client.expected_bucket_owner.clone());
        let reply = request.send().await.map_err(|error| failed(&self.client, object, &Fault::of(&error)))?;
        plain_etag(object, reply.e_tag.as_deref())
    }
}

/// The entity tag without its quotes, as a reply names it.
fn plain_etag(object: &ObjectId, etag: Option<&str>) -> Result<Box<str>, ReadError> {
    let etag = etag.map(|etag| etag.trim_start_matches("W/").trim_matches('"')).filter(|etag| !etag.is_empty());
    Ok(etag.ok_or_else(|| unavailable(object, "the reply names no entity tag"))?.into())
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
    client: Arc<S3Client>,
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
        let request = conditional(request(&self.client, &self.object), &Condition::OnlyEtag(self.etag.clone()));
        let reply = request.range(header(range)).send().await;
        let reply = reply.map_err(|error| failed(&self.client, &self.object, &Fault::of(&error)))?;
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

fn request(client: &S3Client, object: &ObjectId) -> GetObjectFluentBuilder {
    client
        .sdk
        .get_object()
        .bucket(client.address(&object.bucket))
        .key(&*object.key)
        .set_expected_bucket_owner(client.expected_bucket_owner.clone())
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

fn failed(client: &S3Client, object: &ObjectId, fault: &Fault) -> ReadError {
    if fault.blames_credentials() {
        client.identity.distrust();
    }
    read_error(object, fault)
}

fn read_error(object: &ObjectId, fault: &Fault) -> ReadError {
    let (object, kind, reason) = (object.clone(), fault.kind, fault.reason.clone());
    match (fault.status, fault.code.as_str()) {
        (_, "NoSuchKey" | "NoSuchVersion") | (Some(404), "" | "NotFound") => ReadError::NotFound { object },
        (_, "InvalidObjectState") => ReadError::Archived { object, reason },
        (_, "PreconditionFailed") | (Some(412), _) => ReadError::Changed { object },
        (_, "InvalidRange") | (Some(416), _) => ReadError::Damaged { object, reason },
        _ => match fault.remedy {
            Remedy::Wait => ReadError::Unavailable { object, kind, reason },
            Remedy::Person => {
                let reason = match hint(fault) {
                    Some(hint) => format!("{reason}; {hint}"),
                    None => reason,
                };
                ReadError::Denied { object, kind, reason }
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
    ReadError::Unavailable { object: object.clone(), kind: FaultKind::Unavailable, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::sync::Mutex;
    use std::thread;

    use crate::identity::Identity;
    use crate::notification::scan::Access;

    use super::*;

    /// Answers one connection after another with what it is told to, whole or broken off, and keeps what was asked.
    struct Stub {
        objects: S3Objects,
        asked: Arc<Mutex<Vec<String>>>,
    }

    impl Stub {
        fn answering(answers: Vec<String>) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let endpoint_url = Some(format!("http://{}", listener.local_addr().unwrap()));
            let asked = Arc::new(Mutex::new(Vec::new()));
            let kept = Arc::clone(&asked);
            thread::spawn(move || {
                for answer in answers {
                    let (mut stream, _) = listener.accept().unwrap();
                    let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                    let head: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
                    kept.lock().unwrap().push(head.join("\n").to_ascii_lowercase());
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            });
            let access = Access {
                endpoint_url,
                path_style: true,
                expected_bucket_owner: Some("123456789012".to_owned()),
                read_through: [("logs".to_owned(), "logs-alias".to_owned())].into(),
                ..Access::default()
            };
            let client = S3Client::open(&access, &Identity::invented()).unwrap();
            Self { objects: S3Objects::new(client), asked }
        }

        async fn read(&self, condition: Condition) -> Result<Reading, ReadError> {
            self.objects.read(&object(), condition).await
        }

        /// What was asked in the request of this number, in lower case.
        fn asked(&self, number: usize) -> String {
            self.asked.lock().unwrap()[number].clone()
        }
    }

    /// The whole object is `told` bytes long, of which this reply has only `body`.
    fn whole_reply(etag: &str, told: usize, body: &str) -> String {
        format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\netag: \"{etag}\"\r\nx-amz-version-id: null\r\n\
             last-modified: Mon, 06 May 2024 07:08:09 GMT\r\ncontent-length: {told}\r\n\r\n{body}"
        )
    }

    fn part_reply(etag: &str, start: usize, size: usize, body: &str) -> String {
        format!(
            "HTTP/1.1 206 Partial Content\r\nconnection: close\r\netag: \"{etag}\"\r\ncontent-length: {}\r\n\
             content-range: bytes {start}-{}/{size}\r\n\r\n{body}",
            size - start,
            size - 1
        )
    }

    fn refusal(status: &str, code: &str) -> String {
        let body = format!("<Error><Code>{code}</Code><Message>no</Message><RequestId>R1</RequestId></Error>");
        format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\nx-amz-request-id: R1\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    async fn bytes_of(reading: Reading) -> Result<String, ReadError> {
        let Reading::Changed(mut snapshot) = reading else { panic!("nothing was excluded") };
        let mut bytes = Vec::new();
        while let Some(chunk) = snapshot.body.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        assert!(snapshot.body.next().await.is_none());
        Ok(String::from_utf8(bytes).unwrap())
    }

    #[tokio::test]
    async fn one_version_is_read_whole_through_its_access_point() {
        let stub = Stub::answering(vec![whole_reply("e1", 10, "0123456789")]);
        let reading = stub.read(Condition::Any).await.unwrap();
        let Reading::Changed(Snapshot { version, .. }) = &reading else { panic!("nothing was excluded") };
        let expected =
            Version { etag: "e1".into(), version_id: None, last_modified_ms: Some(1_714_979_289_000), size_bytes: 10 };
        assert_eq!(*version, expected);
        assert_eq!(bytes_of(reading).await.unwrap(), "0123456789");
        let asked = stub.asked(0);
        assert!(asked.starts_with("get /logs-alias/a.json"), "{asked}");
        assert!(asked.contains("x-amz-expected-bucket-owner: 123456789012"), "{asked}");
        assert!(asked.contains("app/auditferry") || asked.contains("user-agent"), "{asked}");
        assert!(!asked.contains("\nrange:") && !asked.contains("if-match"), "{asked}");
    }

    #[tokio::test]
    async fn a_broken_body_goes_on_where_it_broke_and_only_in_the_same_version() {
        let stub = Stub::answering(vec![
            whole_reply("e1", 10, "012"),
            part_reply("e1", 3, 10, "3456"),
            part_reply("e1", 7, 10, "789"),
        ]);
        assert_eq!(bytes_of(stub.read(Condition::Any).await.unwrap()).await.unwrap(), "0123456789");
        assert!(stub.asked(1).contains("range: bytes=3-9") && stub.asked(1).contains("if-match: \"e1\""));
        assert!(stub.asked(2).contains("range: bytes=7-9"));
    }

    #[tokio::test]
    async fn an_object_written_again_while_its_body_is_resumed_has_changed() {
        for second in [refusal("412 Precondition Failed", "PreconditionFailed"), part_reply("e2", 3, 10, "3456789")] {
            let stub = Stub::answering(vec![whole_reply("e1", 10, "012"), second]);
            let read = bytes_of(stub.read(Condition::Any).await.unwrap()).await;
            assert!(matches!(read, Err(ReadError::Changed { .. })), "{read:?}");
        }
    }

    #[tokio::test]
    async fn a_body_that_keeps_breaking_is_given_up() {
        let mut answers = vec![whole_reply("e1", 100, "0")];
        answers.extend((1..20).map(|at| part_reply("e1", at, 100, "x")));
        let stub = Stub::answering(answers);
        let told = bytes_of(stub.read(Condition::Any).await.unwrap()).await.unwrap_err().to_string();
        assert!(told.contains("broke 6 times in a row, at byte 6"), "{told}");
    }

    #[tokio::test]
    async fn an_unchanged_object_is_not_read() {
        let not_modified = "HTTP/1.1 304 Not Modified\r\nconnection: close\r\netag: \"e1\"\r\n\r\n".to_owned();
        for answer in [not_modified, whole_reply("e1", 10, "0123456789")] {
            let stub = Stub::answering(vec![answer]);
            let reading = stub.read(Condition::UnlessEtag("e1".into())).await;
            assert!(matches!(reading, Ok(Reading::Unchanged)), "{reading:?}");
            assert!(stub.asked(0).contains("if-none-match: \"e1\""));
        }
    }

    #[tokio::test]
    async fn a_refusal_keeps_the_words_of_s3() {
        for (status, code, expected) in [
            ("404 Not Found", "NoSuchKey", "s3://logs/a.json is not there"),
            ("403 Forbidden", "AccessDenied", "refused: AccessDenied: no (status 403, request R1); the role needs"),
            ("403 Forbidden", "InvalidObjectState", "is archived (InvalidObjectState: no"),
            ("503 Slow Down", "SlowDown", "failed for now: SlowDown: no (status 503, request R1)"),
            ("400 Bad Request", "ExpiredToken", "failed for now: ExpiredToken"),
            ("400 Bad Request", "KMS.DisabledException", "refused: KMS.DisabledException: no"),
        ] {
            let stub = Stub::answering(vec![refusal(status, code)]);
            let told = stub.read(Condition::Any).await.unwrap_err().to_string();
            assert!(told.contains(expected), "{told}");
        }
    }

    #[tokio::test]
    async fn a_reply_without_what_identifies_it_is_not_taken() {
        let bare = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx".to_owned();
        let stub = Stub::answering(vec![bare]);
        assert!(stub.read(Condition::Any).await.unwrap_err().to_string().contains("no entity tag"));
        let stub = Stub::answering(vec![whole_reply("e2", 1, "x")]);
        let other = stub.read(Condition::OnlyEtag("e1".into())).await;
        assert!(matches!(other, Err(ReadError::Changed { .. })));
    }

    #[tokio::test]
    async fn the_end_of_an_object_tells_its_version_and_size() {
        let stub = Stub::answering(vec![part_reply("e1", 6, 10, "6789")]);
        let read = stub.objects.read_range(&object(), Condition::Any, Range::Last(4)).await.unwrap();
        let Reading::Changed(part) = read else { panic!("nothing was excluded") };
        assert_eq!((part.start, &part.bytes[..], part.version.size_bytes), (6, &b"6789"[..], 10));
        assert!(stub.asked(0).contains("range: bytes=-4"));
        let stub = Stub::answering(vec![whole_reply("e1", 10, "0123456789")]);
        let read = stub.objects.read_range(&object(), Condition::Any, Range::Last(4)).await;
        assert!(read.unwrap_err().to_string().contains("not the range asked for"));
    }

    fn object() -> ObjectId {
        ObjectId::new("logs", "a.json")
    }

    fn told(status: u16, code: &str, message: &str, remedy: Remedy) -> ReadError {
        let reason = format!("{code}: {message}");
        let kind = FaultKind::Denied;
        read_error(&object(), &Fault { remedy, kind, status: Some(status), code: code.to_owned(), reason })
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

//! Objects in S3 and similar services.

pub(super) mod body;

mod failure;

use std::sync::Arc;

use bytes::BytesMut;

use crate::identity::fault::Fault;
use crate::notification::ObjectId;
use crate::notification::scan::S3Client;
use crate::object::Objects;
use crate::object::body::{Body, Snapshot};
use crate::object::s3::body::{Opened, S3Body, conditional, header, plain_etag, request};
use crate::object::s3::failure::{failed, unavailable};
use crate::object::version::{Condition, Part, RANGE_BYTES_MAX, Range, ReadError, Reading, check_range};

/// The objects that one identity reads.
#[derive(Clone, Debug)]
pub struct S3Objects {
    client: Arc<S3Client>,
}

impl S3Objects {
    pub fn new(client: S3Client) -> Self {
        Self { client: Arc::new(client) }
    }

    /// The S3 client, for listings.
    pub fn client(&self) -> &S3Client {
        &self.client
    }

    /// `None` if the object still has the entity tag in `Condition::UnlessEtag`.
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
        // Some services similar to S3 ignore conditions.
        match condition {
            Condition::UnlessEtag(etag) if *etag == opened.version.etag => Ok(None),
            Condition::OnlyEtag(etag) if *etag != opened.version.etag => {
                Err(ReadError::Changed { object: object.clone() })
            }
            _ => Ok(Some(opened)),
        }
    }

    fn body(&self, object: &ObjectId, opened: Opened) -> S3Body {
        S3Body::new(Arc::clone(&self.client), object.clone(), opened)
    }
}

impl Objects for S3Objects {
    async fn read(&self, object: &ObjectId, condition: Condition) -> Result<Reading<Snapshot>, ReadError> {
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

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::sync::Mutex;
    use std::thread;
    use std::time::Duration;

    use crate::identity::Identity;
    use crate::identity::fault::FaultKind;
    use crate::notification::scan::Access;
    use crate::object::version::Version;

    use super::*;

    /// Answers one connection after another as told, and keeps the requests. A reply that is not whole ends with the
    /// connection, or is followed by silence.
    struct Stub {
        objects: S3Objects,
        asked: Arc<Mutex<Vec<String>>>,
    }

    impl Stub {
        fn answering(answers: Vec<String>) -> Self {
            Self::start(answers, None)
        }

        /// Sends nothing after each reply. The client's timeout is one second.
        fn silent_after(answers: Vec<String>) -> Self {
            Self::start(answers, Some(Duration::from_secs(1)))
        }

        fn start(answers: Vec<String>, patience: Option<Duration>) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let endpoint_url = Some(format!("http://{}", listener.local_addr().unwrap()));
            let asked = Arc::new(Mutex::new(Vec::new()));
            let kept = Arc::clone(&asked);
            thread::spawn(move || {
                let mut open = Vec::new();
                for answer in answers {
                    let (mut stream, _) = listener.accept().unwrap();
                    let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                    let head: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
                    kept.lock().unwrap().push(head.join("\n").to_ascii_lowercase());
                    stream.write_all(answer.as_bytes()).unwrap();
                    if patience.is_some() {
                        open.push(stream);
                    }
                }
                // Until the client closes the connection.
                let _ = open.last_mut().map(|stream| stream.read(&mut [0]));
            });
            let access = Access {
                endpoint_url,
                path_style: true,
                expected_bucket_owner: Some("123456789012".to_owned()),
                read_through: [("logs".to_owned(), "logs-alias".to_owned())].into(),
                ..Access::default()
            };
            let identity = patience.map_or_else(Identity::invented, Identity::invented_within);
            let client = S3Client::open(&access, &identity).unwrap();
            Self { objects: S3Objects::new(client), asked }
        }

        async fn read(&self, condition: Condition) -> Result<Reading<Snapshot>, ReadError> {
            self.objects.read(&object(), condition).await
        }

        /// The request of this number, in lower case.
        fn asked(&self, number: usize) -> String {
            self.asked.lock().unwrap()[number].clone()
        }
    }

    /// A reply that says that the whole object has `told` bytes, but has only `body`.
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

    async fn bytes_of(reading: Reading<Snapshot>) -> Result<String, ReadError> {
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
    async fn a_refusal_on_the_way_costs_a_body_no_more_than_a_break() {
        let busy = || refusal("503 Slow Down", "SlowDown");
        let stub =
            Stub::answering(vec![whole_reply("e1", 10, "012"), busy(), busy(), part_reply("e1", 3, 10, "3456789")]);
        assert_eq!(bytes_of(stub.read(Condition::Any).await.unwrap()).await.unwrap(), "0123456789");
    }

    #[tokio::test]
    async fn who_never_answers_is_given_up_in_time() {
        let stub = Stub::silent_after(vec![String::new(), String::new()]);
        let read = stub.read(Condition::Any).await;
        assert!(matches!(read, Err(ReadError::Unavailable { kind: FaultKind::Timeout, .. })), "{read:?}");
        let etag = stub.objects.etag(&object()).await;
        assert!(matches!(etag, Err(ReadError::Unavailable { kind: FaultKind::Timeout, .. })), "{etag:?}");
        assert_eq!(stub.asked.lock().unwrap().len(), 2, "nothing is asked twice");
    }

    #[tokio::test]
    async fn a_body_that_falls_silent_goes_on_where_it_did_but_not_twice() {
        let stub = Stub::silent_after(vec![whole_reply("e1", 10, "012"), part_reply("e1", 3, 10, "3456789")]);
        assert_eq!(bytes_of(stub.read(Condition::Any).await.unwrap()).await.unwrap(), "0123456789");
        let stub = Stub::silent_after(vec![whole_reply("e1", 10, "012"), part_reply("e1", 3, 10, "3")]);
        let error = bytes_of(stub.read(Condition::Any).await.unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), FaultKind::Timeout);
        assert!(error.to_string().contains("broke 2 times in a row, at byte 4: nothing came for 1 s"), "{error}");
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
}

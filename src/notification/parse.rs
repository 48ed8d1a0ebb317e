//! Parses the body of a queue message in the formats of S3, SNS and EventBridge.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::notification::happened::{Happened, happened, is_writing_call};
use crate::notification::{ObjectChange, ObjectId, key};

/// The largest message body, in bytes (SQS's own limit).
pub(crate) const BODY_BYTES_MAX: usize = 1 << 20;
/// The longest key, decoded, in bytes (S3's own limit).
const KEY_BYTES_MAX: usize = 1024;
/// The sender of S3's own notifications.
const S3_ITSELF: &str = "aws:s3";
/// The most bytes of a body that an error or disposition repeats.
const EXCERPT_BYTES_MAX: usize = 200;

/// What one notification in a message says.
#[derive(Clone, Debug)]
pub enum Notice {
    /// An object was written.
    Written(Written),
    /// There is nothing to read, and nothing is wrong.
    Ignored(Disposition),
    /// A notification that cannot be understood. It must be quarantined before the message is deleted.
    Malformed(ParseError),
}

/// An object was written, with what else the notification says.
#[derive(Clone, Debug)]
pub struct Written {
    pub change: ObjectChange,
    /// The region of the bucket.
    pub region: Option<Box<str>>,
    /// The account of the bucket. Only EventBridge names it.
    pub account: Option<Box<str>>,
    /// The version of the notification, if it is not 2.x, the known one.
    pub unknown_version: Option<Box<str>>,
    /// The event's name, if it is unknown.
    pub unknown_event: Option<Box<str>>,
}

/// Why a notification needs no read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Disposition {
    /// S3 tests a new notification configuration.
    TestEvent,
    /// An object was deleted or has expired.
    Removed,
    /// An empty object that stands for a folder.
    FolderMarker,
    /// Another event, such as a change of tags, or one that names no object.
    Other { event_name: Box<str> },
}

/// Why a body or a notification cannot be understood. Repeats at most 200 bytes of it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseError {
    #[error("message of {bytes} bytes is longer than the {BODY_BYTES_MAX} a queue can hold")]
    TooLong { bytes: usize },
    #[error("message is not the JSON of a notification: {reason}")]
    NotJson { reason: String },
    /// Its content may be valid nevertheless.
    #[error("message is from {sender:?}, which is not among the queue's `topics`")]
    Foreign { sender: String },
    #[error("message is JSON, but of no known shape (S3, SNS, EventBridge); it begins with {begins:?}")]
    UnknownShape { begins: String },
    #[error("notification {index} lacks {member}, or it is not as expected")]
    BadMember { index: usize, member: &'static str },
    #[error("notification {index} has a key that cannot be decoded ({reason}): {key:?}")]
    BadKey { index: usize, reason: &'static str, key: String },
}

/// Parses a message's body. Returns all notifications in it, in their order, at least one.
///
/// Recognizes raw S3 events, S3 events wrapped by SNS (once), and those of EventBridge. Unknown members are ignored.
/// With `topics`, one of them must be the sender of the message; if SNS wraps it, the sender is the SNS topic.
///
/// # Errors
/// If the whole body cannot be used. A single notification that cannot be used is a `Notice::Malformed` among the
/// others.
pub fn parse(body: &str, topics: Option<&[String]>) -> Result<Vec<Notice>, ParseError> {
    let outer = shape(body)?;
    let wrapped = outer.message.as_deref().filter(|_| outer.kind.is_some() || outer.topic_arn.is_some());
    let sender = match wrapped {
        Some(_) => outer.topic_arn.clone().unwrap_or_default(),
        None if outer.detail_type.is_some() => outer.source().unwrap_or_default(),
        None => S3_ITSELF.into(),
    };
    if topics.is_some_and(|topics| !topics.iter().any(|topic| **topic == *sender)) {
        return Err(ParseError::Foreign { sender: excerpt(&sender) });
    }
    match wrapped {
        Some(message) => shape(message)?.notices().ok_or_else(|| unknown(message)),
        None => outer.notices().ok_or_else(|| unknown(body)),
    }
}

/// Why an entry of `topics` cannot be the name of a sender. `None` if it can.
pub(crate) fn topic_fault(topic: &str) -> Option<&'static str> {
    let is_topic = match topic.split(':').collect::<Vec<_>>()[..] {
        ["arn", partition, "sns", region, account, name] => {
            partition.starts_with("aws") && !region.is_empty() && !account.is_empty() && !name.is_empty()
        }
        _ => false,
    };
    let is_source = |char: char| char.is_ascii_alphanumeric() || "._-/".contains(char);
    let is_known = topic == S3_ITSELF || is_topic || !topic.is_empty() && topic.chars().all(is_source);
    (!is_known).then_some(
        "expected a topic's ARN such as \"arn:aws:sns:eu-central-1:111122223333:logs\", a source of EventBridge such as \
         \"aws.s3\", or \"aws:s3\" for S3 itself",
    )
}

/// The members that tell the formats apart.
#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(rename = "Records", borrow)]
    records: Option<Vec<&'a RawValue>>,
    /// `s3:TestEvent` has no `Records` (S3 User Guide, "Event message structure").
    #[serde(rename = "Event", borrow)]
    event: Option<Cow<'a, str>>,
    #[serde(rename = "Type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(rename = "TopicArn", borrow)]
    topic_arn: Option<Cow<'a, str>>,
    #[serde(rename = "Message", borrow)]
    message: Option<Cow<'a, str>>,
    #[serde(rename = "detail-type", borrow)]
    detail_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
    #[serde(borrow)]
    source: Option<&'a RawValue>,
    #[serde(borrow)]
    account: Option<Cow<'a, str>>,
    #[serde(borrow)]
    region: Option<Cow<'a, str>>,
    #[serde(borrow)]
    time: Option<Cow<'a, str>>,
}

fn shape(body: &str) -> Result<Shape<'_>, ParseError> {
    if body.len() > BODY_BYTES_MAX {
        return Err(ParseError::TooLong { bytes: body.len() });
    }
    serde_json::from_str(body).map_err(|error| ParseError::NotJson { reason: excerpt(&error.to_string()) })
}

impl Shape<'_> {
    fn notices(&self) -> Option<Vec<Notice>> {
        if let Some(records) = &self.records {
            if records.is_empty() {
                return Some(vec![other("(no records)")]);
            }
            return Some(records.iter().enumerate().map(|(index, record)| or_malformed(raw(index, record))).collect());
        }
        if let Some(detail_type) = &self.detail_type {
            return Some(vec![or_malformed(self.bridged(detail_type))]);
        }
        let event = self.event.as_deref()?;
        Some(vec![if event == "s3:TestEvent" { Notice::Ignored(Disposition::TestEvent) } else { other(event) }])
    }

    /// The service that gave the event to EventBridge.
    fn source(&self) -> Option<Cow<'_, str>> {
        serde_json::from_str(self.source?.get()).ok()
    }

    fn bridged(&self, detail_type: &str) -> Result<Notice, ParseError> {
        let happened = happened(detail_type);
        if let Some(ignored) = ignored(happened, detail_type) {
            return Ok(ignored);
        }
        let announcement = match (self.object(), self.call()) {
            (Some(detail), _) => Announcement {
                bucket: detail.bucket.name,
                // The examples of the S3 User Guide ("EventBridge event message structure") show keys as they are.
                key: bounded(0, detail.object.key.into_owned())?,
                size: detail.object.size,
                etag: detail.object.etag,
                time: self.time.as_deref(),
            },
            (None, Some(call)) if is_writing_call(&call.event_name) => Announcement {
                bucket: call.parameters.bucket,
                key: bounded(0, call.parameters.key.into_owned())?,
                size: None,
                etag: None,
                time: self.time.as_deref(),
            },
            _ if happened == Happened::Unknown => return Ok(other(detail_type)),
            _ => return Err(ParseError::BadMember { index: 0, member: "detail.bucket or detail.object" }),
        };
        written(announcement, 0).map(|notice| match notice {
            Notice::Written(announcement) => Notice::Written(Written {
                region: self.region.as_deref().map(Into::into),
                account: self.account.as_deref().map(Into::into),
                unknown_event: unknown_event(happened, detail_type),
                ..announcement
            }),
            other => other,
        })
    }

    /// The object in an event of S3 itself.
    fn object(&self) -> Option<BridgedDetail<'_>> {
        serde_json::from_str(self.detail?.get()).ok()
    }

    /// The call in an event of CloudTrail, if it names an object.
    fn call(&self) -> Option<Call<'_>> {
        serde_json::from_str(self.detail?.get()).ok()
    }
}

#[derive(Deserialize)]
struct BridgedDetail<'a> {
    #[serde(borrow)]
    bucket: BucketName<'a>,
    #[serde(borrow)]
    object: BridgedObject<'a>,
}

#[derive(Deserialize)]
struct BucketName<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct BridgedObject<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow)]
    size: Option<&'a RawValue>,
    #[serde(borrow)]
    etag: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(rename = "eventName", borrow)]
    event_name: Cow<'a, str>,
    #[serde(rename = "requestParameters", borrow)]
    parameters: CallParameters<'a>,
}

#[derive(Deserialize)]
struct CallParameters<'a> {
    #[serde(rename = "bucketName", borrow)]
    bucket: Cow<'a, str>,
    #[serde(borrow)]
    key: Cow<'a, str>,
}

#[derive(Deserialize)]
struct RawRecord<'a> {
    #[serde(rename = "eventName", borrow)]
    event_name: Cow<'a, str>,
    #[serde(rename = "eventVersion", borrow)]
    event_version: Option<Cow<'a, str>>,
    #[serde(rename = "eventTime", borrow)]
    event_time: Option<Cow<'a, str>>,
    #[serde(rename = "awsRegion", borrow)]
    region: Option<Cow<'a, str>>,
    #[serde(borrow)]
    s3: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawDetail<'a> {
    #[serde(borrow)]
    bucket: BucketName<'a>,
    #[serde(borrow)]
    object: RawObject<'a>,
}

#[derive(Deserialize)]
struct RawObject<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow)]
    size: Option<&'a RawValue>,
    #[serde(rename = "eTag", borrow)]
    etag: Option<Cow<'a, str>>,
}

fn raw(index: usize, record: &RawValue) -> Result<Notice, ParseError> {
    let record: RawRecord<'_> =
        serde_json::from_str(record.get()).map_err(|_| ParseError::BadMember { index, member: "eventName" })?;
    let happened = happened(&record.event_name);
    if let Some(ignored) = ignored(happened, &record.event_name) {
        return Ok(ignored);
    }
    let detail = match record.s3.map(|detail| serde_json::from_str::<RawDetail<'_>>(detail.get())) {
        Some(Ok(detail)) if happened != Happened::Unknown || !detail.object.key.is_empty() => detail,
        _ if happened == Happened::Unknown => return Ok(other(&record.event_name)),
        None => return Err(ParseError::BadMember { index, member: "s3" }),
        Some(_) => return Err(ParseError::BadMember { index, member: "s3.bucket.name or s3.object.key" }),
    };
    let key = key::of_event(&detail.object.key, &record.event_name).map_err(|reason| {
        let key = excerpt(&detail.object.key);
        ParseError::BadKey { index, reason, key }
    })?;
    let announcement = Announcement {
        bucket: detail.bucket.name,
        key: bounded(index, key)?,
        size: detail.object.size,
        etag: detail.object.etag,
        time: record.event_time.as_deref(),
    };
    written(announcement, index).map(|notice| match notice {
        Notice::Written(announcement) => Notice::Written(Written {
            region: record.region.as_deref().map(Into::into),
            unknown_version: record.event_version.filter(|version| !version.starts_with("2.")).map(shortened),
            unknown_event: unknown_event(happened, &record.event_name),
            ..announcement
        }),
        other => other,
    })
}

/// The notice of an event that needs no read. `None` for an event that needs one.
fn ignored(happened: Happened, event_name: &str) -> Option<Notice> {
    match happened {
        Happened::Written | Happened::Unknown => None,
        Happened::Removed => Some(Notice::Ignored(Disposition::Removed)),
        Happened::Tested => Some(Notice::Ignored(Disposition::TestEvent)),
        Happened::Nothing => Some(other(event_name)),
    }
}

fn unknown_event(happened: Happened, event_name: &str) -> Option<Box<str>> {
    (happened == Happened::Unknown).then(|| shortened(event_name.into()))
}

/// What both formats say about an object. The key is decoded.
struct Announcement<'a> {
    bucket: Cow<'a, str>,
    key: String,
    size: Option<&'a RawValue>,
    etag: Option<Cow<'a, str>>,
    time: Option<&'a str>,
}

fn written(announcement: Announcement<'_>, index: usize) -> Result<Notice, ParseError> {
    let in_name = |char: char| char.is_ascii_alphanumeric() || "._-".contains(char);
    if announcement.bucket.is_empty() || announcement.bucket.len() > 255 || !announcement.bucket.chars().all(in_name) {
        return Err(ParseError::BadMember { index, member: "the bucket's name" });
    }
    // Members that are not needed for reading may be missing or odd: the object is read nevertheless.
    let size_bytes = announcement.size.and_then(|size| size.get().trim_matches('"').parse().ok());
    if key::is_folder_marker(&announcement.key, size_bytes) {
        return Ok(Notice::Ignored(Disposition::FolderMarker));
    }
    let usable = |text: &Cow<'_, str>| !text.is_empty() && text.len() <= EXCERPT_BYTES_MAX;
    let change = ObjectChange {
        object: ObjectId::new(&*announcement.bucket, announcement.key),
        etag: announcement.etag.filter(usable).map(|etag| etag.trim_matches('"').into()),
        size_bytes,
        is_archived: false,
        written_at_ms: announcement
            .time
            .and_then(|time| time.parse::<jiff::Timestamp>().ok())
            .map(|at| at.as_millisecond()),
    };
    Ok(Notice::Written(Written { change, region: None, account: None, unknown_version: None, unknown_event: None }))
}

fn bounded(index: usize, key: String) -> Result<String, ParseError> {
    let reason = match key.len() {
        0 => "empty",
        1..=KEY_BYTES_MAX => return Ok(key),
        _ => "longer than S3's 1024 bytes",
    };
    Err(ParseError::BadKey { index, reason, key: excerpt(&key) })
}

fn or_malformed(notice: Result<Notice, ParseError>) -> Notice {
    notice.unwrap_or_else(Notice::Malformed)
}

fn other(event_name: &str) -> Notice {
    Notice::Ignored(Disposition::Other { event_name: shortened(event_name.into()) })
}

fn unknown(body: &str) -> ParseError {
    ParseError::UnknownShape { begins: excerpt(body) }
}

fn shortened(text: Cow<'_, str>) -> Box<str> {
    excerpt(&text).into()
}

fn excerpt(text: &str) -> String {
    text[..text.floor_char_boundary(EXCERPT_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn raw_body(event_name: &str, key: &str, size: u64) -> String {
        json!({"Records": [record(event_name, key, size)]}).to_string()
    }

    fn record(event_name: &str, key: &str, size: u64) -> serde_json::Value {
        json!({
            "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "eu-central-1",
            "eventTime": "2024-05-06T07:08:09.123Z", "eventName": event_name,
            "userIdentity": {"principalId": "AWS:AIDA"},
            "s3": {
                "s3SchemaVersion": "1.0", "configurationId": "c",
                "bucket": {"name": "logs", "ownerIdentity": {"principalId": "A3"}, "arn": "arn:aws:s3:::logs"},
                "object": {"key": key, "size": size, "eTag": "d41d8cd9", "sequencer": "0055AED6DCD90281E5"}
            }
        })
    }

    fn bridged_body(detail_type: &str, key: &str, size: u64) -> String {
        json!({
            "version": "0", "id": "17793124", "detail-type": detail_type, "source": "aws.s3",
            "account": "111122223333", "time": "2024-05-06T07:08:09Z", "region": "ca-central-1",
            "resources": ["arn:aws:s3:::logs"],
            "detail": {
                "version": "0", "bucket": {"name": "logs"},
                "object": {"key": key, "size": size, "etag": "b1946ac9", "version-id": "IYV3", "sequencer": "00617F08"},
                "request-id": "N4N7", "requester": "123456789012", "reason": "PutObject"
            }
        })
        .to_string()
    }

    fn wrapped(body: &str) -> String {
        json!({
            "Type": "Notification", "MessageId": "m", "TopicArn": "arn:aws:sns:eu-central-1:1:t",
            "Subject": "Amazon S3 Notification", "Message": body, "Timestamp": "2024-05-06T07:08:09.500Z",
            "SignatureVersion": "1", "Signature": "s", "SigningCertURL": "https://sns.example/c.pem"
        })
        .to_string()
    }

    fn only(body: &str) -> Notice {
        let mut notices = parse(body, None).unwrap();
        assert_eq!(notices.len(), 1, "{notices:?}");
        notices.remove(0)
    }

    fn only_written(body: &str) -> Written {
        match only(body) {
            Notice::Written(written) => written,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_shape_tells_the_same_object() {
        let raw = raw_body("ObjectCreated:Put", "workspaceId%3D1/date%3D2024-05-06/a+b.json", 12);
        let bridged = bridged_body("Object Created", "workspaceId=1/date=2024-05-06/a b.json", 12);
        for (body, etag, ms) in [
            (raw.clone(), "d41d8cd9", 1_714_979_289_123),
            (wrapped(&raw), "d41d8cd9", 1_714_979_289_123),
            (bridged.clone(), "b1946ac9", 1_714_979_289_000),
            (wrapped(&bridged), "b1946ac9", 1_714_979_289_000),
        ] {
            let change = only_written(&body).change;
            assert_eq!(change.object, ObjectId::new("logs", "workspaceId=1/date=2024-05-06/a b.json"));
            assert_eq!(change.etag.as_deref(), Some(etag));
            assert_eq!(change.size_bytes, Some(12));
            assert_eq!(change.written_at_ms, Some(ms));
        }
        let told = only_written(&bridged);
        assert_eq!((told.account.as_deref(), told.region.as_deref()), (Some("111122223333"), Some("ca-central-1")));
        assert_eq!(only_written(&raw).region.as_deref(), Some("eu-central-1"));
    }

    #[test]
    fn a_message_is_taken_from_the_topics_that_are_listed_alone() {
        let raw = raw_body("ObjectCreated:Put", "a.json", 12);
        let bridged = bridged_body("Object Created", "a.json", 12);
        let unnamed = json!({ "Type": "Notification", "Message": raw }).to_string();
        let test = json!({ "Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "logs" }).to_string();
        let (topic, source, s3) = ("arn:aws:sns:eu-central-1:1:t", "aws.s3", "aws:s3");
        for (body, sender) in [
            (&raw, s3),
            (&test, s3),
            (&bridged, source),
            (&wrapped(&raw), topic),
            // The sender of a wrapped message is the topic, whatever it carries.
            (&wrapped(&bridged), topic),
            (&unnamed, ""),
        ] {
            for listed in [topic, source, s3, "arn:aws:sns:eu-central-1:1:t2", "AWS.S3"] {
                let told = parse(body, Some(&[listed.to_owned()]));
                if listed == sender {
                    assert_eq!(told.unwrap().len(), 1, "{body}");
                } else {
                    assert_eq!(told.unwrap_err(), ParseError::Foreign { sender: sender.to_owned() }, "{body}");
                }
            }
            assert!(parse(body, None).is_ok());
            assert!(parse(body, Some(&[])).is_err());
        }
    }

    #[test]
    fn an_entry_of_topics_is_one_that_a_message_can_name() {
        for topic in
            ["arn:aws:sns:eu-central-1:1:t", "arn:aws-cn:sns:cn-north-1:1:t.fifo", "aws.s3", "com.acme/x", "aws:s3"]
        {
            assert_eq!(topic_fault(topic), None, "{topic}");
        }
        for wrong in [
            "",
            "arn:aws:sqs:eu-central-1:1:q",
            "arn:aws:sns:eu-central-1:1",
            "s3 notifications",
            "arn:aws:sns:r:1:*:s",
        ] {
            assert!(topic_fault(wrong).is_some(), "{wrong}");
        }
    }

    #[test]
    fn every_spelling_of_a_key_names_one_object() {
        let object = ObjectId::new("logs", "workspaceId=1/date=2024-05-06/a b:c+d.json");
        for encoded in [
            "workspaceId%3D1/date%3D2024-05-06/a+b%3Ac%2Bd.json",
            "workspaceId%3D1%2Fdate%3D2024-05-06%2Fa+b%3Ac%2Bd.json",
            "workspaceId%3d1%2fdate%3d2024-05-06%2fa%20b%3ac%2bd.json",
            "workspaceId=1/date=2024-05-06/a%20b:c%2Bd.json",
        ] {
            assert_eq!(only_written(&raw_body("ObjectCreated:Put", encoded, 1)).change.object, object, "{encoded}");
        }
        let plain = bridged_body("Object Created", "workspaceId=1/date=2024-05-06/a b:c+d.json", 1);
        assert_eq!(only_written(&plain).change.object, object);
        let same = "100%25+sure";
        assert_eq!(&*only_written(&bridged_body("Object Created", same, 1)).change.object.key, same);
    }

    #[test]
    fn a_key_that_cannot_be_decoded_is_named_and_spares_its_neighbours() {
        let body = json!({"Records": [
            record("ObjectCreated:Put", "a%2", 1),
            record("ObjectCreated:Put", "b", 1),
            record("ObjectCreated:Put", "", 1),
            record("ObjectCreated:Put", &"k".repeat(1025), 1),
        ]});
        let notices = parse(&body.to_string(), None).unwrap();
        let told: Vec<String> = notices
            .iter()
            .map(|notice| match notice {
                Notice::Malformed(error) => error.to_string(),
                Notice::Written(written) => written.change.object.to_string(),
                Notice::Ignored(_) => "ignored".to_owned(),
            })
            .collect();
        assert_eq!(
            told[0],
            "notification 0 has a key that cannot be decoded (`%` without two hexadecimal digits): \"a%2\""
        );
        assert_eq!(told[1], "s3://logs/b");
        assert!(told[2].contains("(empty)"), "{}", told[2]);
        assert!(told[3].contains("longer than S3's 1024 bytes") && told[3].len() < 400, "{}", told[3]);
    }

    #[test]
    fn what_needs_no_read_is_told_apart() {
        let other = |name: &str| Disposition::Other { event_name: name.into() };
        let test = r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2014-10-13T15:57:02.089Z","Bucket":"b",
            "RequestId":"5582815E1AEA5ADF","HostId":"8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR+YstdA6Knx4Ip8EXAMPLE"}"#;
        for (body, expected) in [
            (test.to_owned(), Disposition::TestEvent),
            (wrapped(test), Disposition::TestEvent),
            (raw_body("ObjectRemoved:Delete", "a", 1), Disposition::Removed),
            (raw_body("ObjectRemoved:DeleteMarkerCreated", "a", 1), Disposition::Removed),
            (raw_body("LifecycleExpiration:Delete", "a", 1), Disposition::Removed),
            (bridged_body("Object Deleted", "a", 1), Disposition::Removed),
            (raw_body("ObjectCreated:Put", "a/b/", 0), Disposition::FolderMarker),
            (raw_body("ObjectCreated:Put", "a/b_%24folder%24", 0), Disposition::FolderMarker),
            (bridged_body("Object Created", "a/b/", 0), Disposition::FolderMarker),
            (raw_body("ObjectRestore:Post", "a", 1), other("ObjectRestore:Post")),
            (raw_body("ObjectRestore:Delete", "a", 1), other("ObjectRestore:Delete")),
            (bridged_body("Object Restore Initiated", "a", 1), other("Object Restore Initiated")),
            (bridged_body("Object Restore Expired", "a", 1), other("Object Restore Expired")),
            (raw_body("ObjectTagging:Put", "a", 1), other("ObjectTagging:Put")),
            (bridged_body("Object Tags Added", "a", 1), other("Object Tags Added")),
            (r#"{"Records":[]}"#.to_owned(), other("(no records)")),
        ] {
            match only(&body) {
                Notice::Ignored(told) => assert_eq!(told, expected, "{body}"),
                notice => panic!("{body}: {notice:?}"),
            }
        }
    }

    #[test]
    fn every_way_of_creating_an_object_is_a_write() {
        for name in ["Put", "Post", "Copy", "CompleteMultipartUpload"] {
            only_written(&raw_body(&format!("ObjectCreated:{name}"), "a", 1));
            only_written(&raw_body(&format!("s3:ObjectCreated:{name}"), "a", 1));
        }
        only_written(&raw_body("ObjectCreated:Put", "empty.json", 0));
        only_written(&raw_body("ObjectCreated:Put", "slash/", 5));
    }

    #[test]
    fn whatever_else_names_an_object_is_a_write() {
        for name in ["Object Created", "PutObject", "ObjectRestore:Completed", "s3:ObjectSynced:Create", "Novelty"] {
            let told = only_written(&raw_body(name, "a/b.json", 1));
            assert_eq!(told.change.object, ObjectId::new("logs", "a/b.json"), "{name}");
            let known = matches!(name, "Object Created" | "ObjectRestore:Completed");
            assert_eq!(told.unknown_event.as_deref(), (!known).then_some(name));
        }
        for name in ["Object Restore Completed", "Object Renamed"] {
            assert_eq!(&*only_written(&bridged_body(name, "a+b", 1)).change.object.key, "a+b", "{name}");
        }
        let long = "N".repeat(5_000);
        assert_eq!(only_written(&raw_body(&long, "a", 1)).unknown_event.map(|name| name.len()), Some(200));
    }

    #[test]
    fn an_unknown_event_that_names_no_object_is_no_fault() {
        let without = |members: serde_json::Value| json!({"Records": [members]}).to_string();
        let bridged = |detail: serde_json::Value| json!({"detail-type": "Novelty", "detail": detail}).to_string();
        for body in [
            without(json!({"eventName": "Novelty"})),
            without(json!({"eventName": "Novelty", "s3": {"bucket": {"name": "logs"}}})),
            without(json!({"eventName": "s3:BucketCreated:*", "s3": {"bucket": {"name": "b"}, "object": {"key": ""}}})),
            bridged(json!({"instance-id": "i-1"})),
            bridged(json!({"bucket": {"name": "logs"}, "object": "a"})),
            json!({"detail-type": "Novelty"}).to_string(),
        ] {
            assert!(matches!(only(&body), Notice::Ignored(Disposition::Other { .. })), "{body}");
        }
        let undecodable = only(&raw_body("s3:Novelty:Put", "a%2", 1));
        assert!(matches!(undecodable, Notice::Malformed(_)), "it names one, whichever: {undecodable:?}");
    }

    #[test]
    fn a_write_that_cloud_trail_tells_of_is_read_and_a_read_is_not() {
        let call = |name: &str| {
            let parameters = json!({"bucketName": "logs", "key": "a b+c.json", "Host": "h"});
            let detail = json!({"eventSource": "s3.amazonaws.com", "eventName": name, "requestParameters": parameters});
            json!({"source": "aws.s3", "detail-type": "AWS API Call via CloudTrail", "detail": detail}).to_string()
        };
        for name in ["PutObject", "CopyObject", "CompleteMultipartUpload"] {
            assert_eq!(only_written(&call(name)).change.object, ObjectId::new("logs", "a b+c.json"));
        }
        for name in ["GetObject", "HeadObject", "DeleteObject", "PutObjectTagging", "UploadPart"] {
            assert!(matches!(only(&call(name)), Notice::Ignored(_)), "{name}");
        }
    }

    #[test]
    fn all_records_are_taken_in_order() {
        let names: Vec<String> = (0..25).map(|at| format!("o{at:02}")).collect();
        let records: Vec<_> = names.iter().map(|name| record("ObjectCreated:Put", name, 1)).collect();
        let notices = parse(&json!({ "Records": records }).to_string(), None).unwrap();
        let told: Vec<String> = notices
            .into_iter()
            .map(|notice| match notice {
                Notice::Written(written) => written.change.object.key.to_string(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(told, names);
    }

    #[test]
    fn a_later_version_and_unknown_members_do_not_hide_an_object() {
        for (version, unknown) in [("2.0", None), ("2.6", None), ("3.0", Some("3.0"))] {
            let mut record = record("ObjectCreated:Put", "a", 1);
            record["eventVersion"] = json!(version);
            record["novelty"] = json!({"deep": [1, 2, {"er": null}]});
            let told = only_written(&json!({"Records": [record]}).to_string());
            assert_eq!(told.unknown_version.as_deref(), unknown);
        }
    }

    #[test]
    fn what_is_of_no_use_for_reading_may_be_missing_or_odd() {
        let mut odd = record("ObjectCreated:Put", "a", 1);
        odd["eventTime"] = json!("yesterday");
        odd["s3"]["object"] = json!({"key": "a", "size": -1, "eTag": "\"quoted\"", "sequencer": ""});
        let change = only_written(&json!({"Records": [odd]}).to_string()).change;
        assert_eq!((change.size_bytes, change.written_at_ms), (None, None));
        assert_eq!(change.etag.as_deref(), Some("quoted"));
    }

    #[test]
    fn a_body_of_no_use_is_an_error_that_repeats_little_of_it() {
        let secret = "s".repeat(5_000);
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for body in [
            String::new(),
            "hello".to_owned(),
            "[]".to_owned(),
            "{}".to_owned(),
            "null".to_owned(),
            format!("\"{secret}\""),
            format!("{{\"a\":\"{secret}\"}}"),
            format!("{{\"Records\":\"{secret}\"}}"),
            "{\"Records\":[".to_owned(),
            wrapped("not json"),
            wrapped(&wrapped(&raw_body("ObjectCreated:Put", "a", 1))),
            format!("{{\"Records\":{deep}}}"),
            "x".repeat(BODY_BYTES_MAX + 1),
        ] {
            if let Ok(notices) = parse(&body, None) {
                assert!(notices.iter().all(|notice| matches!(notice, Notice::Malformed(_))), "{notices:?}");
                continue;
            }
            let told = parse(&body, None).unwrap_err().to_string();
            assert!(told.len() < 400, "{told}");
        }
    }

    #[test]
    fn records_without_what_is_needed_are_malformed() {
        let without = |path: &[&str]| {
            let mut record = record("ObjectCreated:Put", "a", 1);
            let (last, way) = path.split_last().unwrap();
            let owner = way.iter().fold(&mut record, |value, name| &mut value[*name]);
            owner.as_object_mut().unwrap().remove(*last);
            json!({"Records": [record]}).to_string()
        };
        for path in [&["eventName"][..], &["s3"], &["s3", "bucket"], &["s3", "object"], &["s3", "object", "key"]] {
            assert!(matches!(only(&without(path)), Notice::Malformed(_)), "{path:?}");
        }
        let mut slashed = record("ObjectCreated:Put", "a", 1);
        slashed["s3"]["bucket"]["name"] = json!("/etc");
        assert!(matches!(only(&json!({"Records": [slashed]}).to_string()), Notice::Malformed(_)));
        assert!(matches!(only(r#"{"Records":[17]}"#), Notice::Malformed(_)));
    }
}

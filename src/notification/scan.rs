//! Changes from a listing: the objects in a bucket below a prefix, page by page.

use std::collections::BTreeMap;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::types::{EncodingType, ObjectStorageClass, OptionalObjectAttributes};

use crate::identity::Identity;
use crate::identity::fault::{Fault, FaultKind, Remedy};
use crate::notification::key::{decode_key, is_folder_marker};
use crate::notification::{ObjectChange, ObjectId};

/// Where a feed's bucket is and how to send requests to it.
#[derive(Clone, Debug, Default)]
pub struct Access {
    pub region: Option<String>,
    pub endpoint_url: Option<String>,
    /// Whether requests may go to another machine without TLS.
    pub allow_plain_http: bool,
    pub path_style: bool,
    /// The account that must own the bucket; sent with every request.
    pub expected_bucket_owner: Option<String>,
    /// Maps a bucket that notifications name to the access point (ARN or alias) through which it is read.
    pub read_through: BTreeMap<String, String>,
}

/// An S3 client with one identity. Cheap to clone.
#[derive(Clone, Debug)]
pub struct S3Client {
    pub sdk: Client,
    pub identity: Identity,
    pub expected_bucket_owner: Option<String>,
    read_through: BTreeMap<String, String>,
}

/// Why a place could not be listed. A caller reacts to each variant differently.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// Throttled, timed out, reset: request the same page again.
    #[error("listing {place} failed for now: {reason}")]
    Unavailable { place: String, kind: FaultKind, reason: String },
    /// Permissions, names or configuration are wrong; only a person can mend it.
    #[error("listing {place} is refused: {reason}")]
    Denied { place: String, kind: FaultKind, reason: String },
    /// A feed's directory does not exist.
    #[error("{place} is not there")]
    Missing { place: String },
}

impl ScanError {
    /// The kind under which the error is counted and reported.
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Unavailable { kind, .. } | Self::Denied { kind, .. } => *kind,
            Self::Missing { .. } => FaultKind::NoBucket,
        }
    }
}

/// One thing that a scan found.
#[derive(Debug)]
pub enum Found {
    Object(ObjectChange),
    /// Something that cannot be an object. The scan goes on.
    Unreadable {
        place: String,
        reason: String,
    },
    /// Something that may hold objects, but cannot be looked at. The scan goes on, but is incomplete.
    Refused {
        place: String,
        reason: String,
    },
}

impl S3Client {
    /// Builds the client. Sends no request yet.
    ///
    /// # Errors
    /// `Denied` if no region is known, or if path style is combined with an access point's ARN, which S3 does not
    /// support.
    pub fn open(access: &Access, identity: &Identity) -> Result<Self, ScanError> {
        if let Some(arn) = access.read_through.values().find(|through| access.path_style && through.starts_with("arn:"))
        {
            let reason = "path style cannot be used with an access point's ARN; use its alias".to_owned();
            return Err(ScanError::Denied { place: arn.clone(), kind: FaultKind::Misconfigured, reason });
        }
        let region = access.region.clone().map(Region::new).or_else(|| identity.aws().region().cloned());
        let region = match (region, &access.endpoint_url) {
            (Some(region), _) => region,
            // A stand-in for AWS takes any region; the signature must name one.
            (None, Some(_)) => Region::from_static("us-east-1"),
            (None, None) => {
                let reason = "no region is known; set `region`".to_owned();
                let (place, kind) = ("the feed's bucket".to_owned(), FaultKind::Misconfigured);
                return Err(ScanError::Denied { place, kind, reason });
            }
        };
        let mut s3 = aws_sdk_s3::config::Builder::from(identity.aws())
            .behavior_version(BehaviorVersion::latest())
            .region(region)
            .force_path_style(access.path_style)
            .use_arn_region(true);
        if let Some(endpoint_url) = &access.endpoint_url {
            s3 = s3.endpoint_url(endpoint_url);
        }
        if access.allow_plain_http {
            s3 = s3.http_client(identity.plain_http());
        }
        Ok(Self {
            sdk: Client::from_conf(s3.build()),
            identity: identity.clone(),
            expected_bucket_owner: access.expected_bucket_owner.clone(),
            read_through: access.read_through.clone(),
        })
    }

    /// The bucket's name in requests: that of its access point, if it is read through one.
    pub fn address<'a>(&'a self, bucket: &'a str) -> &'a str {
        self.read_through.get(bucket).map_or(bucket, String::as_str)
    }

    /// The bucket as notifications name it, if `address` is an access point through which it is read; else `address`.
    /// So an object has one name, however it was reported.
    pub fn bucket_behind<'a>(&'a self, address: &'a str) -> &'a str {
        let behind = self.read_through.iter().find(|(_, through)| *through == address);
        behind.map_or(address, |(bucket, _)| bucket)
    }

    /// Begins a listing of the objects whose keys have the prefix and come after `start_after`, in the order of keys.
    pub fn list(&self, bucket: &str, prefix: &str, start_after: Option<&str>) -> Listing {
        Listing {
            client: self.clone(),
            bucket: self.bucket_behind(bucket).to_owned(),
            address: self.address(bucket).to_owned(),
            prefix: prefix.to_owned(),
            start_after: start_after.map(str::to_owned),
            continuation: None,
            done: false,
        }
    }
}

/// A listing under way.
#[derive(Debug)]
pub struct Listing {
    client: S3Client,
    bucket: String,
    address: String,
    prefix: String,
    start_after: Option<String>,
    continuation: Option<String>,
    done: bool,
}

impl Listing {
    /// The next page of at most 1000 objects, perhaps empty; `None` after the last. Folder markers are left out.
    ///
    /// # Errors
    /// The same page can be requested again after an error.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Found>>, ScanError> {
        if self.done {
            return Ok(None);
        }
        // S3 skips deleted versions before it replies, which can take long in a bucket with versioning.
        let identity = &self.client.identity;
        let timeouts = identity.timeouts(2 * identity.request_timeout());
        let reply = self
            .client
            .sdk
            .list_objects_v2()
            .bucket(&self.address)
            .prefix(&self.prefix)
            .set_start_after(self.start_after.clone())
            .set_continuation_token(self.continuation.clone())
            .set_expected_bucket_owner(self.client.expected_bucket_owner.clone())
            .optional_object_attributes(OptionalObjectAttributes::RestoreStatus)
            // XML cannot carry every character that a key may have.
            .encoding_type(EncodingType::Url)
            .customize()
            .config_override(aws_sdk_s3::Config::builder().timeout_config(timeouts))
            .send()
            .await
            .map_err(|error| self.failed(&Fault::of(&error)))?;
        let encoded = reply.encoding_type.is_some();
        if reply.is_truncated == Some(true) {
            let next = reply.next_continuation_token.clone();
            if next.is_none() || next == self.continuation {
                let reason = "the reply says there is more, but not how to go on".to_owned();
                return Err(ScanError::Unavailable { place: self.place(), kind: FaultKind::Unavailable, reason });
            }
            self.continuation = next;
        } else {
            self.done = true;
        }
        let objects = reply.contents.unwrap_or_default();
        Ok(Some(objects.into_iter().filter_map(|object| self.found(object, encoded)).collect()))
    }

    fn found(&self, object: aws_sdk_s3::types::Object, encoded: bool) -> Option<Found> {
        let is_archived = is_archived(&object);
        let key = object.key?;
        let decoded = if encoded { decode_key(&key) } else { Ok(key.clone()) };
        let key = match decoded {
            Ok(key) => key,
            Err(reason) => {
                let place = format!("s3://{}/{key}", self.bucket);
                return Some(Found::Unreadable { place, reason: format!("its key is {reason}") });
            }
        };
        let size_bytes = object.size.and_then(|size| u64::try_from(size).ok());
        if is_folder_marker(&key, size_bytes) {
            return None;
        }
        Some(Found::Object(ObjectChange {
            object: ObjectId::new(self.bucket.as_str(), key),
            is_archived,
            etag: object.e_tag.map(|etag| etag.trim_matches('"').into()),
            size_bytes,
            written_at_ms: object.last_modified.and_then(|at| at.to_millis().ok()),
        }))
    }

    fn place(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.prefix)
    }

    fn failed(&self, fault: &Fault) -> ScanError {
        if fault.blames_credentials() {
            self.client.identity.distrust();
        }
        let (place, kind, reason) = (self.place(), fault.kind, fault.reason.clone());
        match fault.remedy {
            Remedy::Wait => ScanError::Unavailable { place, kind, reason },
            Remedy::Person => ScanError::Denied { place, kind, reason: with_hint(reason, fault) },
        }
    }
}

/// Whether no read can succeed: the object is archived, and has no restored copy.
fn is_archived(object: &aws_sdk_s3::types::Object) -> bool {
    let archive = [ObjectStorageClass::Glacier, ObjectStorageClass::DeepArchive];
    let restored = object.restore_status.as_ref().is_some_and(|status| status.restore_expiry_date.is_some());
    object.storage_class.as_ref().is_some_and(|class| archive.contains(class)) && !restored
}

fn with_hint(reason: String, fault: &Fault) -> String {
    match fault.code.as_str() {
        "AccessDenied" => format!("{reason}; a scan needs s3:ListBucket on the bucket for this prefix"),
        "PermanentRedirect" | "AuthorizationHeaderMalformed" => {
            format!("{reason}; the bucket is in another region than configured")
        }
        _ => reason,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::thread::{self, JoinHandle};
    use std::time::Duration;

    use super::*;

    /// Answers each connection with the next reply. Returns the first lines of the requests.
    fn answering(replies: Vec<String>) -> (String, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint_url = format!("http://{}", listener.local_addr().unwrap());
        let served = thread::spawn(move || {
            let answer = |reply: String| {
                let (mut stream, _) = listener.accept().unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let head: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
                let length = reply.len();
                write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{reply}")
                    .unwrap();
                head[0].clone()
            };
            replies.into_iter().map(answer).collect()
        });
        (endpoint_url, served)
    }

    fn client(endpoint_url: String) -> S3Client {
        let access = Access {
            endpoint_url: Some(endpoint_url),
            path_style: true,
            read_through: [("logs".to_owned(), "logs-alias".to_owned())].into(),
            ..Access::default()
        };
        S3Client::open(&access, &Identity::invented()).unwrap()
    }

    fn page(keys: &[&str], next: Option<&str>) -> String {
        let contents: String = keys
            .iter()
            .map(|key| {
                format!(
                    "<Contents><Key>{key}</Key><LastModified>2024-05-06T07:08:09.000Z</LastModified>\
                     <ETag>&quot;e1&quot;</ETag><Size>{}</Size></Contents>",
                    if key.ends_with('/') { 0 } else { 7 }
                )
            })
            .collect();
        let next = next.map(|token| format!("<NextContinuationToken>{token}</NextContinuationToken>"));
        format!(
            "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>{}</IsTruncated>{}{contents}</ListBucketResult>",
            next.is_some(),
            next.unwrap_or_default()
        )
    }

    #[tokio::test]
    async fn a_listing_gives_every_page_s_objects_under_the_names_notifications_use() {
        let pages = vec![page(&["raw/", "raw/date%3D1/a+b%2Bc.json"], Some("t1")), page(&["raw/z", "raw/%zz"], None)];
        let (endpoint_url, served) = answering(pages);
        let mut listing = client(endpoint_url).list("logs-alias", "raw/", Some("raw/"));
        let first = listing.next_page().await.unwrap().unwrap();
        let [Found::Object(change)] = &first[..] else { panic!("{first:?}") };
        assert_eq!(change.object, ObjectId::new("logs", "raw/date=1/a b+c.json"));
        assert_eq!(change.etag.as_deref(), Some("e1"));
        assert_eq!((change.size_bytes, change.written_at_ms), (Some(7), Some(1_714_979_289_000)));
        let second = listing.next_page().await.unwrap().unwrap();
        assert!(matches!(&second[..], [Found::Object(_), Found::Unreadable { .. }]), "{second:?}");
        assert!(listing.next_page().await.unwrap().is_none());
        let asked = served.join().unwrap();
        assert!(asked[0].contains("/logs-alias/?") && asked[0].contains("start-after=raw%2F"), "{}", asked[0]);
        assert!(asked[1].contains("continuation-token=t1"), "{}", asked[1]);
    }

    #[tokio::test]
    async fn a_listing_that_leads_nowhere_is_an_error_and_not_an_end() {
        let (endpoint_url, _served) = answering(vec![page(&["a"], Some("t1")), page(&["a"], Some("t1"))]);
        let mut listing = client(endpoint_url).list("logs", "", None);
        assert!(listing.next_page().await.is_ok());
        assert!(matches!(listing.next_page().await, Err(ScanError::Unavailable { .. })));
    }

    #[tokio::test]
    async fn a_listing_that_is_never_answered_is_given_up_in_time() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let access = Access {
            endpoint_url: Some(format!("http://{}", silent.local_addr().unwrap())),
            path_style: true,
            ..Access::default()
        };
        let identity = Identity::invented_within(Duration::from_millis(100));
        let page = S3Client::open(&access, &identity).unwrap().list("logs", "", None).next_page().await;
        assert!(matches!(page, Err(ScanError::Unavailable { kind: FaultKind::Timeout, .. })), "{page:?}");
    }

    #[tokio::test]
    async fn no_request_goes_to_another_machine_in_the_clear() {
        // An address of RFC 5737, where no machine answers: the request must fail before it is sent.
        let page = client("http://192.0.2.1:9".to_owned()).list("logs", "", None).next_page().await;
        let Err(ScanError::Denied { kind: FaultKind::Misconfigured, reason, .. }) = page else { panic!("{page:?}") };
        assert!(reason.contains("allow_plain_http"), "{reason}");
    }

    #[test]
    fn a_bucket_has_one_name_and_one_address() {
        let client = client("http://127.0.0.1:1".to_owned());
        assert_eq!((client.address("logs"), client.address("other")), ("logs-alias", "other"));
        assert_eq!((client.bucket_behind("logs-alias"), client.bucket_behind("logs")), ("logs", "logs"));
    }

    #[test]
    fn an_access_point_s_arn_cannot_be_put_in_a_path() {
        let arn = "arn:aws:s3:eu-central-1:123456789012:accesspoint/logs".to_owned();
        let region = Some("eu-central-1".to_owned());
        let access =
            Access { region, path_style: true, read_through: [("logs".to_owned(), arn)].into(), ..Access::default() };
        assert!(S3Client::open(&access, &Identity::invented()).is_err());
        assert!(S3Client::open(&Access { path_style: false, ..access }, &Identity::invented()).is_ok());
        assert!(S3Client::open(&Access::default(), &Identity::invented()).is_err());
    }
}

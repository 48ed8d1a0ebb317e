//! Writes events as objects into a bucket, exactly once: the key and the content of an object follow from the sealed
//! batch alone, and S3 overwrites no object.
//!
//! Nothing needs to be stored before the first object is written. A batch that is rebuilt from its manifest has the
//! same id and events, hence the same objects. If S3 has an object already it answers 412, and the object's metadata
//! tells whether this batch wrote it.

mod answer;

mod config;

mod objects;

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ServerSideEncryption, StorageClass as S3StorageClass};
use futures_util::stream::{self, StreamExt as _};

use crate::batch::{Request, RequestLimits, Selection};
use crate::event::Choices;
use crate::identity::Identity;
use crate::identity::fault::{Fault, FaultKind};
use crate::notification::scan::{Access, S3Client};
use crate::sink::blocking::blocking;
use crate::sink::{Answer, Aws, Delivery, DeliveryError, Flow, Kind, OpenError, Output, Receipt, Sink, lanes_of};
use answer::{Meaning, advice, meaning};
use objects::{Layout, Made, Object};

pub use config::S3Config;
pub(crate) use config::StorageClass;

/// The default size and age at which a batch is cut. Large objects are cheaper to write and to read.
const BATCH_BYTES: usize = 16 << 20;
const GATHERS_FOR: Duration = Duration::from_secs(60);
/// One lane makes larger objects than several. With two batches under way it still writes 20 MB/s at 100 ms an object.
const LANES: u16 = 1;
const IN_FLIGHT: u16 = 2;
const WINDOW: u16 = 2;
/// How many objects of one batch are written at the same time.
const PUTS_AT_ONCE: usize = 8;
/// The assumed speed of an upload: for every so many bytes an upload gets one second more than three times the usual
/// timeout.
const UPLOAD_BYTES_PER_SEC: usize = 1 << 20;
/// The metadata of an object. S3 prefixes each name with `x-amz-meta-`.
const BATCH_ID: &str = "auditferry-batch";
const CONTENT_SHA256: &str = "auditferry-sha256";
/// Messages quote at most this many characters of metadata that another program wrote.
const TOLD_CHARS_MAX: usize = 100;

impl Kind for S3Config {
    fn flow(&self) -> Flow {
        Flow {
            batch_bytes: BATCH_BYTES,
            // Requests are never cut or halved: otherwise failures would decide which events are in an object.
            request: RequestLimits::WHOLE,
            lanes: LANES,
            in_flight: IN_FLIGHT,
            window: WINDOW,
            acknowledged_within: Duration::MAX,
            knows_repeats: true,
        }
    }

    fn gathers_for(&self) -> Option<Duration> {
        Some(GATHERS_FOR)
    }

    fn envelope(&self) -> String {
        let Self { bucket, prefix, compression, endpoint_url, .. } = self;
        format!("{bucket} {prefix:?} {compression:?} {endpoint_url:?}")
    }

    fn output(&self) -> Output<'_> {
        let (bucket, endpoint_url) = (&self.bucket, self.endpoint_url.as_deref());
        Output::Bucket { bucket, endpoint_url, below: self.prefix.0.beginning() }
    }

    fn choices(&self) -> Choices {
        self.known_choices().unwrap_or_default()
    }

    fn check(&self, problem: &mut dyn FnMut(&str, &str)) {
        self.problems(problem);
        if self.known_choices().is_none() {
            problem("prefix", "expected at most 255 `values`");
        }
    }

    fn aws(&self) -> Option<Aws<'_>> {
        Some(Aws { identity: self.identity.as_deref(), region: self.region.as_deref() })
    }

    fn open(&self, lanes: u16, identity: Option<&Identity>) -> Result<Vec<Box<dyn Sink>>, OpenError> {
        let access = Access {
            region: self.region.clone(),
            endpoint_url: self.endpoint_url.clone(),
            allow_plain_http: self.allow_plain_http,
            path_style: self.path_style,
            expected_bucket_owner: self.expected_bucket_owner.clone(),
            ..Access::default()
        };
        let client = identity.and_then(|identity| S3Client::open(&access, identity).ok()).ok_or(OpenError::NoRegion)?;
        let layout = Layout { prefix: self.prefix.0.clone(), choices: self.choices(), compression: self.compression };
        let bucket = Arc::new(Bucket { client, config: self.clone(), layout });
        Ok(lanes_of(lanes, || S3Sink(Arc::clone(&bucket))))
    }
}

impl S3Config {
    /// The choices of the prefix. `None` if it tells apart more values than an event's head has room for.
    fn known_choices(&self) -> Option<Choices> {
        Choices::new(self.prefix.0.choice().cloned().into_iter().collect())
    }
}

/// The bucket of one sink.
struct Bucket {
    client: S3Client,
    config: S3Config,
    layout: Layout,
}

/// One lane. All lanes of a sink share the bucket.
struct S3Sink(Arc<Bucket>);

impl Sink for S3Sink {
    fn deliver<'a>(&'a self, request: &'a Request, _now_ms: i64) -> Answer<'a, Delivery> {
        Box::pin(self.write(request))
    }
}

impl S3Sink {
    async fn write(&self, request: &Request) -> Result<Delivery, DeliveryError> {
        let (bucket, own) = (Arc::clone(&self.0), request.clone());
        let Made { objects, is_more } =
            blocking("the objects cannot be made", move || bucket.layout.objects(&own)).await?;
        let mut puts: VecDeque<_> = objects.into_iter().map(|object| self.0.write(&request.batch.id, object)).collect();
        // Write the first object alone: if the bucket refuses it, nothing more is sent.
        let first = stream::iter(puts.pop_front()).then(|put| put);
        let mut puts = pin!(first.chain(stream::iter(puts).buffered(PUTS_AT_ONCE)));
        let mut taken: Vec<u32> = Vec::new();
        while let Some(ended) = puts.next().await {
            match ended {
                Ok(events) => taken.extend(events.numbers()),
                Err(error) if taken.is_empty() => return Err(error),
                // The failed object comes first in the next request, which returns its error.
                Err(_) => return Ok(Delivery::Partly { taken: in_order(taken), refused: Vec::new(), after: None }),
            }
        }
        Ok(if is_more { Delivery::Begun(in_order(taken)) } else { Delivery::Taken(Receipt::accepted()) })
    }
}

fn in_order(mut numbers: Vec<u32>) -> Selection {
    numbers.sort_unstable();
    numbers.into_iter().collect()
}

impl Bucket {
    /// Writes an object unless it exists already. Returns its events.
    async fn write(&self, batch: &str, object: Object) -> Result<Selection, DeliveryError> {
        match self.put(batch, &object).await {
            Ok(()) => Ok(object.events),
            Err(fault) => match meaning(&fault) {
                Meaning::Exists => self.compare(batch, &object).await.map(|()| object.events),
                Meaning::Again => Err(self.again(&object, &fault)),
                Meaning::Mend => Err(self.to_mend(&object, &fault, advice(&fault))),
            },
        }
    }

    async fn put(&self, batch: &str, object: &Object) -> Result<(), Fault> {
        let S3Config { bucket, storage_class, kms_key, .. } = &self.config;
        let upload = u64::try_from(object.bytes.len() / UPLOAD_BYTES_PER_SEC).unwrap_or(u64::MAX);
        let identity = &self.client.identity;
        let timeouts = identity.timeouts(2 * identity.request_timeout() + Duration::from_secs(upload));
        let mut put = self
            .client
            .sdk
            .put_object()
            .bucket(bucket)
            .key(&object.key)
            .if_none_match("*")
            .content_type("application/x-ndjson")
            .set_content_encoding(self.layout.compression.content_encoding().map(str::to_owned))
            .metadata(BATCH_ID, batch)
            .metadata(CONTENT_SHA256, &object.sha256)
            .set_expected_bucket_owner(self.client.expected_bucket_owner.clone())
            .set_storage_class(storage_class.map(named))
            .body(ByteStream::from(object.bytes.clone()));
        if let Some(key) = kms_key {
            put = put.server_side_encryption(ServerSideEncryption::AwsKms).ssekms_key_id(key).bucket_key_enabled(true);
        }
        let overridden = aws_sdk_s3::Config::builder().timeout_config(timeouts);
        let sent = put.customize().config_override(overridden).send().await;
        sent.map(drop).map_err(|error| self.fault(Fault::of(&error)))
    }

    /// Checks that the existing object of this key is the one that was to be written.
    async fn compare(&self, batch: &str, object: &Object) -> Result<(), DeliveryError> {
        let asked = self.client.sdk.head_object().bucket(&self.config.bucket).key(&object.key);
        let asked = asked.set_expected_bucket_owner(self.client.expected_bucket_owner.clone()).send().await;
        let found = match asked {
            Ok(found) => found.metadata.unwrap_or_default(),
            Err(error) => {
                let fault = self.fault(Fault::of(&error));
                let is_gone = fault.status == Some(404);
                return Err(match meaning(&fault) {
                    Meaning::Mend if !is_gone => self.to_mend(
                        object,
                        &fault,
                        "it is there already; allow s3:GetObject on the prefix, so that it can be told whether it is ours",
                    ),
                    _ => self.again(object, &fault),
                });
            }
        };
        let theirs = [BATCH_ID, CONTENT_SHA256].map(|name| found.get(name).map_or("", String::as_str));
        if theirs == [batch, &object.sha256] {
            return Ok(());
        }
        let [their_batch, their_sha256] = theirs.map(|text| text.chars().take(TOLD_CHARS_MAX).collect::<String>());
        Err(DeliveryError::Misconfigured(format!(
            "{} is there already and is another object: its metadata says batch {their_batch:?} and SHA-256 {their_sha256:?}, \
             ours would say {batch:?} and {:?}; move it away, or set another `prefix`",
            self.place(object),
            object.sha256
        )))
    }

    /// Returns the error as it is. If AWS does not know the credentials (any more), they are replaced once their source
    /// has others.
    fn fault(&self, fault: Fault) -> Fault {
        if fault.blames_credentials() || fault.kind == FaultKind::BadCredentials {
            self.client.identity.distrust();
        }
        fault
    }

    fn again(&self, object: &Object, fault: &Fault) -> DeliveryError {
        DeliveryError::unavailable(format!("writing {}: {}", self.place(object), fault.reason))
    }

    fn to_mend(&self, object: &Object, fault: &Fault, advice: &str) -> DeliveryError {
        DeliveryError::Misconfigured(format!("writing {}: {}; {advice}", self.place(object), fault.reason))
    }

    fn place(&self, object: &Object) -> String {
        format!("s3://{}/{}", self.config.bucket, object.key)
    }
}

fn named(class: StorageClass) -> S3StorageClass {
    match class {
        StorageClass::Standard => S3StorageClass::Standard,
        StorageClass::IntelligentTiering => S3StorageClass::IntelligentTiering,
        StorageClass::StandardIa => S3StorageClass::StandardIa,
        StorageClass::OnezoneIa => S3StorageClass::OnezoneIa,
        StorageClass::GlacierIr => S3StorageClass::GlacierIr,
    }
}

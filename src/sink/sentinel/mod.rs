//! Sends events to Microsoft Sentinel by the Logs Ingestion API, as rows of a table, through a data collection rule. At
//! least once: a row holds the uid of its event, but the receiver does not recognise repeats.

mod config;

mod rows;

use std::sync::Arc;
use std::time::Duration;

use crate::batch::{Request, RequestLimits};
use crate::identity::Identity;
use crate::sink::blocking::blocking;
use crate::sink::http::body::Body;
use crate::sink::network::headers_of;
use crate::sink::{Answer, Delivery, DeliveryError, EncodingConfig, Flow, Kind, OpenError, Receipt, Sink, lanes_of};
use crate::transport::{Post, Service, ServiceConfig};
use rows::{ENVELOPE_BYTES, Rows, Sent, answered};

pub use config::SentinelConfig;
pub(crate) use config::SentinelTable;

/// The default size at which a batch is cut: four requests.
const BATCH_BYTES: usize = 4 << 20;
/// The default number of lanes, and of requests under way in each. At 100 ms a request, one object reaches at most 40
/// MB/s, the sink 80. A rule takes 2 GB a minute.
const LANES: u16 = 2;
const IN_FLIGHT: u16 = 4;
/// How many batches of a lane may be sealed and not yet committed.
const WINDOW: u16 = 2;
/// The most bytes of an answer that are read. Messages quote its first characters.
const REPLY_BYTES_MAX: usize = 64 << 10;
/// The version of the Logs Ingestion API.
const API_VERSION: &str = "2023-01-01";

/// A sink for a stream of a data collection rule, as it is configured.
#[derive(Clone, Debug)]
pub(crate) struct SentinelKind {
    service: ServiceConfig,
    config: SentinelConfig,
    table: SentinelTable,
    rows: Rows,
    /// The problems of the configuration: keys, and what is wrong with each.
    problems: Vec<(&'static str, String)>,
}

impl Kind for SentinelKind {
    fn flow(&self) -> Flow {
        let SentinelConfig { request_bytes, request_events, .. } = self.config;
        let envelope_bytes = if self.rows.has_envelope { ENVELOPE_BYTES } else { 0 };
        let request = RequestLimits { bytes: request_bytes, events: request_events, envelope_bytes, fixed_bytes: 2 };
        Flow {
            batch_bytes: BATCH_BYTES,
            request,
            lanes: LANES,
            in_flight: IN_FLIGHT,
            window: WINDOW,
            acknowledged_within: Duration::MAX,
            knows_repeats: false,
        }
    }

    fn envelope(&self) -> String {
        let SentinelConfig { dcr_immutable_id, stream, .. } = &self.config;
        format!("{dcr_immutable_id:?} {stream:?} {:?}", self.rows)
    }

    fn encoding(&mut self, configured: Option<EncodingConfig>) -> EncodingConfig {
        let (encoding, problem) = self.table.encoding(configured);
        self.rows.has_envelope = rows::has_envelope(&encoding);
        self.problems.extend(problem.map(|problem| ("encoding", problem)));
        encoding
    }

    fn service(&self) -> Option<&ServiceConfig> {
        Some(&self.service)
    }

    fn check(&self, problem: &mut dyn FnMut(&str, &str)) {
        self.service.check(problem);
        self.problems.iter().for_each(|(key, message)| problem(key, message));
    }

    fn open(&self, lanes: u16, _identity: Option<&Identity>) -> Result<Vec<Box<dyn Sink>>, OpenError> {
        let service = Arc::new(Service::open(self.service.clone())?);
        let SentinelConfig { dcr_immutable_id, stream, .. } = &self.config;
        let path: Arc<str> = format!("/dataCollectionRules/{dcr_immutable_id}/streams/{stream}").into();
        let lane = || SentinelSink { service: Arc::clone(&service), path: Arc::clone(&path), rows: self.rows };
        Ok(lanes_of(lanes, lane))
    }
}

/// One lane. All lanes of a sink share the service.
struct SentinelSink {
    service: Arc<Service>,
    path: Arc<str>,
    rows: Rows,
}

impl Sink for SentinelSink {
    fn deliver<'a>(&'a self, request: &'a Request, now_ms: i64) -> Answer<'a, Delivery> {
        Box::pin(self.send(request, now_ms))
    }
}

impl SentinelSink {
    async fn send(&self, request: &Request, now_ms: i64) -> Result<Delivery, DeliveryError> {
        let (rows, own) = (self.rows, request.clone());
        let Body { bytes, sent, too_long: refused } =
            blocking("the request cannot be made", move || rows.body(&own)).await?;
        if sent.count() > 0 {
            let post = Post {
                path: &self.path,
                query: &[("api-version", API_VERSION)],
                headers: headers_of("application/json", self.rows.compression)?,
                body: bytes,
                reply_bytes_max: REPLY_BYTES_MAX,
            };
            let answer = self.service.post(&post, now_ms).await?;
            let sent = Sent { events: sent.count(), bytes: request.bytes() };
            if let Some(delivery) = answered(&answer, sent, now_ms)? {
                return Ok(delivery);
            }
        }
        if refused.is_empty() {
            return Ok(Delivery::Taken(Receipt::accepted()));
        }
        Ok(Delivery::Partly { taken: sent, refused, after: None })
    }
}

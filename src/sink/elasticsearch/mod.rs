//! Sends events to Elasticsearch and OpenSearch by `_bulk`. Each event becomes a document that is created and never
//! overwritten. Exactly once into indexes: the uid of an event is the id of its document, and a repeat is refused as a
//! conflict.

mod bulk;

mod config;

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::batch::{Request, RequestLimits};
use crate::event::Choices;
use crate::identity::Identity;
use crate::sink::blocking::blocking;
use crate::sink::network::headers_of;
use crate::sink::{Answer, Aws, Delivery, DeliveryError, Flow, Kind, OpenError, Sink, lanes_of};
use crate::transport::{AwsSigner, Outcome, Post, Service, ServiceConfig, ServiceError, TransportError, outcome};
use bulk::{Bulk, Documents};

pub use config::ElasticsearchConfig;

/// The default size at which a batch is cut: one request.
const BATCH_BYTES: usize = 4 << 20;
/// The default number of lanes, and of requests under way in each. At 100 ms a request, one object reaches at most 80
/// MB/s.
const LANES: u16 = 2;
const IN_FLIGHT: u16 = 2;
/// How many batches of a lane may be sealed and not yet committed.
const WINDOW: u16 = 2;
/// The most bytes of an answer that are read: 5,000 items take 1 to 3 MB. A request with a longer answer is cut in two.
const REPLY_BYTES_MAX: usize = 4 << 20;

/// The configuration of an Elasticsearch or OpenSearch sink.
#[derive(Clone, Debug)]
pub(super) struct ElasticsearchKind {
    service: ServiceConfig,
    config: ElasticsearchConfig,
    bulk: Arc<Bulk>,
    is_data_stream: bool,
    /// The problems of the configuration: keys, and what is wrong with each.
    problems: Vec<(&'static str, String)>,
}

/// The AWS service that requests are signed for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signing {
    /// An Amazon OpenSearch Service domain.
    Es,
    /// An Amazon OpenSearch Serverless collection.
    Aoss,
}

impl Signing {
    fn service(self) -> &'static str {
        match self {
            Self::Es => "es",
            Self::Aoss => "aoss",
        }
    }
}

impl Kind for ElasticsearchKind {
    fn flow(&self) -> Flow {
        let request = RequestLimits {
            bytes: self.config.request_bytes,
            events: self.config.request_events,
            envelope_bytes: bulk::ENVELOPE_BYTES_MAX,
            fixed_bytes: 0,
        };
        Flow {
            batch_bytes: BATCH_BYTES,
            request,
            lanes: LANES,
            in_flight: IN_FLIGHT,
            window: WINDOW,
            acknowledged_within: Duration::MAX,
            // A data stream that has rolled over no longer knows the ids in its older backing indexes.
            knows_repeats: self.config.ids && !self.is_data_stream,
        }
    }

    fn service(&self) -> Option<&ServiceConfig> {
        Some(&self.service)
    }

    fn choices(&self) -> Choices {
        self.bulk.choices.clone()
    }

    fn check(&self, problem: &mut dyn FnMut(&str, &str)) {
        self.service.check(problem);
        self.problems.iter().for_each(|(key, message)| problem(key, message));
    }

    fn aws(&self) -> Option<Aws<'_>> {
        let ElasticsearchConfig { sigv4, region, identity, .. } = &self.config;
        sigv4.map(|_| Aws { identity: identity.as_deref(), region: region.as_deref() })
    }

    fn open(&self, lanes: u16, identity: Option<&Identity>) -> Result<Vec<Box<dyn Sink>>, OpenError> {
        let signer = self.config.sigv4.zip(identity).map(|(signing, identity)| AwsSigner {
            identity: identity.clone(),
            region: self.config.region.clone().unwrap_or_default(),
            service: signing.service(),
        });
        let service = Arc::new(Service::open(self.service.clone())?.signed_by(signer));
        let lane = || ElasticsearchSink { service: Arc::clone(&service), bulk: Arc::clone(&self.bulk) };
        Ok(lanes_of(lanes, lane))
    }
}

/// One lane. All lanes of a sink share the service and the templates.
struct ElasticsearchSink {
    service: Arc<Service>,
    bulk: Arc<Bulk>,
}

impl Sink for ElasticsearchSink {
    fn deliver<'a>(&'a self, request: &'a Request, now_ms: i64) -> Answer<'a, Delivery> {
        Box::pin(self.send(request, now_ms))
    }
}

impl ElasticsearchSink {
    async fn send(&self, request: &Request, now_ms: i64) -> Result<Delivery, DeliveryError> {
        let (bulk, own) = (Arc::clone(&self.bulk), request.clone());
        let documents = blocking("the request cannot be made", move || bulk.documents(&own)).await?;
        if documents.sent.is_empty() {
            return self.bulk.delivery(documents, b"{\"items\":[]}");
        }
        let headers = headers_of("application/x-ndjson", self.bulk.compression)?;
        let body = documents.body.clone();
        let post = Post { path: "/_bulk", query: &[], headers, body, reply_bytes_max: REPLY_BYTES_MAX };
        let answer = self.service.post(&post, now_ms).await?;
        let reason = answer.reason();
        match outcome(answer.reply.status, answer.reply.retry_after.as_deref(), &[], now_ms) {
            Outcome::Taken => self.read(documents, answer.reply.whole()).await,
            Outcome::Again { after } => Err(DeliveryError::Unavailable { reason, after }),
            Outcome::TooLarge => Ok(Delivery::TooLarge(reason.into())),
            Outcome::Refused if bulk::is_about_ids(&answer.said) => {
                Err(DeliveryError::Misconfigured(bulk::NO_IDS.to_owned()))
            }
            Outcome::Refused => Err(DeliveryError::Refused(reason)),
            Outcome::Misconfigured => Err(DeliveryError::Misconfigured(reason)),
        }
    }

    /// Reads the answer, which has one item for each document.
    async fn read(
        &self,
        documents: Documents,
        reply: Result<bytes::Bytes, TransportError>,
    ) -> Result<Delivery, DeliveryError> {
        let reply = match reply {
            Ok(reply) => reply,
            Err(error @ TransportError::TooLong { .. }) if documents.sent.len() > 1 => {
                return Ok(Delivery::TooLarge(error.to_string().into()));
            }
            Err(error) => return Err(ServiceError::from(error).into()),
        };
        let bulk = Arc::clone(&self.bulk);
        blocking("the answer cannot be read", move || bulk.delivery(documents, &reply)).await?
    }
}

#[cfg(test)]
mod tests;

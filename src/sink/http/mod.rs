//! Sends events with HTTP POST, as lines, as a JSON array or one by one. Effectively once if the receiver recognises a
//! repeated request by its id and drops it; else at least once.

pub(super) mod body;

mod config;

mod presets;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::batch::{Request, RequestLimits, Selection};
use crate::identity::Identity;
use crate::sink::blocking::blocking;
use crate::sink::network::headers_of;
use crate::sink::{Answer, Delivery, DeliveryError, Flow, Kind, OpenError, Receipt, Sink, lanes_of};
use crate::transport::{FieldName, Headers, Outcome, Post, Service, ServiceConfig, ServiceError, StatusClass, outcome};
use body::{Body, Compression, Envelope, Format};

pub use config::HttpConfig;
pub use presets::{PRESETS, Preset};

/// The default size at which a batch is cut.
const BATCH_BYTES: usize = 4 << 20;
/// The default number of lanes, and of requests under way in each. At 100 ms a request, one object reaches at most 40
/// MB/s.
const LANES: u16 = 4;
const IN_FLIGHT: u16 = 4;
/// How many batches of a lane may be sealed and not yet committed.
const WINDOW: u16 = 2;
/// The most bytes of an answer that are read. Messages quote its first characters.
const REPLY_BYTES_MAX: usize = 64 << 10;

/// A sink over HTTP as it is configured: where the receiver is, and what it takes.
#[derive(Clone, Debug)]
pub struct HttpKind {
    service: ServiceConfig,
    profile: Arc<Profile>,
}

/// What a receiver takes, and what its answers mean.
#[derive(Clone, Debug)]
struct Profile {
    format: Format,
    envelope: Envelope,
    compression: Compression,
    /// The most bytes of a request, uncompressed.
    request_bytes: u64,
    request_events: u32,
    /// The most bytes of one event with its envelope, if the receiver limits events more than requests.
    event_bytes_max: Option<usize>,
    /// The header field for the request's id.
    id_field: Option<FieldName>,
    /// Whether the receiver recognises a repeated request by that id and drops it.
    is_idempotent: bool,
    /// What statuses mean to this receiver, where that differs from the HTTP standard.
    statuses: Vec<(u16, StatusClass)>,
    /// The problems of the configuration besides those of the service: keys, and what is wrong with each.
    problems: Vec<(&'static str, String)>,
}

impl Kind for HttpKind {
    fn flow(&self) -> Flow {
        let Profile { format, envelope, request_bytes, request_events, is_idempotent, .. } = &*self.profile;
        let request = RequestLimits {
            bytes: *request_bytes,
            events: if *format == Format::Single { 1 } else { *request_events },
            envelope_bytes: envelope.bytes(),
            fixed_bytes: 2,
        };
        Flow {
            batch_bytes: BATCH_BYTES,
            request,
            lanes: LANES,
            in_flight: IN_FLIGHT,
            window: WINDOW,
            acknowledged_within: Duration::MAX,
            knows_repeats: *is_idempotent,
        }
    }

    fn envelope(&self) -> String {
        let Profile { format, envelope, compression, .. } = &*self.profile;
        format!("{format:?} {envelope:?} {compression:?}")
    }

    fn service(&self) -> Option<&ServiceConfig> {
        Some(&self.service)
    }

    fn check(&self, problem: &mut dyn FnMut(&str, &str)) {
        self.service.check(problem);
        self.profile.problems.iter().for_each(|(key, message)| problem(key, message));
    }

    fn open(&self, lanes: u16, _identity: Option<&Identity>) -> Result<Vec<Box<dyn Sink>>, OpenError> {
        let service = Arc::new(Service::open(self.service.clone())?);
        let lane = || HttpSink { service: Arc::clone(&service), profile: Arc::clone(&self.profile) };
        Ok(lanes_of(lanes, lane))
    }
}

/// One lane. All lanes of a sink share the service and the profile.
struct HttpSink {
    service: Arc<Service>,
    profile: Arc<Profile>,
}

impl Sink for HttpSink {
    fn deliver<'a>(&'a self, request: &'a Request, now_ms: i64) -> Answer<'a, Delivery> {
        Box::pin(self.send(request, now_ms))
    }
}

impl HttpSink {
    async fn send(&self, request: &Request, now_ms: i64) -> Result<Delivery, DeliveryError> {
        let (profile, own) = (Arc::clone(&self.profile), request.clone());
        let Body { bytes, sent, too_long } = blocking("the request cannot be made", move || profile.body(&own)).await?;
        if sent.count() > 0
            && let Some(delivery) = self.post(request, bytes, now_ms).await?
        {
            return Ok(delivery);
        }
        if too_long.is_empty() {
            return Ok(Delivery::Taken(Receipt::accepted()));
        }
        Ok(Delivery::Partly { taken: sent, refused: too_long, after: None })
    }

    /// Posts the body. `None` if the receiver has taken it.
    async fn post(&self, request: &Request, body: Bytes, now_ms: i64) -> Result<Option<Delivery>, DeliveryError> {
        let Profile { format, compression, id_field, statuses, .. } = &*self.profile;
        let headers = headers(*format, *compression, id_field.as_ref(), &request.id)
            .map_err(|error| DeliveryError::Misconfigured(error.to_string()))?;
        let post = Post { path: "", query: &[], headers, body, reply_bytes_max: REPLY_BYTES_MAX };
        let answer = self.service.post(&post, now_ms).await?;
        let (status, reason) = (answer.reply.status, answer.reason());
        match outcome(status, answer.reply.retry_after.as_deref(), statuses, now_ms) {
            Outcome::Taken => Ok(None),
            Outcome::Again { after } => Err(DeliveryError::Unavailable { reason, after }),
            Outcome::TooLarge => Ok(Some(Delivery::TooLarge(reason.into()))),
            Outcome::Refused => Err(DeliveryError::Refused(reason)),
            Outcome::Misconfigured => Err(DeliveryError::Misconfigured(reason)),
        }
    }
}

fn headers(
    format: Format,
    compression: Compression,
    id_field: Option<&FieldName>,
    id: &str,
) -> Result<Headers, ServiceError> {
    let mut headers = headers_of(format.media_type(), compression)?;
    if let Some(name) = id_field {
        headers.set(name, id)?;
    }
    Ok(headers)
}

impl Profile {
    fn body(&self, request: &Request) -> Body {
        let (mut text, mut sent, mut too_long) = (Vec::new(), Selection::default(), Vec::new());
        for event in request.events() {
            let before = text.len();
            self.format.begin_event(sent.count() == 0, &mut text);
            let begins = text.len();
            self.envelope.write(request, &event, self.format, &mut text);
            let bytes = text.len() - begins;
            if self.event_bytes_max.is_some_and(|most| bytes > most) {
                text.truncate(before);
                let most = self.event_bytes_max.unwrap_or_default();
                too_long.push((event.number, format!("longer than {most} bytes: it has {bytes}").into()));
            } else {
                sent.push(event.number);
            }
        }
        self.format.end(&mut text);
        Body { bytes: self.compression.compressed(text).into(), sent, too_long }
    }
}

#[cfg(test)]
mod tests;

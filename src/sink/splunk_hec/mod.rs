//! Sends events to Splunk's HTTP Event Collector. With acknowledgements, events are delivered once the indexer
//! acknowledges them; without, once Splunk answers. At least once: Splunk does not recognise repeats.

mod channel;

mod config;

mod reply;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::batch::{Request, RequestLimits, Selection};
use crate::event::Choices;
use crate::identity::Identity;
use crate::sink::blocking::blocking;
use crate::sink::http::body::{Compression, Envelope, Format};
use crate::sink::network::headers_of;
use crate::sink::{
    Acknowledgement, Answer, Delivery, DeliveryError, Flow, Kind, OpenError, Receipt, Sink, State, lanes_of,
};
use crate::transport::{FieldName, Post, Service, ServiceConfig, ServiceError};
use channel::{ChannelId, Channels, Pass, Ticket};
use reply::{HecReply, NO_ACKNOWLEDGEMENT, Verdict, delivery, verdict};

pub use config::HecConfig;

const EVENTS: &str = "/services/collector/event";
const ACKNOWLEDGEMENTS: &str = "/services/collector/ack";
const JSON: &str = "application/json";

/// The default size at which a batch is cut.
const BATCH_BYTES: usize = 2 << 20;
/// The most events of a request.
const REQUEST_EVENTS: u32 = 10_000;
/// The default number of lanes, and of requests under way in each. At 100 ms a request, one object reaches at most 80
/// MB/s.
const LANES: u16 = 2;
const IN_FLIGHT: u16 = 8;
/// How many batches of a lane may be sealed and not yet committed. More with acknowledgements, since an indexer takes
/// seconds to acknowledge a batch.
const WINDOW: u16 = 4;
const WINDOW_ACKNOWLEDGED: u16 = 10;
/// A number that Splunk never gives to a request. It is used to find out whether Splunk answers questions: a question
/// about a real number would make Splunk forget that number.
const NEVER_GIVEN: u64 = i32::MAX as u64;
/// The most bytes of an answer that are read.
const REPLY_BYTES_MAX: usize = 64 << 10;
/// The most numbers in one question. The answer has at most 30 bytes for each.
const NUMBERS_ASKED: usize = 1000;

const UNACKNOWLEDGED: &str = "without acknowledgement Splunk may still lose what it has answered; Splunk Enterprise has it \
     (`acknowledge = true`), Splunk Cloud has not";
const COUNTS_ANEW: &str = "it numbers its acknowledgements anew: it was restarted, or a load balancer without sticky sessions spreads \
     requests over several collectors; the request is sent again over another channel";

#[derive(Clone, Debug)]
pub(super) struct HecKind {
    service: ServiceConfig,
    profile: Arc<Profile>,
    choices: Choices,
}

/// What is sent, and when it counts as delivered.
#[derive(Clone, Debug)]
struct Profile {
    envelope: Envelope,
    compression: Compression,
    request_bytes: u64,
    acknowledge: bool,
    acknowledged_within: Duration,
    /// The problems of the configuration: keys, and what is wrong with each.
    problems: Vec<(&'static str, String)>,
}

impl Kind for HecKind {
    fn flow(&self) -> Flow {
        let Profile { envelope, request_bytes, acknowledge, acknowledged_within, .. } = &*self.profile;
        let envelope_bytes = envelope.bytes();
        Flow {
            batch_bytes: BATCH_BYTES,
            request: RequestLimits { bytes: *request_bytes, events: REQUEST_EVENTS, envelope_bytes, fixed_bytes: 1 },
            lanes: LANES,
            in_flight: IN_FLIGHT,
            window: if *acknowledge { WINDOW_ACKNOWLEDGED } else { WINDOW },
            acknowledged_within: *acknowledged_within,
            knows_repeats: false,
        }
    }

    fn envelope(&self) -> String {
        let Profile { envelope, compression, .. } = &*self.profile;
        format!("{envelope:?} {compression:?}")
    }

    fn service(&self) -> Option<&ServiceConfig> {
        Some(&self.service)
    }

    fn caveat(&self) -> Option<&'static str> {
        (!self.profile.acknowledge).then_some(UNACKNOWLEDGED)
    }

    fn choices(&self) -> Choices {
        self.choices.clone()
    }

    fn check(&self, problem: &mut dyn FnMut(&str, &str)) {
        self.service.check(problem);
        self.profile.problems.iter().for_each(|(key, message)| problem(key, message));
    }

    fn open(&self, lanes: u16, _identity: Option<&Identity>) -> Result<Vec<Box<dyn Sink>>, OpenError> {
        let service = Arc::new(Service::open(self.service.clone())?);
        let lane = || HecSink {
            service: Arc::clone(&service),
            profile: Arc::clone(&self.profile),
            channels: Mutex::default(),
            ended: Notify::new(),
        };
        Ok(lanes_of(lanes, lane))
    }
}

/// One lane. All lanes of a sink share the service; each lane has its own channels.
struct HecSink {
    service: Arc<Service>,
    profile: Arc<Profile>,
    channels: Mutex<Channels>,
    /// Notified whenever a request has ended.
    ended: Notify,
}

impl Sink for HecSink {
    fn deliver<'a>(&'a self, request: &'a Request, now_ms: i64) -> Answer<'a, Delivery> {
        Box::pin(self.send(request, now_ms))
    }

    fn acknowledged<'a>(&'a self, pending: &'a [State], now_ms: i64) -> Answer<'a, Vec<Acknowledgement>> {
        Box::pin(self.ask_all(pending, now_ms))
    }
}

/// Splunk's answer if its body is one, the verdict on it, and the reason in words.
type Said = (Option<HecReply>, Verdict, String);

/// The answer to the question which numbers of a channel are indexed.
enum Asked {
    Numbers(BTreeMap<u64, bool>),
    /// Splunk does not know the channel. The text is the reason.
    NoChannel(String),
    /// Splunk acknowledges nothing. The text is the reason.
    Never(String),
}

impl HecSink {
    fn channels(&self) -> MutexGuard<'_, Channels> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, request: &Request, now_ms: i64) -> Result<Delivery, DeliveryError> {
        let (profile, own) = (Arc::clone(&self.profile), request.clone());
        let body = blocking("the request cannot be made", move || profile.body(&own)).await?;
        if !self.profile.acknowledge {
            let (_, verdict, reason) = self.post(body, None, now_ms).await?;
            return delivery(request, verdict, reason, |_| Ok(Delivery::Taken(Receipt::accepted())));
        }
        let mut under_way = self.begin(request, now_ms).await?;
        let (reply, verdict, reason) = self.post(body, Some(under_way.pass.channel), now_ms).await?;
        // An answer without a code comes from a program before Splunk, which may have given a number.
        under_way.may_have_a_number = reply.is_none_or(|reply| reply.code.is_none());
        let verdict = match verdict {
            // Splunk has the events before, but gives a number only for a request that it took whole. So all of them
            // are sent again to be acknowledged.
            Verdict::AgainFrom { after, .. } => Verdict::Again { after },
            other => other,
        };
        let pass = under_way.pass;
        let delivered = delivery(request, verdict, reason, |ack| self.numbered(&pass, &request.id, ack))?;
        Ok(match delivered {
            Delivery::Partly { refused, after, .. } => Delivery::Partly { taken: Selection::default(), refused, after },
            other => other,
        })
    }

    /// Splunk has read a request, and gave the number `ack` for it.
    fn numbered(&self, pass: &Pass, request: &str, ack: Option<u64>) -> Result<Delivery, DeliveryError> {
        let Some(number) = ack else {
            self.channels().give_up(pass.channel);
            return Err(DeliveryError::Misconfigured(NO_ACKNOWLEDGEMENT.to_owned()));
        };
        let ticket = self.channels().given(pass, request, number);
        ticket.map(|ticket| Delivery::Pending(ticket.to_state())).ok_or_else(|| DeliveryError::unavailable(COUNTS_ANEW))
    }

    /// Begins a request over a channel about which Splunk answers questions. Nothing is sent to a Splunk that
    /// acknowledges nothing.
    async fn begin(&self, request: &Request, now_ms: i64) -> Result<RequestUnderWay<'_>, DeliveryError> {
        let pass = self.channels().pass(&request.id, ChannelId::new(&request.id, now_ms));
        let mut under_way = RequestUnderWay { sink: self, pass, may_have_a_number: false };
        if !pass.is_answered {
            match self.ask(pass.channel, &[NEVER_GIVEN], now_ms).await? {
                Asked::Numbers(_) => self.channels().answers(pass.channel),
                Asked::NoChannel(reason) | Asked::Never(reason) => return Err(DeliveryError::Misconfigured(reason)),
            }
        }
        under_way.may_have_a_number = true;
        Ok(under_way)
    }

    async fn post(&self, body: Bytes, channel: Option<ChannelId>, now_ms: i64) -> Result<Said, DeliveryError> {
        let mut headers = headers_of(JSON, self.profile.compression)?;
        if let Some(channel) = channel {
            headers
                .set(&FieldName::from_static("x-splunk-request-channel"), &channel.guid())
                .map_err(ServiceError::from)?;
        }
        let post = Post { path: EVENTS, query: &[], headers, body, reply_bytes_max: REPLY_BYTES_MAX };
        self.said(&post, now_ms).await
    }

    /// Asks which of these numbers of a channel are indexed.
    async fn ask(&self, channel: ChannelId, numbers: &[u64], now_ms: i64) -> Result<Asked, DeliveryError> {
        let body = serde_json::json!({ "acks": numbers }).to_string().into();
        let (query, headers) = (&[("channel", &*channel.guid())], headers_of(JSON, Compression::None)?);
        let post = Post { path: ACKNOWLEDGEMENTS, query, headers, body, reply_bytes_max: REPLY_BYTES_MAX };
        let (reply, verdict, reason) = self.said(&post, now_ms).await?;
        match (reply, verdict) {
            (Some(HecReply { code: Some(10 | 11), .. }), _) => Ok(Asked::NoChannel(reason)),
            (Some(HecReply { code: Some(14), .. }), _) => Ok(Asked::Never(reason)),
            // An answer to a question has no code.
            (Some(HecReply { code: None | Some(0), acks, .. }), _) if !acks.is_empty() => Ok(Asked::Numbers(acks)),
            (_, Verdict::Again { after } | Verdict::AgainFrom { after, .. }) => {
                Err(DeliveryError::Unavailable { reason, after })
            }
            _ => Err(DeliveryError::Misconfigured(format!("it does not say what is indexed: {reason}"))),
        }
    }

    /// Posts, and returns Splunk's answer, the verdict on it, and the reason in words.
    async fn said(&self, post: &Post<'_>, now_ms: i64) -> Result<Said, DeliveryError> {
        let answer = self.service.post(post, now_ms).await?;
        let (status, mut reason) = (answer.reply.status, answer.reason());
        if let Some(error) = &answer.reply.cut
            && (200..300).contains(&status)
        {
            return Err(DeliveryError::unavailable(format!("its answer did not come whole: {error}")));
        }
        let reply = HecReply::read(&answer.reply.body);
        let verdict = verdict(status, reply.as_ref(), answer.reply.retry_after.as_deref(), now_ms);
        if let Verdict::Misconfigured(what) | Verdict::MisconfiguredAt(_, what) = &verdict {
            reason = format!("{what} ({reason})");
        }
        Ok((reply, verdict, reason))
    }

    /// Asks about each channel in a question of its own. Answers that came are returned even if later questions fail:
    /// Splunk forgets a number once it has said that it is indexed.
    async fn ask_all(&self, pending: &[State], now_ms: i64) -> Result<Vec<Acknowledgement>, DeliveryError> {
        let tickets: Vec<Option<Ticket>> = pending.iter().map(Ticket::from_state).collect();
        let mut channels: BTreeMap<ChannelId, Vec<u64>> = BTreeMap::new();
        for ticket in tickets.iter().flatten() {
            channels.entry(ticket.channel).or_default().push(ticket.number);
        }
        let mut questions: Vec<(ChannelId, &[u64])> = Vec::new();
        for (channel, numbers) in &channels {
            questions.extend(numbers.chunks(NUMBERS_ASKED).map(|numbers| (*channel, numbers)));
        }
        let mut answers: BTreeMap<Ticket, Acknowledgement> = BTreeMap::new();
        for (channel, numbers) in questions {
            match self.ask_one(channel, numbers, now_ms).await {
                Ok(answered) => {
                    answers.extend(answered.into_iter().map(|(number, answer)| (Ticket { channel, number }, answer)));
                }
                Err(error) if answers.is_empty() => return Err(error),
                // This channel is asked again with the next call.
                Err(_) => break,
            }
        }
        let answer = |ticket: &Option<Ticket>| match ticket {
            Some(ticket) => answers.get(ticket).copied().unwrap_or(Acknowledgement::NotYet),
            None => Acknowledgement::Lost,
        };
        Ok(tickets.iter().map(answer).collect())
    }

    /// Waits until all requests that are under way over a channel now have ended: only their answers reveal that Splunk
    /// was restarted. Each request ends within its timeout.
    async fn settled(&self, channel: ChannelId) {
        let before = self.channels().now();
        loop {
            let ended = self.ended.notified();
            if self.channels().is_settled(channel, before) {
                return;
            }
            ended.await;
        }
    }

    /// Asks about these numbers of a channel, and interprets the answer.
    async fn ask_one(
        &self,
        channel: ChannelId,
        numbers: &[u64],
        now_ms: i64,
    ) -> Result<Vec<(u64, Acknowledgement)>, DeliveryError> {
        let all = |answer| Ok(numbers.iter().map(|number| (*number, answer)).collect());
        if self.channels().is_lost(channel) {
            return all(Acknowledgement::Lost);
        }
        let asked = self.ask(channel, numbers, now_ms).await;
        match asked.inspect_err(|_| self.channels().leave(channel))? {
            Asked::Numbers(indexed) => {
                if indexed.values().any(|is_indexed| *is_indexed) {
                    self.settled(channel).await;
                }
                let channels = self.channels();
                let answer = |number: u64| {
                    let is_indexed = indexed.get(&number).copied().unwrap_or(false);
                    channels.means(Ticket { channel, number }, is_indexed)
                };
                Ok(numbers.iter().map(|number| (*number, answer(*number))).collect())
            }
            Asked::NoChannel(_) if !self.channels().is_current(channel) => all(Acknowledgement::Lost),
            Asked::Never(_) if !self.profile.acknowledge => all(Acknowledgement::Lost),
            Asked::NoChannel(reason) | Asked::Never(reason) => Err(DeliveryError::Misconfigured(reason)),
        }
    }
}

/// A request that is under way over a channel. It ends when this is dropped.
struct RequestUnderWay<'a> {
    sink: &'a HecSink,
    pass: Pass,
    /// Whether Splunk may have given the request a number that is not known.
    may_have_a_number: bool,
}

impl Drop for RequestUnderWay<'_> {
    fn drop(&mut self) {
        let mut channels = self.sink.channels();
        if self.may_have_a_number {
            channels.unanswered(&self.pass)
        } else {
            channels.answered(&self.pass)
        }
        self.sink.ended.notify_waiters();
    }
}

impl Profile {
    fn body(&self, request: &Request) -> Bytes {
        let mut text = Vec::new();
        for event in request.events() {
            Format::Ndjson.begin_event(text.is_empty(), &mut text);
            self.envelope.write(request, &event, Format::Ndjson, &mut text);
        }
        Format::Ndjson.end(&mut text);
        self.compression.compressed(text).into()
    }
}

#[cfg(test)]
mod tests;

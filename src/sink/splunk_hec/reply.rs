//! What Splunk's answers mean.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::batch::{Request, Selection};
use crate::sink::{Delivery, DeliveryError};
use crate::transport::{Outcome, outcome};

/// The body of Splunk's answer, to events or to a question.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
pub(super) struct HecReply {
    pub(super) code: Option<u16>,
    #[serde(rename = "ackId")]
    pub(super) ack: Option<u64>,
    /// The index in the request, from 0, of the event at which Splunk stopped. It has the events before.
    #[serde(rename = "invalid-event-number")]
    pub(super) stopped_at: Option<u32>,
    /// Which numbers are indexed.
    #[serde(default)]
    pub(super) acks: BTreeMap<u64, bool>,
}

impl HecReply {
    /// `None` if the body is not Splunk's.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }
}

/// What an answer means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Taken {
        ack: Option<u64>,
    },
    /// Splunk has the events before this one, and refuses this one for ever. The reason has the same words for all
    /// events that are refused for it.
    RefusedAt(u32, &'static str),
    /// Splunk refuses something in the request for ever, and does not say what.
    Refused,
    /// Splunk has the events before this one. The others are to be sent again.
    AgainFrom {
        number: u32,
        after: Option<Duration>,
    },
    Again {
        after: Option<Duration>,
    },
    TooLarge,
    /// An operator must mend something. The text says what to do.
    Misconfigured(&'static str),
    /// Splunk has the events before this one. It takes this one once an operator has done what the text says.
    MisconfiguredAt(u32, &'static str),
}

pub(super) const NO_ACKNOWLEDGEMENT: &str = "the receiver acknowledges nothing: turn on indexer acknowledgement for the token, or set \
     `acknowledge = false` where there is none (Splunk Cloud)";
const TOKEN: &str = "look at the token, and whether it is enabled";
const INDEX: &str = "the token does not allow the index: look at `index` and at the token's";
const CHANNEL: &str = "it wants a channel: set `acknowledge = true` where the token has indexer acknowledgement, or look at what \
     changes requests on their way";
const NO_COLLECTOR: &str = "this is no answer of an event collector: look at `url`";

/// Splunk's codes decide first (Splunk, "Troubleshoot HTTP Event Collector", possible error codes), then the HTTP
/// status. `reply` is `None` if the body is not Splunk's.
pub(super) fn verdict(status: u16, reply: Option<&HecReply>, retry_after: Option<&str>, now_ms: i64) -> Verdict {
    let by_status = || outcome(status, retry_after, &[], now_ms);
    let after = || if let Outcome::Again { after } = by_status() { after } else { None };
    let stopped_at = reply.and_then(|reply| reply.stopped_at);
    let refused = |why| stopped_at.map_or(Verdict::Refused, |number| Verdict::RefusedAt(number, why));
    match (status, reply.and_then(|reply| reply.code)) {
        (200..300, Some(0)) => Verdict::Taken { ack: reply.and_then(|reply| reply.ack) },
        (200..300, _) => Verdict::Misconfigured(NO_COLLECTOR),
        (_, Some(1..=4 | 16 | 21 | 22)) => Verdict::Misconfigured(TOKEN),
        (_, Some(5)) => Verdict::Misconfigured("no event arrived: is something between that changes requests?"),
        (_, Some(6)) => refused("invalid data format (code 6)"),
        (_, Some(12)) => refused("event field is required (code 12)"),
        (_, Some(13)) => refused("event field cannot be blank (code 13)"),
        (_, Some(15)) => refused("error in handling indexed fields (code 15)"),
        (_, Some(7)) => {
            stopped_at.map_or(Verdict::Misconfigured(INDEX), |number| Verdict::MisconfiguredAt(number, INDEX))
        }
        (_, Some(8)) => Verdict::Again { after: after() },
        (_, Some(9)) => match stopped_at {
            Some(number @ 1..) => Verdict::AgainFrom { number, after: after() },
            _ => Verdict::Again { after: after() },
        },
        (_, Some(10 | 11)) => Verdict::Misconfigured(CHANNEL),
        (_, Some(14)) => Verdict::Misconfigured(NO_ACKNOWLEDGEMENT),
        _ => match by_status() {
            Outcome::Again { after } => Verdict::Again { after },
            Outcome::TooLarge => Verdict::TooLarge,
            Outcome::Refused => Verdict::Refused,
            Outcome::Misconfigured if matches!(status, 401 | 403) => Verdict::Misconfigured(TOKEN),
            Outcome::Taken | Outcome::Misconfigured => Verdict::Misconfigured(NO_COLLECTOR),
        },
    }
}

/// Turns a verdict into what became of the request. `taken` decides if Splunk read all of it.
pub(super) fn delivery(
    request: &Request,
    verdict: Verdict,
    reason: String,
    taken: impl FnOnce(Option<u64>) -> Result<Delivery, DeliveryError>,
) -> Result<Delivery, DeliveryError> {
    let before = |number: u32| request.events.numbers().take(number as usize).collect::<Selection>();
    match verdict {
        Verdict::Taken { ack } => taken(ack),
        Verdict::RefusedAt(number, why) => match request.events.numbers().nth(number as usize) {
            Some(event) => Ok(Delivery::Partly {
                taken: before(number),
                refused: vec![(event, why.into())],
                after: Some(Duration::ZERO),
            }),
            None => Err(DeliveryError::Refused(reason)),
        },
        Verdict::AgainFrom { number, after } if number < request.events.count() => {
            let after = after.filter(|after| !after.is_zero());
            Ok(Delivery::Partly { taken: before(number), refused: Vec::new(), after })
        }
        Verdict::AgainFrom { after, .. } | Verdict::Again { after } => {
            Err(DeliveryError::Unavailable { reason, after })
        }
        Verdict::Refused => Err(DeliveryError::Refused(reason)),
        Verdict::TooLarge => Ok(Delivery::TooLarge(reason.into())),
        Verdict::MisconfiguredAt(number @ 1.., _) if number < request.events.count() => {
            Ok(Delivery::Partly { taken: before(number), refused: Vec::new(), after: Some(Duration::ZERO) })
        }
        Verdict::Misconfigured(_) | Verdict::MisconfiguredAt(..) => Err(DeliveryError::Misconfigured(reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &str) -> Verdict {
        verdict(status, HecReply::read(body.as_bytes()).as_ref(), Some("7"), 0)
    }

    const AFTER: Option<Duration> = Some(Duration::from_secs(7));

    #[test]
    fn each_code_of_a_collector_means_what_splunk_says() {
        for (status, body, expected) in [
            (200, r#"{"text":"Success","code":0}"#, Verdict::Taken { ack: None }),
            (200, r#"{"text":"Success","code":0,"ackId":3}"#, Verdict::Taken { ack: Some(3) }),
            (403, r#"{"text":"Token disabled","code":1}"#, Verdict::Misconfigured(TOKEN)),
            (401, r#"{"text":"Token is required","code":2}"#, Verdict::Misconfigured(TOKEN)),
            (401, r#"{"text":"Invalid authorization","code":3}"#, Verdict::Misconfigured(TOKEN)),
            (403, r#"{"text":"Invalid token","code":4}"#, Verdict::Misconfigured(TOKEN)),
            (
                400,
                r#"{"text":"Invalid data format","code":6,"invalid-event-number":2}"#,
                Verdict::RefusedAt(2, "invalid data format (code 6)"),
            ),
            (400, r#"{"text":"Invalid data format","code":6}"#, Verdict::Refused),
            (400, r#"{"text":"Incorrect index","code":7}"#, Verdict::Misconfigured(INDEX)),
            (
                400,
                r#"{"text":"Incorrect index","code":7,"invalid-event-number":1}"#,
                Verdict::MisconfiguredAt(1, INDEX),
            ),
            (500, r#"{"text":"Internal server error","code":8}"#, Verdict::Again { after: AFTER }),
            (503, r#"{"text":"Server is busy","code":9}"#, Verdict::Again { after: AFTER }),
            (503, r#"{"text":"Server is busy","code":9,"invalid-event-number":0}"#, Verdict::Again { after: AFTER }),
            (
                503,
                r#"{"text":"Server is busy","code":9,"invalid-event-number":10}"#,
                Verdict::AgainFrom { number: 10, after: AFTER },
            ),
            (400, r#"{"text":"Data channel is missing","code":10}"#, Verdict::Misconfigured(CHANNEL)),
            (400, r#"{"text":"Invalid data channel","code":11}"#, Verdict::Misconfigured(CHANNEL)),
            (
                400,
                r#"{"text":"Event field is required","code":12,"invalid-event-number":0}"#,
                Verdict::RefusedAt(0, "event field is required (code 12)"),
            ),
            (
                400,
                r#"{"text":"Event field cannot be blank","code":13,"invalid-event-number":1}"#,
                Verdict::RefusedAt(1, "event field cannot be blank (code 13)"),
            ),
            (400, r#"{"text":"ACK is disabled","code":14}"#, Verdict::Misconfigured(NO_ACKNOWLEDGEMENT)),
            (
                400,
                r#"{"text":"Error in handling indexed fields","code":15,"invalid-event-number":0}"#,
                Verdict::RefusedAt(0, "error in handling indexed fields (code 15)"),
            ),
            (400, r#"{"text":"Query string authorization is not enabled","code":16}"#, Verdict::Misconfigured(TOKEN)),
            (503, r#"{"text":"HEC is unhealthy, queues are full","code":18}"#, Verdict::Again { after: AFTER }),
            (503, r#"{"text":"HEC is unhealthy, ack service unavailable","code":19}"#, Verdict::Again { after: AFTER }),
            (400, r#"{"text":"Invalid token","code":21}"#, Verdict::Misconfigured(TOKEN)),
            (400, r#"{"text":"Token disabled","code":22}"#, Verdict::Misconfigured(TOKEN)),
            (503, r#"{"text":"Server is shutting down","code":23}"#, Verdict::Again { after: AFTER }),
            (429, r#"{"text":"Queue at capacity","code":24}"#, Verdict::Again { after: AFTER }),
            (429, r#"{"text":"Ack channel is at capacity","code":26}"#, Verdict::Again { after: AFTER }),
        ] {
            assert_eq!(of(status, body), expected, "{status} {body}");
        }
        assert!(matches!(of(400, r#"{"text":"No data","code":5}"#), Verdict::Misconfigured(_)));
    }

    #[test]
    fn what_no_collector_answered_is_no_success() {
        let no_collector = Verdict::Misconfigured(NO_COLLECTOR);
        for (status, body, expected) in [
            (200, "<html>Sign in</html>", no_collector.clone()),
            (200, r#"{"status":"ok"}"#, no_collector.clone()),
            (204, "", no_collector.clone()),
            (200, r#"{"text":"HEC is healthy","code":17}"#, no_collector.clone()),
            (302, "", no_collector.clone()),
            (404, "not found", no_collector),
            (401, "", Verdict::Misconfigured(TOKEN)),
            (400, "bad request", Verdict::Refused),
            (413, "", Verdict::TooLarge),
            (408, "", Verdict::Again { after: AFTER }),
            (502, "<html>Bad Gateway</html>", Verdict::Again { after: AFTER }),
            (503, r#"{"code":"9"}"#, Verdict::Again { after: AFTER }),
        ] {
            assert_eq!(of(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn which_numbers_are_indexed_is_read_as_splunk_documents_it() {
        let reply = HecReply::read(br#"{"acks":{"0":true,"1":false,"4":true}}"#).unwrap();
        assert_eq!(reply.acks, [(0, true), (1, false), (4, true)].into());
        assert_eq!(HecReply::read(br#"{"acks":{"x":true}}"#), None);
    }
}

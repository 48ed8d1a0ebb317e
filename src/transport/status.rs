//! What an HTTP status means for the request.

use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;
use serde::Deserialize;

/// The longest wait that a receiver may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// What a status means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StatusClass {
    /// The receiver has the request for good.
    Taken,
    /// The same request is to be sent again.
    Again,
    /// The request is larger than the receiver takes.
    TooLarge,
    /// The receiver refuses something in the request for ever, and does not say what.
    Refused,
    /// An operator must mend the receiver or the configuration.
    Misconfigured,
}

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Taken,
    /// The request is to be sent again, not before `after` if the receiver says so. Whether the receiver has it is not
    /// known.
    Again {
        after: Option<Duration>,
    },
    TooLarge,
    Refused,
    Misconfigured,
}

/// `status`: what statuses mean to this receiver, where that differs from the default.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StatusConfig {
    /// The receiver has the request for good.
    pub taken: Vec<u16>,
    /// The request is sent again.
    pub again: Vec<u16>,
    /// The request is cut into smaller ones.
    pub too_large: Vec<u16>,
    /// The receiver refuses some event of the request for ever.
    pub refused: Vec<u16>,
    /// The sink is parked.
    pub misconfigured: Vec<u16>,
}

impl StatusConfig {
    /// Each configured status with its meaning.
    pub fn classes(&self) -> Vec<(u16, StatusClass)> {
        let lists = [
            (&self.taken, StatusClass::Taken),
            (&self.again, StatusClass::Again),
            (&self.too_large, StatusClass::TooLarge),
            (&self.refused, StatusClass::Refused),
            (&self.misconfigured, StatusClass::Misconfigured),
        ];
        lists.iter().flat_map(|(statuses, class)| statuses.iter().map(|status| (*status, *class))).collect()
    }

    /// The problem with the first configured status that is not valid or listed twice.
    pub fn problem(&self) -> Option<String> {
        let classes = self.classes();
        let mut statuses = classes.iter().map(|(status, _)| status).enumerate();
        statuses.find_map(|(at, status)| {
            if !(200..600).contains(status) {
                return Some(format!("expected statuses from 200 to 599, found {status}"));
            }
            let stands_before = classes[..at].iter().any(|(before, _)| before == status);
            stands_before.then(|| format!("the status {status} stands twice"))
        })
    }
}

/// What became of a request with this answer. The first entry of `known` with this status decides; without one,
/// [`by_default`].
pub(crate) fn outcome(status: u16, retry_after: Option<&str>, known: &[(u16, StatusClass)], now_ms: i64) -> Outcome {
    let configured = known.iter().find(|(own, _)| *own == status).map(|(_, class)| *class);
    match configured.unwrap_or_else(|| by_default(status)) {
        StatusClass::Taken => Outcome::Taken,
        StatusClass::Again => Outcome::Again { after: retry_after.and_then(|text| wait(text, now_ms)) },
        StatusClass::TooLarge => Outcome::TooLarge,
        StatusClass::Refused => Outcome::Refused,
        StatusClass::Misconfigured => Outcome::Misconfigured,
    }
}

/// The meaning of a status by RFC 9110, section 15. 409 says that a request with the same idempotency key is still
/// being processed (draft of `Idempotency-Key`, section 2.7), so the request is sent again until that is done.
fn by_default(status: u16) -> StatusClass {
    match status {
        200..300 => StatusClass::Taken,
        413 => StatusClass::TooLarge,
        400 | 422 => StatusClass::Refused,
        408 | 409 | 425 | 429 => StatusClass::Again,
        300..500 => StatusClass::Misconfigured,
        _ => StatusClass::Again,
    }
}

/// How long `Retry-After` asks to wait. It holds seconds or a date (RFC 9110, section 10.2.3). At most 10 minutes.
fn wait(text: &str, now_ms: i64) -> Option<Duration> {
    let text = text.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let wait = if is_number {
        text.parse().map_or(RETRY_AFTER_MAX, Duration::from_secs)
    } else {
        let date = DateTimeParser::new().parse_timestamp(text).ok()?;
        Duration::from_millis(u64::try_from(date.as_millisecond().saturating_sub(now_ms)).unwrap_or(0))
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16) -> Outcome {
        outcome(status, None, &[], 0)
    }

    #[test]
    fn each_status_has_one_meaning() {
        let again = Outcome::Again { after: None };
        for (statuses, expected) in [
            (&[200, 201, 202, 204, 207][..], Outcome::Taken),
            (&[408, 409, 425, 429, 500, 502, 503, 504, 599, 100, 600], again),
            (&[413], Outcome::TooLarge),
            (&[400, 422], Outcome::Refused),
            (&[301, 302, 307, 308, 401, 402, 403, 404, 405, 406, 407, 410, 412, 415, 431], Outcome::Misconfigured),
        ] {
            for status in statuses {
                assert_eq!(of(*status), expected, "{status}");
            }
        }
    }

    #[test]
    fn a_configured_status_means_what_is_configured() {
        let config = StatusConfig { taken: vec![409, 412], misconfigured: vec![400], ..StatusConfig::default() };
        let known = config.classes();
        assert_eq!(outcome(409, None, &known, 0), Outcome::Taken);
        assert_eq!(outcome(412, None, &known, 0), Outcome::Taken);
        assert_eq!(outcome(400, None, &known, 0), Outcome::Misconfigured);
        assert_eq!(outcome(422, None, &known, 0), Outcome::Refused);
        assert_eq!(config.problem(), None);
    }

    #[test]
    fn a_status_that_is_none_or_stands_twice_is_told() {
        let twice = StatusConfig { taken: vec![409], again: vec![409], ..StatusConfig::default() };
        assert_eq!(twice.problem().unwrap(), "the status 409 stands twice");
        let none = StatusConfig { refused: vec![42], ..StatusConfig::default() };
        assert_eq!(none.problem().unwrap(), "expected statuses from 200 to 599, found 42");
    }

    #[test]
    fn a_receiver_may_ask_for_a_wait_of_at_most_ten_minutes() {
        // Sun, 06 Nov 1994 08:49:37 GMT, the date in RFC 9110.
        let now_ms = 784_111_777_000;
        for (text, secs) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("86400", Some(600)),
            ("99999999999999999999999", Some(600)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:49:07 GMT", Some(0)),
            ("Mon, 07 Nov 1994 08:49:37 GMT", Some(600)),
            ("soon", None),
            ("-1", None),
            ("", None),
        ] {
            let expected = Outcome::Again { after: secs.map(Duration::from_secs) };
            assert_eq!(outcome(503, Some(text), &[], now_ms), expected, "{text}");
        }
        assert_eq!(outcome(401, Some("5"), &[], now_ms), Outcome::Misconfigured);
    }
}

//! The body of a request, and what the answer means.

use crate::batch::{Request, Selection};
use crate::event::{EncodingName, moment};
use crate::sink::http::body::{Body, Compression, Format};
use crate::sink::{Delivery, DeliveryError, EncodingConfig};
use crate::transport::{Answer, Outcome, outcome};

/// The bytes that are added to an event: its time and its uid.
pub(super) const ENVELOPE_BYTES: u32 = 89;
/// Only for a request of at least this size, a 404 may mean that it is too large: the receiver takes 1 MiB.
const LARGE_BYTES: usize = 512 << 10;

/// How rows are made from events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rows {
    /// Whether an event's time and uid are added before its own members.
    pub(super) has_envelope: bool,
    pub(super) compression: Compression,
}

/// The size of a sent request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) events: u32,
    pub(super) bytes: usize,
}

/// Whether rows get an envelope. With `columns` they do not: such a row has exactly the configured columns.
pub(super) fn has_envelope(encoding: &EncodingConfig) -> bool {
    encoding.name != EncodingName::Columns
}

impl Rows {
    /// A JSON array of the rows. Each row is an object.
    pub(super) fn body(self, request: &Request) -> Body {
        let (mut text, mut sent, mut refused) = (Vec::new(), Selection::default(), Vec::new());
        for event in request.events() {
            let Some(members) = event.encoded.strip_prefix(b"{") else {
                refused.push((event.number, "no JSON object".into()));
                continue;
            };
            Format::JsonArray.begin_event(sent.count() == 0, &mut text);
            text.push(b'{');
            if self.has_envelope {
                text.extend_from_slice(b"\"EventTime\":\"");
                moment::write(&mut text, event.head.time_ms);
                text.extend_from_slice(b"\",\"EventUid\":\"");
                text.extend_from_slice(event.head.uid.to_string().as_bytes());
                text.extend_from_slice(if members.trim_ascii_start() == b"}" { b"\"" } else { b"\"," });
            }
            text.extend_from_slice(members);
            sent.push(event.number);
        }
        Format::JsonArray.end(&mut text);
        Body { bytes: self.compression.compressed(text).into(), sent, too_long: refused }
    }
}

/// What became of a request. `None` if the receiver has taken it. It says so by 204 alone: any other success status
/// comes from another program.
pub(super) fn answered(answer: &Answer, sent: Sent, now_ms: i64) -> Result<Option<Delivery>, DeliveryError> {
    let (status, reason) = (answer.reply.status, answer.reason());
    match status {
        204 => return Ok(None),
        404 if sent.events > 1 && sent.bytes >= LARGE_BYTES => {
            return Ok(Some(Delivery::TooLarge(reason.into())));
        }
        _ => {}
    }
    // The rule does not declare the stream, so the receiver takes no event.
    if status == 400 && answer.said.contains("\"InvalidStream\"") {
        return Err(DeliveryError::Misconfigured(format!("{reason} (does the rule declare `stream`?)")));
    }
    match outcome(status, answer.reply.retry_after.as_deref(), &[], now_ms) {
        Outcome::Again { after } => Err(DeliveryError::Unavailable { reason, after }),
        Outcome::TooLarge => Ok(Some(Delivery::TooLarge(reason.into()))),
        Outcome::Refused => Err(DeliveryError::Refused(reason)),
        Outcome::Taken | Outcome::Misconfigured => Err(DeliveryError::Misconfigured(match hint(status) {
            Some(hint) => format!("{reason} ({hint})"),
            None => reason,
        })),
    }
}

/// What the operator should look at.
fn hint(status: u16) -> Option<&'static str> {
    match status {
        200..300 => Some("the Logs Ingestion API answers 204: is `url` its endpoint?"),
        403 => Some(
            "does the identity have the role Monitoring Metrics Publisher on the rule? A new role takes up to 30 minutes",
        ),
        404 => Some("`url`, `dcr_immutable_id` or `stream` is wrong, or the request is larger than the receiver takes"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::batch::tests::batch;
    use crate::transport::Reply;

    const ROWS: Rows = Rows { has_envelope: true, compression: Compression::None };

    fn body(rows: Rows, lines: &[&str]) -> Body {
        rows.body(&Request::of(&batch(&[lines]), (0..u32::try_from(lines.len()).unwrap()).into()))
    }

    #[test]
    fn a_row_is_an_event_with_its_time_and_its_uid() {
        let hostile = "{\"a\":\"\\r\\n\\\"},{\u{2028}]\"}";
        let Body { bytes, sent, too_long } = body(ROWS, &[hostile, "{}"]);
        let (time, uid) = ("1970-01-01T00:00:00.000Z", "00000000-0000-0000-0000-000000000000");
        let rows: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(
            rows,
            json!([{"EventTime": time, "EventUid": uid, "a": "\r\n\"},{\u{2028}]"}, {"EventTime": time, "EventUid": uid}])
        );
        assert_eq!((sent.count(), too_long.len()), (2, 0));
        assert_eq!(&*body(Rows { has_envelope: false, ..ROWS }, &["{\"a\":1}", "{}"]).bytes, b"[{\"a\":1},{}]");
    }

    #[test]
    fn nothing_around_an_event_is_longer_than_is_counted() {
        let bytes = body(ROWS, &[r#"{"a":1}"#, r#"{"a":1}"#]).bytes.len();
        assert_eq!(bytes, 2 + 2 * (r#"{"a":1}"#.len() + ENVELOPE_BYTES as usize) + 1);
    }

    #[test]
    fn what_is_no_object_is_refused_unsent() {
        let Body { bytes, sent, too_long } = body(ROWS, &["plain text", "[1]", "{\"a\":1}"]);
        assert_eq!(serde_json::from_slice::<Vec<Value>>(&bytes).unwrap().len(), 1);
        assert_eq!(sent.numbers().collect::<Vec<_>>(), [2]);
        assert_eq!(too_long.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn a_retry_has_the_same_bytes() {
        let zipped = Rows { compression: Compression::Gzip, ..ROWS };
        let one = || body(zipped, &["{\"a\":1}", "{}"]).bytes;
        assert_eq!(one(), one());
    }

    /// The text of what becomes of a request with this answer.
    fn fate(status: u16, said: &str, sent: Sent) -> String {
        let reply = Reply {
            status,
            retry_after: Some("7".into()),
            location: None,
            body: said.as_bytes().to_vec().into(),
            cut: None,
        };
        match answered(&Answer { reply, said: said.to_owned() }, sent, 0) {
            Ok(None) => "taken".to_owned(),
            Ok(Some(Delivery::TooLarge(_))) => "too large".to_owned(),
            Ok(Some(_)) => panic!("neither taken nor too large"),
            Err(DeliveryError::Refused(_)) => "refused".to_owned(),
            Err(DeliveryError::Misconfigured(reason)) => format!("misconfigured: {reason}"),
            Err(DeliveryError::Unavailable { after, .. }) => format!("again after {after:?}"),
        }
    }

    #[test]
    fn each_status_has_one_meaning() {
        let (small, large) = (Sent { events: 9, bytes: 1000 }, Sent { events: 9, bytes: 900_000 });
        let alone = Sent { events: 1, bytes: 900_000 };
        for (status, said, sent, expected) in [
            (204, "", small, "taken"),
            (200, "", small, "misconfigured: status 200 ("),
            (202, "", small, "misconfigured: status 202 ("),
            (302, "", small, "misconfigured"),
            (400, r#"{"error":{"code":"InvalidRecord"}}"#, small, "refused"),
            (400, r#"{"error":{"code":"InvalidStream"}}"#, small, "misconfigured: status 400"),
            (401, "", small, "misconfigured"),
            (403, "", small, "misconfigured: status 403 (does the identity have the role"),
            (404, "", small, "misconfigured: status 404 (`url`, `dcr_immutable_id` or `stream` is wrong, or"),
            (404, "", large, "too large"),
            (404, "", alone, "misconfigured: status 404 (`url`"),
            (405, "", small, "misconfigured"),
            (413, "", small, "too large"),
            (413, "", alone, "too large"),
            (408, "", small, "again after Some(7s)"),
            (429, "", small, "again after Some(7s)"),
            (500, "", small, "again after Some(7s)"),
            (502, "", small, "again"),
            (503, "", small, "again"),
            (504, "", small, "again"),
        ] {
            let fate = fate(status, said, sent);
            assert!(fate.starts_with(expected), "{status} {sent:?}: {fate}");
        }
    }
}

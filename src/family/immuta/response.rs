//! Responses that Immuta sent to its clients, successful or not.

use crate::event::{Endpoint, Event, HttpRequest, HttpResponse, Json, Rows, Status, Text, http_status};
use crate::family::immuta::Source;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Response,
    Error,
}

pub(super) fn fill<'a>(event: &mut Event<'a>, rows: Option<&'static Rows>, source: &mut Source<'a>, kind: Kind) {
    let method = source.top.map("method");
    let scope = if kind == Kind::Error { "error_response" } else { "response" };
    let code = format!("{scope}/{}", method.as_ref().map(Text::plain).unwrap_or_default().to_ascii_uppercase());
    if let Some(row) = rows.and_then(|rows| rows.matching(&code, &|_| None).next()) {
        event.activity = row.activity;
        event.caption = row.caption.map(Text::from);
    }
    event.metadata.event_code = Some(Text::from(code));
    event.metadata.original_uid = source.top.map("id");
    event.metadata.correlation_uid = event.metadata.original_uid.clone();
    event.metadata.original_time = source.top.map("timestamp");
    event.action = method.clone().unwrap_or(Text::from(Event::UNKNOWN_ACTION));
    event.http_request = HttpRequest { method, path: source.top.map("path"), ..HttpRequest::default() };
    event.dst = Some(Endpoint { svc_name: Some(Text::from(FAMILY_SERVICE)), ..Endpoint::default() });
    let status = source.top.get("statusCode").and_then(Json::integer).and_then(http_status);
    event.status = if kind == Kind::Error { Status::Failure } else { Status::of_answer(status) };
    event.status_code = source.top.map("statusCode");
    event.duration_ms = duration(source, "responseTime");
    event.http_response = status.map(|code| HttpResponse {
        code,
        body_length: None,
        latency_ms: duration(source, "responseSentTime"),
        content_type: None,
    });
    if event.status == Status::Failure {
        event.status_detail = first_line(source).or_else(|| event.status_code.is_none().then(|| Text::from(scope)));
    }
}

/// The service that responded.
const FAMILY_SERVICE: &str = "Immuta";

/// A duration in milliseconds, counted from the arrival of the request.
fn duration(source: &mut Source<'_>, name: &str) -> Option<i64> {
    // OCSF's attribute has 32 bits.
    let found = source.top.get(name).and_then(Json::integer).filter(|ms| (0..=i64::from(i32::MAX)).contains(ms))?;
    source.top.map(name);
    Some(found)
}

/// The line of a stack trace that says what happened.
fn first_line<'a>(source: &Source<'a>) -> Option<Text<'a>> {
    let Some(Json::String(stack)) = source.top.get("stack") else { return None };
    let line = stack.split("\\n").next().unwrap_or_default();
    // `\\n` may be an escaped backslash before an `n`, and no line end.
    (!line.is_empty() && !line.ends_with('\\')).then_some(Text::Escaped(line))
}

//! Audit records with a recordType: who did what to which data source, project, user or policy.

use crate::event::{Actor, Api, Copies, Event, Json, Rows, Status, Text, User, UserKind, Value, moment};
use crate::family::immuta::{AUDIT, Source, targets};

/// The length, in characters, to which Immuta cuts queries in its records.
const QUERY_CHARACTERS_MAX: usize = 2048;

pub(super) fn fill<'a>(
    event: &mut Event<'a>,
    rows: Option<&'static Rows>,
    source: &mut Source<'a>,
    copies: &mut Copies,
) {
    let action = record_type(source);
    let code = ["audit/", &*action.plain()].concat();
    event.action = action;
    event.metadata.original_uid = source.top.map("id");
    event.metadata.correlation_uid = event.metadata.original_uid.clone();
    event.metadata.feature = source.top.map("component");
    event.metadata.original_time = original_time(source);
    event.start_time_ms = source.get("startTime").and_then(moment::of_json);
    event.end_time_ms = source
        .get("endTime")
        .and_then(moment::of_json)
        .filter(|end| event.start_time_ms.is_none_or(|start| start <= *end));
    event.actor = Actor { user: acting_user(source), session_uid: source.top.map("sessionId"), ..Actor::default() };
    event.api = Api { service: event.metadata.feature.clone(), ..Api::default() };
    outcome(event, source, copies);
    if let Some(rows) = rows {
        targets::fill(event, rows, &code, source);
    }
    if let Some(query) = source.get("query").and_then(Json::text) {
        source.placed("query");
        event.target.query = Some(query);
    }
    event.metadata.event_code = Some(Text::from(code));
}

/// The text of the first time field that can be parsed; if none can, of the first that is there.
fn original_time<'a>(source: &mut Source<'a>) -> Option<Text<'a>> {
    let names = ["dateTime", "timestamp", "createdAt"];
    let is_understood = |name: &&&str| source.top.get(name).is_some_and(|time| moment::of_json(time).is_some());
    match names.iter().find(is_understood) {
        Some(name) => source.top.map(name),
        None => names.iter().find_map(|name| source.top.map(name)),
    }
}

/// Whether the record's query has exactly as many characters as Immuta leaves of a longer one.
pub(super) fn is_cut(source: &Source<'_>) -> bool {
    let Some(query) = source.get("query").and_then(Json::text) else { return false };
    query.as_held().len() >= QUERY_CHARACTERS_MAX
        && query.plain().chars().take(QUERY_CHARACTERS_MAX + 1).count() == QUERY_CHARACTERS_MAX
}

/// The action: the recordType or, without one, the end of the message.
fn record_type<'a>(source: &mut Source<'a>) -> Text<'a> {
    if let Some(kind) = source.top.map("recordType") {
        return kind;
    }
    match source.top.get("message") {
        Some(Json::String(message)) => match message.strip_prefix(AUDIT) {
            Some(kind) if !kind.is_empty() => Text::Escaped(kind),
            _ => Text::from(Event::UNKNOWN_ACTION),
        },
        _ => Text::from(Event::UNKNOWN_ACTION),
    }
}

fn acting_user<'a>(source: &mut Source<'a>) -> User<'a> {
    let name = source.top.map("userId").or_else(|| {
        // The account in the database stands for the user if no user is known.
        (source.top.get("profileId").and_then(Json::text).is_none()).then(|| source.top.map("sqlUser")).flatten()
    });
    let uid = source.top.map("profileId");
    let is_address = name.as_ref().is_some_and(|name| name.plain().as_bytes().contains(&b'@'));
    let kind = if is_address { UserKind::User } else { UserKind::Unsaid };
    User { email: name.clone().filter(|_| is_address), name, uid, kind, ..User::default() }
}

fn outcome<'a>(event: &mut Event<'a>, source: &mut Source<'a>, copies: &mut Copies) {
    event.status = match source.top.get("success") {
        Some(Json::Bool(true) | Json::String("true")) => Status::Success,
        Some(Json::Bool(false) | Json::String("false")) => Status::Failure,
        _ => Status::Unknown,
    };
    event.status_code = source.top.map("success");
    let reason = source.top.map("failureReason");
    let details = source.top.get("failureDetails");
    event.status_detail = match (reason, details) {
        (reason, None | Some(Json::Null)) => reason,
        (None, Some(details)) => placed_details(source, copies, details),
        (Some(reason), Some(details)) => match placed_details(source, copies, details) {
            Some(details) => Some(Text::from(format!("{}: {}", reason.plain(), details.plain()))),
            None => Some(reason),
        },
    };
    if event.status_detail.is_some() && event.status == Status::Unknown {
        event.status = Status::Failure;
    }
}

/// The failure details as text. An object stays in `unmapped` as well.
fn placed_details<'a>(source: &mut Source<'a>, copies: &mut Copies, details: Json<'a>) -> Option<Text<'a>> {
    if matches!(details, Json::String(_)) {
        source.top.map("failureDetails");
    }
    match copies.copy(details) {
        Value::Text(text) => Some(text).filter(Text::says_something),
        value => {
            let mut out = Vec::new();
            value.write(&mut out);
            String::from_utf8(out).ok().map(Text::from)
        }
    }
}

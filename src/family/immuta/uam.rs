//! The newer events, by the Universal Audit Model: one format for all actions, exported to S3.

use std::borrow::Cow;

use crate::event::{
    Actor, Api, Endpoint, Event, Fields, HttpRequest, Json, Reader, Resource, Rows, Status, Text, User, UserKind,
    moment,
};
use crate::family::immuta::{Source, targets};

/// The end of payload names, such as `DatasourceCreatedAuditPayload`.
const PAYLOAD: &str = "AuditPayload";

/// The most targets that become resources of the event. The lists of targets stay in `unmapped`.
const TARGETS_MAX: usize = 100;

pub(super) fn fill<'a>(event: &mut Event<'a>, rows: Option<&'static Rows>, source: &mut Source<'a>) {
    let payload = nested(source, "auditPayload");
    let kind = payload.get("type").and_then(Json::text);
    let action = source.top.map("action").or_else(|| kind.clone()).unwrap_or(Text::from(Event::UNKNOWN_ACTION));
    let looked_up = looked_up(&action.plain());
    event.metadata.event_code = Some(match &looked_up {
        Cow::Borrowed(code) => Text::word(code),
        Cow::Owned(_) => Text::from(format!("audit/{}{}", thing(source, kind.as_ref()), action.plain())),
    });
    event.action = action;
    let (id, request) = (source.top.map("id"), source.top.map("requestId"));
    event.metadata.correlation_uid = request.clone().or_else(|| id.clone());
    event.metadata.original_uid = id;
    event.metadata.tenant_uid = source.top.map("tenantId");
    event.metadata.log_version = payload.get("version").and_then(Json::text);
    event.metadata.feature = source.top.map("component");
    if source.top.get("eventTimestamp").and_then(moment::of_json).is_some() {
        event.metadata.original_time = source.top.map("eventTimestamp");
    }
    event.api = Api { request_uid: request, ..Api::default() };
    event.src = source.top.map("actorIp").and_then(Endpoint::of_address);
    event.http_request = HttpRequest { user_agent: source.top.map("userAgent"), ..HttpRequest::default() };
    event.actor = actor(source);
    event.status = match source.top.get("actionStatus") {
        Some(Json::String("SUCCESS")) => Status::Success,
        Some(Json::String(_)) => Status::Failure,
        _ => Status::Unknown,
    };
    event.status_code = source.top.map("actionStatus");
    event.status_detail = source.top.map("actionStatusReason");
    let targets = named(source, "targets");
    let related = named(source, "relatedResources");
    if let Some(rows) = rows {
        let entity = targets.first().cloned().unwrap_or_default();
        targets::fill_event(event, rows, &looked_up, entity);
    }
    event.target.resources = targets.into_iter().chain(related).take(TARGETS_MAX).collect();
}

/// The key of the mapping: that of a legacy recordType with the same meaning, or else the action.
fn looked_up(action: &str) -> Cow<'static, str> {
    match action.to_ascii_uppercase().as_str() {
        "QUERY" => Cow::Borrowed("audit/nativeQuery"),
        "LOGIN" | "AUTHENTICATE" => Cow::Borrowed("audit/authenticate"),
        _ => Cow::Owned(["audit/", action].concat()),
    }
}

/// The type of the target, as the target or else the payload names it.
fn thing(source: &Source<'_>, kind: Option<&Text<'_>>) -> String {
    let what = source.top.get("targetType").and_then(Json::text);
    let what = what.as_ref().or(kind).map(Text::plain).unwrap_or_default();
    what.strip_suffix(PAYLOAD).unwrap_or(&what).to_owned()
}

fn actor<'a>(source: &mut Source<'a>) -> Actor<'a> {
    let mut fields = nested(source, "actor");
    let (uid, name) = (fields.map("id"), fields.map("name"));
    let kind = match fields.get("type") {
        Some(Json::String("USER_ACTOR" | "USER")) => UserKind::User,
        Some(Json::String("SYSTEM_ACTOR" | "SYSTEM")) => UserKind::System,
        Some(Json::String("SERVICE_ACTOR" | "SERVICE")) => UserKind::Service,
        _ => UserKind::Unsaid,
    };
    let is_address = |text: &Text<'_>| text.plain().contains('@');
    let email = [&uid, &name].into_iter().flatten().find(|text| is_address(text)).cloned();
    let user = User { name, uid, email, kind, ..User::default() };
    let idp_name = fields.map("identityProvider");
    // Mapped to OCSF's attribute `actor`; what is left of its fields is kept one by one.
    source.top.map("actor");
    let left = fields.unmapped().map(|field| (Cow::Owned(format!("actor.{}", field.key)), field.value));
    let left: Vec<_> = left.collect();
    for (key, value) in left {
        source.top.insert(key, value);
    }
    Actor { user, session_uid: source.top.map("sessionId"), idp_name, ..Actor::default() }
}

/// An object of the record. It stays in `unmapped` whole, since the event holds only parts of it.
fn nested<'a>(source: &Source<'a>, name: &str) -> Fields<'a> {
    match source.top.get(name) {
        Some(Json::Object(whole)) => Fields::read(&mut Reader::new(whole)).unwrap_or_default(),
        _ => Fields::default(),
    }
}

/// The elements of a list that have a name or an id.
fn named<'a>(source: &Source<'a>, name: &str) -> Vec<Resource<'a>> {
    let Some(Json::Array(whole)) = source.top.get(name) else { return Vec::new() };
    let mut found = Vec::new();
    let read = Reader::new(whole).array(|reader| {
        let Json::Object(whole) = reader.value()? else { return Ok(()) };
        let mut fields = Fields::read(&mut Reader::new(whole))?;
        let (kind, name, uid) = (fields.map("type"), fields.map("name"), fields.map("id"));
        let resource = Resource { kind, name, uid, ..Resource::default() };
        if resource.is_known() && found.len() < TARGETS_MAX {
            found.push(resource);
        }
        Ok(())
    });
    if read.is_ok() { found } else { Vec::new() }
}

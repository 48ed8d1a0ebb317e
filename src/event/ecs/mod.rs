//! Writes an event in the Elastic Common Schema (ECS 9): one JSON object, its fields nested.

mod category;

mod rest;

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::event::id::hyphenated;
use crate::event::members::{close, int, object, text, texts};
use crate::event::{Activity, Class, Endpoint, Event, Options, Seen, Status, Text, User, moment, ocsf};
use crate::records::escaped::write_escaped;

/// Appends the event, without a line end.
///
/// Fields of the source that ECS has no place for stand under the namespace that `event.dataset` names, such as
/// `databricks.audit`. Other attributes without a field in ECS stand under `event.module`, in the shape that OCSF gives
/// them.
pub(crate) fn write(out: &mut Vec<u8>, event: &Event<'_>, seen: &Seen<'_>, options: Options) {
    let fell_back = !event.fits(event.activity.class);
    let activity = if fell_back { event.activity.as_api_activity() } else { event.activity };
    let parties = Parties::of(event, activity.class);
    out.extend_from_slice(b"{\"@timestamp\":\"");
    moment::write(out, event.time_ms);
    out.extend_from_slice(b"\",\"ecs\":{\"version\":\"9.4.0\"},");
    object(out, "\"event\":", |out| write_event(out, event, activity, seen, options));
    text(out, "\"message\":", event.message.as_ref());
    if options.labels {
        let labels: Vec<Text<'_>> = ocsf::labels(event, fell_back).map(Text::from).collect();
        texts(out, "\"tags\":", &labels);
    }
    object(out, "\"user\":", |out| {
        write_user(out, parties.user);
        if let Some(target) = parties.target {
            object(out, "\"target\":", |out| write_user(out, target));
        }
    });
    if let Some(group) = &event.target.group {
        object(out, "\"group\":", |out| {
            text(out, "\"name\":", group.name.as_ref());
            text(out, "\"id\":", group.uid.as_ref());
        });
    }
    for (end, keys) in [(&event.src, ["\"source\":", "\"client\":"]), (&event.dst, ["\"destination\":", "\"server\":"])]
    {
        let Some(end) = end else { continue };
        for key in keys {
            object(out, key, |out| write_endpoint(out, end));
        }
    }
    write_request(out, event);
    write_surroundings(out, event, seen);
    if options.observables {
        object(out, "\"related\":", |out| write_related(out, event));
    }
    rest::write(out, event, seen, activity, &parties);
    close(out, b'}');
}

/// The users of an event in ECS's terms. At a logon, `user` is the user who logs on.
struct Parties<'w, 'a> {
    user: &'w User<'a>,
    target: Option<&'w User<'a>>,
    /// The user who acted, if that is neither `user` nor `target`.
    actor: Option<&'w User<'a>>,
}

impl<'w, 'a> Parties<'w, 'a> {
    fn of(event: &'w Event<'a>, class: Class) -> Self {
        let actor = &event.actor.user;
        match event.target.user.as_ref().filter(|user| user.is_known()) {
            Some(user) if class == Class::Authentication => {
                let plain = |user: &'w User<'a>| user.name.as_ref().or(user.uid.as_ref()).map(Text::plain);
                let is_other = actor.is_known() && plain(actor) != plain(user);
                Self { user, target: None, actor: is_other.then_some(actor) }
            }
            target => Self { user: actor, target, actor: None },
        }
    }
}

fn write_event(out: &mut Vec<u8>, event: &Event<'_>, activity: &Activity, seen: &Seen<'_>, options: Options) {
    let metadata = &event.metadata;
    out.extend_from_slice(b"\"kind\":\"event\",");
    category::write(out, event, activity);
    let action = Some(&event.action).filter(|action| action.says_something());
    text(out, "\"action\":", Some(action.unwrap_or(&Text::from("unknown"))));
    out.extend_from_slice(match event.status {
        Status::Unknown => b"\"outcome\":\"unknown\",".as_slice(),
        Status::Success => b"\"outcome\":\"success\",".as_slice(),
        Status::Failure => b"\"outcome\":\"failure\",".as_slice(),
    });
    out.extend_from_slice(b"\"id\":\"");
    out.extend_from_slice(&hyphenated(&seen.id));
    out.extend_from_slice(b"\",");
    let product = Text::from(event.product.name);
    let feature = metadata.feature.as_ref().filter(|feature| feature.says_something());
    text(out, "\"provider\":", feature.or(Some(&product)));
    text(out, "\"module\":", Some(&Text::from(module(event.product.log_name).0)));
    text(out, "\"dataset\":", Some(&Text::from(event.product.log_name)));
    text(out, "\"code\":", metadata.event_code.as_ref());
    if event.status != Status::Failure {
        text(out, "\"reason\":", seen.shared_text(&event.status_detail));
    }
    int(out, "\"sequence\":", metadata.sequence.map(i64::from));
    time(out, "\"created\":", seen.origin.last_modified_ms.and_then(moment::plausible));
    time(out, "\"start\":", event.start_time_ms);
    time(out, "\"end\":", event.end_time_ms);
    let latency_ms = event.http_response.as_ref().and_then(|response| response.latency_ms);
    // ECS durations are in nanoseconds.
    int(out, "\"duration\":", event.duration_ms.or(latency_ms).and_then(|ms| ms.checked_mul(1_000_000)));
    if options.raw_data
        && let Some(record) = seen.raw_record()
    {
        write_original(out, event, record);
    }
}

/// Writes the record as text, secrets masked. Invalid UTF-8 becomes U+FFFD.
fn write_original(out: &mut Vec<u8>, event: &Event<'_>, record: &[u8]) {
    out.extend_from_slice(b"\"original\":\"");
    write_escaped(out, &String::from_utf8_lossy(&event.shown(record)));
    out.extend_from_slice(b"\",");
}

fn time(out: &mut Vec<u8>, key: &str, ms: Option<i64>) {
    if let Some(ms) = ms.and_then(moment::plausible) {
        out.extend_from_slice(key.as_bytes());
        out.push(b'"');
        moment::write(out, ms);
        out.extend_from_slice(b"\",");
    }
}

/// Splits a log's name into module and dataset part: `databricks` and `audit`.
fn module(log_name: &'static str) -> (&'static str, &'static str) {
    log_name.split_once('.').unwrap_or((log_name, "audit"))
}

fn write_user(out: &mut Vec<u8>, user: &User<'_>) {
    text(out, "\"name\":", user.name.as_ref());
    text(out, "\"id\":", user.uid.as_ref());
    text(out, "\"email\":", user.email.as_ref());
    text(out, "\"full_name\":", user.display_name.as_ref());
    text(out, "\"domain\":", user.domain.as_ref());
}

fn write_endpoint(out: &mut Vec<u8>, end: &Endpoint<'_>) {
    let names = [&end.ip, &end.hostname, &end.name, &end.svc_name].into_iter().flatten();
    text(out, "\"address\":", names.clone().find(|name| name.says_something()));
    text(out, "\"ip\":", end.ip.as_ref());
    int(out, "\"port\":", end.port.map(i64::from));
    text(out, "\"domain\":", end.hostname.as_ref());
}

/// Writes the HTTP request and response, the file they are about, and TLS.
fn write_request(out: &mut Vec<u8>, event: &Event<'_>) {
    let (request, response) = (&event.http_request, &event.http_response);
    object(out, "\"http\":", |out| {
        let version = request.version.as_ref().map(Text::plain);
        let version = version.as_deref().map(|version| Text::from(version.strip_prefix("HTTP/").unwrap_or(version)));
        text(out, "\"version\":", version.as_ref());
        object(out, "\"request\":", |out| {
            text(out, "\"id\":", event.api.request_uid.as_ref());
            text(out, "\"method\":", request.method.as_ref());
            text(out, "\"referrer\":", request.referrer.as_ref());
        });
        let Some(response) = response else { return };
        object(out, "\"response\":", |out| {
            int(out, "\"status_code\":", Some(i64::from(response.code)));
            text(out, "\"mime_type\":", response.content_type.as_ref());
            let bytes = response.body_length.and_then(|bytes| i64::try_from(bytes).ok());
            object(out, "\"body\":", |out| int(out, "\"bytes\":", bytes));
        });
    });
    object(out, "\"url\":", |out| {
        text(out, "\"original\":", request.url.as_ref());
        text(out, "\"scheme\":", request.scheme.as_ref());
        text(out, "\"domain\":", request.hostname.as_ref());
        text(out, "\"path\":", request.path.as_ref());
        text(out, "\"query\":", request.query.as_ref());
    });
    object(out, "\"user_agent\":", |out| text(out, "\"original\":", request.user_agent.as_ref()));
    if let Some(file) = event.target.databucket.as_ref().and_then(|bucket| bucket.file.as_ref()) {
        object(out, "\"file\":", |out| {
            text(out, "\"path\":", Some(&file.path));
            text(out, "\"type\":", Some(&Text::from(if file.is_folder { "dir" } else { "file" })));
            int(out, "\"size\":", file.size.and_then(|bytes| i64::try_from(bytes).ok()));
        });
    }
    if let Some(tls) = &event.target.tls {
        object(out, "\"tls\":", |out| {
            let version = tls.version.plain();
            let number = version.strip_prefix("TLSv");
            text(out, "\"version\":", Some(&Text::from(number.unwrap_or(&version))));
            text(out, "\"version_protocol\":", number.map(|_| Text::from("tls")).as_ref());
            text(out, "\"cipher\":", tls.cipher.as_ref());
        });
    }
}

/// Writes the organization, cloud and trace, the log that the event was read from, and the error.
fn write_surroundings(out: &mut Vec<u8>, event: &Event<'_>, seen: &Seen<'_>) {
    let metadata = &event.metadata;
    object(out, "\"organization\":", |out| text(out, "\"id\":", metadata.tenant_uid.as_ref()));
    if let Some(cloud) = &event.cloud {
        object(out, "\"cloud\":", |out| {
            text(out, "\"provider\":", Some(&Text::from(cloud.provider.to_ascii_lowercase())));
            text(out, "\"region\":", cloud.region.as_ref());
            let account = cloud.account.as_ref().map(|(uid, _)| uid);
            object(out, "\"account\":", |out| text(out, "\"id\":", account));
        });
    }
    object(out, "\"trace\":", |out| text(out, "\"id\":", metadata.correlation_uid.as_ref()));
    object(out, "\"log\":", |out| {
        text(out, "\"level\":", metadata.log_level.as_ref());
        let path = Text::Escaped(seen.origin.source);
        object(out, "\"file\":", |out| text(out, "\"path\":", Some(&path)));
    });
    if event.status == Status::Failure {
        object(out, "\"error\":", |out| {
            text(out, "\"code\":", event.status_code.as_ref());
            text(out, "\"message\":", seen.shared_text(&event.status_detail));
        });
    }
}

/// Writes the names and addresses of an event again, as lists to search.
fn write_related(out: &mut Vec<u8>, event: &Event<'_>) {
    let users = [Some(&event.actor.user), event.target.user.as_ref()].into_iter().flatten();
    let users = users.flat_map(|user| [&user.name, &user.uid, &user.email]);
    write_distinct(out, "\"user\":", users);
    let ends = [&event.src, &event.dst].into_iter().flatten();
    write_distinct(out, "\"ip\":", ends.clone().map(|end| &end.ip));
    write_distinct(out, "\"hosts\":", ends.map(|end| &end.hostname));
}

fn write_distinct<'t, 'a: 't>(out: &mut Vec<u8>, key: &str, words: impl Iterator<Item = &'t Option<Text<'a>>>) {
    let mut seen: BTreeSet<Cow<'t, str>> = BTreeSet::new();
    let words = words.flatten().filter(|word| word.says_something());
    let distinct: Vec<Text<'a>> = words.filter(|word| seen.insert(word.plain())).cloned().collect();
    texts(out, key, &distinct);
}

//! Attributes of an event that have no field in ECS, under the namespaces of the log's module and of the collector.

use crate::event::ecs::{Parties, module};
use crate::event::members::{close, flag, int, object, text, texts};
use crate::event::ocsf::objects::{write_entity, write_login, write_resource, write_store, write_user};
use crate::event::{Activity, Event, Seen, Status, Text, User};

/// Hadoop's S3A describes a request in the referrer. That is useful apart from the access log, so it has its own
/// namespace.
const S3A: &str = "s3a";

/// Appends the namespaces, each followed by a comma.
pub(super) fn write(
    out: &mut Vec<u8>,
    event: &Event<'_>,
    seen: &Seen<'_>,
    activity: &Activity,
    parties: &Parties<'_, '_>,
) {
    let (module, part) = module(event.product.log_name);
    object(out, &format!("\"{module}\":"), |out| {
        object(out, &format!("\"{part}\":"), |out| {
            seen.write_unmapped(out, event, |key| !has_namespace(event, key));
            seen.write_first(out);
        });
        write_people(out, event, parties);
        write_target(out, event);
        write_answer(out, event);
    });
    seen.write_unmapped(out, event, |key| has_namespace(event, key));
    object(out, "\"collector\":", |out| {
        int(out, "\"class_uid\":", Some(i64::from(activity.class.uid())));
        int(out, "\"activity_id\":", Some(i64::from(activity.id)));
        flag(out, "\"is_truncated\":", event.metadata.is_truncated.then_some(true));
    });
}

fn has_namespace(event: &Event<'_>, key: &Text<'_>) -> bool {
    event.product.log_name.starts_with("aws.") && key.is(S3A)
}

fn write_people(out: &mut Vec<u8>, event: &Event<'_>, parties: &Parties<'_, '_>) {
    let actor = &event.actor;
    if let Some(user) = parties.actor {
        object(out, "\"actor\":", |out| write_user(out, user));
    }
    for (key, user) in [("\"user\":", Some(parties.user)), ("\"target_user\":", parties.target)] {
        let Some(user) = user else { continue };
        object(out, key, |out| write_kind(out, user));
    }
    object(out, "\"session\":", |out| text(out, "\"id\":", actor.session_uid.as_ref()));
    object(out, "\"app\":", |out| {
        text(out, "\"name\":", actor.app_name.as_ref());
        text(out, "\"id\":", actor.app_uid.as_ref());
    });
    object(out, "\"idp\":", |out| text(out, "\"name\":", actor.idp_name.as_ref()));
    for (key, end) in [("\"source\":", &event.src), ("\"destination\":", &event.dst)] {
        let Some(end) = end else { continue };
        object(out, key, |out| {
            text(out, "\"name\":", end.name.as_ref());
            text(out, "\"svc_name\":", end.svc_name.as_ref());
            text(out, "\"instance_uid\":", end.instance_uid.as_ref());
            texts(out, "\"intermediate_ips\":", &end.via);
        });
    }
}

/// Writes the attributes of a user that have no field in ECS.
fn write_kind(out: &mut Vec<u8>, user: &User<'_>) {
    let only = User { account_uid: user.account_uid.clone(), kind: user.kind, ..User::default() };
    write_user(out, &only);
}

fn write_target(out: &mut Vec<u8>, event: &Event<'_>) {
    let target = &event.target;
    if target.resources.iter().any(|resource| resource.is_known()) {
        out.extend_from_slice(b"\"resources\":[");
        for resource in &target.resources {
            object(out, "", |out| write_resource(out, resource));
        }
        close(out, b']');
        out.push(b',');
    }
    if let Some(entity) = &target.entity {
        object(out, "\"entity\":", |out| write_entity(out, entity));
    }
    texts(out, "\"privileges\":", &target.privileges);
    texts(out, "\"policies\":", &target.policies);
    texts(out, "\"access_list\":", &target.access_list);
    text(out, "\"service\":", target.service.as_ref());
    write_store(out, event);
    object(out, "\"login\":", |out| write_login(out, target));
}

/// Writes the API call, its response, and what the record says about itself.
fn write_answer(out: &mut Vec<u8>, event: &Event<'_>) {
    let (api, metadata) = (&event.api, &event.metadata);
    // Values that stand in a field of ECS already are not written again.
    let provider = metadata.feature.as_ref();
    object(out, "\"api\":", |out| {
        text(out, "\"service\":", other_than(provider, api.service.as_ref()));
        text(out, "\"version\":", api.version.as_ref());
        object(out, "\"response\":", |out| {
            let code = api.response_code.map(|code| Text::from(code.to_string()));
            let is_other = other_than(event.status_code.as_ref(), code.as_ref()).is_some();
            int(out, "\"code\":", api.response_code.filter(|_| is_other).map(i64::from));
            text(out, "\"error\":", api.response_error.as_ref());
            text(out, "\"error_message\":", api.response_message.as_ref());
            if let Some(result) = &api.response_result {
                out.extend_from_slice(b"\"data\":");
                result.write(out);
                out.push(b',');
            }
        });
    });
    if event.status != Status::Failure {
        text(out, "\"status_code\":", event.status_code.as_ref());
    }
    // `event.duration` has the latency unless the event has a duration of its own.
    let latency_ms = event.http_response.as_ref().and_then(|response| response.latency_ms);
    int(out, "\"latency_ms\":", latency_ms.filter(|_| event.duration_ms.is_some()));
    text(out, "\"caption\":", event.caption.as_ref());
    text(out, "\"original_id\":", other_than(metadata.correlation_uid.as_ref(), metadata.original_uid.as_ref()));
    text(out, "\"original_time\":", metadata.original_time.as_ref());
    text(out, "\"log_version\":", metadata.log_version.as_ref());
}

/// `text`, unless it equals `other`.
fn other_than<'t, 'a>(other: Option<&Text<'_>>, text: Option<&'t Text<'a>>) -> Option<&'t Text<'a>> {
    text.filter(|text| other.is_none_or(|other| other.plain() != text.plain()))
}

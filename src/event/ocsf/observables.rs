//! Writes the names and addresses of an event again, as a list to search.

use crate::event::members::close;
use crate::event::ocsf::objects::is_address;
use crate::event::{Event, Text};

/// Appends the list and a comma, or nothing if the list is empty.
pub(super) fn write_observables(out: &mut Vec<u8>, event: &Event<'_>) {
    let before = out.len();
    out.extend_from_slice(b"\"observables\":[");
    let empty = out.len();
    let (actor, target) = (&event.actor.user, &event.target);
    let src = event.src.as_ref();
    observable(out, "src_endpoint.ip", IP_ADDRESS, src.and_then(|src| src.ip.as_ref()));
    observable(out, "actor.user.name", USER_NAME, actor.name.as_ref());
    observable(out, "actor.user.email_addr", EMAIL_ADDRESS, actor.email.as_ref().filter(|email| is_address(email)));
    if let Some(user) = &target.user {
        observable(out, "user.name", USER_NAME, user.name.as_ref());
    }
    for resource in target.resources.iter().filter(|resource| resource.is_known()) {
        observable(out, "resources.uid", RESOURCE_UID, resource.uid.as_ref());
    }
    if let Some(file) = target.databucket.as_ref().and_then(|bucket| bucket.file.as_ref()) {
        observable(out, "databucket.file.path", FILE_NAME, Some(&file.path));
    }
    if out.len() == empty {
        out.truncate(before);
        return;
    }
    close(out, b']');
    out.push(b',');
}

const IP_ADDRESS: &str = "\",\"type_id\":2,\"type\":\"IP Address\",\"value\":";
const USER_NAME: &str = "\",\"type_id\":4,\"type\":\"User Name\",\"value\":";
const EMAIL_ADDRESS: &str = "\",\"type_id\":5,\"type\":\"Email Address\",\"value\":";
const FILE_NAME: &str = "\",\"type_id\":7,\"type\":\"File Name\",\"value\":";
const RESOURCE_UID: &str = "\",\"type_id\":10,\"type\":\"Resource UID\",\"value\":";

fn observable(out: &mut Vec<u8>, name: &str, kind: &str, value: Option<&Text<'_>>) {
    if let Some(value) = value.filter(|value| value.says_something()) {
        out.extend_from_slice(b"{\"name\":\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(kind.as_bytes());
        value.write(out);
        out.extend_from_slice(b"},");
    }
}

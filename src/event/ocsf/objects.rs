//! Writes the objects that an OCSF event is made of, member by member.

use crate::event::members::{flag, int, object, text, texts, word};
use crate::event::value::write_int;
use crate::event::{
    Cloud, Databucket, Endpoint, Event, File, Group, HttpResponse, Resource, Target, Text, User, UserKind,
};

/// The captions of `auth_protocol_id`, in the order of the ids from 1 on.
const AUTH_PROTOCOLS: &[&str] = &[
    "NTLM",
    "Kerberos",
    "Digest",
    "OpenID",
    "SAML",
    "OAUTH 2.0",
    "PAP",
    "CHAP",
    "EAP",
    "RADIUS",
    "Basic Authentication",
    "LDAP",
];

/// The captions of `database.type_id`, in the order of the ids from 1 on.
const DATABASE_KINDS: &[&str] =
    &["Relational", "Network", "Object Oriented", "Centralized", "Operational", "NoSQL", "Vector", "Knowledge Graph"];

/// Writes an id and its caption: 99 and the source's word if no caption fits, 0 and `Unknown` if there is no word.
fn enumerated(out: &mut Vec<u8>, name: &str, captions: &[&str], kind: Option<&Text<'_>>) {
    let kind = kind.filter(|kind| kind.says_something());
    let id = kind.map_or(0, |kind| captions.iter().position(|caption| kind.is(caption)).map_or(99, |place| place + 1));
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"_id\":");
    write_int(out, i64::try_from(id).unwrap_or(99));
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    kind.unwrap_or(&Text::word("Unknown")).write_element(out);
}

pub(crate) fn write_user(out: &mut Vec<u8>, user: &User<'_>) {
    text(out, "\"name\":", user.name.as_ref());
    text(out, "\"uid\":", user.uid.as_ref());
    if let Some(email) = user.email.as_ref().filter(|email| is_address(email)) {
        text(out, "\"email_addr\":", Some(email));
    }
    text(out, "\"display_name\":", user.display_name.as_ref());
    text(out, "\"domain\":", user.domain.as_ref());
    object(out, "\"account\":", |out| text(out, "\"uid\":", user.account_uid.as_ref()));
    out.extend_from_slice(match user.kind {
        UserKind::Unsaid => b"".as_slice(),
        UserKind::User => b"\"type_id\":1,\"type\":\"User\",".as_slice(),
        UserKind::Admin => b"\"type_id\":2,\"type\":\"Admin\",".as_slice(),
        UserKind::System => b"\"type_id\":3,\"type\":\"System\",".as_slice(),
        UserKind::Service => b"\"type_id\":4,\"type\":\"Service\",".as_slice(),
    });
}

/// Whether OCSF takes the text for an e-mail address.
pub(super) fn is_address(text: &Text<'_>) -> bool {
    let inside = text.as_held().as_bytes();
    let length =
        |part: &[u8], place: u8| part.iter().take_while(|byte| ADDRESS[usize::from(**byte)] & place != 0).count();
    let local = length(inside, LOCAL);
    let Some((b'@', domain)) = inside[local..].split_first() else { return false };
    let host = length(domain, HOST);
    let Some((b'.', rest)) = domain[host..].split_first() else { return false };
    local > 0 && host > 0 && !rest.is_empty() && length(rest, HOST | DOT) == rest.len()
}

const LOCAL: u8 = 1;
const HOST: u8 = 2;
const DOT: u8 = 4;

/// The parts of an e-mail address in which each byte may stand.
const ADDRESS: [u8; 256] = {
    let mut places = [0; 256];
    let mut byte = 0u8;
    while byte < 128 {
        places[byte as usize] = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => LOCAL | HOST,
            b'.' => LOCAL | DOT,
            b'!' | b'#'..=b'\'' | b'*'..=b',' | b'/' | b'=' | b'?' | b'^'..=b'`' | b'{'..=b'~' => LOCAL,
            _ => 0,
        };
        byte += 1;
    }
    places
};

pub(super) fn write_group(out: &mut Vec<u8>, group: &Group<'_>) {
    text(out, "\"name\":", group.name.as_ref());
    text(out, "\"uid\":", group.uid.as_ref());
}

pub(super) fn write_endpoint(out: &mut Vec<u8>, endpoint: &Endpoint<'_>) {
    text(out, "\"ip\":", endpoint.ip.as_ref());
    int(out, "\"port\":", endpoint.port.map(i64::from));
    text(out, "\"name\":", endpoint.name.as_ref());
    text(out, "\"hostname\":", endpoint.hostname.as_ref());
    text(out, "\"svc_name\":", endpoint.svc_name.as_ref());
    text(out, "\"instance_uid\":", endpoint.instance_uid.as_ref());
    texts(out, "\"intermediate_ips\":", &endpoint.via);
}

pub(super) fn write_cloud(out: &mut Vec<u8>, cloud: &Cloud<'_>) {
    word(out, "\"provider\":", cloud.provider);
    text(out, "\"region\":", cloud.region.as_ref());
    if let Some((uid, kind)) = &cloud.account {
        object(out, "\"account\":", |out| {
            text(out, "\"uid\":", Some(uid));
            let id = if *kind == "AWS Account" { 10 } else { 99 };
            int(out, "\"type_id\":", Some(id));
            word(out, "\"type\":", kind);
        });
    }
}

pub(super) fn write_api(out: &mut Vec<u8>, event: &Event<'_>) {
    let api = &event.api;
    out.extend_from_slice(b"\"operation\":");
    if event.action.says_something() {
        event.action.write(out);
    } else {
        out.extend_from_slice(b"\"unknown\"");
    }
    out.push(b',');
    object(out, "\"service\":", |out| text(out, "\"name\":", api.service.as_ref()));
    text(out, "\"version\":", api.version.as_ref());
    object(out, "\"request\":", |out| text(out, "\"uid\":", api.request_uid.as_ref()));
    object(out, "\"response\":", |out| {
        int(out, "\"code\":", api.response_code.map(i64::from));
        text(out, "\"error\":", api.response_error.as_ref());
        text(out, "\"error_message\":", api.response_message.as_ref());
        if let Some(result) = &api.response_result {
            out.extend_from_slice(b"\"data\":");
            result.write(out);
            out.push(b',');
        }
    });
}

pub(super) fn write_http_request(out: &mut Vec<u8>, event: &Event<'_>) {
    let request = &event.http_request;
    if let Some(method) = request.known_method() {
        word(out, "\"http_method\":", method);
    }
    // OCSF requires a path or the whole URL.
    if [&request.path, &request.url].into_iter().flatten().any(Text::says_something) {
        object(out, "\"url\":", |out| {
            text(out, "\"url_string\":", request.url.as_ref());
            text(out, "\"scheme\":", request.scheme.as_ref());
            text(out, "\"hostname\":", request.hostname.as_ref());
            text(out, "\"path\":", request.path.as_ref());
            text(out, "\"query_string\":", request.query.as_ref());
        });
    }
    text(out, "\"user_agent\":", request.user_agent.as_ref());
    text(out, "\"referrer\":", request.referrer.as_ref());
    text(out, "\"version\":", request.version.as_ref());
}

pub(super) fn write_http_response(out: &mut Vec<u8>, response: &HttpResponse<'_>) {
    int(out, "\"code\":", Some(i64::from(response.code)));
    int(out, "\"body_length\":", response.body_length.and_then(|bytes| i64::try_from(bytes).ok()));
    int(out, "\"latency\":", response.latency_ms);
    text(out, "\"content_type\":", response.content_type.as_ref());
}

pub(crate) fn write_login(out: &mut Vec<u8>, target: &Target<'_>) {
    let login = &target.login;
    if let Some(protocol) = login.protocol {
        enumerated(out, "auth_protocol", AUTH_PROTOCOLS, Some(&Text::from(protocol)));
    }
    if let Some(uid) = login.token_uid.as_ref().filter(|uid| uid.says_something()) {
        object(out, "\"authentication_token\":", |out| {
            text(out, "\"uid\":", Some(uid));
            out.extend_from_slice(b"\"type_id\":7,\"type\":\"API Token\",");
        });
    }
    flag(out, "\"is_mfa\":", login.is_mfa);
    flag(out, "\"is_remote\":", login.is_remote);
}

pub(crate) fn write_entity(out: &mut Vec<u8>, entity: &Resource<'_>) {
    text(out, "\"name\":", entity.name.as_ref());
    text(out, "\"uid\":", entity.uid.as_ref());
    let caption = entity.kind.as_ref().map(|kind| match &*kind.plain() {
        "device" => Text::from("Device"),
        "user" => Text::from("User"),
        "group" => Text::from("Group"),
        "organization" => Text::from("Organization"),
        "policy" => Text::from("Policy"),
        _ => kind.clone(),
    });
    enumerated(out, "type", &["Device", "User", "Group", "Organization", "Policy"], caption.as_ref());
    data(out, entity);
}

fn data(out: &mut Vec<u8>, resource: &Resource<'_>) {
    if let Some(value) = &resource.data {
        out.extend_from_slice(b"\"data\":");
        value.write(out);
        out.push(b',');
    }
}

/// Writes database, databucket, table and query, as far as they are known.
pub(crate) fn write_store(out: &mut Vec<u8>, event: &Event<'_>) {
    let target = &event.target;
    if let Some(database) = target.database.as_ref().filter(|database| database.is_known()) {
        object(out, "\"database\":", |out| {
            text(out, "\"name\":", database.name.as_ref());
            text(out, "\"uid\":", database.uid.as_ref());
            enumerated(out, "type", DATABASE_KINDS, database.kind.as_ref());
        });
    }
    if let Some(bucket) = target.databucket.as_ref().filter(|bucket| bucket.is_known()) {
        object(out, "\"databucket\":", |out| write_bucket(out, bucket));
    }
    if let Some(table) = target.table.as_ref().filter(|table| table.is_known()) {
        object(out, "\"table\":", |out| {
            text(out, "\"name\":", table.name.as_ref());
            text(out, "\"uid\":", table.uid.as_ref());
        });
    }
    if let Some(query) = target.query.as_ref().filter(|query| query.says_something()) {
        object(out, "\"query_info\":", |out| {
            text(out, "\"query_string\":", Some(query));
            // OCSF requires a name or a uid.
            text(out, "\"name\":", Some(&event.action));
        });
    }
}

fn write_bucket(out: &mut Vec<u8>, bucket: &Databucket<'_>) {
    text(out, "\"name\":", bucket.name.as_ref());
    text(out, "\"uid\":", bucket.uid.as_ref());
    enumerated(out, "type", &["S3"], bucket.kind.map(Text::from).as_ref());
    text(out, "\"version\":", bucket.version.as_ref());
    if let Some(file) = &bucket.file {
        object(out, "\"file\":", |out| write_file(out, file));
    }
}

fn write_file(out: &mut Vec<u8>, file: &File<'_>) {
    let last = |path: &str| {
        let trimmed = path.trim_end_matches('/');
        trimmed.rfind('/').map_or(0, |slash| slash + 1)..trimmed.len()
    };
    let name = match &file.path {
        // With escapes in the path (`\/`), a cut before a slash could leave half an escape.
        Text::Escaped(inside) if memchr::memchr(b'\\', inside.as_bytes()).is_none() => {
            Text::Escaped(&inside[last(inside)])
        }
        path => {
            let plain = path.plain();
            Text::from(plain[last(&plain)].to_owned())
        }
    };
    text(out, "\"name\":", Some(if name.says_something() { &name } else { &file.path }));
    text(out, "\"path\":", Some(&file.path));
    out.extend_from_slice(if file.is_folder {
        b"\"type_id\":2,\"type\":\"Folder\",".as_slice()
    } else {
        b"\"type_id\":1,\"type\":\"Regular File\",".as_slice()
    });
    int(out, "\"size\":", file.size.and_then(|bytes| i64::try_from(bytes).ok()));
    text(out, "\"version\":", file.version.as_ref());
}

/// Writes nothing if the resource has neither name nor id.
pub(crate) fn write_resource(out: &mut Vec<u8>, resource: &Resource<'_>) {
    if !resource.is_known() {
        return;
    }
    text(out, "\"name\":", resource.name.as_ref());
    text(out, "\"uid\":", resource.uid.as_ref());
    text(out, "\"type\":", resource.kind.as_ref());
    text(out, "\"namespace\":", resource.namespace.as_ref());
    if let Some(owner) = resource.owner.as_ref().filter(|owner| owner.is_known()) {
        object(out, "\"owner\":", |out| write_user(out, owner));
    }
    data(out, resource);
}

pub(super) fn write_as_resource(
    out: &mut Vec<u8>,
    kind: &'static str,
    name: Option<&Text<'_>>,
    uid: Option<&Text<'_>>,
) {
    if [name, uid].into_iter().flatten().any(Text::says_something) {
        text(out, "\"name\":", name);
        text(out, "\"uid\":", uid);
        word(out, "\"type\":", kind);
    }
}

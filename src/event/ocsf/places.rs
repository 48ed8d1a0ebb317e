//! Which class has which attributes, and where an event's other attributes are written.

use std::borrow::Cow;

use crate::event::members::{close, object, text, texts};
use crate::event::ocsf::objects::{
    write_api, write_as_resource, write_cloud, write_endpoint, write_entity, write_group, write_http_request,
    write_http_response, write_login, write_resource, write_store, write_user,
};
use crate::event::ocsf::projection::Moved;
use crate::event::{Class, Event, Members, Seen, Target, Text};

/// A set of the attributes that only some classes have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Attributes(u32);

impl Attributes {
    const ACTOR: Self = Self(1);
    const SRC: Self = Self(1 << 1);
    /// The class is written with a source endpoint even if none is known.
    const SRC_ALWAYS: Self = Self(1 << 2);
    const DST: Self = Self(1 << 3);
    /// The class has `api` also for events without a cloud.
    const API: Self = Self(1 << 4);
    const HTTP: Self = Self(1 << 5);
    const USER: Self = Self(1 << 6);
    const GROUP: Self = Self(1 << 7);
    const PRIVILEGES: Self = Self(1 << 8);
    const POLICIES: Self = Self(1 << 9);
    const ACCESS_LIST: Self = Self(1 << 10);
    const RESOURCE: Self = Self(1 << 11);
    const RESOURCES: Self = Self(1 << 12);
    const ENTITY: Self = Self(1 << 13);
    const SERVICE: Self = Self(1 << 14);
    const STORE: Self = Self(1 << 15);
    const LOGIN: Self = Self(1 << 16);
    const TLS: Self = Self(1 << 17);

    pub(super) const fn of(class: Class) -> Self {
        let common = Self::ACTOR.and(Self::SRC).and(Self::HTTP);
        match class {
            Class::BaseEvent => Self(0),
            Class::AccountChange => common.and(Self::USER).and(Self::POLICIES),
            Class::Authentication => common.and(Self::DST).and(Self::USER).and(Self::SERVICE).and(Self::LOGIN),
            Class::AuthorizeSession => common.and(Self::DST).and(Self::USER).and(Self::GROUP).and(Self::PRIVILEGES),
            Class::EntityManagement => common.and(Self::ENTITY).and(Self::ACCESS_LIST),
            Class::UserAccess => common.and(Self::USER).and(Self::PRIVILEGES).and(Self::RESOURCES),
            Class::GroupManagement => common.and(Self::USER).and(Self::GROUP).and(Self::PRIVILEGES).and(Self::RESOURCE),
            // HTTP Activity has an actor only with the profile `host`.
            Class::HttpActivity => Self::SRC.and(Self::SRC_ALWAYS).and(Self::DST).and(Self::HTTP).and(Self::TLS),
            Class::ApiActivity => common.and(Self::SRC_ALWAYS).and(Self::DST).and(Self::API).and(Self::RESOURCES),
            Class::DatastoreActivity => common.and(Self::SRC_ALWAYS).and(Self::DST).and(Self::STORE),
        }
    }

    const fn and(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    const fn has(self, one: Self) -> bool {
        self.0 & one.0 != 0
    }
}

/// Writes actor, source and destination.
pub(super) fn write_parties(out: &mut Vec<u8>, event: &Event<'_>, attributes: Attributes) {
    if attributes.has(Attributes::ACTOR) {
        out.extend_from_slice(b"\"actor\":{");
        if event.actor.user.is_known() {
            object(out, "\"user\":", |out| write_user(out, &event.actor.user));
        } else {
            out.extend_from_slice(b"\"user\":{\"name\":\"unknown\",\"type_id\":0,\"type\":\"Unknown\"},");
        }
        object(out, "\"session\":", |out| text(out, "\"uid\":", event.actor.session_uid.as_ref()));
        text(out, "\"app_name\":", event.actor.app_name.as_ref());
        text(out, "\"app_uid\":", event.actor.app_uid.as_ref());
        object(out, "\"idp\":", |out| text(out, "\"name\":", event.actor.idp_name.as_ref()));
        close(out, b'}');
        out.push(b',');
    }
    if attributes.has(Attributes::SRC) {
        match &event.src {
            Some(src) if src.is_known() => object(out, "\"src_endpoint\":", |out| write_endpoint(out, src)),
            _ if attributes.has(Attributes::SRC_ALWAYS) => {
                out.extend_from_slice(b"\"src_endpoint\":{\"name\":\"unknown\"},");
            }
            _ => {}
        }
    }
    if let Some(dst) = event.dst.as_ref().filter(|dst| attributes.has(Attributes::DST) && dst.is_known()) {
        object(out, "\"dst_endpoint\":", |out| write_endpoint(out, dst));
    }
}

/// Writes the cloud, the request as API call, and the request over HTTP.
pub(super) fn write_request(out: &mut Vec<u8>, event: &Event<'_>, attributes: Attributes) {
    if let Some(cloud) = &event.cloud {
        object(out, "\"cloud\":", |out| write_cloud(out, cloud));
    }
    if attributes.has(Attributes::API) || event.cloud.is_some() {
        object(out, "\"api\":", |out| write_api(out, event));
    }
    if attributes.has(Attributes::HTTP) {
        object(out, "\"http_request\":", |out| write_http_request(out, event));
        if let Some(response) = &event.http_response {
            object(out, "\"http_response\":", |out| write_http_response(out, response));
        }
    }
    if let Some(tls) = event.target.tls.as_ref().filter(|_| attributes.has(Attributes::TLS)) {
        object(out, "\"tls\":", |out| {
            text(out, "\"version\":", Some(&tls.version));
            text(out, "\"cipher\":", tls.cipher.as_ref());
        });
    }
}

/// Writes what was acted upon, as far as the class has attributes for it.
pub(super) fn write_target(out: &mut Vec<u8>, event: &Event<'_>, attributes: Attributes) {
    let target = &event.target;
    if let Some(user) = target.user.as_ref().filter(|user| attributes.has(Attributes::USER) && user.is_known()) {
        object(out, "\"user\":", |out| write_user(out, user));
    }
    if let Some(group) = target.group.as_ref().filter(|group| attributes.has(Attributes::GROUP) && group.is_known()) {
        object(out, "\"group\":", |out| write_group(out, group));
    }
    if attributes.has(Attributes::PRIVILEGES) {
        texts(out, "\"privileges\":", &target.privileges);
    }
    if attributes.has(Attributes::ACCESS_LIST) {
        texts(out, "\"access_list\":", &target.access_list);
    }
    if attributes.has(Attributes::POLICIES) && !target.policies.is_empty() {
        out.extend_from_slice(b"\"policies\":[");
        for policy in &target.policies {
            object(out, "", |out| text(out, "\"uid\":", Some(policy)));
        }
        close(out, b']');
        out.push(b',');
    }
    if attributes.has(Attributes::SERVICE) {
        object(out, "\"service\":", |out| text(out, "\"name\":", target.service.as_ref()));
    }
    if attributes.has(Attributes::LOGIN) {
        write_login(out, target);
    }
    if let Some(entity) =
        target.entity.as_ref().filter(|entity| attributes.has(Attributes::ENTITY) && entity.is_known())
    {
        object(out, "\"entity\":", |out| write_entity(out, entity));
    }
    if attributes.has(Attributes::STORE) {
        write_store(out, event);
    }
    if attributes.has(Attributes::RESOURCES) {
        write_resources(out, target, attributes);
    }
    if let Some(resource) = target.resources.first().filter(|_| attributes.has(Attributes::RESOURCE)) {
        object(out, "\"resource\":", |out| write_resource(out, resource));
    }
}

/// Writes the resources; for API Activity, also everything else that was acted upon.
fn write_resources(out: &mut Vec<u8>, target: &Target<'_>, attributes: Attributes) {
    let before = out.len();
    out.extend_from_slice(b"\"resources\":[");
    let empty = out.len();
    for resource in &target.resources {
        object(out, "", |out| write_resource(out, resource));
    }
    if attributes.has(Attributes::API) {
        if let Some(user) = &target.user {
            object(out, "", |out| write_as_resource(out, "user", user.name.as_ref(), user.uid.as_ref()));
        }
        if let Some(group) = &target.group {
            object(out, "", |out| write_as_resource(out, "group", group.name.as_ref(), group.uid.as_ref()));
        }
        for resource in [&target.entity, &target.table, &target.database].into_iter().flatten() {
            object(out, "", |out| write_resource(out, resource));
        }
        if let Some(bucket) = &target.databucket {
            object(out, "", |out| write_as_resource(out, "databucket", bucket.name.as_ref(), bucket.uid.as_ref()));
        }
    }
    if out.len() == empty {
        out.truncate(before);
        return;
    }
    close(out, b']');
    out.push(b',');
}

/// The member of `unmapped` for attributes that the class lacks. If the source has a field of that name, it is prefixed
/// with `_`.
const STRAYS: &str = "ocsf";
const STRAYS_KEY: &str = "\"ocsf\":";

/// Writes the source's own fields and, under `ocsf`, the attributes that the class or the version lacks.
pub(super) fn write_unmapped(
    out: &mut Vec<u8>,
    event: &Event<'_>,
    seen: &Seen<'_>,
    attributes: Attributes,
    moved: &[Moved<'_>],
) {
    object(out, "\"unmapped\":", |out| {
        seen.write_unmapped(out, event, |_| true);
        seen.write_first(out);
        object(out, &strays_key(&event.unmapped), |out| {
            write_strays(out, event, attributes);
            for Moved { path, value, .. } in moved {
                Text::from(path.as_str()).write(out);
                out.push(b':');
                value.write(out);
                out.push(b',');
            }
        });
    });
}

/// The key for [`write_strays`], with quotes and colon.
fn strays_key(unmapped: &Members<'_>) -> Cow<'static, str> {
    let is_taken = |name: &str| unmapped.iter().any(|(own, _)| own.is(name));
    if !is_taken(STRAYS) {
        return Cow::Borrowed(STRAYS_KEY);
    }
    let mut name = STRAYS.to_owned();
    while is_taken(&name) {
        name.insert(0, '_');
    }
    Cow::Owned(format!("\"{name}\":"))
}

fn write_strays(out: &mut Vec<u8>, event: &Event<'_>, attributes: Attributes) {
    let target = &event.target;
    // API Activity has these among its resources.
    let lacks = |place| !attributes.has(place) && !attributes.has(Attributes::API);
    if let Some(user) = target.user.as_ref().filter(|_| lacks(Attributes::USER)) {
        object(out, "\"user\":", |out| write_user(out, user));
    }
    if let Some(group) = target.group.as_ref().filter(|_| lacks(Attributes::GROUP)) {
        object(out, "\"group\":", |out| write_group(out, group));
    }
    if let Some(entity) = target.entity.as_ref().filter(|_| lacks(Attributes::ENTITY)) {
        object(out, "\"entity\":", |out| write_entity(out, entity));
    }
    if lacks(Attributes::STORE) {
        write_store(out, event);
    }
    if !attributes.has(Attributes::STORE) {
        text(out, "\"query\":", target.query.as_ref());
    }
    if attributes.has(Attributes::API)
        && let Some(file) = target.databucket.as_ref().and_then(|bucket| bucket.file.as_ref())
    {
        text(out, "\"file_path\":", Some(&file.path));
    }
    if !attributes.has(Attributes::PRIVILEGES) {
        texts(out, "\"privileges\":", &target.privileges);
    }
    if !attributes.has(Attributes::POLICIES) {
        texts(out, "\"policies\":", &target.policies);
    }
    if !attributes.has(Attributes::ACCESS_LIST) {
        texts(out, "\"access_list\":", &target.access_list);
    }
    if !attributes.has(Attributes::SERVICE) {
        text(out, "\"service\":", target.service.as_ref());
    }
    if !attributes.has(Attributes::LOGIN) {
        write_login(out, target);
    }
    write_stray_places(out, event, attributes);
}

fn write_stray_places(out: &mut Vec<u8>, event: &Event<'_>, attributes: Attributes) {
    let target = &event.target;
    let placed = match attributes {
        _ if attributes.has(Attributes::RESOURCES) => target.resources.len(),
        _ if attributes.has(Attributes::RESOURCE) => 1,
        _ => 0,
    };
    if let Some(left @ [_, ..]) = target.resources.get(placed..) {
        out.extend_from_slice(b"\"resources\":[");
        for resource in left {
            object(out, "", |out| write_resource(out, resource));
        }
        close(out, b']');
        out.push(b',');
    }
    if let Some(dst) = event.dst.as_ref().filter(|_| !attributes.has(Attributes::DST)) {
        object(out, "\"dst_endpoint\":", |out| write_endpoint(out, dst));
    }
    if let Some(src) = event.src.as_ref().filter(|_| !attributes.has(Attributes::SRC)) {
        object(out, "\"src_endpoint\":", |out| write_endpoint(out, src));
    }
    if !attributes.has(Attributes::ACTOR) && event.actor.user.is_known() {
        object(out, "\"actor\":", |out| object(out, "\"user\":", |out| write_user(out, &event.actor.user)));
    }
    if !attributes.has(Attributes::API) && event.cloud.is_none() {
        object(out, "\"api\":", |out| write_api(out, event));
    }
    if let Some(tls) = target.tls.as_ref().filter(|_| !attributes.has(Attributes::TLS)) {
        object(out, "\"tls\":", |out| {
            text(out, "\"version\":", Some(&tls.version));
            text(out, "\"cipher\":", tls.cipher.as_ref());
        });
    }
}

//! The attributes of an event that a filter or a template asks for, by the names that OCSF 1.8.0 has for them.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Deserializer, de};

use crate::event::json::{Json, Reader};
use crate::event::{Endpoint, Event, Resource, Status, Text, User, Value};

/// One attribute that every event may have, whatever its class. A list attribute stands for each of its elements.
#[derive(Clone)]
pub struct Attribute(Which);

#[derive(Clone)]
enum Which {
    Known(&'static Known),
    /// A path below `unmapped`.
    Unmapped(Box<str>),
}

/// Called with each text of an attribute until it returns true.
type Test<'t> = &'t mut dyn FnMut(&str) -> bool;

/// An attribute's name, and a function that calls a test with each of the attribute's texts and returns whether the
/// test held for one of them.
struct Known {
    name: &'static str,
    any: fn(&Event<'_>, Test<'_>) -> bool,
}

/// The prefix of the names of the source's own fields.
const UNMAPPED: &str = "unmapped.";

const fn known(name: &'static str, any: fn(&Event<'_>, Test<'_>) -> bool) -> Known {
    Known { name, any }
}

/// Sorted by name.
static KNOWN: &[Known] = &[
    known("activity_name", |event, test| {
        let caption = event.activity.caption;
        if caption.is_empty() { test(&event.caption.as_ref().unwrap_or(&event.action).plain()) } else { test(caption) }
    }),
    known("actor.app_name", |event, test| text(&event.actor.app_name, test)),
    known("actor.app_uid", |event, test| text(&event.actor.app_uid, test)),
    known("actor.idp.name", |event, test| text(&event.actor.idp_name, test)),
    known("actor.session.uid", |event, test| text(&event.actor.session_uid, test)),
    known("actor.user.account.uid", |event, test| text(&event.actor.user.account_uid, test)),
    known("actor.user.domain", |event, test| text(&event.actor.user.domain, test)),
    known("actor.user.email_addr", |event, test| text(&event.actor.user.email, test)),
    known("actor.user.name", |event, test| text(&event.actor.user.name, test)),
    known("actor.user.uid", |event, test| text(&event.actor.user.uid, test)),
    known("api.operation", |event, test| test(&event.action.plain())),
    known("api.request.uid", |event, test| text(&event.api.request_uid, test)),
    known("api.service.name", |event, test| text(&event.api.service, test)),
    known("cloud.account.uid", |event, test| {
        let account = event.cloud.as_ref().and_then(|cloud| cloud.account.as_ref());
        account.is_some_and(|(uid, _)| test(&uid.plain()))
    }),
    known("cloud.region", |event, test| event.cloud.as_ref().is_some_and(|cloud| text(&cloud.region, test))),
    known("database.name", |event, test| resource(&event.target.database, |it| &it.name, test)),
    known("databucket.name", |event, test| {
        event.target.databucket.as_ref().is_some_and(|bucket| text(&bucket.name, test))
    }),
    known("dst_endpoint.hostname", |event, test| endpoint(&event.dst, |it| &it.hostname, test)),
    known("dst_endpoint.ip", |event, test| endpoint(&event.dst, |it| &it.ip, test)),
    known("group.name", |event, test| event.target.group.as_ref().is_some_and(|group| text(&group.name, test))),
    known("http_request.http_method", |event, test| text(&event.http_request.method, test)),
    known("http_request.referrer", |event, test| text(&event.http_request.referrer, test)),
    known("http_request.url.path", |event, test| text(&event.http_request.path, test)),
    known("http_request.user_agent", |event, test| text(&event.http_request.user_agent, test)),
    known("message", |event, test| text(&event.message, test)),
    known("metadata.correlation_uid", |event, test| text(&event.metadata.correlation_uid, test)),
    known("metadata.event_code", |event, test| text(&event.metadata.event_code, test)),
    known("metadata.log_level", |event, test| text(&event.metadata.log_level, test)),
    known("metadata.original_event_uid", |event, test| text(&event.metadata.original_uid, test)),
    known("metadata.product.feature.name", |event, test| text(&event.metadata.feature, test)),
    known("metadata.tenant_uid", |event, test| text(&event.metadata.tenant_uid, test)),
    known("privileges", |event, test| event.target.privileges.iter().any(|one| test(&one.plain()))),
    known("resources.name", |event, test| resources(event, |it| &it.name, test)),
    known("resources.type", |event, test| resources(event, |it| &it.kind, test)),
    known("resources.uid", |event, test| resources(event, |it| &it.uid, test)),
    known("src_endpoint.hostname", |event, test| endpoint(&event.src, |it| &it.hostname, test)),
    known("src_endpoint.ip", |event, test| endpoint(&event.src, |it| &it.ip, test)),
    known("status", |event, test| {
        test(match event.status {
            Status::Unknown => "Unknown",
            Status::Success => "Success",
            Status::Failure => "Failure",
        })
    }),
    known("status_code", |event, test| text(&event.status_code, test)),
    known("status_detail", |event, test| text(&event.status_detail, test)),
    known("table.name", |event, test| resource(&event.target.table, |it| &it.name, test)),
    known("user.email_addr", |event, test| user(event, |it| &it.email, test)),
    known("user.name", |event, test| user(event, |it| &it.name, test)),
    known("user.uid", |event, test| user(event, |it| &it.uid, test)),
];

/// The names of [`KNOWN`], and the form of a name below `unmapped`.
static NAMES: [&str; KNOWN.len() + 1] = {
    let mut names = ["unmapped.<path>"; KNOWN.len() + 1];
    let mut at = 0;
    while at < KNOWN.len() {
        names[at] = KNOWN[at].name;
        at += 1;
    }
    names
};

impl Attribute {
    /// The attribute called `name`, or the path below `unmapped`. `None` if there is no such attribute.
    pub fn named(name: &str) -> Option<Self> {
        if let Some(path) = name.strip_prefix(UNMAPPED) {
            return (!path.is_empty()).then(|| Self(Which::Unmapped(path.into())));
        }
        KNOWN.iter().find(|known| known.name == name).map(|known| Self(Which::Known(known)))
    }

    /// All names that [`Attribute::named`] takes; the last one shows the form of a path below `unmapped`.
    pub fn names() -> &'static [&'static str] {
        &NAMES
    }

    /// Whether the test holds for one of the attribute's texts. It is never called for an attribute that the event
    /// lacks, nor with an empty text.
    pub fn any(&self, event: &Event<'_>, test: &mut dyn FnMut(&str) -> bool) -> bool {
        let test: Test<'_> = &mut |text: &str| !text.is_empty() && test(text);
        match &self.0 {
            Which::Known(known) => (known.any)(event, test),
            Which::Unmapped(path) => members(&event.unmapped, path, test),
        }
    }

    fn parts(&self) -> (&str, &str) {
        match &self.0 {
            Which::Known(known) => ("", known.name),
            Which::Unmapped(path) => (UNMAPPED, path),
        }
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (section, name) = self.parts();
        write!(f, "{section}{name}")
    }
}

impl fmt::Debug for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl PartialEq for Attribute {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Attribute {}

impl PartialOrd for Attribute {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Attribute {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl<'de> Deserialize<'de> for Attribute {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::named(&name).ok_or_else(|| de::Error::unknown_field(&name, Self::names()))
    }
}

fn text(text: &Option<Text<'_>>, test: Test<'_>) -> bool {
    text.as_ref().is_some_and(|text| test(&text.plain()))
}

fn endpoint<'e, 'a>(
    endpoint: &'e Option<Endpoint<'a>>,
    of: fn(&'e Endpoint<'a>) -> &'e Option<Text<'a>>,
    test: Test<'_>,
) -> bool {
    endpoint.as_ref().is_some_and(|endpoint| text(of(endpoint), test))
}

fn resource<'e, 'a>(
    resource: &'e Option<Resource<'a>>,
    of: fn(&'e Resource<'a>) -> &'e Option<Text<'a>>,
    test: Test<'_>,
) -> bool {
    resource.as_ref().is_some_and(|resource| text(of(resource), test))
}

fn resources<'e, 'a>(event: &'e Event<'a>, of: fn(&'e Resource<'a>) -> &'e Option<Text<'a>>, test: Test<'_>) -> bool {
    let entity = event.target.entity.as_ref();
    event.target.resources.iter().chain(entity).any(|resource| text(of(resource), test))
}

fn user<'e, 'a>(event: &'e Event<'a>, of: fn(&'e User<'a>) -> &'e Option<Text<'a>>, test: Test<'_>) -> bool {
    event.target.user.as_ref().is_some_and(|user| text(of(user), test))
}

/// The rest of a path after a key; `None` if the path does not begin with the key. A key may contain dots.
fn behind<'p>(path: &'p str, key: &str) -> Option<&'p str> {
    match path.strip_prefix(key)? {
        "" => Some(""),
        rest => rest.strip_prefix('.'),
    }
}

fn members(members: &[(Text<'_>, Value<'_>)], path: &str, test: Test<'_>) -> bool {
    members.iter().any(|(key, own)| behind(path, &key.plain()).is_some_and(|rest| value(own, rest, test)))
}

fn value(value_: &Value<'_>, path: &str, test: Test<'_>) -> bool {
    match value_ {
        Value::List(values) => values.iter().any(|one| value(one, path, test)),
        Value::Object(own) => members(own, path, test),
        Value::Json(token) => json(token, path, test),
        Value::Text(text) => path.is_empty() && test(&text.plain()),
        Value::Int(number) => path.is_empty() && test(&number.to_string()),
    }
}

/// As [`value`], for a JSON token copied unchanged from the record.
fn json(token: &str, path: &str, test: Test<'_>) -> bool {
    let mut reader = Reader::of_event(token);
    let mut found = false;
    let read = match reader.peek() {
        Some(b'{') => reader.object(|reader, key| {
            let own = reader.value()?;
            found = found || behind(path, &key).is_some_and(|rest| element(own, rest, test));
            Ok(())
        }),
        Some(b'[') => reader.array(|reader| {
            let own = reader.value()?;
            found = found || element(own, path, test);
            Ok(())
        }),
        _ => reader.value().map(|own| found = element(own, path, test)),
    };
    read.is_ok() && found
}

fn element(own: Json<'_>, path: &str, test: Test<'_>) -> bool {
    match own {
        Json::Object(whole) | Json::Array(whole) => json(whole, path, test),
        scalar => path.is_empty() && scalar.text().is_some_and(|text| test(&text.plain())),
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::event::{Activity, Class, Product};

    fn event() -> Event<'static> {
        let product = Product { name: "P", vendor: "V", log_name: "l" };
        let mut event = Event::new(product, Activity::of(Class::ApiActivity, 1), "createThing".into(), 0);
        event.actor.user.name = Some(Text::Escaped("a\\u006en"));
        event.target.privileges = vec!["READ".into(), "WRITE".into()];
        event.target.resources =
            ["one", "two"].map(|name| Resource { name: Some(name.into()), ..Resource::default() }).into();
        event.unmapped = vec![
            ("a.b".into(), Value::Int(7)),
            ("plain".into(), Value::Text("text".into())),
            (
                "copied".into(),
                Value::Json(Cow::Borrowed(r#"{"deep":{"er":[{"k":"x"},{"k":"y"}]},"t":true,"d.e":1.50}"#)),
            ),
            ("own".into(), Value::Object(vec![("k".into(), Value::List(vec![Value::Text("z".into())]))])),
        ];
        event
    }

    /// All texts of the attribute.
    fn texts(event: &Event<'_>, name: &str) -> Vec<String> {
        let mut texts = Vec::new();
        Attribute::named(name).unwrap().any(event, &mut |text| {
            texts.push(text.to_owned());
            false
        });
        texts
    }

    #[test]
    fn an_attribute_is_found_by_its_name_in_ocsf() {
        let event = event();
        for (name, expected) in [
            ("actor.user.name", &["ann"][..]),
            ("actor.user.uid", &[]),
            ("api.operation", &["createThing"]),
            ("activity_name", &["Create"]),
            ("privileges", &["READ", "WRITE"]),
            ("resources.name", &["one", "two"]),
            ("status", &["Unknown"]),
        ] {
            assert_eq!(texts(&event, name), expected, "{name}");
        }
    }

    #[test]
    fn a_path_leads_through_objects_and_lists_and_keys_with_dots() {
        let event = event();
        for (name, expected) in [
            ("unmapped.a.b", &["7"][..]),
            ("unmapped.plain", &["text"]),
            ("unmapped.plain.more", &[]),
            ("unmapped.copied.deep.er.k", &["x", "y"]),
            ("unmapped.copied.t", &["true"]),
            ("unmapped.copied.d.e", &["1.50"]),
            ("unmapped.copied.deep", &[]),
            ("unmapped.own.k", &["z"]),
            ("unmapped.absent", &[]),
        ] {
            assert_eq!(texts(&event, name), expected, "{name}");
        }
    }

    #[test]
    fn a_name_that_no_attribute_has_is_none() {
        for name in ["", "actor", "actor.user", "unmapped", "unmapped.", "unmapped.<path>x", "Actor.user.name"] {
            assert_eq!(Attribute::named(name).is_some(), name == "unmapped.<path>x", "{name}");
        }
        assert!(KNOWN.is_sorted_by_key(|known| known.name) && NAMES.contains(&"user.uid"));
    }
}

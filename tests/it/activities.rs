//! Every event that a family can fill in is valid, in every class, version and encoding.

use auditferry::testing::event::{
    Activity, Class, Cloud, Databucket, Encoded, Encoder, EncodingName, Endpoint, Event, EventId, File, Group,
    HttpResponse, OcsfVersion, Options, Origin, Product, Resource, Seen, Status, Tls, User, UserKind,
    Value as EventValue,
};
use auditferry::testing::notification::ObjectId;

use super::support::ecs::Fields;
use super::support::ocsf::Schema;

/// 2024-01-15T08:00:00Z.
const LAST_MODIFIED_MS: i64 = 1_705_305_600_000;

/// An event of that activity in which every field has a value.
fn rich(activity: &'static Activity) -> Event<'static> {
    let product = Product { name: "P", vendor: "V", log_name: "lakefs.audit" };
    let mut event = Event::new(product, activity, "doThing".into(), LAST_MODIFIED_MS);
    let user = |name: &'static str| User {
        uid: Some("u-1".into()),
        email: Some("a@example.com".into()),
        display_name: Some("A B".into()),
        domain: Some("d".into()),
        account_uid: Some("acc".into()),
        ..User::named(name, UserKind::Service)
    };
    let thing = |name: &'static str| Resource {
        kind: Some("thing".into()),
        name: Some(name.into()),
        uid: Some("id".into()),
        namespace: Some("n".into()),
        owner: Some(user("owner")),
        data: Some(EventValue::Int(1)),
    };
    (event.start_time_ms, event.end_time_ms, event.duration_ms) =
        (Some(LAST_MODIFIED_MS), Some(LAST_MODIFIED_MS), Some(3));
    (event.status, event.status_code, event.status_detail) = (Status::Failure, Some("403".into()), Some("no".into()));
    event.message = Some("m".into());
    event.metadata.labels = vec!["ambiguous"];
    event.metadata.sequence = Some(2);
    event.metadata.is_truncated = true;
    event.metadata.correlation_uid = Some("c".into());
    event.metadata.original_uid = Some("o".into());
    event.metadata.log_level = Some("info".into());
    event.actor.user = user("ann");
    (event.actor.session_uid, event.actor.app_name, event.actor.app_uid, event.actor.idp_name) =
        (Some("s".into()), Some("app".into()), Some("1".into()), Some("idp".into()));
    event.src = Endpoint::of_address("[2001:db8::1]:443".into());
    event.dst = Some(Endpoint { svc_name: Some("svc".into()), hostname: Some("h".into()), ..Endpoint::default() });
    event.cloud =
        Some(Cloud { provider: "AWS", region: Some("eu-west-1".into()), account: Some(("1".into(), "Other")) });
    event.api.service = Some("api".into());
    event.api.request_uid = Some("r".into());
    event.api.response_code = Some(403);
    event.api.response_error = Some("denied".into());
    event.api.response_result = Some(EventValue::Json("{\"a\":[1]}".into()));
    event.http_request.method = Some("GET".into());
    event.http_request.url = Some("https://h/p?q".into());
    event.http_request.path = Some("/p".into());
    event.http_request.query = Some("q".into());
    event.http_request.version = Some("HTTP/1.1".into());
    event.http_request.referrer = Some("x".into());
    let response =
        HttpResponse { code: 403, body_length: Some(7), latency_ms: Some(4), content_type: Some("t/x".into()) };
    event.http_response = Some(response);
    let target = &mut event.target;
    (target.user, target.group) = (Some(user("bob")), Some(Group { name: Some("g".into()), uid: Some("2".into()) }));
    (target.privileges, target.policies, target.access_list) = (vec!["r".into()], vec!["p".into()], vec!["l".into()]);
    (target.resources, target.entity) = (vec![thing("one"), thing("two")], Some(thing("entity")));
    (target.database, target.table) = (Some(thing("db")), Some(thing("t")));
    (target.service, target.query) = (Some("svc".into()), Some("SELECT 1".into()));
    let file = File { path: "a/b".into(), size: Some(9), version: Some("v".into()), is_folder: false };
    target.databucket =
        Some(Databucket { name: Some("b".into()), kind: Some("S3"), file: Some(file), ..Databucket::default() });
    target.login.protocol = Some("SAML");
    target.login.token_uid = Some("t".into());
    target.login.is_mfa = Some(true);
    target.tls = Some(Tls { version: "TLSv1.2".into(), cipher: Some("c".into()) });
    event.unmapped = vec![("left".into(), EventValue::Text("over".into()))];
    event
}

/// An event of that activity with no more than its class requires.
fn poor(activity: &'static Activity) -> Event<'static> {
    let mut event = rich(activity);
    let bare = Event::new(event.product, activity, "doThing".into(), LAST_MODIFIED_MS);
    if activity.class == Class::AuthorizeSession {
        event.target.group = None;
    }
    let target = std::mem::take(&mut event.target);
    let mut event = bare;
    let class = activity.class;
    if class == Class::GroupManagement {
        event.target.group = target.group;
    } else if !event.fits(class) {
        event.target = target;
        if class == Class::HttpActivity {
            event.http_response =
                Some(HttpResponse { code: 200, body_length: None, latency_ms: None, content_type: None });
            // OCSF up to 1.3 requires an HTTP request's destination.
            event.dst = Some(Endpoint { svc_name: Some("svc".into()), ..Endpoint::default() });
        }
    }
    event
}

/// How many fields of an event [`mute`] can blank.
const MUTE: usize = 11;

/// The event of [`rich`] with names and ids that say nothing (`-` or empty), as logs write them, in field number `one`,
/// or in every field if `one` is [`MUTE`].
fn mute(activity: &'static Activity, one: usize) -> Event<'static> {
    let mut event = rich(activity);
    let user = || User { uid: Some("".into()), account_uid: Some("-".into()), ..User::named("-", UserKind::User) };
    let thing = || Resource {
        kind: Some("thing".into()),
        name: Some("-".into()),
        uid: Some("".into()),
        owner: Some(user()),
        ..Resource::default()
    };
    let end = || Endpoint { name: Some("-".into()), hostname: Some("".into()), ..Endpoint::default() };
    let target = &mut event.target;
    for number in (0..MUTE).filter(|number| one == *number || one == MUTE) {
        match number {
            0 => event.actor.user = user(),
            1 => target.user = Some(user()),
            2 => target.group = Some(Group { name: Some("".into()), uid: Some("-".into()) }),
            3 => target.resources = vec![thing(), thing()],
            4 => target.entity = Some(thing()),
            5 => target.database = Some(thing()),
            6 => target.table = Some(thing()),
            7 => target.databucket = Some(Databucket { name: Some("-".into()), ..Databucket::default() }),
            8 => target.service = Some("-".into()),
            9 => event.src = Some(end()),
            _ => event.dst = Some(end()),
        }
    }
    event
}

#[test]
fn every_activity_of_every_class_is_valid_in_every_encoding() {
    let fields = Fields::load();
    let schemas = OcsfVersion::ALL.map(|version| (version, Schema::of_version(version.name())));
    for class in Class::ALL {
        let activities = (0..16).chain([99]).map(|id| Activity::of(class, id));
        let events = activities.flat_map(|activity| {
            let mutes = (0..=MUTE).map(|one| mute(activity, one));
            [rich(activity), poor(activity)].into_iter().chain(mutes)
        });
        for (event, id) in events.zip((1_u8..=255).cycle()) {
            let object = ObjectId::new("b", "k");
            let last_modified_ms = Some(LAST_MODIFIED_MS);
            let origin = Origin { object: &object, source: "s3://b/k", last_modified_ms, feed: "f" };
            let seen = Seen {
                origin,
                record: b"record",
                parsed: "",
                ordinal: 0,
                id: EventId([id; 16]),
                index: 0,
                first: None,
            };
            let encode = |name, options| {
                let mut out = Encoded::default();
                Encoder::new(name, options).encode(&event, &seen, &mut out);
                String::from_utf8(out.bytes).unwrap()
            };
            for (version, schema) in &schemas {
                let line = encode(
                    EncodingName::Ocsf,
                    Options { ocsf_version: *version, raw_data: true, ..Options::default() },
                );
                schema.assert_valid([line.as_str()]);
            }
            let line = encode(EncodingName::Ecs, Options { raw_data: true, ..Options::default() });
            fields.assert_valid([line.as_str()]);
        }
    }
}

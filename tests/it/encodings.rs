//! What the encodings make of one event: ECS, each version of OCSF, the record itself, and what their switches change.

use auditferry::delta::RecordHash;
use auditferry::event::{
    Activity, Class, Cloud, Databucket, Encoded, Encoder, EncodingName, Endpoint, Event, EventId, File, Group,
    HttpResponse, OcsfVersion, Options, Origin, Product, Resource, Scope, Seen, Status, Tls, User, UserKind,
    Value as EventValue,
};
use auditferry::family::{self, Context};
use auditferry::notification::ObjectId;
use auditferry::records::Record;
use serde_json::{Value, json};

use super::support::ecs::Fields;
use super::support::ocsf::Schema;

const KEY: &str = "workspaceId=1234567890123456/date=2024-01-15/auditlogs_7.json";

/// 2024-01-15T08:00:00Z.
const LAST_MODIFIED_MS: i64 = 1_705_305_600_000;

/// The lines that one encoder makes of the records of one object.
fn encoded(lines: &[&[u8]], name: EncodingName, options: Options) -> Vec<String> {
    let object = ObjectId::new("audit-logs", KEY);
    let family = family::named("databricks").unwrap();
    let context = Context::new(family, &object, Scope::Object(&object), Some(LAST_MODIFIED_MS), "dbx");
    let encoders = [Encoder::new(name, options)];
    let mut out = [Encoded::default()];
    for (index, line) in lines.iter().enumerate() {
        let occurrence = lines[..index].iter().filter(|before| before == &line).count() as u64;
        let record = Record::new(index as u64, line);
        family::encode_record(&context, &record, &RecordHash::of(line), occurrence, &encoders, &mut out).unwrap();
    }
    String::from_utf8(out[0].bytes.clone()).unwrap().lines().map(str::to_owned).collect()
}

fn one(line: &str, name: EncodingName, options: Options) -> Value {
    serde_json::from_str(&encoded(&[line.as_bytes()], name, options)[0]).unwrap()
}

fn older(line: &str, version: OcsfVersion) -> Value {
    let options = Options { ocsf_version: version, ..Options::default() };
    let lines = encoded(&[line.as_bytes()], EncodingName::Ocsf, options);
    Schema::of_version(version.name()).assert_valid(lines.iter().map(String::as_str));
    serde_json::from_str(&lines[0]).unwrap()
}

fn fixture(name: &str) -> String {
    std::fs::read_to_string(format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn records() -> String {
    fixture("databricks/auditlogs_7.json")
}

fn all_options() -> impl Iterator<Item = Options> {
    let of = |switches: u8, ocsf_version| Options {
        raw_data: switches & 1 != 0,
        observables: switches & 2 != 0,
        labels: switches & 4 != 0,
        ocsf_version,
        ..Options::default()
    };
    OcsfVersion::ALL.into_iter().flat_map(move |version| (0..8).map(move |switches| of(switches, version)))
}

#[test]
fn databricks_records_become_the_ecs_documents_that_its_fields_say() {
    let records = records();
    let lines: Vec<&[u8]> = records.lines().map(str::as_bytes).collect();
    let documents = encoded(&lines, EncodingName::Ecs, Options::default());
    Fields::load().assert_valid(documents.iter().map(String::as_str));
    for expected in fixture("databricks/auditlogs_7.ecs.tsv").lines() {
        let (line, expected) = expected.split_once('\t').unwrap();
        let document: Value = serde_json::from_str(&documents[line.parse::<usize>().unwrap() - 1]).unwrap();
        let expected: Value = serde_json::from_str(expected).unwrap();
        assert_eq!(document, expected, "\n{document:#}\nline {line}");
    }
}

#[test]
fn every_event_is_valid_in_every_version_and_with_every_switch() {
    let records = records();
    let lines: Vec<&[u8]> = records.lines().map(str::as_bytes).collect();
    let fields = Fields::load();
    for options in all_options() {
        let events = encoded(&lines, EncodingName::Ocsf, options);
        assert_eq!(events.len(), lines.len());
        Schema::of_version(options.ocsf_version.name()).assert_valid(events.iter().map(String::as_str));
        if options.ocsf_version == OcsfVersion::V1_8 {
            let documents = encoded(&lines, EncodingName::Ecs, options);
            assert_eq!(documents.len(), lines.len());
            fields.assert_valid(documents.iter().map(String::as_str));
        }
    }
}

/// An event of which everything is known, of that activity.
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

/// The same with as little as its class lets it have.
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
            // Up to 1.3 it must be said where the request went.
            event.dst = Some(Endpoint { svc_name: Some("svc".into()), ..Endpoint::default() });
        }
    }
    event
}

/// How many things of an event can be mute.
const MUTE: usize = 11;

/// The same, where one thing (or, past the last, each) has names and ids that say nothing, as logs write them.
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
            let origin = Origin { source: "s3://b/k", last_modified_ms: Some(LAST_MODIFIED_MS), feed: "f" };
            let seen = Seen { origin, record: b"record", ordinal: 0, id: EventId([id; 16]), index: 0 };
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

#[test]
fn the_identity_is_the_same_in_every_encoding() {
    let records = records();
    let line = records.lines().next().unwrap();
    let ocsf = one(line, EncodingName::Ocsf, Options::default());
    let uid = &ocsf["metadata"]["uid"];
    for version in OcsfVersion::ALL {
        let event = one(line, EncodingName::Ocsf, Options { ocsf_version: version, ..Options::default() });
        assert_eq!(&event["metadata"]["uid"], uid);
    }
    assert_eq!(&one(line, EncodingName::Ecs, Options::default())["event"]["id"], uid);
    assert_eq!(&one(line, EncodingName::Raw, Options { envelope: true, ..Options::default() })["uid"], uid);
}

#[test]
fn what_an_older_version_lacks_stands_in_unmapped_under_its_path() {
    let line = r#"{"timestamp":1705305601234,"serviceName":"accounts","actionName":"login","requestId":"r-1","userIdentity":{"email":"a@example.com"},"requestParams":{"user":"b@example.com"},"ocsf":"mine","response":{"statusCode":200}}"#;
    let event = older(line, OcsfVersion::V1_1);
    assert_eq!(event["metadata"]["version"], "1.1.0");
    assert_eq!(event["unmapped"]["_ocsf"]["metadata.original_event_uid"], "r-1");
    assert_eq!(event["unmapped"]["_ocsf"]["metadata.log_source"], format!("s3://audit-logs/{KEY}"));
    assert_eq!(event["unmapped"]["ocsf"], "mine");
    let event = older(line, OcsfVersion::V1_8);
    assert_eq!(event["metadata"]["original_event_uid"], "r-1");
    assert_eq!(event["unmapped"], json!({"ocsf": "mine"}));
}

#[test]
fn an_attribute_of_a_profile_gets_the_profile_named() {
    let line = r#"{"timestamp":1705305601234,"serviceName":"clusters","actionName":"changeClusterAcl","userIdentity":{"email":"a@example.com"},"requestParams":{"aclPermissionSet":"[CAN_MANAGE]","targetUserId":"8","resourceId":"/clusters/1"},"response":{"statusCode":200}}"#;
    for (version, profiles) in
        [(OcsfVersion::V1_1, json!(["cloud", "datetime", "host"])), (OcsfVersion::V1_8, json!(["cloud", "datetime"]))]
    {
        let event = older(line, version);
        assert_eq!(event["metadata"]["profiles"], profiles, "{version:?}");
        assert_eq!(event["actor"]["user"]["name"], "a@example.com");
    }
}

#[test]
fn a_group_by_itself_is_an_entity_up_to_1_3() {
    let line = r#"{"timestamp":1705305601234,"serviceName":"accounts","actionName":"createGroup","requestParams":{"targetGroupName":"admins","targetGroupId":"12"},"response":{"statusCode":200}}"#;
    for version in [OcsfVersion::V1_1, OcsfVersion::V1_3] {
        let event = older(line, version);
        assert_eq!((&event["class_uid"], &event["type_uid"]), (&json!(3004), &json!(300_401)));
        assert_eq!(event["type_name"], "Entity Management: Create");
        assert_eq!(event["activity_name"], "Create");
        assert_eq!(event["entity"]["name"], "admins");
        assert_eq!(event["entity"]["uid"], "12");
    }
    for version in [OcsfVersion::V1_5, OcsfVersion::V1_8] {
        let event = older(line, version);
        assert_eq!(event["type_uid"], 300_606);
        assert_eq!(event["group"], json!({"name": "admins", "uid": "12"}));
    }
}

#[test]
fn values_of_any_depth_and_exactness_reach_every_version() {
    let deep = format!("{}9007199254740993{}", "[".repeat(120), "]".repeat(120));
    let line = format!(
        r#"{{"timestamp":1705305601234,"serviceName":"x","actionName":"getThing","response":{{"statusCode":200,"result":{deep}}},"requestParams":{{"n":1.50}}}}"#
    );
    for version in OcsfVersion::ALL {
        let options = Options { ocsf_version: version, ..Options::default() };
        let event = &encoded(&[line.as_bytes()], EncodingName::Ocsf, options)[0];
        assert!(event.contains(&deep) && event.contains(r#""n":1.50"#), "{event}");
        assert!(event.contains(version.name()));
    }
}

/// Versions that take texts of any length have it whole; the others have its beginning, and all of it beside.
#[test]
fn a_text_longer_than_a_version_takes_is_cut_and_kept_whole_beside_the_event() {
    let long = "é".repeat(65_537);
    let line = json!({
        "timestamp": 1_705_305_601_234_i64, "serviceName": "x", "actionName": "getThing",
        "userIdentity": {"email": long},
        "response": {"statusCode": 400, "errorMessage": long, "result": long},
    })
    .to_string();
    for version in OcsfVersion::ALL {
        let is_cut = matches!(version, OcsfVersion::V1_1 | OcsfVersion::V1_3);
        let expected = if is_cut { &long[..65_535 * 2] } else { &long };
        let options = Options { ocsf_version: version, raw_data: true, ..Options::default() };
        let text = &encoded(&[line.as_bytes()], EncodingName::Ocsf, options)[0];
        Schema::of_version(version.name()).assert_valid([text.as_str()]);
        let event: Value = serde_json::from_str(text).unwrap();
        assert!(event["status_detail"] == expected && event["actor"]["user"]["name"] == expected);
        let kept = &event["unmapped"]["ocsf"];
        for path in ["status_detail", "actor.user.name"] {
            assert!(if is_cut { kept[path] == *long } else { kept[path].is_null() }, "{path}");
        }
        let observed = event["observables"].as_array().unwrap();
        assert!(observed.iter().any(|it| it["name"] == "actor.user.name" && it["value"] == expected));
        assert!(event["api"]["response"]["data"] == *long);
        let raw_data = event["raw_data"].as_str().unwrap();
        let characters = if is_cut { 65_535 } else { line.chars().count() };
        assert!(raw_data.chars().count() == characters && line.starts_with(raw_data));
        assert!(kept["raw_data"].is_null());
        let size = if is_cut { &kept["raw_data_size"] } else { &event["raw_data_size"] };
        assert_eq!(*size, line.len());
    }
}

#[test]
fn an_address_that_a_version_does_not_take_for_one_is_kept_beside_the_event() {
    for email in ["o'brien@example.com", "a&b@example.com"] {
        let line = json!({
            "timestamp": 1_705_305_601_234_i64, "serviceName": "x", "actionName": "getThing",
            "userIdentity": {"email": email},
        })
        .to_string();
        for version in OcsfVersion::ALL {
            let event = older(&line, version);
            let is_taken = version != OcsfVersion::V1_1;
            let user = &event["actor"]["user"];
            let kept = &event["unmapped"]["ocsf"]["actor.user.email_addr"];
            assert_eq!(user["name"], email);
            assert_eq!(if is_taken { &user["email_addr"] } else { kept }, email);
            assert!(if is_taken { kept } else { &user["email_addr"] }.is_null());
            let observed = event["observables"].as_array().unwrap();
            assert_eq!(observed.iter().any(|it| it["name"] == "actor.user.email_addr"), is_taken);
        }
    }
}

#[test]
fn the_switches_leave_out_what_they_name() {
    let line = r#"{"serviceName":"secrets","actionName":"putSecret","userIdentity":{"email":"a@example.com"},"requestParams":{"string_value":"hush"}}"#;
    let with = Options { raw_data: true, ..Options::default() };
    let without = Options { raw_data: false, observables: false, labels: false, ..Options::default() };
    let (more, less) = (one(line, EncodingName::Ocsf, with), one(line, EncodingName::Ocsf, without));
    assert_eq!(more["raw_data"], line.replace("hush", "***"));
    assert_eq!(more["metadata"]["labels"], json!(["time_inferred"]));
    assert!(more["observables"].is_array());
    assert!(less["raw_data"].is_null() && less["observables"].is_null() && less["metadata"]["labels"].is_null());
    let (more, less) = (one(line, EncodingName::Ecs, with), one(line, EncodingName::Ecs, without));
    assert_eq!(more["event"]["original"], line.replace("hush", "***"));
    assert_eq!(more["tags"], json!(["time_inferred"]));
    assert_eq!(more["related"]["user"], json!(["a@example.com"]));
    assert!(less["event"]["original"].is_null() && less["tags"].is_null() && less["related"].is_null());
}

#[test]
fn a_raw_record_stands_in_its_envelope_with_where_it_was_read() {
    let lines = [br#"{"timestamp":1705305601234}"#.as_slice(), br#" {"timestamp":1705305601234,"a":"\"q\""}"#];
    assert_eq!(encoded(&lines, EncodingName::Raw, Options::default())[1].as_bytes(), lines[1]);
    let options = Options { envelope: true, ..Options::default() };
    let envelopes = encoded(&lines, EncodingName::Raw, options);
    let second: Value = serde_json::from_str(&envelopes[1]).unwrap();
    assert_eq!(second["record"], std::str::from_utf8(lines[1]).unwrap());
    assert_eq!(
        (&second["feed"], &second["object"], &second["ordinal"]),
        (&json!("dbx"), &json!(format!("s3://audit-logs/{KEY}")), &json!(1))
    );
    assert!(second["is_lossy"].is_null());
}

#[test]
fn the_ecs_validator_takes_what_is_valid_and_refuses_what_is_not() {
    let fields = Fields::load();
    let verdicts = fixture("ecs/verdicts.tsv");
    let mut judged = [0, 0];
    for line in verdicts.lines() {
        let (expected, event) = line.split_once('\t').unwrap();
        let faults = fields.faults(event);
        assert_eq!(faults.is_empty(), expected == "valid", "{faults:?}\n{event}");
        judged[usize::from(expected == "valid")] += 1;
    }
    assert!(judged[0] >= 25 && judged[1] >= 10, "{judged:?}");
}

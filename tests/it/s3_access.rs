//! The events of S3 access log lines: equal to the fixture's word for word, valid, and without what the feed drops.

use auditferry::testing::delta::RecordHash;
use auditferry::testing::event::{Encoded, Encoder, EncodingName, Mapping, OcsfVersion, Options, Scope};
use auditferry::testing::family::{self, Context, S3aPrincipal, Settings};
use auditferry::testing::notification::ObjectId;
use auditferry::testing::records::Record;
use serde_json::Value;

use super::columns::assert_row_without_secret;
use super::support::ocsf::Schema;

const NAME: &str = "2024-02-12-08-00-00-0A1B2C3D4E5F6789";

/// 2024-02-12T08:00:00Z.
const LAST_MODIFIED_MS: i64 = 1_707_724_800_000;

const HADOOP: &str =
    "https://audit.example.org/hadoop/1/op_open/s-1/?op=op_open&p1=s3a://b/x&pr=alice&cm=Tool&id=s-1&ts=1620905165700";

/// A line with this operation, key and referrer.
fn line(operation: &str, key: &str, referrer: &str) -> String {
    format!(
        "79a5 bucket [12/Feb/2024:07:54:01 +0000] 192.0.2.3 arn:aws:sts::123456789012:assumed-role/etl/i-0 R1 {operation} {key} \"GET /x HTTP/1.1\" 200 - 1 2 3 4 \"{referrer}\" \"agent\" - host= SigV4 CIPHER AuthHeader b.s3.amazonaws.com TLSv1.2 - -"
    )
}

fn encode(
    line: &[u8],
    ordinal: u64,
    name: EncodingName,
    options: Options,
    settings: &Settings,
) -> Result<String, String> {
    let object = ObjectId::new("audit-logs", format!("logs/123456789012/eu-west-2/data-london/2024/02/12/{NAME}"));
    let family = family::named("s3_access").unwrap();
    let context =
        Context::new(family, &object, Scope::Object(&object), Some(LAST_MODIFIED_MS), "test").with_settings(settings);
    let record = Record::new(ordinal, line);
    let mut out = [Encoded::default()];
    let encoders = [Encoder::new(name, options)];
    let events = family::encode_record(&context, &record, &RecordHash::of(line), ordinal, &encoders, &mut out);
    let [encoded] = out;
    events.map(|_| String::from_utf8_lossy(&encoded.bytes).trim_end().to_owned()).map_err(|refusal| refusal.to_string())
}

fn event(line: &str) -> Value {
    let text = encode(line.as_bytes(), 0, EncodingName::Ocsf, Options::default(), Settings::none()).unwrap();
    Schema::of_version("1.8.0").assert_valid([text.as_str()]);
    serde_json::from_str(&text).unwrap()
}

fn fixture(name: &str) -> String {
    std::fs::read_to_string(format!("{}/tests/fixtures/s3_access/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn access_log_lines_become_the_events_that_the_documents_say() {
    let (lines, expected) = (fixture(NAME), fixture(&format!("{NAME}.events.jsonl")));
    assert_eq!(lines.lines().count(), expected.lines().count());
    let options = Options { observables: false, ..Options::default() };
    for ((line, expected), ordinal) in lines.lines().zip(expected.lines()).zip(0..) {
        let text = encode(line.as_bytes(), ordinal, EncodingName::Ocsf, options, Settings::none()).unwrap();
        let (event, expected): (Value, Value) =
            (serde_json::from_str(&text).unwrap(), serde_json::from_str(expected).unwrap());
        assert_eq!(event, expected, "\n{event:#}\n{line}");
        self::event(line);
    }
}

#[test]
fn every_row_of_the_mapping_is_reached() {
    let rows = Mapping::built_in().family("s3_access").unwrap();
    assert_eq!(rows.len(), 105);
    for row in rows.iter() {
        let selector = row.selector;
        let key = if selector.contains("[no key]") || row.activity.class.uid() == 6003 { "-" } else { "a/b" };
        let operation = selector.split('[').next().unwrap().replace("*.", "REST.").replace(".*", ".NEWTHING");
        let operation = if selector == "*" { "SOAP.CreateBucket".to_owned() } else { operation };
        let event = event(&line(&operation, key, "-"));
        assert_eq!(event["class_uid"], row.activity.class.uid(), "{selector}");
        assert_eq!(event["activity_id"], row.activity.id, "{selector}");
        assert_eq!(event["metadata"].get("labels"), None, "{selector}");
    }
    assert_eq!(event(&line("REST.PUT.ACL", "-", "-"))["class_uid"], 6003);
}

#[test]
fn what_is_to_be_dropped_leaves_in_no_encoding() {
    let settings = Settings { s3a_drop: vec!["pr".to_owned(), "cm".to_owned()], ..Settings::default() };
    let line = line("REST.GET.OBJECT", "a", HADOOP);
    let options = Options { raw_data: true, ..Options::default() };
    let cut = HADOOP.replace("&pr=alice&cm=Tool", "");
    let mut broken = line.clone().into_bytes();
    let agent = line.find("agent").unwrap();
    broken[agent] = 0xff;
    for bytes in [line.as_bytes(), &broken] {
        let raw = encode(bytes, 0, EncodingName::Raw, options, &settings).unwrap();
        assert_eq!(raw, String::from_utf8_lossy(bytes).replace(HADOOP, &cut));
        let text = encode(bytes, 0, EncodingName::Ocsf, options, &settings).unwrap();
        assert!(!text.contains("alice") && !text.contains("Tool"), "{text}");
        let event: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(event["http_request"]["referrer"], cut);
        assert_eq!(event["raw_data"], raw);
        assert_eq!(event["unmapped"]["s3a"]["p1"], "s3a://b/x");
    }
    let whole = encode(line.as_bytes(), 0, EncodingName::Raw, options, Settings::none()).unwrap();
    assert_eq!(whole, line);
}

#[test]
fn what_signs_an_address_shows_neither_in_an_event_nor_in_its_raw_data() {
    let presigned = line("REST.GET.OBJECT", "a", "https://h/?Signature=s3cr3t")
        .replace("GET /x HTTP", "GET /x?X-Amz-Signature=s3cr3t&b=1 HTTP");
    let odd = presigned.replace("GET /x", "GET x");
    let options = Options { raw_data: true, ..Options::default() };
    let with_user = presigned.replace("https://h/?Signature", "https://u:s3cr3t@h/?token");
    let with_password = presigned.replace("x?X-Amz", "x?password=s3cr3t&X-Amz");
    for line in [presigned.clone(), odd, presigned.replace("agent", "\u{fffd}"), with_user, with_password] {
        let mut bytes = line.clone().into_bytes();
        // First as text, then with a byte that is not UTF-8.
        for _ in 0..2 {
            let text = encode(&bytes, 0, EncodingName::Ocsf, options, Settings::none()).unwrap();
            assert!(!text.contains("s3cr3t"), "{text}");
            assert!(text.contains("X-Amz-Signature=***&b=1"), "{text}");
            assert_row_without_secret("s3_access", &bytes, "s3cr3t", "X-Amz-Signature=***&b=1");
            let at = line.find("TLSv1.2").unwrap() - 2;
            bytes[at] = 0xff;
        }
    }
}

#[test]
fn bytes_that_are_no_text_do_not_lose_the_record() {
    let mut bytes = line("REST.GET.OBJECT", "a", "-").into_bytes();
    let at = bytes.windows(5).position(|window| window == b"agent").unwrap();
    bytes[at] = 0xff;
    let text = encode(&bytes, 0, EncodingName::Ocsf, Options::default(), Settings::none()).unwrap();
    let event: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(event["http_request"]["user_agent"], "\u{fffd}gent");
}

#[test]
fn a_record_without_a_time_takes_its_objects_and_says_so() {
    let event = event(&line("REST.GET.OBJECT", "a", "-").replace("[12/Feb/2024:07:54:01 +0000]", "-"));
    assert_eq!(event["time"], LAST_MODIFIED_MS);
    assert_eq!(event["metadata"]["labels"], serde_json::json!(["time_inferred"]));
}

/// Any client can send the referrer; S3 itself verified the role's session.
#[test]
fn the_actor_behind_a_role_is_its_session_whatever_the_referrer_says() {
    let event = event(&line("REST.GET.OBJECT", "a", HADOOP));
    assert_eq!(event["actor"]["user"]["name"], "etl/i-0");
    assert_eq!(event["actor"]["user"]["uid"], "arn:aws:sts::123456789012:assumed-role/etl/i-0");
    assert_eq!(event["unmapped"]["s3a"]["pr"], "alice");
    assert_eq!(event["metadata"].get("labels"), None);
}

#[test]
fn a_feed_may_take_the_principal_for_a_roles_user_and_says_so() {
    let settings = Settings { s3a_principal: S3aPrincipal::Claimed, ..Settings::default() };
    let claimed = |line: &str| -> Value {
        let text = encode(line.as_bytes(), 0, EncodingName::Ocsf, Options::default(), &settings).unwrap();
        Schema::of_version("1.8.0").assert_valid([text.as_str()]);
        serde_json::from_str(&text).unwrap()
    };
    let role = line("REST.GET.OBJECT", "a", HADOOP);
    let event = claimed(&role);
    assert_eq!(event["actor"]["user"]["name"], "alice");
    assert_eq!(event["actor"]["user"]["uid"], "arn:aws:sts::123456789012:assumed-role/etl/i-0");
    assert_eq!(event["metadata"]["labels"], serde_json::json!(["claimed_user"]));
    // A requester whom S3 identified is not replaced by a claim.
    let session = "arn:aws:sts::123456789012:assumed-role/etl/i-0";
    for (requester, name) in [("arn:aws:iam::123456789012:user/bob", "bob"), ("-", "anonymous")] {
        let event = claimed(&role.replace(session, requester));
        assert_eq!(event["actor"]["user"]["name"], name);
        assert_eq!(event["metadata"].get("labels"), None);
    }
    assert_eq!(claimed(&role.replace("&pr=alice", ""))["actor"]["user"]["name"], "etl/i-0");
}

#[test]
fn whoever_asks_unsigned_is_anonymous_however_that_is_written() {
    for requester in ["-", "\"-\"", "Anonymous", "anonymous"] {
        let line = line("REST.GET.OBJECT", "a", HADOOP);
        let event = event(&line.replace("arn:aws:sts::123456789012:assumed-role/etl/i-0", requester));
        assert_eq!(event["actor"]["user"], serde_json::json!({ "name": "anonymous" }), "{requester}");
        assert_eq!(event["unmapped"].get("requester"), None);
    }
}

#[test]
fn a_key_logged_as_nothing_names_no_file() {
    let event = event(&line("REST.GET.OBJECT", "\"\"", "-"));
    assert_eq!(event["databucket"]["name"], "bucket");
    assert!(event["databucket"]["file"].is_null(), "{event:#}");
    assert_eq!(event["unmapped"]["key"], "");
}

#[test]
fn a_host_that_a_version_does_not_take_for_one_is_kept_beside_the_event() {
    for host in ["b.s3.amazonaws.com:443", "my_bucket.s3.amazonaws.com", "[::1]", "é", "b.s3.amazonaws.com."] {
        let line = line("REST.GET.OBJECT", "k", "-").replace("b.s3.amazonaws.com", host);
        for ocsf_version in OcsfVersion::ALL {
            let options = Options { ocsf_version, ..Options::default() };
            let text = encode(line.as_bytes(), 0, EncodingName::Ocsf, options, Settings::none()).unwrap();
            Schema::of_version(ocsf_version.name()).assert_valid([text.as_str()]);
            let event: Value = serde_json::from_str(&text).unwrap();
            let (taken, kept) =
                (&event["http_request"]["url"], &event["unmapped"]["ocsf"]["http_request.url.hostname"]);
            let is_old = matches!(ocsf_version, OcsfVersion::V1_1 | OcsfVersion::V1_3);
            assert_eq!(taken["path"], "/x");
            assert_eq!(if is_old { kept } else { &taken["hostname"] }, host);
            assert!(if is_old { &taken["hostname"] } else { kept }.is_null(), "{event:#}");
        }
    }
}

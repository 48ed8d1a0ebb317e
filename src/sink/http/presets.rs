//! Receivers that are `http` with other settings: one row of a table for each.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use serde::Deserializer;
use serde::de::{self, DeserializeSeed, MapAccess};

use crate::secret::Reference;
use crate::sink::http::body::{Compression, Envelope, EnvelopePart, Format};
use crate::sink::http::{HttpKind, Profile};
use crate::sink::network::{NO_URL, Networked};
use crate::transport::{Auth, BearerAuth, FieldName, HeaderAuth, Location, ServiceConfig, StatusClass};

/// A receiver that speaks HTTP, and its peculiarities.
#[derive(Debug)]
pub struct Preset {
    /// The value of the key `type`.
    pub name: &'static str,
    keys: &'static [PresetKey],
    /// The default of `url`, with `{site}` for the value of [`Goes::Site`]. Empty if `url` has no default and must be
    /// set.
    url: &'static str,
    format: Format,
    /// The envelope of an event. `TIME` and `UID` stand for the event's time and uid, `EVENT` for its encoded bytes,
    /// `MEMBERS` for the values of [`Goes::Member`], `NAME` for that of [`Goes::EventName`]. Empty for no envelope.
    envelope: &'static str,
    compression: Compression,
    request_bytes: u64,
    request_events: u32,
    event_bytes_max: Option<usize>,
    statuses: &'static [(u16, StatusClass)],
}

/// A key that only this preset has. Its value is a text.
#[derive(Debug)]
struct PresetKey {
    name: &'static str,
    goes: Goes,
    /// A key without a default may be left out. Only secrets and the site are required then.
    default: Option<&'static str>,
}

/// Where the value of a key goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Goes {
    /// Into the host of the URL.
    Site,
    /// Into this header field. The value refers to a secret.
    SecretField(&'static str),
    /// Into `Authorization`. The value refers to a secret.
    Bearer,
    Field(&'static str),
    /// Into each event's envelope, as this member.
    Member(&'static str),
    /// Into each event's envelope, as the name of the member that holds the event.
    EventName,
}

const fn key(name: &'static str, goes: Goes, default: Option<&'static str>) -> PresetKey {
    PresetKey { name, goes, default }
}

pub static PRESETS: &[Preset] = &[
    // docs.datadoghq.com/api/latest/logs/#send-logs: POST to http-intake.logs.<site>/api/v2/logs with DD-API-KEY; 5 MB
    // uncompressed, 1,000 events, 1 MB an event (a longer event is cut and answered with 2xx); 202, 400, 401, 403, 408,
    // 413, 429, 500, 503; ddsource, ddtags, service and hostname are reserved members. Datadog drops a log whose
    // official date is more than 18 hours ago. The event stands below a member of its own, so that Datadog does not
    // take the event's dates for the log's official date.
    Preset {
        name: "datadog",
        keys: &[
            key("api_key", Goes::SecretField("dd-api-key"), None),
            key("site", Goes::Site, None),
            key("source", Goes::Member("ddsource"), Some("auditferry")),
            key("service", Goes::Member("service"), Some("auditferry")),
            key("tags", Goes::Member("ddtags"), None),
            key("hostname", Goes::Member("hostname"), None),
            key("attribute", Goes::EventName, Some("event")),
        ],
        url: "https://http-intake.logs.{site}/api/v2/logs",
        format: Format::JsonArray,
        envelope: r#"{MEMBERS"auditferry_uid":"UID","NAME":EVENT}"#,
        compression: Compression::Gzip,
        request_bytes: 5_000_000,
        request_events: 1000,
        event_bytes_max: Some(1_000_000),
        statuses: &[],
    },
    // sumologic.com/help/docs/send-data/hosted-collectors/http-source/: the URL is the credential; lines, gzip or
    // deflate, 100 KB to 1 MB before compression. Its troubleshooting page: 200 is success, 401 a wrong URL, 429, 503,
    // 504. With 408 the request was accepted but timed out during processing. Whether Sumo Logic has the events is
    // unknown then, so they are sent again.
    Preset {
        name: "sumo",
        keys: &[
            key("category", Goes::Field("x-sumo-category"), None),
            key("source_name", Goes::Field("x-sumo-name"), None),
            key("source_host", Goes::Field("x-sumo-host"), None),
            key("fields", Goes::Field("x-sumo-fields"), None),
        ],
        url: "",
        format: Format::Ndjson,
        envelope: "",
        compression: Compression::Gzip,
        request_bytes: 1_000_000,
        request_events: 10_000,
        event_bytes_max: None,
        statuses: &[(408, StatusClass::Again)],
    },
    // developer.crowdstrike.com/ngsiem/data-ingestion: the HEC/HTTP Event Data Connector gives a URL and an API key,
    // and takes HEC's format without acknowledgements. library.humio.com/logscale-api/log-shippers-hec.html: objects
    // one after another, `time` in seconds with a fraction, `event` an object or a text, `fields`; `sourcetype` chooses
    // the parser.
    Preset {
        name: "crowdstrike",
        keys: &[
            key("token", Goes::Bearer, None),
            key("sourcetype", Goes::Member("sourcetype"), None),
            key("source", Goes::Member("source"), Some("auditferry")),
            key("host", Goes::Member("host"), None),
        ],
        url: "",
        format: Format::Ndjson,
        envelope: r#"{"time":TIME,MEMBERS"fields":{"auditferry_uid":"UID"},"event":EVENT}"#,
        compression: Compression::Gzip,
        request_bytes: 1_000_000,
        request_events: 1000,
        event_bytes_max: None,
        statuses: &[],
    },
    // docs.panther.com/data-onboarding/data-transports/http: 1 MB including the headers, compressed or not; JSON, lines
    // or a JSON array, which Panther tells apart by itself. The key `auth` has the credentials: a shared secret in a
    // header field, HMAC, bearer, basic.
    Preset {
        name: "panther",
        keys: &[],
        url: "",
        format: Format::Ndjson,
        envelope: "",
        compression: Compression::Gzip,
        request_bytes: 980_000,
        request_events: 10_000,
        event_bytes_max: None,
        statuses: &[],
    },
];

/// The names of each preset's own keys, in the order of [`PRESETS`].
static NAMES: LazyLock<Vec<Vec<&'static str>>> =
    LazyLock::new(|| PRESETS.iter().map(|preset| preset.keys.iter().map(|key| key.name).collect()).collect());

impl Preset {
    pub(in crate::sink) fn named(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// The names of the preset's own keys.
    pub fn keys(&self) -> &'static [&'static str] {
        let at = PRESETS.iter().position(|preset| preset.name == self.name);
        at.map_or(&[], |at| &NAMES[at])
    }
}

impl<'de> DeserializeSeed<'de> for &'static Preset {
    type Value = HttpKind;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<HttpKind, D::Error> {
        let (service, own) = Networked(OwnKeys(self)).deserialize(deserializer)?;
        Ok(self.kind(service, own))
    }
}

/// The values of a preset's own keys.
#[derive(Default)]
struct Values {
    texts: BTreeMap<&'static str, String>,
    secret: Option<Reference>,
}

struct OwnKeys(&'static Preset);

impl<'de> DeserializeSeed<'de> for OwnKeys {
    type Value = Values;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Values, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> de::Visitor<'de> for OwnKeys {
    type Value = Values;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Values, A::Error> {
        let mut values = Values::default();
        while let Some(name) = map.next_key::<String>()? {
            match self.0.keys.iter().find(|key| key.name == name) {
                Some(PresetKey { goes: Goes::Bearer | Goes::SecretField(_), .. }) => {
                    values.secret = Some(map.next_value()?);
                }
                Some(key) => {
                    values.texts.insert(key.name, map.next_value()?);
                }
                None => return Err(de::Error::unknown_field(&name, self.0.keys())),
            }
        }
        Ok(values)
    }
}

impl Preset {
    fn kind(&'static self, mut service: ServiceConfig, Values { mut texts, secret }: Values) -> HttpKind {
        let mut problems = Vec::new();
        let (mut members, mut event_name) = (String::new(), "event".to_owned());
        for PresetKey { name, goes, default } in self.keys {
            let text = texts.remove(name).or_else(|| default.map(str::to_owned));
            let auth = |token: Reference| match goes {
                Goes::SecretField(field) => {
                    Auth::Header(HeaderAuth { name: FieldName::from_static(field), value: token })
                }
                _ => Auth::Bearer(BearerAuth { token, scheme: "Bearer".to_owned() }),
            };
            match (goes, text) {
                (Goes::SecretField(_) | Goes::Bearer, _) => match (&secret, &service.auth) {
                    (Some(_), Some(_)) => problems.push((*name, "expected either this or `auth`".to_owned())),
                    (Some(secret), None) => service.auth = Some(auth(secret.clone())),
                    (None, Some(_)) => {}
                    (None, None) => problems.push((*name, "expected where the secret is".to_owned())),
                },
                (Goes::Site, Some(site)) if service.url.is_some() => {
                    problems.push((*name, format!("has no effect beside `url`: {site}")));
                }
                (Goes::Site, Some(site)) if is_host(&site) => {
                    service.url = Some(Location::Url(self.url.replace("{site}", &site)));
                }
                (Goes::Site, Some(_)) => problems.push((*name, "expected a host, such as \"datadoghq.eu\"".to_owned())),
                (Goes::Site, None) if service.url.is_none() => {
                    problems.push((*name, "expected the site of your account, such as \"datadoghq.eu\"".to_owned()));
                }
                (Goes::Field(field), Some(text)) => {
                    if let Err(error) = service.headers.set(&FieldName::from_static(field), &text) {
                        problems.push((*name, error.to_string()));
                    }
                }
                (Goes::Member(member), Some(text)) => {
                    members.push_str(&format!("\"{member}\":{},", serde_json::Value::from(text)));
                }
                (Goes::EventName, Some(text)) if is_name(&text) => event_name = text,
                (Goes::EventName, Some(_)) => {
                    problems.push((*name, "expected letters, digits and underscores".to_owned()));
                }
                (_, None) => {}
            }
        }
        if self.url.is_empty() && service.url.is_none() {
            problems.push(("url", NO_URL.to_owned()));
        }
        let profile = Profile {
            format: self.format,
            envelope: envelope(self.envelope, &members, &event_name),
            compression: self.compression,
            request_bytes: self.request_bytes,
            request_events: self.request_events,
            event_bytes_max: self.event_bytes_max,
            id_field: None,
            is_idempotent: false,
            statuses: self.statuses.to_vec(),
            problems,
        };
        HttpKind { service, profile: Arc::new(profile) }
    }
}

fn is_host(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Cuts a preset's envelope into parts. Configured values are put in last, so that no word in them is taken for a
/// placeholder.
fn envelope(pattern: &str, members: &str, event_name: &str) -> Envelope {
    let mut parts: Vec<EnvelopePart> = Vec::new();
    let text = |parts: &mut Vec<EnvelopePart>, more: &str| match parts.last_mut() {
        Some(EnvelopePart::Text(text)) => text.push_str(more),
        _ if more.is_empty() => {}
        _ => parts.push(EnvelopePart::Text(more.to_owned())),
    };
    let mut rest = pattern;
    let words = ["TIME", "UID", "EVENT", "MEMBERS", "NAME"];
    while let Some((at, word)) = words.iter().filter_map(|word| Some((rest.find(word)?, *word))).min() {
        text(&mut parts, &rest[..at]);
        match word {
            "TIME" => parts.push(EnvelopePart::Seconds),
            "UID" => parts.push(EnvelopePart::Uid),
            "EVENT" => parts.push(EnvelopePart::Event),
            "MEMBERS" => text(&mut parts, members),
            _ => text(&mut parts, event_name),
        }
        rest = &rest[at + word.len()..];
    }
    text(&mut parts, rest);
    Envelope::new(parts)
}

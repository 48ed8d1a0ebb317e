//! The keys of `type = "splunk_hec"`.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::event::Choices;
use crate::secret::Reference;
use crate::sink::http::body::{Compression, Envelope, EnvelopeName, EnvelopePart};
use crate::sink::network::{NO_URL, networked};
use crate::sink::splunk_hec::{HecKind, Profile};
use crate::sink::{IndexTemplate, LabelTemplate, Template};
use crate::transport::{Auth, BearerAuth, Location, ServiceConfig};
use crate::units::{Size, Time};

/// The path prefix of all endpoints of the event collector.
const COLLECTOR: &str = "/services/collector";

/// The keys that only `type = "splunk_hec"` has.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HecConfig {
    /// Refers to Splunk's token, which is sent as `Authorization: Splunk <token>`.
    pub token: Option<Reference>,
    /// A template for the index of an event. Default: the index of the token.
    pub index: Option<IndexTemplate>,
    /// A template for the source type of an event. Default: `ocsf:{class}`.
    pub sourcetype: LabelTemplate,
    /// A template for the source of an event. Default: `auditferry:{feed}`.
    pub source: LabelTemplate,
    /// The host of an event. Default: what Splunk sets.
    pub host: Option<String>,
    /// Whether events are committed only once they are indexed. Default: true.
    pub acknowledge: bool,
    /// A request that is not indexed for this long is sent again. Default: 5 minutes.
    #[serde(deserialize_with = "crate::units::time")]
    pub acknowledged_within: Duration,
    /// How request bodies are compressed: `none` or `gzip`. Default: `gzip`.
    pub compression: Compression,
    /// The most bytes of a request, uncompressed. Default: 1000000.
    #[serde(deserialize_with = "crate::units::bytes")]
    pub request_bytes: u64,
}

impl Default for HecConfig {
    fn default() -> Self {
        let label = |text: &str| LabelTemplate::try_from(text).expect("its letters are allowed");
        Self {
            token: None,
            index: None,
            sourcetype: label("ocsf:{class}"),
            source: label("auditferry:{feed}"),
            host: None,
            acknowledge: true,
            acknowledged_within: Duration::from_secs(300),
            compression: Compression::Gzip,
            request_bytes: 1_000_000,
        }
    }
}

impl<'de> Deserialize<'de> for HecKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (mut service, config) = networked::<HecConfig, D>(deserializer)?;
        let mut problems = Vec::new();
        match &service.url {
            None => problems.push(("url", NO_URL.to_owned())),
            Some(Location::Url(url)) if url.contains(COLLECTOR) => {
                let expected = "expected the collector's address alone, such as \"https://splunk.example:8088\"";
                problems.push(("url", format!("{expected}: `{COLLECTOR}/event` is put behind it")));
            }
            Some(_) => {}
        }
        config.authorize(&mut service, &mut problems);
        let (profile, choices) = config.profile(problems);
        Ok(Self { service, profile: Arc::new(profile), choices })
    }
}

impl HecConfig {
    fn authorize(&self, service: &mut ServiceConfig, problems: &mut Vec<(&'static str, String)>) {
        match (&self.token, &service.auth) {
            (Some(_), Some(_)) => problems.push(("token", "expected either this or `auth`".to_owned())),
            (Some(token), None) => {
                service.auth = Some(Auth::Bearer(BearerAuth { token: token.clone(), scheme: "Splunk".to_owned() }));
            }
            (None, Some(_)) => {}
            (None, None) => problems.push(("token", "expected where the collector's token is".to_owned())),
        }
    }

    fn profile(self, mut problems: Vec<(&'static str, String)>) -> (Profile, Choices) {
        if !(Duration::from_secs(10)..=Duration::from_secs(3600)).contains(&self.acknowledged_within) {
            problems
                .push(("acknowledged_within", format!("expected 10s to 1h, found {}", Time(self.acknowledged_within))));
        }
        if self.compression == Compression::Zstd {
            problems.push(("compression", "expected \"none\" or \"gzip\": the collector reads no other".to_owned()));
        }
        if !(10_000..=100_000_000).contains(&self.request_bytes) {
            problems.push(("request_bytes", format!("expected 10 kB to 100 MB, found {}", Size(self.request_bytes))));
        }
        let templates = self.templates();
        let choices = templates.iter().filter_map(|(_, template)| template.choice().cloned()).collect();
        let choices = Choices::new(choices).unwrap_or_else(|| {
            let message = "expected templates that list at most 255 values, all of them together";
            problems.push(("sourcetype", message.to_owned()));
            Choices::default()
        });
        let profile = Profile {
            envelope: self.envelope(&choices),
            compression: self.compression,
            request_bytes: self.request_bytes,
            acknowledge: self.acknowledge,
            acknowledged_within: self.acknowledged_within,
            problems,
        };
        (profile, choices)
    }

    /// The templates, each with the name of its member in the envelope.
    fn templates(&self) -> Vec<(&'static str, &Template)> {
        let named = [("source", &self.source.0), ("sourcetype", &self.sourcetype.0)];
        named.into_iter().chain(self.index.as_ref().map(|index| ("index", &index.0))).collect()
    }

    /// `time` comes first: Splunk ignores a `time` that follows the event.
    fn envelope(&self, choices: &Choices) -> Envelope {
        let text = |text: &str| EnvelopePart::Text(text.to_owned());
        let mut parts = vec![text(r#"{"time":"#), EnvelopePart::Seconds];
        if let Some(host) = &self.host {
            parts.push(EnvelopePart::Text(format!(r#","host":{}"#, serde_json::Value::from(host.as_str()))));
        }
        let mut at = 0;
        for (name, template) in self.templates() {
            parts.push(EnvelopePart::Text(format!(r#","{name}":""#)));
            parts.push(EnvelopePart::Name(EnvelopeName { template: template.clone(), choices: choices.clone(), at }));
            parts.push(text("\""));
            at += usize::from(template.choice().is_some());
        }
        parts.push(text(r#","fields":{"auditferry_uid":""#));
        parts.push(EnvelopePart::Uid);
        parts.push(text(r#"","auditferry_batch":""#));
        parts.push(EnvelopePart::Batch);
        parts.push(text(r#""},"event":"#));
        parts.push(EnvelopePart::Event);
        parts.push(text("}"));
        Envelope::new(parts)
    }
}

//! The keys of `type = "elasticsearch"`.

use serde::{Deserialize, Deserializer};

use crate::event::Choices;
use crate::sink::IndexTemplate;
use crate::sink::elasticsearch::bulk::{Bulk, Rules};
use crate::sink::elasticsearch::{ElasticsearchKind, Signing};
use crate::sink::http::body::Compression;
use crate::sink::network::{NO_URL, networked};
use crate::units::Size;

/// The keys that only `type = "elasticsearch"` has.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ElasticsearchConfig {
    /// A template for the index of an event. Exactly one of `index` and `data_stream` must be set.
    pub index: Option<IndexTemplate>,
    /// A template for the data stream of an event.
    pub data_stream: Option<IndexTemplate>,
    /// Whether the uid of an event is the id of its document, so that the receiver recognises a repeat. Default: true.
    pub ids: bool,
    /// Whether a document that landed in the data stream's failure store counts as delivered. Default: false.
    pub accept_failure_store: bool,
    /// How request bodies are compressed. Default: `gzip`.
    pub compression: Compression,
    /// The most bytes of a request, uncompressed. Default: 5000000.
    #[serde(deserialize_with = "crate::units::bytes")]
    pub request_bytes: u64,
    /// The most events of a request. Default: 5000.
    pub request_events: u32,
    /// Signs requests with AWS credentials, for this AWS service.
    pub sigv4: Option<Signing>,
    /// The AWS region to sign for.
    pub region: Option<String>,
    /// The `[identity.<name>]` whose AWS credentials sign. Default: the default credential chain.
    pub identity: Option<String>,
}

impl Default for ElasticsearchConfig {
    fn default() -> Self {
        Self {
            index: None,
            data_stream: None,
            ids: true,
            accept_failure_store: false,
            compression: Compression::Gzip,
            request_bytes: 5_000_000,
            request_events: 5000,
            sigv4: None,
            region: None,
            identity: None,
        }
    }
}

impl<'de> Deserialize<'de> for ElasticsearchKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (service, config) = networked::<ElasticsearchConfig, D>(deserializer)?;
        let mut problems = config.problems();
        if service.url.is_none() {
            problems.push(("url", NO_URL.to_owned()));
        }
        if config.sigv4.is_some() && service.auth.is_some() {
            problems.push(("sigv4", "expected either this or `auth`".to_owned()));
        }
        let is_data_stream = config.data_stream.is_some();
        let name = config.data_stream.clone().or_else(|| config.index.clone()).map(|name| name.0);
        // A single choice fails here only if it has too many values for [`Choices`].
        let choice = name.iter().filter_map(|name| name.choice().cloned()).collect();
        let choices = Choices::new(choice).unwrap_or_else(|| {
            problems.push(("index", "expected at most 255 `values`".to_owned()));
            Choices::default()
        });
        let rules = Rules { has_ids: config.ids, accepts_failure_store: config.accept_failure_store };
        let bulk = Bulk { name, choices, rules, compression: config.compression };
        Ok(Self { service, config, bulk: bulk.into(), is_data_stream, problems })
    }
}

impl ElasticsearchConfig {
    fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let mut problem = |key, message: String| problems.push((key, message));
        match (&self.index, &self.data_stream) {
            (None, None) => problem("index", "expected `index` or `data_stream`: where events go".to_owned()),
            (Some(_), Some(_)) => problem("data_stream", "expected either this or `index`".to_owned()),
            _ => {}
        }
        if self.accept_failure_store && self.data_stream.is_none() {
            problem("accept_failure_store", "has no effect without `data_stream`".to_owned());
        }
        if self.compression == Compression::Zstd {
            problem("compression", "expected `gzip` or `none`: Elasticsearch takes no other".to_owned());
        }
        if !(10_000..=100_000_000).contains(&self.request_bytes) {
            problem("request_bytes", format!("expected 10 kB to 100 MB, found {}", Size(self.request_bytes)));
        }
        if !(1..=10_000).contains(&self.request_events) {
            problem("request_events", format!("expected 1 to 10000, found {}", self.request_events));
        }
        match (self.sigv4.is_some(), &self.region, &self.identity) {
            (true, None, _) => problem("region", "expected the region of the domain or collection".to_owned()),
            (false, Some(_), _) => problem("region", "has no effect without `sigv4`".to_owned()),
            (false, _, Some(_)) => problem("identity", "has no effect without `sigv4`".to_owned()),
            _ => {}
        }
        problems
    }
}

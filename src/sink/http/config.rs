//! The keys of `type = "http"`.

use std::sync::Arc;

use serde::{Deserialize, Deserializer};

use crate::sink::http::body::{Compression, Envelope, Format};
use crate::sink::http::{HttpKind, Profile};
use crate::sink::network::{NO_URL, networked};
use crate::transport::{FieldName, StatusConfig};
use crate::units::Size;

/// The keys that only `type = "http"` has.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    pub format: Format,
    pub compression: Compression,
    /// The header field for a request's id. Empty for none. Default: `Idempotency-Key`.
    pub idempotency_header: String,
    /// Whether the receiver recognises a repeated request by that id and drops it. Default: false.
    pub idempotent: bool,
    /// The most bytes of a request, uncompressed. Default: 1000000.
    #[serde(deserialize_with = "crate::units::bytes")]
    pub request_bytes: u64,
    /// The most events of a request. Default: 1000.
    pub request_events: u32,
    /// What statuses mean to this receiver, where that differs from the HTTP standard.
    pub status: StatusConfig,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            format: Format::Ndjson,
            compression: Compression::None,
            idempotency_header: "Idempotency-Key".to_owned(),
            idempotent: false,
            request_bytes: 1_000_000,
            request_events: 1000,
            status: StatusConfig::default(),
        }
    }
}

impl<'de> Deserialize<'de> for HttpKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (service, config) = networked::<HttpConfig, D>(deserializer)?;
        let mut profile = config.profile();
        if service.url.is_none() {
            profile.problems.push(("url", NO_URL.to_owned()));
        }
        Ok(Self { service, profile: Arc::new(profile) })
    }
}

impl HttpConfig {
    fn profile(self) -> Profile {
        let mut problems = Vec::new();
        let name = Some(self.idempotency_header).filter(|name| !name.is_empty());
        let id_field = name.and_then(|name| match FieldName::try_from(name) {
            Ok(name) => Some(name),
            Err(error) => {
                problems.push(("idempotency_header", error.to_string()));
                None
            }
        });
        if self.idempotent && id_field.is_none() {
            problems.push(("idempotent", "expected `idempotency_header`: a repeat is known by it".to_owned()));
        }
        if !(1000..=100_000_000).contains(&self.request_bytes) {
            problems.push(("request_bytes", format!("expected 1 kB to 100 MB, found {}", Size(self.request_bytes))));
        }
        if !(1..=100_000).contains(&self.request_events) {
            problems.push(("request_events", format!("expected 1 to 100000, found {}", self.request_events)));
        }
        problems.extend(self.status.problem().map(|problem| ("status", problem)));
        Profile {
            format: self.format,
            envelope: Envelope::default(),
            compression: self.compression,
            request_bytes: self.request_bytes,
            request_events: self.request_events,
            event_bytes_max: None,
            id_field,
            is_idempotent: self.idempotent,
            statuses: self.status.classes(),
            problems,
        }
    }
}

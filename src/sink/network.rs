//! The keys that all sinks over HTTP have: where the receiver is, and how to reach it.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeSeed, MapAccess};
use serde::{Deserialize, Deserializer};

use crate::sink::DeliveryError;
use crate::sink::http::body::Compression;
use crate::sink::table::{Own, TableKeys};
use crate::transport::{FieldName, Headers, ServiceConfig, ServiceError};

/// The names of these keys.
pub const NETWORK_KEYS: &[&str] =
    &["url", "auth", "headers", "tls", "proxy", "proxy_credentials", "timeout", "allow_plaintext", "allow_link_local"];

/// The problem that is reported if `url` is required but not set.
pub(super) const NO_URL: &str = "expected where the receiver is, such as \"https://host/path\"";

#[derive(Deserialize)]
struct Timeout(#[serde(deserialize_with = "crate::units::time")] Duration);

impl TableKeys for ServiceConfig {
    fn has(key: &str) -> bool {
        NETWORK_KEYS.contains(&key)
    }

    fn take<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "url" => self.url = Some(map.next_value()?),
            "auth" => self.auth = Some(map.next_value()?),
            "headers" => self.headers = map.next_value()?,
            "tls" => self.tls = map.next_value()?,
            "proxy" => self.proxy = Some(map.next_value()?),
            "proxy_credentials" => self.proxy_credentials = Some(map.next_value()?),
            "timeout" => Timeout(self.timeout) = map.next_value()?,
            "allow_plaintext" => self.allow_plaintext = map.next_value()?,
            _ => self.allow_link_local = map.next_value()?,
        }
        Ok(())
    }
}

/// The header fields for a body of this media type and compression.
pub(super) fn headers_of(media_type: &str, compression: Compression) -> Result<Headers, ServiceError> {
    let mut headers = Headers::default();
    headers.set(&FieldName::from_static("content-type"), media_type)?;
    if let Some(encoding) = compression.content_encoding() {
        headers.set(&FieldName::from_static("content-encoding"), encoding)?;
    }
    Ok(headers)
}

impl From<ServiceError> for DeliveryError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Unavailable(reason) => Self::unavailable(reason),
            ServiceError::Misconfigured(reason) => Self::Misconfigured(reason),
        }
    }
}

/// A table of a sink over HTTP: [`NETWORK_KEYS`], and other keys that `S` reads.
pub(super) struct Networked<S>(pub(super) S);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Networked<S> {
    type Value = (ServiceConfig, S::Value);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, S: DeserializeSeed<'de>> de::Visitor<'de> for Networked<S> {
    type Value = (ServiceConfig, S::Value);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let mut service = ServiceConfig::default();
        let own = self.0.deserialize(MapAccessDeserializer::new(Own { map, taken: &mut service }))?;
        Ok((service, own))
    }
}

/// Reads the table of a sink over HTTP whose own keys are the fields of `T`.
pub(super) fn networked<'de, T, D>(deserializer: D) -> Result<(ServiceConfig, T), D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Networked(PhantomData::<T>).deserialize(deserializer)
}

//! The header fields of a request. Values that are secrets are redacted in debug output.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use crate::secret::Secret;

/// Fields that the client or the kind of sink sets itself.
const OWN: &[&str] = &[
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Fields that carry secrets. They cannot be set as plain text, only by reference.
const SECRET: &[&str] = &["authorization", "cookie", "proxy-authorization"];

/// The name of a header field.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct FieldName(HeaderName);

/// Why a header field is refused. The value is left out: it may be a secret.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FieldError {
    #[error("expected the name of a header field, such as \"X-Api-Key\"")]
    Name,
    #[error("the header field `{0}` holds what no header field may, such as a line end")]
    Value(String),
    #[error("the header field `{0}` is set by the sink itself")]
    Own(String),
    #[error("the header field `{0}` carries a secret: give it by `auth`, as a reference")]
    Secret(String),
}

impl TryFrom<String> for FieldName {
    type Error = FieldError;

    fn try_from(text: String) -> Result<Self, FieldError> {
        let name = HeaderName::try_from(text).map_err(|_| FieldError::Name)?;
        if OWN.contains(&name.as_str()) { Err(FieldError::Own(name.to_string())) } else { Ok(Self(name)) }
    }
}

impl FieldName {
    /// `name` must be in lower case.
    pub fn from_static(name: &'static str) -> Self {
        Self(HeaderName::from_static(name))
    }
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Header fields set by a configuration or by a kind of sink.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>")]
pub struct Headers(HeaderMap);

impl TryFrom<BTreeMap<String, String>> for Headers {
    type Error = FieldError;

    fn try_from(fields: BTreeMap<String, String>) -> Result<Self, FieldError> {
        let mut headers = Self::default();
        for (name, value) in fields {
            let name = FieldName::try_from(name)?;
            if SECRET.contains(&name.0.as_str()) {
                return Err(FieldError::Secret(name.to_string()));
            }
            headers.set(&name, &value)?;
        }
        Ok(headers)
    }
}

/// The text after `Basic` for a user and a password (RFC 7617).
pub(super) fn basic(user: &str, password: &Secret) -> String {
    STANDARD.encode(format!("{user}:{}", password.reveal()))
}

impl Headers {
    /// The field `Authorization` for a user and a password.
    pub fn basic(user: &str, password: &Secret) -> Self {
        let value = HeaderValue::try_from(format!("Basic {}", basic(user, password)));
        let mut value = value.expect("base64 is letters, digits and three signs");
        value.set_sensitive(true);
        Self(HeaderMap::from_iter([(AUTHORIZATION, value)]))
    }

    /// Sets a field. Replaces its former value.
    ///
    /// # Errors
    /// The value has characters that a header field may not have.
    pub fn set(&mut self, name: &FieldName, value: &str) -> Result<(), FieldError> {
        self.insert(name.0.clone(), value, false)
    }

    /// Sets a field whose value is redacted in debug output.
    ///
    /// # Errors
    /// The value has characters that a header field may not have.
    pub(super) fn set_secret(&mut self, name: &FieldName, value: &str) -> Result<(), FieldError> {
        self.insert(name.0.clone(), value, true)
    }

    fn insert(&mut self, name: HeaderName, value: &str, is_secret: bool) -> Result<(), FieldError> {
        let mut value = HeaderValue::try_from(value).map_err(|_| FieldError::Value(name.to_string()))?;
        value.set_sensitive(is_secret);
        self.0.insert(name, value);
        Ok(())
    }

    /// Adds the fields of `other`, which replace fields of the same name.
    pub(super) fn with(mut self, other: &Self) -> Self {
        for (name, value) in &other.0 {
            self.0.insert(name, value.clone());
        }
        self
    }

    pub(super) fn into_map(self) -> HeaderMap {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> Result<Headers, FieldError> {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Headers::try_from(fields.collect::<BTreeMap<_, _>>())
    }

    #[test]
    fn a_field_that_would_end_the_head_or_carry_a_secret_or_is_ours_is_refused_without_its_value() {
        assert!(headers(&[("X-Tenant", "blue"), ("Accept", "*/*")]).is_ok());
        for (name, value, error) in [
            ("X-Tenant", "hush\r\nX-Evil: 1", FieldError::Value("x-tenant".to_owned())),
            ("X Tenant", "hush", FieldError::Name),
            ("Content-Length", "7", FieldError::Own("content-length".to_owned())),
            ("Authorization", "Bearer hush", FieldError::Secret("authorization".to_owned())),
        ] {
            let refused = headers(&[(name, value)]).unwrap_err();
            assert!(!refused.to_string().contains("hush"), "{refused}");
            assert_eq!(refused, error);
        }
    }

    #[test]
    fn a_secret_field_is_not_shown() {
        let mut headers = headers(&[("X-Tenant", "blue")]).unwrap();
        headers.set_secret(&FieldName::try_from("X-Key".to_owned()).unwrap(), "hush").unwrap();
        let shown = format!("{headers:?}");
        assert!(shown.contains("blue") && !shown.contains("hush"), "{shown}");
    }

    #[test]
    fn fields_that_are_laid_over_others_replace_them() {
        let over = headers(&[("X-A", "2")]).unwrap();
        assert_eq!(
            headers(&[("X-A", "1"), ("X-B", "1")]).unwrap().with(&over),
            headers(&[("X-A", "2"), ("X-B", "1")]).unwrap()
        );
    }
}

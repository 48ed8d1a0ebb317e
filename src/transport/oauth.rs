//! The client credentials grant of OAuth 2 (RFC 6749, section 4.4): its configuration, and its request to the token
//! endpoint.

use serde::Deserialize;

use crate::secret::{Reference, Secret};
use crate::transport::client::form;
use crate::transport::headers::FieldError;
use crate::transport::{Endpoint, FieldName, Headers};

/// `auth = { type = "oauth2", ... }`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OauthConfig {
    pub token_url: Endpoint,
    pub client_id: String,
    pub client_secret: Reference,
    pub scope: Option<String>,
    pub audience: Option<String>,
    /// Where the client's id and secret are sent: in the form (`body`, the default), or in `Authorization` (`basic`).
    #[serde(default)]
    pub client_auth: ClientAuth,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    #[default]
    Body,
    Basic,
}

/// A request to a token endpoint.
#[derive(Debug)]
pub(super) struct TokenRequest {
    pub(super) endpoint: Endpoint,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) headers: Headers,
    /// The form to post. Without it the request is a GET.
    pub(super) body: Option<String>,
}

impl TokenRequest {
    /// A request that posts a form.
    pub(super) fn form(
        endpoint: &Endpoint,
        mut headers: Headers,
        pairs: &[(&'static str, &str)],
    ) -> Result<Self, FieldError> {
        headers.set(&FieldName::from_static("content-type"), "application/x-www-form-urlencoded")?;
        Ok(Self { endpoint: endpoint.clone(), query: Vec::new(), headers, body: Some(form(pairs)) })
    }
}

impl OauthConfig {
    pub(super) fn request(&self, secret: &Secret) -> Result<TokenRequest, FieldError> {
        let Self { token_url, client_id, scope, audience, client_auth, .. } = self;
        let mut pairs = vec![("grant_type", "client_credentials")];
        pairs.extend(scope.as_deref().map(|scope| ("scope", scope)));
        pairs.extend(audience.as_deref().map(|audience| ("audience", audience)));
        let headers = match client_auth {
            ClientAuth::Body => {
                pairs.extend([("client_id", &**client_id), ("client_secret", secret.reveal())]);
                Headers::default()
            }
            ClientAuth::Basic => Headers::basic(client_id, secret),
        };
        TokenRequest::form(token_url, headers, &pairs)
    }
}

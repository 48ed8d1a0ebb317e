//! Access tokens by OAuth 2 client credentials (RFC 6749, section 4.4), kept until shortly before they expire.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::secret::{Reference, Secret};
use crate::transport::client::form;
use crate::transport::mask::Mask;
use crate::transport::{Client, Endpoint, FieldName, Headers, HttpRequest, ServiceError};

/// The longest answer of a token endpoint that is read.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How long a token is used whose endpoint does not say (RFC 6749, section 5.1).
const LIFETIME: Duration = Duration::from_secs(300);
/// No token is used longer.
const LIFETIME_MAX: Duration = Duration::from_secs(86_400);
/// So long before it expires a token is fetched anew; at most half of its life.
const MARGIN: Duration = Duration::from_secs(60);

/// `auth = { type = "oauth2", ... }`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OauthConfig {
    pub token_url: Endpoint,
    pub client_id: String,
    pub client_secret: Reference,
    pub scope: Option<String>,
    pub audience: Option<String>,
    /// Where the client's id and secret stand: in the form (`body`, the default), or in `Authorization` (`basic`).
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

/// An access token, and until when it is used.
#[derive(Clone)]
struct Token {
    value: Secret,
    until_ms: i64,
}

/// Fetches tokens; all lanes of a sink share one.
pub(super) struct TokenSource {
    config: OauthConfig,
    secret: Secret,
    kept: Mutex<Option<Token>>,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    /// A number of seconds; some write it as a text.
    expires_in: Option<Value>,
}

impl TokenSource {
    pub(super) fn new(config: OauthConfig, secret: Secret) -> Self {
        Self { config, secret, kept: Mutex::new(None) }
    }

    /// A token to send now: the one that is kept, or a new one. Whoever asks meanwhile waits for the same.
    ///
    /// # Errors
    /// When there is none to be had.
    pub(super) async fn token(&self, client: &Client, now_ms: i64) -> Result<Secret, ServiceError> {
        let mut kept = self.kept.lock().await;
        if let Some(token) = kept.as_ref().filter(|token| now_ms < token.until_ms) {
            return Ok(token.value.clone());
        }
        *kept = None;
        let token = self.fetch(client, now_ms).await?;
        Ok(kept.insert(token).value.clone())
    }

    /// Forgets the token that is kept, since the receiver does not take it. Tells whether there was one.
    pub(super) async fn forget(&self) -> bool {
        self.kept.lock().await.take().is_some()
    }

    async fn fetch(&self, client: &Client, now_ms: i64) -> Result<Token, ServiceError> {
        let OauthConfig { token_url, client_id, scope, audience, client_auth, .. } = &self.config;
        let mut pairs = vec![("grant_type", "client_credentials")];
        pairs.extend(scope.as_deref().map(|scope| ("scope", scope)));
        pairs.extend(audience.as_deref().map(|audience| ("audience", audience)));
        let mut headers = match client_auth {
            ClientAuth::Body => Headers::default(),
            ClientAuth::Basic => Headers::basic(client_id, &self.secret),
        };
        headers.set(&FieldName::from_static("content-type"), "application/x-www-form-urlencoded")?;
        if *client_auth == ClientAuth::Body {
            pairs.extend([("client_id", &**client_id), ("client_secret", self.secret.reveal())]);
        }
        let request = HttpRequest {
            endpoint: token_url,
            path: "",
            query: &[],
            headers,
            body: Some(form(&pairs).into()),
            reply_bytes_max: ANSWER_BYTES_MAX,
        };
        let reply = client.send(request).await?;
        let status = reply.status;
        let said = |body: &[u8]| Mask::new([self.secret.reveal()]).words(body);
        if status != 200 {
            let what = format!("the token endpoint answers with status {status}: {}", said(&reply.body));
            return Err(match status {
                408 | 429 | 500.. => ServiceError::Unavailable(what),
                _ => ServiceError::Misconfigured(what),
            });
        }
        let body = reply.whole()?;
        read(&body, now_ms)
            .ok_or_else(|| ServiceError::Unavailable("the token endpoint's answer holds no access token".to_owned()))
    }
}

/// The token of an answer.
fn read(body: &[u8], now_ms: i64) -> Option<Token> {
    let Answer { access_token, expires_in } = serde_json::from_slice(body).ok()?;
    let secs = expires_in.and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
    let lifetime = secs.map_or(LIFETIME, Duration::from_secs).min(LIFETIME_MAX);
    let used = lifetime - MARGIN.min(lifetime / 2);
    let until_ms = now_ms.saturating_add(i64::try_from(used.as_millis()).unwrap_or(i64::MAX));
    Some(Token { value: Secret::new(&access_token)?, until_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_used_until_shortly_before_it_expires() {
        for (answer, secs) in [
            (r#"{"access_token":"t","token_type":"Bearer","expires_in":3599}"#, 3539),
            (r#"{"access_token":"t","expires_in":"3600"}"#, 3540),
            (r#"{"access_token":"t","expires_in":10}"#, 5),
            (r#"{"access_token":"t","expires_in":99999999999}"#, 86_340),
            (r#"{"access_token":"t"}"#, 240),
        ] {
            let token = read(answer.as_bytes(), 1_000).unwrap();
            assert_eq!((token.value.reveal(), token.until_ms), ("t", 1_000 + secs * 1_000), "{answer}");
        }
    }

    #[test]
    fn an_answer_without_a_token_gives_none() {
        for answer in ["", "[]", "{}", r#"{"access_token":""}"#, r#"{"access_token":7}"#, r#"{"error":"x"}"#] {
            assert!(read(answer.as_bytes(), 0).is_none(), "{answer}");
        }
    }
}

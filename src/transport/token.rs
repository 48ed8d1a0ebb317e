//! Access tokens, kept until shortly before they expire.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::secret::Secret;
use crate::transport::entra::Entra;
use crate::transport::managed::ManagedIdentity;
use crate::transport::mask::Mask;
use crate::transport::oauth::{OauthConfig, TokenRequest};
use crate::transport::{Client, HttpRequest, ServiceError, ServiceOpenError};

/// The longest answer of a token endpoint that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How long a token is used if its endpoint does not say how long it is valid (RFC 6749, section 5.1).
const LIFETIME: Duration = Duration::from_secs(300);
/// The longest time that a token is used.
const LIFETIME_MAX: Duration = Duration::from_secs(86_400);
/// A token is replaced this long before it expires, or after half of its life if that is later.
const MARGIN: Duration = Duration::from_secs(60);

/// What tokens are asked for with.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Grant {
    Oauth(OauthConfig, Secret),
    Entra(Entra),
    ManagedIdentity(ManagedIdentity),
}

impl Grant {
    /// The secret, which must not appear in messages.
    pub(super) fn secret(&self) -> Option<&Secret> {
        match self {
            Self::Oauth(_, secret) => Some(secret),
            Self::Entra(entra) => Some(entra.secret()),
            Self::ManagedIdentity(identity) => identity.secret(),
        }
    }

    fn request(&self, now_ms: i64) -> Result<TokenRequest, ServiceError> {
        match self {
            Self::Oauth(config, secret) => Ok(config.request(secret)?),
            Self::Entra(entra) => entra.request(now_ms),
            Self::ManagedIdentity(identity) => identity.request(),
        }
    }

    /// Whether a status may be temporary. The metadata service answers 404 and 410 while it is being updated.
    fn passes(&self, status: u16) -> bool {
        matches!(status, 408 | 429 | 500..) || matches!(self, Self::ManagedIdentity(_)) && matches!(status, 404 | 410)
    }
}

/// An access token, and until when it is used.
#[derive(Clone)]
struct Token {
    value: Secret,
    until_ms: i64,
}

/// Fetches and keeps the access token that all lanes of a sink share.
pub(super) struct TokenSource {
    grant: Grant,
    /// Used instead of the service's own client, if present.
    client: Option<Client>,
    kept: Mutex<Option<Token>>,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    /// In seconds. Some endpoints write the number as a text.
    expires_in: Option<Value>,
    /// In seconds since the epoch. Used only if `expires_in` is missing.
    expires_on: Option<Value>,
}

impl TokenSource {
    pub(super) fn new(grant: Grant) -> Result<Self, ServiceOpenError> {
        let client = match &grant {
            Grant::ManagedIdentity(_) => Some(ManagedIdentity::client()?),
            Grant::Oauth(..) | Grant::Entra(_) => None,
        };
        Ok(Self { grant, client, kept: Mutex::new(None) })
    }

    /// A token to send now: the kept one, or a new one. Concurrent calls wait for the same new token.
    ///
    /// # Errors
    /// No token can be fetched.
    pub(super) async fn token(&self, client: &Client, now_ms: i64) -> Result<Secret, ServiceError> {
        let mut kept = self.kept.lock().await;
        if let Some(token) = kept.as_ref().filter(|token| now_ms < token.until_ms) {
            return Ok(token.value.clone());
        }
        *kept = None;
        let token = self.fetch(client, now_ms).await?;
        Ok(kept.insert(token).value.clone())
    }

    /// Forgets the kept token, since the receiver refused it. Returns whether there was one.
    pub(super) async fn forget(&self) -> bool {
        self.kept.lock().await.take().is_some()
    }

    async fn fetch(&self, client: &Client, now_ms: i64) -> Result<Token, ServiceError> {
        let TokenRequest { endpoint, query, headers, body } = self.grant.request(now_ms)?;
        let query: Vec<(&str, &str)> = query.iter().map(|(name, value)| (*name, &**value)).collect();
        let request = HttpRequest {
            endpoint: &endpoint,
            path: "",
            query: &query,
            headers,
            body: body.map(Into::into),
            reply_bytes_max: ANSWER_BYTES_MAX,
        };
        let reply = self.client.as_ref().unwrap_or(client).send(request).await?;
        let status = reply.status;
        if status != 200 {
            let said = Mask::new(self.grant.secret().map(Secret::reveal)).words(&reply.body);
            let what = format!("the token endpoint answers with status {status}: {said}");
            return Err(match self.grant.passes(status) {
                true => ServiceError::Unavailable(what),
                false => ServiceError::Misconfigured(what),
            });
        }
        let body = reply.whole()?;
        read(&body, now_ms)
            .ok_or_else(|| ServiceError::Unavailable("the token endpoint's answer holds no access token".to_owned()))
    }
}

/// Reads a token endpoint's answer. `None` if there is no token in it.
fn read(body: &[u8], now_ms: i64) -> Option<Token> {
    let Answer { access_token, expires_in, expires_on } = serde_json::from_slice(body).ok()?;
    let number = |value: Option<Value>| value.and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
    let now_secs = u64::try_from(now_ms.div_euclid(1000)).unwrap_or(0);
    let secs = number(expires_in).or_else(|| number(expires_on).map(|at| at.saturating_sub(now_secs)));
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
            (r#"{"access_token":"t","expires_on":"3601"}"#, 3540),
            (r#"{"access_token":"t","expires_in":"3600","expires_on":"9"}"#, 3540),
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

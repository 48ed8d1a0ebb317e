//! How a receiver knows who sends: by a token, a password, a header field, a signature, or a token that is fetched.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::Sha256;

use crate::secret::{Reference, Secret};
use crate::transport::headers::FieldName;
use crate::transport::token::TokenSource;
use crate::transport::{Headers, OauthConfig, ServiceOpenError};

/// `auth`: how the receiver knows us. The table's key `type` names which.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    Bearer(BearerAuth),
    Basic(BasicAuth),
    Header(HeaderAuth),
    Hmac(HmacAuth),
    Oauth2(OauthConfig),
}

/// `Authorization: Bearer <token>`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BearerAuth {
    pub token: Reference,
    /// The word before the token. Default: `Bearer`.
    #[serde(default = "bearer")]
    pub scheme: String,
}

fn bearer() -> String {
    "Bearer".to_owned()
}

/// `Authorization: Basic <user:password>`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicAuth {
    pub user: String,
    pub password: Reference,
}

/// A header field that is a secret.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderAuth {
    pub name: FieldName,
    pub value: Reference,
}

/// A signature of the body: `t=<seconds>,v1=<hex of HMAC-SHA256(t.body)>`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HmacAuth {
    pub key: Reference,
    /// The field that the signature stands in. Default: `X-Signature`.
    #[serde(default = "signature")]
    pub name: FieldName,
}

fn signature() -> FieldName {
    FieldName::from_static("x-signature")
}

const AUTHORIZATION: &str = "authorization";

impl Auth {
    /// Where the secret is.
    pub(super) fn reference(&self) -> &Reference {
        match self {
            Self::Bearer(bearer) => &bearer.token,
            Self::Basic(basic) => &basic.password,
            Self::Header(header) => &header.value,
            Self::Hmac(hmac) => &hmac.key,
            Self::Oauth2(oauth) => &oauth.client_secret,
        }
    }
}

/// Credentials that are ready to be sent.
pub(super) enum Credentials {
    Fixed(Headers),
    Signature { name: FieldName, key: Secret },
    Token(TokenSource),
}

impl Credentials {
    /// # Errors
    /// When the secret cannot stand in a header field.
    pub(super) fn new(auth: Option<(&Auth, &Secret)>) -> Result<Self, ServiceOpenError> {
        let mut headers = Headers::default();
        let Some((auth, secret)) = auth else { return Ok(Self::Fixed(headers)) };
        let authorization = FieldName::from_static(AUTHORIZATION);
        let set = match auth {
            Auth::Bearer(BearerAuth { scheme, .. }) => {
                headers.set_secret(&authorization, &format!("{scheme} {}", secret.reveal()))
            }
            Auth::Basic(BasicAuth { user, .. }) => return Ok(Self::Fixed(Headers::basic(user, secret))),
            Auth::Header(HeaderAuth { name, .. }) => headers.set_secret(name, secret.reveal()),
            Auth::Hmac(HmacAuth { name, .. }) => {
                return Ok(Self::Signature { name: name.clone(), key: secret.clone() });
            }
            Auth::Oauth2(oauth) => return Ok(Self::Token(TokenSource::new(oauth.clone(), secret.clone()))),
        };
        set.map_err(|source| ServiceOpenError::Field { reference: auth.reference().clone(), source })?;
        Ok(Self::Fixed(headers))
    }
}

/// A signature of the body at a time in seconds since the epoch.
pub(super) fn sign(key: &Secret, now_secs: i64, body: &[u8]) -> String {
    let mut mac = <Hmac<Sha256>>::new_from_slice(key.reveal().as_bytes()).expect("HMAC takes keys of any length");
    mac.update(format!("{now_secs}.").as_bytes());
    mac.update(body);
    let digest = mac.finalize().into_bytes();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={now_secs},v1={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text).unwrap()
    }

    fn fixed(auth: &Auth, text: &str) -> Result<Headers, String> {
        match Credentials::new(Some((auth, &secret(text)))) {
            Ok(Credentials::Fixed(headers)) => Ok(headers),
            Ok(_) => panic!("not fixed"),
            Err(error) => Err(error.to_string()),
        }
    }

    fn env(name: &str) -> Reference {
        Reference::Variable(name.to_owned())
    }

    #[test]
    fn each_kind_of_credential_stands_where_the_receiver_looks_for_it() {
        let bearer = Auth::Bearer(BearerAuth { token: env("T"), scheme: "Splunk".to_owned() });
        let basic = Auth::Basic(BasicAuth { user: "Aladdin".to_owned(), password: env("P") });
        let name = FieldName::from_static("dd-api-key");
        let header = Auth::Header(HeaderAuth { name: name.clone(), value: env("K") });
        let authorization = |value: &str| {
            let mut headers = Headers::default();
            headers.set(&FieldName::from_static(AUTHORIZATION), value).unwrap();
            headers
        };
        assert_eq!(fixed(&bearer, "hush").unwrap(), authorization("Splunk hush"));
        // The example of RFC 7617.
        assert_eq!(fixed(&basic, "open sesame").unwrap(), authorization("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
        let mut expected = Headers::default();
        expected.set(&name, "hush").unwrap();
        assert_eq!(fixed(&header, "hush").unwrap(), expected);
        assert!(!format!("{:?}", fixed(&header, "hush").unwrap()).contains("hush"));
    }

    #[test]
    fn a_secret_that_cannot_stand_in_a_header_field_is_told_by_its_reference() {
        let bearer = Auth::Bearer(BearerAuth { token: env("TOKEN"), scheme: bearer() });
        let error = fixed(&bearer, "hush\nhush").unwrap_err();
        assert_eq!(
            error,
            "env:TOKEN: the header field `authorization` holds what no header field may, such as a line end"
        );
    }

    #[test]
    fn a_signature_is_the_hmac_of_time_and_body() {
        // printf '1700000000.{"a":1}\n' | openssl dgst -sha256 -hmac key
        let expected = "t=1700000000,v1=0824db0a743efa8397a2347eb6ed290fa5dcbcaff7290d44369d5e903acea96e";
        assert_eq!(sign(&secret("key"), 1_700_000_000, b"{\"a\":1}\n"), expected);
    }
}

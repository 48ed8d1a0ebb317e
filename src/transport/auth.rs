//! How requests are authenticated: by a token, a password, a header field, a signature, or a token that is fetched.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::Sha256;

use crate::secret::{Reference, Secret};
use crate::transport::headers::{FieldName, basic};
use crate::transport::token::{Grant, TokenSource};
use crate::transport::{EntraConfig, Headers, ManagedIdentityConfig, OauthConfig, ServiceOpenError};

/// `auth`: how requests are authenticated. The table's key `type` names the method.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    Bearer(BearerAuth),
    Basic(BasicAuth),
    Header(HeaderAuth),
    Hmac(HmacAuth),
    Oauth2(OauthConfig),
    Entra(EntraConfig),
    ManagedIdentity(ManagedIdentityConfig),
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

/// A header field whose value is a secret.
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
    /// The header field for the signature. Default: `X-Signature`.
    #[serde(default = "signature")]
    pub name: FieldName,
}

fn signature() -> FieldName {
    FieldName::from_static("x-signature")
}

const AUTHORIZATION: &str = "authorization";

impl Auth {
    /// What is wrong with this configuration, as far as that can be found without reading files.
    pub(super) fn problem(&self) -> Option<&'static str> {
        match self {
            Self::Entra(entra) => entra.problem(),
            _ => None,
        }
    }

    /// Reads the secrets from where the configuration refers to.
    pub(super) fn read(&self) -> Result<AuthMaterial, ServiceOpenError> {
        let field = |name: &FieldName, before: String, reference: &Reference| {
            let (name, reference, secret) = (name.clone(), reference.clone(), reference.read()?);
            Ok(AuthMaterial::Field { name, before, secret, reference })
        };
        match self {
            Self::Bearer(BearerAuth { token, scheme }) => {
                field(&FieldName::from_static(AUTHORIZATION), format!("{scheme} "), token)
            }
            Self::Header(HeaderAuth { name, value }) => field(name, String::new(), value),
            Self::Basic(BasicAuth { user, password }) => {
                Ok(AuthMaterial::Password { user: user.clone(), password: password.read()? })
            }
            Self::Hmac(HmacAuth { key, name }) => Ok(AuthMaterial::Signature { name: name.clone(), key: key.read()? }),
            Self::Oauth2(oauth) => Ok(AuthMaterial::Grant(Grant::Oauth(oauth.clone(), oauth.client_secret.read()?))),
            Self::Entra(entra) => Ok(AuthMaterial::Grant(Grant::Entra(entra.read()?))),
            Self::ManagedIdentity(identity) => Ok(AuthMaterial::Grant(Grant::ManagedIdentity(identity.read()?))),
        }
    }
}

/// The secrets that `auth` refers to, as they were read.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum AuthMaterial {
    Field { name: FieldName, before: String, secret: Secret, reference: Reference },
    Password { user: String, password: Secret },
    Signature { name: FieldName, key: Secret },
    Grant(Grant),
}

impl AuthMaterial {
    /// The texts that must not appear in messages.
    pub(super) fn secrets(&self) -> Vec<String> {
        let own = |secret: &Secret| secret.reveal().to_owned();
        match self {
            Self::Field { secret, .. } | Self::Signature { key: secret, .. } => vec![own(secret)],
            Self::Password { user, password } => vec![own(password), basic(user, password)],
            Self::Grant(grant) => grant.secret().map(own).into_iter().collect(),
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
    /// The secret has characters that a header field may not have.
    pub(super) fn new(material: Option<&AuthMaterial>) -> Result<Self, ServiceOpenError> {
        let mut headers = Headers::default();
        match material {
            None => {}
            Some(AuthMaterial::Field { name, before, secret, reference }) => headers
                .set_secret(name, &format!("{before}{}", secret.reveal()))
                .map_err(|source| ServiceOpenError::Field { reference: reference.clone(), source })?,
            Some(AuthMaterial::Password { user, password }) => headers = Headers::basic(user, password),
            Some(AuthMaterial::Signature { name, key }) => {
                return Ok(Self::Signature { name: name.clone(), key: key.clone() });
            }
            Some(AuthMaterial::Grant(grant)) => return Ok(Self::Token(TokenSource::new(grant.clone())?)),
        }
        Ok(Self::Fixed(headers))
    }
}

/// Signs the body and the time (seconds since the epoch).
pub(super) fn sign(key: &Secret, now_secs: i64, body: &[u8]) -> String {
    let mut mac = <Hmac<Sha256>>::new_from_slice(key.reveal().as_bytes()).expect("HMAC takes keys of any length");
    mac.update(format!("{now_secs}.").as_bytes());
    mac.update(body);
    format!("t={now_secs},v1={}", hex::encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text).unwrap()
    }

    fn fixed(auth: &Auth) -> Result<Headers, String> {
        match Credentials::new(Some(&auth.read().unwrap())) {
            Ok(Credentials::Fixed(headers)) => Ok(headers),
            Ok(_) => panic!("not fixed"),
            Err(error) => Err(error.to_string()),
        }
    }

    /// A file that holds a secret. It exists until the directory is dropped.
    fn file(text: &str) -> (tempfile::TempDir, Reference) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        std::fs::write(&path, text).unwrap();
        (directory, Reference::File(path))
    }

    #[test]
    fn each_kind_of_credential_stands_where_the_receiver_looks_for_it() {
        let ((_hush, hush), (_sesame, sesame)) = (file("hush"), file("open sesame"));
        let bearer = Auth::Bearer(BearerAuth { token: hush.clone(), scheme: "Splunk".to_owned() });
        let basic = Auth::Basic(BasicAuth { user: "Aladdin".to_owned(), password: sesame });
        let name = FieldName::from_static("dd-api-key");
        let header = Auth::Header(HeaderAuth { name: name.clone(), value: hush });
        let authorization = |value: &str| {
            let mut headers = Headers::default();
            headers.set(&FieldName::from_static(AUTHORIZATION), value).unwrap();
            headers
        };
        assert_eq!(fixed(&bearer).unwrap(), authorization("Splunk hush"));
        // The example in RFC 7617.
        assert_eq!(fixed(&basic).unwrap(), authorization("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
        let mut expected = Headers::default();
        expected.set(&name, "hush").unwrap();
        assert_eq!(fixed(&header).unwrap(), expected);
        assert!(!format!("{:?}", fixed(&header).unwrap()).contains("hush"));
    }

    #[test]
    fn a_secret_that_cannot_stand_in_a_header_field_is_told_by_its_reference() {
        let (_directory, token) = file("hush\nhush");
        let error = fixed(&Auth::Bearer(BearerAuth { token: token.clone(), scheme: bearer() })).unwrap_err();
        let expected = "the header field `authorization` holds what no header field may, such as a line end";
        assert_eq!(error, format!("{token}: {expected}"));
    }

    #[test]
    fn a_signature_is_the_hmac_of_time_and_body() {
        // printf '1700000000.{"a":1}\n' | openssl dgst -sha256 -hmac key
        let expected = "t=1700000000,v1=0824db0a743efa8397a2347eb6ed290fa5dcbcaff7290d44369d5e903acea96e";
        assert_eq!(sign(&secret("key"), 1_700_000_000, b"{\"a\":1}\n"), expected);
    }
}

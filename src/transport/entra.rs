//! How an application authenticates to Microsoft Entra: with a secret, a certificate, or a token from another issuer.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::Signer;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::secret::{Reference, Secret};
use crate::transport::oauth::TokenRequest;
use crate::transport::tls::{KeyPlace, certificates, chain};
use crate::transport::{Endpoint, Headers, ServiceError, ServiceOpenError};

/// How long an assertion is valid. "Microsoft identity platform application authentication certificate credentials"
/// allows at most 10 minutes.
const ASSERTION_SECS: i64 = 600;
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// `auth = { type = "entra", ... }`: an application of a tenant, with exactly one of a secret, a certificate and an
/// assertion.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntraConfig {
    /// The id of the tenant, or one of its domains.
    pub tenant: String,
    /// The client id of the application.
    pub client_id: String,
    pub client_secret: Option<Reference>,
    /// A file with the application's certificate (PEM).
    pub certificate: Option<PathBuf>,
    /// Refers to the certificate's key (PEM), which must be RSA.
    pub key: Option<KeyPlace>,
    /// Refers to a token of an issuer that the application trusts (workload identity federation).
    pub assertion: Option<Reference>,
    /// The scope of the access tokens. Default: Azure Monitor.
    #[serde(default = "scope")]
    pub scope: String,
    /// The authority that issues the access tokens. Default: the public cloud.
    #[serde(default = "authority")]
    pub authority: Endpoint,
}

fn scope() -> String {
    "https://monitor.azure.com/.default".to_owned()
}

fn authority() -> Endpoint {
    Endpoint::try_from("https://login.microsoftonline.com".to_owned()).expect("it is a URL over TLS")
}

impl EntraConfig {
    /// What is wrong with this configuration, as far as that can be found without reading files.
    pub fn problem(&self) -> Option<&'static str> {
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.');
        if self.tenant.is_empty() || !self.tenant.chars().all(is_name) {
            return Some("`tenant`: expected a tenant's id or domain, such as \"contoso.onmicrosoft.com\"");
        }
        match (&self.client_secret, &self.certificate, &self.key, &self.assertion) {
            (Some(_), None, None, None) | (None, None, None, Some(_)) => None,
            (None, Some(path), Some(_), None) if path.is_absolute() => None,
            (None, Some(_), Some(_), None) => Some("`certificate`: expected an absolute path"),
            (None, Some(_), None, None) => Some("`key`: expected the key of the certificate"),
            _ => Some("expected one of `client_secret`, `certificate` with `key`, and `assertion`"),
        }
    }

    /// Reads the secrets that the application authenticates with.
    pub(super) fn read(&self) -> Result<Entra, ServiceOpenError> {
        let path = format!("/{}/oauth2/v2.0/token", self.tenant);
        let shows = match (&self.client_secret, &self.certificate, &self.key, &self.assertion) {
            (Some(secret), ..) => Shows::Secret(secret.read()?),
            (_, Some(path), Some(key), _) => {
                let certificate = chain(&certificates(path)?, Some(path))?.swap_remove(0);
                let thumbprint = URL_SAFE_NO_PAD.encode(Sha256::digest(&certificate));
                let pem = key.read()?;
                if signer(&pem).is_none() {
                    return Err(ServiceOpenError::NoRsaKey(key.reference().clone()));
                }
                Shows::Certificate { thumbprint, key: pem }
            }
            (.., Some(assertion)) => Shows::Assertion(assertion.read()?),
            _ => return Err(ServiceOpenError::NoCredentials),
        };
        let endpoint = self.authority.below(&path);
        Ok(Entra { endpoint, client_id: self.client_id.clone(), scope: self.scope.clone(), shows })
    }
}

/// An application that asks for tokens.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Entra {
    endpoint: Endpoint,
    client_id: String,
    scope: String,
    shows: Shows,
}

/// What the application authenticates with.
#[derive(Clone, PartialEq, Eq)]
enum Shows {
    Secret(Secret),
    Certificate { thumbprint: String, key: Secret },
    Assertion(Secret),
}

impl Entra {
    pub(super) fn secret(&self) -> &Secret {
        match &self.shows {
            Shows::Secret(secret) | Shows::Assertion(secret) | Shows::Certificate { key: secret, .. } => secret,
        }
    }

    pub(super) fn request(&self, now_ms: i64) -> Result<TokenRequest, ServiceError> {
        let mut pairs =
            vec![("grant_type", "client_credentials"), ("scope", &*self.scope), ("client_id", &*self.client_id)];
        let signed;
        match &self.shows {
            Shows::Secret(secret) => pairs.push(("client_secret", secret.reveal())),
            Shows::Assertion(assertion) => {
                pairs.extend([("client_assertion_type", ASSERTION_TYPE), ("client_assertion", assertion.reveal())]);
            }
            Shows::Certificate { thumbprint, key } => {
                signed = self.assertion(thumbprint, key, now_ms)?;
                pairs.extend([("client_assertion_type", ASSERTION_TYPE), ("client_assertion", &*signed)]);
            }
        }
        Ok(TokenRequest::form(&self.endpoint, Headers::default(), &pairs)?)
    }

    /// A JWT, signed by the certificate's key.
    fn assertion(&self, thumbprint: &str, key: &Secret, now_ms: i64) -> Result<String, ServiceError> {
        let unsigned = |what: &dyn std::fmt::Display| {
            ServiceError::Misconfigured(format!("the certificate's key cannot sign: {what}"))
        };
        let now = now_ms.div_euclid(1000);
        let id = hex::encode(Sha256::digest(format!("{thumbprint}{now_ms}")));
        let header = json!({"alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint});
        let claims = json!({
            "aud": self.endpoint.as_str(), "iss": self.client_id, "sub": self.client_id, "jti": id,
            "iat": now, "nbf": now, "exp": now + ASSERTION_SECS,
        });
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signer = signer(key).ok_or_else(|| unsigned(&"it is no RSA key (PEM)"))?;
        let signature = signer.sign(format!("{header}.{claims}").as_bytes()).map_err(|error| unsigned(&error))?;
        Ok(format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// A signer for PS256 (RFC 7518, section 3.5). `None` if the key is not RSA.
fn signer(key: &Secret) -> Option<Box<dyn Signer>> {
    let key = PrivateKeyDer::from_pem_slice(key.reveal().as_bytes()).ok()?;
    any_supported_type(&key).ok()?.choose_scheme(&[SignatureScheme::RSA_PSS_SHA256])
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rustls::crypto::aws_lc_rs::default_provider;
    use serde_json::Value;

    use super::*;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
    }

    fn config() -> EntraConfig {
        EntraConfig {
            tenant: "contoso.onmicrosoft.com".to_owned(),
            client_id: "app".to_owned(),
            client_secret: None,
            certificate: None,
            key: None,
            assertion: None,
            scope: scope(),
            authority: authority(),
        }
    }

    fn key(name: &str) -> Option<KeyPlace> {
        KeyPlace::try_from(fixture(name).display().to_string()).ok()
    }

    /// The value of this name in a form.
    fn value<'a>(form: &'a str, name: &str) -> &'a str {
        form.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).unwrap()
    }

    #[test]
    fn a_certificate_signs_an_assertion_that_its_public_key_verifies() {
        let config = EntraConfig { certificate: Some(fixture("entra.pem")), key: key("entra.key.pem"), ..config() };
        assert_eq!(config.problem(), None);
        let request = config.read().unwrap().request(1_700_000_000_123).unwrap();
        let token_url = "https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/token";
        assert_eq!(request.endpoint.as_str(), token_url);
        let body = request.body.unwrap();
        let jwt: Vec<&str> = value(&body, "client_assertion").split('.').collect();
        let [header, claims, signature] = jwt[..] else { panic!("{body}") };
        let read = |part: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
        // openssl x509 -in entra.pem -outform DER | openssl dgst -sha256 -binary | basenc --base64url
        let thumbprint = include_str!("../../tests/fixtures/tls/entra.thumbprint").trim();
        assert_eq!(read(header), json!({"alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint}));
        let mut claims_read = read(claims);
        assert_eq!(claims_read["jti"].take().as_str().unwrap().len(), 64);
        let (iat, exp) = (1_700_000_000, 1_700_000_600);
        assert_eq!(
            claims_read,
            json!({"aud": token_url, "iss": "app", "sub": "app", "jti": null, "iat": iat, "nbf": iat, "exp": exp})
        );
        let known = default_provider().signature_verification_algorithms;
        let (_, verifiers) =
            known.mapping.iter().find(|(scheme, _)| *scheme == SignatureScheme::RSA_PSS_SHA256).unwrap();
        let public = std::fs::read(fixture("entra.public.der")).unwrap();
        let (message, signature) = (format!("{header}.{claims}"), URL_SAFE_NO_PAD.decode(signature).unwrap());
        verifiers[0].verify_signature(&public, message.as_bytes(), &signature).unwrap();
        assert!(verifiers[0].verify_signature(&public, b"else", &signature).is_err());
    }

    #[test]
    fn a_secret_and_an_assertion_stand_in_the_form() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        std::fs::write(&file, "hush&hush").unwrap();
        let secret = Some(Reference::File(file));
        let body = |config: EntraConfig| config.read().unwrap().request(0).unwrap().body.unwrap();
        assert_eq!(
            body(EntraConfig { client_secret: secret.clone(), ..config() }),
            "grant_type=client_credentials&scope=https%3A%2F%2Fmonitor.azure.com%2F.default&client_id=app&client_secret=hush%26hush"
        );
        let body = body(EntraConfig { assertion: secret, ..config() });
        assert_eq!(value(&body, "client_assertion"), "hush%26hush");
        assert_eq!(
            value(&body, "client_assertion_type"),
            "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
        );
    }

    #[test]
    fn a_key_that_cannot_sign_so_is_told_by_its_place() {
        let config =
            EntraConfig { certificate: Some(fixture("localhost.pem")), key: key("localhost.key.pem"), ..config() };
        let error = config.read().err().unwrap().to_string();
        assert!(error.ends_with("localhost.key.pem: it holds no RSA key (PEM)"), "{error}");
    }

    #[test]
    fn an_application_shows_one_thing_of_itself() {
        let secret = || Reference::try_from("env:SECRET".to_owned()).ok();
        let one = "expected one of `client_secret`, `certificate` with `key`, and `assertion`";
        for (config, problem) in [
            (EntraConfig { client_secret: secret(), ..config() }, None),
            (EntraConfig { assertion: secret(), ..config() }, None),
            (config(), Some(one)),
            (EntraConfig { client_secret: secret(), assertion: secret(), ..config() }, Some(one)),
            (
                EntraConfig { certificate: Some("/c.pem".into()), ..config() },
                Some("`key`: expected the key of the certificate"),
            ),
            (
                EntraConfig { certificate: Some("c.pem".into()), key: key("entra.key.pem"), ..config() },
                Some("`certificate`: expected an absolute path"),
            ),
            (
                EntraConfig { tenant: "a/../b".to_owned(), client_secret: secret(), ..config() },
                Some("`tenant`: expected a tenant's id or domain, such as \"contoso.onmicrosoft.com\""),
            ),
        ] {
            assert_eq!(config.problem(), problem, "{config:?}");
        }
    }
}

//! The TLS configuration of a client: whom it trusts, its own certificate, its versions.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use serde::Deserialize;

use crate::secret::{NoReference, Reference, Secret, SecretError};

/// The largest file of certificates that is read, in bytes.
const CERTIFICATES_BYTES_MAX: u64 = 4 << 20;

/// `tls`: how the receiver is trusted, and the client certificate.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// A file with the certificates of authorities to trust instead of the system's (PEM).
    pub ca: Option<PathBuf>,
    /// A file with the client certificate and its chain up to the root (PEM).
    pub cert: Option<PathBuf>,
    /// Refers to the key of the client certificate (PEM).
    pub key: Option<KeyPlace>,
    /// The oldest TLS version that is allowed. Default: 1.2.
    pub min_version: TlsVersion,
}

/// Where a key is: a reference to a secret, or the path of a file.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct KeyPlace(Reference);

impl TryFrom<String> for KeyPlace {
    type Error = NoReference;

    fn try_from(text: String) -> Result<Self, NoReference> {
        let path = Path::new(&text);
        if path.is_absolute() { Ok(Self(Reference::File(path.into()))) } else { Reference::try_from(text).map(Self) }
    }
}

impl KeyPlace {
    pub(super) fn reference(&self) -> &Reference {
        &self.0
    }

    pub(super) fn read(&self) -> Result<Secret, SecretError> {
        self.0.read()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
pub enum TlsVersion {
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    Tls13,
}

impl TlsConfig {
    /// What is wrong with this configuration, as far as that can be found without reading files: a key of the table,
    /// and why.
    pub fn problem(&self) -> Option<(&'static str, &'static str)> {
        match (&self.cert, &self.key) {
            (Some(_), None) => return Some(("key", "expected the key of the certificate `cert`")),
            (None, Some(_)) => return Some(("cert", "expected the certificate of the key `key`")),
            _ => {}
        }
        let relative = |path: &Option<PathBuf>| path.as_ref().is_some_and(|path| !path.is_absolute());
        let found = [("ca", &self.ca), ("cert", &self.cert)].into_iter().find(|(_, path)| relative(path));
        found.map(|(key, _)| (key, "expected an absolute path"))
    }
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{path}: {source}", path = path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{path}: it holds no certificate (PEM)", path = .0.display())]
    NoCertificate(PathBuf),
    #[error("{0}: it holds no private key (PEM)")]
    NoKey(Reference),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("{0}")]
    Unsupported(String),
}

/// The certificates and the key, as they were read.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct TlsMaterial {
    ca: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Secret)>,
}

impl TlsMaterial {
    pub(super) fn read(config: &TlsConfig) -> Result<Self, TlsError> {
        let ca = config.ca.as_deref().map(certificates).transpose()?;
        let identity = match (&config.cert, &config.key) {
            (Some(cert), Some(key)) => Some((certificates(cert)?, key.read()?)),
            _ => None,
        };
        Ok(Self { ca, identity })
    }

    /// # Errors
    /// A file holds no certificate or no key, or TLS does not support them.
    pub(super) fn client(&self, config: &TlsConfig) -> Result<ClientConfig, TlsError> {
        let unsupported = |error: rustls::Error| TlsError::Unsupported(error.to_string());
        let versions: &[&SupportedProtocolVersion] = match config.min_version {
            TlsVersion::Tls12 => &[&TLS13, &TLS12],
            TlsVersion::Tls13 => &[&TLS13],
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .map_err(unsupported)?
            .with_root_certificates(self.roots(config)?);
        let mut tls = match (&self.identity, &config.key) {
            (Some((cert, key)), Some(KeyPlace(reference))) => {
                let chain = chain(cert, config.cert.as_deref())?;
                let key = PrivateKeyDer::from_pem_slice(key.reveal().as_bytes());
                let key = key.map_err(|_| TlsError::NoKey(reference.clone()))?;
                builder.with_client_auth_cert(chain, key).map_err(unsupported)?
            }
            _ => builder.with_no_client_auth(),
        };
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(tls)
    }

    /// The configured root certificates, else the system's current ones (or those that `SSL_CERT_FILE` or
    /// `SSL_CERT_DIR` names).
    fn roots(&self, config: &TlsConfig) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        let Some(ca) = &self.ca else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return Ok(roots);
        };
        roots.add_parsable_certificates(chain(ca, config.ca.as_deref())?);
        if roots.is_empty() {
            return Err(TlsError::NoCertificate(config.ca.clone().unwrap_or_default()));
        }
        Ok(roots)
    }
}

pub(super) fn certificates(path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |source| TlsError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(CERTIFICATES_BYTES_MAX).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

pub(super) fn chain(pem: &[u8], path: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    chain.ok_or_else(|| TlsError::NoCertificate(path.unwrap_or(Path::new("")).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
    }

    fn client(config: &TlsConfig) -> Result<ClientConfig, TlsError> {
        TlsMaterial::read(config)?.client(config)
    }

    #[test]
    fn a_client_shows_the_certificate_that_is_configured() {
        let key = KeyPlace::try_from(fixture("localhost.key.pem").display().to_string()).unwrap();
        let config = TlsConfig {
            ca: Some(fixture("root.pem")),
            cert: Some(fixture("localhost.pem")),
            key: Some(key),
            min_version: TlsVersion::Tls13,
        };
        assert!(client(&config).unwrap().client_auth_cert_resolver.has_certs());
        assert!(!client(&TlsConfig::default()).unwrap().client_auth_cert_resolver.has_certs());
    }

    #[test]
    fn what_is_no_certificate_or_no_key_is_told_by_its_place() {
        let (ca, cert) = (Some(fixture("localhost.key.pem")), Some(fixture("localhost.pem")));
        let config = TlsConfig { ca, ..TlsConfig::default() };
        assert!(client(&config).unwrap_err().to_string().ends_with("localhost.key.pem: it holds no certificate (PEM)"));
        let key = KeyPlace::try_from(fixture("root.pem").display().to_string()).ok();
        let config = TlsConfig { cert, key, ..TlsConfig::default() };
        assert!(client(&config).unwrap_err().to_string().ends_with("root.pem: it holds no private key (PEM)"));
        let config = TlsConfig { ca: Some("/not/there.pem".into()), ..TlsConfig::default() };
        assert!(client(&config).unwrap_err().to_string().starts_with("/not/there.pem: No such file"));
    }

    #[test]
    fn a_certificate_and_its_key_come_together_and_a_path_is_absolute() {
        let key = KeyPlace::try_from("env:KEY".to_owned()).ok();
        let of = |ca: Option<&str>, cert: Option<&str>, key: &Option<KeyPlace>| {
            let config = TlsConfig {
                ca: ca.map(Into::into),
                cert: cert.map(Into::into),
                key: key.clone(),
                min_version: TlsVersion::Tls12,
            };
            config.problem().map(|(at, _)| at)
        };
        assert_eq!(of(Some("/ca.pem"), Some("/cert.pem"), &key), None);
        assert_eq!(of(None, Some("/cert.pem"), &None), Some("key"));
        assert_eq!(of(None, None, &key), Some("cert"));
        assert_eq!(of(Some("ca.pem"), None, &None), Some("ca"));
    }
}

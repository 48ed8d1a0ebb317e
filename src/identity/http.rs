//! The HTTP client for AWS and for sources of credentials. It uses TLS beyond this machine, and the environment's
//! trusted certificates and proxy.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::identity::endpoint::{check_request, is_below_localhost};

/// The longest file of certificates that is read, in bytes.
const CERTIFICATES_BYTES_MAX: u64 = 4 << 20;
/// The variable with a file of trusted root certificates, as for AWS's command line and SDKs.
const CA_BUNDLE: &str = "AWS_CA_BUNDLE";
/// The variables with the proxy for requests over TLS; the first that is set counts, as in curl. `HTTP_PROXY` is not
/// used, because requests without TLS stay on this machine or its link.
const PROXIES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
const NO_PROXIES: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// Why the environment's settings for calls to AWS are unusable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("{CA_BUNDLE}: {path}: {source}", path = path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{CA_BUNDLE}: {path}: it holds no certificate (PEM)", path = .0.display())]
    NoCertificate(PathBuf),
    /// The message leaves out the proxy's URL, which may contain a password.
    #[error("{0}: expected the URL of an HTTP proxy such as http://proxy.example:3128")]
    Proxy(&'static str),
}

/// The configuration of the HTTP clients.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    tls: TlsContext,
    proxy: ProxyConfig,
}

impl Http {
    /// Reads the environment.
    ///
    /// # Errors
    /// If the environment names unusable certificates, or an unusable proxy.
    pub(crate) fn from_environment() -> Result<Self, HttpError> {
        Self::new(|variable| std::env::var(variable).ok().filter(|value| !value.is_empty()))
    }

    fn new(variable: impl Fn(&str) -> Option<String>) -> Result<Self, HttpError> {
        let first = |names: &[&'static str]| names.iter().find_map(|name| variable(name).map(|value| (*name, value)));
        let trusted = variable(CA_BUNDLE).map_or_else(|| Ok(TrustStore::default()), |path| trusted(path.into()))?;
        let tls = TlsContext::builder().with_trust_store(trusted).build().unwrap_or_default();
        let proxy = match first(&PROXIES) {
            Some((name, url)) => {
                let url = if url.contains("://") { url } else { format!("http://{url}") };
                let rules = first(&NO_PROXIES).map_or_else(String::new, |(_, rules)| rules);
                ProxyConfig::https(url).map_err(|_| HttpError::Proxy(name))?.no_proxy(rules)
            }
            None => ProxyConfig::disabled(),
        };
        Ok(Self { tls, proxy })
    }

    /// A client with its own connections. It reaches other machines without TLS only if `allow_plain_http` is set.
    pub(crate) fn client(&self, allow_plain_http: bool) -> SharedHttpClient {
        let (http, kept) = (self.clone(), Mutex::<HashMap<Timeouts, SharedHttpConnector>>::default());
        http_client_fn(move |settings, _| {
            let timeouts = (settings.connect_timeout(), settings.read_timeout());
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.entry(timeouts).or_insert_with(|| http.connector(settings, allow_plain_http)).clone()
        })
    }

    fn connector(&self, settings: &HttpConnectorSettings, allow_plain_http: bool) -> SharedHttpConnector {
        let connector = Connector::builder()
            .connector_settings(settings.clone())
            .proxy_config(self.proxy.clone())
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(self.tls.clone())
            .build_with_resolver(Resolver);
        SharedHttpConnector::new(Guarded { connector, allow_plain_http })
    }
}

/// The timeouts to connect, and for an answer.
type Timeouts = (Option<Duration>, Option<Duration>);

/// Trusts only the certificates of a file.
fn trusted(path: PathBuf) -> Result<TrustStore, HttpError> {
    let mut pem = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(CERTIFICATES_BYTES_MAX).read_to_end(&mut pem));
    if let Err(source) = read {
        return Err(HttpError::Unreadable { path, source });
    }
    let usable =
        |certificate: &CertificateDer<'_>| RootCertStore::empty().add(certificate.clone().into_owned()).is_ok();
    // The SDK panics on certificates that it cannot use.
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem).flatten().filter(usable).collect();
    if certificates.is_empty() {
        return Err(HttpError::NoCertificate(path));
    }
    Ok(certificates.iter().fold(TrustStore::empty(), |trusted, certificate| {
        let encoded = BASE64_STANDARD.encode(certificate);
        trusted.with_pem_certificate(format!("-----BEGIN CERTIFICATE-----\n{encoded}\n-----END CERTIFICATE-----\n"))
    }))
}

/// Refuses requests that would go to another machine without TLS. It checks every request, because the SDK requests
/// credentials by itself, and takes endpoints from the environment and from profiles.
#[derive(Debug)]
struct Guarded {
    connector: Connector,
    allow_plain_http: bool,
}

impl HttpConnector for Guarded {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        match check_request(request.uri(), self.allow_plain_http) {
            Ok(()) => self.connector.call(request),
            Err(error) => HttpConnectorFuture::ready(Err(ConnectorError::user(error.into()))),
        }
    }
}

/// Resolves names with the system's resolver, except `localhost` and names below it: they mean this machine (RFC 6761,
/// 6.3), but not every system knows that.
#[derive(Clone, Debug)]
struct Resolver;

impl ResolveDns for Resolver {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move {
            if name == "localhost" || is_below_localhost(name) {
                return Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
            }
            let found = tokio::net::lookup_host((name, 0)).await.map_err(ResolveDnsError::new)?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> String {
        format!("{}/tests/fixtures/tls/{name}", env!("CARGO_MANIFEST_DIR"))
    }

    fn told(variables: &[(&str, &str)]) -> Option<String> {
        let value = |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
        Http::new(value).err().map(|error| error.to_string())
    }

    #[test]
    fn what_is_no_bundle_and_no_proxy_is_told_by_its_variable_and_no_password_is() {
        let key = fixture("localhost.key.pem");
        for (variable, value, expected) in [
            ("AWS_CA_BUNDLE", &*fixture("root.pem"), None),
            (
                "AWS_CA_BUNDLE",
                "/not/there.pem",
                Some("AWS_CA_BUNDLE: /not/there.pem: No such file or directory (os error 2)"),
            ),
            ("AWS_CA_BUNDLE", &*key, Some(&*format!("AWS_CA_BUNDLE: {key}: it holds no certificate (PEM)"))),
            ("HTTPS_PROXY", "http://ann:secret@proxy.example:3128", None),
            ("https_proxy", "proxy.example:3128", None),
            (
                "ALL_PROXY",
                "socks5://ann:secret@proxy.example",
                Some("ALL_PROXY: expected the URL of an HTTP proxy such as http://proxy.example:3128"),
            ),
            (
                "HTTPS_PROXY",
                "http://",
                Some("HTTPS_PROXY: expected the URL of an HTTP proxy such as http://proxy.example:3128"),
            ),
            // No request uses `HTTP_PROXY`.
            ("HTTP_PROXY", "socks5://proxy.example", None),
        ] {
            assert_eq!(told(&[(variable, value)]).as_deref(), expected, "{variable}={value}");
        }
    }

    #[test]
    fn certificates_that_cannot_be_used_do_not_spoil_a_bundle() {
        let directory = tempfile::tempdir().unwrap();
        let bundle = directory.path().join("bundle.pem");
        let unusable = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        let root = std::fs::read_to_string(fixture("root.pem")).unwrap();
        std::fs::write(&bundle, format!("{unusable}{root}")).unwrap();
        let bundle = bundle.to_str().unwrap();
        let http = Http::new(|name| (name == "AWS_CA_BUNDLE").then(|| bundle.to_owned())).unwrap();
        // The SDK would panic on certificates that it cannot use.
        http.connector(&HttpConnectorSettings::builder().build(), false);
        std::fs::write(bundle, unusable).unwrap();
        assert!(told(&[("AWS_CA_BUNDLE", bundle)]).unwrap().ends_with("it holds no certificate (PEM)"));
    }

    #[tokio::test]
    async fn names_below_localhost_are_this_machine() {
        for name in ["localhost", "logs.localhost", "reading-000000000000.localhost"] {
            let found = Resolver.resolve_dns(name).await.unwrap();
            assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{name}: {found:?}");
        }
    }
}

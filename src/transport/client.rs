//! The HTTP client: limited time and length, no redirects, no retries.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Method, Proxy, Url};
use rustls::ClientConfig;

use crate::secret::Secret;
use crate::transport::address::{Refused, Resolver};
use crate::transport::tls::TlsMaterial;
use crate::transport::{Endpoint, Headers, TlsConfig, TransportError};

/// Idle connections are closed after this time.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// A request to a service.
#[derive(Clone, Debug)]
pub(crate) struct HttpRequest<'a> {
    pub endpoint: &'a Endpoint,
    /// The path below the endpoint's own, beginning with a slash. Empty for the endpoint itself.
    pub path: &'a str,
    pub query: &'a [(&'a str, &'a str)],
    pub headers: Headers,
    /// The body of a POST. Without a body the request is a GET.
    pub body: Option<Bytes>,
    /// The most bytes of the answer that are kept.
    pub reply_bytes_max: usize,
}

/// A service's answer, with any status.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub retry_after: Option<Box<str>>,
    /// The target of a redirect.
    pub location: Option<Box<str>>,
    /// The body, up to the limit or the error in `cut`.
    pub body: Bytes,
    /// Why `body` is not the whole body.
    pub cut: Option<TransportError>,
}

impl Reply {
    /// The whole body.
    ///
    /// # Errors
    /// The body was cut.
    pub fn whole(self) -> Result<Bytes, TransportError> {
        self.cut.map_or(Ok(self.body), Err)
    }
}

/// How services are reached.
pub(super) struct Route {
    pub(super) timeout: Duration,
    pub(super) tls: ClientConfig,
    /// The proxy, and `user:password` for it.
    pub(super) proxy: Option<(Endpoint, Option<Secret>)>,
    pub(super) allow_link_local: bool,
}

/// Sends requests over HTTP. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub(crate) struct Client(reqwest::Client);

impl Client {
    /// A client that waits at most `timeout` for the last byte of an answer. It trusts the system's current root
    /// certificates (or those that `SSL_CERT_FILE` or `SSL_CERT_DIR` names), and no others.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub(crate) fn new(timeout: Duration) -> Result<Self, TransportError> {
        let tls = TlsMaterial::default().client(&TlsConfig::default());
        let tls = tls.map_err(|error| TransportError::Unprepared(error.to_string()))?;
        Self::over(Route { timeout, tls, proxy: None, allow_link_local: false })
    }

    pub(super) fn over(route: Route) -> Result<Self, TransportError> {
        let unprepared = |error: reqwest::Error| TransportError::Unprepared(innermost(&error));
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(route.tls)
            .user_agent(concat!("auditferry/", env!("CARGO_PKG_VERSION")))
            .timeout(route.timeout)
            .connect_timeout(route.timeout)
            .pool_idle_timeout(IDLE_MAX)
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy();
        if let Some((endpoint, credentials)) = route.proxy {
            let mut proxy = Proxy::all(endpoint.at("", &[])).map_err(unprepared)?;
            if let Some(credentials) = credentials {
                let (user, password) = credentials.reveal().split_once(':').unwrap_or((credentials.reveal(), ""));
                proxy = proxy.basic_auth(user, password);
            }
            builder = builder.proxy(proxy);
        }
        if !route.allow_link_local {
            builder = builder.dns_resolver(Arc::new(Resolver));
        }
        builder.build().map(Self).map_err(unprepared)
    }

    /// Sends a request and reads its answer. Cancel-safe.
    ///
    /// # Errors
    /// There is no answer. An answer with an error status, or with a body that ends early, is no error here.
    pub(crate) async fn send(&self, request: HttpRequest<'_>) -> Result<Reply, TransportError> {
        let HttpRequest { endpoint, path, query, headers, body, reply_bytes_max } = request;
        let method = if body.is_some() { Method::POST } else { Method::GET };
        let url = endpoint.at(path, query);
        let mut sent = self.0.request(method, url).header(ACCEPT, "application/json").headers(headers.into_map());
        if let Some(body) = body {
            sent = sent.body(body);
        }
        let mut response = sent.send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let field = |name| text(response.headers(), &name);
        let (retry_after, location) = (field(RETRY_AFTER), field(LOCATION));
        let mut body = Vec::new();
        let cut = loop {
            match response.chunk().await.map_err(failed) {
                Ok(None) => break None,
                Ok(Some(chunk)) => {
                    let room = reply_bytes_max - body.len();
                    body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                    if chunk.len() > room {
                        break Some(TransportError::TooLong { bytes_max: reply_bytes_max });
                    }
                }
                Err(error) => break Some(error),
            }
        };
        Ok(Reply { status, retry_after, location, body: body.into(), cut })
    }
}

fn text(headers: &HeaderMap, name: &reqwest::header::HeaderName) -> Option<Box<str>> {
    headers.get(name)?.to_str().ok().map(Into::into)
}

/// The origin of `location`: its scheme, host and port. The rest may hold secrets.
pub(super) fn origin_of(location: &str) -> Option<String> {
    Url::parse(location).ok().map(|url| url.origin().ascii_serialization())
}

/// Encodes pairs as a form (`application/x-www-form-urlencoded`).
pub(super) fn form(pairs: &[(&str, &str)]) -> String {
    let url = Url::parse_with_params("https://form", pairs);
    url.ok().and_then(|url| url.query().map(str::to_owned)).unwrap_or_default()
}

fn failed(error: reqwest::Error) -> TransportError {
    if error.is_timeout() {
        return TransportError::TimedOut;
    }
    let told = told(&error);
    match &told {
        // A proxy's answer to CONNECT has no error type of its own (hyper-util's TunnelError).
        TransportError::Unreachable(reason)
            if error.is_connect() && reason.ends_with("proxy authorization required") =>
        {
            TransportError::Proxy
        }
        _ => told,
    }
}

/// Classifies an error that stopped a connection.
pub(super) fn told(error: &(dyn Error + 'static)) -> TransportError {
    let reason = innermost(error);
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<Refused>() {
            return TransportError::LinkLocal(reason);
        }
        if let Some(tls) = error.downcast_ref().filter(|tls| !passes(tls)) {
            return TransportError::Tls(tls.to_string());
        }
        cause = within(error);
    }
    TransportError::Unreachable(reason)
}

/// The next cause of an error. An `io::Error` that wraps an error reports the source of that error as its own source,
/// which would skip the wrapped error.
fn within<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

/// Whether a TLS error may be temporary.
fn passes(error: &rustls::Error) -> bool {
    use rustls::AlertDescription::{CloseNotify, InternalError, UserCanceled};
    matches!(error, rustls::Error::AlertReceived(CloseNotify | InternalError | UserCanceled))
}

/// The innermost cause. The outer errors say only that something failed, and the outermost names the URL.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let Some(mut cause) = within(error) else { return "the request failed".to_owned() };
    while let Some(inner) = within(cause) {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_does_not_answer_is_told_without_what_was_asked() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let endpoint = Endpoint::try_from(format!("http://{address}")).unwrap();
        let request = HttpRequest {
            endpoint: &endpoint,
            path: "/hush",
            query: &[("hush", "hush")],
            headers: Headers::default(),
            body: Some("hush".into()),
            reply_bytes_max: 1,
        };
        let error = Client::new(Duration::from_secs(5)).unwrap().send(request).await.unwrap_err();
        assert!(matches!(error, TransportError::Unreachable(_)), "{error:?}");
        assert!(!error.to_string().contains("hush"), "{error}");
    }

    #[test]
    fn a_form_is_escaped_and_a_place_is_told_without_its_path() {
        assert_eq!(form(&[("scope", "a b"), ("secret", "x&y=é")]), "scope=a+b&secret=x%26y%3D%C3%A9");
        assert_eq!(origin_of("https://login.example:8443/T0K3N?x").unwrap(), "https://login.example:8443");
        assert_eq!(origin_of("/elsewhere"), None);
    }
}

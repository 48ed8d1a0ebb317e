//! The one HTTP client: TLS with the system's roots, a limit on time and length, no redirects and no proxies.

use std::error::Error as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Url;
use reqwest::header::ACCEPT;
use reqwest::redirect::Policy;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;

/// A connection that nobody uses is closed after this time.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Where a service is asked: over TLS, or on this machine alone, since credentials go there. Holds none itself.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Endpoint(Url);

/// A text that is no [`Endpoint`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EndpointError {
    #[error("expected a URL such as \"https://host\", without user, password, query and fragment")]
    Malformed,
    #[error("expected https://; http:// is for this machine alone (127.0.0.1, [::1], localhost)")]
    Plain,
}

impl TryFrom<String> for Endpoint {
    type Error = EndpointError;

    fn try_from(text: String) -> Result<Self, EndpointError> {
        let url = Url::parse(&text).map_err(|_| EndpointError::Malformed)?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(EndpointError::Malformed)?;
        let is_secure = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(EndpointError::Malformed),
        };
        let has_more = url.query().is_some() || url.fragment().is_some();
        if has_more || !url.username().is_empty() || url.password().is_some() {
            return Err(EndpointError::Malformed);
        }
        if is_secure || is_this_machine(host) { Ok(Self(url)) } else { Err(EndpointError::Plain) }
    }
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

impl Endpoint {
    /// The path that everything asked for is below, without a slash at its end.
    pub fn path(&self) -> &str {
        self.0.path().trim_end_matches('/')
    }

    fn at(&self, path: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}{path}", self.path()));
        url.query_pairs_mut().clear().extend_pairs(query);
        url
    }
}

/// What is asked of a service.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    pub endpoint: &'a Endpoint,
    /// Below the endpoint's own, with a slash at its beginning.
    pub path: &'a str,
    pub query: &'a [(&'a str, &'a str)],
    /// Name and password, sent as HTTP basic authentication.
    pub credentials: (&'a str, &'a str),
    /// A longer answer is given up.
    pub body_bytes_max: usize,
}

/// What a service answered, whatever the status.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub body: Bytes,
}

/// Why there is no answer. Names neither the URL nor what was sent.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error("TLS cannot be set up: {0}")]
    Unprepared(String),
    #[error("there was no whole answer in time")]
    TimedOut,
    #[error("the service cannot be reached: {0}")]
    Unreachable(String),
    #[error("the answer is longer than {bytes_max} bytes")]
    TooLong { bytes_max: usize },
}

/// Asks services over HTTP. Cheap to clone; connections are shared.
#[derive(Clone, Debug)]
pub struct Client(reqwest::Client);

impl Client {
    /// A client that gives up an answer that is not there, to its last byte, after `timeout`. Trusts the roots of the
    /// system as they are now (or those that `SSL_CERT_FILE` or `SSL_CERT_DIR` names), and knows no others.
    ///
    /// # Errors
    /// Only when TLS cannot be set up.
    pub fn new(timeout: Duration) -> Result<Self, TransportError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let unprepared = |error: String| TransportError::Unprepared(error);
        let mut tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| unprepared(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(concat!("auditferry/", env!("CARGO_PKG_VERSION")))
            .timeout(timeout)
            .connect_timeout(timeout)
            .pool_idle_timeout(IDLE_MAX)
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .build();
        client.map(Self).map_err(|error| unprepared(innermost(&error)))
    }

    /// Asks for a page with GET. Cancel-safe.
    ///
    /// # Errors
    /// When there is no whole answer. A status of any kind is an answer.
    pub async fn get(&self, question: Question<'_>) -> Result<Reply, TransportError> {
        let (name, password) = question.credentials;
        let url = question.endpoint.at(question.path, question.query);
        let asked = self.0.get(url).basic_auth(name, Some(password)).header(ACCEPT, "application/json");
        let mut response = asked.send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let too_long = TransportError::TooLong { bytes_max: question.body_bytes_max };
        if response.content_length().is_some_and(|length| length > question.body_bytes_max as u64) {
            return Err(too_long);
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > question.body_bytes_max {
                return Err(too_long);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Reply { status, body: body.into() })
    }
}

fn failed(error: reqwest::Error) -> TransportError {
    if error.is_timeout() { TransportError::TimedOut } else { TransportError::Unreachable(innermost(&error)) }
}

/// What it comes from: the outer errors say only that there is one, and the outermost names the URL.
fn innermost(error: &reqwest::Error) -> String {
    let Some(mut cause) = error.source() else { return "the request failed".to_owned() };
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Result<Endpoint, EndpointError> {
        Endpoint::try_from(text.to_owned())
    }

    #[test]
    fn credentials_go_over_tls_or_stay_on_this_machine() {
        for good in [
            "https://lake.example.com",
            "https://lake/api/v1/",
            "http://127.0.0.1:8000",
            "http://[::1]/",
            "http://localhost",
        ] {
            assert!(endpoint(good).is_ok(), "{good}");
        }
        for plain in
            ["http://lake.example.com", "http://10.0.0.1", "http://localhost.example.com", "http://127.0.0.1.nip.io"]
        {
            assert_eq!(endpoint(plain), Err(EndpointError::Plain), "{plain}");
        }
        for malformed in
            ["lake", "", "https://", "ftp://lake", "https://me:hush@lake", "https://lake?a=b", "https://lake#a"]
        {
            assert_eq!(endpoint(malformed), Err(EndpointError::Malformed), "{malformed}");
        }
    }

    #[test]
    fn what_is_asked_for_stands_below_the_endpoints_path_and_its_values_are_escaped() {
        for base in ["https://lake/api/v1", "https://lake/api/v1/"] {
            let url = endpoint(base).unwrap().at("/auth/users", &[("amount", "1000"), ("after", "a&b=c d")]);
            assert_eq!(url.as_str(), "https://lake/api/v1/auth/users?amount=1000&after=a%26b%3Dc+d");
        }
        assert_eq!(endpoint("https://lake").unwrap().path(), "");
    }

    #[tokio::test]
    async fn who_does_not_answer_is_told_without_what_was_asked() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let endpoint = endpoint(&format!("http://{address}")).unwrap();
        let question = Question {
            endpoint: &endpoint,
            path: "/hush",
            query: &[],
            credentials: ("hush", "hush"),
            body_bytes_max: 1,
        };
        let error = Client::new(Duration::from_secs(5)).unwrap().get(question).await.unwrap_err();
        assert!(matches!(error, TransportError::Unreachable(_)), "{error:?}");
        assert!(!error.to_string().contains("hush"), "{error}");
    }
}

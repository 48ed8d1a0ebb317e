//! Tries the way to a service step by step, for an operator who sets it up: name, connection, TLS. No request is sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::transport::{Endpoint, TransportError, address, client};

/// The first hop to a service: the service itself, or the proxy before it.
pub struct Reach {
    host: String,
    port: u16,
    /// The service's TLS configuration. `None` for plain HTTP, and with a proxy.
    tls: Option<ClientConfig>,
    /// Whether the hop is a proxy. Only a real request can try what is behind it.
    is_proxy: bool,
    allow_link_local: bool,
    timeout: Duration,
}

/// The steps, to be called in this order.
impl Reach {
    pub(super) fn new(
        service: &Endpoint,
        proxy: Option<&Endpoint>,
        tls: ClientConfig,
        allow_link_local: bool,
        timeout: Duration,
    ) -> Self {
        let (host, port) = proxy.unwrap_or(service).place();
        let tls = (proxy.is_none() && service.is_secure()).then_some(tls);
        Self { host: host.to_owned(), port, tls, is_proxy: proxy.is_some(), allow_link_local, timeout }
    }

    /// `host:port`, for messages.
    pub fn place(&self) -> String {
        let which = if self.is_proxy { "the proxy " } else { "" };
        format!("{which}{}:{}", self.host, self.port)
    }

    /// The host, without the brackets around an IPv6 address.
    fn name(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Resolves the host's name.
    ///
    /// # Errors
    /// The name has no address, or only addresses that nothing may be sent to.
    pub async fn resolve(&self) -> Result<Vec<SocketAddr>, TransportError> {
        let found = timeout(self.timeout, tokio::net::lookup_host((self.name(), self.port))).await;
        let found = found.map_err(|_| TransportError::TimedOut)?;
        let found = found.map_err(|error| TransportError::Unreachable(error.to_string()))?.collect::<Vec<_>>();
        if self.allow_link_local {
            return Ok(found);
        }
        address::allowed(found.into_iter()).map_err(|error| match error.is::<address::Refused>() {
            true => TransportError::LinkLocal(error.to_string()),
            false => TransportError::Unreachable(error.to_string()),
        })
    }

    /// Connects to one of these addresses.
    ///
    /// # Errors
    /// None of the addresses answers.
    pub async fn connect(&self, addresses: &[SocketAddr]) -> Result<TcpStream, TransportError> {
        let connected = timeout(self.timeout, TcpStream::connect(addresses)).await;
        let connected = connected.map_err(|_| TransportError::TimedOut)?;
        connected.map_err(|error| TransportError::Unreachable(error.to_string()))
    }

    /// Sets up TLS over the connection. Returns the agreed version, or `None` if this hop has no TLS.
    ///
    /// # Errors
    /// One side does not trust the other, or they have no version in common.
    pub async fn secure(&self, connection: TcpStream) -> Result<Option<&'static str>, TransportError> {
        let Some(tls) = &self.tls else { return Ok(None) };
        let name =
            ServerName::try_from(self.name().to_owned()).map_err(|error| TransportError::Tls(error.to_string()))?;
        let agreed = timeout(self.timeout, TlsConnector::from(Arc::new(tls.clone())).connect(name, connection)).await;
        let stream = agreed.map_err(|_| TransportError::TimedOut)?.map_err(|error| client::told(&error))?;
        let version = stream.get_ref().1.protocol_version();
        Ok(Some(if version == Some(rustls::ProtocolVersion::TLSv1_2) { "TLS 1.2" } else { "TLS 1.3" }))
    }
}

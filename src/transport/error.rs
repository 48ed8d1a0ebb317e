//! Why a service gave no answer, or could not be opened. The errors name neither the URL nor what was sent.

use crate::identity::IdentityError;
use crate::secret::{Reference, SecretError};
use crate::transport::EndpointError;
use crate::transport::headers::FieldError;
use crate::transport::tls::TlsError;

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error("the HTTP client cannot be set up: {0}")]
    Unprepared(String),
    #[error("there was no whole answer in time")]
    TimedOut,
    #[error("the service cannot be reached: {0}")]
    Unreachable(String),
    /// An operator must mend a certificate, or what is trusted.
    #[error("TLS fails: {0}")]
    Tls(String),
    #[error("the proxy wants other credentials")]
    Proxy,
    #[error("{0}; `allow_link_local = true` would allow it")]
    LinkLocal(String),
    #[error("the answer is longer than {bytes_max} bytes")]
    TooLong { bytes_max: usize },
}

/// Why a request to a configured service got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error("{0}")]
    Unavailable(String),
    /// An operator must mend something.
    #[error("{0}")]
    Misconfigured(String),
}

impl From<TransportError> for ServiceError {
    fn from(error: TransportError) -> Self {
        use TransportError as E;
        match error {
            E::TimedOut | E::Unreachable(_) | E::TooLong { .. } => Self::Unavailable(error.to_string()),
            E::Unprepared(_) | E::Tls(_) | E::Proxy | E::LinkLocal(_) => Self::Misconfigured(error.to_string()),
        }
    }
}

impl From<IdentityError> for ServiceError {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Unavailable { .. } => Self::Unavailable(error.to_string()),
            IdentityError::Refused { .. }
            | IdentityError::Misconfigured { .. }
            | IdentityError::RegionMissing { .. } => Self::Misconfigured(error.to_string()),
        }
    }
}

impl From<FieldError> for ServiceError {
    fn from(error: FieldError) -> Self {
        Self::Misconfigured(error.to_string())
    }
}

/// Why a configured service cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ServiceOpenError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("{reference}: {source}")]
    Field { reference: Reference, source: FieldError },
    #[error("{0}: it holds no RSA key (PEM)")]
    NoRsaKey(Reference),
    /// Cannot happen with a configuration that passed its check.
    #[error("`auth` names no credentials")]
    NoCredentials,
    #[error("the URL cannot be used: {0}")]
    Url(#[from] EndpointError),
}

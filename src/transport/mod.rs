//! The HTTP client for services without an SDK: TLS, credentials, limits on time and length, the meaning of statuses.

mod address;

mod auth;

mod aws;

mod client;

mod endpoint;

mod entra;

mod error;

mod headers;

mod managed;

mod mask;

mod oauth;

mod reach;

mod service;

mod status;

mod tls;

mod token;

pub use auth::{Auth, BasicAuth, BearerAuth, HeaderAuth, HmacAuth};
pub(crate) use aws::AwsSigner;
pub(crate) use client::{Client, HttpRequest, Reply};
pub(crate) use endpoint::EndpointError;
pub use endpoint::{Endpoint, Location};
pub use entra::EntraConfig;
pub use error::ServiceError;
pub(crate) use error::{ServiceOpenError, TransportError};
pub use headers::{FieldName, Headers};
pub use managed::ManagedIdentityConfig;
pub(crate) use mask::TOLD_CHARACTERS;
pub use oauth::{ClientAuth, OauthConfig};
pub(crate) use reach::Reach;
pub use service::{Answer, Post, Service, ServiceConfig};
pub use status::StatusConfig;
pub(crate) use status::{Outcome, StatusClass, outcome};
pub use tls::{TlsConfig, TlsVersion};

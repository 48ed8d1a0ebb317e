//! The one HTTP client for services without an SDK: TLS, credentials, limits on time and length, what a status means.

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
pub use aws::AwsSigner;
pub use client::{Client, HttpRequest, Reply};
pub use endpoint::{Endpoint, EndpointError, Location};
pub use entra::EntraConfig;
pub use error::{ServiceError, ServiceOpenError, TransportError};
pub use headers::{FieldName, Headers};
pub use managed::ManagedIdentityConfig;
pub use mask::{TOLD_CHARACTERS, in_one_line};
pub use oauth::{ClientAuth, OauthConfig};
pub use reach::Reach;
pub use service::{Answer, Post, Service, ServiceConfig};
pub use status::{Outcome, StatusClass, StatusConfig, outcome};
pub use tls::{TlsConfig, TlsVersion};

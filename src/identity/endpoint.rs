//! Where AWS, or what stands in for it, is asked: over TLS, or on this machine.

use std::net::IpAddr;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

/// Why a URL is not asked. The URL is left out: it may hold a password.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum EndpointError {
    #[error("expected a URL that begins with https:// or http://")]
    Malformed,
    #[error("expected a URL without user and password")]
    Userinfo,
    #[error(
        "expected https://; http:// is for this machine alone (127.0.0.1, [::1], localhost); or `allow_plain_http = true`"
    )]
    Plain,
}

/// Looks whether a URL may be asked: it is encrypted, of this machine, or that does not matter.
pub(crate) fn check(url: &str, allow_plain_http: bool) -> Result<(), EndpointError> {
    let (rest, is_secure) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (rest, true),
        (None, Some(rest)) => (rest, false),
        (None, None) => return Err(EndpointError::Malformed),
    };
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(EndpointError::Userinfo);
    }
    let host = match authority.split_once(']') {
        Some((address, _port)) => address.strip_prefix('[').unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    if host.is_empty() || url.contains(char::is_whitespace) {
        return Err(EndpointError::Malformed);
    }
    if is_secure || allow_plain_http || is_this_machine(host) { Ok(()) } else { Err(EndpointError::Plain) }
}

/// Whether a host is this machine, whatever a name server says.
pub(crate) fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Fails requests that would go to another machine in the clear, wherever their endpoint is from: the SDK also takes one
/// from the environment and from profiles.
#[derive(Debug)]
pub(crate) struct EncryptedOnly;

impl Intercept for EncryptedOnly {
    fn name(&self) -> &'static str {
        "EncryptedOnly"
    }

    fn read_before_signing(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        Ok(check(context.request().uri(), false)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_encrypted_stays_on_this_machine() {
        use EndpointError::{Malformed, Plain, Userinfo};
        for (url, expected) in [
            ("https://s3.eu-central-1.amazonaws.com", Ok(())),
            ("https://10.0.0.1:9000/base", Ok(())),
            ("http://127.0.0.1:4566", Ok(())),
            ("http://127.9.9.9/000000000000/q", Ok(())),
            ("http://[::1]:9000", Ok(())),
            ("http://localhost:9000?x", Ok(())),
            ("http://minio:9000", Err(Plain)),
            ("http://10.0.0.1:9000", Err(Plain)),
            ("http://0.0.0.0:9000", Err(Plain)),
            ("http://[2001:db8::1]:9000", Err(Plain)),
            ("http://169.254.169.254", Err(Plain)),
            ("http://127.0.0.1.example.com", Err(Plain)),
            ("http://localhost.localstack.cloud:4566", Err(Plain)),
            ("http://evil.example#@localhost/", Err(Plain)),
            ("http://evil.example\\@localhost/", Err(Plain)),
            ("http://localhost@evil.example/", Err(Userinfo)),
            ("http://u:p@127.0.0.1/", Err(Userinfo)),
            ("https://u:p@s3.example/", Err(Userinfo)),
            ("HTTP://minio:9000", Err(Malformed)),
            ("minio:9000", Err(Malformed)),
            ("https://", Err(Malformed)),
            ("http://:9000", Err(Malformed)),
            ("http://[::1", Err(Plain)),
            ("http://local host", Err(Malformed)),
        ] {
            assert_eq!(check(url, false), expected, "{url}");
        }
        assert_eq!(check("http://minio:9000", true), Ok(()));
    }
}

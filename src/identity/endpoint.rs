//! Checks of the endpoints of AWS, or of a stand-in for it: over TLS, or on this machine.

use std::net::IpAddr;

/// Why an endpoint is refused. The message leaves out the URL, which may contain a password.
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

/// Checks that an endpoint uses TLS or is on this machine, unless plain HTTP is allowed.
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
    if is_secure || allow_plain_http || is_this_machine(host) || is_below_localhost(host) {
        Ok(())
    } else {
        Err(EndpointError::Plain)
    }
}

/// The region in the host of AWS's own URLs, such as `sqs.<region>.amazonaws.com`; `None` for other URLs.
pub(crate) fn region_of(url: &str) -> Option<String> {
    let labels: Vec<&str> = host_of(url)?.split('.').collect();
    if !is_amazons(&labels) {
        return None;
    }
    // The oldest endpoint of SQS has no region in its name.
    if labels == ["queue", "amazonaws", "com"] {
        return Some("us-east-1".to_owned());
    }
    // From the right, because a label further left may be a bucket's name, which may look like a region.
    labels.iter().rev().find(|label| is_region(label)).map(|label| (*label).to_owned())
}

/// Whether a label looks like a region: `eu-west-1`, `us-gov-west-1`.
fn is_region(label: &str) -> bool {
    let parts: Vec<&str> = label.split('-').collect();
    let [place, words @ .., number] = parts.as_slice() else { return false };
    let is_word = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    !words.is_empty() && is_word(place) && words.iter().all(is_word) && number.parse::<u8>().is_ok()
}

/// Whether a host, given as its labels, belongs to AWS.
pub(crate) fn is_amazons(labels: &[&str]) -> bool {
    matches!(labels, [.., "amazonaws", "com"] | [.., "amazonaws", "com", "cn"] | [.., "api", "aws"])
}

pub(crate) fn host_of(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let authority = rest.split('/').next()?;
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    (!host.is_empty()).then_some(host)
}

/// Whether a host means this machine without a look-up of names.
pub(crate) fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a host's name is below `localhost`, such as a bucket's host in a stand-in for S3 on this machine.
pub(super) fn is_below_localhost(host: &str) -> bool {
    host.ends_with(".localhost")
}

/// Checks a request's URL like [`check`], and also allows the addresses at which AWS gives out credentials without TLS.
pub(super) fn check_request(url: &str, allow_plain_http: bool) -> Result<(), EndpointError> {
    match check(url, allow_plain_http) {
        Err(EndpointError::Plain) if gives_credentials(url) => Ok(()),
        checked => checked,
    }
}

/// The link-local addresses of instance metadata and of the credentials of tasks (ECS) and pods (EKS), from the user
/// guides of these services.
fn gives_credentials(url: &str) -> bool {
    const HOSTS: [&str; 5] =
        ["169.254.169.254", "[fd00:ec2::254]", "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];
    let authority = url.strip_prefix("http://").and_then(|rest| rest.split('/').next()).unwrap_or_default();
    HOSTS.contains(&authority.strip_suffix(":80").unwrap_or(authority))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_read_from_an_address_of_aws() {
        for (url, region) in [
            ("https://sqs.eu-central-1.amazonaws.com/123456789012/q", Some("eu-central-1")),
            ("https://sqs.cn-north-1.amazonaws.com.cn/1/q", Some("cn-north-1")),
            ("https://sqs-fips.us-gov-west-1.amazonaws.com/1/q", Some("us-gov-west-1")),
            ("https://sqs.eu-west-1.api.aws/1/q", Some("eu-west-1")),
            ("https://vpce-0a-b.sqs.us-east-2.vpce.amazonaws.com/1/q", Some("us-east-2")),
            ("https://eu-west-2.queue.amazonaws.com/1/q", Some("eu-west-2")),
            ("https://queue.amazonaws.com/1/q", Some("us-east-1")),
            ("http://127.0.0.1:4566/000000000000/q", None),
            ("https://sqs.eu-central-1.example.com/1/q", None),
            ("https://logs-eu-9.s3.eu-west-1.amazonaws.com", Some("eu-west-1")),
            ("https://s3.amazonaws.com", None),
            ("https://search-a-1.eu-north-1.es.amazonaws.com/", Some("eu-north-1")),
            ("https://sts.ap-southeast-2.amazonaws.com", Some("ap-southeast-2")),
            ("q", None),
        ] {
            assert_eq!(region_of(url).as_deref(), region, "{url}");
        }
    }

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
            ("http://logs.localhost:9000/x", Ok(())),
            ("http://notlocalhost:9000", Err(Plain)),
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

    #[test]
    fn where_aws_gives_out_credentials_is_asked_without_encryption_and_nothing_else_of_its_link() {
        for (url, expected) in [
            ("http://169.254.169.254/latest/api/token", Ok(())),
            ("http://[fd00:ec2::254]/latest/api/token", Ok(())),
            ("http://169.254.170.2/v2/credentials/x", Ok(())),
            ("http://169.254.170.23/v1/credentials", Ok(())),
            ("http://169.254.170.23:80/v1/credentials", Ok(())),
            ("http://[fd00:ec2::23]/v1/credentials", Ok(())),
            ("http://169.254.1.1/", Err(EndpointError::Plain)),
            ("http://169.254.170.23.example/", Err(EndpointError::Plain)),
            ("http://sts.example/", Err(EndpointError::Plain)),
            ("https://sts.example/", Ok(())),
        ] {
            assert_eq!(check_request(url, false), expected, "{url}");
        }
        assert_eq!(check_request("http://sts.example/", true), Ok(()));
    }
}

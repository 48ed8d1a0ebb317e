//! Addresses that nothing is sent to unless it is allowed: link-local ones, and where clouds hand out credentials.

use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Where Alibaba Cloud hands out credentials (its ECS instance metadata); AWS, Azure and Google use link-local addresses.
const ALIBABA: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
/// Where AWS does over IPv6 (EC2 user guide, instance metadata).
const AWS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
/// What Google calls it (Compute Engine, metadata server).
const GOOGLE: &str = "metadata.google.internal";

/// Whether nothing is sent there.
fn is_refused(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_link_local() || address == ALIBABA,
        IpAddr::V6(address) => {
            let embedded = embedded(address).is_some_and(|inner| is_refused(IpAddr::V4(inner)));
            address.is_unicast_link_local() || address == AWS || embedded
        }
    }
}

/// The IPv4 address that a translator (NAT64, RFC 6052) makes of an IPv6 address.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = address.segments() else { return None };
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Some(Ipv4Addr::new(a, b, c, d))
}

/// Whether nothing is sent to a URL's host; a name is looked up later.
pub(super) fn is_refused_host(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.is_ok_and(is_refused) || host.trim_end_matches('.').eq_ignore_ascii_case(GOOGLE)
}

/// A name has no other addresses than those nothing is sent to.
#[derive(Debug, thiserror::Error)]
#[error("the name stands for a link-local address, or one where a cloud hands out credentials")]
pub(super) struct Refused;

/// Looks names up, without the addresses that nothing is sent to.
pub(super) struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed = allowed(found)?;
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Those that may be sent to.
pub(super) fn allowed(
    found: impl Iterator<Item = SocketAddr>,
) -> Result<Vec<SocketAddr>, Box<dyn Error + Send + Sync>> {
    let found: Vec<SocketAddr> = found.collect();
    if found.is_empty() {
        return Err(io::Error::from(io::ErrorKind::NotFound).into());
    }
    let allowed: Vec<SocketAddr> = found.into_iter().filter(|address| !is_refused(address.ip())).collect();
    if allowed.is_empty() { Err(Refused.into()) } else { Ok(allowed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_the_addresses_that_are_allowed() {
        let of = |addresses: &[&str]| {
            let addresses: Vec<SocketAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
            allowed(addresses.into_iter())
        };
        assert_eq!(of(&["169.254.169.254:0", "192.0.2.1:0"]).unwrap(), ["192.0.2.1:0".parse().unwrap()]);
        assert!(of(&["169.254.169.254:0", "[fe80::1]:0", "[fd00:ec2::254]:0"]).unwrap_err().is::<Refused>());
        assert!(of(&["[::ffff:100.100.100.200]:0"]).unwrap_err().is::<Refused>());
        assert!(!of(&[]).unwrap_err().is::<Refused>(), "a name without addresses is not there");
    }
}

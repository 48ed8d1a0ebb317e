//! Addresses that nothing is sent to unless it is allowed: link-local ones, and metadata services that hand out
//! credentials.

use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The metadata service of Alibaba Cloud's ECS. The ones of AWS, Azure and Google have link-local addresses.
const ALIBABA: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
/// The metadata service of AWS over IPv6 (EC2 user guide, instance metadata).
const AWS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
/// The name of Google's metadata server (Compute Engine, metadata server).
const GOOGLE: &str = "metadata.google.internal";

/// Whether sending to this address is refused.
fn is_refused(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_link_local() || address == ALIBABA,
        IpAddr::V6(address) => {
            let embedded = embedded(address).is_some_and(|inner| is_refused(IpAddr::V4(inner)));
            address.is_unicast_link_local() || address == AWS || embedded
        }
    }
}

/// The IPv4 address inside a NAT64 address (RFC 6052), which a translator would send to.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = address.segments() else { return None };
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Some(Ipv4Addr::new(a, b, c, d))
}

/// Whether sending to a URL's host is refused. The addresses of other names are checked once they are resolved.
pub(super) fn is_refused_host(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.is_ok_and(is_refused) || host.trim_end_matches('.').eq_ignore_ascii_case(GOOGLE)
}

/// All addresses of a name are refused.
#[derive(Debug, thiserror::Error)]
#[error("the name stands for a link-local address, or one where a cloud hands out credentials")]
pub(super) struct Refused;

/// Resolves names, and leaves out refused addresses.
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

/// Filters out refused addresses.
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

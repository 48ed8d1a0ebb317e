//! Network addresses as sources write them.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::event::{Endpoint, Text, any_says_something};

/// The longest address that OCSF takes, in bytes. No IP address needs more.
const ADDRESS_BYTES_MAX: usize = 40;

/// Parses an IP address. An IPv4 address mapped into IPv6 (`::ffff:192.0.2.1`, RFC 4291, section 2.5.5.2) becomes the
/// IPv4 address: servers that listen for both versions write it so.
fn ip_of(text: &str) -> Option<Cow<'_, str>> {
    match text.parse().ok()? {
        IpAddr::V6(address) if let Some(inner) = address.to_ipv4_mapped() => Some(Cow::Owned(inner.to_string())),
        _ => (text.len() <= ADDRESS_BYTES_MAX).then_some(Cow::Borrowed(text)),
    }
}

/// An IP address, with a port or in brackets or both.
fn ip_and_port(text: &str) -> Option<(Cow<'_, str>, Option<u16>)> {
    if let Some(ip) = ip_of(in_brackets(text)) {
        return Some((ip, None));
    }
    let (host, port) = text.rsplit_once(':')?;
    Some((ip_of(in_brackets(host))?, Some(port.parse().ok()?)))
}

fn in_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|open| open.strip_suffix(']')).unwrap_or(host)
}

/// An IP address holds nothing that JSON escapes.
fn written(ip: Cow<'_, str>) -> Text<'_> {
    match ip {
        Cow::Borrowed(ip) => Text::Escaped(ip),
        Cow::Owned(ip) => Text::from(ip),
    }
}

fn own<'a>(text: Text<'_>) -> Text<'a> {
    Text::from(text.plain().into_owned())
}

impl<'a> Endpoint<'a> {
    /// The endpoint that an address names: an IP address with or without a port, a list of IP addresses as proxies
    /// write it (`X-Forwarded-For`: the client, then the proxies in the order in which the request passed them), or
    /// else a name. `None` if the address says nothing.
    pub fn of_address(address: Text<'a>) -> Option<Self> {
        if !address.says_something() {
            return None;
        }
        let found = match &address {
            Text::Escaped(plain) | Text::Plain(Cow::Borrowed(plain)) => Endpoint::of_ips(plain),
            Text::Plain(Cow::Owned(plain)) => Endpoint::of_ips(plain).map(|end| Self {
                ip: end.ip.map(own),
                port: end.port,
                via: end.via.into_iter().map(own).collect(),
                ..Self::default()
            }),
        };
        Some(found.unwrap_or_else(|| Self { name: Some(address), ..Self::default() }))
    }

    fn of_ips(text: &'a str) -> Option<Self> {
        if let Some((ip, port)) = ip_and_port(text) {
            return Some(Self { ip: Some(written(ip)), port, ..Self::default() });
        }
        let (client, proxies) = text.split_once(',')?;
        let (ip, port) = ip_and_port(client.trim())?;
        let via: Option<Vec<Text<'a>>> =
            proxies.split(',').map(|proxy| ip_and_port(proxy.trim()).map(|(ip, _)| written(ip))).collect();
        Some(Self { ip: Some(written(ip)), port, via: via?, ..Self::default() })
    }

    /// Whether the endpoint has any of the attributes of which OCSF requires one.
    pub fn is_known(&self) -> bool {
        any_says_something([&self.ip, &self.name, &self.hostname, &self.svc_name, &self.instance_uid])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parts = (Option<String>, Option<u16>, Vec<String>, Option<String>);

    /// Address, port, proxies, name; asserts that borrowed, escaped and owned texts give the same.
    fn parts(address: &'static str) -> Option<Parts> {
        let plain = |text: &Text<'_>| text.plain().into_owned();
        let texts = [Text::from(address), Text::Escaped(address), Text::from(address.to_owned())];
        let [first, second, third] = texts.map(|text| {
            let end = Endpoint::of_address(text)?;
            let via = end.via.iter().map(plain).collect();
            Some((end.ip.as_ref().map(plain), end.port, via, end.name.as_ref().map(plain)))
        });
        assert!(first == second && second == third, "{address}");
        first
    }

    #[test]
    fn an_address_is_read_with_or_without_a_port() {
        for (address, ip, port) in [
            ("10.20.30.40", "10.20.30.40", None),
            ("10.20.30.40:5678", "10.20.30.40", Some(5678)),
            ("2001:db8::1", "2001:db8::1", None),
            ("[2001:db8::1]:443", "2001:db8::1", Some(443)),
            ("[2001:db8::1]", "2001:db8::1", None),
            // IPv4 addresses mapped into IPv6.
            ("::ffff:192.0.2.1", "192.0.2.1", None),
            ("::FFFF:c000:201", "192.0.2.1", None),
            ("0:0:0:0:0:ffff:192.0.2.1", "192.0.2.1", None),
            ("0000:0000:0000:0000:0000:ffff:192.168.100.200", "192.168.100.200", None),
            ("[::ffff:192.0.2.1]:443", "192.0.2.1", Some(443)),
            ("::ffff:192.0.2.1:443", "192.0.2.1", Some(443)),
            // Other IPv6 addresses that embed an IPv4 address stay as they are.
            ("::192.0.2.1", "::192.0.2.1", None),
            ("64:ff9b::192.0.2.1", "64:ff9b::192.0.2.1", None),
        ] {
            assert_eq!(parts(address), Some((Some(ip.to_owned()), port, vec![], None)), "{address}");
        }
    }

    /// As proxies write `X-Forwarded-For`: the client first, then each proxy.
    #[test]
    fn of_a_list_the_first_is_the_client_and_the_others_are_on_the_way() {
        for (address, ip, port, via) in [
            ("198.51.100.7, 10.0.0.1", "198.51.100.7", None, &["10.0.0.1"][..]),
            ("198.51.100.7,10.0.0.1 , 10.0.0.2", "198.51.100.7", None, &["10.0.0.1", "10.0.0.2"]),
            ("[2001:db8::1]:443, ::ffff:10.0.0.1, 10.0.0.2:80", "2001:db8::1", Some(443), &["10.0.0.1", "10.0.0.2"]),
        ] {
            let via = via.iter().map(|ip| (*ip).to_owned()).collect();
            assert_eq!(parts(address), Some((Some(ip.to_owned()), port, via, None)), "{address}");
        }
    }

    #[test]
    fn what_is_no_address_is_a_name_and_what_says_nothing_is_none() {
        for name in [
            "gateway",
            "10.20.30.400",
            "0000:0000:0000:0000:0001:ffff:192.168.100.200",
            "10.20.30.40:99999",
            "fe80::1%eth0",
            "unknown, 10.0.0.1",
            "10.0.0.1, gateway",
            "10.0.0.1,",
            ",",
            "[10.0.0.1",
        ] {
            assert_eq!(parts(name), Some((None, None, vec![], Some(name.to_owned()))), "{name}");
        }
        assert_eq!(parts(""), None);
        assert_eq!(parts("-"), None);
    }
}

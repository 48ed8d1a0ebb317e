//! Network addresses as sources write them.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::event::{Endpoint, Text, any_says_something};

/// OCSF takes no longer address, and no address needs more.
const ADDRESS_BYTES_MAX: usize = 40;

/// Whether OCSF takes the text for an IP address.
pub(crate) fn is_ip(text: &str) -> bool {
    text.len() <= ADDRESS_BYTES_MAX && text.parse::<IpAddr>().is_ok()
}

impl<'a> Endpoint<'a> {
    /// The end that an address names: an IP address with or without a port, or else a name. Nothing when it says
    /// nothing.
    pub fn of_address(address: Text<'a>) -> Option<Self> {
        if !address.says_something() {
            return None;
        }
        let plain = match &address {
            Text::Escaped(inside) => *inside,
            Text::Plain(Cow::Borrowed(plain)) => *plain,
            Text::Plain(_) => return Some(Self { name: Some(address), ..Self::default() }),
        };
        if is_ip(plain) {
            return Some(Self { ip: Some(address), ..Self::default() });
        }
        let (host, port) = plain.rsplit_once(':').unwrap_or((plain, ""));
        let host = host.strip_prefix('[').and_then(|open| open.strip_suffix(']')).unwrap_or(host);
        match (is_ip(host), port.parse()) {
            (true, Ok(port)) => Some(Self { ip: Some(Text::from(host)), port: Some(port), ..Self::default() }),
            _ => Some(Self { name: Some(address), ..Self::default() }),
        }
    }

    /// Whether there is anything to write that OCSF takes for an endpoint.
    pub fn is_known(&self) -> bool {
        any_says_something([&self.ip, &self.name, &self.hostname, &self.svc_name, &self.instance_uid])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(address: &'static str) -> Option<(Option<String>, Option<u16>, Option<String>)> {
        let plain = |text: Option<Text<'_>>| text.map(|text| text.plain().into_owned());
        Endpoint::of_address(Text::from(address)).map(|end| (plain(end.ip), end.port, plain(end.name)))
    }

    #[test]
    fn an_address_is_read_with_or_without_a_port() {
        let ip = |ip: &str, port| Some((Some(ip.to_owned()), port, None));
        assert_eq!(parts("10.20.30.40"), ip("10.20.30.40", None));
        assert_eq!(parts("10.20.30.40:5678"), ip("10.20.30.40", Some(5678)));
        assert_eq!(parts("2001:db8::1"), ip("2001:db8::1", None));
        assert_eq!(parts("[2001:db8::1]:443"), ip("2001:db8::1", Some(443)));
    }

    #[test]
    fn what_is_no_address_is_a_name_and_what_says_nothing_is_none() {
        let name = |name: &str| Some((None, None, Some(name.to_owned())));
        assert_eq!(parts("gateway"), name("gateway"));
        assert_eq!(parts("10.20.30.400"), name("10.20.30.400"));
        let long = "0000:0000:0000:0000:0000:ffff:192.168.100.200";
        assert_eq!(parts(long), name(long));
        assert_eq!(parts("10.20.30.40:99999"), name("10.20.30.40:99999"));
        assert_eq!(parts(""), None);
        assert_eq!(parts("-"), None);
    }
}

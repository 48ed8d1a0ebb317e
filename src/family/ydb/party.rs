//! Who acts in YDB, and from where.

use crate::event::{Endpoint, Text, User, UserKind, is_ip};

/// Who acts: a SID, `<login>@<subsystem>`.
pub(super) fn user(sid: Option<Text<'_>>) -> User<'_> {
    let Some(sid) = sid.filter(Text::says_something) else { return User::default() };
    let kind = match &*sid.plain() {
        system if system.ends_with("@system") => UserKind::System,
        service if service.ends_with("@as") => UserKind::Service,
        _ => UserKind::User,
    };
    User { email: Some(sid.clone()), name: Some(sid), kind, ..User::default() }
}

/// `ipv4:192.0.2.1:5678`, `ipv6:[2001:db8::1]:443`, with brackets in percent notation too, or an address alone.
pub(super) fn endpoint(address: Text<'_>) -> Endpoint<'_> {
    let found = match address.borrowed().filter(|written| memchr::memchr(b'%', written.as_bytes()).is_none()) {
        Some(written) => ip(written).map(|(ip, port)| (Text::Escaped(ip), port)),
        None => {
            let written = address.plain().replace("%5B", "[").replace("%5D", "]");
            ip(&written).map(|(ip, port)| (Text::from(ip.to_owned()), port))
        }
    };
    match found {
        Some((ip, port)) => Endpoint { ip: Some(ip), port, ..Endpoint::default() },
        None => Endpoint { name: Some(address), ..Endpoint::default() },
    }
}

fn in_brackets(host: &str) -> Option<&str> {
    host.strip_prefix('[')?.strip_suffix(']').filter(|inner| is_ip(inner))
}

/// The address, and the port after it.
fn ip(written: &str) -> Option<(&str, Option<u16>)> {
    let bare = written.strip_prefix("ipv4:").or_else(|| written.strip_prefix("ipv6:")).unwrap_or(written);
    match bare.rsplit_once(':') {
        Some((host, port)) if host.ends_with(']') => Some((in_brackets(host)?, port.parse().ok())),
        // `2001:db8::1` has no port, though it ends as if it had one.
        _ if is_ip(bare) => Some((bare, None)),
        Some((host, port)) if is_ip(host) => Some((host, port.parse().ok())),
        _ => Some((in_brackets(bare)?, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_in_the_notation_of_grpc() {
        let parts = |address: &'static str| {
            let end = endpoint(Text::from(address));
            let plain = |text: Option<Text<'_>>| text.map(|text| text.plain().into_owned());
            (plain(end.ip), end.port, plain(end.name))
        };
        let ip = |ip: &str, port| (Some(ip.to_owned()), port, None);
        assert_eq!(parts("ipv4:192.0.2.1:5678"), ip("192.0.2.1", Some(5678)));
        assert_eq!(parts("ipv6:[2001:db8::1]:443"), ip("2001:db8::1", Some(443)));
        assert_eq!(parts("ipv6:%5B2001:db8::1%5D:443"), ip("2001:db8::1", Some(443)));
        assert_eq!(parts("ipv6:[2001:db8::1]"), ip("2001:db8::1", None));
        assert_eq!(parts("2001:db8::1"), ip("2001:db8::1", None));
        assert_eq!(parts("192.0.2.1"), ip("192.0.2.1", None));
        let masked = "ipv6:[xxxx:xxx]:xxxxx";
        assert_eq!(parts(masked), (None, None, Some(masked.to_owned())));
    }
}

//! Who acts in YDB, and from where.

use crate::event::{Endpoint, Text, User, UserKind};

/// The actor of a SID, `<login>@<subsystem>`.
pub(super) fn user(sid: Option<Text<'_>>) -> User<'_> {
    let Some(sid) = sid.filter(Text::says_something) else { return User::default() };
    let kind = match &*sid.plain() {
        system if system.ends_with("@system") => UserKind::System,
        service if service.ends_with("@as") => UserKind::Service,
        _ => UserKind::User,
    };
    User { email: Some(sid.clone()), name: Some(sid), kind, ..User::default() }
}

/// Reads an address as gRPC writes it, `ipv4:192.0.2.1:5678` or `ipv6:[2001:db8::1]:443`, also with percent-encoded
/// brackets, or a bare address. Other text becomes the endpoint's name.
pub(super) fn endpoint(address: Text<'_>) -> Endpoint<'_> {
    let found = match address.borrowed().filter(|written| memchr::memchr(b'%', written.as_bytes()).is_none()) {
        Some(written) => Endpoint::of_address(Text::Escaped(without_scheme(written))),
        None => {
            let written = address.plain().replace("%5B", "[").replace("%5D", "]");
            Endpoint::of_address(Text::from(without_scheme(&written).to_owned()))
        }
    };
    match found {
        Some(end) if end.ip.is_some() => end,
        _ => Endpoint { name: Some(address), ..Endpoint::default() },
    }
}

fn without_scheme(written: &str) -> &str {
    written.strip_prefix("ipv4:").or_else(|| written.strip_prefix("ipv6:")).unwrap_or(written)
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
        assert_eq!(parts("ipv6:[::ffff:192.0.2.1]:5678"), ip("192.0.2.1", Some(5678)));
        assert_eq!(parts("ipv6:%5B::ffff:192.0.2.1%5D:5678"), ip("192.0.2.1", Some(5678)));
        let masked = "ipv6:[xxxx:xxx]:xxxxx";
        assert_eq!(parts(masked), (None, None, Some(masked.to_owned())));
    }
}

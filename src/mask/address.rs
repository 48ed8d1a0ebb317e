//! Secrets in addresses that have no name before them: passwords and tokens before a host, and values whose name or
//! sign is percent-encoded.

use crate::mask::Scan;
use crate::mask::name::{self, Name};
use crate::mask::unit::Unit;
use crate::mask::value::is_random;

/// The least bytes of a token before a host.
const TOKEN_MIN: usize = 16;

impl Scan<'_> {
    /// Whether the colon ends the scheme of an address.
    pub(super) fn is_scheme(&self, colon: usize) -> bool {
        let slash = |at: usize| self.unit(at).filter(|unit| unit.byte == b'/').map(|unit| at + unit.length);
        slash(colon + 1).and_then(slash).is_some()
    }

    /// Masks the password in `https://user:password@host`, or a token in its place. `at` is the colon of the scheme.
    pub(super) fn userinfo(&mut self, at: usize) {
        let slashes = |at: usize| self.unit(at).filter(|unit| unit.byte == b'/').map(|unit| unit.length);
        let Some(colon) = self.unit(at) else { return };
        let mut from = at + colon.length;
        for _ in 0..2 {
            let Some(length) = slashes(from) else { return };
            from += length;
        }
        // Mostly there is only a host.
        let rest = &self.bytes[from..];
        let plain = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-')).count();
        if matches!(rest.get(plain), None | Some(b'/' | b'"' | b' ')) {
            self.steps += plain;
            return;
        }
        let (mut end, mut host, mut password) = (from, None, None);
        while let Some(unit) = self.unit(end) {
            let is_own = unit.percent <= colon.percent;
            let is_end = match unit.byte {
                b'/' | b'?' | b'#' | b'&' | b'"' | b'\'' | b'<' | b'>' | b'`' | b',' => is_own,
                _ => is_own && (unit.is_space() || unit.byte < b' '),
            };
            if is_end || unit.percent == 0 && unit.byte == b'\\' {
                break;
            }
            match unit.byte {
                b'@' if unit.percent == colon.percent => host = Some(end),
                b':' if unit.percent == colon.percent && password.is_none() => password = Some(end + unit.length),
                _ => {}
            }
            end += unit.length;
        }
        self.steps += end - from;
        let Some(host) = host else { return };
        match password.filter(|password| *password <= host) {
            Some(password) => self.cut(password..host),
            None if host - from >= TOKEN_MIN && is_random(&self.bytes[from..host]) => self.cut(from..host),
            None => {}
        }
    }

    /// Handles a percent-encoded `=` or `:`: the sign of a name, or of an address within an address.
    pub(super) fn encoded_sign(&mut self, at: usize) {
        let Some(unit) = self.unit(at).filter(|unit| unit.percent > 0 && matches!(unit.byte, b':' | b'=')) else {
            return;
        };
        if unit.byte == b':' {
            let next = self.unit(at + unit.length);
            if next.is_some_and(|next| next.byte == b'/') {
                return self.userinfo(at);
            }
        }
        // The name may be in percent-encoded quotes.
        let mut end = at;
        if let Some(quote) = Unit::before(self.bytes, at, self.floor)
            .filter(|unit| unit.percent > 0 && matches!(unit.byte, b'"' | b'\''))
        {
            end -= quote.length;
        }
        if name::may_matter(self.bytes, end, self.floor)
            && let Some(name) = Name::before(self.bytes, end, self.floor)
        {
            self.value_of(&name);
        }
    }
}

//! Secrets in addresses: parameters of a query that let whoever reads them act as their owner, and passwords before a host.

use std::iter::Peekable;
use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::event::is_secret;

/// Parameters that are secrets, besides those whose names are secrets anywhere: a presigned request's (S3 API reference,
/// "Authenticating Requests: Using Query Parameters"), and a login's (RFC 6749, section 4.1.2).
const PARAMETERS: &[&str] = &["x-amz-signature", "x-amz-security-token", "signature", "sig", "code"];

const MASK: &str = "***";

/// What stands before a host, and a password at it.
static SCHEME: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("://"));

/// How `&` and `=` may stand inside of a JSON string.
const AMPERSAND: &[u8] = b"\\u0026";
const EQUALS: &[u8] = b"\\u003d";

/// Between a field's name and its value stand a few quotes, backslashes and a colon.
const BETWEEN_MAX: usize = 16;

/// What ends an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// Nothing: the text is the address, or the inside of a JSON string that is.
    OfText,
    /// A space, as in a request line.
    Space,
    /// Whatever cannot stand in an address: it is somewhere in the text of a record.
    Anything,
}

impl End {
    fn is_at(self, rest: &[u8]) -> bool {
        match (self, rest) {
            (Self::OfText, _) => rest.is_empty(),
            (Self::Space, _) => matches!(rest, [] | [b' ', ..]),
            // A slash or any character may be written as an escape.
            (Self::Anything, [b'\\', b'/' | b'u', ..]) => false,
            (Self::Anything, [b',', rest @ ..]) => rest.is_empty() || rest[0] == b' ',
            (Self::Anything, [byte, ..]) => {
                byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\\' | b'\'' | b'<' | b'>')
            }
            (Self::Anything, []) => true,
        }
    }
}

/// The bytes that the end of a parameter, or of an address, begins with.
const MAY_END: [bool; 256] = {
    let mut may_end = [false; 256];
    let mut byte = 0u8;
    while byte < 128 {
        may_end[byte as usize] =
            byte.is_ascii_whitespace() || matches!(byte, b'&' | b'\\' | b',' | b'"' | b'\'' | b'<' | b'>');
        byte += 1;
    }
    may_end
};

/// Where the secrets stand in a text, in order and none in another.
pub(super) fn secrets(text: &str, end: End) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut scan = Scan::new(bytes, end);
    scan.queries(std::iter::empty());
    passwords(bytes, &mut scan.found);
    in_order(scan.found)
}

/// The text of a record with the secrets of its addresses replaced by `***`; nothing when it has none. What the fields of
/// that name hold is a query without an address.
pub(super) fn masked(text: &str, queries: Option<&Finder<'_>>) -> Option<String> {
    let bytes = text.as_bytes();
    let mut scan = Scan::new(bytes, End::Anything);
    scan.queries(queries.into_iter().flat_map(|name| values(bytes, name)));
    passwords(bytes, &mut scan.found);
    let mut found = scan.found;
    found.retain(|secret| text.get(secret.clone()).is_some_and(|secret| secret != MASK));
    if found.is_empty() {
        return None;
    }
    let mut masked = String::with_capacity(text.len());
    let mut from = 0;
    for secret in in_order(found) {
        masked.push_str(text.get(from..secret.start)?);
        masked.push_str(MASK);
        from = secret.end;
    }
    masked.push_str(text.get(from..)?);
    Some(masked)
}

/// Without those that begin inside of another.
fn in_order(mut found: Vec<Range<usize>>) -> Vec<Range<usize>> {
    found.sort_by_key(|secret| (secret.start, std::cmp::Reverse(secret.end)));
    let mut end = 0;
    found.retain(|secret| {
        let is_apart = secret.start >= end;
        end = end.max(secret.end);
        is_apart
    });
    found
}

/// Reads the queries of a text from left to right, each byte once, whatever stands in it.
struct Scan<'t> {
    bytes: &'t [u8],
    end: End,
    found: Vec<Range<usize>>,
    /// Bytes of queries that were read.
    read: usize,
}

impl<'t> Scan<'t> {
    const fn new(bytes: &'t [u8], end: End) -> Self {
        Self { bytes, end, found: Vec::new(), read: 0 }
    }

    /// Finds the secrets of all queries: those behind a question mark, and those that begin at one of `values`, which are in
    /// order.
    fn queries(&mut self, values: impl Iterator<Item = usize>) {
        let mut values = values.peekable();
        let bytes = self.bytes;
        let mark_from = |from: usize| memchr::memchr(b'?', &bytes[from..]).map(|at| from + at);
        let mut mark = mark_from(0);
        while let Some(begin) = mark.map(|mark| mark + 1).into_iter().chain(values.peek().copied()).min() {
            let end = self.query(begin, &mut values);
            while values.next_if(|value| *value <= begin || *value < end).is_some() {}
            if mark.is_some_and(|mark| mark < end) {
                mark = mark_from(end);
            }
        }
    }

    /// Finds the secrets of the query that begins at `at`. Returns where it ends.
    fn query(&mut self, mut at: usize, values: &mut Peekable<impl Iterator<Item = usize>>) -> usize {
        loop {
            let rest = &self.bytes[at..];
            let ends = |index: &usize| {
                let rest = &rest[*index..];
                rest[0] == b'&' || rest.starts_with(AMPERSAND) || self.end.is_at(rest)
            };
            let may_end = |index: &usize| MAY_END[usize::from(rest[*index])];
            let length = (0..rest.len()).filter(may_end).find(ends).unwrap_or(rest.len());
            self.read += length;
            self.parameter(at..at + length, values);
            at += length;
            at += match &self.bytes[at..] {
                [b'&', ..] => 1,
                rest if rest.starts_with(AMPERSAND) => AMPERSAND.len(),
                _ => return at,
            };
        }
    }

    /// Finds the secret of one parameter. A name begins with the parameter, with a value that is a query itself, and behind
    /// a question mark, since an address in a parameter has parameters of its own. It ends at the next equals sign.
    fn parameter(&mut self, at: Range<usize>, values: &mut Peekable<impl Iterator<Item = usize>>) {
        while values.next_if(|value| *value < at.start).is_some() {}
        let mut name = Some(at.start);
        for mark in memchr::memchr3_iter(b'?', b'=', b'\\', &self.bytes[at.clone()]) {
            let mark = at.start + mark;
            while let Some(value) = values.next_if(|value| *value <= mark) {
                name = Some(value);
            }
            let equals = match self.bytes[mark] {
                b'?' => {
                    name = Some(mark + 1);
                    continue;
                }
                b'=' => 1,
                _ if self.bytes[mark..at.end].starts_with(EQUALS) => EQUALS.len(),
                _ => continue,
            };
            let Some(from) = name.take() else { continue };
            if std::str::from_utf8(&self.bytes[from..mark]).is_ok_and(is_secret_parameter) {
                let secret = mark + equals..at.end;
                self.found.extend((!secret.is_empty()).then_some(secret));
                return;
            }
        }
    }
}

fn is_secret_parameter(name: &str) -> bool {
    is_secret(name) || PARAMETERS.iter().any(|secret| secret.eq_ignore_ascii_case(name))
}

/// Finds what stands between colon and at sign in `https://user:password@host`.
fn passwords(bytes: &[u8], found: &mut Vec<Range<usize>>) {
    for at in SCHEME.find_iter(bytes) {
        let from = at + 3;
        let ends =
            |index: &usize| matches!(bytes[*index], b'/' | b'?' | b'#' | b'&') || End::Anything.is_at(&bytes[*index..]);
        let to = (from..bytes.len()).find(ends).unwrap_or(bytes.len());
        let Some(host) = memchr::memrchr(b'@', &bytes[from..to]) else { continue };
        let Some(colon) = memchr::memchr(b':', &bytes[from..from + host]) else { continue };
        let secret = from + colon + 1..from + host;
        found.extend((!secret.is_empty()).then_some(secret));
    }
}

/// Where the values of the fields of that name begin.
fn values(bytes: &[u8], name: &Finder<'_>) -> impl Iterator<Item = usize> {
    name.find_iter(bytes).filter_map(|at| value_after(bytes, at + name.needle().len()))
}

/// Where the value of a field begins whose name ends at `at`: behind `=`, or the colon and quotes of JSON.
fn value_after(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    if rest.first() == Some(&b'=') {
        return Some(at + 1);
    }
    let is_between = |byte: &u8| matches!(byte, b'"' | b'\\' | b':' | b' ');
    let between = rest.iter().take(BETWEEN_MAX).take_while(|byte| is_between(byte)).count();
    rest[..between].contains(&b':').then_some(at + between)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, end: End) -> Vec<&str> {
        secrets(text, end).into_iter().map(|secret| &text[secret]).collect()
    }

    #[test]
    fn credentials_in_a_query_are_found_however_it_is_escaped() {
        for (text, expected) in [
            ("/r/m/x?X-Amz-Date=1&X-Amz-Signature=abc&b=c", vec!["abc"]),
            ("/oidc/callback?code=one\\u0026state=x\\u0026token=two", vec!["one", "two"]),
            ("/x?token\\u003dS", vec!["S"]),
            ("/x?password=a b&api_key=k", vec!["a b", "k"]),
            ("/x?next=/y?token=S&a=b", vec!["S"]),
            ("/x?next=/y?from=/z?token=S&a=b", vec!["S"]),
            ("/x?a?b?token=S", vec!["S"]),
            ("/x?a=token=S", vec![]),
            ("/x?a=b?token\\u003dS\\u0026c=d", vec!["S"]),
            ("/x?AWSAccessKeyId=A&Signature=x%3D", vec!["x%3D"]),
            ("/r?code=", vec![]),
            ("code=x", vec![]),
            ("/k?signatures=x", vec![]),
            ("/a&token=x", vec![]),
        ] {
            assert_eq!(found(text, End::OfText), expected, "{text}");
        }
        assert_eq!(found("GET /k?token=x HTTP/1.1", End::Space), ["x"]);
    }

    #[test]
    fn a_password_before_a_host_is_found() {
        for (text, expected) in [
            ("https://u:S@h/", vec!["S"]),
            ("https://u:a@b@h", vec!["a@b"]),
            ("/x?next=https://u:S@h/y&token=T", vec!["S", "T"]),
            ("https://u@h:443/", vec![]),
            ("https://h:443/a@b", vec![]),
            ("https://u:@h", vec![]),
            ("u:S@h", vec![]),
        ] {
            assert_eq!(found(text, End::OfText), expected, "{text}");
        }
    }

    #[test]
    fn addresses_anywhere_in_a_record_show_no_secret_and_nothing_else_is_hidden() {
        for (text, expected) in [
            (r#"{"path":"/x?token=S","a":"b"}"#, r#"{"path":"/x?token=***","a":"b"}"#),
            (r#"{"body":"{\"u\":\"/x?token=S\",\"a\":1}"}"#, r#"{"body":"{\"u\":\"/x?token=***\",\"a\":1}"}"#),
            (r#"{"u":"/x?token=a\/b\u003d&c=d"}"#, r#"{"u":"/x?token=***&c=d"}"#),
            ("url=/x?token=S, params=token=S, reason=x", "url=/x?token=***, params=token=***, reason=x"),
            (r#"{"params":"a=b&token=S","c":1}"#, r#"{"params":"a=b&token=***","c":1}"#),
            (r#"{"params":"token=S","b":"/x?token=T"}"#, r#"{"params":"token=***","b":"/x?token=***"}"#),
            ("params=params=token=S&token=T, a=b", "params=params=token=***&token=***, a=b"),
            ("url=/x?params=token=S&code=T", "url=/x?params=token=***&code=***"),
        ] {
            assert_eq!(masked(text, Some(&Finder::new("params"))).as_deref(), Some(expected), "{text}");
        }
        for text in ["a ? b : c", "what? token = x", "/x?token=***", r#"{"params":{"a":1}}"#, "?", "://", "params"] {
            assert_eq!(masked(text, Some(&Finder::new("params"))), None, "{text}");
        }
    }

    /// What stands in each other is read once and not once for each that it stands in.
    #[test]
    fn each_byte_of_a_query_is_read_once_whatever_stands_in_it() {
        let name = Finder::new("params");
        for piece in [
            "?",
            "a=?",
            "a=b?c",
            "?token=",
            "?a\\u003d",
            "\\",
            "?\\",
            "params=",
            "params=x&token=S&",
            "params=x&",
            "params=?",
            "params=token=",
            "params\":\"",
            "/x?a=https://h/y?b=",
            "%3Fa%3D",
            "=",
            "&",
            "\\u0026",
            "token=a&",
        ] {
            let text = format!("?{}", piece.repeat(2000));
            for end in [End::OfText, End::Space, End::Anything] {
                let mut scan = Scan::new(text.as_bytes(), end);
                scan.queries(values(text.as_bytes(), &name));
                assert!(scan.read <= text.len(), "{piece}: {} of {} bytes", scan.read, text.len());
                let masked: usize = scan.found.iter().map(Range::len).sum();
                assert!(masked <= text.len() && scan.found.is_sorted_by_key(|secret| secret.start), "{piece}");
            }
        }
    }
}

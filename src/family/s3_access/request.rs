//! The request line of an access log.

use std::borrow::Cow;
use std::ops::Range;

use crate::family::s3_access::token::holds_quote;

/// `GET /key?query HTTP/1.1`, split without losing a character.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Request<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub version: &'a str,
}

impl<'a> Request<'a> {
    /// `None` if the request line is malformed.
    pub(super) fn read(uri: &'a str) -> Option<Self> {
        let (method, rest) = uri.split_once(' ')?;
        let (target, version) = rest.split_once(' ')?;
        let is_plain = is_method(method) && target.starts_with('/') && version.starts_with("HTTP/");
        if !is_plain || version.contains(' ') || holds_quote(target) {
            return None;
        }
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        // A `?` with an empty query would be lost.
        (query != Some("")).then_some(Self { method, path, query, version })
    }
}

/// Whether it is one of the methods that events can have.
fn is_method(method: &str) -> bool {
    matches!(method, "CONNECT" | "DELETE" | "GET" | "HEAD" | "OPTIONS" | "PATCH" | "POST" | "PUT" | "TRACE")
}

/// A part of a text, and its replacement.
pub(super) type Cut = (Range<usize>, &'static str);

/// Applies the cuts, which must be in order and not overlap.
pub(super) fn cut<'a>(text: &'a str, cuts: &[Cut]) -> Cow<'a, str> {
    if cuts.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut left = String::with_capacity(text.len());
    let mut from = 0;
    for (at, replacement) in cuts {
        left.push_str(text.get(from..at.start).unwrap_or_default());
        left.push_str(replacement);
        from = at.end;
    }
    left.push_str(text.get(from..).unwrap_or_default());
    Cow::Owned(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_keeps_to_the_rules_is_taken_apart() {
        let request = |uri| Request::read(uri).map(|own| (own.method, own.path, own.query, own.version));
        assert_eq!(request("GET /a/b HTTP/1.1"), Some(("GET", "/a/b", None, "HTTP/1.1")));
        assert_eq!(request("PUT /b?x=1&y=?2 HTTP/1.0"), Some(("PUT", "/b", Some("x=1&y=?2"), "HTTP/1.0")));
    }

    #[test]
    fn any_other_request_is_left_whole() {
        for uri in [
            "GET",
            "GET url ",
            "GET ?x HTTP/1.1",
            "GET /\" HTTP/1.1",
            "GET /a b HTTP/1.1",
            "get / HTTP/1.1",
            "GET /? HTTP/1.1",
            "",
        ] {
            assert_eq!(Request::read(uri), None, "{uri}");
        }
    }
}

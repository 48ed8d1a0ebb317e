//! The parts of a lakeFS request path: repositories, refs, users, groups, policies and objects.

use std::borrow::Cow;

use crate::event::Text;

/// A request path with its query, as the server logs it; or the path of an object inside a ref, which has no query.
#[derive(Clone, Debug)]
pub(super) struct RequestPath<'a> {
    /// If borrowed, the inside of a JSON string without escapes.
    whole: Cow<'a, str>,
    /// The length of the path in bytes: up to the question mark, or all of it.
    path_bytes: usize,
}

/// The segments before a ref in a path, and the kind of ref that follows each.
const REFS: &[(&str, &str)] = &[("branches", "branch"), ("tags", "tag"), ("commits", "commit"), ("refs", "ref")];

impl<'a> RequestPath<'a> {
    /// `whole` is a copy, or the inside of a JSON string that has no escapes.
    pub(super) fn new(whole: Cow<'a, str>) -> Self {
        let is_absolute = whole.starts_with('/');
        let question_mark = memchr::memchr(b'?', whole.as_bytes()).filter(|_| is_absolute);
        let path_bytes = question_mark.unwrap_or(whole.len());
        Self { whole, path_bytes }
    }

    pub(super) fn path(&self) -> Text<'a> {
        self.piece(0, self.path_bytes)
    }

    pub(super) fn query(&self) -> Option<Text<'a>> {
        (self.path_bytes < self.whole.len()).then(|| self.piece(self.path_bytes + 1, self.whole.len()))
    }

    /// Whether it is a request path, not the path of an object inside a ref.
    pub(super) fn is_absolute(&self) -> bool {
        self.whole.starts_with('/')
    }

    /// The segment after the first one called `name`, decoded.
    pub(super) fn after(&self, name: &str) -> Option<Text<'a>> {
        self.bounds_after(name).map(|(from, to)| self.decoded(from, to))
    }

    fn bounds_after(&self, name: &str) -> Option<(usize, usize)> {
        let mut segments = self.segments();
        segments.find(|(from, to)| &self.whole.as_bytes()[*from..*to] == name.as_bytes())?;
        segments.next().filter(|(from, to)| from < to)
    }

    /// The branch, tag, commit or ref in the path, and its kind.
    pub(super) fn reference(&self) -> Option<(Text<'a>, &'static str)> {
        self.bounds_after("repositories")?;
        // Looks for the first segment of each name, in any order.
        let mut called = [None; REFS.len()];
        let mut segments = self.segments();
        while let Some((from, to)) = segments.next() {
            let Some(at) = REFS.iter().position(|(name, _)| name.as_bytes() == &self.whole.as_bytes()[from..to]) else {
                continue;
            };
            if called[at].is_none() {
                called[at] = Some(segments.clone().next().filter(|(from, to)| from < to));
                // The first name in `REFS` takes precedence.
                if at == 0 && called[0].flatten().is_some() {
                    break;
                }
            }
        }
        let found = called.into_iter().zip(REFS).find_map(|(next, (_, kind))| Some((next??, *kind)));
        found.map(|((from, to), kind)| (self.decoded(from, to), kind))
    }

    /// A parameter of the query, form-decoded. `None` if it is empty.
    pub(super) fn parameter(&self, name: &str) -> Option<Text<'a>> {
        let mut from = self.path_bytes + 1;
        while from <= self.whole.len() {
            let to = memchr::memchr(b'&', &self.whole.as_bytes()[from..]).map_or(self.whole.len(), |at| from + at);
            let pair = self.whole.get(from..to)?;
            if let Some(value) = pair.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')) {
                if value.contains('+') {
                    return Some(Text::from(percent_decoded(&value.replace('+', " ")).into_owned()));
                }
                return (!value.is_empty()).then(|| self.decoded(to - value.len(), to));
            }
            from = to + 1;
        }
        None
    }

    /// The object's own path: the part after `/repository/ref/` or, without a `reference`, after `/repository/`.
    pub(super) fn object_in(&self, repository: &str, reference: Option<&str>) -> Option<Text<'a>> {
        let mut segments = self.segments();
        let is = |bounds: Option<(usize, usize)>, name: &str| {
            bounds.is_some_and(|(from, to)| {
                self.whole.get(from..to).is_some_and(|segment| percent_decoded(segment) == name)
            })
        };
        if !is(segments.next(), repository) {
            return None;
        }
        if let Some(reference) = reference
            && !is(segments.next(), reference)
        {
            return None;
        }
        let (from, _) = segments.next().filter(|(from, _)| *from < self.path_bytes)?;
        Some(self.decoded(from, self.path_bytes))
    }

    /// The byte bounds of the segments between slashes.
    fn segments(&self) -> impl Iterator<Item = (usize, usize)> + Clone {
        let path = &self.whole.as_bytes()[..self.path_bytes];
        let mut from = usize::from(path.first() == Some(&b'/'));
        let mut ended = false;
        std::iter::from_fn(move || {
            if ended {
                return None;
            }
            let to = memchr::memchr(b'/', &path[from..]).map_or(path.len(), |at| from + at);
            let segment = (from, to);
            ended = to == path.len();
            from = to + 1;
            Some(segment)
        })
    }

    fn decoded(&self, from: usize, to: usize) -> Text<'a> {
        match self.whole.get(from..to) {
            Some(piece) if piece.contains('%') => Text::from(percent_decoded(piece).into_owned()),
            _ => self.piece(from, to),
        }
    }

    fn piece(&self, from: usize, to: usize) -> Text<'a> {
        match &self.whole {
            Cow::Borrowed(whole) => Text::Escaped(&whole[from..to]),
            Cow::Owned(whole) => Text::from(whole[from..to].to_owned()),
        }
    }
}

/// Decodes percent escapes. Text that is no escape stays. If the result would not be UTF-8, all of it stays.
fn percent_decoded(text: &str) -> Cow<'_, str> {
    let mut rest = text.as_bytes();
    let Some(mut at) = memchr::memchr(b'%', rest) else { return Cow::Borrowed(text) };
    let digit = |hex: u8| char::from(hex).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or(0);
    let mut decoded = Vec::with_capacity(rest.len());
    loop {
        decoded.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        match rest {
            [b'%', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                decoded.push(digit(*high) << 4 | digit(*low));
                rest = after;
            }
            [byte, after @ ..] => {
                decoded.push(*byte);
                rest = after;
            }
            [] => break,
        }
        at = memchr::memchr(b'%', rest).unwrap_or(rest.len());
    }
    String::from_utf8(decoded).map_or(Cow::Borrowed(text), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: Option<Text<'_>>) -> Option<String> {
        text.map(|text| text.plain().into_owned())
    }

    #[test]
    fn a_path_names_what_stands_after_its_words() {
        let path = RequestPath::new("/api/v1/auth/groups/a%2Fb/members/anna%40example.com".into());
        assert_eq!(plain(path.after("groups")).as_deref(), Some("a/b"));
        assert_eq!(plain(path.after("members")).as_deref(), Some("anna@example.com"));
        assert_eq!(plain(path.after("users")), None);
        assert_eq!(plain(RequestPath::new("/api/v1/auth/users/".into()).after("users")), None);
        assert!(path.reference().is_none());
    }

    #[test]
    fn a_repository_called_like_a_word_is_still_the_repository() {
        let path = RequestPath::new("/api/v1/repositories/branches/branches/dev/objects?path=x".into());
        assert_eq!(plain(path.after("repositories")).as_deref(), Some("branches"));
    }

    #[test]
    fn a_parameter_is_decoded_as_forms_are() {
        let path = RequestPath::new("/api/v1/repositories/r/refs/main/objects?a=b&path=x%2By+z%C3%BC".into());
        assert_eq!(plain(path.parameter("path")).as_deref(), Some("x+y zü"));
        assert_eq!(plain(path.parameter("a")).as_deref(), Some("b"));
        assert_eq!(plain(path.parameter("prefix")), None);
        assert_eq!(path.path().plain(), "/api/v1/repositories/r/refs/main/objects");
    }

    #[test]
    fn an_object_is_what_follows_repository_and_ref() {
        let object = |path: &'static str| plain(RequestPath::new(path.into()).object_in("lake", Some("main")));
        assert_eq!(object("/lake/main/a%20b/c.parquet").as_deref(), Some("a b/c.parquet"));
        assert_eq!(object("/lake/main/"), None);
        assert_eq!(object("/lake?list-type=2"), None);
        assert_eq!(object("/other/main/a"), None);
    }

    #[test]
    fn what_is_no_escape_stays_as_it_is() {
        assert_eq!(percent_decoded("100%"), "100%");
        assert_eq!(percent_decoded("%zz%20"), "%zz ");
        assert_eq!(percent_decoded("%ff"), "%ff");
    }
}

//! The forms and lengths that older versions of OCSF allow for texts.

use serde::Deserialize;

use crate::event::text::unescape;

/// What an older version requires of an attribute's value beyond what 1.8.0 requires.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
pub(super) enum Form {
    /// Numbers, and any text within the version's length limit.
    #[default]
    Plain,
    /// Any JSON, of any length.
    #[serde(rename = "json_t")]
    Json,
    /// Labels of letters, digits and inner hyphens, with dots between them.
    #[serde(rename = "hostname_t")]
    Hostname,
    /// Only letters, digits and `_.+-` before the `@`.
    #[serde(rename = "email_t")]
    Email,
}

impl Form {
    /// Whether a text has this form. `inside` is the inside of its JSON string, escapes included.
    pub(super) fn takes(self, inside: &str) -> bool {
        match self {
            Self::Plain | Self::Json => true,
            Self::Hostname => inside.split('.').all(is_label),
            // The text is an e-mail address already, so the part after the `@` is valid.
            Self::Email => inside.split('@').next().is_some_and(is_local_part),
        }
    }
}

fn is_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    let is_inner = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    !bytes.is_empty() && !bytes.starts_with(b"-") && !bytes.ends_with(b"-") && bytes.iter().all(is_inner)
}

fn is_local_part(local: &str) -> bool {
    local.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'+' | b'-'))
}

/// The first `characters_max` code points of a text; `None` if it has no more than these. `inside` is the inside of its
/// JSON string.
pub(super) fn cut(inside: &str, characters_max: usize) -> Option<String> {
    // A code point takes at least one byte.
    if inside.len() <= characters_max {
        return None;
    }
    let text = unescape(inside);
    let (end, _) = text.char_indices().nth(characters_max)?;
    Some(text[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use regex::Regex;
    use serde_json::Value;

    use super::*;

    /// The expression that the published schema of 1.1.0 has for the type.
    fn published(name: &str) -> Regex {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/ocsf/ocsf-1.1.0-min.json");
        let whole: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        Regex::new(whole["types"][name]["regex"].as_str().unwrap()).unwrap()
    }

    #[test]
    fn a_hostname_is_what_the_published_schema_takes_for_one() {
        let expression = published("hostname_t");
        for (text, expected) in [
            ("b.s3.amazonaws.com", true),
            ("localhost", true),
            ("a-b.c--d", true),
            ("10.0.0.1", true),
            ("b.s3.amazonaws.com:443", false),
            ("my_bucket.s3.amazonaws.com", false),
            ("[::1]", false),
            ("é", false),
            ("example.com.", false),
            (".example.com", false),
            ("a..b", false),
            ("-a", false),
            ("a-.b", false),
            (r"a\u002eb", false),
            ("", false),
        ] {
            assert_eq!(Form::Hostname.takes(text), expected, "{text}");
            assert_eq!(expression.is_match(text), expected, "{text}");
        }
    }

    #[test]
    fn an_address_is_what_the_published_schema_takes_for_one() {
        let expression = published("email_t");
        for (text, expected) in [
            ("a.b_c+d-e@example.com", true),
            ("o'brien@example.com", false),
            ("a&b@example.com", false),
            ("a=b/c@example.com", false),
        ] {
            assert_eq!(Form::Email.takes(text), expected, "{text}");
            assert_eq!(expression.is_match(text), expected, "{text}");
        }
    }

    #[test]
    fn a_text_is_cut_between_its_characters() {
        assert_eq!(cut("abc", 3), None);
        assert_eq!(cut("äöü", 3), None);
        assert_eq!(cut(r"\u00e4\u00e4\ud83d\ude00", 3), None);
        assert_eq!(cut("äöüß", 3).as_deref(), Some("äöü"));
        assert_eq!(cut(r#"a\"\ud83d\ude00d"#, 3).as_deref(), Some("a\"\u{1f600}"));
    }
}

//! Prepares a receiver's words for messages: without secrets, in one short line.

use crate::visible::visible;

/// The most characters of an answer that messages quote.
pub(crate) const TOLD_CHARACTERS: usize = 200;
/// Shorter secrets are not masked: they would match in any text.
const SECRET_BYTES_MIN: usize = 4;
const MASK: &str = "***";

/// The secrets that must not appear in messages.
#[derive(Clone, Default)]
pub(super) struct Mask {
    /// The longest first, since one secret may contain another.
    secrets: Vec<Box<str>>,
}

impl Mask {
    pub(super) fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut mask = Self::default();
        secrets.into_iter().for_each(|secret| mask.add(secret));
        mask
    }

    pub(super) fn add(&mut self, secret: &str) {
        if secret.len() < SECRET_BYTES_MIN {
            return;
        }
        self.secrets.push(secret.into());
        // Also mask the secret as JSON escapes it.
        let quoted = serde_json::Value::from(secret).to_string();
        if quoted.len() > secret.len() + 2 {
            self.secrets.push(quoted[1..quoted.len() - 1].into());
        }
        self.secrets.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
    }

    /// The words of an answer: at most 200 characters, control characters escaped, secrets masked.
    pub(super) fn words(&self, body: &[u8]) -> String {
        let mut text = String::from_utf8_lossy(body).into_owned();
        for secret in &self.secrets {
            if text.contains(&**secret) {
                text = text.replace(&**secret, MASK);
            }
        }
        let mut characters = text.trim().chars();
        let mut told = visible(characters.by_ref().take(TOLD_CHARACTERS));
        if characters.next().is_some() {
            told.push_str("...");
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_receiver_says_is_told_in_one_short_line_without_our_secrets() {
        let mask = Mask::new(["hush-hush", "hush-hush-and-more", "a\"b\\c", "abc"]);
        for (said, told) in [
            ("  no such index\n", "no such index"),
            ("bad token hush-hush!", "bad token ***!"),
            ("bad token hush-hush-and-more!", "bad token ***!"),
            (r#"{"token":"a\"b\\c"}"#, r#"{"token":"***"}"#),
            ("a\r\nb\u{1b}[31m\u{2028}c", "a\\r\\nb\\u{1b}[31m\\u{2028}c"),
            ("abc", "abc"),
        ] {
            assert_eq!(mask.words(said.as_bytes()), told);
        }
        assert_eq!(mask.words(&[0xff, b'x']), "\u{fffd}x");
        let long = "ä".repeat(300);
        assert_eq!(mask.words(long.as_bytes()), format!("{}...", "ä".repeat(200)));
        let at_the_cut = format!("{}hush-hush", "x".repeat(196));
        assert_eq!(mask.words(at_the_cut.as_bytes()), format!("{}***", "x".repeat(196)));
    }
}

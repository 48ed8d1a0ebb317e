//! Secrets that stand as literals in the text of SQL, such as `PASSWORD 'x'`.

use crate::event::is_secret;

/// How far before a literal its name may stand, in bytes: `=`, `=>`, `(` and spaces are between them.
const BETWEEN_MAX: usize = 8;

/// Longer than any name of a secret.
const NAME_MAX: usize = 64;

/// Names of secrets in SQL, besides those that are secrets anywhere. `BY` is the end of `IDENTIFIED BY`.
const NAMES: &[&str] = &["by", "credentials", "passphrase", "aws_secret_key", "access_key", "account_key"];

/// The text with the secrets in its literals replaced by `***`; nothing when it has none.
///
/// In the text of a JSON object a literal ends at the latest where its JSON string does.
pub(super) fn masked(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    // The object may stand after a time.
    let head = &bytes[..bytes.len().min(NAME_MAX)];
    let is_json = bytes.first() == Some(&b'{') || memchr::memmem::find(head, b": {\"").is_some();
    let mut shown: Option<String> = None;
    let (mut copied, mut from) = (0, 0);
    while let Some(found) = memchr::memchr(b'\'', &bytes[from..]) {
        let quote = from + found;
        let Some(end) = literal_end(bytes, quote + 1, if is_json { b'"' } else { b'\'' }) else { break };
        if names_secret(&bytes[..quote]) && end > quote + 1 {
            let shown = shown.get_or_insert_with(|| String::with_capacity(text.len()));
            shown.push_str(text.get(copied..=quote)?);
            shown.push_str("***");
            copied = end;
            from = end + 1;
        } else {
            from = quote + 1;
        }
    }
    let mut shown = shown?;
    shown.push_str(text.get(copied..)?);
    Some(shown)
}

/// Where the literal ends: at a quote that is neither doubled nor escaped, or before what ends the text around it.
fn literal_end(bytes: &[u8], from: usize, outer: u8) -> Option<usize> {
    let mut at = from;
    loop {
        at += memchr::memchr3(b'\'', b'\\', outer, bytes.get(at..)?)?;
        match bytes[at] {
            b'\\' => at += 2,
            b'\'' if bytes.get(at + 1) == Some(&b'\'') => at += 2,
            _ => return Some(at),
        }
    }
}

/// Whether the word before a literal is a secret's name.
fn names_secret(before: &[u8]) -> bool {
    let is_between = |byte: &u8| matches!(byte, b' ' | b'=' | b'>' | b'(' | b':');
    let between = before.iter().rev().take_while(|byte| is_between(byte)).count();
    if between == 0 || between > BETWEEN_MAX {
        return false;
    }
    let before = &before[..before.len() - between];
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let length = before.iter().rev().take(NAME_MAX).take_while(|byte| is_name(byte)).count();
    let Ok(name) = std::str::from_utf8(&before[before.len() - length..]) else { return false };
    is_secret(name) || NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_literal_after_the_name_of_a_secret_is_masked_and_no_other() {
        for (text, expected) in [
            ("CREATE USER u PASSWORD 'x y'", "CREATE USER u PASSWORD '***'"),
            ("ALTER USER u IDENTIFIED BY 'it''s' x", "ALTER USER u IDENTIFIED BY '***' x"),
            ("WITH (password = 'a', user = 'b')", "WITH (password = '***', user = 'b')"),
            ("(AWS_SECRET_ACCESS_KEY=>'k')", "(AWS_SECRET_ACCESS_KEY=>'***')"),
            (r#"{"query":"SET PASSWORD 'cut short","user":"it's"}"#, r#"{"query":"SET PASSWORD '***","user":"it's"}"#),
            (r#"{"query":"PASSWORD 'a\"b' x"}"#, r#"{"query":"PASSWORD '***' x"}"#),
            (r#"PASSWORD 'a"b', x"#, "PASSWORD '***', x"),
            ("PASSWORD 'a' and PASSWORD 'b'", "PASSWORD '***' and PASSWORD '***'"),
        ] {
            assert_eq!(masked(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_secret_stays_as_it_is() {
        for text in
            ["SELECT 'password' FROM t WHERE a = 'b'", "it's", "", "PASSWORD NULL", "PASSWORD ''", "'", "PASSWORD '"]
        {
            assert_eq!(masked(text), None, "{text}");
        }
    }
}

//! Secrets in records: which fields hold them, and how values are copied into an event without them.

use std::borrow::Cow;
use std::ops::Range;

use crate::event::text::unescape;
use crate::event::{Fault, Fields, Json, Members, Reader, Text, Value};
use crate::records::escaped::write_escaped;

/// The replacement of a secret.
pub(crate) const MASK: &str = "***";

/// A field is secret when its name ends so, whatever its case and without `_`, `-` and `.`: passwords, keys, tokens, the
/// values of stored secrets, and the text of commands, which may hold any of them. By their last letters.
const SECRET_ENDINGS: &[(u8, &[&str])] = &[
    (b'd', &["password", "passwd", "pwd"]),
    (b't', &["secret", "commandtext"]),
    (b'y', &["secretkey", "secretaccesskey", "privatekey", "apikey", "accesskey", "accountkey"]),
    (b'e', &["passphrase", "tokenvalue", "secretvalue", "stringvalue", "bytesvalue"]),
    (b's', &["credentials"]),
    (
        b'n',
        &[
            "accesstoken",
            "apitoken",
            "authtoken",
            "bearertoken",
            "fixedtoken",
            "idtoken",
            "refreshtoken",
            "sastoken",
            "sessiontoken",
        ],
    ),
    (b'g', &["connectionstring"]),
];

/// A field is secret when this is its whole name.
const SECRET_NAMES: &[&str] = &["token", "authorization"];

/// How the hosts of Azure's storage accounts end.
const AZURE_HOST: &[u8] = b".core.windows.net";

/// Longer than any ending.
const TAIL_BYTES: usize = 24;

/// How many JSON texts may stand in each other's strings before the innermost is masked unseen.
const EMBEDDED_MAX: u8 = 3;

/// A family adds no more to a record's own fields, mostly.
const USUAL_MORE: usize = 2;

/// What the source writes at the end of a value that it cut short.
const TRUNCATED: &str = "... truncated";

/// A secret in a record, and its replacement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mask {
    /// Bytes of the record.
    pub at: Range<usize>,
    /// In the record's own notation: inside a JSON string, escaped as such.
    pub replacement: Cow<'static, str>,
}

/// Appends the record with its masked parts replaced.
pub(crate) fn write_masked(out: &mut Vec<u8>, record: &[u8], masks: &[Mask], more: &[Mask]) {
    let mut masks: Vec<&Mask> = masks.iter().chain(more).collect();
    masks.sort_by_key(|mask| mask.at.start);
    let mut from = 0;
    for mask in masks {
        // A part inside of another is gone with it.
        let Some(between) = record.get(from..mask.at.start) else { continue };
        out.extend_from_slice(between);
        out.extend_from_slice(mask.replacement.as_bytes());
        from = mask.at.end;
    }
    out.extend_from_slice(record.get(from..).unwrap_or_default());
}

/// Whether a field of this name holds a secret.
pub(crate) fn is_secret(name: &str) -> bool {
    is_secret_name(name.as_bytes())
}

fn is_secret_name(bytes: &[u8]) -> bool {
    if !may_be_secret(bytes) {
        return false;
    }
    let bytes = without_host(bytes);
    let mut tail = [0; TAIL_BYTES];
    let mut at = TAIL_BYTES;
    let mut whole = true;
    for byte in bytes.iter().rev().filter(|byte| !matches!(byte, b'_' | b'-' | b'.')) {
        if at == 0 {
            whole = false;
            break;
        }
        at -= 1;
        tail[at] = byte.to_ascii_lowercase();
    }
    let tail = &tail[at..];
    let endings = SECRET_ENDINGS.iter().filter(|(letter, _)| tail.last() == Some(letter));
    endings.flat_map(|(_, endings)| *endings).any(|ending| tail.ends_with(ending.as_bytes()))
        || whole && SECRET_NAMES.iter().any(|name| tail == name.as_bytes())
}

/// A setting of Hadoop's for one storage account of Azure, without the account's host, which stands behind its name.
fn without_host(name: &[u8]) -> &[u8] {
    let Some(account) = name.strip_suffix(AZURE_HOST) else { return name };
    // The account, and `dfs` or `blob`.
    account.rsplitn(3, |byte| *byte == b'.').nth(2).unwrap_or(name)
}

/// Whether the name of a secret may end so: most other names are told apart by two bytes.
pub(crate) fn may_be_secret(name: &[u8]) -> bool {
    let &[.., before, last] = name else { return false };
    matches!(
        (before | 0x20, last | 0x20),
        (b'r' | b'w', b'd')
            | (b'e', b't' | b'y' | b'n')
            | (b'u' | b's', b'e')
            | (b'n', b'g')
            | (b'x', b't')
            | (b'o', b'n')
            | (b'l', b's')
    )
}

/// Carries values out of one record, and remembers what it masked.
#[derive(Debug)]
pub(crate) struct Secrets<'a> {
    record: &'a str,
    embedded: u8,
    /// Where the secrets stood that were met so far.
    pub masks: Vec<Mask>,
    /// Whether a value was met that the source cut short.
    pub truncated: bool,
}

impl<'a> Secrets<'a> {
    pub(crate) const fn of(record: &'a str) -> Self {
        Self { record, embedded: 0, masks: Vec::new(), truncated: false }
    }

    /// The value of a field of that name: as it is, or masked; in objects each key once, the last value holding.
    pub(crate) fn copy(&mut self, name: &str, value: Json<'a>) -> Value<'a> {
        match value {
            Json::Null => Value::Json(Cow::Borrowed("null")),
            Json::Bool(true) => Value::Json(Cow::Borrowed("true")),
            Json::Bool(false) => Value::Json(Cow::Borrowed("false")),
            _ if is_secret(name) => self.mask(value),
            Json::Number(digits) => Value::Json(Cow::Borrowed(digits)),
            Json::String(inside) => Value::Text(self.copy_text(inside)),
            Json::Object(whole) | Json::Array(whole) if is_clean(whole) => Value::Json(Cow::Borrowed(whole)),
            Json::Object(whole) => self.copy_object(whole),
            Json::Array(whole) => self.copy_array(name, whole),
        }
    }

    /// The fields that have found no place in the event, each copied.
    pub(crate) fn copy_unmapped(&mut self, fields: &Fields<'a>) -> Members<'a> {
        let mut members = Members::with_capacity(fields.unmapped().count() + USUAL_MORE);
        for field in fields.unmapped() {
            members.push((field.name(), self.copy(&field.key, field.value)));
        }
        members
    }

    /// As [`copy`](Self::copy), for an attribute that is text: nothing when the value says nothing.
    pub(crate) fn copy_as_text(&mut self, name: &str, value: Json<'a>) -> Option<Text<'a>> {
        let text = value.text()?;
        match self.copy(name, value) {
            Value::Text(text) => Some(text),
            Value::Json(Cow::Borrowed(_)) => Some(text),
            changed => {
                let mut out = Vec::new();
                changed.write(&mut out);
                String::from_utf8(out).ok().map(Text::from)
            }
        }
    }

    fn mask(&mut self, value: Json<'a>) -> Value<'a> {
        match value {
            Json::String("") => return Value::Text(Text::from("")),
            Json::String(inside) => {
                self.truncated |= inside.ends_with(TRUNCATED);
                self.remember(inside, Cow::Borrowed(MASK));
            }
            Json::Number(whole) | Json::Object(whole) | Json::Array(whole) => {
                self.remember(whole, Cow::Borrowed("\"***\""));
            }
            Json::Null | Json::Bool(_) => {}
        }
        Value::Text(Text::from(MASK))
    }

    fn remember(&mut self, secret: &'a str, replacement: Cow<'static, str>) {
        // Both are addresses in one text, of which the secret is a slice.
        let from = (secret.as_ptr() as usize).wrapping_sub(self.record.as_ptr() as usize);
        if from <= self.record.len() {
            self.masks.push(Mask { at: from..from + secret.len(), replacement });
        }
    }

    /// A text may hold JSON that holds secrets.
    fn copy_text(&mut self, inside: &'a str) -> Text<'a> {
        self.truncated |= inside.ends_with(TRUNCATED);
        if !may_be_json(inside) || !mentions_secret(inside) {
            return Text::Escaped(inside);
        }
        let masked = self.masked_text(&unescape(inside)).unwrap_or_else(|| MASK.to_owned());
        let mut escaped = Vec::with_capacity(masked.len() + 16);
        write_escaped(&mut escaped, &masked);
        self.remember(inside, Cow::Owned(String::from_utf8(escaped).unwrap_or_else(|_| MASK.to_owned())));
        Text::from(masked)
    }

    fn masked_text(&self, text: &str) -> Option<String> {
        if self.embedded >= EMBEDDED_MAX {
            return None;
        }
        let mut reader = Reader::new(text);
        let value = reader.value().ok()?;
        reader.end().ok()?;
        let mut inner = Secrets { record: text, embedded: self.embedded + 1, masks: Vec::new(), truncated: false };
        let mut out = Vec::with_capacity(text.len());
        inner.copy("", value).write(&mut out);
        String::from_utf8(out).ok()
    }

    fn copy_object(&mut self, whole: &'a str) -> Value<'a> {
        let Ok(fields) = Fields::read(&mut Reader::new(whole)) else { return Value::Text(Text::from(MASK)) };
        let members = fields.iter().map(|field| (Text::from(field.key.clone()), self.copy(&field.key, field.value)));
        Value::Object(members.collect())
    }

    fn copy_array(&mut self, name: &str, whole: &'a str) -> Value<'a> {
        let mut values = Vec::new();
        let read = Reader::new(whole).array(|reader| {
            let value = reader.value()?;
            values.push(self.copy(name, value));
            Ok(())
        });
        if read.is_ok() { Value::List(values) } else { Value::Text(Text::from(MASK)) }
    }
}

/// Whether any name in a text of JSON, however often it is escaped, is a secret's.
fn mentions_secret(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut from = 0;
    memchr::memchr_iter(b'"', bytes).any(|at| {
        let piece = &bytes[from..at];
        from = at + 1;
        let escapes = piece.iter().rev().take_while(|byte| **byte == b'\\').count();
        is_secret_name(&piece[..piece.len() - escapes])
    })
}

/// By its first byte; white space may stand before.
fn may_be_json(text: &str) -> bool {
    matches!(text.as_bytes().first(), Some(b'{' | b'[' | b' '))
}

/// Whether a JSON value can be copied as it stands: no key twice in one object, no secret, no text that holds JSON, no
/// value cut short.
fn is_clean(whole: &str) -> bool {
    let mut keys = Vec::new();
    let mut reader = Reader::new(whole);
    matches!(probe(&mut reader, &mut keys), Ok(true))
}

/// Reads one value. `keys` holds those of the objects around.
fn probe<'a>(reader: &mut Reader<'a>, keys: &mut Vec<&'a str>) -> Result<bool, Fault> {
    let mut clean = true;
    match reader.peek() {
        Some(b'{') => {
            let from = keys.len();
            reader.object(|reader, key| {
                match key {
                    Cow::Borrowed(key) if clean && !is_secret(key) => keys.push(key),
                    _ => clean = false,
                }
                clean &= probe(reader, keys)?;
                Ok(())
            })?;
            clean &= are_distinct(&mut keys[from..]);
            keys.truncate(from);
        }
        Some(b'[') => reader.array(|reader| {
            clean &= probe(reader, keys)?;
            Ok(())
        })?,
        _ => {
            if let Json::String(inside) = reader.value()? {
                clean = !inside.ends_with(TRUNCATED) && !may_be_json(inside);
            }
        }
    }
    Ok(clean)
}

/// May reorder the keys.
fn are_distinct(keys: &mut [&str]) -> bool {
    if keys.len() <= 8 {
        return keys.iter().enumerate().all(|(index, key)| !keys[..index].contains(key));
    }
    keys.sort_unstable();
    keys.windows(2).all(|pair| pair[0] != pair[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied(record: &'static str) -> (String, Secrets<'static>) {
        let mut secrets = Secrets::of(record);
        let value = Reader::new(record).value().unwrap();
        let mut out = Vec::new();
        secrets.copy("", value).write(&mut out);
        (String::from_utf8(out).unwrap(), secrets)
    }

    #[test]
    fn a_field_is_secret_by_its_name() {
        for name in [
            "password",
            "newPassword",
            "string_value",
            "bytes_value",
            "token",
            "Token",
            "token_value",
            "access-token",
            "clientSecret",
            "fs.azure.account.oauth2.client.secret",
            "fs.azure.account.oauth2.client.secret.lake.dfs.core.windows.net",
            "spark.hadoop.fs.azure.account.key.lake.blob.core.windows.net",
            "fs.azure.sas.fixed.token.lake.dfs.core.windows.net",
            "privateKey",
            "commandText",
            "Authorization",
            "apiKey",
            "x-api-key",
            "passphrase",
            "credentials",
            "access_key",
            "account_key",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in [
            "",
            "d",
            "userId",
            "tokenId",
            "tokenExpirationTime",
            "idempotency_token",
            "wasPasswordChanged",
            "path",
            "key",
            "accessKeyId",
            "AWSAccessKeyId",
            "apiKeyName",
            "credential_name",
            "fs.azure.account.auth.type.lake.dfs.core.windows.net",
            "lake.dfs.core.windows.net",
            ".core.windows.net",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn what_holds_no_secret_is_copied_as_it_stands() {
        let record = r#"{"a": [1.50, 9007199254740993, {"b":null}], "c" : "x\ny"}"#;
        let (out, secrets) = copied(record);
        assert_eq!(out, record);
        assert_eq!(secrets.masks, []);
    }

    #[test]
    fn a_secret_is_masked_at_any_depth_and_its_place_is_remembered() {
        let record = r#"{"a":[{"password":"p\"w","n":1}],"token":77}"#;
        let (out, secrets) = copied(record);
        assert_eq!(out, r#"{"a":[{"password":"***","n":1}],"token":"***"}"#);
        let masked: Vec<_> = secrets.masks.iter().map(|mask| (&record[mask.at.clone()], &*mask.replacement)).collect();
        assert_eq!(masked, [(r#"p\"w"#, "***"), ("77", "\"***\"")]);
    }

    #[test]
    fn a_secret_in_json_in_a_text_is_masked_there() {
        let record = r#"{"result":"{\"token_value\":\"abc\",\"more\":\"{\\\"password\\\":\\\"p\\\"}\"}"}"#;
        let (out, secrets) = copied(record);
        let expected = r#"{"result":"{\"token_value\":\"***\",\"more\":\"{\\\"password\\\":\\\"***\\\"}\"}"}"#;
        assert_eq!(out, expected);
        assert_eq!(secrets.masks.len(), 1);
        let mask = &secrets.masks[0];
        let masked = format!("{}{}{}", &record[..mask.at.start], mask.replacement, &record[mask.at.end..]);
        assert_eq!(masked, expected);
    }

    #[test]
    fn a_text_that_only_looks_like_json_is_masked_whole_when_it_mentions_a_secret() {
        let (out, _) = copied(r#"["{\"password\": broken", "{\"harmless\": broken"]"#);
        assert_eq!(out, r#"["***","{\"harmless\": broken"]"#);
    }

    #[test]
    fn of_a_key_that_stands_twice_the_last_value_holds() {
        let (out, _) = copied(r#"{"o":{"k":1,"x":2,"k":3,"\u006b":4}}"#);
        assert_eq!(out, r#"{"o":{"k":4,"x":2}}"#);
    }

    #[test]
    fn a_value_that_the_source_cut_short_is_noticed() {
        assert!(copied(r#"{"a":{"b":"SELECT 1 ... truncated"}}"#).1.truncated);
        assert!(!copied(r#"{"a":{"b":"SELECT 1"}}"#).1.truncated);
    }
}

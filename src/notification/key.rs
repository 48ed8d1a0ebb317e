//! Keys as messages and listings spell them.

/// Decodes a form-encoded key: a space arrives as `+`, anything else may arrive as `%XX`.
///
/// # Errors
/// What is wrong with the key, in a few words.
pub(super) fn decode_key(encoded: &str) -> Result<String, &'static str> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut bytes = encoded.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
                let (high, low) = (digit(bytes.next()), digit(bytes.next()));
                let value = high.zip(low).map(|(high, low)| high * 16 + low);
                value.and_then(|value| u8::try_from(value).ok()).ok_or("`%` without two hexadecimal digits")?
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).map_err(|_| "not UTF-8")
}

/// The key in an event of S3's form. S3 itself encodes keys, and its event names have a colon. EventBridge's input
/// transformers can build the same form, but cannot encode keys: if the name has no colon, the key is decoded only if
/// it has a `%`.
pub(super) fn of_event(key: &str, event_name: &str) -> Result<String, &'static str> {
    match decode_key(key) {
        Ok(decoded) if event_name.contains(':') || key.contains('%') => Ok(decoded),
        Err(reason) if event_name.contains(':') => Err(reason),
        _ => Ok(key.to_owned()),
    }
}

/// Whether an object only marks a folder, as consoles and Hadoop create such objects. An unknown size counts as 0,
/// since no log's key ends with a slash.
pub(super) fn is_folder_marker(key: &str, size_bytes: Option<u64>) -> bool {
    size_bytes.unwrap_or(0) == 0 && (key.ends_with('/') || key.ends_with("_$folder$"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_decoded_once_and_exactly() {
        for (encoded, decoded) in [
            ("a%2525", Ok("a%25")),
            ("%C3%A9+%E2%82%AC", Ok("\u{e9} \u{20ac}")),
            ("plain", Ok("plain")),
            ("a%", Err("`%` without two hexadecimal digits")),
            ("a%2", Err("`%` without two hexadecimal digits")),
            ("a%zz", Err("`%` without two hexadecimal digits")),
            ("a%+1", Err("`%` without two hexadecimal digits")),
            ("%C3%28", Err("not UTF-8")),
            ("%FF", Err("not UTF-8")),
        ] {
            assert_eq!(decode_key(encoded).as_deref(), decoded.as_ref().map(|text| *text), "{encoded}");
        }
    }

    #[test]
    fn a_key_in_s3_s_form_that_s3_did_not_write_is_taken_as_it_is_unless_it_shows_its_encoding() {
        for (name, written, key) in [
            ("Object Created", "a+b=1/c.json", "a+b=1/c.json"),
            ("PutObject", "100%/c.json", "100%/c.json"),
            ("Object Created", "a+b%3D1/c.json", "a b=1/c.json"),
            ("ObjectCreated:Put", "a+b=1/c.json", "a b=1/c.json"),
            ("s3:Novelty:Put", "a+b%3D1/c.json", "a b=1/c.json"),
        ] {
            assert_eq!(of_event(written, name).as_deref(), Ok(key), "{name} {written}");
        }
    }
}

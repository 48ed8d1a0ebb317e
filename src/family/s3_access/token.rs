//! Reads a line of an access log field by field, where nothing but quotes and spaces tells them apart.

/// A field's value, without its quotes; none for `-` and `"-"`.
#[inline]
pub(super) fn value(field: &str) -> Option<&str> {
    let bare = match field.as_bytes() {
        [b'"', .., b'"'] => &field[1..field.len() - 1],
        _ => field,
    };
    (bare.as_bytes() != b"-").then_some(bare)
}

/// Where, from `at` on, this byte stands; the length when it stands nowhere.
#[inline]
pub(super) fn place_of(byte: u8, bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // Most fields are short: they end within a few words, before a search of more bytes at once has begun.
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        let differing = u64::from_le_bytes(*word) ^ (ONES * u64::from(byte));
        // The highest bit of each byte that is zero; of those above the first a borrow may have set more.
        let marks = differing.wrapping_sub(ONES) & !differing & (ONES << 7);
        if marks != 0 {
            return at + (marks.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|other| *other != byte) {
        at += 1;
    }
    at
}

/// Whether there is neither a backslash nor a control character.
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    let is_special = |byte: &u8| (*byte == b'\\') | (*byte < 0x20);
    let (chunks, rest) = bytes.as_chunks::<32>();
    // A loop over a fixed number of bytes becomes a handful of vector instructions.
    let has_none = |chunk: &[u8; 32]| !chunk.iter().fold(false, |found, byte| found | is_special(byte));
    chunks.iter().all(has_none) && !rest.iter().any(is_special)
}

/// Spaces at the end, and the `";` after records that were copied out of source code, are no part of the line.
pub(super) fn trimmed(text: &str) -> &str {
    let text = text.trim_end();
    text.strip_suffix("\";").unwrap_or(text)
}

/// A value, and where the next field begins, unless the line ends here.
pub(super) type Read<'a> = (Option<&'a str>, Option<usize>);

/// The field up to the next space.
#[inline]
pub(super) fn token(text: &str, at: usize) -> Option<Read<'_>> {
    let end = place_of(b' ', text.as_bytes(), at);
    let field = text.get(at..end).filter(|field| !field.is_empty())?;
    Some((value(field), (end < text.len()).then_some(end + 1)))
}

/// `[06/Feb/2019:00:00:38 +0000]`, without the brackets, or nothing.
pub(super) fn time(text: &str, at: usize) -> Option<Read<'_>> {
    const LENGTH_MAX: usize = 40;
    let bytes = text.as_bytes();
    if bytes.get(at) != Some(&b'[') {
        return token(text, at).filter(|(value, _)| value.is_none());
    }
    let inside = &bytes[at + 1..bytes.len().min(at + LENGTH_MAX)];
    let end = at + 1 + memchr::memchr(b']', inside)?;
    let next = (bytes.get(end + 1) == Some(&b' ')).then_some(end + 2);
    let time = text.get(at + 1..end)?;
    (!time.as_bytes().contains(&b'[')).then_some((Some(time), next))
}

/// A field that may be quoted, up to its first quote that a space or the line's end follows.
pub(super) fn first_end(text: &str, at: usize) -> Option<Read<'_>> {
    let bytes = text.as_bytes();
    if bytes.get(at) != Some(&b'"') {
        return token(text, at).filter(|(value, _)| value.is_none_or(|bare| !bare.contains('"')));
    }
    let end = at + 1 + memchr::memchr(b'"', &bytes[at + 1..])?;
    let next = match bytes.get(end + 1) {
        None => None,
        Some(b' ') => Some(end + 2),
        Some(_) => return None,
    };
    Some((value(&text[at..=end]), next))
}

/// Status, error, bytes sent, object size, total time, turn-around time.
pub(super) const MIDDLE: usize = 6;

/// The six fields between request and referrer, and where the referrer begins.
pub(super) fn middle(text: &str, mut at: usize) -> Option<([Option<&str>; MIDDLE], usize)> {
    let mut fields = [None; MIDDLE];
    for (index, field) in fields.iter_mut().enumerate() {
        let (value, next) = token(text, at)?;
        let fits = match (index, value) {
            (_, None) => true,
            (0, Some(status)) => status.len() == 3 && is_number(status),
            (1, Some(error)) => !error.contains('"'),
            (_, Some(number)) => is_number(number),
        };
        if !fits {
            return None;
        }
        *field = value;
        at = next?;
    }
    Some((fields, at))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a field is the first half of a record's time: then two records stand in one line.
pub(super) fn begins_time(field: &str) -> bool {
    field.starts_with('[') && field.contains('/')
}

/// Whether the text holds what only the third field of a record looks like.
pub(super) fn holds_time(text: &str) -> bool {
    const LENGTH: usize = "[06/Feb/2019:00:00:38 +0000]".len();
    let bytes = text.as_bytes();
    memchr::memchr_iter(b'[', bytes).filter_map(|at| bytes.get(at..at + LENGTH)).any(|time| {
        time.iter().zip(b"[00/Xxx/0000:00:00:00 +0000]").all(|(byte, like)| match like {
            b'0' => byte.is_ascii_digit(),
            b'X' | b'x' => byte.is_ascii_alphabetic(),
            b'+' => matches!(byte, b'+' | b'-'),
            other => byte == other,
        })
    })
}

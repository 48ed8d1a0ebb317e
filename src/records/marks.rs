//! Marks at the beginning of a line that are no part of its text.

pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How many bytes at the beginning of a line are null bytes and byte order marks, including blanks between them but not
/// after them.
pub(super) fn marks(line: &[u8]) -> usize {
    let (mut at, mut length) = (0, 0);
    loop {
        at += match &line[at..] {
            [0, ..] => 1,
            [0xef, 0xbb, 0xbf, ..] => BYTE_ORDER_MARK.len(),
            [b' ' | b'\t', ..] => {
                at += 1;
                continue;
            }
            _ => return length,
        };
        length = at;
    }
}

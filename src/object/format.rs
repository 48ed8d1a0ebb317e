//! Recognizes, by its first bytes, content that is not read, and the encoding of text.

/// How many first bytes are enough to recognize content.
pub(super) const BEGINNING_BYTES: usize = 512;

/// The encodings of text besides UTF-8.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Utf16 {
    LittleEndian,
    BigEndian,
}

/// The first bytes of formats that are not read, each from the format's own specification.
const MAGIC: &[(&[u8], &str)] = &[
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "a zip archive"),
    (b"PK\x07\x08", "a zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a rar archive"),
    (b"MSCF\0\0\0\0", "a cabinet archive"),
    (b"\x04\x22\x4d\x18", "compressed with lz4"),
    (b"\x02\x21\x4c\x18", "compressed with lz4"),
    (b"\xff\x06\0\0sNaPpY", "compressed with snappy"),
    (b"\x1f\x9d", "compressed with compress (.Z)"),
    (b"\x1f\xa0", "compressed with compress (.Z)"),
    (b"LZIP", "compressed with lzip"),
    (b"\x89LZO\0\r\n\x1a\n", "compressed with lzop"),
    (b"\x5d\0\0", "compressed with lzma"),
    (b"\x1f\x8b", "compressed more than twice"),
    (b"\x28\xb5\x2f\xfd", "compressed more than twice"),
    (b"\xfd7zXZ\0", "compressed more than twice"),
    (b"PAR1", "a Parquet file (compressed once more, or of a family whose objects are lines)"),
    (b"PARE", "an encrypted Parquet file"),
    (b"Obj\x01", "an Avro file"),
    (b"ORC\x08", "an ORC file"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"%PDF-", "a PDF document"),
    (b"\x89PNG\r\n\x1a\n", "an image"),
    (b"\x7fELF", "a program"),
    (b"ElfFile\0", "a Windows event log"),
    (b"age-encryption.org/", "encrypted with age"),
    (b"-----BEGIN PGP", "encrypted with OpenPGP"),
    (b"<?xml", "an XML document"),
    (b"<!DOCTYPE", "an HTML document"),
    (b"<html", "an HTML document"),
    (b"\xff\xfe\0\0", "UTF-32 text"),
    (b"\0\0\xfe\xff", "UTF-32 text"),
    (b"{\0\"\0", "UTF-16 text without a byte order mark"),
    (b"\0{\0\"", "UTF-16 text without a byte order mark"),
    (b"[\0{\0", "UTF-16 text without a byte order mark"),
    (b"\0[\0{", "UTF-16 text without a byte order mark"),
];

/// The second bytes of zlib data (RFC 1950, section 2.2), after `x`.
const ZLIB_LEVELS: [u8; 4] = [0x01, 0x5e, 0x9c, 0xda];

/// The offset at which a tar archive is marked as one, and the mark.
const TAR: (usize, &[u8]) = (257, b"ustar");

/// In text, fewer than one of this many characters are control characters.
const CONTROL_SHARE: usize = 16;

/// What the content is, if it is not read. `beginning` has [`BEGINNING_BYTES`], or is all of the content.
pub(super) fn foreign(beginning: &[u8]) -> Option<&'static str> {
    if let Some((_, what)) = MAGIC.iter().find(|(magic, _)| beginning.starts_with(magic)) {
        return Some(what);
    }
    let is_zlib = matches!(beginning, [b'x', level, rest @ ..] if ZLIB_LEVELS.contains(level) && has_binary(rest));
    if is_zlib {
        return Some("compressed with zlib");
    }
    if beginning.get(TAR.0..).is_some_and(|rest| rest.starts_with(TAR.1)) {
        return Some("a tar archive");
    }
    let is_text = utf16(beginning).is_some() || !has_many_controls(beginning);
    (!is_text).then_some("no text")
}

/// Whether some byte cannot occur in a line of log.
fn has_binary(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_some())
        || bytes.iter().any(|byte| is_control(*byte))
}

/// Null bytes do not count: a crash leaves many of them in a log.
fn is_control(byte: u8) -> bool {
    matches!(byte, 0x01..=0x08 | 0x0e..=0x1a | 0x1c..=0x1f | 0x7f)
}

fn has_many_controls(bytes: &[u8]) -> bool {
    let controls = bytes.iter().filter(|byte| is_control(**byte)).count();
    let others = bytes.iter().filter(|byte| **byte != 0).count();
    controls > 1 && controls * CONTROL_SHARE > others
}

/// The encoding that the byte order mark names.
pub(super) fn utf16(beginning: &[u8]) -> Option<Utf16> {
    match beginning {
        [0xff, 0xfe, ..] => Some(Utf16::LittleEndian),
        [0xfe, 0xff, ..] => Some(Utf16::BigEndian),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_log_is_told_by_its_first_bytes() {
        let tar = [&[b'a'; 257][..], b"ustar\0"].concat();
        for (beginning, expected) in [
            (&b"PK\x03\x04\x14\0"[..], Some("a zip archive")),
            (b"x\x9c\xab\x56\x4a", Some("compressed with zlib")),
            (b"x\x01\x01\x0b\0", Some("compressed with zlib")),
            (b"x^\xab\x56\x4a", Some("compressed with zlib")),
            (b"x^2 = 4, said the log", None),
            (&tar, Some("a tar archive")),
            (b"\x80\x01\x02\x03\x04\x05\x11\x9f", Some("no text")),
            (b"\xff\xfe{\0", None),
            (b"\0\0\0{\"a\":1}", None),
            (b"\xef\xbb\xbf{\"a\":1}", None),
            (b"{\"a\":\"\x1b[31mred\x1b[0m\"}", None),
            (b"{\0\"\0a\0", Some("UTF-16 text without a byte order mark")),
            (b"", None),
        ] {
            assert_eq!(foreign(beginning), expected, "{beginning:?}");
        }
    }
}

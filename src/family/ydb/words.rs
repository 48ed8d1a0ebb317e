//! Pieces of a record's text as its events take them.

use crate::event::Text;
use crate::family::redaction::offset_in;
use crate::records::escaped::next_special;

/// How the pieces of one text are to be taken.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Words<'t> {
    text: &'t str,
    /// Each character of the text is a byte of the record.
    is_bytes: bool,
    /// So many bytes from the beginning stand in a JSON string as they stand here.
    verbatim: usize,
}

impl<'t> Words<'t> {
    pub(super) fn of(text: &'t str, is_bytes: bool) -> Self {
        let verbatim = if is_bytes { 0 } else { next_special(text.as_bytes(), 0) };
        Self { text, is_bytes, verbatim }
    }

    pub(super) fn take(&self, piece: &'t str) -> Text<'t> {
        if self.is_bytes {
            of_bytes(piece)
        } else if offset_in(self.text, piece).saturating_add(piece.len()) <= self.verbatim {
            Text::Escaped(piece)
        } else {
            Text::from(piece)
        }
    }
}

/// How the pieces are to be taken of a text that is [borrowed](Text::borrowed): as the text is, without another look.
pub(super) fn alike<'t>(text: &Text<'t>) -> fn(&'t str) -> Text<'t> {
    match text {
        Text::Escaped(_) => Text::Escaped,
        Text::Plain(_) => Text::from,
    }
}

/// A piece whose characters are bytes: as text if they are UTF-8, else in hexadecimal, as the audit stream writes such
/// values itself.
fn of_bytes(piece: &str) -> Text<'_> {
    let bytes: Vec<u8> = piece.chars().map(|character| u8::try_from(u32::from(character)).unwrap_or(b'?')).collect();
    Text::from(
        String::from_utf8(bytes)
            .unwrap_or_else(|error| error.as_bytes().iter().map(|byte| format!("{byte:02X}")).collect()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_written_as_json_wherever_it_stands() {
        for at in 0..150 {
            for special in ["\"", "\\", "\n", "\u{1f}"] {
                let text = format!("{}{special}{}", "x".repeat(at), "y".repeat(149 - at));
                let words = Words::of(&text, false);
                for piece in [&text[..at], &text[..=at], &text[at..], &text[at + 1..]] {
                    let mut written = Vec::new();
                    words.take(piece).write(&mut written);
                    assert_eq!(serde_json::from_slice::<String>(&written).unwrap(), piece);
                }
            }
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_in_hexadecimal() {
        let words = Words::of("a\u{c3}\u{a9}\u{ff}", true);
        assert_eq!(&*words.take("a\u{c3}\u{a9}").plain(), "a\u{e9}");
        assert_eq!(&*words.take("a\u{ff}").plain(), "61FF");
    }
}

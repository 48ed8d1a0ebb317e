//! Converts pieces of a record's text to [`Text`] values of its events.

use crate::event::Text;
use crate::family::redaction::offset_in;
use crate::records::escaped::next_special;

/// Converts pieces of one text to [`Text`] values.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Words<'t> {
    text: &'t str,
    /// Whether the record is no UTF-8. Then each character of the text stands for one byte of it.
    is_bytes: bool,
    /// The length of the beginning of the text in which JSON escapes nothing.
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

/// The constructor for pieces of a [borrowed](Text::borrowed) text. The pieces are escaped if the whole text is.
pub(super) fn alike<'t>(text: &Text<'t>) -> fn(&'t str) -> Text<'t> {
    match text {
        Text::Escaped(_) => Text::Escaped,
        Text::Plain(_) => Text::from,
    }
}

/// The text of a piece whose characters stand for bytes. If these are no UTF-8, it is hexadecimal, as in YDB's own
/// audit stream.
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

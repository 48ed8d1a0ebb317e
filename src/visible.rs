//! Makes hidden characters of a text visible. Names and reasons are written by others, and operators read them in logs
//! and lists.

/// Whether a character is hidden, or changes how the text around it looks: control characters and line ends; changes of
/// the reading direction (Unicode Standard Annex 9), which make one name look like another; characters without width,
/// or with a meaning for machines only.
pub(crate) fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// The text with hidden characters as escapes, such as `\u{202e}`. Tabs stay.
pub(crate) fn visible(characters: impl IntoIterator<Item = char>) -> String {
    let mut visible = String::new();
    for character in characters {
        if is_hidden(character) && character != '\t' {
            visible.extend(character.escape_default());
        } else {
            visible.push(character);
        }
    }
    visible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_command_a_terminal_or_turn_the_text_is_an_escape() {
        for (text, seen) in [
            ("a\u{1b}[2J\r\tb\u{9b}", "a\\u{1b}[2J\\r\tb\\u{9b}"),
            ("\u{202e}gpj.exe\u{2066}x\u{2069}", "\\u{202e}gpj.exe\\u{2066}x\\u{2069}"),
            ("pay\u{200b}pal\u{feff}\u{2028}\u{e0041}", "pay\\u{200b}pal\\u{feff}\\u{2028}\\u{e0041}"),
            ("Größe/日本/\u{5d0}\u{5d1}", "Größe/日本/\u{5d0}\u{5d1}"),
        ] {
            assert_eq!(visible(text.chars()), seen);
        }
    }
}

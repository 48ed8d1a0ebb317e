//! Explains a text that is not TOML or not a glob in terms of what the operator can correct.

use globset::ErrorKind;

/// Faults by words of the parser's message. Our texts say what is expected, which the parser's message does not.
const TOML_FAULTS: [(&str, &str); 16] = [
    ("must be quoted", "expected a value: text stands in quotes, and elements of a list have commas between them"),
    ("duplicate key", "this key or table is there already"),
    ("cannot extend", "this key has a value already, and can have no keys of its own"),
    ("unclosed table", "expected `]` behind the table's name, as in [feed.logs]"),
    ("unclosed array table", "expected `]]` behind the table's name, as in [[identity.reader.assume_role]]"),
    ("unclosed array", "expected `]` at the end of the list"),
    ("unclosed inline table", "expected `}` at the end of the table"),
    ("missing comma", "expected a comma between two elements of a list"),
    ("extra comma", "expected no second comma"),
    ("key with no value", "expected `=` and a value behind the key, as in region = \"eu-west-1\""),
    ("escape", "a backslash in double quotes begins an escape: write it twice, or put the text into single quotes"),
    ("basic string", "expected the text to end in the quote it begins with, on the same line"),
    ("literal string", "expected the text to end in the quote it begins with, on the same line"),
    ("unquoted key", "expected a key of letters, digits, dashes and underscores; another one stands in quotes"),
    ("leading zero", "expected a number without a zero in front; text stands in quotes"),
    ("unexpected key or value", "expected nothing more on this line"),
];

/// The text for a TOML parser's message.
pub(super) fn toml_fault(message: &str) -> &'static str {
    let known = TOML_FAULTS.iter().find(|(part, _)| message.contains(part));
    known.map_or("expected `key = value` with text in quotes, or a table's name in brackets", |(_, told)| told)
}

/// The text for a glob parser's error.
pub(super) fn glob_fault(kind: &ErrorKind) -> String {
    match kind {
        ErrorKind::UnclosedClass => "expected `]` behind `[`; `[[]` stands for the bracket itself".to_owned(),
        ErrorKind::InvalidRange(from, to) => format!("expected a range in ascending order, not `{from}-{to}`"),
        ErrorKind::UnopenedAlternates => "expected `{` before `}`".to_owned(),
        ErrorKind::UnclosedAlternates => "expected `}` behind `{`".to_owned(),
        ErrorKind::DanglingEscape => "expected a character behind the backslash".to_owned(),
        _ => "expected `*`, `**`, `?`, `[..]` and `{a,b}` to stand for what may vary".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use globset::Glob;
    use toml_edit::Document;

    use super::*;

    #[test]
    fn what_is_no_toml_is_told_in_words_of_the_configuration() {
        for (text, expected) in [
            ("a = 1\na = 2\n", "this key or table is there already"),
            ("[a]\n[a]\n", "this key or table is there already"),
            ("a = []\na.b = 1\n", "this key has a value already, and can have no keys of its own"),
            ("[feed\n", "expected `]` behind the table's name, as in [feed.logs]"),
            ("a = [1, 2\n", "expected `]` at the end of the list"),
            ("a = [\"1\" \"2\"]\n", "expected a comma between two elements of a list"),
            ("a = [1 2]\n", "expected a value: text stands in quotes, and elements of a list have commas between them"),
            ("a = { b = 1\n", "expected `}` at the end of the table"),
            ("region\n", "expected `=` and a value behind the key, as in region = \"eu-west-1\""),
            ("a =\n", "expected a value: text stands in quotes, and elements of a list have commas between them"),
            ("a = b\n", "expected a value: text stands in quotes, and elements of a list have commas between them"),
            ("a = \"b\n", "expected the text to end in the quote it begins with, on the same line"),
            ("a = 'b\n", "expected the text to end in the quote it begins with, on the same line"),
            (
                "a = \"C:\\dir\"\n",
                "a backslash in double quotes begins an escape: write it twice, or put the text into single quotes",
            ),
            ("a = 007\n", "expected a number without a zero in front; text stands in quotes"),
            ("= 1\n", "expected a key of letters, digits, dashes and underscores; another one stands in quotes"),
            ("[a]]\n", "expected nothing more on this line"),
            ("a = true1\n", "expected `key = value` with text in quotes, or a table's name in brackets"),
        ] {
            let error = Document::parse(text).unwrap_err();
            assert_eq!(toml_fault(error.message()), expected, "{text:?}: {}", error.message());
        }
    }

    #[test]
    fn what_is_no_glob_is_told_by_what_is_missing() {
        for (glob, expected) in [
            ("[", "expected `]` behind `[`; `[[]` stands for the bracket itself"),
            ("[z-a]", "expected a range in ascending order, not `z-a`"),
            ("a}", "expected `{` before `}`"),
            ("{a", "expected `}` behind `{`"),
            ("a\\", "expected a character behind the backslash"),
        ] {
            assert_eq!(glob_fault(Glob::new(glob).unwrap_err().kind()), expected, "{glob}");
        }
    }
}

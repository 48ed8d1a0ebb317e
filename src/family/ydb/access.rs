//! Access entries in YDB's short notation: `+(SR|DS):user@builtin`, `-R:group:-`.

use crate::event::Text;
use crate::family::ydb::words::alike;

/// Characters after a second colon: they say which objects inherit the entry.
const INHERITANCE: &[char] = &['-', '+', 'O', 'C'];

/// One parsed entry.
#[derive(Clone, Debug)]
pub(super) struct Entry<'a> {
    /// Whether the entry denies the rights.
    pub(super) is_denial: bool,
    pub(super) rights: Vec<Text<'a>>,
    /// The SID of a user or group.
    pub(super) sid: Text<'a>,
}

impl<'a> Entry<'a> {
    /// Parses an entry. `None` if the text is no entry.
    pub(super) fn of(text: &Text<'a>) -> Option<Self> {
        match text.borrowed() {
            Some(whole) => Self::read(whole, alike(text)),
            None => Self::read(&text.plain(), |word| Text::from(word.to_owned())),
        }
    }

    fn read<'t>(text: &'t str, word: impl Fn(&'t str) -> Text<'a>) -> Option<Self> {
        let (is_denial, rest) = match text.split_at_checked(1)? {
            ("+", rest) => (false, rest),
            ("-", rest) => (true, rest),
            _ => return None,
        };
        let (rights, sid) = rest.split_once(':')?;
        let sid = match sid.rsplit_once(':') {
            Some((sid, handed_down)) if !handed_down.is_empty() && handed_down.trim_matches(INHERITANCE).is_empty() => {
                sid
            }
            _ => sid,
        };
        let inner = rights.strip_prefix('(').and_then(|open| open.strip_suffix(')')).unwrap_or(rights);
        let is_right =
            |right: &str| !right.is_empty() && right.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if sid.is_empty() || !inner.split('|').all(is_right) {
            return None;
        }
        Some(Self { is_denial, rights: inner.split('|').map(&word).collect(), sid: word(sid) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_names_rights_and_whose_they_are() {
        for (text, is_denial, rights, sid) in [
            ("+(CT):user0@builtin", false, vec!["CT"], "user0@builtin"),
            ("+(SR|DS):all-users@well-known", false, vec!["SR", "DS"], "all-users@well-known"),
            ("-R:group, one@staff", true, vec!["R"], "group, one@staff"),
            ("+(ConnDB):subject:-", false, vec!["ConnDB"], "subject"),
            ("+F:a:b@x:OC", false, vec!["F"], "a:b@x"),
        ] {
            for text in [Text::from(text), Text::from(text.to_owned())] {
                let entry = Entry::of(&text).unwrap();
                assert_eq!((entry.is_denial, &*entry.sid.plain()), (is_denial, sid));
                let texts: Vec<_> = entry.rights.iter().map(Text::plain).collect();
                assert_eq!(texts, rights);
            }
        }
    }

    #[test]
    fn what_is_no_entry_is_none() {
        for text in ["", "+", "R:x", "+R", "+R:", "+:x", "+(R|):x", "+(R S):x", "\u{e9}R:x"] {
            assert!(Entry::of(&Text::from(text)).is_none(), "{text}");
        }
    }
}

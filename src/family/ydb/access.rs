//! Access entries in YDB's short notation: `+(SR|DS):user@builtin`, `-R:group:-`.

/// What follows a second colon says to what the entry is handed down.
const INHERITANCE: &[char] = &['-', '+', 'O', 'C'];

/// One entry, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry<'a> {
    /// It forbids rather than allows.
    pub(super) is_denial: bool,
    pub(super) rights: Vec<&'a str>,
    /// Of a user or a group.
    pub(super) sid: &'a str,
}

impl<'a> Entry<'a> {
    /// Reads an entry; nothing when it is none.
    pub(super) fn of(text: &'a str) -> Option<Self> {
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
        let rights: Vec<&str> = inner.split('|').collect();
        let is_right =
            |right: &&str| !right.is_empty() && right.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        (!sid.is_empty() && rights.iter().all(is_right)).then_some(Self { is_denial, rights, sid })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_names_rights_and_whose_they_are() {
        let entry = |is_denial, rights: &[&'static str], sid| Some(Entry { is_denial, rights: rights.to_vec(), sid });
        assert_eq!(Entry::of("+(CT):user0@builtin"), entry(false, &["CT"], "user0@builtin"));
        assert_eq!(Entry::of("+(SR|DS):all-users@well-known"), entry(false, &["SR", "DS"], "all-users@well-known"));
        assert_eq!(Entry::of("-R:group, one@staff"), entry(true, &["R"], "group, one@staff"));
        assert_eq!(Entry::of("+(ConnDB):subject:-"), entry(false, &["ConnDB"], "subject"));
        assert_eq!(Entry::of("+F:a:b@x:OC"), entry(false, &["F"], "a:b@x"));
    }

    #[test]
    fn what_is_no_entry_is_none() {
        for text in ["", "+", "R:x", "+R", "+R:", "+:x", "+(R|):x", "+(R S):x", "\u{e9}R:x"] {
            assert_eq!(Entry::of(text), None, "{text}");
        }
    }
}

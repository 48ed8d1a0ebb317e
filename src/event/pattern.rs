//! Which actions a row of the mapping matches: one by its name, or many by words in their names.

/// The actions that a row matches.
#[derive(Debug)]
pub(super) enum Pattern {
    Exactly(&'static str),
    /// `audit/*`, `*/*`: any action. The scope is the part before the slash; `None` for `*`.
    Any {
        scope: Option<&'static str>,
    },
    /// `*.GET.*`: the word between the first two dots, in either case.
    Segment(&'static str),
    /// `*/<first:get,runNow>` and the like: actions whose name after the slash holds a verb. A verb is one or several
    /// words.
    Words {
        scope: Option<&'static str>,
        place: Place,
        verbs: Vec<&'static str>,
        rivals: Vec<&'static str>,
    },
}

/// Where in the name the verb must stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// `<first:..>`: at its beginning.
    First,
    /// `<last:..>`: at its end.
    Last,
    /// `<word:..>`: at its beginning. If it begins with no verb of any `word` row: anywhere, unless it also holds a
    /// verb of another `word` row.
    Any,
}

/// Words that change the meaning of a verb: denying or requesting a delete deletes nothing. `last` and `word` rows
/// never match an action that holds one of them.
const TURNING: &[&str] = &[
    "abort",
    "aborted",
    "approve",
    "approved",
    "block",
    "blocked",
    "cancel",
    "canceled",
    "cancelled",
    "cannot",
    "denied",
    "deny",
    "disallow",
    "disallowed",
    "fail",
    "failed",
    "forbid",
    "forbidden",
    "ignore",
    "ignored",
    "never",
    "no",
    "non",
    "not",
    "pending",
    "prevent",
    "prevented",
    "refuse",
    "refused",
    "reject",
    "rejected",
    "request",
    "requested",
    "restore",
    "restored",
    "revert",
    "reverted",
    "revoke",
    "revoked",
    "schedule",
    "scheduled",
    "skip",
    "skipped",
    "un",
    "undo",
];

/// The longest name, in bytes, in which verbs are looked for. No known action has a longer one.
const NAME_BYTES_MAX: usize = 256;

impl Pattern {
    /// Reads a selector without its conditions.
    pub(super) fn parse(selector: &'static str) -> Self {
        if let Some(verb) = selector.strip_prefix("*.").and_then(|rest| rest.strip_suffix(".*")) {
            return Self::Segment(verb);
        }
        let (scope, name) = match selector.split_once('/') {
            Some(("*", name)) => (None, name),
            Some((scope, name)) => (Some(scope), name),
            None => (None, selector),
        };
        if name == "*" {
            return Self::Any { scope };
        }
        let words =
            name.strip_prefix('<').and_then(|open| open.strip_suffix('>')).and_then(|word| word.split_once(':'));
        let place = words.and_then(|(place, verbs)| match place {
            "first" => Some((Place::First, verbs)),
            "last" => Some((Place::Last, verbs)),
            "word" => Some((Place::Any, verbs)),
            _ => None,
        });
        match place {
            Some((place, verbs)) => Self::Words { scope, place, verbs: verbs.split(',').collect(), rivals: Vec::new() },
            None => Self::Exactly(selector),
        }
    }

    /// The verbs of a `word` row, which are rivals of the family's other `word` rows.
    pub(super) fn rival_verbs(&self) -> &[&'static str] {
        match self {
            Self::Words { place: Place::Any, verbs, .. } => verbs,
            _ => &[],
        }
    }

    /// Sets the rivals of a `word` row. `all` are the verbs of all `word` rows of its family.
    pub(super) fn set_rivals(&mut self, all: &[&'static str]) {
        if let Self::Words { place: Place::Any, verbs, rivals, .. } = self {
            *rivals = all.iter().copied().filter(|verb| !verbs.contains(verb)).collect();
        }
    }

    pub(super) fn fits(&self, action: &str) -> bool {
        match self {
            Self::Exactly(name) => *name == action,
            Self::Any { scope } => name_in(*scope, action).is_some(),
            Self::Segment(verb) => {
                let mut segments = action.split('.').skip(1);
                segments.next().is_some_and(|own| own.eq_ignore_ascii_case(verb)) && segments.next().is_some()
            }
            Self::Words { scope, place, verbs, rivals } => {
                let name = name_in(*scope, action).filter(|name| name.len() <= NAME_BYTES_MAX);
                let Some(name) = name else { return false };
                match place {
                    Place::First => verbs.iter().any(|verb| begins_with(name, verb)),
                    Place::Last => words(name).last().is_some_and(|word| is_one_of(word, verbs)) && !turns(name),
                    Place::Any => !turns(name) && says(name, verbs, rivals),
                }
            }
        }
    }
}

/// The part of the action after the scope. `None` if the action has another scope.
fn name_in<'a>(scope: Option<&str>, action: &'a str) -> Option<&'a str> {
    match (scope, action.split_once('/')) {
        (None, Some((_, name))) => Some(name),
        (None, None) => Some(action),
        (Some(scope), Some((own, name))) => (own == scope).then_some(name),
        (Some(_), None) => None,
    }
}

/// Whether the name holds one of the verbs and none of the rivals. If it begins with a verb or a rival, that alone
/// decides.
fn says(name: &str, verbs: &[&str], rivals: &[&str]) -> bool {
    let at_any = |verbs: &[&str], from: usize| {
        verbs.iter().any(|verb| starts(name).skip(from).any(|start| begins_with(&name[start..], verb)))
    };
    if [verbs, rivals].iter().any(|all| all.iter().any(|verb| begins_with(name, verb))) {
        return verbs.iter().any(|verb| begins_with(name, verb));
    }
    at_any(verbs, 1) && !at_any(rivals, 1)
}

fn turns(name: &str) -> bool {
    words(name).any(|word| is_one_of(word, TURNING))
}

fn is_one_of(word: &str, all: &[&str]) -> bool {
    all.iter().any(|own| own.eq_ignore_ascii_case(word))
}

/// Whether the name begins with the words of the verb (mostly one).
fn begins_with(name: &str, verb: &str) -> bool {
    let mut own = words(name);
    words(verb).all(|word| own.next().is_some_and(|own| own.eq_ignore_ascii_case(word)))
}

/// Splits a name into words: `getLakeFSVersion`, `GET_LAKE_FS_VERSION`, `get-lake.fs/version`. A digit belongs to the
/// word before it.
fn words(name: &str) -> impl Iterator<Item = &str> {
    starts(name).map(|start| {
        let bytes = name.as_bytes();
        let end = (start + 1..bytes.len()).find(|at| !is_of_word(bytes[*at]) || begins(bytes, *at));
        &name[start..end.unwrap_or(bytes.len())]
    })
}

fn starts(name: &str) -> impl Iterator<Item = usize> {
    let bytes = name.as_bytes();
    (0..bytes.len()).filter(|at| is_of_word(bytes[*at]) && begins(bytes, *at))
}

/// Whether a word begins at this letter: at the start of the name, after a byte that belongs to no word, at a capital
/// after a small letter, and at the last of several capitals if a small letter follows.
fn begins(bytes: &[u8], at: usize) -> bool {
    let Some(before) = at.checked_sub(1).map(|before| bytes[before]).filter(|before| is_of_word(*before)) else {
        return true;
    };
    bytes[at].is_ascii_uppercase()
        && (!before.is_ascii_uppercase() || bytes.get(at + 1).is_some_and(u8::is_ascii_lowercase))
}

const fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || !byte.is_ascii()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_taken_apart_into_its_words() {
        for (name, expected) in [
            ("getLakeFSVersion", "get Lake FS Version"),
            ("GET_LAKE_FS_VERSION", "GET LAKE FS VERSION"),
            ("get-lake.fs/version", "get lake fs version"),
            ("DROP TABLE", "DROP TABLE"),
            ("deleteV2Thing", "delete V2 Thing"),
            ("WIDGET", "WIDGET"),
            ("UNDelete", "UN Delete"),
            ("Undelete", "Undelete"),
            ("__a--b", "a b"),
            ("löschenÄndern", "löschenÄndern"),
            ("", ""),
        ] {
            assert_eq!(words(name).collect::<Vec<_>>().join(" "), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_name_is_taken_apart_without_fault(name in "\\PC{0,40}") {
            let length: usize = words(&name).map(str::len).sum();
            prop_assert_eq!(length, name.bytes().filter(|byte| is_of_word(*byte)).count());
        }
    }
}

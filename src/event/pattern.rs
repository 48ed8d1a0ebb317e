//! Which actions a row of the mapping stands for: one by its name, or many by the words in theirs.

/// Of which actions a row is.
#[derive(Debug)]
pub(super) enum Pattern {
    Exactly(&'static str),
    /// `audit/*`, `*/*`: any. The scope is what stands before the slash, where the selector names it.
    Any {
        scope: Option<&'static str>,
    },
    /// `*.GET.*`: the word between the first two dots, in either case.
    Segment(&'static str),
    /// `*/<first:get,runNow>` and the like: by a word, or several in a row, of the name behind the slash.
    Words {
        scope: Option<&'static str>,
        place: Place,
        verbs: Vec<&'static str>,
        rivals: Vec<&'static str>,
    },
}

/// Where in a name a verb has to stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// `<first:..>`: at its beginning.
    First,
    /// `<last:..>`: at its end.
    Last,
    /// `<word:..>`: at its beginning; or else anywhere, where no verb of another row of the kind is there.
    Any,
}

/// Words that turn what is done into another thing: who denies a delete, or asks for one, deletes nothing. Where an action
/// has one it is no row's but one that names it, or whose verb it begins with.
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

/// No action has a longer name. What has says no verb.
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

    /// The verbs of a row that takes them anywhere, each of which is a rival of the family's other such rows.
    pub(super) fn rival_verbs(&self) -> &[&'static str] {
        match self {
            Self::Words { place: Place::Any, verbs, .. } => verbs,
            _ => &[],
        }
    }

    /// Tells the row all verbs that rows of its family take anywhere.
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

/// What stands behind the scope.
fn name_in<'a>(scope: Option<&str>, action: &'a str) -> Option<&'a str> {
    match (scope, action.split_once('/')) {
        (None, Some((_, name))) => Some(name),
        (None, None) => Some(action),
        (Some(scope), Some((own, name))) => (own == scope).then_some(name),
        (Some(_), None) => None,
    }
}

/// Whether the name says one of the verbs and no other: the first word decides, where it is one.
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

/// Whether the words of the verb, mostly one, stand at the beginning of the name.
fn begins_with(name: &str, verb: &str) -> bool {
    let mut own = words(name);
    words(verb).all(|word| own.next().is_some_and(|own| own.eq_ignore_ascii_case(word)))
}

/// The words of a name: `getLakeFSVersion`, `GET_LAKE_FS_VERSION`, `get-lake.fs/version`. Digits belong to the word before.
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

/// Whether a word begins at a letter: with the name, behind what is none, at a capital behind a small letter, and at the last
/// of several capitals where a small letter follows.
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

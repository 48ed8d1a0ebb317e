//! Which events a sink takes: by class, by severity, and by the texts of their attributes.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de};

use crate::event::attribute::Attribute;
use crate::event::class::{Class, Severity};
use crate::event::{Event, ocsf};

/// A filter for the events of one feed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filter {
    pub classes: Classes,
    pub severity_min: Severity,
    /// Each attribute must have a text that one of its patterns matches.
    pub wanted: Conditions,
    /// No attribute may have a text that one of its patterns matches.
    pub unwanted: Conditions,
}

/// Attributes, each with the patterns that its texts are compared with.
pub(crate) type Conditions = BTreeMap<Attribute, Vec<Pattern>>;

impl Filter {
    /// Takes every event.
    pub const ALL: Self = Self {
        classes: Classes::ALL,
        severity_min: Severity::Unknown,
        wanted: Conditions::new(),
        unwanted: Conditions::new(),
    };

    /// Takes no event.
    pub const NONE: Self = Self {
        classes: Classes::NONE,
        severity_min: Severity::Unknown,
        wanted: Conditions::new(),
        unwanted: Conditions::new(),
    };

    pub fn takes(&self, event: &Event<'_>) -> bool {
        self.takes_class(event)
            && event.activity.severity >= self.severity_min
            && self.wanted.iter().all(|condition| holds(condition, event))
            && !self.unwanted.iter().any(|condition| holds(condition, event))
    }

    /// The class that counts is the one in which OCSF 1.8.0 writes the event, whatever the encoding.
    fn takes_class(&self, event: &Event<'_>) -> bool {
        match self.classes {
            Classes::ALL => true,
            Classes::NONE => false,
            some => {
                let named = event.activity.class;
                some.has(if ocsf::fits(named, event) { named } else { Class::ApiActivity })
            }
        }
    }
}

fn holds((attribute, patterns): (&Attribute, &Vec<Pattern>), event: &Event<'_>) -> bool {
    attribute.any(event, &mut |text| patterns.iter().any(|pattern| pattern.matches(text)))
}

/// A set of classes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Classes(u16);

impl Classes {
    pub const ALL: Self = Self((1 << Class::ALL.len()) - 1);
    pub const NONE: Self = Self(0);

    const fn has(self, class: Class) -> bool {
        self.0 & 1 << class as u16 != 0
    }
}

impl FromIterator<Class> for Classes {
    fn from_iter<I: IntoIterator<Item = Class>>(classes: I) -> Self {
        Self(classes.into_iter().fold(0, |set, class| set | 1 << class as u16))
    }
}

/// What a text must be: `text` itself, `begins*`, `*ends`, `*holds*`, or `*` for any text. Case matters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    text: Box<str>,
    /// Whether anything may stand before (`opens`) and after (`closes`) the text.
    opens: bool,
    closes: bool,
}

/// Why a pattern cannot be parsed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PatternError {
    #[error("expected `*` at the beginning or the end alone")]
    StarWithin,
    #[error("expected a text that is not empty; `*` stands for any")]
    Empty,
}

impl Pattern {
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        if pattern.is_empty() {
            return Err(PatternError::Empty);
        }
        let (text, opens) = pattern.strip_prefix('*').map_or((pattern, false), |text| (text, true));
        let (text, closes) = text.strip_suffix('*').map_or((text, false), |text| (text, true));
        if text.contains('*') {
            return Err(PatternError::StarWithin);
        }
        Ok(Self { text: text.into(), opens, closes })
    }

    fn matches(&self, text: &str) -> bool {
        match (self.opens, self.closes) {
            (false, false) => text == &*self.text,
            (false, true) => text.starts_with(&*self.text),
            (true, false) => text.ends_with(&*self.text),
            (true, true) => memchr::memmem::find(text.as_bytes(), self.text.as_bytes()).is_some(),
        }
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Activity, Group, Product, Text};

    fn event(class: Class, user: Option<&'static str>) -> Event<'static> {
        let product = Product { name: "P", vendor: "V", log_name: "l" };
        let mut event = Event::new(product, Activity::of(class, 1), "do".into(), 0);
        event.actor.user.name = user.map(Text::from);
        event
    }

    fn conditions(name: &str, patterns: &[&str]) -> Conditions {
        let patterns = patterns.iter().map(|pattern| Pattern::new(pattern).unwrap()).collect();
        [(Attribute::named(name).unwrap(), patterns)].into()
    }

    #[test]
    fn a_pattern_is_a_text_with_a_star_at_its_ends_or_without() {
        for (pattern, text, expected) in [
            ("ann", "ann", true),
            ("ann", "Ann", false),
            ("ann", "anna", false),
            ("an*", "anna", true),
            ("an*", "bean", false),
            ("*na", "anna", true),
            ("*na", "nab", false),
            ("*nn*", "anna", true),
            ("*nn*", "ana", false),
            ("*", "x", true),
            ("**", "x", true),
            ("*a", "a", true),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().matches(text), expected, "{pattern} {text}");
        }
        assert_eq!(Pattern::new("a*b"), Err(PatternError::StarWithin));
        assert_eq!(Pattern::new("***"), Err(PatternError::StarWithin));
        assert_eq!(Pattern::new(""), Err(PatternError::Empty));
    }

    #[test]
    fn the_class_that_counts_is_the_one_that_the_event_is_written_in() {
        let only = |class| Filter { classes: [class].into_iter().collect(), ..Filter::ALL };
        // Without a group, a change of a group is written as API Activity.
        let mut event = event(Class::GroupManagement, None);
        assert!(!only(Class::GroupManagement).takes(&event));
        assert!(only(Class::ApiActivity).takes(&event));
        event.target.group = Some(Group { name: Some("g".into()), uid: None });
        assert!(only(Class::GroupManagement).takes(&event));
        assert!(!only(Class::ApiActivity).takes(&event));
        assert!(Filter::ALL.takes(&event) && !Filter::NONE.takes(&event));
        assert_eq!(Class::ALL.into_iter().collect::<Classes>(), Classes::ALL);
    }

    #[test]
    fn every_event_is_informational() {
        let event = event(Class::ApiActivity, None);
        let from = |severity_min| Filter { severity_min, ..Filter::ALL }.takes(&event);
        assert!(from(Severity::Informational));
        assert!(!from(Severity::Low));
    }

    #[test]
    fn all_that_is_wanted_must_match_and_nothing_that_is_not() {
        let (ann, bob, nobody) = (
            event(Class::ApiActivity, Some("ann")),
            event(Class::ApiActivity, Some("bob")),
            event(Class::ApiActivity, None),
        );
        let takes = |filter: &Filter| [&ann, &bob, &nobody].map(|event| filter.takes(event));
        let wanted = conditions("actor.user.name", &["x", "a*"]);
        let mut filter = Filter { wanted, ..Filter::ALL };
        assert_eq!(takes(&filter), [true, false, false]);
        filter.wanted.append(&mut conditions("api.operation", &["other"]));
        assert_eq!(takes(&filter), [false, false, false], "both must match");
        let unwanted = conditions("actor.user.name", &["b*"]);
        assert_eq!(takes(&Filter { unwanted, ..Filter::ALL }), [true, false, true]);
        let unwanted = conditions("actor.user.name", &["*"]);
        assert_eq!(takes(&Filter { unwanted, ..Filter::ALL }), [false, false, true], "without a user");
    }
}

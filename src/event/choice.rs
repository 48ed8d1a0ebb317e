//! Tells in one small number which values an event has, of those that its sink distinguishes.

use crate::event::Event;
use crate::event::attribute::Attribute;

/// An attribute, and the values of it that the sink distinguishes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Choice {
    pub attribute: Attribute,
    pub values: Vec<String>,
}

/// All choices of one sink. The product of their numbers of outcomes is at most 256.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Choices(Box<[Choice]>);

impl Choices {
    /// `None` if the choices have more than 256 outcomes together.
    pub fn new(choices: Vec<Choice>) -> Option<Self> {
        let outcomes = choices.iter().try_fold(1_usize, |all, choice| all.checked_mul(choice.outcomes()));
        outcomes.filter(|&outcomes| outcomes <= 1 << u8::BITS).map(|_| Self(choices.into()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The event's outcomes of all choices, packed into one number.
    pub(super) fn of(&self, event: &Event<'_>) -> u8 {
        let chosen = self.0.iter().fold(0, |all, choice| all * choice.outcomes() + choice.of(event));
        u8::try_from(chosen).unwrap_or(u8::MAX)
    }

    /// The outcome of choice number `at` in the packed number `all`: the value's position, or `None` if the event has
    /// none of the values.
    pub fn chosen(&self, all: u8, at: usize) -> Option<usize> {
        let behind: usize = self.0.get(at + 1..)?.iter().map(Choice::outcomes).product();
        let choice = self.0.get(at)?;
        let chosen = usize::from(all) / behind % choice.outcomes();
        (chosen < choice.values.len()).then_some(chosen)
    }
}

impl Choice {
    /// One outcome for each value, and one for all other values.
    fn outcomes(&self) -> usize {
        self.values.len() + 1
    }

    fn of(&self, event: &Event<'_>) -> usize {
        let mut chosen = self.values.len();
        self.attribute.any(event, &mut |text| {
            chosen = self.values.iter().position(|value| value == text).unwrap_or(self.values.len());
            chosen < self.values.len()
        });
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Activity, Class, Product};

    fn choice(name: &str, values: &[&str]) -> Choice {
        Choice {
            attribute: Attribute::named(name).unwrap(),
            values: values.iter().map(|&value| value.to_owned()).collect(),
        }
    }

    #[test]
    fn one_number_says_what_an_event_chose_of_each() {
        let choices =
            Choices::new(vec![choice("actor.user.name", &["ann", "bob"]), choice("privileges", &["READ"])]).unwrap();
        let product = Product { name: "P", vendor: "V", log_name: "l" };
        let mut event = Event::new(product, Activity::of(Class::ApiActivity, 1), "do".into(), 0);
        for (user, privileges, expected) in [
            (None, &[][..], [None, None]),
            (Some("ann"), &["READ"][..], [Some(0), Some(0)]),
            (Some("bob"), &["WRITE", "READ"], [Some(1), Some(0)]),
            (Some("bob"), &["WRITE"], [Some(1), None]),
            (Some("eve"), &["READ"], [None, Some(0)]),
        ] {
            event.actor.user.name = user.map(Into::into);
            event.target.privileges = privileges.iter().map(|&text| text.into()).collect();
            let all = choices.of(&event);
            assert_eq!([0, 1].map(|at| choices.chosen(all, at)), expected, "{user:?} {privileges:?}");
            assert_eq!(choices.chosen(all, 2), None);
        }
    }

    #[test]
    fn what_does_not_fit_into_one_number_is_none() {
        let values: Vec<String> = (0..255).map(|value| value.to_string()).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        assert!(Choices::new(vec![choice("status", &values)]).is_some());
        assert!(Choices::new(vec![choice("status", &values), choice("message", &["a"])]).is_none());
        assert!(Choices::new(vec![choice("status", &[&values[..], &["more"]].concat())]).is_none());
    }
}

//! Limits equal log messages: the first is logged at once, then one a minute with the number of suppressed ones.

use std::borrow::Cow;
use std::collections::HashMap;

/// The least time between two messages of the same topic and subject.
const EVERY_MS: u64 = 60_000;

/// The most subjects with entries of their own. Further subjects of a topic share one entry, so that names from outside
/// fill neither the memory nor the log.
const SUBJECTS_MAX: usize = 512;

/// The subject of the entry that further subjects of a topic share.
const OTHERS: &str = "others";

/// The messages of the last minutes. Pure: the caller passes the time, in milliseconds since the process started.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    entries: HashMap<(&'static str, Cow<'static, str>), Entry>,
}

#[derive(Debug)]
struct Entry {
    logged_ms: u64,
    held_back: u64,
}

/// What the caller does with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Admission {
    /// Log the message, with the number of equal messages that were held back since the last one, if any.
    Log {
        held_back: Option<u64>,
    },
    HoldBack,
}

/// Equal messages that were held back, without a later message that reported their number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct HeldBack {
    pub topic: &'static str,
    pub subject: String,
    pub times: u64,
}

impl Limiter {
    /// Decides whether a message is logged. Messages are equal if they have the same `topic` (their text) and the same
    /// `subject` (such as the feed or sink that they are about).
    pub(crate) fn admit(&mut self, topic: &'static str, subject: &str, now_ms: u64) -> Admission {
        let mut key = (topic, Cow::Owned(subject.to_owned()));
        if !self.entries.contains_key(&key) && self.entries.len() >= SUBJECTS_MAX {
            self.entries.retain(|_, entry| entry.held_back > 0 || now_ms < entry.logged_ms.saturating_add(EVERY_MS));
            if self.entries.len() >= SUBJECTS_MAX {
                key.1 = Cow::Borrowed(OTHERS);
            }
        }
        let Some(entry) = self.entries.get_mut(&key) else {
            self.entries.insert(key, Entry { logged_ms: now_ms, held_back: 0 });
            return Admission::Log { held_back: None };
        };
        if now_ms < entry.logged_ms.saturating_add(EVERY_MS) {
            entry.held_back += 1;
            return Admission::HoldBack;
        }
        let held_back = Some(std::mem::take(&mut entry.held_back)).filter(|times| *times > 0);
        *entry = Entry { logged_ms: now_ms, held_back: 0 };
        Admission::Log { held_back }
    }

    /// Forgets messages that were quiet for two minutes, and returns those held back: otherwise their number would
    /// never be logged. Before that, the next equal message reports the number.
    pub(crate) fn quiet(&mut self, now_ms: u64) -> Vec<HeldBack> {
        self.take(|entry| now_ms >= entry.logged_ms.saturating_add(2 * EVERY_MS))
    }

    /// Forgets all messages, and returns those held back.
    pub(crate) fn end(&mut self) -> Vec<HeldBack> {
        self.take(|_| true)
    }

    fn take(&mut self, over: impl Fn(&Entry) -> bool) -> Vec<HeldBack> {
        let over = self.entries.extract_if(|_, entry| over(entry)).filter(|(_, entry)| entry.held_back > 0);
        let over = over.map(|((topic, subject), entry)| HeldBack {
            topic,
            subject: subject.into_owned(),
            times: entry.held_back,
        });
        let mut over: Vec<HeldBack> = over.collect();
        over.sort_by(|one, other| (one.topic, &one.subject).cmp(&(other.topic, &other.subject)));
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGGED: Admission = Admission::Log { held_back: None };

    fn admit(limiter: &mut Limiter, subject: &str, now_ms: u64) -> Admission {
        limiter.admit("failed", subject, now_ms)
    }

    #[test]
    fn the_first_is_logged_at_once_and_then_one_a_minute_with_the_number_held_back() {
        let mut limiter = Limiter::default();
        assert_eq!(admit(&mut limiter, "a", 5), LOGGED);
        for now_ms in [5, 6, 60_004] {
            assert_eq!(admit(&mut limiter, "a", now_ms), Admission::HoldBack);
        }
        assert_eq!(admit(&mut limiter, "a", 60_005), Admission::Log { held_back: Some(3) });
        assert_eq!(admit(&mut limiter, "a", 60_006), Admission::HoldBack);
        assert_eq!(admit(&mut limiter, "a", 120_005), Admission::Log { held_back: Some(1) });
        assert_eq!(admit(&mut limiter, "a", 180_005), LOGGED, "none was held back");
    }

    #[test]
    fn subjects_and_topics_do_not_hold_each_other_back() {
        let mut limiter = Limiter::default();
        assert_eq!(admit(&mut limiter, "a", 0), LOGGED);
        assert_eq!(admit(&mut limiter, "b", 0), LOGGED);
        assert_eq!(limiter.admit("another", "a", 0), LOGGED);
    }

    #[test]
    fn what_was_held_back_last_is_returned_once_it_is_quiet() {
        let mut limiter = Limiter::default();
        for subject in ["a", "a", "a", "b"] {
            admit(&mut limiter, subject, 0);
        }
        assert_eq!(limiter.quiet(119_999), []);
        let expected = HeldBack { topic: "failed", subject: "a".to_owned(), times: 2 };
        assert_eq!(limiter.quiet(120_000), [expected], "of b nothing was held back");
        assert_eq!(limiter.quiet(120_000), []);
        assert_eq!(admit(&mut limiter, "a", 120_001), LOGGED);
        admit(&mut limiter, "a", 120_002);
        assert_eq!(limiter.end().len(), 1);
    }

    #[test]
    fn more_subjects_than_are_told_apart_share_one_entry() {
        let mut limiter = Limiter::default();
        let logged = |limiter: &mut Limiter, from: usize, now_ms: u64| {
            let subjects = (from..from + 10_000).map(|n| n.to_string());
            subjects.filter(|subject| admit(limiter, subject, now_ms) != Admission::HoldBack).count()
        };
        assert_eq!(logged(&mut limiter, 0, 0), SUBJECTS_MAX + 1);
        assert_eq!(limiter.entries.len(), SUBJECTS_MAX + 1);
        let held_back: u64 = limiter.entries.values().map(|entry| entry.held_back).sum();
        assert_eq!(held_back as usize, 10_000 - SUBJECTS_MAX - 1, "every one is counted");
        // Entries older than a minute make room.
        assert!(logged(&mut limiter, 10_000, 60_000) >= SUBJECTS_MAX - 1);
        assert!(limiter.entries.len() <= SUBJECTS_MAX + 1);
    }
}

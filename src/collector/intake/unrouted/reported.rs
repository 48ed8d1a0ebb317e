//! Reports notifications that match no feed: once per place, with what to do about it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::checkpoint::NoFeed;
use crate::collector::feeds::{Feed, Feeds};
use crate::collector::ids::FeedId;
use crate::config::closest;
use crate::notification::ObjectId;

/// How many places, and how many unknown events, are reported. Anyone who can send messages can name any number of
/// them.
const KNOWN_MAX: usize = 100;

/// How many characters of a key a suggestion repeats, and how many prefixes or globs of a feed.
const PART_CHARS_MAX: usize = 100;
const LISTED_MAX: usize = 8;

/// How often a lack of room for names is reported at most.
const FULL_EVERY: Duration = Duration::from_secs(3600);

/// What was already reported for one queue.
#[derive(Default)]
pub(in crate::collector) struct Reported {
    places: Mutex<BTreeSet<Place>>,
    events: Mutex<BTreeSet<Box<str>>>,
    full_at: Mutex<Option<Instant>>,
}

/// A place that is reported once.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Place {
    Bucket(Arc<str>),
    /// A bucket and the first part of a key.
    Prefix(Arc<str>, Box<str>),
    /// A feed, and the ending of the object's name.
    Keys(Option<FeedId>, Box<str>),
}

/// Whether a place or event is still to be reported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum News {
    New,
    Known,
    /// The first beyond the limit: only that is reported.
    TooMany,
}

impl Reported {
    /// Reports that a notification names an object that matches no feed.
    pub(in crate::collector) fn unrouted(
        &self,
        queue: &str,
        feeds: &Feeds,
        object: &ObjectId,
        why: NoFeed,
        nearest: Option<FeedId>,
    ) {
        match news(&self.places, place(object, why, nearest)) {
            News::New => {}
            News::Known => return,
            News::TooMany => {
                warn!(
                    queue,
                    places = KNOWN_MAX,
                    "notifications name more places that belong to no feed than are reported; `auditferry quarantine unrouted list` shows them"
                );
                return;
            }
        }
        let feed = nearest.map(|at| &*feeds[at]);
        let suggestion = suggestion(feeds, object, why, feed);
        let feed = feed.map_or("", |feed| &*feed.name);
        let why = why.name();
        warn!(
            queue, feed, %object, why, suggestion,
            "a notification names an object that belongs to no feed; the object's name is kept until it does"
        );
    }

    /// Reports that this object's name cannot be stored, for this reason.
    pub(in crate::collector) fn full(&self, queue: &str, object: &ObjectId, reason: &str) {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        if full_at.is_none_or(|at| at.elapsed() >= FULL_EVERY) {
            *full_at = Some(Instant::now());
            warn!(
                queue, %object, reason,
                "a notification names an object that belongs to no feed, and its name cannot be kept: its message stays in the queue"
            );
        }
    }

    /// Reports that an unknown event names an object, which is read.
    pub(in crate::collector) fn event(&self, queue: &str, event: &str, object: &ObjectId) {
        if news(&self.events, event.into()) == News::New {
            info!(queue, event, %object, "an event of an unknown name names an object, which is read");
        }
    }
}

fn news<T: Ord>(known: &Mutex<BTreeSet<T>>, one: T) -> News {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if known.contains(&one) || known.len() > KNOWN_MAX {
        return News::Known;
    }
    known.insert(one);
    if known.len() > KNOWN_MAX { News::TooMany } else { News::New }
}

fn place(object: &ObjectId, why: NoFeed, nearest: Option<FeedId>) -> Place {
    match why {
        NoFeed::Bucket => Place::Bucket(Arc::clone(&object.bucket)),
        NoFeed::Prefix => Place::Prefix(Arc::clone(&object.bucket), first_part(&object.key).into()),
        NoFeed::Keys => Place::Keys(nearest, ending(&object.key).into()),
    }
}

/// The key up to and with its first slash. Empty if it has no slash.
fn first_part(key: &str) -> &str {
    key.find('/').map_or("", |slash| &key[..=slash])
}

/// The ending of the key's last part, from its last dot on. Empty if it has no dot.
fn ending(key: &str) -> &str {
    let name = key.rfind('/').map_or(key, |slash| &key[slash + 1..]);
    name.rfind('.').map_or("", |dot| &name[dot..])
}

/// What an operator can do about it. Text from a message is escaped and shortened.
fn suggestion(feeds: &Feeds, object: &ObjectId, why: NoFeed, nearest: Option<&Feed>) -> String {
    let Some(feed) = nearest else {
        let buckets = feeds.0.iter().flat_map(|feed| feed.buckets.iter()).map(|bucket| &**bucket);
        return match closest(&object.bucket, buckets) {
            Some(bucket) => {
                format!("a feed reads the bucket `{bucket}`; did you mean that, there or in the notification?")
            }
            None => "add a feed for the bucket, or take its notifications off the queue".to_owned(),
        };
    };
    let name = &feed.name;
    match why {
        NoFeed::Keys => format!(
            "feed.{name} takes keys that match {}; add a glob to its `keys`, or to its `ignore` if such objects are no logs",
            listed(&feed.globs)
        ),
        NoFeed::Bucket | NoFeed::Prefix => format!(
            "feed.{name} reads the prefixes {}; the key begins with {:?}: add that to them or a glob to its `ignore`, or narrow the notification",
            listed(&feed.prefixes),
            beginning(&object.key)
        ),
    }
}

fn beginning(key: &str) -> &str {
    let part = match first_part(key) {
        "" => key,
        part => part,
    };
    part.char_indices().nth(PART_CHARS_MAX).map_or(part, |(at, _)| &part[..at])
}

fn listed(texts: &[String]) -> String {
    let more = if texts.len() > LISTED_MAX { ", ..." } else { "" };
    let texts: Vec<String> = texts.iter().take(LISTED_MAX).map(|text| format!("{text:?}")).collect();
    format!("[{}{more}]", texts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_bucket_a_first_part_or_an_ending() {
        let of = |key: &str, why| place(&ObjectId::new("b", key), why, Some(FeedId(1)));
        for (why, same, other) in [
            (NoFeed::Bucket, ["a/1", "z"], None),
            (NoFeed::Prefix, ["a/1", "a/b/2"], Some("c/1")),
            (NoFeed::Prefix, ["1", "2"], Some("c/1")),
            (NoFeed::Keys, ["a/1.txt", "b/2.txt"], Some("a/1.txt.gz")),
            (NoFeed::Keys, ["a.d/_SUCCESS", "b"], Some("a/1.txt")),
        ] {
            assert_eq!(of(same[0], why), of(same[1], why), "{why:?}");
            assert!(other.is_none_or(|other| of(other, why) != of(same[0], why)), "{why:?}");
        }
        let elsewhere = place(&ObjectId::new("c", "a/1"), NoFeed::Bucket, None);
        assert_ne!(elsewhere, of("a/1", NoFeed::Bucket));
    }

    #[test]
    fn what_is_told_of_is_bounded_and_that_is_told_once() {
        let known = Mutex::default();
        let told: Vec<News> = (0..2 * KNOWN_MAX).map(|n| news(&known, n)).collect();
        assert!(told[..KNOWN_MAX].iter().all(|news| *news == News::New));
        assert_eq!(told[KNOWN_MAX], News::TooMany);
        assert!(told[KNOWN_MAX + 1..].iter().all(|news| *news == News::Known));
        assert_eq!(news(&known, 0), News::Known);
        assert_eq!(known.lock().unwrap().len(), KNOWN_MAX + 1);
    }

    #[test]
    fn a_text_out_of_a_message_is_repeated_cut_and_whole_characters_only() {
        assert_eq!(beginning("a/b/c"), "a/");
        assert_eq!(beginning("abc"), "abc");
        assert_eq!(beginning(&"\u{e9}".repeat(500)), "\u{e9}".repeat(PART_CHARS_MAX));
        let texts: Vec<String> = (0..20).map(|n| format!("{n}\u{1b}")).collect();
        let listed = listed(&texts);
        assert!(listed.starts_with("[\"0\\u{1b}\", ") && listed.ends_with("\"7\\u{1b}\", ...]"), "{listed}");
    }
}

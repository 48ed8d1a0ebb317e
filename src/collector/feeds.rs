//! The feeds as they run: where each reads, which objects belong to it, and its sinks.

use std::collections::BTreeMap;
use std::ops::Index;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use globset::{Glob, GlobSet, GlobSetBuilder};

use crate::checkpoint::{NoFeed, Unrouted};
use crate::collector::ids::{EncoderId, FeedId, SinkId};
use crate::collector::users::UserDirectory;
use crate::config::feed::IdentityScope;
use crate::event::{Encoder, Scope};
use crate::family::{Context, Family, RecordBudget, Redaction, Settings};
use crate::notification::ObjectId;
use crate::object::Place;
use crate::reading::Contexts;

/// Names of partitions that stand for a time, as in `date=2024-01-15`.
const TIMES: [&str; 5] = ["date", "year", "month", "day", "hour"];

/// One feed, ready to run.
pub(super) struct Feed {
    pub name: Arc<str>,
    pub family: &'static Family,
    pub place: Place,
    /// Its bucket (or directory) as the configuration names it.
    pub bucket: Arc<str>,
    /// The names that notifications may use for its bucket.
    pub buckets: Vec<Arc<str>>,
    /// By access point: the bucket that is read through it.
    pub behind: BTreeMap<String, Arc<str>>,
    pub prefixes: Vec<String>,
    pub keys: GlobSet,
    /// The globs that `keys` was compiled from.
    pub globs: Vec<String>,
    /// Keys in its bucket that are ignored on purpose, outside of its prefixes too.
    pub ignore: GlobSet,
    pub scope: IdentityScope,
    pub settings: Settings,
    pub budget: RecordBudget,
    pub redaction: Option<Redaction>,
    /// The e-mail addresses of users, if the feed is configured to add them.
    pub users: Option<Arc<UserDirectory>>,
    /// The feed's sinks, and their names.
    pub sinks: Vec<SinkId>,
    pub sink_names: Vec<Arc<str>>,
    /// The distinct encoders that its sinks need, and which of them each of `sinks` uses.
    pub encoders: Vec<Encoder>,
    pub encoder_of: Vec<EncoderId>,
    /// Whether an object without any record was logged already.
    pub reported_no_record: AtomicBool,
}

impl Feed {
    /// Whether the key passes the feed's filters.
    pub(super) fn wants(&self, key: &str) -> bool {
        self.keys.is_match(key) && !self.ignore.is_match(key)
    }

    fn covers(&self, object: &ObjectId) -> bool {
        is_below(&self.prefixes, &object.key) && self.reads(&object.bucket)
    }

    fn reads(&self, bucket: &str) -> bool {
        self.buckets.iter().any(|its| **its == *bucket)
    }

    /// The index of the encoder that makes a sink's bytes. `None` if the feed has no such sink.
    pub(super) fn encoder_at(&self, sink: SinkId) -> Option<EncoderId> {
        let at = self.sinks.iter().position(|&its| its == sink)?;
        Some(self.encoder_of[at])
    }

    /// The encoder that makes a sink's bytes. `None` if the feed has no such sink.
    pub(super) fn encoder(&self, sink: SinkId) -> Option<Encoder> {
        self.encoder_at(sink).map(|at| self.encoders[at.0].clone())
    }

    /// The object's partition, as metrics label it: the key's segments of the form `name=value`, without those that
    /// name a time, which would make a new series every day.
    pub(super) fn partition(&self, object: &ObjectId) -> String {
        let lasting = |segment: &&str| segment.split_once('=').is_some_and(|(name, _)| !TIMES.contains(&name));
        let segments: Vec<&str> = object.key.split('/').filter(lasting).collect();
        segments.join("/")
    }

    /// The object under its bucket's configured name, so that each object has one checkpoint.
    pub(super) fn canonical(&self, object: ObjectId) -> ObjectId {
        match self.behind.get(&*object.bucket) {
            Some(bucket) => ObjectId { bucket: Arc::clone(bucket), key: object.key },
            None => object,
        }
    }
}

impl Contexts for Feed {
    fn context<'a>(&'a self, object: &'a ObjectId, last_modified_ms: Option<i64>) -> Context<'a> {
        let scope = match self.scope {
            IdentityScope::Object => Scope::Object(object),
            IdentityScope::Record => Scope::Record,
        };
        Context::new(self.family, object, scope, last_modified_ms, &self.name)
            .with_settings(&self.settings)
            .with_budget(self.budget)
            .with_redaction(self.redaction.as_ref())
            .with_users(self.users.as_ref().map(|users| users.lookup()))
    }
}

/// Whether a key is below one of a feed's prefixes. Without prefixes every key is.
pub(super) fn is_below(prefixes: &[String], key: &str) -> bool {
    prefixes.is_empty() || prefixes.iter().any(|prefix| key.starts_with(prefix.as_str()))
}

/// Compiles a feed's key filters.
///
/// # Errors
/// Names the glob that is not valid.
pub(super) fn filters(globs: &[String]) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        set.add(Glob::new(glob)?);
    }
    set.build()
}

/// The feed that an object belongs to, or why it belongs to none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Route {
    Feed(FeedId),
    /// No feed: a feed of its bucket ignores it on purpose.
    Ignored,
    /// No feed, for this reason. `nearest` is the feed of its bucket whose prefixes match most of the key, if its
    /// bucket has a feed.
    Nobody {
        why: NoFeed,
        nearest: Option<FeedId>,
    },
}

/// All feeds.
pub(super) struct Feeds(pub Vec<Arc<Feed>>);

impl Index<FeedId> for Feeds {
    type Output = Arc<Feed>;

    fn index(&self, feed: FeedId) -> &Arc<Feed> {
        &self.0[feed.0]
    }
}

impl Feeds {
    /// Which feed an object belongs to. Feeds do not overlap.
    pub(super) fn route(&self, object: &ObjectId) -> Route {
        if let Some(at) = self.position(object) {
            return match &self[at] {
                feed if feed.wants(&object.key) => Route::Feed(at),
                feed if feed.ignore.is_match(&*object.key) => Route::Ignored,
                _ => Route::Nobody { why: NoFeed::Keys, nearest: Some(at) },
            };
        }
        let of_bucket = || (0..).map(FeedId).zip(&self.0).filter(|(_, feed)| feed.reads(&object.bucket));
        if of_bucket().any(|(_, feed)| feed.ignore.is_match(&*object.key)) {
            return Route::Ignored;
        }
        let alike = |feed: &Feed| feed.prefixes.iter().map(|prefix| alike(prefix, &object.key)).max();
        match of_bucket().max_by_key(|(at, feed)| (alike(feed), std::cmp::Reverse(*at))) {
            Some((at, _)) => Route::Nobody { why: NoFeed::Prefix, nearest: Some(at) },
            None => Route::Nobody { why: NoFeed::Bucket, nearest: None },
        }
    }

    /// What is stored of an object that matches no feed.
    pub(super) fn unrouted(
        &self,
        object: ObjectId,
        queue: &Arc<str>,
        why: NoFeed,
        nearest: Option<FeedId>,
    ) -> Unrouted {
        let feed = nearest.map(|at| Arc::clone(&self[at].name));
        Unrouted { object, queue: Arc::clone(queue), feed, why }
    }

    /// The feed whose bucket and prefixes cover the object, whether or not its filters want the key.
    pub(super) fn position(&self, object: &ObjectId) -> Option<FeedId> {
        self.0.iter().position(|feed| feed.covers(object)).map(FeedId)
    }
}

/// Length of the common prefix of two texts, in bytes.
fn alike(one: &str, other: &str) -> usize {
    one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::family;
    use crate::notification::directory::Directory;
    use crate::object::directory::DirectoryObjects;

    async fn feed(name: &str, bucket: &str, prefixes: &[&str], keys: &[&str], ignore: &[&str]) -> Arc<Feed> {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        // The tests read nothing, so any place will do.
        let place = Place::Directory(DirectoryObjects::new(
            Directory::open("/".as_ref(), Duration::from_secs(60)).await.unwrap(),
        ));
        Arc::new(Feed {
            name: name.into(),
            family: family::named("databricks").unwrap(),
            place,
            bucket: bucket.into(),
            buckets: vec![bucket.into()],
            behind: BTreeMap::new(),
            prefixes: texts(prefixes),
            keys: filters(&texts(keys)).unwrap(),
            globs: texts(keys),
            ignore: filters(&texts(ignore)).unwrap(),
            scope: IdentityScope::default(),
            settings: Settings::default(),
            budget: RecordBudget::default(),
            redaction: None,
            users: None,
            sinks: Vec::new(),
            sink_names: Vec::new(),
            encoders: Vec::new(),
            encoder_of: Vec::new(),
            reported_no_record: AtomicBool::new(false),
        })
    }

    #[tokio::test]
    async fn an_object_goes_to_its_feed_or_to_nobody_for_a_reason() {
        let feeds = Feeds(vec![
            feed("a", "logs", &["audit/a/"], &["**/*.json"], &["**/_*"]).await,
            feed("b", "logs", &["audit/b/", "old/"], &["**/*.json"], &["trash/**"]).await,
            feed("c", "whole", &[], &["**"], &[]).await,
        ]);
        let nobody = |why, nearest| Route::Nobody { why, nearest };
        for (bucket, key, expected) in [
            ("logs", "audit/a/1.json", Route::Feed(FeedId(0))),
            ("logs", "audit/b/1.json", Route::Feed(FeedId(1))),
            ("whole", "x", Route::Feed(FeedId(2))),
            ("logs", "audit/a/1.txt", nobody(NoFeed::Keys, Some(FeedId(0)))),
            ("logs", "audit/a/_1.json", Route::Ignored),
            ("logs", "audit/a/_1.txt", Route::Ignored),
            ("logs", "audit/b/_1.json", Route::Feed(FeedId(1))),
            ("logs", "trash/1.json", Route::Ignored),
            // The nearest feed has the prefix with most in common with the key. Of equals, the first.
            ("logs", "audit/bb/1.json", nobody(NoFeed::Prefix, Some(FeedId(1)))),
            ("logs", "audit/c/1.json", nobody(NoFeed::Prefix, Some(FeedId(0)))),
            ("logs", "older/1.json", nobody(NoFeed::Prefix, Some(FeedId(1)))),
            ("logs", "zzz", nobody(NoFeed::Prefix, Some(FeedId(0)))),
            ("log", "audit/a/1.json", nobody(NoFeed::Bucket, None)),
        ] {
            assert_eq!(feeds.route(&ObjectId::new(bucket, key)), expected, "{bucket} {key}");
        }
        let object = ObjectId::new("logs", "zzz");
        let kept = feeds.unrouted(object.clone(), &"q".into(), NoFeed::Prefix, Some(FeedId(1)));
        assert_eq!(kept, Unrouted { object, queue: "q".into(), feed: Some("b".into()), why: NoFeed::Prefix });
    }
}

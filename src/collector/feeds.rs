//! The feeds as they run: where each reads, which objects are its, which lanes it goes to.

use std::collections::HashMap;
use std::sync::Arc;

use globset::Glob;
use globset::GlobSet;
use globset::GlobSetBuilder;

use crate::collector::users::UserDirectory;
use crate::config::feed::IdentityScope;
use crate::event::Encoder;
use crate::event::Scope;
use crate::family::Context;
use crate::family::Family;
use crate::family::Redaction;
use crate::family::Settings;
use crate::notification::ObjectId;
use crate::object::Place;

/// Parts of keys that name a time.
const TIMES: [&str; 5] = ["date", "year", "month", "day", "hour"];

/// One feed, ready to run.
pub(super) struct Feed {
    pub name: Arc<str>,
    pub family: &'static Family,
    pub place: Place,
    /// Its bucket (or directory) as the configuration names it.
    pub bucket: Arc<str>,
    /// What the bucket of its objects may be called in notifications.
    pub buckets: Vec<Arc<str>>,
    /// From an access point to the bucket that is read through it.
    pub behind: HashMap<String, Arc<str>>,
    pub prefixes: Vec<String>,
    pub keys: GlobSet,
    pub scope: IdentityScope,
    pub settings: Settings,
    pub redaction: Option<Redaction>,
    /// Who the users of its records are, where the feed is to say so.
    pub users: Option<Arc<UserDirectory>>,
    /// The feed's lanes, by their position among all, with the sink's name.
    pub lanes: Vec<usize>,
    pub sinks: Vec<Arc<str>>,
    /// What its sinks want, each encoding once, and which of them each lane takes.
    pub encoders: Vec<Encoder>,
    pub encoder_of: Vec<usize>,
}

impl Feed {
    /// Whether the feed's filters let a key through.
    pub(super) fn wants(&self, key: &str) -> bool {
        self.keys.is_match(key)
    }

    fn covers(&self, object: &ObjectId) -> bool {
        let prefixed =
            self.prefixes.is_empty() || self.prefixes.iter().any(|prefix| object.key.starts_with(prefix.as_str()));
        prefixed && self.buckets.contains(&object.bucket)
    }

    /// The position among the feed's encoders of what makes the bytes for a lane.
    pub(super) fn encoder_at(&self, lane: usize) -> Option<usize> {
        let at = self.lanes.iter().position(|&its| its == lane)?;
        Some(self.encoder_of[at])
    }

    /// What makes the bytes for the lane at this position among all.
    pub(super) fn encoder(&self, lane: usize) -> Option<Encoder> {
        self.encoder_at(lane).map(|at| self.encoders[at])
    }

    /// All that the feed says of how the records of an object become events. The one place that makes a context: what is
    /// read now, made again after a crash, or requeued must not differ.
    pub(super) fn context<'a>(&'a self, object: &'a ObjectId, last_modified_ms: Option<i64>) -> Context<'a> {
        let scope = match self.scope {
            IdentityScope::Object => Scope::Object(object),
            IdentityScope::Record => Scope::Record,
        };
        Context::new(self.family, object, scope, last_modified_ms, &self.name)
            .with_settings(&self.settings)
            .with_redaction(self.redaction.as_ref())
            .with_users(self.users.as_ref().map(|users| users.lookup()))
    }

    /// What the metrics call the object's partition: the key's segments of the form `name=value`, but for those that
    /// name a time, which would be a new series every day.
    pub(super) fn partition(&self, object: &ObjectId) -> String {
        let lasting = |segment: &&str| segment.split_once('=').is_some_and(|(name, _)| !TIMES.contains(&name));
        let segments: Vec<&str> = object.key.split('/').filter(lasting).collect();
        segments.join("/")
    }

    /// The object under the name that the feed knows its bucket by, so that one object has one checkpoint.
    pub(super) fn canonical(&self, object: ObjectId) -> ObjectId {
        match self.behind.get(&*object.bucket) {
            Some(bucket) => ObjectId { bucket: Arc::clone(bucket), key: object.key },
            None => object,
        }
    }
}

/// Compiles a feed's key filters.
///
/// # Errors
/// Names the glob that is none.
pub(super) fn filters<'a>(globs: impl IntoIterator<Item = &'a str>) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        set.add(Glob::new(glob)?);
    }
    set.build()
}

/// Where an object goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Route {
    /// To the feed at this position.
    Feed(usize),
    /// To nobody: its feed's filters leave it out.
    Filtered,
    /// To nobody: no feed reads there.
    Foreign,
}

/// All feeds.
pub(super) struct Feeds(pub Vec<Arc<Feed>>);

impl Feeds {
    /// Which feed an object belongs to. Feeds do not overlap.
    pub(super) fn route(&self, object: &ObjectId) -> Route {
        match self.position(object) {
            Some(at) if self.0[at].wants(&object.key) => Route::Feed(at),
            Some(_) => Route::Filtered,
            None => Route::Foreign,
        }
    }

    /// The position of the feed whose place an object lies in, wanted or not.
    pub(super) fn position(&self, object: &ObjectId) -> Option<usize> {
        self.0.iter().position(|feed| feed.covers(object))
    }
}

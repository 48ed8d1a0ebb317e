//! Builds the running parts from the configuration.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tracing::{info, warn};

use crate::checkpoint::{DiskScratch, OpenError, SqliteStore, Store};
use crate::collector::clock::Clock;
use crate::collector::compute::Compute;
use crate::collector::error::Error;
use crate::collector::feeds::{self, Feed, Feeds};
use crate::collector::ids::{EncoderId, PerFeed, SinkId};
use crate::collector::random::Random;
use crate::collector::schedule::requests;
use crate::collector::users::UserDirectory;
use crate::collector::world::World;
use crate::config::{Config, feed};
use crate::event::Encoder;
use crate::family::{self, Redaction};
use crate::identity::{self, Identity};
use crate::notification::directory::Directory;
use crate::notification::queue;
use crate::notification::scan::{Access, S3Client};
use crate::notification::sqs::SqsQueue;
use crate::object::Place;
use crate::object::directory::DirectoryObjects;
use crate::object::s3::S3Objects;
use crate::sink::{self, Aws, Sink};

/// Builds the [`World`] that the configuration describes.
pub(super) async fn world(config: &Config) -> Result<World<SqsQueue>, Error> {
    let store = open_store(config)?;
    let mut identities = Identities::default();
    let (mut places, mut all_queues, mut sinks) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (name, table) in &config.feed {
        places.insert(name.clone(), place(config, table, &mut identities).await?);
    }
    for (name, table) in &config.sink {
        sinks.insert(name.clone(), sink(config, name, table, &store, &mut identities).await?);
    }
    for (name, table) in queues(config) {
        let identity = identities.get(config, table.identity.as_deref(), table.region.as_deref()).await?;
        all_queues.insert(name, SqsQueue::connect(&table, &identity).await?);
    }
    Ok(World {
        clock: Clock::system(),
        random: Random::system(),
        compute: Compute::OnThreads,
        store,
        scratch: Arc::new(DiskScratch(config.state_dir.clone())),
        places,
        queues: all_queues,
        sinks,
        identities: identities.0.into_values().collect(),
    })
}

/// The lanes of a sink: as many as are configured, unless batches are still sealed under another number of lanes.
async fn sink(
    config: &Config,
    name: &str,
    table: &sink::Config,
    store: &Store,
    identities: &mut Identities,
) -> Result<Vec<Box<dyn Sink>>, Error> {
    let wanted = table.flow().lanes;
    let lanes = store.positions.settle_lanes(name.into(), wanted).await?;
    if lanes != wanted {
        info!(
            sink = name,
            lanes,
            wanted,
            "the sink keeps its number of lanes until what is sealed is delivered; the next start changes it"
        );
    }
    open_lanes(config, name, table, lanes, identities).await
}

/// Opens `lanes` lanes of a sink, with identities of their own.
pub(super) async fn lanes(
    config: &Config,
    name: &str,
    table: &sink::Config,
    lanes: u16,
) -> Result<Vec<Box<dyn Sink>>, Error> {
    open_lanes(config, name, table, lanes, &mut Identities::default()).await
}

async fn open_lanes(
    config: &Config,
    name: &str,
    table: &sink::Config,
    lanes: u16,
    identities: &mut Identities,
) -> Result<Vec<Box<dyn Sink>>, Error> {
    let identity = match table.kind.aws() {
        Some(Aws { identity, region }) => Some(identities.get(config, identity, region).await?),
        None => None,
    };
    table.kind.open(lanes, identity.as_ref()).map_err(|source| Error::Sink { name: name.to_owned(), source })
}

fn open_store(config: &Config) -> Result<Store, OpenError> {
    let store = SqliteStore::open(&config.state_dir, config.limits.quarantine())?;
    for file in store.exposed() {
        warn!(file = %file.display(), "others may read this file of the state directory, and its mode is not ours to change");
    }
    Ok(Store::new(store))
}

/// Identities by name and region. Each is made once.
#[derive(Default)]
pub(super) struct Identities(BTreeMap<(String, Option<String>), Identity>);

impl Identities {
    /// The identity of this name for this region. Without a name: the AWS SDK's default chain.
    async fn get(&mut self, config: &Config, name: Option<&str>, region: Option<&str>) -> Result<Identity, Error> {
        let key = (name.unwrap_or("default").to_owned(), region.map(str::to_owned));
        if let Some(identity) = self.0.get(&key) {
            return Ok(identity.clone());
        }
        let table = name.and_then(|name| config.identity.get(name)).cloned().unwrap_or_default();
        let identity = identity::credentials(&key.0, &table, region, config.limits.request_timeout).await?;
        self.0.insert(key, identity.clone());
        Ok(identity)
    }
}

/// All feeds, ready to run, each at its place.
pub(super) fn feeds(config: &Config, mut places: BTreeMap<String, Place>) -> Result<Feeds, Error> {
    let mut all = Vec::with_capacity(config.feed.len());
    for (name, table) in &config.feed {
        let place = places.remove(name).ok_or_else(|| Error::Config(format!("feed {name} has no place")))?;
        all.push(Arc::new(feed(config, name, table, place)?));
    }
    Ok(Feeds(all))
}

/// One of them. Its sinks are those that the configuration has of its own.
pub(super) fn feed(config: &Config, name: &str, table: &feed::Config, place: Place) -> Result<Feed, Error> {
    let family = family::named(&table.family).ok_or_else(|| Error::Config(format!("no family {}", table.family)))?;
    let globs = table.keys.clone().unwrap_or_else(|| family.keys.iter().map(|&glob| glob.to_owned()).collect());
    let filters =
        |globs: &[String]| feeds::filters(globs).map_err(|error| Error::Config(format!("feed {name}: {error}")));
    let (keys, ignore) = (filters(&globs)?, filters(&table.ignore)?);
    let redaction = table.redact.as_ref().map(Redaction::new).transpose();
    let redaction = redaction.map_err(|error| Error::Config(format!("feed.{name}.redact.key: {error}")))?;
    let settings = match &table.redact {
        Some(redact) => table.settings.clone().with_dropped(redact),
        None => table.settings.clone(),
    };
    let Names { bucket, buckets, behind } = names(table, &place);
    let mut encoders: Vec<Encoder> = Vec::new();
    let (mut sinks, mut sink_names, mut encoder_of) = (Vec::new(), Vec::new(), Vec::new());
    for (at, (sink_name, sink_table)) in config.sink.iter().enumerate() {
        if !table.sinks.contains(sink_name) {
            continue;
        }
        let encoder = sink_table.encoder(name, family.name);
        let known = encoders.iter().position(|known| *known == encoder).unwrap_or_else(|| {
            encoders.push(encoder);
            encoders.len() - 1
        });
        sinks.push(SinkId(at));
        sink_names.push(Arc::from(sink_name.as_str()));
        encoder_of.push(EncoderId(known));
    }
    let name: Arc<str> = name.into();
    let users = table.users.clone().map(|users| Arc::new(UserDirectory::new(Arc::clone(&name), users)));
    Ok(Feed {
        name,
        family,
        place,
        bucket,
        buckets,
        behind,
        prefixes: table.prefixes.clone(),
        keys,
        globs,
        ignore,
        scope: table.identity_scope,
        settings,
        budget: config.limits.budget(),
        redaction,
        users,
        sinks,
        sink_names,
        encoders,
        encoder_of,
        reported_no_record: AtomicBool::new(false),
    })
}

pub(super) async fn place(config: &Config, table: &feed::Config, identities: &mut Identities) -> Result<Place, Error> {
    if let Some(path) = &table.directory {
        let directory = Directory::open(path, config.limits.request_timeout).await?;
        return Ok(Place::Directory(DirectoryObjects::new(directory)));
    }
    let identity = identities.get(config, table.identity.as_deref(), table.region.as_deref()).await?;
    let access = Access {
        region: table.region.clone(),
        endpoint_url: table.endpoint_url.clone(),
        allow_plain_http: table.allow_plain_http,
        path_style: table.path_style,
        expected_bucket_owner: table.expected_bucket_owner.clone(),
        read_through: table.read_through.clone(),
    };
    Ok(Place::S3(S3Objects::new(S3Client::open(&access, &identity)?)))
}

/// The names of a feed's bucket: in its configuration, in notifications, and behind its access points.
struct Names {
    bucket: Arc<str>,
    buckets: Vec<Arc<str>>,
    behind: BTreeMap<String, Arc<str>>,
}

fn names(table: &feed::Config, place: &Place) -> Names {
    let bucket: Arc<str> = match place {
        Place::Directory(objects) => objects.directory().bucket().into(),
        Place::S3(_) | Place::Memory(_) => table.bucket.as_deref().unwrap_or_default().into(),
    };
    let through = table.read_through.iter();
    let behind = through.map(|(bucket, through)| (through.clone(), bucket.as_str().into())).collect();
    let mut buckets = vec![Arc::clone(&bucket)];
    buckets.extend(table.read_through.keys().map(|bucket| Arc::from(bucket.as_str())));
    Names { bucket, buckets, behind }
}

/// The queues that feeds name, each once. A feed names a queue by URL, by its `[queue]` table, or by its name in SQS.
pub(super) fn queues(config: &Config) -> BTreeMap<String, queue::Config> {
    let mut queues = BTreeMap::new();
    for table in config.feed.values() {
        let Some(queue) = &table.queue else { continue };
        let named = config.queue.get(queue).cloned();
        queues.entry(queue.clone()).or_insert_with(|| named.unwrap_or_else(|| unnamed(queue, table)));
    }
    queues
}

/// How many in-flight messages each feed may have before it is made to leave room for the other feeds of its queue.
pub(super) fn message_shares(config: &Config) -> PerFeed<usize> {
    let queues = queues(config);
    // At most half of what may wait: objects then go to the backlog before the limit on waiting read requests is
    // reached.
    let share_max = waiting_share(config) / 2;
    let share = |feed: &feed::Config| {
        let alike = config.feed.values().filter(|other| feed.queue.is_some() && other.queue == feed.queue).count();
        let held_max = feed.queue.as_ref().and_then(|queue| queues.get(queue)).map(|queue| queue.held_max);
        held_max.filter(|_| alike > 1).map_or(usize::MAX, |held_max| (held_max / alike).min(share_max))
    };
    config.feed.values().map(share).collect()
}

/// How many objects of each feed may wait to be read.
pub(super) fn waiting_share(config: &Config) -> usize {
    requests::waiting_share(config.feed.len(), config.limits.objects_at_once)
}

/// The configuration of a queue without a table: it is read like the feed's bucket, by the same identity in the same
/// region.
fn unnamed(queue: &str, table: &feed::Config) -> queue::Config {
    let is_url = queue.contains("://");
    queue::Config {
        url: is_url.then(|| queue.to_owned()),
        name: (!is_url).then(|| queue.to_owned()),
        region: table.region.clone(),
        endpoint_url: None,
        allow_plain_http: table.allow_plain_http,
        identity: table.identity.clone(),
        ..queue::Config::default()
    }
}

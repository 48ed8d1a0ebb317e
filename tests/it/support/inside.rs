//! The collector in this process, under paused time: places in memory, each with a scan, and one receiver.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::ops::Range as Span;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use auditferry::testing::batch::Request;
use auditferry::testing::checkpoint::{DiskScratch, Durability, SqliteStore, Store, Writing};
use auditferry::testing::collector::clock::Clock;
use auditferry::testing::collector::compute::Compute;
use auditferry::testing::collector::random::Random;
use auditferry::testing::collector::shutdown::{self, Stop};
use auditferry::testing::collector::world::World;
use auditferry::testing::collector::{self, Mode};
use auditferry::testing::config::load;
use auditferry::testing::notification::scan::{Found, ScanError};
use auditferry::testing::notification::sqs::SqsQueue;
use auditferry::testing::notification::{ObjectChange, ObjectId};
use auditferry::testing::object::{
    Answer, Body, Chunks, Condition, MemoryPlace, Part, Place, Range, ReadError, Reading, Snapshot, Version,
};
use auditferry::testing::sink::{self, Delivery, MemoryReceiver};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::time::Instant;

use super::records::{object, records};
use super::world::key;

/// A larger object is not kept in memory; its reader reads it again if it needs to.
const KEPT_BYTES: usize = 4 << 20;

/// How an object is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    AtOnce,
    /// No read gets an answer.
    Never,
    /// All but this many bytes come at once, then one byte a second.
    LastBytes(usize),
    /// The object is compressed and too large to be kept in memory. Only its first read gets an answer.
    OnlyOnce,
}

/// The objects of one feed, which hold the records with these numbers.
#[derive(Clone, Debug)]
pub struct Shelf {
    pub name: &'static str,
    pub records: Span<u64>,
    /// How many records each object holds.
    pub records_each: u64,
    /// The pace of the object whose first record has this number.
    pub pace: fn(u64) -> Pace,
    /// How long a listing takes.
    pub listing: Duration,
    /// The objects that were read, each by the number of its first record.
    pub read: Arc<Mutex<BTreeSet<u64>>>,
}

impl Shelf {
    pub fn new(name: &'static str, records: Span<u64>, pace: fn(u64) -> Pace) -> Self {
        Self { name, records, records_each: 1, pace, listing: Duration::ZERO, read: Arc::default() }
    }

    fn version(&self, number: u64) -> Version {
        let size_bytes = self.content(number).len() as u64;
        Version { etag: format!("e{number}").into(), version_id: None, last_modified_ms: Some(1), size_bytes }
    }

    fn content(&self, number: u64) -> Bytes {
        let content = object(&records(number..number + self.records_each));
        if (self.pace)(number) != Pace::OnlyOnce {
            return content.into();
        }
        let mut stored = GzEncoder::new(Vec::new(), Compression::none());
        while stored.get_ref().len() <= KEPT_BYTES {
            stored.write_all(&content).unwrap();
        }
        stored.finish().unwrap().into()
    }

    fn number(object: &ObjectId) -> u64 {
        object.key.rsplit('/').next().and_then(|name| name.strip_suffix(".json")).unwrap().parse().unwrap()
    }
}

impl MemoryPlace for Shelf {
    fn read<'a>(
        &'a self,
        object: &'a ObjectId,
        _condition: Condition,
    ) -> Answer<'a, Result<Reading<Snapshot>, ReadError>> {
        Box::pin(async move {
            let number = Self::number(object);
            let pace = (self.pace)(number);
            let is_first = self.read.lock().unwrap().insert(number);
            if pace == Pace::Never || pace == Pace::OnlyOnce && !is_first {
                std::future::pending::<()>().await;
            }
            let content = self.content(number);
            let at_once = match pace {
                Pace::LastBytes(slow) => content.len() - slow,
                _ => content.len(),
            };
            let body = Coming { at_once: content.slice(..at_once), later: content.slice(at_once..) };
            Ok(Reading::Changed(Snapshot { version: self.version(number), body: Body::Memory(Box::new(body)) }))
        })
    }

    fn read_range<'a>(
        &'a self,
        _: &'a ObjectId,
        _: Condition,
        _: Range,
    ) -> Answer<'a, Result<Reading<Part>, ReadError>> {
        Box::pin(std::future::pending())
    }

    fn etag<'a>(&'a self, object: &'a ObjectId) -> Answer<'a, Result<Box<str>, ReadError>> {
        Box::pin(async { Ok(self.version(Self::number(object)).etag) })
    }

    fn list<'a>(&'a self, _prefix: &'a str) -> Answer<'a, Result<Vec<Found>, ScanError>> {
        Box::pin(async move {
            tokio::time::sleep(self.listing).await;
            let change = |number| ObjectChange {
                etag: Some(self.version(number).etag),
                ..ObjectChange::of(ObjectId::new(self.name, key(number)))
            };
            Ok(self.records.clone().step_by(self.records_each as usize).map(change).map(Found::Object).collect())
        })
    }
}

/// A body whose last bytes come one a second.
#[derive(Debug)]
struct Coming {
    at_once: Bytes,
    later: Bytes,
}

impl Chunks for Coming {
    fn next(&mut self) -> Answer<'_, Option<Result<Bytes, ReadError>>> {
        Box::pin(async move {
            if !self.at_once.is_empty() {
                return Some(Ok(std::mem::take(&mut self.at_once)));
            }
            if self.later.is_empty() {
                return None;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some(Ok(self.later.split_to(1)))
        })
    }
}

/// The delivered lines, each with its time.
#[derive(Clone, Default)]
pub struct Delivered(Arc<Mutex<Vec<(Instant, String)>>>);

impl Delivered {
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(_, line)| line.clone()).collect()
    }

    /// Waits until at least `count` lines are delivered. Returns how long that took.
    ///
    /// # Panics
    /// If fewer lines are delivered within `within`.
    pub async fn comes_to(&self, count: usize, within: Duration) -> Duration {
        let began = Instant::now();
        while self.0.lock().unwrap().len() < count {
            assert!(began.elapsed() < within, "{} of {count} lines within {within:?}", self.lines().len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        began.elapsed()
    }
}

impl MemoryReceiver for Delivered {
    fn take<'a>(&'a self, request: &'a Request) -> sink::Answer<'a, Option<Delivery>> {
        Box::pin(async move {
            let line = |line: &[u8]| (Instant::now(), String::from_utf8(line.to_vec()).unwrap().trim_end().to_owned());
            self.0.lock().unwrap().extend(request.events().map(|event| line(event.encoded)));
            Ok(None)
        })
    }

    fn last(&self) -> sink::Answer<'_, Option<Box<str>>> {
        Box::pin(async { Ok(None) })
    }
}

/// Runs the collector over the shelves until `test` ends, then stops it. Returns how long the stop took.
pub fn run(limits: &str, shelves: &[Shelf], test: impl AsyncFnOnce(&Delivered)) -> Duration {
    let directory = tempfile::tempdir().unwrap();
    let state_dir = directory.path().join("state");
    let mut text = format!(
        "state_dir = {state_dir:?}\n[sink.out]\ntype = \"file\"\npath = \"/nowhere/out\"\nencoding = \"raw\"\n"
    );
    for Shelf { name, .. } in shelves {
        text += &format!(
            "[feed.{name}]\nfamily = \"databricks\"\nbucket = \"{name}\"\nregion = \"eu-central-1\"\nscan_every = \"1m\"\nsinks = [\"out\"]\n"
        );
    }
    text += &format!("[limits]\n{limits}\n");
    let path = directory.path().join("auditferry.toml");
    std::fs::write(&path, &text).unwrap();
    let config = load::load(&[path], []).unwrap_or_else(|error| panic!("{error}\n{text}")).config;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let (store, writing) = SqliteStore::open_apart(&state_dir, 0, Durability::Process).unwrap();
        tokio::spawn(write(writing));
        let delivered = Delivered::default();
        let place = |shelf: &Shelf| (shelf.name.to_owned(), Place::Memory(Arc::new(shelf.clone())));
        let world: World<SqsQueue> = World {
            clock: Clock::of(|| 1_800_000_000_000),
            random: Random::seeded(0),
            compute: Compute::InPlace,
            store: Store::new(store),
            scratch: Arc::new(DiskScratch(state_dir)),
            places: shelves.iter().map(place).collect(),
            queues: BTreeMap::new(),
            sinks: [("out".to_owned(), vec![sink::memory(delivered.clone())])].into(),
            identities: Vec::new(),
        };
        let (stop, hears) = shutdown::channel();
        let collector = tokio::spawn(collector::run_in(world, config, Mode::Daemon, hears));
        test(&delivered).await;
        ended(stop, collector).await
    })
}

async fn ended(stop: Stop, collector: tokio::task::JoinHandle<Result<(), collector::Error>>) -> Duration {
    let asked = Instant::now();
    stop.request();
    collector.await.unwrap().unwrap();
    asked.elapsed()
}

/// Commits every requested write at once.
async fn write(mut writing: Writing) {
    while writing.asked().await {
        writing.commit().answer();
    }
}

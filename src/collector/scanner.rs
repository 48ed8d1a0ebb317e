//! Scans a feed's place: at start, on a timer, or when the file system reports a change.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use crate::checkpoint::{ObjectPosition, Store, StoreError};
use crate::collector::backoff::Backoff;
use crate::collector::clock::Clock;
use crate::collector::feeds::Feed;
use crate::collector::ids::FeedId;
use crate::collector::random::Random;
use crate::collector::report::{Reporter, limited};
use crate::collector::schedule::requests::ReadRequests;
use crate::collector::watch::{Change, Watch};
use crate::identity::fault::FaultKind;
use crate::notification::scan::{Found, Listing, ScanError};
use crate::notification::{ObjectChange, ObjectId};
use crate::object::Place;
use crate::telemetry::health::{Activity, Failure, Part, PartKind, Patience};
use crate::telemetry::metrics::Metrics;

/// How many files of a directory are looked at together.
const PAGE_MAX: usize = 1000;

/// How many objects' positions are read from the store at once.
const CONSIDERED_AT_ONCE: usize = 64;

/// How long the watcher may take to watch a new directory. A scan before that could miss files in it.
const WATCH_DELAY: Duration = Duration::from_millis(100);

/// How often a failed page of a listing is requested again.
const PAGE_ATTEMPTS_MAX: u32 = 5;

/// Scans one feed's place.
pub(super) struct Scanner {
    pub feed: Arc<Feed>,
    /// The feed's index.
    pub position: FeedId,
    pub store: Store,
    pub clock: Clock,
    pub random: Random,
    pub metrics: Arc<Metrics>,
    pub reporter: Reporter,
    pub read_requests: ReadRequests,
    pub at_start: bool,
    pub every: Option<Duration>,
    /// How long the first scan waits for the watch to begin.
    pub watch_patience: Duration,
    /// Scan once, and end.
    pub once: bool,
}

/// Why a scan with `--once` was not complete.
#[derive(Debug, thiserror::Error)]
pub enum ScannerError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Scan(#[from] ScanError),
}

/// Counts of one scan.
#[derive(Default)]
struct Counts {
    seen: u64,
    changed: u64,
    forgotten: u64,
    /// The first path that could not be read although objects may be below it.
    refused: Option<ScanError>,
}

impl Scanner {
    /// Scans at start, on the timer and on changes, as configured. Safe to stop at any time: the next scan finds
    /// whatever this one missed.
    pub(super) async fn run(self) -> Result<(), ScannerError> {
        let mut watch = match &self.feed.place {
            Place::Directory(place) if !self.once => {
                Some(Watch::begin(place.directory(), &self.feed.name, self.watch_patience).await)
            }
            _ => None,
        };
        let mut due = self.at_start || self.once;
        loop {
            if due {
                match self.scan().await {
                    Ok(()) => {}
                    Err(ScannerError::Scan(error)) if !self.once => {
                        self.failed(&error);
                        let (feed, kind, hint) = (&self.feed.name, error.kind().word(), error.kind().advice());
                        limited!(
                            self.reporter, ERROR, feed, "the place could not be scanned; it is scanned again later",
                            %feed, kind, %error, hint
                        );
                    }
                    Err(error) => return Err(error),
                }
            }
            if self.once || (self.every.is_none() && watch.is_none()) {
                return Ok(());
            }
            self.wait(watch.as_mut()).await?;
            due = true;
        }
    }

    fn part(&self) -> Part {
        Part::new(PartKind::Feed, &self.feed.name)
    }

    fn failed(&self, error: &ScanError) {
        let failure = Failure { kind: error.kind().word(), reason: error.to_string() };
        self.reporter.failed(&self.part(), Activity::List, failure, Patience::NONE);
    }

    /// Waits until a scan is due. Meanwhile requests reads of files that the file system reports as changed.
    async fn wait(&self, mut watch: Option<&mut Watch>) -> Result<(), ScannerError> {
        let timer = async {
            match self.every {
                Some(every) => tokio::time::sleep(every).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(timer);
        loop {
            let changes = async {
                match &mut watch {
                    Some(watch) => watch.next().await,
                    None => std::future::pending().await,
                }
            };
            let change = tokio::select! {
                biased;
                () = &mut timer => return Ok(()),
                change = changes => change,
            };
            let is_known = match change {
                Change::At(path) => self.look_at(&path).await?,
                Change::Unknown => false,
            };
            if !is_known {
                tokio::time::sleep(WATCH_DELAY).await;
                return Ok(());
            }
        }
    }

    /// Requests a read of the object at the path. Returns false if the file system gives an error: the scan that
    /// follows reports it.
    async fn look_at(&self, path: &Path) -> Result<bool, ScannerError> {
        let Place::Directory(place) = &self.feed.place else { return Ok(true) };
        match place.directory().find(path).await {
            Ok(Some(Found::Object(change))) => self.consider(vec![change], None, &mut Counts::default()).await?,
            Ok(_) => {}
            Err(_) => return Ok(false),
        }
        Ok(true)
    }

    async fn scan(&self) -> Result<(), ScannerError> {
        let horizon = self.store.upkeep.forgotten_before(&self.feed.name).await?;
        let mut counts = Counts::default();
        match &self.feed.place {
            Place::Directory(place) => {
                let mut walk = place.directory().walk();
                while let Some((rest, page)) = walk.next_page(PAGE_MAX).await? {
                    walk = rest;
                    self.consider_page(page, horizon, &mut counts).await?;
                }
            }
            Place::S3(objects) => {
                for prefix in self.prefixes() {
                    let listing = objects.client().list(&self.feed.bucket, prefix, None);
                    self.list(listing, horizon, &mut counts).await?;
                }
            }
            Place::Memory(place) => {
                for prefix in self.prefixes() {
                    self.consider_page(place.list(prefix).await?, horizon, &mut counts).await?;
                }
            }
        }
        let Counts { seen, changed, forgotten, refused } = counts;
        if let Some(refused) = refused {
            return Err(refused.into());
        }
        debug!(feed = %self.feed.name, seen, changed, forgotten, "scanned");
        self.reporter.worked(&self.part(), Activity::List);
        self.metrics.scan_last_success.set([&self.feed.name], self.clock.now_ms() / 1000);
        Ok(())
    }

    fn prefixes(&self) -> impl Iterator<Item = &str> {
        let whole = self.feed.prefixes.is_empty().then_some("");
        whole.into_iter().chain(self.feed.prefixes.iter().map(String::as_str))
    }

    /// Considers every page of a listing.
    async fn list(&self, mut listing: Listing, horizon: Option<i64>, counts: &mut Counts) -> Result<(), ScannerError> {
        let mut backoff = Backoff::new(&self.random);
        loop {
            let page = match listing.next_page().await {
                Ok(Some(page)) => page,
                Ok(None) => return Ok(()),
                Err(error @ ScanError::Unavailable { .. }) if backoff.attempts() < PAGE_ATTEMPTS_MAX => {
                    self.page_failed(&error, backoff.attempts());
                    tokio::time::sleep(backoff.wait()).await;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if backoff.attempts() > 1 {
                self.reporter.worked(&self.part(), Activity::List);
            }
            backoff.reset();
            self.consider_page(page, horizon, counts).await?;
        }
    }

    /// Reports that a page of the listing failed and is requested again. `attempts` is how many requests for it failed
    /// before this one.
    fn page_failed(&self, error: &ScanError, attempts: u32) {
        if attempts > 0 {
            self.failed(error);
        }
        let (feed, kind, hint) = (&self.feed.name, error.kind().word(), error.kind().advice());
        limited!(
            self.reporter, WARN, feed, "a page of the listing is asked for again", %feed, kind, %error, hint
        );
    }

    async fn consider_page(
        &self,
        page: Vec<Found>,
        horizon: Option<i64>,
        counts: &mut Counts,
    ) -> Result<(), ScannerError> {
        let mut changes = Vec::new();
        for found in page {
            match found {
                Found::Object(change) => {
                    counts.seen += 1;
                    if self.feed.wants(&change.object.key) {
                        changes.push(change);
                    }
                }
                Found::Unreadable { place, reason } => {
                    let feed = &self.feed.name;
                    limited!(
                        self.reporter, WARN, feed, "something there cannot be an object", %feed, place, reason
                    );
                }
                Found::Refused { place, reason } => {
                    let feed = &self.feed.name;
                    limited!(
                        self.reporter, WARN, feed, "something there cannot be looked at", %feed, place, reason
                    );
                    counts.refused.get_or_insert(ScanError::Denied { place, kind: FaultKind::Denied, reason });
                }
            }
        }
        while !changes.is_empty() {
            let rest = changes.split_off(changes.len().min(CONSIDERED_AT_ONCE));
            self.consider(std::mem::replace(&mut changes, rest), horizon, counts).await?;
        }
        Ok(())
    }

    /// Requests a read of each object whose version some sink has not had.
    async fn consider(
        &self,
        changes: Vec<ObjectChange>,
        horizon: Option<i64>,
        counts: &mut Counts,
    ) -> Result<(), ScannerError> {
        let objects: Vec<ObjectId> = changes.iter().map(|change| change.object.clone()).collect();
        let positions = self.store.positions.positions(&objects, &self.feed.sink_names).await?;
        for (change, position) in changes.into_iter().zip(positions) {
            let is_of_another = position.is_of_another(self.feed.family.name);
            // The dispatcher retries objects in the feed's backlog.
            if position.is_unread || !is_of_another && is_known(&change, &position) {
                continue;
            }
            let written_at_ms = change.written_at_ms.unwrap_or(i64::MAX);
            if !position.known && horizon.is_some_and(|horizon| written_at_ms < horizon) {
                counts.forgotten += 1;
                continue;
            }
            counts.changed += 1;
            self.read_requests.send(self.position, change, None).await;
        }
        Ok(())
    }
}

/// Whether every sink has had the version found, or it is quarantined as unreadable.
fn is_known(change: &ObjectChange, position: &ObjectPosition) -> bool {
    let Some(etag) = &change.etag else { return false };
    match &position.unreadable {
        // Restoring an archived object does not change its entity tag.
        Some(version) => version.etag == *etag && (!version.is_archived || change.is_archived),
        None => position.etag.as_ref() == Some(etag) && position.is_settled(),
    }
}

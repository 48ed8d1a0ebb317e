//! Scans a feed's place: at start, on a timer, or when the file system reports a change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use notify::Watcher as _;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::checkpoint::{ObjectPosition, Store, StoreError};
use crate::collector::backoff::Backoff;
use crate::collector::clock::Clock;
use crate::collector::feeds::Feed;
use crate::collector::ids::FeedId;
use crate::collector::random::Random;
use crate::collector::report::{Reporter, limited};
use crate::collector::schedule::ReadRequest;
use crate::collector::shutdown::Shutdown;
use crate::identity::fault::FaultKind;
use crate::notification::directory::Directory;
use crate::notification::scan::{Found, Listing, ScanError};
use crate::notification::{ObjectChange, ObjectId};
use crate::object::Place;
use crate::telemetry::health::{Activity, Failure, Part, PartKind, Patience};
use crate::telemetry::metrics::Metrics;

/// How many files of a directory make a page.
const PAGE_MAX: usize = 1000;

/// The positions of so many objects are read from the store at once.
const CONSIDERED_AT_ONCE: usize = 64;

/// How many changed paths may wait; past it the whole directory is walked.
const CHANGED_MAX: usize = 1024;

/// How long it takes until a new directory is watched.
const WATCH_DELAY: Duration = Duration::from_millis(100);

/// How often a page is asked for again.
const PAGE_ATTEMPTS_MAX: u32 = 5;

/// One feed's scans.
pub(super) struct Scanner {
    pub feed: Arc<Feed>,
    /// The feed's position among all.
    pub position: FeedId,
    pub store: Store,
    pub clock: Clock,
    pub random: Random,
    pub metrics: Arc<Metrics>,
    pub reporter: Reporter,
    pub read_requests: mpsc::Sender<ReadRequest>,
    pub at_start: bool,
    pub every: Option<Duration>,
    /// One scan, and no more.
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

/// What a scan came to.
#[derive(Default)]
struct Counts {
    seen: u64,
    changed: u64,
    forgotten: u64,
    /// The first path that may have objects below it and cannot be read.
    refused: Option<ScanError>,
}

impl Scanner {
    /// Scans as told until the stop.
    pub(super) async fn run(self, shutdown: Shutdown) -> Result<(), ScannerError> {
        let mut watch = match &self.feed.place {
            Place::Directory(place) if !self.once => Some(Watch::start(place.directory(), &self.feed.name)),
            _ => None,
        };
        let mut due = self.at_start || self.once;
        while !shutdown.is_requested() {
            if due {
                match self.scan(&shutdown).await {
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
            due = self.wait(watch.as_mut(), &shutdown).await?;
        }
        Ok(())
    }

    fn part(&self) -> Part {
        Part::new(PartKind::Feed, &self.feed.name)
    }

    fn failed(&self, error: &ScanError) {
        let failure = Failure { kind: error.kind().word(), reason: error.to_string() };
        self.reporter.failed(&self.part(), Activity::List, failure, Patience::NONE);
    }

    /// Waits for the next scan, and passes on changes that the file system reports. Returns whether a scan is due.
    async fn wait(&self, watch: Option<&mut Watch>, shutdown: &Shutdown) -> Result<bool, ScannerError> {
        let timer = async {
            match self.every {
                Some(every) => tokio::time::sleep(every).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(timer);
        let Some(watch) = watch else {
            tokio::select! {
                biased;
                () = shutdown.requested() => return Ok(false),
                () = &mut timer => return Ok(true),
            }
        };
        loop {
            tokio::select! {
                biased;
                () = shutdown.requested() => return Ok(false),
                () = &mut timer => return Ok(true),
                path = watch.changed.recv() => match path {
                    Some(path) => self.look_at(&watch.directory, &path).await?,
                    None => std::future::pending().await,
                },
            }
            if watch.lost.swap(false, Ordering::Relaxed) {
                tokio::time::sleep(WATCH_DELAY).await;
                return Ok(true);
            }
        }
    }

    async fn look_at(&self, directory: &Directory, path: &Path) -> Result<(), ScannerError> {
        if let Some(found) = directory.find(path) {
            self.consider_page(vec![found], None, &mut Counts::default()).await?;
        }
        Ok(())
    }

    async fn scan(&self, shutdown: &Shutdown) -> Result<(), ScannerError> {
        let horizon = self.store.upkeep.forgotten_before(&self.feed.name).await?;
        let mut counts = Counts::default();
        match &self.feed.place {
            Place::Directory(place) => {
                let mut walk = place.directory().walk();
                while let Some(page) = walk.next_page(PAGE_MAX)? {
                    self.consider_page(page, horizon, &mut counts).await?;
                    tokio::task::yield_now().await;
                }
            }
            Place::S3(objects) => {
                for prefix in self.prefixes() {
                    let listing = objects.client().list(&self.feed.bucket, prefix, None);
                    if !self.list(listing, horizon, shutdown, &mut counts).await? {
                        return Ok(());
                    }
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

    /// Goes through a listing. Returns false when the stop came before its end.
    async fn list(
        &self,
        mut listing: Listing,
        horizon: Option<i64>,
        shutdown: &Shutdown,
        counts: &mut Counts,
    ) -> Result<bool, ScannerError> {
        let mut backoff = Backoff::new(&self.random);
        loop {
            let page = match listing.next_page().await {
                Ok(Some(page)) => page,
                Ok(None) => return Ok(true),
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
            if shutdown.is_requested() {
                return Ok(false);
            }
        }
    }

    /// A page of the listing is asked for again, after as many attempts before this one.
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

    /// Requests a read of each object of which not every sink has had this version.
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
            // What is in its feed's backlog is tried from there.
            if position.is_unread || !is_of_another && is_known(&change, &position) {
                continue;
            }
            let written_at_ms = change.written_at_ms.unwrap_or(i64::MAX);
            if !position.known && horizon.is_some_and(|horizon| written_at_ms < horizon) {
                counts.forgotten += 1;
                continue;
            }
            counts.changed += 1;
            // A closed dispatcher means that the process is ending.
            let _ = self.read_requests.send(ReadRequest { feed: self.position, change, ack: None }).await;
        }
        Ok(())
    }
}

/// Whether every sink has had the version that was found, or it is quarantined as unreadable.
fn is_known(change: &ObjectChange, position: &ObjectPosition) -> bool {
    let Some(etag) = &change.etag else { return false };
    match &position.unreadable {
        // A restored object has the tag that it had before.
        Some(version) => version.etag == *etag && (!version.is_archived || change.is_archived),
        None => position.etag.as_ref() == Some(etag) && position.is_settled(),
    }
}

/// What the file system reports of a directory.
struct Watch {
    directory: Directory,
    changed: mpsc::Receiver<PathBuf>,
    /// Changes were lost: the directory must be walked.
    lost: Arc<AtomicBool>,
    /// Ends the watch when dropped.
    _watcher: Option<notify::RecommendedWatcher>,
}

impl Watch {
    /// Begins to watch. Where the file system cannot be watched, only the timer scans.
    fn start(directory: &Directory, feed: &str) -> Self {
        let (tell, changed) = mpsc::channel(CHANGED_MAX);
        let lost = Arc::new(AtomicBool::new(false));
        let full = Arc::clone(&lost);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
            Ok(event) if event.need_rescan() => full.store(true, Ordering::Relaxed),
            Ok(event) if event.kind.is_create() || event.kind.is_modify() => {
                // What was put into a new directory before it was watched is found by a scan only.
                if event.kind.is_create() && event.paths.iter().any(|path| path.is_dir()) {
                    full.store(true, Ordering::Relaxed);
                }
                for path in event.paths {
                    if tell.try_send(path).is_err() {
                        full.store(true, Ordering::Relaxed);
                    }
                }
            }
            Ok(_) => {}
            Err(_) => full.store(true, Ordering::Relaxed),
        });
        let watcher = watcher.and_then(|mut watcher| {
            watcher.watch(directory.root(), notify::RecursiveMode::Recursive)?;
            Ok(watcher)
        });
        let watcher = match watcher {
            Ok(watcher) => {
                info!(feed, directory = %directory.root().display(), "watching");
                Some(watcher)
            }
            Err(error) => {
                warn!(feed, directory = %directory.root().display(), %error, "the directory cannot be watched; it is scanned on the timer only");
                None
            }
        };
        Self { directory: directory.clone(), changed, lost, _watcher: watcher }
    }
}

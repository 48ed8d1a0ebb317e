//! Watches a directory for changes, by the file system's events.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::{Config, Event, RecommendedWatcher, Watcher as _};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::notification::directory::Directory;

/// How many changed paths may wait. If there are more, the whole directory is walked.
const CHANGED_MAX: usize = 1024;

/// The result of the thread that starts the watcher. Starting may block: it visits every folder.
type Beginning = oneshot::Receiver<notify::Result<RecommendedWatcher>>;

/// A watched directory. If it cannot be watched, only the timer scans it.
pub(super) struct Watch {
    directory: Directory,
    feed: Arc<str>,
    changed: mpsc::Receiver<PathBuf>,
    /// Notified when changes were lost: the directory must be walked.
    lost: Arc<Notify>,
    beginning: Option<Beginning>,
    /// Watches until it is dropped. `None` if the directory is not watched.
    watcher: Option<RecommendedWatcher>,
}

/// What happened in the directory.
pub(super) enum Change {
    /// Something was created or changed at this path. It may be gone by now.
    At(PathBuf),
    /// Unknown changes: the directory must be walked.
    Unknown,
}

impl Watch {
    /// Begins to watch. If the file system does not answer within `patience`, the watch begins once it does.
    pub(super) async fn begin(directory: &Directory, feed: &Arc<str>, patience: Duration) -> Self {
        let (changes, changed) = mpsc::channel(CHANGED_MAX);
        let lost = Arc::new(Notify::new());
        let (begun, beginning) = oneshot::channel();
        let (root, is_lost) = (directory.root().to_owned(), Arc::clone(&lost));
        let begin = move || {
            // If links were followed, a link to `/` would have the whole machine watched.
            let links_stay = Config::default().with_follow_symlinks(false);
            let watcher = RecommendedWatcher::new(move |event| note(event, &changes, &is_lost), links_stay);
            let watcher = watcher.and_then(|mut watcher| {
                watcher.watch(&root, notify::RecursiveMode::Recursive)?;
                Ok(watcher)
            });
            // At the end of the process nothing receives the watcher any more.
            let _ = begun.send(watcher);
        };
        let mut watch = Self {
            directory: directory.clone(),
            feed: Arc::clone(feed),
            changed,
            lost,
            beginning: None,
            watcher: None,
        };
        if let Err(error) = std::thread::Builder::new().name("watch".to_owned()).spawn(begin) {
            watch.begun(Err(error.into()));
            return watch;
        }
        watch.beginning = Some(beginning);
        match timeout(patience, begins(&mut watch.beginning)).await {
            Ok(begun) => watch.begun(begun),
            Err(_elapsed) => {
                warn!(%feed, directory = %directory.root().display(), "the file system does not answer; until it does the directory is scanned on the timer only");
            }
        }
        watch
    }

    fn begun(&mut self, begun: notify::Result<RecommendedWatcher>) {
        let (feed, directory) = (&self.feed, self.directory.root().display());
        match begun {
            Ok(watcher) => {
                info!(%feed, %directory, "watching");
                self.watcher = Some(watcher);
            }
            Err(error) => {
                warn!(%feed, %directory, %error, "the directory cannot be watched; it is scanned on the timer only");
            }
        }
    }

    /// Waits for the next change. Never returns if the directory is not watched. Cancel-safe.
    pub(super) async fn next(&mut self) -> Change {
        tokio::select! {
            biased;
            () = self.lost.notified() => Change::Unknown,
            begun = begins(&mut self.beginning) => {
                self.begun(begun);
                // Changes before the watch began were not reported.
                Change::Unknown
            }
            Some(path) = self.changed.recv() => Change::At(path),
        }
    }
}

/// Waits until the watch begins. Never returns if it began or failed before. Cancel-safe.
async fn begins(beginning: &mut Option<Beginning>) -> notify::Result<RecommendedWatcher> {
    let Some(begun) = beginning else { return std::future::pending().await };
    let begun = begun.await;
    *beginning = None;
    begun.unwrap_or_else(|gone| Err(notify::Error::generic(&gone.to_string())))
}

/// Passes an event of the file system on to the watch.
fn note(event: notify::Result<Event>, changes: &mpsc::Sender<PathBuf>, lost: &Notify) {
    let is_unknown = match event {
        Ok(event) if event.need_rescan() => true,
        Ok(event) if event.kind.is_create() || event.kind.is_modify() => {
            // Files that were put into a new directory before it was watched are only found by a scan.
            let is_new_directory = event.kind.is_create() && event.paths.iter().any(|path| path.is_dir());
            event.paths.into_iter().any(|path| changes.try_send(path).is_err()) || is_new_directory
        }
        Ok(_) => false,
        Err(_) => true,
    };
    if is_unknown {
        lost.notify_one();
    }
}

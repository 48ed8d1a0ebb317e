//! A small world for one test: a directory, a configuration, a place to read from, and files to deliver to.

use std::path::{Path, PathBuf};

use super::aws::{Aws, Bucket, Queue, REGION};
use super::daemon::{Daemon, Start};
use super::proxy::Proxy;
use super::records::{assert_once_each, lines_of, object, records};
use super::waiting::{SOON, eventually};

/// Key of the object that most tests write.
pub const KEY: &str = "workspaceId=3049059095686970/date=2026-01-01/auditlogs_0-0.json";

/// Key of the object with this number.
pub fn key(number: u64) -> String {
    format!("workspaceId=1/date=2026-01-01/{number}.json")
}

/// What is said of a queue without a redrive policy.
pub const QUEUE_IS_BARE: &str = "the queue is set up in a doubtful way";

/// Longer than a write waits on a disk that is still writing back a whole build.
const PATIENCE: &str = "60s";

/// A directory of a test's own, with a configuration.
#[derive(Debug)]
pub struct World {
    directory: tempfile::TempDir,
    sink_patience: &'static str,
    request_timeout: &'static str,
    limits: String,
    tables: String,
    queue: String,
}

/// A bucket, and a queue that gets its notifications.
#[derive(Clone, Debug)]
pub struct Place {
    pub bucket: Bucket,
    pub queue: Queue,
}

impl Place {
    /// Writes the objects with these numbers, each with the record of its number.
    pub fn put(&self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            self.bucket.put(&key(number), &object(&records([number])));
        }
    }

    /// A bucket and a queue, without notifications between them.
    pub fn apart() -> Self {
        let aws = Aws::emulated();
        Self { bucket: aws.bucket(), queue: aws.queue() }
    }

    /// A bucket that notifies a queue. The queue is empty: S3's first message, a test, is removed.
    pub fn new() -> Self {
        let place = Self::apart();
        place.bucket.tells_queue(&place.queue);
        place.queue.take(1);
        place
    }

    /// Another bucket that notifies the same queue.
    pub fn beside(&self) -> Self {
        let bucket = Aws::emulated().bucket();
        bucket.tells_queue(&self.queue);
        self.queue.take(1);
        Self { bucket, queue: self.queue.clone() }
    }

    /// The keys of `[feed.<name>]` for the bucket, without its sinks. `through` is the S3 endpoint.
    pub fn feed(&self, through: &str) -> String {
        format!(
            "family = \"databricks\"\nbucket = \"{}\"\nregion = \"{REGION}\"\nendpoint_url = \"{through}\"\npath_style = true\n",
            self.bucket.name
        )
    }

    /// The table `[queue.events]`.
    pub fn events(&self) -> String {
        let aws = Aws::emulated();
        format!(
            "[queue.events]\nurl = \"{}\"\nregion = \"{REGION}\"\nendpoint_url = \"{}\"\n",
            self.queue.url,
            aws.url()
        )
    }
}

impl World {
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("auditferry-").tempdir().unwrap();
        // Longer than an emulator on a busy machine takes to answer.
        let request_timeout = "60s";
        let limits = "batch_age = \"20ms\"\n".to_owned();
        Self {
            directory,
            sink_patience: PATIENCE,
            request_timeout,
            limits,
            tables: String::new(),
            queue: String::new(),
        }
    }

    /// A feed of the bucket and its queue, which delivers to the file sink `out`.
    pub fn fed_by(place: &Place) -> Self {
        let through = Aws::emulated().url();
        Self::new().with_feed(&place.feed(&through), place, &["out"]).with_file("out")
    }

    /// Like [`World::fed_by`], with the proxy as the S3 endpoint.
    pub fn fed_through(proxy: &Proxy, place: &Place) -> Self {
        Self::new().with_feed(&place.feed(&proxy.url()), place, &["out"]).with_file("out")
    }

    /// A feed of a directory in this world, which delivers to the file sink `out`.
    pub fn fed_by_directory() -> Self {
        Self::new().with_directory_feed(&["out"]).with_file("out")
    }

    pub fn with_directory_feed(self, sinks: &[&str]) -> Self {
        self.with_directory_feed_scanned_every("1s", sinks)
    }

    pub fn with_directory_feed_scanned_every(self, interval: &str, sinks: &[&str]) -> Self {
        let source = self.path("source");
        std::fs::create_dir_all(&source).unwrap();
        let feed =
            format!("family = \"databricks\"\ndirectory = {source:?}\nscan_every = {interval:?}\nsinks = {sinks:?}");
        self.with(&format!("[feed.audit]\n{feed}\n"))
    }

    /// Adds `[feed.audit]` with these keys and the place's queue.
    pub fn with_feed(mut self, feed: &str, place: &Place, sinks: &[&str]) -> Self {
        self.queue = place.events();
        self.with(&format!("[feed.audit]\n{feed}queue = \"events\"\nsinks = {sinks:?}\n"))
    }

    /// Adds a file sink that writes raw records.
    pub fn with_file(self, sink: &str) -> Self {
        let path = self.output(sink);
        self.with(&format!("[sink.{sink}]\ntype = \"file\"\npath = {path:?}\nencoding = \"raw\"\n"))
    }

    /// Sinks soon go on without a sink that is away.
    pub fn impatient(self) -> Self {
        self.patient_for("1s")
    }

    /// Sets how long the other sinks wait for a sink.
    pub fn patient_for(mut self, sink_patience: &'static str) -> Self {
        self.sink_patience = sink_patience;
        self
    }

    /// Sets the time after which a request without an answer has failed.
    pub fn with_request_timeout(mut self, timeout: &'static str) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Adds keys to `[queue.events]`.
    pub fn with_queue(mut self, keys: &str) -> Self {
        self.queue.push_str(keys);
        self.queue.push('\n');
        self
    }

    /// Adds tables to the configuration.
    pub fn with(mut self, tables: &str) -> Self {
        self.tables.push_str(tables);
        self
    }

    /// Adds keys to `[limits]`.
    pub fn with_limits(mut self, limits: &str) -> Self {
        self.limits.push_str(limits);
        self.limits.push('\n');
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    pub fn output(&self, sink: &str) -> PathBuf {
        self.path(&format!("{sink}.ndjson"))
    }

    /// Writes an object of the directory feed as a careful writer does: aside, then renamed into place.
    pub fn write(&self, key: &str, content: &[u8]) {
        write_whole(&self.path("source"), &self.path("aside"), key, content);
    }

    /// Writes the configuration; returns the command that runs it.
    pub fn run(&self, arguments: &[&str]) -> Start {
        let state = self.state();
        std::fs::create_dir_all(&state).unwrap();
        let config = self.path("auditferry.toml");
        let text = format!(
            "state_dir = {state:?}\n[admin]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\nlevel = \"auditferry=debug,info\"\n[limits]\nsink_patience = {:?}\nrequest_timeout = {:?}\n{}{}{}",
            self.sink_patience, self.request_timeout, self.limits, self.tables, self.queue
        );
        std::fs::write(&config, text).unwrap();
        let mut all = vec!["run", "--config", config.to_str().unwrap()];
        all.extend_from_slice(arguments);
        let start = Start::new(&all, self.directory.path());
        // An impatient world may also go on without a disk that is merely busy.
        let expected: &[&'static str] = if self.sink_patience == PATIENCE { &[] } else { &["going on without a sink"] };
        // The emulator's queues are as bare as they come.
        start.expecting(expected).expecting(&[QUEUE_IS_BARE])
    }

    /// Starts the daemon and waits until it is ready.
    pub fn start(&self) -> Daemon {
        self.run(&[]).ready()
    }

    /// Runs the daemon with `--once`, which must end with success: it delivers everything that is there.
    pub fn once(&self) {
        self.once_expecting(&[]);
    }

    /// Like [`World::once`], if the log may have lines at WARN that contain an `expected` text.
    pub fn once_expecting(&self, expected: &[&'static str]) {
        let daemon = self.run(&["--once"]).expecting(expected).spawn();
        let log = daemon.log.clone();
        let status = daemon.end();
        assert!(status.success(), "{status}:\n{}", log.end());
    }

    pub fn delivered(&self, sink: &str) -> Vec<String> {
        lines_of(&self.output(sink))
    }

    /// Waits until the sink has at least this many lines.
    pub fn comes_to(&self, sink: &str, lines: usize) {
        let what = format!("{sink} has had {lines} lines");
        eventually(&what, SOON, || self.delivered(sink).len() >= lines);
    }

    /// Asserts that the sink `out` has each `expected` line once, and nothing else.
    pub fn delivered_once_each(&self, expected: &[String]) {
        assert_once_each(&self.delivered("out"), expected);
    }
}

/// Every test also checks that all the events it delivered are valid.
impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            super::verdict::assert_events_valid(self.directory.path());
        }
    }
}

/// Writes a file aside and renames it into place, so that a reader sees the old content or the new.
pub fn write_whole(below: &Path, aside: &Path, key: &str, content: &[u8]) {
    let path = below.join(key);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::create_dir_all(aside).unwrap();
    let written = aside.join(super::aws::fresh("object"));
    std::fs::write(&written, content).unwrap();
    std::fs::rename(&written, &path).unwrap();
}

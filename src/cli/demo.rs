//! `auditferry demo`: runs the real collector over an object that is overwritten twice, in a temporary directory.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::ProgressBar;
use tokio::runtime::Runtime;

use crate::checkpoint::{OpenError, Positions as _, SqliteStore, StoreError};
use crate::cli::Status;
use crate::collector::{self, Mode, shutdown};
use crate::config::load::{LoadError, load};
use crate::notification::ObjectId;
use crate::telemetry;
use crate::telemetry::summary::RunMetrics;

/// A key such as Databricks writes, below the bucket's prefix.
const KEY: &str = "workspaceId=1234567890123456/date=2026-01-15/auditlogs_1.json";

/// The records of the last version, in the order in which Databricks wrote them.
const RECORDS: [&str; 6] = [
    r#"{"version":"2.0","timestamp":1768471200000,"workspaceId":"1234567890123456","sourceIPAddress":"192.0.2.10","userAgent":"Mozilla/5.0","userIdentity":{"email":"ann@example.com"},"serviceName":"accounts","actionName":"samlLogin","requestId":"r-1","requestParams":{"user":"ann@example.com"},"response":{"statusCode":200}}"#,
    r#"{"version":"2.0","timestamp":1768471260000,"workspaceId":"1234567890123456","sourceIPAddress":"192.0.2.10","userAgent":"Mozilla/5.0","userIdentity":{"email":"ann@example.com"},"serviceName":"clusters","actionName":"create","requestId":"r-2","requestParams":{"cluster_name":"etl"},"response":{"statusCode":200}}"#,
    r#"{"version":"2.0","timestamp":1768471320000,"workspaceId":"1234567890123456","sourceIPAddress":"198.51.100.7","userAgent":"curl/8.5","userIdentity":{"email":"eve@example.com"},"serviceName":"secrets","actionName":"getSecret","requestId":"r-3","requestParams":{"scope":"prod","key":"db"},"response":{"statusCode":403,"errorMessage":"PERMISSION_DENIED"}}"#,
    r#"{"version":"2.0","timestamp":1768471380000,"workspaceId":"1234567890123456","sourceIPAddress":"192.0.2.10","userAgent":"Mozilla/5.0","userIdentity":{"email":"ann@example.com"},"serviceName":"accounts","actionName":"setAdmin","requestId":"r-4","requestParams":{"targetUserName":"eve@example.com","targetUserId":"42"},"response":{"statusCode":200}}"#,
    r#"{"version":"2.0","timestamp":1768471440000,"workspaceId":"1234567890123456","userIdentity":{"email":"System-User"},"serviceName":"clusters","actionName":"createResult","requestId":"r-2","requestParams":{"clusterName":"etl","clusterState":"Running"},"response":{"statusCode":200}}"#,
    r#"{"version":"2.0","timestamp":1768471500000,"workspaceId":"1234567890123456","sourceIPAddress":"198.51.100.7","userAgent":"curl/8.5","userIdentity":{"email":"eve@example.com"},"serviceName":"secrets","actionName":"getSecret","requestId":"r-5","requestParams":{"scope":"prod","key":"db"},"response":{"statusCode":200}}"#,
];

/// The object's versions, as indexes into [`RECORDS`]: the second appends a line, the third also inserts one in the
/// middle.
const VERSIONS: [(&str, &[usize]); 3] = [
    ("Databricks delivers three records", &[0, 1, 2]),
    ("Databricks overwrites the object: the three, and one more at the end", &[0, 1, 2, 3]),
    ("Databricks overwrites it again: one more in the middle, and one at the end", &[0, 1, 4, 2, 3, 5]),
];

/// Why the demonstration failed.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Load(#[from] LoadError),
    #[error("{0}")]
    Collector(#[from] collector::Error),
    #[error("{0}")]
    Open(#[from] OpenError),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("the file holds {lines} events where {expected} were written")]
    Wrong { lines: usize, expected: usize },
}

pub(super) fn run() -> Status {
    match show() {
        Ok(()) => Status::Done,
        Err(error) => {
            eprintln!("the demonstration failed: {error}");
            Status::Internal
        }
    }
}

fn show() -> Result<(), DemoError> {
    let directory = tempfile::tempdir()?;
    let place = Demo { root: directory.path().canonicalize()? };
    std::fs::write(place.config(), place.configuration())?;
    let loaded = load(&[place.config()], std::iter::empty())?;
    // A subscriber that was set before is good enough.
    let _ = telemetry::begin(&loaded.config.log, &ProgressBar::hidden());
    let runtime = Runtime::new()?;
    println!("Bucket, checkpoint store and sinks are in {}\n", place.root.display());
    for (what, records) in VERSIONS {
        place.deliver(records)?;
        println!("{what} ({} lines). The collector runs, and the console gets:", records.len());
        let (_stop, hears) = shutdown::channel();
        runtime.block_on(collector::run(loaded.config.clone(), Mode::Once, hears, &RunMetrics::default()))?;
        println!();
    }
    place.account(&runtime)
}

/// The directory of the demonstration.
struct Demo {
    root: PathBuf,
}

impl Demo {
    fn config(&self) -> PathBuf {
        self.root.join("auditferry.toml")
    }

    fn events(&self) -> PathBuf {
        self.root.join("events.ndjson")
    }

    fn configuration(&self) -> String {
        let path = |path: &Path| format!("{:?}", path.display().to_string());
        format!(
            "state_dir = {state}\n\
             [log]\n\
             level = \"error\"\n\
             [feed.databricks]\n\
             family = \"databricks\"\n\
             directory = {bucket}\n\
             sinks = [\"console\", \"file\"]\n\
             [sink.console]\n\
             type = \"stdout\"\n\
             style = \"readable\"\n\
             [sink.file]\n\
             type = \"file\"\n\
             path = {events}\n",
            state = path(&self.root.join("state")),
            bucket = path(&self.root.join("bucket")),
            events = path(&self.events()),
        )
    }

    /// Writes a version of the object atomically, as S3 does.
    fn deliver(&self, records: &[usize]) -> io::Result<()> {
        let object = self.root.join("bucket").join(KEY);
        std::fs::create_dir_all(object.parent().unwrap_or(&self.root))?;
        let content: String = records.iter().flat_map(|&record| [RECORDS[record], "\n"]).collect();
        let beside = self.root.join("delivery");
        std::fs::write(&beside, content)?;
        std::fs::rename(beside, object)
    }

    /// Prints the final contents of the checkpoint store and of the sink's file.
    fn account(&self, runtime: &Runtime) -> Result<(), DemoError> {
        let store = SqliteStore::open(&self.root.join("state"), 0)?;
        let bucket = self.root.join("bucket").display().to_string();
        let object = ObjectId::new(bucket, KEY);
        let sinks = ["console", "file"].map(Arc::from);
        let position = runtime.block_on(store.position(&object, &sinks))?;
        println!("The checkpoint store says of {KEY}:");
        println!(
            "  {} records were accepted, of {} in the object now",
            position.progress.accepted, position.progress.content_records
        );
        for (sink, position) in sinks.iter().zip(&position.sinks) {
            println!("  sink {sink} has had {}", position.accepted);
        }
        let lines = std::fs::read_to_string(self.events())?.lines().count();
        println!("The file sink holds {lines} OCSF events: each record once.");
        let expected = RECORDS.len();
        if lines == expected { Ok(()) } else { Err(DemoError::Wrong { lines, expected }) }
    }
}

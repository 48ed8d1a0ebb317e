//! `auditferry run`: configuration, telemetry, runtime, collector, exit code.

use std::path::PathBuf;
use std::{io, thread};

use tracing::{error, info, warn};

use crate::cli::{Status, loaded, open_status, store_status};
use crate::collector::{self, Mode, shutdown};
use crate::config::load::Loaded;
use crate::config::state_dir;
use crate::identity::IdentityError;
use crate::notification::queue::QueueError;
use crate::notification::scan::ScanError;
use crate::sink::OpenError;
use crate::telemetry;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A configuration file; repeatable, later ones override earlier. Variables such as AUDITFERRY__LIMITS__BATCH_BYTES
    /// override all of them.
    #[arg(long, value_name = "FILE", required = true)]
    pub(super) config: Vec<PathBuf>,
    /// Deliver what is there now, commit, and exit.
    #[arg(long)]
    pub(super) once: bool,
}

pub(super) fn run(args: Args) -> Status {
    let loaded = match loaded(&args.config) {
        Ok(loaded) => loaded,
        Err(status) => return status,
    };
    if let Err(error) = telemetry::begin(&loaded.config.log) {
        eprintln!("{error}");
        return Status::Config;
    }
    log_panics();
    announce(&loaded);
    let mode = if args.once { Mode::Once } else { Mode::Daemon };
    match collect(loaded, mode) {
        Ok(Ok(())) => {
            info!("stopped");
            Status::Done
        }
        Ok(Err(error)) => {
            error!(%error, "stopped by an error");
            status(&error)
        }
        Err(error) => {
            error!(%error, "the runtime cannot be started");
            Status::Internal
        }
    }
}

/// Has each panic logged as one line, those that are caught too. Of its message only what stands in the program is told:
/// what was formatted into it may be of a record.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let reason = panic.payload().downcast_ref::<&str>();
        let thread = thread::current();
        warn!(place, reason, thread = thread.name(), "a part of the program panicked");
    }));
}

fn announce(loaded: &Loaded) {
    let config = &loaded.config;
    let files: Vec<_> = loaded.sources.iter().map(|path| path.display().to_string()).collect();
    info!(
        version = env!("CARGO_PKG_VERSION"),
        config = files.join(","),
        feeds = config.feed.len(),
        sinks = config.sink.len(),
        "starting"
    );
    for warning in &loaded.warnings {
        warn!(%warning, "configuration is doubtful");
    }
    if let Some(doubt) = state_dir::doubt(&config.state_dir) {
        warn!(state_dir = %config.state_dir.display(), doubt, "state_dir may not last");
    }
}

/// Runs the collector on a runtime of its own. What still blocks a thread afterwards is left behind: everything that
/// counts is committed by then.
fn collect(loaded: Loaded, mode: Mode) -> io::Result<Result<(), collector::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (stop, hears) = shutdown::channel();
    let ended = runtime.block_on(async {
        shutdown::on_signals(stop)?;
        Ok(collector::run(loaded.config, mode, hears).await)
    });
    runtime.shutdown_background();
    ended
}

/// What the service manager and its operator are to make of the end.
fn status(error: &collector::Error) -> Status {
    match error {
        collector::Error::Open(error) => open_status(error),
        collector::Error::Store(error) => store_status(error),
        collector::Error::Identity(error) => match error {
            IdentityError::Refused { .. } => Status::Refused,
            IdentityError::Unavailable { .. } => Status::Unavailable,
            IdentityError::RegionMissing { .. } => Status::Config,
        },
        collector::Error::Queue(QueueError::Denied { .. }) | collector::Error::Place(ScanError::Denied { .. }) => {
            Status::Refused
        }
        collector::Error::Place(ScanError::Missing { .. }) => Status::NoInput,
        collector::Error::Queue(_) | collector::Error::Place(_) => Status::Unavailable,
        collector::Error::Admin { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => Status::Refused,
        collector::Error::Admin { .. } => Status::Unavailable,
        collector::Error::Config(_) => Status::Config,
        collector::Error::Sink {
            source: OpenError::NoGroup { .. } | OpenError::NoRegion | OpenError::Service(_),
            ..
        } => Status::Config,
        collector::Error::Sink { source: OpenError::Lookup { .. }, .. } => Status::Unavailable,
        collector::Error::Unfinished(_) => Status::Again,
        collector::Error::Panic(_) => Status::Internal,
    }
}

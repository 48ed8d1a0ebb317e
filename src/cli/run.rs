//! `auditferry run`: configuration, telemetry, runtime, collector, exit code.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io, thread};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use tracing::{error, info, warn};

use crate::cli::{Status, collector_status, loaded};
use crate::collector::{self, Mode, shutdown};
use crate::config::load::Loaded;
use crate::config::{LogFormat, state_dir};
use crate::telemetry;
use crate::telemetry::summary::RunMetrics;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A configuration file; repeatable, later files override earlier ones. Variables such as
    /// AUDITFERRY__LIMITS__BATCH_BYTES override all of them.
    #[arg(long, value_name = "FILE", required = true)]
    pub(super) config: Vec<PathBuf>,
    /// Deliver everything that is there now, commit, print a summary, and exit.
    #[arg(long)]
    pub(super) once: bool,
    /// With --once: exit with 65 if something was put into quarantine.
    #[arg(long, requires = "once")]
    pub(super) strict: bool,
}

pub(super) fn run(args: Args) -> Status {
    let loaded = match loaded(&args.config) {
        Ok(loaded) => loaded,
        Err(status) => return status,
    };
    let counts = RunMetrics::default();
    let bar = if args.once { bar(&counts) } else { ProgressBar::hidden() };
    let form = match telemetry::begin(&loaded.config.log, &bar) {
        Ok(form) => form,
        Err(error) => {
            eprintln!("{error}");
            return Status::Config;
        }
    };
    log_panics();
    announce(&loaded);
    let mode = if args.once { Mode::Once } else { Mode::Daemon };
    let ended = collect(loaded, mode, &counts);
    bar.finish_and_clear();
    let status = match ended {
        Ok(Ok(())) => {
            info!("stopped");
            Status::Done
        }
        Ok(Err(error)) => {
            error!(%error, "stopped by an error");
            collector_status(&error)
        }
        Err(error) => {
            error!(%error, "the runtime cannot be started");
            Status::Internal
        }
    };
    if !args.once {
        return status;
    }
    let summary = counts.summary();
    form.write(&match form.format {
        LogFormat::Readable => summary.to_string(),
        LogFormat::Json => summary.json().to_string(),
    });
    if args.strict && status == Status::Done && summary.has_refused() { Status::Corrupt } else { status }
}

/// A progress line, if standard error is a terminal. A thread of its own redraws it.
fn bar(counts: &RunMetrics) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    let counts = counts.clone();
    let style = ProgressStyle::with_template("{spinner} {elapsed} {done}").expect("the template is well formed");
    bar.set_style(style.with_key("done", move |_: &ProgressState, line: &mut dyn fmt::Write| {
        // A line that cannot be drawn now is drawn at the next tick.
        let _ = line.write_str(&counts.summary().progress());
    }));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Logs each panic as one line, also a panic that is caught later. Only a constant message is logged, because a
/// formatted message may contain parts of a record.
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

/// Runs the collector on a runtime of its own. Threads that still block afterwards are abandoned, because all work is
/// committed by then.
fn collect(loaded: Loaded, mode: Mode, counts: &RunMetrics) -> io::Result<Result<(), collector::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (stop, hears) = shutdown::channel();
    let ended = runtime.block_on(async {
        shutdown::on_signals(stop)?;
        Ok(collector::run(loaded.config, mode, hears, counts).await)
    });
    runtime.shutdown_background();
    ended
}

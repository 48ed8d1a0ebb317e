//! Log lines, metrics, health, and reports to the service manager.

pub(crate) mod flow;

mod freshness;

mod lines;

pub(crate) mod health;

pub(crate) mod limiter;

pub(crate) mod metrics;

mod process;

pub(crate) mod series;

pub(crate) mod status;

pub(crate) mod summary;

pub(crate) mod systemd;

use std::env;
use std::io::{self, IsTerminal as _, Write};

use indicatif::ProgressBar;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LevelError, Log, LogFormat};
use crate::telemetry::lines::OneLine;
use crate::visible::is_hidden;

pub(crate) use lines::Form;

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TelemetryError {
    #[error("log.level is no filter: {0}")]
    Filter(#[from] LevelError),
    /// Another log subscriber was set in this process before.
    #[error("a log subscriber is already set")]
    AlreadySet,
}

/// Starts logging to standard error, above the progress `bar` there. Standard output belongs to the `stdout` sink.
/// Returns the form of the lines.
pub(crate) fn begin(log: &Log, bar: &ProgressBar) -> Result<Form, TelemetryError> {
    let usual = if io::stderr().is_terminal() { LogFormat::Readable } else { LogFormat::Json };
    let form = Form { format: log.format.unwrap_or(usual), has_priorities: is_journal() };
    let bar = bar.clone();
    let subscriber = subscriber(form, log.filter()?, move || AboveBar(bar.clone()));
    subscriber.try_init().map_err(|_| TelemetryError::AlreadySet)?;
    Ok(form)
}

/// Standard error with a progress bar, which is hidden while a line is written.
struct AboveBar(ProgressBar);

impl Write for AboveBar {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Whether standard error goes to the journal: `JOURNAL_STREAM` names its device and inode (systemd.exec(5)).
fn is_journal() -> bool {
    let (Ok(journal), Ok(stderr)) = (env::var("JOURNAL_STREAM"), rustix::fs::fstat(io::stderr())) else { return false };
    journal == format!("{}:{}", stderr.st_dev, stderr.st_ino)
}

fn subscriber<W>(form: Form, filter: EnvFilter, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // A line that cannot be written has nowhere else to go. By default the subscriber reports such a failure on
    // standard error too, and panics if that fails as well.
    let lines = tracing_subscriber::fmt().log_internal_errors(false).with_env_filter(filter).with_writer(writer);
    match form.format {
        LogFormat::Readable => Box::new(lines.map_event_format(|format| OneLine { format, form }).finish()),
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true);
            Box::new(lines.map_event_format(|format| OneLine { format, form }).finish())
        }
    }
}

/// The text as one line of at most `bytes_max` bytes: hidden characters, including line ends, become spaces.
fn one_line(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max)].replace(is_hidden, " ")
}

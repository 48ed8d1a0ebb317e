//! What the daemon says of itself: log lines, counters, health, and word to the service manager.

mod freshness;

pub(crate) mod health;

pub(crate) mod limiter;

pub(crate) mod metrics;

pub(crate) mod status;

pub(crate) mod systemd;

use std::io::IsTerminal;

use crate::config::{LevelError, Log, LogFormat};

/// Why nothing can be logged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TelemetryError {
    #[error("log.level is no filter: {0}")]
    Filter(#[from] LevelError),
    /// Something else in this process logs already.
    #[error("a log subscriber is already set")]
    AlreadySet,
}

/// Sends log lines to standard error from here on. Standard output belongs to the `stdout` sink.
pub(crate) fn begin(log: &Log) -> Result<(), TelemetryError> {
    let to_terminal = std::io::stderr().is_terminal();
    let format = log.format.unwrap_or(if to_terminal { LogFormat::Readable } else { LogFormat::Json });
    // A line that cannot be written has nowhere else to go. By default the subscriber reports it on standard error too,
    // and panics when that fails.
    let lines = tracing_subscriber::fmt().log_internal_errors(false);
    let lines = lines.with_env_filter(log.filter()?).with_writer(std::io::stderr);
    let set = match format {
        LogFormat::Readable => lines.with_ansi(to_terminal).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    set.map_err(|_| TelemetryError::AlreadySet)
}

/// The text as one line of at most so many bytes: control characters, line ends among them, become spaces.
fn one_line(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max)].replace(char::is_control, " ")
}

//! What the daemon says of itself: log lines, counters, health, and word to the service manager.

mod freshness;

pub mod health;

pub mod metrics;

pub mod systemd;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::Log;
use crate::config::LogFormat;

/// Why nothing can be logged.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `log.level` is no filter.
    #[error("log.level `{level}` is neither a level nor a filter")]
    Filter { level: String, source: ParseError },
    /// Something else in this process logs already.
    #[error("a log subscriber is already set")]
    AlreadySet,
}

/// What `level` means, or why it means nothing.
pub fn filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::try_new(level).map_err(|source| TelemetryError::Filter { level: level.to_owned(), source })
}

/// Sends log lines to standard error from here on. Standard output belongs to the `stdout` sink.
pub fn begin(log: &Log) -> Result<(), TelemetryError> {
    let to_terminal = std::io::stderr().is_terminal();
    let format = log.format.unwrap_or(if to_terminal { LogFormat::Readable } else { LogFormat::Json });
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter(log.level.as_deref().unwrap_or("info"))?)
        .with_writer(std::io::stderr);
    let set = match format {
        LogFormat::Readable => lines.with_ansi(to_terminal).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    set.map_err(|_| TelemetryError::AlreadySet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_and_a_filter_are_understood() {
        for level in ["info", "auditferry=debug,info", "off"] {
            assert!(filter(level).is_ok(), "{level}");
        }
        assert!(filter("auditferry=loud").is_err());
    }
}

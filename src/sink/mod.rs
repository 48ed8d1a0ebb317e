//! Delivers a batch, and says what became of it: taken, later, never.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// `[sink.<name>]`: where events go.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Config {
    File(FileConfig),
    Stdout(StdoutConfig),
}

/// How events are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EncodingName {
    /// OCSF, one JSON object a line.
    #[default]
    Ocsf,
    /// The source's record, as it came.
    Raw,
}

/// A file of lines, each event once: a repeat after a crash is recognised by the committed length.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    pub path: PathBuf,
    #[serde(default)]
    pub encoding: EncodingName,
    /// Begin a new file once this one holds as many bytes; the old one gets its number as a suffix. Default: never.
    pub rotate_bytes: Option<u64>,
    /// Begin a new file once this one is as old. Default: never.
    #[serde(default, with = "jiff::fmt::serde::unsigned_duration::friendly::compact::optional")]
    pub rotate_after: Option<Duration>,
}

/// Standard output: at least once.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StdoutConfig {
    #[serde(default)]
    pub encoding: EncodingName,
    /// Whether each event is a line to read (`readable`) or JSON (`json`, the default).
    #[serde(default)]
    pub style: StdoutStyle,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StdoutStyle {
    #[default]
    Json,
    Readable,
}

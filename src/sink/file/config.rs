//! The keys of a file sink's table.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::access::{Group, Mode};

/// `type = "file"`. Each event once: a repeat after a crash is recognised by the committed length.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    pub path: PathBuf,
    /// Begin a new file once this one holds as many bytes; the old one gets its number as a suffix. Default: never.
    pub rotate_bytes: Option<u64>,
    /// Begin a new file once this one is as old. Default: never.
    #[serde(default, with = "jiff::fmt::serde::unsigned_duration::friendly::compact::optional")]
    pub rotate_after: Option<Duration>,
    /// The files' permissions in octal digits, such as `0640`. Default: 0640 for the files that the sink creates; a file
    /// that is there already keeps its own.
    pub mode: Option<Mode>,
    /// The files' group, by name or number. Default: their directory's, for the files that the sink creates and where the
    /// daemon may set it.
    pub group: Option<Group>,
}

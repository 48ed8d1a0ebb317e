//! The keys of a file sink's table.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::access::{Group, Mode};
use crate::sink::http::body::Compression;

/// `type = "file"`. Each event once: a repeat after a crash is recognised by the committed length.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    pub path: PathBuf,
    /// Each batch is written as one gzip member or one zstd frame; `path` ends in `.gz` or `.zst` then. Default: `none`.
    #[serde(default)]
    pub compression: Compression,
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

/// What a file of this name is compressed with.
pub(super) fn compression_of(path: &Path) -> Compression {
    match path.extension().map(|ending| ending.as_encoded_bytes()) {
        Some(b"gz") => Compression::Gzip,
        Some(b"zst") => Compression::Zstd,
        _ => Compression::None,
    }
}

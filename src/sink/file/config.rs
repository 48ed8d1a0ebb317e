//! The keys of a file sink's table.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::access::{Group, Mode};
use crate::sink::http::body::Compression;

/// `type = "file"`. Each event is written once: after a crash the committed length tells what is in the file already.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    pub path: PathBuf,
    /// How batches are compressed: each is one gzip member or one zstd frame. `path` must end in `.gz` or `.zst` then.
    /// Default: `none`.
    #[serde(default)]
    pub compression: Compression,
    /// Begin a new file once this one holds this many bytes. The old file gets a number as its suffix. Default: never.
    #[serde(default, deserialize_with = "crate::units::some_bytes")]
    pub rotate_bytes: Option<u64>,
    /// Begin a new file once this one is this old. Default: never.
    #[serde(default, deserialize_with = "crate::units::some_time")]
    pub rotate_after: Option<Duration>,
    /// The permissions of the files in octal digits, such as `0640`. Default: 0640 for files that the sink creates; an
    /// existing file keeps its own.
    pub mode: Option<Mode>,
    /// The group of the files, by name or number. Default: for files that the sink creates, the group of their
    /// directory if the daemon may set it.
    pub group: Option<Group>,
}

/// The compression that a file's name stands for.
pub(super) fn compression_of(path: &Path) -> Compression {
    match path.extension().map(|ending| ending.as_encoded_bytes()) {
        Some(b"gz") => Compression::Gzip,
        Some(b"zst") => Compression::Zstd,
        _ => Compression::None,
    }
}

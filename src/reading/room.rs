//! Scratch: room on disk for one reading.

use std::fs::File;
use std::io;

use crate::delta::table::ScratchTable;

/// Room on disk for one reading. Files and tables made here are new, not shared, and are removed when dropped.
pub trait Scratch: Send + Sync {
    /// A nameless file.
    fn file(&self) -> io::Result<File>;

    /// A table for a comparison.
    fn table(&self) -> Box<dyn ScratchTable>;
}

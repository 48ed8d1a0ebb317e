//! Room for what memory does not hold.

use std::fs::File;
use std::io;

use crate::delta::table::ScratchTable;

/// Room on disk for one reading: what is made there is empty, belongs to nobody else, and is gone when it is dropped.
pub trait Scratch: Send + Sync {
    /// A nameless file.
    fn file(&self) -> io::Result<File>;

    /// A table for a comparison.
    fn table(&self) -> Box<dyn ScratchTable>;
}

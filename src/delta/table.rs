//! Tables for more fingerprints than fit in memory.

use std::collections::HashMap;

use crate::delta::Fingerprint;

/// The storage of a fingerprint table failed.
#[derive(Debug, thiserror::Error)]
#[error("the fingerprints cannot be compared on disk: {0}")]
pub struct TableError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// A table for those fingerprints of one comparison that do not fit in memory. It is empty at first, and deleted when
/// the value is dropped. A table that is never used should cost nothing.
pub trait ScratchTable: Send {
    /// Adds the fingerprint of accepted record number `index`. Called with ascending `index`.
    fn enter(&mut self, fingerprint: Fingerprint, index: u64) -> Result<(), TableError>;

    /// The number of the `occurrence`-th (from 0) accepted record that was entered with this fingerprint. `None` if
    /// there are fewer.
    fn nth(&mut self, fingerprint: Fingerprint, occurrence: u64) -> Result<Option<u64>, TableError>;

    /// Counts the fingerprint once more. Returns how often it was counted before.
    fn count(&mut self, fingerprint: Fingerprint) -> Result<u64, TableError>;
}

/// A table in memory, for tests without a disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryTable {
    entered: HashMap<Fingerprint, Vec<u64>>,
    counted: HashMap<Fingerprint, u64>,
}

impl ScratchTable for MemoryTable {
    fn enter(&mut self, fingerprint: Fingerprint, index: u64) -> Result<(), TableError> {
        self.entered.entry(fingerprint).or_default().push(index);
        Ok(())
    }

    fn nth(&mut self, fingerprint: Fingerprint, occurrence: u64) -> Result<Option<u64>, TableError> {
        let copies = self.entered.get(&fingerprint).map(Vec::as_slice).unwrap_or_default();
        Ok(usize::try_from(occurrence).ok().and_then(|occurrence| copies.get(occurrence)).copied())
    }

    fn count(&mut self, fingerprint: Fingerprint) -> Result<u64, TableError> {
        let count = self.counted.entry(fingerprint).or_default();
        *count += 1;
        Ok(*count - 1)
    }
}

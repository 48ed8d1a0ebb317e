//! Room to compare more fingerprints than memory may hold.

use std::collections::HashMap;

use crate::delta::Fingerprint;

/// A table of fingerprints failed where it lies.
#[derive(Debug, thiserror::Error)]
#[error("the fingerprints cannot be compared on disk: {0}")]
pub struct TableError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// A table for one comparison, empty at first and gone with the value, for what memory has no room for. One that is never
/// used should cost nothing.
pub trait ScratchTable: Send {
    /// Enters that accepted record number `index` has this fingerprint. Called with ascending `index`.
    fn enter(&mut self, fingerprint: Fingerprint, index: u64) -> Result<(), TableError>;

    /// The number of the accepted record that is this fingerprint's `occurrence`-th (from 0) of those entered.
    fn nth(&mut self, fingerprint: Fingerprint, occurrence: u64) -> Result<Option<u64>, TableError>;

    /// Counts the fingerprint once more; says how often it had been counted before.
    fn count(&mut self, fingerprint: Fingerprint) -> Result<u64, TableError>;
}

/// A table that is all in memory: for what has no disk.
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

//! What is remembered of one object's accepted records, and room to compare more of them than memory may hold.

use std::collections::HashMap;

use crate::delta::Fingerprint;

/// The fingerprints could not be read or compared where they are kept.
#[derive(Debug, thiserror::Error)]
#[error("the fingerprints of accepted records cannot be had: {0}")]
pub struct LedgerError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// One object's accepted fingerprints, and a table beside them, empty at first and gone with the ledger, for the
/// comparisons that memory has no room for. A table that is never used should cost nothing.
pub trait Ledger: Send {
    /// Appends to `into` the accepted fingerprints from number `from` on, in order of acceptance, at most 65,536 of them;
    /// none when there are no more.
    fn accepted(&mut self, from: u64, into: &mut Vec<Fingerprint>) -> Result<(), LedgerError>;

    /// Enters into the table that accepted record number `index` has this fingerprint. Called with ascending `index`.
    fn enter(&mut self, fingerprint: Fingerprint, index: u64) -> Result<(), LedgerError>;

    /// The number of the accepted record that is this fingerprint's `occurrence`-th (from 0) of those entered.
    fn nth(&mut self, fingerprint: Fingerprint, occurrence: u64) -> Result<Option<u64>, LedgerError>;

    /// Counts the fingerprint once more; says how often it had been counted before.
    fn count(&mut self, fingerprint: Fingerprint) -> Result<u64, LedgerError>;
}

/// A ledger that is all in memory: for what has no checkpoint store.
#[derive(Clone, Debug, Default)]
pub struct MemoryLedger {
    pub accepted: Vec<Fingerprint>,
    entered: HashMap<Fingerprint, Vec<u64>>,
    counted: HashMap<Fingerprint, u64>,
}

impl MemoryLedger {
    pub fn new(accepted: Vec<Fingerprint>) -> Self {
        Self { accepted, ..Self::default() }
    }
}

impl Ledger for MemoryLedger {
    fn accepted(&mut self, from: u64, into: &mut Vec<Fingerprint>) -> Result<(), LedgerError> {
        let rest = usize::try_from(from).ok().and_then(|from| self.accepted.get(from..)).unwrap_or_default();
        into.extend_from_slice(&rest[..rest.len().min(65_536)]);
        Ok(())
    }

    fn enter(&mut self, fingerprint: Fingerprint, index: u64) -> Result<(), LedgerError> {
        self.entered.entry(fingerprint).or_default().push(index);
        Ok(())
    }

    fn nth(&mut self, fingerprint: Fingerprint, occurrence: u64) -> Result<Option<u64>, LedgerError> {
        let copies = self.entered.get(&fingerprint).map(Vec::as_slice).unwrap_or_default();
        Ok(usize::try_from(occurrence).ok().and_then(|occurrence| copies.get(occurrence)).copied())
    }

    fn count(&mut self, fingerprint: Fingerprint) -> Result<u64, LedgerError> {
        let count = self.counted.entry(fingerprint).or_default();
        *count += 1;
        Ok(*count - 1)
    }
}

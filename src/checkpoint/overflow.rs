//! Fingerprints past what memory may hold, in a temporary table on disk.

use std::path::Path;

use rusqlite::Connection;
use rusqlite::OptionalExtension as _;
use rusqlite::params;

use super::StoreError;
use super::rows::count;
use super::rows::int;
use crate::delta::Fingerprint;

/// A table of fingerprints that exists as long as this value. Slower than memory by two orders, and bounded.
pub struct Overflow {
    connection: Connection,
}

impl Overflow {
    /// A new, empty table beside the store (the file has no name and is gone with the value).
    pub fn new(_state_dir: &Path) -> Result<Self, StoreError> {
        // The empty name is SQLite's for a private database on disk that is deleted when closed.
        let connection = Connection::open("")?;
        connection.execute_batch(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -8192;
             CREATE TABLE counted (fingerprint BLOB PRIMARY KEY, copies INTEGER NOT NULL) STRICT, WITHOUT ROWID;
             CREATE TABLE accepted (fingerprint BLOB, place INTEGER, PRIMARY KEY (fingerprint, place))
                 STRICT, WITHOUT ROWID;
             BEGIN",
        )?;
        Ok(Self { connection })
    }

    /// Counts one more copy, and returns how many there were before.
    pub fn count(&self, fingerprint: Fingerprint) -> Result<u64, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO counted (fingerprint, copies) VALUES (?1, 1)
             ON CONFLICT DO UPDATE SET copies = copies + 1 RETURNING copies",
        )?;
        let copies: i64 = statement.query_row([fingerprint.0], |row| row.get(0))?;
        Ok(count(copies - 1))
    }

    /// Notes an accepted fingerprint and its place in the accepted sequence.
    pub fn accept(&self, fingerprint: Fingerprint, place: u64) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached("INSERT INTO accepted (fingerprint, place) VALUES (?1, ?2)")?;
        statement.execute(params![fingerprint.0, int(place)])?;
        Ok(())
    }

    /// The place of the copy numbered `nth` (from 0) among the accepted.
    pub fn nth(&self, fingerprint: Fingerprint, nth: u64) -> Result<Option<u64>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT place FROM accepted WHERE fingerprint = ?1 ORDER BY place LIMIT 1 OFFSET ?2",
        )?;
        let place: Option<i64> =
            statement.query_row(params![fingerprint.0, int(nth)], |row| row.get(0)).optional()?;
        Ok(place.map(count))
    }
}

//! Scratch for readings: temporary files, and a temporary table for fingerprints.

use std::fs::File;
use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::rows::{count, int};
use crate::checkpoint::StoreError;
use crate::delta::Fingerprint;
use crate::delta::table::{ScratchTable, TableError};
use crate::reading::Scratch;

/// Scratch on the disk of this directory.
pub struct DiskScratch(pub PathBuf);

impl Scratch for DiskScratch {
    fn file(&self) -> std::io::Result<File> {
        tempfile::tempfile_in(&self.0)
    }

    fn table(&self) -> Box<dyn ScratchTable> {
        Box::<TemporaryTable>::default()
    }
}

/// A table in a nameless file. It is created when first used, and deleted when this is dropped.
#[derive(Default)]
struct TemporaryTable(Option<Connection>);

impl TemporaryTable {
    fn table(&mut self) -> Result<&Connection, StoreError> {
        if self.0.is_none() {
            // The empty name makes SQLite open a private database on disk, and delete it when it is closed.
            let connection = Connection::open("")?;
            connection.execute_batch(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -1024;
                 CREATE TABLE counted (fingerprint BLOB PRIMARY KEY, copies INTEGER NOT NULL) STRICT, WITHOUT ROWID;
                 CREATE TABLE accepted (fingerprint BLOB, place INTEGER, PRIMARY KEY (fingerprint, place))
                     STRICT, WITHOUT ROWID;
                 BEGIN",
            )?;
            self.0 = Some(connection);
        }
        self.0.as_ref().ok_or(StoreError::Closed)
    }

    fn insert(&mut self, fingerprint: Fingerprint, index: u64) -> Result<(), StoreError> {
        let mut statement =
            self.table()?.prepare_cached("INSERT INTO accepted (fingerprint, place) VALUES (?1, ?2)")?;
        statement.execute(params![fingerprint.0, int(index)])?;
        Ok(())
    }

    fn find(&mut self, fingerprint: Fingerprint, occurrence: u64) -> Result<Option<u64>, StoreError> {
        let mut statement = self
            .table()?
            .prepare_cached("SELECT place FROM accepted WHERE fingerprint = ?1 ORDER BY place LIMIT 1 OFFSET ?2")?;
        let place: Option<i64> =
            statement.query_row(params![fingerprint.0, int(occurrence)], |row| row.get(0)).optional()?;
        Ok(place.map(count))
    }

    fn count_once_more(&mut self, fingerprint: Fingerprint) -> Result<u64, StoreError> {
        let mut statement = self.table()?.prepare_cached(
            "INSERT INTO counted (fingerprint, copies) VALUES (?1, 1)
             ON CONFLICT DO UPDATE SET copies = copies + 1 RETURNING copies",
        )?;
        let copies: i64 = statement.query_row([fingerprint.0], |row| row.get(0))?;
        Ok(count(copies - 1))
    }
}

fn failed(error: StoreError) -> TableError {
    TableError(Box::new(error))
}

impl ScratchTable for TemporaryTable {
    fn enter(&mut self, fingerprint: Fingerprint, index: u64) -> Result<(), TableError> {
        self.insert(fingerprint, index).map_err(failed)
    }

    fn nth(&mut self, fingerprint: Fingerprint, occurrence: u64) -> Result<Option<u64>, TableError> {
        self.find(fingerprint, occurrence).map_err(failed)
    }

    fn count(&mut self, fingerprint: Fingerprint) -> Result<u64, TableError> {
        self.count_once_more(fingerprint).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::RecordHash;

    #[test]
    fn the_table_counts_and_finds_as_memory_would() {
        let mut table = TemporaryTable::default();
        let [one, two] = [&b"1"[..], b"2"].map(|record| RecordHash::of(record).fingerprint());
        assert_eq!([one, two, one].map(|each| table.count(each).unwrap()), [0, 0, 1]);
        for (index, each) in [one, two, one].into_iter().enumerate() {
            table.enter(each, index as u64).unwrap();
        }
        assert_eq!([0, 1, 2].map(|nth| table.nth(one, nth).unwrap()), [Some(0), Some(2), None]);
        assert_eq!(table.nth(two, 0).unwrap(), Some(1));
    }
}

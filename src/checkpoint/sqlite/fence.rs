//! The fence: whether this instance is still the last that opened the store for writing.

use rusqlite::Connection;

use crate::checkpoint::StoreError;

/// This instance's epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fence(i64);

impl Fence {
    /// Takes a new epoch. From then on writes of earlier instances are refused.
    pub(super) fn take(connection: &Connection) -> Result<Self, rusqlite::Error> {
        connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'epoch'", [])?;
        Ok(Self(epoch(connection)?))
    }

    /// # Errors
    /// [`StoreError::TakenOver`] if another instance has opened the store since.
    pub(super) fn check(self, connection: &Connection) -> Result<(), StoreError> {
        if epoch(connection)? == self.0 { Ok(()) } else { Err(StoreError::TakenOver) }
    }
}

fn epoch(connection: &Connection) -> Result<i64, rusqlite::Error> {
    connection
        .prepare_cached("SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'epoch'")?
        .query_row([], |row| row.get(0))
}

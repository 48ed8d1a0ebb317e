//! SQLite stores for the conformance tests: one with its own threads, and one without.

use tempfile::TempDir;

use super::Site;
use crate::checkpoint::{Durability, Entry, Inspection, QuarantineLimits, Selection, SqliteStore, Store};

pub(super) struct SqliteSite {
    directory: TempDir,
    is_apart: bool,
}

impl SqliteSite {
    pub(super) fn boxed(is_apart: bool) -> Box<dyn Site> {
        Box::new(Self { directory: tempfile::tempdir().unwrap(), is_apart })
    }

    fn change(&self) -> Inspection {
        Inspection::change(self.directory.path()).unwrap()
    }
}

impl Site for SqliteSite {
    fn kind(&self) -> &'static str {
        if self.is_apart { "SQLite without threads" } else { "SQLite" }
    }

    fn another(&self) -> Box<dyn Site> {
        Self::boxed(self.is_apart)
    }

    fn open_with(&self, limits: QuarantineLimits) -> Store {
        if !self.is_apart {
            return Store::new(SqliteStore::open(self.directory.path(), limits).unwrap());
        }
        let opened = SqliteStore::open_apart(self.directory.path(), limits, Durability::Process);
        let (store, mut writing) = opened.unwrap();
        tokio::spawn(async move {
            while writing.asked().await {
                writing.commit().answer();
            }
        });
        Store::new(store)
    }

    fn take_over(&self) {
        let raw = rusqlite::Connection::open(self.directory.path().join("checkpoints.sqlite")).unwrap();
        assert_eq!(raw.execute("UPDATE meta SET value = value + 1 WHERE key = 'epoch'", []).unwrap(), 1);
    }

    fn entries(&self) -> Vec<Entry> {
        Inspection::look(self.directory.path()).unwrap().newest(&Selection::default(), 1000).unwrap().0
    }

    fn requeue(&self) -> Vec<u64> {
        let mut quarantine = self.change();
        let ids = quarantine.page(&Selection::default(), 0).unwrap();
        let impossible = quarantine.requeue(&ids).unwrap();
        ids.into_iter().filter(|id| !impossible.contains(id)).collect()
    }

    fn purge(&self, ids: &[u64]) -> Vec<u64> {
        self.change().purge(ids).unwrap()
    }
}

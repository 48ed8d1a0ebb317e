//! An operator's work on the store: backs it up, puts a backup back, requeues the quarantine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use auditferry::testing::batch::Lane;
use auditferry::testing::checkpoint::{Inspection, Selection, Store, back_up};

use crate::oracle::at_once;
use crate::plan::sink_name;
use crate::sink::LANES_MAX;
use crate::world::State;
use crate::world::received::Received;

/// The only file of a store while no process runs.
const DATABASE: &str = "checkpoints.sqlite";

/// The directory of a run, with the store and its backups.
pub struct Keeping {
    directory: PathBuf,
    copies: usize,
    last: Option<Copy>,
    /// Whether the last backup is to be put back before the next process begins.
    is_put_back: bool,
    /// Whether a backup was put back at least once.
    pub was_put_back: bool,
}

/// A backup of the store, and the state of the world when it was made.
struct Copy {
    path: PathBuf,
    /// How many requests each receiver had read, and which batches were sealed but not committed.
    requests: Vec<usize>,
    sealed: BTreeSet<Box<str>>,
    /// For each object: which versions were answered, and [`Object::missed`](crate::world::place::Object::missed).
    answered: BTreeMap<(&'static str, String), (Vec<bool>, usize)>,
}

impl Keeping {
    pub fn of(directory: PathBuf) -> Self {
        Self { directory, copies: 0, last: None, is_put_back: false, was_put_back: false }
    }

    pub fn state_dir(&self) -> PathBuf {
        self.directory.join("state")
    }
}

impl State {
    /// Backs up the store as it is now.
    pub fn back_up(&mut self) {
        self.keeping.copies += 1;
        let directory = self.keeping.directory.join(format!("copy-{}", self.keeping.copies));
        let path = match back_up(&self.keeping.state_dir(), &directory) {
            Ok(path) => path,
            // The store is still empty, or the disk is full.
            Err(error) => return self.note(format!("no copy: {error}")),
        };
        let requests = self.received.iter().map(Received::requests).collect();
        let sealed = self.store.as_ref().map_or_else(BTreeSet::new, |store| sealed(store, self.received.len()));
        let answered = self.objects.iter().map(|(key, object)| {
            let versions = object.versions.iter().map(|written| written.was_answered).collect();
            (key.clone(), (versions, object.missed))
        });
        self.keeping.last = Some(Copy { path, requests, sealed, answered: answered.collect() });
    }

    /// Ends the process, and has the last backup put back before the next one begins.
    pub fn will_put_back(&mut self) {
        if self.keeping.last.is_some() {
            self.keeping.is_put_back = true;
            self.kill_in = Some(0);
        }
    }

    /// Puts the last backup back, if that was asked for. No process may run.
    pub fn put_back(&mut self) {
        let (true, Some(copy)) = (std::mem::take(&mut self.keeping.is_put_back), self.keeping.last.take()) else {
            return;
        };
        let state_dir = self.keeping.state_dir();
        fs::remove_dir_all(&state_dir).unwrap();
        fs::create_dir(&state_dir).unwrap();
        fs::copy(&copy.path, state_dir.join(DATABASE)).unwrap();
        for (received, requests) in self.received.iter_mut().zip(&copy.requests) {
            received.forgotten_since(*requests, &copy.sealed);
        }
        for (key, object) in &mut self.objects {
            let (answered, missed) = copy.answered.get(key).cloned().unwrap_or_default();
            object.missed = missed;
            for (at, written) in object.versions.iter_mut().enumerate() {
                written.was_answered = answered.get(at).copied().unwrap_or_default();
                written.was_unreadable = false;
            }
        }
        self.tally.fault("older store is put back");
        self.note("a copy of the store is put back");
        self.keeping.was_put_back = true;
        self.keeping.last = Some(copy);
    }

    /// Requeues all entries of the quarantine.
    pub fn requeue(&mut self) {
        // A full store refuses this, too.
        let Ok(mut quarantine) = Inspection::change(&self.keeping.state_dir()) else { return };
        let ids = quarantine.page(&Selection::default(), 0).unwrap();
        if ids.is_empty() {
            return;
        }
        self.tally.fault("quarantine is requeued");
        let told = match quarantine.requeue(&ids) {
            Ok(not) => format!("{} entries are requeued, {} cannot be", ids.len() - not.len(), not.len()),
            Err(error) => format!("nothing is requeued: {error}"),
        };
        self.note(told);
    }

    /// Whether a version of the object is in quarantine as a whole.
    pub fn is_quarantined(&self, key: &(&'static str, String)) -> bool {
        let quarantine = Inspection::look(&self.keeping.state_dir()).unwrap();
        let (entries, _) = quarantine.newest(&Selection::default(), 10_000).unwrap();
        let of =
            |object: &auditferry::testing::notification::ObjectId| *object.bucket == *key.0 && *object.key == *key.1;
        entries.iter().any(|entry| entry.kind.name() == "object" && entry.object.as_ref().is_some_and(of))
    }
}

/// All lanes that a sink may have.
pub fn lanes(sink: usize) -> impl Iterator<Item = Lane> {
    (0..LANES_MAX).map(move |number| Lane { sink: sink_name(sink).into(), number })
}

/// The ids of batches of the first `sinks` sinks that are sealed but not committed.
fn sealed(store: &Store, sinks: usize) -> BTreeSet<Box<str>> {
    let sealed = (0..sinks).flat_map(lanes).flat_map(|lane| at_once(store.positions.sealed(&lane)));
    sealed.map(|sealed| sealed.manifest().id.clone()).collect()
}

/// The sinks whose receiver has a batch that this store does not know.
pub fn ahead(state: &State, store: &Store) -> BTreeSet<usize> {
    let is_ahead = |sink: &usize| {
        let lane = Lane::only(Arc::from(sink_name(*sink)));
        let (last, sealed) = (at_once(store.positions.lane(&lane)).last_id, at_once(store.positions.sealed(&lane)));
        let known: Vec<&str> = sealed.iter().map(|sealed| &*sealed.manifest().id).chain(last.as_deref()).collect();
        state.received[*sink].last_batch().is_some_and(|last| !known.contains(&last))
    };
    (0..state.received.len()).filter(is_ahead).collect()
}

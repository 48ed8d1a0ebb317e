//! Who writes objects: appends, and does whatever else a source may do to them.

use std::collections::BTreeMap;

use crate::chance::Chance;
use crate::plan::Change;
use crate::records::record;
use crate::world::State;
use crate::world::place::Written;

impl State {
    /// Changes an object as the plan says, and has the queue told.
    pub fn write(&mut self, object: usize, change: &Change) {
        let key = self.setting.place_of(object);
        let found = self.objects.entry(key.clone()).or_default();
        let before = found.lines().to_vec();
        let ever = most(&found.versions);
        let mut fresh = |count: u64| -> Vec<String> {
            let first = self.written * 1000;
            self.written += 1;
            (first..first + count).map(record).collect()
        };
        let mut lines = before.clone();
        match *change {
            Change::Append(count) => lines.extend(fresh(count)),
            Change::Insert(count, at) => {
                let at = at.min(lines.len());
                lines.splice(at..at, fresh(count));
            }
            Change::Reorder(seed) => Chance::from_seed(seed).shuffle(&mut lines),
            Change::Double(line) => lines.extend(before.get(line % before.len().max(1)).cloned()),
            Change::Shrink(left) => lines.truncate(left),
            Change::Thin(each) => {
                let mut number = 0;
                lines.retain(|_| {
                    number += 1;
                    number % each != 0
                });
            }
            Change::Regrow => {
                lines = ever.iter().flat_map(|(line, count)| vec![line.clone(); *count as usize]).collect()
            }
            Change::Delete => {
                found.is_there = false;
                self.note(format!("{} is deleted", key.1));
                return;
            }
            Change::Anew(count) => lines = fresh(count),
            Change::CopyInPlace => {}
        }
        self.written += 1;
        let (etag, written_ms) = (self.etag_of(key.0, &lines), self.wall_ms());
        let (count, found) = (lines.len(), self.objects.entry(key.clone()).or_default());
        let number = found.versions.len();
        found.versions.push(Written { lines, etag, written_ms, was_answered: false });
        found.is_there = true;
        self.note(format!("version {number} of {} has {count} lines", key.1));
        if key.0 == crate::plan::BUCKET {
            self.notify(&key);
        }
    }
}

/// The most of each line that any version had.
pub fn most(versions: &[Written]) -> BTreeMap<String, u64> {
    let mut most = BTreeMap::new();
    for version in versions {
        for (line, count) in crate::records::counted(&version.lines) {
            let known: &mut u64 = most.entry(line).or_default();
            *known = count.max(*known);
        }
    }
    most
}

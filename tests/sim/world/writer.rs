//! The writer of objects: appends to them, and does whatever else a source may do.

use std::collections::BTreeMap;

use crate::chance::Chance;
use crate::happening::Change;
use crate::plan::SHELF;
use crate::records::record;
use crate::world::State;
use crate::world::content::{Form, garbled, long, row, stored};
use crate::world::place::Written;

impl State {
    /// Changes an object as planned, and sends the notification.
    pub fn write(&mut self, object: usize, change: &Change) {
        let (key, form) = (self.setting.place_of(object), self.setting.objects[object].form());
        if let Change::Delete = change {
            self.objects.entry(key.clone()).or_default().is_there = false;
            return self.note(format!("{} is deleted", key.1));
        }
        let damage = match change {
            Change::Damaged(damage) if form != Form::Lines => Some(*damage),
            _ => None,
        };
        let lines = match form {
            Form::Rows => self.rows(&key),
            Form::Lines | Form::Gzip => self.changed(&key, change),
        };
        self.written += 1;
        let bytes = stored(form, &lines, damage);
        let (etag, written_ms, count) = (self.etag_of(key.0, &bytes), self.wall_ms(), lines.len());
        let is_damaged = damage.is_some();
        if is_damaged {
            self.tally.fault("object is damaged");
        }
        if key.0 != SHELF && !self.setting.at_fault.is_empty() && !self.setting.at_fault.contains(&key.0) {
            let now_ms = self.now_ms();
            lines.iter().for_each(|line| _ = self.born.entry(line.clone()).or_insert(now_ms));
        }
        let found = self.objects.entry(key.clone()).or_default();
        let number = found.versions.len();
        let (was_answered, was_unreadable) = (false, false);
        found.versions.push(Written { lines, bytes, etag, written_ms, is_damaged, was_answered, was_unreadable });
        (found.is_there, found.is_archived) = (true, false);
        let how = if is_damaged { ", damaged" } else { "" };
        self.note(format!("version {number} of {} has {count} lines{how}", key.1));
        if key.0 != SHELF {
            self.notify(&key);
        }
    }

    /// Makes `count` new lines.
    fn fresh(&mut self, count: u64, line: fn(u64) -> String) -> Vec<String> {
        let first = self.written * 1000;
        self.written += 1;
        (first..first + count).map(line).collect()
    }

    /// The lines of an object that is written once: always the same.
    fn rows(&mut self, key: &(&'static str, String)) -> Vec<String> {
        let first = self.objects.get(key).and_then(|found| found.versions.first()).map(|first| first.lines.clone());
        first.unwrap_or_else(|| self.fresh(9, row))
    }

    /// The lines that an object has after a change.
    fn changed(&mut self, key: &(&'static str, String), change: &Change) -> Vec<String> {
        let found = self.objects.entry(key.clone()).or_default();
        let (mut lines, ever) = (found.lines().to_vec(), most(&found.versions));
        match *change {
            Change::Append(count) => lines.extend(self.fresh(count, record)),
            Change::Insert(count, at) => {
                let at = at.min(lines.len());
                lines.splice(at..at, self.fresh(count, record));
            }
            Change::Reorder(seed) => Chance::from_seed(seed).shuffle(&mut lines),
            Change::Double(line) => lines.extend(lines.get(line % lines.len().max(1)).cloned()),
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
            Change::Anew(count) => lines = self.fresh(count, record),
            Change::Long => {
                self.tally.fault("line is too long");
                lines.extend(self.fresh(1, long));
            }
            Change::Garbled => {
                self.tally.fault("line is no record");
                lines.extend(self.fresh(1, garbled));
            }
            Change::Damaged(_) => lines.extend(self.fresh(2, record)),
            Change::CopyInPlace | Change::Delete => {}
        }
        lines
    }

    /// Moves an existing object to a storage class that must be restored before a read.
    pub fn archive(&mut self, object: usize) {
        let key = self.setting.place_of(object);
        let Some(found) = self.objects.get_mut(&key).filter(|found| found.is_there) else { return };
        found.is_archived = true;
        self.tally.fault("object is archived");
    }

    /// Restores an archived object, and sends the notification.
    pub fn thaw(&mut self, key: &(&'static str, String)) {
        let Some(found) = self.objects.get_mut(key).filter(|found| found.is_there && found.is_archived) else { return };
        found.is_archived = false;
        let last = found.versions.len() - 1;
        self.note(format!("{} is restored", key.1));
        if key.0 != SHELF {
            self.tell_of("ObjectRestore:Completed", key, last);
        }
    }
}

/// For each line, the most copies of it that any version had.
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

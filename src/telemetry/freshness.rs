//! The newest event delivered for each partition, for a bounded number of partitions.

use std::collections::BTreeMap;

/// The most partitions that are remembered, for all feeds together.
const PARTITIONS_MAX: usize = 1000;

/// The newest event delivered for each feed and partition. It shows when a single tenant sends nothing any more.
#[derive(Default)]
pub(super) struct Freshness {
    partitions: BTreeMap<(String, String), Newest>,
    notes: u64,
}

struct Newest {
    event_ms: i64,
    /// The number of the last note about this partition.
    touched: u64,
}

impl Freshness {
    /// Remembers the newest event. If there is no room, the partition without a note for the longest time is forgotten.
    pub(super) fn note(&mut self, feed: &str, partition: &str, event_ms: i64) {
        self.notes += 1;
        let key = (feed.to_owned(), partition.to_owned());
        if let Some(newest) = self.partitions.get_mut(&key) {
            newest.event_ms = newest.event_ms.max(event_ms);
            newest.touched = self.notes;
            return;
        }
        if self.partitions.len() >= PARTITIONS_MAX {
            let oldest = self.partitions.iter().min_by_key(|(_, newest)| newest.touched).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                self.partitions.remove(&oldest);
            }
        }
        self.partitions.insert(key, Newest { event_ms, touched: self.notes });
    }

    /// The time of a feed's newest event, in milliseconds since the epoch.
    pub(super) fn of_feed(&self, feed: &str) -> Option<i64> {
        self.newest().filter(|(name, _, _)| *name == feed).map(|(_, _, event_ms)| event_ms).max()
    }

    /// For each partition: feed, partition, and the time of its newest event in milliseconds since the epoch.
    pub(super) fn newest(&self) -> impl Iterator<Item = (&str, &str, i64)> {
        self.partitions.iter().map(|((feed, partition), newest)| (feed.as_str(), partition.as_str(), newest.event_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_not_touched_for_longest_makes_room() {
        let mut freshness = Freshness::default();
        for i in 0..PARTITIONS_MAX {
            freshness.note("dbx", &format!("workspaceId={i}"), 1);
        }
        freshness.note("dbx", "workspaceId=0", 2);
        freshness.note("dbx", "workspaceId=new", 3);
        let known: Vec<_> = freshness.newest().map(|(_, partition, _)| partition.to_owned()).collect();
        assert_eq!(known.len(), PARTITIONS_MAX);
        assert!(known.contains(&"workspaceId=0".to_owned()));
        assert!(!known.contains(&"workspaceId=1".to_owned()));
        assert!(known.contains(&"workspaceId=new".to_owned()));
    }
}

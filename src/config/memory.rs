//! How `limits.memory_bytes` is divided: the checkpoint store's caches, a share for each sink, and the objects that are
//! being read.

use std::collections::BTreeMap;

use crate::batch::BUFFER_BYTES;
use crate::checkpoint::CACHE_BYTES;
use crate::config::Config;
use crate::config::found::Found;
use crate::object::INFLATE_BYTES_MAX;
use crate::records::lines::{BLOCK_BYTES, LONG_LINE_COPIES};
use crate::records::rows;
use crate::sink;
use crate::units::Size;

/// The default budget, unless the configuration needs more.
const DEFAULT_BYTES: usize = 192 << 20;

/// Memory of each object that is being read: the bytes received, the events encoded from them, and the base of its
/// room.
const OBJECT_BYTES: usize = 5 << 20;

/// The least share of a sink, unless the sink needs less.
const SHARE_BYTES_MIN: usize = 4 << 20;

/// The budget and its parts, in bytes.
pub struct Memory {
    /// The memory for each sink's events, by the sink's name.
    pub sinks: BTreeMap<String, Share>,
    /// The memory that all readings together may take beyond their bases.
    pub readings: usize,
}

/// A sink's share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    pub lanes: usize,
    /// The memory of each lane: room for one batch more than the window holds.
    pub lane_bytes: usize,
    /// A batch is full when it has this many bytes.
    pub batch_bytes: usize,
}

impl Share {
    pub fn bytes(&self) -> usize {
        self.lane_bytes.saturating_mul(self.lanes)
    }
}

impl Config {
    /// Divides the budget.
    pub fn memory(&self) -> Memory {
        let needs = Needs::of(self);
        let bytes = self.limits.memory_bytes.unwrap_or(DEFAULT_BYTES).max(needs.sum());
        let readings = bytes - needs.store - needs.shares_bytes() - needs.objects;
        Memory { sinks: needs.shares, readings }
    }
}

/// The least memory that a configuration needs.
struct Needs {
    store: usize,
    shares: BTreeMap<String, Share>,
    objects_count: usize,
    objects: usize,
    longest_line: usize,
    inflating: usize,
    rows: usize,
}

impl Needs {
    fn of(config: &Config) -> Self {
        let limits = &config.limits;
        let half = limits.memory_bytes.unwrap_or(DEFAULT_BYTES) / 2;
        let most = (half / config.sink.len().max(1)).max(SHARE_BYTES_MIN);
        let share = |table: &sink::Config| {
            let flow = table.flow();
            let (lanes, batches) = (usize::from(flow.lanes), usize::from(flow.window) + 1);
            let wanted = table.batch.bytes.or(limits.batch_bytes).unwrap_or(flow.batch_bytes);
            // The last part of a batch may exceed the batch's size by a buffer.
            let each = wanted.saturating_add(BUFFER_BYTES).min(most / lanes / batches);
            let batch_bytes = wanted.min((each / 2).max(each.saturating_sub(BUFFER_BYTES)));
            Share { lanes, lane_bytes: each * batches, batch_bytes }
        };
        let rows = rows::Limits::default();
        let rows_bytes = usize::try_from(rows.decoding_bytes_max + rows.fetch_bytes_max).unwrap_or(usize::MAX);
        let objects_count = limits.objects_at_once.max(config.feed.len());
        Self {
            store: CACHE_BYTES,
            shares: config.sink.iter().map(|(name, table)| (name.clone(), share(table))).collect(),
            objects_count,
            objects: objects_count.saturating_mul(OBJECT_BYTES),
            longest_line: limits.line_bytes_max.saturating_add(BLOCK_BYTES).saturating_mul(LONG_LINE_COPIES),
            inflating: INFLATE_BYTES_MAX,
            rows: if config.feed.values().any(|feed| feed.reads_rows()) { rows_bytes } else { 0 },
        }
    }

    fn shares_bytes(&self) -> usize {
        self.shares.values().map(Share::bytes).sum()
    }

    fn sum(&self) -> usize {
        // An object either has rows or is inflated, never both.
        let one = self.longest_line.saturating_add(self.inflating.max(self.rows));
        [self.store, self.shares_bytes(), self.objects, one].into_iter().fold(0, usize::saturating_add)
    }
}

/// Reports a budget that is too small, with everything that it must have room for.
pub(super) fn check(config: &Config, found: &mut Found) {
    let Some(bytes) = config.limits.memory_bytes else { return };
    let needs = Needs::of(config);
    let sum = needs.sum();
    if bytes >= sum {
        return;
    }
    // Rounded up, so that a budget of the named size is enough.
    let mib = |bytes: usize| format!("{:.1} MiB", (bytes as f64 / f64::from(1 << 20) * 10.0).ceil() / 10.0);
    let what = if needs.rows > needs.inflating { "a row group of a Parquet file" } else { "what inflates it" };
    let message = format!(
        "expected at least {}, found {}: the checkpoint store's caches {}, the batches of each sink {}, {} \
         objects at once {}, and for one of them the longest line {} and {what} {}; raise it, or lower \
         limits.objects_at_once, limits.line_bytes_max or batch.bytes of a sink",
        mib(sum),
        Size(bytes as u64),
        mib(needs.store),
        mib(needs.shares_bytes()),
        needs.objects_count,
        mib(needs.objects),
        mib(needs.longest_line),
        mib(needs.inflating.max(needs.rows)),
    );
    found.problem(&["limits", "memory_bytes"], message);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::load;

    const MIB: usize = 1 << 20;

    fn config(limits: &str, sinks: usize) -> Config {
        let names: Vec<String> = (0..sinks).map(|number| format!("sink{number}")).collect();
        let tables = names.iter().map(|name| format!("[sink.{name}]\ntype = \"file\"\npath = \"/{name}\"\n"));
        let text = format!(
            "state_dir = \"/s\"\n[limits]\n{limits}\n[feed.a]\nfamily = \"databricks\"\nbucket = \"logs\"\nregion = \"eu-west-1\"\nsinks = {names:?}\n{}",
            tables.collect::<String>()
        );
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.toml");
        std::fs::write(&path, text).unwrap();
        load(&[path], []).unwrap().config
    }

    fn sum(config: &Config) -> usize {
        let Memory { sinks, readings } = config.memory();
        let objects = config.limits.objects_at_once.max(config.feed.len()) * OBJECT_BYTES;
        CACHE_BYTES + sinks.values().map(Share::bytes).sum::<usize>() + objects + readings
    }

    #[test]
    fn the_parts_are_the_whole_budget() {
        for (limits, sinks, whole) in
            [("", 1, 192 * MIB), ("", 3, 192 * MIB), ("memory_bytes = 1073741824", 2, 1024 * MIB)]
        {
            assert_eq!(sum(&config(limits, sinks)), whole, "{limits} {sinks}");
        }
    }

    #[test]
    fn two_full_batches_of_a_sink_have_room() {
        let share = |limits, sinks| config(limits, sinks).memory().sinks["sink0"];
        let of = |lane_bytes, batch_bytes| Share { lanes: 1, lane_bytes, batch_bytes };
        assert_eq!(share("", 1), of(2 * (8 * MIB + BUFFER_BYTES), 8 * MIB));
        assert_eq!(share("batch_bytes = 1000", 1), of(2 * (1000 + BUFFER_BYTES), 1000));
        // Many sinks share half of the budget, and then have smaller batches.
        let one_of_many = share("", 12);
        assert_eq!(one_of_many.bytes(), 8 * MIB);
        assert_eq!(one_of_many.batch_bytes, 4 * MIB - BUFFER_BYTES);
        assert_eq!(share("", 100).bytes(), SHARE_BYTES_MIN);
    }

    #[test]
    fn without_a_budget_there_is_as_much_as_is_needed() {
        let many = config("objects_at_once = 200", 1);
        assert!(sum(&many) > 800 * MIB);
        assert!(many.memory().readings >= Needs::of(&many).longest_line);
    }
}

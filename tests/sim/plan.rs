//! What a seed decides before the run: the collector's configuration, and what happens in the world and when.

use std::fmt::Write as _;

use crate::chance::Chance;
use crate::happening::{Change, Happening};
use crate::sink::{Class, SinkSetting};
use crate::world::content::{Form, LINE_BYTES_MAX};
use crate::world::place;

/// The feeds, by bucket. All of them share a queue, except for the shelf, which is scanned.
pub const BUCKET: &str = "logs";
pub const BESIDE: &str = "beside";
pub const LAKE: &str = "lake";
pub const SHELF: &str = "shelf";

/// The kind of an object: its bucket, and the form of its records there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Lines,
    Gzip,
    /// Lines in another bucket.
    Beside,
    /// Rows of a Parquet file, which is written once.
    Rows,
    /// Lines in the place that is scanned.
    Shelf,
}

impl Kind {
    pub fn bucket(self) -> &'static str {
        match self {
            Self::Lines | Self::Gzip => BUCKET,
            Self::Beside => BESIDE,
            Self::Rows => LAKE,
            Self::Shelf => SHELF,
        }
    }

    pub fn form(self) -> Form {
        match self {
            Self::Lines | Self::Beside | Self::Shelf => Form::Lines,
            Self::Gzip => Form::Gzip,
            Self::Rows => Form::Rows,
        }
    }
}

/// How a run is set up.
#[derive(Clone, Debug)]
pub struct Setting {
    pub sinks: Vec<SinkSetting>,
    pub objects: Vec<Kind>,
    pub limits: String,
    pub objects_at_once: usize,
    pub queue: String,
    pub held_max: usize,
    /// The queue's visibility timeout. No message is given back for exactly this time, so that an extension can be told
    /// from a return.
    pub visibility_secs: u64,
    /// Whether the length of lines is limited until the world is healed.
    pub limits_lines: bool,
    /// Whether the store is backed up, and a backup put back.
    pub copies: bool,
    /// The only buckets with faults, in plans without other faults. Other feeds must not wait for them.
    pub at_fault: Vec<&'static str>,
    pub rates: Rates,
}

/// How often things go wrong, as parts of 1000.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    /// A call fails, is late, or yields to other tasks.
    pub fail: usize,
    pub late: usize,
    pub yields: usize,
    /// A body is cut off, never ends, or comes slowly.
    pub body: usize,
    /// A notification is lost, duplicated, or late.
    pub lost: usize,
    pub doubled: usize,
    pub delayed: usize,
    /// A message comes again before its visibility timeout, or after it was deleted.
    pub lapses: usize,
    pub deleted_comes_again: usize,
}

/// The happenings of a run, with their times in milliseconds since the beginning.
pub struct Plan {
    pub setting: Setting,
    pub happenings: Vec<(u64, Happening)>,
    /// When the world is healed, in milliseconds.
    pub ends_ms: u64,
}

const RATES: [usize; 4] = [0, 5, 30, 100];

/// How long faults last, in milliseconds. One seed in `DAYS_EACH` has outages of days. One in `UNFAIR_EACH` has faults
/// in some feeds only.
const ENDS_MS: [u64; 4] = [20_000, 120_000, 600_000, 2_400_000];
const DAYS_MS: [u64; 3] = [86_400_000, 2 * 86_400_000, 3 * 86_400_000];
const DAYS_EACH: usize = 200;
const UNFAIR_EACH: usize = 12;

impl Plan {
    pub fn of(seed: u64) -> Self {
        let mut chance = Chance::from_seed(seed ^ 0x504c_414e);
        if chance.below(UNFAIR_EACH) == 0 {
            return Self::of_one_feed_at_fault(&mut chance);
        }
        let setting = Setting::draw(&mut chance);
        let count = 5 + chance.below(50);
        let ends_ms =
            if chance.below(DAYS_EACH) == 0 { pick(&mut chance, &DAYS_MS) } else { pick(&mut chance, &ENDS_MS) };
        let mut happenings = Vec::with_capacity(count);
        for object in 0..setting.objects.len() {
            let change = Change::Append(1 + chance.below(12) as u64);
            happenings.push((chance.below(3000) as u64, Happening::Write { object, change }));
        }
        for _ in 0..count {
            let at_ms = chance.below(ends_ms as usize) as u64;
            happenings.push((at_ms, Happening::draw(&mut chance, &setting, ends_ms)));
        }
        if setting.copies {
            let copied_ms = chance.below(ends_ms as usize) as u64;
            let put_back_ms = copied_ms + chance.below((ends_ms - copied_ms) as usize) as u64;
            happenings.extend([(copied_ms, Happening::Backup), (put_back_ms, Happening::PutBack)]);
        }
        let mut setting = setting;
        // Drawn from a generator of its own, so that the happenings above do not depend on it.
        let mut chance = Chance::from_seed(seed ^ 0x5049_434b);
        for sink in 0..setting.sinks.len() {
            let mut own = SinkSetting::draw(&mut chance, setting.sinks[sink].class);
            setting.sinks[sink] = own;
            let at_ms = |chance: &mut Chance| chance.below(ends_ms as usize) as u64;
            if own.class == Class::Acknowledging {
                let restarts = (0..chance.below(4)).map(|_| (at_ms(&mut chance), Happening::Restart { sink }));
                happenings.extend(restarts);
            }
            if chance.below(3) == 0 {
                for _ in 0..1 + chance.below(2) {
                    own = own.changed(&mut chance);
                    happenings.push((at_ms(&mut chance), Happening::Reconfigure { sink, to: own }));
                }
            }
        }
        happenings.sort_by_key(|(at_ms, _)| *at_ms);
        Self { setting, happenings, ends_ms }
    }

    /// A plan with faults in the buckets of some feeds only. The other feeds must be delivered as if there were none.
    fn of_one_feed_at_fault(chance: &mut Chance) -> Self {
        let objects = [Kind::Lines, Kind::Lines, Kind::Gzip, Kind::Rows, Kind::Rows, Kind::Beside, Kind::Beside];
        let mut setting = Setting::quiet(1 + chance.below(3), 0, "");
        setting.objects = objects.into();
        setting.objects_at_once = pick(chance, &[1, 4, 8]);
        setting.held_max = pick(chance, &[90, 1000]);
        setting.at_fault = match chance.below(4) {
            0 => vec![BESIDE],
            1 => vec![LAKE],
            2 => vec![BUCKET],
            _ => vec![BESIDE, LAKE],
        };
        let ends_ms = pick(chance, &[60_000, 600_000, 3_600_000]);
        let mut happenings = Vec::new();
        for &bucket in &setting.at_fault {
            let (at_ms, mode) = (chance.below(5000) as u64, place::Mode::draw(chance));
            happenings.push((at_ms, Happening::Place { bucket, mode, for_ms: ends_ms }));
        }
        for _ in 0..20 + chance.below(60) {
            let object = chance.below(setting.objects.len());
            let change = Change::Append(1 + chance.below(12) as u64);
            happenings.push((chance.below(ends_ms as usize) as u64, Happening::Write { object, change }));
        }
        happenings.sort_by_key(|(at_ms, _)| *at_ms);
        Self { setting, happenings, ends_ms }
    }
}

pub fn pick<T: Clone>(chance: &mut Chance, from: &[T]) -> T {
    from[chance.below(from.len())].clone()
}

impl Setting {
    /// A setting without random faults.
    pub fn quiet(sinks: usize, objects: usize, limits: &str) -> Self {
        Self {
            sinks: vec![Class::Exact.into(); sinks],
            objects: vec![Kind::Lines; objects],
            limits: limits.to_owned(),
            objects_at_once: 8,
            queue: "visibility_secs = 121\n".to_owned(),
            held_max: 1000,
            visibility_secs: 121,
            limits_lines: false,
            copies: false,
            at_fault: Vec::new(),
            rates: Rates::default(),
        }
    }

    fn draw(chance: &mut Chance) -> Self {
        let kinds = [
            Kind::Lines,
            Kind::Lines,
            Kind::Lines,
            Kind::Lines,
            Kind::Gzip,
            Kind::Gzip,
            Kind::Rows,
            Kind::Beside,
            Kind::Shelf,
            Kind::Shelf,
        ];
        let sinks =
            (0..pick(chance, &[1, 2, 2, 2, 3])).map(|_| pick(chance, &[Class::Exact, Class::AtLeastOnce]).into());
        let sinks = sinks.collect();
        let objects = (0..1 + chance.below(5)).map(|_| pick(chance, &kinds)).collect();
        let mut limits = String::new();
        for (key, values) in [
            ("sink_patience", &["\"1s\"", "\"5s\""][..]),
            ("owe_after", &["\"30s\"", "\"2m\"", "\"10m\"", "\"10m\"", "\"never\""]),
            ("batch_bytes", &["1", "1024", "16384", "1048576"]),
            ("batch_events", &["1", "3", "10", "10000"]),
            ("batch_age", &["\"10ms\"", "\"200ms\"", "\"1s\""]),
            ("memory_bytes", &["190840832", "201326592"]),
            ("fingerprints_in_memory", &["1", "7", "1000000"]),
            ("quarantine_entries_per_object", &["1", "1000", "1000"]),
            ("quarantine_bytes_max", &["0", "1073741824"]),
            ("stall_after", &["\"2m\"", "\"10m\""]),
        ] {
            let _ = writeln!(limits, "{key} = {}", pick(chance, values));
        }
        let visibility_secs = pick(chance, &[11, 31, 121]);
        let queue = format!("visibility_secs = {visibility_secs}\nreceivers = {}\n", 1 + chance.below(3));
        Self {
            sinks,
            objects,
            limits,
            objects_at_once: pick(chance, &[1, 2, 4, 8]),
            queue,
            held_max: pick(chance, &[10, 20, 1000]),
            visibility_secs,
            limits_lines: chance.below(2) == 0,
            copies: chance.below(5) == 0,
            at_fault: Vec::new(),
            rates: Rates::draw(chance),
        }
    }

    /// The bucket and the key of an object.
    pub fn place_of(&self, object: usize) -> (&'static str, String) {
        let kind = self.objects[object];
        let key = match kind.form() {
            Form::Lines => format!("workspaceId={object}/date=2026-01-01/auditlogs_{object}.json"),
            Form::Gzip => format!("date=2026-01-01/part-{object}.json.gz"),
            Form::Rows => format!("etl/v1/data/region=r/organization=org-o/year=26/{object}-snappy.parquet"),
        };
        (kind.bucket(), key)
    }

    /// The buckets that feeds read.
    pub fn buckets(&self) -> Vec<&'static str> {
        let is_read = |bucket: &&str| *bucket == BUCKET || self.objects.iter().any(|kind| kind.bucket() == *bucket);
        [BUCKET, BESIDE, LAKE, SHELF].into_iter().filter(is_read).collect()
    }

    /// The collector's configuration. Once the world is mended, the length of lines is not limited.
    pub fn config(&self, state: &str, is_mended: bool) -> String {
        let names: Vec<String> = (0..self.sinks.len()).map(|sink| format!("\"{}\"", sink_name(sink))).collect();
        let names = names.join(", ");
        let at_once = self.objects_at_once;
        let mut text = format!("state_dir = \"{state}\"\n[limits]\n{}objects_at_once = {at_once}\n", self.limits);
        if self.limits_lines && !is_mended {
            let _ = writeln!(text, "line_bytes_max = {LINE_BYTES_MAX}");
        }
        for bucket in self.buckets() {
            let family = if bucket == LAKE { "lakefs" } else { "databricks" };
            let told = if bucket == SHELF { "scan_every = \"1m\"" } else { "queue = \"events\"" };
            let _ = writeln!(
                text,
                "[feed.{bucket}]\nfamily = \"{family}\"\nbucket = \"{bucket}\"\nregion = \"eu-central-1\"\nsinks = [{names}]\n{told}"
            );
        }
        let (url, held_max) = ("https://sqs.eu-central-1.amazonaws.com/123456789012/events", self.held_max);
        let _ = writeln!(text, "[queue.events]\nurl = \"{url}\"\nheld_max = {held_max}\n{}", self.queue);
        for (sink, setting) in self.sinks.iter().enumerate() {
            setting.write(&mut text, &sink_name(sink));
        }
        text
    }
}

/// The name of the sink with this index.
pub fn sink_name(sink: usize) -> String {
    format!("s{sink}")
}

impl Rates {
    fn draw(chance: &mut Chance) -> Self {
        Self {
            fail: pick(chance, &RATES),
            late: pick(chance, &RATES),
            yields: pick(chance, &[0, 50, 300]),
            body: pick(chance, &[0, 0, 50, 200]),
            lost: pick(chance, &[0, 0, 100]),
            doubled: pick(chance, &[0, 100]),
            delayed: pick(chance, &[0, 100, 300]),
            lapses: pick(chance, &[0, 0, 50]),
            deleted_comes_again: pick(chance, &[0, 0, 50]),
        }
    }
}

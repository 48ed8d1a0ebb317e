//! What a seed decides before anything runs: how the collector is configured, and what happens in the world and when.

use std::fmt;
use std::fmt::Write as _;

use crate::chance::Chance;
use crate::world::receiver::{Class, Mode};

/// The feed whose objects are told of by a queue, and the one that is scanned.
pub const BUCKET: &str = "logs";
pub const SHELF: &str = "shelf";

/// How a run is set up.
#[derive(Clone, Debug)]
pub struct Setting {
    pub sinks: Vec<Class>,
    pub objects: usize,
    /// Of those, the last so many are in the place that is scanned.
    pub on_shelf: usize,
    pub limits: String,
    pub queue: String,
    pub visibility_secs: u64,
    pub rates: Rates,
}

/// How often things go wrong, each of 1000.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    /// A call fails, is late, or lets others go first.
    pub fail: usize,
    pub late: usize,
    pub yields: usize,
    /// A body is cut, never ends in time, or comes slowly.
    pub body: usize,
    /// A notification is lost, doubled, or late.
    pub lost: usize,
    pub doubled: usize,
    pub delayed: usize,
    /// A message comes again before its time, or after it was deleted.
    pub lapses: usize,
    pub deleted_comes_again: usize,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Happening {
    Write {
        object: usize,
        change: Change,
    },
    Sink {
        sink: usize,
        mode: Mode,
        for_ms: u64,
    },
    StoreFull {
        for_ms: u64,
    },
    ClockJump {
        by_ms: i64,
    },
    Forge {
        object: usize,
        forgery: Forgery,
    },
    /// The notification of an earlier version comes once more.
    Repeat {
        object: usize,
        version: usize,
    },
    /// The process ends at the gate that is so many away.
    Kill {
        gates: u64,
    },
    /// The process is asked to stop.
    Stop,
    /// What was wrong with single events is mended, and somebody asks for all of the quarantine to be tried again.
    Requeue,
}

/// What a writer does to an object.
#[derive(Clone, Debug)]
pub enum Change {
    Append(u64),
    Insert(u64, usize),
    Reorder(u64),
    Double(usize),
    /// Only so many lines are left.
    Shrink(usize),
    /// One line in so many is gone.
    Thin(usize),
    /// All that was ever there is there again.
    Regrow,
    Delete,
    /// Deleted, and written again with other lines.
    Anew(u64),
    CopyInPlace,
}

/// What a message claims that no place sent.
#[derive(Clone, Copy, Debug)]
pub enum Forgery {
    /// Of an object of a feed: any entity tag, and the highest sequencer.
    Object,
    /// Of an object that is not there.
    Nothing,
    /// Of a bucket that no feed reads.
    Elsewhere,
    /// No notification at all.
    Garbage,
}

/// What happens, and when, in milliseconds since the beginning.
pub struct Plan {
    pub setting: Setting,
    pub happenings: Vec<(u64, Happening)>,
    /// When the world is healed.
    pub ends_ms: u64,
}

const RATES: [usize; 4] = [0, 5, 30, 100];

impl Plan {
    pub fn of(seed: u64) -> Self {
        let mut chance = Chance::from_seed(seed ^ 0x504c_414e);
        let setting = Setting::draw(&mut chance);
        let count = 5 + chance.below(50);
        let ends_ms = pick(&mut chance, &[20_000, 120_000, 600_000, 2_400_000]);
        let mut happenings = Vec::with_capacity(count);
        for object in 0..setting.objects {
            let change = Change::Append(1 + chance.below(12) as u64);
            happenings.push((chance.below(3000) as u64, Happening::Write { object, change }));
        }
        for _ in 0..count {
            let at_ms = chance.below(ends_ms as usize) as u64;
            happenings.push((at_ms, Happening::draw(&mut chance, &setting, ends_ms)));
        }
        happenings.sort_by_key(|(at_ms, _)| *at_ms);
        let mut setting = setting;
        let mut chance = Chance::from_seed(seed ^ 0x5049_434b);
        for class in setting.sinks.iter_mut().filter(|class| **class == Class::AtLeastOnce) {
            *class = pick(&mut chance, &[Class::AtLeastOnce, Class::Picky]);
        }
        Self { setting, happenings, ends_ms }
    }
}

fn pick<T: Copy>(chance: &mut Chance, from: &[T]) -> T {
    from[chance.below(from.len())]
}

impl Setting {
    /// Where nothing goes wrong by itself.
    pub fn quiet(sinks: usize, objects: usize, limits: &str) -> Self {
        Self {
            sinks: vec![Class::Exact; sinks],
            objects,
            on_shelf: 0,
            limits: limits.to_owned(),
            queue: String::new(),
            visibility_secs: 120,
            rates: Rates::default(),
        }
    }

    fn draw(chance: &mut Chance) -> Self {
        let sinks = (0..pick(chance, &[1, 2, 2, 2, 3])).map(|_| pick(chance, &[Class::Exact, Class::AtLeastOnce]));
        let sinks = sinks.collect();
        let objects = 1 + chance.below(5);
        let on_shelf = if chance.below(4) == 0 { 1 + chance.below(objects) } else { 0 };
        let mut limits = String::new();
        for (key, values) in [
            ("sink_patience", &["\"1s\"", "\"5s\""][..]),
            ("owe_after", &["\"30s\"", "\"2m\"", "\"10m\"", "\"10m\"", "\"never\""]),
            ("objects_at_once", &["1", "2", "4", "8"]),
            ("batch_bytes", &["1", "1024", "16384", "1048576"]),
            ("batch_events", &["1", "3", "10", "10000"]),
            ("batch_age", &["\"10ms\"", "\"200ms\"", "\"1s\""]),
            ("in_flight_bytes", &["1048576", "33554432"]),
            ("fingerprints_in_memory", &["1", "7", "1000000"]),
            ("stall_after", &["\"2m\"", "\"10m\""]),
        ] {
            let _ = writeln!(limits, "{key} = {}", pick(chance, values));
        }
        let visibility_secs = pick(chance, &[10, 30, 120]);
        let (receivers, held_max) = (1 + chance.below(3), pick(chance, &[10, 20, 1000]));
        let queue = format!("visibility_secs = {visibility_secs}\nreceivers = {receivers}\nheld_max = {held_max}\n");
        Self { sinks, objects, on_shelf, limits, queue, visibility_secs, rates: Rates::draw(chance) }
    }

    /// The bucket and the key of an object.
    pub fn place_of(&self, object: usize) -> (&'static str, String) {
        let bucket = if object + self.on_shelf >= self.objects { SHELF } else { BUCKET };
        (bucket, format!("workspaceId={object}/date=2026-01-01/auditlogs_{object}.json"))
    }

    /// The configuration that the collector is given.
    pub fn config(&self, state: &str) -> String {
        let names: Vec<String> = (0..self.sinks.len()).map(|sink| format!("\"{}\"", sink_name(sink))).collect();
        let names = names.join(", ");
        let mut text = format!("state_dir = \"{state}\"\n[limits]\n{}", self.limits);
        let feed = |bucket: &str, told: &str| {
            format!(
                "[feed.{bucket}]\nfamily = \"databricks\"\nbucket = \"{bucket}\"\nregion = \"eu-central-1\"\nsinks = [{names}]\n{told}\n"
            )
        };
        text.push_str(&feed(BUCKET, "queue = \"events\""));
        if self.on_shelf > 0 {
            text.push_str(&feed(SHELF, "scan_every = \"1m\""));
        }
        let url = "https://sqs.eu-central-1.amazonaws.com/123456789012/events";
        let _ = writeln!(text, "[queue.events]\nurl = \"{url}\"\n{}", self.queue);
        for sink in 0..self.sinks.len() {
            let name = sink_name(sink);
            let _ = writeln!(
                text,
                "[sink.{name}]\ntype = \"file\"\npath = \"/nowhere/{name}\"\nencoding = \"raw\"\nenvelope = true"
            );
        }
        text
    }
}

/// What the sink at this position is called.
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

impl Happening {
    fn draw(chance: &mut Chance, setting: &Setting, ends_ms: u64) -> Self {
        let object = chance.below(setting.objects);
        // Outages last from a moment to longer than the chaos.
        let for_ms = |chance: &mut Chance| {
            let most_ms = pick(chance, &[2_000, 30_000, 900_000]);
            1 + chance.below(most_ms) as u64
        };
        match chance.below(100) {
            0..60 => Self::Write { object, change: Change::draw(chance) },
            60..78 => {
                let (sink, mode) = (chance.below(setting.sinks.len()), Mode::draw(chance));
                Self::Sink { sink, mode, for_ms: for_ms(chance) }
            }
            78..81 => Self::StoreFull { for_ms: for_ms(chance).min(60_000) },
            81..84 => Self::ClockJump { by_ms: pick(chance, &[-7_200_000, -1_000, 1_000, 3_600_000, 86_400_000]) },
            84..89 => {
                let forgery =
                    [Forgery::Object, Forgery::Object, Forgery::Nothing, Forgery::Elsewhere, Forgery::Garbage];
                Self::Forge { object, forgery: pick(chance, &forgery) }
            }
            89..97 => {
                let most = pick(chance, &[5, 50, 500]);
                Self::Kill { gates: chance.below(most) as u64 }
            }
            97.. if ends_ms > 60_000 => Self::Stop,
            _ => Self::Write { object, change: Change::draw(chance) },
        }
    }
}

impl Change {
    fn draw(chance: &mut Chance) -> Self {
        let few = |chance: &mut Chance| 1 + chance.below(12) as u64;
        match chance.below(20) {
            0..6 => Self::Append(few(chance)),
            6..8 => Self::Insert(few(chance), chance.below(30)),
            8..10 => Self::Reorder(chance.number()),
            10..12 => Self::Double(chance.below(30)),
            12 => Self::Shrink(chance.below(20)),
            13 => Self::Thin(2 + chance.below(4)),
            14 => Self::Regrow,
            15 => Self::Delete,
            16 => Self::Anew(few(chance)),
            17..19 => Self::CopyInPlace,
            _ => Self::Append(40 + chance.below(60) as u64),
        }
    }
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { object, change } => write!(f, "writer: {change:?} of object {object}"),
            other => write!(f, "{other:?}"),
        }
    }
}

//! What can happen in a run, and what a seed draws of it.

use std::fmt;

use crate::chance::Chance;
use crate::plan::{Setting, pick};
use crate::sink::SinkSetting;
use crate::world::content::Damage;
use crate::world::{place, receiver};

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Happening {
    Write {
        object: usize,
        change: Change,
    },
    /// The class of storage that the object is in can be read only after a restore.
    Archive {
        object: usize,
    },
    /// The object is restored.
    Thaw {
        object: usize,
    },
    Sink {
        sink: usize,
        mode: receiver::Mode,
        for_ms: u64,
    },
    /// A receiver restarts, and forgets what it would have said.
    Restart {
        sink: usize,
    },
    /// The sink is configured otherwise for the processes that begin from now on, and the one that runs ends.
    Reconfigure {
        sink: usize,
        to: SinkSetting,
    },
    /// A bucket is not served as it should be.
    Place {
        bucket: &'static str,
        mode: place::Mode,
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
    /// All that is in quarantine is to be tried again.
    Requeue,
    /// What was wrong with the events that receivers refused is mended.
    Mend,
    /// The store is copied.
    Backup,
    /// The process ends, and the last copy is put back.
    PutBack,
    /// The process ends at the gate that is so many away.
    Kill {
        gates: u64,
    },
    /// The process is asked to stop.
    Stop,
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
    /// The same content once more; where it was damaged, sound.
    CopyInPlace,
    /// One more line, of a record that is too long where lines are limited.
    Long,
    /// One more line, which is no record.
    Garbled,
    /// With other lines, and damaged, where the form can be.
    Damaged(Damage),
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

const FORGERIES: [Forgery; 5] =
    [Forgery::Object, Forgery::Object, Forgery::Nothing, Forgery::Elsewhere, Forgery::Garbage];

/// How far the wall clock jumps: less in all than the days after which objects are forgotten.
const JUMPS_MS: [i64; 6] = [-7_200_000, -1_000, 1_000, 3_600_000, 86_400_000, -5 * 86_400_000];

impl Happening {
    pub fn draw(chance: &mut Chance, setting: &Setting, ends_ms: u64) -> Self {
        let object = chance.below(setting.objects.len());
        // Outages last from a moment to longer than the chaos.
        let for_ms = |chance: &mut Chance| {
            let most_ms = pick(chance, &[2_000, 30_000, 900_000, ends_ms.max(900_000)]);
            1 + chance.below(most_ms as usize) as u64
        };
        match chance.below(120) {
            0..58 => Self::Write { object, change: Change::draw(chance) },
            58..74 => {
                let (sink, mode) = (chance.below(setting.sinks.len()), receiver::Mode::draw(chance));
                Self::Sink { sink, mode, for_ms: for_ms(chance) }
            }
            74..80 => {
                let bucket = setting.objects[object].bucket();
                Self::Place { bucket, mode: place::Mode::draw(chance), for_ms: for_ms(chance) }
            }
            80..83 => Self::StoreFull { for_ms: for_ms(chance).min(60_000) },
            83..86 => Self::ClockJump { by_ms: pick(chance, &JUMPS_MS) },
            86..91 => Self::Forge { object, forgery: pick(chance, &FORGERIES) },
            91..95 => Self::Archive { object },
            95..98 => Self::Thaw { object },
            98..102 => Self::Requeue,
            102..107 if setting.copies => pick(chance, &[Self::Backup, Self::PutBack]),
            107..117 => {
                let most = pick(chance, &[5, 50, 500]);
                Self::Kill { gates: chance.below(most) as u64 }
            }
            117.. if ends_ms > 60_000 => Self::Stop,
            _ => Self::Write { object, change: Change::draw(chance) },
        }
    }
}

impl Change {
    pub fn draw(chance: &mut Chance) -> Self {
        let few = |chance: &mut Chance| 1 + chance.below(12) as u64;
        match chance.below(24) {
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
            19 => Self::Long,
            20 => Self::Garbled,
            21..23 => Self::Damaged(pick(chance, &[Damage::Noise, Damage::Cut, Damage::Flipped])),
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

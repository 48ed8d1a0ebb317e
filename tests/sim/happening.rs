//! The things that can happen in a run, and how a seed draws them.

use std::fmt;

use crate::chance::Chance;
use crate::plan::{Setting, pick};
use crate::sink::SinkSetting;
use crate::world::content::Damage;
use crate::world::{place, receiver};

/// One happening in the world.
#[derive(Clone, Debug)]
pub enum Happening {
    Write {
        object: usize,
        change: Change,
    },
    /// The object moves to a storage class that must be restored before a read.
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
    /// A receiver restarts, and forgets acknowledgements that it has not given yet.
    Restart {
        sink: usize,
    },
    /// The sink's configuration changes for later processes, and the running process ends.
    Reconfigure {
        sink: usize,
        to: SinkSetting,
    },
    /// A bucket is served badly for a while.
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
    /// The notification of an earlier version is sent again.
    Repeat {
        object: usize,
        version: usize,
    },
    /// All entries of the quarantine are requeued.
    Requeue,
    /// Receivers accept from now on the events that they refused.
    Mend,
    /// A backup of the store is made.
    Backup,
    /// The process ends, and the last backup of the store is restored.
    PutBack,
    /// The process ends after this many more gates.
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
    /// Only this many lines are left.
    Shrink(usize),
    /// Every line whose number is a multiple of this is removed.
    Thin(usize),
    /// All lines that the object ever had are in it again.
    Regrow,
    Delete,
    /// The object is replaced by one with new lines.
    Anew(u64),
    /// The same content is written again. If it was damaged, it is sound now.
    CopyInPlace,
    /// One more line, whose record is too long if lines are limited.
    Long,
    /// One more line, which does not decode.
    Garbled,
    /// Written with other lines, and damaged unless the form is plain lines.
    Damaged(Damage),
}

/// The content of a message that no place sent.
#[derive(Clone, Copy, Debug)]
pub enum Forgery {
    /// Names an object of a feed, with a random entity tag and the highest sequencer.
    Object,
    /// Names an object that does not exist.
    Nothing,
    /// Names a bucket that no feed reads.
    Elsewhere,
    /// Is no notification.
    Garbage,
}

const FORGERIES: [Forgery; 5] =
    [Forgery::Object, Forgery::Object, Forgery::Nothing, Forgery::Elsewhere, Forgery::Garbage];

/// By how much the wall clock jumps. All jumps together are less than the days after which objects are forgotten.
const JUMPS_MS: [i64; 6] = [-7_200_000, -1_000, 1_000, 3_600_000, 86_400_000, -5 * 86_400_000];

impl Happening {
    pub fn draw(chance: &mut Chance, setting: &Setting, ends_ms: u64) -> Self {
        let object = chance.below(setting.objects.len());
        // An outage may last a moment, or longer than the faults of the run.
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

//! Whatever happens to objects and to the process, what is delivered is what the model says: of each line of an object, the
//! most that a version held.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestRunner};

use super::support::chance::Chance;
use super::support::records::{Multiset, counted, missing, object, record};
use super::support::waiting::moment;
use super::support::world::World;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Happening {
    Append {
        object: usize,
        lines: usize,
    },
    Insert {
        object: usize,
        lines: usize,
        at: usize,
    },
    Reorder {
        object: usize,
        seed: u64,
    },
    Duplicate {
        object: usize,
        line: usize,
    },
    Shrink {
        object: usize,
        kept: usize,
    },
    /// All that was ever there is there again.
    Regrow {
        object: usize,
    },
    /// Told of again, unchanged.
    Touch {
        object: usize,
    },
    /// The process does all there is to do.
    Run,
    /// The process dies so many milliseconds after it was begun.
    Crash {
        after_ms: u64,
    },
}

const OBJECTS: usize = 3;

/// What a process may say that follows a crash, when objects were rewritten meanwhile.
const AFTER_A_CRASH: [&str; 3] = ["object was rewritten", "cannot be made again", "an object has moved on"];

fn happening() -> impl Strategy<Value = Happening> {
    let object = || 0..OBJECTS;
    prop_oneof![
        3 => (object(), 1..20_usize).prop_map(|(object, lines)| Happening::Append { object, lines }),
        2 => (object(), 1..5_usize, 0..50_usize).prop_map(|(object, lines, at)| Happening::Insert { object, lines, at }),
        1 => (object(), any::<u64>()).prop_map(|(object, seed)| Happening::Reorder { object, seed }),
        2 => (object(), 0..50_usize).prop_map(|(object, line)| Happening::Duplicate { object, line }),
        2 => (object(), 0..50_usize).prop_map(|(object, kept)| Happening::Shrink { object, kept }),
        1 => object().prop_map(|object| Happening::Regrow { object }),
        1 => object().prop_map(|object| Happening::Touch { object }),
        3 => Just(Happening::Run),
        3 => (0..400_u64).prop_map(|after_ms| Happening::Crash { after_ms }),
    ]
}

/// What is there, and what must and may have been delivered of it.
#[derive(Debug, Default)]
struct Model {
    content: [Vec<String>; OBJECTS],
    /// Every version that was ever there, together: the most of each line.
    ever: [Multiset; OBJECTS],
    /// The same of the versions that were there while a process did all there was to do.
    read: [Multiset; OBJECTS],
    written: u64,
}

impl Model {
    fn fresh(&mut self, lines: usize) -> Vec<String> {
        let first = self.written;
        self.written += lines as u64;
        (first..self.written).map(record).collect()
    }

    /// Changes one object as told; says which.
    fn change(&mut self, happening: &Happening) -> Option<usize> {
        let changed = match *happening {
            Happening::Append { object, lines } => {
                let fresh = self.fresh(lines);
                self.content[object].extend(fresh);
                object
            }
            Happening::Insert { object, lines, at } => {
                let fresh = self.fresh(lines);
                let at = at.min(self.content[object].len());
                self.content[object].splice(at..at, fresh);
                object
            }
            Happening::Reorder { object, seed } => {
                Chance::from_seed(seed).shuffle(&mut self.content[object]);
                object
            }
            Happening::Duplicate { object, line } => {
                let content = &mut self.content[object];
                if let Some(repeated) = content.get(line % content.len().max(1)).cloned() {
                    content.push(repeated);
                }
                object
            }
            Happening::Shrink { object, kept } => {
                self.content[object].truncate(kept);
                object
            }
            Happening::Regrow { object } => {
                let ever = self.ever[object].iter();
                self.content[object] =
                    ever.flat_map(|(line, &count)| std::iter::repeat_n(line.clone(), count as usize)).collect();
                object
            }
            Happening::Touch { object } => object,
            Happening::Run | Happening::Crash { .. } => return None,
        };
        let version = counted(&self.content[changed]);
        raise(&mut self.ever[changed], &version);
        Some(changed)
    }

    fn everything_was_read(&mut self) {
        for (read, content) in self.read.iter_mut().zip(&self.content) {
            raise(read, &counted(content));
        }
    }

    fn must(&self) -> Multiset {
        sum(&self.read)
    }

    fn may(&self) -> Multiset {
        sum(&self.ever)
    }
}

/// The running maximum of each line's count.
fn raise(most: &mut Multiset, version: &Multiset) {
    for (line, &count) in version {
        let known = most.entry(line.clone()).or_default();
        *known = count.max(*known);
    }
}

fn sum(objects: &[Multiset]) -> Multiset {
    let mut all = Multiset::new();
    for (line, count) in objects.iter().flatten() {
        *all.entry(line.clone()).or_default() += count;
    }
    all
}

fn key(object: usize) -> String {
    format!("workspaceId={object}/date=2026-01-01/auditlogs_0-0.json")
}

fn hold(happenings: &[Happening]) -> Result<(), TestCaseError> {
    let world = World::fed_by_directory();
    let mut model = Model::default();
    for happening in happenings.iter().chain([&Happening::Run]) {
        if let Some(changed) = model.change(happening) {
            world.write(&key(changed), &object(&model.content[changed]));
        }
        match happening {
            Happening::Run => {
                world.once_expecting(&AFTER_A_CRASH);
                model.everything_was_read();
                let delivered = counted(&world.delivered("out"));
                let lost = missing(&model.must(), &delivered);
                prop_assert!(lost.is_empty(), "lost: {lost:?}");
            }
            Happening::Crash { after_ms } => {
                let daemon = world.run(&["--once"]).expecting(&AFTER_A_CRASH).spawn();
                moment(Duration::from_millis(*after_ms));
                daemon.kill();
            }
            _ => {}
        }
        let delivered = counted(&world.delivered("out"));
        let repeated = missing(&delivered, &model.may());
        prop_assert!(repeated.is_empty(), "repeated or never written: {repeated:?}");
    }
    Ok(())
}

#[test]
fn what_is_delivered_is_the_most_that_was_ever_there() {
    let seed = Chance::of_this_run("model").number();
    let cases =
        std::env::var("AUDITFERRY_CASES").map_or(24, |cases| cases.parse().expect("AUDITFERRY_CASES is a number"));
    let config = Config {
        cases,
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(seed),
        max_shrink_iters: 60,
        failure_persistence: None,
        ..Config::default()
    };
    let happenings = proptest::collection::vec(happening(), 1..16);
    TestRunner::new(config).run(&happenings, |happenings| hold(&happenings)).unwrap();
}

//! Whatever happens to the objects, the process and one of two sinks, each sink has what the model says: of each line
//! of an object, the largest count that any version had.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestRunner};

use super::support::chance::Chance;
use super::support::outage::{EXPECTED, Outage, SINKS, STOPPED};
use super::support::records::{Multiset, counted, lines_of, missing, object, record};
use super::support::waiting::moment;
use super::support::world::World;

/// One thing that can happen.
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
    /// About every third line vanishes, anywhere in the object.
    Lose {
        object: usize,
        seed: u64,
    },
    /// The object has every line that it ever had.
    Regrow {
        object: usize,
    },
    /// The same content is written again.
    Touch {
        object: usize,
    },
    /// The second sink goes away, or comes back.
    Turn,
    /// A process runs until all its work is done.
    Run,
    /// The process is killed this many milliseconds after its start.
    Crash {
        after_ms: u64,
    },
}

const OBJECTS: usize = 3;

fn happening() -> impl Strategy<Value = Happening> {
    let object = || 0..OBJECTS;
    prop_oneof![
        3 => (object(), 1..20_usize).prop_map(|(object, lines)| Happening::Append { object, lines }),
        2 => (object(), 1..5_usize, 0..50_usize).prop_map(|(object, lines, at)| Happening::Insert { object, lines, at }),
        1 => (object(), any::<u64>()).prop_map(|(object, seed)| Happening::Reorder { object, seed }),
        2 => (object(), 0..50_usize).prop_map(|(object, line)| Happening::Duplicate { object, line }),
        2 => (object(), 0..50_usize).prop_map(|(object, kept)| Happening::Shrink { object, kept }),
        2 => (object(), any::<u64>()).prop_map(|(object, seed)| Happening::Lose { object, seed }),
        2 => object().prop_map(|object| Happening::Regrow { object }),
        1 => object().prop_map(|object| Happening::Touch { object }),
        2 => Just(Happening::Turn),
        3 => Just(Happening::Run),
        3 => (0..400_u64).prop_map(|after_ms| Happening::Crash { after_ms }),
    ]
}

/// The objects' content, and what must and may have been delivered of it.
#[derive(Debug, Default)]
struct Model {
    content: [Vec<String>; OBJECTS],
    /// The largest count of each line over all versions of an object.
    ever: [Multiset; OBJECTS],
    /// Per sink, the largest count of each line over the versions that a process read to the end while the sink was
    /// there.
    read: [[Multiset; OBJECTS]; SINKS.len()],
    written: u64,
}

impl Model {
    fn fresh(&mut self, lines: usize) -> Vec<String> {
        let first = self.written;
        self.written += lines as u64;
        (first..self.written).map(record).collect()
    }

    /// Applies a change to one object; returns the object's number, or `None` if the happening changes no object.
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
            Happening::Lose { object, seed } => {
                let mut chance = Chance::from_seed(seed);
                self.content[object].retain(|_| chance.below(3) > 0);
                object
            }
            Happening::Regrow { object } => {
                let ever = self.ever[object].iter();
                self.content[object] =
                    ever.flat_map(|(line, &count)| std::iter::repeat_n(line.clone(), count as usize)).collect();
                object
            }
            Happening::Touch { object } => object,
            Happening::Turn | Happening::Run | Happening::Crash { .. } => return None,
        };
        let version = counted(&self.content[changed]);
        raise(&mut self.ever[changed], &version);
        Some(changed)
    }

    /// Records that a process did all its work for the first `sinks` sinks.
    fn everything_was_read(&mut self, sinks: usize) {
        for reads in &mut self.read[..sinks] {
            for (read, content) in reads.iter_mut().zip(&self.content) {
                raise(read, &counted(content));
            }
        }
    }

    fn must(&self, sink: usize) -> Multiset {
        sum(&self.read[sink])
    }

    fn may(&self) -> Multiset {
        sum(&self.ever)
    }
}

/// Raises each line's count in `most` to that in `version`.
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

/// A directory feed, two sinks, and the second sink's outage while it lasts.
struct Scene {
    world: World,
    outage: Option<Outage>,
}

impl Scene {
    fn new() -> Self {
        let world = World::new().patient_for("200ms").with_directory_feed(&SINKS);
        Self { world: SINKS.iter().fold(world, |world, sink| world.with_file(sink)), outage: None }
    }

    /// The lines of a sink's file, which is moved aside during an outage.
    fn had(&self, sink: usize) -> Multiset {
        let path = self.world.output(SINKS[sink]);
        let aside = path.with_extension("aside");
        counted(&lines_of(if path.is_dir() { &aside } else { &path }))
    }

    fn turn(&mut self) {
        match self.outage.take() {
            Some(outage) => outage.end(),
            None => self.outage = Some(Outage::of(&self.world.output(SINKS[1]))),
        }
    }

    /// Runs a process until its work is done; returns for how many of the sinks it did it.
    fn run(&self) -> usize {
        let daemon = self.world.run(&["--once"]).expecting(&[&EXPECTED[..], &[STOPPED]].concat()).spawn();
        let log = daemon.log.clone();
        let code = daemon.end().code();
        let ends = if self.outage.is_some() { [Some(0), Some(75)] } else { [Some(0); 2] };
        assert!(ends.contains(&code), "{code:?}:\n{}", log.end());
        if self.outage.is_some() { 1 } else { SINKS.len() }
    }

    fn crash(&self, after_ms: u64) {
        let daemon = self.world.run(&["--once"]).expecting(&[&EXPECTED[..], &[STOPPED]].concat()).spawn();
        moment(Duration::from_millis(after_ms));
        daemon.kill();
    }
}

fn hold(happenings: &[Happening]) -> Result<(), TestCaseError> {
    let mut scene = Scene::new();
    let mut model = Model::default();
    for happening in happenings.iter().map(Some).chain([None]) {
        match happening {
            Some(Happening::Turn) => scene.turn(),
            Some(Happening::Crash { after_ms }) => scene.crash(*after_ms),
            // The last run has every sink.
            None | Some(Happening::Run) => {
                if happening.is_none() && scene.outage.is_some() {
                    scene.turn();
                }
                model.everything_was_read(scene.run());
            }
            Some(change) => {
                let changed = model.change(change).expect("a change of an object");
                scene.world.write(&key(changed), &object(&model.content[changed]));
            }
        }
        for (sink, name) in SINKS.iter().enumerate() {
            let had = scene.had(sink);
            let lost = missing(&model.must(sink), &had);
            prop_assert!(lost.is_empty(), "lost to {name}: {lost:?}");
            let repeated = missing(&had, &model.may());
            prop_assert!(repeated.is_empty(), "repeated or never written, in {name}: {repeated:?}");
        }
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
    let happenings = proptest::collection::vec(happening(), 1..24);
    TestRunner::new(config).run(&happenings, |happenings| hold(&happenings)).unwrap();
}

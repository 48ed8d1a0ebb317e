//! However often the process is killed, each line that was ever written is delivered once to each of two sinks.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::support::aws::Aws;
use super::support::chance::Chance;
use super::support::outage::{EXPECTED, Outage, SINKS};
use super::support::records::{assert_once_each, counted, object, record};
use super::support::waiting::{SOON, moment, within};
use super::support::world::{Place, World};

/// How often the process is killed: `AUDITFERRY_KILLS`, else `default`.
pub fn kills(default: usize) -> usize {
    std::env::var("AUDITFERRY_KILLS").map_or(default, |kills| kills.parse().expect("AUDITFERRY_KILLS is a number"))
}

/// Writes objects that gain lines, not always at their end, and lose some for a while.
struct Writer {
    chance: Chance,
    objects: Vec<Written>,
    written: u64,
}

/// All lines that an object ever had, and those that it lacks now.
#[derive(Clone, Default)]
struct Written {
    lines: Vec<String>,
    lost: BTreeSet<String>,
}

impl Written {
    fn content(&self) -> Vec<u8> {
        let kept: Vec<String> = self.lines.iter().filter(|line| !self.lost.contains(*line)).cloned().collect();
        object(&kept)
    }
}

impl Writer {
    fn new(chance: Chance, objects: usize) -> Self {
        Self { chance, objects: vec![Written::default(); objects], written: 0 }
    }

    /// Makes the next version of an object; returns the object's number and content.
    fn next(&mut self) -> (usize, Vec<u8>) {
        let chosen = self.chance.below(self.objects.len());
        let mut added: Vec<String> = (0..self.chance.below(40)).map(|n| record(self.written + n as u64)).collect();
        self.written += added.len() as u64;
        let Written { lines, lost } = &mut self.objects[chosen];
        match self.chance.below(12) {
            // Most often lines are appended, as the source does.
            0..=4 => lines.append(&mut added),
            5 => {
                lines.append(&mut added);
                self.chance.shuffle(lines);
            }
            6 => {
                let at = self.chance.below(lines.len() + 1);
                lines.splice(at..at, added);
            }
            // A line is repeated.
            7 => {
                lines.append(&mut added);
                if !lines.is_empty() {
                    lines.push(lines[self.chance.below(lines.len())].clone());
                }
            }
            // The object shrinks to its beginning.
            8 => {
                lines.append(&mut added);
                let kept = self.chance.below(lines.len() + 1);
                lost.extend(lines[kept..].iter().cloned());
            }
            // Lines vanish anywhere in the object.
            9 => {
                lines.append(&mut added);
                lost.extend(lines.iter().filter(|_| self.chance.below(3) == 0).cloned());
            }
            // Some of the vanished lines come back, or all.
            10 => lost.retain(|_| self.chance.below(2) == 0),
            _ => lost.clear(),
        }
        (chosen, self.objects[chosen].content())
    }

    /// Every line that was ever written.
    fn lines(&self) -> Vec<String> {
        self.objects.iter().flat_map(|written| written.lines.iter().cloned()).collect()
    }
}

fn key(object: usize) -> String {
    format!("workspaceId={object}/date=2026-01-01/auditlogs_0-0.json")
}

/// Kills the process repeatedly while `write` writes versions of objects and a sink goes away and comes back. Then lets
/// a process run until every sink has everything.
fn survive(world: &World, mut writer: Writer, kills: usize, write: impl Fn(usize, &[u8]) + Sync + Send) -> Vec<String> {
    let mut chance = writer.chance.clone();
    let over = AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let (chosen, content) = writer.next();
                write(chosen, &content);
                moment(Duration::from_millis(writer.chance.below(30) as u64));
            }
            for (chosen, written) in writer.objects.iter_mut().enumerate() {
                written.lost.clear();
                write(chosen, &written.content());
            }
            writer
        });
        let start = world.run(&[]).expecting(&EXPECTED);
        let late = world.output(SINKS[1]);
        let mut outage = None;
        for _ in 0..kills {
            let daemon = if outage.is_some() || chance.below(3) == 0 { start.spawn() } else { start.ready() };
            moment(Duration::from_millis(chance.below(600) as u64));
            if chance.below(2) == 0 && late.exists() {
                outage = match outage {
                    None => Some(Outage::of(&late)),
                    Some(outage) => {
                        Outage::end(outage);
                        None
                    }
                };
                moment(Duration::from_millis(chance.below(600) as u64));
            }
            daemon.kill();
        }
        if let Some(outage) = outage {
            outage.end();
        }
        over.store(true, Ordering::Relaxed);
        writing.join().unwrap()
    });
    let expected = written.lines();
    println!("{kills} kills, {} lines in {} objects", expected.len(), written.objects.len());
    let daemon = world.run(&[]).expecting(&EXPECTED).ready();
    for sink in SINKS {
        within(SOON, || world.delivered(sink).len() >= expected.len());
    }
    assert!(daemon.stop().success());
    assert!(counted(&expected).len() > kills, "the writer wrote too little to prove anything");
    once_each(world, &expected);
    expected
}

fn once_each(world: &World, expected: &[String]) {
    for sink in SINKS {
        println!("{sink}");
        assert_once_each(&world.delivered(sink), expected);
    }
}

/// Adds both sinks to the world.
fn with_sinks(world: World) -> World {
    SINKS.iter().fold(world.patient_for("200ms"), |world, sink| world.with_file(sink))
}

#[test]
fn nothing_is_lost_or_repeated_when_the_process_is_killed_at_any_moment() {
    let world = with_sinks(World::new().with_directory_feed(&SINKS));
    let writer = Writer::new(Chance::of_this_run("kill, directory"), 8);
    survive(&world, writer, kills(30), |chosen, content| world.write(&key(chosen), content));
}

#[test]
fn nothing_is_lost_or_repeated_when_a_process_that_reads_a_queue_is_killed_at_any_moment() {
    let place = Place::new();
    let feed = place.feed(&Aws::emulated().url());
    let world = with_sinks(World::new().with_feed(&feed, &place, &SINKS)).with_queue("visibility_secs = 10");
    let writer = Writer::new(Chance::of_this_run("kill, queue"), 4);
    let written =
        survive(&world, writer, kills(30).div_ceil(3), |chosen, content| place.bucket.put(&key(chosen), content));
    // The messages that the killed processes had in flight come again, and are settled without a repeat.
    let daemon = world.run(&[]).expecting(&EXPECTED).ready();
    place.queue.drained();
    assert!(daemon.stop().success());
    once_each(&world, &written);
}

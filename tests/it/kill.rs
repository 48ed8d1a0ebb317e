//! However often the process is killed, each line that was ever written is delivered once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::support::chance::Chance;
use super::support::records::{counted, object, record};
use super::support::waiting::{SOON, moment, within};
use super::support::world::{Place, World};

/// What a process that follows a killed one may find and say.
const AFTER_A_KILL: [&str; 3] = ["object was rewritten", "cannot be made again", "an object has moved on"];

/// How often the process is killed: `AUDITFERRY_KILLS`, else `default`.
fn kills(default: usize) -> usize {
    std::env::var("AUDITFERRY_KILLS").map_or(default, |kills| kills.parse().expect("AUDITFERRY_KILLS is a number"))
}

/// Objects that only ever gain lines, though not always at their end, and not always at once.
struct Writer {
    chance: Chance,
    objects: Vec<Vec<String>>,
    written: u64,
}

impl Writer {
    fn new(chance: Chance, objects: usize) -> Self {
        Self { chance, objects: vec![Vec::new(); objects], written: 0 }
    }

    /// The next version of one object. Every line ever written is in its object's latest version that was `whole`.
    fn next(&mut self) -> (usize, Version) {
        let chosen = self.chance.below(self.objects.len());
        let mut added: Vec<String> = (0..self.chance.below(40)).map(|n| record(self.written + n as u64)).collect();
        self.written += added.len() as u64;
        let lines = &mut self.objects[chosen];
        let kind = self.chance.below(10);
        match kind {
            // Most often appended, as the source does it.
            0..=5 => lines.append(&mut added),
            6 => {
                lines.append(&mut added);
                self.chance.shuffle(lines);
            }
            7 => {
                let at = self.chance.below(lines.len() + 1);
                lines.splice(at..at, added);
            }
            // The same line once more.
            8 => {
                lines.append(&mut added);
                if !lines.is_empty() {
                    lines.push(lines[self.chance.below(lines.len())].clone());
                }
            }
            // Shrunk: what is gone comes again with the next whole version.
            _ => {
                lines.append(&mut added);
                let kept = self.chance.below(lines.len() + 1);
                return (chosen, Version { content: object(&lines[..kept]), whole: false });
            }
        }
        (chosen, Version { content: object(lines), whole: true })
    }
}

struct Version {
    content: Vec<u8>,
    whole: bool,
}

fn key(object: usize) -> String {
    format!("workspaceId={object}/date=2026-01-01/auditlogs_0-0.json")
}

/// Kills the process again and again while `write` writes versions of objects, then lets one run in peace until the
/// sink has everything.
fn survive(world: &World, mut writer: Writer, kills: usize, write: impl Fn(usize, &[u8]) + Sync + Send) -> Vec<String> {
    let mut chance = writer.chance.clone();
    let over = AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut torn = vec![false; writer.objects.len()];
            while !over.load(Ordering::Relaxed) {
                let (chosen, version) = writer.next();
                write(chosen, &version.content);
                torn[chosen] = !version.whole;
                moment(Duration::from_millis(writer.chance.below(30) as u64));
            }
            for (chosen, lines) in writer.objects.iter().enumerate().filter(|(chosen, _)| torn[*chosen]) {
                write(chosen, &object(lines));
            }
            writer
        });
        let start = world.run(&[]).expecting(&AFTER_A_KILL);
        for _ in 0..kills {
            let daemon = if chance.below(3) == 0 { start.spawn() } else { start.ready() };
            moment(Duration::from_millis(chance.below(600) as u64));
            daemon.kill();
        }
        over.store(true, Ordering::Relaxed);
        writing.join().unwrap()
    });
    let expected: Vec<String> = written.objects.concat();
    println!("{kills} kills, {} lines in {} objects", expected.len(), written.objects.len());
    let daemon = world.run(&[]).expecting(&AFTER_A_KILL).ready();
    within(SOON, || world.delivered("out").len() >= expected.len());
    assert!(daemon.stop().success());
    assert!(counted(&expected).len() > kills, "the writer wrote too little to prove anything");
    world.delivered_once_each(&expected);
    expected
}

#[test]
fn nothing_is_lost_or_repeated_when_the_process_is_killed_at_any_moment() {
    let world = World::fed_by_directory();
    let writer = Writer::new(Chance::of_this_run("kill, directory"), 8);
    survive(&world, writer, kills(30), |chosen, content| world.write(&key(chosen), content));
}

#[test]
fn nothing_is_lost_or_repeated_when_a_process_that_reads_a_queue_is_killed_at_any_moment() {
    let place = Place::new();
    let world = World::fed_by(&place).with_queue("visibility_secs = 10");
    let writer = Writer::new(Chance::of_this_run("kill, queue"), 4);
    let written =
        survive(&world, writer, kills(30).div_ceil(3), |chosen, content| place.bucket.put(&key(chosen), content));
    // What the killed processes had in hand comes again, and is settled without a repeat.
    let daemon = world.run(&[]).expecting(&AFTER_A_KILL).ready();
    place.queue.drained();
    assert!(daemon.stop().success());
    world.delivered_once_each(&written);
}

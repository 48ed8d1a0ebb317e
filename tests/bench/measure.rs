//! Times figures and compares them. A figure is the shortest CPU time of several rounds. The rounds of all figures
//! alternate, so that a busy machine slows all of them alike.

use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A function that is timed, and its name. It returns a number that depends on all of its work.
pub(crate) struct Figure<'f> {
    pub(crate) name: &'static str,
    pub(crate) run: Box<dyn Fn() -> u64 + 'f>,
    /// The number of records that it processes.
    pub(crate) records: usize,
    pub(crate) bytes: usize,
}

impl<'f> Figure<'f> {
    pub(crate) fn new(name: &'static str, run: impl Fn() -> u64 + 'f) -> Self {
        Self { name, run: Box::new(run), records: 0, bytes: 0 }
    }

    /// Sets the records and bytes of a figure that processes other records than its subject's.
    pub(crate) fn of(self, records: usize, bytes: usize) -> Self {
        Self { records, bytes, ..self }
    }
}

/// The records of one kind, and the figure that the others are given as multiples of.
pub(crate) struct Subject {
    pub(crate) title: String,
    pub(crate) records: usize,
    pub(crate) bytes: usize,
    pub(crate) rounds: usize,
    pub(crate) yardstick: &'static str,
}

impl Subject {
    /// Times all figures and prints them. Returns the nanoseconds per record of each.
    pub(crate) fn measure(&self, figures: &[Figure<'_>]) -> Vec<f64> {
        let mut best = vec![Duration::MAX; figures.len()];
        for _ in 0..self.rounds {
            for (figure, best) in figures.iter().zip(&mut best) {
                let began = worked();
                black_box((figure.run)());
                *best = (worked() - began).min(*best);
            }
        }
        let counts = figures.iter().map(|figure| match figure.records {
            0 => (self.records, self.bytes),
            records => (records, figure.bytes),
        });
        let counts: Vec<(usize, usize)> = counts.collect();
        let ns = |(best, (records, _)): (&Duration, &(usize, usize))| best.as_secs_f64() * 1e9 / *records as f64;
        let each: Vec<f64> = best.iter().zip(&counts).map(ns).collect();
        let yardstick = figures.iter().position(|figure| figure.name == self.yardstick).unwrap();
        println!("\n{}: {} records, {} bytes each", self.title, self.records, self.bytes / self.records);
        println!("{:<46} {:>10} {:>12} {:>9} {:>11}", "", "ns/record", "records/s", "MB/s", "x yardstick");
        for ((figure, each_ns), (records, bytes)) in figures.iter().zip(&each).zip(&counts) {
            println!(
                "{:<46} {each_ns:>10.0} {:>12.0} {:>9.0} {:>11.2}",
                figure.name,
                1e9 / each_ns,
                *bytes as f64 / *records as f64 / each_ns * 1e3,
                each[yardstick] / each_ns,
            );
        }
        println!("yardstick: {}", self.yardstick);
        each
    }
}

/// The CPU time of this thread.
fn worked() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

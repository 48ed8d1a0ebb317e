//! Counts what happened in a run.

use std::collections::BTreeMap;
use std::fmt;

type Counts = BTreeMap<&'static str, u64>;

/// Counts of one seed, or of many.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    pub seeds: u64,
    /// Seeds that were run twice, with equal results.
    pub twice: u64,
    /// How often the process ended, by cause.
    pub ends: Counts,
    pub faults: Counts,
    /// Events that receivers took, including repeats.
    pub events: u64,
    /// Records that sinks still lacked an hour after the healing.
    pub lost: u64,
    pub repeats: Counts,
    /// The longest time from the healing until the world came to rest.
    pub quiet_ms: u64,
    /// The longest time from a write to its delivery, in feeds without faults beside feeds with faults.
    pub delay_ms: u64,
    pub simulated_ms: u64,
}

impl Tally {
    pub fn fault(&mut self, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
    }

    pub fn add(&mut self, other: &Self) {
        let all =
            [(&mut self.ends, &other.ends), (&mut self.faults, &other.faults), (&mut self.repeats, &other.repeats)];
        for (ours, theirs) in all {
            theirs.iter().for_each(|(kind, times)| *ours.entry(kind).or_default() += times);
        }
        self.seeds += other.seeds;
        self.twice += other.twice;
        self.events += other.events;
        self.lost += other.lost;
        self.simulated_ms += other.simulated_ms;
        self.quiet_ms = self.quiet_ms.max(other.quiet_ms);
        self.delay_ms = self.delay_ms.max(other.delay_ms);
    }
}

fn listed(counts: &Counts) -> String {
    let listed: Vec<String> = counts.iter().map(|(kind, times)| format!("{kind} {times}")).collect();
    format!("{} ({})", counts.values().sum::<u64>(), listed.join(", "))
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = self.simulated_ms / 86_400_000;
        writeln!(f, "seeds: {}, of them {} twice and the same way; {days} simulated days", self.seeds, self.twice)?;
        writeln!(f, "ends of the process: {}", listed(&self.ends))?;
        writeln!(f, "faults: {}", listed(&self.faults))?;
        writeln!(f, "events: {}, lost: {}, repeats: {}", self.events, self.lost, listed(&self.repeats))?;
        let (quiet, delay) = (self.quiet_ms / 1000, self.delay_ms);
        write!(f, "longest time to quiet: {quiet} s; longest delay beside a feed at fault: {delay} ms")
    }
}

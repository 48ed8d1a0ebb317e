//! How long to wait before the next try: twice as long each time, up to a limit, with jitter.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(60);

/// Full jitter over an exponential: between half and all of 0.5 s, 1 s, 2 s, ... up to the limit.
#[derive(Debug)]
pub struct Backoff {
    attempts: u32,
    longest: Duration,
    chance: RandomState,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(LONGEST)
    }
}

impl Backoff {
    pub fn new(longest: Duration) -> Self {
        Self { attempts: 0, longest, chance: RandomState::new() }
    }

    /// How many waits there have been.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The next wait.
    pub fn wait(&mut self) -> Duration {
        let wait = FIRST.saturating_mul(1 << self.attempts.min(16)).min(self.longest);
        self.attempts = self.attempts.saturating_add(1);
        let chance = self.chance.hash_one(self.attempts) % 1000;
        wait / 2 + (wait / 2).mul_f64(chance as f64 / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_no_two_processes_wait_alike() {
        let mut backoff = Backoff::default();
        let waits: Vec<Duration> = (0..12).map(|_| backoff.wait()).collect();
        for (attempt, wait) in waits.iter().enumerate() {
            let whole = Duration::from_millis(500 << attempt).min(LONGEST);
            assert!(*wait >= whole / 2 && *wait <= whole, "{attempt}: {wait:?}");
        }
        let others: Vec<Duration> = (0..12)
            .map({
                let mut backoff = Backoff::default();
                move |_| backoff.wait()
            })
            .collect();
        assert_ne!(waits, others);
    }
}

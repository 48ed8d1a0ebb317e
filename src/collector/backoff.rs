//! How long to wait before the next try: twice as long each time, up to a limit, with jitter.

use std::time::Duration;

use crate::collector::random::Random;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(60);

/// Exponential backoff with jitter: between half and all of 0.5 s, 1 s, 2 s, ... up to the limit.
#[derive(Debug)]
pub(crate) struct Backoff {
    attempts: u32,
    longest: Duration,
    random: Random,
}

impl Backoff {
    pub(crate) fn new(random: &Random) -> Self {
        Self { attempts: 0, longest: LONGEST, random: random.clone() }
    }

    /// No wait is longer than `longest`.
    pub(crate) fn up_to(self, longest: Duration) -> Self {
        Self { longest, ..self }
    }

    /// Begins with the shortest wait again.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// How many waits there were since the last reset.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The next wait.
    pub(crate) fn wait(&mut self) -> Duration {
        let wait = FIRST.saturating_mul(1 << self.attempts.min(16)).min(self.longest);
        self.attempts = self.attempts.saturating_add(1);
        wait / 2 + (wait / 2).mul_f64(self.random.fraction())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(random: &Random) -> Vec<Duration> {
        let mut backoff = Backoff::new(random);
        (0..12).map(|_| backoff.wait()).collect()
    }

    #[test]
    fn waits_double_up_to_the_limit_and_no_two_processes_wait_alike() {
        let some = waits(&Random::system());
        for (attempt, wait) in some.iter().enumerate() {
            let whole = Duration::from_millis(500 << attempt).min(LONGEST);
            assert!(*wait >= whole / 2 && *wait <= whole, "{attempt}: {wait:?}");
        }
        assert_ne!(some, waits(&Random::system()));
    }

    #[test]
    fn one_seed_gives_the_same_waits_each_time() {
        assert_eq!(waits(&Random::seeded(7)), waits(&Random::seeded(7)));
        assert_ne!(waits(&Random::seeded(7)), waits(&Random::seeded(8)));
    }
}

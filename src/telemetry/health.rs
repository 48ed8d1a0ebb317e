//! Whether the daemon turns, and whether it could do its work.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// Shared by the collector, which writes it, and by whoever asks.
#[derive(Debug, Default)]
pub struct Health {
    beat_ms: AtomicU64,
    store_open: AtomicBool,
    credentials_valid: AtomicBool,
    sinks_reached: AtomicBool,
}

/// What [`Health::ready`] waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The checkpoint store is open and whole.
    Store,
    /// Every identity has yielded credentials that have not expired.
    Credentials,
    /// Every sink has been opened once. Stays true when a sink fails later: a restart would not help it.
    Sinks,
}

impl Health {
    /// How long the supervisor may be silent before the daemon counts as stuck.
    pub const SILENCE_MAX_MS: u64 = 60_000;

    /// The supervisor has gone round once more. `uptime_ms`: on the monotonic clock, since the process started.
    pub fn beat(&self, uptime_ms: u64) {
        self.beat_ms.fetch_max(uptime_ms, Ordering::Relaxed);
    }

    pub fn live(&self, uptime_ms: u64) -> bool {
        uptime_ms.saturating_sub(self.beat_ms.load(Ordering::Relaxed)) <= Self::SILENCE_MAX_MS
    }

    pub fn mark(&self, part: Part, ready: bool) {
        self.flag(part).store(ready, Ordering::Release);
    }

    /// What is not ready yet; empty when the daemon is ready.
    pub fn unready(&self) -> Vec<Part> {
        let parts = [Part::Store, Part::Credentials, Part::Sinks];
        parts.into_iter().filter(|part| !self.flag(*part).load(Ordering::Acquire)).collect()
    }

    pub fn ready(&self) -> bool {
        self.unready().is_empty()
    }

    fn flag(&self, part: Part) -> &AtomicBool {
        match part {
            Part::Store => &self.store_open,
            Part::Credentials => &self.credentials_valid,
            Part::Sinks => &self.sinks_reached,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_supervisor_is_not_live() {
        let health = Health::default();
        health.beat(10);
        assert!(health.live(10 + Health::SILENCE_MAX_MS));
        assert!(!health.live(11 + Health::SILENCE_MAX_MS));
        health.beat(5);
        assert!(health.live(10 + Health::SILENCE_MAX_MS), "an earlier beat does not take back a later one");
    }

    #[test]
    fn ready_needs_every_part_and_can_be_lost_again() {
        let health = Health::default();
        health.mark(Part::Store, true);
        health.mark(Part::Sinks, true);
        assert_eq!(health.unready(), [Part::Credentials]);
        health.mark(Part::Credentials, true);
        assert!(health.ready());
        health.mark(Part::Credentials, false);
        assert!(!health.ready());
    }
}

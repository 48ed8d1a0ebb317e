//! The rate at which an object's bytes come.

use std::time::Duration;

use tokio::time::Instant;

use crate::collector::progress::Progress;

/// The rate is measured over this much time of waiting for bytes.
const WINDOW: Duration = Duration::from_secs(10);

/// The rate of one object's body. Only time in which the job waits for bytes counts: while a sink or the CPU is slow,
/// the job waits for those instead.
#[derive(Debug, Default)]
pub(super) struct Rate {
    looked_at: Option<Instant>,
    waited: Duration,
    /// How many bytes had come when this window began.
    from_bytes: u64,
    pub(super) is_slow: bool,
    pub(super) is_put_off: bool,
}

impl Rate {
    /// Updates the rate. Returns whether `is_slow` has changed.
    pub(super) fn look(&mut self, progress: &Progress, bytes_per_sec_min: u64) -> bool {
        let now = Instant::now();
        let since = self.looked_at.replace(now).map_or(Duration::ZERO, |before| now - before);
        if progress.is_waiting() {
            self.waited += since;
        }
        if self.waited < WINDOW {
            return false;
        }
        let bytes = progress.received_bytes() - self.from_bytes;
        let is_slow = (bytes as f64) < bytes_per_sec_min as f64 * self.waited.as_secs_f64();
        self.waited = Duration::ZERO;
        self.from_bytes += bytes;
        std::mem::replace(&mut self.is_slow, is_slow) != is_slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a body counts as slow after 30 s, if it brings `bytes_per_sec` and its job waits for it `waits_ms` of
    /// each second.
    async fn is_slow_at(bytes_per_sec: usize, waits_ms: u64) -> bool {
        let (progress, mut rate) = (Progress::default(), Rate::default());
        let looks = async {
            for _ in 0..120 {
                rate.look(&progress, 4096);
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        };
        let job = async {
            loop {
                let arrival = tokio::time::sleep(Duration::from_millis(waits_ms));
                let _ = progress.wait_for(arrival).await;
                progress.received(bytes_per_sec);
                tokio::time::sleep(Duration::from_millis(1000 - waits_ms)).await;
            }
        };
        tokio::select! {
            biased;
            () = looks => {}
            () = job => {}
        }
        rate.is_slow
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_slow_that_brings_less_than_the_rate_while_it_is_waited_for() {
        assert!(is_slow_at(1, 1000).await);
        assert!(is_slow_at(4000, 1000).await);
        assert!(!is_slow_at(4200, 1000).await);
        assert!(!is_slow_at(1, 0).await, "the job waits for something else");
        assert!(!is_slow_at(2000, 400).await, "in the time that it waits, enough comes");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_comes_faster_again_is_slow_no_longer() {
        let (progress, mut rate) = (Progress::default(), Rate::default());
        let looks = async {
            let mut turns = Vec::new();
            for second in 0..100 {
                if rate.look(&progress, 4096) {
                    turns.push((second, rate.is_slow));
                }
                progress.received(if second < 15 { 0 } else { 5000 });
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            turns
        };
        let turns = tokio::select! {
            biased;
            turns = looks => turns,
            _ = progress.wait_for(std::future::pending::<()>()) => Vec::new(),
        };
        assert_eq!(turns, [(10, true), (30, false)]);
    }
}

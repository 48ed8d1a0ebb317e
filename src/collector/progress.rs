//! A job's progress: reported by the job, and seen by the scheduler.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// A job's progress, shared by the job and the scheduler.
#[derive(Debug, Default)]
pub(super) struct Progress {
    steps: AtomicU64,
    received_bytes: AtomicU64,
    is_waiting: AtomicBool,
    put_off: Notify,
}

/// The job must end, since its bytes come too slowly.
#[derive(Debug)]
pub(super) struct PutOff;

impl Progress {
    /// Counts one more step of the job.
    pub(super) fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// How many steps the job has made.
    pub(super) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Counts bytes of the object that have come.
    pub(super) fn received(&self, bytes: usize) {
        self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Ordering::Relaxed)
    }

    /// Awaits bytes of the object, unless the job is put off. Cancel-safe where `bytes` is.
    ///
    /// # Errors
    /// The job is put off.
    pub(super) async fn wait_for<T>(&self, bytes: impl Future<Output = T>) -> Result<T, PutOff> {
        self.is_waiting.store(true, Ordering::Relaxed);
        let _waiting = Waiting(&self.is_waiting);
        tokio::select! {
            biased;
            bytes = bytes => Ok(bytes),
            () = self.put_off.notified() => Err(PutOff),
        }
    }

    /// Whether the job waits for bytes of the object at this moment.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting.load(Ordering::Relaxed)
    }

    /// Puts the job off: ends its current or next wait for bytes.
    pub(super) fn put_off(&self) {
        self.put_off.notify_one();
    }
}

struct Waiting<'a>(&'a AtomicBool);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_job_that_is_put_off_waits_no_longer() {
        let progress = Progress::default();
        assert!(matches!(progress.wait_for(std::future::ready(7)).await, Ok(7)));
        assert!(!progress.is_waiting());
        let (waited, ()) = tokio::join!(progress.wait_for(std::future::pending::<()>()), async {
            assert!(progress.is_waiting());
            progress.put_off();
        });
        assert!(waited.is_err());
        assert!(!progress.is_waiting());
    }
}

//! Where CPU-bound work runs.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Where a reading's steps, and decoders, run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compute {
    /// On the runtime's blocking threads, so that its async threads are not held up.
    OnThreads,
    /// At once, in the calling task: the outcome depends on no other thread.
    InPlace,
}

impl Compute {
    /// Runs the work. `None` if it panics.
    pub(super) async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        match self {
            Self::OnThreads => tokio::task::spawn_blocking(work).await.ok(),
            // Nothing that a panic left half done is used afterwards: it is dropped with the work.
            Self::InPlace => catch_unwind(AssertUnwindSafe(work)).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_panics_gives_nothing_wherever_it_runs() {
        for compute in [Compute::OnThreads, Compute::InPlace] {
            assert_eq!(compute.run(|| 7).await, Some(7));
            assert_eq!(compute.run(|| -> u32 { panic!("as told") }).await, None, "{compute:?}");
        }
    }
}

//! Where work is done that keeps a processor busy.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Where steps of a reading, and decoders, run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compute {
    /// On the runtime's threads for blocking work, so that its own go on.
    OnThreads,
    /// At once, where they are asked for: what comes of them depends on no thread.
    InPlace,
}

impl Compute {
    /// Runs the work; nothing where it panics.
    pub(super) async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        match self {
            Self::OnThreads => tokio::task::spawn_blocking(work).await.ok(),
            // What a panic leaves behind is dropped with the work.
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

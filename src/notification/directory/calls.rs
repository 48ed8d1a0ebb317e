//! File system calls, each on a worker thread and with a timeout, since a dead mount never answers.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

/// The most calls of one directory at a time. A call that never returns keeps its slot and its thread.
const CALLS_MAX: usize = 4;

/// Counts the steps of a long call, which show that it makes progress.
#[derive(Clone, Debug, Default)]
pub(crate) struct Steps(Arc<AtomicU64>);

impl Steps {
    pub(crate) fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The calls of one directory. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    places: Arc<Semaphore>,
    timeout: Duration,
}

impl Calls {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { places: Arc::new(Semaphore::new(CALLS_MAX)), timeout }
    }

    /// Runs a call on a worker thread.
    ///
    /// # Errors
    /// Those of the call. `TimedOut` if it makes no step for the length of the timeout, or if other calls occupy all
    /// slots for that long. A call that is given up stays on its thread until it returns.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Steps) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let place = match timeout(self.timeout, Arc::clone(&self.places).acquire_owned()).await {
            Ok(place) => place.map_err(io::Error::other)?,
            Err(_elapsed) => return Err(self.timed_out("calls before it have not returned")),
        };
        let steps = Steps::default();
        let own = steps.clone();
        let mut call = tokio::task::spawn_blocking(move || {
            let ended = call(&own);
            drop(place);
            ended
        });
        let mut seen = 0;
        loop {
            match timeout(self.timeout, &mut call).await {
                Ok(ended) => return ended.unwrap_or_else(|panic| Err(io::Error::other(panic))),
                Err(_elapsed) if steps.count() == seen => return Err(self.timed_out("the call has not returned")),
                Err(_elapsed) => seen = steps.count(),
            }
        }
    }

    fn timed_out(&self, why: &str) -> io::Error {
        let Self { timeout, .. } = self;
        io::Error::new(io::ErrorKind::TimedOut, format!("the file system does not answer within {timeout:?}: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notification::directory::hung::Hung;

    const TIMEOUT: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn a_few_calls_that_never_return_are_given_up_and_no_more_are_begun_until_one_does() {
        let (hung, calls) = (Hung::new(), Calls::new(TIMEOUT));
        for _ in 0..CALLS_MAX {
            let error = calls.run(hung.call()).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        }
        let error = calls.run(|_| -> io::Result<()> { panic!("there is no place for it") }).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        hung.release();
        assert_eq!(Calls { timeout: Duration::from_secs(60), ..calls }.run(|_| Ok(7)).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_call_that_makes_steps_may_take_long() {
        let calls = Calls::new(TIMEOUT);
        let (send, receive) = std::sync::mpsc::channel::<()>();
        let slow = calls.run(move |steps| {
            for _ in 0..20 {
                // Nothing is ever sent: this only waits.
                assert!(receive.recv_timeout(TIMEOUT / 8).is_err());
                steps.step();
            }
            Ok(())
        });
        slow.await.unwrap();
        drop(send);
    }

    #[tokio::test]
    async fn a_call_that_panics_has_failed_and_leaves_its_place() {
        let calls = Calls::new(Duration::from_secs(60));
        for _ in 0..=CALLS_MAX {
            assert!(calls.run(|_| -> io::Result<()> { panic!("as told") }).await.is_err());
        }
    }
}

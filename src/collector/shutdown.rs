//! The shutdown request, seen by every task, and the signals that do not stop the process.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::process;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::Instant;

/// The requests made of the process, and the tasks that wait for them. Waiting tasks wake in the order in which they
/// began to wait, so that a seed of the simulator always gives the same run.
#[derive(Debug, Default)]
struct Asked {
    at: OnceLock<Instant>,
    waiting: Notify,
    /// How many requests to reopen files there were.
    reopens: AtomicU64,
    reopening: Notify,
}

/// Receives the stop request.
#[derive(Clone, Debug)]
pub struct Shutdown(Arc<Asked>);

/// Receives the requests to reopen files.
#[derive(Clone, Debug)]
pub struct Reopening {
    asked: Arc<Asked>,
    seen: u64,
}

/// Sends the request to stop, or to reopen files.
#[derive(Clone, Debug)]
pub struct Stop(Arc<Asked>);

/// The sending and the receiving end.
pub fn channel() -> (Stop, Shutdown) {
    let asked = Arc::<Asked>::default();
    (Stop(Arc::clone(&asked)), Shutdown(asked))
}

impl Stop {
    /// Requests the stop. A second request changes nothing.
    pub fn request(&self) {
        self.0.at.get_or_init(Instant::now);
        self.0.waiting.notify_waiters();
    }

    /// Requests that files are reopened.
    pub fn reopen(&self) {
        self.0.reopens.fetch_add(1, Ordering::AcqRel);
        self.0.reopening.notify_waiters();
    }
}

impl Shutdown {
    /// Returns once the stop was requested. Cancel-safe.
    pub async fn requested(&self) {
        // Created before the check, so that no request between the two is missed.
        let request = self.0.waiting.notified();
        if !self.is_requested() {
            request.await;
        }
    }

    /// Returns once the stop was requested `long` ago. Cancel-safe.
    pub async fn requested_for(&self, long: Duration) {
        self.requested().await;
        let asked = self.0.at.get().copied().unwrap_or_else(Instant::now);
        tokio::time::sleep_until(asked + long).await;
    }

    pub fn is_requested(&self) -> bool {
        self.0.at.get().is_some()
    }

    /// Receives the requests to reopen files that are made from here on.
    pub fn reopening(&self) -> Reopening {
        Reopening { seen: self.0.reopens.load(Ordering::Acquire), asked: Arc::clone(&self.0) }
    }
}

impl Reopening {
    /// Returns once files are to be reopened. Earlier requests that were not seen yet count as one. Cancel-safe.
    pub async fn requested(&mut self) {
        // Created before the check, so that no request between the two is missed.
        let request = self.asked.reopening.notified();
        if self.asked.reopens.load(Ordering::Acquire) == self.seen {
            request.await;
        }
        self.seen = self.asked.reopens.load(Ordering::Acquire);
    }
}

/// Listens for signals from here on. The first SIGTERM or SIGINT requests the stop, the second ends the process at once
/// with 128 + its number. Ending at once is safe: whatever was not committed is read again.
///
/// SIGHUP reopens the sinks' files.
///
/// SIGUSR1, SIGUSR2 and SIGXFSZ would end a process that does not handle them; here they are ignored. SIGXFSZ is not
/// logged: the write past the file size limit fails, and that failure is reported.
///
/// Must be called within a runtime. Fails if the handlers cannot be installed.
pub(crate) fn on_signals(stop: Stop) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut first_of_user = signal(SignalKind::user_defined1())?;
    let mut second_of_user = signal(SignalKind::user_defined2())?;
    // tokio keeps the handler after its stream is dropped.
    let _ = signal(SignalKind::from_raw(process::Signal::XFSZ.as_raw()))?;
    let reopening = stop.clone();
    tokio::spawn(async move {
        let first = next(&mut terminate, &mut interrupt).await;
        tracing::info!(signal = first.name, "stop requested");
        stop.request();
        let second = next(&mut terminate, &mut interrupt).await;
        tracing::warn!(signal = second.name, "second signal, exiting at once");
        std::process::exit(128 + second.number);
    });
    tokio::spawn(async move {
        loop {
            let name = tokio::select! {
                biased;
                Some(()) = hangup.recv() => {
                    tracing::info!(
                        signal = "SIGHUP", "opening the files of the sinks anew; the configuration is not read again"
                    );
                    reopening.reopen();
                    continue;
                }
                Some(()) = first_of_user.recv() => "SIGUSR1",
                Some(()) = second_of_user.recv() => "SIGUSR2",
                else => return,
            };
            tracing::warn!(signal = name, "the signal has no meaning and is ignored; SIGTERM stops");
        }
    });
    Ok(())
}

struct Received {
    name: &'static str,
    number: i32,
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> Received {
    tokio::select! {
        biased;
        _ = terminate.recv() => Received { name: "SIGTERM", number: 15 },
        _ = interrupt.recv() => Received { name: "SIGINT", number: 2 },
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_stop_is_heard_by_who_listened_before_and_after() {
        let (stop, shutdown) = channel();
        assert!(!shutdown.is_requested());
        let before = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.requested().await }
        });
        stop.request();
        stop.request();
        before.await.unwrap();
        shutdown.requested().await;
        assert!(shutdown.is_requested());
    }

    #[tokio::test]
    async fn each_request_to_open_files_anew_is_seen_once_by_everybody() {
        let (stop, shutdown) = channel();
        let mut first = shutdown.reopening();
        let mut second = first.clone();
        stop.reopen();
        stop.reopen();
        first.requested().await;
        second.requested().await;
        stop.request();
        assert!(first.requested().now_or_never().is_none(), "the stop is another request");
        stop.reopen();
        first.requested().await;
        assert!(shutdown.reopening().requested().now_or_never().is_none());
    }
}

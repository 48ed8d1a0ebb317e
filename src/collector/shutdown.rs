//! The stop: requested once, seen by every task; and the signals that do not stop the process.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::process;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::Instant;

/// What was requested of the process, and who waits for that: they go on in the order in which they began to wait, so that
/// a seed of the simulator always goes the same way.
#[derive(Debug, Default)]
struct Asked {
    at: OnceLock<Instant>,
    waiting: Notify,
    /// How often files were to be opened anew.
    reopens: AtomicU64,
    reopening: Notify,
}

/// Sees that the stop was requested.
#[derive(Clone, Debug)]
pub struct Shutdown(Arc<Asked>);

/// Sees each time that files are to be opened anew.
#[derive(Clone, Debug)]
pub struct Reopening {
    asked: Arc<Asked>,
    seen: u64,
}

/// Requests the stop, or that files are opened anew.
#[derive(Clone, Debug)]
pub struct Stop(Arc<Asked>);

/// The two ends.
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

    /// Requests that files are opened anew.
    pub fn reopen(&self) {
        self.0.reopens.fetch_add(1, Ordering::AcqRel);
        self.0.reopening.notify_waiters();
    }
}

impl Shutdown {
    /// Returns once the stop was requested. Cancel-safe.
    pub async fn requested(&self) {
        // Told of each request from here on.
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

    /// Sees the requests to open files anew that are made from here on.
    pub fn reopening(&self) -> Reopening {
        Reopening { seen: self.0.reopens.load(Ordering::Acquire), asked: Arc::clone(&self.0) }
    }
}

impl Reopening {
    /// Returns once files are to be opened anew; requests that were made before are one. Cancel-safe.
    pub async fn requested(&mut self) {
        // Told of each request from here on.
        let request = self.asked.reopening.notified();
        if self.asked.reopens.load(Ordering::Acquire) == self.seen {
            request.await;
        }
        self.seen = self.asked.reopens.load(Ordering::Acquire);
    }
}

/// Listens for signals from here on. Of SIGTERM and SIGINT the first asks for the stop, the second ends the process at
/// once with 128 + its number. Ending at once is safe: whatever was not committed comes again.
///
/// SIGHUP has files opened anew.
///
/// SIGUSR1, SIGUSR2 and SIGXFSZ would end a process that does not listen for them: here they change nothing.
/// SIGXFSZ is not logged, since the write past the limit of a file's size fails and is reported there.
///
/// To be called within a runtime; fails when the handlers cannot be installed.
pub(crate) fn on_signals(stop: Stop) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut first_of_user = signal(SignalKind::user_defined1())?;
    let mut second_of_user = signal(SignalKind::user_defined2())?;
    // The handler stays when its stream is dropped.
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

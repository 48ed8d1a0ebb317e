//! The stop: requested once, seen by every task; and the signals that do not stop the process.

use std::io;
use std::time::Duration;

use rustix::process;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

/// Sees that the stop was requested.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<Requested>);

/// Sees each time that files are to be opened anew.
#[derive(Clone, Debug)]
pub struct Reopening {
    requested: watch::Receiver<Requested>,
    seen: u64,
}

/// Requests the stop, or that files are opened anew.
#[derive(Clone, Debug)]
pub struct Stop(watch::Sender<Requested>);

/// What was requested so far.
#[derive(Debug, Default)]
struct Requested {
    stop: Option<Instant>,
    reopens: u64,
}

/// The two ends.
pub fn channel() -> (Stop, Shutdown) {
    let (sender, receiver) = watch::channel(Requested::default());
    (Stop(sender), Shutdown(receiver))
}

impl Stop {
    /// Requests the stop. A second request changes nothing.
    pub fn request(&self) {
        self.0.send_if_modified(|requested| {
            let first = requested.stop.is_none();
            requested.stop.get_or_insert_with(Instant::now);
            first
        });
    }

    /// Requests that files are opened anew.
    pub fn reopen(&self) {
        self.0.send_modify(|requested| requested.reopens += 1);
    }
}

impl Shutdown {
    /// Returns once the stop was requested; never, when every [`Stop`] is gone. Cancel-safe.
    pub async fn requested(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|requested| requested.stop.is_some()).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns once the stop was requested `long` ago. Cancel-safe.
    pub async fn requested_for(&self, long: Duration) {
        self.requested().await;
        let asked = self.0.borrow().stop.unwrap_or_else(Instant::now);
        tokio::time::sleep_until(asked + long).await;
    }

    pub fn is_requested(&self) -> bool {
        self.0.borrow().stop.is_some()
    }

    /// Sees the requests to open files anew that are made from here on.
    pub fn reopening(&self) -> Reopening {
        Reopening { seen: self.0.borrow().reopens, requested: self.0.clone() }
    }
}

impl Reopening {
    /// Returns once files are to be opened anew; requests that were made before are one. Cancel-safe.
    pub async fn requested(&mut self) {
        let seen = self.seen;
        let reopens = self.requested.wait_for(|requested| requested.reopens > seen).await.map(|now| now.reopens);
        match reopens {
            Ok(reopens) => self.seen = reopens,
            Err(_gone) => std::future::pending().await,
        }
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
pub fn on_signals(stop: Stop) -> io::Result<()> {
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

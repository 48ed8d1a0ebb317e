//! Puts the collector's log into the trace, among the happenings.

use std::io;

use tracing::subscriber::{DefaultGuard, set_default};

use crate::world::{Seen, World};

/// Writes this thread's log into the trace until the returned guard is dropped: from level INFO on, or from the level
/// in `AUDITFERRY_LOG`.
pub fn into_trace(world: &World) -> DefaultGuard {
    let level = std::env::var("AUDITFERRY_LOG").unwrap_or_else(|_| "info".to_owned());
    // A weak reference, since other threads may hold the subscriber for a moment.
    let seen = world.seen();
    let subscriber = tracing_subscriber::fmt()
        .without_time()
        .with_target(false)
        .with_ansi(false)
        .with_env_filter(tracing_subscriber::EnvFilter::new(format!("auditferry={level}")))
        .with_writer(move || Lines(seen.clone()));
    set_default(subscriber.finish())
}

struct Lines(Seen);

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.logged(String::from_utf8_lossy(line).trim_end());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

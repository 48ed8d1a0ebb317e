//! Waits for what can be observed, never for a fixed time.

use std::time::{Duration, Instant};

/// How long prompt work of the daemon may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(180);

/// Waits until `observed` holds.
///
/// # Panics
/// Names `what` if it does not hold within `deadline`.
pub fn eventually(what: &str, deadline: Duration, mut observed: impl FnMut() -> bool) {
    if !within(deadline, &mut observed) {
        panic!("did not come true within {deadline:?}: {what}");
    }
}

/// Waits until `observed` holds or the time is up; returns whether it holds.
pub fn within(deadline: Duration, mut observed: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if observed() {
            return true;
        }
        if begun.elapsed() >= deadline {
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Lets some time pass. A test that kills a process at any moment has no state to wait for.
pub fn moment(length: Duration) {
    within(length, || false);
}

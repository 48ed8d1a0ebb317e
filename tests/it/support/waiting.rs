//! Waits for what can be observed, never for a time to be over.

use std::time::{Duration, Instant};

/// How long anything that the daemon does soon may take on a machine that is busy with everything else.
pub const SOON: Duration = Duration::from_secs(180);

/// Looks until `observed` holds.
///
/// # Panics
/// Names `what` when it did not come true within `deadline`.
pub fn eventually(what: &str, deadline: Duration, mut observed: impl FnMut() -> bool) {
    if !within(deadline, &mut observed) {
        panic!("did not come true within {deadline:?}: {what}");
    }
}

/// Looks until `observed` holds or the time is up; says whether it holds.
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

/// Lets an arbitrary moment pass: where a process is killed at any moment, no state tells when.
pub fn moment(length: Duration) {
    within(length, || false);
}

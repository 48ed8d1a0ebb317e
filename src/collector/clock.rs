//! The wall clock, for what is written down or told; never for waiting, which goes by the monotonic clock.

use std::time::SystemTime;
use std::time::UNIX_EPOCH;

/// Milliseconds since the epoch.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

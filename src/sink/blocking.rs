//! Runs a sink's slow work (writing, compressing, making and reading requests) on a thread for blocking calls, off the
//! runtime.

use super::DeliveryError;

/// Runs `work` on such a thread. If it panics, the sink is unavailable, with `fails` as the reason.
pub(super) async fn blocking<T: Send + 'static>(
    fails: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, DeliveryError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| DeliveryError::unavailable(format!("{fails}: {error}")))
}

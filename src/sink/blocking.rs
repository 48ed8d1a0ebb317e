//! What a sink does on a thread of its own, since it takes longer than the runtime may be held up: writing, compressing and
//! reading requests.

use super::DeliveryError;

/// Does the work there; `fails` is told where it cannot be done.
pub(super) async fn blocking<T: Send + 'static>(
    fails: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, DeliveryError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| DeliveryError::unavailable(format!("{fails}: {error}")))
}

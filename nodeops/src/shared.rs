//! What injectors share with the threads that work for them.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks. Nothing is left half done under locks of this crate, so a panic elsewhere does not spoil what they guard.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does something that may block, off the runtime's threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| format!("the injector failed: {e}; please report this"))
}

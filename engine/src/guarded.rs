//! Calls into injectors that may hang or panic without taking the engine along.

use inject::{Injector, Recovered, UndoRecord};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// How long one undo may take. An injector never waits for the fault itself, so this is for the kernel alone.
pub(crate) const RECOVER: Duration = Duration::from_secs(15);
/// How long one change may take.
pub(crate) const ADJUST: Duration = Duration::from_secs(15);
/// How long arming may take.
pub(crate) const INJECT: Duration = Duration::from_secs(60);

/// Runs to its end, to a panic, or until the time is up; the last two as a sentence.
pub(crate) async fn call<T: Send + 'static>(
    most: Duration,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, String> {
    let mut task = tokio::spawn(work);
    match tokio::time::timeout(most, &mut task).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(e)) => Err(format!("the injector failed ({e}); please report this")),
        Err(_) => {
            task.abort();
            Err(format!("the injector did not answer within {} s", most.as_secs()))
        }
    }
}

/// Undoes one act through the injector that made it.
pub(crate) async fn recover(injectors: &[Arc<dyn Injector>], act: &UndoRecord) -> Recovered {
    let Some(injector) = injectors.iter().find(|i| i.name() == act.injector).cloned() else {
        return Recovered::Failed(format!(
            "nobody here can undo what {:?} did ({}); use the version of murphy that armed it",
            act.injector, act.act
        ));
    };
    let act = act.clone();
    call(RECOVER, async move { injector.recover(&act).await }).await.unwrap_or_else(Recovered::Failed)
}

//! Opening and closing targets.

use super::{Agent, Inner};
use crate::error::EngineError;
use crate::guarded;
use inject::Refusal;
use model::event::Ending;
use model::problem::did_you_mean;
use model::sample::TargetState;
use model::{EventKind, Target, TargetKind, TargetRef, TargetSpec};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Agent {
    /// Opens a target: a listener listens, processes are found. Opening one again as it is changes nothing.
    pub async fn open(&self, target: Target) -> Result<TargetState, EngineError> {
        let reference = target.reference();
        let state = self.inner.open(target).await?;
        self.inner.lock().passing.remove(&reference);
        Ok(state)
    }

    /// Ends the faults of a target, newest first, and closes it.
    pub async fn close(&self, target: &TargetRef) -> Result<(), EngineError> {
        let known = self.inner.lock().targets.contains_key(target);
        if !known {
            return Err(self.inner.no_target(target));
        }
        let inner = self.inner.clone();
        let ids: Vec<String> = {
            let state = inner.lock();
            let mut on: Vec<_> = state.faults.values().filter(|f| f.fault.target == *target).collect();
            on.sort_by_key(|f| std::cmp::Reverse(f.order));
            on.iter().map(|f| f.id.clone()).collect()
        };
        for id in ids {
            match inner.end(&id, Ending::Disarmed).await {
                Ok(()) | Err(EngineError::UnknownFault { .. }) => {}
                Err(e) => return Err(e),
            }
        }
        let target = target.clone();
        // In a task of its own: whoever asked may go away in the middle of it.
        let close = tokio::spawn(async move { inner.close(&target).await });
        let _ = close.await;
        Ok(())
    }
}

impl Inner {
    pub(super) async fn open(self: &Arc<Self>, target: Target) -> Result<TargetState, EngineError> {
        if self.lock().closing {
            return Err(EngineError::ShuttingDown);
        }
        let injector = self.opener(target.spec.kind())?;
        let inner = self.clone();
        let task = async move {
            let state = injector.open(&target).await?;
            let reference = target.reference();
            let new = inner.lock().targets.insert(reference.clone(), target).is_none();
            if new {
                inner.events.emit(EventKind::TargetOpened { target: reference, about: state.about.clone() });
            }
            Ok::<_, Refusal>(state)
        };
        match guarded::call(guarded::INJECT, task).await {
            Ok(Ok(state)) => Ok(state),
            Ok(Err(refusal)) => Err(EngineError::Refused(refusal.0)),
            Err(why) => Err(EngineError::refused(why, "try again")),
        }
    }

    pub(super) async fn close(&self, target: &TargetRef) {
        if let Ok(injector) = self.opener(target.kind) {
            let reference = target.clone();
            let _ = guarded::call(guarded::RECOVER, async move { injector.close(&reference).await }).await;
        }
        let known = {
            let mut state = self.lock();
            state.passing.remove(target);
            state.targets.remove(target).is_some()
        };
        if known {
            self.events.emit(EventKind::TargetClosed { target: target.clone() });
        }
    }

    /// Opens a target whose name says everything when the first fault needs it.
    pub(super) async fn open_in_passing(self: &Arc<Self>, target: &Target) -> Result<(), EngineError> {
        let reference = target.reference();
        if self.lock().targets.contains_key(&reference) {
            return Ok(());
        }
        self.open(target.clone()).await?;
        self.lock().passing.insert(reference);
        Ok(())
    }

    /// Closes a target that was opened in passing and has no fault but this one: whoever arms by a name means what has
    /// it now, not what had it when the name was used for the first time.
    pub(super) async fn look_anew(&self, id: &str, target: &TargetRef) {
        let idle = {
            let state = self.lock();
            let others = || state.faults.values().any(|f| f.fault.target == *target && f.id != id);
            state.passing.contains(target) && !others()
        };
        if idle {
            self.close(target).await;
        }
    }

    /// A fault is over. Targets that were opened in passing and are gone themselves need not be listed for ever.
    pub(super) async fn tidy(&self) {
        let idle: Vec<TargetRef> = {
            let state = self.lock();
            let hit = |target: &&TargetRef| state.faults.values().any(|f| f.fault.target == **target);
            state.passing.iter().filter(|target| !hit(target)).cloned().collect()
        };
        if idle.is_empty() {
            return;
        }
        let up: BTreeSet<TargetRef> = self
            .config
            .injectors
            .iter()
            .flat_map(|i| i.states())
            .filter_map(|s| s.up.then_some(s.target))
            .collect();
        for gone in idle.iter().filter(|target| !up.contains(target)) {
            self.close(gone).await;
        }
    }

    /// The target of that name: an open one, or one whose name says all there is to say (`process:4711`, `node:self`).
    pub(super) fn target_for(&self, reference: &TargetRef) -> Result<Target, EngineError> {
        self.opener(reference.kind)?;
        if let Some(target) = self.lock().targets.get(reference) {
            return Ok(target.clone());
        }
        // A directory is mounted over when it is opened, and a proxy listens then; neither is done in passing.
        let in_passing = !matches!(reference.kind, TargetKind::Fs | TargetKind::Proxy);
        let implied = TargetSpec::implied(reference).filter(|_| in_passing);
        let spec = implied.ok_or_else(|| self.no_target(reference))?;
        Ok(Target { name: reference.name.clone(), spec })
    }

    pub(super) fn no_target(&self, wanted: &TargetRef) -> EngineError {
        let open: Vec<String> = self.lock().targets.keys().map(TargetRef::to_string).collect();
        let hint = match did_you_mean(&wanted.to_string(), open.iter().map(String::as_str)) {
            Some(near) => format!("did you mean {near}?"),
            None if open.is_empty() => "open it first; none is open".to_owned(),
            None => format!("open are {}", open.join(", ")),
        };
        EngineError::refused(format!("no target {wanted} is open"), hint)
    }
}

//! The open targets of one injector.

use host::ProcessId;
use inject::Refusal;
use model::sample::TargetState;
use model::{Target, TargetRef};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Targets by name, with what was found behind them.
#[derive(Debug, Default)]
pub(crate) struct Opened(Mutex<BTreeMap<TargetRef, Open>>);

#[derive(Debug, Clone)]
struct Open {
    target: Target,
    about: String,
    /// While one of these lives the target is up; none: always.
    alive: Vec<ProcessId>,
}

impl Opened {
    /// Remembers a target. Again as it is, it is looked at anew; otherwise it is refused.
    pub(crate) fn open(
        &self,
        target: &Target,
        about: String,
        alive: Vec<ProcessId>,
    ) -> Result<TargetState, Refusal> {
        let reference = target.reference();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = all.get(&reference).filter(|open| open.target != *target) {
            return Err(Refusal::new(
                format!("{reference} is already open as {}", open.about),
                "close it first, or choose another name",
            ));
        }
        let open = Open { target: target.clone(), about, alive };
        let state = state(&open);
        all.insert(reference, open);
        Ok(state)
    }

    /// Forgets a target.
    pub(crate) fn close(&self, target: &TargetRef) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(target);
    }

    /// All of them.
    pub(crate) fn states(&self) -> Vec<TargetState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().map(state).collect()
    }
}

fn state(open: &Open) -> TargetState {
    TargetState {
        target: open.target.reference(),
        about: open.about.clone(),
        up: open.alive.is_empty() || open.alive.iter().any(|id| id.alive()),
        listen: None,
        http: false,
    }
}

//! Open targets that are processes: found once, and the same for every fault.

use super::injector::spec;
use super::select;
use host::Process;
use inject::Refusal;
use model::sample::TargetState;
use model::{Target, TargetRef};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The processes of open targets.
#[derive(Debug, Default)]
pub struct Known {
    open: Mutex<BTreeMap<TargetRef, Open>>,
}

/// An open target: which processes were found, once.
#[derive(Debug, Clone)]
struct Open {
    target: Target,
    found: Vec<Process>,
}

impl Known {
    /// The processes of a target that live: of those found when it was opened, or found now when it is not open.
    pub async fn candidates(&self, target: &Target) -> Result<Vec<Process>, Refusal> {
        let known = self.lock().get(&target.reference()).map(|o| o.found.clone());
        let found = match known {
            Some(found) => found,
            None => select::find(&target.reference(), spec(target)?).await?,
        };
        let alive: Vec<Process> = found.iter().filter(|p| p.id.alive()).cloned().collect();
        if alive.is_empty() {
            return Err(Refusal::new(
                format!("nothing is left of {}: {}", target.reference(), select::names(&found)),
                "close the target and open it again to look for its processes anew",
            ));
        }
        Ok(alive)
    }

    /// Looks for the processes of a target, unless they are known and one of them lives.
    pub(crate) async fn open(&self, target: &Target) -> Result<TargetState, Refusal> {
        let reference = target.reference();
        let wanted = spec(target)?;
        let known = self.lock().get(&reference).cloned();
        if let Some(open) = known {
            if open.target != *target {
                return Err(Refusal::new(
                    format!("{reference} is already open as {}", select::names(&open.found)),
                    "close it first, or choose another name",
                ));
            }
            if open.found.iter().any(|p| p.id.alive()) {
                return Ok(state(&open));
            }
        }
        let found = select::find(&reference, wanted).await?;
        let open = Open { target: target.clone(), found };
        let state = state(&open);
        self.lock().insert(reference, open);
        Ok(state)
    }

    pub(crate) fn close(&self, target: &TargetRef) {
        self.lock().remove(target);
    }

    pub(super) fn states(&self) -> Vec<TargetState> {
        self.lock().values().map(state).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TargetRef, Open>> {
        // Whole entries are put in and taken out under this lock.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn state(open: &Open) -> TargetState {
    TargetState {
        target: open.target.reference(),
        about: select::names(&open.found),
        up: open.found.iter().any(|p| p.id.alive()),
        listen: None,
        http: false,
    }
}

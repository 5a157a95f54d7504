//! Taking faults back: one, all of a halt, what an earlier agent left.

use super::fault::{Entry, FaultPhase};
use super::{Agent, Inner};
use crate::error::EngineError;
use crate::guarded;
use crate::halt::{self, Halt};
use crate::undo::Live;
use inject::{Recovered, UndoRecord};
use model::event::{Ending, Level};
use model::{EventKind, Evidence};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How soon a failed undo is tried again, at first and at last.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// How long a change under way may hold up the end of its fault.
const TURN: Duration = Duration::from_secs(20);

/// What a halt did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HaltReport {
    /// Who halted first.
    pub by: String,
    /// When, in milliseconds since 1970 by the wall clock.
    pub at_ms: u64,
    /// Whether everything was halted already.
    pub already: bool,
    /// The faults that were on, newest first.
    pub faults: Vec<String>,
    /// Those that could not be taken back yet, and why.
    pub failed: Vec<(String, String)>,
}

impl Agent {
    /// Takes a fault back, and returns when it is seen to be gone. A failure is tried again in the background.
    pub async fn disarm(&self, id: &str, by: &str) -> Result<(), EngineError> {
        self.disarm_because(id, by, Ending::Disarmed).await
    }

    /// The same for another reason than a person's word: a guard, the end of a run.
    pub async fn disarm_because(&self, id: &str, by: &str, why: Ending) -> Result<(), EngineError> {
        let known = self.inner.lock().faults.get(id).map(|entry| entry.by.clone());
        if let Some(owner) = known.filter(|owner| owner != by && why == Ending::Disarmed) {
            self.inner.note(Level::Info, format!("{by} disarms {id}, which {owner} had armed"));
        }
        self.inner.end(id, why).await
    }

    /// Takes everything back and lets nothing be armed until it is lifted, also by a later agent. Beats everything;
    /// halting again changes nothing.
    pub async fn halt(&self, by: &str) -> HaltReport {
        let (halt, already, faults) = {
            let mut state = self.inner.lock();
            let already = state.halted.is_some();
            let halt = state.halted.get_or_insert_with(|| Halt::now(by)).clone();
            (halt, already, newest_first(&state.faults))
        };
        let inner = self.inner.clone();
        // In a task of its own: whoever halts may go away at once.
        let all = tokio::spawn(async move {
            // Taking back does not wait for the disk; both go on together.
            let (dir, kept) = (inner.config.state_dir.clone(), inner.lock().halted.clone());
            let write =
                tokio::task::spawn_blocking(move || kept.map_or(Ok(()), |halt| halt::write(&dir, &halt)));
            if !already || !faults.is_empty() {
                let by = inner.lock().halted.as_ref().map_or_else(String::new, |halt| halt.by.clone());
                inner.events.emit(EventKind::Halted { by, faults: faults.clone() });
            }
            let failed = inner.end_all(Ending::Halted).await;
            if let Ok(Err(e)) = write.await {
                inner.note(Level::Error, format!("the halt is on, but could not be written to disk: {e}; it would not survive a restart"));
            }
            (faults, failed)
        });
        let (faults, failed) = all.await.unwrap_or_default();
        HaltReport { by: halt.by, at_ms: halt.at_ms, already, faults, failed }
    }

    /// Lets faults be armed again; whether anything was halted.
    pub async fn lift(&self, by: &str) -> Result<bool, EngineError> {
        let dir = self.inner.config.state_dir.clone();
        // First on disk: a lift that a restart forgets is harmless, a halt that comes back after it is not understood.
        tokio::task::spawn_blocking(move || halt::clear(&dir))
            .await
            .unwrap_or_else(|e| Err(std::io::Error::other(e)))
            .map_err(|e| EngineError::StateDir(format!("the halt cannot be lifted: {e}")))?;
        let was = self.inner.lock().halted.take().is_some();
        if was {
            self.inner.events.emit(EventKind::HaltLifted { by: by.to_owned() });
        }
        Ok(was)
    }
}

impl Inner {
    pub(super) fn unknown(&self, id: &str) -> EngineError {
        let known = self.lock().faults.keys().cloned().collect();
        EngineError::UnknownFault { id: id.to_owned(), known }
    }

    /// Ends a fault and waits for the first try.
    pub(super) async fn end(self: &Arc<Self>, id: &str, why: Ending) -> Result<(), EngineError> {
        let Some(mut outcome) = self.begin_end(id, why) else { return Err(self.unknown(id)) };
        let result = outcome.wait_for(Option::is_some).await.map(|r| r.clone());
        match result {
            Ok(Some(Err(why))) => Err(EngineError::RecoverFailed { id: id.to_owned(), why }),
            _ => Ok(()),
        }
    }

    /// From here on nobody changes the fault; what undoes it is under way.
    pub(super) fn begin_end(
        self: &Arc<Self>,
        id: &str,
        why: Ending,
    ) -> Option<tokio::sync::watch::Receiver<super::fault::Outcome>> {
        let mut state = self.lock();
        let entry = state.faults.get_mut(id)?;
        match entry.phase {
            FaultPhase::Arming => {
                entry.cancelled.get_or_insert(why);
            }
            FaultPhase::On => {
                entry.phase = FaultPhase::Ending;
                tokio::spawn(self.clone().finish(id.to_owned(), why));
            }
            FaultPhase::Stuck => {
                entry.shared.outcome.send_replace(None);
                entry.shared.again.notify_one();
            }
            FaultPhase::Ending | FaultPhase::Ended => {}
        }
        Some(entry.shared.outcome.subscribe())
    }

    /// Ends all faults, newest first; those that could not be taken back at once, and why.
    pub(super) async fn end_all(self: &Arc<Self>, why: Ending) -> Vec<(String, String)> {
        let ids = newest_first(&self.lock().faults);
        let mut failed = Vec::new();
        for id in ids {
            if let Err(EngineError::RecoverFailed { id, why }) = self.end(&id, why).await {
                failed.push((id, why));
            }
        }
        failed
    }

    /// Whether the agent has given back its state directory.
    fn is_closed(&self) -> bool {
        self.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner).is_none()
    }

    pub(super) fn remove(&self, id: &str) -> Option<Entry> {
        let mut state = self.lock();
        let entry = state.faults.remove(id);
        if state.faults.is_empty() {
            self.lease.rest();
        }
        entry
    }

    /// Undoes a fault until it is gone. Only one of these runs for a fault: whoever sets its phase to ending starts it.
    pub(super) async fn finish(self: Arc<Self>, id: String, why: Ending) {
        let Some(shared) = self.lock().faults.get(&id).map(|entry| entry.shared.clone()) else { return };
        // A change that hangs does not keep the fault on: it is bounded itself, and so is the wait for it.
        let turn = tokio::time::timeout(TURN, shared.turn.lock()).await;
        let found = {
            let state = self.lock();
            state.faults.get(&id).and_then(|e| Some((e.n?, e.armed.clone()?, e.places.clone())))
        };
        let Some((n, armed, places)) = found else { return };
        let mut evidence = self.evidence(&armed);
        let mut left: Vec<(usize, UndoRecord)> = places.into_iter().zip(armed.acts.iter().cloned()).collect();
        let mut pause = AGAIN.0;
        let mut told = String::new();
        while let Some(problem) = self.undo(n, &mut left, why == Ending::Once).await {
            if self.is_closed() {
                // What is left is the watchdog's now, and the log perhaps another agent's.
                shared.outcome.send_replace(Some(Err(problem)));
                return;
            }
            if told != problem {
                self.undo_failures.fetch_add(1, Ordering::Relaxed);
                self.events.emit(EventKind::RecoverFailed { id: id.clone(), why: problem.clone() });
                told.clone_from(&problem);
            }
            if let Some(entry) = self.lock().faults.get_mut(&id) {
                entry.phase = FaultPhase::Stuck;
            }
            shared.outcome.send_replace(Some(Err(problem)));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shared.again.notified() => {}
            }
            pause = (pause * 2).min(AGAIN.1);
            if self.is_closed() {
                return;
            }
        }
        drop(turn);
        // What was counted while it was taken back belongs to it too; some injectors have forgotten by now.
        let after = self.evidence(&armed);
        if after.considered >= evidence.considered && after.applied >= evidence.applied {
            evidence = followed(evidence, after);
        }
        if let Ok(injector) = self.injector_of(&armed) {
            injector.forget(&armed);
        }
        if let Err(e) = self.with_log(move |log| log.close(n)).await {
            self.note(
                Level::Warn,
                format!("the undo log could not be cleared: {e}; undoing again changes nothing"),
            );
        }
        let entry = self.remove(&id);
        let target = armed.order.fault.target.clone();
        self.events.emit(EventKind::Recovered { id, target, why, evidence });
        if let Some(entry) = entry {
            self.claims.release(&entry.claims).await;
            self.tidy().await;
        }
        shared.outcome.send_replace(Some(Ok(())));
        self.wake.notify_one();
    }

    /// Undoes what is left, newest first; what failed stays in `left`, and why.
    async fn undo(&self, n: u64, left: &mut Vec<(usize, UndoRecord)>, once: bool) -> Option<String> {
        let mut failed = Vec::new();
        let mut problems = Vec::new();
        for (place, record) in std::mem::take(left).into_iter().rev() {
            // What happens once is over: there is nothing to undo.
            let outcome = if once {
                Recovered::Undone
            } else {
                guarded::recover(&self.config.injectors, &record).await
            };
            match outcome {
                Recovered::Undone | Recovered::Gone(_) => {
                    // Not writing it down only means that it may be undone once more.
                    let _ = self.with_log(move |log| log.undone(n, place)).await;
                }
                Recovered::Failed(why) => {
                    problems.push(format!("{}: {why}", record.undo));
                    failed.insert(0, (place, record));
                }
            }
        }
        *left = failed;
        (!problems.is_empty()).then(|| problems.join("; "))
    }

    /// Goes on undoing what an earlier agent left and the start could not undo.
    pub(super) async fn finish_left(self: Arc<Self>, mut faults: Vec<Live>) {
        let mut pause = AGAIN.0;
        while !faults.is_empty() {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(AGAIN.1);
            let mut still = Vec::new();
            for mut fault in faults.into_iter().rev() {
                if self.undo(fault.n, &mut fault.acts, false).await.is_some() {
                    still.insert(0, fault);
                    continue;
                }
                let n = fault.n;
                let _ = self.with_log(move |log| log.close(n)).await;
                self.events.emit(EventKind::Recovered {
                    id: fault.id,
                    target: fault.target,
                    why: Ending::Recovered,
                    evidence: Evidence::default(),
                });
            }
            faults = still;
        }
    }
}

fn newest_first(faults: &std::collections::BTreeMap<String, Entry>) -> Vec<String> {
    let mut list: Vec<_> = faults.values().collect();
    list.sort_by_key(|entry| std::cmp::Reverse(entry.order));
    list.iter().map(|entry| entry.id.clone()).collect()
}

/// The evidence after a fault was taken back, with what it had of the moment right before: what a number named `_now` says
/// afterwards is only that nothing is on any more.
fn followed(before: Evidence, mut after: Evidence) -> Evidence {
    let of_then = before.measured.into_iter().filter(|(name, _)| name.ends_with("_now"));
    after.measured.extend(of_then);
    after
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_go_on_and_states_stay() {
        let of = |applied, measured: &[(&str, f64)]| Evidence {
            considered: 9,
            applied,
            measured: measured.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect(),
        };
        let before = of(1, &[("stopped_now", 4.0), ("cpu_ms_since", 1.0)]);
        let after = of(2, &[("stopped_now", 0.0), ("cpu_ms_since", 3.0)]);
        assert_eq!(followed(before, after), of(2, &[("stopped_now", 4.0), ("cpu_ms_since", 3.0)]));
    }
}

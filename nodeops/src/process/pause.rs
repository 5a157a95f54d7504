//! `pause`: SIGSTOP, and SIGCONT afterwards.

use super::{ProcessFault, select};
use crate::record::Act;
use host::process::{ProcessError, ProcessSignal};
use host::{Process, ProcessHandle, ProcessId};
use inject::{InjectError, Order, Outcomes, Recovered, Refusal, UndoRecord};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long the kernel gets to stop a process: one that sleeps uninterruptibly (on a disk) stops late.
const STOPPING: Duration = Duration::from_secs(2);
/// How long it gets to let it go on.
const CONTINUING: Duration = Duration::from_secs(5);

pub(super) struct Pause;

impl ProcessFault for Pause {
    fn name(&self) -> &'static str {
        "pause"
    }

    fn plan(&self, _order: &Order, process: &Process) -> Result<UndoRecord, Refusal> {
        let Process { id, comm, .. } = process;
        let stat = id.stat().map_err(|e| select::gone(process, &e))?;
        match stat.state {
            'T' => {
                return Err(Refusal::new(
                    format!("process {} ({comm}) is stopped already, and not by this fault", id.pid),
                    "it would be continued afterwards although someone wants it stopped; continue it first",
                ));
            }
            't' => {
                return Err(Refusal::new(
                    format!("process {} ({comm}) is held by a debugger", id.pid),
                    "detach the debugger first",
                ));
            }
            _ => {}
        }
        Ok(UndoRecord {
            injector: "process".into(),
            act: format!("stop process {} ({comm}) with SIGSTOP", id.pid),
            undo: format!("continue process {} ({comm}) with SIGCONT", id.pid),
            data: Act::new("pause", Some(*id), comm).json(),
            ends_with_agent: false,
        })
    }

    fn inject(&self, _order: &Order, processes: &[Option<ProcessId>]) -> Outcomes {
        // All are signalled before any is waited for, so that they stop together.
        let sent: Vec<_> = processes.iter().map(|id| send(*id)).collect();
        sent.into_iter().map(|held| held.and_then(|held| verify(&held))).collect()
    }

    fn recover(&self, id: ProcessId) -> Recovered {
        let held = match id.open() {
            Ok(held) => held,
            Err(ProcessError::Gone(pid)) => return Recovered::Gone(format!("process {pid} is gone")),
            Err(e) => return Recovered::Failed(format!("{e}; then run `murphy recover`")),
        };
        match held.signal(ProcessSignal::CONT) {
            Ok(()) => {}
            Err(ProcessError::Gone(pid)) => return Recovered::Gone(format!("process {pid} is gone")),
            Err(e) => return Recovered::Failed(format!("SIGCONT failed: {e}; then run `murphy recover`")),
        }
        match held.wait_state(CONTINUING, |state| state != 'T') {
            None | Some('Z' | 'X') => Recovered::Gone(format!("process {} is gone", id.pid)),
            Some('T') => Recovered::Failed(format!(
                "process {} is still stopped after SIGCONT; someone else may keep stopping it",
                id.pid
            )),
            Some(_) => Recovered::Undone,
        }
    }

    fn measure(&self, done: &[ProcessId], before: &BTreeMap<ProcessId, Duration>) -> BTreeMap<String, f64> {
        let now: Vec<_> = done.iter().filter_map(|id| id.stat().ok()).collect();
        let used: Duration = now.iter().filter_map(|s| Some(s.cpu.saturating_sub(*before.get(&s.id)?))).sum();
        BTreeMap::from([
            ("stopped_now".to_owned(), now.iter().filter(|s| s.state == 'T').count() as f64),
            ("cpu_ms_since".to_owned(), used.as_secs_f64() * 1e3),
        ])
    }
}

fn send(id: Option<ProcessId>) -> Result<ProcessHandle, InjectError> {
    let id = id.ok_or_else(|| InjectError::new("the plan names no process").hint("please report this"))?;
    let failed = |e: ProcessError| InjectError::new(format!("stopping process {} failed: {e}", id.pid));
    let held = id.open().map_err(failed)?;
    // Looked at again right before: a stop by someone else since the plan must not become ours to undo.
    if id.stat().map_err(failed)?.state == 'T' {
        return Err(InjectError::new(format!("process {} was stopped by someone else meanwhile", id.pid))
            .hint("it was left stopped"));
    }
    held.signal(ProcessSignal::STOP).map_err(failed)?;
    Ok(held)
}

fn verify(held: &ProcessHandle) -> Result<(), InjectError> {
    let pid = held.id().pid;
    match held.wait_state(STOPPING, |state| matches!(state, 'T' | 'Z' | 'X')) {
        Some('T') => Ok(()),
        None | Some('Z' | 'X') => {
            Err(InjectError::new(format!("process {pid} ended before it could be stopped")))
        }
        Some(state) => {
            // Not stopped in time: nothing may stay behind that stops it later.
            let _ = held.signal(ProcessSignal::CONT);
            Err(InjectError::new(format!("process {pid} did not stop within 2 s (state {state})"))
                .hint("it may be waiting for a disk; SIGCONT was sent so that it does not stop later"))
        }
    }
}

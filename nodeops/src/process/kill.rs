//! `kill`: a signal, once.

use super::ProcessFault;
use super::signals::SIGNALS;
use crate::record::Act;
use host::process::ProcessSignal;
use host::{Process, ProcessHandle, ProcessId};
use inject::{InjectError, Order, Outcomes, Recovered, Refusal, UndoRecord};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a process may take to die of SIGKILL before evidence is read; it is signalled in any case.
const DYING: Duration = Duration::from_secs(1);

pub(super) struct Kill;

impl ProcessFault for Kill {
    fn name(&self) -> &'static str {
        "kill"
    }

    fn plan(&self, order: &Order, process: &Process) -> Result<UndoRecord, Refusal> {
        let (name, _) = signal(order)?;
        let Process { id, comm, .. } = process;
        Ok(UndoRecord {
            injector: "process".into(),
            act: format!("send {name} to process {} ({comm})", id.pid),
            undo: "cannot be undone".into(),
            data: Act::new("kill", Some(*id), comm).json(),
            ends_with_agent: true,
        })
    }

    fn inject(&self, order: &Order, processes: &[Option<ProcessId>]) -> Outcomes {
        let send = |id: &Option<ProcessId>| {
            let id = id.ok_or_else(|| InjectError::new("the plan names no process"))?;
            let (name, signal) = signal(order).map_err(|r| InjectError(r.0))?;
            let failed = |e| InjectError::new(format!("{name} was not sent: {e}"));
            let held = id.open().map_err(failed)?;
            if !id.alive() {
                return Err(InjectError::new(format!("process {} was dead already", id.pid)));
            }
            held.signal(signal).map_err(failed)?;
            Ok((held, signal))
        };
        // All are signalled before any is waited for. Only SIGKILL is certain to end a process, so only that is seen out.
        let sent: Vec<_> = processes.iter().map(send).collect();
        let seen_out = |(held, signal): (ProcessHandle, ProcessSignal)| {
            if signal == ProcessSignal::KILL {
                held.wait_exit(DYING);
            }
        };
        sent.into_iter().map(|one| one.map(seen_out)).collect()
    }

    fn recover(&self, _id: ProcessId) -> Recovered {
        Recovered::Gone("a signal cannot be taken back".into())
    }

    fn measure(&self, done: &[ProcessId], _before: &BTreeMap<ProcessId, Duration>) -> BTreeMap<String, f64> {
        BTreeMap::from([("ended".to_owned(), done.iter().filter(|id| !id.alive()).count() as f64)])
    }
}

fn signal(order: &Order) -> Result<(&'static str, ProcessSignal), Refusal> {
    let name = order.fault.inject.text("signal").unwrap_or("SIGKILL");
    SIGNALS.into_iter().find(|(n, _)| *n == name).ok_or_else(|| {
        Refusal::new(
            format!("{name} cannot be sent"),
            format!("send one of {}", SIGNALS.map(|(n, _)| n).join(", ")),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_of_the_catalogue_can_be_sent() {
        let signal = model::catalogue::find("kill").and_then(|def| def.param("signal")).unwrap();
        let model::ParamType::Choice(words) = signal.ty else { panic!("signal is a choice") };
        assert_eq!(words, SIGNALS.map(|(name, _)| name));
    }
}

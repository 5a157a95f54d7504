//! `ntp_stop`: the daemons that keep the machine's clock right, stopped and continued.

use super::{ClockFault, NAME};
use crate::process::select;
use crate::record::Act;
use host::process::{ProcessError, ProcessSignal};
use host::{Process, ProcessId};
use inject::{Armed, InjectError, Order, Outcomes, Plan, Possibility, Recovered, Refusal, UndoRecord};
use model::{Evidence, Fault};
use std::collections::BTreeMap;
use std::time::Duration;

/// Their names, as the kernel cuts them to 15 bytes.
const DAEMONS: &[&str] = &["chronyd", "ntpd", "systemd-timesyn", "ptp4l", "phc2sys", "timemaster"];
/// How long the kernel gets to stop or continue one.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long systemd lets its own one be silent.
const PATIENT_SYSTEMD: Duration = Duration::from_secs(180);

/// The daemons that run.
pub(super) fn running() -> Vec<Process> {
    named(DAEMONS)
}

fn named(names: &[&str]) -> Vec<Process> {
    let all = host::process::list().into_iter();
    all.filter(|p| !p.command.is_empty() && names.contains(&p.comm.as_str()) && p.id.alive()).collect()
}

/// The fault.
pub(super) struct NtpStop {
    names: &'static [&'static str],
}

impl Default for NtpStop {
    fn default() -> NtpStop {
        NtpStop { names: DAEMONS }
    }
}

impl ClockFault for NtpStop {
    fn name(&self) -> &'static str {
        "ntp_stop"
    }

    fn possible(&self) -> Possibility {
        let found = named(self.names);
        if found.is_empty() {
            return Possibility::yes().no(format!(
                "no NTP daemon runs here ({}), so there is nothing to stop",
                self.names.join(", ")
            ));
        }
        match found.iter().find_map(|p| select::allowed(p).err()) {
            None => Possibility::yes(),
            Some(refusal) => Possibility::yes().no(refusal.to_string()),
        }
    }

    fn plan(&self, order: &Order, _: &[Process]) -> Result<Plan, Refusal> {
        super::members::is_this_machine(&order.target)?;
        let found = named(self.names);
        if found.is_empty() {
            return Err(Refusal::new(
                format!("no NTP daemon runs here ({})", self.names.join(", ")),
                "there is nothing to stop: system_clock alone will stay as it is set",
            ));
        }
        let mut warnings = Vec::new();
        let mut acts = Vec::new();
        for process in &found {
            let Process { id, comm, .. } = process;
            select::allowed(process)?;
            if stopped(*id) {
                warnings.push(format!("{comm} ({}) is stopped already, and is left so", id.pid));
                continue;
            }
            if comm == "systemd-timesyn" && order.fault.lasts.is_some_and(|l| l.0 > PATIENT_SYSTEMD) {
                warnings.push("systemd starts systemd-timesyncd anew after three minutes".into());
            }
            acts.push(UndoRecord {
                injector: NAME.into(),
                act: format!("stop {comm}, process {}, with SIGSTOP", id.pid),
                undo: format!("continue {comm}, process {}, with SIGCONT", id.pid),
                data: Act::new(self.name(), Some(*id), comm).json(),
                ends_with_agent: false,
            });
        }
        Ok(Plan { order: order.clone(), acts, warnings })
    }

    fn claims(&self, plan: &Plan) -> Vec<String> {
        let ids = plan.acts.iter().filter_map(|act| Act::read(act)?.process);
        ids.map(|id| format!("process {id}")).collect()
    }

    fn inject(&self, plan: &Plan) -> Outcomes {
        plan.acts.iter().map(stop).collect()
    }

    fn adjust(&self, _armed: &Armed, _fault: &Fault) -> Result<(), InjectError> {
        // It has no parameters; a longer time is the engine's affair.
        Ok(())
    }

    fn recover(&self, record: &UndoRecord) -> Recovered {
        let (act, id) = match Act::find(record) {
            Ok(found) => found,
            Err(outcome) => return outcome,
        };
        let gone = || {
            Recovered::Gone(format!(
                "{} ({}) is gone; whoever started it may have started it anew",
                act.comm, id.pid
            ))
        };
        let held = match id.open() {
            Ok(held) => held,
            Err(ProcessError::Gone(_)) => return gone(),
            Err(e) => return Recovered::Failed(format!("{e}; then run `murphy recover`")),
        };
        match held.signal(ProcessSignal::CONT) {
            Ok(()) => {}
            Err(ProcessError::Gone(_)) => return gone(),
            Err(e) => return Recovered::Failed(format!("SIGCONT failed: {e}; then run `murphy recover`")),
        }
        match held.wait_state(PATIENCE, |state| state != 'T') {
            None | Some('Z' | 'X') => gone(),
            Some('T') => {
                Recovered::Failed(format!("{} ({}) is still stopped after SIGCONT", act.comm, id.pid))
            }
            Some(_) => Recovered::Undone,
        }
    }

    fn evidence(&self, armed: &Armed) -> Evidence {
        let ids: Vec<ProcessId> = armed.acts.iter().filter_map(|act| Act::read(act)?.process).collect();
        let now = ids.iter().filter(|id| stopped(**id)).count();
        let anew = named(self.names).iter().filter(|p| !ids.contains(&p.id)).count();
        Evidence {
            considered: ids.len() as u64,
            applied: ids.len() as u64,
            measured: BTreeMap::from([
                ("stopped_now".to_owned(), now as f64),
                ("started_anew".to_owned(), anew as f64),
            ]),
        }
    }

    fn forget(&self, _id: &str) {}
}

fn stopped(id: ProcessId) -> bool {
    id.stat().is_ok_and(|s| s.state == 'T')
}

fn stop(record: &UndoRecord) -> Result<(), InjectError> {
    let Some(Act { process: Some(id), comm, .. }) = Act::read(record) else {
        return Err(InjectError::new("the plan names no process").hint("please report this"));
    };
    let failed = |e: ProcessError| InjectError::new(format!("stopping {comm} failed: {e}"));
    let held = id.open().map_err(failed)?;
    held.signal(ProcessSignal::STOP).map_err(failed)?;
    match held.wait_state(PATIENCE, |state| matches!(state, 'T' | 'Z' | 'X')) {
        Some('T') => Ok(()),
        _ => {
            let _ = held.signal(ProcessSignal::CONT);
            Err(InjectError::new(format!("{comm} did not stop within 5 s"))
                .hint("SIGCONT was sent so that it does not stop later"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Target, TargetSpec};
    use std::process::{Child, Command};

    struct Daemon(Child);
    impl Drop for Daemon {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_daemon_is_stopped_and_continued_by_its_name() {
        // A name that nothing else on any machine has: others' daemons are none of a test's business.
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("murphy-ntpd");
        std::fs::copy("/bin/sleep", &program).unwrap();
        let fault = NtpStop { names: &["murphy-ntpd"] };
        assert!(fault.possible().missing[0].contains("no NTP daemon runs here"));
        let daemon = Daemon(Command::new(&program).arg("600").spawn().unwrap());
        let id = ProcessId::of(daemon.0.id()).unwrap();
        let until = std::time::Instant::now() + Duration::from_secs(20);
        while named(fault.names).is_empty() {
            assert!(std::time::Instant::now() < until);
            std::thread::sleep(Duration::from_millis(5));
        }
        let spec = TargetSpec::implied(&"node:self".parse().unwrap()).unwrap();
        let order = Order {
            id: "A".into(),
            fault: serde_json::from_str(r#"{"target":"node:self","for":"60s","inject":{"ntp_stop":{}}}"#)
                .unwrap(),
            target: Target { name: "self".into(), spec },
            seed: 1,
        };
        let plan = fault.plan(&order, &[]).unwrap();
        assert_eq!(fault.inject(&plan), vec![Ok(())]);
        assert!(stopped(id));
        let armed = Armed { order, acts: plan.acts.clone() };
        assert_eq!(fault.evidence(&armed).measured["stopped_now"], 1.0);
        assert_eq!(NtpStop::default().recover(&plan.acts[0]), Recovered::Undone);
        assert!(!stopped(id));
        drop(daemon);
        assert!(matches!(fault.recover(&plan.acts[0]), Recovered::Gone(_)));
    }
}

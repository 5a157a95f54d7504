//! Clocks: of live processes (`clock`), of the machine (`system_clock`), and what keeps it right (`ntp_stop`).
//!
//! ```text
//! course   what was asked for → numbers at a moment        slot    those numbers as they lie in a target
//! image    the vDSO and what is changed in it              arch/   the code for it, by processor
//! stop     all threads of a process, stopped               memory  another process's memory
//! patch    one process's clock changed, and changed back   scan    every process whose clock is changed
//! skew     the fault on processes                          unaware processes that will not see it
//! system, ntp   the faults on the machine                 namespace   clocks for programs that are started
//! ```

mod arch;
mod course;
mod image;
mod members;
mod memory;
mod namespace;
mod ntp;
mod patch;
mod scan;
mod skew;
mod slot;
mod stop;
mod sys;
mod system;
mod unaware;

pub use namespace::{Clocks, exec};

use crate::process::Known;
use crate::shared::blocking;
use host::Process;
use inject::{
    Armed, BoxFuture, InjectError, Injector, Leftover, Order, Outcomes, Plan, Possibility, Recovered,
    Refusal, UndoLog, UndoRecord,
};
use model::sample::TargetState;
use model::{Evidence, Fault, Target, TargetKind, TargetRef};
use std::sync::Arc;

/// The name in undo records.
const NAME: &str = "clock";

/// One fault on clocks. Everything may block.
trait ClockFault: Send + Sync {
    /// Its name in the catalogue.
    fn name(&self) -> &'static str;
    /// Whether it can be injected here.
    fn possible(&self) -> Possibility;
    /// Whether it is done to processes, and not to the machine.
    fn on_processes(&self) -> bool {
        false
    }
    /// What would be done, to these processes if it is done to processes; touches nothing.
    fn plan(&self, order: &Order, processes: &[Process]) -> Result<Plan, Refusal>;
    /// What the acts of a plan take hold of.
    fn claims(&self, plan: &Plan) -> Vec<String>;
    /// Acts.
    fn inject(&self, plan: &Plan) -> Outcomes;
    /// Changes what is on.
    fn adjust(&self, armed: &Armed, fault: &Fault) -> Result<(), InjectError>;
    /// Undoes one act.
    fn recover(&self, act: &UndoRecord) -> Recovered;
    /// What it does.
    fn evidence(&self, armed: &Armed) -> Evidence;
    /// It is over.
    fn forget(&self, id: &str);
    /// What of its acts is on this machine.
    fn leftovers(&self) -> Vec<Leftover> {
        Vec::new()
    }
}

/// Injects into clocks: `clock`, `system_clock` and `ntp_stop`.
pub struct ClockInjector {
    known: Arc<Known>,
    faults: Vec<Arc<dyn ClockFault>>,
}

impl std::fmt::Debug for ClockInjector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClockInjector").finish_non_exhaustive()
    }
}

impl ClockInjector {
    /// An injector with nothing armed; the processes of open targets are known to that of processes.
    pub fn new(known: Arc<Known>) -> ClockInjector {
        ClockInjector {
            known,
            faults: vec![
                Arc::new(skew::Skew::new()),
                Arc::new(system::SystemClock::new()),
                Arc::new(ntp::NtpStop::default()),
            ],
        }
    }

    fn find(&self, name: &str) -> Option<Arc<dyn ClockFault>> {
        self.faults.iter().find(|f| f.name() == name).cloned()
    }

    fn of(&self, armed: &Armed) -> Option<Arc<dyn ClockFault>> {
        self.find(armed.order.fault.inject.name())
    }
}

impl Injector for ClockInjector {
    fn name(&self) -> &'static str {
        NAME
    }

    fn kinds(&self) -> &'static [TargetKind] {
        &[TargetKind::Process, TargetKind::Container, TargetKind::Cgroup, TargetKind::Node]
    }

    fn injects(&self, fault: &str) -> bool {
        self.find(fault).is_some()
    }

    /// Others open targets of these kinds; this is here for when nobody else does.
    fn open<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<TargetState, Refusal>> {
        Box::pin(async move {
            Ok(TargetState {
                target: target.reference(),
                about: String::new(),
                up: true,
                listen: None,
                http: false,
            })
        })
    }

    fn close<'a>(&'a self, _target: &'a TargetRef) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }

    fn states(&self) -> Vec<TargetState> {
        Vec::new()
    }

    fn possible(&self, fault: &str) -> Option<Possibility> {
        self.find(fault).map(|f| f.possible())
    }

    fn leftovers(&self) -> Vec<Leftover> {
        self.faults.iter().flat_map(|f| f.leftovers()).collect()
    }

    fn plan<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Plan, Refusal>> {
        Box::pin(async move {
            let name = order.fault.inject.name();
            let Some(fault) = self.find(name) else {
                return Err(Refusal::new(
                    format!("{name} is no fault of clocks"),
                    "there are clock, system_clock and ntp_stop",
                ));
            };
            let processes = match fault.on_processes() {
                true => members::of(&order.target, &self.known, order.seed).await?,
                false => Vec::new(),
            };
            let order = order.clone();
            blocking(move || fault.plan(&order, &processes))
                .await
                .unwrap_or_else(|why| Err(Refusal::new(why, "try again")))
        })
    }

    fn claims(&self, plan: &Plan) -> Vec<String> {
        self.find(plan.order.fault.inject.name()).map(|f| f.claims(plan)).unwrap_or_default()
    }

    fn inject<'a>(&'a self, plan: &'a Plan, _log: &'a dyn UndoLog) -> BoxFuture<'a, Outcomes> {
        Box::pin(async move {
            let failed = |why: String| vec![Err(InjectError::new(why)); plan.acts.len()];
            let Some(fault) = self.find(plan.order.fault.inject.name()) else {
                return failed("this fault is unknown here".into());
            };
            let plan = plan.clone();
            blocking(move || fault.inject(&plan)).await.unwrap_or_else(failed)
        })
    }

    fn adjust<'a>(&'a self, armed: &'a Armed, fault: &'a Fault) -> BoxFuture<'a, Result<(), InjectError>> {
        Box::pin(async move {
            let Some(of) = self.of(armed) else {
                return Err(InjectError::new("this fault is unknown here"));
            };
            let (armed, fault) = (armed.clone(), fault.clone());
            blocking(move || of.adjust(&armed, &fault)).await.unwrap_or_else(|e| Err(InjectError::new(e)))
        })
    }

    fn recover<'a>(&'a self, act: &'a UndoRecord) -> BoxFuture<'a, Recovered> {
        Box::pin(async move {
            let name = act.data["fault"].as_str().unwrap_or_default();
            let Some(fault) = self.find(name) else {
                return Recovered::Failed(format!(
                    "nobody here knows the fault {name:?}; use the version of murphy that armed it"
                ));
            };
            let act = act.clone();
            blocking(move || fault.recover(&act)).await.unwrap_or_else(Recovered::Failed)
        })
    }

    fn evidence(&self, armed: &Armed) -> Evidence {
        self.of(armed).map(|f| f.evidence(armed)).unwrap_or_default()
    }

    fn forget(&self, armed: &Armed) {
        if let Some(fault) = self.of(armed) {
            fault.forget(&armed.order.id);
        }
    }
}

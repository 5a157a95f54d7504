//! Processes that exist anyway: which of them are meant, and what is done to them.

mod kill;
mod pause;
mod select;

use crate::record::Act;
use host::{Process, ProcessId};
use inject::{
    Armed, BoxFuture, InjectError, Injector, Order, Outcomes, Plan, Recovered, Refusal, UndoLog, UndoRecord,
};
use model::sample::TargetState;
use model::target::ProcessSpec;
use model::{Evidence, Fault, Sample, Target, TargetKind, TargetRef, TargetSpec};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A fault on processes. Everything here may block for as long as the kernel needs to act on a signal.
trait ProcessFault: Sync {
    /// Its name in the catalogue.
    fn name(&self) -> &'static str;
    /// The act on one process and its undo; refused when it would do nothing or undo too much.
    fn plan(&self, order: &Order, process: &Process) -> Result<UndoRecord, Refusal>;
    /// Acts on all of them, as nearly at once as can be.
    fn inject(&self, order: &Order, processes: &[Option<ProcessId>]) -> Outcomes;
    /// Undoes it on one.
    fn recover(&self, process: ProcessId) -> Recovered;
    /// What it does to those it acts on, as numbers.
    fn measure(&self, done: &[ProcessId], before: &BTreeMap<ProcessId, Duration>) -> BTreeMap<String, f64>;
}

const FAULTS: [&dyn ProcessFault; 2] = [&pause::Pause, &kill::Kill];

fn find(name: &str) -> Option<&'static dyn ProcessFault> {
    FAULTS.into_iter().find(|f| f.name() == name)
}

/// Injects into processes: `pause` and `kill`.
#[derive(Debug, Default)]
pub struct ProcessInjector {
    open: Mutex<BTreeMap<TargetRef, Open>>,
    done: Mutex<BTreeMap<String, Done>>,
}

/// An open target: which processes were found, once.
#[derive(Debug, Clone)]
struct Open {
    target: Target,
    found: Vec<Process>,
}

/// What a fault considered, for evidence, with the processor time its processes had used before.
#[derive(Debug, Clone, Default)]
struct Done {
    considered: u64,
    before: BTreeMap<ProcessId, Duration>,
}

impl ProcessInjector {
    /// An injector with no target open.
    pub fn new() -> ProcessInjector {
        ProcessInjector::default()
    }

    /// The processes of a target: those found when it was opened, or found now when it is not open.
    fn candidates(&self, target: &Target) -> Result<Vec<Process>, Refusal> {
        let known = lock(&self.open).get(&target.reference()).map(|o| o.found.clone());
        let found = match known {
            Some(found) => found,
            None => select::find(&target.reference(), spec(target)?)?,
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

    fn plan_now(&self, order: &Order) -> Result<Plan, Refusal> {
        let fault = find(order.fault.inject.name()).ok_or_else(|| {
            Refusal::new(
                format!("{} is no fault of processes", order.fault.inject.name()),
                "try pause or kill",
            )
        })?;
        let alive = self.candidates(&order.target)?;
        let picked = select::pick(&order.target.reference(), &alive, spec(&order.target)?.pick, order.seed)?;
        let (mut acts, mut refused) = (Vec::new(), Vec::new());
        for process in &picked {
            match select::allowed(process).and_then(|()| fault.plan(order, process)) {
                Ok(act) => acts.push(act),
                Err(refusal) => refused.push(refusal),
            }
        }
        match refused.into_iter().reduce(|first, next| Refusal(first.0.clone().hint(next.0.to_string()))) {
            Some(refusal) if acts.is_empty() => Err(refusal),
            refused => Ok(Plan {
                order: order.clone(),
                acts,
                warnings: refused.into_iter().map(|r| format!("left out: {}", r.0)).collect(),
            }),
        }
    }
}

impl Injector for ProcessInjector {
    fn name(&self) -> &'static str {
        "process"
    }

    fn kinds(&self) -> &'static [TargetKind] {
        &[TargetKind::Process]
    }

    fn injects(&self, fault: &str) -> bool {
        find(fault).is_some()
    }

    fn open<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<TargetState, Refusal>> {
        Box::pin(async move {
            let reference = target.reference();
            let wanted = spec(target)?;
            if let Some(open) = lock(&self.open).get(&reference) {
                if open.target != *target {
                    return Err(Refusal::new(
                        format!("{reference} is already open as {}", select::names(&open.found)),
                        "close it first, or choose another name",
                    ));
                }
                if open.found.iter().any(|p| p.id.alive()) {
                    return Ok(state(open));
                }
            }
            let found = select::find(&reference, wanted)?;
            let open = Open { target: target.clone(), found };
            let state = state(&open);
            lock(&self.open).insert(reference, open);
            Ok(state)
        })
    }

    fn close<'a>(&'a self, target: &'a TargetRef) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            lock(&self.open).remove(target);
        })
    }

    fn states(&self) -> Vec<TargetState> {
        lock(&self.open).values().map(state).collect()
    }

    fn totals(&self) -> BTreeMap<TargetRef, Sample> {
        BTreeMap::new()
    }

    fn plan<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Plan, Refusal>> {
        Box::pin(async move { self.plan_now(order) })
    }

    fn claims(&self, plan: &Plan) -> Vec<String> {
        let ids = plan.acts.iter().filter_map(|act| Act::read(act)?.process);
        ids.map(|id| format!("process {id}")).collect()
    }

    fn inject<'a>(&'a self, plan: &'a Plan, _log: &'a dyn UndoLog) -> BoxFuture<'a, Outcomes> {
        Box::pin(async move {
            let ids: Vec<Option<ProcessId>> =
                plan.acts.iter().map(|act| Act::read(act).and_then(|a| a.process)).collect();
            let cpu = |id: &ProcessId| Some((*id, id.stat().ok()?.cpu));
            let before = ids.iter().flatten().filter_map(cpu).collect();
            lock(&self.done)
                .insert(plan.order.id.clone(), Done { considered: plan.acts.len() as u64, before });
            let order = plan.order.clone();
            let count = ids.len();
            let work = tokio::task::spawn_blocking(move || match find(order.fault.inject.name()) {
                Some(fault) => fault.inject(&order, &ids),
                None => vec![Err(InjectError::new("this fault is unknown here")); ids.len()],
            });
            work.await.unwrap_or_else(|e| {
                vec![
                    Err(InjectError::new(format!("the injector failed: {e}")).hint("please report this"));
                    count
                ]
            })
        })
    }

    fn adjust<'a>(&'a self, armed: &'a Armed, fault: &'a Fault) -> BoxFuture<'a, Result<(), InjectError>> {
        Box::pin(async move {
            if fault.inject == armed.order.fault.inject {
                return Ok(());
            }
            let name = fault.inject.name();
            Err(InjectError::new(format!("{name} has nothing that could be changed while it is on"))
                .hint("disarm it and arm it again"))
        })
    }

    fn recover<'a>(&'a self, act: &'a UndoRecord) -> BoxFuture<'a, Recovered> {
        Box::pin(async move {
            let (data, id) = match Act::find(act) {
                Ok(found) => found,
                Err(outcome) => return outcome,
            };
            let Some(fault) = find(&data.fault) else {
                return Recovered::Failed(format!(
                    "nobody here knows the fault {:?}; use the version of murphy that armed it",
                    data.fault
                ));
            };
            tokio::task::spawn_blocking(move || fault.recover(id)).await.unwrap_or_else(|e| {
                Recovered::Failed(format!("the injector failed: {e}; please report this"))
            })
        })
    }

    fn evidence(&self, armed: &Armed) -> Evidence {
        let done: Vec<ProcessId> =
            armed.acts.iter().filter_map(|act| Act::read(act).and_then(|a| a.process)).collect();
        let known = lock(&self.done).get(&armed.order.id).cloned().unwrap_or_default();
        let measured = find(armed.order.fault.inject.name())
            .map(|fault| fault.measure(&done, &known.before))
            .unwrap_or_default();
        let applied = done.len() as u64;
        Evidence { considered: known.considered.max(applied), applied, measured }
    }

    fn forget(&self, armed: &Armed) {
        lock(&self.done).remove(&armed.order.id);
    }
}

fn spec(target: &Target) -> Result<&ProcessSpec, Refusal> {
    match &target.spec {
        TargetSpec::Process(spec) => Ok(spec),
        other => Err(Refusal::new(
            format!("{} is a target of kind {}", target.reference(), other.kind()),
            "processes are targets of kind process",
        )),
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done under these locks, so a panic elsewhere does not spoil what they guard.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The processes that a target's own words mean now, for other rooms; refused where one must not be hit.
pub(crate) fn picked(target: &Target, seed: u64) -> Result<Vec<Process>, Refusal> {
    let spec = spec(target)?;
    let found = select::find(&target.reference(), spec)?;
    let picked = select::pick(&target.reference(), &found, spec.pick, seed)?;
    picked.iter().try_for_each(select::allowed)?;
    Ok(picked)
}

/// Refuses what would hurt the tool itself or cannot be hit at all.
pub(crate) fn may_be_hit(process: &Process) -> Result<(), Refusal> {
    select::allowed(process)
}

//! What the engine asks of this room.

use super::{Known, find, select, signals};
use crate::looping::{self, Loops, Round};
use crate::record::Act;
use crate::shared::lock;
use host::ProcessId;
use inject::{
    Armed, BoxFuture, InjectError, Injector, Order, Outcomes, Plan, Recovered, Refusal, UndoLog, UndoRecord,
};
use model::sample::TargetState;
use model::target::ProcessSpec;
use model::{Evidence, Fault, Target, TargetKind, TargetRef, TargetSpec};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Injects into processes: `pause`, `kill` and `kill_loop`.
#[derive(Debug, Default)]
pub struct ProcessInjector {
    known: Arc<Known>,
    done: Mutex<BTreeMap<String, Done>>,
    loops: Loops,
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

    /// The processes of open targets, for injectors of other rooms that serve the same targets.
    pub fn known(&self) -> Arc<Known> {
        self.known.clone()
    }

    async fn plan_now(&self, order: &Order) -> Result<Plan, Refusal> {
        let name = order.fault.inject.name();
        let alive = self.known.candidates(&order.target).await?;
        let picked = select::pick(&order.target.reference(), &alive, spec(&order.target)?.pick, order.seed)?;
        if name == "kill_loop" {
            // Someone it can hit must be there now; whom it does is decided each round.
            let hit: Result<Vec<()>, Refusal> = picked.iter().map(select::allowed).collect();
            return hit.map(|_| looping::plan("process", order, &select::names(&picked)));
        }
        let fault = find(name).ok_or_else(|| {
            Refusal::new(format!("{name} is no fault of processes"), "try pause, kill or kill_loop")
        })?;
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

impl ProcessInjector {
    async fn start_loop(&self, order: &Order) -> Result<(), InjectError> {
        let first = self.known.candidates(&order.target).await.map_err(|r| InjectError(r.0))?;
        let (target, seed) = (order.target.clone(), order.seed);
        let round = move |n: u64, fault: Fault| -> BoxFuture<'static, Round> {
            let (target, first) = (target.clone(), first.clone());
            Box::pin(async move {
                let reference = target.reference();
                let Ok(spec) = spec(&target) else { return Round::default() };
                let found = if fault.inject.flag("again") {
                    select::find(&reference, spec).await.unwrap_or_default()
                } else {
                    first.into_iter().filter(|p| p.id.alive()).collect()
                };
                let picked = select::pick(&reference, &found, spec.pick, seed ^ n).unwrap_or_default();
                let signal = fault.inject.text("signal").and_then(signals::named);
                let mut round = Round::default();
                for one in picked {
                    let sent = select::allowed(&one).is_ok()
                        && one
                            .id
                            .open()
                            .is_ok_and(|held| signal.is_some_and(|signal| held.signal(signal).is_ok()));
                    round.count(sent);
                }
                round
            })
        };
        self.loops.start(&order.id, &order.fault, round).await;
        Ok(())
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
        find(fault).is_some() || fault == "kill_loop"
    }

    fn open<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<TargetState, Refusal>> {
        Box::pin(async move { self.known.open(target).await })
    }

    fn close<'a>(&'a self, target: &'a TargetRef) -> BoxFuture<'a, ()> {
        Box::pin(async move { self.known.close(target) })
    }

    fn states(&self) -> Vec<TargetState> {
        self.known.states()
    }

    fn processes<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Vec<u32>> {
        Box::pin(async move {
            let Ok(spec) = spec(target) else { return Vec::new() };
            let found = select::matching(&target.reference(), spec).await.unwrap_or_default();
            found.iter().map(|process| process.id.pid).collect()
        })
    }

    fn plan<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Plan, Refusal>> {
        Box::pin(self.plan_now(order))
    }

    fn claims(&self, plan: &Plan) -> Vec<String> {
        let ids = plan.acts.iter().filter_map(|act| Act::read(act)?.process);
        ids.map(|id| format!("process {id}")).collect()
    }

    fn inject<'a>(&'a self, plan: &'a Plan, _log: &'a dyn UndoLog) -> BoxFuture<'a, Outcomes> {
        Box::pin(async move {
            if plan.order.fault.inject.name() == "kill_loop" {
                return vec![self.start_loop(&plan.order).await];
            }
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
            if name == "kill_loop" {
                return self.loops.adjust(&armed.order.id, fault);
            }
            Err(InjectError::new(format!("{name} has nothing that could be changed while it is on"))
                .hint("disarm it and arm it again"))
        })
    }

    fn recover<'a>(&'a self, act: &'a UndoRecord) -> BoxFuture<'a, Recovered> {
        Box::pin(async move {
            if let Some(id) = looping::of(act) {
                return self.loops.stop(&id).await;
            }
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
        if armed.order.fault.inject.name() == "kill_loop" {
            return self.loops.evidence(&armed.order.id);
        }
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
        self.loops.forget(&armed.order.id);
    }
}

pub(crate) fn spec(target: &Target) -> Result<&ProcessSpec, Refusal> {
    match &target.spec {
        TargetSpec::Process(spec) => Ok(spec),
        other => Err(Refusal::new(
            format!("{} is a target of kind {}", target.reference(), other.kind()),
            "processes are targets of kind process",
        )),
    }
}

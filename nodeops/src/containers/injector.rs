//! What the engine asks of this room.

use super::find::{Found, names, picked};
use super::record::Act;
use super::{api, faults, find};
use crate::held::Held;
use crate::looping::{self, Loops, Round};
use crate::opened::Opened;
use crate::shared::lock;
use inject::{
    Armed, BoxFuture, InjectError, Injector, Order, Outcomes, Plan, Recovered, Refusal, UndoLog, UndoRecord,
};
use model::sample::TargetState;
use model::target::ContainerSpec;
use model::{Evidence, Fault, Injection, Target, TargetKind, TargetRef, TargetSpec};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Injects into containers through their engine: `pause`, `kill`, `kill_loop`, `container_stop`, `container_restart`,
/// `container_limits`.
#[derive(Debug, Default)]
pub struct ContainerInjector {
    opened: Opened,
    done: Mutex<BTreeMap<String, Done>>,
    loops: Loops,
    held: Held,
}

/// What is remembered of a fault for its evidence.
#[derive(Debug, Clone, Default)]
struct Done {
    found: Vec<Found>,
    measured: BTreeMap<String, f64>,
}

const FAULTS: [&str; 6] =
    ["pause", "kill", "kill_loop", "container_stop", "container_restart", "container_limits"];

impl ContainerInjector {
    /// An injector with no target open.
    pub fn new() -> ContainerInjector {
        ContainerInjector::default()
    }

    async fn plan_now(&self, order: &Order) -> Result<Plan, Refusal> {
        let name = order.fault.inject.name();
        if !FAULTS.contains(&name) {
            return Err(Refusal::new(
                format!("{name} is no fault of containers"),
                format!("try {}", FAULTS.join(", ")),
            ));
        }
        let target = order.target.reference();
        if name == "kill_loop" {
            let found = picked(&target, spec(&order.target)?, order.seed).await?;
            return Ok(looping::plan("container", order, &names(&found)));
        }
        let picked = picked(&target, spec(&order.target)?, order.seed).await?;
        let (mut acts, mut refused) = (Vec::new(), Vec::new());
        for found in &picked {
            self.held.check(&keys(name, &found.id), &order.id)?;
            match faults::plan(order, found).await {
                Ok(act) => acts.push(act),
                Err(refusal) => refused.push(refusal),
            }
        }
        match refused.into_iter().reduce(|first, next| Refusal(first.0.clone().hint(next.0.to_string()))) {
            Some(refusal) if acts.is_empty() => Err(refusal),
            refused => {
                lock(&self.done).insert(order.id.clone(), Done { found: picked, ..Done::default() });
                Ok(Plan {
                    order: order.clone(),
                    acts,
                    warnings: refused.into_iter().map(|r| format!("left out: {}", r.0)).collect(),
                })
            }
        }
    }
}

impl ContainerInjector {
    async fn start_loop(&self, order: &Order) -> Result<(), InjectError> {
        let spec = spec(&order.target).map_err(|r| InjectError(r.0))?.clone();
        let (target, seed) = (order.target.reference(), order.seed);
        let first = find(&target, &spec).await.map_err(|r| InjectError(r.0))?;
        let round = move |n: u64, fault: Fault| -> BoxFuture<'static, Round> {
            let (spec, target, first) = (spec.clone(), target.clone(), first.clone());
            Box::pin(async move {
                let found = if fault.inject.flag("again") {
                    find(&target, &spec).await.unwrap_or_default()
                } else {
                    first.into_iter().filter(|f| f.pid.alive()).collect()
                };
                let picked = crate::pick::pick(&target, &found, spec.pick, seed ^ n, "containers", names);
                let signal = fault.inject.text("signal").unwrap_or("SIGKILL").to_owned();
                let mut round = Round::default();
                for one in picked.unwrap_or_default() {
                    let sent = faults::signal_first(&api::Engine::of(&one), &one.id, one.pid, &signal).await;
                    round.count(sent.is_ok());
                }
                round
            })
        };
        self.loops.start(&order.id, &order.fault, round).await;
        Ok(())
    }
}

impl Injector for ContainerInjector {
    fn name(&self) -> &'static str {
        "container"
    }

    fn kinds(&self) -> &'static [TargetKind] {
        &[TargetKind::Container]
    }

    fn injects(&self, fault: &str) -> bool {
        FAULTS.contains(&fault)
    }

    fn open<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<TargetState, Refusal>> {
        Box::pin(async move {
            let found = find(&target.reference(), spec(target)?).await?;
            self.opened.open(target, names(&found), found.iter().map(|f| f.pid).collect())
        })
    }

    fn close<'a>(&'a self, target: &'a TargetRef) -> BoxFuture<'a, ()> {
        Box::pin(async move { self.opened.close(target) })
    }

    fn states(&self) -> Vec<TargetState> {
        self.opened.states()
    }

    fn plan<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Plan, Refusal>> {
        Box::pin(self.plan_now(order))
    }

    fn claims(&self, plan: &Plan) -> Vec<String> {
        plan.acts.iter().filter_map(|act| Some(format!("container {}", read(act)?.id))).collect()
    }

    fn inject<'a>(&'a self, plan: &'a Plan, _log: &'a dyn UndoLog) -> BoxFuture<'a, Outcomes> {
        Box::pin(async move {
            if plan.order.fault.inject.name() == "kill_loop" {
                return vec![self.start_loop(&plan.order).await];
            }
            // All at once: stopping one may take as long as it likes to.
            let work = plan.acts.iter().map(|act| async {
                let act = read(act)
                    .ok_or_else(|| InjectError::new("the plan does not read").hint("please report this"))?;
                self.held.take(keys(&act.fault, &act.id), &plan.order.id);
                faults::inject(&plan.order.fault, &act).await
            });
            let done = futures::future::join_all(work).await;
            let mut measured = BTreeMap::new();
            for numbers in done.iter().flatten() {
                for (name, value) in numbers {
                    let most: &mut f64 = measured.entry(name.clone()).or_insert(*value);
                    *most = most.max(*value);
                }
            }
            lock(&self.done).entry(plan.order.id.clone()).or_default().measured = measured;
            done.into_iter().map(|one| one.map(drop)).collect()
        })
    }

    fn adjust<'a>(&'a self, armed: &'a Armed, fault: &'a Fault) -> BoxFuture<'a, Result<(), InjectError>> {
        Box::pin(async move {
            if fault.inject == armed.order.fault.inject {
                return Ok(());
            }
            match fault.inject.name() {
                "kill_loop" => self.loops.adjust(&armed.order.id, fault),
                "container_limits" => {
                    let keys = |i: &Injection| i.params().keys().cloned().collect::<Vec<_>>();
                    if keys(&fault.inject) != keys(&armed.order.fault.inject) {
                        return Err(InjectError::new(
                            "which limits are narrowed cannot be changed while they are",
                        )
                        .hint("arm container_limits once more for the others"));
                    }
                    for act in armed.acts.iter().filter_map(read) {
                        faults::inject(fault, &act).await?;
                    }
                    Ok(())
                }
                name => {
                    Err(InjectError::new(format!("{name} has nothing that could be changed while it is on"))
                        .hint("disarm it and arm it again"))
                }
            }
        })
    }

    fn recover<'a>(&'a self, act: &'a UndoRecord) -> BoxFuture<'a, Recovered> {
        Box::pin(async move {
            if let Some(id) = looping::of(act) {
                return self.loops.stop(&id).await;
            }
            match read(act) {
                Some(act) => faults::recover(&act).await,
                None => Recovered::Failed(format!(
                    "the record of {:?} does not read: {}; look at the container by hand",
                    act.act, act.data
                )),
            }
        })
    }

    fn evidence(&self, armed: &Armed) -> Evidence {
        if armed.order.fault.inject.name() == "kill_loop" {
            return self.loops.evidence(&armed.order.id);
        }
        let done = lock(&self.done).get(&armed.order.id).cloned().unwrap_or_default();
        let acts: Vec<Act> = armed.acts.iter().filter_map(read).collect();
        let mut measured = done.measured;
        measured.extend(faults::measure(armed.order.fault.inject.name(), &acts, &done.found));
        let applied = acts.len() as u64;
        Evidence { considered: applied.max(done.found.len() as u64), applied, measured }
    }

    fn forget(&self, armed: &Armed) {
        lock(&self.done).remove(&armed.order.id);
        self.loops.forget(&armed.order.id);
        self.held.release(&armed.order.id);
    }
}

/// What a fault keeps the former state of, and no other may meanwhile.
fn keys(fault: &str, id: &str) -> Vec<String> {
    match fault {
        "container_limits" => vec![format!("limits of container {id}")],
        _ => vec![],
    }
}

/// The spec of a target that is a container.
pub fn spec(target: &Target) -> Result<&ContainerSpec, Refusal> {
    match &target.spec {
        TargetSpec::Container(spec) => Ok(spec),
        other => Err(Refusal::new(
            format!("{} is a target of kind {}", target.reference(), other.kind()),
            "containers are targets of kind container: container:web-1",
        )),
    }
}

fn read(act: &UndoRecord) -> Option<Act> {
    serde_json::from_value(act.data.clone()).ok()
}

//! The machine as a target: `cpu`.

use crate::record::Act;
use crate::stress::spawn::{Program, kill_foreign};
use crate::stress::{Load, Stressor};
use host::{Capabilities, ProcessError};
use inject::{
    Armed, BoxFuture, InjectError, Injector, Order, Outcomes, Plan, Recovered, Refusal, UndoLog, UndoRecord,
};
use model::sample::TargetState;
use model::{Evidence, Fault, Sample, Target, TargetKind, TargetRef, TargetSpec};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Injects into the machine: `cpu`.
#[derive(Debug, Default)]
pub struct NodeInjector {
    program: Program,
    open: Mutex<BTreeMap<TargetRef, Target>>,
    burning: Arc<Mutex<BTreeMap<String, Burning>>>,
}

/// A stressor with what it was told, also after it has ended, for evidence.
#[derive(Debug)]
struct Burning {
    stressor: Arc<Mutex<Stressor>>,
    load: Load,
    /// What it had burned when it was ended on purpose.
    final_percent: Option<f64>,
    /// Read last, for when the child is busy with a change.
    evidence: Evidence,
}

impl NodeInjector {
    /// Stressors are this program, started with [`crate::stress::VERB`].
    pub fn new() -> NodeInjector {
        NodeInjector::default()
    }

    /// Stressors are another program with these arguments before ours; it must call [`crate::stress::child_main`].
    pub fn with_program(path: PathBuf, args: Vec<OsString>) -> NodeInjector {
        NodeInjector { program: Program { path, args }, ..NodeInjector::default() }
    }

    fn plan_now(&self, order: &Order) -> Result<Plan, Refusal> {
        check(&order.target)?;
        let fault = &order.fault;
        if fault.inject.name() != "cpu" {
            return Err(Refusal::new(format!("{} is no fault of a machine", fault.inject.name()), "try cpu"));
        }
        fits(fault)?;
        let (machine, load) = (cores(), Load::of(fault, Duration::ZERO, cores()));
        let mut warnings = Vec::new();
        let most = load.cores[0].max(load.cores[1]);
        if most > machine as f64 {
            warnings.push(format!(
                "{most} cores are asked for, but there are {machine}: {machine} at most get busy"
            ));
        }
        if load.total(Duration::from_secs(u32::MAX.into())) >= machine as f64 * 0.95 && load.nice <= 0 {
            warnings.push(
                "this leaves next to nothing for the rest of the machine; nice=19 yields to others".into(),
            );
        }
        let mode = if load.reach { "up to" } else { "" };
        let total = load.total(Duration::from_secs(u32::MAX.into())) * 100.0;
        let words =
            format!("burn {mode} {total:.0}% of a core in {} threads of a child process", load.threads());
        Ok(Plan {
            order: order.clone(),
            acts: vec![UndoRecord {
                injector: "node".into(),
                act: words.replace("  ", " "),
                undo: "kill the child process".into(),
                data: Act::new("cpu", None, "murphy-cpu").json(),
                // It does end by itself, and is looked for all the same: that costs nothing.
                ends_with_agent: false,
            }],
            warnings,
        })
    }

    async fn inject_now(&self, plan: &Plan, log: &dyn UndoLog) -> Result<(), InjectError> {
        let program = self.program.clone();
        let failed = |what: String| {
            InjectError::new(format!("starting the burning child failed: {what}")).hint(
                "look whether the limits on processes (ulimit -u, pids.max) or a seccomp profile forbid it",
            )
        };
        let mut stressor = blocking(move || Stressor::start(&program))
            .await
            .and_then(|r| r.map_err(|e| e.to_string()))
            .map_err(failed)?;
        // At its gate until it is on disk who it is: only then there is someone to kill in any case.
        log.effect(0, Act::new("cpu", Some(stressor.id()), "murphy-cpu").json()).await?;
        let load = Load::of(&plan.order.fault, Duration::ZERO, cores());
        let told = load.clone();
        let stressor = blocking(move || stressor.set(&told).map(|()| stressor))
            .await
            .and_then(|r| r.map_err(|e| e.to_string()))
            .map_err(failed)?;
        let burning = Burning {
            stressor: Arc::new(Mutex::new(stressor)),
            load,
            final_percent: None,
            evidence: Evidence::default(),
        };
        lock(&self.burning).insert(plan.order.id.clone(), burning);
        Ok(())
    }

    /// Our own child with that identity, when it is one of ours.
    fn own(&self, id: host::ProcessId) -> Option<(String, Arc<Mutex<Stressor>>)> {
        let all: Vec<_> = lock(&self.burning).iter().map(|(k, b)| (k.clone(), b.stressor.clone())).collect();
        all.into_iter().find(|(_, stressor)| lock(stressor).id() == id)
    }
}

impl Injector for NodeInjector {
    fn name(&self) -> &'static str {
        "node"
    }

    fn kinds(&self) -> &'static [TargetKind] {
        &[TargetKind::Node]
    }

    fn injects(&self, fault: &str) -> bool {
        fault == "cpu"
    }

    fn open<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<TargetState, Refusal>> {
        Box::pin(async move {
            check(target)?;
            lock(&self.open).insert(target.reference(), target.clone());
            Ok(state(target.reference()))
        })
    }

    fn close<'a>(&'a self, target: &'a TargetRef) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            lock(&self.open).remove(target);
        })
    }

    fn states(&self) -> Vec<TargetState> {
        lock(&self.open).keys().cloned().map(state).collect()
    }

    fn totals(&self) -> BTreeMap<TargetRef, Sample> {
        BTreeMap::new()
    }

    fn plan<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Plan, Refusal>> {
        Box::pin(async move { self.plan_now(order) })
    }

    fn claims(&self, _plan: &Plan) -> Vec<String> {
        vec!["node".into()]
    }

    fn inject<'a>(&'a self, plan: &'a Plan, log: &'a dyn UndoLog) -> BoxFuture<'a, Outcomes> {
        Box::pin(async move { vec![self.inject_now(plan, log).await] })
    }

    fn adjust<'a>(&'a self, armed: &'a Armed, fault: &'a Fault) -> BoxFuture<'a, Result<(), InjectError>> {
        Box::pin(async move {
            fits(fault).map_err(|r| InjectError(r.0))?;
            let gone = || {
                InjectError::new(format!("{} does not burn any more", armed.order.id))
                    .hint("its child was killed, perhaps for want of memory; disarm it and arm it again")
            };
            let stressor =
                lock(&self.burning).get(&armed.order.id).map(|b| b.stressor.clone()).ok_or_else(gone)?;
            let fault = fault.clone();
            let set = move || {
                let mut stressor = lock(&stressor);
                let elapsed = stressor.began().map_or(Duration::ZERO, |began| began.elapsed());
                let load = Load::of(&fault, elapsed, cores());
                stressor.set(&load).map(|()| load).map_err(|e| e.to_string())
            };
            let load = blocking(set).await.and_then(|r| r).map_err(|why| {
                InjectError::new(format!("the burning child did not take the change: {why}"))
                    .hint("disarm it and arm it again")
            })?;
            if let Some(burning) = lock(&self.burning).get_mut(&armed.order.id) {
                burning.load = load;
            }
            Ok(())
        })
    }

    fn recover<'a>(&'a self, act: &'a UndoRecord) -> BoxFuture<'a, Recovered> {
        Box::pin(async move {
            let id = match Act::find(act) {
                Ok((_, id)) => id,
                Err(outcome) => return outcome,
            };
            let own = self.own(id);
            let burning = self.burning.clone();
            let kill = move || match own {
                Some((key, stressor)) => {
                    let (percent, gone) = {
                        let mut stressor = lock(&stressor);
                        let was_there = stressor.runs();
                        (stressor.percent().0, stressor.kill().then_some(was_there))
                    };
                    if let Some(burning) = lock(&burning).get_mut(&key) {
                        burning.final_percent.get_or_insert(percent);
                    }
                    gone
                }
                None => match kill_foreign(id) {
                    Ok(ended) => ended.then_some(true),
                    Err(ProcessError::Gone(_)) => Some(false),
                    Err(_) => None,
                },
            };
            match blocking(kill).await {
                Ok(Some(true)) => Recovered::Undone,
                Ok(Some(false)) => Recovered::Gone(format!("the burning child {} is gone", id.pid)),
                Ok(None) => Recovered::Failed(format!(
                    "the burning child {} could not be killed; kill it by hand: kill -9 {}",
                    id.pid, id.pid
                )),
                Err(why) => Recovered::Failed(why),
            }
        })
    }

    fn evidence(&self, armed: &Armed) -> Evidence {
        let mut all = lock(&self.burning);
        let Some(burning) = all.get_mut(&armed.order.id) else {
            return Evidence { considered: armed.acts.len() as u64, ..Evidence::default() };
        };
        // A change under way holds the child for a moment; then the last figures have to do.
        let Ok(mut stressor) = burning.stressor.try_lock() else {
            return burning.evidence.clone();
        };
        let (mean, now) = stressor.percent();
        let runs = stressor.runs();
        let since = stressor.began().map_or(Duration::ZERO, |began| began.elapsed());
        let asked =
            burning.load.total(since.saturating_sub(Duration::from_secs_f64(burning.load.since_ms / 1e3)));
        let mut measured = BTreeMap::from([
            ("cpu_percent".to_owned(), burning.final_percent.unwrap_or(mean)),
            ("asked_percent".to_owned(), asked * 100.0),
        ]);
        if burning.final_percent.is_none() {
            measured.insert("cpu_percent_now".into(), now);
            measured.insert("ended_early".into(), if runs { 0.0 } else { 1.0 });
        }
        let applied = u64::from(stressor.cpu() > Duration::from_millis(1));
        drop(stressor);
        burning.evidence = Evidence { considered: 1, applied, measured };
        burning.evidence.clone()
    }

    fn forget(&self, armed: &Armed) {
        lock(&self.burning).remove(&armed.order.id);
    }
}

/// What cannot be asked for.
fn fits(fault: &Fault) -> Result<(), Refusal> {
    let nice = fault.inject.int("nice").unwrap_or(0);
    if nice < 0 && !Capabilities::mine().has("CAP_SYS_NICE") {
        return Err(Refusal::new(
            format!("nice {nice} needs CAP_SYS_NICE"),
            "run the agent as root, or use 0 to 19",
        ));
    }
    for track in fault.ramp.iter().flat_map(|r| &r.tracks) {
        if !Load::can_ramp(&track.param, &track.from) || !Load::can_ramp(&track.param, &track.to) {
            return Err(Refusal::new(
                format!("cpu cannot ramp {}", track.param),
                "it can ramp load ([10%, 80%]) and cores ([1, 2])",
            ));
        }
    }
    Ok(())
}

fn check(target: &Target) -> Result<(), Refusal> {
    match &target.spec {
        TargetSpec::Node(_) => Ok(()),
        other => Err(Refusal::new(
            format!("{} is a target of kind {}", target.reference(), other.kind()),
            "the machine is a target of kind node: node:self",
        )),
    }
}

fn state(target: TargetRef) -> TargetState {
    let about = format!("{} cores, {}", cores(), host::probe::kernel());
    TargetState { target, about, up: true, listen: None, http: false }
}

/// Cores that this process may use: affinity and the quota of its control group count.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| format!("the injector failed: {e}; please report this"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done under these locks, so a panic elsewhere does not spoil what they guard.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

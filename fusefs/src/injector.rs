//! The contract with the engine: targets of kind `fs`.

use crate::live::Live;
use crate::record;
use crate::rule::Rule;
use inject::{
    Armed, BoxFuture, Container, Containers, InjectError, Injector, Leftover, NoContainers, Order, Outcomes,
    Plan, Recovered, Refusal, Swept, UndoLog, UndoRecord,
};
use model::sample::TargetState;
use model::target::FsSpec;
use model::{Evidence, Fault, FileOperation, Problem, Sample, Target, TargetKind, TargetRef, TargetSpec};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// Faults on files, in directories that are served through us.
pub struct FsInjector {
    /// Tells its own undo records from those of an agent that is gone.
    agent: String,
    state_dir: OnceLock<PathBuf>,
    open: Mutex<BTreeMap<String, Arc<Live>>>,
    /// Opening and closing, one after the other.
    gate: tokio::sync::Mutex<()>,
    /// A target was opened.
    opened: tokio::sync::Notify,
    /// Who finds the containers that directories are in.
    containers: Arc<dyn Containers>,
    /// The faults that are on, and the last ones that were: their evidence is asked for afterwards, too.
    faults: Mutex<VecDeque<Arc<Rule>>>,
}

/// How often containers in which something is mounted are looked at.
const FOLLOW: Duration = Duration::from_millis(500);
/// Faults whose evidence is kept after their end.
const REMEMBERED: usize = 1024;

#[derive(Serialize, Deserialize)]
struct Act {
    agent: String,
    target: String,
    fault: String,
}

impl Default for FsInjector {
    fn default() -> Self {
        FsInjector::new()
    }
}

impl FsInjector {
    /// Without any target yet.
    pub fn new() -> FsInjector {
        FsInjector {
            agent: format!("{}-{:x}", std::process::id(), host::clock::boottime().as_nanos()),
            state_dir: OnceLock::new(),
            open: Mutex::default(),
            gate: tokio::sync::Mutex::default(),
            opened: tokio::sync::Notify::new(),
            containers: Arc::new(NoContainers),
            faults: Mutex::default(),
        }
    }

    /// With someone who finds containers.
    pub fn with_containers(mut self, containers: Arc<dyn Containers>) -> FsInjector {
        self.containers = containers;
        self
    }

    /// Mounts anew where containers are started anew, for ever. Sleeps while nothing is mounted in a container.
    pub async fn follow_containers(&self) {
        loop {
            let opened = self.opened.notified();
            if self.lock().values().all(|open| open.container.is_none()) {
                opened.await;
            }
            tokio::time::sleep(FOLLOW).await;
            self.follow().await;
        }
    }

    async fn follow(&self) {
        let restarted: Vec<Arc<Live>> =
            self.lock().values().filter(|open| open.has_lost_its_container()).cloned().collect();
        for old in restarted {
            // What is not there yet is looked for again next time.
            let _ = self.follow_one(&old).await;
        }
    }

    async fn follow_one(&self, old: &Arc<Live>) -> Result<(), Refusal> {
        let target = old.target();
        let Some(container) = self.container(target, &old.spec).await? else { return Ok(()) };
        let _gate = self.gate.lock().await;
        if !self.find(&target.name).is_some_and(|open| Arc::ptr_eq(&open, old)) {
            return Ok(());
        }
        let (from, state_dir) = (old.clone(), self.state_dir.get().cloned());
        let followed = blocking(move || Live::follow(&from, container, state_dir.as_deref())).await;
        let live = followed.unwrap_or_else(|| Err(broken(&target.name)))?;
        self.lock().insert(target.name.clone(), Arc::new(live));
        Ok(())
    }

    /// The one container that a spec names.
    async fn container(&self, target: &TargetRef, spec: &FsSpec) -> Result<Option<Container>, Refusal> {
        let Some(wanted) = &spec.container else { return Ok(None) };
        let mut found = self.containers.find(target, wanted).await?;
        if found.len() > 1 {
            let names: Vec<&str> = found.iter().map(|c| c.name.as_str()).collect();
            return Err(Refusal::new(
                format!("{target} is in one container, and {} fit: {}", found.len(), names.join(", ")),
                "make a target for each, by its name",
            ));
        }
        Ok(found.pop())
    }

    /// The last operations of a target after that number, oldest first; from now on for a while all are recorded, not
    /// only those that a fault touched. None when there is no such target.
    pub fn operations(&self, target: &TargetRef, after: u64) -> Option<Vec<FileOperation>> {
        (target.kind == TargetKind::Fs).then(|| self.find(&target.name))?.map(|open| open.operations(after))
    }

    /// How many files and directories programs have open through all targets.
    pub fn in_use(&self) -> usize {
        self.lock().values().map(|open| open.in_use()).sum()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Live>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_faults(&self) -> MutexGuard<'_, VecDeque<Arc<Rule>>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, name: &str) -> Option<Arc<Live>> {
        self.lock().get(name).cloned()
    }

    async fn open_target(&self, target: &Target) -> Result<TargetState, Refusal> {
        let wanted = spec(target)?.clone();
        let container = self.container(&target.reference(), &wanted).await?;
        let _gate = self.gate.lock().await;
        if let Some(open) = self.find(&target.name) {
            let state = blocking({
                let open = open.clone();
                move || open.state()
            })
            .await;
            match state {
                Some(state) if state.up && open.spec == wanted => return Ok(state),
                Some(state) if state.up && open.is_place_of(&wanted) && !open.is_faulty() => {
                    let (old, state_dir) = (open.clone(), self.state_dir.get().cloned());
                    let replaced = blocking(move || {
                        let live = Live::replace(&old, &wanted, state_dir.as_deref())?;
                        let state = live.state();
                        Ok((live, state))
                    });
                    let (live, state) = replaced.await.unwrap_or_else(|| Err(broken(&target.name)))?;
                    self.lock().insert(target.name.clone(), Arc::new(live));
                    return Ok(state);
                }
                Some(state) if state.up => {
                    return Err(Refusal::new(
                        format!("fs:{} is open already, as {}", target.name, state.about),
                        "close it first, or choose another name",
                    ));
                }
                // Someone has unmounted it: it is opened anew.
                _ => self.lock().remove(&target.name),
            };
        }
        let (name, state_dir) = (target.name.clone(), self.state_dir.get().cloned());
        let opened = blocking(move || {
            let live = Live::open(&name, &wanted, container, state_dir.as_deref())?;
            let state = live.state();
            Ok((live, state))
        });
        let (live, state) = opened.await.unwrap_or_else(|| Err(broken(&target.name)))?;
        self.lock().insert(target.name.clone(), Arc::new(live));
        self.opened.notify_one();
        Ok(state)
    }

    fn check(&self, order: &Order) -> Result<Plan, Refusal> {
        let spec = spec(&order.target)?;
        let fault = &order.fault;
        let def = fault.inject.def();
        if let Some(problem) = fault.problems().into_iter().next() {
            return Err(Refusal(problem));
        }
        let mut warnings = Live::fit(spec, fault).map_err(Refusal)?;
        let name = &order.target.name;
        if let Some(open) = self.find(name) {
            if open.spec != *spec {
                return Err(Refusal::new(
                    format!("fs:{name} is open as {}, not as ordered", open.state().about),
                    "close it first, or choose another name",
                ));
            }
            warnings.extend(crate::in_use::told(&open.before));
        } else if spec.container.is_none() {
            warnings.push(format!(
                "what has files in {} open already goes past the mount: open the target before the program starts",
                spec.mount
            ));
        }
        let act = Act { agent: self.agent.clone(), target: name.clone(), fault: order.id.clone() };
        Ok(Plan {
            order: order.clone(),
            acts: vec![UndoRecord {
                injector: self.name().to_owned(),
                act: format!("{} on fs:{name} ({})", fault.describe(), spec.mount),
                undo: if def.irreversible {
                    format!("end {} on fs:{name}; {}", order.id, def.ends)
                } else {
                    format!("end {} on fs:{name}; it also ends with the agent", order.id)
                },
                data: serde_json::to_value(act).unwrap_or_default(),
                ends_with_agent: true,
            }],
            warnings,
        })
    }

    fn arm(&self, plan: &Plan) -> Result<(), InjectError> {
        let name = &plan.order.target.name;
        let Some(open) = self.find(name) else {
            return Err(InjectError::new(format!(
                "{} was not armed: fs:{name} is not mounted",
                plan.order.id
            ))
            .hint("open the target first"));
        };
        let rule = open.arm(&plan.order).map_err(InjectError)?;
        let mut faults = self.lock_faults();
        if faults.len() >= REMEMBERED
            && let Some(at) = faults.iter().position(|f| f.is_off())
        {
            faults.remove(at);
        }
        faults.push_back(rule);
        Ok(())
    }

    fn undo(&self, record: &UndoRecord) -> Recovered {
        if let Ok(left) = serde_json::from_value::<record::Left>(record.data.clone()) {
            return left.mount.undo();
        }
        let act: Act = match serde_json::from_value(record.data.clone()) {
            Ok(act) => act,
            Err(e) => return Recovered::Failed(format!("the undo record does not say what was armed: {e}")),
        };
        if act.agent != self.agent {
            return Recovered::Gone("it ended with the agent that served the files".into());
        }
        match self.find(&act.target) {
            Some(open) if open.disarm(&act.fault) => Recovered::Undone,
            Some(_) => Recovered::Gone(format!("{} is not on any more", act.fault)),
            None => Recovered::Gone(format!("fs:{} is closed", act.target)),
        }
    }
}

fn broken(name: &str) -> Refusal {
    Refusal::new(format!("fs:{name} was not mounted: a thread failed"), "please report this")
}

/// Does something that may block, off the runtime's threads; none when it panicked.
async fn blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(act).await.ok()
}

fn spec(target: &Target) -> Result<&FsSpec, Refusal> {
    match &target.spec {
        TargetSpec::Fs(spec) => Ok(spec),
        other => {
            Err(Refusal(Problem::new(format!("{}:{} is not a directory", other.kind().word(), target.name))))
        }
    }
}

impl Injector for FsInjector {
    fn name(&self) -> &'static str {
        "fs"
    }

    fn kinds(&self) -> &'static [TargetKind] {
        &[TargetKind::Fs]
    }

    fn open<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<TargetState, Refusal>> {
        Box::pin(self.open_target(target))
    }

    fn close<'a>(&'a self, target: &'a TargetRef) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let _gate = self.gate.lock().await;
            if target.kind != TargetKind::Fs {
                return;
            }
            let open = self.lock().remove(&target.name);
            if let Some(open) = open {
                blocking(move || open.close()).await;
            }
        })
    }

    fn states(&self) -> Vec<TargetState> {
        let open: Vec<_> = self.lock().values().cloned().collect();
        open.iter().map(|open| open.state()).collect()
    }

    fn totals(&self) -> BTreeMap<TargetRef, Sample> {
        let open: Vec<_> = self.lock().iter().map(|(name, open)| (name.clone(), open.clone())).collect();
        open.into_iter().map(|(name, open)| (TargetRef::new(TargetKind::Fs, name), open.totals())).collect()
    }

    fn leftovers(&self) -> Vec<Leftover> {
        record::unserved()
    }

    fn plan<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Plan, Refusal>> {
        Box::pin(async move { self.check(order) })
    }

    fn claims(&self, plan: &Plan) -> Vec<String> {
        match &plan.order.target.spec {
            TargetSpec::Fs(spec) => {
                let open = self.find(&plan.order.target.name);
                let inside = open.and_then(|open| Some(open.container.as_ref()?.pid)).or(spec.pid);
                vec![format!("fs {} {}", inside.unwrap_or(0), spec.mount)]
            }
            _ => Vec::new(),
        }
    }

    fn inject<'a>(&'a self, plan: &'a Plan, _log: &'a dyn UndoLog) -> BoxFuture<'a, Outcomes> {
        // Arming waits for the kernel to forget pages; that is soon, but not nothing.
        Box::pin(async move { vec![tokio::task::block_in_place(|| self.arm(plan))] })
    }

    fn adjust<'a>(&'a self, armed: &'a Armed, fault: &'a Fault) -> BoxFuture<'a, Result<(), InjectError>> {
        Box::pin(async move {
            if let Some(problem) = fault.problems().into_iter().next() {
                return Err(InjectError(problem));
            }
            let name = &armed.order.target.name;
            let open = self
                .find(name)
                .ok_or_else(|| InjectError::new(format!("fs:{name} is closed, and its faults with it")))?;
            let (id, fault) = (armed.order.id.clone(), fault.clone());
            let adjusted = blocking(move || open.adjust(&id, &fault)).await;
            adjusted.unwrap_or_else(|| Err(Problem::new("a thread failed"))).map_err(InjectError)
        })
    }

    fn recover<'a>(&'a self, act: &'a UndoRecord) -> BoxFuture<'a, Recovered> {
        Box::pin(async move { self.undo(act) })
    }

    fn evidence(&self, armed: &Armed) -> Evidence {
        let faults = self.lock_faults();
        let mine = faults.iter().rev().find(|f| f.id == armed.order.id);
        mine.map(|rule| rule.evidence()).unwrap_or_default()
    }

    fn settle(&self, state_dir: &Path) {
        // The first is the only one: an injector serves one agent.
        let _ = self.state_dir.set(state_dir.to_owned());
    }

    fn sweep<'a>(&'a self, state_dir: &'a Path) -> BoxFuture<'a, Vec<Swept>> {
        let dir = state_dir.to_owned();
        Box::pin(async move { blocking(move || record::sweep(&dir)).await.unwrap_or_default() })
    }
}

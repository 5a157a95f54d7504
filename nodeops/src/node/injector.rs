//! What the engine asks of this room.

use super::jobs::Task;
use super::place::{Place, places};
use super::{jobs, left};
use crate::opened::Opened;
use crate::record::{Act, Leftover};
use crate::shared::{blocking, lock};
use crate::stress::spawn::{Program, kill_foreign};
use crate::stress::{Job, Load, Stressor, Word};
use crate::{exhaust, inroot};
use host::ProcessError;
use inject::{
    Armed, BoxFuture, InjectError, Injector, Order, Outcomes, Plan, Recovered, Refusal, UndoLog, UndoRecord,
};
use model::sample::TargetState;
use model::{Evidence, Fault, Target, TargetKind, TargetRef, TargetSpec};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Injects what children of ours do: `cpu`, `memory`, `io`, `stress_ng`, `disk_fill`, `inode_fill`, `fd_fill`, `pid_fill`
/// and `port_fill`.
#[derive(Debug, Default)]
pub struct NodeInjector {
    program: Program,
    opened: Opened,
    working: Arc<Mutex<BTreeMap<String, Vec<Working>>>>,
}

/// A child with what it was told, also after it has ended, for evidence.
#[derive(Debug)]
struct Working {
    stressor: Arc<Mutex<Stressor>>,
    job: Job,
    place: Place,
    /// OOM kills of its group, or of the machine, when it began.
    oom_before: Option<u64>,
    /// What was measured when it was ended on purpose.
    last: Option<BTreeMap<String, f64>>,
    /// Read last, for when the child is busy with a change.
    evidence: BTreeMap<String, f64>,
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

    async fn plan_now(&self, order: &Order) -> Result<Plan, Refusal> {
        let mut plan = Plan { order: order.clone(), acts: vec![], warnings: vec![] };
        for place in places(order).await? {
            if place.groups.as_ref().is_some_and(|g| crate::group::frozen(g) == Some(true)) {
                return Err(Refusal::new(
                    format!("the group{} is frozen: a child that joined it would be frozen too", place.name),
                    "disarm the pause, or unpause it first",
                ));
            }
            for task in jobs::tasks(&order.id, &order.fault, &place, Duration::ZERO)? {
                let mut act = Act::new(order.fault.inject.name(), None, "murphy-stress");
                act.claims.clone_from(&place.claims);
                act.leftover =
                    task.leftover.map(|(dir, name)| Leftover { root: dir.root, path: dir.path, name });
                let undo = match &act.leftover {
                    Some(left) => format!(
                        "kill the child process, remove {} if it is there",
                        left.path.join(&left.name).display()
                    ),
                    None => "kill the child process".into(),
                };
                plan.acts.push(UndoRecord {
                    injector: "node".into(),
                    act: task.words,
                    undo,
                    data: act.json(),
                    // It does end by itself, and is looked for all the same: that costs nothing.
                    ends_with_agent: false,
                });
                plan.warnings.extend(task.warnings);
            }
        }
        Ok(plan)
    }

    /// One child from its gate to its first job.
    async fn begin(
        &self,
        plan: &Plan,
        n: usize,
        place: Place,
        task: Task,
        log: &dyn UndoLog,
    ) -> Result<(), InjectError> {
        let program = self.program.clone();
        let name = plan.order.fault.inject.name();
        let failed = |what: String| {
            InjectError::new(format!("{name} failed: {what}")).hint(
                "when no child can be started look at the limits on processes (ulimit -u, pids.max) and seccomp profiles",
            )
        };
        let killed = |what: String| {
            InjectError::new(format!("{name} failed: {what}")).hint(
                "it was killed while it took what it was told to: the fault was over, taken back or short of memory before that was done; give it longer, or less to take",
            )
        };
        let stressor = blocking(move || Stressor::start(&program).map_err(|e| e.to_string()))
            .await
            .and_then(|r| r)
            .map_err(failed)?;
        // At its gate until it is on disk who it is: only then there is someone to kill in any case.
        let mut act: Act =
            serde_json::from_value(plan.acts[n].data.clone()).map_err(|e| failed(e.to_string()))?;
        act.process = Some(stressor.id());
        log.effect(n, act.json()).await?;
        let oom_before = oom_kills(&place);
        let (job, setup) = (task.job.clone(), place.setup(matches!(task.job, Job::Ports(_))));
        let here = place.clone();
        // What is held of a disk or of ports is not the group's, and what the kernel keeps for it is not to be charged to it.
        let joins =
            matches!(task.job, Job::Cpu(_) | Job::Memory(_) | Job::Io(_) | Job::Tasks(_) | Job::Exec(_));
        let groups = place.groups.clone().filter(|_| joins);
        let told = job.clone();
        let started = blocking(move || {
            let mut stressor = stressor;
            if let Some(groups) = groups {
                groups.take(stressor.id().pid).map_err(|e| (false, format!("joining the group: {e}")))?;
            }
            stressor.tell(&Word::Setup(setup)).map_err(|e| (false, e.to_string()))?;
            match stressor.tell(&Word::Job(told)) {
                Ok(()) => Ok::<_, (bool, String)>(stressor),
                // Killed for want of memory while it took some: that is what the fault came to.
                Err(_) if stressor.was_killed() && oom_kills(&here) > oom_before => Ok(stressor),
                Err(e) if stressor.was_killed() => Err((true, e.to_string())),
                Err(e) => Err((false, e.to_string())),
            }
        });
        let stressor = started
            .await
            .map_err(|e| (false, e))
            .and_then(|r| r)
            .map_err(|(was, what)| if was { killed(what) } else { failed(what) })?;
        let working = Working {
            stressor: Arc::new(Mutex::new(stressor)),
            job,
            place,
            oom_before,
            last: None,
            evidence: BTreeMap::new(),
        };
        lock(&self.working).entry(plan.order.id.clone()).or_default().push(working);
        Ok(())
    }

    /// Our own child with that identity, when it is one of ours.
    fn own(&self, id: host::ProcessId) -> Option<(String, usize, Arc<Mutex<Stressor>>)> {
        let mut all = Vec::new();
        for (key, list) in lock(&self.working).iter() {
            all.extend(list.iter().enumerate().map(|(n, w)| (key.clone(), n, w.stressor.clone())));
        }
        all.into_iter().find(|(_, _, stressor)| lock(stressor).id() == id)
    }
}

impl Injector for NodeInjector {
    fn name(&self) -> &'static str {
        "node"
    }

    fn kinds(&self) -> &'static [TargetKind] {
        &[TargetKind::Node, TargetKind::Container, TargetKind::Cgroup, TargetKind::Netns]
    }

    fn injects(&self, fault: &str) -> bool {
        jobs::FAULTS.contains(&fault)
    }

    fn open<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<TargetState, Refusal>> {
        Box::pin(async move {
            let about = match &target.spec {
                TargetSpec::Node(_) => format!("{} cores, {}", super::cores(), host::probe::kernel()),
                TargetSpec::Process(_) | TargetSpec::Proxy(_) | TargetSpec::Fs(_) => {
                    return Err(Refusal::new(
                        format!("{} is a target of kind {}", target.reference(), target.spec.kind()),
                        "the machine is a target of kind node: node:self",
                    ));
                }
                other => other.kind().to_string(),
            };
            self.opened.open(target, about, vec![])
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
        let mut all: Vec<String> =
            plan.acts.iter().filter_map(Act::read).flat_map(|act| act.claims).collect();
        all.sort();
        all.dedup();
        all
    }

    fn inject<'a>(&'a self, plan: &'a Plan, log: &'a dyn UndoLog) -> BoxFuture<'a, Outcomes> {
        Box::pin(async move {
            let mut tasks = Vec::new();
            let found = places(&plan.order).await;
            for place in found.iter().flatten() {
                let list = jobs::tasks(&plan.order.id, &plan.order.fault, place, Duration::ZERO);
                tasks.extend(list.into_iter().flatten().map(|task| (place.clone(), task)));
            }
            if tasks.len() != plan.acts.len() {
                // A container has come or gone, or a limit has changed, between the plan and now.
                let why = match found {
                    Err(refusal) => refusal.to_string(),
                    Ok(_) => "the target is not what it was when this was planned".into(),
                };
                return plan
                    .acts
                    .iter()
                    .map(|_| Err(InjectError::new(why.clone()).hint("arm it again")))
                    .collect();
            }
            let mut out = Vec::new();
            for (n, (place, task)) in tasks.into_iter().enumerate() {
                out.push(self.begin(plan, n, place, task, log).await);
            }
            out
        })
    }

    fn adjust<'a>(&'a self, armed: &'a Armed, fault: &'a Fault) -> BoxFuture<'a, Result<(), InjectError>> {
        Box::pin(async move {
            let name = fault.inject.name();
            let gone = || {
                InjectError::new(format!("{} does not go on any more", armed.order.id))
                    .hint("its child was killed, perhaps for want of memory; disarm it and arm it again")
            };
            if name == "stress_ng" {
                return Err(InjectError::new("stress_ng has nothing that could be changed while it is on")
                    .hint("disarm it and arm it again"));
            }
            let list: Vec<(Place, Arc<Mutex<Stressor>>)> = lock(&self.working)
                .get(&armed.order.id)
                .map(|list| list.iter().map(|w| (w.place.clone(), w.stressor.clone())).collect())
                .unwrap_or_default();
            if list.is_empty() {
                return Err(gone());
            }
            // Where several children share the work in one place, each gets its part again.
            let mut counted: BTreeMap<String, usize> = BTreeMap::new();
            for (n, (place, stressor)) in list.into_iter().enumerate() {
                let part = counted.entry(place.name.clone()).or_default();
                let elapsed = lock(&stressor).began().map_or(Duration::ZERO, |began| began.elapsed());
                let tasks =
                    jobs::tasks(&armed.order.id, fault, &place, elapsed).map_err(|r| InjectError(r.0))?;
                let Some(mut task) = tasks.into_iter().nth(*part) else {
                    return Err(InjectError::new("fewer children would do than there are")
                        .hint("disarm it and arm it again"));
                };
                *part += 1;
                // Names that were noted stay.
                task.job.keep_name(
                    lock(&self.working).get(&armed.order.id).and_then(|l| l.get(n)).map(|w| &w.job),
                );
                let told = task.job.clone();
                let set = move || lock(&stressor).tell(&Word::Job(told)).map_err(|e| e.to_string());
                blocking(set).await.and_then(|r| r).map_err(|why| {
                    InjectError::new(format!("the child did not take the change: {why}"))
                        .hint("disarm it and arm it again")
                })?;
                if let Some(working) = lock(&self.working).get_mut(&armed.order.id).and_then(|l| l.get_mut(n))
                {
                    working.job = task.job;
                }
            }
            Ok(())
        })
    }

    fn leftovers(&self) -> Vec<inject::Leftover> {
        left::all()
    }

    fn recover<'a>(&'a self, act: &'a UndoRecord) -> BoxFuture<'a, Recovered> {
        Box::pin(async move {
            let id = match Act::find(act) {
                Ok((_, id)) => id,
                Err(outcome) => return sweep(act, outcome),
            };
            let own = self.own(id);
            let working = self.working.clone();
            let kill = move || match own {
                Some((key, n, stressor)) => {
                    let (numbers, was_there) = {
                        let mut stressor = lock(&stressor);
                        (measured(&mut stressor), stressor.runs())
                    };
                    let gone = lock(&stressor).kill().then_some(was_there);
                    if let Some(working) = lock(&working).get_mut(&key).and_then(|l| l.get_mut(n)) {
                        // Whoever died before had nothing any more that could be measured.
                        let numbers = if was_there { numbers } else { working.evidence.clone() };
                        working.last.get_or_insert(numbers);
                    }
                    gone
                }
                None => match kill_foreign(id) {
                    Ok(ended) => ended.then_some(true),
                    Err(ProcessError::Gone(_)) => Some(false),
                    Err(_) => None,
                },
            };
            let outcome = match blocking(kill).await {
                Ok(Some(true)) => Recovered::Undone,
                Ok(Some(false)) => Recovered::Gone(format!("the child {} is gone", id.pid)),
                Ok(None) => Recovered::Failed(format!(
                    "the child {} could not be killed; kill it by hand: kill -9 {}",
                    id.pid, id.pid
                )),
                Err(why) => Recovered::Failed(why),
            };
            let act = act.clone();
            match blocking(move || sweep(&act, outcome)).await {
                Ok(outcome) => outcome,
                Err(why) => Recovered::Failed(why),
            }
        })
    }

    fn evidence(&self, armed: &Armed) -> Evidence {
        let mut all = lock(&self.working);
        let Some(list) = all.get_mut(&armed.order.id) else {
            return Evidence { considered: armed.acts.len() as u64, ..Evidence::default() };
        };
        let mut sum: BTreeMap<String, f64> = BTreeMap::new();
        let mut applied = 0;
        for working in list.iter_mut() {
            let numbers = working.look();
            applied += u64::from(did_something(&working.job, &numbers));
            for (name, value) in numbers {
                match sum.get_mut(&name) {
                    // Amounts add up; states and what is the same for all do not.
                    Some(have) if adds_up(&name) => *have += value,
                    Some(have) => *have = have.max(value),
                    None => drop(sum.insert(name, value)),
                }
            }
        }
        Evidence { considered: list.len() as u64, applied, measured: sum }
    }

    fn forget(&self, armed: &Armed) {
        lock(&self.working).remove(&armed.order.id);
    }
}

impl Working {
    /// What it does and holds now; what it did when it has ended.
    fn look(&mut self) -> BTreeMap<String, f64> {
        // A change under way holds the child for a moment; then the last figures have to do.
        let Ok(mut stressor) = self.stressor.try_lock() else { return self.evidence.clone() };
        let on_purpose = self.last.is_some();
        let runs = stressor.runs();
        let mut numbers = match &self.last {
            Some(last) => last.clone(),
            None if runs || self.evidence.is_empty() => measured(&mut stressor),
            None => self.evidence.clone(),
        };
        if let Job::Cpu(load) = &self.job {
            numbers.insert("asked_percent".into(), asked(load, &stressor) * 100.0);
            if on_purpose {
                numbers.remove("cpu_percent_now");
            }
        } else if !matches!(self.job, Job::Exec(_)) {
            numbers.retain(|name, _| !name.starts_with("cpu_percent"));
        }
        if !on_purpose {
            numbers.insert("ended_early".into(), f64::from(u8::from(!runs)));
            if !runs {
                let kills =
                    oom_kills(&self.place).zip(self.oom_before).map_or(0, |(n, b)| n.saturating_sub(b));
                let killed = stressor.was_killed() && kills > 0;
                numbers.insert("oom_killed".into(), f64::from(u8::from(killed)));
            }
        }
        drop(stressor);
        self.evidence.clone_from(&numbers);
        numbers
    }
}

fn asked(load: &Load, stressor: &Stressor) -> f64 {
    let since = stressor.began().map_or(Duration::ZERO, |began| began.elapsed());
    load.total(since.saturating_sub(Duration::from_secs_f64(load.since_ms / 1e3)))
}

fn measured(stressor: &mut Stressor) -> BTreeMap<String, f64> {
    let (mean, now) = stressor.percent();
    let mut numbers = stressor.told();
    numbers.insert("cpu_percent".into(), mean);
    numbers.insert("cpu_percent_now".into(), now);
    numbers
}

/// Whether there is anything to be seen of it.
fn did_something(job: &Job, numbers: &BTreeMap<String, f64>) -> bool {
    let over = |name: &str, least: f64| numbers.get(name).is_some_and(|n| *n > least);
    match job {
        Job::Cpu(_) | Job::Exec(_) => over("cpu_percent", 0.0),
        Job::Io(_) => over("bytes", 0.0),
        Job::Memory(_) | Job::Disk(_) => over("held_bytes", 0.0),
        Job::Inodes(_) | Job::Files(_) | Job::Tasks(_) | Job::Ports(_) => over("held", 0.0),
    }
}

fn adds_up(name: &str) -> bool {
    ["held", "bytes", "operations", "errors", "resident", "asked", "short", "cpu_percent", "with_names"]
        .iter()
        .any(|part| name.starts_with(part))
}

/// How many processes the kernel has killed for want of memory: in the group, or on the machine since it booted.
fn oom_kills(place: &Place) -> Option<u64> {
    if let Some(kills) = place.groups.as_ref().and_then(crate::cgroup::Cgroups::oom_kills) {
        return Some(kills);
    }
    let text = std::fs::read_to_string("/proc/vmstat").ok()?;
    text.lines().find_map(|l| l.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// Removes what has a name, after its child is gone.
fn sweep(act: &UndoRecord, outcome: Recovered) -> Recovered {
    let Some(left) = Act::read(act).and_then(|act| act.leftover) else { return outcome };
    if matches!(outcome, Recovered::Failed(_)) {
        return outcome;
    }
    // A root that is gone is that of a container that has ended: nothing has names in there.
    let Ok(dir) = inroot::directory(&left.root, &left.path) else { return outcome };
    let shown = left.path.join(&left.name);
    let file = rustix::fs::unlinkat(&dir, left.name.as_str(), rustix::fs::AtFlags::empty());
    let removed = match file {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(_) => exhaust::remove(&dir, &left.name),
    };
    match removed {
        Ok(true) => Recovered::Undone,
        Ok(false) => outcome,
        Err(e) => {
            Recovered::Failed(format!("{} could not be removed: {e}; remove it by hand", shown.display()))
        }
    }
}

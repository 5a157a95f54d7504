//! Whole control groups: their limits, freezing them, killing in them. Also the group that a container or a process is in.

mod freeze;
mod oom;
mod squeeze;

pub(crate) use freeze::{freeze, frozen};
pub(crate) use squeeze::{Edit, Undo, cores, edits};

use crate::cgroup::Cgroups;
use crate::containers;
use crate::held::Held;
use crate::opened::Opened;
use crate::process::{Known, select};
use host::{ProcessId, process};
use inject::{
    Armed, BoxFuture, InjectError, Injector, Order, Outcomes, Plan, Recovered, Refusal, UndoLog, UndoRecord,
};
use model::sample::TargetState;
use model::target::CgroupSpec;
use model::{Evidence, Fault, Target, TargetKind, TargetRef, TargetSpec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Injects into groups: `cgroup_squeeze` and `oom_kill` also where a container or a process is meant, `pause` and `kill` of
/// a group as a whole.
#[derive(Debug, Default)]
pub struct GroupInjector {
    opened: Opened,
    known: Arc<Known>,
    held: Held,
    done: Mutex<BTreeMap<String, Done>>,
}

/// What is remembered of a fault.
#[derive(Debug, Clone, Default)]
struct Done {
    groups: Vec<Cgroups>,
    before: BTreeMap<String, f64>,
    /// By file: what was set last.
    last: BTreeMap<String, String>,
    considered: u64,
}

/// The data of an undo record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Act {
    fault: String,
    boot: String,
    #[serde(default)]
    groups: Cgroups,
    #[serde(default)]
    edits: Vec<Edit>,
    #[serde(default)]
    process: Option<ProcessId>,
}

/// A group that is meant, and how it is called.
#[derive(Debug, Clone)]
struct Meant {
    name: String,
    groups: Cgroups,
    /// The processes that are meant, where those are fewer than all of the group.
    processes: Option<Vec<u32>>,
}

const FAULTS: [&str; 4] = ["pause", "kill", "cgroup_squeeze", "oom_kill"];

impl GroupInjector {
    /// An injector with no target open. `known` are the processes found for targets of kind process.
    pub fn new(known: Arc<Known>) -> GroupInjector {
        GroupInjector { known, ..GroupInjector::default() }
    }

    async fn meant(&self, order: &Order) -> Result<Vec<Meant>, Refusal> {
        let reference = order.target.reference();
        match &order.target.spec {
            TargetSpec::Cgroup(spec) => {
                let groups = named(&reference, spec)?;
                Ok(vec![Meant { name: spec.path.clone(), groups, processes: None }])
            }
            TargetSpec::Container(spec) => {
                let picked = containers::picked(&reference, spec, order.seed).await?;
                Ok(picked
                    .into_iter()
                    .map(|f| Meant {
                        name: format!("of container {}", f.name),
                        groups: f.cgroups,
                        processes: None,
                    })
                    .collect())
            }
            TargetSpec::Process(spec) => {
                let alive = self.known.candidates(&order.target).await?;
                let picked = select::pick(&reference, &alive, spec.pick, order.seed)?;
                let mut out: Vec<Meant> = Vec::new();
                for one in picked {
                    let groups = Cgroups::of(one.id.pid).map_err(|e| {
                        Refusal::new(format!("the group of process {}: {e}", one.id.pid), "try again")
                    })?;
                    match out.iter_mut().find(|m| m.groups == groups) {
                        Some(m) => m.processes.get_or_insert_default().push(one.id.pid),
                        None => out.push(Meant {
                            name: format!("of process {} ({})", one.id.pid, one.comm),
                            groups,
                            processes: Some(vec![one.id.pid]),
                        }),
                    }
                }
                Ok(out)
            }
            other => Err(Refusal::new(
                format!("{reference} is a target of kind {}", other.kind()),
                "groups are targets of kind cgroup: cgroup:/system.slice/nginx.service",
            )),
        }
    }

    async fn plan_now(&self, order: &Order) -> Result<Plan, Refusal> {
        let fault = order.fault.inject.name();
        let meant = self.meant(order).await?;
        let mut acts = Vec::new();
        let mut warnings = Vec::new();
        for one in &meant {
            if fault != "oom_kill" {
                without_us(&one.groups, &one.name)?;
            }
            match fault {
                "cgroup_squeeze" => {
                    let edits = edits(&one.groups, &order.fault.inject)?;
                    self.held.check(&edits.iter().map(key).collect::<Vec<_>>(), &order.id)?;
                    let words: Vec<String> =
                        edits.iter().map(|e| format!("{} = {}", e.file.display(), e.set)).collect();
                    let back: Vec<String> =
                        edits.iter().map(|e| format!("{} = {}", e.file.display(), e.before)).collect();
                    if let Some(meant) = &one.processes {
                        let all = one.groups.all_processes().len();
                        if all > meant.len() {
                            warnings.push(format!(
                                "the group {} has {all} processes, and all of them are limited",
                                one.name
                            ));
                        }
                    }
                    let act = Act { edits, groups: one.groups.clone(), ..Act::new(fault) };
                    acts.push(record(
                        &act,
                        words.join(", "),
                        format!("write back {}", back.join(", ")),
                        false,
                    ));
                }
                "pause" => {
                    if freeze::is_asked(&one.groups) {
                        return Err(Refusal::new(
                            format!("the group {} is frozen already, and not by this fault", one.name),
                            "it would be thawed afterwards although someone wants it frozen; thaw it first",
                        ));
                    }
                    let act = Act { groups: one.groups.clone(), ..Act::new(fault) };
                    let count = one.groups.all_processes().len();
                    let words = format!("freeze the group {} ({count} processes)", one.name);
                    acts.push(record(&act, words, format!("thaw the group {}", one.name), false));
                }
                "kill" | "oom_kill" => {
                    let pids = one.processes.clone().unwrap_or_else(|| one.groups.all_processes());
                    let (chosen, left) =
                        oom::choose(&pids, fault == "kill" || order.fault.inject.flag("group"));
                    warnings.extend(left);
                    let signal = order.fault.inject.text("signal").unwrap_or("SIGKILL");
                    for (process, score) in chosen {
                        let act = Act { process: Some(process.id), ..Act::new(fault) };
                        let why =
                            if fault == "kill" { String::new() } else { format!(", oom_score {score}") };
                        let words =
                            format!("send {signal} to process {} ({}){why}", process.id.pid, process.comm);
                        acts.push(record(&act, words, "cannot be undone".into(), true));
                    }
                }
                other => {
                    return Err(Refusal::new(
                        format!("{other} is no fault of groups"),
                        format!("try {}", FAULTS.join(", ")),
                    ));
                }
            }
        }
        if acts.is_empty() {
            let names: Vec<&str> = meant.iter().map(|m| m.name.as_str()).collect();
            return Err(Refusal::new(
                format!("there is nobody to be killed in the group {}", names.join(", ")),
                if warnings.is_empty() { "it is empty".to_owned() } else { warnings.join("; ") },
            ));
        }
        let groups: Vec<Cgroups> = meant.into_iter().map(|m| m.groups).collect();
        let before = groups.first().map(squeeze::counters).unwrap_or_default();
        let considered = acts.len() as u64;
        lock(&self.done).insert(order.id.clone(), Done { groups, before, considered, ..Done::default() });
        Ok(Plan { order: order.clone(), acts, warnings })
    }

    fn apply(&self, id: &str, edits: &[Edit]) -> Result<(), InjectError> {
        let failed = |why: String| {
            InjectError::new(format!("narrowing a group failed: {why}"))
                .hint("what was written before that was written back")
        };
        for (n, edit) in edits.iter().enumerate() {
            if let Err(why) = edit.apply() {
                // A part that failed counts as not done: nothing of it may stay.
                for done in edits[..=n].iter().rev() {
                    done.undo(None);
                }
                return Err(failed(why));
            }
            let mut all = lock(&self.done);
            let done = all.entry(id.to_owned()).or_default();
            done.last.insert(key(edit), edit.set.clone());
        }
        Ok(())
    }

    fn undo(&self, act: &Act) -> Recovered {
        // What we set last is known only where it was set, and may have been changed live.
        let last: BTreeMap<String, String> = lock(&self.done).values().flat_map(|d| d.last.clone()).collect();
        let (mut undone, mut nothing, mut failed) = (false, Vec::new(), Vec::new());
        for edit in act.edits.iter().rev() {
            match edit.undo(last.get(&key(edit)).map(String::as_str)) {
                Undo::Done => undone = true,
                Undo::Nothing(why) => nothing.push(why),
                Undo::Failed(why) => failed.push(why),
            }
        }
        match (failed.is_empty(), undone) {
            (false, _) => Recovered::Failed(format!("{}; then run `murphy recover`", failed.join("; "))),
            (true, true) => Recovered::Undone,
            (true, false) => Recovered::Gone(nothing.join("; ")),
        }
    }
}

impl Act {
    fn new(fault: &str) -> Act {
        Act {
            fault: fault.to_owned(),
            boot: host::clock::boot_id().to_owned(),
            groups: Cgroups::default(),
            edits: Vec::new(),
            process: None,
        }
    }
}

impl Injector for GroupInjector {
    fn name(&self) -> &'static str {
        "group"
    }

    fn kinds(&self) -> &'static [TargetKind] {
        &[TargetKind::Cgroup, TargetKind::Container, TargetKind::Process]
    }

    fn injects(&self, fault: &str) -> bool {
        FAULTS.contains(&fault)
    }

    fn open<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<TargetState, Refusal>> {
        Box::pin(async move {
            let TargetSpec::Cgroup(spec) = &target.spec else {
                return self.opened.open(target, target.spec.kind().to_string(), vec![]);
            };
            let groups = named(&target.reference(), spec)?;
            let about = format!("{} with {} processes", spec.path, groups.all_processes().len());
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
        let acts = plan.acts.iter().filter_map(read);
        acts.flat_map(|act| {
            let files = act.edits.iter().map(key).collect::<Vec<_>>();
            let dirs: Vec<String> = match act.process {
                Some(id) => vec![format!("process {id}")],
                None if files.is_empty() => {
                    act.groups.dirs().iter().map(|d| format!("group {}", d.display())).collect()
                }
                None => files,
            };
            dirs
        })
        .collect()
    }

    fn inject<'a>(&'a self, plan: &'a Plan, _log: &'a dyn UndoLog) -> BoxFuture<'a, Outcomes> {
        Box::pin(async move {
            let mut out = Vec::new();
            for act in &plan.acts {
                let Some(act) = read(act) else {
                    out.push(Err(InjectError::new("the plan does not read").hint("please report this")));
                    continue;
                };
                self.held.take(act.edits.iter().map(key).collect(), &plan.order.id);
                out.push(match act.fault.as_str() {
                    "cgroup_squeeze" => self.apply(&plan.order.id, &act.edits),
                    "pause" => {
                        let groups = act.groups.clone();
                        blocking(move || freeze(&groups, true).inspect_err(|_| drop(freeze(&groups, false))))
                            .await
                            .map_err(|why| InjectError::new(format!("freezing failed: {why}")))
                    }
                    _ => {
                        let signal = plan.order.fault.inject.text("signal").unwrap_or("SIGKILL").to_owned();
                        blocking(move || oom::send(act.process, &signal)).await.map_err(InjectError::new)
                    }
                });
            }
            out
        })
    }

    fn adjust<'a>(&'a self, armed: &'a Armed, fault: &'a Fault) -> BoxFuture<'a, Result<(), InjectError>> {
        Box::pin(async move {
            if fault.inject == armed.order.fault.inject {
                return Ok(());
            }
            if fault.inject.name() != "cgroup_squeeze" {
                return Err(InjectError::new(format!(
                    "{} has nothing that could be changed while it is on",
                    fault.inject.name()
                ))
                .hint("disarm it and arm it again"));
            }
            for act in armed.acts.iter().filter_map(read) {
                let wanted = edits(&act.groups, &fault.inject).map_err(|r| InjectError(r.0))?;
                let files = |edits: &[Edit]| edits.iter().map(key).collect::<Vec<_>>();
                if files(&wanted) != files(&act.edits) {
                    return Err(InjectError::new(
                        "which limits are narrowed cannot be changed while they are",
                    )
                    .hint("arm cgroup_squeeze once more for the others"));
                }
                for edit in &wanted {
                    edit.apply().map_err(|why| {
                        InjectError::new(format!("narrowing a group failed: {why}"))
                            .hint("the limit before holds")
                    })?;
                    lock(&self.done)
                        .entry(armed.order.id.clone())
                        .or_default()
                        .last
                        .insert(key(edit), edit.set.clone());
                }
            }
            Ok(())
        })
    }

    fn recover<'a>(&'a self, act: &'a UndoRecord) -> BoxFuture<'a, Recovered> {
        Box::pin(async move {
            let Some(act) = read(act) else {
                return Recovered::Failed(format!(
                    "the record of {:?} does not read: {}; look at the group by hand",
                    act.act, act.data
                ));
            };
            if act.boot != host::clock::boot_id() {
                return Recovered::Gone("the machine was started anew since".into());
            }
            match act.fault.as_str() {
                "cgroup_squeeze" => self.undo(&act),
                "pause" => {
                    if !freeze::is_asked(&act.groups) {
                        return Recovered::Gone("the group is not frozen any more".into());
                    }
                    match blocking(move || freeze(&act.groups, false)).await {
                        Ok(()) => Recovered::Undone,
                        Err(why) => Recovered::Failed(format!("thawing failed: {why}")),
                    }
                }
                _ => Recovered::Gone("a signal cannot be taken back".into()),
            }
        })
    }

    fn evidence(&self, armed: &Armed) -> Evidence {
        let done = lock(&self.done).get(&armed.order.id).cloned().unwrap_or_default();
        let acts: Vec<Act> = armed.acts.iter().filter_map(read).collect();
        let mut measured = BTreeMap::new();
        match armed.order.fault.inject.name() {
            "cgroup_squeeze" => {
                for groups in done.groups.iter().take(1) {
                    measured.extend(squeeze::gauges(groups));
                    for (name, now) in squeeze::counters(groups) {
                        let before = done.before.get(&name).copied().unwrap_or(0.0);
                        measured.insert(name, (now - before).max(0.0));
                    }
                }
            }
            "pause" => {
                let n = acts.iter().filter(|a| frozen(&a.groups) == Some(true)).count();
                measured.insert("frozen_now".into(), n as f64);
            }
            _ => {
                let ended = acts.iter().filter(|a| a.process.is_some_and(|id| !id.alive())).count();
                measured.insert("ended".into(), ended as f64);
            }
        }
        let applied = acts.len() as u64;
        Evidence { considered: done.considered.max(applied), applied, measured }
    }

    fn forget(&self, armed: &Armed) {
        lock(&self.done).remove(&armed.order.id);
        self.held.release(&armed.order.id);
    }
}

/// The group of that path.
pub(crate) fn named(target: &TargetRef, spec: &CgroupSpec) -> Result<Cgroups, Refusal> {
    let groups = Cgroups::named(&spec.path).map_err(|e| {
        Refusal::new(
            format!("{target}: {e}"),
            "write it from the root of the hierarchy, as /proc/PID/cgroup of a process in it shows it",
        )
    })?;
    if groups.is_root() {
        return Err(Refusal::new(
            format!("{target} is the root group, and everything is in it"),
            "name a group below it",
        ));
    }
    Ok(groups)
}

/// Refuses a group that murphy itself is in.
fn without_us(groups: &Cgroups, name: &str) -> Result<(), Refusal> {
    let all = groups.all_processes();
    let kin = process::ancestors(std::process::id());
    if all.contains(&std::process::id()) {
        return Err(Refusal::new(
            format!("murphy itself is in the group {name}"),
            "run the agent in a group of its own, for example as a service",
        ));
    }
    match all.iter().find(|pid| kin.contains(pid)) {
        Some(pid) => Err(Refusal::new(
            format!("process {pid}, which started murphy, is in the group {name}"),
            "run the agent apart from it, for example as a service",
        )),
        None => Ok(()),
    }
}

fn record(act: &Act, words: String, undo: String, ends_with_agent: bool) -> UndoRecord {
    UndoRecord {
        injector: "group".into(),
        act: words,
        undo,
        data: serde_json::to_value(act).unwrap_or_default(),
        ends_with_agent,
    }
}

fn read(act: &UndoRecord) -> Option<Act> {
    serde_json::from_value(act.data.clone()).ok()
}

fn key(edit: &Edit) -> String {
    let place = [edit.device.as_deref(), edit.field.as_deref()].into_iter().flatten();
    place.fold(format!("file {}", edit.file.display()), |text, part| format!("{text} {part}"))
}

async fn blocking(work: impl FnOnce() -> Result<(), String> + Send + 'static) -> Result<(), String> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|e| Err(format!("the injector failed: {e}; please report this")))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done under these locks, so a panic elsewhere does not spoil what they guard.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

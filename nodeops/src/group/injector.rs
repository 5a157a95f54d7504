//! What the engine asks of this room.

use super::freeze::{self, freeze, frozen};
use super::record::{Act, key, read};
use super::squeeze::{self, Edit, Undo, edits};
use super::{named, oom};
use crate::cgroup::Cgroups;
use crate::held::Held;
use crate::opened::Opened;
use crate::process::Known;
use crate::shared::{blocking, lock};
use inject::{
    Armed, BoxFuture, InjectError, Injector, Order, Outcomes, Plan, Recovered, Refusal, UndoLog, UndoRecord,
};
use model::sample::TargetState;
use model::{Evidence, Fault, Target, TargetKind, TargetRef, TargetSpec};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Injects into groups: `cgroup_squeeze` and `oom_kill` also where a container or a process is meant, `pause` and `kill` of
/// a group as a whole.
#[derive(Debug, Default)]
pub struct GroupInjector {
    pub(super) opened: Opened,
    pub(super) known: Arc<Known>,
    pub(super) held: Held,
    pub(super) done: Mutex<BTreeMap<String, Done>>,
}

/// What is remembered of a fault.
#[derive(Debug, Clone, Default)]
pub(super) struct Done {
    pub(super) groups: Vec<Cgroups>,
    pub(super) before: BTreeMap<String, f64>,
    /// By file: what was set last.
    pub(super) last: BTreeMap<String, String>,
    pub(super) considered: u64,
}

pub(super) const FAULTS: [&str; 4] = ["pause", "kill", "cgroup_squeeze", "oom_kill"];

impl GroupInjector {
    /// An injector with no target open. `known` are the processes found for targets of kind process.
    pub fn new(known: Arc<Known>) -> GroupInjector {
        GroupInjector { known, ..GroupInjector::default() }
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
                            .and_then(|done| done)
                            .map_err(|why| InjectError::new(format!("freezing failed: {why}")))
                    }
                    _ => {
                        let signal = plan.order.fault.inject.text("signal").unwrap_or("SIGKILL").to_owned();
                        blocking(move || oom::send(act.process, &signal))
                            .await
                            .and_then(|done| done)
                            .map_err(InjectError::new)
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
                    match blocking(move || freeze(&act.groups, false)).await.and_then(|done| done) {
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

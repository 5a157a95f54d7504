//! Limits of running processes, by prlimit(2): `rlimit_squeeze`, and `fd_fill` where processes are meant.

mod rlimit;

use crate::containers;
use crate::held::Held;
use crate::process::{Known, select};
use crate::shared::lock;
use host::{Process, ProcessId, process};
use inject::knob::Dials;
use inject::{
    Armed, BoxFuture, InjectError, Injector, Order, Outcomes, Plan, Recovered, Refusal, UndoLog, UndoRecord,
};
use model::sample::TargetState;
use model::{Evidence, Fault, Target, TargetKind, TargetRef, TargetSpec};
use rlimit::{KINDS, Limit};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Narrows limits of processes. Only soft limits are touched, so that no privilege is needed to raise them again.
#[derive(Debug, Default)]
pub struct LimitInjector {
    known: Arc<Known>,
    held: Held,
    /// What was set last, by process and limit: another value is someone else's.
    last: Mutex<BTreeMap<(ProcessId, String), u64>>,
}

/// The data of an undo record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Act {
    fault: String,
    process: ProcessId,
    comm: String,
    boot: String,
    limits: Vec<Edit>,
}

/// One limit: what it was, and what it becomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Edit {
    /// The parameter's name.
    limit: String,
    /// What was there; none is no limit.
    before: Option<u64>,
    set: u64,
}

impl LimitInjector {
    /// An injector for targets whose processes are known.
    pub fn new(known: Arc<Known>) -> LimitInjector {
        LimitInjector { known, ..LimitInjector::default() }
    }

    async fn plan_now(&self, order: &Order) -> Result<Plan, Refusal> {
        let reference = order.target.reference();
        Dials::new(&order.fault).finish().map_err(Refusal)?;
        let picked: Vec<Process> = match &order.target.spec {
            TargetSpec::Process(spec) => {
                let alive = self.known.candidates(&order.target).await?;
                select::pick(&reference, &alive, spec.pick, order.seed)?
            }
            TargetSpec::Container(spec) => {
                let found = containers::picked(&reference, spec, order.seed).await?;
                let pids = found.iter().flat_map(containers::Found::processes);
                pids.filter_map(|pid| process::describe(pid).ok()).collect()
            }
            other => {
                return Err(Refusal::new(
                    format!("{reference} is a target of kind {}", other.kind()),
                    "limits are those of a process or of a container's processes",
                ));
            }
        };
        let (mut acts, mut refused, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
        for process in &picked {
            let planned = select::allowed(process).and_then(|()| edits(&order.fault, process));
            let planned = planned.and_then(|edits| {
                let keys: Vec<String> = edits.iter().map(|e| key(process.id, &e.limit)).collect();
                self.held.check(&keys, &order.id).map(|()| edits)
            });
            match planned {
                Ok(edits) => {
                    warnings.extend(traps(process, &edits));
                    acts.push(record(order.fault.inject.name(), process, edits));
                }
                Err(refusal) => refused.push(refusal),
            }
        }
        match refused.into_iter().reduce(|first, next| Refusal(first.0.clone().hint(next.0.to_string()))) {
            Some(refusal) if acts.is_empty() => Err(refusal),
            refused => {
                warnings.extend(refused.map(|r| format!("left out: {}", r.0)));
                warnings.sort();
                warnings.dedup();
                Ok(Plan { order: order.clone(), acts, warnings })
            }
        }
    }

    fn set(&self, process: ProcessId, edit: &Edit) -> Result<(), InjectError> {
        Limit::named(&edit.limit)
            .ok_or_else(|| format!("there is no limit {:?}", edit.limit))
            .and_then(|limit| limit.set(process, Some(edit.set)))
            .map_err(|why| {
                InjectError::new(format!("lowering {} of process {} failed: {why}", edit.limit, process.pid))
                    .hint("this needs CAP_SYS_RESOURCE or the same user")
            })?;
        lock(&self.last).insert((process, edit.limit.clone()), edit.set);
        Ok(())
    }

    /// Undoes one limit of the process and of those that it has started since, which inherited it.
    fn undo(&self, act: &Act, edit: &Edit) -> Recovered {
        let Some(limit) = Limit::named(&edit.limit) else {
            return Recovered::Failed(format!("nobody here knows the limit {:?}", edit.limit));
        };
        let last = lock(&self.last).get(&(act.process, edit.limit.clone())).copied();
        let now = limit.soft(act.process);
        // What was set last is known only where it was set; after a change it is no longer what the record says.
        let ours = [last.or_else(|| now.as_ref().ok().copied().flatten()), Some(edit.set)];
        // The process first: what it starts from then on has the right limit from its start.
        let done = Self::restore(act, edit, limit, now, last);
        for child in descendants(act.process.pid) {
            // Only what it has from us: one with a limit of its own keeps it.
            if limit.soft(child).is_ok_and(|now| now != edit.before && now.is_some() && ours.contains(&now)) {
                let _ = limit.set(child, edit.before);
            }
        }
        done
    }

    fn restore(
        act: &Act,
        edit: &Edit,
        limit: &Limit,
        now: Result<Option<u64>, String>,
        last: Option<u64>,
    ) -> Recovered {
        let (pid, name) = (act.process.pid, &edit.limit);
        let now = match now {
            Ok(now) => now,
            Err(why) if !act.process.alive() => return Recovered::Gone(why),
            Err(why) => return Recovered::Failed(why),
        };
        if now == edit.before {
            return Recovered::Gone(format!("{name} of process {pid} is what it was"));
        }
        if last.is_some_and(|last| now != Some(last)) {
            return Recovered::Gone(format!("{name} of process {pid} was set by someone else since"));
        }
        match limit.set(act.process, edit.before) {
            Ok(()) => Recovered::Undone,
            Err(_) if !act.process.alive() => Recovered::Gone(format!("process {pid} is gone")),
            Err(why) => Recovered::Failed(format!("{why}; then run `murphy recover`")),
        }
    }
}

impl Injector for LimitInjector {
    fn name(&self) -> &'static str {
        "limit"
    }

    fn kinds(&self) -> &'static [TargetKind] {
        &[TargetKind::Process, TargetKind::Container]
    }

    fn injects(&self, fault: &str) -> bool {
        matches!(fault, "rlimit_squeeze" | "fd_fill")
    }

    fn open<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<TargetState, Refusal>> {
        // Others that serve these kinds come first.
        Box::pin(async move { self.known.open(target).await })
    }

    fn close<'a>(&'a self, target: &'a TargetRef) -> BoxFuture<'a, ()> {
        Box::pin(async move { self.known.close(target) })
    }

    fn states(&self) -> Vec<TargetState> {
        Vec::new()
    }

    fn plan<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Plan, Refusal>> {
        Box::pin(self.plan_now(order))
    }

    fn claims(&self, plan: &Plan) -> Vec<String> {
        let acts = plan.acts.iter().filter_map(read);
        acts.flat_map(|a| a.limits.iter().map(|e| key(a.process, &e.limit)).collect::<Vec<_>>()).collect()
    }

    fn inject<'a>(&'a self, plan: &'a Plan, _log: &'a dyn UndoLog) -> BoxFuture<'a, Outcomes> {
        Box::pin(async move {
            let one = |act: &UndoRecord| {
                let act = read(act)
                    .ok_or_else(|| InjectError::new("the plan does not read").hint("please report this"))?;
                self.held
                    .take(act.limits.iter().map(|e| key(act.process, &e.limit)).collect(), &plan.order.id);
                for (n, edit) in act.limits.iter().enumerate() {
                    if let Err(e) = self.set(act.process, edit) {
                        // A part that failed counts as not done: nothing of it may stay.
                        act.limits[..n].iter().for_each(|done| drop(self.undo(&act, done)));
                        return Err(e);
                    }
                }
                Ok(())
            };
            plan.acts.iter().map(one).collect()
        })
    }

    fn adjust<'a>(&'a self, armed: &'a Armed, fault: &'a Fault) -> BoxFuture<'a, Result<(), InjectError>> {
        Box::pin(async move {
            Dials::new(fault).finish().map_err(InjectError)?;
            for act in armed.acts.iter().filter_map(read).filter(|a| a.process.alive()) {
                let process = Process { id: act.process, comm: act.comm.clone(), command: String::new() };
                let wanted = values(fault, &process).map_err(|r| InjectError(r.0))?;
                let names = |list: &[(String, u64)]| list.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>();
                if names(&wanted) != act.limits.iter().map(|e| e.limit.clone()).collect::<Vec<_>>() {
                    return Err(InjectError::new(
                        "which limits are lowered cannot be changed while they are",
                    )
                    .hint("arm rlimit_squeeze once more for the others"));
                }
                for ((_, set), edit) in wanted.into_iter().zip(&act.limits) {
                    self.set(act.process, &Edit { set, ..edit.clone() })?;
                }
            }
            Ok(())
        })
    }

    fn recover<'a>(&'a self, act: &'a UndoRecord) -> BoxFuture<'a, Recovered> {
        Box::pin(async move {
            let Some(act) = read(act) else {
                return Recovered::Failed(format!("the record of {:?} does not read: {}", act.act, act.data));
            };
            if act.boot != host::clock::boot_id() {
                return Recovered::Gone("the machine was started anew since".into());
            }
            let all: Vec<Recovered> = act.limits.iter().rev().map(|edit| self.undo(&act, edit)).collect();
            let failed = all.iter().find(|r| matches!(r, Recovered::Failed(_)));
            failed
                .or_else(|| all.iter().find(|r| **r == Recovered::Undone))
                .or(all.first())
                .cloned()
                .unwrap_or_else(|| Recovered::Gone("no limit was lowered".into()))
        })
    }

    fn evidence(&self, armed: &Armed) -> Evidence {
        let acts: Vec<Act> = armed.acts.iter().filter_map(read).collect();
        let mut measured: BTreeMap<String, f64> = BTreeMap::new();
        let mut applied = 0;
        for act in &acts {
            let mut holds = false;
            for edit in &act.limits {
                let Some(limit) = Limit::named(&edit.limit) else { continue };
                let Ok(Some(now)) = limit.soft(act.process) else { continue };
                holds |= edit.before != Some(now);
                measured.insert(format!("{}_limit", edit.limit), now as f64);
                if let Some(used) = limit.used(act.process) {
                    let most = measured.entry(format!("{}_used", edit.limit)).or_default();
                    *most = most.max(used as f64);
                    if used >= now {
                        // What its next request of that kind gets.
                        measured.insert("errno".into(), f64::from(limit.errno()));
                    }
                }
            }
            applied += u64::from(holds);
        }
        Evidence { considered: acts.len() as u64, applied, measured }
    }

    fn forget(&self, armed: &Armed) {
        self.held.release(&armed.order.id);
        let done: Vec<ProcessId> = armed.acts.iter().filter_map(|a| Some(read(a)?.process)).collect();
        lock(&self.last).retain(|(id, _), _| !done.contains(id));
    }
}

/// What one process is to have, in the catalogue's order.
fn values(fault: &Fault, process: &Process) -> Result<Vec<(String, u64)>, Refusal> {
    let inject = &fault.inject;
    if inject.name() == "fd_fill" {
        let leave = inject.int("leave").unwrap_or(0).max(0) as u64;
        let limit = rlimit::room(process.id, leave).map_err(|why| Refusal::new(why, "try again"))?;
        return Ok(vec![("nofile".to_owned(), limit)]);
    }
    let asked = KINDS.iter().filter_map(|kind| {
        let name = kind.name();
        let value = inject.size(name).map(|s| s.0).or_else(|| Some(inject.int(name)?.max(0) as u64))?;
        Some((name.to_owned(), value))
    });
    let asked: Vec<_> = asked.collect();
    if asked.is_empty() {
        let names: Vec<&str> = KINDS.iter().map(Limit::name).collect();
        return Err(Refusal::new(
            "rlimit_squeeze says no limit",
            format!("give at least one of {}", names.join(", ")),
        ));
    }
    Ok(asked)
}

fn edits(fault: &Fault, process: &Process) -> Result<Vec<Edit>, Refusal> {
    let wanted = values(fault, process)?;
    let mut edits = Vec::new();
    for (name, set) in wanted {
        let Some(limit) = Limit::named(&name) else { continue };
        let before = limit.soft(process.id).map_err(|why| Refusal::new(why, "look whether it still runs"))?;
        if before.is_some_and(|before| before <= set) {
            return Err(Refusal::new(
                format!(
                    "{name} of process {} ({}) is {} already: {set} would be no squeeze",
                    process.id.pid,
                    process.comm,
                    before.unwrap_or_default()
                ),
                "ask for less than that",
            ));
        }
        edits.push(Edit { limit: name, before, set });
    }
    Ok(edits)
}

fn traps(process: &Process, edits: &[Edit]) -> Vec<String> {
    let mut out = vec![
        "what the process starts meanwhile inherits the limit; murphy restores its descendants too, \
                        but not those that have left it (daemons)"
            .to_owned(),
    ];
    if edits.iter().any(|e| e.limit == "processes") && rlimit::is_root(process.id.pid) {
        out.push(format!(
            "process {} ({}) runs as root, whom RLIMIT_NPROC does not bind",
            process.id.pid, process.comm
        ));
    }
    out
}

fn record(fault: &str, process: &Process, limits: Vec<Edit>) -> UndoRecord {
    let shown = |value: Option<u64>| value.map_or_else(|| "unlimited".to_owned(), |v| v.to_string());
    let words = |value: fn(&Edit) -> Option<u64>| {
        limits.iter().map(|e| format!("{} = {}", e.limit, shown(value(e)))).collect::<Vec<_>>().join(", ")
    };
    let Process { id, comm, .. } = process;
    let (set, back) = (words(|e| Some(e.set)), words(|e| e.before));
    let act = Act {
        fault: fault.to_owned(),
        process: *id,
        comm: comm.clone(),
        boot: host::clock::boot_id().to_owned(),
        limits,
    };
    UndoRecord {
        injector: "limit".into(),
        act: format!("limit process {} ({comm}): {set}", id.pid),
        undo: format!("limit it as before: {back}"),
        data: serde_json::to_value(&act).unwrap_or_default(),
        ends_with_agent: false,
    }
}

fn descendants(pid: u32) -> Vec<ProcessId> {
    let mut found: Vec<ProcessId> = Vec::new();
    for other in process::list() {
        if other.id.pid != pid && process::ancestors(other.id.pid).contains(&pid) {
            found.push(other.id);
        }
    }
    found
}

fn key(process: ProcessId, limit: &str) -> String {
    format!("limit {limit} of process {process}")
}

fn read(act: &UndoRecord) -> Option<Act> {
    serde_json::from_value(act.data.clone()).ok()
}

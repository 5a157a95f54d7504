//! Which processes a target comes to.

use crate::cgroup::Cgroups;
use crate::containers;
use crate::process::{Known, select};
use host::{Process, process};
use inject::Refusal;
use model::target::Pick;
use model::{Target, TargetSpec};

/// The processes of a target, now; never none.
pub(super) async fn of(target: &Target, known: &Known, seed: u64) -> Result<Vec<Process>, Refusal> {
    let reference = target.reference();
    match &target.spec {
        TargetSpec::Process(spec) => {
            let alive = known.candidates(target).await?;
            let picked = select::pick(&reference, &alive, spec.pick, seed)?;
            // One that was asked for must not be left out in silence.
            if spec.pick == Pick::One {
                picked.iter().try_for_each(select::allowed)?;
            }
            Ok(picked)
        }
        TargetSpec::Container(spec) => {
            let found = containers::picked(&reference, spec, seed).await?;
            let all = found.iter().flat_map(containers::Found::processes);
            some(all, &format!("container {}", containers::names(&found)))
        }
        TargetSpec::Cgroup(spec) => {
            let hint = "look for its path in /proc/PID/cgroup of a process that should be in it";
            let groups = Cgroups::named(&spec.path)
                .map_err(|e| Refusal::new(format!("control group {}: {e}", spec.path), hint))?;
            if groups.is_root() {
                return Err(Refusal::new(
                    format!("control group {} is every process on this machine", spec.path),
                    "choose one below it, or change the machine's clock (system_clock on node:self)",
                ));
            }
            some(groups.all_processes().into_iter(), &format!("control group {}", spec.path))
        }
        other => Err(Refusal::new(
            format!("{reference} is a target of kind {}", other.kind()),
            "clocks are those of processes, containers and control groups; the machine's is system_clock",
        )),
    }
}

fn some(pids: impl Iterator<Item = u32>, whose: &str) -> Result<Vec<Process>, Refusal> {
    let mut all: Vec<Process> =
        pids.filter_map(|pid| process::describe(pid).ok()).filter(|p| p.id.alive()).collect();
    all.sort_by_key(|p| (p.id.start, p.id.pid));
    all.dedup_by_key(|p| p.id);
    if all.is_empty() {
        return Err(Refusal::new(
            format!("no process of {whose} can be seen from here"),
            "run murphy in the machine's own pid namespace, or look whether it still runs",
        ));
    }
    Ok(all)
}

/// Refuses any target but the machine.
pub(super) fn is_this_machine(target: &Target) -> Result<(), Refusal> {
    match &target.spec {
        TargetSpec::Node(_) => Ok(()),
        other => Err(Refusal::new(
            format!("{} is a target of kind {}", target.reference(), other.kind()),
            "the machine is a target of kind node: node:self",
        )),
    }
}

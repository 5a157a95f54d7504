//! Which processes a target comes to.

use host::Process;
use inject::Refusal;
use model::{Target, TargetSpec};

/// The processes of a target, now.
pub(super) fn of(target: &Target, seed: u64) -> Result<Vec<Process>, Refusal> {
    match &target.spec {
        TargetSpec::Process(_) => crate::process::picked(target, seed),
        TargetSpec::Cgroup(spec) => {
            let all = host::process::list().into_iter().filter(|p| p.id.alive());
            let found: Vec<Process> = all.filter(|p| is_in(&spec.path, p.id.pid)).collect();
            if found.is_empty() {
                return Err(Refusal::new(
                    format!("no process is in control group {}", spec.path),
                    "look for its path in /proc/PID/cgroup of one that should be in it",
                ));
            }
            found.iter().try_for_each(crate::process::may_be_hit)?;
            Ok(found)
        }
        other => Err(Refusal::new(
            format!("{} is a target of kind {}", target.reference(), other.kind()),
            "clocks are those of processes, containers and control groups; the machine's is system_clock",
        )),
    }
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

/// Whether a process is in a control group or below it, in any hierarchy.
fn is_in(group: &str, pid: u32) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let group = group.trim_end_matches('/');
    !group.is_empty()
        && text
            .lines()
            .filter_map(|l| l.splitn(3, ':').nth(2))
            .any(|path| path.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

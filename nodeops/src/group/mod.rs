//! Whole control groups: their limits, freezing them, killing in them. Also the group that a container or a process is in.

mod freeze;
mod injector;
mod oom;
mod plan;
mod record;
mod squeeze;

pub(crate) use freeze::{freeze, frozen};
pub use injector::GroupInjector;
pub(crate) use squeeze::{Edit, Undo, cores, edits};

use crate::cgroup::Cgroups;
use host::process;
use inject::Refusal;
use model::TargetRef;
use model::target::CgroupSpec;

/// Refuses where none of its directories is mounted here: what is done to it would be done to nothing, or to ourselves.
pub(crate) fn seen(groups: &Cgroups, whose: &str) -> Result<(), Refusal> {
    if groups.dirs().is_empty() {
        return Err(Refusal::new(
            format!("the control group of {whose} cannot be seen from here"),
            "run murphy on the machine, or in a container with --cgroupns host -v /sys/fs/cgroup:/sys/fs/cgroup",
        ));
    }
    Ok(())
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

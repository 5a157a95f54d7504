//! Which groups a target means, and what is to be done to them.

use super::injector::{Done, FAULTS, GroupInjector};
use super::record::{Act, key, record};
use super::squeeze::{self, edits};
use super::{freeze, named, oom, without_us};
use crate::cgroup::Cgroups;
use crate::containers;
use crate::process::select;
use crate::shared::lock;
use inject::{Order, Plan, Refusal};
use model::TargetSpec;

/// A group that is meant, and how it is called.
#[derive(Debug, Clone)]
struct Meant {
    name: String,
    groups: Cgroups,
    /// The processes that are meant, where those are fewer than all of the group.
    processes: Option<Vec<u32>>,
}

impl GroupInjector {
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

    pub(super) async fn plan_now(&self, order: &Order) -> Result<Plan, Refusal> {
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
}

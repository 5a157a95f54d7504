//! Where a child of ours works: on the machine, in a container, in a group, in a network namespace.

use crate::cgroup::Cgroups;
use crate::containers;
use crate::group;
use crate::stress::Setup;
use host::{Netns, ProcessId};
use inject::{Order, Refusal};
use model::target::NetnsSpec;
use model::{TargetRef, TargetSpec};
use std::path::{Path, PathBuf};

/// What is taken in the group of a container, and would be taken of the machine without it.
const IN_GROUP: [&str; 5] = ["cpu", "memory", "io", "stress_ng", "pid_fill"];

/// One place.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    /// What it is called at the end of a sentence: ` in container web-1`; empty for the machine.
    pub name: String,
    /// The group that the child joins.
    pub groups: Option<Cgroups>,
    /// The root that paths are below.
    pub root: PathBuf,
    pub netns: Option<PathBuf>,
    pub until: Option<ProcessId>,
    /// What it is beyond confusion, whatever a target that means it is called.
    pub claims: Vec<String>,
}

impl Place {
    pub(super) fn setup(&self, netns: bool) -> Setup {
        Setup { netns: self.netns.clone().filter(|_| netns), until: self.until }
    }
}

/// The places of an order's target.
pub(super) async fn places(order: &Order) -> Result<Vec<Place>, Refusal> {
    let reference = order.target.reference();
    let machine = Place { root: "/".into(), ..Place::default() };
    match &order.target.spec {
        TargetSpec::Node(_) => Ok(vec![Place { claims: vec!["node".into()], ..machine }]),
        TargetSpec::Cgroup(spec) => {
            let groups = group::named(&reference, spec)?;
            let name = format!(" in the group {}", spec.path);
            let claims = groups.dirs().iter().map(|dir| format!("group {}", dir.display())).collect();
            Ok(vec![Place { name, claims, groups: Some(groups), ..machine }])
        }
        TargetSpec::Netns(spec) => {
            let path = namespace(&reference, spec)?;
            Ok(vec![Place {
                name: format!(" in the namespace {}", path.display()),
                claims: Netns::open(&path).map(|ns| format!("network {}", ns.id())).into_iter().collect(),
                netns: Some(path),
                ..machine
            }])
        }
        TargetSpec::Container(spec) => {
            let picked = containers::picked(&reference, spec, order.seed).await?;
            if IN_GROUP.contains(&order.fault.inject.name()) {
                picked.iter().try_for_each(|f| group::seen(&f.cgroups, &format!("container {}", f.name)))?;
            }
            Ok(picked
                .into_iter()
                .map(|f| Place {
                    name: format!(" in container {}", f.name),
                    claims: vec![format!("container {}", f.id)],
                    root: f.root(),
                    netns: Some(format!("/proc/{}/ns/net", f.pid.pid).into()),
                    until: Some(f.pid),
                    groups: Some(f.cgroups),
                })
                .collect())
        }
        other => Err(Refusal::new(
            format!("{reference} is a target of kind {}", other.kind()),
            "resources are taken on a node, in a container or in a cgroup",
        )),
    }
}

fn namespace(reference: &TargetRef, spec: &NetnsSpec) -> Result<PathBuf, Refusal> {
    let path = match (&spec.name, &spec.path, spec.pid) {
        (Some(name), ..) => Path::new("/run/netns").join(name),
        (_, Some(path), _) => path.into(),
        (_, _, Some(pid)) => format!("/proc/{pid}/ns/net").into(),
        _ => return Err(Refusal::new(format!("{reference} says no namespace"), "give name, path or pid")),
    };
    match path.try_exists() {
        Ok(true) => Ok(path),
        _ => Err(Refusal::new(
            format!("{reference}: there is no {}", path.display()),
            "`ip netns list` shows those with names",
        )),
    }
}
